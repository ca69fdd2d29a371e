"""What the add-ons to the detector of lesions do to learning: anchors told, batches made even, where wrong boxes land.

    python benchmarks/lesion_diagnostics.py positives --data worlds/slabs

counts, without training, the anchors that each way of labelling tells of a lesion.

    semeia make slabs worlds/slabs-noisy --count 900 --seed 5 --shifted 0.2
    python benchmarks/lesion_diagnostics.py curriculum --data worlds/slabs-noisy --steps 2500 --out runs/diagnostics

trains Mo-SCL on a world in which a part of the boxes is moved, and tells from what it measured of its training slices

- how much batches differ in their mean loss, of what random batches do;
- how much of a batch's gradient its samples of the harder half of the training set have, in four orders;
- where slices with moved boxes stand in three rankings: 0 is the easiest slice, 1 the hardest. By chance the mean is
  0.5, 0.1 of them are in the hardest tenth and 0.5 in the middle half.

A training that was stopped goes on; one that is done is read again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from semeia import checkpoint
from semeia.claims.bounding_map import boxes_in_frame
from semeia.data.formats import deeplesion
from semeia.data.formats.deeplesion import DeepLesion
from semeia.data.orders import difficulty, mixed, ranks, rising, variance_across
from semeia.data.slice_feeds import STILL, SliceFeed
from semeia.detection.anchors import Anchors
from semeia.detection.bounding_labels import positives
from semeia.detection.trunks import STRIDES
from semeia.lesion_sets import LesionData, split_of
from semeia.metrics.froc import size_strata
from semeia.nn.weight_files import read_tensors
from semeia.recipes import bounding_map as maps
from semeia.recipes import mo_scl as recipe
from semeia.recipes._lesion_training import feed_of
from semeia.systems import bounding_map, mo_scl
from semeia.train import state

BATCH = 2
GRADED = 60
"""Batches of each order whose gradients are looked at."""


def anchors_told(folder: str, limit: int) -> None:
    """Print how many anchors of an image are told of a lesion, by the way of labelling and the lesions' size."""
    sets = split_of([deeplesion.read(folder)], "train")
    config = maps.small().model
    stride, side = STRIDES[0], config.image_size
    every = Anchors(config.anchor_scales, config.anchor_ratios, stride=stride)(side // stride, side // stride)
    keys = [key for each in sets for key in each.keys if len(key.findings) == 1][:limit]
    feed = feed_of(maps.small(), sets, STILL, cached=False)
    long = np.array([key.findings[0].diameters[0] * key.spacing[0] for key in keys])
    strata = {"all": np.ones(len(keys), bool)} | size_strata(long)
    heads = [f"{name} ({kept.sum()})" for name, kept in strata.items()]
    print(
        f"Anchors told of a lesion, mean (median; share of images with less than two): {len(keys)} slices of {folder}\n"
    )
    print(f"| labels | {' | '.join(heads)} | lesion to background |\n{'|---' * (len(heads) + 2)}|")
    for labels in ("iou", "bm", "bmc", "bmc threshold"):
        labeller = bounding_map.labeller_of(replace(config, labels=labels))
        torch.manual_seed(0)
        told, others = [], []
        for key in keys:
            targets = labeller(every, boxes_in_frame(feed, key), (side, side))
            told.append(int(positives(targets)))
            others.append(int(((targets.objectness == 0) & (targets.objectness_weight > 0)).sum()))
        counts = np.array(told)
        cells = [
            f"{counts[kept].mean():.1f} ({np.median(counts[kept]):.0f}; {(counts[kept] < 2).mean():.0%})"
            if kept.any() else "-" for kept in strata.values()
        ]  # fmt: skip
        print(f"| {labels} | {' | '.join(cells)} | 1 : {np.sum(others) / max(counts.sum(), 1):.1f} |")


def curriculum(folder: str, steps: int, out: str) -> None:
    """Train Mo-SCL, and print what its measurements and its gradients say."""
    config = recipe.small()
    how = replace(config.fit, steps=steps, warmup=steps // 20, ema=None, eval_every=steps, save_every=200, out=out)
    config = replace(
        config, model=replace(config.model, warmup_epochs=1), batch_size=BATCH, validate=8, choose_on=8, test=8,
        rounds=0, data=LesionData(deeplesion=(folder,)), fit=how,
    )  # fmt: skip
    weights = recipe.train(config)
    newest = state.latest(out)
    assert newest is not None
    kept = read_tensors(newest / "model.safetensors")
    losses, unsure = (kept[f"curriculum.{name}"].numpy() for name in ("losses", "uncertainties"))
    known = np.flatnonzero(np.isfinite(losses) & np.isfinite(unsure))
    losses, unsure = losses[known].astype(float), unsure[known].astype(float)
    hardness = difficulty(losses, unsure)
    orders = {
        "mixed, loss and uncertainty": mixed(hardness),
        "mixed, loss": mixed(losses),
        "random": np.random.default_rng(0).permutation(len(losses)),
        "same, loss and uncertainty": rising(hardness),
    }
    whole = len(losses) // BATCH * BATCH
    pairs = {name: order[:whole].reshape(-1, BATCH) for name, order in orders.items()}
    sets = split_of([deeplesion.read(folder)], "train")
    print(f"\n{len(losses)} training slices, {steps} steps of {BATCH}\n")
    print("| order | variance of batches' mean loss, of random batches' | gradient of the hard half: share of norms | "
          "part of the batch's |\n|---|---|---|---|")  # fmt: skip
    model, _ = checkpoint.load(weights, system="mo_scl", kind=mo_scl.Config, build=mo_scl.build)
    feed, hard = feed_of(config, sets, STILL, cached=False), ranks(hardness) >= len(hardness) / 2
    for name, batches in pairs.items():
        spread = variance_across(losses, batches) / (losses.var() / BATCH)
        drawn = batches[np.random.default_rng(1).permutation(len(batches))[:GRADED]]
        norms, parts = zip(*(gradient_of_the_hard(model, feed, known[b], hard[b]) for b in drawn), strict=True)
        print(f"| {name} | {spread:.3f} | {np.mean(norms):.3f} | {np.mean(parts):.3f} |", flush=True)
    landing(Path(folder), sets, known, {"loss": losses, "uncertainty": unsure, "loss and uncertainty": hardness})


def gradient_of_the_hard(
    model: torch.nn.Module, feed: SliceFeed, numbers: Sequence[int], hard: np.ndarray
) -> tuple[float, float]:
    """Of one batch: |G_hard| / (|G_hard| + |G_easy|), and G_hard . G / |G|^2, where G = G_hard + G_easy."""
    sums = {kind: torch.zeros(sum(p.numel() for p in model.parameters())) for kind in (True, False)}
    for number, kind in zip(numbers, hard, strict=True):
        sample = feed.sample(int(number), np.random.default_rng(0))
        batch = {
            "image": torch.from_numpy(sample.image)[None], "boxes": [torch.from_numpy(sample.boxes.astype(np.float32))],
            "index": torch.tensor([int(number)]),
        }  # fmt: skip
        torch.manual_seed(0)
        model.train().zero_grad()
        model(batch)["loss"].backward()
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
        sums[bool(kind)] += torch.cat([part.flatten() for part in parts])
    one, other, all_ = float(sums[True].norm()), float(sums[False].norm()), sums[True] + sums[False]
    return one / (one + other), float(sums[True] @ all_ / all_.square().sum())


def landing(folder: Path, sets: Sequence[DeepLesion], known: np.ndarray, rankings: dict[str, np.ndarray]) -> None:
    """Print where slices with wrong boxes stand."""
    slabs = {slab["series"]: slab for slab in json.loads((folder / "world.json").read_text())["slabs"]}
    keys = [key for each in sets for key in each.keys]
    wrong = np.array([bool(slabs[keys[i].series.name]["label_noise"]) for i in known])
    print(f"\n{wrong.sum()} of {len(wrong)} slices with a wrong box\n")
    if not wrong.any():
        return
    print("| ranked by | mean place | in the hardest tenth | in the middle half |\n|---|---|---|---|")
    for name, values in rankings.items():
        places = ranks(values)[wrong] / max(len(values) - 1, 1)
        middle = ((places >= 0.25) & (places <= 0.75)).mean()
        print(f"| {name} | {places.mean():.3f} | {(places >= 0.9).mean():.3f} | {middle:.3f} |")


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("positives", "curriculum"))
    parser.add_argument("--data", default="worlds/slabs", help="of slices")
    parser.add_argument("--limit", type=int, default=2000, help="slices whose anchors are counted")
    parser.add_argument("--steps", type=int, default=1600, help="of the training")
    parser.add_argument("--out", default="runs/diagnostics", help="of the training")
    args = parser.parse_args()
    if args.what == "positives":
        anchors_told(args.data, args.limit)
    else:
        curriculum(args.data, args.steps, args.out)


if __name__ == "__main__":
    main()
