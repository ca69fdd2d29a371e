"""A region branch that learns the outline of a lesion, and what other branches on regions share with it.

Shapes      B images   P channels of the pyramid   D channels of the branch   R regions that are lesions   K maps
            H, W image   28 side of a map
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from semeia.detection.regions import Regions, mean_by_image

REGION, MAP = 14, 28
"""Cells of a region, and side of what is drawn in it. [code]"""

_DICE = 0.01
"""Added above and below, so that an empty mask has a loss. [code]"""


class MapHead(nn.Module):
    """RoIAlign 14, four convolutions, a transposed one, and K maps of 28 x 28 logits.

    Args:
        channels: P.
        width: D.
        maps: K.
        stride: Of the pyramid's map.
    """

    def __init__(self, channels: int, width: int, *, maps: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        steps: list[nn.Module] = []
        for before in (channels, width, width, width):
            steps += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
        steps += [nn.ConvTranspose2d(width, width, 2, 2), nn.ReLU(), nn.Conv2d(width, maps, 1)]
        self.steps = nn.Sequential(*steps)
        for layer in self.steps:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                # By torch's default a signal shrinks to a hundredth on its way through; as torchvision's mask head.
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, boxes: list[Tensor]) -> Tensor:
        """``(B, P, h, w)`` and boxes (n_i, 4) of each image -> ``(R, K, 28, 28)`` logits."""
        x = roi_align(features, boxes, REGION, 1 / self.stride, sampling_ratio=2, aligned=True)
        return self.steps(x)


def cropped(pictures: list[Tensor], boxes: list[Tensor]) -> Tensor:
    """Cut each box out of its own picture, bilinear: the target of what a ``MapHead`` draws.

    Args:
        pictures: (n_i, H, W) of each image, one a box: masks of lesions, or maps over the image.
        boxes: (n_i, 4) pixels of each image.

    Returns:
        (R, 28, 28) float32.
    """
    stacked, places = torch.cat(pictures).float()[:, None], torch.cat(boxes)
    number = torch.arange(len(places), device=places.device, dtype=places.dtype)[:, None]
    return roi_align(stacked, torch.cat([number, places], 1), MAP, 1.0, aligned=True)[:, 0]


def dice_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """1 - (2 sum pt + eps) / (sum p + sum t + eps) of each map, p = sigmoid(logits): (R, h, w) twice -> (R,).

    For hard targets: with soft ones it is not least at p = t.
    """
    p, t = logits.float().sigmoid().flatten(1), targets.flatten(1)
    return 1 - (2 * (p * t).sum(1) + _DICE) / (p.sum(1) + t.sum(1) + _DICE)


class MaskHead(nn.Module):
    """A region branch: the mask of the lesion in each region that is one, by Dice. Images without masks cost nothing.

    Args:
        channels: P.
        width: D.
        stride: Of the pyramid's map.
    """

    def __init__(self, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.draw = MapHead(channels, width, maps=1, stride=stride)

    def forward(self, features: Tensor, regions: Regions, size: tuple[int, int]) -> Tensor:
        """Losses (B,), see the rules of region branches."""
        regions = regions.of_lesions()
        height, width = size
        masks = regions.masks or [b.new_zeros(0, height, width) for b in regions.boxes]
        if regions.masks is None:
            regions = regions._replace(boxes=[b[:0] for b in regions.boxes], matched=[m[:0] for m in regions.matched])
        truth = [mask[m] for mask, m in zip(masks, regions.matched, strict=True)]
        logits = self.draw(features, regions.boxes)[:, 0]
        each = dice_losses(logits, (cropped(truth, regions.boxes) >= 0.5).float())
        counts = torch.tensor([len(b) for b in regions.boxes], device=features.device)
        return mean_by_image(each, regions.image, counts)

    def probabilities(self, features: Tensor, boxes: list[Tensor]) -> Tensor:
        """Masks inside boxes (n_i, 4) of each image: (R, 28, 28) in [0, 1]."""
        return self.draw(features, boxes)[:, 0].float().sigmoid()
