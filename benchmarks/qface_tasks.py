"""One pass of Q-Face beside five single-task models, and what one more task costs.

    OMP_NUM_THREADS=1 python benchmarks/qface_tasks.py

The five models have Q-Face's own backbone, fusion and decoder, and the queries of one task alone; together they answer
what Q-Face answers. One more task is one more query with its read-out. Calls alternate within each round, so that a
busy machine slows all of them; ratios are taken round by round. All tasks read the same crop here; in use pose is read
from a second one, by either. FLOPs are counted by ``torch.utils.flop_counter``, which counts products of matrices and
convolutions alone. Weights are random: they do not change the cost. Scores of sides and bins of age are left out on all
sides; they are read-outs of queries that are there.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from semeia.systems import qface


class Reader(nn.Module):
    """A Q-Face with some of its queries: backbone, fusion, decoder, one linear read-out a query."""

    def __init__(self, model: qface.QFace, queries: int) -> None:
        super().__init__()
        self.model = model
        self.queries = nn.Parameter(torch.randn(queries, model.config.width) * 0.02)
        self.readout = qface.LabelReadout(queries, model.config.width)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, H, W) -> (B, queries)``."""
        tokens, position, _ = self.model.fused(image)
        return self.readout(self.model.decoder(self.queries, tokens, position))


def seconds(call: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of one call."""
    # Fused attention on a CPU is not among what the counter knows; its parts are.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def spread(values: Sequence[float]) -> str:
    """Median and the middle half."""
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.3f} ({low:.3f} to {high:.3f})"


def compare(config: qface.Config, *, batch: int, rounds: int) -> str:
    """The table, in Markdown."""
    torch.manual_seed(0)
    image = torch.rand(batch, 3, config.image_size, config.image_size)
    whole = qface.build(config).eval()
    counts = {task: slot.stop - slot.start for task, slot in whole.slots.items()}
    labels = sum(counts.values())
    alone = {task: Reader(qface.build(config), n).eval() for task, n in counts.items()}
    one, more = Reader(whole, labels).eval(), Reader(whole, labels + 1).eval()
    calls: dict[str, Callable[[], object]] = {
        "Q-Face, all five tasks": lambda: one(image),
        "five single-task models": lambda: [model(image) for model in alone.values()],
        "Q-Face with one more task": lambda: more(image),
    }
    calls |= {f"{task} alone": lambda m=model: m(image) for task, model in alone.items()}
    for model in (one, more, *alone.values()):
        model.requires_grad_(False)
    counted = {name: flops(call) for name, call in calls.items()}
    with torch.inference_mode():
        times: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(rounds + 1):
            # Turned each round, so that no call always follows the same one; the first round warms up.
            order = list(calls)[number % len(calls) :] + list(calls)[: number % len(calls)]
            for name in order:
                took = seconds(calls[name])
                if number:
                    times[name].append(took)
    reference = next(iter(calls))
    lines = [
        f"{labels} queries, {batch} images of {config.image_size} pixels, {torch.get_num_threads()} thread(s), "
        f"{rounds} rounds, torch {torch.__version__}; middle half in brackets",
        "",
        "| model | ms an image | time beside Q-Face | MFLOP an image | FLOP beside Q-Face |",
        "|---|---|---|---|---|",
    ]
    for name in calls:
        ratio = [t / r for t, r in zip(times[name], times[reference], strict=True)]
        each = 1000 * statistics.median(times[name]) / batch
        share = counted[name] / counted[reference]
        lines.append(f"| {name} | {each:.2f} | {spread(ratio)} | {counted[name] / batch / 1e6:.1f} | {share:.4f} |")
    added = counted["Q-Face with one more task"] - counted[reference]
    weights = 2 * config.width + 1
    lines += [
        "",
        f"One more task of one label: {added / batch / 1e6:.2f} MFLOP an image, "
        f"{100 * added / counted[reference]:.2f} % of a pass, and {weights} weights "
        f"({100 * weights / sum(p.numel() for p in whole.parameters()):.4f} %).",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="images of a pass")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(compare(qface.Config(), batch=args.batch, rounds=args.rounds))


if __name__ == "__main__":
    main()
