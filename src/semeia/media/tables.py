"""Readings as files: the documented JSON, and tables with a row for each face under OpenFace's column names.

``docs/readings.md`` describes both. A file without a face keeps its place with one row of missing values, and so does a
file that could not be read, with its error; rows stand in the order of the files and, within a file, of its faces.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from math import radians
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semeia.files import check_writable, whole_file
from semeia.records import (
    ACTION_UNITS,
    ATTRIBUTES,
    EXPRESSIONS,
    FaceReading,
    FileReading,
    Readings,
    SemeiaError,
)

if TYPE_CHECKING:
    import pandas as pd

TEXT = ("file", "expression", "error")
COUNTS = ("face_id", "width", "height")
"""Whole numbers that may be missing; so are the ``_c`` columns."""


def write_table(readings: Readings, path: str | Path) -> None:
    """Write readings as JSON, CSV or Parquet, by the suffix of ``path``; the file appears whole or not at all.

    Raises:
        SemeiaError: Another suffix, or the file cannot be written.
    """
    write = WRITERS[_suffix(path)]
    with whole_file(path) as part:
        write(readings, part)


def check_table(path: str | Path) -> None:
    """Make sure, before long work begins, that ``write_table`` will be able to write to ``path``.

    Raises:
        SemeiaError: Another suffix than ``write_table`` knows, or the file cannot be written.
    """
    _suffix(path)
    check_writable(path)


def as_json(readings: Readings) -> str:
    """The documented JSON, indented, as ASCII: file names survive whatever reads it."""
    return json.dumps(readings.as_dict(), indent=2)


def as_table(readings: Readings) -> pd.DataFrame:
    """One row for each face, and one for each file without any; columns as in ``docs/readings.md``."""
    import pandas as pd

    rows = [row for file in readings.files for row in _file_rows(file)]
    columns = _columns([face for file in readings.files for face in file.faces])
    table = pd.DataFrame(rows, columns=list(columns))
    return table.astype({name: _dtype(name) for name in columns})


def _file_rows(file: FileReading) -> list[dict[str, Any]]:
    """The rows of one file, as numbers and names by column."""
    about = {"file": _printable(file.file), "width": file.width, "height": file.height}
    if file.error is not None:
        about["error"] = _printable(file.error)
    if not file.faces:
        return [about]
    return [about | _face_row(face) | {"face_id": number} for number, face in enumerate(file.faces, start=1)]


def _face_row(face: FaceReading) -> dict[str, Any]:
    box, pose = face.box, face.pose
    row: dict[str, Any] = {
        "confidence": face.score,
        "face_x": box.x,
        "face_y": box.y,
        "face_w": box.width,
        "face_h": box.height,
    }
    row |= {"expression": face.expression_label}
    row |= {f"p_{name}": probability for name, probability in face.expression.items()}
    row |= {"valence": face.valence, "arousal": face.arousal}
    for name, unit in face.action_units.items():
        row |= {f"{name}_r": unit.intensity, f"{name}_c": int(unit.occurrence)}
        row |= {f"{name}_L": unit.left, f"{name}_R": unit.right}
    row |= {f"attr_{name}": probability for name, probability in face.attributes.items()}
    row |= {"age": face.age, "pitch": pose.pitch, "yaw": pose.yaw, "roll": pose.roll}
    return row | {"pose_Rx": radians(pose.pitch), "pose_Ry": radians(pose.yaw), "pose_Rz": radians(pose.roll)}


def _columns(faces: list[FaceReading]) -> Iterable[str]:
    """Columns of a table of these faces, in their order; those of the bundled reader where there is no face."""
    expressions = _names((face.expression for face in faces), EXPRESSIONS)
    units = _names((face.action_units for face in faces), ACTION_UNITS)
    attributes = _names((face.attributes for face in faces), ATTRIBUTES)
    affect = ("valence", "arousal") if not faces or any(face.valence is not None for face in faces) else ()
    sides = not faces or any(unit.left is not None for face in faces for unit in face.action_units.values())
    return (
        *("file", "face_id", "confidence", "face_x", "face_y", "face_w", "face_h", "expression"),
        *(f"p_{name}" for name in expressions),
        *affect,
        *(f"{unit}_r" for unit in units),
        *(f"{unit}_c" for unit in units),
        *(f"{unit}_{side}" for unit in units for side in "LR" if sides),
        *(f"attr_{name}" for name in attributes),
        *("age", "pose_Rx", "pose_Ry", "pose_Rz", "pitch", "yaw", "roll", "width", "height", "error"),
    )


def _names(answers: Iterable[Mapping[str, object]], otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for answer in answers for name in answer)) or otherwise


def _dtype(column: str) -> str:
    if column in TEXT:
        return "string"
    return "Int64" if column in COUNTS or column.endswith("_c") else "float64"


def _printable(text: str) -> str:
    """Text with bytes that are no UTF-8, as file names may carry them, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _write_json(readings: Readings, path: Path) -> None:
    path.write_text(as_json(readings) + "\n", encoding="utf-8")


def _write_csv(readings: Readings, path: Path) -> None:
    as_table(readings).to_csv(path, index=False, float_format="%.4f")


def _write_parquet(readings: Readings, path: Path) -> None:
    as_table(readings).to_parquet(path, index=False, engine="pyarrow")


WRITERS: dict[str, Callable[[Readings, Path], None]] = {
    ".json": _write_json,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


def _suffix(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise SemeiaError(f"{path}: expected a name that ends in {', '.join(WRITERS)}, found {suffix or 'no suffix'!r}")
    return suffix
