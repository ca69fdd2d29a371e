"""How fast ALGRNet and MGRR-Net read a crop beside Q-Face, and where their time goes.

    python benchmarks/unit_speed.py

The first table tells crops a second from uint8 crops to answers, as a photo or a clip is read once its faces are found.
Networks take turns within each round, so that a busy machine slows all of them; ratios are taken round by round, with
the middle half in brackets. Q-Face answers all of its tasks by the pass that is timed; in use it reads a second crop.

The other tables take a batch of 32 on one thread apart: processor time of each part without the parts in it, which a
busy machine disturbs less than the time that passes, and floating-point operations. These are counted by
``torch.utils.flop_counter``, which counts products of matrices and convolutions alone: sampling, norms, pooling and
activations take time and count for nothing. The rate stands beside that of one product of two matrices of 1024 x 1024
in float32, timed in the same rounds: the part of it that is reached tells how far from the floor a part is.

Weights are random with the default sizes, which changes no cost; ``--weights`` names others. Milliseconds are medians
of one run and mean little elsewhere; with as many threads as cores they say little while anything else runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from semeia import checkpoint
from semeia.nn.regions import RegionLayer
from semeia.predict.units import in_chunks
from semeia.systems import algrnet, mgrrnet, qface
from semeia.unit_networks import load_network

BATCHES = (1, 32)
REST = "all else"
"""What is in no part: from bytes to numbers, scores to answers."""
SIDE = 1024
"""Of the matrices whose product is the floor."""

Parts = dict[str, list[tuple[Any, str]]]
"""Methods by the name of the part that they are; a method inside another one counts for its own part alone."""


# ---------------------------------------------------------------------------------------------------------------------
# Networks


def networks(weights: Sequence[str]) -> dict[str, Any]:
    """Networks by name: those of the weights, or with random weights."""
    if weights:
        found = {name: load(name) for name in weights}
    else:
        torch.manual_seed(0)
        found = {
            "Q-Face": qface.build(qface.Config()),
            "ALGRNet": algrnet.build(algrnet.Config()),
            "MGRR-Net": mgrrnet.build(mgrrnet.Config()),
        }
    return {name: model.eval().requires_grad_(False) for name, model in found.items()}


def load(weights: str) -> Any:
    """The network of some weights."""
    system = checkpoint.system_of(weights)
    if system != "qface":
        return load_network(weights)[0]
    return checkpoint.load(weights, system=system, kind=qface.Config, build=qface.build, later=qface.ADDED)[0]


def parts_of(model: Any) -> Parts:
    """What a network consists of, in the order of its flow."""
    if isinstance(model, qface.QFace):
        return reader_parts(model)
    layers = [layer for layer in model.trunk.stem if isinstance(layer, RegionLayer)]
    trunk: Parts = {
        "stem, convolutions": [(layer.enter, "forward") for layer in layers],
        "stem, convolutions of cells": [
            (local, "forward") for layer in layers for local in (layer.fine, layer.middle, layer.coarse)
        ],
        "stem, norms and pooling": [(model.trunk.stem, "forward")],
        "landmarks": [(model.trunk.landmarks, "forward")],
        "centres": [(model.trunk, "centres")],
        "regions": [(model.trunk.regions, "forward")],
        "branches, convolutions": [(model.trunk.branches.features, "forward")],
        "branches, linear layers": [(model.trunk.branches, "forward")],
        "both sides together": [(model.trunk.together, "forward")],
    }
    heads = [(model.heads, "forward"), (model.heads, "answers")]
    if isinstance(model, algrnet.ALGRNet):
        between: Parts = {
            "adaptive regions": [(model.adapt, "forward")],
            "shapes": [(model.shape, "forward")],
            "relation": [(model.relation, "forward")],
            "whole face": [(model.places, "forward")],
            "fusion and refining": [(model.fusion, "forward")],
        }
    else:
        levels = {
            "graph of units": "region", "attention over places": "places", "attention over channels": "channels",
            "fusion": "fuse",
        }  # fmt: skip
        between = {"whole face": [(model.whole, "forward")]}
        between |= {
            name: [(getattr(layer, level), "forward") for layer in model.layers] for name, level in levels.items()
        }
        heads.append((model.face, "forward"))
    # A part that is left out by the configuration is None.
    return trunk | {name: of for name, of in between.items() if of[0][0] is not None} | {"heads": heads}


def reader_parts(model: qface.QFace) -> Parts:
    """Those of Q-Face."""
    vit: Any = model.backbone.model
    parts: Parts = {}
    if model.config.backbone == "fine_vit":
        parts = {
            "stem": [(vit.patch_embed.backbone, "maps")],
            "blocks": [(block, "forward") for block in vit.blocks],
        }
    parts |= {"rest of the backbone": [(model.backbone, "forward")], "fusion of stages": [(model.fusion, "forward")]}
    if model.summary is not None:
        parts["summary"] = [(model.summary, "forward")]
    return parts | {"queries": [(model.decoder, "read")], "read-outs": [(model, "logits")]}


# ---------------------------------------------------------------------------------------------------------------------
# Measuring


class Meter:
    """Adds up what a clock or a counter shows in each part, without the parts inside of it."""

    def __init__(self, read: Callable[[], float]) -> None:
        self.read = read
        self.spent: dict[str, float] = defaultdict(float)
        self.inner = [0.0]

    def watched(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call as it was, with what it costs added to a part."""

        def watch(*arguments: Any, **named: Any) -> Any:
            self.inner.append(0.0)
            start = self.read()
            answer = call(*arguments, **named)
            whole = self.read() - start
            self.spent[name] += whole - self.inner.pop()
            self.inner[-1] += whole
            return answer

        return watch

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """Within, every part of a network is watched."""
        with ExitStack() as stack:
            for name, methods in parts_of(model).items():
                for owner, method in methods:
                    stack.enter_context(patch.object(owner, method, self.watched(name, getattr(owner, method))))
            yield


def spent_in(model: Any, call: Callable[[], object], read: Callable[[], float]) -> dict[str, float]:
    """What one call of a network costs, by part, as a clock or a counter tells."""
    meter = Meter(read)
    with meter.watching(model):
        meter.watched(REST, call)()
    return {name: meter.spent[name] for name in (*parts_of(model), REST)}


def operations(model: Any, call: Callable[[], object]) -> dict[str, float]:
    """Floating-point operations of one call, by part."""
    # Fused attention on a CPU is not among what the counter knows; its parts are.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        return spent_in(model, call, counter.get_total_flops)


def calls_of(models: dict[str, Any], batch: int) -> dict[str, Callable[[], object]]:
    """For each network a call that reads crops of noise as a photo's are read."""
    rng, device = np.random.default_rng(0), torch.device("cpu")
    calls: dict[str, Callable[[], object]] = {}
    for name, model in models.items():
        side = model.config.image_size
        calls[name] = partial(
            in_chunks, model.predict, list(rng.integers(0, 256, (batch, side, side, 3), np.uint8)), device
        )
    return calls


def turned(names: Sequence[str], rounds: int) -> Iterator[tuple[int, Sequence[str]]]:
    """The names of each round, so that none always follows the same one; round 0 warms up."""
    for number in range(rounds + 1):
        place = number % len(names)
        yield number, [*names[place:], *names[:place]]


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Time of one call, and processor time."""
    start, used = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - used


# ---------------------------------------------------------------------------------------------------------------------
# Tables


def speed(models: dict[str, Any], *, threads: Sequence[int], rounds: int) -> str:
    """Crops a second of each network, beside the first, as Markdown."""
    first = next(iter(models))
    lines = [
        f"| network | threads | batch | ms a crop | of the processor | crops a second | beside {first} |",
        "|---|---|---|---|---|---|---|",
    ]
    for count in threads:
        torch.set_num_threads(count)
        for batch in BATCHES:
            calls = calls_of(models, batch)
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
            for number, names in turned(list(models), rounds):
                for name in names:
                    took = seconds(calls[name])
                    if number:
                        times[name].append(took)
            for name, own in times.items():
                ratio = np.array(times[first])[:, 0] / np.array(own)[:, 0]
                low, middle, high = np.percentile(ratio, [25, 50, 75])
                each, used = np.median(own, 0) / batch
                lines.append(
                    f"| {name} | {count} | {batch} | {1000 * each:.2f} | {1000 * used:.2f} | {1 / each:.0f} "
                    f"| {middle:.2f} ({low:.2f} to {high:.2f}) |"
                )
    return "\n".join(lines)


def inside(models: dict[str, Any], *, rounds: int) -> str:
    """For each network its parts on one thread, as Markdown."""
    torch.set_num_threads(1)
    batch = BATCHES[-1]
    calls = calls_of(models, batch)
    square = torch.rand(SIDE, SIDE)
    products: list[float] = []
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for number, names in turned(list(models), rounds):
        for name in names:
            parts = spent_in(models[name], calls[name], time.process_time)
            _, product = seconds(lambda: square @ square)
            if number:
                runs[name].append(parts)
                products.append(product)
    floor = 2 * SIDE**3 / statistics.median(products)
    lines = [f"Batch {batch}, one thread. Product of two matrices of {SIDE} x {SIDE}: {floor / 1e9:.0f} GFLOP/s."]
    for name, of in runs.items():
        took = {part: statistics.median(run[part] for run in of) for part in of[0]}
        lines += ["", part_table(name, operations(models[name], calls[name]), took, floor=floor, batch=batch)]
    return "\n".join(lines)


def part_table(name: str, flop: dict[str, float], took: dict[str, float], *, floor: float, batch: int) -> str:
    """A row a part: seconds and operations of a batch, and their rate beside ``floor``."""
    lines = [
        f"| {name} | ms a crop | % of the time | MFLOP a crop | % of the FLOP | GFLOP/s | % of the product's |",
        "|---|---|---|---|---|---|---|",
    ]
    all_time, all_flop = sum(took.values()), sum(flop.values())
    for part, time_of, flop_of in (*((part, took[part], flop[part]) for part in took), ("all", all_time, all_flop)):
        rate = flop_of / time_of
        reached = f"{rate / 1e9:.1f} | {100 * rate / floor:.0f}" if flop_of else "- | -"
        lines.append(
            f"| {part} | {1000 * time_of / batch:.3f} | {100 * time_of / all_time:.1f} | {flop_of / batch / 1e6:.2f} "
            f"| {100 * flop_of / all_flop:.1f} | {reached} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--weights", nargs="+", default=(), metavar="WEIGHTS", help="bundled names or checkpoint folders; the first is "
        "what others stand beside (default: random weights)",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15, help="calls of each that count (default: %(default)s)")
    args = parser.parse_args(arguments)
    models = networks(args.weights)
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {args.rounds} rounds\n")
    print(speed(models, threads=args.threads, rounds=args.rounds), flush=True)
    print(f"\n{inside(models, rounds=args.rounds)}")


if __name__ == "__main__":
    main()
