"""Evaluation of detectors of lesions: FROC and average precision with intervals over patients.

Boxes are compared in pixels of the slice, not of the network's input, so that detectors that see slices at other scales
are compared alike [own; A3D compares in its frame, which at 512 pixels is the slice's].

Shapes      n images   L lesions of an image   N detections of an image
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from semeia.data.slice_feeds import SliceFeed
from semeia.data.slices import moved_boxes
from semeia.evaluate import Score
from semeia.metrics import detection_ap, froc, ranked
from semeia.metrics.ranked import Interval, Metric, PatientSums, Ranked

RATES = {"at 0.5": 0, "at 1": 1, "at 2": 2, "at 4": 3, "at 8": 4, "at 16": 5}
"""Labels of sensitivities, and their places in ``froc.RATES``."""
AVERAGE = "mean of 0.5, 1, 2, 4"
AP = (0.5,)
"""IoU of average precision."""
HELD_RATE = 2 * froc.RATES[-1]
"""False detections an image beyond which sums are not kept apart."""


@dataclass(frozen=True)
class Found:
    """What a detector found on a test: matched for FROC, and for average precision."""

    table: Ranked
    images: tuple[tuple[Ranked, ...], ...]


@torch.no_grad()
def find(model: Any, feed: SliceFeed, *, batch_size: int = 8) -> Found:
    """Read the key slices of a feed, unaugmented, in evaluation mode; the mode is left as it was.

    Args:
        model: Answers ``predict`` of images (B, S, H, W) with boxes (N, 4) and scores (N,) of each.
        feed: Of the split.
        batch_size: Key slices that are read at once.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    tables, images = [], []
    for batch in feed.evaluation_batches(batch_size):
        answers = model.predict(batch["image"].to(device))
        for number, matrix, (boxes, scores) in zip(batch["index"].tolist(), batch["matrix"], answers, strict=True):
            key = feed.keys[number]
            back = np.linalg.inv(np.vstack([matrix.numpy().astype(float), [0, 0, 1]]))[:2]
            here, values = moved_boxes(back, boxes.float().cpu().numpy()), scores.float().cpu().numpy()
            truths, patient = key.boxes.astype(float), f"{key.patient:06d}"
            axes = np.array([finding.diameters for finding in key.findings]) * key.spacing[0]  # (L, 2) mm
            traits = {
                "long": axes[:, 0], "short": axes[:, 1], "interval": np.full(len(axes), key.interval),
                "kind": np.array([float(finding.kind) for finding in key.findings]),
            }  # fmt: skip
            tables.append(froc.match(truths, here, values, patient=patient, traits=traits))
            images.append(detection_ap.match(truths, here, values, patient=patient, thresholds=AP))
    model.train(training)
    return Found(ranked.joined(tables), tuple(images))


def lesion_table(found: Found, *, rounds: int = 1000) -> list[Score]:
    """Sensitivities, their average and its parts by size, slice interval and type, and AP50, with intervals."""
    table = found.table
    scores = _sensitivities(table, rounds)
    aps = detection_ap.ap_sums(found.images, thresholds=AP)
    at_half = _interval(detection_ap.ap50, aps, rounds)
    scores.append(_score("average precision", "IoU 0.5", "AP50", at_half, len(table.found)))
    strata = {
        **{f"long axis {name}": kept for name, kept in froc.size_strata(table.traits["long"]).items()},
        **{f"slices of {name}": kept for name, kept in froc.interval_strata(table.traits["interval"]).items()},
        **froc.type_strata(table.traits["kind"]),
    }
    for name, kept in strata.items():
        if kept.any():
            part = ranked.of_lesions(table, kept)
            sums = ranked.patient_sums({"froc": part}, up_to=HELD_RATE)
            between = _interval(_average, sums, rounds)
            scores.append(_score("sensitivity", f"{AVERAGE}, {name}", "share of lesions", between, int(kept.sum())))
    return scores


def headline(found: Found) -> float:
    """The mean sensitivity of ``AVERAGE``, by which models are selected."""
    sums = ranked.patient_sums({"froc": found.table}, up_to=HELD_RATE)
    return float(_average(ranked.total(sums))[0])


def _sensitivities(table: Ranked, rounds: int) -> list[Score]:
    sums = ranked.patient_sums({"froc": table}, up_to=HELD_RATE)
    whole = _interval(lambda s: froc.sensitivity(s["froc"]), sums, rounds)
    count = len(table.found)
    scores = [
        _score("sensitivity", f"{label} false an image", "share of lesions", _place(whole, i), count)
        for label, i in RATES.items()
    ]
    return [*scores, _score("sensitivity", AVERAGE, "share of lesions", _interval(_average, sums, rounds), count)]


def _average(sums: Any) -> np.ndarray:
    return froc.average(sums["froc"])


def _interval(metric: Metric, sums: PatientSums, rounds: int) -> Interval:
    """With draws of patients, or without where ``rounds`` is 0."""
    if rounds:
        return ranked.bootstrap(metric, sums, seed=0, rounds=rounds)
    value = metric(ranked.total(sums))[0]
    return Interval(value, np.full_like(value, np.nan), np.full_like(value, np.nan))


def _place(interval: Interval, i: int) -> Interval:
    return Interval(interval.value[i], interval.low[i], interval.high[i])


def _score(task: str, label: str, metric: str, between: Interval, count: int) -> Score:
    return Score(task, label, metric, float(between.value), float(between.low), float(between.high), count)
