r"""Questions about faces with their answers: read from files, or made of the labels of face folders.

A record is one in LLaVA's JSON, with what an evaluation needs beside it:

    {"image": path, "conversations": [{"from": "human", "value": "<image>\nIs the mouth open?"},
     {"from": "gpt", "value": "Yes"}], "task": "attribute", "options": ["Yes", "No"], "answer": "Yes"}

and, where known, ``about`` (the attribute or unit that is asked for), ``identity`` and ``split``. Rows of TRL
(``images``, ``messages``) are read too.

Shapes      S side of a crop   H, W pixels
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from semeia.data.feeds import crop_matrix, landmarks_of
from semeia.data.formats.face_files import Faces
from semeia.data.formats.faces import FaceFolder
from semeia.language.chat import IMAGE, Chat, Sample, Turn, collate
from semeia.media.images import read_image
from semeia.ops.faces import crop
from semeia.records import FaceLabels, SemeiaError
from semeia.systems.face_mllm import captions, questions
from semeia.systems.face_mllm.schema import NO, YES

YES_NO = ("Yes", "No")
CAPTION, ALT_TEXT, HELD_OUT = "caption", "alt text", "held out"
BASIC = ("attribute", "attributes", "choice")
"""Tasks made of re-annotated labels; ``choice`` asks in four ways, as FaceBench and FaceXBench do."""

SPECIAL = ("expression", "units", "unit", "age", "gender", "head")
"""Tasks of classical face sets."""

LISTS = ("attributes", "units")
"""Tasks whose answer is a list of options."""

AGES = tuple(str(age) for age in range(0, 100, 5))
"""What is scored by likelihood where the answer is an age."""

_SEPARATOR = "::"


@dataclass(frozen=True)
class Question:
    """A question about a picture, and its answer. ``image`` is a file, or ``FOLDER::KEY`` in a face folder."""

    image: str | None
    turns: tuple[Turn, ...]
    task: str = "chat"
    options: tuple[str, ...] = ()
    answer: str = ""
    about: str = ""
    identity: str = ""
    split: str = "train"

    @property
    def asked(self) -> tuple[Turn, ...]:
        """The chat without its last answer."""
        return self.turns[:-1]


@dataclass(frozen=True)
class QuestionData:
    """Where questions come from; several sources are put together."""

    PLAIN: ClassVar[str] = "faces"
    """The field that folders without a name go to."""

    faces: tuple[str, ...] = ()
    """Folders in this library's face format; questions are made of their labels and captions."""
    questions: tuple[str, ...] = ()
    """Files of LLaVA's JSON or of TRL's messages, .json or .jsonl; pictures are found beside them."""


# ---------------------------------------------------------------------------------------------------------------------
# Files


def read_questions(path: str | Path) -> list[Question]:
    """Questions of a file of LLaVA's JSON or TRL's messages, a list or one a line.

    Raises:
        SemeiaError: It cannot be read, or a row is not laid out as expected; the first wrong one is named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SemeiaError(f"{path}: expected questions as JSON, found a file that cannot be read ({error})") from error
    try:
        rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines() if x]
    except (ValueError, RecursionError) as error:
        raise SemeiaError(f"{path}: expected a JSON list or a JSON object a line, found neither ({error}); write it "
                          "again") from error  # fmt: skip
    if not rows:
        raise SemeiaError(f"{path}: expected questions, found none")
    return [_question(row, where=f"{path}: row {number}", folder=path.parent) for number, row in enumerate(rows, 1)]


def _question(row: Any, *, where: str, folder: Path) -> Question:
    if not isinstance(row, Mapping):
        raise SemeiaError(f"{where}: expected an object, found {type(row).__name__}")
    turns = _llava_turns(row, where) if "conversations" in row else _message_turns(row, where)
    if not turns or turns[-1].role != "assistant" or [t.role for t in turns[::2]] != ["user"] * ((len(turns) + 1) // 2):
        raise SemeiaError(f"{where}: expected a person's turn first, then turns by turns, an answer last")
    images = row.get("images")
    image = row.get("image") or (images[0] if isinstance(images, list) and images else None)
    if image is not None and not isinstance(image, str):
        raise SemeiaError(f"{where}: expected the path of a picture as 'image', found {type(image).__name__}; write "
                          "pictures as files")  # fmt: skip
    if image is not None and _SEPARATOR not in image and not Path(image).is_absolute():
        image = str(folder / image)
    options = row.get("options") or ()
    if not isinstance(options, list | tuple) or not all(isinstance(option, str) for option in options):
        raise SemeiaError(f"{where}: expected 'options' to be a list of texts, found {str(options)[:60]!r}")
    if image is not None and not turns[0].text.startswith(IMAGE):
        turns = (Turn("user", f"{IMAGE}\n{turns[0].text.replace(IMAGE, '').strip()}"), *turns[1:])
    words = {name: str(row.get(name) or "") for name in ("about", "identity")}
    return Question(
        image=image, turns=turns, task=str(row.get("task") or "chat"), options=tuple(options),
        answer=str(row.get("answer") or turns[-1].text), split=str(row.get("split") or "train"), **words,
    )  # fmt: skip


def _llava_turns(row: Mapping[str, Any], where: str) -> tuple[Turn, ...]:
    talk, roles = row["conversations"], {"human": "user", "gpt": "assistant"}
    if not isinstance(talk, list) or not all(
        isinstance(t, Mapping) and t.get("from") in roles and isinstance(t.get("value"), str) for t in talk
    ):
        raise SemeiaError(f"{where}: expected 'conversations' to be a list of {{'from': 'human' or 'gpt', 'value': "
                          "text}")  # fmt: skip
    return tuple(Turn("user" if t["from"] == "human" else "assistant", t["value"]) for t in talk)


def _message_turns(row: Mapping[str, Any], where: str) -> tuple[Turn, ...]:
    messages = row.get("messages")
    if not isinstance(messages, list):
        raise SemeiaError(f"{where}: expected 'conversations' (LLaVA) or 'messages' (TRL), found "
                          f"{', '.join(map(str, row)) or 'nothing'}")  # fmt: skip
    turns = []
    for message in messages:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, Mapping) else (None, None)
        if role == "system":
            continue
        if isinstance(content, list):
            pieces = [IMAGE + "\n" if p.get("type") == "image" else str(p.get("text", "")) for p in content
                      if isinstance(p, Mapping)]  # fmt: skip
            content = "".join(pieces)
        if role not in ("user", "assistant") or not isinstance(content, str):
            raise SemeiaError(f"{where}: expected messages of 'user' and 'assistant' with text, found {message!r:.80}")
        turns.append(Turn("user" if role == "user" else "assistant", content))
    return tuple(turns)


# ---------------------------------------------------------------------------------------------------------------------
# Labels


def label_questions(faces: Faces, *, ask: questions.Config | None = None, noise: float = 0.0) -> list[Question]:
    """Questions of all faces of a folder: a detailed caption, a weak one, and what ``questions.Asker`` asks.

    Yes and no are balanced within each split, so that no split tells another's answers.

    Args:
        faces: Labels.
        ask: What is asked; with the held-out items barred.
        noise: Part of the attributes of training faces that are told the other way round, in captions and answers, as
            a machine that annotates would err.
    """
    ask = ask or questions.Config()
    found: list[Question] = []
    splits = np.array([str(split or "train") for split in faces.columns.texts["split"]])
    for split in dict.fromkeys(splits.tolist()):
        rows = np.flatnonzero(splits == split)
        labels = [faces.labels(int(row)) for row in rows]
        known = [questions.Known.of(each) for each in labels]
        if split == "train" and noise:
            known = [_misread(each, noise, (ask.seed, number)) for number, each in enumerate(known)]
        asker = questions.Asker(known, ask)
        for number, (each, face) in enumerate(zip(labels, known, strict=True)):
            image = f"{faces.folder}{_SEPARATOR}{each.key}"
            rng = np.random.default_rng((ask.seed, number, 0xCA97))
            told = questions.describe(captions.caption(face.labels, rng), image=image, source="", seed=ask.seed)
            made = [told, *asker.of(number, face, image=image, source="")]
            if each.caption:
                weak = re.split(r"[,.]| with | wearing ", each.caption)[0]
                made.append(replace(told, task=ALT_TEXT, answer=weak))
            found += [_asked(question, each) for question in made]
    return found


def held_out_questions(faces: Faces, split: str, held_out: Sequence[str]) -> list[Question]:
    """For the test of items that were never asked: every wording, for every face of a split that is labelled."""
    found = []
    for row in faces.select(split):
        labels = faces.labels(int(row))
        image = f"{faces.folder}{_SEPARATOR}{labels.key}"
        made = questions.unseen(questions.Known.of(labels), image=image, source="", held_out=held_out)
        found += [replace(_asked(question, labels), task=HELD_OUT) for question in made]
    return found


def _asked(made: questions.Question, labels: FaceLabels) -> Question:
    turns = (Turn("user", f"{IMAGE}\n{made.question}"), Turn("assistant", made.answer))
    return Question(
        image=made.image, turns=turns, task=made.task, options=made.options, answer=made.answer, about=made.item,
        identity=labels.identity or labels.key, split=labels.split or "train",
    )  # fmt: skip


def _misread(face: questions.Known, noise: float, seed: tuple[int, int]) -> questions.Known:
    rng = np.random.default_rng((*seed, 0xE44))
    other = {YES: NO, NO: YES}
    labels = {
        name: other[value] if rng.random() < noise and value in other else value for name, value in face.labels.items()
    }
    return replace(face, labels=labels)


def open_questions(
    data: QuestionData, *, ask: questions.Config | None = None, noise: float = 0.0
) -> tuple[list[Question], dict[str, Faces]]:
    """All questions of the sources, and the opened face folders by the name that ``image`` gives them.

    Raises:
        SemeiaError: No source is named, or one cannot be read.
    """
    if not data.faces and not data.questions:
        raise SemeiaError("face_mllm: expected faces (--data FOLDER) or questions (--data.questions FILE), found none")
    folders: dict[str, Faces] = {str(folder): FaceFolder(folder) for folder in data.faces}
    made = [question for faces in folders.values() for question in label_questions(faces, ask=ask, noise=noise)]
    return made + [question for file in data.questions for question in read_questions(file)], folders


# ---------------------------------------------------------------------------------------------------------------------
# Pictures and batches


class Pictures:
    """Crops of faces by the ``image`` of a question: from face folders by their landmarks, whole from files.

    Args:
        folders: Opened face folders by name.
        size: S.
        margin: Of the unrotated crop.
    """

    def __init__(self, folders: Mapping[str, Faces], *, size: int = 112, margin: float = 0.35) -> None:
        self.folders, self.size, self.margin = dict(folders), size, margin
        self.rows = {
            name: {str(key): row for row, key in enumerate(faces.columns.texts["key"])}
            for name, faces in self.folders.items()
        }

    def __getitem__(self, image: str) -> np.ndarray:
        """(S, S, 3) uint8.

        Raises:
            SemeiaError: There is no such picture, or it is damaged.
        """
        folder, found, key = image.rpartition(_SEPARATOR)
        if found:
            if folder not in self.folders or key not in self.rows[folder]:
                raise SemeiaError(f"{image}: no such face; expected one of the folders {', '.join(self.folders)}")
            faces, row = self.folders[folder], self.rows[folder][key]
            pixels, points = faces.image(row), landmarks_of(faces, row)
        else:
            pixels, points = read_image(image), None
        matrix = crop_matrix(points, pixels, view="upright", size=self.size, margin=self.margin)
        return crop(pixels, matrix, size=self.size)

    def batch(self, images: Sequence[str | None]) -> Tensor:
        """(B, 3, S, S) float32 in [0, 1]; black where there is no picture."""
        empty = np.zeros((self.size, self.size, 3), np.uint8)
        pixels = np.stack([empty if image is None else self[image] for image in images])  # (B, S, S, 3)
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div_(255)


class QuestionFeed:
    """Batches of questions with their pictures, each a pure function of its number.

    Args:
        groups: Questions, and what part of each batch they fill; each group is drawn once an epoch, shuffled.
        pictures: Where pictures are.
        chat: From turns to tokens.
        batch_size: Chats of a batch on one rank.
        seed: Of the order.
        strangers: Show each chat the picture of another: what a caption costs when nothing is seen.

    Raises:
        SemeiaError: A group is empty.
    """

    def __init__(
        self, groups: Sequence[tuple[Sequence[Question], float]], *, pictures: Pictures, chat: Chat, batch_size: int,
        seed: int, strangers: bool = False,
    ) -> None:  # fmt: skip
        if not groups or not all(questions for questions, _ in groups):
            raise SemeiaError("face_mllm: expected questions for each stage that is trained, found none for one; give "
                              "data with captions, attributes and tasks, or a share of 0 to the stage")  # fmt: skip
        self.groups, self.pictures, self.chat = [list(questions) for questions, _ in groups], pictures, chat
        self.bounds = np.cumsum([part for _, part in groups]) / sum(part for _, part in groups)
        self.batch_size, self.seed, self.strangers = batch_size, seed, strangers

    def batch(self, index: int, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
        """Batch number ``index`` of one rank."""
        first = (index * world + rank) * self.batch_size
        questions = [self.question(first + place) for place in range(self.batch_size)]
        images = [question.image for question in questions]
        if self.strangers:
            images = [*images[1:], images[0]]
        samples: list[Sample] = [self.chat.sample(question.turns) for question in questions]
        return {"image": self.pictures.batch(images), **collate(samples)}

    def question(self, position: int) -> Question:
        """The question at one position of the endless sequence."""
        rng = np.random.default_rng((self.seed, position, 0xFACE))
        number = int(np.searchsorted(self.bounds, rng.random(), side="right"))
        group = self.groups[min(number, len(self.groups) - 1)]
        if len(self.groups) > 1:
            return group[int(rng.integers(len(group)))]
        epoch, place = divmod(position, len(group))
        return group[int(_order(len(group), self.seed, epoch)[place])]


@lru_cache(maxsize=8)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, 0x0DE5)).permutation(size)
