"""Facial palsy: from folders of patients and a network for action units to a grader with its card.

    semeia make palsy worlds/palsy --count 1500 --seed 5
    semeia train palsy --data worlds/palsy --au algrnet --out runs/palsy
    semeia evaluate palsy --data worlds/palsy --weights runs/palsy/checkpoint

    pictures -> faces -> views, a few augmented copies of each read by the network for action units -> fit on patients
    -> val patients -> how severe a healthy face may look, how covered a seen eye -> test patients -> card, checkpoint

The network for action units stays as it is (``model.frozen``) or learns along. It is kept beside the grader, as
``runs/palsy/au``, from where reading takes it. ``smoke`` runs in under a minute on anything, ``small`` is for two
cores.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import PartialState
from rich.progress import track
from torch import Tensor

from semeia import checkpoint
from semeia.data.augment import Augmentation
from semeia.evaluate import Score, score_table
from semeia.face_sets import FaceData
from semeia.files import write_whole
from semeia.metrics import faces as metrics
from semeia.metrics import grades
from semeia.nn.intensity import IntensityLevels
from semeia.ops.palsy_scales import GRADES
from semeia.patients import Features, View, batch_of, even_features, features_of, unread
from semeia.recipes._cards import trained_by
from semeia.recipes._palsy_patients import Gathered, Patient, PatientFeed, gather
from semeia.records import SemeiaError
from semeia.systems import palsy
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw
from semeia.unit_networks import BESIDE, NETWORKS, load_network, network_of

CLEAR = 0.4
"""Degree from which the weak side is asked for."""

SPREAD = 4.0
"""Standard deviation of severities from which the fit of the steps begins, in units of a logit."""

SHRINK = 1e-3
"""Ridge on what tells covered eyes: there are hundreds of features."""


@dataclass(frozen=True)
class Config:
    """Model, data and optimiser of one training."""

    model: palsy.Config = field(default_factory=palsy.Config)
    """The head; its units and width are set to those of the network for action units."""
    data: FaceData = field(default_factory=FaceData)
    """``faces``: folders of patients in the layout of ``data.formats.palsy``."""
    au: str = "algrnet"
    """Weights of ALGRNet or MGRR-Net that it stands on, by name or folder."""
    scratch: bool = False
    """Start a network of that size from random weights instead: what a grader is without knowledge of units."""
    few: int | None = None
    """Most training patients of each folder; all by default."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """What is done to the pictures in training."""
    copies: int = 3
    """Augmented copies of each picture, read once before training; one more is left as it is."""
    batch_size: int = 32
    """Patients a step."""
    keep: float = 0.8
    """Part of a patient's pictures that a step sees, so that missing exercises are met in training."""
    learning_rate: float = 1e-3
    """Peak, reached after the warm-up; a cosine leads to zero."""
    weight_decay: float = 0.05
    """AdamW's."""
    healthy: float = 0.98
    """Part of the healthy patients of ``val`` that must stay in grade I."""
    seen: float = 0.995
    """Part of the eyes of ``val`` that must not be taken for covered ones."""
    covers: int = 2_000
    """Most training pictures in which an eye is covered to learn that."""
    rounds: int = 1000
    """Of the bootstrap that gives the final table its intervals; 0 gives none."""
    fit: Fit = field(default_factory=Fit)
    """Length, intervals, clipping, averaging of weights."""


def smoke() -> Config:
    """A few steps: everything runs, nothing is learned."""
    how = Fit(steps=6, warmup=2, log_every=2, eval_every=6, save_every=3)
    return Config(model=palsy.Config(encoder=8), copies=1, batch_size=4, rounds=10, covers=20, fit=how)


def small() -> Config:
    """Two cores."""
    how = Fit(steps=1_500, warmup=100, log_every=50, eval_every=500, save_every=500, ema=0.995)
    return Config(fit=how)


def paper() -> Config:
    """Learns the whole network along; the paper's own values could not be read."""
    how = Fit(steps=5_000, warmup=250, log_every=50, eval_every=500, save_every=500)
    return Config(model=palsy.Config(frozen=False), copies=0, batch_size=8, learning_rate=3e-4, fit=how)


SCALES = {"smoke": smoke, "small": small, "paper": paper}


@dataclass(frozen=True)
class Grader:
    """A trained head, the network that it stands on, and what that reads in all views."""

    model: palsy.Palsy
    network: Any
    features: Features


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Read all pictures, fit the head, give healthy faces room, measure, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, no patients in the split ``train``, or weights that cannot be had.
    """
    network, name = starting_network(config)
    seen = gather(config.data.faces, size=2 * network.config.image_size, few=config.few, progress=progress)
    grader = learn(config, network, seen, resume=resume, progress=progress)
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    table = [
        *scores(grader.model, grader.features, seen.of("test"), rounds=config.rounds),
        *cover_scores(grader, seen, split="test", rounds=config.rounds),
    ]
    card_of_network = (KEPT if config.model.frozen else TUNED).format(name=name)
    checkpoint.save(
        out.parent / BESIDE, system=checkpoint.system_of(config.au), config=network.config,
        state=network.state_dict(), card=card_of_network,
    )  # fmt: skip
    text = card(config, name, {split: len(seen.of(split)) for split in ("train", "val", "test")}, table)
    checkpoint.save(out, system="palsy", config=grader.model.config, state=grader.model.state_dict(), card=text)
    write_whole(out.parent / "scores.json", json.dumps([score.as_dict() for score in table], indent=1).encode())
    return out


def starting_network(config: Config) -> tuple[Any, str]:
    """The network for action units that a training begins with, in evaluation mode, and its name.

    Raises:
        SemeiaError: The weights cannot be had.
    """
    known, name = load_network(config.au)
    if not config.scratch:
        return known, name
    torch.manual_seed(config.fit.seed)
    fresh: Any = NETWORKS[checkpoint.system_of(config.au)].build(known.config)
    fresh.trunk.landmarks.usual.copy_(known.trunk.landmarks.usual)  # where landmarks lie is no knowledge of units
    return fresh.eval(), f"of the size of {name} from random weights"


def learn(config: Config, network: Any, seen: Gathered, *, resume: bool = True, progress: bool = True) -> Grader:
    """Fit the head on the patients of ``train``, and its steps on those of ``val``.

    Args:
        config: See ``Config``.
        network: For action units, in evaluation mode; learns along unless it is frozen.
        seen: All patients.
        resume: Go on from the newest state.
        progress: Show progress.

    Raises:
        SemeiaError: No patients in the split ``train``.
    """
    units, views, frozen = network.config, seen.views, config.model.frozen
    if not seen.of("train"):
        raise SemeiaError(f"{', '.join(config.data.faces)}: expected patients in the split 'train', found none")
    rng = np.random.default_rng(config.fit.seed)
    copies = [even_features(network, views) if frozen else unread(views)]
    for _ in track(range(config.copies if frozen else 0), "reading copies", disable=not progress, transient=True):
        copies.append(features_of(network, views, how=config.augmentation, rng=rng))
    torch.manual_seed(config.fit.seed)
    width = replace(config.model, action_units=units.action_units, width=units.width)
    model = palsy.Palsy(width, network)

    def image(place: int, rng: np.random.Generator) -> np.ndarray:
        return views[place].changed(units.image_size, units.margin, config.augmentation, rng)

    feed = PatientFeed(
        seen.of("train"), copies, batch_size=config.batch_size, keep=config.keep, seed=config.fit.seed,
        images=None if frozen else image,
    )  # fmt: skip

    def read() -> Features:
        return copies[0] if frozen else even_features(network.eval(), views)

    def validate(task: palsy.Palsy) -> dict[str, float]:
        return {s.metric: s.value for s in scores(task, read(), seen.of("val"), rounds=0)}

    optimizers = adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay)
    fit(model, {"main": feed}, optimizers, config.fit, evaluate=validate if seen.of("val") else None, resume=resume,
        progress=progress)  # fmt: skip
    grader = Grader(model, network, read())
    fit_steps(model, grader.features, seen.of("val"))
    give_room(model, grader.features, seen.of("val"), part=config.healthy)
    if config.covers:
        learn_covers(grader, seen, how=config.augmentation, most=config.covers, rng=rng)
        leave_eyes(model, grader.features, seen.of("val"), part=config.seen)
    return grader


def fit_steps(model: palsy.Palsy, features: Features, patients: Sequence[Patient]) -> None:
    """Fit the scale of the severity and the steps between grades, all grades counting alike; in place.

    Training reads augmented pictures, and severities of pictures as they are spread otherwise.
    """
    graded = [patient for patient in patients if patient.grade >= 0]
    truth = torch.tensor([patient.grade for patient in graded])
    if not graded or len(truth.unique()) < len(GRADES):
        return  # a step that nobody is beyond, or before, would run away
    with torch.no_grad():
        severity = model.eval().scores(batch_of(features, [patient.places for patient in graded]))["severity"]
    stretch = (SPREAD / severity.std()).log().requires_grad_(True)
    means = torch.stack([severity[truth == grade].mean() for grade in range(len(GRADES))]) * stretch.detach().exp()
    # Steps begin halfway between neighbouring grades: where two begin as one, nothing would part them.
    first, gaps = model.levels.first, model.levels.gaps
    halfway = (means[:-1] + means[1:]) / 2
    apart = halfway.diff().clamp(min=0.1)
    with torch.no_grad():
        first.fill_(halfway[0])
        gaps.copy_(apart.expm1().log()[None])
    weight = (1 / torch.bincount(truth).float())[truth][:, None]
    optimizer = torch.optim.LBFGS([stretch, *model.levels.parameters()], max_iter=1000, line_search_fn="strong_wolfe")

    def loss() -> Any:
        optimizer.zero_grad()
        logits = model.levels((severity * stretch.exp())[:, None])[:, 0]
        total = F.binary_cross_entropy_with_logits(
            logits, IntensityLevels.targets(truth.float()), weight=weight / weight.mean()
        )
        total.backward()
        return total

    optimizer.step(loss)
    with torch.no_grad():
        for parameter in model.grade[-1].parameters():
            parameter.mul_(stretch.exp())


@torch.no_grad()
def give_room(model: palsy.Palsy, features: Features, patients: Sequence[Patient], *, part: float) -> None:
    """Move the step from grade I to II to where a part of healthy patients stays below it; in place."""
    healthy = [patient for patient in patients if patient.grade == 0]
    if not healthy:
        return
    model.room.zero_()
    severity = model.eval().scores(batch_of(features, [patient.places for patient in healthy]))["severity"]
    edge = float(torch.quantile(severity, part))
    step = float(-model.levels(torch.zeros(1, 1))[0, 0, 0])  # the score at which grade II is as likely as not
    model.room.fill_(max(0.0, edge - step))


def with_covers(
    network: Any, views: Sequence[View], places: Sequence[int], rng: np.random.Generator,
    how: Augmentation | None = None,
) -> tuple[Tensor, np.ndarray]:  # fmt: skip
    """Features (n, N, 2, D) of views in which one eye is covered, and which: (n,) 0 the subject's left, 1 the right."""
    which = rng.integers(2, size=len(places))
    covered = [views[place].covered(int(side), rng) for place, side in zip(places, which, strict=True)]
    read = features_of(network, covered, how=how, rng=rng) if how else even_features(network, covered)
    return read.sides, which


def learn_covers(
    grader: Grader, seen: Gathered, *, how: Augmentation, most: int, rng: np.random.Generator
) -> None:  # fmt: skip
    """Fit ``Palsy.covered`` on training pictures with one eye covered, by logistic regression; in place."""
    model, network, views = grader.model, grader.network, seen.views
    places = [place for patient in seen.of("train") for place in patient.places]
    places = [places[i] for i in rng.permutation(len(places))[:most]]
    sides, which = with_covers(network, views, places, rng, how)
    plain = features_of(network, [views[place] for place in places], how=how, rng=rng).sides
    truth = torch.cat([F.one_hot(torch.from_numpy(which), 2), torch.zeros(len(places), 2)]).float()
    features = torch.cat([sides, plain])
    model.most.zero_()
    model.eye.requires_grad_(True)
    optimizer = torch.optim.LBFGS(model.eye.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Any:
        optimizer.zero_grad()
        bent = F.binary_cross_entropy_with_logits(model.covered(features), truth)
        total = bent + SHRINK * model.eye.weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    model.eye.requires_grad_(False)


@torch.no_grad()
def leave_eyes(model: palsy.Palsy, features: Features, patients: Sequence[Patient], *, part: float) -> None:
    """Move the step from seen to covered to where a part of eyes that nothing covers stays below it; in place."""
    places = [place for patient in patients for place in patient.places]
    if places:
        model.most.zero_()
        model.most.fill_(float(torch.quantile(model.covered(features.sides[places]), part)))


@torch.no_grad()
def cover_scores(grader: Grader, seen: Gathered, *, split: str, rounds: int) -> list[Score]:
    """How many covered eyes are found, and how many others are taken for covered, in pictures of a split."""
    owners = [(patient.name, place) for patient in seen.of(split) for place in patient.places]
    if not owners:
        return []
    places = [place for _, place in owners]
    sides, which = with_covers(grader.network, seen.views, places, np.random.default_rng(0))
    found = (grader.model.covered(sides) > 0).numpy()[np.arange(len(places)), which]
    wrong = (grader.model.covered(grader.features.sides[places]) > 0).numpy().mean(1)
    people = np.array([name for name, _ in owners])

    def shares(i: np.ndarray) -> np.ndarray:
        return np.array([found[i].mean(), wrong[i].mean()])

    values = shares(np.arange(len(places)))
    low = high = np.full_like(values, np.nan)
    if rounds:
        low, high = metrics.bootstrap(shares, people, rounds=rounds, seed=0)
    names = ("covered eyes found", "eyes wrongly taken for covered")
    return [
        Score("palsy", "pictures", name, float(values[i]), float(low[i]), float(high[i]), len(places))
        for i, name in enumerate(names)
    ]


def evaluate(
    weights: str | Path, data: FaceData, *, split: str = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Grade the patients of a split and score the answers.

    Raises:
        SemeiaError: No patients in the split, or weights that cannot be had.
    """
    network, _ = load_network(network_of(weights))
    model, _ = checkpoint.load(weights, system="palsy", kind=palsy.Config, build=palsy.build)
    seen = gather(data.faces, size=2 * network.config.image_size, split=split)
    seen = replace(seen, patients=seen.patients[:limit])
    grader = Grader(model, network, even_features(network, seen.views))
    return [
        *scores(model, grader.features, seen.patients, rounds=rounds),
        *cover_scores(grader, seen, split=split, rounds=rounds),
    ]


def scores(model: palsy.Palsy, features: Features, patients: Sequence[Patient], *, rounds: int) -> list[Score]:
    """Kappa, errors and sides of patients, with intervals over them."""
    if not patients:
        return []
    training = model.training
    said = model.eval().predict(batch_of(features, [patient.places for patient in patients]))
    model.train(training)
    grade, left, degree = (said[name].cpu().numpy() for name in ("grade", "left", "degree"))
    truth = np.array([patient.grade for patient in patients])
    true_degree = np.array([patient.degree for patient in patients])
    side = np.array([patient.side for patient in patients])
    severe = np.where(np.isnan(true_degree), truth >= 3, true_degree >= CLEAR)
    people = np.array([patient.name for patient in patients])

    def kappa(i: np.ndarray) -> float:
        known = i[truth[i] >= 0]
        return grades.quadratic_kappa(metrics.confusion(truth[known], grade[known], classes=len(GRADES)))

    def sided(i: np.ndarray) -> float:
        asked = i[(side[i] >= 0) & severe[i]]
        return float(((left[asked] >= 0.5) == side[asked]).mean()) if len(asked) else np.nan

    def spared(i: np.ndarray) -> float:
        well = i[truth[i] == 0]
        return float((grade[well] == 0).mean()) if len(well) else np.nan

    def far(i: np.ndarray) -> float:
        known = i[~np.isnan(true_degree[i])]
        return float(np.abs(degree[known] - true_degree[known]).mean()) if len(known) else np.nan

    measures: dict[str, Callable[[np.ndarray], float]] = {
        "quadratic kappa of the grade": kappa,
        "mean absolute error of the grade": lambda i: grades.grade_error(truth[i], grade[i]),
        "within one grade": lambda i: grades.within_one(truth[i], grade[i]),
        f"weak side, degree {CLEAR:g} or more": sided,
        "healthy in grade I": spared,
        "mean absolute error of the degree": far,
    }

    def all_of_them(i: np.ndarray) -> np.ndarray:
        return np.array([measure(i) for measure in measures.values()])

    values = all_of_them(np.arange(len(people)))
    low = high = np.full_like(values, np.nan)
    if rounds:
        low, high = metrics.bootstrap(all_of_them, people, rounds=rounds, seed=0)
    rows = [
        Score("palsy", "all", name, float(values[i]), float(low[i]), float(high[i]), len(people))
        for i, name in enumerate(measures)
    ]
    return [row for row in rows if not np.isnan(row.value)]


def card(config: Config, au: str, counts: dict[str, int], table: Sequence[Score]) -> str:
    """The model card."""
    return CARD.format(
        au=au, train=counts["train"], val=counts["val"], test=counts["test"],
        folders=" and ".join(Path(folder).name for folder in config.data.faces), steps=f"{config.fit.steps:,}",
        seed=config.fit.seed, command=trained_by(config, system="palsy", small=small()),
        healthy=f"{100 * config.healthy:.0f} %", seen=f"{100 * config.seen:.1f} %", table=score_table(table),
    )  # fmt: skip


KEPT = "# The network for action units {name}, as a palsy grader was trained on it\n"
TUNED = "# The network for action units {name}, which learned along with a palsy grader\n"

CARD = """# Facial palsy
Grade I-VI, degree and weak side of a patient from pictures of requested movements, on top of the network for action
units {au}.

**The scale is hand-set**: a degree of the rendered world says how much of a side's movement is lost, and grades are cut
from it by numbers that are recalled to go with the 1985 paper of House and Brackmann. No clinician graded anything.

## What it learned from
{train:,} patients of {folders}; {steps} steps, seed {seed}. On {val:,} others the steps between grades were
fitted; the one to grade II was then moved to where {healthy} of the healthy ones stay in grade I, and an eye counts as
covered from where {seen} of theirs do not. Covers are drawn: plasters, bars and patches.

```
{command}
```

## What was measured
{test:,} patients that training never saw; intervals are 95 % over patients.

{table}

## What it cannot tell
- It is not a medical device and diagnoses nothing. It was measured on rendered faces, not on patients.
- A face that is turned away, half covered or speaking looks uneven without any palsy.

Licence: Apache-2.0.
"""
