"""Evaluation of readers of affect: the challenge's score with intervals, and thresholds of action units.

Shapes      n images   E expressions   K action units
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from semeia.data.feeds import evaluation_batches, evaluation_rows
from semeia.data.formats.face_files import Faces
from semeia.data.samples import Vocabulary
from semeia.evaluate import MEAN, Score
from semeia.metrics import affect, calibration

Number = Callable[[affect.Sums], np.ndarray]


def vocabulary(config: Any) -> Vocabulary:
    """The names that a reader answers; one without units, or without affect, has none of them."""
    units = getattr(config, "action_units", ())
    return Vocabulary(expressions=config.expressions, action_units=units, valence_arousal=bool(units))


def read_affect(
    model: Any, folders: Sequence[Faces], *, split: str, limit: int | None = None, batch_size: int = 64, **options: Any
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Truths with NaN (-1 of expressions) where unlabelled, answers, and the identity of each image of a split.

    Args:
        model: EMMA or CoTEX, in whatever mode; left in it.
        folders: Data sets.
        split: ``train``, ``val`` or ``test``.
        limit: Most images of each folder.
        batch_size: Images a forward pass.
        **options: Of ``predict``.

    Returns:
        ``expression`` (n,), and where the model answers them ``au_occurrence`` (n, K) and ``valence_arousal`` (n, 2);
        the model's answers; (n,) identities.
    """
    truth: dict[str, list[np.ndarray]] = {}
    answer: dict[str, list[np.ndarray]] = {}
    people: list[str] = []
    training, config, device = model.training, model.config, model.mean.device
    model.eval()
    for number, folder in enumerate(folders):
        texts = folder.columns.texts
        rows = evaluation_rows(folder, split=split, limit=limit)
        people += [f"{number}/{texts['identity'][row] or texts['key'][row]}" for row in rows]
        for batch in evaluation_batches(
            folder, split=split, view="aligned", image_size=config.image_size, vocabulary=vocabulary(config),
            margin=config.margin, batch_size=batch_size, limit=limit,
        ):  # fmt: skip
            for name, value in model.predict(batch["image"].to(device), **options).items():
                answer.setdefault(name, []).append(value.float().cpu().numpy())
            truth.setdefault("expression", []).append(batch["expression"].numpy())
            for name in ("au_occurrence", "valence_arousal"):
                if name in batch:
                    known = batch[name].masked_fill(~batch[f"{name}_mask"], torch.nan)
                    truth.setdefault(name, []).append(known.numpy())
    model.train(training)
    whole = [{name: np.concatenate(parts) for name, parts in side.items()} for side in (truth, answer)]
    return whole[0], whole[1], np.array(people)


def fit_thresholds(model: Any, folders: Sequence[Faces], *, split: str = "val", limit: int | None = None) -> None:
    """Choose by F1 from which probability on a unit counts as present, in place; the split must not be reported."""
    truth, answer, _ = read_affect(model, folders, split=split, limit=limit)
    chosen = calibration.f1_thresholds(truth["au_occurrence"], answer["au_probability"])
    model.unit_threshold.copy_(torch.from_numpy(chosen))


def sums_of(
    model: Any, truth: Mapping[str, np.ndarray], answer: Mapping[str, np.ndarray], people: np.ndarray
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Names of the identities, and sums of what a model answered; see ``metrics.affect``."""
    none = np.zeros((len(people), 0))
    threshold = model.unit_threshold.cpu().numpy() if "au_probability" in answer else np.zeros(0)
    return affect.affect_sums(
        {
            "valence_arousal": truth.get("valence_arousal", np.full((len(people), 2), np.nan)),
            "expression": truth["expression"],
            "au_occurrence": truth.get("au_occurrence", none) if len(threshold) else none,
        },
        {
            "valence_arousal": answer.get("valence_arousal", np.zeros((len(people), 2))),
            "expression": answer["expression"].argmax(-1),
            "present": answer.get("au_probability", none) >= threshold,
        },
        people,
        classes=len(model.config.expressions),
    )


def evaluate_affect(
    model: Any, folders: Sequence[Faces], *, split: str, limit: int | None = None, rounds: int = 1000, **options: Any
) -> list[Score]:
    """Read a split and score affect, expressions, units, and the challenge's sum of all.

    Args:
        model: EMMA or CoTEX; left as it was.
        folders: Data sets. None give no scores.
        split: ``train``, ``val`` or ``test``.
        limit: Most images of each folder.
        rounds: Of the bootstrap over identities; 0 gives no intervals.
        **options: Of ``predict``.

    Raises:
        SemeiaError: A folder has no image in the split.
    """
    if not folders:
        return []
    truth, answer, people = read_affect(model, folders, split=split, limit=limit, **options)
    _, sums = sums_of(model, truth, answer, people)
    config = model.config
    rows: list[tuple[str, str, str, Number]] = [
        ("affect", "valence", "CCC", affect.valence_ccc),
        ("affect", "arousal", "CCC", affect.arousal_ccc),
        ("affect", MEAN, "CCC", affect.mean_ccc),
        ("expression", MEAN, "F1", affect.macro_f1),
        *(("expression", name, "F1", _column(affect.expression_f1, i)) for i, name in enumerate(config.expressions)),
        ("action unit", MEAN, "F1", affect.mean_unit_f1),
        *(
            ("action unit", name, "F1", _column(affect.unit_f1, i))
            for i, name in enumerate(getattr(config, "action_units", ()))
        ),
        ("all", "P_MTL", "sum", affect.p_mtl),
    ]
    counts = {
        "affect": int(sums["valence_arousal"][:, 0, 0].sum()), "expression": int((truth["expression"] >= 0).sum()),
        "action unit": len(people), "all": len(people),
    }  # fmt: skip
    whole = {name: each.sum(0, keepdims=True) for name, each in sums.items()}
    scores = []
    for task, label, metric, value in rows:
        number = float(value(whole)[0])
        low = high = np.nan
        if rounds and not np.isnan(number):
            low, high = (float(end) for end in affect.interval(value, sums, seed=0, rounds=rounds))
        scores.append(Score(task, label, metric, number, low, high, counts[task]))
    return [score for score in scores if not np.isnan(score.value)]


def _column(metric: Number, place: int) -> Number:
    """One class or unit of a metric."""
    return lambda sums: metric(sums)[:, place]
