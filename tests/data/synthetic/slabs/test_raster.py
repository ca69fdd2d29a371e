import numpy as np
import pytest

pytest.importorskip("numba")

from semeia.data.synthetic.slabs import raster
from semeia.data.synthetic.slabs.branches import MURRAY, grow_tree
from semeia.data.synthetic.slabs.outlines import ellipsoid, grown, halves, loft, oval
from semeia.data.synthetic.slabs.tissue import Tissue, hosts

SQUARE = [(2.0, 3.0), (8.0, 3.0), (8.0, 9.0), (2.0, 9.0)]


def canvas(planes=1, size=16):
    return np.zeros((planes, size, size), np.float32), np.zeros((planes, size, size), np.uint8)


def test_an_outline_between_pixels_covers_them_in_part():
    hu, tissue = canvas()
    raster.fill(hu, tissue, np.array([SQUARE]), np.array([True]), 100.0, 4, hosts())
    # From 2 to 8 in x: pixel 2 spans 1.5 to 2.5, so half of it is covered.
    assert hu[0, 5, 1:10] == pytest.approx([0, 50, 100, 100, 100, 100, 100, 50, 0], abs=0.1)
    assert hu.sum() == pytest.approx(100 * 36, rel=0.05)
    assert (tissue[0, 5] == 4).sum() == 7


def test_painting_stays_on_its_hosts():
    hu, tissue = canvas()
    tissue[:, :, :6] = Tissue.FAT
    raster.fill(hu, tissue, np.array([SQUARE]), np.array([True]), 100.0, int(Tissue.LIVER), hosts(Tissue.FAT))
    assert not hu[0, :, 6:].any()
    assert hu[0, 6, 4] == 100


def test_planes_without_an_outline_stay_as_they_are():
    hu, tissue = canvas(planes=2)
    raster.fill(hu, tissue, np.array([SQUARE, SQUARE]), np.array([False, True]), 100.0, 4, hosts())
    assert not hu[0].any()
    assert hu[1].any()


def test_a_tube_through_a_plane_is_a_disc_and_along_it_a_bar():
    hu, tissue = canvas(size=32)
    through = np.array([[16.0, 16.0, -9.0, 16.0, 16.0, 9.0, 5.0, 5.0]])
    raster.tubes(hu, tissue, through, np.array([0.0]), 1.0, 1.0, 4, hosts())
    assert hu.sum() == pytest.approx(np.pi * 25, rel=0.03)
    hu, tissue = canvas(size=32)
    along = np.array([[6.0, 16.0, 0.0, 26.0, 16.0, 0.0, 2.0, 2.0]])
    raster.tubes(hu, tissue, along, np.array([0.0]), 1.0, 1.0, 4, hosts())
    assert hu[0, :, 16].sum() == pytest.approx(4, abs=0.1)


def test_a_tube_is_the_same_as_by_brute_force():
    hu, tissue = canvas(planes=5, size=24)
    tube = np.array([[6.0, 7.0, -3.0, 17.0, 14.0, 2.5, 2.0, 4.0]])
    planes = np.arange(5) - 2.0
    raster.tubes(hu, tissue, tube, planes, 1.0, 1.0, 4, hosts())
    a, b = tube[0, :3], tube[0, 3:6]
    z, y, x = np.meshgrid(planes, np.arange(24), np.arange(24), indexing="ij")
    points = np.stack([x, y, z], -1)
    share = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    away = np.linalg.norm(points - a - share[..., None] * (b - a), axis=-1)
    assert hu == pytest.approx(np.clip(2 + 2 * share - away + 0.5, 0, 1), abs=1e-5)


def test_a_solid_is_between_its_levels_and_rounded_beyond():
    solid = loft({0: SQUARE, 10: [(4, 6), (16, 6), (16, 18), (4, 18)]}, (4, 4))
    outlines, shown = solid.at(np.array([-5.0, -2.0, 0.0, 5.0, 10.0, 14.5]))
    assert shown.tolist() == [False, True, True, True, True, False]
    width = np.ptp(outlines[..., 0], axis=1)
    assert width[3] == pytest.approx((width[2] + width[4]) / 2)
    assert width[1] == pytest.approx(width[2] * np.sqrt(1 - 0.25))


def test_the_right_half_mirrors_the_left():
    outline = halves({0: [(0, -5), (6, 0), (3, 6)]}).outlines[0]
    assert outline[:, 0].max() == pytest.approx(-outline[:, 0].min(), abs=0.05)


def test_an_outline_grows_along_its_normals():
    assert np.hypot(*grown(oval(0, 0, 10, 10), 2.0).T) == pytest.approx(np.full(72, 12.0))
    assert np.hypot(*grown(oval(0, 0, 10, 10)[::-1], -3.0).T) == pytest.approx(np.full(72, 7.0))


def test_an_ellipsoid_is_widest_in_its_middle():
    outlines, _ = ellipsoid((1, 2, 3), (10, 6, 4)).at(np.array([3.0, 5.0]))
    assert np.ptp(outlines[0][:, 0]) == pytest.approx(20, rel=0.01)
    assert np.ptp(outlines[1][:, 0]) == pytest.approx(20 * np.sqrt(0.75), rel=0.03)


def test_a_tree_reaches_all_places_and_thins_by_murrays_law():
    rng = np.random.default_rng(0)
    places = rng.uniform(-20, 20, (16, 3))
    tree = grow_tree(rng, np.zeros(3), places, twig=0.5)
    for place in places:
        assert np.linalg.norm(tree[:, 3:6] - place, axis=1).min() < 1e-9
    assert tree[:, 6].max() == pytest.approx(0.5 * 16 ** (1 / MURRAY))
    assert (np.diff(tree[:, 6]) <= 0).all()
