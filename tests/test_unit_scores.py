"""Scores of networks for action units, and the thresholds of units and sides."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from semeia.data.formats.faces import FaceFolder
from semeia.unit_scores import evaluate_units, fit_thresholds, read_units, side_presence, side_scores

UNITS = ("AU01", "AU12")


class Knowing(torch.nn.Module):
    """Answers half of the truth of the split ``val``: too little, but in the right order."""

    def __init__(self, faces):
        super().__init__()
        self.config = SimpleNamespace(image_size=32, margin=0.1, action_units=UNITS)
        self.register_buffer("unit_threshold", torch.full((2,), 0.5))
        self.register_buffer("side_threshold", torch.full((2,), 2.0))
        truth, _, _ = read_units(Plain(self), [FaceFolder(faces)], split="val")
        self.truth = torch.from_numpy(truth["au_intensity"]).float()

    def predict(self, image):
        low = 0.09 * self.truth + 0.1
        return {"au_probability": low, "au_intensity": self.truth, "au_sides": (5 * low)[..., None].expand(-1, -1, 2)}


class Plain(torch.nn.Module):
    """Answers nothing in particular."""

    def __init__(self, like):
        super().__init__()
        self.config, self.unit_threshold, self.side_threshold = like.config, like.unit_threshold, like.side_threshold

    def predict(self, image):
        answer = torch.zeros(len(image), 2)
        return {"au_probability": answer, "au_intensity": answer, "au_sides": answer[..., None].expand(-1, -1, 2)}


def test_thresholds_follow_answers_that_are_too_low(faces):
    model = Knowing(faces)
    fit_thresholds(model, [FaceFolder(faces)])
    assert (model.unit_threshold < 0.5).all()
    assert (model.side_threshold < 5 * 0.5).all()


def test_decisions_are_made_at_the_thresholds(faces):
    model = Knowing(faces)
    model.unit_threshold[:], model.side_threshold[:] = 0.27, 5 * 0.27  # what intensity 2 is answered with is 0.28
    scores = evaluate_units(model, [FaceFolder(faces)], split="val", rounds=0)
    f1 = {(score.task, score.label): score.value for score in scores if score.metric == "F1"}
    assert f1["action unit present", "mean"] == 1
    assert f1["action unit side present", "mean"] == 1


def test_a_side_that_is_never_shown_keeps_intensity_two(faces, monkeypatch):
    model = Knowing(faces)
    read = read_units(model, [FaceFolder(faces)], split="val")
    read[0]["au_sides"][:, 1] = 0
    monkeypatch.setattr("semeia.unit_scores.read_units", lambda *_, **__: read)
    fit_thresholds(model, [FaceFolder(faces)])
    assert model.side_threshold[1] == 2
    assert model.side_threshold[0] != 2


def test_sides_are_scored_together_by_hand():
    truth = np.array([[[3.0, 0.0]], [[2.0, 2.0]], [[np.nan, np.nan]]])  # three faces, one unit
    assert side_presence(truth)[:4, 0].tolist() == [1, 0, 1, 1]
    shown = np.array([[[1.0, 1.0]], [[1.0, 0.0]], [[1.0, 1.0]]])
    rows = side_scores(truth, shown, np.array(["a", "b", "c"]), ["AU12"], 0)
    assert rows[0].value == pytest.approx(2 / 3)  # two right, one false, one missed
    assert rows[0].count == 2
