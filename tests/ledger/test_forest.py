"""The forest plot is a picture, and small."""

from xml.etree import ElementTree as ET

import pytest

from semeia.ledger.forest import Line, forest, tick

NAMES = {"svg": "http://www.w3.org/2000/svg"}


def line(name="T1 <b>", *, unit="points", word="holds", at=0.1, reach=0.05, margin=0.0):
    return Line(name, unit, word, at, at - reach, at + reach, margin)


def drawn(*lines):
    return ET.fromstring(forest(lines, title="Toy & more"))


def test_each_claim_is_a_dot_on_its_interval():
    picture = drawn(line(), line("T2", word="fails", at=-0.2))
    dots = picture.findall("svg:circle", NAMES)
    assert len(dots) == 2
    assert float(dots[1].get("cx")) < 385 < float(dots[0].get("cx"))
    words = [text.text for text in picture.findall("svg:text", NAMES)]
    assert "T1 <b>" in words
    assert "+0.100 (+0.050 to +0.150)" in words


def test_units_have_axes_of_their_own():
    picture = drawn(line(), line("T2", unit="years", at=7, reach=3), line("T3"))
    heads = [t.text for t in picture.findall("svg:text", NAMES) if t.text.startswith("better by")]
    assert heads == ["better by, points", "better by, years"]


def test_a_margin_is_a_dashed_line():
    dashed = [x for x in drawn(line(margin=0.05)).findall("svg:line", NAMES) if x.get("stroke-dasharray")]
    assert len(dashed) == 1


def test_nothing_at_all_can_be_drawn():
    assert drawn(line(at=0, reach=0)) is not None


@pytest.mark.parametrize("reach", [1e-4, 0.013, 0.3, 1.0, 7.7, 4000.0])
def test_ticks_are_round_and_few(reach):
    step = tick(reach)
    assert 2 <= reach / step <= 5.01
    assert f"{step:.0e}"[0] in "125"
