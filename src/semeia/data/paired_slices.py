"""Slices of which some have lesions, some masks and some a true twin, from any format.

A format says which patient each slice is of and what belongs to it; ``data.twin_feeds`` makes batches of any of them.

Shapes      N slices   H, W pixels of a slice   n lesions of a slice
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from semeia.data.formats.deeplesion import MASKS, DeepLesion, KeySlice
from semeia.data.formats.masked_slices import MaskedSlice
from semeia.data.formats.slice_files import Series, grey_pixels, slice_numbers
from semeia.data.lesion_masks import masks_of
from semeia.records import SemeiaError

Split = Literal["train", "val", "test"]

HEALTHY = "Healthy_png"
"""Folder of true twins of a CT world."""

BODY_MM = 630.0
"""Millimetres from 0 to 1 of the height in a body, in the CT world."""


@dataclass(frozen=True)
class SliceRow:
    """What is known of a slice without reading it.

    ``position`` is the height in the body or organ, in any unit that patients share; NaN where it is not known.
    ``normal`` slices are known to hold no lesion.
    """

    name: str
    patient: str
    split: Split
    position: float
    normal: bool = False


class PairedSlices(Protocol):
    """Slices of one format: which patient, and what belongs to each slice."""

    @property
    def rows(self) -> Sequence[SliceRow]:
        """N slices, those with a lesion and normal ones."""
        ...

    def image(self, row: int, /) -> np.ndarray:
        """(H, W) HU, or values in [-1, 1] where the format has scaled them."""
        ...

    def mask(self, row: int, /) -> np.ndarray | None:
        """(H, W) bool, where the lesion was marked; it may be empty."""
        ...

    def twin(self, row: int, /) -> np.ndarray | None:
        """(H, W) the same slice without its lesion, where that is known, as it is in made worlds alone."""
        ...

    def spacing(self, row: int, /) -> tuple[float, float] | None:
        """Millimetres a pixel along x and y, where they are known."""
        ...

    def places(self, row: int, /) -> np.ndarray:
        """(n, 2) x and y in pixels, where lesions are; none of a normal slice or where nobody knows."""
        ...


class CTSlices:
    """Key slices in DeepLesion's layout, and the twins of a CT world.

    Masks are those of ``Masks_png`` or, where there are none, the ellipses of the measured axes. Every slice of
    ``Healthy_png`` is a normal slice; without that folder there is none.

    Args:
        data: Key slices with their splits.
    """

    def __init__(self, data: DeepLesion) -> None:
        self.data = data
        place = data.folder.resolve().name
        self.sources: list[tuple[KeySlice, Series, int]] = []
        self.rows: list[SliceRow] = []
        for key in data.keys:
            person = f"{place}/{key.patient:06d}"
            self.sources.append((key, key.series, key.slice))
            self.rows.append(SliceRow(f"{place}/{key.name}", person, key.split, key.location))
        for key in data.keys:
            twins = self.twins_of(key)
            interval = key.interval if key.interval > 0 else 0.0
            for number in twins.numbers.tolist():
                # Slices are numbered towards the head, heights are counted from it.
                height = key.location - (number - key.slice) * interval / BODY_MM
                name = f"{place}/{HEALTHY}/{key.series.name}/{number:03d}"
                self.sources.append((key, twins, number))
                self.rows.append(SliceRow(name, f"{place}/{key.patient:06d}", key.split, height, normal=True))

    def twins_of(self, key: KeySlice) -> Series:
        """The slices without lesions of the series of a key slice."""
        folder = self.data.folder / HEALTHY / key.series.name
        return Series(folder, slice_numbers(folder), key.series.size)

    def image(self, row: int, /) -> np.ndarray:
        """(H, W) int16 HU."""
        _, series, number = self.sources[row]
        return series.read(number)

    def mask(self, row: int, /) -> np.ndarray | None:
        """(H, W) bool; empty of a normal slice."""
        key, series, number = self.sources[row]
        if self.rows[row].normal:
            return np.zeros(series.size[::-1], bool)
        path = self.data.folder / MASKS / series.name / f"{number:03d}.png"
        if not path.is_file():
            return np.asarray(masks_of(key).any(0))
        return grey_pixels(path, series.size, bits=8) > 0

    def twin(self, row: int, /) -> np.ndarray | None:
        """(H, W) int16 HU."""
        key, series, number = self.sources[row]
        twins = series if self.rows[row].normal else self.twins_of(key)
        return twins.read(number) if number in twins.numbers else None

    def spacing(self, row: int, /) -> tuple[float, float]:
        """Millimetres a pixel."""
        return self.sources[row][0].spacing

    def places(self, row: int, /) -> np.ndarray:
        """(n, 2) middles of the boxes."""
        boxes = self.sources[row][0].boxes[: 0 if self.rows[row].normal else None]
        return (boxes[:, :2] + boxes[:, 2:]) / 2


class MarkedSlices:
    """Slices that a format has read and scaled, such as those of BraTS and LiTS; there is no true twin.

    Args:
        slices: Of any patients.
        splits: Of each patient.

    Raises:
        SemeiaError: A patient has no split.
    """

    def __init__(self, slices: Sequence[MaskedSlice], splits: Mapping[str, Split]) -> None:
        self.slices = slices
        if lost := sorted({each.patient for each in slices} - set(splits)):
            raise SemeiaError(f"patient {lost[0]!r}: expected in a split, found in none; split all patients")
        highest: dict[str, int] = {}
        for each in slices:
            highest[each.scan] = max(highest.get(each.scan, 1), each.slice)
        self.rows = [
            SliceRow(
                f"{each.scan}/{each.slice}", each.patient, splits[each.patient], each.slice / highest[each.scan],
                normal=each.kind == "normal",
            )
            for each in slices
        ]  # fmt: skip

    def image(self, row: int, /) -> np.ndarray:
        """(H, W) float32 in [-1, 1]."""
        return self.slices[row].image

    def mask(self, row: int, /) -> np.ndarray | None:
        """(H, W) bool or None."""
        return self.slices[row].mask

    def twin(self, row: int, /) -> np.ndarray | None:
        """None, except for normal slices, which are their own."""
        return self.slices[row].image if self.rows[row].normal else None

    def spacing(self, row: int, /) -> None:
        """Not known any more."""
        return None

    def places(self, row: int, /) -> np.ndarray:
        """(n, 2): the middle of the mask, where there is one."""
        mask = self.slices[row].mask
        if mask is None or not mask.any():
            return np.zeros((0, 2))
        return np.argwhere(mask)[:, ::-1].mean(0, keepdims=True) + 0.5
