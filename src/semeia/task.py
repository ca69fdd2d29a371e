"""What the training loop asks of a published system: a module whose forward returns its losses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Tensor, nn


class Phase(NamedTuple):
    """One update inside a training step: which loss, by which optimiser, on which feed."""

    loss: str = "main"
    optimizer: str = "main"
    feed: str = "main"


class Task(nn.Module):
    """A model together with the losses that its paper trains it with.

    ``forward(batch, loss)`` returns a dict with the key ``loss`` (what is minimised) and any number of named parts
    (what is logged). Most systems take one phase a step; an adversarial one lists its critics and generators, a
    semi-supervised one its feeds.
    """

    phases: tuple[Phase, ...] = (Phase(),)

    def forward(self, batch: dict[str, Any], loss: str = "main") -> dict[str, Tensor]:
        """Return ``{"loss": scalar, ...}`` for one micro-batch."""
        raise NotImplementedError

    def groups(self, optimizer: str = "main") -> Iterable[dict[str, Any]]:
        """Parameter groups that ``optimizer`` updates, with names; what is frozen is not listed.

        Each group holds ``named_params``, a list of ``(name, parameter)``; optional keys are ``lr_scale`` and
        ``constant`` (the group keeps its base rate).
        """
        return [{"named_params": [(n, p) for n, p in self.named_parameters() if p.requires_grad]}]

    def after_step(self, step: int) -> None:
        """Called with the number of steps so far once a step is taken: teachers and thresholds move here."""
