"""NRRD files with attached or detached voxels, plain or packed by gzip or bzip2.

The header is read by pynrrd. Detached voxels must lie beside their header: a name with a folder in it is refused, and
so are lists of files. Packed voxels are unpacked once into a temporary folder, as those of NIfTI are.

Shapes      I, J, K stored voxels
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, Literal

import nrrd
import numpy as np

from semeia.media.archives import reason_of, unpack_stream
from semeia.media.grids import check_sides, grid_of
from semeia.media.stored import ArrayScan, size_in_bytes
from semeia.records import SemeiaError

MAX_HEADER = 2**20
"""Bytes of a header."""
MAGIC = b"NRRD000"

TYPES = {
    name: code
    for code, names in (
        ("i1", "signed char, int8, int8_t"),
        ("u1", "uchar, unsigned char, uint8, uint8_t"),
        ("i2", "short, short int, signed short, signed short int, int16, int16_t"),
        ("u2", "ushort, unsigned short, unsigned short int, uint16, uint16_t"),
        ("i4", "int, signed int, int32, int32_t"),
        ("u4", "uint, unsigned int, uint32, uint32_t"),
        ("i8", "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t"),
        ("u8", "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t"),
        ("f4", "float"),
        ("f8", "double"),
    )
    for name in names.split(", ")
}
"""Names of types that hold one number, as the format spells them."""
_SPACES = {
    "left-posterior-superior": (1, 1, 1),
    "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
    "las": (1, -1, 1),
}
"""Named spaces and the signs that lead to LPS."""
_UNITS = {"mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "": 1.0, "???": 1.0, "cm": 10.0, "m": 1000.0, "um": 0.001}
_PACKINGS: dict[str, Literal["gzip", "bzip2"]] = {"gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}


def open_nrrd(path: Path, *, source: str, closing: ExitStack) -> ArrayScan:
    """Open a NRRD file or a detached header.

    Args:
        path: The file.
        source: What the user named, for messages.
        closing: Is handed what must be closed after use.

    Raises:
        SemeiaError: The header is impossible, its voxels are not beside it, several volumes lie in it, or it is
            truncated or damaged.
    """
    header, end = _header(path, source)
    shape, kept = _shape(header, source)
    dtype = _dtype(header, source)
    affine, notes = _affine(header, kept, source)
    grid, turned = grid_of(shape, affine, source=source)
    thickness = _number(header.get("thicknesses"), kept[grid.axes[2]])

    voxels, start = _voxels(path, header, end, source)
    line_skip, byte_skip = (
        int(header.get(name, header.get(name.replace(" ", ""), 0))) for name in ("line skip", "byte skip")
    )
    start = _behind_lines(voxels, start, line_skip, source)
    encoding = str(header["encoding"]).lower()
    size = size_in_bytes(shape, dtype)
    if byte_skip < (-1 if encoding == "raw" else 0):
        raise SemeiaError(f"{source}: expected a byte skip from 0 on, found {byte_skip}")
    if encoding == "raw":
        start = start + byte_skip if byte_skip >= 0 else voxels.stat().st_size - size
        if start < 0:
            raise SemeiaError(f"{source}: truncated, expected {size:,} bytes of voxels, found fewer")
    elif encoding in _PACKINGS:
        unpacked = Path(closing.enter_context(TemporaryDirectory(prefix="semeia-"))) / "voxels"
        packing = _PACKINGS[encoding]
        unpack_stream(voxels, unpacked, size=byte_skip + size, skip=start, packing=packing, source=source)
        voxels, start = unpacked, byte_skip
    else:
        raise SemeiaError(f"{source}: expected voxels in the encoding raw, gzip or bzip2, found {encoding!r}; save it "
                          "again as gzip")  # fmt: skip
    return ArrayScan(
        voxels,
        dtype,
        start,
        grid=grid,
        scale=(1.0, 0.0),
        notes=(*notes, *turned),
        thickness=thickness,
        source=source,
        files=(path,),
    )


def _header(path: Path, source: str) -> tuple[Mapping[str, Any], int]:
    """The fields, and where the file goes on behind them."""
    try:
        with path.open("rb") as stream:
            start = stream.read(MAX_HEADER)
    except OSError as error:
        raise SemeiaError(f"{source}: cannot be read ({error.strerror or error})") from error
    lines, end = [], 0
    for line in start.splitlines(keepends=True):
        end += len(line)
        if not line.strip():
            break
        lines.append(line)
    else:
        if end == MAX_HEADER:
            raise SemeiaError(f"{source}: expected a NRRD header with an empty line behind it, found none")
    try:
        return nrrd.read_header(lines), end
    except (nrrd.NRRDError, ValueError, KeyError, IndexError, TypeError, OverflowError, StopIteration) as error:
        raise SemeiaError(f"{source}: its NRRD header is damaged ({reason_of(error)})") from error


def _shape(header: Mapping[str, Any], source: str) -> tuple[tuple[int, int, int], list[int]]:
    """I, J, K, and which axes of the file they are; axes of one value are left out."""
    missing = [name for name in ("type", "dimension", "sizes", "encoding") if name not in header]
    if missing:
        raise SemeiaError(f"{source}: its NRRD header is damaged, expected the field {missing[0]}, found none")
    sides = [int(side) for side in header["sizes"]]
    if header["dimension"] != len(sides):
        raise SemeiaError(
            f"{source}: its NRRD header is damaged, it has {len(sides)} sizes for {header['dimension']} axes"
        )
    kept = list(range(len(sides)))
    lies = header.get("space directions")
    placed = [lies is None or axis >= len(lies) or np.isfinite(lies[axis]).all() for axis in kept]
    # Axes that lie nowhere in the patient go first.
    for axis in sorted(kept, key=lambda axis: (placed[axis], -axis)):
        if len(kept) > 3 and sides[axis] == 1:
            kept.remove(axis)
    if len(kept) > 3 and min(sides) > 0:
        found = " x ".join(map(str, sides))
        raise SemeiaError(f"{source}: expected one volume, found several ({found}); save the one that is meant as a "
                          "file of its own")  # fmt: skip
    check_sides([sides[axis] for axis in kept], source)
    i, j, k = kept
    return (sides[i], sides[j], sides[k]), kept


def _dtype(header: Mapping[str, Any], source: str) -> np.dtype:
    name = str(header["type"])
    if name not in TYPES:
        raise SemeiaError(f"{source}: expected one number for each voxel, found the type {name!r}")
    dtype = np.dtype(TYPES[name])
    if dtype.itemsize == 1:
        return dtype
    if header.get("endian") not in ("little", "big"):
        raise SemeiaError(f"{source}: its NRRD header is damaged, expected little or big endian, found "
                          f"{header.get('endian')!r}")  # fmt: skip
    return dtype.newbyteorder("<" if header["endian"] == "little" else ">")


def _affine(header: Mapping[str, Any], kept: list[int], source: str) -> tuple[np.ndarray, list[str]]:
    """(4, 4) to LPS mm, and what was assumed."""
    notes = []
    affine = np.eye(4)
    space = str(header.get("space", "")).strip().lower()
    if space and space not in _SPACES:
        raise SemeiaError(f"{source}: expected the space left-posterior-superior, right-anterior-superior or "
                          f"left-anterior-superior, found {space!r}")  # fmt: skip
    directions = header.get("space directions")
    if directions is not None:
        rows = [directions[axis] if axis < len(directions) else None for axis in kept]
        if any(row is None or np.shape(row) != (3,) for row in rows):
            raise SemeiaError(f"{source}: its NRRD header is damaged, expected a direction of three numbers for each "
                              f"axis of the scan, found {np.asarray(directions).tolist()}")  # fmt: skip
        affine[:3, :3] = np.array(rows, dtype=float).T
    else:
        steps = [_number(header.get("spacings"), axis) for axis in kept]
        if None in steps:
            raise SemeiaError(f"{source}: expected space directions or spacings in the NRRD header, found neither; the "
                              "size of a voxel is needed")  # fmt: skip
        affine[:3, :3] = np.diag(np.array(steps, dtype=float))
    origin: Any = header.get("space origin")
    if np.shape(origin) == (3,):
        affine[:3, 3] = origin
    if not space or directions is None:
        notes.append(
            "The header does not tell how the scan lies in the patient; columns to the patient's left, rows to the "
            "back and slices to the head were assumed, so that left and right may be swapped."
        )
    units = {str(unit).lower() for unit in header.get("space units", ["mm"])}
    if len(units) != 1 or not units <= set(_UNITS):
        raise SemeiaError(f"{source}: expected space units of mm, found {sorted(units)}")
    factor = _UNITS[units.pop()]
    if factor != 1:
        affine[:3] *= factor
        notes.append("Positions are not given in millimetres and were brought to them.")
    return np.diag([*_SPACES.get(space, (1, 1, 1)), 1]) @ affine, notes


def _number(values: Any, axis: int) -> float | None:
    """A positive number of a list with one for each axis, if there is one."""
    if values is None or axis >= len(values):
        return None
    value = float(values[axis])
    return value if np.isfinite(value) and value > 0 else None


def _voxels(path: Path, header: Mapping[str, Any], end: int, source: str) -> tuple[Path, int]:
    """The file with the voxels, and where they begin."""
    name = header.get("data file", header.get("datafile"))
    if name is None:
        return path, end
    name = str(name)
    if name.upper().startswith("LIST") or "%" in name:
        raise SemeiaError(
            f"{source}: expected one file of voxels, found a list of files ({name!r}); save it as one .nrrd"
        )
    if not name or name in (".", "..") or name != PurePath(name).name or "\\" in name or ":" in name or "\0" in name:
        raise SemeiaError(f"{source}: expected its voxels in a file beside it, found the name {name!r}; put both into "
                          "one folder and name the file alone")  # fmt: skip
    voxels = path.parent / name
    if not voxels.is_file():
        raise SemeiaError(f"{source}: expected its voxels beside it in {name}, found no such file")
    return voxels, 0


def _behind_lines(voxels: Path, start: int, lines: int, source: str) -> int:
    """Where voxels begin behind some lines of text."""
    if lines == 0:
        return start
    with voxels.open("rb") as stream:
        stream.seek(start)
        if 0 < lines <= 10_000 and all(stream.readline(MAX_HEADER).endswith(b"\n") for _ in range(lines)):
            return stream.tell()
    raise SemeiaError(f"{source}: expected {lines} lines before its voxels, found fewer")
