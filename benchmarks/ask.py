"""How long `semeia ask` takes to answer about a photo: loading, looking, the first piece of an answer, and the rest.

    python benchmarks/ask.py [PHOTO] [--weights readings]

Without a photo it asks about the astronaut that scikit-image ships (NASA). Pieces are what appears on the screen: a
word or a part of one, so that tokens a second are at least as many. The last words are held back until they name
nobody, which makes rates of short answers uneven.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from skimage import data

from semeia.predict.answers import FaceAsker, chosen

QUESTIONS = ("What is her expression?", "Is she smiling?", "Describe this face.")


def speed(photo: Path, weights: str | None) -> None:
    """Print seconds of each part, question by question."""
    torch.set_num_threads(2)
    started = time.perf_counter()
    asker = FaceAsker.load(weights)
    loaded = time.perf_counter()
    (seen,) = chosen(asker.look(photo), None, where=photo)
    print(
        f"loading {loaded - started:.1f} s, looking {time.perf_counter() - loaded:.1f} s, answers by {asker.weights}\n"
    )
    print("| question | first piece, s | pieces a second after it | answer |\n|---|---|---|---|")
    for question in QUESTIONS:
        asked, times, text = time.perf_counter(), [], ""
        for piece in asker.pieces(seen, question):
            times.append(time.perf_counter())
            text += piece
        rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else float("nan")
        print(f"| {question} | {times[0] - asked:.2f} | {rate:.1f} | {' '.join(text.split())} |", flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path)
    parser.add_argument("--weights", help="as of semeia ask")
    args = parser.parse_args()
    if args.photo is not None:
        speed(args.photo, args.weights)
        return
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "astronaut.png"
        Image.fromarray(data.astronaut()).save(photo)
        speed(photo, args.weights)


if __name__ == "__main__":
    main()
