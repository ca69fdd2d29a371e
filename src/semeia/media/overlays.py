"""Pictures with readings drawn into them: boxes, labels and head axes, and where each label was looked for.

Shapes      H, W picture   F faces   S side of a crop   h, w attention grid
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import cos, radians, sin, sqrt

import numpy as np
from PIL import Image

from semeia.media.face_cards import add_cards, lay_out
from semeia.media.surface import DIM, INK, PAPER, TEXT, Colour, Surface, expression_colour, fitted, text_width
from semeia.media.wording import UNIT_NAMES
from semeia.records import Box, FaceReading, Pose

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

SMALLEST = 900
"""Pictures with a shorter long side are enlarged by a whole factor, so that type has room."""
LARGEST_FACTOR = 8
LEAST_TYPE = 11.0
"""Pixels; smaller type cannot be read."""
AXES: tuple[Colour, ...] = ((255, 92, 92), (120, 222, 120), (96, 200, 255))
"""Of the head: across, up, and where it looks."""
SHADE: Colour = (0, 0, 0, 90)
"""Under lines, so that they show on bright ground."""


def annotate(image: np.ndarray, faces: Sequence[FaceReading]) -> np.ndarray:
    """Draw what was read into a picture; faces are numbered from 1 in their order.

    One or a few faces get a box with a label, the axes of the head, and a card beside or below the picture; a crowd
    gets boxes and short labels alone. Pictures less than 900 pixels long are enlarged by a whole factor.

    Args:
        image: (H, W, 3) uint8.
        faces: What was read in it.

    Returns:
        (H', W', 3) uint8, the (enlarged) picture at its left top corner.
    """
    picture, factor = _enlarged(Image.fromarray(image))
    # With type of a 58th of the side a column of cards is two fifths of a square picture wide.
    unit = max(LEAST_TYPE, sqrt(picture.width * picture.height) / 58)
    boxes = [_corners(face.box, factor) for face in faces]
    layout = lay_out(faces, unit=unit, size=picture.size) if faces else None

    layer = Surface(picture.size, detail=_detail(picture.size))
    for face, box in zip(faces, boxes, strict=True):
        if layout is not None:
            _draw_axes(layer, face.pose, box)
        _draw_box(layer, box, expression_colour(face.expression_label), width=_line_width(box, unit))
    _draw_labels(layer, faces, boxes, unit=unit, size=picture.size, short=layout is None)
    if not faces:
        _draw_chip(layer, (unit, unit), "no face found", unit, DIM)

    marked = Image.alpha_composite(picture.convert("RGBA"), layer.finish()).convert("RGB")
    if layout is not None:
        thumbnails = [_thumbnail(picture, box) for box in boxes]
        marked = add_cards(marked, thumbnails, faces, layout, unit=unit)
    return np.asarray(marked)


def _enlarged(picture: Image.Image) -> tuple[Image.Image, int]:
    factor = min(-(-SMALLEST // max(picture.size)), LARGEST_FACTOR)
    if factor == 1:
        return picture, 1
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC), factor


def _detail(size: tuple[int, int]) -> int:
    """Fineness of the drawing: large pictures hide the steps of an edge, and would take gigabytes."""
    long = max(size)
    return 3 if long <= 1600 else 2 if long <= 3200 else 1


def _corners(box: Box, factor: int) -> Rectangle:
    return (box.x * factor, box.y * factor, (box.x + box.width) * factor, (box.y + box.height) * factor)


def _thumbnail(picture: Image.Image, box: Rectangle) -> Image.Image:
    """A square around the face, a little larger than its box; what lies outside the picture is black."""
    half = 0.6 * max(box[2] - box[0], box[3] - box[1], 1.0)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return picture.crop((round(x - half), round(y - half), round(x + half), round(y + half)))


def _line_width(box: Rectangle, unit: float) -> float:
    """Thin, and thinner around small faces."""
    return min(max(1.5, 0.16 * unit), max(1.2, 0.02 * (box[2] - box[0])))


def _draw_box(layer: Surface, box: Rectangle, colour: Colour, *, width: float) -> None:
    radius = 0.09 * min(box[2] - box[0], box[3] - box[1])
    halo = 0.5 * width
    outer = (box[0] - halo, box[1] - halo, box[2] + halo, box[3] + halo)
    layer.box(outer, radius=radius + halo, line=SHADE, width=width + 2 * halo)
    layer.box(box, radius=radius, line=colour, width=width)


def head_axes(pose: Pose) -> np.ndarray:
    """Where the axes of a head point on the picture.

    Pitch turns the head about its ears first, then yaw about the upright of the picture, then roll about the line of
    sight, as in ``records.Pose``.

    Args:
        pose: Degrees, signs as in ``records.Pose``.

    Returns:
        (3, 2), x to the right and y down, of unit vectors that point across (to the right of the picture when the head
        is frontal), up, and where the head looks (no length when it looks into the lens).
    """
    a, b, c = radians(pose.yaw), radians(pose.pitch), radians(pose.roll)
    # Columns are the images of across, up and forward, in the frame right, up, towards the camera.
    yaw = np.array([[cos(a), 0, -sin(a)], [0, 1, 0], [sin(a), 0, cos(a)]])
    pitch = np.array([[1, 0, 0], [0, cos(b), sin(b)], [0, -sin(b), cos(b)]])
    roll = np.array([[cos(c), -sin(c), 0], [sin(c), cos(c), 0], [0, 0, 1]])
    return (roll @ yaw @ pitch)[:2].T * [1.0, -1.0]


def _draw_axes(layer: Surface, pose: Pose, box: Rectangle) -> None:
    length = 0.3 * (box[2] - box[0])
    origin = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    width = max(1.5, 0.035 * length)
    axes = head_axes(pose)
    for under in (True, False):
        for (x, y), colour in zip(axes, AXES, strict=True):
            tip = (origin[0] + length * x, origin[1] + length * y)
            layer.line(origin, tip, SHADE if under else colour, 2 * width if under else width)
    tip = (origin[0] + length * axes[2, 0], origin[1] + length * axes[2, 1])
    layer.dot(tip, 1.6 * width, AXES[2])


def _draw_chip(layer: Surface, at: tuple[float, float], text: str, size: float, colour: Colour) -> None:
    width, height = _chip_size(text, size)
    layer.box((at[0], at[1], at[0] + width, at[1] + height), radius=0.35 * size, fill=colour)
    layer.text((at[0] + width / 2, at[1] + height / 2), text, size, INK, anchor="mm")


def _chip_size(text: str, size: float) -> tuple[float, float]:
    return text_width(text, size) + 0.9 * size, 1.55 * size


def _draw_labels(
    layer: Surface,
    faces: Sequence[FaceReading],
    boxes: Sequence[Rectangle],
    *,
    unit: float,
    size: tuple[int, int],
    short: bool,
) -> None:
    """A label for each face, where it covers least of the faces and of the labels already placed."""
    taken = list(boxes)
    for number, (face, box) in enumerate(zip(faces, boxes, strict=True), start=1):
        label = face.expression_label
        text = f"{number}  {label}" if short else f"{number}  {label}  {100 * face.expression[label]:.0f} %"
        type_size = min(unit, max(LEAST_TYPE, 0.17 * (box[2] - box[0]))) if short else unit
        chip = _chip_size(text, type_size)
        spot = min(_spots(box, chip, gap=0.35 * type_size, size=size), key=lambda s: _covered(s, taken))
        taken.append(spot)
        _draw_chip(layer, spot[:2], text, type_size, expression_colour(label))


def _spots(box: Rectangle, chip: tuple[float, float], *, gap: float, size: tuple[int, int]) -> Iterable[Rectangle]:
    """Places for a label around a box, the preferred first, pushed into the picture."""
    width, height = chip
    left, top, right, bottom = box
    middle = (left + right - width) / 2
    corners = [(x, y) for y in (top - gap - height, bottom + gap) for x in (left, right - width, middle)]
    corners += [(right + gap, top), (left - gap - width, top), (left + gap, bottom - gap - height)]
    for corner in corners:
        x = min(max(corner[0], 0.0), max(size[0] - width, 0.0))
        y = min(max(corner[1], 0.0), max(size[1] - height, 0.0))
        yield x, y, x + width, y + height


def _covered(spot: Rectangle, taken: Iterable[Rectangle]) -> float:
    """Area in square pixels that ``spot`` shares with the rectangles of ``taken``."""
    area = 0.0
    for other in taken:
        wide = min(spot[2], other[2]) - max(spot[0], other[0])
        high = min(spot[3], other[3]) - max(spot[1], other[1])
        area += max(wide, 0.0) * max(high, 0.0)
    return area


# ---------------------------------------------------------------------------------------------------------------------
# Attention

TILE = 240
COLUMNS = 6
CAPTION = 44
HEAT = np.array(
    [[20, 11, 52], [84, 15, 109], [158, 40, 100], [221, 81, 58], [250, 155, 12], [252, 230, 110]], dtype=np.float64
)
"""From cold to hot, evenly spaced; brightness grows all along, so that it reads in grey too."""


def attention(views: Sequence[tuple[np.ndarray, Mapping[str, np.ndarray]]]) -> np.ndarray:
    """Draw where a model looked for each label, as a sheet of tiles: the crop, then one tile a label.

    Each map is stretched from its least to its largest value: colours compare places, not labels.

    Args:
        views: For each crop (S, S, 3) uint8 the maps (h, w) by label, as ``predict.faces.explain`` answers.

    Returns:
        (H, W, 3) uint8; views stand below one another.
    """
    sheets = [
        [("crop", "", crop), *((label, UNIT_NAMES.get(label, ""), heat(crop, grid)) for label, grid in maps.items())]
        for crop, maps in views
    ]
    gap, step = 12, TILE + CAPTION
    columns = min(COLUMNS, max(len(tiles) for tiles in sheets))
    rows = sum(-(-len(tiles) // columns) for tiles in sheets)
    surface = Surface((gap + columns * (TILE + gap), gap + rows * (step + gap)), detail=2, ground=PAPER)
    line = 0
    for tiles in sheets:
        for i, (label, words, tile) in enumerate(tiles):
            x, y = gap + (i % columns) * (TILE + gap), gap + (line + i // columns) * (step + gap)
            picture = Image.fromarray(tile).resize((TILE, TILE), Image.Resampling.BICUBIC)
            surface.paste(picture, (x, y), radius=8)
            name = label.replace("_", " ")
            surface.text((x + 4, y + TILE + 20), name, 18, TEXT if words or i else DIM)
            start = text_width(name, 18) + 14
            surface.text((x + start, y + TILE + 20), fitted(words, 14, TILE - start), 14, DIM)
        line += -(-len(tiles) // columns)
    return np.asarray(surface.finish().convert("RGB"))


def heat(crop: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Lay a map over a picture in colours from cold to hot; what is cold stays a dim picture.

    Args:
        crop: (H, W, 3) uint8.
        grid: (h, w), any range; it is stretched to 0-1. A flat map is cold everywhere.

    Returns:
        (H, W, 3) uint8.
    """
    spread = float(grid.max() - grid.min())
    level = (grid - grid.min()) / spread if spread > 0 else np.zeros_like(grid)
    height, width = crop.shape[:2]
    smooth = Image.fromarray(level.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    level = np.clip(np.asarray(smooth, dtype=np.float64), 0, 1)  # (h, w) -> (H, W)
    stops = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(level, stops, HEAT[:, c]) for c in range(3)], axis=-1)
    share = 0.35 + 0.4 * level[..., None]
    return np.round(crop * (1 - share) + colours * share).astype(np.uint8)
