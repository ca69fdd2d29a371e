"""How pleasant and how excited a face looks: valence and arousal by one rule, as a rater would give them.

A prototype has a place in the circumplex (Russell 1980; places set by hand), reached as its units grow; a compound has
the mean of its two places. Every other unit adds its own contribution, so that faces without a prototype have a place
too. A rater's noise lies on top.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from semeia.data.synthetic.faces.action_units import COMPOUNDS, PROTOTYPES
from semeia.data.synthetic.faces.spec import FaceSpec, Stream

PLACES = {
    "neutral": (0.0, 0.0),
    "happiness": (0.85, 0.40),
    "sadness": (-0.75, -0.35),
    "surprise": (0.15, 0.80),
    "fear": (-0.60, 0.80),
    "disgust": (-0.70, 0.35),
    "anger": (-0.65, 0.70),
    "contempt": (-0.50, 0.15),
}
"""Valence and arousal of each expression at its strongest."""

CONTRIBUTIONS = {
    "AU01": (-0.05, 0.10), "AU02": (0.05, 0.20), "AU04": (-0.40, 0.15), "AU05": (-0.05, 0.45), "AU06": (0.25, 0.05),
    "AU07": (-0.10, 0.15), "AU09": (-0.50, 0.20), "AU10": (-0.30, 0.10), "AU12": (0.70, 0.20), "AU14": (-0.15, 0.0),
    "AU15": (-0.50, -0.15), "AU17": (-0.20, 0.0), "AU20": (-0.30, 0.25), "AU23": (-0.25, 0.20),
    "AU24": (-0.25, 0.15), "AU25": (0.0, 0.10), "AU26": (0.0, 0.25), "AU27": (0.0, 0.50), "AU43": (0.0, -0.60),
}  # fmt: skip
"""Valence and arousal that each unit adds at intensity 5, in proportion below."""

FULL_STRENGTH = 4.0
"""Mean intensity of a prototype's units from which it counts as at its strongest."""

RATER_NOISE = 0.08
"""Standard deviation of a rater around the rule."""


def true_affect(spec: FaceSpec, intensity: Mapping[str, float]) -> tuple[float, float]:
    """Valence and arousal by the rule, each in (-1, 1), without a rater's noise.

    Args:
        spec: the shot.
        intensity: FACS 0-5 of every labelled unit, hidden ones included.

    The contributions of units that belong to no prototype of the shot are summed and bounded by tanh; the prototype's
    place, times its strength, is added.
    """
    parents = COMPOUNDS[spec.compound][0] if spec.compound is not None else (spec.expression,)
    own = {unit for parent in parents for unit in PROTOTYPES.get(str(parent), {})}
    grades = [intensity.get(unit, 0.0) for unit in spec.action if unit in own]
    strength = min(float(np.mean(grades)) / FULL_STRENGTH, 1.0) if grades else 0.0
    place = np.mean([PLACES.get(str(parent), (0.0, 0.0)) for parent in parents], axis=0) * strength
    added = sum(
        (np.array(CONTRIBUTIONS[unit]) * value / 5 for unit, value in intensity.items() if unit not in own),
        start=np.zeros(2),
    )
    valence, arousal = np.clip(place + np.tanh(added), -1, 1)
    return float(valence), float(arousal)


def rated_affect(spec: FaceSpec, intensity: Mapping[str, float]) -> tuple[float, float]:
    """Valence and arousal as a rater gives them: the rule with normal noise, clipped to [-1, 1]."""
    noise = spec.shot_stream(Stream.AFFECT).normal(0, RATER_NOISE, 2)
    valence, arousal = np.clip(np.array(true_affect(spec, intensity)) + noise, -1, 1)
    return round(float(valence), 3), round(float(arousal), 3)
