"""Files of a DICOM series as scanners, archives and bad copies make them: which are read, left out or refused."""

import shutil
import struct

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from semeia.media import dicom, dicom_scan
from semeia.media.volumes import open_volume
from semeia.records import SemeiaError

from .scan_makers import ORIGIN, SPACING, edit, header_of, phantom, put_pixels, read, save, write_dicom, write_frames

HU = phantom()
LONG = phantom((24, 6, 8))


def refusal(path, **options):
    with pytest.raises(SemeiaError) as caught:
        open_volume(path, **options)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


# -- how images are stored


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
    ids=lambda uid: uid.name,
)
def test_every_transfer_syntax_gives_the_same_values(tmp_path, syntax):
    if syntax == JPEGLSLossless:
        pytest.importorskip("jpeg_ls")
    if syntax == JPEG2000Lossless:
        folder = write_dicom(tmp_path / "scan", HU, change=as_jpeg2000)
    else:
        folder = write_dicom(tmp_path / "scan", HU, syntax=syntax)
    values, notes = read(folder)
    assert (values == HU).all()
    assert notes == ()
    assert pydicom.dcmread(folder / "IM0001.dcm").file_meta.TransferSyntaxUID == syntax


def as_jpeg2000(ds, k):
    """pydicom writes JPEG 2000 with other packages alone; Pillow writes it too."""
    import io

    from PIL import Image
    from pydicom.encaps import encapsulate

    out = io.BytesIO()
    Image.fromarray(ds.pixel_array.astype(np.uint16)).save(out, "JPEG2000", irreversible=False)
    ds.PixelData = encapsulate([out.getvalue()])
    ds["PixelData"].VR = "OB"
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLosslessSV1], ids=lambda uid: uid.name)
def test_a_missing_decoder_is_named_with_what_to_install(tmp_path, monkeypatch, syntax):
    def relabel(ds, k):
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = pydicom.encaps.encapsulate([b"1234"])
        ds["PixelData"].VR = "OB"

    folder = write_dicom(tmp_path / "scan", HU, change=relabel)

    class Missing:
        is_available = False

    monkeypatch.setattr(dicom_scan, "get_decoder", lambda uid: Missing)
    text = refusal(folder)
    assert syntax.name in text
    assert ("semeia[dicom]" if syntax == JPEGLSLossless else "pylibjpeg-libjpeg") in text


def test_a_video_in_a_ct_is_refused(tmp_path):
    def relabel(ds, k):
        ds.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
        ds.PixelData = pydicom.encaps.encapsulate([b"1234"])
        ds["PixelData"].VR = "OB"

    assert "MPEG2" in refusal(write_dicom(tmp_path / "scan", HU, change=relabel))


def test_a_damaged_compressed_image_is_refused_by_name(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU, syntax=RLELossless)
    for path in folder.iterdir():
        content = bytearray(path.read_bytes())
        at = content.index(b"\xfe\xff\x00\xe0", content.index(b"\xe0\x7f\x10\x00")) + 40
        content[at:] = bytes(len(content) - at)
        path.write_bytes(content)
    assert "cannot be decoded" in refusal(folder) or "truncated" in refusal(folder)


def test_images_without_the_file_header_of_dicom_are_read(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU, syntax=ImplicitVRLittleEndian)
    for path in folder.iterdir():
        ds = pydicom.dcmread(path)
        del ds.file_meta
        ds.preamble = None
        ds.save_as(path, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[128:132] != b"DICM"
    values, notes = read(folder)
    assert (values == HU).all()
    assert notes == ()


def test_names_and_subfolders_do_not_matter(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU, names="{:d}")
    (folder / "deep" / "er").mkdir(parents=True)
    for name in ("1", "4"):
        (folder / name).rename(folder / "deep" / "er" / name)
    (folder / "readme.txt").write_text("from the archive")
    (folder / ".DS_Store").write_bytes(b"x")
    values, notes = read(folder)
    assert (values == HU).all()
    assert notes == ("1 file that is not DICOM was passed over.",)


def test_a_directory_file_is_no_image(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU)
    ds = header_of(HU, 0)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = "1.2.840.10008.1.3.10"
    del ds.Modality
    del ds.PixelData
    save(ds, folder / "DICOMDIR")
    values, notes = read(folder)
    assert (values == HU).all()
    assert notes == ()


@pytest.mark.parametrize("bits", [8, 32])
def test_values_of_other_widths_are_read(tmp_path, bits):
    hu = np.clip(HU, -1000, 20) if bits == 8 else HU

    def widen(ds, k):
        if bits == 8:
            ds.RescaleSlope, ds.RescaleIntercept = 4, -1000
            put_pixels(ds, (hu[k].astype(int) + 1000) // 4, bits=8)
            ds["PixelData"].VR = "OB"
        else:
            put_pixels(ds, hu[k].astype(int) + 1024, signed=True, bits=32)

    values, _ = read(write_dicom(tmp_path / "scan", hu, change=widen))
    assert np.abs(values - hu).max() < (4 if bits == 8 else 1e-9)


# -- which images


def test_another_modality_is_refused_by_name(tmp_path):
    def as_mr(ds, k):
        ds.Modality = "MR"

    folder = write_dicom(tmp_path / "scan", HU, change=as_mr)
    assert "found 7 images of the modality MR" in refusal(folder)
    assert "found 1 image of the modality MR" in refusal(folder / "IM0001.dcm")


def two_series(folder):
    write_dicom(folder / "a", HU)

    def other(ds, k):
        ds.SeriesInstanceUID, ds.SeriesDescription = "1.2.3.4.2000", "Lung kernel"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.2000.{k}"
        put_pixels(ds, HU[k].astype(int) + 1027)

    write_dicom(folder / "b", HU[:5], change=other)
    return folder


def test_several_series_are_listed_and_one_can_be_chosen(tmp_path):
    folder = two_series(tmp_path / "study")
    text = refusal(folder)
    assert "expected one CT series, found 2" in text
    assert "3.4.1000 (Thorax 2.5, CT, 7 images), 3.4.2000 (Lung kernel, CT, 5 images)" in text
    assert "--series" in text
    values, notes = read(folder, series="2000")
    assert (values == HU[:5] + 3).all()
    assert notes == ("7 images of other series in the folder were left out.",)
    assert read(folder, series="1.2.3.4.1000")[0].shape == HU.shape


@pytest.mark.parametrize("series", ["000", "999", ""])
def test_a_series_that_is_none_or_fits_several_is_refused(tmp_path, series):
    text = refusal(two_series(tmp_path / "study"), series=series)
    assert "expected the end of one series' UID" in text
    assert "Lung kernel" in text


def test_a_chosen_series_without_slices_is_refused_for_its_own_reason(tmp_path):
    def scout(ds, k):
        if k == 0:
            ds.SeriesInstanceUID, ds.ImageType = "1.9", ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    folder = write_dicom(tmp_path / "scan", HU, change=scout)
    assert "found 1 image for planning a scan" in refusal(folder, series="1.9")


def test_one_file_stands_for_its_series(tmp_path):
    folder = tmp_path / "flat"
    two_series(tmp_path / "study")
    folder.mkdir()
    for part in ("a", "b"):
        for path in (tmp_path / "study" / part).iterdir():
            shutil.copy(path, folder / f"{part}{path.name}")
    values, _ = read(folder / "bIM0002.dcm")
    assert (values == HU[:5] + 3).all()


def localizer(ds):
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def capture(ds):
    del ds.ImagePositionPatient
    del ds.ImageOrientationPatient


def coronal(ds):
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def colourful(ds):
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = bytes(ds.Rows * ds.Columns * 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (localizer, "1 image for planning a scan (localizers) was left out."),
        (capture, "1 image without a position in the patient (captures or reports) was left out."),
        (coronal, "1 image in another plane than the axial one was left out."),
        (colourful, "1 image in colours was left out."),
    ],
)
def test_images_that_are_no_slices_are_left_out_aloud(tmp_path, change, words):
    folder = write_dicom(tmp_path / "scan", HU)
    ds = header_of(HU, 0)
    ds.InstanceNumber = 99
    change(ds)
    save(ds, folder / "other.dcm")
    values, notes = read(folder)
    assert (values == HU).all()
    assert notes == (words,)


def test_a_coronal_series_is_refused(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU, change=lambda ds, k: coronal(ds))
    assert "found 7 images in another plane than the axial one" in refusal(folder)


def test_slices_of_another_size_are_left_out_aloud(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU)
    edit(folder / "IM0007.dcm", lambda ds: put_pixels(ds, np.zeros((5, 5), int)))
    values, notes = read(folder)
    assert (values == HU[1:]).all()
    assert notes == ("1 image of another size, spacing or orientation was left out.",)


@pytest.mark.parametrize(
    ("rows", "spacing"),
    [(0, [0.5, 0.75]), (5000, [0.5, 0.75]), (12, [0.0, 0.75]), (12, [-1, 1]), (12, ["x", "1"]), (12, 1)],
)
def test_absurd_headers_are_refused(tmp_path, rows, spacing):
    def spoil(ds, k):
        ds.Rows = rows
        ds.add_new("PixelSpacing", "LO" if "x" in str(spacing) else "DS", spacing)

    refusal(write_dicom(tmp_path / "scan", HU, change=spoil))


def test_files_of_one_frame_each_are_a_series(tmp_path):
    folder = tmp_path / "scan"
    folder.mkdir()
    for k in range(7):

        def place(ds, k=k):
            ds.InstanceNumber = k
            group = ds.PerFrameFunctionalGroupsSequence[0]
            group.PlanePositionSequence[0].ImagePositionPatient = [*ORIGIN[:2], ORIGIN[2] + k * SPACING[2]]

        write_frames(folder / f"{k}.dcm", HU[k : k + 1], change=place)
    for path in (folder, folder / "3.dcm"):
        with open_volume(path) as scan:
            assert (scan.slab(0, 6) == HU).all()
            assert [scan.own_slice(z) for z in range(7)] == list(range(7))


def test_what_a_header_tells_cannot_steer_a_terminal(tmp_path):
    def colour(ds, k):
        ds.SeriesDescription = "red \x1b[31m\r\nText"
        ds.SeriesInstanceUID = f"1.2.{k}"

    assert "(red [31m Text, CT, 1 image)" in refusal(write_dicom(tmp_path / "scan", HU, change=colour))


def test_too_many_frames_are_refused(tmp_path):
    def claim(ds):
        ds.NumberOfFrames = 2_000_000_000

    assert "1 damaged DICOM file " in refusal(write_frames(tmp_path / "scan.dcm", HU, change=claim))


def test_frames_without_places_are_refused(tmp_path):
    def forget(ds):
        del ds.PerFrameFunctionalGroupsSequence

    assert "without a position" in refusal(write_frames(tmp_path / "scan.dcm", HU, change=forget))


def test_a_file_of_many_frames_that_ends_early_is_refused(tmp_path):
    path = write_frames(tmp_path / "scan.dcm", HU)
    cut(path, path.stat().st_size - 100)
    assert "truncated" in refusal(path)


# -- damage


def test_few_truncated_slices_are_left_out_aloud(tmp_path):
    folder = write_dicom(tmp_path / "scan", LONG)
    path = folder / "IM0010.dcm"
    cut(path, path.stat().st_size - 10)
    values, notes = read(folder)
    assert (values == np.delete(LONG, 14, axis=0)).all()
    assert notes[0] == "1 image was left out, truncated or damaged: IM0010.dcm."
    assert notes[1].startswith("Slices are missing in 1 place")


@pytest.mark.parametrize("size", [140, 400, 700])
def test_a_slice_that_ends_in_its_header_is_left_out_aloud(tmp_path, size):
    folder = write_dicom(tmp_path / "scan", LONG)
    cut(folder / "IM0010.dcm", size)
    values, notes = read(folder)
    assert (values == np.delete(LONG, 14, axis=0)).all()
    assert "left out" in notes[0]


def test_many_truncated_slices_are_refused(tmp_path):
    folder = write_dicom(tmp_path / "scan", LONG)
    for number in (3, 4):
        path = folder / f"IM{number:04d}.dcm"
        cut(path, path.stat().st_size - 10)
    assert "found 2 of 24 truncated or damaged (IM0003.dcm, IM0004.dcm)" in refusal(folder)


def test_a_truncated_compressed_slice_is_seen(tmp_path):
    folder = write_dicom(tmp_path / "scan", LONG, syntax=RLELossless)
    path = folder / "IM0010.dcm"
    cut(path, path.stat().st_size - 20)
    values, notes = read(folder)
    assert (values == np.delete(LONG, 14, axis=0)).all()
    assert "IM0010.dcm" in notes[0]


def test_a_deflated_file_that_inflates_too_far_is_damaged(tmp_path, monkeypatch):
    folder = write_dicom(tmp_path / "scan", HU, syntax=DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr(dicom, "MAX_INFLATED", 500)
    assert "7 damaged DICOM files" in refusal(folder)


def test_no_damage_of_a_header_ends_in_anything_but_an_answer_or_a_refusal(tmp_path):
    rng = np.random.default_rng(0)
    original = save(header_of(HU, 0), tmp_path / "IM1.dcm").read_bytes()
    frames = write_frames(tmp_path / "frames.dcm", HU[:2]).read_bytes()
    folder = tmp_path / "scan"
    folder.mkdir()
    outcomes = set()
    for trial in range(150):
        content = bytearray(frames if trial % 3 == 0 else original)
        for place in rng.integers(132, len(content) - (200 if trial % 3 else 400), rng.integers(1, 12)):
            content[place] = int(rng.integers(256))
        (folder / "IM1.dcm").write_bytes(content)
        try:
            read(folder)
            outcomes.add("read")
        except SemeiaError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_deeply_nested_sequences_are_refused(tmp_path):
    path = save(header_of(HU, 0), tmp_path / "IM1.dcm")
    content = path.read_bytes()
    nest = b"".join(
        struct.pack("<HH2sHL", 0x5200, 0x9229, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
        for _ in range(3000)
    )
    at = content.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(content[:at] + nest)
    assert "damaged" in refusal(path)
