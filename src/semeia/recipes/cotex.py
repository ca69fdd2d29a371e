"""Masked CoTEX: from faces with expressions to two networks that learned them together.

    semeia train face_mae --data worlds/faces --out runs/face_mae
    semeia train cotex --data worlds/faces --prior runs/face_mae/checkpoint --out runs/cotex
    semeia evaluate cotex --data worlds/faces --weights runs/cotex/checkpoint

    train split -> batches -> fit (a prior starts every network) -> test split, with all networks and with the first
    alone -> card and checkpoint

``smoke`` runs in under a minute on anything, ``small`` is for two cores, ``paper`` has the values of the authors' code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from accelerate import PartialState

from semeia import checkpoint
from semeia.affect_scores import affect_table, evaluate_affect, read_affect, vocabulary
from semeia.data.feeds import FaceFeed, FaceSet, mixture
from semeia.data.formats.face_files import Faces
from semeia.evaluate import MEAN, Score, score_table
from semeia.face_sets import FaceData, open_faces, open_split, with_split
from semeia.files import write_whole
from semeia.recipes._cards import trained_by
from semeia.recipes._face_training import FaceTraining, mild
from semeia.recipes.face_mae import load_prior
from semeia.systems import cotex
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

ALONE = "expression of the first network alone"
"""Task of the second table."""


@dataclass(frozen=True)
class Config(FaceTraining):
    """Model, data and optimiser of one training. The code enlarges batches of 64 by 1 / (1 - mask ratio)."""

    model: cotex.Config = field(default_factory=cotex.Config)
    """The networks."""
    test_data: FaceData = field(default_factory=FaceData)
    """Faces whose test split makes the table, such as real ones where rendered ones train; by default ``data``."""
    prior: str | None = None
    """Checkpoint of ``face_mae``, by name or folder, that every network starts from; none: random weights."""
    layer_decay: float | None = None
    """Rate of a block relative to the next deeper one; for deep pre-trained ViTs. [code: 0.65]"""


def smoke() -> Config:
    """Tiny networks for a few steps: everything runs, nothing is learned."""
    model = cotex.Config(image_size=64, backbone_width=48)
    how = Fit(steps=6, warmup=2, log_every=2, eval_every=6, save_every=3)
    return Config(model=model, batch_size=8, workers=0, validate=8, test=8, fit=how)


def small() -> Config:
    """Two cores."""
    how = Fit(steps=3_000, warmup=150, log_every=50, eval_every=1_000, save_every=500, ema=0.999)
    return Config(augmentation=mild(), fit=how)


def paper() -> Config:
    """The authors' code: ViT-B/16 at 224 pixels, six epochs of which five warm up.

    The size of their set is not known: 1,650 steps are ours.
    """
    model = cotex.Config(
        backbone="vit_base_patch16_224", image_size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
        drop_path=0.1, pooling="class",
    )  # fmt: skip
    how = Fit(steps=1_650, warmup=1_375, accumulate=4, clip=0.05, log_every=50, eval_every=275, save_every=275)
    return Config(model=model, batch_size=256, learning_rate=5e-4, layer_decay=0.65, balance="none", workers=8, fit=how)


SCALES = {"smoke": smoke, "small": small, "paper": paper}


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, evaluate on the test split, and save ``config.fit.out / "checkpoint"`` with its card.

    Raises:
        SemeiaError: No data, data without a train split, or a prior that does not fit.
    """
    data = open_faces(config.data, progress=progress)
    tested = open_faces(config.test_data, progress=progress) or data
    sets = mixture("cotex", data, config.shares, balance=config.balance)
    torch.manual_seed(config.fit.seed)
    model = cotex.build(config.model)
    if config.prior is not None:
        for backbone in model.backbones:
            load_prior(backbone, config.prior, mean=config.model.mean, std=config.model.std)
    feed = FaceFeed(
        sets, batch_size=config.batch_size, image_size=config.model.image_size, vocabulary=vocabulary(config.model),
        augmentation=config.augmentation, aligned=1.0, margins=(config.model.margin, config.model.margin),
        seed=config.fit.seed,
    )  # fmt: skip
    optimizers = adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay, layer_decay=config.layer_decay)
    watched = with_split(data, "val")

    def validate(task: cotex.CoTEX) -> dict[str, float]:
        scores = evaluate_affect(task, watched, split="val", limit=config.validate, rounds=0)
        return {f"{s.task}/{s.metric}, {s.label}": s.value for s in scores if s.label == MEAN}

    fit(
        model, {"main": feed}, optimizers, config.fit, evaluate=validate if watched else None, resume=resume,
        progress=progress, workers=config.workers,
    )  # fmt: skip
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    scores = measure(model, with_split(tested, "test"), split="test", limit=config.test, rounds=config.rounds)
    text = card(config, sets, scores)
    checkpoint.save(out, system="cotex", config=config.model, state=model.state_dict(), card=text)
    write_whole(out.parent / "scores.json", json.dumps([score.as_dict() for score in scores], indent=1).encode())
    return out


def measure(model: cotex.CoTEX, folders: Sequence[Faces], *, split: str, limit: int | None, rounds: int) -> list[Score]:
    """Scores of all networks together, and of the first alone."""
    if not folders:
        return []
    truth, answer, people = read_affect(model, folders, split=split, limit=limit)
    together = affect_table(model, truth, answer, people, rounds=rounds)
    if len(model.networks) == 1:
        return together
    alone = affect_table(model, truth, {"expression": answer["each"][:, 0]}, people, rounds=rounds)
    return [*together, *(replace(score, task=ALONE) for score in alone)]


def evaluate(
    weights: str | Path, data: FaceData, *, split: str = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    model, _ = checkpoint.load(weights, system="cotex", kind=cotex.Config, build=cotex.build)
    return measure(model, open_split(data, split), split=split, limit=limit, rounds=rounds)


def card(config: Config, sets: Sequence[FaceSet], scores: Sequence[Score]) -> str:
    """The model card."""
    prior = None if config.prior is None else "/".join(Path(config.prior).parts[-2:])
    return CARD.format(
        expressions=", ".join(config.model.expressions), networks=config.model.networks,
        hidden=f"{config.model.mask_ratio:.0%}",
        sizes=" and ".join(f"{len(s.folder.select(s.split)):,} images of {s.folder.folder.name}" for s in sets),
        steps=f"{config.fit.steps:,}", batch=config.batch_size, seed=config.fit.seed,
        prior="random weights" if prior is None else f"the face MAE `{prior}`",
        command=trained_by(config, system="cotex", small=small()), table=score_table(scores),
    )  # fmt: skip


CARD = """# Masked CoTEX
Expression of a face, by {networks} networks that learned together; in training {hidden} of the patches were hidden from
each.

- Expressions: {expressions}

## What it learned from
{sizes}. {steps} steps of {batch} images, seed {seed}, from {prior}.

```
{command}
```

## What was measured
The split `test`, other persons than those of the training; intervals are 95 % over persons. Numbers on rendered faces
say how well the mechanism was learned: **they are not accuracy on people**.

{table}

## What it cannot tell
- An expression is not an emotion.
- It does not identify persons and must not be used to decide about them. Not a medical device.

Licence: Apache-2.0.
"""
