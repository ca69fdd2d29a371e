"""A gate that mixes two descriptions of the same thing.

Shapes      D width
"""

from __future__ import annotations

from torch import Tensor, nn


class GatedFusion(nn.Module):
    """out = z * phi_a(a) + (1 - z) * phi_b(b), z = sigmoid(W [a; b] + c) for every channel.

    Args:
        width: D of a, of b and of the result.
        first: phi_a.
        second: phi_b.
        lean: c at the start; above 0 it leans to the first.
    """

    def __init__(self, width: int, *, first: nn.Module, second: nn.Module, lean: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.from_first, self.from_second = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        nn.init.constant_(self.from_first.bias, lean)

    def gate(self, a: Tensor, b: Tensor) -> Tensor:
        """``(..., D)``, ``(..., D) -> (..., D)`` in (0, 1)."""
        return (self.from_first(a) + self.from_second(b)).sigmoid()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """``(..., D)``, ``(..., D) -> (..., D)``."""
        z = self.gate(a, b)
        return z * self.first(a) + (1 - z) * self.second(b)
