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


@dataclass(frozen=True)
class Lamp:
    """A soft lamp: a lobe ``radiance * exp(narrow * (cos - 1))`` around a direction in camera axes."""

    direction: np.ndarray
    narrow: float
    radiance: np.ndarray


@dataclass(frozen=True)
class Sky:
    """Light from everywhere in camera axes: radiance that grows evenly from ``below`` to ``above``, and lamps."""

    above: np.ndarray
    below: np.ndarray
    lamps: tuple[Lamp, ...]

    def diffuse(self, rays: np.ndarray) -> np.ndarray:
        """(..., 3) radiance without the lamps from unit directions (..., 3)."""
        share = (rays[..., 1:2] + 1) / 2
        return np.asarray(self.above * share + self.below * (1 - share))

    def texels(self) -> np.ndarray:
        """(H, W, 3) the whole as a latitude-longitude map."""
        rays = _sky_rays()
        light = self.diffuse(rays)
        for lamp in self.lamps:
            light = light + lamp.radiance * np.exp(lamp.narrow * ((rays @ lamp.direction)[..., None] - 1))
        return np.asarray(light, np.float32)


def _sky_rays() -> np.ndarray:
    """(H, W, 3) directions of the texels of the map."""
    height, width = _SKY
    polar, around = np.meshgrid(
        (np.arange(height) + 0.5) / height * np.pi, (np.arange(width) + 0.5) / width * 2 * np.pi, indexing="ij"
    )
    return np.stack([np.sin(polar) * np.sin(around), np.cos(polar), -np.sin(polar) * np.cos(around)], -1)


def draw_sky(rng: np.random.Generator, *, look: str = "usual") -> Sky:
    """Soft light from all around and one to three lamps, roughly white-balanced.

    The other look has harder and more coloured lamps that stand farther aside, and less light around them.
    """
    other = look == "other"
    above = np.clip(1 + rng.normal(0, 0.08, 3), 0.7, 1.3)
    below = np.clip(0.5 + rng.normal(0, 0.08, 3), 0.2, 0.9)
    around = rng.uniform(0.05, 0.35) if other else rng.uniform(0.08, 0.45)
    lamps = []
    for _ in range(int(rng.integers(1, 4))):
        azimuth, elevation = rng.normal(0, 1.5 if other else 1.0), rng.uniform(-0.4 if other else -0.1, 1.1)
        direction = np.array(
            [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
        )
        narrow = float(rng.choice([14, 40, 90] if other else [8, 20, 60]))
        warm = rng.normal(0, 0.2 if other else 0.10)
        strength = rng.uniform(0.4, 1.6) * (narrow / 6) ** 0.8
        lamps.append(Lamp(direction, narrow, strength * np.array([1 + warm, 1, 1 - warm])))
    sky = Sky(around * above, around * below, tuple(lamps))
    mean = sky.texels().mean((0, 1))
    balance = (mean.mean() / mean) ** rng.uniform(0.2 if other else 0.5, 1.0)
    balanced = tuple(Lamp(lamp.direction, lamp.narrow, lamp.radiance * balance) for lamp in lamps)
    return Sky(sky.above * balance, sky.below * balance, balanced)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) display values in [0, 1]: a wall, a wall with a shadow, a room or a street out of focus.

    Colours are dull, as most of what stands behind people is.
    """
    kind = int(rng.integers(4))
    hue = rng.normal(0, 1, 3)
    tint = (hue - hue.mean()) * rng.uniform(0, 0.05)
    y, x = np.mgrid[0:size, 0:size] / size
    first, second = (np.clip(rng.uniform(0.06, 0.9) + tint, 0.02, 0.98) for _ in range(2))
    if kind == 0:
        second = np.clip(first + rng.uniform(-0.15, 0.15), 0.02, 0.98)
    angle = rng.uniform(0, 2 * np.pi)
    share = np.clip(0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle), 0, 1)[..., None]
    picture = first * (1 - share) + second * share
    if kind >= 2:
        for _ in range(int(rng.integers(4, 14))):
            left, top = rng.integers(-size // 4, size, 2)
            wide, tall = rng.integers(size // 10, size, 2)
            shade = np.clip(rng.uniform(0.05, 0.9) + tint + rng.normal(0, 0.035, 3), 0.02, 0.98)
            picture[max(top, 0) : max(top + tall, 0), max(left, 0) : max(left + wide, 0)] = shade
        for _ in range(int(rng.integers(0, 6)) if kind == 3 else 0):  # points of light, as discs
            at, radius = rng.random(2), rng.uniform(0.02, 0.08)
            glow = np.clip((radius - np.hypot(x - at[0], y - at[1])) * size / 2, 0, 1)[..., None]
            picture = picture + glow * rng.uniform(0.2, 0.8)
        soft = size / rng.uniform(12, 60)
        picture = ndimage.gaussian_filter(picture, (soft, soft, 0))
    grain = ndimage.gaussian_filter(rng.standard_normal((size, size)), rng.uniform(0.7, 4))
    return np.asarray(np.clip(picture + 0.02 * rng.random() * (grain / grain.std())[..., None], 0, 1))
