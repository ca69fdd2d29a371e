import numpy as np
import pytest

from semeia.data.synthetic.faces.light import head_rotation
from semeia.media.overlays import annotate, attention, head_axes, heat
from semeia.records import Pose


@pytest.fixture
def grey():
    return np.full((1000, 1200, 3), 128, np.uint8)


def changed(before, after):
    """Where the picture differs, inside its own frame."""
    return (after[: before.shape[0], : before.shape[1]] != before).any(axis=-1)


def test_one_face_gets_a_box_and_a_card_beside_or_below(grey, make_face):
    drawn = annotate(grey, [make_face(box=(400, 300, 200, 250))])
    assert drawn.dtype == np.uint8
    assert drawn.shape[0] > 1000 or drawn.shape[1] > 1200
    marks = changed(grey, drawn)
    assert marks[302, 500]  # top edge
    assert marks[425, 401]  # left edge
    assert not marks[600:, :].any()
    assert not marks[320:360, 420:580].any()  # inside, away from the axes


def test_a_crowd_gets_boxes_alone_and_keeps_its_size(grey, make_face):
    faces = [make_face(box=(20 + 140 * i, 40 + 180 * j, 50, 60)) for j in range(5) for i in range(8)]
    drawn = annotate(grey, faces)
    assert drawn.shape == grey.shape
    marks = changed(grey, drawn)
    assert all(marks[round(face.box.y) + 30, round(face.box.x)] for face in faces)


def test_labels_of_a_crowd_do_not_cover_faces(grey, make_face):
    faces = [make_face(box=(20 + 140 * i, 40 + 180 * j, 50, 60)) for j in range(5) for i in range(8)]
    marks = changed(grey, annotate(grey, faces))
    inside = [marks[round(f.box.y) + 5 : round(f.box.y) + 55, round(f.box.x) + 5 : round(f.box.x) + 45] for f in faces]
    assert not any(part.any() for part in inside)


def test_a_small_picture_is_enlarged_by_a_whole_factor(make_face):
    drawn = annotate(np.zeros((512, 512, 3), np.uint8), [make_face()])
    assert drawn.shape[0] >= 1024
    assert drawn.shape[1] >= 1024


def test_no_face_is_said_on_the_picture(grey):
    drawn = annotate(grey, [])
    assert drawn.shape == grey.shape
    assert changed(grey, drawn)[:80, :300].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (200, 90)])
def test_odd_shapes_are_drawn(shape, make_face):
    image = np.zeros((*shape, 3), np.uint8)
    assert annotate(image, []).ndim == 3
    assert annotate(image, [make_face(box=(-5.0, -5.0, 20.0, 20.0))]).ndim == 3


def test_drawing_leaves_the_picture_given_untouched(grey, make_face):
    before = grey.copy()
    annotate(grey, [make_face()])
    assert (grey == before).all()


def test_a_frontal_head_points_into_the_lens():
    np.testing.assert_allclose(head_axes(Pose(0, 0, 0)), [[1, 0], [0, -1], [0, 0]], atol=1e-12)


@pytest.mark.parametrize(
    ("pose", "axis", "expected"),
    [
        (Pose(yaw=90, pitch=0, roll=0), 2, [-1, 0]),  # to the own right: the left of the picture
        (Pose(yaw=0, pitch=90, roll=0), 2, [0, -1]),  # up
        (Pose(yaw=0, pitch=0, roll=90), 1, [-1, 0]),  # the top of the head to the left of the picture
    ],
)
def test_axes_follow_the_signs_of_the_records(pose, axis, expected):
    np.testing.assert_allclose(head_axes(pose)[axis], expected, atol=1e-12)


def test_axes_turn_as_the_heads_of_the_face_world_do():
    rotation = head_rotation(30.0, -20.0, 15.0)  # head to camera: x right, y up, z backwards
    expected = rotation[:2].T * [1, -1]
    np.testing.assert_allclose(head_axes(Pose(30.0, -20.0, 15.0)), expected, atol=1e-12)


def test_heat_is_brightest_where_the_map_is_largest():
    grid = np.zeros((4, 4))
    grid[3, 0] = 7.0
    drawn = heat(np.zeros((64, 64, 3), np.uint8), grid).sum(axis=-1)
    assert np.unravel_index(drawn.argmax(), drawn.shape)[0] > 48
    assert np.unravel_index(drawn.argmax(), drawn.shape)[1] < 16
    assert drawn[0, 63] < drawn[60, 4] / 3


def test_a_flat_map_is_cold_everywhere():
    drawn = heat(np.zeros((8, 8, 3), np.uint8), np.full((2, 2), 0.25))
    assert (drawn == drawn[0, 0]).all()


def test_an_attention_sheet_has_a_row_a_view_and_a_tile_a_label():
    crop, grid = np.zeros((32, 32, 3), np.uint8), np.eye(4)
    one = attention([(crop, {"AU12": grid, "age": grid})])
    two = attention([(crop, {"AU12": grid, "age": grid}), (crop, {"yaw": grid})])
    wrapped = attention([(crop, dict.fromkeys([f"label {i}" for i in range(7)], grid))])
    assert one.dtype == np.uint8
    assert two.shape[1] == one.shape[1]
    assert two.shape[0] == wrapped.shape[0] > one.shape[0]
