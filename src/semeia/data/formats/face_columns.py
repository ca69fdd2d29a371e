"""The Parquet columns of a shard of labelled faces: their names, types and ranges.

One row a face. Every column but ``key`` may be absent, and every value but the key may be null: both mean "not known".
Columns with other names are ignored.

| column | type | meaning |
|---|---|---|
| ``key`` | text | name of the members ``<key>.png`` or ``.jpg`` and ``<key>.mask.png`` of the shard's tar |
| ``identity``, ``split``, ``expression``, ``compound``, ``caption`` | text | as in ``FaceLabels`` |
| ``age`` | number | years, 0-130 |
| ``pose_yaw``, ``pose_pitch``, ``pose_roll`` | number | degrees, signs as in ``Pose``; each may be null alone |
| ``box_x``, ``box_y``, ``box_width``, ``box_height`` | number | pixels, all four or none |
| ``landmarks`` | list of 136 float32 | x0, y0, x1, y1 ... in pixels, iBUG order |
| ``landmark_visibility`` | list of 68 int8 | 1 where the landmark can be seen, 0 where it cannot |
| ``gaze_x``, ``gaze_y``, ``gaze_z`` | number | unit vector, all three or none |
| ``valence``, ``arousal`` | number | -1 to 1 |
| ``palsy_side`` / ``palsy_degree`` | text / number | the subject's own side / 0 to 1 |
| ``AU12_r``, ``AU12_c`` | number | intensity 0-5, occurrence 0 or 1; likewise for every unit, always two digits |
| ``AU12_L``, ``AU12_R`` | number | intensity 0-5 of the subject's own left and right |
| ``attr_Smiling`` | number | attribute 0 or 1; likewise for every name |
| ``extra`` | text | a JSON object of whatever else the writer wants to keep |

Shapes      N rows   C columns
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from semeia.records import Box, FaceLabels, Pose, SemeiaError

POINTS = 68
TEXTS = ("key", "identity", "split", "expression", "compound", "palsy_side", "caption", "extra")
LISTS = ("landmarks", "landmark_visibility")
POSE = ("pose_yaw", "pose_pitch", "pose_roll")
BOX = ("box_x", "box_y", "box_width", "box_height")
GAZE = ("gaze_x", "gaze_y", "gaze_z")
RANGES = {
    "age": (0.0, 130.0),
    **dict.fromkeys(POSE, (-180.0, 180.0)),
    "box_x": (-math.inf, math.inf),
    "box_y": (-math.inf, math.inf),
    "box_width": (0.0, math.inf),
    "box_height": (0.0, math.inf),
    **dict.fromkeys(GAZE, (-1.001, 1.001)),  # a unit vector that was rounded
    "valence": (-1.0, 1.0),
    "arousal": (-1.0, 1.0),
    "palsy_degree": (0.0, 1.0),
}
"""Numeric columns with a fixed name, and the range of their values."""

_UNIT = re.compile(r"AU(\d+)_([rcLR])")
_UNIT_FIELDS = {"r": "au_intensity", "c": "au_occurrence", "L": "au_left", "R": "au_right"}
_ATTRIBUTE = "attr_"


def number_range(column: str) -> tuple[float, float] | None:
    """Smallest and largest value of a numeric column, or None where the format has no such column."""
    unit = _UNIT.fullmatch(column)
    if unit:
        return (0.0, 1.0) if unit[2] == "c" else (0.0, 5.0)
    return (0.0, 1.0) if column.startswith(_ATTRIBUTE) else RANGES.get(column)


def is_binary(column: str) -> bool:
    """Whether a numeric column holds nothing but 0 and 1."""
    return column.startswith(_ATTRIBUTE) or (_UNIT.fullmatch(column) is not None and column.endswith("_c"))


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def table(samples: Iterable[tuple[FaceLabels, Mapping[str, Any]]]) -> pa.Table:
    """Labels with their extras as a table: the fixed columns, then units and attributes that occur, by name."""
    rows = [_row(labels, extra) for labels, extra in samples]
    fixed = (*TEXTS, *RANGES, *LISTS)
    varying = sorted({name for row in rows for name in row} - set(fixed))
    columns = {name: pa.array([row.get(name) for row in rows], _type(name)) for name in (*fixed, *varying)}
    return pa.table(columns).replace_schema_metadata({"format": "semeia faces 1"})


def _row(labels: FaceLabels, extra: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {name: getattr(labels, name) for name in TEXTS if name != "extra"}
    row |= {name: getattr(labels, name) for name in ("age", "valence", "arousal", "palsy_degree")}
    if extra:
        row["extra"] = json.dumps(extra, sort_keys=True, allow_nan=False)
    if labels.pose is not None:
        angles = (labels.pose.yaw, labels.pose.pitch, labels.pose.roll)
        row |= {name: None if math.isnan(angle) else angle for name, angle in zip(POSE, angles, strict=True)}
    if labels.box is not None:
        box = labels.box
        row |= dict(zip(BOX, (box.x, box.y, box.width, box.height), strict=True))
    if labels.gaze is not None:
        row |= dict(zip(GAZE, labels.gaze, strict=True))
    if labels.landmarks is not None:
        row["landmarks"] = np.asarray(labels.landmarks, np.float32).ravel()
    if labels.landmark_visibility is not None:
        row["landmark_visibility"] = np.asarray(labels.landmark_visibility, np.int8)
    for kind, field in _UNIT_FIELDS.items():
        row |= {f"{name}_{kind}": value for name, value in getattr(labels, field).items()}
    return row | {f"{_ATTRIBUTE}{name}": value for name, value in labels.attributes.items()}


def _type(column: str) -> pa.DataType:
    if column in TEXTS:
        return pa.string()
    if column == "landmarks":
        return pa.list_(pa.float32())
    if column == "landmark_visibility":
        return pa.list_(pa.int8())
    return pa.int8() if is_binary(column) else pa.float64()


# ---------------------------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True)
class FaceColumns:
    """The labels of N faces as columns.

    Attributes:
        texts: column -> (N,) of str or None.
        numbers: column -> (N,) float64, NaN where not known.
        landmarks: (N, 68, 2) float32, NaN where not known.
        visibility: (N, 68) float32, 1 where a landmark can be seen, 0 where it cannot, NaN where that is not known.
    """

    texts: Mapping[str, np.ndarray]
    numbers: Mapping[str, np.ndarray]
    landmarks: np.ndarray
    visibility: np.ndarray

    def __len__(self) -> int:
        return len(self.landmarks)

    def matrix(self, columns: Sequence[str]) -> np.ndarray:
        """(N, C) numbers of some columns, NaN where not known or where there is no such column."""
        missing = np.full(len(self), np.nan)
        stacked = [self.numbers.get(name, missing) for name in columns]
        return np.stack(stacked, 1) if stacked else np.empty((len(self), 0))

    def take(self, rows: np.ndarray) -> FaceColumns:
        """Some of the faces, by their rows or by a mask (N,)."""
        return FaceColumns(
            texts={name: column[rows] for name, column in self.texts.items()},
            numbers={name: column[rows] for name, column in self.numbers.items()},
            landmarks=self.landmarks[rows],
            visibility=self.visibility[rows],
        )

    def labels(self, row: int) -> FaceLabels:
        """The labels of one face. Where only some angles of the pose are known, the others are NaN."""
        known = {name: float(column[row]) for name, column in self.numbers.items() if not np.isnan(column[row])}
        by_field: dict[str, Any] = {field: {} for field in (*_UNIT_FIELDS.values(), "attributes")}
        for name, value in known.items():
            if name.startswith(_ATTRIBUTE):
                by_field["attributes"][name.removeprefix(_ATTRIBUTE)] = int(value)
            elif name.startswith("AU"):
                by_field[_UNIT_FIELDS[name[-1]]][name[:-2]] = int(value) if name.endswith("_c") else value
        points, seen = self.landmarks[row], self.visibility[row]
        texts: dict[str, Any] = {name: column[row] for name, column in self.texts.items() if name != "extra"}
        return FaceLabels(
            **texts,
            **by_field,
            age=known.get("age"),
            valence=known.get("valence"),
            arousal=known.get("arousal"),
            palsy_degree=known.get("palsy_degree"),
            pose=Pose(*(known.get(name, math.nan) for name in POSE)) if any(name in known for name in POSE) else None,
            box=Box(*(known[name] for name in BOX)) if BOX[0] in known else None,
            gaze=(known["gaze_x"], known["gaze_y"], known["gaze_z"]) if GAZE[0] in known else None,
            landmarks=None if np.isnan(points[0, 0]) else points,
            landmark_visibility=None if np.isnan(seen[0]) else seen.astype(bool),
        )

    def extra(self, row: int) -> dict[str, Any]:
        """The writer's own notes on one face."""
        text = self.texts["extra"][row]
        return {} if text is None else json.loads(text)


class LabelledFaces:
    """What every collection of faces answers from its columns; those who hold pictures add ``image``."""

    columns: FaceColumns

    def __len__(self) -> int:
        return len(self.columns)

    def select(self, split: str | None = None) -> np.ndarray:
        """Indices of the faces of one split, or of all of them."""
        if split is None:
            return np.arange(len(self))
        return np.flatnonzero(self.columns.texts["split"] == split)

    def labels(self, index: int) -> FaceLabels:
        """What is known about one face. Where only some angles of the pose are known, the others are NaN."""
        return self.columns.labels(index)

    def extra(self, index: int) -> dict[str, Any]:
        """What the writer or the data set notes beside the labels of one face."""
        return self.columns.extra(index)


def concatenate(parts: Sequence[FaceColumns]) -> FaceColumns:
    """All rows of several tables, whose numeric columns may differ."""
    names = sorted({name for part in parts for name in part.numbers})
    stacked = np.concatenate([part.matrix(names) for part in parts]).T
    return FaceColumns(
        texts={name: np.concatenate([part.texts[name] for part in parts]) for name in TEXTS},
        numbers={name: np.ascontiguousarray(column) for name, column in zip(names, stacked, strict=True)},
        landmarks=np.concatenate([part.landmarks for part in parts]),
        visibility=np.concatenate([part.visibility for part in parts]),
    )


def read_table(path: Path) -> pa.Table:
    """A Parquet file as it stands.

    Raises:
        SemeiaError: It cannot be read or is no Parquet file.
    """
    try:
        return pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise SemeiaError(f"{path}: expected a Parquet file of face labels, found one that cannot be read ({reason}); "
                          "write or copy it again") from error  # fmt: skip


def columns_of(source: pa.Table, path: Path) -> FaceColumns:
    """The known columns of a table, checked.

    Args:
        source: One row a face.
        path: The file that errors name.

    Raises:
        SemeiaError: A column has a wrong type, or a value lies out of its range.
    """
    if "key" not in source.column_names:
        found = ", ".join(source.column_names[:8]) or "no columns"
        raise SemeiaError(f"{path}: expected a text column 'key' that names the images, found {found}")
    size = source.num_rows
    texts = {name: np.full(size, None, object) for name in TEXTS}
    texts |= {name: _texts(source, name, path) for name in TEXTS if name in source.column_names}
    keys = texts["key"]
    _check_keys(keys, path)
    numbers = {}
    for name in source.column_names:
        limits = number_range(name)
        if limits is not None:
            unit = _UNIT.fullmatch(name)
            if unit and len(unit[1]) != 2:
                raise SemeiaError(f"{path}: column '{name}': expected two digits, 'AU{int(unit[1]):02d}_{unit[2]}'; "
                                  "rename the column")  # fmt: skip
            numbers[name] = _numbers(source, name, path)
            _check_range(numbers[name], name=name, limits=limits, keys=keys, path=path)
    for group in (BOX, GAZE):
        _check_whole(numbers, group, keys=keys, path=path)
    _check_extra(texts["extra"], keys=keys, path=path)
    landmarks = np.full((size, 2 * POINTS), np.nan, np.float32)
    visibility = np.full((size, POINTS), np.nan, np.float32)
    for name, rows in zip(LISTS, (landmarks, visibility), strict=True):
        if name in source.column_names:
            _fill_lists(rows, source.column(name), name=name, path=path)
    wrong = (visibility != 0) & (visibility != 1) & ~np.isnan(visibility)
    if wrong.any():
        row = int(wrong.any(1).argmax())
        raise SemeiaError(f"{path}: column 'landmark_visibility', key '{keys[row]}': expected 0 or 1, found "
                          f"{visibility[wrong][0]:g}; correct it, or write null for the whole list")  # fmt: skip
    return FaceColumns(
        texts=texts, numbers=numbers, landmarks=landmarks.reshape(size, POINTS, 2), visibility=visibility
    )


def _texts(source: pa.Table, name: str, path: Path) -> np.ndarray:
    try:
        column = source.column(name).cast(pa.string())
    except pa.ArrowException as error:
        kind = source.column(name).type
        raise SemeiaError(f"{path}: column '{name}': expected text, found {kind}; write it as text") from error
    return np.array(column.to_pylist(), object)


def _numbers(source: pa.Table, name: str, path: Path) -> np.ndarray:
    column = source.column(name)
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise SemeiaError(f"{path}: column '{name}': expected numbers, found {kind}; write it as numbers")
    if pa.types.is_floating(kind) and pc.any(pc.is_nan(column)).as_py():
        raise SemeiaError(f"{path}: column '{name}': expected a number or null, found NaN; write null where the "
                          "value is not known")  # fmt: skip
    filled = pc.fill_null(column.cast(pa.float64()), math.nan)
    return np.array(filled.to_numpy())


def _check_keys(keys: np.ndarray, path: Path) -> None:
    if any(not key for key in keys):
        row = next(i for i, key in enumerate(keys) if not key)
        raise SemeiaError(f"{path}: row {row}: expected a key that names the image, found none; give every row a key")
    if len(set(keys)) < len(keys):
        unique, counts = np.unique(keys.astype(str), return_counts=True)
        twice = unique[counts > 1][0]
        raise SemeiaError(
            f"{path}: key '{twice}' stands in several rows, expected one row an image; rename or drop one"
        )


def _check_range(values: np.ndarray, *, name: str, limits: tuple[float, float], keys: np.ndarray, path: Path) -> None:
    low, high = limits
    wrong = (values < low) | (values > high) | np.isinf(values)
    expected = f"a number from {low:g} to {high:g}" if math.isfinite(high) else "a finite number"
    if is_binary(name):
        wrong |= (values != 0) & (values != 1) & ~np.isnan(values)
        expected = "0 or 1"
    if wrong.any():
        row = int(wrong.argmax())
        raise SemeiaError(f"{path}: column '{name}', key '{keys[row]}': expected {expected}, found {values[row]:g}; "
                          "correct it, or leave it null where it is not known")  # fmt: skip


def _check_whole(numbers: Mapping[str, np.ndarray], group: Sequence[str], *, keys: np.ndarray, path: Path) -> None:
    """All columns of a group are known in the same rows."""
    known = np.stack([~np.isnan(numbers[name]) if name in numbers else np.zeros(len(keys), bool) for name in group])
    partial = known.any(0) & ~known.all(0)
    if partial.any():
        row = int(partial.argmax())
        missing = ", ".join(name for name, column in zip(group, known, strict=True) if not column[row])
        raise SemeiaError(f"{path}: key '{keys[row]}': expected all of {', '.join(group)} or none, found no {missing}")


def _check_extra(extra: np.ndarray, *, keys: np.ndarray, path: Path) -> None:
    for row, text in enumerate(extra):
        try:
            fine = text is None or isinstance(json.loads(text), dict)
        except ValueError:
            fine = False
        if not fine:
            raise SemeiaError(f"{path}: column 'extra', key '{keys[row]}': expected a JSON object, found {text[:40]!r}")


def _fill_lists(rows: np.ndarray, column: pa.ChunkedArray, *, name: str, path: Path) -> None:
    """Writes the lists that are not null into ``rows`` (N, C)."""
    kind, length = column.type, rows.shape[1]
    if pa.types.is_null(kind):
        return
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (nested and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))):
        raise SemeiaError(f"{path}: column '{name}': expected lists of numbers, found {kind}; write list<float>")
    lengths = pc.drop_null(pc.list_value_length(column)).to_numpy()
    if (lengths != length).any():
        order = " (x0, y0, x1, y1 ...)" if name == "landmarks" else ""
        raise SemeiaError(f"{path}: column '{name}': expected lists of {length} numbers{order}, "
                          f"found one of {int(lengths[lengths != length][0])}")  # fmt: skip
    known = pc.is_valid(column).to_numpy().astype(bool)
    values = pc.list_flatten(column).cast(pa.float32()).to_numpy()
    if not np.isfinite(values).all():
        raise SemeiaError(f"{path}: column '{name}': expected finite numbers, found NaN, null or infinity inside a "
                          "list; write null for the whole list where points are not known")  # fmt: skip
    rows[known] = values.reshape(-1, length)
