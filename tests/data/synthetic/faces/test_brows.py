import dataclasses

import numpy as np
import pytest

pytest.importorskip("scipy")

from semeia.data.synthetic.faces.brows import BROW_HAIRS, BROW_POINTS, comb_brows
from semeia.data.synthetic.faces.spec import Stream, sample_spec
from semeia.data.synthetic.faces.topology import BROW, canonical, load_topology, vertex_normals

pytestmark = pytest.mark.usefixtures("head")


def combed(identity=0, **changes):
    spec = sample_spec(2, identity, 0)
    return comb_brows(dataclasses.replace(spec.person, **changes), spec.person_stream(Stream.BROWS))


def curves(hairs):
    skin = load_topology().smooth["skin"]
    return hairs.points(skin.template, vertex_normals(skin.template, skin.triangles))


def test_hairs_stay_on_the_brows():
    azimuth, height = canonical(load_topology().pack.vertices[list(BROW)])
    for identity in range(12):
        points = curves(combed(identity)).reshape(-1, 3)
        across, up = canonical(points)
        assert np.abs(across).min() > azimuth.min() - 0.12
        assert np.abs(across).max() < azimuth.max() + 0.12
        assert up.min() > height.min() - 0.15
        assert up.max() < height.max() + 0.20


def test_persons_differ_in_density_and_nobody_has_more_hairs_than_said():
    counts = [len(combed(identity).rise) for identity in range(20)]
    assert max(counts) <= BROW_HAIRS
    assert min(counts) < 0.8 * BROW_HAIRS
    assert all(count % 2 == 0 for count in counts)


def test_brows_are_alike_every_time():
    np.testing.assert_array_equal(combed().weights, combed().weights)


def test_thicker_brows_reach_further_up_and_down():
    thin, thick = (np.std(curves(combed(brow_thickness=value))[:, 0, 1]) for value in (0.010, 0.034))
    assert thick > thin


def test_hairs_move_with_the_skin_they_are_tied_to():
    skin = load_topology().smooth["skin"]
    normals = vertex_normals(skin.template, skin.triangles)
    hairs = combed()
    assert hairs.rise.shape[1] == BROW_POINTS
    moved = hairs.points(skin.template + np.array([0.0, 0.05, 0.0]), normals)
    np.testing.assert_allclose(
        moved - hairs.points(skin.template, normals), np.full(moved.shape, [0, 0.05, 0]), atol=1e-5
    )
