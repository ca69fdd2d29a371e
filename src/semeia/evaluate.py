"""Protocol evaluation: a trained system on a held-out split, as a table with intervals over identities.

Calibration and thresholds are fitted here too, on a split that neither trains nor tests.

Shapes      n images   E expressions   K action units   A attributes   T FACS levels
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from semeia.data.feeds import View, evaluation_batches, evaluation_rows
from semeia.data.formats.face_files import Faces
from semeia.data.formats.w300lp import angles_of
from semeia.data.samples import Vocabulary
from semeia.metrics import calibration
from semeia.metrics import faces as metrics
from semeia.nn.intensity import IntensityLevels
from semeia.records import PRESENT
from semeia.systems import qface

BP4D = ("AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU14", "AU15", "AU17", "AU23", "AU24")
"""The units that BP4D's protocol takes the mean F1 of; present from intensity 2 on."""
MEAN, ALL, MEAN_BP4D = "mean", "all", "mean of BP4D's 12"
SUMMARIES = (MEAN, ALL, MEAN_BP4D)
"""Labels of the rows that sum a task up."""
ERROR = "calibration error"
SLOW = 200  # rounds of the bootstrap for metrics that take long
STORED = ("pitch", "yaw", "roll")
AS_STORED = "mean absolute error of the angles of 300W-LP, degrees"
"""The same rotations have other angles there; tests on AFLW2000 take errors between those."""
VIEWS: tuple[View, View] = ("aligned", "upright")
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
    folders: Sequence[Faces],
    *,
    split: str,
    limit: int | None = None,
    rounds: int = 1000,
    batch_size: int = 64,
) -> list[Score]:
    """Read a split, every task from its own crop, and score every label that any face has.

    Crops are cut by the labelled landmarks, not by the finder's, whose errors are therefore not in the scores.

    Args:
        model: Q-Face, on its device; left as it was (training or evaluation mode).
        folders: Data sets; their splits are read one after the other. None give no scores.
        split: ``train``, ``val`` or ``test``.
        limit: At most this many images of each folder.
        rounds: Of the bootstrap over identities; 0 gives no intervals.
        batch_size: Images a forward pass.

    Raises:
        SemeiaError: A folder has no image in the split.
    """
    if not folders:
        return []
    training = model.training
    model.eval()
    truth, answer, people = read_split(model, folders, split=split, limit=limit, batch_size=batch_size)
    model.train(training)
    unit_threshold, attribute_threshold = _thresholds(model)
    present = (answer["au_probability"] >= unit_threshold).astype(float)
    balanced = (answer["attributes"] >= attribute_threshold).astype(float)
    scores = [
        *_expression_scores(truth, answer, people, model.config.expressions, rounds),
        *unit_scores(truth, answer, present, people, model.config.action_units, rounds),
        *_attribute_scores(truth, answer, balanced, people, model.config.attributes, rounds),
        *_number_scores(truth, answer, people, rounds),
    ]
    return [score for score in scores if not np.isnan(score.value)]


def calibrate(
    model: qface.QFace,
    folders: Sequence[Faces],
    *,
    split: str = "val",
    limit: int | None = None,
    batch_size: int = 64,
) -> None:
    """Fit the model's calibration and thresholds in place, on a split that did not train it.

    Probabilities are fitted first and stay what they mean; thresholds are then chosen for F1 of units and balanced
    accuracy of attributes. What is not labelled in the split stays as it is.

    Args:
        model: Q-Face; left as it was but for its calibration.
        folders: Data sets.
        split: Must not be the one that is reported.
        limit: At most this many images of each folder.
        batch_size: Images a forward pass.

    Raises:
        SemeiaError: A folder has no image in the split.
    """
    training = model.training
    model.eval()
    out: dict[str, list[np.ndarray]] = {}
    for folder in folders:
        views = [_batches(model, folder, view, split=split, limit=limit, batch_size=batch_size) for view in VIEWS]
        for tight, loose in zip(*views, strict=True):
            raw = [model.raw(view["image"].to(model.mean.device))[0] for view in (tight, loose)]
            for name in ("expression", "action_units", "sides", "attributes"):
                task = "action_units" if name == "sides" else name
                out.setdefault(name, []).append(raw[task in model.config.loose][name].cpu().numpy())
            for name in ("au_occurrence", "au_intensity", "au_sides", "attributes"):
                out.setdefault(f"true_{name}", []).append(_known(loose, name))
            out.setdefault("true_expression", []).append(loose["expression"].numpy())
    model.train(training)
    seen = {name: np.concatenate(parts) for name, parts in out.items()}
    _fit_calibration(model, seen)


@torch.no_grad()
def _fit_calibration(model: qface.QFace, seen: Mapping[str, np.ndarray]) -> None:
    """Fill the calibration from raw outputs and truths."""
    tuned, units = model.calibration, seen["action_units"]
    steps = -model.levels(torch.zeros_like(model.levels.first)[None])[0].cpu().numpy()  # (K, T)

    def levels(intensity: np.ndarray) -> np.ndarray:
        return IntensityLevels.targets(torch.from_numpy(intensity)).numpy()

    def fill(kept: qface.Affine, score: np.ndarray, truth: np.ndarray, steps: np.ndarray | None = None) -> None:
        scale, shift = calibration.fit_affine(score, truth, steps=steps)
        kept.scale.copy_(torch.from_numpy(scale))
        kept.shift.copy_(torch.from_numpy(shift))

    tuned.temperature.fill_(calibration.fit_temperature(seen["expression"], seen["true_expression"]))
    above = units - steps[:, PRESENT - 1]
    occurs, attributes = seen["true_au_occurrence"], seen["true_attributes"]
    fill(tuned.present, above, occurs[..., None])
    fill(tuned.levels, units, levels(seen["true_au_intensity"]), steps)
    # Both sides are samples of one score: a mirrored face must get the mirrored answer.
    sides = [np.concatenate([*seen[name].transpose(2, 0, 1)]) for name in ("sides", "true_au_sides")]  # (2 n, K)
    fill(tuned.sides, sides[0], levels(sides[1]), steps)
    fill(tuned.attributes, seen["attributes"], attributes[..., None])
    device = model.mean.device
    p = tuned.present(torch.from_numpy(above).to(device)).sigmoid().cpu().numpy()
    tuned.unit_threshold.copy_(torch.from_numpy(calibration.f1_thresholds(occurs, p)))
    p = tuned.attributes(torch.from_numpy(seen["attributes"]).to(device)).sigmoid().cpu().numpy()
    tuned.attribute_threshold.copy_(torch.from_numpy(calibration.balanced_thresholds(attributes, p)))


def _thresholds(model: qface.QFace) -> tuple[np.ndarray, np.ndarray]:
    """(K,) and (A,): from which probability on a unit and an attribute is said to be there."""
    tuned = model.calibration
    return tuned.unit_threshold.cpu().numpy(), tuned.attribute_threshold.cpu().numpy()


def _batches(
    model: qface.QFace, folder: Faces, view: View, *, split: str, limit: int | None, batch_size: int
) -> Iterator[dict[str, Tensor]]:
    """A split of one folder in one view, in its order."""
    config = model.config
    return evaluation_batches(
        folder,
        split=split,
        view=view,
        image_size=config.image_size,
        vocabulary=vocabulary(config),
        margin=config.margin_aligned if view == "aligned" else config.margin_upright,
        batch_size=batch_size,
        limit=limit,
    )


def _known(batch: dict[str, Tensor], name: str) -> np.ndarray:
    """A truth of a batch, NaN where not labelled."""
    return batch[name].masked_fill(~batch[f"{name}_mask"], torch.nan).numpy()


def read_split(
    model: qface.QFace, folders: Sequence[Faces], *, split: str, limit: int | None, batch_size: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Truths with NaN (expression: -1) where unlabelled, answers, and the identity of each image."""
    device = model.mean.device
    truth: dict[str, list[np.ndarray]] = {}
    answer: dict[str, list[np.ndarray]] = {}
    people: list[str] = []
    for number, folder in enumerate(folders):
        for row in evaluation_rows(folder, split=split, limit=limit):
            texts = folder.columns.texts
            people.append(f"{number}/{texts['identity'][row] or texts['key'][row]}")
        views = [_batches(model, folder, view, split=split, limit=limit, batch_size=batch_size) for view in VIEWS]
        for tight, loose in zip(*views, strict=True):
            answers = model.by_view(*(model.predict(view["image"].to(device)) for view in (tight, loose)))
            for name, value in answers.items():
                answer.setdefault(name, []).append(value.float().cpu().numpy())
            for name in TRUTHS:
                truth.setdefault(name, []).append(_known(loose, name))
            truth.setdefault("expression", []).append(loose["expression"].numpy())
    whole = [{name: np.concatenate(parts) for name, parts in side.items()} for side in (truth, answer)]
    return whole[0], whole[1], np.array(people)


def label_scores(  # noqa: PLR0917
    task: str,
    metric: str,
    measure: Callable[[np.ndarray], np.ndarray | float],
    truth: np.ndarray,
    people: np.ndarray,
    labels: Sequence[str],
    rounds: int,
    means: Mapping[str, Sequence[str]] | None = None,
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
        means: More means, by name, each over some of the labels; one that lacks a label is left out.
    """
    named = {MEAN: labels} | {name: of for name, of in (means or {}).items() if set(of) <= set(labels)}
    groups = {name: [list(labels).index(label) for label in of] for name, of in named.items()}

    def with_mean(i: np.ndarray) -> np.ndarray:
        values = np.atleast_1d(np.asarray(measure(i), float))
        return np.append(values, [metrics.mean_known(values[of]) for of in groups.values()]) if labels else values

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
    summaries = groups if labels else {ALL: [0]}
    first = len(values) - len(summaries)
    return rows + [
        Score(
            task, name, metric, float(values[j]), float(low[j]), float(high[j]),
            count=int(known[:, of].any(1).sum()),
        )
        for j, (name, of) in enumerate(summaries.items(), start=first)
    ]  # fmt: skip


def _expression_scores(
    truth: dict[str, np.ndarray], answer: dict[str, np.ndarray], people: np.ndarray, names: Sequence[str], rounds: int
) -> list[Score]:
    """Accuracy, F1 of each class with its macro mean, and calibration of the likeliest class."""
    true, said = truth["expression"], answer["expression"].argmax(1)
    each = np.where(true[:, None] >= 0, true[:, None] == np.arange(len(names)), np.nan)  # (n, E)

    def accuracy(i: np.ndarray) -> float:
        return metrics.accuracy(metrics.confusion(true[i], said[i], classes=len(names)))

    def f1(i: np.ndarray) -> np.ndarray:
        return metrics.f1_per_class(metrics.confusion(true[i], said[i], classes=len(names)))

    def miscalibration(i: np.ndarray) -> float:
        return calibration.top_label_error(true[i], answer["expression"][i])

    return [
        *label_scores("expression", "accuracy", accuracy, each[:, 0], people, (), rounds),
        *label_scores("expression", "F1", f1, each, people, names, rounds),
        *label_scores("expression", ERROR, miscalibration, each[:, 0], people, (), min(rounds, SLOW)),
    ]


def unit_scores(  # noqa: PLR0917
    truth: dict[str, np.ndarray],
    answer: dict[str, np.ndarray],
    present: np.ndarray,
    people: np.ndarray,
    names: Sequence[str],
    rounds: int,
) -> list[Score]:
    """F1 and calibration of presence, which is decided at each unit's threshold; intensity and the sides."""
    occurs, intensity, sides = truth["au_occurrence"], truth["au_intensity"], truth["au_sides"]

    def f1(i: np.ndarray) -> np.ndarray:
        return metrics.binary_f1(metrics.binary_counts(occurs[i], present[i]))

    def icc(i: np.ndarray) -> np.ndarray:
        return metrics.icc_3_1(intensity[i], answer["au_intensity"][i])

    def error(i: np.ndarray) -> np.ndarray:
        return metrics.absolute_error(intensity[i], answer["au_intensity"][i])

    def side_error(i: np.ndarray) -> np.ndarray:
        return metrics.absolute_error(sides[i], answer["au_sides"][i]).mean(-1)

    def miscalibration(i: np.ndarray) -> np.ndarray:
        return calibration.calibration_error(occurs[i], answer["au_probability"][i])

    return [
        *label_scores("action unit present", "F1", f1, occurs, people, names, rounds, {MEAN_BP4D: BP4D}),
        *label_scores("action unit present", ERROR, miscalibration, occurs, people, names, min(rounds, SLOW)),
        *label_scores("action unit intensity", "ICC(3,1)", icc, intensity, people, names, min(rounds, SLOW)),
        *label_scores("action unit intensity", "mean absolute error, 0-5", error, intensity, people, names, rounds),
        *label_scores("action unit side", "mean absolute error, 0-5", side_error, sides[..., 0], people, names, rounds),
    ]


def _attribute_scores(  # noqa: PLR0917
    truth: dict[str, np.ndarray],
    answer: dict[str, np.ndarray],
    at_threshold: np.ndarray,
    people: np.ndarray,
    names: Sequence[str],
    rounds: int,
) -> list[Score]:
    """Accuracy decided at one half (CelebA's protocol), balanced accuracy decided at each threshold, calibration.

    A constant answer cannot raise balanced accuracy above one half.
    """
    true, said = truth["attributes"], (answer["attributes"] >= 0.5).astype(float)

    def accuracy(i: np.ndarray) -> np.ndarray:
        return metrics.binary_accuracy(metrics.binary_counts(true[i], said[i]))

    def balanced(i: np.ndarray) -> np.ndarray:
        return metrics.binary_balanced_accuracy(metrics.binary_counts(true[i], at_threshold[i]))

    def miscalibration(i: np.ndarray) -> np.ndarray:
        return calibration.calibration_error(true[i], answer["attributes"][i])

    return [
        *label_scores("attribute", "accuracy", accuracy, true, people, names, rounds),
        *label_scores("attribute", "balanced accuracy", balanced, true, people, names, rounds),
        *label_scores("attribute", ERROR, miscalibration, true, people, names, min(rounds, SLOW)),
    ]


def _number_scores(
    truth: dict[str, np.ndarray], answer: dict[str, np.ndarray], people: np.ndarray, rounds: int
) -> list[Score]:
    """Mean absolute error of age and of the angles, these also as the published tests of 300W-LP's models take it."""
    true, said = angles_of(truth["pose"]), angles_of(answer["pose"])

    def age_error(i: np.ndarray) -> np.ndarray:
        return metrics.absolute_error(truth["age"][i], answer["age"][i])

    def angle_error(i: np.ndarray) -> np.ndarray:
        return metrics.angular_error(truth["pose"][i], answer["pose"][i])

    def published_error(i: np.ndarray) -> np.ndarray:
        return metrics.angular_error(true[i], said[i])

    return [
        *label_scores("age", "mean absolute error, years", age_error, truth["age"], people, (), rounds),
        *label_scores("pose", "mean absolute error, degrees", angle_error, truth["pose"], people, qface.ANGLES, rounds),
        *label_scores("pose", AS_STORED, published_error, true, people, STORED, rounds),
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
