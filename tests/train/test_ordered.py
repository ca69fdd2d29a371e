"""Any task in a learned order: what is measured, what is left alone, what is refused, killed and resumed.

Run as a script it trains a line in processes of its own: test_ordered.py OUT, with KILL_AT.
"""

import io
import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet
from semeia.data.formats.faces import FaceFolder, write_shard
from semeia.data.orders import Curriculum, LearnedOrder, Plan, variance_across
from semeia.data.samples import Vocabulary
from semeia.recipes.algrnet import smoke
from semeia.records import FaceLabels, SemeiaError
from semeia.systems import algrnet
from semeia.task import Phase, Task
from semeia.train import launch, state
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw, parameter_groups
from semeia.train.ordered import Ordered

SRC = Path(__file__).parents[2] / "src"
FILES = ("model.safetensors", "ema.safetensors", "optimizers.safetensors")


class Line(Task):
    """y = w x; it returns the mean loss of a batch and knows of no order."""

    def __init__(self, kill=None):
        super().__init__()
        torch.manual_seed(0)
        self.f, self.norm, self.dropout = nn.Linear(4, 1), nn.BatchNorm1d(4), nn.Dropout(0.2)
        self.words = nn.Embedding(2, 1)
        self.kill, self.shown, self.steps = kill or (lambda step: None), [], []

    def forward(self, batch, loss="main"):
        if self.training:
            self.shown.append(batch["index"].tolist())
        error = (
            self.f(self.dropout(self.norm(batch["x"]))) + self.words(batch["word"]) - torch.stack(batch["y"])[:, None]
        )
        return {"loss": error.square().mean(), "size": error.abs().mean()}

    def after_step(self, step):
        self.steps.append(step)
        self.kill(step)


class Rows:
    """Rows of a line, some of them far off it, in the order that is given."""

    def __init__(self, order):
        made = torch.Generator().manual_seed(0)
        self.order = order
        self.x = torch.randn(order.size, 4, generator=made)
        self.y = self.x.sum(1) + 9 * (torch.rand(order.size, generator=made) - 0.5)

    def batch(self, index, rank=0, world=1):
        numbers = self.order.batch(index * world + rank)
        y, word = list(self.y[numbers]), torch.tensor(numbers) % 2
        return {"x": self.x[numbers], "y": y, "word": word, "index": torch.tensor(numbers), "name": "rows"}


class EndError(Exception):
    """Stands for whatever ends a process."""


def ends_at(last):
    def kill(step):
        if step == last:
            raise EndError

    return kill


def ordered(order, kill=None, **plan):
    return Ordered(Line(kill), Curriculum(order, Plan(**{"criterion": "loss", "warmup": 1} | plan)))


def train(out, *, kill=None, size=10, together=1, steps=17, how=None, lr=0.05, workers=0, **plan):
    """Ten rows, two a batch: five steps an epoch."""
    order = LearnedOrder(size, batch_size=2, together=together, seed=4)
    task = ordered(order, kill, **plan)
    fit(
        task, {"main": Rows(order)}, adamw(task, lr=lr, weight_decay=0.01),
        Fit(**{"steps": steps, "ema": 0.9, "save_every": 2, "precision": "no", "out": out} | (how or {})),
        progress=False, workers=workers, accelerator=launch.accelerator(device="cpu", precision="no"),
    )  # fmt: skip
    return task


def contents(run):
    return {name: (state.latest(run) / name).read_bytes() for name in FILES}


# -- what is measured


def by_hand(task, rows, numbers):
    """Losses of rows by weights and running statistics, written out."""
    line = task.task
    x = (rows.x - line.norm.running_mean) / (line.norm.running_var + line.norm.eps).sqrt()
    x = x * line.norm.weight + line.norm.bias
    word = line.words.weight[torch.arange(len(x)) % 2, 0]
    return ((x @ line.f.weight[0] + line.f.bias + word - rows.y) ** 2)[numbers]


def step_of(task, rows, number=0, rate=0.1):
    """One step of plain descent, then what follows a step."""
    batch = rows.batch(number)
    task.train()
    task.zero_grad()
    task(batch)["loss"].backward()
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.sub_(rate * parameter.grad)
    task.after_step(number + 1)
    return batch["index"]


def test_each_sample_of_a_step_is_measured_alone_by_the_weights_it_led_to():
    order = LearnedOrder(10, batch_size=4)
    task, rows = ordered(order), Rows(order)
    index = step_of(task, rows)
    expected = by_hand(task, rows, index)
    torch.testing.assert_close(task.curriculum.losses[index], expected.detach())
    assert int(task.curriculum.losses.isnan().sum()) == 6
    at, losses = task.measured
    assert at.tolist() == index.tolist()
    torch.testing.assert_close(losses, expected.detach())


def test_measuring_changes_neither_weights_nor_statistics_nor_modes():
    order = LearnedOrder(8, batch_size=4)
    task, rows = ordered(order), Rows(order)
    task.train()
    task.task.norm.eval()  # a frozen part
    before = {name: value.clone() for name, value in task.state_dict().items()}
    task.each(rows.batch(0))
    for name, value in task.state_dict().items():
        torch.testing.assert_close(value, before[name], equal_nan=True, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in task.parameters())
    assert task.task.dropout.training
    assert not task.task.norm.training


def test_the_training_itself_is_that_of_the_task_without_a_wrapper(tmp_path):
    wrapped = train(tmp_path / "wrapped", arrangement="random")
    order = LearnedOrder(10, batch_size=2, seed=4)
    alone, decided = Line(), Curriculum(order, Plan(arrangement="random"))

    class Same(Rows):
        """The batches of the wrapped training."""

        def batch(self, index, rank=0, world=1):
            if index % 5 == 0:
                decided.begin(index // 5)
            return super().batch(index)

    fit(
        alone, {"main": Same(order)}, adamw(alone, lr=0.05, weight_decay=0.01),
        Fit(steps=17, ema=0.9, save_every=2, precision="no", out=tmp_path / "alone"),
        progress=False, accelerator=launch.accelerator(device="cpu", precision="no"),
    )  # fmt: skip
    assert alone.shown == wrapped.task.shown
    assert alone.steps == wrapped.task.steps == list(range(1, 18))
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(wrapped.task.state_dict()[name], value, rtol=0, atol=0)


def test_evaluation_notes_nothing():
    order = LearnedOrder(4, batch_size=2)
    task, rows = ordered(order), Rows(order)
    task.eval()
    batch = rows.batch(0)
    without = {name: value for name, value in batch.items() if name != "index"}
    assert task(without)["loss"] == task.task(without)["loss"]
    index = step_of(task, rows, 1)
    assert task.measured[0].tolist() == index.tolist()


class Lucky(Line):
    """A loss with noise in it, as of diffusion."""

    def forward(self, batch, loss="main"):
        return {"loss": torch.rand(()) + self.f(batch["x"]).mean()}


def test_a_loss_that_draws_numbers_draws_the_same_for_all_samples_of_an_epoch():
    order = LearnedOrder(4, batch_size=4)
    task = Ordered(Lucky(), Curriculum(order, Plan(criterion="loss")))
    twins = {"x": torch.ones(4, 4), "index": torch.arange(4)}
    first, again = task.each(twins), task.each(twins)
    assert len(set(first.tolist())) == 1
    assert torch.equal(first, again)
    task.curriculum.begin(1)
    assert task.each(twins)[0] != first[0]


def test_optimisers_treat_parameters_as_those_of_the_task():
    task = ordered(LearnedOrder(4, batch_size=2))

    def found(of):
        groups = parameter_groups(of, lr=0.1, weight_decay=0.2)["main"]
        return {name.removeprefix("task."): group["weight_decay"] for group in groups for name, _ in group["params"]}

    assert found(task) == found(task.task)
    assert found(task)["words.weight"] == 0.0
    assert found(task)["f.weight"] == 0.2


# -- order


def test_each_epoch_shows_each_row_once_and_sets_easiest_beside_hardest(tmp_path):
    noted = {}

    class Watched(Curriculum):
        def begin(self, epoch):
            noted[epoch] = self.losses.clone()
            super().begin(epoch)

    order = LearnedOrder(10, batch_size=2, seed=4)
    task = Ordered(Line(), Watched(order, Plan(criterion="loss", warmup=1)))
    rows = Rows(order)
    shown = [step_of(task, rows, number).tolist() for number in range(20)]
    for epoch in range(4):
        pairs = shown[5 * epoch : 5 * epoch + 5]
        assert sorted(itertools.chain(*pairs)) == list(range(10))
        if epoch:
            rank = noted[epoch].argsort().argsort()
            assert {int(rank[a] + rank[b]) for a, b in pairs} == {9}


def evenness(task):
    """Variance of pairs' mean loss in the batches to come, of what independent pairs have."""
    losses, batches = task.curriculum.losses.numpy().astype(float), task.curriculum.numbers.numpy()
    return variance_across(losses, batches) / (losses.var() / batches.shape[1])


def test_batches_become_even_under_mixed_order_and_uneven_under_same(tmp_path):
    # A rate so small that a row is as hard in the next epoch as in this one.
    found = {
        arrangement: evenness(
            train(tmp_path / arrangement, size=64, steps=96, lr=1e-4, arrangement=arrangement, how={"save_every": 96})
        )
        for arrangement in ("mixed", "random", "same")
    }
    assert found["mixed"] < 0.75 * found["random"] < 0.75 * found["same"]
    assert found["same"] > 1.5


# -- refusals


@pytest.mark.parametrize(("plan", "said"), [
    ({"criterion": "both"}, r"expected criterion 'loss', found 'both'; a task tells no uncertainties; take "
                            r"Plan\(criterion='loss'\)"),
    ({"criterion": "uncertainty"}, "expected criterion 'loss', found 'uncertainty'"),
    ({"weighting": "hard"}, "expected weighting 'none', found 'hard'; .* arrange batches alone"),
    ({"weighting": "self-paced", "arrangement": "random"}, "expected weighting 'none', found 'self-paced'"),
])  # fmt: skip
def test_a_plan_that_needs_more_than_a_loss_is_refused(plan, said):
    with pytest.raises(SemeiaError, match=said):
        ordered(LearnedOrder(4, batch_size=2), **plan)


def test_random_order_asks_for_no_criterion():
    ordered(LearnedOrder(4, batch_size=2), criterion="both", arrangement="random")


@pytest.mark.parametrize(("phases", "said"), [
    ([Phase("critic"), Phase("maker")], r"expected one loss of the feed 'main' .*, found 2 \(critic, maker\)"),
    ([Phase(feed="labelled")], "of the feed 'main' to rank its samples by, found none; .* the task reads labelled"),
    ([Phase(), Phase(feed="unlabelled")], "expected loss 'main' on the feed 'main' alone, found it on unlabelled too"),
])  # fmt: skip
def test_a_task_without_one_loss_to_rank_by_is_refused(phases, said):
    task = Line()
    task.phases = tuple(phases)
    with pytest.raises(SemeiaError, match=said):
        Ordered(task, Curriculum(LearnedOrder(4, batch_size=2), Plan(criterion="loss")))


def test_another_feed_may_have_the_order():
    task = Line()
    task.phases = Phase("labelled", feed="few"), Phase("consistent", feed="many")
    order = LearnedOrder(4, batch_size=2)
    wrapped, rows = Ordered(task, Curriculum(order, Plan(criterion="loss")), feed="few"), Rows(order)
    wrapped(rows.batch(1), "consistent")
    wrapped(rows.batch(0), "labelled")
    wrapped.after_step(1)
    assert wrapped.measured[0].tolist() == order.batch(0)


def test_batches_that_do_not_say_which_samples_they_hold_are_refused():
    task = ordered(LearnedOrder(4, batch_size=2)).train()
    with pytest.raises(SemeiaError, match="expected batches with 'index', found x; give the feed the order"):
        task({"x": torch.zeros(2, 4)})


def test_a_batch_that_is_not_made_of_samples_is_refused():
    order = LearnedOrder(4, batch_size=2)
    task, batch = ordered(order), Rows(order).batch(0)
    task.each(batch | {"more": {"z": [1, 2]}, "rate": torch.tensor(0.5)})
    with pytest.raises(SemeiaError, match="'more/z' of the batch: expected 2 entries, one for each sample, found 3"):
        task.each(batch | {"more": {"z": torch.zeros(3)}})


def test_a_loss_that_is_not_a_number_names_its_sample():
    order = LearnedOrder(4, batch_size=2)
    task, rows = ordered(order), Rows(order)
    bad = order.batch(0)[1]
    rows.y[bad] = torch.nan
    task.train()
    task(rows.batch(0))
    with pytest.raises(SemeiaError, match=f"sample {bad}: expected a finite loss to rank it by, found nan"):
        task.after_step(1)


def test_a_forgotten_number_of_micro_batches_is_named(tmp_path):
    with pytest.raises(SemeiaError, match="together = processes x micro-batches"):
        train(tmp_path, how={"accumulate": 2})
    task = train(tmp_path / "known", together=2, steps=4, how={"accumulate": 2})
    for epoch in range(2):
        assert len(set(itertools.chain(*task.task.shown[4 * epoch : 4 * epoch + 4]))) == 8


# -- killed and resumed


# Saved after steps 2, 4, ...; an epoch has 5: in the middle of one, at its end, after it.
@pytest.mark.parametrize("last", [3, 5, 6, 11])
@pytest.mark.parametrize("arrangement", ["mixed", "same"])
def test_killed_at_any_step_it_ends_as_if_it_had_run_through(tmp_path, last, arrangement):
    whole = train(tmp_path / "whole", arrangement=arrangement)
    with pytest.raises(EndError):
        train(tmp_path / "killed", kill=ends_at(last), arrangement=arrangement)
    resumed = train(tmp_path / "killed", arrangement=arrangement)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert resumed.task.shown == whole.task.shown[-len(resumed.task.shown) :]
    assert len(resumed.task.shown) == 17 - (last - 1) // 2 * 2


WORDS = Vocabulary(action_units=("AU06", "AU12"))


def faces(folder, count=8):
    """Grey pictures, each lighter than the one before, every second one with both units."""

    def samples():
        for i in range(count):
            stream = io.BytesIO()
            Image.fromarray(np.full((32, 32, 3), 20 * i, np.uint8)).save(stream, "PNG")
            label = FaceLabels(key=f"{i}", split="train", au_intensity=dict.fromkeys(WORDS.action_units, 4.0 * (i % 2)))
            yield label, stream.getvalue(), None, {}

    write_shard(folder, "000", samples())
    return FaceFolder(folder)


def train_units(out, folder, kill=lambda step: None):
    """ALGRNet at its smallest in mixed order: four steps an epoch."""
    config = replace(smoke().model, action_units=WORDS.action_units)
    order = LearnedOrder(8, batch_size=2, seed=2)
    feed = FaceFeed([FaceSet(folder)], batch_size=2, image_size=config.image_size, vocabulary=WORDS,
                    augmentation=Augmentation(), order=order)  # fmt: skip
    torch.manual_seed(0)
    task = Ordered(algrnet.build(config), Curriculum(order, Plan(criterion="loss", warmup=1)))
    task.task.after_step = kill
    fit(
        task, {"main": feed}, adamw(task, lr=1e-3, weight_decay=0.0),
        Fit(steps=10, save_every=2, precision="no", ema=0.9, out=out),
        progress=False, accelerator=launch.accelerator(device="cpu", precision="no"),
    )  # fmt: skip
    return task


def test_a_face_system_that_knows_of_no_order_trains_in_one_and_resumes(tmp_path):
    folder = faces(tmp_path / "faces")
    whole = train_units(tmp_path / "whole", folder)
    assert not whole.curriculum.losses.isnan().any()
    with pytest.raises(EndError):
        train_units(tmp_path / "killed", folder, kill=ends_at(7))
    train_units(tmp_path / "killed", folder)
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not any("curriculum" in name for name in whole.task.state_dict())


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
def test_two_processes_with_data_workers_know_what_both_measured_and_resume(tmp_path):
    assert start(tmp_path / "whole", ranks=2) == 0, (tmp_path / "whole" / "output.txt").read_text()
    assert start(tmp_path / "killed", ranks=2, WORKERS="1", KILL_AT="5") != 0
    assert start(tmp_path / "killed", ranks=2, WORKERS="1") == 0, (tmp_path / "killed" / "output.txt").read_text()
    assert contents(tmp_path / "killed" / "run") == contents(tmp_path / "whole" / "run")
    one, two = (np.load(tmp_path / "whole" / f"run.{rank}.npy") for rank in (0, 1))
    np.testing.assert_array_equal(one, two)
    assert not np.isnan(one).any()


if __name__ == "__main__":
    out, killed = Path(sys.argv[1]), os.environ.get("KILL_AT")

    def kill(step):
        if killed is not None and step == int(killed):
            os.kill(os.getpid(), signal.SIGKILL)

    ranks_here = int(os.environ.get("WORLD_SIZE", "1"))
    trained = train(out, kill=kill, together=ranks_here, workers=int(os.environ.get("WORKERS", "0")))
    np.save(out.with_name(f"{out.name}.{os.environ.get('RANK', '0')}.npy"), trained.curriculum.losses.numpy())
