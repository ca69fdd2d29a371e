"""Regions of action units lie where the rules say, mirror with the face, and pass gradients on."""

import numpy as np
import pytest
import torch

from semeia.ops import face_regions as r
from semeia.ops.faces import FLIP_68
from semeia.records import ACTION_UNITS

UNITS = tuple(r.RULES)


@pytest.fixture
def face():
    """68 points of a plain face in a crop of side 1, mirrored about x = 0.5 by construction."""
    rng = np.random.default_rng(0)
    points = rng.uniform(0.2, 0.8, (68, 2))
    mirrored = points[FLIP_68] * [-1, 1] + [1, 0]
    return (points + mirrored) / 2


def forty_nine(points):
    return torch.from_numpy(points[r.FORTY_NINE]).float()[None]


def test_the_forty_nine_are_those_of_the_published_code():
    assert len(r.FORTY_NINE) == 49
    assert (r.FORTY_NINE[[0, 10, 19, 25, 31, 43, 46]] == [17, 27, 36, 42, 48, 61, 65]).all()
    # Its flip permutation, counted from 1.
    published = [
        10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 11, 12, 13, 14, 19, 18, 17, 16, 15, 29, 28, 27, 26, 31, 30, 23, 22, 21, 20, 25,
        24, 38, 37, 36, 35, 34, 33, 32, 43, 42, 41, 40, 39, 46, 45, 44, 49, 48, 47,
    ]  # fmt: skip
    assert (r.FLIP_49 + 1).tolist() == published


def test_every_unit_of_the_library_has_a_rule():
    assert set(UNITS) == set(ACTION_UNITS)


@pytest.mark.parametrize(
    ("unit", "left", "right", "down"),
    [("AU01", 5, 4, -1 / 2), ("AU02", 8, 1, -1 / 3), ("AU04", 7, 2, 1 / 3), ("AU06", 29, 24, 1.0), ("AU07", 26, 21, 0),
     ("AU09", 17, 15, -1 / 2), ("AU10", 45, 43, 0), ("AU12", 37, 31, 0), ("AU17", 39, 41, 1 / 2)],
)  # fmt: skip
def test_centres_follow_the_published_table(face, unit, left, right, down):
    points = forty_nine(face)
    (found,) = r.unit_centres(points, [unit])[0]
    scale = float((points[0, 22] - points[0, 25]).norm())
    for side, landmark in enumerate((left, right)):
        wanted = points[0, landmark] + torch.tensor([0, down * scale])
        torch.testing.assert_close(found[side], wanted)


def test_a_mirrored_face_has_mirrored_regions_with_the_sides_swapped(face):
    points = forty_nine(face) + 0.05 * torch.randn(1, 49, 2, generator=torch.Generator().manual_seed(0))
    mirrored = points[:, r.FLIP_49] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    found, swapped = r.unit_centres(points, UNITS), r.unit_centres(mirrored, UNITS).flip(2)
    torch.testing.assert_close(swapped, found * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0]))


def test_the_subjects_left_is_on_the_right_of_the_picture():
    points = np.zeros((68, 2))
    points[:, 0] = np.where(np.arange(68) == FLIP_68, 0.5, 0.0)
    points[[42, 43, 44, 45, 46, 47, 54, 25, 24, 22, 34, 63, 52, 56], 0] = 0.9
    points[[36, 37, 38, 39, 40, 41, 48, 18, 19, 21, 32, 61, 50, 58], 0] = 0.1
    centres = r.unit_centres(forty_nine(points), UNITS)[0]
    assert (centres[:, 0, 0] > 0.5).all()
    assert (centres[:, 1, 0] < 0.5).all()


def test_maps_are_one_at_their_centre_and_fall_as_a_gaussian():
    centres = torch.full((1, 1, 2, 2), 0.5)
    centres[0, 0, 0] = torch.tensor([0.75, 0.25])
    maps = r.region_maps(centres, torch.full_like(centres, 0.1), cells=10)
    assert maps.shape == (1, 1, 2, 10, 10)
    assert maps[0, 0, 0].argmax() == 2 * 10 + 7  # row 2, column 7
    assert maps[0, 0, 0, 2, 7] == pytest.approx(1.0, abs=1e-6)
    assert maps[0, 0, 0, 2, 8] == pytest.approx(np.exp(-0.5), abs=1e-6)


def test_a_window_sees_its_map_and_mirrors_the_subjects_left():
    centres = torch.rand(1, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    spreads = torch.full_like(centres, 0.05)
    at = r.window_points(centres, spreads, cells=6, reach=2.0)
    assert at.shape == (1, 1, 2, 6, 6, 2)
    torch.testing.assert_close(at.mean((3, 4)), centres)
    assert at[0, 0, 0, 0, 0, 0] > at[0, 0, 0, 0, 5, 0]  # the left one runs from right to left
    assert at[0, 0, 1, 0, 0, 0] < at[0, 0, 1, 0, 5, 0]
    apart = (at - centres[:, :, :, None, None]) / spreads[:, :, :, None, None]
    torch.testing.assert_close(torch.exp(-0.5 * apart.square().sum(-1))[0, 0, 1], r.window_map(6, 2.0))


def test_gradients_reach_centres_and_spreads():
    centres = (torch.rand(2, 3, 2, 2, dtype=torch.double) * 0.4 + 0.3).requires_grad_()
    spreads = (torch.rand(2, 3, 2, 2, dtype=torch.double) * 0.1 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda c, s: r.region_maps(c, s, cells=4), (centres, spreads))
    assert torch.autograd.gradcheck(lambda c, s: r.window_points(c, s, cells=3, reach=2.0), (centres, spreads))
