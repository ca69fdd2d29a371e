"""A training small enough for tests: a line through noisy rows. Run as a script, it trains in processes of its own.

line.py OUT [plain] [noisy] ...     environment: WORKERS, KILL_AT (steps after which the process kills itself)
"""

import os
import random
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from semeia.task import Task
from semeia.train import launch
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

SLOPE = torch.tensor([1.0, -2.0, 3.0, 0.5])


class Line(Task):
    def __init__(self, dropout=0.0, kill_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.f = nn.Linear(4, 1)
        self.dropout, self.kill_at = nn.Dropout(dropout), kill_at
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, batch, loss="main"):
        self.seen += len(batch["x"])
        error = self.f(self.dropout(batch["x"]))[:, 0] - batch["y"]
        return {"loss": error.square().mean(), "size": error.abs().mean()}

    def after_step(self, step):
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)


class Rows:
    """Sixteen rows a batch, shared out among the processes; noise is drawn from all three global generators."""

    def __init__(self, noise=0.0, size=16):
        self.noise, self.size = noise, size

    def batch(self, step, rank, world):
        x = torch.randn(self.size, 4, generator=torch.Generator().manual_seed(step))[rank::world]
        noise = torch.randn(len(x)) + np.random.randn() + random.gauss(0, 1)  # noqa: NPY002
        return {"x": x, "y": x @ SLOPE + self.noise * noise}


def train(out, name, *, workers=0, kill_at=None, steps=10, **changes):
    task = Line(dropout=0.2 * (name == "noisy"), kill_at=kill_at)
    feed = Rows(noise=0.1 * (name == "noisy"))
    how = Fit(steps=steps, warmup=2, ema=0.9, save_every=3, precision="no", out=Path(out) / name, **changes)
    fit(
        task, {"main": feed}, adamw(task, lr=0.05, weight_decay=0.01), how,
        progress=False, workers=workers, accelerator=launch.accelerator(device="cpu", precision="no"),
    )  # fmt: skip
    return task


if __name__ == "__main__":
    killed = os.environ.get("KILL_AT")
    for which in sys.argv[2:]:
        train(
            sys.argv[1], which,
            workers=int(os.environ.get("WORKERS", "0")), kill_at=None if killed is None else int(killed),
        )  # fmt: skip
