"""Batches by number."""

import random

import numpy as np
import pytest
import torch

from semeia.records import SemeiaError
from semeia.train.feeds import Prefetch, seed_all


class Draws:
    """One number from each global generator."""

    def batch(self, step, rank, world):
        drawn = (random.random(), np.random.rand(), torch.rand(()).item())  # noqa: NPY002
        return {"step": step, "rank": rank, "drawn": drawn}


class Broken:
    def batch(self, step, rank, world):
        raise SemeiaError("shard-3.tar: truncated")


def queue(feed, **changes):
    named = {"name": "main", "indices": range(3), "rank": 0, "world": 1, "seed": 0, "workers": 0, "pin": False}
    return Prefetch(feed, **named | changes)


def test_batches_come_in_order_from_where_the_training_stands():
    batches = queue(Draws(), indices=range(5, 7))
    assert [next(batches)["step"], next(batches)["step"]] == [5, 6]


def test_a_batch_depends_on_its_number_and_not_on_those_before():
    whole, late = queue(Draws()), queue(Draws(), indices=range(2, 3))
    assert [next(whole) for _ in range(3)][2] == next(late)


@pytest.mark.parametrize("change", [{"rank": 1}, {"seed": 1}, {"name": "other"}, {"indices": range(1, 2)}])
def test_rank_seed_feed_and_number_each_change_what_is_drawn(change):
    here, there = next(queue(Draws()))["drawn"], next(queue(Draws(), **change))["drawn"]
    assert all(a != b for a, b in zip(here, there, strict=True))


def test_seeding_starts_all_three_generators_over():
    seed_all(1, 2, 3)
    first = Draws().batch(0, 0, 1)
    seed_all(1, 2, 3)
    assert Draws().batch(0, 0, 1) == first


def test_what_a_feed_has_to_say_arrives_in_its_own_words():
    with pytest.raises(SemeiaError, match=r"^shard-3\.tar: truncated$"):
        next(queue(Broken()))
