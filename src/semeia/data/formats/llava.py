r"""LLaVA's JSON of conversations about pictures, which codes of its lineage read.

    [{"id": "17", "image": "17.jpg", "conversations": [{"from": "human", "value": "<image>\nQ"},
                                                       {"from": "gpt", "value": "A"}, ...]}, ...]

``image`` is a path from the folder of pictures that the training names. ``source`` and ``task``, which LLaVA ignores,
are kept.

Known   Keys and the place of ``<image>``, from LLaVA's public training files and code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semeia.files import whole_file
from semeia.records import SemeiaError

IMAGE = "<image>"
"""Stands in the first question for the picture."""


@dataclass(frozen=True)
class Conversation:
    """Questions about one picture, and their answers.

    Attributes:
        id: Differs within a file.
        image: Path from the folder of pictures.
        turns: Question and answer, at least one pair, without ``<image>``.
        source: Data set that it is from.
        task: What it trains.
    """

    id: str
    image: str
    turns: tuple[tuple[str, str], ...]
    source: str = ""
    task: str = ""


def write(path: str | Path, conversations: Iterable[Conversation]) -> int:
    """Write conversations, taken one at a time, whole or not at all, and return their number.

    Raises:
        SemeiaError: The file cannot be written.
    """
    count = 0
    with whole_file(path) as part, part.open("w", encoding="utf-8") as stream:
        for conversation in conversations:
            stream.write("[\n" if count == 0 else ",\n")
            stream.write(json.dumps(_entry(conversation), ensure_ascii=False))
            count += 1
        stream.write("\n]\n" if count else "[]\n")
    return count


def _entry(conversation: Conversation) -> dict[str, Any]:
    told = []
    for number, (question, answer) in enumerate(conversation.turns):
        told.append({"from": "human", "value": question if number else f"{IMAGE}\n{question}"})
        told.append({"from": "gpt", "value": answer})
    return {
        "id": conversation.id, "image": conversation.image, "source": conversation.source, "task": conversation.task,
        "conversations": told,
    }  # fmt: skip


def read(path: str | Path) -> Iterator[Conversation]:
    """The conversations of a file that have a picture.

    Raises:
        SemeiaError: It is no such file; names the entry, what was expected and what was found.
    """
    path = Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SemeiaError(f"{path}: expected LLaVA's JSON, found a file that cannot be read ({error})") from error
    if not isinstance(entries, list):
        raise SemeiaError(f"{path}: expected a JSON list of conversations, found {type(entries).__name__}")
    for number, entry in enumerate(entries):
        if isinstance(entry, dict) and "image" not in entry:
            continue
        try:
            yield _conversation(entry)
        except (KeyError, TypeError, ValueError) as error:
            raise SemeiaError(f"{path}: entry {number}: expected id, image and conversations of human and gpt in turn, "
                              f"found {str(entry)[:80]!r}; correct it") from error  # fmt: skip


def _conversation(entry: dict[str, Any]) -> Conversation:
    told = entry["conversations"]
    pairs = []
    for human, gpt in zip(told[::2], told[1::2], strict=True):
        question, answer = human["value"], gpt["value"]
        speakers = (human["from"], gpt["from"])
        if speakers != ("human", "gpt") or not isinstance(question, str) or not isinstance(answer, str):
            raise ValueError(speakers)
        pairs.append((question.replace(IMAGE, "").strip(), answer))
    if not pairs or not isinstance(entry["image"], str):
        raise ValueError(entry["image"])
    return Conversation(
        str(entry["id"]), entry["image"], tuple(pairs), str(entry.get("source", "")), str(entry.get("task", ""))
    )
