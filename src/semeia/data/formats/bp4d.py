"""BP4D-Spontaneous: frames of 41 persons in 8 tasks, with coded action units.

    FOLDER/AUCoding/AU_OCC/F001_T1.csv          occurrence; also FOLDER/AU_OCC or FOLDER/AUCoding itself
    FOLDER/AUCoding/AU_INT/AU06/F001_T1_AU06.csv        intensity of some units, optional; also FOLDER/AU_INT
    FOLDER/BP4D-training/F001/T1/2440.jpg       frames; also in BP4D, img, 2D+3D, or FOLDER/F001 itself

An occurrence table begins with a row of unit numbers after a first cell that means nothing; each further row is a
frame number and a code for each unit: 0 absent, 1 present, 9 not coded. An intensity table has no such row; each row is
a frame number and 0 to 5, or 9. Codes of 9 are left out of the labels, which masks them in loss and metrics. A frame is
the picture whose name is its number, with however many zeros in front: both 0178.jpg and 187.jpg were seen.

Folds are those of JAA-Net and ME-GraphAU, whose lists agree: fold 1 tests part 3, fold 2 part 2, fold 3 part 1. Both
choose their best epoch by the test part; ``HELD_OUT`` names training persons to choose it by instead. These are this
library's choice.

Known   Folders, names, codes and parts were read in several public code bases (ME-GraphAU, JAA-Net, OpenFace, AU R-CNN;
        2D+3D in code for BP4D+). No file of the data set was at hand. OpenFace takes the last column of occurrence
        tables as a flag of occluded faces; it is not read. ``Sequences(2D)`` was found nowhere. Frames that only
        intensity tables have are left out.

Shapes      F frames of a sequence
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from semeia.data.formats.face_files import PICTURES, FaceFiles, existing, lines_of, no_shared_persons, picture_bytes
from semeia.files import writable_folder, write_whole
from semeia.records import FaceLabels, SemeiaError

UNITS = ("AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24")
"""The twelve units of the protocol."""

PARTS = tuple(
    tuple(part.split())
    for part in (
        "F001 F002 F008 F009 F010 F016 F018 F023 M001 M004 M007 M008 M012 M014",
        "F003 F005 F011 F013 F020 F022 M002 M005 M010 M011 M013 M016 M017 M018",
        "F004 F006 F007 F012 F014 F015 F017 F019 F021 M003 M006 M009 M015",
    )
)
"""Persons of the three parts."""

HELD_OUT = {1: ("F001", "F003", "M002"), 2: ("F002", "F004", "M003"), 3: ("F005", "F006", "M006")}
"""Training persons of each fold that the split "val" takes where it is asked for."""

OCCURRENCE = ("AUCoding/AU_OCC", "AU_OCC", "AUCoding")
INTENSITY = ("AUCoding/AU_INT", "AU_INT", "AU-Intensity-Codes3.0")
FRAMES = ("BP4D-training", "BP4D", "img", "2D+3D", ".")
"""Where the tables and the frames lie, the first that exists."""

NOT_CODED = "9"
_COLUMNS = range(1, 100)  # units of a written table

_SEQUENCE = re.compile(r"([FM]\d{3})_(T\d{1,2})")
_KEY = re.compile(r"([FM]\d{3})/(T\d{1,2})/(\d{4}|[1-9]\d{4,5})")
_UNIT = re.compile(r"AU\d\d")

Codes = dict[int, dict[str, int]]
"""Frame -> unit -> code, without those that were not coded."""


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(
    folder: str | Path,
    *,
    fold: int | None = None,
    val: bool = False,
    units: Collection[str] | None = UNITS,
    intensity: bool = True,
    missing: Literal["refuse", "skip"] = "refuse",
) -> FaceFiles:
    """The coded frames of BP4D, by person, task and frame.

    Args:
        folder: The data set.
        fold: 1, 2 or 3 makes the splits "train" and "test"; None makes none.
        val: Take the persons ``HELD_OUT`` of the fold from "train" to a split "val".
        units: Units to keep; None keeps all that are coded.
        intensity: Read the intensity tables too, where there are any.
        missing: What to do with coded frames that have no picture.

    Raises:
        SemeiaError: A table is wrong, a picture is missing, or a person is in no part of the folds.
    """
    root = Path(folder)
    if fold is not None and fold not in HELD_OUT:
        raise SemeiaError(f"{root}: expected a fold from 1 to 3, found {fold}; name another")
    tables = existing(root, OCCURRENCE, layout="BP4D")
    frames = existing(root, FRAMES, layout="BP4D")
    strengths = next((root / place for place in INTENSITY if intensity and (root / place).is_dir()), None)
    rows: list[tuple[FaceLabels, Path, Mapping[str, str]]] = []
    for table in sorted(tables.glob("*.csv")):
        name = _SEQUENCE.fullmatch(table.stem)
        if name is None:
            raise SemeiaError(f"{table}: expected tables such as F001_T1.csv, found this name; take the file away")
        person, task = name.groups()
        occurrence = _occurrence(table, units)
        strength = _intensity(strengths, table.stem, units) if strengths else {}
        pictures = numbered_pictures(frames / person / task)
        split = None if fold is None else split_of(person, fold, parts=PARTS, held_out=HELD_OUT if val else {})
        for frame, codes in occurrence.items():
            if frame not in pictures and missing == "skip":
                continue
            labels = FaceLabels(
                key=f"{person}/{task}/{frame:04}",
                identity=person,
                split=split,
                au_occurrence=codes,
                au_intensity=strength.get(frame, {}),
            )
            rows.append((labels, pictures.get(frame, frames / person / task / f"{frame:04}.jpg"), {}))
    return no_shared_persons(FaceFiles(root, tables, rows))


def split_of(
    person: str, fold: int, *, parts: Collection[Collection[str]], held_out: Mapping[int, Collection[str]]
) -> str:
    """Split of a person where fold f of three tests part 4 - f.

    Raises:
        SemeiaError: The person is in no part.
    """
    for number, part in enumerate(parts, start=1):
        if person in part:
            return "test" if number == 4 - fold else "val" if person in held_out.get(fold, ()) else "train"
    raise SemeiaError(f"{person}: expected a person of the three parts of the folds, found none of this name; take the "
                      "person's tables away, or read without a fold")  # fmt: skip


def numbered_pictures(folder: Path) -> dict[int, Path]:
    """Pictures of a folder by the number that their names end with; a folder that does not exist has none.

    Raises:
        SemeiaError: Two pictures have one number.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir(), key=str) if folder.is_dir() else ():
        number = re.search(r"\d+$", path.stem)
        if number and path.suffix.lower() in PICTURES and not path.name.startswith("."):
            first = found.setdefault(int(number[0]), path)
            if first != path:
                raise SemeiaError(f"{path}: expected one picture a frame, found {first.name} beside it; take one away")
    return found


def _occurrence(path: Path, units: Collection[str] | None) -> Codes:
    """Coded units of each frame of a table."""
    lines = lines_of(path)
    number, first = next(lines, (1, ""))
    columns: dict[str, int] = {}
    header = [cell.strip() for cell in first.split(",")]
    for place, cell in enumerate(header[1:], start=1):
        if not re.fullmatch(r"0*\d{1,2}", cell) or f"AU{int(cell):02}" in columns:
            raise SemeiaError(f"{path}: line {number}: expected the numbers of units, each once, found {cell[:40]!r}; "
                              "correct it")  # fmt: skip
        columns[f"AU{int(cell):02}"] = place
    absent = [name for name in units or () if name not in columns]
    if absent or not columns:
        raise SemeiaError(f"{path}: line {number}: expected numbers of units separated by ',', found no "
                          f"{', '.join(absent) or 'unit'} in {first[:80]!r}; correct it")  # fmt: skip
    wanted = {name: place for name, place in columns.items() if units is None or name in units}
    frames: Codes = {}
    for line, cells in _rows(path, lines, len(header)):
        codes = {name: cells[place] for name, place in wanted.items()}
        frames[_frame(cells[0], frames, path, line)] = _coded(codes, "01", path=path, line=line)
    return frames


def _intensity(folder: Path, sequence: str, units: Collection[str] | None) -> Codes:
    """Intensities of each frame of a sequence."""
    frames: Codes = {}
    for place in sorted(folder.iterdir(), key=str):
        unit = place.name
        if not _UNIT.fullmatch(unit) or (units is not None and unit not in units):
            continue
        path = place / f"{sequence}_{unit}.csv"
        if not path.is_file():
            raise SemeiaError(f"{path}: not found; expected the intensities of {sequence} beside those of others; "
                              "unpack them, or read with intensity=False")  # fmt: skip
        seen: dict[int, str] = {}
        for line, cells in _rows(path, lines_of(path), 2):
            frame = _frame(cells[0], seen, path, line)
            seen[frame] = cells[1]
            frames.setdefault(frame, {}).update(_coded({unit: cells[1]}, "012345", path=path, line=line))
    return frames


def _rows(path: Path, lines: Iterator[tuple[int, str]], width: int) -> Iterator[tuple[int, list[str]]]:
    """Cells of each line."""
    for number, line in lines:
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != width:
            raise SemeiaError(f"{path}: line {number}: expected {width} fields separated by ',', found {len(cells)} in "
                              f"{line[:80]!r}; correct it")  # fmt: skip
        yield number, cells


def _frame(cell: str, seen: Collection[int], path: Path, line: int) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", cell):
        raise SemeiaError(f"{path}: line {line}: expected the number of a frame, found {cell[:40]!r}; correct it")
    if int(cell) in seen:
        raise SemeiaError(f"{path}: line {line}: expected every frame once, found {int(cell)} again; drop one line")
    return int(cell)


def _coded(codes: Mapping[str, str], allowed: str, *, path: Path, line: int) -> dict[str, int]:
    for unit, code in codes.items():
        if len(code) != 1 or code not in allowed + NOT_CODED:
            raise SemeiaError(f"{path}: line {line}: expected {', '.join(allowed)} or {NOT_CODED} (not coded) for "
                              f"{unit}, found {code[:40]!r}; correct it")  # fmt: skip
    return {unit: int(code) for unit, code in codes.items() if code != NOT_CODED}


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    """Write faces in this layout: frames as JPEG, then the tables.

    A face comes back with key, identity, occurrences and intensities; the split follows from the fold, and other
    labels are left out. A unit that a face has no label for is written as not coded.

    Args:
        folder: The data set; made where it does not exist.
        samples: Labels with keys such as ``F001/T1/2440``, and pictures (H, W, 3) uint8; taken one at a time.

    Raises:
        SemeiaError: A sample has no occurrences, an intensity that is no whole number, a key of another form or one
            that stands twice, an identity that the key does not name, or the folder cannot be written to.
    """
    root = writable_folder(folder)
    sequences: dict[str, dict[int, FaceLabels]] = {}
    for labels, image in samples:
        person, task, frame = _checked(labels)
        place = root / FRAMES[0] / person / task
        content = picture_bytes(image, ".jpg", what=f"{root}: key '{labels.key}'")
        faces = sequences.setdefault(f"{person}_{task}", {})
        if int(frame) in faces:
            raise SemeiaError(f"BP4D: expected keys that differ, found '{labels.key}' twice; rename one")
        write_whole((place if faces else writable_folder(place)) / f"{frame}.jpg", content)
        faces[int(frame)] = labels
    units = {unit for faces in sequences.values() for labels in faces.values() for unit in labels.au_intensity}
    for unit in sorted(units):
        place = writable_folder(root / INTENSITY[0] / unit)
        for name, faces in sequences.items():
            rows = [f"{number},{_code(labels.au_intensity, unit)}" for number, labels in sorted(faces.items())]
            write_whole(place / f"{name}_{unit}.csv", ("\n".join(rows) + "\n").encode())
    place = writable_folder(root / OCCURRENCE[0])
    for name, faces in sequences.items():
        rows = [",".join(map(str, (0, *_COLUMNS)))]
        for number, labels in sorted(faces.items()):
            rows.append(",".join([str(number), *(_code(labels.au_occurrence, f"AU{n:02}") for n in _COLUMNS)]))
        write_whole(place / f"{name}.csv", ("\n".join(rows) + "\n").encode())


def _code(codes: Mapping[str, float], unit: str) -> str:
    return str(int(codes[unit])) if unit in codes else NOT_CODED


def _checked(labels: FaceLabels) -> tuple[str, str, str]:
    """Person, task and frame of a sample that the layout can hold."""
    key = _KEY.fullmatch(labels.key)
    if key is None:
        raise SemeiaError(f"BP4D: expected a key such as 'F001/T1/2440', found '{labels.key}'; rename it")
    names = [*labels.au_occurrence, *labels.au_intensity]
    codes, strengths = [*labels.au_occurrence.values()], [*labels.au_intensity.values()]
    for fine, expected, found in (
        (labels.identity == key[1], "the identity that the key names", labels.identity),
        (labels.au_occurrence, "occurrences of units", "none"),
        (all(_UNIT.fullmatch(name) and name != "AU00" for name in names), "units such as AU01", ", ".join(names)),
        (set(codes) <= {0, 1}, "occurrences 0 or 1", codes),
        (set(strengths) <= set(range(6)), "intensities 0, 1, 2, 3, 4 or 5", strengths),
    ):
        if not fine:
            raise SemeiaError(f"BP4D: key '{labels.key}': expected {expected}, found {found}; correct it or drop it")
    return key[1], key[2], key[3]
