"""How good a pseudo-normal image is: like its true twin, true to its input, and healthy.

    quality         PSNR, SSIM, MS-SSIM and L1 against the true twin, which synthetic data alone have
    identity        MS-SSIM(twin, input), both set to 0 in the lesion
    healthiness     1 - mean area that a judge finds in twins / mean area that it finds in inputs
    adaptive        1 - Dice of a segmentor that was trained anew on (twin, mask) pairs: traces that a judge misses
    realism         KID of features of twins against those of real normal slices

Identity and healthiness belong together: a copy of the input has identity 1 and healthiness 0, a blurred picture the
opposite. ``data_range`` is fixed for a data set (2 for values in [-1, 1]), never taken from a picture.

Sources     SSIM: Wang et al. 2004; MS-SSIM: Wang, Simoncelli and Bovik 2003; KID: Binkowski et al. 2018; equivalence:
            two one-sided tests, Schuirmann 1987. Identity and healthiness as in Xia et al. 2020 and GVS (Zhang et al.
            2021) [recalled by the specification, not read]; the rest is the specification's default.

Shapes      H, W pixels   N images or pairs   D features   G groups   S slices of a volume
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage, stats

SIGMA, RADIUS = 1.5, 5
"""Of SSIM's Gaussian window, 11 pixels wide."""
K1, K2 = 0.01, 0.03
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of MS-SSIM, the finest scale first; of fewer scales the first ones, brought to a sum of 1."""


# Pictures ------------------------------------------------------------------------------------------------------------


def l1(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Mean absolute difference of (H, W) images over the pixels of ``mask``, or all; NaN where there is no pixel."""
    return _mean(np.abs(_real(a) - _real(b)), mask)


def psnr(a: np.ndarray, b: np.ndarray, data_range: float, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB: ``10 log10(range^2 / mean((a - b)^2))``.

    Args:
        a: (H, W).
        b: (H, W).
        data_range: Distance from the lowest to the highest possible value.
        mask: (H, W) bool, the pixels that count; all by default.

    Returns:
        Infinity where both are equal, NaN where no pixel counts.
    """
    error = _mean((_real(a) - _real(b)) ** 2, mask)
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(data_range**2 / np.float64(error)))


def ssim(a: np.ndarray, b: np.ndarray, data_range: float, mask: np.ndarray | None = None) -> float:
    """Structural similarity with a Gaussian window of 11 pixels, sigma 1.5.

    Without a mask the mean is over pixels whose window lies in the image, as usual; with one it is over the pixels of
    the mask, windows being mirrored at the edges of the image.

    Args:
        a: (H, W), both sides at least 11.
        b: (H, W).
        data_range: Distance from the lowest to the highest possible value.
        mask: (H, W) bool.

    Returns:
        1 where both are equal; NaN where no pixel counts.
    """
    light, structure = _ssim_maps(a, b, data_range)
    return _mean(light * structure, mask) if mask is not None else float(_inner(light * structure).mean())


def ms_ssim(a: np.ndarray, b: np.ndarray, data_range: float, *, scales: int | None = None) -> float:
    """Structural similarity over several scales: contrast and structure at each, light at the coarsest.

    Args:
        a: (H, W), both sides at least 11.
        b: (H, W).
        data_range: Distance from the lowest to the highest possible value.
        scales: How many; by default as many as the shorter side allows, at most 5 (from 176 pixels).

    Raises:
        ValueError: The image is too small for so many scales.
    """
    most = scales_of(a.shape)
    count = most if scales is None else scales
    if not 1 <= count <= most:
        raise ValueError(f"{a.shape[0]} x {a.shape[1]} pixels allow 1 to {most} scales, {count} were asked for")
    weights = np.array(SCALE_WEIGHTS[:count]) / sum(SCALE_WEIGHTS[:count])
    a, b, value = _real(a), _real(b), 1.0
    for scale, weight in enumerate(weights, start=1):
        light, structure = _ssim_maps(a, b, data_range)
        part = float(_inner(structure if scale < count else light * structure).mean())
        # A negative part has no real power; it stands for no likeness at all.
        value *= max(part, 0.0) ** weight
        a, b = _halved(a), _halved(b)
    return value


def scales_of(shape: Sequence[int]) -> int:
    """Scales of MS-SSIM that an image allows: its shorter side must have 11 pixels at the coarsest."""
    return sum(min(shape) >> scale > 2 * RADIUS for scale in range(len(SCALE_WEIGHTS)))


def identity(twin: np.ndarray, image: np.ndarray, lesion: np.ndarray, data_range: float) -> float:
    """How much of the image outside the true lesion the twin kept: MS-SSIM with the lesion set to 0 in both.

    A model that pastes the input back outside its mask has this for nothing: never compare it with one that does not.

    Args:
        twin: (H, W).
        image: (H, W).
        lesion: (H, W) bool, the true mask.
        data_range: Distance from the lowest to the highest possible value.
    """
    return ms_ssim(np.where(lesion, 0, twin), np.where(lesion, 0, image), data_range)


def _ssim_maps(a: np.ndarray, b: np.ndarray, data_range: float) -> tuple[np.ndarray, np.ndarray]:
    """Likeness of light (H, W), and of contrast and structure (H, W)."""
    a, b = _real(a), _real(b)
    if min(a.shape) <= 2 * RADIUS:
        raise ValueError(f"expected at least {2 * RADIUS + 1} pixels a side, found {a.shape[0]} x {a.shape[1]}")
    mean_a, mean_b = _window(a), _window(b)
    spread_a, spread_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    shared = _window(a * b) - mean_a * mean_b
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return light, (2 * shared + c2) / (spread_a + spread_b + c2)


def _window(image: np.ndarray) -> np.ndarray:
    averaged: np.ndarray = ndimage.gaussian_filter(image, SIGMA, radius=RADIUS, mode="reflect")
    return averaged


def _inner(values: np.ndarray) -> np.ndarray:
    return values[RADIUS:-RADIUS, RADIUS:-RADIUS]


def _halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels; an odd last row or column is left out."""
    rows, columns = (side // 2 * 2 for side in image.shape)
    kept = image[:rows, :columns]
    halved: np.ndarray = (kept[::2, ::2] + kept[1::2, ::2] + kept[::2, 1::2] + kept[1::2, 1::2]) / 4
    return halved


def _real(image: np.ndarray) -> np.ndarray:
    return np.asarray(image, np.float64)


def _mean(values: np.ndarray, mask: np.ndarray | None) -> float:
    kept = values if mask is None else values[np.asarray(mask, bool)]
    return float(kept.mean()) if kept.size else float("nan")


# Health --------------------------------------------------------------------------------------------------------------


def healthiness(twin_areas: np.ndarray, input_areas: np.ndarray) -> float:
    """``1 - mean(twin_areas) / mean(input_areas)``, at least 0; 1 is best.

    The judge must be trained on real masked images, apart from the model that it judges, with another seed and another
    architecture than the segmentor inside that model.

    Args:
        twin_areas: (N,) pixels that the judge finds in the twins.
        input_areas: (N,) pixels that it finds in their inputs.

    Returns:
        NaN where the judge finds nothing in any input: then it judges nothing.
    """
    before = float(np.mean(input_areas))
    return max(0.0, 1 - float(np.mean(twin_areas)) / before) if before > 0 else float("nan")


def adaptive_healthiness(dice: np.ndarray) -> float:
    """``1 - mean Dice`` of a segmentor that was trained anew on twins with the masks of their inputs; 1 is best.

    Args:
        dice: (N,) one value a held-out patient; NaN, a patient without lesion, does not count.

    Returns:
        NaN where no value counts.
    """
    known = np.asarray(dice, float)[~np.isnan(np.asarray(dice, float))]
    return 1 - float(known.mean()) if len(known) else float("nan")


# Overlap -------------------------------------------------------------------------------------------------------------


def volume_dice(found: np.ndarray, true: np.ndarray) -> float:
    """Dice of one patient's volume, ``2 |found and true| / (|found| + |true|)``.

    Args:
        found: (S, H, W) bool, or the slices that were read.
        true: The same shape.

    Returns:
        NaN where both are empty: there is nothing to overlap.
    """
    found, true = np.asarray(found, bool), np.asarray(true, bool)
    total = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / total if total else float("nan")


def dice_by_patient(
    patients: Sequence[str], overlap: np.ndarray, found: np.ndarray, true: np.ndarray
) -> dict[str, float]:
    """``volume_dice`` of each patient from the counts of slices, so that no volume has to be kept.

    Args:
        patients: N names, one a slice.
        overlap: (N,) pixels that are found and true.
        found: (N,) pixels that are found.
        true: (N,) pixels that are true.
    """
    totals: dict[str, np.ndarray] = {}
    for name, *counts in zip(patients, overlap, found, true, strict=True):
        totals[name] = totals.get(name, np.zeros(3)) + counts
    return {
        name: float(2 * both / (one + other)) if one + other else float("nan")
        for name, (both, one, other) in totals.items()
    }


# Realism and equivalence ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Interval:
    """A value and the interval around it, as likely as ``level`` says."""

    value: float
    low: float
    high: float
    level: float


def kid(
    real: np.ndarray,
    made: np.ndarray,
    *,
    real_groups: Sequence[Any] | None = None,
    made_groups: Sequence[Any] | None = None,
    level: float = 0.95,
) -> Interval:
    """Kernel inception distance: squared maximum mean discrepancy, unbiased, with the kernel ``(x y / D + 1)^3``.

    It may be negative: that of two draws of one distribution is 0 on average. The interval is Student's around the
    value, with the variance that leaving out one group at a time tells (jackknife) of each sample.

    Args:
        real: (N, D) features of real normal images by any fixed network; at least two groups.
        made: (M, D) features of twins by the same network; at least two groups.
        real_groups: N names, of patients, whose slices are alike; each image for itself by default.
        made_groups: M names.
        level: Of the interval.
    """
    x, y = np.asarray(real, np.float64), np.asarray(made, np.float64)
    within_x, within_y, between = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    in_x, in_y = _members(real_groups, len(x)), _members(made_groups, len(y))
    blocks_x, blocks_y = (_blocks(k - np.diag(np.diag(k)), m) for k, m in ((within_x, in_x), (within_y, in_y)))
    rows, columns = in_x.T @ between.sum(1), in_y.T @ between.sum(0)  # (G,) sums of the cross kernel
    sizes_x, sizes_y, cross = in_x.sum(0), in_y.sum(0), between.sum()
    n, m = len(x), len(y)
    mean_x, mean_y = blocks_x.sum() / (n * (n - 1)), blocks_y.sum() / (m * (m - 1))
    value = mean_x + mean_y - 2 * cross / (n * m)

    left_x, left_y = n - sizes_x, m - sizes_y
    without_x = _left_out(blocks_x, left_x) + mean_y - 2 * (cross - rows) / (left_x * m)
    without_y = mean_x + _left_out(blocks_y, left_y) - 2 * (cross - columns) / (n * left_y)
    variance = sum((len(w) - 1) / len(w) * ((w - w.mean()) ** 2).sum() for w in (without_x, without_y))
    freedom = min(len(sizes_x), len(sizes_y)) - 1
    half = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    return Interval(float(value), float(value) - half, float(value) + half, level)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    kernel: np.ndarray = (x @ y.T / x.shape[1] + 1) ** 3
    return kernel


def _members(groups: Sequence[Any] | None, count: int) -> np.ndarray:
    """(N, G) 1 where an image belongs to a group."""
    _, places = np.unique(np.arange(count) if groups is None else np.asarray(groups), return_inverse=True)
    members: np.ndarray = np.eye(places.max() + 1)[places.ravel()]
    return members


def _blocks(kernel: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(G, G) sums of a kernel (N, N) over pairs of groups."""
    blocks: np.ndarray = members.T @ kernel @ members
    return blocks


def _left_out(blocks: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(G,) means of the kernel over pairs of different images, one group left out each time."""
    sums = blocks.sum() - 2 * blocks.sum(1) + np.diag(blocks)
    means: np.ndarray = sums / (left * (left - 1))
    return means


@dataclass(frozen=True)
class Equivalence:
    """Whether two methods are alike up to a margin that was stated before: the interval lies inside it."""

    difference: Interval
    margin: float

    @property
    def holds(self) -> bool:
        """The interval lies strictly within -margin and +margin; never where it is unknown."""
        return -self.margin < self.difference.low and self.difference.high < self.margin


def equivalence(differences: np.ndarray, margin: float, *, level: float = 0.90) -> Equivalence:
    """Two one-sided t tests at (1 - level) / 2 each: a 90 % interval inside the margin is a test at 5 %.

    That no difference was found is no equivalence: few or noisy pairs have a wide interval, which fails.

    Args:
        differences: (N,) one method less the other, of each patient or seed, in the metric's unit.
        margin: Largest difference that does not matter, in the same unit, stated before the run.
        level: Of the interval.
    """
    known = np.asarray(differences, float)
    if len(known) < 2:
        mean = float(known.mean()) if len(known) else float("nan")
        return Equivalence(Interval(mean, float("-inf"), float("inf"), level), margin)
    half = float(stats.t.ppf((1 + level) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known)))
    return Equivalence(Interval(float(known.mean()), known.mean() - half, known.mean() + half, level), margin)
