"""Candidate lesions as DICOM objects, opened again through highdicom."""

import sys

import numpy as np
import pydicom
import pytest

from semeia.media.label_map import label_slices
from semeia.media.lesion_dicom import check_dicom, write_report, write_segmentation
from semeia.media.lesion_tables import as_coco, tabled_scan
from semeia.media.volumes import open_volume
from semeia.records import Lesion, ScanReading, SemeiaError, SliceBox

from .scan_makers import (
    FRAME,
    ORIGIN,
    SERIES,
    SPACING,
    STUDY,
    phantom,
    write_dicom,
    write_frames,
    write_nifti,
    write_zip,
)

highdicom = pytest.importorskip("highdicom")

FIRST, SECOND = (2.0, 3.0, 8.0, 9.0), (1.0, 1.0, 4.0, 4.0)
"""Boxes of two lesions in the axial view: slices 2 to 4, and slice 5."""


def reading_of(scan):
    slices = {scan.own_slice(z): (SliceBox(scan.own_box(z, FIRST), 0.9 - 0.1 * abs(z - 3)),) for z in (2, 3, 4)}
    slices[scan.own_slice(5)] = (SliceBox(scan.own_box(5, SECOND), 0.4),)
    spans = [tuple(sorted((scan.own_slice(a), scan.own_slice(b)))) for a, b in ((2, 4), (5, 5))]
    lesions = (
        Lesion(0.9, spans[0], scan.to_world(2, 4, FIRST), 4.5, 3.0),
        Lesion(0.4, spans[1], scan.to_world(5, 5, SECOND), 2.25, 1.5),
    )
    return ScanReading("satr", scan.source, slices, lesions)


def upside_down(ds, k):
    """A patient who lies on the belly: rows and columns run against the axial view."""
    ds.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]


def on_its_side(ds, k):
    """Rows run to the back and columns to the left, so that both are swapped against the axial view."""
    ds.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]


@pytest.fixture(params=["plain", "upside down", "on its side", "frames", "zip"])
def opened(request, tmp_path):
    hu = phantom((7, 12, 10))
    if request.param == "frames":
        path = write_frames(tmp_path / "frames.dcm", hu, order=[3, 1, 5, 0, 2, 6, 4])
    else:
        change = {"upside down": upside_down, "on its side": on_its_side}.get(request.param)
        path = write_dicom(tmp_path / "scan", hu, change=change)
    if request.param == "zip":
        path = write_zip(tmp_path / "scan.zip", path)
    with open_volume(path) as scan:
        yield scan, reading_of(scan), tmp_path


@pytest.fixture
def plain(tmp_path):
    with open_volume(write_dicom(tmp_path / "scan", phantom((7, 12, 10)))) as scan:
        yield scan, reading_of(scan), tmp_path


def world_of(volume):
    """LPS places and values of the set voxels of a highdicom volume."""
    places = np.argwhere(volume.array > 0)
    affine = volume.affine
    return (affine[:3, :3] @ places.T).T + affine[:3, 3], volume.array[tuple(places.T)]


def test_segments_lie_where_the_boxes_do(opened):
    scan, reading, folder = opened
    write_segmentation(reading, scan, folder / "seg.dcm")
    seg = highdicom.seg.segread(folder / "seg.dcm")
    assert seg.number_of_segments == 2
    assert seg.segmentation_type == highdicom.seg.SegmentationTypeValues.BINARY
    assert (seg.Rows, seg.Columns) == (pydicom.dcmread(scan.files[0]).Rows, pydicom.dcmread(scan.files[0]).Columns)
    assert (seg.FrameOfReferenceUID, seg.StudyInstanceUID) == (FRAME, STUDY)
    assert seg.SeriesInstanceUID != SERIES
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert list(measures.PixelSpacing) == [SPACING[1], SPACING[0]]

    found, values = world_of(seg.get_volume(combine_segments=True))
    expected = []
    for z, labels in label_slices(reading, scan):
        for row, column in np.argwhere(labels):
            place = scan.affine[:3] @ (column, row, z, 1)
            expected.append((*place.round(3), labels[row, column]))
    assert sorted((*place.round(3), value) for place, value in zip(found, values, strict=True)) == sorted(expected)


def test_frames_refer_to_the_images_of_their_slices(tmp_path):
    with open_volume(write_dicom(tmp_path / "scan", phantom((7, 12, 10)))) as scan:
        write_segmentation(reading_of(scan), scan, tmp_path / "seg.dcm")
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    heights = {}
    for group in seg.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        heights.setdefault(number, {})[source] = float(group.PlanePositionSequence[0].ImagePositionPatient[2])
    assert heights[1] == {f"{SERIES}.{z + 1}": ORIGIN[2] + z * SPACING[2] for z in (2, 3, 4)}
    assert heights[2] == {f"{SERIES}.6": ORIGIN[2] + 5 * SPACING[2]}


def test_segments_say_what_they_are_and_that_they_are_not_for_clinical_use(plain):
    scan, reading, folder = plain
    write_segmentation(reading, scan, folder / "seg.dcm")
    seg = highdicom.seg.segread(folder / "seg.dcm")
    first = seg.get_segment_description(1)
    assert first.segmented_property_type.meaning == "Lesion"
    assert first.segmented_property_category.value == "49755003"
    assert first.algorithm_type == highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC
    assert first.segment_label == "Candidate lesion 1, score 0.90"
    assert "weights" in first.algorithm_identification.parameters
    for words in (seg.SeriesDescription, seg.ContentDescription, first.algorithm_identification.name):
        assert "not for clinical use" in words


def test_the_report_measures_each_lesion_where_it_is_largest(opened):
    scan, reading, folder = opened
    write_report(reading, scan, folder / "sr.dcm")
    report = highdicom.sr.srread(folder / "sr.dcm")
    assert report.StudyInstanceUID == STUDY
    groups = report.content.get_planar_roi_measurement_groups()
    assert [group.finding_type.meaning for group in groups] == ["Lesion", "Lesion"]
    for group, z, box, lesion in zip(groups, (3, 5), (FIRST, SECOND), reading.lesions, strict=True):
        values = {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}
        assert values["Long axis"] == (lesion.long_mm, "mm")
        assert values["Short axis"] == (lesion.short_mm, "mm")
        assert values["Detector score, uncalibrated"] == (lesion.score, "1")
        outline = group.roi.value
        assert (outline[0] == outline[-1]).all()
        assert (*outline.min(0), *outline.max(0)) == scan.own_box(z, box)
        (source,) = group.roi.ContentSequence
        reference = source.ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == scan.uids.instances[z]
        frame = reference.get("ReferencedFrameNumber")
        assert frame == (scan.own_slice(z) + 1 if len(set(scan.files)) == 1 else None)


def test_the_report_is_preliminary_and_not_for_clinical_use(plain):
    scan, reading, folder = plain
    write_report(reading, scan, folder / "sr.dcm")
    report = highdicom.sr.srread(folder / "sr.dcm")
    assert (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag) == (
        "PARTIAL", "PRELIMINARY", "UNVERIFIED",
    )  # fmt: skip
    assert "not for clinical use" in report.SeriesDescription
    assert "not for clinical use" in str(report)


def test_outlines_are_where_segments_are(tmp_path):
    """Sub-pixel places of the report and voxels of the segmentation through highdicom's own geometry."""
    with open_volume(write_dicom(tmp_path / "scan", phantom((7, 12, 10)), change=upside_down)) as scan:
        reading = reading_of(scan)
        write_report(reading, scan, tmp_path / "sr.dcm")
        low = np.array(scan.to_world(3, 3, FIRST))
        image = pydicom.dcmread(scan.files[3])
    transform = highdicom.spatial.ImageToReferenceTransformer.for_image(image)
    group = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_planar_roi_measurement_groups()[0]
    corners = transform(group.roi.value)
    np.testing.assert_allclose(corners.min(0)[:2], low[:2], atol=1e-4)
    np.testing.assert_allclose(corners.max(0)[:2], low[3:5], atol=1e-4)
    np.testing.assert_allclose(corners[:, 2], low[[2, 5]].mean(), atol=1e-4)


def test_a_lesion_has_one_tracking_identifier_in_both_and_again(plain):
    scan, reading, folder = plain
    for name in ("a", "b"):
        write_segmentation(reading, scan, folder / f"seg_{name}.dcm")
    write_report(reading, scan, folder / "sr.dcm")
    first, again = (highdicom.seg.segread(folder / f"seg_{name}.dcm") for name in ("a", "b"))
    uids = [first.get_segment_description(number).tracking_uid for number in (1, 2)]
    assert uids == [again.get_segment_description(number).tracking_uid for number in (1, 2)]
    assert first.SOPInstanceUID != again.SOPInstanceUID
    groups = highdicom.sr.srread(folder / "sr.dcm").content.get_planar_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == uids
    assert len(set(uids)) == 2


def test_no_more_lesions_are_written_than_asked_for(plain):
    scan, reading, folder = plain
    write_segmentation(reading, scan, folder / "seg.dcm", most=1)
    write_report(reading, scan, folder / "sr.dcm", most=1)
    assert highdicom.seg.segread(folder / "seg.dcm").number_of_segments == 1
    assert len(highdicom.sr.srread(folder / "sr.dcm").content.get_planar_roi_measurement_groups()) == 1


def test_a_lesion_that_better_ones_hide_has_no_segment(tmp_path):
    with open_volume(write_dicom(tmp_path / "scan", phantom((7, 12, 10)))) as scan:
        own, found = scan.own_slice(3), ((0.9, FIRST), (0.5, (3.9, 4.9, 5.1, 6.1)), (0.3, (8, 9, 10, 11)))
        lesions = tuple(Lesion(score, (own, own), scan.to_world(3, 3, box), 1, 1) for score, box in found)
        boxes = tuple(SliceBox(scan.own_box(3, box), score) for score, box in found)
        write_segmentation(ScanReading("w", "s", {own: boxes}, lesions), scan, tmp_path / "seg.dcm")
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    labels = [seg.get_segment_description(number).segment_label for number in seg.segment_numbers]
    assert labels == ["Candidate lesion 1, score 0.90", "Candidate lesion 3, score 0.30"]


def test_coco_names_slices_by_their_instances(tmp_path):
    with open_volume(write_dicom(tmp_path / "scan", phantom((7, 12, 10)))) as scan:
        told = as_coco([tabled_scan(reading_of(scan), scan)])
    # Slices are numbered from the head down in these files, and uids from the feet up.
    assert [(image["slice"], image["file_name"]) for image in told["images"]] == [
        (1, f"{SERIES}.6"), (2, f"{SERIES}.5"), (3, f"{SERIES}.4"), (4, f"{SERIES}.3"),
    ]  # fmt: skip


@pytest.mark.parametrize("write", [write_segmentation, write_report])
def test_other_formats_are_refused(tmp_path, write):
    with open_volume(write_nifti(tmp_path / "s.nii", phantom((7, 12, 10)))) as scan:
        with pytest.raises(SemeiaError, match=r"s\.nii: expected DICOM images to write a\.dcm for"):
            write(reading_of(scan), scan, tmp_path / "a.dcm")
        with pytest.raises(SemeiaError, match="expected DICOM images"):
            check_dicom(tmp_path / "a.dcm", scan.uids, scan=scan.source)
    assert not (tmp_path / "a.dcm").exists()


@pytest.mark.parametrize("write", [write_segmentation, write_report])
def test_nothing_found_is_refused_in_words(plain, write):
    scan, _, folder = plain
    with pytest.raises(SemeiaError, match="no candidate lesion to write"):
        write(ScanReading("w", "s", {}, ()), scan, folder / "a.dcm")
    assert not (folder / "a.dcm").exists()


@pytest.mark.parametrize("write", [write_segmentation, write_report])
def test_headers_that_lack_what_is_needed_are_refused_in_one_line(tmp_path, write):
    def cut(ds, k):
        del ds.StudyInstanceUID

    words = r"scan: its headers do not allow a\.dcm to be made"
    with (
        open_volume(write_dicom(tmp_path / "scan", phantom((7, 12, 10)), change=cut)) as scan,
        pytest.raises(SemeiaError, match=words) as caught,
    ):
        write(reading_of(scan), scan, tmp_path / "a.dcm")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.dcm").exists()


def test_a_missing_library_is_told_with_the_way_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(SemeiaError, match=r"pip install 'semeia\[dicom\]'"):
        check_dicom(tmp_path / "a.dcm")


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(SemeiaError, match=r"ends in \.dcm"):
        check_dicom(tmp_path / "a.seg")
