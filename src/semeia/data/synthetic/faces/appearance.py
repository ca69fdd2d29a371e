"""What skin and eyes look like: colour and relief painted in canonical coordinates, irises in polar ones.

Colours are linear RGB. A person's texture is painted once and shared by all shots.

Shapes: H = W = TEXTURE texels of a skin texture, N texels of an eye texture.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from semeia.data.synthetic.faces.haircuts import Hair
from semeia.data.synthetic.faces.pack import load_pack
from semeia.data.synthetic.faces.spec import Person
from semeia.data.synthetic.faces.topology import (
    AZIMUTH_LIMIT,
    HEIGHT_LIMITS,
    LOWER_LID_LINE,
    UPPER_LID_LINE,
    canonical,
    lip_outlines,
    load_topology,
    nearest_in_front,
    texture_coordinates,
)

TEXTURE = 512
EYE_TEXTURE = 128
EYE_TEXTURE_ANGLE = 60.0  # degrees from the eye's axis at the rim of the eye texture

_NOISE_SCALES = (1.2, 3.5, 11.0, 44.0)  # texels
_NOISE_VARIANTS = 4
_MELANIN_RAMP = ((245, 214, 196), (232, 190, 162), (208, 160, 124), (168, 116, 82), (118, 76, 52), (72, 45, 33))
_HAIR_RAMPS = {
    "black": ((0.010, 0.008, 0.007), (0.018, 0.013, 0.010)),
    "brown": ((0.035, 0.018, 0.010), (0.11, 0.06, 0.028)),
    "blond": ((0.22, 0.13, 0.055), (0.40, 0.27, 0.13)),
    "red": ((0.13, 0.040, 0.013), (0.20, 0.065, 0.022)),
}
_GREY_HAIR = np.array([0.42, 0.40, 0.38])
_IRIS = ((0.10, 0.055, 0.035), (0.20, 0.11, 0.06), (0.30, 0.22, 0.11), (0.24, 0.34, 0.42), (0.30, 0.42, 0.36))


@dataclass(frozen=True)
class Skin:
    """A painted face: ``colour`` (H, W, 3), ``relief`` (H, W) in decimetres, mean ``tone`` (3,)."""

    colour: np.ndarray
    relief: np.ndarray
    tone: np.ndarray


@dataclass(frozen=True)
class Canvas:
    """Masks (H, W) over the canonical texture that do not depend on the person."""

    azimuth: np.ndarray
    height: np.ndarray
    lips: np.ndarray
    lids: np.ndarray
    lid_line: np.ndarray
    bags: np.ndarray
    cheeks: np.ndarray
    nose: np.ndarray
    nose_region: np.ndarray
    beard: np.ndarray
    eye_azimuth: float
    noise: tuple[tuple[np.ndarray, ...], ...]


def linear(srgb: Sequence[float] | np.ndarray) -> np.ndarray:
    """SRGB values in [0, 1] as linear light."""
    value = np.asarray(srgb, np.float64)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def hairline(azimuth: np.ndarray, lift: float) -> np.ndarray:
    """Canonical height above which hair grows, at each azimuth (radians)."""
    aside = np.abs(azimuth)
    height = 8.0 + lift - 0.55 * np.clip(aside - 0.45, 0, 9) ** 1.1 - 1.1 * np.clip(aside - 0.85, 0, 0.30)
    return np.maximum(height, 6.35)


def texels(points: np.ndarray) -> list[tuple[float, float]]:
    """Texture positions (column, row) of template points (N, 3)."""
    return [(float(u) * TEXTURE, float(v) * TEXTURE) for u, v in texture_coordinates(points)]


@functools.cache
def canvas() -> Canvas:
    """The masks, computed once a process."""
    low, high = HEIGHT_LIMITS
    centre = (np.arange(TEXTURE) + 0.5) / TEXTURE
    azimuth, height = np.meshgrid(centre * 2 * AZIMUTH_LIMIT - AZIMUTH_LIMIT, high - centre * (high - low))
    vertices, mirror = load_pack().vertices, load_topology().mirror
    eye = float(canonical(np.array([[0.307, 7.28, 1.38]]))[0][0])

    def blob(u: float, y: float, wide: float, tall: float) -> np.ndarray:
        return np.exp(-(((np.abs(azimuth) - u) / wide) ** 2) - ((height - y) / tall) ** 2)

    def drawn(ids: Sequence[int], width: int, blur: float) -> np.ndarray:
        picture = Image.new("L", (TEXTURE, TEXTURE))
        place = texels(vertices[np.array(ids)])
        pen = ImageDraw.Draw(picture)
        pen.polygon(place, fill=255) if width == 0 else pen.line(place, fill=255, width=width)
        return ndimage.gaussian_filter(np.asarray(picture, np.float64) / 255, blur)

    landmarks = load_topology().landmarks
    upper, lower = lip_outlines()
    lips = drawn([*upper, *lower[1:-1]], 0, 1.0)
    lid_line = np.zeros_like(azimuth)
    for ids, strength in (([nearest_in_front(0.20, 7.285), *UPPER_LID_LINE], 1.3), (LOWER_LID_LINE, 0.5)):
        for line in (list(ids), [int(mirror[i]) for i in ids]):
            lid_line = np.maximum(lid_line, strength * drawn(line, 2, 0.7))
    jaw_side = 0.9 * np.clip(np.abs(azimuth) - 0.55, 0, 9)
    beard = 1 / (1 + np.exp((height - 6.78 - jaw_side) / 0.05)) / (1 + np.exp(-(height - 6.24) / 0.03))
    beard *= (1 - lips) * (1 - 0.3 * np.exp(-((azimuth / 0.12) ** 2) - ((height - 6.42) / 0.05) ** 2))
    rng = np.random.default_rng(7)  # the texture of noise itself is the same in every world
    noise = tuple(tuple(_noise(rng, scale) for _ in range(_NOISE_VARIANTS)) for scale in _NOISE_SCALES)
    return Canvas(
        azimuth=azimuth,
        height=height,
        lips=lips,
        lids=blob(eye, 7.30, 0.17, 0.085),
        lid_line=lid_line,
        bags=blob(eye, 7.17, 0.15, 0.06),
        cheeks=blob(0.55, 6.85, 0.22, 0.2),
        nose=blob(0, 6.88, 0.14, 0.13),
        nose_region=drawn([*landmarks[[27, 28]], *landmarks[35:30:-1], landmarks[28]], 0, 5.0) > 0.3,
        beard=beard,
        eye_azimuth=eye,
        noise=noise,
    )


def _noise(rng: np.random.Generator, scale: float) -> np.ndarray:
    """(H, W) smooth noise of unit variance with blobs of about ``scale`` texels."""
    cells = int(np.ceil(TEXTURE / max(scale / 2, 1))) + 4
    smooth = ndimage.gaussian_filter(rng.standard_normal((cells, cells)), min(scale, 2) / 2)
    large = ndimage.zoom(smooth, (TEXTURE + 8) / (cells - 1), order=1)[:TEXTURE, :TEXTURE]
    return np.asarray(large / large.std(), np.float32)


def skin_tone(melanin: float, rng: np.random.Generator) -> np.ndarray:
    """(3,) linear colour along a ramp from little to much melanin, slightly tinted."""
    ramp = np.array(_MELANIN_RAMP) / 255
    at = np.linspace(0, 1, len(ramp))
    srgb = np.array([np.interp(melanin, at, ramp[:, channel]) for channel in range(3)])
    return linear(np.clip(srgb * (1 + rng.normal(0, 0.02, 3)), 0, 1))


def hair_colour(hair: Hair) -> np.ndarray:
    """(3,) linear colour."""
    dark, light = (np.array(end) for end in _HAIR_RAMPS[hair.colour])
    return (dark + (light - dark) * hair.shade) * (1 - hair.grey) + _GREY_HAIR * hair.grey


def brow_colour(hair: Hair, tone: np.ndarray) -> np.ndarray:
    """(3,) linear colour of brows: that of the hair, a little skin shining through."""
    colour = hair_colour(hair)
    warm = colour * 0.9 + np.array([0.02, 0.012, 0.008]) if hair.grey < 0.3 else colour * 0.6
    return np.minimum(warm, 0.6 * tone + 0.02) * 0.85 + tone * 0.08


def paint_skin(person: Person, rng: np.random.Generator) -> Skin:
    """Paint a person's face: pigment, redness, spots, lips, lids, beard, wrinkles and the scalp under the hair."""
    ground = canvas()
    tone = skin_tone(person.melanin, rng)
    melanin, hair = person.melanin, hair_colour(person.hair)
    old = float(np.clip((person.age - 40) / 45, 0, 1))
    fine, small, middle, large = (ground.noise[k][int(rng.integers(_NOISE_VARIANTS))] for k in range(4))
    mottling = 0.03 * large + 0.03 * middle + 0.014 * small + 0.008 * fine
    colour = tone * (1 + mottling * (0.7 + 0.8 * old))[..., None]

    def mix(share: np.ndarray, other: np.ndarray) -> None:
        colour[...] += np.clip(share, 0, 1)[..., None] * (np.asarray(other) - colour)

    red = linear([0.80, 0.36, 0.30]) * (1 - 0.75 * melanin) + tone * 0.75 * melanin
    mix(ground.cheeks * rng.uniform(0.08, 0.30) * (1 - 0.4 * melanin), red)
    mix(ground.nose * rng.uniform(0.05, 0.25), red)
    mix(ground.lids * 0.12, red)
    mix(ground.bags * rng.uniform(0.05, 0.3) * (0.5 + 0.7 * old), tone * [0.62, 0.55, 0.58])
    if rng.random() < 0.3 and melanin < 0.4:
        mix(0.35 * (fine + small > 2.2) * (ground.cheeks + ground.nose), tone * 0.6)
    if old > 0.3:
        mix(0.3 * old * ndimage.gaussian_filter((small + middle > 2.9).astype(float), 0.9), tone * 0.6)
    _paint_lips(mix, person, tone, fine, rng)
    mix(0.45 * ground.lid_line * (1.0 - 0.6 * person.male), tone * 0.25)
    stubble = np.clip(0.8 + 0.18 * fine + 0.12 * small, 0, 1.1)
    mix(0.85 * person.beard * ground.beard * stubble, hair * 1.1)
    furrows = _furrows(old, large, rng)
    colour *= np.clip(1 + 0.28 * furrows * np.clip(old + 0.15, 0, 1), 0.4, 1)[..., None]
    scalp = 1 / (1 + np.exp(-(ground.height - hairline(ground.azimuth, person.hair.line + 0.03) - 0.02 * small) / 0.04))
    scalp *= (np.abs(ground.azimuth) < 1.25) | (ground.height > 7.5)
    mix(0.97 * scalp * (1 - 0.9 * person.hair.bald), hair * 0.8 + tone * 0.015)
    relief = 0.012 * furrows * np.clip(old + 0.1, 0, 1) + 1.2e-4 * fine * (1 + old) + 2e-4 * small
    return Skin(np.clip(colour, 0.004, 0.95).astype(np.float32), relief.astype(np.float32), tone)


def _paint_lips(
    mix: Callable[[np.ndarray, np.ndarray], None],
    person: Person,
    tone: np.ndarray,
    fine: np.ndarray,
    rng: np.random.Generator,
) -> None:
    natural = linear([0.74, 0.42, 0.40]) * (1 - person.melanin) ** 0.7 + tone * 0.55 * person.melanin
    natural = natural * (1 + rng.normal(0, 0.05, 3))
    stick = linear([rng.uniform(0.55, 0.8), rng.uniform(0.1, 0.35), rng.uniform(0.18, 0.4)])
    share = 0.85 if person.lipstick else rng.uniform(0.45, 0.75)
    mix(canvas().lips * share * (1 + 0.1 * fine), np.clip(stick if person.lipstick else natural, 0, 1))


def _furrows(old: float, large: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W) depth of wrinkles in [-1, 0]: forehead, crow's feet, frown, under the eyes, beside the mouth."""
    ground = canvas()
    azimuth, height = ground.azimuth, ground.height
    depth = np.zeros_like(azimuth)
    for y in np.linspace(7.68, 7.95, 3) + rng.normal(0, 0.015, 3):
        line = np.exp(-(((height - y - 0.02 * large - 0.012 * np.cos(azimuth * 3)) / 0.013) ** 2))
        depth -= line * np.exp(-((azimuth / 0.5) ** 4)) * rng.uniform(0.4, 1) * (old > 0.05)
    for side in (-1, 1):
        across = azimuth * side
        for k in range(3):
            angle = rng.uniform(-0.5, 0.5) - 0.4 + 0.4 * k
            right, up = across - 0.52, height - 7.285
            along = right * np.cos(angle) + up * np.sin(angle)
            aside = up * np.cos(angle) - right * np.sin(angle)
            depth -= 0.6 * np.exp(-((aside / 0.009) ** 2) - ((along - 0.09) / 0.06) ** 2) * (old > 0.05)
        depth -= 0.5 * np.exp(-(((across - 0.06) / 0.013) ** 2) - ((height - 7.48) / 0.06) ** 2) * (old > 0.05)
        under = across - ground.eye_azimuth
        bag = np.exp(-(((height - 7.13 + under**2) / 0.012) ** 2) - (under / 0.13) ** 4)
        depth -= 0.7 * bag * (old > 0.05)
        down = np.clip((6.90 - height) / 0.4, 0, 1)
        fold = np.exp(-(((across - 0.17 - 0.19 * np.clip(down / 0.9, 0, 1) ** 0.8) / 0.018) ** 2))
        depth -= fold * (height < 6.90) * (height > 6.50) * np.sin(np.pi * down) * (0.15 + 0.85 * old)
    return ndimage.gaussian_filter(depth, 0.6)


def paint_eye(melanin: float, rng: np.random.Generator) -> np.ndarray:
    """(N, N, 3) eye texture in polar coordinates around its axis: pupil, iris with fibres, dark rim, sclera."""
    across = np.linspace(-1, 1, EYE_TEXTURE)
    x, y = np.meshgrid(across, across)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    iris = rng.uniform(23.5, 26) / EYE_TEXTURE_ANGLE
    pupil = iris * rng.uniform(0.32, 0.52)
    share = np.array([0.45 + 0.4 * melanin, 0.3, 0.12 * (1 - melanin), 0.09 * (1 - melanin), 0.04 * (1 - melanin)])
    pigment = np.array(_IRIS[int(rng.choice(5, p=share / share.sum()))])
    fibres = 1 + 0.25 * np.cos(angle * int(rng.integers(50, 80)) + 3 * np.sin(angle * 7)) + 0.2 * np.cos(angle * 23 + 1)
    sclera = np.array([0.80, 0.77, 0.74]) * (1 - 0.06 * rng.random())
    veins = np.clip((radius - iris) / (1 - iris), 0, 1)[..., None] * np.array([0.5, 1, 1])
    colour = sclera * (1 - 0.35 * veins)
    depth = np.clip((radius - pupil) / (iris - pupil), 0, 1)
    rim = 1 - 0.6 * np.exp(-(((radius - iris) / 0.03) ** 2))
    flesh = np.clip(pigment * (fibres * (1.15 - 0.9 * depth**3) * rim)[..., None], 0.008, 1)
    for inside, edge, soft in ((flesh, iris, 0.012), (np.full(3, 0.006), pupil, 0.01)):
        weight = 1 / (1 + np.exp(np.clip((radius - edge) / soft, -50, 50)))[..., None]
        colour = colour * (1 - weight) + inside * weight
    return np.asarray(colour, np.float32)
