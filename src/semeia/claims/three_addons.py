"""Three add-ons to one detector: what each adds alone, and what all add together.

No paper stacks them; margins and metrics were written down before anything was run.

    none, bounding maps, SATr, Mo-SCL, all
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from semeia.claims import _lesions as shared
from semeia.claims._lesions import FOUND
from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Setting, Size

if TYPE_CHECKING:
    from semeia.recipes.three_addons import Config

STEPS, BATCH = 500, 16
"""Of the scale ``small``."""

SHARE = 0.25
"""Part of the training patients at the scale ``small``: about seven epochs, the first in random order."""

SWITCHES = {"bounding maps": "bounding_maps", "SATr": "slice_attention", "Mo-SCL": "mixed_order"}


def only(*kept: str) -> Arm:
    """The arm with some of the three."""
    off = [field for name, field in SWITCHES.items() if name not in kept]
    name = " and ".join(kept) or "none"
    words = f"{name} alone" if kept else "the plain detector in random order"
    return Arm(name, words, lambda config: changed(config, **dict.fromkeys(off, False)),
               tuple(f"model.{field}" for field in off))  # fmt: skip


ARMS = (Arm("all", "bounding maps, SATr and Mo-SCL"), only(), *(only(name) for name in SWITCHES))

OWN = "UNKNOWN: our own question"
ADDED = "what is added has parameters; satr's S5 has the matched control, and a branch is left out in use"
CLAIMS = (
    *(Claim(f"T1.{field}", f"{name} finds more than nothing added", OWN, (name, "none"), FOUND, matched=False,
            reason=ADDED) for name, field in SWITCHES.items()),
    Claim("T2", "All three find more than nothing added", OWN, ("all", "none"), FOUND, matched=False, reason=ADDED),
    *(Claim(f"T3.{field}", f"All three are not worse than {name} alone", OWN, ("all", name), FOUND, margin=0.01,
            matched=False, reason=ADDED) for name, field in SWITCHES.items()),
)  # fmt: skip

HEADINGS = {
    "T1": "Each add-on alone helps",
    "T2": "All together help",
    "T3": "None is in the way of another",
}


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale."""
    from semeia.recipes import three_addons as recipe

    fields = {"warmup_epochs": 1} if setting.scale == "small" else {}
    config: Config = shared.setting_of(recipe, setting, steps=STEPS, batch=BATCH, share=SHARE, **fields)
    return config


def size(config: Config) -> Size:
    """Of the model of a configuration."""
    from semeia.recipes import three_addons

    return shared.size_of(three_addons.build, config.model)


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm and read the test."""
    from semeia.recipes import three_addons as recipe

    return shared.sums_of(shared.found_by(config, recipe))


LEDGER = Ledger(
    system="three_addons",
    title="Three add-ons to one detector of lesions",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    shown=shared.SHOWN,
    about=shared.about(
        f"At scale `small` training patients are {SHARE:.0%} of those of the world. Arms without mixed order read the "
        "same batches in the first epoch, and random ones after it.",
        steps=STEPS, batch=BATCH,
    ),
)  # fmt: skip
