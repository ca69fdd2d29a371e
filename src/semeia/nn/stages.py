"""Stages of a backbone: one image, several feature maps, from local to global.

Shapes      B images   H, W pixels   C_s channels of stage s   h, w grid of the deepest tap   N = h * w tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch.nn.functional as F
from timm.layers import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

CONV_VIT = "conv_vit"
"""Name of the small backbone of the bundled weights: a convolutional stem, then a ViT."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a skip; halves the map where ``stride`` is 2.

    ``(B, inside, H, W) -> (B, outside, H / stride, W / stride)``
    """

    def __init__(self, inside: int, outside: int, *, stride: int) -> None:
        super().__init__()
        self.path = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.skip = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu(path(x) + skip(x))``."""
        return F.relu(self.path(x) + self.skip(x))


class ConvStem(nn.Sequential):
    """Early convolutions in place of a patch embedding: ``(B, 3, H, W) -> (B, widths[-1], H / 16, W / 16)``.

    A ViT with a convolutional stem learns from far fewer images than one that cuts patches (Xiao et al. 2021,
    arXiv 2106.14881); the stem here is residual and 16-fold.
    """

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        a, b, c, d = widths
        super().__init__(
            nn.Conv2d(3, a, 3, 2, 1, bias=False),
            nn.BatchNorm2d(a),
            nn.ReLU(inplace=True),
            ResidualBlock(a, b, stride=2),
            ResidualBlock(b, c, stride=2),
            ResidualBlock(c, d, stride=2),
        )


def conv_vit(*, image_size: int, width: int, depth: int, heads: int, drop_path: float) -> VisionTransformer:
    """Return a timm ViT of ``depth`` blocks on the ``image_size / 16`` grid of a residual convolutional stem."""
    stem = ConvStem((width // 8, width // 4, width // 2, width))
    return VisionTransformer(
        img_size=image_size,
        patch_size=1,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        num_classes=0,
        class_token=False,
        global_pool="avg",
        drop_path_rate=drop_path,
        embed_layer=partial(HybridEmbed, backbone=stem, proj=False),
    )


class Stages(nn.Module):
    """A backbone tapped at several depths, every tap brought to the grid of the deepest one.

    Args:
        model: Any timm model with ``forward_intermediates`` (all ViTs and most convolutional nets).
        taps: Indices of the blocks or stages to tap, from shallow to deep.
    """

    def __init__(self, model: Any, taps: Sequence[int]) -> None:
        super().__init__()
        self.model: Any = model
        self.taps = tuple(taps)
        reach = len(model.feature_info)
        if not self.taps or max(self.taps) >= reach or min(self.taps) < 0 or list(self.taps) != sorted(set(self.taps)):
            raise ValueError(f"taps {self.taps} must rise within 0..{reach - 1}, the stages of this backbone")
        self.widths = tuple(int(model.feature_info[tap]["num_chs"]) for tap in self.taps)

    def forward(self, image: Tensor) -> tuple[list[Tensor], tuple[int, int]]:
        """Return one ``(B, N, C_s)`` token map a tap, and the grid ``(h, w)`` with ``N = h * w``.

        Args:
            image: ``(B, 3, H, W)``, normalised as the backbone expects.
        """
        maps = self.model.forward_intermediates(
            image, indices=list(self.taps), output_fmt="NCHW", intermediates_only=True, stop_early=True
        )
        h, w = maps[-1].shape[-2:]
        maps = [m if m.shape[-2:] == (h, w) else F.adaptive_avg_pool2d(m, (h, w)) for m in maps]
        return [m.flatten(2).transpose(1, 2) for m in maps], (h, w)  # (B, C, h, w) -> (B, N, C)


def stages(
    name: str,
    *,
    taps: Sequence[int],
    image_size: int,
    pretrained: bool,
    width: int,
    depth: int,
    heads: int,
    drop_path: float,
) -> Stages:
    """Build a tapped backbone by name.

    Args:
        name: ``conv_vit`` (uses ``width``, ``depth``, ``heads``) or any timm model name.
        taps: Block indices, counted from 0.
        image_size: Side of the square input in pixels; ViT position codes are interpolated to it.
        pretrained: Load timm's weights of that name (needs a network, or timm's cache).
        width: Channels of ``conv_vit``.
        depth: Blocks of ``conv_vit``.
        heads: Attention heads of ``conv_vit``.
        drop_path: Largest rate of stochastic depth.
    """
    if name == CONV_VIT:
        model = conv_vit(image_size=image_size, width=width, depth=depth, heads=heads, drop_path=drop_path)
    else:
        sized = {"img_size": image_size} if "vit" in name or "deit" in name or "eva" in name or "beit" in name else {}
        model = timm.create_model(name, pretrained=pretrained, num_classes=0, drop_path_rate=drop_path, **sized)
    return Stages(model, taps)
