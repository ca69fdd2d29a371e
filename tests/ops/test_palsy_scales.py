"""Arithmetic of palsy scales: bands and items by hand, sides that swap with the picture, numbers that are missing."""

import itertools
import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semeia.ops import palsy_scales as scales
from semeia.ops.faces import flip_68
from semeia.records import ACTION_UNITS

NAN = math.nan


def same(found, expected):
    np.testing.assert_allclose(found, expected, atol=1e-9)


def drawn_face(*, turn=0.0, scale=40.0):
    """An even face of 68 points: inner eye corners 1 apart at height 0, drawn in pixels and rolled by degrees."""
    half = {  # points of the picture's left half, x and y in inner distances from the middle of the eyes
        **{17 + i: (-1.5 + 0.25 * i, -0.7 - 0.05 * i) for i in range(5)},
        31: (-0.4, 1.0), 36: (-1.4, 0.0), 37: (-1.1, -0.15), 38: (-0.8, -0.15), 39: (-0.5, 0.0), 40: (-0.8, 0.15),
        41: (-1.1, 0.15), 48: (-0.75, 1.9),
    }  # fmt: skip
    points = np.zeros((68, 2))
    for i, place in half.items():
        points[i] = place
    points = np.where(points == 0, flip_68(points, 0), points)
    angle = math.radians(turn)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return scale * points @ rotation.T + [200, 150]


def droop(points, unit=40.0):
    """The same level face with a weak right side of the subject: brow and mouth lower, eye wider."""
    weak = points.copy()
    weak[17:22, 1] += 0.2 * unit
    weak[[48], 1] += 0.3 * unit
    weak[[40, 41], 1] += 0.1 * unit
    return weak


def test_exercises_ask_for_units_that_the_reader_knows_and_each_for_its_own():
    assert list(scales.EXERCISES) == ["rest", "brow_raise", "eye_closure", "smile", "snarl", "pucker"]
    asked = list(itertools.chain(*scales.EXERCISES.values()))
    assert set(asked) <= set(ACTION_UNITS)
    assert len(asked) == len(set(asked))
    for exercise, units in scales.BESIDE.items():
        assert set(units) <= set(ACTION_UNITS) - set(scales.EXERCISES[exercise])


@pytest.mark.parametrize(
    ("share", "grade"),
    [
        (1, "I"), (0.95, "I"), (0.949, "II"), (0.76, "II"), (0.75, "III"), (0.51, "III"), (0.5, "IV"), (0.26, "IV"),
        (0.25, "V"), (0.05, "V"), (0.049, "VI"), (0, "VI"),
    ],
)  # fmt: skip
def test_shares_of_movement_fall_into_the_bands_of_the_paper(share, grade):
    assert scales.GRADES[int(scales.grade_of_movement(share))] == grade


def test_grades_of_many_shares_are_those_of_each_and_worsen_as_movement_is_lost():
    shares = np.linspace(0, 1, 201).reshape(3, 67)
    grades = scales.grade_of_movement(shares)
    assert grades.shape == (3, 67)
    assert [float(scales.grade_of_movement(share)) for share in shares.ravel()] == grades.ravel().tolist()
    assert set(grades.ravel()) == set(range(6))
    assert (np.diff(grades.ravel()) <= 0).all()
    assert np.isnan(scales.grade_of_movement([NAN, 0.6])).tolist() == [True, False]


def test_a_ratio_is_the_share_that_the_weak_side_has_left():
    same(scales.movement_ratio([1, 4, 0, -0.2], [4, 2, 3, 3]), [0.25, 1, 0, 0])
    same(scales.movement_ratio(1.5, [[2], [3]]), [[0.75], [0.5]])
    assert float(scales.movement_ratio(1, 2)) == 0.5


def test_a_ratio_to_a_side_that_hardly_moves_is_missing():
    same(scales.movement_ratio([1, 1, NAN, 1], [0.99, 0, 2, NAN]), [NAN] * 4)
    same(scales.movement_ratio(1, scales.MOVES), 1)


def test_asymmetry_is_positive_where_the_left_side_is_stronger():
    found = scales.asymmetry([3, 1, 2, 4], [1, 3, 2, 0])
    np.testing.assert_allclose(found, [0.5, -0.5, 0, 1], atol=1e-6)
    assert (np.abs(found) < 1).all()
    same(scales.asymmetry([0, 0.9, 1, NAN], [0, 0.9, NAN, 2]), [NAN] * 4)


@given(left=st.floats(0, 5), right=st.floats(0, 5))
def test_asymmetry_changes_its_sign_with_the_sides(left, right):
    same(scales.asymmetry(left, right), -scales.asymmetry(right, left))


def test_movements_are_items_from_one_to_five():
    same(scales.voluntary_item([0, 0.12, 0.125, 0.25, 0.374, 0.375, 0.5, 0.75, 0.874, 0.875, 1, NAN]),
         [1, 1, 2, 2, 2, 3, 3, 4, 4, 5, 5, NAN])  # fmt: skip


def test_synkinesis_is_graded_by_what_the_weak_side_does_beyond_the_other():
    same(scales.synkinesis_item([-3, 0, 0.99, 1, 2, 2.9, 3, 5, NAN]), [0, 0, 0, 1, 2, 2, 3, 3, NAN])


def test_synkinesis_is_what_moves_along_unasked_on_the_weak_side():
    left = {"AU12": 1.0, "AU25": 1.0, "AU06": 3.0, "AU43": 2.5, "AU17": 0.5, "AU26": 4.0, "AU01": 2.0}
    right = {"AU12": 4.0, "AU25": 4.0, "AU06": 1.0, "AU43": 0.5, "AU17": 1.0, "AU26": 1.0}
    assert scales.synkinesis(left, right, exercise="smile", weak_side="left") == {"AU43": 2.0, "AU17": -0.5}
    assert scales.synkinesis(left, right, exercise="smile", weak_side="right") == {"AU43": -2.0, "AU17": 0.5}
    closing = scales.synkinesis(left, right, exercise="eye_closure", weak_side="right")
    assert closing == {"AU12": 3.0, "AU25": 3.0, "AU17": 0.5}


def test_synkinesis_of_frames_keeps_their_shape():
    frames = {"AU43": np.array([[0.0, 1], [2, NAN]])}
    still = {"AU43": np.zeros((2, 2))}
    same(scales.synkinesis(frames, still, exercise="smile", weak_side="left")["AU43"], frames["AU43"])


@pytest.mark.parametrize(("exercise", "weak_side"), [("frown", "left"), ("smile", "none")])
def test_an_unknown_exercise_or_side_does_not_pass_for_another(exercise, weak_side):
    with pytest.raises(KeyError):
        scales.synkinesis({}, {}, exercise=exercise, weak_side=weak_side)


def test_resting_items_count_differences_of_either_sign():
    same(scales.resting_items(eye=0, cheek=0, mouth=0), [0, 0, 0])
    same(scales.resting_items(eye=-0.06, cheek=-0.1, mouth=-0.1), [1, 1, 1])
    same(scales.resting_items(eye=0.05, cheek=0.2, mouth=0.09), [0, 2, 0])
    same(scales.resting_items(eye=[9, 0], cheek=[9, NAN], mouth=9), [[1, 2, 1], [0, NAN, 1]])


def test_thresholds_at_rest_are_the_callers():
    own = {"eye_from": 0.31, "cheek_from": (0.31, 0.4), "mouth_from": 0.3}
    found = scales.resting_items(eye=0.3, cheek=0.3, mouth=0.3, **own)
    same(found, [0, 0, 1])


def test_the_composite_runs_from_nothing_moves_to_all_is_well():
    assert scales.composite([5] * 5, resting=[0] * 3, synkinesis=[0] * 5) == 100
    assert scales.composite([1] * 5, resting=[1, 2, 1], synkinesis=[0] * 5) == 0
    assert scales.composite([3, 2, 4, 3, 3], resting=[1, 1, 0], synkinesis=[1, 0, 2, 0, 1]) == 60 - 10 - 4


def test_a_missing_item_leaves_no_composite():
    full = {"voluntary": [5.0] * 5, "resting": [0.0] * 3, "synkinesis": [0.0] * 5}
    for name, items in full.items():
        parts = full | {name: [NAN, *items[1:]]}
        found = scales.composite(parts["voluntary"], resting=parts["resting"], synkinesis=parts["synkinesis"])
        assert np.isnan(found)
        parts = full | {name: items[1:]}
        with pytest.raises(ValueError, match=rf"expected {len(items)} {name} items"):
            scales.composite(parts["voluntary"], resting=parts["resting"], synkinesis=parts["synkinesis"])


def test_composites_of_many_faces_are_those_of_each():
    rng = np.random.default_rng(0)
    items = [rng.integers(low, high + 1, (7, n)) for low, high, n in ((1, 5, 5), (0, 1, 3), (0, 3, 5))]
    found = scales.composite(items[0], resting=items[1], synkinesis=items[2])
    slow = [4 * sum(v) - 5 * sum(r) - sum(s) for v, r, s in zip(*(i.tolist() for i in items), strict=True)]
    assert found.tolist() == slow


@pytest.mark.parametrize("turn", [0, 17, -90, 170])
def test_an_even_face_measures_alike_on_both_sides_whatever_the_roll(turn):
    found = scales.resting_measures(drawn_face(turn=turn))
    same(found.fissure, (0.3, 0.3))
    same(found.brow, (0.8, 0.8))
    same(found.mouth, (1.9, 1.9))
    same(found.fold, [math.hypot(0.35, 0.9)] * 2)


def test_a_weak_side_is_told_from_the_healthy_one():
    found = scales.resting_measures(droop(drawn_face()))
    same(found.fissure, (0.3, 0.4))
    same(found.brow, (0.8, 0.6))
    same(found.mouth, (1.9, 2.2))
    differences = {name: np.subtract(*pair) for name, pair in vars(found).items()}
    items = scales.resting_items(eye=differences["fissure"], cheek=differences["fold"], mouth=differences["mouth"])
    same(items, [1, 2, 1])


def test_mirroring_the_face_swaps_the_sides():
    rolled = droop(drawn_face()) + np.random.default_rng(0).normal(0, 2, (68, 2))
    found, mirrored = (scales.resting_measures(points) for points in (rolled, flip_68(rolled, 400)))
    same([pair[::-1] for pair in astuple(mirrored)], astuple(found))
    assert found.mouth[1] > found.mouth[0]  # the subject's right, the left of the picture, hangs


def test_measures_do_not_depend_on_size_and_place():
    points = droop(drawn_face())
    same(astuple(scales.resting_measures(points * 3.7 + [-900, 40])), astuple(scales.resting_measures(points)))


@pytest.mark.parametrize("points", [np.zeros((68, 2)), np.full((68, 2), NAN)])
def test_eyes_that_do_not_lie_apart_have_no_measures(points):
    with pytest.raises(ValueError, match="eyes that lie apart"):
        scales.resting_measures(points)
