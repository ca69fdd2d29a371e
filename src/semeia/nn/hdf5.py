"""Arrays in an HDF5 file, read without the HDF5 library: as much of the format as Keras 2 weights need.

The format is that of HDF5 before 1.10, which h5py writes unless told otherwise: superblock 0, old groups (a B-tree of
symbol tables beside a heap of names), object headers of version 1, and float32 arrays in one piece. Anything else is
refused. Attributes, such as the JSON of a Keras model, are not read.

    superblock -> header of the root -> SYMBOLS message -> B-tree -> symbol tables -> headers of the members -> ...
    header of an array -> SHAPE, TYPE and PLACE messages -> numbers, row by row

The arrays are views of the file's bytes and steps are counted, so a damaged file costs little more than its size.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from semeia.records import SemeiaError

_LARGEST = 64 << 20
"""Bytes of a file."""

_ROOM = 20_000
"""Messages, table entries and tree branches that a file may lead to; one that leads back to itself uses them up."""

_DEEPEST = 8
"""Groups within groups."""

_LONGEST_NAME = 256

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SHAPE, _TYPE, _PLACE, _MORE, _SYMBOLS = 0x01, 0x03, 0x08, 0x10, 0x11
"""Kinds of message: dataspace, datatype, layout, continuation, symbol table."""

_KEPT = (_SHAPE, _TYPE, _PLACE, _SYMBOLS)

_FLOAT32 = bytes.fromhex("11201f00 04000000 00002000 17080017 7f000000")
"""The TYPE message of IEEE numbers of 32 bits, low byte first."""

_ONE_PIECE = (3, 1)
"""Version and class of the PLACE message of an array whose numbers lie in one piece."""


def read_arrays(path: Path, group: str) -> dict[str, np.ndarray]:
    """All arrays below a group, by their path from there.

    Args:
        path: An HDF5 file whose arrays below ``group`` are float32.
        group: A path such as ``model_weights``.

    Returns:
        Arrays that cannot be written to.

    Raises:
        SemeiaError: The file cannot be read, is damaged, or uses a part of the format that is not read here.
    """
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST >> 20} MB")
        return _File(path.read_bytes()).arrays(group)
    except OSError as error:
        raise SemeiaError(f"{path}: expected an HDF5 file, but it cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SemeiaError(
            f"{path}: expected an HDF5 file with float32 arrays in {group!r}, found one that is damaged or written "
            f"another way ({error}); copy it again"
        ) from error


class _File:
    """The bytes of a file; every method raises ``ValueError`` where they are not as they must be."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.room = _ROOM

    def arrays(self, group: str) -> dict[str, np.ndarray]:
        """All arrays below a group, by their path from there."""
        at = self._root()
        for name in group.split("/"):
            members = self._members(self._messages(at))
            if name not in members:
                raise ValueError(f"it has no group {name!r}")
            at = members[name]
        return dict(self._below(at, ()))

    def _root(self) -> int:
        """Where the header of the root stands."""
        if not self.content.startswith(_SIGNATURE):
            raise ValueError("it does not begin as one")
        version, offset_size, length_size = self._numbers("B4xBB", 8)
        if (version, offset_size, length_size) != (0, 8, 8):
            raise ValueError(f"superblock {version} with numbers of {offset_size} and {length_size} bytes")
        (header,) = self._numbers("Q", 64)
        return header

    def _below(self, at: int, names: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
        """The array whose header stands at ``at``, or all arrays of the group there."""
        messages = self._messages(at)
        if _SYMBOLS not in messages:
            return [("/".join(names), self._array(messages, "/".join(names)))]
        if len(names) == _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} groups within one another")
        members = self._members(messages).items()
        return [pair for name, member in members for pair in self._below(member, (*names, name))]

    def _messages(self, at: int) -> dict[int, bytes]:
        """The messages of a header by kind, as far as they are needed."""
        version, count, size = self._numbers("BxH4xI", at)
        if version != 1:
            raise ValueError(f"a header of version {version}")
        self._use(count)
        messages: dict[int, bytes] = {}
        blocks = [(at + 16, size)]
        while blocks and count:
            start, size = blocks.pop(0)
            end = start + size
            while start + 8 <= end and count:
                kind, length = self._numbers("HH", start)
                data = self._bytes(start + 8, length)
                if kind == _MORE:
                    blocks.append(_unpack("QQ", data))
                elif kind in _KEPT:
                    messages[kind] = data
                start += 8 + length
                count -= 1
        return messages

    def _members(self, messages: dict[int, bytes]) -> dict[str, int]:
        """Where the headers of a group's members stand, by name."""
        tree, heap = _unpack("QQ", messages.get(_SYMBOLS, b""))
        mark, size, names_at = self._numbers("4s4xQ8xQ", heap)
        if mark != b"HEAP":
            raise ValueError("a group has no heap of names")
        members: dict[str, int] = {}
        nodes = [tree]
        while nodes:
            node = nodes.pop()
            mark, count = self._numbers("4sxxH", node)
            self._use(count)
            if mark == b"TREE":
                # After 24 bytes a key and a branch follow one another.
                nodes += reversed(self._numbers(f"{2 * count}Q", node + 24)[1::2])
            elif mark == b"SNOD":
                for i in range(count):
                    place, header = self._numbers("QQ", node + 8 + 40 * i)
                    members[self._name(names_at, size, place)] = header
            else:
                raise ValueError("a group has no table of members")
        return members

    def _name(self, start: int, size: int, place: int) -> str:
        if place >= size:
            raise ValueError("a name lies outside its heap")
        name, end, _ = self.content[start + place : start + min(size, place + _LONGEST_NAME)].partition(b"\0")
        if not (name and end):
            raise ValueError("a name has no end")
        return name.decode()

    def _array(self, messages: dict[int, bytes], name: str) -> np.ndarray:
        if messages.get(_TYPE, b"")[: len(_FLOAT32)] != _FLOAT32:
            raise ValueError(f"{name!r} does not hold float32")
        place = messages.get(_PLACE, b"")
        if tuple(place[:2]) != _ONE_PIECE:
            raise ValueError(f"{name!r} does not lie in one piece")
        start, size = _unpack("QQ", place[2:])
        version, rank = _unpack("BB", messages.get(_SHAPE, b""))
        if version != 1:
            raise ValueError(f"{name!r} has a shape of version {version}")
        shape = _unpack(f"{rank}Q", messages[_SHAPE][8:])
        if size == 0 or 4 * math.prod(shape) != size:
            raise ValueError(f"{name!r} has {size:,} bytes for the shape {shape}")
        self._check(start, size)
        return np.frombuffer(self.content, "<f4", count=size // 4, offset=start).reshape(shape)

    def _use(self, count: int) -> None:
        self.room -= count
        if self.room < 0:
            raise ValueError("it has too many members, or one that holds itself")

    def _numbers(self, layout: str, at: int) -> tuple:
        return _unpack(layout, self._bytes(at, struct.calcsize("<" + layout)))

    def _bytes(self, at: int, size: int) -> bytes:
        self._check(at, size)
        return self.content[at : at + size]

    def _check(self, at: int, size: int) -> None:
        if at + size > len(self.content):
            raise ValueError(f"it ends at byte {len(self.content):,}, and a part of it goes to {at + size:,}")


def _unpack(layout: str, data: bytes) -> tuple:
    """Numbers, low byte first, from the beginning of ``data``."""
    if len(data) < struct.calcsize("<" + layout):
        raise ValueError("a part of it is too short")
    return struct.unpack_from("<" + layout, data)
