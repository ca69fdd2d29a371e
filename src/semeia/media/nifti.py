"""NIfTI-1 and NIfTI-2 files, plain or packed by gzip.

The header is read by nibabel. NIfTI counts x to the patient's right and y to the front; here both are turned into
DICOM's. A packed file is unpacked once into a temporary folder: gzip can only be read from its start, slabs are asked
for in any order, and writing added less than half to the time that unpacking takes anyway.

Shapes      I, J, K stored voxels
"""

from __future__ import annotations

import gzip
import zlib
from contextlib import ExitStack
from logging import ERROR, Logger, NullHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

from semeia.media.archives import reason_of, unpack_stream
from semeia.media.grids import check_sides, grid_of
from semeia.media.stored import ArrayScan, size_in_bytes
from semeia.records import SemeiaError

HEADER = 540
"""Bytes of the longer of both headers."""
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
_QUIET = Logger("semeia.media.nifti")
_QUIET.addHandler(NullHandler())  # nibabel would tell of each field that it repairs on the screen


def is_nifti(start: bytes) -> bool:
    """Whether a file that starts so is NIfTI-1 or NIfTI-2, or a header of a pair."""
    return start[344:347] in (b"n+1", b"ni1") or start[4:7] in (b"n+2", b"ni2")


def open_nifti(path: Path, *, packed: bool, source: str, closing: ExitStack) -> ArrayScan:
    """Open a NIfTI file.

    Args:
        path: The file.
        packed: Whether it is packed by gzip.
        source: What the user named, for messages.
        closing: Is handed what must be closed after use.

    Raises:
        SemeiaError: The header is impossible, several volumes lie in the file, or it is truncated or damaged.
    """
    header = _header(path, packed=packed, source=source)
    shape = _shape(header, source)
    dtype = _dtype(header, source)
    affine, notes = _affine(header, source)
    grid, turned = grid_of(shape, affine, source=source)
    try:
        offset = int(header.get_data_offset())
        slope, intercept = header.get_slope_inter()
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise SemeiaError(f"{source}: its NIfTI header is damaged ({reason_of(error)})") from error
    if offset < 0:
        raise SemeiaError(f"{source}: expected voxels behind the header, found an offset of {offset} bytes")
    voxels = path
    if packed:
        voxels = Path(closing.enter_context(TemporaryDirectory(prefix="semeia-"))) / "voxels"
        unpack_stream(path, voxels, size=offset + size_in_bytes(shape, dtype), source=source)
    return ArrayScan(
        voxels,
        dtype,
        offset,
        grid=grid,
        scale=(1.0, 0.0) if slope is None else (float(slope), float(intercept)),
        notes=(*notes, *turned),
        thickness=None,
        source=source,
        files=(path,),
    )


def _header(path: Path, *, packed: bool, source: str) -> Any:
    """The header, without the extensions that may follow it."""
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            start = stream.read(HEADER)
    except (OSError, EOFError, zlib.error) as error:
        raise SemeiaError(
            f"{source}: truncated or damaged, its header cannot be unpacked ({reason_of(error)})"
        ) from error
    if start[344:347] == b"ni1" or start[4:7] == b"ni2":
        raise SemeiaError(f"{source}: expected a single NIfTI file, found the header of a .hdr and .img pair; save it "
                          "as .nii.gz")  # fmt: skip
    kind, size = (Nifti1Header, 348) if start[344:347] == b"n+1" else (Nifti2Header, 540)
    try:
        header = kind(start[:size], check=False)
        header.check_fix(logger=_QUIET, error_level=ERROR)
        return header
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise SemeiaError(f"{source}: its NIfTI header is damaged ({reason_of(error)})") from error


def _shape(header: Any, source: str) -> tuple[int, int, int]:
    """I, J, K; a fourth side of 1 is left out, and a single slice may lack its third."""
    try:
        sides = [int(side) for side in header.get_data_shape()]
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise SemeiaError(f"{source}: its NIfTI header is damaged ({reason_of(error)})") from error
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    if len(sides) == 2:
        sides.append(1)
    if len(sides) > 3 and min(sides) > 0:
        found = " x ".join(map(str, sides))
        raise SemeiaError(f"{source}: expected one volume, found several ({found}); save the one that is meant, with "
                          "nibabel: image.slicer[..., 0].to_filename(...)")  # fmt: skip
    check_sides(sides, source)
    return sides[0], sides[1], sides[2]


def _dtype(header: Any, source: str) -> np.dtype:
    try:
        dtype = np.dtype(header.get_data_dtype())
    except (HeaderDataError, KeyError, TypeError) as error:
        raise SemeiaError(f"{source}: its NIfTI header names no known type of voxels ({reason_of(error)})") from error
    if dtype.kind not in "iuf":
        raise SemeiaError(f"{source}: expected one number for each voxel, found {dtype} (colours or complex numbers)")
    return dtype


def _affine(header: Any, source: str) -> tuple[np.ndarray, list[str]]:
    """(4, 4) to LPS mm, and what was assumed."""
    notes = []
    sform, qform = (int(header[name]) for name in ("sform_code", "qform_code"))
    try:
        with np.errstate(all="ignore"):
            affine = np.asarray(header.get_best_affine(), dtype=float)
            other = np.asarray(header.get_qform(), dtype=float) if sform and qform else affine
            if np.abs(affine - other)[:3].max() > 0.5:
                notes.append("The header holds two positions that disagree (sform and qform); sform was taken.")
    except (HeaderDataError, ValueError, OverflowError) as error:
        raise SemeiaError(f"{source}: its NIfTI header holds no usable position ({reason_of(error)})") from error
    if not sform and not qform:
        notes.append(
            "The header does not tell how the scan lies in the patient; the NIfTI default was assumed (columns to the "
            "patient's left, rows to the front), so that left and right may be swapped."
        )
    unit = _unit(header)
    if unit in _MILLIMETRES:
        affine[:3] *= _MILLIMETRES[unit]
        notes.append(f"Positions are given in the unit {unit} and were brought to millimetres.")
    return TO_LPS @ affine, notes


def _unit(header: Any) -> str:
    try:
        return str(header.get_xyzt_units()[0])
    except KeyError:
        return "unknown"
