"""What the scanner makes of the planes: grain of the tissues, partial volume, kernel, noise, HU as integers.

Shapes      K planes   S slices   N pixels a side
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import fft, ndimage

from semeia.data.synthetic.slabs import raster
from semeia.data.synthetic.slabs.canvas import Canvas
from semeia.data.synthetic.slabs.tissue import GRAIN, Tissue

_BLOCK = (48, 256, 256)
_BLANK = -1024
_SPECIAL = np.zeros(256, np.uint8)
_SPECIAL[[Tissue.FAT, Tissue.MESENTERY, Tissue.MEDIASTINUM]] = 1
_SPECIAL[[Tissue.MUSCLE, Tissue.LUNG, Tissue.STOOL]] = 2, 3, 4


@lru_cache(maxsize=2)
def _grain(spread: tuple[float, float, float]) -> np.ndarray:
    """A periodic block of smooth noise of spread 1; the same in every process."""
    rng = np.random.default_rng(int(spread[2] * 1000) + 17)
    block = ndimage.gaussian_filter(rng.standard_normal(_BLOCK, np.float32), spread, mode="wrap")
    return block / block.std()


def _cut(block: np.ndarray, shape: tuple[int, int, int], rng: np.random.Generator) -> np.ndarray:
    """A piece of a periodic block from a random corner."""
    places = [(rng.integers(block.shape[k]) + np.arange(shape[k])) % block.shape[k] for k in range(3)]
    return np.ascontiguousarray(block[np.ix_(*places)])


def texture(canvas: Canvas, rng: np.random.Generator) -> np.ndarray:
    """(S, N, N) HU that the grain of tissues adds to the slices."""
    scan = canvas.scan
    shape = (scan.slices, scan.size, scan.size)
    fine, coarse = _cut(_grain((0.6, 0.8, 0.8)), shape, rng), _cut(_grain((1.2, 3.0, 3.0)), shape, rng)
    middle = canvas.tissue[scan.planes // 2 :: scan.planes]  # (S, N, N)
    grain = np.empty(shape, np.float32)
    raster.grain(middle, fine, coarse, GRAIN, _SPECIAL, canvas.person.marbling, 0.32 * scan.spacing, grain)
    return grain


def slices(hu: np.ndarray, planes: int) -> np.ndarray:
    """(S, N, N) means over the planes of each slice."""
    return hu.reshape(-1, planes, *hu.shape[1:]).mean(1)


def _transfer(scan_spacing: float, size: int, sharp: bool) -> np.ndarray:
    """(N, N // 2 + 1) modulation transfer of the kernel; frequencies in cycles a mm."""
    f = np.hypot(fft.fftfreq(size, scan_spacing)[:, None], fft.rfftfreq(size, scan_spacing)[None])
    if sharp:  # lifts the middle frequencies
        return ((1 + 0.7 * (f / 0.35) ** 2 * np.exp(-((f / 0.4) ** 2))) * np.exp(-((f / 0.75) ** 4))).astype(np.float32)
    return np.exp(-((f / 0.42) ** 2)).astype(np.float32)


def resolve(hu: np.ndarray, spacing: float, *, sharp: bool) -> np.ndarray:
    """Slices (S, N, N) as the kernel resolves them."""
    spectrum = fft.rfft2(hu) * _transfer(spacing, hu.shape[-1], sharp)
    return fft.irfft2(spectrum, s=hu.shape[-2:])


def noise(canvas: Canvas, clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(S, N, N) noise of filtered back projection: a ramp times the kernel, more where rays pass more tissue.

    Args:
        canvas: for the scan's settings.
        clean: (S, N, N) HU without noise.
        rng: random numbers.
    """
    scan = canvas.scan
    size, spacing = scan.size, scan.spacing
    f = np.hypot(fft.fftfreq(size, spacing)[:, None], fft.rfftfreq(size, spacing)[None])
    shape = (f * _transfer(spacing, size, scan.sharp) * np.exp(-((f / 0.5) ** 2))).astype(np.float32)
    spectrum = fft.rfft2(rng.standard_normal(clean.shape, np.float32)) * shape
    field = fft.irfft2(spectrum, s=clean.shape[-2:])
    field /= field.std()
    # Thin slices overlap a little in the helix.
    if scan.thickness < 2:
        field = ndimage.gaussian_filter1d(field, 0.45, axis=0) * 1.25
    # Tissue on the way, of rays across and of rays from front to back.
    dense = np.clip(clean[scan.slices // 2] / 1000 + 1, 0, 2.2)
    across, down = dense.sum(1) * spacing / 1000, dense.sum(0) * spacing / 1000  # (N,), metres of water
    across, down = (ndimage.gaussian_filter1d(line, 8 / spacing) for line in (across, down))
    way = 0.5 * (np.exp(7.5 * (across - 0.3))[:, None] + np.exp(7.5 * (down - 0.22))[None])
    body = ndimage.gaussian_filter((dense > 0.3).astype(np.float32), 12 / spacing)
    amount = scan.noise * (1.7 if scan.sharp else 1.0) * np.sqrt(0.25 + way) * (0.45 + 0.55 * body)
    field *= np.clip(amount, 2, 90)
    # Rays starved in wide bony rows leave streaks across.
    starved = np.clip(across - 0.36, 0, 0.3)
    if starved.max() > 0:
        rows = rng.standard_normal((scan.slices, size, 1), np.float32) + 0.6 * ndimage.gaussian_filter(
            rng.standard_normal(clean.shape, np.float32), (0, 0, 18 / spacing)
        ) * np.sqrt(2 * np.sqrt(np.pi) * 18 / spacing)
        field += rows * (starved * 90)[:, None] * (0.3 + body)
    return field


def developed(hu: np.ndarray, canvas: Canvas) -> np.ndarray:
    """(S, N, N) int16 HU as written: clipped, blank outside the reconstructed circle."""
    values = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    if canvas.scan.circle:
        size = canvas.scan.size
        off = np.hypot(*np.mgrid[:size, :size] - (size - 1) / 2) > size / 2
        values[:, off] = _BLANK
    return values
