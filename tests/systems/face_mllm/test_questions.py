"""Questions made from labels."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import semeia.systems.face_mllm.questions as module
from semeia.records import ACTION_UNITS, ATTRIBUTES, EXPRESSIONS, FaceLabels, Pose
from semeia.systems.face_mllm.questions import Asker, Config, Known, describe, unheld, unseen
from semeia.systems.face_mllm.schema import HELD_OUT, ITEMS, barred, leaks


@pytest.fixture(scope="module")
def faces():
    rng = np.random.default_rng(0)
    return [
        Known.of(
            FaceLabels(
                key=str(i), expression=EXPRESSIONS[i % 8], age=float(rng.uniform(5, 80)),
                attributes={name: int(rng.random() < 0.3) for name in ATTRIBUTES},
                au_occurrence={unit: int(rng.random() < 0.2) for unit in ACTION_UNITS},
                pose=Pose(float(rng.uniform(-40, 40)), float(rng.uniform(-30, 30)), 0),
                valence=float(rng.uniform(-1, 1)),
            )
        )
        for i in range(300)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def asked(faces):
    asker = Asker(faces, Config())
    return [q for i, face in enumerate(faces) for q in asker.of(i, face, image=f"{i}.jpg", source="world")]


def test_every_kind_of_question_is_asked(asked):
    assert {q.task for q in asked} == set(Config().tasks)


def test_no_question_answer_or_option_holds_a_word_of_a_held_out_item(asked):
    for q in asked:
        assert leaks(" ".join([q.question, q.answer, *q.options])) == [], q
        assert q.item not in barred(HELD_OUT)


def test_no_template_holds_a_word_of_a_held_out_item():
    lines = Path(module.__file__).read_text().splitlines()
    wrong = [line for line in lines if leaks(line)]
    assert wrong == []


def test_yes_and_no_are_asked_as_often_of_every_item(asked):
    answers = Counter((q.item, q.answer) for q in asked if q.task in ("attribute", "unit"))
    items = {item for item, _ in answers}
    assert len(items) > 30
    assert all(answers[item, "Yes"] == answers[item, "No"] > 0 for item in items)


def test_one_face_is_asked_a_few_closed_questions(asked):
    most = Counter((q.image, q.task) for q in asked if q.task in ("attribute", "unit"))
    assert max(most.values()) <= Config().per_face


def test_answers_are_what_the_labels_say(faces, asked):
    for q in asked:
        face = faces[int(q.image.removesuffix(".jpg"))]
        if q.task == "attribute":
            assert q.answer.lower() == face.labels[q.item]
        elif q.task in ("choice", "expression", "head", "gender"):
            assert q.answer == face.labels[q.item]
            assert q.answer in q.options
            assert all(option in q.question for option in q.options)
        elif q.task == "age":
            assert q.answer == str(round(face.age))
        elif q.task == "units":
            active = [f"AU{int(unit[2:])}" for unit, on in face.units.items() if on]
            assert q.answer == (", ".join(active) or "none")
        elif q.task == "attributes":
            assert 5 <= len(q.options) <= 8
            assert q.answer == "none" or set(q.answer.split(", ")) <= set(q.options)


def test_options_are_shuffled_so_that_the_answer_stands_anywhere(asked):
    places = Counter(q.options.index(q.answer) for q in asked if q.task == "expression")
    assert set(places) >= set(range(7))
    assert max(places.values()) < 0.35 * sum(places.values())


def test_templates_vary(asked):
    starts = {q.question.split(" ")[0] for q in asked if q.task == "attribute"}
    assert len(starts) >= 5


def test_the_same_seed_asks_the_same(faces, asked):
    asker = Asker(iter(faces), Config())
    again = [q for i, face in enumerate(faces) for q in asker.of(i, face, image=f"{i}.jpg", source="world")]
    assert again == asked
    other = Asker(faces, Config(seed=1))
    assert [q for i, f in enumerate(faces) for q in other.of(i, f, image=f"{i}.jpg", source="world")] != asked


def test_items_known_one_way_alone_are_not_asked_and_told():
    faces = [Known({"bald": "no", "smiling": "yes" if i % 2 else "no"}) for i in range(10)]
    asker = Asker(faces, Config())
    assert asker.one_sided == ["bald"]
    items = {q.item for i, f in enumerate(faces) for q in asker.of(i, f, image=str(i), source="s")}
    assert items == {"smiling"}


def test_faces_without_labels_are_asked_nothing():
    asker = Asker([Known()], Config())
    assert asker.of(0, Known(), image="0", source="s") == []
    assert Asker([], Config()).one_sided == []


def test_units_that_are_an_item_held_out_are_not_asked(faces):
    asker = Asker(faces, Config(held_out=("wrinkled_nose",)))
    assert "AU09" not in asker.units
    assert "AU10" in asker.units


def test_unseen_items_are_asked_in_every_paraphrase():
    made = unseen(Known({"hat": "yes"}), image="i", source="s", held_out=tuple(HELD_OUT))
    assert len(made) >= 3
    assert {q.answer for q in made} == {"Yes"}
    assert all("hat" in q.question for q in made)


def test_condition_u_drops_captions_with_words_of_held_out_items():
    assert unheld(["A man with a fringe.", "A man with spectacles.", "A man."]) == [False, False, True]


def test_a_caption_is_the_answer_of_a_request_to_describe():
    q = describe("A man.", image="i", source="s")
    assert q.task == "caption"
    assert q.answer == "A man."


def test_held_out_names_are_items():
    assert set(HELD_OUT) <= set(ITEMS)
