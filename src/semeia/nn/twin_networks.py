"""Networks between pictures: a segmentor, a generator of pictures, a discriminator of patches.

Sides of any length are taken: they are filled up with their last row and column, and cut off again. All norms are group
norms, so that batches of one, and batches without a lesion, are read like any other.

Sources     U-Net: Ronneberger et al. 2015; a generator with blocks between down and up: Johnson et al. 2016, in the
            form of pseudo-healthy synthesis (Xia et al. 2020); patches: Isola et al. 2017, with spectral norm (Miyato
            et al. 2018)

Shapes      B images   C channels   H, W sides
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

PRIOR = 0.01
"""Probability of a lesion that a segmentor begins with; from one half it would first learn that nothing is one."""


def norm(channels: int) -> nn.GroupNorm:
    """Group norm of about eight channels a group."""
    return nn.GroupNorm(math.gcd(max(channels // 8, 1), channels), channels)


def block(inputs: int, outputs: int, *, stride: int = 1, side: int = 3) -> nn.Sequential:
    """Convolution, norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False), norm(outputs), nn.ReLU(inplace=True)
    )


class Rise(nn.Module):
    """To the next finer level: fewer channels, twice the side, joined with what that level knows."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        # Channels are reduced on the coarse level, where it costs a quarter.
        self.reduce = nn.Conv2d(coarse, fine, 1)
        self.join = block(2 * fine, fine)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """``(B, coarse, H / 2, W / 2)`` and ``(B, fine, H, W)`` -> ``(B, fine, H, W)``."""
        x = F.interpolate(self.reduce(x), scale_factor=2, mode="bilinear", align_corners=False)
        return self.join(torch.cat([x, skip], 1))


class Residual(nn.Module):
    """Two convolutions beside a way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            block(channels, channels), nn.Conv2d(channels, channels, 3, padding=1, bias=False), norm(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, C, H, W)``."""
        return x + self.inner(x)


class Hourglass(nn.Module):
    """Down level by level, ``blocks`` residual blocks at the bottom, up again with what each level knows.

    Args:
        inputs: Channels of the picture.
        widths: Channels of each level, from the full side down; each level halves the side.
        blocks: Residual blocks at the bottom.
        side: Of the first and last convolution, in pixels.
    """

    def __init__(self, inputs: int, *, widths: Sequence[int], blocks: int, side: int) -> None:
        super().__init__()
        self.multiple = 2 ** (len(widths) - 1)
        self.first = block(inputs, widths[0], side=side)
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(block(a, b, stride=2), block(b, b)) for a, b in pairs)
        self.bottom = nn.Sequential(*(Residual(widths[-1]) for _ in range(blocks)))
        self.up = nn.ModuleList(Rise(b, a) for a, b in reversed(pairs))
        self.last = nn.Conv2d(widths[0], 1, side, padding=side // 2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, inputs, H, W) -> (B, 1, H, W)``, without a last function."""
        height, width = x.shape[-2:]
        # No place of a channel may be outside a padding's reach: "replicate" takes any side.
        x = F.pad(x, (0, -width % self.multiple, 0, -height % self.multiple), mode="replicate")
        levels = [self.first(x)]
        for down in self.down:
            levels.append(down(levels[-1]))
        x = self.bottom(levels.pop())
        for up in self.up:
            x = up(x, levels.pop())
        return self.last(x)[..., :height, :width]


class Segmentor(nn.Module):
    """A U-Net: picture in, logits of the lesion out.

    Args:
        widths: See ``Hourglass``.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.net = Hourglass(1, widths=widths, blocks=1, side=3)
        assert self.net.last.bias is not None
        nn.init.constant_(self.net.last.bias, math.log(PRIOR / (1 - PRIOR)))

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 1, H, W) -> (B, 1, H, W)`` logits."""
        return self.net(image)


class ResidualPicture(nn.Module):
    """``clamp(x + tanh(net), -1, 1)``; it begins as a copy of x, since the net begins at 0."""

    def __init__(self, net: Hourglass) -> None:
        super().__init__()
        nn.init.zeros_(net.last.weight)
        assert net.last.bias is not None
        nn.init.zeros_(net.last.bias)
        self.net = net

    def forward(self, image: Tensor, inputs: Tensor) -> Tensor:
        """``(B, 1, H, W)`` and what the net sees ``(B, C, H, W)`` -> ``(B, 1, H, W)`` in [-1, 1]."""
        return (image + self.net(inputs).tanh()).clamp(-1, 1)


class WholePicture(nn.Module):
    """``tanh(net)``: the picture is drawn anew."""

    def __init__(self, net: Hourglass) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, inputs: Tensor) -> Tensor:
        """As ``ResidualPicture``."""
        return self.net(inputs).tanh()


class MaskGuided(nn.Module):
    """The generator's body sees picture and mask."""

    inputs = 2

    def __init__(self, picture: nn.Module) -> None:
        super().__init__()
        self.picture = picture

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """``(B, 1, H, W)`` twice -> ``(B, 1, H, W)``."""
        return self.picture(image, torch.cat([image, mask], 1))


class Unguided(nn.Module):
    """The generator's body sees the picture alone."""

    inputs = 1

    def __init__(self, picture: nn.Module) -> None:
        super().__init__()
        self.picture = picture

    def forward(self, image: Tensor, mask: Tensor) -> Tensor:
        """As ``MaskGuided``."""
        return self.picture(image, image)


def generator(*, guided: bool, residual: bool, widths: Sequence[int], blocks: int) -> nn.Module:
    """A network from picture (B, 1, H, W) and mask (B, 1, H, W) to a picture.

    Args:
        guided: Whether the mask is seen.
        residual: Whether what is drawn is added to the picture.
        widths: See ``Hourglass``.
        blocks: Likewise.
    """
    kind: type[MaskGuided] | type[Unguided] = MaskGuided if guided else Unguided
    net = Hourglass(kind.inputs, widths=widths, blocks=blocks, side=7)
    return kind(ResidualPicture(net) if residual else WholePicture(net))


class PatchCritic(nn.Module):
    """How real each patch of a picture looks; with widths of three numbers a patch is 70 pixels wide.

    Args:
        widths: Channels of the convolutions that halve the side; one more keeps it.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in zip(
            [1, *widths], [*widths, 2 * widths[-1]], [2] * len(widths) + [1], strict=True
        ):
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride, 1)), nn.LeakyReLU(0.2, inplace=True)]
        self.net = nn.Sequential(*layers, spectral_norm(nn.Conv2d(2 * widths[-1], 1, 4, 1, 1)))

    def forward(self, picture: Tensor) -> Tensor:
        """``(B, 1, H, W) -> (B, 1, h, w)``, 1 for real and 0 for made; sides are ``h = H / 2**n - 2``."""
        return self.net(picture)


def _pasted(image: Tensor, made: Tensor, mask: Tensor, dilation: int) -> Tensor:
    """``(1 - M) x + M twin``, M the dilated mask."""
    wide = F.max_pool2d(mask, 2 * dilation + 1, 1, dilation)
    return (1 - wide) * image + wide * made


PASTES: dict[bool, Callable[[Tensor, Tensor, Tensor, int], Tensor]] = {
    False: lambda image, made, mask, dilation: made,
    True: _pasted,
}


def strong(image: Tensor, most: tuple[float, float, float]) -> Tensor:
    """Images of another gain, offset and noise, drawn for each; ``(B, 1, H, W) -> (B, 1, H, W)``."""
    gain, offset, noise = torch.rand(3, len(image), 1, 1, 1, device=image.device)
    changed = image * (1 + most[0] * (2 * gain - 1)) + most[1] * (2 * offset - 1)
    return (changed + most[2] * noise * torch.randn_like(image)).clamp(-1, 1)
