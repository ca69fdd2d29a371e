import numpy as np
import pytest

pytest.importorskip("mitsuba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces import topology

CUBE = np.array([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
CUBE_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def test_catmull_clark_of_a_cube_has_the_textbook_points():
    matrix, quads = topology.catmull_clark(8, CUBE_QUADS)
    fine = matrix @ CUBE
    assert fine.shape == (8 + 12 + 6, 3)
    assert quads.shape == (24, 4)
    np.testing.assert_allclose(fine[0], [2 / 9] * 3)  # corner: (mean of faces + 2 mean of edge middles) / 3
    edges = fine[8:20]
    assert np.abs(edges - [0.125, 0.125, 0.5]).sum(1).min() == pytest.approx(0)
    np.testing.assert_allclose(fine[20:].mean(0), [0.5] * 3)


def test_catmull_clark_keeps_the_border_of_a_flat_sheet():
    sheet = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    matrix, _ = topology.catmull_clark(4, np.array([[0, 1, 2, 3]]))
    fine = matrix @ sheet
    np.testing.assert_allclose(fine[4:8].mean(0), [0.5, 0.5, 0])
    np.testing.assert_allclose(fine[0], [1 / 8, 1 / 8, 0])  # cubic spline: 3/4 corner + 1/8 of each neighbour
    np.testing.assert_allclose(np.asarray(matrix.sum(1)).ravel(), 1)


def test_a_sphere_is_found_from_points_on_it():
    points = np.random.default_rng(0).normal(size=(30, 3))
    points = 0.3 * points / np.linalg.norm(points, axis=1, keepdims=True) + [1, 2, 3]
    centre, radius = topology.fit_sphere(points)
    np.testing.assert_allclose(centre, [1, 2, 3])
    assert radius == pytest.approx(0.3)


def test_normals_of_a_sheet_point_out_of_it():
    normals = topology.vertex_normals(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), np.array([[0, 1, 2]]))
    np.testing.assert_allclose(normals, [[0, 0, 1]] * 3)


def test_landmarks_lie_where_ibug_numbers_say(upright, landmarks_of):
    point = landmarks_of(upright)
    right_eye, left_eye, nose, mouth, chin = point[36:42], point[42:48], point[30], point[48:60], point[8]
    assert right_eye[:, 0].max() < nose[0] < left_eye[:, 0].min()
    assert right_eye[:, 1].mean() < nose[1] < mouth[:, 1].min() < chin[1]
    assert point[17:27, 1].max() < right_eye[:, 1].min()
    assert point[0, 0] < point[17, 0] < point[26, 0] < point[16, 0]


def test_left_and_right_landmarks_mirror_each_other(head):
    place = head.vertices[topology.load_topology().landmarks]
    pairs = [(0, 16), (4, 12), (17, 26), (21, 22), (31, 35), (36, 45), (39, 42), (37, 44), (48, 54), (50, 52), (60, 64)]
    for a, b in pairs:
        np.testing.assert_allclose(place[a] * [-1, 1, 1], place[b], atol=0.02)
