"""What hair a person has: the library of styles, and one plain record a person, drawn before anything is grown.

Growing the strands is the business of ``hair``. Lengths are in decimetres of the undeformed adult head, on which all
hair grows before it is carried over to the person's head, so that a style fits a child as it fits an adult.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

HAIR_COLOURS = ("black", "brown", "blond", "red")


@dataclass(frozen=True)
class Style:
    """How one kind of haircut grows.

    Attributes:
        top, side, back: lengths on the crown, beside and behind the head, in decimetres.
        flow: weights of the ways in which the crown is combed: away from the whorl, away from the parting, backwards.
        stand: share of the surface normal in a strand's first direction.
        gravity: turn towards the ground, in radians a decimetre.
        volume: greatest height of the layers above the scalp, in decimetres.
        wave: half width of waves or curls, in decimetres; ``turns`` is how many there are along a strand.
        clump: how far strands of a lock run together at the tip, 0 to 1.
        fringe: 1 with bangs over the forehead.
        tied: height (decimetres) at which the hair is gathered behind the head, or 0.
        knot: radius of the bun in decimetres, 0 for a tail that hangs.
        odds: how often the usual look shows the style on boys, girls, men and women; (0, 0, 0, 0) holds it out, so
            that only the other look has it.
        kinky: whether the style needs tightly curled hair.
    """

    top: float
    side: float
    back: float
    flow: tuple[float, float, float]
    stand: float
    gravity: float
    volume: float
    odds: tuple[float, float, float, float]
    wave: float = 0.0
    turns: float = 0.0
    clump: float = 0.5
    fringe: float = 0.0
    tied: float = 0.0
    knot: float = 0.0
    kinky: bool = False

    @property
    def long(self) -> bool:
        """Whether it hangs beside the face."""
        return self.side > 0.9 and not self.tied


STYLES: Mapping[str, Style] = MappingProxyType(
    {
        "buzz": Style(0.06, 0.04, 0.04, (1, 0, 0), 0.5, 0.2, 0.015, (2, 0.2, 3, 0.3), clump=0.0),
        "crop": Style(0.24, 0.12, 0.12, (1, 0.15, 0), 0.35, 1.2, 0.06, (4, 0.6, 6, 0.8), clump=0.35),
        "side parting": Style(0.60, 0.20, 0.18, (0.1, 1, 0.25), 0.3, 1.1, 0.09, (3, 0.3, 5, 0.6), clump=0.5),
        "slick back": Style(0.75, 0.32, 0.30, (0, 0.1, 1), 0.12, 0.6, 0.05, (0.3, 0.1, 2, 0.8), clump=0.6),
        "quiff": Style(0.55, 0.14, 0.12, (0, 0.1, 0.8), 0.75, 1.2, 0.14, (0, 0, 0, 0), clump=0.75),
        "messy": Style(0.38, 0.20, 0.20, (0.7, 0.3, 0), 0.55, 1.0, 0.10, (3, 0.5, 3.5, 1), clump=0.85),
        "curly short": Style(
            0.50, 0.26, 0.26, (0.8, 0.4, 0), 0.7, 0.6, 0.16, (1.2, 0.5, 1.2, 1), wave=0.045, turns=2.5, clump=0.75
        ),
        "afro": Style(
            0.55, 0.42, 0.40, (0.3, 0, 0), 2.5, 0.0, 0.0, (1, 1, 0.8, 1.2), wave=0.04, turns=2.2, clump=0.3, kinky=True
        ),
        "cropped curls": Style(
            0.13, 0.09, 0.09, (0.3, 0, 0), 2.0, 0.0, 0.0, (3, 0.6, 4, 0.8), wave=0.02, turns=2, clump=0.4, kinky=True
        ),
        "bob": Style(1.25, 1.00, 0.80, (0.1, 1, 0.1), 0.12, 3.2, 0.11, (0, 2.5, 0, 2.5), clump=0.55),
        "bob with fringe": Style(
            1.20, 0.95, 0.80, (0.6, 0.6, 0), 0.12, 3.2, 0.10, (0, 2.5, 0, 1.3), clump=0.55, fringe=1.0
        ),
        "shoulder": Style(1.75, 1.50, 1.30, (0.1, 1, 0.2), 0.10, 3.2, 0.11, (0.15, 3, 0.2, 3), clump=0.6),
        "long straight": Style(2.50, 2.20, 2.00, (0.1, 1, 0.2), 0.06, 3.4, 0.08, (0, 2.5, 0.05, 2.5), clump=0.65),
        "long with fringe": Style(
            2.35, 2.10, 2.00, (0.5, 0.7, 0.1), 0.06, 3.4, 0.08, (0, 2.2, 0, 1.5), clump=0.65, fringe=1.0
        ),
        "long wavy": Style(
            2.20, 1.95, 1.80, (0.1, 1, 0.2), 0.15, 2.8, 0.13, (0, 1.5, 0.1, 2.5), wave=0.055, turns=1.8, clump=0.75
        ),
        "long curly": Style(
            2.00, 1.70, 1.60, (0.2, 0.9, 0.1), 0.3, 2.2, 0.18, (0, 0, 0, 0), wave=0.065, turns=1.9, clump=0.85
        ),
        "ponytail": Style(
            2.60, 2.2, 2.0, (0, 0, 1), 0.02, 0.0, 0.02, (0, 2.5, 0.1, 2), clump=0.25, tied=7.95
        ),
        "bun": Style(1.6, 1.5, 1.4, (0, 0, 1), 0.02, 0.0, 0.02, (0, 0, 0, 0), clump=0.25, tied=8.3, knot=0.24),
        "side swept": Style(0.85, 0.45, 0.45, (0.5, 1.2, 0), 0.3, 1.6, 0.09, (1, 1.5, 0.8, 1.5), clump=0.65),
        "bowl": Style(0.75, 0.50, 0.45, (1, 0, 0), 0.15, 2.2, 0.09, (0, 0, 0, 0), clump=0.45, fringe=1.0),
    }
)  # fmt: skip
"""All styles; quiff, long curly, bun and bowl are held out for the other look. Bald crowns come on top of any."""

HELD_OUT = tuple(name for name, style in STYLES.items() if not any(style.odds))

USUAL_SIZES = (0.86, 1.14)
"""Range of the length factor of the usual look; the other look draws outside of it."""
_OTHER_SIZES = ((0.66, 0.82), (1.18, 1.36))


@dataclass(frozen=True)
class Hair:
    """A haircut. Lengths in decimetres of the adult head; ``colour`` is a class of ``HAIR_COLOURS``.

    ``shade`` goes from the darkest (0) to the lightest of the colour, ``grey`` is the share of grey hairs, ``bald`` the
    share of bare crown, ``line`` lifts the hairline, ``parting`` is its x. ``length`` is that of the longest strands,
    ``long`` says that they hang beside the face, ``curl`` is the half width of waves and ``lift`` the height of the
    outermost layer. ``style`` is a name of ``STYLES``; a ``fringe`` of 0.5 or more means bangs over the forehead.
    """

    colour: str
    shade: float
    grey: float
    bald: float
    length: float
    long: bool
    line: float
    parting: float
    curl: float
    lift: float
    style: str
    fringe: float


def sample_hair(
    rng: np.random.Generator, age: float, male: float, ancestry: Mapping[str, float], *, look: str = "usual"
) -> Hair:
    """Draw a person's haircut.

    Args:
        rng: the person's stream of looks.
        age: in years.
        male: 0 to 1.
        ancestry: shares of "african", "asian" and "caucasian".
        look: ``"usual"``, or ``"other"`` for styles and lengths that the usual look never shows.
    """
    dark = 0.8 * ancestry["african"] + 0.33 * ancestry["asian"] + 0.2 * ancestry["caucasian"] > 0.3
    share = [0.68, 0.24, 0.06, 0.02] if dark else [0.15, 0.40, 0.35, 0.10]
    colour = HAIR_COLOURS[int(rng.choice(4, p=share))]
    old = np.clip((age - 45) / 35, 0, 1)
    grey = float(np.clip(old * 1.3 - 0.2 + rng.normal(0, 0.2), 0, 1)) if age > 42 else 0.0
    bald = float(np.clip(rng.normal((age - 30) / 110, 0.25), 0, 0.97)) if male > 0.6 and age > 30 else 0.0
    bald = bald if bald >= 0.3 else 0.0
    name = _choose_style(rng, age=age, male=male, kinky=ancestry["african"] > 0.55, bald=bald > 0, look=look)
    style = STYLES[name]
    low, high = USUAL_SIZES if look != "other" else _OTHER_SIZES[int(rng.integers(2))]
    size, line = rng.uniform(low, high), rng.normal(-0.03, 0.05)
    return Hair(
        colour=colour,
        shade=float(rng.random()),
        grey=grey,
        bald=bald,
        length=float(max(style.top, style.side) * size * (0.75 if age < 5 and style.side < 0.9 else 1.0)),
        long=style.long,
        line=float(np.clip(line, -0.12, 0.08)) + 0.12 * bald,
        parting=float(rng.choice([-0.28, 0.0, 0.28], p=[0.35, 0.3, 0.35]) + rng.normal(0, 0.03)),
        curl=float(style.wave * rng.uniform(0.8, 1.2) + rng.uniform(0.0, 0.012)),
        lift=float(style.volume * rng.uniform(0.75, 1.3)),
        style=name,
        fringe=style.fringe,
    )


def _choose_style(rng: np.random.Generator, *, age: float, male: float, kinky: bool, bald: bool, look: str) -> str:
    """Name of a style; the other look shows a held-out one with probability 0.6."""
    group = (0 if male >= 0.5 else 1) + (0 if age < 14 else 2)
    allowed = [
        name
        for name, style in STYLES.items()
        if (style.kinky or not kinky or style.top < 0.3 or style.tied)
        and (kinky or not style.kinky)
        and not (bald and max(style.side, style.top) > 0.6)
    ]
    held_out = [name for name in allowed if name in HELD_OUT and (male < 0.5 or not (STYLES[name].side > 0.9))]
    if look == "other" and held_out and rng.random() < 0.6:
        return str(rng.choice(held_out))
    odds = np.array([STYLES[name].odds[group] for name in allowed])
    return allowed[int(rng.choice(len(allowed), p=odds / odds.sum()))]
