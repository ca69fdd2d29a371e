"""Lesions out of boxes on slices: boxes of neighbouring slices that lie on one another are one lesion.

    boxes of a slice -> those that double another go (NMS) -> each goes on with the group below it that it overlaps
    most, or opens a group of its own

A group is one box a slice. Overlap is intersection over union in the plane. The rule and its numbers are this
project's: papers on DeepLesion answer for key slices alone.

Shapes      N boxes   G boxes of a group
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semeia.ops.boxes import iou, nms
from semeia.ops.tracks import pairs

SAME = 0.3
"""Overlap from which boxes of neighbouring slices are one lesion, and from which two of one slice are. Squares around
a ball of 20 mm cut every 5 mm have 0.75 one slice off its middle; a box that moved aside by half its width has 0.33."""

GAP = 1
"""Slices in a row that may lack a box within a lesion: one that the detector missed."""


@dataclass(frozen=True)
class LesionGroup:
    """Boxes that are one lesion.

    ``members`` are places among the boxes given, from the first slice to the last. ``score`` is the best of theirs: a
    mean would punish a lesion for its faint ends, and a noisy-or would grow with every slice, so that a long vessel
    outdid a small lesion. ``slices`` are the first and the last. ``box`` is x0, y0, x1, y1 in pixels around all of
    them. ``largest`` is the member with the most area, and ``long_mm`` and ``short_mm`` are the sides of its box.
    """

    members: tuple[int, ...]
    score: float
    slices: tuple[int, int]
    box: tuple[float, float, float, float]
    largest: int
    long_mm: float
    short_mm: float


def lesion_groups(
    slices: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    spacing: tuple[float, float],
    read: Sequence[int] | None = None,
    same: float = SAME,
    gap: int = GAP,
    padding: float = 0.0,
) -> list[LesionGroup]:
    """Group the boxes of a scan.

    Slices are taken in order. A box goes on with at most one group and a group with at most one box of a slice: of
    all that overlap enough the pair with the most, then the next; groups that the slice before belongs to choose
    before those across a gap. Equal overlaps go to the box with the better score.

    Args:
        slices: (N,) whole number of the slice of each box.
        boxes: (N, 4) x0, y0, x1, y1 in pixels.
        scores: (N,).
        spacing: Millimetres from column to column and from row to row.
        read: Slices that were searched, if not all: what lies between two of them is no gap.
        same: Least overlap.
        gap: Searched slices without a box that a group may pass over.
        padding: Pixels that boxes are wider on each side than what they show; the axes are told without it. It is 5
            in DeepLesion. No axis gets shorter than a pixel.

    Returns:
        The best score first; of equal ones the earlier slice, then the earlier box.
    """
    searched = np.unique(slices if read is None else read)
    if read is None and len(searched):
        searched = np.arange(searched[0], searched[-1] + 1)
    place = np.searchsorted(searched, slices)
    order = np.lexsort((-scores, place))
    ends = np.searchsorted(place[order], np.arange(len(searched) + 1))
    done: list[list[int]] = []
    growing: list[list[int]] = []
    for here in range(len(searched)):
        reach = [here - place[group[-1]] for group in growing]
        done += [group for group, away in zip(growing, reach, strict=True) if away > gap + 1]
        growing = [group for group, away in zip(growing, reach, strict=True) if away <= gap + 1]
        members = order[ends[here] : ends[here + 1]]
        if len(members):
            members = members[nms(boxes[members], scores[members], most=np.nextafter(same, 0))]
            growing += _go_on(growing, members, here, place=place, boxes=boxes, same=same)
    groups = [
        _told(group, slices=slices, boxes=boxes, scores=scores, spacing=spacing, padding=padding)
        for group in done + growing
    ]
    return sorted(groups, key=lambda group: (-group.score, group.slices, group.members))


def _go_on(
    growing: list[list[int]], members: np.ndarray, here: int, *, place: np.ndarray, boxes: np.ndarray, same: float
) -> list[list[int]]:
    """Add the boxes of a slice to the groups that they go on with; return new groups of all others."""
    left = list(members)
    away = np.array([here - place[group[-1]] for group in growing], int)
    for distance in np.unique(away):
        waiting = [growing[i] for i in np.flatnonzero(away == distance)]
        ends = boxes[[group[-1] for group in waiting]]
        found = pairs(iou(boxes[left], ends), least=same)
        for box, group in found:
            waiting[group].append(int(left[box]))
        taken = {box for box, _ in found}
        left = [member for i, member in enumerate(left) if i not in taken]
    return [[int(member)] for member in left]


def _told(
    group: list[int],
    *,
    slices: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    spacing: tuple[float, float],
    padding: float,
) -> LesionGroup:
    """What a group comes to."""
    own = boxes[group].astype(float)  # (G, 4)
    sides = own[:, 2:] - own[:, :2]
    sides = np.maximum(sides - 2 * padding, np.minimum(sides, 1)) * spacing
    # The most area; of equal ones the best score, then the first slice.
    largest = int(np.lexsort((-scores[group], -sides.prod(1)))[0])
    short, long = np.sort(sides[largest]).tolist()
    low, high = own[:, :2].min(0), own[:, 2:].max(0)
    return LesionGroup(
        members=tuple(group),
        score=float(scores[group].max()),
        slices=(int(slices[group[0]]), int(slices[group[-1]])),
        box=(float(low[0]), float(low[1]), float(high[0]), float(high[1])),
        largest=group[largest],
        long_mm=long,
        short_mm=short,
    )
