"""Filters of machines' captions and labels."""

import numpy as np
import pytest
from PIL import Image

from semeia.systems.face_mllm.filters import (
    Config,
    caption_agreement,
    contradictions,
    fault_of_caption,
    fault_of_pair,
    names_person,
    near_duplicates,
    picture_hash,
    refusal,
    unsafe,
)

GOOD = "The person has short brown hair and bushy eyebrows. " + "The skin is smooth and the light is soft. " * 4


@pytest.mark.parametrize(
    "text",
    ["I'm sorry, but I can't help with that.", "I cannot identify people in images.", "As an AI, I do not see faces.",
     "This violates our policy."],
)  # fmt: skip
def test_refusals_are_found(text):
    assert refusal(text)
    assert fault_of_caption(text, Config()) == "refused"


@pytest.mark.parametrize(
    "text",
    ["The man resembles Brad Pitt.", "This is Barack Obama at a desk.", "Obama smiles at the crowd.",
     "A portrait of Marie Curie.", "She is known as Adele.", "We see Mr. Bean.", "The face of a woman named Anna."],
)  # fmt: skip
def test_names_of_persons_are_found(text):
    assert names_person(text)


@pytest.mark.parametrize(
    "text",
    [GOOD, "An Asian woman in a T-shirt looks up.", "Hair is black. Eyes are open; Skin is pale.", "Wrinkles show.",
     "He wears glasses. His nose is big. Their gaze is calm.", "A USA flag is behind."],
)  # fmt: skip
def test_plain_descriptions_name_nobody(text):
    assert not names_person(text)


def test_length_and_unsafe_words_have_reasons():
    assert fault_of_caption(GOOD, Config()) is None
    assert fault_of_caption("A face.", Config()) == "caption of few words"
    assert fault_of_caption(GOOD * 10, Config()) == "caption of many words"
    assert unsafe("a naked shoulder")
    assert fault_of_caption(GOOD + " It is erotic.", Config()) == "unsafe words"


def test_more_than_one_contradiction_is_too_many():
    labels = {"hair_colour": "black", "bushy_eyebrows": "no", "smiling": "no", "hat": "no", "beard": "no"}
    assert set(contradictions(GOOD, labels)) == {"bushy_eyebrows", "hair_colour"}
    assert fault_of_pair(GOOD, labels, Config()) == "caption contradicts labels"
    assert fault_of_pair(GOOD, labels | {"hair_colour": "brown"}, Config()) is None
    assert caption_agreement(GOOD, labels | {"hair_colour": "brown"}) == 0.5
    assert caption_agreement("A face.", labels) is None


def test_few_labels_are_refused():
    assert fault_of_pair(GOOD, {"smiling": "no"}, Config()) == "few labels"


def faces(count):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(60, 200, (8, 8, 3), np.uint8)) for _ in range(count)]
    return [np.asarray(image.resize((128, 128), Image.Resampling.BICUBIC)) for image in noise]


def test_a_picture_and_its_darker_smaller_copy_are_near_duplicates_and_the_first_stays():
    first, second, third = faces(3)
    again = (first[::2, ::2] * 0.9).astype(np.uint8)
    hashes = [picture_hash(image) for image in (first, second, again, third)]
    assert near_duplicates(hashes, 12) == {2: 0}
    assert near_duplicates(hashes, -1) == {}
    assert near_duplicates([], 12) == {}


def test_bands_find_what_comparing_all_pairs_finds():
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2, (60, 256), np.uint8)
    for row in range(30, 60):
        bits[row] = bits[row - 30]
        bits[row, rng.permutation(256)[: row - 30]] ^= 1
    hashes = [np.packbits(row).tobytes() for row in bits]
    slow, kept = {}, []
    for row in range(60):
        near = [k for k in kept if (bits[row] != bits[k]).sum() <= 12]
        if near:
            slow[row] = near[0]
        else:
            kept.append(row)
    assert near_duplicates(hashes, 12) == slow
    assert len(slow) == 13
