"""The boxes of a reading, placed in the axial view of its scan and told which lesion they belong to.

Writers of tables stay in the file's own slices and pixels; pictures and pages are drawn in the axial view.

Shapes      N boxes   L lesions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from semeia.media.grids import Grid
from semeia.media.volumes import Volume
from semeia.ops.boxes import iou
from semeia.ops.tracks import pairs
from semeia.records import Lesion, ScanReading

Corners = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels, outer edges."""

NOTICE = "Candidate lesions found by software. Not a medical device, no diagnosis."
"""What every picture, page and table says of its boxes, where there is room."""

NEAR_MM = 0.5
"""A box may reach over its lesion's box in the patient by this much: both were rounded."""


@dataclass(frozen=True)
class PlacedBox:
    """A box of a reading.

    Attributes:
        own_slice: Number of its slice in the file's order.
        own_box: In pixels of that slice.
        score: In [0, 1].
        z: Its axial slice.
        box: In pixels of that.
        lesion: Number of the lesion that it belongs to, from 1; None where it belongs to none.
    """

    own_slice: int
    own_box: Corners
    score: float
    z: int
    box: Corners
    lesion: int | None = None

    @property
    def area(self) -> float:
        """In pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


def placed_boxes(reading: ScanReading, scan: Volume) -> list[PlacedBox]:
    """All boxes of a reading, by axial slice and then as they stand in it.

    A box belongs to the lesion whose slices hold its own and whose box in the patient it overlaps most, of all that
    hold it; a lesion has one box a slice.
    """
    found = []
    places = {}
    for z in range(scan.shape[0]):
        own = scan.own_slice(z)
        places[own] = z
        found += [
            PlacedBox(own, box.box, box.score, z, axial_box(scan.grid, box.box)) for box in reading.slices.get(own, ())
        ]
    # Frames may be stored in any order, so that a lesion's slices are neighbours in the axial view alone.
    spans = [sorted(places.get(own, -1) for own in lesion.slices) for lesion in reading.lesions]
    placed: list[PlacedBox] = []
    for z in sorted({box.z for box in found}):
        here = [box for box in found if box.z == z]
        there = [i for i, (first, last) in enumerate(spans) if first <= z <= last]
        numbers = _lesions_of(here, [reading.lesions[i] for i in there], scan)
        placed += [replace(box, lesion=there[numbers[i]] + 1 if i in numbers else None) for i, box in enumerate(here)]
    return placed


def key_boxes(boxes: Sequence[PlacedBox]) -> dict[int, PlacedBox]:
    """The largest box of each lesion by its number; of equal ones the best score, then the first slice of the file."""
    keys: dict[int, PlacedBox] = {}
    for box in sorted(boxes, key=lambda box: (-box.area, -box.score, box.own_slice)):
        if box.lesion is not None:
            keys.setdefault(box.lesion, box)
    return keys


def filled(boxes: Sequence[PlacedBox], lesion: int) -> dict[int, Corners]:
    """Axial slice -> box of a lesion, from its first to its last; slices that lack one get what lies between."""
    own = sorted((box for box in boxes if box.lesion == lesion), key=lambda box: box.z)
    if not own:
        return {}
    places = [box.z for box in own]
    every = np.arange(places[0], places[-1] + 1)
    edges = [np.interp(every, places, [box.box[side] for box in own]).tolist() for side in range(4)]
    return {int(z): (x0, y0, x1, y1) for z, x0, y0, x1, y1 in zip(every, *edges, strict=True)}


def axial_box(grid: Grid, own: Corners) -> Corners:
    """The inverse of ``Grid.stored_box``: a box in the file's own pixels as one of the axial view."""
    x_axis, y_axis, _ = grid.axes
    edges = {min(x_axis, y_axis): own[::2], max(x_axis, y_axis): own[1::2]}
    (x0, x1), (y0, y1) = (
        (grid.shape[axis] - edges[axis][1], grid.shape[axis] - edges[axis][0]) if flipped else edges[axis]
        for axis, flipped in ((x_axis, grid.flips[0]), (y_axis, grid.flips[1]))
    )
    return x0, y0, x1, y1


def _lesions_of(here: Sequence[PlacedBox], lesions: Sequence[Lesion], scan: Volume) -> dict[int, int]:
    """Place among the boxes of a slice -> place among the lesions that reach there."""
    if not lesions:
        return {}
    plane = [0, 1, 3, 4]
    boxes = np.array([scan.to_world(box.z, box.z, box.box) for box in here])[:, plane]  # (N, 4) mm
    others = np.array([lesion.box_world_mm for lesion in lesions])[:, plane]  # (L, 4) mm
    held = (boxes[:, None, :2] >= others[None, :, :2] - NEAR_MM) & (boxes[:, None, 2:] <= others[None, :, 2:] + NEAR_MM)
    shared = np.where(held.all(-1), iou(boxes, others), 0.0)  # (N, L)
    return dict(pairs(shared, least=1e-6))
