"""Aff-Wild2 as the multi-task challenges of ABAW gave it out: frames of clips with affect, expression and units.

    FOLDER/training_set_annotations.txt         a header, then one line a frame
    FOLDER/validation_set_annotations.txt       likewise; one of the two may be missing
    FOLDER/cropped_aligned/CLIP/00001.jpg       faces, cropped and aligned

    image,valence,arousal,expression,aus
    CLIP/00001.jpg,0.124,-0.302,4,0,0,0,1,-1,1,1,0,0,0,1,0

After the picture come valence and arousal (-1 to 1; both -5: not labelled), the number of the expression (-1: not
labelled) and 0 or 1 for each of ``UNITS`` (-1: not labelled). A unit may be unlabelled alone. Expressions: 0 neutral,
1 anger, 2 disgust, 3 fear, 4 happiness, 5 sadness, 6 surprise, 7 other. "Other" is none of this library's classes:
such frames are read without an expression and keep the word as ``extra``, or with it on demand (``other``).

The identity of a frame is its clip, and a clip that stands in both lists is refused: its frames resemble one another.
Public code gives folders that end in ``_left`` and ``_right`` the sound of one recording; here they are two clips.
A frame that no task labels is kept, as the authors of EMMA keep it. A line that is repeated as it stands counts once.
The split of the validation list is "val"; no labels of the test set were given out, and papers print scores on "val".

Known   Files, folders, the order of the fields, the markers and the classes agree in the code of EMMA and of several
        other teams; ABAW3 called the lists ``train_set.txt`` and ``validation_set.txt``. One team drops repeated lines
        of the lists, one asserts that the lists share no clip. No file of the data set was at hand. Most readers skip
        the header, two take columns by its first names; that units follow as one name ``aus`` is what writers of
        answers do, and twelve names are read too. Whether valence or arousal is ever unlabelled alone is unknown: such
        a line is an error. The lists of single tasks, a file a clip, are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from semeia.data.formats.face_files import (
    PICTURES,
    FaceFiles,
    Row,
    existing,
    lines_of,
    picture_bytes,
    whole_number_in,
)
from semeia.files import writable_folder, write_whole
from semeia.records import FaceLabels, SemeiaError

OTHER = "other"

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", OTHER)
"""Expressions in the order of their numbers."""

UNITS = ("AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26")
"""The twelve units in the order of their fields."""

COLUMNS = ("image", "valence", "arousal", "expression")
"""First names of the header; the units follow, under one name or twelve."""

LISTS = {
    "train": ("training_set_annotations.txt", "train_set.txt"),
    "val": ("validation_set_annotations.txt", "validation_set.txt", "val_set.txt"),
}
PLACES = (
    ".", "annotations", "Annotations", "MTL_Challenge", "annotations/MTL_Challenge",
    "Third ABAW Annotations/MTL_Challenge",
)  # fmt: skip
"""Names of the lists and the folders that they lie in, the first that exists."""

IMAGES = "cropped_aligned"

NOT_LABELLED = -1
NO_AFFECT = -5  # valence and arousal

_LAYOUT = "Aff-Wild2"
_CODES = tuple(
    (f"{name} ({NOT_LABELLED} where it is not labelled)", highest)
    for name, highest in (("the number of an expression", len(CLASSES) - 1), *((unit, 1) for unit in UNITS))
)
_NAME = re.compile(rf"((?!\.\.?/)[^/\\:\0]+/[^/\\:\0]+)({'|'.join(map(re.escape, PICTURES))})", re.IGNORECASE)
_KEY = re.compile(r"([\w-]+)/[\w-]+")
_UNIT = re.compile(r"AU0?(\d{1,2})", re.IGNORECASE)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(folder: str | Path, *, other: bool = False, missing: Literal["refuse", "skip"] = "refuse") -> FaceFiles:
    """The frames of Aff-Wild2, training before validation, in the order of the lists; whichever of the two is there.

    Keys are clip and frame, ``12-24-1920x1080/00001``.

    Args:
        folder: The folder that holds what is shown above; lists may lie in a folder of ``PLACES``.
        other: Give frames of the class "other" this word as expression, for a vocabulary that has it.
        missing: What to do with frames that have no picture.

    Raises:
        SemeiaError: A list or a picture is missing, a line is wrong, or a clip is in both lists.
    """
    root = Path(folder)
    tables = _tables(root)
    images = existing(root, (IMAGES,), layout=_LAYOUT)
    rows: list[Row] = []
    clips: dict[str, tuple[str, str]] = {}  # split, and where it was seen first
    for split, path in tables.items():
        for line, name, face in _frames(path, split):
            clip, where = str(face.identity), f"{path}: line {line}"
            first, seen = clips.setdefault(clip, (split, where))
            if first != split:
                raise SemeiaError(f"{where}: expected every clip in one list, found {clip!r} as in {seen}; keep its "
                                  "frames in one of them")  # fmt: skip
            if missing == "refuse" or (images / name).is_file():
                extra = {"expression": OTHER} if face.expression == OTHER else {}
                rows.append((replace(face, expression=None) if extra and not other else face, images / name, extra))
    return FaceFiles(root, next(iter(tables.values())).parent, rows)


def _tables(root: Path) -> dict[str, Path]:
    """The list of each split that has one."""
    found: dict[str, Path] = {}
    for split, names in LISTS.items():
        places = (root / place / name for place in PLACES for name in names)
        path = next(filter(Path.is_file, places), None)
        if path is not None:
            found[split] = path
    if not found:
        existing(root, [names[0] for names in LISTS.values()], layout=_LAYOUT)
    return found


def _frames(path: Path, split: str) -> Iterator[tuple[int, str, FaceLabels]]:
    """Line, name of the picture and labels of each frame of a list; "other" stands as it is."""
    lines = lines_of(path)
    number, first = next(lines, (1, ""))
    _check_header(first, path, number)
    seen: dict[str, tuple[int, list[str]]] = {}
    for line, text in lines:
        fields = [field.strip() for field in text.split(",")]
        if len(fields) != len(COLUMNS) + len(UNITS):
            raise SemeiaError(f"{path}: line {line}: expected {len(COLUMNS) + len(UNITS)} fields separated by ',', "
                              f"found {len(fields)} in {text[:80]!r}; copy the list again")  # fmt: skip
        name = fields[0]
        parts = _NAME.fullmatch(name)
        if parts is None:
            raise SemeiaError(f"{path}: line {line}: expected clip and picture such as 'video1/00001.jpg', found "
                              f"{name[:60]!r}; correct it")  # fmt: skip
        key = parts[1]
        before, known = seen.setdefault(key, (line, fields))
        if known != fields:
            raise SemeiaError(f"{path}: line {line}: expected the labels of '{key}' once, found others than in line "
                              f"{before}; drop one line")  # fmt: skip
        if before == line:
            yield line, name, _labels(key, split, fields[1:], path, line)
    if not seen:
        raise SemeiaError(f"{path}: expected frames after the header, found none; copy the list again, or take it away")


def _check_header(text: str, path: Path, line: int) -> None:
    names = [name.strip() for name in text.split(",")]
    units = [f"AU{int(unit[1]):02}" if (unit := _UNIT.fullmatch(name)) else name for name in names[len(COLUMNS) :]]
    first = tuple("image" if name == "image_path" else name for name in names[: len(COLUMNS)])
    if first != COLUMNS or units not in (["aus"], [*UNITS]):
        raise SemeiaError(f"{path}: line {line}: expected the header '{','.join(COLUMNS)},aus', or with "
                          f"{', '.join(UNITS)} in this order in place of aus, found {text[:120]!r}; "
                          "correct it")  # fmt: skip


def _labels(key: str, split: str, fields: Sequence[str], path: Path, line: int) -> FaceLabels:
    """Labels from the fields after the picture."""
    valence, arousal = _affect(fields[:2], path, line)
    number, *codes = (
        whole_number_in(text, NOT_LABELLED, highest, what=what, path=path, line=line)
        for text, (what, highest) in zip(fields[2:], _CODES, strict=True)
    )
    return FaceLabels(
        key=key,
        identity=key.partition("/")[0],
        split=split,
        expression=None if number == NOT_LABELLED else CLASSES[number],
        au_occurrence={unit: code for unit, code in zip(UNITS, codes, strict=True) if code != NOT_LABELLED},
        valence=valence,
        arousal=arousal,
    )


def _affect(texts: Sequence[str], path: Path, line: int) -> tuple[float, float] | tuple[None, None]:
    """Valence and arousal, None where they are not labelled."""
    valence, arousal = (_number(text) for text in texts)
    if valence == arousal == NO_AFFECT:
        return None, None
    if not (-1 <= valence <= 1 and -1 <= arousal <= 1):
        raise SemeiaError(f"{path}: line {line}: expected valence and arousal from -1 to 1, or {NO_AFFECT} for both "
                          f"where they are not labelled, found {','.join(texts)[:40]!r}; correct it")  # fmt: skip
    return valence, arousal


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    """Write faces in this layout: pictures as JPEG, the lists after them.

    A face comes back with key, split, valence, arousal, expression and ``UNITS``, and with its clip as identity. The
    expression "other" comes back as ``read`` says; other labels are left out.

    Args:
        folder: The data set; made where it does not exist.
        samples: Labels with keys such as ``clip1/00001`` and split "train" or "val", and pictures (H, W, 3) uint8;
            taken one at a time.

    Raises:
        SemeiaError: A sample has a key of another form or one that stands twice, an identity that the key does not
            name, a split of another name or than other frames of its clip, an expression that is none of ``CLASSES``,
            valence or arousal alone or out of range, or occurrences other than 0 and 1; lists stand there already; or
            the folder cannot be written to.
    """
    root = writable_folder(folder)
    tables = {split: root / names[0] for split, names in LISTS.items()}
    for path in tables.values():
        if path.exists():
            raise SemeiaError(f"{path}: exists already; name another folder, or take this data set away")
    lines: dict[str, list[str]] = {split: [] for split in tables}
    written: set[str] = set()
    clips: dict[str, str] = {}
    for face, image in samples:
        split = _checked(face, written, clips)
        path = root / IMAGES / f"{face.key}.jpg"
        content = picture_bytes(image, ".jpg", what=f"{root}: key '{face.key}'")
        write_whole(writable_folder(path.parent) / path.name, content)
        lines[split].append(_line(face))
        written.add(face.key)
    if not written:
        raise SemeiaError(f"{root}: expected at least one face to write, found none")
    for split, listed in lines.items():
        if listed:
            text = "".join(f"{line}\n" for line in (",".join((*COLUMNS, "aus")), *listed))
            write_whole(tables[split], text.encode())


def _line(face: FaceLabels) -> str:
    affect = [_text(NO_AFFECT if value is None else value) for value in (face.valence, face.arousal)]
    number = NOT_LABELLED if face.expression is None else CLASSES.index(face.expression)
    codes = [int(face.au_occurrence.get(unit, NOT_LABELLED)) for unit in UNITS]
    return ",".join([f"{face.key}.jpg", *affect, *(str(code) for code in (number, *codes))])


def _text(value: float) -> str:
    """The shortest decimal that is read back as the same number."""
    return str(np.format_float_positional(value, trim="-"))


def _checked(face: FaceLabels, written: set[str], clips: dict[str, str]) -> str:
    """Split of a sample that the layout can hold; notes that of its clip."""
    key = _KEY.fullmatch(face.key)
    if key is None or face.key in written:
        again = " twice" if key else ""
        raise SemeiaError(f"{_LAYOUT}: expected keys that differ such as 'clip1/00001', found '{face.key}'{again}; "
                          "rename one")  # fmt: skip
    split, affect = str(face.split), (face.valence, face.arousal)
    of_clip = clips.setdefault(key[1], split)
    codes = {unit: face.au_occurrence[unit] for unit in UNITS if unit in face.au_occurrence}
    for fine, expected, found in (
        (face.identity in {None, key[1]}, "the identity that the key names", face.identity),
        (split in LISTS, "split 'train' or 'val'", face.split),
        (of_clip == split, f"the split of its clip, {of_clip}", split),
        (face.expression in {None, *CLASSES}, f"an expression among {', '.join(CLASSES)}, or none", face.expression),
        (
            affect == (None, None) or all(value is not None and -1 <= value <= 1 for value in affect),
            "valence and arousal from -1 to 1, or neither",
            affect,
        ),
        (set(codes.values()) <= {0, 1}, "occurrences 0 or 1", codes),
    ):
        if not fine:
            raise SemeiaError(f"{_LAYOUT}: key '{face.key}': expected {expected}, found {found}; correct it or drop it")
    return split
