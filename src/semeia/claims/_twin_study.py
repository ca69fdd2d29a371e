"""How an arm of SMILE's claims is trained and measured, and how points that need no training stand beside it.

    study -> maker of twins -> twins of the test -> beside the true ones           PSNR, SSIM, L1, identity
                                                 -> an independent judge           healthiness
                            -> lesions painted into normal slices -> segmentor     Dice on real slices, and without them

A study is the recipe's configuration and what the ledger adds. The judge is trained once for a folder of runs, on real
masked slices of all training patients. It is another architecture with another seed than the localiser inside SMILE,
and no maker is ever trained with it. Sums are pairs of a number's sum over slices and of how many slices have it.

Shapes      N slices of the test   H, W sides   G patients
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from semeia import checkpoint
from semeia.data.paired_slices import PairedSlices
from semeia.data.twin_feeds import Tones, TwinFeed, slices_of
from semeia.ledger.claims import Measured, Size
from semeia.ledger.matching import counted, digest
from semeia.metrics import twins
from semeia.recipes import lesion_segmentor
from semeia.recipes import smile as recipe
from semeia.recipes._twin_scores import METRICS, RANGE, SHOWN, Read, blurred, body, gathered, read
from semeia.records import SemeiaError
from semeia.systems import smile

Point = Literal["trained", "copy", "blur", "truth"]

POINTS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "copy": lambda image, truth: image,
    "blur": lambda image, truth: blurred(image),
    "truth": lambda image, truth: truth,
}
"""From an image (H, W) and its true twin (H, W) to what stands for a twin without any training."""

REGIONS = ("whole", "inside", "outside")
"""In the box around the body: all of it, the true mask, and the rest."""

TRIED: tuple[lesion_segmentor.Arm, ...] = ("classic", "transplanted")
"""Arms of the segmentor's recipe: the second has made-up lesions in half of each batch."""

AGAIN = 100
"""Added to the seed of a training for that of the segmentor that tries its made-up lesions."""


@dataclass(frozen=True)
class Study(recipe.Config):
    """A training of the recipe, and how it is judged. ``test`` slices are read; tables of the recipe are not made."""

    point: Point = "trained"
    """``trained``, or a point that needs no training."""
    makes: bool = True
    """Whether lesions that the arm makes up are tried as training data."""
    judge: lesion_segmentor.Config = field(default_factory=lesion_segmentor.small)
    """How the independent judge is trained; its data and folder are those of the study."""
    task: lesion_segmentor.Config = field(default_factory=lesion_segmentor.small)
    """How segmentors with and without made-up lesions are trained; data, masks and seed are those of the study."""


def size_of(study: Study) -> Size:
    """What is in use for a twin: S and G. A point has one number, the width of its blur."""
    if study.point != "trained":
        return Size(1, 0)
    torch.manual_seed(0)
    model, side = smile.build(recipe.ARMS[study.arm](study.model)), study.model.size
    cost = counted(model, lambda made: made.twin(torch.zeros(1, 1, side, side)))
    return Size(
        sum(p.numel() for name in ("segmentor", "generator") for p in model.nets[name].parameters()), cost.flops
    )


def measured(study: Study) -> Measured:
    """Train an arm, or take a point; read the test; try what it makes up."""
    # Whose masks are kept is a part of the luck that seeds are for.
    study = replace(study, share_seed=study.fit.seed)
    sets = recipe.open_slices(study.data)
    feed = test_of(study, sets)
    people = [feed.patient(number) for number in range(len(feed.places))]
    patients = tuple(sorted(set(people)))
    weights = trained(study) if study.point == "trained" else None
    seen = point_of(feed, study.point) if weights is None else read(maker_of(weights), feed)
    judge = lesion_segmentor.load(judge_of(study))
    values = qualities(seen, smile.tones(study.model)) | health(seen, judge)
    sums = {name: by_patient(value, people, patients) for name, value in values.items()}
    if weights is not None:
        sums["dice"] = known([found_dice(seen, people)], patients)
    if weights is not None and study.makes:
        sums |= tried(study, sets, weights, patients)
    return Measured(patients, sums)


def trained(study: Study) -> Path:
    """The checkpoint of an arm; the recipe's own tables are kept short."""
    own = {each.name: getattr(study, each.name) for each in fields(recipe.Config)}
    config = replace(recipe.Config(**own), test=2, rounds=0)
    return recipe.train(replace(config, segmentor=str(segmentor_of(config))), progress=False)


def segmentor_of(config: recipe.Config) -> Path:
    """The localiser that all arms of a seed and a share of masks go on from; it is trained where there is none."""
    plain = replace(config, arm="smile")
    folder = Path(config.fit.out).parent / f"segmentor-{config.fit.seed}-{digest(plain)}"
    if (folder / "segmentor").is_dir():
        return folder / "segmentor"
    return recipe.train_segmentor(replace(plain, fit=replace(plain.fit, out=str(folder))), progress=False)


def maker_of(weights: Path) -> smile.SMILE:
    """A trained maker of twins."""
    return checkpoint.load(weights, system="smile", kind=smile.Config, build=smile.build)[0]


def judge_of(study: Study) -> Path:
    """The judge's checkpoint, beside the folders of the arms; it is trained where there is none."""
    how = replace(study.judge, data=replace(study.data, share=1.0), test=2, rounds=0)
    folder = Path(study.fit.out).parent / f"judge-{digest(how)}"
    if (folder / "checkpoint").is_dir():
        return folder / "checkpoint"
    return lesion_segmentor.train(replace(how, fit=replace(how.fit, out=str(folder))), progress=False)


def test_of(study: Study, sets: list[PairedSlices]) -> TwinFeed:
    """The slices that are read: ``test`` of the split, at even steps; all by default."""
    feed = recipe.held_out(study.model, slices_of(sets, "test"), study.test)
    if feed is None:
        raise SemeiaError("expected slices of split 'test', found none; name data that have some")
    return feed


def point_of(feed: TwinFeed, point: str) -> Read:
    """The test as a point reads it; it finds nothing."""

    def answer(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = zip(batch["image"][:, 0].numpy(), batch["truth"][:, 0].numpy(), strict=True)
        twin = torch.from_numpy(np.stack([POINTS[point](image, truth) for image, truth in pairs]))
        return twin[:, None], torch.zeros_like(batch["image"])

    return gathered(feed, answer)


# -- numbers of slices (N, 2): a value and how often it is known


def qualities(seen: Read, tones: Tones) -> dict[str, np.ndarray]:
    """Every metric in every region against the true twin, identity to the input, and what is left of the lesion."""
    columns = [*(f"{name}, {region}" for region in REGIONS for name in METRICS), "identity", "left"]
    table: dict[str, list[tuple[float, float]]] = {name: [] for name in columns}
    for image, mask, truth, twin, there, marked in zip(
        seen.image, seen.mask > 0, seen.truth, seen.twin, seen.known, seen.marked, strict=True
    ):
        box, made, true = body(image, tones), twin.astype(float), truth.astype(float)
        for region, where in zip(REGIONS, (box, box & mask, box & ~mask), strict=True):
            for name, metric in METRICS.items():
                told = there and bool(where.any())
                table[f"{name}, {region}"].append((metric(made, true, where), 1.0) if told else (0.0, 0.0))
        same = twins.identity(twin, image, mask, RANGE) if marked else 0.0
        table["identity"].append((same, float(marked)))
        apart, before = (float(np.abs(each - true)[mask].sum()) if there else 0.0 for each in (made, image))
        table["left"].append((apart, before))
    return {name: np.array(rows, float) for name, rows in table.items()}


@torch.no_grad()
def health(seen: Read, judge: lesion_segmentor.LesionSegmentor) -> dict[str, np.ndarray]:
    """Pixels that the judge finds in each twin and in each input, as one pair."""

    def area(pictures: np.ndarray) -> np.ndarray:
        images = torch.from_numpy(pictures.astype(np.float32))[:, None].clamp(-1, 1)
        return torch.cat([judge.mark(part).sum((1, 2, 3)) for part in images.split(8)]).numpy().astype(float)

    return {"health": np.stack([area(seen.twin), area(seen.image)], 1)}


# -- numbers of patients (G, 2)


def by_patient(values: np.ndarray, people: list[str], patients: tuple[str, ...]) -> np.ndarray:
    """(G, 2) sums over the slices of each patient, of (N, 2)."""
    rows, place = np.zeros((len(patients), 2)), {name: row for row, name in enumerate(patients)}
    np.add.at(rows, [place[name] for name in people], values)
    return rows


def found_dice(seen: Read, people: list[str]) -> dict[str, float]:
    """Dice of the localiser on the slices of each patient whose mask is known."""
    found, true = seen.found[seen.marked] > SHOWN, seen.mask[seen.marked] > 0
    names = [name for name, marked in zip(people, seen.marked, strict=True) if marked]
    overlap, said, are = (each.sum((1, 2)) for each in (found & true, found, true))
    return twins.dice_by_patient(names, overlap, said, are)


def known(dice: Sequence[Mapping[str, float]], patients: tuple[str, ...]) -> np.ndarray:
    """(G, 2 or more) Dice of each patient, several side by side, and whether all are known."""
    values = np.array([[each.get(name, np.nan) for each in dice] for name in patients])
    there = ~np.isnan(values).any(1, keepdims=True)
    return np.concatenate([np.where(there, values, 0.0), there], 1)


def tried(study: Study, sets: list[PairedSlices], weights: Path, patients: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Dice of segmentors that learned from real slices alone, and from these with lesions that the arm made up.

    ``task`` has both Dices (G, 3), so that only patients count in whom both are known. Both segmentors start from the
    same weights, have the same masks, classic augmentation and as many steps.
    """
    found = []
    for arm in TRIED:
        how = replace(
            study.task, arm=arm, smile=str(weights) if arm == "transplanted" else None, data=study.data, test=2,
            rounds=0, masked=study.masked, healthy=study.healthy, share_seed=study.share_seed,
            fit=replace(study.task.fit, seed=AGAIN + study.fit.seed, out=str(Path(study.fit.out) / f"task-{arm}")),
        )  # fmt: skip
        model = lesion_segmentor.load(lesion_segmentor.train(how, progress=False))
        feed = lesion_segmentor.held_out(model.config, sets, "test", study.test)
        assert feed is not None  # the study's own test would have been refused
        found.append(lesion_segmentor.dice_of(model, feed))
    return {"task": known(found, patients)}
