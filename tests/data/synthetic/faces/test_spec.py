import dataclasses
import json
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("mitsuba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces import action_units
from semeia.data.synthetic.faces.spec import Stream, sample_spec
from semeia.records import EXPRESSIONS

pytestmark = pytest.mark.usefixtures("head")


def test_a_shot_is_the_same_whenever_it_is_drawn():
    assert sample_spec(3, 7, 2) == sample_spec(3, 7, 2)


def test_all_shots_show_the_same_person_and_other_identities_show_others():
    assert sample_spec(3, 7, 2).person == sample_spec(3, 7, 4).person
    assert sample_spec(3, 7, 2).person != sample_spec(3, 8, 2).person


def test_a_spec_is_plain_json():
    shot = sample_spec(3, 7, 2)
    assert json.loads(json.dumps(shot.as_dict()))["yaw"] == shot.yaw


def test_no_two_streams_give_the_same_numbers():
    shots = [sample_spec(1, 2, k) for k in (0, int(Stream.SKIN))]
    draws = [shot.person_stream(stream).random() for shot in shots[:1] for stream in Stream]
    draws += [shot.shot_stream(stream).random() for shot in shots for stream in Stream]
    assert len(set(draws)) == len(draws)


def test_the_first_shot_is_neutral():
    for identity in range(10):
        shot = sample_spec(0, identity, 0)
        assert (shot.expression, shot.action) == ("neutral", {})


def test_only_prototypes_carry_an_expression():
    for identity in range(40):
        for k in range(1, 5):
            shot = sample_spec(0, identity, k)
            assert shot.expression == (shot.kind if shot.kind in EXPRESSIONS else None)
            assert all(0 <= value <= 5 for value in shot.action.values())


def test_kinds_follow_the_policy():
    kinds = Counter(sample_spec(0, identity, k).kind for identity in range(150) for k in range(1, 5))
    share = {kind: kinds[kind] / 600 for kind in ("single", "mixture", "talking")}
    assert share == pytest.approx({"single": 0.25, "mixture": 0.20, "talking": 0.15}, abs=0.05)


def test_poses_stay_within_their_limits_and_a_fifth_of_people_has_a_palsy():
    shots = [sample_spec(0, identity, 1) for identity in range(400)]
    yaw, pitch, roll = np.abs([(shot.yaw, shot.pitch, shot.roll) for shot in shots]).T
    assert yaw.max() <= 45
    assert pitch.max() <= 25
    assert roll.max() <= 25
    assert np.mean([shot.person.palsy is not None for shot in shots]) == pytest.approx(0.2, abs=0.06)


def test_small_children_do_not_smile_broadly():
    shots = [sample_spec(0, identity, k) for identity in range(200) for k in range(1, 5)]
    smiles = [shot.action["AU12"] for shot in shots if shot.person.age < 8 and "AU12" in shot.action]
    assert smiles
    assert max(smiles) <= 2.5


def test_mixtures_hold_only_units_that_go_together():
    for identity in range(60):
        shot = sample_spec(0, identity, 3)
        if shot.kind == "mixture":
            units = list(shot.action)
            assert all(b in action_units.compatible_units()[a] for a in units for b in units if a != b)


def test_every_expression_of_the_records_but_neutral_has_a_prototype():
    assert set(action_units.PROTOTYPES) | {"neutral"} == set(EXPRESSIONS)


def test_a_spec_can_be_changed_like_any_dataclass():
    assert dataclasses.replace(sample_spec(0, 0, 0), yaw=10.0).yaw == 10.0
