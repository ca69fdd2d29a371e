"""What a photo costs, part by part, and the face networks beside the runtime they were made for.

    pip install ai-edge-litert scikit-image && python benchmarks/analyze.py

Times are medians of one run on this machine and mean little elsewhere; the ratios mean more. The runtime is asked for
one thread, and so is torch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from skimage.data import astronaut

from semeia import parts
from semeia.nn.face_finder import FaceFinder
from semeia.nn.tflite import TFLiteGraph
from semeia.predict.faces import FaceReader

ROUNDS = 15


def seconds(call: Callable[[], object]) -> float:
    """Median time of a call after one that warms up."""
    call()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def networks() -> list[tuple[str, float, float]]:
    """Name, seconds here, seconds in the original runtime."""
    rows = []
    for name in ("face-detector", "face-mesh"):
        path = parts.fetch(name)
        graph = TFLiteGraph(path).eval()
        runtime = Interpreter(str(path), num_threads=1)
        runtime.allocate_tensors()
        slot = runtime.get_input_details()[0]
        x = np.random.default_rng(0).random(slot["shape"], np.float32)
        runtime.set_tensor(slot["index"], x)
        image = torch.from_numpy(x).permute(0, 3, 1, 2)
        with torch.inference_mode():
            rows.append((name, seconds(lambda g=graph, i=image: g(i)), seconds(runtime.invoke)))
    return rows


def main() -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    print("| network | here, ms | original runtime, ms | ratio |\n|---|---|---|---|")
    for name, here, there in networks():
        print(f"| {name} | {1000 * here:.1f} | {1000 * there:.1f} | {here / there:.1f} |")
    photo = astronaut()
    start = time.perf_counter()
    reader = FaceReader.load()
    print(f"\n| step | ms |\n|---|---|\n| load finder and reader | {1000 * (time.perf_counter() - start):.0f} |")
    finder = FaceFinder()
    print(f"| find the face of a 512 px photo | {1000 * seconds(lambda: finder.find(photo)):.0f} |")
    print(f"| find and read it | {1000 * seconds(lambda: reader.read(photo)):.0f} |")


if __name__ == "__main__":
    main()
