"""What the add-ons to the detector of lesions cost in use, beside what stands in their place. Nothing is trained.

    python benchmarks/addons_latency.py use       reading a slice: the plain detector, and that of BMC and ABM
    python benchmarks/addons_latency.py blocks    SATr's block, light and published, beside the convolution it joins
    python benchmarks/addons_latency.py maps      bounding maps of 1,000 boxes beside a plain Python loop
    python benchmarks/addons_latency.py order     Mo-SCL's order for 1,000,000 samples

Milliseconds are processor time of one thread and mean little elsewhere; rows of one run are compared. What the whole
detectors take, forward and backward, is told by ``benchmarks/detectors.py speed``.

Operations are those of products of matrices and convolutions, as ``torch.utils.flop_counter`` counts them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn

from semeia.data.orders import batches_of, difficulty, mixed
from semeia.detection.collectors import COLLECTORS
from semeia.detection.trunks import STRIDES
from semeia.ledger.matching import counted
from semeia.ops.bounding_maps import bounding_maps, cell_centres
from semeia.systems import bounding_map, satr, uld

ROUNDS = 15


def taken(arms: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of each arm in each round, (rounds,) by name; arms take turns, so that a busy machine slows all."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for arm in arms.values():
        arm()
    for _ in range(rounds):
        for name, arm in arms.items():
            began = time.process_time()
            arm()
            found[name].append(1e3 * (time.process_time() - began))
    return {name: np.array(values) for name, values in found.items()}


def use() -> None:
    """The plain detector and that of BMC and ABM, from equal weights."""
    plain = uld.build(uld.SMALL).eval()
    both = bounding_map.build(bounding_map.SMALL).eval()
    missing = both.load_state_dict(plain.state_dict(), strict=False).missing_keys
    image = torch.rand(2, uld.SMALL.slices, uld.SMALL.image_size, uld.SMALL.image_size)
    one, other = plain.predict(image), both.predict(image)
    equal = all(torch.equal(a, b) for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True))
    found = taken(
        {
            "plain detector": lambda: plain.predict(image),
            "with BMC and ABM": lambda: both.predict(image),
            "plain detector, once more": lambda: plain.predict(image),
        },
        ROUNDS,
    )
    print("| | ms a slice, median | of the plain detector, middle half of rounds |\n|---|---|---|")
    for name, values in found.items():
        low, middle, high = np.quantile(values / found["plain detector"], (0.25, 0.5, 0.75))
        print(f"| {name} | {np.median(values) / len(image):.1f} | {middle:.3f} ({low:.3f} to {high:.3f}) |")
    branch = sum(both.state_dict()[name].numel() for name in missing)
    print(f"\nAnswers {'equal, bit for bit' if equal else 'DIFFER'}; {branch:,} numbers of the branch are not read.")


class Alone(nn.Module):
    """The convolution over slices that the block joins."""

    def __init__(self, channels: Sequence[int], slices: int) -> None:
        super().__init__()
        self.collect = COLLECTORS["convolution"](channels, slices)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """``(B, C, S, H, W)`` each -> ``(B, C, H, W)`` each."""
        return self.collect(maps)


def blocks() -> None:
    """SATr's block at both sizes of the detector."""
    print("| detector | collector | parameters | GFLOP | ms |\n|---|---|---|---|---|")
    for name, config, channels in (
        ("SMALL, 3 slices of 256", satr.SMALL, uld.SMALL.trunk_channels),
        ("published, 7 slices of 512", satr.Config(block_norm="group"), (256, 512, 1024)),
    ):
        slices, side = config.slices, config.image_size
        maps = [torch.rand(1, c, slices, side // s, side // s) for c, s in zip(channels, STRIDES, strict=True)]
        arms = {"convolution alone (base)": Alone(channels, slices).eval()}
        for words, embedding in (("with SATr, light", "separable"), ("with SATr, published embedding", "published")):
            made = satr.SliceAttentionCollector(replace(config, embedding=embedding), channels, slices)
            arms[words] = made.eval()
        sizes = {words: counted(arm, lambda made, maps=maps: made(maps)) for words, arm in arms.items()}
        with torch.no_grad():
            times = taken({words: lambda arm=arm, maps=maps: arm(maps) for words, arm in arms.items()}, 3)
        for words, size in sizes.items():
            cost = f"{size.flops / 1e9:.2f} | {np.min(times[words]):.0f}"
            print(f"| {name} | {words} | {size.parameters:,} | {cost} |", flush=True)


def loop(boxes: np.ndarray, side: int, stride: int) -> np.ndarray:
    """``bounding_maps`` as one would first write it: (3, side / stride, side / stride), cell by cell of each box."""
    cells = side // stride
    maps = np.zeros((3, cells, cells))
    for x0, y0, x1, y1 in boxes.tolist():
        half_x, half_y = max((x1 - x0) / 2, 1), max((y1 - y0) / 2, 1)
        for row in range(max(int(y0 / stride) - 1, 0), min(int(y1 / stride) + 2, cells)):
            y = (row + 0.5) * stride
            if not y0 <= y <= y1:
                continue
            for column in range(max(int(x0 / stride) - 1, 0), min(int(x1 / stride) + 2, cells)):
                x = (column + 0.5) * stride
                if not x0 <= x <= x1:
                    continue
                along_x = 1 - 0.5 * abs(x - (x0 + x1) / 2) / half_x
                along_y = 1 - 0.5 * abs(y - (y0 + y1) / 2) / half_y
                maps[0, row, column] += along_x
                maps[1, row, column] += along_y
                maps[2, row, column] += sqrt(along_x * along_y)
    return np.minimum(maps, 1)


def maps() -> None:
    """1,000 boxes on one picture of 512 x 512, with sizes drawn like DeepLesion's."""
    side, count = 512, 1000
    torch.manual_seed(0)
    root = torch.exp(3.3557 + 0.3637 * torch.randn(count))
    aspect = torch.exp(0.25 * torch.randn(count))
    half = torch.stack([root / aspect, root * aspect], 1) / 2
    middle = 60 + torch.rand(count, 2) * (side - 120)
    boxes = torch.cat([middle - half, middle + half], 1)

    def looped(stride: int) -> Tensor:
        return torch.from_numpy(loop(boxes.double().numpy(), side, stride))

    def vectorised(stride: int, kind: torch.dtype) -> Tensor:
        x, y = cell_centres(side // stride, side // stride, stride=stride)
        return bounding_maps(x.to(kind), y.to(kind), boxes.to(kind))

    print(
        "| 1,000 boxes, 512 pixels | numbers | vectorised, ms | Python loop over cells inside of boxes, ms "
        "| times faster | largest difference |\n|---|---|---|---|---|---|"
    )
    for words, stride in (("every pixel", 1), ("cells of 4 pixels, as the first stage has them", 4)):
        arms: dict[str, Callable[[], Tensor]] = {
            "loop": partial(looped, stride),
            "float32": partial(vectorised, stride, torch.float32),
            "float64": partial(vectorised, stride, torch.float64),
        }
        middle_of = {name: float(np.median(found)) for name, found in taken(arms, 3).items()}
        drawn = arms["loop"]()
        for kind in ("float32", "float64"):
            cost = f"{middle_of[kind]:.1f} | {middle_of['loop']:.0f} | {middle_of['loop'] / middle_of[kind]:.0f}"
            print(f"| {words} | {kind} | {cost} | {float((arms[kind]() - drawn).abs().max()):.1e} |", flush=True)


def order() -> None:
    """Difficulty, mixed order and shuffled batches of two, of a million samples."""
    rng = np.random.default_rng(0)
    losses, uncertainties = rng.exponential(size=(2, 1_000_000)).astype(np.float32)
    print("| 1,000,000 samples | s |\n|---|---|")
    began = time.process_time()
    hardness = difficulty(losses, uncertainties)
    ranked = time.process_time()
    sequence = mixed(hardness)
    sorted_ = time.process_time()
    batches = batches_of(sequence, 2, rng)
    done = time.process_time()
    assert len(np.unique(batches)) == len(losses)
    for words, seconds in (
        ("both ranks and their sum", ranked - began), ("sorted and mixed", sorted_ - ranked),
        ("batches of two, shuffled", done - sorted_), ("all", done - began),
    ):  # fmt: skip
        print(f"| {words} | {seconds:.2f} |")


def main() -> None:
    """Print one of the tables."""
    tables = {"use": use, "blocks": blocks, "maps": maps, "order": order}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=tuple(tables))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tables[parser.parse_args().what]()


if __name__ == "__main__":
    main()
