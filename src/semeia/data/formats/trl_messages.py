"""Conversations as TRL's ``SFTTrainer`` takes them for vision: Parquet with ``images`` and ``messages``.

    images     list of pictures, each {bytes, path}, which Hugging Face ``datasets`` decodes when asked for
    messages   list of {role, content: list of {type: "image" or "text", text}}, the picture in the first of them
    id, source, task

``load_dataset("parquet", data_files=PATH)`` gives it; train with ``max_length=None``, for truncation drops pictures.

Known   Names and shapes from TRL's documentation; the features in the schema's metadata as ``datasets`` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from semeia.data.formats.llava import Conversation
from semeia.files import whole_file
from semeia.records import SemeiaError

_CONTENT = pa.struct([("type", pa.string()), ("text", pa.string())])
_TEXT = {"dtype": "string", "_type": "Value"}
_FEATURES = {
    "images": [{"_type": "Image"}],
    "messages": [{"role": _TEXT, "content": [{"type": _TEXT, "text": _TEXT}]}],
    "id": _TEXT,
    "source": _TEXT,
    "task": _TEXT,
}
SCHEMA = pa.schema(
    [
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(_CONTENT))]))),
        ("id", pa.string()),
        ("source", pa.string()),
        ("task", pa.string()),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)
"""Columns of the file."""

_ROWS = 256


def write(path: str | Path, conversations: Iterable[Conversation], picture: Callable[[str], bytes]) -> int:
    """Write conversations, taken one at a time, whole or not at all, and return their number.

    Args:
        path: The Parquet file.
        conversations: What is said of each picture.
        picture: Gives the bytes of a picture file by its ``Conversation.image``.

    Raises:
        SemeiaError: The file cannot be written.
    """
    count = 0
    rows: list[dict[str, Any]] = []
    with whole_file(path) as part, pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
        for conversation in conversations:
            rows.append(_row(conversation, picture(conversation.image)))
            count += 1
            if len(rows) == _ROWS:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows = []
        if rows or not count:
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return count


def _row(conversation: Conversation, image: bytes) -> dict[str, Any]:
    messages = []
    for number, (question, answer) in enumerate(conversation.turns):
        shown = [] if number else [{"type": "image", "text": None}]
        messages.append({"role": "user", "content": [*shown, {"type": "text", "text": question}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return {
        "images": [{"bytes": image, "path": conversation.image}], "messages": messages, "id": conversation.id,
        "source": conversation.source, "task": conversation.task,
    }  # fmt: skip


def read(path: str | Path) -> Iterator[tuple[Conversation, bytes]]:
    """The conversations of a file and the bytes of their pictures, row group by row group.

    Raises:
        SemeiaError: It is no such file, or a row is not as expected.
    """
    path = Path(path)
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    yield _conversation(row)
                    number += 1
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise SemeiaError(f"{path}: expected a Parquet file of messages, found one that cannot be read ({reason})"
                          ) from error  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise SemeiaError(f"{path}: row {number}: expected one picture, and messages of user and assistant in turn, "
                          f"found something else ({error}); correct it") from error  # fmt: skip


def _conversation(row: dict[str, Any]) -> tuple[Conversation, bytes]:
    (image,) = row["images"]
    told = [
        (message["role"], " ".join(part["text"] for part in message["content"] if part["type"] == "text"))
        for message in row["messages"]
    ]
    turns = []
    for (asker, question), (teller, answer) in zip(told[::2], told[1::2], strict=True):
        if (asker, teller) != ("user", "assistant"):
            raise ValueError(f"roles {asker} and {teller}")
        turns.append((question, answer))
    found = Conversation(
        str(row.get("id") or ""), image["path"] or "", tuple(turns), row.get("source") or "", row.get("task") or ""
    )
    return found, image["bytes"]
