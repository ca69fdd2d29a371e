"""Where the subject of a photo is: masks from a folder, from a face that was found, or from what stands out.

A mask is (H, W) float32 in [0, 1] over the photo, 1 on the subject.

Shapes      H, W photo   N photos
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.cluster.vq import kmeans2

from semeia.files import whole_file
from semeia.media.images import find_images, read_image
from semeia.media.picture_grid import picture_grid
from semeia.records import Face, SemeiaError

LEAST, MOST = 0.005, 0.98
"""Parts of a photo that a subject takes."""

_SIDE = 128
"""Pixels at which saliency is judged."""


def read_masks(folder: str | Path, photos: Sequence[Path], sizes: Sequence[tuple[int, int]]) -> list[np.ndarray]:
    """Masks of a folder: pictures of the photos' names, white on the subject.

    Args:
        folder: A mask for each photo; its ending may be another.
        photos: The photos' files.
        sizes: H and W of each photo, upright. A mask may be smaller or larger but must have the photo's shape.

    Raises:
        SemeiaError: A mask is missing, has another shape, or is empty, full, grey all over or inverted.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SemeiaError(f"{folder}: expected a folder with a mask for each photo, found none")
    files = {file.stem: file for file in find_images([folder])}
    masks = []
    for photo, (height, width) in zip(photos, sizes, strict=True):
        file = files.get(photo.stem)
        if file is None:
            raise SemeiaError(f"{folder}: expected a mask named {photo.stem}.png for {photo.name}, found none")
        grey = read_image(file).mean(2)
        h, w = grey.shape
        if abs(h / w - height / width) > 0.02 * height / width:
            raise SemeiaError(f"{file}: {w} x {h} pixels, expected the shape of {photo.name}, {width} x {height}; "
                              "mind that photos are read as their EXIF orientation says")  # fmt: skip
        resized = Image.fromarray(grey.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
        mask = (np.asarray(resized) >= 127.5).astype(np.float32)
        check_mask(mask, source=str(file))
        masks.append(mask)
    return masks


def check_mask(mask: np.ndarray, *, source: str) -> None:
    """Refuse a mask that cannot be one of a subject.

    Raises:
        SemeiaError: It is empty, full, or looks inverted: most of the photo's border and little of its middle is white.
    """
    share = float(mask.mean())
    if share < LEAST:
        raise SemeiaError(f"{source}: expected white on the subject, found an empty mask ({share:.1%} white)")
    if looks_inverted(mask):
        raise SemeiaError(f"{source}: looks inverted (white along the border, black in the middle); expected white on "
                          "the subject, so turn black and white round")  # fmt: skip
    if share > MOST:
        raise SemeiaError(f"{source}: expected black beside the subject, found a mask that is white all over")


def looks_inverted(mask: np.ndarray) -> bool:
    """Whether white lies along the border and not in the middle."""
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    height, width = mask.shape
    middle = mask[height // 3 : height - height // 3, width // 3 : width - width // 3]
    return bool(edge.mean() > 0.8 and middle.mean() < 0.5)


def face_mask(face: Face, size: tuple[int, int]) -> np.ndarray:
    """The head around a face: the outline of its mesh, made wider and, for hair, much taller upwards.

    Args:
        face: Its mesh (468, 3).
        size: H and W of the photo.

    Returns:
        (H, W) float32, 0 or 1. It is a coarse outline: long hair and necks are left out.
    """
    points = face.mesh[:, :2].astype(float)
    middle = points.mean(0)
    # The mesh's own up, from chin to forehead, so that tilted heads grow along their axis.
    up = points[10] - points[152]
    length = float(np.hypot(*up)) or 1.0
    up = up / length
    side = np.array([-up[1], up[0]])
    along, across = (points - middle) @ up, (points - middle) @ side
    along = np.where(along > 0, along * 1.55, along * 1.12)
    grown = middle + np.outer(along, up) + np.outer(across * 1.3, side)
    canvas = Image.new("L", (size[1], size[0]), 0)
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in _hull(grown)], fill=255)
    return (np.asarray(canvas) > 0).astype(np.float32)


def _hull(points: np.ndarray) -> np.ndarray:
    from scipy.spatial import ConvexHull

    return points[ConvexHull(points).vertices]


def salient_mask(photo: np.ndarray, *, source: str) -> np.ndarray:
    """What stands out against the colours along the border of a photo, near its middle.

    Args:
        photo: (H, W, 3) uint8.
        source: The file, for messages.

    Returns:
        (H, W) float32, 0 or 1: one piece without holes.

    Raises:
        SemeiaError: Nothing stands out, or all of it does.
    """
    height, width = photo.shape[:2]
    small = np.asarray(Image.fromarray(photo).resize((_SIDE, _SIDE), Image.Resampling.BOX)).astype(np.float64)
    colours = _opponent(small)  # (S, S, 3)
    rim = max(2, _SIDE // 16)
    inside = np.zeros((_SIDE, _SIDE), bool)
    inside[rim:-rim, rim:-rim] = True
    border = colours[~inside]
    centres, _ = kmeans2(border, 4, minit="++", rng=np.random.default_rng(0))
    distance = np.min(np.linalg.norm(colours[:, :, None] - centres, axis=-1), axis=-1)
    distance = ndimage.gaussian_filter(distance, 2.0)
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    weighted = distance * np.exp(-(x**2 + y**2))
    # Noise and gradients of a plain photo stand out of nothing; 6 of 255 is what a JPEG may leave.
    mask = weighted > max(_otsu(weighted), 6.0)
    pieces, count = ndimage.label(mask)
    if count:
        sizes = ndimage.sum_labels(weighted, pieces, range(1, count + 1))
        mask = ndimage.binary_fill_holes(pieces == 1 + int(np.argmax(sizes)))
        mask = ndimage.binary_opening(ndimage.binary_closing(mask, iterations=2), iterations=1)
    if not 0.02 <= mask.mean() <= 0.9:
        raise SemeiaError(f"{source}: no subject stands out against the border of this photo ({mask.mean():.0%} does); "
                          "give masks as --masks FOLDER, or --masks none to learn from whole photos")  # fmt: skip
    large = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
    return (np.asarray(large) >= 128).astype(np.float32)


def _opponent(rgb: np.ndarray) -> np.ndarray:
    """Light and two colour differences; light counts half, since shadows change it most."""
    r, g, b = np.moveaxis(rgb, -1, 0)
    return np.stack([(r + g + b) / 6, r - g, (r + g) / 2 - b], -1)


def _otsu(values: np.ndarray) -> float:
    """The threshold that separates values into two groups of the least spread within."""
    counts, edges = np.histogram(values, bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = counts.sum() - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centres[int(np.nanargmax(np.nan_to_num(between)))])


def write_mask_sheet(path: str | Path, photos: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> None:
    """Show each photo beside what its mask keeps, before anything is learned from it.

    Args:
        path: A .png.
        photos: Each (S, S, 3) uint8.
        masks: Each (S, S) in [0, 1].

    Raises:
        SemeiaError: The file cannot be written.
    """
    rows = []
    for photo, mask in zip(photos, masks, strict=True):
        kept = (photo * mask[..., None] + 255 * (1 - mask[..., None])).round().astype(np.uint8)
        left = (photo * (1 - mask[..., None]) + 255 * mask[..., None]).round().astype(np.uint8)
        rows.append((photo, kept, left))
    with whole_file(path) as part:
        Image.fromarray(picture_grid(rows, ("photo", "subject", "background"))).save(part)
