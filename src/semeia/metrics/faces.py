"""Metrics of face analysis, as pure functions on arrays.

An unlabelled value is NaN (-1 for a class) and is left out. A metric of nothing, as the F1 of a unit that is never
present, is NaN and not 0, so that a mean over units can say over how many it was taken.

Shapes      N images   E classes   K binary labels or units   G groups
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# ---------------------------------------------------------------------------------------------------------------------
# One class out of several


def confusion(truth: np.ndarray, answer: np.ndarray, *, classes: int) -> np.ndarray:
    """Counts (E, E) with a row for each true class and a column for each answer; truths below 0 are left out."""
    known = truth >= 0
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (truth[known], answer[known]), 1)
    return table


def accuracy(table: np.ndarray) -> float:
    """Share of right answers in a confusion table (E, E)."""
    return float(_ratio(np.trace(table), table.sum()))


def recall_per_class(table: np.ndarray) -> np.ndarray:
    """(E,) share of each true class that was answered right; NaN where a class does not occur."""
    return _ratio(np.diag(table), table.sum(1))


def balanced_accuracy(table: np.ndarray) -> float:
    """Mean recall over the classes that occur."""
    return mean_known(recall_per_class(table))


def f1_per_class(table: np.ndarray) -> np.ndarray:
    """(E,) F1 of each class against the rest; NaN where a class does not occur among the truths."""
    both = table.sum(0) + table.sum(1)
    return np.where(table.sum(1) > 0, _ratio(2 * np.diag(table), both), np.nan)


def macro_f1(table: np.ndarray) -> float:
    """Mean F1 over the classes that occur."""
    return mean_known(f1_per_class(table))


# ---------------------------------------------------------------------------------------------------------------------
# Yes or no, K labels at once


@dataclass(frozen=True)
class BinaryCounts:
    """(K,) counts of labelled images by truth and answer."""

    true_positive: np.ndarray
    false_positive: np.ndarray
    false_negative: np.ndarray
    true_negative: np.ndarray

    @property
    def positives(self) -> np.ndarray:
        """(K,) labelled images where the truth is yes."""
        return self.true_positive + self.false_negative

    @property
    def labelled(self) -> np.ndarray:
        """(K,) labelled images."""
        return self.positives + self.false_positive + self.true_negative


def binary_counts(truth: np.ndarray, answer: np.ndarray) -> BinaryCounts:
    """Count answers.

    Args:
        truth: (N, K) of 0 and 1, NaN where not labelled.
        answer: (N, K) of False and True, or 0 and 1.
    """
    yes, no, said = truth == 1, truth == 0, answer.astype(bool)
    return BinaryCounts(
        true_positive=(yes & said).sum(0),
        false_positive=(no & said).sum(0),
        false_negative=(yes & ~said).sum(0),
        true_negative=(no & ~said).sum(0),
    )


def binary_f1(counts: BinaryCounts) -> np.ndarray:
    """(K,) F1 of the positive class; NaN where nothing is positive, see ``counts.positives``."""
    doubled = 2 * counts.true_positive
    f1 = _ratio(doubled, doubled + counts.false_positive + counts.false_negative)
    return np.where(counts.positives > 0, f1, np.nan)


def binary_accuracy(counts: BinaryCounts) -> np.ndarray:
    """(K,) share of right answers; NaN where nothing is labelled."""
    return _ratio(counts.true_positive + counts.true_negative, counts.labelled)


def binary_balanced_accuracy(counts: BinaryCounts) -> np.ndarray:
    """(K,) mean of the recalls of yes and no; NaN where one of them does not occur."""
    recall_yes = _ratio(counts.true_positive, counts.positives)
    recall_no = _ratio(counts.true_negative, counts.true_negative + counts.false_positive)
    return (recall_yes + recall_no) / 2


# ---------------------------------------------------------------------------------------------------------------------
# Numbers


def absolute_error(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Mean absolute error over the first axis, where the truth is known.

    Args:
        truth: (N, ...) numbers, NaN where not labelled.
        answer: (N, ...) numbers.

    Returns:
        (...) in the unit of the arguments; NaN where nothing is labelled.
    """
    known = ~np.isnan(truth)
    return _ratio(np.where(known, np.abs(answer - truth), 0).sum(0), known.sum(0))


def angular_error(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Mean absolute error of angles in degrees the short way round: 179 and -179 differ by 2.

    Args:
        truth: (N, ...) degrees, NaN where not labelled.
        answer: (N, ...) degrees.

    Returns:
        (...) degrees; NaN where nothing is labelled.
    """
    difference = (answer - truth + 180) % 360 - 180
    return absolute_error(np.where(np.isnan(truth), np.nan, 0), difference)


def pearson(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """(K,) Pearson's correlation of (N, K) numbers; NaN where one side does not vary or fewer than 2 are known."""
    xx, yy, xy = _products(truth, answer)
    return _ratio(xy, np.sqrt(xx * yy))


def icc_3_1(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Intra-class correlation ICC(3,1) of two raters, truth and answer.

    ICC(3,1) = (BMS - EMS) / (BMS + (k - 1) EMS) with mean squares of a two-way table (Shrout and Fleiss, 1979), as used
    for action-unit intensities since FERA 2015. With k = 2 raters this is 2 cov(x, y) / (var x + var y). A constant
    offset between the raters costs nothing.

    Args:
        truth: (N, K) numbers, NaN where not labelled.
        answer: (N, K) numbers.

    Returns:
        (K,); NaN where neither side varies or fewer than 2 are known.
    """
    xx, yy, xy = _products(truth, answer)
    return _ratio(2 * xy, xx + yy)


def _products(truth: np.ndarray, answer: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K,) sums over the known rows of (N, K): squared deviations of truth, of answer, and their products."""
    known = ~np.isnan(truth)
    count = known.sum(0)
    x, y = (np.where(known, side, 0).astype(float) for side in (truth, answer))
    dx, dy = (np.where(known, side - _ratio(side.sum(0), count), 0) for side in (x, y))
    # Rounding leaves traces of variance in constant columns; they must count as constant.
    xx, yy = (
        np.where(np.where(known, side, np.inf).min(0) < np.where(known, side, -np.inf).max(0), (d * d).sum(0), 0)
        for side, d in ((x, dx), (y, dy))
    )
    return xx, yy, (dx * dy).sum(0)


# ---------------------------------------------------------------------------------------------------------------------
# Means and intervals


def mean_known(values: np.ndarray) -> float:
    """Mean of the values that are not NaN; NaN where there is none."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def bootstrap(
    metric: Callable[[np.ndarray], float | np.ndarray],
    groups: np.ndarray,
    *,
    seed: int,
    rounds: int = 1000,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of a metric under resampling of whole groups with replacement (Efron, 1979).

    Images of one person resemble one another, so that persons are drawn and not images.

    Args:
        metric: Gets indices into the images, with repetitions, and returns a number or an array of any one shape.
        groups: (N,) identity of each image.
        seed: Of the draws.
        rounds: Number of draws.
        level: Coverage of the interval.

    Returns:
        Lower and upper end, in the shape of the metric. A round in which the metric is NaN is left out; where it is
        NaN in all rounds, so are the ends.
    """
    rng = np.random.default_rng(seed)
    _, group_of = np.unique(groups.astype(str), return_inverse=True)
    order = np.argsort(group_of, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(group_of))[:-1])
    draws = rng.integers(len(members), size=(rounds, len(members)))
    values = np.stack([np.asarray(metric(np.concatenate([members[g] for g in draw])), float) for draw in draws])
    tail = (1 - level) / 2
    known = ~np.isnan(values).all(0)
    ends = np.full((2, *values.shape[1:]), np.nan)
    ends[:, known] = np.nanquantile(values[:, known], [tail, 1 - tail], axis=0)
    return ends[0], ends[1]


def _ratio(part: np.ndarray | float, whole: np.ndarray | float) -> np.ndarray:
    """``part / whole``, NaN where ``whole`` is 0."""
    whole = np.asarray(whole, float)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)
