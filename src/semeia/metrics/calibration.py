"""Whether probabilities mean what they say, how to make them so, and from which probability on to say yes.

A probability is calibrated when of all faces that get 0.7, seven in ten have the label. Bins hold equally many faces,
so that none is empty; an unlabelled value is NaN (-1 for a class) and is left out.

Shapes      N images   E classes   K binary labels   T thresholds of one score   R bins
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 15
"""Guo et al. 2017, arXiv 1706.04599."""
SCALE_SPREAD, SHIFT_SPREAD = 0.5, 1.0
"""Standard deviations of the prior on the logarithm of a scale and on a shift: faces must speak against identity."""
DOUBT = 20.0
"""Positives (or negatives, if fewer) at which a threshold found on faces counts as much as the one theory expects."""
UNIT_BOUNDS, ATTRIBUTE_BOUNDS = (0.2, 0.8), (0.02, 0.98)
"""Where thresholds are kept. Those of balanced accuracy are near the label's share, which may be small."""
SOFTNESS = 0.3
"""Width in log-odds of the step that stands for a decision while a threshold is sought."""

# ---------------------------------------------------------------------------------------------------------------------
# Measuring


@dataclass(frozen=True)
class Reliability:
    """(R,) mean probability, share of positives and count of each bin, from low to high probability."""

    probability: np.ndarray
    share: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """Mean distance of share and probability, each bin by its count; NaN of nothing."""
        total = self.count.sum()
        return float((self.count * np.abs(self.share - self.probability)).sum() / total) if total else float("nan")


def reliability(truth: np.ndarray, probability: np.ndarray, *, bins: int = BINS) -> Reliability:
    """Sort faces by probability into bins of equal count.

    Args:
        truth: (N,) of 0 and 1, NaN where not labelled.
        probability: (N,) of yes.
        bins: At most this many; fewer where there are fewer faces.
    """
    known = ~np.isnan(truth)
    p, y = probability[known].astype(float), truth[known].astype(float)
    order = np.argsort(p, kind="stable")
    p, y = p[order], y[order]
    # Faces of one probability share their mean truth, or their order in the data would decide between bins.
    _, start, group, size = np.unique(p, return_index=True, return_inverse=True, return_counts=True)
    y = (np.add.reduceat(y, start) / size)[group] if len(p) else y
    parts = [part for part in np.array_split(np.arange(len(p)), bins) if len(part)]
    return Reliability(
        probability=np.array([p[part].mean() for part in parts]),
        share=np.array([y[part].mean() for part in parts]),
        count=np.array([len(part) for part in parts], int),
    )


def calibration_error(truth: np.ndarray, probability: np.ndarray, *, bins: int = BINS) -> np.ndarray:
    """(K,) expected calibration error of (N, K) labels; NaN where nothing is labelled.

    Few faces give an error above zero also where probabilities are right: up to about 0.4 ``sqrt(bins / N)``.
    """
    return np.array([reliability(y, p, bins=bins).error for y, p in zip(truth.T, probability.T, strict=True)])


def top_label_error(truth: np.ndarray, probability: np.ndarray, *, bins: int = BINS) -> float:
    """Expected calibration error of the likeliest class.

    Args:
        truth: (N,) classes, -1 where not labelled.
        probability: (N, E), rows that add up to 1.
        bins: See ``reliability``.
    """
    right = np.where(truth >= 0, (probability.argmax(1) == truth).astype(float), np.nan)
    return reliability(right, probability.max(1), bins=bins).error


def brier(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(K,) mean squared distance of (N, K) labels and probabilities; NaN where nothing is labelled."""
    known = ~np.isnan(truth)
    square = np.where(known, (probability - truth) ** 2, 0).sum(0)
    return np.divide(square, known.sum(0), out=np.full(square.shape, np.nan), where=known.any(0))


def brier_classes(truth: np.ndarray, probability: np.ndarray) -> float:
    """Mean over labelled images of the summed squared distance over classes; truth (N,), probability (N, E)."""
    known = truth >= 0
    exact = np.eye(probability.shape[1])[truth[known]]
    return float(((probability[known] - exact) ** 2).sum(1).mean()) if known.any() else float("nan")


def reliability_table(table: Reliability) -> str:
    """A Markdown table with a row for each bin."""
    rows = zip(table.probability, table.share, table.count, strict=True)
    lines = ["| mean probability | share with it | images |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {p:.3f} | {s:.3f} | {n} |" for p, s, n in rows)])


# ---------------------------------------------------------------------------------------------------------------------
# Fitting


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature (Guo et al. 2017) by which logits (N, E) of classes (N,) are to be divided; 1 of nothing."""
    known = truth >= 0
    if not known.any():
        return 1.0
    z, y = torch.from_numpy(logits[known]).double(), torch.from_numpy(truth[known])
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    _minimise(log_t, lambda: F.cross_entropy(z / log_t.exp(), y, reduction="sum") + _prior(log_t, SCALE_SPREAD))
    return float(log_t.detach().exp())


def fit_affine(
    score: np.ndarray, truth: np.ndarray, *, steps: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of each score, so that ``sigmoid(scale * z + shift - step_t)`` is P(level t) (Platt 1999).

    Found by maximum posterior: the fewer faces, the nearer to identity. A label whose faces are all alike stays so.

    Args:
        score: (N, K).
        truth: (N, K, T) in [0, 1], NaN where not labelled.
        steps: (K, T) thresholds of the score; one at 0 by default.

    Returns:
        Scale and shift, (K,) each.
    """
    known = ~np.isnan(truth)
    varied = np.where(known, truth, np.inf).min((0, 2)) < np.where(known, truth, -np.inf).max((0, 2))
    z, y, mask = (torch.from_numpy(np.nan_to_num(a).astype(float)) for a in (score, truth, known))
    offset = torch.zeros(truth.shape[1:], dtype=torch.float64) if steps is None else torch.from_numpy(steps).double()
    free = torch.zeros(2, truth.shape[1], dtype=torch.float64, requires_grad=True)  # log scale, shift

    def loss() -> Tensor:
        moved = (z * free[0].exp() + free[1])[..., None] - offset  # (N, K, T)
        each = F.binary_cross_entropy_with_logits(moved, y, weight=mask, reduction="none").mean(-1)
        return each.sum() + _prior(free[0], SCALE_SPREAD) + _prior(free[1], SHIFT_SPREAD)

    _minimise(free, loss)
    found = np.where(varied, free.detach().numpy(), 0)
    return np.exp(found[0]), found[1]


def f1_thresholds(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(K,) probability from which on saying yes is best by F1, for (N, K) calibrated probabilities.

    Theory puts it at half of the F1 that it reaches (Lipton et al. 2014, arXiv 1402.1892); faces pull it from there,
    the more of them the farther. One half where faces are all alike.
    """

    def quality(yes: np.ndarray, no: np.ndarray, positives: int, negatives: int) -> np.ndarray:
        return 2 * yes / (yes + no + positives)

    return _thresholds(truth, probability, quality, lambda y, best: best / 2, UNIT_BOUNDS)


def balanced_thresholds(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(K,) probability from which on saying yes is best by balanced accuracy, for (N, K) calibrated probabilities.

    Theory puts it at the label's share; else as ``f1_thresholds``.
    """

    def quality(yes: np.ndarray, no: np.ndarray, positives: int, negatives: int) -> np.ndarray:
        return (yes / positives + 1 - no / negatives) / 2

    return _thresholds(truth, probability, quality, lambda y, best: y.mean(), ATTRIBUTE_BOUNDS)


def _thresholds(
    truth: np.ndarray,
    probability: np.ndarray,
    quality: Callable[[np.ndarray, np.ndarray, int, int], np.ndarray],
    expected: Callable[[np.ndarray, float], float],
    bounds: tuple[float, float],
) -> np.ndarray:
    """(K,) thresholds: the best of a smoothed curve over a grid, shrunk towards the expected one."""
    grid = np.arange(bounds[0], bounds[1] + 1e-9, 0.01)
    found = np.full(truth.shape[1], 0.5)
    for k in range(truth.shape[1]):
        known = ~np.isnan(truth[:, k])
        y = truth[known, k]
        positives, negatives = int((y == 1).sum()), int((y == 0).sum())
        if not positives or not negatives:
            continue
        said = _soft_step(probability[known, k], grid)  # (N, grid)
        curve = quality(said[y == 1].sum(0), said[y == 0].sum(0), positives, negatives)
        seen = min(positives, negatives)
        best = seen * grid[curve.argmax()] + DOUBT * expected(y, float(curve.max()))
        found[k] = np.clip(best / (seen + DOUBT), *bounds)
    return found


def _soft_step(probability: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """(N, grid) how far each probability reaches each threshold: a smooth curve has no lucky peaks."""
    p = np.clip(probability.astype(float), 1e-6, 1 - 1e-6)
    apart = np.log(p / (1 - p))[:, None] - np.log(grid / (1 - grid))
    return 1 / (1 + np.exp(-apart / SOFTNESS))


def _prior(value: Tensor, spread: float) -> Tensor:
    """Minus the log-density of a normal prior around zero, up to a constant."""
    return 0.5 * (value / spread).square().sum()


@torch.enable_grad()
def _minimise(free: Tensor, loss: Callable[[], Tensor]) -> None:
    """Run L-BFGS to the end of a smooth problem of few numbers."""
    optimizer = torch.optim.LBFGS([free], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
