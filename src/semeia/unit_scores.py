"""Evaluation of networks for action units alone: protocol scores with intervals, sides too, and their thresholds.

Shapes      n images   N units   2 sides (the subject's left, right)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from semeia.data.feeds import evaluation_batches, evaluation_rows
from semeia.data.formats.face_files import Faces
from semeia.data.samples import Vocabulary
from semeia.evaluate import Score, label_scores, unit_scores
from semeia.metrics import calibration
from semeia.metrics import faces as metrics
from semeia.records import PRESENT

MOST = 5.0  # FACS


class UnitNetwork(Protocol):
    """What is asked of a network: ALGRNet and MGRR-Net are such."""

    config: Any
    training: bool
    unit_threshold: Tensor
    side_threshold: Tensor

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        """``(B, 3, S, S)`` -> ``au_probability`` (B, N), ``au_intensity`` (B, N), ``au_sides`` (B, N, 2)."""
        ...

    def train(self, mode: bool = True) -> Any:
        """As of a module."""
        ...


def vocabulary(config: Any) -> Vocabulary:
    """The names that a network answers."""
    return Vocabulary(action_units=config.action_units)


def read_units(
    model: UnitNetwork, folders: Sequence[Faces], *, split: str, limit: int | None = None, batch_size: int = 64
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Truths with NaN where unlabelled, answers, and the identity of each image of a split.

    Returns:
        ``au_occurrence``, ``au_intensity`` (n, N) and ``au_sides`` (n, N, 2); the model's answers; (n,) identities.
    """
    return read_aligned(
        model, folders, names=vocabulary(model.config), truths=("au_occurrence", "au_intensity", "au_sides"),
        device=model.unit_threshold.device, split=split, limit=limit, batch_size=batch_size,
    )  # fmt: skip


def read_aligned(
    model: Any, folders: Sequence[Faces], *, names: Vocabulary, truths: Sequence[str], device: torch.device,
    split: str, limit: int | None, batch_size: int = 64,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:  # fmt: skip
    """What a model that reads aligned crops says of a split, beside the truth.

    Args:
        model: With ``predict`` and a ``config`` of ``image_size`` and ``margin``; its mode is left as it was.
        folders: Data sets.
        names: What targets are arranged by.
        truths: Targets of ``data.samples`` that are wanted.
        device: Of the model.
        split: ``train``, ``val`` or ``test``.
        limit: Most images of each folder.
        batch_size: Images a forward pass.

    Returns:
        Truths by name, NaN where unlabelled, but ``expression`` -1; the model's answers; (n,) identities.
    """
    truth: dict[str, list[np.ndarray]] = {}
    answer: dict[str, list[np.ndarray]] = {}
    people: list[str] = []
    training, config = model.training, model.config
    model.train(False)
    for number, folder in enumerate(folders):
        texts = folder.columns.texts
        rows = evaluation_rows(folder, split=split, limit=limit)
        people += [f"{number}/{texts['identity'][row] or texts['key'][row]}" for row in rows]
        for batch in evaluation_batches(
            folder, split=split, view="aligned", image_size=config.image_size, vocabulary=names,
            margin=config.margin, batch_size=batch_size, limit=limit,
        ):  # fmt: skip
            for name, value in model.predict(batch["image"].to(device)).items():
                answer.setdefault(name, []).append(value.float().cpu().numpy())
            for name in truths:
                value, known = batch[name], batch[f"{name}_mask"]
                value = value if name == "expression" else value.masked_fill(~known, torch.nan)
                truth.setdefault(name, []).append(value.numpy())
    model.train(training)
    whole = [{name: np.concatenate(parts) for name, parts in side.items()} for side in (truth, answer)]
    return whole[0], whole[1], np.array(people)


def one_a_side(sides: np.ndarray) -> np.ndarray:
    """A row for each side of each face: (n, N, 2) -> (2 n, N)."""
    return sides.transpose(0, 2, 1).reshape(-1, sides.shape[1])


def side_presence(sides: np.ndarray) -> np.ndarray:
    """Whether each side shows a unit at intensity 2 or more, NaN where unlabelled: (n, N, 2) -> (2 n, N)."""
    rows = one_a_side(sides)
    return np.where(np.isnan(rows), np.nan, rows >= PRESENT)


def fit_thresholds(
    model: UnitNetwork, folders: Sequence[Faces], *, split: str = "val", limit: int | None = None
) -> None:
    """Choose by F1 from which probability on a unit, and from which intensity on a side, counts as present; in place.

    Args:
        model: Left as it was but for its thresholds.
        folders: Data sets.
        split: Must neither have trained nor be reported.
        limit: At most this many images of each folder.

    Raises:
        SemeiaError: A folder has no image in the split.
    """
    truth, answer, _ = read_units(model, folders, split=split, limit=limit)
    chosen = calibration.f1_thresholds(truth["au_occurrence"], answer["au_probability"])
    model.unit_threshold.copy_(torch.from_numpy(chosen))
    if not np.isnan(truth["au_sides"]).all():
        shown = side_presence(truth["au_sides"])
        chosen = calibration.f1_thresholds(shown, one_a_side(answer["au_sides"]) / MOST)
        # Where a side is never shown, or always, nothing was chosen.
        some = (shown == 1).any(0) & (shown == 0).any(0)
        model.side_threshold.copy_(torch.from_numpy(np.where(some, MOST * chosen, PRESENT)))


def evaluate_units(
    model: UnitNetwork,
    folders: Sequence[Faces],
    *,
    split: str,
    limit: int | None = None,
    rounds: int = 1000,
) -> list[Score]:
    """Read a split and score every unit that any face has a label for, and its sides.

    Args:
        model: The network; left as it was (training or evaluation mode).
        folders: Data sets. None give no scores.
        split: ``train``, ``val`` or ``test``.
        limit: At most this many images of each folder.
        rounds: Of the bootstrap over identities; 0 gives no intervals.

    Raises:
        SemeiaError: A folder has no image in the split.
    """
    if not folders:
        return []
    truth, answer, people = read_units(model, folders, split=split, limit=limit)
    names = model.config.action_units
    present = (answer["au_probability"] >= model.unit_threshold.cpu().numpy()).astype(float)
    shown = (answer["au_sides"] >= model.side_threshold.cpu().numpy()[:, None]).astype(float)
    scores = [
        *unit_scores(truth, answer, present, people, names, rounds),
        *side_scores(truth["au_sides"], shown, people, names, rounds),
    ]
    return [score for score in scores if not np.isnan(score.value)]


def side_scores(
    truth: np.ndarray, shown: np.ndarray, people: np.ndarray, names: Sequence[str], rounds: int
) -> list[Score]:
    """F1 of presence on each side, both sides of all faces taken together; (n, N, 2) truth and answer."""

    def f1(i: np.ndarray) -> np.ndarray:
        return metrics.binary_f1(metrics.binary_counts(side_presence(truth[i]), one_a_side(shown[i])))

    known = np.where(np.isnan(truth[..., 0]), np.nan, (truth >= PRESENT).any(-1))
    return label_scores("action unit side present", "F1", f1, known, people, names, rounds)
