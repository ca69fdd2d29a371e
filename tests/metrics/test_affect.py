"""Concordance and P_MTL agree with tables worked out by hand, with scikit-learn and with the code of the challenge."""

import numpy as np
import pytest
from sklearn import metrics as reference

from semeia.metrics import affect as m
from semeia.metrics import faces

NAN = np.nan
N, E, K, G = 120, 8, 12, 13


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def read(rng):
    """Truths with holes, answers, and identities of 120 images; nobody shows the last expression and the last unit."""

    def holes(values):
        return np.where(rng.random(values.shape) < 0.2, NAN, values)

    units = rng.integers(0, 2, (N, K)).astype(float)
    units[:, -1] = 0
    affect = rng.uniform(-1, 1, (N, 2))
    truth = {
        "valence_arousal": holes(affect),
        "expression": rng.integers(-1, E - 1, N),
        "au_occurrence": holes(units),
    }
    answer = {
        "valence_arousal": (affect + rng.normal(0, 0.4, (N, 2)) + [0.1, -0.2]).astype(np.float32),
        "expression": rng.integers(0, E, N),
        "present": rng.random((N, K)) < 0.5,
    }
    return truth, answer, np.array([f"p{i % G}" for i in range(N)])


def column(*values):
    return np.array(values, float)[:, None]


def totals(truth, answer, people, weights=None, classes=E):
    names, sums = m.affect_sums(truth, answer, people, classes=classes)
    weights = np.ones((1, len(names))) if weights is None else weights
    return {name: np.tensordot(weights, each, 1) for name, each in sums.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Concordance


@pytest.mark.parametrize(
    ("truth", "answer", "expected"),
    [
        # means 2 and 3, variances 2/3 and 2, covariance 1: 2 / (2/3 + 2 + 1)
        ((1, 2, 3), (2, 2, 5), 6 / 11),
        # means 0.25 and 0, variances 3/16 and 1/2, covariance 1/4: (1/2) / (3/16 + 1/2 + 1/16)
        ((0, 1, 0, 0), (0, 1, 0, -1), 2 / 3),
        # a shift of 1 beside variances of 2/3: (4/3) / (4/3 + 1)
        ((0, 1, 2), (1, 2, 3), 4 / 7),
        # twice the scale: means 0, variances 2/3 and 8/3, covariance 4/3
        ((-1, 0, 1), (-2, 0, 2), 0.8),
        ((-0.5, 0.1, 0.9), (-0.5, 0.1, 0.9), 1),
        ((-0.5, 0, 0.5), (0.5, 0, -0.5), -1),
        ((0.5, NAN, -0.5, NAN), (0.25, 7, -0.25, -7), 0.8),
    ],
)
def test_concordance_of_tables_worked_out_by_hand(truth, answer, expected):
    assert m.ccc(column(*truth), column(*answer))[0] == pytest.approx(expected)


def test_concordance_equals_its_definition_by_correlation(rng):
    truth = rng.normal(0, 0.4, (300, 2))
    answer = 0.5 * truth + rng.normal(0.1, 0.2, (300, 2))
    for k, found in enumerate(m.ccc(truth, answer)):
        x, y = truth[:, k], answer[:, k]
        rho = np.corrcoef(x, y)[0, 1]
        expected = 2 * rho * x.std() * y.std() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        assert found == pytest.approx(expected)
    assert m.ccc(truth, answer) == pytest.approx(m.ccc(answer, truth))


@pytest.mark.parametrize("value", [0.1, -0.7, 1 / 3, 1.0])
def test_a_constant_has_no_concordance_whichever_side_it_is_on(rng, value):
    varied, constant = rng.uniform(-1, 1, (1000, 1)), np.full((1000, 1), value)
    assert m.ccc(varied, constant)[0] == pytest.approx(0, abs=1e-12)
    assert m.ccc(constant, varied)[0] == pytest.approx(0, abs=1e-12)
    assert m.ccc(constant, constant)[0] == 0
    assert m.ccc(constant, -constant)[0] == pytest.approx(0, abs=1e-12)
    assert m.ccc(constant, constant.astype(np.float32))[0] == 0
    assert m.ccc(column(value), column(value))[0] == 0


def test_concordance_of_nothing_is_unknown_and_so_is_that_of_an_answer_that_is_none():
    assert np.isnan(m.ccc(column(NAN, NAN), column(0.1, 0.2)))[0]
    assert np.isnan(m.ccc(column(0.1, 0.2), column(NAN, 0.2)))[0]
    assert m.ccc(column(0.1, 0.2, NAN), column(0.1, 0.2, NAN))[0] == pytest.approx(1)


# ---------------------------------------------------------------------------------------------------------------------
# F1


def test_f1_of_expressions_counts_classes_that_nobody_shows_as_zero():
    truth = {"valence_arousal": np.zeros((5, 2)), "au_occurrence": np.zeros((5, 1))}
    answer = {"valence_arousal": np.zeros((5, 2)), "present": np.zeros((5, 1))}
    sums = totals(
        truth | {"expression": np.array([0, 0, 1, 1, -1])}, answer | {"expression": np.array([0, 1, 1, 3, 2])},
        np.arange(5), classes=5,
    )  # fmt: skip
    # class 0: 1 right, 1 missed; class 1: 1 right, 1 wrong, 1 missed; 2 is answered where nothing is labelled,
    # 3 wrongly, 4 never
    assert m.expression_f1(sums)[0].tolist() == [2 / 3, 0.5, 0, 0, 0]
    assert m.macro_f1(sums)[0] == pytest.approx((2 / 3 + 0.5) / 5)


def test_f1_of_units_counts_those_that_nobody_shows_as_zero_and_leaves_unlabelled_ones_out():
    truth = {
        "valence_arousal": np.zeros((4, 2)),
        "expression": np.zeros(4, int),
        "au_occurrence": np.array([[1, 0, NAN, 0], [1, 0, NAN, 0], [0, 0, NAN, 0], [NAN, NAN, NAN, 0]]),
    }
    answer = {
        "valence_arousal": np.zeros((4, 2)),
        "expression": np.zeros(4, int),
        "present": np.array([[1, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]]),
    }
    sums = totals(truth, answer, np.arange(4), classes=1)
    np.testing.assert_allclose(m.unit_f1(sums)[0], [2 / 3, 0, NAN, 0])
    assert m.mean_unit_f1(sums)[0] == pytest.approx(2 / 9)


def expected(truth, answer):
    """The parts of the score as public code of the challenge has them: scikit-learn, a class or unit at a time."""
    x, y = truth["valence_arousal"], answer["valence_arousal"].astype(float)
    concordance = []
    for k in range(2):
        known = ~np.isnan(x[:, k])
        a, b = x[known, k], y[known, k]
        covariance = np.cov(a, b, ddof=0)[0, 1]
        concordance.append(2 * covariance / (a.var() + b.var() + (a.mean() - b.mean()) ** 2))
    known = truth["expression"] >= 0
    expressions = [
        reference.f1_score(truth["expression"][known] == c, answer["expression"][known] == c, zero_division=0)
        for c in range(E)
    ]
    units = []
    for k in range(K):
        known = ~np.isnan(truth["au_occurrence"][:, k])
        pair = truth["au_occurrence"][known, k], answer["present"][known, k]
        units.append(reference.f1_score(*pair, zero_division=0))
    return {
        m.valence_ccc: concordance[0],
        m.arousal_ccc: concordance[1],
        m.mean_ccc: np.mean(concordance),
        m.macro_f1: np.mean(expressions),
        m.mean_unit_f1: np.mean(units),
        m.p_mtl: np.mean(concordance) + np.mean(expressions) + np.mean(units),
    }


def test_the_score_is_that_of_the_challenge(read):
    truth, answer, people = read
    sums = totals(truth, answer, people)
    for metric, number in expected(truth, answer).items():
        assert metric(sums)[0] == pytest.approx(number), metric.__name__
    assert m.expression_f1(sums).shape == (1, E)
    assert m.unit_f1(sums)[0, -1] == m.expression_f1(sums)[0, -1] == 0


def test_metrics_of_sums_are_those_of_drawn_identities(read, rng):
    truth, answer, people = read
    names, _ = m.affect_sums(truth, answer, people, classes=E)
    drawn = rng.integers(G, size=(4, G))
    weights = np.stack([np.bincount(draw, minlength=G) for draw in drawn]).astype(float)
    sums = totals(truth, answer, people, weights)
    for row, draw in enumerate(drawn):
        images = np.concatenate([np.flatnonzero(people == names[i]) for i in draw])
        again = [{name: each[images] for name, each in side.items()} for side in (truth, answer)]
        for metric, number in expected(*again).items():
            assert metric(sums)[row] == pytest.approx(number), metric.__name__


def test_the_best_score_is_three_and_that_of_constants_small(read, rng):
    truth, _, people = read
    right = {
        "valence_arousal": np.nan_to_num(truth["valence_arousal"]), "expression": truth["expression"].clip(0),
        "present": truth["au_occurrence"] == 1,
    }  # fmt: skip
    truth = truth | {"expression": rng.integers(0, E, N), "au_occurrence": rng.integers(0, 2, (N, K)).astype(float)}
    right |= {"expression": truth["expression"], "present": truth["au_occurrence"]}
    assert m.p_mtl(totals(truth, right, people))[0] == pytest.approx(3)
    still = {"valence_arousal": np.full((N, 2), 0.3), "expression": np.zeros(N, int), "present": np.zeros((N, K))}
    sums = totals(truth, still, people)
    assert m.mean_ccc(sums)[0] == pytest.approx(0, abs=1e-12)
    assert m.mean_unit_f1(sums)[0] == 0
    assert m.p_mtl(sums)[0] == pytest.approx(m.macro_f1(sums)[0])


def test_classes_that_no_truth_can_have_may_be_taken_out(read):
    truth, answer, people = read
    sums = totals(truth, answer, people)
    seven = sums | {"expression": sums["expression"][:, :7]}
    assert m.macro_f1(seven)[0] == pytest.approx(m.macro_f1(sums)[0] * 8 / 7)


@pytest.mark.parametrize("task", ["valence_arousal", "expression", "au_occurrence"])
def test_a_task_that_is_not_labelled_has_no_metric_and_no_score(read, task):
    truth, answer, people = read
    bare = truth | {task: np.full(truth[task].shape, -1 if task == "expression" else NAN)}
    sums = totals(bare, answer, people)
    unknown = {"valence_arousal": m.mean_ccc, "expression": m.macro_f1, "au_occurrence": m.mean_unit_f1}
    assert all(np.isfinite(each).all() for each in sums.values())
    assert {name for name, metric in unknown.items() if np.isnan(metric(sums)[0])} == {task}
    assert np.isnan(m.p_mtl(sums)[0])


# ---------------------------------------------------------------------------------------------------------------------
# Intervals


def test_the_interval_is_that_of_drawing_images_of_identities(read):
    truth, answer, people = read
    _, sums = m.affect_sums(truth, answer, people, classes=E)

    def slow(images):
        return m.mean_ccc(totals(*({name: each[images] for name, each in side.items()} for side in (truth, answer)),
                                 people[images]))[0]  # fmt: skip

    low, high = m.interval(m.mean_ccc, sums, seed=3, rounds=3000)
    others = faces.bootstrap(slow, people, seed=4, rounds=300)
    assert low < m.mean_ccc(totals(truth, answer, people))[0] < high
    np.testing.assert_allclose([low, high], others, atol=0.03)
    assert (low, high) == m.interval(m.mean_ccc, sums, seed=3, rounds=3000)


def test_intervals_have_the_shape_of_the_metric_and_leave_draws_without_an_answer_out():
    truth = {
        "valence_arousal": np.array([[0.1, NAN], [0.5, NAN], [NAN, NAN]]),
        "expression": np.array([0, 1, -1]),
        "au_occurrence": np.array([[1.0], [NAN], [NAN]]),
    }
    answer = {"valence_arousal": np.zeros((3, 2)), "expression": np.array([0, 0, 1]), "present": np.ones((3, 1))}
    _, sums = m.affect_sums(truth, answer, np.arange(3), classes=2)
    low, high = m.interval(m.concordance, sums, seed=0, rounds=200)
    np.testing.assert_array_equal(np.isnan([low, high]), [[False, True]] * 2)
    assert [each.shape for each in m.interval(m.unit_f1, sums, seed=0, rounds=50)] == [(1,), (1,)]
    assert m.interval(m.mean_unit_f1, sums, seed=0, rounds=200) == (1, 1)
