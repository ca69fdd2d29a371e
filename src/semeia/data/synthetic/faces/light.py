"""Where the camera stands, what lights the face and what lies behind it.

The head stays upright in its own coordinates and the camera goes around it; the lamps go with the camera.

Shapes: H, W of an environment map or a background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from semeia.data.synthetic.faces.spec import FaceSpec
from semeia.data.synthetic.faces.topology import load_topology

_SKY = (32, 64)  # texels of the environment map


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in head coordinates.

    Attributes:
        place: (3,) decimetres.
        axes: (3, 3) rows are the picture's right, up and backwards (towards the viewer).
        angle: full angle of view in degrees, the same across and down.
        size: pixels a side.
    """

    place: np.ndarray
    axes: np.ndarray
    angle: float
    size: int

    def project(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) pixel coordinates (x right, y down, origin at the top left corner) of points (N, 3)."""
        right, up, backwards = ((points - self.place) @ self.axes.T).T
        scale = self.size / 2 / np.tan(np.radians(self.angle / 2)) / -backwards
        return np.stack([self.size / 2 + scale * right, self.size / 2 - scale * up], 1)

    def rays(self) -> np.ndarray:
        """(size * size, 3) unit directions through the pixel centres, row by row."""
        slope = np.tan(np.radians(self.angle / 2))
        across = ((np.arange(self.size) + 0.5) / self.size * 2 - 1) * slope
        x, y = np.meshgrid(across, -across)
        rays = np.stack([x, y, -np.ones_like(x)], -1).reshape(-1, 3) @ self.axes
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def head_rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3, 3) rotation from head to camera axes (x right, y up, z backwards) of a pose with the signs of ``Pose``."""
    a, b, c = np.radians([-yaw, -pitch, roll])
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def place_camera(spec: FaceSpec, neutral: np.ndarray, size: int) -> Camera:
    """Frame the face of a resting head (V, 3): ``spec.span`` face heights wide, so that no expression moves it."""
    point = neutral[load_topology().landmarks]
    brow, chin = point[17:27].mean(0), point[8]
    height = float(brow[1] - chin[1])
    eyes, mouth = point[36:48].mean(0), point[48:60].mean(0)
    centre = np.array([0.0, 0.5 * eyes[1] + 0.5 * mouth[1] + 0.05 * height, eyes[2] * 0.75])
    axes = head_rotation(spec.yaw, spec.pitch, spec.roll)
    distance = spec.distance * height
    offset = np.array([-spec.shift[0] * height, -spec.shift[1] * height, distance])
    angle = 2 * np.degrees(np.arctan(spec.span * height / 2 / distance))
    return Camera(centre + axes.T @ offset, axes, float(angle), size)


def environment(rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) latitude-longitude map: a soft gradient and one to three lamps, roughly white-balanced."""
    height, width = _SKY
    polar, around = np.meshgrid(
        (np.arange(height) + 0.5) / height * np.pi, (np.arange(width) + 0.5) / width * 2 * np.pi, indexing="ij"
    )
    ray = np.stack([np.sin(polar) * np.sin(around), np.cos(polar), -np.sin(polar) * np.cos(around)], -1)
    above = np.clip(1 + rng.normal(0, 0.08, 3), 0.7, 1.3)
    below = np.clip(0.5 + rng.normal(0, 0.08, 3), 0.2, 0.9)
    share = (ray[..., 1:2] + 1) / 2
    light = rng.uniform(0.2, 0.65) * (above * share + below * (1 - share))
    for _ in range(int(rng.integers(1, 4))):
        azimuth, elevation = rng.normal(0, 1.0), rng.uniform(-0.1, 1.1)
        lamp = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
        narrow, warm = rng.choice([8, 20, 60]), rng.normal(0, 0.10)
        strength = rng.uniform(0.4, 1.6) * (narrow / 6) ** 0.8
        light = light + np.array([1 + warm, 1, 1 - warm]) * strength * np.exp(narrow * ((ray @ lamp)[..., None] - 1))
    mean = light.mean((0, 1))
    return np.asarray(light * (mean.mean() / mean) ** rng.uniform(0.5, 1.0), np.float32)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) display values in [0, 1]: plain, gradient, blurred blobs or blurred boxes in dull colours."""
    kind = int(rng.integers(4))
    grey = rng.uniform(0.05, 0.9, (2, 1))
    first, second = np.clip(grey + rng.normal(0, 0.05, (2, 3)), 0.02, 0.98)
    y, x = np.mgrid[0:size, 0:size] / size
    if kind == 0:
        return np.broadcast_to(first, (size, size, 3)).copy()
    if kind == 1:
        angle = rng.uniform(0, 2 * np.pi)
        share = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)[..., None]
        return np.asarray(first * (1 - share) + second * share)
    blur = size / rng.uniform(5, 20)
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size, 3)), (blur, blur, 0))
    noise /= noise.std() + 1e-9
    picture = first + 0.09 * (0.2 * noise + 0.9 * noise.mean(-1, keepdims=True))
    if kind == 3:
        for _ in range(8):
            left, top = rng.integers(-size // 8, size, 2)
            wide, tall = rng.integers(size // 8, size // 2, 2)
            box = rng.uniform(0.05, 0.9) + rng.normal(0, 0.06, 3)
            picture[max(top, 0) : max(top + tall, 0), max(left, 0) : max(left + wide, 0)] = box
        soft = size / rng.uniform(25, 90)
        picture = ndimage.gaussian_filter(picture, (soft, soft, 0))
    return np.clip(picture, 0, 1)
