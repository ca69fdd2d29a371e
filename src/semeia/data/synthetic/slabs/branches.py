"""Trees of vessels that grow from a stem towards places that need them.

Shapes      T twigs   B branches
"""

from __future__ import annotations

import numpy as np

MURRAY = 2.7
"""Exponent of Murray's law, r^m = sum r_i^m: 3 in theory, less in lungs."""


def grow_tree(
    rng: np.random.Generator,
    root: np.ndarray,
    places: np.ndarray,
    *,
    twig: float,
    thickest: float = 1e9,
    wander: float = 0.12,
) -> np.ndarray:
    """A tree from a root to places.

    Each branch runs part of the way towards the middle of the places that it feeds, then divides them in two along the
    direction of the farthest of them. Radii follow Murray's law.

    Args:
        rng: random numbers.
        root: (3,) mm.
        places: (T, 3) mm.
        twig: radius of the last branches in mm.
        thickest: largest radius in mm.
        wander: how far a branching point strays, as a share of the branch.

    Returns:
        (B, 8) tubes: both ends and the radii there, the thickest first.
    """
    branches: list[np.ndarray] = []
    waiting = [(np.asarray(root, float), np.asarray(places, float))]
    while waiting:
        start, fed = waiting.pop()
        radius = min(twig * len(fed) ** (1 / MURRAY), thickest)
        if len(fed) == 1:
            branches.append(np.concatenate([start, fed[0], [radius, 0.6 * radius]]))
            continue
        middle = fed.mean(0)
        way = middle - start
        end = start + rng.uniform(0.4, 0.62) * way + rng.normal(0, wander, 3) * np.linalg.norm(way)
        after = min(twig * (len(fed) / 2) ** (1 / MURRAY) * 1.12, thickest)
        knee = (start + end) / 2 + rng.normal(0, wander / 3, 3) * np.linalg.norm(way)
        between = (radius + after) / 2
        branches.append(np.concatenate([start, knee, [radius, between]]))
        branches.append(np.concatenate([knee, end, [between, after]]))
        spread = fed - middle
        along = spread @ spread[np.argmax((spread * spread).sum(1))]
        share = rng.uniform(0.3, 0.7) if len(fed) > 3 else 0.5
        order = np.argsort(along)
        cut = max(1, min(len(fed) - 1, round(share * len(fed))))
        waiting += [(end, fed[order[:cut]]), (end, fed[order[cut:]])]
    tree = np.stack(branches)
    return tree[np.argsort(-tree[:, 6])]


def places_in(rng: np.random.Generator, inside: np.ndarray, count: int) -> np.ndarray:
    """(count, 3) plane, row and column of random pixels of a mask (K, N, N), fewer where it is smaller."""
    spots = np.flatnonzero(inside)
    if not len(spots):
        return np.zeros((0, 3), int)
    chosen = rng.choice(spots, min(count, len(spots)), replace=False)
    return np.stack(np.unravel_index(chosen, inside.shape), 1)
