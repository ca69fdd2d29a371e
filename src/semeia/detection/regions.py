"""The second stage: what a proposal is, and its box; and the slot for further branches on the same regions.

A region branch is a module that keeps four rules:

1. ``forward(features, regions, size)`` is called in training alone and returns a loss for each image, (B,).
2. ``features`` is the map (B, P, h, w) at stride 4, ``regions`` says which regions were drawn and what they are,
   ``size`` is H, W of the images without padding.
3. An image without a region that the branch can use has a loss of 0, by a sum over none of them.
4. Losses are means over regions, not sums: an image with more lesions does not weigh more.

Shapes      B images   P channels   R regions of all images   n_i regions of image i   M_i lesions of image i
            k side of a region in cells   H, W image
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_iou, clip_boxes_to_image, nms, remove_small_boxes, roi_align

from semeia.detection.anchors import draw
from semeia.detection.boxes import SMALLEST, decode, encode


class Regions(NamedTuple):
    """Regions that were drawn for training, and the truth of their images."""

    boxes: list[Tensor]
    """(n_i, 4) pixels of each image."""
    matched: list[Tensor]
    """(n_i,) int64: which of the image's lesions each region is; -1: none."""
    lesions: list[Tensor]
    """(M_i, 4) of each image."""
    masks: list[Tensor] | None
    """(M_i, H, W) bool of each image, where masks are known."""

    @property
    def image(self) -> Tensor:
        """Number of the image that each of all R regions lies in, (R,) int64."""
        counts = torch.tensor([len(b) for b in self.boxes], device=self.boxes[0].device)
        return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)

    def of_lesions(self) -> Regions:
        """The regions that are lesions."""
        kept = [m >= 0 for m in self.matched]
        boxes = [b[k] for b, k in zip(self.boxes, kept, strict=True)]
        return self._replace(boxes=boxes, matched=[m[k] for m, k in zip(self.matched, kept, strict=True)])


@torch.no_grad()
def draw_regions(
    proposals: list[Tensor], boxes: list[Tensor], masks: list[Tensor] | None, *, overlap: float, count: int,
    positives: float,
) -> Regions:  # fmt: skip
    """Draw regions to learn from: lesions themselves join the proposals; IoU from ``overlap`` on is that lesion.

    Args:
        proposals: (n, 4) of each image.
        boxes: (M_i, 4) of each image.
        masks: (M_i, H, W) of each image, or None.
        overlap: IoU.
        count: Regions of an image.
        positives: Largest share of lesions among them.
    """
    drawn, matches = [], []
    for found, lesions in zip(proposals, boxes, strict=True):
        regions = torch.cat([lesions, found])
        matched = torch.full((len(regions),), -1, dtype=torch.int64, device=regions.device)
        if len(lesions):
            best, which = box_iou(regions, lesions).max(1)
            matched = torch.where(best >= overlap, which, matched)
        at = draw((matched >= 0).long(), count=count, positives=positives)
        drawn.append(regions[at])
        matches.append(matched[at])
    return Regions(drawn, matches, boxes, masks)


def mean_by_image(values: Tensor, image: Tensor, counts: Tensor) -> Tensor:
    """Sum of ``values`` (R,) over each image, divided by ``counts`` (B,), or by 1 where that is 0: (B,)."""
    sums = values.new_zeros(len(counts)).index_add(0, image, values)
    return sums / counts.clamp(min=1)


def region_losses(
    logits: Tensor, deltas: Tensor, regions: Regions, *, std: tuple[float, ...], beta: float
) -> tuple[Tensor, Tensor]:
    """One pair of losses an image: mean cross-entropy, and sum of smooth L1 over lesions, divided by all regions.

    Args:
        logits: (R, 2), no lesion and lesion.
        deltas: (R, 4), see ``boxes.encode``.
        regions: The R regions.
        std: Of the targets.
        beta: Where smooth L1 turns from a square to a line.

    Returns:
        Two (B,) tensors in float32.
    """
    image, matched = regions.image, torch.cat(regions.matched)
    counts = torch.tensor([len(b) for b in regions.boxes], device=logits.device)
    each = F.cross_entropy(logits.float(), (matched >= 0).long(), reduction="none")
    lesion = matched >= 0
    seen = regions.of_lesions()
    truth = torch.cat([lesions[m] for lesions, m in zip(seen.lesions, seen.matched, strict=True)])
    goal = encode(truth, torch.cat(seen.boxes), std)
    far = F.smooth_l1_loss(deltas[lesion].float(), goal, beta=beta, reduction="none").sum(-1)
    return mean_by_image(each, image, counts), mean_by_image(far, image[lesion], counts)


class RegionHead(nn.Module):
    """RoIAlign, two linear layers, and for each region a class and a box.

    Args:
        channels: P.
        stride: Of the map.
        size: k.
        sampling: Points along a side of a cell at which the map is read.
        hidden: Width of both layers.
        std: Of the targets of boxes.
        beta: Of smooth L1.
        overlap: IoU from which a region is a lesion, in training.
        count: Regions drawn from an image, in training.
        positives: Largest share of lesions among them.
        score: Least score of an answer.
        suppress: IoU above which the weaker of two answers is suppressed.
        most: Answers of an image.
    """

    def __init__(
        self, channels: int, *, stride: int, size: int, sampling: int, hidden: int, std: tuple[float, ...], beta: float,
        overlap: float, count: int, positives: float, score: float, suppress: float, most: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stride, self.size, self.sampling, self.std, self.beta = stride, size, sampling, std, beta
        self.overlap, self.count, self.positives = overlap, count, positives
        self.score, self.suppress, self.most = score, suppress, most
        self.first = nn.Linear(channels * size * size, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.classify = nn.Linear(hidden, 2)
        self.move = nn.Linear(hidden, 4)
        nn.init.normal_(self.classify.weight, std=0.01)
        nn.init.normal_(self.move.weight, std=0.001)
        for layer in (self.classify, self.move):
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, boxes: list[Tensor]) -> tuple[Tensor, Tensor]:
        """``(B, P, h, w)`` and boxes (n_i, 4) of each image -> logits (R, 2) and deltas (R, 4)."""
        x = roi_align(
            features, boxes, self.size, 1 / self.stride, sampling_ratio=self.sampling, aligned=True
        )  # (R, P, k, k)
        x = F.relu(self.second(F.relu(self.first(x.flatten(1)))))
        return self.classify(x), self.move(x)

    def draw(self, proposals: list[Tensor], boxes: list[Tensor], masks: list[Tensor] | None) -> Regions:
        """Regions to learn from, see ``draw_regions``."""
        return draw_regions(proposals, boxes, masks, overlap=self.overlap, count=self.count, positives=self.positives)

    def losses(self, features: Tensor, regions: Regions) -> tuple[Tensor, Tensor]:
        """Losses of classes and of boxes, (B,) each."""
        logits, deltas = self(features, regions.boxes)
        return region_losses(logits, deltas, regions, std=self.std, beta=self.beta)

    def probabilities(self, features: Tensor, boxes: list[Tensor]) -> list[Tensor]:
        """Probability that each box (n_i, 4) holds a lesion, (n_i,) of each image, with gradients."""
        logits, _ = self(features, boxes)
        return list(logits.float().softmax(-1)[:, 1].split([len(b) for b in boxes]))

    @torch.no_grad()
    def detect(self, features: Tensor, proposals: list[Tensor], size: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
        """Boxes (n, 4) inside the image and scores (n,) of each image, best first."""
        logits, deltas = self(features, proposals)
        counts = [len(p) for p in proposals]
        scores = logits.float().softmax(-1)[:, 1].split(counts)
        found = []
        for score, delta, proposal in zip(scores, deltas.split(counts), proposals, strict=True):
            boxes = clip_boxes_to_image(decode(delta, proposal, self.std), size)
            kept = remove_small_boxes(boxes, SMALLEST)
            kept = kept[score[kept] > self.score]
            boxes, likely = boxes[kept], score[kept]
            best = nms(boxes, likely, self.suppress)[: self.most]
            found.append((boxes[best], likely[best]))
        return found
