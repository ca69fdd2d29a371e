"""Anchors, and which of them are lesions: the slot that bounding maps fill.

An anchor labeller is a callable ``labeller(anchors, boxes, size)`` that keeps five rules:

1. ``anchors`` are (N, 4), cells row by row, the A anchors of a cell next to one another, ratios outside scales inside:
   anchor ``i`` is number ``i % A`` of its cell, and belongs to channel ``i % A`` of the proposal head.
2. ``boxes`` are (M, 4) in pixels of the network's input, M may be 0; ``size`` is H, W of the image without its padding.
3. It returns ``AnchorTargets``. ``objectness`` may be anything in [0, 1]: a hard label or the value of a map.
4. The loss is a weighted *sum* of binary cross-entropies and of smooth L1: a labeller that wants a mean divides.
   Weight 0 ignores an anchor.
5. It is called without gradients, once an image, and draws from torch's global generator where it draws at all.

Shapes      N anchors   A anchors of a cell   M boxes   H, W image
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou

from semeia.detection.boxes import inside

_TIE = 1e-6
"""Overlaps closer than this are equal, so that a mirrored image has mirrored labels in spite of rounding."""


class Anchors(nn.Module):
    """Boxes of fixed sizes around the centre of each cell.

    Args:
        scales: Square roots of areas, in pixels.
        ratios: Height over width.
        stride: Pixels from one cell to the next.
    """

    shapes: Tensor

    def __init__(self, scales: Sequence[float], ratios: Sequence[float], *, stride: int) -> None:
        super().__init__()
        self.stride, self.of_a_cell = stride, len(scales) * len(ratios)
        root = torch.tensor(ratios, dtype=torch.float32).sqrt()[:, None]  # (ratios, 1)
        scale = torch.tensor(scales, dtype=torch.float32)[None]  # (1, scales)
        half = torch.stack([scale / root, scale * root], -1).flatten(0, 1) / 2  # (A, 2): half width, half height
        self.register_buffer("shapes", torch.cat([-half, half], -1), persistent=False)

    def forward(self, height: int, width: int) -> Tensor:
        """All anchors of a map of ``height`` x ``width`` cells: (height * width * A, 4) pixels, float32."""
        here = self.shapes.device
        y = (torch.arange(height, device=here) + 0.5) * self.stride
        x = (torch.arange(width, device=here) + 0.5) * self.stride
        y, x = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([x, y, x, y], -1)[:, :, None]  # (height, width, 1, 4)
        return (centres + self.shapes).flatten(0, 2)


class AnchorTargets(NamedTuple):
    """What the anchors of one image should say."""

    objectness: Tensor
    """(N,) in [0, 1]."""
    objectness_weight: Tensor
    """(N,) not negative."""
    matched: Tensor
    """(N,) int64: the box that an anchor is regressed to; -1: none."""
    box_weight: Tensor
    """(N,) not negative; 0 where ``matched`` is -1."""


class AnchorLabeller(Protocol):
    """See the rules above."""

    def __call__(self, anchors: Tensor, boxes: Tensor, size: tuple[int, int], /) -> AnchorTargets:
        """Say what each anchor should say."""
        ...


def label_by_overlap(
    anchors: Tensor, boxes: Tensor, *, positive: float, negative: float, low_quality: float
) -> tuple[Tensor, Tensor]:
    """Label anchors by their IoU with boxes.

    An anchor is 1 from ``positive`` on, 0 below ``negative``, else -1 (not used). Then each box in turn takes the
    anchors that it overlaps most, all that tie, where that overlap is at least ``low_quality``; a later box wins.

    Args:
        anchors: (N, 4).
        boxes: (M, 4).
        positive: IoU.
        negative: IoU.
        low_quality: IoU; 1 or more: off but for exact hits.

    Returns:
        Labels (N,) int64 and the box of each positive (N,) int64, -1 elsewhere.
    """
    matched = torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
    labels = torch.zeros_like(matched)
    if len(boxes) == 0:
        return labels, matched
    overlap = box_iou(boxes, anchors)  # (M, N)
    best, box = overlap.max(0)
    labels[best >= negative] = -1
    labels[best >= positive] = 1
    matched = torch.where(labels == 1, box, matched)
    for number, most in enumerate(overlap.amax(1).tolist()):
        if most >= low_quality:
            taken = overlap[number] >= most - _TIE
            labels[taken], matched[taken] = 1, number
    return labels, matched


def draw(labels: Tensor, *, count: int, positives: float) -> Tensor:
    """Draw ``count`` of the labelled, at most a part ``positives`` of them positive; negatives fill up.

    Args:
        labels: (N,), 1, 0 or -1 (never drawn).
        count: How many; fewer where there are fewer.
        positives: Largest share of positives.

    Returns:
        Which were drawn (N,) bool.
    """
    drawn = torch.zeros_like(labels, dtype=torch.bool)
    left = count
    for label, most in ((1, int(count * positives)), (0, count)):
        (found,) = torch.where(labels == label)
        take = min(len(found), most, left)
        drawn[found[torch.randperm(len(found), device=found.device)[:take]]] = True
        left -= take
    return drawn


@dataclass(frozen=True, kw_only=True)
class OverlapLabeller:
    """The usual labeller: IoU with boxes, then a draw; anchors that cross the image's border are not used.

    Every drawn anchor weighs 1 / (number drawn), in both losses.
    """

    positive: float
    """IoU from which an anchor is a lesion."""
    negative: float
    """IoU below which an anchor is none."""
    low_quality: float
    """IoU from which the best anchor of a box is a lesion in any case."""
    count: int
    """Anchors drawn from an image."""
    positives: float
    """Largest share of positives among them."""

    def __call__(self, anchors: Tensor, boxes: Tensor, size: tuple[int, int], /) -> AnchorTargets:
        """Say what each anchor should say."""
        (within,) = torch.where(inside(anchors, size))
        labels, matched = label_by_overlap(
            anchors[within], boxes, positive=self.positive, negative=self.negative, low_quality=self.low_quality
        )
        drawn = draw(labels, count=self.count, positives=self.positives)
        weight = drawn.float() / drawn.sum().clamp(min=1)
        lesion = labels == 1
        targets = AnchorTargets(
            torch.zeros_like(anchors[:, 0]), torch.zeros_like(anchors[:, 0]),
            torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device), torch.zeros_like(anchors[:, 0]),
        )  # fmt: skip
        targets.objectness[within] = lesion.float()
        targets.objectness_weight[within] = weight
        targets.matched[within] = matched
        targets.box_weight[within] = weight * lesion
        return targets
