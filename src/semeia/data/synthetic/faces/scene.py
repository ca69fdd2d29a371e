"""What a renderer is given and what it gives back; the two renderers (``raster``, ``render``) share these nouns.

Shapes: S pixels a side, N vertices, T triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REGIONS = (
    "background", "skin", "cloth", "cavity", "teeth", "tongue", "eye_left", "eye_right", "brow", "hair", "lash",
    "lips", "nose", "glasses", "hat", "mask", "hand",
)  # fmt: skip
"""Names of the numbers in a region mask; sides are the subject's own."""

SKIN_LIKE = [REGIONS.index(name) for name in ("skin", "lips", "nose")]
"""Numbers of the regions that the skin's texture covers."""


@dataclass(frozen=True)
class Surface:
    """A mesh of one plain material in head coordinates (decimetres; x to the subject's left, y up, z to the front).

    Attributes:
        region: a name of ``REGIONS``.
        vertices: (N, 3).
        triangles: (T, 3) ids, counter-clockwise seen from outside; both sides are drawn.
        normals: (N, 3) unit normals.
        colour: (3,) linear RGB of the whole, or (N, 3) of each vertex.
        roughness: 0.1 mirror-like to 1 matt.
        opacity: share of the light behind it that is covered; below 1 for lenses and veils, which cast no shadow.
    """

    region: str
    vertices: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray
    colour: np.ndarray
    roughness: float = 0.8
    opacity: float = 1.0


@dataclass(frozen=True)
class Exposure:
    """What reached the camera.

    Attributes:
        light: (S, S, 3) linear radiance, black where nothing was hit.
        coverage: (S, S) share of each pixel that a surface covers.
        regions: (S, S) uint8 numbers of ``REGIONS``, through the centre of each pixel.
    """

    light: np.ndarray
    coverage: np.ndarray
    regions: np.ndarray
