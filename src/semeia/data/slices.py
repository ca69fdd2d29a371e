"""Several slices around a key slice, and the frame that a detector sees them in.

Slices lie ``step_mm`` apart around the key slice, which stands at S // 2, lowest slice number first. Position p is
r * p slices from the key with r = step_mm / interval. Between two slices their values are mixed by frac(r * p). A slice
that does not exist is replaced by the nearest one that does, toward the key. Where the interval is not known the key
slice is repeated.

Known   The rule, and that MULAN, MVP-Net and A3D mix by frac(r) for every p, which is right for p = 1 alone: 5 mm
        slices at p = 2 are mixed .4 and .6 where .8 and .2 are right. ``legacy_interpolation`` does as they do.

Coordinates are outer edges: pixel i spans i to i + 1. A (2, 3) matrix leads from the slice to the frame.

Shapes      K key slices   S slices   M windows   n slices or boxes   H, W pixels
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from semeia.data.formats.deeplesion import KeySlice

Window = tuple[float, float]

WIDE: tuple[Window, ...] = ((-1024, 2050),)
"""Lowest and highest HU of AlignShift, A3D and SATr."""

MVP_NET: tuple[Window, ...] = ((-174, 274), (-1493, 484), (-534, 1425))
"""The three windows of MVP-Net."""

BODY = -768
"""HU above which MULAN takes a pixel for body."""

OPENING = 7
"""Side in pixels of the opening that takes thin things, such as the table, off the body."""

_WHOLE = 1e-6  # slices by which a position may miss a whole number


# ---------------------------------------------------------------------------------------------------------------------
# Which slices


@dataclass(frozen=True)
class SlicePlan:
    """Which slices make up the slabs of K key slices: ``(1 - weight) * near + weight * far``.

    ``near`` and ``far`` are (K, S) slice numbers, ``weight`` is (K, S) float32.
    """

    near: np.ndarray
    far: np.ndarray
    weight: np.ndarray

    def slab(self, row: int, read_slice: Callable[[int], np.ndarray]) -> np.ndarray:
        """The slab (S, H, W) float32 of one key slice; each slice is read once."""
        used = {int(number) for number in np.concatenate([self.near[row], self.far[row][self.weight[row] > 0]])}
        slices = {number: read_slice(number) for number in sorted(used)}
        slab = np.empty((self.near.shape[1], *next(iter(slices.values())).shape), np.float32)
        for place, (near, far, weight) in enumerate(zip(self.near[row], self.far[row], self.weight[row], strict=True)):
            slab[place] = slices[int(near)]
            if weight > 0 and near != far:
                slab[place] *= 1 - weight
                slab[place] += weight * slices[int(far)]
        return slab


def planned_slices(
    present: Sequence[int] | np.ndarray,
    keys: Sequence[int] | np.ndarray,
    interval: float,
    *,
    slices: int = 7,
    step_mm: float = 2.0,
    legacy_interpolation: bool = False,
) -> SlicePlan:
    """The slices that belong around each key slice; for a whole scan give all its slices as keys.

    Args:
        present: (n,) numbers of the slices that exist, rising.
        keys: (K,) numbers of key slices, all of them present.
        interval: Millimetres from slice to slice; NaN, 0 or less repeats the key slice.
        slices: S.
        step_mm: Millimetres from one of the S to the next.
        legacy_interpolation: Mix by frac(r) wherever r is no whole number, as published loaders do.
    """
    existing, middle = np.asarray(present, np.int64), np.asarray(keys, np.int64)
    offsets = np.arange(slices) - slices // 2
    # Further out than the whole scan there is nothing; the bound keeps tiny intervals from overflowing.
    reach = float(existing[-1] - existing[0] + 1)
    ratio = min(step_mm / interval, 2 * reach) if interval > 0 else 0.0
    steps = np.minimum(np.abs(offsets) * ratio, reach)  # (S,)
    steps = np.where(np.abs(steps - steps.round()) < _WHOLE, steps.round(), steps)
    low = np.floor(steps)
    weight = np.where(steps == low, 0.0, ratio - math.floor(ratio) if legacy_interpolation else steps - low)
    near, far = (_toward_key(existing, middle, np.sign(offsets) * np.int64(s)) for s in (low, np.ceil(steps)))
    return SlicePlan(near, far, np.broadcast_to(weight.astype(np.float32), near.shape))


def _toward_key(existing: np.ndarray, keys: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(K, S) the existing slice at each offset from each key, or else the nearest one toward the key."""
    wanted = keys[:, None] + offsets  # (K, S)
    below = existing[np.searchsorted(existing, wanted, side="right") - 1]  # the last one not above
    above = existing[np.searchsorted(existing, wanted, side="left") % len(existing)]  # the first one not below
    return np.where(offsets >= 0, below, above)


def slices_around(
    read_slice: Callable[[int], np.ndarray],
    present: Sequence[int] | np.ndarray,
    key: int,
    interval: float,
    *,
    slices: int = 7,
    step_mm: float = 2.0,
    legacy_interpolation: bool = False,
) -> np.ndarray:
    """The slab (S, H, W) float32 HU around a slice of anything that slices can be read from.

    Args:
        read_slice: From a slice number to (H, W) HU.
        present: As for ``planned_slices``.
        key: Number of the key slice.
        interval: As for ``planned_slices``.
        slices: S.
        step_mm: As for ``planned_slices``.
        legacy_interpolation: As for ``planned_slices``.
    """
    plan = planned_slices(
        present, [key], interval, slices=slices, step_mm=step_mm, legacy_interpolation=legacy_interpolation
    )
    return plan.slab(0, read_slice)


def load_slices(
    key: KeySlice,
    slices: int = 7,
    step_mm: float = 2.0,
    legacy_interpolation: bool = False,
    *,
    shift: int = 0,
    read_slice: Callable[[int], np.ndarray] | None = None,
) -> np.ndarray:
    """The slab (S, H, W) float32 HU around a key slice of DeepLesion.

    Args:
        key: The key slice.
        slices: S.
        step_mm: Millimetres from one slice to the next.
        legacy_interpolation: As for ``planned_slices``.
        shift: Slices by which the middle lies beside the key slice; a slice that exists.
        read_slice: Where slices come from; the files of the series by default.

    Raises:
        SemeiaError: A slice is damaged.
    """
    return slices_around(
        read_slice or key.series.read, key.series.numbers, key.slice + shift, key.interval,
        slices=slices, step_mm=step_mm, legacy_interpolation=legacy_interpolation,
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# The frame


def windowed(hu: np.ndarray, windows: Sequence[Window] = WIDE) -> np.ndarray:
    """HU (S, H, W) as (M * S, H, W) float32: each window from 0 to 1, all slices of the first window first."""
    return np.concatenate([np.clip((hu - np.float32(low)) / np.float32(high - low), 0, 1) for low, high in windows])


def body_box(hu: np.ndarray) -> tuple[int, int, int, int]:
    """The pixels x0, y0, x1, y1 of a slice (H, W) that hold the body; the whole slice where nothing looks like one."""
    # Erosion and dilation by a square part into rows and columns; outside the slice is no body.
    body = ndimage.minimum_filter((hu > BODY).astype(np.uint8), OPENING, mode="constant")
    body = ndimage.maximum_filter(body, OPENING, mode="constant")
    columns, rows = np.flatnonzero(body.any(0)), np.flatnonzero(body.any(1))
    if len(rows) == 0:
        return 0, 0, hu.shape[1], hu.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True)
class Movement:
    """How a training image differs from the frame of its slice, around the middle of the frame.

    Mirrored first if at all, then turned by ``rotation`` degrees (counter-clockwise as seen), scaled, and shifted by
    parts of the side (right, down).
    """

    flip: bool = False
    rotation: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Framing:
    """How slices of any size and spacing become images of one size; the same in training and in use.

    ``size`` is the side of the image. ``spacing`` is its millimetres a pixel, None keeps the slice's own. ``fit`` says
    what happens to a slice that is larger than the image then: it is shrunk, or only its middle is kept. A smaller one
    is padded with the lowest HU of all windows. ``border_clip`` cuts the slice to the body first.
    """

    size: int = 512
    spacing: float | None = None
    windows: tuple[Window, ...] = WIDE
    border_clip: bool = False
    fit: Literal["shrink", "crop"] = "shrink"

    @cached_property
    def hu(self) -> Window:
        """Lowest and highest HU that any window shows."""
        return min(low for low, _ in self.windows), max(high for _, high in self.windows)

    def region(self, hu: np.ndarray) -> tuple[int, int, int, int]:
        """The pixels x0, y0, x1, y1 of a slice (H, W) that are framed."""
        return body_box(hu) if self.border_clip else (0, 0, hu.shape[1], hu.shape[0])

    def matrix(
        self,
        region: tuple[int, int, int, int],
        spacing: tuple[float, float],
        movement: Movement = Movement(),
    ) -> np.ndarray:
        """(2, 3), from pixels of a slice to those of the image.

        Args:
            region: Pixels x0, y0, x1, y1 of the slice that are framed.
            spacing: Millimetres a pixel of the slice along x and y.
            movement: Of a training image.
        """
        start, end = np.array(region[:2], float), np.array(region[2:], float)
        scale = np.ones(2) if self.spacing is None else np.array(spacing) / self.spacing
        if self.fit == "shrink":
            scale = scale * min(1.0, float((self.size / (scale * (end - start))).min()))
        # Whole pixels, so that a slice which needs no scaling is not blurred.
        corner = np.floor((self.size - scale * (end - start)) / 2)
        frame = np.column_stack([np.diag(scale), corner - scale * start])  # (2, 3)
        return _moved(frame, movement, self.size)

    def image(self, slab: np.ndarray, region: tuple[int, int, int, int], matrix: np.ndarray) -> np.ndarray:
        """HU (S, H, W) as an image (S, size, size) from 0 to 1 over all HU that any window shows.

        ``split`` makes the windows of it.
        """
        x0, y0, x1, y1 = region
        low, high = self.hu
        clipped = windowed(slab[:, y0:y1, x0:x1], ((low, high),))
        return warped(clipped, matrix @ [[1, 0, x0], [0, 1, y0], [0, 0, 1]], self.size)

    def split(self, image: np.ndarray) -> np.ndarray:
        """(S, size, size) of ``image`` as (M * S, size, size), window by window, each from 0 to 1."""
        if len(self.windows) == 1:
            return np.clip(image, 0, 1)
        low, high = self.hu
        return windowed(image * np.float32(high - low) + np.float32(low), self.windows)


def _moved(matrix: np.ndarray, movement: Movement, side: int) -> np.ndarray:
    """A matrix (2, 3) into a frame, followed by a movement around the middle of the frame."""
    if movement == Movement():
        return matrix
    angle = math.radians(movement.rotation)
    cos, sin = movement.scale * math.cos(angle), movement.scale * math.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]]) @ np.diag([-1.0 if movement.flip else 1.0, 1.0])
    middle = np.full(2, side / 2)
    offset = middle - linear @ middle + np.array(movement.shift) * side
    return np.column_stack([linear, offset]) @ np.vstack([matrix, [0, 0, 1]])


def warped(image: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """An image (S, H, W) float32 as a matrix (2, 3) shows it in a square of ``side`` pixels; 0 outside.

    Linear between pixels, blocks of whole pixels averaged first where it shrinks to a half or less. A matrix that only
    moves by whole pixels, mirrored or not, copies.
    """
    source = torch.from_numpy(np.ascontiguousarray(image))[None]  # (1, S, H, W)
    block = int(1 / math.sqrt(abs(np.linalg.det(matrix[:, :2]))) + _WHOLE)
    if block > 1:
        source = F.avg_pool2d(source, block, ceil_mode=True, count_include_pad=False)
        matrix = matrix @ np.diag([block, block, 1.0])
    if np.array_equal(np.abs(matrix[:, :2]), np.eye(2)) and matrix[1, 1] == 1 and (matrix[:, 2] % 1 == 0).all():
        return _copied(source[0].numpy(), matrix, side)
    height, width = source.shape[2:]
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    # affine_grid speaks of both images as -1 to 1.
    unit_in, unit_out = np.diag([2 / width, 2 / height, 1.0]), np.diag([side / 2, side / 2, 1.0])
    unit_in[:2, 2], unit_out[:2, 2] = -1, side / 2
    theta = torch.from_numpy((unit_in @ back @ unit_out)[None, :2].astype(np.float32))
    grid = F.affine_grid(theta, [1, 1, side, side], align_corners=False)
    return F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0].numpy()


def _copied(image: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """``warped`` by whole pixels."""
    height, width = image.shape[1:]
    x, y = matrix[:, 2].astype(int)
    if matrix[0, 0] < 0:
        image, x = image[..., ::-1], x - width
    out = np.zeros((len(image), side, side), np.float32)
    left, right, top, bottom = max(x, 0), min(x + width, side), max(y, 0), min(y + height, side)
    if left < right and top < bottom:
        out[:, top:bottom, left:right] = image[:, top - y : bottom - y, left - x : right - x]
    return out


def moved_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (..., 2) where a matrix (2, 3) puts them."""
    return np.asarray(points, float) @ matrix[:, :2].T + matrix[:, 2]


def moved_boxes(matrix: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(n, 4) the boxes around the corners of boxes (n, 4), where a matrix (2, 3) puts those."""
    corners = np.asarray(boxes, float)[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]  # (n, 4, 2)
    moved = moved_points(matrix, corners)
    return np.concatenate([moved.min(1), moved.max(1)], -1)
