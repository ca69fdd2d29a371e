"""Batches by number: each is a pure function of its index, so that a resumed run needs no replay."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from typing import Any, Protocol
from zlib import crc32

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from semeia.records import SemeiaError

Batch = dict[str, Any]


class Feed(Protocol):
    """Where batches come from.

    ``batch`` depends on its arguments alone. Random numbers drawn from ``random``, ``numpy.random`` or ``torch`` are
    welcome: they are seeded from (seed, feed, step, rank) before each call. With data workers a feed is pickled once.
    """

    def batch(self, index: int, rank: int, world: int, /) -> Batch:
        """Return micro-batch number ``index`` (from 0, over the whole training) of process ``rank`` of ``world``."""
        ...


def seed_all(*key: int) -> None:
    """Seed Python, NumPy and torch from a tuple of numbers; different tuples give unrelated streams."""
    words = np.random.SeedSequence([k % 2**32 for k in key]).generate_state(4)
    random.seed(words.tobytes())
    np.random.seed(words)  # noqa: NPY002  the global generator is what third-party augmentation draws from
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))


class Prefetch:
    """The micro-batches ``indices`` of a feed, in order, computed ahead by background processes.

    Args:
        feed: Its batches are equal with any number of workers.
        name: Of the feed; part of the seed.
        indices: Which micro-batches, in which order.
        rank: This process among ``world``.
        world: Number of training processes.
        seed: Of the training.
        workers: Background processes of this training process; 0 computes each batch when it is asked for.
        pin: Put batches in page-locked memory, from where a GPU copies faster.
    """

    def __init__(
        self, feed: Feed, *, name: str, indices: range, rank: int, world: int, seed: int, workers: int, pin: bool
    ) -> None:
        self._queue: Iterator[Batch | SemeiaError] = iter(
            DataLoader(
                _Numbered(feed, key=(seed, crc32(name.encode())), rank=rank, world=world),
                sampler=indices,
                batch_size=None,
                collate_fn=_as_it_is,
                num_workers=workers,
                worker_init_fn=_leave_interrupts_to_the_parent,
                # A fork would share open files, locks and CUDA with its parent.
                multiprocessing_context="spawn" if workers else None,
                pin_memory=pin,
            )
        )

    def __next__(self) -> Batch:
        """Return the next batch.

        Raises:
            SemeiaError: The feed's own, also when it arose in a worker.
        """
        batch = next(self._queue)
        if isinstance(batch, SemeiaError):
            raise batch
        return batch

    def close(self) -> None:
        """Stop the workers."""
        self._queue = iter(())


class _Numbered(Dataset):
    """A feed as a map from index to batch, seeded before each."""

    def __init__(self, feed: Feed, *, key: tuple[int, ...], rank: int, world: int) -> None:
        self.feed, self.key, self.rank, self.world = feed, key, rank, world

    def __getitem__(self, index: int) -> Batch | SemeiaError:
        seed_all(*self.key, index, self.rank)
        try:
            return self.feed.batch(index, self.rank, self.world)
        except SemeiaError as error:
            # Raised in a worker it would arrive wrapped in a traceback.
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_interrupts_to_the_parent(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the training still needs batches to finish its step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
