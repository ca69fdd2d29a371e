"""Outlines of organs by height, and what is made of them.

Tables are in millimetres of a reference adult: x to the patient's left, y to the back, z to the head; z = 0 at the
upper edge of the pubic symphysis. They are written by hand from general anatomy, after no data set.

Shapes      K planes   P points of an outline   L levels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

POINTS = 72
"""P, points of every outline."""

Points = Sequence[tuple[float, float]]
Oval = tuple[float, float, float, float, float]
"""Centre x and y, half-axes, and turn in degrees."""


@dataclass(frozen=True)
class Loft:
    """A solid given by outlines at some heights.

    ``levels`` (L,) ascending, ``outlines`` (L, P, 2); ``caps`` are the millimetres by which it reaches beyond the
    lowest and the highest level, rounded.
    """

    levels: np.ndarray
    outlines: np.ndarray
    caps: tuple[float, float]

    def at(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outlines (K, P, 2) at heights (K,), and in which of them there is one (K,)."""
        low, high = self.levels[0], self.levels[-1]
        inside = np.clip(z, low, high)
        place = np.clip(np.searchsorted(self.levels, inside, side="right") - 1, 0, max(len(self.levels) - 2, 0))
        above = np.minimum(place + 1, len(self.levels) - 1)
        gap = np.maximum(self.levels[above] - self.levels[place], 1e-9)
        share = ((inside - self.levels[place]) / gap)[:, None, None]
        outlines = self.outlines[place] * (1 - share) + self.outlines[above] * share  # (K, P, 2)
        beyond = np.maximum((low - z) / max(self.caps[0], 1e-9), (z - high) / max(self.caps[1], 1e-9))
        shrink = np.sqrt(np.clip(1 - np.clip(beyond, 0, 1) ** 2, 0, 1))[:, None, None]
        centre = outlines.mean(1, keepdims=True)
        return centre + shrink * (outlines - centre), beyond < 1

    def moved(
        self, *, shift: Sequence[float] | np.ndarray = (0, 0, 0), scale: float = 1.0, ripple: np.ndarray | None = None
    ) -> Loft:
        """Shifted in millimetres, scaled about each level's centre, and the outline's radius multiplied by a ripple.

        Args:
            shift: x, y, z.
            scale: factor of all sizes in the plane.
            ripple: (P,) factors.
        """
        centre = self.outlines.mean(1, keepdims=True)
        factor = scale if ripple is None else scale * ripple[:, None]
        outlines = centre + (self.outlines - centre) * factor + np.asarray(shift[:2])
        return Loft(self.levels + shift[2], outlines, self.caps)

    def mirrored(self) -> Loft:
        """The same on the other side."""
        return Loft(self.levels, self.outlines * np.array([-1.0, 1.0]), self.caps)


def smooth(points: Points) -> np.ndarray:
    """(P, 2) smooth closed outline through points, equally spaced along it, beginning at the first."""
    closed = np.asarray([*points, points[0]], float)
    length = np.concatenate([[0], np.cumsum(np.maximum(np.linalg.norm(np.diff(closed, axis=0), axis=1), 1e-6))])
    fine = CubicSpline(length, closed, bc_type="periodic")(np.linspace(0, length[-1], 8 * POINTS + 1))
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(fine, axis=0), axis=1))])
    places = np.arange(POINTS) / POINTS * along[-1]
    return np.stack([np.interp(places, along, fine[:, axis]) for axis in (0, 1)], 1)


def oval(x: float, y: float, across: float, deep: float, turn: float = 0.0, *, power: float = 2.0) -> np.ndarray:
    """(P, 2) ellipse, or a squarer one for a ``power`` above 2; begins in front and goes to the left."""
    angle = np.arange(POINTS) / POINTS * 2 * np.pi
    sine, cosine = np.sin(angle), -np.cos(angle)
    u = across * np.sign(sine) * abs(sine) ** (2 / power)
    v = deep * np.sign(cosine) * abs(cosine) ** (2 / power)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.stack([x + c * u - s * v, y + s * u + c * v], 1)


def band(course: Points, width: float) -> np.ndarray:
    """(P, 2) outline of a plate: a course from one edge to the other, of a width."""
    line = np.asarray(course, float)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    places = np.linspace(0, along[-1], POINTS // 2)
    shape = CubicSpline(along, line)(places)
    tangent = np.gradient(shape, axis=0)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1) / np.maximum(np.linalg.norm(tangent, axis=1), 1e-9)[:, None]
    # Rounded edges.
    half = width / 2 * np.sqrt(np.clip(1 - (2 * np.abs(places / along[-1] - 0.5)) ** 8, 0.05, 1))[:, None]
    return np.concatenate([shape + half * normal, (shape - half * normal)[::-1]])


def loft(levels: Mapping[float, Points], caps: tuple[float, float] = (0, 0)) -> Loft:
    """A solid through outlines that begin at corresponding points and go around the same way."""
    heights = sorted(levels)
    return Loft(np.array(heights, float), np.stack([smooth(levels[z]) for z in heights]), caps)


def halves(levels: Mapping[float, Points], caps: tuple[float, float] = (0, 0)) -> Loft:
    """A solid that is alike on both sides, given by its left half from the front to the back."""
    return loft({z: [*half, *((-x, y) for x, y in reversed(half) if x > 0)] for z, half in levels.items()}, caps)


def ovals(levels: Mapping[float, Oval], caps: tuple[float, float] = (0, 0), power: float = 2.0) -> Loft:
    """A solid of elliptic sections."""
    heights = sorted(levels)
    return Loft(np.array(heights, float), np.stack([oval(*levels[z], power=power) for z in heights]), caps)


def bands(levels: Mapping[float, tuple[Points, float]], caps: tuple[float, float] = (0, 0)) -> Loft:
    """A plate by height: courses and widths."""
    heights = sorted(levels)
    return Loft(np.array(heights, float), np.stack([band(*levels[z]) for z in heights]), caps)


def ellipsoid(centre: Sequence[float] | np.ndarray, axes: Sequence[float] | np.ndarray, turn: float = 0.0) -> Loft:
    """An ellipsoid with one axis along z."""
    steps = np.sin(np.linspace(-0.48, 0.48, 9) * np.pi)
    sections = [
        oval(centre[0], centre[1], axes[0] * np.sqrt(1 - s * s), axes[1] * np.sqrt(1 - s * s), turn) for s in steps
    ]
    return Loft(centre[2] + axes[2] * steps, np.stack(sections), (0.02 * axes[2], 0.02 * axes[2]))


def normals(outlines: np.ndarray) -> np.ndarray:
    """(..., P, 2) unit vectors out of closed outlines."""
    tangent = np.roll(outlines, -1, -2) - np.roll(outlines, 1, -2)
    normal = np.stack([tangent[..., 1], -tangent[..., 0]], -1)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)
    x, y = outlines[..., 0], outlines[..., 1]
    area = (x * np.roll(y, -1, -1) - np.roll(x, -1, -1) * y).sum(-1)
    return normal * np.sign(area)[..., None, None]


def grown(outlines: np.ndarray, millimetres: float | np.ndarray) -> np.ndarray:
    """Outlines pushed out along their normals (in, where negative); by one number or by (..., P)."""
    return outlines + normals(outlines) * np.asarray(millimetres)[..., None]
