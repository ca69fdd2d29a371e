"""ALGRNet: from labelled faces to action units of each side.

    semeia train algrnet --data worlds/faces --out runs/algrnet
    semeia evaluate algrnet --data worlds/faces --weights runs/algrnet/checkpoint

By the protocol of three folds, DISFA's model starting from BP4D's:

    semeia train algrnet --scale paper --data.bp4d BP4D --data.fold 1 --out runs/bp4d1
    semeia train algrnet --scale paper --data.disfa DISFA --data.fold 1 --init runs/bp4d1/checkpoint --out runs/disfa1 \
        --model.action_units '["AU01", "AU02", "AU04", "AU06", "AU09", "AU12", "AU25", "AU26"]'

``smoke`` runs in under a minute on anything, ``small`` is for two cores, ``paper`` has the sizes, the
batch and about the length of JAA-Net's code, which the paper is believed to follow (its own values could not be read).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from semeia.evaluate import BP4D, Score
from semeia.face_sets import FaceData
from semeia.recipes import _unit_networks as unit_networks
from semeia.recipes._face_training import mild
from semeia.recipes._unit_networks import Training
from semeia.systems import algrnet
from semeia.train.loop import Fit


@dataclass(frozen=True)
class Config(Training):
    """Model, data and optimiser of one training."""

    model: algrnet.Config = field(default_factory=algrnet.Config)
    """The network."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    model = algrnet.Config(
        image_size=64, stem=(4, 8), face=(8, 8), hidden=16, branches=(8, 8), width=12, relation_width=6
    )
    how = Fit(steps=6, warmup=2, log_every=2, eval_every=6, save_every=3)
    return Config(model=model, batch_size=8, workers=0, validate=8, test=8, fit=how)


def small() -> Config:
    """Two cores."""
    how = Fit(steps=4_000, warmup=200, log_every=50, eval_every=1_000, save_every=250, ema=0.999)
    return Config(augmentation=mild(), fit=how)


def paper() -> Config:
    """Sizes of JAA-Net's code at 176 pixels, masked maps, BP4D's units; AdamW in place of SGD."""
    model = algrnet.Config(
        image_size=176, action_units=BP4D, stem=(32, 64), face=(96, 128, 160), hidden=512, branches=(96, 128, 160),
        regions="map", width=128, relation_width=64,
    )  # fmt: skip
    how = Fit(steps=75_000, warmup=1_000, log_every=50, eval_every=6_000, save_every=1_000)
    return Config(model=model, batch_size=16, learning_rate=3e-4, workers=8, fit=how)


SCALES = {"smoke": smoke, "small": small, "paper": paper}


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, fit thresholds, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, data without a train split, or a checkpoint to start from that does not fit.
    """
    return unit_networks.learn(
        config, small=small(), system="algrnet", kind=algrnet.Config, build=algrnet.build, title="ALGRNet",
        resume=resume, progress=progress,
    )  # fmt: skip


def evaluate(
    weights: str | Path, data: FaceData, *, split: str = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    return unit_networks.score(
        weights, data, system="algrnet", kind=algrnet.Config, build=algrnet.build, split=split, limit=limit,
        rounds=rounds,
    )  # fmt: skip
