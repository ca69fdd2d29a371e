"""The page of a patient tells everything once, and nothing of it comes from elsewhere."""

from dataclasses import replace
from html.parser import HTMLParser
from math import nan

import numpy as np
import pytest

from semeia.media.clip_plots import LEFT, RIGHT
from semeia.media.palsy_page import marked, palsy_page, told_units
from semeia.records import PalsyCurve, PalsyMovement, PalsyPicture, PalsyReading

UNITS = ("AU04", "AU06", "AU12", "AU15", "AU25")
PICTURE = PalsyPicture(
    "smile", "folder/<smile>.png", None, dict.fromkeys(UNITS, 0.0) | {"AU12": 5.0}, dict.fromkeys(UNITS, 0.0), 0.5,
    np.full((64, 64, 3), 128, np.uint8), dict.fromkeys(UNITS, ((0.75, 0.5, 0.1, 0.1), (0.25, 0.5, 0.1, 0.1))),
)  # fmt: skip
READING = PalsyReading(
    grade="IV", grades={"III": 0.3, "IV": 0.7}, degree=0.62, side="right", certainty=0.9,
    movements=(PalsyMovement("smile", ("smile.png",), PICTURE.left, PICTURE.right, 1.5, 0.25, 2, 0),),
    resting=(1, 0, 1), composite=40, notes=("b.png: no <face> was found",), weights="mine", pictures=(PICTURE,),
    curves=(PalsyCurve("clip.mp4", (("smile", 0.0, 2.0),), (0.0, 1.0, 2.0), {"AU12": (0.0, nan, 5.0)},
                       {"AU12": (0.0, 1.0, 2.0)}),),
)  # fmt: skip


class Tags(HTMLParser):
    """Counts tags and sees that they close."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page():
    return palsy_page({"Anna & Bo": READING})


def test_tags_close_and_nothing_comes_from_elsewhere(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.seen
    assert tags.sources
    assert all(source.startswith("data:image/jpeg") for source in tags.sources)


def test_names_from_outside_are_escaped(page):
    assert "Anna &amp; Bo" in page
    assert "&lt;smile&gt;.png" in page
    assert "no &lt;face&gt; was found" in page


def test_the_answer_and_its_limits_are_told(page):
    for words in ("IV", "0.62", "90% sure", "right", "40", "medical device", "25% of the movement", "item 2 of 5"):
        assert words in page


def test_a_patient_without_a_grade_is_told_so():
    none = PalsyReading(None, {}, None, None, None, (), None, None, ("a.png: the head is turned",), "mine")
    page = palsy_page({"a": none})
    assert "No grade" in page
    assert "the head is turned" in page


def test_lines_break_where_there_is_no_face(page):
    # The left side has a point before and one after the gap, the right side one line.
    assert page.count("<polyline") == 3
    assert "<polyline points='0.0,74.0 430.0,59.2 860.0,44.4'" in page


def test_a_movement_tells_what_it_asks_for_and_then_the_most_uneven_units():
    left = {"AU04": 3.0, "AU06": 1.0, "AU12": 0.0, "AU15": 2.0, "AU25": 0.0, "AU09": 0.1}
    movement = PalsyMovement("smile", (), left, dict.fromkeys(left, 0.0), 0.0)
    assert told_units(movement) == ["AU12", "AU25", "AU04", "AU15", "AU06"]


def test_the_side_that_shows_more_is_fuller():
    image = marked(PICTURE, ["AU12"]).astype(int)
    left, right = image[32, 48], image[32, 16]
    assert np.abs(left - LEFT[:3]).max() <= 2
    assert np.abs(right - RIGHT[:3]).max() > 20
    assert (image[2, 2] == 128).all()
    assert (marked(replace(PICTURE, left=PICTURE.right), ["AU12"])[32, 48] != left).any()
