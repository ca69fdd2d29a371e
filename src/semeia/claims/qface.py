"""Q-Face's claims: several depths, a query for every label, all tasks at once.

The paper's own ablations could not be read (docs/systems/qface.md). What its abstract says of its two contributions is
put to the test here, with arms that differ in one part of the model each:

    full                    three depths fused, a query for every label, five tasks
    last layer              the deepest map alone; a wider feed-forward part in the decoder gives the parameters back
    pooled                  no queries: the mean of the fused map through a perceptron of the decoder's size
    last layer pooled      both
    task queries            a query for every task
    one query               one query for all
    tokens                  the fusion that leaves the choice of depth to the queries; read for where they look
    TASK alone              the full model with the loss of one task
    TASK alone pooled      the pooled model with the loss of one task

Margins and metrics were written down before anything was run.

Shapes      N images   M queries   S taps   P tokens of a tap
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from semeia.ledger.claims import Arm, Claim, Grid, Ledger, Measured, Metric, Setting, Size, Sums, Term
from semeia.ledger.matching import counted, matched
from semeia.metrics import face_sums
from semeia.metrics.attention_use import apart, apart_by_chance
from semeia.records import SemeiaError

if TYPE_CHECKING:
    from semeia.data.feeds import View
    from semeia.data.formats.face_files import Faces
    from semeia.face_sets import FaceData
    from semeia.recipes.qface import Config
    from semeia.systems import qface

C = TypeVar("C")

TASKS = {"expression": "expression", "action units": "action_units", "attributes": "attributes", "age": "age",
         "pose": "pose"}  # fmt: skip
"""Names of the tasks here, and in ``systems.qface.TASKS``, in its order."""

CALIBRATED_ON = 400
"""Images of the split ``val`` that thresholds are fitted on."""

# ---------------------------------------------------------------------------------------------------------------------
# Metrics

SKILL = "part of a perfect score"
EXPRESSION = Metric("expression accuracy", ("expression",), face_sums.expression_accuracy, SKILL)
UNITS = Metric("action units, mean F1", ("units",), face_sums.unit_f1, SKILL)
ATTRIBUTES = Metric("attributes, mean balanced accuracy", ("attributes",), face_sums.attribute_accuracy, SKILL)
AGE = Metric("age, skill", ("age",), face_sums.age_skill, SKILL)
POSE = Metric("pose, skill", ("pose",), face_sums.pose_skill, SKILL)
EACH = dict(zip(TASKS, (EXPRESSION, UNITS, ATTRIBUTES, AGE, POSE), strict=True))
SCORE = Metric("mean of five tasks", ("expression", "units", "attributes", "age", "pose"), face_sums.face_score, SKILL)
AGE_ERROR = Metric("age, mean absolute error, years", ("age",), face_sums.age_error, "years")
POSE_ERROR = Metric("pose, mean absolute error, degrees", ("pose",), face_sums.pose_error, "degrees")


def beyond_chance(column: str) -> Callable[[Sums], np.ndarray]:
    """Distance between tasks minus that between random groups of queries, mean over identities."""

    def value(sums: Sums) -> np.ndarray:
        apart, chance, count = np.moveaxis(sums[column], -1, 0)
        return np.divide(apart - chance, count, out=np.full(count.shape, np.nan), where=count > 0)

    return value


DISTANCE = "Jensen-Shannon distance"
PLACES = Metric("distance between places, beyond chance", ("places",), beyond_chance("places"), DISTANCE)
DEPTHS = Metric("distance between depths, beyond chance", ("depths",), beyond_chance("depths"), DISTANCE)

# ---------------------------------------------------------------------------------------------------------------------
# Arms: each a change of the recipe's configuration


def changed(config: C, **changes: Any) -> C:
    """A recipe's configuration with other values in its model."""
    recipe: Any = config
    made: C = replace(recipe, model=replace(recipe.model, **changes))
    return made


def as_large(config: Config, *, like: Config) -> Config:
    """The configuration with that ``hidden`` that gives it as many parameters as another."""
    hidden = matched(lambda width: parameters(replace(config.model, hidden=width)), parameters(like.model))
    return changed(config, hidden=hidden)


def last_layer(config: Config) -> Config:
    """The deepest tap alone."""
    return as_large(changed(config, taps=config.model.taps[-1:]), like=config)


def read_by(reading: str) -> Callable[[Config], Config]:
    """Fewer queries, or none."""
    return lambda config: as_large(changed(config, reading=reading), like=config)


def last_layer_pooled(config: Config) -> Config:
    """The deepest tap alone, and no queries."""
    return as_large(changed(config, taps=config.model.taps[-1:], reading="pooled"), like=config)


def alone(task: str, *, of: Callable[[Config], Config] = lambda config: config) -> Callable[[Config], Config]:
    """The loss of one task; the weights of the others are 0."""

    def make(config: Config) -> Config:
        weights = zip(TASKS, config.model.weights, strict=True)
        return changed(of(config), weights=tuple(weight if name == task else 0.0 for name, weight in weights))

    return make


ARMS = (
    Arm("full", "three depths fused, a query for every label, five tasks"),
    Arm("last layer", "the deepest map alone, a wider decoder", last_layer, ("model.taps", "model.hidden")),
    Arm("pooled", "the mean of the fused map through a perceptron, no queries", read_by("pooled"),
        ("model.reading", "model.hidden")),
    Arm("last layer pooled", "both of the above", last_layer_pooled, ("model.taps", "model.reading", "model.hidden")),
    Arm("task queries", "a query for every task", read_by("task_queries"), ("model.reading", "model.hidden")),
    Arm("one query", "one query for all labels", read_by("one_query"), ("model.reading", "model.hidden")),
    Arm("tokens", "the tokens of all depths side by side", lambda c: changed(c, fusion="tokens"), ("model.fusion",)),
    *(Arm(f"{task} alone", f"the full model, the loss of {task} alone", alone(task), ("model.weights",))
      for task in TASKS),
    *(Arm(f"{task} alone pooled", f"the pooled model, the loss of {task} alone", alone(task, of=read_by("pooled")),
          ("model.weights", "model.reading", "model.hidden")) for task in TASKS),
)  # fmt: skip

# ---------------------------------------------------------------------------------------------------------------------
# Claims

DEPTHS_HELP = "INFERRED: the abstract's first contribution, and that local and global information are both needed"
QUERIES_HELP = "INFERRED: the abstract's second contribution, and that queries extract what each task needs"
NOT_WORSE = 0.02
"""How much of the mean score joint training may cost and still count as not worse than five models: 2 of 100 points."""


def gain(joint: str, single: str, sign: float = 1.0) -> tuple[Term, ...]:
    """Mean over tasks of what joint training brings: the joint arm minus each task alone, task by task."""
    share = sign / len(TASKS)
    return (
        Term(joint, sign, SCORE),
        *(Term(single.format(task), -share, metric) for task, metric in EACH.items()),
    )


CLAIMS = (
    Claim("Q1.units", "Fused depths read action units better than the last layer", DEPTHS_HELP,
          ("full", "last layer"), UNITS),
    Claim("Q1.attributes", "Fused depths read attributes better than the last layer", DEPTHS_HELP,
          ("full", "last layer"), ATTRIBUTES),
    Claim("Q2", "Label queries read better than one pooled feature, whichever map they read", QUERIES_HELP,
          ("full", "pooled", "last layer", "last layer pooled"), SCORE,
          terms=(Term("full", 0.5, SCORE), Term("pooled", -0.5, SCORE),
                 Term("last layer", 0.5, SCORE), Term("last layer pooled", -0.5, SCORE)),
          contrast="half of (full - pooled) + half of (last layer - last layer pooled)"),
    Claim("Q3.fusion", "Queries read fused depths better than the last layer", DEPTHS_HELP,
          ("full", "last layer"), SCORE),
    Claim("Q3.queries", "Fused depths are read better by queries than as one pooled feature", QUERIES_HELP,
          ("full", "pooled"), SCORE),
    Claim("Q4.joint", "One model for five tasks is on average not worse than a model for each",
          "KNOWN: the abstract says that one model is more accurate and cheaper than separate ones",
          ("full", *(f"{task} alone" for task in TASKS)), SCORE, margin=NOT_WORSE, terms=gain("full", "{} alone"),
          contrast="full - the five alone"),
    Claim("Q4.transfer", "Joint training costs less with label queries than with a pooled feature",
          "INFERRED: queries keep tasks apart that a shared feature mixes",
          ("full", *(f"{task} alone" for task in TASKS), "pooled", *(f"{task} alone pooled" for task in TASKS)), SCORE,
          terms=(*gain("full", "{} alone"), *gain("pooled", "{} alone pooled", -1.0)),
          contrast="(full - the five alone) - (pooled - the five alone pooled)"),
    Claim("Q5.labels", "A query for every label is better than one for every task",
          "INFERRED: the abstract's term label queries, as in Query2Label", ("full", "task queries"), SCORE),
    Claim("Q5.tasks", "A query for every task is better than one for all",
          "INFERRED: queries are meant to extract what each task needs", ("task queries", "one query"), SCORE),
    Claim("Q5.places", "Queries of different tasks look at different places",
          "INFERRED: the paper shows attention maps by task, as summaries of it say", ("full",), PLACES),
    Claim("Q5.depths", "Queries of different tasks take from different depths",
          "INFERRED: the paper shows which features each task uses, as summaries of it say", ("tokens",), DEPTHS),
)  # fmt: skip

HEADINGS = {
    "Q1": "Several depths, fused, serve local tasks better than the last layer",
    "Q2": "Label queries with cross-attention are better than a shared pooled feature",
    "Q3": "Both together are better than either alone",
    "Q4": "One model for all tasks is as good as one for each, and a pooled feature suffers more",
    "Q5": "A query for every label, better than for every task, better than one; tasks look elsewhere",
}

# ---------------------------------------------------------------------------------------------------------------------
# What is trained at which scale, what it costs, what is measured


def base(setting: Setting) -> Config:
    """The recipe's configuration at a scale; thresholds are fitted and the test is read by ``measure``."""
    from semeia.recipes import qface as recipe

    if setting.scale == "smoke":
        config = recipe.smoke()
        how = replace(config.fit, steps=2, warmup=1)
    elif setting.scale == "small":
        config = replace(recipe.small(), batch_size=32, prior="face_mae", test=1000)
        how = replace(config.fit, steps=400, warmup=40)
    else:
        config = replace(recipe.paper(), test=None)
        how = config.fit
    how = replace(how, seed=setting.seed, out=str(setting.out), eval_every=how.steps, save_every=min(200, how.steps))
    config = replace(config, data=face_data(setting.data), validate=8, rounds=0, fit=how)
    return changed(config, calibrated=False)


def face_data(entries: Sequence[str]) -> FaceData:
    """Labelled faces by folder in the face format, or as ``rafdb=FOLDER``, ``fold=2``: fields of ``FaceData``.

    Raises:
        SemeiaError: A fold that is no number.
    """
    from semeia.face_sets import READERS, FaceData

    pairs = [entry.partition("=") for entry in entries]
    named: dict[str, Any] = {name: folder for name, _, folder in pairs if name in (*READERS, "fold")}
    if not str(named.setdefault("fold", 1)).isdigit():
        raise SemeiaError(f"--data fold={named['fold']}: expected a number")
    folders = tuple(entry for entry, (name, _, _) in zip(entries, pairs, strict=True) if name not in named)
    return FaceData(faces=folders, **named | {"fold": int(named["fold"])})


@lru_cache(maxsize=64)
def parameters(model: qface.Config) -> int:
    """Of a model."""
    return sum(p.numel() for p in _built(model).parameters())


def size(config: Config) -> Size:
    """Parameters, and operations to read one crop."""
    import torch

    side = config.model.image_size
    return counted(_built(config.model), lambda model: model.raw(torch.zeros(1, 3, side, side)))


def _built(model: qface.Config) -> qface.QFace:
    """A model with random weights."""
    from semeia.systems import qface

    return qface.build(replace(model, pretrained=False))


def measure(config: Config, columns: frozenset[str]) -> Measured:
    """Train by the recipe, fit thresholds on a part of ``val``, and add up what is right on the test."""
    from semeia import checkpoint
    from semeia.evaluate import calibrate, read_split
    from semeia.face_sets import open_faces, with_split
    from semeia.recipes import qface as recipe
    from semeia.systems import qface

    # The recipe's own table is not needed; it reads a few images.
    weights = recipe.train(replace(config, test=8), progress=False)
    model, _ = checkpoint.load(weights, system="qface", kind=qface.Config, build=qface.build)
    data = open_faces(config.data, progress=False)
    if watched := with_split(data, "val"):
        calibrate(model, watched, limit=CALIBRATED_ON)
    tested = with_split(data, "test")
    truth, answer, people = read_split(model, tested, split="test", limit=config.test, batch_size=64)
    tuned = model.calibration
    said = {
        "expression": answer["expression"].argmax(1),
        "present": answer["au_probability"] >= tuned.unit_threshold.cpu().numpy(),
        "attributes": answer["attributes"] >= tuned.attribute_threshold.cpu().numpy(),
        "age": answer["age"],
        "pose": answer["pose"],
    }
    identities, sums = face_sums.face_sums(truth, said, people)
    # What has no loss was not learned, and its numbers would say nothing.
    learned = zip(EACH.values(), config.model.weights, strict=True)
    sums = {name: sums[name] for metric, weight in learned if weight for name in metric.columns}
    if columns & {"places", "depths"}:
        sums |= attention_sums(model, tested, people, limit=config.test)
    return Measured(identities, sums)


def attention_sums(
    model: qface.QFace, tested: Sequence[Faces], people: np.ndarray, *, limit: int | None
) -> dict[str, np.ndarray]:
    """How far tasks look apart on the faces of each identity.

    Tasks are compared where they read the same crop, and the two crops count alike.

    Returns:
        ``places`` and ``depths``, (G, 3): the distance between tasks, that between random groups of queries, and 1.
    """
    names, place = np.unique(people.astype(str), return_inverse=True)
    found: dict[str, list[np.ndarray]] = {"places": [], "depths": []}
    for view in ("aligned", "upright"):
        tasks = [task for task in TASKS.values() if (task in model.config.loose) is (view == "upright")]
        if len(tasks) < 2:
            continue
        sizes = [model.slots[task].stop - model.slots[task].start for task in tasks]
        queries = np.concatenate([np.arange(model.slots[task].start, model.slots[task].stop) for task in tasks])
        maps = np.concatenate([_looked(model, faces, view, limit=limit)[:, queries] for faces in tested])
        mean = np.zeros((len(names), *maps.shape[1:]))  # (G, M, S, P)
        np.add.at(mean, place, maps)
        mean /= np.bincount(place)[:, None, None, None]
        for name, shares in (("places", mean.sum(2)), ("depths", mean.sum(3))):
            chance = apart_by_chance(shares, sizes)
            found[name].append(np.stack([apart(shares, sizes), chance, np.ones(len(names))], -1))
    return {name: np.mean(tables, 0) for name, tables in found.items()}


def _looked(model: qface.QFace, faces: Faces, view: View, *, limit: int | None) -> np.ndarray:
    """(N, M, S, P) where each query looked in each test image of one view."""
    from semeia.data.feeds import evaluation_batches
    from semeia.evaluate import vocabulary

    config, rows = model.config, []
    margin = config.margin_aligned if view == "aligned" else config.margin_upright
    for batch in evaluation_batches(
        faces, split="test", view=view, image_size=config.image_size, vocabulary=vocabulary(config), margin=margin,
        limit=limit,
    ):  # fmt: skip
        _, looked, (h, w) = model.raw(batch["image"].to(model.mean.device), maps=True)
        rows += [] if looked is None else [looked.unflatten(-1, (-1, h * w)).float().cpu().numpy()]
    return np.concatenate(rows)


ABOUT = """Trained and tested on the face world (`semeia make faces worlds/faces --count 26600 --seed 1`): rendered
faces, labelled by construction. At scale `small` all arms share the recipe `small` with 400 steps of 32 crops and
start from the bundled masked autoencoder; thresholds are fitted on 400 faces of `val`, and 1,000 faces of `test` are
read. A task's skill is 1 - error / error of a constant answer; the mean of five tasks takes accuracy, mean F1, mean
balanced accuracy and two skills. Single-task arms see as many labelled crops as the joint one. Scale `full` is the
recipe `paper` on data of your own."""

GRID = Grid(
    "Fusion and queries, two by two (Q3)",
    rows=("three depths", "last layer"),
    columns=("label queries", "pooled"),
    arms=(("full", "pooled"), ("last layer", "last layer pooled")),
    metrics=(SCORE, UNITS, ATTRIBUTES),
)

LEDGER = Ledger(
    system="qface",
    title="Task-adaptive Q-Face (arXiv 2405.09059)",
    headings=HEADINGS,
    arms=ARMS,
    claims=CLAIMS,
    base=base,
    size=size,
    measure=measure,
    shown=(EXPRESSION, UNITS, ATTRIBUTES, AGE_ERROR, POSE_ERROR, SCORE),
    grids=(GRID,),
    about=ABOUT,
)
