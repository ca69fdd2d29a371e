"""A plain U-Net: it marks what belongs to a lesion, and judges twins that other networks made.

On purpose another architecture than the segmentor inside a maker of twins (``nn.twin_networks``): two convolutions a
level, instance norms, maximum pooling, learned upsampling. Whoever is trained to please one network must be judged by
another.

Source      Ronneberger, Fischer and Brox 2015; convolutions are padded, so that the answer is as large as the image.

Shapes      B images   C channels   H, W sides   L levels
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def twice(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions of 3 x 3, each with a norm of its image alone: a batch of one is read like any other."""
    layers: list[nn.Module] = []
    for before in (inputs, outputs):
        layers += [nn.Conv2d(before, outputs, 3, padding=1, bias=False), nn.InstanceNorm2d(outputs, affine=True)]
        layers.append(nn.LeakyReLU(0.01, inplace=True))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Images of any side to a logit for each pixel.

    Args:
        channels: C of the images.
        widths: Channels of the L levels, the finest first; at least two.
    """

    def __init__(self, channels: int = 1, *, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.deepest = 2 ** (len(widths) - 1)
        self.down = nn.ModuleList(twice(before, after) for before, after in pairwise((channels, *widths)))
        rising = list(pairwise(reversed(widths)))
        self.rise = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, stride=2) for coarse, fine in rising)
        self.join = nn.ModuleList(twice(2 * fine, fine) for _, fine in rising)
        self.answer = nn.Conv2d(widths[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> logits ``(B, 1, H, W)``."""
        height, width = image.shape[2:]
        # Sides are filled up to whole pixels of the deepest level, of which an instance norm needs more than one.
        sides = [max(-(-side // self.deepest), 2) * self.deepest for side in (height, width)]
        x = F.pad(image, (0, sides[1] - width, 0, sides[0] - height), mode="replicate")
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        for rise, join, skip in zip(self.rise, self.join, reversed(skips[:-1]), strict=True):
            x = join(torch.cat([rise(x), skip], 1))
        logits: Tensor = self.answer(x)[..., :height, :width]
        return logits


def marking_loss(logits: Tensor, mask: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy plus 1 - Dice over all pixels of the images whose mask is known; 0 where none is.

    Dice is taken over the batch: of a single empty mask it says nothing.

    Args:
        logits: ``(B, 1, H, W)``.
        mask: ``(B, 1, H, W)`` of 0 and 1.
        known: ``(B,)`` bool.
    """
    weight = known.to(logits.dtype)[:, None, None, None]
    pixels = F.binary_cross_entropy_with_logits(logits, mask, reduction="none").mean((1, 2, 3), keepdim=True)
    entropy = (pixels * weight).sum() / weight.sum().clamp(min=1)
    found = logits.sigmoid() * weight
    dice = (2 * (found * mask).sum() + 1) / (found.sum() + (mask * weight).sum() + 1)
    return entropy + (1 - dice) * known.any().to(logits.dtype)
