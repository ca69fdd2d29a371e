"""Slices of CT scans as grey PNG files, one a slice, numbered: how DeepLesion keeps them.

    IMAGES/000001_02_03/088.png     16 bits, pixel = HU + 32768

Shapes      n slices   H, W pixels
"""

from __future__ import annotations

import io
import re
import shutil
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from semeia.files import writable_folder, write_whole
from semeia.records import SemeiaError

SIGN = np.uint16(0x8000)
"""Flipping the highest bit of int16 adds 32768, and takes it away again."""


@dataclass(frozen=True)
class Series:
    """The slices of a series that exist. ``numbers`` (n,) rise; ``size`` is W, H."""

    folder: Path
    numbers: np.ndarray = field(compare=False, repr=False)
    size: tuple[int, int]

    @property
    def name(self) -> str:
        """Such as ``000001_02_03``."""
        return self.folder.name

    def path(self, number: int) -> Path:
        """Where a slice lies."""
        return self.folder / f"{number:03d}.png"

    def read(self, number: int) -> np.ndarray:
        """A slice (H, W), int16 HU.

        Raises:
            SemeiaError: It is missing, damaged, no 16-bit PNG, or of another size than the table says.
        """
        pixels = grey_pixels(self.path(number), self.size, bits=16)
        return (pixels.astype(np.uint16, copy=False) ^ SIGN).view(np.int16)


def slice_numbers(folder: Path) -> np.ndarray:
    """(n,) numbers of the slices of a folder, rising; none where it does not exist."""
    names = folder.iterdir() if folder.is_dir() else ()
    return np.array(sorted(int(path.stem) for path in names if re.fullmatch(r"\d{3,4}\.png", path.name)), np.int64)


def grey_pixels(path: Path, size: tuple[int, int], *, bits: Literal[8, 16]) -> np.ndarray:
    """A grey PNG (H, W) of a size W, H.

    Raises:
        SemeiaError: It is missing, damaged, of another depth or of another size.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("PNG",)) as picture:
                if picture.size != size:
                    raise SemeiaError(f"{path}: expected {size[0]} x {size[1]} pixels, as the table says, found "
                                      f"{picture.size[0]} x {picture.size[1]}; copy it again")  # fmt: skip
                # Older versions of Pillow call 16 bits "I".
                if not (picture.mode.startswith("I") if bits == 16 else picture.mode == "L"):
                    raise SemeiaError(f"{path}: expected a grey PNG of {bits} bits, found mode {picture.mode!r}; write "
                                      f"it with {bits} bits")  # fmt: skip
                return np.array(picture)
    except FileNotFoundError as error:
        raise SemeiaError(f"{path}: not found; expected a slice; copy it again") from error
    except (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    ) as error:
        raise SemeiaError(
            f"{path}: expected a PNG, found one that cannot be decoded ({error}); copy it again"
        ) from error


def write_run(images: Path, name: str, pixels: np.ndarray, *, first: int) -> None:
    """Write a run of slices: all or none of them, where the series has no slices yet.

    A second run of a series is added slice by slice, each whole; slices of the same number are replaced.

    Args:
        images: Folder of images; made where it does not exist.
        name: Of the series.
        pixels: (n, H, W) uint8 or uint16.
        first: Number of the first slice; the others follow.

    Raises:
        SemeiaError: The folder cannot be written to.
    """
    if first < 0:
        raise SemeiaError(f"DeepLesion: {name}: expected a first slice from 0, found {first}; correct it")
    place = writable_folder(images) / name
    staged = images / f".{name}.part"
    shutil.rmtree(staged, ignore_errors=True)
    writable_folder(staged)
    try:
        for number, image in enumerate(pixels, start=first):
            write_whole(staged / f"{number:03d}.png", _png(image))
        if place.exists():
            for path in sorted(staged.iterdir()):
                path.replace(place / path.name)
        else:
            staged.replace(place)
    except OSError as error:
        raise SemeiaError(f"{place}: cannot be written ({error.strerror or error}); name another folder") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _png(image: np.ndarray) -> bytes:
    """An image (H, W) uint8 or uint16; run lengths alone compress noise as well as a search for matches, and faster."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return stream.getvalue()
