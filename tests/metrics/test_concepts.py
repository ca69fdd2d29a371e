"""Scores of learned concepts on embeddings."""

import numpy as np
import pytest

from semeia.metrics import concepts

X, Y, XY = np.array([[1.0, 0]]), np.array([[0.0, 2]]), np.array([[3.0, 3]])


@pytest.mark.parametrize(("one", "other", "value"), [(X, X, 1), (X, Y, 0), (X, -X, -1), (X, XY, 2**-0.5)])
def test_alignment_is_the_cosine_of_a_picture_and_its_prompt(one, other, value):
    assert concepts.text_alignment(one, other) == pytest.approx([value])


def test_fidelity_is_the_mean_over_all_references_as_a_slow_twin_has_it():
    rng = np.random.default_rng(0)
    pictures, references = rng.normal(size=(5, 7)), rng.normal(size=(3, 7))
    slow = [
        np.mean([p @ r / np.linalg.norm(p) / np.linalg.norm(r) for r in references])
        for p in pictures
    ]  # fmt: skip
    assert concepts.fidelity(pictures, references) == pytest.approx(slow)
    assert concepts.cosines(pictures, references).shape == (5, 3)


def test_the_gap_is_what_is_like_the_pictures_but_not_like_the_subject():
    scores = concepts.concept_scores(XY, np.array([0.3]), X, Y)
    assert scores.gap == pytest.approx([0])
    assert concepts.concept_scores(X, np.array([0.3]), X, Y).gap == pytest.approx([1])


def test_scales_do_not_mix():
    assert concepts.clip_score(np.array([0.304, -0.2])) == pytest.approx([0.76, 0])


def test_an_embedding_of_zeros_has_no_cosine():
    assert np.isnan(concepts.fidelity(np.zeros((1, 2)), X)).all()


def test_intervals_draw_pairs_and_not_pictures():
    # Four seeds of a pair that say the same tell no more than one.
    values = np.repeat([0.0, 1.0, 0.5, 0.2], 4)
    subjects, prompts = np.repeat(["a", "a", "b", "b"], 4), np.repeat(["p", "q", "p", "q"], 4)
    mean, low, high = concepts.mean_interval(values, subjects, prompts)
    single = concepts.mean_interval(values[::4], subjects[::4], prompts[::4])
    assert (mean, low, high) == pytest.approx(single)
    assert low < mean < high
    assert len(set(concepts.pairs_of(subjects, prompts))) == 4


def test_unknown_values_are_left_out_of_the_mean():
    mean, _, _ = concepts.mean_interval(np.array([1.0, np.nan, 3.0]), ["a"] * 3, ["p", "q", "r"])
    assert mean == 2
    assert np.isnan(concepts.mean_interval(np.array([np.nan]), ["a"], ["p"])[0])


def test_a_foreground_keeps_the_subject_and_paints_the_rest():
    picture = np.full((2, 2, 3), 100, np.uint8)
    mask = np.array([[1, 0], [0.5, 1]])
    assert concepts.foreground(picture, mask)[..., 0].tolist() == [[100, 255], [178, 100]]
    assert concepts.foreground(picture, mask, fill=0)[0, 1].tolist() == [0, 0, 0]


def test_overlap_by_hand():
    one, other = np.array([[True, True, False]]), np.array([[True, False, True]])
    assert concepts.overlap(one, other) == pytest.approx(1 / 3)
    assert np.isnan(concepts.overlap(~one & one, ~one & one))
