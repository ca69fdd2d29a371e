"""What a reading says in words: what the terminal and the annotated pictures both tell."""

from __future__ import annotations

from types import MappingProxyType

from semeia.records import ActionUnit, FaceReading

UNIT_NAMES = MappingProxyType(
    {
        "AU01": "inner brow raiser",
        "AU02": "outer brow raiser",
        "AU04": "brow lowerer",
        "AU05": "upper lid raiser",
        "AU06": "cheek raiser",
        "AU07": "lid tightener",
        "AU09": "nose wrinkler",
        "AU10": "upper lip raiser",
        "AU12": "lip corner puller",
        "AU14": "dimpler",
        "AU15": "lip corner depressor",
        "AU17": "chin raiser",
        "AU20": "lip stretcher",
        "AU23": "lip tightener",
        "AU24": "lip pressor",
        "AU25": "lips part",
        "AU26": "jaw drop",
        "AU27": "mouth stretch",
        "AU43": "eyes closed",
    }
)
"""What FACS (Ekman, Friesen and Hager, 2002) calls each unit of ``records.ACTION_UNITS``."""

UNEVEN = 1.0
"""From this difference between the sides on, one FACS level, both are told."""


def present(face: FaceReading) -> list[tuple[str, ActionUnit]]:
    """The action units that are present, the strongest first."""
    units = [(name, unit) for name, unit in face.action_units.items() if unit.occurrence]
    return sorted(units, key=lambda item: -item[1].intensity)


def likely_attributes(face: FaceReading) -> list[str]:
    """Attributes with a probability of more than one half, the likeliest first, in plain words."""
    names = [name for name, probability in face.attributes.items() if probability > 0.5]
    return [name.replace("_", " ").lower() for name in sorted(names, key=lambda name: -face.attributes[name])]


def affect_words(valence: float | None, arousal: float | None) -> str:
    """Valence and arousal with their signs; empty where nothing read them."""
    return "" if valence is None or arousal is None else f"valence {valence:+.2f} arousal {arousal:+.2f}"


def uneven(unit: ActionUnit) -> str:
    """The intensities of both sides, where they are known and differ by a FACS level or more."""
    if unit.left is None or unit.right is None or abs(unit.left - unit.right) < UNEVEN:
        return ""
    return f"left {unit.left:.1f}, right {unit.right:.1f}"
