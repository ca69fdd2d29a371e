"""Losses of affect: concordance of regressed numbers, and agreement of several classifiers.

Shapes      B images   D numbers   N classifiers   C classes
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semeia.nn.intensity import masked_mean

EPSILON = 1e-4
"""Added to the denominator of the CCC, so that constants have one. [the authors' code]"""

LEAST = 1e-4
"""Least probability whose logarithm is taken. [the authors' code]"""


def ccc_loss(answer: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Sum over D of 1 - CCC within a batch: 0 for equal, 1 for constant, 2 for opposite answers.

    CCC = 2 cov / (var + var + (difference of means)^2), in moments over the labelled images, divided by their number.
    Numbers with fewer than two labelled images cost nothing.

    Args:
        answer: (B, D).
        truth: (B, D), anything where not labelled.
        mask: (B, D) bool.
    """
    losses = []
    for said, true, known in zip(answer.T, truth.T, mask.T, strict=True):
        said_mean, true_mean = masked_mean(said, known), masked_mean(true, known)
        x, y = said - said_mean, true - true_mean
        together = masked_mean(x * y, known)
        apart = masked_mean(x * x, known) + masked_mean(y * y, known) + (said_mean - true_mean).square()
        loss = 1 - 2 * together / (apart + EPSILON)
        losses.append(torch.where(known.sum() > 1, loss, 0 * together))
    return torch.stack(losses).sum()


def element_js(logits: Sequence[Tensor]) -> Tensor:
    """Jensen-Shannon divergence of N classifiers as Masked CoTEX's code takes it: a mean over images and classes.

    JS = sum_n 1/N mean_bc p_n (log p_n - log M), M = mean_n p_n. It is 1 / C of the usual sum over classes, so that a
    weight of 100 on it is one of 100 / C there. Nothing is detached.

    Args:
        logits: N times (B, C).
    """
    shares = [z.float().softmax(-1) for z in logits]
    middle = torch.stack(shares).mean(0).clamp(min=LEAST).log()
    apart = [(p * (p.clamp(min=LEAST).log() - middle)).mean() for p in shares]
    return torch.stack(apart).mean()
