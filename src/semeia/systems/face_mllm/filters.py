"""What keeps a machine's caption and labels out of a data set.

    Paper   Sun et al., "Face-MLLM", arXiv 2410.20717
    Idea    a strong annotator still refuses, rambles, names people and contradicts itself; each such answer is told
            apart by a rule that can be read
    Flow    caption, labels -> reason or none; hashes of crops -> near-duplicates
    Known   the paper's filters could not be read; thresholds are those of FaceCaption-15M where it has some, and ours

Shapes      N crops   H, W pixels of a crop
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from semeia.systems.face_mllm.schema import SCHEMA, mentions


@dataclass(frozen=True)
class Config:
    """Thresholds of the filters."""

    fewest_words: int = 30
    """Shortest caption in words. [INFERRED: the spec's default of 30 to 200]"""
    most_words: int = 200
    """Longest caption in words. [INFERRED: the spec's default of 30 to 200]"""
    fewest_labels: int = 5
    """Labels that must be known. [FaceCaption-15M: more than 5 valid labels; here at least 5]"""
    most_contradictions: int = 1
    """Items that caption and labels may tell differently. [INFERRED: the spec's default]"""
    most_different: int = 12
    """Bits of 256 up to which two crops are near-duplicates; below 0: none are. [default: chosen on the face world]"""


BITS = 256
_SIDE = 16

_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) (?:sorry|unable|not able)|i (?:can(?:'t|not)|won't|will not|do not|don't) (?:\w+ ){0,2}"
    r"(?:help|assist|describe|identify|provide|comply|answer|see|analy[sz]e|process|view)|as an ai\b"
    r"|as a language model|cannot (?:assist|comply|fulfil)"
    r"|(?:against|violates?) (?:my|our|the) (?:policy|policies|guidelines))",
    re.IGNORECASE,
)
_UNSAFE = re.compile(r"\b(?:nude|naked|nudity|porn\w*|sexual\w*|sexy|genital\w*|erotic\w*|gore)\b", re.IGNORECASE)
_NAMED = re.compile(
    r"\b(?:named|known as|identified as|called|resembl\w+|looks like|portrait of|photo of|picture of)"
    r" (?:(?:the )?(?:actor|actress|singer|president|model|politician|athlete|celebrity) )?[A-Z][a-z]"
)
_TITLE = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Sir|Dame|Lord|Prince|Princess|Queen|King|President|Senator|Minister|Pope)\b\.? [A-Z]"
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_PLAIN = _words(
    "african american asian caucasian european hispanic indian latin latina latino arab middle eastern east south "
    "north west western northern southern eastern mediterranean chinese japanese korean english french german italian "
    "spanish russian christmas monday tuesday wednesday thursday friday saturday sunday january february march april "
    "may june july august september october november december i roman v-neck t-shirt ai json"
)
"""Capitalised words that name nobody."""
_STARTS = _words(
    "a an the this that these those he she they it his her their its we you one someone somebody nobody there here "
    "what overall otherwise no not person man woman boy girl child adult teenager face head skin hair individual "
    "subject image picture photo photograph portrait gaze expression light lighting background posture age everything "
    "nothing none eyebrow eye nose mouth lip chin cheek forehead jaw ear neck beard smile both neither each"
) | {word for item in SCHEMA for ws in item.words.values() for w in ws for word in w.replace("~", "").split()}
_THEN = _words("is has was wears looks appears smiles seems stands sits faces shows gazes")


def refusal(text: str) -> bool:
    """Whether a text declines to answer."""
    return _REFUSAL.search(text) is not None


def unsafe(text: str) -> bool:
    """Whether a text holds words of nudity, sex or gore."""
    return _UNSAFE.search(text) is not None


def names_person(text: str) -> bool:
    """Whether a text seems to name somebody; a rule of capitals, which also catches some brands and places."""
    if _NAMED.search(text) or _TITLE.search(text):
        return True
    for sentence in re.split(r"(?<=[.!?:;])\s+|\n+", text):
        words = _WORD.findall(sentence)
        for place, word in enumerate(words):
            plain = word.lower().removesuffix("'s").removesuffix("’s")
            if not word[0].isupper() or word.isupper() or plain in _PLAIN:
                continue
            after = words[place + 1] if place + 1 < len(words) else ""
            if place > 0 or (
                plain not in _STARTS
                and plain.removesuffix("s") not in _STARTS
                and (after in _THEN or word.endswith("'s"))
            ):
                return True
    return False


def contradictions(caption: str, labels: Mapping[str, str]) -> list[str]:
    """Items of which caption and labels say different things."""
    said = mentions(caption)
    return [name for name, value in said.items() if name in labels and labels[name] != value]


def caption_agreement(caption: str, labels: Mapping[str, str]) -> float | None:
    """Share of what caption and labels both tell on which they agree; None where they share nothing."""
    said = {name: value for name, value in mentions(caption).items() if name in labels}
    if not said:
        return None
    return sum(labels[name] == value for name, value in said.items()) / len(said)


def fault_of_caption(caption: str, config: Config) -> str | None:
    """Why a caption cannot be used, whatever the labels say; None where it can."""
    words = len(caption.split())
    if refusal(caption):
        return "refused"
    if unsafe(caption):
        return "unsafe words"
    if names_person(caption):
        return "names a person"
    if not config.fewest_words <= words <= config.most_words:
        return f"caption of {'few' if words < config.fewest_words else 'many'} words"
    return None


def fault_of_pair(caption: str, labels: Mapping[str, str], config: Config) -> str | None:
    """Why caption and labels cannot be used together; None where they can."""
    if len(labels) < config.fewest_labels:
        return "few labels"
    if len(contradictions(caption, labels)) > config.most_contradictions:
        return "caption contradicts labels"
    return None


# ---------------------------------------------------------------------------------------------------------------------
# Near-duplicates


def picture_hash(crop: np.ndarray) -> bytes:
    """32 bytes that change little where a crop (H, W, 3) uint8 changes little: signs of differences along x."""
    small = Image.fromarray(crop).convert("L").resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
    values = np.asarray(small, np.int16)  # (16, 17)
    return np.packbits(values[:, 1:] > values[:, :-1]).tobytes()


def near_duplicates(hashes: Sequence[bytes], most_different: int) -> dict[int, int]:
    """Crops that repeat an earlier one: their number -> that of the first, which is kept.

    Two hashes that differ in at most d bits agree wholly in one of d + 1 bands, so only those are compared.
    """
    if most_different < 0 or not hashes:
        return {}
    bits = np.unpackbits(np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1), axis=1)  # (N, 256)
    bands = np.array_split(np.arange(BITS), most_different + 1)
    buckets: list[dict[bytes, list[int]]] = [{} for _ in bands]
    packed = [np.packbits(bits[:, band], axis=1) for band in bands]
    same: dict[int, int] = {}
    for number in range(len(hashes)):
        keys = [rows[number].tobytes() for rows in packed]
        near = sorted({other for bucket, key in zip(buckets, keys, strict=True) for other in bucket.get(key, ())})
        if near:
            distances = (bits[near] != bits[number]).sum(1)
            close = np.flatnonzero(distances <= most_different)
            if len(close):
                same[number] = near[int(close[0])]
                continue
        for bucket, key in zip(buckets, keys, strict=True):
            bucket.setdefault(key, []).append(number)
    return same
