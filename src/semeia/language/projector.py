"""From features of a picture to vectors that stand among those of words.

Shapes      B pictures   h, w grid of the picture's places   p side of a pooled square   N = hw / p^2 image tokens
            C width of the features   D width of the language model
"""

from __future__ import annotations

from torch import Tensor, nn

from semeia.records import SemeiaError


def pooled(tokens: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """Put the features of each square of ``side`` places side by side: ``(B, h w, C)`` -> ``(B, N, side^2 C)``.

    Nothing is averaged away: fewer tokens, each as much wider.
    """
    b, _, c = tokens.shape
    h, w = grid
    x = tokens.reshape(b, h // side, side, w // side, side, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, (h // side) * (w // side), side * side * c)  # (B, N, p p C)


def token_count(grid: tuple[int, int], side: int) -> int:
    """N, image tokens of a grid.

    Raises:
        SemeiaError: Squares do not tile the grid.
    """
    h, w = grid
    if side < 1 or h % side or w % side:
        raise SemeiaError(f"pool is {side}; expected a side of squares that tile the grid of {h} x {w} places")
    return (h // side) * (w // side)


class Projector(nn.Sequential):
    """Two layers, as in LLaVA-1.5: ``(B, N, inputs)`` -> ``(B, N, D)``.

    Args:
        inputs: Width of what comes in.
        width: D.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))
