"""Metrics of grades agree with scikit-learn, with numpy and with counting by hand."""

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.exceptions import UndefinedMetricWarning

from semeia.metrics import grades as m
from semeia.metrics.faces import confusion

NAN = np.nan


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# ---------------------------------------------------------------------------------------------------------------------
# Kappa


@pytest.mark.parametrize("grades", [2, 3, 6, 9])
def test_kappa_equals_scikit_learn(rng, grades):
    for size in (3, 20, 400):
        truth = rng.integers(0, grades, size)
        answer = np.clip(truth + rng.integers(-2, 3, size), 0, grades - 1)
        expected = reference.cohen_kappa_score(truth, answer, labels=range(grades), weights="quadratic")
        assert m.quadratic_kappa(confusion(truth, answer, classes=grades)) == pytest.approx(expected)


def test_kappa_equals_scikit_learn_on_random_tables(rng):
    for _ in range(20):
        table = rng.integers(0, 30, (6, 6))
        truth, answer = np.repeat(np.indices((6, 6)).reshape(2, -1), table.ravel(), axis=1)
        expected = reference.cohen_kappa_score(truth, answer, weights="quadratic")
        assert m.quadratic_kappa(table) == pytest.approx(expected)


def test_kappa_of_a_table_worked_out_by_hand():
    """Rows add up to 3, 2, 1 and columns to 2, 3, 1; three answers are one grade off and none is two.

    By chance, times the total of 6: 1 * (3*3 + 2*2 + 2*1 + 1*3) + 4 * (3*1 + 1*2) = 38. So 1 - 3 / (38 / 6) = 10 / 19.
    """
    assert m.quadratic_kappa(np.array([[2, 1, 0], [0, 1, 1], [0, 1, 0]])) == pytest.approx(10 / 19)


def test_kappa_is_one_where_all_is_right_zero_for_a_constant_and_negative_beyond():
    assert m.quadratic_kappa(np.diag([3, 2, 0, 1])) == 1
    assert m.quadratic_kappa(np.array([[0, 4, 0], [0, 3, 0], [0, 2, 0]])) == pytest.approx(0)
    assert m.quadratic_kappa(np.array([[0, 5], [5, 0]])) == -1


def test_a_grade_that_does_not_occur_keeps_its_place_on_the_scale():
    truth, answer = np.array([0, 0, 1, 5, 5]), np.array([0, 1, 1, 5, 1])
    whole = m.quadratic_kappa(confusion(truth, answer, classes=6))
    assert whole != pytest.approx(reference.cohen_kappa_score(truth, answer, weights="quadratic"))
    assert whole == pytest.approx(reference.cohen_kappa_score(truth, answer, labels=range(6), weights="quadratic"))


def test_kappa_of_one_grade_or_of_nothing_is_unknown():
    one = np.full(4, 2)
    assert np.isnan(m.quadratic_kappa(confusion(one, one, classes=6)))
    with pytest.warns(UndefinedMetricWarning):
        assert np.isnan(reference.cohen_kappa_score(one, one, labels=range(6), weights="quadratic"))
    assert np.isnan(m.quadratic_kappa(np.zeros((6, 6), int)))
    assert np.isnan(m.quadratic_kappa(np.array([[7]])))
    assert m.quadratic_kappa(confusion(one, one + 1, classes=6)) == 0


def test_kappa_of_a_very_large_table_does_not_overflow():
    table = np.array([[2, 1, 0], [0, 1, 1], [0, 1, 0]])
    assert m.quadratic_kappa(table * 10**12) == pytest.approx(m.quadratic_kappa(table))


# ---------------------------------------------------------------------------------------------------------------------
# Distances


def test_distances_are_counted_in_grades_and_unlabelled_truths_left_out():
    truth, answer = np.array([0, 1, 5, 3, -1, -1]), np.array([0, 2, 2, 3, 0, 5])
    assert m.grade_error(truth, answer) == 1
    assert m.within_one(truth, answer) == 0.75


def test_distances_of_unsigned_and_of_expected_grades():
    truth = np.array([0, 5, 2], np.uint8)
    assert m.grade_error(truth, np.array([2, 4, 2], np.uint8)) == 1
    assert m.grade_error(truth, np.array([0.5, 3.5, 2])) == pytest.approx(2 / 3)
    assert m.within_one(truth, np.array([0.5, 3.5, 3])) == pytest.approx(2 / 3)


def test_grade_error_equals_scikit_learn(rng):
    truth, answer = rng.integers(0, 6, (2, 200))
    assert m.grade_error(truth, answer) == pytest.approx(reference.mean_absolute_error(truth, answer))


@pytest.mark.parametrize("metric", [m.grade_error, m.within_one])
def test_distances_of_nothing_are_unknown(metric):
    assert np.isnan(metric(np.zeros(0, int), np.zeros(0, int)))
    assert np.isnan(metric(np.array([-1, -1]), np.array([0, 3])))


@pytest.mark.parametrize("metric", [m.grade_error, m.within_one])
def test_an_answer_that_is_not_a_number_makes_the_distance_unknown_only_where_it_counts(metric):
    assert np.isnan(metric(np.array([0, 1]), np.array([0, NAN])))
    assert metric(np.array([1, -1]), np.array([2, NAN])) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Patients


def test_patients_come_in_order_of_first_appearance_with_their_means():
    patients = np.array(["p9", "p10", "p9", "a", "p10", "p9"])
    logits = np.array([[3.0, 0], [1, 1], [0, 0], [5, -5], [3, 2], [0, 3]])
    names, means = m.one_a_patient(patients, logits)
    assert names == ("p9", "p10", "a")
    np.testing.assert_allclose(means, [[1, 1], [2, 1.5], [5, -5]])


def test_means_of_patients_equal_a_loop_and_do_not_depend_on_the_order_of_frames(rng):
    patients, logits = rng.integers(0, 12, 300), rng.normal(size=(300, 6)).astype(np.float32)
    names, means = m.one_a_patient(patients, logits)
    assert names == tuple(map(str, dict.fromkeys(patients.tolist())))
    expected = [logits[patients == int(name)].mean(0, dtype=float) for name in names]
    np.testing.assert_allclose(means, expected)
    mixed = rng.permutation(300)
    other_names, other_means = m.one_a_patient(patients[mixed], logits[mixed])
    back = [other_names.index(name) for name in names]
    np.testing.assert_allclose(other_means[back], means)


def test_a_patient_with_a_logit_that_is_not_a_number_has_no_mean_there_and_the_others_have():
    names, means = m.one_a_patient(np.array(["b", "a", "b"]), np.array([[1.0, NAN], [2, 2], [3, 3]]))
    assert names == ("b", "a")
    np.testing.assert_array_equal(means, [[2, NAN], [2, 2]])


def test_no_frames_are_no_patients():
    names, means = m.one_a_patient(np.array([]), np.zeros((0, 6)))
    assert names == ()
    assert means.shape == (0, 6)


# ---------------------------------------------------------------------------------------------------------------------
# The curve


def test_each_bin_of_the_curve_equals_numpy(rng):
    edges = np.array([0, 0.1, 0.15, 0.5, 1])
    truth = rng.random(500)
    answer = truth + rng.normal(0, 0.2, 500)
    found = m.curve(truth, answer, edges=edges)
    for r in range(4):
        inside = answer[(truth >= edges[r]) & (truth < edges[r + 1])]
        assert found.count[r] == len(inside)
        assert found.mean[r] == pytest.approx(inside.mean())
        expected = np.percentile(inside, [5, 50, 95])
        np.testing.assert_allclose([found.low[r], found.middle[r], found.high[r]], expected)


def test_bins_have_their_lower_edge_and_the_last_one_both():
    found = m.curve(np.array([0, 0.5, 1]), np.array([0.1, 0.4, 0.8]), edges=np.array([0, 0.5, 1]))
    assert found.count.tolist() == [1, 2]
    np.testing.assert_allclose(found.mean, [0.1, 0.6])
    np.testing.assert_allclose([found.low, found.middle, found.high], [[0.1, 0.42], [0.1, 0.6], [0.1, 0.78]])


def test_unlabelled_truths_and_those_outside_the_edges_are_left_out():
    truth = np.array([-1, NAN, 0.3, 0.9])
    found = m.curve(truth, np.array([NAN, NAN, 0.2, NAN]), edges=np.array([0, 0.5]))
    assert found.count.tolist() == [1]
    assert found.mean.tolist() == found.low.tolist() == found.middle.tolist() == found.high.tolist() == [0.2]


def test_an_empty_bin_counts_zero_and_is_unknown():
    edges = np.linspace(0, 1, 4)
    for truth, count in ((np.array([0.1, 0.9]), [1, 0, 1]), (np.zeros(0), [0, 0, 0]), (np.full(2, -1), [0, 0, 0])):
        found = m.curve(truth, truth, edges=edges)
        assert found.count.tolist() == count
        for values in (found.mean, found.low, found.middle, found.high):
            np.testing.assert_array_equal(np.isnan(values), found.count == 0)


def test_an_answer_that_is_not_a_number_makes_its_bin_unknown_and_no_other():
    truth, answer = np.array([0.1, 0.2, 0.1, 0.8]), np.array([0.3, NAN, 0.1, 0.7])
    found = m.curve(truth, answer, edges=np.array([0, 0.5, 1]))
    assert found.count.tolist() == [3, 1]
    for values in (found.mean, found.low, found.middle, found.high):
        np.testing.assert_array_equal(values, [NAN, 0.7])


def test_the_curve_of_one_value_is_that_value():
    found = m.curve(np.full(7, 0.25), np.full(7, 0.1), edges=np.array([0, 1]))
    assert found.low == found.middle == found.high == 0.1
