"""What hair a person has: one plain record, drawn before anything is grown.

Growing and drawing the strands is the business of ``hair``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

HAIR_COLOURS = ("black", "brown", "blond", "red")


@dataclass(frozen=True)
class Hair:
    """A haircut. Lengths in decimetres of the adult head; ``colour`` is a class of ``HAIR_COLOURS``.

    ``grey`` is the share of grey, ``bald`` the share of bare crown, ``line`` lifts the hairline, ``parting`` is its x,
    ``forward`` combs to the front, ``curl`` and ``lift`` are relative to one step of a strand.
    """

    colour: str
    shade: float
    grey: float
    bald: float
    length: float
    long: bool
    line: float
    parting: float
    forward: float
    curl: float
    lift: float
    weight: float


def sample_hair(rng: np.random.Generator, age: float, male: float, ancestry: Mapping[str, float]) -> Hair:
    dark = 0.8 * ancestry["african"] + 0.33 * ancestry["asian"] + 0.2 * ancestry["caucasian"] > 0.3
    share = [0.68, 0.24, 0.06, 0.02] if dark else [0.15, 0.40, 0.35, 0.10]
    colour = HAIR_COLOURS[int(rng.choice(4, p=share))]
    old = np.clip((age - 45) / 35, 0, 1)
    grey = float(np.clip(old * 1.3 - 0.2 + rng.normal(0, 0.2), 0, 1)) if age > 42 else 0.0
    afro = ancestry["african"] > 0.55
    long = bool(male < 0.5 and rng.random() < 0.65 and age > 4)
    bald = float(np.clip(rng.normal((age - 30) / 110, 0.25), 0, 0.97)) if male > 0.6 and age > 30 else 0.0
    bald = bald if bald >= 0.3 else 0.0
    length = float(rng.uniform(1.2, 1.9) if long else rng.uniform(0.18, 0.5))
    line, parting, forward = rng.normal(-0.06, 0.05), rng.choice([-0.25, 0.0, 0.25]), rng.uniform(-0.7, 0.15)
    curl, lift = rng.uniform(0.03, 0.09), rng.uniform(0.05, 0.25)
    if afro:
        length = float(rng.uniform(0.06, 0.35)) * (1.6 if male < 0.5 else 0.8)
    return Hair(
        colour=colour,
        shade=float(rng.random()),
        grey=grey,
        bald=bald,
        length=length * (0.4 if age < 4 else 1.0),
        long=long and not afro,
        line=float(line) + 0.12 * bald,
        parting=float(parting),
        forward=float(forward),
        curl=0.35 if afro else float(curl),
        lift=0.9 if afro else float(lift),
        weight=0.0 if afro else 2.2 if long else 0.18,
    )
