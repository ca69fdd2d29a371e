"""BraTS' layout."""

import numpy as np
import pytest

from semeia.data.formats import brats
from semeia.data.formats.masked_slices import Choice
from semeia.data.formats.nifti_files import open_nifti, write_nifti
from semeia.records import SemeiaError

AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])
FEW = Choice(least_lesion=4, tails=0.0)


def brain(seed=0, side=24, slices=6):
    """A ball of noise on a background of 0, (I, J, K)."""
    rng = np.random.default_rng(seed)
    x, y = np.mgrid[:side, :side] - side / 2
    inside = (x**2 + y**2 < (side / 3) ** 2)[:, :, None] & np.ones(slices, bool)
    return np.where(inside, rng.integers(100, 900, inside.shape), 0).astype(np.int16)


def tumour(shape, at=(10, 10, 2), size=3):
    labels = np.zeros(shape, np.uint8)
    x, y, z = at
    labels[x : x + size, y : y + size, z : z + 2] = 2
    labels[x, y, z] = 4
    return labels


@pytest.fixture
def folder(tmp_path):
    """Two cases with masks and one without, in the layout of 2021."""
    for i in range(2):
        image = brain(i)
        brats.write(tmp_path, f"BraTS2021_0000{i}", {"t2": image, "flair": image + 7}, tumour(image.shape), AFFINE)
    brats.write(tmp_path, "BraTS2021_00002", {"t2": brain(2)}, None, AFFINE)
    return tmp_path


def test_voxels_and_affine_come_back(folder):
    case = brats.read(folder).cases[0]
    assert (case.name, case.patient) == ("BraTS2021_00000", "BraTS2021_00000")
    assert sorted(case.images) == ["flair", "t2"]
    assert np.array_equal(open_nifti(case.images["t2"]).read(), brain(0))
    assert np.array_equal(open_nifti(case.mask).read(), tumour(brain(0).shape))
    assert np.array_equal(open_nifti(case.mask).affine, AFFINE)


def test_cases_are_found_below_the_folders_of_2018_and_unpacked_as_in_2020(tmp_path):
    image = brain()
    brats.write(tmp_path / "HGG", "Brats18_2013_2_1", {"t1": image}, tumour(image.shape), AFFINE)
    place = tmp_path / "LGG" / "BraTS20_Training_001"
    place.mkdir(parents=True)
    write_nifti(place / "BraTS20_Training_001_t1ce.nii", image, AFFINE)
    (tmp_path / "survival_data.csv").write_text("x")
    found = brats.read(tmp_path)
    assert [case.name for case in found.cases] == ["BraTS20_Training_001", "Brats18_2013_2_1"]
    assert found.cases[0].mask is None


def test_two_sessions_of_a_patient_are_one_patient(tmp_path):
    for name in ("Brats18_TCIA02_135_1", "Brats18_TCIA02_135_2"):
        brats.write(tmp_path, name, {"t2": brain()}, None, AFFINE)
    assert brats.read(tmp_path).patients == ("Brats18_TCIA02_135",)


def test_slices_have_their_kind_their_range_and_the_whole_tumour(folder):
    found = list(brats.slices(brats.read(folder).cases, choice=FEW))
    assert [(s.scan[-1], s.slice, s.kind) for s in found] == [
        ("0", 2, "lesion"), ("0", 3, "lesion"), ("1", 2, "lesion"), ("1", 3, "lesion"),
        ("2", 2, "unmasked"), ("2", 3, "unmasked"),
    ]  # fmt: skip
    first = found[0]
    assert first.image.dtype == np.float32
    assert (first.image.min(), first.image.max()) == (-1, 1)
    assert first.mask.sum() == 9  # labels 2 and 4 alike
    assert found[-1].mask is None
    # columns run to the patient's left, as they are stored here
    assert np.array_equal(first.mask, tumour(brain(0).shape)[:, :, 2].T > 0)


def test_the_cases_of_the_training_say_where_normal_slices_of_others_lie(tmp_path):
    image = brain()
    low = brats.write(tmp_path, "low", {"t2": image}, tumour(image.shape, (10, 10, 0)), AFFINE)
    none = brats.write(tmp_path, "none", {"t2": image}, np.zeros(image.shape), AFFINE)
    found = list(brats.slices([none], choice=FEW, matched=[low]))
    assert [(s.slice, s.kind) for s in found] == [(0, "normal"), (1, "normal")]
    assert len(list(brats.slices([none], choice=FEW))) == 6


def test_the_range_is_that_of_the_scan_and_z_scores_in_between_change_nothing():
    volume = brain().astype(np.float64).transpose(2, 1, 0)
    inside = volume[volume != 0]
    top = np.percentile(inside, 99.5)
    clipped = volume.clip(None, top)
    scored = (clipped - clipped[volume != 0].mean()) / clipped[volume != 0].std()
    low, high = scored.min(), scored.max()
    expected = 2 * (scored - low) / (high - low) - 1
    assert brats.scaled(volume, source="x") == pytest.approx(expected, abs=1e-5)


def test_values_that_are_no_numbers_are_background():
    volume = brain().astype(np.float32).transpose(2, 1, 0)
    volume[0, 0, 0], volume[0, 0, 1] = np.nan, np.inf
    found = brats.scaled(volume, source="x")
    assert found[0, 0].tolist()[:2] == [-1, 1]
    assert np.isfinite(found).all()


def test_what_is_no_brats_is_refused_and_named(folder, tmp_path):
    with pytest.raises(SemeiaError, match="nowhere: not found"):
        brats.read(tmp_path / "nowhere")
    (tmp_path / "void").mkdir()
    with pytest.raises(SemeiaError, match="expected case folders CASE with CASE_t1"):
        brats.read(tmp_path / "void")
    with pytest.raises(SemeiaError, match=r"BraTS2021_00002: expected BraTS2021_00002_flair\.nii\.gz, found t2 alone"):
        list(brats.slices(brats.read(folder).cases, "flair"))
    place = folder / "BraTS2021_00002"
    write_nifti(place / "W39_Segm.nii", tumour(brain(2).shape), AFFINE)
    with pytest.raises(SemeiaError, match=r"W39_Segm\.nii: expected the mask to be called BraTS2021_00002_seg"):
        brats.read(folder)
    with pytest.raises(SemeiaError, match="expected volumes of one shape"):
        brats.write(folder, "x", {"t2": brain()}, np.zeros((3, 3, 3)), AFFINE)
    with pytest.raises(SemeiaError, match="found 'pet'"):
        brats.write(folder, "x", {"pet": brain()}, None, AFFINE)


@pytest.mark.parametrize("fault", ["shape", "affine", "label", "empty"])
def test_a_mask_or_an_image_that_does_not_fit_is_named(folder, fault):
    case = brats.read(folder).cases[0]
    mask, shape, affine = case.mask, brain().shape, AFFINE
    if fault == "shape":
        write_nifti(mask, np.zeros((4, 4, 4), np.uint8), affine)
    elif fault == "affine":
        write_nifti(mask, tumour(shape), np.diag([-1.0, 1.0, 1.0, 1.0]))
    elif fault == "label":
        write_nifti(mask, tumour(shape) * 40, affine)
    else:
        mask = case.images["t2"]
        write_nifti(mask, np.zeros(shape, np.int16), affine)
        write_nifti(case.mask, np.zeros(shape, np.uint8), affine)
    with pytest.raises(SemeiaError, match=mask.name):
        list(brats.slices([case], choice=Choice(least_organ=-1)))
