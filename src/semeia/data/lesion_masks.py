"""Masks of lesions that were measured with two axes.

Shapes      n lesions   H, W pixels
"""

from __future__ import annotations

import math

import numpy as np

from semeia.data.formats.deeplesion import MASKS, KeySlice
from semeia.data.formats.slice_files import grey_pixels


def masks_of(key: KeySlice) -> np.ndarray:
    """Masks of the lesions of a key slice: from ``Masks_png`` where it shows the lesion, else the ellipse of its axes.

    Lesion numbers need no order: a lesion has the number that most pixels of its ellipse have.

    Returns:
        (n, H, W) bool.

    Raises:
        SemeiaError: A mask is damaged, no 8-bit PNG, or of another size than the table says.
    """
    ellipses = np.stack([ellipse_mask(finding.recist, key.series.size) for finding in key.findings])
    path = key.series.folder.parent.parent / MASKS / key.series.name / f"{key.slice:03d}.png"
    if not path.is_file():
        return ellipses
    numbers = grey_pixels(path, key.series.size, bits=8)
    commonest = [_commonest(numbers[ellipse]) for ellipse in ellipses]
    return np.stack([numbers == n if n else ellipse for n, ellipse in zip(commonest, ellipses, strict=True)])


def ellipse_mask(recist: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What the two axes of a lesion span: four quarter arcs, each of an ellipse through neighbouring ends.

    The arcs meet in the point where the axes cross (MULAN makes its masks so). The pixel of that point always belongs.

    Args:
        recist: (4, 2) ends of the long, then of the short axis, in pixels.
        size: W, H.

    Returns:
        (H, W) bool; a pixel belongs where its middle does.
    """
    width, height = size
    ends = np.asarray(recist, float)[[0, 2, 1, 3]]  # around the lesion
    middle = _crossing(ends)
    mask = np.zeros((height, width), bool)
    # a * one + b * other with a^2 + b^2 <= 1 reaches no further, though it may reach beyond the ends.
    reach = math.sqrt(2) * np.abs(ends - middle).max(0)
    left, top = np.clip(np.floor(middle - reach).astype(int), 0, (width - 1, height - 1))
    right, bottom = np.clip(np.ceil(middle + reach).astype(int), (left + 1, top + 1), (width, height))
    x, y = np.arange(left, right) + 0.5 - middle[0], np.arange(top, bottom)[:, None] + 0.5 - middle[1]
    for one, other in zip(ends - middle, np.roll(ends, -1, 0) - middle, strict=True):
        area = one[0] * other[1] - one[1] * other[0]
        if abs(area) > 1e-9:  # else the two ends and the middle lie on a line
            # A pixel is a * one + b * other from the middle.
            a, b = (x * other[1] - y * other[0]) / area, (y * one[0] - x * one[1]) / area
            mask[top:bottom, left:right] |= (a >= 0) & (b >= 0) & (a * a + b * b <= 1)
    column, row = np.clip(np.floor(middle).astype(int), 0, (width - 1, height - 1))
    mask[row, column] = True
    return mask


def _crossing(ends: np.ndarray) -> np.ndarray:
    """Where the axes (4, 2) cross, kept on the long one; its middle where they are parallel."""
    start, along = ends[0], ends[2] - ends[0]
    across, between = ends[3] - ends[1], ends[1] - ends[0]
    area = along[0] * across[1] - along[1] * across[0]
    part = (between[0] * across[1] - between[1] * across[0]) / area if abs(area) > 1e-9 else 0.5
    return start + np.clip(part, 0, 1) * along


def _commonest(numbers: np.ndarray) -> int:
    """The lesion number (of n pixels) that most of them have; 0 where none has one."""
    counts = np.bincount(numbers, minlength=1)
    counts[0] = 0
    return int(counts.argmax()) if counts.any() else 0
