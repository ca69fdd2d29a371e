"""Readings of a token map that labels share, to stand where ``QueryDecoder`` gives every label a query of its own.

Both answer like ``QueryDecoder``: what was read for each label, ``(B, M, D)``, and where.

Shapes      B images   M labels   T queries   N tokens   D width
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semeia.nn.query_attention import QueryDecoder, Reading


def asked_by_task(counts: Sequence[int]) -> list[int]:
    """The query of each label: its task's; ``counts`` are the labels of each task."""
    return [task for task, count in enumerate(counts) for _ in range(count)]


def asked_once(counts: Sequence[int]) -> list[int]:
    """The query of each label: the only one."""
    return [0] * sum(counts)


class GroupedQueries(Reading):
    """A query decoder whose labels share queries: T queries read, and each label takes what its query read.

    Args:
        decoder: Reads for the queries.
        query_of: (M,) the query of each label, counted from 0; labels of one query stand together.
    """

    query_of: Tensor
    first: Tensor

    def __init__(self, decoder: QueryDecoder, query_of: Sequence[int]) -> None:
        super().__init__()
        self.decoder = decoder
        first = [query_of.index(query) for query in range(max(query_of) + 1)]
        self.register_buffer("query_of", torch.tensor(query_of), persistent=False)  # (M,)
        self.register_buffer("first", torch.tensor(first), persistent=False)  # (T,) first label of each query

    def read(
        self,
        query: Tensor,
        tokens: Tensor,
        position: Tensor,
        within: Tensor | None = None,
        start: Tensor | None = None,
        *,
        keep_maps: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """As in ``Reading``."""
        groups = None if within is None else within[self.first][:, self.first]  # (T, T)
        state, maps = self.decoder.read(query, tokens, position, groups, start, keep_maps=keep_maps)
        return state[:, self.query_of], None if maps is None else maps[:, self.query_of]


class PooledReading(Reading):
    """No queries: the mean of the map, made over by residual two-layer perceptrons, is what every label reads.

    With a linear read-out a label this is the usual multi-task head on a shared pooled feature; ``hidden`` gives it the
    parameters that a decoder would have.

    Args:
        width: D.
        labels: M.
        layers: Perceptrons, one after the other.
        hidden: Width of each.
        dropout: Rate in them.
    """

    def __init__(self, width: int, *, labels: int, layers: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.labels = labels
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
            )
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))

    def read(
        self,
        query: Tensor,
        tokens: Tensor,
        position: Tensor,
        within: Tensor | None = None,
        start: Tensor | None = None,
        *,
        keep_maps: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """As in ``Reading``, T = 0: a mean tells no places apart, and it looks everywhere alike."""
        mean = tokens.mean(1)  # (B, N, D) -> (B, D)
        state = self.norm(mean if start is None else start + mean)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            state = norm(state + layer(state))  # post-norm, as in ``QueryLayer``
        even = tokens.new_full((len(tokens), self.labels, tokens.shape[1]), 1 / tokens.shape[1])
        return state[:, None].expand(-1, self.labels, -1), even if keep_maps else None
