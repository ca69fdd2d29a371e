"""The plain detector's claims: what neighbouring slices tell, and what windows of HU tell.

No paper claims these for this detector; slices are what A3D, AlignShift and SATr build on, and windows what MULAN and
MVP-Net read. Margins and metrics were written down before anything was run.

    three, one, seven   slices around the key slice
    one window          all HU in one channel, in place of lung, soft tissue and bone
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from semeia.claims import _lesions as shared
from semeia.claims._lesions import FOUND
from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Setting, Size

if TYPE_CHECKING:
    from semeia.recipes.uld import Config

STEPS, BATCH = 500, 16
"""Of the scale ``small``."""

ARMS = (
    Arm("three", "three slices, in three windows"),
    Arm("one", "the key slice alone", lambda config: changed(config, slices=1), ("model.slices",)),
    Arm("seven", "seven slices", lambda config: changed(config, slices=7), ("model.slices",)),
    Arm("one window", "three slices, all HU in one window", lambda config: changed(config, views=()),
        ("model.views",)),
)  # fmt: skip

CONTEXT = "INFERRED: what multi-slice detectors are built on; a vessel on one slice looks like a nodule"
SEES_MORE = "an arm that sees more slices or windows reads more, and has some more parameters for it"
CLAIMS = (
    Claim("U1.three", "Three slices find more than one", CONTEXT, ("three", "one"), FOUND, matched=False,
          reason=SEES_MORE),
    Claim("U1.seven", "Seven slices find more than three", CONTEXT, ("seven", "three"), FOUND, matched=False,
          reason=SEES_MORE),
    Claim("U1.range", "Seven slices find more than one", CONTEXT, ("seven", "one"), FOUND, matched=False,
          reason=SEES_MORE),
    Claim("U2", "Three windows find more than one", "INFERRED: soft tissue has little contrast in a window of all HU",
          ("three", "one window"), FOUND, matched=False, reason=SEES_MORE),
)  # fmt: skip

HEADINGS = {
    "U1": "Neighbouring slices tell lesions from what runs through",
    "U2": "Several windows show what one hides",
}


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale; three slices and three windows at every scale."""
    from semeia.recipes import uld as recipe

    small = recipe.small().model
    config: Config = shared.setting_of(
        recipe, setting, steps=STEPS, batch=BATCH, slices=3, window=small.window, views=small.views
    )
    return config


def size(config: Config) -> Size:
    """Of the model of a configuration."""
    from semeia.systems import uld

    return shared.size_of(uld.build, config.model)


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm and read the test."""
    from semeia.recipes import uld as recipe

    return shared.sums_of(shared.found_by(config, recipe))


LEDGER = Ledger(
    system="uld",
    title="the plain detector",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    shown=shared.SHOWN,
    about=shared.about("Slices lie 2 mm apart.", steps=STEPS, batch=BATCH),
)
