"""How near a training comes to its device's peak."""

import json

import pytest
import torch
from torch import nn

from semeia.task import Task
from semeia.train import launch
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw
from semeia.train.throughput import Gauge, matmul_rate


class Matrix(Task):
    """One product, so that its arithmetic is known: 2 * 8 * 16 FLOP an image forward, and as much for the weights."""

    def __init__(self):
        super().__init__()
        self.f = nn.Linear(8, 16, bias=False)

    def forward(self, batch, loss="main"):
        return {"loss": self.f(batch["x"]).square().mean()}


class Rows:
    def batch(self, step, rank, world):
        return {"x": torch.randn(4, 8, generator=torch.Generator().manual_seed(step))}


def test_the_arithmetic_of_an_image_is_counted_forward_and_backward():
    task, gauge = Matrix(), Gauge(torch.device("cpu"), bf16=False, processes=1)
    with gauge.counting() as counter:
        task(Rows().batch(0, 0, 1))["loss"].backward()
    gauge.set(counter, 4)
    assert gauge.flop == 2 * (2 * 8 * 16)
    gauge.peak = 1e6
    assert gauge.share(500) == pytest.approx(512 * 500 / 1e6)


def test_the_peaks_of_processes_add_up(monkeypatch):
    monkeypatch.setattr("semeia.train.throughput.matmul_rate", lambda device, dtype: 1e9)
    assert [Gauge(torch.device("cpu"), bf16=False, processes=n).peak for n in (1, 2)] == [1e9, 2e9]


def test_a_matrix_product_takes_some_time():
    assert 1e6 < matmul_rate(torch.device("cpu"), torch.float32) < 1e16


def test_a_gauged_training_logs_its_share_of_the_peak_and_learns_the_same(tmp_path):
    states = []
    for gauged in (False, True):
        torch.manual_seed(0)
        task = Matrix()
        how = Fit(steps=4, log_every=2, eval_every=4, save_every=4, precision="no", out=tmp_path / str(gauged))
        fit(
            task, {"main": Rows()}, adamw(task, lr=0.1, weight_decay=0.0), how, gauged=gauged, progress=False,
            accelerator=launch.accelerator(device="cpu", precision="no"),
        )  # fmt: skip
        states.append(task.f.weight.detach().clone())
    rows = [json.loads(line) for line in (tmp_path / "True" / "log.jsonl").read_text().splitlines()]
    shares = [row["share_of_peak"] for row in rows if "share_of_peak" in row]
    assert len(shares) == 2
    assert all(share > 0 for share in shares)
    assert torch.equal(*states)
