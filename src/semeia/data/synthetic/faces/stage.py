"""Everything that stands before the camera in one shot, as meshes and curves: what both renderers draw.

Shapes: V packed vertices, W smooth vertices, N vertices of a mesh, T triangles, C curves, K points a curve.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from semeia.data.synthetic.faces.appearance import EYE_TEXTURE_ANGLE
from semeia.data.synthetic.faces.figure import Figure
from semeia.data.synthetic.faces.light import Camera
from semeia.data.synthetic.faces.scene import Surface
from semeia.data.synthetic.faces.spec import FaceSpec
from semeia.data.synthetic.faces.things import dress, tuck_hair
from semeia.data.synthetic.faces.topology import (
    SMOOTH_PARTS,
    fit_sphere,
    load_topology,
    texture_coordinates,
    triangulate,
    vertex_normals,
)
from semeia.data.synthetic.faces.truth import eye_rotation, openings
from semeia.data.synthetic.faces.wrinkles import acted_skin

TEXTURED = ("skin", "eye_left", "eye_right")
"""Meshes whose colour is painted on a texture; all others have one colour."""


@dataclass(frozen=True)
class Mesh:
    """One part of the head: (N, 3) vertices and unit normals, (T, 3) triangles, (N, 2) texture coordinates or None."""

    vertices: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray
    uv: np.ndarray | None = None


@dataclass(frozen=True)
class Stage:
    """One shot before the camera, in head coordinates.

    Attributes:
        figure: the person.
        acting: (V, 3) packed vertices of the shot.
        meshes: the parts of ``SMOOTH_PARTS``, ``eye_left``, ``eye_right`` and ``lash``.
        colour: (H, W, 3) skin texture of the shot; ``relief`` is (H, W), decimetres.
        strands: (N, K, 3) hair of this shot, pressed down where a hat sits.
        brows: (C, K, 3) curves of this shot.
        things: what the person wears or holds before the face.
    """

    figure: Figure
    acting: np.ndarray
    meshes: Mapping[str, Mesh]
    colour: np.ndarray
    relief: np.ndarray
    strands: np.ndarray
    brows: np.ndarray
    things: tuple[Surface, ...]

    def facing(self, camera: Camera) -> np.ndarray:
        """(68,) cosine between the skin's normal at each landmark and the direction to the camera."""
        topology = load_topology()
        normals = vertex_normals(self.acting, coarse_skin())[topology.landmarks]
        view = camera.place - self.acting[topology.landmarks]
        return np.asarray((normals * view).sum(1) / np.linalg.norm(view, axis=1))


@functools.cache
def coarse_skin() -> np.ndarray:
    """(T, 3) triangles of the packed skin and cloth."""
    pack = load_topology().pack
    return np.ascontiguousarray(triangulate(pack.quads[np.isin(pack.parts, ["skin", "cloth"])]))


def set_stage(spec: FaceSpec, figure: Figure, acting: np.ndarray, shown: Mapping[str, tuple[float, float]]) -> Stage:
    """Put a person before the camera.

    Args:
        spec: the shot.
        figure: the person.
        acting: (V, 3) packed vertices of the shot.
        shown: (left, right) intensity of each action unit, for the wrinkles that it draws.
    """
    topology = load_topology()
    meshes: dict[str, Mesh] = {}
    for name in SMOOTH_PARTS:
        part = topology.smooth[name]
        vertices = part.matrix @ acting
        if name == "upper_teeth":
            vertices = vertices + _lowered_teeth(acting)
        uv = _skin_uv() if name == "skin" else None
        meshes[name] = Mesh(vertices, part.triangles, vertex_normals(vertices, part.triangles), uv)
    ball, triangles, uv = _eyeball()
    for side in ("left", "right"):
        centre, radius = fit_sphere(acting[topology.eyeballs[side]])
        vertices = (ball * radius * 0.995) @ eye_rotation(figure.neutral, acting, side).T + centre
        meshes[f"eye_{side}"] = Mesh(vertices, triangles, vertex_normals(vertices, triangles), uv)
    lashes, local = np.unique(topology.lashes, return_inverse=True)
    triangles = local.reshape(-1, 3)
    meshes["lash"] = Mesh(acting[lashes], triangles, vertex_normals(acting[lashes], triangles))
    skin = meshes["skin"]
    colour, relief = acted_skin(figure.skin, shown)
    wardrobe = spec.person.wardrobe
    things = dress(
        wardrobe,
        spec.props,
        skin.vertices,
        skin.normals,
        acting[topology.landmarks],
        tone=figure.skin.tone,
    )
    resting = topology.smooth["skin"].matrix @ figure.neutral
    strands = tuck_hair(wardrobe, spec.props, figure.strands, resting)
    brows = figure.brows.points(skin.vertices, skin.normals)
    return Stage(figure, acting, meshes, colour, relief, strands, brows, tuple(things))


@functools.cache
def _skin_uv() -> np.ndarray:
    return texture_coordinates(load_topology().smooth["skin"].template)


@functools.cache
def _eyeball() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A unit eyeball that looks along z, with a bulging cornea: vertices, triangles, texture coordinates."""
    around, rings = 40, 24
    angle = np.linspace(0, np.pi * 0.62, rings)[1:, None]
    turn = np.arange(around) / around * 2 * np.pi
    ring = np.stack([np.sin(angle) * np.cos(turn), np.sin(angle) * np.sin(turn), np.cos(angle) + 0 * turn], -1)
    sphere = np.concatenate([[[0.0, 0.0, 1.0]], ring.reshape(-1, 3)])
    degrees = np.degrees(np.arccos(np.clip(sphere[:, 2], -1, 1)))
    out = sphere[:, :2] / np.maximum(np.hypot(sphere[:, 0], sphere[:, 1]), 1e-9)[:, None]
    uv = 0.5 + 0.5 * out * np.minimum(degrees / EYE_TEXTURE_ANGLE, 1)[:, None]
    k = np.arange(around)
    following = (k + 1) % around
    triangles = [np.stack([0 * k, 1 + k, 1 + following], 1)]
    for ring_start in 1 + np.arange(rings - 2) * around:
        a, b = ring_start + k, ring_start + following
        triangles += [np.stack([a, a + around, b + around], 1), np.stack([a, b + around, b], 1)]
    return sphere * (1 + 0.045 * np.exp(-((degrees / 17) ** 2)))[:, None], np.concatenate(triangles), uv


def _lowered_teeth(acting: np.ndarray) -> np.ndarray:
    """(3,) shift of the upper teeth: those of the base mesh stay hidden behind the lip of an open-mouthed smile."""
    gap = openings(acting).lips["middle"]
    return np.array([0.0, -float(np.clip(0.45 * gap, 0, 0.06)), 0.02])


def plain_look(figure: Figure, part: str) -> tuple[np.ndarray, float]:
    """Linear colour (3,) and roughness of a part that no texture covers."""
    old = float(np.clip((figure.person.age - 45) / 35, 0, 1))
    table = {
        "cloth": (figure.cloth_colour, 0.9),
        "cavity": (np.array([0.22, 0.05, 0.045]), 0.35),
        "teeth": (np.array([0.90, 0.87, 0.78]) * (1 - 0.15 * old), 0.25),
        "tongue": (np.array([0.42, 0.12, 0.11]), 0.3),
        "lash": (np.minimum(figure.brow_colour, 0.02), 0.9),
    }
    return table.get("teeth" if part.endswith("teeth") else part, (np.full(3, 0.5), 0.7))
