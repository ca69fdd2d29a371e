"""NIfTI files of data sets."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from semeia.data.formats.nifti_files import check_grid, found_file, open_nifti, write_nifti
from semeia.records import SemeiaError

VOXELS = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_written_is_read_to_the_last_bit(tmp_path, name):
    affine = np.array([[-0.7, 0, 0, 90.3], [0, -0.8, 0, 81.1], [0, 0, 2.5, -30.7], [0, 0, 0, 1]], np.float32)
    write_nifti(tmp_path / name, VOXELS, affine)
    file = open_nifti(tmp_path / name)
    assert file.read().dtype == np.int16
    assert np.array_equal(file.read(), VOXELS)
    assert np.array_equal(file.affine, affine)
    assert file.spacing == pytest.approx((0.7, 0.8, 2.5))
    first = (tmp_path / name).read_bytes()
    write_nifti(tmp_path / name, VOXELS, affine)
    assert (tmp_path / name).read_bytes() == first


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_slices_are_axial_however_voxels_are_stored(tmp_path, order, signs):
    canonical = nib.Nifti1Image(VOXELS, np.diag([1.0, 2.0, 3.0, 1.0]))  # x to the right, y to the front, z to the head
    stored = np.array([[axis, sign] for axis, sign in zip(order, signs, strict=True)])
    turned = canonical.as_reoriented(stored)
    write_nifti(tmp_path / "a.nii", np.asarray(turned.dataobj), turned.affine)
    file = open_nifti(tmp_path / "a.nii")
    expected = VOXELS[::-1, ::-1].transpose(2, 1, 0)  # slices to the head, rows to the back, columns to the left
    assert file.slices == 4
    assert file.spacing == pytest.approx((1, 2, 3))
    assert np.array_equal(file.axial(), expected)
    assert np.array_equal(file.axial(1, 2), expected[1:3])


def test_a_mask_off_its_image_is_refused_and_named(tmp_path):
    write_nifti(tmp_path / "image.nii", VOXELS, np.eye(4))
    write_nifti(tmp_path / "small.nii", VOXELS[:1], np.eye(4))
    write_nifti(tmp_path / "moved.nii", VOXELS, np.array([[1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    image = open_nifti(tmp_path / "image.nii")
    check_grid(image, image)
    with pytest.raises(SemeiaError, match=r"small\.nii: expected 2 x 3 x 4 voxels as image\.nii has, found 1 x 3 x 4"):
        check_grid(open_nifti(tmp_path / "small.nii"), image)
    with pytest.raises(SemeiaError, match=r"moved\.nii: expected the affine of image\.nii.*5 mm off"):
        check_grid(open_nifti(tmp_path / "moved.nii"), image)


def broken(folder):
    """Files that are no volume, by what is wrong with them, and what is said of them."""
    write_nifti(folder / "whole.nii", VOXELS, np.eye(4))
    content = (folder / "whole.nii").read_bytes()
    (folder / "empty.nii").write_bytes(b"")
    (folder / "words.nii").write_text("no scan " * 100)
    (folder / "torn.nii.gz").write_bytes(gzip.compress(content)[:30])
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 3), np.float32), np.eye(4)), folder / "four.nii")
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2), np.complex64), np.eye(4)), folder / "complex.nii")
    image = nib.Nifti1Image(VOXELS, np.eye(4))
    image.header["srow_x"] = np.nan
    image.header["sform_code"] = 1
    (folder / "nan.nii").write_bytes(image.header.binaryblock + b"\0" * 4 + VOXELS.tobytes())
    return ["missing.nii", "empty.nii", "words.nii", "torn.nii.gz", "four.nii", "complex.nii", "nan.nii"]


def test_files_that_are_no_volume_are_refused_and_named(tmp_path):
    for name in broken(tmp_path):
        with pytest.raises(SemeiaError, match=name):
            open_nifti(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_that_ends_early_is_named_when_it_is_read(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 1000, (20, 20, 20)).astype(np.int16)
    write_nifti(tmp_path / name, noise, np.eye(4))
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(SemeiaError, match=rf"{name}: truncated or damaged"):
        open_nifti(tmp_path / name).read()


def test_packed_and_plain_names_are_found(tmp_path):
    assert found_file(tmp_path / "a") is None
    write_nifti(tmp_path / "a.nii", VOXELS, np.eye(4))
    assert found_file(tmp_path / "a") == tmp_path / "a.nii"
