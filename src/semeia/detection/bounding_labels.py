"""Anchor labellers on bounding maps: a map at every anchor, or anchors drawn around the peaks of the maps.

Both keep the rules in ``anchors``. ``Noted`` and the functions at the end tell what a labeller said.

Shapes      N anchors   M boxes   n anchors that were drawn   H, W image
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import box_iou

from semeia.detection.anchors import AnchorLabeller, AnchorTargets, OverlapLabeller
from semeia.detection.boxes import inside
from semeia.detection.map_targets import entropy
from semeia.ops.bounding_maps import PLAIN, Profile, bounding_maps

_EQUAL = 1e-3
"""Squares of distances, and parts of areas, closer than this are equal: of anchors around one place none goes first."""

_POINTS = 14
"""Points along a side of an anchor over which its mean is taken."""


def centres(boxes: Tensor) -> Tensor:
    """(N, 4) -> (N, 2), x and y."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def cells(anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of the cells that anchors (N, 4) stand in, x and y, (N,) each.

    Rounded, so that of a cell's anchors none falls off a lesion's edge that runs through the centre.
    """
    x, y = ((centres(anchors) * 64).round() / 64).unbind(-1)
    return x, y


def areas(boxes: Tensor) -> Tensor:
    """(N, 4) -> (N,)."""
    return (boxes[:, 2:] - boxes[:, :2]).prod(-1)


# -- 2020: a map at every anchor


@dataclass(frozen=True, kw_only=True)
class MapLabeller:
    """BM_xy at the centre of every anchor is its objectness; which anchors learn a box is said by overlap, as usual.

    All anchors of a cell have one target, so that objectness no longer tells shapes apart. None is left out but those
    that stand in the padding. Weights sum to 1: the loss is a mean.
    """

    boxes: OverlapLabeller
    """Says which anchors learn which box."""
    profile: Profile = PLAIN
    """Of the map."""
    others: float = 1.0
    """What targets of all anchors are multiplied by but of those whose area is next above the image's largest lesion's
    (the largest anchors where none is). [code: 1; 0 and 0.5 are there, off]"""
    share: float = 0.0
    """Least part of the weight that anchors inside lesions have together; 0: all anchors weigh alike. [code: 0]"""

    def __call__(self, anchors: Tensor, boxes: Tensor, size: tuple[int, int], /) -> AnchorTargets:
        """Say what each anchor should say."""
        height, width = size
        x, y = cells(anchors)
        seen = (x < width) & (y < height)
        objectness = bounding_maps(x, y, boxes, self.profile)[2] * self._factors(anchors, boxes)
        lesion = seen & (objectness > 0)
        of_lesions = lesion.sum() / seen.sum().clamp(min=1)
        share = of_lesions.clamp(min=self.share) * lesion.any()
        weight = torch.where(
            lesion, share / lesion.sum().clamp(min=1), (1 - share) / (seen.sum() - lesion.sum()).clamp(min=1)
        )
        return self.boxes(anchors, boxes, size)._replace(
            objectness=objectness.float(), objectness_weight=(weight * seen).float()
        )

    def _factors(self, anchors: Tensor, boxes: Tensor) -> Tensor:
        """(N,): 1 for anchors of the size of the largest lesion, ``others`` for all others."""
        if self.others == 1 or len(boxes) == 0:
            return torch.ones_like(anchors[:, 0])
        area, largest = areas(anchors), areas(boxes).amax()
        beyond = area[area > largest * (1 + _EQUAL)]
        size = beyond.amin() if len(beyond) else area.amax()
        return torch.where((area / size - 1).abs() < _EQUAL, 1.0, self.others)


# -- 2021: anchors drawn around the peaks

Near = Callable[[Tensor, Tensor], Tensor]
"""Which anchors (N, 4) are near a box (4,): (N,) bool."""


@dataclass(frozen=True)
class Nearest:
    """The ``count`` anchors with centres nearest to the box's, where BM_xy is 1, and all that tie with the last."""

    count: int

    def __call__(self, anchors: Tensor, box: Tensor) -> Tensor:
        """(N, 4) and (4,) -> (N,) bool."""
        squares = (centres(anchors) - centres(box[None])).square().sum(-1)
        return squares <= squares.kthvalue(min(self.count, len(anchors))).values + _EQUAL


@dataclass(frozen=True)
class Above:
    """The anchors at whose centres BM_xy of the box is at least ``threshold``."""

    threshold: float
    profile: Profile = PLAIN

    def __call__(self, anchors: Tensor, box: Tensor) -> Tensor:
        """(N, 4) and (4,) -> (N,) bool."""
        x, y = cells(anchors)
        return bounding_maps(x, y, box[None], self.profile)[2] >= self.threshold


SoftLabel = Literal["hard", "centre", "mean"]


def _hard(anchors: Tensor, boxes: Tensor, profile: Profile) -> Tensor:
    return torch.ones_like(anchors[:, 0])


def _at_centre(anchors: Tensor, boxes: Tensor, profile: Profile) -> Tensor:
    x, y = cells(anchors)
    return bounding_maps(x, y, boxes, profile)[2]


def _mean_inside(anchors: Tensor, boxes: Tensor, profile: Profile) -> Tensor:
    at = (torch.arange(_POINTS, device=anchors.device) + 0.5) / _POINTS
    x, y = (anchors[:, k, None] + (anchors[:, k + 2] - anchors[:, k])[:, None] * at for k in (0, 1))  # (n, points)
    return bounding_maps(x[:, None], y[:, :, None], boxes, profile)[2].mean((1, 2))


SOFT_LABELS: dict[str, Callable[[Tensor, Tensor, Profile], Tensor]] = {
    "hard": _hard,
    "centre": _at_centre,
    "mean": _mean_inside,
}
"""What a drawn lesion's anchor is told: 1, BM_xy at its centre, or the mean of BM_xy in it."""


def draw_times(candidates: Tensor, count: int) -> Tensor:
    """Draw ``count`` of the candidates (N,) bool, with replacement where there are fewer: how often each was, (N,)."""
    (found,) = torch.where(candidates)
    if len(found) < count:
        at = found[torch.randint(max(len(found), 1), (count if len(found) else 0,), device=found.device)]
    else:
        at = found[torch.randperm(len(found), device=found.device)[:count]]
    return torch.bincount(at, minlength=len(candidates))


@dataclass(frozen=True, kw_only=True)
class ConditionedLabeller:
    """BMC: so many anchors around the peak of each lesion's map are lesions, whatever they overlap.

    For each box: candidates are the anchors that are near it and whose area is like its own; so many are drawn of
    them, with replacement where there are fewer. A box without a candidate draws from the nearest anchors of any size.
    Of several boxes, a drawn anchor learns the one with the nearest upper left corner. Others are drawn from anchors
    that overlap no box by ``negative`` and are no candidates. There is no low-quality rule.

    Every draw weighs 1 / (number of draws): an anchor drawn twice weighs twice. As in ``OverlapLabeller``, anchors that
    cross the image's border are not used.
    """

    near: Near
    """Which anchors are near a box."""
    fallback: Near
    """The same for boxes without an anchor of like size."""
    ratio: float
    """An anchor's area is more than 1 / ratio and less than ratio times the box's."""
    label: SoftLabel = "hard"
    """See ``SOFT_LABELS``."""
    profile: Profile = PLAIN
    """Of the map of soft labels."""
    count: int
    """Draws of an image, both kinds."""
    positives: int
    """Draws of lesions where there is one: shared by all lesions, the first take the rest; at least one each."""
    negative: float
    """IoU below which an anchor is no lesion."""

    def candidates(self, anchors: Tensor, box: Tensor) -> Tensor:
        """Which of (N, 4) may be drawn for a box (4,): (N,) bool."""
        if len(anchors) == 0:
            return torch.zeros_like(anchors[:, 0], dtype=torch.bool)
        like = areas(anchors) / areas(box[None])
        found = self.near(anchors, box) & (like > 1 / self.ratio) & (like < self.ratio)
        return found if found.any() else self.fallback(anchors, box)

    def __call__(self, anchors: Tensor, boxes: Tensor, size: tuple[int, int], /) -> AnchorTargets:
        """Say what each anchor should say."""
        (within,) = torch.where(inside(anchors, size))
        usable = anchors[within]
        lesion = torch.zeros(len(usable), dtype=torch.int64, device=anchors.device)  # how often each was drawn
        other = torch.ones_like(lesion, dtype=torch.bool)
        for number, box in enumerate(boxes):
            candidates = self.candidates(usable, box)
            other &= ~candidates
            share = self.positives // len(boxes) + (number < self.positives % len(boxes))
            lesion += draw_times(candidates, max(share, 1))
        if len(boxes):
            other &= box_iou(boxes, usable).amax(0) < self.negative
        (free,) = torch.where(other)
        left = max(self.count - int(lesion.sum()), 0)
        none = free[torch.randperm(len(free), device=free.device)[:left]]
        draws = lesion.sum() + len(none)
        (at,) = torch.where(lesion > 0)
        drawn = within[at]
        targets = AnchorTargets(
            torch.zeros_like(anchors[:, 0]), torch.zeros_like(anchors[:, 0]),
            torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device), torch.zeros_like(anchors[:, 0]),
        )  # fmt: skip
        if len(at):
            targets.objectness[drawn] = SOFT_LABELS[self.label](anchors[drawn], boxes, self.profile)
            corners = anchors[drawn, None, :2] - boxes[None, :, :2]  # (n, M, 2)
            targets.matched[drawn] = corners.square().sum(-1).argmin(1)
        targets.box_weight[drawn] = lesion[at] / draws.clamp(min=1)
        targets.objectness_weight[drawn] = targets.box_weight[drawn]
        targets.objectness_weight[within[none]] = 1 / draws.clamp(min=1)
        return targets


# -- what a labeller said


class Noted:
    """A labeller whose words can be listened to.

    Args:
        labeller: Who speaks.
    """

    def __init__(self, labeller: AnchorLabeller) -> None:
        self.labeller = labeller
        self._said: list[AnchorTargets] | None = None

    def __call__(self, anchors: Tensor, boxes: Tensor, size: tuple[int, int], /) -> AnchorTargets:
        """Say what each anchor should say."""
        targets = self.labeller(anchors, boxes, size)
        if self._said is not None:
            self._said.append(targets)
        return targets

    @contextmanager
    def listening(self) -> Iterator[list[AnchorTargets]]:
        """The list that all which is said inside the ``with`` joins."""
        said: list[AnchorTargets] = []
        self._said = said
        try:
            yield said
        finally:
            self._said = None


def positives(targets: AnchorTargets) -> Tensor:
    """How many anchors of an image are used and told of a lesion."""
    return ((targets.objectness > 0) & (targets.objectness_weight > 0)).sum()


def objectness_floor(targets: AnchorTargets) -> Tensor:
    """The loss of objectness that a perfect answer has: 0 for hard labels, more for soft ones."""
    return (entropy(targets.objectness) * targets.objectness_weight).sum()


@torch.no_grad()
def positives_of_images(
    labeller: AnchorLabeller, anchors: Tensor, boxes: list[Tensor], size: tuple[int, int]
) -> Tensor:
    """``positives`` of images with these boxes (M_i, 4) each, (B,): what an arm of an experiment reports."""
    return torch.stack([positives(labeller(anchors, each, size)) for each in boxes])
