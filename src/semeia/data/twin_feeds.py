"""Batches for healthy twins: images with lesions, masks of some of them, real normal images of the same place.

    slices of any format (``PairedSlices``) -> patients divided -> batches, each a pure function of its number

Keys of a batch:

    image           (B, 1, S, S)  float32 in [-1, 1], clipped beyond
    mask            (B, 1, S, S)  float32 of 0 and 1; 0 where it is not known
    mask_known      (B,)          bool
    healthy         (B, 1, S, S)  float32, a real normal image of another patient at the same height; 0 where none is
    healthy_known   (B,)          bool
    index           (B,)          int64, number of the slice among those of the feed

Those of an evaluation have the true twin beside: ``truth`` (B, 1, S, S) and ``truth_known`` (B,) bool.

Shapes      B images of a batch   N slices   S side of the image   H, W pixels of a slice
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch

from semeia.data.formats.deeplesion import MASKS, DeepLesion, KeySlice
from semeia.data.formats.masked_slices import MaskedSlice, with_masks
from semeia.data.formats.slice_files import Series, grey_pixels, slice_numbers
from semeia.data.lesion_masks import masks_of
from semeia.data.slice_feeds import ShuffledOrder
from semeia.data.slices import Framing, Movement, Window
from semeia.records import SemeiaError

Split = Literal["train", "val", "test"]

HEALTHY = "Healthy_png"
"""Folder of true twins of a CT world."""

BODY_MM = 630.0
"""Millimetres from 0 to 1 of the height in a body, in the CT world."""

SCALED: Window = (-1.0, 1.0)
"""The window of images whose format has scaled them."""

NEAREST = 16
"""Normal slices at about the same height among which one is drawn."""


@dataclass(frozen=True)
class SliceRow:
    """What is known of a slice without reading it.

    ``position`` is the height in the body or organ, in any unit that patients share; NaN where it is not known.
    ``normal`` slices are known to hold no lesion.
    """

    name: str
    patient: str
    split: Split
    position: float
    normal: bool = False


class PairedSlices(Protocol):
    """Slices of one format: which patient, and what belongs to each slice."""

    @property
    def rows(self) -> Sequence[SliceRow]:
        """N slices, those with a lesion and normal ones."""
        ...

    def image(self, row: int, /) -> np.ndarray:
        """(H, W) HU, or values in [-1, 1] where the format has scaled them."""
        ...

    def mask(self, row: int, /) -> np.ndarray | None:
        """(H, W) bool, where the lesion was marked; it may be empty."""
        ...

    def twin(self, row: int, /) -> np.ndarray | None:
        """(H, W) the same slice without its lesion, where that is known, as it is in made worlds alone."""
        ...


class CTSlices:
    """Key slices in DeepLesion's layout, and the twins of a CT world.

    Masks are those of ``Masks_png`` or, where there are none, the ellipses of the measured axes. Every slice of
    ``Healthy_png`` is a normal slice; without that folder there is none.

    Args:
        data: Key slices with their splits.
    """

    def __init__(self, data: DeepLesion) -> None:
        self.data = data
        place = data.folder.resolve().name
        self.places: list[tuple[KeySlice, Series, int]] = []
        self.rows: list[SliceRow] = []
        for key in data.keys:
            person = f"{place}/{key.patient:06d}"
            self.places.append((key, key.series, key.slice))
            self.rows.append(SliceRow(f"{place}/{key.name}", person, key.split, key.location))
        for key in data.keys:
            twins = self.twins_of(key)
            interval = key.interval if key.interval > 0 else 0.0
            for number in twins.numbers.tolist():
                # Slices are numbered towards the head, heights are counted from it.
                height = key.location - (number - key.slice) * interval / BODY_MM
                name = f"{place}/{HEALTHY}/{key.series.name}/{number:03d}"
                self.places.append((key, twins, number))
                self.rows.append(SliceRow(name, f"{place}/{key.patient:06d}", key.split, height, normal=True))

    def twins_of(self, key: KeySlice) -> Series:
        """The slices without lesions of the series of a key slice."""
        folder = self.data.folder / HEALTHY / key.series.name
        return Series(folder, slice_numbers(folder), key.series.size)

    def image(self, row: int, /) -> np.ndarray:
        """(H, W) int16 HU."""
        _, series, number = self.places[row]
        return series.read(number)

    def mask(self, row: int, /) -> np.ndarray | None:
        """(H, W) bool; empty of a normal slice."""
        key, series, number = self.places[row]
        if self.rows[row].normal:
            return np.zeros(series.size[::-1], bool)
        path = self.data.folder / MASKS / series.name / f"{number:03d}.png"
        if not path.is_file():
            return np.asarray(masks_of(key).any(0))
        return grey_pixels(path, series.size, bits=8) > 0

    def twin(self, row: int, /) -> np.ndarray | None:
        """(H, W) int16 HU."""
        key, series, number = self.places[row]
        twins = series if self.rows[row].normal else self.twins_of(key)
        return twins.read(number) if number in twins.numbers else None


class MarkedSlices:
    """Slices that a format has read and scaled, such as those of BraTS and LiTS; there is no true twin.

    Args:
        slices: Of any patients.
        splits: Of each patient.

    Raises:
        SemeiaError: A patient has no split.
    """

    def __init__(self, slices: Sequence[MaskedSlice], splits: Mapping[str, Split]) -> None:
        self.slices = slices
        if lost := sorted({each.patient for each in slices} - set(splits)):
            raise SemeiaError(f"patient {lost[0]!r}: expected in a split, found in none; split all patients")
        highest: dict[str, int] = {}
        for each in slices:
            highest[each.scan] = max(highest.get(each.scan, 1), each.slice)
        self.rows = [
            SliceRow(
                f"{each.scan}/{each.slice}", each.patient, splits[each.patient], each.slice / highest[each.scan],
                normal=each.kind == "normal",
            )
            for each in slices
        ]  # fmt: skip

    def image(self, row: int, /) -> np.ndarray:
        """(H, W) float32 in [-1, 1]."""
        return self.slices[row].image

    def mask(self, row: int, /) -> np.ndarray | None:
        """(H, W) bool or None."""
        return self.slices[row].mask

    def twin(self, row: int, /) -> np.ndarray | None:
        """None, except for normal slices, which are their own."""
        return self.slices[row].image if self.rows[row].normal else None


# ---------------------------------------------------------------------------------------------------------------------
# Patients

Place = tuple[PairedSlices, int]
"""A slice: where it is from, and its row."""


@dataclass(frozen=True)
class Division:
    """The slices of a training: with masks, without, and normal ones."""

    labelled: tuple[Place, ...]
    unlabelled: tuple[Place, ...]
    normal: tuple[Place, ...]

    def patients(self, of: Literal["labelled", "unlabelled", "normal"]) -> int:
        """How many patients these slices are of."""
        return len({_row(place).patient for place in getattr(self, of)})


def check_patients(sets: Sequence[PairedSlices]) -> None:
    """Make sure that no patient stands in two splits, over all sets.

    Raises:
        SemeiaError: One does; both slices are named.
    """
    seen: dict[str, SliceRow] = {}
    for row in (row for each in sets for row in each.rows):
        first = seen.setdefault(row.patient, row)
        if first.split != row.split:
            raise SemeiaError(f"patient {row.patient!r}: expected in one split, found {first.name} in {first.split!r} "
                              f"and {row.name} in {row.split!r}; split by patients")  # fmt: skip


def slices_of(sets: Sequence[PairedSlices], split: Split, *, normal: bool = False) -> list[Place]:
    """The slices of a split that hold a lesion, or may; or the normal ones."""
    return [
        (each, number)
        for each in sets
        for number, row in enumerate(each.rows)
        if row.split == split and row.normal is normal
    ]


def divided(
    sets: Sequence[PairedSlices], *, labelled: float, healthy: float = 0.0, seed: int = 0, split: Split = "train"
) -> Division:
    """Which training patients are healthy ones, which keep their masks, and which do not.

    A smaller share of masks lies in every larger one of the same seed.

    Args:
        sets: What is divided.
        labelled: Share of the patients with lesions that keep their masks, above 0, up to 1; rounded up.
        healthy: Share of the patients with normal slices of whom nothing but these is used, so that twins of a made
            world never stand beside their lesions; 0 takes normal slices of all patients.
        seed: Of the order of patients.
        split: Which is divided.

    Raises:
        SemeiaError: A patient stands in two splits, a share is none, or nobody is left who has a mask.
    """
    check_patients(sets)
    if not 0 <= healthy < 1:
        raise SemeiaError(f"healthy: expected a share from 0 to below 1, found {healthy}")
    lesions, normal = slices_of(sets, split), slices_of(sets, split, normal=True)
    if healthy and normal:
        people = sorted({_row(place).patient for place in normal})
        order = np.random.default_rng((seed, 0x4EA1)).permutation(people).tolist()
        # Rounded first, so that 0.1 of 30 is 3 in spite of floating point.
        well = set(order[: math.ceil(round(healthy * len(order), 6))])
        lesions = [place for place in lesions if _row(place).patient not in well]
        normal = [place for place in normal if _row(place).patient in well]
    kept = with_masks({_row(place).patient for place in lesions}, labelled, seed=seed)
    division = Division(
        tuple(place for place in lesions if _row(place).patient in kept),
        tuple(place for place in lesions if _row(place).patient not in kept),
        tuple(normal),
    )
    if not division.labelled:
        raise SemeiaError(f"expected slices of split {split!r} with lesions and masks, found none; "
                          "name other data or another split")  # fmt: skip
    return division


def _row(place: Place) -> SliceRow:
    return place[0].rows[place[1]]


# ---------------------------------------------------------------------------------------------------------------------
# Batches


@dataclass(frozen=True)
class TwinAugmentation:
    """How far and how often training images are moved; ``p_`` marks probabilities. Grey values stay as they are."""

    p_flip: float = 0.5
    """Mirror left and right."""
    p_move: float = 0.8
    """Turn, scale and shift together."""
    rotation: float = 10.0
    """Largest turn either way, degrees."""
    scale: float = 0.1
    """Largest change of scale either way, as a part of 1."""
    shift: float = 0.05
    """Largest shift along each axis, as a part of the side."""

    def movement(self, rng: np.random.Generator) -> Movement:
        """One draw."""
        flip = bool(rng.random() < self.p_flip)
        if rng.random() >= self.p_move:
            return Movement(flip)
        across, down = rng.uniform(-self.shift, self.shift, 2)
        turn, scale = rng.uniform(-self.rotation, self.rotation), 1 + rng.uniform(-self.scale, self.scale)
        return Movement(flip, float(turn), float(scale), (float(across), float(down)))


STILL = TwinAugmentation(p_flip=0, p_move=0)
"""No augmentation."""


class TwinFeed:
    """Batches in the layout above.

    Args:
        places: Slices with lesions.
        batch_size: B on one rank.
        size: S; larger slices are shrunk, smaller ones are framed.
        window: Values that become -1 and 1; None for those that are scaled.
        masks: Whether masks are given.
        normal: Normal slices, of which one goes with each image.
        augmentation: How images are moved; image and mask alike, the normal image by a draw of its own.
        seed: Of all randomness.

    Raises:
        SemeiaError: There are no slices.
    """

    def __init__(
        self,
        places: Sequence[Place],
        batch_size: int,
        *,
        size: int,
        window: Window | None,
        masks: bool = True,
        normal: Sequence[Place] = (),
        augmentation: TwinAugmentation = TwinAugmentation(),
        seed: int = 0,
    ) -> None:
        if not places:
            raise SemeiaError("expected slices to make batches of, found none; name other data or another split")
        self.places, self.normal, self.masks = tuple(places), tuple(normal), masks
        self.augmentation, self.seed = augmentation, seed
        self.order = ShuffledOrder(len(self.places), batch_size=batch_size, seed=seed)
        self.framing = Framing(size=size, windows=(window or SCALED,))
        self.positions = np.array([_row(place).position for place in self.normal])
        people = sorted({_row(place).patient for place in (*self.places, *self.normal)})
        numbers = {name: number for number, name in enumerate(people)}
        self.person = np.array([numbers[_row(place).patient] for place in self.places])
        self.normal_person = np.array([numbers[_row(place).patient] for place in self.normal])

    def batch(self, index: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Batch number ``index`` of one rank."""
        step = index * world + rank
        numbers = self.order.batch(step)
        rngs = [np.random.default_rng((self.seed, step, place)) for place in range(len(numbers))]
        return self._joined([self.sample(n, rng) for n, rng in zip(numbers, rngs, strict=True)], numbers)

    def sample(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """One sample, moved by random numbers from ``rng``."""
        matched = self.matched(number, rng)
        image, mask, _ = self._framed(self.places[number], self.augmentation.movement(rng), masks=self.masks)
        blank = np.zeros_like(image)
        healthy = None
        if matched is not None:
            healthy, _, _ = self._framed(self.normal[matched], self.augmentation.movement(rng), masks=False)
        return {
            "image": image, "mask": blank if mask is None else mask, "mask_known": mask is not None,
            "healthy": blank if healthy is None else healthy, "healthy_known": healthy is not None,
        }  # fmt: skip

    def matched(self, number: int, rng: np.random.Generator) -> int | None:
        """A normal slice of another patient, drawn among those at about the same height; None where there is none."""
        others = np.flatnonzero(self.normal_person != self.person[number])
        if not len(others):
            return None
        # Heights that nobody knows come last, and all alike.
        distance = np.nan_to_num(np.abs(self.positions[others] - _row(self.places[number]).position), nan=np.inf)
        if np.isinf(distance).all():
            return int(rng.choice(others))
        near = np.argsort(distance, kind="stable")[:NEAREST]
        return int(rng.choice(others[near]))

    def evaluation_batches(self, batch_size: int = 8) -> Iterator[dict[str, Any]]:
        """All slices in their order, unmoved, with their twins; the last batch may be smaller."""
        for start in range(0, len(self.places), batch_size):
            numbers = range(start, min(start + batch_size, len(self.places)))
            samples = []
            for number in numbers:
                image, mask, truth = self._framed(self.places[number], Movement(), masks=self.masks, twin=True)
                blank = np.zeros_like(image)
                samples.append({
                    "image": image, "mask": blank if mask is None else mask, "mask_known": mask is not None,
                    "healthy": blank, "healthy_known": False,
                    "truth": blank if truth is None else truth, "truth_known": truth is not None,
                })  # fmt: skip
            yield self._joined(samples, numbers)

    def patient(self, number: int) -> str:
        """Whose slice it is."""
        return _row(self.places[number]).patient

    def _framed(
        self, place: Place, movement: Movement, *, masks: bool, twin: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Image, mask and twin (1, S, S) of a slice, the last two where they are asked for and known."""
        source, number = place
        name = source.rows[number].name
        image = _checked(source.image(number), name, "an image")
        mask = source.mask(number) if masks else None
        truth = source.twin(number) if twin else None
        for other, what in ((mask, "a mask"), (truth, "a twin")):
            if other is not None and _checked(other, name, what).shape != image.shape:
                raise SemeiaError(f"{name}: expected {what} of {image.shape[0]} x {image.shape[1]} pixels, as the "
                                  f"image has, found {' x '.join(map(str, other.shape))}; correct it")  # fmt: skip
        region = (0, 0, image.shape[1], image.shape[0])
        matrix = self.framing.matrix(region, (1.0, 1.0), movement)

        def shown(values: np.ndarray) -> np.ndarray:
            framed = self.framing.image(values[None].astype(np.float32), region, matrix)
            return (np.clip(framed, 0, 1) * 2 - 1).astype(np.float32)

        marked = None
        if mask is not None:
            low, high = self.framing.hu
            marked = (shown(np.where(mask, high, low)) > 0).astype(np.float32)
        return shown(image), marked, None if truth is None else shown(truth)

    @staticmethod
    def _joined(samples: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> dict[str, Any]:
        batch: dict[str, Any] = {
            name: torch.from_numpy(np.stack([np.asarray(sample[name]) for sample in samples])) for name in samples[0]
        }
        return batch | {"index": torch.tensor(list(numbers), dtype=torch.int64)}


class MixedFeed:
    """Batches of several feeds, joined; what is not known in one stays unknown.

    Args:
        feeds: At least one.
    """

    def __init__(self, *feeds: TwinFeed) -> None:
        self.feeds = feeds

    def batch(self, index: int, rank: int = 0, world: int = 1) -> dict[str, Any]:
        """Batch number ``index`` of one rank; ``index`` numbers slices within their own feed."""
        parts = [feed.batch(index, rank, world) for feed in self.feeds]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _checked(values: np.ndarray, name: str, what: str) -> np.ndarray:
    """A picture (H, W) of finite numbers.

    Raises:
        SemeiaError: It is none.
    """
    if values.ndim != 2 or 0 in values.shape:
        raise SemeiaError(f"{name}: expected {what} of rows and columns, found the shape {values.shape}; correct it")
    if not np.isfinite(values).all():
        raise SemeiaError(f"{name}: expected {what} of finite numbers, found NaN or infinity; correct it")
    return values
