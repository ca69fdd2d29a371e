"""Protocol evaluation: a trained system on a held-out split, as a table with intervals over identities.

Shapes      n images   E expressions   K action units   A attributes
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from semeia.data.feeds import View, evaluation_batches, evaluation_rows
from semeia.data.formats.faces import FaceFolder
from semeia.data.samples import Vocabulary
from semeia.metrics import faces as metrics
from semeia.systems import qface

MEAN, ALL = "mean", "all"
SUMMARIES = (MEAN, ALL)
"""Labels of the rows that sum a task up."""
VIEWS: tuple[View, View] = ("aligned", "upright")
ANSWERS = ("expression", "au_probability", "au_intensity", "au_sides", "attributes", "age")
TRUTHS = ("au_occurrence", "au_intensity", "au_sides", "attributes", "age", "pose")


@dataclass(frozen=True)
class Score:
    """One number of a table: ``value`` with its 95 % interval over identities, on ``count`` labelled images.

    For a label that is either there or not, ``positives`` counts the images that have it.
    """

    task: str
    label: str
    metric: str
    value: float
    low: float
    high: float
    count: int
    positives: int | None = None

    def as_dict(self) -> dict[str, str | float | int | None]:
        """Plain values; a number that does not exist is None."""
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(self).items()}


def vocabulary(config: qface.Config) -> Vocabulary:
    """The names that a Q-Face answers."""
    return Vocabulary(expressions=config.expressions, action_units=config.action_units, attributes=config.attributes)


def evaluate_faces(
    model: qface.QFace,
    folders: Sequence[FaceFolder],
    *,
    split: str,
    limit: int | None = None,
    rounds: int = 1000,
    batch_size: int = 64,
) -> list[Score]:
    """Read a split, every task from its own crop, and score every label.

    Crops are cut by the labelled landmarks, not by the finder's, whose errors are therefore not in the scores.

    Args:
        model: Q-Face, on its device; left as it was (training or evaluation mode).
        folders: Data sets; their splits are read one after the other.
        split: ``train``, ``val`` or ``test``.
        limit: At most this many images of each folder.
        rounds: Of the bootstrap over identities; 0 gives no intervals.
        batch_size: Images a forward pass.

    Raises:
        SemeiaError: A folder has no image in the split.
    """
    training = model.training
    model.eval()
    truth, answer, people = _read(model, folders, split=split, limit=limit, batch_size=batch_size)
    model.train(training)
    return [
        *_expression_scores(truth, answer, people, model.config.expressions, rounds),
        *_unit_scores(truth, answer, people, model.config.action_units, rounds),
        *_attribute_scores(truth, answer, people, model.config.attributes, rounds),
        *_number_scores(truth, answer, people, rounds),
    ]


def _read(
    model: qface.QFace, folders: Sequence[FaceFolder], *, split: str, limit: int | None, batch_size: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Truths with NaN (expression: -1) where unlabelled, answers, and the identity of each image."""
    config, device = model.config, model.mean.device
    truth: dict[str, list[np.ndarray]] = {}
    answer: dict[str, list[np.ndarray]] = {}
    people: list[str] = []
    for number, folder in enumerate(folders):
        for row in evaluation_rows(folder, split=split, limit=limit):
            labels = folder.labels(row)
            people.append(f"{number}/{labels.identity or labels.key}")
        views = [
            evaluation_batches(
                folder,
                split=split,
                view=view,
                image_size=config.image_size,
                vocabulary=vocabulary(config),
                margin=margin,
                batch_size=batch_size,
                limit=limit,
            )
            for view, margin in zip(VIEWS, (config.margin_aligned, config.margin_upright), strict=True)
        ]
        for tight, loose in zip(*views, strict=True):
            read = model.predict(tight["image"].to(device))
            pose = model.predict(loose["image"].to(device))["pose"]
            for name, value in (*((n, read[n]) for n in ANSWERS), ("pose", pose)):
                answer.setdefault(name, []).append(value.float().cpu().numpy())
            for name in TRUTHS:
                known = loose[name].masked_fill(~loose[f"{name}_mask"], torch.nan)
                truth.setdefault(name, []).append(known.numpy())
            truth.setdefault("expression", []).append(loose["expression"].numpy())
    whole = [{name: np.concatenate(parts) for name, parts in side.items()} for side in (truth, answer)]
    return whole[0], whole[1], np.array(people)


def _scores(  # noqa: PLR0917
    task: str,
    metric: str,
    measure: Callable[[np.ndarray], np.ndarray | float],
    truth: np.ndarray,
    people: np.ndarray,
    labels: Sequence[str],
    rounds: int,
) -> list[Score]:
    """One score a label and their mean, with intervals from resampled identities.

    Args:
        task: First column of the table.
        metric: Third column.
        measure: From image indices to one number a label, or to one number where there are no labels.
        truth: (n, labels) or (n,), NaN where unlabelled.
        people: (n,) identities.
        labels: Names of the columns of ``truth``.
        rounds: Of the bootstrap.
    """

    def with_mean(i: np.ndarray) -> np.ndarray:
        values = np.atleast_1d(np.asarray(measure(i), float))
        return np.append(values, metrics.mean_known(values)) if labels else values

    values = with_mean(np.arange(len(people)))
    low = high = np.full_like(values, np.nan)
    if rounds:
        low, high = metrics.bootstrap(with_mean, people, seed=0, rounds=rounds)
    known = ~np.isnan(truth).reshape(len(truth), -1)
    binary = set(np.unique(truth[~np.isnan(truth)])) <= {0.0, 1.0}
    rows = [
        Score(
            task, label, metric, float(values[j]), float(low[j]), float(high[j]),
            count=int(known[:, j].sum()), positives=int(np.nansum(truth[:, j])) if binary else None,
        )
        for j, label in enumerate(labels)
    ]  # fmt: skip
    everything = int(known.any(1).sum())
    name = MEAN if labels else ALL
    return [*rows, Score(task, name, metric, float(values[-1]), float(low[-1]), float(high[-1]), count=everything)]


def _expression_scores(
    truth: dict[str, np.ndarray], answer: dict[str, np.ndarray], people: np.ndarray, names: Sequence[str], rounds: int
) -> list[Score]:
    """Accuracy, and F1 of each class with its macro mean."""
    true, said = truth["expression"], answer["expression"].argmax(1)
    each = np.where(true[:, None] >= 0, true[:, None] == np.arange(len(names)), np.nan)  # (n, E)

    def accuracy(i: np.ndarray) -> float:
        return metrics.accuracy(metrics.confusion(true[i], said[i], classes=len(names)))

    def f1(i: np.ndarray) -> np.ndarray:
        return metrics.f1_per_class(metrics.confusion(true[i], said[i], classes=len(names)))

    return [
        *_scores("expression", "accuracy", accuracy, each[:, 0], people, (), rounds),
        *_scores("expression", "F1", f1, each, people, names, rounds),
    ]


def _unit_scores(
    truth: dict[str, np.ndarray], answer: dict[str, np.ndarray], people: np.ndarray, names: Sequence[str], rounds: int
) -> list[Score]:
    """F1 of occurrence, ICC(3,1) and error of intensity, error of the sides."""
    present = (answer["au_probability"] >= 0.5).astype(float)
    occurs, intensity, sides = truth["au_occurrence"], truth["au_intensity"], truth["au_sides"]

    def f1(i: np.ndarray) -> np.ndarray:
        return metrics.binary_f1(metrics.binary_counts(occurs[i], present[i]))

    def icc(i: np.ndarray) -> np.ndarray:
        return metrics.icc_3_1(intensity[i], answer["au_intensity"][i])

    def error(i: np.ndarray) -> np.ndarray:
        return metrics.absolute_error(intensity[i], answer["au_intensity"][i])

    def side_error(i: np.ndarray) -> np.ndarray:
        return metrics.absolute_error(sides[i], answer["au_sides"][i]).mean(-1)

    return [
        *_scores("action unit present", "F1", f1, occurs, people, names, rounds),
        *_scores("action unit intensity", "ICC(3,1)", icc, intensity, people, names, min(rounds, 200)),
        *_scores("action unit intensity", "mean absolute error, 0-5", error, intensity, people, names, rounds),
        *_scores("action unit side", "mean absolute error, 0-5", side_error, sides[..., 0], people, names, rounds),
    ]


def _attribute_scores(
    truth: dict[str, np.ndarray], answer: dict[str, np.ndarray], people: np.ndarray, names: Sequence[str], rounds: int
) -> list[Score]:
    """Accuracy (CelebA's protocol) and balanced accuracy, which a constant answer cannot raise above one half."""
    true, said = truth["attributes"], (answer["attributes"] >= 0.5).astype(float)

    def accuracy(i: np.ndarray) -> np.ndarray:
        return metrics.binary_accuracy(metrics.binary_counts(true[i], said[i]))

    def balanced(i: np.ndarray) -> np.ndarray:
        return metrics.binary_balanced_accuracy(metrics.binary_counts(true[i], said[i]))

    return [
        *_scores("attribute", "accuracy", accuracy, true, people, names, rounds),
        *_scores("attribute", "balanced accuracy", balanced, true, people, names, rounds),
    ]


def _number_scores(
    truth: dict[str, np.ndarray], answer: dict[str, np.ndarray], people: np.ndarray, rounds: int
) -> list[Score]:
    """Mean absolute error of age and of the angles."""

    def age_error(i: np.ndarray) -> np.ndarray:
        return metrics.absolute_error(truth["age"][i], answer["age"][i])

    def angle_error(i: np.ndarray) -> np.ndarray:
        return metrics.angular_error(truth["pose"][i], answer["pose"][i])

    return [
        *_scores("age", "mean absolute error, years", age_error, truth["age"], people, (), rounds),
        *_scores("pose", "mean absolute error, degrees", angle_error, truth["pose"], people, qface.ANGLES, rounds),
    ]


def score_table(scores: Sequence[Score]) -> str:
    """The scores as a Markdown table: a row for each task, label and metric."""
    lines = ["| task | label | metric | value | 95 % interval | images | with it |", "|---|---|---|---|---|---|---|"]
    for s in scores:
        value = "-" if np.isnan(s.value) else f"{s.value:.3f}"
        interval = "-" if np.isnan(s.low) else f"{s.low:.3f} to {s.high:.3f}"
        positives = "" if s.positives is None else str(s.positives)
        lines.append(f"| {s.task} | {s.label} | {s.metric} | {value} | {interval} | {s.count} | {positives} |")
    return "\n".join(lines)
