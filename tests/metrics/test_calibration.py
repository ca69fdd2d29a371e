"""Calibration by hand tables, beside scikit-learn, and on scores whose truth is drawn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, f1_score

from semeia.metrics import calibration as c

NAN = np.nan


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_two_bins_by_hand():
    truth = np.array([0, 0, 1, 1, 1, 0, NAN])
    p = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9, 0.5])
    table = c.reliability(truth, p, bins=2)
    np.testing.assert_allclose(table.probability, [0.2, 0.8])
    np.testing.assert_allclose(table.share, [1 / 3, 2 / 3])
    assert table.count.tolist() == [3, 3]
    assert table.error == pytest.approx(2 / 15)


def test_bins_equal_scikit_learn_quantiles(rng):
    p = rng.random(300)
    truth = (rng.random(300) < p**2).astype(float)
    share, mean = calibration_curve(truth, p, n_bins=10, strategy="quantile")
    table = c.reliability(truth, p, bins=10)
    np.testing.assert_allclose(table.share, share)
    np.testing.assert_allclose(table.probability, mean)


def test_equal_probabilities_do_not_depend_on_their_order():
    truth, p = np.array([1.0, 1, 0, 0]), np.full(4, 0.5)
    assert c.reliability(truth, p, bins=2).error == c.reliability(truth[::-1], p, bins=2).error == 0


def test_sure_and_right_has_no_error_and_nothing_has_no_number():
    truth = np.array([[0.0, NAN], [1.0, NAN]])
    error = c.calibration_error(truth, np.array([[0.0, 0.3], [1.0, 0.4]]))
    assert error[0] == 0
    assert np.isnan(error[1])
    assert np.isnan(c.brier(truth, np.zeros((2, 2)))[1])
    assert np.isnan(c.brier_classes(np.array([-1]), np.ones((1, 2)) / 2))


def test_top_label_by_hand():
    p = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6]])
    assert c.top_label_error(np.array([0, 1, -1]), p, bins=1) == pytest.approx(abs(0.5 - 0.8))


def test_brier_scores_equal_scikit_learn(rng):
    p = rng.random((200, 3))
    truth = (rng.random((200, 3)) < 0.4).astype(float)
    want = [brier_score_loss(truth[:, k], p[:, k]) for k in range(3)]
    np.testing.assert_allclose(c.brier(truth, p), want)
    classes, rows = rng.integers(0, 3, 200), rng.dirichlet(np.ones(3), 200)
    assert c.brier_classes(classes, rows) == pytest.approx(np.mean(((rows - np.eye(3)[classes]) ** 2).sum(1)))


def test_the_table_has_a_row_for_each_bin():
    table = c.reliability_table(c.reliability(np.array([0.0, 1]), np.array([0.25, 0.75]), bins=2))
    assert table.splitlines()[2:] == ["| 0.250 | 0.000 | 1 |", "| 0.750 | 1.000 | 1 |"]


def test_the_temperature_of_overconfident_logits_is_found(rng):
    logits = rng.normal(size=(4000, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(5, p=row) for row in p])
    assert c.fit_temperature(3 * logits, truth) == pytest.approx(3, rel=0.1)
    assert c.fit_temperature(logits, np.full(4000, -1)) == 1


def test_a_scale_and_a_shift_are_found_and_calibrate(rng):
    z = rng.normal(0, 2, (6000, 2))
    truth = (rng.random(z.shape) < sigmoid(0.5 * z - 1.0)).astype(float)
    scale, shift = c.fit_affine(z, truth[..., None])
    np.testing.assert_allclose(scale, 0.5, atol=0.05)
    np.testing.assert_allclose(shift, -1.0, atol=0.1)
    after = c.calibration_error(truth, sigmoid(scale * z + shift))
    assert (after < 0.3 * c.calibration_error(truth, sigmoid(z))).all()


def test_levels_of_one_score_are_moved_together(rng):
    steps = np.array([[-1.0, 0.0, 1.0]])
    z = rng.normal(0, 2, (6000, 1))
    truth = (rng.random((6000, 1, 3)) < sigmoid((z - 0.7)[..., None] - steps)).astype(float)
    scale, shift = c.fit_affine(z, truth, steps=steps)
    assert scale[0] == pytest.approx(1, abs=0.06)
    assert shift[0] == pytest.approx(-0.7, abs=0.1)


def test_few_faces_leave_a_score_nearer_to_what_it_was(rng):
    z = rng.normal(0, 1, (2000, 1)) + 3
    truth = (rng.random(z.shape) < sigmoid(z - 3)).astype(float)
    few, many = (c.fit_affine(z[:n], truth[:n, :, None])[1][0] for n in (6, 2000))
    assert abs(few) < abs(many)


def test_a_label_that_nobody_has_or_nobody_knows_stays_as_it_is(rng):
    truth = np.stack([np.zeros(50), np.full(50, NAN)], 1)
    scale, shift = c.fit_affine(rng.normal(size=(50, 2)), truth[..., None])
    assert scale.tolist() == [1, 1]
    assert shift.tolist() == [0, 0]
    assert c.f1_thresholds(truth, np.full((50, 2), 0.3)).tolist() == [0.5, 0.5]


def test_the_threshold_of_f1_lies_below_one_half_and_is_better(rng):
    p = sigmoid(rng.normal(-2, 1.5, (8000, 1)))
    truth = (rng.random(p.shape) < p).astype(float)
    threshold = c.f1_thresholds(truth, p)[0]
    scores = {t: f1_score(truth[:, 0], p[:, 0] >= t) for t in np.arange(0.1, 0.9, 0.02)}
    assert 0.2 <= threshold < 0.5
    assert f1_score(truth[:, 0], p[:, 0] >= threshold) > max(scores.values()) - 0.01
    assert abs(threshold - max(scores.values()) / 2) < 0.06


def test_the_threshold_of_balanced_accuracy_is_near_the_share(rng):
    p = sigmoid(rng.normal(-3, 1.5, (8000, 1)))
    truth = (rng.random(p.shape) < p).astype(float)
    assert c.balanced_thresholds(truth, p)[0] == pytest.approx(truth.mean(), abs=0.04)


def test_few_positives_leave_the_threshold_to_theory():
    truth = np.array([[0.0]] * 30 + [[1.0]])
    p = np.concatenate([np.full((30, 1), 0.05), [[0.75]]])
    assert c.f1_thresholds(truth, p)[0] == pytest.approx(0.5, abs=0.06)
