"""Whether tasks look at different places: distances between the attention of their queries.

Source: Jensen-Shannon divergence (Lin 1991); its root is a distance (Endres and Schindelin 2003).

Shapes      M queries   P places (tokens, regions or stages)   T tasks
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np


def js_distance(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Root of the Jensen-Shannon divergence in bits, between 0 (equal) and 1 (nothing shared).

    Args:
        p: (..., P) shares that add up to 1.
        q: (..., P).
    """
    middle = (p + q) / 2
    divergence = (_relative(p, middle) + _relative(q, middle)) / 2
    return np.sqrt(np.clip(divergence, 0, 1))


def _relative(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Kullback-Leibler divergence in bits; ``q`` is nowhere 0 where ``p`` is not."""
    terms = np.zeros(np.broadcast_shapes(p.shape, q.shape))
    np.divide(p, q, out=terms, where=p > 0)
    np.log2(terms, out=terms, where=terms > 0)
    return (p * terms).sum(-1)


def apart(maps: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Mean distance between the mean maps of all pairs of tasks.

    Args:
        maps: (..., M, P) where each query looked; rows add up to 1.
        sizes: (T,) queries of each task, in the order of ``maps``.

    Returns:
        (...).
    """
    ends = np.cumsum(sizes)
    tasks = [maps[..., end - n : end, :].mean(-2) for n, end in zip(sizes, ends, strict=True)]
    return np.mean([js_distance(a, b) for a, b in combinations(tasks, 2)], 0)


def apart_by_chance(maps: np.ndarray, sizes: Sequence[int], *, rounds: int = 20, seed: int = 0) -> np.ndarray:
    """As ``apart``, for queries dealt out to tasks of the same sizes at random: what it is where tasks do not matter.

    Args:
        maps: (..., M, P).
        sizes: (T,).
        rounds: Deals, of which the mean is taken.
        seed: Of the deals.
    """
    rng = np.random.default_rng(seed)
    deals = [rng.permutation(maps.shape[-2]) for _ in range(rounds)]
    return np.mean([apart(maps[..., deal, :], sizes) for deal in deals], 0)
