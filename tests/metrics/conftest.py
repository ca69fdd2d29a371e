"""Random detections that several tests stand on."""

from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Image:
    truths: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    patient: str


@pytest.fixture(scope="session")
def random_images():
    """A function that makes them."""
    return _random_images


def _random_images(seed, images=40, *, patients=9, axes=2, levels=None, skill=1.0):
    """Images with 0 to 3 lesions, detections near some of them (repeats as well) and elsewhere.

    Scores are all different, or whole numbers below ``levels``.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        truths = _boxes(rng, rng.integers(0, 4), axes)
        near = np.repeat(truths, rng.integers(0, 4, len(truths)), axis=0)
        near = near + rng.normal(0, 2.5, near.shape)
        near = np.hstack([np.minimum(near[:, :axes], near[:, axes:]), np.maximum(near[:, :axes], near[:, axes:])])
        far = _boxes(rng, rng.integers(0, 6), axes)
        boxes = np.vstack([near, far])
        scores = rng.random(len(boxes)) + skill * (np.arange(len(boxes)) < len(near)) * rng.random(len(boxes))
        if levels:
            scores = np.floor(scores / 2 * levels)
        mixed = rng.permutation(len(boxes))
        found.append(Image(truths, boxes[mixed], scores[mixed], f"p{rng.integers(patients)}"))
    return found


def _boxes(rng, count, axes):
    low = rng.uniform(0, 60, (count, axes))
    return np.hstack([low, low + rng.uniform(8, 40, (count, axes))])
