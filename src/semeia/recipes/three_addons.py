"""Three add-ons to one detector of lesions: bounding maps, slice attention and mixed order, in any combination.

    semeia make slabs worlds/slabs --count 4000 --seed 1
    semeia train three_addons --data worlds/slabs --out runs/three_addons
    semeia train three_addons --data worlds/slabs --out runs/two --model.mixed_order false
    semeia evaluate three_addons --data worlds/slabs --weights runs/three_addons/checkpoint

    slices -> trunk -> collector (slice attention) -> pyramid -> first stage (labeller: BMC) -> second (branch: ABM)
    batches in an order that follows from what was measured (mixed order)

Each fills a slot of its own and none knows another: what is switched off is not built. All the fields of all three are
fields of the model: ``--model.labels bm``, ``--model.embedding published``, ``--model.criterion loss``.

On DeepLesion itself: ``semeia train three_addons --scale paper --data DEEPLESION --out runs/three_addons``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from semeia.data.orders import Curriculum, LearnedOrder, Plan
from semeia.detection.anchors import AnchorLabeller
from semeia.detection.design import build_detector
from semeia.evaluate import Score
from semeia.lesion_sets import LesionData, Split
from semeia.recipes import _lesion_training as training
from semeia.recipes import bounding_map as maps
from semeia.recipes import uld
from semeia.recipes._lesion_training import LesionTraining
from semeia.systems import bounding_map, mo_scl, satr


@dataclass(frozen=True)
class Model(bounding_map.Config, satr.Config, mo_scl.Config):
    """The detector, the numbers of all three add-ons, and which of them there are."""

    bounding_maps: bool = True
    """BMC and ABM, or what ``labels`` and ``branch`` say; otherwise overlap tells anchors and nothing is drawn."""
    slice_attention: bool = True
    """SATr between trunk and pyramid; otherwise ``collector`` alone."""
    mixed_order: bool = True
    """Batches as ``arrangement``, ``criterion`` and ``weighting`` say; otherwise in random order, without weights."""


def stacked(*systems: Any) -> Model:
    """The model of configurations of the three; fields of the detector are those of the last."""
    return Model(**{each.name: getattr(config, each.name) for config in systems for each in fields(config)})


@dataclass(frozen=True)
class Config(LesionTraining):
    """Model, data and optimiser of one training."""

    model: Model = field(
        default_factory=lambda: stacked(bounding_map.SMALL, satr.SMALL, mo_scl.SMALL),
    )
    """The detector and its add-ons, and how slices are given to it."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    return training.as_plain(uld.smoke(), Config, stacked(bounding_map.TINY, satr.TINY, mo_scl.TINY))


def small() -> Config:
    """Two cores: the plain detector's numbers, and areas for the CT world as ``bounding_map.small`` has them."""
    return training.as_plain(uld.small(), Config, stacked(maps.small().model, satr.SMALL, mo_scl.SMALL))


def paper() -> Config:
    """As the plain detector's, with the published block; no paper has all three."""
    model = stacked(bounding_map.Config(), satr.Config(embedding="published"), mo_scl.Config())
    return training.as_plain(uld.paper(), Config, model)


SCALES = {"smoke": smoke, "small": small, "paper": paper}


def build(config: Model, *, order: LearnedOrder | None = None) -> mo_scl.MoSCL:
    """Build the detector with random weights.

    Args:
        config: The numbers.
        order: For training: the order that its feed takes too; ``model.curriculum = None`` lets go of it.

    Raises:
        SemeiaError: A value that will not do, of add-ons that are switched off too.
    """
    for system in (bounding_map, satr, mo_scl):
        system.check(config)
    collector: Callable[[Sequence[int], int], nn.Module] | None = None
    labeller: AnchorLabeller | None = None
    branches: dict[str, Callable[[int, int], nn.Module]] = {}
    weights: dict[str, float] = {}
    if config.slice_attention and config.block != "none":
        collector = partial(satr.SliceAttentionCollector, config)
    if config.bounding_maps:
        labeller = bounding_map.labeller_of(config)
        branches, weights = bounding_map.branches_of(config), bounding_map.weights_of(config)
    detector = build_detector(config, collector=collector, labeller=labeller, branches=branches, weights=weights)
    curriculum = None if order is None else Curriculum(order, plan_of(config))
    return mo_scl.MoSCL(config, detector=detector, curriculum=curriculum)


def plan_of(config: Model) -> Plan:
    """How batches follow from what was measured. Without mixed order the first epochs are the same, batch by batch."""
    if not config.mixed_order:
        return Plan(arrangement="random", weighting="none", warmup=config.warmup_epochs, pacing=config.pacing_epochs)
    return Plan(
        arrangement=config.arrangement, criterion=config.criterion, weighting=config.weighting,
        warmup=config.warmup_epochs, pacing=config.pacing_epochs,
    )  # fmt: skip


SYSTEM = training.System(
    name="three_addons",
    kind=Model,
    build=build,
    small=small,
    learning=lambda config, order: build(config, order=order),
    title="Universal lesion detection with three add-ons",
    words="""Boxes around candidate lesions of any kind in CT, slice by slice. `config.json` says what was added to the
plain detector: bounding maps (`bounding_maps`), slice attention (`slice_attention`), batches in mixed order
(`mixed_order`).""",
)


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train, choose scores, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, data without a train split, or too few key slices for a step.
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
