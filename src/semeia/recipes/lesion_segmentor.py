"""A plain segmentor of lesions: the judge of twins, and the test of what made-up training data are worth.

    semeia train lesion_segmentor --data worlds/slabs --out runs/judge
    semeia train lesion_segmentor --data worlds/slabs --arm transplanted --smile runs/smile/checkpoint --masked 0.25 \
--out runs/transplanted

    train split -> real slices with masks, half of each batch made up where the arm says so -> fit -> test split -> Dice

As a judge it is trained on real masked slices alone, with another seed and another architecture than the segmentor
inside SMILE, and never used in training one. As a test, all arms have one budget of masks, one number of steps and one
test split of real slices:

    real            slices as they are
    classic         flipped, turned, scaled and shifted
    empty twins     classic, and half of each batch are twins of its slices, with empty masks
    transplanted    classic, and half of each batch are real normal slices into which SMILE's reconstructor painted the
                    lesion of a mask; the headline arm of the specification
    twins           classic, of twins with the masks of their inputs, and tested on such: not a test of data, but of
                    traces of the lesion that twins keep (``metrics.twins.adaptive_healthiness``)

The maker of twins must have learned from the same masks: its ``masked``, ``healthy`` and ``share_seed`` are to be those
given here. Dice is that of a patient's slices together; patients without any lesion pixel, true or found, do not count.

Shapes      B images of a batch   S side   P patients   R draws
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from semeia import checkpoint
from semeia.data.paired_slices import CTSlices, PairedSlices
from semeia.data.twin_feeds import (
    STILL,
    Division,
    TwinAugmentation,
    TwinFeed,
    divided,
    slices_of,
)
from semeia.evaluate import Score, score_table
from semeia.files import write_whole
from semeia.lesion_sets import LesionData, Split, open_lesions
from semeia.metrics.twins import dice_by_patient
from semeia.nn.unet import UNet, marking_loss
from semeia.recipes._cards import trained_by
from semeia.records import SemeiaError
from semeia.systems import smile
from semeia.task import Task
from semeia.train.feeds import Feed
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

NAME = "lesion_segmentor"
Arm = Literal["real", "classic", "empty twins", "transplanted", "twins"]


@dataclass(frozen=True)
class Network:
    """What the segmentor is."""

    size: int = 96
    """Pixels along the side of images."""
    window: tuple[float, float] = (-1000.0, 500.0)
    """HU that become -1 and 1."""
    soft: tuple[float, float] | None = (-160.0, 240.0)
    """HU that are given more room, see ``data.twin_feeds.Tones``."""
    spacing: float | None = 1.4
    """Millimetres a pixel of the squares that are cut out of slices; None for whole slices. Window, soft tissue and
    spacing are those of the maker of twins, where one is used."""
    widths: tuple[int, ...] = (12, 24, 48, 96)
    """Channels of the levels."""
    threshold: float = 0.5
    """Probability from which a pixel is lesion."""


@dataclass(frozen=True)
class Config:
    """Network, data and optimiser of one training."""

    model: Network = field(default_factory=Network)
    """The network."""
    arm: Arm = "classic"
    """What is trained on; see the top of this file."""
    smile: str | None = None
    """Bundled weights by name, or a checkpoint folder, of the maker of twins; for the last three arms."""
    data: LesionData = field(default_factory=LesionData)
    """CT slices with lesions."""
    masked: float = 1.0
    """Share of the training patients with lesions whose masks are used; a smaller one lies in every larger one."""
    healthy: float = 0.25
    """Share of the training patients with twins who stand for healthy ones: their lesions are not used."""
    share_seed: int = 0
    """Decides whose masks are used, and who is healthy."""
    augmentation: TwinAugmentation = field(default_factory=TwinAugmentation)
    """How images are moved, but for the arm ``real``."""
    batch_size: int = 8
    """Images a step and process."""
    learning_rate: float = 1e-3
    """AdamW's peak; a cosine leads to zero."""
    weight_decay: float = 0.01
    """Of AdamW, relative to the rate."""
    workers: int = 0
    """Processes that prepare batches."""
    validate: int = 100
    """Held-out slices that are read at each evaluation while training."""
    test: int | None = None
    """Held-out slices in the final table; all by default."""
    rounds: int = 1000
    """Of the bootstrap over patients; 0 gives no interval."""
    fit: Fit = field(default_factory=lambda: Fit(seed=7))
    """Length, intervals, clipping, averaging; the seed is not that of SMILE's recipes, for a judge must be another."""


def smoke() -> Config:
    """A tiny network for a few steps: everything runs, nothing is learned."""
    how = Fit(steps=4, warmup=1, log_every=2, eval_every=4, save_every=2, seed=7)
    return Config(
        model=Network(size=32, soft=None, spacing=None, widths=(4, 8)),
        batch_size=2,
        validate=4,
        test=6,
        rounds=20,
        fit=how,
    )


def small() -> Config:
    """Two cores."""
    return Config(fit=Fit(steps=1_500, warmup=50, log_every=50, eval_every=500, save_every=250, ema=0.995, seed=7))


def paper() -> Config:
    """A GPU. No paper has it: SMILE's downstream network is not known."""
    how = Fit(steps=20_000, warmup=500, log_every=50, eval_every=1_000, save_every=1_000, ema=0.999, seed=7)
    return Config(model=Network(size=256, widths=(32, 64, 128, 256, 512)), batch_size=16, workers=4, fit=how)


SCALES = {"smoke": smoke, "small": small, "paper": paper}


class LesionSegmentor(Task):
    """The network as a task.

    Args:
        config: What it is.
    """

    def __init__(self, config: Network) -> None:
        super().__init__()
        self.config, self.network = config, UNet(widths=config.widths)

    def forward(self, batch: dict[str, Any], loss: str = "main") -> dict[str, Tensor]:
        """``marking_loss`` of ``image``, ``mask`` (B, 1, S, S) and ``mask_known`` (B,)."""
        logits = self.network(batch["image"]).float()
        return {"loss": marking_loss(logits, batch["mask"], batch["mask_known"])}

    @torch.no_grad()
    def mark(self, image: Tensor) -> Tensor:
        """``(B, 1, H, W)`` in [-1, 1] -> ``(B, 1, H, W)`` bool, what is lesion."""
        return self.network(image).float().sigmoid() >= self.config.threshold


def load(weights: str | Path) -> LesionSegmentor:
    """A trained segmentor, such as the judge of ``metrics.twins.healthiness``, in evaluation mode.

    Raises:
        SemeiaError: The weights do not exist or do not fit.
    """
    return checkpoint.load(weights, system=NAME, kind=Network, build=LesionSegmentor)[0]


class MadeUp:
    """Batches of which half, or all in the arm ``twins``, is made up from the slices of the batch itself.

    Args:
        feed: Real slices with masks, a normal slice beside each.
        weights: Of the maker of twins, which each process loads for itself.
        arm: What it makes of them.
    """

    def __init__(self, feed: TwinFeed, weights: str, arm: Arm) -> None:
        self.feed, self.weights, self.arm = feed, weights, arm

    @cached_property
    def maker(self) -> smile.SMILE:
        """The maker of twins."""
        return maker_of(self.weights)

    def batch(self, index: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Batch number ``index`` of one rank."""
        batch = self.feed.batch(index, rank, world)
        made = torch.ones(len(batch["image"]), dtype=torch.bool)
        if self.arm != "twins":
            made[: (len(made) + 1) // 2] = False
        if self.arm == "transplanted":
            made &= batch["healthy_known"]
        if not made.any():
            return batch
        image, mask = batch["image"].clone(), batch["mask"].clone()
        if self.arm == "transplanted":
            image[made] = self.maker.restore(batch["healthy"][made], mask[made]).clamp(-1, 1)
        else:
            image[made] = self.maker.twin(image[made])[0].clamp(-1, 1)
        if self.arm == "empty twins":
            mask[made] = 0
        return batch | {"image": image, "mask": mask}


def maker_of(weights: str) -> smile.SMILE:
    """A trained maker of twins, in evaluation mode.

    Raises:
        SemeiaError: The weights do not exist or do not fit.
    """
    return checkpoint.load(weights, system="smile", kind=smile.Config, build=smile.build)[0]


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, no slices to train on, or an arm without what it needs.
    """
    sets = open_slices(config.data)
    division = divided(sets, labelled=config.masked, healthy=config.healthy, seed=config.share_seed)
    feed = feed_of(config, division)
    torch.manual_seed(config.fit.seed)
    model = LesionSegmentor(config.model)
    watched = held_out(config.model, sets, "val", config.validate)
    tested_by = maker_of(config.smile) if config.arm == "twins" and config.smile else None

    def validate(task: LesionSegmentor) -> dict[str, float]:
        assert watched is not None
        return {"dice": np.nan_to_num(score_of(dice_of(task, watched, tested_by), rounds=0).value)}

    fit(
        model, {"main": feed}, adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay), config.fit,
        evaluate=validate if watched else None, resume=resume, progress=progress, workers=config.workers,
    )  # fmt: skip
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    tested = held_out(config.model, sets, "test", config.test)
    scores = [score_of(dice_of(model.eval(), tested, tested_by), rounds=config.rounds)] if tested else []
    text = card(config, division, scores)
    checkpoint.save(out, system=NAME, config=config.model, state=model.state_dict(), card=text)
    write_whole(out.parent / "scores.json", json.dumps([score.as_dict() for score in scores], indent=1).encode())
    return out


def open_slices(data: LesionData) -> list[PairedSlices]:
    """Every set of ``data``.

    Raises:
        SemeiaError: No set is named, or one cannot be read.
    """
    return [CTSlices(each) for each in open_lesions(data)]


def feed_of(config: Config, division: Division) -> Feed:
    """Batches of the arm.

    Raises:
        SemeiaError: It needs a maker of twins or normal slices, and there are none, or its window is another one.
    """
    network, plain = config.model, config.arm in ("real", "classic")
    feed = TwinFeed(
        division.labelled, config.batch_size, size=network.size, window=network.window, soft=network.soft,
        spacing=network.spacing, seed=config.fit.seed,
        normal=division.normal if config.arm == "transplanted" else (),
        augmentation=STILL if config.arm == "real" else config.augmentation,
    )  # fmt: skip
    if plain:
        return feed
    if config.smile is None:
        raise SemeiaError(f"arm {config.arm!r}: expected a maker of twins; name one with --smile CHECKPOINT")
    maker, name = maker_of(config.smile), Path(config.smile).name
    for field_ in ("window", "soft", "spacing"):
        if (wanted := getattr(network, field_)) != (found := getattr(maker.config, field_)):
            raise SemeiaError(f"{name}: expected the {field_} {wanted}, found {found}; set --model.{field_}")
    if config.arm == "transplanted":
        if not division.normal:
            raise SemeiaError("arm 'transplanted': expected normal slices to paint lesions into, found none; name data "
                              "that have some, such as a CT world with twins")  # fmt: skip
        if "reconstructor" not in maker.nets:
            raise SemeiaError(f"{name}: expected weights with a lesion reconstructor, found none; name another arm's")
    return MadeUp(feed, config.smile, config.arm)


# Measuring -----------------------------------------------------------------------------------------------------------


def held_out(network: Network, sets: Sequence[PairedSlices], split: Split, limit: int | None) -> TwinFeed | None:
    """Slices as they are tested, at even steps where there is a limit; None where there are none."""
    places = slices_of(sets, split)
    if limit is not None and 0 < limit < len(places):
        places = [places[i * len(places) // limit] for i in range(limit)]
    if not places:
        return None
    return TwinFeed(places, 1, size=network.size, window=network.window, soft=network.soft, spacing=network.spacing)


def dice_of(model: LesionSegmentor, feed: TwinFeed, maker: smile.SMILE | None = None) -> dict[str, float]:
    """Dice of each patient whose masks are known, on real slices or, with a maker, on their twins."""
    device = next(model.parameters()).device
    patients: list[str] = []
    counts: list[np.ndarray] = []
    for batch in feed.evaluation_batches():
        image = batch["image"] if maker is None else maker.twin(batch["image"])[0].clamp(-1, 1)
        found, true = model.mark(image.to(device)).cpu(), batch["mask"] > 0
        sums = torch.stack([(found & true).sum((1, 2, 3)), found.sum((1, 2, 3)), true.sum((1, 2, 3))], 1)
        known = batch["mask_known"]
        patients += [feed.patient(int(number)) for number in batch["index"][known]]
        counts.append(sums[known].numpy())
    table = np.concatenate(counts) if counts else np.zeros((0, 3))
    return dice_by_patient(patients, *table.T)


def score_of(dice: dict[str, float], *, rounds: int) -> Score:
    """The mean over patients, with its 95 % interval from draws of patients."""
    values = np.array([value for value in dice.values() if not np.isnan(value)])
    low = high = float("nan")
    if rounds and len(values):
        drawn = np.random.default_rng(0).choice(values, (rounds, len(values))).mean(1)
        low, high = (float(value) for value in np.percentile(drawn, [2.5, 97.5]))
    mean = float(values.mean()) if len(values) else float("nan")
    return Score("lesions", "per patient", "Dice", mean, low, high, len(values))


def evaluate(
    weights: str | Path, data: LesionData, *, split: Split = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Score a checkpoint folder on a split of data sets.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    model = load(weights)
    feed = held_out(model.config, open_slices(data), split, limit)
    if feed is None:
        raise SemeiaError(f"{', '.join(data.deeplesion)}: expected key slices of split {split!r}, found none")
    return [score_of(dice_of(model, feed), rounds=rounds)]


def card(config: Config, division: Division, scores: Sequence[Score]) -> str:
    """The model card."""
    folders = " ".join(f"worlds/{Path(folder).name}" for folder in config.data.deeplesion)
    low, high = config.model.window
    return CARD.format(
        size=config.model.size, window=f"{low:.0f} to {high:.0f}", arm=config.arm, seed=config.fit.seed,
        masked=f"{len(division.labelled):,}", people=f"{division.patients('labelled'):,}",
        maker=f" Made-up slices come from {Path(config.smile).name}." if config.smile else "",
        steps=f"{config.fit.steps:,}", batch=config.batch_size,
        command=trained_by(config, system=NAME, small=small(), data=f"--data {folders}"),
        table=score_table(scores) if scores else "Nothing: the data have no test split.",
    )  # fmt: skip


CARD = """# A plain segmentor of lesions
Marks the pixels of lesions in single CT slices. It judges healthy twins, or tells what made-up training data are worth;
it is part of no published system.

- Reads single slices at {size} pixels, HU {window}, clipped beyond.

## What it learned from
Arm: {arm}. {masked} masked slices of {people} patients.{maker} {steps} steps of {batch} images, seed {seed}.

```
{command}
```

## What was measured
The split `test`, real slices of other patients; the interval is 95 % over patients. Numbers on synthetic slabs say how
well the mechanism was learned: **they say nothing of patients**.

{table}

## What it cannot tell
- What it marks is no diagnosis; nothing marked does not mean that nothing is there. Not a medical device.

Licence: Apache-2.0.
"""
