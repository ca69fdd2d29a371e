"""Questions and answers from labels: attributes, expression, action units, age, gender, head direction.

    Paper   Sun et al., "Face-MLLM: A Large Face Perception Model", arXiv 2410.20717
    Idea    sets made for classifiers become instructions: a template asks, the label answers
    Flow    what is known of all faces -> which yes and no are asked (balanced) -> questions of one face at a time
    Known   that classical sets are re-formulated is the paper's; templates, balance and mix are ours

Held-out items are asked nowhere and named in no list, nor are items that would give them away (``schema.HELD_OUT``).

Shapes      N faces   I items of yes or no
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from semeia.records import ACTION_UNITS, EXPRESSIONS, FaceLabels
from semeia.systems.face_mllm.schema import HELD_OUT, ITEMS, NO, SCHEMA, YES, barred, known, leaks

T = TypeVar("T")
Entry = tuple[str, str, str, str, tuple[str, ...]]
"""Task, item, question, answer, options."""


@dataclass(frozen=True)
class Config:
    """What is asked, and how much of it."""

    held_out: tuple[str, ...] = tuple(HELD_OUT)
    """Items that are not asked. [INFERRED: the spec's default of 8 to 12; all are labelled by the face world]"""
    tasks: tuple[str, ...] = (
        "attribute",
        "attributes",
        "choice",
        "expression",
        "units",
        "unit",
        "age",
        "gender",
        "head",
    )
    """Kinds of questions. [paper: attributes, expression, age; INFERRED: the others]"""
    per_face: int = 6
    """Most questions of yes or no about one face, of each kind. [default: ours; the mix is unknown]"""
    most_per_item: int = 50_000
    """Most questions of yes and of no about one item. [INFERRED: the spec's limit of 50,000 to 100,000 a set]"""
    options: int = 4
    """Options of a choice. [FaceBench: four-way questions]"""
    listed: tuple[int, int] = (5, 8)
    """Fewest and most names of a list. [INFERRED: the spec's default]"""
    seed: int = 0
    """Of templates, options and balance. [default: ours]"""


@dataclass(frozen=True)
class Known:
    """What can be asked about one face; all of it may be missing."""

    labels: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)
    age: float | None = None

    @classmethod
    def of(cls, labels: FaceLabels) -> Known:
        """From the labels of a data set."""
        return cls(known(labels), dict(labels.au_occurrence), labels.age)


@dataclass(frozen=True)
class Question:
    """One question about one image, and its answer.

    Attributes:
        task: Kind of question, one of ``Config.tasks``.
        item: What is asked: an item of the schema, an action unit, or the task where it is about several.
        options: Between which the answer chooses, as they were told; empty where it is free.
    """

    image: str
    source: str
    task: str
    item: str
    question: str
    answer: str
    options: tuple[str, ...] = ()


UNIT_NAMES: Mapping[str, str] = {
    "AU01": "inner brow raiser", "AU02": "outer brow raiser", "AU04": "brow lowerer", "AU05": "upper lid raiser",
    "AU06": "cheek raiser", "AU07": "lid tightener", "AU09": "nose wrinkler", "AU10": "upper lip raiser",
    "AU12": "lip corner puller", "AU14": "dimpler", "AU15": "lip corner depressor", "AU17": "chin raiser",
    "AU20": "lip stretcher", "AU23": "lip tightener", "AU24": "lip pressor", "AU25": "lips part", "AU26": "jaw drop",
    "AU27": "mouth stretch", "AU43": "eyes closed",
}  # fmt: skip
"""Names of FACS."""

YES_NO = "Answer yes or no."
ASKED = {
    "have": ("Does this person have {}?", "Can you see {} in this face?", "Look at the face: does it have {}?",
             "Is it true that this person has {}?", "Would you say that the person has {}?"),
    "wear": ("Is this person wearing {}?", "Does the person in the picture wear {}?",
             "Can you see this person wear {}?",
             "Is it true that this person wears {}?", "Would you say that the person is wearing {}?"),
    "be": ("Is this person {}?", "Would you call this person {}?", "Look at the face: is the person {}?",
           "Is it true that this person is {}?", "Does the person seem to be {}?"),
}  # fmt: skip
"""Paraphrases of a question of yes or no by verb."""
LISTS = (
    "Which of these can be seen: {}? List them, or say none.",
    "From this list, name what is present: {}. List them, or say none.",
    "Look at the face. Which of the following hold: {}? List them, or say none.",
    "Pick all that apply: {}. List them, or say none.",
    "What of {} do you see? List them, or say none.",
)
CHOICES = (
    "What is the {} here? Options: {}. Answer with one of them.",
    "Choose the {} of this person. Options: {}. Answer with one of them.",
    "Which {} do you see? Options: {}. Answer with one of them.",
    "Name the {}. Options: {}. Answer with one of them.",
    "Look at the face and tell the {}. Options: {}. Answer with one of them.",
)
FEELINGS = (
    "Which expression is shown? Options: {}. One word.",
    "What does this face express? Options: {}. One word.",
    "How does this person seem to feel? Options: {}. One word.",
    "Name the facial expression. Options: {}. One word.",
    "Which of these words fits the expression: {}? One word.",
)
UNIT_LISTS = (
    "Which action units are active? Candidates: {}. List them, or say none.",
    "Name the active facial action units among {}. List them, or say none.",
    "Code this face by FACS. Candidates: {}. List the active ones, or say none.",
    "Which of these muscle movements are present: {}? List their units, or say none.",
    "Look for action units. Candidates: {}. List those that are active, or say none.",
)
UNIT_ASKED = (
    "Is {} active in this face?", "Does this face show {}?", "Can you see {}?", "Is {} present?",
    "Would a FACS coder mark {} here?",
)  # fmt: skip
AGES = (
    "How old does this person look? Answer with a number.", "Estimate the apparent age. Answer with a number.",
    "What age would you give this person? Answer with a number.",
    "Guess the age of the person in the picture, in years. Answer with a number.",
    "In years, how old does this face appear? Answer with a number.",
)  # fmt: skip

_MIN_UNITS = 2


class Asker:
    """Decides over all faces which yes and no are asked, so that each item is asked as often of either, then asks.

    Args:
        faces: What is known of every face, in order; gone through once, so that it may be read from disk.
        config: What is asked.

    Attributes:
        one_sided: Items of which only yes or only no is known, which are not asked.
    """

    def __init__(self, faces: Iterable[Known], config: Config) -> None:
        self.config = config
        held = barred(config.held_out)
        self.items = [item for item in SCHEMA if item.closed and item.name not in held]
        # A name of FACS is as good as the item's own words.
        self.units = [u for u in ACTION_UNITS if not any(u in ITEMS[name].units for name in held)]
        marks = {YES: 1, NO: 0}
        rows = [
            [marks.get(face.labels.get(item.name, ""), -1) for item in self.items]
            + [int(face.units.get(unit, -1)) for unit in self.units]
            for face in faces
        ]
        names = [item.name for item in self.items] + self.units
        marked = np.array(rows, np.int8).reshape(len(rows), len(names))  # (N, I)
        self.picked = np.zeros(marked.shape, bool)
        self.one_sided = []
        for column, name in enumerate(names):
            self.picked[:, column] = _balanced(marked[:, column], config.most_per_item, self._rng(name))
            if (marked[:, column] >= 0).any() and not self.picked[:, column].any():
                self.one_sided.append(name)
        self._thin(marked)

    def of(self, number: int, face: Known, *, image: str, source: str) -> list[Question]:
        """The questions about face ``number`` of those that were gone through.

        Args:
            number: Its place, from 0.
            face: What is known of it.
            image: Name of its picture, repeated in every question.
            source: Name of its data set.
        """
        rng = self._rng(f"{number} {image}")
        makers = {
            "attribute": self._closed, "attributes": self._list, "choice": self._choices,
            "expression": self._expression, "units": self._unit_list, "unit": self._closed_units, "age": self._age,
            "gender": self._gender, "head": self._head,
        }  # fmt: skip
        told = [entry for task in self.config.tasks for entry in makers[task](number, face, rng)]
        return [Question(image, source, *entry) for entry in told]

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, zlib.crc32(name.encode())])

    def _thin(self, marked: np.ndarray) -> None:
        """Leaves each face at most ``per_face`` of either kind, without upsetting the balance by much."""
        rng = self._rng("thin")
        cut = len(self.items)
        for columns in (slice(0, cut), slice(cut, None)):
            part = self.picked[:, columns]
            order = rng.random(part.shape) + ~part * 2.0
            rank = order.argsort(1).argsort(1)
            part &= rank < self.config.per_face
        for column in range(marked.shape[1]):
            kept = np.where(self.picked[:, column], marked[:, column], -1)
            self.picked[:, column] = _balanced(kept, self.config.most_per_item, rng)

    def _closed(self, number: int, face: Known, rng: np.random.Generator) -> list[Entry]:
        made: list[Entry] = []
        for item, asked in zip(self.items, self.picked[number], strict=False):
            if asked:
                question = f"{_pick(ASKED[item.verb], rng).format(item.phrase)} {YES_NO}"
                made.append(("attribute", item.name, question, face.labels[item.name].title(), ("Yes", "No")))
        return made

    def _closed_units(self, number: int, face: Known, rng: np.random.Generator) -> list[Entry]:
        made: list[Entry] = []
        for unit, asked in zip(self.units, self.picked[number, len(self.items) :], strict=True):
            if asked:
                question = f"{_pick(UNIT_ASKED, rng).format(_unit(unit))} {YES_NO}"
                made.append(("unit", unit, question, "Yes" if face.units[unit] else "No", ("Yes", "No")))
        return made

    def _list(self, _: int, face: Known, rng: np.random.Generator) -> list[Entry]:
        told = [item for item in self.items if item.name in face.labels]
        fewest, most = self.config.listed
        if len(told) < fewest:
            return []
        size = int(rng.integers(fewest, most + 1))
        present = [item for item in told if face.labels[item.name] == YES]
        rest = [item for item in told if face.labels[item.name] == NO]
        # About half of a list holds where that much does: most items are absent in most faces.
        some = _some(present, size // 2, rng)
        chosen = _some([*some, *_some(rest, size - len(some), rng)], size, rng)
        names = [_bare(item.phrase) for item in chosen]
        found = [_bare(item.phrase) for item in chosen if face.labels[item.name] == YES]
        question = _pick(LISTS, rng).format(", ".join(names))
        return [("attributes", "attributes", question, ", ".join(found) or "none", tuple(names))]

    def _choices(self, _: int, face: Known, rng: np.random.Generator) -> list[Entry]:
        others = ("expression", "gender", "head_turn", *barred(self.config.held_out))
        told = [i for i in SCHEMA if not i.closed and i.name in face.labels and i.name not in others]
        made: list[Entry] = []
        for item in _some(told, 2, rng):
            answer = face.labels[item.name]
            wrong = _some([value for value in item.values if value != answer], self.config.options - 1, rng)
            options = _some([answer, *wrong], len(wrong) + 1, rng)
            question = _pick(CHOICES, rng).format(item.phrase, ", ".join(options))
            made.append(("choice", item.name, question, answer, tuple(options)))
        return made

    def _expression(self, _: int, face: Known, rng: np.random.Generator) -> list[Entry]:
        if face.labels.get("expression") not in EXPRESSIONS:
            return []
        # Seven classes as RAF-DB has them, and contempt where it is the answer.
        names = EXPRESSIONS if face.labels["expression"] == "contempt" else EXPRESSIONS[:7]
        options = _some(names, len(names), rng)
        question = _pick(FEELINGS, rng).format(", ".join(options))
        return [("expression", "expression", question, face.labels["expression"], tuple(options))]

    def _unit_list(self, _: int, face: Known, rng: np.random.Generator) -> list[Entry]:
        units = [unit for unit in self.units if unit in face.units]
        if len(units) < _MIN_UNITS:
            return []
        active = ", ".join(_short(unit) for unit in units if face.units[unit]) or "none"
        question = _pick(UNIT_LISTS, rng).format(", ".join(_unit(unit) for unit in units))
        return [("units", "units", question, active, tuple(_short(unit) for unit in units))]

    def _age(self, _: int, face: Known, rng: np.random.Generator) -> list[Entry]:
        return [] if face.age is None else [("age", "age", _pick(AGES, rng), str(round(face.age)), ())]

    def _gender(self, _: int, face: Known, rng: np.random.Generator) -> list[Entry]:
        return self._of_options("gender", ITEMS["gender"].phrase, face.labels.get("gender"), rng)

    def _head(self, _: int, face: Known, rng: np.random.Generator) -> list[Entry]:
        words = "head direction, sides being the person's own"
        return self._of_options("head_turn", words, face.labels.get("head_turn"), rng, task="head")

    def _of_options(
        self, name: str, words: str, answer: str | None, rng: np.random.Generator, *, task: str = "gender"
    ) -> list[Entry]:
        if answer is None:
            return []
        options = _some(ITEMS[name].values, len(ITEMS[name].values), rng)
        return [(task, name, _pick(CHOICES, rng).format(words, ", ".join(options)), answer, tuple(options))]


DESCRIBE = (
    "Describe this face.", "Describe the face in the picture in detail.", "What does this face look like?",
    "Give a detailed description of the visible face.", "Tell me what you see in this face.",
)  # fmt: skip
"""Questions whose answer is a caption."""


def describe(caption: str, *, image: str, source: str, seed: int = 0) -> Question:
    """The question whose answer is a caption."""
    rng = np.random.default_rng([seed, zlib.crc32(image.encode())])
    return Question(image, source, "caption", "caption", _pick(DESCRIBE, rng), caption)


def unheld(captions: Iterable[str], held_out: Sequence[str] = tuple(HELD_OUT)) -> list[bool]:
    """Whether each caption is free of words of held-out items: condition U keeps these alone, C keeps all."""
    return [not leaks(caption, held_out) for caption in captions]


def unseen(face: Known, *, image: str, source: str, held_out: Sequence[str]) -> list[Question]:
    """For the test of held-out items: every paraphrase of the question for each that is known of a face."""
    made = []
    for name in held_out:
        item, value = ITEMS[name], face.labels.get(name)
        if value is not None:
            made += [
                Question(image, source, "attribute", name, f"{asked.format(item.phrase)} {YES_NO}", value.title(),
                         ("Yes", "No"))
                for asked in ASKED[item.verb]
            ]  # fmt: skip
    return made


def _balanced(marks: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) 1, 0 or -1 for unknown -> as many of 1 as of 0, at most ``most`` of each."""
    yes, no = np.flatnonzero(marks == 1), np.flatnonzero(marks == 0)
    size = min(len(yes), len(no), most)
    picked = np.zeros(len(marks), bool)
    for group in (yes, no):
        picked[rng.permutation(group)[:size]] = True
    return picked


def _some(things: Sequence[T], size: int, rng: np.random.Generator) -> list[T]:
    """Up to ``size`` of them in an order of chance."""
    return [things[int(i)] for i in rng.permutation(len(things))[:size]]


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]


def _bare(phrase: str) -> str:
    return phrase.split(" ", 1)[1] if phrase.startswith(("a ", "an ", "the ")) else phrase


def _short(unit: str) -> str:
    return f"AU{int(unit[2:])}"


def _unit(unit: str) -> str:
    return f"{_short(unit)} {UNIT_NAMES[unit]}"
