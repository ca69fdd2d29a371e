"""AffectNet: faces from the web with expression, valence and arousal, in the two forms that it was given out in.

Whole photos with tables (``csv``); face box and landmarks are in pixels of the photo:

    FOLDER/Manually_Annotated_file_lists/training.csv, validation.csv
    FOLDER/Manually_Annotated/Manually_Annotated_Images/689/737db2483489.jpg

    subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal
    689/737db2483489.jpg,134,134,899,899,181.64;530.91;188.32;...,1,0.785714,-0.055556

Crops with small files (``npy``); landmarks are in pixels of the crop:

    FOLDER/train_set/images/12.jpg      FOLDER/train_set/annotations/12_exp.npy, 12_val.npy, 12_aro.npy, 12_lnd.npy
    FOLDER/val_set/images, annotations  likewise

Expressions: 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt; in the tables also
8 none of these, 9 uncertain, 10 no face. Valence and arousal lie in [-1, 1]; -2 is read as not known. The split of
``validation.csv`` and ``val_set`` is "val"; no test split was given out, and papers print scores on this one.

Known   Columns, class numbers, -2, both sets of folders and files agree in many public readers. Some of them note that
        ``validation.csv`` came without a header, that ``training.csv`` has a row with NULL for the place of the face
        and rows with a negative width, and that it names a picture that is not there (see ``skip_missing``). Where the
        box is NULL or negative, box and landmarks are read as not known. No file of the data set was at hand: whether
        a .npy holds a number or a text is unknown (both are read, since readers convert either), and so is whether
        pixels count from 0 or 1; coordinates are kept as stored. Photos of other kinds than JPEG, PNG and BMP, of which
        there may be some, are an error when they are opened. ``Automatically_Annotated`` is not read. Who a person is,
        is not recorded.
"""

from __future__ import annotations

import io
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from semeia.data.formats.face_files import (
    PICTURES,
    FaceFiles,
    Row,
    existing,
    lines_of,
    number_in,
    picture_bytes,
    records_of,
)
from semeia.files import writable_folder, write_whole
from semeia.records import Box, FaceLabels, SemeiaError

CLASSES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""Expressions in the order of their numbers."""

OTHERS = ("none", "uncertain", "no face")
"""What the numbers after those of the expressions mean."""

COLUMNS = (
    "subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks",
    "expression", "valence", "arousal",
)  # fmt: skip

POINTS = 68

Form = Literal["csv", "npy"]

_LISTS = "Manually_Annotated_file_lists"
_TABLES = {"train": "training.csv", "val": "validation.csv"}
_IMAGES = (
    "Manually_Annotated/Manually_Annotated_Images",
    "Manually_Annotated_Images",
    "Manually_Annotated_compressed/Manually_Annotated_Images",
)
_SETS = {"train": "train_set", "val": "val_set"}
_UNKNOWN = -2  # valence and arousal
_NULLS = {"NULL", ""}
_LONGEST = 1 << 16  # characters of a header
_FARTHEST = 1_000_000.0  # pixels
_LARGEST = 1 << 16  # bytes of a .npy; those of the data set hold one value, or 136
_PLACE = re.compile(r"[^/\\:\0]+(/[^/\\:\0]+)*")
_CSV_KEY = re.compile(r"([\w-]+/)*[\w-]+")
_NPY_KEY = re.compile(r"(train|val)_set/([\w-]+)")


def read(
    folder: str | Path,
    *,
    form: Form | None = None,
    classes: Literal[7, 8] = 8,
    others: bool = False,
    skip_missing: bool = False,
) -> FaceFiles:
    """The faces of AffectNet, training before validation; whichever of the two is there.

    Keys are paths of pictures without ending: ``689/737db2483489`` or ``train_set/12``.

    Args:
        folder: The folder that holds what is shown above; tables may also lie in it directly.
        form: Which form to read; None reads the one that is there.
        classes: 8, or 7 to leave out faces that show contempt.
        others: Keep faces labelled as none, uncertain or no face (the tables have them), without an expression and
            with this word as ``extra``; they are left out otherwise, as published protocols do.
        skip_missing: Leave out rows whose picture is not there instead of raising an error.

    Raises:
        SemeiaError: A file is missing or wrong, both forms are there and ``form`` is None, or ``classes`` is another
            number.
    """
    if classes not in {7, 8}:
        raise SemeiaError(f"AffectNet: expected classes=7 or classes=8, found {classes}")
    root = Path(folder)
    form = form or _form_of(root)
    keep = {*range(classes), *(range(len(CLASSES), len(CLASSES) + len(OTHERS)) if others else ())}
    rows = _photos(root, keep) if form == "csv" else _crops(root, keep)
    return FaceFiles(root, root, (row for row in rows if not skip_missing or row[1].is_file()))


def _form_of(root: Path) -> Form:
    tables = [f"{place}{name}" for place in (f"{_LISTS}/", "") for name in _TABLES.values()]
    found = existing(root, (*tables, *_SETS.values()), layout="AffectNet")
    if found.name in _SETS.values():
        return "npy"
    if any((root / name).is_dir() for name in _SETS.values()):
        raise SemeiaError(f"{root}: expected one form of AffectNet, found {found.name} and folders with .npy files; "
                          "read with form='csv' or form='npy'")  # fmt: skip
    return "csv"


def _labels(key: str, split: str, number: int, **known: Any) -> tuple[FaceLabels, dict[str, str]]:
    """Labels of a class number, and the extra that tells the classes that are no expressions."""
    if number < len(CLASSES):
        return FaceLabels(key=key, split=split, expression=CLASSES[number], **known), {}
    return FaceLabels(key=key, split=split, **known), {"expression": OTHERS[number - len(CLASSES)]}


def _class_number(text: str, where: str) -> int:
    last = len(CLASSES) + len(OTHERS) - 1
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if number not in range(last + 1):
        raise SemeiaError(f"{where}: expected the number of an expression from 0 to {last}, found {text[:40]!r}; "
                          "correct it, or drop the face")  # fmt: skip
    return int(number)


def _affect(text: str, what: str, where: str) -> float | None:
    """Valence or arousal, None where it is not known."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if number == _UNKNOWN:
        return None
    if not -1 <= number <= 1:
        raise SemeiaError(f"{where}: expected {what} from -1 to 1, or {_UNKNOWN} where it is not known, found "
                          f"{text[:40]!r}; correct it")  # fmt: skip
    return number


def _points(values: Sequence[Any], where: str) -> np.ndarray:
    """Landmarks (68, 2) from 136 numbers or texts."""
    try:
        points = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.size != 2 * POINTS or not (np.abs(points) <= _FARTHEST).all():
        found = f"{len(values)} values such as {str(values[0])[:40]!r}" if values else "none"
        raise SemeiaError(f"{where}: expected {2 * POINTS} numbers of pixels as landmarks (x0, y0, x1, y1 ...), found "
                          f"{found}; correct them, or drop the face")  # fmt: skip
    return points.astype(np.float32).reshape(POINTS, 2)


# ---------------------------------------------------------------------------------------------------------------------
# Whole photos with tables


def _photos(root: Path, keep: Collection[int]) -> Iterator[Row]:
    places = {split: (root / _LISTS / name, root / name) for split, name in _TABLES.items()}
    tables = {split: next((path for path in paths if path.exists()), None) for split, paths in places.items()}
    if not any(tables.values()):
        existing(root, [f"{_LISTS}/{name}" for name in _TABLES.values()], layout="AffectNet")
    images = existing(root, _IMAGES, layout="AffectNet")
    seen: dict[str, str] = {}
    for split, path in tables.items():
        if path is None:
            continue
        for line, record in _records(path):
            where = f"{path}: line {line}"
            number = _class_number(record["expression"], where)
            if number in keep:
                name = record["subDirectory_filePath"]
                if not _PLACE.fullmatch(name) or ".." in name.split("/"):
                    raise SemeiaError(f"{where}: expected the place of a picture below {images.name}, found "
                                      f"{name[:60]!r}; correct it")  # fmt: skip
                key = name.rpartition(".")[0] or name
                if seen.setdefault(key, where) != where:
                    raise SemeiaError(f"{where}: expected each picture once, found '{name}' as in {seen[key]}; drop "
                                      "one")  # fmt: skip
                labels, extra = _labels(key, split, number, **_measured(record, path, line))
                yield labels, images / name, extra


def _measured(record: Mapping[str, str], path: Path, line: int) -> dict[str, Any]:
    where = f"{path}: line {line}"
    box, points = _box(record, path, line), record["facial_landmarks"]
    return {
        "valence": _affect(record["valence"], "valence", where),
        "arousal": _affect(record["arousal"], "arousal", where),
        "box": box,
        "landmarks": _points(points.split(";"), where) if box and points not in _NULLS else None,
    }


def _box(record: Mapping[str, str], path: Path, line: int) -> Box | None:
    names = COLUMNS[1:5]
    if any(record[name] in _NULLS for name in names):
        return None
    x, y, width, height = (
        number_in(record[name], -_FARTHEST, _FARTHEST, what=f"pixels of {name}", path=path, line=line) for name in names
    )
    return Box(x, y, width, height) if width > 0 and height > 0 else None


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Rows of a table with or without its header."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            first = stream.readline(_LONGEST).split(",")
    except OSError:
        first = []
    if len(first) != len(COLUMNS) or not first[6].strip().isdecimal():
        yield from records_of(path, COLUMNS)  # which tells what is wrong with the header
        return
    for line, text in lines_of(path):
        fields = text.split(",")
        if len(fields) != len(COLUMNS):
            raise SemeiaError(f"{path}: line {line}: expected {len(COLUMNS)} fields separated by ',', found "
                              f"{len(fields)} in {text[:80]!r}; correct it")  # fmt: skip
        yield line, {name: field.strip() for name, field in zip(COLUMNS, fields, strict=True)}


# ---------------------------------------------------------------------------------------------------------------------
# Crops with small files


def _crops(root: Path, keep: Collection[int]) -> Iterator[Row]:
    if not any((root / name).is_dir() for name in _SETS.values()):
        existing(root, tuple(_SETS.values()), layout="AffectNet")
    for split, name in _SETS.items():
        if (root / name).is_dir():
            yield from _set(root / name, split, keep)


def _set(place: Path, split: str, keep: Collection[int]) -> Iterator[Row]:
    images, notes = (existing(place, (name,), layout="AffectNet") for name in ("images", "annotations"))
    pictures = {path.stem: path.suffix for path in images.iterdir() if path.suffix.lower() in PICTURES}
    files = [entry.name for entry in os.scandir(notes)]
    stems = {file.removesuffix("_exp.npy") for file in files if file.endswith("_exp.npy")}
    # A kind that no face has was left out by who passed the set on.
    kinds = {kind for kind in ("val", "aro", "lnd") if any(file.endswith(f"_{kind}.npy") for file in files)}
    for stem in sorted(pictures.keys() - stems)[:1]:
        raise SemeiaError(f"{notes / stem}_exp.npy: not found; expected one for the picture {stem}{pictures[stem]}; "
                          "unpack the set again, or take the picture away")  # fmt: skip
    for stem in sorted(stems, key=lambda stem: (len(stem), stem)):  # 2 before 10
        path = notes / f"{stem}_exp.npy"
        number = _class_number(_value(path), str(path))
        if number in keep:
            known: dict[str, Any] = {}
            for kind, what in (("val", "valence"), ("aro", "arousal")):
                if kind in kinds:
                    path = notes / f"{stem}_{kind}.npy"
                    known[what] = _affect(_value(path), what, str(path))
            if "lnd" in kinds:
                path = notes / f"{stem}_lnd.npy"
                known["landmarks"] = _points(_array(path).ravel().tolist(), str(path))
            labels, extra = _labels(f"{place.name}/{stem}", split, number, **known)
            yield labels, images / f"{stem}{pictures.get(stem, '.jpg')}", extra


def _value(path: Path) -> str:
    array = _array(path)
    if array.size != 1:
        raise SemeiaError(f"{path}: expected one value, found shape {array.shape}; copy the file again")
    return str(array.item())


def _array(path: Path) -> np.ndarray:
    """A small .npy, version 1.0; pickled objects are refused."""
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise ValueError(f"more than {_LARGEST >> 10} kB")
        start = 10 + int.from_bytes(content[8:10], "little")
        shape, fortran, dtype = _header(content[:start])
        return np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape, order="F" if fortran else "C")
    except Exception as error:  # numpy names no closed set of what damaged bytes raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SemeiaError(f"{path}: expected a .npy with numbers, found one that cannot be read ({reason[:120]}); copy "
                          "it again") from error  # fmt: skip


# A million files have the same few headers, and reading one costs more than opening the file.
@lru_cache(maxsize=256)
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"version {version[0]}.{version[1]} in place of 1.0")
    return np.lib.format.read_array_header_1_0(stream)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]], *, form: Form) -> None:
    """Write faces in one of both forms: pictures as JPEG, labels after them, tables last of all.

    A key is the path of the picture without ending: ``689/737db2483489`` in tables (with split "train" or "val"),
    ``train_set/12`` or ``val_set/12`` beside small files. Valence and arousal that are not known are written as -2.
    Other labels, and the box beside small files, are left out.

    Args:
        folder: The data set; made where it does not exist.
        samples: Labels and pictures (H, W, 3) uint8; taken one at a time.
        form: ``csv`` or ``npy``.

    Raises:
        SemeiaError: A sample lacks expression, landmarks or (``csv``) box or split, its key has another form, labels
            stand there already, or the folder cannot be written to.
    """
    root = writable_folder(folder)
    (_write_photos if form == "csv" else _write_crops)(root, samples)


def _write_photos(root: Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    lists = writable_folder(root / _LISTS)
    for name in _TABLES.values():
        if (lists / name).exists():
            raise SemeiaError(f"{lists / name}: exists already; name another folder, or take this data set away")
    lines: dict[str, list[str]] = {split: [] for split in _TABLES}
    written: set[str] = set()
    for face, image in samples:
        values = _checked(face, _CSV_KEY, "689/737db2483489", written)
        if face.split not in _TABLES or face.box is None or not (face.box.width > 0 and face.box.height > 0):
            raise SemeiaError(f"AffectNet: key '{face.key}': expected split 'train' or 'val' and a box with a size, "
                              f"found {face.split} and {face.box}; leave it out")  # fmt: skip
        box = [_text(value) for value in (face.box.x, face.box.y, face.box.width, face.box.height)]
        points = ";".join(_text(value) for value in values.pop("landmarks").ravel())
        path = root / _IMAGES[0] / f"{face.key}.jpg"
        content = picture_bytes(image, ".jpg", what=f"{root}: key '{face.key}'")
        write_whole(writable_folder(path.parent) / path.name, content)
        fields = [f"{face.key}.jpg", *box, points, *(_text(value) for value in values.values())]
        lines[face.split].append(",".join(fields))
    if not written:
        raise SemeiaError(f"{root}: expected at least one face to write, found none")
    for split, listed in lines.items():
        if listed:
            text = "".join(f"{line}\n" for line in (",".join(COLUMNS), *listed))
            write_whole(lists / _TABLES[split], text.encode())


def _write_crops(root: Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    written: set[str] = set()
    for face, image in samples:
        values = _checked(face, _NPY_KEY, "train_set/12", written)
        name, stem = face.key.split("/")
        if face.split not in {None, name.removesuffix("_set")}:
            raise SemeiaError(f"AffectNet: key '{face.key}': expected the split that the key names, found "
                              f"'{face.split}'")  # fmt: skip
        images, notes = (writable_folder(root / name / place) for place in ("images", "annotations"))
        if (notes / f"{stem}_exp.npy").exists():
            raise SemeiaError(f"{notes / stem}_exp.npy: exists already; name another folder, or take this face away")
        write_whole(images / f"{stem}.jpg", picture_bytes(image, ".jpg", what=f"{images}: key '{face.key}'"))
        for kind, what in (("lnd", "landmarks"), ("val", "valence"), ("aro", "arousal"), ("exp", "expression")):
            stream = io.BytesIO()
            np.save(stream, np.asarray(values[what]).ravel() if kind == "lnd" else np.asarray(values[what]))
            write_whole(notes / f"{stem}_{kind}.npy", stream.getvalue())


def _checked(face: FaceLabels, pattern: re.Pattern[str], example: str, written: set[str]) -> dict[str, Any]:
    """Landmarks and numbers of a face as they are written, in the order of the columns; marks its key as written."""
    if not pattern.fullmatch(face.key) or face.key in written:
        found = f"'{face.key}'" + (" twice" if face.key in written else "")
        raise SemeiaError(f"AffectNet: expected keys that differ such as '{example}', found {found}")
    if face.expression not in CLASSES:
        raise SemeiaError(f"AffectNet: key '{face.key}': expected an expression among {', '.join(CLASSES)}, found "
                          f"{face.expression}; leave it out")  # fmt: skip
    points = face.landmarks
    if points is None or points.shape != (POINTS, 2) or not np.isfinite(points).all():
        found = "none" if points is None else f"shape {points.shape} or values that are not finite"
        raise SemeiaError(f"AffectNet: key '{face.key}': expected landmarks ({POINTS}, 2), found {found}; leave it out")
    affect = {"valence": face.valence, "arousal": face.arousal}
    for what, value in affect.items():
        if value is not None and not -1 <= value <= 1:
            raise SemeiaError(f"AffectNet: key '{face.key}': expected {what} from -1 to 1 or None, found {value}")
    written.add(face.key)
    known = {what: float(_UNKNOWN) if value is None else value for what, value in affect.items()}
    return {"landmarks": np.asarray(points, np.float32), "expression": CLASSES.index(face.expression), **known}


def _text(value: float) -> str:
    """The shortest decimal that is read back as the same number; whole numbers without a point."""
    return str(np.format_float_positional(value, trim="-"))
