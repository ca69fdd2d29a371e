"""Lesions, and vessels that pass for them in one slice.

Both are made by the same functions: a lesion ends above and below, a decoy goes on through the whole slab. Size,
outline, HU, edge and place of a decoy come from the same draws as those of a lesion of the kind that it mimics, so that
a single slice tells little; the neighbours tell.

Shapes      K planes   S slices   N pixels a side   D directions
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from semeia.data.synthetic.slabs.canvas import Canvas
from semeia.data.synthetic.slabs.kinds import Inside, Kind, draw_long_axis, fitting
from semeia.data.synthetic.slabs.tissue import Tissue, hosts

_TRIES = 14
LARGEST_DECOY = 26.0
"""Long axis in mm above which nobody would take a vessel for a lesion."""

_VESSEL = {
    Tissue.LUNG: Tissue.LUNG_VESSEL, Tissue.LIVER: Tissue.LIVER_VESSEL,
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """An uneven ellipsoid, or a tube with such a section.

    Attributes:
        centre: plane, row and column.
        axes: half-axes across, deep and along z in mm before unevenness.
        turn: in the plane, radians.
        waves: (D, 5) of the surface: direction, phase, amplitude as a share of the radius.
        spikes: (D, 3) directions of spikes.
        edge: width of the edge in mm.
        drift: mm that the middle moves across and in depth a mm along z.
        through: whether it goes on through the slab.
    """

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    turn: float
    waves: np.ndarray
    spikes: np.ndarray
    edge: float
    drift: tuple[float, float]
    through: bool

    def swell(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Factor of the radius in directions of unit length."""
        factor = np.ones_like(x)
        for a, b, c, phase, amplitude in self.waves:
            factor = factor + amplitude * np.sin(a * x + b * y + c * z + phase)
        for a, b, c in self.spikes:
            factor = factor + 0.55 * np.exp((a * x + b * y + c * z - 1) / 0.012)
        return factor


@dataclass(frozen=True)
class Growth:
    """What a form covers.

    Attributes:
        window: planes, rows, columns.
        cover: of the window, in [0, 1].
        depth: of the window, 0 in the middle, 1 at the edge.
    """

    window: tuple[slice, slice, slice]
    cover: np.ndarray
    depth: np.ndarray


@dataclass(frozen=True)
class Placed:
    """A lesion or decoy in the planes: its kind, form, HU, look, and cover of its window."""

    kind: Kind
    form: Form
    hu: float
    inside: Inside
    growth: Growth
    long_mm: float

    def slices(self, planes: int, shape: tuple[int, int, int]) -> np.ndarray:
        """(S, N, N) share of each pixel of each slice that it covers."""
        full = np.zeros((shape[0] * planes, *shape[1:]), np.float32)
        full[self.growth.window] = self.growth.cover
        return full.reshape(shape[0], planes, *shape[1:]).mean(1)


def draw_form(rng: np.random.Generator, kind: Kind, long: float, centre: tuple[float, float, float], *,
              through: bool = False, spiculated: bool = False) -> Form:  # fmt: skip
    """The form of a lesion whose section at its middle is ``long`` mm long."""
    flat = 0.45 if kind.name == "pleural" else rng.uniform(0.62, 0.98)
    axes = (0.5 * long, 0.5 * long * flat, 0.5 * long * rng.uniform(0.7, 1.0))
    lobed = kind.lobed * rng.uniform(0.4, 1.5)
    waves = np.concatenate(
        [rng.normal(0, 2.6, (6, 3)), rng.uniform(0, 2 * np.pi, (6, 1)), rng.normal(0, lobed, (6, 1))], 1
    )
    count = rng.integers(7, 15) if spiculated else 0
    spikes = rng.normal(0, 1, (count, 3)) * (1, 1, 0.6)
    spikes /= np.maximum(np.linalg.norm(spikes, axis=1, keepdims=True), 1e-9)
    drift = (float(rng.normal(0, 0.2)), float(rng.normal(0, 0.2)))
    edge = min(rng.uniform(*kind.edge), 0.35 * long)
    form = Form(centre, axes, rng.uniform(0, np.pi), waves, spikes, edge, drift, through)
    # Unevenness makes it longer or shorter: bring the section at the middle back to the length drawn.
    angle = np.arange(90) / 90 * 2 * np.pi
    smooth = replace(form, spikes=np.zeros((0, 3)))
    radius = smooth.swell(np.cos(angle), np.sin(angle), np.zeros(90)) / np.hypot(
        np.cos(angle) / axes[0], np.sin(angle) / axes[1]
    )
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    measured = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
    factor = float(long / measured)
    return replace(form, axes=(axes[0] * factor, axes[1] * factor, axes[2] * factor))


def grow(form: Form, shape: tuple[int, int, int], spacing: float, step: float) -> Growth | None:
    """What a form covers in planes (K, N, N) ``step`` mm apart with pixels of ``spacing`` mm; None where nothing."""
    k, row, column = form.centre
    factor = 1.6 if len(form.spikes) else 1.35
    reach = factor * max(form.axes[:2]) + form.edge + 2
    high = np.inf if form.through else 1.35 * form.axes[2] + form.edge
    sides = []
    for place, far, size, length in (
        (k, high, shape[0], step),
        (row, reach, shape[1], spacing),
        (column, reach, shape[2], spacing),
    ):
        if np.isinf(far):
            sides.append(slice(0, size))
        else:
            sides.append(slice(max(int(place - far / length), 0), min(int(place + far / length) + 2, size)))
    if form.through:  # it drifts aside
        wander = 0.6 * shape[0] * step / spacing
        sides[1] = slice(
            max(int(row - reach / spacing - wander), 0), min(int(row + reach / spacing + wander) + 2, shape[1])
        )
        sides[2] = slice(
            max(int(column - reach / spacing - wander), 0), min(int(column + reach / spacing + wander) + 2, shape[2])
        )
    if any(side.stop <= side.start for side in sides):
        return None
    z = ((np.arange(sides[0].start, sides[0].stop) - k) * step)[:, None, None]
    y = ((np.arange(sides[1].start, sides[1].stop) - row) * spacing)[None, :, None]
    x = ((np.arange(sides[2].start, sides[2].stop) - column) * spacing)[None, None, :]
    if form.through:
        x, y = x - form.drift[0] * z, y - form.drift[1] * z
        z = np.zeros_like(z)
    cosine, sine = np.cos(form.turn), np.sin(form.turn)
    u, v, z = np.broadcast_arrays(cosine * x + sine * y, -sine * x + cosine * y, z)
    length = np.sqrt(u * u + v * v + z * z) + 1e-6
    scaled = np.sqrt((u / form.axes[0]) ** 2 + (v / form.axes[1]) ** 2 + (z / form.axes[2]) ** 2)
    depth = (scaled / np.maximum(form.swell(u / length, v / length, z / length), 0.3)).astype(np.float32)
    thin = min(form.axes[:2])
    cover = np.clip(0.5 + (1 - depth) * thin / form.edge, 0, 1)
    return Growth((sides[0], sides[1], sides[2]), cover, depth)


def place(canvas: Canvas, rng: np.random.Generator, kind: Kind, long: float, plane: float, *,
          taken: np.ndarray, through: bool = False) -> Placed | None:  # fmt: skip
    """Find room for a lesion or decoy of a kind.

    Args:
        canvas: healthy planes.
        rng: random numbers.
        kind: which.
        long: long axis in mm.
        plane: of the middle.
        taken: (N, N) bool, where others already lie.
        through: whether it is a decoy.

    Returns:
        None where no room was found after some tries.
    """
    middle = canvas.tissue[round(plane)]
    allowed = hosts(*kind.hosts)[middle] & ~taken
    if kind.name == "pleural":
        allowed &= ndimage.binary_dilation(middle == Tissue.MUSCLE, iterations=3)
    rows, columns = np.nonzero(allowed)
    if len(rows) < 6:
        return None
    reachable = hosts(*kind.hosts, *kind.reach)
    spacing, step = canvas.scan.spacing, canvas.scan.thickness / canvas.scan.planes
    looks = ("solid",) if through and kind.insides != ("glass",) else kind.insides
    inside: Inside = looks[rng.integers(len(looks))]
    for _ in range(_TRIES):
        spot = rng.integers(len(rows))
        centre = (plane, rows[spot] + rng.uniform(-0.5, 0.5), columns[spot] + rng.uniform(-0.5, 0.5))
        form = draw_form(rng, kind, long, centre, through=through, spiculated=inside == "spiculated")
        growth = grow(form, canvas.tissue.shape, spacing, step)
        if growth is None:
            continue
        k = round(plane) - growth.window[0].start
        if not 0 <= k < len(growth.cover):
            continue
        section = growth.cover[k] >= 0.5
        here = canvas.tissue[(round(plane), *growth.window[1:])]
        free = reachable[here] & ~taken[growth.window[1:]]
        if section.sum() < 4 or (section & free).sum() < kind.contained * section.sum():
            continue
        onto = reachable[canvas.tissue[growth.window]] & ~taken[growth.window[1:]]
        cover = growth.cover * onto
        kept, _ = ndimage.label(cover[k] >= 0.5)
        at = kept[np.clip(round(centre[1]) - growth.window[1].start, 0, kept.shape[0] - 1),
                  np.clip(round(centre[2]) - growth.window[2].start, 0, kept.shape[1] - 1)]  # fmt: skip
        if at == 0 or (kept == at).sum() < kind.contained * 0.8 * section.sum():
            continue
        base = float(np.median(canvas.hu[growth.window][k][section & free])) if kind.relative else 0.0
        hu = kind.hu(rng, canvas.scan.phase) + base
        return Placed(kind, form, hu, inside, replace(growth, cover=cover), long)
    return None


def paint(hu: np.ndarray, placed: Placed, rng: np.random.Generator) -> None:
    """Paint a lesion or decoy into planes (K, N, N) of HU."""
    window, cover, depth = placed.growth.window, placed.growth.cover, placed.growth.depth
    below = hu[window]
    core = np.clip((rng.uniform(0.45, 0.72) - depth) / 0.14 + 0.5, 0, 1)
    value = np.full(cover.shape, placed.hu, np.float32)
    if placed.inside == "cavity":
        value += core * (rng.uniform(-960, -800) - placed.hu)
    elif placed.inside == "target":
        value -= core * rng.uniform(14, 34)
    elif placed.inside == "rim":
        value += (1 - core) * rng.uniform(10, 32) - 8
    elif placed.inside == "glass":  # lung shows through
        value = np.maximum(below, placed.hu + 0.35 * (below + 860)).astype(np.float32)
    if placed.inside in ("solid", "target") and placed.long_mm > 25 and not placed.form.through:
        patches = ndimage.gaussian_filter(rng.standard_normal(cover.shape, np.float32), 3.5)
        value -= np.clip(patches / max(patches.std(), 1e-6) - 0.9, 0, 1.5) * rng.uniform(5, 22)
    below += (value - below) * cover


def put_decoys(canvas: Canvas, rng: np.random.Generator, count: int, taken: np.ndarray) -> list[Placed]:
    """Paint vessels through the slab that look like lesions in the middle plane; marks ``taken`` (N, N)."""
    found: list[Placed] = []
    plane = (len(canvas.z) - 1) / 2
    for _ in range(4 * count):
        if len(found) == count:
            break
        long = draw_long_axis(rng)
        kinds = fitting(canvas.scan.height, long, mimicked=True)
        if long > LARGEST_DECOY or not kinds:
            continue
        share = np.array([kind.share for kind in kinds])
        decoy = place(
            canvas, rng, kinds[rng.choice(len(kinds), p=share / share.sum())], long, plane, taken=taken, through=True
        )
        if decoy is None:
            continue
        paint(canvas.hu, decoy, rng)
        vessel = _VESSEL.get(decoy.kind.hosts[0], Tissue.BLOOD)
        canvas.tissue[decoy.growth.window][decoy.growth.cover >= 0.5] = vessel
        mark(taken, decoy)
        found.append(decoy)
    return found


def mark(taken: np.ndarray, placed: Placed) -> None:
    """Mark where something lies, and a margin, so that nothing else comes there."""
    near = ndimage.binary_dilation(placed.growth.cover.max(0) > 0.2, iterations=3)
    taken[placed.growth.window[1:]] |= near
