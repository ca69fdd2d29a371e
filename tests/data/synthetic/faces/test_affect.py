import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces.affect import PLACES, RATER_NOISE, rated_affect, true_affect
from semeia.data.synthetic.faces.spec import sample_spec
from semeia.records import EXPRESSIONS

pytestmark = pytest.mark.usefixtures("head")


def affect(action, expression=None, compound=None):
    shot = dataclasses.replace(sample_spec(0, 0, 1), expression=expression, compound=compound, action=action)
    return true_affect(shot, action)


def test_every_expression_has_a_place():
    assert set(PLACES) == set(EXPRESSIONS)


def test_a_resting_face_lies_at_the_origin():
    assert affect({}, "neutral") == (0, 0)


def test_a_full_prototype_reaches_its_place_and_a_weaker_one_lies_nearer():
    assert affect({"AU12": 4.0, "AU06": 4.0}, "happiness") == pytest.approx(PLACES["happiness"])
    assert affect({"AU12": 2.0, "AU06": 2.0}, "happiness") == pytest.approx(np.array(PLACES["happiness"]) / 2)


def test_a_compound_lies_between_its_two_expressions():
    valence, arousal = affect({"AU01": 4.0, "AU12": 4.0}, compound="happily surprised")
    assert (valence, arousal) == pytest.approx(np.mean([PLACES["happiness"], PLACES["surprise"]], axis=0))


def test_single_units_please_frighten_and_calm():
    assert affect({"AU12": 4.0})[0] > 0.4
    assert all(affect({unit: 4.0})[0] < -0.2 for unit in ("AU04", "AU09", "AU10", "AU15"))
    assert all(affect({unit: 5.0})[1] > 0.2 for unit in ("AU05", "AU26", "AU27"))
    assert affect({"AU43": 5.0})[1] < -0.4


def test_raters_scatter_around_the_rule_within_the_scale_and_are_the_same_each_time():
    shots = [dataclasses.replace(sample_spec(0, i, 1), expression=None, compound=None, action={}) for i in range(200)]
    rated = np.array([rated_affect(shot, {}) for shot in shots])
    assert rated.std(0) == pytest.approx([RATER_NOISE] * 2, rel=0.2)
    assert rated_affect(shots[0], {}) == tuple(rated[0])
    loud = np.array([rated_affect(shot, {"AU12": 5.0, "AU06": 5.0, "AU27": 5.0, "AU05": 5.0}) for shot in shots])
    assert np.abs(loud).max() <= 1
