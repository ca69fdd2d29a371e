"""What the claims of readers of affect have in common: metrics, sizes, and how an arm is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from semeia.claims.qface import face_data
from semeia.ledger.claims import Measured, Metric, Setting
from semeia.metrics import affect

SKILL = "part of a perfect score"
AFFECT = Metric("valence and arousal, mean CCC", ("valence_arousal",), affect.mean_ccc, "CCC")
EXPRESSION = Metric("expression, mean F1", ("expression",), affect.macro_f1, SKILL)
UNITS = Metric("action units, mean F1", ("units",), affect.mean_unit_f1, SKILL)
ALL = Metric("P_MTL", ("valence_arousal", "expression", "units"), affect.p_mtl, "P_MTL, of 3")

STEPS = 150
"""Of the scale ``small``."""

OWN_PRIOR = "runs/mae/checkpoint"
"""Prior of the scale ``full``: ``semeia train face_mae --scale paper --out runs/mae`` makes it."""

CHOSEN_ON = 400
"""Images of the split ``val`` that thresholds are chosen on."""


def setting_of(recipe: Any, setting: Setting, **small: Any) -> Any:
    """The recipe's configuration at a scale, with fields that the scale ``small`` changes."""
    if setting.scale == "smoke":
        config = replace(recipe.smoke(), model=recipe.small().model, prior="face_mae")
        how = replace(config.fit, steps=2, warmup=1)
    elif setting.scale == "small":
        config = replace(recipe.small(), prior="face_mae", test=1000, **small)
        how = replace(config.fit, steps=STEPS, warmup=STEPS // 10, ema=None)
    else:
        config, how = replace(recipe.paper(), prior=OWN_PRIOR, test=None), recipe.paper().fit
    how = replace(how, seed=setting.seed, out=str(setting.out), eval_every=how.steps, save_every=min(200, how.steps))
    return replace(config, data=face_data(setting.data), validate=8, rounds=0, fit=how)


def measure_by(system: str, recipe: Any, of: Any, *, single: bool = False) -> Callable[[Any, frozenset[str]], Measured]:
    """Train an arm and add up what it answers on the test; ``single``: also of the first network alone."""

    def measure(config: Any, columns: frozenset[str]) -> Measured:
        from semeia import checkpoint
        from semeia.affect_scores import read_affect, sums_of
        from semeia.face_sets import open_faces, with_split

        weights = recipe.train(replace(config, test=8), progress=False)
        model: Any = checkpoint.load(weights, system=system, kind=of.Config, build=of.build)[0]
        tested = with_split(open_faces(config.data, progress=False), "test")
        truth, answer, people = read_affect(model, tested, split="test", limit=config.test)
        names, sums = sums_of(model, truth, answer, people)
        if single:
            _, alone = sums_of(model, truth, {"expression": answer["each"][:, 0]}, people)
            sums = {"expression": sums["expression"], "alone": alone["expression"]}
        return Measured(names, sums)

    return measure
