"""From light to an 8-bit picture: expose, put the background behind, then lens, movement, sensor and storage.

Shapes: S pixels a side.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from semeia.data.synthetic.faces.appearance import Skin
from semeia.data.synthetic.faces.light import background
from semeia.data.synthetic.faces.scene import SKIN_LIKE, Exposure
from semeia.data.synthetic.faces.spec import FaceSpec, Stream

_LUMA = np.array([0.30, 0.59, 0.11])


def develop(exposure: Exposure, skin: Skin, spec: FaceSpec) -> np.ndarray:
    """(S, S, 3) uint8 picture of one shot."""
    light = tone(exposure, skin, spec.shot_stream(Stream.TONE))
    behind = background(spec.shot_stream(Stream.BACKGROUND), len(light))
    picture = light + (1 - exposure.coverage[..., None]) * behind
    picture = through_lens(picture, spec.shot_stream(Stream.LENS), other=spec.look == "other")
    return stored(picture, spec.shot_stream(Stream.SENSOR), other=spec.look == "other")


def tone(exposure: Exposure, skin: Skin, rng: np.random.Generator) -> np.ndarray:
    """(S, S, 3) display values: the face is exposed for its own tone, give or take, and lights roll off."""
    light = exposure.light
    on_face = np.isin(exposure.regions, SKIN_LIKE)
    brightness = (light @ _LUMA)[on_face if on_face.sum() > 50 else exposure.coverage >= 0]
    wanted = rng.uniform(0.6, 1.05) * (0.06 + 0.62 * float(skin.tone @ _LUMA))
    gain = wanted / max(float(np.median(brightness)), 1e-3)
    gain = min(gain, 0.95 / max(float(np.percentile(brightness, 97)), 1e-3))
    value = light * gain
    value = 1.25 * value * (1 + value / 9) / (1 + 0.45 * value)  # shoulder: lights roll off instead of clipping
    display = np.where(value <= 0.0031308, 12.92 * value, 1.055 * np.maximum(value, 1e-9) ** (1 / 2.4) - 0.055)
    return np.asarray(np.clip(display, 0, 1))


def through_lens(picture: np.ndarray, rng: np.random.Generator, *, other: bool) -> np.ndarray:
    """What lens and movement do: softness always, now and then out of focus, moved, or dark in the corners."""
    size = len(picture)
    soft = size / 128 * (rng.uniform(0.15, 0.45) if rng.random() > 0.08 else rng.uniform(0.5, 1.2 if other else 1.0))
    picture = ndimage.gaussian_filter(picture, (soft, soft, 0))
    if rng.random() < (0.2 if other else 0.1):
        length, angle = size / 128 * rng.uniform(1.5, 6 if other else 4.5), rng.uniform(0, np.pi)
        steps = np.linspace(-0.5, 0.5, 9)
        moved = [
            ndimage.shift(picture, (length * s * np.sin(angle), length * s * np.cos(angle), 0), order=1, mode="nearest")
            for s in steps
        ]
        picture = np.mean(moved, 0)
    if rng.random() < 0.2:
        y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
        picture = picture * (1 - rng.uniform(0.1, 0.5) * np.clip((x**2 + y**2) / 2, 0, 1))[..., None]
    return picture


def stored(picture: np.ndarray, rng: np.random.Generator, *, other: bool) -> np.ndarray:
    """(S, S, 3) uint8: noise of the sensor, a white balance that is a little off, and now and then JPEG."""
    gains = 1 + rng.normal(0, 0.05 if other else 0.025, 3)
    noisy = picture * gains + rng.normal(0, rng.uniform(0.002, 0.03 if other else 0.016), picture.shape)
    values = (np.clip(noisy, 0, 1) * 255).round().astype(np.uint8)
    if rng.random() < 0.5:
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, "JPEG", quality=int(rng.integers(25 if other else 45, 96)))
        values = np.asarray(Image.open(stream).convert("RGB"))
    return values
