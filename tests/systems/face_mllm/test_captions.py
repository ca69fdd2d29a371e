"""The grammar of captions."""

import numpy as np
import pytest

from semeia.systems.face_mllm import filters
from semeia.systems.face_mllm.captions import caption
from semeia.systems.face_mllm.schema import HELD_OUT, SCHEMA, mentions


@pytest.fixture(scope="module")
def random_labels():
    """Labels of 150 faces that nobody has, each item known half of the time."""
    rng = np.random.default_rng(0)
    return [
        {item.name: item.values[int(rng.integers(len(item.values)))] for item in SCHEMA if rng.random() < 0.5}
        for _ in range(150)
    ]


def test_a_caption_never_contradicts_the_labels_it_was_made_of(random_labels):
    rng = np.random.default_rng(1)
    for labels in random_labels:
        labels.pop("hair_colour", None) if labels.get("bald") == "yes" else None
        text = caption(labels, rng)
        assert filters.contradictions(text, labels) == [], text


def test_a_caption_says_nothing_of_items_without_a_label(random_labels):
    rng = np.random.default_rng(2)
    for labels in random_labels:
        told = set(mentions(caption(labels, rng)))
        assert told - set(labels) <= {"beard", "gender", "age_group"}, told - set(labels)


def test_captions_pass_the_filters(random_labels):
    rng = np.random.default_rng(3)
    faults = [filters.fault_of_caption(caption(labels, rng), filters.Config()) for labels in random_labels]
    assert faults.count(None) > 0.9 * len(faults)
    assert set(faults) <= {None, "caption of few words"}


def test_chance_chooses_words_and_order_and_a_seed_repeats_them():
    labels = {"smiling": "yes", "hat": "yes", "hair_colour": "black", "big_nose": "yes", "gender": "male"}
    texts = {caption(labels, np.random.default_rng(seed)) for seed in range(20)}
    assert len(texts) > 5
    assert caption(labels, np.random.default_rng(4)) == caption(labels, np.random.default_rng(4))


def test_without_labels_there_is_a_sentence_still():
    assert caption({}, np.random.default_rng(0)).endswith("a person.")


def test_held_out_items_can_be_described():
    for name in HELD_OUT:
        assert mentions(caption({name: "yes"}, np.random.default_rng(0))).get(name) == "yes", name
