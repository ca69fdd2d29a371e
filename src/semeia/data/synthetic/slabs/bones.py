"""Bones: spine, ribs, breastbone, shoulder, pelvis, hips. Each has a shell and marrow."""

from __future__ import annotations

import numpy as np

from semeia.data.synthetic.slabs.canvas import Canvas, bend
from semeia.data.synthetic.slabs.outlines import (
    Loft,
    Points,
    bands,
    ellipsoid,
    grown,
    halves,
    oval,
    ovals,
)
from semeia.data.synthetic.slabs.tissue import Tissue, hosts
from semeia.data.synthetic.slabs.walls import ring_course

VERTEBRAE = {
    "L5": 130, "L4": 168, "L3": 205, "L2": 241, "L1": 275, "T12": 305, "T11": 332, "T10": 358, "T9": 383, "T8": 407,
    "T7": 430, "T6": 452, "T5": 473, "T4": 494, "T3": 515, "T2": 535, "T1": 555, "C7": 573, "C6": 590,
}  # fmt: skip
"""z of the middles of the bodies."""

_DEPTH = np.array([(85, 66), (110, 46), (130, 38), (205, 30), (260, 36), (305, 45), (350, 53), (407, 60), (450, 60),
                   (494, 54), (530, 44), (555, 36), (590, 30)], float)  # fmt: skip
_MARROW_ONTO = hosts(Tissue.CORTEX)


def spine_depth(z: np.ndarray | float) -> np.ndarray:
    """Y of the middles of the vertebral bodies at heights z."""
    return np.interp(z, _DEPTH[:, 0], _DEPTH[:, 1])


def bone(
    canvas: Canvas, shape: Loft | tuple[np.ndarray, np.ndarray], *, shell: float = 1.6, hard: float = 620.0
) -> None:
    """A bone with a shell of some millimetres and marrow inside."""
    outlines, shown = shape.at(canvas.z) if isinstance(shape, Loft) else shape
    canvas.fill((outlines, shown), hard, Tissue.CORTEX)
    canvas.fill((grown(outlines, -shell), shown), canvas.person.marrow, Tissue.MARROW, _MARROW_ONTO)


def paint_bones(canvas: Canvas) -> None:
    """Paint all bones that the slab meets."""
    low, high = canvas.z[0], canvas.z[-1]
    if high > 105:
        _spine(canvas)
    if high > 230:
        _ribs(canvas)
    if high > 380:
        _breastbone(canvas)
    if high > 425:
        _shoulders(canvas)
    if low < 190:
        _pelvis(canvas)


def _spine(canvas: Canvas) -> None:
    names = list(VERTEBRAE)
    for number, name in enumerate(names):
        z = VERTEBRAE[name]
        above = VERTEBRAE[names[number + 1]] if number + 1 < len(names) else z + 17
        below = VERTEBRAE[names[number - 1]] if number else z - 34
        if canvas.z[-1] < below - 5 or canvas.z[0] > above + 5:
            continue
        _vertebra(canvas, name, z, below=(z + below) / 2, above=(z + above) / 2)


def _vertebra(canvas: Canvas, name: str, z: float, *, below: float, above: float) -> None:
    """One vertebra and the disc above it; the arch with its processes is drawn as tubes."""
    rng = canvas.person.stream("vertebra " + name)
    size = float(np.interp(z, [130, 300, 450, 555], [1.0, 0.9, 0.7, 0.62]))
    wide, deep = 25 * size * rng.normal(1, 0.03), 17.5 * size * rng.normal(1, 0.03)
    inside = (canvas.z > below - 1) & (canvas.z < above + 1)
    if not inside.any():
        return
    gap = 4.5 if z < 310 else 2.5
    # Waisted: the end plates are wider than the middle.
    t = np.clip((canvas.z - z) / ((above - below) / 2), -1, 1)
    waist = (0.93 + 0.1 * t**2)[:, None, None]
    body = oval(0, 0, wide, deep, power=2.6)
    body[:, 1] -= (
        0.16 * deep * np.exp(-((body[:, 0] / (0.4 * wide)) ** 2)) * (body[:, 1] > 0)
    )  # hollow towards the canal
    moving = np.stack([np.zeros_like(canvas.z), spine_depth(canvas.z)], 1)[:, None]
    outlines = body * waist + moving
    solid = inside & (canvas.z > below + gap / 2) & (canvas.z < above - gap / 2)
    plate = solid & ((canvas.z < below + gap / 2 + 2.2) | (canvas.z > above - gap / 2 - 2.2))
    canvas.fill((outlines, inside & ~solid), 88, Tissue.DISC, grow=0.5)
    bone(canvas, (outlines, solid), shell=1.3, hard=420)
    canvas.fill((outlines, plate), canvas.person.marrow + 130, Tissue.MARROW, _MARROW_ONTO, grow=-1.3)
    _arch(canvas, name, z, wide=wide, deep=deep, height=above - below)


def _arch(canvas: Canvas, name: str, z: float, *, wide: float, deep: float, height: float) -> None:
    """Pedicles, laminae, processes and the canal with its cord or sac."""
    rng, y = canvas.person.stream("arch " + name), float(spine_depth(z))
    lumbar, back = z < 300, y + deep
    hole = 11.5 if lumbar else 9.0
    parts: list[tuple[list[tuple[float, float, float]], tuple[float, ...]]] = []
    for side in (-1, 1):
        foot, corner = (side * 0.62 * wide, back - 2, z + 4), (side * (hole + 4.5), back + 9, z + 2)
        parts.append(([foot, corner], (4.2, 4.4)))
        parts.append(([corner, (side * 5, back + 19, z - height * 0.25)], (4.4, 3.0)))
        if lumbar:
            tip = (side * (wide + 20 + rng.normal(0, 2)), back + 5, z + 1)
        else:
            tip = (side * (wide + 15), back + 21, z + 4)
        parts.append(([corner, tip], (4.2, 2.6)))
        joint = side * (hole + 6.5)
        parts.append(([(joint, back + 9, z), (joint + side * 3, back + 13, z - height * 0.55)], (5, 6)))
    if lumbar:
        parts.append(([(0, back + 19, z - 3), (0, back + 40, z - height * 0.35)], (4.2, 4.4)))
    else:
        parts.append(([(0, back + 17, z - 2), (rng.normal(0, 1), back + 34, z - height * 1.1)], (4, 3.2)))
    for points, radii in parts:
        canvas.tube(np.array(points), radii, 560, Tissue.CORTEX, flatness=0.75)
    for points, radii in parts:
        canvas.tube(np.array(points), np.array(radii) - 1.5, canvas.person.marrow + 50, Tissue.MARROW, _MARROW_ONTO,
                    flatness=0.75)  # fmt: skip
    inside = np.abs(canvas.z - z) <= height / 2 + 0.6
    canal = oval(0, 0, hole, 8.0 if lumbar else 8.5, power=2.4)
    moving = np.stack([np.zeros_like(canvas.z), spine_depth(canvas.z) + deep + 8.0], 1)[:, None]
    canvas.fill((canal + moving, inside), -20, Tissue.CANAL)
    canvas.fill((canal * (0.8, 0.85) + moving, inside), 14, Tissue.CANAL)
    if z > 270:
        canvas.fill((oval(0, 0, 5.6, 4.4) + moving, inside), 38, Tissue.CANAL)


def _ribs(canvas: Canvas) -> None:
    """Twelve pairs, each falling from the spine to the front; the first seven to ten end in cartilage."""
    heads = [VERTEBRAE[f"T{k}"] + 8 for k in range(1, 13)]
    onto = hosts(Tissue.MUSCLE, Tissue.PLANE, Tissue.POCKET, Tissue.FAT, Tissue.MEDIASTINUM, Tissue.MESENTERY)
    reach = (0.86, 0.88, 0.88, 0.87, 0.86, 0.84, 0.80, 0.74, 0.68, 0.62, 0.42, 0.26)
    fall = (26, 42, 54, 64, 70, 76, 80, 82, 80, 74, 46, 30)
    for side in (-1, 1):
        rng = canvas.person.stream(f"ribs {side}")
        for k in range(12):
            head, drop, end = (
                heads[k] + rng.normal(0, 1.5),
                fall[k] * rng.normal(1, 0.05),
                reach[k] + rng.normal(0, 0.01),
            )
            if head < canvas.z[0] - 12 or head - drop > canvas.z[-1] + 12:
                continue
            share = np.linspace(0, 1, 40)
            fraction = 0.075 + (end - 0.075) * share
            z = head + 3 * np.sin(np.pi * np.minimum(share * 4, 1)) - drop * share**1.15
            course = ring_course(fraction, z, side, 5.0)
            thick = np.interp(share, [0, 0.1, 0.5, 1], [4.4, 3.9, 3.9, 4.3])
            canvas.tube(course, thick, 640, Tissue.CORTEX, flatness=0.6)
            canvas.tube(course, thick - 1.6, canvas.person.marrow * 0.9, Tissue.MARROW, _MARROW_ONTO, flatness=0.6)
            # The neck, from the corner of the body of the vertebra.
            depth = float(spine_depth(head))
            neck = np.array([[side * 15, depth + 9, head - 3], course[0]])
            canvas.tube(neck, 4.0, 560, Tissue.CORTEX, onto, flatness=0.7)
            if k < 10:
                rest = np.linspace(0, 1, 14)
                target = 0.965 if k < 7 else min(end + 0.16, 0.95)
                zc = z[-1] + (6 + 5 * max(k - 3, 0)) * rest**1.5
                soft = ring_course(end + (target - end) * rest, zc, side, 5.0)
                hard = 90 + max(canvas.person.age - 45, 0) * rng.uniform(0, 4)
                canvas.tube(soft, 5.0, hard, Tissue.CARTILAGE, onto, flatness=0.7)


def _breastbone(canvas: Canvas) -> None:
    heights = np.array([378.0, 400, 440, 480, 498, 520, 532])
    front = np.interp(heights, [378, 400, 460, 510, 540], [-94, -99, -95, -82, -70])
    wide = np.array([6.0, 15, 18, 15, 17, 27, 24])
    thick = np.array([6.0, 10, 10, 10, 12, 14, 14])
    levels = {
        float(z): (0.0, float(y), float(w), float(t / 2), 0.0)
        for z, y, w, t in zip(heights, front, wide, thick, strict=True)
    }
    bone(canvas, canvas.own(ovals(levels, (6, 4), power=3), "sternum", shift=1.0, ripple=0.02), shell=1.3, hard=480)


def _shoulders(canvas: Canvas) -> None:
    """Blades, collar bones and, with the arms up or down, the heads of the upper arms."""
    raised = not canvas.scan.arms
    for side in (-1, 1):
        out, turn = (14, 10) if raised else (0, 0)
        levels: dict[float, tuple[Points, float]] = {}
        for z, inner, outer, width in (
            (432, 96, 112, 5.5),
            (460, 84, 128, 4.5),
            (500, 76, 142, 4.5),
            (535, 72, 150, 6),
        ):
            course = [
                (side * (inner + out), 90 - turn * 0.2), (side * ((inner + outer) / 2 + out), 84 - turn * 0.5),
                (side * (outer + out * 0.8), 58 - turn),
            ]  # fmt: skip
            levels[float(z)] = (course, width)
        blade = canvas.own(bands(levels, (8, 12)), f"blade {side}", shift=2, ripple=0)
        canvas.fill(blade, 60, Tissue.MUSCLE, grow=3)
        bone(canvas, blade, shell=1.5, hard=560)
        spine = bend([(side * (84 + out), 96, 505), (side * (120 + out), 90, 528), (side * (158 + out * 0.4), 44, 556)])
        canvas.tube(spine, 4.6, 520, Tissue.CORTEX)
        canvas.tube(spine, 3, canvas.person.marrow, Tissue.MARROW, _MARROW_ONTO)
        collar = bend([(side * 17, -70, 537), (side * 52, -72, 548), (side * 100, -40, 562), (side * 146, 2, 572)])
        canvas.tube(collar, 6.2, 700, Tissue.CORTEX)
        canvas.tube(collar, 4, canvas.person.marrow, Tissue.MARROW, _MARROW_ONTO)
        head = ellipsoid((side * (160 if raised else 168), 10, 556), (23, 24, 24))
        bone(canvas, canvas.own(head, f"humerus {side}", shift=2), shell=1.6)
        glenoid = ellipsoid((side * (138 + out * 0.3), 26, 545), (10, 15, 16), side * 30)
        bone(canvas, glenoid, shell=1.8)


def _pelvis(canvas: Canvas) -> None:
    sacrum = halves({
        25: [(0, 82), (10, 83), (12, 88), (6, 93), (0.5, 94)],
        50: [(0, 72), (18, 74), (22, 82), (10, 92), (1, 95)],
        85: [(0, 52), (28, 55), (42, 66), (28, 80), (8, 90), (1, 94)],
        112: [(0, 32), (26, 32), (52, 48), (46, 66), (26, 76), (8, 86), (1, 90)],
        124: [(0, 26), (24, 24), (48, 44), (40, 56), (24, 60), (8, 64), (1, 66)],
    }, (15, 4))  # fmt: skip
    sacrum = canvas.own(sacrum, "sacrum", shift=1.5, ripple=0.01)
    bone(canvas, sacrum, shell=1.6, hard=480)
    depth = np.interp(canvas.z, [50, 85, 112, 124], [84, 75, 70, 62])
    canal = oval(0, 0, 11, 5) + np.stack([np.zeros_like(depth), depth], 1)[:, None]
    canvas.fill((canal, (canvas.z > 50) & (canvas.z < 125)), 0, Tissue.CANAL)
    for side in (-1, 1):
        for z, x, y in ((66, 16, 70), (88, 19, 62), (108, 22, 52)):
            canvas.fill(ellipsoid((side * x, y, z), (5, 6, 6)), -50, Tissue.CANAL)
        _hip(canvas, side)


def _hip(canvas: Canvas, side: int) -> None:
    """Wing, socket, pubis, sit bone, and the thigh bone with its head, neck and trochanter."""
    wing = bands({
        50: ([(62, 46), (72, 30), (84, 6), (96, -22)], 22), 72: ([(46, 64), (62, 44), (82, 12), (97, -26)], 15),
        100: ([(44, 66), (66, 47), (96, 16), (116, -32)], 12), 130: ([(50, 62), (78, 44), (108, 12), (122, -38)], 10),
        150: ([(66, 55), (90, 36), (114, 8), (124, -20)], 10), 166: ([(88, 38), (104, 22), (116, 4), (119, -6)], 8),
    }, (6, 7))  # fmt: skip
    front = [(90.0, -34.0, 42.0, 13.0), (66, -54, 20, 9), (34, -64, 8, 8), (9, -62, -3, 10)]
    low = [(88.0, 30.0, 32.0, 15.0), (74, 36, 8, 13), (62, 34, -26, 14)]
    ramus = [(12.0, -56.0, -10.0, 9.0), (34, -20, -24, 7), (58, 26, -30, 10)]
    flip = np.array([side, 1, 1, 1])
    if side < 0:
        wing = wing.mirrored()
    bone(canvas, wing, shell=1.8, hard=650)
    # The socket: the inner two thirds of a ball around the joint.
    centre = np.array([side * 88.0, 2, 22])
    ball = ellipsoid(centre, (34, 34, 34)).at(canvas.z)
    cup = ball[0].copy()
    cup[..., 0] = side * np.minimum(side * cup[..., 0], 96)
    for solid in (True, False):
        cut = 0.0 if solid else 1.9
        value, tissue = (680.0, Tissue.CORTEX) if solid else (canvas.person.marrow + 40, Tissue.MARROW)
        onto = hosts() if solid else _MARROW_ONTO
        canvas.fill((cup, ball[1]), value, tissue, onto, grow=-cut)
        for course in (front, low, ramus):
            line = bend(np.array(course) * flip)
            canvas.tube(line[:, :3], line[:, 3] - cut, value, tissue, onto, flatness=0.95)
    canvas.fill(ellipsoid(centre, (27, 27, 27)), 70, Tissue.MUSCLE)
    neck = [(88.0, 2.0, 22.0, 17.0), (112, 8, 10, 15), (126, 14, 0, 18), (128, 16, -40, 16)]
    greater = [(136.0, 16.0, 18.0, 11.0), (134, 18, -6, 14)]
    for cut, value, tissue, onto in (
        (0.0, 680.0, Tissue.CORTEX, hosts()),
        (1.8, canvas.person.marrow + 60, Tissue.MARROW, _MARROW_ONTO),
    ):
        canvas.fill(ellipsoid(centre, (24.5 - cut, 24.5 - cut, 24.5 - cut)), value, tissue, onto)
        for course in (neck, greater):
            line = bend(np.array(course) * flip)
            canvas.tube(line[:, :3], line[:, 3] - cut, value, tissue, onto)
