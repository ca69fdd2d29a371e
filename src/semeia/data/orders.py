"""Which samples stand together in a batch, where that depends on what the training has measured.

    losses and uncertainties of all samples -> difficulty -> sequence -> batches of an epoch -> any feed

Difficulties, sequences and weights are pure functions. ``Curriculum`` lives in a task: it keeps what was measured and
decides at the end of an epoch how the next one goes. ``LearnedOrder`` takes that to the feed.

A feed with such an order makes each batch from its number and the batches of that number's epoch, which never change
once they are decided. Data workers ask for batches ahead of time; they wait where an epoch is not decided yet. Batches
of an epoch are asked for in order, so that nobody waits for one who waits. All that decides is in the curriculum's
buffers and is saved with the task: a training that was killed goes on with the batches it would have seen.

Shapes      N samples   b samples of a batch   K batches of an epoch, of all processes
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from torch.utils.data import get_worker_info

from semeia.records import SemeiaError

Arrangement = Literal["mixed", "same", "random"]
Criterion = Literal["both", "loss", "uncertainty"]
Weighting = Literal["none", "self-paced", "hard"]

_PAUSE = 0.005
"""Seconds between two looks of a worker that waits."""


# -- difficulty


def ranks(values: np.ndarray) -> np.ndarray:
    """Place of each of (N,) values among all, 0 to N - 1, compared in float32; of equals the earlier comes first.

    >>> ranks(np.array([0.3, 0.1, 0.3]))
    array([1, 0, 2])
    """
    places = np.empty(len(values), np.int64)
    places[np.argsort(values.astype(np.float32), kind="stable")] = np.arange(len(values))
    return places


def difficulty(losses: np.ndarray, uncertainties: np.ndarray) -> np.ndarray:
    """D_i = rank(U_i) + rank(L_i) of (N,) samples, 0 to 2 N - 2. High loss alone or uncertainty alone is middling."""
    return ranks(uncertainties) + ranks(losses)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation of two (N,) quantities without ties."""
    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


# -- sequences


def rising(hardness: np.ndarray) -> np.ndarray:
    """Numbers of (N,) samples, easiest first: batches of equals."""
    return np.argsort(hardness.astype(np.float32), kind="stable")


def mixed(hardness: np.ndarray) -> np.ndarray:
    """Numbers of (N,) samples: easiest, hardest, second easiest, second hardest, ...; the middle one of an odd N ends.

    >>> mixed(np.array([10.0, 50.0, 30.0, 20.0, 40.0]))
    array([0, 1, 3, 4, 2])
    """
    order = rising(hardness)
    middle = (len(order) + 1) // 2
    sequence = np.empty_like(order)
    sequence[::2], sequence[1::2] = order[:middle], order[middle:][::-1]
    return sequence


ARRANGEMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"mixed": mixed, "same": rising}


def batches_of(sequence: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Cut a sequence of K b samples into batches and put those in a random order: (K, b)."""
    return rng.permutation(sequence.reshape(-1, batch_size), axis=0)


def variance_across(values: np.ndarray, batches: np.ndarray) -> float:
    """Variance over batches (K, b) of a batch's mean of ``values`` (N,).

    Of all ways of pairing numbers, smallest with largest makes it least: two pairs whose order agrees, a <= b and
    c <= d paired (a, c), (b, d), have (a + c)^2 + (b + d)^2 = (a + d)^2 + (b + c)^2 + 2 (b - a)(d - c).
    """
    return float(values[batches].mean(1).var())


# -- weights, of the methods that mixed order is compared with


def self_paced_weights(hardness: np.ndarray, share: float) -> np.ndarray:
    """v_i = 1[D_i < lambda] of (N,) samples, where lambda lets the easiest ``share`` of them in."""
    return (ranks(hardness) < share * len(hardness)).astype(np.float32)


def hard_weights(hardness: np.ndarray) -> np.ndarray:
    """Weights of (N,) samples that rise with the rank from about 0 to about 2; their mean is 1."""
    return (2 * (ranks(hardness) + 1) / (len(hardness) + 1)).astype(np.float32)


# -- from the training to the feed


class BatchOrder(Protocol):
    """Which samples stand together in a batch."""

    def batch(self, step: int, /) -> Sequence[int]:
        """Numbers of the samples of batch ``step``, counted from 0 over the whole training and all ranks."""
        ...


class LearnedOrder:
    """The batches of one epoch, in memory that a feed shares with its data workers; a ``BatchOrder``.

    An epoch is a whole number of optimiser steps. Samples too few for another step are left out, others each time.
    Every training process has its own and a ``Curriculum`` that fills it.

    Args:
        size: N.
        batch_size: b.
        together: Batches of an optimiser step: processes x micro-batches.
        seed: Of all randomness of orders.

    Raises:
        SemeiaError: Not enough samples for one step.
    """

    def __init__(self, size: int, *, batch_size: int, together: int = 1, seed: int = 0) -> None:
        if min(batch_size, together) < 1 or size < batch_size * together:
            raise SemeiaError(
                f"batch order: expected at least {batch_size} x {together} samples, those of one step, found {size}"
            )
        self.size, self.batch_size, self.together, self.seed = size, batch_size, together, seed
        self.steps = size // batch_size // together
        """Optimiser steps of an epoch."""
        self.batches = self.steps * together
        """K."""
        # Each entry is epoch * N + number: half of a new order cannot be taken for a whole one.
        self._entries = torch.full((self.batches, batch_size), -1, dtype=torch.int64).share_memory_()

    def publish(self, epoch: int, numbers: np.ndarray) -> None:
        """Give the batches (K, b) of an epoch to the feed; those of the epoch before are gone."""
        self._entries.copy_(torch.from_numpy(epoch * self.size + numbers))

    def batch(self, step: int, /) -> list[int]:
        """Numbers of the samples of batch ``step``, counted from 0 over the whole training and all processes.

        In a data worker it waits until the epoch of that batch is decided.

        Raises:
            SemeiaError: The epoch is over, or nobody is there who could decide it.
        """
        epoch, place = divmod(step, self.batches)
        while True:
            epochs, numbers = np.divmod(self._entries[place].numpy(), self.size)
            if (epochs == epoch).all():
                return [int(number) for number in numbers]
            if (epochs > epoch).any():
                raise SemeiaError(f"batch {step}: epoch {epoch} is over, expected a batch of epoch {epochs.max()}")
            if (epochs < 0).any() or get_worker_info() is None:
                raise SemeiaError(
                    f"batch {step}: the order of epoch {epoch} is not decided yet; expected a task with a Curriculum "
                    "of this order that takes the steps before"
                )
            trainer = multiprocessing.parent_process()
            if trainer is None or not trainer.is_alive():
                raise SemeiaError(f"batch {step}: the training ended before epoch {epoch}")
            time.sleep(_PAUSE)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How an epoch follows from what was measured in the one before."""

    arrangement: Arrangement = "mixed"
    """``mixed``: hard and easy in each batch; ``same``: batches of equals; ``random``."""
    criterion: Criterion = "both"
    """What makes a sample hard."""
    weighting: Weighting = "none"
    """``self-paced``: hard samples weigh nothing at first; ``hard``: they weigh more."""
    warmup: int = 2
    """Epochs in random order and without weights; at least one, to measure."""
    pacing: int = 10
    """Epochs after which ``self-paced`` lets all in; it begins after the warm-up with half."""

    def __post_init__(self) -> None:
        if self.warmup < 1 or self.pacing <= 0:
            raise SemeiaError(
                "curriculum: expected a warm-up and a pacing of at least one epoch, "
                f"found {self.warmup} and {self.pacing}"
            )

    @property
    def uncertain(self) -> bool:
        """Whether uncertainties change anything."""
        return self.criterion != "loss" and (self.arrangement != "random" or self.weighting != "none")

    def share(self, epoch: int) -> float:
        """Part of the samples that ``self-paced`` lets in."""
        done = (epoch - self.warmup) / max(1, self.pacing - self.warmup)
        return min(1.0, 0.5 + 0.5 * done)


class Curriculum(nn.Module):
    """What was measured of each sample, and the batches and weights that follow; a part of a task in training.

    The task calls ``note`` and then ``advance`` in ``after_step``. With several processes all of them hold the same.

    Args:
        order: What the feed reads. Its first epoch is decided here.
        plan: How.
    """

    losses: Tensor
    uncertainties: Tensor
    numbers: Tensor
    weights: Tensor
    epoch: Tensor

    def __init__(self, order: LearnedOrder, plan: Plan) -> None:
        super().__init__()
        self.order, self.plan = order, plan
        # NaN: not measured yet. A sample's last measurement counts.
        self.register_buffer("losses", torch.full((order.size,), torch.nan))
        self.register_buffer("uncertainties", torch.full((order.size,), torch.nan))
        self.register_buffer("numbers", torch.zeros(order.batches, order.batch_size, dtype=torch.int64))
        self.register_buffer("weights", torch.ones(order.size))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.register_load_state_dict_post_hook(_publish_what_was_loaded)
        self.begin(0)

    @torch.no_grad()
    def note(self, index: Tensor, losses: Tensor, uncertainties: Tensor, known: Tensor) -> None:
        """Keep what one step measured, in this process and in all others.

        Args:
            index: (m,) int64, numbers of the step's samples, m = b x micro-batches.
            losses: (m,).
            uncertainties: (m,).
            known: (m,) bool, where uncertainty was measured.

        Raises:
            SemeiaError: A value that is not finite, or a step of another length than the order's.
        """
        measured = _of_all_processes(torch.stack([x.double() for x in (index, losses, uncertainties, known)]))
        expected = self.order.together * self.order.batch_size
        if measured.shape[1] != expected:
            raise SemeiaError(
                f"batch order: expected {expected} samples a step of all processes, found {measured.shape[1]}; "
                "give LearnedOrder together = processes x micro-batches"
            )
        at, known = measured[0].long(), measured[3].bool()
        every = torch.ones_like(known)
        for name, values, which in (("loss", measured[1], every), ("uncertainty", measured[2], known)):
            bad = which & ~values.isfinite()
            if bad.any():
                raise SemeiaError(
                    f"sample {int(at[bad][0])}: expected a finite {name} to rank it by, found {float(values[bad][0])}"
                )
        self.losses[at] = measured[1].float()
        self.uncertainties[at[known]] = measured[2][known].float()

    def advance(self, step: int) -> None:
        """Decide the next epoch where ``step``, the number of steps so far, ends one."""
        if step % self.order.steps == 0:
            self.begin(step // self.order.steps)

    def begin(self, epoch: int) -> None:
        """Decide an epoch from what was measured so far, and publish it."""
        rng = np.random.default_rng((self.order.seed, epoch, 0x0DE6))
        drawn = rng.permutation(self.order.size)[: self.numbers.numel()]
        weights = np.ones(self.order.size, np.float32)
        if epoch >= self.plan.warmup:
            hardness = self.hardness()
            if self.plan.arrangement != "random":
                drawn = np.sort(drawn)  # ties by number
                drawn = drawn[ARRANGEMENTS[self.plan.arrangement](hardness[drawn])]
            if self.plan.weighting != "none":
                paced = self.plan.weighting == "self-paced"
                weights = self_paced_weights(hardness, self.plan.share(epoch)) if paced else hard_weights(hardness)
        numbers = batches_of(drawn, self.order.batch_size, rng)
        self.numbers.copy_(torch.from_numpy(numbers))
        self.weights.copy_(torch.from_numpy(weights))
        self.epoch.fill_(epoch)
        self.order.publish(epoch, numbers)

    def hardness(self) -> np.ndarray:
        """What samples are sorted by, (N,); one that was never measured is middling."""
        losses, uncertainties = (_with_middling(x.cpu().numpy()) for x in (self.losses, self.uncertainties))
        if self.plan.criterion == "both":
            return difficulty(losses, uncertainties)
        return losses if self.plan.criterion == "loss" else uncertainties


def _with_middling(values: np.ndarray) -> np.ndarray:
    """(N,) values, the median in place of NaN; zeros where all are NaN."""
    known = values[~np.isnan(values)]
    return np.where(np.isnan(values), np.median(known) if len(known) else 0, values)


def _of_all_processes(values: Tensor) -> Tensor:
    """(c, m) of each process -> (c, m x processes), the same in all of them."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    parts = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts, 1)


def _publish_what_was_loaded(curriculum: Any, keys: Any) -> None:
    """A restored training reads the batches of its epoch, not those of epoch 0."""
    curriculum.order.publish(int(curriculum.epoch), curriculum.numbers.cpu().numpy())
