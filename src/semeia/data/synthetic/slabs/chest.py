"""The inside of the chest: lungs with fissures and vessels, mediastinum, heart, great vessels, airways, gullet."""

from __future__ import annotations

import numpy as np

from semeia.data.synthetic.slabs.branches import grow_tree, places_in
from semeia.data.synthetic.slabs.canvas import Canvas, bend, uneven
from semeia.data.synthetic.slabs.outlines import ellipsoid, loft, ovals
from semeia.data.synthetic.slabs.tissue import Tissue, hosts
from semeia.data.synthetic.slabs.walls import CAVITY

MIDDLE = loft({
    300: [(0, -30), (10, -10), (24, 10), (34, 40), (34, 62), (0, 66), (-30, 60), (-26, 36), (-20, 10), (-10, -10)],
    350: [(0, -97), (13, -88), (16, -60), (20, -25), (30, 20), (38, 62), (0, 70), (-22, 66), (-24, 24), (-18, -20),
          (-18, -60), (-12, -88)],
    385: [(0, -99), (26, -93), (70, -74), (86, -42), (66, -12), (40, 20), (40, 66), (0, 72), (-22, 66), (-28, 32),
          (-42, -8), (-46, -46), (-20, -90)],
    410: [(0, -99), (26, -93), (74, -72), (92, -36), (72, 0), (44, 30), (40, 68), (0, 72), (-22, 68), (-30, 32),
          (-50, -4), (-54, -45), (-20, -90)],
    440: [(0, -97), (16, -90), (52, -66), (62, -28), (48, 8), (40, 38), (38, 68), (0, 72), (-22, 68), (-30, 34),
          (-48, 2), (-50, -40), (-13, -90)],
    470: [(0, -93), (11, -88), (32, -58), (46, -22), (43, 14), (42, 44), (35, 68), (0, 70), (-22, 64), (-27, 32),
          (-40, -2), (-40, -45), (-10, -88)],
    495: [(0, -87), (13, -80), (28, -52), (43, -22), (46, 18), (35, 56), (0, 66), (-22, 62), (-23, 22), (-32, -10),
          (-32, -46), (-12, -80)],
    520: [(0, -76), (20, -74), (27, -46), (31, -15), (29, 20), (27, 54), (0, 64), (-23, 58), (-24, 22), (-29, -14),
          (-29, -46), (-20, -72)],
    560: [(0, -60), (34, -56), (30, -30), (25, 0), (26, 26), (18, 52), (0, 60), (-18, 52), (-26, 26), (-25, 0),
          (-30, -30), (-34, -56)],
}, (20, 40))  # fmt: skip
"""Fat between the lungs; below, around the crura."""

_ONTO_MIDDLE = hosts(Tissue.MEDIASTINUM)
_SOFT = hosts(Tissue.MEDIASTINUM, Tissue.HEART, Tissue.BLOOD, Tissue.MESENTERY, Tissue.MUSCLE, Tissue.PLANE,
              Tissue.POCKET, Tissue.FAT)  # fmt: skip
_LUNG = hosts(Tissue.LUNG)


def domes(z: np.ndarray, outline: np.ndarray, side: int, top: float) -> tuple[np.ndarray, np.ndarray]:
    """The half of the belly below one dome of the diaphragm.

    Args:
        z: (K,) heights.
        outline: (K, P, 2) of the cavity.
        side: 1 left, -1 right.
        top: z of the dome.

    Returns:
        (K, P, 2) outlines and (K,) where they are. The dome meets the wall early in front and late at the back.
    """
    half = outline.copy()
    half[..., 0] = side * np.maximum(side * half[..., 0], -6)
    centre = np.array([side * 66.0, -12.0])
    offset = half - centre
    turn = np.arctan2(offset[..., 1], side * offset[..., 0])  # 0 aside, pi / 2 at the back
    foot = top - 48 - 45 * np.clip(np.sin(turn), -0.5, 1) - 5 * np.cos(turn)
    part = np.clip((z[:, None] - foot) / (top - foot), 0, 1)
    share = np.sqrt(1 - part**2)[..., None]
    # Below the foot the belly fills the cavity and a little more, so that no sliver of lung is left.
    share = np.where(part[..., None] <= 0, 1.02, share)
    return centre + share * offset, z < top


def paint_chest(canvas: Canvas) -> None:
    """Paint lungs down to the domes, then all that lies between them."""
    if canvas.z[-1] < 290:
        return
    rng = canvas.person.stream("chest")
    outline, shown = CAVITY.at(canvas.z)
    base = rng.normal(-858, 22)
    canvas.fill((outline, shown & (canvas.z > 296)), base, Tissue.LUNG, hosts(Tissue.MEDIASTINUM))
    top = 408 + rng.normal(0, 7)
    for side, lower in ((-1, 0), (1, 12)):
        belly, there = domes(canvas.z, outline, side, top - lower)
        # The muscle of the diaphragm shows where fat lies below it.
        canvas.fill((belly, there & shown), canvas.level("muscle") - 10, Tissue.PLEURA, _LUNG, grow=1.2)
        canvas.fill((belly, there & shown), -98, Tissue.MESENTERY,
                    hosts(Tissue.LUNG, Tissue.PLEURA, Tissue.MEDIASTINUM), grow=-0.8)  # fmt: skip
    middle = canvas.own(MIDDLE, "middle", shift=1.5, size=0.04, ripple=0.015)
    canvas.fill(middle, -95, Tissue.MEDIASTINUM, hosts(Tissue.LUNG, Tissue.PLEURA))
    if canvas.z[-1] > 345:
        _heart(canvas)
        _great_vessels(canvas)
        _airways(canvas)
        _lung_vessels(canvas)
        _fissures(canvas)
        _thymus_and_nodes(canvas)
    _gullet(canvas)


def _heart(canvas: Canvas) -> None:
    """Chambers in their muscle; fat around them. Sections as in the usual four-chamber views."""
    rng = canvas.person.stream("heart")
    size = rng.normal(1, 0.06)
    muscle, left, right = canvas.level("heart"), canvas.level("aorta"), canvas.level("pulmonary")
    venous = (canvas.level("vein") + right) / 2
    onto = hosts(Tissue.MEDIASTINUM, Tissue.HEART, Tissue.BLOOD)

    def chamber(
        name: str, levels: dict[float, tuple[float, float, float, float, float]], value: float, wall: float
    ) -> None:
        scaled = {z: (x, y, a * size, b * size, t) for z, (x, y, a, b, t) in levels.items()}
        shape = canvas.own(ovals(scaled, (9, 9)), name, shift=1.2, ripple=0.02)
        canvas.fill(shape, muscle, Tissue.HEART, onto)
        canvas.fill(shape, value, Tissue.BLOOD, hosts(Tissue.HEART), grow=-wall)

    chamber("left atrium", {412: (6, 2, 26, 12, 0), 432: (4, 2, 35, 17, 0), 448: (2, 2, 32, 14, 0)}, left, 1.5)
    chamber("right ventricle", {380: (20, -74, 42, 17, 8), 400: (12, -72, 40, 22, 6), 425: (8, -70, 30, 19, -5),
                                440: (18, -66, 19, 14, 0)}, right, 2.8)  # fmt: skip
    chamber("left ventricle", {380: (54, -50, 31, 24, -32), 400: (50, -42, 39, 29, -35), 418: (44, -34, 37, 27, -35),
                               430: (38, -26, 26, 20, -35)}, left, 10)  # fmt: skip
    chamber("right atrium", {382: (-24, -36, 17, 20, 0), 400: (-30, -42, 21, 27, 10), 425: (-32, -42, 19, 25, 12),
                             440: (-30, -40, 14, 18, 10)}, venous, 1.5)  # fmt: skip
    course = [(-4, -52, 438), (-22, -66, 420), (-26, -70, 400), (-18, -74, 385)]
    canvas.tube(bend(course), 1.6, left, Tissue.BLOOD, onto)
    canvas.tube(bend([(6, -44, 438), (22, -54, 430), (30, -64, 412), (42, -72, 392)]), 1.5, left, Tissue.BLOOD, onto)
    if rng.random() < (canvas.person.age - 40) / 70:
        for _ in range(rng.integers(1, 5)):
            spot = bend([(6, -44, 438), (22, -54, 430), (30, -64, 412)])[rng.integers(24)]
            canvas.tube(np.stack([spot, spot + np.array([3, -2, 1])]), 1.2, 800, Tissue.BLOOD)


def _great_vessels(canvas: Canvas) -> None:
    rng = canvas.person.stream("great vessels")
    wide = rng.normal(1, 0.06) * (1 + 0.003 * (canvas.person.age - 55))
    aorta, vein, lung = canvas.level("aorta"), canvas.level("vein"), canvas.level("pulmonary")
    # Dense agent flows in through one arm's vein while the arteries are bright.
    upper = vein + (rng.uniform(150, 600) if canvas.scan.phase == "arterial" and rng.random() < 0.6 else 0)

    def vessel(name: str, course: list[tuple[float, float, float, float]], value: float, wall: float = 0.0) -> None:
        line = uneven(canvas, name, course)
        if wall:
            canvas.tube(line[:, :3], line[:, 3] + wall, 45, Tissue.BLOOD, _SOFT)
        canvas.tube(line[:, :3], line[:, 3], value, Tissue.BLOOD, _SOFT)

    vessel("cava above", [(-30, -30, 436, 10), (-31, -33, 470, 9.5), (-28, -42, 505, 9)], upper)
    vessel("right brachiocephalic vein", [(-28, -42, 505, 8), (-34, -44, 530, 7), (-42, -40, 550, 7)], upper)
    vessel(
        "left brachiocephalic vein",
        [(-27, -44, 504, 7), (-4, -58, 512, 6.5), (20, -54, 524, 6.5), (38, -42, 545, 6.5)],
        upper,
    )
    vessel(
        "subclavian vein L",
        [(40, -42, 546, 6), (80, -36, 556, 6), (120, -30, 552, 5), (138, -26, 530, 4.5), (142, -30, 470, 3)],
        vein,
    )
    vessel(
        "subclavian vein R",
        [(-42, -42, 548, 6), (-80, -36, 556, 6), (-120, -30, 552, 5), (-138, -26, 530, 4.5), (-142, -30, 470, 3)],
        upper,
    )
    vessel(
        "axillary artery L", [(44, -8, 562, 4.5), (84, -24, 566, 4), (124, -20, 552, 3.6), (140, -20, 510, 3)], aorta
    )
    vessel(
        "axillary artery R",
        [(-44, -8, 562, 4.5), (-84, -24, 566, 4), (-124, -20, 552, 3.6), (-140, -20, 510, 3)],
        aorta,
    )
    vessel("pulmonary trunk", [(20, -58, 438, 13), (21, -48, 455, 13.5), (22, -36, 466, 12.5)], lung, 1)
    vessel(
        "left pulmonary artery",
        [(22, -36, 466, 11.5), (34, -10, 472, 10.5), (48, 12, 466, 9), (52, 18, 445, 7.5)],
        lung,
        0.8,
    )
    vessel(
        "right pulmonary artery",
        [(20, -36, 465, 11), (-6, -18, 463, 10), (-34, -10, 460, 9.5), (-48, -2, 450, 7.5)],
        lung,
        0.8,
    )
    for side in (-1, 1):
        for k, (z, y) in enumerate(((446, -6), (428, 10))):
            vessel(
                f"pulmonary vein {side} {k}",
                [(side * 28, 2, z - 6, 6.5), (side * 48, y, z, 5.5)],
                canvas.level("aorta"),
            )
    course = [(0, -42, 432, 15), (-13, -42, 462, 15.5), (-14, -38, 484, 15), (-6, -24, 499, 14), (12, -2, 505, 13),
              (26, 22, 498, 12.5), (30, 40, 478, 12)]  # fmt: skip
    vessel("arch", [(x, y, z, r * wide) for x, y, z, r in course], aorta, 1.2)
    course = [(30, 40, 478, 12), (29, 42, 440, 11.5), (25, 38, 400, 11.3), (16, 26, 340, 10.5), (9, 16, 300, 10)]
    vessel("descending", [(x, y, z, r * wide) for x, y, z, r in course], aorta, 1.2)
    vessel(
        "brachiocephalic artery",
        [(-8, -32, 500, 7), (-14, -28, 522, 6.5), (-24, -20, 545, 6), (-40, -8, 560, 4.5)],
        aorta,
    )
    vessel("right carotid", [(-24, -20, 545, 4), (-26, -12, 600, 3.8)], aorta)
    vessel("left carotid", [(5, -14, 503, 4), (14, -16, 530, 4), (24, -10, 600, 3.8)], aorta)
    vessel("left subclavian", [(18, 6, 503, 5.5), (24, 4, 535, 5), (44, -8, 562, 4.5)], aorta)
    vessel(
        "azygos",
        [(-8, 42, 300, 2.5), (-9, 50, 400, 3.5), (-13, 48, 470, 4), (-22, 26, 482, 4.5), (-30, -14, 478, 4.5)],
        vein,
    )
    vessel("hemiazygos", [(14, 48, 300, 1.8), (16, 58, 420, 2.2)], vein)
    for side in (-1, 1):
        vessel(f"mammary {side}", [(side * 20, -88, 400, 1.2), (side * 22, -80, 500, 1.3)], aorta)
        if canvas.z[-1] > 545:
            lobe = ovals({552: (side * 17, -12, 7, 9, 0), 575: (side * 18, -10, 9, 12, 0)}, (6, 14))
            canvas.fill(
                canvas.own(lobe, f"thyroid {side}", ripple=0.05), canvas.level("thyroid"), Tissue.THYROID, _SOFT
            )


def _airways(canvas: Canvas) -> None:
    """Windpipe and main bronchi; the branches inside the lungs follow the vessels' ways."""
    rng = canvas.person.stream("airways")
    courses = [
        [(0, 10, 600, 8.5), (0, 14, 540, 8.5), (1, 20, 490, 8.5), (1, 23, 478, 8.5)],
        [(1, 23, 480, 7), (-20, 23, 464, 6.5), (-40, 14, 450, 5.5), (-44, 12, 425, 4.5)],
        [(1, 23, 480, 6.5), (22, 26, 464, 6), (42, 24, 452, 5.2), (48, 26, 430, 4.5)],
        [(-40, 14, 452, 4), (-56, 2, 464, 3.4)], [(42, 24, 454, 4), (60, 6, 466, 3.2)],
    ]  # fmt: skip
    lines = [uneven(canvas, f"airway {k}", course, 1.0) for k, course in enumerate(courses)]
    twigs = []
    for side, root in ((-1, (-46, 12, 436)), (1, (49, 22, 440))):
        lung = (canvas.tissue == Tissue.LUNG) & _half(canvas, side)
        spots = canvas.unplace(places_in(rng, lung, 30))
        if len(spots) > 2:
            tree = grow_tree(rng, np.array(root), spots, twig=0.75, thickest=3.6, wander=0.08)
            twigs.append(tree[tree[:, 6] > 1.0])
    onto = hosts(Tissue.MEDIASTINUM, Tissue.LUNG, Tissue.BLOOD, Tissue.BRONCHUS, Tissue.LUNG_VESSEL, Tissue.PLEURA)
    for line in lines:
        canvas.tube(line[:, :3], line[:, 3] + 1.3, 20, Tissue.BRONCHUS, onto)
    for tree in twigs:
        canvas.tubes(tree + np.array([0, 0, 0, 0, 0, 0, 0.8, 0.8]), -150, Tissue.BRONCHUS, onto)
    for line in lines:
        canvas.tube(line[:, :3], line[:, 3], -990, Tissue.AIRWAY, hosts(Tissue.BRONCHUS, Tissue.AIRWAY))
    for tree in twigs:
        canvas.tubes(tree, -960, Tissue.AIRWAY, hosts(Tissue.BRONCHUS, Tissue.AIRWAY))


def _half(canvas: Canvas, side: int) -> np.ndarray:
    """(1, 1, N) pixels of one half of the body."""
    columns = np.arange(canvas.scan.size)
    middle = canvas.place(np.array([0.0, 0.0, canvas.scan.height]))[0]
    return (side * (columns - middle) > 0)[None, None]


def _lung_vessels(canvas: Canvas) -> None:
    """Arteries and veins from the hila to all parts of the lungs that the slab shows."""
    rng = canvas.person.stream(f"lung vessels {canvas.scan.height:.0f}")
    artery, vein = canvas.level("pulmonary"), canvas.level("aorta")
    onto = hosts(Tissue.LUNG, Tissue.LUNG_VESSEL)
    per_litre = rng.uniform(300, 460)
    voxel = canvas.scan.spacing**2 * canvas.scan.thickness / canvas.scan.planes / 1e6  # litres
    for side in (-1, 1):
        lung = (canvas.tissue == Tissue.LUNG) & _half(canvas, side)
        count = int(np.clip(per_litre * lung.sum() * voxel, 12, 220))
        for value, root, twig in (
            (artery, (side * 50, 8, 446), 0.55), (vein, (side * 48, 0, 436), 0.5), (artery, (side * 56, 0, 462), 0.5),
        ):  # fmt: skip
            spots = canvas.unplace(places_in(rng, lung, count))
            if len(spots) < 3:
                continue
            # Half of the vessels only pass through the slab, on their way up or down.
            way = np.sign(canvas.scan.height - root[2] + rng.normal(0, 25, len(spots)))
            spots[:, 2] += way * np.where(rng.random(len(spots)) < 0.55, rng.uniform(6, 55, len(spots)), 0)
            tree = grow_tree(rng, np.array(root, float), spots, twig=twig, thickest=6.5, wander=0.07)
            canvas.tubes(tree, min(value, 110), Tissue.LUNG_VESSEL, onto)


def _fissures(canvas: Canvas) -> None:
    """Thin sheets between the lobes: the oblique one of each side, and the level one on the right."""
    rng = canvas.person.stream("fissures")
    onto = hosts(Tissue.LUNG)
    for side in (-1, 1):
        tilt, bow = rng.normal(0.72, 0.08), rng.normal(6, 4)
        x = np.linspace(18, 128, 30)
        step = canvas.scan.thickness / canvas.scan.planes
        heights = canvas.z[(canvas.z > 340) & (canvas.z < 545)]
        # It falls from the back above to the front below.
        y = -62 + (heights[:, None] - 360) * tilt + bow * np.sin((x - 18) / 110 * np.pi) - 0.12 * (x - 60)
        sheet = np.stack(np.broadcast_arrays(side * x, y, heights[:, None]), -1)  # (planes, 30, 3)
        ends = np.concatenate([sheet[:, :-1], sheet[:, 1:]], -1).reshape(-1, 6)
        tubes = np.concatenate([ends, np.full((len(ends), 2), 0.45)], 1)
        canvas.tubes(tubes, -560, Tissue.LUNG, onto, flatness=1.6 / max(step, 1.0))
    level = 446 + rng.normal(0, 5)
    near = np.abs(canvas.z - level) < 2.0
    if near.any():
        patch = ellipsoid((-78, -38, level), (34, 34, 2.0)).at(canvas.z)
        canvas.fill((patch[0], patch[1] & near), rng.uniform(-800, -700), Tissue.LUNG, onto)


def _gullet(canvas: Canvas) -> None:
    rng = canvas.person.stream("gullet")
    line = uneven(canvas, "gullet", [(3, 30, 600, 7), (6, 40, 520, 7), (3, 42, 470, 7.5), (8, 38, 410, 7.5),
                                     (18, 22, 360, 8), (30, 0, 338, 9)])  # fmt: skip
    canvas.tube(line[:, :3], line[:, 3], canvas.level("gut") - 10, Tissue.OESOPHAGUS, _SOFT)
    if rng.random() < 0.5:
        canvas.tube(line[:, :3] + (0, -1, 0), line[:, 3] * rng.uniform(0.2, 0.45), rng.choice([-800, 15]), Tissue.GAS,
                    hosts(Tissue.OESOPHAGUS, Tissue.GAS))  # fmt: skip


def _thymus_and_nodes(canvas: Canvas) -> None:
    """Strands before the vessels, and the small nodes that every mediastinum and armpit has."""
    rng = canvas.person.stream("small nodes")
    node = canvas.level("node")
    count = rng.integers(10, 26)
    spots = rng.uniform((-34, -70, 415), (34, 30, 540), (count, 3))
    canvas.balls(spots, rng.uniform(1.5, 3.4, count), node - 15, Tissue.MEDIASTINUM, _ONTO_MIDDLE)
    for side in (-1, 1):
        count = rng.integers(6, 16)
        spots = rng.uniform((122, -50, 450), (150, 0, 550), (count, 3)) * (side, 1, 1)
        radii = rng.uniform(2.0, 4.6, count)
        canvas.balls(spots, radii, node - 10, Tissue.POCKET, hosts(Tissue.POCKET))
        canvas.balls(spots + 0.5, radii * 0.5, -60, Tissue.POCKET, hosts(Tissue.POCKET))  # their fatty middles
    if rng.random() < (75 - canvas.person.age) / 60:
        shape = ovals({470: (3, -70, 13, 8, 0), 510: (2, -62, 12, 6, 0)}, (20, 12))
        canvas.fill(canvas.own(shape, "thymus", ripple=0.08), rng.uniform(-60, 10), Tissue.MEDIASTINUM, _ONTO_MIDDLE)
