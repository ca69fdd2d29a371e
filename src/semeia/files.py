"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semeia.records import SemeiaError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; it takes the name ``path`` once the block ends well.

    Whatever stood at ``path`` stays as it was until then, and for good where the block is left by an exception or an
    interrupt. The temporary path has the suffix of ``path``, for writers that go by it, and does not exist yet, so that
    the file gets the usual permissions.

    Raises:
        SemeiaError: The file cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield part
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        raise SemeiaError(_cannot_write(path, error)) from error
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` is either what it was or complete, even if the process is killed.

    Raises:
        SemeiaError: The file cannot be written.
    """
    with whole_file(path) as part:
        part.write_bytes(content)


def check_writable(path: str | Path) -> None:
    """Make sure, before long work begins, that ``whole_file`` will be able to write to ``path``.

    A file is really made and removed again: permission bits say nothing to root or on a read-only disk.

    Raises:
        SemeiaError: The folder does not exist or cannot be written to, or ``path`` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise SemeiaError(f"{path}: is a folder, expected the name of a file to write")
    if not path.parent.is_dir():
        raise SemeiaError(f"{path}: the folder {path.parent} does not exist; make it first or name another")
    probe = path.with_name(f".{secrets.token_hex(4)}.part")
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise SemeiaError(_cannot_write(path, error)) from error


def writable_folder(path: str | Path) -> Path:
    """The folder ``path``, made with its parents where it does not exist yet.

    Raises:
        SemeiaError: It cannot be made or written to, or is a file.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise SemeiaError(f"{folder}: is a file, expected a folder to write into") from error
    except OSError as error:
        raise SemeiaError(_cannot_write(folder, error)) from error
    check_writable(folder / "probe")
    return folder


def _cannot_write(path: Path, error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"{path}: cannot be written ({reason}); name a file in a folder that you may write to"
