"""Twins on a held-out split: against the true twin, beside a copy and a blur of the input.

Shapes      N slices   H, W sides   K numbers of a slice
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from semeia.data.slices import BODY
from semeia.data.twin_feeds import Tones, TwinFeed
from semeia.evaluate import Score
from semeia.metrics import faces, twins
from semeia.systems import smile

RANGE = 2.0
"""Of values in [-1, 1]."""

BLUR = 3.0
"""Pixels of the Gaussian that blurs the input of 128 pixels a side, and in proportion: wider than most lesions."""

SHOWN = 0.5
"""Probability from which a pixel counts as found."""

CEILING = 100.0
"""PSNR in dB of pictures that are equal: a mean must stay finite."""

METRICS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "PSNR, dB": lambda a, b, where: min(twins.psnr(a, b, RANGE, where), CEILING),
    "SSIM": lambda a, b, where: twins.ssim(a, b, RANGE, where),
    "L1": twins.l1,
}

REGIONS = ("whole", "inside the lesion", "outside the lesion")
COPY, BLURRED = "copy of the input", "blurred input"


@dataclass(frozen=True)
class Read:
    """A split as a model read it; all (N, H, W), patients (N,)."""

    image: np.ndarray
    mask: np.ndarray
    truth: np.ndarray
    twin: np.ndarray
    found: np.ndarray
    known: np.ndarray
    """(N,) whether the truth is known."""
    marked: np.ndarray
    """(N,) whether the mask is known."""
    patients: np.ndarray


@torch.no_grad()
def read(model: smile.SMILE, feed: TwinFeed, *, batch_size: int = 8) -> Read:
    """The slices of a feed with the twins that the model makes, in evaluation mode; the mode is left as it was."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    seen = gathered(feed, lambda batch: model.twin(batch["image"].to(device)), batch_size=batch_size)
    model.train(training)
    return seen


def gathered(
    feed: TwinFeed,
    answer: Callable[[dict[str, torch.Tensor]], tuple[torch.Tensor, torch.Tensor]],
    *,
    batch_size: int = 8,
) -> Read:
    """The slices of a feed with what stands for their twins, and for what is found in them, (B, 1, H, W) each."""
    kept: dict[str, list[np.ndarray]] = {}
    for batch in feed.evaluation_batches(batch_size):
        twin, found = answer(batch)
        pictures = {name: batch[name] for name in ("image", "mask", "truth")}
        for name, value in (pictures | {"twin": twin.cpu(), "found": found.cpu()}).items():
            kept.setdefault(name, []).append(value[:, 0].numpy())
        kept.setdefault("known", []).append(batch["truth_known"].numpy())
        kept.setdefault("marked", []).append(batch["mask_known"].numpy())
    people = np.array([feed.patient(number) for number in range(len(feed.places))])
    return Read(**{name: np.concatenate(values) for name, values in kept.items()}, patients=people)


def twin_table(
    model: smile.SMILE, lesions: TwinFeed | None, normal: TwinFeed | None, *, rounds: int = 1000
) -> list[Score]:
    """All scores of a split: twins of slices with lesions, the localiser, and what happens to normal slices.

    Args:
        model: What is measured.
        lesions: Slices with lesions; None gives none of their rows.
        normal: Slices without; likewise.
        rounds: Of the bootstrap over patients; 0 gives no intervals.
    """
    scores: list[Score] = []
    if lesions is not None:
        seen = read(model, lesions)
        scores += _qualities(seen, smile.tones(model.config), rounds) + _identities(seen, rounds) + _dice(seen, rounds)
    if normal is not None:
        seen = read(model, normal)
        changed = np.abs(seen.twin - seen.image).mean((1, 2))
        kept = np.stack([changed, (seen.found > SHOWN).mean((1, 2))], 1)
        names = ["L1 to the input", "share of pixels found"]
        scores += _rows("normal slice", ["SMILE"], names, kept, seen.patients, rounds)
    return scores


def found_dice(model: smile.SMILE, feed: TwinFeed) -> float:
    """Dice of what S finds in the slices of a feed, as the mean over patients; 0 where there is nothing to find."""
    dice, _ = _patient_dice(read(model, feed))
    return float(dice.mean()) if len(dice) else 0.0


def left_inside(model: smile.SMILE, feed: TwinFeed) -> float:
    """How far twins are from the truth inside the lesion, of how far the inputs are: 1 for copies, 0 for the truth.

    0 where no slice has a true twin.
    """
    seen = read(model, feed)
    inside = (seen.mask > 0) & seen.known[:, None, None]
    before = float(np.abs(seen.image - seen.truth)[inside].sum())
    return float(np.abs(seen.twin - seen.truth)[inside].sum()) / before if before > 0 else 0.0


def blurred(image: np.ndarray) -> np.ndarray:
    """A picture (H, W) in which no small thing is left."""
    sigma = BLUR * image.shape[0] / 128
    smooth: np.ndarray = ndimage.gaussian_filter(image, sigma, mode="nearest")
    return smooth


def body(image: np.ndarray, tones: Tones) -> np.ndarray:
    """(H, W) bool, the box around what is no air; all where there is nothing else."""
    there = image > max(float(tones.of(np.array(BODY))), -1 + 1e-3)
    rows, columns = np.flatnonzero(there.any(1)), np.flatnonzero(there.any(0))
    box = np.zeros(image.shape, bool)
    if len(rows):
        box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        return box
    return ~box


def _qualities(seen: Read, tones: Tones, rounds: int) -> list[Score]:
    """Every metric in every region of every method, for slices whose twin is known."""
    places = np.flatnonzero(seen.known)
    if not len(places):
        return []
    values = np.full((len(places), len(REGIONS), 3, len(METRICS)), np.nan)
    for row, n in enumerate(places):
        image, truth = seen.image[n].astype(float), seen.truth[n].astype(float)
        box, lesion = body(image, tones), seen.mask[n] > 0
        methods = (seen.twin[n].astype(float), image, blurred(image))
        for i, where in enumerate((box, box & lesion, box & ~lesion)):
            for j, made in enumerate(methods):
                values[row, i, j] = [metric(made, truth, where) for metric in METRICS.values()]
    people = seen.patients[places]
    return [
        score
        for i, region in enumerate(REGIONS)
        for score in _rows(region, ["SMILE", COPY, BLURRED], list(METRICS), values[:, i].reshape(len(places), -1),
                           people, rounds)
    ]  # fmt: skip


def _identities(seen: Read, rounds: int) -> list[Score]:
    """How much of the input outside the true mask is left as it was."""
    places = np.flatnonzero(seen.marked)
    if not len(places):
        return []
    values = np.array([
        [twins.identity(made, seen.image[n], seen.mask[n] > 0, RANGE) for made in
         (seen.twin[n], seen.image[n], blurred(seen.image[n]))] for n in places
    ])  # fmt: skip
    return _rows("identity", ["SMILE", COPY, BLURRED], ["MS-SSIM to the input"], values, seen.patients[places], rounds)


def _dice(seen: Read, rounds: int) -> list[Score]:
    """Dice of the localiser, a number a patient."""
    dice, people = _patient_dice(seen)
    if not len(dice):
        return []
    return _rows("lesion found", ["SMILE"], ["Dice, mean of patients"], dice[:, None], people, rounds)


def _patient_dice(seen: Read) -> tuple[np.ndarray, np.ndarray]:
    """Dice of each patient over the slices with a known mask, and the patients; none that is empty and found empty."""
    found, true = seen.found[seen.marked] > SHOWN, seen.mask[seen.marked] > 0
    overlap, said, are = (values.sum((1, 2)) for values in (found & true, found, true))
    by_patient = twins.dice_by_patient(seen.patients[seen.marked].tolist(), overlap, said, are)
    known = {name: value for name, value in by_patient.items() if not np.isnan(value)}
    return np.array(list(known.values())), np.array(list(known))


def _rows(  # noqa: PLR0917
    task: str, labels: Sequence[str], metrics: Sequence[str], values: np.ndarray, people: np.ndarray, rounds: int
) -> list[Score]:
    """Means of (N, K) numbers with intervals over people (N,), K being labels times metrics; NaN does not count."""
    names = [(label, metric) for label in labels for metric in metrics]

    def mean(i: np.ndarray) -> np.ndarray:
        return np.array([faces.mean_known(column) for column in values[i].T])

    low = high = np.full(len(names), np.nan)
    if rounds:
        low, high = faces.bootstrap(mean, people, seed=0, rounds=rounds)
    return [
        Score(task, label, metric, value, float(low[k]), float(high[k]), count=int((~np.isnan(values[:, k])).sum()))
        for k, ((label, metric), value) in enumerate(zip(names, mean(np.arange(len(values))).tolist(), strict=True))
    ]
