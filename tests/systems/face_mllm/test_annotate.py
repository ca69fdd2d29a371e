"""One picture through selection, crop, votes and filters."""

import json

import numpy as np
import pytest

from semeia.records import Box, Face
from semeia.systems.face_mllm import filters
from semeia.systems.face_mllm.annotate import (
    KEPT,
    Config,
    Opinion,
    annotate,
    cut,
    label_prompt,
    opinion_of,
    parse_labels,
    pick,
    vote,
)
from semeia.systems.face_mllm.schema import ITEMS

GOOD = "The person has short brown hair and bushy eyebrows. " + "The skin is smooth and the light is soft. " * 4
LABELS = {"hair_colour": "brown", "bushy_eyebrows": "yes", "smiling": "no", "hat": "no", "beard": "no"}


def face(x=50.0, y=50.0, side=140.0, *, score=0.9, presence=1.0):
    return Face(Box(x, y, side, side), score, presence, np.zeros((468, 3), np.float32))


class Fixed:
    """Says the same of every face."""

    version = "1"

    def __init__(self, opinion, name="fixed"):
        self.opinion, self.name = opinion, name

    def look(self, views):
        return [self.opinion for _ in views]


def annotated(*opinions, faces=None):
    image = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    annotators = [Fixed(opinion, f"a{place}") for place, opinion in enumerate(opinions)]
    found = [face()] if faces is None else faces
    (made,) = annotate([("k", "s.jpg", image)], lambda _: found, annotators, Config(), filters.Config())
    return made


@pytest.mark.parametrize(
    ("faces", "why"),
    [
        ([], "no face"),
        ([face(score=0.3)], "unclear face"),
        ([face(presence=0.5)], "unclear face"),
        ([face(side=100)], "small face"),
        ([face(), face(200, 20, 90)], "several faces"),
    ],
)
def test_pictures_without_one_clear_face_are_told_apart(faces, why):
    assert pick(faces, Config()) == why
    assert annotated(Opinion(GOOD, LABELS), faces=faces).status == why


def test_a_small_face_in_the_background_does_not_matter():
    assert pick([face(side=40), face()], Config()).box.width == 140


def test_a_crop_is_a_square_with_room_and_the_mean_colour_outside():
    image = np.full((200, 200, 3), 100, np.uint8)
    image[90:110, 0:20] = 200
    crop = cut(image, face(0, 90, 20), Config())
    assert crop.shape == (32, 32, 3)
    assert (crop[16, 8] == 200).all()
    assert (crop[:, :6] == image.mean((0, 1)).round()).all()
    assert cut(image, face(0, 0, 200), Config(size=64)).shape == (64, 64, 3)


def test_a_good_opinion_is_kept_with_provenance_of_every_field():
    made = annotated(Opinion(GOOD, LABELS))
    assert made.status == KEPT
    assert made.caption == GOOD
    assert made.labels == LABELS
    assert made.annotators == ("a0 1",)
    assert set(made.provenance) == {*LABELS, "caption"}
    assert made.provenance["hat"] == {"by": [0], "agreement": 1.0}
    assert made.provenance["caption"] == {"by": [0], "agreement": 1.0}
    assert made.crop.shape == (224, 224, 3)
    assert len(made.hash) == 32


def test_annotators_vote_and_a_tie_is_not_known():
    labels, provenance = vote([{"hat": "yes", "bald": "no"}, {"hat": "yes", "bald": "yes"}, {"hat": "no"}])
    assert labels == {"hat": "yes"}
    assert provenance == {"hat": {"by": [0, 1], "agreement": 0.667}}


def test_the_first_caption_that_passes_is_taken():
    made = annotated(Opinion("The man looks like Brad Pitt.", LABELS), Opinion(GOOD, LABELS))
    assert made.status == KEPT
    assert made.provenance["caption"]["by"] == [1]


def test_what_is_wrong_with_captions_and_labels_is_the_status():
    assert annotated(Opinion("Too short.", LABELS)).status == "caption of few words"
    assert annotated(Opinion(GOOD, {})).status == "few labels"
    assert annotated(Opinion(None, LABELS, ("caption timed out",))).status == "no caption"
    assert annotated(Opinion(None, LABELS, ("caption timed out",))).problems == ("a0 1: caption timed out",)
    wrong = LABELS | {"hair_colour": "black", "bushy_eyebrows": "no"}
    assert annotated(Opinion(GOOD, wrong)).status == "caption contradicts labels"


def test_nobody_is_asked_about_pictures_without_a_face():
    class Never(Fixed):
        def look(self, views):
            raise AssertionError

    image = np.zeros((9, 9, 3), np.uint8)
    made = annotate([("k", "s", image)], lambda _: [], [Never(None)], Config(), filters.Config())
    assert made[0].status == "no face"


def test_the_prompt_lists_every_item_in_an_order_of_chance():
    first, second = (label_prompt(np.random.default_rng(seed)) for seed in (0, 1))
    assert first != second
    assert sorted(first.splitlines()) == sorted(second.splitlines())
    assert all(f'"{name}": ' in first for name in ITEMS)


def test_labels_are_read_from_fenced_and_chatty_json_and_the_rest_dropped():
    said = {"Hat": "YES", "bald": False, "smiling": "unknown", "beard": "maybe", "wings": "yes", "hair colour": "Black"}
    text = f"Sure {{here}} it is:\n```json\n{json.dumps(said)}\n```"
    assert parse_labels(text) == {"hat": "yes", "bald": "no", "hair_colour": "black"}


@pytest.mark.parametrize("text", ["", "yes", "[]", "{", '{"wings": 1}', "{" * 5000, '{"hat": ', "null"])
def test_nonsense_is_no_labels(text):
    assert parse_labels(text) is None
    assert "labels are nonsense" in opinion_of(None, text).problems


def test_refusals_are_missing_and_told():
    said = opinion_of("I'm sorry, I can't help with that.", "I cannot assist.")
    assert said == Opinion(None, {}, ("labels refused", "caption refused"))
