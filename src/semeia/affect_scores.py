"""Evaluation of readers of affect: the challenge's score with intervals, and thresholds of action units.

Shapes      n images   E expressions   K action units
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from semeia.data.formats.face_files import Faces
from semeia.data.samples import Vocabulary
from semeia.evaluate import MEAN, Score
from semeia.metrics import affect, calibration
from semeia.unit_scores import read_aligned

Number = Callable[[affect.Sums], np.ndarray]


def vocabulary(config: Any) -> Vocabulary:
    """The names that a reader answers; one without units, or without affect, has none of them."""
    units = getattr(config, "action_units", ())
    return Vocabulary(expressions=config.expressions, action_units=units, valence_arousal=bool(units))


def read_affect(
    model: Any, folders: Sequence[Faces], *, split: str, limit: int | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Truths and answers of EMMA or CoTEX, as ``unit_scores.read_aligned`` gives them, and (n,) identities.

    Returns:
        ``expression`` (n,), and where the model answers them ``au_occurrence`` (n, K) and ``valence_arousal`` (n, 2);
        the model's answers; identities.
    """
    names = vocabulary(model.config)
    truths = ("expression", "au_occurrence", "valence_arousal") if names.valence_arousal else ("expression",)
    return read_aligned(
        model, folders, names=names, truths=truths, device=model.mean.device, split=split, limit=limit
    )  # fmt: skip


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
    model: Any, folders: Sequence[Faces], *, split: str, limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Read a split and score affect, expressions, units, and the challenge's sum of all.

    Args:
        model: EMMA or CoTEX; left as it was.
        folders: Data sets. None give no scores.
        split: ``train``, ``val`` or ``test``.
        limit: Most images of each folder.
        rounds: Of the bootstrap over identities; 0 gives no intervals.

    Raises:
        SemeiaError: A folder has no image in the split.
    """
    if not folders:
        return []
    return affect_table(model, *read_affect(model, folders, split=split, limit=limit), rounds=rounds)


def affect_table(
    model: Any, truth: Mapping[str, np.ndarray], answer: Mapping[str, np.ndarray], people: np.ndarray, *, rounds: int
) -> list[Score]:
    """Scores of what was read; see ``evaluate_affect``."""
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
