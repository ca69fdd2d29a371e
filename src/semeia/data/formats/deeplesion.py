"""DeepLesion: key slices of CT scans with the lesions that radiologists measured on them.

    FOLDER/Images_png/000001_02_03/088.png      16-bit slices, pixel = HU + 32768; patient, study, series / slice
    FOLDER/DL_info.csv                          a lesion a row, 18 columns; 1-based pixels
    FOLDER/Masks_png/000001_02_03/088.png       8-bit lesion numbers; only worlds that were rendered have them

A folder of images holds runs of slices around the key slices, with gaps between the runs. Rows that share a file name
are lesions of one key slice. Not every lesion is in the table: about half of those on key slices are not.

Known   Header, order and spelling of all columns, 6 significant digits, 1-based boxes that are the ends of the RECIST
        axes +-5 px, the split by patients: read in an excerpt of the table and in published loaders (MULAN, A3D).
Unknown Whether a 1-based pixel's middle or its edge is at a whole number. 1 is subtracted, as published loaders do.
        Whether the whole table holds repeated rows, or boxes that reach out of the slice.

Shapes      n slices or lesions   H, W pixels
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np

from semeia.data.formats.slice_files import SIGN, Series, slice_numbers, write_run
from semeia.files import writable_folder, write_whole
from semeia.records import SemeiaError

COLUMNS = (
    "File_name", "Patient_index", "Study_index", "Series_ID", "Key_slice_index", "Measurement_coordinates",
    "Bounding_boxes", "Lesion_diameters_Pixel_", "Normalized_lesion_location", "Coarse_lesion_type", "Possibly_noisy",
    "Slice_range", "Spacing_mm_px_", "Image_size", "DICOM_windows", "Patient_gender", "Patient_age", "Train_Val_Test",
)  # fmt: skip
"""The header of the table."""

TABLE, IMAGES, MASKS = "DL_info.csv", "Images_png", "Masks_png"
Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
"""Names of 1, 2 and 3 in the last column."""

PADDING = 5.0
"""Pixels between the ends of the RECIST axes and the box."""

TOLERANCE = 1e-2
"""Pixels by which numbers of the table may miss each other: they are rounded to 6 digits."""

LARGEST_SIDE = 4096
"""Sides of slices beyond are refused."""

CLIPPED = "boxes that are not the ends of the axes +-5 px"
OUTSIDE = "boxes that reach out of the slice"
TWICE = "rows that stand twice"
"""What ``DeepLesion.warnings`` counts."""

_NAME = re.compile(r"(\d{6})_(\d{2,3})_(\d{2,3})_(\d{3,4})\.png")


@dataclass(frozen=True)
class Finding:
    """A lesion on its key slice: a row of the table.

    Pixels are 0-based. ``recist`` (4, 2) are x, y of the ends of the long, then of the short axis; ``box`` (4,) is x0,
    y0, x1, y1; ``diameters`` are both axes in pixels; ``location`` is x, y, z in the body, each 0 to 1; ``kind`` is 1
    to 8, or -1 where it is not known; ``slice_range`` are the first and last slice around it; ``spacing`` is x, y and
    the interval of slices in mm; ``size`` is W, H; ``window`` are the HU it was looked at; ``age`` may be NaN.
    """

    patient: int
    study: int
    series: int
    key_slice: int
    recist: np.ndarray = field(compare=False)
    box: np.ndarray = field(compare=False)
    diameters: tuple[float, float]
    location: tuple[float, float, float]
    kind: int
    noisy: bool
    slice_range: tuple[int, int]
    spacing: tuple[float, float, float]
    size: tuple[int, int]
    window: tuple[float, float]
    gender: Literal["F", "M"] | None
    age: float
    split: Split


def series_name(patient: int, study: int, series: int) -> str:
    """Name of the folder of a series, such as ``000001_02_03``."""
    return f"{patient:06d}_{study:02d}_{series:02d}"


@dataclass(frozen=True)
class KeySlice:
    """A slice with measured lesions.

    ``spacing`` is x, y in mm; an ``interval`` of slices that is NaN or not above 0 is not known; ``window`` are the HU
    of its first row; ``location`` is z in the body, 0 to 1.
    """

    series: Series
    slice: int
    patient: int
    split: Split
    spacing: tuple[float, float]
    interval: float
    window: tuple[float, float]
    location: float
    findings: tuple[Finding, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """Such as ``000001_02_03/088``."""
        return f"{self.series.name}/{self.slice:03d}"

    @property
    def boxes(self) -> np.ndarray:
        """(n, 4) float32, x0, y0, x1, y1 in 0-based pixels, cut where they reach out of the slice."""
        boxes = np.stack([finding.box for finding in self.findings])
        return np.clip(boxes, 0, np.tile(self.series.size, 2)).astype(np.float32)


class DeepLesion:
    """Key slices, their lesions, and how often the table was odd.

    Attributes:
        folder: The data set.
        keys: Key slices, in the order in which the table first names them.
        findings: All their lesions, in the order of the table: ``write_table`` of them gives the table again.
        warnings: What was odd (``CLIPPED``, ``OUTSIDE``, ``TWICE``) -> how many rows.
    """

    def __init__(
        self, folder: Path, keys: Iterable[KeySlice], findings: Iterable[Finding], odd: Mapping[str, int]
    ) -> None:
        self.folder, self.keys, self.findings, self.warnings = folder, tuple(keys), tuple(findings), dict(odd)

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, wanted: Callable[[KeySlice], bool]) -> Self:
        """The same with some of the key slices."""
        keys = [key for key in self.keys if wanted(key)]
        kept = {id(finding) for key in keys for finding in key.findings}
        return type(self)(self.folder, keys, (f for f in self.findings if id(f) in kept), self.warnings)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(
    folder: str | Path,
    *,
    split: Split | None = None,
    noisy: Literal["drop", "keep"] = "drop",
    missing: Literal["refuse", "skip"] = "refuse",
    images: str = IMAGES,
) -> DeepLesion:
    """The key slices of DeepLesion and the slices that exist around them.

    Args:
        folder: The data set.
        split: The official split to keep; None keeps all.
        noisy: What to do with rows that are marked as possibly noisy.
        missing: What to do with key slices that have no file.
        images: Name of the folder of images.

    Raises:
        SemeiaError: The table is wrong, a patient stands in two splits, a key slice is missing, or none is left.
    """
    root = Path(folder)
    table = root / TABLE
    odd: Counter[str] = Counter()
    rows: dict[str, list[Finding]] = {}
    findings: list[Finding] = []
    splits: dict[int, tuple[str, int]] = {}
    seen: set[tuple[str, ...]] = set()
    for line, cells in _rows(table):
        finding = _finding(cells, table, line)
        first, at = splits.setdefault(finding.patient, (finding.split, line))
        if first != finding.split:
            raise SemeiaError(f"{table}: line {line}: expected every patient in one split, found {finding.patient} in "
                              f"{finding.split!r} and, in line {at}, in {first!r}; split by patients")  # fmt: skip
        if (split not in (None, finding.split)) or (noisy == "drop" and finding.noisy):
            continue
        if tuple(cells) in seen:
            odd[TWICE] += 1
            continue
        seen.add(tuple(cells))
        odd.update(_checked(finding, table, line))
        findings.append(finding)
        rows.setdefault(cells[0], []).append(finding)
    keys = _key_slices(root / images, rows, missing=missing, table=table)
    if not keys:
        raise SemeiaError(f"{table}: expected key slices{f' of split {split!r}' if split else ''}, found none; name "
                          "another split or folder")  # fmt: skip
    data = DeepLesion(root, keys, findings, {what: count for what, count in odd.items() if count})
    return data if len(keys) == len(rows) else data.select(lambda key: True)


def subset(
    data: DeepLesion,
    *,
    share: float | None = None,
    patients: int | None = None,
    images: int | None = None,
    seed: int = 0,
    split: Split = "train",
) -> DeepLesion:
    """Fewer patients in one split; the other splits stay whole.

    Patients are taken in an order that the seed alone decides, so that a smaller subset lies in every larger one.

    Args:
        data: What is taken from.
        share: Part of the patients of the split, rounded up; or give
        patients: how many of them, or
        images: of how many key slices at least.
        seed: Of the order.
        split: Which split is made smaller.

    Raises:
        SemeiaError: Not exactly one size is given, or it is not above 0.
    """
    sizes = [size for size in (share, patients, images) if size is not None]
    if len(sizes) != 1 or not sizes[0] > 0 or (share is not None and share > 1):
        raise SemeiaError(f"{data.folder}: expected one of share (0 to 1), patients or images, above 0, found "
                          f"{share}, {patients}, {images}; name one")  # fmt: skip
    counts = Counter(key.patient for key in data.keys if key.split == split)
    order = np.random.default_rng(seed).permutation(sorted(counts))
    if share is not None:
        # Rounded first, so that 0.1 of 30 is 3 in spite of floating point.
        patients = math.ceil(round(share * len(order), 6))
    elif images is not None:
        patients = int(np.searchsorted(np.cumsum([counts[patient] for patient in order]), images)) + 1
    taken = set(order[:patients].tolist())
    return data.select(lambda key: key.split != split or key.patient in taken)


def _rows(table: Path) -> Iterator[tuple[int, list[str]]]:
    """Cells of each lesion, with the number of the line."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream)
            header = next(lines, [])
            if header != list(COLUMNS):
                wrong = next((f"{b!r} for {a!r}" for a, b in zip(COLUMNS, header, strict=False) if a != b), "")
                raise SemeiaError(f"{table}: line 1: expected the {len(COLUMNS)} columns {COLUMNS[0]} to {COLUMNS[-1]},"
                                  f" found {len(header)}{f', {wrong[:120]}' if wrong else ''}; correct it")  # fmt: skip
            for cells in lines:
                if cells and len(cells) != len(COLUMNS):
                    raise SemeiaError(f"{table}: line {lines.line_num}: expected {len(COLUMNS)} cells, found "
                                      f"{len(cells)} in {','.join(cells)[:80]!r}; correct it")  # fmt: skip
                if cells:
                    yield lines.line_num, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise SemeiaError(f"{table}: expected the table of DeepLesion, found none that can be read ({reason}); name "
                          "the folder that holds it") from error  # fmt: skip


def _finding(cells: list[str], table: Path, line: int) -> Finding:
    """A row as it stands, 0-based."""

    def wrong(column: int, expected: str) -> SemeiaError:
        return SemeiaError(f"{table}: line {line}: expected {expected} in {COLUMNS[column]}, found "
                           f"{cells[column][:60]!r}; correct it or drop the row")  # fmt: skip

    def floats(column: int, count: int) -> list[float]:
        try:
            values = [float(cell) for cell in cells[column].split(",")]
        except ValueError:
            values = []
        if len(values) != count or "_" in cells[column]:
            raise wrong(column, f"{count} number{'s' if count > 1 else ''}")
        return values

    def whole(column: int, count: int, low: int, high: int) -> list[int]:
        values = floats(column, count)
        if not all(low <= value <= high and value == int(value) for value in values):
            raise wrong(column, f"{count} whole number{'s' if count > 1 else ''} from {low} to {high}")
        return [int(value) for value in values]

    name = _NAME.fullmatch(cells[0])
    if name is None:
        raise wrong(0, "a name such as 000001_02_03_088.png")
    numbers = [int(part) for part in name.groups()]
    for column, number in enumerate(numbers, start=1):
        if whole(column, 1, 0, 10**6) != [number]:
            raise wrong(column, f"the {number} of {cells[0]}")
    recist, box = np.array(floats(5, 8)).reshape(4, 2) - 1, np.array(floats(6, 4)) - 1
    for column, values in ((5, recist), (6, box)):
        if not np.isfinite(values).all():
            raise wrong(column, "finite numbers")
    across, down, interval = floats(12, 3)
    if not (0 < across < 100 and 0 < down < 100):
        raise wrong(12, "millimetres a pixel above 0")
    if cells[15] not in ("F", "M", "", "NaN", "nan"):
        raise wrong(15, "F, M or nothing")
    kind = whole(9, 1, -1, 8)[0]
    if kind == 0:
        raise wrong(9, "-1 or 1 to 8")
    first, last = whole(11, 2, 0, 10**6)
    width, height = whole(13, 2, 1, LARGEST_SIDE)
    long, short = floats(7, 2)
    x, y, z = floats(8, 3)
    low, high = floats(14, 2)
    return Finding(
        patient=numbers[0],
        study=numbers[1],
        series=numbers[2],
        key_slice=numbers[3],
        recist=recist,
        box=box,
        diameters=(long, short),
        location=(x, y, z),
        kind=kind,
        noisy=bool(whole(10, 1, 0, 1)[0]),
        slice_range=(first, last),
        spacing=(across, down, interval),
        size=(width, height),
        window=(low, high),
        gender="F" if cells[15] == "F" else "M" if cells[15] == "M" else None,
        age=floats(16, 1)[0] if cells[16].strip() else math.nan,
        split=SPLITS[whole(17, 1, 1, 3)[0] - 1],
    )


def _checked(finding: Finding, table: Path, line: int) -> Iterator[str]:
    """What is odd about a row; what is wrong is refused."""
    box, ends, size = finding.box, finding.recist, np.array(finding.size)
    low, high = ends.min(0), ends.max(0)
    inside = f"inside {size[0]} x {size[1]} pixels"
    for fine, expected, found in (
        ((box[:2] < box[2:]).all(), "a box x1, y1, x2, y2 that is not inverted", box + 1),
        ((low >= -1 - TOLERANCE).all() and (high <= size + TOLERANCE).all(), f"axes {inside}",
         ends.ravel() + 1),
        ((box[:2] >= -PADDING - TOLERANCE).all() and (box[2:] <= size + PADDING + TOLERANCE).all(),
         f"a box {inside}", box + 1),
        (finding.diameters[0] >= finding.diameters[1] - TOLERANCE, "a long axis no shorter than the short one",
         finding.diameters),
    ):  # fmt: skip
        if not fine:
            raise SemeiaError(f"{table}: line {line}: expected {expected}, found {_listed(found)}; correct it or drop "
                              "the row")  # fmt: skip
    if np.abs(np.concatenate([low - PADDING, high + PADDING]) - box).max() > TOLERANCE:
        yield CLIPPED
    if (box < 0).any() or (box[2:] > size).any():
        yield OUTSIDE


def _key_slices(
    images: Path, rows: Mapping[str, list[Finding]], *, missing: Literal["refuse", "skip"], table: Path
) -> list[KeySlice]:
    """A key slice for each file name that exists."""
    series: dict[str, Series] = {}
    keys: list[KeySlice] = []
    absent: list[str] = []
    for name, findings in rows.items():
        first = findings[0]
        for other in findings[1:]:
            if other.size != first.size or other.spacing[:2] != first.spacing[:2]:
                raise SemeiaError(f"{table}: {name}: expected one size and spacing in all its rows, found {first.size},"
                                  f" {first.spacing} and {other.size}, {other.spacing}; correct it")  # fmt: skip
        folder, number = name[:-4].rsplit("_", 1)
        if folder not in series:
            series[folder] = Series(images / folder, slice_numbers(images / folder), first.size)
        if int(number) not in series[folder].numbers:
            absent.append(f"{folder}/{number}.png")
            continue
        keys.append(KeySlice(
            series=series[folder], slice=first.key_slice, patient=first.patient, split=first.split,
            spacing=first.spacing[:2], interval=first.spacing[2], window=first.window, location=first.location[2],
            findings=tuple(findings),
        ))  # fmt: skip
    if absent and missing == "refuse":
        raise SemeiaError(f"{images / absent[0]}: not found; expected the key slice that {table} names; {len(absent):,}"
                          f" of {len(rows):,} are missing; unpack them there, or skip what is missing")  # fmt: skip
    return keys


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write_series(
    folder: str | Path, patient: int, study: int, series: int, hu: np.ndarray, *, first: int, images: str = IMAGES
) -> None:
    """Write a run of slices of a series: all or none of them, where the series has no slices yet.

    See ``write_run`` of ``slice_files``.

    Args:
        folder: The data set; made where it does not exist.
        patient: Patient, from 1.
        study: Study of the patient, from 1.
        series: Series of the study, from 1.
        hu: (n, H, W) int16.
        first: Number of the first slice; the others follow.
        images: Name of the folder of images.

    Raises:
        SemeiaError: The slices have another shape or type, or the folder cannot be written to.
    """
    name = series_name(patient, study, series)
    if hu.ndim != 3 or hu.dtype != np.int16 or 0 in hu.shape:
        raise SemeiaError(f"DeepLesion: {name}: expected slices (n, H, W) int16, found {hu.shape} {hu.dtype}; convert")
    write_run(Path(folder) / images, name, np.ascontiguousarray(hu).view(np.uint16) ^ SIGN, first=first)


def write_masks(
    folder: str | Path, patient: int, study: int, series: int, numbers: np.ndarray, *, first: int, images: str = MASKS
) -> None:
    """As ``write_series``, for masks (n, H, W) uint8: 0, or the number of the lesion that a pixel belongs to.

    Raises:
        SemeiaError: As ``write_series``.
    """
    name = series_name(patient, study, series)
    if numbers.ndim != 3 or numbers.dtype != np.uint8 or 0 in numbers.shape:
        raise SemeiaError(f"DeepLesion: {name}: expected masks (n, H, W) uint8, found {numbers.shape} "
                          f"{numbers.dtype}; convert")  # fmt: skip
    write_run(Path(folder) / images, name, numbers, first=first)


def write_table(folder: str | Path, findings: Iterable[Finding]) -> None:
    """Write the table of lesions, in the order given, whole or not at all.

    Args:
        folder: The data set; made where it does not exist.
        findings: The lesions.

    Raises:
        SemeiaError: A lesion has numbers that the table cannot hold, or the folder cannot be written to.
    """
    stream = io.StringIO(newline="")
    # The csv module quotes what holds a comma, as the published table does.
    table = csv.writer(stream, lineterminator="\n")
    table.writerow(COLUMNS)
    for finding in findings:
        table.writerow(_cells(finding))
    write_whole(writable_folder(folder) / TABLE, stream.getvalue().encode())


def _cells(finding: Finding) -> list[object]:
    name = f"{series_name(finding.patient, finding.study, finding.series)}_{finding.key_slice:03d}.png"
    recist, box = np.asarray(finding.recist, float), np.asarray(finding.box, float)
    if recist.shape != (4, 2) or box.shape != (4,) or not (np.isfinite(recist).all() and np.isfinite(box).all()):
        raise SemeiaError(f"DeepLesion: {name}: expected 4 ends of axes and a box in finite numbers, found "
                          f"{recist.tolist()} and {box.tolist()}; correct it")  # fmt: skip
    return [
        name, finding.patient, finding.study, finding.series, finding.key_slice,
        _listed(recist.ravel() + 1), _listed(box + 1), _listed(finding.diameters), _listed(finding.location),
        finding.kind, int(finding.noisy), _listed(finding.slice_range), _listed(finding.spacing),
        _listed(finding.size), _listed(finding.window), finding.gender or "", _printed(finding.age),
        SPLITS.index(finding.split) + 1,
    ]  # fmt: skip


def _listed(values: Iterable[float]) -> str:
    return ", ".join(map(_printed, values))


def _printed(value: float) -> str:
    """6 significant digits, as the published table has them."""
    return "NaN" if math.isnan(value) else f"{value:.6g}"
