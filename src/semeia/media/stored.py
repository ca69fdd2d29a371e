"""What the files of a scan hold, as they hold it: a grid of stored voxels and a way to read some of its slices.

Shapes      I, J, K stored voxels, the fastest axis of the file first   n slices
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from semeia.media.grids import Grid
from semeia.records import SemeiaError


@dataclass(frozen=True)
class ScanUids:
    """DICOM's names of a scan; ``instances`` are those of its slices as stored. Empty where the file has none."""

    study: str
    series: str
    frame_of_reference: str
    instances: tuple[str, ...]


class Stored(Protocol):
    """A scan as a format reads it.

    Attributes:
        grid: Where its voxels lie.
        notes: What was repaired or assumed, one sentence each.
        thickness: Of a slice in mm, where it is known.
        numbers: The input's own number of each slice as stored, from 0; None where it is the place along the axis.
        files: The file of each slice as stored; one file where it holds all of them.
        uids: Where the input is DICOM.
    """

    grid: Grid
    notes: tuple[str, ...]
    thickness: float | None
    numbers: tuple[int, ...] | None
    files: tuple[Path, ...]
    uids: ScanUids | None

    def read(self, first: int, last: int) -> np.ndarray:
        """Values (I, J, K) float32 in HU, with the slices first to last of the stored slice axis alone."""


class ArrayScan:
    """A scan that lies in one uncompressed file.

    Pieces are read through a memory map, whichever stored axis counts axial slices: with the file in the system's
    cache, nine slices of 512 x 512 x 300 voxels took 11 to 37 ms along any of the three axes, so that nothing is gained
    by a reordered copy.

    Args:
        path: The uncompressed file.
        dtype: Of a stored value.
        offset: Bytes before the first value.
        grid: Where its voxels lie.
        scale: Slope and intercept that lead to HU.
        notes: What was repaired or assumed.
        thickness: Of a slice in mm.
        source: What the user named, for messages.
        files: What the user's file is, where ``path`` is an unpacked copy.

    Raises:
        SemeiaError: The file ends before its last voxel.
    """

    numbers: tuple[int, ...] | None = None
    uids: ScanUids | None = None

    def __init__(
        self,
        path: Path,
        dtype: np.dtype,
        offset: int,
        *,
        grid: Grid,
        scale: tuple[float, float],
        notes: Sequence[str],
        thickness: float | None,
        source: str,
        files: tuple[Path, ...],
    ) -> None:
        needed = offset + size_in_bytes(grid.shape, dtype)
        found = path.stat().st_size
        if found < needed:
            raise SemeiaError(f"{source}: truncated, expected {needed:,} bytes for {' x '.join(map(str, grid.shape))} "
                              f"voxels, found {found:,}; copy or download it again")  # fmt: skip
        self.grid, self.thickness, self.files = grid, thickness, files
        self.notes = tuple(notes)
        self._scale = scale
        self._voxels = np.memmap(path, dtype, "r", offset=offset, shape=grid.shape, order="F")

    def read(self, first: int, last: int) -> np.ndarray:
        """See ``Stored``."""
        part = [slice(None)] * 3
        part[self.grid.axes[2]] = slice(first, last + 1)
        return in_hounsfield(self._voxels[tuple(part)], *self._scale)


def size_in_bytes(shape: Sequence[int], dtype: np.dtype) -> int:
    """Of all voxels."""
    return int(np.prod(shape, dtype=object)) * dtype.itemsize


def in_hounsfield(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Stored values brought to float32 HU, computed in float64 so that every format rounds alike."""
    if slope == 1 and intercept == 0:
        return stored.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        return (stored.astype(np.float64) * slope + intercept).astype(np.float32)


def sampled(count: int) -> list[int]:
    """Slices at a quarter, the middle and three quarters of a scan."""
    return sorted({count // 4, count // 2, count * 3 // 4})


def doubt(sample: np.ndarray) -> str | None:
    """What speaks against values being HU, in a sentence; None where nothing does.

    Args:
        sample: Finite values of a few whole slices.
    """
    low, high = float(sample.min()), float(sample.max())
    doubts = (
        (low == high, f"the slices that were looked at have one value alone, {low:g}"),
        (low >= 0 and high <= 1, "they lie between 0 and 1, as those of a mask or of a rescaled scan do"),
        (low >= 0 and high <= 255, "they lie between 0 and 255, as those of a picture do"),
        (low >= 0, "none is below 0, though air is near -1000; nothing was shifted"),
        (high <= 1, f"none is above {high:g}, though tissue is near 0 to 100"),
        (high > 40_000, f"they reach {high:,.0f}"),
    )
    return next((f"The values do not look like Hounsfield units: {why}." for holds, why in doubts if holds), None)
