"""Boxes as arrays: overlaps and non-maximum suppression.

A box is its low corner, then its high corner, outer edges: x0, y0, x1, y1 in the plane and x0, y0, z0, x1, y1, z1 in
space.
For tensors ``torchvision.ops`` has the same of the plane (``box_iou``, ``nms``).

Shapes      N, M boxes   D axes, 2 or 3
"""

from __future__ import annotations

import numpy as np


def sizes(boxes: np.ndarray, *, plus: float = 0.0) -> np.ndarray:
    """Area or volume of boxes (N, 2 D), as (N,).

    Args:
        boxes: Of any unit.
        plus: Added to every side: 1 where corners name the first and the last pixel, as in older detection code.
    """
    axes = boxes.shape[1] // 2
    return (boxes[:, axes:] - boxes[:, :axes] + plus).clip(min=0).prod(1)


def iou(boxes: np.ndarray, others: np.ndarray, *, plus: float = 0.0) -> np.ndarray:
    """Intersection over union of each box (N, 2 D) with each other (M, 2 D); ``plus`` as of ``sizes``.

    Returns:
        (N, M) in [0, 1]; 0 where neither has a size.
    """
    shared = _shared(boxes, others, plus)
    union = sizes(boxes, plus=plus)[:, None] + sizes(others, plus=plus) - shared
    return np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)


def iobb(boxes: np.ndarray, truths: np.ndarray, *, plus: float = 0.0) -> np.ndarray:
    """Intersection over the detected box: which part of each detection (N, 2 D) lies in each truth (M, 2 D).

    A small box anywhere in a large truth has 1. ``plus`` as of ``sizes``.

    Returns:
        (N, M) in [0, 1]; 0 where the detection has no size.
    """
    shared = _shared(boxes, truths, plus)
    own = np.broadcast_to(sizes(boxes, plus=plus)[:, None], shared.shape)
    return np.divide(shared, own, out=np.zeros(shared.shape), where=own > 0)


def nms(boxes: np.ndarray, scores: np.ndarray, *, most: float) -> np.ndarray:
    """Non-maximum suppression: take boxes from the best score on, and none that overlaps a taken one by more.

    Args:
        boxes: (N, 2 D).
        scores: (N,). Of equal ones the first is taken first.
        most: Largest intersection over union of two boxes that both stay.

    Returns:
        Places of the boxes that stay, best first.
    """
    waiting = np.argsort(-scores, kind="stable")
    taken: list[int] = []
    while len(waiting):
        best, rest = waiting[0], waiting[1:]
        taken.append(int(best))
        waiting = rest[iou(boxes[best : best + 1], boxes[rest])[0] <= most]
    return np.array(taken, int)


def _shared(boxes: np.ndarray, others: np.ndarray, plus: float) -> np.ndarray:
    """(N, M) area or volume that two boxes share."""
    axes = boxes.shape[1] // 2
    low = np.maximum(boxes[:, None, :axes], others[None, :, :axes])
    high = np.minimum(boxes[:, None, axes:], others[None, :, axes:])
    return (high - low + plus).clip(min=0).prod(-1)  # (N, M, D) -> (N, M)
