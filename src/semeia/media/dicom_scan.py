"""A CT scan from DICOM images: one series is chosen, its slices are put in order, and read one by one.

Slices are ordered by where they lie, not by their numbers or names. What is left out or assumed is told in the notes.

``MONOCHROME1`` concerns how values are shown; values that a slope and an intercept lead to HU are HU whichever way they
are shown, and stay as they are. Stored values without slope and intercept are turned round.

Shapes      I columns, J rows, K slices as ordered   n slices
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID

from semeia.media.archives import reason_of
from semeia.media.dicom import UNREADABLE, Headers, Image, Series, opened, quiet
from semeia.media.grids import Grid, grid_of, with_offsets
from semeia.media.stored import ScanUids, in_hounsfield, sampled
from semeia.records import SemeiaError

MAX_DAMAGED = 0.05
"""Share of a series that may be damaged and left out."""
SAME_PLACE = 0.01
"""Millimetres up to which two slices lie in one place."""
MISSING = 1.5
"""Usual distances between two slices from which one is missing."""
UNEVEN = 0.1
"""Share of the usual distance by which others may differ untold."""
COMPARED = 8
"""Pairs of slices in one place whose voxels are compared."""
AIR = -1024.0

T = TypeVar("T")

_DECODERS = {
    "JPEG-LS": "pip install 'semeia[dicom]'",
    "JPEG Lossless": "pip install pylibjpeg pylibjpeg-libjpeg",
    "JPEG": "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg",
    "High-Throughput": "pip install pylibjpeg pylibjpeg-openjpeg",
    "RLE": "pip install pylibjpeg pylibjpeg-rle",
}
"""What decodes a transfer syntax, by the beginning of its name."""


class DicomScan:
    """A CT scan of DICOM slices, each read when it is asked for; see ``Stored``.

    Args:
        headers: Of all files that may belong to it.
        series: UID of the wanted series or its last characters; None takes the only one.
        root: Folder that file names are told from.
        source: What the user named, for messages.

    Raises:
        SemeiaError: There is no CT series or several, too much of it is damaged, or it cannot be decoded.
    """

    numbers: tuple[int, ...] | None
    uids: ScanUids | None

    def __init__(self, headers: Headers, *, series: str | None, root: Path, source: str) -> None:
        self._root, self._source, self._invert = root, source, False
        notes = _passed_over(headers)
        images = self._chosen(headers, series, notes)
        images = self._alike(images, notes)
        images = self._whole(images, headers.damaged, notes)
        self._check_decoder(images)
        images = self._single(_in_order(images), notes)
        self._images = images
        self.grid, placed = _grid(images, source)
        self.thickness = _usual(image.thickness for image in images)
        numbers = self.numbers = _numbers(images)
        self.files = tuple(image.path for image in images)
        first = images[0]
        instances = tuple(image.instance for image in images)
        self.uids = ScanUids(first.study, first.series, first.frame_of_reference, instances)
        notes += placed
        notes += _distances(images, self.grid, numbers)
        self._assumed = self._scale(notes)
        self.notes = tuple(notes)

    def read(self, first: int, last: int) -> np.ndarray:
        """See ``Stored``."""
        slices: list[np.ndarray] = []
        # Frames of one file are read together: finding the first means to pass all that describes them.
        for _, images in groupby(self._images[first : last + 1], key=lambda image: image.path):
            together = list(images)
            slices += map(self._hounsfield, together, self._stored(together))
        return np.stack(slices).transpose(2, 1, 0)  # (I, J, n)

    # -- which images

    def _chosen(self, headers: Headers, series: str | None, notes: list[str]) -> list[Image]:
        """The slices of one series."""
        if not headers.images:
            found = (
                f"{_count(len(headers.damaged), 'damaged DICOM file')}" if headers.damaged else "none that can be read"
            )
            raise SemeiaError(f"{self._source}: expected DICOM images of a CT scan, found {found} "
                              f"(other files: {headers.others:,})")  # fmt: skip
        candidates = [one for one in headers.series if one.slices]
        looked_at = headers.images
        if series is not None:
            named = [one for one in headers.series if one.uid.endswith(series)]
            if len(named) != 1:
                raise SemeiaError(f"{self._source}: expected the end of one series' UID, found {series!r}, which fits "
                                  f"{len(named)}; there are: {_listed(headers.series)}")  # fmt: skip
            candidates = named
            looked_at = tuple(image for image in headers.images if image.series == named[0].uid)
        if not candidates or not candidates[0].slices:
            reasons = Counter(reason for image in looked_at if (reason := image.unfit()))
            found = ", ".join(f"{_count(count, 'image')} {reason}" for reason, count in reasons.most_common(4))
            raise SemeiaError(f"{self._source}: expected axial images of the modality CT, found {found or 'none'}")
        if len(candidates) > 1:
            raise SemeiaError(f"{self._source}: expected one CT series, found {len(candidates)}: "
                              f"{_listed(candidates)}; choose one with --series and the end of its UID")  # fmt: skip
        (one,) = candidates
        others = sum(other.images for other in headers.series if other.uid != one.uid)
        if others:
            notes.append(f"{_count(others, 'image')} of other series in the folder {_was(others)} left out.")
        images = [image for image in headers.images if image.series == one.uid]
        unfit = Counter(reason for image in images if (reason := image.unfit()))
        notes += [f"{_count(count, 'image')} {reason} {_was(count)} left out." for reason, count in unfit.items()]
        return [image for image in images if image.unfit() is None]

    def _alike(self, images: list[Image], notes: list[str]) -> list[Image]:
        """Images of the size, spacing and orientation that most have."""

        def form(image: Image) -> tuple[object, ...]:
            spacing, directions = np.round(image.spacing or (), 3), np.round(image.orientation or (), 2) + 0.0
            return image.rows, image.columns, *spacing.tolist(), *directions.tolist()

        usual = Counter(map(form, images)).most_common(1)[0][0]
        model = next(image for image in images if form(image) == usual)
        alike = [
            image
            for image in images
            if (image.rows, image.columns) == (model.rows, model.columns)
            and np.allclose(image.spacing or (), model.spacing or (), rtol=1e-3)
            and np.allclose(image.orientation or (), model.orientation or (), atol=0.01)
        ]
        if len(alike) < len(images):
            left = len(images) - len(alike)
            notes.append(f"{_count(left, 'image')} of another size, spacing or orientation {_was(left)} left out.")
        return alike

    def _whole(self, images: list[Image], damaged: Sequence[Path], notes: list[str]) -> list[Image]:
        """Images whose pixels are all there."""
        cut = [image.path for image in images if not image.complete]
        bad = sorted({*cut, *damaged})
        total = len(images) + len(damaged)
        if not bad:
            return images
        names = ", ".join(map(self._named, bad[:3])) + (", ..." if len(bad) > 3 else "")
        if len(bad) > MAX_DAMAGED * total or len(cut) == len(images):
            raise SemeiaError(f"{self._source}: expected whole images, found {len(bad):,} of {total:,} truncated or "
                              f"damaged ({names}); copy or download them again")  # fmt: skip
        notes.append(f"{_count(len(bad), 'image')} {_was(len(bad))} left out, truncated or damaged: {names}.")
        return [image for image in images if image.complete]

    def _check_decoder(self, images: Sequence[Image]) -> None:
        for syntax in {image.syntax for image in images}:
            with quiet():
                name, available = UID(syntax).name, False
                with suppress(NotImplementedError):
                    available = get_decoder(UID(syntax)).is_available
            if not available:
                way = next((way for start, way in _DECODERS.items() if name.startswith(start)), None)
                advice = f"install a decoder: {way}" if way else "save it uncompressed"
                raise SemeiaError(f"{self._source}: its images are compressed as {name}, which cannot be decoded here; "
                                  f"{advice}")  # fmt: skip

    def _single(self, images: list[Image], notes: list[str]) -> list[Image]:
        """One image for each place: the first acquired one."""
        kept: list[Image] = []
        twice: list[tuple[Image, Image]] = []
        for image in images:
            if kept and _height(image) - _height(kept[-1]) < SAME_PLACE:
                first, second = sorted((kept[-1], image), key=_acquired)
                kept[-1] = first
                twice.append((first, second))
            else:
                kept.append(image)
        if twice:
            pairs = twice[:: -(-len(twice) // COMPARED)]
            same = all(np.array_equal(self._stored([a]), self._stored([b])) for a, b in pairs)
            compared = "their voxels are the same" if same else (
                "their voxels differ, so that a second time point or reconstruction may be mixed in"
            )  # fmt: skip
            notes.append(f"{_count(len(twice), 'image')} in the place of another one {_was(len(twice))} left out, the "
                         f"first acquired was kept; {compared}.")  # fmt: skip
        return kept

    # -- their values

    def _scale(self, notes: list[str]) -> tuple[float, float]:
        """Slope and intercept of images without them, decided by the values of a few."""
        usual = _usual(image.scale for image in self._images)
        bare = [image for image in self._images if image.scale is None]
        inverted = any(image.photometric == "MONOCHROME1" for image in self._images)
        odd = {image.scale_type for image in self._images} - {"", "HU"}
        if odd:
            notes.append(f"The values are not said to be Hounsfield units but {', '.join(sorted(odd))}.")
        if inverted and usual is not None:
            notes.append("The images are said to be shown inverted (MONOCHROME1); Hounsfield units are not affected.")
        if not bare:
            return 1.0, 0.0
        if usual is not None:
            notes.append(f"{_count(len(bare), 'image')} without a rescale slope and intercept {_was(len(bare))} read "
                         f"with those of the others ({usual[0]:g}, {usual[1]:g}).")  # fmt: skip
            return usual
        self._invert = inverted
        if inverted:
            notes.append("The values are stored inverted (MONOCHROME1) and were turned round.")
        sample = np.concatenate([self._stored([bare[at]])[0].ravel() for at in sampled(len(bare))])
        if sample.min() >= 0 and sample.max() > 255:
            notes.append("The images have no rescale slope and intercept; no value is below 0, so that 1024 was "
                         "subtracted to reach Hounsfield units.")  # fmt: skip
            return 1.0, -1024.0
        notes.append(
            "The images have no rescale slope and intercept; values were taken for Hounsfield units as stored."
        )
        return 1.0, 0.0

    def _hounsfield(self, image: Image, stored: np.ndarray) -> np.ndarray:
        """(J, I) float32, HU; padding of which its header tells becomes air, unless tissue may have its value."""
        slope, intercept = image.scale or self._assumed
        values = in_hounsfield(stored, slope, intercept)
        if image.padding is not None:
            # A header may hold the bits of a signed value as an unsigned one.
            for padding in {image.padding, image.padding - 2**image.bits}:
                hounsfield = padding * slope + intercept
                if hounsfield <= -1000 or hounsfield > 3071:
                    values[stored == padding] = AIR
        return values

    def _stored(self, images: Sequence[Image]) -> list[np.ndarray]:
        """Images of one file, each (J, I) as stored."""
        path = images[0].path
        try:
            with quiet(), opened(path) as stream:
                indices = [image.frame or 0 for image in images]
                decoded = list(iter_pixels(stream, indices=indices, transfer_syntax_uid=UID(images[0].syntax)))
        except (*UNREADABLE, RuntimeError, MemoryError) as error:
            raise SemeiaError(f"{self._source}: the image {self._named(path)} cannot be decoded ({reason_of(error)}); "
                              "copy or download it again, or save the scan uncompressed") from error  # fmt: skip
        for image, pixels in zip(images, decoded, strict=True):
            if pixels.shape != (image.rows, image.columns):
                raise SemeiaError(f"{self._source}: the image {self._named(path)} is damaged, expected {image.rows} x "
                                  f"{image.columns} pixels, found {' x '.join(map(str, pixels.shape))}")  # fmt: skip
        return [
            turned_round(pixels, image.depth) if self._invert and image.scale is None else pixels
            for image, pixels in zip(images, decoded, strict=True)
        ]

    def _named(self, path: Path) -> str:
        return str(path.relative_to(self._root)) if path.is_relative_to(self._root) else path.name


def turned_round(stored: np.ndarray, depth: int) -> np.ndarray:
    """Values of ``depth`` bits counted from the other end of what these can hold."""
    top = -1 if stored.dtype.kind == "i" else 2**depth - 1
    return top - stored.astype(np.int64)


# ---------------------------------------------------------------------------------------------------------------------
# Order and places


def _height(image: Image) -> float:
    """Millimetres along the slices' normal, towards the head."""
    return float(np.dot(image.position or (), image.normal))


def _acquired(image: Image) -> tuple[int, int, str, int]:
    """Sorts images as they were acquired; those without numbers come last."""
    last = 2**31
    acquisition = last if image.acquisition is None else image.acquisition
    return acquisition, last if image.number is None else image.number, str(image.path), image.frame or 0


def _in_order(images: Iterable[Image]) -> list[Image]:
    return sorted(images, key=lambda image: (_height(image), _acquired(image)))


def _numbers(images: Sequence[Image]) -> tuple[int, ...]:
    """Each slice's place in the input: its frame of a file, or its rank by instance number."""
    if all(image.frame is not None for image in images) and len({image.path for image in images}) == 1:
        return tuple(image.frame or 0 for image in images)
    order = sorted(range(len(images)), key=lambda at: _ranked(images[at]))
    ranks = {at: rank for rank, at in enumerate(order)}
    return tuple(ranks[at] for at in range(len(images)))


def _ranked(image: Image) -> tuple[int, str, int]:
    return 2**31 if image.number is None else image.number, str(image.path), image.frame or 0


def _grid(images: Sequence[Image], source: str) -> tuple[Grid, tuple[str, ...]]:
    """Where the slices lie: an affine with the usual distance between slices, and what each of them is off it."""
    first = images[0]
    assert first.orientation is not None
    assert first.spacing is not None
    places = np.array([image.position for image in images])  # (K, 3)
    notes: tuple[str, ...] = ()
    if len(images) > 1:
        heights = np.array([_height(image) for image in images])
        usual = float(np.median(np.diff(heights)))
        step = (places[-1] - places[0]) * usual / (heights[-1] - heights[0])
    else:
        step = first.normal * (first.thickness or 1.0)
        notes = (f"There is one slice; its distance to the next was taken as {first.thickness or 1.0:g} mm.",)
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * first.spacing[1]
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = places[0]
    grid, turned = grid_of((first.columns, first.rows, len(images)), affine, source=source, tilted=True)
    offsets = places - (places[0] + np.arange(len(images))[:, None] * step)
    return with_offsets(grid, offsets) if np.abs(offsets).max() > SAME_PLACE else grid, (*notes, *turned)


def _distances(images: Sequence[Image], grid: Grid, numbers: Sequence[int]) -> list[str]:
    """What there is to tell of the distances from slice to slice."""
    if len(images) < 3:
        return []
    heights = np.array([_height(image) for image in images])
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    notes = []
    holes = np.flatnonzero(gaps > MISSING * usual)
    if len(holes):
        some = "; ".join(
            f"{gaps[at]:.4g} mm between the slices {numbers[at]} and {numbers[at + 1]}" for at in holes[:3].tolist()
        )
        notes.append(f"Slices are missing in {_count(len(holes), 'place')}: {some}{'; ...' if len(holes) > 3 else ''}, "
                     f"usual are {usual:.4g} mm. None was filled in.")  # fmt: skip
    regular = gaps[gaps <= MISSING * usual]
    if len(regular) and np.abs(regular - usual).max() > UNEVEN * usual:
        notes.append(f"Slices lie {regular.min():.4g} to {regular.max():.4g} mm apart; {usual:.4g} mm was taken as the "
                     "distance, and millimetres follow each slice's own place.")  # fmt: skip
    if grid.offsets is not None:
        aside = grid.offsets - np.outer(grid.offsets @ images[0].normal, images[0].normal)
        if np.abs(aside).max() > 1:
            notes.append(f"Slices are shifted sideways against one another by up to {np.abs(aside).max():.1f} mm; "
                         "millimetres follow each slice's own place.")  # fmt: skip
    return notes


# ---------------------------------------------------------------------------------------------------------------------
# Words


def _passed_over(headers: Headers) -> list[str]:
    if not headers.others:
        return []
    return [f"{_count(headers.others, 'file')} that {'is' if headers.others == 1 else 'are'} not DICOM "
            f"{_was(headers.others)} passed over."]  # fmt: skip


def _listed(series: Sequence[Series]) -> str:
    """Series in words, by the end of their UIDs."""
    size = 8
    while size < 64 and len({one.uid[-size:] for one in series}) < len(series):
        size += 4
    told = [
        f"{one.uid[-size:]} ({one.description or 'no description'}, {one.modality}, {_count(one.images, 'image')})"
        for one in series[:12]
    ]
    return ", ".join(told) + (", ..." if len(series) > 12 else "")


def _usual(values: Iterable[T | None]) -> T | None:
    told = Counter(value for value in values if value is not None).most_common(1)
    return told[0][0] if told else None


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
