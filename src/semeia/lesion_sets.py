"""The CT scans with measured lesions that a person holds: one field a layout, opened alike.

    LesionData(deeplesion=("worlds/slabs",))  ->  key slices with splits and boxes

On the command line ``--data FOLDER`` names DeepLesion or what ``semeia make slabs`` wrote; other fields are flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from semeia.data.formats import deeplesion
from semeia.data.formats.deeplesion import DeepLesion
from semeia.records import SemeiaError

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class LesionData:
    """Folders of CT slices with measured lesions."""

    PLAIN: ClassVar[str] = "deeplesion"
    """The field that folders without a name go to."""

    deeplesion: tuple[str, ...] = ()
    """Folders in DeepLesion's layout: ``Images_png`` and ``DL_info.csv``."""
    noisy: Literal["drop", "keep"] = "drop"
    """Lesions that the table marks as possibly noisy."""
    missing: Literal["refuse", "skip"] = "refuse"
    """Whether key slices whose pictures are not there stop the reading."""
    share: float = 1.0
    """Part of the training patients that is read."""
    share_seed: int = 0
    """Decides which; a smaller part lies in every larger one."""
    made: str | None = None
    """A folder of made-up slices (``semeia make transplants``), which is read whole whatever the share."""


def thinned(sets: Sequence[DeepLesion], limit: int | None) -> list[DeepLesion]:
    """At most ``limit`` key slices of each set, at even steps; all where it is None."""
    few = []
    for each in sets:
        if limit is None or limit >= len(each):
            few.append(each)
        else:
            kept = {id(each.keys[i]) for i in np.linspace(0, len(each) - 1, limit).astype(int)}
            few.append(each.select(lambda key, kept=kept: id(key) in kept))  # type: ignore[misc]
    return few


def open_lesions(data: LesionData) -> list[DeepLesion]:
    """The sets of ``data``, each with all of its splits.

    Raises:
        SemeiaError: No set is named, or one cannot be read.
    """
    if not data.deeplesion:
        raise SemeiaError("no data: name folders in DeepLesion's layout with --data FOLDER")
    sets = [deeplesion.read(folder, noisy=data.noisy, missing=data.missing) for folder in data.deeplesion]
    if data.share < 1:
        sets = [deeplesion.subset(each, share=data.share, seed=data.share_seed) for each in sets]
    return sets if data.made is None else [*sets, deeplesion.read(data.made)]


def with_split(sets: Sequence[DeepLesion], split: Split) -> list[DeepLesion]:
    """The key slices of one split, of the sets that have any."""
    return [own for each in sets if len(own := each.select(lambda key: key.split == split))]


def split_of(sets: Sequence[DeepLesion], split: Split) -> list[DeepLesion]:
    """As ``with_split``, of sets that must have it.

    Raises:
        SemeiaError: None has.
    """
    if not (found := with_split(sets, split)):
        where = ", ".join(str(each.folder) for each in sets)
        raise SemeiaError(f"{where}: expected key slices of split {split!r}, found none")
    return found
