"""The batch order of Mo-SCL on another system: a small ALGRNet that reads action units of rendered faces.

    python benchmarks/face_order.py --data worlds/faces --steps 300 --seeds 3

It is an example of how a learned order is put around any task (``train.ordered``, docs/systems/mo_scl.md), not a claim:
a network, a training and a set of faces this small, with the loss alone to rank by, say little of the method, and
nothing of lesions. Nobody published such a training of ALGRNet.

Each seed trains from the same weights and with the same first epoch in ``random`` order, with hard and easy faces in
each batch (``mixed``), and with batches of equals (``same``). Printed are

F1: of presence, mean over action units, on at most ``--limit`` faces of the split ``val``; thresholds are chosen on the
faces that trained. Differences are paired by seed, with their 95 % t interval over seeds; no interval is widened for
being one of three.

evenness: variance of batches' mean loss, divided by what batches drawn at random from the losses of their epoch would
have, mean over the epochs after the first; and its ratio to that of random order. A batch is measured right after its
own step, face by face, so that what the network learns within an epoch is in it too. A ratio below 1: batches are more
alike than in random order. Mixed order evens out ranks; where few losses are large it need not even out means of so
many.

A training that was stopped goes on, and one that is finished is read from ``--out``.

Shapes      T steps   b faces of a batch   E epochs   K batches of an epoch   S seeds
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches, indices_of, positive_rates
from semeia.data.formats.faces import FaceFolder
from semeia.data.orders import Arrangement, Curriculum, LearnedOrder, Plan
from semeia.evaluate import MEAN
from semeia.files import write_whole
from semeia.ledger.intervals import t_quantile
from semeia.nn.unit_losses import unit_weights
from semeia.nn.unit_network import usual_points
from semeia.recipes import algrnet as recipe
from semeia.records import SemeiaError
from semeia.systems import algrnet
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw
from semeia.train.ordered import Ordered
from semeia.unit_scores import evaluate_units, fit_thresholds, vocabulary

ORDERS: tuple[Arrangement, ...] = ("random", "mixed", "same")
PAIRS = (("mixed", "random"), ("same", "random"), ("mixed", "same"))
MODEL = algrnet.Config(
    image_size=64, stem=(8, 16), face=(16, 24, 32), hidden=64, branches=(16, 24), width=48, relation_width=24,
    fusion_width=96,
)  # fmt: skip
"""Half the widths of the recipe's ``small`` at 64 pixels."""


# Training ------------------------------------------------------------------------------------------------------------


class Watched(Ordered):
    """Keeps what each batch cost, to be read when all is done."""

    costs: Tensor

    def __init__(self, task: Any, curriculum: Curriculum, *, steps: int) -> None:
        super().__init__(task, curriculum)
        self.register_buffer("costs", torch.full((steps, curriculum.order.batch_size), torch.nan))

    def after_step(self, step: int) -> None:
        """As of ``Ordered``."""
        super().after_step(step)
        self.costs[step - 1] = self.measured[1]


def part_of(faces: FaceFolder, count: int) -> FaceFolder:
    """The same folder with at most ``count`` faces in the split train, taken at even steps through it."""
    rows, texts = indices_of(faces, "train"), faces.columns.texts
    count = min(count, len(rows))
    split = texts["split"].copy()
    split[rows] = "left out"
    split[rows[np.arange(count) * len(rows) // count]] = "train"
    some = copy(faces)
    some.columns = replace(faces.columns, texts={**texts, "split": split})
    return some


def network(faces: FaceFolder, seed: int) -> Any:
    """Weights of a seed, the same for every order."""
    torch.manual_seed(seed)
    model: Any = algrnet.build(MODEL)
    rates = positive_rates([FaceSet(faces)], vocabulary(MODEL))
    model.unit_weight.copy_(torch.from_numpy(unit_weights(rates)))
    landmarks = [
        batch["landmarks"].where(batch["landmarks_mask"], torch.nan).numpy()
        for batch in read(faces, "train", limit=400)
    ]
    model.trunk.landmarks.usual.copy_(usual_points(np.concatenate(landmarks)))
    return model


def read(faces: FaceFolder, split: str, *, limit: int) -> Any:
    """Batches of a split as the network sees them in use."""
    return evaluation_batches(
        faces, split=split, view="aligned", image_size=MODEL.image_size, vocabulary=vocabulary(MODEL),
        margin=MODEL.margin, limit=limit,
    )  # fmt: skip


def train(
    faces: FaceFolder, arrangement: Arrangement, args: argparse.Namespace, *, seed: int, out: Path
) -> dict[str, Any]:
    """Train once and return F1, the evenness of each epoch after the first, and CPU seconds.

    Args:
        faces: With the training faces alone in the split train.
        arrangement: How batches are made after the first epoch.
        args: Of the command.
        seed: Of weights, orders and augmentation.
        out: Folder of the run.
    """
    began, small = process_time(), recipe.small()
    order = LearnedOrder(len(indices_of(faces, "train")), batch_size=args.batch_size, seed=seed)
    plan = Plan(arrangement=arrangement, criterion="loss", warmup=1)
    task = Watched(network(faces, seed), Curriculum(order, plan), steps=args.steps)
    feed = FaceFeed(
        [FaceSet(faces)], batch_size=args.batch_size, image_size=MODEL.image_size, vocabulary=vocabulary(MODEL),
        augmentation=small.augmentation, aligned=1.0, margins=(MODEL.margin, MODEL.margin), seed=seed, order=order,
    )  # fmt: skip
    # The rate has risen before the first epoch, which is in random order, ends.
    how = Fit(steps=args.steps, warmup=min(args.steps, order.steps) // 2, save_every=50, seed=seed, out=out)
    fit(task, {"main": feed}, adamw(task, lr=small.learning_rate, weight_decay=small.weight_decay), how)
    model: Any = task.task
    fit_thresholds(model, [faces], split="train", limit=args.limit)
    scores = evaluate_units(model, [faces], split="val", limit=args.limit, rounds=0)
    (f1,) = [s.value for s in scores if (s.task, s.metric, s.label) == ("action unit present", "F1", MEAN)]
    return {"f1": f1, "evenness": evenness(task.costs.numpy(), order.steps), "seconds": process_time() - began}


def evenness(costs: np.ndarray, batches: int) -> list[float]:
    """Variance of batches' means, of what independent draws have, for each whole epoch after the first.

    Args:
        costs: (T, b) losses of the faces of each step.
        batches: K.
    """
    epochs = costs[: len(costs) // batches * batches].reshape(-1, batches, costs.shape[1]).astype(float)  # (E, K, b)
    return [float(each.mean(1).var() / (each.var() / each.shape[1])) for each in epochs[1:]]


def trained(faces: FaceFolder, arrangement: Arrangement, args: argparse.Namespace, *, seed: int) -> dict[str, Any]:
    """The result of a training, read where it is there; a training of other numbers lies in another folder."""
    out = Path(args.out) / f"{arrangement}-{seed}-{args.steps}x{args.batch_size}-{args.faces}-{args.limit}"
    file = out / "result.json"
    if file.is_file():
        found: dict[str, Any] = json.loads(file.read_text())
        if found["data"] == args.data:
            return found
        raise SystemExit(f"{file}: made with {found['data']}, asked for {args.data}; give another --out")
    found = {"data": args.data} | train(faces, arrangement, args, seed=seed, out=out)
    write_whole(file, (json.dumps(found, indent=1) + "\n").encode())
    print(f"{arrangement}, seed {seed}: F1 {found['f1']:.3f}, {found['seconds']:.0f} CPU seconds", flush=True)
    return found


# Reading -------------------------------------------------------------------------------------------------------------


def listed(values: np.ndarray, how: str) -> str:
    """Numbers of all seeds in one cell."""
    return ", ".join(format(value, how) for value in values)


def around(differences: np.ndarray) -> str:
    """Mean of (S,) paired differences and their 95 % t interval as two cells."""
    mean, seeds = differences.mean(), len(differences)
    if seeds < 2:
        return f"{mean:+.4f} | one seed has none"
    reach = t_quantile(seeds - 1) * differences.std(ddof=1) / math.sqrt(seeds)
    return f"{mean:+.4f} | {mean - reach:+.4f} to {mean + reach:+.4f}"


def tables(results: dict[str, list[dict[str, Any]]]) -> str:
    """Means of the orders, then their differences, as Markdown; each order's results are in the order of seeds."""
    f1 = {name: np.array([row["f1"] for row in rows]) for name, rows in results.items()}
    even = {name: np.array([np.mean(row["evenness"]) for row in rows]) for name, rows in results.items()}
    lines = ["| order | mean F1 | by seed | evenness | of random order's | by seed |", "|---|---|---|---|---|---|"]
    for name in results:
        ratios = even[name] / even["random"]
        cells = (
            name, f"{f1[name].mean():.3f}", listed(f1[name], ".3f"), f"{even[name].mean():.2f}", f"{ratios.mean():.2f}",
            listed(ratios, ".2f"),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| difference of F1 | by seed | mean | 95 % interval |", "|---|---|---|---|"]
    for one, other in PAIRS:
        apart = f1[one] - f1[other]
        lines.append(f"| {one} - {other} | {listed(apart, '+.3f')} | {around(apart)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every order from every seed, and print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="rendered faces with the splits train and val")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3, help="how many; the first is 0")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--faces", type=int, default=800, help="training faces, few so that there are several epochs")
    parser.add_argument("--limit", type=int, default=400, help="most faces that thresholds and F1 are read from")
    parser.add_argument("--out", default="runs/face_order", help="where trainings are kept")
    args = parser.parse_args(arguments)
    for name in ("steps", "seeds", "batch_size", "faces", "limit"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected at least 1, found {getattr(args, name)}")
    try:
        faces = part_of(FaceFolder(args.data), args.faces)
        indices_of(faces, "val")
        epoch = len(indices_of(faces, "train")) // args.batch_size
        if args.steps < 2 * epoch:
            parser.error(f"--steps: expected at least two epochs, {2 * epoch}, found {args.steps}; the first is random")
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in ORDERS}
        for seed in range(args.seeds):
            for name in ORDERS:
                results[name].append(trained(faces, name, args, seed=seed))
    except SemeiaError as error:
        raise SystemExit(str(error)) from error
    print(f"\n{args.seeds} seeds, {args.steps} steps of {args.batch_size} of {args.faces} faces, {args.limit} held-out "
          f"ones\n\n{tables(results)}")  # fmt: skip


if __name__ == "__main__":
    main()
