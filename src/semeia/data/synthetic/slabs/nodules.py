"""Nodules put into real lungs, for who has scans: partial volume, the scan's own noise, truth by construction.

Shapes      S slices   H, W pixels
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from semeia.data.synthetic.slabs.kinds import KINDS
from semeia.data.synthetic.slabs.lesions import draw_form, grow
from semeia.records import SemeiaError

_AIR = -450  # HU below which lungs lie
_LEAST_LUNG = 2e4  # mm^3 of the smallest piece that counts as lung
_PLANE = 1.0  # mm between the planes of which a slice is the mean, at most
_BLUR = 0.7  # mm, of a usual kernel
_SOLID = next(kind for kind in KINDS if kind.name == "lung solid")


def lung_mask(hu: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """(S, H, W) bool: large pieces of air inside the body, by thresholds and connected parts.

    Args:
        hu: (S, H, W).
        spacing: x, y, z in mm.
    """
    body = np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(one > -300, iterations=2)) for one in hu])
    parts, count = ndimage.label((hu < _AIR) & body)
    size = np.bincount(parts.ravel(), minlength=count + 1) * float(np.prod(spacing))
    size[0] = 0
    return (size >= _LEAST_LUNG)[parts]


def insert_nodules(
    hu: np.ndarray,
    spacing: Sequence[float],
    rng: np.random.Generator,
    *,
    count: int = 1,
    long_mm: tuple[float, float] = (5.0, 22.0),
) -> tuple[np.ndarray, np.ndarray]:
    """Put solid nodules into the lungs of a scan.

    Args:
        hu: (S, H, W) int16 or float, HU; it is not changed.
        spacing: x, y, z in mm; pixels are square.
        rng: random numbers.
        count: nodules; fewer where there is no room.
        long_mm: least and largest long axis, drawn evenly in the logarithm.

    Returns:
        The scan (S, H, W) of the same type with nodules, and masks (S, H, W) uint8: 0, or the number of a nodule.

    Raises:
        SemeiaError: The array or its spacing is none of a scan, or no lung was found.
    """
    if hu.ndim != 3 or 0 in hu.shape or not np.isfinite(hu).all():
        raise SemeiaError(
            f"insert_nodules: expected finite HU (S, H, W), found shape {hu.shape} or NaN; correct the scan"
        )
    sizes = tuple(float(length) for length in spacing)
    if (
        len(sizes) != 3
        or not all(math.isfinite(s) and s > 0 for s in sizes)
        or abs(sizes[0] - sizes[1]) > 0.01 * sizes[0]
    ):
        raise SemeiaError(
            f"insert_nodules: expected a spacing x, y, z in mm with square pixels, found {sizes}; resample"
        )
    if not 1 <= count <= 255:
        raise SemeiaError(f"insert_nodules: expected 1 to 255 nodules, found {count}")
    lung = lung_mask(hu, sizes)
    if not lung.any():
        raise SemeiaError(
            "insert_nodules: expected a scan with lungs in HU, found none; check the rescale slope of the scan"
        )
    out, masks = hu.astype(np.float32), np.zeros(hu.shape, np.uint8)
    sigma = _noise(hu)
    planes = max(1, math.ceil(sizes[2] / _PLANE))
    depth = ndimage.distance_transform_edt(lung, sampling=(sizes[2], sizes[1], sizes[0]))
    for number in range(1, count + 1):
        long = float(np.exp(rng.uniform(*np.log(long_mm))))
        room = np.flatnonzero((depth > 0.35 * long) & (masks == 0))
        if not len(room):
            continue
        k, row, column = np.unravel_index(room[rng.integers(len(room))], hu.shape)
        centre = ((k + 0.5) * planes - 0.5, float(row), float(column))
        form = draw_form(rng, _SOLID, long, centre)
        grown = grow(form, (hu.shape[0] * planes, *hu.shape[1:]), sizes[0], sizes[2] / planes)
        if grown is None:
            continue
        # Whole slices, so that planes can be averaged.
        first, last = grown.window[0].start // planes, -(-grown.window[0].stop // planes)
        cover = np.zeros(((last - first) * planes, *grown.cover.shape[1:]), np.float32)
        start = grown.window[0].start - first * planes
        cover[start : start + len(grown.cover)] = grown.cover
        cover = cover.reshape(last - first, planes, *cover.shape[1:]).mean(1)
        cover = ndimage.gaussian_filter(cover, (0, _BLUR / sizes[1], _BLUR / sizes[0]))
        window = (slice(first, last), *grown.window[1:])
        grain = ndimage.gaussian_filter(rng.standard_normal(cover.shape), (0, 0.6, 0.6))
        value = rng.uniform(0, 60) + sigma * grain / max(grain.std(), 1e-6)
        below = out[window]
        mixed = below * (1 - cover) + value * cover
        # A vessel or wall that is denser stays.
        out[window] = np.where((cover > 0) & (mixed > below), mixed, below)
        masks[window][(cover >= 0.5) & (masks[window] == 0)] = number
    if np.issubdtype(hu.dtype, np.integer):
        limits = np.iinfo(hu.dtype)
        out = np.clip(np.rint(out), limits.min, limits.max)
    return out.astype(hu.dtype), masks


def _noise(hu: np.ndarray) -> float:
    """Standard deviation of the noise in soft tissue, from neighbours in a row."""
    soft = (hu > -20) & (hu < 120)
    pairs = soft[..., 1:] & soft[..., :-1]
    steps = (hu[..., 1:].astype(np.float32) - hu[..., :-1])[pairs]
    # The median absolute value is 0.6745 of the deviation of a normal; two values make a step.
    return float(np.median(np.abs(steps)) / 0.6745 / math.sqrt(2)) if len(steps) else 12.0
