"""The face format of this library: a folder of images in tar shards with Parquet labels beside them.

    FOLDER/manifest.json              who made it and how (free JSON object, optional)
    FOLDER/shards/NAME.tar            <key>.png or <key>.jpg, and <key>.mask.png where there is a region mask
    FOLDER/shards/NAME.parquet        one row a face (columns: face_columns.py)

Both files of a shard are written under temporary names; the Parquet file appears last, so a shard counts as present
once it stands. The same samples give the same bytes: members carry no time and no owner, and tables no time.

Shapes      N faces   H, W pixels
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from semeia.data.formats.face_columns import FaceColumns, LabelledFaces, columns_of, concatenate, read_table, table
from semeia.files import whole_file, writable_folder, write_whole
from semeia.records import FaceLabels, SemeiaError

Sample = tuple[FaceLabels, bytes, bytes | None, Mapping[str, Any]]
"""Labels, image as PNG or JPEG, region mask as PNG or None, and the writer's own notes as plain JSON values."""

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MASK_SUFFIX = ".mask.png"

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write_shard(folder: str | Path, name: str, samples: Iterable[Sample]) -> None:
    """Write one shard, whole or not at all.

    Args:
        folder: The data set; made where it does not exist.
        name: Name of the shard without suffix.
        samples: Faces with keys that differ within the shard; taken one at a time.

    Raises:
        SemeiaError: A sample breaks the format, or the folder cannot be written to. What stood there stays as it was.
    """
    tar_path, labels_path = shard_paths(folder, name)
    writable_folder(tar_path.parent)
    # The labels appear last, when the block of the images has ended.
    with whole_file(labels_path) as labels_part, whole_file(tar_path) as tar_part:
        labels: list[tuple[FaceLabels, Mapping[str, Any]]] = []
        with tarfile.open(tar_part, "w", format=tarfile.GNU_FORMAT) as tar:
            for face, image, mask, extra in samples:
                _add(tar, face.key + _image_suffix(image, f"{tar_path}: image of key '{face.key}'"), image)
                if mask is not None:
                    _add(tar, face.key + MASK_SUFFIX, mask)
                labels.append((face, extra))
        try:
            rows = table(labels)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise SemeiaError(f"{labels_path}: labels that do not fit the format ({error}); correct them") from error
        columns_of(rows, labels_path)
        pq.write_table(rows, labels_part, compression="zstd", version="2.6")
        # Labels of an older shard of this name must not stand beside the new images, even for a moment.
        labels_path.unlink(missing_ok=True)


def has_shard(folder: str | Path, name: str) -> bool:
    """Whether a shard was written to its end: both files stand and the labels can be read."""
    tar_path, labels_path = shard_paths(folder, name)
    if not (tar_path.is_file() and labels_path.is_file()):
        return False
    try:
        pq.read_metadata(labels_path)
    except (OSError, pa.ArrowException):
        return False
    return True


def shard_paths(folder: str | Path, name: str) -> tuple[Path, Path]:
    """Tar and Parquet file of a shard."""
    shards = Path(folder) / "shards"
    return shards / f"{name}.tar", shards / f"{name}.parquet"


def write_manifest(folder: str | Path, manifest: Mapping[str, Any]) -> None:
    """Write ``manifest.json``, whole or not at all: keys sorted, so that equal manifests have equal bytes."""
    content = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
    write_whole(writable_folder(folder) / "manifest.json", content.encode())


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a data set.

    Raises:
        SemeiaError: There is none, or it is not a JSON object.
    """
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SemeiaError(f"{path}: not found; expected the manifest of a folder of faces") from error
    except (OSError, ValueError) as error:
        raise SemeiaError(f"{path}: expected a JSON object, found something else ({error})") from error
    if not isinstance(manifest, dict):
        raise SemeiaError(f"{path}: expected a JSON object, found {type(manifest).__name__}")
    return manifest


def _image_suffix(image: bytes, what: str) -> str:
    if image.startswith(_PNG):
        return ".png"
    if image.startswith(_JPEG):
        return ".jpg"
    raise SemeiaError(f"{what}: expected the bytes of a PNG or JPEG file, found {image[:8]!r}")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # time, user and group are 0
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


# ---------------------------------------------------------------------------------------------------------------------
# Reading


class FaceFolder(LabelledFaces):
    """Random access to all faces of a folder, in the order of shard names and rows.

    Labels are held in memory; images are read when asked for. Each read opens its tar anew, so an object may be
    pickled, forked into data workers and shared by threads.

    Args:
        folder: The data set.

    Raises:
        SemeiaError: No shard is found, or a shard breaks the format. Names the first wrong file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        shards = self.folder / "shards"
        names = sorted(path.stem for path in shards.glob("*.parquet") if not path.name.startswith("."))
        if not names:
            raise SemeiaError(f"{self.folder}: expected a folder of faces with shards/*.parquet and shards/*.tar, "
                              "found none; make one with 'semeia make faces', or name another folder")  # fmt: skip
        self.tars: list[Path] = []
        parts, places, shard_of = [], [], []
        for number, name in enumerate(names):
            tar_path, labels_path = shard_paths(self.folder, name)
            columns = columns_of(read_table(labels_path), labels_path)
            places.append(_places(tar_path, labels_path, columns.texts["key"]))
            parts.append(columns)
            shard_of.append(np.full(len(columns), number))
            self.tars.append(tar_path)
        self.columns: FaceColumns = concatenate(parts)
        self._shard = np.concatenate(shard_of)
        self._place = np.concatenate(places)  # (N, 4): start and size of the image, start and size of the mask

    def image_bytes(self, index: int) -> bytes:
        """The image of one face as it was stored, PNG or JPEG."""
        return self._read(index, *self._place[index, :2])

    def image(self, index: int) -> np.ndarray:
        """The image of one face, (H, W, 3) uint8, EXIF orientation applied.

        Raises:
            SemeiaError: The image cannot be decoded.
        """
        return self._decode(index, self.image_bytes(index), mode="RGB", what="image")

    def mask(self, index: int) -> np.ndarray | None:
        """The region mask of one face, (H, W) uint8, or None where there is none.

        Raises:
            SemeiaError: The mask cannot be decoded.
        """
        start, size = self._place[index, 2:]
        if start < 0:
            return None
        return self._decode(index, self._read(index, start, size), mode="L", what="mask")

    def _read(self, index: int, start: int, size: int) -> bytes:
        path = self.tars[self._shard[index]]
        try:
            with path.open("rb") as tar:
                tar.seek(start)
                return tar.read(size)
        except OSError as error:
            raise SemeiaError(f"{path}: cannot be read any more ({error.strerror or error})") from error

    def _decode(self, index: int, content: bytes, *, mode: str, what: str) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
                return np.array(ImageOps.exif_transpose(picture).convert(mode))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            path, key = self.tars[self._shard[index]], self.columns.texts["key"][index]
            raise SemeiaError(f"{path}: {what} of key '{key}': expected a PNG or JPEG file, found one that cannot be "
                              f"decoded ({error}); write it again or drop its row")  from error  # fmt: skip


def _places(tar_path: Path, labels_path: Path, keys: np.ndarray) -> np.ndarray:
    """(N, 4) start and size of the image and of the mask of each key in a tar; -1 where there is no mask."""
    members = _members(tar_path)
    places = np.full((len(keys), 4), -1, np.int64)
    for row, key in enumerate(keys):
        image = next((members[key + suffix] for suffix in IMAGE_SUFFIXES if key + suffix in members), None)
        if image is None:
            raise SemeiaError(f"{tar_path}: expected an image {key}.png or {key}.jpg, as {labels_path.name} names it, "
                              "found no such member; write the shard again or drop the row")  # fmt: skip
        places[row, :2] = image
        places[row, 2:] = members.get(key + MASK_SUFFIX, (-1, -1))
    return places


def _members(path: Path) -> dict[str, tuple[int, int]]:
    """Name -> start and size of each file in a tar."""
    try:
        with tarfile.open(path, "r:") as tar:
            members = {member.name: (member.offset_data, member.size) for member in tar if member.isfile()}
        end = path.stat().st_size
    except FileNotFoundError as error:
        raise SemeiaError(f"{path}: not found; expected the images of the labels in {path.stem}.parquet") from error
    except (OSError, tarfile.TarError) as error:
        raise SemeiaError(f"{path}: expected an uncompressed tar of images, found one that cannot be read ({error}); "
                          "write or copy it again") from error  # fmt: skip
    if any(start + size > end for start, size in members.values()):
        raise SemeiaError(f"{path}: expected a whole tar, found one that ends within an image; write or copy it again")
    return members
