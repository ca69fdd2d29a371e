"""WebDataset shards as LAION and img2dataset lay them out: pictures with captions in tar files, a table beside each.

    FOLDER/00000.tar        <key>.jpg, <key>.txt (the caption), <key>.json (what else is known, a JSON object)
    FOLDER/00000.parquet    one row a key: key, caption, status, width, height and whatever the writer adds

What follows the first dot of a member's name is its kind, what stands before is its key; so ``1.mask.png`` is no
picture of key ``1``. The table appears last, so a shard counts as present once it stands.

Known   The layout is img2dataset's, from its documentation; its own tables have more columns (url, exif, hashes).
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from semeia.files import whole_file, writable_folder
from semeia.records import SemeiaError

PICTURES = ("jpg", "jpeg", "png", "webp")
"""Kinds of members that are pictures."""

_END = bytes(tarfile.BLOCKSIZE)


class Place(NamedTuple):
    """Where a picture lies in a tar: its member's name, and the first byte and number of bytes of its content."""

    name: str
    start: int
    size: int


@dataclass(frozen=True)
class Sample:
    """One key of a shard.

    Attributes:
        key: Name without kind; no dots, no slashes.
        image: Bytes of a JPEG, PNG or WebP file; None: the row has no members in the tar.
        caption: Member ``.txt`` and column ``caption``.
        notes: Member ``.json``.
        row: Further columns of the table, plain values.
    """

    key: str
    image: bytes | None
    caption: str | None = None
    notes: Mapping[str, Any] | None = None
    row: Mapping[str, Any] | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def pictures(path: str | Path) -> tuple[list[Place], str | None]:
    """The whole pictures of a tar, in its order, and what is wrong with the tar where something is.

    A tar that was cut off gives what lies before the cut.

    Raises:
        SemeiaError: It cannot be read at all.
    """
    path = Path(path)
    found: list[Place] = []
    note = None
    try:
        length = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            end = 0
            try:
                while (member := tar.next()) is not None:
                    end = member.offset_data + member.size
                    kind = Path(member.name).name.partition(".")[2].lower()
                    if member.isfile() and kind in PICTURES and end <= length:
                        found.append(Place(member.name, member.offset_data, member.size))
            except tarfile.TarError as error:
                note = f"{path}: cut off or damaged ({error}); {len(found):,} pictures before that are whole"
            if note is None and content(path, end + -end % tarfile.BLOCKSIZE, tarfile.BLOCKSIZE, short=True) != _END:
                note = f"{path}: cut off, its end mark is missing; {len(found):,} pictures before that are whole"
    except tarfile.TarError as error:
        raise SemeiaError(f"{path}: expected an uncompressed tar file, found something else ({error}); unpack it, or "
                          "download it again") from error  # fmt: skip
    except OSError as error:
        raise SemeiaError(f"{path}: cannot be read ({error.strerror or error})") from error
    return found, note


def content(path: str | Path, start: int, size: int, *, short: bool = False) -> bytes:
    """Some bytes of a tar; fewer at its end where ``short`` allows it.

    Raises:
        SemeiaError: It cannot be read, or ends before.
    """
    try:
        with Path(path).open("rb") as tar:
            tar.seek(start)
            found = tar.read(size)
    except OSError as error:
        raise SemeiaError(f"{path}: cannot be read any more ({error.strerror or error})") from error
    if len(found) < size and not short:
        raise SemeiaError(f"{path}: expected {size:,} bytes at {start:,}, found {len(found):,}; it was cut off")
    return found


def read(path: str | Path) -> Iterator[Sample]:
    """The samples of one tar that have a picture, with what its table says of them where one stands beside it.

    Raises:
        SemeiaError: Tar or table cannot be read, the tar was cut off, or a caption or a note is none.
    """
    path = Path(path)
    table = path.with_suffix(".parquet")
    rows = {row["key"]: row for row in rows_of(table)} if table.is_file() else {}
    members: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isfile() else None
                if stream is not None:
                    key, _, kind = Path(member.name).name.partition(".")
                    members.setdefault(key, {})[kind.lower()] = stream.read()
    except (OSError, tarfile.TarError) as error:
        raise SemeiaError(f"{path}: cannot be read to its end ({error}); copy it again") from error
    for key, kinds in members.items():
        image = next((kinds[kind] for kind in PICTURES if kind in kinds), None)
        if image is None:
            continue
        try:
            caption = kinds["txt"].decode() if "txt" in kinds else None
            notes = json.loads(kinds["json"]) if "json" in kinds else None
        except ValueError as error:
            raise SemeiaError(f"{path}: key '{key}': expected UTF-8 text and JSON, found neither ({error})") from error
        yield Sample(key, image, caption, notes, rows.get(key))


def rows_of(path: str | Path, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Rows of a table.

    Raises:
        SemeiaError: It is no Parquet file, or lacks a column.
    """
    try:
        found: list[dict[str, Any]] = pq.read_table(path, columns=columns, partitioning=None).to_pylist()
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise SemeiaError(f"{path}: expected the Parquet table of a shard, found one that cannot be read ({reason}); "
                          "delete it and its tar, and run again") from error  # fmt: skip
    return found


def has_shard(path: str | Path) -> bool:
    """Whether the shard of a tar was written to its end: both files stand and the table can be read."""
    path = Path(path)
    try:
        pq.read_metadata(path.with_suffix(".parquet"))
    except (OSError, pa.ArrowException):
        return False
    return path.is_file()


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write_shard(path: str | Path, samples: Iterable[Sample], *, schema: pa.Schema | None = None) -> int:
    """Write one shard, whole or not at all, and return the number of its rows.

    Args:
        path: The tar; its table takes the same name with ``.parquet``.
        samples: Taken one at a time; keys differ.
        schema: Columns of the table beside ``key`` and ``caption``; None: as the rows have them.

    Raises:
        SemeiaError: The files cannot be written (a full disk, say); what stood there stays as it was.
    """
    path = Path(path)
    writable_folder(path.parent)
    table = path.with_suffix(".parquet")
    rows: list[dict[str, Any]] = []
    with whole_file(table) as table_part, whole_file(path) as tar_part:
        with tarfile.open(tar_part, "w", format=tarfile.GNU_FORMAT) as tar:
            for sample in samples:
                if sample.image is not None:
                    _add(tar, f"{sample.key}.{_kind(sample)}", sample.image)
                    if sample.caption is not None:
                        _add(tar, f"{sample.key}.txt", sample.caption.encode())
                    if sample.notes is not None:
                        _add(tar, f"{sample.key}.json", json.dumps(sample.notes, allow_nan=False).encode())
                rows.append({"key": sample.key, "caption": sample.caption} | dict(sample.row or {}))
        fixed = [pa.field("key", pa.string()), pa.field("caption", pa.string())]
        columns = None if schema is None else pa.schema([*fixed, *schema])
        pq.write_table(pa.Table.from_pylist(rows, schema=columns), table_part, compression="zstd")
        # The table of an older shard of this name must not stand beside the new tar, even for a moment.
        table.unlink(missing_ok=True)
    return len(rows)


def _kind(sample: Sample) -> str:
    image = sample.image or b""
    if image.startswith(b"\x89PNG"):
        return "png"
    return "webp" if image[8:12] == b"WEBP" else "jpg"


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, user and group are 0
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
