"""Boxes that a network regresses, and which of a sample's boxes it can learn from.

A box is x0, y0, x1, y1 in pixels, outer edges: a box over the one pixel at row 3, column 5 is 5, 3, 6, 4.

Shapes      N boxes   H, W rows and columns of an image
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from semeia.records import SemeiaError

SMALLEST = 1.0
"""Pixels; a box with a shorter side is neither learned nor proposed. [default: one pixel of the network's input]"""

LARGEST_GROWTH = math.log(1000 / 16)
"""Limit of a side's predicted logarithm, so that exp stays finite. [default: torchvision's]"""

UNIT = (1.0, 1.0, 1.0, 1.0)
"""Deviations of proposals' targets. [code]"""


def encode(boxes: Tensor, references: Tensor, std: tuple[float, ...] = UNIT) -> Tensor:
    """How ``boxes`` differ from ``references``: (dx / w, dy / h, ln w'/w, ln h'/h) / std.

    Args:
        boxes: (N, 4).
        references: (N, 4) anchors or proposals with positive sides w, h.
        std: What each of the four is divided by.

    Returns:
        (N, 4).
    """
    centre, side = _centre_and_side(boxes)
    from_centre, from_side = _centre_and_side(references)
    deltas = torch.cat([(centre - from_centre) / from_side, (side / from_side).log()], -1)
    return deltas / deltas.new_tensor(std)


def decode(deltas: Tensor, references: Tensor, std: tuple[float, ...] = UNIT) -> Tensor:
    """Inverse of ``encode``, in float32; a side grows by at most ``exp(LARGEST_GROWTH)``. Shapes (..., 4)."""
    deltas = deltas.float() * deltas.new_tensor(std, dtype=torch.float32)
    centre, side = _centre_and_side(references)
    centre = centre + deltas[..., :2] * side
    half = side * deltas[..., 2:].clamp(max=LARGEST_GROWTH).exp() / 2
    return torch.cat([centre - half, centre + half], -1)


def _centre_and_side(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Which of ``boxes`` (N, 4) do not cross the border of an image of ``size`` H, W: (N,) bool."""
    height, width = size
    limit = boxes.new_tensor([width, height])
    return (boxes[:, :2] >= 0).all(-1) & (boxes[:, 2:] <= limit).all(-1)


def learnable(boxes: Tensor, size: tuple[int, int], *, sample: int) -> tuple[Tensor, Tensor]:
    """Boxes clipped to the image, without those of which less than ``SMALLEST`` in width or height is left.

    Args:
        boxes: (N, 4), of any length, none included.
        size: H, W.
        sample: Number that an error names.

    Returns:
        Boxes (M, 4) in float32, and which were kept (N,) bool.

    Raises:
        SemeiaError: A number that is not finite, or edges in the wrong order: a fault of the reader, not of the lesion.
    """
    boxes = boxes.reshape(-1, 4).float()
    bad = ~boxes.isfinite().all(-1) | (boxes[:, 2:] < boxes[:, :2]).any(-1)
    if bad.any():
        found = [round(v, 2) for v in boxes[bad][0].tolist()]
        raise SemeiaError(f"boxes of sample {sample}: expected finite x0 <= x1 and y0 <= y1, found {found}")
    clipped = clip_boxes_to_image(boxes, size)
    kept = (clipped[:, 2:] - clipped[:, :2] >= SMALLEST).all(-1)
    return clipped[kept], kept
