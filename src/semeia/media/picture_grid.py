"""Small pictures side by side: rows of the same kinds, with a heading over each column.

Shapes      S side of a picture
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from semeia.media.surface import DIM, PAPER, Surface, fitted

TILE, GAP, HEADING = 120, 8, 28


def picture_grid(rows: Sequence[Sequence[np.ndarray]], headings: Sequence[str]) -> np.ndarray:
    """Draw rows of pictures, all at one size.

    Args:
        rows: Of pictures (S, S, 3) uint8, as many in each row as there are headings.
        headings: Over the columns.

    Returns:
        (H, W, 3) uint8.
    """
    step = TILE + GAP
    surface = Surface((GAP + step * len(headings), HEADING + GAP + step * len(rows)), detail=2, ground=PAPER)
    for column, heading in enumerate(headings):
        surface.text((GAP + step * column + 2, HEADING / 2 + GAP / 2), fitted(heading, 13, TILE), 13, DIM)
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            tile = Image.fromarray(picture).resize((TILE, TILE), Image.Resampling.BICUBIC)
            surface.paste(tile, (GAP + step * column, HEADING + GAP + step * row), radius=4)
    return np.asarray(surface.finish().convert("RGB"))
