"""Boxes go to the axial view and find their lesions."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest

from semeia.media.grids import Grid
from semeia.media.lesion_boxes import axial_box, filled, key_boxes, placed_boxes
from semeia.media.volumes import open_volume
from semeia.records import Lesion, ScanReading, SliceBox

LPS = np.diag([-1.0, -1.0, 2.0, 1.0])
"""RAS affine of voxels of 1 x 1 x 2 mm that are stored as they are seen."""


@pytest.fixture
def scan(tmp_path):
    nib.save(nib.Nifti1Image(np.full((30, 20, 10), -1000, np.int16), LPS), tmp_path / "scan.nii")
    with open_volume(tmp_path / "scan.nii") as scan:
        yield scan


def reading(slices, lesions):
    return ScanReading("w", "scan", {z: tuple(SliceBox(*b) for b in boxes) for z, boxes in slices.items()}, lesions)


def lesion(scan, z0, z1, box, score=0.5):
    return Lesion(score, (z0, z1), scan.to_world(z0, z1, box), 1.0, 1.0)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_the_axial_box_is_the_inverse_of_the_stored_one(axes):
    for flips in product((False, True), repeat=3):
        grid = Grid((11, 13, 17), np.eye(4), axes, flips)
        box = (1.0, 2.5, 4.0, 9.0)
        assert axial_box(grid, grid.stored_box(box)) == box


def test_a_box_goes_to_the_lesion_that_holds_it(scan):
    lesions = (lesion(scan, 2, 3, (2, 2, 8, 8)), lesion(scan, 3, 4, (15, 2, 20, 8)))
    slices = {3: [((15, 2, 20, 8), 0.9), ((3, 3, 8, 8), 0.8)], 4: [((16, 3, 20, 8), 0.7), ((3, 3, 8, 8), 0.6)]}
    placed = placed_boxes(reading(slices, lesions), scan)
    # On slice 4 the first lesion has ended.
    assert [(box.z, box.score, box.lesion) for box in placed] == [(3, 0.9, 2), (3, 0.8, 1), (4, 0.7, 2), (4, 0.6, None)]


def test_a_small_lesion_within_the_box_of_a_large_one_keeps_its_own_box(scan):
    lesions = (lesion(scan, 2, 2, (2, 2, 18, 18)), lesion(scan, 2, 2, (5, 5, 9, 9)))
    placed = placed_boxes(reading({2: [((5, 5, 9, 9), 0.9), ((2, 2, 18, 18), 0.8)]}, lesions), scan)
    assert [box.lesion for box in placed] == [2, 1]


def test_a_box_that_reaches_out_of_every_lesion_belongs_to_none(scan):
    placed = placed_boxes(reading({2: [((5, 5, 9, 12), 0.9)]}, (lesion(scan, 2, 2, (5, 5, 9, 9)),)), scan)
    assert [box.lesion for box in placed] == [None]


def test_slices_that_the_file_does_not_have_are_passed_over(scan):
    assert placed_boxes(reading({99: [((5, 5, 9, 9), 0.9)]}, ()), scan) == []


def test_the_key_is_the_largest_box_then_the_best_then_the_first(scan):
    lesions = (lesion(scan, 1, 4, (2, 2, 8, 8)),)
    slices = {
        1: [((2, 2, 5, 5), 0.9)], 2: [((2, 2, 8, 8), 0.5)], 3: [((2, 2, 8, 8), 0.6)], 4: [((2, 2, 8, 8), 0.6)],
    }  # fmt: skip
    assert key_boxes(placed_boxes(reading(slices, lesions), scan))[1].z == 3


def test_slices_that_lack_a_box_get_what_lies_between(scan):
    lesions = (lesion(scan, 1, 5, (2, 2, 10, 10)),)
    placed = placed_boxes(reading({1: [((2, 2, 6, 6), 0.9)], 5: [((4, 2, 10, 10), 0.9)]}, lesions), scan)
    boxes = filled(placed, 1)
    assert sorted(boxes) == [1, 2, 3, 4, 5]
    assert boxes[1] == (2, 2, 6, 6)
    assert boxes[2] == (2.5, 2, 7, 7)
    assert boxes[3] == (3, 2, 8, 8)
    assert filled(placed, 2) == {}


def test_flipped_storage_changes_nothing_but_the_files_own_numbers(tmp_path):
    # Stored x grows to the patient's right, y to the front and z to the feet.
    nib.save(nib.Nifti1Image(np.zeros((30, 20, 10), np.int16), np.diag([1.0, 1.0, -2.0, 1.0])), tmp_path / "f.nii")
    with open_volume(tmp_path / "f.nii") as scan:
        found = Lesion(0.5, (7, 7), scan.to_world(2, 2, (3, 4, 8, 10)), 1, 1)
        (box,) = placed_boxes(reading({7: [((22, 10, 27, 16), 0.9)]}, (found,)), scan)
    assert (box.own_slice, box.own_box) == (7, (22, 10, 27, 16))
    assert (box.z, box.box, box.lesion) == (2, (3, 4, 8, 10), 1)
