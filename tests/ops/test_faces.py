"""Points of a face: views of the mesh, alignment and crops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from semeia.ops import faces


def drawn_face(*, angle=0.0, scale=100.0, shift=(200.0, 150.0)):
    """The template's five points, turned by ``angle`` (degrees), scaled and shifted, in pixels."""
    turn = math.radians(angle)
    linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return faces.TEMPLATE @ linear.T + shift


def ramp(height, width):
    """A picture whose red is its column and green its row, (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype(np.uint8)


def test_the_views_name_each_mesh_point_once_and_stay_inside_the_mesh():
    assert faces.SIXTY_EIGHT.shape == (68,)
    assert len(set(faces.SIXTY_EIGHT.tolist())) == 68
    assert faces.SIXTY_EIGHT.max() < 468


def test_68_points_are_rows_of_the_mesh_without_depth():
    mesh = np.arange(468 * 3).reshape(468, 3)
    points = faces.landmarks_68(mesh)
    assert points.shape == (68, 2)
    assert points[8].tolist() == [152 * 3, 152 * 3 + 1]  # the chin
    assert faces.landmarks_68(np.stack([mesh, mesh])).shape == (2, 68, 2)


def test_five_points_are_eye_centres_nose_tip_and_mouth_corners():
    points = np.zeros((68, 2))
    points[36:42, 0] = [0, 1, 2, 3, 2, 1]
    points[42:48, 0] = [10, 11, 12, 13, 12, 11]
    points[30], points[48], points[54] = (5, 6), (3, 9), (8, 9)
    assert faces.five_from_68(points).tolist() == [[1.5, 0], [11.5, 0], [5, 6], [3, 9], [8, 9]]


def test_five_points_of_the_mesh_are_those_of_its_68():
    mesh = np.random.default_rng(0).normal(size=(2, 468, 3))
    assert (faces.landmarks_5(mesh) == faces.five_from_68(faces.landmarks_68(mesh))).all()


def test_flipping_swaps_the_sides_and_undoes_itself():
    points = np.random.default_rng(0).uniform(0, 100, (68, 2))
    flipped = faces.flip_68(points, 100)
    assert sorted(faces.FLIP_68.tolist()) == list(range(68))
    for left, right in (
        (0, 16),
        (8, 8),
        (17, 26),
        (27, 27),
        (31, 35),
        (36, 45),
        (39, 42),
        (40, 47),
        (48, 54),
        (60, 64),
    ):
        assert flipped[left].tolist() == [100 - points[right, 0], points[right, 1]]
    np.testing.assert_allclose(faces.flip_68(flipped, 100), points)


def test_a_mirrored_face_has_mirrored_five_points():
    points = np.random.default_rng(1).uniform(0, 100, (68, 2))
    five, flipped = faces.five_from_68(points), faces.five_from_68(faces.flip_68(points, 100))
    np.testing.assert_allclose(flipped[[1, 0, 2, 4, 3]], np.column_stack([100 - five[:, 0], five[:, 1]]))


def test_a_matrix_maps_points_and_its_inverse_maps_them_back():
    matrix = np.array([[0.0, -2.0, 5.0], [2.0, 0.0, 7.0]])  # a quarter turn, twice as large, shifted
    points = np.array([[1.0, 0.0], [0.0, 1.0]])
    mapped = faces.transform_points(matrix, points)
    assert mapped.tolist() == [[5, 9], [3, 7]]
    np.testing.assert_allclose(faces.transform_points(faces.invert(matrix), mapped), points)


@given(
    angle=st.floats(-math.pi, math.pi),
    scale=st.floats(0.01, 100),
    shift=st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000)),
)
def test_a_similarity_is_recovered_from_points_it_moved(angle, scale, shift):
    source = np.array([[0.0, 0.0], [3.0, 1.0], [-2.0, 5.0]])
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = faces.similarity(source, source @ linear.T + shift)
    np.testing.assert_allclose(matrix, np.column_stack([linear, shift]), atol=1e-9 * max(1, abs(shift[0]), scale))


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 8))
def test_a_similarity_agrees_with_a_general_solver(seed, count):
    rng = np.random.default_rng(seed)
    source, target = rng.normal(size=(2, count, 2))
    # Unknowns a, b, tx, ty of x' = a x - b y + tx, y' = b x + a y + ty.
    rows = [row for x, y in source for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), target.ravel(), rcond=None)[0]
    np.testing.assert_allclose(faces.similarity(source, target), [[a, -b, tx], [b, a, ty]], atol=1e-6)


def test_coinciding_points_have_no_similarity():
    with pytest.raises(ValueError, match="two different source points"):
        faces.similarity(np.ones((3, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize("angle", [0, 25, -90, 170])
def test_alignment_puts_eyes_and_mouth_on_the_template_whatever_the_roll(angle):
    points = drawn_face(angle=angle)
    aligned = faces.transform_points(faces.aligned_matrix(points, 112), points)
    np.testing.assert_allclose(aligned, faces.TEMPLATE * 112, atol=1e-9)


def test_a_margin_adds_room_at_each_side():
    points = drawn_face()
    aligned = faces.transform_points(faces.aligned_matrix(points, 150, margin=0.25), points)
    np.testing.assert_allclose(aligned, faces.TEMPLATE * 100 + 25, atol=1e-9)


def test_a_smile_does_not_move_the_crop():
    points = drawn_face()
    wide = points + np.array([[0, 0], [0, 0], [0, 0], [-9, -4], [9, -4]])
    wide[3:, 1] += 4
    np.testing.assert_allclose(faces.aligned_matrix(wide, 112), faces.aligned_matrix(points, 112))


@pytest.mark.parametrize(("yaw", "overshoot"), [(0, 1.0), (30, 1.04), (60, 1.13)])
def test_yaw_changes_the_scale_little(yaw, overshoot):
    points = drawn_face()
    turned = points * [math.cos(math.radians(yaw)), 1]
    matrix, frontal = (faces.aligned_matrix(p, 112) for p in (turned, points))
    assert matrix[0, 0] / frontal[0, 0] == pytest.approx(overshoot, abs=0.01)


@pytest.mark.parametrize("angle", [0, 25, -90, 170])
def test_the_upright_crop_keeps_roll_and_shares_centre_and_scale(angle):
    points = drawn_face(angle=angle)
    upright = faces.upright_matrix(points, 112, margin=0.1)
    aligned = faces.aligned_matrix(points, 112, margin=0.1)

    assert upright[0, 1] == upright[1, 0] == 0
    assert upright[0, 0] == upright[1, 1] == pytest.approx(math.sqrt(np.linalg.det(aligned[:, :2])))
    middle = np.full(2, 56.0)
    np.testing.assert_allclose(
        faces.transform_points(faces.invert(upright), middle), faces.transform_points(faces.invert(aligned), middle)
    )
    eyes = faces.transform_points(upright, points)[:2]
    assert math.degrees(math.atan2(*(eyes[1] - eyes[0])[::-1])) == pytest.approx(angle, abs=1e-6)


@pytest.mark.parametrize("matrix_of", [faces.aligned_matrix, faces.upright_matrix])
def test_68_points_serve_as_well_as_their_five(matrix_of):
    points = np.random.default_rng(2).uniform(0, 100, (68, 2))
    np.testing.assert_allclose(matrix_of(points, 112), matrix_of(faces.five_from_68(points), 112))


def test_the_identity_crops_the_picture_itself():
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    assert (faces.crop(image, np.eye(2, 3), size=16) == image).all()


def test_a_shift_of_whole_pixels_moves_them():
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    matrix = np.array([[1.0, 0, -7], [0, 1, -5]])
    assert (faces.crop(image, matrix, size=8) == image[5:13, 7:15]).all()


def test_a_quarter_turn_turns_the_picture():
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    matrix = np.array([[0.0, 1, 0], [-1, 0, 16]])  # (x, y) to (y, 16 - x): the right side goes to the top
    assert (faces.crop(image, matrix, size=16) == np.rot90(image)).all()


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.6, 0.9, 1.7])
@pytest.mark.parametrize("angle", [0, 30])
def test_a_crop_reads_the_picture_where_the_matrix_says(scale, angle):
    turn = math.radians(angle)
    linear = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    size = 8
    matrix = np.column_stack([linear, size / 2 - linear @ [120, 125]])
    y, x = np.mgrid[:size, :size] + 0.5
    # A slow twin on a linear ramp, where averaging changes nothing: pixel i holds i, so position p holds p - 0.5.
    back = faces.transform_points(faces.invert(matrix), np.stack([x, y], axis=-1).reshape(-1, 2))
    wanted = back.reshape(size, size, 2) - 0.5
    found = faces.crop(ramp(250, 250), matrix, size=size)[..., :2]
    assert np.abs(found - wanted).max() <= 1.0


@pytest.mark.parametrize("scale", [0.5, 0.23, 0.07])
def test_shrinking_does_not_alias(scale):
    checkerboard = (np.indices((400, 400)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = np.repeat(checkerboard[..., None], 3, axis=-1)
    size = int(400 * scale) - 4
    matrix = np.array([[scale, 0, -2 * scale], [0, scale, -2 * scale]])
    assert np.abs(faces.crop(image, matrix, size=size).astype(int) - 127).max() <= 40


@pytest.mark.parametrize(("fill", "value"), [("edge", 200), ("black", 0)])
@pytest.mark.parametrize("place", [(-50, 4), (4, -50), (50, 4), (4, 50), (-500, -500), (500, 500)])
def test_outside_the_picture_stands_its_edge_or_black(fill, value, place):
    image = np.full((10, 12, 3), 200, np.uint8)
    matrix = np.array([[1.0, 0, -place[0]], [0, 1, -place[1]]])
    assert (faces.crop(image, matrix, size=6, fill=fill) == value).all()


def test_a_crop_of_one_pixel_is_its_colour():
    image = np.array([[[10, 20, 30]]], np.uint8)
    assert (faces.crop(image, np.array([[64.0, 0, 0], [0, 64, 0]]), size=64) == [10, 20, 30]).all()
