"""The two axes of RECIST on one slice, as a reader would draw them, and the box around them.

Shapes      H, W pixels   Q points of an edge
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError

PADDING = 5.0
"""Pixels that DeepLesion adds around the extremes of the axes (KNOWN, uld_protocol.md section 2)."""


@dataclass(frozen=True)
class Axes:
    """``ends`` (4, 2): x, y of the ends of the long axis, then of the short one, in pixels; lengths in pixels."""

    ends: np.ndarray
    long: float
    short: float


def edge_points(cover: np.ndarray) -> np.ndarray:
    """(Q, 2) x and y of the places where a cover (H, W) in [0, 1] passes one half between neighbouring pixels.

    Pixel i spans i to i + 1, so that its middle lies at i + 0.5.
    """
    padded = np.pad(cover.astype(float), 1) - 0.5
    points = []
    for axis in (0, 1):
        a = padded[:-1] if axis == 0 else padded[:, :-1]
        b = padded[1:] if axis == 0 else padded[:, 1:]
        rows, columns = np.nonzero((a >= 0) != (b >= 0))
        share = a[rows, columns] / (a[rows, columns] - b[rows, columns])
        y = rows + share * (axis == 0) - 0.5
        x = columns + share * (axis == 1) - 0.5
        points.append(np.stack([x, y], 1))
    return np.concatenate(points)


def measure(cover: np.ndarray) -> Axes | None:
    """Longest diameter of a region and the longest chord across it at a right angle.

    Args:
        cover: (H, W) share of each pixel that the region covers; its edge is at one half.

    Returns:
        The axes, or None where the region is too small to have any.
    """
    points = edge_points(cover)
    if len(points) < 4:
        return None
    try:
        hull = points[ConvexHull(points).vertices]
    except QhullError:
        return None
    apart = np.linalg.norm(hull[:, None] - hull[None], axis=-1)
    i, j = np.unravel_index(apart.argmax(), apart.shape)
    long = float(apart[i, j])
    way = (hull[j] - hull[i]) / long
    across = np.array([-way[1], way[0]])
    along, aside = (points - hull[i]) @ way, (points - hull[i]) @ across
    best = (0.0, hull[i], hull[i])
    for place in np.arange(0.5, long, 0.5):
        near = np.abs(along - place) < 0.6
        if near.sum() > 1:
            low, high = aside[near].min(), aside[near].max()
            if high - low > best[0]:
                foot = hull[i] + place * way
                best = (float(high - low), foot + low * across, foot + high * across)
    if best[0] <= 0:
        return None
    return Axes(np.stack([hull[i], hull[j], best[1], best[2]]), long, min(best[0], long))


def padded_box(ends: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(4,) x0, y0, x1, y1: extremes of the axes (4, 2) and ``PADDING`` around, inside an image of ``size`` (W, H)."""
    low, high = ends.min(0) - PADDING, ends.max(0) + PADDING
    limit = np.array(size, float)
    return np.concatenate([np.clip(low, 0, limit), np.clip(high, 0, limit)])
