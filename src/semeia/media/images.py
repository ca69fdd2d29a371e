"""Pictures from a user's files, and back.

Every picture becomes (H, W, 3) uint8 RGB as a person sees it: turned as its EXIF orientation says, 16 bits brought to
8, CMYK brought to RGB (through its colour profile where it has one), transparency laid on white, the first frame of an
animation.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from semeia.files import whole_file
from semeia.records import SemeiaError

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
"""Endings, in lower case, of the files that ``find_images`` takes from a folder."""

MAX_PIXELS = 120_000_000
"""Largest picture that is read by default: a photo of 108 megapixels fits and takes 324 MB as an array."""

_FORMATS = ("JPEG", "PNG", "WEBP")

_KINDS = {
    b"\xff\xd8": "a truncated or damaged JPEG",
    b"\x89PNG": "a truncated or damaged PNG",
    b"RIFF": "a truncated or damaged WebP, or an audio or video file",
    b"GIF8": "a GIF",
    b"BM": "a BMP picture",
    b"II*\0": "a TIFF picture",
    b"MM\0*": "a TIFF picture",
    b"%PDF": "a PDF document",
    b"PK\3\4": "a ZIP archive",
    b"\x1aE\xdf\xa3": "a Matroska or WebM video",
}
"""First bytes of files that people take for a picture we read, and what those files are."""

_BRANDS = {
    b"heic": "an HEIC picture",
    b"heix": "an HEIC picture",
    b"mif1": "an HEIF picture",
    b"avif": "an AVIF picture",
}

_WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 95},
    ".jpeg": {"quality": 95},
    ".png": {},
    ".webp": {"quality": 95},
}


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Reads a JPEG, PNG or WebP picture.

    Args:
        path: The file; its first bytes decide what it is, not its name.
        max_pixels: A picture that its header says is larger is refused before anything is decoded. Beyond about 178
            million Pillow refuses in any case.

    Returns:
        (H, W, 3) uint8, RGB, upright.

    Raises:
        SemeiaError: The file is missing, unreadable, empty, something else, too large, truncated or damaged.
    """
    path = Path(path)
    with _opened(path) as stream:
        return _decoded(stream, path, max_pixels)


def decode_image(content: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """As ``read_image``, of the bytes of a picture that stands in another file; errors begin with ``name``.

    Raises:
        SemeiaError: They are none, something else, too large a picture, truncated or damaged.
    """
    if not content:
        raise SemeiaError(f"{name}: expected the bytes of a picture, found none")
    return _decoded(io.BytesIO(content), name, max_pixels)


def _decoded(stream: BinaryIO, path: str | Path, max_pixels: int) -> np.ndarray:
    with _headed(stream, path, max_pixels=max_pixels) as picture:
        try:
            picture.load()
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            width, height = picture.size
            raise SemeiaError(
                f"{path}: truncated or damaged, its {width} x {height} pixels cannot all be read ({error}); "
                "copy or download it again"
            ) from error
        return np.array(_to_rgb(_upright(picture)))


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Lists the picture files that a user means.

    Args:
        paths: Files, taken as they are even if missing or oddly named, and folders, walked with their subfolders.

    Returns:
        Files in the order given; those of a folder sorted, without hidden ones.

    Raises:
        SemeiaError: There is nothing to read at all.
    """
    places = [Path(path) for path in paths]
    found: list[Path] = []
    for path in places:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [Path(folder) / name for folder, _, names in os.walk(path) for name in names]
        found += sorted(
            file
            for file in inside
            if file.suffix.lower() in SUFFIXES and not any(p.startswith(".") for p in file.relative_to(path).parts)
        )
    if not found:
        where = ", ".join(map(str, places)) or "no paths"
        raise SemeiaError(f"{where}: expected JPEG, PNG or WebP pictures ({', '.join(sorted(SUFFIXES))}), found none")
    return found


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Writes a picture, whole or not at all.

    Args:
        path: The file; its ending (.jpg, .jpeg, .png, .webp) chooses the format. An existing file is replaced.
        image: (H, W, 3) uint8, RGB.

    Raises:
        SemeiaError: The ending is another one or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _WRITE_OPTIONS:
        raise SemeiaError(f"{path}: expected a name that ends in {', '.join(_WRITE_OPTIONS)}")
    with whole_file(path) as part:
        Image.fromarray(image).save(part, **_WRITE_OPTIONS[path.suffix.lower()])


def _opened(path: Path) -> BinaryIO:
    """Opens a file that holds something."""
    try:
        if path.is_dir():
            raise SemeiaError(f"{path}: expected a picture, found a folder")
        if not path.exists():
            raise SemeiaError(f"{path}: expected a picture, found no such file")
        if not path.is_file():
            raise SemeiaError(f"{path}: expected a picture, found a device or a pipe")
        if path.stat().st_size == 0:
            raise SemeiaError(f"{path}: expected a picture, found an empty file (0 bytes)")
        return path.open("rb")
    except OSError as error:
        raise SemeiaError(f"{path}: cannot be read ({error.strerror or error})") from error


def _headed(stream: BinaryIO, path: str | Path, *, max_pixels: int) -> Image.Image:
    """Reads the header of a picture and refuses what is no picture or too large a one."""
    with warnings.catch_warnings():
        # Pillow warns of large pictures, which the cap below refuses, and of damage beside the pixels.
        warnings.simplefilter("ignore")
        try:
            picture = Image.open(stream, formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise SemeiaError(f"{path}: expected a JPEG, PNG or WebP picture, found {_kind(stream)}") from error
        except Image.DecompressionBombError as error:
            # Pillow tells the number in its words alone: "Image size (900000000 pixels) exceeds limit of ...".
            number = re.search(r"\d+", str(error))
            size = f"{int(number[0]):,}" if number else "far more"
            raise SemeiaError(f"{path}: expected at most {max_pixels:,} pixels, found {size}; shrink it") from error
        except (OSError, SyntaxError, ValueError) as error:
            raise SemeiaError(f"{path}: damaged, its header cannot be read ({error})") from error
    width, height = picture.size
    if width * height > max_pixels:
        found = f"{width} x {height} = {width * height:,}"
        raise SemeiaError(f"{path}: expected at most {max_pixels:,} pixels, found {found}; shrink it")
    return picture


def _kind(stream: BinaryIO) -> str:
    """What a file that is no readable picture seems to be."""
    stream.seek(0)
    head = stream.read(12)
    for start, kind in _KINDS.items():
        if head.startswith(start):
            return kind
    # Boxes of ISO media files: their size, "ftyp", and a brand.
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "a video")
    return "something else"


def _upright(picture: Image.Image) -> Image.Image:
    """Turns a picture as its EXIF orientation says; a damaged EXIF block says nothing."""
    with warnings.catch_warnings(), suppress(OSError, SyntaxError, ValueError, KeyError, TypeError):
        warnings.simplefilter("ignore")
        return ImageOps.exif_transpose(picture)
    return picture


def _to_rgb(picture: Image.Image) -> Image.Image:
    """Brings any mode that the three formats have to RGB."""
    if picture.mode.startswith("I"):
        # 65,535 becomes 255; Pillow would clip at 255.
        return Image.fromarray(np.round(np.asarray(picture, dtype=np.float32) / 257).astype(np.uint8)).convert("RGB")
    if picture.mode == "CMYK":
        return _cmyk_to_rgb(picture)
    if picture.has_transparency_data:
        on_white = Image.new("RGBA", picture.size, "white")
        on_white.alpha_composite(picture.convert("RGBA"))
        return on_white.convert("RGB")
    return picture.convert("RGB")


def _cmyk_to_rgb(picture: Image.Image) -> Image.Image:
    """Through the colour profile of the file, as its maker saw it; without a usable one, ink takes light away."""
    with suppress(ImageCms.PyCMSError, OSError, KeyError):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
        converted = ImageCms.profileToProfile(picture, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        if converted is not None:
            return converted
    return picture.convert("RGB")
