"""A region branch that draws the bounding maps of the lesions in each region that is one.

Shapes      B images   P channels of the pyramid   D channels of the branch   R regions that are lesions   K maps
            n_i regions of image i   M_i lesions of image i   28 side of a map
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.detection.masks import MAP, MapHead
from semeia.detection.regions import Regions, mean_by_image
from semeia.ops.bounding_maps import MAPS, PLAIN, MapName, Profile, bounding_maps

MapLoss = Literal["mse", "bce"]


def entropy(values: Tensor) -> Tensor:
    """Cross-entropy that a perfect answer to targets in [0, 1] still has: -t ln t - (1 - t) ln (1 - t), elementwise."""
    return -torch.xlogy(values, values) - torch.xlogy(1 - values, 1 - values)


def map_targets(
    boxes: list[Tensor], lesions: list[Tensor], *, maps: Sequence[MapName] = MAPS, profile: Profile = PLAIN
) -> Tensor:
    """The maps of all lesions of an image, cut out at each region.

    They are computed at the centres of the region's 28 x 28 cells, which is what a cut from a map of infinite
    resolution would hold; the authors cut from a map of pixels, bilinear.

    Args:
        boxes: (n_i, 4) regions of each image.
        lesions: (M_i, 4) of each image.
        maps: Which, K names.
        profile: Of the fall.

    Returns:
        (R, K, 28, 28) in [0, 1].
    """
    chosen = [MAPS.index(name) for name in maps]
    targets = []
    for regions, truth in zip(boxes, lesions, strict=True):
        at = (torch.arange(MAP, device=regions.device) + 0.5) / MAP
        x, y = (regions[:, k, None] + (regions[:, k + 2] - regions[:, k])[:, None] * at for k in (0, 1))  # (n_i, 28)
        drawn = bounding_maps(x[:, None], y[:, :, None], truth, profile)  # (3, n_i, 28, 28)
        targets.append(drawn[chosen].transpose(0, 1))
    return torch.cat(targets)


def square_errors(logits: Tensor, targets: Tensor) -> Tensor:
    """(sigmoid(logits) - t)^2, elementwise."""
    return (logits.sigmoid() - targets).square()


def excess_entropies(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy less what a perfect answer has, elementwise: 0 where sigmoid(logits) = t."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none") - entropy(targets)


MAP_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": square_errors, "bce": excess_entropies}
"""Both are least, and 0, at the target itself; Dice is not."""


class MapBranch(nn.Module):
    """A region branch, see the rules in ``regions``: maps of the regions that are lesions, by a mean over their cells.

    Args:
        channels: P.
        stride: Of the pyramid's map.
        width: D.
        maps: Which, K names.
        profile: Of the fall.
        loss: See ``MAP_LOSSES``.
    """

    def __init__(
        self, channels: int, stride: int, *, width: int, maps: Sequence[MapName], profile: Profile, loss: MapLoss
    ) -> None:
        super().__init__()
        self.maps, self.profile, self.loss = tuple(maps), profile, MAP_LOSSES[loss]
        self.draw = MapHead(channels, width, maps=len(self.maps), stride=stride)

    def forward(self, features: Tensor, regions: Regions, size: tuple[int, int]) -> Tensor:
        """Losses (B,), see the rules of region branches."""
        regions = regions.of_lesions()
        targets = map_targets(regions.boxes, regions.lesions, maps=self.maps, profile=self.profile)
        each = self.loss(self.draw(features, regions.boxes).float(), targets).flatten(1).mean(1)  # (R,)
        counts = torch.tensor([len(b) for b in regions.boxes], device=features.device)
        return mean_by_image(each, regions.image, counts)

    def drawn(self, features: Tensor, boxes: list[Tensor]) -> Tensor:
        """What it draws in boxes (n_i, 4) of each image, to be looked at: (R, K, 28, 28) in [0, 1]."""
        return self.draw(features, boxes).float().sigmoid()
