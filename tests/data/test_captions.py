"""Prompts of portraits say what labels say, and nothing else."""

import re

import numpy as np
import pytest

from semeia.data import captions
from semeia.records import FaceLabels, Pose


def prompts(labels, n=300, **options):
    rng = np.random.default_rng(0)
    return [captions.prompt(labels, rng, **options) for _ in range(n)]


def full(**changes):
    values = {"key": "k", "expression": "happiness", "age": 70.0, "pose": Pose(30, 0, 0),
              "attributes": {"Male": 0, "Gray_Hair": 1, "Eyeglasses": 1, "Wearing_Hat": 0},
              "au_intensity": {"AU12": 4.0}, **changes}  # fmt: skip
    return FaceLabels(**values)


def test_everything_that_is_labelled_is_told_now_and_then():
    told = " | ".join(prompts(full(), behind="dark green"))
    for words in ("an old woman", "a person", "grey hair", "wearing glasses", "smiling", "happy", "to her right",
                  "right pose", "dark green background"):  # fmt: skip
        assert words in told
    assert "hat" not in told


def test_a_mirrored_head_is_turned_to_the_other_side():
    told = " | ".join(prompts(full(), mirrored=True))
    assert "left pose" in told
    assert "right" not in told


def test_what_has_no_label_is_never_told():
    told = set(prompts(FaceLabels(key="k")))
    assert told <= {f"{opening} a {who}".strip() for opening in captions.OPENINGS for who in captions.FACES}


def test_every_word_of_every_prompt_is_in_the_vocabulary():
    known, rng = set(captions.vocabulary()), np.random.default_rng(1)
    names = (*captions.HAIR, *captions.LOOKS, *captions.THINGS, "Male", "No_Beard")
    for _ in range(800):
        labels = FaceLabels(
            key="k", expression=str(rng.choice(list(captions.MOODS))), age=float(rng.uniform(1, 90)),
            pose=Pose(*rng.uniform(-30, 30, 3)), attributes={name: int(rng.integers(2)) for name in names},
            au_intensity={unit: float(rng.uniform(0, 5)) for unit in captions.DEEDS},
        )  # fmt: skip
        behind = captions.colour_word(*rng.uniform(0, 255, 3))
        words = set(re.findall("[a-z]+", captions.prompt(labels, rng, behind=behind)))
        assert words <= known


@pytest.mark.parametrize(("colour", "word"), [
    ((10, 10, 10), "black"), ((250, 250, 250), "white"), ((128, 128, 128), "grey"), ((60, 60, 60), "dark grey"),
    ((180, 180, 182), "light grey"), ((40, 70, 45), "dark green"), ((120, 125, 190), "blue"), ((200, 90, 90), "red"),
    ((190, 165, 200), "light purple"), ((120, 95, 60), "brown"),
])  # fmt: skip
def test_colours_have_names(colour, word):
    assert captions.colour_word(*colour) == word


def test_the_background_is_what_the_mask_leaves():
    image = np.zeros((10, 10, 3), np.uint8)
    image[:, 5:] = 200, 60, 60
    mask = np.ones((10, 10), np.uint8)
    assert captions.background_word(image, mask) is None
    mask[:, 5:] = 0
    assert captions.background_word(image, mask) == "red"
