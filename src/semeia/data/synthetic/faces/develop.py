"""From light to an 8-bit picture: smooth the light on skin, expose, put the background behind, add sensor noise.

Shapes: S pixels a side.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from semeia.data.synthetic.faces.appearance import TEXTURE, Skin
from semeia.data.synthetic.faces.light import background
from semeia.data.synthetic.faces.render import REGIONS, Exposure
from semeia.data.synthetic.faces.spec import FaceSpec, Stream

_LUMA = np.array([0.30, 0.59, 0.11])
_SPREAD = np.array([1.25, 0.95, 0.85]) / 140  # of light under the skin, in picture widths; red goes farthest
_ENAMEL = 2.2  # wet enamel shines out of the mouth's shadow as the plain teeth of the mesh do not
_SKIN_LIKE = [REGIONS.index(name) for name in ("skin", "lips", "nose")]


def smooth_skin_light(exposure: Exposure, skin: Skin) -> np.ndarray:
    """(S, S, 3) radiance with the light on skin filtered, edge- and colour-preserving.

    Radiance is divided by the painted colour, filtered by a joint bilateral filter that heeds normals and brightness,
    and multiplied again: path-tracing noise goes, painted detail stays, and light seems to travel under the skin.
    """
    size = len(exposure.light)
    is_skin = np.isin(exposure.regions, _SKIN_LIKE) & (exposure.coverage > 0.98)
    column, row = np.moveaxis(np.clip((exposure.uv * TEXTURE).astype(int), 0, TEXTURE - 1), -1, 0)
    painted = ndimage.gaussian_filter(skin.colour, (0.8, 0.8, 0))[row, column]
    colour = np.where(is_skin[..., None], painted, 1.0) + 1e-3
    light = exposure.light / colour
    brightness = np.log(light + 1e-3)
    radius = max(2, round(size / 75))
    pad = ((radius, radius), (radius, radius), (0, 0))
    far_light, far_brightness, far_normal = (np.pad(a, pad) for a in (light, brightness, exposure.normal))
    far_skin = np.pad(is_skin, radius)
    total, weights = np.zeros_like(light), np.zeros_like(light)
    for down in range(2 * radius + 1):
        for right in range(2 * radius + 1):
            window = slice(down, down + size), slice(right, right + size)
            tilt = np.maximum(0, 1 - (far_normal[window] * exposure.normal).sum(-1))
            steps = (down - radius) ** 2 + (right - radius) ** 2
            near = np.exp(-steps / (2 * (_SPREAD * size) ** 2))
            alike = np.exp(-((far_brightness[window] - brightness) ** 2) / (2 * 0.45**2))
            weight = (np.exp(-14 * tilt) * far_skin[window])[..., None] * near * alike
            total += weight * far_light[window]
            weights += weight
    return np.where(is_skin[..., None], total / np.maximum(weights, 1e-6), light) * colour


def develop(exposure: Exposure, skin: Skin, spec: FaceSpec) -> np.ndarray:
    """(S, S, 3) uint8 picture of one shot."""
    tone, sensor = spec.shot_stream(Stream.TONE), spec.shot_stream(Stream.SENSOR)
    size = len(exposure.light)
    light = smooth_skin_light(exposure, skin)
    light[exposure.regions == REGIONS.index("teeth")] *= _ENAMEL
    on_face = np.isin(exposure.regions, _SKIN_LIKE)
    brightness = (light @ _LUMA)[on_face if on_face.sum() > 50 else exposure.coverage >= 0]
    wanted = tone.uniform(0.6, 1.05) * (0.06 + 0.62 * float(skin.tone @ _LUMA))
    gain = wanted / max(float(np.median(brightness)), 1e-3)
    gain = min(gain, 0.95 / max(float(np.percentile(brightness, 97)), 1e-3))
    value = light * gain
    value = 1.25 * value * (1 + value / 9) / (1 + 0.45 * value)  # shoulder: lights roll off instead of clipping
    display = np.where(value <= 0.0031308, 12.92 * value, 1.055 * np.maximum(value, 1e-9) ** (1 / 2.4) - 0.055)
    behind = background(spec.shot_stream(Stream.BACKGROUND), size)
    picture = np.clip(display, 0, 1) + (1 - exposure.coverage[..., None]) * behind
    if sensor.random() < 0.5:
        picture = ndimage.gaussian_filter(picture, (0.35, 0.35, 0))
    picture = picture + sensor.normal(0, sensor.uniform(0.003, 0.018), picture.shape)
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)
