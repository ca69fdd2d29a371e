"""Queries that read a token map by cross-attention.

Shapes      B images   M queries   N tokens   D width   A heads
"""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """Multi-head attention of queries over tokens, ``softmax(Q K^T / sqrt(D / A)) V`` per head.

    Written out: on few tokens the plain product is faster than torch's fused one, whose backward in bf16 on a CPU takes
    longer than all the rest of the attention.
    """

    def __init__(self, width: int, *, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of {heads} heads")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """``(B, L, D) -> (B, A, L, D / A)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return ``(B, M, D)``.

        Args:
            query: ``(B, M, D)``.
            key: ``(B, N, D)``.
            value: ``(B, N, D)``.
            mask: ``(M, N)``, True where a query may look; everywhere by default.
        """
        rows = F.dropout(self.weights(query, key, mask), self.dropout, self.training)
        read = rows @ self.split(self.value(value))
        return self.out(read.transpose(1, 2).flatten(2))  # (B, A, M, D / A) -> (B, M, D)

    def weights(self, query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attention rows ``(B, A, M, N)``; each sums to 1."""
        q, k = self.split(self.query(query)), self.split(self.key(key))
        scores = q @ k.transpose(-2, -1) / sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, -inf)
        return scores.softmax(-1)


class QueryLayer(nn.Module):
    """Cross-attention, optional attention among queries, feed-forward; residual, normalised after each (post-norm)."""

    def __init__(self, width: int, *, heads: int, hidden: int, dropout: float, among_queries: bool) -> None:
        super().__init__()
        self.cross = CrossAttention(width, heads=heads, dropout=dropout)
        self.among = CrossAttention(width, heads=heads, dropout=dropout) if among_queries else None
        self.feed = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
        self.norm_cross, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_among = nn.LayerNorm(width) if among_queries else None
        self.drop = nn.Dropout(dropout)

    def forward(self, state: Tensor, query: Tensor, key: Tensor, value: Tensor, within: Tensor | None) -> Tensor:
        """Return the next ``(B, M, D)`` state; arguments as in ``QueryDecoder``."""
        state = self.norm_cross(state + self.drop(self.cross(state + query, key, value)))
        if self.among is not None and self.norm_among is not None:
            looked = self.among(state + query, state + query, state, within)
            state = self.norm_among(state + self.drop(looked))
        return self.norm_feed(state + self.drop(self.feed(state)))


class Reading(nn.Module):
    """Reads a token map for M labels; ``QueryDecoder`` by a query each, those of ``nn.shared_readings`` otherwise."""

    def forward(
        self, query: Tensor, tokens: Tensor, position: Tensor, within: Tensor | None = None, start: Tensor | None = None
    ) -> Tensor:
        """Return ``(B, M, D)``: what was read for each label; arguments as for ``read``."""
        state, _ = self.read(query, tokens, position, within, start, keep_maps=False)
        return state

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
        """Return what was read for each label, and with ``keep_maps`` where.

        Args:
            query: ``(T, D)`` learned queries.
            tokens: ``(B, N, D)``.
            position: ``(N, D)``, added to the keys only.
            within: ``(M, M)``, True where the queries of two labels may see each other.
            start: ``(B, D)``, what all queries know before they look; nothing by default.
            keep_maps: Also return the last layer's attention, averaged over heads.

        Returns:
            ``(B, M, D)``, and ``(B, M, N)`` or None.
        """
        raise NotImplementedError


class QueryDecoder(Reading):
    """A stack of query layers; without attention among queries, no query can see another one.

    Args:
        width: D.
        layers: Number of query layers.
        heads: Attention heads.
        hidden: Width of the feed-forward part.
        dropout: Rate in attention, feed-forward and residual paths.
        among_queries: Whether queries attend to one another (within the groups of ``within``).
    """

    def __init__(
        self, width: int, *, layers: int, heads: int, hidden: int, dropout: float, among_queries: bool = False
    ) -> None:
        super().__init__()
        self.layers: Any = nn.ModuleList(
            QueryLayer(width, heads=heads, hidden=hidden, dropout=dropout, among_queries=among_queries)
            for _ in range(layers)
        )

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
        """As in ``Reading``; there is a query for each label, T = M."""
        query = query.expand(len(tokens), -1, -1)  # (M, D) -> (B, M, D)
        key, maps = tokens + position, None
        state = query.new_zeros(query.shape) if start is None else start[:, None].expand_as(query)
        for i, layer in enumerate(self.layers, start=1):
            if keep_maps and i == len(self.layers):
                maps = layer.cross.weights(state + query, key).mean(1)
            state = layer(state, query, key, tokens, within)
        return state, maps
