"""From one score of an action unit to its intensity and its presence, so that the two never disagree.

Shapes      B images   K action units   T = 5 FACS levels
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 5  # FACS intensities A to E


class IntensityLevels(nn.Module):
    """From one score to FACS intensity and occurrence, so that the one rises with the other.

    Each unit has rising thresholds b_1 < ... < b_5 and P(intensity >= t) = sigmoid(z - b_t). The expected intensity is
    the sum over t; the unit is present when P(intensity >= 2) is at least one half. Both rise with the score, so each
    unit counts as present from one fixed intensity on. Cumulative link model; own choice.
    """

    def __init__(self, units: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.full((units,), 0.5))
        self.gaps = nn.Parameter(torch.zeros(units, LEVELS - 1))

    def forward(self, score: Tensor) -> Tensor:
        """Scores ``(B, K)`` or ``(B, K, 2)`` -> logits of P(intensity >= t), with a last axis of T levels."""
        steps = torch.cat([self.first[:, None], F.softplus(self.gaps)], 1).cumsum(1)  # (K, T)
        return score[..., None] - (steps if score.ndim == 2 else steps[:, None])

    @staticmethod
    def targets(intensity: Tensor) -> Tensor:
        """Intensity 0-5 -> P(intensity >= t): a number between two levels is shared between them."""
        levels = torch.arange(LEVELS, device=intensity.device)
        return (intensity[..., None] - levels).clamp(0, 1)


def masked_mean(each: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``each`` where ``mask``; 0 with zero gradient where nothing is labelled."""
    weight = mask.to(each.dtype)
    return (each * weight).sum() / weight.sum().clamp(min=1)


def weighted_bce(z: Tensor, target: Tensor, positive: Tensor) -> Tensor:
    """Element-wise binary cross-entropy with logits whose positive part counts ``positive`` times."""
    return F.binary_cross_entropy_with_logits(z, target, reduction="none", pos_weight=positive.expand_as(z))
