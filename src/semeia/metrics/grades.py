"""Metrics of ordered grades, as House-Brackmann I to VI counted 0 to 5, and of a degree between 0 and 1.

An unlabelled truth is -1 and is left out. A metric of nothing is NaN and not 0. A NaN among the answers is not left
out: it makes the number that it is part of NaN.

Source: weighted kappa (Cohen 1968). What the palsy paper measures with could not be read: these are defaults.

Shapes      N images   E grades   P patients   K numbers of an image, as logits   R bins
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

QUANTILES = (0.05, 0.5, 0.95)
"""Of the answers in a bin of the curve."""


def quadratic_kappa(table: np.ndarray) -> float:
    """Agreement beyond chance, where being wrong costs the square of the distance in grades.

    kappa = 1 - sum w_ij O_ij / sum w_ij E_ij with w_ij = (i - j)^2, O the table and E the counts that its margins
    give by chance. It is 1 where all is right, 0 for a constant answer, and negative where worse than chance.

    Args:
        table: (E, E) as of ``faces.confusion``, with a row and a column for each grade of the scale: without those
            that do not occur, the others would move together.

    Returns:
        NaN of nothing, and where truths and answers are all of the same one grade: there chance is right as well.
    """
    grade = np.arange(len(table))
    weight = (grade[:, None] - grade).astype(float) ** 2
    counts = table.astype(float)
    chance = (weight * np.outer(counts.sum(1), counts.sum(0))).sum()  # times the total
    return float(1 - (weight * counts).sum() * counts.sum() / chance) if chance else float("nan")


def grade_error(truth: np.ndarray, answer: np.ndarray) -> float:
    """Mean absolute error in grades.

    Args:
        truth: (N,) grades, -1 where not labelled.
        answer: (N,) grades, whole or expected ones.
    """
    return _mean(_distance(truth, answer))


def within_one(truth: np.ndarray, answer: np.ndarray) -> float:
    """Share of answers that are at most one grade off; arguments as of ``grade_error``."""
    distance = _distance(truth, answer)
    return _mean(np.where(np.isnan(distance), np.nan, distance <= 1))


def one_a_patient(patients: np.ndarray, logits: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Mean over the images of each patient, so that one with many frames counts once.

    Args:
        patients: (N,) identity of each image.
        logits: (N, K).

    Returns:
        Names of the patients in the order in which they first appear, and their means (P, K).
    """
    names, first, place = np.unique(patients.astype(str), return_index=True, return_inverse=True)
    total = np.zeros((len(names), logits.shape[1]))
    np.add.at(total, place, logits)
    order = np.argsort(first)
    means = total / np.bincount(place, minlength=len(names))[:, None]
    return tuple(names[order].tolist()), means[order]


@dataclass(frozen=True)
class Curve:
    """(R,) count of images, and mean and 5th, 50th and 95th percentile of their answers; NaN in an empty bin."""

    count: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray


def curve(truth: np.ndarray, answer: np.ndarray, *, edges: np.ndarray) -> Curve:
    """How answers follow the truth, for a plot.

    Args:
        truth: (N,) degrees in [0, 1], -1 or NaN where not labelled.
        answer: (N,) degrees.
        edges: (R + 1,) ascending, in [0, 1]. A bin has its lower edge but not its upper one, except for the last. A
            truth outside is left out.
    """
    bins = len(edges) - 1
    place = np.where(truth == edges[-1], bins - 1, np.searchsorted(edges, truth, side="right") - 1)
    inside = (place >= 0) & (place < bins)
    place, said = place[inside], answer[inside].astype(float)
    count = np.bincount(place, minlength=bins)
    some = count > 0
    mean, ends = np.full(bins, np.nan), np.full((bins, 3), np.nan)
    mean[some] = np.bincount(place, said, bins)[some] / count[some]
    # Bin after bin, each from its least answer to its greatest.
    said = said[np.lexsort((said, place))]
    at = (count[some, None] - 1) * np.array(QUANTILES)
    first = (np.cumsum(count) - count)[some, None]
    below, above = first + np.floor(at).astype(int), first + np.ceil(at).astype(int)
    ends[some] = said[below] + (said[above] - said[below]) * (at % 1)
    ends[np.isnan(mean)] = np.nan
    return Curve(count, mean, *ends.T)


def _distance(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Grades between truth and answer, of the labelled."""
    known = truth >= 0
    return np.abs(answer[known].astype(float) - truth[known])


def _mean(values: np.ndarray) -> float:
    """NaN of nothing, without numpy's warning."""
    return float(values.mean()) if values.size else float("nan")
