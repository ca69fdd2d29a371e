"""Lesions transplanted onto healthy slices, as training data of the detector where few patients have marked lesions.

The paper names augmentation, not detection; this is our own question. Margins and metrics were written down before
anything was run. Lesions that are transplanted are those of the few patients, the healthy slices are other patients'.

    real        the slices of few patients
    painted     and as many slabs into which SMILE's reconstructor painted lesions as ``MADE`` says
    pasted      and as many into which lesions' own values were copied, by no model
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from semeia.claims import _lesions as shared
from semeia.claims._lesions import FOUND
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Setting, Size

if TYPE_CHECKING:
    from semeia.claims._transplant_study import Study

STEPS, BATCH = 500, 16
"""Of the scale ``small``."""

SHARE, MADE = 0.05, 600
"""Part of the training patients with marked lesions, and slabs that are made, at the scale ``small``."""

ARMS = (
    Arm("real", f"{SHARE:.0%} of the training patients"),
    Arm("painted", "and slabs with lesions that SMILE painted", lambda study: replace(study, by="smile"), ("by",)),
    Arm("pasted", "and slabs with lesions that were copied", lambda study: replace(study, by="paste"), ("by",)),
)

OWN = "UNKNOWN: our own question; the abstract names augmentation, by up to 6 % on an unknown task"
CLAIMS = (
    Claim("X1", "Painted lesions help a detector that has few real ones", OWN, ("painted", "real"), FOUND),
    Claim("X2", "Pasted lesions help it", OWN, ("pasted", "real"), FOUND),
    Claim("X3", "Painted lesions help more than pasted ones", OWN, ("painted", "pasted"), FOUND),
)

HEADINGS = {
    "X1": "SMILE's lesions are training data of the detector",
    "X2": "So are copied ones",
    "X3": "Painting is worth its model",
}


def base(setting: Setting) -> Study:
    """The recipe's configuration at a scale."""
    from semeia.claims._transplant_study import Study
    from semeia.recipes import uld as recipe

    config = shared.setting_of(recipe, setting, steps=STEPS, batch=BATCH, share=SHARE)
    own = {each.name: getattr(config, each.name) for each in fields(recipe.Config)}
    count = 4 if setting.scale == "smoke" else MADE
    return Study(**own, count=count)


def size(study: Study) -> Size:
    """Of the detector."""
    from semeia.systems import uld

    return shared.size_of(uld.build, study.model)


def measure(study: Study, columns: frozenset[str]) -> Measured:
    """Make the slabs, train an arm, and read the test."""
    from semeia.claims._transplant_study import measured

    return measured(study)


LEDGER = Ledger(
    system="uld_transplants",
    title="Lesions transplanted onto healthy slices, for the detector",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    free=("by",),
    shown=shared.SHOWN,
    about=shared.about(
        f"Marked lesions are those of {SHARE:.0%} of the training patients, other patients with each seed; the bundled "
        "weights of SMILE that paint have learned from the masks of half of the training patients, so that painted "
        f"lesions know more than the few. Each world of made slabs has {MADE}.",
        steps=STEPS, batch=BATCH,
    ),
)  # fmt: skip
