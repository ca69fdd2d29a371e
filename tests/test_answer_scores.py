"""Scores of answers, against tables by hand."""

import numpy as np
import pytest

from semeia.answer_scores import (
    Answered,
    answer_sums,
    answer_table,
    balanced,
    held_out_accuracy,
    interval,
    is_closed,
    macro_f1,
    majority_answers,
    task_accuracy,
)
from semeia.language.chat import Turn
from semeia.question_sets import YES_NO, Question


def asked(answer, *, task="attribute", options=YES_NO, about="smile", identity="a"):
    return Question(
        None, (Turn("user", "?"), Turn("assistant", answer)), task=task, options=options, answer=answer, about=about,
        identity=identity,
    )  # fmt: skip


def values(scores):
    return {(s.task, s.label, s.metric): s.value for s in scores}


def test_yes_and_no_by_hand():
    answered = [
        Answered(asked("Yes"), "Yes", "Yes."),
        Answered(asked("Yes"), "No", "what"),
        Answered(asked("Yes"), "Yes", "no"),
        Answered(asked("No"), "Yes", "No"),
    ]
    found = values(answer_table(answered))
    assert found["attribute", "by likelihood", "accuracy"] == 0.5
    assert found["attribute", "by likelihood", "balanced accuracy"] == pytest.approx((2 / 3 + 0) / 2)
    assert found["attribute", "by likelihood", "yes-rate"] == 0.75
    assert found["attribute", "as said", "accuracy"] == 0.5
    assert found["attribute", "as said", "unparsable"] == 0.25
    assert found["attribute", "as said", "yes-rate"] == pytest.approx(1 / 3)


def test_what_was_not_said_is_not_scored():
    assert {s.label for s in answer_table([Answered(asked("Yes"), "Yes")])} == {"by likelihood"}


def test_years_by_hand_with_the_median_for_what_has_no_number():
    ages = [asked(str(age), task="age", options=(), about="age") for age in (20, 30, 70)]
    answered = [Answered(q, c, s) for q, c, s in zip(ages, ("25", "30", "60"), ("20", "old", "71 years"), strict=True)]
    found = values(answer_table(answered))
    assert found["age", "by likelihood", "mean absolute error"] == pytest.approx(5)
    assert found["age", "as said", "mean absolute error"] == pytest.approx(1 / 3)
    assert found["age", "as said", "unparsable"] == pytest.approx(1 / 3)


def test_lists_by_hand():
    options = ("AU1", "AU4", "AU12")
    answered = [
        Answered(asked("AU1, AU4", task="units", options=options), said="AU1, AU12"),
        Answered(asked("none", task="units", options=options), said="none"),
        Answered(asked("AU12", task="units", options=options), said="?"),
    ]
    found = values(answer_table(answered))
    assert found["units", "as said", "micro F1"] == pytest.approx(2 * 1 / (2 + 2 + 1))
    assert found["units", "as said", "unparsable"] == pytest.approx(1 / 3)


def test_macro_f1_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth, given = (rng.choice(["a", "b", "c"], 60).tolist() for _ in range(2))
    assert macro_f1(given, truth) == pytest.approx(f1_score(truth, given, average="macro"))
    assert balanced(np.array([1.0, 0.0]), ["a", "b"]) == 0.5


def test_intervals_hold_the_mean_and_widen_with_fewer_persons():
    right = np.tile([1.0, 0.0], 50)
    few, many = np.arange(100) // 25, np.arange(100)
    low, high = interval(right, many, rounds=500)
    assert low < 0.5 < high
    assert interval(right, few, rounds=0)[0] != interval(right, few, rounds=0)[0]  # NaN


def test_the_majority_answers_what_it_saw_most():
    train = [asked("No"), asked("No"), asked("Yes"), asked("Yes", about="hat")]
    found = majority_answers(train, [asked("Yes"), asked("No", about="hat"), asked("Yes", about="mask")])
    assert [each.chosen for each in found][:2] == ["No", "Yes"]
    assert found[2].chosen in YES_NO
    ages = [asked(age, task="age", options=(), about="age") for age in ("10", "20", "60")]
    assert majority_answers(ages, ages[:1])[0].chosen == "20.0"


def test_open_answers_are_no_closed_questions():
    assert is_closed(asked("34", options=()))
    assert not is_closed(asked("A man smiles.", options=()))


def test_sums_of_claims_by_hand():
    answered = [
        Answered(asked("Yes", about="AU12", task="unit"), "Yes"),
        Answered(asked("No", about="AU12", task="unit", identity="b"), "Yes"),
        Answered(asked("30", task="age", options=(), about="age"), "40"),
        Answered(asked("30", task="age", options=(), about="age"), "45"),
        Answered(asked("Yes", about="hat", task="held out"), "Yes"),
        Answered(asked("No", about="hat", task="held out", identity="b"), "Yes"),
    ]
    names, sums = answer_sums(answered, tasks=("unit", "age"), abouts=("hat",))
    assert names == ("a", "b")
    assert sums["tasks"].sum(0).tolist() == [[1, 2], [1, 2]]
    total = {name: array.sum(0, keepdims=True) for name, array in sums.items()}
    assert task_accuracy(total)[0] == 0.5
    assert held_out_accuracy(total)[0] == 0.5
