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

from dataclasses import dataclass, replace
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


def bounding_maps(x: Tensor, y: Tensor, boxes: Tensor, profile: Profile = PLAIN) -> Tensor:
    """Maps of all boxes together, ``min(1, sum over boxes)``.

    Each map of a box is a product of what it is along x and what it is along y; so on a grid the sum over boxes is a
    product of matrices, (h, M) by (M, w). Give a grid by its axes, ``x`` (1, w) and ``y`` (h, 1) as ``cell_centres``
    makes them, and n grids as (n, 1, w) and (n, h, 1): then M (h + w) numbers are kept for each, not M h w.

    Args:
        x: Points along x, pixels; ``x`` and ``y`` are broadcast to ``...``.
        y: Points along y.
        boxes: (M, 4), x0 <= x1 and y0 <= y1; a side may be 0.
        profile: Of the fall.

    Returns:
        (3, ...) in [0, 1].
    """
    border = border_values(boxes, profile)
    across, down = _side(x, boxes[:, 0::2], border), _side(y, boxes[:, 1::2], border)
    pieces = _around_square(across, down, profile.square / 2) if profile.square else [(across, down)]
    maps = [
        torch.stack([_over_boxes(s.fall, t.one), _over_boxes(s.one, t.fall), _over_boxes(s.root, t.root)])
        for s, t in pieces
    ]
    return torch.stack(maps).sum(0).clamp(max=1)


@dataclass(frozen=True)
class _Side:
    """What boxes are along one axis, (M, ...) each."""

    far: Tensor
    """From the centre, pixels."""
    one: Tensor
    """1 inside, 0 outside."""
    fall: Tensor
    """1 at the centre, v at the border, 0 outside."""
    root: Tensor
    """Of ``fall``."""

    def where(self, part: Tensor) -> _Side:
        """0 but in a part (M, ...) of the axis."""
        return replace(self, one=self.one * part, fall=self.fall * part, root=self.root * part)

    def flat(self, part: Tensor) -> _Side:
        """Without the fall in a part (M, ...) of the axis."""
        return replace(self, fall=torch.where(part, self.one, self.fall), root=torch.where(part, self.one, self.root))


def _side(at: Tensor, edges: Tensor, border: Tensor) -> _Side:
    """Along an axis of the points ``at``, on which boxes have ``edges`` (M, 2) and the border values (M,)."""
    ones = [1] * at.dim()
    start, end, border = (each.view(-1, *ones) for each in (*edges.unbind(-1), border))  # (M, 1 ...) each
    far, half = (at - (start + end) / 2).abs(), (end - start) / 2
    # Outside it stays at the border value until it is cut, so that its root has a gradient everywhere.
    fall = 1 - (1 - border) * torch.minimum(far, half) / half.clamp(min=1)
    one = ((at >= start) & (at <= end)).to(fall.dtype)
    return _Side(far, one, fall * one, fall.sqrt() * one)


def _around_square(x: _Side, y: _Side, reach: float) -> list[tuple[_Side, _Side]]:
    """Boxes with ones where both ways to the centre are at most ``reach``, as pieces without a common point.

    Maps of a whole box are then no products, those of a piece are. Pieces of grids: the rows off the square, what is
    beside it in its rows, the square. Points need no parting.
    """
    middle_x, middle_y = x.far <= reach, y.far <= reach
    if middle_x.shape == middle_y.shape:
        middle = middle_x & middle_y
        return [(x.flat(middle), y.flat(middle))]
    return [
        (x, y.where(~middle_y)),
        (x.where(~middle_x), y.where(middle_y)),
        (x.flat(middle_x).where(middle_x), y.flat(middle_y).where(middle_y)),
    ]


def _over_boxes(x: Tensor, y: Tensor) -> Tensor:
    """Sum over boxes of x (M, ...) times y (M, ...), broadcast; of grids a product of matrices."""
    if x.shape == y.shape:
        return (x * y).sum(0)
    with torch.autocast(x.device.type, enabled=False):  # bf16 would round maps by parts of 256
        return torch.einsum("m...,m...->...", y, x)
