"""Packed files of a user, unpacked within bounds into a folder of their own.

What a ZIP archive says of itself is not believed: bytes are counted while they are written. Names that lead out of the
folder, links, encrypted entries and archives in archives are refused.
"""

from __future__ import annotations

import bz2
import gzip
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Literal

from semeia.records import SemeiaError

MAX_BYTES = 16 * 2**30
"""That a file may unpack to; a scan of 4,000 slices of 1,024 x 1,024 voxels has half of it."""
MAX_FILES = 20_000
"""That are taken from an archive or a folder."""
MAX_RATIO = 200
"""Of unpacked to packed bytes where more than ``SMALL`` come out; deflate packs nothing but repetition beyond it."""
SMALL = 256 * 2**20
_PIECE = 4 * 2**20

_PACKED = {b"PK\3\4": "a ZIP archive", b"7z\xbc\xaf": "a 7z archive", b"Rar!": "a RAR archive"}


def unpack_zip(path: Path, into: Path) -> None:
    """Unpack a ZIP archive, with its folders; what macOS and hidden names add is passed over.

    Raises:
        SemeiaError: It is damaged, encrypted, too large, has names that lead elsewhere, links or further archives.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if len(entries) > MAX_FILES:
                raise SemeiaError(f"{path}: expected at most {MAX_FILES:,} files in it, found {len(entries):,}")
            names = [_inner(path, entry) for entry in entries]
            check_room(path, min(sum(entry.file_size for entry in entries), MAX_BYTES), into)
            budget = MAX_BYTES
            for entry, name in zip(entries, names, strict=True):
                if any(part.startswith((".", "__MACOSX")) for part in name.parts):
                    continue
                target = into / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as stream:
                    budget -= _copy(path, stream, target, budget=budget, packed=path.stat().st_size)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise SemeiaError(
            f"{path}: expected a ZIP archive, found a truncated or damaged one ({reason_of(error)})"
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # so zipfile tells of passwords and of methods it lacks
        raise SemeiaError(
            f"{path}: cannot be unpacked ({reason_of(error)}); unpack it yourself and name the folder"
        ) from error
    except OSError as error:
        raise SemeiaError(f"{path}: cannot be unpacked ({error.strerror or error})") from error


def _inner(path: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    """Where an entry wants to lie below the folder."""
    name = PurePosixPath(entry.filename)
    leads_out = name.is_absolute() or ".." in name.parts or "\\" in entry.filename or ":" in entry.filename
    if leads_out or not name.parts:
        raise SemeiaError(f"{path}: expected names that stay in its folder, found {entry.filename!r}; not unpacked")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise SemeiaError(f"{path}: expected files, found the link {entry.filename!r}; not unpacked")
    return name


def _copy(path: Path, stream: IO[bytes], target: Path, *, budget: int, packed: int) -> int:
    """Copy one entry; gives its number of bytes."""
    total = 0
    with target.open("wb") as out:
        while piece := stream.read(_PIECE):
            if total == 0 and (kind := next((k for start, k in _PACKED.items() if piece.startswith(start)), None)):
                raise SemeiaError(f"{path}: expected files of one scan, found {kind} in it ({target.name}); "
                                  "unpack it first")  # fmt: skip
            total += len(piece)
            unpacked = MAX_BYTES - budget + total
            if unpacked > MAX_BYTES or unpacked > max(SMALL, MAX_RATIO * packed):
                raise SemeiaError(
                    f"{path}: expected at most {size_of(min(MAX_BYTES, max(SMALL, MAX_RATIO * packed)))} in an archive "
                    f"of {size_of(packed)}, found more; unpack it yourself and name the folder"
                )
            out.write(piece)
    return total


_OPENERS: dict[str, Callable[[BinaryIO], gzip.GzipFile | bz2.BZ2File]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream),
    "bzip2": bz2.BZ2File,
}


def unpacked_start(stream: BinaryIO, size: int) -> bytes:
    """The first ``size`` bytes of a gzip stream, or fewer where it ends or is damaged."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(stream.read(4 * size + 65_536), size)
    except zlib.error:
        return b""


def unpack_stream(
    path: Path, into: Path, *, size: int, skip: int = 0, packing: Literal["gzip", "bzip2"] = "gzip", source: str
) -> None:
    """Unpack the first ``size`` bytes of a packed file.

    Args:
        path: The packed file.
        into: The file to write.
        size: Bytes that are needed; what comes after them is left.
        skip: Bytes of ``path`` before the packed stream begins.
        packing: How it is packed.
        source: What the user named, for messages.

    Raises:
        SemeiaError: It is damaged, ends before ``size`` bytes, or there is no room for them.
    """
    if size > MAX_BYTES:
        raise SemeiaError(f"{source}: expected at most {size_of(MAX_BYTES)} unpacked, found {size_of(size)}")
    check_room(source, size, into.parent)
    left = size
    try:
        with path.open("rb") as packed, into.open("wb") as out:
            packed.seek(skip)
            with _OPENERS[packing](packed) as stream:
                while left and (piece := stream.read(min(left, _PIECE))):
                    left -= len(piece)
                    out.write(piece)
    except EOFError:
        pass
    except (zlib.error, gzip.BadGzipFile) as error:
        raise SemeiaError(f"{source}: damaged, its {packing} data cannot be unpacked ({reason_of(error)})") from error
    except OSError as error:
        raise SemeiaError(f"{source}: cannot be unpacked ({error.strerror or error})") from error
    if left:
        raise SemeiaError(f"{source}: truncated, expected {size:,} bytes when unpacked, found {size - left:,}; "
                          "copy or download it again")  # fmt: skip


def check_room(source: str | Path, size: int, folder: Path) -> None:
    """Make sure that ``size`` bytes fit into a temporary folder.

    Raises:
        SemeiaError: They do not.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise SemeiaError(f"{source}: expected {size_of(size)} of room for temporary files in {tempfile.gettempdir()}, "
                          f"found {size_of(free)}; make room or set TMPDIR to another folder")  # fmt: skip


def reason_of(error: BaseException) -> str:
    """What a library says of an error, in one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def size_of(number: float) -> str:
    """Bytes in a unit for people."""
    for unit in ("bytes", "KB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
