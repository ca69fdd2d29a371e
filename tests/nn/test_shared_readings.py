"""Readings that labels share stand where a query for every label stands."""

import pytest
import torch

from semeia.nn.query_attention import QueryDecoder
from semeia.nn.shared_readings import GroupedQueries, PooledReading, asked_by_task, asked_once

COUNTS = (2, 3, 1)
TOKENS, POSITION, START = torch.randn(2, 9, 16), torch.randn(9, 16), torch.randn(2, 16)


def decoder(**changes):
    torch.manual_seed(0)
    return QueryDecoder(16, **{"layers": 2, "heads": 4, "hidden": 32, "dropout": 0.0} | changes).eval()


def pooled(**changes):
    torch.manual_seed(0)
    return PooledReading(16, **{"labels": 6, "layers": 2, "hidden": 32, "dropout": 0.0} | changes).eval()


def test_which_query_a_label_asks():
    assert asked_by_task(COUNTS) == [0, 0, 1, 1, 1, 2]
    assert asked_once(COUNTS) == [0] * 6


@pytest.mark.parametrize("start", [None, START])
def test_labels_of_one_task_read_what_its_query_reads(start):
    reading, query = GroupedQueries(decoder(), asked_by_task(COUNTS)), torch.randn(3, 16)
    state, maps = reading.read(query, TOKENS, POSITION, None, start, keep_maps=True)
    alone, looked = reading.decoder.read(query, TOKENS, POSITION, None, start, keep_maps=True)
    for label, asked in enumerate(asked_by_task(COUNTS)):
        torch.testing.assert_close(state[:, label], alone[:, asked])
        torch.testing.assert_close(maps[:, label], looked[:, asked])
    torch.testing.assert_close(reading(query, TOKENS, POSITION, None, start), state)


def test_a_query_for_every_label_is_the_decoder_itself():
    query = torch.randn(6, 16)
    reading = GroupedQueries(decoder(), list(range(sum(COUNTS))))
    torch.testing.assert_close(reading(query, TOKENS, POSITION), reading.decoder(query, TOKENS, POSITION))


def test_queries_of_tasks_see_one_another_only_where_their_labels_do():
    reading, query = GroupedQueries(decoder(among_queries=True), asked_by_task(COUNTS)), torch.randn(3, 16)
    task = torch.tensor(asked_by_task(COUNTS))
    within = task[:, None] == task
    before = reading(query, TOKENS, POSITION, within)
    changed = query.clone()
    changed[1] += 1
    after = reading(changed, TOKENS, POSITION, within)
    torch.testing.assert_close(before[:, [0, 1, 5]], after[:, [0, 1, 5]])
    assert not torch.allclose(before[:, 2:5], after[:, 2:5])


def test_a_pooled_feature_is_the_same_for_every_label_and_blind_to_places():
    reading, none = pooled(), torch.zeros(0, 16)
    state, maps = reading.read(none, TOKENS, POSITION, keep_maps=True)
    assert state.shape == (2, 6, 16)
    torch.testing.assert_close(state, state[:, :1].expand_as(state))
    torch.testing.assert_close(reading(none, TOKENS[:, torch.randperm(9)], POSITION), state)
    torch.testing.assert_close(maps, torch.full((2, 6, 9), 1 / 9))
    assert reading.read(none, TOKENS, POSITION, keep_maps=False)[1] is None


def test_a_pooled_feature_knows_what_is_known_before():
    reading, none = pooled(), torch.zeros(0, 16)
    assert not torch.allclose(reading(none, TOKENS, POSITION, None, START), reading(none, TOKENS, POSITION))


def test_every_weight_of_a_reading_learns():
    grouped, query = GroupedQueries(decoder(), asked_once(COUNTS)), torch.nn.Parameter(torch.randn(1, 16))
    grouped(query, TOKENS, POSITION).square().sum().backward()
    assert query.grad.abs().sum() > 0
    reading = pooled()
    (reading(torch.zeros(0, 16), TOKENS, POSITION) * torch.randn(16)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in reading.parameters())


def test_width_gives_a_pooled_reading_the_size_of_a_decoder():
    def count(hidden):
        return sum(p.numel() for p in pooled(hidden=hidden).parameters())

    assert count(3) - count(2) == count(2) - count(1)
