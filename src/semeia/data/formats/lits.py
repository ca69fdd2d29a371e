"""LiTS, the liver tumour segmentation benchmark: CT of bellies with a mask of liver and tumours.

    volume-0.nii          segmentation-0.nii          label 1 liver, 2 tumour
    volume-1.nii.gz       segmentation-1.nii.gz       packed or not, in any depth of folders

HU are clipped to [-200, 250] and brought to [-1, 1]; slices show the liver, labels above 0, with more than 2,500 pixels
[KNOWN-PRED: GVS]. GVS also resampled slices to 1 mm. Here thinner slices are passed over until they lie 1 mm apart;
thicker ones stay as they are, since between them nothing was seen. A scan without a mask (LiTS keeps back those of its
test) has no known liver and gives no slices.

Access to LiTS has terms; nothing of it is here.

Shapes      S slices   H, W pixels   I, J, K stored voxels
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semeia.data.formats.masked_slices import Areas, Choice, MaskedSlice, chosen
from semeia.data.formats.nifti_files import SUFFIXES, NiftiFile, check_grid, open_nifti, write_nifti
from semeia.files import writable_folder
from semeia.records import SemeiaError

WINDOW = (-200.0, 250.0)
"""HU."""
LIVER, TUMOUR = 1, 2
STEP_MM = 1.0
CHOICE = Choice(least_organ=2500)
_NAME = re.compile(r"(volume|segmentation)-(\d+)\.nii(?:\.gz)?")


@dataclass(frozen=True)
class Case:
    """One scan; ``mask`` is None where it is kept back. In LiTS a scan is a patient, as far as is told."""

    name: str
    image: Path
    mask: Path | None

    @property
    def patient(self) -> str:
        """Such as ``volume-7``."""
        return self.name


@dataclass(frozen=True)
class Lits:
    """The scans of a folder, by number."""

    folder: Path
    cases: tuple[Case, ...]

    @property
    def patients(self) -> tuple[str, ...]:
        """Names of patients."""
        return tuple(case.patient for case in self.cases)


def read(folder: str | Path) -> Lits:
    """Find the scans of a folder; no voxel is read.

    Raises:
        SemeiaError: There is none, one number has two files, or a segmentation has no scan.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SemeiaError(f"{folder}: not found; expected the folder of LiTS")
    found: dict[str, dict[int, Path]] = {"volume": {}, "segmentation": {}}
    for file in sorted(file for suffix in SUFFIXES for file in folder.rglob(f"*{suffix}")):
        if (named := _NAME.fullmatch(file.name)) is None:
            continue
        kind, number = named[1], int(named[2])
        if number in found[kind]:
            raise SemeiaError(f"{file}: the same {kind} is in {found[kind][number]} too; name the folder of one")
        found[kind][number] = file
    images, masks = found["volume"], found["segmentation"]
    if not images:
        raise SemeiaError(f"{folder}: expected volume-N.nii and segmentation-N.nii, found none")
    if alone := sorted(set(masks) - set(images)):
        raise SemeiaError(f"{masks[alone[0]]}: expected volume-{alone[0]}.nii with it, found none; copy it again")
    return Lits(folder, tuple(Case(f"volume-{n}", images[n], masks.get(n)) for n in sorted(images)))


def slices(
    cases: Sequence[Case],
    *,
    window: tuple[float, float] = WINDOW,
    step_mm: float | None = STEP_MM,
    choice: Choice = CHOICE,
    matched: Sequence[Case] | None = None,
) -> Iterator[MaskedSlice]:
    """Slices of livers with tumours and without, scan by scan; each scan is read slice by slice.

    Args:
        cases: Of one split.
        window: HU that become -1 and 1.
        step_mm: Least distance of slices; None takes every slice.
        choice: What is taken.
        matched: Cases whose lesion slices say where normal slices may lie; ``cases`` by default. Those of the training
            keep a test split from having a say.

    Raises:
        SemeiaError: A file is missing or damaged, or a mask has another shape, another affine or unknown labels.
    """
    every = {case.name: case for case in (*cases, *(matched or ())) if case.mask is not None}
    surveyed = {name: areas(case) for name, case in every.items()}
    base = surveyed if matched is None else {case.name: surveyed[case.name] for case in matched if case.name in every}
    for case in (case for case in cases if case.name in every):
        image, mask = open_nifti(case.image), _mask(case)
        step = 1 if step_mm is None else max(1, round(step_mm / image.spacing[2]))
        for z, kind in chosen(base | {case.name: surveyed[case.name]}, choice)[case.name]:
            if z % step:
                continue
            picture = scaled(image.axial(z, z)[0], window)
            yield MaskedSlice(case.patient, case.name, z, kind, picture, mask.axial(z, z)[0] == TUMOUR)


def areas(case: Case) -> Areas:
    """Pixels of liver with its tumours, and of tumours, on each slice; positions run from 0 to 1 along the liver.

    Raises:
        SemeiaError: The mask is damaged, has another shape or affine than its scan, or unknown labels.
    """
    mask = _mask(case)
    liver, tumour = np.zeros(mask.slices, np.int64), np.zeros(mask.slices, np.int64)
    for z in range(mask.slices):
        labels = mask.axial(z, z)[0]
        if unknown := sorted(set(np.unique(labels).tolist()) - {0, LIVER, TUMOUR}):
            raise SemeiaError(f"{mask.path}: expected labels 0, 1 and 2, found {unknown[0]:g}; it is no mask of LiTS")
        liver[z], tumour[z] = (labels > 0).sum(), (labels == TUMOUR).sum()
    shown = np.flatnonzero(liver)
    first, last = (int(shown[0]), int(shown[-1])) if len(shown) else (0, 0)
    return Areas(liver, tumour, (np.arange(mask.slices) - first) / max(last - first, 1))


def scaled(hu: np.ndarray, window: tuple[float, float] = WINDOW) -> np.ndarray:
    """HU of any shape as float32 in [-1, 1]; what is no number is the lower end of the window."""
    low, high = window
    values = np.nan_to_num(np.asarray(hu, np.float32), nan=low, posinf=high, neginf=low)
    return ((values - np.float32(low)) / np.float32((high - low) / 2) - 1).clip(-1, 1)


def write(folder: str | Path, number: int, hu: np.ndarray, labels: np.ndarray | None, affine: np.ndarray) -> Case:
    """Write a scan in LiTS' layout; ``read`` gives back the same voxels and affine.

    Args:
        folder: Of the scans; made where it does not exist.
        number: N of ``volume-N.nii``.
        hu: (I, J, K).
        labels: (I, J, K) of 0, 1 and 2, or None.
        affine: (4, 4), voxel to RAS mm.

    Raises:
        SemeiaError: Labels of another shape, or the folder cannot be written to.
    """
    if labels is not None and labels.shape != hu.shape:
        raise SemeiaError(f"LiTS: volume-{number}: expected labels of shape {hu.shape}, found {labels.shape}")
    place = writable_folder(folder)
    image, mask = place / f"volume-{number}.nii", place / f"segmentation-{number}.nii"
    if labels is not None:
        write_nifti(mask, labels.astype(np.uint8), affine)
    write_nifti(image, hu, affine)
    return Case(f"volume-{number}", image, mask if labels is not None else None)


def _mask(case: Case) -> NiftiFile:
    assert case.mask is not None
    mask = open_nifti(case.mask)
    check_grid(mask, open_nifti(case.image))
    return mask
