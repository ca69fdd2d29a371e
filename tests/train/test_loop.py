"""The training loop, on tasks whose numbers can be worked out by hand."""

import json
import math
import os
import signal

import pytest
import torch
from torch import nn

from semeia.records import SemeiaError
from semeia.task import Phase, Task
from semeia.train import launch, state
from semeia.train.loop import Fit, fit, learning_rate
from semeia.train.optimisers import adamw


class Line(Task):
    """y = w x by least squares."""

    def __init__(self, ends_at=None):
        super().__init__()
        torch.manual_seed(0)
        self.f = nn.Linear(3, 1)
        self.ends_at = ends_at

    def forward(self, batch, loss="main"):
        error = self.f(batch["x"])[:, 0] - batch["y"]
        return {"loss": error.square().mean(), "size": error.abs().mean()}

    def after_step(self, step):
        if step == self.ends_at:
            raise EndError


class EndError(Exception):
    """Stands for whatever ends a process."""


class Rows:
    """Rows ``size * i`` to ``size * (i + 1)`` of one endless table."""

    def __init__(self, size=4):
        self.size, self.asked = size, []

    def batch(self, step, rank, world):
        self.asked.append(step)
        generators = [torch.Generator().manual_seed(row) for row in range(step * self.size, (step + 1) * self.size)]
        x = torch.stack([torch.randn(3, generator=g) for g in generators])
        return {"x": x, "y": x.sum(1)}


def run(task, out, feeds=None, optimizers=None, *, evaluate=None, resume=True, **changes):
    how = Fit(**{"steps": 8, "precision": "no", "save_every": 3, "log_every": 2, "eval_every": 4, "out": out} | changes)
    return fit(
        task, feeds or {"main": Rows()}, optimizers or adamw(task, lr=0.1, weight_decay=0.0), how,
        evaluate=evaluate, resume=resume, progress=False, accelerator=launch.accelerator(device="cpu", precision="no"),
    )  # fmt: skip


def rows(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_the_learning_rate_rises_linearly_and_falls_as_half_a_cosine():
    how = Fit(steps=6, warmup=2)
    rates = [learning_rate(0.4, step, how) for step in range(6)]
    r = math.sqrt(0.5)
    assert rates == pytest.approx([0.2, 0.4, 0.4, 0.2 * (1 + r), 0.2, 0.2 * (1 - r)])


def test_a_constant_group_keeps_its_rate(tmp_path):
    task = Line()
    optimizer = torch.optim.SGD([{"params": [task.f.weight]}, {"params": [task.f.bias], "constant": True}], lr=0.1)
    run(task, tmp_path, optimizers={"main": optimizer}, steps=4)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * 3 / 4)))
    assert optimizer.param_groups[1]["lr"] == 0.1


def test_one_step_is_gradient_descent_by_hand(tmp_path):
    task = Line()
    weight = task.f.weight.detach().clone()
    batch = Rows().batch(0, 0, 1)
    error = batch["x"] @ weight[0] + task.f.bias.detach() - batch["y"]
    gradient = (2 * error[:, None] * batch["x"]).mean(0)
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    run(task, tmp_path, optimizers={"main": optimizer}, steps=1, clip=None)
    torch.testing.assert_close(task.f.weight[0], weight[0] - 0.1 * gradient)


def test_gradients_are_clipped_to_the_norm(tmp_path):
    task = Line()
    before = torch.cat([task.f.weight.detach().flatten(), task.f.bias.detach()])
    run(task, tmp_path, optimizers={"main": torch.optim.SGD(task.parameters(), lr=1.0)}, steps=1, clip=0.01)
    after = torch.cat([task.f.weight.detach().flatten(), task.f.bias.detach()])
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-4)


def test_two_accumulated_batches_are_one_of_twice_the_size(tmp_path):
    small, large = Line(), Line()
    run(small, tmp_path / "a", {"main": Rows(4)}, accumulate=2)
    run(large, tmp_path / "b", {"main": Rows(8)})
    torch.testing.assert_close(small.f.weight, large.f.weight)
    assert rows(tmp_path / "a")[0]["main/loss"] == pytest.approx(rows(tmp_path / "b")[0]["main/loss"], rel=1e-5)


def test_it_learns_the_line(tmp_path):
    task = Line()
    run(task, tmp_path, steps=150)
    torch.testing.assert_close(task.f.weight, torch.ones(1, 3), atol=0.02, rtol=0)


# -- phases


class Duel(Task):
    """A critic tells points from points moved by a generator; three critic updates a step, with a gradient penalty."""

    phases = (*[Phase("critic", "critic", "points")] * 3, Phase("fool", "generator", "points"))

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.generator = nn.Linear(2, 2)
        self.critic = nn.Sequential(nn.Linear(2, 16), nn.Softplus(), nn.Linear(16, 1))

    def groups(self, optimizer="main"):
        return [{"named_params": list(getattr(self, optimizer).named_parameters(prefix=optimizer))}]

    def forward(self, batch, loss="main"):
        z, real = batch["z"], batch["z"] + 2
        if loss == "fool":
            return {"loss": -self.critic(self.generator(z)).mean()}
        fake = self.generator(z).detach()
        middle = (0.5 * real + 0.5 * fake).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(middle).sum(), middle, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square().mean()
        return {"loss": self.critic(fake).mean() - self.critic(real).mean() + 10 * penalty, "penalty": penalty}


class Points:
    def __init__(self):
        self.asked = []

    def batch(self, step, rank, world):
        self.asked.append(step)
        return {"z": torch.randn(32, 2)}


def test_an_adversarial_task_takes_its_phases_in_turn_and_learns(tmp_path):
    task, feed = Duel(), Points()
    run(task, tmp_path, {"points": feed}, adamw(task, lr=0.02, weight_decay=0.0), steps=150, log_every=150)
    assert feed.asked == list(range(150 * 4))
    moved = task.generator(torch.zeros(1, 2)).detach()
    assert float((moved - 2).norm()) < 1.0
    (row,) = rows(tmp_path)
    assert {"critic/loss", "critic/penalty", "critic/grad_norm", "fool/loss", "lr/critic", "lr/generator"} < set(row)


def test_a_phase_moves_only_the_parameters_of_its_optimiser(tmp_path):
    task = Duel()
    task.phases = (Phase("fool", "generator", "points"),)
    before = [p.detach().clone() for p in task.critic.parameters()]
    run(task, tmp_path, {"points": Points()}, adamw(task, lr=0.1, weight_decay=0.0), steps=3)
    for old, new in zip(before, task.critic.parameters(), strict=True):
        assert torch.equal(old, new)
        assert new.grad is None


# -- averaged weights and evaluation


def test_averaged_weights_are_evaluated_and_kept_in_the_end(tmp_path):
    task = Line()
    seen = []
    raw = []
    task.after_step = lambda step: raw.append(task.f.bias.item())
    start = task.f.bias.item()
    result = run(task, tmp_path, ema=0.5, steps=4, evaluate=lambda t: seen.append(t.f.bias.item()) or {"b": seen[-1]})
    by_hand = start
    for n, value in enumerate(raw):
        decay = min(0.5, (1 + n) / (10 + n))
        by_hand = decay * by_hand + (1 - decay) * value
    assert seen == [pytest.approx(by_hand, rel=1e-5)]
    assert task.f.bias.item() == seen[0] == result["b"]
    assert rows(tmp_path)[-1] == {"step": 4, "eval/b": seen[0]}


def test_evaluation_happens_in_eval_mode_and_leaves_no_trace(tmp_path):
    noisy, quiet = Line(), Line()
    modes = []
    run(noisy, tmp_path / "a", evaluate=lambda t: modes.append(t.training) or {"r": torch.rand(())})
    run(quiet, tmp_path / "b")
    assert modes == [False, False]
    assert noisy.training
    assert torch.equal(noisy.f.weight, quiet.f.weight)


# -- going on


def test_a_run_that_broke_goes_on_where_it_was_saved(tmp_path):
    whole, broken, resumed = Line(), Line(ends_at=5), Line()
    run(whole, tmp_path / "a", ema=0.9)
    with pytest.raises(EndError):
        run(broken, tmp_path / "b", ema=0.9)
    feed = Rows()
    run(resumed, tmp_path / "b", {"main": feed}, ema=0.9)
    assert feed.asked == [3, 4, 5, 6, 7]
    assert torch.equal(whole.f.weight, resumed.f.weight)
    steps = [row["step"] for row in rows(tmp_path / "b")]
    assert steps == [2, 4, 6, 8]


def test_a_finished_run_answers_at_once(tmp_path):
    first = run(Line(), tmp_path, evaluate=lambda t: {"b": t.f.bias.item()})
    feed, again = Rows(), Line()
    assert run(again, tmp_path, {"main": feed}) == first
    assert feed.asked == []
    assert again.f.bias.item() == first["b"]


def test_a_run_that_goes_on_under_other_conditions_says_so(tmp_path, capsys):
    run(Line(), tmp_path, steps=3)
    assert "not as one run" not in capsys.readouterr().err
    run(Line(), tmp_path, steps=4, seed=7)
    assert "not as one run would: this state was made with steps 3, seed 0" in capsys.readouterr().err
    assert state.latest(tmp_path).name == "step-00000004"


def test_without_resume_it_begins_anew(tmp_path):
    run(Line(), tmp_path)
    feed = Rows()
    run(Line(), tmp_path, {"main": feed}, resume=False, steps=3)
    assert feed.asked == [0, 1, 2]
    assert state.latest(tmp_path).name == "step-00000003"
    assert [row["step"] for row in rows(tmp_path)] == [2, 3]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(tmp_path, capsys, number):
    whole, stopped, resumed = Line(), Line(), Line()
    run(whole, tmp_path / "a")
    stopped.after_step = lambda step: os.kill(os.getpid(), number) if step == 4 else None
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, tmp_path / "b")
    assert signal.getsignal(number) is handler
    said = capsys.readouterr().err
    assert "of 8; run the same command again to go on from there" in said
    run(resumed, tmp_path / "b")
    assert torch.equal(whole.f.weight, resumed.f.weight)


# -- numbers that are not finite


class Breaks(Line):
    """Its part ``ratio`` is not a number in step ``at``, or only its gradient is."""

    def __init__(self, at, where):
        super().__init__()
        self.at, self.where, self.step = at, where, 0

    def forward(self, batch, loss="main"):
        parts = super().forward(batch, loss)
        now = self.step == self.at
        zero = (self.f.weight * 0).sum()
        ratio = zero / 0 if now and self.where == "part" else zero
        ratio = ratio.sqrt() if now and self.where == "gradient" else ratio
        return {"loss": parts["loss"] + ratio, "ratio": ratio}

    def after_step(self, step):
        self.step = step


@pytest.mark.parametrize(("where", "named"), [("part", "main/ratio"), ("gradient", "main/grad_norm")])
def test_a_number_that_is_not_finite_stops_and_keeps_the_last_good_state(tmp_path, where, named):
    with pytest.raises(SemeiaError, match=f"step 6: {named} is nan; the last good state is .*step-00000003"):
        run(Breaks(5, where), tmp_path, save_every=3)
    fresh = Line()
    run(fresh, tmp_path, steps=8)
    assert torch.isfinite(fresh.f.weight).all()


# -- requests that cannot be served


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"accumulate": 0}, {"warmup": 11}, {"ema": 1.0}, {"save_every": -1}])
def test_a_length_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(SemeiaError, match=rf"fit\.{next(iter(wrong))} is .*expected"):
        Fit(**{"steps": 10} | wrong)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SemeiaError, match="file/run: cannot be made"):
        run(Line(), tmp_path / "file" / "run")
