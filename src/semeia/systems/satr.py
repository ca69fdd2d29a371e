"""SATr: slice attention with a transformer, for universal lesion detection.

    Paper   Li et al., SATr: Slice Attention with Transformer for Universal Lesion Detection, MICCAI 2022,
            arXiv 2203.07373; the authors' code, MIRACLE-Center/A3D_SATr
    Idea    Convolutions gather neighbouring slices from nearby only. A transformer layer looks at the whole slice, and
            so that it must use the neighbours, they alone say where it looks; what it reads there is the key slice's.
    Flow    S slices, each alone -> trunk -> maps at strides 4, 8, 16, at each of them:
            convolution over slices -> R;   tokens of all slices -> slice attention -> SATr
            G = ReLU(BN(Conv1x1(R + SATr))) + R -> pyramid -> detector
    Known   The tensors of the block, from the authors' code; the paper itself could not be read. A light patch
            embedding stands in for the published one, which is a switch away (docs/systems/satr.md). The trunk is the
            plain detector's: slices are not mixed inside it by A3D.

Shapes      B images   S slices   C channels   H, W map   p cells of the map along a side of a token
            h, w grid of tokens   K class tokens, 0 or 1   N = K + h w tokens   T slices with tokens, S or 1
            E width of a token   A heads
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import gcd, sqrt
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from semeia.detection.collectors import COLLECTORS
from semeia.detection.design import TINIEST, TWO_CORES, Design, build_detector
from semeia.detection.lesion_task import LesionTask
from semeia.detection.trunks import STRIDES
from semeia.records import SemeiaError

EPSILON = 1e-6
"""Of all layer norms. [code]"""

Block = Literal["attention", "convolution", "none"]
Attend = Literal["neighbours", "all", "key"]
Embedding = Literal["separable", "published", "none"]
ClassToken = Literal["zero", "learned", "none"]
BlockNorm = Literal["batch", "group"]


@dataclass(frozen=True)
class Config(Design):
    """What the detector is: ``detection.design.Design``, and the slice attention. "code" is that of A3D-SATr."""

    block: Block = "attention"
    """What is added to the collector's maps: slice attention, a convolution of its size, nothing. [code: attention]"""
    attend: Attend = "neighbours"
    """Slices that say where to look: all but the key slice, all, or the key slice alone. [code: Fusion_manner 0]"""
    hybrid: bool = True
    """With R, the maps of ``collector``; otherwise R is 0. [code]"""
    embedding: Embedding = "separable"
    """Of patches of all slices: a convolution of each channel and a 1 x 1 one; the published Conv3d; none.
    [code: Conv3d, 77 of the block's 94 million parameters; default: spec section 8]"""
    class_token: ClassToken = "zero"
    """At the first stride zero or learned; each later stride gets the one before. ``none``: there is none.
    [code: zero]"""
    token: int = 32
    """Pixels along a side of a token, a multiple of 16; 32: p is 8, 4, 2. [code: 16 x 16 tokens at 512 pixels]"""
    width: int = 384
    """E. [code]"""
    heads: int = 6
    """A. [code]"""
    hidden: int = 1536
    """Width inside the perceptron. [code: 4 E]"""
    drop_path: float = 0.001
    """Rate at which a residual branch is left out in training. [code]"""
    block_norm: BlockNorm = "batch"
    """Behind the block's and the fusion's 1 x 1 convolutions. [code: SyncBN; ``group`` does with small batches]"""
    control_width: int = 0
    """Channels inside the convolution of ``block``; 0: as many parameters as the attention. [own]"""


SMALL = Config(
    **TWO_CORES, token=16, width=96, heads=3, hidden=384, block_norm="group",
)  # fmt: skip
"""For two cores: the plain detector's, with a grid of 16 x 16 tokens. [default: spec section 8]"""

TINY = Config(
    **TINIEST, token=16, width=16, heads=2, hidden=32, block_norm="group",
)  # fmt: skip
"""For trying that everything runs. [default: own]"""


def norm(kind: BlockNorm, channels: int) -> nn.Module:
    """Batch norm, or group norm with about eight channels a group."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.GroupNorm(gcd(max(channels // 8, 1), channels), channels)


# ---------------------------------------------------------------------------------------------------------------------
# (1) Patches of all slices at once: (B, C, S, H, W), H and W multiples of p -> (B, h w, E)


class SeparablePatches(nn.Module):
    """For each channel a convolution over S slices and p x p cells, then a linear map of channels. Stand-in."""

    def __init__(self, channels: int, *, slices: int, side: int, width: int) -> None:
        super().__init__()
        shape = (slices, side, side)
        self.gather = nn.Conv3d(channels, channels, shape, (1, side, side), groups=channels, bias=False)
        self.project = nn.Linear(channels, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, S, H, W) -> (B, h w, E)``."""
        return self.project(self.gather(x).flatten(2).transpose(1, 2))  # (B, C, 1, h, w) -> (B, h w, C) -> (B, h w, E)


class PublishedPatches(nn.Module):
    """``Conv3d(C, E, (S, p, p))`` with strides (1, p, p), as in the code."""

    def __init__(self, channels: int, *, slices: int, side: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Conv3d(channels, width, (slices, side, side), (1, side, side))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, S, H, W) -> (B, h w, E)``."""
        return self.embed(x).flatten(2).transpose(1, 2)  # (B, E, 1, h, w) -> (B, h w, E)


class NoPatches(nn.Module):
    """Zeros: slices meet in the attention alone."""

    def __init__(self, channels: int, *, slices: int, side: int, width: int) -> None:
        super().__init__()
        self.side, self.width = side, width

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, S, H, W) -> (B, h w, E)``."""
        return x.new_zeros(len(x), x[0, 0, 0].numel() // self.side**2, self.width)


EMBEDDINGS: dict[Embedding, Callable[..., nn.Module]] = {
    "separable": SeparablePatches,
    "published": PublishedPatches,
    "none": NoPatches,
}


# ---------------------------------------------------------------------------------------------------------------------
# (2) Tokens of each slice


class SliceTokens(nn.Module):
    """t_s = GELU(LN(AvgPool_p(Conv1x1_s(F_s)))), with weights of its own for each slice s.

    The mean is taken first, which is the same and p^2 times cheaper.
    """

    def __init__(self, channels: int, *, slices: int, side: int, width: int) -> None:
        super().__init__()
        self.side = side
        self.embed = nn.Conv2d(slices * channels, slices * width, 1, groups=slices)
        self.scale = nn.Parameter(torch.ones(slices, 1, width))
        self.shift = nn.Parameter(torch.zeros(slices, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, T, H, W) -> (B, T, h w, E)``."""
        means = F.avg_pool2d(x.transpose(1, 2).flatten(0, 1), self.side)  # (B T, C, h, w)
        side_by_side = means.unflatten(0, (len(x), -1)).flatten(1, 2)  # (B, T C, h, w)
        embedded = self.embed(side_by_side).unflatten(1, (x.shape[2], -1))  # (B, T, E, h, w)
        tokens = embedded.flatten(3).transpose(2, 3)  # (B, T, h w, E)
        return F.gelu(F.layer_norm(tokens, tokens.shape[-1:], eps=EPSILON) * self.scale + self.shift)


# ---------------------------------------------------------------------------------------------------------------------
# (3) From tokens of all slices to tokens of the key slice: (B, T, N, E) -> (B, N, E)


class SliceAttention(nn.Module):
    """One transformer layer: where to look comes from some slices, what is read and kept is the key slice's.

    Y = LN(X);  Q, K = Linear(concat of Y_s, s in ``sources``);  V = Linear(Y_key)
    O = Linear(softmax(Q K^T / sqrt(E / A)) V);  Z = X_key + O;  Z = Z + MLP(LN(Z))

    The slices' tokens of one place are joined before Q and K: tokens of two slices never attend to each other.
    """

    def __init__(
        self, width: int, *, heads: int, hidden: int, drop_path: float, key: int, sources: Sequence[int]
    ) -> None:
        super().__init__()
        self.heads, self.key, self.sources = heads, key, list(sources)
        self.before = nn.LayerNorm(width, EPSILON)  # one for all slices
        self.query_key = nn.Linear(len(sources) * width, 2 * width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.between = nn.LayerNorm(width, EPSILON)
        self.think = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.drop = DropPath(drop_path)

    def split(self, x: Tensor) -> Tensor:
        """``(B, N, E) -> (B, A, N, E / A)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def rows(self, y: Tensor) -> Tensor:
        """Attention ``(B, A, N, N)``, rows sum to 1, of normed tokens ``(B, T, N, E)``."""
        joined = y[:, self.sources].transpose(1, 2).flatten(2)  # (B, N, sources E)
        query, key = (self.split(each) for each in self.query_key(joined).chunk(2, -1))
        return (query @ key.transpose(-2, -1) / sqrt(query.shape[-1])).softmax(-1)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """``(B, T, N, E) -> (B, N, E)``; no place knows where it lies, ``grid`` is not used."""
        y = self.before(x)
        read = self.rows(y) @ self.split(self.value(y[:, self.key]))  # (B, A, N, E / A)
        z = x[:, self.key] + self.drop(self.out(read.transpose(1, 2).flatten(2)))
        return z + self.drop(self.think(self.between(z)))


class SliceConvolution(nn.Module):
    """The control: Z = X_key + Conv3x3(GELU(norm(Conv3x3(concat of X_s)))) on the grid of tokens. Own."""

    def __init__(self, width: int, *, inner: int, kind: BlockNorm, key: int, slices: int) -> None:
        super().__init__()
        self.key = key
        self.gather = nn.Conv2d(slices * width, inner, 3, padding=1, bias=False)
        self.norm = norm(kind, inner)
        self.out = nn.Conv2d(inner, width, 3, padding=1)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """``(B, S, h w, E) -> (B, h w, E)``."""
        side_by_side = x.transpose(2, 3).flatten(1, 2).unflatten(-1, grid)  # (B, S E, h, w)
        moved = self.out(F.gelu(self.norm(self.gather(side_by_side))))  # (B, E, h, w)
        return x[:, self.key] + moved.flatten(2).transpose(1, 2)


# ---------------------------------------------------------------------------------------------------------------------
# One stride, all strides


class Stage(nn.Module):
    """Steps (1) to (4) at one stride.

    Args:
        channels: C.
        slices: S.
        seen: Slices that have tokens of their own.
        side: p.
        layer: Step (3).
        config: See ``Config``.
    """

    def __init__(self, channels: int, *, slices: int, seen: range, side: int, layer: nn.Module, config: Config) -> None:
        super().__init__()
        self.side, self.seen, self.key = side, slice(seen.start, seen.stop), slices // 2 - seen.start
        self.patches = EMBEDDINGS[config.embedding](channels, slices=slices, side=side, width=config.width)
        self.tokens = SliceTokens(channels, slices=len(seen), side=side, width=config.width)
        self.layer = layer
        self.back = nn.Sequential(
            nn.Conv2d(config.width, channels, 1), norm(config.block_norm, channels), nn.ReLU(inplace=True)
        )

    def embed(self, maps: Tensor, class_token: Tensor) -> Tensor:
        """Steps (1) and (2): ``(B, C, S, H, W)``, multiples of p, and ``(B, K, E)`` -> X ``(B, T, N, E)``."""
        whole = torch.cat([class_token, self.patches(maps)], 1)  # (B, N, E)
        tokens = self.tokens(maps[:, :, self.seen])  # (B, T, h w, E)
        x = torch.cat([class_token[:, None].expand(-1, tokens.shape[1], -1, -1), tokens], 2)  # (B, T, N, E)
        # With the class token, which is therefore doubled at the key slice: as in the code.
        x[:, self.key] += whole
        return x

    def forward(self, maps: Tensor, class_token: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, S, H, W)`` and the class token ``(B, K, E)`` -> ``(B, C, H, W)`` and the next class token."""
        height, width = maps.shape[-2:]
        right, below = -width % self.side, -height % self.side
        if right or below:
            maps = F.pad(maps, (0, right, 0, below, 0, 0), mode="replicate")
        grid = maps.shape[-2] // self.side, maps.shape[-1] // self.side
        z = self.layer(self.embed(maps, class_token), grid)  # (B, N, E)
        among = class_token.shape[1]
        # (4) SATr(F) = Up_p(ReLU(BN(Conv1x1(Z without its class token))))
        back = self.back(z[:, among:].transpose(1, 2).unflatten(-1, grid))  # (B, C, h, w)
        enlarged = F.interpolate(back, scale_factor=self.side, mode="nearest")
        return enlarged[..., :height, :width], z[:, :among]


class Fusion(nn.Module):
    """G = ReLU(BN(Conv1x1(R + SATr))) + R."""

    def __init__(self, channels: int, kind: BlockNorm) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), norm(kind, channels), nn.ReLU())

    def forward(self, collected: Tensor, attended: Tensor) -> Tensor:
        """Maps ``(B, C, H, W)``, the first of which may be a plain 0 -> ``(B, C, H, W)``."""
        return self.mix(collected + attended) + collected


class Nothing(nn.Module):
    """R = 0: the transformer alone."""

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """``(B, C, S, H, W)`` each -> a 0 each."""
        return [x.new_zeros(()) for x in maps]


class SliceAttentionCollector(nn.Module):
    """From maps of S slices to maps of the key slice, with SATr at each stride; keeps the rules of ``collectors``.

    Nothing goes back into the trunk. From one stride to the next goes the class token alone.

    Args:
        config: See ``Config``.
        channels: C at strides 4, 8, 16.
        slices: S.
    """

    start: Tensor

    def __init__(self, config: Config, channels: Sequence[int], slices: int) -> None:
        super().__init__()
        key = slices // 2
        alone = config.block == "attention" and config.attend == "key"
        seen = range(key, key + 1) if alone else range(slices)
        self.collect = COLLECTORS[config.collector](channels, slices) if config.hybrid else Nothing()
        self.stages = nn.ModuleList(
            Stage(c, slices=slices, seen=seen, side=config.token // s, layer=step_three(config, slices), config=config)
            for c, s in zip(channels, STRIDES, strict=True)
        )
        self.fuse = nn.ModuleList(Fusion(c, config.block_norm) for c in channels)
        kind = config.class_token if config.block == "attention" else "none"
        start = torch.zeros(1, 0 if kind == "none" else 1, config.width)
        if kind == "learned":
            # Not from zero, where a layer norm multiplies gradients by 1000.
            self.start = nn.Parameter(nn.init.trunc_normal_(start, std=0.02))
        else:
            self.register_buffer("start", start, persistent=False)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """``(B, C, S, H, W)`` each -> ``(B, C, H, W)`` each."""
        fused, class_token = [], self.start.expand(len(maps[0]), -1, -1)
        for x, collected, stage, fuse in zip(maps, self.collect(maps), self.stages, self.fuse, strict=True):
            attended, class_token = stage(x, class_token)
            fused.append(fuse(collected, attended))
        return fused


def step_three(config: Config, slices: int) -> nn.Module:
    """What turns tokens of slices into tokens of the key slice: the attention of ``config``, or the control's layer."""
    key = slices // 2
    if config.block == "convolution":
        inner = config.control_width or matched_width(config, slices)
        return SliceConvolution(config.width, inner=inner, kind=config.block_norm, key=key, slices=slices)
    sources = {"neighbours": [s for s in range(slices) if s != key], "all": list(range(slices)), "key": [0]}
    return SliceAttention(
        config.width, heads=config.heads, hidden=config.hidden, drop_path=config.drop_path,
        key=0 if config.attend == "key" else key, sources=sources[config.attend],
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# The detector


class SATr(LesionTask):
    """The detector with slice attention as a task; what is new stands in its collector."""


def build(config: Config) -> SATr:
    """Build the detector with random weights.

    Raises:
        SemeiaError: A value that will not do.
    """
    check(config)
    if config.block == "none":
        return SATr(config, detector=build_detector(config))
    return SATr(
        config,
        detector=build_detector(config, collector=lambda c, slices: SliceAttentionCollector(config, c, slices)),
    )


def check(config: Config) -> None:
    """Refuse numbers that no slice attention can have.

    Raises:
        SemeiaError: The first of them.
    """
    for name, choices in (
        ("block", Block), ("attend", Attend), ("embedding", Embedding), ("class_token", ClassToken),
        ("block_norm", BlockNorm),
    ):  # fmt: skip
        if getattr(config, name) not in get_args(choices):
            expected = ", ".join(get_args(choices))
            raise SemeiaError(f"{name}: expected one of {expected}, found {getattr(config, name)!r}")
    for name in ("width", "heads", "hidden"):
        if getattr(config, name) <= 0:
            raise SemeiaError(f"{name}: expected a positive number, found {getattr(config, name)}")
    if config.width % config.heads:
        raise SemeiaError(f"heads: expected a number that divides the width {config.width}, found {config.heads}")
    if config.token <= 0 or config.token % STRIDES[-1]:
        raise SemeiaError(f"token: expected a multiple of {STRIDES[-1]}, found {config.token}")
    if not 0 <= config.drop_path < 1:
        raise SemeiaError(f"drop_path: expected at least 0 and less than 1, found {config.drop_path}")
    if config.control_width < 0:
        raise SemeiaError(f"control_width: expected 0 or more, found {config.control_width}")
    if config.block == "attention" and config.attend == "neighbours" and config.slices < 2:
        raise SemeiaError(
            f"slices: expected at least 2 where attend is 'neighbours', found {config.slices}; 'all' and 'key' take 1"
        )
    if config.block == "none" and not config.hybrid:
        raise SemeiaError("block: expected attention or convolution where hybrid is off, found 'none'")


def parameters(config: Config) -> int:
    """Learned numbers of the whole detector, counted without making them.

    Raises:
        SemeiaError: A value that will not do.
    """
    with torch.device("meta"):
        return _count(build(config))


def matched_width(config: Config, slices: int) -> int:
    """Channels at which the convolution has as many parameters as the attention of ``config``, as nearly as it can."""

    def count(**changes: Any) -> int:
        return _count(step_three(replace(config, **changes), slices))

    with torch.device("meta"):
        one, two = (count(block="convolution", control_width=inner) for inner in (1, 2))
        return max(1, round(1 + (count(block="attention") - one) / (two - one)))


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
