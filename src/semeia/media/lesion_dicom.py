"""Candidate lesions as DICOM objects beside the images that they were found in: SEG and SR, by highdicom.

The segmentation (SEG, binary) holds one segment a lesion. A box is no segmentation: on each slice a segment is the
ellipse that touches the four sides of the lesion's box, as in ``label_map``. The report (SR, TID 1500 in a
Comprehensive 3D SR) holds for each lesion the box on the slice where it is largest, long and short axis, and the
detector's score. A lesion has one tracking identifier in both. Both say that they are not for clinical use, as far as
the standard has room; the report is preliminary, partial and unverified.

Shapes      P slices with lesions   H, W pixels of an image
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from semeia.files import check_writable, whole_file
from semeia.media.dicom import UNREADABLE
from semeia.media.label_map import label_slices, own_view
from semeia.media.lesion_boxes import Corners, PlacedBox, key_boxes, placed_boxes
from semeia.media.stored import ScanUids
from semeia.media.volumes import Volume
from semeia.records import Lesion, ScanReading, SemeiaError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOST = 64
"""Lesions in a file, the best ones; viewers list segments one by one."""
HINT = "writing DICOM needs highdicom; install it with: pip install 'semeia[dicom]'"
NOTICE = "Candidate lesions, not for clinical use"
"""At most 64 characters, as the standard allows for series and content descriptions."""
MAKER, MODEL, SERIAL = "Semeia", "Semeia candidate lesions, not for clinical use", "none"
SCORE = ("score", "99SEMEIA", "Detector score, uncalibrated")
"""Value, scheme and meaning of a code of this project's own; the standard has none for it."""
_MISSING = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
            "StudyTime", "ReferringPhysicianName")  # fmt: skip
"""What may be empty by the standard, and is absent in scans that were made anonymous."""


def write_segmentation(reading: ScanReading, scan: Volume, path: str | Path, *, most: int = MOST) -> None:
    """Write candidate lesions as DICOM SEG, whole or not at all.

    Args:
        reading: Of the scan.
        scan: Open, and read from DICOM.
        path: The file to write.
        most: Lesions to write, the best ones.

    Raises:
        SemeiaError: highdicom is missing, the scan is no DICOM, there is no lesion, the images' headers lack what a SEG
            needs, or the file cannot be written.
    """
    _write(path, _segmentation, reading, scan, most=most)


def write_report(reading: ScanReading, scan: Volume, path: str | Path, *, most: int = MOST) -> None:
    """Write candidate lesions as DICOM SR, whole or not at all; arguments and errors as of ``write_segmentation``."""
    _write(path, _report, reading, scan, most=most)


def check_dicom(path: str | Path, uids: ScanUids | None = None, *, scan: str | None = None) -> None:
    """Make sure, before long work begins, that a DICOM object can be written to ``path``.

    Args:
        path: The file to write.
        uids: Of the scan, where it is open already.
        scan: Its name, for the message; None where it is not open yet.

    Raises:
        SemeiaError: highdicom is missing, the suffix is not ``.dcm``, the scan is no DICOM, or the file cannot be
            written.
    """
    suffix = Path(path).suffix.lower()
    if suffix != ".dcm":
        raise SemeiaError(f"{path}: expected a DICOM file that ends in .dcm, found {suffix or 'no suffix'!r}")
    _highdicom()
    if scan is not None and uids is None:
        raise SemeiaError(f"{scan}: expected DICOM images to write {Path(path).name} for, found another format; "
                          "write a label map (.nii.gz) or a table instead")  # fmt: skip
    check_writable(path)


def _highdicom() -> Any:
    try:
        import highdicom
    except ImportError as error:
        raise SemeiaError(HINT) from error
    return highdicom


def _write(path: str | Path, make: Callable[..., Any], reading: ScanReading, scan: Volume, *, most: int) -> None:
    check_dicom(path, scan.uids, scan=reading.scan)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values of the scan's own headers, such as names of one word
            made = make(_highdicom(), reading, scan, most)
    except (*UNREADABLE, RuntimeError) as error:
        words = " ".join(str(error).split())
        raise SemeiaError(f"{reading.scan}: its headers do not allow {Path(path).name} to be made ({words})") from error
    with whole_file(path) as part:
        made.save_as(part, enforce_file_format=True)


# The segmentation ----------------------------------------------------------------------------------------------------


def _segmentation(hd: Any, reading: ScanReading, scan: Volume, most: int) -> Any:
    places, frames = [], []
    for z, labels in label_slices(reading, scan, most=most):
        places.append(z)
        frames.append(own_view(scan.grid, labels))
    present = np.unique(np.stack(frames)).tolist() if frames else [0]
    # A lesion that better ones hide has no voxels, and a segment needs some: numbers close up, labels keep theirs.
    numbers = [number for number in present if number]
    if not numbers:
        raise _nothing(reading, "SEG", "segment")
    pixels = np.searchsorted(present, np.stack(frames)).astype(np.uint8 if len(numbers) < 256 else np.uint16)
    headers = _headers(scan, places)
    sources = list({id(header): header for header in headers.values()}.values())
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,  # (P, H, W)
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(hd, reading, scan, place, number) for place, number in enumerate(numbers, 1)],
        plane_positions=[_plane_position(hd, scan, z) for z in places] if _many(sources[0]) else None,
        series_number=_series_number(sources, 1),
        content_label="LESION_CANDIDATE",
        content_description="Candidate lesions: ellipses in boxes, not for clinical use",
        device_serial_number=SERIAL,
        manufacturer=MAKER,
        **_common(sources, hd),
    )


def _segment(hd: Any, reading: ScanReading, scan: Volume, place: int, number: int) -> Any:
    lesion = reading.lesions[number - 1]
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MODEL, family=codes.DCM.ArtificialIntelligence, version=version("semeia"), source=MAKER,
        parameters={"weights": reading.weights, "shape": "ellipse in the box on each slice"},
    )  # fmt: skip
    return hd.seg.SegmentDescription(
        segment_number=place,
        segment_label=f"Candidate lesion {number}, score {lesion.score:.2f}",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=_tracking_uid(reading, scan, lesion),
        tracking_id=_tracking_id(number),
    )


def _plane_position(hd: Any, scan: Volume, z: int) -> Any:
    """Where a frame of a file with many lies."""
    grid = scan.grid
    position = (grid.affine @ (0, 0, z, 1))[:3]
    if grid.offsets is not None:
        position = position + grid.offsets[z]
    return hd.PlanePositionSequence(hd.CoordinateSystemNames.PATIENT, [round(v, 6) for v in position.tolist()])


# The report ----------------------------------------------------------------------------------------------------------


def _report(hd: Any, reading: ScanReading, scan: Volume, most: int) -> Any:
    keys = {number: key for number, key in sorted(key_boxes(placed_boxes(reading, scan)).items()) if number <= most}
    if not keys:
        raise _nothing(reading, "SR", "measured region")
    headers = _headers(scan, sorted({key.z for key in keys.values()}))
    sources = list({id(header): header for header in headers.values()}.values())
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(entropy_srcs=[MAKER, version("semeia")]), name=MODEL, manufacturer_name=MAKER,
    )  # fmt: skip
    context = hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )
    content = hd.sr.MeasurementReport(
        observation_context=context,
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=[_measured(hd, reading, scan, key, headers[key.z]) for key in keys.values()],
        title=codes.DCM.ImagingMeasurementReport,
        # highdicom describes images of one frame alone in this list; regions refer to frames themselves.
        referenced_images=None if _many(sources[0]) else sources,
    )
    return hd.sr.Comprehensive3DSR(
        evidence=sources,
        content=content[0],
        series_number=_series_number(sources, 2),
        is_complete=False,
        is_final=False,
        is_verified=False,
        manufacturer=MAKER,
        **_common(sources, hd),
    )


def _measured(hd: Any, reading: ScanReading, scan: Volume, key: PlacedBox, image: Dataset) -> Any:
    assert key.lesion is not None
    lesion = reading.lesions[key.lesion - 1]
    frames = [key.own_slice + 1] if _many(image) else None
    region = hd.sr.ImageRegion(
        graphic_type=hd.sr.GraphicTypeValues.POLYLINE,
        graphic_data=_outline(key.own_box, int(image.Columns), int(image.Rows)),
        source_image=hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID, frames),
    )
    millimetre = codes.UCUM.Millimeter
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=_tracking_uid(reading, scan, lesion), identifier=_tracking_id(key.lesion)
        ),
        referenced_region=region,
        finding_type=codes.SCT.Lesion,
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        algorithm_id=hd.sr.AlgorithmIdentification(MODEL, version("semeia"), [f"weights: {reading.weights}"]),
        measurements=[
            hd.sr.Measurement(codes.SCT.LongAxis, round(lesion.long_mm, 2), millimetre),
            hd.sr.Measurement(codes.SCT.ShortAxis, round(lesion.short_mm, 2), millimetre),
            hd.sr.Measurement(hd.sr.CodedConcept(*SCORE), round(lesion.score, 4), codes.UCUM.NoUnits),
        ],
    )


def _outline(box: Corners, columns: int, rows: int) -> np.ndarray:
    """(5, 2) column and row of the closed outline; DICOM counts from the outer edge of the first pixel, as boxes do."""
    x0, x1 = np.clip(box[::2], 0, columns).tolist()
    y0, y1 = np.clip(box[1::2], 0, rows).tolist()
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])


# What both share -----------------------------------------------------------------------------------------------------


def _headers(scan: Volume, slices: Sequence[int]) -> dict[int, Dataset]:
    """Slice -> header of its image; slices of one file share one."""
    read: dict[Path, Dataset] = {}
    for z in slices:
        if scan.files[z] not in read:
            header = pydicom.dcmread(scan.files[z], stop_before_pixels=True, force=True)
            for keyword in _MISSING:
                if keyword not in header:
                    setattr(header, keyword, None if keyword.endswith(("Date", "Time")) else "")
            read[scan.files[z]] = header
    return {z: read[scan.files[z]] for z in slices}


def _many(header: Dataset) -> bool:
    """Whether a file holds frames."""
    return "PerFrameFunctionalGroupsSequence" in header or int(header.get("NumberOfFrames") or 1) > 1


def _nothing(reading: ScanReading, kind: str, content: str) -> SemeiaError:
    return SemeiaError(f"{reading.scan}: no candidate lesion to write; a DICOM {kind} holds at least one {content}")


def _common(sources: Sequence[Dataset], hd: Any) -> dict[str, Any]:
    return {
        "series_instance_uid": hd.UID(),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer_model_name": MODEL,
        "software_versions": version("semeia"),
        "series_description": NOTICE,
    }


def _series_number(sources: Sequence[Dataset], step: int) -> int:
    """Beside the images' own in lists of viewers."""
    return 100 * int(sources[0].get("SeriesNumber") or 0) + step


def _tracking_id(number: int) -> str:
    return f"Semeia candidate lesion {number}"


def _tracking_uid(reading: ScanReading, scan: Volume, lesion: Lesion) -> str:
    """The same for the same lesion of the same images and weights, in the segmentation and in the report."""
    series = "" if scan.uids is None else scan.uids.series
    where = ",".join(f"{v:.2f}" for v in (*lesion.box_world_mm, *lesion.slices))
    return str(generate_uid(entropy_srcs=[MAKER, series, reading.weights, where]))
