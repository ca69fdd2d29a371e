"""Batches of multi-slice images of CT scans, each a pure function of its number.

Batch ``i`` of a rank is made from (seed, ``i``, rank, world) alone, so that a run that was stopped goes on with the
batches it would have seen. Keys of a batch:

    image       (B, C, S, S)  float32 in [0, 1]; C channels, window by window, slices in order
    boxes       B tensors (n, 4) float32, x0, y0, x1, y1 in pixels of the image, outer edges; n may be 0
    index       (B,)          int64, number of the sample among the key slices of all sets
    masks       B tensors (n, S, S) bool, where they are asked for

Shapes      B images of a batch   N samples   n boxes   S side of the image
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from semeia.data.formats.deeplesion import PADDING, DeepLesion, KeySlice
from semeia.data.formats.slice_files import Series
from semeia.data.lesion_masks import masks_of
from semeia.data.orders import BatchOrder
from semeia.data.slices import BODY, WIDE, Framing, Movement, Window, load_slices, moved_boxes, moved_points, warped
from semeia.files import writable_folder, write_whole
from semeia.records import SemeiaError

INNER = 0.15
"""Part of a cut-out square along each border in which no lesion's middle is placed."""

SOFT_END = 200.0
"""HU up to which there is soft tissue."""

SMALLEST_BOX = 2.0
"""Pixels along x and y; what is left of a lesion below that is no box any more."""


class ShuffledOrder:
    """Each sample once an epoch, in an order that (seed, epoch) decides; a batch may span two epochs.

    Args:
        size: N.
        batch_size: B.
        seed: Of the orders.
    """

    def __init__(self, size: int, *, batch_size: int, seed: int = 0) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed

    def batch(self, step: int, /) -> list[int]:
        """Numbers of the samples of one batch."""
        places = (divmod(step * self.batch_size + place, self.size) for place in range(self.batch_size))
        return [int(_permutation(self.size, self.seed, epoch)[place]) for epoch, place in places]


@lru_cache(maxsize=8)
def _permutation(size: int, seed: int, epoch: int) -> np.ndarray:
    """The odd word keeps orders apart from the seeds of samples."""
    return np.random.default_rng((seed, epoch, 0x0DE5)).permutation(size)


@dataclass(frozen=True)
class SliceAugmentation:
    """How far and how often training images are changed; ``p_`` marks probabilities, ranges are drawn from evenly.

    Flip, rotation, scale and shift are A3D's [authors' code], ``z_shift`` is MULAN's [authors' code], off by default;
    the rest is this library's choice.
    """

    p_flip: float = 0.5
    """Mirror left and right."""
    p_move: float = 0.8
    """Turn, scale and shift together."""
    rotation: float = 15.0
    """Largest turn either way, degrees."""
    scale: float = 0.2
    """Largest change of scale either way, as a part of 1."""
    shift: float = 0.04
    """Largest shift along each axis, as a part of the side."""
    z_shift: float = 0.0
    """Largest shift of the key slice either way, as a part of half the shortest axis on it; MULAN takes 0.5."""
    p_z_flip: float = 0.0
    """Turn the order of slices around; MVP-Net does."""
    p_intensity: float = 0.3
    """Change brightness and contrast, and add noise."""
    gain: float = 0.05
    """Largest change of contrast either way, as a part of 1, around -1024 HU or where the windows begin."""
    offset: float = 20.0
    """Largest change of brightness either way, HU."""
    noise: float = 20.0
    """Largest standard deviation of noise, HU."""
    bone: tuple[float, float] | None = None
    """Least and largest factor of what HU are above ``SOFT_END``: bones are more and less dense. None: as they are."""
    crop: int | None = None
    """Side in pixels of a square that is cut out of the image; None: the whole image."""
    p_lesion: float = 0.75
    """The square lies around one of the lesions, which is anywhere in it; otherwise around any point of the body."""
    visible: float = 0.5
    """A box of which less of the area stays in the image is left out."""


STILL = SliceAugmentation(p_flip=0, p_move=0, p_intensity=0, visible=0)
"""No augmentation."""


class SliceCache:
    """Decoded slices in a folder, one .npy file a series, whole or absent; what is damaged is made again.

    A file is named after the series and after names, sizes and times of its PNG files, so that series which are written
    again are decoded again; files of the old ones stay.

    Args:
        folder: Where the files lie; made where it does not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = writable_folder(folder)
        self.files: dict[Path, Path] = {}

    def read(self, series: Series, number: int) -> np.ndarray:
        """A slice (H, W), int16 HU, as ``series.read`` gives it.

        Raises:
            SemeiaError: A slice of the series is damaged, or the cache cannot be written to.
        """
        path = self.files.get(series.folder)
        if path is None:
            path = self.files[series.folder] = self.folder / f"{series.name}.{_state(series)}.npy"
        shape = (len(series.numbers), series.size[1], series.size[0])
        slices = _mapped(path, shape)
        if slices is None:
            stream = io.BytesIO()
            np.save(stream, np.stack([series.read(int(n)) for n in series.numbers]), allow_pickle=False)
            write_whole(path, stream.getvalue())
            slices = _mapped(path, shape)
            assert slices is not None
        return np.array(slices[np.searchsorted(series.numbers, number)])


def _mapped(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """The slices (n, H, W) of a file of the cache, or None where they are missing or damaged."""
    try:
        slices = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return slices if slices.shape == shape and slices.dtype == np.int16 else None


def _state(series: Series) -> str:
    """A word that changes when files of a series do."""
    digest = hashlib.blake2b(str(series.folder.resolve()).encode(), digest_size=6)
    for number in series.numbers:
        path = series.path(int(number))
        try:
            state = path.stat()
        except OSError as error:
            raise SemeiaError(f"{path}: not found any more; expected a slice; copy it again") from error
        digest.update(f"{number} {state.st_size} {state.st_mtime_ns};".encode())
    return digest.hexdigest()


class SliceFeed:
    """Training batches, augmented, in the layout above.

    Boxes of a turned image are those around the turned ends of the axes, +-5 px of the slice, as DeepLesion's boxes are
    made; without a turn the box itself is moved. Boxes are cut at the edges of the image.

    Args:
        sets: What is drawn from; every key slice counts alike.
        batch_size: B on one rank.
        slices: Slices of an image.
        size: S.
        spacing: Millimetres a pixel of the images; None keeps that of each slice.
        windows: Lowest and highest HU of each.
        augmentation: How images are changed; ``STILL`` does not.
        seed: Of all randomness.
        order: Which samples stand together; shuffled where none is given. Its batches may be of any size.
        step_mm: Millimetres from slice to slice of an image.
        legacy_interpolation: See ``planned_slices``.
        border_clip: See ``Framing``.
        fit: See ``Framing``.
        masks: Make masks too.
        cache: A folder for decoded slices; None decodes them each time.

    Raises:
        SemeiaError: The sets have no key slices.
    """

    def __init__(
        self,
        sets: Sequence[DeepLesion],
        batch_size: int,
        *,
        slices: int = 7,
        size: int = 512,
        spacing: float | None = None,
        windows: tuple[Window, ...] = WIDE,
        augmentation: SliceAugmentation = SliceAugmentation(),
        seed: int = 0,
        order: BatchOrder | None = None,
        step_mm: float = 2.0,
        legacy_interpolation: bool = False,
        border_clip: bool = False,
        fit: Literal["shrink", "crop"] = "shrink",
        masks: bool = False,
        cache: str | Path | None = None,
    ) -> None:
        self.keys: tuple[KeySlice, ...] = tuple(key for data in sets for key in data.keys)
        if not self.keys:
            where = ", ".join(str(data.folder) for data in sets) or "no data set"
            raise SemeiaError(f"{where}: expected key slices to make batches of, found none; name another split")
        self.order = order or ShuffledOrder(len(self.keys), batch_size=batch_size, seed=seed)
        self.framing = Framing(size=size, spacing=spacing, windows=windows, border_clip=border_clip, fit=fit)
        self.slices, self.step_mm, self.legacy_interpolation = slices, step_mm, legacy_interpolation
        self.augmentation, self.masks, self.seed = augmentation, masks, seed
        self.cache = None if cache is None else SliceCache(cache)

    def batch(self, index: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Batch number ``index`` of one rank."""
        step = index * world + rank
        numbers = self.order.batch(step)
        rngs = [np.random.default_rng((self.seed, step, place)) for place in range(len(numbers))]
        return collate([self.sample(int(number), rng) for number, rng in zip(numbers, rngs, strict=True)], numbers)

    def sample(
        self, number: int, rng: np.random.Generator, augmentation: SliceAugmentation | None = None
    ) -> SliceSample:
        """One sample, changed by random numbers from ``rng``; as the feed's augmentation says, where none is given."""
        key, how = self.keys[number], augmentation or self.augmentation
        slab = self._slab(key, _z_shift(key, how, rng))
        if rng.random() < how.p_z_flip:
            slab = slab[::-1]
        movement = _movement(how, rng)
        framing, middle = self.framing, slab[self.slices // 2]
        region = framing.region(middle)
        matrix = framing.matrix(region, key.spacing, movement)
        if how.crop is not None:
            framing = replace(framing, size=how.crop)
            matrix = _cut(matrix, key, middle, how, rng)
        image = _developed(framing.image(slab, region, matrix), how, framing.hu, rng)
        boxes, shown = _boxes(key, matrix, framing.size, turned=movement.rotation != 0, visible=how.visible)
        masks = None
        if self.masks:
            masks = warped(masks_of(key).astype(np.float32), matrix, framing.size)[shown] > 0.5
        return SliceSample(framing.split(image), boxes[shown], matrix, masks)

    def _slab(self, key: KeySlice, shift: int) -> np.ndarray:
        cache, series = self.cache, key.series
        return load_slices(
            key, self.slices, self.step_mm, self.legacy_interpolation, shift=shift,
            read_slice=None if cache is None else lambda number: cache.read(series, number),
        )  # fmt: skip

    def evaluation_batches(self, batch_size: int = 8) -> Iterator[dict[str, Any]]:
        """All samples in their order, as ``STILL`` shows them; the last batch may be smaller.

        No box is left out, so that none is spared the search. A batch also has ``matrix`` (B, 2, 3) float32, which
        leads from pixels of the slice to those of the image.

        Args:
            batch_size: B.
        """
        for start in range(0, len(self.keys), batch_size):
            numbers = range(start, min(start + batch_size, len(self.keys)))
            samples = [self.sample(number, np.random.default_rng(0), STILL) for number in numbers]
            matrices = torch.from_numpy(np.stack([sample.matrix for sample in samples]).astype(np.float32))
            yield collate(samples, numbers) | {"matrix": matrices}


@dataclass(frozen=True)
class SliceSample:
    """An image (C, S, S), its boxes (n, 4), the matrix (2, 3) that leads to it, and masks (n, S, S) if any."""

    image: np.ndarray
    boxes: np.ndarray
    matrix: np.ndarray
    masks: np.ndarray | None = None


def collate(samples: Sequence[SliceSample], numbers: Sequence[int]) -> dict[str, Any]:
    """A batch in the layout above."""
    batch: dict[str, Any] = {
        "image": torch.from_numpy(np.stack([sample.image for sample in samples])),
        "boxes": [torch.from_numpy(sample.boxes.astype(np.float32)) for sample in samples],
        "index": torch.tensor(list(numbers), dtype=torch.int64),
    }
    if samples[0].masks is not None:
        batch["masks"] = [torch.from_numpy(sample.masks) for sample in samples if sample.masks is not None]
    return batch


def _movement(how: SliceAugmentation, rng: np.random.Generator) -> Movement:
    flip = bool(rng.random() < how.p_flip)
    if rng.random() >= how.p_move:
        return Movement(flip)
    across, down = rng.uniform(-how.shift, how.shift, 2)
    return Movement(
        flip,
        rng.uniform(-how.rotation, how.rotation),
        1 + rng.uniform(-how.scale, how.scale),
        (float(across), float(down)),
    )


def _cut(
    matrix: np.ndarray, key: KeySlice, middle: np.ndarray, how: SliceAugmentation, rng: np.random.Generator
) -> np.ndarray:
    """(2, 3), from pixels of a slice to those of a square that is cut out of the image which ``matrix`` leads to."""
    assert how.crop is not None
    body = np.flatnonzero(middle > BODY)
    if rng.random() < how.p_lesion or len(body) == 0:
        box = key.boxes[rng.integers(len(key.boxes))]
        point = (box[:2] + box[2:]) / 2
    else:
        row, column = divmod(int(rng.choice(body)), middle.shape[1])
        point = np.array([column + 0.5, row + 0.5])
    place = how.crop * rng.uniform(INNER, 1 - INNER, 2)
    cut: np.ndarray = matrix.copy()
    # Whole pixels, so that an image which is not scaled is not blurred.
    cut[:, 2] += np.round(place - moved_points(matrix, point))
    return cut


def _z_shift(key: KeySlice, how: SliceAugmentation, rng: np.random.Generator) -> int:
    """Slices by which the middle is shifted: to a slice that exists, or not at all."""
    if how.z_shift == 0 or not key.interval > 0:
        return 0
    shortest = min(finding.diameters[1] for finding in key.findings) * key.spacing[0]
    largest = int(min(how.z_shift * shortest / 2 / key.interval, len(key.series.numbers)))
    shift = int(rng.integers(-largest, largest + 1))
    return shift if key.slice + shift in key.series.numbers else 0


def _developed(image: np.ndarray, how: SliceAugmentation, hu: Window, rng: np.random.Generator) -> np.ndarray:
    """An image (S, side, side) of 0 to 1 over ``hu``, in another light and with noise."""
    width = hu[1] - hu[0]
    if how.bone is not None:
        start = np.float32((SOFT_END - hu[0]) / width)
        factor = np.float32(np.exp(rng.uniform(*np.log(how.bone))))
        image = np.where(image > start, start + factor * (image - start), image)
    if rng.random() >= how.p_intensity:
        return image
    gain, offset, noise = (
        rng.uniform(-how.gain, how.gain),
        rng.uniform(-how.offset, how.offset),
        how.noise * rng.random(),
    )
    grain = rng.standard_normal(image.shape, np.float32)
    return image * np.float32(1 + gain) + np.float32(offset / width) + grain * np.float32(noise / width)


def _boxes(
    key: KeySlice, matrix: np.ndarray, side: int, *, turned: bool, visible: float
) -> tuple[np.ndarray, np.ndarray]:
    """(n, 4) boxes where a matrix puts them, cut at the edges of the image, and which of them (n,) are shown."""
    if turned:
        ends = moved_points(matrix, np.stack([finding.recist for finding in key.findings]))  # (n, 4, 2)
        padding = PADDING * np.sqrt(abs(np.linalg.det(matrix[:, :2])))
        whole = np.concatenate([ends.min(1) - padding, ends.max(1) + padding], -1)
    else:
        whole = moved_boxes(matrix, key.boxes)
    boxes = np.clip(whole, 0, side)
    sides, before = boxes[:, 2:] - boxes[:, :2], whole[:, 2:] - whole[:, :2]
    if visible == 0:
        return boxes, np.ones(len(boxes), bool)
    return boxes, (sides.prod(1) >= visible * before.prod(1)) & (sides >= SMALLEST_BOX).all(1)
