"""Metrics agree with scikit-learn, with published tables and with counting by hand."""

import numpy as np
import pytest
from sklearn import metrics as reference

from semeia.metrics import faces as m

NAN = np.nan


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_confusion_counts_rows_of_truth_and_leaves_unlabelled_out():
    table = m.confusion(np.array([0, 0, 1, 2, -1]), np.array([0, 1, 1, 0, 2]), classes=3)
    assert table.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert m.accuracy(table) == 0.5
    assert m.balanced_accuracy(table) == 0.5
    np.testing.assert_allclose(m.f1_per_class(table), [0.5, 2 / 3, 0])


def test_class_metrics_equal_scikit_learn(rng):
    truth, answer = rng.integers(0, 5, 300), rng.integers(0, 5, 300)
    table = m.confusion(truth, answer, classes=5)
    np.testing.assert_array_equal(table, reference.confusion_matrix(truth, answer))
    assert m.accuracy(table) == pytest.approx(reference.accuracy_score(truth, answer))
    assert m.balanced_accuracy(table) == pytest.approx(reference.balanced_accuracy_score(truth, answer))
    np.testing.assert_allclose(m.f1_per_class(table), reference.f1_score(truth, answer, average=None))
    assert m.macro_f1(table) == pytest.approx(reference.f1_score(truth, answer, average="macro"))


def test_a_class_that_does_not_occur_has_no_score_and_no_part_in_the_mean():
    table = m.confusion(np.array([0, 0, 1]), np.array([0, 2, 1]), classes=3)
    assert np.isnan(m.f1_per_class(table)[2])
    assert np.isnan(m.recall_per_class(table)[2])
    assert m.balanced_accuracy(table) == 0.75
    assert np.isnan(m.accuracy(np.zeros((3, 3), int)))
    assert np.isnan(m.macro_f1(np.zeros((3, 3), int)))


def test_binary_metrics_equal_scikit_learn(rng):
    truth, answer = rng.integers(0, 2, (200, 4)).astype(float), rng.integers(0, 2, (200, 4))
    truth[rng.random((200, 4)) < 0.2] = NAN
    counts = m.binary_counts(truth, answer)
    for k in range(4):
        known = ~np.isnan(truth[:, k])
        pair = truth[known, k], answer[known, k]
        assert counts.labelled[k] == known.sum()
        assert counts.positives[k] == pair[0].sum()
        assert m.binary_f1(counts)[k] == pytest.approx(reference.f1_score(*pair))
        assert m.binary_accuracy(counts)[k] == pytest.approx(reference.accuracy_score(*pair))
        assert m.binary_balanced_accuracy(counts)[k] == pytest.approx(reference.balanced_accuracy_score(*pair))


def test_a_unit_without_positives_has_no_f1_but_a_count():
    counts = m.binary_counts(np.array([[0.0, 1, NAN], [0, 0, NAN]]), np.array([[1, 1, 1], [0, 0, 1]]))
    assert counts.positives.tolist() == [0, 1, 0]
    assert counts.labelled.tolist() == [2, 2, 0]
    np.testing.assert_array_equal(m.binary_f1(counts), [NAN, 1, NAN])
    np.testing.assert_array_equal(m.binary_accuracy(counts), [0.5, 1, NAN])
    np.testing.assert_array_equal(m.binary_balanced_accuracy(counts), [NAN, 1, NAN])
    assert m.mean_known(m.binary_f1(counts)) == 1


def test_absolute_error_leaves_unlabelled_out():
    truth, answer = np.array([[1.0, NAN, 0], [3, NAN, NAN]]), np.array([[2.0, 1, 4], [0, 1, 1]])
    np.testing.assert_array_equal(m.absolute_error(truth, answer), [2, NAN, 4])
    assert m.absolute_error(np.array([1.0, 2, NAN]), np.array([2.0, 4, 9])) == 1.5


def test_angles_go_the_short_way_round():
    truth, answer = np.array([[179.0, 0], [-170, NAN]]), np.array([[-179.0, 30], [170, 3]])
    np.testing.assert_allclose(m.angular_error(truth, answer), [11, 30])


def test_pearson_equals_numpy(rng):
    truth = rng.random((50, 3))
    answer = truth + rng.random((50, 3))
    expected = [np.corrcoef(truth[:, k], answer[:, k])[0, 1] for k in range(3)]
    np.testing.assert_allclose(m.pearson(truth, answer), expected)


def test_icc_equals_the_mean_squares_of_shrout_and_fleiss():
    """Judges 1 and 3 of their example (1979, table 2), with the two-way table worked out in full."""
    rated = np.array([[9.0, 5], [6, 3], [8, 6], [7, 2], [10, 6], [6, 4]])
    grand, rows, columns = rated.mean(), rated.mean(1, keepdims=True), rated.mean(0, keepdims=True)
    bms = 2 * ((rows - grand) ** 2).sum() / 5
    ems = ((rated - rows - columns + grand) ** 2).sum() / 5
    assert m.icc_3_1(rated[:, :1], rated[:, 1:])[0] == pytest.approx((bms - ems) / (bms + ems))


def test_icc_forgives_an_offset_but_not_a_scale(rng):
    truth = rng.random((40, 1)) * 5
    assert m.icc_3_1(truth, truth + 1)[0] == pytest.approx(1)
    assert m.icc_3_1(truth, truth * 0.5)[0] == pytest.approx(0.8)
    assert m.icc_3_1(truth, -truth)[0] == pytest.approx(-1)


def test_correlations_of_what_does_not_vary_are_unknown():
    constant, varied = np.full((3, 1), 0.1), np.array([[1.0], [2], [4]])
    assert np.isnan(m.pearson(constant, varied)[0])
    assert np.isnan(m.icc_3_1(constant, constant)[0])
    assert m.icc_3_1(constant, varied)[0] == pytest.approx(0)
    assert np.isnan(m.icc_3_1(np.array([[1.0], [NAN], [NAN]]), varied)[0])


def test_the_interval_of_a_constant_is_that_constant():
    low, high = m.bootstrap(lambda rows: 3.0, np.array(["a", "b"]), seed=0, rounds=20)
    assert low == high == 3


def test_whole_groups_are_drawn():
    groups = np.array([4, 2, 4, 2, 2, 9])

    def whole(rows):
        counts = np.bincount(rows, minlength=6)
        assert counts[0] == counts[2]
        assert counts[1] == counts[3] == counts[4]
        return counts.astype(float)

    low, high = m.bootstrap(whole, groups, seed=1, rounds=200)
    assert low.tolist() == [0] * 6
    assert (high >= 2).all()


def test_the_interval_of_a_mean_is_as_wide_as_statistics_says(rng):
    values = rng.normal(0, 1, 400)
    low, high = m.bootstrap(lambda rows: values[rows].mean(), np.arange(400), seed=2, rounds=800)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    again = m.bootstrap(lambda rows: values[rows].mean(), np.arange(400), seed=2, rounds=800)
    assert (low, high) == again


def test_rounds_without_an_answer_are_left_out():
    values = np.array([[NAN, NAN], [NAN, 1.0]])
    low, high = m.bootstrap(lambda rows: values[rows[0]], np.arange(2), seed=0, rounds=30)
    np.testing.assert_array_equal(low, [NAN, 1])
    np.testing.assert_array_equal(high, [NAN, 1])
