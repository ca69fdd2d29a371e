"""Brows as curves tied to the skin, so that they follow it.

Shapes: N curves, K points a curve, W smooth skin vertices.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from semeia.data.synthetic.faces.spec import Person
from semeia.data.synthetic.faces.topology import BROW, canonical, load_topology, vertex_normals

BROW_HAIRS = 420
"""Hairs of both brows of most people; sparse brows have half as many."""

BROW_POINTS = 4
BROW_RADIUS = 0.0022


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
def _brow_ground() -> tuple[cKDTree, np.ndarray]:
    """Search tree over the front of the face in canonical coordinates, and the skin vertices in it."""
    skin = load_topology().smooth["skin"]
    azimuth, height = canonical(skin.template)
    facing = vertex_normals(skin.template, skin.triangles)[:, 2]
    front = np.flatnonzero((skin.template[:, 2] > 0.55) & (height > 7.2) & (facing > -0.1))
    return cKDTree(np.c_[azimuth, height][front]), front


def comb_brows(person: Person, rng: np.random.Generator) -> BrowHairs:
    """Lay the hairs of both brows on the template and tie them to the skin.

    Density, outline, length and unruliness are the person's own; the two brows differ a little.
    """
    topology = load_topology()
    density = float(np.clip(np.exp(rng.normal(0, 0.28)), 0.45, 1.2))
    count = round(min(density, 1.0) * BROW_HAIRS / 2)
    head, body, tail = rng.uniform([0.55, 0.75, 0.18], [0.95, 1.0, 0.40])
    reach, sweep, long, unruly = rng.uniform([0.90, -0.15, 0.8, 0.5], [1.03, 0.25, 1.15, 1.4])
    azimuths, heights, rises = [], [], []
    for ids in (list(BROW), [int(topology.mirror[i]) for i in BROW]):
        azimuth, height = canonical(topology.pack.vertices[ids])
        side = np.sign(azimuth[2])
        own = person.brow_thickness * rng.normal(1, 0.04)
        along = rng.beta(1.25, 1.35, count)
        thickness = own * np.interp(along, [0, 0.18, 0.55, 1], [head, 1, body, tail])
        offset = np.clip(rng.normal(0, 0.48, count), -1.1, 1.1)  # denser along the middle, so that edges are soft
        knots = np.linspace(0, 1, len(ids))
        arch = person.brow_arch * np.sin(np.pi * np.clip(along * 1.1, 0, 1))
        u = np.interp(along * reach, knots, azimuth) + side * rng.normal(-0.006, 0.012, count)
        y = np.interp(along * reach, knots, height) + person.brow_lift + rng.normal(0, 0.003)
        y = y + offset * thickness + arch
        angle = np.interp(along, [0, 0.12, 0.35, 1], [1.35, 0.95, 0.42, -0.28]) + sweep * (1 - along) - offset * 0.4
        angle = angle + rng.normal(0, 0.16 * unruly, count)
        length = long * rng.uniform(0.6, 1.0, count) * np.interp(along, [0, 0.2, 0.6, 1], [0.055, 0.085, 0.085, 0.05])
        step = np.linspace(0, 1, BROW_POINTS) - 0.3  # (K,)
        azimuths.append(u[:, None] + (np.cos(angle) * length * side / 0.95)[:, None] * step)
        heights.append(y[:, None] + (np.sin(angle) * length)[:, None] * step - 0.02 * step**2)
        rises.append(np.broadcast_to(0.003 + 0.010 * np.maximum(step, 0) * (1 - step), (count, BROW_POINTS)))
    tree, front = _brow_ground()
    distance, near = tree.query(np.stack([np.concatenate(azimuths), np.concatenate(heights)], -1), k=4)
    weights = 1 / (distance + 1e-3) ** 2
    return BrowHairs(front[near], weights / weights.sum(-1, keepdims=True), np.concatenate(rises))
