"""What the head, its hair and solid things keep in the dark: shadow maps, and light from all around.

Shapes: V packed vertices, N points, L lamps, D directions, M texels of a shadow map.
"""

from __future__ import annotations

import functools

import numpy as np

from semeia.data.synthetic.faces import rasteriser
from semeia.data.synthetic.faces.light import Camera, Sky
from semeia.data.synthetic.faces.scene import Surface
from semeia.data.synthetic.faces.stage import Mesh, Stage, coarse_skin
from semeia.data.synthetic.faces.topology import load_topology

_AROUND = 32  # directions of the light from all around
_AMBIENT_TEXELS, _SHADOW_TEXELS = 96, 224
_REACH = 1.75  # decimetres from the middle of the head that shadow maps cover
_NOTHING = -1e9


def shadow_maps(stage: Stage, solid: list[Surface], lamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L, 4, 3) frames and (L, M, M) depths of the lamps' shadow maps."""
    middle = _middle(stage.acting)
    frames = np.zeros((len(lamps), 4, 3))
    depths = np.full((len(lamps), _SHADOW_TEXELS, _SHADOW_TEXELS), _NOTHING)
    meshes: list[Mesh | Surface] = [stage.meshes["skin"], stage.meshes["cloth"], *solid]
    for k, lamp in enumerate(lamps):
        frames[k] = _frame(lamp[:3], middle, _SHADOW_TEXELS)
        for mesh in meshes:
            rasteriser.draw_depth(_seen(mesh.vertices, frames[k]), mesh.triangles, depths[k])
        rasteriser.draw_depth_of_curves(_seen(stage.strands, frames[k]), 1, depths[k])
    return frames, depths


def ambient(
    points: np.ndarray, normals: np.ndarray, *, stage: Stage, solid: list[Surface], camera: Camera, sky: Sky
) -> np.ndarray:
    """(N, 3) irradiance without the lamps at points (N, 3), shadowed by head, hair and solid things."""
    middle = _middle(stage.acting)
    rays = _around()
    radiance = sky.diffuse(rays @ camera.axes.T) * 4 * np.pi / _AROUND
    total, lit = np.zeros_like(points), np.zeros(len(points))
    raised = points + 0.02 * normals
    strands = np.ascontiguousarray(stage.strands[::3, ::2], np.float32)
    head, raised = stage.acting.astype(np.float32), raised.astype(np.float32)
    for ray, light in zip(rays, radiance, strict=True):
        frame = _frame(ray, middle, _AMBIENT_TEXELS)
        depth = np.full((_AMBIENT_TEXELS, _AMBIENT_TEXELS), _NOTHING)
        rasteriser.draw_depth(_seen(head, frame), coarse_skin(), depth)
        for thing in solid:
            rasteriser.draw_depth(_seen(thing.vertices, frame), thing.triangles, depth)
        rasteriser.draw_depth_of_curves(_seen(strands, frame), 1, depth)
        rasteriser.lit_vertices(_seen(raised, frame), depth, 0.8, lit)
        total += np.maximum(normals @ ray, 0)[:, None] * lit[:, None] * light
    return total


@functools.cache
def _around() -> np.ndarray:
    """(D, 3) even directions in head coordinates (Fibonacci spiral), without those from far behind."""
    k = np.arange(_AROUND) + 0.5
    height, turn = 1 - 2 * k / _AROUND, np.pi * (1 + 5**0.5) * k
    ring = np.sqrt(1 - height**2)
    rays = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], 1)
    return rays[rays[:, 2] > -0.45]


def _middle(acting: np.ndarray) -> np.ndarray:
    point = acting[load_topology().landmarks]
    return np.asarray(point[27] - [0, 0.25, 0.75])


def _frame(direction: np.ndarray, middle: np.ndarray, texels: int) -> np.ndarray:
    """(4, 3) axes of a shadow map across, down and towards the lamp in texels, then its origin."""
    helper = np.array([0.0, 0, 1]) if abs(direction[1]) > 0.9 else np.array([0.0, 1, 0])
    across = np.cross(helper, direction)
    across /= np.linalg.norm(across)
    axes = np.stack([across, np.cross(across, direction), direction]) * (texels / 2 / _REACH)
    return np.vstack([axes, [texels / 2 - axes[0] @ middle, texels / 2 - axes[1] @ middle, 0]])


def _seen(points: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """(..., 3) texels and nearness of points (..., 3) in a shadow map."""
    return np.asarray(points @ frame[:3].T.astype(points.dtype) + frame[3].astype(points.dtype))
