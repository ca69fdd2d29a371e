"""MORPH Album 2: photos of persons over years, with age, gender and race in one CSV table.

    FOLDER/morph_2008_nonCommercial.csv         or MORPH_Album2_comp.csv, or another named in ``read``
    FOLDER/Album2/009055_1M54.JPG               as the column ``photo`` names it

The table begins with ``id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo``. Columns are
found by name, letters of either case; ``HEADERS`` lists the names that copies use. The file name repeats person,
picture, gender and age: 009055_1M54 is picture 1 of person 009055, a man of 54. Some copies hold a class (age - 16) in
a column called ``age``; where most ages differ from those in the names, the table is refused.

Several photos show one person: splits go by persons. There are no official folds; papers draw 80 % of the photos,
or five folds of persons, at random. Here the persons are sorted by id as text, and number
i, from 0, is in fold i mod 5 + 1.

Known   The two table names, the columns, the folder, M and F, and B, W, A, H, O for race were read in several public
        code bases, file names and the class column in lists of CORAL. No file of the data set was at hand. ``dob`` and
        ``doa`` are not kept.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from semeia.data.formats.face_files import FaceFiles, existing, no_shared_persons, number_in, picture_bytes, records_of
from semeia.files import writable_folder, write_whole
from semeia.records import FaceLabels, SemeiaError

TABLES = ("morph_2008_nonCommercial.csv", "MORPH_Album2_comp.csv")
"""Names of the table in known releases."""

FOLDS = 5
"""Number of folds."""

HEADERS: Mapping[str, tuple[str, ...]] = {
    "photo": ("photo", "filepath", "file", "filename", "image", ""),
    "identity": ("id_num", "subject_id", "subject", "id", "identity"),
    "age": ("age",),
    "gender": ("gender", "sex", "male"),
    "race": ("race", "ancestry"),
    "split": ("split", "set"),
}
"""Names of columns in lower case, the release's own first; "" is the first column of a table that pandas wrote."""

COLUMNS = (
    "id_num",
    "picture_num",
    "dob",
    "doa",
    "race",
    "gender",
    "facial_hair",
    "age",
    "age_diff",
    "glasses",
    "photo",
)
"""The columns of the release."""

MALE = {"m": 1, "male": 1, "1": 1, "f": 0, "female": 0, "0": 0, "-1": 0}
"""Values of gender, in lower case."""

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Values of a split column, in lower case."""

_NAME = re.compile(r"(\d+)_(\d+)([MF])(\d+)")
_SHIFTED = 0.5  # part of the ages that may differ from the names; single slips are known to stand in the data set
_OLDEST = 130  # years


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(folder: str | Path, *, fold: int | None = None, table: str | None = None) -> FaceFiles:
    """The faces of MORPH, in the order of the table.

    The attribute ``Male`` holds the gender, ``extra`` the race.

    Args:
        folder: The data set.
        fold: 1 to 5: the faces of this fold are the split "test", all others "train". None takes the table's split
            column, where there is one.
        table: The table, relative to the folder; None takes the first of ``TABLES`` that exists.

    Raises:
        SemeiaError: The table is wrong, a picture is missing, a photo stands in two rows, or a split shares a person.
    """
    root = Path(folder)
    if fold is not None and fold not in range(1, FOLDS + 1):
        raise SemeiaError(f"{root}: expected a fold from 1 to {FOLDS}, found {fold}; name another")
    path = existing(root, TABLES if table is None else (table,), layout="MORPH")
    columns: dict[str, str] = {}
    rows: list[tuple[FaceLabels, Path, dict[str, str]]] = []
    for line, row in records_of(path, ()):
        columns = columns or _columns(list(row), path)
        rows.append(_row({what: row[name] for what, name in columns.items()}, root, path=path, line=line))
    _check_ages([face for face, _, _ in rows], path)
    if fold is not None:
        splits = fold_splits([str(face.identity) for face, _, _ in rows], fold)
        rows = [(replace(face, split=splits[str(face.identity)]), photo, extra) for face, photo, extra in rows]
    return no_shared_persons(FaceFiles(root, path, rows))


def fold_splits(identities: Iterable[str], fold: int) -> dict[str, str]:
    """Person -> "test" for the persons of one fold, "train" for the others."""
    return {who: "test" if i % FOLDS == fold - 1 else "train" for i, who in enumerate(sorted(set(identities)))}


def _columns(header: list[str], path: Path) -> dict[str, str]:
    """What is read -> name of the column in this table."""
    by_name = {name.lower(): name for name in reversed(header)}
    found = {what: next((by_name[n] for n in names if n in by_name), None) for what, names in HEADERS.items()}
    for what in ("photo", "age"):
        if found[what] is None:
            raise SemeiaError(f"{path}: line 1: expected a column {' or '.join(filter(None, HEADERS[what]))} separated "
                              f"by ',', found {', '.join(header)[:80]!r}; rename one")  # fmt: skip
    return {what: name for what, name in found.items() if name is not None}


def _row(values: Mapping[str, str], root: Path, *, path: Path, line: int) -> tuple[FaceLabels, Path, dict[str, str]]:
    place = _place(values["photo"], root)
    name = _NAME.fullmatch(place.stem)
    identity = values.get("identity") or (name[1] if name else "")
    gender, split = values.get("gender", "").lower(), values.get("split", "").lower()
    for fine, expected, found in (
        (place.name and ".." not in place.parts, "the place of a photo below the folder", values["photo"]),
        (identity, f"the id of a person in a column {HEADERS['identity'][0]}", identity),
        (gender in {*MALE, ""}, "the gender M or F", gender),
        (split in {*SPLITS, ""}, "the split train, val or test", split),
    ):
        if not fine:
            raise SemeiaError(f"{path}: line {line}: expected {expected}, found {found[:40]!r}; correct it")
    age = values["age"]
    labels = FaceLabels(
        key=str(place.with_suffix("")),
        identity=identity,
        split=SPLITS.get(split),
        attributes={"Male": MALE[gender]} if gender else {},
        age=number_in(age, 0, _OLDEST, what="an age in years", path=path, line=line) if age else None,
    )
    return labels, root / place, {"race": values["race"]} if values.get("race") else {}


def _place(photo: str, root: Path) -> PurePosixPath:
    """Where a photo lies below the folder; of a full path of another machine the last parts that lead somewhere."""
    path = PurePosixPath(photo.replace("\\", "/"))
    if not path.is_absolute():
        return path
    tails = [PurePosixPath(*path.parts[i:]) for i in range(1, len(path.parts))]
    return next((tail for tail in tails if (root / tail).is_file()), PurePosixPath(path.name))


def _check_ages(faces: list[FaceLabels], path: Path) -> None:
    """Ages that mostly differ from the file names are classes, or belong to other photos."""
    pairs = [(face, face.age, _NAME.fullmatch(PurePosixPath(face.key).name)) for face in faces]
    named = [(face.key, age, int(name[4])) for face, age, name in pairs if age is not None and name]
    wrong = [(key, age, said) for key, age, said in named if abs(age - said) > 1]
    if len(wrong) > _SHIFTED * len(named):
        key, age, said = wrong[0]
        raise SemeiaError(f"{path}: expected ages in years, found {age:g} for '{key}', whose name says {said}, and "
                          f"{len(wrong):,} such; give ages in years, not classes")  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    """Write faces in this layout: photos as JPEG in ``Album2``, the table last.

    A face comes back with key, identity, age, split and the attribute ``Male``; other labels are left out. Splits go to
    a column ``split`` that the release does not have.

    Args:
        folder: The data set; made where it does not exist.
        samples: Labels with keys such as ``Album2/000001_1M30``, and pictures (H, W, 3) uint8; taken one at a time.

    Raises:
        SemeiaError: A sample lacks identity or age, breaks what ``read`` expects, or the folder cannot be written to.
    """
    root = writable_folder(folder)
    album = writable_folder(root / "Album2")
    rows: dict[str, dict[str, str]] = {}
    pictures: Counter[str] = Counter()
    splits: dict[str, str | None] = {}
    for labels, image in samples:
        identity, age = _checked(labels, rows, splits)
        male = labels.attributes.get("Male")
        write_whole(root / f"{labels.key}.JPG", picture_bytes(image, ".jpg", what=f"{album}: key '{labels.key}'"))
        rows[labels.key] = {
            "id_num": identity,
            "picture_num": str(pictures[identity]),
            "gender": "" if male is None else "FM"[male],
            "age": repr(age).removesuffix(".0"),
            "photo": f"{labels.key}.JPG",
            "split": labels.split or "",
        }
        pictures[identity] += 1
    columns = COLUMNS + (("split",) if any(splits.values()) else ())
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    write_whole(root / TABLES[0], stream.getvalue().encode())


def _checked(labels: FaceLabels, written: Mapping[str, object], splits: dict[str, str | None]) -> tuple[str, float]:
    """Identity and age of a sample that the layout can hold; ``splits`` gathers person -> split."""
    key, identity, split = labels.key, labels.identity or "", labels.split
    age = math.nan if labels.age is None else float(labels.age)
    name = _NAME.fullmatch(PurePosixPath(key).name)
    plain = identity.isprintable() and identity == identity.strip() != ""
    for fine, expected, found in (
        (re.fullmatch(r"Album2/[\w.-]*\w", key), "a key such as 'Album2/000001_1M30'", key),
        (key not in written, "keys that differ", f"{key} twice"),
        (plain, "an identity of printable text", repr(identity)),
        (0 <= age <= _OLDEST, f"an age from 0 to {_OLDEST}", age),
        (not name or abs(age - int(name[4])) <= 1, "the age that the key names", age),
        (split is None or split in SPLITS.values(), "the split train, val or test", split),
        (splits.setdefault(identity, split) == split, "every person in one split", f"{identity} in two"),
    ):
        if not fine:
            raise SemeiaError(f"MORPH: key '{key}': expected {expected}, found {found}; correct it or leave it out")
    return identity, age
