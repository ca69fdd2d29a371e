"""The wall of the body: skin, fat, muscles and the planes between them, arms, the table below."""

from __future__ import annotations

import numpy as np

from semeia.data.synthetic.slabs.canvas import Canvas
from semeia.data.synthetic.slabs.outlines import POINTS, Oval, ellipsoid, grown, halves, normals, ovals
from semeia.data.synthetic.slabs.tissue import Tissue, hosts

WALL = halves({
    -30: [(0, -76), (55, -92), (110, -86), (150, -50), (162, 0), (148, 50), (105, 96), (50, 106), (8, 82)],
    10: [(0, -84), (60, -95), (113, -85), (152, -46), (165, 2), (148, 55), (102, 98), (48, 108), (7, 86)],
    50: [(0, -95), (60, -98), (115, -80), (150, -40), (160, 5), (140, 60), (95, 98), (45, 108), (5, 94)],
    110: [(0, -92), (60, -90), (115, -68), (142, -25), (146, 15), (125, 60), (85, 90), (40, 99), (5, 96)],
    170: [(0, -85), (55, -84), (105, -62), (134, -20), (137, 20), (119, 57), (80, 86), (38, 96), (5, 90)],
    240: [(0, -88), (55, -88), (108, -66), (136, -22), (140, 20), (122, 60), (80, 88), (38, 97), (5, 90)],
    320: [(0, -100), (58, -98), (112, -74), (143, -25), (148, 20), (130, 62), (85, 92), (40, 100), (5, 94)],
    400: [(0, -108), (60, -104), (115, -78), (149, -28), (154, 15), (137, 62), (90, 95), (42, 104), (5, 98)],
    460: [(0, -106), (60, -107), (118, -88), (155, -42), (161, 12), (144, 62), (95, 98), (45, 105), (5, 100)],
    510: [(0, -92), (60, -100), (125, -86), (166, -42), (174, 10), (154, 56), (100, 92), (45, 100), (5, 96)],
    560: [(0, -62), (50, -72), (118, -62), (170, -28), (180, 8), (160, 46), (100, 78), (45, 90), (5, 90)],
    600: [(0, -52), (35, -52), (62, -35), (75, -5), (75, 25), (66, 50), (48, 68), (28, 78), (5, 82)],
}, (10, 10))  # fmt: skip
"""Outer surface of the muscles."""

CAVITY = halves({
    0: [(0, -48), (24, -50), (42, -34), (46, 0), (42, 32), (30, 55), (12, 66), (4, 68)],
    30: [(0, -58), (30, -58), (54, -36), (56, 0), (50, 35), (34, 62), (14, 74), (4, 76)],
    70: [(0, -74), (45, -75), (85, -56), (92, -20), (74, 12), (62, 36), (44, 56), (15, 62)],
    110: [(0, -78), (50, -78), (98, -56), (114, -22), (106, 10), (82, 30), (50, 40), (14, 28)],
    170: [(0, -74), (50, -74), (96, -54), (119, -18), (119, 18), (99, 42), (64, 52), (20, 32)],
    240: [(0, -77), (50, -77), (98, -57), (122, -18), (125, 18), (108, 48), (74, 66), (24, 38)],
    320: [(0, -87), (52, -86), (100, -64), (128, -22), (132, 16), (119, 50), (84, 71), (26, 46)],
    400: [(0, -92), (52, -89), (100, -68), (131, -26), (136, 14), (124, 52), (86, 77), (27, 60)],
    460: [(0, -86), (52, -85), (98, -67), (125, -28), (130, 12), (118, 52), (82, 77), (27, 62)],
    510: [(0, -70), (48, -71), (86, -57), (108, -24), (112, 10), (101, 46), (68, 71), (25, 56)],
    545: [(0, -50), (38, -54), (64, -41), (82, -15), (86, 10), (76, 38), (51, 57), (20, 43)],
    570: [(0, -32), (22, -34), (42, -22), (54, -4), (56, 12), (48, 30), (32, 41), (14, 32)],
}, (25, 12))  # fmt: skip
"""Inner surface of the wall: peritoneum, pleura, pelvic floor."""

_ONTO_MUSCLE = hosts(Tissue.MUSCLE)
_OFF = hosts(Tissue.AIR, Tissue.FAT, Tissue.SKIN)
_SIDE = np.abs(np.sin(np.arange(POINTS) / POINTS * 2 * np.pi))  # 0 in front and at the back, 1 aside
_BACK = (1 - np.cos(np.arange(POINTS) / POINTS * 2 * np.pi)) / 2


def paint_walls(canvas: Canvas) -> None:
    """Paint table, skin, fat, muscles and, inside, the fat of the cavities."""
    person, muscle = canvas.person, canvas.level("muscle")
    wall, shown = WALL.at(canvas.z)
    rng = person.stream("fat")
    belly = np.exp(-(((canvas.z - 170) / 120) ** 2))[:, None]  # (K, 1)
    front = 1.15 + 0.35 * (person.sex == "M") * belly
    depth = person.fat * (front * (1 - _BACK) * (1 - _SIDE) + 0.85 * _SIDE + 0.75 * _BACK * (1 - _SIDE))
    depth = depth * (0.75 + 0.45 * belly) + 2.5  # (K, P)
    waves = rng.normal(0, 0.06, 4)
    depth = depth * (1 + sum(a * np.sin((k + 2) * np.arange(POINTS) / POINTS * 2 * np.pi) for k, a in enumerate(waves)))
    skin = grown(wall, depth)
    back = np.quantile(skin[shown][..., 1], 0.985) - 0.12 * person.fat - 3 if shown.any() else 110.0
    skin[..., 1] = _pressed(skin[..., 1], back)  # the back lies flat on the table
    _table(canvas, back)
    if canvas.scan.arms:
        _arms(canvas, muscle)
    if person.sex == "F":
        _breasts(canvas)
    canvas.fill((skin, shown), 5, Tissue.SKIN)
    canvas.fill((skin, shown), -104, Tissue.FAT, grow=-1.6)
    wall = wall.copy()
    wall[..., 1] = np.minimum(wall[..., 1], back - 3.5)
    canvas.fill((wall, shown), muscle, Tissue.MUSCLE)
    _planes(canvas, wall, shown)
    cavity, inside = CAVITY.at(canvas.z)
    chest = canvas.z > 300
    canvas.fill((cavity, inside & chest), -95, Tissue.MEDIASTINUM)
    canvas.fill((cavity, inside & ~chest), -98, Tissue.MESENTERY)


def _pressed(y: np.ndarray, back: float) -> np.ndarray:
    """Heights above ``back`` bent so that they stay just above it."""
    over = np.maximum(y - (back - 8), 0)
    return np.where(over > 0, back - 8 + 8 * np.tanh(over / 8), y)


def _table(canvas: Canvas, top: float) -> None:
    """A curved couch of foam in a thin shell."""
    rng = canvas.person.stream("table")
    hollow, wide = rng.uniform(0, 14), rng.uniform(190, 235)
    across = np.linspace(-wide, wide, POINTS // 2)
    upper = np.stack([across, top + 2.5 - 1.5 * hollow * (across / wide) ** 2], 1)
    lower = upper[::-1] + np.array([0, rng.uniform(22, 40)])
    lower[:, 0] *= 0.92
    outline = np.broadcast_to(np.concatenate([upper, lower]), (len(canvas.z), POINTS, 2))
    shown = np.ones(len(canvas.z), bool)
    canvas.fill((outline, shown), rng.uniform(-150, 40), Tissue.TABLE, rigid=True)
    canvas.fill((outline, shown), rng.uniform(-960, -900), Tissue.TABLE, grow=-2.2, rigid=True)
    if rng.random() < 0.6:  # a blanket or mattress on it
        cloth = np.concatenate([upper - (0, 2.5), upper[::-1] - (0, 1)])
        canvas.fill((np.broadcast_to(cloth, outline.shape), shown), -880, Tissue.TABLE, rigid=True)


def _arms(canvas: Canvas, muscle: float) -> None:
    rng = canvas.person.stream("arms")
    for side in (-1, 1):
        x, y = side * (186 + 1.0 * canvas.person.fat + rng.uniform(0, 8)), 25 + rng.uniform(-10, 25)
        if canvas.scan.height > 440:
            x -= side * 14
        levels: dict[float, Oval] = {
            -60: (x, y, 20, 17, 0),
            150: (x, y, 27, 24, 0),
            330: (x, y, 34, 36, 0),
            560: (x, y, 40, 44, 0),
        }
        arm = ovals(levels, (5, 5))
        canvas.fill(arm, 5, Tissue.SKIN)
        canvas.fill(arm, -104, Tissue.FAT, grow=-1.6)
        canvas.fill(arm, muscle, Tissue.MUSCLE, grow=-4 - 0.25 * canvas.person.fat)
        shafts = [(0.0, 0.0, 10.0)] if canvas.scan.height > 300 else [(-8.0, -4.0, 6.5), (8.0, 5.0, 6.5)]
        for dx, dy, radius in shafts:
            line = np.array([[x + dx, y + dy, -100], [x + dx, y + dy, 620]])
            canvas.tube(line, radius + 2, -60, Tissue.PLANE)
            canvas.tube(line, radius, 1100, Tissue.CORTEX)
            canvas.tube(line, radius * 0.45, 60, Tissue.MARROW)


def _breasts(canvas: Canvas) -> None:
    rng = canvas.person.stream("breasts")
    size = rng.uniform(0.75, 1.15) * (1 + 0.012 * (canvas.person.fat - 14))
    dense = rng.uniform(0, 1)
    for side in (-1, 1):
        x, y = side * (74 + 4 * size), -104 - 0.8 * canvas.person.fat
        breast = ellipsoid((x, y, 418), (54 * size, 36 * size, 58), side * 14)
        canvas.fill(breast, 5, Tissue.SKIN)
        canvas.fill(breast, -102, Tissue.FAT, grow=-1.6)
        if dense > 0.25:
            gland = ellipsoid((x + side * 2, y - 10 * size, 418), (30 * size * dense, 20 * size * dense, 36), side * 20)
            canvas.fill(canvas.own(gland, f"gland {side}", ripple=0.08), 20 * dense - 15, Tissue.GLAND)


def _stroke(  # noqa: PLR0917 - a table of calls below
    canvas: Canvas, line: np.ndarray, width: float, low: float, high: float, value: float = -70
) -> None:
    """A sheet of fat between muscles: a course (Q, 2) in mm that stands along z between two heights."""
    heights = canvas.z[(canvas.z > low) & (canvas.z < high)]
    if not len(heights):
        return
    ends = np.concatenate([line[:-1], line[1:]], 1)  # (Q - 1, 4)
    a, b = np.repeat(ends[:, :2], len(heights), 0), np.repeat(ends[:, 2:], len(heights), 0)
    z = np.tile(heights, len(ends))[:, None]
    step = canvas.scan.thickness / canvas.scan.planes
    # Flat tubes stay in their plane.
    canvas.tubes(np.concatenate([a, z, b, z, np.full((len(z), 2), width / 2)], 1), value, Tissue.PLANE, _ONTO_MUSCLE,
                 flatness=max(width / step, 1.0) * 1.2)  # fmt: skip


def _planes(canvas: Canvas, wall: np.ndarray, shown: np.ndarray) -> None:
    """Fat between the muscles of the back, the flank, the chest and the buttocks."""
    muscle, rng = canvas.level("muscle"), canvas.person.stream("planes")
    cavity, _ = CAVITY.at(canvas.z)
    for k in np.flatnonzero(shown):
        z = canvas.z[k]
        if 140 < z < 330:
            _layers(canvas, wall[k], cavity[k], z, rng_width=float(0.9 + 0.03 * canvas.person.fat))
    for side in (-1, 1):
        # The long muscles of the back in their sheath, and the one that lies between them and the spine.
        back = ovals({
            60: (side * 22, 84, 14, 9, 0), 110: (side * 30, 76, 22, 14, side * 12),
            200: (side * 36, 70, 27, 17, side * 8), 300: (side * 36, 76, 27, 15, side * 12),
            420: (side * 32, 88, 24, 10, side * 10), 540: (side * 28, 80, 20, 12, side * 6),
        }, (10, 30))  # fmt: skip
        back = canvas.own(back, f"back {side}", shift=1.0)
        canvas.fill(back, -75, Tissue.PLANE, _ONTO_MUSCLE, grow=1.2)
        canvas.fill(back, muscle, Tissue.MUSCLE, hosts(Tissue.PLANE, Tissue.MUSCLE))
        x = np.linspace(0, 1, 10)[:, None]
        course = (
            np.array([side * 14, 52]) * (1 - x)
            + np.array([side * 17, 90]) * x
            + np.array([side * 5, 0]) * np.sin(np.pi * x)
        )
        _stroke(canvas, course, 1.6, 110, 330)
        # Buttocks: one plane below the large muscle, one below the middle one.
        bow = np.array([[34, 84], [70, 76], [102, 58], [128, 30], [144, 2]]) * (side, 1)
        _stroke(canvas, bow + np.array([0, rng.normal(0, 2)]), 2.4 + 0.1 * canvas.person.fat, 15, 125, -92)
        _stroke(canvas, np.array([[92, 44], [114, 24], [130, -6], [128, -40]]) * (side, 1), 1.8, 40, 120, -85)
        # Front of the thigh and hip.
        _stroke(canvas, np.array([[70, -70], [92, -52], [112, -48], [136, -40]]) * (side, 1), 2.5, -40, 60, -88)
        _stroke(canvas, np.array([[48, -70], [50, -45], [62, -30], [80, -34]]) * (side, 1), 2.2, -40, 40, -88)
        # Chest: below the pectoral muscles, below the shoulder blade, before the broad muscle of the back.
        _stroke(canvas, np.array([[30, -97], [70, -93], [104, -82], [132, -58]]) * (side, 1), 2.0, 425, 535, -85)
        _stroke(canvas, np.array([[140, -46], [147, -10], [147, 20], [136, 52]]) * (side, 1), 1.8, 370, 500, -80)
        _stroke(canvas, np.array([[60, 94], [100, 84], [128, 68]]) * (side, 1), 1.6, 380, 540, -75)
        # Armpit and groin.
        pit = ovals({455: (side * 140, -35, 6, 14, 0), 500: (side * 138, -32, 17, 24, side * -20),
                     540: (side * 128, -26, 26, 17, 0)}, (15, 12))  # fmt: skip
        canvas.fill(canvas.own(pit, f"pit {side}"), -98, Tissue.POCKET, _ONTO_MUSCLE)
        groin = ovals({-30: (side * 56, -66, 18, 12, 0), 20: (side * 60, -70, 26, 15, side * 18),
                       60: (side * 74, -76, 18, 8, side * 25)}, (10, 12))  # fmt: skip
        canvas.fill(canvas.own(groin, f"groin {side}"), -98, Tissue.POCKET, _ONTO_MUSCLE)
        fossa = ovals({-30: (side * 30, 62, 15, 24, side * -20), 10: (side * 34, 66, 13, 20, side * -25)}, (10, 18))
        canvas.fill(canvas.own(fossa, f"fossa {side}"), -100, Tissue.POCKET, _ONTO_MUSCLE)


def _layers(canvas: Canvas, wall: np.ndarray, cavity: np.ndarray, z: float, *, rng_width: float) -> None:
    """Three sheets of the flank, and the straight muscles of the belly with the seam between them."""
    step = canvas.scan.thickness / canvas.scan.planes
    flat = 1.3 * max(rng_width * 2 / step, 1.0)
    quarter = POINTS // 4
    for share in (0.36, 0.68):
        line = wall + (cavity - wall) * share
        for places in (
            np.arange(quarter // 2 + 2, quarter + 8),
            np.arange(POINTS - quarter - 8, POINTS - quarter // 2 - 2),
        ):
            points = np.concatenate([line[places], np.full((len(places), 1), z)], 1)
            canvas.tube(points, rng_width / 1.6, -55, Tissue.PLANE, _ONTO_MUSCLE, flatness=flat)
    for place in (0, quarter // 2, POINTS - quarter // 2):
        across = np.linspace(0.02, 0.98, 4)[:, None]
        points = np.concatenate([wall[place] * (1 - across) + cavity[place] * across, np.full((4, 1), z)], 1)
        canvas.tube(points, 1.3 * rng_width, -60, Tissue.PLANE, _ONTO_MUSCLE, flatness=flat)


def ring_course(fraction: np.ndarray, z: np.ndarray, side: int, out: float) -> np.ndarray:
    """(Q, 3) points on the cage of the chest, ``out`` mm outside the cavity.

    Args:
        fraction: (Q,) 0 at the spine, 1 at the middle of the front.
        z: (Q,) heights.
        side: 1 left, -1 right.
        out: millimetres.
    """
    outlines, _ = CAVITY.at(z)
    outlines = outlines + out * normals(outlines)
    place = (0.5 - 0.5 * side * fraction) % 1 * POINTS
    first = np.floor(place).astype(int)
    share = (place - first)[:, None]
    row = np.arange(len(z))
    points = outlines[row, first % POINTS] * (1 - share) + outlines[row, (first + 1) % POINTS] * share
    return np.concatenate([points, z[:, None]], 1)
