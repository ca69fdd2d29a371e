"""What the detectors of lesions have in common in training: data, loop, held-out slices, the table of scores, the card.

    train split -> slices around key slices -> fit -> val split -> scores of so many false boxes -> test split -> card

A recipe says which system it trains (``System``) and with which numbers; the rest is here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from accelerate import PartialState

from semeia import checkpoint
from semeia.data.formats.deeplesion import DeepLesion
from semeia.data.orders import LearnedOrder
from semeia.data.slice_feeds import STILL, SliceAugmentation, SliceFeed
from semeia.detection.design import Design
from semeia.detection.lesion_task import LesionTask
from semeia.evaluate import Score, score_table
from semeia.files import write_whole
from semeia.lesion_scores import AVERAGE, find, headline, lesion_table
from semeia.lesion_sets import LesionData, Split, open_lesions, split_of, thinned, with_split
from semeia.metrics import froc
from semeia.recipes._cards import trained_by
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw, sgd

C = TypeVar("C")


@dataclass(frozen=True)
class LesionTraining:
    """Model, data and optimiser of one training; recipes name their own model, and add what else is theirs."""

    model: Design = field(default_factory=Design)
    """The detector, and how slices are given to it."""
    data: LesionData = field(default_factory=LesionData)
    """CT slices with measured lesions."""
    init: str | None = None
    """Weights of the same system, bundled or a checkpoint folder, to start from; random ones by default."""
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


@dataclass(frozen=True)
class System:
    """What a recipe trains."""

    name: str
    """Its short name, which its checkpoints carry."""
    kind: type[Any]
    """Of its model's configuration."""
    build: Callable[[Any], LesionTask]
    """From that configuration to the model in use."""
    small: Callable[[], LesionTraining]
    """The recipe's scale ``small``, from which the card's command starts."""
    title: str
    """Of the card."""
    words: str
    """What it is and reads, for the card; a paragraph or more."""
    learning: Callable[[Any, LearnedOrder], Any] | None = None
    """Where it learns in an order of its own: from its configuration and that order to the model in training, whose
    ``curriculum`` is let go of before the weights are kept."""


def as_plain(plain: LesionTraining, kind: type[C], model: Design) -> C:
    """A recipe's configuration with all numbers of another's; ``model`` gives what its system adds to the detector."""
    shared = {each.name: getattr(plain, each.name) for each in fields(LesionTraining)}
    design = {each.name: getattr(plain.model, each.name) for each in fields(Design)}
    return kind(**shared | {"model": replace(model, **design)})


def feed_of(
    config: LesionTraining,
    sets: Sequence[DeepLesion],
    augmentation: SliceAugmentation,
    *,
    cached: bool = True,
    order: LearnedOrder | None = None,
) -> SliceFeed:
    """Batches as the model of ``config`` takes them, in an order of its own where one is given."""
    model = config.model
    return SliceFeed(
        sets, config.batch_size, slices=model.slices, size=model.image_size, spacing=model.spacing,
        windows=(model.window,), step_mm=model.interval, augmentation=augmentation, seed=config.fit.seed, order=order,
        masks=model.mask_channels > 0, cache=config.cache if cached else None,
    )  # fmt: skip


def learned_order(config: LesionTraining, sets: Sequence[DeepLesion]) -> LearnedOrder:
    """An order of these key slices for all processes of this training.

    Raises:
        SemeiaError: They do not fill a step.
    """
    # The processes are not known to Accelerate yet: its state would keep a device that the loop has not chosen.
    together = int(os.environ.get("WORLD_SIZE", "1")) * config.fit.accumulate
    size = sum(len(each) for each in sets)
    return LearnedOrder(size, batch_size=config.batch_size, together=together, seed=config.fit.seed)


def train(config: LesionTraining, system: System, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, choose scores, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, data without a train split, or weights to start from that cannot be had.
    """
    data = open_lesions(config.data)
    sets = split_of(data, "train")
    order = learned_order(config, sets) if system.learning else None
    torch.manual_seed(config.fit.seed)
    model: Any = system.learning(config.model, order) if system.learning and order else system.build(config.model)
    if config.init is not None:
        other: Any = checkpoint.load(config.init, system=system.name, kind=system.kind, build=system.build)[0]
        model.load_state_dict(other.state_dict())
    optimize = adamw if config.optimizer == "adamw" else sgd
    optimizers = optimize(model, lr=config.learning_rate, weight_decay=config.weight_decay)
    watched = held_out(config, data, "val", config.validate)

    def validate(task: LesionTask) -> dict[str, float]:
        assert watched is not None
        return {f"sensitivity, {AVERAGE}": headline(find(task, watched))}

    fit(
        model, {"main": feed_of(config, sets, config.augmentation, order=order)}, optimizers, config.fit,
        evaluate=validate if watched else None, resume=resume, progress=progress, workers=config.workers,
    )  # fmt: skip
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    if order:
        model.curriculum = None
    if chosen := held_out(config, data, "val", config.choose_on):
        choose(model, chosen)
    tested = held_out(config, data, "test", config.test)
    scores = lesion_table(find(model, tested), rounds=config.rounds) if tested else []
    text = card(config, system, sets, scores)
    checkpoint.save(out, system=system.name, config=config.model, state=model.state_dict(), card=text)
    write_whole(out.parent / "scores.json", json.dumps([score.as_dict() for score in scores], indent=1).encode())
    return out


def held_out(config: LesionTraining, data: Sequence[DeepLesion], split: Split, limit: int | None) -> SliceFeed | None:
    """A split as it is tested; None where the data have none."""
    sets = thinned(with_split(data, split), limit)
    return feed_of(config, sets, STILL, cached=False) if sets else None


def choose(model: LesionTask, feed: SliceFeed) -> None:
    """Keep with the model the scores that leave so many false detections a slice; the split must not be reported."""
    table = find(model, feed).table
    scores = [froc.threshold(table, rate) for rate in froc.RATES]
    model.score_at.copy_(torch.tensor([max(score, 0.0) for score in scores]))


def evaluate(
    weights: str | Path,
    data: LesionData,
    system: System,
    *,
    split: Split = "test",
    limit: int | None = None,
    rounds: int = 1000,
) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    model, _ = checkpoint.load(weights, system=system.name, kind=system.kind, build=system.build)
    sets = thinned(split_of(open_lesions(data), split), limit)
    return lesion_table(find(model, feed_of(LesionTraining(model=model.config), sets, STILL)), rounds=rounds)


def card(config: LesionTraining, system: System, sets: Sequence[DeepLesion], scores: Sequence[Score]) -> str:
    """The model card."""
    folders = " ".join(f"worlds/{each.folder.name}" for each in sets)
    model = config.model
    return CARD.format(
        title=system.title, words=system.words,
        slices=model.slices, size=model.image_size, spacing=model.spacing or "the scan's own", interval=model.interval,
        window=" and ".join(f"{low:.0f} to {high:.0f}" for low, high in model.views or (model.window,)),
        sizes=" and ".join(f"{len(each):,} key slices of {each.folder.name}" for each in sets),
        steps=f"{config.fit.steps:,}", batch=config.batch_size, seed=config.fit.seed,
        command=trained_by(config, system=system.name, small=system.small(), data=f"--data {folders}"),
        table=score_table(scores) if scores else "Nothing: the data have no test split.",
    )  # fmt: skip


CARD = """# {title}
{words}

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
