"""Metrics of affect: concordance of valence and arousal, and the score P_MTL of the multi-task challenges of ABAW.

    CCC    = 2 cov(x, y) / (var x + var y + (mean x - mean y)^2)
    P_MTL  = (CCC of valence + CCC of arousal) / 2 + mean F1 of E expressions + mean F1 of K action units

P_MTL is at most 3. It follows the challenge where that differs from ``metrics.faces``:

- Moments of the CCC (Lin, 1989) are taken over all labelled images at once and divided by N. It is 0 where the answers
  or the truths do not vary, also where both are the same constant: a constant does not follow anything.
- The F1 of a class or unit that no labelled image shows is 0, as scikit-learn has it, and counts in the mean, also
  where nobody answered it. A unit that is not labelled at all is left out of the mean.
- What nothing is labelled for is NaN, and so is P_MTL then. A NaN among the answers makes its number NaN.

Sums are kept one row an identity, so that identities can be drawn again without the answers:

    valence_arousal (G, 2, 6)   labelled, x, y, x^2, y^2, x y of truths x and answers y
    expression      (G, E, 3)   true positives, false positives, false negatives of each class against the rest
    units           (G, K, 4)   true positives, false positives, false negatives, true negatives

To score fewer classes, as the seven of Aff-Wild2 without "other", take these out of ``expression``.

Shapes      N images   G identities   E expressions   K action units   R draws of identities
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from semeia.metrics.face_sums import outcomes_of

Sums = Mapping[str, np.ndarray]

CONSTANT = 1e-12
"""Mean squares below this, of numbers between -1 and 1, are what rounding leaves of a constant."""


def ccc(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """Concordance correlation of each column.

    Args:
        truth: (N, D) numbers of the order of 1, NaN where not labelled.
        answer: (N, D) numbers.

    Returns:
        (D,) from -1 to 1; 0 where a side does not vary, NaN where nothing is labelled.
    """
    return _ccc(_moments(truth, answer).sum(0))


def affect_sums(
    truth: Mapping[str, np.ndarray], answer: Mapping[str, np.ndarray], people: np.ndarray, *, classes: int
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Add up what a reader of affect answered, for each identity.

    Args:
        truth: ``valence_arousal`` (N, 2) with NaN, ``expression`` (N,) with -1 and ``au_occurrence`` (N, K) of 0 and 1
            with NaN where not labelled.
        answer: ``valence_arousal`` (N, 2), ``expression`` (N,) classes, ``present`` (N, K) 0 or 1.
        people: (N,) identity of each image; of clips, the clip.
        classes: E.

    Returns:
        Names of the identities in order, and the sums by name.
    """
    names, place = np.unique(people.astype(str), return_inverse=True)
    each = {
        "valence_arousal": _moments(truth["valence_arousal"], answer["valence_arousal"]),
        "expression": _one_against_rest(truth["expression"], answer["expression"], classes),
        "units": outcomes_of(truth["au_occurrence"], answer["present"]),
    }
    sums = {name: np.zeros((len(names), *values.shape[1:])) for name, values in each.items()}
    for name, values in each.items():
        np.add.at(sums[name], place, values)
    return tuple(names.tolist()), sums


def _moments(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """(N, D, 6) 1, x, y, x^2, y^2 and x y; all 0 where not labelled."""
    x, y = truth.astype(float), answer.astype(float)
    return np.where(np.isnan(x)[..., None], 0, np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1))


def _one_against_rest(truth: np.ndarray, answer: np.ndarray, classes: int) -> np.ndarray:
    """(N, E, 3) which of true positive, false positive and false negative each class is; 0 where not labelled."""
    is_it, said = (side[:, None] == np.arange(classes) for side in (truth, answer))
    wrong = said & ~is_it & (truth >= 0)[:, None]
    return np.stack([is_it & said, wrong, is_it & ~said], -1)


# ---------------------------------------------------------------------------------------------------------------------
# (R, ...) sums to numbers


def concordance(sums: Sums) -> np.ndarray:
    """(R, 2) CCC of valence and of arousal."""
    return _ccc(sums["valence_arousal"])


def valence_ccc(sums: Sums) -> np.ndarray:
    """(R,) CCC of valence."""
    return concordance(sums)[:, 0]


def arousal_ccc(sums: Sums) -> np.ndarray:
    """(R,) CCC of arousal."""
    return concordance(sums)[:, 1]


def mean_ccc(sums: Sums) -> np.ndarray:
    """(R,) mean of both."""
    return concordance(sums).mean(-1)


def expression_f1(sums: Sums) -> np.ndarray:
    """(R, E) F1 of each class; 0 where no labelled image shows it, NaN where none is labelled."""
    right, wrong, missed = np.moveaxis(sums["expression"], -1, 0)  # each (R, E)
    labelled = (right + missed).sum(-1, keepdims=True)
    return np.where(labelled > 0, _f1(right, wrong, missed), np.nan)


def macro_f1(sums: Sums) -> np.ndarray:
    """(R,) mean F1 of all classes, those without images included."""
    return expression_f1(sums).mean(-1)


def unit_f1(sums: Sums) -> np.ndarray:
    """(R, K) F1 of each unit; 0 where no labelled image shows it, NaN where none is labelled."""
    right, wrong, missed, rest = np.moveaxis(sums["units"], -1, 0)  # each (R, K)
    return np.where(right + wrong + missed + rest > 0, _f1(right, wrong, missed), np.nan)


def mean_unit_f1(sums: Sums) -> np.ndarray:
    """(R,) mean F1 of the units that are labelled."""
    each = unit_f1(sums)
    known = ~np.isnan(each)
    return _ratio(np.where(known, each, 0).sum(-1), known.sum(-1), empty=np.nan)


def p_mtl(sums: Sums) -> np.ndarray:
    """(R,) the score of the challenges: mean CCC + mean F1 of expressions + mean F1 of units, at most 3."""
    return mean_ccc(sums) + macro_f1(sums) + mean_unit_f1(sums)


def interval(
    metric: Callable[[Sums], np.ndarray], sums: Sums, *, seed: int, rounds: int = 1000, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of a metric as identities are drawn again with replacement.

    The interval of ``faces.bootstrap`` without going through the images again.

    Args:
        metric: Takes sums of draws, (R, ...), to numbers (R, ...).
        sums: (G, ...) of each identity.
        seed: Of the draws.
        rounds: Number of draws.
        level: Coverage of the interval.

    Returns:
        Lower and upper end, in the shape that the metric has for one draw. A draw in which the metric is NaN is left
        out; where it is NaN in all draws, so are the ends.
    """
    people = len(next(iter(sums.values())))
    weights = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=rounds).astype(float)
    values = metric({name: np.tensordot(weights, each, 1) for name, each in sums.items()})
    tail = (1 - level) / 2
    known = ~np.isnan(values).all(0)
    ends = np.full((2, *values.shape[1:]), np.nan)
    ends[:, known] = np.nanquantile(values[:, known], [tail, 1 - tail], axis=0)
    return ends[0], ends[1]


def _ccc(moments: np.ndarray) -> np.ndarray:
    """(...) CCC of summed moments (..., 6)."""
    count, x, y, xx, yy, xy = np.moveaxis(moments, -1, 0)
    product = _ratio(x * y, count, empty=np.nan)
    # N (var x + var y + (mean x - mean y)^2) = xx + yy - 2 x y / N
    spread = xx + yy - 2 * product
    return np.where(spread <= CONSTANT * count, 0, _ratio(2 * (xy - product), spread, empty=0))


def _f1(right: np.ndarray, wrong: np.ndarray, missed: np.ndarray) -> np.ndarray:
    """F1 of counts, 0 where nothing is right, wrong or missed."""
    return _ratio(2 * right, 2 * right + wrong + missed, empty=0)


def _ratio(part: np.ndarray, whole: np.ndarray, *, empty: float) -> np.ndarray:
    """``part / whole``, and ``empty`` where ``whole`` is 0."""
    return np.divide(part, whole, out=np.full(whole.shape, empty, float), where=whole != 0)
