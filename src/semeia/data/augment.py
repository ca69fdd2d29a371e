"""Training augmentation of faces: where the crop lies, and what light, lens, sensor and storage do to it.

Every picture goes the way of light: things before the face, lamps, lens, sensor, development, storage. All randomness
comes from the generator that is passed in, and each picture takes a few milliseconds on one core.

Shapes      S side of the crop in pixels
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Weight of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""

SKIN_DARK, SKIN_LIGHT = np.array([60, 36, 26]), np.array([245, 212, 188])
"""Ends of the ramp that hands before the face are coloured from, 8-bit sRGB."""

SMALLEST_SIDE = 16
"""No picture is resampled to fewer pixels a side: nothing of a face would be left to learn."""


@dataclass(frozen=True)
class Augmentation:
    """How far and how often; ``p_`` marks probabilities, ranges are drawn from evenly."""

    rotation: float = 12.0
    """Largest turn of the crop either way, degrees."""
    scale: float = 0.14
    """Largest change of the crop's scale either way, as a part of 1."""
    shift: float = 0.05
    """Largest shift of the crop along each axis, as a part of its side."""
    aligned: float = 0.4
    """Part of these three that an aligned crop is moved by: about as far as the face finder's crops lie from those by
    labels (``benchmarks/crop_registration.py``)."""
    p_flip: float = 0.5
    """Mirror the picture."""

    p_occluder: float = 0.3
    """Put one to ``occluders`` things before the face: a blob like a hand, a bar like glasses or a strap, a patch."""
    occluders: int = 3
    """Most things at a time."""
    occluded: float = 0.12
    """Largest area of each thing, as a part of the picture."""
    p_light: float = 0.4
    """Let light fall off from one side to the other, tinted a little."""
    light: float = 0.6
    """Largest change of light from the middle to the edge, as a part of 1."""
    p_vignette: float = 0.1
    """Darken the corners."""
    vignette: float = 0.6
    """Largest loss of light in the corners, as a part of 1."""

    p_blur: float = 0.25
    """Blur as a lens out of focus."""
    blur: tuple[float, float] = (0.3, 1.8)
    """Standard deviation in pixels of a crop of 112; grows with the crop."""
    p_motion: float = 0.1
    """Blur along a line, as hand or head move."""
    motion: tuple[float, float] = (2.0, 8.0)
    """Length of the line in pixels of a crop of 112; grows with the crop."""
    p_noise: float = 0.3
    """Add noise of the sensor's electronics, the same everywhere."""
    noise: tuple[float, float] = (1.0, 14.0)
    """Its standard deviation in 8-bit steps."""
    p_shot: float = 0.15
    """Add noise of light itself, whose variance grows with brightness."""
    shot: tuple[float, float] = (2.0, 14.0)
    """Its standard deviation in 8-bit steps where the picture is white."""

    p_gain: float = 0.5
    """Scale red, green and blue each on its own, as a white balance that is off."""
    gain: float = 0.18
    """Largest change either way, as a part of 1."""
    p_brightness: float = 0.4
    """Scale all channels alike."""
    brightness: float = 0.3
    """Largest change either way, as a part of 1."""
    p_contrast: float = 0.4
    """Stretch or squeeze around the mean."""
    contrast: float = 0.35
    """Largest change either way, as a part of 1."""
    p_gamma: float = 0.4
    """Bend the tones."""
    gamma: tuple[float, float] = (0.6, 1.7)
    """Exponent; drawn evenly in its logarithm."""
    p_saturation: float = 0.3
    """Fade or strengthen the colours."""
    saturation: tuple[float, float] = (0.3, 1.5)
    """Distance from grey, as a multiple."""
    p_grey: float = 0.1
    """Take the colours away."""

    p_resample: float = 0.35
    """Make the picture smaller and large again."""
    resample: tuple[float, float] = (0.24, 1.0)
    """The smaller side, as a part of the side."""
    p_jpeg: float = 0.4
    """Store as JPEG."""
    jpeg: tuple[int, int] = (25, 95)
    """Quality."""


# ---------------------------------------------------------------------------------------------------------------------
# Where the crop lies


@dataclass(frozen=True)
class Jitter:
    """How a crop is moved: mirrored first if at all, then turned counter-clockwise as seen, scaled and shifted.

    ``rotation`` is in degrees and adds to the roll of ``Pose``; ``shift`` (right, down) is a part of the crop's side.
    """

    flip: bool = False
    rotation: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


def sample_jitter(how: Augmentation, rng: np.random.Generator, *, aligned: bool = False) -> Jitter:
    """Draw a jitter of an upright or of an aligned crop."""
    part = how.aligned if aligned else 1.0
    return Jitter(
        flip=bool(rng.random() < how.p_flip),
        rotation=part * rng.uniform(-how.rotation, how.rotation),
        scale=1 + part * rng.uniform(-how.scale, how.scale),
        shift=(part * rng.uniform(-how.shift, how.shift), part * rng.uniform(-how.shift, how.shift)),
    )


def jittered(matrix: np.ndarray, jitter: Jitter, size: int) -> np.ndarray:
    """The crop matrix (2, 3) of a jittered crop, which is turned and scaled around its own middle.

    Args:
        matrix: (2, 3) from the picture to the crop, see ``ops.faces``.
        jitter: How the crop is moved.
        size: Side of the crop in pixels.
    """
    angle = math.radians(jitter.rotation)
    cos, sin = jitter.scale * math.cos(angle), jitter.scale * math.sin(angle)
    # y grows down, so this turns counter-clockwise as seen.
    linear = np.array([[cos, sin], [-sin, cos]]) @ np.diag([-1.0 if jitter.flip else 1.0, 1.0])
    middle = np.full(2, size / 2)
    offset = middle - linear @ middle + np.array(jitter.shift) * size
    return np.column_stack([linear @ matrix[:, :2], linear @ matrix[:, 2] + offset])


# ---------------------------------------------------------------------------------------------------------------------
# What happens to the picture


def develop(image: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """What occluders, lamps, lens, sensor, development and storage may make of a picture.

    Args:
        image: (S, S, 3) uint8.
        how: Probabilities and ranges.
        rng: Source of all randomness.

    Returns:
        (S, S, 3) uint8, a new array.
    """
    seen = occlude(image, how, rng) if rng.random() < how.p_occluder else image
    light = seen.astype(np.float32)
    if rng.random() < how.p_light:
        light *= light_gradient(len(light), how.light, rng)
    if rng.random() < how.p_vignette:
        light *= vignette(len(light), rng.uniform(0.1, how.vignette))
    light = lens(light, how, rng)
    light = sensor(light, how, rng)
    light = tones(light, how, rng)
    return storage(np.clip(light + 0.5, 0, 255).astype(np.uint8), how, rng)


def light_gradient(size: int, strength: float, rng: np.random.Generator) -> np.ndarray:
    """(S, S, 3) factors that rise evenly across the picture, with a light tint that turns with them."""
    angle, reach = rng.uniform(0, 2 * math.pi), rng.uniform(0.1, strength)
    tint = rng.uniform(0.8, 1.2, 3).astype(np.float32)
    along = np.linspace(-1, 1, size, dtype=np.float32)
    slope = reach * (math.cos(angle) * along + math.sin(angle) * along[:, None])  # (S, S)
    return np.maximum(1 + slope[..., None] * tint, 0.1)


def vignette(size: int, strength: float) -> np.ndarray:
    """(S, S, 1) factors that fall with the squared distance from the middle to ``1 - strength`` in the corners."""
    square = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    return (1 - strength / 2 * (square + square[:, None]))[..., None]


def lens(light: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Blur of focus and motion on (S, S, 3) float32."""
    blur = rng.uniform(*how.blur) if rng.random() < how.p_blur else 0.0
    motion = rng.uniform(*how.motion) if rng.random() < how.p_motion else 0.0
    if blur == motion == 0:
        return light
    unit = len(light) / 112
    picture = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))
    if blur:
        picture = picture.filter(ImageFilter.GaussianBlur(blur * unit))
    blurred = np.asarray(picture, np.float32)
    return move(blurred, motion * unit, rng.uniform(0, math.pi)) if motion else blurred


def move(light: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Mean of (S, S, 3) float32 over shifts along a line of ``length`` pixels; edges are repeated."""
    reach = max(1, round(length / 2))
    steps = np.linspace(-length / 2, length / 2, 2 * reach + 1)
    padded = np.pad(light, ((reach + 1,) * 2, (reach + 1,) * 2, (0, 0)), mode="edge")
    total, size = np.zeros_like(light), len(light)
    for step in steps:
        top, left = (reach + 1 + round(step * f) for f in (math.sin(angle), math.cos(angle)))
        total += padded[top : top + size, left : left + size]
    return total / len(steps)


def sensor(light: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Noise on (S, S, 3) float32; Gaussian also where it stands for Poisson noise, whose counts are large here."""
    noise = rng.uniform(*how.noise) if rng.random() < how.p_noise else 0.0
    shot = rng.uniform(*how.shot) if rng.random() < how.p_shot else 0.0
    if noise == shot == 0:
        return light
    spread = np.sqrt(noise**2 + shot**2 * np.clip(light, 0, 255) / 255) if shot else np.float32(noise)
    return light + spread * rng.standard_normal(light.shape, np.float32)


def tones(light: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """White balance, exposure, contrast, gamma and saturation on (S, S, 3) float32."""
    factor = np.ones(3, np.float32)
    if rng.random() < how.p_gain:
        factor *= 1 + rng.uniform(-how.gain, how.gain, 3).astype(np.float32)
    if rng.random() < how.p_brightness:
        factor *= np.float32(1 + rng.uniform(-how.brightness, how.brightness))
    light = light * factor
    if rng.random() < how.p_contrast:
        mean = light.mean(dtype=np.float32)
        light = mean + (light - mean) * np.float32(1 + rng.uniform(-how.contrast, how.contrast))
    if rng.random() < how.p_gamma:
        low, high = how.gamma
        power = math.exp(rng.uniform(math.log(low), math.log(high)))
        # A table is ten times as fast as a power of each pixel.
        table = (255 * (np.arange(256) / 255) ** power).astype(np.float32)
        light = table[np.clip(light + 0.5, 0, 255).astype(np.uint8)]
    colour = rng.uniform(*how.saturation) if rng.random() < how.p_saturation else 1.0
    colour = 0.0 if rng.random() < how.p_grey else colour
    if colour != 1:
        grey = (light @ LUMINANCE)[..., None]
        light = grey + (light - grey) * np.float32(colour)
    return light


def storage(image: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Resampling and JPEG on (S, S, 3) uint8."""
    side = len(image)
    small = max(SMALLEST_SIDE, round(side * rng.uniform(*how.resample))) if rng.random() < how.p_resample else side
    quality = int(rng.integers(how.jpeg[0], how.jpeg[1], endpoint=True)) if rng.random() < how.p_jpeg else None
    if small >= side and quality is None:
        return image
    picture = Image.fromarray(image)
    if small < side:
        picture = picture.resize(
            (small, small), Image.Resampling.BOX if rng.random() < 0.5 else Image.Resampling.BICUBIC
        )
    if quality is not None:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=quality)
        picture = Image.open(stream)
    if small < side:
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    return np.array(picture)


# ---------------------------------------------------------------------------------------------------------------------
# Things before the face


def occlude(image: np.ndarray, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Put one to ``how.occluders`` things of skin-like, dark or any colour before a picture (S, S, 3) uint8."""
    picture = Image.fromarray(image)
    for _ in range(rng.integers(1, how.occluders, endpoint=True)):
        area = rng.uniform(0.1, 1.0) * how.occluded * len(image) ** 2
        draw = (_blob, _bar, _patch)[rng.integers(3)]
        mask = _mask(picture.size, draw(rng.uniform(0, len(image), 2), area, rng))
        _put_before(picture, mask, rng)
    return np.array(picture)


def cover(image: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put a thing before a picture (S, S, 3) uint8 that hides all of some points (P, 2) in it, as a plaster does."""
    picture, corners = Image.fromarray(image), np.round(points).astype(int).clip(0, len(image) - 1)
    middle = points.mean(0) + rng.normal(0, 0.15, 2) * np.ptp(points, axis=0)
    area = rng.uniform(1.0, 4.0) * max(float(np.ptp(points[:, 0])), 2.0) ** 2
    draw = (_blob, _bar, _patch)[rng.integers(3)]
    while True:
        mask = _mask(picture.size, draw(middle, area, rng))
        if np.asarray(mask)[corners[:, 1], corners[:, 0]].all():
            _put_before(picture, mask, rng)
            return np.array(picture)
        area *= 1.3


def _mask(size: tuple[int, int], outline: np.ndarray) -> Image.Image:
    """The inside of an outline (P, 2)."""
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).polygon([tuple(point) for point in outline], fill=255)
    return mask


def _put_before(picture: Image.Image, mask: Image.Image, rng: np.random.Generator) -> None:
    """Fill a mask with a surface, at times with a soft edge; in place."""
    if rng.random() < 0.5:
        mask = mask.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 2.0)))
    picture.paste(_surface(picture.width, rng), (0, 0), mask)


def _blob(middle: np.ndarray, area: float, rng: np.random.Generator) -> np.ndarray:
    """Outline (P, 2) of an ellipse with an uneven edge."""
    around = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    stretch = math.exp(rng.uniform(-0.7, 0.7))
    uneven = 1 + rng.uniform(0, 0.15) * np.sin(around * rng.integers(2, 6) + rng.uniform(0, 6))
    radius = math.sqrt(area / math.pi) * uneven
    circle = np.stack([np.cos(around) * radius * stretch, np.sin(around) * radius / stretch], 1)
    return middle + _turned(circle, rng.uniform(0, math.pi))


def _bar(middle: np.ndarray, area: float, rng: np.random.Generator) -> np.ndarray:
    """Outline (4, 2) of a strip three to twelve times as long as wide, more often lying than not."""
    width = math.sqrt(area / rng.uniform(3, 12))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [area / width / 2, width / 2]
    return middle + _turned(corners, rng.normal(0, 0.7))


def _patch(middle: np.ndarray, area: float, rng: np.random.Generator) -> np.ndarray:
    """Outline (4, 2) of an upright rectangle."""
    width = math.sqrt(area * math.exp(rng.uniform(-0.7, 0.7)))
    return middle + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, area / width / 2]


def _turned(points: np.ndarray, angle: float) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return points @ np.array([[cos, sin], [-sin, cos]])


def _surface(size: int, rng: np.random.Generator) -> Image.Image:
    """A picture that fills an occluder: one colour with soft shading or with grain."""
    kind = rng.integers(3)
    if kind == 0:
        colour = SKIN_DARK + rng.random() * (SKIN_LIGHT - SKIN_DARK)
    else:
        colour = rng.uniform(0, 60 if kind == 1 else 255, 3)
    # A few random values stretched over the picture: shading where there are few, grain where there are many.
    cells = int(rng.choice([2, 4, size]))
    grain = rng.normal(0, rng.uniform(2, 30), (cells, cells, 1)) + colour
    coarse = Image.fromarray(np.clip(grain, 0, 255).astype(np.uint8))
    return coarse.resize((size, size), Image.Resampling.BILINEAR)
