"""Label maps lie on their scan voxel by voxel."""

from itertools import permutations

import nibabel as nib
import numpy as np
import pytest

from semeia.media.label_map import check_label_map, ellipse, label_map, label_slices, own_view, write_label_map
from semeia.media.volumes import open_volume
from semeia.records import Lesion, ScanReading, SemeiaError, SliceBox

BOX = (4.0, 5.0, 10.0, 9.0)


def save(path, *, axes=(0, 1, 2), signs=(-1, -1, 1), spacing=(0.7, 0.8, 2.5), shape=(9, 12, 7), kind=nib.Nifti1Image):
    """A NIfTI whose stored axes run along the patient's x, y and z as ``axes`` says, in RAS with these signs."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, world in enumerate(axes):
        affine[world, stored] = signs[world] * spacing[world]
    affine[:3, 3] = (11.1, -22.2, 33.3)
    sides = [(12, 9, 7)[world] if shape == (9, 12, 7) else shape[world] for world in axes]
    nib.save(kind(np.full(sides, -1000, np.int16), affine), path)


def reading_of(scan, boxes, score=0.5):
    """One lesion with these boxes (axial slice -> axial box)."""
    slices = {scan.own_slice(z): (SliceBox(scan.own_box(z, box), score),) for z, box in boxes.items()}
    around = np.array(list(boxes.values()))
    world = scan.to_world(min(boxes), max(boxes), (*around[:, :2].min(0), *around[:, 2:].max(0)))
    return ScanReading("w", "s", slices, (Lesion(score, (min(slices), max(slices)), world, 1.0, 1.0),))


def slow_ellipse(box, shape):
    """Every pixel asked one by one."""
    out = np.zeros(shape, bool)
    x0, y0, x1, y1 = box
    for row in range(shape[0]):
        for column in range(shape[1]):
            x = (column + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
            y = (row + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
            out[row, column] = x * x + y * y <= 1
    return out


@pytest.mark.parametrize("box", [BOX, (0.0, 0.0, 12.0, 9.0), (-3.0, 2.2, 4.4, 7.9), (8.5, -1.0, 14.0, 20.0)])
def test_an_ellipse_is_that_of_the_slow_twin(box):
    out = np.zeros((9, 12), bool)
    rows, columns, inside = ellipse(box, out.shape)
    out[rows, columns] = inside
    assert (out == slow_ellipse(box, out.shape)).all()
    assert out.any()


def test_a_box_smaller_than_a_pixel_still_has_one():
    rows, columns, inside = ellipse((3.6, 2.7, 3.9, 2.9), (9, 12))
    assert (rows, columns, inside.tolist()) == (slice(2, 3), slice(3, 4), [[True]])


def test_a_box_outside_the_slice_has_no_pixels():
    assert ellipse((12.5, 2.0, 14.0, 4.0), (9, 12))[2].size == 0


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, 1, -1), (1, -1, 1)])
def test_shape_and_affine_are_the_inputs_and_labels_lie_where_the_boxes_do(tmp_path, axes, signs):
    save(tmp_path / "s.nii.gz", axes=axes, signs=signs)
    own = nib.load(tmp_path / "s.nii.gz")
    with open_volume(tmp_path / "s.nii.gz") as scan:
        reading = reading_of(scan, {2: BOX, 3: BOX})
        write_label_map(reading, scan, tmp_path / "labels.nii.gz")
        low = np.array(scan.to_world(2, 3, BOX))
    made = nib.load(tmp_path / "labels.nii.gz")
    assert made.shape == own.shape
    assert (made.affine == own.affine).all()
    assert made.get_data_dtype() == np.uint16
    labels = np.asarray(made.dataobj)
    assert set(np.unique(labels)) == {0, 1}
    # The centres of the labelled voxels, grown by half a voxel, fill the lesion's box in the patient.
    places = np.argwhere(labels == 1)
    world = (made.affine[:3, :3] @ places.T).T + made.affine[:3, 3]
    world = world * [-1, -1, 1]
    half = np.array([0.35, 0.4, 1.25])
    np.testing.assert_allclose(world.min(0) - half, low[:3], atol=1e-4)
    np.testing.assert_allclose(world.max(0) + half, low[3:], atol=1e-4)
    assert len(places) == 2 * slow_ellipse(BOX, (9, 12)).sum()


@pytest.mark.parametrize("name", ["s.nii", "s.nii.gz"])
def test_a_position_told_by_a_quaternion_alone_is_kept_to_the_last_bit(tmp_path, name):
    turn = np.deg2rad(7.0)
    affine = np.diag([-0.7, -0.8, 2.5, 1.0])
    affine[:3, :3] = (
        np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) @ affine[:3, :3]
    )
    image = nib.Nifti1Image(np.zeros((12, 9, 7), np.int16), None)
    image.set_qform(affine, 1)
    nib.save(image, tmp_path / name)
    with open_volume(tmp_path / name) as scan:
        write_label_map(reading_of(scan, {2: BOX}), scan, tmp_path / f"labels_{name}")
    made, own = nib.load(tmp_path / f"labels_{name}"), nib.load(tmp_path / name)
    assert (made.affine == own.affine).all()
    assert made.header["sform_code"] == 0


@pytest.mark.parametrize("sides", [(12, 9, 7), (12, 9, 7, 1)])
def test_a_header_without_a_position_or_with_a_fourth_axis_has_a_map(tmp_path, sides):
    nib.save(nib.Nifti1Image(np.zeros(sides, np.int16), None), tmp_path / "s.nii")
    with open_volume(tmp_path / "s.nii") as scan:
        write_label_map(reading_of(scan, {2: BOX}), scan, tmp_path / "labels.nii")
    made, own = nib.load(tmp_path / "labels.nii"), nib.load(tmp_path / "s.nii")
    assert made.shape == (12, 9, 7)
    assert (made.affine == own.affine).all()
    assert (made.header["sform_code"], made.header["qform_code"]) == (
        own.header["sform_code"],
        own.header["qform_code"],
    )


def test_the_header_says_what_the_labels_are(tmp_path):
    save(tmp_path / "s.nii")
    with open_volume(tmp_path / "s.nii") as scan:
        write_label_map(reading_of(scan, {2: BOX}), scan, tmp_path / "labels.nii")
    header = nib.load(tmp_path / "labels.nii").header
    assert b"ellipses in boxes" in header["descrip"].item()
    assert header.get_intent()[0] == "label"
    assert header.get_xyzt_units()[0] == nib.load(tmp_path / "s.nii").header.get_xyzt_units()[0]


def test_nifti_2_stays_nifti_2(tmp_path):
    save(tmp_path / "s.nii", kind=nib.Nifti2Image)
    with open_volume(tmp_path / "s.nii") as scan:
        write_label_map(reading_of(scan, {2: BOX}), scan, tmp_path / "labels.nii")
    made, own = nib.load(tmp_path / "labels.nii"), nib.load(tmp_path / "s.nii")
    assert isinstance(made, nib.Nifti2Image)
    assert (made.affine == own.affine).all()


def test_big_endian_scans_have_label_maps_too(tmp_path):
    image = nib.Nifti1Image(np.zeros((12, 9, 7), ">i2"), np.diag([-0.7, -0.8, 2.5, 1.0]))
    nib.Nifti1Image(image.dataobj, image.affine, image.header.as_byteswapped(">")).to_filename(tmp_path / "s.nii")
    with open_volume(tmp_path / "s.nii") as scan:
        write_label_map(reading_of(scan, {2: BOX}), scan, tmp_path / "labels.nii.gz")
    made, own = nib.load(tmp_path / "labels.nii.gz"), nib.load(tmp_path / "s.nii")
    assert own.header.endianness == ">"
    assert (made.affine == own.affine).all()
    assert np.asarray(made.dataobj).max() == 1


def test_nrrd_scans_get_the_affine_of_their_header(tmp_path):
    nrrd = pytest.importorskip("nrrd")
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([0.7, 0.8, 2.5]),
        "space origin": [1, 2, 3.0],
    }
    nrrd.write(str(tmp_path / "s.nrrd"), np.full((12, 9, 7), -1000, np.int16), header)
    with open_volume(tmp_path / "s.nrrd") as scan:
        write_label_map(reading_of(scan, {2: BOX}), scan, tmp_path / "labels.nii.gz")
    made = nib.load(tmp_path / "labels.nii.gz")
    assert made.shape == (12, 9, 7)
    # LPS to RAS: x and y turn round.
    np.testing.assert_allclose(
        made.affine, [[-0.7, 0, 0, -1], [0, -0.8, 0, -2], [0, 0, 2.5, 3], [0, 0, 0, 1]], atol=1e-6
    )


def test_better_lesions_win_where_two_overlap_and_gaps_are_closed(tmp_path):
    save(tmp_path / "s.nii")
    with open_volume(tmp_path / "s.nii") as scan:
        large, small = (1.0, 1.0, 11.0, 8.0), (4.0, 3.0, 8.0, 6.0)
        lesions = (
            Lesion(0.9, (1, 3), scan.to_world(1, 3, small), 1, 1),
            Lesion(0.5, (2, 2), scan.to_world(2, 2, large), 1, 1),
        )
        slices = {1: (SliceBox(small, 0.9),), 2: (SliceBox(large, 0.5),), 3: (SliceBox(small, 0.8),)}
        labels = dict(label_slices(ScanReading("w", "s", slices, lesions), scan))
    assert sorted(labels) == [1, 2, 3]
    inner, outer = slow_ellipse(small, (9, 12)), slow_ellipse(large, (9, 12))
    assert (labels[2] == np.where(inner, 1, np.where(outer, 2, 0))).all()
    assert (labels[3] == inner).all()


def test_a_scan_without_lesions_has_an_empty_map(tmp_path):
    save(tmp_path / "s.nii")
    with open_volume(tmp_path / "s.nii") as scan:
        assert not label_map(ScanReading("w", "s", {}, ()), scan).any()


def test_own_view_shows_a_slice_as_the_file_has_it(tmp_path):
    save(tmp_path / "s.nii", axes=(1, 0, 2), signs=(1, -1, 1))
    with open_volume(tmp_path / "s.nii") as scan:
        axial = np.zeros(scan.shape[1:], np.uint16)
        axial[5:9, 4:10] = 1
        x0, y0, x1, y1 = (int(v) for v in scan.own_box(0, BOX))
        own = own_view(scan.grid, axial)
    assert own[y0:y1, x0:x1].all()
    assert own.sum() == axial.sum()


def test_the_same_reading_makes_the_same_bytes(tmp_path):
    save(tmp_path / "s.nii")
    with open_volume(tmp_path / "s.nii") as scan:
        for name in ("a", "b"):
            write_label_map(reading_of(scan, {2: BOX}), scan, tmp_path / f"{name}.nii.gz")
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("name", ["labels.nrrd", "labels", ".nii.gz", "labels.gz"])
def test_another_suffix_is_refused(tmp_path, name):
    with pytest.raises(SemeiaError, match=r"ends in \.nii\.gz or \.nii"):
        check_label_map(tmp_path / name)
