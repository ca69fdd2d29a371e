"""The first stage: which anchors hold a lesion, and how they must move.

Shapes      B images   P channels   A anchors of a cell   N = h * w * A anchors   M boxes   H, W image
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image, nms, remove_small_boxes

from semeia.detection.anchors import AnchorLabeller, Anchors, AnchorTargets
from semeia.detection.boxes import SMALLEST, decode, encode


class AnchorAnswers(NamedTuple):
    """What the head says of every anchor."""

    objectness: Tensor
    """(B, N) logits."""
    deltas: Tensor
    """(B, N, 4), see ``boxes.encode``."""
    anchors: Tensor
    """(N, 4)."""


def proposal_losses(
    answers: AnchorAnswers, targets: list[AnchorTargets], boxes: list[Tensor], *, beta: float
) -> tuple[Tensor, Tensor]:
    """One pair of losses an image: sum of w BCE(logit, objectness), sum of w' smooth L1(deltas, encoded box).

    Args:
        answers: Of B images.
        targets: Of each image.
        boxes: (M_i, 4) of each image.
        beta: Where smooth L1 turns from a square to a line.

    Returns:
        Two (B,) tensors in float32.
    """
    goal = torch.stack([t.objectness for t in targets])
    weight = torch.stack([t.objectness_weight for t in targets])
    each = F.binary_cross_entropy_with_logits(answers.objectness.float(), goal, reduction="none")
    moved = []
    for deltas, target, lesions in zip(answers.deltas, targets, boxes, strict=True):
        (at,) = torch.where(target.box_weight > 0)
        goal_box = encode(lesions[target.matched[at]], answers.anchors[at])
        far = F.smooth_l1_loss(deltas[at].float(), goal_box, beta=beta, reduction="none").sum(-1)
        moved.append((far * target.box_weight[at]).sum())
    return (each * weight).sum(1), torch.stack(moved)


class ProposalNetwork(nn.Module):
    """A convolution over the map, and for each anchor a score and four differences.

    Args:
        channels: P.
        hidden: Channels of the 3 x 3 convolution.
        anchors: Of the map's stride.
        labeller: See ``anchors``.
        separable: The 3 x 3 convolution as one for each channel and a 1 x 1 one.
        beta: Of smooth L1.
        before: Best anchors that enter the suppression, in training and in use.
        after: Proposals that leave it, in training and in use.
        overlap: IoU above which the weaker of two proposals is suppressed.
    """

    def __init__(
        self, channels: int, *, hidden: int, anchors: Anchors, labeller: AnchorLabeller, separable: bool, beta: float,
        before: tuple[int, int], after: tuple[int, int], overlap: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.anchors, self.labeller = anchors, labeller
        self.beta, self.before, self.after, self.overlap = beta, before, after, overlap
        if separable:
            alone = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
            self.enter: nn.Module = nn.Sequential(alone, nn.Conv2d(channels, hidden, 1))
        else:
            self.enter = nn.Conv2d(channels, hidden, 3, padding=1)
            nn.init.normal_(self.enter.weight, std=0.01)
        self.objectness = nn.Conv2d(hidden, anchors.of_a_cell, 1)
        self.deltas = nn.Conv2d(hidden, 4 * anchors.of_a_cell, 1)
        for layer in (self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, 0)  # type: ignore[arg-type]

    def forward(self, features: Tensor) -> AnchorAnswers:
        """``(B, P, h, w)`` -> what is said of all anchors."""
        x = F.relu(self.enter(features))
        objectness = self.objectness(x).permute(0, 2, 3, 1).flatten(1)  # (B, A, h, w) -> (B, N)
        deltas = (
            self.deltas(x).unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        )  # (B, A, 4, h, w) -> (B, N, 4)
        return AnchorAnswers(objectness, deltas, self.anchors(*features.shape[-2:]))

    @torch.no_grad()
    def propose(self, answers: AnchorAnswers, size: tuple[int, int]) -> list[Tensor]:
        """The best anchors of each image, moved, clipped to the image and thinned out: (n_i, 4) each, best first."""
        before, after = (self.before[0], self.after[0]) if self.training else (self.before[1], self.after[1])
        proposals = []
        for logits, deltas in zip(answers.objectness.float(), answers.deltas, strict=True):
            scores, at = logits.topk(min(before, len(logits)))
            found = clip_boxes_to_image(decode(deltas[at], answers.anchors[at]), size)
            found, scores = (x[remove_small_boxes(found, SMALLEST)] for x in (found, scores))
            proposals.append(found[nms(found, scores, self.overlap)[:after]])
        return proposals

    def losses(self, answers: AnchorAnswers, boxes: list[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Losses of objectness and of anchors' boxes, (B,) each; ``boxes`` (M_i, 4) of each image."""
        with torch.no_grad():
            targets = [self.labeller(answers.anchors, lesions, size) for lesions in boxes]
        return proposal_losses(answers, targets, boxes, beta=self.beta)
