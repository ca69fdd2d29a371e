import dataclasses
import json

import numpy as np
import pytest

from semeia.data.synthetic.faces.haircuts import HELD_OUT, STYLES, USUAL_SIZES, Hair, sample_hair

ANCESTRY = {"african": 0.1, "asian": 0.4, "caucasian": 0.5}


def draw(look: str, count: int = 600) -> list[Hair]:
    rng = np.random.default_rng(3)
    return [sample_hair(rng, float(rng.uniform(4, 85)), float(rng.random()), ANCESTRY, look=look) for _ in range(count)]


def test_a_haircut_is_plain_numbers_and_strings() -> None:
    for hair in draw("usual", 20):
        assert Hair(**json.loads(json.dumps(dataclasses.asdict(hair)))) == hair


def test_the_usual_look_shows_every_style_that_is_not_held_out_and_no_other() -> None:
    rng = np.random.default_rng(0)
    kinky = {"african": 0.9, "asian": 0.05, "caucasian": 0.05}
    seen = {sample_hair(rng, 25, float(rng.random()), who).style for who in (ANCESTRY, kinky) for _ in range(600)}
    assert seen == set(STYLES) - set(HELD_OUT)


def test_the_other_look_shows_the_held_out_styles_more_often_than_not() -> None:
    styles = [hair.style for hair in draw("other")]
    assert 0.4 < np.mean([style in HELD_OUT for style in styles]) < 0.75
    assert set(HELD_OUT) <= set(styles)


@pytest.mark.parametrize("look", ["usual", "other"])
def test_the_looks_share_no_length(look: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        hair = sample_hair(rng, 30, float(rng.random()), ANCESTRY, look=look)
        size = hair.length / max(STYLES[hair.style].top, STYLES[hair.style].side)
        assert (USUAL_SIZES[0] <= size <= USUAL_SIZES[1]) == (look == "usual")


def test_only_a_fringe_is_a_fringe() -> None:
    for hair in draw("usual", 200):
        assert (hair.fringe >= 0.5) == ("fringe" in hair.style)


def test_bald_men_have_no_long_hair() -> None:
    rng = np.random.default_rng(2)
    bald = [hair for hair in (sample_hair(rng, 65, 0.95, ANCESTRY) for _ in range(200)) if hair.bald]
    assert len(bald) > 50
    assert not any(hair.long for hair in bald)
