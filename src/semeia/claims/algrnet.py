"""ALGRNet's claims: adaptive regions, units related along a skip-BiLSTM, refined by the whole face.

The paper's own ablations could not be read (docs/systems/algrnet.md). Its abstracts name three novelties, and each is
taken away here on its own; then they are added one after the other:

    full            adaptive regions, skip-BiLSTM, fusion and refining
    fixed           regions where the rule puts them
    no relation     a perceptron for each unit
    BiLSTM          states that cannot skip
    no fusion       the whole face is not read
    concatenated    the whole face's mean beside each unit
    gate alone      the gate without refining
    baseline        fixed regions, no relation, no fusion
    related         baseline with the skip-BiLSTM; with fusion and refining it is ``fixed``

The palsy claims (C5, C6) have a ledger of their own, ``palsy``, and the relations a negative control,
``algrnet_control``. Margins and metrics were written down before anything was run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from semeia.claims import _unit_networks as shared
from semeia.claims._unit_networks import SIDES, UNITS, as_large
from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Setting, Size
from semeia.ledger.matching import counted

if TYPE_CHECKING:
    from semeia.recipes.algrnet import Config
    from semeia.systems import algrnet

SMALL: dict[str, Any] = {
    "image_size": 80, "stem": (8, 24), "face": (24, 32, 48), "branches": (16, 24), "width": 64, "relation_width": 32,
    "fusion_width": 128,
    "action_units": ("AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24"),
}  # fmt: skip
"""The model at the scale ``small``: BP4D's units on two cores."""


@lru_cache(maxsize=64)
def parameters(model: algrnet.Config) -> int:
    """Of a model."""
    return sum(p.numel() for p in _built(model).parameters())


def _built(model: algrnet.Config) -> algrnet.ALGRNet:
    """A model with random weights."""
    from semeia.systems import algrnet

    return algrnet.build(model)


def arm(name: str, words: str, *, by: tuple[str, ...] = (), **changes: Any) -> Arm:
    """An arm that changes its model; each width of ``by`` makes what stands in for a part as large as that part."""

    def make(config: Config) -> Config:
        made = changed(config, **changes)
        for field in by:
            # Found with all other parts in place.
            part = {f: v for f, v in changes.items() if f == PART_OF[field]}
            width = getattr(as_large(changed(config, **part), like=config, field=field, count=parameters).model, field)
            made = changed(made, **{field: width})
        return made

    return Arm(name, words, make, (*(f"model.{field}" for field in changes), *(f"model.{field}" for field in by)))


PART_OF = {"relation_width": "relation", "fusion_width": "fusion"}
"""Which part of the model a width belongs to."""

ARMS = (
    Arm("full", "adaptive regions, skip-BiLSTM, fusion and refining"),
    arm("fixed", "regions where the rule puts them", adaptive="fixed"),
    arm("no relation", "a perceptron for each unit", relation="none", by=("relation_width",)),
    arm("BiLSTM", "states that cannot skip", relation="bilstm", by=("relation_width",)),
    arm("no fusion", "a perceptron, the whole face is not read", fusion="none", by=("fusion_width",)),
    arm("concatenated", "the whole face's mean beside each unit", fusion="concat", by=("fusion_width",)),
    arm("gate alone", "the gate without refining", fusion="gate"),
    arm("baseline", "fixed regions, no relation, no fusion", adaptive="fixed", relation="none", fusion="none",
        by=("relation_width", "fusion_width")),
    arm("related", "baseline with the skip-BiLSTM", adaptive="fixed", fusion="none", by=("fusion_width",)),
)  # fmt: skip

KNOWN = "KNOWN: the abstracts name it as a novelty; its size is not known"
HEADINGS = {
    "C1": "Regions that adapt are better than fixed ones",
    "C2": "Units related by a skip-BiLSTM are better than by a BiLSTM, and than not related",
    "C3": "Fusion with the whole face and refining help",
    "C4": "The parts add up",
}

CLAIMS = (
    Claim("C1", "Adaptive regions read action units better than fixed ones", KNOWN, ("full", "fixed"), UNITS),
    Claim("C2.relation", "Related units are read better than units by themselves", KNOWN,
          ("full", "no relation"), UNITS),
    Claim("C2.skip", "States that skip are better than states that cannot",
          "INFERRED: the name skip-BiLSTM; no comparison could be read", ("full", "BiLSTM"), UNITS),
    Claim("C3.fusion", "Fusion and refining are better than the units alone", KNOWN, ("full", "no fusion"), UNITS),
    Claim("C3.gates", "Gates are better than the whole face's mean beside each unit",
          "INFERRED: a summary of the paper says gated fusion", ("full", "concatenated"), UNITS),
    Claim("C3.refining", "Refining adds to the gate", "INFERRED: the module is called fusion and refining",
          ("full", "gate alone"), UNITS, tolerance=0.03),
    Claim("C4.all", "All three together are better than none", KNOWN, ("full", "baseline"), UNITS),
    Claim("C4.relation", "The relation adds to the baseline", "INFERRED: layout of an ablation",
          ("related", "baseline"), UNITS),
    Claim("C4.fusion", "Fusion adds to the relation", "INFERRED: layout of an ablation", ("fixed", "related"), UNITS),
    Claim("C4.sides", "All three together read sides better than none", "UNKNOWN: our own question",
          ("full", "baseline"), SIDES),
)  # fmt: skip


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale."""
    from semeia.recipes import algrnet as recipe

    config: Config = shared.setting_of(recipe, setting, small=SMALL, images=1000)
    return config


def size(config: Config) -> Size:
    """Of the model of a configuration."""
    import torch

    side = config.model.image_size
    return counted(_built(config.model), lambda model: model.predict(torch.zeros(1, 3, side, side)))


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm and add up what is right on the test."""
    from semeia.recipes import algrnet as recipe
    from semeia.systems import algrnet

    of: Callable[[Any, frozenset[str]], Measured] = shared.measure_by("algrnet", recipe, algrnet)
    return of(config, columns)


LEDGER = Ledger(
    system="algrnet",
    title="ALGRNet (arXiv 2203.01800)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    shown=(UNITS, SIDES),
    about=shared.about("ALGRNet", SMALL["action_units"], SMALL["image_size"]),
)
