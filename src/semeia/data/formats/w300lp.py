"""300W-LP and AFLW2000-3D: faces with head pose and landmarks, a MATLAB file beside each picture.

    FOLDER/AFW/AFW_134212_1_0.jpg, .mat         300W-LP: AFW, HELEN, IBUG, LFPW and the same with _Flip; split "train"
    FOLDER/image00002.jpg, .mat                 AFLW2000-3D: all in one folder; split "test"
    FOLDER/semeia_labels.parquet                the labels of all .mat files, kept by ``read`` where it may write

A .mat (version 5) holds ``Pose_Para`` (1, 7): pitch, yaw, roll in radians, shift in x, y, z, scale; and ``pt2d``
(2, 68) in 300W-LP or ``pt3d_68`` (3, 68) in AFLW2000-3D: x and y in pixels, the centre of the first pixel at (1, 1).
Opening one costs about 0.2 ms where it is in memory and a seek where it is on a slow disk, 122,450 times; hence the
kept labels, which count as long as names, sizes and times of the .mat files are the same.

Angles: a head point V (x right, y up, z to the viewer) is drawn at ``scale * R V + shift``, y turned over, with
R = X(-pitch) Y(-yaw) Z(-roll), where X, Y, Z turn counter-clockwise about their axes. So positive pitch looks up,
positive yaw turns to the left of the picture, positive roll moves the top of the head to the right of the picture.
``records.Pose`` takes the first two alike and roll the other way round, and turns in another order: its rotation is
R = Z(roll) Y(-yaw) X(-pitch), so that turning the picture adds to roll. Where a head turns about several axes, equal
rotations therefore have different angles: with stored pitch and roll spread by 12 and 10 degrees, pitch and roll differ
by 6 and 7 degrees on average from 30 to 45 degrees of yaw, and by 45 and 48 from 75 to 90. ``read`` converts rotations
and keeps the stored degrees as ``extra``. Published errors are taken between stored angles; ``angles_of``
brings truth and answer there.

Known   Fields, folders, radians, the 99 degree rule, R and the drawing rule agree in several public code bases
        (Hopenet, 6DRepNet, face3d, demonstration code in MATLAB). No file of the data sets was at hand. That landmarks
        count pixels from 1 rests on MATLAB's habit and on y being turned over as height + 1 - y in that code.
        ``landmarks/`` and the parameters of shape, expression, texture and light are not read. Who a person is, is not
        recorded: ``identity`` names the source photo and face of all renderings in 300W-LP, so that they stay together.

Shapes      N faces
"""

from __future__ import annotations

import hashlib
import math
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from semeia.data.formats.face_files import PICTURES, FaceFiles, picture_bytes
from semeia.files import whole_file, writable_folder, write_whole
from semeia.records import FaceLabels, Pose, SemeiaError

SUBSETS = ("AFW", "AFW_Flip", "HELEN", "HELEN_Flip", "IBUG", "IBUG_Flip", "LFPW", "LFPW_Flip")
"""The folders of 300W-LP."""

LIMIT = 99.0
"""Largest stored angle in degrees that published tests count."""

POINTS = 68
CACHE = "semeia_labels.parquet"

_LARGEST = 32 << 20  # bytes of a .mat; those of the data sets hold some thousand numbers
_FARTHEST = 1_000_000  # no coordinate and no angle goes so far
_RENDERING = re.compile(r"(.+)_\d+")

_VARIABLES = ("Pose_Para", "pt2d", "pt3d_68")
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_REAL_CLASSES = range(6, 16)
_COMPLEX = 0x0800


class PoseFiles(FaceFiles):
    """Faces in picture files; ``dropped`` others were left out because an angle exceeded the limit."""

    dropped: int = 0


# ---------------------------------------------------------------------------------------------------------------------
# Angles


def pose_of(angles: np.ndarray) -> np.ndarray:
    """Angles of ``records.Pose`` for stored angles: the same rotation.

    Of the two triples that give one rotation the one nearer to the stored angles is taken, so that yaw may pass 90
    degrees. At 90 degrees sharp, where only a sum of pitch and roll is fixed, pitch is kept.

    Args:
        angles: (N, 3) pitch, yaw, roll in degrees, as in ``Pose_Para``.

    Returns:
        (N, 3) yaw, pitch, roll in degrees.
    """
    pitch, yaw, roll = np.radians(angles).T
    rotation = _turn(0, -pitch) @ _turn(1, -yaw) @ _turn(2, -roll)  # (N, 3, 3), head to camera
    near = np.stack([-pitch, -yaw, -roll], 1)
    about_y = np.arcsin(np.clip(-rotation[:, 2, 0], -1, 1))
    about_x = np.arctan2(rotation[:, 2, 1], rotation[:, 2, 2])
    about_x = np.where(np.cos(about_y) < _LOCKED, near[:, 0], about_x)
    rest = rotation @ _turn(0, -about_x) @ _turn(1, -about_y)
    about_z = np.arctan2(rest[:, 1, 0], rest[:, 0, 0])
    x, y, z = _nearer(np.stack([about_x, about_y, about_z], 1), near).T
    return np.degrees(np.stack([-y, -x, z], 1))


def angles_of(poses: np.ndarray) -> np.ndarray:
    """Stored angles for angles of ``records.Pose``: the inverse of ``pose_of``.

    Args:
        poses: (N, 3) yaw, pitch, roll in degrees.

    Returns:
        (N, 3) pitch, yaw, roll in degrees, as in ``Pose_Para``.
    """
    yaw, pitch, roll = np.radians(poses).T
    rotation = _turn(2, roll) @ _turn(1, -yaw) @ _turn(0, -pitch)
    near = np.stack([-pitch, -yaw, roll], 1)
    about_y = np.arcsin(np.clip(rotation[:, 0, 2], -1, 1))
    about_x = np.arctan2(-rotation[:, 1, 2], rotation[:, 2, 2])
    about_x = np.where(np.cos(about_y) < _LOCKED, near[:, 0], about_x)
    rest = _turn(1, -about_y) @ _turn(0, -about_x) @ rotation
    about_z = np.arctan2(rest[:, 1, 0], rest[:, 0, 0])
    return -np.degrees(_nearer(np.stack([about_x, about_y, about_z], 1), near))


_LOCKED = 1e-7
"""Cosine of yaw below which pitch and roll turn about one axis, as far as double precision can tell."""


def _turn(axis: int, angle: np.ndarray) -> np.ndarray:
    """(N, 3, 3) rotations by ``angle`` (N,) counter-clockwise about an axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1
    matrix[:, first, first] = matrix[:, second, second] = np.cos(angle)
    matrix[:, second, first] = np.sin(angle)
    matrix[:, first, second] = -np.sin(angle)
    return matrix


def _nearer(turns: np.ndarray, near: np.ndarray) -> np.ndarray:
    """(N, 3) ``turns`` about x, y, z, or the other triple of the same rotation where that is nearer to ``near``."""
    other = turns * [1, -1, 1] + np.pi
    options = [(turn + np.pi) % (2 * np.pi) - np.pi for turn in (turns, other)]
    apart = [np.abs((turn - near + np.pi) % (2 * np.pi) - np.pi).sum(1) for turn in options]
    return np.where((apart[0] <= apart[1])[:, None], options[0], options[1])


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(
    folder: str | Path,
    *,
    limit: float | None = LIMIT,
    cache: bool = True,
) -> PoseFiles:
    """The faces of 300W-LP or of AFLW2000-3D, in the order of their names.

    Args:
        folder: The folder that holds AFW, HELEN ..., or the pictures of AFLW2000-3D.
        limit: Faces with a stored angle beyond so many degrees are left out and counted in ``dropped``; None keeps all.
        cache: Keep the labels in the folder for the next time. A folder that may not be written to is no error.

    Raises:
        SemeiaError: A picture or a .mat is missing, or a .mat is damaged or lacks a field.
    """
    root = Path(folder)
    files = _pairs(root)
    angles, points = _labels(root, files, cache=cache)
    kept = np.full(len(files), True) if limit is None else (np.abs(angles) <= limit).all(1)
    if not kept.any():
        raise SemeiaError(f"{root}: expected Pose_Para in radians, within {limit:g} degrees, found nothing such in "
                          f"{len(files):,} files; convert degrees, or read with limit=None")  # fmt: skip
    # A millionth of a degree hides what a rotation there and back costs in double precision.
    rounded = pose_of(angles).round(6) + 0.0
    names = list(files)
    rows = [
        (_face(names[i], rounded[i], points[i]), files[names[i]], {"stored_angles": angles[i].round(6).tolist()})
        for i in np.flatnonzero(kept)
    ]
    faces = PoseFiles(root, root, rows)
    faces.dropped = int((~kept).sum())
    return faces


def _face(name: str, pose: np.ndarray, points: np.ndarray) -> FaceLabels:
    subset, _, stem = name.rpartition("/")
    rendering = _RENDERING.fullmatch(stem) if subset else None
    return FaceLabels(
        key=name,
        identity=rendering[1] if rendering else None,
        split="train" if subset else "test",
        pose=Pose(*(float(angle) for angle in pose)),
        landmarks=points,
    )


def _pairs(root: Path) -> dict[str, Path]:
    """Name (place and file name without ending) -> picture, sorted by name; each has a .mat beside it."""
    if not root.is_dir():
        raise SemeiaError(f"{root}: not found; expected the folder of 300W-LP or AFLW2000-3D")
    subsets = [name for name in SUBSETS if (root / name).is_dir()]
    pictures: dict[str, Path] = {}
    labels: set[str] = set()
    for place in subsets or [""]:
        for path in sorted((root / place).iterdir(), key=str):
            name = f"{place}/{path.stem}" if place else path.stem
            if path.name.startswith("."):
                continue
            if path.suffix.lower() in PICTURES:
                pictures[name] = path
            elif path.suffix == ".mat":
                labels.add(name)
    if not pictures:
        raise SemeiaError(f"{root}: expected pictures in {', '.join(SUBSETS[::2])} (300W-LP) or in the folder itself "
                          "(AFLW2000-3D), found none; name the folder that holds them")  # fmt: skip
    for name in sorted(pictures.keys() ^ labels):
        missing, beside = (".mat", "picture") if name in pictures else (".jpg", ".mat")
        raise SemeiaError(f"{root / name}{missing}: not found; expected one beside the {beside} of this name; unpack "
                          "the folder again, or take the other file away")  # fmt: skip
    return {name: pictures[name] for name in sorted(pictures)}


def _labels(root: Path, files: dict[str, Path], *, cache: bool) -> tuple[np.ndarray, np.ndarray]:
    """Stored angles (N, 3) in degrees and landmarks (N, 68, 2) in pixels, from what was kept or from the .mat files."""
    paths = [picture.with_suffix(".mat") for picture in files.values()]
    state = hashlib.sha256()
    for name, path in zip(files, paths, strict=True):
        status = path.stat()
        state.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    kept = _kept(root / CACHE, state.hexdigest(), len(files)) if cache else None
    if kept is not None:
        return kept
    read_all = [_read_mat(path) for path in paths]
    angles, points = (np.stack(values) for values in zip(*read_all, strict=True))
    if cache:
        _keep(root / CACHE, state.hexdigest(), angles=angles, points=points)
    return angles, points


def _read_mat(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Angles (3,) in degrees and landmarks (68, 2) in pixels of one file."""
    size = path.stat().st_size
    if size > _LARGEST:
        raise SemeiaError(f"{path}: expected a .mat of at most {_LARGEST >> 20} MB, found {size >> 20:,} MB; copy the "
                          "file of this data set there")  # fmt: skip
    try:
        variables = _variables(path.read_bytes())
    except (OSError, ValueError, zlib.error) as error:
        raise SemeiaError(f"{path}: expected a MATLAB file of version 5, found one that cannot be read ({error}); copy "
                          "it again, or save it with '-v7' in MATLAB") from error  # fmt: skip
    name = "pt3d_68" if "pt3d_68" in variables else "pt2d"
    shapes: dict[str, set[tuple[int, ...]]] = {
        "Pose_Para": {(1, 7), (7, 1)},
        name: {(3 if name == "pt3d_68" else 2, POINTS)},
    }
    for variable, fine in shapes.items():
        found = variables.get(variable)
        if found is None or found.shape not in fine:
            shape = "none" if found is None else f"shape {found.shape}"
            raise SemeiaError(f"{path}: expected Pose_Para (1, 7) and pt2d (2, {POINTS}) or pt3d_68 (3, {POINTS}), "
                              f"found {shape} of {variable}; copy the file again")  # fmt: skip
        if not (np.abs(found) < _FARTHEST).all():
            raise SemeiaError(f"{path}: expected numbers below {_FARTHEST:,} in {variable}, found "
                              f"{found[~(np.abs(found) < _FARTHEST)][0]:g}; take the pair away")  # fmt: skip
    # MATLAB puts the centre of the first pixel at (1, 1), this library at (0.5, 0.5).
    return np.degrees(variables["Pose_Para"].ravel()[:3]), variables[name][:2].T - 0.5


def _kept(path: Path, state: str, size: int) -> tuple[np.ndarray, np.ndarray] | None:
    """What an earlier read kept, or None where there is nothing, or nothing that still holds."""
    try:
        table = pq.read_table(path)
        if (table.schema.metadata or {}).get(b"files") != state.encode():
            return None
        angles, points = (table.column(name).combine_chunks().flatten().to_numpy() for name in ("angles", "points"))
        return angles.reshape(size, 3), points.reshape(size, POINTS, 2)
    except (OSError, KeyError, ValueError, AttributeError, pa.ArrowException):
        return None


def _keep(path: Path, state: str, *, angles: np.ndarray, points: np.ndarray) -> None:
    columns = {"angles": _lists(angles), "points": _lists(points.reshape(len(points), -1))}
    table = pa.table(columns).replace_schema_metadata({"files": state})
    try:
        with whole_file(path) as part:
            pq.write_table(table, part, compression="zstd")
    except SemeiaError:
        return  # a data set on a read-only disk is read anew each time


def _lists(rows: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


# ---------------------------------------------------------------------------------------------------------------------
# MATLAB files of version 5
#
# scipy reads and writes them too, but damaged bytes can end the process there (a bus error in 1.17.1), and its files
# hold the time.


def _variables(content: bytes) -> dict[str, np.ndarray]:
    """The variables of ``_VARIABLES`` that a file holds, as float64.

    Raises:
        ValueError, zlib.error: The file is damaged, of another version, or a variable is no array of real numbers.
    """
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("no header")
    version = content[125 if order == "<" else 124]
    if version != 1:
        raise ValueError("version 7.3, which is HDF5" if version == 2 else f"version {version}")
    found: dict[str, np.ndarray] = {}
    room = _LARGEST
    for kind, data in _elements(memoryview(content)[128:], order):
        if kind == _COMPRESSED:
            inflating = zlib.decompressobj()
            inflated = inflating.decompress(data, room)
            room -= len(inflated)
            if not inflating.eof or room <= 0:
                raise ValueError("compressed data end too early or grow too large")
            found |= dict(_matrix(part, order) for k, part in _elements(memoryview(inflated), order) if k == _MATRIX)
        elif kind == _MATRIX:
            found |= dict([_matrix(data, order)])
    return {name: found[name] for name in _VARIABLES if name in found}


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Kind and content of each element."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("it ends within a tag")
        kind, size = struct.unpack_from(order + "II", data, at)
        small = kind >> 16  # up to four bytes stand in the tag itself
        start, size = (at + 4, small) if small else (at + 8, size)
        if start + size > len(data) or small > 4:
            raise ValueError("it ends within an element")
        kind &= 0xFFFF
        yield kind, data[start : start + size]
        at = at + 8 if small else start + size + (0 if kind == _COMPRESSED else -size % 8)


def _matrix(data: memoryview, order: str) -> tuple[str, np.ndarray]:
    """Name and content of a matrix; nothing of those that are not asked for."""
    parts = list(_elements(data, order))
    if len(parts) < 3:
        raise ValueError("a matrix lacks its name")
    (_, flags), (_, dimensions), (_, letters) = parts[:3]
    name = bytes(letters).decode("latin-1")
    if name not in _VARIABLES:
        return name, np.empty(0)
    if len(flags) != 8:
        raise ValueError(f"{name} lacks its kind")
    flag = int(np.frombuffer(flags, f"{order}u4")[0])
    shape = tuple(int(n) for n in np.frombuffer(dimensions, f"{order}i4"))
    if (flag & 0xFF) not in _REAL_CLASSES or flag & _COMPLEX or len(parts) != 4 or parts[3][0] not in _TYPES:
        raise ValueError(f"{name} is no array of real numbers")
    values = np.frombuffer(parts[3][1], order + _TYPES[parts[3][0]]).astype(np.float64)
    if min(shape, default=-1) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"{name} has {len(values)} numbers for the shape {shape}")
    return name, values.reshape(shape, order="F")


def _mat(variables: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of a file: the same variables give the same bytes."""
    content = b"MATLAB 5.0 MAT-file, semeia".ljust(116) + bytes(8) + b"\x00\x01IM"
    for name, values in variables.items():
        flags, shape = struct.pack("<II", 6, 0), struct.pack(f"<{values.ndim}i", *values.shape)
        numbers = values.astype("<f8").tobytes("F")
        parts = ((6, flags), (5, shape), (1, name.encode()), (9, numbers))
        content += _element(_MATRIX, b"".join(_element(kind, data) for kind, data in parts))
    return content


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    """Write faces in this layout: pictures as JPEG, each .mat after its picture.

    A key names the place: ``AFW/AFW_1_1_0`` goes to 300W-LP, ``image00001`` to AFLW2000-3D. Split and identity follow
    from it when read; shift and scale of ``Pose_Para`` are written as 0 and 1, and other labels are left out.

    Args:
        folder: The data set; made where it does not exist.
        samples: Labels and pictures (H, W, 3) uint8; taken one at a time.

    Raises:
        SemeiaError: A sample has no pose or no landmarks, its key fits no place, or the folder cannot be written to.
    """
    root = writable_folder(folder)
    written: set[str] = set()
    for labels, image in samples:
        subset = _place(labels.key, written)
        written.add(labels.key)
        content = _label_file(labels, flat=not subset)
        picture = picture_bytes(image, ".jpg", what=f"{root}: key '{labels.key}'")
        place = writable_folder(root / subset)
        stem = labels.key.rpartition("/")[2]
        write_whole(place / f"{stem}.jpg", picture)
        write_whole(place / f"{stem}.mat", content)


def _place(key: str, written: set[str]) -> str:
    """The subset of a key, "" for AFLW2000-3D."""
    subset, _, stem = key.rpartition("/")
    if (subset and subset not in SUBSETS) or not re.fullmatch(r"[\w.-]*\w", stem):
        raise SemeiaError(f"300W-LP: expected a key such as 'AFW/AFW_1_1_0' or 'image00001', found '{key}'; its folder "
                          f"is one of {', '.join(SUBSETS)}")  # fmt: skip
    if key in written:
        raise SemeiaError(f"300W-LP: expected keys that differ, found '{key}' twice; rename one")
    if written and bool(subset) is not ("/" in next(iter(written))):
        raise SemeiaError(f"300W-LP: expected keys of one data set, found '{key}' beside others; write 300W-LP and "
                          "AFLW2000-3D into two folders")  # fmt: skip
    return subset


def _label_file(labels: FaceLabels, *, flat: bool) -> bytes:
    """The bytes of the .mat of a face."""
    pose, points = labels.pose, labels.landmarks
    if pose is None or not np.isfinite([pose.yaw, pose.pitch, pose.roll]).all():
        raise SemeiaError(f"300W-LP: key '{labels.key}': expected a pose with three angles, found {pose}; leave it out")
    if points is None or points.shape != (POINTS, 2) or not (np.abs(points) < _FARTHEST).all():
        found = "none" if points is None else f"shape {points.shape} or numbers that are no place in a picture"
        raise SemeiaError(f"300W-LP: key '{labels.key}': expected landmarks ({POINTS}, 2), found {found}; leave it out")
    angles = np.radians(angles_of(np.array([[pose.yaw, pose.pitch, pose.roll]])))
    place = points.astype(np.float64).T + 0.5
    return _mat({
        "Pose_Para": np.concatenate([angles, [[0, 0, 0, 1]]], 1),
        **({"pt3d_68": np.concatenate([place, np.zeros((1, POINTS))])} if flat else {"pt2d": place}),
    })  # fmt: skip
