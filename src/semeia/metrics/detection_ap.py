"""Average precision of detections as COCO takes it, of one class.

    AP50    at an intersection over union of at least 0.5
    AP      mean over 0.5, 0.55, ..., 0.95

Detections of an image are taken by score, of equal ones the first given. Each takes the lesion that it overlaps most,
of those that none took before; one that gets none is false, repeats included (in FROC they are not). Precision is made
falling from the right, and read at the recalls 0, 0.01, ..., 1 [KNOWN: pycocotools, whose numbers these are where no
score occurs in two images; equal scores are one step here and in order of images there]. All areas count, none is
ignored, and sides are the plain differences of corners.

Shapes      L lesions   N boxes   D axes   K steps   R draws
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from semeia.metrics.ranked import MISSED, PatientSums, Ranked, best, joined, of_image, patient_sums
from semeia.ops.boxes import iou

THRESHOLDS = tuple((np.arange(50, 100, 5) / 100).tolist())
MOST = 100
"""Detections an image."""
RECALLS = np.linspace(0, 1, 101)


def match(
    truths: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    patient: str,
    thresholds: Sequence[float] = THRESHOLDS,
    most: int = MOST,
    plus: float = 0.0,
) -> tuple[Ranked, ...]:
    """What the detections of one image come to, at each threshold.

    Args:
        truths: (L, 4) or (L, 6) boxes of its lesions.
        boxes: (N, 4) or (N, 6), of the same frame.
        scores: (N,).
        patient: Whose image it is.
        thresholds: Least intersections over union.
        most: Detections that are kept, best first.
        plus: Pixels added to every side.

    Raises:
        ValueError: Shapes do not fit, a number is NaN or infinite, or a box ends before it begins.
    """
    kept, ranks = best(truths, boxes, scores, most=most)
    shared = iou(kept, truths.astype(float), plus=plus)  # (N, L)
    tables = []
    for least in thresholds:
        found, false = np.full(len(truths), MISSED), np.ones(len(kept), bool)
        for i in np.flatnonzero((shared >= least).any(1)):
            free = np.where(found > MISSED, -1.0, shared[i])
            # The last of equal overlaps, as COCO.
            place = len(free) - 1 - int(free[::-1].argmax())
            if free[place] >= least:
                found[place], false[i] = ranks[i], False
        tables.append(of_image(found, ranks[false], patient=patient))
    return tuple(tables)


def ap_sums(images: Sequence[Sequence[Ranked]], *, thresholds: Sequence[float] = THRESHOLDS) -> PatientSums:
    """Sums of each patient by name, ``ap50`` to ``ap95``.

    Args:
        images: As ``match`` returns them.
        thresholds: Those of ``match``, or the first of them. Where AP50 alone is asked for, (0.5,) needs a tenth of
            the memory.
    """
    tables = {f"ap{round(100 * least)}": joined([image[i] for image in images]) for i, least in enumerate(thresholds)}
    return patient_sums(tables)


def average_precision(steps: np.ndarray) -> np.ndarray:
    """(R,) of steps (R, 1 + K, 2) as of ``ranked.PatientSums``; NaN where there is no lesion, 0 where none is found."""
    lesions = steps[:, 0, 1]
    false, found = np.moveaxis(np.cumsum(steps[:, 1:], 1), -1, 0)  # each (R, K)
    taken = false + found
    precision = np.divide(found, taken, out=np.zeros(taken.shape), where=taken > 0)
    precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    precision = np.hstack([precision, np.zeros((len(steps), 1))])  # of recalls that are not reached
    values = np.full(len(steps), np.nan)
    for r in np.flatnonzero(lesions):
        values[r] = precision[r, np.searchsorted(found[r] / lesions[r], RECALLS)].mean()
    return values


def ap50(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """(R,) average precision at 0.5, of ``ap_sums``."""
    return average_precision(sums["ap50"])


def ap(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """(R,) mean average precision over all thresholds of ``ap_sums``."""
    return np.mean([average_precision(steps) for name, steps in sums.items() if name.startswith("ap")], 0)
