"""Points of a face: views of the mesh, similarity alignment, and crops.

Pixel coordinates are continuous: (0, 0) is the top left corner of the picture and the centre of its first pixel is
(0.5, 0.5), as in Pillow and unlike OpenCV. "Left" and "right" name sides of the *picture* here, because these are
functions on pictures; the subject's right eye is the left one of the picture and comes first.

A (2, 3) matrix maps picture points to crop points: ``crop = matrix[:, :2] @ point + matrix[:, 2]``.

Shapes      P points   M = 468 mesh points   H, W picture height, width
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image

SIXTY_EIGHT = np.array(
    [
        127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,  # 0-16 jaw
        70, 63, 105, 66, 107, 336, 296, 334, 293, 300,  # 17-26 brows, upper edge
        168, 197, 5, 1,  # 27-30 bridge of the nose to its tip
        98, 97, 2, 326, 327,  # 31-35 below the nose
        33, 160, 158, 133, 153, 144,  # 36-41 left eye of the picture
        362, 385, 387, 263, 373, 380,  # 42-47 right eye of the picture
        61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,  # 48-59 outer lips
        78, 82, 13, 312, 308, 317, 14, 87,  # 60-67 inner lips
    ]
)  # fmt: skip
"""Mesh point that stands nearest to each of the 68 iBUG points (300-W mark-up), in their order."""

LEFT_EYE = slice(36, 42)
"""The eye on the left of the picture, in iBUG order."""

RIGHT_EYE = slice(42, 48)
"""The eye on the right of the picture, in iBUG order."""

NOSE_TIP = 30
MOUTH_CORNERS = (48, 54)

FLIP_68 = np.array(
    [
        *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
        45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
        *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65,
    ]
)  # fmt: skip
"""``points[FLIP_68]`` puts the points of a mirrored picture back into iBUG order; its own inverse."""

TEMPLATE = np.array(
    [
        [0.275, 0.180],  # left eye of the picture
        [0.725, 0.180],  # right eye
        [0.500, 0.480],  # nose tip
        [0.320, 0.670],  # left mouth corner
        [0.680, 0.670],  # right mouth corner
    ]
)
"""Where the five points of a frontal face lie in a crop of side 1 without margin.

Adult proportions in units of the distance between the eye centres (about 63 mm): the upper edge of the brows is 0.4
above the eyes, the mouth 1.09 below and the chin 1.82 below, so that 0.45 of the side between the eyes makes the crop
reach from the brows (y = 0) to the chin (y = 1) and about from cheek to cheek.
"""


def landmarks_68(mesh: np.ndarray) -> np.ndarray:
    """The 68 iBUG points of a face mesh.

    Jaw points are points of the surface, not of the outline: on a turned head the far ones lie inside the outline.

    Args:
        mesh: (..., 468, 2 or 3), MediaPipe face-mesh order.

    Returns:
        (..., 68, 2), in the unit of ``mesh``.
    """
    return mesh[..., SIXTY_EIGHT, :2]


def five_from_68(landmarks: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip and mouth corners of 68 iBUG points; the left one of the picture first.

    Args:
        landmarks: (..., 68, 2).

    Returns:
        (..., 5, 2).
    """
    eyes = [landmarks[..., eye, :].mean(axis=-2) for eye in (LEFT_EYE, RIGHT_EYE)]
    return np.stack([*eyes, landmarks[..., NOSE_TIP, :], *(landmarks[..., i, :] for i in MOUTH_CORNERS)], axis=-2)


def landmarks_5(mesh: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip and mouth corners of a mesh (..., 468, 2 or 3), as (..., 5, 2)."""
    return five_from_68(landmarks_68(mesh))


def flip_68(landmarks: np.ndarray, width: float) -> np.ndarray:
    """The 68 points of the mirrored picture, in iBUG order again.

    Args:
        landmarks: (..., 68, 2) in pixels.
        width: Width of the picture in pixels.

    Returns:
        (..., 68, 2); applying it twice gives the argument back.
    """
    flipped = landmarks[..., FLIP_68, :].copy()
    flipped[..., 0] = width - flipped[..., 0]
    return flipped


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Maps points (..., 2) by a (2, 3) matrix, as (..., 2)."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that undoes a (2, 3) matrix."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift that bring points closest to others in the least-squares sense.

    Solves min over s, R, t of sum ||s R x + t - y||^2 without reflection (Umeyama, 1991). In the plane s R is the
    complex number sum(conj(x) y) / sum(|x|^2) of the centred points.

    Args:
        source: (P, 2), at least two different points.
        target: (P, 2).

    Returns:
        (2, 3) matrix from ``source`` to ``target``.

    Raises:
        ValueError: All source points coincide, so that no scale exists.
    """
    x, y = source - source.mean(axis=0), target - target.mean(axis=0)
    spread = float((x * x).sum())
    if spread == 0.0:
        raise ValueError("a similarity needs at least two different source points")
    real = float((x * y).sum()) / spread
    imaginary = float((x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]).sum()) / spread
    linear = np.array([[real, -imaginary], [imaginary, real]])
    return np.column_stack([linear, target.mean(axis=0) - linear @ source.mean(axis=0)])


def _eyes_and_mouth(points: np.ndarray) -> np.ndarray:
    """Left eye, right eye and mouth centre (3, 2) of 5 or 68 points.

    The nose is left out because it swings with yaw, and only the mouth's centre is used because a smile widens it:
    neither may change the crop that yaw and smile are read from.
    """
    five = five_from_68(points) if len(points) == 68 else points
    return np.stack([five[0], five[1], (five[3] + five[4]) / 2])


def aligned_matrix(points: np.ndarray, size: int, *, margin: float = 0.0) -> np.ndarray:
    """The similarity that puts eyes and mouth on ``TEMPLATE``; roll is removed.

    The least-squares scale rests on the width between the eyes and the height from eyes to mouth together, so it
    overshoots by only about 4 % at 30 degrees of yaw and 13 % at 60.

    Args:
        points: (5, 2) or (68, 2) in pixels.
        size: Side of the crop in pixels.
        margin: Room added at each side, as a fraction of the side that spans brows to chin; 0.25 makes the crop
            half as large again.

    Returns:
        (2, 3) matrix from the picture to the crop.
    """
    target = (_eyes_and_mouth(TEMPLATE) + margin) * (size / (1 + 2 * margin))
    return similarity(_eyes_and_mouth(points), target)


def upright_matrix(points: np.ndarray, size: int, *, margin: float = 0.0) -> np.ndarray:
    """The crop of ``aligned_matrix`` with the same centre and scale but without rotation, where roll is read.

    Args:
        points: (5, 2) or (68, 2) in pixels.
        size: Side of the crop in pixels.
        margin: As in ``aligned_matrix``.

    Returns:
        (2, 3) matrix from the picture to the crop: scale and shift only.
    """
    aligned = aligned_matrix(points, size, margin=margin)
    scale = math.hypot(aligned[0, 0], aligned[1, 0])
    middle = np.full(2, size / 2)
    centre = transform_points(invert(aligned), middle)
    return np.column_stack([scale * np.eye(2), middle - scale * centre])


def crop(image: np.ndarray, matrix: np.ndarray, *, size: int, fill: Literal["edge", "black"] = "edge") -> np.ndarray:
    """Warps a picture into a square crop without aliasing.

    Where the crop is smaller than the picture, whole blocks of pixels are averaged first and the rest is sampled
    twice as densely as needed and averaged again, so that no pixel of the picture is skipped.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3), from the picture to the crop; a similarity (rotation, one scale, shift).
        size: Side of the crop in pixels.
        fill: What stands outside the picture: its edge pixels repeated, or black.

    Returns:
        (size, size, 3) uint8.
    """
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    block = max(1, int(1 / scale))
    dense = 1 if scale * block >= 1 else 2

    back = invert(matrix)
    corners = transform_points(back, np.array([[0, 0], [size, 0], [0, size], [size, size]], dtype=float))
    height, width = image.shape[:2]
    # Two sampling neighbours beyond the crop on each side, in pixels of the reduced picture; and at least one pixel of
    # the picture, so that a crop beyond it still has an edge to repeat.
    low = np.minimum(np.floor(corners.min(axis=0)).astype(int) - 2 * block, [width - 1, height - 1])
    high = np.maximum(np.ceil(corners.max(axis=0)).astype(int) + 2 * block, 1)
    reduced = Image.fromarray(_region(image, low=low, high=high, fill=fill)).reduce(block)

    back[:, 2] -= low
    back /= block
    back[:, :2] /= dense
    side = size * dense
    warped = reduced.transform((side, side), Image.Transform.AFFINE, tuple(back.ravel()), Image.Resampling.BILINEAR)
    return np.asarray(warped.reduce(dense))


def _region(image: np.ndarray, *, low: np.ndarray, high: np.ndarray, fill: Literal["edge", "black"]) -> np.ndarray:
    """The rectangle from ``low`` (x, y) up to ``high`` of a picture, filled where it reaches outside."""
    height, width = image.shape[:2]
    inside = image[max(low[1], 0) : high[1], max(low[0], 0) : high[0]]
    left, top = np.maximum(-low, 0)
    right, bottom = np.maximum(high - [width, height], 0)
    room = np.array([(top, bottom), (left, right), (0, 0)])
    return np.pad(inside, room, mode="edge") if fill == "edge" else np.pad(inside, room, mode="constant")
