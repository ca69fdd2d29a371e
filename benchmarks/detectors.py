"""What detectors of lesions cost, how many anchors they learn from, and how even their batches are. Nothing is trained.

    python benchmarks/detectors.py speed       processor time, parameters: the plain detector, SATr and its arms
    python benchmarks/detectors.py anchors     anchors that are told of a lesion, by overlap and by bounding maps
    python benchmarks/detectors.py batches     variance of a batch's mean in mixed, random and same order
    python benchmarks/detectors.py slices --data worlds/slabs      processor time of a training image, read and cached

Milliseconds are processor time of one thread for a key slice, means of the three best of seven steps of one run; they
mean little elsewhere, ratios of rows of one run mean more.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torchvision.ops import box_iou

from semeia.data.formats import deeplesion
from semeia.data.orders import mixed, rising, variance_across
from semeia.data.slice_feeds import STILL, SliceAugmentation, SliceFeed
from semeia.detection.anchors import Anchors
from semeia.detection.bounding_labels import positives
from semeia.systems import bounding_map, satr, uld

SIDE, BATCH = 256, 2
MODELS: dict[str, Callable[[int], torch.nn.Module]] = {
    "plain detector": lambda s: uld.build(replace(uld.SMALL, slices=s)),
    "plain detector, trunk of 16, 32, 64": lambda s: uld.build(
        replace(uld.SMALL, slices=s, trunk_channels=(16, 32, 64))
    ),
    "SATr": lambda s: satr.build(replace(satr.SMALL, slices=s)),
    "SATr, tokens of 32 pixels": lambda s: satr.build(replace(satr.SMALL, slices=s, token=32)),
    "SATr, published embedding": lambda s: satr.build(replace(satr.SMALL, slices=s, embedding="published")),
    "SATr, no embedding": lambda s: satr.build(replace(satr.SMALL, slices=s, embedding="none")),
    "SATr, Q and K of the key slice": lambda s: satr.build(replace(satr.SMALL, slices=s, attend="key")),
    "convolution, matched": lambda s: satr.build(replace(satr.SMALL, slices=s, block="convolution")),
}


def milliseconds(step: Callable[[], object]) -> float:
    """Of one key slice of a batch."""
    step()
    taken = []
    for _ in range(7):
        began = time.process_time()
        step()
        taken.append(time.process_time() - began)
    return 1e3 * sum(sorted(taken)[:3]) / 3 / BATCH


def speed() -> None:
    """Print processor time and parameters."""
    torch.set_num_threads(1)
    boxes = [torch.tensor([[40.0, 60, 64, 80]]), torch.tensor([[100.0, 60, 124, 80], [10, 10, 22, 25]])]
    print("| | slices | parameters | forward + backward | in use |\n|---|---|---|---|---|")
    for name, make in MODELS.items():
        for slices in (3, 7):
            torch.manual_seed(0)
            model = make(slices).train()
            image = torch.rand(BATCH, slices, SIDE, SIDE)
            batch = {"image": image, "boxes": boxes, "index": torch.arange(BATCH)}

            def step(model: torch.nn.Module = model, batch: dict[str, object] = batch) -> None:
                model.zero_grad()
                model(batch)["loss"].backward()

            learned = milliseconds(step)
            model.eval()
            used = milliseconds(lambda model=model, image=image: model.predict(image))
            count = sum(p.numel() for p in model.parameters()) / 1e6
            print(f"| {name} | {slices} | {count:.2f} M | {learned:.0f} ms | {used:.0f} ms |", flush=True)


def lesions(count: int, scale: float) -> torch.Tensor:
    """(count, 4) boxes with areas drawn like DeepLesion's: log-normal, median of 28.7 x 28.7 pixels at 512."""
    root = torch.exp(3.3557 + 0.3637 * torch.randn(count)) * scale
    aspect = torch.exp(0.25 * torch.randn(count))
    side = torch.stack([root / aspect, root * aspect], 1)
    middle = (60 + torch.rand(count, 2) * (512 - 120)) * scale
    return torch.cat([middle - side / 2, middle + side / 2], 1)


def anchors() -> None:
    """Print how many anchors each way of labelling tells of a lesion."""
    print("| anchors | labels | told, median | mean | IoU, mean | candidates, median |\n|---|---|---|---|---|---|")
    for name, config, side in (("published", bounding_map.Config(), 512), ("SMALL", bounding_map.SMALL, 256)):
        torch.manual_seed(0)
        every = Anchors(config.anchor_scales, config.anchor_ratios, stride=4)(side // 4, side // 4)
        boxes = lesions(300, side / 512)
        for labels, nearest in (("iou", 0), ("bmc", 20), ("bmc", 2), ("bmc threshold", 0)):
            labeller = bounding_map.labeller_of(replace(config, labels=labels, bmc_nearest=nearest or 20))
            told, overlap, candidates = [], [], []
            for box in boxes:
                targets = labeller(every, box[None], (side, side))
                told.append(int(positives(targets)))
                overlap.append(float(box_iou(every[targets.box_weight > 0], box[None]).mean().nan_to_num()))
                if labels != "iou":
                    candidates.append(int(labeller.candidates(every, box).sum()))
            among = f"{np.median(candidates):.0f}" if candidates else "-"
            words = f"{labels}, {nearest} k" if nearest else labels
            print(
                f"| {name} | {words} | {np.median(told):.0f} | {np.mean(told):.1f} | {np.mean(overlap):.2f} | {among} |"
            )
        within = every[((every >= 0) & (every <= side)).all(1)]
        for least in (0.5, 0.7):
            hits = (box_iou(boxes, within) >= least).sum(1).numpy()
            none = f"none for {100 * (hits == 0).mean():.0f} %"
            print(f"| {name} | IoU of {least} alone | {np.median(hits):.0f} | {hits.mean():.1f} | {none} | |")


def batches() -> None:
    """Print the variance across batches of the mean of 4,000 numbers drawn once."""
    rng = np.random.default_rng(0)
    print("| numbers | batch | mixed | random | same |\n|---|---|---|---|---|")
    for name, values in (("ranks / N", np.arange(4000) / 4000), ("exponential", rng.exponential(size=4000))):
        for size in (2, 4, 8):
            orders = (mixed(values), rng.permutation(len(values)), rising(values))
            spread = [variance_across(values, np.asarray(order).reshape(-1, size)) for order in orders]
            print(f"| {name} | {size} | {' | '.join(f'{each:.3f}' for each in spread)} |")


def slices(folder: str) -> None:
    """Print what a training image of 7 slices costs."""
    torch.set_num_threads(1)
    data = deeplesion.read(folder, split="train")
    print("| | from PNG | from the cache |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        for name, how in (("image, no augmentation", STILL), ("image, default augmentation", SliceAugmentation())):
            cells = []
            for kept in (None, cache):
                feed = SliceFeed([data], 1, slices=7, size=data.keys[0].series.size[0], augmentation=how, cache=kept)
                count = min(24, len(feed.keys))
                for _ in range(2):  # the first round fills the cache
                    began = time.process_time()
                    for number in range(count):
                        feed.sample(number, np.random.default_rng(number))
                    taken = time.process_time() - began
                cells.append(f"{1e3 * taken / count:.1f} ms")
            print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "anchors", "batches", "slices"))
    parser.add_argument("--data", default="worlds/slabs", help="of slices")
    args = parser.parse_args()
    if args.what == "slices":
        slices(args.data)
    else:
        {"speed": speed, "anchors": anchors, "batches": batches}[args.what]()


if __name__ == "__main__":
    main()
