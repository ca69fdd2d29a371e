"""Patients with facial palsy who do requested movements: pictures or clips, and one CSV table.

    FOLDER/palsy.csv                    patient,exercise,file,grade,side,degree,split,start,end
    FOLDER/P001/smile.jpg               pictures or clips, as the column ``file`` names them

One row is a file, or the part of a clip from ``start`` to ``end`` in seconds; either may be empty. Columns are found by
name, in any order and letters of either case; only the first three must be there, and unknown ones are ignored.

    exercise    one of ``ops.palsy_scales.EXERCISES``, or a name of ``VARIANTS``; spaces and hyphens count as _
    file        below the folder; slashes of either kind
    grade       House-Brackmann I to VI, or 1 to 6
    side        the weak one, the subject's own: left, right, l, r; none where neither is weak
    degree      share of the weak side's movement that is lost, 0 to 1; rendered patients have one
    split       train, val or test

Grade, side, degree and split belong to the patient: rows that disagree are refused, and a row where one is empty takes
it from the patient's other rows.

Known   FPara, which ALGRNet grades, is private, and no file of it or of another palsy data set was at hand. This layout
        is our own convention for what such a set holds: patient, exercise, grade.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal

import numpy as np

from semeia.data.formats.face_files import PICTURES, existing, lines_of, number_in, picture_bytes, records_of
from semeia.files import writable_folder, write_whole
from semeia.ops.palsy_scales import EXERCISES, GRADES
from semeia.records import SemeiaError

TABLE = "palsy.csv"

NEEDED = ("patient", "exercise", "file")
COLUMNS = (*NEEDED, "grade", "side", "degree", "split", "start", "end")

OF_PATIENT = ("grade", "side", "degree", "split")
"""Columns that say the same in all rows of a patient."""

VARIANTS = {
    "neutral": "rest",
    "at_rest": "rest",
    "raise_brows": "brow_raise",
    "eyebrow_raise": "brow_raise",
    "raise_eyebrows": "brow_raise",
    "close_eyes": "eye_closure",
    "gentle_eye_closure": "eye_closure",
    "full_eye_closure": "eye_closure",
    "tight_eye_closure": "eye_closure",
    "open_smile": "smile",
    "open_mouth_smile": "smile",
    "nose_wrinkle": "snarl",
    "lip_pucker": "pucker",
}
"""Other names of exercises. Gentle and tight closure of the eyes become one."""

SIDES = {"left": "left", "l": "left", "right": "right", "r": "right", "none": "none"}
SPLITS = ("train", "val", "test")

_GRADES = {name: i for i, grade in enumerate(GRADES) for name in (grade.lower(), str(i + 1), f"{i + 1}.0")}
_LARGEST = 1 << 26  # bytes of a table
_LONGEST = 86_400.0  # seconds of a clip


@dataclass(frozen=True)
class PalsyFile:
    """A patient who does an exercise, in a picture, a clip, or a part of one.

    ``grade`` is a place in ``ops.palsy_scales.GRADES``, 0 to 5. ``side`` is the weak one: "left" or "right" (the
    subject's own), "none" where neither is. ``start`` and ``end`` are seconds of a clip. ``degree`` is the share of
    movement that is lost. None is not known; of ``start`` and ``end`` it is the clip's own.
    """

    patient: str
    exercise: str
    path: Path
    grade: int | None = None
    side: str | None = None
    split: str | None = None
    start: float | None = None
    end: float | None = None
    degree: float | None = None


def patients(files: Iterable[PalsyFile]) -> dict[str, tuple[PalsyFile, ...]]:
    """The files of each patient, in their order."""
    found: dict[str, list[PalsyFile]] = {}
    for file in files:
        found.setdefault(file.patient, []).append(file)
    return {patient: tuple(theirs) for patient, theirs in found.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(folder: str | Path, *, missing: Literal["refuse", "skip"] = "refuse") -> tuple[PalsyFile, ...]:
    """The files of a folder of patients, by patient, then in the order of the table. Pictures are not opened.

    Args:
        folder: The data set.
        missing: What to do with rows whose file is not there.

    Raises:
        SemeiaError: The table is wrong, a patient has two grades, sides or splits, a row stands twice, or a file is
            missing.
    """
    root = Path(folder)
    path = existing(root, (TABLE,), layout="palsy patients")
    columns = _columns(path)
    seen = _Seen(path)
    rows = []
    for line, record in records_of(path, ()):
        file = _row({what: record[name] for what, name in columns.items()}, root, path=path, line=line)
        seen.add(file, line)
        rows.append((line, file))
    there = {file.path: _is_file(file.path) for _, file in rows}
    absent = [(line, file.path) for line, file in rows if not there[file.path]]
    if absent and missing == "refuse":
        raise SemeiaError(f"{absent[0][1]}: not found; expected the picture or clip that {path} names in line "
                          f"{absent[0][0]}; {len(absent):,} of {len(rows):,} rows lack theirs; copy it there, drop the "
                          "row, or read with missing='skip'")  # fmt: skip
    files = [seen.completed(file) for _, file in rows if there[file.path]]
    if not files:
        raise SemeiaError(f"{path}: expected at least one row with a file that is there, found none in {len(rows):,} "
                          "rows; name the folder that holds them")  # fmt: skip
    return tuple(sorted(files, key=lambda file: file.patient))


def _columns(path: Path) -> dict[str, str]:
    """What is read -> name of the column in this table."""
    if not path.is_file() or path.stat().st_size > _LARGEST:
        raise SemeiaError(f"{path}: expected a table of at most {_LARGEST >> 20} MiB, found "
                          f"{'more' if path.is_file() else 'no file'}; name the folder of the table")  # fmt: skip
    number, first = next(lines_of(path), (1, ""))
    try:
        header = [name.strip() for name in next(csv.reader([first]), [])]
    except csv.Error as error:
        raise SemeiaError(f"{path}: line {number}: expected the names of columns, found a line that cannot be read "
                          f"({error}); correct it") from error  # fmt: skip
    found = {what: [name for name in header if name.lower() == what] for what in COLUMNS}
    lacking = [what for what in NEEDED if not found[what]]
    if lacking:
        raise SemeiaError(f"{path}: line {number}: expected the columns {', '.join(NEEDED)} separated by ',', found no "
                          f"{', '.join(lacking)} in {first[:80]!r}; rename or add them")  # fmt: skip
    for what, names in found.items():
        if len(names) > 1:
            raise SemeiaError(f"{path}: line {number}: expected one column {what}, found {len(names)}; drop the others")
    return {what: names[0] for what, names in found.items() if names}


def _row(values: Mapping[str, str], root: Path, *, path: Path, line: int) -> PalsyFile:
    """A row as its cells say; what is empty is not filled yet."""
    cells = dict.fromkeys(COLUMNS, "") | dict(values)
    patient, place = cells["patient"], _place(cells["file"])
    exercise = "_".join(re.split(r"[\s_-]+", cells["exercise"].lower()))
    exercise = VARIANTS.get(exercise, exercise)
    grade, side, split = (cells[what].lower() for what in ("grade", "side", "split"))
    for fine, expected, found in (
        (patient and patient.isprintable(), "the name of a patient", patient),
        (exercise in EXERCISES, f"an exercise, one of {', '.join(EXERCISES)}", cells["exercise"]),
        (place, "the place of a picture or clip below the folder", cells["file"]),
        (grade in {*_GRADES, ""}, "a House-Brackmann grade I to VI or 1 to 6", cells["grade"]),
        (side in {*SIDES, ""}, "the weak side left, right or none", cells["side"]),
        (split in {*SPLITS, ""}, f"the split {', '.join(SPLITS)}", cells["split"]),
    ):
        if not fine:
            raise SemeiaError(f"{path}: line {line}: expected {expected}, found {found[:40]!r}; correct it")
    where = root / (place or "")
    start, end, degree = (
        number_in(cells[what], 0, largest, what=f"{what}{unit}", path=path, line=line) if cells[what] else None
        for what, largest, unit in (("start", _LONGEST, " in seconds"), ("end", _LONGEST, " in seconds"),
                                    ("degree", 1, ""))
    )  # fmt: skip
    if end is not None and end <= (start or 0.0):
        raise SemeiaError(f"{path}: line {line}: expected an end after the start, found start {start or 0:g} and end "
                          f"{end:g}; correct them")  # fmt: skip
    if (start, end) != (None, None) and where.suffix.lower() in PICTURES:
        raise SemeiaError(f"{path}: line {line}: expected start and end with clips alone, found them with the picture "
                          f"{where.name[:40]!r}; leave them empty")  # fmt: skip
    return PalsyFile(patient, exercise, where, _GRADES.get(grade), SIDES.get(side), split or None, start, end, degree)


def _place(text: str) -> PurePosixPath | None:
    """Where a file lies below the folder; None where the text leads out of it, to the table, or nowhere."""
    place = PureWindowsPath(text)  # takes both slashes, and knows drives
    if place.anchor or ".." in place.parts or not place.name or not text.isprintable():
        return None
    return None if str(place).lower() == TABLE else PurePosixPath(*place.parts)


def _is_file(path: Path) -> bool:
    """Whether a file can be found, whatever its name; one that is too long is none."""
    try:
        return path.is_file()
    except OSError:
        return False


class _Seen:
    """What the rows of a table have said so far.

    Args:
        table: The file that errors name.
    """

    def __init__(self, table: Path) -> None:
        self.table = table
        self.known: dict[tuple[str, str], tuple[Any, int]] = {}  # patient, column -> value, line
        self.parts: dict[tuple[Path, float, float | None], int] = {}

    def add(self, file: PalsyFile, line: int) -> None:
        """Take a row in.

        Raises:
            SemeiaError: It contradicts one before, or shows the same.
        """
        first = self.parts.setdefault((file.path, file.start or 0.0, file.end), line)
        if first != line:
            raise SemeiaError(f"{self.table}: line {line}: expected every file, or part of a clip, once, found that of "
                              f"line {first} again, {file.path.name[:80]!r}; drop one")  # fmt: skip
        for what in OF_PATIENT:
            value = getattr(file, what)
            if value is None:
                continue
            other, earlier = self.known.setdefault((file.patient, what), (value, line))
            if other != value:
                now, then = (GRADES[v] if what == "grade" else v for v in (value, other))
                raise SemeiaError(f"{self.table}: line {line}: expected one {what} a patient, found {now} for "
                                  f"{file.patient[:40]!r} and {then} in line {earlier}; correct one")  # fmt: skip

    def completed(self, file: PalsyFile) -> PalsyFile:
        """A row with what other rows say of its patient."""
        return replace(file, **{what: self.known.get((file.patient, what), (None, 0))[0] for what in OF_PATIENT})


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, files: Iterable[tuple[PalsyFile, bytes | np.ndarray]]) -> None:
    """Write files of patients in this layout, the table last.

    All fields come back, by patient; a grade, side or split that is None comes back as the patient's other rows have
    it. Several parts of one clip are several rows with the same bytes.

    Args:
        folder: The data set; made where it does not exist.
        files: Rows whose ``path`` is relative to the folder, and what stands in the file: its bytes, or a picture
            (H, W, 3) uint8 for a name that ends in .jpg, .jpeg or .png; taken one at a time.

    Raises:
        SemeiaError: There are no rows, one breaks what ``read`` expects, a file has two contents, or the folder cannot
            be written to.
    """
    root = writable_folder(folder)
    path = root / TABLE
    seen = _Seen(path)
    written: dict[Path, bytes] = {}
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for line, (file, content) in enumerate(files, start=2):
        cells = _cells(file)
        placed = _row({what: cell.strip() for what, cell in cells.items()}, root, path=path, line=line)
        for what in COLUMNS:
            name = "path" if what == "file" else what
            given, back = (getattr(f, name) for f in (replace(file, path=root / file.path), placed))
            if given != back:
                raise SemeiaError(f"{path}: line {line}: expected values as they are read, found the {name} {given!r}, "
                                  f"which would be read as {back!r}; correct it")  # fmt: skip
        seen.add(placed, line)
        data = _content(content, placed.path)
        mark = hashlib.sha256(data).digest()
        if written.get(placed.path, mark) != mark:
            raise SemeiaError(f"{placed.path}: expected one content of a file, found another in line {line}; rename it")
        if placed.path not in written:
            writable_folder(placed.path.parent)
            write_whole(placed.path, data)
            written[placed.path] = mark
        writer.writerow(cells)
    if not written:
        raise SemeiaError(f"{path}: expected at least one file of a patient to write, found none")
    write_whole(path, table.getvalue().encode())


def _cells(file: PalsyFile) -> dict[str, str]:
    """A row as text; values out of range stay, for the reader to refuse."""
    grade = file.grade
    cells: dict[str, Any] = {what: getattr(file, what) for what in COLUMNS if what != "file"}
    if grade is not None and grade in range(len(GRADES)):
        cells["grade"] = GRADES[int(grade)]
    cells["file"] = file.path.as_posix()
    return {what: "" if value is None else str(value) for what, value in cells.items()}


def _content(content: bytes | np.ndarray, path: Path) -> bytes:
    """What a file is to hold."""
    if isinstance(content, np.ndarray):
        suffix = path.suffix.lower()
        if suffix not in {".jpg", ".jpeg", ".png"}:
            raise SemeiaError(f"{path}: expected a name that ends in .jpg, .jpeg or .png for a picture, found "
                              f"{suffix!r}; rename it or give bytes")  # fmt: skip
        return picture_bytes(content, ".png" if suffix == ".png" else ".jpg", what=str(path))
    if not isinstance(content, bytes) or not content:
        raise SemeiaError(f"{path}: expected the bytes of a file or a picture, found {content!r:.40}; drop its row")
    return content
