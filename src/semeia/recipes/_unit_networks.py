"""What the recipes of networks for action units have in common: training, thresholds, evaluation, card."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from semeia import checkpoint
from semeia.data.feeds import (
    FaceFeed,
    FaceSet,
    crop_matrix,
    landmarks_of,
    mixture,
    positive_rates,
)
from semeia.evaluate import SUMMARIES, Score, score_table
from semeia.face_sets import FaceData, open_faces, open_split, with_split
from semeia.files import write_whole
from semeia.nn.unit_losses import unit_weights
from semeia.nn.unit_network import adopt_units, usual_points
from semeia.ops.faces import transform_points
from semeia.recipes._cards import trained_by
from semeia.recipes._face_training import FaceTraining
from semeia.task import Task
from semeia.train.loop import fit
from semeia.train.optimisers import adamw
from semeia.unit_scores import evaluate_units, fit_thresholds, vocabulary

PLACED = 2000
"""Training faces whose landmarks tell where points usually are."""


@dataclass(frozen=True)
class Training(FaceTraining):
    """Data and optimiser of one training; the recipes add their model."""

    init: str | None = None
    """Checkpoint of the same system to start from, which may have other units: as DISFA's models start from BP4D's."""
    batch_size: int = 32
    """Images a step and process."""
    weight_decay: float = 5e-4
    """AdamW's. [ME-GraphAU, JAA-Net]"""
    choose_on: int | None = None
    """Images of each folder's split ``val`` on which thresholds are chosen; all by default."""


def learn(
    config: Any, *, small: Any, system: str, kind: type, build: Callable[[Any], Task], title: str, resume: bool,
    progress: bool,
) -> Path:  # fmt: skip
    """Train, fit thresholds on the val split, evaluate on the test split, and save a checkpoint with its card.

    Args:
        config: A ``Training`` with ``model``.
        small: The recipe's scale ``small``, from which the card tells the command.
        system: Short name.
        kind: Class of its model's configuration.
        build: Makes the model.
        title: First line of the card.
        resume: Go on from the newest state.
        progress: Show progress.

    Raises:
        SemeiaError: No data, data without a train split, or a checkpoint that does not fit.
    """
    data = open_faces(config.data, progress=progress)
    sets = mixture(system, data, config.shares, balance=config.balance)
    torch.manual_seed(config.fit.seed)
    model: Any = build(config.model)
    if config.init is not None:
        other: Any = checkpoint.load(config.init, system=system, kind=kind, build=build)[0]
        adopt_units(model, other, units=model.config.action_units, others=other.config.action_units)
    else:
        model.trunk.landmarks.usual.copy_(usual_points(_placed(sets, config.model)))
    model.unit_weight.copy_(torch.from_numpy(unit_weights(positive_rates(sets, vocabulary(config.model)))))
    feed = FaceFeed(
        sets, batch_size=config.batch_size, image_size=config.model.image_size, vocabulary=vocabulary(config.model),
        augmentation=config.augmentation, aligned=1.0, margins=(config.model.margin, config.model.margin),
        seed=config.fit.seed,
    )  # fmt: skip
    optimizers = adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay)
    watched = with_split(data, "val")

    def validate(task: Any) -> dict[str, float]:
        scores = evaluate_units(task, watched, split="val", limit=config.validate, rounds=0)
        return {f"{s.task}/{s.metric}, {s.label}": s.value for s in scores if s.label in SUMMARIES}

    fit(
        model, {"main": feed}, optimizers, config.fit, evaluate=validate if watched else None, resume=resume,
        progress=progress, workers=config.workers,
    )  # fmt: skip
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    if watched:
        fit_thresholds(model, watched, limit=config.choose_on)
    scores = evaluate_units(model, with_split(data, "test"), split="test", limit=config.test, rounds=config.rounds)
    command = trained_by(config, system=system, small=small)
    text = card(config, sets, scores, title=title, command=command, chosen=bool(watched))
    checkpoint.save(out, system=system, config=config.model, state=model.state_dict(), card=text)
    write_whole(out.parent / "scores.json", json.dumps([score.as_dict() for score in scores], indent=1).encode())
    return out


def score(
    weights: str | Path, data: FaceData, *, system: str, kind: type, build: Callable[[Any], Task], split: str,
    limit: int | None, rounds: int,
) -> list[Score]:  # fmt: skip
    """Score bundled weights or a checkpoint folder on a split of data sets; sets without that split are left out.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    model: Any = checkpoint.load(weights, system=system, kind=kind, build=build)[0]
    return evaluate_units(model, open_split(data, split), split=split, limit=limit, rounds=rounds)


def _placed(sets: Sequence[FaceSet], model: Any) -> np.ndarray:
    """(n, 68, 2) landmarks of training faces as parts of the crop, NaN where unknown."""
    placed = [np.full((68, 2), np.nan)]
    for s in sets:
        rows = s.folder.select(s.split)
        for row in rows[:: max(1, len(rows) // PLACED)]:
            landmarks = landmarks_of(s.folder, row)
            if landmarks is not None:
                size = model.image_size
                matrix = crop_matrix(landmarks, np.empty(0), view="aligned", size=size, margin=model.margin)
                placed.append(transform_points(matrix, landmarks) / size)
    return np.stack(placed)


def card(
    config: Any, sets: Sequence[FaceSet], scores: Sequence[Score], *, title: str, command: str, chosen: bool
) -> str:
    """The model card: what the weights learned from, what they were measured on, what they cannot tell.

    Args:
        config: Of the training.
        sets: What trained.
        scores: Of the test.
        title: First line.
        command: That trains these weights.
        chosen: Whether thresholds were chosen on ``val``.
    """
    return CARD.format(
        title=title,
        units=", ".join(config.model.action_units),
        sizes=" and ".join(f"{len(s.folder.select(s.split)):,} images of {s.folder.folder.name}" for s in sets),
        steps=f"{config.fit.steps:,}",
        batch=config.batch_size,
        seed=config.fit.seed,
        start="" if config.init is None else " It started from another checkpoint of the same system.",
        command=command,
        thresholds="Thresholds were chosen on the split `val` by F1." if chosen else "Thresholds were not chosen.",
        table=score_table(scores),
    )


CARD = """# {title}
Action units of a face with FACS intensity 0-5, of the whole face and of each of its sides.

- Action units: {units}
- Sides are the subject's own.

## What it learned from
{sizes}. {steps} steps of {batch} images, seed {seed}.{start}

```
{command}
```

## What was measured
The split `test`, other persons than those of the training above; intervals are 95 % over persons. Crops are cut by the
labelled landmarks; in use the face finder places them. {thresholds} Numbers on rendered faces say how well the
mechanism was learned: **they are not accuracy on people**.

{table}

## What it cannot tell
- An action unit is what muscles show, not what a person feels. A difference between the sides is no diagnosis.
- It does not identify persons and must not be used to decide about them. Not a medical device.

Licence: Apache-2.0.
"""
