"""Hugging Face's ``imagefolder``: pictures in a folder and ``metadata.jsonl`` with one JSON object a picture.

    FOLDER/metadata.jsonl     {"file_name": "00000/000000001.jpg", "text": "...", ...}
    FOLDER/00000/000000001.jpg

``load_dataset("imagefolder", data_dir=FOLDER)`` gives it, and the Hub shows it. Every line should have the same keys.
The list appears last, so that a folder without one is not complete.

Known   From the documentation of Hugging Face ``datasets``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from semeia.files import whole_file, writable_folder
from semeia.records import SemeiaError

METADATA = "metadata.jsonl"


def write(folder: str | Path, samples: Iterable[tuple[str, bytes, Mapping[str, Any]]]) -> int:
    """Write pictures, then their list, and return their number.

    Args:
        folder: Made where it does not exist; a list that stands there is taken away first.
        samples: Name of the file from the folder, its bytes, and plain values; taken one at a time.

    Raises:
        SemeiaError: A picture or the list cannot be written.
    """
    root = writable_folder(folder)
    path = root / METADATA
    path.unlink(missing_ok=True)
    count = 0
    with whole_file(path) as part, part.open("w", encoding="utf-8") as lines:
        for name, content, fields in samples:
            file = root / name
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            except OSError as error:
                raise SemeiaError(f"{file}: cannot be written ({(error.strerror or str(error)).lower()}); free the "
                                  "disk or name another folder") from error  # fmt: skip
            lines.write(json.dumps({"file_name": name} | dict(fields), ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def read(folder: str | Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Path of each picture and what the list says of it, without ``file_name``.

    Raises:
        SemeiaError: There is no list, a line of it is wrong, or a picture is missing.
    """
    root = Path(folder)
    path = root / METADATA
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _entry(root, path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise SemeiaError(f"{path}: expected the list of an imagefolder, found none that can be read ({error})"
                          ) from error  # fmt: skip


def _entry(root: Path, path: Path, number: int, line: str) -> tuple[Path, dict[str, Any]]:
    try:
        fields = json.loads(line)
        name = fields.pop("file_name")
        inside = not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise SemeiaError(f"{path}: line {number}: expected a JSON object with file_name, found {line[:60]!r}; "
                          "correct it") from error  # fmt: skip
    if not inside or not (root / name).is_file():
        raise SemeiaError(f"{path}: line {number}: expected a picture inside {root}, found no '{name}'; copy it there, "
                          "or drop the line")  # fmt: skip
    return root / name, fields
