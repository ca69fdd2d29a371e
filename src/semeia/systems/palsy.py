"""Facial palsy: a network for action units, migrated to the grade of a paralysis, its side, and how far it goes.

    Paper   Ge et al.: Automatic Facial Paralysis Estimation with Facial Action Units, arXiv 2203.01800 (2022)
    Idea    A network that has learned action units already knows the muscles that a paralysis weakens. Its features of
            each side are compared, movement by movement, and a patient's grade is read from all of them together.
    Flow    pictures of a patient, each with its exercise -> a network for units -> features, intensities of each side
            -> one encoder for both sides -> sum and difference -> scores of a picture -> mean over the patient
            -> grade I-VI, degree, side
    Known   That the network is migrated to grading, and that severity follows from combining muscle regions of both
            sides. The paper's head, classes, frozen parts and numbers are unknown (docs/systems/palsy.md). That a grade
            cannot change and a side must change when a face is mirrored holds by construction here, and is our own.

Shapes      B patients   E pictures of a patient   N units   2 sides (the subject's left, right)   D width   M measures
            H width of the encoder   5 steps between the grades I to VI
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.nn.intensity import IntensityLevels, masked_mean
from semeia.ops.palsy_scales import EXERCISES, GRADES
from semeia.records import ACTION_UNITS
from semeia.task import Task

MEASURES = ("fissure", "brow", "mouth", "fold")
"""Lengths of each side of ``ops.palsy_scales.RestingMeasures``."""

AROUND_EYES = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU43")
"""Units whose regions lie around the eyes: they tell whether an eye can be seen."""


@dataclass(frozen=True)
class Config:
    """What the model is; every field says where its default comes from."""

    action_units: tuple[str, ...] = ACTION_UNITS
    """Units of the network that it stands on. [default: the library's]"""
    width: int = 96
    """D of that network. [default: its own]"""
    encoder: int = 64
    """H. [default: own; spec section 7 has 256 for both sides together]"""
    dropout: float = 0.2
    """On the features of a side. [own: patients are few]"""
    compare: bool = True
    """Whether the sides are compared; otherwise their sum alone is read. [inferred: severity from symmetry]"""
    frozen: bool = True
    """Whether the network for units stays as it is. [default: for few patients; the paper's choice is unknown]"""
    degree_weight: float = 1.0
    """Of the loss of the degree. [own: rendered patients have one]"""
    side_weight: float = 0.5
    """Of the loss of the side. [own]"""


class SideEncoder(nn.Module):
    """What one side shows in one movement; the same for both sides, whose regions are mirrored to look alike."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        units = len(config.action_units)
        self.features = nn.Linear(units * config.width, config.encoder)
        self.amounts = nn.Linear(units + len(MEASURES), config.encoder)
        self.exercise = nn.Embedding(len(EXERCISES), config.encoder)
        self.norm, self.drop = nn.LayerNorm(units * config.width), nn.Dropout(config.dropout)
        self.out = nn.Linear(config.encoder, config.encoder)

    def forward(self, features: Tensor, intensity: Tensor, measures: Tensor, exercise: Tensor) -> Tensor:
        """Features ``(..., N, D)``, FACS 0-5 ``(..., N)``, ``(..., M)``, places in ``EXERCISES`` -> ``(..., H)``."""
        seen = self.features(self.drop(self.norm(features.flatten(-2))))
        told = self.amounts(torch.cat([intensity / 5, measures], -1))
        return self.out(F.gelu(seen + told + self.exercise(exercise)))


class Palsy(Task):
    """Grade, degree and side of patients from pictures of their movements.

    Mirrored faces give the same grade and degree and the other side: grade and degree are read from the sum of both
    sides and the size of their difference, the side from a function that changes its sign when they change places.

    Args:
        config: See ``Config``.
        reader: A network for action units with ``features`` and ``predict``; None where features are given. It is not
            part of the weights.
    """

    room: Tensor
    most: Tensor

    def __init__(self, config: Config, reader: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.encode = SideEncoder(config)
        h = config.encoder
        self.grade = nn.Sequential(nn.Linear(2 * h, h), nn.GELU(), nn.Linear(h, 1))
        self.degree = nn.Sequential(nn.Linear(2 * h, h), nn.GELU(), nn.Linear(h, 1))
        self.side = nn.Sequential(nn.Linear(2 * h, h), nn.GELU(), nn.Linear(h, 1))
        self.levels = IntensityLevels(1)
        units = config.action_units
        self.upper = [i for i, unit in enumerate(units) if unit in AROUND_EYES] or list(range(len(units)))
        self.eye = nn.Linear(len(self.upper) * config.width, 1).requires_grad_(False)
        nn.init.zeros_(self.eye.weight)
        nn.init.constant_(self.eye.bias, -1.0)  # nothing looks covered before that is learned
        # Fitted on held-out patients: severity that healthy faces may show, which nobody's are free of.
        self.register_buffer("room", torch.zeros(()))
        # Fitted alike: the score up to which eyes that can be seen may look covered.
        self.register_buffer("most", torch.zeros(()))
        self._reader = (reader,)  # a tuple, so that its weights are not this module's

    @property
    def reader(self) -> Any:
        """The network for action units, or None."""
        return self._reader[0]

    def scores(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Scores of patients.

        Args:
            batch: ``sides`` (B, E, N, 2, D), ``intensity`` (B, E, N, 2) in FACS 0-5, ``measures`` (B, E, M, 2) as
                ``ops.palsy_scales`` measures them, ``exercise`` (B, E) places in ``EXERCISES``, ``shown`` (B, E) bool:
                which pictures there are.

        Returns:
            ``severity`` (B,), from which the grade follows, ``degree`` (B,) and ``side`` (B,): positive where the
            subject's left is the weak one. ``each`` (B, E): severity of each picture.
        """
        left, right = (
            self.encode(batch["sides"][..., s, :], batch["intensity"][..., s], batch["measures"][..., s],
                        batch["exercise"])
            for s in (0, 1)
        )  # fmt: skip
        apart = left - right
        both = torch.cat([left + right, apart.abs() if self.config.compare else torch.zeros_like(apart)], -1)
        each = self.grade(both)[..., 0]  # (B, E)
        turned = self.side(torch.cat([left, right], -1)) - self.side(torch.cat([right, left], -1))
        shown = batch["shown"].to(each.dtype)
        count = shown.sum(1).clamp(min=1)

        def of_patient(values: Tensor) -> Tensor:
            return (values * shown).sum(1) / count

        return {
            "severity": of_patient(each), "degree": of_patient(self.degree(both)[..., 0]),
            "side": of_patient(turned[..., 0]), "each": each,
        }  # fmt: skip

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """Ordinal cross-entropy of grades, L1 of degrees, cross-entropy of sides; what is unlabelled costs nothing.

        Args:
            batch: As for ``scores``, or ``image`` (B, E, 3, S, S) in place of ``sides`` and ``intensity``; and
                ``grade`` (B,) 0 to 5 or -1, ``degree`` (B,) or NaN, ``side`` (B,) 1 for the subject's left, 0 for the
                right, -1 where neither or unknown.
            loss: There is one, ``main``.
        """
        out = self.scores(batch if "sides" in batch else batch | self.read(batch["image"]))
        grade, degree, side = batch["grade"], batch["degree"], batch["side"]
        steps = IntensityLevels.targets(grade.clamp(min=0).float())  # (B, 5): P(grade >= II), ...
        logits = self.levels(out["severity"][:, None])[:, 0]
        of_grade = F.binary_cross_entropy_with_logits(logits, steps, reduction="none").mean(-1)
        known = ~degree.isnan()
        of_degree = (out["degree"].sigmoid() - degree.nan_to_num(0)).abs()
        of_side = F.binary_cross_entropy_with_logits(out["side"], side.clamp(min=0).float(), reduction="none")
        parts = {
            "grade": masked_mean(of_grade, grade >= 0),
            "degree": masked_mean(of_degree, known),
            "side": masked_mean(of_side, side >= 0),
        }
        c = self.config
        return {"loss": parts["grade"] + c.degree_weight * parts["degree"] + c.side_weight * parts["side"], **parts}

    def covered(self, sides: Tensor) -> Tensor:
        """How covered each eye looks, from features of regions ``(..., N, 2, D) -> (..., 2)``; seen eyes lie below 0.

        ``recipes.palsy`` fits this by itself, apart from the grade.
        """
        around = sides[..., self.upper, :, :].transpose(-3, -2).flatten(-2)  # (..., 2, U * D)
        return self.eye(F.layer_norm(around, around.shape[-1:]))[..., 0] - self.most

    def read(self, image: Tensor) -> dict[str, Tensor]:
        """Features and intensities of pictures ``(B, E, 3, S, S)`` by the network for action units."""
        reader = self.reader.to(image.device)
        if self.config.frozen:
            reader.eval()
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            known = reader.features(image.flatten(0, 1))
            answers = reader.heads.answers(reader.heads(known["refined"], known["sides"], known["together"]))
        shape = image.shape[:2]
        return {
            "sides": known["sides"].unflatten(0, shape),
            "intensity": answers["au_sides"].unflatten(0, shape),
        }

    def groups(self, optimizer: str = "main") -> Iterable[dict[str, Any]]:
        """The head, and the network for units at a tenth of the rate unless it is frozen."""
        yield from super().groups(optimizer)
        if self.reader is not None and not self.config.frozen:
            named = [(f"reader.{name}", p) for name, p in self.reader.named_parameters() if p.requires_grad]
            yield {"named_params": named, "lr_scale": 0.1}

    @torch.no_grad()
    def predict(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Grade patients.

        Args:
            batch: As for ``scores``.

        Returns:
            ``grades`` (B, 6) probabilities; ``grade`` (B,) the place in ``GRADES`` that is reached with one half or
            more; ``degree`` (B,) in [0, 1]; ``left`` (B,) probability that the weak side is the subject's left;
            ``each`` (B, E) severity of each picture, in units of the score.
        """
        out = self.scores(batch)
        logits = self.levels(out["severity"][:, None])[:, 0]  # (B, 5)
        # A later grade cannot be reached without the first step.
        reached = (logits - F.pad(self.room[None], (0, 4))).sigmoid().cummin(-1).values
        edges = F.pad(F.pad(reached, (1, 0), value=1.0), (0, 1), value=0.0)
        return {
            "grades": edges[:, :-1] - edges[:, 1:],
            "grade": (reached >= 0.5).sum(-1),
            "degree": out["degree"].sigmoid(),
            "left": out["side"].sigmoid(),
            "each": out["each"],
        }


def build(config: Config) -> Palsy:
    """Build the head; a network for action units is given to ``Palsy`` itself."""
    assert len(GRADES) == IntensityLevels(1).gaps.shape[1] + 2  # a step between any two grades
    return Palsy(config)
