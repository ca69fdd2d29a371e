"""Pictures of candidate lesions: one slice with its boxes, and a sheet of the lesions of a scan.

Slices are seen from the feet, as radiologists see them: the patient's right is on the left of the picture, the front is
up. The window follows the tissue: where at least a third of the pixels within 10 mm around a box, without the box
itself, are lung (-960 to -500 HU), it is the lung window, else the soft-tissue window.

Shapes      H, W slice in pixels   N boxes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from semeia.files import check_writable, whole_file
from semeia.media.lesion_boxes import NOTICE, Corners, PlacedBox, key_boxes, placed_boxes
from semeia.media.surface import DIM, INK, PAPER, TEXT, Colour, Surface, fitted, text_width
from semeia.media.volumes import Volume
from semeia.records import ScanReading, SemeiaError

WINDOWS: dict[str, tuple[float, float]] = {"lung": (-1350.0, 150.0), "soft tissue": (-160.0, 240.0)}
"""Lowest and highest HU: level -600, width 1500, and level 40, width 400, as they are usual in reading rooms."""

LUNG = (-960.0, -500.0)
"""HU; air outside the patient lies below."""
LUNG_SHARE = 1 / 3
AROUND_MM = 10.0

LESION: Colour = (255, 205, 72)
"""Boxes of lesions."""
LOOSE: Colour = (154, 190, 255)
"""Boxes that belong to no lesion."""
SHADE: Colour = (0, 0, 0, 110)

MOST = 12
"""Lesions on a sheet."""
TILE = 380
INSET = 136
"""Pixels of the sides of a tile, and of the enlarged part in its corner."""
INSET_MM = 40.0
"""Least side of the enlarged part."""
GAP, CAPTION = 16, 50
SCALE_MM = (100, 50, 20, 10, 5)
"""Lengths of a scale bar; the longest one that takes at most a third of the picture's width."""


@dataclass(frozen=True)
class View:
    """Where a picture shows a slice: ``scale`` picture pixels a millimetre, ``size`` its width and height."""

    scale: float
    size: tuple[int, int]
    pixel_mm: tuple[float, float]
    start: tuple[float, float] = (0.0, 0.0)

    def placed(self, box: Corners) -> Corners:
        """A box of the slice in pixels of the picture."""
        x0, x1 = ((x - self.start[0]) * self.pixel_mm[0] * self.scale for x in box[::2])
        y0, y1 = ((y - self.start[1]) * self.pixel_mm[1] * self.scale for y in box[1::2])
        return x0, y0, x1, y1


def fitting_window(slice_hu: np.ndarray, box: Corners, pixel_mm: tuple[float, float]) -> str:
    """The name of the window for a box; the rule stands at the top of this file.

    Args:
        slice_hu: (H, W).
        box: In pixels.
        pixel_mm: From column to column and from row to row.
    """
    height, width = slice_hu.shape
    around = np.zeros(slice_hu.shape, bool)
    for value, reach in ((True, AROUND_MM), (False, 0.0)):
        x0, y0, x1, y1 = box
        left, right = np.clip([x0 - reach / pixel_mm[0], x1 + reach / pixel_mm[0]], 0, width)
        top, bottom = np.clip([y0 - reach / pixel_mm[1], y1 + reach / pixel_mm[1]], 0, height)
        around[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = value
    return _window_of(slice_hu[around])


def _window_of(pixels: np.ndarray) -> str:
    lung = ((pixels >= LUNG[0]) & (pixels <= LUNG[1])).sum()
    return "lung" if len(pixels) and lung >= LUNG_SHARE * len(pixels) else "soft tissue"


def windowed(slice_hu: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """HU (H, W) as greys (H, W) uint8."""
    low, high = window
    # NaN, as some files hold outside the patient, is shown as air.
    share = (np.nan_to_num(slice_hu.astype(np.float32), nan=low, posinf=high, neginf=low) - low) / (high - low)
    return np.round(255 * share.clip(0, 1)).astype(np.uint8)


def draw_slice(
    slice_hu: np.ndarray,
    boxes: Sequence[PlacedBox],
    *,
    pixel_mm: tuple[float, float],
    window: str = "soft tissue",
    long_mm: Mapping[int, float] | None = None,
    side: int = 768,
) -> np.ndarray:
    """One axial slice with its boxes, a scale bar, and letters for the patient's sides.

    Args:
        slice_hu: (H, W).
        boxes: Of that slice.
        pixel_mm: From column to column and from row to row.
        window: A name out of ``WINDOWS``.
        long_mm: Long axes of lesions by their numbers, told beside their boxes.
        side: Pixels of the longer side of the picture.

    Returns:
        (H', W', 3) uint8, with square pixels.
    """
    view = _whole_view(slice_hu, pixel_mm, side)
    picture = _seen(slice_hu, view, WINDOWS[window])
    unit = max(11.0, side / 52)
    layer = Surface(view.size, detail=2)
    for box in sorted(boxes, key=lambda box: box.score):
        _draw_box(layer, view.placed(box.box), LESION if box.lesion else LOOSE, unit / 8)
        words = f"{box.lesion}  {box.score:.2f}" if box.lesion else f"{box.score:.2f}"
        if long_mm and box.lesion is not None and box.lesion in long_mm:
            words += f"  {long_mm[box.lesion]:.0f} mm"
        _draw_label(layer, view, box, words, unit)
    _draw_sides(layer, view, unit)
    _draw_scale(layer, view, unit)
    return _laid_over(picture, layer)


def lesion_sheet(reading: ScanReading, scan: Volume) -> np.ndarray:
    """The key slices of the best lesions, or middle slices where there is no lesion.

    Returns:
        (H, W, 3) uint8.
    """
    keys = key_boxes(placed_boxes(reading, scan))
    numbers = [number for number in range(1, len(reading.lesions) + 1) if number in keys][:MOST]
    tiles = [_lesion_tile(reading, scan, keys, number) for number in numbers] or _empty_tiles(scan)
    return _sheet(reading, tiles, shown=len(numbers))


def write_sheet(reading: ScanReading, scan: Volume, path: str | Path) -> None:
    """Write ``lesion_sheet`` as PNG, whole or not at all.

    Raises:
        SemeiaError: Another suffix, or the file cannot be written.
    """
    _suffix(path)
    with whole_file(path) as part:
        Image.fromarray(lesion_sheet(reading, scan)).save(part, "PNG")


def check_sheet(path: str | Path) -> None:
    """Make sure, before long work begins, that ``write_sheet`` will be able to write to ``path``.

    Raises:
        SemeiaError: Another suffix than ``.png``, or the file cannot be written.
    """
    _suffix(path)
    check_writable(path)


def _suffix(path: str | Path) -> None:
    suffix = Path(path).suffix.lower()
    if suffix != ".png":
        raise SemeiaError(f"{path}: expected a picture that ends in .png, found {suffix or 'no suffix'!r}")


# Tiles ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tile:
    """A picture and the lines under it."""

    picture: Image.Image
    head: str
    words: str


def _lesion_tile(reading: ScanReading, scan: Volume, keys: Mapping[int, PlacedBox], number: int) -> Tile:
    """The key slice of a lesion, and the lesion enlarged in the corner that is farthest from it."""
    box, lesion = keys[number], reading.lesions[number - 1]
    slice_hu = scan.slab(box.z, box.z)[0]
    pixel_mm = scan.spacing[:2]
    window = fitting_window(slice_hu, box.box, pixel_mm)
    view = _tile_view(slice_hu, pixel_mm)
    picture = _seen(slice_hu, view, WINDOWS[window])

    layer = Surface((TILE, TILE), detail=3)
    others = [key for other, key in keys.items() if key.z == box.z and other != number]
    for other in others:
        _draw_box(layer, view.placed(other.box), (*LESION[:3], 130), 1)
    _draw_box(layer, view.placed(box.box), LESION, 1.6)
    _draw_label(layer, view, box, str(number), 14)
    corner = _far_corner(view.placed(box.box))
    _draw_sides(layer, view, 15, low=corner[1] == 0)
    _draw_scale(layer, view, 12, right=corner[0] == 0)
    layer.paste(_inset(slice_hu, box.box, pixel_mm, WINDOWS[window]), corner, radius=5)
    edge = (corner[0], corner[1], corner[0] + INSET, corner[1] + INSET)
    layer.box(edge, radius=5, line=DIM, width=1.2)

    head = f"{number}   score {lesion.score:.2f}   {lesion.long_mm:.1f} x {lesion.short_mm:.1f} mm"
    first, last = lesion.slices
    span = f"slices {first} to {last}" if first != last else "this slice alone"
    words = f"slice {box.own_slice} ({span}), {window} window"
    return Tile(_composed(picture, layer), head, words)


def _empty_tiles(scan: Volume) -> list[Tile]:
    """Slices at a quarter, a half and three quarters of the scan."""
    count = scan.shape[0]
    tiles = []
    for z in sorted({min(count * quarter // 4, count - 1) for quarter in (1, 2, 3)}, reverse=True):
        slice_hu = scan.slab(z, z)[0]
        window = _window_of(slice_hu[slice_hu > LUNG[0]])
        view = _tile_view(slice_hu, scan.spacing[:2])
        layer = Surface((TILE, TILE), detail=3)
        _draw_sides(layer, view, 15)
        _draw_scale(layer, view, 12)
        picture = _seen(slice_hu, view, WINDOWS[window])
        tiles.append(Tile(_composed(picture, layer), "no candidate", f"slice {scan.own_slice(z)}, {window} window"))
    return tiles


def _inset(
    slice_hu: np.ndarray, box: Corners, pixel_mm: tuple[float, float], window: tuple[float, float]
) -> Image.Image:
    """The surroundings of a box, enlarged, with the box."""
    sides = (box[2] - box[0]) * pixel_mm[0], (box[3] - box[1]) * pixel_mm[1]
    wide = max(INSET_MM, 1.7 * max(sides))
    centre = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    start = centre[0] - wide / 2 / pixel_mm[0], centre[1] - wide / 2 / pixel_mm[1]
    view = View(INSET / wide, (INSET, INSET), pixel_mm, start)
    layer = Surface((INSET, INSET), detail=3)
    _draw_box(layer, view.placed(box), LESION, 1.4)
    return _composed(_seen(slice_hu, view, window), layer)


def _far_corner(box: Corners) -> tuple[int, int]:
    """Left and top of an inset in the corner of a tile that is farthest from a box."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    far = TILE - INSET
    return (far if x < TILE / 2 else 0, far if y < TILE / 2 else 0)


def _sheet(reading: ScanReading, tiles: Sequence[Tile], *, shown: int) -> np.ndarray:
    columns = min(len(tiles), 4 if len(tiles) > 9 or len(tiles) == 4 else 3)
    rows = -(-len(tiles) // columns)
    head, foot = 64, 34
    width = max(GAP + columns * (TILE + GAP), 560)
    high = head + rows * (TILE + CAPTION + GAP)
    surface = Surface((width, high + foot), detail=2, ground=PAPER)
    count = len(reading.lesions)
    found = "no candidate lesion found" if not count else f"{count} candidate lesion{'s' if count > 1 else ''}"
    if count > shown:
        found += f", the best {shown} with a box are shown"
    name = Path(reading.scan).name.encode("utf-8", "replace").decode("utf-8")
    surface.text((GAP, 24), fitted(found, 22, width - 2 * GAP), 22)
    surface.text((GAP, 49), fitted(f"{name}   weights {reading.weights}", 14, width - 2 * GAP), 14, DIM)
    for place, tile in enumerate(tiles):
        x, y = GAP + place % columns * (TILE + GAP), head + place // columns * (TILE + CAPTION + GAP)
        surface.paste(tile.picture, (x, y), radius=6)
        surface.text((x + 2, y + TILE + 16), fitted(tile.head, 17, TILE), 17, TEXT)
        surface.text((x + 2, y + TILE + 37), fitted(tile.words, 13, TILE), 13, DIM)
    surface.text((GAP, high + foot / 2 - 4), fitted(NOTICE, 13, width - 2 * GAP), 13, DIM)
    return np.asarray(surface.finish().convert("RGB"))


# Parts of a picture --------------------------------------------------------------------------------------------------


def _whole_view(slice_hu: np.ndarray, pixel_mm: tuple[float, float], side: int) -> View:
    """A slice at square pixels, its longer side ``side`` pixels long."""
    height, width = slice_hu.shape
    wide, high = width * pixel_mm[0], height * pixel_mm[1]
    scale = side / max(wide, high)
    return View(scale, (max(round(wide * scale), 1), max(round(high * scale), 1)), pixel_mm)


def _tile_view(slice_hu: np.ndarray, pixel_mm: tuple[float, float]) -> View:
    """A slice in the middle of a square tile."""
    height, width = slice_hu.shape
    wide, high = width * pixel_mm[0], height * pixel_mm[1]
    side = max(wide, high)
    start = (wide - side) / 2 / pixel_mm[0], (high - side) / 2 / pixel_mm[1]
    return View(TILE / side, (TILE, TILE), pixel_mm, start)


def _seen(slice_hu: np.ndarray, view: View, window: tuple[float, float]) -> Image.Image:
    """What a view shows of a slice, in greys; black beyond its edges."""
    step = [1 / (mm * view.scale) for mm in view.pixel_mm]
    grey = Image.fromarray(windowed(slice_hu, window))
    if max(step) > 1:  # shrunk: an affine map alone would skip pixels
        height, width = slice_hu.shape
        size = max(round(width / max(step[0], 1)), 1), max(round(height / max(step[1], 1)), 1)
        factors = width / size[0], height / size[1]
        grey = grey.resize(size, Image.Resampling.BOX)
    else:
        factors = 1.0, 1.0
    coefficients = (
        step[0] / factors[0], 0, view.start[0] / factors[0],
        0, step[1] / factors[1], view.start[1] / factors[1],
    )  # fmt: skip
    return grey.transform(view.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)


def _laid_over(picture: Image.Image, layer: Surface) -> np.ndarray:
    return np.asarray(_composed(picture, layer))


def _composed(picture: Image.Image, layer: Surface) -> Image.Image:
    return Image.alpha_composite(picture.convert("RGBA"), layer.finish()).convert("RGB")


def _draw_box(layer: Surface, box: Corners, colour: Colour, width: float) -> None:
    """A box whose line lies outside, so that it hides nothing of what it holds."""
    for grown, line, pen in ((2 * width, SHADE, 2 * width), (1.5 * width, colour, width)):
        corners = (box[0] - grown, box[1] - grown, box[2] + grown, box[3] + grown)
        layer.box(corners, radius=width, line=line, width=pen)


def _draw_label(layer: Surface, view: View, box: PlacedBox, words: str, size: float) -> None:
    """A label above its box, or below where there is no room."""
    x0, y0, x1, y1 = view.placed(box.box)
    wide, high = text_width(words, size) + 0.7 * size, 1.35 * size
    left = min(max((x0 + x1 - wide) / 2, 0), max(view.size[0] - wide, 0))
    top = y0 - high - 0.5 * size if y0 > high + 0.5 * size else min(y1 + 0.5 * size, view.size[1] - high)
    layer.box((left, top, left + wide, top + high), radius=0.3 * size, fill=LESION if box.lesion else LOOSE)
    layer.text((left + wide / 2, top + high / 2), words, size, INK, anchor="mm")


def _draw_sides(layer: Surface, view: View, size: float, *, low: bool = False) -> None:
    """The patient's right on the left, at the height of the middle."""
    y = view.size[1] / 2 + (0.12 * view.size[1] if low else -0.12 * view.size[1])
    for x, letter, anchor in ((0.6 * size, "R", "lm"), (view.size[0] - 0.6 * size, "L", "rm")):
        layer.text((x + 1, y + 1), letter, size, (0, 0, 0), anchor=anchor)
        layer.text((x, y), letter, size, TEXT, anchor=anchor)


def _draw_scale(layer: Surface, view: View, size: float, *, right: bool = False) -> None:
    """A bar of whole centimetres at the bottom."""
    length = next((mm for mm in SCALE_MM if mm * view.scale <= view.size[0] / 3), SCALE_MM[-1])
    wide, y = length * view.scale, view.size[1] - 0.9 * size
    left = view.size[0] - 0.9 * size - wide if right else 0.9 * size
    for shift, colour in ((1, (0, 0, 0)), (0, TEXT)):
        layer.line((left + shift, y + shift), (left + wide + shift, y + shift), colour, max(1.5, size / 8))
        layer.text((left + wide / 2 + shift, y - 0.8 * size + shift), f"{length} mm", size, colour, anchor="mm")
