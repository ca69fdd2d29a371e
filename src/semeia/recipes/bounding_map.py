"""Bounding maps: the detector of lesions that learns from boxes as pictures.

    semeia make slabs worlds/slabs --count 4000 --seed 1
    semeia train bounding_map --data worlds/slabs --out runs/bounding_map
    semeia evaluate bounding_map --data worlds/slabs --weights runs/bounding_map/checkpoint

On DeepLesion itself: ``semeia train bounding_map --scale paper --data DEEPLESION --out runs/bounding_map``. The
default is the paper of 2021, BMC and ABM; ``--model.labels bm --model.branch bm`` is that of 2020, ``iou`` and ``none``
the plain detector. The log has ``positives``, anchors of an image that are told of a lesion, and
``objectness_above_floor``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from semeia.evaluate import Score
from semeia.lesion_sets import LesionData, Split
from semeia.recipes import _lesion_training as training
from semeia.recipes import uld
from semeia.recipes._lesion_training import LesionTraining
from semeia.systems import bounding_map


@dataclass(frozen=True)
class Config(LesionTraining):
    """Model, data and optimiser of one training."""

    model: bounding_map.Config = field(default_factory=lambda: bounding_map.SMALL)
    """The detector, what its anchors are told and what its regions draw."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    return training.as_plain(uld.smoke(), Config, bounding_map.TINY)


def small() -> Config:
    """Two cores: the plain detector's numbers, and areas for the CT world.

    Its boxes are padded by as many pixels as DeepLesion's, on slices of half the side: counted by halves (the default)
    no box would be small, and most would be large.
    """
    return training.as_plain(uld.small(), Config, replace(bounding_map.SMALL, scale=1.0))


def paper() -> Config:
    """As the plain detector's; how long the runs of 2021 were is not known."""
    return training.as_plain(uld.paper(), Config, bounding_map.Config())


SCALES = {"smoke": smoke, "small": small, "paper": paper}

SYSTEM = training.System(
    name="bounding_map",
    kind=bounding_map.Config,
    build=bounding_map.build,
    small=small,
    title="Universal lesion detection with bounding maps",
    words="""Boxes around candidate lesions of any kind in CT, slice by slice. In training bounding maps told anchors of
lesions, and a branch of the second stage drew them; in use neither is asked and the detector is the plain one.""",
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
