"""Bounding maps: boxes as pictures, from which a detector of lesions learns more and more evenly.

    Paper   Li et al., MICCAI 2020, arXiv 2007.09383 (BM), and MICCAI 2021, arXiv 2103.12277 (BMC and ABM); the authors'
            code, MIRACLE-Center/BM_MVP and A3D_SATr
    Idea    Few anchors overlap a lesion enough to be told of it, next to none a very small or very large one, and a box
            says little of what lies inside it. A map that is 1 at the box's centre and falls to its border tells every
            place how near a lesion's centre is. It costs nothing in use: only what is learned changes.
    Flow    boxes -> BM_xy -> the first stage: a soft target for every anchor (2020),
                              or which anchors are drawn as lesions (2021: BMC, conditioned on the map)
            boxes -> maps in each region that is a lesion -> a branch of the second stage draws them (2020: BM_x and
                              BM_y; 2021: ABM_xy, whose border depends on the size), and is left out in use
    Known   The maps, the dense target, how anchors are drawn, the thresholds of ABM: from the authors' code. Neither
            paper's text could be read; losses of the branches and which ABM is printed are not known
            (docs/systems/bounding_map.md).

The maps are ``ops.bounding_maps``, the labellers ``detection.bounding_labels``, the branch ``detection.map_targets``.
``labeller_of`` and ``branches_of`` fill slots of any detector; they stack with any collector and any order of batches.

Shapes      B images   S slices   H, W image   M_i lesions of image i
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from semeia.detection.anchors import AnchorLabeller, OverlapLabeller
from semeia.detection.bounding_labels import (
    Above,
    ConditionedLabeller,
    MapLabeller,
    Nearest,
    Noted,
    SoftLabel,
    objectness_floor,
    positives,
)
from semeia.detection.design import TINIEST, TWO_CORES, Design, build_detector
from semeia.detection.detector import Detector
from semeia.detection.lesion_task import LesionTask
from semeia.detection.map_targets import MapBranch, MapLoss
from semeia.ops.bounding_maps import AREAS, MapName, Profile, Variant, profile
from semeia.records import SemeiaError

Labels = Literal["iou", "bm", "bmc", "bmc threshold"]
"""What tells anchors of lesions: overlap, or the map at every anchor, or a draw of the anchors nearest to the map's
peak, or of those where the map is high."""

Branch = Literal["none", "bm", "abm"]
"""Which maps regions draw besides: none, the map of 2020, the adaptive one."""


@dataclass(frozen=True)
class Config(Design):
    """What is added to ``detection.design.Design``. "code" is the authors' of one of the two papers."""

    labels: Labels = "bmc"
    """See ``Labels``. [2021: BMC; 2020: bm]"""
    labels_map: Variant = "bm"
    """The map of the labels. [code: the plain one]"""
    scale: float | None = None
    """Pixels of the input to one that ``areas`` count; None: ``image_size`` / 512. [default: areas are of 512]"""
    areas: tuple[float, float] = AREAS
    """Square pixels at scale 1 that part small, middling and large lesions. [code]"""
    dense_others: float = 1.0
    """``bm``: factor of targets of anchors that are not of the lesion's size, see ``MapLabeller``. [code: 1]"""
    dense_share: float = 0.0
    """``bm``: least part of the loss that anchors inside lesions have together; 0: a plain mean. [code: a plain mean,
    from weights of a trained detector]"""
    bmc_nearest: int = 20
    """``bmc``: nearest anchors that are candidates, for each draw. [code, of 18 anchors a cell]"""
    bmc_threshold: float = 0.7
    """``bmc threshold``: least BM_xy at the centre of a candidate. [default: own; 64 % of a box]"""
    bmc_ratio: float = 4.0
    """An anchor's area is between 1 / this and this times the lesion's. [code]"""
    bmc_fallback: int = 5
    """Nearest anchors, for each draw, of which a lesion without a candidate draws. [code]"""
    bmc_label: SoftLabel = "hard"
    """What drawn anchors are told: 1, the map at their centre, its mean in them. [default: unknown]"""
    branch: Branch = "abm"
    """See ``Branch``. [2021: abm; 2020: bm]"""
    abm: Variant = "v1"
    """How the border of ABM depends on the area. [default: unknown; all are in the code]"""
    branch_maps: tuple[MapName, ...] = ()
    """Maps that are drawn; none named: x and y for ``bm`` [code], xy for ``abm``. [default: unknown]"""
    branch_channels: int = 256
    """Width of the branch. [code of the mask head]"""
    branch_loss: MapLoss = "mse"
    """Of a map's cells; ``bce`` is counted from its floor. [default: unknown]"""
    branch_weight: float = 1.0
    """Of the branch's loss. [default: unknown]"""


SMALL = Config(
    **TWO_CORES, bmc_nearest=2, bmc_fallback=1, branch_channels=32,
)  # fmt: skip
"""For two cores: the plain detector's, with fewer candidates. At half the size and with 5 anchors a cell instead of 18
the published 20 a draw would reach four times as far beside a lesion; with 2, drawn anchors overlap lesions as much as
the published ones do. [default: own]"""

TINY = Config(
    **TINIEST, bmc_nearest=2, bmc_fallback=1, branch_channels=8, scale=0.5,
)  # fmt: skip
"""For trying that everything runs. [default: own]"""


# -- what fills the detector's slots


def profile_of(config: Config, variant: Variant) -> Profile:
    """A map's fall in pixels of the network's input."""
    scale = config.image_size / 512 if config.scale is None else config.scale
    return profile(variant, areas=config.areas, scale=scale)


def labeller_of(config: Config) -> AnchorLabeller:
    """What tells anchors of lesions: fills the slot ``labeller`` of ``build_detector``."""
    overlap = OverlapLabeller(
        positive=config.anchor_positive, negative=config.anchor_negative, low_quality=config.anchor_low_quality,
        count=config.anchor_count, positives=config.anchor_positives,
    )  # fmt: skip
    labels_map = profile_of(config, config.labels_map)
    k = int(config.anchor_count * config.anchor_positives)
    conditioned = partial(
        ConditionedLabeller,
        fallback=Nearest(config.bmc_fallback * k), ratio=config.bmc_ratio, label=config.bmc_label, profile=labels_map,
        count=config.anchor_count, positives=k, negative=config.anchor_negative,
    )  # fmt: skip
    arms: dict[Labels, AnchorLabeller] = {
        "iou": overlap,
        "bm": MapLabeller(boxes=overlap, profile=labels_map, others=config.dense_others, share=config.dense_share),
        "bmc": conditioned(near=Nearest(config.bmc_nearest * k)),
        "bmc threshold": conditioned(near=Above(config.bmc_threshold, labels_map)),
    }
    return arms[config.labels]


def branches_of(config: Config) -> dict[str, Callable[[int, int], nn.Module]]:
    """The branch that draws maps, where there is one: fills the slot ``branches`` of ``build_detector``."""
    if config.branch == "none":
        return {}
    published: tuple[MapName, ...] = ("x", "y") if config.branch == "bm" else ("xy",)
    drawn = profile_of(config, config.abm if config.branch == "abm" else "bm")
    return {
        "map": partial(
            MapBranch,
            width=config.branch_channels,
            maps=config.branch_maps or published,
            profile=drawn,
            loss=config.branch_loss,
        )
    }


def weights_of(config: Config) -> dict[str, float]:
    """Weight of the branch: fills the slot ``weights`` of ``build_detector``."""
    return dict.fromkeys(branches_of(config), config.branch_weight)


class BoundingMap(LesionTask):
    """The detector as a task: ``forward`` returns losses, ``predict`` answers.

    Args:
        config: See ``Config``.
        detector: The detector.
    """

    def __init__(self, config: Config, *, detector: Detector) -> None:
        super().__init__(config, detector=detector)
        self.noted = Noted(detector.proposals.labeller)
        detector.proposals.labeller = self.noted

    def forward(self, batch: dict[str, Any], loss: str = "main") -> dict[str, Tensor]:
        """Means over the images of all losses, and two numbers to watch.

        ``objectness_above_floor`` is the objectness loss less what a perfect answer has, which soft labels keep above
        0; ``positives`` is how many anchors of an image were told of a lesion. Neither is minimised.

        Args:
            batch: ``image`` (B, S, H, W) in [0, 1], ``boxes`` a list of (M_i, 4) pixels; optional ``masks``, a list of
                (M_i, H, W) bool. One loss an image: ``detector.losses``.
            loss: There is one, ``main``.
        """
        with self.noted.listening() as said:
            parts = super().forward(batch, loss)
        floor = torch.stack([objectness_floor(targets) for targets in said]).mean()
        count = torch.stack([positives(targets) for targets in said]).float().mean()
        return parts | {"objectness_above_floor": parts["objectness"].detach() - floor, "positives": count}


def build(config: Config) -> BoundingMap:
    """Build the detector with random weights.

    Raises:
        SemeiaError: A value that will not do.
    """
    check(config)
    detector = build_detector(
        config, labeller=labeller_of(config), branches=branches_of(config), weights=weights_of(config)
    )
    return BoundingMap(config, detector=detector)


def check(config: Config) -> None:
    """Refuse what no map, draw or branch can have; the rest is ``build_detector``'s.

    Raises:
        SemeiaError: The first of it.
    """
    choices = {
        "labels": Labels, "labels_map": Variant, "bmc_label": SoftLabel, "branch": Branch, "abm": Variant,
        "branch_loss": MapLoss,
    }  # fmt: skip
    for name, kind in choices.items():
        if getattr(config, name) not in get_args(kind):
            found = getattr(config, name)
            raise SemeiaError(f"{name}: expected one of {', '.join(get_args(kind))}, found {found!r}")
    for each in config.branch_maps:
        if each not in get_args(MapName):
            raise SemeiaError(f"branch_maps: expected some of {', '.join(get_args(MapName))}, found {each!r}")
    if not 0 < config.areas[0] <= config.areas[1]:
        raise SemeiaError(f"areas: expected 0 < the first <= the second, found {config.areas}")
    if config.scale is not None and not config.scale > 0:
        raise SemeiaError(f"scale: expected a positive number or none, found {config.scale}")
    for name in ("bmc_nearest", "bmc_fallback", "branch_channels"):
        if getattr(config, name) <= 0:
            raise SemeiaError(f"{name}: expected a positive number, found {getattr(config, name)}")
    if not config.bmc_ratio > 1:
        raise SemeiaError(f"bmc_ratio: expected more than 1, found {config.bmc_ratio}")
    for name in ("dense_others", "dense_share", "bmc_threshold"):
        if not 0 <= getattr(config, name) <= 1:
            raise SemeiaError(f"{name}: expected a number from 0 to 1, found {getattr(config, name)}")
    if config.labels.startswith("bmc") and int(config.anchor_count * config.anchor_positives) < 1:
        found = f"{config.anchor_count} x {config.anchor_positives}"
        raise SemeiaError(f"anchor_count x anchor_positives: expected at least 1 for bmc, found {found}")
