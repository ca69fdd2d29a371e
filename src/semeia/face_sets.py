"""The labelled faces that a person holds: one field a data set, opened and cropped alike.

    FaceData(faces=("worlds/faces",), rafdb="/data/RAF-DB", fold=2)  ->  faces with splits, landmarks and labels

On the command line each field is a flag: ``--data.rafdb PATH``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from semeia.data.feeds import indices_of
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
from semeia.data.formats.face_files import FaceFiles, Faces
from semeia.data.formats.faces import FaceFolder
from semeia.locate import located
from semeia.records import SemeiaError


@dataclass(frozen=True)
class FaceData:
    """Folders of labelled faces, each in the layout of its data set. Any of them may be given, several are mixed."""

    PLAIN: ClassVar[str] = "faces"
    """The field that folders without a name go to."""

    faces: tuple[str, ...] = ()
    """Folders in this library's face format, as ``semeia make faces`` writes them."""
    rafdb: str | None = None
    """RAF-DB basic: seven expressions, splits train and test."""
    affectnet: str | None = None
    """AffectNet: eight expressions, valence and arousal, splits train and val."""
    celeba: str | None = None
    """CelebA: forty attributes, splits train, val and test."""
    utkface: str | None = None
    """UTKFace: age and gender; splits by a hash of the name."""
    morph: str | None = None
    """MORPH: age and gender; five folds of persons."""
    w300lp: str | None = None
    """300W-LP: pose and landmarks, split train."""
    aflw2000: str | None = None
    """AFLW2000-3D: pose and landmarks, split test."""
    bp4d: str | None = None
    """BP4D: twelve action units; three folds of persons."""
    disfa: str | None = None
    """DISFA: intensities of eight action units; three folds of persons."""
    affwild2: str | None = None
    """Aff-Wild2 of ABAW's multi-task challenges: valence and arousal, expressions, twelve action units; splits train
    and val of clips."""
    expression_folders: str | None = None
    """A folder of pictures for each expression in train, val and test, as ABAW's synthetic faces."""
    fold: int = 1
    """Fold that is the test split: 1 to 3 of BP4D and DISFA, 1 to 5 of MORPH."""
    missing: Literal["refuse", "skip"] = "refuse"
    """Whether labelled pictures that are not there stop the reading (AffectNet, BP4D, DISFA, Aff-Wild2), and names that
    tell no label (UTKFace, folders of expressions)."""


READERS: Mapping[str, Callable[[str, FaceData], FaceFiles]] = {
    "rafdb": lambda folder, _: rafdb.read(folder),
    "affectnet": lambda folder, how: affectnet.read(folder, skip_missing=how.missing == "skip"),
    "celeba": lambda folder, _: celeba.read(folder),
    "utkface": lambda folder, how: utkface.read(folder, skip_malformed=how.missing == "skip"),
    "morph": lambda folder, how: morph.read(folder, fold=how.fold),
    "w300lp": lambda folder, _: w300lp.read(folder),
    "aflw2000": lambda folder, _: w300lp.read(folder),
    "bp4d": lambda folder, how: bp4d.read(folder, fold=how.fold, val=True, missing=how.missing),
    "disfa": lambda folder, how: disfa.read(folder, fold=how.fold, val=True, missing=how.missing),
    "affwild2": lambda folder, how: affwild2.read(folder, missing=how.missing),
    "expression_folders": lambda folder, how: expression_folders.read(folder, skip_unnamed=how.missing == "skip"),
}
"""How each data set is opened, given its folder and the rest."""


def real_sets(data: FaceData) -> dict[str, str]:
    """Name and folder of each real data set that is named."""
    folders = {name: getattr(data, name) for name in READERS}
    return {name: folder for name, folder in folders.items() if folder is not None}


def open_faces(data: FaceData, *, progress: bool = True) -> list[Faces]:
    """Open everything that is named, in the order of the fields.

    Pictures that come without landmarks are searched for faces once; see ``locate.located``.

    Args:
        data: The folders.
        progress: Show a bar on stderr while faces are searched.

    Raises:
        SemeiaError: A folder is not laid out as expected; names the first wrong file.
    """
    opened: list[Faces] = [FaceFolder(folder) for folder in data.faces]
    read = (READERS[name](folder, data) for name, folder in real_sets(data).items())
    return opened + [_located(faces, show=progress) for faces in read]


def open_split(data: FaceData, split: str) -> list[Faces]:
    """Those of the named sets that have a split.

    Raises:
        SemeiaError: Nothing is named, none has the split, or a folder is not laid out as expected.
    """
    opened = open_faces(data)
    if not opened:
        raise SemeiaError("expected at least one folder of faces (--data FOLDER), found none")
    found = with_split(opened, split)
    if not found:
        indices_of(opened[0], split)
    return found


def with_split(opened: Sequence[Faces], split: str) -> list[Faces]:
    """Those of some data sets that have a split."""
    return [faces for faces in opened if len(faces.select(split))]


def data_flags(data: FaceData, name: str = "data") -> str:
    """The flags of a recipe's field that name some data; folders of the face format by their place below ``worlds``."""
    folders = [f"worlds/{Path(folder).name}" for folder in data.faces]
    words = []
    if folders:
        words.append(f"--data {' '.join(folders)}" if name == "data" else f"--{name}.faces '{json.dumps(folders)}'")
    words += [f"--{name}.{each} {Path(folder).name}" for each, folder in real_sets(data).items()]
    usual = FaceData()
    words += [f"--{name}.{each} {getattr(data, each)}" for each in ("fold", "missing")
              if getattr(data, each) != getattr(usual, each)]  # fmt: skip
    return " ".join(words)


def _located(faces: FaceFiles, *, show: bool) -> FaceFiles:
    """The faces with landmarks, behind a bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not show, transient=True) as bar:
        task = bar.add_task(f"finding faces in {Path(faces.folder).name}", total=None)
        return located(faces, progress=lambda done, of: bar.update(task, completed=done, total=of))
