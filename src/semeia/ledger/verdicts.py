"""Whether a claim holds, by rows of its arms.

    holds           the interval lies above minus the margin
    fails           the interval lies below minus the margin
    inconclusive    neither
    not run         no seed in which every arm was run, fewer than three of them, or only at the scale ``smoke``

Differences are signed so that more speaks for the claim.

Shapes      S seeds   G identities   R draws
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from semeia.ledger.claims import SCALES, Claim, Sums
from semeia.ledger.intervals import draws, half_width, shared
from semeia.ledger.rows import Row, of_scale
from semeia.records import SemeiaError

Word = Literal["holds", "fails", "inconclusive", "not run"]
LEAST_SEEDS = 3
"""Fewer paired seeds give no verdict."""


@dataclass(frozen=True)
class Verdict:
    """What the rows say of a claim; numbers are NaN where there are none."""

    word: Word
    scale: str | None = None
    difference: float = math.nan
    """Mean over seeds, signed so that more speaks for the claim."""
    low: float = math.nan
    high: float = math.nan
    seeds: tuple[int, ...] = ()
    """In which every arm was run."""
    note: str = ""

    @property
    def words(self) -> str:
        """The word with its note."""
        return f"{self.word} ({self.note})" if self.note else self.word


def judge(claim: Claim, rows: Sequence[Row]) -> Verdict:
    """The verdict of the largest scale that has one.

    Raises:
        SemeiaError: Rows that are compared were made by other protocols or tested on other identities.
    """
    best: Verdict | None = None
    for scale in reversed(SCALES):
        found = {(row.arm, row.seed): row for row in of_scale(rows, scale) if row.arm in claim.arms}
        seeds = tuple(sorted(s for s in {s for _, s in found} if all((arm, s) in found for arm in claim.arms)))
        if not seeds:
            continue
        if scale == "smoke":
            verdict = Verdict("not run", scale, seeds=seeds, note="smoke")
        else:
            verdict = compare(claim, [[found[arm, seed] for arm in claim.arms] for seed in seeds])
        if verdict.word != "not run":
            return verdict
        best = best or verdict
    return best or Verdict("not run")


def compare(claim: Claim, pairs: Sequence[Sequence[Row]]) -> Verdict:
    """The verdict of rows of one scale.

    Args:
        claim: Whose.
        pairs: For each seed, a row for each of the claim's arms in their order.
    """
    first = pairs[0][0]
    for row in (row for pair in pairs for row in pair):
        if (row.protocol, row.identities, row.groups) != (first.protocol, first.identities, first.groups):
            raise SemeiaError(f"claim {claim.id}: rows of {row.arm!r}, seed {row.seed}, and {first.arm!r}, seed "
                              f"{first.seed}, were not made alike; run it --anew")  # fmt: skip
    seeds = tuple(pair[0].seed for pair in pairs)
    if first.groups < 2:
        return Verdict("not run", first.scale, seeds=seeds, note="one identity")
    values = np.stack([_differences(claim, pair) for pair in pairs])  # (S, 1 + R)
    mean = float(values[:, 0].mean())
    if len(seeds) < LEAST_SEEDS:
        note = f"{len(seeds)} of {LEAST_SEEDS} seeds"
        return Verdict("not run", first.scale, mean, seeds=seeds, note=note)
    reach = float(half_width(values[:, 0], shared(values[:, 1:], first.groups), first.groups))
    low, high = mean - reach, mean + reach
    note = "" if math.isfinite(reach) else "the metric does not exist for some draw"
    return Verdict(word(low, high, margin=claim.margin), first.scale, mean, low, high, seeds, note)


def word(low: float, high: float, *, margin: float) -> Word:
    """The verdict of an interval."""
    if low > -margin:
        return "holds"
    return "fails" if high < -margin else "inconclusive"


def whole(verdicts: Sequence[Verdict]) -> Word:
    """The verdict of a claim with parts: all must hold; one that fails is enough to fail."""
    words = {verdict.word for verdict in verdicts}
    for worst in ("fails", "not run", "inconclusive"):
        if worst in words:
            return worst
    return "holds"


def resampled(sums: Sums, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over draws of identities.

    Args:
        sums: (G, ...) by name.
        weights: (R, G) how often each identity counts.

    Returns:
        (R, ...) by name.
    """
    return {name: np.tensordot(weights, array, 1) for name, array in sums.items()}


def _differences(claim: Claim, pair: Sequence[Row]) -> np.ndarray:
    """(1 + R,) the weighted sum of one seed, signed: as it is, then under draws of identities."""
    for row in pair:
        if missing := claim.columns(row.arm) - row.sums.keys():
            raise SemeiaError(f"claim {claim.id}: the row of {row.arm!r}, seed {row.seed}, lacks the sums "
                              f"{', '.join(sorted(missing))}; run it --anew")  # fmt: skip
    weights = draws(pair[0].groups)
    sums = {row.arm: resampled({name: row.sums[name] for name in claim.columns(row.arm)}, weights) for row in pair}
    parts = [term.weight * np.asarray(term.metric.value(sums[term.arm]), float) for term in claim.weighted]
    return claim.sign * np.sum(parts, 0)
