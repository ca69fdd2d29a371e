"""Where stored voxels lie in the patient."""

from itertools import permutations, product

import numpy as np
import pytest

from semeia.media.grids import grid_of
from semeia.records import SemeiaError

from .scan_makers import affine_of, phantom, reordered


def rotation(degrees, axis):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(4)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def refusal(shape, affine, **options):
    with pytest.raises(SemeiaError, match=r"^scan\.nii: ") as caught:
        grid_of(shape, affine, source="scan.nii", **options)
    return str(caught.value)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_order_and_direction_of_axes_gives_the_axial_view(order):
    hu = phantom((3, 4, 5))
    for flips in product([False, True], repeat=3):
        voxels, affine = reordered(hu, affine_of(), order=order, flips=flips)
        grid, notes = grid_of(voxels.shape, affine, source="scan.nii")
        assert (grid.axial(voxels) == hu).all()
        assert grid.axial_shape == (3, 4, 5)
        assert grid.axial_affine == pytest.approx(affine_of())
        assert notes == ()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_small_turn_is_told_and_a_large_one_refused(axis):
    for degrees in (-20, 5, 29):
        grid, notes = grid_of((4, 4, 4), rotation(degrees, axis) @ affine_of((1, 2, 3)), source="scan.nii")
        assert grid.axes == (0, 1, 2)
        assert notes[0].startswith(f"The slices are turned by {abs(degrees)} degrees")
    assert grid_of((4, 4, 4), rotation(0.5, axis), source="scan.nii")[1] == ()
    assert "found 40 degrees" in refusal((4, 4, 4), rotation(40, axis))


def test_a_turned_box_has_the_smallest_world_box_around_its_corners():
    grid, _ = grid_of((4, 4, 4), rotation(20, 2), source="scan.nii")
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    # Corners (x, y) from -0.5 to 0.5 turned by 20 degrees.
    reach = 0.5 * (c + s)
    assert grid.world_box(0, 0, (0, 0, 1, 1)) == pytest.approx((-reach, -reach, -0.5, reach, reach, 0.5))


def sheared(degrees):
    affine = np.diag([0.8, 0.8, 3.0, 1.0])
    affine[1, 2] = 3.0 * np.tan(np.radians(degrees))
    return affine


def test_a_sheared_affine_is_refused_unless_it_is_a_tilt():
    assert "sheared affine" in refusal((4, 4, 4), sheared(15))
    grid, notes = grid_of((4, 4, 4), sheared(15), source="scan", tilted=True)
    assert notes[0].startswith("The gantry was tilted by 15 degrees")
    # Slice 2 lies two steps aside.
    aside = 2 * 3.0 * np.tan(np.radians(15))
    x0, y0, z0, x1, y1, z1 = grid.world_box(2, 2, (0, 0, 1, 1))
    half = 1.5 * np.tan(np.radians(15))
    assert (x0, x1, z0, z1) == pytest.approx((-0.4, 0.4, 4.5, 7.5))
    assert (y0, y1) == pytest.approx((aside - 0.4 - half, aside + 0.4 + half))
    assert "degrees" in refusal((4, 4, 4), sheared(40), tilted=True)


def test_axes_of_a_slice_that_are_sheared_are_never_a_tilt():
    affine = np.eye(4)
    affine[0, 1] = 0.3
    assert "sheared affine" in refusal((4, 4, 4), affine, tilted=True)


@pytest.mark.parametrize("shape", [(0, 4, 4), (-3, 4, 4), (4, 4), (5000, 5000, 4), (4, 4, 10_001), (4, 5000, 4)])
def test_impossible_sides_are_refused(shape):
    assert "expected three sides" in refusal(shape, np.eye(4))


def test_many_slices_are_possible_whichever_axis_counts_them():
    voxels, affine = reordered(np.zeros((9000, 2, 2), np.int8), affine_of((1, 1, 1)), order=(2, 0, 1))
    assert grid_of(voxels.shape, affine, source="scan.nii")[0].axial_shape == (9000, 2, 2)


@pytest.mark.parametrize(
    ("affine", "words"),
    [
        (np.full((4, 4), np.nan), "finite numbers"),
        (np.diag([1, 1, 0, 1]), "found 1 x 1 x 0 mm"),
        (np.diag([1, 1000, 1, 1]), "found 1 x 1000 x 1 mm"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "sheared"),
    ],
)
def test_impossible_affines_are_refused(affine, words):
    assert words in refusal((4, 4, 4), affine)
