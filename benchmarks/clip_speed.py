"""How fast a clip is read from end to end, where the time goes, and whether memory stays what it is.

    pip install scikit-image && python benchmarks/clip_speed.py

Makes a clip of three minutes, 640 x 480, 30 frames a second, in which the face of scikit-image's astronaut wanders,
turns and grows, then reads it and writes the table. Times are of one run on this machine. ``--seconds`` shortens the
clip; ``--keep FOLDER`` keeps it and what was made of it.

``--peer FOLDER`` reads the clip's beginning with ``@vladmandic/human`` too, in the same run on the same cores; Node 20
does its work on one core, so processor time stands beside the time that passed:

    npm install --prefix FOLDER @vladmandic/human@3.3.6 @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut

from semeia.media.clip_tables import ClipTable
from semeia.media.video import Frame, Video, write_video
from semeia.predict.clips import analyze_clip
from semeia.predict.faces import FaceReader

SIZE, RATE = (640, 480), 30
EARLY = 20
"""Seconds of the clip after which memory is looked at for the first time."""

spent: dict[str, float] = defaultdict(float)
calls: dict[str, int] = defaultdict(int)


def make_clip(path: Path, seconds: float) -> None:
    """Write a clip in which one face moves; the same bytes for the same FFmpeg."""
    head = Image.fromarray(astronaut())
    x, y = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    ground = np.stack([96 + 48 * np.sin(x / 90), 96 + 48 * np.cos(y / 70), 110 + 30 * np.sin((x + y) / 50)], axis=-1)
    ground_picture = Image.fromarray(ground.astype(np.uint8))
    with write_video(path, size=SIZE, rate=RATE) as add:
        for i in range(round(seconds * RATE)):
            t = i / RATE
            side = round(420 + 60 * math.sin(t / 3))
            picture = ground_picture.copy()
            turned = head.resize((side, side)).rotate(8 * math.sin(t / 2), Image.Resampling.BICUBIC)
            place = (round(110 + 130 * math.sin(t / 1.7)), round(30 + 40 * math.sin(t / 1.1)))
            picture.paste(turned.crop((40, 20, side - 40, side - 40)), place)
            add(np.asarray(picture), t)


def timed(owner: Any, name: str, stage: str) -> None:
    """Add up the time of a method under the name of a stage."""
    call: Callable[..., Any] = getattr(owner, name)

    def wrapper(*args: Any, **keywords: Any) -> Any:
        label = f"{stage} and its tiles" if keywords.get("closely") else stage
        start = time.perf_counter()
        try:
            return call(*args, **keywords)
        finally:
            spent[label] += time.perf_counter() - start
            calls[label] += 1

    setattr(owner, name, wrapper)


def watch_decoding() -> None:
    """Add up the time that frames take to come."""
    frames = Video.frames

    def wrapper(self: Video, **keywords: Any) -> Iterator[Frame]:
        source = frames(self, **keywords)
        while True:
            start = time.perf_counter()
            frame = next(source, None)
            spent["decode"] += time.perf_counter() - start
            if frame is None:
                return
            calls["decode"] += 1
            yield frame

    Video.frames = wrapper  # type: ignore[method-assign]


def watch() -> None:
    """Measure each stage."""
    watch_decoding()
    load = FaceReader.load

    def loaded(*args: Any) -> FaceReader:
        start = time.perf_counter()
        reader = load(*args)
        spent["load"], calls["load"] = time.perf_counter() - start, 1
        timed(reader.finder, "find", "detector")
        timed(reader.finder, "follow", "follow")
        timed(reader, "crop", "crops")
        timed(reader, "read_views", "Q-Face")
        return reader

    FaceReader.load = loaded  # type: ignore[method-assign,assignment]
    timed(ClipTable, "add", "parts of the table")
    timed(ClipTable, "finish", "whole table")


def peak() -> float:
    """Most memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def read_with_peer(clip: Path, modules: Path, frames: int) -> dict[str, Any]:
    """What ``clip_peer.mjs`` prints after the first frames of a clip, which are decoded here."""
    command = ["node", str(Path(__file__).with_name("clip_peer.mjs")), str(modules), f"{SIZE[0]}x{SIZE[1]}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as peer, Video(clip) as video:
        assert peer.stdin is not None
        assert peer.stdout is not None
        for frame in islice(video.frames(), frames):
            peer.stdin.write(frame.image.tobytes())
        peer.stdin.close()
        answer = peer.stdout.read().decode()
    if peer.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {peer.returncode}")
    done: dict[str, Any] = json.loads(answer.splitlines()[-1])
    return done


def cpu_seconds() -> float:
    """Processor time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run(folder: Path, seconds: float, *, annotate: bool, engine: str, peer: Path | None, peer_seconds: float) -> None:
    """Make the clip, read it, print what it cost."""
    clip = folder / "clip.mp4"
    make_clip(clip, seconds)
    watch()
    early = 0.0
    reading_since = 0.0
    cpu_before = cpu_seconds()

    def on_frame(number: int, total: int | None) -> None:
        nonlocal early, reading_since
        if number == 1:
            reading_since = time.perf_counter()
        if number == min(EARLY, seconds / 2) * RATE:
            early = peak()

    start = time.perf_counter()
    pictures = {"annotate": folder / "annotated.mp4", "plots": folder / "plots.png"} if annotate else {}
    done = analyze_clip(clip, folder / "clip.csv", engine=engine, on_frame=on_frame, **pictures)
    end, cpu = time.perf_counter(), cpu_seconds() - cpu_before
    frames = done.table.frames
    print(f"{frames} frames, {done.table.with_face} with a face, tracks {[t.number for t in done.table.tracks]}")
    print(f"engine {engine}, threads: {torch.get_num_threads()}")
    print("\n| stage | calls | ms a call | ms a frame |\n|---|---|---|---|")
    for stage, total in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"| {stage} | {calls[stage]} | {1000 * total / calls[stage]:.1f} | {1000 * total / frames:.2f} |")
    rate, all_in = frames / (end - reading_since), frames / (end - start)
    print(f"\nframes a second, end to end: {rate:.1f} from the first frame on, {all_in:.1f} with loading")
    growth = f"{100 * (peak() / early - 1):+.1f} %"
    print(f"peak memory: {early:.0f} MB after {min(EARLY, seconds / 2):g} s, {peak():.0f} MB at the end ({growth})")
    if peer is None:
        return
    theirs = read_with_peer(clip, peer, round(peer_seconds * RATE))
    print("\n| reader | frames | with a face | frames a second | processor time a frame, ms | memory, MB |")
    print("|---|---|---|---|---|---|")
    print(f"| semeia | {frames} | {done.table.with_face} | {rate:.1f} | {1000 * cpu / frames:.0f} | {peak():.0f} |")
    print(
        f"| @vladmandic/human {theirs['version']}, wasm, threads: {theirs['threads']} | {theirs['frames']} "
        f"| {theirs['found']} | {theirs['frames'] / theirs['seconds']:.1f} "
        f"| {1000 * theirs['cpu'] / theirs['frames']:.0f} | {theirs['memory']:.0f} |"
    )


def main() -> None:
    """Read the flags and run."""
    parser = argparse.ArgumentParser(description="Speed and memory of reading a clip.")
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--annotate", action="store_true", help="make the annotated video and the plots too")
    parser.add_argument("--engine", default="auto", help="auto, torch or onnx")
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="folder with the peer's node_modules")
    parser.add_argument("--peer-seconds", type=float, default=20, help="beginning of the clip that the peer reads")
    args = parser.parse_args()
    with TemporaryDirectory() as folder:
        if args.keep is not None:
            args.keep.mkdir(parents=True, exist_ok=True)
        run(
            args.keep or Path(folder), args.seconds, annotate=args.annotate, engine=args.engine, peer=args.peer,
            peer_seconds=args.peer_seconds,
        )  # fmt: skip


if __name__ == "__main__":
    main()
