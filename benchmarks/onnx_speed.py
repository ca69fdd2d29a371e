"""How much faster ONNX Runtime reads faces than torch on a CPU, how near the answers are, and what starting costs.

    pip install '.[onnx]' scikit-image && python benchmarks/onnx_speed.py

Torch and ONNX Runtime take turns in one process, with the same number of threads, on inputs that lie in memory as the
reader lays them. A ratio is torch's time over ONNX Runtime's, of two calls that follow one another; in brackets the
middle half of the rounds. Milliseconds are medians of this run and mean little elsewhere.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from skimage.data import astronaut
from torch import Tensor

from semeia.nn.onnx_graph import OnnxNetwork
from semeia.predict.faces import FaceReader
from semeia.predict.onnx import TOLERANCE, finder_model, use_engine


def seconds(call: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(name: str, first: Callable[..., object], second: Callable[..., object], x: object, *, rounds: int) -> None:
    """Print a row: two ways to read ``x`` in turn, after two of each that warm up."""
    calls = [partial(way, x) for way in (first, second)]
    for call in calls * 2:
        call()
    times = np.array([[seconds(call) for call in calls] for _ in range(rounds)])  # (rounds, 2)
    here, there = 1000 * np.median(times, axis=0)
    low, middle, high = np.percentile(times[:, 0] / times[:, 1], [25, 50, 75])
    print(f"| {name} | {here:.1f} | {there:.1f} | {middle:.2f} ({low:.2f} to {high:.2f}) |", flush=True)


def pictures(count: int, side: int) -> Tensor:
    """Noise (count, 3, side, side) in [0, 1], made of bytes (count, side, side, 3) as the reader makes it."""
    noise = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    return torch.from_numpy(noise).permute(0, 3, 1, 2).float() / 255


def apart(one: FaceReader, other: FaceReader, image: np.ndarray) -> dict[str, float]:
    """Largest difference of each answer between two readers of a picture."""
    largest = dict.fromkeys((*TOLERANCE, "mesh, pixels"), 0.0)
    for a, b in zip(one.finder.find(image), other.finder.find(image), strict=True):
        largest["mesh, pixels"] = max(largest["mesh, pixels"], float(np.abs(a.mesh - b.mesh).max()))
    for a, b in zip(one.read(image), other.read(image), strict=True):
        pairs = {
            "expression": [(a.expression[k], b.expression[k]) for k in a.expression],
            "attributes": [(a.attributes[k], b.attributes[k]) for k in a.attributes],
            "age": [(a.age, b.age)],
            "pose": [(getattr(a.pose, k), getattr(b.pose, k)) for k in ("yaw", "pitch", "roll")],
        }
        units = [(unit, b.action_units[k]) for k, unit in a.action_units.items()]
        pairs["au_probability"] = [(u.probability, v.probability) for u, v in units]
        pairs["au_intensity"] = [(u.intensity, v.intensity) for u, v in units]
        pairs["au_sides"] = [(getattr(u, side), getattr(v, side)) for u, v in units for side in ("left", "right")]
        for name, both in pairs.items():
            largest[name] = max(largest[name], *(abs(x - y) for x, y in both))
    return largest


def main() -> None:
    """Print start-up, speed and differences."""
    parser = argparse.ArgumentParser(description="Speed of ONNX Runtime beside torch.")
    parser.add_argument("--rounds", type=int, default=25, help="calls of each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both (default: torch's)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {args.threads} threads\n\n| start | seconds |\n|---|---|")
    plain = FaceReader.load(engine="torch")
    fast, again = FaceReader.load(engine="torch"), FaceReader.load(engine="torch")
    print(f"| load finder and reader | {seconds(lambda: FaceReader.load(engine='torch')):.2f} |")
    print(f"| engine onnx, first time or cached | {seconds(lambda: use_engine(fast, 'onnx')):.2f} |")
    print(f"| engine onnx, cached | {seconds(lambda: use_engine(again, 'onnx')):.2f} |")

    print("\n| call | torch, ms | ONNX Runtime, ms | torch / ONNX Runtime |\n|---|---|---|---|")
    finder, side = plain.finder, plain.model.config.image_size
    with torch.inference_mode():
        for name, network, counts in (("detector", finder.detector, (1, 9)), ("mesh", finder.mesher, (1, 8))):
            model = OnnxNetwork(finder_model(network, name))
            for count in counts:
                x = pictures(count, network.input_size[0])
                compare(f"{name}, {count}", network, model, x, rounds=args.rounds)
        for count in (1, 32):
            x = pictures(count, side)
            compare(f"Q-Face, {count}", plain.model.predict, fast.model.predict, x, rounds=args.rounds)
    photo = astronaut()
    compare("find in the astronaut", finder.find, fast.finder.find, photo, rounds=args.rounds)
    compare("read the astronaut", plain.read, fast.read, photo, rounds=args.rounds)

    print("\n| answer | largest difference, same crops | allowed | largest difference, whole astronaut |")
    print("|---|---|---|---|")
    x = pictures(32, side)
    one, other = plain.model.predict(x), fast.model.predict(x)
    whole = apart(plain, fast, photo)
    for name, allowed in TOLERANCE.items():
        print(f"| {name} | {float((one[name] - other[name]).abs().max()):.1e} | {allowed:g} | {whole[name]:.1e} |")
    print(f"| mesh, pixels | | | {whole['mesh, pixels']:.1e} |")


if __name__ == "__main__":
    main()
