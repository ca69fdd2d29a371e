"""The table of a clip: a row for each face of each frame, written in parts so that a run that was killed can go on.

While a clip is read, a hidden folder ``.NAME.parts`` stands beside the table:

    settings.json           what the parts depend on: the clip, the settings, the weights, the versions
    000000.parquet, ...     rows of a fixed number of frames each; file metadata ``semeia`` is JSON:
                            {"state": what the next part begins with, "last": whether the clip ends here}

Every file there is whole or missing. A run with the same settings goes on after the last whole part; with others it
begins anew. The finished table is made of the parts alone, so that it has the same bytes however often it was cut
short. ``docs/video.md`` describes the columns.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from semeia.files import check_writable, whole_file, writable_folder, write_whole
from semeia.media.tables import as_table
from semeia.records import FaceReading, FileReading, Readings, SemeiaError

SUFFIXES = (".csv", ".parquet")

FIRST = ("frame", "timestamp", "face_id", "success")
"""Columns before those of ``media.tables``."""

MEASURED = frozenset({*FIRST, "confidence", "face_x", "face_y", "face_w", "face_h", "width", "height", "expression"})
"""Columns that smoothing leaves as they are, but for the expression, which follows its probabilities."""

_ROWS = 16_384
"""Of a row group in Parquet, at least; and about so many rows are in memory at a time."""

_EDGE = 1_000_000
"""Bytes at either end of a clip that tell it from another."""

_PART = re.compile(r"\d{6}\.parquet")
_LEFT_OVER = re.compile(r"\.(\d{6}|settings|table)\.[0-9a-f]{8}\.part\.(parquet|json|csv)")


@dataclass(frozen=True)
class FrameReading:
    """One frame: its number from 0, its time in seconds after the first, its size, and its faces by track number."""

    frame: int
    time: float
    width: int
    height: int
    faces: Mapping[int, FaceReading] = field(default_factory=dict)


def check_clip_table(path: str | Path) -> None:
    """Make sure, before long work begins, that a table can be written to ``path``.

    Raises:
        SemeiaError: Another ending than .csv or .parquet, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise SemeiaError(
            f"{path}: expected a name for a clip's table that ends in {' or '.join(SUFFIXES)}, "
            f"found {suffix or 'no suffix'!r}"
        )
    check_writable(path)


def fingerprint(path: str | Path) -> dict[str, Any]:
    """What tells one clip from another without reading it all: its size, and a hash of its first and last megabyte."""
    path = Path(path)
    size = path.stat().st_size
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        digest.update(stream.read(_EDGE))
        stream.seek(max(size - _EDGE, 0))
        digest.update(stream.read(_EDGE))
    return {"bytes": size, "edges_sha256": digest.hexdigest()}


class ClipTable:
    """The parts of a table that is being written.

    Args:
        path: Of the finished table.
        settings: Whatever the rows depend on, as plain values.

    Attributes:
        done: How many whole parts there are.
        state: What the last of them left for the next; empty without parts.
        complete: Whether they reach the end of the clip.

    Raises:
        SemeiaError: The folder of the parts cannot be made.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.folder = writable_folder(self.path.with_name(f".{self.path.name}.parts"))
        self.done, self.complete = 0, False
        self.state: dict[str, Any] = {}
        content = json.dumps(settings, indent=2, sort_keys=True).encode()
        file = self.folder / "settings.json"
        if not file.is_file() or file.read_bytes() != content:
            self._clear()
            write_whole(file, content)
        for file in self._parts():
            about = _about(file)
            if about is None or self.complete or int(file.stem) != self.done:
                break
            self.done, self.state, self.complete = self.done + 1, about["state"], about["last"]

    def add(self, frames: Sequence[FrameReading], *, state: dict[str, Any], last: bool) -> None:
        """Write the next part.

        Args:
            frames: In their order.
            state: Plain values that the part after this one begins with.
            last: Whether the clip ends here.

        Raises:
            SemeiaError: The part cannot be written.
        """
        table = pa.Table.from_pandas(as_rows(frames), preserve_index=False)
        about = json.dumps({"state": state, "last": last}).encode()
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), b"semeia": about})
        with whole_file(self._part(self.done)) as part:
            pq.write_table(table, part)
        self.done, self.state, self.complete = self.done + 1, state, last

    def finish(self, *, smooth: float = 0.0) -> None:
        """Make the table of the parts, which stay until ``remove``.

        Args:
            smooth: Seconds of a centred moving median over the readings of each track; 0 leaves them as they are.

        Raises:
            SemeiaError: The table cannot be written.
        """
        parts = (pd.read_parquet(self._part(i)) for i in range(self.done))
        alike = _alike(parts, self._columns())
        rows = smoothed(alike, smooth) if smooth > 0 else alike
        # Made in the folder and then moved, so that a kill leaves nothing beside the table.
        whole = self.folder / f"table{self.path.suffix.lower()}"
        with whole_file(whole) as file:
            (_write_csv if whole.suffix == ".csv" else _write_parquet)(rows, file)
        try:
            whole.replace(self.path)
        except OSError as error:
            raise SemeiaError(f"{self.path}: cannot be written ({(error.strerror or str(error)).lower()})") from error

    def remove(self) -> None:
        """Remove the parts and their folder."""
        self._clear()
        with suppress(OSError):
            self.folder.rmdir()

    def _columns(self) -> pd.DataFrame:
        """An empty table with the columns of the first part that has a face: a part without any knows no labels."""
        parts = [self._part(i) for i in range(self.done)]
        about = next((file for file in parts if any(pd.read_parquet(file, columns=["success"])["success"])), parts[0])
        return pd.read_parquet(about).iloc[:0]

    def _part(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"

    def _parts(self) -> list[Path]:
        return sorted(file for file in self.folder.iterdir() if _PART.fullmatch(file.name))

    def _clear(self) -> None:
        """Remove what a run may have left, and nothing else."""
        ours = {"settings.json", "table.csv", "table.parquet"}
        for file in list(self.folder.iterdir()):
            if file.name in ours or _PART.fullmatch(file.name) or _LEFT_OVER.fullmatch(file.name):
                file.unlink(missing_ok=True)


def as_rows(frames: Sequence[FrameReading]) -> pd.DataFrame:
    """One row for each face, and one without values for each frame without any."""
    files = tuple(FileReading(str(f.frame), f.width, f.height, tuple(f.faces.values())) for f in frames)
    table = as_table(Readings(weights="", files=files))
    of_row = [(f, number) for f in frames for number in (f.faces or (None,))]
    first = {
        "frame": pd.array([f.frame for f, _ in of_row], dtype="int64"),
        "timestamp": pd.array([f.time for f, _ in of_row], dtype="float64"),
        "face_id": pd.array([number for _, number in of_row], dtype="Int64"),
        "success": pd.array([int(number is not None) for _, number in of_row], dtype="int64"),
    }
    return pd.concat([pd.DataFrame(first), table.drop(columns=["file", "face_id", "error"])], axis=1)


def read_rows(path: str | Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """Read a finished table in pieces of bounded size.

    Args:
        path: A CSV or Parquet file of this module.
        columns: Those that are wanted; those that the table lacks are left out.

    Raises:
        SemeiaError: No such table.
    """
    path = Path(path)
    wanted = None if columns is None else set(columns)
    try:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path) as file:
                names = [name for name in file.schema_arrow.names if wanted is None or name in wanted]
                for batch in file.iter_batches(batch_size=_ROWS, columns=names):
                    yield batch.to_pandas()
        else:
            usecols = None if wanted is None else lambda name: name in wanted
            with pd.read_csv(path, chunksize=_ROWS, usecols=usecols) as pieces:
                yield from pieces
    except (OSError, ValueError, pa.ArrowException) as error:
        raise SemeiaError(f"{path}: expected the table of a clip, found {error}") from error


# ---------------------------------------------------------------------------------------------------------------------
# Smoothing


def smoothed(parts: Iterable[pd.DataFrame], seconds: float) -> Iterator[pd.DataFrame]:
    """Take the moving median of the readings of each track.

    The window of a row is centred on it: as many rows before it as after it, all within ``seconds`` / 2, of the same
    track. So it is narrower at both ends of a track, and always holds an odd number of rows: a median is a value that
    was read, and an action unit counts as present exactly where most of its window does.

    Args:
        parts: Consecutive pieces of a table.
        seconds: Width of the window.
    """
    half = seconds / 2
    past: list[pd.DataFrame] = []
    held: list[pd.DataFrame] = []

    def release() -> pd.DataFrame:
        target = held.pop(0)
        around = pd.concat([*past, target, *held], ignore_index=True)
        start = sum(map(len, past))
        past[:] = [
            part for part in (*past, target) if part["timestamp"].iloc[-1] >= target["timestamp"].iloc[-1] - half
        ]
        return _median(around, half).iloc[start : start + len(target)].reset_index(drop=True)

    for part in parts:
        if len(part):
            held.append(part)
        while len(held) > 1 and held[-1]["timestamp"].iloc[-1] > held[0]["timestamp"].iloc[-1] + half:
            yield release()
    while held:
        yield release()


def _median(table: pd.DataFrame, half: float) -> pd.DataFrame:
    """Each row of a table replaced by the median of its window."""
    names = [name for name in table.columns if name not in MEASURED]
    values = table[names].to_numpy(dtype=float, na_value=np.nan)
    smooth = values.copy()
    for _, rows in table.groupby("face_id").indices.items():
        times = table["timestamp"].to_numpy()[rows]
        after = np.searchsorted(times, times + half + 1e-9, side="right") - 1 - np.arange(len(rows))
        before = np.arange(len(rows)) - np.searchsorted(times, times - half - 1e-9)
        for i, reach in enumerate(np.minimum(before, after)):
            smooth[rows[i]] = np.median(values[rows[i - reach : i + reach + 1]], axis=0)
    expressions = np.flatnonzero([name.startswith("p_") for name in names])
    smooth[:, expressions] /= smooth[:, expressions].sum(axis=1, keepdims=True)
    done = pd.DataFrame(smooth, columns=names, index=table.index).astype(table.dtypes[names].to_dict())
    out = pd.concat([table.drop(columns=names), done], axis=1)[table.columns]
    seen = np.flatnonzero(table["success"].to_numpy() == 1)
    best = smooth[np.ix_(seen, expressions)].argmax(axis=1)
    out.loc[seen, "expression"] = [names[expressions[k]].removeprefix("p_") for k in best]
    return out


# ---------------------------------------------------------------------------------------------------------------------
# Summary


@dataclass(frozen=True)
class TrackSummary:
    """One face of a clip.

    ``first`` and ``last`` are times in seconds; ``frames`` counts those it was read in; ``expression`` is the likeliest
    on average, with its mean probability; ``peaks`` and ``shares`` hold for each action unit its highest intensity and
    the part of the frames in which it is present; ``affect`` holds mean valence and arousal, where they were read.
    """

    number: int
    first: float
    last: float
    frames: int
    expression: str
    probability: float
    peaks: Mapping[str, float]
    shares: Mapping[str, float]
    affect: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TableSummary:
    """A whole table: how many frames it has, how many of them have a face, the time of the last, and its faces."""

    frames: int
    with_face: int
    seconds: float
    tracks: tuple[TrackSummary, ...]


def summarise(path: str | Path) -> TableSummary:
    """Summarise a finished table, in one pass and bounded memory.

    Raises:
        SemeiaError: No such table.
    """
    frames = with_face = 0
    last_frame, seconds = -1, 0.0
    sums: dict[int, dict[str, Any]] = {}
    for rows in read_rows(path):
        number = rows["frame"].to_numpy()
        new = np.diff(number, prepend=last_frame) != 0
        frames += int(new.sum())
        with_face += int((new & (rows["success"].to_numpy() == 1)).sum())
        last_frame, seconds = int(number[-1]), float(rows["timestamp"].iloc[-1])
        names = [name for name in rows.columns if name.startswith("p_")]
        units = [name.removesuffix("_r") for name in rows.columns if name.endswith("_r")]
        affect = [name for name in rows.columns if name in ("valence", "arousal")]
        faces = rows[rows["success"] == 1]
        of_row = faces["face_id"].to_numpy(dtype=int)
        for track in np.unique(of_row):
            seen = faces[of_row == track]
            first = float(seen["timestamp"].iloc[0])
            new_track = {"first": first, "frames": 0, "p": 0.0, "peaks": 0.0, "present": 0.0, "felt": 0.0}
            total = sums.setdefault(int(track), new_track)
            total["last"], total["names"], total["units"] = float(seen["timestamp"].iloc[-1]), names, units
            total["affect"] = affect
            total["frames"] += len(seen)
            total["p"] += seen[names].to_numpy(dtype=float).sum(axis=0)
            total["peaks"] = np.maximum(
                total["peaks"], seen[[f"{u}_r" for u in units]].to_numpy(dtype=float).max(axis=0)
            )
            total["felt"] += seen[affect].to_numpy(dtype=float).sum(axis=0)
            total["present"] += seen[[f"{u}_c" for u in units]].to_numpy(dtype=float).sum(axis=0)
    tracks = tuple(_track_summary(number, total) for number, total in sorted(sums.items()))
    return TableSummary(frames, with_face, seconds, tracks)


def _track_summary(number: int, total: dict[str, Any]) -> TrackSummary:
    best = int(total["p"].argmax())
    return TrackSummary(
        number=number,
        first=total["first"],
        last=total["last"],
        frames=total["frames"],
        expression=total["names"][best].removeprefix("p_"),
        probability=float(total["p"][best]) / total["frames"],
        peaks=dict(zip(total["units"], total["peaks"].tolist(), strict=True)),
        shares=dict(zip(total["units"], (total["present"] / total["frames"]).tolist(), strict=True)),
        affect=dict(zip(total["affect"], (total["felt"] / total["frames"]).tolist(), strict=True)),
    )


# ---------------------------------------------------------------------------------------------------------------------


def _about(part: Path) -> dict[str, Any] | None:
    """The metadata of a part; None if it is no whole part of ours."""
    try:
        content = json.loads(pq.read_metadata(part).metadata[b"semeia"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
    return content if isinstance(content, dict) and {"state", "last"} <= content.keys() else None


def _alike(parts: Iterable[pd.DataFrame], columns: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Parts with the columns of an empty table; what a part has not is missing in it."""
    for part in parts:
        yield part.reindex(columns=columns.columns).astype(columns.dtypes.to_dict())


def _write_csv(parts: Iterable[pd.DataFrame], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        for i, part in enumerate(parts):
            part.to_csv(stream, header=i == 0, index=False, float_format="%.4f", lineterminator="\n")


def _write_parquet(parts: Iterable[pd.DataFrame], path: Path) -> None:
    """Row groups are made large: small ones would hold more about their columns than rows."""
    rest = iter(parts)
    first = next(rest)
    schema = pa.Schema.from_pandas(first, preserve_index=False)
    waiting: list[pd.DataFrame] = []
    with pq.ParquetWriter(path, schema) as writer:
        for part in chain([first], rest):
            waiting.append(part)
            if sum(map(len, waiting)) >= _ROWS:
                writer.write_table(_joined(waiting, schema))
                waiting = []
        if waiting:
            writer.write_table(_joined(waiting, schema))


def _joined(parts: Sequence[pd.DataFrame], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pandas(pd.concat(parts, ignore_index=True), schema=schema, preserve_index=False)
