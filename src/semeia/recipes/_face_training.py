"""Fields that recipes of systems on labelled faces share."""

from __future__ import annotations

from dataclasses import dataclass, field

from semeia.data.augment import Augmentation
from semeia.data.feeds import Balance
from semeia.face_sets import FaceData
from semeia.train.loop import Fit


@dataclass(frozen=True)
class FaceTraining:
    """Data and optimiser of one training; recipes add their model, and what else is theirs."""

    data: FaceData = field(default_factory=FaceData)
    """Labelled faces; several sets are mixed within every batch."""
    shares: tuple[float, ...] | None = None
    """Part of each batch that each set fills, in the order of the fields of ``data``; equal parts by default."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """What is done to the pictures in training."""
    batch_size: int = 64
    """Images a step and process."""
    balance: Balance = "au"
    """``au`` draws faces with rare action units and expressions more often, ``none`` all alike."""
    learning_rate: float = 1e-3
    """Peak, reached after the warm-up; a cosine leads to zero."""
    weight_decay: float = 0.05
    """AdamW's."""
    workers: int = 1
    """Processes that prepare batches."""
    validate: int = 400
    """Held-out images that are read at each evaluation while training."""
    test: int | None = None
    """Held-out images of each folder in the final table; all by default."""
    rounds: int = 1000
    """Of the bootstrap that gives the final table its intervals; 0 gives none."""
    fit: Fit = field(default_factory=Fit)
    """Length, intervals, clipping, averaging of weights."""


def mild() -> Augmentation:
    """Milder than the defaults, in light and colour above all: those cost Q-Face most (docs/systems/qface.md)."""
    return Augmentation(
        shift=0.1, p_occluder=0.15, p_light=0.2, light=0.4, p_vignette=0.05, p_blur=0.2, blur=(0.3, 1.2), p_motion=0.05,
        motion=(2.0, 5.0), p_noise=0.2, noise=(1.0, 8.0), p_shot=0.1, p_gain=0.25, gain=0.1, p_brightness=0.25,
        brightness=0.2, p_contrast=0.25, contrast=0.25, p_gamma=0.2, gamma=(0.75, 1.35), p_saturation=0.15, p_grey=0.05,
        p_resample=0.2, resample=(0.4, 1.0), p_jpeg=0.25, jpeg=(40, 95),
    )  # fmt: skip
