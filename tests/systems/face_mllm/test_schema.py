"""The schema of labels and the words that mention it."""

import re

import pytest

from semeia.records import ATTRIBUTES, EXPRESSIONS, FaceLabels, Pose
from semeia.systems.face_mllm.schema import HELD_OUT, ITEMS, SCHEMA, barred, known, leaks, mentions, pattern


def test_there_are_more_than_sixty_items_with_names_of_their_own():
    assert len(SCHEMA) >= 60
    assert len(ITEMS) == len(SCHEMA)


def test_every_celeba_attribute_that_this_library_reads_has_an_item():
    mapped = {name for item in SCHEMA for name in item.celeba}
    assert set(ATTRIBUTES) - mapped == set()


def test_items_of_celeba_are_told_from_new_ones():
    assert {item.source for item in SCHEMA} == {"celeba40", "new"}
    assert ITEMS["smiling"].source == "celeba40"
    assert ITEMS["wrinkled_nose"].source == "new"


def test_a_word_says_one_thing_of_an_item():
    for item in SCHEMA:
        words = [word for value in item.values for word in item.words[value]]
        assert len(words) == len(set(words)), item.name


def test_labels_of_a_data_set_become_items_and_what_is_open_is_absent():
    labels = FaceLabels(
        key="1", attributes={"Black_Hair": 0, "Brown_Hair": 1, "No_Beard": 0, "Male": 1, "Smiling": 0},
        au_occurrence={"AU01": 0, "AU02": 1, "AU09": 0}, expression="anger", age=34, pose=Pose(20, 10, 0), valence=-0.5,
    )  # fmt: skip
    assert known(labels) == {
        "hair_colour": "brown", "beard": "yes", "gender": "male", "smiling": "no", "raised_brows": "yes",
        "wrinkled_nose": "no", "expression": "anger", "age_group": "young adult", "head_turn": "right",
        "mood": "unpleasant",
    }  # fmt: skip


def test_two_hair_colours_at_once_and_half_known_units_say_nothing():
    assert known(FaceLabels(key="1", attributes={"Black_Hair": 1, "Brown_Hair": 1}, au_occurrence={"AU01": 0})) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("She has wavy brown hair.", {"hair_texture": "wavy", "hair_colour": "brown"}),
        ("A man without glasses and with a hat.", {"gender": "male", "eyeglasses": "no", "hat": "yes"}),
        ("There is no beard, moustache or goatee.", {"beard": "no", "moustache": "no", "goatee": "no"}),
        ("He does not have a necktie.", {"necktie": "no"}),
        ("He is clean-shaven.", {"beard": "no"}),
        ("The nose is hidden and the chin shows a wrinkled nose.", {"wrinkled_nose": "yes"}),
        ("Lipstick is not visible.", {}),
        ("She wears sunglasses.", {"sunglasses": "yes"}),
        ("A smile, no smile.", {}),
    ],
)
def test_mentions_of_a_text(text, said):
    assert mentions(text) == said


def test_leaks_names_held_out_words_and_those_of_their_kin():
    assert leaks("She wears SPECTACLES") == ["spectacles"]
    assert leaks("dark sunglasses") == ["sunglasses"]
    assert leaks("a capable person with a chat") == []


def test_no_other_item_uses_a_word_of_a_held_out_one():
    held = barred(HELD_OUT)
    words = [word for name in held for word in ITEMS[name].words["yes"]]
    for item in SCHEMA:
        if item.name not in held:
            text = " | ".join([item.phrase, *item.values, *(w for ws in item.words.values() for w in ws)]).lower()
            found = [word for word in words if re.search(pattern(word), text)]
            assert not found, f"{item.name} gives away {found}"


def test_held_out_items_can_be_tested_on_labels_that_no_annotator_made():
    assert 8 <= len(HELD_OUT) <= 12
    assert all(set(ITEMS[name].celeba) & set(ATTRIBUTES) for name in HELD_OUT)


def test_the_expressions_are_those_of_the_library():
    assert ITEMS["expression"].values == EXPRESSIONS
