"""BraTS 2018 to 2021: MR scans of brains with tumours, four modalities and a mask a case.

    HGG/Brats18_2013_2_1/Brats18_2013_2_1_{t1,t1ce,t2,flair,seg}.nii.gz      2018, 2019
    BraTS20_Training_001/BraTS20_Training_001_{t1,...,seg}.nii               2020 (packed or not)
    BraTS2021_00000/BraTS2021_00000_{t1,...,seg}.nii.gz                      2021

Case folders may lie at any depth. The mask is missing where the organisers keep it back. Whole tumour is a label above
0. Skulls were taken off by the organisers: the background is exactly 0.

Values are clipped at the 99.5th percentile of the brain, brought to z-scores in the brain, and then to [-1, 1] over the
volume [KNOWN-PRED: GVS, utils/nii2npy_brats.py]. The z-score is a linear step before another one and falls out; it is
left out here, and a test shows that nothing changes. The range comes from the scan, not from the slice: a slice whose
lesion is gone keeps its grey levels.

Access to BraTS has terms; nothing of it is here.

Shapes      S slices   H, W pixels   I, J, K stored voxels
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from semeia.data.formats.masked_slices import Areas, Choice, MaskedSlice, chosen
from semeia.data.formats.nifti_files import SUFFIXES, NiftiFile, check_grid, found_file, open_nifti, write_nifti
from semeia.files import writable_folder
from semeia.records import SemeiaError

Modality = Literal["t1", "t1ce", "t2", "flair"]
MODALITIES: tuple[str, ...] = get_args(Modality)
SEG = "seg"
LABELS = frozenset({0, 1, 2, 3, 4})
"""1 necrosis, 2 oedema, 4 enhancing tumour; 3 stood for non-enhancing tumour before 2017."""
PERCENTILE = 99.5
CHOICE = Choice()


@dataclass(frozen=True)
class Case:
    """One scan session: ``images`` has the file of each modality that is there; ``mask`` is None where it is not."""

    name: str
    folder: Path
    images: Mapping[str, Path]
    mask: Path | None

    @property
    def patient(self) -> str:
        """Names of 2017 to 2019 end in the number of the session, which is no part of the patient."""
        older = re.fullmatch(r"(Brats1[789]_.+)_\d+", self.name, flags=re.IGNORECASE)
        return older[1] if older else self.name


@dataclass(frozen=True)
class Brats:
    """The cases of a folder, by name."""

    folder: Path
    cases: tuple[Case, ...]

    @property
    def patients(self) -> tuple[str, ...]:
        """Names of patients, each once."""
        return tuple(sorted({case.patient for case in self.cases}))


def read(folder: str | Path) -> Brats:
    """Find the cases of a folder; no voxel is read.

    Raises:
        SemeiaError: There is none, two have one name, or a mask has a name that BraTS does not give.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SemeiaError(f"{folder}: not found; expected the folder of BraTS")
    cases: dict[str, Case] = {}
    for place in sorted({file.parent for suffix in SUFFIXES for file in folder.rglob(f"*{suffix}")}):
        case = _case(place)
        if case is None:
            continue
        if case.name in cases:
            raise SemeiaError(f"{place}: a case of this name lies in {cases[case.name].folder} too; name one of them")
        cases[case.name] = case
    if not cases:
        names = ", ".join(f"CASE_{modality}.nii.gz" for modality in (*MODALITIES, SEG))
        raise SemeiaError(f"{folder}: expected case folders CASE with {names}, found none")
    return Brats(folder, tuple(cases[name] for name in sorted(cases)))


def _case(place: Path) -> Case | None:
    """The case of a folder; None where nothing in it is called as one."""
    images = {m: file for m in MODALITIES if (file := found_file(place / f"{place.name}_{m}")) is not None}
    if not images:
        return None
    mask = found_file(place / f"{place.name}_{SEG}")
    # One case of 2020 has a mask with a name of its own, which must not pass for a case without a mask.
    odd = [file for file in sorted(place.iterdir()) if SEG in file.name.lower() and file.name.endswith(SUFFIXES)]
    if mask is None and odd:
        raise SemeiaError(f"{odd[0]}: expected the mask to be called {place.name}_{SEG}.nii.gz; rename it")
    return Case(place.name, place, images, mask)


def slices(
    cases: Sequence[Case],
    modality: Modality = "t2",
    *,
    choice: Choice = CHOICE,
    matched: Sequence[Case] | None = None,
) -> Iterator[MaskedSlice]:
    """Lesion slices and normal ones, scan by scan; all fitting slices of scans without a mask.

    Args:
        cases: Of one split.
        modality: Which pictures.
        choice: What is taken.
        matched: Cases whose lesion slices say where normal slices may lie; ``cases`` by default. Those of the training
            keep a test split from having a say.

    Raises:
        SemeiaError: A file is missing or damaged, or a mask has another shape, another affine or unknown labels.
    """
    surveyed = {case.name: areas(case, modality) for case in {c.name: c for c in (*cases, *(matched or ()))}.values()}
    base = surveyed if matched is None else {case.name: surveyed[case.name] for case in matched}
    for case in cases:
        taken = chosen(base | {case.name: surveyed[case.name]}, choice)[case.name]
        if not taken:
            continue
        volume = scaled(_image(case, modality).axial(), source=case.images[modality])
        mask = None if case.mask is None else _mask(case, modality)
        for z, kind in taken:
            yield MaskedSlice(case.patient, case.name, z, kind, volume[z], None if mask is None else mask[z])


def areas(case: Case, modality: Modality = "t2") -> Areas:
    """Pixels of brain and of tumour on each slice; slices of BraTS lie at one level in all patients."""
    brain = (_image(case, modality).axial() != 0).sum((1, 2))
    lesion = None if case.mask is None else _mask(case, modality).sum((1, 2))
    return Areas(brain, lesion, np.arange(len(brain), dtype=float))


def grey_range(voxels: np.ndarray, *, source: str | Path, percentile: float = PERCENTILE) -> tuple[float, float]:
    """The values of a scan that become -1 and 1: the lowest one, and a percentile of what is not background (0).

    Raises:
        SemeiaError: There is no brain, or it has one value alone.
    """
    known = voxels[np.isfinite(voxels)]
    brain = known[known != 0]
    if not brain.size:
        raise SemeiaError(f"{source}: expected a brain on a background of 0, found nothing but 0")
    low, high = float(known.min()), float(np.percentile(brain, percentile))
    if not high > low:
        raise SemeiaError(f"{source}: expected a brain with more than one value, found {low:g} alone")
    return low, high


def scaled(volume: np.ndarray, *, source: str | Path) -> np.ndarray:
    """A scan (S, H, W) as float32 in [-1, 1]; what is no number is background."""
    low, high = grey_range(volume, source=source)
    values = np.nan_to_num(np.asarray(volume, np.float32), nan=low, posinf=high, neginf=low)
    return ((values - np.float32(low)) / np.float32((high - low) / 2) - 1).clip(-1, 1)


def write(
    folder: str | Path, name: str, images: Mapping[str, np.ndarray], mask: np.ndarray | None, affine: np.ndarray
) -> Case:
    """Write a case in the layout of 2021; ``read`` gives back the same voxels and affine.

    Args:
        folder: Of the cases; made where it does not exist.
        name: Of the case.
        images: (I, J, K) of each modality.
        mask: (I, J, K) labels, or None.
        affine: (4, 4), voxel to RAS mm.

    Raises:
        SemeiaError: An unknown modality, a mask of another shape, or the folder cannot be written to.
    """
    if unknown := sorted(set(images) - set(MODALITIES)):
        raise SemeiaError(f"BraTS: {name}: expected modalities out of {', '.join(MODALITIES)}, found {unknown[0]!r}")
    volumes = dict(images) | ({} if mask is None else {SEG: mask.astype(np.uint8)})
    if len({each.shape for each in volumes.values()}) != 1:
        shapes = ", ".join(f"{kind} {each.shape}" for kind, each in volumes.items())
        raise SemeiaError(f"BraTS: {name}: expected volumes of one shape, found {shapes}")
    place = writable_folder(Path(folder) / name)
    for kind, voxels in volumes.items():
        write_nifti(place / f"{name}_{kind}.nii.gz", voxels, affine)
    case = _case(place)
    assert case is not None
    return case


def _image(case: Case, modality: Modality) -> NiftiFile:
    if modality not in case.images:
        raise SemeiaError(
            f"{case.folder}: expected {case.name}_{modality}.nii.gz, found {', '.join(case.images)} alone"
        )
    return open_nifti(case.images[modality])


def _mask(case: Case, modality: Modality) -> np.ndarray:
    """(S, H, W) bool, the whole tumour."""
    assert case.mask is not None
    file = open_nifti(case.mask)
    check_grid(file, _image(case, modality))
    labels = file.axial()
    if unknown := sorted(set(np.unique(labels).tolist()) - LABELS):
        raise SemeiaError(f"{case.mask}: expected labels 0 to 4, found {unknown[0]:g}; it is no mask of BraTS")
    found: np.ndarray = labels > 0
    return found
