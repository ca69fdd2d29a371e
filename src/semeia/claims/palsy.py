"""Facial palsy: the two claims of ALGRNet's palsy papers (its C5 and C6), on rendered patients.

    known            the network for action units, as it is; the head alone learns
    random           a network of the same size that has learned nothing, as it is
    sum alone        known, and the sides are added, not compared
    known, along     the network for action units, which learns along
    random, along    the same from random weights

No result of the papers could be read. Margins and metrics were written down before anything was run. Degrees are
hand-set and grades follow from them: nothing here says how well people are graded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Metric, Setting, Size
from semeia.ledger.matching import counted
from semeia.metrics import grades
from semeia.ops.palsy_scales import GRADES

if TYPE_CHECKING:
    from semeia.recipes._palsy_patients import Gathered
    from semeia.recipes.palsy import Config

FEW = 210
"""Training patients of the scale ``small``: as many as a clinic may have."""


def kappa(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """(R,) quadratic kappa of tables (R, 6, 6)."""
    return np.array([grades.quadratic_kappa(table) for table in sums["grades"]])


def sided(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """(R,) share of weak sides that were named, of (R, 2) right and asked."""
    right, asked = np.moveaxis(sums["sides"], -1, 0)
    return np.divide(right, asked, out=np.full_like(right, np.nan), where=asked > 0)


KAPPA = Metric("quadratic kappa of the grade", ("grades",), kappa, "kappa")
SIDE = Metric("weak side named, degree 0.4 or more", ("sides",), sided, "part of a perfect score")

ARMS = (
    Arm("known", "the network for action units as it is, both sides compared"),
    Arm("random", "a network that has learned nothing, as it is", lambda config: replace(config, scratch=True),
        ("scratch",)),
    Arm("sum alone", "both sides added, not compared", lambda config: changed(config, compare=False),
        ("model.compare",)),
    Arm("known, along", "the network for action units learns along", lambda config: changed(config, frozen=False),
        ("model.frozen",)),
    Arm("random, along", "a network from random weights learns along",
        lambda config: replace(changed(config, frozen=False), scratch=True), ("model.frozen", "scratch")),
)  # fmt: skip

CLAIMS = (
    Claim("C5.kept", "A network that knows action units grades better than one that knows nothing",
          "KNOWN: the abstracts migrate a network for action units; no comparison could be read",
          ("known", "random"), KAPPA),
    Claim("C5.along", "It does so too where the network learns along",
          "KNOWN: the abstracts migrate a network for action units; no comparison could be read",
          ("known, along", "random, along"), KAPPA),
    Claim("C6", "Comparing the sides grades better than adding them",
          "INFERRED: severity by symmetrically combining regions", ("known", "sum alone"), KAPPA),
    Claim("C5.side", "A network that knows action units names the weak side better", "UNKNOWN: our own question",
          ("known", "random"), SIDE),
)  # fmt: skip

HEADINGS = {
    "C5": "Knowledge of action units helps to grade a palsy",
    "C6": "How uneven a face is tells the grade",
}


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale."""
    from semeia.face_sets import FaceData
    from semeia.recipes import palsy as recipe

    if setting.scale == "smoke":
        config = replace(recipe.smoke(), few=4)
        how = replace(config.fit, steps=2, warmup=1)
    elif setting.scale == "small":
        config = replace(recipe.small(), batch_size=8, few=FEW, copies=0)
        how = replace(config.fit, steps=150, warmup=15, ema=None)
    else:
        config, how = recipe.paper(), recipe.paper().fit
    how = replace(how, seed=setting.seed, out=str(setting.out), eval_every=how.steps, save_every=min(50, how.steps))
    config = changed(config, frozen=True)
    return replace(config, data=FaceData(faces=setting.data), covers=0, rounds=0, fit=how)


def size(config: Config) -> Size:
    """Of the head and the network, and what it costs them to read one picture."""
    import torch

    from semeia.systems import palsy
    from semeia.unit_networks import load_network

    network, _ = load_network(config.au)
    side = network.config.image_size
    reader = counted(network, lambda model: model.features(torch.zeros(1, 3, side, side)))
    shape = replace(config.model, action_units=network.config.action_units, width=network.config.width)
    head = sum(p.numel() for p in palsy.build(shape).parameters())
    return Size(reader.parameters + head, reader.flops)


@lru_cache(maxsize=1)
def gathered(folders: tuple[str, ...], size: int, few: int | None) -> Gathered:
    """Faces of all patients, which are the same for all arms."""
    from semeia.recipes._palsy_patients import gather

    return gather(folders, size=size, few=few, progress=False)


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm and grade the patients of the test."""
    from semeia.patients import batch_of
    from semeia.recipes import palsy as recipe

    network, _ = recipe.starting_network(config)
    seen = gathered(config.data.faces, 2 * network.config.image_size, config.few)
    grader = recipe.learn(config, network, seen, progress=False)
    tested = seen.of("test")
    said = grader.model.eval().predict(batch_of(grader.features, [patient.places for patient in tested]))
    return Measured(*sums_of(tested, {name: said[name].numpy() for name in ("grade", "left")}))


def sums_of(tested: Any, said: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of the patients in order; tables of grades (G, 6, 6), and right and asked sides (G, 2)."""
    from semeia.recipes.palsy import CLEAR

    order = sorted(range(len(tested)), key=lambda i: tested[i].name)
    tables = np.zeros((len(tested), len(GRADES), len(GRADES)))
    sides = np.zeros((len(tested), 2))
    for row, i in enumerate(order):
        patient = tested[i]
        if patient.grade >= 0:
            tables[row, patient.grade, said["grade"][i]] = 1
        if patient.side >= 0 and patient.degree >= CLEAR:
            sides[row] = (said["left"][i] >= 0.5) == patient.side, 1
    return tuple(tested[i].name.rpartition("/")[2] for i in order), {"grades": tables, "sides": sides}


LEDGER = Ledger(
    system="palsy",
    title="Facial palsy, after ALGRNet (arXiv 2203.01800)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    free=("model", "scratch"),
    shown=(KAPPA, SIDE),
    about=f"""Trained and tested on rendered patients (`semeia make palsy worlds/palsy --count 1500 --seed 5`), whose
grades are cut from a hand-set degree. At scale `small` every arm learns from {FEW} patients in 150 steps of 8, on the
bundled network for action units or one of its size with random weights; all patients of `test` are graded. Scale `full`
is the recipe `paper` on data of your own.""",
)
