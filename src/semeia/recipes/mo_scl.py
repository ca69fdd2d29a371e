"""Mo-SCL: the plain detector of lesions, learned from batches of hard and easy slices together.

    semeia make slabs worlds/slabs --count 4000 --seed 1
    semeia train mo_scl --data worlds/slabs --out runs/mo_scl
    semeia evaluate mo_scl --data worlds/slabs --weights runs/mo_scl/checkpoint

On DeepLesion itself: ``semeia train mo_scl --scale paper --data DEEPLESION --out runs/mo_scl``. The rivals are fields:
``--model.arrangement random`` or ``same``, ``--model.criterion loss``, ``--model.weighting self-paced`` or ``hard``.

What was measured of each slice is in the saved states, so that a training that was stopped goes on within its epoch;
the checkpoint holds the detector alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from semeia.evaluate import Score
from semeia.lesion_sets import LesionData, Split
from semeia.recipes import _lesion_training as training
from semeia.recipes import uld
from semeia.recipes._lesion_training import LesionTraining
from semeia.systems import mo_scl


@dataclass(frozen=True)
class Config(LesionTraining):
    """Model, data and optimiser of one training."""

    model: mo_scl.Config = field(default_factory=lambda: mo_scl.SMALL)
    """The detector, and how its batches are put together."""
    share: float = 1.0
    """Part of the training patients of ``data`` that is learned from; a smaller part lies in every larger one. Beside
    ``data.share``, which claims hold equal for all arms, this is the arm's own."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    return training.as_plain(uld.smoke(), Config, mo_scl.TINY)


def small() -> Config:
    """Two cores: the plain detector's numbers."""
    return training.as_plain(uld.small(), Config, mo_scl.SMALL)


def paper() -> Config:
    """As the plain detector's, 2 of about 20 epochs in random order; the paper's own numbers are not known."""
    return training.as_plain(uld.paper(), Config, mo_scl.Config())


SCALES = {"smoke": smoke, "small": small, "paper": paper}

SYSTEM = training.System(
    name="mo_scl",
    kind=mo_scl.Config,
    build=mo_scl.build,
    small=small,
    learning=lambda config, order: mo_scl.build(config, order=order),
    title="Universal lesion detection, learned in mixed order (Mo-SCL)",
    words="""Boxes around candidate lesions of any kind in CT, slice by slice. It is the plain detector, which learned
from batches of hard and easy slices together.""",
)


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, choose scores, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, or data without a train split, or too few key slices for a step.
    """
    data = replace(config.data, share=config.data.share * config.share)
    return training.train(replace(config, data=data), SYSTEM, resume=resume, progress=progress)


def evaluate(
    weights: str | Path, data: LesionData, *, split: Split = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    return training.evaluate(weights, data, SYSTEM, split=split, limit=limit, rounds=rounds)
