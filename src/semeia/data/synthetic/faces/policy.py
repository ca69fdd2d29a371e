"""What shots show: draws the action of a shot under one of three policies.

``balanced`` shows each class and each unit about alike often, so that a reader can learn all of them; ``natural``
shows units together as often as spontaneous recordings do, so that a reader can be tested on what it would meet there;
``independent`` draws the units of ``natural`` at the same base rates without its correlations, as a negative control
for claims that relations of units help.

Anatomy still relates units under ``independent``: 36 of the 231 pairs cannot be shown together, so they stay about as
negatively related as under ``natural``. The phi coefficient of "shown at all" in 100,000 draws, shot 0 aside and before
rendering (docs/face_world.md has the command, and what rendered labels and shot 0 add):

    pairs                                     natural   independent
    mean |phi| of all 231                      0.0367        0.0118   (0.0025 if nothing related them)
    mean |phi| of the 5 strongest in natural   0.3955        0.0066
    mean |phi| of the 36 that exclude          0.0580        0.0561
    mean |phi| of the 195 others               0.0328        0.0036
    AU12, AU15                                 -0.191        -0.179   the strongest that exclude
    AU24, AU25                                 -0.156        -0.150
    AU26, AU27                                 -0.031        -0.031
    AU25, AU26                                 +0.348        +0.022   go together; AU23, 24 and 34 exclude both

Pairs that exclude one another are never shown together: their log odds ratio is minus infinity under both.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from semeia.data.synthetic.faces.action_units import (
    COMPOUNDS,
    PROTOTYPES,
    compatible_units,
    draw_compound,
    draw_prototype,
    draw_talking,
)
from semeia.records import SemeiaError

POLICIES = ("balanced", "natural", "independent")

SHARES = {"prototype": 0.36, "compound": 0.08, "single": 0.24, "mixture": 0.18, "talking": 0.14}
"""Share of each kind of shot under the policy ``balanced``, the first shot of a person aside."""

_SINGLE_SHARE = {
    "AU18": 1.0, "AU22": 1.0, "AU34": 1.0, "AU12": 4.0, "AU14": 4.0, "AU07": 3.0, "AU10": 3.0, "AU23": 3.0, "AU24": 3.0,
}  # fmt: skip
"""How often a unit is shown alone, relative to 2 for those not named: distractors less, units rare elsewhere more."""

ONE_SIDED_UNITS = ("AU02", "AU10", "AU12", "AU14", "AU43")
"""Units that people show on one side: a raised brow, a curled lip, a half smile, a dimple, a wink."""

_ONE_SIDED_SHARE = 0.2
_DOUBTFUL = (1.6, 2.4)  # intensities at which any reader tosses a coin on presence
_SHOW_27 = 2.7  # below, the jaw's drop counts as AU26

BASE_RATES = {
    "AU01": 0.12, "AU02": 0.09, "AU04": 0.18, "AU05": 0.04, "AU06": 0.26, "AU07": 0.28, "AU09": 0.05, "AU10": 0.26,
    "AU12": 0.33, "AU14": 0.22, "AU15": 0.08, "AU17": 0.15, "AU20": 0.03, "AU23": 0.08, "AU24": 0.08, "AU25": 0.30,
    "AU26": 0.13, "AU27": 0.01, "AU43": 0.05, "AU18": 0.02, "AU22": 0.01, "AU34": 0.005,
}  # fmt: skip
"""Share of natural and of independent shots in which a unit is drawn, at A or more. Recalled, approximate, after
published statistics of DISFA (rare, weak units) and BP4D (frequent AU06, 07, 10, 12, 14), between the two; not a
measurement."""

CORRELATIONS = {
    ("AU01", "AU02"): 0.75, ("AU01", "AU04"): 0.25, ("AU01", "AU05"): 0.35, ("AU02", "AU05"): 0.45,
    ("AU06", "AU12"): 0.75, ("AU06", "AU07"): 0.55, ("AU06", "AU10"): 0.50, ("AU07", "AU10"): 0.40,
    ("AU07", "AU12"): 0.45, ("AU10", "AU12"): 0.55, ("AU04", "AU07"): 0.30, ("AU04", "AU09"): 0.45,
    ("AU09", "AU10"): 0.35, ("AU12", "AU14"): 0.20, ("AU12", "AU25"): 0.35, ("AU06", "AU25"): 0.35,
    ("AU25", "AU26"): 0.60, ("AU15", "AU17"): 0.45, ("AU17", "AU23"): 0.30, ("AU17", "AU24"): 0.40,
    ("AU23", "AU24"): 0.45, ("AU14", "AU24"): 0.20, ("AU12", "AU15"): -0.30, ("AU04", "AU12"): -0.25,
}  # fmt: skip
"""Correlations of the units' latent normal variables; recalled, approximate, as ``BASE_RATES``; the others are 0."""


@dataclass(frozen=True)
class Showing:
    """What a face does in one shot.

    Attributes:
        kind: neutral, an expression, a compound, single, mixture, talking, natural, or independent.
        expression: a name of ``records.EXPRESSIONS``, or None where the action comes from no prototype.
        compound: a name of ``action_units.COMPOUNDS``, or None.
        action: commanded intensity 0-5 of each driven unit.
        one_sided: units shown on one side only -> "left" or "right", the subject's own.
    """

    kind: str
    expression: str | None = None
    compound: str | None = None
    action: Mapping[str, float] = field(default_factory=dict)
    one_sided: Mapping[str, str] = field(default_factory=dict)


NEUTRAL = Showing("neutral", "neutral")


def draw_showing(rng: np.random.Generator, policy: str, *, weak_side: str | None = None) -> Showing:
    """Draw what a shot other than a person's first one shows.

    Args:
        rng: of ``Stream.ACTION``.
        policy: a name of ``POLICIES``.
        weak_side: the paralysed side, which shows nothing one-sided; None where there is no palsy.

    Raises:
        SemeiaError: There is no such policy.
    """
    check_policy(policy)
    if policy == "natural":
        return draw_natural(rng)
    if policy == "independent":
        return draw_independent(rng)
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    side = str(rng.choice(["left", "right"]))
    if weak_side is not None:
        side = "left" if weak_side == "right" else "right"
    if kind == "prototype":
        return _prototype(rng, side)
    if kind == "compound":
        compound = str(rng.choice(list(COMPOUNDS)))
        return Showing(compound, compound=compound, action=draw_compound(rng, compound))
    if kind == "talking":
        return Showing("talking", action=draw_talking(rng))
    action = _single(rng) if kind == "single" else _mixture(rng)
    may = [unit for unit in action if unit in ONE_SIDED_UNITS]
    one_sided = {may[0]: side} if may and rng.random() < _ONE_SIDED_SHARE else {}
    return Showing(kind, action=action, one_sided=one_sided)


def check_policy(policy: str) -> None:
    """Complain of a policy that does not exist.

    Raises:
        SemeiaError: There is no such policy.
    """
    if policy not in POLICIES:
        raise SemeiaError(f"policy: expected one of {', '.join(POLICIES)}, found '{policy}'")


def draw_intensity(rng: np.random.Generator, low: float = 1.0, high: float = 5.0) -> float:
    """An intensity of a unit, uniform but for the doubtful span of 1.6-2.4, which is met half as often."""
    value = rng.uniform(low, high)
    if _DOUBTFUL[0] < value < _DOUBTFUL[1] and rng.random() < 0.5:
        # The width above the span, then the width below it, laid end to end.
        above = high - _DOUBTFUL[1]
        place = rng.uniform(0, above + max(_DOUBTFUL[0] - low, 0.0))
        value = _DOUBTFUL[1] + place if place < above else low + place - above
    return float(value)


def _prototype(rng: np.random.Generator, side: str) -> Showing:
    names = ("neutral", *PROTOTYPES)
    expression = names[int(rng.integers(len(names)))]
    if expression == "neutral":
        return NEUTRAL
    action = draw_prototype(rng, expression)
    one_sided = dict.fromkeys(action, side) if expression == "contempt" else {}
    return Showing(expression, expression, action=action, one_sided=one_sided)


def _single(rng: np.random.Generator) -> dict[str, float]:
    units = sorted(compatible_units())
    share = np.array([_SINGLE_SHARE.get(unit, 2.0) for unit in units])
    unit = units[int(rng.choice(len(units), p=share / share.sum()))]
    return {unit: draw_intensity(rng, _SHOW_27 if unit == "AU27" else 1.0)}


def _mixture(rng: np.random.Generator) -> dict[str, float]:
    """Two or three units that can be shown together."""
    table = compatible_units()
    names = sorted(table)
    chosen: list[str] = []
    wanted = int(rng.integers(2, 4))
    for position in rng.permutation(len(names)):
        if len(chosen) < wanted and all(names[position] in table[other] for other in chosen):
            chosen.append(names[position])
    return {unit: draw_intensity(rng) for unit in chosen}


def draw_natural(rng: np.random.Generator) -> Showing:
    """Draw units from a Gaussian copula with ``BASE_RATES`` and ``CORRELATIONS``."""
    return _draw_at_base_rates(rng, "natural", mixing=_mixing())


def draw_independent(rng: np.random.Generator) -> Showing:
    """Draw units with ``BASE_RATES``, each by itself; units that cannot be shown together still exclude one another."""
    return _draw_at_base_rates(rng, "independent", mixing=None)


def _draw_at_base_rates(rng: np.random.Generator, kind: str, *, mixing: np.ndarray | None) -> Showing:
    """Draw units at ``BASE_RATES`` from normal variables that ``mixing`` (K, K) relates; None leaves them independent.

    A unit is drawn where its latent variable z lies in the upper tail of its base rate r; with q, uniform in [0, 1],
    the place within that tail, its intensity is 1 + 4 q^1.8 (half of them below 2.2, three quarters below 3.4). Of
    units that cannot be shown together the one deeper in its tail stays. A face without units is neutral; any other has
    no expression, since spontaneous faces are not posed after prototypes.
    """
    units = list(BASE_RATES)
    latent = rng.normal(size=len(units))  # (K,)
    if mixing is not None:
        latent = mixing @ latent
    rates = np.array(list(BASE_RATES.values()))
    depth = 1 - _upper_tail(latent) / rates  # (K,)
    table = compatible_units()
    action: dict[str, float] = {}
    for position in np.argsort(-depth, kind="stable"):
        unit, place = units[position], float(depth[position])
        if place > 0 and all(unit in table[other] for other in action):
            low = _SHOW_27 if unit == "AU27" else 1.0
            action[unit] = low + (5 - low) * place**1.8
    return Showing(kind, action=action) if action else NEUTRAL


@functools.cache
def _mixing() -> np.ndarray:
    """(K, K) matrix that turns independent normals into latent ones of unit variance and the wanted correlations.

    A table typed by hand need not be a possible one: negative eigenvalues would be raised to 0 and the diagonal
    brought back to 1. The table as it stands is kept exactly.
    """
    units = list(BASE_RATES)
    wanted = np.eye(len(units))
    for (first, second), value in CORRELATIONS.items():
        i, j = units.index(first), units.index(second)
        wanted[i, j] = wanted[j, i] = value
    values, vectors = np.linalg.eigh(wanted)
    root = vectors * np.sqrt(np.maximum(values, 0))
    return np.asarray(root / np.linalg.norm(root, axis=1, keepdims=True))


def _upper_tail(latent: np.ndarray) -> np.ndarray:
    """Probability that a standard normal variable exceeds each value."""
    from scipy.special import ndtr

    return np.asarray(ndtr(-latent))
