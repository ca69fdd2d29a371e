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


def open_lesions(data: LesionData, split: Split) -> list[DeepLesion]:
    """The sets of ``data`` that have key slices in ``split``, without the others' slices.

    Raises:
        SemeiaError: No set is named, one cannot be read, or none has the split.
    """
    if not data.deeplesion:
        raise SemeiaError("no data: name folders in DeepLesion's layout with --data FOLDER")
    sets = []
    for folder in data.deeplesion:
        whole = deeplesion.read(folder, noisy=data.noisy, missing=data.missing)
        if data.share < 1:
            whole = deeplesion.subset(whole, share=data.share, seed=data.share_seed)
        sets.append(whole.select(lambda key: key.split == split))
    if not (found := [each for each in sets if len(each)]):
        raise SemeiaError(f"{', '.join(data.deeplesion)}: expected key slices of split {split!r}, found none")
    return found
