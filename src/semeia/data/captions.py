"""Short prompts about a portrait, by a small grammar, from its labels and from the colour behind the head.

PROMPT = [OPENING] WHO [with LOOKS] [wearing THINGS] [DEED] [HEAD] [in a BACKGROUND background]

These are the words that people write to a text-to-image model; the sentences of the face world (``caption`` of a face)
are longer and say nothing of the background. Every part but WHO is left out now and then, so that a model learns what a
prompt does not say, too. What has no label is never told. Ages and sexes are as the labels have them: of the face world
they are sliders of a modelling program.

Shapes      H, W picture
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from semeia.records import FaceLabels

OPENINGS = ("photo of", "a photo of", "a picture of", "a portrait of", "")
FACES = ("person", "face")
"""Whoever it is; with the words of ``_who`` these are the class words that the base knows."""
MOODS = {
    "neutral": ("looking neutral", "neutral"),
    "happiness": ("looking happy", "happy"),
    "sadness": ("looking sad", "sad"),
    "surprise": ("looking surprised", "surprised"),
    "fear": ("looking afraid", "afraid"),
    "disgust": ("looking disgusted", "disgusted"),
    "anger": ("looking angry", "angry"),
    "contempt": ("looking contemptuous", "contemptuous"),
}
DEEDS = {
    "AU12": "smiling", "AU04": "frowning", "AU09": "wrinkling the nose", "AU27": "with the mouth wide open",
    "AU25": "with the lips parted", "AU43": "with closed eyes", "AU02": "with raised brows",
    "AU15": "with the mouth corners down",
}  # fmt: skip
"""What is told of an action unit that is strong."""
HAIR = {
    "Black_Hair": "black hair", "Blond_Hair": "blond hair", "Brown_Hair": "brown hair", "Gray_Hair": "grey hair",
    "Bald": "a bald head",
}  # fmt: skip
LOOKS = {"Goatee": "a goatee", "Mustache": "a moustache", "Bangs": "a fringe", "Wavy_Hair": "wavy hair",
         "Wearing_Lipstick": "red lips"}  # fmt: skip
THINGS = {"Eyeglasses": "glasses", "Wearing_Hat": "a hat", "Mask": "a mask", "Wearing_Earrings": "earrings"}
SHADES = ("dark", "light", "grey", "white", "black")
HUES = ("red", "brown", "yellow", "green", "blue", "purple", "pink")
PLACES = ("in a {} background", "in {} background", "with a {} background")
EXTRA = ("of", "pose", "background", "and", "ktn", "the", "on", "his", "her", "their")
"""Words that prompts of learned concepts need; ``ktn`` is the rare word that a concept's vector starts from."""

STRONG = 3.0
"""FACS intensity from which a deed is told."""
TURNED, FRONTAL = 10.0, 5.0
"""Degrees."""
KEPT = {"opening": 0.9, "looks": 0.6, "things": 0.75, "deed": 0.7, "head": 0.6, "behind": 0.6, "person": 0.25}
"""How often a part is told where there is something to tell; ``person``: WHO is but a person or a face."""
BEHIND_ALONE = 0.04
"""How often a prompt tells the background and nothing else: words of a background must mean one by themselves."""


def prompt(labels: FaceLabels, rng: np.random.Generator, *, behind: str | None = None, mirrored: bool = False) -> str:
    """A prompt that a portrait answers.

    Args:
        labels: Of the face; any may be missing.
        rng: Chooses what is told, and in which words.
        behind: Colour of the background, see ``background_word``; None where it is not known.
        mirrored: The picture was mirrored: the head is turned to the other side than the labels say.
    """
    opening = _one(OPENINGS, rng) if rng.random() < KEPT["opening"] else ""
    place = None if behind is None else _one(PLACES, rng).format(behind)
    if place is not None and rng.random() < BEHIND_ALONE:
        return f"{opening or 'photo of'} {_one(('', 'a '), rng)}{behind} background"
    whose = {1: "his", 0: "her"}.get(labels.attributes.get("Male", -1), "their")
    told = [_who(labels, rng)]
    looks = _looks(labels, rng) if rng.random() < KEPT["looks"] else []
    if looks:
        told.append(f"with {' and '.join(looks)}")
    things = [word for name, word in THINGS.items() if labels.attributes.get(name) == 1]
    if things and rng.random() < KEPT["things"]:
        told.append(f"wearing {' and '.join(things)}")
    for part, words in (("deed", _deed(labels, rng)), ("head", _head(labels, whose, rng, mirrored=mirrored))):
        if words and rng.random() < KEPT[part]:
            told.append(words)
    if place is not None and rng.random() < KEPT["behind"]:
        told.append(place)
    return " ".join([*([opening] if opening else []), *told])


def background_word(image: np.ndarray, mask: np.ndarray, *, least: float = 0.05) -> str | None:
    """Colour of what is behind a face, such as ``dark green``.

    Args:
        image: ``(H, W, 3)`` uint8.
        mask: ``(H, W)``, 0 where the background is, as the face world's regions have it.
        least: Part of the picture that must be background.

    Returns:
        A shade, a hue or both; None where too little is seen of it.
    """
    behind = image[mask == 0]
    if len(behind) < least * mask.size:
        return None
    red, green, blue = (float(value) for value in np.median(behind, axis=0))
    return colour_word(red, green, blue)


def colour_word(red: float, green: float, blue: float) -> str:
    """A shade, a hue or both for a colour of 0-255; backgrounds are dull, so a little colour counts."""
    most, least = max(red, green, blue), min(red, green, blue)
    light = 0.30 * red + 0.59 * green + 0.11 * blue
    shade = "dark" if light < 85 else "light" if light > 165 else ""
    if most - least < 10 + 0.04 * most:
        if light < 45:
            return "black"
        return "white" if light > 205 else f"{shade} grey".strip()
    angle = math.degrees(math.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)) % 360
    bounds = ((20, "red"), (48, "brown"), (75, "yellow"), (165, "green"), (255, "blue"), (300, "purple"), (340, "pink"))
    hue = next((name for bound, name in bounds if angle < bound), "red")
    return f"{shade} {hue}".strip()


def vocabulary() -> tuple[str, ...]:
    """Every word that a prompt may hold, and those of ``EXTRA``, sorted."""
    texts = [
        *OPENINGS, *FACES, *DEEDS.values(), *HAIR.values(), *LOOKS.values(), *THINGS.values(), *SHADES, *HUES,
        *PLACES, *EXTRA, *(word for words in MOODS.values() for word in words),
        "a an young old man woman boy girl child teenage wearing with beard",
        "facing camera head turned to left right tilted up down frontal",
    ]  # fmt: skip
    return tuple(sorted(set(re.findall("[a-z]+", " ".join(texts)))))


def _who(labels: FaceLabels, rng: np.random.Generator) -> str:
    male, age = labels.attributes.get("Male"), labels.age
    if male is None or rng.random() < KEPT["person"]:
        return f"a {_one(FACES, rng)}"
    if age is None:
        return "a man" if male else "a woman"
    if age < 13:
        return "a boy" if male else "a girl"
    if age < 20:
        return f"a teenage {'boy' if male else 'girl'}"
    grown = "man" if male else "woman"
    if rng.random() < 0.5:
        return f"a {grown}"
    return f"a young {grown}" if age < 35 else f"an old {grown}" if age > 60 else f"a {grown}"


def _looks(labels: FaceLabels, rng: np.random.Generator) -> list[str]:
    holds = {name for name, value in labels.attributes.items() if value == 1}
    looks = [word for name, word in HAIR.items() if name in holds][:1]
    looks += [word for name, word in LOOKS.items() if name in holds]
    if labels.attributes.get("No_Beard") == 0 and not {"Goatee", "Mustache"} & holds:
        looks.append("a beard")
    chosen = sorted(rng.permutation(len(looks))[:2])
    return [looks[int(place)] for place in chosen]


def _deed(labels: FaceLabels, rng: np.random.Generator) -> str | None:
    deeds = [word for unit, word in DEEDS.items() if labels.au_intensity.get(unit, 0.0) >= STRONG]
    moods = MOODS.get(labels.expression or "", ())
    if moods and (not deeds or rng.random() < 0.5):
        return _one(moods, rng)
    return _one(deeds, rng) if deeds else None


def _head(labels: FaceLabels, whose: str, rng: np.random.Generator, *, mirrored: bool) -> str | None:
    if labels.pose is None:
        return None
    yaw, pitch = labels.pose.yaw * (-1 if mirrored else 1), labels.pose.pitch
    if max(abs(yaw), abs(pitch)) < FRONTAL:
        return _one(("facing the camera", "with frontal pose"), rng)
    turns = [
        ("turned", "right" if yaw > 0 else "left", abs(yaw)),
        ("tilted", "up" if pitch > 0 else "down", abs(pitch)),
    ]
    verb, side, angle = max(turns, key=lambda turn: turn[2])
    if angle < TURNED:
        return None
    to = f"to {whose} {side}" if verb == "turned" else side
    return _one((f"with the head {verb} {to}", f"with {side} pose"), rng)


def _one(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
