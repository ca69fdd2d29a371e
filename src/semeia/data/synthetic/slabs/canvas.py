"""The stack of planes that the body is painted into.

Shapes      K planes   N pixels a side   P points of an outline   T tubes   Q points of a course
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semeia.data.synthetic.slabs import raster
from semeia.data.synthetic.slabs.outlines import POINTS, Loft, grown
from semeia.data.synthetic.slabs.person import Person, Scan
from semeia.data.synthetic.slabs.tissue import HU, Tissue, hosts

_MIDDLE = (0.0, -5.0)  # the point of the reference body that the turn leaves in place, mm
_ANYWHERE = hosts()


class Canvas:
    """HU and tissue of every plane, and the way from the reference body's millimetres to pixels.

    Attributes:
        hu: (K, N, N) float32.
        tissue: (K, N, N) uint8, numbers of ``Tissue``.
        z: (K,) heights of the planes in mm.
    """

    def __init__(self, person: Person, scan: Scan) -> None:
        self.person, self.scan = person, scan
        self.z = scan.heights
        shape = (len(self.z), scan.size, scan.size)
        self.hu = np.full(shape, -1000, np.float32)
        self.tissue = np.zeros(shape, np.uint8)
        self._scale = float(np.sqrt(person.build[0] * person.build[1]))

    def level(self, name: str) -> float:
        """HU that a tissue of ``HU`` has in the phase of the scan, in this person."""
        phase = ("native", "arterial", "portal", "late").index(self.scan.phase)
        row = HU[name]
        # Enhancement varies more between people than unenhanced tissue does; one factor for the whole body.
        boost = float(np.clip(self.person.stream("enhancement").normal(1, 0.15), 0.6, 1.4))
        own = self.person.stream("level " + name).normal(0, 3)
        return row[0] + (row[phase] - row[0]) * boost + own

    def place(self, points: np.ndarray, *, rigid: bool = False) -> np.ndarray:
        """(..., 3) x, y in pixels and z in pixels of points (..., 3) in mm of the reference body; not bent if rigid."""
        x, y, z = np.moveaxis(np.asarray(points, float), -1, 0)
        bent = np.zeros((*x.shape, 2)) if rigid else self._bend(x, y, z)
        rise = z - self.scan.height
        x = (x + bent[..., 0]) * self.person.build[0] - _MIDDLE[0] + self.scan.lean[0] * rise
        y = (y + bent[..., 1]) * self.person.build[1] - _MIDDLE[1] + self.scan.lean[1] * rise
        cosine, sine = np.cos(self.scan.turn), np.sin(self.scan.turn)
        across = cosine * x - sine * y + self.scan.shift[0]
        down = sine * x + cosine * y + self.scan.shift[1]
        middle = (self.scan.size - 1) / 2
        return np.stack([across / self.scan.spacing + middle, down / self.scan.spacing + middle, self.rise(z)], -1)

    def unplace(self, spots: np.ndarray) -> np.ndarray:
        """(Q, 3) mm of the reference body of plane, row and column (Q, 3)."""
        z = np.interp(spots[:, 0], np.arange(len(self.z)), self.z)
        middle, rise = (self.scan.size - 1) / 2, z - self.scan.height
        across = (spots[:, 2] - middle) * self.scan.spacing - self.scan.shift[0]
        down = (spots[:, 1] - middle) * self.scan.spacing - self.scan.shift[1]
        cosine, sine = np.cos(self.scan.turn), np.sin(self.scan.turn)
        x = (cosine * across + sine * down + _MIDDLE[0] - self.scan.lean[0] * rise) / self.person.build[0]
        y = (-sine * across + cosine * down + _MIDDLE[1] - self.scan.lean[1] * rise) / self.person.build[1]
        points = np.stack([x, y, z], 1)
        for _ in range(3):  # the bend is slow, so that this converges at once
            points[:, :2] = np.stack([x, y], 1) - self._bend(*points.T)
        return points

    def _bend(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """(..., 2) mm by which the body is bent at points."""
        amplitude, kx, ky, kz, phase = np.moveaxis(self.person.warp, -1, 0)  # (2, 4) each
        x, y, z = x[..., None, None], y[..., None, None], z[..., None, None]
        return (amplitude * np.sin(kx * x + ky * y + kz * z + phase)).sum(-1)

    def rise(self, z: np.ndarray) -> np.ndarray:
        """Heights in pixels from the middle plane."""
        return (z - self.scan.height) * self._scale / self.scan.spacing

    def pixels(self, millimetres: float | np.ndarray) -> float | np.ndarray:
        """Lengths of the reference body in pixels."""
        return millimetres * self._scale / self.scan.spacing

    def outlines(self, loft: Loft) -> tuple[np.ndarray, np.ndarray]:
        """(K, P, 2) outlines in mm and (K,) where they are."""
        return loft.at(self.z)

    def own(self, loft: Loft, name: str, *, shift: float = 2.5, size: float = 0.05, ripple: float = 0.025) -> Loft:
        """A solid as this person has it: displaced, larger or smaller, with an uneven surface.

        Args:
            loft: of the reference body.
            name: of the stream.
            shift: standard deviation of the displacement in mm; twice that along z.
            size: standard deviation of the factor of size.
            ripple: standard deviation of each of six waves around the outline, as a share of the radius.
        """
        rng = self.person.stream(name)
        angle = np.arange(POINTS) / POINTS * 2 * np.pi
        waves = rng.normal(0, ripple, (6, 2)) / np.sqrt(np.arange(1, 7))[:, None]
        factor = 1 + sum(a * np.sin(k * angle) + b * np.cos(k * angle) for k, (a, b) in enumerate(waves, 2))
        return loft.moved(
            shift=rng.normal(0, 1, 3) * (shift, shift, 2 * shift), scale=rng.normal(1, size), ripple=factor
        )

    def fill(
        self,
        shape: Loft | tuple[np.ndarray, np.ndarray],
        value: float,
        tissue: Tissue,
        onto: np.ndarray = _ANYWHERE,
        *,
        grow: float = 0.0,
        rigid: bool = False,
    ) -> None:
        """Paint a solid, or outlines (K, P, 2) in mm with the planes (K,) where they are.

        Args:
            shape: what.
            value: HU.
            tissue: its number.
            onto: (256,) tissues that it may be painted onto.
            grow: millimetres added all around.
            rigid: whether it is no part of the body, which is bent.
        """
        if isinstance(shape, Loft):
            meets = (self.z > shape.levels[0] - shape.caps[0] - 1) & (self.z < shape.levels[-1] + shape.caps[1] + 1)
        else:
            meets = shape[1]
        planes = np.flatnonzero(meets)
        if not len(planes):
            return
        part = slice(planes[0], planes[-1] + 1)
        z = self.z[part]
        outlines, shown = shape.at(z) if isinstance(shape, Loft) else (shape[0][part], shape[1][part])
        if grow:
            outlines = grown(outlines, grow)
        heights = np.broadcast_to(z[:, None, None], (*outlines.shape[:2], 1))
        flat = np.ascontiguousarray(self.place(np.concatenate([outlines, heights], -1), rigid=rigid)[..., :2])
        raster.fill(self.hu[part], self.tissue[part], flat, shown, float(value), int(tissue), onto)

    def balls(
        self, centres: np.ndarray, radii: np.ndarray, value: float, tissue: Tissue, onto: np.ndarray = _ANYWHERE
    ) -> None:
        """Paint small round things: centres (Q, 3) and radii (Q,) in mm."""
        width = np.asarray(radii, float)[:, None]
        self.tubes(np.concatenate([centres, centres, width, width], 1), value, tissue, onto)

    def tube(
        self,
        course: Sequence[Sequence[float]] | np.ndarray,
        radii: float | Sequence[float] | np.ndarray,
        value: float,
        tissue: Tissue,
        onto: np.ndarray = _ANYWHERE,
        *,
        flatness: float = 1.0,
    ) -> None:
        """Paint a round tube along a course (Q, 3) in mm with radii in mm."""
        points = np.asarray(course, float)
        radius = np.broadcast_to(np.asarray(radii, float), len(points))
        self.tubes(np.concatenate([points[:-1], points[1:], radius[:-1, None], radius[1:, None]], 1), value, tissue,
                   onto, flatness=flatness)  # fmt: skip

    def tubes(
        self, tubes: np.ndarray, value: float, tissue: Tissue, onto: np.ndarray = _ANYWHERE, *, flatness: float = 1.0
    ) -> None:
        """Paint tubes (T, 8): both ends in mm, and the radii there."""
        reach = tubes[:, 6:8].max(1) / flatness + 2
        meets = (tubes[:, [2, 5]].min(1) - reach < self.z[-1]) & (tubes[:, [2, 5]].max(1) + reach > self.z[0])
        if not meets.any():
            return
        tubes = tubes[meets]
        placed = np.concatenate([self.place(tubes[:, :3]), self.place(tubes[:, 3:6]), self.pixels(tubes[:, 6:8])], 1)
        raster.tubes(self.hu, self.tissue, placed, self.rise(self.z), flatness, float(value), int(tissue), onto)


def bend(course: Sequence[Sequence[float]] | np.ndarray, points: int = 24) -> np.ndarray:
    """(points, C) smooth course through a few points (Q, C); C may hold a radius too."""
    line = np.asarray(course, float)
    if len(line) == 2:
        return line[0] + np.linspace(0, 1, points)[:, None] * (line[1] - line[0])
    from scipy.interpolate import PchipInterpolator

    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line[:, :3], axis=0), axis=1))])
    return PchipInterpolator(along, line)(np.linspace(0, along[-1], points))


def uneven(canvas: Canvas, name: str, course: Sequence[Sequence[float]], spread: float = 1.5) -> np.ndarray:
    """A smooth course (24, 4) of x, y, z, radius as this person has it: points displaced, one factor of width."""
    rng = canvas.person.stream(name)
    line = np.asarray(course, float)
    line = line + np.concatenate([rng.normal(0, spread, (len(line), 3)), np.zeros((len(line), 1))], 1)
    line[:, 3] *= rng.normal(1, 0.08)
    return bend(line)
