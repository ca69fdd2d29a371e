"""A ledger that trains nothing: answers are right as often as the arm's width says, by the seed's luck."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from semeia.ledger.claims import Arm, Claim, Grid, Ledger, Measured, Metric, Size
from semeia.ledger.rows import Row

PEOPLE = tuple(f"p{i:02d}" for i in range(40))


@dataclass(frozen=True)
class Fit:
    steps: int = 10
    seed: int = 0
    out: str = "runs"


@dataclass(frozen=True)
class Model:
    width: int = 70
    trick: bool = True


@dataclass(frozen=True)
class Config:
    model: Model = field(default_factory=Model)
    fit: Fit = field(default_factory=Fit)
    data: tuple[str, ...] = ()
    batch_size: int = 8
    rate: float = 0.1


def accuracy(sums):
    return sums["answers"][:, 0] / sums["answers"][:, 1]


ACCURACY = Metric("accuracy", ("answers",), accuracy, "points")


def base(setting):
    steps = {"smoke": 1, "small": 10, "full": 100}[setting.scale]
    return Config(data=setting.data, fit=Fit(steps=steps, seed=setting.seed, out=str(setting.out)))


def size(config):
    return Size(parameters=1000 + config.model.width, flops=2000)


def measure(config, columns):
    """Ten answers an identity; a trick is worth 30 points."""
    Path(config.fit.out).mkdir(parents=True)
    rng = np.random.default_rng((config.fit.seed, config.model.trick))
    share = 0.5 + 0.3 * config.model.trick + rng.normal(0, 0.01)
    right = rng.binomial(10, share, len(PEOPLE))
    return Measured(PEOPLE, {"answers": np.stack([right, np.full(len(PEOPLE), 10)], -1)})


def without(config):
    return replace(config, model=replace(config.model, trick=False))


ARMS = (Arm("full", "all of it"), Arm("plain", "no trick", without, ("model.trick",)))
CLAIM = Claim("T1.trick", "The trick helps", "INFERRED: its abstract", ("full", "plain"), ACCURACY)


def ledger(**changes):
    made = Ledger(
        system="toy",
        title="Toy",
        headings={"T1": "Tricks help", "T2": "Nothing is lost"},
        arms=ARMS,
        claims=(CLAIM, replace(CLAIM, id="T2", direction="lower", margin=0.05)),
        base=base,
        size=size,
        measure=measure,
        shown=(ACCURACY,),
        grids=(Grid("All and nothing", ("row",), ("with", "without"), (("full", "plain"),), (ACCURACY,)),),
        about="Made up.",
    )
    return replace(made, **changes)


def row(arm="full", seed=0, *, right=5, scale="small", people=20, **changes):
    """A row in which every identity has ``right`` of ten answers, or its own number of them."""
    answers = np.stack([np.broadcast_to(right, (people,)), np.full(people, 10)], -1)
    made = Row(
        arm=arm, scale=scale, seed=seed, steps=10, protocol="a", config=arm, identities="b", groups=people,
        parameters=1070, flops=2000, seconds=60.0, commit="0123456789", machine={"system": "Linux", "gpu": None},
        values={"accuracy": float(answers[:, 0].mean() / 10)}, sums={"answers": answers.astype(float)},
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
def toy():
    """What this file defines."""
    return SimpleNamespace(ledger=ledger, row=row, claim=CLAIM, arms=ARMS, base=base, accuracy=ACCURACY, people=PEOPLE)
