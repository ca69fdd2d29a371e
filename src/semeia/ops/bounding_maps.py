"""Bounding maps: boxes as pictures that are 1 at a box's centre, fall towards its border, and are 0 outside.

Of a box x0, y0, x1, y1 with the centre cx, cy and the border value v:

    BM_x  = 1 - (1 - v) |x - cx| / max((x1 - x0) / 2, 1)    inside the box, its edges included; 0 outside
    BM_y  = the same along y
    BM_xy = sqrt(BM_x BM_y)

The 1 below the line is a pixel: a side of less than two does not fall more steeply than one of two. Maps of several
boxes are formed box by box, then added, then cut at 1: BM_xy is not the root of the added maps.

v = 0.5 is the bounding map of 2020; in the adaptive map of 2021 (ABM) v depends on the area of the box.

Points are pixels of the picture that boxes are measured in: the centre of its first pixel is (0.5, 0.5). Gradients flow
to boxes and points; not through the step at the border, nor through the choice of v.

Source: Li et al. 2020, arXiv 2007.09383, and 2021, arXiv 2103.12277, as far as the authors' code shows them.

Shapes      M boxes   K = 3 maps: x, y, xy   h, w cells   ... points of any shape
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

MapName = Literal["x", "y", "xy"]
MAPS: tuple[MapName, ...] = ("x", "y", "xy")
"""Names of the three maps, in their order."""

AREAS = (200.0, 1000.0)
"""Square pixels of an image of 512 that part small, middling and large boxes. [authors' code]"""

SQUARE = 14.0
"""Side of the square of ones of ``v2``, in pixels of an image of 512. [authors' code]"""

Variant = Literal["bm", "v1", "v1 live", "v2"]
"""How the border value depends on the area, see ``profile``."""


@dataclass(frozen=True)
class Profile:
    """How a map falls from its centre to its border."""

    borders: tuple[float, ...] = (0.5,)
    """v of boxes by area, from the smallest on; above 0, one more than ``areas``."""
    areas: tuple[float, ...] = ()
    """Square pixels, rising; a box of exactly such an area belongs to the larger ones."""
    square: float = 0.0
    """Side of a square around the centre in which all maps are 1, pixels; the box cuts it."""


PLAIN = Profile()
"""The bounding map of 2020."""


def profile(variant: Variant, *, areas: tuple[float, float] = AREAS, scale: float = 1.0) -> Profile:
    """The profiles of the authors' code.

    ``bm``       0.5 for all
    ``v1``       1 for small boxes, 0.5 for middling, 0.3 for large ones
    ``v1 live``  1 for small boxes, 0.5 for all others
    ``v2``       as ``v1 live``, and a square of ones around the centre

    Args:
        variant: Which.
        areas: Square pixels at scale 1.
        scale: Side of the image over 512, or over whatever ``areas`` are measured in.
    """
    small, large = (area * scale**2 for area in areas)
    return {
        "bm": PLAIN,
        "v1": Profile((1.0, 0.5, 0.3), (small, large)),
        "v1 live": Profile((1.0, 0.5), (small,)),
        "v2": Profile((1.0, 0.5), (small,), SQUARE * scale),
    }[variant]


def cell_centres(
    height: int, width: int, *, stride: float = 1, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Centres of the cells of a map as ``x`` (1, width) and ``y`` (height, 1), in pixels; stride 1: of pixels."""
    y = (torch.arange(height, device=device) + 0.5) * stride
    x = (torch.arange(width, device=device) + 0.5) * stride
    return x[None], y[:, None]


def border_values(boxes: Tensor, profile: Profile = PLAIN) -> Tensor:
    """The border value v of each box: (M, 4) -> (M,)."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1).detach()
    place = torch.bucketize(area, area.new_tensor(profile.areas), right=True)
    return area.new_tensor(profile.borders)[place]


def maps_of_each(x: Tensor, y: Tensor, boxes: Tensor, profile: Profile = PLAIN) -> Tensor:
    """Maps of each box alone.

    Args:
        x: Points along x, pixels; ``x`` and ``y`` are broadcast to ``...``.
        y: Points along y.
        boxes: (M, 4), x0 <= x1 and y0 <= y1; a side may be 0.
        profile: Of the fall.

    Returns:
        (M, 3, ...) in [0, 1].
    """
    ones = [1] * len(torch.broadcast_shapes(x.shape, y.shape))
    x0, y0, x1, y1 = (edge.view(len(boxes), *ones) for edge in boxes.unbind(-1))  # (M, 1 ...) each
    border = border_values(boxes, profile).view(len(boxes), *ones)
    from_x, from_y = (x - (x0 + x1) / 2).abs(), (y - (y0 + y1) / 2).abs()
    inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    central = (from_x <= profile.square / 2) & (from_y <= profile.square / 2)
    along_x = torch.where(central, 1, _fall(from_x, (x1 - x0) / 2, border))
    along_y = torch.where(central, 1, _fall(from_y, (y1 - y0) / 2, border))
    maps = torch.stack([along_x, along_y, (along_x * along_y).sqrt()], 1)  # (M, 3, ...)
    return maps * inside[:, None]


def bounding_maps(x: Tensor, y: Tensor, boxes: Tensor, profile: Profile = PLAIN) -> Tensor:
    """Maps of all boxes together, ``min(1, sum over boxes)``: (3, ...); arguments as of ``maps_of_each``."""
    return maps_of_each(x, y, boxes, profile).sum(0).clamp(max=1)


def _fall(far: Tensor, half: Tensor, border: Tensor) -> Tensor:
    """From 1 to ``border`` over half a side. Beyond it stays there, so that a root of it has a gradient everywhere."""
    return 1 - (1 - border) * torch.minimum(far, half) / half.clamp(min=1)
