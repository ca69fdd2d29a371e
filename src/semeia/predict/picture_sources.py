"""Where pictures to annotate come from: folders, WebDataset tars and Parquet files with the bytes of pictures.

Listing reads headers only; a picture is decoded where it is annotated, perhaps on another machine.

Shapes      H, W pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semeia.data.formats import webdataset
from semeia.media.images import decode_image, find_images, read_image
from semeia.records import SemeiaError

_NAMES = ("image", "img", "picture", "jpg", "jpeg", "png", "bytes", "image_bytes")
"""Columns of bytes that are taken for pictures; columns of {bytes, path}, as ``datasets`` writes them, always are."""


class Picture(NamedTuple):
    """One picture: a file, or a place in a tar (first byte, size) or a Parquet file (row group, row)."""

    kind: str
    """``file``, ``tar`` or ``parquet``."""
    path: str
    name: str
    first: int
    second: int

    @property
    def source(self) -> str:
        """How it is called in answers and errors."""
        return self.path if self.kind == "file" else f"{self.path}/{self.name}"


def find_pictures(inputs: Sequence[str | Path]) -> tuple[list[Picture], list[str]]:
    """Every picture of the inputs, in an order that does not change, and what could not be opened.

    Args:
        inputs: Picture files, ``.tar`` shards, ``.parquet`` files, and folders of any of them. A Parquet file beside a
            tar of its name is that tar's table and holds no pictures.

    Raises:
        SemeiaError: An input does not exist, or there is no picture at all.
    """
    found: list[Picture] = []
    notes: list[str] = []
    for place in map(Path, inputs):
        if not place.exists():
            raise SemeiaError(f"{place}: not found; expected pictures, a folder, .tar shards or .parquet files")
        for path in _files(place):
            try:
                found += _of_file(path, notes, alone=path == place)
            except SemeiaError as error:
                notes.append(str(error))
    if not found:
        why = f": {notes[0]}" if notes else "; expected JPEG, PNG or WebP pictures, .tar shards or .parquet files"
        raise SemeiaError(f"{', '.join(map(str, inputs))}: no picture found{why}")
    return found, notes


def _files(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    bundles = [path for path in sorted(place.rglob("*")) if path.suffix.lower() in {".tar", ".parquet"}]
    bundles = [p for p in bundles if not any(part.startswith(".") for part in p.relative_to(place).parts)]
    try:
        loose = find_images([place])
    except SemeiaError:
        loose = []  # a folder of shards
    return sorted([*loose, *bundles])


def _of_file(path: Path, notes: list[str], *, alone: bool) -> list[Picture]:
    suffix = path.suffix.lower()
    if suffix == ".tar":
        places, note = webdataset.pictures(path)
        notes += [] if note is None else [note]
        return [Picture("tar", str(path), place.name, place.start, place.size) for place in places]
    if suffix != ".parquet":
        return [Picture("file", str(path), path.name, 0, 0)]
    if not alone and path.with_suffix(".tar").is_file():
        return []
    try:
        with pq.ParquetFile(path) as file:
            _column(file.schema_arrow, path)
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error
    starts = np.cumsum([0, *sizes])
    return [
        Picture("parquet", str(path), f"row {starts[group] + row}", group, row)
        for group, size in enumerate(sizes)
        for row in range(size)
    ]


def load(picture: Picture) -> np.ndarray:
    """The pixels of a picture, (H, W, 3) uint8, upright.

    Raises:
        SemeiaError: It cannot be read or decoded.
    """
    if picture.kind == "file":
        return read_image(picture.path)
    if picture.kind == "tar":
        return decode_image(webdataset.content(picture.path, picture.first, picture.second), picture.source)
    content = _row_group(picture.path, picture.first)[picture.second].as_py()
    if isinstance(content, dict):
        content = content["bytes"]
    return decode_image(content or b"", picture.source)


@lru_cache(maxsize=1)
def _row_group(path: str, group: int) -> pa.ChunkedArray:
    """The pictures of a row group; the rows of a shard mostly lie in one."""
    try:
        with pq.ParquetFile(path) as file:
            name = _column(file.schema_arrow, Path(path))
            return file.read_row_group(group, columns=[name]).column(name)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(Path(path), error) from error


def _column(schema: pa.Schema, path: Path) -> str:
    """Name of the column of pictures."""
    packed = [
        field.name
        for field in schema
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0
    ]  # fmt: skip
    bare = [
        field.name
        for field in schema
        if (pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)) and field.name.lower() in _NAMES
    ]
    if not packed and not bare:
        raise SemeiaError(f"{path}: expected a column of pictures ({{bytes, path}}, or bytes named "
                          f"{', '.join(_NAMES)}), found {', '.join(schema.names)[:120]}; rename it")  # fmt: skip
    return (packed + bare)[0]


def _unreadable(path: Path, error: Exception) -> SemeiaError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return SemeiaError(f"{path}: expected a Parquet file, found one that cannot be read ({reason}); copy it again")
