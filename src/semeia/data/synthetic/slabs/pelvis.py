"""Bladder, organs of the two sexes, muscles of the pelvic wall, nodes of the groin."""

from __future__ import annotations

from semeia.data.synthetic.slabs.canvas import Canvas, bend
from semeia.data.synthetic.slabs.outlines import ellipsoid, ovals
from semeia.data.synthetic.slabs.tissue import Tissue, hosts

_FAT = hosts(Tissue.MESENTERY)


def paint_pelvis(canvas: Canvas) -> None:
    """Paint what lies in the pelvis besides bones, bowel and vessels."""
    if canvas.z[0] > 110:
        return
    rng, muscle = canvas.person.stream("pelvis"), canvas.level("muscle")
    for side in (-1, 1):
        inner = ovals({-20: (side * 46, 10, 8, 26, side * 12), 20: (side * 52, 8, 8, 30, side * 8),
                       60: (side * 66, 16, 7, 28, side * 10)}, (10, 14))  # fmt: skip
        canvas.fill(canvas.own(inner, f"obturator {side}", shift=1), muscle, Tissue.MUSCLE, _FAT)
        pear = bend([(side * 20, 72, 62, 8), (side * 56, 62, 48, 9), (side * 100, 36, 32, 6)])
        canvas.tube(pear[:, :3], pear[:, 3], muscle, Tissue.MUSCLE, _FAT)
        lift = bend([(side * 8, -40, -8, 3), (side * 34, 20, 8, 3), (side * 12, 66, 0, 3)])
        canvas.tube(lift[:, :3], lift[:, 3], muscle, Tissue.MUSCLE, _FAT, flatness=0.3)
        count = rng.integers(4, 10)
        spots = rng.uniform((46, -82, -10), (74, -58, 50), (count, 3)) * (side, 1, 1)
        radii = rng.uniform(2.0, 4.6, count)
        canvas.balls(spots, radii, canvas.level("node") - 10, Tissue.POCKET, hosts(Tissue.POCKET))
        canvas.balls(spots + 0.5, radii * 0.5, -60, Tissue.POCKET, hosts(Tissue.POCKET))
    full = rng.uniform(0.6, 1.15)
    bladder = canvas.own(ellipsoid((0, -30, 32 + 12 * full), (38 * full, 26 * full, 34 * full)), "bladder", size=0.06)
    canvas.fill(bladder, canvas.level("gut") - 15, Tissue.GUT_WALL, _FAT)
    canvas.fill(bladder, canvas.level("urine"), Tissue.URINE, hosts(Tissue.GUT_WALL), grow=-2.5 - 2 * (1 - full))
    level = canvas.level("genital")
    if canvas.person.sex == "F":
        womb = canvas.own(ellipsoid((rng.normal(0, 4), 10, 62), (26, 20, 26)), "womb", size=0.12)
        canvas.fill(womb, level + 10, Tissue.GENITAL, _FAT)
        canvas.fill(ellipsoid((0, 12, 20), (14, 12, 24)), level, Tissue.GENITAL, _FAT)
        for side in (-1, 1):
            ovary = canvas.own(ellipsoid((side * 40, 4, 70), (13, 9, 11)), f"ovary {side}", shift=4, size=0.15)
            canvas.fill(ovary, level - 25, Tissue.GENITAL, _FAT)
            for _ in range(rng.integers(0, 4)):
                spot = (side * 40 + rng.normal(0, 5), 4 + rng.normal(0, 3), 70 + rng.normal(0, 4))
                canvas.fill(ellipsoid(spot, rng.uniform(2, 5, 3)), 8, Tissue.GENITAL, hosts(Tissue.GENITAL))
    else:
        canvas.fill(canvas.own(ellipsoid((0, 8, 4), (25, 19, 22)), "prostate", size=0.12), level, Tissue.GENITAL, _FAT)
        for side in (-1, 1):
            sac = bend([(side * 4, 14, 26, 4), (side * 22, 20, 34, 6), (side * 34, 20, 38, 3)])
            canvas.tube(sac[:, :3], sac[:, 3], level - 25, Tissue.GENITAL, _FAT)
            cord = bend([(side * 30, -76, -20, 6), (side * 44, -84, 20, 5), (side * 58, -84, 52, 4)])
            canvas.tube(cord[:, :3], cord[:, 3], -60, Tissue.PLANE, hosts(Tissue.FAT, Tissue.MUSCLE, Tissue.POCKET))
            canvas.tube(cord[:, :3], cord[:, 3] * 0.4, 20, Tissue.PLANE, hosts(Tissue.PLANE))
