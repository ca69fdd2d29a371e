"""Arithmetic of facial palsy scales: from movement of either side to House-Brackmann and Sunnybrook-style numbers.

This is no medical device. The numbers have the form of clinical scales but are no clinical grading: no clinician gave
or checked one, and nothing here was compared with graded patients. House-Brackmann and Sunnybrook are scored by
persons who look; what is computed here is meant for research on readers of action units.

Each constant says where it comes from: "known" was read in a source, "recalled" is from memory of the literature and
not checked against it, "inferred" follows from FACS anatomy, and "own" is this library's choice, made without graded
patients; set such thresholds anew from healthy controls, who are not perfectly symmetric.

Sides are always the subject's own and come in the order left, right. Intensities are on the FACS scale 0-5. NaN is a
number that is missing, and whatever needs it is NaN too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

GRADES = ("I", "II", "III", "IV", "V", "VI")
"""Grades of House and Brackmann (1985), from normal (I) to total paralysis (VI). [known]"""

EXERCISES: Mapping[str, tuple[str, ...]] = {
    "rest": (),
    "brow_raise": ("AU01", "AU02"),
    "eye_closure": ("AU43",),
    "smile": ("AU12", "AU25"),
    "snarl": ("AU09", "AU10"),
    "pucker": ("AU23", "AU24"),
}
"""Requested movements in the order of the Sunnybrook form, after rest, and the action units that each asks for.

The five movements are Sunnybrook's [known]; their units are inferred, as far as ``records.ACTION_UNITS`` has them. A
pucker is AU18 with AU22 first of all, which are not among them: AU23 and AU24, of the same muscle, stand in. Closed
eyes are AU43 alone; the blink AU45 is not among them.
"""

BESIDE: Mapping[str, tuple[str, ...]] = {"eye_closure": ("AU06", "AU07"), "smile": ("AU06",)}
"""Units of the same muscles that come with a movement: they do not measure it, and are no synkinesis. [inferred]"""

OTHER_NERVES = ("AU05", "AU26", "AU27")
"""Units that the facial nerve does not move: the upper lid is raised by the third nerve, the jaw opened by the fifth.
They are no synkinesis; an eye that cannot close looks wide on the weak side. [inferred]"""

MOVES = 1.0
"""FACS intensity (A, a trace) from which a side counts as moving; below it a ratio of sides is noise. [own]"""

EPSILON = 1e-6
"""Added to the sum of both sides. The index is inferred, this size is own."""

WIDENED = 0.05
"""Share of movement by which grades I and VI reach into their neighbours. [own]

In the numbers that go with the 1985 paper I is 100 % and VI is 0 %, II 76-99, III 51-75, IV 26-50, V 1-25 % [recalled];
a measured share would never be exactly 0 or 1.
"""

SYNKINESIS = (1.0, 2.0, 3.0)
"""Extra FACS intensity (A, B, C) from which synkinesis is mild (1), moderate (2) and severe (3). [items 0-3 recalled,
thresholds own]"""

EYE, CHEEK, MOUTH = 0.06, (0.1, 0.2), 0.1
"""Differences of the sides at rest, in distances of the inner eye corners, from which a resting item counts. [own]

With about 32 mm between the corners [recalled] they are 2 mm for the eye, 3 and 6 mm for the cheek and 3 mm for the
mouth. Landmarks found in one picture often err by as much.
"""


# ---------------------------------------------------------------------------------------------------------------------
# Movement of either side


def movement_ratio(weak: ArrayLike, healthy: ArrayLike) -> np.ndarray:
    """Share of a movement that the weak side has left.

    Args:
        weak: (...,) intensity of the weak side, FACS 0-5.
        healthy: (...,) of the other side.

    Returns:
        (...,) weak / healthy in [0, 1]; NaN where the healthy side moves less than ``MOVES``.
    """
    few, many = np.broadcast_arrays(np.asarray(weak, float), np.asarray(healthy, float))
    return np.divide(few, many, out=np.full(few.shape, np.nan), where=many >= MOVES).clip(0, 1)


def asymmetry(left: ArrayLike, right: ArrayLike) -> np.ndarray:
    """How unevenly the sides move: (left - right) / (left + right + ``EPSILON``), in (-1, 1).

    For intensities; measures at rest are compared by their difference (``resting_items``).

    Args:
        left: (...,) intensity of the subject's left side, FACS 0-5.
        right: (...,) of the right side.

    Returns:
        (...,) positive where the left side is the stronger one; NaN where neither reaches ``MOVES``.
    """
    one, other = np.asarray(left, float), np.asarray(right, float)
    return np.where(np.maximum(one, other) >= MOVES, (one - other) / (one + other + EPSILON), np.nan)


def synkinesis(
    shown_left: Mapping[str, ArrayLike], shown_right: Mapping[str, ArrayLike], *, exercise: str, weak_side: str
) -> dict[str, np.ndarray]:
    """What moves along unasked on the weak side: its intensity minus that of the healthy side.

    Left out are the units that the exercise asks for, those ``BESIDE`` it, and those of ``OTHER_NERVES``. "rest" asks
    for nothing: what it gives is asymmetry at rest, not synkinesis.

    Args:
        shown_left: Unit -> intensity (...,) of the subject's left side during the exercise, FACS 0-5.
        shown_right: The same of the right side; units that only one side has are left out.
        exercise: One of ``EXERCISES``.
        weak_side: "left" or "right".

    Returns:
        Unit -> (...,), negative where the healthy side moves more.
    """
    shown = {"left": shown_left, "right": shown_right}
    weak = shown.pop(weak_side)
    (healthy,) = shown.values()
    meant = {*EXERCISES[exercise], *BESIDE.get(exercise, ()), *OTHER_NERVES}
    return {unit: np.subtract(weak[unit], healthy[unit]) for unit in weak if unit in healthy and unit not in meant}


# ---------------------------------------------------------------------------------------------------------------------
# Grades and items


def grade_of_movement(share: ArrayLike) -> np.ndarray:
    """House-Brackmann grade that a share of movement would have by numbers that go with the 1985 paper [recalled].

    | grade | I | II | III | IV | V | VI |
    |---|---|---|---|---|---|---|
    | share | 0.95 to 1 | over 0.75 | over 0.5 to 0.75 | over 0.25 to 0.5 | 0.05 to 0.25 | below 0.05 |

    The grade itself rests on more: closure of the eye, tone at rest and synkinesis.

    Args:
        share: (...,) movement left, 1 as on the healthy side.

    Returns:
        (...,) place in ``GRADES``, 0 to 5, as floats so that NaN stays NaN.
    """
    left = np.asarray(share, float)
    lost = [left < 1 - WIDENED, left <= 0.75, left <= 0.5, left <= 0.25, left < WIDENED]
    return np.where(np.isnan(left), np.nan, np.sum(lost, axis=0))


def voluntary_item(ratio: ArrayLike) -> np.ndarray:
    """Sunnybrook-style item of a movement: 1 + round(4 ratio), halves up [form recalled, rule inferred].

    Args:
        ratio: (...,) in [0, 1], as ``movement_ratio`` gives it.

    Returns:
        (...,) from 1 (no movement) to 5 (as on the healthy side), NaN where the ratio is.
    """
    return 1 + np.floor(4 * np.asarray(ratio, float) + 0.5)


def synkinesis_item(extra: ArrayLike) -> np.ndarray:
    """Sunnybrook-style synkinesis of a movement, by ``SYNKINESIS``.

    Args:
        extra: (...,) intensity that the weak side shows beyond the healthy one; of several units, as ``synkinesis``
            gives them, the largest.

    Returns:
        (...,) 0 (none) to 3 (severe), NaN where ``extra`` is.
    """
    return _reached(extra, SYNKINESIS)


def resting_items(
    *,
    eye: ArrayLike,
    cheek: ArrayLike,
    mouth: ArrayLike,
    eye_from: float = EYE,
    cheek_from: tuple[float, float] = CHEEK,
    mouth_from: float = MOUTH,
) -> np.ndarray:
    """Sunnybrook-style items of the face at rest [ranges recalled, thresholds own].

    The arguments are differences left - right in distances of the inner eye corners; their sign does not count. Those
    of ``resting_measures`` are ``fissure``, ``fold`` and ``mouth``.

    Args:
        eye: (...,) difference of the openings of the eyes.
        cheek: (...,) difference of the naso-labial folds, or of what stands in for them.
        mouth: (...,) difference of the heights of the mouth's corners.
        eye_from: From here on the eye counts 1.
        cheek_from: From here on the cheek counts 1, and 2.
        mouth_from: From here on the mouth counts 1.

    Returns:
        (..., 3) eye 0 or 1, cheek 0, 1 or 2, mouth 0 or 1; NaN where the difference is.
    """
    items = [_reached(np.abs(eye), (eye_from,)), _reached(np.abs(cheek), cheek_from)]
    return np.stack(np.broadcast_arrays(*items, _reached(np.abs(mouth), (mouth_from,))), axis=-1)


def composite(voluntary: ArrayLike, *, resting: ArrayLike, synkinesis: ArrayLike) -> np.ndarray:
    """Sunnybrook-style composite: 4 sum(voluntary) - 5 sum(resting) - sum(synkinesis) [recalled].

    100 is a face that moves as one, 0 one that hangs and does not move. Synkinesis needs movement, so that the least
    sum of the formula, -15, is no face's.

    Args:
        voluntary: (..., 5) items 1-5 of the five movements.
        resting: (..., 3) eye 0-1, cheek 0-2, mouth 0-1.
        synkinesis: (..., 5) items 0-3 of the five movements.

    Returns:
        (...,) NaN where an item is.

    Raises:
        ValueError: There is another number of items; one that is missing is NaN.
    """
    sums = []
    for name, items, count in (("voluntary", voluntary, 5), ("resting", resting, 3), ("synkinesis", synkinesis, 5)):
        values = np.asarray(items, float)
        if values.shape[-1:] != (count,):
            raise ValueError(f"expected {count} {name} items on the last axis, found the shape {values.shape}")
        sums.append(values.sum(axis=-1))
    return 4 * sums[0] - 5 * sums[1] - sums[2]


def _reached(value: ArrayLike, thresholds: tuple[float, ...]) -> np.ndarray:
    """How many of the thresholds a value reaches; NaN stays."""
    values = np.asarray(value, float)
    return np.where(np.isnan(values), np.nan, np.sum([values >= threshold for threshold in thresholds], axis=0))


# ---------------------------------------------------------------------------------------------------------------------
# The face at rest


@dataclass(frozen=True)
class RestingMeasures:
    """A face at rest: (left, right) lengths of the subject's sides in distances of the inner eye corners.

    ``fissure`` is how far the eye is open, ``brow`` the height of the brow above the line of the eyes, ``mouth`` how
    far the corner of the mouth lies below that line. ``fold`` is the distance from the wing of the nose to the corner
    of the mouth: no landmark marks the naso-labial fold, and this length, along which it runs, stands in for it [own].
    """

    fissure: tuple[float, float]
    brow: tuple[float, float]
    mouth: tuple[float, float]
    fold: tuple[float, float]


class _Side(NamedTuple):
    """Landmarks of one side of the face (iBUG, as seen in the picture)."""

    outer: int
    inner: int
    upper_lid: tuple[int, int]
    lower_lid: tuple[int, int]
    brow: slice
    mouth: int
    wing: int


_LEFT = _Side(45, 42, (43, 44), (46, 47), slice(22, 27), 54, 35)  # the subject's own: on the right of the picture
_RIGHT = _Side(36, 39, (37, 38), (40, 41), slice(17, 22), 48, 31)


def resting_measures(landmarks: np.ndarray) -> RestingMeasures:
    """Lengths of either side in a neutral face that looks into the lens.

    Roll is removed: heights are taken across the line through both eyes. That line runs through the middles of the
    eyes' corners, which stay where they are when lids droop. Yaw and pitch are not removed; a turned head is uneven.

    Args:
        landmarks: (68, 2) in pixels, iBUG order as seen in the picture; the subject's left is on its right.

    Raises:
        ValueError: The eyes, or their inner corners, lie on one another.
    """
    points = np.asarray(landmarks, float)
    left, right = (points[[side.outer, side.inner]].mean(axis=0) for side in (_LEFT, _RIGHT))
    apart, unit = np.linalg.norm(left - right), np.linalg.norm(points[_LEFT.inner] - points[_RIGHT.inner])
    if not (apart > 0 and unit > 0):
        raise ValueError("measures at rest need eyes that lie apart")
    x, y = (left - right) / apart
    depths = (points - right) @ np.array([-y, x]) / unit  # (68,) how far below the line of the eyes

    def of_sides(measure: Callable[[_Side], float]) -> tuple[float, float]:
        return float(measure(_LEFT)), float(measure(_RIGHT))

    return RestingMeasures(
        fissure=of_sides(lambda side: depths[list(side.lower_lid)].mean() - depths[list(side.upper_lid)].mean()),
        brow=of_sides(lambda side: -depths[side.brow].mean()),
        mouth=of_sides(lambda side: depths[side.mouth]),
        fold=of_sides(lambda side: float(np.linalg.norm(points[side.wing] - points[side.mouth]) / unit)),
    )
