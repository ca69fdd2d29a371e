"""Valence and arousal of found faces, by EMMA.

Shapes      F faces   S side of a crop
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from semeia import checkpoint
from semeia.predict.units import aligned_crop, in_chunks
from semeia.records import Face
from semeia.systems import emma


class AffectReader:
    """EMMA, loaded once and used for many faces.

    Args:
        model: A trained EMMA.
        weights: Name of the weights.
        device: Where the model runs.
    """

    def __init__(self, model: emma.EMMA, *, weights: str, device: torch.device) -> None:
        self.model = model.to(device).eval()
        self.weights, self.device = weights, device

    @classmethod
    def load(cls, weights: str | Path, device: torch.device) -> AffectReader:
        """Load bundled weights by name, or a checkpoint folder of your own by path.

        Raises:
            SemeiaError: The weights do not exist or do not fit, or the frozen expression network cannot be had.
        """
        model, name = checkpoint.load(weights, system="emma", kind=emma.Config, build=emma.build)
        model.fetch()
        return cls(model, weights=name, device=device)

    def crop(self, image: np.ndarray, face: Face) -> np.ndarray:
        """The (S, S, 3) uint8 aligned view that the network reads, of a picture (H, W, 3)."""
        config = self.model.config
        return aligned_crop(image, face, size=config.image_size, margin=config.margin)

    def read(self, crops: Sequence[np.ndarray]) -> list[tuple[float, float]]:
        """Valence and arousal of each face, from crops F x (S, S, 3), at least one."""
        said = in_chunks(self.model.predict, crops, self.device)["valence_arousal"]
        return [(float(valence), float(arousal)) for valence, arousal in said]
