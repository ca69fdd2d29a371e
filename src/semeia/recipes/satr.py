"""SATr: the detector of lesions with slice attention, from measured CT slices to boxes on others.

    semeia make slabs worlds/slabs --count 4000 --seed 1
    semeia train satr --data worlds/slabs --out runs/satr
    semeia evaluate satr --data worlds/slabs --weights runs/satr/checkpoint

On DeepLesion itself: ``semeia train satr --scale paper --data DEEPLESION --out runs/satr``. Arms are fields, such as
``--model.attend all``, ``--model.hybrid false`` or ``--model.block convolution``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from semeia.evaluate import Score
from semeia.lesion_sets import LesionData, Split
from semeia.recipes import _lesion_training as training
from semeia.recipes import uld
from semeia.recipes._lesion_training import LesionTraining
from semeia.systems import satr


@dataclass(frozen=True)
class Config(LesionTraining):
    """Model, data and optimiser of one training."""

    model: satr.Config = field(default_factory=lambda: satr.SMALL)
    """The detector, its slice attention, and how slices are given to it."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    return training.as_plain(uld.smoke(), Config, satr.TINY)


def small() -> Config:
    """Two cores: the plain detector's numbers."""
    return training.as_plain(uld.small(), Config, satr.SMALL)


def paper() -> Config:
    """As the plain detector's, with the published block: embedding of patches by a Conv3d."""
    return training.as_plain(uld.paper(), Config, satr.Config(embedding="published"))


SCALES = {"smoke": smoke, "small": small, "paper": paper}

SYSTEM = training.System(
    name="satr",
    kind=satr.Config,
    build=satr.build,
    small=small,
    title="Universal lesion detection with slice attention (SATr)",
    words="""Boxes around candidate lesions of any kind in CT, slice by slice. A transformer layer at three strides
looks at the whole key slice, and where it looks follows from the neighbouring slices.""",
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
