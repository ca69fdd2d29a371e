"""What a pseudo-normal twin tells of its input, in numbers: the documented JSON of ``semeia normal``.

Shapes      none: numbers and names alone
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

TWIN_VERSION = 1
"""Of the JSON; it grows whenever a key changes its name or its meaning."""

NOTICE = "A twin is made up by software, it is no picture of the patient. Not a medical device, no diagnosis."
"""What every picture, page and file says, where there is room."""


@dataclass(frozen=True)
class TwinSlice:
    """A slice with likelihood over the threshold: ``index`` is the file's own number, ``peak`` the largest one.

    ``area_mm2`` is None where the size of a pixel is not known.
    """

    index: int
    pixels: int
    area_mm2: float | None
    peak: float


@dataclass(frozen=True)
class LargestDifference:
    """Where the twin differs most: ``pixel`` is column and row of the file's own slice, from 0; ``world_mm`` is LPS."""

    index: int
    pixel: tuple[int, int]
    world_mm: tuple[float, float, float] | None
    value: float


@dataclass(frozen=True)
class TwinReading:
    """What was made of one scan or picture.

    Attributes:
        weights: Name of what made the twin.
        source: Name of the input.
        unit: Of values, ``HU``, ``stored value`` or ``grey level``.
        window: Lowest and highest value that the network saw, in that unit; others are the input's.
        threshold: Likelihood from which a pixel counts.
        shape: Slices, rows and columns that were read.
        spacing_mm: From column to column, row to row and slice to slice; None where that is not known.
        slices: Those with likelihood over the threshold, by their own numbers.
        volume_mm3: Of all voxels over the threshold.
        largest: None where the twin is the input.
        mean_difference: Mean absolute difference over the values within the window; None where there are none.
        files: What was written, by kind.
        notes: What was repaired, assumed or left out, one sentence each.
    """

    weights: str
    source: str
    unit: Literal["HU", "stored value", "grey level"]
    window: tuple[float, float]
    threshold: float
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    slices: tuple[TwinSlice, ...]
    volume_mm3: float | None
    largest: LargestDifference | None
    mean_difference: float | None
    files: dict[str, str]
    notes: tuple[str, ...] = ()
    version: int = TWIN_VERSION

    @property
    def pixels(self) -> int:
        """Over the threshold, in all slices."""
        return sum(each.pixels for each in self.slices)

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON."""
        largest = self.largest
        return {
            "version": self.version,
            "weights": self.weights,
            "source": self.source,
            "unit": self.unit,
            "window": list(self.window),
            "threshold": self.threshold,
            "shape": list(self.shape),
            "spacing_mm": _rounded(self.spacing_mm, 4),
            "slices": [
                {
                    "index": each.index,
                    "pixels": each.pixels,
                    "area_mm2": None if each.area_mm2 is None else round(each.area_mm2, 2),
                    "peak": round(each.peak, 2),
                }
                for each in self.slices
            ],
            "volume_mm3": None if self.volume_mm3 is None else round(self.volume_mm3, 1),
            "largest_difference": None
            if largest is None
            else {
                "index": largest.index,
                "pixel": list(largest.pixel),
                "world_mm": _rounded(largest.world_mm, 2),
                "value": round(largest.value, 2),
            },
            "mean_difference": None if self.mean_difference is None else round(self.mean_difference, 3),
            "files": self.files,
            "notes": list(self.notes),
        }


def as_json(reading: TwinReading) -> str:
    """The documented JSON, indented, as ASCII: file names survive whatever reads it."""
    return json.dumps(reading.as_dict(), indent=2)


def _rounded(values: tuple[float, ...] | None, digits: int) -> list[float] | None:
    return None if values is None else [round(value, digits) for value in values]
