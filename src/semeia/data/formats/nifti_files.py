"""NIfTI files of data sets whose pictures and masks lie on one grid, as BraTS and LiTS keep them.

A user's own scan is read by ``media.nifti``, which keeps CT conventions and stands beside this rung of the ladder. Here
values stay as they are stored, in any modality.

Shapes      I, J, K stored voxels   H, W pixels of an axial slice
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from semeia.files import whole_file
from semeia.records import SemeiaError

SUFFIXES = (".nii.gz", ".nii")
MAX_SIDE = 10_000
NEAR_MM = 0.01
"""By which corners of two grids that are the same may differ: rounding in headers leaves less."""
_BROKEN = (ImageFileError, HeaderDataError, WrapStructError, OSError, EOFError, ValueError, OverflowError, zlib.error)


@dataclass(frozen=True)
class NiftiFile:
    """A volume in a file; voxels are read when they are asked for.

    Attributes:
        path: The file.
        shape: I, J, K.
        affine: (4, 4), voxel to RAS mm.
    """

    path: Path
    shape: tuple[int, int, int]
    affine: np.ndarray = field(repr=False, compare=False)
    _proxy: Any = field(repr=False, compare=False)

    @cached_property
    def _view(self) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
        """Stored axes that count slices, rows and columns of the axial view, and whether each runs the other way."""
        towards = nib.orientations.io_orientation(self.affine)  # each stored axis: x, y or z of RAS, and its sign
        stored = {int(world): (axis, sign) for axis, (world, sign) in enumerate(towards)}
        (x, right), (y, front), (z, head) = stored[0], stored[1], stored[2]
        return (z, y, x), (head < 0, front > 0, right > 0)

    @property
    def slices(self) -> int:
        """Axial slices."""
        return self.shape[self._view[0][0]]

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Millimetres from column to column, row to row and slice to slice of the axial view."""
        sides = np.linalg.norm(self.affine[:3, :3], axis=0)
        z, y, x = self._view[0]
        return float(sides[x]), float(sides[y]), float(sides[z])

    def axial(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Slices ``first`` to ``last``, both included, seen from the feet: rows to the back, columns to the left.

        Returns:
            (n, H, W) in the type of the stored values, or float64 where the header scales them.

        Raises:
            SemeiaError: The file is damaged or truncated.
        """
        axes, turned = self._view
        last = self.slices - 1 if last is None else last
        low, high = (self.slices - 1 - last, self.slices - 1 - first) if turned[0] else (first, last)
        part: list[slice] = [slice(None)] * 3
        part[axes[0]] = slice(low, high + 1)
        voxels = self._voxels(tuple(part)).transpose(axes)
        return np.ascontiguousarray(voxels[tuple(slice(None, None, -1 if back else 1) for back in turned)])

    def read(self) -> np.ndarray:
        """All voxels (I, J, K) as they are stored.

        Raises:
            SemeiaError: The file is damaged or truncated.
        """
        return self._voxels((slice(None), slice(None), slice(None)))

    def _voxels(self, part: tuple[slice, ...]) -> np.ndarray:
        try:
            return np.asanyarray(self._proxy[part])
        except _BROKEN as error:
            raise SemeiaError(f"{self.path}: truncated or damaged, expected {' x '.join(map(str, self.shape))} voxels "
                              f"({_reason(error)}); copy or download it again") from error  # fmt: skip


def open_nifti(path: str | Path) -> NiftiFile:
    """Open a volume; its header alone is read.

    Raises:
        SemeiaError: It is missing, no NIfTI, or no volume of real numbers with a usable affine.
    """
    path = Path(path)
    if not path.is_file():
        raise SemeiaError(f"{path}: not found; expected a NIfTI file; copy it again")
    try:
        image: Any = nib.Nifti1Image.from_filename(path) if _first(path) else nib.load(path)
        sides = [int(side) for side in image.shape]
        dtype, affine = np.dtype(image.get_data_dtype()), np.asarray(image.affine, float)
    except (*_BROKEN, KeyError, TypeError) as error:
        raise SemeiaError(f"{path}: expected a NIfTI file, found one that cannot be read ({_reason(error)})") from error
    if len(sides) != 3 or min(sides) < 1 or max(sides) > MAX_SIDE:
        found = " x ".join(map(str, sides))
        raise SemeiaError(f"{path}: expected a volume of three sides from 1 to {MAX_SIDE:,}, found {found or 'none'}")
    if dtype.kind not in "iuf":
        raise SemeiaError(f"{path}: expected one number for each voxel, found {dtype}")
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise SemeiaError(f"{path}: expected an affine of finite numbers that can be inverted, found {affine.tolist()}")
    if np.isnan(nib.orientations.io_orientation(affine)).any():
        raise SemeiaError(f"{path}: expected axes along those of the patient, found {affine.tolist()}")
    return NiftiFile(path, (sides[0], sides[1], sides[2]), affine, image.dataobj)


def check_grid(mask: NiftiFile, image: NiftiFile) -> None:
    """Make sure that a mask lies on its image voxel by voxel.

    Raises:
        SemeiaError: Its shape or its affine is another one; the mask's file is named.
    """
    if mask.shape != image.shape:
        found, expected = (" x ".join(map(str, each.shape)) for each in (mask, image))
        raise SemeiaError(f"{mask.path}: expected {expected} voxels as {image.path.name} has, found {found}; a mask "
                          "must lie on its image")  # fmt: skip
    corners = np.array([[x, y, z, 1] for x in (0, 1) for y in (0, 1) for z in (0, 1)]) * [*image.shape, 1]
    apart = float(np.abs((mask.affine - image.affine) @ corners.T).max())
    if apart > NEAR_MM:
        raise SemeiaError(f"{mask.path}: expected the affine of {image.path.name}, found one whose corners lie up to "
                          f"{apart:.3g} mm off; resample the mask, or copy the affine if voxels agree")  # fmt: skip


def write_nifti(path: str | Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume in the type that it has, whole or not at all; the same voxels make the same bytes.

    Args:
        path: Ends in .nii or .nii.gz.
        voxels: (I, J, K) of a type that NIfTI stores.
        affine: (4, 4), voxel to RAS mm.

    Raises:
        SemeiaError: The file cannot be written.
    """
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.header.set_xyzt_units("mm")
    with whole_file(path) as part, part.open("wb") as raw:
        if str(path).endswith(".gz"):
            with gzip.GzipFile("", "wb", 4, raw, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(raw)


def found_file(stem: Path) -> Path | None:
    """The file that is called ``stem`` with one of ``SUFFIXES``, if there is one."""
    return next((file for suffix in SUFFIXES if (file := stem.with_name(stem.name + suffix)).is_file()), None)


def _first(path: Path) -> bool:
    """Whether the file is NIfTI-1 packed or plain; others are left to nibabel's own search."""
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as stream:
        return stream.read(348)[344:347] == b"n+1"


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
