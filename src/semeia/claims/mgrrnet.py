"""MGRR-Net's claims: reasoning over units, places and channels, and gates that fuse the three.

The paper's own ablations could not be read (docs/systems/mgrrnet.md). Its abstracts name three levels and, in the later
versions, hierarchical gated fusion. Each is taken away here; what stands in for it is as large:

    full              all three levels, fused by gates
    no graph          a perceptron for each unit
    no places         a perceptron at each place
    no channels       a perceptron for each channel
    graph alone       neither places nor channels reason, no gates
    places alone      no graph, no channels, no gates
    channels alone    no graph, no places, no gates
    none              nothing reasons, no gates
    concatenated      all three levels, no gates

Margins and metrics were written down before anything was run. That the gain is larger on a scarcer set (C5) asks for
two real sets and is not declared. The graph has a negative control, ``mgrrnet_control``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from semeia.claims import _unit_networks as shared
from semeia.claims._unit_networks import SIDES, UNITS
from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Setting, Size
from semeia.ledger.matching import counted

if TYPE_CHECKING:
    from semeia.recipes.mgrrnet import Config

SMALL: dict[str, Any] = {
    "image_size": 80, "stem": (8, 24), "face": (24, 32, 48), "branches": (16, 24), "width": 64, "whole": (32, 64),
    "action_units": ("AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24"),
}  # fmt: skip
"""The model at the scale ``small``: BP4D's units on two cores."""


def arm(name: str, words: str, **changes: Any) -> Arm:
    """An arm that changes its model; its parts are as large as what they stand in for."""
    return Arm(name, words, lambda config: changed(config, **changes), tuple(f"model.{field}" for field in changes))


UNRELATED: dict[str, Any] = {"region": "alone", "places": "alone", "channels": "alone", "fusion": "concat"}

ARMS = (
    Arm("full", "all three levels, fused by gates"),
    arm("no graph", "a perceptron for each unit", region="alone"),
    arm("no places", "a perceptron at each place", places="alone"),
    arm("no channels", "a perceptron for each channel", channels="alone"),
    arm("graph alone", "the graph of units, no gates", **{k: v for k, v in UNRELATED.items() if k != "region"}),
    arm("places alone", "attention over places, no gates", **{k: v for k, v in UNRELATED.items() if k != "places"}),
    arm("channels alone", "attention over channels, no gates",
        **{k: v for k, v in UNRELATED.items() if k != "channels"}),
    arm("none", "perceptrons, no gates", **UNRELATED),
    arm("concatenated", "all three levels, no gates", fusion="concat"),
)  # fmt: skip

KNOWN = "KNOWN: the abstracts say so; by how much is not known"
HEADINGS = {
    "C1": "A graph of units is better than units by themselves",
    "C2": "All three levels together are better than any two",
    "C3": "Hierarchical gates are better than concatenation",
    "C4": "Places and channels each help",
}


def better_than(other: str) -> dict[str, Any]:
    """Terms of a claim that the full model beats another."""
    return {"arms": ("full", other), "metric": UNITS}


CLAIMS = (
    Claim("C1", "Units related by a graph are read better than units by themselves", KNOWN,
          ("graph alone", "none"), UNITS),
    Claim("C2.graph", "The graph adds to places and channels", KNOWN, **better_than("no graph")),
    Claim("C2.places", "Places add to the graph and channels", KNOWN, **better_than("no places")),
    Claim("C2.channels", "Channels add to the graph and places", KNOWN, **better_than("no channels")),
    Claim("C3", "Hierarchical gates are better than concatenation",
          "KNOWN: the later abstracts name gated fusion cells", **better_than("concatenated")),
    Claim("C4.places", "Attention over places is better than none", KNOWN, ("places alone", "none"), UNITS),
    Claim("C4.channels", "Attention over channels is better than none", KNOWN, ("channels alone", "none"), UNITS),
    Claim("C2.sides", "All three levels read sides better than none", "UNKNOWN: our own question",
          ("full", "none"), SIDES),
)  # fmt: skip


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale."""
    from semeia.recipes import mgrrnet as recipe

    config: Config = shared.setting_of(recipe, setting, small=SMALL, images=1000)
    return config


def size(config: Config) -> Size:
    """Of the model of a configuration."""
    import torch

    from semeia.systems import mgrrnet

    side = config.model.image_size
    return counted(mgrrnet.build(config.model), lambda model: model.predict(torch.zeros(1, 3, side, side)))


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm and add up what is right on the test."""
    from semeia.recipes import mgrrnet as recipe
    from semeia.systems import mgrrnet

    of: Callable[[Any, frozenset[str]], Measured] = shared.measure_by("mgrrnet", recipe, mgrrnet)
    return of(config, columns)


LEDGER = Ledger(
    system="mgrrnet",
    title="MGRR-Net (arXiv 2204.01349)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    shown=(UNITS, SIDES),
    about=shared.about("MGRR-Net", SMALL["action_units"], SMALL["image_size"]),
)
