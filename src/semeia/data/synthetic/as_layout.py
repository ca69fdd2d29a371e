"""Rendered faces laid out as a real data set, to try a training before the data set is at hand.

    semeia make rafdb OUT --faces worlds/faces --count 500    ->    semeia train qface --data.rafdb OUT

Names, folders and codes are those of the data set; persons, pictures and labels are the face world's. What a layout
demands and the world does not label is filled in: attributes of CelebA as absent, UTKFace's race as "others". Contempt,
which Aff-Wild2 has no class for, is "other" there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import numpy as np

from semeia.data.formats import (
    affectnet,
    affwild2,
    bp4d,
    celeba,
    disfa,
    expression_folders,
    morph,
    rafdb,
    utkface,
    w300lp,
)
from semeia.data.formats.faces import FaceFolder
from semeia.records import PRESENT, FaceLabels, SemeiaError

Faces = Iterator[tuple[FaceLabels, np.ndarray]]

OTHER_RACE = 4
"""UTKFace's number for "others"."""


def write_layout(layout: str, source: str | Path, out: str | Path, *, count: int | None = None) -> int:
    """Write rendered faces in the layout of a data set.

    Args:
        layout: One of ``LAYOUTS``.
        source: Folder that ``semeia make faces`` wrote.
        out: Folder of the data set that is made.
        count: Most faces; all by default. Layouts with a fixed list of persons take no others.

    Returns:
        How many were written.

    Raises:
        SemeiaError: The source has no face that fits, or the layout's files stand in ``out`` already.
    """
    folder = FaceFolder(source)
    written = 0

    def counted() -> Faces:
        nonlocal written
        size = len(folder) if count is None else min(count, len(folder))
        rows = [place * len(folder) // size for place in range(size)]
        for sample in LAYOUTS[layout]((folder.labels(row), folder.image(row)) for row in rows):
            written += 1
            yield sample

    _WRITERS[layout](out, counted())
    if not written:
        raise SemeiaError(f"{source}: expected faces that {layout} can hold, found none")
    return written


def _rafdb(faces: Faces) -> Faces:
    numbers: Counter[str] = Counter()
    for face, image in faces:
        split = "train" if face.split == "train" else "test"
        if face.expression in rafdb.CLASSES:
            numbers[split] += 1
            key = f"{split}_{numbers[split]:0{5 if split == 'train' else 4}}"
            yield replace(face, key=key, split=split), image


def _affectnet(faces: Faces) -> Faces:
    for number, (face, image) in enumerate(faces):
        split = "train" if face.split == "train" else "val"
        if face.expression is not None and face.landmarks is not None:
            yield replace(face, key=f"{split}_set/{number}", split=split), image


def _celeba(faces: Faces) -> Faces:
    persons: dict[str | None, str] = {}
    for number, (face, image) in enumerate(faces, start=1):
        person = persons.setdefault(face.identity, str(len(persons) + 1))
        attributes = {name: face.attributes.get(name, 0) for name in celeba.NAMES}
        yield replace(face, key=f"{number:06}", identity=person, attributes=attributes), image


def _utkface(faces: Faces) -> Faces:
    for number, (face, image) in enumerate(faces):
        age, male = max(1, round(face.age or 0)), face.attributes.get("Male")
        if male is not None:
            key = f"{age}_{1 - male}_{OTHER_RACE}_{20170101000000000 + number}"
            yield replace(face, key=key, age=float(age)), image


def _morph(faces: Faces) -> Faces:
    persons: dict[str | None, int] = {}
    pictures: Counter[int] = Counter()
    for face, image in faces:
        person, male = persons.setdefault(face.identity, len(persons) + 1), face.attributes.get("Male")
        if male is not None and face.age is not None:
            name = f"{person:06}_{pictures[person]}{'FM'[male]}{round(face.age)}"
            pictures[person] += 1
            yield replace(face, key=f"Album2/{name}", identity=f"{person:06}", age=round(face.age), split=None), image


def _w300lp(faces: Faces) -> Faces:
    for number, (face, image) in enumerate(faces):
        if face.pose is not None and face.landmarks is not None:
            yield replace(face, key=f"AFW/AFW_{number}_1_0"), image


def _aflw2000(faces: Faces) -> Faces:
    for number, (face, image) in enumerate(faces):
        if face.pose is not None and face.landmarks is not None:
            yield replace(face, key=f"image{number:05}"), image


def _bp4d(faces: Faces) -> Faces:
    for name, number, face, image in _recorded(faces, bp4d.PARTS):
        strengths = {unit: float(round(value)) for unit, value in face.au_intensity.items()}
        present = {unit: int(strengths[unit] >= PRESENT) for unit in bp4d.UNITS if unit in strengths}
        if len(present) == len(bp4d.UNITS):
            key = f"{name}/T1/{number:04}"
            yield replace(face, key=key, identity=name, au_occurrence=present, au_intensity={}), image


def _disfa(faces: Faces) -> Faces:
    for name, number, face, image in _recorded(faces, disfa.PARTS):
        strengths = {unit: float(round(face.au_intensity.get(unit, 0))) for unit in disfa.UNITS}
        yield replace(face, key=f"{name}/{number:04}", identity=name, au_intensity=strengths), image


def _affwild2(faces: Faces) -> Faces:
    clips: dict[str | None, str] = {}
    frames: Counter[str] = Counter()
    for face, image in faces:
        clip = clips.setdefault(face.identity, f"clip{len(clips) + 1}")
        frames[clip] += 1
        present = {unit: int(value >= PRESENT) for unit, value in face.au_intensity.items()} | {**face.au_occurrence}
        yield (
            replace(
                face,
                key=f"{clip}/{frames[clip]:05}",
                identity=clip,
                split="train" if face.split == "train" else "val",
                expression=affwild2.OTHER if face.expression == "contempt" else face.expression,
                au_occurrence={unit: present[unit] for unit in affwild2.UNITS if unit in present},
            ),
            image,
        )


def _expression_folders(faces: Faces) -> Faces:
    for number, (face, image) in enumerate(faces, start=1):
        if face.expression in expression_folders.CLASSES:
            split = "train" if face.split == "train" else "val"
            yield replace(face, key=f"{split}/{face.expression.upper()}/{number:05}", split=split), image


def _recorded(faces: Faces, parts: Sequence[Sequence[str]]) -> Iterator[tuple[str, int, FaceLabels, np.ndarray]]:
    """Faces of the first persons under the names of a data set's persons, parts by turns, and the frame's number."""
    names = (name for turn in zip_longest(*parts) for name in turn if name)
    persons: dict[str | None, str | None] = {}
    frames: Counter[str] = Counter()
    for face, image in faces:
        if face.identity not in persons:
            persons[face.identity] = next(names, None)
        name = persons[face.identity]
        if name is not None:
            frames[name] += 1
            yield name, frames[name], face, image


LAYOUTS: Mapping[str, Callable[[Faces], Faces]] = {
    "rafdb": _rafdb,
    "affectnet": _affectnet,
    "celeba": _celeba,
    "utkface": _utkface,
    "morph": _morph,
    "w300lp": _w300lp,
    "aflw2000": _aflw2000,
    "bp4d": _bp4d,
    "disfa": _disfa,
    "affwild2": _affwild2,
    "expression_folders": _expression_folders,
}
"""How faces are named and labelled in each layout; the names are those of ``face_sets.FaceData``."""

_WRITERS: Mapping[str, Callable[[str | Path, Faces], None]] = {
    "rafdb": rafdb.write,
    "affectnet": lambda out, faces: affectnet.write(out, faces, form="npy"),
    "celeba": celeba.write,
    "utkface": utkface.write,
    "morph": morph.write,
    "w300lp": w300lp.write,
    "aflw2000": w300lp.write,
    "bp4d": bp4d.write,
    "disfa": disfa.write,
    "affwild2": affwild2.write,
    "expression_folders": expression_folders.write,
}
