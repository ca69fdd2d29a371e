import dataclasses

import numpy as np
import pytest

pytest.importorskip("scipy")

from semeia.data.synthetic.faces.action_units import Palsy, deform, sided, target_weights
from semeia.data.synthetic.faces.light import place_camera
from semeia.data.synthetic.faces.scene import REGIONS
from semeia.data.synthetic.faces.things import Props
from semeia.data.synthetic.faces.truth import (
    HIDDEN_BY_MASK,
    HIDDEN_BY_SUNGLASSES,
    gaze_direction,
    label,
    landmark_visibility,
    measured_units,
)
from semeia.records import ACTION_UNITS

STRAIGHT = (0.0, 0.0)


@pytest.fixture(scope="module")
def measure(head):
    """Gives the measured units of the template that shows the given units, alike on both sides or (left, right)."""

    def measured(action, palsy=None):
        shown = {unit: value if isinstance(value, tuple) else (value, value) for unit, value in action.items()}
        resting = deform(head.vertices, target_weights({}, gaze=STRAIGHT, palsy=palsy))
        acting = deform(head.vertices, target_weights(shown, gaze=STRAIGHT, palsy=palsy))
        return measured_units(head.vertices, resting, acting, cheeks=shown.get("AU06", (0.0, 0.0)))

    return measured


@pytest.fixture(scope="module")
def labels_of(head):
    """Gives all labels of a shot, on the template's head."""

    def labelled(shot, **seen):
        palsy = shot.person.palsy
        shown = sided(shot.action, balance=shot.person.balance, palsy=palsy, one_sided=shot.one_sided)
        resting = deform(head.vertices, target_weights({}, gaze=shot.gaze, palsy=palsy))
        acting = deform(head.vertices, target_weights(shown, gaze=shot.gaze, palsy=palsy))
        camera = place_camera(shot, head.vertices, 128)
        heads = {"neutral": head.vertices, "resting": resting, "acting": acting}
        return label(shot, shown=shown, camera=camera, split="train", **heads, **seen)

    return labelled


def test_yaw_turns_the_nose_to_the_left_of_the_picture(upright, landmarks_of):
    point = landmarks_of(dataclasses.replace(upright, yaw=20.0))
    assert point[30, 0] < point[36:48, 0].mean() - 3


def test_pitch_lifts_the_nose_towards_the_eyes(upright, landmarks_of):
    def nose_below_eyes(pitch):
        point = landmarks_of(dataclasses.replace(upright, pitch=pitch))
        return point[30, 1] - point[36:48, 1].mean()

    assert nose_below_eyes(15.0) < nose_below_eyes(0.0) - 3 < nose_below_eyes(-15.0) - 3


def test_roll_takes_the_top_of_the_head_to_the_left_and_so_lifts_the_left_eye(upright, landmarks_of):
    point = landmarks_of(dataclasses.replace(upright, roll=15.0))
    left_eye, right_eye = point[42:48].mean(0), point[36:42].mean(0)
    assert left_eye[1] < right_eye[1] - 5
    assert point[17:27, 0].mean() < point[8, 0] - 5
    slope = np.degrees(np.arctan2(right_eye[1] - left_eye[1], left_eye[0] - right_eye[0]))
    assert slope == pytest.approx(15, abs=1)


def test_gaze_follows_the_head_and_the_eyes(head, upright):
    def gaze(shot, eyes=STRAIGHT):
        mesh = deform(head.vertices, target_weights({}, gaze=eyes, palsy=None))
        return gaze_direction(head.vertices, mesh, place_camera(shot, head.vertices, 128))

    assert gaze(upright) == pytest.approx((0, 0, -1), abs=0.01)
    assert gaze(upright, (0.5, 0.0))[0] > 0.1  # to the subject's left, the right of the picture
    assert gaze(upright, (0.0, 0.3))[1] < -0.02  # up, against y
    turned = gaze(dataclasses.replace(upright, yaw=20.0))
    assert turned == pytest.approx((-np.sin(np.radians(20)), 0, -np.cos(np.radians(20))), abs=0.01)


def test_a_head_at_rest_shows_no_unit(measure):
    assert all(both == (0, 0) for both in measure({}).values())


@pytest.mark.parametrize("unit", ["AU05", "AU07", "AU25", "AU26"])
def test_a_unit_alone_measures_as_it_was_commanded(measure, unit):
    for intensity in (1.0, 3.0, 5.0):
        assert measure({unit: intensity})[unit] == pytest.approx((intensity, intensity), abs=0.15)


@pytest.mark.parametrize("unit", ["AU05", "AU07", "AU25", "AU43"])
def test_measured_units_grow_with_what_is_commanded(measure, unit):
    grades = [measure({unit: intensity})[unit][0] for intensity in np.linspace(0, 5, 11)]
    assert np.all(np.diff(grades) >= 0)
    assert grades[-1] > 4.5


def test_a_dropping_jaw_passes_from_26_to_27_and_never_shows_both(measure):
    grades = [measure({"AU27": intensity}) for intensity in np.linspace(0, 5, 21)]
    assert all(not (m["AU26"][0] and m["AU27"][0]) for m in grades)
    assert grades[8]["AU26"][0] > 2
    assert grades[-1]["AU27"][0] == pytest.approx(5, abs=0.1)


def test_lips_that_part_for_any_reason_show_25(measure):
    for action in ({"AU26": 3.0}, {"AU27": 4.0}, {"AU10": 4.0}, {"AU12": 4.0, "AU25": 4.0}):
        assert measure(action)["AU25"][0] >= 2
    assert measure({"AU24": 4.0})["AU25"] == (0, 0)


def test_raised_cheeks_are_no_tight_lids(measure):
    assert measure({"AU06": 5.0})["AU07"][0] < 2


def test_closed_eyes_show_43_and_no_7(measure):
    closed = measure({"AU43": 5.0})
    assert closed["AU43"][0] > 4.5
    assert closed["AU07"] == (0, 0)


def test_a_wink_closes_one_eye(measure):
    left, right = measure({"AU43": (5.0, 0.0)})["AU43"]
    assert left > 4.5
    assert right == 0


def test_palsy_weakens_its_own_side_and_spares_the_jaw():
    balance = {"AU12": (0.9, 1.0), "AU26": (0.9, 1.0)}
    shown = sided({"AU12": 4.0, "AU26": 3.0}, balance=balance, palsy=Palsy("left", 0.5))
    assert shown["AU12"] == pytest.approx((4.0 * 0.9 * 0.5, 4.0))
    assert shown["AU26"] == (3.0, 3.0)
    assert sided({"AU12": 4.0}, balance=balance, palsy=None)["AU12"] == pytest.approx((3.6, 4.0))


def test_a_paralysed_eye_does_not_close_and_a_paralysed_mouth_corner_hangs(head, measure):
    palsy = Palsy("right", 1.0)
    assert measure({"AU43": (5.0, 0.0)}, palsy)["AU43"] == (pytest.approx(5, abs=0.4), 0)
    from semeia.data.synthetic.faces.topology import load_topology

    resting = deform(head.vertices, target_weights({}, gaze=STRAIGHT, palsy=palsy))
    corners = resting[load_topology().landmarks[[48, 54]], 1]  # the subject's right, left
    assert corners[0] < corners[1] - 0.01


def test_a_bare_face_has_every_label(upright, labels_of):
    labels = labels_of(dataclasses.replace(upright, props=Props()))
    assert set(labels.au_intensity) == set(labels.au_occurrence) == set(labels.au_left) == set(ACTION_UNITS)
    assert set(labels.au_occurrence.values()) == {0}
    assert labels.landmarks.shape == (68, 2)
    assert labels.box.x == pytest.approx(labels.landmarks[:, 0].min(), abs=1e-3)
    assert labels.pose.yaw == upright.yaw
    assert -1 <= labels.valence <= 1
    assert -1 <= labels.arousal <= 1
    assert labels.caption.endswith(".")
    assert labels.landmark_visibility is None


def test_a_mask_hides_the_lower_face_and_the_expression(upright, labels_of):
    labels = labels_of(dataclasses.replace(upright, props=Props(mask=True), action={"AU12": 4.0, "AU04": 3.0}))
    assert labels.expression is None
    assert set(labels.au_intensity) == set(ACTION_UNITS) - set(HIDDEN_BY_MASK)
    assert labels.au_occurrence["AU04"] == 1
    assert "Smiling" not in labels.attributes


def test_sunglasses_hide_the_lids_but_not_the_expression(upright, labels_of):
    labels = labels_of(dataclasses.replace(upright, props=Props(sunglasses=True)))
    assert set(labels.au_left) == set(ACTION_UNITS) - set(HIDDEN_BY_SUNGLASSES)
    assert labels.expression == "neutral"
    assert labels.attributes["Eyeglasses"] == 1
    assert "Bags_Under_Eyes" not in labels.attributes


def test_a_compound_is_named_and_carries_no_expression(upright, labels_of):
    shot = dataclasses.replace(
        upright, kind="happily surprised", expression=None, compound="happily surprised", props=Props()
    )
    assert (labels_of(shot).compound, labels_of(shot).expression) == ("happily surprised", None)


def test_a_one_sided_unit_is_labelled_on_its_own_side(upright, labels_of):
    labels = labels_of(dataclasses.replace(upright, action={"AU14": 4.0}, one_sided={"AU14": "right"}, props=Props()))
    assert (labels.au_left["AU14"], labels.au_right["AU14"], labels.au_intensity["AU14"]) == (0, 4, 4)


def test_a_one_sided_unit_on_the_paralysed_side_is_weak_and_absent_on_the_other():
    shown = sided({"AU12": 4.0}, balance={"AU12": (1, 1)}, palsy=Palsy("left", 0.5), one_sided={"AU12": "left"})
    assert shown["AU12"] == (2, 0)


def test_a_landmark_is_seen_on_the_face_within_the_picture_and_turned_to_the_viewer():
    regions = np.zeros((8, 8), np.uint8)
    regions[2:6, 2:6] = REGIONS.index("skin")
    regions[4, 4] = REGIONS.index("lash")  # too thin to hide anything
    regions[6:, :] = REGIONS.index("mask")
    points = np.full((68, 2), 4.5)
    points[1] = (9.0, 4.0)  # outside
    points[2] = (4.5, 7.5)  # in the mask, a pixel away from the face
    points[3] = (1.5, 4.5)  # beside the face, one pixel
    points[4] = (0.5, 4.5)  # beside the face, two pixels
    facing = np.ones(68)
    facing[5] = -0.1
    seen = landmark_visibility(points, facing, regions)
    assert seen.dtype == bool
    assert list(seen[:7]) == [True, False, False, True, False, False, True]


def test_visibility_is_labelled_where_the_mask_is_given(upright, labels_of):
    regions = np.full((128, 128), REGIONS.index("skin"), np.uint8)
    seen = labels_of(upright, regions=regions, facing=np.ones(68)).landmark_visibility
    assert seen.shape == (68,)
    assert seen.all()


def test_intensity_is_that_of_the_stronger_side_and_distractors_stay_unlabelled(upright, labels_of):
    person = dataclasses.replace(upright.person, palsy=Palsy("right", 0.6))
    labels = labels_of(dataclasses.replace(upright, person=person, action={"AU12": 4.0, "AU18": 3.0}, props=Props()))
    assert labels.au_intensity["AU12"] == labels.au_left["AU12"] == 4.0
    assert labels.au_right["AU12"] < 1.7
    assert labels.au_occurrence["AU12"] == 1
    assert "AU18" not in labels.au_intensity
    assert (labels.palsy_side, labels.palsy_degree) == ("right", 0.6)
