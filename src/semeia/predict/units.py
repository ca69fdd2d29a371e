"""Action units by a network of their own, ALGRNet or MGRR-Net, in place of those of Q-Face.

Shapes      F faces   S side of a crop   N units
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semeia.ops.faces import aligned_matrix, crop, landmarks_68
from semeia.records import ActionUnit, Face
from semeia.unit_networks import load_network

CHUNK = {"cpu": 32, "cuda": 256}
"""Crops in one forward pass by kind of device: where a card is no busier, and what a crowd takes in memory."""


def in_chunks(
    predict: Callable[..., dict[str, Tensor]], crops: Sequence[np.ndarray], device: torch.device, **options: Any
) -> dict[str, np.ndarray]:
    """Answers of a model to crops F x (S, S, 3) uint8, at least one, as float32 arrays with a first axis of F."""
    batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)  # (F, S, S, 3) -> (F, 3, S, S)
    parts = batch.split(CHUNK.get(device.type, CHUNK["cpu"]))
    chunks = [predict(part.to(device).float() / 255, **options) for part in parts]
    return {name: torch.cat([c[name] for c in chunks]).float().cpu().numpy() for name in chunks[0]}


def aligned_crop(image: np.ndarray, face: Face, *, size: int, margin: float) -> np.ndarray:
    """The aligned view ``(size, size, 3)`` uint8 of a face of a picture (H, W, 3); see ``ops.faces.aligned_matrix``."""
    return crop(image, aligned_matrix(landmarks_68(face.mesh), size, margin=margin), size=size)


class UnitReader:
    """A network for action units, loaded once and used for many faces.

    Args:
        model: A trained ALGRNet or MGRR-Net.
        weights: Name of the weights.
        device: Where the model runs.
    """

    def __init__(self, model: Any, *, weights: str, device: torch.device) -> None:
        self.model: Any = model.to(device).eval()
        self.weights, self.device = weights, device

    @classmethod
    def load(cls, weights: str | Path, device: torch.device) -> UnitReader:
        """Load bundled weights by name, or a checkpoint folder of your own by path; either says which system it is.

        Raises:
            SemeiaError: The weights do not exist, do not fit, or are of another kind of system.
        """
        model, name = load_network(weights)
        return cls(model, weights=name, device=device)

    def crop(self, image: np.ndarray, face: Face) -> np.ndarray:
        """The (S, S, 3) uint8 aligned view that the network reads, of a picture (H, W, 3)."""
        config = self.model.config
        return aligned_crop(image, face, size=config.image_size, margin=config.margin)

    def predict(self, crops: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The network's answers to crops F x (S, S, 3), at least one, as arrays with a first axis of F."""
        return in_chunks(self.model.predict, crops, self.device)

    def read(self, crops: Sequence[np.ndarray]) -> list[dict[str, ActionUnit]]:
        """The action units of each face, from crops F x (S, S, 3), at least one."""
        said = self.predict(crops)
        names, thresholds = self.model.config.action_units, self.model.unit_threshold.tolist()
        return [
            {
                name: ActionUnit(
                    probability=float(said["au_probability"][i, k]),
                    intensity=float(said["au_intensity"][i, k]),
                    left=float(said["au_sides"][i, k, 0]),
                    right=float(said["au_sides"][i, k, 1]),
                    threshold=thresholds[k],
                )
                for k, name in enumerate(names)
            }
            for i in range(len(crops))
        ]
