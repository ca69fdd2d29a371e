"""Action units by a network of their own, ALGRNet or MGRR-Net, in place of those of Q-Face.

Shapes      F faces   S side of a crop   N units
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from semeia import checkpoint
from semeia.ops.faces import aligned_matrix, crop, landmarks_68
from semeia.records import ActionUnit, Face, SemeiaError
from semeia.systems import algrnet, mgrrnet

NETWORKS: dict[str, ModuleType] = {"algrnet": algrnet, "mgrrnet": mgrrnet}
"""Systems that read action units alone."""

CHUNK = 32  # crops in one forward pass


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
            SemeiaError: The weights do not exist, do not fit, or are of a system that is none of ``NETWORKS``.
        """
        system = checkpoint.system_of(weights)
        if system not in NETWORKS:
            raise SemeiaError(f"{weights}: expected weights of {' or '.join(NETWORKS)}, found those of {system!r}")
        of = NETWORKS[system]
        model, name = checkpoint.load(weights, system=system, kind=of.Config, build=of.build)
        return cls(model, weights=name, device=device)

    def crop(self, image: np.ndarray, face: Face) -> np.ndarray:
        """The (S, S, 3) uint8 aligned view that the network reads, of a picture (H, W, 3)."""
        config = self.model.config
        matrix = aligned_matrix(landmarks_68(face.mesh), config.image_size, margin=config.margin)
        return crop(image, matrix, size=config.image_size)

    def predict(self, crops: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """The network's answers to crops F x (S, S, 3), at least one, as arrays with a first axis of F."""
        batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)  # (F, S, S, 3) -> (F, 3, S, S)
        chunks = [self.model.predict(part.to(self.device).float() / 255) for part in batch.split(CHUNK)]
        return {name: torch.cat([c[name] for c in chunks]).cpu().numpy() for name in chunks[0]}

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
