"""An exponential moving average of a module's weights: what was learned, without the noise of the last steps.

Source: Polyak & Juditsky 1992; the rising decay is that of TensorFlow's ``ExponentialMovingAverage``.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn


class Ema(nn.Module):
    """A copy of a module that follows it: ``average += (1 - d) (weight - average)`` after each step.

    The decay rises with the number of updates n as ``d = min(decay, (1 + n) / (10 + n))``, so that the random weights
    of the start are forgotten early. Frozen parameters are shared with the followed module, buffers are copied.

    Args:
        module: What is followed; it is copied, not kept.
        decay: The largest decay, in [0, 1).
    """

    updates: torch.Tensor

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        super().__init__()
        frozen = {id(p): p for p in module.parameters() if not p.requires_grad}
        self.module = deepcopy(module, frozen).requires_grad_(False).eval()
        self.decay = decay
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the weights that ``module`` has now."""
        n = int(self.updates)
        share = 1 - min(self.decay, (1 + n) / (10 + n))
        for average, now in zip(self.module.parameters(), module.parameters(), strict=True):
            average.lerp_(now, share)
        for kept, buffer in zip(self.module.buffers(), module.buffers(), strict=True):
            kept.copy_(buffer)
        self.updates += 1

    def restart(self, module: nn.Module) -> None:
        """Begin anew at the weights that ``module`` has now."""
        self.module.load_state_dict(module.state_dict())
        self.updates.zero_()

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Call the averaged module."""
        return self.module(*arguments, **named)
