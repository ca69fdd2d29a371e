"""Axial slices with and without a lesion, chosen out of scans with masks; patients in splits and nested shares.

Lesion slices show at least ``least_lesion`` pixels of lesion. Normal slices show none, and their organ's area and their
position lie where those of lesion slices do: otherwise a network that tells real normal slices from twins learns the
level of the body, not health.

Shapes      N slices   H, W pixels
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from semeia.records import SemeiaError

Kind = Literal["lesion", "normal", "unmasked"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class MaskedSlice:
    """One axial slice of a patient.

    ``image`` (H, W) is float32 in [-1, 1]; ``mask`` (H, W) bool is the lesion, None where nobody marked it.
    """

    patient: str
    scan: str
    slice: int
    kind: Kind
    image: np.ndarray = field(repr=False, compare=False)
    mask: np.ndarray | None = field(repr=False, compare=False)


@dataclass(frozen=True)
class Areas:
    """What is seen on the slices of one scan.

    ``organ`` and ``lesion`` (N,) count pixels; ``position`` (N,) is what makes levels of patients comparable.
    ``lesion`` is None where nobody marked lesions.
    """

    organ: np.ndarray
    lesion: np.ndarray | None
    position: np.ndarray


@dataclass(frozen=True)
class Choice:
    """Which slices are taken."""

    least_lesion: int = 50
    """Pixels of lesion on a lesion slice."""
    least_organ: int = 0
    """Pixels of organ on any slice; more than that many."""
    tails: float = 0.05
    """Part of lesion slices, at either end, that the range for normal slices leaves out."""


def chosen(scans: Mapping[str, Areas], choice: Choice) -> dict[str, list[tuple[int, Kind]]]:
    """Slices of each scan that are taken, in order, with their kind.

    The range of normal slices is that of the lesion slices of all scans. Without any lesion slice it is open.
    """
    taken: dict[str, list[tuple[int, Kind]]] = {name: [] for name in scans}
    organ, position = [], []
    for name, areas in scans.items():
        if areas.lesion is None:
            continue
        shows = (areas.lesion >= choice.least_lesion) & (areas.organ > choice.least_organ)
        taken[name] += [(int(z), "lesion") for z in np.flatnonzero(shows)]
        organ.append(areas.organ[shows])
        position.append(areas.position[shows])
    ranges = [_range(np.concatenate(values) if values else np.zeros(0), choice.tails) for values in (organ, position)]
    for name, areas in scans.items():
        fits = areas.organ > choice.least_organ
        for values, (low, high) in zip((areas.organ, areas.position), ranges, strict=True):
            fits &= (values >= low) & (values <= high)
        kind: Kind = "unmasked"
        if areas.lesion is not None:
            fits &= areas.lesion == 0
            kind = "normal"
        taken[name] = sorted(taken[name] + [(int(z), kind) for z in np.flatnonzero(fits)])
    return taken


def _range(values: np.ndarray, tails: float) -> tuple[float, float]:
    if not len(values):
        return -math.inf, math.inf
    low, high = np.quantile(values, [tails, 1 - tails])
    return float(low), float(high)


def split_patients(
    patients: Iterable[str], *, shares: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0
) -> dict[str, str]:
    """Each patient's split, ``train``, ``val`` or ``test``: all slices and scans of a patient go together.

    Args:
        patients: Names; repeated ones count once.
        shares: Of the patients in each split, which add up to 1; every split with a share gets a patient first.
        seed: Of the order that they are dealt in.

    Raises:
        SemeiaError: There are fewer patients than splits.
    """
    names = sorted(set(patients))
    wanted = [place for place, share in enumerate(shares) if share > 0]
    if len(names) < len(wanted):
        raise SemeiaError(f"expected at least {len(wanted)} patients to split, found {len(names)}")
    order = np.random.default_rng(seed).permutation(names).tolist()
    counts = [max(round(share * len(names)), 1) if share > 0 else 0 for share in shares]
    counts[wanted[0]] += len(names) - sum(counts)
    ends = np.cumsum(counts)
    return {name: SPLITS[int(np.searchsorted(ends, place, side="right"))] for place, name in enumerate(order)}


def check_apart(splits: Mapping[str, Collection[str]]) -> None:
    """Make sure that no patient stands in two splits.

    Raises:
        SemeiaError: One does; it is named.
    """
    seen: dict[str, str] = {}
    for split, patients in splits.items():
        for patient in sorted(set(patients)):
            if patient in seen:
                raise SemeiaError(f"patient {patient!r}: expected in one split, found in {seen[patient]!r} and "
                                  f"{split!r}; slices of one patient must not be trained and tested on")  # fmt: skip
            seen[patient] = split


def with_masks(patients: Iterable[str], share: float, *, seed: int = 0) -> frozenset[str]:
    """The patients that keep their masks: a smaller share lies in every larger one of the same seed.

    Args:
        patients: Those of the training.
        share: Of them, above 0 and up to 1; rounded up.
        seed: Decides which.

    Raises:
        SemeiaError: The share is no part.
    """
    if not 0 < share <= 1:
        raise SemeiaError(f"share of masks: expected above 0 and up to 1, found {share}")
    names = sorted(set(patients))
    order = np.random.default_rng((seed, 0x3A5C)).permutation(names).tolist()
    # Rounded first, so that 0.1 of 30 is 3 in spite of floating point.
    return frozenset(order[: math.ceil(round(share * len(names), 6))])
