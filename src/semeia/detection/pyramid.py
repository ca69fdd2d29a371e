"""From maps at strides 4, 8 and 16 to one map at stride 4.

Shapes      B images   C channels of a stride   P channels of the pyramid   H, W map
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class Pyramid(nn.Module):
    """Coarse maps, each brought to P channels by a 1 x 1 convolution, are enlarged (nearest) and added to finer ones.

    Without the 3 x 3 smoothing of the usual pyramid, as published.

    Args:
        channels: C of each map, finest first.
        width: P.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """``(B, C_k, H_k, W_k)`` each, finest first -> ``(B, P, H_0, W_0)``."""
        *finer, coarse = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for x in reversed(finer):
            coarse = x + F.interpolate(coarse, size=x.shape[-2:], mode="nearest")
        return coarse
