"""FROC: how many lesions are found at how many false detections an image (or sub-volume).

The rule of DeepLesion's papers, read from their evaluation code [KNOWN: MULAN, AlignShift/A3D, MVP-Net; of 3-D boxes,
LENS]. A detection is false if its largest overlap with the lesions of its image is below the least one. Otherwise it
finds every lesion that it overlaps by that much, and once a lesion is found, further hits are neither found nor false.
So a lesion counts from the best score among the detections that reach it, and the order of detections is of no matter.

    2-D    intersection over union of at least 0.5, on key slices
    3-D    intersection over the detected box of at least 0.3, on sub-volumes

Sides are one pixel longer than the difference of corners, as in all of that code; nothing else here counts so.

Sensitivity at a rate is interpolated linearly along the curve, which begins at nothing found and nothing false; beyond
its end it has its last value. Where the curve is upright, as many lesions count as are found before the next false
detection. That code reads the foot of an upright piece that lies exactly on a rate, and breaks ties in score by place:
where no score occurs twice and no rate is a whole number of false detections of the test, both agree.

Shapes      I images   L lesions   N boxes   D axes   P patients   K steps   R draws   T rates
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from semeia.metrics.ranked import Ranked, best, of_image
from semeia.ops.boxes import iobb, iou

RATES = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""False detections an image that tables of DeepLesion tell sensitivity at [KNOWN]."""
HEADLINE = (0.5, 1.0, 2.0, 4.0)
"""Those that the average is over; models are selected by it, too [KNOWN: MULAN, 3DCE]."""
RATES_3D = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False detections a sub-volume; the average is over all of them [KNOWN: LENS]."""
LEAST_IOU = 0.5
LEAST_IOBB = 0.3
MOST = 50
"""Detections an image; the best ones are kept [KNOWN: A3D, MULAN]."""
PLUS = 1.0

SIZES = ("under 10 mm", "10 to 30 mm", "over 30 mm")
INTERVALS = ("up to 2 mm", "5 mm")


def match(
    truths: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    patient: str,
    overlap: Literal["iou", "iobb"] = "iou",
    least: float = LEAST_IOU,
    most: int = MOST,
    plus: float = PLUS,
    traits: Mapping[str, np.ndarray] | None = None,
) -> Ranked:
    """What the detections of one image find; ``ranked.joined`` makes a test of many.

    Args:
        truths: (L, 4) or (L, 6) boxes of its lesions; an image without any is (0, 4).
        boxes: (N, 4) or (N, 6), of the same frame.
        scores: (N,).
        patient: Whose image it is.
        overlap: Intersection over union, or over the detected box.
        least: Overlap that finds a lesion.
        most: Detections that are kept, best first; of equal scores the first given.
        plus: Pixels added to every side.
        traits: (L,) numbers of each lesion, for strata.

    Raises:
        ValueError: Shapes do not fit, a number is NaN or infinite, or a box ends before it begins.
    """
    kept, ranks = best(truths, boxes, scores, most=most)
    hits = {"iou": iou, "iobb": iobb}[overlap](kept, truths.astype(float), plus=plus) >= least  # (N, L)
    found = np.where(hits, ranks[:, None], -np.inf).max(0, initial=-np.inf)  # (N, L) -> (L,)
    return of_image(found, ranks[~hits.any(1)], patient=patient, traits=traits)


def match_3d(
    truths: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    patient: str,
    least: float = LEAST_IOBB,
    most: int = MOST,
    plus: float = PLUS,
    traits: Mapping[str, np.ndarray] | None = None,
) -> Ranked:
    """``match`` of a sub-volume: boxes (L, 6) and (N, 6) are x0, y0, z0, x1, y1, z1, by intersection over detection.

    ``plus`` is 1 for pixels and slices, and 0 for millimetres.
    """
    return match(
        truths, boxes, scores, patient=patient, overlap="iobb", least=least, most=most, plus=plus, traits=traits
    )


# ---------------------------------------------------------------------------------------------------------------------
# Curves. Steps are (R, 1 + K, 2) as of ``ranked.PatientSums``, summed over patients


def sensitivity(steps: np.ndarray, rates: Sequence[float] = RATES) -> np.ndarray:
    """(R, T) share of lesions that are found at each rate; NaN where there is no lesion or no image."""
    images, lesions = steps[:, 0, 0], steps[:, 0, 1]
    knots = _knots(steps)  # (R, 1 + K, 2)
    # Rounded: 0.1 of 30 images must be 3 false detections and not a little more or less.
    false = np.round(images[:, None] * np.asarray(rates, float), 9)  # (R, T)
    found = np.array([np.interp(at, each[:, 0], each[:, 1]) for at, each in zip(false, knots, strict=True)])
    some = ((images > 0) & (lesions > 0))[:, None]
    return np.divide(found, lesions[:, None], out=np.full(false.shape, np.nan), where=some)


def average(steps: np.ndarray, rates: Sequence[float] = HEADLINE) -> np.ndarray:
    """(R,) mean sensitivity over rates: the one number of a table."""
    return sensitivity(steps, rates).mean(1)


def curve(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False detections an image (1 + K,) and sensitivity (1 + K,), for a plot of steps (1 + K, 2) of one system."""
    images, lesions = steps[0]
    false, found = _knots(steps[None])[0].T
    return (false / images if images else np.full(false.shape, np.nan),
            found / lesions if lesions else np.full(found.shape, np.nan))  # fmt: skip


def threshold(table: Ranked, rate: float) -> float:
    """The least score that leaves at most so many false detections an image, if detections below it are dropped.

    Minus infinity where all may stay.
    """
    allowed = int(np.floor(np.round(rate * len(table.patients), 9)))
    if len(table.false) <= allowed:
        return -np.inf
    # Every detection of that score goes: were one of them to stay, so would all.
    return float(np.nextafter(np.sort(table.false)[::-1][allowed], np.inf))


def _knots(steps: np.ndarray) -> np.ndarray:
    """(R, 1 + K, 2) false detections and found lesions at the ends of steps; the first is nothing."""
    knots = steps.copy()
    knots[:, 0] = 0
    return np.cumsum(knots, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Strata: (L,) bool by name, for ``ranked.of_lesions``, where false detections are counted over all images. A3D counts
# those of a stratum of slice intervals over its own images alone, and its thick one is all above 2 mm [KNOWN]:
# ``ranked.of_images`` does that.


def size_strata(axis_mm: np.ndarray) -> dict[str, np.ndarray]:
    """Lesions by their short or their long axis (L,) in millimetres; 10 and 30 are in the middle. NaN is in none."""
    masks = (axis_mm < 10, (axis_mm >= 10) & (axis_mm <= 30), axis_mm > 30)
    return dict(zip(SIZES, masks, strict=True))


def interval_strata(interval_mm: np.ndarray) -> dict[str, np.ndarray]:
    """Lesions, or images, by the distance of slices (L,) in millimetres; others, as 2.5, and NaN are in none."""
    return dict(zip(INTERVALS, (interval_mm <= 2, interval_mm == 5), strict=True))


def type_strata(types: np.ndarray) -> dict[str, np.ndarray]:
    """Lesions by coarse type (L,), a number from 1 on as DeepLesion has it; others, as -1, are in none."""
    return {f"type {int(each)}": types == each for each in np.unique(types[types >= 1])}
