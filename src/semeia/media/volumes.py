"""CT scans from a user's files: DICOM folders, files and ZIP archives of them, NIfTI and NRRD.

    path -> format (its first bytes decide, not its name) -> stored slices in HU -> axial view

Every scan becomes slices towards the head with rows to the back and columns to the patient's left, in HU, whatever its
file stores. Slices are read when they are asked for, so that a scan takes the memory of a slab. Packed files are
unpacked into a temporary folder that closing removes; nothing is written beside the input.

Shapes      S slices   H rows   W columns   n slices of a slab
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Literal, Self

import numpy as np

from semeia.media.archives import MAX_FILES, unpack_zip, unpacked_start
from semeia.media.dicom import Headers, Series, is_dicom, read_headers
from semeia.media.dicom_scan import DicomScan
from semeia.media.grids import Box, Grid
from semeia.media.nifti import HEADER, is_nifti, open_nifti
from semeia.media.nrrd import MAGIC, open_nrrd
from semeia.media.stored import ScanUids, Stored, doubt, sampled
from semeia.records import SemeiaError

AIR = -1024.0
"""HU of what lies outside the scanner's circle; lower values mean the same."""

Kind = Literal["folder", "zip", "dicom", "nifti", "nifti.gz", "nrrd"]

_EXPECTED = "expected a CT scan (a DICOM folder, a DICOM file or a ZIP archive of them, .nii, .nii.gz, .nrrd or .nhdr)"
_OTHERS = {
    b"\xff\xd8": "a JPEG picture",
    b"\x89PNG": "a PNG picture",
    b"%PDF": "a PDF document",
    b"BZh": "a bzip2 file",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"ObjectType": "a MetaImage header; save it as .nii.gz",
    b"PK\5\6": "an empty ZIP archive",
}


class Volume:
    """A CT scan, open for reading; a context manager. See ``open_volume``.

    Attributes:
        shape: S, H, W of the axial view.
        affine: (4, 4), voxel (x, y, z) = (column, row, slice) of the axial view to LPS mm. Where slices lie unevenly,
            it has their usual distance; ``to_world`` follows each slice's own place.
        spacing: x, y, z in mm.
        thickness: Of a slice in mm, where it is known.
        source: Name of the file or folder.
        uids: DICOM's names, the slices' in the order of the axial view; None for other formats.
        files: The DICOM file of each slice in that order, or the one file of another format. Those of an archive exist
            until the scan is closed.
        grid: How the file stores the voxels.
    """

    def __init__(self, stored: Stored, *, source: str, closing: ExitStack) -> None:
        self._stored, self._closing = stored, closing
        self.grid: Grid = stored.grid
        self.shape = self.grid.axial_shape
        self.affine = self.grid.axial_affine
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        self.spacing: tuple[float, float, float] = (x, y, z)
        self.thickness = stored.thickness
        self.source = source
        self.uids: ScanUids | None = stored.uids
        self.files = stored.files
        self._notes = list(stored.notes)
        sample = np.concatenate([self.slab(at, at).ravel() for at in sampled(self.shape[0])])
        self._note(doubt(sample))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove what was unpacked; slabs cannot be read any more."""
        self.__dict__.pop("_stored", None)  # a memory map keeps a file from being removed on some systems
        self._closing.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was repaired, assumed or left out so far, one sentence each; reading a slab may add some."""
        return tuple(self._notes)

    def slab(self, first: int, last: int) -> np.ndarray:
        """The slices first to last, both included.

        Returns:
            (n, H, W) float32 in HU. Padding below -1024 and what is no number is -1024.

        Raises:
            SemeiaError: A compressed slice is damaged.
        """
        if not 0 <= first <= last < self.shape[0]:
            raise IndexError(f"expected slices from 0 to {self.shape[0] - 1}, found {first} to {last}")
        ends = self.grid.stored_slice(first), self.grid.stored_slice(last)
        values = np.ascontiguousarray(self.grid.axial(self._stored.read(min(ends), max(ends))))
        finite = np.isfinite(values)
        if not finite.all():
            self._note("Values that are no numbers or infinite are read as -1024 HU.")
            values[~finite] = AIR
        if (values < AIR).any():
            self._note("Values below -1024 HU, which pad what was not scanned, are read as -1024 HU.")
            np.maximum(values, AIR, out=values)
        return values

    def own_slice(self, z: int) -> int:
        """The file's own number, from 0, of the slice z.

        For DICOM its rank by instance number among the slices that are read (its frame in a file of many); otherwise
        its place along the stored axis that runs from feet to head.
        """
        at = self.grid.stored_slice(z)
        return at if self._stored.numbers is None else self._stored.numbers[at]

    def own_box(self, z: int, box: Box) -> tuple[float, float, float, float]:
        """A box on slice z in the file's own columns and rows, outer edges.

        For NIfTI and NRRD the first of both stored axes counts columns, as it is the faster one. All slices of a scan
        are stored alike, so that the answer does not depend on z.
        """
        return self.grid.stored_box(box)

    def to_world(self, z0: int, z1: int, box: Box) -> tuple[float, float, float, float, float, float]:
        """x0, y0, z0, x1, y1, z1 in LPS mm of a box on the slices z0 to z1, both included, to their outer edges."""
        return self.grid.world_box(z0, z1, box)

    def _note(self, text: str | None) -> None:
        if text is not None and text not in self._notes:
            self._notes.append(text)


def open_volume(path: str | Path, *, series: str | None = None) -> Volume:
    """Open a CT scan.

    Args:
        path: A folder of DICOM files, with its subfolders; one DICOM file, with those of its series beside it; a DICOM
            file of many frames; a ZIP archive of DICOM files or of one NIfTI or NRRD file; or a .nii, .nii.gz, .nrrd
            or .nhdr file.
        series: The end of the UID of the wanted DICOM series, where there are several.

    Raises:
        SemeiaError: It is missing, another kind of file, no CT, several scans, damaged, or cannot be decoded.
    """
    path = Path(path)
    closing = ExitStack()
    try:
        stored = _open(path, str(path), series, closing)
        return Volume(stored, source=path.name or path.resolve().name, closing=closing)
    except BaseException:
        closing.close()
        raise


def series_of(path: str | Path) -> tuple[Series, ...]:
    """The DICOM series of a folder, a file or a ZIP archive, that with most axial slices first; headers alone are read.

    Raises:
        SemeiaError: It is missing or cannot be read.
    """
    path = Path(path)
    kind = _kind(path, str(path))
    with ExitStack() as closing:
        if kind == "zip":
            path, kind = _unpacked(path, closing), "folder"
        if kind == "folder":
            return read_headers(_files(path, str(path)), source=str(path)).series
        return read_headers([path], source=str(path)).series


def _open(path: Path, source: str, series: str | None, closing: ExitStack) -> Stored:
    kind = _kind(path, source)
    if kind == "zip":
        return _open_folder(_unpacked(path, closing), source, series, closing)
    if kind == "folder":
        return _open_folder(path, source, series, closing)
    if kind == "dicom":
        return _open_dicom_file(path, source, series)
    if series is not None:
        raise SemeiaError(f"{source}: has no DICOM series to choose {series!r} from; leave --series out")
    if kind == "nrrd":
        return open_nrrd(path, source=source, closing=closing)
    return open_nifti(path, packed=kind == "nifti.gz", source=source, closing=closing)


def _open_folder(folder: Path, source: str, series: str | None, closing: ExitStack) -> Stored:
    """The DICOM scan of a folder, or the one NIfTI or NRRD file in it."""
    files = _files(folder, source)
    headers = read_headers(files, source=source)
    if headers.images or headers.damaged:
        return DicomScan(headers, series=series, root=folder, source=source)
    scans = [file for file in files if _sniffed(file) in ("nifti", "nifti.gz", "nrrd")]
    if len(scans) != 1:
        names = ", ".join(str(scan.relative_to(folder)) for scan in scans[:6])
        found = f"{len(scans)} scans ({names}); name one of them" if scans else f"no scan among {len(files):,} files"
        raise SemeiaError(f"{source}: {_EXPECTED}, found {found}")
    return _open(scans[0], f"{source}/{scans[0].relative_to(folder)}", series, closing)


def _open_dicom_file(path: Path, source: str, series: str | None) -> Stored:
    """A file of many frames, or the series that a file belongs to."""
    headers = read_headers([path], source=source)
    if len(headers.images) == 1 and headers.images[0].unfit() is None:
        beside = sorted(file for file in path.parent.iterdir() if file.is_file() and not file.name.startswith("."))
        every = read_headers(beside, source=source)
        series = series or headers.images[0].series
        headers = Headers(every.images, every.damaged, 0)
    return DicomScan(headers, series=series, root=path.parent, source=source)


def _unpacked(path: Path, closing: ExitStack) -> Path:
    folder = Path(closing.enter_context(TemporaryDirectory(prefix="semeia-")))
    unpack_zip(path, folder)
    return folder


def _files(folder: Path, source: str) -> list[Path]:
    """The files below a folder in order, without hidden ones."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [file for name in sorted(names) if not name.startswith(".") and (file := Path(place, name)).is_file()]
        if len(found) > MAX_FILES:
            raise SemeiaError(
                f"{source}: expected at most {MAX_FILES:,} files, found more; name the folder of one scan"
            )
    return found


def _kind(path: Path, source: str) -> Kind:
    """What a path is, by its first bytes.

    Raises:
        SemeiaError: It is missing, cannot be read, or is none of the kinds that are read.
    """
    try:
        if path.is_dir():
            return "folder"
        if not path.exists():
            raise SemeiaError(f"{source}: {_EXPECTED}, found no such file")
        if not path.is_file():
            raise SemeiaError(f"{source}: {_EXPECTED}, found a device or a pipe")
        kind = _sniffed(path)
        if kind is not None:
            return kind
        with path.open("rb") as stream:
            start = stream.read(HEADER)
    except OSError as error:
        raise SemeiaError(f"{source}: cannot be read ({error.strerror or error})") from error
    if not start:
        raise SemeiaError(f"{source}: {_EXPECTED}, found an empty file (0 bytes)")
    if start[:2] == b"\x1f\x8b":
        raise SemeiaError(f"{source}: {_EXPECTED}, found a gzip file that is truncated or holds no NIfTI")
    found = next((kind for begin, kind in _OTHERS.items() if start.startswith(begin)), "another kind of file")
    raise SemeiaError(f"{source}: {_EXPECTED}, found {found}")


def _sniffed(path: Path) -> Kind | None:
    with path.open("rb") as stream:
        start = stream.read(HEADER)
        if start[:4] == b"PK\3\4":
            return "zip"
        if start[: len(MAGIC)] == MAGIC:
            return "nrrd"
        if start[:2] == b"\x1f\x8b":
            stream.seek(0)
            return "nifti.gz" if is_nifti(unpacked_start(stream, HEADER)) else None
    if is_nifti(start):
        return "nifti"
    return "dicom" if is_dicom(start[:132]) else None
