"""One slab of a patient: slices with lesions, the same slices without them, masks, axes, boxes, decoys.

Shapes      S slices   N pixels a side   K planes
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semeia.data.synthetic.slabs import scanner
from semeia.data.synthetic.slabs.axes import Axes, measure, padded_box
from semeia.data.synthetic.slabs.body import paint_body
from semeia.data.synthetic.slabs.canvas import Canvas
from semeia.data.synthetic.slabs.kinds import Kind, draw_long_axis, fitting
from semeia.data.synthetic.slabs.lesions import Placed, mark, paint, place, put_decoys
from semeia.data.synthetic.slabs.person import Person, Region, Scan, draw_person, draw_scan

_COUNT_ODDS = (0.93, 0.06, 0.01)
_LEAST_SHORT = 2.0  # pixels of the short axis below which nobody would measure
DECOYS = (2, 6)
"""Fewest and most decoys of a slab."""


@dataclass(frozen=True)
class SlabLesion:
    """A lesion on the key slice.

    Attributes:
        kind: its name.
        type: 1 to 8.
        number: in the masks, from 1.
        axes: on the key slice.
        box: (4,) x0, y0, x1, y1 in pixels, padded.
        centre: slice, row and column of its middle; fractions are allowed.
        labelled: whether the table of the data set tells of it.
    """

    kind: str
    type: int
    number: int
    axes: Axes
    box: np.ndarray
    centre: tuple[float, float, float]
    labelled: bool


@dataclass(frozen=True)
class Decoy:
    """A vessel through the slab that looks like a lesion of ``kind`` on the key slice.

    Attributes:
        kind: of lesion that it passes for.
        slice: the key slice.
        centre: x and y there, in pixels.
        radius: half its longest diameter there, in pixels.
    """

    kind: str
    slice: int
    centre: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class Slab:
    """What was made.

    Attributes:
        person: who.
        scan: how.
        study: number of the slab of this patient, from 1.
        hu: (S, N, N) int16, lowest slice first.
        healthy: (S, N, N) int16, the same without lesions: same body, same noise.
        masks: (S, N, N) uint8, 0 or the number of a lesion.
        key: the key slice.
        lesions: labelled ones first.
        decoys: vessels.
    """

    person: Person
    scan: Scan
    study: int
    hu: np.ndarray
    healthy: np.ndarray
    masks: np.ndarray
    key: int
    lesions: tuple[SlabLesion, ...]
    decoys: tuple[Decoy, ...]


def draw_slab(
    seed: int, patient: int, study: int = 1, *, size: int = 256, region: Region | None = None, unlabelled: float = 0.0
) -> Slab:
    """Make a slab.

    Args:
        seed: of the world.
        patient: number.
        study: number of the slab of this patient, from 1.
        size: pixels a side.
        region: instead of a drawn one.
        unlabelled: share of all lesions that the table does not tell of, on average.

    Returns:
        The slab; the same arguments give the same bytes.
    """
    person = draw_person(seed, patient)
    scan = draw_scan(person, study, size=size, region=region)
    canvas = paint_body(person, scan)
    return fill_slab(canvas, study, unlabelled=unlabelled)


def fill_slab(canvas: Canvas, study: int, *, unlabelled: float = 0.0) -> Slab:
    """Put lesions and decoys into a healthy body, and scan it."""
    person, scan = canvas.person, canvas.scan
    rng = person.stream(f"lesions {study}")
    taken = np.zeros(canvas.tissue.shape[1:], bool)
    count = 1 + rng.choice(3, p=_COUNT_ODDS)
    hidden = int(rng.poisson(count * unlabelled / (1 - unlabelled))) if unlabelled else 0
    placed, covers = _place_all(canvas, rng, int(count) + hidden, taken)
    key = _key_slice(covers[0])
    decoys = put_decoys(canvas, person.stream(f"decoys {study}"), int(rng.integers(DECOYS[0], DECOYS[1] + 1)), taken)
    hu = canvas.hu.copy()
    for lesion in placed:
        paint(hu, lesion, rng)
    clean, healthy = _scanned(canvas, hu, covers, person.stream(f"scanner {study}"))
    lesions, masks = _described(placed, covers, key, int(count), scan.size)
    return Slab(
        person=person,
        scan=scan,
        study=study,
        hu=clean,
        healthy=healthy,
        masks=masks,
        key=key,
        lesions=lesions,
        decoys=tuple(seen for decoy in decoys if (seen := _decoy(decoy, scan, key))),
    )


def _place_all(
    canvas: Canvas, rng: np.random.Generator, count: int, taken: np.ndarray
) -> tuple[list[Placed], list[np.ndarray]]:
    """Lesions that can all be measured on the slice of the first, and what they cover of the slices (S, N, N)."""
    scan = canvas.scan
    plane = (len(canvas.z) - 1) / 2 + rng.uniform(-0.6, 0.6) * scan.planes
    placed: list[Placed] = []
    covers: list[np.ndarray] = []
    tries = 0
    while len(placed) < count and (tries < 30 or not placed):
        tries += 1
        long = draw_long_axis(rng)
        # The same length for several kinds, so that hard-to-place ones do not change the sizes.
        kinds = fitting(scan.height, long)
        for kind in _shuffled(rng, kinds):
            lesion = place(canvas, rng, kind, long, plane, taken=taken)
            if lesion is None:
                continue
            cover = lesion.slices(scan.planes, (scan.slices, scan.size, scan.size))
            key = _key_slice(covers[0] if covers else cover)
            axes = measure(cover[key])
            if axes is None or axes.short < _LEAST_SHORT:
                continue
            mark(taken, lesion)
            placed.append(lesion)
            covers.append(cover)
            break
    return placed, covers


def _shuffled(rng: np.random.Generator, kinds: list[Kind]) -> list[Kind]:
    """Kinds in an order drawn by their shares."""
    if not kinds:
        return []
    share = np.array([kind.share for kind in kinds])
    order = rng.choice(len(kinds), len(kinds), replace=False, p=share / share.sum())
    return [kinds[k] for k in order]


def _key_slice(cover: np.ndarray) -> int:
    """The slice near the middle in which a lesion is largest."""
    area = cover.sum((1, 2))
    middle = len(area) // 2
    near = slice(middle - 1, middle + 2)
    best = np.flatnonzero(area[near] >= 0.98 * area[near].max()) + middle - 1
    return int(best[np.abs(best - middle).argmin()])


def _scanned(
    canvas: Canvas, hu: np.ndarray, covers: list[np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(S, N, N) int16 with and without lesions; grain of the body fades where a lesion lies, noise is the same."""
    scan = canvas.scan
    grain = scanner.texture(canvas, rng)
    kept = 1 - 0.75 * np.clip(np.sum(covers, axis=0), 0, 1)
    healthy = scanner.resolve(scanner.slices(canvas.hu, scan.planes) + grain, scan.spacing, sharp=scan.sharp)
    # Only slices that a lesion touches differ.
    touched = np.flatnonzero(kept.min((1, 2)) < 1)
    part = slice(touched[0], touched[-1] + 1)
    planes = slice(part.start * scan.planes, part.stop * scan.planes)
    with_lesions = healthy.copy()
    with_lesions[part] = scanner.resolve(
        scanner.slices(hu[planes], scan.planes) + grain[part] * kept[part], scan.spacing, sharp=scan.sharp
    )
    noise = scanner.noise(canvas, healthy, rng)
    return scanner.developed(with_lesions + noise, canvas), scanner.developed(healthy + noise, canvas)


def _described(
    placed: list[Placed], covers: list[np.ndarray], key: int, labelled: int, size: int
) -> tuple[tuple[SlabLesion, ...], np.ndarray]:
    """Lesions with their axes, and the masks."""
    masks = np.zeros(covers[0].shape, np.uint8)
    lesions = []
    for number, (lesion, cover) in enumerate(zip(placed, covers, strict=True), 1):
        masks[cover >= 0.5] = number
        axes = measure(cover[key])
        assert axes is not None  # it was measured when it was placed
        weight = cover.sum()
        middle = tuple(
            float((cover.sum(tuple({0, 1, 2} - {axis})) * np.arange(cover.shape[axis])).sum() / weight)
            for axis in range(3)
        )
        lesions.append(
            SlabLesion(
                kind=lesion.kind.name,
                type=lesion.kind.type,
                number=number,
                axes=axes,
                box=padded_box(axes.ends, (size, size)),
                centre=(middle[0], middle[1], middle[2]),
                labelled=number <= labelled,
            )
        )
    return tuple(lesions), masks


def _decoy(decoy: Placed, scan: Scan, key: int) -> Decoy | None:
    """Where a decoy lies on the key slice; None: what it lies in ends before."""
    rows = decoy.growth.cover[key * scan.planes : (key + 1) * scan.planes].mean(0)  # all planes are in its window
    weight = rows.sum()
    if weight == 0:
        return None
    y = (rows.sum(1) * (np.arange(rows.shape[0]) + 0.5)).sum() / weight + decoy.growth.window[1].start
    x = (rows.sum(0) * (np.arange(rows.shape[1]) + 0.5)).sum() / weight + decoy.growth.window[2].start
    axes = measure(rows)
    radius = axes.long / 2 if axes else decoy.long_mm / 2 / scan.spacing
    return Decoy(decoy.kind.name, key, (float(x), float(y)), float(radius))
