"""ULD: universal lesion detection in CT, the plain two-stage detector that other systems add to.

    Paper   The base detector of AlignShift, A3D and SATr (Li et al., MICCAI 2022, arXiv 2203.07373), of which the
            authors' code was read; data and protocol: DeepLesion
    Idea    A lesion is judged on one slice, but a vessel that runs through looks like one there: neighbouring slices
            tell them apart. A network sees each slice, what it saw of all slices is gathered for the key slice, and a
            detector of two stages finds boxes there.
    Flow    S slices, each alone -> trunk -> maps at strides 4, 8, 16 -> collector: maps of the key slice
            -> pyramid: one map at stride 4 -> proposals -> regions -> boxes and scores
    Known   The numbers of the detector, from the authors' code. A3D's mixing of slices inside the trunk is left out:
            here slices meet in the collector alone (docs/systems/uld.md).

Shapes      B images   S slices   H, W image   M_i lesions of image i
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from semeia.detection.design import Design, build_detector
from semeia.detection.detector import Detector, Found
from semeia.metrics import froc
from semeia.task import Task

RATES = froc.RATES
"""False detections an image that ``ULD.score_at`` holds scores of."""


@dataclass(frozen=True)
class Config(Design):
    """What the detector is: nothing is added to ``detection.design.Design``, where every field names its source."""


SMALL = Config(
    slices=3, image_size=256, padding=2.5, mean=0.3, std=0.25, trunk="narrow", pyramid=48,
    anchor_scales=(8.0, 12.0, 18.0, 27.0, 45.0), anchor_ratios=(1.0,), anchor_positive=0.5,
    proposal_hidden=48, proposal_separable=True, proposals_before=(600, 600), proposals_after=(200, 100),
    region_sampling=1, region_hidden=128, region_count=32,
)  # fmt: skip
"""For two cores. [default: own; anchors are about half of the published sizes since pixels are twice as large, of one
ratio, and count as lesions from an IoU of 0.5: about 7 an average lesion, where 0.7 leaves half of them with none]"""

TINY = replace(
    SMALL, image_size=64, padding=0.6, trunk_channels=(8, 16, 32), pyramid=16, proposal_hidden=16,
    proposals_before=(100, 100), proposals_after=(40, 20), region_size=5, region_hidden=32,
)  # fmt: skip
"""For trying that everything runs. [default: own]"""


class ULD(Task):
    """The detector as a task: ``forward`` returns losses, ``predict`` answers.

    Args:
        config: See ``Config``.
        detector: The detector.
    """

    score_at: Tensor

    def __init__(self, config: Config, *, detector: Detector) -> None:
        super().__init__()
        self.config, self.detector = config, detector
        # From held-out data: the scores that leave ``RATES`` false detections an image.
        self.register_buffer("score_at", torch.zeros(len(RATES)))

    def forward(self, batch: dict[str, Any], loss: str = "main") -> dict[str, Tensor]:
        """Means over the images of all losses.

        Args:
            batch: ``image`` (B, S, H, W) in [0, 1], ``boxes`` a list of (M_i, 4) pixels; optional ``masks``, a list of
                (M_i, H, W) bool. One loss an image: ``detector.losses``.
            loss: There is one, ``main``.
        """
        return {name: each.mean() for name, each in self.detector.losses(batch).items()}

    def predict(self, image: Tensor) -> list[Found]:
        """``(B, S, H, W)`` in [0, 1] -> boxes (n, 4) and scores (n,) of each key slice, best first."""
        return self.detector.predict(image)

    def predict_scan(self, slices: Iterable[Tensor], *, together: int = 1) -> Iterator[Found]:
        """Slices (H, W) of a scan in order -> what was found on each, for one pass of the trunk a slice."""
        return self.detector.predict_scan(slices, together=together)


def build(config: Config) -> ULD:
    """Build the detector with random weights.

    Raises:
        SemeiaError: A value that will not do.
    """
    return ULD(config, detector=build_detector(config))
