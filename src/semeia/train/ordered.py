"""Any task, trained in an order that follows from what it finds hard.

    batch with ``index`` -> the task's own step -> loss of each of its samples alone -> curriculum -> batches to come

The systems of this library return the mean loss of a batch. What one sample costs is found by showing the task each
sample of the step again, alone, after the step: one more forward pass over every image, in float32. Nothing of the
task's is asked but its loss, so that it need not know that it is ordered.

    order = LearnedOrder(len(faces.select("train")), batch_size=16)
    task = Ordered(algrnet.build(config), Curriculum(order, Plan(criterion="loss")))
    fit(task, {"main": FaceFeed([FaceSet(faces)], batch_size=16, order=order, ...)}, adamw(task, ...), how)
    task.task  # what was trained

Shapes      b samples of a batch   m samples of a step
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from semeia.data.orders import Curriculum
from semeia.records import SemeiaError
from semeia.task import Task
from semeia.train.feeds import seed_all


class Ordered(Task):
    """A task whose batches a curriculum puts together.

    A sample is measured in evaluation mode and without gradients, by the weights that its step led to. Losses that draw
    random numbers draw the same for all samples of an epoch, so that samples differ and not their luck. A killed
    training resumes exactly: what was measured and the batches of the epoch are buffers.

    What a batch is measured by must be a mean of losses of its samples. A loss that compares samples with one another
    says nothing of one alone, and a task whose ``forward`` also changes its buffers in evaluation mode would change by
    being measured. A sample without labels costs nothing and counts as easy.

    Args:
        task: What is trained; its ``phases`` are taken as they are now.
        curriculum: Ranks by the loss alone, without weights. Its order is the feed's. With several processes or
            micro-batches ``LearnedOrder.together`` is their product, times the phases that read the feed.
        feed: Name of the feed that has the order. All phases that read it have one loss, which no other feed is
            trained with.

    Attributes:
        measured: Numbers of the samples of the last step of this process and their losses, (m,) each; empty before.

    Raises:
        SemeiaError: A plan that needs what a task does not tell, or no one loss to rank by.
    """

    def __init__(self, task: Task, curriculum: Curriculum, *, feed: str = "main") -> None:
        super().__init__()
        _check(curriculum)
        self.task, self.curriculum, self.phases = task, curriculum, task.phases
        self.loss = _ranked_loss(task, feed)
        self.measured = torch.empty(0, dtype=torch.int64), torch.empty(0)
        self._seen: list[dict[str, Any]] = []  # micro-batches of a step

    def forward(self, batch: dict[str, Any], loss: str = "main") -> dict[str, Tensor]:
        """The task's losses.

        Args:
            batch: The task's, and ``index`` (b,) int64, numbers of the samples.
            loss: One of the task's.

        Raises:
            SemeiaError: In training, a batch that does not say which samples it holds.
        """
        if self.training and loss == self.loss:
            if "index" not in batch:
                raise SemeiaError(
                    f"ordered training: expected batches with 'index', found {', '.join(batch)}; give the feed the "
                    "order of the curriculum"
                )
            self._seen.append(dict(batch))
        return self.task(batch, loss)

    def groups(self, optimizer: str = "main") -> Iterable[dict[str, Any]]:
        """The task's, by the names that parameters have here."""
        for group in self.task.groups(optimizer):
            yield group | {"named_params": [(f"task.{name}", value) for name, value in group["named_params"]]}

    def after_step(self, step: int) -> None:
        """Let the task finish its step, measure the samples of the step, and decide the next epoch where one ends.

        Raises:
            SemeiaError: A loss is not a finite number, or the batches of a step are not those of the order's.
        """
        self.task.after_step(step)
        seen, self._seen = self._seen, []
        index, losses = torch.cat([batch["index"] for batch in seen]), torch.cat([self.each(batch) for batch in seen])
        self.measured = index, losses
        self.curriculum.note(index, losses, torch.zeros_like(losses), torch.zeros_like(index, dtype=torch.bool))
        self.curriculum.advance(step)

    @torch.no_grad()
    def each(self, batch: dict[str, Any]) -> Tensor:
        """Loss of each sample of a batch alone, (b,) float32, in evaluation mode; all modules keep their mode.

        Raises:
            SemeiaError: A value of the batch cannot be divided among its samples.
        """
        modes = [(module, module.training) for module in self.task.modules()]
        self.task.eval()
        luck = self.curriculum.order.seed, int(self.curriculum.epoch), 0x0DE8
        losses = []
        for one in _alone(batch):
            seed_all(*luck)
            losses.append(self.task(one, self.loss)["loss"].float())
        for module, mode in modes:
            module.training = mode
        return torch.stack(losses)


def _check(curriculum: Curriculum) -> None:
    """Refuse plans that need more than a loss, or that would change it."""
    plan = curriculum.plan
    if plan.weighting != "none":
        raise SemeiaError(
            f"ordered training: expected weighting 'none', found '{plan.weighting}'; a task's loss is a mean over its "
            "batch and cannot be weighted by sample from outside; arrange batches alone"
        )
    if plan.uncertain:
        raise SemeiaError(
            f"ordered training: expected criterion 'loss', found '{plan.criterion}'; a task tells no uncertainties; "
            "take Plan(criterion='loss'), or write them into the task as systems/mo_scl.py does"
        )


def _ranked_loss(task: Task, feed: str) -> str:
    """Name of the one loss that samples of the feed are trained with."""
    losses = {phase.loss for phase in task.phases if phase.feed == feed}
    if len(losses) != 1:
        found = f"{len(losses)} ({', '.join(sorted(losses))})" if losses else "none"
        raise SemeiaError(
            f"ordered training: expected one loss of the feed '{feed}' to rank its samples by, found {found}; losses "
            f"of several kinds cannot be compared; the task reads {', '.join(sorted({p.feed for p in task.phases}))}"
        )
    loss = losses.pop()
    others = sorted({phase.feed for phase in task.phases if phase.loss == loss and phase.feed != feed})
    if others:
        raise SemeiaError(
            f"ordered training: expected loss '{loss}' on the feed '{feed}' alone, found it on {', '.join(others)} "
            "too; give the phases of the ordered feed a loss of another name"
        )
    return loss


def _alone(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each sample of a batch as a batch of one."""
    size = len(batch["index"])
    for place in range(size):
        yield {name: _part(value, place, size, name) for name, value in batch.items()}


def _part(value: Any, place: int, size: int, name: str) -> Any:
    """What one of ``size`` samples has of a value; numbers, texts and the like are everyone's."""
    if isinstance(value, dict):
        return {key: _part(inner, place, size, f"{name}/{key}") for key, inner in value.items()}
    if not (isinstance(value, list | tuple) or (isinstance(value, Tensor) and value.ndim)):
        return value
    if len(value) != size:
        raise SemeiaError(
            f"ordered training: '{name}' of the batch: expected {size} entries, one for each sample, found "
            f"{len(value)}; a batch must be made of samples to measure each alone"
        )
    return value[place : place + 1]
