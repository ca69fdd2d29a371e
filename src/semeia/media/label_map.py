"""Candidate lesions as a NIfTI label map that lies on the scan voxel by voxel.

A box is no segmentation: voxels of a lesion are the ellipse that touches the four sides of its box on each slice, and
the header says so. Values are the numbers of the lesions, from 1. Where lesions overlap, the better one has the voxel.

Shapes      S slices   H rows   W columns of the axial view   I, J, K stored voxels
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semeia.files import check_writable, whole_file
from semeia.media.grids import Grid
from semeia.media.lesion_boxes import Corners, filled, placed_boxes
from semeia.media.nifti import TO_LPS, is_nifti
from semeia.media.volumes import Volume
from semeia.records import ScanReading, SemeiaError

SUFFIXES = (".nii.gz", ".nii")
MEANING = "Semeia: lesion numbers, ellipses in boxes; no medical device"
"""At most 79 bytes, as NIfTI has room for."""
LABELS = 1002
"""NIfTI's intent code of label maps."""


def ellipse(box: Corners, shape: tuple[int, int]) -> tuple[slice, slice, np.ndarray]:
    """Pixels whose centres lie in the ellipse that touches the four sides of a box, at least one.

    Args:
        box: In pixels, outer edges; it may reach over the slice.
        shape: H, W of the slice.

    Returns:
        Rows and columns of the part of the slice that holds it, and (rows, columns) bool; no pixels where the box lies
        outside.
    """
    height, width = shape
    x0, y0, x1, y1 = box
    if not (x0 < width and y0 < height and x1 > 0 and y1 > 0):
        return slice(0), slice(0), np.zeros((0, 0), bool)
    left, right = max(int(x0), 0), min(max(int(np.ceil(x1)), int(x0) + 1), width)
    top, bottom = max(int(y0), 0), min(max(int(np.ceil(y1)), int(y0) + 1), height)
    x, y = np.arange(left, right) + 0.5 - (x0 + x1) / 2, np.arange(top, bottom) + 0.5 - (y0 + y1) / 2
    away = (2 * x / max(x1 - x0, 1e-6)) ** 2 + ((2 * y / max(y1 - y0, 1e-6)) ** 2)[:, None]  # (rows, columns)
    inside = away <= 1
    if not inside.any():
        inside.flat[away.argmin()] = True
    return slice(top, bottom), slice(left, right), inside


def label_slices(reading: ScanReading, scan: Volume, *, most: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Axial slices with lesions and their labels (H, W) uint16, from the feet to the head.

    Args:
        reading: Of the scan.
        scan: Where its boxes lie.
        most: Lesions to draw, the best ones; all where it is None.
    """
    boxes = placed_boxes(reading, scan)
    count = len(reading.lesions) if most is None else min(most, len(reading.lesions))
    lesions = {number: filled(boxes, number) for number in range(1, count + 1)}
    for z in sorted({z for slices in lesions.values() for z in slices}):
        labels = np.zeros(scan.shape[1:], np.uint16)
        for number in range(count, 0, -1):
            if z in lesions[number]:
                rows, columns, inside = ellipse(lesions[number][z], scan.shape[1:])
                labels[rows, columns][inside] = number
        yield z, labels


def label_map(reading: ScanReading, scan: Volume) -> np.ndarray:
    """Labels (I, J, K) uint16 in the order in which the scan's voxels are stored."""
    grid = scan.grid
    stored = np.zeros(grid.shape, np.uint16, order="F")
    axial = grid.axial(stored)  # (S, H, W), a view
    for z, labels in label_slices(reading, scan):
        axial[z] = labels
    return stored


def own_view(grid: Grid, labels: np.ndarray) -> np.ndarray:
    """An axial slice (H, W) in the file's own rows and columns; the faster stored axis counts columns."""
    x, y, _ = grid.axes
    turned = labels[:: -1 if grid.flips[1] else 1, :: -1 if grid.flips[0] else 1]
    return turned.T if x > y else turned


def write_label_map(reading: ScanReading, scan: Volume, path: str | Path) -> None:
    """Write ``label_map`` as NIfTI, whole or not at all.

    A scan that was a NIfTI file keeps its header's position, so that shape and affine are its own to the last bit.

    Raises:
        SemeiaError: Another suffix, or the file cannot be written.
    """
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Header, Nifti2Image

    packed = _suffix(path) == ".nii.gz"
    header = _own_header(scan.files)
    affine = None if header is not None else TO_LPS @ scan.grid.affine
    kind = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
    labels = label_map(reading, scan)
    image: Any = kind(labels, affine, header=header, dtype=np.uint16)
    if header is None:
        image.set_sform(affine, 1)
        image.header.set_xyzt_units("mm")
    image.header["descrip"] = MEANING.encode()
    image.header.set_intent(LABELS, name="lesion number")
    image.header["cal_min"], image.header["cal_max"] = 0, len(reading.lesions)
    with whole_file(path) as part, part.open("wb") as raw:
        if packed:
            # No name and no time in the header of gzip: the same readings make the same bytes.
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(raw)


def check_label_map(path: str | Path) -> None:
    """Make sure, before long work begins, that ``write_label_map`` will be able to write to ``path``.

    Raises:
        SemeiaError: Another suffix than ``.nii.gz`` or ``.nii``, or the file cannot be written.
    """
    _suffix(path)
    check_writable(path)


def _own_header(files: Sequence[Path]) -> Any:
    """The position that a NIfTI scan has, in a header that holds nothing else of it; None where it is no NIfTI."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    if len(files) != 1 or not files[0].is_file():
        return None
    with files[0].open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    with gzip.open(files[0]) if packed else files[0].open("rb") as stream:
        start = stream.read(540)
    if not is_nifti(start):
        return None
    own = Nifti1Header(start[:348]) if start[344:347] == b"n+1" else Nifti2Header(start)
    header = type(own)(endianness="<")
    # Without a position of its own a header's affine follows from its sides.
    for name in ("dim", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
                 "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"):  # fmt: skip
        header[name] = own[name]
    return header


def _suffix(path: str | Path) -> str:
    name = Path(path).name.lower()
    for suffix in SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise SemeiaError(f"{path}: expected a label map that ends in .nii.gz or .nii, found {Path(path).name!r}")
