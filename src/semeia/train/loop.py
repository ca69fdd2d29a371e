"""The one training loop of the library.

    batch -> task -> loss -> backward -> clip -> step -> log -> evaluate -> save

What a paper does differently lives in its ``Task``; what a machine does differently (device, processes, precision)
lives in Accelerate's engine. Every random number of a step comes from (seed, step, phase, micro-batch, rank) and every
batch from its number: a training that was killed and resumed ends bit for bit like one that was not (on a CPU with up
to two processes; three or more add up their gradients in an order that changes as a run begins).
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any, Literal, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.optim import Optimizer

from semeia.nn.ema import Ema
from semeia.records import SemeiaError
from semeia.task import Phase, Task
from semeia.train import launch, state
from semeia.train.feeds import Batch, Feed, Prefetch, seed_all
from semeia.train.journal import Journal
from semeia.train.throughput import Gauge

T = TypeVar("T", bound=Task)


@dataclass(frozen=True)
class Fit:
    """How long and how carefully to train; nothing about what is trained."""

    steps: int = 1_000
    """Optimiser steps."""
    accumulate: int = 1
    """Micro-batches a step."""
    clip: float | None = 1.0
    """Largest gradient norm of an optimiser's parameters, or none."""
    warmup: int = 0
    """Steps of linear warm-up before the cosine."""
    log_every: int = 10
    """Steps between rows of the log."""
    eval_every: int = 100
    """Steps between evaluations; one follows the last step in any case."""
    save_every: int = 100
    """Steps between saved states; one follows the last step in any case."""
    seed: int = 0
    """Of all randomness."""
    ema: float | None = None
    """Decay of the averaged weights that are evaluated and kept in the end, or none."""
    precision: Literal["auto", "no", "bf16"] = "auto"
    """``auto``: bf16 where the device computes in it; ``no``: float32."""
    out: str | Path = "runs/untitled"
    """Folder of the run: states, ``log.jsonl``, ``tensorboard/``."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "log_every", "eval_every", "save_every"):
            if getattr(self, name) < 1:
                raise SemeiaError(f"fit.{name} is {getattr(self, name)}; expected at least 1")
        if not 0 <= self.warmup <= self.steps:
            raise SemeiaError(f"fit.warmup is {self.warmup}; expected 0 to fit.steps, which is {self.steps}")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise SemeiaError(f"fit.ema is {self.ema}; expected a decay in [0, 1), or null")


def fit(
    task: T,
    feeds: Mapping[str, Feed],
    optimizers: Mapping[str, Optimizer],
    how: Fit,
    *,
    evaluate: Callable[[T], dict[str, float]] | None = None,
    resume: bool = True,
    accelerator: Accelerator | None = None,
    progress: bool = True,
    workers: int = 0,
    gauged: bool = False,
) -> dict[str, float]:
    """Train ``task`` in place and return the last evaluation; with ``how.ema`` it ends with the averaged weights.

    Ctrl-C and SIGTERM finish the step, save, say how to go on, and raise ``KeyboardInterrupt``.

    Args:
        task: The system to train.
        feeds: One for each feed that ``task.phases`` names.
        optimizers: One for each optimiser that ``task.phases`` names (``optimisers.adamw``).
        how: Lengths and intervals.
        evaluate: Called without gradients every ``how.eval_every`` steps, in every process, on the averaged weights
            where there are any; the first process's answer counts.
        resume: Go on from the newest state below ``how.out``; otherwise states found there are removed.
        accelerator: The engine; by default the one that ``launch.accelerator`` chooses for this machine. Several
            processes must share the file system.
        progress: Show progress on stderr.
        workers: Background processes that prepare batches, for each training process.
        gauged: Also log which share of the device's peak the training reaches (``train.throughput``).

    Raises:
        SemeiaError: A loss or gradient is not finite (the last good state stays), a state does not fit, or the folder
            cannot be written.
    """
    engine = accelerator or launch.accelerator(precision=how.precision, several_phases=len(set(task.phases)) > 1)
    training = _Training(task, optimizers, how, engine)
    found = training.restore(resume=resume)
    gauge = None
    if gauged:
        bf16 = engine.mixed_precision == "bf16"
        gauge = Gauge(engine.device, bf16=bf16, processes=engine.num_processes)
    active = engine.is_main_process
    journal = Journal(training.out, start=training.step, steps=how.steps, active=active, show=progress, gauge=gauge)
    with journal, _interrupts(alone=engine.num_processes == 1) as interrupts, training.open(feeds, workers):
        journal.note(launch.describe(engine) + (f"; going on from {found}" if found else ""))
        if training.changed:
            journal.note(f"not as one run would: this state was made with {', '.join(training.changed)}", always=True)
        while training.step < how.steps:
            began = perf_counter()
            if gauge is not None and not gauge.flop:
                with gauge.counting() as counter:
                    values, images, stop = training.take_step(stop=bool(interrupts))
                gauge.set(counter, images // engine.num_processes)
            else:
                values, images, stop = training.take_step(stop=bool(interrupts))
            step = training.step
            journal.step(step, values, images=images, seconds=perf_counter() - began)
            if _due(step, how.log_every, how):
                journal.row(step, training.rates())
            if evaluate is not None and _due(step, how.eval_every, how):
                training.result = training.evaluate(evaluate)
                journal.scores(step, training.result)
            if stop or _due(step, how.save_every, how):
                training.save()
            if stop and step < how.steps:
                journal.note(
                    f"stopped after step {step} of {how.steps}; run the same command again to go on from there",
                    always=True,
                )
                raise KeyboardInterrupt
    engine.wait_for_everyone()
    if training.ema is not None:
        task.load_state_dict(training.ema.module.state_dict())
    return training.result


def learning_rate(base: float, step: int, how: Fit) -> float:
    """Linear warm-up to ``base`` in ``how.warmup`` steps, then half a cosine to zero at ``how.steps``."""
    if step < how.warmup:
        return base * (step + 1) / how.warmup
    done = (step - how.warmup) / max(1, how.steps - how.warmup)
    return base * 0.5 * (1 + math.cos(math.pi * done))


class _Losses(nn.Module):
    """What is wrapped for several processes and for mixed precision, so that the task itself stays as it is."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task

    def forward(self, batch: Batch, loss: str) -> dict[str, Tensor]:
        return self.task(batch, loss)


class _Training:
    """A task, its optimisers and its average on the way from one step to the next."""

    def __init__(self, task: Task, optimizers: Mapping[str, Optimizer], how: Fit, engine: Accelerator) -> None:
        self.task, self.how, self.engine = task, how, engine
        self.out = Path(how.out)
        self.step = 0
        self.result: dict[str, float] = {}
        self.changed: list[str] = []
        self.losses, *ready = engine.prepare(_Losses(task), *optimizers.values())
        self.optimizers: dict[str, Any] = dict(zip(optimizers, ready, strict=True))
        self.ema = None if how.ema is None else Ema(task, decay=how.ema)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group.setdefault("base_lr", group["lr"])

    # -- saving and restoring

    def restore(self, *, resume: bool) -> Path | None:
        """Make the folder of the run; go on from its newest state, or remove what is there."""
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SemeiaError(f"{self.out}: cannot be made a folder for this training ({error.strerror})") from error
        found = state.latest(self.out) if resume else None
        if found is not None:
            facts = state.load(found, task=self.task, ema=self.ema, optimizers=self.optimizers)
            self.step, self.result = facts["step"], facts["result"]
            now = self.conditions()
            self.changed = [f"{name} {value}" for name, value in facts["fit"].items() if now.get(name) != value]
        elif self.engine.is_main_process:
            state.discard(self.out)
        self.engine.wait_for_everyone()
        return found

    def conditions(self) -> dict[str, Any]:
        """What must be the same for a resumed run to end bit for bit like one that ran through."""
        chosen = {"precision": self.engine.mixed_precision, "processes": self.engine.num_processes}
        unrelated = ("out", "log_every", "eval_every", "save_every")
        return {name: value for name, value in asdict(self.how).items() if name not in unrelated} | chosen

    def save(self) -> None:
        """Save the state, in the first process."""
        if not self.engine.is_main_process:
            return
        facts = {"result": self.result, "fit": self.conditions()}
        state.save(self.out, step=self.step, task=self.task, ema=self.ema, optimizers=self.optimizers, facts=facts)

    # -- training

    @contextmanager
    def open(self, feeds: Mapping[str, Feed], workers: int) -> Iterator[None]:
        """Queue up the batches that are still to come."""
        visits = [phase.feed for phase in self.task.phases for _ in range(self.how.accumulate)]
        self.queues = {
            name: Prefetch(
                feeds[name],
                name=name,
                indices=range(self.step * visits.count(name), self.how.steps * visits.count(name)),
                rank=self.engine.process_index,
                world=self.engine.num_processes,
                seed=self.how.seed,
                workers=workers,
                pin=self.engine.device.type == "cuda",
            )
            for name in dict.fromkeys(visits)
        }
        self.task.train()
        try:
            yield
        finally:
            for queue in self.queues.values():
                queue.close()

    def take_step(self, *, stop: bool) -> tuple[dict[str, float], int, bool]:
        """Go through all phases once.

        Args:
            stop: Whether this process was asked to stop.

        Returns:
            The mean of each loss, part and gradient norm over micro-batches and processes; the images read in all
            processes; whether any process was asked to stop.

        Raises:
            SemeiaError: A loss, part or gradient norm is not finite.
        """
        seen: dict[str, list[Tensor]] = {}
        images = 0
        for number, phase in enumerate(self.task.phases):
            images += self.update(number, phase, seen)
        # All processes go on with the first one's buffers, as they would after a restart.
        for buffer in self.task.buffers() if self.engine.num_processes > 1 else ():
            torch.distributed.broadcast(buffer, src=0)
        seed_all(self.how.seed, self.step)
        self.step += 1
        self.task.after_step(self.step)
        if self.ema is not None:
            self.ema.update(self.task)
        means = [torch.stack(values).mean() for values in seen.values()]
        # One message between processes: what is logged, and whether anyone was told to stop.
        *numbers, asked = self.engine.reduce(torch.stack([*means, means[0].new_tensor(float(stop))]), "mean").tolist()
        values = dict(zip(seen, numbers, strict=True))
        self.check(values)
        return values, images * self.engine.num_processes, asked > 0

    def update(self, number: int, phase: Phase, seen: dict[str, list[Tensor]]) -> int:
        """Update once for one phase, add its losses to ``seen``, and return the images that were read."""
        optimizer, how, images = self.optimizers[phase.optimizer], self.how, 0
        for group in optimizer.param_groups:
            if not group.get("constant"):
                group["lr"] = learning_rate(group["base_lr"], self.step, how)
        for micro in range(how.accumulate):
            batch = send_to_device(next(self.queues[phase.feed]), self.engine.device, non_blocking=True)
            images += _size(batch)
            seed_all(how.seed, self.step, number, micro, self.engine.process_index)
            with nullcontext() if micro == how.accumulate - 1 else self.engine.no_sync(self.losses):
                losses = self.losses(batch, phase.loss)
                self.engine.backward(losses["loss"] / how.accumulate)
            for name, value in losses.items():
                seen.setdefault(f"{phase.loss}/{name}", []).append(value.detach().float())
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = self.engine.clip_grad_norm_(parameters, math.inf if how.clip is None else how.clip)
        seen.setdefault(f"{phase.loss}/grad_norm", []).append(norm.detach().float())
        optimizer.step()
        self.losses.zero_grad(set_to_none=True)
        return images

    def check(self, values: Mapping[str, float]) -> None:
        """Stop before a number that is not finite can be saved."""
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if not bad:
            return
        # A broken part makes its sum and all that follows broken: name the part.
        phase = bad[0].partition("/")[0]
        sums = (f"{phase}/loss", f"{phase}/grad_norm")
        name = next((n for n in bad if n.startswith(f"{phase}/") and n not in sums), bad[0])
        last = state.latest(self.out)
        kept = f"the last good state is {last}" if last else "no state was saved yet"
        raise SemeiaError(
            f"training stopped at step {self.step}: {name} is {values[name]}; {kept}; "
            "a lower learning rate, a smaller clip or float32 may help"
        )

    def rates(self) -> dict[str, float]:
        """The learning rate of each optimiser's first group, as last used."""
        return {f"lr/{name}": optimizer.param_groups[0]["lr"] for name, optimizer in self.optimizers.items()}

    def evaluate(self, measure: Callable[[Any], dict[str, float]]) -> dict[str, float]:
        """Measure the averaged weights, or the weights where none are averaged."""
        subject = self.task if self.ema is None else self.ema.module
        subject.eval()
        with torch.no_grad():
            scores = {name: float(value) for name, value in measure(subject).items()}
        self.task.train()
        return scores


def _due(step: int, every: int, how: Fit) -> bool:
    return step % every == 0 or step == how.steps


def _size(batch: Batch) -> int:
    """Samples in a batch: the first axis of its first tensor."""
    return next((len(value) for value in batch.values() if isinstance(value, Tensor) and value.ndim), 0)


@contextmanager
def _interrupts(*, alone: bool) -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list in place of dying from them; ``alone``, a second one acts at once."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # torchrun passes on what the terminal has already sent; only a lone process is told twice by a person.
        if alone:
            signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
