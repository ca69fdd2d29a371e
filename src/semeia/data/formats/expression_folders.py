"""Faces sorted by expression, as ABAW's challenge of learning from synthetic data (LSD) gave them out.

    FOLDER/train/ANGER/00001.jpg        rendered faces; the release calls it training_set_synthetic_images
    FOLDER/val/ANGER/00001.jpg          real faces; the release calls it validation_set_real_images
    FOLDER/train/anger_00001.jpg        pictures that lie in no folder of a class carry it in their own name

A folder of a class has one of ``WORDS`` as its name, in small or capital letters; pictures may lie deeper in it. A
picture in no such folder carries exactly one class among the words of its name. Each of the splits train, val and test
may be missing. The challenge has six classes, this layout any of this library's.

Known   EMMA's authors read ``train`` and ``val`` with a folder for each class. Three teams name the release's folders
        as above and its classes DISGUST, FEAR, HAPPINESS, SADNESS, SURPRISE; the first class is ANGRER for two of them,
        the third asks to rename ANGERE to ANGER. All of these are read. One team sorts pictures by names that are
        numbers. Two read the test set without classes. Pictures that carry the class in their own name were found in no
        code for this set. No file of it was at hand. Who a person is, is not recorded, so that nobody can tell whether
        two splits share one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from semeia.data.formats.face_files import PICTURES, FaceFiles, Row, existing, picture_bytes
from semeia.files import writable_folder, write_whole
from semeia.records import FaceLabels, SemeiaError

CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
"""The six of the challenge."""

WORDS = {
    "anger": "anger", "angry": "anger", "angrer": "anger", "angere": "anger",
    "contempt": "contempt",
    "disgust": "disgust", "disgusted": "disgust",
    "fear": "fear", "fearful": "fear",
    "happiness": "happiness", "happy": "happiness",
    "neutral": "neutral",
    "sadness": "sadness", "sad": "sadness",
    "surprise": "surprise", "surprised": "surprise",
}  # fmt: skip
"""What folders and pictures are called, and the expression that is meant."""

SPLITS = {
    "train": ("train", "training_set_synthetic_images"),
    "val": ("val", "validation_set_real_images"),
    "test": ("test",),
}
"""Names of the folder of each split."""

_LAYOUT = "faces sorted by expression"
_KEY = re.compile(r"(train|val|test)/(\w+)/[\w-]+")
_EXAMPLE = "train/anger/00001"


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(folder: str | Path, *, skip_unnamed: bool = False) -> FaceFiles:
    """The faces of a folder by split and place; keys are places of pictures without ending, ``train/ANGER/00001``.

    Args:
        folder: The folder that holds those of the splits.
        skip_unnamed: Leave out folders and pictures whose names tell no class instead of raising an error.

    Raises:
        SemeiaError: There is no split, a split has two folders or no faces, or a name tells no class.
    """
    root = Path(folder)
    rows: list[Row] = []
    existing(root, [name for names in SPLITS.values() for name in names], layout=_LAYOUT)
    for split, names in SPLITS.items():
        places = [root / name for name in names if (root / name).is_dir()]
        if len(places) > 1:
            raise SemeiaError(f"{root}: expected one folder of the split '{split}', found "
                              f"{' and '.join(place.name for place in places)}; take one away")  # fmt: skip
        for place in places:
            found = [_row(picture, name, root, split) for picture, name in _pictures(place, skip=skip_unnamed)]
            if not found:
                raise SemeiaError(f"{place}: expected folders of pictures such as {CLASSES[0]} or "
                                  f"{CLASSES[0].upper()}, found no picture of a class; unpack them there")  # fmt: skip
            rows += found
    return FaceFiles(root, root, rows)


def _row(picture: Path, expression: str, root: Path, split: str) -> Row:
    key = picture.relative_to(root).with_suffix("").as_posix()
    return FaceLabels(key=key, split=split, expression=expression), picture, {}


def _pictures(place: Path, *, skip: bool) -> Iterator[tuple[Path, str]]:
    """Pictures of a split and their expressions."""
    for entry in sorted(place.iterdir()):
        if entry.name.startswith("."):
            continue
        pictures = sorted(filter(_is_picture, entry.rglob("*") if entry.is_dir() else [entry]))
        told = sorted({WORDS[word] for word in _words(entry) if word in WORDS})
        if len(told) == 1:
            yield from ((picture, told[0]) for picture in pictures)
        elif pictures and not skip:
            kind = "a folder named after" if entry.is_dir() else "a picture whose name tells"
            raise SemeiaError(f"{entry}: expected {kind} one of {', '.join(sorted(set(WORDS.values())))}, found this "
                              "name; rename it, take it away, or read with skip_unnamed=True")  # fmt: skip


def _words(entry: Path) -> list[str]:
    """What may tell the class: the whole name of a folder, each word in the name of a picture."""
    return [entry.name.lower()] if entry.is_dir() else re.findall(r"[a-z]+", entry.stem.lower())


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and not path.name.startswith(".") and path.is_file()


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    """Write faces in this layout: pictures as JPEG, each in the folder of its class.

    A face comes back with key, split and expression; other labels are left out.

    Args:
        folder: The data set; made where it does not exist.
        samples: Labels with keys such as ``train/anger/00001``, and pictures (H, W, 3) uint8; taken one at a time.

    Raises:
        SemeiaError: A sample has a key of another form, an expression or split that its key does not name, or a
            picture that stands there already, or the folder cannot be written to.
    """
    root = writable_folder(folder)
    written = 0
    for face, image in samples:
        key = _KEY.fullmatch(face.key)
        if key is None or key[2].lower() not in WORDS:
            raise SemeiaError(f"{_LAYOUT}: expected a key such as '{_EXAMPLE}', found '{face.key}'; rename it")
        if face.expression != WORDS[key[2].lower()] or face.split not in {None, key[1]}:
            raise SemeiaError(f"{_LAYOUT}: key '{face.key}': expected the expression and the split that the key names, "
                              f"found {face.expression} and {face.split}; correct it or drop it")  # fmt: skip
        path = root / f"{face.key}.jpg"
        if path.exists():
            raise SemeiaError(f"{path}: exists already; name another folder, or rename the face")
        content = picture_bytes(image, ".jpg", what=f"{root}: key '{face.key}'")
        write_whole(writable_folder(path.parent) / path.name, content)
        written += 1
    if not written:
        raise SemeiaError(f"{root}: expected at least one face to write, found none")
