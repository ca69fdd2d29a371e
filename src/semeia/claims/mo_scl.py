"""Mo-SCL's claims: hard and easy samples in one batch, and what makes a sample hard.

Directions follow from the abstracts of Mo-SCL and MoMBS and from arms of the released program; no number could be read.
Margins and metrics were written down before anything was run. In every arm an epoch shows the same number of samples.

    Mo-SCL              sorted by loss and uncertainty, hard ones next to easy ones
    random              random order
    self-paced          random order, hard samples weigh nothing at first
    hard                random order, samples of high loss weigh more (in the place of OHEM)
    loss, uncertainty   mixed order by one of the two
    same                batches of equals, by both; loss, same: by the loss
    a quarter           Mo-SCL and random order with a quarter of the patients
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from semeia.claims import _lesions as shared
from semeia.claims._lesions import FOUND, mean_of
from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Setting, Size, Term

if TYPE_CHECKING:
    from semeia.recipes.mo_scl import Config

STEPS, BATCH = 2_500, 2
"""Of the scale ``small``; two slices a batch, as the paper's detectors take, are exact pairs."""

SHARE = 0.12
"""Part of the training patients at the scale ``small``: about 530 key slices of 6,300 slabs, so that there are several
epochs after the first, which is in random order."""

FEW = 0.25
"""Part of those for the arms with few."""

SPREAD = mean_of("variance of batches' mean loss, of random pairs' variance", "spread", "part of random")


def quarter(config: Config) -> Config:
    """Fewer patients, as many steps."""
    return replace(config, share=FEW)


ARMS = (
    Arm("Mo-SCL", "by loss and uncertainty, hard next to easy"),
    Arm("random", "random order", lambda config: changed(config, arrangement="random"), ("model.arrangement",)),
    Arm("self-paced", "random order, hard samples weigh nothing at first",
        lambda config: changed(config, arrangement="random", weighting="self-paced"),
        ("model.arrangement", "model.weighting")),
    Arm("hard", "random order, samples of high loss weigh more",
        lambda config: changed(config, arrangement="random", criterion="loss", weighting="hard"),
        ("model.arrangement", "model.criterion", "model.weighting")),
    Arm("loss", "by the loss alone, hard next to easy", lambda config: changed(config, criterion="loss"),
        ("model.criterion",)),
    Arm("uncertainty", "by the uncertainty alone, hard next to easy",
        lambda config: changed(config, criterion="uncertainty"), ("model.criterion",)),
    Arm("same", "by loss and uncertainty, batches of equals", lambda config: changed(config, arrangement="same"),
        ("model.arrangement",)),
    Arm("loss, same", "by the loss alone, batches of equals",
        lambda config: changed(config, criterion="loss", arrangement="same"), ("model.criterion", "model.arrangement")),
    Arm("a quarter", "Mo-SCL with a quarter of the patients", quarter, ("share",)),
    Arm("random, a quarter", "random order with a quarter of the patients",
        lambda config: quarter(changed(config, arrangement="random")), ("share", "model.arrangement")),
)  # fmt: skip

ABSTRACT = "KNOWN: the abstract; its numbers could not be read"
PROGRAM = "INFERRED: arms of the released program for CIFAR-100; values could not be read"
CLAIMS = (
    Claim("M1.random", "Mixed order finds more than random order", ABSTRACT, ("Mo-SCL", "random"), FOUND),
    Claim("M1.paced", "It finds more than leaving hard samples out at first", ABSTRACT, ("Mo-SCL", "self-paced"),
          FOUND),
    Claim("M1.hard", "It finds more than weighing hard samples more",
          "INFERRED: the paper's introduction is about hard samples; OHEM is our choice", ("Mo-SCL", "hard"), FOUND),
    Claim("M2.loss", "Loss and uncertainty order better than the loss alone", ABSTRACT, ("Mo-SCL", "loss"), FOUND),
    Claim("M2.uncertainty", "They order better than uncertainty alone", PROGRAM, ("Mo-SCL", "uncertainty"), FOUND),
    Claim("M3.both", "Hard next to easy is better than batches of equals", PROGRAM, ("Mo-SCL", "same"), FOUND),
    Claim("M3.loss", "It is so too by the loss alone", PROGRAM, ("loss", "loss, same"), FOUND),
    Claim("M4.few", "Mixed order finds more than random order with a quarter of the patients",
          "KNOWN: the abstract of MoMBS, particularly with limited training data", ("a quarter", "random, a quarter"),
          FOUND),
    Claim("M4.more", "It gains more there than with all patients",
          "KNOWN: the abstract of MoMBS, particularly with limited training data",
          ("a quarter", "random, a quarter", "Mo-SCL", "random"), FOUND,
          terms=(Term("a quarter", 1.0, FOUND), Term("random, a quarter", -1.0, FOUND), Term("Mo-SCL", -1.0, FOUND),
                 Term("random", 1.0, FOUND)),
          contrast="Mo-SCL - random, a quarter more than all"),
    Claim("M5", "Batches are more alike in their mean loss than in random order",
          "INFERRED: pairing smallest with largest evens out pairs (docs/systems/mo_scl.md)", ("Mo-SCL", "random"),
          SPREAD, direction="lower"),
)  # fmt: skip

HEADINGS = {
    "M1": "Mixed order is better than its rivals",
    "M2": "Loss and uncertainty together are better than one of them",
    "M3": "Mixed order is better than same order",
    "M4": "The gain grows as patients become few",
    "M5": "Batches become even",
}


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale."""
    from semeia.recipes import mo_scl as recipe

    paced = {"warmup_epochs": 1, "pacing_epochs": 3} if setting.scale == "small" else {}
    config: Config = shared.setting_of(recipe, setting, steps=STEPS, batch=BATCH, share=SHARE, **paced)
    return config


def size(config: Config) -> Size:
    """Of the model of a configuration."""
    from semeia.systems import mo_scl

    return shared.size_of(mo_scl.build, config.model)


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm, read the test, and look at how even the batches of its last epoch are."""
    from semeia.recipes import mo_scl as recipe

    found = shared.sums_of(shared.found_by(config, recipe))
    return shared.constant(found, spread=spread_of(Path(config.fit.out)))


def spread_of(run: Path) -> float:
    """How much batches of a training's last epoch differ in their mean loss; 1 is what random batches come to."""
    from semeia.nn.weight_files import read_tensors
    from semeia.train import state

    newest = state.latest(run)
    assert newest is not None
    tensors = read_tensors(newest / "model.safetensors")
    return relative_spread(tensors["curriculum.losses"].numpy(), tensors["curriculum.numbers"].numpy())


def relative_spread(losses: np.ndarray, batches: np.ndarray) -> float:
    """Variance of the mean of ``losses`` (N,) over batches (K, b), of what independent draws have; NaN is middling."""
    from semeia.data.orders import variance_across

    known = np.where(np.isnan(losses), np.nanmedian(losses), losses).astype(float)
    return variance_across(known, batches) / (known[batches].var() / batches.shape[1])


LEDGER = Ledger(
    system="mo_scl",
    title="Mo-SCL (arXiv 2302.04677)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    free=("model", "share"),
    shown=(*shared.SHOWN, SPREAD),
    about=shared.about(
        f"At scale `small` training patients are {SHARE:.0%} of those of the world; M4 compares arms that share "
        f"{FEW:.0%} of them, and takes as many steps. What the hard half contributes to gradients and where wrong "
        "boxes land in the ranking is told by `benchmarks/lesion_diagnostics.py`.",
        steps=STEPS, batch=BATCH,
    ),
)  # fmt: skip
