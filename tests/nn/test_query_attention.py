"""Queries that read a token map."""

import pytest
import torch

from semeia.nn.query_attention import CrossAttention, QueryDecoder


def decoder(**changes):
    torch.manual_seed(0)
    sizes = {"layers": 2, "heads": 4, "hidden": 32, "dropout": 0.0} | changes
    return QueryDecoder(16, **sizes).eval()


def slow_attention(layer, query, key, value):
    """The definition, head by head and row by row."""
    q, k, v = layer.query(query), layer.key(key), layer.value(value)
    size = q.shape[-1] // layer.heads
    heads = []
    for a in range(layer.heads):
        part = slice(a * size, (a + 1) * size)
        rows = [
            torch.stack([(row @ other) / size**0.5 for other in k[0, :, part]]).softmax(0) @ v[0, :, part]
            for row in q[0, :, part]
        ]
        heads.append(torch.stack(rows))
    return layer.out(torch.cat(heads, -1))[None]


def test_cross_attention_equals_its_slow_definition():
    torch.manual_seed(0)
    layer = CrossAttention(8, heads=2, dropout=0.0).eval()
    query, key, value = torch.randn(1, 3, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    torch.testing.assert_close(layer(query, key, value), slow_attention(layer, query, key, value))


def test_attention_rows_sum_to_one():
    layer = CrossAttention(8, heads=2, dropout=0.0)
    rows = layer.weights(torch.randn(2, 3, 8), torch.randn(2, 5, 8))
    torch.testing.assert_close(rows.sum(-1), torch.ones(2, 2, 3))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple"):
        CrossAttention(10, heads=4, dropout=0.0)


def test_reading_maps_does_not_change_what_is_read():
    model, query = decoder(), torch.randn(5, 16)
    tokens, position = torch.randn(2, 9, 16), torch.randn(9, 16)
    state, maps = model.read(query, tokens, position, keep_maps=True)
    torch.testing.assert_close(state, model(query, tokens, position))
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 5))


def test_a_query_does_not_see_the_others_when_attention_among_queries_is_off():
    model, query = decoder(), torch.randn(5, 16)
    tokens, position = torch.randn(2, 9, 16), torch.randn(9, 16)
    together = model(query, tokens, position)
    torch.testing.assert_close(together[:, :1], model(query[:1], tokens, position))


def test_attention_among_queries_stays_within_its_groups():
    model, query = decoder(among_queries=True), torch.randn(4, 16)
    tokens, position = torch.randn(2, 9, 16), torch.randn(9, 16)
    group = torch.tensor([0, 0, 1, 1])
    within = group[:, None] == group
    before = model(query, tokens, position, within)
    changed = query.clone()
    changed[2:] += 1
    after = model(changed, tokens, position, within)
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2:], after[:, 2:])
