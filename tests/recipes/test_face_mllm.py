"""From labelled faces to a Face-MLLM in a folder, on a tiny language model."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from semeia.data.formats.faces import FaceFolder
from semeia.question_sets import CAPTION, Pictures, QuestionData, label_questions
from semeia.recipes import _face_mllm_stages as stages
from semeia.recipes import face_mllm as recipe
from semeia.records import SemeiaError
from semeia.systems.face_mllm.schema import leaks


@pytest.fixture(scope="module")
def run(faces, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    smoke = recipe.smoke()
    config = replace(
        smoke, data=QuestionData(faces=(str(faces),)), watch=1, test=2, fit=replace(smoke.fit, out=str(out))
    )
    return config, recipe.train(config, progress=False)


@pytest.fixture(scope="module")
def found(faces):
    return label_questions(FaceFolder(faces))


def test_three_stages_run_and_are_measured(run):
    config, folder = run
    assert [stage for stage, _ in recipe.planned(config)] == ["language", "align", "basic", "special"]
    tables = json.loads((folder.parent / "tables.json").read_text())
    assert {"before", "align", "basic", "special", "control", "baselines"} <= tables.keys()
    assert set(tables["control"]) == {"own", "shuffled"}
    words = (folder / "card.md").read_text()
    for said in ("semeia train face_mllm", "not accuracy on people", "refuses to name people", "held out"):
        assert said in words


def test_a_saved_model_answers_as_before(run, faces, found):
    _, folder = run
    one, name = recipe.load(folder)
    two, _ = recipe.load(folder)
    assert name == "checkpoint"
    asked = [question for question in found if question.task == "attribute"][:3]
    images = Pictures({str(faces): FaceFolder(faces)}).batch([question.image for question in asked])
    turns = [question.asked for question in asked]
    assert one.say(images, turns, most=5) == two.say(images, turns, most=5)
    scores = [model.choose(images, turns, [q.options for q in asked]) for model in (one, two)]
    assert np.array_equal(np.stack(scores[0]), np.stack(scores[1]))


def test_transformers_alone_opens_the_language_model(run):
    transformers = pytest.importorskip("transformers")
    lm = transformers.AutoModelForCausalLM.from_pretrained(run[1] / "lm")
    tokenizer = transformers.AutoTokenizer.from_pretrained(run[1] / "lm")
    model, _ = recipe.load(run[1])
    ids = torch.tensor([tokenizer("Describe the mouth")["input_ids"]])
    assert torch.equal(lm(input_ids=ids).logits, model.lm(input_ids=ids).logits)


def test_a_stopped_training_goes_on(run):
    config, folder = run
    state = (folder / "model.safetensors").read_bytes()
    assert recipe.train(config, progress=False) == folder
    assert (folder / "model.safetensors").read_bytes() == state


def test_held_out_items_are_asked_nowhere_in_training(found):
    config = recipe.Config()
    kept = stages.unheld(found, config)
    for question in kept:
        if question.task not in (CAPTION, "alt text"):
            assert not leaks(" ".join(turn.text for turn in question.turns), config.ask.held_out)
    strict = stages.unheld(found, replace(config, condition="U"))
    assert all(not leaks(turn.text, config.ask.held_out) for q in strict for turn in q.turns)
    captions = [sum(question.task == CAPTION for question in some) for some in (kept, strict)]
    assert captions[1] < captions[0]


def test_persons_of_the_test_are_not_trained_on(found):
    people = {split: {q.identity for q in found if q.split == split} for split in ("train", "test")}
    assert people["train"]
    assert people["test"]
    assert not people["train"] & people["test"]


def test_stages_learn_from_what_they_should(found):
    def tasks(stage, **changes):
        groups = stages.stage_questions(stage, replace(recipe.Config(), **changes), found)
        return [({question.task for question in group}, part) for group, part in groups]

    assert tasks("align") == [({"caption"}, 1.0)]
    assert [kinds for kinds, _ in tasks("basic", annotations="labels")] == [{"attribute", "attributes", "choice"}]
    special, *again = tasks("special")
    assert {"expression", "unit", "age"} <= special[0]
    assert not special[0] & {"attribute", "caption"}
    assert sum(part for _, part in again) == pytest.approx(0.1)
    assert len(tasks("special", basic=recipe.Part(0.0))) == 1


def test_a_smaller_part_lies_in_a_larger_one(found):
    few, more = ({q.image for q in stages.of_part(found, part)} for part in (0.3, 0.6))
    assert few < more < {q.image for q in found}


def test_reading_questions_are_answered_by_the_caption_and_show_nothing(found):
    made = stages.reading_questions([q for q in found if q.task == CAPTION])
    assert made
    assert all(question.image is None for question in made)
    assert {q.answer for q in made if q.options == ("Yes", "No")} <= {"Yes", "No"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": QuestionData()}, "expected faces"),
        ({"align": recipe.Part(0.9), "basic": recipe.Part(0.9)}, "add up to"),
        ({"part": 0.0}, "expected part in"),
        ({"prior": "nothing"}, "neither a checkpoint folder nor bundled"),
    ],
)
def test_wrong_configurations_are_named(run, changes, words):
    with pytest.raises(SemeiaError, match=words):
        recipe.train(replace(run[0], **changes), progress=False)


def test_a_damaged_checkpoint_is_named(run, tmp_path):
    import shutil

    shutil.copytree(run[1], tmp_path / "broken")
    (tmp_path / "broken" / "lm" / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(SemeiaError, match="copy it again"):
        recipe.load(tmp_path / "broken")
