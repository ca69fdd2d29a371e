"""Batches for healthy twins: images with lesions, masks of some of them, real normal images of the same place.

    slices of any format (``PairedSlices``) -> patients divided -> batches, each a pure function of its number

Keys of a batch:

    image           (B, 1, S, S)  float32 in [-1, 1], clipped beyond
    mask            (B, 1, S, S)  float32 of 0 and 1; 0 where it is not known
    mask_known      (B,)          bool
    healthy         (B, 1, S, S)  float32, a real normal image of another patient at the same height; 0 where none is
    healthy_known   (B,)          bool
    index           (B,)          int64, number of the slice among those of the feed

With a spacing, images are squares cut out of slices around a lesion, which is anywhere in them; the normal image is cut
out at the same place of its own body. Without one, images are whole slices.

Those of an evaluation have the true twin beside: ``truth`` (B, 1, S, S) and ``truth_known`` (B,) bool.

Shapes      B images of a batch   N slices   S side of the image   H, W pixels of a slice
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from semeia.data.formats.masked_slices import with_masks
from semeia.data.paired_slices import PairedSlices, SliceRow, Split
from semeia.data.slice_feeds import ShuffledOrder
from semeia.data.slices import Framing, Movement, Window, body_box, moved_points
from semeia.records import SemeiaError

SCALED: Window = (-1.0, 1.0)
"""The window of images whose format has scaled them."""

SOFT = 0.6
"""Part of [-1, 1] that the HU of soft tissue fill."""

INNER = 0.2
"""Part of a square along each border in which no lesion's middle is placed."""

COARSE = 4
"""Pixels that are passed over when the body is looked for."""

NEAREST = 16
"""Normal slices at about the same height among which one is drawn."""


@dataclass(frozen=True)
class Tones:
    """How HU become values in [-1, 1]: evenly, or with more room for ``soft``, HU inside the ``window``."""

    window: Window
    soft: Window | None = None

    @cached_property
    def knots(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """HU, and the values that they become; straight between."""
        return (self.window[0], *(self.soft or ()), self.window[1]), (-1.0, *((-SOFT, SOFT) if self.soft else ()), 1.0)

    def of(self, hu: np.ndarray) -> np.ndarray:
        """Values of HU of any shape, clipped beyond the window; float32."""
        return np.interp(hu, *self.knots).astype(np.float32)

    def back(self, values: np.ndarray) -> np.ndarray:
        """HU of values of any shape, those beyond -1 and 1 clipped; float32."""
        hu, tones = self.knots
        return np.interp(values, tones, hu).astype(np.float32)


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


class Opened(NamedTuple):
    """A slice that was read."""

    source: PairedSlices
    row: int
    image: np.ndarray
    """(H, W)."""
    body: tuple[int, int, int, int]
    """Pixels x0, y0, x1, y1 that hold it; all where whole slices are taken."""


class Cut(NamedTuple):
    """A square that is cut out of a slice."""

    point: np.ndarray
    """(2,) of the slice, in parts of the box around the body."""
    within: np.ndarray
    """(2,) where that point lies in the square, in parts of its side."""


class TwinFeed:
    """Batches in the layout above.

    Args:
        places: Slices with lesions.
        batch_size: B on one rank.
        size: S; without a spacing larger slices are shrunk, smaller ones are framed.
        window: Values that become -1 and 1; None for those that are scaled.
        soft: HU that fill ``SOFT`` of that.
        spacing: Millimetres a pixel of the squares that are cut out; a slice whose own are not known keeps its pixels.
            None takes whole slices.
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
        soft: Window | None = None,
        spacing: float | None = None,
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
        fit: Literal["shrink", "crop"] = "shrink" if spacing is None else "crop"
        self.framing = Framing(size=size, spacing=spacing, windows=(window or SCALED,), fit=fit)
        self.tones = Tones(window or SCALED, soft)
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
        opened = self._opened(self.places[number])
        movement, cut = self.augmentation.movement(rng), self._cut(opened, rng)
        image, mask, _ = self._framed(opened, movement, cut, masks=self.masks)
        blank = np.zeros_like(image)
        healthy = None
        if matched is not None:
            normal = self._opened(self.normal[matched])
            healthy, _, _ = self._framed(normal, self.augmentation.movement(rng), cut, masks=False)
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
                opened = self._opened(self.places[number])
                cut = self._cut(opened, np.random.default_rng((0, number)))
                image, mask, truth = self._framed(opened, Movement(), cut, masks=self.masks, twin=True)
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

    def _opened(self, place: Place) -> Opened:
        source, row = place
        image = _checked(source.image(row), source.rows[row].name, "an image")
        body = (0, 0, image.shape[1], image.shape[0])
        # Values that a format has scaled say nothing of air.
        if self.framing.spacing is not None and self.tones.window != SCALED:
            x0, y0, x1, y1 = (COARSE * edge for edge in body_box(image[::COARSE, ::COARSE]))
            body = (x0, y0, x1, y1)
        return Opened(source, row, image, body)

    def _cut(self, opened: Opened, rng: np.random.Generator) -> Cut | None:
        """Which square is cut out of a slice; None takes all of it."""
        if self.framing.spacing is None:
            return None
        source, number, _, (x0, y0, x1, y1) = opened
        known, within = source.places(number), rng.uniform(INNER, 1 - INNER, 2)
        if not len(known):
            return Cut(rng.uniform(0, 1, 2), within)
        point = known[rng.integers(len(known))]
        return Cut((point - (x0, y0)) / (max(x1 - x0, 1), max(y1 - y0, 1)), within)

    def _framed(
        self, opened: Opened, movement: Movement, cut: Cut | None, *, masks: bool, twin: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Image, mask and twin (1, S, S) of a slice, the last two where they are asked for and known."""
        source, number, image, (x0, y0, x1, y1) = opened
        name = source.rows[number].name
        mask = source.mask(number) if masks else None
        truth = source.twin(number) if twin else None
        for other, what in ((mask, "a mask"), (truth, "a twin")):
            if other is not None and _checked(other, name, what).shape != image.shape:
                raise SemeiaError(f"{name}: expected {what} of {image.shape[0]} x {image.shape[1]} pixels, as the "
                                  f"image has, found {' x '.join(map(str, other.shape))}; correct it")  # fmt: skip
        region = (0, 0, image.shape[1], image.shape[0])
        wanted = self.framing.spacing
        apart = (1.0, 1.0) if wanted is None else source.spacing(number) or (wanted, wanted)
        matrix = self.framing.matrix(region, apart, movement)
        if cut is not None:
            point = np.array([x0, y0]) + cut.point * (x1 - x0, y1 - y0)
            # Whole pixels, so that an image which is not scaled is not blurred.
            matrix[:, 2] += np.round(cut.within * self.framing.size - moved_points(matrix, point))
        low, high = self.framing.hu

        def shown(values: np.ndarray) -> np.ndarray:
            framed = self.framing.image(values[None].astype(np.float32), region, matrix)
            return self.tones.of(low + framed * (high - low))

        marked = None
        if mask is not None:
            marked = self.framing.image(np.where(mask, high, low)[None].astype(np.float32), region, matrix) > 0.5
        return (
            shown(image),
            None if marked is None else marked.astype(np.float32),
            None if truth is None else shown(truth),
        )

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
