"""What was measured, as a file: ``<system>.json`` with a row for each arm, seed and scale.

    {"format": 1, "system": "qface", "rows": [{"arm": "full", "scale": "small", "seed": 0, ..., "sums": {...}}, ...]}

``sums`` holds arrays with one row an identity, as ``{"shape": [G, ...], "type": "<u1", "zlib": base64}``: enough to
draw identities again. Names of identities are not kept.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from semeia.files import write_whole
from semeia.ledger.claims import SCALES
from semeia.records import SemeiaError

FORMAT = 1
TYPES = ("<u1", "<u2", "<i4", "<f4")
"""Of stored arrays, from short to long."""
LARGEST = 10_000_000
"""Numbers in one array; a file that asks for more is damaged."""


@dataclass(frozen=True)
class Row:
    """One arm, trained from one seed at one scale and measured."""

    arm: str
    scale: str
    seed: int
    steps: int
    protocol: str
    """Digest of the configuration that all arms start from."""
    config: str
    """Digest of the arm's own."""
    identities: str
    """Digest of the names of the test's identities, in order."""
    groups: int
    """How many they are."""
    parameters: int
    flops: int
    """To read one sample."""
    seconds: float
    """Of training and reading the test."""
    commit: str
    """Of the code; ``+`` says that it was changed since, ``unknown`` that it was in no repository."""
    machine: Mapping[str, Any]
    """System, processor, cores, threads, accelerator, versions."""
    values: Mapping[str, float | None]
    """Metrics by name; None where one does not exist."""
    sums: Mapping[str, np.ndarray] = field(repr=False)
    """(G, ...) by name."""

    @property
    def key(self) -> tuple[str, str, int]:
        """What a file holds one row of."""
        return self.scale, self.arm, self.seed


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("arm", "scale", "protocol", "config", "identities", "commit"), ((str,), "text")),
    **dict.fromkeys(("seed", "steps", "groups", "parameters", "flops"), ((int,), "a whole number")),
    "seconds": ((int, float), "a number from 0 on"),
    **dict.fromkeys(("machine", "values", "sums"), ((dict,), "an object")),
}


def read(file: str | Path, *, system: str) -> list[Row]:
    """Rows of a file; none where it does not exist.

    Raises:
        SemeiaError: It cannot be read, is of another system, or holds anything but rows.
    """
    file = Path(file)
    if not file.exists():
        return []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SemeiaError(f"{file}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise SemeiaError(f"{file}: not valid JSON ({error}); restore it or name another folder") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or not isinstance(content.get("rows"), list):
        raise SemeiaError(f"{file}: expected results of claims, {{'format': {FORMAT}, 'system', 'rows'}}; restore it")
    if content.get("system") != system:
        raise SemeiaError(f"{file}: expected results of {system!r}, found those of {content.get('system')!r}")
    rows = [_row(item, f"{file}: row {number}") for number, item in enumerate(content["rows"])]
    if len({row.key for row in rows}) < len(rows):
        raise SemeiaError(f"{file}: two rows of one arm, seed and scale; restore it")
    return rows


def write(file: str | Path, rows: Iterable[Row], *, system: str) -> None:
    """Write rows, the newest state of a file or the one before.

    Raises:
        SemeiaError: The file cannot be written.
    """
    ordered = sorted(rows, key=lambda row: (SCALES.index(row.scale), row.seed, row.arm))
    content = {"format": FORMAT, "system": system, "rows": [_plain(row) for row in ordered]}
    write_whole(file, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def _plain(row: Row) -> dict[str, Any]:
    plain = {each.name: getattr(row, each.name) for each in fields(row)}
    return plain | {"sums": {name: pack(array) for name, array in row.sums.items()}}


def _row(item: Any, where: str) -> Row:
    if not isinstance(item, dict):
        raise SemeiaError(f"{where}: expected an object, found {item!r:.80}")
    if item.keys() != _KINDS.keys():
        odd = ", ".join(sorted(str(name) for name in item.keys() ^ _KINDS.keys()))
        raise SemeiaError(f"{where}: expected exactly {', '.join(_KINDS)}; missing or unknown: {odd}")
    for name, (kinds, words) in _KINDS.items():
        # ``type``, not ``isinstance``: True is an ``int``.
        if type(item[name]) not in kinds or not (kinds[0] is not int or 0 <= item[name] < math.inf):
            raise SemeiaError(f"{where}: {name}: expected {words}, found {item[name]!r:.80}")
    if item["scale"] not in SCALES or item["groups"] < 1:
        raise SemeiaError(f"{where}: expected a scale of {', '.join(SCALES)} and at least one identity, found "
                          f"{item['scale']!r:.80} and {item['groups']}")  # fmt: skip
    for name, value in item["values"].items():
        if value is not None and (type(value) not in (int, float) or not math.isfinite(value)):
            raise SemeiaError(f"{where}: values: {name}: expected a number or null, found {value!r:.80}")
    sums = {name: unpack(packed, f"{where}: sums: {name}") for name, packed in item["sums"].items()}
    for name, array in sums.items():
        if array.shape[:1] != (item["groups"],):
            raise SemeiaError(f"{where}: sums: {name}: expected a row for each of {item['groups']} identities, found "
                              f"the shape {array.shape}")  # fmt: skip
    return Row(**item | {"seconds": float(item["seconds"]), "sums": sums})


def pack(array: np.ndarray) -> dict[str, Any]:
    """An array of finite numbers as plain values, in the shortest type that holds it; fractions in ``<f4``."""
    if not np.isfinite(array).all():
        raise SemeiaError("sums: expected finite numbers, found NaN or infinity")
    with np.errstate(invalid="ignore"):
        kind = next((kind for kind in TYPES[:3] if np.array_equal(array.astype(kind), array)), "<f4")
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array, kind).tobytes(), 9)).decode()
    return {"shape": list(array.shape), "type": kind, "zlib": data}


def unpack(packed: Any, where: str) -> np.ndarray:
    """The array that ``pack`` made plain, in double precision.

    Raises:
        SemeiaError: It is none; the error begins with ``where``.
    """
    if not isinstance(packed, dict) or packed.keys() != {"shape", "type", "zlib"} or packed["type"] not in TYPES:
        raise SemeiaError(f"{where}: expected an array {{'shape', 'type', 'zlib'}}, found {packed!r:.80}")
    shape = packed["shape"]
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n <= LARGEST for n in shape):
        raise SemeiaError(f"{where}: expected a shape of whole numbers, found {shape!r:.80}")
    kind, count = np.dtype(packed["type"]), math.prod(shape)
    if count > LARGEST or not isinstance(packed["zlib"], str):
        raise SemeiaError(f"{where}: expected at most {LARGEST:,} numbers as text, found {count:,}")
    try:
        # No more than the shape asks for: a few bytes can unpack to gigabytes.
        data = zlib.decompressobj().decompress(
            base64.b64decode(packed["zlib"], validate=True), count * kind.itemsize + 1
        )
    except (binascii.Error, zlib.error, ValueError) as error:
        raise SemeiaError(f"{where}: is damaged ({error}); restore the file") from error
    if len(data) != count * kind.itemsize:
        raise SemeiaError(f"{where}: is damaged, its length does not fit the shape {shape}; restore the file")
    array = np.frombuffer(data, kind).reshape(shape).astype(float)
    if not np.isfinite(array).all():
        raise SemeiaError(f"{where}: expected finite numbers, found NaN or infinity")
    return array


def of_scale(rows: Sequence[Row], scale: str) -> list[Row]:
    """Rows of one scale."""
    return [row for row in rows if row.scale == scale]
