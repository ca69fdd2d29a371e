"""Photos of any size brought to squares of one, each with its mask, and batches of them with prompts.

Shapes      H, W photo   S side of a square   N photos   C, h, w latents   B batch   P class pictures of a batch
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor


@dataclass(frozen=True)
class PhotoSquares:
    """Photos as they are learned from: ``images`` (N, 3, S, S) in [0, 1] and ``masks`` (N, S, S) in [0, 1]."""

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]


def squared(photo: np.ndarray, mask: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest square of a photo that holds as much of its subject as one can, at one size.

    Args:
        photo: (H, W, 3) uint8.
        mask: (H, W) in [0, 1]; photo and mask are cut and resized alike.
        side: S.

    Returns:
        (S, S, 3) uint8 and (S, S) float32.
    """
    height, width = mask.shape
    short = min(height, width)
    along = mask.sum(0) if width > height else mask.sum(1)  # what each column, or row, has of the subject
    held = np.concatenate([[0.0], np.cumsum(along)])
    kept = held[short:] - held[: len(held) - short]
    # Of the starts that hold the same, the middle one.
    best = np.flatnonzero(kept >= kept.max() - 1e-6)
    start = int(best[len(best) // 2])
    x, y = (start, 0) if width > height else (0, start)
    box = (x, y, x + short, y + short)
    picture = Image.fromarray(photo).crop(box).resize((side, side), Image.Resampling.LANCZOS)
    cover = Image.fromarray(mask.astype(np.float32)).crop(box).resize((side, side), Image.Resampling.BOX)
    return np.asarray(picture), np.clip(np.asarray(cover), 0, 1)


def squares(photos: list[np.ndarray], masks: list[np.ndarray], names: list[str], side: int) -> PhotoSquares:
    """All photos as squares; see ``squared``."""
    pairs = [squared(photo, mask, side) for photo, mask in zip(photos, masks, strict=True)]
    images = torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255 for image, _ in pairs])
    return PhotoSquares(images, torch.stack([torch.from_numpy(mask.copy()) for _, mask in pairs]), tuple(names))


@dataclass(frozen=True)
class Latents:
    """Pictures as an autoencoder describes them: ``mean`` and ``deviation`` (N, C, h, w), ``mask`` (N, h, w)."""

    mean: Tensor
    deviation: Tensor
    mask: Tensor


class PhotoFeed:
    """Batches of photos, each with a row of a prompt table.

    Args:
        photos: What is learned from.
        shares: How often each row is drawn; they sum to 1.
        batch_size: B.
        prior: Class pictures, P = B of which go with every batch; None for none.
        seed: Of the order of photos.
    """

    def __init__(
        self,
        photos: Latents,
        shares: tuple[float, ...],
        *,
        batch_size: int,
        prior: Latents | None,
        seed: int,
    ) -> None:
        self.photos, self.shares, self.batch_size, self.prior, self.seed = photos, shares, batch_size, prior, seed

    def batch(self, index: int, rank: int, world: int) -> dict[str, Tensor]:
        """Batch number ``index`` of process ``rank``: every photo once before any comes again."""
        first = (index * world + rank) * self.batch_size
        numbers = range(first, first + self.batch_size)
        photo = torch.tensor([_turn(number, len(self.photos.mean), self.seed) for number in numbers])
        shares = np.array(self.shares) / np.sum(self.shares)
        # The loop seeds this stream before each batch.
        row = torch.from_numpy(np.random.choice(len(shares), self.batch_size, p=shares))  # noqa: NPY002
        batch = {
            "mean": self.photos.mean[photo],
            "deviation": self.photos.deviation[photo],
            "mask": self.photos.mask[photo],
            "photo": photo,
            "row": row,
        }
        if self.prior is not None:
            drawn = torch.tensor([_turn(number, len(self.prior.mean), self.seed + 1) for number in numbers])
            batch |= {"prior_mean": self.prior.mean[drawn], "prior_deviation": self.prior.deviation[drawn]}
        return batch


def _turn(number: int, count: int, seed: int) -> int:
    """Item ``number`` of endless rounds through ``count`` things, each round in an order of its own."""
    order = np.random.default_rng([seed, number // count]).permutation(count)
    return int(order[number % count])
