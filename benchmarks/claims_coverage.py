"""How often the ledger's interval covers the truth, beside two simpler ones, in simulated studies.

    python benchmarks/claims_coverage.py

In each study the difference of seed s on identity i is luck of the training + luck of the identity, which all seeds
share, + luck of this training on this identity; the truth is 0. The table shows in how many studies 0 lies inside.

Shapes      T studies   S seeds   G identities   R draws
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from semeia.ledger.intervals import half_width

GROUPS = 60
WORLDS = {
    "training alone": (1.0, 0.01, 0.01),
    "identities alone": (0.0, 3.0, 0.001),
    "noise alone": (0.0, 0.0, 3.0),
    "all three": (0.3, 3.0, 3.0),
    "mostly training": (1.0, 3.0, 3.0),
}
"""Standard deviations of the three kinds of luck."""


def differences(world: str, *, seeds: int, studies: int, seed: int = 1, groups: int = GROUPS) -> np.ndarray:
    """(T, S, G) differences whose mean is 0."""
    training, identity, noise = WORLDS[world]
    rng = np.random.default_rng(seed)
    return (
        training * rng.standard_normal((studies, seeds, 1))
        + identity * rng.standard_normal((studies, 1, groups))
        + noise * rng.standard_normal((studies, seeds, groups))
    )


def common(each: np.ndarray) -> np.ndarray:
    """(T,) what ``intervals.shared`` tends to where the difference is a mean over identities: their covariance."""
    seeds, groups = each.shape[1:]
    of_mean = each.mean(1).var(-1, ddof=1) / groups
    of_each = each.var(-1, ddof=1).mean(-1) / groups
    return np.maximum(0, (seeds * of_mean - of_each) / (seeds - 1))


def covered(each: np.ndarray, variance: np.ndarray | float) -> float:
    """Share of studies (T, S, G) whose interval holds 0; ``variance`` (T,) is what seeds share."""
    reach = half_width(each.mean(-1), variance, each.shape[-1])
    return float((np.abs(each.mean((1, 2))) <= reach).mean())


def covered_by_percentiles(each: np.ndarray, *, rounds: int = 400) -> float:
    """The same for a percentile bootstrap that draws seeds and identities."""
    _, seeds, groups = each.shape
    rng, hits = np.random.default_rng(0), 0
    for study in each:
        people = rng.multinomial(groups, np.full(groups, 1 / groups), size=rounds) / groups  # (R, G)
        trainings = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=rounds) / seeds  # (R, S)
        low, high = np.quantile(((trainings @ study) * people).sum(1), [0.025, 0.975])
        hits += bool(low <= 0 <= high)
    return hits / len(each)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=6000)
    args = parser.parse_args(arguments)
    print(
        "| luck of | 3 seeds | 5 seeds | t over 3 seeds alone | percentile bootstrap, 3 seeds |\n|---|---|---|---|---|"
    )
    for world in WORLDS:
        three, five = (differences(world, seeds=seeds, studies=args.studies) for seeds in (3, 5))
        shares = [
            covered(three, common(three)), covered(five, common(five)), covered(three, 0.0),
            covered_by_percentiles(three[: args.studies // 3]),
        ]  # fmt: skip
        print(f"| {world} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |")


if __name__ == "__main__":
    main()
