"""Bounding maps' claims: what anchors are told and what regions draw, at no cost in use.

Directions follow from both abstracts and from what the method is for; no table of ablations could be read. Margins,
metrics and strata were written down before anything was run, but for B1.weighed, which answers what B1.first showed.

    plain           anchors by overlap, no branch
    BM              all anchors by the map (2020, first stage)
    BM, weighed     the same, and those inside lesions have half of the loss
    BM, BM          BM, and a branch that draws it (2020, both stages)
    BMC             anchors drawn around the peaks (2021)
    BM branch       anchors by overlap, a branch that draws BM_xy
    ABM branch      anchors by overlap, a branch that draws ABM_xy
    BMC, ABM        both of 2021
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from semeia.claims import _lesions as shared
from semeia.claims._lesions import ALL, FOUND, MIDDLE, OVER_30, UNDER_10, mean_of, sensitivity_of
from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Setting, Size, Term

if TYPE_CHECKING:
    from torch import Tensor

    from semeia.data.formats.deeplesion import KeySlice
    from semeia.data.slice_feeds import SliceFeed
    from semeia.recipes.bounding_map import Config

STEPS, BATCH = 500, 16
"""Of the scale ``small``."""

POSITIVES = mean_of("anchors told of a lesion, an image", "positives", "anchors")
COST = mean_of("MFLOP to read a slice", "cost", "MFLOP")
AT_4 = sensitivity_of(ALL, 4.0)


def told(labels: str, branch: str) -> Callable[[Config], Config]:
    """What tells anchors, and what is drawn."""
    return lambda config: changed(config, labels=labels, branch=branch)


BOTH = ("model.labels", "model.branch")
ARMS = (
    Arm("BMC, ABM", "anchors drawn around the peaks, a branch that draws the adaptive map"),
    Arm("plain", "anchors by overlap, no branch", told("iou", "none"), BOTH),
    Arm("BM", "all anchors by the map, no branch", told("bm", "none"), BOTH),
    Arm("BM, weighed", "all anchors by the map, those inside lesions have half of the loss",
        lambda config: changed(told("bm", "none")(config), dense_share=0.5), (*BOTH, "model.dense_share")),
    Arm("BM, BM", "all anchors by the map, a branch that draws its x and y",
        lambda config: changed(told("bm", "bm")(config), branch_maps=("x", "y")), (*BOTH, "model.branch_maps")),
    Arm("BMC", "anchors drawn around the peaks, no branch", told("bmc", "none"), ("model.branch",)),
    Arm("BM branch", "anchors by overlap, a branch that draws the plain map", told("iou", "bm"), BOTH),
    Arm("ABM branch", "anchors by overlap, a branch that draws the adaptive map", told("iou", "abm"),
        ("model.labels",)),
)  # fmt: skip

ABSTRACT_20 = "KNOWN: the abstract of 2020, +1.68 to +3.85 points at 4 false boxes an image"
ABSTRACT_21 = "KNOWN: the abstract of 2021; its table could not be read"
ABLATED = "INFERRED: switches of the authors' code; values could not be read"
LEFT_OUT = "the branch learns too, and is left out in use"


def rise(*ends: Any, middle: Any, of: str, over: str) -> tuple[Term, ...]:
    """How much more an arm gains over another on the mean of some strata than on another stratum."""
    part = 1 / len(ends)
    return tuple(
        Term(arm, sign * weight, metric)
        for arm, sign in ((of, 1.0), (over, -1.0))
        for metric, weight in (*((end, part) for end in ends), (middle, -1.0))
    )


CLAIMS = (
    Claim("B1.first", "The map tells anchors more than overlap does", ABSTRACT_20, ("BM", "plain"), FOUND),
    Claim("B1.four", "So it does at 4 false boxes an image", ABSTRACT_20, ("BM", "plain"), AT_4),
    Claim("B1.weighed", "It does where half of the loss is of anchors inside lesions",
          "UNKNOWN: our own question, asked after B1.first was seen; the code starts from trained weights, arms here do"
          " not", ("BM, weighed", "plain"), FOUND),
    Claim("B1.both", "A branch that draws the map does not harm it", ABLATED, ("BM, BM", "BM"), FOUND, margin=0.01,
          matched=False, reason=LEFT_OUT),
    Claim("B2", "Drawing anchors around the peaks finds more than overlap", ABSTRACT_21, ("BMC", "plain"), FOUND),
    Claim("B2.ends", "It gains most on lesions under 10 and over 30 mm, which few anchors overlap",
          "INFERRED: the abstract speaks of imbalance; counted, overlap has least anchors there", ("BMC", "plain"),
          FOUND, terms=rise(UNDER_10, OVER_30, middle=MIDDLE, of="BMC", over="plain"),
          contrast="BMC - plain, under 10 and over 30 mm more than between"),
    Claim("B3.none", "A branch that draws the adaptive map finds more than none", ABSTRACT_21,
          ("ABM branch", "plain"), FOUND, matched=False, reason=LEFT_OUT),
    Claim("B3.plain", "The adaptive map is not worse than the plain one", ABLATED, ("ABM branch", "BM branch"), FOUND,
          margin=0.01),
    Claim("B3.small", "A flat map helps small lesions", "INFERRED: the authors' code makes it flat for small ones",
          ("ABM branch", "BM branch"), UNDER_10),
    Claim("B4.plain", "Both of 2021 together find more than the plain detector", ABSTRACT_21, ("BMC, ABM", "plain"),
          FOUND, matched=False, reason=LEFT_OUT),
    Claim("B4.labels", "Both together find more than the anchors alone", ABLATED, ("BMC, ABM", "BMC"), FOUND,
          matched=False, reason=LEFT_OUT),
    Claim("B4.branch", "Both together find more than the branch alone", ABLATED, ("BMC, ABM", "ABM branch"), FOUND),
    Claim("B5", "More anchors are told of a lesion",
          "KNOWN: the abstract of 2021 speaks of too few; INFERRED: the authors' code draws 16",
          ("BMC", "plain"), POSITIVES),
    Claim("B6", "Reading a slice costs no more operations", "KNOWN: both abstracts, no extra inference time",
          ("BMC, ABM", "plain"), COST, direction="lower", margin=1.0, matched=False, reason=LEFT_OUT),
)  # fmt: skip

HEADINGS = {
    "B1": "Bounding maps instead of hard labels",
    "B2": "Anchors drawn by bounding maps instead of overlap (BMC)",
    "B3": "A branch that draws the adaptive map (ABM)",
    "B4": "BMC and ABM together are best",
    "B5": "Lesions and background are told more evenly",
    "B6": "Nothing is added in use",
}


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale; both branches draw one map, so that they are as large."""
    from semeia.recipes import bounding_map as recipe

    config: Config = shared.setting_of(recipe, setting, steps=STEPS, batch=BATCH, branch_maps=("xy",))
    return config


def size(config: Config) -> Size:
    """Of the model of a configuration."""
    from semeia.systems import bounding_map

    return shared.size_of(bounding_map.build, config.model)


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm, read the test, and count what its anchors would be told there."""
    from semeia.recipes import bounding_map as recipe

    found = shared.sums_of(shared.found_by(config, recipe))
    found = shared.constant(found, cost=size(config).flops / 1e6)
    return Measured(found.identities, {**found.sums, "positives": positives_of(config, found.identities)})


def positives_of(config: Config, patients: tuple[str, ...]) -> np.ndarray:
    """(P, 2): anchors that are told of a lesion on the test's key slices of each patient, and how many slices."""
    import torch

    from semeia.data.slice_feeds import STILL
    from semeia.detection.anchors import Anchors
    from semeia.detection.bounding_labels import positives
    from semeia.detection.trunks import STRIDES
    from semeia.recipes._lesion_training import feed_of
    from semeia.systems import bounding_map

    model, place = config.model, {name: row for row, name in enumerate(patients)}
    side, stride = model.image_size, STRIDES[0]
    every = Anchors(model.anchor_scales, model.anchor_ratios, stride=stride)(side // stride, side // stride)
    labeller = bounding_map.labeller_of(model)
    feed = feed_of(config, shared.tested(config.data, config.test), STILL, cached=False)
    counts = np.zeros((len(patients), 2))
    torch.manual_seed(config.fit.seed)
    for key in feed.keys:
        targets = labeller(every, boxes_in_frame(feed, key), (side, side))
        counts[place[f"{key.patient:06d}"]] += int(positives(targets)), 1
    return counts


def boxes_in_frame(feed: SliceFeed, key: KeySlice) -> Tensor:
    """(M, 4) boxes of a key slice in the images of a feed, without looking at it: borders are not cut off here."""
    import torch

    from semeia.data.slices import Movement, moved_boxes

    region = feed.framing.region(np.zeros(key.series.size[::-1], np.float32))
    boxes = moved_boxes(feed.framing.matrix(region, key.spacing, Movement()), key.boxes)
    return torch.from_numpy(boxes.clip(0, feed.framing.size).astype(np.float32))


LEDGER = Ledger(
    system="bounding_map",
    title="Bounding maps (arXiv 2007.09383) and BMC with ABM (arXiv 2103.12277)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    shown=(*shared.SHOWN, POSITIVES),
    about=shared.about(
        "All arms are the plain detector in use. ABM's areas are counted in pixels of the world's slices. Anchors that "
        "are told of a lesion are counted on the test's slices by each arm's labeller.",
        steps=STEPS, batch=BATCH,
    ),
)  # fmt: skip
