from dataclasses import replace

from semeia.media.wording import UNIT_NAMES, likely_attributes, present, uneven
from semeia.records import ACTION_UNITS, ActionUnit


def test_every_unit_of_the_bundled_reader_has_a_name():
    assert tuple(UNIT_NAMES) == ACTION_UNITS


def test_present_units_stand_strongest_first(make_face):
    units = {"AU01": ActionUnit(0.9, 1.0), "AU04": ActionUnit(0.2, 4.0), "AU12": ActionUnit(0.5, 3.0)}
    assert [name for name, _ in present(replace(make_face(), action_units=units))] == ["AU12", "AU01"]


def test_sides_are_told_from_a_level_of_difference_on():
    assert uneven(ActionUnit(0.9, 3.0, left=3.5, right=2.5)) == "left 3.5, right 2.5"
    assert uneven(ActionUnit(0.9, 3.0, left=3.4, right=2.5)) == ""
    assert uneven(ActionUnit(0.9, 3.0)) == ""


def test_attributes_above_one_half_stand_in_plain_words_likeliest_first(make_face):
    face = make_face(attributes={"Bald": 0.5, "Black_Hair": 0.6, "Smiling": 0.9})
    assert likely_attributes(face) == ["smiling", "black hair"]
