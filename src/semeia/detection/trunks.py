"""From a slice to maps at strides 4, 8 and 16: a trunk that all slices share, and that sees each of them alone.

A trunk is a module that keeps four rules:

1. ``channels`` is a tuple of three ints, those of its maps; ``STRIDES`` are their strides.
2. ``forward`` takes ``(N, V, H, W)``, N slices of any scans in V views, H and W multiples of 32.
3. It returns three maps ``(N, C_k, H / s_k, W / s_k)``, finest first.
4. In evaluation mode a slice's maps depend on that slice alone, so that a scan pays one pass a slice.

Shapes      N slices   V views of a slice   C channels   H, W rows and columns
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.records import SemeiaError

STRIDES = (4, 8, 16)

GROUP = 8
"""Channels that a group norm of the narrow trunk takes together. [default]"""


def group_norm(channels: int) -> nn.Module:
    """Groups of ``GROUP`` channels."""
    return nn.GroupNorm(channels // GROUP, channels)


class Residual(nn.Module):
    """x -> ReLU(x + norm(conv3x3(x)))."""

    def __init__(self, channels: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.convolve = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W) -> (N, C, H, W)``."""
        return F.relu(x + self.norm(self.convolve(x)))


class NarrowTrunk(nn.Module):
    """A few convolutions with norms, for two cores: the first goes straight to stride 4. Own.

    Group norm makes a sample's losses its own; its statistics are those of the whole picture, though, so that pictures
    of another size or with more air look otherwise to it. Batch norm's are fixed in use.

    With widths 24, 48, 96 and one block a stride a slice of 256 x 256 costs 180 million floating-point operations, with
    16, 32, 64 it costs 82 million; gradients cost twice as much again (``docs/systems/uld.md``).

    Args:
        channels: Of the three maps, multiples of ``GROUP``.
        blocks: Residual blocks at each stride.
        inputs: V.
        norm: ``group`` or ``batch``.

    Raises:
        SemeiaError: A width that does not divide into groups.
    """

    def __init__(
        self, channels: Sequence[int], blocks: Sequence[int], *, inputs: int = 1,
        norm: Literal["group", "batch"] = "group",
    ) -> None:  # fmt: skip
        super().__init__()
        if any(c % GROUP or c < GROUP for c in channels):
            raise SemeiaError(f"trunk_channels: expected multiples of {GROUP}, found {tuple(channels)}")
        self.channels = tuple(channels)
        normed = nn.BatchNorm2d if norm == "batch" else group_norm
        enters: list[nn.Module] = []
        stages: list[nn.Module] = []
        for k, (before, after, count) in enumerate(zip((inputs, *channels), channels, blocks, strict=False)):
            kernel, step = (7, 4) if k == 0 else (3, 2)
            enter = nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False)
            inner = [Residual(after, normed) for _ in range(count)]
            enters.append(enter)
            stages.append(nn.Sequential(normed(after), nn.ReLU(inplace=True), *inner))
        self.enters, self.stages = nn.ModuleList(enters), nn.ModuleList(stages)

    def forward(self, slices: Tensor) -> list[Tensor]:
        """``(N, V, H, W)`` -> three maps, see the rules above."""
        maps, x = [], slices
        for enter, stage in zip(self.enters, self.stages, strict=True):
            # Faster on CPUs; an image of one channel cannot say that it has this layout, so that it is said here.
            x = stage(enter(x).contiguous(memory_format=torch.channels_last))
            maps.append(x)
        return maps


class TimmTrunk(nn.Module):
    """Any timm network that has maps at strides 4, 8 and 16, cut off behind the last of them.

    ``densenet121`` is the published trunk: three of its four dense blocks.

    Args:
        name: Of timm.
        inputs: V.
        frozen: Batch norms keep their running statistics, as with weights learned elsewhere; scales stay trainable.
        checkpointing: Trade a second forward for the memory of maps between.

    Raises:
        SemeiaError: Unknown to timm, or without such maps.
    """

    def __init__(self, name: str, *, inputs: int = 1, frozen: bool, checkpointing: bool = False) -> None:
        super().__init__()
        whole = _features(name, inputs)
        reductions = whole.feature_info.reduction()
        if missing := [s for s in STRIDES if s not in reductions]:
            raise SemeiaError(
                f"trunk {name!r}: expected maps at strides 4, 8, 16, found {reductions} ({missing} missing)"
            )
        self.network = _features(name, inputs, out_indices=tuple(reductions.index(s) for s in STRIDES))
        self.channels = tuple(self.network.feature_info.channels())
        self.frozen = frozen
        if checkpointing:
            self.network.set_grad_checkpointing(True)

    def train(self, mode: bool = True) -> TimmTrunk:
        """Training mode, but for batch norms that are frozen."""
        super().train(mode)
        if self.frozen:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, slices: Tensor) -> list[Tensor]:
        """``(N, V, H, W)`` -> three maps, see the rules above."""
        return self.network(slices)


def _features(name: str, inputs: int, **how: tuple[int, ...]) -> Any:
    try:
        return timm.create_model(name, pretrained=False, features_only=True, in_chans=inputs, **how)
    except (RuntimeError, AttributeError, AssertionError, NotImplementedError, ValueError, TypeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SemeiaError(f"trunk {name!r}: neither 'narrow' nor a timm network with feature maps ({first})") from error
