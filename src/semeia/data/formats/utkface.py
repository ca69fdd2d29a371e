"""UTKFace: faces from the web with age, gender and race, all three in the name of the picture.

    FOLDER/UTKFace/26_1_3_20170117175041574.jpg.chip.jpg   age_gender_race_date; faces turned upright and cropped
    FOLDER/landmark_list_part1.txt, ..._part2, ..._part3   optional: 26_1_3_20170117175041574.jpg x0 y0 ... x67 y67

Age is 0-116 in whole years, gender 0 male and 1 female, race 0 White, 1 Black, 2 Asian, 3 Indian, 4 others (so the
data set's own page), the date has 17 digits. The folder may also hold the pictures itself, or be unpacked as
``crop_part1``. Gender is read as CelebA's attribute ``Male``; race stands in ``extra``.

There is no official split. Papers cut the set at random, mostly 80 to 20; scores on different cuts do not compare.

Known   Public code agrees on names and on five that are misspelled in the release. Two of them lack but a full stop or
        have a space too much and are read as they are meant:
            24_0_1_20170116220224657 .jpg.chip.jpg          55_0_0_20170116232725357jpg.chip.jpg
        Three lack one of gender and race, and it cannot be told which, so they count as malformed:
            39_1_20170116174525125      61_1_20170109142408075      61_1_20170109150557335      (.jpg.chip.jpg)
        That landmarks count pixels of the crop, not of the photo, is inferred: the first line of the list, quoted in
        public code, spans -4 to 194 on a picture of 200 pixels, and two programs draw them on the crops. They are kept
        as stored, whether pixels count from 0 or 1 is unknown. No file of the data set was at hand. Who a person is, is
        not recorded: a person may stand in two splits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from semeia.data.formats.face_files import PICTURES, FaceFiles, Row, lines_of, picture_bytes
from semeia.files import writable_folder, write_whole
from semeia.records import FaceLabels, SemeiaError

OLDEST = 116
RACES = ("White", "Black", "Asian", "Indian", "Others")
"""In the order of their numbers."""

SPLIT = {"train": 0.8, "val": 0.1, "test": 0.1}
"""Shares of ``read``'s own split."""

POINTS = 68

_PLACES = ("UTKFace", "crop_part1")
_LISTS = tuple(f"landmark_list_part{part}.txt" for part in (1, 2, 3))
_EXAMPLE = "26_1_3_20170117175041574.jpg.chip.jpg"
_NAME = re.compile(r"(([0-9]{1,3})_([01])_([0-4])_[0-9]+) ?\.?jpg(\.chip\.jpg)?")
_KEY = re.compile(r"([0-9]{1,3})_([01])_([0-4])_[0-9]{17}")


def read(
    folder: str | Path,
    *,
    split: Mapping[str, float] = SPLIT,
    names: Mapping[str, Iterable[str]] | None = None,
    skip_malformed: bool = False,
) -> FaceFiles:
    """The faces of UTKFace in the order of their names; keys are names such as ``26_1_3_20170117175041574``.

    The split of a face depends on its key alone: the first eight bytes of the key's SHA-256, as a number from 0 to 1,
    fall into one of the shares in their order. So it is the same on every machine, and stays when faces are added or
    taken away.

    Args:
        folder: The folder that holds ``UTKFace`` and the lists of landmarks, or the one that holds the pictures.
        split: Name of each split and its share.
        names: Pictures (keys or file names) of each split, instead of ``split``; faces in none have no split.
        skip_malformed: Leave out pictures with other names instead of raising an error. The release has three.

    Raises:
        SemeiaError: There are no pictures, a name is malformed, a list of landmarks is wrong, or ``split`` or ``names``
            fit nothing.
    """
    root = Path(folder)
    place = next((root / name for name in _PLACES if (root / name).is_dir()), root)
    faces = _named(place, skip_malformed=skip_malformed)
    splits = _by_hash(faces, split) if names is None else _by_names(faces, names, place)
    points = _landmarks(root, place)
    rows: list[Row] = []
    for key, file in sorted(faces.items()):
        age, gender, race, _ = key.split("_")
        labels = FaceLabels(
            key=key,
            split=splits.get(key),
            age=float(age),
            attributes={"Male": 1 - int(gender)},
            landmarks=points.get(key),
        )
        rows.append((labels, place / file, {"race": RACES[int(race)]}))
    return FaceFiles(root, place, rows)


def _named(place: Path, *, skip_malformed: bool) -> dict[str, str]:
    """Key -> file name of each picture whose name tells its labels."""
    if not place.is_dir():
        raise SemeiaError(f"{place}: not found; expected the folder of UTKFace")
    files = sorted(path.name for path in place.iterdir() if path.suffix.lower() in PICTURES)
    faces: dict[str, str] = {}
    malformed: list[str] = []
    for file in files:
        parts = _NAME.fullmatch(file)
        if parts is None or parts[5] is None or int(parts[2]) > OLDEST:
            malformed.append(file)
        elif faces.setdefault(parts[1], file) != file:
            raise SemeiaError(f"{place / file}: expected one picture of this age, gender, race and date, found "
                              f"{faces[parts[1]]} too; take one away")  # fmt: skip
    if not faces:
        found = f"{len(malformed):,} with other names such as {malformed[0]}" if malformed else "none"
        raise SemeiaError(f"{place}: expected pictures such as {_EXAMPLE}, found {found}; name the folder that holds "
                          "the aligned and cropped faces of UTKFace, or its parent")  # fmt: skip
    if malformed and not skip_malformed:
        raise SemeiaError(f"{place / malformed[0]}: expected a name such as {_EXAMPLE} (age 0-{OLDEST}, gender 0-1, "
                          f"race 0-{len(RACES) - 1}, date), found {len(malformed):,} others; read with "
                          "skip_malformed=True to leave them out, or rename them")  # fmt: skip
    return faces


# ---------------------------------------------------------------------------------------------------------------------
# Splits


def _by_hash(keys: Iterable[str], shares: Mapping[str, float]) -> dict[str, str]:
    parts = np.array(list(shares.values()), float)
    if not (parts.size and (parts >= 0).all() and 0 < parts.sum() < np.inf):
        raise SemeiaError(f"UTKFace: expected splits with shares such as {SPLIT}, found {dict(shares)}")
    names, bounds = list(shares), np.cumsum(parts) / parts.sum()
    bounds[-1] = 1.0  # whatever the sum was rounded to
    listed = list(keys)
    hashes = (int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") for key in listed)
    # 53 bits, so that the number stays below 1 in double precision.
    places = np.searchsorted(bounds, [(number >> 11) / 2**53 for number in hashes], side="right")
    return {key: names[place] for key, place in zip(listed, places, strict=True)}


def _by_names(faces: Mapping[str, str], names: Mapping[str, Iterable[str]], place: Path) -> dict[str, str]:
    splits: dict[str, str] = {}
    for split, listed in names.items():
        for name in listed:
            parts = _NAME.fullmatch(name)
            key = parts[1] if parts else name
            if key not in faces:
                raise SemeiaError(f"{place}: expected the picture '{name}' of split '{split}', found none of this name;"
                                  " correct the name, or unpack the picture there")  # fmt: skip
            if splits.setdefault(key, split) != split:
                raise SemeiaError(f"UTKFace: expected each picture in one split, found '{name}' in '{splits[key]}' and "
                                  f"'{split}'; drop one")  # fmt: skip
    return splits


# ---------------------------------------------------------------------------------------------------------------------
# Landmarks


def _landmarks(root: Path, place: Path) -> dict[str, np.ndarray]:
    """Key -> points (68, 2) in pixels of the crop, from all lists that are there."""
    points: dict[str, np.ndarray] = {}
    for path in (base / name for base in dict.fromkeys((root, place)) for name in _LISTS):
        for line, text in lines_of(path) if path.exists() else ():
            # From the right, because a name of the release has a space in it.
            name, *numbers = text.rsplit(maxsplit=2 * POINTS)
            try:
                values = np.array([float(number) for number in numbers], np.float32)
            except ValueError:
                values = np.full(1, np.nan, np.float32)
            if len(values) != 2 * POINTS or not np.isfinite(values).all():
                raise SemeiaError(f"{path}: line {line}: expected a name and {2 * POINTS} numbers separated by spaces, "
                                  f"found {text[:60]!r}; correct it, or drop it")  # fmt: skip
            parts = _NAME.fullmatch(name)
            key = parts[1] if parts else name
            if key in points:
                raise SemeiaError(f"{path}: line {line}: expected each picture once in all lists, found '{name}' "
                                  "again; drop one line")  # fmt: skip
            points[key] = values.reshape(POINTS, 2)
    return points


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    """Write faces in this layout: pictures as JPEG, then a list of landmarks where any are known.

    A key is the name of the picture without endings, such as ``26_1_3_20170117175041574``; age and ``Male`` must be
    those that it tells. Splits and other labels are left out.

    Args:
        folder: The data set; made where it does not exist.
        samples: Labels and pictures (H, W, 3) uint8; taken one at a time.

    Raises:
        SemeiaError: A key has another form or contradicts the labels, a list of landmarks stands there already, or the
            folder cannot be written to.
    """
    root = writable_folder(folder)
    listed = root / _LISTS[0]
    if listed.exists():
        raise SemeiaError(f"{listed}: exists already; name another folder, or take this data set away")
    place = writable_folder(root / _PLACES[0])
    written: set[str] = set()
    lines: list[str] = []
    for face, image in samples:
        _check(face, written)
        written.add(face.key)
        content = picture_bytes(image, ".jpg", what=f"{root}: key '{face.key}'")
        write_whole(place / f"{face.key}.jpg.chip.jpg", content)
        if face.landmarks is not None:
            numbers = np.asarray(face.landmarks, np.float32).ravel()
            # The lists of the release end each line with a space.
            lines.append(f"{face.key}.jpg {' '.join(np.format_float_positional(n, trim='-') for n in numbers)} \n")
    if lines:
        write_whole(listed, "".join(lines).encode())


def _check(face: FaceLabels, written: set[str]) -> None:
    parts = _KEY.fullmatch(face.key)
    if parts is None or int(parts[1]) > OLDEST or face.key in written:
        found = f"'{face.key}'" + (" twice" if face.key in written else "")
        raise SemeiaError(f"UTKFace: expected keys that differ such as '{_EXAMPLE[:24]}' (age 0-{OLDEST}, gender 0-1, "
                          f"race 0-{len(RACES) - 1}, date), found {found}")  # fmt: skip
    age, male = int(parts[1]), 1 - int(parts[2])
    if face.age != age or face.attributes.get("Male") != male:
        raise SemeiaError(f"UTKFace: key '{face.key}': expected age {age} and Male {male} as the key tells, found "
                          f"{face.age} and {face.attributes.get('Male')}; correct the key or the labels")  # fmt: skip
    points = face.landmarks
    if points is not None and (points.shape != (POINTS, 2) or not np.isfinite(points).all()):
        raise SemeiaError(f"UTKFace: key '{face.key}': expected landmarks ({POINTS}, 2), found shape {points.shape} or "
                          "values that are not finite; correct them")  # fmt: skip
