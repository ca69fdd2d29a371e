"""Twins of scans, voxel by voxel on the scan."""

import gzip

import nibabel as nib
import nrrd
import numpy as np
import pytest

from semeia.media.twin_volumes import TwinVolumes
from semeia.media.volumes import open_volume

from .scan_makers import phantom, write_dicom, write_nifti, write_nrrd, write_zip


def changed(path, folder, *, by=40.0, at=(slice(2, 4), slice(3, 5))):
    """A twin that differs on axial slices 2 and 3 in a few pixels: names, differences, what was written, slice 2."""
    folder.mkdir()
    with open_volume(path) as scan, TwinVolumes(scan, folder) as volumes:
        kept = []
        for z in range(scan.shape[0]):
            before = scan.slab(z, z)[0]
            after, likelihood = before.copy(), np.zeros(before.shape, np.float32)
            if z in (2, 3):
                after[at] += by
                likelihood[at] = 0.678
            kept.append(volumes.put(z, before, after, likelihood))
        shown = volumes.shown(2)
        names = volumes.write()
        axial = {name: np.array(scan.grid.axial(read(folder / names[name]))) for name in names}
        axial["input"] = scan.slab(0, scan.shape[0] - 1)
    assert sorted(file.name for file in folder.iterdir()) == sorted(names.values())
    return names, np.stack(kept), axial, shown


def read(path):
    return nrrd.read(str(path))[0] if path.suffix == ".nrrd" else np.asanyarray(nib.load(path).dataobj)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_the_twin_has_the_inputs_format_and_only_changed_voxels_differ(tmp_path, name, order):
    write = write_nrrd if name.endswith("nrrd") else write_nifti
    path = write(tmp_path / name, phantom(), order=order, flips=(True, False, True))
    names, kept, axial, shown = changed(path, tmp_path / "out")
    assert names["twin"] == name.replace("scan", "twin")
    expected = np.zeros(phantom().shape)
    expected[2:4, 2:4, 3:5] = 40
    assert np.array_equal(kept, expected)
    assert np.array_equal(axial["difference"], expected)
    assert np.array_equal(axial["twin"], axial["input"] + expected)
    assert np.array_equal(axial["likelihood"], np.where(expected > 0, 68, 0))
    assert np.array_equal(shown.after - shown.before, expected[2])
    assert shown.likelihood[2, 3] == pytest.approx(0.68)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_nifti_twin_keeps_the_header_to_the_last_bit(tmp_path, name):
    def dressed(image):
        image.header["descrip"] = b"Thorax"
        image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"kept"))

    path = write_nifti(tmp_path / name, phantom(), order=(1, 0, 2), change=dressed)
    names, _, _, _ = changed(path, tmp_path / "out")
    own, twin = (nib.load(each) for each in (path, tmp_path / "out" / names["twin"]))
    assert twin.header.binaryblock == own.header.binaryblock
    assert twin.header.extensions[0].get_content() == own.header.extensions[0].get_content()
    for kind in ("difference", "likelihood"):
        other = nib.load(tmp_path / "out" / names[kind])
        assert np.array_equal(other.affine, own.affine)
        assert other.shape == own.shape
        assert b"no medical device" in other.header["descrip"].item()


def test_a_scan_that_is_left_alone_is_copied_byte_by_byte(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", phantom())
    changed(path, tmp_path / "out", by=0.0)
    assert (tmp_path / "out" / "twin.nii").read_bytes() == path.read_bytes()
    with gzip.open(write_nifti(tmp_path / "b.nii.gz", phantom())) as stream:
        plain = stream.read()
    changed(tmp_path / "b.nii.gz", tmp_path / "packed", by=0.0)
    with gzip.open(tmp_path / "packed" / "twin.nii.gz") as stream:
        assert stream.read() == plain


def test_a_difference_below_half_a_stored_step_is_none(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", phantom())
    _, kept, _, _ = changed(path, tmp_path / "out", by=0.4)
    assert not kept.any()


def test_scaled_values_change_by_whole_stored_steps(tmp_path):
    def scaled(image):
        image.header.set_slope_inter(2.0, -24.0)

    path = write_nifti(tmp_path / "scan.nii", (phantom().astype(int) // 2 + 12).astype(np.int16), change=scaled)
    with open_volume(path) as scan:
        step = np.unique(np.diff(np.unique(scan.slab(0, 6)))).min()
    names, kept, _, _ = changed(path, tmp_path / "out", by=41.0)
    assert step in (1, 2)
    twin, own = (np.asanyarray(nib.load(p).dataobj) for p in (tmp_path / "out" / names["twin"], path))
    assert set(np.unique(twin - own)) == {0, kept.max()}


def test_values_that_are_no_numbers_stay_and_types_do_not_run_over(tmp_path):
    hu = phantom().astype(np.float32)
    hu[2, 2, 3] = np.nan
    path = write_nifti(tmp_path / "scan.nii", hu, dtype=np.float32)
    _, kept, axial, _ = changed(path, tmp_path / "out")
    assert np.isnan(axial["twin"][2, 2, 3])
    assert kept[2, 2, 3] == 0
    assert kept[2, 2, 4] == pytest.approx(40)
    path = write_nifti(tmp_path / "full.nii", np.full((7, 12, 10), 250) - phantom().clip(0, 5), dtype=np.uint8)
    _, kept, axial, _ = changed(path, tmp_path / "full")
    assert axial["twin"].max() == 255
    assert 0 < kept.max() <= 10


def test_a_big_endian_nifti_stays_one(tmp_path):
    image = nib.Nifti1Image(phantom().transpose(2, 1, 0).astype(">i2"), np.diag([-1.0, -1, 2, 1]))
    header = image.header.as_byteswapped(">")
    nib.Nifti1Image(np.asarray(image.dataobj), image.affine, header).to_filename(tmp_path / "scan.nii")
    names, _, axial, _ = changed(tmp_path / "scan.nii", tmp_path / "out")
    assert nib.load(tmp_path / "out" / names["twin"]).header.endianness == ">"
    assert axial["difference"].max() == 40


@pytest.mark.parametrize("encoding", ["gzip", "bzip2", "raw"])
def test_a_nrrd_twin_keeps_its_fields_and_encoding(tmp_path, encoding):
    path = write_nrrd(tmp_path / "scan.nrrd", phantom(), encoding=encoding, note="kept")
    changed(path, tmp_path / "out")
    own, twin, other = (nrrd.read_header(str(p)) for p in (
        path, tmp_path / "out" / "twin.nrrd", tmp_path / "out" / "difference.nrrd"))  # fmt: skip
    assert twin["encoding"] == encoding
    assert {"note"} <= twin.keys()
    for header in (twin, other):
        assert np.array_equal(header["space directions"], own["space directions"])
        assert np.array_equal(header["space origin"], own["space origin"])
    assert twin["type"] == own["type"]
    assert other["type"] == "float"


def test_a_detached_nrrd_becomes_one_file(tmp_path):
    voxels, header = nrrd.read(str(write_nrrd(tmp_path / "scan.nrrd", phantom())))
    nrrd.write(str(tmp_path / "scan.nhdr"), voxels, header, detached_header=True)
    names, kept, axial, _ = changed(tmp_path / "scan.nhdr", tmp_path / "out")
    assert names["twin"] == "twin.nrrd"
    assert np.array_equal(axial["twin"] - axial["input"], kept)


@pytest.mark.parametrize("packed", [False, True])
def test_dicom_becomes_nifti_in_the_same_place_and_says_so(tmp_path, packed):
    path = write_dicom(tmp_path / "series", phantom())
    path = write_zip(tmp_path / "series.zip", path) if packed else path
    (tmp_path / "out").mkdir()
    with open_volume(path) as scan, TwinVolumes(scan, tmp_path / "out") as volumes:
        for z in range(scan.shape[0]):
            before = scan.slab(z, z)[0]
            volumes.put(z, before, before + (z == 2), np.zeros(before.shape))
        names = volumes.write()
        assert "NIfTI went out" in volumes.notes[0]
        affine = np.diag([-1.0, -1, 1, 1]) @ scan.grid.affine
        whole = scan.slab(0, 6)
        image = nib.load(tmp_path / "out" / names["twin"])
        assert image.affine == pytest.approx(affine, abs=1e-4)
        assert image.get_data_dtype() == np.int16
        twin = scan.grid.axial(np.asanyarray(image.dataobj))
    assert np.array_equal(twin - whole, np.arange(7)[:, None, None] * np.ones((12, 10)) == 2)


def test_working_files_go_when_something_goes_wrong(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", phantom())
    (tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError), open_volume(path) as scan, TwinVolumes(scan, tmp_path / "out"):
        raise RuntimeError
    assert not list((tmp_path / "out").iterdir())
