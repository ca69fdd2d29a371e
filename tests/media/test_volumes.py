"""One scan in every format, its maps back to the file, and inputs that are none."""

import gzip
import tempfile
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semeia.media.volumes import open_volume, series_of
from semeia.records import SemeiaError

from .scan_makers import (
    ORIGIN,
    SPACING,
    affine_of,
    phantom,
    reordered,
    write_dicom,
    write_frames,
    write_nifti,
    write_nrrd,
    write_zip,
)

HU = phantom()
BOX = (1.0, 2.0, 4.0, 6.0)
WORLD = (-29.625, -19.25, 101.25, -27.375, -17.25, 106.25)
"""Of ``BOX`` on the slices 1 and 2: each side lies half a voxel before or behind a centre."""


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Temporary files go to a folder that can be looked at."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def refusal(path, **options):
    """The one line that refuses a scan."""
    with pytest.raises(SemeiaError) as caught:
        open_volume(path, **options)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def files_of(folder):
    return sorted((file, file.stat().st_mtime_ns) for file in folder.rglob("*"))


WRITERS = {
    "DICOM folder": lambda place: write_dicom(place / "scan", HU),
    "DICOM file of a folder": lambda place: write_dicom(place / "scan", HU) / "IM0003.dcm",
    "DICOM file of many frames": lambda place: write_frames(place / "scan.dcm", HU, order=[3, 1, 0, 2, 6, 5, 4]),
    "ZIP of DICOM": lambda place: write_zip(place / "scan.zip", write_dicom(place / "scan", HU)),
    "NIfTI": lambda place: write_nifti(place / "scan.nii", HU),
    "packed NIfTI": lambda place: write_nifti(place / "scan.nii.gz", HU, order=(1, 2, 0), flips=(True, False, True)),
    "ZIP of NIfTI": lambda place: write_zip(place / "scan.zip", write_nifti(place / "scan.nii.gz", HU)),
    "NRRD": lambda place: write_nrrd(place / "scan.nrrd", HU, order=(2, 1, 0), encoding="raw"),
    "packed NRRD": lambda place: write_nrrd(place / "scan.nrrd", HU, space="right-anterior-superior"),
    "ZIP of NRRD": lambda place: write_zip(place / "scan.zip", write_nrrd(place / "scan.nrrd", HU)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_scan_gives_the_same_values_and_millimetres_in_every_format(tmp_path, kind, scratch):
    path = WRITERS[kind](tmp_path / ".")
    before = files_of(tmp_path)
    with open_volume(path) as scan:
        assert scan.shape == HU.shape
        assert scan.source == path.name
        assert scan.notes == ()
        assert scan.slab(0, 6).dtype == np.float32
        assert (scan.slab(0, 6) == HU).all()
        assert (scan.slab(2, 4) == HU[2:5]).all()
        assert scan.affine == pytest.approx(affine_of(), abs=1e-5)
        assert scan.spacing == pytest.approx(SPACING)
        assert scan.to_world(1, 2, BOX) == pytest.approx(WORLD, abs=1e-4)
        assert scan.thickness == (3.0 if "DICOM" in kind else None)
        assert (scan.uids is not None) == ("DICOM" in kind)
    assert list(scratch.iterdir()) == []
    assert [entry for entry in files_of(tmp_path) if entry[0] != scratch] == [e for e in before if e[0] != scratch]


ORDERS = list(permutations(range(3)))


def centre_in_file(affine, index):
    return affine[:3] @ (*index, 1)


@settings(max_examples=60, deadline=None)
@given(
    order=st.sampled_from(ORDERS),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7)),
    seed=st.integers(0, 99),
)
def test_boxes_lie_where_they_lie_in_the_patient_however_a_file_is_stored(tmp_path_factory, order, flips, shape, seed):
    rng = np.random.default_rng(seed)
    hu = phantom(shape, seed)
    spacing, origin = tuple(rng.uniform(0.4, 5, 3)), tuple(rng.uniform(-200, 200, 3))
    affine = affine_of(spacing, origin)
    path = tmp_path_factory.mktemp("scan") / "scan.nii"
    write_nifti(path, hu, affine=affine, order=order, flips=flips)
    voxels, stored_affine = reordered(hu, affine, order=order, flips=flips)

    with open_volume(path) as scan:
        assert (scan.slab(0, shape[0] - 1) == hu).all()
        z, y, x = (int(rng.integers(side)) for side in shape)
        world = scan.to_world(z, z, (x, y, x + 1, y + 1))
        middle = np.add(world[:3], world[3:]) / 2
        assert middle == pytest.approx(affine[:3] @ (x, y, z, 1), abs=1e-2)
        assert np.subtract(world[3:], world[:3]) == pytest.approx(spacing, abs=1e-3)
        # The same voxel found in the file by its own slice, column and row.
        column, row, *_ = scan.own_box(z, (x, y, x + 1, y + 1))
        slice_axis = order.index(2)
        in_plane = [axis for axis in range(3) if axis != slice_axis]
        index = [0, 0, 0]
        index[slice_axis], index[in_plane[0]], index[in_plane[1]] = scan.own_slice(z), int(column), int(row)
        assert voxels[tuple(index)] == hu[z, y, x]
        assert centre_in_file(stored_affine, index) == pytest.approx(middle, abs=1e-2)


@pytest.mark.parametrize("turned", list(product([False, True], repeat=2)))
def test_a_box_of_a_turned_dicom_slice_is_given_in_its_own_rows_and_columns(tmp_path, turned):
    def turn(ds, k):
        left, down = (-1 if flipped else 1 for flipped in turned)
        stored = ds.pixel_array[::down, ::left]
        ds.PixelData = np.ascontiguousarray(stored).tobytes()
        ds.ImageOrientationPatient = [left, 0, 0, 0, down, 0]
        x = ORIGIN[0] + (9 * SPACING[0] if turned[0] else 0)
        y = ORIGIN[1] + (11 * SPACING[1] if turned[1] else 0)
        ds.ImagePositionPatient = [x, y, ds.ImagePositionPatient[2]]

    with open_volume(write_dicom(tmp_path / "scan", HU, change=turn)) as scan:
        assert (scan.slab(0, 6) == HU).all()
        assert scan.to_world(1, 2, BOX) == pytest.approx(WORLD)
        x0, x1 = (6.0, 9.0) if turned[0] else (1.0, 4.0)
        y0, y1 = (6.0, 10.0) if turned[1] else (2.0, 6.0)
        assert scan.own_box(3, BOX) == (x0, y0, x1, y1)


def test_slices_of_dicom_are_numbered_by_their_instance_numbers(tmp_path):
    with open_volume(write_dicom(tmp_path / "scan", HU)) as scan:
        assert [scan.own_slice(z) for z in range(7)] == [6, 5, 4, 3, 2, 1, 0]
        assert scan.uids.instances == tuple(f"1.2.3.4.1000.{k + 1}" for k in range(7))
        assert (scan.uids.study, scan.uids.series, scan.uids.frame_of_reference) == (
            "1.2.3.4", "1.2.3.4.1000", "1.2.3.4.5",
        )  # fmt: skip
        assert [file.name for file in scan.files] == [f"IM{7 - k:04d}.dcm" for k in range(7)]


def test_frames_of_one_file_are_numbered_as_they_are_stored(tmp_path):
    with open_volume(write_frames(tmp_path / "scan.dcm", HU, order=[3, 1, 0, 2, 6, 5, 4])) as scan:
        assert [scan.own_slice(z) for z in range(7)] == [2, 1, 3, 0, 6, 5, 4]


def test_slices_outside_the_scan_are_no_slab(tmp_path):
    with open_volume(write_nifti(tmp_path / "scan.nii", HU)) as scan:
        for first, last in ((-1, 2), (5, 7), (3, 2)):
            with pytest.raises(IndexError, match="from 0 to 6"):
                scan.slab(first, last)


def test_a_slab_reads_the_files_of_its_slices_alone(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU)
    with open_volume(folder) as scan:
        for k in (0, 1, 2, 6):
            scan.files[k].unlink()
        assert (scan.slab(3, 5) == HU[3:6]).all()


def test_a_scan_of_many_slices_takes_the_memory_of_a_slab(tmp_path):
    import tracemalloc

    path = tmp_path / "long.nii"
    hu = np.zeros((400, 64, 64), np.int16)
    hu[::2] = -1000
    write_nifti(path, hu, order=(2, 0, 1))
    tracemalloc.start()
    with open_volume(path) as scan:
        for z in range(0, 400, 50):
            scan.slab(z, z + 8)
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400 * 64 * 64 * 2 / 2


def test_a_scan_can_be_closed_twice(tmp_path, scratch):
    scan = open_volume(write_nifti(tmp_path / "scan.nii.gz", HU))
    assert list(scratch.iterdir()) != []
    scan.close()
    scan.close()
    assert list(scratch.iterdir()) == []


def test_nothing_is_left_behind_where_a_scan_is_refused(tmp_path, scratch):
    path = write_zip(
        tmp_path / "a.zip", write_nifti(tmp_path / "scan.nii", HU, order=(0, 1, 2), affine=np.eye(4) * 1e6)
    )
    refusal(path)
    assert list(scratch.iterdir()) == []


# -- values


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_values_that_are_no_numbers_become_air_and_are_told_when_they_are_met(tmp_path, kind):
    hu = HU.astype(kind)
    hu[0, 0, 0], hu[0, 0, 1], hu[6, 3, 3] = np.nan, np.inf, -np.inf
    with open_volume(write_nifti(tmp_path / "scan.nii", hu, dtype=kind)) as scan:
        assert scan.notes == ()
        slab = scan.slab(0, 6)
        assert slab[0, 0, 0] == slab[0, 0, 1] == slab[6, 3, 3] == -1024
        assert np.isfinite(slab).all()
        scan.slab(0, 6)
        assert scan.notes == ("Values that are no numbers or infinite are read as -1024 HU.",)


def test_padding_below_air_is_read_as_air(tmp_path):
    hu = HU.copy()
    hu[:, 0], hu[:, 1] = -2000, -3024
    with open_volume(write_nrrd(tmp_path / "scan.nrrd", hu)) as scan:
        assert (scan.slab(0, 6)[:, :2] == -1024).all()
        assert (scan.slab(0, 6)[:, 2:] == hu[:, 2:]).all()
        assert scan.notes == ("Values below -1024 HU, which pad what was not scanned, are read as -1024 HU.",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: (hu > 0) * 1, "between 0 and 1"),
        (lambda hu: np.clip(hu + 100, 0, 255), "between 0 and 255"),
        (lambda hu: hu + 1024, "none is below 0"),
        (lambda hu: np.clip(hu, -1000, 0), "none is above 0"),
        (lambda hu: hu * 0 + 7, "one value alone, 7"),
        (lambda hu: hu * 1000.0, "they reach"),
    ],
)
def test_values_that_can_hardly_be_hounsfield_units_are_told(tmp_path, change, words):
    values = change(HU.astype(np.float32))
    with open_volume(write_nifti(tmp_path / "scan.nii", values, dtype=np.float32)) as scan:
        assert any("do not look like Hounsfield units" in note and words in note for note in scan.notes)


# -- inputs that are none


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("missing.nii", None, "no such file"),
        ("empty.dcm", b"", "an empty file"),
        ("text.nii.gz", b"hello, world\n" * 100, "another kind of file"),
        ("noise.nrrd", np.random.default_rng(0).bytes(50_000), "another kind of file"),
        ("photo.dcm", b"\xff\xd8\xff\xe0" + bytes(500), "a JPEG picture"),
        ("report.dcm", b"%PDF-1.7" + bytes(500), "a PDF document"),
        ("scan.mha", b"ObjectType = Image\n", "a MetaImage header"),
        ("other.nii.gz", gzip.compress(b"x" * 1000), "gzip file that is truncated or holds no NIfTI"),
        ("short.nii.gz", gzip.compress(b"x" * 1000)[:12], "gzip file that is truncated or holds no NIfTI"),
    ],
)
def test_what_is_no_scan_is_refused_in_one_line(tmp_path, name, content, found):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert found in refusal(tmp_path / name)


def test_a_folder_without_a_scan_is_refused(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing here")
    assert "found no scan among 1 files" in refusal(folder)


def test_a_folder_with_several_nifti_files_is_refused_with_their_names(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.nii", "b.nii.gz"):
        write_nifti(folder / name, HU)
    assert "found 2 scans (a.nii, b.nii.gz)" in refusal(folder)


def test_a_series_of_a_file_without_series_is_refused(tmp_path):
    assert "no DICOM series" in refusal(write_nifti(tmp_path / "scan.nii", HU), series="1.2")


def test_a_device_is_no_scan():
    assert "a device or a pipe" in refusal("/dev/zero")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = write_nifti(tmp_path / "scan.nii", HU)

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    assert "Permission denied" in refusal(path)


def test_series_are_listed_from_headers_alone(tmp_path):
    def headers_only(ds, k):
        ds.PixelData = b""
        if k == 0:
            ds.SeriesInstanceUID, ds.SeriesDescription, ds.Modality = "1.9", "Scout", "MR"

    folder = write_dicom(tmp_path / "scan", HU, change=headers_only)
    for path in (folder, write_zip(tmp_path / "scan.zip", folder)):
        one, two = series_of(path)
        assert (one.uid, one.description, one.modality, one.images, one.slices) == (
            "1.2.3.4.1000", "Thorax 2.5", "CT", 6, 6,
        )  # fmt: skip
        assert (two.uid, two.modality, two.images, two.slices) == ("1.9", "MR", 1, 0)
    assert len(series_of(folder / "IM0001.dcm")) == 1
    assert series_of(write_nifti(tmp_path / "scan.nii", HU)) == ()
