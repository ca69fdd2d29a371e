"""Metrics of face analysis from sums over images, kept one row an identity.

The numbers are those of ``metrics.faces``; what they are made of is kept apart by identity, so that identities can be
drawn again without the answers.

    expression    (G, 2)       right, labelled
    units         (G, K, 3)    true positives, false positives, false negatives; ``sides`` alike, both sides together
    attributes    (G, A, 4)    true positives, false positives, false negatives, true negatives
    age           (G, 3)       absolute errors in years, those of a constant answer, labelled
    pose          (G, 3, 3)    yaw, pitch, roll: absolute errors in degrees, those of a constant answer, labelled

The constant answer is the median of the test's truths: the best that one number does for the mean absolute error.

Shapes      N images   G identities   K action units   A attributes   R draws of identities
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Sums = Mapping[str, np.ndarray]


def face_sums(
    truth: Mapping[str, np.ndarray], answer: Mapping[str, np.ndarray], people: np.ndarray
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Add up what a reader got right and wrong, for each identity.

    Args:
        truth: ``expression`` (N,) with -1 and ``au_occurrence`` (N, K), ``attributes`` (N, A), ``age`` (N,),
            ``pose`` (N, 3) with NaN where not labelled.
        answer: ``expression`` (N,) classes; ``present`` (N, K) and ``attributes`` (N, A), 0 or 1; ``age``; ``pose``.
        people: (N,) identity of each image.

    Returns:
        Names of the identities in order, and the sums by name.
    """
    names, place = np.unique(people.astype(str), return_inverse=True)

    def each(values: np.ndarray) -> np.ndarray:
        added = np.zeros((len(names), *values.shape[1:]))
        np.add.at(added, place, values.astype(float))
        return added

    known = truth["expression"] >= 0
    right = known & (truth["expression"] == answer["expression"])
    sums = {
        "expression": each(np.stack([right, known], -1)),
        "units": each(outcomes_of(truth["au_occurrence"], answer["present"])[..., :3]),
        "attributes": each(outcomes_of(truth["attributes"], answer["attributes"])),
        "age": each(_errors(truth["age"], answer["age"], turn=None)),
        "pose": each(_errors(truth["pose"], answer["pose"], turn=360.0)),
    }
    return tuple(names.tolist()), sums


def unit_sums(
    truth: Mapping[str, np.ndarray], answer: Mapping[str, np.ndarray], people: np.ndarray
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """As ``face_sums``, of action units and their sides alone.

    Args:
        truth: ``au_occurrence`` (N, K) and ``sides`` (N, K, 2), 0, 1 or NaN.
        answer: ``present`` (N, K) and ``sides`` (N, K, 2), 0 or 1.
        people: (N,) identity of each image.

    Returns:
        Names of the identities in order, and ``units`` and ``sides``.
    """
    names, place = np.unique(people.astype(str), return_inverse=True)
    outcomes = {
        "units": outcomes_of(truth["au_occurrence"], answer["present"]),
        "sides": outcomes_of(truth["sides"], answer["sides"]).sum(2),  # (N, K, 2, 4) -> (N, K, 4)
    }
    sums = {name: np.zeros((len(names), values.shape[1], 3)) for name, values in outcomes.items()}
    for name, values in outcomes.items():
        np.add.at(sums[name], place, values[..., :3].astype(float))
    return tuple(names.tolist()), sums


def outcomes_of(truth: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """(N, ..., 4) which of true positive, false positive, false negative and true negative each answer is."""
    yes, no, said = truth == 1, truth == 0, answer.astype(bool)
    return np.stack([yes & said, no & said, yes & ~said, no & ~said], -1)


def _errors(truth: np.ndarray, answer: np.ndarray, *, turn: float | None) -> np.ndarray:
    """(N, ..., 3) absolute error, that of the median truth, and 1; all 0 where not labelled."""
    known = ~np.isnan(truth)
    constant = np.ma.filled(np.ma.median(np.ma.masked_invalid(truth), axis=0), 0)

    def apart(said: np.ndarray) -> np.ndarray:
        difference = said - truth
        return np.abs(difference if turn is None else (difference + turn / 2) % turn - turn / 2)

    return np.where(known[..., None], np.stack([apart(answer), apart(constant), np.ones(truth.shape)], -1), 0)


# ---------------------------------------------------------------------------------------------------------------------
# (R, ...) sums to (R,) numbers; a label that does not occur is left out of means


def expression_accuracy(sums: Sums) -> np.ndarray:
    """Share of right expressions."""
    return _ratio(sums["expression"][:, 0], sums["expression"][:, 1])


def unit_f1(sums: Sums) -> np.ndarray:
    """Mean F1 over action units."""
    return _f1(sums["units"])


def side_f1(sums: Sums) -> np.ndarray:
    """Mean over action units of F1 of presence on a side."""
    return _f1(sums["sides"])


def _f1(outcomes: np.ndarray) -> np.ndarray:
    """Mean F1 over labels of true positives, false positives and false negatives (R, K, 3)."""
    true, wrong, missed = np.moveaxis(outcomes, -1, 0)  # each (R, K)
    each = np.where(true + missed > 0, _ratio(2 * true, 2 * true + wrong + missed), np.nan)
    return _mean(each)


def attribute_accuracy(sums: Sums) -> np.ndarray:
    """Mean balanced accuracy over attributes."""
    true, wrong, missed, rest = np.moveaxis(sums["attributes"], -1, 0)  # each (R, A)
    return _mean((_ratio(true, true + missed) + _ratio(rest, rest + wrong)) / 2)


def age_error(sums: Sums) -> np.ndarray:
    """Mean absolute error in years."""
    return _ratio(sums["age"][:, 0], sums["age"][:, 2])


def pose_error(sums: Sums) -> np.ndarray:
    """Mean absolute error in degrees over the angles."""
    return _mean(_ratio(sums["pose"][..., 0], sums["pose"][..., 2]))


def age_skill(sums: Sums) -> np.ndarray:
    """1 - error / error of a constant answer: 0 for the constant, 1 where nothing is wrong."""
    return 1 - _ratio(sums["age"][:, 0], sums["age"][:, 1])


def pose_skill(sums: Sums) -> np.ndarray:
    """As ``age_skill``, mean over the angles."""
    return _mean(1 - _ratio(sums["pose"][..., 0], sums["pose"][..., 1]))


def face_score(sums: Sums) -> np.ndarray:
    """Mean of the five tasks, each between 0 and 1: accuracy, F1, balanced accuracy, and two skills."""
    tasks = (expression_accuracy, unit_f1, attribute_accuracy, age_skill, pose_skill)
    return np.mean([task(sums) for task in tasks], 0)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where ``whole`` is 0."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole != 0)


def _mean(each: np.ndarray) -> np.ndarray:
    """(R, labels) -> (R,), over the labels that are not NaN; NaN where all are."""
    known = ~np.isnan(each)
    return _ratio(np.where(known, each, 0).sum(-1), known.sum(-1))
