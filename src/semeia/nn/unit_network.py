"""Both ends of a network for action units: from a face to a feature of each unit, and from features to answers.

What lies between, the relations of units with one another and with the whole face, is what papers differ in.

Shapes      B faces   S side of a crop   C channels   G = S / 4   N units   2 sides (the subject's left, right)
            D width of a feature   Q = 49 landmarks   T FACS levels
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from semeia.nn.intensity import IntensityLevels, masked_mean, weighted_bce
from semeia.nn.regions import LandmarkBranch, MapRegions, RegionStem, UnitBranches, WindowRegions
from semeia.nn.unit_losses import landmark_loss, weighted_cross_entropy, weighted_dice
from semeia.ops.face_regions import FORTY_NINE, RULES, SPREAD, unit_centres
from semeia.records import PRESENT, SemeiaError

REGIONS = {"window": WindowRegions, "map": MapRegions}


class Seen(NamedTuple):
    """What the trunk found in a face."""

    stem: Tensor
    """(B, C, G, G) map."""
    points: Tensor
    """(B, Q, 2) landmarks as parts of the crop."""
    face: Tensor
    """(B, C', G', G') features of the landmark branch."""


class UnitTrunk(nn.Module):
    """Stem, landmarks, regions and a branch for each unit.

    Args:
        units: Names of the N units.
        image_size: S, a multiple of 16.
        stem: Channels of both layers of the stem.
        landmarks: Channels of the landmark branch.
        hidden: Width of its last layer but one.
        branches: Channels of the units' branches.
        regions: ``window`` or ``map``, see ``nn.regions``.
        cells: Side of a window.
        width: D.

    Raises:
        SemeiaError: A size or a unit that will not do.
    """

    def __init__(
        self, units: Sequence[str], *, image_size: int, stem: Sequence[int], landmarks: Sequence[int], hidden: int,
        branches: Sequence[int], regions: str, cells: int, width: int,
    ) -> None:  # fmt: skip
        super().__init__()
        if image_size % 16:
            raise SemeiaError(f"image_size: expected a multiple of 16, found {image_size}")
        if strangers := [unit for unit in units if unit not in RULES]:
            raise SemeiaError(
                f"action_units: no region is known of {', '.join(strangers)}; known are {', '.join(RULES)}"
            )
        self.units = tuple(units)
        grid = image_size // 4
        self.stem = RegionStem(stem)
        self.landmarks = LandmarkBranch(stem[-1], landmarks, cells=grid, hidden=hidden)
        side = cells if regions == "window" else grid
        self.regions = REGIONS[regions](cells=side)
        self.branches = UnitBranches(len(self.units), stem[-1], branches, cells=side, width=width)
        self.together = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU())

    def forward(self, image: Tensor) -> Seen:
        """``(B, 3, S, S)`` in [0, 1]."""
        stem = self.stem((image - 0.5) / 0.5)
        points, face = self.landmarks(stem)
        return Seen(stem, points, face)

    def centres(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Fixed centres and spreads of the regions (B, N, 2, 2); points do not learn from them."""
        with torch.autocast(points.device.type, enabled=False):  # bf16 would round places by half a pixel
            at = unit_centres(points.detach().float(), self.units)
        return at, torch.full_like(at, SPREAD)

    def features(
        self, stem: Tensor, centres: Tensor, spreads: Tensor, *, shape: nn.Module | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features of each unit's sides ``(B, N, 2, D)``, and of the unit ``(B, N, D)``; ``shape`` weighs regions."""
        regions = self.regions(stem, centres, spreads)
        sides = self.branches(regions if shape is None else shape(regions))
        return sides, self.together(sides.flatten(2))


class UnitScores(NamedTuple):
    """Scores of a batch before calibration."""

    whole: Tensor
    """(B, N)."""
    sides: Tensor
    """(B, N, 2)."""
    local: Tensor
    """(B, N) auxiliary scores of presence, from what each region shows alone."""


class UnitHeads(nn.Module):
    """Reads each unit's score, and that of each of its sides, from features; scores become intensity and presence.

    Args:
        units: N.
        width: D.
    """

    def __init__(self, units: int, width: int) -> None:
        super().__init__()
        self.whole = nn.Parameter(torch.randn(units, width) * width**-0.5)
        self.side = nn.Parameter(torch.randn(units, 2 * width) * (2 * width) ** -0.5)
        self.local = nn.Parameter(torch.randn(units, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(3, units))
        self.levels = IntensityLevels(units)

    def forward(self, refined: Tensor, sides: Tensor, together: Tensor) -> UnitScores:
        """Refined features ``(B, N, D)``, those of the sides ``(B, N, 2, D)`` and of the regions ``(B, N, D)``."""
        both = torch.cat([refined[:, :, None].expand_as(sides), sides], -1)  # (B, N, 2, 2 D)
        return UnitScores(
            whole=(refined * self.whole).sum(-1) + self.bias[0],
            sides=(both * self.side[:, None]).sum(-1) + self.bias[1, :, None],
            local=(together * self.local).sum(-1) + self.bias[2],
        )

    def presence(self, score: Tensor) -> Tensor:
        """Logit of P(intensity >= 2) of scores ``(B, N)`` or ``(B, N, 2)``."""
        return self.levels(score)[..., PRESENT - 1]

    def answers(self, scores: UnitScores) -> dict[str, Tensor]:
        """``au_probability`` (B, N), ``au_intensity`` (B, N) and ``au_sides`` (B, N, 2), intensities in FACS 0-5."""
        return {
            "au_probability": self.presence(scores.whole).sigmoid(),
            "au_intensity": self.levels(scores.whole).sigmoid().sum(-1),
            "au_sides": self.levels(scores.sides).sigmoid().sum(-1),
        }


def unit_losses(
    heads: UnitHeads, scores: UnitScores, points: Tensor, batch: dict[str, Tensor], weights: Tensor, *, published: bool
) -> dict[str, Tensor]:
    """Losses of JAA-Net on presence and landmarks, and of intensity where it is labelled.

    Args:
        heads: What made the scores.
        scores: Of the batch.
        points: (B, Q, 2) found landmarks.
        batch: Targets in the layout of ``data.samples``.
        weights: (N,) of the units, as ``unit_weights`` gives them.
        published: The Dice loss as JAA-Net's code computes it.

    Returns:
        ``presence`` and ``local`` (cross-entropy and Dice), ``landmarks``, ``intensity`` and ``sides``.
    """
    occurs, known = batch["au_occurrence"], batch["au_occurrence_mask"]

    def present(z: Tensor) -> Tensor:
        dice = weighted_dice(z, occurs, known, weights, published=published)
        return weighted_cross_entropy(z, occurs, known, weights) + dice

    def graded(score: Tensor, name: str) -> Tensor:
        each = weighted_bce(heads.levels(score), IntensityLevels.targets(batch[name]), score.new_ones(1)).mean(-1)
        return masked_mean(each, batch[f"{name}_mask"])

    chosen = torch.from_numpy(FORTY_NINE).to(points.device)
    placed = batch["landmarks_mask"][:, chosen].flatten(1).all(1)
    return {
        "presence": present(heads.presence(scores.whole)),
        "local": present(scores.local),
        "landmarks": landmark_loss(points, batch["landmarks"][:, chosen], placed),
        "intensity": graded(scores.whole, "au_intensity"),
        "sides": graded(scores.sides, "au_sides"),
    }


def usual_points(landmarks: np.ndarray) -> Tensor:
    """Mean of training landmarks (n, 68, 2) as parts of the crop, NaN where unknown -> (Q, 2): where points start."""
    known = landmarks[~np.isnan(landmarks).any((1, 2))]
    mean = known.mean(0) if len(known) else np.full((68, 2), 0.5)
    return torch.from_numpy(mean[FORTY_NINE]).float()


# Starting from a network that knows other units ----------------------------------------------------------------------

LIKE = {"AU25": "AU23", "AU26": "AU17"}
"""Units of DISFA that JAA-Net's code starts from another unit of BP4D; any other starts from itself."""

OF_UNITS = "trunk.branches."
"""Parameters that hold the units one after the other begin so."""

FRESH = ("heads.", "unit_threshold", "side_threshold", "unit_weight", "adapt.decide")
"""What is not taken over where units differ, as JAA-Net's classifier is not."""

BETWEEN_UNITS = ("region.bias", "relation.edges")
"""What relates one unit to another ends so; it is not taken over either."""


@torch.no_grad()
def adopt_units(model: nn.Module, other: nn.Module, *, units: Sequence[str], others: Sequence[str]) -> None:
    """Start a network from another of the same system that may know other units, in place.

    Branches come from the same unit, or from one that looks alike (``LIKE``); a unit that the other lacks keeps its
    own. What belongs to no unit is copied whole.

    Args:
        model: Is changed.
        other: Is copied from.
        units: Of ``model``.
        others: Of ``other``.

    Raises:
        SemeiaError: A part has another shape than the other's.
    """
    same = tuple(units) == tuple(others)
    taken = [unit if unit in others else LIKE.get(unit, unit) for unit in units]
    sources = {i: list(others).index(name) for i, name in enumerate(taken) if name in others}
    given = other.state_dict()
    for name, value in model.state_dict().items():
        if not same and (name.startswith(FRESH) or name.endswith(BETWEEN_UNITS)):
            continue
        theirs = given.get(name)
        parts = value
        if not same and name.startswith(OF_UNITS) and value.ndim:
            # Grouped convolutions hold the channels of all units one after the other.
            parts = value.unflatten(0, (len(units), -1))
            theirs = None if theirs is None or len(theirs) % len(others) else theirs.unflatten(0, (len(others), -1))
        one_a_unit = parts is not value
        shape = tuple(parts.shape[one_a_unit:])
        if theirs is None or tuple(theirs.shape[one_a_unit:]) != shape:
            found = "nothing" if theirs is None else tuple(theirs.shape[one_a_unit:])
            raise SemeiaError(f"{name}: expected {shape} in the checkpoint to start from, found {found}; "
                              "start from one of the same sizes")  # fmt: skip
        if one_a_unit:
            for i, source in sources.items():
                parts[i] = theirs[source]
        else:
            value.copy_(theirs)
