"""Batches of faces from several folders, each a pure function of its number.

Batch ``i`` of a rank is made from (seed, ``i``, rank, world) alone, so that a run that was stopped goes on with the
batches it would have seen, whatever process makes them.

Each sample is served in one of two views:

    aligned     eyes and mouth at fixed places; shows no roll, so roll is masked
    upright     same middle and scale without rotation

A reader may divide its tasks between the views (``loose``); a sample is then labelled for the tasks of its view alone.

Faces without landmarks are served whole, the longer side filling the crop, with roll labelled as in an upright view.

A feed of one set may take its batches from an order (``data.orders``); they then also hold

    index       (B,)  int64, number of the face among those of the split

Shapes      B images of a batch   N images of a split   S side of the crop
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from semeia.data.augment import Augmentation, develop, jittered, sample_jitter
from semeia.data.formats.face_files import Faces
from semeia.data.orders import BatchOrder
from semeia.data.samples import (
    TASK_TARGETS,
    FaceTargets,
    TargetTable,
    Vocabulary,
    collate,
    flip,
    only,
    turn,
    without_roll,
)
from semeia.ops.faces import FLIP_68, aligned_matrix, crop, transform_points, upright_matrix
from semeia.records import PRESENT, SemeiaError

View = Literal["aligned", "upright"]
Balance = Literal["none", "au"]


@dataclass(frozen=True)
class FaceSet:
    """One folder in a mixture."""

    folder: Faces
    """The faces."""
    split: str | None = "train"
    """The split that is drawn from; None draws from all."""
    share: float = 1.0
    """Part of each batch, relative to the other sets."""
    balance: Balance = "none"
    """``none``: each face once an epoch, shuffled. ``au``: with replacement, see ``rarity_weights``."""


def mixture(
    system: str, data: Sequence[Faces], shares: Sequence[float] | None, *, balance: Balance = "none"
) -> list[FaceSet]:
    """The training sets of a recipe: those of ``data`` that have a train split, with their shares of each batch.

    Args:
        system: Errors begin with it.
        data: What was opened.
        shares: Of each of ``data``; equal where none are given.
        balance: How each set is drawn.

    Raises:
        SemeiaError: Nothing was opened, nothing has a train split, or shares do not match.
    """
    if not data:
        raise SemeiaError(f"{system}: expected at least one folder of faces (--data FOLDER), found none")
    parts = shares or (1.0,) * len(data)
    if len(parts) != len(data):
        raise SemeiaError(f"{system}: expected a share for each of {len(data)} folders, found {len(parts)}")
    pairs = [(faces, part) for faces, part in zip(data, parts, strict=True) if len(faces.select("train"))]
    if not pairs:
        indices_of(data[0], "train")
    return [FaceSet(faces, share=part, balance=balance) for faces, part in pairs]


class FaceFeed:
    """Training batches, augmented, in the layout of ``data.samples``.

    Args:
        sets: Folders to mix; each fills a fixed number of places in every batch, by largest remainder.
        batch_size: Images of a batch on one rank.
        image_size: Side S of the crops in pixels.
        vocabulary: Names that targets are arranged by.
        augmentation: How far and how often pictures are changed.
        aligned: Part of the samples that is served aligned.
        margins: Margin of the aligned and of the upright crop, see ``ops.faces``.
        loose: Tasks (of ``data.samples.TASK_TARGETS``) that are read from upright views, the others from aligned ones;
            None labels both views for all.
        seed: Of all randomness.
        order: Which faces of the one set stand together, in batches of ``batch_size``; each face once an epoch,
            shuffled, where none is given. It numbers the faces of the split as ``indices_of`` gives them, from 0.

    Raises:
        SemeiaError: A set has no faces in its split, or expressions none of which the vocabulary has; an order is given
            for several sets, or for one that is balanced.
    """

    def __init__(
        self,
        sets: Sequence[FaceSet],
        *,
        batch_size: int,
        image_size: int,
        vocabulary: Vocabulary,
        augmentation: Augmentation,
        aligned: float = 0.7,
        margins: tuple[float, float] = (0.25, 0.35),
        loose: Collection[str] | None = None,
        seed: int = 0,
        order: BatchOrder | None = None,
    ) -> None:
        self.loose, self.order = loose, order
        self.sets = tuple(sets)
        if order is not None:
            _check_orderly(self.sets)
        self.places = shares(batch_size, [s.share for s in sets])
        self.image_size, self.vocabulary, self.augmentation = image_size, vocabulary, augmentation
        self.aligned, self.seed = aligned, seed
        self.margins: Mapping[View, float] = {"aligned": margins[0], "upright": margins[1]}
        self.indices = [indices_of(s.folder, s.split) for s in sets]
        for s, indices in zip(sets, self.indices, strict=True):
            _check_names(s.folder, indices, vocabulary)
        self.targets = [TargetTable(s.folder.columns, vocabulary) for s in sets]
        self.bounds = [
            np.cumsum(rarity_weights(s.folder, indices, vocabulary)) if s.balance == "au" else None
            for s, indices in zip(sets, self.indices, strict=True)
        ]

    def batch(self, index: int, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
        """Batch number ``index`` of one rank.

        Raises:
            SemeiaError: The order gives no batch of faces of this split, or has not decided it yet.
        """
        if self.order is None:
            return collate([self.sample(s, position) for s, position in self.positions(index, rank, world)])
        step = index * world + rank
        numbers = self._ordered(self.order, step)
        samples = [
            self._served(0, int(self.indices[0][number]), np.random.default_rng((self.seed, step, place)))
            for place, number in enumerate(numbers)
        ]
        return collate(samples) | {"index": torch.tensor(numbers)}

    def positions(self, index: int, rank: int = 0, world: int = 1) -> list[tuple[int, int]]:
        """Which samples a batch holds: number of the set, and position in the endless sequence of that set."""
        return [
            (s, (index * world + rank) * places + place)
            for s, places in enumerate(self.places)
            for place in range(places)
        ]

    def sample(self, number: int, position: int) -> tuple[np.ndarray, FaceTargets]:
        """Sample at one position of the endless sequence of a set: crop (S, S, 3) uint8 and targets."""
        rng = np.random.default_rng((self.seed, number, position))
        return self._served(number, self._row(number, position, rng), rng)

    def _served(self, number: int, row: int, rng: np.random.Generator) -> tuple[np.ndarray, FaceTargets]:
        """A face of a set, by its row, as random numbers from ``rng`` show it."""
        folder = self.sets[number].folder
        view: View = "aligned" if rng.random() < self.aligned else "upright"
        landmarks, image = landmarks_of(folder, row), folder.image(row)
        matrix = crop_matrix(landmarks, image, view=view, size=self.image_size, margin=self.margins[view])
        targets = view_targets(self.targets[number][row], view, landmarks=landmarks)
        if self.loose is not None and landmarks is not None:
            targets = only(targets, [task for task in TASK_TARGETS if (task in self.loose) is (view == "upright")])
        jitter = sample_jitter(self.augmentation, rng, aligned=view == "aligned" and landmarks is not None)
        if jitter.flip:
            targets = flip(targets)
        matrix = jittered(matrix, jitter, self.image_size)
        cropped = crop(image, matrix, size=self.image_size)
        targets = with_landmarks(turn(targets, jitter.rotation), landmarks, matrix, self.image_size, flip=jitter.flip)
        return develop(cropped, self.augmentation, rng), targets

    def _row(self, number: int, position: int, rng: np.random.Generator) -> int:
        """Row of the folder at a position of the sequence."""
        indices, bounds = self.indices[number], self.bounds[number]
        if bounds is not None:
            return int(indices[np.searchsorted(bounds, rng.random() * bounds[-1], side="right")])
        epoch, place = divmod(position, len(indices))
        return int(indices[_order(len(indices), self.seed, number, epoch)[place]])

    def _ordered(self, order: BatchOrder, step: int) -> list[int]:
        """Numbers of the faces of a batch, counted over all ranks."""
        numbers, size, count = [int(number) for number in order.batch(step)], self.places[0], len(self.indices[0])
        where = f"{self.sets[0].folder.folder}: batch {step} of the order"
        if len(numbers) != size:
            raise SemeiaError(f"{where}: expected {size} faces, found {len(numbers)}; give the feed and its order the "
                              "same batch size")  # fmt: skip
        beyond = next((number for number in numbers if not 0 <= number < count), None)
        if beyond is not None:
            raise SemeiaError(f"{where}: expected numbers from 0 to {count - 1} of the faces of split "
                              f"'{self.sets[0].split}', found {beyond}; make the order for {count} faces")  # fmt: skip
        return numbers


def evaluation_batches(
    folder: Faces,
    *,
    split: str | None,
    view: View,
    image_size: int,
    vocabulary: Vocabulary,
    margin: float,
    batch_size: int = 64,
    limit: int | None = None,
) -> Iterator[dict[str, Tensor]]:
    """Batches of a split in its order, without augmentation; the last may be smaller.

    Args:
        folder: The faces.
        split: The split to read; None reads all.
        view: How faces are cropped.
        image_size: Side of the crops in pixels.
        vocabulary: Names that targets are arranged by.
        margin: Margin of the crop, see ``ops.faces``.
        batch_size: Images of a batch.
        limit: Most faces to read; taken at even steps through the split.

    Yields:
        The layout of ``data.samples``.

    Raises:
        SemeiaError: No faces in the split.
    """
    rows = evaluation_rows(folder, split=split, limit=limit)
    known = TargetTable(folder.columns.take(rows), vocabulary)
    for start in range(0, len(rows), batch_size):
        samples = []
        for place, row in enumerate(rows[start : start + batch_size], start=start):
            landmarks, image = landmarks_of(folder, row), folder.image(row)
            matrix = crop_matrix(landmarks, image, view=view, size=image_size, margin=margin)
            targets = view_targets(known[place], view, landmarks=landmarks)
            targets = with_landmarks(targets, landmarks, matrix, image_size)
            samples.append((crop(image, matrix, size=image_size), targets))
        yield collate(samples)


def evaluation_rows(folder: Faces, *, split: str | None, limit: int | None = None) -> np.ndarray:
    """Rows of the folder that ``evaluation_batches`` reads, in its order: for identities and other bookkeeping."""
    rows = indices_of(folder, split)
    if limit is None or limit >= len(rows):
        return rows
    return rows[np.arange(limit) * len(rows) // limit]


def indices_of(folder: Faces, split: str | None) -> np.ndarray:
    """Rows of a split.

    Raises:
        SemeiaError: There are none.
    """
    indices = folder.select(split)
    if len(indices) == 0:
        found = sorted({str(name) for name in folder.columns.texts["split"] if name is not None})
        raise SemeiaError(f"{folder.folder}: expected faces in split '{split}', found "
                          f"{'only ' + ', '.join(found) if found else 'no split at all'}; name another split or add "
                          "faces to it")  # fmt: skip
    return indices


def landmarks_of(folder: Faces, row: int) -> np.ndarray | None:
    """The 68 landmarks (68, 2) of one face in pixels, or None where they are not known."""
    points = folder.columns.landmarks[row]
    return None if np.isnan(points[0, 0]) else points


def crop_matrix(landmarks: np.ndarray | None, image: np.ndarray, *, view: View, size: int, margin: float) -> np.ndarray:
    """The (2, 3) matrix of a view; the whole image (H, W, 3), centred, where there are no landmarks (68, 2)."""
    if landmarks is not None:
        matrix_of = aligned_matrix if view == "aligned" else upright_matrix
        return matrix_of(landmarks, size, margin=margin)
    height, width = image.shape[:2]
    scale = size / max(height, width)
    return np.array([[scale, 0, (size - scale * width) / 2], [0, scale, (size - scale * height) / 2]])


def view_targets(targets: FaceTargets, view: View, *, landmarks: np.ndarray | None) -> FaceTargets:
    """Targets as far as a view shows them: alignment takes roll away."""
    return without_roll(targets) if view == "aligned" and landmarks is not None else targets


def with_landmarks(
    targets: FaceTargets, landmarks: np.ndarray | None, matrix: np.ndarray, size: int, *, flip: bool = False
) -> FaceTargets:
    """Targets with the landmarks (68, 2) where a matrix (2, 3) puts them in a crop of ``size`` pixels.

    A matrix that mirrors needs ``flip``, which puts the points back into order.
    """
    if landmarks is None:
        return targets
    placed = transform_points(matrix, landmarks) / size
    return replace(targets, landmarks=(placed[FLIP_68] if flip else placed).astype(np.float32))


def shares(places: int, weights: Sequence[float]) -> list[int]:
    """Share places out in proportion to weights by largest remainder; the first of equals wins.

    >>> shares(10, [1, 1, 1])
    [4, 3, 3]
    """
    exact = np.asarray(weights, float) / sum(weights) * places
    whole = np.floor(exact).astype(int)
    # Rounded, so that 1/3 and 1/3 are equals in spite of floating point.
    order = np.argsort(-(exact - whole).round(9), kind="stable")
    whole[order[: places - whole.sum()]] += 1
    return [int(count) for count in whole]


def rarity_weights(folder: Faces, indices: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """(N,) weight of each face of a split: how rare its rarest positive unit or expression is.

    A label that one face in ten has weighs 10; faces without any positive weigh 1.
    """
    positive = np.column_stack([positive_units(folder, vocabulary)[indices], *_classes(folder, indices, vocabulary)])
    rarity = len(indices) / np.maximum(positive.sum(0), 1)
    return np.where(positive, rarity, 1.0).max(1, initial=1.0)


def positive_units(folder: Faces, vocabulary: Vocabulary) -> np.ndarray:
    """(all faces, K) whether each unit is known to be present, by occurrence or else by intensity."""
    occurrence = folder.columns.matrix([f"{name}_c" for name in vocabulary.action_units])
    intensity = folder.columns.matrix([f"{name}_r" for name in vocabulary.action_units])
    return np.where(np.isnan(occurrence), intensity >= PRESENT, occurrence == 1)


def positive_rates(sets: Sequence[FaceSet], vocabulary: Vocabulary) -> np.ndarray:
    """(K,) share of positives of each unit as it is drawn in training, NaN where nobody labelled it.

    Faces that are not labelled with a unit do not count for it.
    """
    positives, labelled = np.zeros(len(vocabulary.action_units)), np.zeros(len(vocabulary.action_units))
    for s in sets:
        rows = s.folder.select(s.split)
        drawn = rarity_weights(s.folder, rows, vocabulary) if s.balance == "au" else np.ones(len(rows))
        weight = s.share * drawn / drawn.sum()
        positives += weight @ positive_units(s.folder, vocabulary)[rows]
        labelled += weight @ labelled_units(s.folder, vocabulary)[rows]
    return np.divide(positives, labelled, out=np.full_like(positives, np.nan), where=labelled > 0)


def labelled_units(folder: Faces, vocabulary: Vocabulary) -> np.ndarray:
    """(all faces, K) whether anything is known of each unit's presence."""
    columns = [folder.columns.matrix([f"{name}_{what}" for name in vocabulary.action_units]) for what in "cr"]
    return ~np.isnan(columns[0]) | ~np.isnan(columns[1])


def _classes(folder: Faces, indices: np.ndarray, vocabulary: Vocabulary) -> list[np.ndarray]:
    """E columns (N,): whether each face has each expression."""
    expression = folder.columns.texts["expression"][indices]
    return [expression == name for name in vocabulary.expressions]


@lru_cache(maxsize=16)
def _order(size: int, seed: int, number: int, epoch: int) -> np.ndarray:
    """Order of a set in one epoch; the odd word keeps it apart from the seeds of samples."""
    return np.random.default_rng((seed, number, epoch, 0x0DE5)).permutation(size)


def _check_orderly(sets: Sequence[FaceSet]) -> None:
    """An order numbers the faces of one set, and decides itself how often each is drawn."""
    if len(sets) != 1:
        raise SemeiaError(f"a feed with an order: expected one set of faces, found {len(sets)}; leave the others out, "
                          "or train without an order")  # fmt: skip
    if sets[0].balance != "none":
        raise SemeiaError(f"{sets[0].folder.folder}: a feed with an order: expected balance 'none', found "
                          f"'{sets[0].balance}'; the order decides which faces are drawn")  # fmt: skip


def _check_names(folder: Faces, indices: np.ndarray, vocabulary: Vocabulary) -> None:
    """Labelled expressions must meet the vocabulary somewhere; other spellings would silently train nothing."""
    found = {name for name in folder.columns.texts["expression"][indices] if name is not None}
    if found and not found & set(vocabulary.expressions):
        raise SemeiaError(f"{folder.folder}: expected expressions among {', '.join(vocabulary.expressions)}, found "
                          f"{', '.join(sorted(found)[:8])}; spell them so, or leave them out")  # fmt: skip
