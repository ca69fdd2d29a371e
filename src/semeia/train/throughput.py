"""How near a training comes to what its device can do: arithmetic counted once, and a matrix product as the measure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from torch.utils.flop_counter import FlopCounterMode

TRIES = 5
SIDES = {"cuda": 8192, "cpu": 1536}
"""Of the square matrices: large enough that memory is not what limits them."""


class Gauge:
    """Share of the device's peak.

    Args:
        device: Where the training runs.
        bf16: Whether it multiplies in bf16.
        processes: How many such devices work at once; processes on one CPU share its cores, and their peaks add up.

    Attributes:
        peak: FLOP a second of a large matrix product, the best of a few, over all processes.
        flop: Of one image, forward and backward; zero until counted.
    """

    def __init__(self, device: torch.device, *, bf16: bool, processes: int) -> None:
        self.peak = processes * matmul_rate(device, torch.bfloat16 if bf16 else torch.float32)
        self.flop = 0.0

    @contextmanager
    def counting(self) -> Iterator[FlopCounterMode]:
        """Count products, convolutions and attention in what runs inside; see ``set``."""
        with FlopCounterMode(display=False) as counter:
            yield counter

    def set(self, counter: FlopCounterMode, images: int) -> None:
        """Take over what was counted in a step of this process, which read ``images``."""
        self.flop = counter.get_total_flops() / images

    def share(self, images_per_second: float) -> float:
        """Part of the peak that the counted arithmetic takes, in [0, 1]."""
        return self.flop * images_per_second / self.peak


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP a second of a large square matrix product, the best of a few tries."""
    side = SIDES.get(device.type, SIDES["cpu"])
    one, two = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(TRIES):
        began = perf_counter()
        one @ two
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, perf_counter() - began)
    return 2 * side**3 / best
