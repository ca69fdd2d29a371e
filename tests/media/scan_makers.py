"""Small scans in every format, written from one phantom in the axial view, and read again.

Shapes      S slices   H rows   W columns
"""

import zipfile
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from semeia.media.volumes import open_volume

ORIGIN = (-30.0, -20.0, 100.0)
SPACING = (0.75, 0.5, 2.5)  # x, y, z
STUDY, SERIES, FRAME = "1.2.3.4", "1.2.3.4.1000", "1.2.3.4.5"
LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def phantom(shape=(7, 12, 10), seed=0):
    """(S, H, W) int16 HU in which no axis looks like another: air, a body with noise, and steps along each axis."""
    z, y, x = np.indices(shape)
    body = 20 + 10 * x + 3 * y - 40 * z + np.random.default_rng(seed).integers(-20, 20, shape)
    inside = (np.abs(x - shape[2] / 2) < shape[2] / 3) & (np.abs(y - shape[1] / 2) < shape[1] / 3)
    return np.where(inside, body, -1000).astype(np.int16)


def affine_of(spacing=SPACING, origin=ORIGIN):
    """(4, 4), voxel (x, y, z) of the axial view to LPS mm."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def reordered(hu, affine, *, order=(0, 1, 2), flips=(False, False, False)):
    """The phantom with stored axis a holding the axial axis order[a] (x, y, z), turned round where flips[a] says so.

    Returns:
        Voxels (I, J, K) and their affine to LPS mm.
    """
    voxels = hu.transpose(2, 1, 0).transpose(order)
    to_axial = np.zeros((4, 4))
    to_axial[3, 3] = 1
    for stored, (axis, flipped) in enumerate(zip(order, flips, strict=True)):
        side = voxels.shape[stored]
        to_axial[axis, stored] = -1 if flipped else 1
        to_axial[axis, 3] = side - 1 if flipped else 0
    steps = tuple(slice(None, None, -1 if flipped else 1) for flipped in flips)
    return voxels[steps], affine @ to_axial


def write_nifti(path, hu, *, affine=None, order=(0, 1, 2), flips=(False, False, False), dtype=np.int16, change=None):
    """``change`` is called with the image before it is saved."""
    voxels, affine = reordered(hu, affine_of() if affine is None else affine, order=order, flips=flips)
    image = nib.Nifti1Image(voxels.astype(dtype), LPS_RAS @ affine, dtype=dtype)
    image.header.set_xyzt_units("mm")
    if change is not None:
        change(image)
    nib.save(image, path)
    return path


def write_nrrd(path, hu, *, order=(0, 1, 2), flips=(False, False, False), space="left-posterior-superior", **header):
    """``header`` adds fields or replaces them; underscores in their names stand for spaces, None leaves one out."""
    voxels, affine = reordered(hu, affine_of(), order=order, flips=flips)
    signs = {"left-posterior-superior": (1, 1, 1), "right-anterior-superior": (-1, -1, 1)}.get(space, (1, 1, 1))
    affine = np.diag([*signs, 1]) @ affine
    fields = {
        "space": space,
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
        "encoding": "gzip",
    } | {name.replace("_", " "): value for name, value in header.items()}
    fields = {name: value for name, value in fields.items() if value is not None}
    nrrd.write(str(path), np.asfortranarray(voxels), fields)
    return path


def header_of(hu, k, *, spacing=SPACING, origin=ORIGIN):
    """A CT image of slice k (H, W) of the axial view, stored as most scanners do."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"{SERIES}.{k + 1}"
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, SERIES, FRAME
    ds.SeriesDescription, ds.PatientName, ds.PatientID = "Thorax 2.5", "Nobody", "0"
    ds.InstanceNumber, ds.AcquisitionNumber = len(hu) - k, 1  # scanned from the head down
    ds.ImagePositionPatient = [origin[0], origin[1], origin[2] + k * spacing[2]]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [spacing[1], spacing[0]], 3.0
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
    return put_pixels(ds, hu[k].astype(np.int32) + 1024)


def put_pixels(ds, stored, *, signed=False, bits=16):
    """Put stored values (H, W) or (frames, H, W) into a header."""
    order = ">" if ds.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    ds.Rows, ds.Columns = stored.shape[-2:]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, ds.get("PhotometricInterpretation", "MONOCHROME2")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, int(signed)
    ds.PixelData = stored.astype(f"{order}{'i' if signed else 'u'}{bits // 8}").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def write_dicom(folder, hu, *, change=None, syntax=ExplicitVRLittleEndian, names="IM{:04d}.dcm", **lies):
    """Write a series; ``change(ds, k)`` edits the image of slice k and may give False to leave it out."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(len(hu)):
        ds = header_of(hu, k, **lies)
        if syntax != ds.file_meta.TransferSyntaxUID and syntax in (
            ExplicitVRBigEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian,
        ):  # fmt: skip
            ds.file_meta.TransferSyntaxUID = syntax
            put_pixels(ds, hu[k].astype(np.int32) + 1024)
        if change is not None and change(ds, k) is False:
            continue
        if syntax.is_compressed and syntax != DeflatedExplicitVRLittleEndian:
            ds.compress(syntax, generate_instance_uid=False)
        save(ds, folder / names.format(len(hu) - k))
    return folder


def save(ds, path):
    ds.save_as(path, enforce_file_format=True)
    return path


def write_frames(path, hu, *, order=None, change=None):
    """An enhanced CT file with a frame for each slice, stored in ``order``."""
    order = range(len(hu)) if order is None else order
    ds = header_of(hu, 0)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
                 "RescaleIntercept", "RescaleType"):  # fmt: skip
        delattr(ds, name)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = EnhancedCTImageStorage
    ds.NumberOfFrames = len(hu)
    shared, measures, directions, values = Dataset(), Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [SPACING[1], SPACING[0]], 3.0
    directions.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 1, -1024, "HU"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([directions])
    shared.PixelValueTransformationSequence = Sequence([values])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for k in order:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [ORIGIN[0], ORIGIN[1], ORIGIN[2] + k * SPACING[2]]
        group.PlanePositionSequence = Sequence([place])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    put_pixels(ds, hu[list(order)].astype(np.int32) + 1024)
    if change is not None:
        change(ds)
    return save(ds, path)


def write_zip(path, folder, *, below="scan"):
    """Pack a folder or a file."""
    folder = Path(folder)
    files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else [folder]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, Path(below) / (file.relative_to(folder) if folder.is_dir() else file.name))
    return path


def edit(path, change):
    """Change one written image."""
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
    return path


def read(path, **options):
    """All values and the notes of a scan."""
    with open_volume(path, **options) as scan:
        return scan.slab(0, scan.shape[0] - 1), scan.notes
