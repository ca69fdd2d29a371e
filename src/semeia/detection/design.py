"""All numbers of the detector and of how a scan is given to it, and how its parts are put together.

``Design()`` is the detector that AlignShift, A3D and SATr publish, as far as it is known (``docs/systems/uld.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from semeia.detection.anchors import AnchorLabeller, Anchors, OverlapLabeller
from semeia.detection.collectors import COLLECTORS, Collecting
from semeia.detection.detector import Detector
from semeia.detection.masks import MaskHead
from semeia.detection.proposals import ProposalNetwork
from semeia.detection.pyramid import Pyramid
from semeia.detection.regions import RegionHead
from semeia.detection.trunks import STRIDES, NarrowTrunk, TimmTrunk
from semeia.records import SemeiaError

Norm = Literal["batch", "frozen"]
NarrowNorm = Literal["group", "batch"]


@dataclass(frozen=True)
class Design:
    """What a detector is; every field says where its default comes from. "code" is that of AlignShift, A3D and SATr."""

    slices: int = 7
    """S around the key slice, which is number S // 2. [code: 3 or 7]"""
    interval: float = 2.0
    """Millimetres from one slice to the next. [code]"""
    image_size: int = 512
    """Side that a slice is brought to. [code]"""
    spacing: float | None = None
    """Millimetres a pixel that a slice is brought to; None: its own, shrunk to the side. [code: no normalisation]"""
    padding: float = 5.0
    """Pixels of the input by which measured lesions are padded on each side to become boxes. [DeepLesion: 5 of 512]"""
    window: tuple[float, float] = (-1024.0, 2050.0)
    """HU that become 0 and 1. [code]"""
    views: tuple[tuple[float, float], ...] = ()
    """HU windows inside ``window`` that the trunk sees a slice in, a channel each; none: ``window`` itself.
    [code: one window; several are MULAN's and MVP-Net's habit]"""
    mean: float = 50 / 255
    """Taken off the input in [0, 1]. [code: 50 of 255]"""
    std: float = 1 / 255
    """What the input is divided by after that. [code: pixels stay in 0 to 255]"""
    trunk: str = "densenet121"
    """``narrow`` or a timm network. [code: dense blocks 1 to 3 of DenseNet-121, there with slices mixed by A3D]"""
    trunk_norm: Norm = "batch"
    """Batch norms of a timm network: learned, or ``frozen`` statistics. [code: SyncBN]"""
    trunk_checkpointing: bool = False
    """Save memory by a second forward of a timm network. [code: on; default: off, norms then move twice a step]"""
    trunk_channels: tuple[int, int, int] = (24, 48, 96)
    """Of ``narrow`` at strides 4, 8, 16. [default: own]"""
    trunk_blocks: tuple[int, int, int] = (1, 1, 1)
    """Residual blocks of ``narrow`` at strides 4, 8, 16. [default: own]"""
    trunk_narrow_norm: NarrowNorm = "group"
    """Norms of ``narrow``. [default: own]"""
    collector: Collecting = "convolution"
    """From slices to the key slice, see ``detection.collectors``. [code: a convolution over all slices]"""
    pyramid: int = 512
    """Channels of the pyramid. [code]"""
    anchor_scales: tuple[float, ...] = (16.0, 24.0, 32.0, 48.0, 96.0, 192.0)
    """Square roots of anchors' areas in pixels. [code]"""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width of anchors. [code]"""
    anchor_positive: float = 0.7
    """IoU from which an anchor is a lesion. [code]"""
    anchor_negative: float = 0.3
    """IoU below which an anchor is none. [code]"""
    anchor_low_quality: float = 0.3
    """IoU from which the best anchors of a lesion count in any case. [code: min_pos_iou]"""
    anchor_count: int = 32
    """Anchors drawn from an image. [code]"""
    anchor_positives: float = 0.5
    """Largest share of lesions among them. [code]"""
    proposal_hidden: int = 512
    """Channels of the proposal head. [code]"""
    proposal_separable: bool = False
    """Its 3 x 3 convolution as one for each channel and a 1 x 1 one. [code: not]"""
    proposal_beta: float = 1 / 9
    """Of smooth L1 of anchors. [code]"""
    proposals_before: tuple[int, int] = (12000, 6000)
    """Best anchors before suppression, in training and in use. [code]"""
    proposals_after: tuple[int, int] = (2000, 300)
    """Proposals after suppression, in training and in use. [code]"""
    proposal_overlap: float = 0.7
    """IoU of their suppression. [code]"""
    region_size: int = 7
    """Cells of a region. [code]"""
    region_sampling: int = 2
    """Points along a side of a cell at which the map is read. [default: unknown]"""
    region_hidden: int = 2048
    """Width of the two layers of the region head. [code]"""
    region_std: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    """Of the targets of regions' boxes. [code]"""
    region_beta: float = 1.0
    """Of smooth L1 of regions. [code]"""
    region_overlap: float = 0.5
    """IoU from which a region is a lesion. [code]"""
    region_count: int = 64
    """Regions drawn from an image. [code]"""
    region_positives: float = 0.25
    """Largest share of lesions among them. [code]"""
    mask_channels: int = 0
    """Channels of the mask head; 0: no mask head. [code: 256; default: off, masks are not in every data set]"""
    objectness_weight: float = 1.0
    """Of the loss of objectness; so are all others. [code: all 1]"""
    score: float = 5e-5
    """Least score of an answer. [code]"""
    suppress: float = 0.5
    """IoU of the suppression of answers. [code]"""
    most: int = 50
    """Answers of an image. [code]"""


TWO_CORES: dict[str, Any] = {
    "slices": 3, "image_size": 256, "padding": 2.5, "mean": 0.3, "std": 0.25, "trunk": "narrow", "pyramid": 48,
    "anchor_scales": (8.0, 12.0, 18.0, 27.0, 45.0), "anchor_ratios": (1.0,), "anchor_positive": 0.5,
    "proposal_hidden": 48, "proposal_separable": True, "proposals_before": (600, 600), "proposals_after": (200, 100),
    "region_sampling": 1, "region_hidden": 128, "region_count": 32,
}  # fmt: skip
"""Fields of a detector for two cores. [default: own; anchors are about half of the published sizes since pixels are
twice as large, of one ratio, and count as lesions from an IoU of 0.5: docs/systems/uld.md]"""

TINIEST: dict[str, Any] = TWO_CORES | {
    "image_size": 64, "padding": 0.6, "trunk_channels": (8, 16, 32), "pyramid": 16, "proposal_hidden": 16,
    "proposals_before": (100, 100), "proposals_after": (40, 20), "region_size": 5, "region_hidden": 32,
}  # fmt: skip
"""Fields of a detector for trying that everything runs. [default: own]"""


def build_detector(
    design: Design,
    *,
    collector: Callable[[Sequence[int], int], nn.Module] | None = None,
    labeller: AnchorLabeller | None = None,
    branches: Mapping[str, Callable[[int, int], nn.Module]] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Detector:
    """Put a detector together; each slot that is not given is filled as ``design`` says.

    Args:
        design: The numbers.
        collector: ``collector(channels, slices)``, see ``collectors``.
        labeller: See ``anchors``.
        branches: By name, ``branch(channels, stride)``, see ``regions``; they join the mask head, where there is one.
        weights: Of losses by name; 1 where nothing else is said.

    Raises:
        SemeiaError: A value that will not do.
    """
    check(design)
    stride = STRIDES[0]
    views = [share_of(view, design.window) for view in design.views or (design.window,)]
    trunk: NarrowTrunk | TimmTrunk
    if design.trunk == "narrow":
        trunk = NarrowTrunk(
            design.trunk_channels, design.trunk_blocks, inputs=len(views), norm=design.trunk_narrow_norm
        )
    else:
        frozen = design.trunk_norm == "frozen"
        trunk = TimmTrunk(design.trunk, inputs=len(views), frozen=frozen, checkpointing=design.trunk_checkpointing)
    labeller = labeller or OverlapLabeller(
        positive=design.anchor_positive, negative=design.anchor_negative, low_quality=design.anchor_low_quality,
        count=design.anchor_count, positives=design.anchor_positives,
    )  # fmt: skip
    asked = ("mask", *(branches or {})) if design.mask_channels else tuple(branches or {})
    names = ("objectness", "anchor_boxes", "classes", "region_boxes", *asked)
    known = dict.fromkeys(names, 1.0) | {"objectness": design.objectness_weight}
    if strangers := set(weights or {}) - set(names):
        raise SemeiaError(f"weights: expected some of {', '.join(names)}, found {', '.join(sorted(strangers))}")
    parts: dict[str, Any] = {
        "trunk": trunk,
        "collector": (collector or COLLECTORS[design.collector])(trunk.channels, design.slices),
        "pyramid": Pyramid(trunk.channels, design.pyramid),
        "proposals": ProposalNetwork(
            design.pyramid, hidden=design.proposal_hidden, separable=design.proposal_separable, labeller=labeller,
            anchors=Anchors(design.anchor_scales, design.anchor_ratios, stride=stride), beta=design.proposal_beta,
            before=design.proposals_before, after=design.proposals_after, overlap=design.proposal_overlap,
        ),
        "regions": RegionHead(
            design.pyramid, stride=stride, size=design.region_size, sampling=design.region_sampling,
            hidden=design.region_hidden, std=design.region_std, beta=design.region_beta, overlap=design.region_overlap,
            count=design.region_count, positives=design.region_positives, score=design.score, suppress=design.suppress,
            most=design.most,
        ),
    }  # fmt: skip
    # Last, so that arms with and without a branch start from the same weights at one seed.
    made = {name: branch(design.pyramid, stride) for name, branch in (branches or {}).items()}
    if design.mask_channels:
        made["mask"] = MaskHead(design.pyramid, design.mask_channels, stride=stride)
    return Detector(
        slices=design.slices, **parts, branches=made, weights=known | dict(weights or {}), views=views,
        mean=design.mean, std=design.std,
    )  # fmt: skip


def share_of(view: tuple[float, float], window: tuple[float, float]) -> tuple[float, float]:
    """The ends of a window of HU where another one goes from 0 to 1."""
    low, high = window
    return (view[0] - low) / (high - low), (view[1] - low) / (high - low)


def check(design: Design) -> None:
    """Refuse numbers that no detector can have.

    Raises:
        SemeiaError: The first of them.
    """
    for name, choices in (
        ("collector", get_args(Collecting)), ("trunk_norm", get_args(Norm)),
        ("trunk_narrow_norm", get_args(NarrowNorm)),
    ):  # fmt: skip
        if getattr(design, name) not in choices:
            raise SemeiaError(f"{name}: expected one of {', '.join(choices)}, found {getattr(design, name)!r}")
    low, high = design.window
    for view in (design.window, *design.views):
        if not low <= view[0] < view[1] <= high:
            raise SemeiaError(
                f"window, views: expected HU that rise, and views inside {low:g} to {high:g}, found {view}"
            )
    if not 0 <= design.anchor_negative <= design.anchor_positive <= 1:
        found = f"{design.anchor_negative} and {design.anchor_positive}"
        raise SemeiaError(
            f"anchor_negative, anchor_positive: expected 0 <= the first <= the second <= 1, found {found}"
        )
    for name in (
        "slices", "image_size", "std", "pyramid", "anchor_count", "proposal_hidden", "region_size", "region_sampling",
        "region_hidden", "region_count", "most",
    ):  # fmt: skip
        if getattr(design, name) <= 0:
            raise SemeiaError(f"{name}: expected a positive number, found {getattr(design, name)}")
    for name in ("anchor_scales", "anchor_ratios", "region_std", "proposals_before", "proposals_after"):
        if not getattr(design, name) or min(getattr(design, name)) <= 0:
            raise SemeiaError(f"{name}: expected positive numbers, found {getattr(design, name)}")
