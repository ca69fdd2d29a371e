"""How well a model that answers does: every task by likelihood and as it says, against baselines.

    questions -> likelihood of each option, and an answer token by token -> accuracy, balanced accuracy, F1, years;
    how often an answer means nothing, how often it is yes

Likelihood is the scale on which weak models can be compared; what a model says is what a person gets.

Shapes      N questions   G identities   R rounds
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from semeia.evaluate import Score
from semeia.language.scoring import parse, parse_list, parse_number, unparsable_rate, yes_rate
from semeia.question_sets import AGES, CAPTION, LISTS, YES_NO, Pictures, Question, QuestionFeed
from semeia.records import SemeiaError
from semeia.systems.face_mllm.model import FaceMLLM
from semeia.systems.face_mllm.schema import ITEMS

NOWHERE = float("nan")
BY, SAID = "by likelihood", "as said"


@dataclass(frozen=True)
class Answered:
    """What was answered to a question: the likeliest option, and what was said; None where it was not asked for."""

    question: Question
    chosen: str | None = None
    said: str | None = None

    @property
    def parsed(self) -> str | None:
        """What was meant by what was said."""
        if self.said is None:
            return None
        if self.question.task in LISTS:
            found = parse_list(self.said, self.question.options)
            return None if found is None else ", ".join(found) or "none"
        if self.question.options:
            return parse(self.said, self.question.options)
        number = parse_number(self.said)
        return None if number is None else str(number)


def is_closed(question: Question) -> bool:
    """Whether a question has options or a number for an answer."""
    return bool(question.options) or question.answer.replace(".", "", 1).isdigit()


@torch.no_grad()
def answer_questions(
    model: FaceMLLM, questions: Sequence[Question], pictures: Pictures, *, batch_size: int = 32, greedy: bool = True,
    most: int = 16,
) -> list[Answered]:  # fmt: skip
    """Put closed questions to a model.

    Args:
        model: Left as it was (training or evaluation mode).
        questions: With options, or with a number for an answer.
        pictures: Where their pictures are.
        batch_size: Questions at once.
        greedy: Also let the model say its answers; most of the time goes there.
        most: New tokens of what is said; four times as many where lists are asked for, which have no likelihood.

    Raises:
        SemeiaError: A question is open.
    """
    if wrong := next((q for q in questions if not is_closed(q)), None):
        raise SemeiaError(f"task {wrong.task!r}: expected options or a number, found the open answer "
                          f"{wrong.answer[:60]!r}")  # fmt: skip
    was = model.training
    model.eval()
    found: dict[int, Answered] = {}
    # Lists are said at length, and nobody else should wait for them.
    for lists in (False, True):
        numbers = [number for number, question in enumerate(questions) if (question.task in LISTS) is lists]
        for start in range(0, len(numbers), batch_size):
            rows = numbers[start : start + batch_size]
            some = [questions[row] for row in rows]
            images = pictures.batch([q.image for q in some])
            chosen: list[str | None] = [None] * len(some)
            if not lists:
                options = [q.options or AGES for q in some]
                scores = model.choose(images, [q.asked for q in some], options)
                chosen = [of[int(score.argmax())] for of, score in zip(options, scores, strict=True)]
            longest = 4 * most if lists else most
            said = model.say(images, [q.asked for q in some], most=longest) if greedy else [None] * len(some)
            for row, question, answer, words in zip(rows, some, chosen, said, strict=True):
                found[row] = Answered(question, answer, words)
    model.train(was)
    return [found[row] for row in range(len(questions))]


# ---------------------------------------------------------------------------------------------------------------------
# Baselines


def majority_answers(train: Sequence[Question], questions: Sequence[Question]) -> list[Answered]:
    """The most common answer to each kind of question in training; of numbers, the median."""
    seen: dict[tuple[str, str], list[str]] = defaultdict(list)
    for question in train:
        for key in ((question.task, question.about), (question.task, "")):
            seen[key].append(question.answer)
    answers = []
    for question in questions:
        known = seen.get((question.task, question.about)) or seen.get((question.task, "")) or list(question.options[:1])
        if question.options:
            kept = [answer for answer in known if answer in question.options] or list(question.options[:1])
            chosen = Counter(kept).most_common(1)[0][0]
        else:
            chosen = str(np.median([float(answer) for answer in known])) if known else "0"
        answers.append(Answered(question, chosen, chosen))
    return answers


def similarity_answers(model: FaceMLLM, questions: Sequence[Question], pictures: Pictures) -> list[Answered]:
    """What CLIP would do: the option whose words lie nearest to the picture; yes above the attribute's median.

    Args:
        model: Its projector, and the words of its language model.
        questions: Closed; lists are left out.
        pictures: Where their pictures are.
    """
    questions = [question for question in questions if question.task not in LISTS]
    chosen: list[str | None] = [None] * len(questions)
    asked: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for start in range(0, len(questions), 64):
        some = questions[start : start + 64]
        texts = [[_phrase(q)] if q.options == YES_NO else list(q.options or AGES) for q in some]
        for place, values in enumerate(model.similarity(pictures.batch([q.image for q in some]), texts), start=start):
            if questions[place].options == YES_NO:
                asked[questions[place].about].append((place, float(values[0])))
            else:
                chosen[place] = (questions[place].options or AGES)[int(values.argmax())]
    for pairs in asked.values():
        middle = float(np.median([value for _, value in pairs]))
        for place, value in pairs:
            chosen[place] = YES_NO[value <= middle]
    return [Answered(question, answer) for question, answer in zip(questions, chosen, strict=True)]


def _phrase(question: Question) -> str:
    item = ITEMS.get(question.about)
    return item.phrase if item else question.about or question.turns[0].text


# ---------------------------------------------------------------------------------------------------------------------
# Tables


def answer_table(
    answered: Sequence[Answered], *, rounds: int = 0, names: Mapping[str, str] | None = None
) -> list[Score]:
    """A task's numbers one below the other.

    Args:
        answered: Closed questions of any tasks.
        rounds: Of the bootstrap over identities that gives accuracies their intervals.
        names: What a task is called in the table, where it is called otherwise.
    """
    by_task: dict[str, list[Answered]] = defaultdict(list)
    for each in answered:
        by_task[each.question.task].append(each)
    scores = []
    for task, of in by_task.items():
        name = (names or {}).get(task, task)
        if task in LISTS:
            scores += _lists(name, of)
        elif of[0].question.options:
            scores += _closed(name, of, rounds)
        else:
            scores += _years(name, of)
    return scores


def _closed(task: str, of: Sequence[Answered], rounds: int) -> list[Score]:
    people = np.array([each.question.identity for each in of])
    truth = [each.question.answer for each in of]
    scores = []
    for way, given in ((BY, [each.chosen for each in of]), (SAID, [each.parsed for each in of])):
        if way == SAID and all(each.said is None for each in of):
            continue
        right = np.array([answer == wanted for answer, wanted in zip(given, truth, strict=True)], float)
        low, high = interval(right, people, rounds=rounds)
        scores.append(Score(task, way, "accuracy", float(right.mean()), low, high, len(of)))
        scores.append(_plain(task, way, "balanced accuracy", balanced(right, truth), len(of)))
        if of[0].question.options == YES_NO:
            scores.append(_plain(task, way, "yes-rate", yes_rate(given), len(of)))
        else:
            scores.append(_plain(task, way, "macro F1", macro_f1(given, truth), len(of)))
        if way == SAID:
            scores.append(_plain(task, way, "unparsable", unparsable_rate(given), len(of)))
    return scores


def _lists(task: str, of: Sequence[Answered]) -> list[Score]:
    given = [each.parsed for each in of]
    pairs = [(set((answer or "none").split(", ")) - {"none"}, set(each.question.answer.split(", ")) - {"none"})
             for answer, each in zip(given, of, strict=True)]  # fmt: skip
    hits, total = sum(len(g & t) for g, t in pairs), sum(len(g) + len(t) for g, t in pairs)
    return [
        _plain(task, SAID, "micro F1", 2 * hits / total if total else NOWHERE, len(of)),
        _plain(task, SAID, "unparsable", unparsable_rate(given), len(of)),
    ]


def _years(task: str, of: Sequence[Answered]) -> list[Score]:
    truth = np.array([float(each.question.answer) for each in of])
    scores = []
    for way, given in ((BY, [each.chosen for each in of]), (SAID, [each.parsed for each in of])):
        if way == SAID and all(each.said is None for each in of):
            continue
        # An answer without a number counts as the median, and is counted.
        values = np.array([np.median(truth) if answer is None else float(answer) for answer in given])
        scores.append(_plain(task, way, "mean absolute error", float(np.abs(values - truth).mean()), len(of)))
        if way == SAID:
            scores.append(_plain(task, way, "unparsable", unparsable_rate(given), len(of)))
    return scores


def _plain(task: str, label: str, metric: str, value: float, count: int) -> Score:
    return Score(task, label, metric, value, NOWHERE, NOWHERE, count)


def interval(right: np.ndarray, people: np.ndarray, *, rounds: int, seed: int = 0) -> tuple[float, float]:
    """95 % of the mean of ``right`` (N,), identities ``people`` (N,) drawn again and again; NaN without rounds."""
    if rounds < 1:
        return NOWHERE, NOWHERE
    _, place = np.unique(people, return_inverse=True)
    sums, counts = np.bincount(place, right), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(rounds, len(counts)))  # (R, G)
    low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), (0.025, 0.975))
    return float(low), float(high)


def balanced(right: np.ndarray, truth: Sequence[str]) -> float:
    """Mean over the answers that occur of the part of them that was answered rightly: ``right`` (N,) 0 or 1."""
    wanted = np.array(truth)
    return float(np.mean([right[wanted == answer].mean() for answer in np.unique(wanted)]))


def macro_f1(given: Sequence[str | None], truth: Sequence[str]) -> float:
    """Mean F1 over the answers that occur; what means nothing is wrong."""
    values = []
    for name in sorted(set(truth)):
        hits = sum(g == name == t for g, t in zip(given, truth, strict=True))
        values.append(2 * hits / (sum(g == name for g in given) + sum(t == name for t in truth)))
    return float(np.mean(values))


def answer_sums(
    answered: Sequence[Answered], *, tasks: Sequence[str], abouts: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """What was right by likelihood, one row an identity, for claims.

    Args:
        answered: Closed questions.
        tasks: T names; an age is right when it is at most ten years off.
        abouts: A held-out attributes; their questions count among no task.

    Returns:
        Names of the G identities, and ``tasks`` (G, T, 2): right, asked; ``held_out`` (G, A, 2, 2): of yes and of no,
        right and asked.
    """
    people = sorted({each.question.identity for each in answered})
    row = {name: number for number, name in enumerate(people)}
    of_tasks, of_abouts = np.zeros((len(people), len(tasks), 2)), np.zeros((len(people), len(abouts), 2, 2))
    for each in answered:
        question, who = each.question, row[each.question.identity]
        if question.task in LISTS:
            continue
        if question.options:
            right = each.chosen == question.answer
        else:
            right = each.chosen is not None and abs(float(each.chosen) - float(question.answer)) <= 10
        if question.about in abouts:
            if question.options == YES_NO:
                of_abouts[who, abouts.index(question.about), YES_NO.index(question.answer)] += (right, 1)
        elif question.task in tasks:
            of_tasks[who, tasks.index(question.task)] += (right, 1)
    return tuple(people), {"tasks": of_tasks, "held_out": of_abouts}


def task_accuracy(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean over tasks of the part that is right, from ``tasks`` (R, T, 2): (R,)."""
    right, asked = np.moveaxis(sums["tasks"], -1, 0)
    return np.nanmean(np.divide(right, asked, out=np.full(asked.shape, np.nan), where=asked > 0), -1)


def held_out_accuracy(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean over attributes of balanced accuracy, from ``held_out`` (R, A, 2, 2): (R,)."""
    right, asked = np.moveaxis(sums["held_out"], -1, 0)
    part = np.divide(right, asked, out=np.full(asked.shape, np.nan), where=asked > 0)  # (R, A, 2)
    return np.nanmean(part.mean(-1), -1)


# ---------------------------------------------------------------------------------------------------------------------
# Captions


@torch.no_grad()
def caption_losses(
    model: FaceMLLM, questions: Sequence[Question], pictures: Pictures, *, batch_size: int = 16
) -> dict[str, float]:
    """Loss of captions with their own pictures, and with those of others.

    If the two are alike, the projector has told the language model nothing.

    Args:
        model: Left as it was.
        questions: Their captions are taken.
        pictures: Where their pictures are.
        batch_size: Captions at once; those that are left over are not read.

    Returns:
        ``own``, ``shuffled``; empty where there are too few captions.
    """
    captions = [q for q in questions if q.task == CAPTION]
    size = min(batch_size, len(captions))
    if size < 2:
        return {}
    was = model.training
    model.eval()
    found = {}
    for name, strangers in (("own", False), ("shuffled", True)):
        feed = QuestionFeed(
            [(captions, 1.0)], pictures=pictures, chat=model.chat, batch_size=size, seed=0, strangers=strangers
        )
        losses = [float(_loss(model, feed.batch(i))) for i in range(len(captions) // size)]
        found[name] = float(np.mean(losses))
    model.train(was)
    return found


def _loss(model: FaceMLLM, batch: dict[str, Any]) -> torch.Tensor:
    device = model.sight.mean.device
    return model({name: tensor.to(device) for name, tensor in batch.items()})["loss"]
