"""Faces that lie as single picture files, as the readers of real data sets give them.

``FaceFiles`` answers like ``formats.faces.FaceFolder``, so that feeds and evaluation take either. What all readers of
text files of labels need stands here too.

Shapes      N faces   H, W pixels
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from PIL import Image, ImageOps

from semeia.data.formats.face_columns import FaceColumns, LabelledFaces, columns_of, table
from semeia.data.formats.faces import FaceFolder
from semeia.records import FaceLabels, SemeiaError

Row = tuple[FaceLabels, Path, Mapping[str, Any]]
"""Labels, picture, and what else the data set says of it as plain JSON values."""

PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
"""Endings of picture files in real data sets, in lower case."""


class FaceFiles(LabelledFaces):
    """Random access to faces in picture files, in the order of their rows.

    Labels are held in memory; pictures are read when asked for. An object may be pickled, forked into data workers and
    shared by threads.

    Args:
        folder: The data set.
        labels: The file that errors about labels name; the folder where there is none.
        rows: The faces; their keys differ.

    Raises:
        SemeiaError: There are no rows, a label is out of its range, two faces have one key, or a picture is missing.
    """

    def __init__(self, folder: str | Path, labels: Path, rows: Iterable[Row]) -> None:
        self.folder = Path(folder)
        listed = list(rows)
        if not listed:
            raise SemeiaError(f"{labels}: expected at least one labelled face, found none")
        self.columns: FaceColumns = columns_of(table((face, extra) for face, _, extra in listed), labels)
        self.pictures = [picture for _, picture, _ in listed]
        missing = [picture for picture in self.pictures if not picture.is_file()]
        if missing:
            raise SemeiaError(f"{missing[0]}: not found; expected the picture that {labels} names; {len(missing):,} of "
                              f"{len(listed):,} are missing; unpack them there, or drop their rows")  # fmt: skip

    def take(self, rows: np.ndarray, *, landmarks: np.ndarray | None = None) -> Self:
        """Some of the faces, by their numbers; with other landmarks (rows, 68, 2) in pixels where they are given."""
        some = copy(self)
        some.columns = self.columns.take(rows)
        if landmarks is not None:
            some.columns = replace(some.columns, landmarks=landmarks)
        some.pictures = [self.pictures[row] for row in rows]
        return some

    def image(self, index: int) -> np.ndarray:
        """The picture of one face, (H, W, 3) uint8, EXIF orientation applied.

        Raises:
            SemeiaError: It cannot be decoded.
        """
        path = self.pictures[index]
        try:
            with Image.open(path, formats=("PNG", "JPEG", "BMP")) as picture:
                return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise SemeiaError(f"{path}: expected a JPEG, PNG or BMP picture, found one that cannot be decoded "
                              f"({error}); copy it again or drop its row") from error  # fmt: skip


Faces = FaceFolder | FaceFiles
"""What feeds and evaluation read from."""


def picture_bytes(image: np.ndarray, suffix: Literal[".jpg", ".png"], *, what: str) -> bytes:
    """A picture (H, W, 3) uint8 as the bytes of a file.

    Raises:
        SemeiaError: It is no such picture; the error begins with ``what``.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise SemeiaError(f"{what}: expected a picture (H, W, 3) uint8, found {image.shape} {image.dtype}; convert it")
    stream = io.BytesIO()
    options = {"format": "JPEG", "quality": 95, "subsampling": 0} if suffix == ".jpg" else {"format": "PNG"}
    Image.fromarray(image).save(stream, **options)
    return stream.getvalue()


# ---------------------------------------------------------------------------------------------------------------------
# Text files of labels


def existing(folder: str | Path, names: Sequence[str], *, layout: str) -> Path:
    """The first of several places in a data set that exists.

    Args:
        folder: The data set.
        names: File or folder names, as different releases and unpackers call them.
        layout: Name of the data set, for the error.

    Raises:
        SemeiaError: None of them exists, or the folder does not.
    """
    root = Path(folder)
    if not root.is_dir():
        raise SemeiaError(f"{root}: not found; expected the folder of {layout}")
    for name in names:
        if (root / name).exists():
            return root / name
    others = f" (or {', '.join(names[1:])})" if names[1:] else ""
    raise SemeiaError(
        f"{root / names[0]}: not found; a folder of {layout} has it{others}; name the folder that holds it"
    )


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a text file that are not blank, with their numbers from 1; line ends and a byte order mark are gone.

    Raises:
        SemeiaError: It cannot be read as UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SemeiaError(f"{path}: expected a text file of labels, found one that cannot be read ({error})") from error


def records_of(path: Path, columns: Sequence[str], *, separator: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table with a header, with their line numbers; further columns are passed on too.

    Args:
        path: CSV file.
        columns: What the header must hold.
        separator: Between fields.

    Raises:
        SemeiaError: A column is missing, a row has another number of fields, or the file cannot be read.
    """
    rows = iter(lines_of(path))
    number, first = next(rows, (1, ""))
    header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
    missing = [name for name in columns if name not in header]
    if missing:
        raise SemeiaError(f"{path}: line {number}: expected the columns {', '.join(columns)} separated by "
                          f"{separator!r}, found no {', '.join(missing)} in {first[:80]!r}")  # fmt: skip
    for number, line in rows:
        try:
            fields = next(csv.reader([line], delimiter=separator))
        except csv.Error as error:
            raise SemeiaError(f"{path}: line {number}: expected fields separated by {separator!r}, found a line that "
                              f"cannot be read ({error})") from error  # fmt: skip
        if len(fields) != len(header):
            raise SemeiaError(f"{path}: line {number}: expected {len(header)} fields separated by {separator!r}, found "
                              f"{len(fields)} in {line[:80]!r}")  # fmt: skip
        yield number, dict(zip(header, (f.strip() for f in fields), strict=True))


def number_in(text: str, low: float, high: float, *, what: str, path: Path, line: int) -> float:
    """A number of a label file within bounds.

    Raises:
        SemeiaError: It is no number, or out of bounds; names file, line and what it should be.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise SemeiaError(f"{path}: line {line}: expected {what} from {low:g} to {high:g}, found {text[:40]!r}")
    return value


def whole_number_in(text: str, low: int, high: int, *, what: str, path: Path, line: int) -> int:
    """As ``number_in``, for whole numbers."""
    value = number_in(text, low, high, what=what, path=path, line=line)
    if value != int(value):
        raise SemeiaError(f"{path}: line {line}: expected {what} as a whole number, found {text[:40]!r}")
    return int(value)


def no_shared_persons(faces: FaceFiles) -> FaceFiles:
    """The same faces, once it is sure that nobody stands in two splits.

    Raises:
        SemeiaError: A person does; scores of such a split would measure memory.
    """
    persons, splits = faces.columns.texts["identity"], faces.columns.texts["split"]
    seen: dict[str, str] = {}
    for person, split in zip(persons, splits, strict=True):
        if person is not None and split is not None and seen.setdefault(person, split) != split:
            raise SemeiaError(f"{faces.folder}: expected every person in one split, found {person!r} in "
                              f"{seen[person]!r} and {split!r}; split by persons")  # fmt: skip
    return faces
