"""Captions from labels: a grammar with paraphrases, for annotators that label and do not write.

    Paper   Sun et al., "Face-MLLM", arXiv 2410.20717
    Idea    FaceCaption-15M writes captions from attributes by template and rewrites them; here chance chooses among
            the wordings and the order of the sentences
    Flow    item: value -> sentences -> caption
    Known   the paper's captions come from a closed model; grammar and words are ours
    Shapes  none: text

What has no label is not told, so that a caption never says more than its labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from semeia.systems.face_mllm.schema import ITEMS, NO, YES

_WHO = {
    ("child", "male"): "a boy", ("child", "female"): "a girl", ("child", ""): "a child",
    ("teenager", "male"): "a male teenager", ("teenager", "female"): "a female teenager",
    ("teenager", ""): "a teenager",
    ("young adult", "male"): "a man, a young adult", ("young adult", "female"): "a woman, a young adult",
    ("young adult", ""): "a young adult",
    ("middle-aged", "male"): "a middle-aged man", ("middle-aged", "female"): "a middle-aged woman",
    ("middle-aged", ""): "a middle-aged person",
    ("senior", "male"): "an elderly man", ("senior", "female"): "an elderly woman", ("senior", ""): "an elderly person",
    ("", "male"): "a man", ("", "female"): "a woman", ("", ""): "a person",
}  # fmt: skip
_OPENINGS = ("The picture shows {}", "This is a close view of {}", "The face appears to be that of {}", "We see {}")
_MOODS = {
    "neutral": ("The face keeps a neutral expression", "The person looks neutral"),
    "happiness": ("The person looks happy", "The face seems joyful"),
    "sadness": ("The person looks sad", "The face seems sorrowful"),
    "surprise": ("The person looks surprised", "The face seems astonished"),
    "fear": ("The person looks afraid", "The face seems fearful"),
    "disgust": ("The person looks disgusted", "The face seems disgusted"),
    "anger": ("The person looks angry", "The face seems angry"),
    "contempt": ("The person looks contemptuous", "The face seems contemptuous"),
}
_TURNS = {
    "frontal": ("The person faces the camera", "The head is facing the camera"),
    "left": ("The head is turned to the left", "The person has turned to the left"),
    "right": ("The head is turned to the right", "The person has turned to the right"),
}
_NODS = {"level": "with the head held level", "up": "with the head raised", "down": "with the head lowered"}
_PARTS = (("brows", "eyes"), ("nose", "mouth"), ("facial hair",), ("face", "skin"), ("things",))
_MOST = 4
"""Present things of one sentence."""
_ABSENT = (
    "beard", "eyeglasses", "hat", "smiling", "moustache", "mouth_open", "lipstick", "earrings", "bangs", "raised_brows",
    "lowered_brows", "eyes_closed", "wrinkled_nose",
)  # fmt: skip
"""Items whose absence is worth telling."""


def caption(labels: Mapping[str, str], rng: np.random.Generator) -> str:
    """A caption of what the labels say, in words and an order that ``rng`` chooses."""
    middle = [text for text in (_hair(labels, rng), *(_part(labels, groups, rng) for groups in _PARTS)) if text]
    absent = _absent(labels, rng)
    ordered = [middle[int(i)] for i in rng.permutation(len(middle))]
    sentences = [_opening(labels, rng), *ordered, *absent, *_state(labels, rng)]
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences)


def _opening(labels: Mapping[str, str], rng: np.random.Generator) -> str:
    who = _WHO[(labels.get("age_group", ""), labels.get("gender", ""))]
    return _pick(_OPENINGS, rng).format(who)


def _hair(labels: Mapping[str, str], rng: np.random.Generator) -> str:
    if labels.get("bald") == YES:
        return _pick(("The person is bald", "The head is bald"), rng)
    looks = [
        {"medium": "medium-length"}.get(value, value)
        for name in ("hair_length", "hair_texture", "hair_colour")
        if (value := labels.get(name)) is not None and value != "shaved"
    ]
    rest = [ITEMS[name].phrase for name in _present(labels, ("hair",)) if name != "bald"]
    told = ([" ".join([*looks, "hair"])] if looks else []) + rest
    return _pick(("The person has {}", "One sees {}"), rng).format(_joined(told)) if told else ""


def _part(labels: Mapping[str, str], groups: Sequence[str], rng: np.random.Generator) -> str:
    names = _present(labels, groups)
    names = [names[int(i)] for i in sorted(rng.permutation(len(names))[:_MOST])]
    said = {"have": "has {}", "wear": "is wearing {}", "be": "is {}"}
    clauses = []
    for verb, words in said.items():
        phrases = [ITEMS[name].phrase for name in names if ITEMS[name].verb == verb]
        if phrases:
            clauses.append(words.format(_joined(phrases)))
    if "eyes" in groups and "eye_colour" in labels:
        clauses.append(f"has {labels['eye_colour']} eyes")
    if "skin" in groups and "skin_tone" in labels:
        clauses.append(f"has {labels['skin_tone']} skin")
    who = _pick(("The person", "This person"), rng)
    return f"{who} {' and '.join(clauses)}" if clauses else ""


def _absent(labels: Mapping[str, str], rng: np.random.Generator) -> list[str]:
    names = [name for name in _ABSENT if labels.get(name) == NO]
    if labels.get("gender") != "male":
        names = [name for name in names if ITEMS[name].group != "facial hair"]
    names = [names[int(i)] for i in sorted(rng.permutation(len(names))[: int(rng.integers(2, 5))])]
    have = [ITEMS[name].words[YES][0] for name in names if ITEMS[name].verb != "be"]
    told = [_pick(("There is no {}", "One sees no {}"), rng).format(" and no ".join(have))] if have else []
    return told + [f"The person is not {ITEMS[name].phrase}" for name in names if ITEMS[name].verb == "be"]


def _state(labels: Mapping[str, str], rng: np.random.Generator) -> list[str]:
    told = [_pick(_MOODS[labels["expression"]], rng)] if "expression" in labels else []
    turn, nod = labels.get("head_turn"), labels.get("head_nod")
    if turn is not None:
        told.append(_pick(_TURNS[turn], rng) + (f", {_NODS[nod]}" if nod is not None else ""))
    gaze = labels.get("gaze")
    if gaze is not None:
        told.append(f"The person looks {gaze}" if gaze == "at the camera" else f"The person gazes {gaze}")
    return told


def _present(labels: Mapping[str, str], groups: Sequence[str]) -> list[str]:
    return [n for n, item in ITEMS.items() if item.group in groups and item.closed and labels.get(n) == YES]


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _joined(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
