"""What detections came to, ranked by score, as counts that add up over patients.

    boxes of an image -> found and false, by a rule of matching -> one table of a test -> steps of each patient
    -> sums over any draw of patients -> FROC (``metrics.froc``) or average precision (``metrics.detection_ap``)

A curve over scores is no sum, but its steps are. All scores of the test are put in order, and neighbours of one kind,
found lesions or false detections, are one step. A patient has a row of counts, one for each step. Rows may be weighted
and added as one likes, and the curve of the sum is that of so many copies of those patients, to the last count: within
a step the order does not matter. So intervals under draws of patients need neither boxes nor scores.

Detections of equal score are one step, taken whole: no curve depends on the order of images or of boxes.

Shapes      I images   L lesions   F false detections   N boxes   D axes   P patients   K steps   R draws
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

MISSED = -np.inf
"""Score at which a lesion is found that no detection finds."""

Metric = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""From sums (R, 1 + K, 2) by name to (R, ...) numbers."""


@dataclass(frozen=True)
class Ranked:
    """Images, their lesions and their false detections. Tables of other images may be joined to it."""

    patients: np.ndarray
    """(I,) names: whose image it is."""
    lesion_image: np.ndarray
    """(L,) place of its image."""
    found: np.ndarray
    """(L,) the best score that finds it, ``MISSED`` where none does."""
    false_image: np.ndarray
    """(F,)"""
    false: np.ndarray
    """(F,) scores."""
    traits: Mapping[str, np.ndarray] = field(default_factory=dict)
    """(L,) numbers by name, such as an axis in millimetres."""


def of_image(
    found: np.ndarray, false: np.ndarray, *, patient: str, traits: Mapping[str, np.ndarray] | None = None
) -> Ranked:
    """The table of one image, from scores of its lesions (L,) and its false detections (F,)."""
    if any(np.shape(values) != found.shape for values in (traits or {}).values()):
        raise ValueError(f"traits: expected a number for each of {len(found)} lesions")
    return Ranked(
        patients=np.array([patient], str),
        lesion_image=np.zeros(len(found), int),
        found=found,
        false_image=np.zeros(len(false), int),
        false=false,
        traits={name: np.asarray(values, float) for name, values in (traits or {}).items()},
    )


def joined(parts: Sequence[Ranked]) -> Ranked:
    """One table of several, in their order; of none, that of no image."""
    if not parts:
        nothing = np.zeros(0)
        return Ranked(np.zeros(0, str), nothing.astype(int), nothing, nothing.astype(int), nothing)
    starts = np.cumsum([0, *(len(part.patients) for part in parts[:-1])])
    if any(part.traits.keys() != parts[0].traits.keys() for part in parts):
        raise ValueError("expected tables with the same traits")
    return Ranked(
        patients=np.concatenate([part.patients for part in parts]),
        lesion_image=np.concatenate([part.lesion_image + i for part, i in zip(parts, starts, strict=True)]),
        found=np.concatenate([part.found for part in parts]),
        false_image=np.concatenate([part.false_image + i for part, i in zip(parts, starts, strict=True)]),
        false=np.concatenate([part.false for part in parts]),
        traits={name: np.concatenate([part.traits[name] for part in parts]) for name in parts[0].traits},
    )


def of_images(table: Ranked, kept: np.ndarray) -> Ranked:
    """The table of some images (I,) bool alone."""
    place = np.cumsum(kept) - 1
    lesion, false = kept[table.lesion_image], kept[table.false_image]
    return Ranked(
        patients=table.patients[kept],
        lesion_image=place[table.lesion_image[lesion]],
        found=table.found[lesion],
        false_image=place[table.false_image[false]],
        false=table.false[false],
        traits={name: values[lesion] for name, values in table.traits.items()},
    )


def of_lesions(table: Ranked, kept: np.ndarray) -> Ranked:
    """Some lesions (L,) bool, beside the false detections of all images.

    What finds a lesion that is left out stays what it was, neither found nor false.
    """
    return Ranked(
        patients=table.patients,
        lesion_image=table.lesion_image[kept],
        found=table.found[kept],
        false_image=table.false_image,
        false=table.false,
        traits={name: values[kept] for name, values in table.traits.items()},
    )


def best(truths: np.ndarray, boxes: np.ndarray, scores: np.ndarray, *, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Check the boxes of an image, and return the best of its detections and their scores, best first.

    Args:
        truths: (L, 2 D), of its lesions.
        boxes: (N, 2 D), detections.
        scores: (N,).
        most: How many; of equal scores the first given.

    Raises:
        ValueError: Shapes do not fit, a number is NaN or infinite, or a box ends before it begins.
    """
    fitting = scores.ndim == 1 and truths.shape[1:] in ((4,), (6,)) and boxes.shape == scores.shape + truths.shape[1:]
    if not fitting:
        raise ValueError(f"expected truths (L, 4 or 6), boxes as wide and a score for each of them, found shapes "
                         f"{truths.shape}, {boxes.shape} and {scores.shape}")  # fmt: skip
    for words, values in (("scores", scores), ("boxes", boxes), ("truths", truths)):
        if not np.isfinite(values).all():
            raise ValueError(f"{words}: expected finite numbers, found NaN or infinity")
    axes = truths.shape[1] // 2
    if any((each[:, axes:] < each[:, :axes]).any() for each in (boxes, truths)):
        raise ValueError("expected boxes from their low to their high corner, found one that ends before it begins")
    order = np.argsort(-scores.astype(float), kind="stable")[:most]
    return boxes[order].astype(float), scores[order].astype(float)


# ---------------------------------------------------------------------------------------------------------------------
# Patients


@dataclass(frozen=True)
class PatientSums:
    """Counts of each patient, by name of the table that they were made of.

    ``sums`` are (P, 1 + K, 2). Row 0 holds images and lesions; every further row is a step, from the best score down:
    false detections and found lesions.
    """

    patients: tuple[str, ...]
    sums: Mapping[str, np.ndarray]


def patient_sums(tables: Mapping[str, Ranked], *, up_to: float | None = None) -> PatientSums:
    """The steps of each patient.

    Args:
        tables: Of the same images, matched by one rule or another.
        up_to: False detections an image beyond which all the rest is one step, which keeps files small. A curve is
            exact up to there; that of a draw up to as many false detections as the same scores bring in it. Twice the
            largest rate that is asked for leaves room for draws.

    Raises:
        ValueError: The tables are of different images.
    """
    first = next(iter(tables.values()))
    if any(not np.array_equal(table.patients, first.patients) for table in tables.values()):
        raise ValueError("expected tables of the same images")
    names, place = np.unique(first.patients, return_inverse=True)
    sums = {name: _steps(table, place, len(names), up_to) for name, table in tables.items()}
    return PatientSums(tuple(names.tolist()), sums)


def total(sums: PatientSums) -> dict[str, np.ndarray]:
    """(1, 1 + K, 2) by name: all patients, each once."""
    return {name: array.sum(0, keepdims=True) for name, array in sums.sums.items()}


def _steps(table: Ranked, place: np.ndarray, patients: int, up_to: float | None) -> np.ndarray:
    """(P, 1 + K, 2), with the patient of each image (I,)."""
    hit = table.found > MISSED
    scores = np.concatenate([table.false, table.found[hit]])
    kind = np.repeat([0, 1], [len(table.false), hit.sum()])
    patient = place[np.concatenate([table.false_image, table.lesion_image[hit]])]
    levels, level = np.unique(-scores, return_inverse=True)
    counts = np.zeros((len(levels), 2))
    np.add.at(counts, (level, kind), 1)
    found = counts[:, 1] > 0
    mixed = found & (counts[:, 0] > 0)
    begins = np.ones(len(levels), bool)
    begins[1:] = mixed[1:] | mixed[:-1] | (found[1:] != found[:-1])
    if up_to is not None and len(levels):
        late = np.cumsum(counts[:, 0]) - counts[:, 0] > up_to * len(place)
        begins[late] = False
        begins[late.argmax()] |= late.any()
    step = np.cumsum(begins)
    steps = np.zeros((patients, 1 + int(begins.sum()), 2))
    steps[:, 0, 0] = np.bincount(place, minlength=patients)
    steps[:, 0, 1] = np.bincount(place[table.lesion_image], minlength=patients)
    np.add.at(steps, (patient, step[level], kind), 1)
    return steps


# ---------------------------------------------------------------------------------------------------------------------
# Intervals


@dataclass(frozen=True)
class Interval:
    """A number, or several, of all patients, and the ends under draws of patients."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrap(metric: Metric, sums: PatientSums, *, seed: int, rounds: int = 1000, level: float = 0.95) -> Interval:
    """Percentile interval of a metric under draws of whole patients with replacement (Efron 1979).

    Args:
        metric: Of sums by name.
        sums: Of one system.
        seed: Of the draws.
        rounds: Number of draws.
        level: Coverage.

    Returns:
        NaN where the metric does not exist; a draw for which it does not is left out.
    """
    return _interval(_drawn(metric, sums, seed, rounds), level)


def paired_bootstrap(
    metric: Metric, first: PatientSums, second: PatientSums, *, seed: int, rounds: int = 1000, level: float = 0.95
) -> Interval:
    """As ``bootstrap``, of how much more the first system has than the second under the same draws of patients.

    Raises:
        ValueError: The systems were tested on other patients.
    """
    if first.patients != second.patients:
        raise ValueError("expected both systems to be tested on the same patients")
    return _interval(_drawn(metric, first, seed, rounds) - _drawn(metric, second, seed, rounds), level)


def _drawn(metric: Metric, sums: PatientSums, seed: int, rounds: int) -> np.ndarray:
    """(1 + R, ...) the metric of all patients, then of draws; a seed draws the same patients of any system."""
    count = len(sums.patients)
    weights = np.ones((1 + rounds, count))
    if count:
        weights[1:] = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=rounds)
    # In parts: the sums of a thousand draws of a large test do not fit into memory.
    parts = np.array_split(weights, 1 + rounds // 50)
    return np.concatenate(
        [metric({name: np.tensordot(part, array, 1) for name, array in sums.sums.items()}) for part in parts]
    )


def _interval(values: np.ndarray, level: float) -> Interval:
    """Of (1 + R, ...) numbers."""
    tail = (1 - level) / 2
    known = ~np.isnan(values[1:]).all(0)
    ends = np.full((2, *values.shape[1:]), np.nan)
    ends[:, known] = np.nanquantile(values[1:, known], [tail, 1 - tail], axis=0)
    return Interval(values[0], ends[0], ends[1])
