"""The words of the ledger: metrics of sums, arms, claims, and the ledger of one system.

    sums of an arm (one row an identity) -> metric -> weighted by the terms of a claim -> one number a seed -> verdict

A metric is made of sums over test images, kept one row an identity, so that identities can be drawn again long after
the model is gone: counts of right and wrong answers, absolute errors, moments.

Shapes      G identities   R draws
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from semeia.records import SemeiaError

Scale = Literal["smoke", "small", "full"]
SCALES: tuple[Scale, ...] = ("smoke", "small", "full")
"""From seconds to days; ``smoke`` tests the machinery and never gives a verdict."""

TAGS = ("KNOWN", "INFERRED", "UNKNOWN")
"""How sure it is that the paper says so; every source begins with one of them."""

Sums = Mapping[str, np.ndarray]
"""By name: (G, ...) one row an identity, or (R, ...) one row a draw of identities."""


@dataclass(frozen=True)
class Metric:
    """A number that is made of sums over test images."""

    name: str
    """As tables show it."""
    columns: tuple[str, ...]
    """Names of the sums that it is made of."""
    value: Callable[[Sums], np.ndarray] = field(repr=False)
    """From sums (R, ...) to (R,)."""
    unit: str = ""
    """What a difference is measured in; differences of one unit share an axis."""


@dataclass(frozen=True)
class Term:
    """A metric of an arm, and how it enters a claim."""

    arm: str
    weight: float
    metric: Metric


@dataclass(frozen=True)
class Claim:
    """One statement of a paper as a weighted sum of metrics of arms that must lie above minus ``margin``."""

    id: str
    """``Q1`` or, for a part of a claim, ``Q1.units``."""
    statement: str
    """In one sentence."""
    source: str
    """Where it stands, after one of ``TAGS``."""
    arms: tuple[str, ...]
    """Names of arms: the claimed one, then what it is compared with."""
    metric: Metric
    """What is compared."""
    direction: Literal["higher", "lower"] = "higher"
    """Which values of the metric speak for the claim."""
    margin: float = 0.0
    """How much worse the claimed arm may be, in the metric's unit; chosen before anything is run. 0 asks for better,
    more asks for not worse by that."""
    terms: tuple[Term, ...] = ()
    """The weighted sum; by default the metric of the first arm minus that of the second, if there is one."""
    contrast: str = ""
    """What the terms compare, in words."""
    matched: bool = True
    """Whether arms must have like parameter counts."""
    tolerance: float = 0.02
    """How far counts of matched arms may be apart, relative to the smallest."""
    reason: str = ""
    """Why counts may differ where they are not matched."""

    def __post_init__(self) -> None:
        if not self.source.startswith(TAGS):
            raise SemeiaError(f"claim {self.id}: expected a source after one of {', '.join(TAGS)}, found "
                              f"{self.source!r}")  # fmt: skip
        if not self.matched and not self.reason:
            raise SemeiaError(f"claim {self.id}: arms are not matched in parameters; expected a reason, found none")
        if not 0 <= self.margin < float("inf"):
            raise SemeiaError(f"claim {self.id}: expected a margin of at least 0, found {self.margin}")
        if bool(self.terms) is not bool(self.contrast) or (not self.terms and len(self.arms) > 2):
            raise SemeiaError(f"claim {self.id}: expected one or two arms, or terms and what they compare in words")
        if strangers := {term.arm for term in self.terms} - set(self.arms):
            raise SemeiaError(f"claim {self.id}: a term names {', '.join(sorted(strangers))}, which is not in its arms")

    @property
    def sign(self) -> int:
        """1 where higher values speak for the claim, -1 where lower ones do."""
        return 1 if self.direction == "higher" else -1

    @property
    def weighted(self) -> tuple[Term, ...]:
        """The terms, or those of the difference between two arms."""
        return self.terms or tuple(
            Term(arm, weight, self.metric) for arm, weight in zip(self.arms, (1.0, -1.0), strict=False)
        )

    @property
    def group(self) -> str:
        """The claim that this is a part of: what stands before the dot."""
        return self.id.partition(".")[0]

    def columns(self, arm: str) -> set[str]:
        """Names of the sums of an arm that the claim needs."""
        return {name for term in self.weighted if term.arm == arm for name in term.metric.columns}


@dataclass(frozen=True)
class Arm:
    """One way to build and train a system: a change of its recipe's configuration."""

    name: str
    words: str
    """What is different from the arm without changes."""
    make: Callable[[Any], Any] = field(default=lambda config: config, repr=False)
    """From the base configuration to the arm's own."""
    changes: tuple[str, ...] = ()
    """Dotted names of the fields that ``make`` changes; it may change no other."""


@dataclass(frozen=True)
class Grid:
    """Arms shown as a table of two factors."""

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    arms: tuple[tuple[str, ...], ...]
    """A name for each row and column."""
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Setting:
    """What an arm is trained on, from which seed, and where."""

    scale: Scale
    seed: int
    data: tuple[str, ...]
    out: Path


@dataclass(frozen=True)
class Size:
    """What a model costs: its weights, and floating-point operations to read one sample."""

    parameters: int
    flops: int


@dataclass(frozen=True)
class Measured:
    """What a trained arm did on the test split."""

    identities: tuple[str, ...]
    """(G,) names, the same for all arms and seeds."""
    sums: Sums
    """(G, ...) by name."""


@dataclass(frozen=True)
class Ledger:
    """What one paper claims, and how it is measured here."""

    system: str
    """The paper's short name."""
    title: str
    """The paper."""
    headings: Mapping[str, str]
    """What each group of claims says."""
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    base: Callable[[Setting], Any] = field(repr=False)
    """The recipe's configuration that every arm starts from. It has ``fit.seed``, ``fit.steps`` and ``fit.out``."""
    size: Callable[[Any], Size] = field(repr=False)
    """Of the model of a configuration."""
    measure: Callable[[Any, frozenset[str]], Measured] = field(repr=False)
    """Train a configuration (or go on with it), read the test split, and return the named sums at least."""
    free: tuple[str, ...] = ("model",)
    """Fields of the configuration, or of parts of it, that arms may change; all others are the same for all."""
    shown: tuple[Metric, ...] = ()
    """What the table of arms shows beside the claims; left empty for an arm that lacks the sums."""
    grids: tuple[Grid, ...] = ()
    about: str = ""
    """What was trained and tested at which scale, in Markdown."""

    def __post_init__(self) -> None:
        ids, names = [claim.id for claim in self.claims], [arm.name for arm in self.arms]
        for words, listed in (("claims", ids), ("arms", names)):
            if len(set(listed)) < len(listed):
                raise SemeiaError(f"ledger {self.system}: two {words} have one name")
        for claim in self.claims:
            if missing := set(claim.arms) - set(names):
                raise SemeiaError(f"claim {claim.id}: names arms that are not declared: {', '.join(sorted(missing))}")
            if claim.group not in self.headings:
                raise SemeiaError(f"claim {claim.id}: expected a heading for {claim.group}, found none")

    def chosen(self, only: Sequence[str] = ()) -> tuple[Claim, ...]:
        """Claims by id or group; all by default.

        Raises:
            SemeiaError: There is none of that name.
        """
        for name in only:
            if not any(name in (claim.id, claim.group) for claim in self.claims):
                raise SemeiaError(f"claim {name!r}: {self.system} has {', '.join(claim.id for claim in self.claims)}")
        return tuple(claim for claim in self.claims if not only or claim.id in only or claim.group in only)

    def needed(self, claims: Sequence[Claim]) -> tuple[Arm, ...]:
        """Arms of some claims, in the ledger's order."""
        wanted = {name for claim in claims for name in claim.arms}
        return tuple(arm for arm in self.arms if arm.name in wanted)

    def columns(self, arm: str) -> frozenset[str]:
        """Sums of an arm that any claim needs; these are kept."""
        return frozenset(name for claim in self.claims for name in claim.columns(arm))
