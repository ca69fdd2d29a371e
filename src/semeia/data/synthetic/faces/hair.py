"""Hair as curves: grown once around the template, carried over to the person's resting head, drawn as thin lines.

Strands start along the way a style is combed, turn to the ground, stay on the skull, the neck and the shoulders, part
before the face, and run together into locks. Units are decimetres.

Shapes: N curves, K points a curve, W smooth skin vertices.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.spatial import cKDTree

from semeia.data.synthetic.faces.appearance import hair_colour, hairline
from semeia.data.synthetic.faces.haircuts import STYLES, Hair
from semeia.data.synthetic.faces.headspace import carry, distance_field, look_up
from semeia.data.synthetic.faces.topology import AXIS_DEPTH, canonical, load_topology, vertex_normals

STRANDS = 8500
STRAND_POINTS = 8
STRAND_RADIUS = 0.0075
FACE_TOP = 7.56
"""No strand hangs lower than this before the eyes, except beside the face; the brows of the template lie at 7.46."""

_STEPS = 16  # of the growth; the curve keeps STRAND_POINTS of them
_LOCKS = 420
_WHORL = np.array([0.08, 8.46, 0.10])


@dataclass(frozen=True)
class Locks:
    """A head of hair: ``points`` (N, K, 3) from root to tip and ``radius`` (N,) of each strand."""

    points: np.ndarray
    radius: np.ndarray


@dataclass(frozen=True)
class _Ground:
    """Triangles of the template's skin where hair may grow: corner ids, middles, normals, and areas."""

    triangles: np.ndarray
    middle: np.ndarray
    azimuth: np.ndarray
    area: np.ndarray
    grows: np.ndarray
    normals: np.ndarray


@dataclass(frozen=True)
class _Roots:
    """Where strands start: triangle ids and barycentric coordinates (N, 3); place and normal on the template (N, 3).

    ``edge`` (N,) is the height above the hairline.
    """

    triangle: np.ndarray
    share: np.ndarray
    place: np.ndarray
    normal: np.ndarray
    edge: np.ndarray


@functools.cache
def _ground() -> _Ground:
    skin = load_topology().smooth["skin"]
    corner = skin.template[skin.triangles]
    middle = corner.mean(1)
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    ear = (np.abs(middle[:, 0]) > 0.735) & (middle[:, 1] < 7.55) & (middle[:, 1] > 6.6)
    normals = vertex_normals(skin.template, skin.triangles)
    return _Ground(skin.triangles, middle, canonical(middle)[0], area, ~ear & (middle[:, 1] > 6.3), normals)


def grow_locks(hair: Hair, skin: np.ndarray, normals: np.ndarray, rng: np.random.Generator) -> Locks:
    """Grow strands on a resting head.

    Args:
        hair: the haircut.
        skin: (W, 3) smooth skin vertices of the resting head.
        normals: (W, 3) their normals.
        rng: stream of the hair stage.

    Returns:
        The strands in head coordinates.
    """
    style, roots = STYLES[hair.style], _choose_roots(hair, rng)
    fine = np.clip(roots.edge / 0.16, 0, 1)  # 0 at the hairline, where hairs are short and thin
    length = _lengths(hair, roots, rng) * (0.35 + 0.65 * fine)
    heading = _combed(hair, roots, rng)
    layer = 0.012 + hair.lift * rng.random(STRANDS) ** 1.3 * (0.25 + 0.75 * np.clip(roots.edge / 0.3, 0, 1))
    stand = style.stand * rng.uniform(0.6, 1.4, STRANDS) * (0.5 + 0.5 * fine)
    first = heading + roots.normal * stand[:, None]
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    azimuth = np.arctan2(roots.place[:, 0], roots.place[:, 2] - AXIS_DEPTH)
    bangs = (hair.fringe >= 0.5) & (np.abs(azimuth) < 0.62) & (roots.place[:, 2] > 0.75)
    side = np.where(roots.place[:, 0] - hair.parting + rng.normal(0, 0.05, STRANDS) >= 0, 1.0, -1.0)
    floor = FACE_TOP + np.where(bangs, rng.gamma(2, 0.02, STRANDS), rng.uniform(0.02, 0.14, STRANDS))
    knot = np.array([0.0, style.tied, -0.40 if style.tied < 8.2 else -0.18])
    around = distance_field()
    field = (around.values, around.low, around.step)
    starts = (roots.place, first, length, layer, side, bangs, floor)
    paths, ends = _grow(starts, (knot, style.tied > 0, style.gravity), field)
    if style.knot:
        _wind_knot(paths, knot, style.knot, rng)
    points = _resample(paths, ends)
    points = _run_together(points, roots, side, style.clump, rng)
    points = _wave(points, hair.curl, style.turns, rng)
    _keep_off(points, layer, floor, field)
    at = _ground().triangles[roots.triangle]
    root = (skin[at] * roots.share[..., None]).sum(1)
    carried = carry(points.reshape(-1, 3), skin).reshape(points.shape)
    fade = np.linspace(1, 0, STRAND_POINTS)[:, None] ** 2
    carried += (root - carried[:, 0])[:, None] * fade
    radius = STRAND_RADIUS * rng.uniform(0.7, 1.3, STRANDS) * (0.45 + 0.55 * fine)
    return Locks(carried, radius)


def strand_colours(hair: Hair, rng: np.random.Generator) -> np.ndarray:
    """(N, 3) linear RGB of the strands: lighter and darker ones, and grey hairs as single strands."""
    pigment = hair_colour(dataclasses.replace(hair, grey=0.0))
    grey = hair_colour(dataclasses.replace(hair, grey=1.0))
    colour = pigment * np.exp(rng.normal(0, 0.22, (STRANDS, 1)) + rng.normal(0, 0.05, (STRANDS, 3)))
    white = rng.random(STRANDS) < hair.grey
    colour[white] = grey * rng.uniform(0.75, 1.2, (int(white.sum()), 1))
    return np.clip(colour, 0.003, 0.9)


def _choose_roots(hair: Hair, rng: np.random.Generator) -> _Roots:
    ground, template = _ground(), load_topology().smooth["skin"].template
    height = ground.middle[:, 1]
    phase = rng.uniform(0, 2 * np.pi, 3)
    ragged = 0.022 * np.sin(np.outer(ground.azimuth, [5.0, 11.0, 19.0]) + phase).sum(1)
    edge = height - hairline(ground.azimuth, hair.line) + ragged
    nape = 6.35 if STYLES[hair.style].side > 0.6 else 6.62  # short cuts are shaved at the neck
    edge = np.where(ground.middle[:, 2] < 0.15, np.maximum(edge, height - nape), edge)
    edge = np.minimum(edge, height - nape + ragged)
    soft = np.clip((edge + 0.05) / 0.12, 0, 1) ** 1.5
    top = np.clip((height - 7.62 - ragged * 2) / 0.2, 0, 1)
    thin = 1 - top * min(1.0, hair.bald * 1.35)
    low = np.where(ground.middle[:, 2] < -0.1, 0.55, 1.0)
    density = ground.area * ground.grows * soft * thin * low
    triangle = rng.choice(len(density), STRANDS, p=density / density.sum())
    share = rng.dirichlet([1, 1, 1], STRANDS)
    at = ground.triangles[triangle]
    place = (template[at] * share[..., None]).sum(1)
    normal = (ground.normals[at] * share[..., None]).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    return _Roots(triangle, share, place, normal, edge[triangle] + place[:, 1] - height[triangle])


def _lengths(hair: Hair, roots: _Roots, rng: np.random.Generator) -> np.ndarray:
    """(N,) lengths: by zone of the head, with a few per cent from strand to strand."""
    style = STYLES[hair.style]
    top = np.clip((roots.place[:, 1] - 7.72) / 0.4, 0, 1)
    behind = np.clip((0.15 - roots.place[:, 2]) / 0.3, 0, 1)
    below = style.side + (style.back - style.side) * behind
    zone = below + (style.top - below) * top
    # Long hair ends at one height: what starts lower is shorter.
    return np.asarray(zone * hair.length / max(style.top, style.side) * rng.uniform(0.82, 1.06, STRANDS))


def _combed(hair: Hair, roots: _Roots, rng: np.random.Generator) -> np.ndarray:
    """(N, 3) unit directions along the skin."""
    style, place, normal = STYLES[hair.style], roots.place, roots.normal

    def along(direction: np.ndarray) -> np.ndarray:
        flat = direction - normal * (direction * normal).sum(1, keepdims=True)
        return np.asarray(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9))

    if style.tied:
        knot = np.array([0.0, style.tied, -0.35])
        return along(knot - place + rng.normal(0, 0.015, place.shape))
    side = np.sign(place[:, 0] - hair.parting + rng.normal(0, 0.03, STRANDS))
    parted = np.stack([side, np.full(STRANDS, -0.2), -0.25 * np.clip(place[:, 2] - 0.4, 0, 1)], 1)
    whorl, part, back = style.flow
    backwards = np.stack([0 * side, 0.15 + 0 * side, -np.ones(STRANDS)], 1)
    crown = along(whorl * along(place - _WHORL) + part * along(parted) + back * along(backwards))
    down = along(np.stack([0 * side, -np.ones(STRANDS), -0.35 * np.clip(place[:, 2] + 0.2, 0, 1)], 1))
    low = np.clip((8.0 - place[:, 1]) / 0.4, 0, 1)[:, None]
    front = (np.abs(np.arctan2(place[:, 0], place[:, 2] - AXIS_DEPTH)) < 0.6)[:, None]
    if hair.fringe >= 0.5:
        out = np.stack([0.25 * place[:, 0], -np.ones(STRANDS), np.ones(STRANDS)], 1)
        crown = np.where(front & (place[:, 2:] > 0.7), along(out), crown)
    heading = crown * (1 - low * ~front) + down * low * ~front
    noise = rng.normal(0, 0.06 + 0.35 * style.wave + (0.5 if style.kinky else 0.12 * style.stand), place.shape)
    return along(heading + noise)


@njit(cache=True)
def _grow(starts, rules, field):  # type: ignore[no-untyped-def]
    """Paths (N, S, 3) of the strands and the last step (N,) that each of them reached.

    ``starts`` are arrays over the strands, ``rules`` the style's knot, whether it is used, and gravity.
    """
    place, first, length, layer, side, bangs, floor = starts
    knot, tied, gravity = rules
    values, low, step = field
    count, steps = place.shape[0], _STEPS
    paths, ends = np.zeros((count, steps + 1, 3)), np.zeros(count, np.int64)
    here, heading, felt = np.zeros(3), np.zeros(3), np.zeros(4)  # felt: distance to the skin and its gradient
    for i in range(count):
        here[:] = place[i]
        heading[:] = first[i]
        paths[i, 0] = here
        stride, gone, rests, gathered = length[i] / steps, 0.0, 0, False
        for k in range(1, steps + 1):
            here += heading * stride
            gone += stride
            look_up(values, low, step, here, felt)
            height = layer[i] * min(1.0, gone / 0.2)
            if felt[0] < height:
                here += felt[1:] * (height - felt[0])
                into = min(0.0, heading[0] * felt[1] + heading[1] * felt[2] + heading[2] * felt[3])
                heading -= felt[1:] * into
                rests += here[1] < 6.05 and felt[2] > 0.4
                if rests > 1:  # on the shoulders: what is longer lies behind them, out of sight
                    break
            elif felt[0] > height + 0.05 and here[1] < 7.7:
                # Hair that hangs free below the widest part of the head leans back to cheeks and neck.
                heading -= felt[1:] * min(felt[0] - height, 0.25) * gravity * 0.55 * stride
            if tied:
                to = knot - here
                away = np.sqrt((to**2).sum())
                gathered = gathered or away < max(0.16, 1.2 * stride)
                if gathered:
                    heading += (np.array([0.0, -2.5, -0.6]) - 0.8 * (here - knot) * np.array([1.0, 0.0, 1.0])) * 0.25
                elif felt[0] > 0.15:  # shot past the skull
                    break
                else:
                    heading += to / away * 0.5
            else:
                heading[1] -= gravity * stride
            turn = np.arctan2(here[0], here[2] - AXIS_DEPTH)
            if here[2] > 0.6 and not bangs[i] and not tied and 6.0 < here[1] < 8.05:
                # Steer strands before the forehead aside, the more the lower they hang.
                near = max(0.0, 0.66 - abs(turn)) * min(1.0, (8.05 - here[1]) / 0.3)
                heading[0] += side[i] * np.cos(turn) * near * 6.0 * stride
                heading[2] -= side[i] * np.sin(turn) * near * 6.0 * stride
            heading /= np.sqrt((heading**2).sum()) + 1e-9
            if here[2] > 0.6 and abs(turn) < 0.58 and here[1] < floor[i]:
                break
            paths[i, k] = here
            ends[i] = k
    return paths, ends


@njit(cache=True)
def _resample(paths, ends):  # type: ignore[no-untyped-def]
    """(N, K, 3) points along paths up to their last steps, closer together near the root."""
    out = np.zeros((paths.shape[0], STRAND_POINTS, 3))
    for i in range(paths.shape[0]):
        for k in range(STRAND_POINTS):
            at = (k / (STRAND_POINTS - 1)) ** 1.15 * ends[i]
            step = min(int(at), max(ends[i] - 1, 0))
            share = at - step
            out[i, k] = paths[i, step] * (1 - share) + paths[i, min(step + 1, ends[i])] * share
    return out


@njit(cache=True)
def _keep_off(points, layer, floor, field):  # type: ignore[no-untyped-def]
    """Lift points out of the skin, and end strands where they would hang before the face."""
    values, low, step = field
    felt = np.zeros(4)
    for i in range(points.shape[0]):
        for k in range(1, points.shape[1]):
            here = points[i, k]
            look_up(values, low, step, here, felt)
            height = 0.5 * layer[i] * min(1.0, k / 3)
            if felt[0] < height:
                here += felt[1:] * (height - felt[0])
            turn = np.arctan2(here[0], here[2] - AXIS_DEPTH)
            if here[2] > 0.6 and abs(turn) < 0.56 and here[1] < floor[i] - 0.03:
                points[i, k] = points[i, k - 1]


def _run_together(
    points: np.ndarray, roots: _Roots, side: np.ndarray, clump: float, rng: np.random.Generator
) -> np.ndarray:
    """Lead the strands of a lock to its guide towards their tips; half of the strands follow loosely."""
    guides = rng.choice(STRANDS, _LOCKS, replace=False)
    key = np.c_[roots.place, 0.5 * side]
    guide = guides[cKDTree(key[guides]).query(key)[1]]
    pull = clump * np.where(rng.random(STRANDS) < 0.5, 1.0, 0.35) * rng.uniform(0.6, 1.0, STRANDS)
    along = np.linspace(0, 1, STRAND_POINTS) ** 1.4
    offset = points[guide] - points
    # A strand does not follow a guide that went another way.
    pull = pull * np.exp(-((np.linalg.norm(offset[:, -1], axis=1) / 0.5) ** 2))
    return np.asarray(points + offset * (pull[:, None] * along)[..., None])


def _wave(points: np.ndarray, width: float, turns: float, rng: np.random.Generator) -> np.ndarray:
    """Wind strands around their own path; neighbours share the phase, so that waves run through a lock."""
    tangent = np.gradient(points, axis=1)
    aside = np.cross(tangent, [0.0, 0.3, 1.0])
    aside /= np.linalg.norm(aside, axis=2, keepdims=True) + 1e-9
    other = np.cross(tangent, aside)
    other /= np.linalg.norm(other, axis=2, keepdims=True) + 1e-9
    direction = rng.normal(0, 1, (3, 3)) * 4
    start = np.sin(points[:, 3] @ direction).sum(1) * 1.5 + rng.normal(0, 0.5, STRANDS)
    along = np.linspace(0, 1, STRAND_POINTS)
    phase = start[:, None] + 2 * np.pi * max(turns, 0.7) * along
    size = width * np.minimum(along * 2.5, 1) * rng.uniform(0.5, 1.3, (STRANDS, 1))
    return np.asarray(
        points + aside * (np.sin(phase) * size)[..., None] + other * (np.cos(phase) * size * 0.7)[..., None]
    )


def _wind_knot(paths: np.ndarray, knot: np.ndarray, radius: float, rng: np.random.Generator) -> None:
    """Put the ends of gathered strands on a ball behind the head."""
    centre = knot + np.array([0, radius * 0.5, -radius * 0.7])
    away = np.linalg.norm(paths - knot, axis=2)
    reached = np.maximum.accumulate(away < 0.2, axis=1)
    phase = rng.uniform(0, 2 * np.pi, (len(paths), 1)) + np.cumsum(reached, 1) * 0.55
    tilt = rng.uniform(0, np.pi, (len(paths), 1))
    ring = np.stack([np.cos(phase), np.sin(phase) * np.cos(tilt), np.sin(phase) * np.sin(tilt)], 2)
    paths[reached] = (centre + ring * radius * rng.uniform(0.75, 1.0, (len(paths), 1, 1)))[reached]


def ribbons(points: np.ndarray, radius: np.ndarray, camera: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Flat strips along curves, turned to the camera.

    Args:
        points: (N, K, 3) curves.
        radius: (N,) half width at the root; the tip has a quarter of it.
        camera: (3,) place of the camera.

    Returns:
        vertices (2NK, 3), triangles (T, 3) and normals (2NK, 3).
    """
    count, length, _ = points.shape
    tangent = np.gradient(points, axis=1)
    aside = np.cross(tangent, camera - points)
    aside /= np.linalg.norm(aside, axis=2, keepdims=True) + 1e-9
    width = radius[:, None, None] * np.r_[np.ones(length - 1), 0.25][None, :, None]
    vertices = np.stack([points - aside * width, points + aside * width], 2).reshape(-1, 3)
    normal = np.repeat(np.cross(aside, tangent)[:, :, None], 2, 2).reshape(-1, 3)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    start = (np.arange(count)[:, None] * length * 2 + np.arange(length - 1) * 2).ravel()
    first, second = np.stack([start, start + 1, start + 3], 1), np.stack([start, start + 3, start + 2], 1)
    return vertices, np.concatenate([first, second]), normal
