"""The space around the undeformed head: how far its skin is, and how that space is carried over to another head.

Hair and hats are shaped once around the template; a smooth displacement, known on a coarse lattice, then takes them to
any person's head. Units are decimetres.

Shapes: W smooth skin vertices, N points, X x Y x Z nodes of a lattice.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

from semeia.data.synthetic.faces.topology import load_topology, vertex_normals

_LOW, _HIGH = np.array([-2.1, 4.6, -1.4]), np.array([2.1, 9.6, 2.3])
_DISTANCE_STEP, _CARRY_STEP = 0.08, 0.2


@dataclass(frozen=True)
class DistanceField:
    """Distance to the template's skin: ``values`` (X, Y, Z, 4) hold the distance, negative inside, and its gradient."""

    low: np.ndarray
    step: float
    values: np.ndarray


@functools.cache
def distance_field() -> DistanceField:
    """The field around the template, computed once a process."""
    skin = load_topology().smooth["skin"]
    normals = vertex_normals(skin.template, skin.triangles)
    nodes = _lattice(_DISTANCE_STEP)
    _, near = cKDTree(skin.template).query(nodes.reshape(-1, 3), k=3)
    offset = nodes.reshape(-1, 1, 3) - skin.template[near]
    along = (offset * normals[near]).sum(2).mean(1)
    far = np.linalg.norm(offset, axis=2)[:, 0]
    # Close to the skin the height above its tangent planes is the better measure, far from it the nearest vertex.
    distance = np.where(far < 0.1, along, np.sign(along) * far).reshape(nodes.shape[:3])
    smooth = ndimage.gaussian_filter(distance, 0.7)
    gradient = np.stack(np.gradient(smooth, _DISTANCE_STEP), -1)
    gradient /= np.linalg.norm(gradient, axis=3, keepdims=True) + 1e-6
    return DistanceField(_LOW, _DISTANCE_STEP, np.concatenate([smooth[..., None], gradient], 3).astype(np.float32))


def _lattice(step: float) -> np.ndarray:
    """(X, Y, Z, 3) nodes."""
    axes = [np.arange(low, high, step) for low, high in zip(_LOW, _HIGH, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


@functools.cache
def _carrier() -> tuple[Any, np.ndarray, tuple[int, ...]]:
    """Sparse (X * Y * Z, W) means over nearby skin, the template's (W, 3) vertices, and the shape of the lattice."""
    skin = load_topology().smooth["skin"]
    nodes = _lattice(_CARRY_STEP)
    distance, near = cKDTree(skin.template[::3]).query(nodes.reshape(-1, 3), k=24)
    width = np.maximum(0.6 * distance[:, -1:], 0.12)
    weights = np.exp(-((distance / width) ** 2)) + 1e-9
    weights /= weights.sum(1, keepdims=True)
    rows = np.repeat(np.arange(len(near)), near.shape[1])
    matrix = sparse.csr_matrix((weights.ravel(), (rows, near.ravel() * 3)), shape=(len(near), len(skin.template)))
    return matrix, skin.template, nodes.shape[:3]


def carry(points: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Take points from around the template to the same place around another head.

    Args:
        points: (N, 3) around the template.
        skin: (W, 3) smooth skin vertices of the other head.

    Returns:
        (N, 3) points around the other head.
    """
    matrix, template, shape = _carrier()
    middle, mean, scale = likeness(template, skin)
    values = matrix @ (skin - mean - (template - middle) * scale)
    rest = sample(np.ascontiguousarray(values).reshape(*shape, 3), _LOW, _CARRY_STEP, np.ascontiguousarray(points))
    return np.asarray((points - middle) * scale + mean + rest)


def likeness(template: np.ndarray, skin: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle of the template's skin (W, 3), middle of another skin, and the scale (3,) from the one to the other."""
    middle, mean = template.mean(0), skin.mean(0)
    scale = ((template - middle) * (skin - mean)).sum(0) / ((template - middle) ** 2).sum(0)
    return middle, mean, scale


@njit(cache=True)  # type: ignore[untyped-decorator]
def sample(values: np.ndarray, low: np.ndarray, step: float, points: np.ndarray) -> np.ndarray:
    """(N, C) trilinear values at points (N, 3) of a lattice (X, Y, Z, C); points outside take the nearest value."""
    out = np.zeros((points.shape[0], values.shape[3]))
    for i in range(points.shape[0]):
        look_up(values, low, step, points[i], out[i])
    return out


@njit(cache=True)  # type: ignore[untyped-decorator]
def look_up(values: np.ndarray, low: np.ndarray, step: float, point: np.ndarray, out: np.ndarray) -> None:
    """Write the trilinear value of a lattice (X, Y, Z, C) at a point (3,) to ``out`` (C,)."""
    x = min(max((point[0] - low[0]) / step, 0.0), values.shape[0] - 1.001)
    y = min(max((point[1] - low[1]) / step, 0.0), values.shape[1] - 1.001)
    z = min(max((point[2] - low[2]) / step, 0.0), values.shape[2] - 1.001)
    i, j, k = int(x), int(y), int(z)
    x, y, z = x - i, y - j, z - k
    for channel in range(values.shape[3]):
        front = (values[i, j, k, channel] * (1 - x) + values[i + 1, j, k, channel] * x) * (1 - y) + (
            values[i, j + 1, k, channel] * (1 - x) + values[i + 1, j + 1, k, channel] * x
        ) * y
        behind = (values[i, j, k + 1, channel] * (1 - x) + values[i + 1, j, k + 1, channel] * x) * (1 - y) + (
            values[i, j + 1, k + 1, channel] * (1 - x) + values[i + 1, j + 1, k + 1, channel] * x
        ) * y
        out[channel] = front * (1 - z) + behind * z
