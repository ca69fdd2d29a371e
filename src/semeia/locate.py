"""Where the faces of a data set lie: landmarks for pictures that came without, found once and kept.

    FOLDER/semeia_landmarks/00000.parquet       picture, landmarks (null: no face was found); a thousand a file

Readers crop by landmarks, and real data sets have none, or other ones than the face finder puts on a user's photo. So
their faces are cropped as they will be in use. Finding is slow and what was found is kept beside the data set; where
that may not be written to, in the cache of this library. A run that was stopped goes on with the next file.

Shapes      N faces
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semeia.data.formats.face_files import FaceFiles
from semeia.files import whole_file, writable_folder
from semeia.nn.face_finder import FaceFinder
from semeia.ops.faces import landmarks_68
from semeia.parts import home
from semeia.records import SemeiaError

BLOCK = 1000
"""Pictures whose landmarks share a file."""

POINTS = 68


def located(faces: FaceFiles, *, progress: Callable[[int, int], None] = lambda done, of: None) -> FaceFiles:
    """The faces with landmarks: those of the data set where it has them, otherwise those of the face finder.

    Of several faces in a picture the largest is meant. Pictures in which none is found are left out.

    Args:
        faces: Faces of a real data set.
        progress: Told how many pictures are done, of how many.

    Raises:
        SemeiaError: A picture cannot be decoded, no face is found in any of them, or the finder's parts cannot be had.
    """
    points = faces.columns.landmarks.copy()
    lacking = np.flatnonzero(np.isnan(points[:, 0, 0]))
    if len(lacking) == 0:
        return faces
    folder = _place(faces)
    known = _kept(folder)
    names = {int(row): str(faces.pictures[row].relative_to(faces.folder)) for row in lacking}
    to_find = {row: name for row, name in names.items() if name not in known}
    if to_find:
        known |= _searched(faces, to_find, folder, progress)
    points[lacking] = [known[name] for name in names.values()]
    sure = np.flatnonzero(~np.isnan(points[:, 0, 0]))
    if len(sure) == 0:
        raise SemeiaError(f"{faces.folder}: expected faces, found none in {len(faces):,} pictures; look at them")
    return faces.take(sure, landmarks=points[sure])


def _searched(
    faces: FaceFiles, names: Mapping[int, str], folder: Path, progress: Callable[[int, int], None]
) -> dict[str, np.ndarray]:
    """Picture -> landmarks of the pictures ``names`` (row -> picture), kept a file at a time."""
    finder, rows = FaceFinder(), list(names)
    searched: dict[str, np.ndarray] = {}
    # Numbers go on behind the last file: one that was damaged and removed leaves a gap.
    number = max((int(file.stem) for file in _files(folder)), default=-1)
    for start in range(0, len(rows), BLOCK):
        found = {}
        for done, row in enumerate(rows[start : start + BLOCK], start=start):
            progress(done, len(rows))
            found[names[row]] = _largest(finder, faces.image(row))
        number += 1
        _keep(folder / f"{number:05}.parquet", found)
        searched |= found
    progress(len(rows), len(rows))
    return searched


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.parquet"))


def _largest(finder: FaceFinder, image: np.ndarray) -> np.ndarray:
    """(68, 2) float32 points of the largest face, NaN where there is none."""
    found = finder.find(image)
    return landmarks_68(found[0].mesh).astype(np.float32) if found else np.full((POINTS, 2), np.nan, np.float32)


def _place(faces: FaceFiles) -> Path:
    """Where landmarks are kept: beside the data, or in the cache where the data may not be written to."""
    try:
        return writable_folder(faces.folder / "semeia_landmarks")
    except SemeiaError:
        name = hashlib.sha256(str(faces.folder.resolve()).encode()).hexdigest()[:16]
        return writable_folder(home() / "landmarks" / name)


def _kept(folder: Path) -> dict[str, np.ndarray]:
    """Picture -> landmarks (68, 2) that earlier runs found, NaN where there was no face."""
    known: dict[str, np.ndarray] = {}
    for file in _files(folder):
        try:
            table = pq.read_table(file)
            rows = [[np.nan] * 2 * POINTS if row is None else row for row in table.column("landmarks").to_pylist()]
            points = np.array(rows, np.float32).reshape(-1, POINTS, 2)
            known |= dict(zip(table.column("picture").to_pylist(), points, strict=True))
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise SemeiaError(f"{file}: expected landmarks that were found earlier, found a file that cannot be read "
                              f"({error}); remove it")  from error  # fmt: skip
    return known


def _keep(file: Path, found: Mapping[str, np.ndarray]) -> None:
    lists = [None if np.isnan(face[0, 0]) else face.ravel().tolist() for face in found.values()]
    table = pa.table({"picture": list(found), "landmarks": pa.array(lists, pa.list_(pa.float32()))})
    with whole_file(file) as part:
        pq.write_table(table, part)
