"""Q-Face: from folders of labelled faces to a checkpoint with its card.

    semeia make faces worlds/faces --count 26600 --seed 1
    semeia train face_mae --data worlds/faces --out runs/face_mae
    semeia train qface --data worlds/faces --prior runs/face_mae/checkpoint --out runs/qface
    semeia evaluate qface --data worlds/faces --weights runs/qface/checkpoint

    train split -> batches -> fit (a prior may start the backbone) -> val split -> calibration, thresholds
    -> test splits -> card and checkpoint

``smoke`` runs in under a minute on anything, ``small`` makes the bundled weights on two cores (their card prints the
commands), ``paper`` holds the values of published siblings for who has the real data sets (the paper's own could not be
read).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from semeia import checkpoint
from semeia.data.augment import Augmentation
from semeia.data.feeds import Balance, FaceFeed, FaceSet, mixture, positive_rates
from semeia.data.formats.face_files import Faces
from semeia.data.formats.faces import FaceFolder, read_manifest
from semeia.evaluate import ERROR, MEAN_BP4D, SUMMARIES, Score, calibrate, evaluate_faces, score_table, vocabulary
from semeia.face_sets import FaceData, data_flags, open_faces, open_split, with_split
from semeia.files import write_whole
from semeia.recipes.face_mae import load_prior
from semeia.records import SemeiaError
from semeia.systems import qface
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw


@dataclass(frozen=True)
class Config:
    """Model, data and optimiser of one training."""

    model: qface.Config = field(default_factory=qface.Config)
    """The network."""
    data: FaceData = field(default_factory=FaceData)
    """Labelled faces; several sets are mixed within every batch."""
    test_data: FaceData = field(default_factory=FaceData)
    """Faces whose test split makes the card's first table; by default that of ``data``."""
    other_data: tuple[str, ...] = ()
    """Folders of an other-looking world, whose test split makes the card's second table. They never train anything."""
    prior: str | None = None
    """Checkpoint of ``face_mae``, by name or folder, whose encoder the backbone starts from; none: random weights."""
    shares: tuple[float, ...] | None = None
    """Part of each batch that each set fills, in the order of the fields of ``data``; equal parts by default."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """What is done to the pictures in training."""
    batch_size: int = 64
    """Images a step and process."""
    aligned: float = 0.6
    """Part of the samples that is served aligned; the rest is served unrotated."""
    rarity: float = 0.5
    """Power of negatives over positives by which a unit's positives weigh; 0 weighs all alike. Calibration takes the
    bias of probabilities away that this makes."""
    balance: Balance = "au"
    """``au`` draws faces with rare action units and expressions more often, ``none`` all alike."""
    learning_rate: float = 1e-3
    """Peak, reached after the warm-up; a cosine leads to zero."""
    weight_decay: float = 0.05
    """AdamW's."""
    layer_decay: float | None = None
    """Rate of a backbone block relative to the next deeper one; for pre-trained backbones."""
    workers: int = 1
    """Processes that prepare batches."""
    validate: int = 400
    """Held-out images that are read at each evaluation while training."""
    test: int | None = None
    """Held-out images of each folder in the final tables; all by default."""
    rounds: int = 1000
    """Of the bootstrap that gives the final tables their intervals; 0 gives none."""
    fit: Fit = field(default_factory=Fit)
    """Length, intervals, clipping, averaging of weights."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    model = qface.Config(
        image_size=32, taps=(0, 1, 2), backbone_width=48, backbone_depth=1, width=48, heads=4, hidden=64
    )
    how = Fit(steps=6, warmup=2, log_every=2, eval_every=6, save_every=3)
    return Config(model=model, batch_size=8, workers=0, validate=8, test=8, fit=how)


def small() -> Config:
    """The bundled weights: two cores, about an hour.

    Small and damaged pictures are milder than the defaults: below 40 pixels a face shows little of its action units,
    and their labels become noise. No dropout: no face is seen often enough to be learned by heart, and it takes a tenth
    of the time.
    """
    how = Fit(steps=10_000, warmup=300, log_every=50, eval_every=2500, save_every=500, ema=0.999)
    milder = Augmentation(
        p_occluder=0.2, p_resample=0.3, resample=(0.36, 1.0), blur=(0.3, 1.3), motion=(2.0, 5.0), noise=(1.0, 10.0)
    )
    model = qface.Config(dropout=0.0, weights=(1.5, 10.0, 8.0, 0.15, 0.4))
    return Config(model=model, fit=how, augmentation=milder)


def paper() -> Config:
    """FaRL-like ViT-B/16 at 224 pixels with the recommended values of docs/systems/qface.md's siblings."""
    model = qface.Config(
        backbone="vit_base_patch16_clip_224", pretrained=True, image_size=224, taps=(3, 5, 7, 11),
        mean=(0.4815, 0.4578, 0.4082), std=(0.2686, 0.2613, 0.2758), width=512, heads=8, hidden=2048,
    )  # fmt: skip
    how = Fit(steps=30_000, warmup=2_000, log_every=50, eval_every=2_000, save_every=1_000, ema=0.9998)
    return Config(model=model, batch_size=128, learning_rate=2e-4, layer_decay=0.75, workers=8, fit=how)


SCALES = {"smoke": smoke, "small": small, "paper": paper}


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, calibrate on the val split, evaluate on the test splits, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, data without a train or test split, or other-looking data that does not look so.
    """
    data = open_faces(config.data, progress=progress)
    sets = mixture("qface", data, config.shares, balance=config.balance)
    held_out: dict[str, list[Faces]] = {USUAL: open_faces(config.test_data, progress=progress) or data}
    if config.other_data:
        held_out[OTHER] = open_other(config.other_data)
    torch.manual_seed(config.fit.seed)
    model = qface.build(config.model)
    if config.prior is not None:
        load_prior(model.backbone, config.prior, mean=config.model.mean, std=config.model.std)
    model.au_rarity.copy_(torch.from_numpy(rarity(sets, config.model, power=config.rarity)))
    feed = FaceFeed(
        sets,
        batch_size=config.batch_size,
        image_size=config.model.image_size,
        vocabulary=vocabulary(config.model),
        augmentation=config.augmentation,
        aligned=config.aligned,
        margins=(config.model.margin_aligned, config.model.margin_upright),
        loose=config.model.loose,
        seed=config.fit.seed,
    )
    optimizers = adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay, layer_decay=config.layer_decay)
    watched = with_split(data, "val")

    def validate(task: qface.QFace) -> dict[str, float]:
        scores = evaluate_faces(task, watched, split="val", limit=config.validate, rounds=0)
        return {summary(s): s.value for s in scores if s.label in SUMMARIES}

    fit(
        model,
        {"main": feed},
        optimizers,
        config.fit,
        evaluate=validate if watched else None,
        resume=resume,
        progress=progress,
        workers=config.workers,
    )
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    if watched and config.model.calibrated:
        calibrate(model, watched)
    tables = {
        name: evaluate_faces(model, with_split(faces, "test"), split="test", limit=config.test, rounds=config.rounds)
        for name, faces in held_out.items()
    }
    used = [*data, *(faces for name in held_out for faces in held_out[name] if faces not in data)]
    text = card(config, sets, used, tables)
    checkpoint.save(out, system="qface", config=config.model, state=model.state_dict(), card=text)
    scores = {name: [score.as_dict() for score in table] for name, table in tables.items()}
    write_whole(out.parent / "scores.json", json.dumps(scores, indent=1).encode())
    return out


def summary(score: Score) -> str:
    """Name of a summary in the log: task and metric, and what it sums up where that is not all."""
    return f"{score.task}/{score.metric}" + (f", {score.label}" if score.label == MEAN_BP4D else "")


def evaluate(
    weights: str | Path,
    data: FaceData,
    *,
    split: str = "test",
    limit: int | None = None,
    rounds: int = 1000,
) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets; sets without that split are left out.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    model, _ = checkpoint.load(weights, system="qface", kind=qface.Config, build=qface.build, later=qface.ADDED)
    return evaluate_faces(model, open_split(data, split), split=split, limit=limit, rounds=rounds)


def open_other(folders: Sequence[str]) -> list[Faces]:
    """Folders of another look than the usual one.

    Raises:
        SemeiaError: A rendered world of the usual look: its numbers would pass for those of a change of look.
    """
    opened: list[Faces] = [FaceFolder(folder) for folder in folders]
    for folder in opened:
        look = world(folder).get("look", "usual")
        if world(folder) and look != "other":
            raise SemeiaError(f"{folder.folder}: expected a world made with --look other, found the look {look!r}; "
                              "name it in --test_data")  # fmt: skip
    return opened


def rarity(sets: Sequence[FaceSet], model: qface.Config, *, power: float = 0.5) -> np.ndarray:
    """(K,) power of negatives over positives of each action unit as it is drawn in training, kept within 0.5 and 4.

    Faces that are not labelled with a unit do not count for it; a unit that nobody labelled weighs 1.
    """
    share = np.nan_to_num(positive_rates(sets, vocabulary(model)), nan=0.5).clip(1e-3, 1)
    return (((1 - share) / share) ** power).clip(0.5, 4).astype(np.float32)


def card(config: Config, sets: Sequence[FaceSet], used: Sequence[Faces], tables: Mapping[str, Sequence[Score]]) -> str:
    """The model card: what the weights learned from, what they were measured on, what they cannot tell.

    Args:
        config: Of the training.
        sets: What trained.
        used: What trained, calibrated or was measured on.
        tables: Scores by the name of their table, ``USUAL`` and ``OTHER``.
    """
    sizes = " and ".join(f"{len(s.folder.select(s.split)):,} images of {s.folder.folder.name}" for s in sets)
    rendered = all(world(faces) for faces in used)
    return CARD.format(
        expressions=", ".join(config.model.expressions),
        units=", ".join(config.model.action_units),
        attributes=", ".join(config.model.attributes),
        origin="Rendered faces only, no photograph of a person" if rendered else "Labelled faces",
        sizes=sizes,
        steps=f"{config.fit.steps:,}",
        batch=config.batch_size,
        seed=config.fit.seed,
        commands="\n".join([*dict.fromkeys(map(made_by, used)), trained_by(config)]),
        meaning=RENDERED if rendered else "",
        limits=RENDERED_LIMITS if rendered else "",
        prior="" if config.prior is None else " The backbone started from a masked autoencoder (face_mae).",
        chances=CALIBRATED if config.model.calibrated and any(len(s.folder.select("val")) for s in sets) else "",
        tables="\n".join(map(_table, tables, tables.values())),
    )


def _table(name: str, scores: Sequence[Score]) -> str:
    """One table of the card under its heading, with the labels that are hardly read."""
    return TABLE.format(name=name, table=score_table(scores), weak=weakest(scores))


def world(faces: Faces) -> dict[str, Any]:
    """Settings of the rendered world that a folder is, or nothing where it is none."""
    try:
        manifest = read_manifest(faces.folder)
    except SemeiaError:
        return {}
    return manifest["settings"] if manifest.get("world") == "faces" else {}


def made_by(faces: Faces) -> str:
    """The command that makes a folder, as its manifest tells."""
    settings = world(faces)
    if not settings:
        return f"# {faces.folder.name} was given"
    named = ("count", "seed", "size", "shots", "look", "policy", "renderer", "samples", "split")
    flags = " ".join(f"--{flag} {settings[flag]}" for flag in named if settings.get(flag))
    variant = f", {settings['variant']}" if settings.get("variant") else ""
    return f"semeia make faces worlds/{faces.folder.name} {flags}    # world version {settings['version']}{variant}"


def trained_by(config: Config) -> str:
    """The commands that train these weights from the scale ``small``; of other changes, only the length is told."""
    data = data_flags(config.data)
    flags = f"{data} {data_flags(config.test_data, 'test_data')}".rstrip()
    if config.shares:
        flags += f" --shares '{json.dumps(config.shares)}'"
    if config.other_data:
        flags += f" --other_data '{json.dumps([f'worlds/{Path(folder).name}' for folder in config.other_data])}'"
    if config.prior is not None:
        flags += f" --prior {config.prior if config.prior == 'face_mae' else 'runs/face_mae/checkpoint'}"
    steps = "" if config.fit.steps == small().fit.steps else f" --fit.steps {config.fit.steps}"
    before = f"semeia train face_mae {data} --out runs/face_mae\n" if config.prior not in (None, "face_mae") else ""
    return f"{before}semeia train qface {flags} --out runs/qface{steps}"


def weakest(scores: Sequence[Score]) -> str:
    """The labels that these weights hardly read, in words."""
    limits = {("action unit present", "F1"): 0.5, ("attribute", "balanced accuracy"): 0.7, ("expression", "F1"): 0.5}
    weak = [
        f"{s.label} ({s.metric} {s.value:.2f})"
        for s in scores
        if s.label not in SUMMARIES and s.metric != ERROR and not s.value >= limits.get((s.task, s.metric), -np.inf)
    ]
    return ", ".join(weak) if weak else "none below the limits"


USUAL, OTHER = "Faces that look like those of training", "Faces that look otherwise"

CALIBRATED = """
Probabilities were calibrated on the split `val`, and there the probability was chosen from which on each action unit
counts as present (best F1) and each attribute (best balanced accuracy). Accuracy is decided at one half."""

TABLE = """### {name}
{table}

Hardly read (F1 below 0.5, balanced accuracy below 0.7): {weak}.
"""

RENDERED = """
They say how well the mechanism was learned. **They are not accuracy on people**, which was not measured."""

RENDERED_LIMITS = """
- Age, sex and skin of the rendered faces are sliders of a head model; the readings inherit its conventions.
- The rendered faces lack much of real life: most of the world's hair, hands, glasses, masks, make-up and light.
- Palsy in the rendered faces is set by hand; a difference between the sides is no diagnosis."""

CARD = """# Q-Face
One model that reads in a face: expression, action units with FACS intensity 0-5 and a reading for each side,
attributes, apparent age in years, and head pose in degrees.

- Expressions: {expressions}
- Action units: {units}
- Attributes: {attributes}

## What it learned from
{origin}: {sizes}. {steps} steps of {batch} images, seed {seed}.{prior}
The commands that make these weights:

```
{commands}
```

## What was measured
The split `test`, identities that training never saw; intervals are 95 % over identities. Crops
are cut by the labelled landmarks; in use the face finder places them.{chances}{meaning}

{tables}
## What it cannot tell
- An expression is what muscles show, not what a person feels.{limits}
- It does not identify persons and must not be used to decide about them. Not a medical device.

Licence: Apache-2.0.
"""
