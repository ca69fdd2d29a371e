"""Facial palsy: from folders of patients and a network for action units to a grader with its card.

    semeia make palsy worlds/palsy --count 1500 --seed 5
    semeia train palsy --data worlds/palsy --au algrnet --out runs/palsy
    semeia evaluate palsy --data worlds/palsy --weights runs/palsy/checkpoint

    pictures -> faces -> views, a few augmented copies of each read by the network for action units -> fit on patients
    -> val patients -> how severe a healthy face may look -> test patients -> card and checkpoint

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
from accelerate import PartialState
from rich.progress import track
from torch import Tensor

from semeia import checkpoint
from semeia.data.augment import Augmentation
from semeia.data.formats import palsy as layout
from semeia.evaluate import Score, score_table
from semeia.face_sets import FaceData
from semeia.files import write_whole
from semeia.metrics import faces as metrics
from semeia.metrics import grades
from semeia.nn.face_finder import FaceFinder
from semeia.ops.palsy_scales import GRADES
from semeia.patients import Features, View, batch_of, even_features, features_of, views_of
from semeia.records import SemeiaError
from semeia.systems import palsy
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw
from semeia.unit_networks import BESIDE, load_network, network_of

CLEAR = 0.4
"""Degree from which the weak side is asked for."""


@dataclass(frozen=True)
class Config:
    """Model, data and optimiser of one training."""

    model: palsy.Config = field(default_factory=palsy.Config)
    """The head; its units and width are set to those of the network for action units."""
    data: FaceData = field(default_factory=FaceData)
    """``faces``: folders of patients in the layout of ``data.formats.palsy``."""
    au: str = "algrnet"
    """Weights of ALGRNet or MGRR-Net that it stands on, by name or folder."""
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
    healthy: float = 0.97
    """Part of the healthy patients of ``val`` that must stay in grade I."""
    rounds: int = 1000
    """Of the bootstrap that gives the final table its intervals; 0 gives none."""
    fit: Fit = field(default_factory=Fit)
    """Length, intervals, clipping, averaging of weights."""


def smoke() -> Config:
    """A few steps: everything runs, nothing is learned."""
    how = Fit(steps=6, warmup=2, log_every=2, eval_every=6, save_every=3)
    return Config(model=palsy.Config(encoder=8), copies=1, batch_size=4, rounds=10, fit=how)


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
class Patient:
    """One patient: name, labels, and the places of the views in a list. ``side`` 1: the subject's left is weak."""

    name: str
    grade: int
    side: int
    degree: float
    split: str | None
    places: tuple[int, ...]


class PatientFeed:
    """Batches of patients, drawn so that grades are about equally frequent; each batch is a function of its number.

    Args:
        patients: To draw from.
        copies: Features of their views, one for each copy.
        batch_size: Patients a batch.
        keep: Part of the views that a batch sees.
        seed: Of all randomness.
        images: Of the views, for a network that learns along: makes crops (S, S, 3) from a place and a generator.
    """

    def __init__(
        self, patients: Sequence[Patient], copies: Sequence[Features], *, batch_size: int, keep: float, seed: int,
        images: Any = None,
    ) -> None:  # fmt: skip
        self.patients, self.copies, self.images = tuple(patients), tuple(copies), images
        self.batch_size, self.keep, self.seed = batch_size, keep, seed
        grade = np.array([patient.grade for patient in patients])
        weight = 1 / np.bincount(grade + 1, minlength=len(GRADES) + 1)[grade + 1]
        self.bounds = np.cumsum(weight / weight.sum())

    def batch(self, index: int, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
        """Batch number ``index`` of one rank."""
        rng = np.random.default_rng((self.seed, index * world + rank))
        chosen = [self.patients[i] for i in np.searchsorted(self.bounds, rng.random(self.batch_size) * self.bounds[-1])]
        seen = []
        for patient in chosen:
            kept = [place for place in patient.places if rng.random() < self.keep]
            seen.append(kept or [patient.places[rng.integers(len(patient.places))]])
        batch = batch_of(self.copies[rng.integers(len(self.copies))], seen) | labels_of(chosen)
        if self.images is not None:
            longest = batch["shown"].shape[1]
            crops = np.stack([[self.images((row + row[:1] * longest)[i], rng) for i in range(longest)] for row in seen])
            del batch["sides"], batch["intensity"]
            batch["image"] = torch.from_numpy(crops).permute(0, 1, 4, 2, 3).float() / 255
        return batch


def labels_of(patients: Sequence[Patient]) -> dict[str, Tensor]:
    """Labels of a batch in the layout of ``systems.palsy``."""
    return {
        "grade": torch.tensor([patient.grade for patient in patients]),
        "degree": torch.tensor([patient.degree for patient in patients]),
        "side": torch.tensor([patient.side for patient in patients]),
    }


# ---------------------------------------------------------------------------------------------------------------------


def gather(folders: Sequence[str], *, size: int, progress: bool) -> tuple[list[View], list[Patient]]:
    """Views of all pictures in which a face is found, and the patients that have any.

    Raises:
        SemeiaError: No folder is given, one is wrong, a picture cannot be read, or nothing shows a face.
    """
    if not folders:
        raise SemeiaError("palsy: expected at least one folder of patients (--data FOLDER), found none")
    finder = FaceFinder()
    views: list[View] = []
    patients: list[Patient] = []
    for folder in folders:
        files = layout.read(folder)
        places: dict[str, list[int]] = {}
        for file in track(files, "finding faces", disable=not progress, transient=True):
            for view in views_of(file, finder, size=size):
                places.setdefault(file.patient, []).append(len(views))
                views.append(view)
        for name, theirs in layout.patients(files).items():
            if name in places:
                first = theirs[0]
                patients.append(
                    Patient(
                        f"{folder}/{name}", -1 if first.grade is None else first.grade,
                        {"left": 1, "right": 0}.get(first.side or "", -1),
                        np.nan if first.degree is None else first.degree, first.split, tuple(places[name]),
                    )
                )  # fmt: skip
    if not views:
        raise SemeiaError(f"{', '.join(folders)}: expected faces in the pictures, found none; look at them")
    return views, patients


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Read all pictures, fit the head, give healthy faces room, measure, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, no patients in the split ``train``, or weights that cannot be had.
    """
    network, name = load_network(config.au)
    units = network.config
    config = replace(config, model=replace(config.model, action_units=units.action_units, width=units.width))
    views, patients = gather(config.data.faces, size=2 * units.image_size, progress=progress)
    of = {split: [p for p in patients if p.split == split] for split in ("train", "val", "test")}
    if not of["train"]:
        raise SemeiaError(f"{', '.join(config.data.faces)}: expected patients in the split 'train', found none")
    rng = np.random.default_rng(config.fit.seed)
    plain = even_features(network, views)
    copies = [plain]
    for _ in track(range(config.copies), "reading copies", disable=not progress, transient=True):
        copies.append(features_of(network, views, how=config.augmentation, rng=rng))
    torch.manual_seed(config.fit.seed)
    model = palsy.Palsy(config.model, network)

    def image(place: int, rng: np.random.Generator) -> np.ndarray:
        return views[place].changed(units.image_size, units.margin, config.augmentation, rng)

    feed = PatientFeed(
        of["train"], copies, batch_size=config.batch_size, keep=config.keep, seed=config.fit.seed,
        images=None if config.model.frozen else image,
    )  # fmt: skip

    def read() -> Features:
        return plain if config.model.frozen else even_features(network.eval(), views)

    def validate(task: palsy.Palsy) -> dict[str, float]:
        return {s.metric: s.value for s in scores(task, read(), of["val"], rounds=0)}

    optimizers = adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay)
    fit(model, {"main": feed}, optimizers, config.fit, evaluate=validate if of["val"] else None, resume=resume,
        progress=progress)  # fmt: skip
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    features = read()
    give_room(model, features, of["val"], part=config.healthy)
    table = scores(model, features, of["test"], rounds=config.rounds)
    card_of_network = (KEPT if config.model.frozen else TUNED).format(name=name)
    system = checkpoint.system_of(config.au)
    checkpoint.save(out.parent / BESIDE, system=system, config=units, state=network.state_dict(), card=card_of_network)
    text = card(config, name, {split: len(some) for split, some in of.items()}, table)
    checkpoint.save(out, system="palsy", config=config.model, state=model.state_dict(), card=text)
    write_whole(out.parent / "scores.json", json.dumps([score.as_dict() for score in table], indent=1).encode())
    return out


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


def evaluate(
    weights: str | Path, data: FaceData, *, split: str = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Grade the patients of a split and score the answers.

    Raises:
        SemeiaError: No patients in the split, or weights that cannot be had.
    """
    network, _ = load_network(network_of(weights))
    model, _ = checkpoint.load(weights, system="palsy", kind=palsy.Config, build=palsy.build)
    views, patients = gather(data.faces, size=2 * network.config.image_size, progress=True)
    chosen = [patient for patient in patients if patient.split == split][:limit]
    if not chosen:
        raise SemeiaError(f"{', '.join(data.faces)}: expected patients in the split {split!r}, found none")
    return scores(model, even_features(network, views), chosen, rounds=rounds)


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
        seed=config.fit.seed, healthy=f"{config.healthy:.0%}", table=score_table(table),
    )  # fmt: skip


KEPT = "# The network for action units {name}, as a palsy grader was trained on it\n"
TUNED = "# The network for action units {name}, which learned along with a palsy grader\n"

CARD = """# Facial palsy
Grade I-VI, degree and weak side of a patient from pictures of requested movements, on top of the network for action
units {au}.

**The scale is hand-set**: a degree of the rendered world says how much of a side's movement is lost, and grades are cut
from it by numbers that are recalled to go with the 1985 paper of House and Brackmann. No clinician graded anything.

## What it learned from
{train:,} patients of {folders}; {steps} steps, seed {seed}. On {val:,} others the step to grade II was moved to where
{healthy} of the healthy ones stay in grade I.

## What was measured
{test:,} patients that training never saw; intervals are 95 % over patients.

{table}

## What it cannot tell
- It is not a medical device and diagnoses nothing. It was measured on rendered faces, not on patients.
- A face that is turned away, half covered or speaking looks uneven without any palsy.

Licence: Apache-2.0.
"""
