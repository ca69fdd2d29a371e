"""Voxels of a DICOM series: where its slices lie in the patient, and which Hounsfield units they hold."""

import numpy as np
import pytest

from semeia.media.dicom_scan import turned_round
from semeia.media.volumes import open_volume

from .scan_makers import ORIGIN, SPACING, edit, header_of, phantom, put_pixels, read, save, write_dicom

HU = phantom()


# -- where slices lie


def test_a_missing_slice_is_told_with_its_place_and_not_filled_in(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU, change=lambda ds, k: k != 3)
    with open_volume(folder) as scan:
        assert (scan.slab(0, 5) == HU[[0, 1, 2, 4, 5, 6]]).all()
        assert scan.spacing[2] == 2.5
        assert scan.notes == (
            "Slices are missing in 1 place: 5 mm between the slices 3 and 2, usual are 2.5 mm. None was filled in.",
        )
        # Slice 3 of the scan lies where slice 4 was scanned.
        z0, z1 = (scan.to_world(3, 3, (0, 0, 1, 1))[at] for at in (2, 5))
        assert (z0, z1) == pytest.approx((ORIGIN[2] + 4 * 2.5 - 1.25, ORIGIN[2] + 4 * 2.5 + 1.25))


def test_uneven_distances_are_told(tmp_path):
    def jitter(ds, k):
        ds.ImagePositionPatient = [*ORIGIN[:2], ORIGIN[2] + k * 2.5 + (0.8 if k == 2 else 0)]

    with open_volume(write_dicom(tmp_path / "scan", HU, change=jitter)) as scan:
        assert scan.notes[0].startswith("Slices lie 1.7 to 3.3 mm apart; 2.5 mm was taken")
        assert scan.to_world(2, 2, (0, 0, 1, 1))[2] == pytest.approx(ORIGIN[2] + 5.8 - 1.25)


def test_slices_shifted_sideways_are_told(tmp_path):
    def shift(ds, k):
        ds.ImagePositionPatient = [ORIGIN[0] + (4 if k == 3 else 0), ORIGIN[1], ORIGIN[2] + k * 2.5]

    with open_volume(write_dicom(tmp_path / "scan", HU, change=shift)) as scan:
        assert "shifted sideways" in scan.notes[0]
        assert scan.to_world(3, 3, (0, 0, 1, 1))[0] == pytest.approx(ORIGIN[0] + 4 - 0.375)


@pytest.mark.parametrize("differ", [False, True])
def test_of_two_slices_in_one_place_the_first_acquired_is_kept(tmp_path, differ):
    folder = write_dicom(tmp_path / "scan", HU)
    for k in (2, 5):
        ds = header_of(HU, k)
        ds.AcquisitionNumber, ds.InstanceNumber = 2, 1
        if differ:
            put_pixels(ds, HU[k].astype(int) + 1074)
        save(ds, folder / f"A{k}.dcm")
    values, notes = read(folder)
    assert (values == HU).all()
    assert notes[0].startswith("2 images in the place of another one were left out, the first acquired was kept; ")
    assert ("voxels differ" if differ else "voxels are the same") in notes[0]


def test_a_tilted_gantry_is_told_and_its_shift_followed(tmp_path):
    # The table moves along z while the slices stand at 15 degrees.
    c, s = np.cos(np.radians(15)), np.sin(np.radians(15))

    def tilt(ds, k):
        ds.ImageOrientationPatient = [1, 0, 0, 0, round(c, 6), round(-s, 6)]

    with open_volume(write_dicom(tmp_path / "scan", HU, change=tilt)) as scan:
        assert (scan.slab(0, 6) == HU).all()
        assert len(scan.notes) == 1
        assert scan.notes[0].startswith("The gantry was tilted by 15 degrees")
        assert scan.spacing == pytest.approx(SPACING, abs=1e-4)
        box = scan.to_world(2, 2, (0, 2, 1, 3))
        # Row 2 lies two row spacings down a column; each corner half a row and half a step around it.
        y, z = 2 * 0.5 * c, 5.0 - 2 * 0.5 * s
        assert np.add(box[:3], box[3:]) / 2 == pytest.approx(np.add(ORIGIN, (0, y, z)), abs=1e-4)
        assert np.subtract(box[3:], box[:3]) == pytest.approx((0.75, 0.5 * c, 2.5 + 0.5 * s), abs=1e-4)


def test_one_slice_is_a_scan(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU[:1])
    with open_volume(folder) as scan:
        assert scan.shape == (1, 12, 10)
        assert (scan.slab(0, 0) == HU[:1]).all()
        assert scan.spacing == pytest.approx((0.75, 0.5, 3.0))
        assert scan.notes == ("There is one slice; its distance to the next was taken as 3 mm.",)


def test_missing_instance_numbers_leave_the_order_of_names(tmp_path):
    def forget(ds, k):
        ds.InstanceNumber = None

    with open_volume(write_dicom(tmp_path / "scan", HU, change=forget)) as scan:
        assert [scan.own_slice(z) for z in range(7)] == [6, 5, 4, 3, 2, 1, 0]


# -- values


def test_slope_and_intercept_of_each_slice_are_used(tmp_path):
    def scale(ds, k):
        ds.RescaleSlope, ds.RescaleIntercept = 0.5 + k, -1000 - k
        put_pixels(ds, HU[k].astype(int) + 1024)

    values, _ = read(write_dicom(tmp_path / "scan", HU, change=scale))
    expected = [np.maximum((HU[k].astype(float) + 1024) * (0.5 + k) - 1000 - k, -1024) for k in range(7)]
    assert (values == np.array(expected, np.float32)).all()


def without_rescale(ds, k):
    del ds.RescaleSlope
    del ds.RescaleIntercept


def test_without_rescale_values_below_zero_are_taken_as_they_are(tmp_path):
    def signed(ds, k):
        without_rescale(ds, k)
        put_pixels(ds, HU[k], signed=True)

    values, notes = read(write_dicom(tmp_path / "scan", HU, change=signed))
    assert (values == HU).all()
    assert "taken for Hounsfield units as stored" in notes[0]


def test_without_rescale_values_from_zero_on_are_shifted(tmp_path):
    values, notes = read(write_dicom(tmp_path / "scan", HU, change=without_rescale))
    assert (values == HU).all()
    assert "1024 was subtracted" in notes[0]


def test_a_slice_without_rescale_is_read_with_that_of_the_others(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU)
    edit(folder / "IM0003.dcm", lambda ds: without_rescale(ds, 0))
    values, notes = read(folder)
    assert (values == HU).all()
    assert notes == ("1 image without a rescale slope and intercept was read with those of the others (1, -1024).",)


def test_inverted_showing_does_not_change_hounsfield_units(tmp_path):
    def inverted(ds, k):
        ds.PhotometricInterpretation = "MONOCHROME1"

    values, notes = read(write_dicom(tmp_path / "scan", HU, change=inverted))
    assert (values == HU).all()
    assert "MONOCHROME1" in notes[0]


def test_inverted_values_without_rescale_are_turned_round(tmp_path):
    def inverted(ds, k):
        without_rescale(ds, k)
        ds.PhotometricInterpretation = "MONOCHROME1"
        put_pixels(ds, 4095 - (HU[k].astype(int) + 1024))
        ds.BitsStored, ds.HighBit = 12, 11

    values, notes = read(write_dicom(tmp_path / "scan", HU, change=inverted))
    assert (values == HU).all()
    assert "turned round" in notes[0]


def test_values_are_turned_round_within_their_bits():
    assert turned_round(np.array([0, 4095], np.uint16), 12).tolist() == [4095, 0]
    assert turned_round(np.array([-2048, 2047], np.int16), 12).tolist() == [2047, -2048]


@pytest.mark.parametrize(("padding", "told"), [(-2000, -2000), (-2000, 63536), (-32768, -32768)])
def test_padding_that_the_header_names_becomes_air(tmp_path, padding, told):
    def pad(ds, k):
        stored = HU[k].copy()
        stored[0] = padding
        ds.RescaleIntercept = 0
        put_pixels(ds, stored, signed=True)
        ds.add_new("PixelPaddingValue", "US" if told > 0 else "SS", told)

    values, _ = read(write_dicom(tmp_path / "scan", HU, change=pad))
    assert (values[:, 0] == -1024).all()
    assert (values[:, 1:] == HU[:, 1:]).all()


def test_padding_above_all_tissue_becomes_air_and_a_value_of_tissue_stays(tmp_path):
    def pad(told):
        def change(ds, k):
            stored = HU[k].astype(int) + 1024
            stored[0] = told
            put_pixels(ds, stored)
            ds.add_new("PixelPaddingValue", "US", told)

        return change

    assert (read(write_dicom(tmp_path / "a", HU, change=pad(65535)))[0][:, 0] == -1024).all()
    # 1024 is water here: a header that was copied from another scan would punch holes into it.
    assert (read(write_dicom(tmp_path / "b", HU, change=pad(1024)))[0][:, 0] == 0).all()


def test_values_that_are_said_to_be_no_hounsfield_units_are_told(tmp_path):
    def effective(ds, k):
        ds.RescaleType = "Z_EFF"

    _, notes = read(write_dicom(tmp_path / "scan", HU, change=effective))
    assert notes[0] == "The values are not said to be Hounsfield units but Z_EFF."
