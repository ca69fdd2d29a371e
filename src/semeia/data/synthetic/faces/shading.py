"""How light leaves a surface, sample by sample: lamps with soft shadows, light from all around, shine.

Radiance of a diffuse surface is ``albedo * irradiance / pi``. Skin scatters: its terminator is wrapped, red farthest.
Shine is a normalised Blinn lobe that a lamp's own width broadens, with Schlick's Fresnel term. Hair follows Kajiya and
Kay (1989). Compiled by numba, one thread.

Shapes: R samples a side, L lamps, M texels of a shadow map, C curves, K points a curve.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from semeia.data.synthetic.faces.rasteriser import EMPTY, lit_share

PLAIN, SKIN, EYE = 0, 1, 2
"""Kinds of surfaces."""

_WRAP_TABLE = np.array([0.30, 0.16, 0.10])  # how far light creeps round skin's terminator, by channel
_NO_WRAP = np.zeros(3)
_TAPS = (
    (-0.326, -0.406), (-0.840, -0.074), (-0.696, 0.457), (-0.203, 0.621),
    (0.962, -0.195), (0.473, -0.480), (0.519, 0.767), (0.185, -0.893),
)  # fmt: skip
_TAP_TABLE = np.array(_TAPS)


@njit(cache=True)
def _shadow(at: np.ndarray, frame: np.ndarray, depth: np.ndarray, spread: float, turn: float, bias: float) -> float:
    """Share of a soft lamp that reaches a point (3,): eight places of its shadow map, turned by ``turn``.

    ``frame`` (4, 3) holds the map's axes across, down and towards the lamp in texels, and the place of its origin.
    """
    x = frame[0, 0] * at[0] + frame[0, 1] * at[1] + frame[0, 2] * at[2] + frame[3, 0]
    y = frame[1, 0] * at[0] + frame[1, 1] * at[1] + frame[1, 2] * at[2] + frame[3, 1]
    near = frame[2, 0] * at[0] + frame[2, 1] * at[1] + frame[2, 2] * at[2]
    cos, sin = np.cos(turn) * spread, np.sin(turn) * spread
    total = 0.0
    for k in range(8):
        u, v = _TAP_TABLE[k, 0], _TAP_TABLE[k, 1]
        total += lit_share(x + cos * u - sin * v, y + sin * u + cos * v, near, depth, bias)
    return total / 8


@njit(cache=True)
def _unit(v: np.ndarray) -> np.ndarray:
    return v / (np.sqrt(np.dot(v, v)) + 1e-9)


@njit(cache=True)
def _seen_at(x: int, y: int, near: float, size: int, eye_at: np.ndarray, axes: np.ndarray, scale: float) -> np.ndarray:
    """(3,) point in space under a sample."""
    right, up = (x + 0.5 - size / 2) / scale / near, -(y + 0.5 - size / 2) / scale / near
    return eye_at + axes[0] * right + axes[1] * up - axes[2] / near


@njit(cache=True)
def _turn(x: int, y: int) -> float:
    """By how much the taps of a shadow are turned at a sample: neighbours differ, the pattern repeats after 17."""
    return 6.2832 * (((x * 7 + y * 13) % 17) / 17.0)


@njit(cache=True)
def shade_curves(
    owner: np.ndarray,
    share: np.ndarray,
    nearness: np.ndarray,
    curves: np.ndarray,
    colour: np.ndarray,
    gloss: np.ndarray,
    eye_at: np.ndarray,
    axes: np.ndarray,
    scale: float,
    sky: np.ndarray,
    lamps: np.ndarray,
    flux: np.ndarray,
    frames: np.ndarray,
    depths: np.ndarray,
    albedo: np.ndarray,
    irradiance: np.ndarray,
    shine: np.ndarray,
) -> None:
    """Light the samples of curves: (C, K, 3) in head coordinates, ``colour`` (C, 3), ``gloss`` (C,); else as below."""
    size, points = owner.shape[0], curves.shape[1]
    middle = (sky[0] + sky[1]) / 2
    for y in range(size):
        for x in range(size):
            if owner[y, x] >= EMPTY:
                continue
            at = _seen_at(x, y, nearness[y, x], size, eye_at, axes, scale)
            view = _unit(eye_at - at)
            c = -2 - owner[y, x]
            k = min(int(share[y, x, 0] * (points - 1)), points - 2)
            along = _unit(curves[c, k + 1] - curves[c, k])
            albedo[y, x] = colour[c]
            deep = 0.42 + 0.45 * share[y, x, 0]  # roots lie in the shadow of the hair above them
            irradiance[y, x] = 2.6 * deep * middle
            for lamp in range(len(lamps)):
                toward = lamps[lamp, :3]
                lit = _shadow(at, frames[lamp], depths[lamp], 2.0, _turn(x, y), 4.0)
                front = max(0.0, 0.5 + 0.5 * np.dot(toward, view))
                across = np.sqrt(max(0.0, 1 - np.dot(along, toward) ** 2))
                mirrored = np.sqrt(max(0.0, 1 - np.dot(along, _unit(toward + view)) ** 2)) ** 60
                light = flux[lamp] * lit
                irradiance[y, x] += 0.75 * across * (0.4 + 0.6 * front) * light
                shine[y, x] += 0.16 * gloss[c] * mirrored * front * light * (0.5 + 0.5 * colour[c])


@njit(cache=True)
def shade_surfaces(
    owner: np.ndarray,
    nearness: np.ndarray,
    kind: np.ndarray,
    roughness: np.ndarray,
    normal: np.ndarray,
    albedo: np.ndarray,
    ambient: np.ndarray,
    eye_at: np.ndarray,
    axes: np.ndarray,
    scale: float,
    sky: np.ndarray,
    lamps: np.ndarray,
    flux: np.ndarray,
    frames: np.ndarray,
    depths: np.ndarray,
    irradiance: np.ndarray,
    shine: np.ndarray,
) -> None:
    """Light the samples of triangles.

    Args:
        owner: (R, R) of ``rasteriser.draw_triangles``.
        nearness: (R, R) of the same.
        kind: (R, R) ``PLAIN``, ``SKIN``, ``EYE``.
        roughness: (R, R) of the surfaces.
        normal: (R, R, 3) unit normals.
        albedo: (R, R, 3).
        ambient: (R, R, 3) irradiance without the lamps.
        eye_at: (3,) place of the camera.
        axes: (3, 3) of the camera.
        scale: samples a unit slope of the camera.
        sky: (2, 3) radiance above and below in camera axes.
        lamps: (L, 4) direction in head coordinates and narrowness.
        flux: (L, 3) irradiance of a surface that faces the lamp.
        frames: (L, 4, 3) of the shadow maps.
        depths: (L, M, M) shadow maps.
        irradiance: (R, R, 3), written.
        shine: (R, R, 3), written: radiance that is mirrored.
    """
    size = owner.shape[0]
    middle, slope = (sky[0] + sky[1]) / 2, (sky[0] - sky[1]) / 2
    for y in range(size):
        for x in range(size):
            if owner[y, x] < 0:
                continue
            at = _seen_at(x, y, nearness[y, x], size, eye_at, axes, scale)
            view, n = _unit(eye_at - at), normal[y, x]
            facing = np.dot(n, view)
            if facing < 0:
                n, facing = -n, -facing
            rough, eye = roughness[y, x], kind[y, x] == EYE
            upwards, around = 0.667 * np.dot(axes[1], n), 0.0
            for c in range(3):
                around += ambient[y, x, c] / max(middle[c] + upwards * slope[c], 1e-4) / 9.42
            around = min(around, 1.0)
            grazing = 0.04 + 0.5 * (1 - facing) ** 5 * (1 - rough) ** 2
            height = (np.dot(axes[1], 2 * facing * n - view) + 1) / 2
            mirrored = grazing * around * (1.0 if eye else 0.6)
            for c in range(3):
                # light that leaves the surroundings of a hollow comes back to it, tinted
                irradiance[y, x, c] = ambient[y, x, c] * (1 + 0.7 * albedo[y, x, c] * (1 - around))
                shine[y, x, c] = mirrored * (sky[0, c] * height + sky[1, c] * (1 - height))
            for lamp in range(len(lamps)):
                toward, narrow = lamps[lamp, :3], lamps[lamp, 3]
                cos = np.dot(n, toward)
                wrap = _WRAP_TABLE if kind[y, x] == SKIN else _NO_WRAP
                if cos + wrap[0] <= 0:
                    continue
                lit = _shadow(at + n * 0.015, frames[lamp], depths[lamp], 0.8 + 22 / narrow, _turn(x, y), 1.0)
                if lit <= 0:
                    continue
                half = _unit(toward + view)
                power = 2 / (0.002 + 0.12 / narrow if eye else rough**4 + 0.35 / narrow)
                peak = (power + 2) / 25.13 * max(np.dot(n, half), 0.0) ** power * max(cos, 0.0)
                peak *= 0.04 + 0.96 * (1 - max(np.dot(half, view), 0.0)) ** 5
                for c in range(3):
                    irradiance[y, x, c] += flux[lamp, c] * lit * max(0.0, (cos + wrap[c]) / (1 + wrap[c]))
                    shine[y, x, c] += flux[lamp, c] * lit * peak
