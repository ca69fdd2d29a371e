"""What skin and eyes look like: colour and relief painted in canonical coordinates, irises in polar ones.

Colours are linear RGB. A person's texture is painted once and shared by all shots.

Shapes: H = W = TEXTURE texels of a skin texture, N texels of an eye texture.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
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
from semeia.data.synthetic.faces.wrinkles import Wrinkles, draw_wrinkles, rest

TEXTURE = 512
EYE_TEXTURE = 128
EYE_TEXTURE_ANGLE = 60.0  # degrees from the eye's axis at the rim of the eye texture

_NOISE_SCALES = {"usual": (1.2, 3.5, 11.0, 44.0), "other": (1.8, 5.0, 19.0, 75.0)}  # texels
_NOISE_VARIANTS = 4
_MELANIN_RAMP = ((245, 214, 196), (232, 190, 162), (208, 160, 124), (168, 116, 82), (118, 76, 52), (72, 45, 33))
_HAIR_RAMPS = {
    "black": ((0.010, 0.008, 0.007), (0.018, 0.013, 0.010)),
    "brown": ((0.035, 0.018, 0.010), (0.11, 0.06, 0.028)),
    "blond": ((0.22, 0.13, 0.055), (0.40, 0.27, 0.13)),
    "red": ((0.13, 0.040, 0.013), (0.20, 0.065, 0.022)),
}
_GREY_HAIR = np.array([0.42, 0.40, 0.38])
_IRISES = {
    "usual": ((0.10, 0.055, 0.035), (0.20, 0.11, 0.06), (0.30, 0.22, 0.11), (0.24, 0.34, 0.42), (0.30, 0.42, 0.36)),
    "other": ((0.07, 0.035, 0.02), (0.27, 0.13, 0.045), (0.38, 0.25, 0.07), (0.36, 0.42, 0.46), (0.22, 0.38, 0.24)),
}  # brown, hazel, amber, blue, green
_LIPS = {"usual": (0.74, 0.42, 0.40), "other": (0.66, 0.40, 0.44)}  # sRGB of unpainted lips on light skin
_SHADOWS = {
    "usual": ((0.42, 0.28, 0.22), (0.46, 0.32, 0.36), (0.36, 0.36, 0.40)),
    "other": ((0.25, 0.38, 0.46), (0.50, 0.38, 0.16), (0.28, 0.40, 0.30)),
}  # sRGB of eye shadow


@dataclass(frozen=True)
class Skin:
    """A painted face at rest.

    Attributes:
        colour: (H, W, 3) float32.
        relief: (H, W) float32 in decimetres, positive outwards.
        tone: (3,) mean colour.
        wrinkles: the folds that action units add.
    """

    colour: np.ndarray
    relief: np.ndarray
    tone: np.ndarray
    wrinkles: Wrinkles


@dataclass(frozen=True)
class Canvas:
    """Masks (H, W) over the canonical texture that do not depend on the person; float32 save ``nose_region``.

    ``beards`` holds a mask for each style, ``noise`` for each look several variants of each scale from fine to coarse,
    ``streaks`` noise drawn out along the height.
    """

    azimuth: np.ndarray
    height: np.ndarray
    lips: np.ndarray
    lip_border: np.ndarray
    lids: np.ndarray
    shadow: np.ndarray
    lid_line: np.ndarray
    bags: np.ndarray
    bag_line: np.ndarray
    cheeks: np.ndarray
    nose: np.ndarray
    middle: np.ndarray
    nose_region: np.ndarray
    beards: Mapping[str, np.ndarray]
    streaks: np.ndarray
    noise: Mapping[str, tuple[tuple[np.ndarray, ...], ...]]


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
        return np.exp(-(((np.abs(azimuth) - u) / wide) ** 2) - ((height - y) / tall) ** 2).astype(np.float32)

    def drawn(ids: Sequence[int], width: int, blur: float) -> np.ndarray:
        picture = Image.new("L", (TEXTURE, TEXTURE))
        place = texels(vertices[np.array(ids)])
        pen = ImageDraw.Draw(picture)
        pen.polygon(place, fill=255) if width == 0 else pen.line(place, fill=255, width=width)
        return ndimage.gaussian_filter(np.asarray(picture, np.float32) / 255, blur)

    landmarks = load_topology().landmarks
    upper, lower = lip_outlines()
    lips = drawn([*upper, *lower[1:-1]], 0, 1.5)
    lid_line = np.zeros_like(lips)
    for ids, strength in (([nearest_in_front(0.20, 7.285), *UPPER_LID_LINE], 1.3), (LOWER_LID_LINE, 0.5)):
        for line in (list(ids), [int(mirror[i]) for i in ids]):
            lid_line = np.maximum(lid_line, strength * drawn(line, 2, 0.7))
    under = np.abs(azimuth) - eye
    rng = np.random.default_rng(7)  # the texture of noise itself is the same in every world
    noise = {
        look: tuple(tuple(_noise(rng, scale) for _ in range(_NOISE_VARIANTS)) for scale in scales)
        for look, scales in _NOISE_SCALES.items()
    }
    streaks = ndimage.gaussian_filter(rng.standard_normal((TEXTURE, TEXTURE)), (4.0, 0.7))
    return Canvas(
        azimuth=azimuth.astype(np.float32),
        height=height.astype(np.float32),
        lips=lips,
        lip_border=4 * ndimage.gaussian_filter(lips * (1 - lips), 0.7),
        lids=blob(eye, 7.30, 0.17, 0.085),
        shadow=blob(eye, 7.355, 0.16, 0.05),
        lid_line=lid_line,
        bags=blob(eye - 0.02, 7.175, 0.13, 0.045),
        bag_line=np.exp(-(((height - 7.125 - 0.7 * under**2) / 0.016) ** 2) - (under / 0.14) ** 4).astype(np.float32),
        cheeks=blob(0.53, 6.90, 0.26, 0.22),
        nose=blob(0, 6.88, 0.14, 0.13),
        middle=blob(0, 7.2, 0.75, 0.75),
        nose_region=drawn([*landmarks[[27, 28]], *landmarks[35:30:-1], landmarks[28]], 0, 5.0) > 0.3,
        beards=_beards(azimuth, height, lips),
        streaks=np.asarray(streaks / streaks.std(), np.float32),
        noise=noise,
    )


def _beards(azimuth: np.ndarray, height: np.ndarray, lips: np.ndarray) -> Mapping[str, np.ndarray]:
    """Where each style of beard grows: (H, W) masks."""

    def above(edge: np.ndarray | float, soft: float) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(np.clip((edge - height) / soft, -50, 50))))

    aside = np.abs(azimuth)
    jaw = 6.76 + 0.9 * np.clip(aside - 0.55, 0, 9) - 0.10 * np.exp(-(((aside - 0.42) / 0.12) ** 2))
    free = (1 - lips) * (1 - 0.45 * np.exp(-((azimuth / 0.10) ** 2) - ((height - 6.455) / 0.02) ** 2))
    whole = (1 - above(jaw, 0.045)) * above(6.17 + 0.35 * np.clip(aside - 0.2, 0, 1), 0.015) * free
    lip = (1 - above(6.805 - 0.25 * aside, 0.014)) * above(6.62 - 0.25 * np.clip(aside - 0.2, 0, 1), 0.015)
    lip = lip * free / (1 + np.exp(np.clip((aside - 0.255) / 0.018, -50, 50)))
    lip *= 1 - 0.35 * np.exp(-((azimuth / 0.02) ** 2))
    chin = (1 - above(6.50, 0.02)) * above(6.18, 0.012) * free
    chin = chin / (1 + np.exp(np.clip((aside - 0.155 - 0.15 * np.clip(6.45 - height, 0, 0.3)) / 0.022, -50, 50)))
    beside = np.exp(-(((aside - 0.265) / 0.03) ** 2)) * (1 - above(6.66, 0.03)) * above(6.42, 0.03)
    masks = {"full": np.maximum(whole, lip), "moustache": lip, "goatee": np.maximum.reduce([lip, chin, 0.8 * beside])}
    masks["stubble"] = ndimage.gaussian_filter(masks["full"], 4) * free
    return {style: mask.astype(np.float32) for style, mask in masks.items()}


def _noise(rng: np.random.Generator, scale: float) -> np.ndarray:
    """(H, W) smooth noise of unit variance with blobs of about ``scale`` texels."""
    cells = int(np.ceil(TEXTURE / max(scale / 2, 1))) + 4
    smooth = ndimage.gaussian_filter(rng.standard_normal((cells, cells)), min(scale, 2) / 2)
    large = ndimage.zoom(smooth, (TEXTURE + 8) / (cells - 1), order=1)[:TEXTURE, :TEXTURE]
    return np.asarray(large / large.std(), np.float32)


def skin_tone(melanin: float, rng: np.random.Generator, *, look: str = "usual") -> np.ndarray:
    """(3,) linear colour along a ramp from little to much melanin, tinted cool to warm; more olive or red if other."""
    ramp = np.array(_MELANIN_RAMP) / 255
    at = np.linspace(0, 1, len(ramp))
    srgb = np.array([np.interp(melanin, at, ramp[:, channel]) for channel in range(3)])
    srgb = srgb * (1 + rng.normal(0, 0.015, 3) + rng.normal(0, 0.022) * np.array([0.4, 0.0, -1.0]))
    if look == "other":
        lean = float(rng.choice([-1, 1]) * rng.uniform(0.4, 1.0))
        srgb = srgb * (1 + lean * np.array([0.02, -0.045, -0.035])) * rng.uniform(0.9, 1.04)
    return linear(np.clip(srgb, 0, 1))


def hair_colour(hair: Hair) -> np.ndarray:
    """(3,) linear colour."""
    dark, light = (np.array(end) for end in _HAIR_RAMPS[hair.colour])
    return (dark + (light - dark) * hair.shade) * (1 - hair.grey) + _GREY_HAIR * hair.grey


def brow_colour(hair: Hair, tone: np.ndarray) -> np.ndarray:
    """(3,) linear colour of brows: that of the hair, a little skin shining through."""
    colour = hair_colour(dataclasses.replace(hair, grey=0.6 * hair.grey))  # brows turn grey after the head
    warm = colour * 0.9 + np.array([0.02, 0.012, 0.008]) if hair.grey < 0.3 else colour * 0.6
    return np.minimum(warm, 0.6 * tone + 0.02) * 0.85 + tone * 0.08


@njit(cache=True)
def _blend(colour, mask, amount, other):  # type: ignore[no-untyped-def]
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            share = min(mask[i, j] * amount, np.float32(1))
            if share > 1e-3:
                colour[i, j, 0] += share * (other[0] - colour[i, j, 0])
                colour[i, j, 1] += share * (other[1] - colour[i, j, 1])
                colour[i, j, 2] += share * (other[2] - colour[i, j, 2])


def _mix(colour: np.ndarray, mask: np.ndarray, amount: float, other: np.ndarray) -> None:
    """Move ``colour`` (H, W, 3) towards one colour by ``mask`` (H, W) times ``amount``, in place."""
    _blend(colour, mask, np.float32(amount), np.asarray(other, np.float32))


def paint_skin(person: Person, rng: np.random.Generator, folding: np.random.Generator | None = None) -> Skin:
    """Paint a person's face: pigment, redness, spots, lips, lids, make-up, beard, wrinkles, the scalp under the hair.

    Args:
        person: whose face it is.
        rng: the person's stream of the skin.
        folding: the person's stream of the wrinkles; without it they follow from ``rng``.
    """
    ground, other = canvas(), person.look == "other"
    tone = skin_tone(person.melanin, rng, look=person.look)
    melanin, hair = person.melanin, hair_colour(person.hair)
    old = float(np.clip((person.age - 40) / 45, 0, 1))
    fine, small, middle, large = (_turned(variants, rng) for variants in ground.noise[person.look])
    even = (1 - 0.5 * person.makeup) * (0.7 + 0.8 * old) * float(rng.uniform(0.7, 1.4))
    weights = np.array([0.020, 0.034, 0.030, 0.008] if other else [0.032, 0.030, 0.014, 0.008]) * even
    mottling = np.float32(weights[0]) * large + np.float32(weights[1]) * middle
    mottling += np.float32(weights[2]) * (np.abs(small) - 0.8 if other else small) + np.float32(weights[3]) * fine
    ruddy = np.float32(0.35 * even * (1 - 0.6 * melanin)) * (np.float32(0.03) * middle - np.float32(0.02) * large)
    colour = np.empty((TEXTURE, TEXTURE, 3), np.float32)
    for channel, lean in enumerate((0.5, -1.0, -0.8)):  # blood shows as less green and blue, not only as darkness
        colour[..., channel] = np.float32(tone[channel]) * (1 + mottling + np.float32(lean) * ruddy)
    _redden(colour, person, tone, large, rng)
    _spot(colour, person, tone, small + middle, rng)
    _paint_lips(colour, person, tone, rng)
    _paint_eyes(colour, person, tone, rng)
    relief = np.float32(3.5e-4 * (1 + 0.8 * old)) * np.minimum(fine, 0.5) + np.float32(4e-4) * small
    relief -= np.float32(1.6e-3 * old) * np.abs(middle)
    relief += np.float32(0.012 * person.bags) * (ground.bags - ground.bag_line)
    relief += np.float32(0.003) * ground.lip_border - np.float32(0.0022) * ground.lips * np.abs(ground.streaks)
    _grow_beard(colour, relief, person, hair, fine)
    edge = hairline(ground.azimuth, person.hair.line + 0.03) + 0.02 * small
    scalp = 1 / (1 + np.exp((edge - ground.height) * np.float32(25)))
    scalp *= (np.abs(ground.azimuth) < 1.25) | (ground.height > 7.5)
    _mix(colour, scalp.astype(np.float32), 0.97 * (1 - 0.9 * person.hair.bald), hair * 0.8 + tone * 0.015)
    np.clip(colour, 0.004, 0.95, out=colour)
    own = np.random.default_rng(rng.integers(2**32)) if folding is None else folding
    wrinkles = draw_wrinkles(person.age, own, size=TEXTURE)
    colour, relief = rest(wrinkles, colour, relief.astype(np.float32))
    return Skin(colour, relief, tone, wrinkles)


def _turned(variants: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """(H, W) one of the variants, maybe mirrored, so that few pictures of noise serve many faces."""
    noise = variants[int(rng.integers(len(variants)))]
    return noise[:: int(rng.choice([-1, 1])), :: int(rng.choice([-1, 1]))]


def _redden(colour: np.ndarray, person: Person, tone: np.ndarray, large: np.ndarray, rng: np.random.Generator) -> None:
    """Blood under thin skin, and shadows under the eyes."""
    ground, melanin = canvas(), person.melanin
    red = linear([0.80, 0.36, 0.30]) * (1 - 0.75 * melanin) + tone * 0.75 * melanin
    strength = (0.04 + 0.30 * person.rosy) * (1 - 0.45 * melanin)
    _mix(colour, ground.cheeks * np.clip(1 + 0.3 * large, 0.2, 1.8), strength, red)
    _mix(colour, ground.nose, (0.04 + 0.22 * person.rosy) * rng.uniform(0.6, 1.3), red)
    _mix(colour, ground.lids, rng.uniform(0.06, 0.16), red)
    _mix(colour, ground.bags, 0.05 + 0.40 * person.bags, tone * [0.60, 0.52, 0.56])


def _spot(colour: np.ndarray, person: Person, tone: np.ndarray, coarse: np.ndarray, rng: np.random.Generator) -> None:
    """Freckles, moles and the spots of age."""
    ground, old = canvas(), float(np.clip((person.age - 40) / 45, 0, 1))
    if person.freckles > 0:
        dots = np.clip(_turned(ground.noise[person.look][1], rng) - 0.9, 0, 0.8) * 1.25
        dots *= np.clip(ground.middle * (0.35 + ground.cheeks + ground.nose), 0, 1)
        _mix(colour, dots, 0.75 * person.freckles, tone * [0.62, 0.46, 0.36])
    if old > 0.3:
        _mix(colour, np.clip(coarse - 2.7, 0, 1), 0.5 * old, tone * [0.62, 0.52, 0.45])
    for _ in range(int(rng.poisson(2.0))):
        row, column = rng.integers([110, 170], [400, 342])
        size = float(rng.uniform(0.9, 2.2))
        y, x = np.mgrid[-7:8, -7:8]
        mole = np.exp(-(((x**2 + y**2) / size**2) ** 1.5)).astype(np.float32)
        _mix(colour[row - 7 : row + 8, column - 7 : column + 8], mole, rng.uniform(0.3, 0.8), tone * [0.35, 0.25, 0.2])


def _paint_lips(colour: np.ndarray, person: Person, tone: np.ndarray, rng: np.random.Generator) -> None:
    """Red with lines across, a soft edge and, with lipstick, one of many reds."""
    ground = canvas()
    dark = person.melanin
    natural = linear(_LIPS[person.look]) * (1 - dark) ** 0.7 + tone * np.array([0.60, 0.50, 0.52]) * dark
    natural = natural * (1 + rng.normal(0, 0.07, 3)) * rng.uniform(0.85, 1.1)
    hue = ([0.50, 0.05, 0.10], [0.75, 0.25, 0.30]) if person.look == "other" else ([0.55, 0.10, 0.18], [0.8, 0.35, 0.4])
    stick = linear(rng.uniform(*np.array(hue)))
    lines = np.clip(1 + 0.10 * ground.streaks, 0.5, 1.3)
    bare = float(rng.uniform(0.40, 0.75))
    _mix(colour, ground.lip_border * (1 - ground.lips), 0.18, np.clip(tone * 1.12, 0, 0.95))
    _mix(
        colour,
        ground.lips * lines,
        0.88 if person.lipstick else bare,
        np.clip(stick if person.lipstick else natural, 0, 1),
    )


def _paint_eyes(colour: np.ndarray, person: Person, tone: np.ndarray, rng: np.random.Generator) -> None:
    """Dark rims of the lids, and make-up: a little foundation, shadow on the lid, a liner."""
    ground = canvas()
    palette = _SHADOWS[person.look]
    shadow = linear(palette[int(rng.integers(len(palette)))])
    if person.makeup > 0:
        _mix(colour, ground.middle * (1 - ground.lips), 0.25 * person.makeup, tone * 1.03)
        _mix(colour, ground.shadow, 0.55 * person.makeup, shadow * (0.35 + 0.65 * tone.mean()))
    _mix(colour, ground.lid_line, 0.45 * (1.0 - 0.6 * person.male), tone * 0.25)
    if person.makeup > 0:
        _mix(colour, ground.lid_line, 0.9 * person.makeup, np.full(3, 0.012))


def _grow_beard(colour: np.ndarray, relief: np.ndarray, person: Person, hair: np.ndarray, fine: np.ndarray) -> None:
    """Shade of a beard's hairs and the relief of their tufts, in place."""
    if person.beard <= 0:
        return
    ground = canvas()
    mask = ground.beards[person.beard_style]
    hairs = np.clip(0.82 + 0.14 * ground.streaks + 0.12 * fine, 0, 1.15)
    _mix(colour, mask * hairs, 0.92 * person.beard ** (1.0 if person.beard_style == "stubble" else 0.5), hair * 0.85)
    if person.beard_style != "stubble":
        relief += np.float32(0.014 * person.beard) * mask * (1 + np.float32(0.22) * ground.streaks)


def paint_eye(melanin: float, rng: np.random.Generator, *, look: str = "usual") -> np.ndarray:
    """(N, N, 3) eye texture in polar coordinates around its axis: pupil, iris with fibres, dark rim, sclera."""
    across = np.linspace(-1, 1, EYE_TEXTURE)
    x, y = np.meshgrid(across, across)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    iris = rng.uniform(23.5, 26) / EYE_TEXTURE_ANGLE
    pupil = iris * rng.uniform(0.32, 0.52)
    share = np.array([0.45 + 0.4 * melanin, 0.3, 0.12 * (1 - melanin), 0.09 * (1 - melanin), 0.04 * (1 - melanin)])
    pigment = np.array(_IRISES[look][int(rng.choice(5, p=share / share.sum()))])
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
