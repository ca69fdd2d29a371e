"""RAF-DB, the part with basic expressions: faces from the web, each of one of seven classes.

    FOLDER/basic/EmoLabel/list_patition_label.txt        a line a face, spelled so: train_00001.jpg 5
    FOLDER/basic/Image/aligned/train_00001_aligned.jpg   faces turned upright and cropped
    FOLDER/basic/Image/original/train_00001.jpg          the photos that they were cut from

Classes: 1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral. Names that begin with ``train_``
(five digits) or ``test_`` (four) tell the split. A folder may hold ``basic`` or be it; repacked copies that spell
``list_partition_label.txt`` are read too.

Known   Names, class numbers and folders agree in a dozen public readers. No file of the data set was at hand. That
        12,271 faces train and 3,068 test is what papers print, and is not checked. ``Annotation/`` (landmarks, gender,
        age group and race, a file a face) and ``boundingbox/`` are not read. Who a person is, is not recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from semeia.data.formats.face_files import FaceFiles, existing, lines_of, picture_bytes, whole_number_in
from semeia.files import writable_folder, write_whole
from semeia.records import FaceLabels, SemeiaError

CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""Expressions in the order of their numbers, which begin at 1."""

Pictures = Literal["aligned", "original"]

_LIST = "EmoLabel/list_patition_label.txt"
_LISTS = (
    f"basic/{_LIST}",
    _LIST,
    "basic/EmoLabel/list_partition_label.txt",
    "EmoLabel/list_partition_label.txt",
)
_ENDINGS: dict[Pictures, str] = {"aligned": "_aligned.jpg", "original": ".jpg"}
_LINE = re.compile(r"((train|test)_[0-9]+)\.jpg\s+(\S+)")
_KEY = re.compile(r"(train)_[0-9]{5}|(test)_[0-9]{4}")


def read(folder: str | Path, *, pictures: Pictures = "aligned") -> FaceFiles:
    """The faces of RAF-DB in the order of its list; keys are names such as ``train_00001``.

    Args:
        folder: The folder that holds ``basic``, or ``basic`` itself.
        pictures: Crops or whole photos.

    Raises:
        SemeiaError: The list or a picture is missing, or a line of the list is wrong.
    """
    labels = existing(folder, _LISTS, layout="RAF-DB")
    place = existing(labels.parent.parent, (f"Image/{pictures}",), layout="RAF-DB")
    return FaceFiles(folder, labels, ((face, place / f"{face.key}{_ENDINGS[pictures]}", {}) for face in _faces(labels)))


def _faces(path: Path) -> Iterator[FaceLabels]:
    lines: dict[str, int] = {}
    for line, text in lines_of(path):
        parts = _LINE.fullmatch(text.strip())
        if parts is None:
            raise SemeiaError(f"{path}: line {line}: expected a picture and its class such as 'train_00001.jpg 5', "
                              f"found {text[:60]!r}; correct it")  # fmt: skip
        key, split, number = parts.groups()
        if lines.setdefault(key, line) != line:
            raise SemeiaError(f"{path}: line {line}: expected each picture once, found '{key}.jpg' as in line "
                              f"{lines[key]}; drop one")  # fmt: skip
        place = whole_number_in(number, 1, len(CLASSES), what="a class", path=path, line=line) - 1
        yield FaceLabels(key=key, split=split, expression=CLASSES[place])


def write(
    folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]], *, pictures: Pictures = "aligned"
) -> None:
    """Write faces in this layout: pictures as JPEG, the list after them.

    A key is the name of the picture without ending and tells the split: ``train_00001``, ``test_0001``. Labels other
    than the expression are left out.

    Args:
        folder: The folder that is to hold ``basic``; made where it does not exist.
        samples: Labels and pictures (H, W, 3) uint8; taken one at a time.
        pictures: Whether the pictures are crops or whole photos.

    Raises:
        SemeiaError: A sample has no expression of these seven or a key of another form, a list stands there already,
            or the folder cannot be written to.
    """
    labels = Path(folder) / "basic" / _LIST
    if labels.exists():
        raise SemeiaError(f"{labels}: exists already; name another folder, or take this data set away")
    place = writable_folder(Path(folder) / "basic" / "Image" / pictures)
    lines: dict[str, str] = {}
    for face, image in samples:
        number = _class_number(face, lines)
        content = picture_bytes(image, ".jpg", what=f"{place}: key '{face.key}'")
        write_whole(place / f"{face.key}{_ENDINGS[pictures]}", content)
        lines[face.key] = f"{face.key}.jpg {number}\n"
    if not lines:
        raise SemeiaError(f"{labels}: expected at least one face to write, found none")
    writable_folder(labels.parent)
    write_whole(labels, "".join(lines.values()).encode())


def _class_number(face: FaceLabels, written: dict[str, str]) -> int:
    parts = _KEY.fullmatch(face.key)
    if parts is None or face.key in written:
        found = f"'{face.key}'" + (" twice" if parts else "")
        raise SemeiaError(f"RAF-DB: expected keys that differ such as 'train_00001' or 'test_0001', found {found}")
    if face.split not in {None, parts[1] or parts[2]}:
        raise SemeiaError(f"RAF-DB: key '{face.key}': expected the split that the key names, found '{face.split}'")
    if face.expression not in CLASSES:
        raise SemeiaError(f"RAF-DB: key '{face.key}': expected an expression among {', '.join(CLASSES)}, found "
                          f"{face.expression}; leave it out")  # fmt: skip
    return CLASSES.index(face.expression) + 1
