"""Questions about faces: files in two layouts, labels, pictures and batches."""

import json

import numpy as np
import pytest
from PIL import Image

from semeia.data.formats.faces import FaceFolder
from semeia.language.chat import Chat, Turn
from semeia.language.models import word_tokenizer
from semeia.question_sets import (
    LISTS,
    YES_NO,
    Pictures,
    Question,
    QuestionFeed,
    held_out_questions,
    label_questions,
    read_questions,
)
from semeia.records import SemeiaError

LLAVA = {
    "image": "a.png",
    "conversations": [{"from": "human", "value": "<image>\nOpen?"}, {"from": "gpt", "value": "Yes"}],
    "task": "attribute", "options": ["Yes", "No"], "answer": "Yes",
}  # fmt: skip
TRL = {
    "images": ["a.png"],
    "messages": [
        {"role": "system", "content": "You see."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Open?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]},
    ],
}


@pytest.fixture(scope="module")
def made(faces):
    return label_questions(FaceFolder(faces))


@pytest.mark.parametrize("lines", [False, True])
def test_both_layouts_say_the_same(tmp_path, lines):
    rows = [LLAVA, TRL]
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    (tmp_path / "q.json").write_text(text)
    one, two = read_questions(tmp_path / "q.json")
    assert one.turns == two.turns == (Turn("user", "<image>\nOpen?"), Turn("assistant", "Yes"))
    assert one.image == two.image == str(tmp_path / "a.png")
    assert (one.options, one.answer, two.answer) == (YES_NO, "Yes", "Yes")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "found none"),
        ("[]", "found none"),
        ("[{]", "JSON list"),
        ("[" * 100_000, "JSON list"),
        ("[3]", "row 1: expected an object, found int"),
        (json.dumps([LLAVA, {"image": "b.png"}]), "row 2: expected 'conversations'"),
        (json.dumps([LLAVA | {"conversations": [{"from": "robot", "value": "x"}]}]), "row 1: expected 'conversations'"),
        (json.dumps([LLAVA | {"conversations": LLAVA["conversations"][:1]}]), "an answer last"),
        (json.dumps([LLAVA | {"conversations": []}]), "an answer last"),
        (json.dumps([LLAVA | {"options": "Yes"}]), "expected 'options' to be a list"),
        (json.dumps([LLAVA | {"image": 3}]), "expected the path of a picture"),
        (json.dumps([TRL | {"messages": [{"role": "user"}]}]), "expected messages of"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, content, words):
    (tmp_path / "q.json").write_text(content)
    with pytest.raises(SemeiaError, match=words):
        read_questions(tmp_path / "q.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SemeiaError, match=r"none\.json"):
        read_questions(tmp_path / "none.json")


def test_labels_become_questions_of_every_task(made):
    tasks = {question.task for question in made}
    assert {"caption", "attribute", "choice", "expression", "units", "unit", "age", "gender", "head"} <= tasks
    for question in made:
        if question.options and question.task not in LISTS:
            assert question.answer in question.options


def test_yes_and_no_are_as_frequent_in_each_split(made):
    for split in ("train", "test"):
        said = [q.answer for q in made if q.task == "attribute" and q.split == split]
        assert said.count("Yes") == said.count("No") > 0


def test_the_same_questions_come_twice(faces, made):
    assert label_questions(FaceFolder(faces)) == made


def test_noise_misreads_training_faces_alone(faces, made):
    noisy = label_questions(FaceFolder(faces), noise=0.5)
    assert [q for q in noisy if q.split == "test"] == [q for q in made if q.split == "test"]
    assert [q for q in noisy if q.split == "train"] != [q for q in made if q.split == "train"]


def test_held_out_items_are_asked_in_every_wording(faces):
    asked = held_out_questions(FaceFolder(faces), "test", ("eyeglasses",))
    of_one = [question for question in asked if question.image == asked[0].image]
    assert len({question.turns[0].text for question in of_one}) == len(of_one) == 5
    assert {question.about for question in asked} == {"eyeglasses"}


def test_pictures_come_from_folders_and_files(faces, tmp_path):
    Image.fromarray(np.full((40, 20, 3), 200, np.uint8)).save(tmp_path / "a.png")
    pictures = Pictures({str(faces): FaceFolder(faces)}, size=32)
    batch = pictures.batch([f"{faces}::0003", str(tmp_path / "a.png"), None])
    assert batch.shape == (3, 3, 32, 32)
    assert batch[1].mean() == pytest.approx(200 / 255, abs=0.01)
    assert batch[2].sum() == 0
    with pytest.raises(SemeiaError, match="no such face"):
        pictures[f"{faces}::nobody"]
    with pytest.raises(SemeiaError, match=r"torn\.png"):
        pictures[str(tmp_path / "torn.png")]


def feed(questions, **changes):
    chat = Chat(word_tokenizer(["USER: ASSISTANT: q0 q1 q2 q3 q4 q5 q6 q7 yes"]), image_tokens=2)
    how = {"pictures": Pictures({}, size=8), "chat": chat, "batch_size": 4, "seed": 0} | changes
    return QuestionFeed(questions, **how)


QUESTIONS = [
    Question(None, (Turn("user", f"q{number}"), Turn("assistant", "yes")), answer="yes") for number in range(8)
]


def test_each_question_comes_once_an_epoch_whatever_rank_asks():
    source = feed([(QUESTIONS, 1.0)])
    one = [source.question(position).turns for position in range(8)]
    assert sorted(one) == sorted(question.turns for question in QUESTIONS)
    assert one != [source.question(position).turns for position in range(8, 16)]
    two_ranks = [source.batch(0, rank, 2)["input_ids"].tolist() for rank in range(2)]
    assert two_ranks == [source.batch(number)["input_ids"].tolist() for number in range(2)]


def test_groups_fill_their_parts():
    source = feed([(QUESTIONS[:4], 0.9), (QUESTIONS[4:], 0.1)])
    late = np.mean([source.question(position) in QUESTIONS[4:] for position in range(1000)])
    assert late == pytest.approx(0.1, abs=0.04)


def test_strangers_see_the_next_ones_picture(tmp_path):
    questions = []
    for number in range(4):
        Image.fromarray(np.full((8, 8, 3), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
        questions.append(
            Question(str(tmp_path / f"{number}.png"), (Turn("user", "<image>\nq0"), Turn("assistant", "yes")))
        )
    own, other = (feed([(questions, 1.0)], strangers=s).batch(0) for s in (False, True))
    assert (own["image"].roll(-1, 0) == other["image"]).all()
    assert (own["input_ids"] == other["input_ids"]).all()


def test_a_stage_without_questions_is_named():
    with pytest.raises(SemeiaError, match="found none for one"):
        feed([([], 1.0)])
