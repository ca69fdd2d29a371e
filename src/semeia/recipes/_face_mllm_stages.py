"""What each stage of Face-MLLM learns from, out of all questions of the training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from semeia.language.chat import Turn
from semeia.question_sets import ALT_TEXT, BASIC, CAPTION, YES_NO, Question
from semeia.systems.face_mllm import questions as asking
from semeia.systems.face_mllm.model import Stage
from semeia.systems.face_mllm.schema import ITEMS, leaks, mentions

if TYPE_CHECKING:
    from semeia.recipes.face_mllm import Config


def stage_questions(
    stage: Stage, config: Config, training: Sequence[Question]
) -> list[tuple[Sequence[Question], float]]:
    """What a stage learns from, and what part of each batch it fills."""
    by_task: dict[str, list[Question]] = defaultdict(list)
    for question in training:
        by_task[question.task].append(question)
    captions, weak = by_task[CAPTION], by_task[ALT_TEXT]
    labels = [question for task in BASIC for question in by_task[task]]
    basic = {"both": [(labels, 0.7), (captions, 0.3)], "captions": [(captions, 1.0)], "labels": [(labels, 1.0)]}
    if stage == "language":
        return [(reading_questions(captions), 0.7), ([_unseeing(question) for question in captions], 0.3)]
    if stage == "align":
        return [(captions if config.captions == "detailed" else mismatched(weak), 1.0)]
    if stage == "basic":
        return [(group, part) for group, part in basic[config.annotations]]
    # What belongs to no stage by its name, such as a user's own chats, is learned last.
    early = {CAPTION, ALT_TEXT, *BASIC}
    special = [question for task, group in by_task.items() if task not in early for question in group]
    replayed = config.replay if round(config.basic.share * config.fit.steps) else 0.0
    again = [(group, replayed * part) for group, part in basic[config.annotations] if group and replayed]
    return [(special, 1.0 - replayed), *again]


def reading_questions(captions: Sequence[Question]) -> list[Question]:
    """Questions that a caption answers, without the picture: what a language model should know before it sees."""
    found = []
    options: tuple[str, ...]
    for number, question in enumerate(captions):
        rng = np.random.default_rng((number, 0x2EAD))
        said = list(mentions(question.answer).items())
        for place in rng.permutation(len(said))[:4]:
            name, value = said[int(place)]
            item = ITEMS[name]
            if item.closed:
                ways = asking.ASKED[item.verb]
                words = f"{ways[int(rng.integers(len(ways)))].format(item.phrase)} {asking.YES_NO}"
                answer, options = value.title(), YES_NO
            else:
                ways, answer, options = asking.CHOICES, value, item.values
                words = ways[int(rng.integers(len(ways)))].format(item.phrase, ", ".join(options))
            turns = (Turn("user", f"{question.answer} {words}"), Turn("assistant", answer))
            found.append(
                replace(question, image=None, turns=turns, task="reading", options=options, answer=answer, about=name)
            )
    return found


def mismatched(weak: Sequence[Question], share: float = 0.3) -> list[Question]:
    """Alt texts, of which a part stands at another's picture, as on the web."""
    moved = [question for question in weak if crc32(f"moved {question.image}".encode()) % 1000 < 1000 * share]
    images = dict(
        zip((q.image for q in moved), [q.image for q in moved[1:]] + [q.image for q in moved[:1]], strict=True)
    )
    return [replace(question, image=images.get(question.image, question.image)) for question in weak]


def _unseeing(question: Question) -> Question:
    return replace(question, image=None, turns=(Turn("user", "Describe a face."), question.turns[-1]))


def unheld(found: Sequence[Question], config: Config) -> list[Question]:
    """Questions that may be trained on: none asks for a held-out item, and under ``U`` no caption tells one.

    Under ``matched`` there are as many captions as under ``U`` with as many words each, so that the two differ in what
    captions tell and not in how much is read.
    """
    held = config.ask.held_out
    texts = [" ".join(turn.text for turn in question.turns) for question in found]
    telling = {text for text in set(texts) if leaks(text, held)}  # half a million questions share few wordings
    silent = [text not in telling for text in texts]
    captions = [place for place, question in enumerate(found) if question.task in (CAPTION, ALT_TEXT)]
    if config.condition == "C":
        taken = set(captions)
    elif config.condition == "U":
        taken = {place for place in captions if silent[place]}
    else:
        taken = _matched(found, captions, silent)
    told = set(captions)
    return [q for place, q in enumerate(found) if (place in taken if place in told else silent[place])]


def _matched(found: Sequence[Question], captions: Sequence[int], silent: Sequence[bool]) -> set[int]:
    """Places of captions of any content, of each task and number of words as many as there are silent ones."""

    def kind(place: int) -> tuple[str, int]:
        return found[place].task, len(found[place].answer.split())

    left = Counter(kind(place) for place in captions if silent[place])
    taken = set()
    for place in sorted(captions, key=lambda place: crc32(f"drawn {found[place].image}".encode())):
        if left[kind(place)]:
            left[kind(place)] -= 1
            taken.add(place)
    return taken


def few(found: Sequence[Question], count: int) -> list[Question]:
    """At most ``count`` questions, at even steps."""
    return [] if not found else [found[i * len(found) // count] for i in range(min(count, len(found)))]


def limited(found: Sequence[Question], limit: int | None) -> list[Question]:
    """At most ``limit`` questions of each task, at even steps."""
    by_task: dict[str, list[Question]] = defaultdict(list)
    for question in found:
        by_task[question.task].append(question)
    return [question for group in by_task.values() for question in few(group, limit or len(group))]


def of_part(found: Sequence[Question], part: float) -> list[Question]:
    """Questions of a part of the pictures; a smaller part lies in every larger one."""
    return [q for q in found if crc32(str(q.image).encode()) % 10_000 < 10_000 * part]
