"""Small pictures side by side."""

import numpy as np

from semeia.media.picture_grid import GAP, HEADING, TILE, picture_grid


def test_pictures_stand_in_their_row_and_column():
    colours = [[(200, 0, 0), (0, 200, 0)], [(0, 0, 200), (90, 90, 90)], [(1, 2, 3), (250, 250, 250)]]
    rows = [[np.full((16, 16, 3), colour, np.uint8) for colour in row] for row in colours]
    sheet = picture_grid(rows, ("left", "right"))
    step = TILE + GAP
    assert sheet.shape == (HEADING + GAP + 3 * step, GAP + 2 * step, 3)
    for r, row in enumerate(colours):
        for c, colour in enumerate(row):
            y, x = HEADING + GAP + r * step + TILE // 2, GAP + c * step + TILE // 2
            assert tuple(sheet[y, x]) == colour
