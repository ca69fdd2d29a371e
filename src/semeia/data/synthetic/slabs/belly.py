"""The solid organs of the belly, its great vessels, and the muscles behind them."""

from __future__ import annotations

import numpy as np

from semeia.data.synthetic.slabs.branches import grow_tree, places_in
from semeia.data.synthetic.slabs.canvas import Canvas, bend, uneven
from semeia.data.synthetic.slabs.outlines import ellipsoid, loft, oval, ovals
from semeia.data.synthetic.slabs.tissue import Tissue, hosts

LIVER = loft({
    352: [(62, -82), (84, -58), (58, -40), (14, -26), (-8, -12), (-19, 8), (-28, 32), (-44, 58), (-92, 84), (-150, 55),
          (-154, -10), (-118, -80), (-40, -100)],
    375: [(40, -78), (56, -60), (44, -40), (6, -24), (-14, -6), (-22, 18), (-30, 40), (-60, 74), (-100, 84), (-150, 55),
          (-154, -10), (-118, -80), (-40, -100)],
    405: [(-10, -60), (0, -45), (-4, -30), (-10, -15), (-18, 0), (-25, 20), (-35, 45), (-60, 70), (-100, 78),
          (-145, 50), (-150, -10), (-115, -75), (-40, -95)],
    328: [(48, -88), (68, -70), (44, -48), (4, -38), (-16, -24), (-25, -6), (-33, 20), (-48, 54), (-92, 80), (-145, 52),
          (-150, 0), (-118, -78), (-40, -98)],
    304: [(12, -88), (28, -70), (0, -52), (-26, -40), (-40, -24), (-36, -4), (-46, 24), (-58, 52), (-96, 76),
          (-142, 48), (-148, 0), (-118, -74), (-44, -95)],
    280: [(-22, -86), (-26, -62), (-44, -44), (-54, -28), (-52, -4), (-62, 24), (-80, 50), (-105, 64), (-140, 40),
          (-146, 0), (-130, -50), (-105, -72), (-60, -86)],
    255: [(-72, -76), (-72, -52), (-80, -30), (-84, -8), (-82, 16), (-96, 40), (-112, 48), (-128, 38), (-140, 20),
          (-142, -10), (-136, -36), (-122, -58), (-98, -72)],
    228: [(-106, -34), (-102, -20), (-103, -6), (-106, 8), (-110, 20), (-117, 28), (-126, 22), (-133, 10), (-136, -4),
          (-134, -18), (-129, -30), (-121, -38), (-113, -40)],
}, (18, 8))  # fmt: skip

SPLEEN = loft({
    382: [(66, 22), (90, 6), (112, 18), (116, 40), (98, 62), (76, 64), (66, 50), (64, 36)],
    352: [(80, 2), (106, -8), (128, 12), (122, 44), (97, 70), (70, 66), (86, 46), (94, 24)],
    322: [(90, -2), (113, -9), (131, 12), (123, 42), (98, 66), (78, 58), (94, 38), (100, 16)],
    298: [(100, 8), (116, 2), (127, 18), (122, 36), (108, 50), (96, 46), (104, 34), (106, 20)],
}, (12, 10))  # fmt: skip

_FAT = hosts(Tissue.MESENTERY)
_SOFT = hosts(Tissue.MESENTERY, Tissue.MEDIASTINUM, Tissue.PANCREAS, Tissue.MUSCLE, Tissue.SINUS)


def paint_belly(canvas: Canvas) -> None:
    """Paint what lies under the domes and above the pelvis, save the bowel."""
    if canvas.z[0] > 425:
        return
    _muscles(canvas)
    if canvas.z[-1] > 195:
        _liver(canvas)
        spleen = canvas.own(SPLEEN, "spleen", shift=3, size=0.08)
        canvas.fill(spleen, canvas.level("spleen"), Tissue.SPLEEN, _FAT)
        for side in (-1, 1):
            _kidney(canvas, side)
        _adrenals(canvas)
        _pancreas(canvas)
    _great_vessels(canvas)


def _muscles(canvas: Canvas) -> None:
    """Psoas, the square muscle of the loins, crura."""
    muscle = canvas.level("muscle")
    onto = hosts(Tissue.MESENTERY, Tissue.MUSCLE, Tissue.PLANE)
    grow = canvas.person.stream("psoas").normal(1.05, 0.12) * (0.9 if canvas.person.sex == "F" else 1.08)
    for side in (-1, 1):
        psoas = ovals({
            20: (side * 66, -44, 15, 12, 0), 80: (side * 62, -26, 17, 14, side * 20), 125: (side * 50, 4, 18, 18, 0),
            165: (side * 44, 24, 17, 19, side * -15), 205: (side * 39, 30, 14, 18, side * -15),
            245: (side * 33, 37, 9, 13, side * -15), 285: (side * 27, 44, 5, 7, 0),
        }, (10, 12)).moved(scale=grow)  # fmt: skip
        psoas = canvas.own(psoas, f"psoas {side}", shift=1)
        canvas.fill(psoas, -80, Tissue.PLANE, onto, grow=1.3)
        canvas.fill(psoas, muscle, Tissue.MUSCLE, onto)
        iliac = ovals({75: (side * 84, -18, 14, 10, side * 70), 110: (side * 98, -8, 24, 9, side * 60),
                       145: (side * 104, 8, 20, 7, side * 65)}, (12, 10))  # fmt: skip
        canvas.fill(canvas.own(iliac, f"iliac {side}", shift=1), muscle, Tissue.MUSCLE, hosts(Tissue.MESENTERY))
        square = ovals({172: (side * 74, 46, 15, 9, side * -18), 230: (side * 64, 54, 17, 9, side * -18),
                        285: (side * 52, 62, 13, 6, side * -15)}, (6, 12))  # fmt: skip
        square = canvas.own(square, f"square {side}", shift=1)
        canvas.fill(square, -80, Tissue.PLANE, onto, grow=1.2)
        canvas.fill(square, muscle, Tissue.MUSCLE, onto)
    for side, low in ((-1, 215), (1, 235)):
        line = bend(
            [(side * 12, 14, low, 3), (side * 14, 16, 275, 5), (side * 17, 22, 310, 6), (side * 20, 30, 340, 5)]
        )
        canvas.tube(
            line[:, :3], line[:, 3], muscle, Tissue.MUSCLE, hosts(Tissue.MESENTERY, Tissue.MEDIASTINUM), flatness=1
        )


def _liver(canvas: Canvas) -> None:
    """Liver with its veins, the fissure of the round ligament, and the gall bladder below."""
    rng = canvas.person.stream("liver")
    level = canvas.level("liver") - (rng.uniform(10, 45) if rng.random() < 0.2 else 0)  # some are fatty
    shape = canvas.own(LIVER, "liver shape", shift=3, size=0.05, ripple=0.015)
    canvas.fill(shape, level, Tissue.LIVER, hosts(Tissue.MESENTERY))
    if not (canvas.tissue == Tissue.LIVER).any():
        return
    cleft = ovals({290: (-8, -62, 5, 20, 8), 320: (6, -60, 3.5, 22, 14), 340: (12, -56, 2.5, 16, 18)}, (10, 8))
    canvas.fill(canvas.own(cleft, "cleft"), -70, Tissue.MESENTERY, hosts(Tissue.LIVER))
    groove = ovals({318: (-14, -16, 12, 2.2, -30), 345: (-4, -20, 16, 1.8, -24)}, (8, 6))
    canvas.fill(canvas.own(groove, "groove"), -50, Tissue.MESENTERY, hosts(Tissue.LIVER))
    # Vessels are named by their roots: the porta, and the cava under the dome.
    inside = canvas.tissue == Tissue.LIVER
    onto = hosts(Tissue.LIVER, Tissue.LIVER_VESSEL)
    grown_here = canvas.person.stream(f"liver vessels {canvas.scan.height:.0f}")
    litres = inside.sum() * canvas.scan.spacing**2 * canvas.scan.thickness / canvas.scan.planes / 1e6
    count = int(np.clip(110 * litres, 8, 80))
    for value, root, twig, thickest in (
        (canvas.level("vein"), (-20, 4, 388), 0.95, 5.5), (canvas.level("portal"), (-40, -14, 318), 0.9, 6.5),
    ):  # fmt: skip
        spots = canvas.unplace(places_in(grown_here, inside, count))
        if len(spots) > 2:
            tree = grow_tree(grown_here, np.array(root, float), spots, twig=twig, thickest=thickest)
            # Vessels fill with agent later than the blood around them in the first phase.
            canvas.tubes(tree, value, Tissue.LIVER_VESSEL, onto)
    bag = canvas.own(ellipsoid((-58, -54, 268), (13, 17, 28), -20), "bag", shift=4, size=0.15)
    if rng.random() < 0.85:
        onto = hosts(Tissue.LIVER, Tissue.MESENTERY, Tissue.LIVER_VESSEL)
        canvas.fill(bag, canvas.level("gut"), Tissue.GUT_WALL, onto)
        canvas.fill(bag, rng.uniform(2, 16), Tissue.BILE, hosts(Tissue.GUT_WALL), grow=-1.6)


def _kidney(canvas: Canvas, side: int) -> None:
    """A bean with cortex, pyramids, fat and pelvis; it leans outwards below and opens inwards and forwards."""
    rng = canvas.person.stream(f"kidney {side}")
    middle = (282 if side > 0 else 270) + rng.normal(0, 9)
    centre_y, half = 40 + rng.normal(0, 3), 54 * rng.normal(1, 0.06)
    width = rng.normal(1, 0.07)
    t = (canvas.z - middle) / half
    shown = np.abs(t) < 0.995
    if not shown.any():
        return
    scale = np.sqrt(np.clip(1 - np.abs(t) ** 2.4, 0, 1))[:, None, None]
    hilum = np.exp(-((t / 0.5) ** 2))[:, None]
    shape = oval(0, 0, 27 * width, 31 * width)
    angle = np.arctan2(shape[:, 1], -side * shape[:, 0])  # 0 inwards
    turn = -0.6  # towards the front
    dent = np.exp(-(((angle - turn) / 0.42) ** 2))
    waves = 1 + 0.02 * np.sin(5 * angle + rng.uniform(0, 6)) + 0.015 * np.sin(9 * angle + rng.uniform(0, 6))
    factor = (waves * (1 - 0.42 * hilum * dent))[..., None]  # (K, P, 1)
    x = side * (55 + 10 * np.clip(-t, -1, 1))
    centre = np.stack([x, centre_y - 4 * t], 1)[:, None]
    outline = centre + scale * factor * shape
    canvas.fill((outline, shown), canvas.level("cortex"), Tissue.KIDNEY, _FAT)
    kidney, sinus = hosts(Tissue.KIDNEY), (np.abs(t) < 0.62) & shown
    way = np.array([-side * np.cos(turn), np.sin(turn)])
    # Pyramids point from the cortex to the sinus.
    medulla, pyramids = canvas.level("medulla"), []
    for k in range(9):
        for level in (-0.55, 0.0, 0.55) if k % 2 else (-0.3, 0.3):
            a = np.pi + turn * side + (k - 4) * 0.55
            spot = np.array([np.cos(a) * -1, np.sin(a)])
            spot = np.array([side * abs(spot[0]) if abs(k - 4) < 3 else spot[0] * side, spot[1]])
            root = np.sqrt(max(1 - abs(level) ** 2.4, 0))
            at = (side * (55 - 10 * level) + 17 * root * spot[0], centre_y - 4 * level + 19 * root * spot[1],
                  middle + level * half)  # fmt: skip
            pyramids.append(at)
    spots = np.array(pyramids)
    canvas.balls(spots, np.full(len(spots), 6.6), medulla, Tissue.KIDNEY, kidney)
    fat = oval(0, 0, 13 * width, 15 * width, side * 10) + way * 9
    lobes = (1 + 0.16 * np.sin(4 * np.arange(len(fat)) / len(fat) * 2 * np.pi + rng.uniform(0, 6)))[:, None]
    inner = centre + scale * np.sqrt(np.clip(1 - (t / 0.65) ** 2, 0, 1))[:, None, None] * (
        (fat - way * 9) * lobes + way * 9
    )
    canvas.fill((inner, sinus), -75, Tissue.SINUS, kidney)
    basin = canvas.own(
        ellipsoid((side * (55 - 10), centre_y - 7, middle - 2), (9, 5, 17), side * 35), f"basin {side}", shift=1
    )
    canvas.fill(basin, canvas.level("pelvis"), Tissue.URINE, hosts(Tissue.SINUS))
    end = 60
    way_down = [(side * 38, centre_y - 10, middle - 14, 2.6), (side * 38, 16, 215, 1.8), (side * 40, 6, 150, 1.7),
                (side * 52, 15, end + 25, 1.8),
                (side * 30, 10, 42, 1.8)]  # fmt: skip
    line = uneven(canvas, f"ureter {side}", way_down)
    canvas.tube(line[:, :3], line[:, 3], (canvas.level("pelvis") + 30) / 2, Tissue.URINE, _FAT)
    for name, y, radius in (("vein", 0.0, 4.5), ("aorta", 4.0, 2.6)):
        start = (side * (4 if side > 0 else -12), y + 8, middle + 2, radius)
        line = uneven(
            canvas,
            f"renal {name} {side}",
            [start, (side * 25, 20 + y, middle + 2, radius), (side * 44, centre_y - 8, middle, radius * 0.7)],
        )
        canvas.tube(line[:, :3], line[:, 3], canvas.level(name), Tissue.BLOOD, hosts(Tissue.MESENTERY, Tissue.SINUS))


def _adrenals(canvas: Canvas) -> None:
    level, onto = canvas.level("adrenal"), hosts(Tissue.MESENTERY)
    for side, x, y in ((-1, -27, 22), (1, 36, 22)):
        low, high = (318, 342) if side < 0 else (312, 336)
        line = [(x, y - 9, low + 8), (x + side * 1, y, (low + high) / 2), (x + side * 7, y + 13, low)]
        canvas.tube(bend(line), 2.4, level, Tissue.ADRENAL, onto, flatness=0.35)
        line = [(x + side * 1, y, (low + high) / 2), (x - side * 3, y + 13, low + 3)]
        canvas.tube(bend(line), 2.1, level, Tissue.ADRENAL, onto, flatness=0.35)


def _pancreas(canvas: Canvas) -> None:
    """Head beside the duodenum, body before the vessels, tail towards the spleen; lobed, fattier with age."""
    rng = canvas.person.stream("pancreas")
    level = canvas.level("pancreas") - max(canvas.person.age - 50, 0) * rng.uniform(0, 1.2)
    line = uneven(canvas, "pancreas course", [(-30, -10, 244, 9), (-30, -14, 262, 14), (-10, -24, 276, 9.5),
                                              (16, -24, 288, 10),
                                              (44, -6, 300, 10.5), (76, 12, 312, 9)], 3)  # fmt: skip
    onto = hosts(Tissue.MESENTERY)
    canvas.tube(line[:, :3], line[:, 3] * 0.9, level, Tissue.PANCREAS, onto)
    at = line[rng.integers(len(line), size=110)]
    lobules = at[:, :3] + rng.normal(0, 0.55, (110, 3)) * at[:, 3:]
    for part in range(4):
        some = slice(part, None, 4)
        canvas.balls(lobules[some], rng.uniform(3, 5.5, 110)[some], level + rng.normal(0, 8), Tissue.PANCREAS, onto)
    if rng.random() < 0.4:
        duct = hosts(Tissue.PANCREAS)
        canvas.tube(line[4:, :3], 1.0, 15, Tissue.PANCREAS, duct)


def _great_vessels(canvas: Canvas) -> None:
    rng = canvas.person.stream("belly vessels")
    aorta, vein, portal = canvas.level("aorta"), canvas.level("vein"), canvas.level("portal")
    old = float(np.clip((canvas.person.age - 40) / 45, 0, 1))
    wide = rng.normal(1, 0.07) * (1 + 0.1 * old)

    def vessel(name: str, course: list[tuple[float, float, float, float]], value: float, chalk: bool = False) -> None:
        line = uneven(canvas, name, course)
        onto = hosts(Tissue.MESENTERY, Tissue.MEDIASTINUM, Tissue.MUSCLE, Tissue.PANCREAS, Tissue.LIVER, Tissue.POCKET,
                     Tissue.PLANE)  # fmt: skip
        if chalk:
            canvas.tube(line[:, :3], line[:, 3] + 1.0, 45, Tissue.BLOOD, onto)
        canvas.tube(line[:, :3], line[:, 3], value, Tissue.BLOOD, hosts(Tissue.BLOOD) | onto)
        for _ in range(rng.poisson(9 * old) if chalk else 0):
            at, a = line[rng.integers(len(line))], rng.uniform(0, 2 * np.pi)
            spot = at[:3] + at[3] * np.array([np.cos(a), np.sin(a), 0])
            turn = np.array([-np.sin(a), np.cos(a), rng.normal(0, 1)]) * rng.uniform(1, 3.5)
            canvas.tube(np.stack([spot - turn, spot + turn]), rng.uniform(0.8, 1.6), rng.uniform(500, 1000),
                        Tissue.BLOOD, hosts(Tissue.BLOOD, Tissue.MESENTERY))  # fmt: skip

    vessel("cava", [(-20, 0, 412, 11), (-21, 8, 375, 12), (-20, 14, 330, 11.5), (-17, 12, 290, 11.5),
                    (-15, 10, 240, 11), (-14, 12, 190, 10.5), (-12, 16, 164, 10)], vein)  # fmt: skip
    course = [(10, 17, 305, 9.8), (8, 10, 280, 9.5), (6, 5, 240, 9), (5, 5, 205, 8.6), (3, 8, 176, 8.4)]
    vessel("aorta", [(x, y, z, r * wide) for x, y, z, r in course], aorta, chalk=True)
    for side in (-1, 1):
        line = [(3, 8, 178, 6), (side * 20, 12, 152, 5.6), (side * 36, 14, 120, 5.4), (side * 47, -12, 82, 5),
                (side * 55, -42, 48, 4.8), (side * 54, -60, 15, 4.6), (side * 54, -62, -30, 4.4)]  # fmt: skip
        vessel(f"iliac artery {side}", [(x, y, z, r * wide) for x, y, z, r in line], aorta, chalk=True)
        vessel(f"iliac vein {side}", [(-12, 18, 166, 7.5), (side * 20, 24, 142, 6.8), (side * 38, 24, 116, 6.5),
                                      (side * 44, 0, 80, 6.2), (side * 46, -34, 48, 6),
                                      (side * 43, -54, 15, 5.6), (side * 44, -54, -30, 5)], vein)  # fmt: skip
        vessel(
            f"inner iliac {side}", [(side * 34, 16, 122, 3.8), (side * 46, 40, 95, 3.2), (side * 50, 50, 60, 2)], aorta
        )
        vessel(
            f"inner vein {side}", [(side * 36, 24, 118, 4.2), (side * 50, 44, 92, 3.5), (side * 54, 52, 60, 2.4)], vein
        )
        vessel(
            f"gonadal {side}", [(side * 34, 12, 250, 1.5), (side * 46, 10, 170, 1.6), (side * 52, 0, 110, 1.5)], vein
        )
        vessel(f"epigastric {side}", [(side * 42, -82, 60, 1.2), (side * 40, -76, 240, 1.3)], aorta)
    vessel("coeliac", [(9, 10, 292, 3.8), (8, -10, 296, 3.6), (-6, -18, 300, 2.6), (-26, -18, 306, 2.4)], aorta)
    vessel("splenic artery", [(8, -10, 296, 2.8), (30, -6, 302, 2.8), (54, 8, 308, 2.6), (84, 24, 318, 2.2)], aorta)
    vessel("mesenteric artery", [(7, 0, 280, 3.8), (4, -16, 265, 3.6), (3, -24, 235, 3.4), (-4, -30, 190, 2.6)], aorta)
    vessel(
        "mesenteric vein",
        [(-8, -34, 190, 4.2), (-7, -26, 235, 5), (-8, -20, 272, 5.6), (-24, -16, 298, 6.2), (-40, -14, 318, 6.2)],
        portal,
    )
    vessel("splenic vein", [(-8, -18, 274, 4.2), (16, -14, 286, 4.2), (48, 4, 300, 4), (84, 26, 316, 3.2)], portal)
    vessel("lower mesenteric", [(5, -4, 215, 1.8), (16, -2, 170, 1.6), (24, 10, 120, 1.5)], aorta)


def bowel_vessels(canvas: Canvas) -> None:
    """Branches of the mesenteric vessels to all places where there is fat among the bowel."""
    rng = canvas.person.stream(f"mesentery {canvas.scan.height:.0f}")
    fat = canvas.tissue == Tissue.MESENTERY
    middle = canvas.place(np.array([0.0, -20.0, canvas.scan.height]))
    reach = 88 / canvas.scan.spacing
    columns = np.abs(np.arange(canvas.scan.size) - middle[0]) < reach
    rows = np.arange(canvas.scan.size) < middle[1] + 18 / canvas.scan.spacing
    inside = fat & columns[None, None] & rows[None, :, None] & ((canvas.z > 60) & (canvas.z < 315))[:, None, None]
    if inside.sum() < 500:
        return
    onto = hosts(Tissue.MESENTERY)
    count = int(
        np.clip(inside.sum() * canvas.scan.spacing**2 * canvas.scan.thickness / canvas.scan.planes / 2200, 10, 90)
    )
    for value, root, twig in (
        (canvas.level("aorta"), (2, -26, 225), 0.55), (canvas.level("portal"), (-7, -26, 230), 0.75),
    ):  # fmt: skip
        spots = canvas.unplace(places_in(rng, inside, count))
        if len(spots) > 2:
            tree = grow_tree(rng, np.array(root, float), spots, twig=twig, thickest=3.2, wander=0.16)
            canvas.tubes(tree, value * 0.9, Tissue.MESENTERY, onto)
    few = rng.integers(3, 12)
    spots = rng.uniform((-70, -60, canvas.z[0]), (70, 5, canvas.z[-1]), (few, 3))
    canvas.balls(spots, rng.uniform(1.5, 3.5, few), canvas.level("node"), Tissue.MESENTERY, onto)
