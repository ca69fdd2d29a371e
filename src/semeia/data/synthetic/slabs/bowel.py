"""Stomach, duodenum, small bowel and colon with what is in them."""

from __future__ import annotations

import numpy as np

from semeia.data.synthetic.slabs.canvas import Canvas, bend, uneven
from semeia.data.synthetic.slabs.outlines import Loft, grown, ovals
from semeia.data.synthetic.slabs.tissue import Tissue, hosts

STOMACH = ovals({
    262: (-22, -58, 22, 15, -10), 278: (4, -62, 44, 16, -8), 298: (30, -58, 46, 21, -18), 322: (48, -44, 44, 30, -30),
    350: (58, -26, 38, 40, -10), 378: (60, -6, 36, 40, 0), 392: (58, 0, 28, 32, 0),
}, (10, 12))  # fmt: skip

_FAT = hosts(Tissue.MESENTERY)
_WALL = hosts(Tissue.GUT_WALL)
_INSIDE = hosts(Tissue.FLUID, Tissue.GUT_WALL)


def paint_bowel(canvas: Canvas) -> None:
    """Paint all of the gut below the diaphragm; the colon first, since it lies in its place."""
    if canvas.z[0] > 420:
        return
    if canvas.z[-1] > 245:
        _stomach(canvas)
    _colon(canvas)
    if canvas.z[0] < 330:
        _duodenum(canvas)
        _small_bowel(canvas)


def _filled(canvas: Canvas, shape: Loft, wall: float, fluid: float, surface: float | None) -> None:
    """A bag with a wall, fluid and, above a level surface (y in mm), gas."""
    outlines, shown = shape.at(canvas.z)
    canvas.fill((outlines, shown), canvas.level("gut"), Tissue.GUT_WALL, _FAT)
    inner = grown(outlines, -wall)
    canvas.fill((inner, shown), fluid, Tissue.FLUID, _WALL)
    if surface is not None:
        gas = inner.copy()
        gas[..., 1] = np.minimum(gas[..., 1], surface)
        filled = shown & (inner[..., 1].min(1) < surface - 1)
        canvas.fill((gas, filled), -985, Tissue.GAS, _INSIDE)


def _stomach(canvas: Canvas) -> None:
    rng = canvas.person.stream("stomach")
    size = rng.uniform(0.72, 1.08)
    shape = canvas.own(STOMACH.moved(scale=size), "stomach shape", shift=3, ripple=0.03)
    oral = rng.random() < 0.25
    fluid = rng.uniform(150, 350) if oral else rng.uniform(2, 35)
    surface = None if rng.random() < 0.15 else rng.uniform(-80, -38)
    _filled(canvas, shape, rng.uniform(2.5, 5), fluid, surface)
    if rng.random() < 0.4 and not oral:  # food
        outlines, shown = shape.at(canvas.z)
        lump = outlines.copy()
        lump[..., 1] = np.maximum(lump[..., 1], lump[..., 1].mean() + rng.uniform(-8, 8))
        canvas.fill((lump, shown), rng.uniform(10, 50), Tissue.STOOL, hosts(Tissue.FLUID), grow=-4)


def _colon(canvas: Canvas) -> None:
    """The frame around the belly, and the loop into the pelvis; pouched, with gas and stool."""
    rng = canvas.person.stream("colon")
    sag = rng.uniform(-70, 10)
    parts: dict[str, list[tuple[float, float, float, float]]] = {
        "ascending": [(-92, -4, 128, 20), (-100, 8, 165, 22), (-102, 16, 215, 21), (-92, -4, 252, 20),
                      (-84, -30, 258, 19)],
        "transverse": [(-84, -32, 256, 18), (-56, -64, 236 + 0.5 * sag, 17), (0, -70, 226 + sag, 17),
                       (56, -66, 256 + 0.5 * sag, 17),
                       (92, -34, 300, 16), (104, 2, 318, 15)],
        "descending": [(106, 4, 316, 14), (104, 30, 270, 13), (105, 26, 200, 13), (100, 4, 150, 13)],
        "sigmoid": [(98, 0, 148, 12), (82, -22, 112, 12), (44, -34, 92, 13), (16, -14, 104, 13), (-14, 14, 98, 13),
                    (2, 38, 84, 13)],
        "rectum": [(2, 38, 84, 14), (0, 54, 62, 17), (0, 60, 38, 16), (0, 56, 10, 12), (0, 62, -14, 9)],
    }  # fmt: skip
    for name, course in parts.items():
        line = uneven(canvas, "colon " + name, course, 3)
        line = bend(line[::2], 60)
        pouch = 1 + 0.13 * np.sin(np.arange(60) * 0.95 + rng.uniform(0, 6))
        radius = line[:, 3] * pouch * rng.uniform(0.75, 1.15)
        kind = rng.choice(["stool", "gas", "half", "empty"], p=[0.4, 0.2, 0.25, 0.15])
        canvas.tube(line[:, :3], radius, canvas.level("gut") - 5, Tissue.GUT_WALL, _FAT)
        if kind == "empty":
            canvas.tube(line[:, :3], radius * 0.3, rng.choice([-700, 10]), Tissue.FLUID, _WALL)
            continue
        filling = (rng.uniform(-120, 30), Tissue.STOOL) if kind != "gas" else (-985, Tissue.GAS)
        canvas.tube(line[:, :3], radius - 2.2, filling[0], filling[1], _WALL)
        if kind == "half":
            up = np.array([0, -0.45, 0]) * radius[:, None]
            canvas.tube(line[:, :3] + up, 0.62 * radius - 1.5, -985, Tissue.GAS, hosts(Tissue.STOOL))


def _loop(
    canvas: Canvas,
    line: np.ndarray,
    radius: np.ndarray,
    rng: np.random.Generator,
    *,
    oral: bool,
    onto: np.ndarray = _FAT,
) -> None:
    canvas.tube(line, radius, canvas.level("gut"), Tissue.GUT_WALL, onto)
    kind = rng.random()
    inner = radius - rng.uniform(1.8, 3.0)
    if kind < 0.12:
        canvas.tube(line, inner * 0.9, -980, Tissue.GAS, _WALL)
    elif kind < 0.75:
        canvas.tube(line, inner, rng.uniform(180, 320) if oral else rng.uniform(8, 32), Tissue.FLUID, _WALL)
        if kind < 0.25:
            up = np.array([0, -0.4, 0]) * inner[:, None]
            canvas.tube(line + up, inner * 0.55, -980, Tissue.GAS, _INSIDE)
    else:  # collapsed: folds with a little fluid
        canvas.tube(line, inner * 0.35, 15, Tissue.FLUID, _WALL)


def _duodenum(canvas: Canvas) -> None:
    rng = canvas.person.stream("duodenum")
    line = uneven(canvas, "duodenum course", [(-26, -46, 272, 11), (-44, -30, 276, 11), (-48, -8, 258, 12),
                                              (-44, 2, 234, 12), (-24, 0, 222, 11), (2, -7, 222, 10), (26, -8, 232, 11),
                                              (34, -20, 252, 11)], 2)  # fmt: skip
    _loop(canvas, line[:, :3], line[:, 3], rng, oral=False)


def _small_bowel(canvas: Canvas) -> None:
    """Short pieces of loops, packed into the free fat of the middle."""
    rng = canvas.person.stream(f"small bowel {canvas.scan.height:.0f}")
    oral = bool(canvas.person.stream("oral").random() < 0.25)
    width = rng.uniform(8, 12)
    pitch = 2.15 * width
    heights = np.arange(max(canvas.z[0] - 6, 66), min(canvas.z[-1] + 6, 272), 1.7 * width)
    for z in heights:
        reach = float(np.interp(z, [60, 110, 180, 240, 275], [34, 62, 84, 74, 30]))
        back = float(np.interp(z, [60, 110, 180, 240, 275], [20, 6, 6, -8, -30]))
        for x in np.arange(-reach, reach + 1, pitch):
            for y in np.arange(-64, back, pitch):
                if rng.random() < 0.22:
                    continue
                start = np.array([x, y, z]) + rng.normal(0, 0.22, 3) * pitch
                way = rng.normal(0, 1, 3) * (1, 0.8, 0.6)
                way *= rng.uniform(12, 30) / np.linalg.norm(way)
                side = np.cross(way, rng.normal(0, 1, 3)) * 0.02 * rng.uniform(0, 1.2)
                line = bend(np.stack([start - way, start + side, start + way]), 14)
                folds = 1 + 0.06 * np.sin(np.arange(14) * 2.1 + rng.uniform(0, 6))
                _loop(canvas, line, width * rng.uniform(0.75, 1.1) * folds, rng, oral=oral)
