"""Stages of a backbone: one image, several feature maps, from local to global.

Shapes      B images   H, W pixels   C_s channels of stage s   h, w grid of the deepest tap   N = h * w tokens
            K visible tokens   P prefix tokens (class token, registers)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import HybridEmbed, PatchEmbed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from semeia.nn.masking import gather_tokens
from semeia.records import SemeiaError

FINE_VIT = "fine_vit"
"""Name of the small backbone of the bundled weights: a convolutional stem that can be masked, then a ViT."""


class FineStem(nn.Module):
    """Early convolutions that can be masked: ``(B, 3, H, W) -> (B, C, H / 16, W / 16)``.

    A ViT with a convolutional stem learns from far fewer images than one that cuts patches (Xiao et al. 2021,
    arXiv 2106.14881). Hidden places enter the statistics of batch norm as zeros, whatever is hidden there.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        a, b, c = width // 12, width // 6, width // 3
        self.steps = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True))
            for i, o, stride in ((3, a, 2), (a, b, 2), (b, b, 1), (b, c, 2), (c, c, 1), (c, width, 2))
        )

    def forward(self, image: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return ``(B, C, H / 16, W / 16)``.

        Args:
            image: ``(B, 3, H, W)``.
            visible: ``(B, 1, H / 16, W / 16)``, 1 where a block of 16 pixels is seen, 0 where it is hidden. Hidden
                places are zero before every convolution, like places beyond the border.
        """
        return self.maps(image, visible)[1]

    def maps(self, image: Tensor, visible: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As ``forward``, with the map before: ``(B, C / 3, H / 8, W / 8)``, ``(B, C, H / 16, W / 16)``."""
        x, before = only_visible(image, visible), image
        for step in self.steps:
            before, x = x, only_visible(step(x), visible)
        return before, x


def only_visible(x: Tensor, visible: Tensor | None) -> Tensor:
    """``(B, C, H, W)`` with zeros where ``visible`` ``(B, 1, h, w)`` is 0; a cell covers ``H / h`` places."""
    if visible is None:
        return x
    return x * F.interpolate(visible, size=x.shape[-2:], mode="nearest").to(x.dtype)


class FineViT(VisionTransformer):
    """A timm ViT on a ``FineStem``.

    Stage 0 is the stem's map before its last step, the four places that share a place of the grid stacked as channels;
    stage 1 is the stem's map, stage ``2 + i`` is block ``i``.
    """

    def __init__(self, *, image_size: int, width: int, depth: int, heads: int, drop_path: float) -> None:
        stem = FineStem(width)
        super().__init__(
            img_size=image_size,
            patch_size=1,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            mlp_ratio=2,
            num_classes=0,
            class_token=False,
            global_pool="avg",
            final_norm=False,
            drop_path_rate=drop_path,
            embed_layer=partial(HybridEmbed, backbone=stem, proj=False),
        )
        with torch.no_grad():
            # As in He et al.; learned on from there.
            self.pos_embed.copy_(build_sincos2d_pos_embed(list(self.patch_embed.grid_size), dim=width))
        self.feature_info = [
            {"module": "patch_embed.backbone.steps.4", "num_chs": 4 * (width // 3), "reduction": 16},
            {"module": "patch_embed.backbone", "num_chs": width, "reduction": 16},
            *({"module": f"blocks.{i}", "num_chs": width, "reduction": 16} for i in range(depth)),
        ]
        for block in self.blocks:
            # On a grid this small the plain product is faster: torch's fused backward in bf16 on a CPU takes longer
            # than all the rest of the attention.
            block.attn.fused_attn = False

    def forward_intermediates(self, image: Tensor, *, indices: Sequence[int], **_: Any) -> list[Tensor]:
        """Return the maps ``(B, C_s, h, w)`` of the stages ``indices``; timm's other options are fixed."""
        before, x = self.patch_embed.backbone.maps(image)
        grid = x.shape[-2:]
        maps = [F.pixel_unshuffle(before, 2)] if 0 in indices else []  # (B, C / 3, 2 h, 2 w) -> (B, 4 C / 3, h, w)
        maps += [x] if 1 in indices else []
        x = self._pos_embed(x.flatten(2).transpose(1, 2))  # (B, C, h, w) -> (B, N, C)
        for stage, block in enumerate(self.blocks[: max(0, max(indices) - 1)], start=2):
            x = block(x)
            if stage in indices:
                maps.append(x.transpose(1, 2).unflatten(2, grid))  # (B, N, C) -> (B, C, h, w)
        return maps


def visible_tokens(model: Any, image: Tensor, visible: Tensor | None) -> Tensor:
    """Encode some patches of a picture as if there were no others.

    Args:
        model: A ``FineViT`` or a plain timm ViT.
        image: ``(B, 3, H, W)``, normalised as the backbone expects.
        visible: ``(B, K)`` indices of patches on the backbone's grid; None for all of them.

    Returns:
        ``(B, P + K, C)`` after the last block and the final norm where there is one, patches in the order of
        ``visible``.
    """
    if isinstance(model, FineViT):
        shown = None
        if visible is not None:
            shown = image.new_zeros(len(image), model.patch_embed.num_patches).scatter(1, visible, 1.0)
            shown = shown.unflatten(1, (1, *model.patch_embed.grid_size))
        x = model.patch_embed.backbone(image, shown)
        x = x.flatten(2).transpose(1, 2)  # (B, C, h, w) -> (B, N, C)
    else:
        x = model.patch_embed(image)
    x = model._pos_embed(x)  # (B, P + N, C)
    prefix = model.num_prefix_tokens
    if visible is not None:
        x = torch.cat([x[:, :prefix], gather_tokens(x[:, prefix:], visible)], 1)
    return model.norm(model.blocks(model.norm_pre(x)))


def check_maskable(model: Any, name: str) -> None:
    """Refuse a backbone that would see hidden pixels, or whose tokens cannot be dropped.

    Raises:
        SemeiaError: It is neither a ``FineViT`` nor a plain timm ViT.
    """
    plain = type(model) is VisionTransformer and isinstance(model.patch_embed, PatchEmbed)
    if not plain and not isinstance(model, FineViT):
        raise SemeiaError(
            f"backbone {name!r}: cannot be pre-trained with hidden patches; expected {FINE_VIT!r} or a plain timm ViT "
            "such as 'vit_tiny_patch16_224'"
        )


def maskable_vit(config: Any) -> Stages:
    """A ViT whose patches can be hidden, from a configuration with the fields of ``systems.face_mae.Config``.

    Raises:
        SemeiaError: A backbone that would see hidden pixels, or whose tokens cannot be dropped.
    """
    backbone = stages(
        config.backbone,
        taps=(config.backbone_depth + 1,) if config.backbone == FINE_VIT else (0,),
        image_size=config.image_size,
        pretrained=False,
        width=config.backbone_width,
        depth=config.backbone_depth,
        heads=config.backbone_heads,
        drop_path=config.drop_path,
    )
    check_maskable(backbone.model, config.backbone)
    return backbone


def last_norm(model: Any) -> nn.Module:
    """The norm that a ViT lacks which is made for features alone, or nothing where it has one after its last block."""
    return nn.LayerNorm(model.embed_dim) if isinstance(model.norm, nn.Identity) else nn.Identity()


def check_class_token(model: Any, name: str, *, instead: str) -> None:
    """Refuse a ViT that has no class token.

    Raises:
        SemeiaError: It has none.
    """
    if not model.num_prefix_tokens:
        raise SemeiaError(f"pooling 'class': {name} has no class token; expected {instead}")


class Stages(nn.Module):
    """A backbone tapped at several depths, every tap brought to the grid of the deepest one.

    Args:
        model: Any timm model with ``forward_intermediates`` (all ViTs and most convolutional nets).
        taps: Indices of the blocks or stages to tap, from shallow to deep.
        settings: What the backbone was built with; two with equal settings can exchange weights.
    """

    def __init__(self, model: Any, taps: Sequence[int], settings: Mapping[str, str | int] | None = None) -> None:
        super().__init__()
        self.model: Any = model
        self.settings = dict(settings or {})
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
        name: ``fine_vit``, which uses ``width``, ``depth`` and ``heads``, or any timm model name.
        taps: Block indices, counted from 0; of ``fine_vit`` see ``FineViT``.
        image_size: Side of the square input in pixels; ViT position codes are interpolated to it.
        pretrained: Load timm's weights of that name (needs a network, or timm's cache).
        width: Channels of ``fine_vit``.
        depth: Blocks of ``fine_vit``.
        heads: Attention heads of ``fine_vit``.
        drop_path: Largest rate of stochastic depth.
    """
    settings: dict[str, str | int] = {"backbone": name, "image_size": image_size}
    if name == FINE_VIT:
        settings |= {"width": width, "depth": depth, "heads": heads}
        model: Any = FineViT(image_size=image_size, width=width, depth=depth, heads=heads, drop_path=drop_path)
    else:
        sized = {"img_size": image_size} if "vit" in name or "deit" in name or "eva" in name or "beit" in name else {}
        model = timm.create_model(name, pretrained=pretrained, num_classes=0, drop_path_rate=drop_path, **sized)
    return Stages(model, taps, settings)
