"""From a face to features of each action unit's region: the parts that JAA-Net gave its successors.

A stem of hierarchical regions, a branch that finds landmarks, windows or masked maps around each unit's centres, and a
branch of convolutions for each unit. The blocks are those of JAA-Net's published code (Shao et al. 2021,
PyTorch-JAANet, network.py); widths are free, and sides are kept apart, which is our own.

Shapes      B faces   C channels   H, W rows, columns   G = H / 4 cells of the stem's map   N units   w side of a region
            Q = 49 landmarks   D width of a feature
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.ops.face_regions import FORTY_NINE, region_maps, window_map, window_points


class LocalConvolution(nn.Module):
    """BN, ReLU and a 3 x 3 convolution with weights of its own for each cell of a grid; cells see themselves alone."""

    def __init__(self, channels: int, out: int, *, grid: int) -> None:
        super().__init__()
        cells = grid * grid
        self.grid = grid
        self.norm = nn.BatchNorm2d(cells * channels)
        self.convolve = nn.Conv2d(cells * channels, cells * out, 3, padding=1, groups=cells)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, out, H, W)``; H and W are multiples of the grid."""
        b, c, height, width = x.shape
        g, h, w = self.grid, height // self.grid, width // self.grid
        x = x.reshape(b, c, g, h, g, w).permute(0, 2, 4, 1, 3, 5).reshape(b, g * g * c, h, w)
        x = self.convolve(F.relu(self.norm(x)))
        return x.reshape(b, g, g, -1, h, w).permute(0, 3, 1, 4, 2, 5).reshape(b, -1, height, width)


class RegionLayer(nn.Module):
    """Hierarchical and multi-scale region layer: a convolution and what three ever coarser grids add to it.

    x' = ReLU(BN(x + [b_8 | b_4 | b_2])), x = conv(in), b_8 = local_8(x), b_4 = local_4(b_8), b_2 = local_2(b_4).
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(channels, out, 3, padding=1)
        self.fine = LocalConvolution(out, out // 2, grid=8)
        self.middle = LocalConvolution(out // 2, out // 4, grid=4)
        self.coarse = LocalConvolution(out // 4, out // 4, grid=2)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, out, H, W)``."""
        x = self.enter(x)
        fine = self.fine(x)
        middle = self.middle(fine)
        return F.relu(self.norm(x + torch.cat([fine, middle, self.coarse(middle)], 1)))


class RegionStem(nn.Sequential):
    """Two region layers, each followed by pooling: ``(B, 3, H, W) -> (B, C, H / 4, W / 4)``.

    Args:
        widths: Channels of both layers, multiples of 4.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        first, second = widths
        super().__init__(RegionLayer(3, first), nn.MaxPool2d(2), RegionLayer(first, second), nn.MaxPool2d(2))


class FeatureExtractor(nn.Sequential):
    """For each width two convolutions with BN and ReLU, then pooling; ``groups`` branches side by side, each alone.

    Args:
        channels: Of one branch.
        widths: Of one branch after each pooling.
        groups: Branches; the input holds theirs one after the other.
    """

    def __init__(self, channels: int, widths: Sequence[int], *, groups: int = 1) -> None:
        steps: list[nn.Module] = []
        for before, after in zip((channels, *widths), widths, strict=False):
            for entering in (before, after):
                steps += [
                    nn.Conv2d(groups * entering, groups * after, 3, padding=1, groups=groups, bias=False),
                    nn.BatchNorm2d(groups * after),
                    nn.ReLU(inplace=True),
                ]
            steps.append(nn.MaxPool2d(2))
        super().__init__(*steps)


class LandmarkBranch(nn.Module):
    """Finds 49 landmarks, and describes the whole face by the way.

    Args:
        channels: Of the stem's map.
        widths: Of the feature extractor.
        cells: G.
        hidden: Width of the layer between features and points.
    """

    usual: Tensor

    def __init__(self, channels: int, widths: Sequence[int], *, cells: int, hidden: int) -> None:
        super().__init__()
        self.features = FeatureExtractor(channels, widths)
        side = cells // 2 ** len(widths)
        self.points = nn.Sequential(
            nn.Flatten(), nn.Linear(widths[-1] * side * side, hidden), nn.Linear(hidden, 2 * len(FORTY_NINE))
        )
        # Points are found as differences from where they usually are, so that regions lie on the face from the start.
        self.register_buffer("usual", torch.full((len(FORTY_NINE), 2), 0.5))

    def forward(self, stem: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, C, G, G)`` -> points ``(B, Q, 2)`` as parts of the crop, features ``(B, C', G', G')``."""
        features = self.features(stem)
        return self.usual + 0.1 * self.points(features).unflatten(1, (-1, 2)), features


class WindowRegions(nn.Module):
    """Windows cut out of the stem's map around each centre, weighed by the region's Gaussian.

    Cheaper than masking the whole map, since a region covers a small part of it. Own; the subject's left is mirrored.
    """

    mask: Tensor

    def __init__(self, *, cells: int, reach: float = 2.5) -> None:
        super().__init__()
        self.cells, self.reach = cells, reach
        self.register_buffer("mask", window_map(cells, reach), persistent=False)

    def forward(self, stem: Tensor, centres: Tensor, spreads: Tensor) -> Tensor:
        """``(B, C, G, G)``, centres and spreads ``(B, N, 2, 2)`` -> ``(B, N, 2, C, w, w)``."""
        n = centres.shape[1]
        at = window_points(centres, spreads, cells=self.cells, reach=self.reach)
        at = at.flatten(1, 3) * 2 - 1  # (B, N * 2 * w, w, 2); grid_sample counts from -1 to 1
        with torch.autocast(stem.device.type, enabled=False):  # bf16 would round places by a tenth of a cell
            seen = F.grid_sample(stem.float(), at.float(), padding_mode="border", align_corners=False).to(stem.dtype)
        seen = seen.unflatten(2, (n, 2, self.cells)).permute(0, 2, 3, 1, 4, 5)  # (B, C, N*2*w, w) -> (B, N, 2, C, w, w)
        return seen * self.mask.to(seen.dtype)


class MapRegions(nn.Module):
    """The stem's whole map, weighed by the Gaussian of each region, as JAA-Net has it; the subject's left mirrored.

    Spreads that are infinite weigh all places alike.
    """

    def __init__(self, *, cells: int) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, stem: Tensor, centres: Tensor, spreads: Tensor) -> Tensor:
        """``(B, C, G, G)``, centres and spreads ``(B, N, 2, 2)`` -> ``(B, N, 2, C, G, G)``."""
        maps = region_maps(centres, spreads, cells=self.cells)[:, :, :, None]  # (B, N, 2, 1, G, G)
        left, right = (stem[:, None, None] * maps.to(stem.dtype)).unbind(2)  # (B, N, C, G, G) each
        return torch.stack([left.flip(-1), right], 2)


class UnitBranches(nn.Module):
    """A feature extractor and a linear layer for each unit, shared by its two sides.

    Args:
        units: N.
        channels: Of the stem's map.
        widths: Of the extractors.
        cells: Side of a region.
        width: D.
    """

    def __init__(self, units: int, channels: int, widths: Sequence[int], *, cells: int, width: int) -> None:
        super().__init__()
        self.features = FeatureExtractor(channels, widths, groups=units)
        side = cells // 2 ** len(widths)
        size = widths[-1] * side * side
        self.weight = nn.Parameter(torch.randn(units, size, width) * (2 / size) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(units, width))

    def forward(self, regions: Tensor) -> Tensor:
        """``(B, N, 2, C, w, w) -> (B, N, 2, D)``, not negative."""
        b, n = regions.shape[:2]
        x = regions.transpose(1, 2).flatten(2, 3).flatten(0, 1)  # (B * 2, N * C, w, w)
        x = self.features(x).reshape(b, 2, n, -1)
        x = torch.einsum("bsnf,nfd->bnsd", x, self.weight) + self.bias[:, None]
        return F.relu(x)
