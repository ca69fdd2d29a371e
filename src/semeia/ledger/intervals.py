"""How sure a difference between arms is, over seeds of training and over identities of the test.

Every arm is trained from each of S seeds and tested on the same G identities. The difference of seed s is

    d_s = mean + (luck of training s) + (luck of the identities, which all seeds share) + (luck of s on identities)

A t interval over seeds knows the first and the last, a bootstrap over identities the last two. Both parts are needed,
and none of them twice. The half width of the interval is

    h^2 = t_{S-1}^2 var(d) / S + t_{G-1}^2 c

with t the quantiles of Student's distribution and c the covariance of d between seeds as identities are drawn again
(the same draw for all arms and seeds), which is the part that all seeds share. Adding squared half widths in place of
variances (Howe 1974; MOVER, Zou and Donner 2008) keeps the quantile of few seeds for the part that few seeds tell. A
percentile bootstrap over three seeds covers far less than it says: tests/ledger/test_intervals.py measures both.

Shapes      S seeds   G identities   R draws
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

LEVEL = 0.95
ROUNDS = 2000


@lru_cache(maxsize=64)
def t_quantile(freedom: int, level: float = LEVEL) -> float:
    """The t with P(-t < T < t) = ``level`` for Student's T of so many degrees of freedom.

    With T = sqrt(freedom) tan(a), the density of the angle a is proportional to cos(a) ^ (freedom - 1).
    """
    angle = np.linspace(0, np.pi / 2, 200_001)
    density = np.cos(angle) ** (freedom - 1)
    below = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(freedom) * np.tan(np.interp(level, below / below[-1], angle)))


@lru_cache(maxsize=8)
def draws(groups: int, *, rounds: int = ROUNDS, seed: int = 0) -> np.ndarray:
    """(1 + R, G): how often each identity counts. The first row counts each once, the others are bootstrap draws."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(groups, np.full(groups, 1 / groups), size=rounds)
    return np.concatenate([np.ones((1, groups)), drawn])


def shared(drawn: np.ndarray, groups: int) -> float:
    """Variance of a difference that comes from the identities and is the same for all seeds; never negative.

    Args:
        drawn: (S, R) the difference of each seed under the same draws of identities.
        groups: G.
    """
    known = drawn[:, ~np.isnan(drawn).any(0)]
    seeds = len(drawn)
    if known.shape[1] < 2:
        return float("nan")
    table = np.atleast_2d(np.cov(known)) * groups / (groups - 1)
    between = (table.sum() - np.trace(table)) / (seeds * (seeds - 1)) if seeds > 1 else table[0, 0]
    return max(0.0, float(between))


def half_width(differences: np.ndarray, common: np.ndarray | float, groups: int) -> np.ndarray:
    """Half of the interval around the mean over seeds.

    Args:
        differences: (..., S) one for each seed.
        common: (...) what ``shared`` returns.
        groups: G.
    """
    seeds = differences.shape[-1]
    over_seeds = t_quantile(seeds - 1) ** 2 * differences.var(-1, ddof=1) / seeds
    return np.sqrt(over_seeds + t_quantile(groups - 1) ** 2 * np.asarray(common))
