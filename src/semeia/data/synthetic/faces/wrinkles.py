"""Folds that action units press into the skin: relief and flush of each unit, by side, in canonical coordinates.

Courses, widths and depths are hand-set after descriptions of FACS; no measured skin is behind them. Folds are drawn
about twice as wide as in life, so that a face of 64 pixels still shows them.

Shapes: H = W texels of a skin texture, h and w texels of a window in it, P points of a crease.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from semeia.data.synthetic.faces.topology import AZIMUTH_LIMIT, HEIGHT_LIMITS

if TYPE_CHECKING:
    from semeia.data.synthetic.faces.appearance import Skin

ONSET = 0.6  # intensity at which a unit begins to fold the skin
_MIDLINE = 0.08  # radians over which the left half of a fold passes into the right one
_SEGMENTS = 14  # straight pieces that a crease's course is divided into
_REACH = 4.5  # widths from a crease at which its profile has ended
_SHADE = 0.34  # greatest share of light that a groove takes from its own ground
_WORN = 0.014  # decimetres of depth at which it takes half of that
_AGES = ((2, 0.35), (10, 0.55), (20, 0.85), (40, 1.0), (65, 1.12), (90, 1.2))  # years, and depth over an adult's

Course = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Crease:
    """A groove on the subject's left.

    Attributes:
        course: (azimuth, height) of its points.
        width: half width of the groove in decimetres.
        depth: in decimetres, at intensity 5 on an adult.
        bulge: height over depth of the swelling to the left and to the right of the course. Courses that run down
            have the ear on their left, courses that run to the ear have the forehead there.
        ends: shares of the course over which its beginning and its end fade.
    """

    course: Course
    width: float
    depth: float
    bulge: tuple[float, float] = (0.35, 0.35)
    ends: tuple[float, float] = (0.3, 0.35)


@dataclass(frozen=True)
class Patch:
    """A soft spot on the subject's left: (azimuth, height), half sizes across and up, and an amount."""

    azimuth: float
    height: float
    wide: float
    tall: float
    amount: float


@dataclass(frozen=True)
class Fold:
    """What one action unit does to the skin.

    ``swells`` are patches of relief in decimetres, ``flush`` of colour: 1 reddens and -1 blanches. ``pits`` dents of
    ``pit_depth`` are strewn over ``pitted``, whose amount is not used.
    """

    creases: tuple[Crease, ...] = ()
    swells: tuple[Patch, ...] = ()
    flush: tuple[Patch, ...] = ()
    pits: int = 0
    pit_depth: float = 0.0
    pitted: Patch = field(default=Patch(0, 0, 0, 0, 0))


def _across(heights: Sequence[float], ends: tuple[float, float], arch: float, depth: float) -> tuple[Crease, ...]:
    """Horizontal lines of the forehead."""
    first, last = ends
    fade = (0.0, 0.45) if first < 0 else (0.4, 0.4)
    return tuple(
        Crease(
            tuple((first + (last - first) * t, y + arch * float(np.sin(np.pi * t))) for t in (0, 0.25, 0.5, 0.75, 1)),
            0.017, depth, (0.4, 0.5), fade,
        )
        for y in heights
    )  # fmt: skip


def _rays(start: tuple[float, float], lengths: Mapping[float, float], width: float, depth: float) -> tuple[Crease, ...]:
    """Lines that radiate from about a point: angle in degrees (0 to the ear, 90 up) to length in decimetres."""
    rays = []
    for degrees, length in lengths.items():
        way = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
        course = tuple((float(start[0] + way[0] * s), float(start[1] + way[1] * s)) for s in (0.02, length / 2, length))
        rays.append(Crease(course, width, depth, (0.4, 0.4), (0.2, 0.5)))
    return tuple(rays)


def _lip_lines(depth: float, width: float, *, onto: float) -> tuple[Crease, ...]:
    """Short lines across the lips' edges; ``onto`` is how far they run onto the red."""
    upper = ((0.02, 6.705), (0.065, 6.719), (0.11, 6.70), (0.155, 6.685), (0.20, 6.645))
    lower = ((0.03, 6.489), (0.08, 6.492), (0.125, 6.503), (0.17, 6.545))
    lines = [((u, y - onto), (u * 1.06, y + 0.035), (u * 1.16, y + 0.085)) for u, y in upper]
    lines += [((u * 1.12, y - 0.065), (u * 1.05, y - 0.03), (u, y + onto)) for u, y in lower]
    return tuple(Crease(line, width, depth, (0.4, 0.4), (0.3, 0.3)) for line in lines)


_UPPER_EDGE: Course = ((-0.06, 6.722), (0.0, 6.705), (0.065, 6.727), (0.151, 6.697), (0.215, 6.645))
_LOWER_EDGE: Course = ((-0.06, 6.484), (0.0, 6.482), (0.114, 6.492), (0.165, 6.536), (0.215, 6.58))

FOLDS: Mapping[str, Fold] = {
    "AU01": Fold(_across((7.595, 7.675, 7.755, 7.84), (-0.06, 0.33), 0.0, 0.015)),
    "AU02": Fold(_across((7.60, 7.68, 7.76, 7.84), (0.12, 0.62), 0.045, 0.014)),
    "AU04": Fold(
        (
            Crease(((0.062, 7.62), (0.052, 7.53), (0.062, 7.43), (0.075, 7.39)), 0.018, 0.026, (0.6, 0.4)),
            Crease(((0.115, 7.585), (0.10, 7.52), (0.105, 7.465)), 0.014, 0.013),
            Crease(((-0.06, 7.352), (0.0, 7.352), (0.045, 7.345), (0.085, 7.325)), 0.016, 0.010, ends=(0, 0.5)),
        ),
        swells=(Patch(0.17, 7.53, 0.06, 0.045, 0.012), Patch(0.0, 7.47, 0.035, 0.06, 0.010)),
        flush=(Patch(0.05, 7.48, 0.09, 0.10, 0.4),),
    ),
    "AU06": Fold(
        (
            *_rays((0.45, 7.275), {34: 0.15, 10: 0.18, -14: 0.18, -40: 0.15}, 0.014, 0.014),
            Crease(((0.17, 7.225), (0.25, 7.168), (0.34, 7.16), (0.43, 7.20)), 0.017, 0.021, (0.7, 0.3)),
            Crease(((0.17, 7.13), (0.27, 7.06), (0.38, 7.045), (0.50, 7.09)), 0.018, 0.013, (0.2, 0.8)),
        ),
        swells=(Patch(0.36, 6.97, 0.14, 0.08, 0.018),),
        flush=(Patch(0.42, 6.95, 0.18, 0.12, 0.5),),
    ),
    "AU07": Fold(
        (
            Crease(((0.175, 7.235), (0.25, 7.197), (0.34, 7.197), (0.425, 7.24)), 0.016, 0.022, (0.9, 0.2)),
            Crease(((0.43, 7.27), (0.47, 7.262), (0.51, 7.245)), 0.012, 0.010),
        ),
        flush=(Patch(0.30, 7.21, 0.13, 0.03, 0.35),),
    ),
    "AU09": Fold(
        (
            Crease(((-0.06, 7.345), (0.0, 7.345), (0.05, 7.33), (0.10, 7.30)), 0.016, 0.016, (0.5, 0.4), (0, 0.4)),
            Crease(((-0.06, 7.275), (0.0, 7.275), (0.05, 7.25), (0.11, 7.205)), 0.015, 0.013, (0.5, 0.4), (0, 0.4)),
            Crease(((0.02, 7.225), (0.07, 7.175), (0.125, 7.10)), 0.015, 0.016, (0.5, 0.5)),
            Crease(((0.05, 7.14), (0.095, 7.085), (0.14, 7.01)), 0.015, 0.014, (0.5, 0.5)),
            Crease(((0.10, 6.97), (0.155, 6.91), (0.205, 6.82), (0.25, 6.73)), 0.021, 0.025, (0.8, 0.1)),
        ),
        swells=(Patch(0.20, 7.05, 0.06, 0.08, 0.012),),
        flush=(Patch(0.15, 6.93, 0.09, 0.13, 0.8), Patch(0.04, 7.22, 0.07, 0.10, 0.5)),
    ),
    "AU10": Fold(
        (
            Crease(
                ((0.115, 6.945), (0.165, 6.90), (0.235, 6.81), (0.285, 6.70), (0.30, 6.62)), 0.027, 0.024, (0.9, 0.1)
            ),
            Crease(((0.22, 7.12), (0.30, 7.04), (0.36, 7.01)), 0.018, 0.009, (0.3, 0.5)),
        ),
        swells=(Patch(0.10, 6.765, 0.09, 0.03, 0.008),),
        flush=(Patch(0.17, 6.84, 0.09, 0.10, 0.7),),
    ),
    "AU12": Fold(
        (
            Crease(
                ((0.13, 6.925), (0.20, 6.85), (0.275, 6.75), (0.325, 6.64), (0.325, 6.54)), 0.027, 0.024, (0.9, 0.1)
            ),
            *_rays((0.46, 7.27), {0: 0.13, -28: 0.14}, 0.012, 0.005),
            Crease(((0.24, 6.65), (0.262, 6.61), (0.255, 6.565)), 0.014, 0.013, (0.4, 0.1)),
        ),
        swells=(Patch(0.37, 6.90, 0.12, 0.10, 0.020),),
        flush=(Patch(0.42, 6.90, 0.16, 0.12, 0.5),),
    ),
    "AU14": Fold(
        (
            Crease(((0.275, 6.70), (0.298, 6.63), (0.292, 6.56), (0.272, 6.51)), 0.022, 0.036, (0.6, 0.35)),
            Crease(((0.235, 6.645), (0.262, 6.612), (0.25, 6.57)), 0.014, 0.018),
        ),
        swells=(Patch(0.30, 6.62, 0.03, 0.045, -0.016), Patch(0.385, 6.62, 0.05, 0.09, 0.014)),
        flush=(Patch(0.29, 6.61, 0.05, 0.07, -0.5),),
    ),
    "AU15": Fold(
        (
            Crease(((0.225, 6.61), (0.262, 6.575), (0.285, 6.50), (0.28, 6.41)), 0.021, 0.030, (0.6, 0.3)),
            Crease(((0.06, 6.425), (0.13, 6.425), (0.20, 6.455)), 0.018, 0.010, (0.2, 0.5)),
        ),
        swells=(Patch(0.215, 6.525, 0.035, 0.04, 0.014), Patch(0.33, 6.50, 0.04, 0.07, 0.010)),
    ),
    "AU17": Fold(
        (Crease(((-0.06, 6.415), (0.0, 6.415), (0.08, 6.412), (0.15, 6.385)), 0.022, 0.030, (0.2, 0.5), (0, 0.4)),),
        swells=(Patch(0.0, 6.30, 0.13, 0.075, 0.020), Patch(0.0, 6.46, 0.10, 0.02, 0.010)),
        flush=(Patch(0.0, 6.30, 0.14, 0.09, -0.45),),
        pits=15, pit_depth=0.015, pitted=Patch(0.07, 6.295, 0.10, 0.085, 0),
    ),
    "AU18": Fold(_lip_lines(0.009, 0.013, onto=0.03)),
    "AU20": Fold(
        (
            Crease(((0.275, 6.70), (0.318, 6.61), (0.295, 6.50)), 0.018, 0.020, (0.5, 0.2)),
            Crease(((0.36, 6.72), (0.405, 6.60), (0.37, 6.46)), 0.019, 0.013),
            Crease(((0.05, 6.445), (0.15, 6.452), (0.24, 6.49)), 0.016, 0.012, (0.2, 0.4)),
            Crease(((0.20, 6.30), (0.27, 6.27), (0.34, 6.28)), 0.018, 0.008),
        ),
        flush=(Patch(0.27, 6.60, 0.07, 0.09, -0.3),),
    ),
    "AU23": Fold(
        (
            *_lip_lines(0.008, 0.012, onto=0.055),
            Crease(_UPPER_EDGE, 0.014, 0.013, (0.7, 0.1), (0, 0.2)),
            Crease(_LOWER_EDGE, 0.014, 0.013, (0.1, 0.7), (0, 0.2)),
        ),
        flush=(Patch(0.0, 6.60, 0.16, 0.07, -1.0),),
    ),
    "AU24": Fold(
        (
            Crease(((-0.06, 6.445), (0.0, 6.443), (0.10, 6.452), (0.19, 6.50)), 0.020, 0.018, (0.7, 0.3), (0, 0.3)),
            Crease(((-0.06, 6.77), (0.0, 6.77), (0.09, 6.765), (0.19, 6.72)), 0.018, 0.010, (0.2, 0.6), (0, 0.3)),
            Crease(((0.238, 6.66), (0.262, 6.61), (0.245, 6.555)), 0.017, 0.024, (0.6, 0.2)),
        ),
        swells=(Patch(0.0, 6.725, 0.16, 0.022, 0.014), Patch(0.0, 6.482, 0.13, 0.022, 0.014)),
        flush=(Patch(0.0, 6.60, 0.17, 0.09, -0.9),),
    ),
}  # fmt: skip

_RESTING = {  # share of a unit's folds that stays in an old face at rest
    "AU01": 0.35, "AU02": 0.32, "AU04": 0.28, "AU06": 0.5, "AU07": 0.35, "AU12": 0.45, "AU15": 0.4, "AU18": 0.22,
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """The folds of one unit on one side at intensity 5.

    Attributes:
        unit: its name.
        side: 0 for the subject's left, 1 for the right.
        row, column: texel of the window's first corner.
        relief: (h, w) float32 in decimetres.
        flush: (h, w) float32, 1 reddens, -1 blanches.
    """

    unit: str
    side: int
    row: int
    column: int
    relief: np.ndarray
    flush: np.ndarray


@dataclass(frozen=True)
class Wrinkles:
    """All folds that a person's face can show, and ``resting``: for each unit, the share shown without action."""

    layers: tuple[Layer, ...]
    resting: Mapping[str, float]


def strength(intensity: float) -> float:
    """Share of the full depth at an intensity 0-5: nothing below ``ONSET``, then nearly in proportion."""
    return float(np.clip((intensity - ONSET) / (5 - ONSET), 0, 1) ** 1.15)


def draw_wrinkles(age: float, rng: np.random.Generator, *, size: int, uneven: float = 1.0) -> Wrinkles:
    """Draw a person's own folds.

    Args:
        age: in years; children fold faintly, the old deeply.
        rng: stream of the wrinkles.
        size: texels a side of the skin texture.
        uneven: how far the sides may differ; 0 makes them mirror each other.
    """
    depth = float(
        np.interp(age, [years for years, _ in _AGES], [share for _, share in _AGES]) * np.exp(rng.normal(0, 0.18))
    )
    old = float(np.clip((age - 32) / 45, 0, 1)) ** 1.2
    layers, resting = [], {}
    for unit, fold in FOLDS.items():
        own = depth * np.exp(rng.normal(0, 0.18))
        seed = int(rng.integers(2**32))
        tilt = np.exp(rng.normal(0, 0.10, 2) * uneven)
        for side in (0, 1):
            shared, alone = np.random.default_rng(seed), np.random.default_rng([seed, 1 + side])
            window, fold_relief, flush = _draw(fold, _Chance(shared, alone, uneven), size)
            layers.append(_placed(unit, side, window, fold_relief * np.float32(own * tilt[side]), flush, size=size))
        kept = _RESTING.get(unit, 0.0) * old * float(np.exp(rng.normal(0, 0.3)))
        resting[unit] = kept + (0.14 * float(age > 14) if unit == "AU12" else 0.0)
    return Wrinkles(tuple(layers), {unit: share for unit, share in resting.items() if share > 0.01})


def acted_skin(skin: Skin, shown: Mapping[str, tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Skin of one shot.

    Args:
        skin: the person's painted face at rest.
        shown: intensity 0-5 of each unit on the subject's (left, right) side; units without folds are passed over.

    Returns:
        Colour (H, W, 3) and relief (H, W) in decimetres; the very arrays of ``skin`` where nothing is folded.
    """
    amounts = {unit: (strength(left), strength(right)) for unit, (left, right) in shown.items()}
    return _press(skin.wrinkles, skin.colour, skin.relief, amounts)


def rest(wrinkles: Wrinkles, colour: np.ndarray, relief: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour (H, W, 3) and relief (H, W) with the lines that the years have left."""
    return _press(wrinkles, colour, relief, {unit: (share, share) for unit, share in wrinkles.resting.items()})


def _press(
    wrinkles: Wrinkles, colour: np.ndarray, relief: np.ndarray, amounts: Mapping[str, tuple[float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    pressed = [
        (layer, amounts[layer.unit][layer.side])
        for layer in wrinkles.layers
        if layer.unit in amounts and amounts[layer.unit][layer.side] > 0
    ]
    if pressed:
        colour, relief = colour.copy(), relief.copy()
    for layer, amount in pressed:
        height, width = layer.relief.shape
        window = np.s_[layer.row : layer.row + height, layer.column : layer.column + width]
        _add_layer(colour[window], relief[window], layer.relief, layer.flush, np.float32(amount))
    return colour, relief


@njit(cache=True)
def _add_layer(colour, relief, fold, flush, amount):  # type: ignore[no-untyped-def]
    for i in range(fold.shape[0]):
        for j in range(fold.shape[1]):
            depth = fold[i, j] * amount
            red = flush[i, j] * amount
            relief[i, j] += depth
            groove = -depth if depth < 0 else np.float32(0)
            shade = np.float32(1) - np.float32(_SHADE) * groove / (groove + np.float32(_WORN))
            # Light that has gone through a fold's flesh is redder: less red is lost than green and blue.
            colour[i, j, 0] *= (np.float32(0.35) + np.float32(0.65) * shade) * (
                np.float32(1) + np.float32(0.05) * abs(red)
            )
            tint = np.float32(1) - np.float32(0.13) * red
            colour[i, j, 1] *= shade * tint
            colour[i, j, 2] *= shade * tint


@dataclass(frozen=True)
class _Chance:
    """Random numbers that both sides share, those of one side alone, and how much the latter count (0 to 1)."""

    shared: np.random.Generator
    alone: np.random.Generator
    uneven: float


def _draw(fold: Fold, chance: _Chance, size: int) -> tuple[tuple[int, int], np.ndarray, np.ndarray]:
    """First texel (row, column), relief (h, w) and flush (h, w) of a fold's window on the left."""
    lines = [(crease, _course(crease, chance)) for crease in fold.creases]
    first, last = _bounds(fold, [(line, crease.width) for crease, line in lines])
    low, high = HEIGHT_LIMITS
    pitch = np.array([2 * AZIMUTH_LIMIT / size, (high - low) / size])
    left = int(max((first[0] + AZIMUTH_LIMIT) / pitch[0], 0))
    top = int(max((high - last[1]) / pitch[1], 0))
    width = int(np.ceil((last[0] - first[0]) / pitch[0])) + 1
    height = int(np.ceil((last[1] - first[1]) / pitch[1])) + 1
    across = (left + 0.5 + np.arange(width)) * pitch[0] - AZIMUTH_LIMIT
    up = high - (top + 0.5 + np.arange(height)) * pitch[1]
    relief, flush = np.zeros((height, width)), np.zeros((height, width))
    for crease, line in lines:
        own = float(crease.depth * np.exp(chance.shared.normal(0, 0.22)))
        profile = np.array([crease.width, own, *crease.bulge, *crease.ends])
        _add_crease(relief, across, up, line, profile)
    for patch in (*fold.swells, *_strewn(fold, chance)):
        relief += patch.amount * _spot(patch, across, up)
    for patch in fold.flush:
        flush += patch.amount * _spot(patch, across, up)
    half = np.clip(0.5 + across / _MIDLINE, 0, 1)
    return (top, left), (relief * half).astype(np.float32), (flush * half).astype(np.float32)


def _placed(
    unit: str, side: int, window: tuple[int, int], relief: np.ndarray, flush: np.ndarray, *, size: int
) -> Layer:
    """A layer of what was drawn on the left; mirrored for side 1."""
    row, column = window
    if side == 1:
        column = size - column - relief.shape[1]
        relief, flush = np.ascontiguousarray(relief[:, ::-1]), np.ascontiguousarray(flush[:, ::-1])
    return Layer(unit, side, row, column, relief, flush)


def _course(crease: Crease, chance: _Chance) -> np.ndarray:
    """(P, 2) points of a person's own course: moved as a whole, bent, and finely divided."""
    knots, shared, alone = np.array(crease.course), chance.shared, chance.alone
    bend = min(0.006, 0.03 * float(np.linalg.norm(np.diff(knots, axis=0), axis=1).sum()))
    moved = knots + shared.normal(0, 0.008, 2) + shared.normal(0, bend, knots.shape)
    own = (alone.normal(0, 0.006, 2) + alone.normal(0, 0.8 * bend, knots.shape)) * chance.uneven
    moved += own * np.clip(np.abs(knots[:, :1]) / 0.1, 0, 1)  # halves that meet in the middle meet at one height
    if knots[0, 0] < 0:
        moved[:2, 0] = knots[:2, 0]
    return np.asarray(_smoothing(len(knots)) @ moved)


@functools.cache
def _smoothing(knots: int) -> np.ndarray:
    """(P, knots) matrix that lays a cubic, or less with few knots, along them."""
    degree = min(3, knots - 1)
    at = np.vander(np.linspace(0, 1, knots), degree + 1)
    return np.asarray(np.vander(np.linspace(0, 1, _SEGMENTS + 1), degree + 1) @ np.linalg.pinv(at))


def _bounds(fold: Fold, lines: Sequence[tuple[np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest (azimuth, height) that a fold reaches."""
    corners = [line.min(0) - _REACH * width for line, width in lines]
    corners += [line.max(0) + _REACH * width for line, width in lines]
    for patch in (*fold.swells, *fold.flush, *((fold.pitted,) if fold.pits else ())):
        reach = 2.4 * np.array([patch.wide, patch.tall])
        corners += [np.array([patch.azimuth, patch.height]) - reach, np.array([patch.azimuth, patch.height]) + reach]
    first = np.maximum(np.min(corners, 0), [-_MIDLINE / 2, HEIGHT_LIMITS[0] + 0.01])
    return first, np.minimum(np.max(corners, 0), [AZIMUTH_LIMIT - 0.02, HEIGHT_LIMITS[1] - 0.02])


def _spot(patch: Patch, across: np.ndarray, up: np.ndarray) -> np.ndarray:
    """(h, w) soft spot of height 1."""
    right = np.exp(-(((across - patch.azimuth) / patch.wide) ** 2))
    return np.asarray(np.exp(-(((up - patch.height) / patch.tall) ** 2))[:, None] * right)


def _strewn(fold: Fold, chance: _Chance) -> Iterator[Patch]:
    """The dents of a fold, apart from each other."""
    area = fold.pitted
    places: list[np.ndarray] = []
    for _ in range(20 * fold.pits):
        mirrored, own = chance.shared.uniform(-1, 1, 2), chance.alone.uniform(-1, 1, 2)
        place = (own if chance.uneven else mirrored) * [area.wide, area.tall]
        if len(places) < fold.pits and all(np.hypot(*(place - other)) > 0.030 for other in places):
            places.append(place)
            depth = -fold.pit_depth * chance.shared.uniform(0.6, 1.2)
            yield Patch(area.azimuth + place[0], area.height + place[1], 0.013, 0.013, depth)


@njit(cache=True)
def _add_crease(relief, across, up, line, profile):  # type: ignore[no-untyped-def]
    width, depth, bulge_left, bulge_right, fade_in, fade_out = profile
    reach = _REACH * width
    low, high = line[:, 0].min() - reach, line[:, 0].max() + reach
    floor, roof = line[:, 1].min() - reach, line[:, 1].max() + reach
    for i in range(up.size):
        if up[i] < floor or up[i] > roof:
            continue
        for j in range(across.size):
            if across[j] < low or across[j] > high:
                continue
            nearest, aside, along = 1e9, 0.0, 0.0
            for k in range(line.shape[0] - 1):
                tx, ty = line[k + 1, 0] - line[k, 0], line[k + 1, 1] - line[k, 1]
                px, py = across[j] - line[k, 0], up[i] - line[k, 1]
                t = min(max((px * tx + py * ty) / (tx * tx + ty * ty + 1e-12), 0.0), 1.0)
                dx, dy = px - t * tx, py - t * ty
                distance = dx * dx + dy * dy
                if distance < nearest:
                    nearest = distance
                    aside = tx * py - ty * px
                    along = (k + t) / (line.shape[0] - 1)
            d = np.sqrt(nearest) / width
            if nearest < reach * reach:
                grow = min(along / fade_in, 1.0) if fade_in > 0 else 1.0
                wane = min((1 - along) / fade_out, 1.0) if fade_out > 0 else 1.0
                fade = grow * grow * (3 - 2 * grow) * wane * wane * (3 - 2 * wane)
                bulge = bulge_left if aside > 0 else bulge_right
                swell = bulge * (1 - np.exp(-d * d)) * np.exp(-((d - 1.8) ** 2) / 1.7)
                relief[i, j] += depth * fade * (swell - np.exp(-d * d))
