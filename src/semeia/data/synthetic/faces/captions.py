"""One sentence about a labelled face, made by a small grammar from its labels alone.

SENTENCE = SUBJECT [with LOOKS] [wearing THINGS] DOES [HEAD]. Age and sex are sliders of a modelling program, so the
sentence says that a person "appears" to be of an age and a sex. What has no label is not told.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semeia.records import FaceLabels

DEEDS = {
    "AU01": ("raises the inner brows",),
    "AU02": ("raises the outer brows",),
    "AU04": ("lowers the brows", "frowns"),
    "AU05": ("opens the eyes wide",),
    "AU06": ("raises the cheeks",),
    "AU07": ("tightens the eyelids",),
    "AU09": ("wrinkles the nose",),
    "AU10": ("raises the upper lip",),
    "AU12": ("smiles",),
    "AU14": ("dimples the mouth corners",),
    "AU15": ("pulls the mouth corners down",),
    "AU17": ("pushes the chin up",),
    "AU20": ("stretches the lips sideways",),
    "AU23": ("tightens the lips",),
    "AU24": ("presses the lips together",),
    "AU25": ("parts the lips",),
    "AU26": ("drops the jaw",),
    "AU27": ("opens the mouth wide",),
    "AU43": ("closes the eyes",),
}
"""What a person does with each unit."""

MOODS = {
    "neutral": ("looks neutral", "shows a neutral face"),
    "happiness": ("looks happy",),
    "sadness": ("looks sad",),
    "surprise": ("looks surprised",),
    "fear": ("looks afraid",),
    "disgust": ("looks disgusted",),
    "anger": ("looks angry",),
    "contempt": ("looks contemptuous",),
}
_DECADES = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
_HAIR = {
    "Black_Hair": "black hair", "Blond_Hair": "blond hair", "Brown_Hair": "brown hair", "Gray_Hair": "grey hair",
    "Bald": "a bald head",
}  # fmt: skip
_MARKS = {
    "Goatee": "a goatee", "Mustache": "a moustache", "5_o_Clock_Shadow": "stubble", "Bangs": "a fringe",
    "Bushy_Eyebrows": "bushy eyebrows", "Big_Lips": "full lips", "Rosy_Cheeks": "rosy cheeks",
    "Bags_Under_Eyes": "bags under the eyes", "Wavy_Hair": "wavy hair", "Wearing_Lipstick": "lipstick",
}  # fmt: skip
_THINGS = {"Eyeglasses": "glasses", "Wearing_Hat": "a hat", "Mask": "a face mask", "Wearing_Earrings": "earrings"}

_MOST_MARKS, _MOST_DEEDS = 2, 3
_STRONG, _WEAK = 4.0, 2.8
_ALONE = 1.0  # the weaker side's greatest intensity where a unit is told as one-sided
_TURNED, _FAR = 8.0, 25.0  # degrees
_FRONTAL = 4.0


def caption(labels: FaceLabels, rng: np.random.Generator) -> str:
    """A sentence about a face; only what its labels say, in words that ``rng`` (of ``Stream.CAPTION``) chooses."""
    his = {1: "his", 0: "her"}.get(labels.attributes.get("Male", -1), "their")
    parts = [_subject(labels, his, rng)]
    looks = _looks(labels, rng)
    if looks:
        parts.append(f"with {_joined(looks)}")
    things = [word for name, word in _THINGS.items() if labels.attributes.get(name) == 1]
    if things:
        parts.append(f"wearing {_joined(things)}")
    sentence = ", ".join(parts) + ("," if len(parts) > 1 else "") + " " + _does(labels, rng)
    return ", ".join([sentence, *_head(labels, his)]) + "."


def _subject(labels: FaceLabels, his: str, rng: np.random.Generator) -> str:
    male, age = labels.attributes.get("Male"), labels.age
    grown = {1: "a man", 0: "a woman"}.get(-1 if male is None else male, "an adult")
    young = {1: "boy", 0: "girl"}.get(-1 if male is None else male, "child")
    if age is None:
        who = grown if male is not None else "of unknown age"
    elif age < 13:
        who = f"a {young}"
    elif age < 20:
        who = f"a teenage {young}" if male is not None else "a teenager"
    else:
        who = f"{grown} in {his} {_DECADES[min(int(age // 10) - 2, 7)]}"
    opening = _one(("A person who appears to be", "Someone who appears to be", "What appears to be"), rng)
    return f"{opening} {who}"


def _looks(labels: FaceLabels, rng: np.random.Generator) -> list[str]:
    holds = {name for name, value in labels.attributes.items() if value == 1}
    hair = [word for name, word in _HAIR.items() if name in holds][:1]
    marks = [word for name, word in _MARKS.items() if name in holds]
    beard = {"Goatee", "Mustache", "5_o_Clock_Shadow"}
    if labels.attributes.get("No_Beard") == 0 and not beard & holds:
        marks.append("a beard")
    chosen = sorted(rng.permutation(len(marks))[:_MOST_MARKS])
    return hair + [marks[int(place)] for place in chosen]


def _does(labels: FaceLabels, rng: np.random.Generator) -> str:
    present = [unit for unit, value in labels.au_occurrence.items() if value == 1 and unit in labels.au_intensity]
    present.sort(key=lambda unit: -labels.au_intensity[unit])
    deeds = [_deed(labels, unit, rng) for unit in present]
    if labels.compound is not None:
        deeds = [f"looks {labels.compound}", *deeds]
    elif labels.expression is not None:
        deeds = [_one(MOODS.get(labels.expression, (f"shows {labels.expression}",)), rng), *deeds]
    if not deeds:
        return _one(("is seen", "is shown"), rng)
    return _joined(deeds[: int(rng.integers(2, _MOST_DEEDS + 1))])


def _deed(labels: FaceLabels, unit: str, rng: np.random.Generator) -> str:
    strength = labels.au_intensity[unit]
    words = _one(DEEDS.get(unit, (f"shows {unit}",)), rng)
    if strength >= _STRONG:
        words += " broadly" if words == "smiles" else " strongly"
    elif strength < _WEAK:
        words += " slightly"
    left, right = labels.au_left.get(unit), labels.au_right.get(unit)
    if left is not None and right is not None and min(left, right) < _ALONE:
        words += f" on the {'left' if left > right else 'right'} side"
    return words


def _head(labels: FaceLabels, his: str) -> list[str]:
    pose = labels.pose
    if pose is None:
        return []
    if max(abs(pose.yaw), abs(pose.pitch)) < _FRONTAL:
        return ["facing the camera"]
    turns = []
    for angle, verb, sides in (
        (pose.yaw, "turned", (f"to {his} right", f"to {his} left")),
        (pose.pitch, "tilted", ("up", "down")),
    ):
        if abs(angle) >= _TURNED:
            degree = " far" if abs(angle) >= _FAR else " slightly" if abs(angle) < 2 * _TURNED else ""
            turns.append(f"{verb}{degree} {sides[0] if angle > 0 else sides[1]}")
    return [f"{his} head {_joined(turns)}"] if turns else []


def _one(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _joined(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
