import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces.attributes import (
    HIDDEN_BY_HAT,
    HIDDEN_BY_MASK,
    HIDDEN_BY_SUNGLASSES,
    Shape,
    attributes,
    face_shape,
)
from semeia.data.synthetic.faces.identity import neutral_head
from semeia.data.synthetic.faces.spec import sample_spec
from semeia.data.synthetic.faces.things import Props
from semeia.records import ACTION_UNITS, ATTRIBUTES

pytestmark = pytest.mark.usefixtures("head")
AVERAGE = Shape(nose=0.15, lips=0.22, eyes=0.35)
REST = dict.fromkeys(ACTION_UNITS, 0.0)


@pytest.fixture(scope="module")
def plain():
    """A bare-faced woman of thirty without any attribute but those that lie in being so."""
    drawn = sample_spec(5, 0, 0)
    hair = dataclasses.replace(
        drawn.person.hair,
        colour="blond", grey=0.0, bald=0.0, line=-0.03, style="crop", length=0.3, long=False, fringe=0.0, curl=0.0,
    )  # fmt: skip
    person = dataclasses.replace(
        drawn.person,
        age=30.0, male=0.1, hair=hair, beard=0.0, beard_style="stubble", lipstick=False, brow_thickness=0.018,
        brow_arch=0.0, weight=0.5, melanin=0.4, rosy=0.0, bags=0.0, makeup=0.0,
    )  # fmt: skip
    return dataclasses.replace(drawn, person=person, props=Props())


def holding(shot, *, shape=AVERAGE, **intensity):
    found = attributes(shot, intensity=REST | intensity, shape=shape)
    return {name for name, holds in found.items() if holds}


def of(shot, **changes):
    hair = {name: changes.pop(name) for name in list(changes) if hasattr(shot.person.hair, name)}
    person = dataclasses.replace(shot.person, hair=dataclasses.replace(shot.person.hair, **hair), **changes)
    return dataclasses.replace(shot, person=person)


def test_a_plain_woman_has_every_label_and_only_a_few_hold(plain):
    assert set(attributes(plain, intensity=REST, shape=AVERAGE)) == set(ATTRIBUTES)
    assert holding(plain) == {"Blond_Hair", "No_Beard", "Straight_Hair", "Young"}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"colour": "black"}, "Black_Hair"), ({"grey": 0.9}, "Gray_Hair"), ({"bald": 0.8}, "Bald"),
        ({"fringe": 1.0}, "Bangs"), ({"line": 0.08}, "Receding_Hairline"), ({"style": "long wavy"}, "Wavy_Hair"),
        ({"male": 0.9}, "Male"), ({"weight": 0.8}, "Chubby"), ({"rosy": 0.8}, "Rosy_Cheeks"),
        ({"bags": 0.8}, "Bags_Under_Eyes"), ({"makeup": 0.8}, "Heavy_Makeup"), ({"melanin": 0.1}, "Pale_Skin"),
        ({"brow_arch": 0.03}, "Arched_Eyebrows"), ({"brow_thickness": 0.03}, "Bushy_Eyebrows"),
        ({"beard": 0.3}, "5_o_Clock_Shadow"), ({"beard": 0.6, "beard_style": "goatee"}, "Goatee"),
        ({"beard": 0.6, "beard_style": "moustache"}, "Mustache"), ({"lipstick": True}, "Wearing_Lipstick"),
    ],
)  # fmt: skip
def test_each_trait_of_a_person_has_its_attribute(plain, changes, name):
    assert name not in holding(plain)
    assert name in holding(of(plain, **changes))


def test_what_is_shown_and_worn_has_its_attribute(plain):
    assert {"Smiling", "Mouth_Slightly_Open"} <= holding(plain, AU12=3.0, AU25=2.0)
    assert {"Big_Lips", "Big_Nose", "Narrow_Eyes"} <= holding(plain, shape=Shape(nose=0.2, lips=0.28, eyes=0.2))
    worn = dataclasses.replace(plain, props=Props(glasses=True, earrings=True))
    assert {"Eyeglasses", "Wearing_Earrings"} <= holding(worn)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"male": 0.5}, {"Male"}), ({"age": 40.0}, {"Young"}), ({"bald": 0.5}, {"Bald"}),
        ({"bags": 0.4}, {"Bags_Under_Eyes"}),
        ({"grey": 0.4}, {"Gray_Hair", "Blond_Hair", "Black_Hair", "Brown_Hair"}),
        ({"beard": 0.15}, {"No_Beard", "5_o_Clock_Shadow"}), ({"weight": 0.6}, {"Chubby"}),
        ({"long": True}, {"Wearing_Earrings"}), ({"bald": 0.8}, {"Straight_Hair", "Wavy_Hair", "Black_Hair"}),
        ({"rosy": 0.9, "melanin": 0.7}, {"Rosy_Cheeks"}),
    ],
)  # fmt: skip
def test_what_nobody_could_be_sure_of_has_no_label(plain, changes, names):
    assert not names & set(attributes(of(plain, **changes), intensity=REST, shape=AVERAGE))


@pytest.mark.parametrize(
    ("thing", "hidden"), [("hat", HIDDEN_BY_HAT), ("mask", HIDDEN_BY_MASK), ("sunglasses", HIDDEN_BY_SUNGLASSES)]
)
def test_what_a_thing_hides_has_no_label(plain, thing, hidden):
    found = attributes(dataclasses.replace(plain, props=Props(**{thing: True})), intensity=REST, shape=AVERAGE)
    assert not set(hidden) & set(found)


def test_attributes_are_told_of_many_people_and_neither_always_nor_never_hold():
    told, held = dict.fromkeys(ATTRIBUTES, 0), dict.fromkeys(ATTRIBUTES, 0)
    people = 400
    for identity in range(people):
        shot = sample_spec(2, identity, 1)
        head = neutral_head(shot.person)
        intensity = REST | {unit: value for unit, value in shot.action.items() if unit in REST}
        for name, holds in attributes(shot, intensity=intensity, shape=face_shape(head, head)).items():
            told[name] += 1
            held[name] += holds
    # Things are worn as often as shots show them, and some attributes need a state that is rare.
    rare = {"Mask", "Wearing_Hat", "Bald", "Goatee"}
    for name in ATTRIBUTES:
        assert told[name] > 0.4 * people
        assert (0.005 if name in rare else 0.04) < held[name] / told[name] < 0.95


def test_a_face_is_measured_whatever_its_size(head):
    assert np.allclose(
        dataclasses.astuple(face_shape(head.vertices, head.vertices)),
        dataclasses.astuple(face_shape(head.vertices * 0.7, head.vertices * 0.7)),
        atol=1e-4,
    )
