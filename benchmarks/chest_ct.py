"""`semeia lesions` on the part of a real chest CT that pyradiomics ships, which nothing was trained on.

    python benchmarks/chest_ct.py find [--weights uld]     is the known tumour found, and at how many boxes a slice
    python benchmarks/chest_ct.py formats                  the same scan as DICOM folder, ZIP, NIfTI and NRRD
    python benchmarks/chest_ct.py cost                     seconds by stage, and memory on 600 slices
    python benchmarks/chest_ct.py bones --data worlds/slabs     how dense bones are, beside those of a CT world

One scan with one tumour says that nothing is broken between a hospital's file and the boxes. It is no measure of how
often lesions in people are found.

Shapes      Z slices   H, W slice   n boxes
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pydicom
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from semeia import parts
from semeia.data.formats import deeplesion
from semeia.media.volumes import open_volume
from semeia.ops.boxes import iou
from semeia.predict.lesions import LesionFinder
from semeia.records import ScanReading

ENOUGH = 0.3
"""IoU from which a box is said to have found the tumour."""
RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Boxes a slice, over the whole scan."""
DENSER = (50, 10, 1, 0.1)
"""Percent of the pixels."""
KEYS = 300
"""Key slices of a world that are looked at."""
LONG = 600
"""Slices of the scan that memory is measured on."""


def tumour(scan: Any) -> dict[int, np.ndarray]:
    """Box (4,) of the tumour's mask on each of its slices, as the file counts slices and pixels; outer edges."""
    with open_volume(parts.fetch("chest-ct-tumour")) as labels:
        mask = labels.slab(0, labels.shape[0] - 1) > 0
    assert mask.shape == scan.shape
    found = {}
    for at in np.flatnonzero(mask.any((1, 2))):
        rows, columns = np.flatnonzero(mask[at].any(1)), np.flatnonzero(mask[at].any(0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        found[scan.own_slice(int(at))] = np.array(scan.own_box(int(at), box))
    return found


def find(weights: list[str]) -> None:
    """Print, for each number of boxes a slice, whether the tumour is among them."""
    torch.set_num_threads(2)
    print(
        "| weights | boxes a slice | score from | best IoU with the tumour | on slice | found |",
        "|---|---|---|---|---|---|",
        sep="\n",
    )
    with open_volume(parts.fetch("chest-ct")) as scan:
        truth = tumour(scan)
        for name in weights:
            started = time.perf_counter()
            finder = LesionFinder.load(name)
            reading = finder.find(scan, threshold=0.0)
            seconds = time.perf_counter() - started
            boxes = [(box.score, index, np.array(box.box)) for index, each in reading.slices.items() for box in each]
            boxes.sort(key=lambda each: -each[0])
            for rate in RATES:
                kept = boxes[: int(rate * scan.shape[0])]
                at = [(float(iou(box[None], truth[i][None])[0, 0]), i) for _, i, box in kept if i in truth]
                best, where = max(at, default=(0.0, "-"))
                print(f"| {name} | {rate:g} | {kept[-1][0]:.3f} | {best:.2f} | {where} | "
                      f"{'yes' if best >= ENOUGH else 'no'} |", flush=True)  # fmt: skip
            usual = finder.threshold()
            drawn = sum(score >= usual for score, *_ in boxes) / scan.shape[0]
            print(f"\n{name}: {seconds:.1f} s for {scan.shape[0]} slices; its usual threshold {usual:.3f} draws "
                  f"{drawn:.2f} boxes a slice\n")  # fmt: skip


def formats() -> None:
    """Print the largest difference of boxes in mm between the formats of one scan."""
    torch.set_num_threads(2)
    finder = LesionFinder.load()
    with tempfile.TemporaryDirectory() as folder, open_volume(parts.fetch("chest-ct")) as scan:
        hu = np.rint(scan.slab(0, scan.shape[0] - 1)).astype(np.int16)
        paths = {
            "NRRD, as shipped": parts.fetch("chest-ct"),
            "NRRD": as_nrrd(Path(folder) / "scan.nrrd", hu, scan.affine),
            "NIfTI": as_nifti(Path(folder) / "scan.nii.gz", hu, scan.affine),
            "DICOM folder": as_dicom(Path(folder) / "dicom", hu, scan.affine),
        }
        paths["ZIP of it"] = as_zip(Path(folder) / "scan.zip", paths["DICOM folder"])
        found = {name: read(finder, path) for name, path in paths.items()}
        first = in_mm(next(iter(found.values())))
        print("| format | lesions | largest difference of a corner, mm |\n|---|---|---|")
        for name, reading in found.items():
            here = in_mm(reading)
            apart = np.abs(here - first).max() if here.shape == first.shape and len(here) else float("nan")
            print(f"| {name} | {len(reading.lesions)} | {apart:.2g} |", flush=True)


def read(finder: LesionFinder, path: Path) -> ScanReading:
    """Search one file or folder, at the usual threshold."""
    with open_volume(path) as scan:
        return finder.find(scan)


def in_mm(reading: ScanReading) -> np.ndarray:
    """(n, 6) boxes of lesions in mm of the patient, the best score first."""
    return np.array([lesion.box_world_mm for lesion in reading.lesions])


def as_nrrd(path: Path, hu: np.ndarray, affine: np.ndarray) -> Path:
    """Write (Z, H, W) HU with their affine to LPS mm."""
    header = {"space": "left-posterior-superior", "space directions": affine[:3, :3].T, "space origin": affine[:3, 3]}
    nrrd.write(str(path), np.asfortranarray(hu.transpose(2, 1, 0)), header)
    return path


def as_nifti(path: Path, hu: np.ndarray, affine: np.ndarray) -> Path:
    """The same; NIfTI counts to the right and to the front."""
    image = nib.Nifti1Image(hu.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, dtype=np.int16)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def as_dicom(folder: Path, hu: np.ndarray, affine: np.ndarray) -> Path:
    """The same as one file a slice, as scanners write them."""
    folder.mkdir()
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    study, series, frame = (pydicom.uid.generate_uid() for _ in range(3))
    for k, pixels in enumerate(hu):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.Modality, ds.ImageType, ds.InstanceNumber = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.PatientName, ds.PatientID = "Nobody", "0"
        ds.ImagePositionPatient = [f"{v:.10g}" for v in affine[:3] @ [0, 0, k, 1]]
        ds.ImageOrientationPatient = [f"{v:.10g}" for v in np.r_[affine[:3, 0] / x, affine[:3, 1] / y]]
        ds.PixelSpacing, ds.SliceThickness = [f"{y:.10g}", f"{x:.10g}"], f"{z:.10g}"
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
        ds.Rows, ds.Columns = pixels.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.PixelData = np.clip(pixels.astype(np.int32) + 1024, 0, None).astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
    return folder


def as_zip(path: Path, folder: Path) -> Path:
    """A folder's files in a ZIP."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    return path


def cost() -> None:
    """Print seconds a slice by stage on the scan, and what memory scans of 2 and of 600 slices take."""
    torch.set_num_threads(2)
    finder = LesionFinder.load()
    spent: dict[str, float] = defaultdict(float)
    with open_volume(parts.fetch("chest-ct")) as scan:
        timed(scan, "slab", "read slices", spent)
        timed(finder.model.detector, "slice_maps", "trunk, slice by slice", spent)
        started = time.perf_counter()
        finder.find(scan)
        spent["all"] = time.perf_counter() - started
        print("| stage | ms a slice |\n|---|---|")
        rest = spent["all"] - sum(seconds for stage, seconds in spent.items() if stage != "all")
        for stage, seconds in {**spent, "the rest: collector, pyramid, proposals, regions, joining": rest}.items():
            print(f"| {stage} | {1000 * seconds / scan.shape[0]:.1f} |")
        hu = np.rint(scan.slab(0, scan.shape[0] - 1)).astype(np.int16)
        few, many = hu[:2], np.tile(hu, (-(-LONG // len(hu)), 1, 1))[:LONG]
        with tempfile.TemporaryDirectory() as folder:
            paths = [as_nifti(Path(folder) / f"{len(part)}.nii.gz", part, scan.affine) for part in (few, many)]
            small, large = (memory(path, Path(folder)) for path in paths)
    print(f"\nReading a scan, largest memory: {small:.0f} MiB for {len(few)} slices, {large:.0f} MiB for {LONG} of "
          f"{hu.shape[1]} x {hu.shape[2]}, which are {many.nbytes / 2**20:.0f} MiB as stored")  # fmt: skip


def bones(folder: str) -> None:
    """Print how dense what is above 150 HU is, in the scan and in key slices of a world."""
    keys = deeplesion.read(folder).keys
    chosen = [keys[i * len(keys) // KEYS] for i in range(KEYS)]
    with open_volume(parts.fetch("chest-ct")) as scan:
        real = [scan.slab(z, z)[0] for z in range(scan.shape[0])]
    world = [key.series.read(key.slice) for key in chosen]
    print(f"| above 150 HU, mean of slices | {' | '.join(f'{q} %' for q in DENSER)} are denser than |")
    print("|---" * (len(DENSER) + 1) + "|")
    for name, slices in (("the scan", real), (f"{KEYS} key slices of {folder}", world)):
        dense = [np.percentile(hu[hu > 150], [100 - q for q in DENSER]) for hu in slices if (hu > 150).any()]
        print(f"| {name} | {' | '.join(f'{value:.0f}' for value in np.mean(dense, 0))} |")


def memory(scan: Path, folder: Path) -> float:
    """Largest resident memory of a process that reads a scan, MiB."""
    code = (
        "import resource, sys; from semeia.predict.lesions import lesions; lesions(sys.argv[1]);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(scan)], capture_output=True, text=True, check=True, cwd=folder
    )
    return float(done.stdout.split()[-1])


def timed(of: Any, name: str, stage: str, spent: dict[str, float]) -> None:
    """Count the seconds of a method of an object."""
    method = getattr(of, name)

    def measured(*args: Any, **more: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*args, **more)
        finally:
            spent[stage] += time.perf_counter() - started

    setattr(of, name, measured)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("find", "formats", "cost", "bones"))
    parser.add_argument("--weights", nargs="+", default=["uld"], help="of find: bundled names or checkpoint folders")
    parser.add_argument("--data", default="worlds/slabs", help="of bones: a CT world")
    args = parser.parse_args()
    if args.what == "find":
        find(args.weights)
    elif args.what == "bones":
        bones(args.data)
    else:
        {"formats": formats, "cost": cost}[args.what]()


if __name__ == "__main__":
    main()
