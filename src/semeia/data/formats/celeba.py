"""CelebA, aligned and cropped: faces of celebrities with 40 attributes.

    FOLDER/Img/img_align_celeba/000001.jpg       178 x 218 pixels
    FOLDER/Anno/list_attr_celeba.txt             number of faces, 40 names, then 000001.jpg -1  1  1 -1 -1 ...
    FOLDER/Eval/list_eval_partition.txt          000001.jpg 0 (0 train, 1 val, 2 test)
    FOLDER/Anno/identity_CelebA.txt              optional: 000001.jpg 2880
    FOLDER/Anno/list_landmarks_align_celeba.txt  optional: number of faces, names of 10 columns, 000001.jpg 69  109 ...

``Img``, ``Anno`` and ``Eval`` are the folders of the archive; all files may also lie in FOLDER itself, as torchvision
puts them. Attributes keep CelebA's names; -1 is read as 0. The five landmarks (the eye on the left of the picture, the
other one, nose, corner of the mouth on the left of the picture, the other one) stand in ``extra`` as ``five_points``.

Known   Files, headers, numbers and the space that ends the names of attributes agree in public code, torchvision's
        among it, and in first lines that it quotes. No file of the data set was at hand. That the split is 162,770 /
        19,867 / 19,962 is what papers print, and is not checked; nor is whether a person stands in two splits. Pixel
        coordinates are kept as stored; whether they count from 0 or 1 is unknown. ``list_bbox_celeba.txt`` and
        ``list_landmarks_celeba.txt`` belong to the uncropped photos and are not read; nor are PNG copies of the
        pictures, nor tables in CSV form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from semeia.data.formats.face_files import FaceFiles, Row, existing, lines_of, picture_bytes, whole_number_in
from semeia.files import writable_folder, write_whole
from semeia.ops.faces import five_from_68
from semeia.records import FaceLabels, SemeiaError

NAMES = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips", "Big_Nose",
    "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin", "Eyeglasses",
    "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes",
    "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace",
    "Wearing_Necktie", "Young",
)  # fmt: skip
"""The 40 attributes in the order of the list."""

SPLITS = ("train", "val", "test")
"""In the order of their numbers."""

_POINTS = (
    "lefteye_x", "lefteye_y", "righteye_x", "righteye_y", "nose_x", "nose_y",
    "leftmouth_x", "leftmouth_y", "rightmouth_x", "rightmouth_y",
)  # fmt: skip
_ATTRIBUTES = "Anno/list_attr_celeba.txt"
_PARTITION = "Eval/list_eval_partition.txt"
_IDENTITIES = "Anno/identity_CelebA.txt"
_LANDMARKS = "Anno/list_landmarks_align_celeba.txt"
_IMAGES = "Img/img_align_celeba"
_MARKS = {"-1": 0, "1": 1}
_SPLIT_NUMBERS = {str(number): name for number, name in enumerate(SPLITS)}
_FILE = re.compile(r"[0-9]{6}\.jpg")

T = TypeVar("T")


def read(folder: str | Path) -> FaceFiles:
    """The faces of CelebA in the order of the list of attributes; keys are names such as ``000001``.

    Faces that the optional lists leave out have no identity or no landmarks.

    Args:
        folder: The folder that holds ``Img``, ``Anno`` and ``Eval``, or all files.

    Raises:
        SemeiaError: A list or a picture is missing, a list is wrong, or a face is in no split.
    """
    root = Path(folder)
    path, partition, images = (
        existing(root, (name, Path(name).name), layout="CelebA") for name in (_ATTRIBUTES, _PARTITION, _IMAGES)
    )
    header, lines = _table(path, NAMES)
    faces = _by_key(
        path,
        lines,
        lambda values: {name: _MARKS[value] for name, value in zip(header, values, strict=True)},
        expected=f"{len(NAMES)} times -1 or 1",
    )
    splits = _by_key(
        partition,
        lines_of(partition),
        lambda values: _SPLIT_NUMBERS[_only(values)],
        expected=f"a number from 0 to {len(SPLITS) - 1}",
    )
    persons, points = _persons(_optional(root, _IDENTITIES)), _five_points(_optional(root, _LANDMARKS))
    unknown = next((key for key in faces if key not in splits), None)
    if unknown is not None:
        raise SemeiaError(f"{partition}: expected a line for each picture of {path}, found none for '{unknown}.jpg'; "
                          "add it, or drop the other")  # fmt: skip
    rows: Iterator[Row] = (
        (
            FaceLabels(key=key, identity=persons.get(key), split=splits[key], attributes=attributes),
            images / f"{key}.jpg",
            {"five_points": points[key]} if key in points else {},
        )
        for key, attributes in faces.items()
    )
    return FaceFiles(root, path, rows)


def _optional(root: Path, name: str) -> Path | None:
    return next((path for path in (root / name, root / Path(name).name) if path.exists()), None)


def _persons(path: Path | None) -> dict[str, str]:
    """Key -> identity as it is called in CelebA."""
    return {} if path is None else _by_key(path, lines_of(path), _only, expected="an identity")


def _only(values: Sequence[str]) -> str:
    (value,) = values
    return value


def _five_points(path: Path | None) -> dict[str, list[list[int]]]:
    """Key -> five points in the order of CelebA."""
    if path is None:
        return {}
    header, lines = _table(path, _POINTS)
    order = [header.index(name) for name in _POINTS]

    def points(values: Sequence[str]) -> list[list[int]]:
        if len(values) != len(order):
            raise ValueError(values)
        numbers = [int(values[place]) for place in order]
        return [numbers[start : start + 2] for start in range(0, len(numbers), 2)]

    return _by_key(path, lines, points, expected=f"{len(_POINTS)} whole numbers")


def _table(path: Path, columns: Sequence[str]) -> tuple[list[str], Sequence[tuple[int, str]]]:
    """Header and lines of a list that begins with the number of its faces; columns may stand in any order."""
    lines = list(lines_of(path))
    if len(lines) < 2:
        raise SemeiaError(f"{path}: expected the number of faces in line 1 and {len(columns)} names in line 2, found "
                          f"{len(lines)} lines; copy it again")  # fmt: skip
    (line, first), (second, names) = lines[:2]
    count = whole_number_in(first.strip(), 0, 1_000_000_000, what="the number of faces", path=path, line=line)
    header = names.split()
    if sorted(header) != sorted(columns):
        missing = [name for name in columns if name not in header]
        found = f"no {', '.join(missing[:3])}" if missing else f"{len(header)} names"
        raise SemeiaError(f"{path}: line {second}: expected the {len(columns)} names of CelebA separated by spaces, "
                          f"found {found} in {names[:60]!r}; correct it")  # fmt: skip
    if count != len(lines) - 2:
        raise SemeiaError(f"{path}: line {line}: expected the number of faces that follow, {len(lines) - 2:,}, found "
                          f"{count:,}; copy the list again, or correct the number")  # fmt: skip
    return header, lines[2:]


def _by_key(
    path: Path, lines: Iterable[tuple[int, str]], parse: Callable[[Sequence[str]], T], *, expected: str
) -> dict[str, T]:
    """Key -> what ``parse`` makes of the values of its line; it raises KeyError or ValueError where they are wrong."""
    faces: dict[str, T] = {}
    for line, text in lines:
        name, *values = text.split()
        key = name.removesuffix(".jpg")
        try:
            if not _FILE.fullmatch(name):
                raise ValueError(name)
            parsed = parse(values)
        except (KeyError, ValueError) as error:
            raise SemeiaError(f"{path}: line {line}: expected a picture such as 000001.jpg and {expected}, separated "
                              f"by spaces, found {text[:60]!r}; correct it") from error  # fmt: skip
        if key in faces:
            raise SemeiaError(f"{path}: line {line}: expected each picture once, found '{name}' again; drop one")
        faces[key] = parsed
    return faces


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    """Write faces in this layout: pictures as JPEG, then the lists, that of the attributes last.

    A key is the six digits of the picture. Identities are written for faces that have one, and five points, rounded to
    pixels, for those with 68 landmarks; attributes that CelebA does not know and other labels are left out.

    Args:
        folder: The data set; made where it does not exist.
        samples: Labels and pictures (H, W, 3) uint8; taken one at a time.

    Raises:
        SemeiaError: A sample lacks one of the 40 attributes or a split, its key has another form, its identity is no
            whole number, a list stands there already, or the folder cannot be written to.
    """
    root = writable_folder(folder)
    for name in (_ATTRIBUTES, _PARTITION, _IDENTITIES, _LANDMARKS):
        if (root / name).exists():
            raise SemeiaError(f"{root / name}: exists already; name another folder, or take this data set away")
    images = writable_folder(root / _IMAGES)
    lines: dict[str, list[str]] = {_PARTITION: [], _IDENTITIES: [], _LANDMARKS: [], _ATTRIBUTES: []}
    written: set[str] = set()
    for face, image in samples:
        _check(face, written)
        written.add(face.key)
        name = f"{face.key}.jpg"
        write_whole(images / name, picture_bytes(image, ".jpg", what=f"{images}: key '{face.key}'"))
        marks = " ".join(f"{2 * int(face.attributes[attribute]) - 1:2d}" for attribute in NAMES)
        lines[_ATTRIBUTES].append(f"{name} {marks}")
        lines[_PARTITION].append(f"{name} {SPLITS.index(face.split or '')}")
        if face.identity is not None:
            lines[_IDENTITIES].append(f"{name} {face.identity}")
        if face.landmarks is not None:
            first, *others = five_from_68(face.landmarks).ravel().round().astype(int)
            lines[_LANDMARKS].append(f"{name} {first}" + "".join(f"{number:5d}" for number in others))
    if not written:
        raise SemeiaError(f"{root / _ATTRIBUTES}: expected at least one face to write, found none")
    headers = {_ATTRIBUTES: " ".join(NAMES) + " ", _LANDMARKS: " ".join(_POINTS)}
    for path, listed in lines.items():
        if listed:
            head = [str(len(listed)), headers[path]] if path in headers else []
            writable_folder((root / path).parent)
            write_whole(root / path, "".join(f"{line}\n" for line in head + listed).encode())


def _check(face: FaceLabels, written: set[str]) -> None:
    if not _FILE.fullmatch(f"{face.key}.jpg") or face.key in written:
        found = f"'{face.key}'" + (" twice" if face.key in written else "")
        raise SemeiaError(f"CelebA: expected keys of six digits that differ, found {found}; rename one")
    wrong = [name for name in NAMES if face.attributes.get(name) not in {0, 1}]
    if wrong:
        raise SemeiaError(f"CelebA: key '{face.key}': expected all {len(NAMES)} attributes as 0 or 1, found no "
                          f"{', '.join(wrong[:3])}{' ...' if wrong[3:] else ''}; leave the face out")  # fmt: skip
    if face.split not in SPLITS:
        raise SemeiaError(f"CelebA: key '{face.key}': expected a split among {', '.join(SPLITS)}, found {face.split}")
    if face.identity is not None and not re.fullmatch(r"[0-9]+", face.identity):
        raise SemeiaError(f"CelebA: key '{face.key}': expected a whole number as identity, found '{face.identity}'")
    points = face.landmarks
    if points is not None and (points.shape != (68, 2) or not np.isfinite(points).all()):
        raise SemeiaError(f"CelebA: key '{face.key}': expected landmarks (68, 2), found shape {points.shape} or values "
                          "that are not finite; correct them")  # fmt: skip
