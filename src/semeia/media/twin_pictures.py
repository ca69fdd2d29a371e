"""Pictures of a twin: input, twin and difference side by side, and the outputs of an input that is a picture.

Differences are drawn over the input's greys, red where the twin is brighter and blue where it is darker; the colour is
full from a fixed part of the window on, so that noise stays pale and scans can be compared. A yellow line goes around
what has a lesion likelihood over the threshold. A CT slice is shown in the lung or the soft-tissue window, by the rule
of ``lesion_pictures`` for the box around that line. Slices are seen from the feet: the patient's right is on the left.

Shapes      H, W slice in pixels   h, w shown pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image
from scipy import ndimage

from semeia.files import whole_file
from semeia.media.lesion_pictures import WINDOWS, fitting_window
from semeia.media.surface import DIM, PAPER, Surface, fitted
from semeia.media.twin_reading import NOTICE, TwinReading
from semeia.media.twin_volumes import Shown

BRIGHTER, DARKER, OUTLINE = (255, 84, 66), (64, 140, 255), (255, 205, 72)
FULL = 0.08
"""Part of the window from which a difference has its full colour."""
MOST = 4
"""Slices of a preview."""
TILE, GAP, HEAD, FOOT = 300, 12, 62, 34


class Twins(Protocol):
    """A scan or picture and its twin, slice by slice.

    ``pixel_mm`` is from column to column and row to row, alike where it is not known; ``sides`` says whether left and
    right are the patient's.
    """

    count: int
    pixel_mm: tuple[float, float]
    sides: bool

    def shown(self, z: int) -> Shown:
        """Slice z."""
        ...

    def own(self, z: int) -> int:
        """The file's own number of slice z."""
        ...


def greys(values: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """Values (H, W) as greys (H, W) uint8."""
    low, high = window
    share = (np.nan_to_num(np.asarray(values, np.float32), nan=low, posinf=high, neginf=low) - low) / (high - low)
    return np.round(255 * share.clip(0, 1)).astype(np.uint8)


def tint(difference: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """(H, W, 4) uint8: the colour of a difference (H, W), more opaque the larger it is."""
    strength = (np.abs(difference) / (FULL * (window[1] - window[0]))).clip(0, 1)
    colour = np.where((difference > 0)[..., None], BRIGHTER, DARKER)
    return np.dstack([colour, np.round(255 * strength)]).astype(np.uint8)


def outline(likelihood: np.ndarray, threshold: float) -> np.ndarray:
    """(H, W, 4) uint8: a line around what is over the threshold, inside of it; transparent elsewhere."""
    over = likelihood >= threshold
    line = over & ~ndimage.binary_erosion(over)
    picture = np.zeros((*over.shape, 4), np.uint8)
    picture[line] = (*OUTLINE, 255)
    return picture


def over_greys(grey: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: a layer (H, W, 4) over greys (H, W)."""
    share = layer[..., 3:].astype(np.float32) / 255
    return np.round((1 - share) * grey[..., None] + share * layer[..., :3]).astype(np.uint8)


def display_window(slice_: Shown, reading: TwinReading, pixel_mm: tuple[float, float]) -> tuple[float, float]:
    """Lowest and highest value that a slice is shown with."""
    if reading.unit != "HU":
        return reading.window
    rows, columns = np.nonzero(slice_.likelihood >= reading.threshold)
    height, width = slice_.before.shape
    box = (0.0, 0.0, float(width), float(height))
    if len(rows):
        box = float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)
    return WINDOWS[fitting_window(slice_.before, box, pixel_mm)]


def shown_size(shape: Sequence[int], pixel_mm: tuple[float, float], side: int) -> tuple[int, int]:
    """Width and height of a slice (H, W) with square pixels, its longer side ``side`` long."""
    wide, high = shape[1] * pixel_mm[0], shape[0] * pixel_mm[1]
    scale = side / max(wide, high)
    return max(round(wide * scale), 1), max(round(high * scale), 1)


def preview(reading: TwinReading, twins: Twins, ranked: Sequence[int]) -> np.ndarray:
    """Input, twin and difference of a few slices.

    Args:
        reading: Of the twins.
        twins: Where slices come from.
        ranked: Slices, those with most to see first.

    Returns:
        (H, W, 3) uint8.
    """
    chosen = sorted(ranked[:MOST], reverse=True)  # the head is up
    columns = ("input", "twin, made up", "difference")
    width = GAP + len(columns) * (TILE + GAP)
    rows = [_row(twins.shown(z), reading, twins) for z in chosen]
    tops = np.cumsum([HEAD + 24, *(row[0].height + GAP + 22 for row in rows)]).tolist()
    surface = Surface((width, tops[-1] + FOOT), detail=2, ground=PAPER)
    name = Path(reading.source).name.encode("utf-8", "replace").decode("utf-8")
    surface.text((GAP, 22), fitted(name, 20, width - 2 * GAP), 20)
    surface.text((GAP, 46), fitted(_facts(reading), 13, width - 2 * GAP), 13, DIM)
    for column, heading in enumerate(columns):
        surface.text((GAP + column * (TILE + GAP) + 2, HEAD + 12), heading, 14, DIM)
    for z, row, top in zip(chosen, rows, tops, strict=False):
        for column, picture in enumerate(row):
            left = GAP + column * (TILE + GAP) + (TILE - picture.width) // 2
            surface.paste(picture, (left, top), radius=4)
        if twins.sides:
            for x, letter, anchor in ((GAP + 8, "R", "lm"), (GAP + TILE - 8, "L", "rm")):
                surface.text((x, top + row[0].height / 2), letter, 14, anchor=anchor)
        if twins.count > 1:
            surface.text((GAP + 2, top + row[0].height + 12), f"slice {twins.own(z)}", 13, DIM)
    surface.text((GAP, tops[-1] + FOOT / 2 - 4), fitted(NOTICE, 12, width - 2 * GAP), 12, DIM)
    return np.asarray(surface.finish().convert("RGB"))


def write_preview(reading: TwinReading, twins: Twins, ranked: Sequence[int], path: str | Path) -> None:
    """Write ``preview`` as PNG, whole or not at all.

    Raises:
        SemeiaError: The file cannot be written.
    """
    with whole_file(path) as part:
        Image.fromarray(preview(reading, twins, ranked)).save(part, "PNG")


def _row(slice_: Shown, reading: TwinReading, twins: Twins) -> tuple[Image.Image, Image.Image, Image.Image]:
    window = display_window(slice_, reading, twins.pixel_mm)
    size = shown_size(slice_.before.shape, twins.pixel_mm, TILE)
    before, after = (_resized(greys(values, window), size) for values in (slice_.before, slice_.after))
    difference = _resized(slice_.after - slice_.before, size)
    line = outline(_resized(slice_.likelihood, size), reading.threshold)
    pictures = (over_greys(before, line), np.dstack([after] * 3), over_greys(before, tint(difference, reading.window)))
    one, two, three = (Image.fromarray(picture) for picture in pictures)
    return one, two, three


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w) of (H, W), in its type."""
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR))


def _facts(reading: TwinReading) -> str:
    low, high = reading.window
    step = FULL * (high - low)
    return (
        f"weights {reading.weights}   {low:g} to {high:g} {reading.unit}   red: the twin is brighter, blue: darker, "
        f"full colour from {step:.3g}   yellow: likelihood from {reading.threshold:g}"
    )


# Outputs of a picture ------------------------------------------------------------------------------------------------


def write_picture_twin(
    image: np.ndarray, difference: np.ndarray, likelihood: np.ndarray, folder: Path
) -> dict[str, str]:
    """Write the twin of a picture, its difference in colours and the likelihood in greys.

    The same is added to all three colours of a pixel; a grey picture stays grey.

    Args:
        image: (H, W, 3) uint8, the input.
        difference: (H, W) grey levels, whole numbers.
        likelihood: (H, W) of 0 to 1.
        folder: Where to.

    Returns:
        Names in the folder, by kind.
    """
    twin = (image.astype(np.int16) + difference[..., None].astype(np.int16)).clip(0, 255).astype(np.uint8)
    colours = {
        "twin": twin[..., 0] if is_grey(image) else twin,
        "difference": over_greys(luminance(image), tint(difference, (0, 255))),
        "likelihood": np.round(255 * likelihood.clip(0, 1)).astype(np.uint8),
    }
    for name, pixels in colours.items():
        with whole_file(folder / f"{name}.png") as part:
            Image.fromarray(pixels).save(part, "PNG")
    return {name: f"{name}.png" for name in colours}


def is_grey(image: np.ndarray) -> bool:
    """Whether all pixels (H, W, 3) are grey."""
    return bool((image == image[..., :1]).all())


def luminance(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8 of a picture (H, W, 3); that of a grey one is its greys."""
    return image[..., 0] if is_grey(image) else np.asarray(Image.fromarray(image).convert("L"))
