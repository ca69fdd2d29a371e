"""NIfTI headers as programs and accidents write them."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from semeia.media.volumes import open_volume
from semeia.records import SemeiaError

from .scan_makers import LPS_RAS, affine_of, phantom, write_nifti

HU = phantom()


def refusal(path):
    with pytest.raises(SemeiaError) as caught:
        open_volume(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def header_bytes(path, at, content):
    """Overwrite bytes of a plain file."""
    whole = bytearray(path.read_bytes())
    whole[at : at + len(content)] = content
    path.write_bytes(whole)
    return path


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_nifti_2_and_big_endian_files_are_read(tmp_path, suffix):
    image = nib.Nifti2Image(HU.transpose(2, 1, 0), LPS_RAS @ affine_of())
    nib.save(image, tmp_path / f"two.{suffix}")
    big = nib.Nifti1Image(HU.transpose(2, 1, 0), LPS_RAS @ affine_of(), nib.Nifti1Header(endianness=">"))
    big.header.set_data_dtype(np.int16)
    nib.save(big, tmp_path / f"big.{suffix}")
    for name in ("two", "big"):
        with open_volume(tmp_path / f"{name}.{suffix}") as scan:
            assert (scan.slab(0, 6) == HU).all()
            assert scan.affine == pytest.approx(affine_of(), abs=1e-5)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64, np.uint16])
def test_slope_and_intercept_are_used(tmp_path, dtype):
    def scale(image):
        image.header.set_slope_inter(2.0, -1024)

    stored = (HU.astype(int) + 1024) // 2
    path = write_nifti(tmp_path / "scan.nii", stored, dtype=dtype, change=scale)
    # nibabel writes values so that slope and intercept lead back to them: undo it, the file shall hold ``stored``.
    whole = nib.load(path)
    raw = np.asarray(whole.dataobj.get_unscaled()).transpose(2, 1, 0)
    with open_volume(path) as scan:
        assert (scan.slab(0, 6) == (raw.astype(float) * 2 - 1024).astype(np.float32).clip(-1024)).all()


def test_a_fourth_side_of_one_is_left_out_and_a_single_slice_is_read(tmp_path):
    nib.save(nib.Nifti1Image(HU.transpose(2, 1, 0)[..., None], LPS_RAS @ affine_of()), tmp_path / "four.nii")
    nib.save(nib.Nifti1Image(HU[0].T, LPS_RAS @ affine_of()), tmp_path / "two.nii")
    with open_volume(tmp_path / "four.nii") as scan:
        assert (scan.slab(0, 6) == HU).all()
    with open_volume(tmp_path / "two.nii") as scan:
        assert (scan.slab(0, 0) == HU[:1]).all()


def test_several_volumes_are_refused_with_a_way_to_choose(tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6, 3), np.int16), np.eye(4)), tmp_path / "many.nii")
    text = refusal(tmp_path / "many.nii")
    assert "found several (4 x 5 x 6 x 3)" in text
    assert "slicer[..., 0]" in text


def test_a_position_that_is_not_told_is_assumed_aloud(tmp_path):
    def forget(image):
        image.set_sform(None, 0)
        image.set_qform(None, 0)

    with open_volume(write_nifti(tmp_path / "scan.nii", HU, change=forget)) as scan:
        assert "left and right may be swapped" in scan.notes[0]
        # x of the default runs to the patient's left as the phantom's does, y to the front, so that rows turn round.
        assert (scan.slab(0, 6) == HU[:, ::-1]).all()


def test_two_positions_that_disagree_are_told(tmp_path):
    def disagree(image):
        image.set_qform(np.diag([1, 1, 1, 1]), 1)

    with open_volume(write_nifti(tmp_path / "scan.nii", HU, change=disagree)) as scan:
        assert "sform was taken" in scan.notes[0]
        assert scan.affine == pytest.approx(affine_of(), abs=1e-5)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("micron", 0.001)])
def test_other_units_are_brought_to_millimetres(tmp_path, unit, factor):
    small = np.diag([1 / factor] * 3 + [1]) @ affine_of()
    path = write_nifti(tmp_path / "scan.nii", HU, affine=small, change=lambda image: image.header.set_xyzt_units(unit))
    with open_volume(path) as scan:
        assert scan.affine == pytest.approx(affine_of(), rel=1e-5)
        assert unit in scan.notes[0]


def test_a_sheared_affine_is_refused(tmp_path):
    affine = affine_of()
    affine[1, 2] = 1.0
    assert "sheared affine" in refusal(write_nifti(tmp_path / "scan.nii", HU, affine=affine))


def test_an_oblique_scan_is_read_with_a_note(tmp_path):
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    with open_volume(write_nifti(tmp_path / "scan.nii", HU, affine=turn @ affine_of())) as scan:
        assert (scan.slab(0, 6) == HU).all()
        assert scan.notes[0].startswith("The slices are turned by 11 degrees")


@pytest.mark.parametrize("dtype", [np.complex64, [("R", "u1"), ("G", "u1"), ("B", "u1")]])
def test_colours_and_complex_numbers_are_refused(tmp_path, dtype):
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), dtype), np.eye(4)), tmp_path / "scan.nii")
    assert "one number for each voxel" in refusal(tmp_path / "scan.nii")


@pytest.mark.parametrize(
    "sides", [(3, 0, 5, 6), (3, -4, 5, 6), (3, 30_000, 5, 6), (3, 5000, 5000, 2), (9, 4, 5, 6), (0, 4, 5, 6)]
)
def test_absurd_sides_are_refused(tmp_path, sides):
    path = write_nifti(tmp_path / "scan.nii", HU)
    header_bytes(path, 40, np.array(sides, "<i2").tobytes())
    refusal(path)


@pytest.mark.parametrize(
    ("at", "content"),
    [
        (70, np.int16(999).tobytes()),  # type of voxels
        (108, np.float32(np.nan).tobytes()),  # offset of voxels
        (108, np.float32(-5).tobytes()),
        (108, np.float32(1e30).tobytes()),
        (280, np.full(12, np.nan, np.float32).tobytes()),  # sform
        (280, np.zeros(12, np.float32).tobytes()),
        (280, np.full(12, 1e30, np.float32).tobytes()),
        (116, np.float32(np.inf).tobytes()),  # intercept
    ],
)
@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_absurd_fields_are_refused(tmp_path, at, content, suffix):
    path = write_nifti(tmp_path / "scan.nii", HU)
    header_bytes(path, 112, np.float32(1).tobytes())  # a slope, without which the intercept means nothing
    header_bytes(path, at, content)
    if suffix == "nii.gz":
        path = path.with_suffix(".nii.gz")
        path.write_bytes(gzip.compress((tmp_path / "scan.nii").read_bytes()))
    refusal(path)


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    path = write_nifti(tmp_path / f"scan.{suffix}", phantom((7, 40, 40)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "truncated" in refusal(path)


def test_half_of_a_pair_is_refused(tmp_path):
    nib.save(nib.Nifti1Pair(HU.transpose(2, 1, 0), np.eye(4)), tmp_path / "scan.hdr")
    assert "save it as .nii.gz" in refusal(tmp_path / "scan.hdr")


def test_no_damage_of_a_header_ends_in_anything_but_an_answer_or_a_refusal(tmp_path):
    rng = np.random.default_rng(0)
    path = write_nifti(tmp_path / "scan.nii", HU)
    original = path.read_bytes()
    outcomes = set()
    for _ in range(300):
        content = bytearray(original)
        for place in rng.integers(0, 352, rng.integers(1, 8)):
            content[place] = int(rng.integers(256))
        path.write_bytes(content)
        try:
            with open_volume(path) as scan:
                scan.slab(0, scan.shape[0] - 1)
            outcomes.add("read")
        except SemeiaError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
