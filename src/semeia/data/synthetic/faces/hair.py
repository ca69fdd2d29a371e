"""Hair and brows as curves: grown once on the person's resting head, drawn as ribbons that face the camera.

Shapes: N curves, K points a curve, W smooth skin vertices, T triangles.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from semeia.data.synthetic.faces.appearance import hairline
from semeia.data.synthetic.faces.haircuts import Hair
from semeia.data.synthetic.faces.spec import Person
from semeia.data.synthetic.faces.topology import AXIS_DEPTH, BROW, canonical, load_topology, vertex_normals

STRANDS = 8500
STRAND_POINTS = 6
_STEPS = (0.08, 0.14, 0.21, 0.26, 0.31)  # shares of the length: short at the root, where strands follow the skull
STRAND_RADIUS = 0.0075
BROW_HAIRS = 300
BROW_POINTS = 4
BROW_RADIUS = 0.0036


@dataclass(frozen=True)
class Roots:
    """Triangles of the template's skin where hair may grow, with their place in canonical coordinates."""

    triangles: np.ndarray
    middle: np.ndarray
    azimuth: np.ndarray
    height: np.ndarray
    area: np.ndarray
    ear: np.ndarray
    scalp: np.ndarray


@dataclass(frozen=True)
class BrowHairs:
    """Brow curves tied to the skin: each point is a weighted mean of four skin vertices, raised along the normal.

    ``vertices`` and ``weights`` are (N, K, 4), ``rise`` is (N, K) in decimetres.
    """

    vertices: np.ndarray
    weights: np.ndarray
    rise: np.ndarray

    def points(self, skin: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """(N, K, 3) curves on smooth skin vertices (W, 3)."""
        weights = self.weights[..., None]
        place = (skin[self.vertices] * weights).sum(2)
        return np.asarray(place + (normals[self.vertices] * weights).sum(2) * self.rise[..., None])


@functools.cache
def _roots() -> Roots:
    skin = load_topology().smooth["skin"]
    corner = skin.template[skin.triangles]
    middle = corner.mean(1)
    azimuth, height = canonical(middle)
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    ear = (np.abs(middle[:, 0]) > 0.735) & (height < 7.55) & (height > 6.6)
    return Roots(skin.triangles, middle, azimuth, height, area, ear, np.flatnonzero(canonical(skin.template)[1] > 6.9))


def grow_hair(hair: Hair, skin: np.ndarray, normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grow strands on a resting head.

    Args:
        hair: the haircut.
        skin: (W, 3) smooth skin vertices of the resting head.
        normals: (W, 3) their normals.
        rng: stream of the hair stage.

    Returns:
        (N, K, 3) curves in head coordinates, from root to tip.
    """
    roots = _roots()
    triangle, share = _choose_roots(hair, rng)
    at = roots.triangles[triangle]
    root = (skin[at] * share[..., None]).sum(1)
    normal = (normals[at] * share[..., None]).sum(1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    template = (load_topology().smooth["skin"].template[at] * share[..., None]).sum(1)
    length = hair.length * rng.uniform(0.75, 1.1, STRANDS)
    line = hairline(np.arctan2(template[:, 0], template[:, 2] - AXIS_DEPTH), hair.line)
    fringe = (template[:, 1] < line + 0.12) & (template[:, 2] > 0.2)
    length = length * np.where(fringe, 0.8 if hair.long else 0.6, 1.0)

    scalp = skin[roots.scalp]
    centre = np.array([0.0, scalp[:, 1].mean() - 0.15, scalp[:, 2].mean()])
    distance = np.linalg.norm(scalp - centre, axis=1)
    tree = cKDTree((scalp - centre) / distance[:, None])

    heading = _combed(hair, template, normal, rng) * 0.8 + normal * hair.lift
    heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    tip, points = root.copy(), [root]
    for k, step in enumerate(_STEPS, start=1):
        tip = tip + heading * (step * length)[:, None]
        tip = _clear_face(hair, tip, template)
        falls = np.clip((8.40 - tip[:, 1:2]) / 0.4, 0, 1) * [0, hair.weight, 0]
        heading = heading + rng.normal(0, hair.curl * 0.6, (STRANDS, 3)) - falls
        if hair.long:
            heading[:, 0] -= 0.5 * np.sign(tip[:, 0]) * (tip[:, 1] < 7.5)
        offset = tip - centre
        far = np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-6)
        outward = offset / far
        surface = distance[tree.query(outward, k=3)[1]].max(1, keepdims=True) + 0.015 + 0.02 * k / STRAND_POINTS
        on_head = tip[:, 1:2] > 6.3
        tip = np.where(on_head, centre + offset * np.maximum(surface / far, 1), tip)
        points.append(tip)
        heading = heading - outward * np.minimum((heading * outward).sum(1, keepdims=True), 0)
        heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
    return np.stack(points, 1)


def _choose_roots(hair: Hair, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Triangles (N,) and barycentric coordinates (N, 3) of the roots."""
    roots = _roots()
    grows = (roots.height > hairline(roots.azimuth, hair.line)) & ~roots.ear & (roots.height > 6.5)
    grows |= (roots.middle[:, 2] < 0.15) & (roots.height > 6.25) & ~roots.ear
    bare = (roots.height > 7.75) & (rng.random(len(roots.height)) < hair.bald)
    density = roots.area * (grows & ~bare) * np.where(roots.middle[:, 2] < -0.1, 0.5, 1.0)
    return rng.choice(len(density), STRANDS, p=density / density.sum()), rng.dirichlet([1, 1, 1], STRANDS)


def _combed(hair: Hair, template: np.ndarray, normal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, 3) unit directions along the skin, away from the parting."""
    side = np.sign(template[:, 0] - hair.parting + rng.normal(0, 0.04, STRANDS))
    down = -0.15 - 0.7 * np.clip((7.9 - template[:, 1]) / 0.6, 0, 1.5)
    heading = np.stack([side * 0.9, down, np.full(STRANDS, hair.forward)], 1) + rng.normal(0, hair.curl, (STRANDS, 3))
    heading -= normal * (heading * normal).sum(1, keepdims=True)
    heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
    if hair.long:
        heading[:, 1] -= 0.8 * np.clip((8.40 - template[:, 1]) / 0.4, 0, 1)
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
    return heading


def _clear_face(hair: Hair, tip: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Move points that hang before the face aside, so that no strand covers the eyes."""
    half_width = 0.60 if hair.long else 0.55
    before = (tip[:, 2] > 0.75) & (tip[:, 1] < 7.72) & (np.abs(tip[:, 0]) < half_width)
    side = np.where(template[:, 0] >= hair.parting, 1.0, -1.0)
    moved = tip.copy()
    moved[:, 0] = np.where(before, side * half_width, tip[:, 0])
    moved[:, 2] = np.where(before, np.minimum(tip[:, 2], 0.95), tip[:, 2])
    return moved


@functools.cache
def _brow_ground() -> tuple[cKDTree, np.ndarray]:
    """Search tree over the front of the face in canonical coordinates, and the skin vertices in it."""
    skin = load_topology().smooth["skin"]
    azimuth, height = canonical(skin.template)
    facing = vertex_normals(skin.template, skin.triangles)[:, 2]
    front = np.flatnonzero((skin.template[:, 2] > 0.55) & (height > 7.2) & (facing > -0.1))
    return cKDTree(np.c_[azimuth, height][front]), front


def comb_brows(person: Person, rng: np.random.Generator) -> BrowHairs:
    """Lay the hairs of both brows on the template and tie them to the skin."""
    topology = load_topology()
    count = BROW_HAIRS // 2
    azimuths, heights, rises = [], [], []
    for ids in (list(BROW), [int(topology.mirror[i]) for i in BROW]):
        azimuth, height = canonical(topology.pack.vertices[ids])
        side = np.sign(azimuth[2])
        along = rng.beta(1.05, 1.25, count)
        thickness = person.brow_thickness * np.interp(along, [0, 0.15, 0.5, 1], [0.75, 1, 0.85, 0.25])
        offset = rng.uniform(-1, 1, count)
        knots = np.linspace(0, 1, len(ids))
        arch = person.brow_arch * np.sin(np.pi * np.clip(along * 1.1, 0, 1))
        u = np.interp(along, knots, azimuth) + side * rng.normal(-0.01, 0.01, count)
        y = np.interp(along, knots, height) + person.brow_lift + offset * thickness + arch
        angle = np.interp(along, [0, 0.3, 1], [1.15, 0.45, -0.25]) - offset * 0.35
        length = rng.uniform(0.06, 0.095, count)
        step = np.linspace(0, 1, BROW_POINTS) - 0.3  # (K,)
        azimuths.append(u[:, None] + (np.cos(angle) * length * side / 0.95)[:, None] * step)
        heights.append(y[:, None] + (np.sin(angle) * length)[:, None] * step - 0.02 * step**2)
        rises.append(np.broadcast_to(0.004 + 0.012 * np.maximum(step, 0) * (1 - step), (count, BROW_POINTS)))
    tree, front = _brow_ground()
    distance, near = tree.query(np.stack([np.concatenate(azimuths), np.concatenate(heights)], -1), k=4)
    weights = 1 / (distance + 1e-3) ** 2
    return BrowHairs(front[near], weights / weights.sum(-1, keepdims=True), np.concatenate(rises))


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
