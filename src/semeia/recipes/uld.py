"""The plain detector of lesions: from measured CT slices to boxes on others.

    semeia make slabs worlds/slabs --count 4000 --seed 1
    semeia train uld --data worlds/slabs --out runs/uld
    semeia evaluate uld --data worlds/slabs --weights runs/uld/checkpoint

    train split -> slices around key slices -> fit -> val split -> scores of so many false boxes -> test split -> card

On DeepLesion itself: ``semeia train uld --scale paper --data DEEPLESION --out runs/uld``.

``smoke`` runs in under a minute on anything, ``small`` is for two cores, ``paper`` has the values of the authors' code
as far as the loop allows: a cosine stands in for its two steps of the rate.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from accelerate import PartialState

from semeia import checkpoint
from semeia.data.formats.deeplesion import DeepLesion
from semeia.data.slice_feeds import STILL, SliceAugmentation, SliceFeed
from semeia.evaluate import Score, score_table
from semeia.files import write_whole
from semeia.lesion_scores import AVERAGE, find, headline, lesion_table
from semeia.lesion_sets import LesionData, Split, open_lesions, split_of, thinned, with_split
from semeia.metrics import froc
from semeia.recipes._cards import trained_by
from semeia.systems import uld
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw, sgd


@dataclass(frozen=True)
class Config:
    """Model, data and optimiser of one training."""

    model: uld.Config = field(default_factory=lambda: uld.SMALL)
    """The detector, and how slices are given to it."""
    data: LesionData = field(default_factory=LesionData)
    """CT slices with measured lesions."""
    augmentation: SliceAugmentation = field(default_factory=SliceAugmentation)
    """What is done to the pictures in training."""
    batch_size: int = 4
    """Key slices a step and process."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """``sgd`` has a momentum of 0.9."""
    learning_rate: float = 1e-3
    """Peak, reached after the warm-up; a cosine leads to zero."""
    weight_decay: float = 0.05
    """Of AdamW, relative to the rate; of SGD, added to the gradient."""
    cache: str | None = None
    """Folder for decoded slices, which are read many times."""
    workers: int = 1
    """Processes that prepare batches."""
    validate: int = 200
    """Held-out key slices that are read at each evaluation while training."""
    choose_on: int | None = None
    """Key slices of the split ``val`` on which scores of so many false detections are chosen; all by default."""
    test: int | None = None
    """Held-out key slices of each folder in the final table; all by default."""
    rounds: int = 1000
    """Of the bootstrap that gives the final table its intervals; 0 gives none."""
    fit: Fit = field(default_factory=Fit)
    """Length, intervals, clipping, averaging of weights."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    how = Fit(steps=6, warmup=2, log_every=2, eval_every=6, save_every=3)
    return Config(model=uld.TINY, batch_size=2, workers=0, validate=4, choose_on=4, test=8, fit=how)


def small() -> Config:
    """Two cores."""
    how = Fit(steps=8_000, warmup=400, log_every=50, eval_every=1_000, save_every=500, ema=0.999)
    return Config(fit=how)


def paper() -> Config:
    """The authors' code: DenseNet-121, 512 pixels, 7 slices, 2 images a process; 20 epochs on one process here."""
    how = Fit(steps=225_000, warmup=500, clip=35.0, log_every=50, eval_every=11_250, save_every=2_500)
    return Config(
        model=uld.Config(), batch_size=2, optimizer="sgd", learning_rate=0.02, weight_decay=1e-4, workers=8, fit=how
    )


SCALES = {"smoke": smoke, "small": small, "paper": paper}


def feed_of(
    config: Config, sets: Sequence[DeepLesion], augmentation: SliceAugmentation, *, cached: bool = True
) -> SliceFeed:
    """Batches as the model of ``config`` takes them."""
    model = config.model
    return SliceFeed(
        sets, config.batch_size, slices=model.slices, size=model.image_size, spacing=model.spacing,
        windows=(model.window,), step_mm=model.interval, augmentation=augmentation, seed=config.fit.seed,
        masks=model.mask_channels > 0, cache=config.cache if cached else None,
    )  # fmt: skip


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, choose scores, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, or data without a train split.
    """
    data = open_lesions(config.data)
    sets = split_of(data, "train")
    torch.manual_seed(config.fit.seed)
    model = uld.build(config.model)
    optimize = adamw if config.optimizer == "adamw" else sgd
    optimizers = optimize(model, lr=config.learning_rate, weight_decay=config.weight_decay)
    watched = held_out(config, data, "val", config.validate)

    def validate(task: uld.ULD) -> dict[str, float]:
        assert watched is not None
        return {f"sensitivity, {AVERAGE}": headline(find(task, watched))}

    fit(
        model, {"main": feed_of(config, sets, config.augmentation)}, optimizers, config.fit,
        evaluate=validate if watched else None, resume=resume, progress=progress, workers=config.workers,
    )  # fmt: skip
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    if chosen := held_out(config, data, "val", config.choose_on):
        choose(model, chosen)
    tested = held_out(config, data, "test", config.test)
    scores = lesion_table(find(model, tested), rounds=config.rounds) if tested else []
    text = card(config, sets, scores)
    checkpoint.save(out, system="uld", config=config.model, state=model.state_dict(), card=text)
    write_whole(out.parent / "scores.json", json.dumps([score.as_dict() for score in scores], indent=1).encode())
    return out


def held_out(config: Config, data: Sequence[DeepLesion], split: Split, limit: int | None) -> SliceFeed | None:
    """A split as it is tested; None where the data have none."""
    sets = thinned(with_split(data, split), limit)
    return feed_of(config, sets, STILL, cached=False) if sets else None


def choose(model: uld.ULD, feed: SliceFeed) -> None:
    """Keep with the model the scores that leave so many false detections a slice; the split must not be reported."""
    table = find(model, feed).table
    scores = [froc.threshold(table, rate) for rate in froc.RATES]
    model.score_at.copy_(torch.tensor([max(score, 0.0) for score in scores]))


def evaluate(
    weights: str | Path, data: LesionData, *, split: Split = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    model, _ = checkpoint.load(weights, system="uld", kind=uld.Config, build=uld.build)
    sets = thinned(split_of(open_lesions(data), split), limit)
    return lesion_table(find(model, feed_of(Config(model=model.config), sets, STILL)), rounds=rounds)


def card(config: Config, sets: Sequence[DeepLesion], scores: Sequence[Score]) -> str:
    """The model card."""
    folders = " ".join(f"worlds/{each.folder.name}" for each in sets)
    model = config.model
    return CARD.format(
        slices=model.slices, size=model.image_size, spacing=model.spacing or "the scan's own", interval=model.interval,
        window=" to ".join(f"{hu:.0f}" for hu in model.window),
        sizes=" and ".join(f"{len(each):,} key slices of {each.folder.name}" for each in sets),
        steps=f"{config.fit.steps:,}", batch=config.batch_size, seed=config.fit.seed,
        command=trained_by(config, system="uld", small=small(), data=f"--data {folders}"),
        table=score_table(scores) if scores else "Nothing: the data have no test split.",
    )  # fmt: skip


CARD = """# Universal lesion detection
Boxes around candidate lesions of any kind in CT, slice by slice; `semeia lesions` joins them to lesions.

- Reads {slices} slices, {interval} mm apart, at {size} pixels of {spacing} mm, HU {window}.

## What it learned from
{sizes}. {steps} steps of {batch} key slices, seed {seed}.

```
{command}
```

## What was measured
The split `test`, other patients than those of the training; intervals are 95 % over patients. Sensitivity is the share
of measured lesions that a box finds (IoU of at least 0.5 on the slice) at so many false boxes an image. Numbers on
synthetic slabs say how well the mechanism was learned: **they are not accuracy on patients**.

{table}

## What it cannot tell
- A box is a candidate, not a diagnosis; nothing found does not mean that nothing is there. Not a medical device.

Licence: Apache-2.0.
"""
