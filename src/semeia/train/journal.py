"""What a training says while it runs: ``log.jsonl``, TensorBoard, and a progress bar or plain lines on stderr."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from semeia.files import write_whole
from semeia.train.throughput import Gauge


class Journal:
    """The log of one training; numbers are means since the last row.

    Args:
        out: Folder of the run; receives ``log.jsonl`` and ``tensorboard/``.
        start: Steps taken before; rows after it, which a killed run left, are dropped.
        steps: Steps in all.
        active: Whether this process writes; of several only the first does.
        show: Whether progress goes to stderr: a bar on a terminal, else a line for each row.
        gauge: Tells which share of the device's peak is reached.
    """

    def __init__(
        self, out: Path, *, start: int, steps: int, active: bool, show: bool, gauge: Gauge | None = None
    ) -> None:
        self.steps, self.active, self.show, self.gauge = steps, active, show and active, gauge
        self.console = Console(stderr=True, highlight=False)
        self._sums: dict[str, float] = {}
        self._count, self._images, self._seconds = 0, 0, 0.0
        if not active:
            return
        from torch.utils.tensorboard import SummaryWriter

        file = out / "log.jsonl"
        write_whole(file, _rows_until(start, file))
        self._rows = file.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(), TimeRemainingColumn(),
            console=self.console, disable=not (self.show and self.console.is_terminal), refresh_per_second=2,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=steps, completed=start, text="")

    def __enter__(self) -> Self:
        if self.active:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.active:
            self._bar.stop()
            self._board.close()
            self._rows.close()

    def step(self, step: int, values: Mapping[str, float], *, images: int, seconds: float) -> None:
        """Take in one step: its losses, how many images it read in all processes, how long it took."""
        if not self.active:
            return
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._count += 1
        self._images += images
        self._seconds += seconds
        self._bar.update(self._task, completed=step, text=self._text())

    def row(self, step: int, rates: Mapping[str, float]) -> None:
        """Write the means since the last row, with the learning rates."""
        if not self.active or not self._count:
            return
        means = {name: total / self._count for name, total in self._sums.items()}
        speed = {"images_per_second": self._images / self._seconds}
        if self.gauge is not None:
            speed["share_of_peak"] = self.gauge.share(speed["images_per_second"])
        self.write(step, {**means, **rates, **speed})
        if self.show and not self.console.is_terminal:
            left = timedelta(seconds=round(self._seconds / self._count * (self.steps - step)))
            self.console.print(f"step {step}/{self.steps}  {self._text()}  {left} left", soft_wrap=True)
        self._sums, self._count, self._images, self._seconds = {}, 0, 0, 0.0

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write any scalars."""
        if not self.active:
            return
        # JSON knows no NaN.
        row = {"step": step} | {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._rows.write(json.dumps(row) + "\n")
        self._rows.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()

    def scores(self, step: int, values: Mapping[str, float]) -> None:
        """Write an evaluation."""
        self.write(step, {f"eval/{name}": value for name, value in values.items()})
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self.show:
            self.console.print(f"step {step}/{self.steps}  evaluation  {text}", soft_wrap=True)

    def note(self, text: str, *, always: bool = False) -> None:
        """Say one line; ``always`` even where progress is not shown."""
        if self.show or (self.active and always):
            self.console.print(text, soft_wrap=True)

    def _text(self) -> str:
        loss = sum(total for name, total in self._sums.items() if name.endswith("/loss")) / self._count
        speed = self._images / self._seconds
        share = "" if self.gauge is None else f", {100 * self.gauge.share(speed):.0f} % of peak"
        return f"loss {loss:.4f}  {speed:.0f} img/s{share}"


def _rows_until(step: int, file: Path) -> bytes:
    """The rows of ``file`` up to ``step``; a line that a killed process left half-written is dropped."""
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            continue
    return "".join(kept).encode()
