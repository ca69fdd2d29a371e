"""From maps of S slices to maps of the key slice.

A collector is a module that keeps four rules:

1. ``forward`` takes a list with a map for each stride of the trunk, finest first, ``(B, C_k, S, H_k, W_k)``; slices are
   in the scan's order and the key slice is number S // 2.
2. It returns as many maps ``(B, C_k, H_k, W_k)`` in the same order.
3. It gets all strides at once, so that what it finds at one may serve at the next.
4. Items of a batch do not see one another in evaluation mode.

It is made by ``collector(channels, slices)``, where ``channels`` are the C_k.

Shapes      B images   S slices   C channels   H, W map
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Collecting = Literal["convolution", "depthwise", "key", "mean", "max"]


class SliceConvolution(nn.Module):
    """The published way: at each stride a convolution over all slices, ``Conv3d(C, C, (S, 1, 1))`` without bias.

    Computed as a 1 x 1 convolution of all slices' channels, which is the same and faster on CPUs.
    """

    def __init__(self, channels: Sequence[int], slices: int) -> None:
        super().__init__()
        self.convolve = nn.ModuleList(nn.Conv3d(c, c, (slices, 1, 1), bias=False) for c in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """``(B, C, S, H, W)`` each -> ``(B, C, H, W)`` each."""
        collected = []
        for convolve, x in zip(self.convolve, maps, strict=True):
            side_by_side = x.transpose(1, 2).flatten(1, 2)  # (B, S * C, H, W)
            weight = cast(Tensor, convolve.weight).transpose(1, 2).flatten(1, 2)  # (C, S * C, 1, 1)
            collected.append(F.conv2d(side_by_side, weight))
        return collected


class DepthwiseSlices(nn.Module):
    """A weighted sum over slices with weights of its own for each channel; it starts as the key slice. Own."""

    def __init__(self, channels: Sequence[int], slices: int) -> None:
        super().__init__()
        start = torch.zeros(slices)
        start[slices // 2] = 1.0
        self.weights = nn.ParameterList(nn.Parameter(start.repeat(c, 1)) for c in channels)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """``(B, C, S, H, W)`` each -> ``(B, C, H, W)`` each."""
        return [(x * w[:, :, None, None]).sum(2) for w, x in zip(self.weights, maps, strict=True)]


class _Plain(nn.Module):
    """A rule without weights, the same at each stride."""

    def __init__(self, channels: Sequence[int], slices: int) -> None:
        super().__init__()
        self.key = slices // 2


class KeySlice(_Plain):
    """The key slice alone: what neighbours are worth is measured against it."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """``(B, C, S, H, W)`` each -> ``(B, C, H, W)`` each."""
        return [x[:, :, self.key] for x in maps]


class MeanSlices(_Plain):
    """The mean of all slices."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """``(B, C, S, H, W)`` each -> ``(B, C, H, W)`` each."""
        return [x.mean(2) for x in maps]


class MaxSlices(_Plain):
    """The largest of all slices, channel by channel."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """``(B, C, S, H, W)`` each -> ``(B, C, H, W)`` each."""
        return [x.amax(2) for x in maps]


COLLECTORS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {
    "convolution": SliceConvolution,
    "depthwise": DepthwiseSlices,
    "key": KeySlice,
    "mean": MeanSlices,
    "max": MaxSlices,
}
