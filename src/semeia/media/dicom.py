"""Headers of DICOM images: which files of a folder are CT slices, of which series, and where they lie.

Only headers are read here, and of them only the fields below; voxels are read in ``dicom_scan``. A file with many
frames gives an image for each.

Shapes      none; the headers of up to ``MAX_FILES`` files are kept as small records
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.filebase import DicomFileLike
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from semeia.media.archives import MAX_FILES
from semeia.media.grids import MAX_SIDE, MAX_SLICES, MAX_TURN
from semeia.records import SemeiaError

UNREADABLE = (
    pydicom.errors.InvalidDicomError, pydicom.errors.BytesLengthException, OSError, EOFError, ValueError, TypeError,
    KeyError, IndexError, AttributeError, NotImplementedError, OverflowError, RecursionError, AssertionError,
    struct.error, zlib.error,
)  # fmt: skip
"""What pydicom raises on damaged bytes."""

MAX_INFLATED = 256 * 2**20
"""Bytes that a deflated file may become."""

_TAGS = [
    "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality", "SeriesDescription", "SliceThickness",
    "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber", "InstanceNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored",
    "PixelPaddingValue", "PixelRepresentation", "RescaleIntercept", "RescaleSlope", "RescaleType",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


_CT = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)


@dataclass(frozen=True)
class Image:
    """One image: a file, or a frame of one (``frame`` counts from 0; None for a file with one image).

    ``bits`` are those that a value takes and ``depth`` those that it uses. ``position`` is the centre of the first
    pixel in LPS mm, ``orientation`` the directions along a row and down a column, ``spacing`` from row to row and from
    column to column in mm. What a header lacks is None or empty.
    """

    path: Path
    frame: int | None
    modality: str
    study: str
    series: str
    description: str
    frame_of_reference: str
    instance: str
    acquisition: int | None
    number: int | None
    kinds: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    bits: int
    depth: int
    syntax: str
    photometric: str
    complete: bool
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    scale: tuple[float, float] | None
    scale_type: str
    padding: int | None

    @property
    def normal(self) -> np.ndarray:
        """(3,), across the slice, towards the head."""
        assert self.orientation is not None
        across = np.cross(self.orientation[:3], self.orientation[3:])
        return across if across[2] >= 0 else -across

    def unfit(self) -> str | None:
        """Why this is no slice of a CT scan, in words that follow a number of images; None if it is one."""
        if self.modality != "CT":
            return f"of the modality {self.modality}"
        if "LOCALIZER" in self.kinds:
            return "for planning a scan (localizers)"
        if self.position is None or self.orientation is None or self.spacing is None:
            return "without a position in the patient (captures or reports)"
        grey = self.photometric in ("MONOCHROME1", "MONOCHROME2", "")
        reasons = {
            "in colours": self.samples != 1 or self.bits not in (8, 16, 32) or not grey,
            f"of {self.rows} x {self.columns} pixels": min(self.rows, self.columns) < 1
            or max(self.rows, self.columns) > MAX_SIDE,
            "in another plane than the axial one": self.normal[2] < np.cos(np.radians(MAX_TURN)),
        }
        return next((reason for reason, holds in reasons.items() if holds), None)


@dataclass(frozen=True)
class Series:
    """One series of a folder: its UID, description and modality, its images, and how many of them are axial slices."""

    uid: str
    description: str
    modality: str
    images: int
    slices: int


@dataclass(frozen=True)
class Headers:
    """All images below a folder, files that are DICOM but damaged, and the number of files that are none."""

    images: tuple[Image, ...]
    damaged: tuple[Path, ...]
    others: int

    @property
    def series(self) -> tuple[Series, ...]:
        """The series, the one with most axial slices first."""
        by_uid: dict[str, list[Image]] = {}
        for image in self.images:
            by_uid.setdefault(image.series, []).append(image)
        series = [
            Series(uid, of[0].description, of[0].modality, len(of), sum(image.unfit() is None for image in of))
            for uid, of in by_uid.items()
        ]
        return tuple(sorted(series, key=lambda one: (-one.slices, -one.images, one.uid)))


def is_dicom(start: bytes) -> bool:
    """Whether a file that starts so (132 bytes) is DICOM; old files lack the mark and begin with a field."""
    return start[128:132] == b"DICM" or (
        start[:2] in (b"\x08\0", b"\2\0") and start[3:4] == b"\0" and len(start) == 132
    )


def read_headers(files: Iterable[Path], *, source: str) -> Headers:
    """Read the headers of all DICOM images among files.

    Raises:
        SemeiaError: There are too many files or frames, or a file may not be read.
    """
    images: list[Image] = []
    damaged: list[Path] = []
    others = 0
    with quiet():
        for count, path in enumerate(files):
            if count >= MAX_FILES or len(images) > MAX_FILES:
                raise SemeiaError(
                    f"{source}: expected at most {MAX_FILES:,} files, found more; name the folder of one scan"
                )
            marked = False
            try:
                with path.open("rb") as stream:
                    start = stream.read(132)
                marked = start[128:] == b"DICM"
                if is_dicom(start):
                    images += _images(path)
                else:
                    others += 1
            except PermissionError as error:
                raise SemeiaError(f"{path}: cannot be read (permission denied)") from error
            except UNREADABLE:
                damaged += [path] * marked
                others += not marked
    return Headers(tuple(images), tuple(damaged), others)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from telling of every value that is not quite as the standard has it."""
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def _images(path: Path) -> list[Image]:
    """The images of one file; none for a directory or a report."""
    with opened(path) as stream:
        header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=list(_TAGS), force=True)
        return _described(path, header, stream)


def _described(path: Path, header: Dataset, stream: BinaryIO) -> list[Image]:
    at = stream.tell()
    syntax = _syntax(header)
    if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return []
    modality = _text(header, "Modality")
    if not modality or (stream.read(1) == b"" and _text(header, "SOPClassUID") in ("", *_CT)):
        raise ValueError("a header that ends before the pixels begin")
    stream.seek(at)
    frames = max(int(header.get("NumberOfFrames") or 1), 1)
    if frames > MAX_SLICES:
        raise ValueError("more frames than a scan has")
    kinds = tuple(str(kind).upper() for kind in _several(header, "ImageType"))
    rows, columns, bits = (_whole(header, name) or 0 for name in ("Rows", "Columns", "BitsAllocated"))
    samples = _whole(header, "SamplesPerPixel") or 1
    common: dict[str, Any] = {
        "path": path,
        "modality": modality,
        "study": _text(header, "StudyInstanceUID"),
        "series": _text(header, "SeriesInstanceUID"),
        "description": _text(header, "SeriesDescription"),
        "frame_of_reference": _text(header, "FrameOfReferenceUID"),
        "instance": _text(header, "SOPInstanceUID"),
        "acquisition": _whole(header, "AcquisitionNumber"),
        "number": _whole(header, "InstanceNumber"),
        "rows": rows,
        "columns": columns,
        "samples": samples,
        "bits": bits,
        "depth": _whole(header, "BitsStored") or bits,
        "syntax": syntax,
        "photometric": _text(header, "PhotometricInterpretation"),
        "padding": _whole(header, "PixelPaddingValue"),
        "complete": _complete(stream, header, rows * columns * samples * bits // 8 * frames),
    }
    shared = _first(header, "SharedFunctionalGroupsSequence")
    groups = _several(header, "PerFrameFunctionalGroupsSequence")
    if frames == 1 and not groups:
        return [Image(**common, frame=None, **_placed([header], kinds))]
    return [
        Image(**common, frame=frame, **_placed([group for group in (groups[frame], shared, header) if group], kinds))
        for frame in range(min(frames, len(groups)))
    ] or [Image(**common, frame=0, **_placed([], kinds))]


def _placed(sources: Sequence[Dataset], kinds: tuple[str, ...]) -> dict[str, Any]:
    """Where one frame lies and how its values are scaled: from its own group, the shared one or the header."""

    def found(sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
        for source in sources:
            for place in (_first(source, sequence), source):
                if (values := _numbers(place, keyword, count)) is not None:
                    return values
        return None

    slope = found("PixelValueTransformationSequence", "RescaleSlope", 1)
    intercept = found("PixelValueTransformationSequence", "RescaleIntercept", 1)
    orientation = found("PlaneOrientationSequence", "ImageOrientationPatient", 6)
    spacing = found("PixelMeasuresSequence", "PixelSpacing", 2)
    thickness = found("PixelMeasuresSequence", "SliceThickness", 1)
    own = next((k for s in sources if (k := _several(_first(s, "CTImageFrameTypeSequence"), "FrameType"))), ())
    units = (
        _text(place, "RescaleType") for s in sources for place in (_first(s, "PixelValueTransformationSequence"), s)
    )
    return {
        "kinds": tuple(str(kind).upper() for kind in own) or kinds,
        "position": found("PlanePositionSequence", "ImagePositionPatient", 3),
        "orientation": _directions(orientation),
        "spacing": spacing if spacing is not None and min(spacing) > 0 else None,
        "thickness": thickness[0] if thickness is not None and thickness[0] > 0 else None,
        "scale": None if slope is None or intercept is None or slope[0] == 0 else (slope[0], intercept[0]),
        "scale_type": next((unit for unit in units if unit), ""),
    }


def _directions(values: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Two unit vectors at right angles, or None."""
    if values is None:
        return None
    pair = np.array(values).reshape(2, 3)
    lengths = np.linalg.norm(pair, axis=1, keepdims=True)
    if abs(lengths - 1).max() > 0.01 or abs(pair[0] @ pair[1]) > 0.01:
        return None
    return tuple((pair / lengths).ravel().tolist())


# ---------------------------------------------------------------------------------------------------------------------
# What the file says of its bytes


def _syntax(header: Dataset) -> str:
    """The transfer syntax; files without one are of the oldest."""
    told = _text(header.file_meta, "TransferSyntaxUID")
    if told:
        return told
    implicit, little = header.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def opened(path: Path) -> BinaryIO:
    """A DICOM file; a deflated one is inflated here within bounds, since pydicom would inflate without any."""
    stream = path.open("rb")
    start = stream.read(1024)
    stream.seek(0)
    if start[128:132] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in start:
        return stream
    with stream:
        meta = pydicom.filereader.read_file_meta_info(path)
        stream.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        plain = inflate.decompress(stream.read(MAX_INFLATED), MAX_INFLATED)
    if not inflate.eof:
        raise ValueError("cut off, or larger than an image is")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole = BytesIO()
    whole.write(start[:132])
    write_file_meta_info(DicomFileLike(whole), meta, enforce_standard=False)
    whole.write(plain)
    whole.seek(0)
    return whole


def _complete(stream: BinaryIO, header: Dataset, size: int) -> bool:
    """Whether all bytes of the pixels are there; ``stream`` stands where reading the header stopped."""
    implicit, little = header.original_encoding
    order = "<" if little else ">"
    tag_and_length = stream.read(8 if implicit else 12)
    if len(tag_and_length) < (8 if implicit else 12) or size == 0:
        return False
    (length,) = struct.unpack(f"{order}L", tag_and_length[-4:])
    at = stream.tell()
    end = stream.seek(0, 2)
    if length != 0xFFFFFFFF:
        return bool(length >= size and end - at >= size)
    fragments = 0
    while at + 8 <= end:
        stream.seek(at)
        group, element, length = struct.unpack("<HHL", stream.read(8))
        if (group, element) != (0xFFFE, 0xE000):
            break
        at += 8 + length
        fragments += 1
    return fragments > 1 and at <= end  # the first item is a table of offsets


# ---------------------------------------------------------------------------------------------------------------------
# Values that may be missing or wrong


def _value(source: Dataset | None, keyword: str) -> Any:
    try:
        return None if source is None else source.get(keyword)
    except UNREADABLE:
        return None


def _several(source: Dataset | None, keyword: str) -> Sequence[Any]:
    value = _value(source, keyword)
    if value is None or isinstance(value, str):
        return () if not value else (value,)
    return tuple(value) if isinstance(value, Sequence) else (value,)


def _first(source: Dataset | None, keyword: str) -> Dataset | None:
    items = _several(source, keyword)
    return items[0] if items and isinstance(items[0], Dataset) else None


def _text(source: Dataset | None, keyword: str) -> str:
    words = " ".join(str(_value(source, keyword) or "").split())
    return "".join(letter for letter in words if letter.isprintable())


def _numbers(source: Dataset | None, keyword: str, count: int) -> tuple[float, ...] | None:
    try:
        values = tuple(float(value) for value in _several(source, keyword))
    except (ValueError, TypeError, OverflowError):
        return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _whole(source: Dataset, keyword: str) -> int | None:
    values = _numbers(source, keyword, 1)
    return None if values is None else int(values[0])
