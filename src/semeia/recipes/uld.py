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

from dataclasses import dataclass, field, replace
from pathlib import Path

from semeia.data.slice_feeds import SliceAugmentation
from semeia.evaluate import Score
from semeia.lesion_sets import LesionData, Split
from semeia.recipes import _lesion_training as training
from semeia.recipes._lesion_training import LesionTraining
from semeia.systems import uld
from semeia.train.loop import Fit


@dataclass(frozen=True)
class Config(LesionTraining):
    """Model, data and optimiser of one training."""

    model: uld.Config = field(default_factory=lambda: uld.SMALL)
    """The detector, and how slices are given to it."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    how = Fit(steps=6, warmup=2, log_every=2, eval_every=6, save_every=3)
    return Config(model=uld.TINY, batch_size=2, workers=0, validate=4, choose_on=4, test=8, fit=how)


def small() -> Config:
    """Two cores: squares cut out of slices of the CT world, whose boxes are padded by 5 pixels of about 1.4 mm."""
    how = Fit(steps=16_000, warmup=500, log_every=50, eval_every=4_000, save_every=500, ema=0.999)
    views = ((-1024.0, 150.0), (-160.0, 240.0), (-200.0, 1400.0))  # lung, soft tissue, bone
    model = replace(
        uld.SMALL, spacing=1.4, padding=5.0, window=(-1024.0, 1400.0), views=views, trunk_blocks=(1, 2, 2),
        trunk_narrow_norm="batch", anchor_count=128, region_count=16, proposals_before=(200, 600),
        proposals_after=(60, 100),
    )  # fmt: skip
    augmentation = SliceAugmentation(scale=0.3, p_z_flip=0.5, bone=(0.8, 2.5), crop=128)
    return Config(model=model, augmentation=augmentation, batch_size=16, fit=how)


def paper() -> Config:
    """The authors' code: DenseNet-121, 512 pixels, 7 slices, 2 images a process; 20 epochs on one process here."""
    how = Fit(steps=225_000, warmup=500, clip=35.0, log_every=50, eval_every=11_250, save_every=2_500)
    return Config(
        model=uld.Config(), batch_size=2, optimizer="sgd", learning_rate=0.02, weight_decay=1e-4, workers=8, fit=how
    )


SCALES = {"smoke": smoke, "small": small, "paper": paper}


SYSTEM = training.System(
    name="uld",
    kind=uld.Config,
    build=uld.build,
    small=small,
    title="Universal lesion detection",
    words="Boxes around candidate lesions of any kind in CT, slice by slice; `semeia lesions` joins them to lesions.",
)


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, choose scores, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, or data without a train split.
    """
    return training.train(config, SYSTEM, resume=resume, progress=progress)


def evaluate(
    weights: str | Path, data: LesionData, *, split: Split = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    return training.evaluate(weights, data, SYSTEM, split=split, limit=limit, rounds=rounds)
