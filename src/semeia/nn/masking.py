"""Hiding parts of a picture: which patches, and pictures as rows of patches.

Shapes      B images   N = h * w patches of the grid   K patches that stay visible   p side of a patch in pixels
            C channels of tokens
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Masking(NamedTuple):
    """Which patches of each image stay visible.

    Attributes:
        visible: ``(B, K)`` int64, indices of the visible patches, in the order in which they are encoded.
        hidden: ``(B, N)`` bool, True where a patch is hidden.
        restore: ``(B, N)`` int64, for each patch its place among the visible ones followed by the hidden ones.
    """

    visible: Tensor
    hidden: Tensor
    restore: Tensor


def kept(patches: int, ratio: float) -> int:
    """How many of ``patches`` stay visible when ``ratio`` of them is hidden: ``floor((1 - ratio) * patches)``."""
    # In floating point (1 - 0.9) * 10 lies below 1.
    return int((1 - ratio) * patches + 1e-6)


def random_masking(noise: Tensor, keep: int) -> Masking:
    """Keep the ``keep`` patches of each image with the smallest noise (He et al. 2022, appendix A).

    Args:
        noise: ``(B, N)``, drawn evenly and independently.
        keep: K.
    """
    order = noise.argsort(1)
    restore = order.argsort(1)  # the inverse permutation
    return Masking(visible=order[:, :keep], hidden=restore >= keep, restore=restore)


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """``(B, N, C)`` and ``(B, K)`` -> ``(B, K, C)``: the tokens that each image's indices name."""
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))


def with_mask_tokens(encoded: Tensor, masking: Masking, mask_token: Tensor) -> Tensor:
    """Put visible tokens back in their places and a mask token into all others.

    Args:
        encoded: ``(B, K, C)`` in the order of ``masking.visible``.
        masking: Which patches they are.
        mask_token: ``(1, 1, C)``.

    Returns:
        ``(B, N, C)``.
    """
    b, k, _ = encoded.shape
    n = masking.restore.shape[1]
    shuffled = torch.cat([encoded, mask_token.to(encoded.dtype).expand(b, n - k, -1)], 1)  # (B, N, C)
    return gather_tokens(shuffled, masking.restore)


def patchify(image: Tensor, patch: int) -> Tensor:
    """``(B, 3, h p, w p) -> (B, h w, p p 3)``: patches row by row, in each its pixels row by row, channels last."""
    b, c, height, width = image.shape
    h, w = height // patch, width // patch
    x = image.reshape(b, c, h, patch, w, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(b, h * w, patch * patch * c)  # (B, 3, h, p, w, p) -> (B, N, p p 3)


def unpatchify(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """``(B, h w, p p 3) -> (B, 3, h p, w p)``: what ``patchify`` cut, put together again."""
    b, _, values = patches.shape
    h, w = grid
    p = round((values // 3) ** 0.5)
    x = patches.reshape(b, h, w, p, p, 3)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(b, 3, h * p, w * p)  # (B, h, w, p, p, 3) -> (B, 3, H, W)


def standardised(patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each patch with mean 0 and deviation 1 over its own values, and the mean and deviation that were taken out.

    Args:
        patches: ``(B, N, p p 3)``.

    Returns:
        ``(B, N, p p 3)``, and twice ``(B, N, 1)``.
    """
    mean = patches.mean(-1, keepdim=True)
    deviation = (patches.var(-1, keepdim=True) + 1e-6).sqrt()  # a patch of one colour has no deviation
    return (patches - mean) / deviation, mean, deviation
