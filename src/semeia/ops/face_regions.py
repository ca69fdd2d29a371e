"""Where each action unit shows: centres of its regions from landmarks, and maps and windows around them.

Every unit has a region on each side of the face. Sides are the subject's own and come in the order left, right; the
subject's left is on the right of the picture. Coordinates are parts of the side of the crop: (0, 0) is its top left
corner, (1, 1) its bottom right one.

The rules are those of JAA-Net's published code (PyTorch-JAANet, network.py): two landmarks, moved down or up by a part
of r, the distance between the inner corners of the eyes (its horizontal part in that code). Where these landmarks lie
on the midline, or where JAA-Net has no rule, the rule is our own and says so.

Shapes      B faces   N units   Q = 49 landmarks   G cells along a side of a map   w cells along a side of a window
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from semeia.ops.faces import FLIP_68

FORTY_NINE = np.array([*range(17, 60), 61, 62, 63, 65, 66, 67])
"""The 49 points of JAA-Net among the 68 of iBUG: no jaw, no inner corners of the mouth."""

FLIP_49 = np.searchsorted(FORTY_NINE, FLIP_68[FORTY_NINE])
"""``points[FLIP_49]`` puts the points of a mirrored picture back into order; its own inverse."""

INNER_CORNERS = np.searchsorted(FORTY_NINE, [39, 42])
"""Inner corners of the eyes among the 49, the left one of the picture first."""

REACH = 0.07
"""Half the side of a region, as a part of the crop. [JAA-Net: 0.14 of the map]"""

SPREAD = REACH / 1.5
"""Standard deviation of a region's map; at half the side of JAA-Net's region it has fallen to a third. [own]"""


class Rule(NamedTuple):
    """The centre of a region: the mean of landmarks (iBUG, as seen in the picture), moved down by a part of r."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    down: float
    source: str


JAA, OWN = "JAA-Net", "own"

RULES = {
    "AU01": Rule((22,), (21,), -1 / 2, JAA),
    "AU02": Rule((25,), (18,), -1 / 3, JAA),
    "AU04": Rule((24,), (19,), 1 / 3, JAA),
    "AU05": Rule((43, 44), (37, 38), 0.0, OWN),
    "AU06": Rule((46,), (41,), 1.0, JAA),
    "AU07": Rule((43,), (38,), 0.0, JAA),
    "AU09": Rule((34,), (32,), -1 / 2, JAA),
    "AU10": Rule((63,), (61,), 0.0, JAA),
    "AU12": Rule((54,), (48,), 0.0, JAA),
    "AU14": Rule((54,), (48,), 0.0, JAA),
    "AU15": Rule((54,), (48,), 0.0, JAA),
    "AU17": Rule((56,), (58,), 1 / 2, JAA),
    "AU20": Rule((54,), (48,), 0.0, OWN),
    "AU23": Rule((52, 56), (50, 58), 0.0, "own; JAA-Net has 51 and 57, on the midline"),
    "AU24": Rule((52, 56), (50, 58), 0.0, "own; JAA-Net has 51 and 57, on the midline"),
    "AU25": Rule((52, 56), (50, 58), 0.0, "own; JAA-Net has 51 and 57, on the midline"),
    "AU26": Rule((56,), (58,), 1 / 2, JAA),
    "AU27": Rule((56,), (58,), 1 / 2, OWN),
    "AU43": Rule((43, 44, 46, 47), (37, 38, 40, 41), 0.0, OWN),
}
"""Rule of each unit that has one."""


def unit_centres(points: Tensor, units: Sequence[str]) -> Tensor:
    """Centres of the regions of units.

    Args:
        points: (B, 49, 2).
        units: N names; each must have a rule.

    Returns:
        (B, N, 2, 2): unit, side (the subject's left, right), x and y.
    """
    choose = torch.zeros(len(units), 2, len(FORTY_NINE))
    for i, unit in enumerate(units):
        for side, landmarks in enumerate((RULES[unit].left, RULES[unit].right)):
            choose[i, side, np.searchsorted(FORTY_NINE, landmarks)] = 1 / len(landmarks)
    down = torch.tensor([[0.0, RULES[unit].down] for unit in units], device=points.device)  # (N, 2)
    placed = torch.einsum("nsq,bqx->bnsx", choose.to(points), points)
    return placed + (down[:, None] * eye_distance(points)[:, None, None, None]).to(points)


def eye_distance(points: Tensor) -> Tensor:
    """r, the distance between the inner corners of the eyes: (B, 49, 2) -> (B,)."""
    first, second = INNER_CORNERS
    return (points[:, first] - points[:, second]).norm(dim=-1)


def region_maps(centres: Tensor, spreads: Tensor, *, cells: int) -> Tensor:
    """A Gaussian around each centre on a grid of cells, 1 at the centre.

    Args:
        centres: (B, N, 2, 2) x and y.
        spreads: (B, N, 2, 2) standard deviations along x and y.
        cells: G.

    Returns:
        (B, N, 2, G, G), rows before columns.
    """
    at = (torch.arange(cells, device=centres.device, dtype=centres.dtype) + 0.5) / cells  # centres of cells
    along = torch.exp(-0.5 * ((at - centres[..., None]) / spreads[..., None]) ** 2)  # (B, N, 2, 2, G)
    x, y = along.unbind(-2)
    return y[..., :, None] * x[..., None, :]


def window_points(centres: Tensor, spreads: Tensor, *, cells: int, reach: float) -> Tensor:
    """Where the cells of a window around each centre lie in the crop.

    Windows of the subject's left are mirrored, so that both sides are seen alike: the nose on the same hand.

    Args:
        centres: (B, N, 2, 2) x and y.
        spreads: (B, N, 2, 2) standard deviations along x and y.
        cells: w.
        reach: Half the side of a window in standard deviations.

    Returns:
        (B, N, 2, w, w, 2) x and y of the middle of each cell.
    """
    step = window_steps(cells, reach).to(centres)
    across = torch.stack([-step, step])  # (2, w): the subject's left, right
    x = centres[..., 0, None] + spreads[..., 0, None] * across  # (B, N, 2, w)
    y = centres[..., 1, None] + spreads[..., 1, None] * step
    x, y = torch.broadcast_tensors(x[..., None, :], y[..., :, None])
    return torch.stack([x, y], -1)


def window_steps(cells: int, reach: float) -> Tensor:
    """(w,) middles of the cells along a side of a window, in standard deviations from its centre."""
    return (2 * (torch.arange(cells) + 0.5) / cells - 1) * reach


def window_map(cells: int, reach: float) -> Tensor:
    """The Gaussian of a region as its window sees it, (w, w): the same for every centre and spread."""
    along = torch.exp(-0.5 * window_steps(cells, reach) ** 2)
    return along[:, None] * along
