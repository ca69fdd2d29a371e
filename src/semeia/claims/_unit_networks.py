"""What the claims of networks for action units have in common: metrics, sizes, and how an arm is measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from semeia.claims.qface import changed, face_data
from semeia.ledger.claims import Claim, Measured, Metric, Setting
from semeia.ledger.matching import matched
from semeia.metrics import face_sums

SKILL = "part of a perfect score"
UNITS = Metric("action units, mean F1", ("units",), face_sums.unit_f1, SKILL)
SIDES = Metric("sides of action units, mean F1", ("sides",), face_sums.side_f1, SKILL)

CHOSEN_ON = 400
"""Images of the split ``val`` that thresholds are chosen on."""

STEPS = 500
"""Of the scale ``small``, of 16 crops each."""


def as_large(config: Any, *, like: Any, field: str, count: Callable[[Any], int]) -> Any:
    """The configuration with that value of a width that gives its model as many parameters as another's.

    Args:
        config: To change.
        like: Has the parameters that are wanted.
        field: Of the model, that is changed.
        count: Parameters of a model's configuration.
    """
    width = matched(lambda value: count(replace(config.model, **{field: value})), count(like.model))
    return changed(config, **{field: width})


def setting_of(recipe: Any, setting: Setting, *, small: dict[str, Any], images: int) -> Any:
    """The recipe's configuration at a scale; thresholds are chosen and the test is read by ``measure``.

    Args:
        recipe: Module of the recipe.
        setting: Scale, seed, folders.
        small: Fields of the model at the scale ``small``.
        images: Read of the test.
    """
    if setting.scale == "smoke":
        config = recipe.smoke()
        how = replace(config.fit, steps=2, warmup=1)
    elif setting.scale == "small":
        config = replace(changed(recipe.small(), **small), batch_size=16, test=images)
        how = replace(config.fit, steps=STEPS, warmup=STEPS // 10, ema=None)
    else:
        config = replace(recipe.paper(), test=None)
        how = config.fit
    how = replace(how, seed=setting.seed, out=str(setting.out), eval_every=how.steps, save_every=min(200, how.steps))
    return replace(config, data=face_data(setting.data), validate=8, choose_on=CHOSEN_ON, rounds=0, fit=how)


def measure_by(system: str, recipe: Any, of: Any) -> Callable[[Any, frozenset[str]], Measured]:
    """Train an arm by its recipe, add up what is right on the test."""

    def measure(config: Any, columns: frozenset[str]) -> Measured:
        from semeia import checkpoint
        from semeia.face_sets import open_faces, with_split
        from semeia.unit_scores import read_units

        weights = recipe.train(replace(config, test=8), progress=False)
        model: Any = checkpoint.load(weights, system=system, kind=of.Config, build=of.build)[0]
        data = open_faces(config.data, progress=False)
        truth, answer, people = read_units(model, with_split(data, "test"), split="test", limit=config.test)
        return Measured(*sums_of(model, truth, answer, people))

    return measure


def sums_of(model: Any, truth: Any, answer: Any, people: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names of the identities, and the sums of units and sides."""
    import numpy as np

    from semeia.records import PRESENT

    sides = truth["au_sides"]
    true = {
        "au_occurrence": truth["au_occurrence"],
        "sides": np.where(np.isnan(sides), np.nan, sides >= PRESENT),
    }
    said = {
        "present": answer["au_probability"] >= model.unit_threshold.cpu().numpy(),
        "sides": answer["au_sides"] >= model.side_threshold.cpu().numpy()[:, None],
    }
    return face_sums.unit_sums(true, said, people)


def about(network: str, units: Sequence[str], size: int) -> str:
    """What was trained and tested, in Markdown."""
    return f"""Trained and tested on the face world (`semeia make faces worlds/faces --count 26600 --seed 1`): rendered
faces, labelled by construction. At scale `small` all arms of {network} read {", ".join(units)}
in crops of {size} pixels and train for {STEPS} steps of 16 crops from random weights; thresholds are chosen on
{CHOSEN_ON} faces of `val`, and 1,000 faces of `test` are read. Arms have like parameter counts: what stands in for
a part is as large. Scale `full` is the recipe `paper` on data of your own."""


VANISHED = 0.02
"""Gain in mean F1 that counts as none."""


def vanishing(name: str, related: str, alone: str) -> Claim:
    """The claim of a negative control: one arm is not better than another by more than ``VANISHED``."""
    return Claim(
        name, f"Units that are drawn independently gain at most {VANISHED:g} by being related",
        "INFERRED: relations are said to use what occurs together", (related, alone), UNITS, direction="lower",
        margin=VANISHED,
    )  # fmt: skip


def about_control(network: str) -> str:
    """What a negative control was trained and tested on, in Markdown."""
    return f"""Trained and tested on a face world without co-occurrence
(`semeia make faces worlds/faces-independent --count {CONTROLS} --seed 31 --policy independent`): every unit is drawn by
itself, as often as spontaneous faces show it, and only what no face can show at once is left out; a person's first shot
is neutral. Otherwise as the arms of the same name of {network}."""


CONTROLS = 4_000
"""Images of the world of a negative control."""
