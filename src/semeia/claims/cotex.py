"""Masked CoTEX's claims: two masked networks that must agree learn better than one, or than two that need not.

The paper's ablations could not be read (docs/systems/cotex.md). Two networks are better than one merely by being added
up, so that each claim is made twice: of all networks together, and of the first one alone. Margins and metrics were
written down before anything was run.

    full            two networks, three quarters hidden, agreement weighs 100
    no agreement    two networks that need not agree
    one             one network, three quarters hidden
    hidden 0 ...    other parts of the patches hidden
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from semeia.claims import _affect as shared
from semeia.claims._affect import EXPRESSION, SKILL
from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Metric, Setting, Size
from semeia.ledger.matching import counted
from semeia.metrics import affect

if TYPE_CHECKING:
    from semeia.recipes.cotex import Config

RATIOS = (0.0, 0.25, 0.5, 0.9)
"""Parts that are hidden, beside the default of three quarters."""


def alone_f1(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """(R,) mean F1 of the first network by itself."""
    return affect.macro_f1({"expression": sums["alone"]})


ALONE = Metric("expression of one network, mean F1", ("alone",), alone_f1, SKILL)


def arm(name: str, words: str, **changes: Any) -> Arm:
    """An arm that changes its model."""
    return Arm(name, words, lambda config: changed(config, **changes), tuple(f"model.{field}" for field in changes))


ARMS = (
    Arm("full", "two networks, three quarters hidden, agreement weighs 100"),
    arm("no agreement", "two networks that need not agree", agreement=0.0),
    arm("one", "one network, three quarters hidden", networks=1),
    *(arm(f"hidden {ratio:.0%}", f"{ratio:.0%} of the patches hidden", mask_ratio=ratio) for ratio in RATIOS),
)

IDEA = "KNOWN: the abstract says that both learn from each other's view; no comparison could be read"
HALF = "one network has half of the weights of two; it is compared with one of the two as well"
CLAIMS = (
    Claim("A4.one", "Two networks that agree, added up, are better than one", IDEA, ("full", "one"), EXPRESSION,
          matched=False, reason=HALF),
    Claim("A4.one.alone", "One of two networks that agree is better than one that learned alone", IDEA,
          ("full", "one"), ALONE, matched=False, reason=HALF),
    Claim("A4.agreement", "Two networks that agree, added up, are better than two that need not", IDEA,
          ("full", "no agreement"), EXPRESSION),
    Claim("A4.agreement.alone", "One of two networks that agree is better than one of two that need not", IDEA,
          ("full", "no agreement"), ALONE),
    Claim("A5.some", "Three quarters hidden are better than nothing hidden",
          "KNOWN: the paper hides most patches; the ratio is unknown", ("full", "hidden 0%"), EXPRESSION),
    Claim("A5.most", "Three quarters hidden are better than nine tenths hidden",
          "INFERRED: very high ratios leave too little to see", ("full", "hidden 90%"), EXPRESSION),
    Claim("A5.half", "Three quarters hidden are not worse than half hidden",
          "UNKNOWN: our own question", ("full", "hidden 50%"), EXPRESSION, margin=0.02),
    Claim("A5.quarter", "Three quarters hidden are not worse than a quarter hidden",
          "UNKNOWN: our own question", ("full", "hidden 25%"), EXPRESSION, margin=0.02),
)  # fmt: skip

HEADINGS = {
    "A4": "Two masked networks that must agree are better than one, and than two that need not",
    "A5": "Hiding most of a face helps, hiding nearly all does not",
}


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale."""
    from semeia.recipes import cotex as recipe

    config: Config = shared.setting_of(recipe, setting)
    return config


def size(config: Config) -> Size:
    """Of the networks of a configuration."""
    import torch

    from semeia.systems import cotex

    side = config.model.image_size
    return counted(cotex.build(config.model), lambda model: model.predict(torch.zeros(1, 3, side, side)))


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm and add up what all of its networks, and the first, answer on the test."""
    from semeia.recipes import cotex as recipe
    from semeia.systems import cotex

    of: Callable[[Any, frozenset[str]], Measured] = shared.measure_by("cotex", recipe, cotex, single=True)
    return of(config, columns)


LEDGER = Ledger(
    system="cotex",
    title="Masked CoTEX (arXiv 2207.11679)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    shown=(EXPRESSION, ALONE),
    about=f"""Trained and tested on the face world (`semeia make faces worlds/faces --count 26600 --seed 1`). At scale
`small` all arms share the recipe `small` with {shared.STEPS} steps of 64 crops and start from the bundled masked
autoencoder; 1,000 faces of `test` are read, where nothing is hidden. Scale `full` is the recipe `paper` on data of your
own.""",
)
