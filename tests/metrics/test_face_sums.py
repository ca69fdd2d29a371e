"""Metrics of sums are the metrics of the answers."""

import numpy as np
import pytest

from semeia.metrics import face_sums, faces

N, K, A = 60, 4, 3


@pytest.fixture
def read():
    """Truths with holes, answers, and identities of 60 images."""
    rng = np.random.default_rng(0)

    def holes(values):
        return np.where(rng.random(values.shape) < 0.2, np.nan, values)

    truth = {
        "expression": rng.integers(-1, 3, N),
        "au_occurrence": holes(rng.integers(0, 2, (N, K)).astype(float)),
        "attributes": holes(rng.integers(0, 2, (N, A)).astype(float)),
        "age": holes(rng.uniform(5, 80, N)),
        "pose": holes(rng.uniform(-179, 179, (N, 3))),
    }
    answer = {
        "expression": rng.integers(0, 3, N),
        "present": rng.random((N, K)) < 0.5,
        "attributes": rng.random((N, A)) < 0.5,
        "age": rng.uniform(5, 80, N),
        "pose": rng.uniform(-179, 179, (N, 3)),
    }
    return truth, answer, np.array([f"p{i % 13}" for i in range(N)])


def value(metric, sums, weights=None):
    weights = np.ones((1, 13)) if weights is None else weights
    return metric({name: np.tensordot(weights, each, 1) for name, each in sums.items()})


def expected(truth, answer):
    table = faces.confusion(truth["expression"], answer["expression"], classes=3)
    units = faces.binary_counts(truth["au_occurrence"], answer["present"])
    attributes = faces.binary_counts(truth["attributes"], answer["attributes"])
    return {
        face_sums.expression_accuracy: faces.accuracy(table),
        face_sums.unit_f1: faces.mean_known(faces.binary_f1(units)),
        face_sums.attribute_accuracy: faces.mean_known(faces.binary_balanced_accuracy(attributes)),
        face_sums.age_error: float(faces.absolute_error(truth["age"], answer["age"])),
        face_sums.pose_error: float(faces.angular_error(truth["pose"], answer["pose"]).mean()),
    }


def test_they_equal_the_metrics_of_all_answers(read):
    truth, answer, people = read
    names, sums = face_sums.face_sums(truth, answer, people)
    assert names == tuple(sorted(set(people)))
    for metric, number in expected(truth, answer).items():
        assert value(metric, sums)[0] == pytest.approx(number), metric.__name__


def test_they_equal_the_metrics_of_drawn_identities(read):
    truth, answer, people = read
    names, sums = face_sums.face_sums(truth, answer, people)
    rng = np.random.default_rng(1)
    drawn = rng.integers(13, size=13)
    images = np.concatenate([np.flatnonzero(people == names[i]) for i in drawn])
    again = [{name: each[images] for name, each in side.items()} for side in (truth, answer)]
    weights = np.bincount(drawn, minlength=13)[None].astype(float)
    for metric, number in expected(*again).items():
        assert value(metric, sums, weights)[0] == pytest.approx(number), metric.__name__


def test_a_constant_answer_has_no_skill_and_a_right_one_all(read):
    truth, answer, people = read
    middle = np.nanmedian(truth["age"])
    constant = answer | {"age": np.full(N, middle), "pose": np.tile(np.nanmedian(truth["pose"], 0), (N, 1))}
    _, sums = face_sums.face_sums(truth, constant, people)
    assert value(face_sums.age_skill, sums)[0] == pytest.approx(0)
    assert value(face_sums.pose_skill, sums)[0] == pytest.approx(0)
    right = {
        "expression": truth["expression"].clip(0), "present": truth["au_occurrence"] == 1,
        "attributes": truth["attributes"] == 1, "age": np.nan_to_num(truth["age"]),
        "pose": np.nan_to_num(truth["pose"]),
    }  # fmt: skip
    _, sums = face_sums.face_sums(truth, right, people)
    assert value(face_sums.face_score, sums)[0] == pytest.approx(1)


def test_angles_are_compared_the_short_way_round(read):
    truth, answer, people = read
    truth = truth | {"pose": np.full((N, 3), 179.0)}
    _, sums = face_sums.face_sums(truth, answer | {"pose": np.full((N, 3), -179.0)}, people)
    assert value(face_sums.pose_error, sums)[0] == pytest.approx(2)


def test_what_is_not_labelled_at_all_has_no_metric(read):
    truth, answer, people = read
    bare = {name: np.full(each.shape, -1 if name == "expression" else np.nan) for name, each in truth.items()}
    _, sums = face_sums.face_sums(bare, answer, people)
    assert all(np.isfinite(each).all() for each in sums.values())
    for metric in (*expected(truth, answer), face_sums.face_score):
        assert np.isnan(value(metric, sums)[0])


def test_a_unit_that_never_occurs_is_left_out(read):
    truth, answer, people = read
    never = truth["au_occurrence"].copy()
    never[:, 0] = 0
    _, sums = face_sums.face_sums(truth | {"au_occurrence": never}, answer, people)
    f1 = faces.binary_f1(faces.binary_counts(never, answer["present"]))
    assert np.isnan(f1[0])
    assert value(face_sums.unit_f1, sums)[0] == pytest.approx(f1[1:].mean())
