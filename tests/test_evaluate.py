"""Protocol scores and calibration of a whole model."""

import numpy as np
import pytest
import torch

from semeia import evaluate as e
from semeia.data.formats import w300lp
from semeia.data.formats.faces import FaceFolder
from semeia.systems import qface

TINY = qface.Config(
    image_size=32, taps=(0, 1, 2), backbone_width=48, backbone_depth=1, width=48, heads=4, hidden=64,
    age_reading="number",
)  # fmt: skip


@pytest.fixture
def model():
    torch.manual_seed(0)
    return qface.build(TINY).eval()


def by_name(scores):
    return {(s.task, s.label, s.metric): s for s in scores}


def test_bp4d_units_have_a_mean_of_their_own(model, faces):
    scores = by_name(e.evaluate_faces(model, [FaceFolder(faces)], split="val", rounds=20))
    task = "action unit present"
    twelve = scores[task, e.MEAN_BP4D, "F1"]
    each = [scores[task, name, "F1"].value for name in e.BP4D]
    assert twelve.value == pytest.approx(np.nanmean(each))
    assert twelve.low <= twelve.value <= twelve.high
    assert scores[task, e.MEAN, "F1"].value != twelve.value


def test_every_kind_of_probability_has_a_calibration_error(model, faces):
    scores = by_name(e.evaluate_faces(model, [FaceFolder(faces)], split="val", rounds=0))
    for task, label in (("expression", e.ALL), ("action unit present", e.MEAN), ("attribute", e.MEAN)):
        assert 0 <= scores[task, label, e.ERROR].value <= 1


def test_calibration_brings_probabilities_to_the_share_of_positives_and_keeps_the_order(model, faces):
    torch.nn.init.constant_(model.readout.bias[model.slots["action_units"]], 4.0)
    torch.nn.init.constant_(model.readout.bias[model.slots["attributes"]], -3.0)
    folder = FaceFolder(faces)
    (batch,) = e._batches(model, folder, "aligned", split="train", limit=None, batch_size=64)
    before = model.predict(batch["image"])
    e.calibrate(model, [folder], split="train")
    after = model.predict(batch["image"])
    for answer, truth in (("au_probability", "au_occurrence"), ("attributes", "attributes")):
        share = batch[truth].mean(0)
        gap = [(read[answer].mean(0) - share).abs().mean() for read in (before, after)]
        assert gap[1] < 0.5 * gap[0], answer
    for answer in ("au_intensity", "au_sides"):
        error = [(read[answer] - batch[answer]).abs().mean() for read in (before, after)]
        assert error[1] < error[0], answer
    for answer in ("au_probability", "au_intensity", "attributes"):
        order = before[answer].argsort(0)
        assert (after[answer].gather(0, order).diff(dim=0) >= -1e-5).all(), answer
    assert (after["expression"].argmax(1) == before["expression"].argmax(1)).all()


def test_a_mirrored_pair_of_side_scores_gives_mirrored_sides(model, faces):
    e.calibrate(model, [FaceFolder(faces)])
    tuned = model.calibration
    scores = torch.randn(5, 2, len(TINY.action_units))
    torch.testing.assert_close(tuned.sides(scores.flip(1)), tuned.sides(scores).flip(1))


def test_presence_is_decided_at_the_units_own_thresholds(model, faces):
    folder = [FaceFolder(faces)]
    model.calibration.unit_threshold.fill_(1.1)
    never = by_name(e.evaluate_faces(model, folder, split="val", rounds=0))
    assert never["action unit present", e.MEAN, "F1"].value == 0


def test_pose_is_also_measured_between_the_angles_that_published_tests_compare():
    rng = np.random.default_rng(0)
    stored = [rng.uniform(-60, 60, (40, 3)) for _ in range(2)]  # pitch, yaw, roll as in Pose_Para
    truth, answer = (w300lp.pose_of(angles) for angles in stored)
    years = np.full(40, 30.0)
    rows = e._number_scores(
        {"age": years, "pose": truth}, {"age": years, "pose": answer}, np.array(["a"] * 40), rounds=0
    )
    wanted = np.abs(stored[0] - stored[1]).mean(0)
    assert [by_name(rows)["pose", name, e.AS_STORED].value for name in e.STORED] == pytest.approx(wanted)
    assert by_name(rows)["pose", e.MEAN, e.AS_STORED].value == pytest.approx(wanted.mean())
