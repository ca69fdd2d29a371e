"""The two-stage detector as a whole: slices -> trunk -> collector -> pyramid -> proposals -> regions.

Shapes      B images   S slices of an image   N slices of any   V views   C channels of a stride   P of the pyramid
            H, W image   h, w map at stride 4   M_i lesions of image i
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.detection.boxes import learnable
from semeia.detection.proposals import ProposalNetwork
from semeia.detection.regions import RegionHead

MULTIPLE = 32
"""Images are padded to multiples of it, right and below: twice the coarsest stride, so that collectors may pool."""

Found = tuple[Tensor, Tensor]
"""Boxes (n, 4) in pixels of the image that was given, inside it, and scores (n,) in [0, 1], best first."""


class Detector(nn.Module):
    """Finds lesions on the key slice, slice S // 2 of the S that it is given.

    Args:
        slices: S.
        trunk: See ``trunks``.
        collector: See ``collectors``.
        pyramid: Maps at strides 4, 8, 16 -> one at stride 4.
        proposals: The first stage; its anchor labeller is a slot of its own, see ``anchors``.
        regions: The second stage.
        branches: Further losses on regions by name, see ``regions``; they cost nothing in use.
        weights: Of losses by name: ``objectness``, ``anchor_boxes``, ``classes``, ``region_boxes``, and of branches.
        views: Ends of the windows that the trunk sees, as parts of the input's range; each becomes 0 to 1.
        mean: Of a view.
        std: Likewise.
    """

    lows: Tensor
    widths: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self, *, slices: int, trunk: nn.Module, collector: nn.Module, pyramid: nn.Module, proposals: ProposalNetwork,
        regions: RegionHead, branches: Mapping[str, nn.Module], weights: Mapping[str, float],
        views: Sequence[tuple[float, float]], mean: float, std: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.slices, self.weights = slices, dict(weights)
        self.trunk, self.collector, self.pyramid = trunk, collector, pyramid
        self.proposals, self.regions = proposals, regions
        self.branches = nn.ModuleDict(dict(branches))
        ends = torch.tensor(views)[..., None, None]  # (V, 2, 1, 1)
        self.register_buffer("lows", ends[:, 0], persistent=False)
        self.register_buffer("widths", ends[:, 1] - ends[:, 0], persistent=False)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    # -- from slices to a map

    def slice_maps(self, slices: Tensor) -> list[Tensor]:
        """Maps of slices, each alone: ``(N, H, W)`` in [0, 1] -> ``(N, C_k, H_k, W_k)`` of the padded slice each."""
        height, width = slices.shape[-2:]
        padded = F.pad(slices, (0, -width % MULTIPLE, 0, -height % MULTIPLE))
        seen = ((padded[:, None] - self.lows) / self.widths).clamp(0, 1)  # (N, V, H, W)
        return self.trunk((seen - self.mean) / self.std)

    def key_map(self, maps: list[Tensor]) -> Tensor:
        """Maps of all slices, ``(B, C_k, S, H_k, W_k)`` each -> the pyramid's map of the key slice ``(B, P, h, w)``."""
        return self.pyramid(self.collector(maps))

    def features(self, image: Tensor) -> Tensor:
        """``(B, S, H, W)`` in [0, 1] -> ``(B, P, h, w)``."""
        maps = self.slice_maps(image.flatten(0, 1))
        return self.key_map([x.unflatten(0, image.shape[:2]).transpose(1, 2) for x in maps])  # (B, C, S, H, W) each

    # -- training

    def losses(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Every loss of every image: (B,) each; ``loss`` is their weighted sum. A batch's loss is the mean.

        A lesion is clipped to the image; one of which less than a pixel's width or height is left is no lesion to learn
        from. An image without lesions teaches what is none.

        Args:
            batch: ``image`` (B, S, H, W) in [0, 1], ``boxes`` a list of (M_i, 4); optional ``masks``, a list of
                (M_i, H, W) bool.

        Raises:
            SemeiaError: A box that is none.
        """
        image = batch["image"]
        size = image.shape[-2], image.shape[-1]
        usable = [learnable(b, size, sample=i) for i, b in enumerate(batch["boxes"])]
        boxes = [lesions for lesions, _ in usable]
        masks = batch.get("masks")
        if masks is not None:
            masks = [mask[kept] for mask, (_, kept) in zip(masks, usable, strict=True)]
        features = self.features(image)
        answers = self.proposals(features)
        objectness, anchor_boxes = self.proposals.losses(answers, boxes, size)
        regions = self.regions.draw(self.proposals.propose(answers, size), boxes, masks)
        classes, region_boxes = self.regions.losses(features, regions)
        parts = {
            "objectness": objectness, "anchor_boxes": anchor_boxes, "classes": classes, "region_boxes": region_boxes,
            **{name: branch(features, regions, size) for name, branch in self.branches.items()},
        }  # fmt: skip
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum(0)
        return {"loss": total, **parts}

    # -- use

    @torch.no_grad()
    def predict(self, image: Tensor) -> list[Found]:
        """``(B, S, H, W)`` in [0, 1] -> what was found on each key slice."""
        return self.found(self.features(image), size=(image.shape[-2], image.shape[-1]))

    @torch.no_grad()
    def found(self, features: Tensor, *, size: tuple[int, int]) -> list[Found]:
        """What was found in maps ``(B, P, h, w)`` of images of ``size`` H, W."""
        return self.regions.detect(features, self.proposals.propose(self.proposals(features), size), size)

    @torch.no_grad()
    def predict_scan(self, slices: Iterable[Tensor], *, together: int = 1) -> Iterator[Found]:
        """Every slice of a scan as key slice, for one pass of the trunk a slice and constant memory.

        Args:
            slices: ``(H, W)`` in [0, 1] each, of equal size, in order, as far apart as in training. Beyond either end
                of the scan its last slice is repeated.
            together: Slices that the trunk sees at once; the answers do not depend on it, but for rounding.

        Yields:
            What was found on the first slice, the second, ...
        """
        before = self.slices // 2
        after = self.slices - 1 - before
        kept: dict[int, list[Tensor]] = {}
        source, read, key = iter(slices), 0, 0
        while True:
            group = list(islice(source, together))
            if group:
                size = group[0].shape[-2], group[0].shape[-1]
                maps = self.slice_maps(torch.stack(group))
                for i in range(len(group)):
                    kept[read + i] = [x[i] for x in maps]
                read += len(group)
            # All that lies behind a key slice must be read, or the scan be at its end.
            while key < (read - after if group else read):
                around = [kept[min(max(k, 0), read - 1)] for k in range(key - before, key + after + 1)]
                stacked = [torch.stack(at, 1)[None] for at in zip(*around, strict=True)]  # (1, C, S, H, W) each
                yield self.found(self.key_map(stacked), size=size)[0]
                kept.pop(key - before, None)
                key += 1
            if not group:
                return
