"""``semeia analyze``: read the faces in photos and folders, or in a clip."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from semeia.records import FileReading


FOR_CLIPS = ("fps", "smooth", "gap", "plots")
"""Flags that mean nothing for photos."""


def run(arguments: list[str]) -> int:
    """Read, print and write as the flags say; see ``semeia analyze --help``."""
    args = _arguments(arguments)
    if _holds_a_clip(args.paths):
        from semeia.cli.clips import run_clip

        return run_clip(args)
    if refused := [f"--{name}" for name in FOR_CLIPS if getattr(args, name) is not None]:
        from semeia.records import SemeiaError

        raise SemeiaError(f"{', '.join(refused)}: for a clip, found photos")
    from rich.console import Console

    from semeia.cli.cards import LIMITS, card, failures, summary
    from semeia.cli.pictures import Pictures
    from semeia.media.tables import as_json, check_table, write_table
    from semeia.records import Readings

    if args.circumplex:
        from semeia.media.circumplex import check_circumplex

        check_circumplex(args.circumplex)
    pictures = Pictures(args.annotate, args.attention, args.labels, inputs=args.paths)
    if args.out:
        check_table(args.out)
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    screen = messages if args.json or args.quiet else Console(highlight=False)
    done: list[FileReading] = []

    def on_file(reading: FileReading, image: np.ndarray | None) -> None:
        done.append(reading)
        if screen is not messages:
            screen.print(card(reading))
        if image is not None:
            pictures.write(reading, image, weights=args.weights, device=args.device, engine=args.engine)

    interrupted = False
    try:
        with screen.status("reading"):
            from semeia.predict.faces import analyze

            readings = analyze(
                args.paths, weights=args.weights, device=args.device, engine=args.engine, au=args.au,
                affect=args.affect, on_file=on_file,
            )  # fmt: skip
    except KeyboardInterrupt:
        interrupted, readings = True, Readings(weights=Path(args.weights).name, files=tuple(done))

    if args.out and readings.files:
        write_table(readings, args.out)
    if args.circumplex and readings.files:
        from semeia.media.circumplex import plot_faces, points

        plot_faces(points(readings.files), args.circumplex)
        pictures.written.append(args.circumplex)
    if args.json:
        print(as_json(readings))
    if screen is not messages:
        screen.print(summary(readings, [*pictures.written, *([args.out] if args.out and readings.files else [])]))
        screen.print(LIMITS)
    if readings.failed:
        messages.print(failures(readings))
    if interrupted:
        kept = f", {args.out} holds them" if args.out and readings.files else ""
        messages.print(f"semeia: interrupted; files read until then: {len(done)}{kept}")
        return 130
    return 0 if not readings.failed else 1 if len(readings.failed) < len(readings.files) else 2


def _holds_a_clip(paths: list[str]) -> bool:
    from semeia.media.images import SUFFIXES as PHOTOS

    others = {Path(path).suffix.lower() for path in paths if not Path(path).is_dir()} - PHOTOS
    if not others:
        return False  # and FFmpeg need not be loaded
    from semeia.media.video import SUFFIXES as CLIPS

    return not others.isdisjoint(CLIPS)


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="semeia analyze",
        description="Find every face in photos (JPEG, PNG, WebP) or in a clip and read its expression, valence and "
        "arousal, action units, attributes, apparent age and head pose. Nothing is written unless a flag says so. "
        "docs/readings.md explains the answers, docs/video.md those for a clip.",
        epilog="exit status: 0 all files answered, 1 some could not be read, 2 nothing could be answered",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a photo, a folder of photos, or a clip")
    parser.add_argument("--out", metavar="FILE", help="write a table: .json (photos alone), .csv or .parquet")
    parser.add_argument(
        "--annotate",
        metavar="WHERE",
        help="write annotated pictures: a folder, or a .png for one photo, or a .mp4, .mov or .mkv for a clip",
    )
    parser.add_argument(
        "--circumplex",
        metavar="FILE",
        help="write faces in the plane of valence and arousal as a .png; a clip's as paths",
    )
    parser.add_argument("--attention", metavar="FOLDER", help="write pictures of where the model looked for each label")
    parser.add_argument(
        "--labels",
        type=lambda text: [word.strip() for word in text.split(",") if word.strip()],
        default=[],
        help="labels for --attention, such as AU12,happiness,Smiling,age,yaw (default: what was found in the photo)",
    )
    parser.add_argument("--weights", default="qface", help="bundled weights by name, or a checkpoint folder")
    parser.add_argument("--au", metavar="WEIGHTS", help="weights of ALGRNet or MGRR-Net that read the action units")
    parser.add_argument(
        "--affect",
        type=lambda name: None if name == "none" else name,
        default="emma",
        metavar="WEIGHTS",
        help="weights of EMMA that read valence and arousal (default: emma; none: they are not read)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--engine",
        choices=("auto", "torch", "onnx"),
        default="auto",
        help="what computes: auto is ONNX Runtime on a CPU where semeia[onnx] is installed, torch elsewhere",
    )
    clip = parser.add_argument_group("for a clip")
    clip.add_argument("--fps", type=float, help="read so many frames a second instead of all")
    clip.add_argument("--plots", metavar="FILE", help="write action units and expressions over time as a .png")
    clip.add_argument("--smooth", type=float, metavar="SECONDS", help="width of a moving median (default: none)")
    clip.add_argument("--gap", type=float, metavar="SECONDS", help="a face away for less keeps its number (default: 1)")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    parser.add_argument("--quiet", action="store_true", help="print only what went wrong")
    args = parser.parse_args(arguments)
    if args.circumplex and args.affect is None:
        parser.error("--circumplex draws valence and arousal, which --affect none leaves out")
    if args.labels and not args.attention:
        parser.error("--labels names what --attention FOLDER draws; give both")
    return args
