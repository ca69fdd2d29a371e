"""What networks for action units are trained with: weighted cross-entropy, Dice, and the landmark loss of JAA-Net.

Formulas are those of JAA-Net's published code; unlabelled units count nowhere.

Shapes      B faces   N units   Q landmarks
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1.0
"""Of the Dice loss, in its numerator and its denominator. [JAA-Net]"""


def unit_weights(rates: np.ndarray) -> np.ndarray:
    """w_i = N (1 / r_i) / sum_u (1 / r_u) of positive rates (N,) in training; they average to 1.

    A rate below one in a thousand counts as one in a thousand, an unknown one (NaN) as one half.
    """
    inverse = 1 / np.nan_to_num(rates, nan=0.5).clip(1e-3, 1)
    return (len(rates) * inverse / inverse.sum()).astype(np.float32)


def weighted_cross_entropy(z: Tensor, target: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
    """(1 / N) sum_i w_i mean[-y log p - (1 - y) log(1 - p)], each mean over the faces labelled with unit i.

    Args:
        z: (B, N) logits.
        target: (B, N) 0 or 1.
        mask: (B, N) bool, what is labelled.
        weights: (N,).
    """
    each = F.binary_cross_entropy_with_logits(z, target, reduction="none") * mask
    return (weights * each.sum(0) / mask.sum(0).clamp(min=1)).mean()


def weighted_dice(z: Tensor, target: Tensor, mask: Tensor, weights: Tensor, *, published: bool = False) -> Tensor:
    """(1 / N) sum_i w_i (1 - (2 sum y p + eps) / (sum y^2 + sum p^2 + eps)), sums over the faces labelled with unit i.

    Args:
        z: (B, N) logits.
        target: (B, N) 0 or 1.
        mask: (B, N) bool, what is labelled.
        weights: (N,).
        published: As JAA-Net's code computes it: 1 - ratio / B in place of 1 - ratio, which divides the gradient by
            the number of faces.
    """
    p, y = z.sigmoid() * mask, target * mask
    ratio = (2 * (y * p).sum(0) + EPSILON) / (y.square().sum(0) + p.square().sum(0) + EPSILON)
    return (weights * (1 - ratio / (len(z) if published else 1))).mean()


def landmark_loss(points: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean of ||s' - s||^2 / (2 d^2) over the faces with landmarks, d the distance between the eye centres.

    Args:
        points: (B, 49, 2) found.
        target: (B, 49, 2) true.
        mask: (B,) bool, whose landmarks are known.
    """
    eyes = target[:, 19:25].mean(1) - target[:, 25:31].mean(1)
    square = eyes.square().sum(-1).clamp(min=1e-6)
    each = (points - target).square().sum((1, 2)) / (2 * square)
    return torch.where(mask, each, 0.0).sum() / mask.sum().clamp(min=1)
