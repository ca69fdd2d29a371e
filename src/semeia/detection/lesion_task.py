"""A detector of lesions as the training loop and predictions ask for it; systems derive from it and add what is theirs.

Shapes      B images   S slices   H, W image   M_i lesions of image i   n boxes
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from semeia.detection.design import Design
from semeia.detection.detector import Detector, Found
from semeia.metrics.froc import RATES
from semeia.task import Task


class LesionTask(Task):
    """``forward`` returns losses, ``predict`` answers.

    Args:
        config: The numbers of the detector, and those of the system.
        detector: The detector.
    """

    score_at: Tensor

    def __init__(self, config: Design, *, detector: Detector) -> None:
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
