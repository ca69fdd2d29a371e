"""Orders that a training decides: by hand, by brute force, and through the real loop, killed and resumed.

Run as a script it trains a line in processes of its own: test_orders.py OUT, with WORKERS and KILL_AT.
"""

import io
import itertools
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet
from semeia.data.formats.faces import FaceFolder, write_shard
from semeia.data.orders import (
    Curriculum,
    LearnedOrder,
    Plan,
    batches_of,
    difficulty,
    hard_weights,
    mixed,
    rank_correlation,
    ranks,
    rising,
    self_paced_weights,
    variance_across,
)
from semeia.data.samples import Vocabulary
from semeia.records import FaceLabels, SemeiaError
from semeia.systems import emma
from semeia.task import Task
from semeia.train import launch, state
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

SRC = Path(__file__).parents[2] / "src"
FILES = ("model.safetensors", "ema.safetensors", "optimizers.safetensors")


# -- by hand


def test_ranks_by_hand():
    assert ranks(np.array([0.3, 0.1, 0.9, 0.2])).tolist() == [2, 0, 3, 1]


def test_of_equals_the_earlier_comes_first_and_float32_decides_what_is_equal():
    assert ranks(np.array([1.0, 0.0, 1.0, 1.0])).tolist() == [1, 0, 2, 3]
    assert ranks(np.array([1.0 + 1e-12, 1.0])).tolist() == [0, 1]


def test_difficulty_adds_both_ranks():
    assert difficulty(np.array([0.1, 0.5, 3.0]), np.array([0.2, 0.9, 0.1])).tolist() == [1, 3, 2]


def test_easiest_stands_beside_hardest():
    assert mixed(np.array([0.0, 5.0, 1.0, 4.0, 2.0, 3.0])).tolist() == [0, 1, 2, 3, 4, 5]
    assert mixed(np.array([30.0, 10.0, 40.0, 20.0])).tolist() == [1, 2, 3, 0]


def test_of_an_odd_number_the_middle_one_comes_last_and_once():
    assert mixed(np.array([10.0, 50.0, 30.0, 20.0, 40.0])).tolist() == [0, 1, 3, 4, 2]
    assert mixed(np.array([7.0])).tolist() == [0]


def test_same_order_rises():
    assert rising(np.array([0.5, 0.1, 0.3, 0.1])).tolist() == [1, 3, 2, 0]


def test_batches_change_places_and_keep_their_samples():
    batches = batches_of(np.arange(20), 4, np.random.default_rng(0))
    assert sorted(batches[:, 0].tolist()) == [0, 4, 8, 12, 16] != batches[:, 0].tolist()
    assert (batches - batches[:, :1] == np.arange(4)).all()


def test_weights_by_hand():
    hardness = np.array([0.4, 0.1, 0.3, 0.2])
    assert self_paced_weights(hardness, 0.5).tolist() == [0, 1, 0, 1]
    assert self_paced_weights(hardness, 1.0).tolist() == [1, 1, 1, 1]
    np.testing.assert_allclose(hard_weights(hardness), [1.6, 0.4, 1.2, 0.8], rtol=1e-6)
    assert hard_weights(np.arange(7.0)).mean() == pytest.approx(1)


def test_self_paced_lets_in_from_half_to_all():
    plan = Plan(warmup=2, pacing=10)
    assert [plan.share(epoch) for epoch in (2, 6, 10, 15)] == [0.5, 0.75, 1.0, 1.0]


def test_rank_correlation_by_hand():
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1)


# -- the proposition


def pairings(numbers):
    """All ways of pairing an even number of things."""
    if not numbers:
        yield []
        return
    first, *rest = numbers
    for i, partner in enumerate(rest):
        for others in pairings(rest[:i] + rest[i + 1 :]):
            yield [(first, partner), *others]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [2, 4, 6, 8])
def test_of_all_pairings_mixed_order_varies_least_and_same_order_most(count, seed):
    values = np.random.default_rng((count, seed)).exponential(size=count)
    every = [variance_across(values, np.array(pairs)) for pairs in pairings(list(range(count)))]
    assert len(every) == [1, 3, 15, 105][count // 2 - 1]
    assert variance_across(values, mixed(values).reshape(-1, 2)) == pytest.approx(min(every), abs=1e-12)
    assert variance_across(values, rising(values).reshape(-1, 2)) == pytest.approx(max(every))


@pytest.mark.parametrize("batch_size", [2, 4, 8])
def test_batches_of_mixed_order_are_equally_hard_by_rank(batch_size):
    hardness = np.random.default_rng(0).permutation(800).astype(float)
    assert variance_across(hardness, mixed(hardness).reshape(-1, batch_size)) == 0
    assert variance_across(hardness, np.arange(800).reshape(-1, batch_size)) > 0


def losses_vary(batch_size):
    """Variance of a batch's mean loss in mixed, random and same order; losses have a long tail."""
    rng = np.random.default_rng(0)
    losses = rng.exponential(size=1600)
    orders = mixed(losses), rng.permutation(1600), rising(losses)
    return [variance_across(losses, order.reshape(-1, batch_size)) for order in orders]


def test_the_mean_loss_of_pairs_varies_less_from_batch_to_batch():
    by_mixed, by_chance, by_same = losses_vary(2)
    assert by_mixed < 0.5 * by_chance < 0.5 * by_same


def test_the_mean_loss_of_larger_batches_does_not_where_few_losses_are_large():
    by_mixed, by_chance, _ = losses_vary(8)
    assert by_mixed > by_chance


# -- what is hard


def kinds(per_kind=100):
    """Probabilities of the true class: sure and right; in doubt; sure and wrong, as a wrong label looks."""
    rng = np.random.default_rng(0)
    p = np.concatenate(
        [rng.uniform(0.8, 0.99, 6 * per_kind), rng.uniform(0.3, 0.6, per_kind), rng.uniform(0.001, 0.01, per_kind)]
    )
    return -np.log(p), -p * np.log(p) - (1 - p) * np.log(1 - p), np.repeat([0, 0, 0, 0, 0, 0, 1, 2], per_kind)


def test_a_wrong_label_tops_the_losses_but_is_middling_in_difficulty():
    losses, uncertainties, kind = kinds()
    by_loss, by_both = ranks(losses) / 800, ranks(difficulty(losses, uncertainties)) / 800
    assert by_loss[kind == 2].min() >= 700 / 800
    assert 0.25 < by_both[kind == 2].mean() < 0.75
    assert by_both[kind == 1].min() > by_both[kind == 2].max()


# -- order and curriculum


def filled(size=10, batch_size=2, together=1, seed=0, **plan):
    order = LearnedOrder(size, batch_size=batch_size, together=together, seed=seed)
    return order, Curriculum(order, Plan(**{"warmup": 1} | plan))


def measure(curriculum, losses, uncertainties=None):
    """Note all samples as if an epoch had gone by; in as many steps as it takes."""
    order = curriculum.order
    unsure = torch.zeros(order.size) if uncertainties is None else torch.tensor(uncertainties)
    for step in range(order.steps):
        first = (int(curriculum.epoch) * order.steps + step) * order.together
        at = torch.tensor([n for k in range(order.together) for n in order.batch(first + k)])
        curriculum.note(at, torch.tensor(losses)[at], unsure[at], torch.ones(len(at)).bool())


def test_each_sample_stands_once_in_an_epoch():
    order, curriculum = filled()
    rng = np.random.default_rng(0)
    for epoch in range(4):
        measure(curriculum, rng.random(10), rng.random(10))
        assert sorted(n for k in range(5) for n in order.batch(epoch * 5 + k)) == list(range(10))
        curriculum.advance((epoch + 1) * 5)


def test_batches_after_the_warm_up_by_hand():
    order, curriculum = filled()
    measure(curriculum, [float(i) for i in range(10)], [float(i) for i in range(10)])
    curriculum.advance(4)
    assert int(curriculum.epoch) == 0
    curriculum.advance(5)
    assert sorted(order.batch(5 + k) for k in range(5)) == [[0, 9], [1, 8], [2, 7], [3, 6], [4, 5]]


def test_every_arm_shows_as_many_samples():
    for arrangement, weighting in itertools.product(("mixed", "same", "random"), ("none", "self-paced", "hard")):
        order, curriculum = filled(11, 3, together=1, arrangement=arrangement, weighting=weighting)
        measure(curriculum, [float(i) for i in range(11)])
        curriculum.advance(3)
        shown = [n for k in range(3) for n in order.batch(3 + k)]
        assert len(set(shown)) == 9


def test_criteria_choose_what_is_sorted():
    losses, unsure = [0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 0.0, 1.0]
    for criterion, pairs in (("loss", [[0, 3], [1, 2]]), ("uncertainty", [[2, 0], [3, 1]])):
        order, curriculum = filled(4, criterion=criterion)
        measure(curriculum, losses, unsure)
        curriculum.advance(2)
        assert sorted(order.batch(2 + k) for k in range(2)) == sorted(pairs)


def test_weights_follow_the_plan_and_the_warm_up_has_none():
    _, curriculum = filled(4, arrangement="random", criterion="loss", weighting="self-paced", pacing=3)
    assert curriculum.weights.tolist() == [1, 1, 1, 1]
    measure(curriculum, [0.4, 0.1, 0.3, 0.2])
    curriculum.advance(2)
    assert curriculum.weights.tolist() == [0, 1, 0, 1]
    curriculum.advance(6)
    assert curriculum.weights.tolist() == [1, 1, 1, 1]


def test_a_sample_that_was_never_measured_is_middling():
    _, curriculum = filled(5, 2)
    curriculum.losses.copy_(torch.tensor([1.0, 2.0, torch.nan, 3.0, 4.0]))
    curriculum.uncertainties.copy_(curriculum.losses)
    assert curriculum.hardness().tolist() == [0, 2, 4, 6, 8]


def test_the_last_measurement_counts_and_what_was_not_measured_keeps_its_own():
    _, curriculum = filled(4, 2)
    yes, no = torch.ones(2).bool(), torch.zeros(2).bool()
    curriculum.note(torch.tensor([1, 3]), torch.tensor([5.0, 6.0]), torch.tensor([0.5, 0.6]), yes)
    curriculum.note(torch.tensor([3, 1]), torch.tensor([7.0, 8.0]), torch.tensor([0.1, 0.1]), no)
    assert curriculum.losses[[1, 3]].tolist() == [8, 7]
    assert torch.equal(curriculum.uncertainties[[1, 3]], torch.tensor([0.5, 0.6]))
    assert curriculum.losses[[0, 2]].isnan().all()


@pytest.mark.parametrize(("losses", "unsure", "said"), [
    ([0.1, float("nan")], [0.1, 0.1], "sample 3: expected a finite loss"),
    ([0.1, 0.1], [float("inf"), 0.1], "sample 1: expected a finite uncertainty"),
])  # fmt: skip
def test_a_loss_that_is_not_a_number_is_named_and_not_ranked(losses, unsure, said):
    _, curriculum = filled(4, 2)
    with pytest.raises(SemeiaError, match=said):
        curriculum.note(torch.tensor([1, 3]), torch.tensor(losses), torch.tensor(unsure), torch.ones(2).bool())
    assert curriculum.losses.isnan().all()


def test_an_epoch_is_a_whole_number_of_steps_of_all_processes():
    order, _ = filled(23, 2, together=4)
    assert (order.steps, order.batches) == (2, 8)
    with pytest.raises(SemeiaError, match="expected 8 samples a step"):
        Curriculum(order, Plan()).note(*torch.zeros(3, 2), torch.ones(2).bool())
    with pytest.raises(SemeiaError, match="at least 4 x 3 samples"):
        LearnedOrder(11, batch_size=4, together=3)


def test_a_batch_of_an_epoch_that_is_not_decided_is_refused_where_nobody_could_decide_it():
    order, curriculum = filled()
    with pytest.raises(SemeiaError, match="epoch 1 is not decided yet"):
        order.batch(5)
    curriculum.begin(1)
    with pytest.raises(SemeiaError, match="epoch 0 is over"):
        order.batch(4)
    with pytest.raises(SemeiaError, match="epoch 0 is not decided yet"):
        LearnedOrder(4, batch_size=2).batch(0)


def test_orders_depend_on_seed_and_epoch():
    batches = {(seed, epoch): filled(100, seed=seed)[1] for seed in (0, 1) for epoch in (0, 1)}
    for (_, epoch), curriculum in batches.items():
        curriculum.plan = Plan(warmup=5)
        curriculum.begin(epoch)
    assert len({tuple(c.numbers.flatten().tolist()) for c in batches.values()}) == 4


def test_a_restored_curriculum_gives_the_feed_the_batches_it_was_at():
    order, curriculum = filled()
    measure(curriculum, np.random.default_rng(3).random(10))
    curriculum.advance(5)
    other_order, other = filled()
    other.load_state_dict(curriculum.state_dict())
    assert [other_order.batch(5 + k) for k in range(5)] == [order.batch(5 + k) for k in range(5)]
    assert all(
        torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(curriculum.buffers(), other.buffers(), strict=True)
    )


# -- through the loop


class Line(Task):
    """y = w x, each row's loss measured; its uncertainty is another row-wise quantity."""

    def __init__(self, order, kill=None, **plan):
        super().__init__()
        torch.manual_seed(0)
        self.f = nn.Linear(4, 1)
        self.dropout = nn.Dropout(0.2)
        self.curriculum = Curriculum(order, Plan(**{"warmup": 1} | plan))
        self.seen, self.kill, self.shown = [], kill or (lambda step: None), []

    def forward(self, batch, loss="main"):
        each = (self.f(self.dropout(batch["x"]))[:, 0] - batch["y"]).square()
        weights = self.curriculum.weights[batch["index"]]
        self.seen.append((batch["index"], each.detach(), batch["x"].square().sum(1)))
        self.shown.append(batch["index"].tolist())
        return {"loss": (weights * each).mean()}

    def after_step(self, step):
        index, losses, unsure = (torch.cat(parts) for parts in zip(*self.seen, strict=True))
        self.seen.clear()
        self.curriculum.note(index, losses, unsure, torch.ones(len(index)).bool())
        self.curriculum.advance(step)
        self.kill(step)


class Rows:
    """Noisy rows of a line, in the order that it is given."""

    def __init__(self, order):
        made = torch.Generator().manual_seed(0)
        self.order = order
        self.x = torch.randn(order.size, 4, generator=made)
        self.y = self.x.sum(1) + 0.3 * torch.randn(order.size, generator=made)

    def batch(self, index, rank, world):
        numbers = self.order.batch(index * world + rank)
        return {"x": self.x[numbers], "y": self.y[numbers], "index": torch.tensor(numbers)}


class EndError(Exception):
    """Stands for whatever ends a process."""


def train(out, *, kill=None, workers=0, together=1, steps=17, how=None, **plan):
    """Ten rows, two a batch: five steps an epoch, or fewer where several batches make one."""
    order = LearnedOrder(10, batch_size=2, together=together, seed=4)
    task = Line(order, kill=kill, **plan)
    fit(
        task, {"main": Rows(order)}, adamw(task, lr=0.05, weight_decay=0.01),
        Fit(**{"steps": steps, "ema": 0.9, "save_every": 2, "precision": "no", "out": out} | (how or {})),
        progress=False, workers=workers, accelerator=launch.accelerator(device="cpu", precision="no"),
    )  # fmt: skip
    return task


def contents(run):
    return {name: (state.latest(run) / name).read_bytes() for name in FILES}


def ends_at(last):
    def kill(step):
        if step == last:
            raise EndError

    return kill


# Saved after steps 2, 4, ...; an epoch has 5: in the middle of one, one before and one after its end, in the warm-up.
@pytest.mark.parametrize("last", [3, 5, 6, 11, 13])
@pytest.mark.parametrize("plan", [{}, {"arrangement": "random", "weighting": "self-paced", "pacing": 3}])
def test_killed_at_any_step_it_ends_as_if_it_had_run_through(tmp_path, last, plan):
    whole = train(tmp_path / "whole", **plan)
    with pytest.raises(EndError):
        train(tmp_path / "killed", kill=ends_at(last), **plan)
    resumed = train(tmp_path / "killed", **plan)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert resumed.shown == whole.shown[-len(resumed.shown) :]
    assert len(resumed.shown) == 17 - (last - 1) // 2 * 2


def test_each_epoch_of_a_training_shows_each_row_once_and_pairs_what_was_measured(tmp_path):
    shown = train(tmp_path, steps=20).shown
    for epoch in range(4):
        assert sorted(itertools.chain(*shown[epoch * 5 : epoch * 5 + 5])) == list(range(10))


def test_micro_batches_of_a_step_belong_to_one_epoch(tmp_path):
    task = train(tmp_path, together=2, steps=6, how={"accumulate": 2})
    assert task.curriculum.order.steps == 2
    for epoch in range(3):
        assert len(set(itertools.chain(*task.shown[epoch * 4 : epoch * 4 + 4]))) == 8


def test_a_forgotten_number_of_micro_batches_is_named(tmp_path):
    with pytest.raises(SemeiaError, match="together = processes x micro-batches"):
        train(tmp_path, how={"accumulate": 2})


def test_a_feed_with_an_order_can_be_sent_to_a_worker():
    order, _ = filled()
    assert pickle.loads(pickle.dumps(Rows(order))).batch(0, 0, 1)["index"].tolist() == order.batch(0)


def start(out, *, ranks=1, **environment):
    """Run this file and return its exit status."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    out.mkdir(exist_ok=True)
    with (out / "output.txt").open("a") as output:
        return subprocess.run(
            [sys.executable, *(torchrun if ranks > 1 else []), __file__, str(out / "run")],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SRC)} | environment,
            stdout=output, stderr=output, check=False, timeout=240,
        ).returncode  # fmt: skip


@pytest.mark.slow
def test_killed_with_workers_that_read_ahead_it_equals_a_training_without_workers(tmp_path):
    assert start(tmp_path / "killed", WORKERS="2", KILL_AT="9") == -signal.SIGKILL
    assert start(tmp_path / "killed", WORKERS="2") == 0, (tmp_path / "killed" / "output.txt").read_text()
    train(tmp_path / "whole")
    assert contents(tmp_path / "killed" / "run") == contents(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_know_what_both_measured_and_resume(tmp_path):
    assert start(tmp_path / "whole", ranks=2) == 0, (tmp_path / "whole" / "output.txt").read_text()
    assert start(tmp_path / "killed", ranks=2, KILL_AT="5") != 0
    assert start(tmp_path / "killed", ranks=2) == 0, (tmp_path / "killed" / "output.txt").read_text()
    assert contents(tmp_path / "killed" / "run") == contents(tmp_path / "whole" / "run")
    for rank in (0, 1):
        shown = (tmp_path / "whole" / f"run.{rank}.txt").read_text()
        assert shown == (tmp_path / "whole" / "run.0.txt").read_text()
    assert "nan" not in shown.splitlines()[0]


# -- the same order for faces


def faces(folder, order, size):
    """Grey pictures, each lighter than the one before."""

    def samples():
        for i in range(order.size):
            stream = io.BytesIO()
            Image.fromarray(np.full((32, 32, 3), 20 * i, np.uint8)).save(stream, "PNG")
            label = FaceLabels(key=f"{i:03}", split="train", expression=WORDS.expressions[i % 2])
            yield label, stream.getvalue(), None, {}

    write_shard(folder, "000", samples())
    return FaceFeed(
        [FaceSet(FaceFolder(folder))], batch_size=2, image_size=size, vocabulary=WORDS, augmentation=STILL, order=order
    )


WORDS = Vocabulary(expressions=("neutral", "happiness"), action_units=("AU06",), attributes=(), valence_arousal=True)
STILL = Augmentation(
    rotation=0, scale=0, shift=0, **{f.name: 0.0 for f in fields(Augmentation) if f.name.startswith("p_")}
)


def test_an_order_chooses_which_faces_stand_in_a_batch(tmp_path):
    order, curriculum = filled(8)
    feed = faces(tmp_path, order, 16)
    measure(curriculum, [float(i) for i in range(8)])
    curriculum.advance(4)
    for k in range(4, 8):
        batch = feed.batch(k)
        assert batch["index"].sum() == 7
        assert torch.allclose(255 * batch["image"].flatten(1).mean(1), 20.0 * batch["index"], atol=1)
        assert batch["expression"].tolist() == (batch["index"] % 2).tolist()


class OrderedEMMA(Task):
    """EMMA with a curriculum of the losses of expressions: all that a system needs is a loss an image."""

    def __init__(self, system, order, kill):
        super().__init__()
        self.system, self.curriculum = system, Curriculum(order, Plan(warmup=1, criterion="loss"))
        self.kill, self.shown = kill, []

    def forward(self, batch, loss="main"):
        scores = self.system.scores(batch["image"])[0].detach()
        self.seen = batch["index"], F.cross_entropy(scores, batch["expression"], reduction="none")
        self.shown.append(batch["index"].tolist())
        return self.system(batch)

    def after_step(self, step):
        index, losses = self.seen
        self.curriculum.note(index, losses, torch.zeros_like(losses), torch.zeros_like(index).bool())
        self.curriculum.advance(step)
        self.kill(step)


def train_emma(out, folder, kill=lambda step: None):
    order = LearnedOrder(8, batch_size=2, seed=2)
    torch.manual_seed(0)
    config = emma.Config(
        expressions=WORDS.expressions, action_units=WORDS.action_units, affect="vit scores", image_size=64,
        backbone_width=48, hidden=16, affect_hidden=16,
    )  # fmt: skip
    task = OrderedEMMA(emma.build(config), order, kill)
    fit(
        task, {"main": faces(folder, order, 64)}, adamw(task, lr=1e-3, weight_decay=0.0),
        Fit(steps=10, save_every=2, precision="no", ema=0.9, out=out),
        progress=False, accelerator=launch.accelerator(device="cpu", precision="no"),
    )  # fmt: skip
    return task


def test_a_face_system_trains_in_mixed_order_and_resumes(tmp_path):
    whole = train_emma(tmp_path / "whole", tmp_path / "faces")
    for epoch in range(2):
        assert sorted(itertools.chain(*whole.shown[epoch * 4 : epoch * 4 + 4])) == list(range(8))
    with pytest.raises(EndError):
        train_emma(tmp_path / "killed", tmp_path / "faces", kill=ends_at(7))
    resumed = train_emma(tmp_path / "killed", tmp_path / "faces")
    assert resumed.shown == whole.shown[6:]
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


if __name__ == "__main__":
    out, killed = Path(sys.argv[1]), os.environ.get("KILL_AT")

    def kill(step):
        if killed is not None and step == int(killed):
            os.kill(os.getpid(), signal.SIGKILL)

    ranks_here = int(os.environ.get("WORLD_SIZE", "1"))
    trained = train(out, kill=kill, workers=int(os.environ.get("WORKERS", "0")), together=ranks_here)
    with out.with_name(f"{out.name}.{os.environ.get('RANK', '0')}.txt").open("w") as file:
        for values in (trained.curriculum.losses, trained.curriculum.numbers):
            print(values.tolist(), file=file)
