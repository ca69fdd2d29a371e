import dataclasses
import json

import numpy as np
import pytest

pytest.importorskip("scipy")

from semeia.data.synthetic.faces import action_units
from semeia.data.synthetic.faces.spec import BEARD_STYLES, Stream, sample_person, sample_spec
from semeia.records import EXPRESSIONS, SemeiaError

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


def test_the_first_shot_hides_nothing_of_the_face():
    for identity in range(200):
        props = sample_spec(0, identity, 0).props
        assert (props.mask, props.hand, props.sunglasses) == (False, False, False)


def test_only_prototypes_carry_an_expression_and_only_compounds_a_compound():
    for identity in range(60):
        for k in range(1, 5):
            shot = sample_spec(0, identity, k)
            assert shot.expression == (shot.kind if shot.kind in EXPRESSIONS else None)
            assert shot.compound == (shot.kind if shot.kind in action_units.COMPOUNDS else None)
            assert all(0 <= value <= 5 for value in shot.action.values())
            assert set(shot.one_sided) <= set(shot.action)


def test_a_paralysed_side_shows_nothing_on_its_own():
    shots = [sample_spec(0, identity, k) for identity in range(200) for k in range(1, 5)]
    lone = [shot for shot in shots if shot.person.palsy is not None and shot.one_sided]
    assert lone
    assert all(side != shot.person.palsy.side for shot in lone for side in shot.one_sided.values())


def test_the_other_look_is_nearer_and_turns_further_but_shows_the_same_actions():
    usual = [sample_spec(0, identity, 1) for identity in range(200)]
    other = [sample_spec(0, identity, 1, look="other") for identity in range(200)]
    assert [shot.action for shot in usual] == [shot.action for shot in other]
    assert max(shot.distance for shot in other) <= 6
    assert np.std([shot.roll for shot in other]) > 1.5 * np.std([shot.roll for shot in usual])


def test_a_look_or_policy_that_does_not_exist_is_named():
    with pytest.raises(SemeiaError, match="look: expected one of usual, other, found 'odd'"):
        sample_spec(0, 0, 0, look="odd")
    with pytest.raises(SemeiaError, match="policy: expected one of balanced, natural, independent, found 'odd'"):
        sample_spec(0, 0, 0, policy="odd")


def test_shots_of_the_independent_policy_bear_its_name():
    shots = [sample_spec(0, 0, k, policy="independent") for k in range(1, 7)]
    assert {shot.kind for shot in shots} <= {"independent", "neutral"}
    assert any(shot.action for shot in shots)
    assert {shot.policy for shot in shots} == {"independent"}


def test_weak_beards_are_stubble_and_only_grown_women_wear_eye_make_up():
    people = [sample_person(0, identity) for identity in range(400)]
    assert all((person.beard_style == "stubble") == (person.beard < 0.4) for person in people)
    assert {person.beard_style for person in people} == set(BEARD_STYLES)
    assert all(person.male < 0.4 and person.age > 16 for person in people if person.makeup)
    assert all(0 <= getattr(person, mark) <= 1 for person in people for mark in ("rosy", "bags", "freckles", "makeup"))


def test_poses_stay_within_their_limits_and_a_fifth_of_people_has_a_palsy():
    shots = [sample_spec(0, identity, 1) for identity in range(400)]
    yaw, pitch, roll = np.abs([(shot.yaw, shot.pitch, shot.roll) for shot in shots]).T
    assert yaw.max() <= 45
    assert pitch.max() <= 25
    assert roll.max() <= 25
    assert np.mean([shot.person.palsy is not None for shot in shots]) == pytest.approx(0.2, abs=0.06)


def test_every_expression_of_the_records_but_neutral_has_a_prototype():
    assert set(action_units.PROTOTYPES) | {"neutral"} == set(EXPRESSIONS)


def test_a_spec_can_be_changed_like_any_dataclass():
    assert dataclasses.replace(sample_spec(0, 0, 0), yaw=10.0).yaw == 10.0
