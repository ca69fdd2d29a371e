"""Patients as the recipe of facial palsy takes them: found in folders, and drawn into batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from semeia.data.formats import palsy as layout
from semeia.nn.face_finder import FaceFinder
from semeia.ops.palsy_scales import GRADES
from semeia.patients import Features, View, batch_of, views_of
from semeia.records import SemeiaError


@dataclass(frozen=True)
class Patient:
    """One patient: name, labels, and the places of the views in a list. ``side`` 1: the subject's left is weak."""

    name: str
    grade: int
    side: int
    degree: float
    split: str | None
    places: tuple[int, ...]


@dataclass(frozen=True)
class Gathered:
    """Views of all pictures in which a face is found, and the patients that have any."""

    views: list[View]
    patients: list[Patient]

    def of(self, split: str) -> list[Patient]:
        """The patients of a split."""
        return [patient for patient in self.patients if patient.split == split]


def gather(
    folders: Sequence[str], *, size: int, few: int | None = None, split: str | None = None, progress: bool = True
) -> Gathered:
    """Find the faces of all patients.

    Args:
        folders: In the layout of ``data.formats.palsy``.
        size: Side of a view in pixels.
        few: Most patients of the split ``train`` in each folder, the first ones.
        split: The only one whose pictures are read; all by default.
        progress: Show progress.

    Raises:
        SemeiaError: No folder is given, one is wrong, a picture cannot be read, or nothing shows a face.
    """
    if not folders:
        raise SemeiaError("palsy: expected at least one folder of patients (--data FOLDER), found none")
    finder = FaceFinder()
    views: list[View] = []
    patients: list[Patient] = []
    for folder in folders:
        named = layout.patients(layout.read(folder))
        for name in [name for name, files in named.items() if split not in (None, files[0].split)]:
            del named[name]
        training = [name for name, files in named.items() if files[0].split == "train"]
        for name in training[few:] if few is not None else ():
            del named[name]
        for name, files in track(named.items(), "finding faces", disable=not progress, transient=True):
            found = [view for file in files for view in views_of(file, finder, size=size)]
            if found:
                places = tuple(range(len(views), len(views) + len(found)))
                views += found
                patients.append(
                    Patient(
                        f"{folder}/{name}", -1 if files[0].grade is None else files[0].grade,
                        {"left": 1, "right": 0}.get(files[0].side or "", -1),
                        np.nan if files[0].degree is None else files[0].degree, files[0].split, places,
                    )
                )  # fmt: skip
    if not views and split is not None:
        raise SemeiaError(f"{', '.join(folders)}: expected patients with a face in the split {split!r}, found none")
    if not views:
        raise SemeiaError(f"{', '.join(folders)}: expected faces in the pictures, found none; look at them")
    return Gathered(views, patients)


class PatientFeed:
    """Batches of patients, drawn so that grades are about equally frequent; each batch is a function of its number.

    Args:
        patients: To draw from.
        copies: Features of their views, one for each copy.
        batch_size: Patients a batch.
        keep: Part of the views that a batch sees.
        seed: Of all randomness.
        images: Of the views, for a network that learns along: makes crops (S, S, 3) from a place and a generator.
    """

    def __init__(
        self, patients: Sequence[Patient], copies: Sequence[Features], *, batch_size: int, keep: float, seed: int,
        images: Any = None,
    ) -> None:  # fmt: skip
        self.patients, self.copies, self.images = tuple(patients), tuple(copies), images
        self.batch_size, self.keep, self.seed = batch_size, keep, seed
        grade = np.array([patient.grade for patient in patients])
        weight = 1 / np.bincount(grade + 1, minlength=len(GRADES) + 1)[grade + 1]
        self.bounds = np.cumsum(weight / weight.sum())

    def batch(self, index: int, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
        """Batch number ``index`` of one rank."""
        rng = np.random.default_rng((self.seed, index * world + rank))
        chosen = [self.patients[i] for i in np.searchsorted(self.bounds, rng.random(self.batch_size) * self.bounds[-1])]
        seen = []
        for patient in chosen:
            kept = [place for place in patient.places if rng.random() < self.keep]
            seen.append(kept or [patient.places[rng.integers(len(patient.places))]])
        batch = batch_of(self.copies[rng.integers(len(self.copies))], seen) | labels_of(chosen)
        if self.images is not None:
            longest = batch["shown"].shape[1]
            crops = np.stack([[self.images((row + row[:1] * longest)[i], rng) for i in range(longest)] for row in seen])
            del batch["sides"], batch["intensity"]
            batch["image"] = torch.from_numpy(crops).permute(0, 1, 4, 2, 3).float() / 255
        return batch


def labels_of(patients: Sequence[Patient]) -> dict[str, Tensor]:
    """Labels of a batch in the layout of ``systems.palsy``."""
    return {
        "grade": torch.tensor([patient.grade for patient in patients]),
        "degree": torch.tensor([patient.degree for patient in patients]),
        "side": torch.tensor([patient.side for patient in patients]),
    }
