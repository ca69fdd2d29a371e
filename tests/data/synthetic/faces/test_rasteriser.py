import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces import rasteriser
from semeia.data.synthetic.faces.rasteriser import EMPTY


def buffers(size):
    return np.zeros((size, size)), np.full((size, size), EMPTY, np.int32), np.zeros((size, size, 2))


def covered_slowly(place, triangle, size):
    """Samples whose centre lies in a triangle, by the signs of three cross products."""
    a, b, c = place[triangle, :2]
    inside = np.zeros((size, size), bool)
    for y in range(size):
        for x in range(size):
            p = np.array([x + 0.5, y + 0.5])
            signs = [(q[0] - o[0]) * (p[1] - o[1]) - (q[1] - o[1]) * (p[0] - o[0]) for o, q in ((a, b), (b, c), (c, a))]
            inside[y, x] = min(signs) >= 0 or max(signs) <= 0
    return inside


def test_a_triangle_covers_the_samples_that_a_slow_twin_finds():
    place = np.array([[1.2, 1.1, 0.5], [14.3, 3.7, 0.5], [5.1, 13.9, 0.5]])
    nearness, owner, share = buffers(16)
    rasteriser.draw_triangles(place, np.array([[0, 1, 2]]), np.ones(1), nearness, owner, share, 7)
    assert ((owner == 7) == covered_slowly(place, [0, 1, 2], 16)).all()
    assert (owner[owner != 7] == EMPTY).all()


def test_the_nearer_triangle_wins_whatever_the_order():
    place = np.array([[0, 0, 0.2], [20, 0, 0.2], [0, 20, 0.2], [0, 0, 0.4], [20, 0, 0.4], [0, 20, 0.4]])
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        nearness, owner, share = buffers(8)
        rasteriser.draw_triangles(place, np.array(order), np.ones(2), nearness, owner, share, 0)
        assert (owner == order.index([3, 4, 5])).all()
        assert nearness == pytest.approx(0.4)


def test_shares_are_perspective_correct():
    # A floor that runs away: the point seen half way up the picture is not half way along the floor.
    place = np.array([[0, 0, 1.0], [0, 20, 0.25], [20, 0, 1.0]])
    nearness, owner, share = buffers(21)
    rasteriser.draw_triangles(place, np.array([[0, 1, 2]]), np.ones(1), nearness, owner, share, 0)
    # at y = 9.5: nearness 1 - 0.475 * 0.75, share of the far corner 0.475 * 0.25 / nearness
    near = 1 - 0.475 * 0.75
    assert nearness[9, 0] == pytest.approx(near, abs=1e-9)
    assert share[9, 0, 0] == pytest.approx(0.475 * 0.25 / near, abs=1e-9)


def test_a_veil_covers_its_share_of_the_samples():
    place = np.array([[-10.0, -10, 1], [300, -10, 1], [-10, 300, 1]])
    nearness, owner, share = buffers(100)
    rasteriser.draw_triangles(place, np.array([[0, 1, 2]]), np.full(1, 0.3), nearness, owner, share, 0)
    assert (owner == 0).mean() == pytest.approx(0.3, abs=0.03)


def test_a_curve_is_as_wide_as_asked_and_knows_the_place_along_it():
    place = np.array([[[2.0, 10, 1], [18, 10, 1], [34, 10, 1]]])
    nearness, owner, share = buffers(40)
    rasteriser.draw_curves(place, np.array([4.0]), nearness, owner, share, 5)
    drawn = owner == -2 - 5
    assert 3 <= drawn[:, 4].sum() <= 5
    assert drawn[:, 33].sum() <= 2
    row, column = np.nonzero(drawn)
    assert share[row, column, 0] == pytest.approx((column + 0.5 - 2) / 32, abs=0.05)


def test_what_lies_behind_something_is_in_its_shadow():
    depth = np.full((32, 32), -1e9)
    place = np.array([[8.0, 8, 1], [40, 8, 1], [8, 40, 1]])
    rasteriser.draw_depth(place, np.array([[0, 1, 2]]), depth)
    assert rasteriser.lit_share(12, 12, 0.0, depth, 0.1) == 0
    assert rasteriser.lit_share(12, 12, 1.0, depth, 0.1) == 1
    assert rasteriser.lit_share(3, 3, 0.0, depth, 0.1) == 1
    assert 0 < rasteriser.lit_share(8.0, 20, 0.0, depth, 0.1) < 1


def test_values_of_corners_are_blended():
    owner, share = np.zeros((1, 1), np.int32), np.array([[[0.25, 0.5]]])
    out = np.zeros((1, 1, 1))
    rasteriser.gather(owner, share, np.array([[0, 1, 2]]), np.array([[4.0], [8.0], [16.0]]), out)
    assert out[0, 0, 0] == pytest.approx(0.25 * 4 + 0.25 * 8 + 0.5 * 16)


def test_a_texture_is_read_bilinearly():
    texture = np.arange(12.0).reshape(3, 4, 1)
    assert rasteriser.sample_texture(texture, 1.5 / 4, 1.5 / 3, 0) == pytest.approx(5.0)
    assert rasteriser.sample_texture(texture, 2 / 4, 1.5 / 3, 0) == pytest.approx(5.5)
    assert rasteriser.sample_texture(texture, 0.0, 0.0, 0) == pytest.approx(0.0)


def test_a_slope_tilts_normals_by_its_angle():
    y, x = np.mgrid[0:9, 0:9] * 0.05
    place = np.stack([x, -y, np.zeros_like(x)], -1)
    normal = np.zeros((9, 9, 3))
    normal[..., 2] = 1
    rasteriser.bump(np.ones((9, 9), bool), place, 0.3 * x, normal, 1.0)
    tilt = np.array([-0.3, 0, 1]) / np.hypot(1, 0.3)
    assert normal[4, 4] == pytest.approx(tilt)
    assert normal[0, 0] == pytest.approx([0, 0, 1])  # the rim has no neighbours to tell a slope from
