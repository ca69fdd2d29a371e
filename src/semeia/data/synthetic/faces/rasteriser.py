"""Loops of the rasteriser, compiled by numba: triangles and strands into a depth buffer, and what is seen from lamps.

Every loop is plain and runs on one thread; the same input gives the same bytes. Nearness is the inverse of depth for a
camera (so that it is linear in the picture) and the distance towards the lamp for a shadow map; larger is nearer.

Shapes: R samples a side, N vertices, T triangles, C curves, K points a curve.
"""

from __future__ import annotations

import numpy as np
from numba import njit

EMPTY = -1
"""Owner of a sample that nothing covers; a triangle t owns as t, a curve c as ``-2 - c``."""


@njit(cache=True)
def _hash(a: int, b: int, c: int) -> float:
    """A number in [0, 1) that looks random, from three numbers."""
    mixed = (a * 374761393 + b * 668265263 + c * 2246822519) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) & 0xFFFFFF) / 16777216.0


@njit(cache=True)
def draw_triangles(
    place: np.ndarray,
    triangles: np.ndarray,
    opacity: np.ndarray,
    nearness: np.ndarray,
    owner: np.ndarray,
    share: np.ndarray,
    first: int,
) -> None:
    """Draw triangles into a camera's buffers, the nearest first.

    Args:
        place: (N, 3) picture coordinates in samples and nearness.
        triangles: (T, 3) ids.
        opacity: (T,) share of the samples that a triangle covers, chosen by a hash.
        nearness: (R, R), written.
        owner: (R, R), written: number of the triangle plus ``first``.
        share: (R, R, 2), written: perspective-correct weight of the second and third corner.
        first: number of the first triangle.
    """
    size = nearness.shape[0]
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = place[a, 0], place[a, 1], place[b, 0], place[b, 1], place[c, 0], place[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        left, right = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0), min(int(np.floor(max(ax, bx, cx) - 0.5)), size - 1)
        top, bottom = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0), min(int(np.floor(max(ay, by, cy) - 0.5)), size - 1)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5 - ax, y + 0.5 - ay
                v = (px * (cy - ay) - py * (cx - ax)) / area
                w = ((bx - ax) * py - (by - ay) * px) / area
                if v < -1e-6 or w < -1e-6 or v + w > 1 + 1e-6:
                    continue
                near = (1 - v - w) * place[a, 2] + v * place[b, 2] + w * place[c, 2]
                if near <= nearness[y, x] or (opacity[t] < 1 and _hash(x, y, t) >= opacity[t]):
                    continue
                nearness[y, x] = near
                owner[y, x] = first + t
                share[y, x, 0] = v * place[b, 2] / near
                share[y, x, 1] = w * place[c, 2] / near


@njit(cache=True)
def draw_curves(
    place: np.ndarray,
    width: np.ndarray,
    nearness: np.ndarray,
    owner: np.ndarray,
    share: np.ndarray,
    first: int,
) -> None:
    """Draw curves as lines that are tested for depth; a line thinner than a sample covers some of them, by a hash.

    Args:
        place: (C, K, 3) picture coordinates in samples and nearness.
        width: (C,) full width in samples at the root; the tip has a quarter.
        nearness: (R, R), written.
        owner: (R, R), written: -2 less the number of the curve plus ``first``.
        share: (R, R, 2), written: the place along the curve and across it, 0 to 1.
        first: number of the first curve.
    """
    size, points = nearness.shape[0], place.shape[1]
    for c in range(len(place)):
        for k in range(points - 1):
            ax, ay, an = place[c, k, 0], place[c, k, 1], place[c, k, 2]
            dx, dy, dn = place[c, k + 1, 0] - ax, place[c, k + 1, 1] - ay, place[c, k + 1, 2] - an
            steps = int(np.ceil(max(abs(dx), abs(dy)))) + 1
            flat = abs(dx) > abs(dy)
            for s in range(steps):
                along = (s + 0.5) / steps
                t = (k + along) / (points - 1)
                x, y, near = ax + along * dx, ay + along * dy, an + along * dn
                wide = width[c] * (1 - 0.75 * max(0.0, (t - 0.5) * 2))
                across = int(wide + _hash(c, k * 64 + s, 7))
                low = (y if flat else x) - 0.5 * across
                for j in range(across):
                    column, row = (int(x), int(low + j + 0.5)) if flat else (int(low + j + 0.5), int(y))
                    if 0 <= column < size and 0 <= row < size and near > nearness[row, column]:
                        nearness[row, column] = near
                        owner[row, column] = -2 - (first + c)
                        share[row, column, 0] = t
                        share[row, column, 1] = (j + 0.5) / max(across, 1)


@njit(cache=True)
def draw_depth(place: np.ndarray, triangles: np.ndarray, nearness: np.ndarray) -> None:
    """Keep the nearest triangle of each texel of a shadow map: ``place`` (N, 3), ``nearness`` (R, R) written."""
    size = nearness.shape[0]
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = place[a, 0], place[a, 1], place[b, 0], place[b, 1], place[c, 0], place[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            continue
        left, right = max(int(np.ceil(min(ax, bx, cx) - 0.5)), 0), min(int(np.floor(max(ax, bx, cx) - 0.5)), size - 1)
        top, bottom = max(int(np.ceil(min(ay, by, cy) - 0.5)), 0), min(int(np.floor(max(ay, by, cy) - 0.5)), size - 1)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                px, py = x + 0.5 - ax, y + 0.5 - ay
                v = (px * (cy - ay) - py * (cx - ax)) / area
                w = ((bx - ax) * py - (by - ay) * px) / area
                if v >= 0 and w >= 0 and v + w <= 1:
                    near = (1 - v - w) * place[a, 2] + v * place[b, 2] + w * place[c, 2]
                    nearness[y, x] = max(nearness[y, x], near)


@njit(cache=True)
def draw_depth_of_curves(place: np.ndarray, every: int, nearness: np.ndarray) -> None:
    """Add curves (C, K, 3) to a shadow map, one in ``every``, a texel wide."""
    size = nearness.shape[0]
    for c in range(0, len(place), every):
        for k in range(place.shape[1] - 1):
            ax, ay, an = place[c, k, 0], place[c, k, 1], place[c, k, 2]
            dx, dy, dn = place[c, k + 1, 0] - ax, place[c, k + 1, 1] - ay, place[c, k + 1, 2] - an
            steps = int(max(abs(dx), abs(dy))) + 1
            for s in range(steps):
                x, y, near = int(ax + dx * s / steps), int(ay + dy * s / steps), an + dn * s / steps
                if 0 <= x < size and 0 <= y < size and near > nearness[y, x]:
                    nearness[y, x] = near


@njit(cache=True)
def lit_share(x: float, y: float, near: float, nearness: np.ndarray, bias: float) -> float:
    """Share of the four nearest texels of a shadow map that do not hide a point, blended bilinearly."""
    size = nearness.shape[0]
    column, row = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    if column < 0 or row < 0 or column >= size - 1 or row >= size - 1:
        return 1.0
    u, v = x - 0.5 - column, y - 0.5 - row
    total = 0.0
    for j in range(2):
        for i in range(2):
            weight = (u if i else 1 - u) * (v if j else 1 - v)
            total += weight * (near + bias >= nearness[row + j, column + i])
    return total


@njit(cache=True)
def lit_vertices(place: np.ndarray, nearness: np.ndarray, bias: float, out: np.ndarray) -> None:
    """Write to ``out`` (N,) how much of each vertex (N, 3) a shadow map leaves in the light."""
    for n in range(len(place)):
        out[n] = lit_share(place[n, 0], place[n, 1], place[n, 2], nearness, bias)


@njit(cache=True)
def gather(owner: np.ndarray, share: np.ndarray, triangles: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """Blend values of corners (N, A) over the samples that triangles own; ``out`` (R, R, A) is written."""
    size, wide = owner.shape[0], values.shape[1]
    for y in range(size):
        for x in range(size):
            t = owner[y, x]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            v, w = share[y, x, 0], share[y, x, 1]
            for k in range(wide):
                out[y, x, k] = (1 - v - w) * values[a, k] + v * values[b, k] + w * values[c, k]


@njit(cache=True)
def sample_texture(texture: np.ndarray, u: float, v: float, k: int) -> float:
    """Bilinear value of channel ``k`` of a texture (H, W, channels) at (u, v) in [0, 1]."""
    high, wide = texture.shape[0], texture.shape[1]
    x, y = min(max(u * wide - 0.5, 0.0), wide - 1.001), min(max(v * high - 0.5, 0.0), high - 1.001)
    column, row = int(x), int(y)
    fx, fy = x - column, y - row
    upper = texture[row, column, k] * (1 - fx) + texture[row, column + 1, k] * fx
    lower = texture[row + 1, column, k] * (1 - fx) + texture[row + 1, column + 1, k] * fx
    return upper * (1 - fy) + lower * fy


@njit(cache=True)
def paint(mask: np.ndarray, uv: np.ndarray, texture: np.ndarray, out: np.ndarray) -> None:
    """Write a texture (H, W, channels) to the samples of ``mask`` (R, R) at ``uv`` (R, R, 2)."""
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            if mask[y, x]:
                for k in range(texture.shape[2]):
                    out[y, x, k] = sample_texture(texture, uv[y, x, 0], uv[y, x, 1], k)


@njit(cache=True)
def bump(mask: np.ndarray, place: np.ndarray, relief: np.ndarray, normal: np.ndarray, strength: float) -> None:
    """Tilt normals by a relief that is known at the samples (Mikkelsen 2010, surface gradients in screen space).

    Args:
        mask: (R, R) samples of one skin.
        place: (R, R, 3) points in space.
        relief: (R, R) height along the normal, in the unit of ``place``.
        normal: (R, R, 3) unit normals, changed in place.
        strength: scale of the relief.
    """
    size = mask.shape[0]
    tilted = normal.copy()
    for y in range(1, size - 1):
        for x in range(1, size - 1):
            if not (mask[y, x] and mask[y, x - 1] and mask[y, x + 1] and mask[y - 1, x] and mask[y + 1, x]):
                continue
            n = normal[y, x]
            dx, dy = (place[y, x + 1] - place[y, x - 1]) * 0.5, (place[y + 1, x] - place[y - 1, x]) * 0.5
            across, down = np.cross(dy, n), np.cross(n, dx)
            size_of = np.dot(dx, across)
            if abs(size_of) < 1e-9 or np.dot(dx, dx) > 0.02 or np.dot(dy, dy) > 0.02:
                continue
            hx = (relief[y, x + 1] - relief[y, x - 1]) * 0.5 * strength
            hy = (relief[y + 1, x] - relief[y - 1, x]) * 0.5 * strength
            turned = n - (across * hx + down * hy) / size_of
            tilted[y, x] = turned / np.sqrt(np.dot(turned, turned))
    normal[:] = tilted
