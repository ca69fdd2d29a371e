"""Face tracks: which box of a frame carries on which track of the frames before.

Boxes are compared by overlap alone. Nothing of a face goes into a track, so nobody is recognised: whoever appears where
a face was a moment ago carries its track on, and a face that comes back elsewhere or later is a new one.

Shapes      N, M boxes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semeia.ops.boxes import iou

SAME = 0.2
"""Overlap (intersection over union) from which a box carries on the track of another: a face may move by two thirds of
its width or height from one frame to the next."""

DOUBLE = 0.5
"""Overlap from which two boxes of one frame are one face; two heads side by side stay below."""


@dataclass(frozen=True)
class Track:
    """A face seen before: its number, and where and when it was seen last.

    ``box`` is left, top, right, bottom in pixels; ``time`` is in seconds.
    """

    number: int
    box: tuple[float, float, float, float]
    time: float


def pairs(shared: np.ndarray, *, least: float) -> list[tuple[int, int]]:
    """Pair rows and columns of overlaps (N, M), the largest first, each at most once and none below ``least``.

    Ties go to the earlier row, then to the earlier column.
    """
    rows, columns = np.nonzero(shared >= least)
    order = np.argsort(-shared[rows, columns], kind="stable")
    found: list[tuple[int, int]] = []
    for i in order:
        row, column = int(rows[i]), int(columns[i])
        if all(row != r and column != c for r, c in found):
            found.append((row, column))
    return found


def carry_on(boxes: np.ndarray, tracks: Sequence[Track], *, time: float, gap: float) -> list[int | None]:
    """Find for each box of a frame the track that it carries on.

    Args:
        boxes: (N, 4): left, top, right, bottom in pixels.
        tracks: All that may go on.
        time: Of the frame, in seconds.
        gap: How long, in seconds, a face may be away and keep its number.

    Returns:
        For each box the place of its track in ``tracks``, or None for a face that is new.
    """
    found: list[int | None] = [None] * len(boxes)
    recent = [i for i, track in enumerate(tracks) if time - track.time <= gap]
    if len(boxes) and recent:
        before = np.array([tracks[i].box for i in recent])
        for box, i in pairs(iou(boxes, before), least=SAME):
            found[box] = recent[i]
    return found


def distinct(boxes: np.ndarray, worth: np.ndarray) -> list[int]:
    """Keep one of the boxes (N, 4) that show the same face: the worthiest (N,), among equals the first.

    Returns:
        Places of the boxes that stay, rising.
    """
    shared = iou(boxes, boxes)
    kept: list[int] = []
    for i in np.argsort(-worth, kind="stable"):
        if all(shared[i, j] < DOUBLE for j in kept):
            kept.append(int(i))
    return sorted(kept)
