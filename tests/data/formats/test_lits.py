"""LiTS' layout."""

import numpy as np
import pytest

from semeia.data.formats import lits
from semeia.data.formats.masked_slices import Choice
from semeia.data.formats.nifti_files import open_nifti, write_nifti
from semeia.records import SemeiaError

AFFINE = np.diag([-0.8, -0.8, 1.0, 1.0])
FEW = Choice(least_lesion=4, least_organ=20, tails=0.0)


def belly(seed=0, slices=8, ill=(3, 4)):
    """HU and labels (I, J, K): a liver on all slices but the first and the last, tumours on some."""
    hu = np.random.default_rng(seed).integers(-900, 900, (16, 16, slices)).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    labels[4:10, 4:12, 1:-1] = 1
    for z in ill:
        labels[5:8, 5:8, z] = 2
    return hu, labels


@pytest.fixture
def folder(tmp_path):
    lits.write(tmp_path, 0, *belly(0), AFFINE)
    lits.write(tmp_path / "batch 2", 10, *belly(1, ill=()), AFFINE)
    lits.write(tmp_path, 2, belly(2)[0], None, AFFINE)
    return tmp_path


def test_voxels_and_affine_come_back_in_the_order_of_numbers(folder):
    cases = lits.read(folder).cases
    assert [case.name for case in cases] == ["volume-0", "volume-2", "volume-10"]
    assert lits.read(folder).patients == ("volume-0", "volume-2", "volume-10")
    hu, labels = belly(0)
    assert np.array_equal(open_nifti(cases[0].image).read(), hu)
    assert np.array_equal(open_nifti(cases[0].mask).read(), labels)
    assert open_nifti(cases[0].image).affine == pytest.approx(AFFINE)
    assert cases[1].mask is None


def test_slices_show_the_liver_in_its_window_with_tumours_alone_as_mask(folder):
    found = list(lits.slices(lits.read(folder).cases, choice=FEW))
    assert [(s.patient, s.slice, s.kind) for s in found] == [
        ("volume-0", 3, "lesion"), ("volume-0", 4, "lesion"), ("volume-10", 3, "normal"), ("volume-10", 4, "normal"),
    ]  # fmt: skip
    hu, labels = belly(0)
    expected = (hu[:, :, 3].T.clip(-200, 250) + 200) / 225 - 1
    assert found[0].image == pytest.approx(expected, abs=1e-6)
    assert np.array_equal(found[0].mask, labels[:, :, 3].T == 2)
    assert not found[2].mask.any()


def test_thin_slices_are_passed_over(tmp_path):
    case = lits.write(tmp_path, 0, *belly(0, ill=range(1, 7)), np.diag([-0.8, -0.8, 0.5, 1.0]))
    assert [s.slice for s in lits.slices([case], choice=FEW)] == [2, 4, 6]
    assert [s.slice for s in lits.slices([case], choice=FEW, step_mm=None)] == [1, 2, 3, 4, 5, 6]


def test_values_that_are_no_numbers_lie_at_the_lower_end():
    assert lits.scaled(np.array([np.nan, -np.inf, np.inf, 25.0])).tolist() == [-1, -1, 1, 0]


def test_what_is_no_lits_is_refused_and_named(folder, tmp_path):
    with pytest.raises(SemeiaError, match="nowhere: not found"):
        lits.read(tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    with pytest.raises(SemeiaError, match=r"expected volume-N\.nii and segmentation-N\.nii, found none"):
        lits.read(tmp_path / "void")
    lits.write(tmp_path / "twice", 0, *belly(0), AFFINE)
    with pytest.raises(SemeiaError, match=r"is in .* too"):
        lits.read(folder)
    with pytest.raises(SemeiaError, match="expected labels of shape"):
        lits.write(tmp_path, 5, belly()[0], np.zeros((2, 2, 2)), AFFINE)


def test_a_segmentation_without_its_scan_is_named(tmp_path):
    lits.write(tmp_path, 0, *belly(0), AFFINE)
    (tmp_path / "volume-0.nii").rename(tmp_path / "volume-1.nii")
    with pytest.raises(SemeiaError, match=r"segmentation-0\.nii: expected volume-0\.nii with it"):
        lits.read(tmp_path)


@pytest.mark.parametrize("fault", ["shape", "affine", "label"])
def test_a_mask_that_does_not_fit_is_named(folder, fault):
    case = lits.read(folder).cases[0]
    labels = belly(0)[1]
    if fault == "shape":
        write_nifti(case.mask, labels[:-1], AFFINE)
    elif fault == "affine":
        write_nifti(case.mask, labels, np.diag([-0.8, -0.8, 2.0, 1.0]))
    else:
        write_nifti(case.mask, labels * 3, AFFINE)
    with pytest.raises(SemeiaError, match=r"segmentation-0\.nii"):
        list(lits.slices([case], choice=FEW))
