"""A contact sheet: many faces of a folder at a glance, with short captions."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from semeia.data.formats.faces import FaceFolder
from semeia.records import PRESENT, FaceLabels, SemeiaError

_CAPTION_HEIGHT = 12


def contact_sheet(
    folder: str | Path, out: str | Path, *, count: int = 60, columns: int = 10, landmarks: bool = False
) -> Path:
    """Draw the first faces of a folder into one PNG.

    Args:
        folder: a folder of faces; it may still be growing.
        out: the picture, written whole or not at all.
        count: faces at most.
        columns: faces a row.
        landmarks: whether to draw the 68 landmarks.

    Returns:
        ``out``.

    Raises:
        SemeiaError: the folder holds no faces, or ``out`` cannot be written.
    """
    faces = FaceFolder(folder)
    shown = range(min(count, len(faces)))
    tiles = [_tile(faces.image(k), faces.labels(k), landmarks=landmarks) for k in shown]
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * height, min(columns, len(tiles)) * width, 3), 255, np.uint8)
    for k, tile in enumerate(tiles):
        top, left = k // columns * height, k % columns * width
        sheet[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    path = Path(out)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part.png")
    try:
        Image.fromarray(sheet).save(part, "PNG")
        part.replace(path)
    except OSError as error:
        raise SemeiaError(
            f"{path}: cannot be written ({error.strerror or error}); name a place you may write to"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _tile(image: np.ndarray, labels: FaceLabels, *, landmarks: bool) -> np.ndarray:
    """(H + caption, W, 3) picture of one face with its caption below."""
    tile = Image.new("RGB", (image.shape[1], image.shape[0] + _CAPTION_HEIGHT), "white")
    picture = Image.fromarray(image)
    if landmarks and labels.landmarks is not None:
        ImageDraw.Draw(picture).point([(float(x), float(y)) for x, y in labels.landmarks], fill=(0, 255, 0))
    tile.paste(picture)
    ImageDraw.Draw(tile).text((1, image.shape[0]), caption(labels), fill="black")
    return np.asarray(tile)


def caption(labels: FaceLabels) -> str:
    """Expression, or else the present action units without "AU"; then the age, and the side of a palsy."""
    units = sorted(labels.au_intensity, key=lambda unit: -labels.au_intensity[unit])
    present = "+".join(unit.removeprefix("AU") for unit in units if labels.au_intensity[unit] >= PRESENT)
    words = [labels.expression or present[:11] or "-"]
    if labels.age is not None:
        words.append(f"{labels.age:.0f}")
    if labels.palsy_side is not None:
        words.append(f"P{labels.palsy_side[0].upper()}")
    return " ".join(words)
