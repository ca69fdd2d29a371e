"""``semeia annotate``: captions and labels for pictures of faces."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semeia.predict.annotate_outputs import Report
    from semeia.systems.face_mllm.annotate import Description

FORMATS = "webdataset,imagefolder,llava,trl"
ROWS = 12
"""Lines of a table on the terminal."""


def run(arguments: list[str]) -> int:
    """Annotate, or go on; see ``semeia annotate --help``."""
    args = _arguments(arguments)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from semeia.predict.annotate import annotate
    from semeia.predict.annotate_outputs import Outputs
    from semeia.systems.face_mllm import annotate as rules_of
    from semeia.systems.face_mllm import filters

    outputs = Outputs(
        formats=tuple(args.formats.split(",")), truth=args.truth, drop_below=args.drop_below, audit=args.audit
    )
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("annotating"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[kept]}"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=messages, transient=True, disable=args.quiet) as progress:
        task = progress.add_task("", total=None, kept="")

        def tell(done: int, count: int, statuses: Mapping[str, int]) -> None:
            kept = f"{statuses.get('kept', 0):,} of {sum(statuses.values()):,} kept" if statuses else ""
            progress.update(task, completed=done, total=count, kept=kept)

        report = annotate(
            args.inputs, args.out,
            annotators=_annotators(args),
            config=rules_of.Config(
                fewest_pixels=args.min_side, least_score=args.min_score, margin=args.margin, size=args.size
            ),
            rules=filters.Config(most_different=args.near),
            outputs=outputs, shard=args.shard, workers=args.workers, address=args.address, device=args.device,
            on_shard=tell,
        )  # fmt: skip
    if args.json:
        import json

        print(json.dumps(report.as_dict()))
    elif not args.quiet:
        _print(Console(highlight=False), report)
    for note in report.notes:
        messages.print(f"semeia: {note}")
    for error in report.errors[:ROWS]:
        messages.print(f"semeia: {error}")
    return 1 if report.errors or report.notes else 0


def _annotators(args: argparse.Namespace) -> list[Description]:
    from semeia.predict.annotators import LocalModel, Readers
    from semeia.predict.vision_endpoint import KEY, Endpoint

    made: list[Description] = []
    for name in args.annotator or ["readers"]:
        if name == "readers":
            made.append(Readers(args.weights, args.au, args.affect, args.device))
        elif name.startswith(("http://", "https://")):
            made.append(
                Endpoint(name, args.model, passes=args.passes, timeout=args.timeout, tries=args.tries,
                         parallel=args.parallel, key=os.environ.get(KEY))
            )  # fmt: skip
        else:
            made.append(LocalModel(name, passes=args.passes, device=args.device))
    return made


def _print(screen: Any, report: Report) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.ROUNDED, border_style="dim", header_style="dim")
    table.add_column("pictures", justify="right")
    table.add_column("what became of them")
    for status, count in report.statuses.items():
        table.add_row(f"{count:,}", status)
    screen.print(table)
    if report.agreement:
        table = Table(box=box.ROUNDED, border_style="dim", header_style="dim")
        for name in ("item", "compared", "agree", ""):
            table.add_column(name, justify="left" if name in ("item", "") else "right")
        for entry in report.agreement:
            table.add_row(
                entry.item, f"{entry.compared:,}", f"{100 * entry.agreement:.0f} %", "left out" if entry.dropped else ""
            )
        screen.print(table)
    for problem, count in list(report.problems.items())[:ROWS]:
        screen.print(f"{count:,} x {problem}")
    screen.print(f"written: {', '.join(report.written)}")
    screen.print("Labels and captions of machines: check the audit sample, and never test on them.", style="dim")


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="semeia annotate",
        description="Give pictures of faces captions and labels of a fixed schema, filter them, and write data sets "
        "for vision-language models. The same command goes on where a run was stopped. docs/annotate.md explains it. "
        "Nobody is identified.",
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures, folders, .tar shards, .parquet files")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="what is written; one folder a run")
    parser.add_argument(
        "--annotator", action="append", metavar="WHO",
        help="readers (default), the address of an OpenAI-compatible endpoint (http://HOST:8000/v1), or the "
        "folder of a transformers vision-language model; may be given several times, then they vote",
    )  # fmt: skip
    parser.add_argument("--model", default="default", help="name of the endpoint's model")
    parser.add_argument("--passes", type=int, default=1, metavar="N", help="rounds of labels of a model, which vote")
    parser.add_argument("--timeout", type=float, default=120, metavar="SECONDS", help="of one request")
    parser.add_argument("--tries", type=int, default=4, metavar="N", help="requests for one answer")
    parser.add_argument("--parallel", type=int, default=4, metavar="N", help="requests at a time of one worker")
    parser.add_argument("--weights", default="qface", help="of the readers: bundled by name, or a checkpoint folder")
    parser.add_argument("--au", metavar="WEIGHTS", help="ALGRNet or MGRR-Net reads action units")
    parser.add_argument(
        "--affect",
        type=lambda name: None if name == "none" else name,
        default="emma",
        metavar="WEIGHTS",
        help="EMMA reads valence and arousal (default: emma; none: they are not read)",
    )
    parser.add_argument("--min-side", type=int, default=128, metavar="PIXELS", help="smallest face (default: 128)")
    parser.add_argument("--min-score", type=float, default=0.5, metavar="SCORE", help="least score of the detector")
    parser.add_argument("--margin", type=float, default=0.3, metavar="PART", help="room round the face")
    parser.add_argument("--size", type=int, default=336, metavar="PIXELS", help="largest side of a crop")
    parser.add_argument("--near", type=int, default=12, metavar="BITS", help="near-duplicates differ in at most "
                        "so many of 256 bits; -1 keeps all")  # fmt: skip
    parser.add_argument("--truth", metavar="PATH", help="labels to compare with: a folder in the face format that was "
                        "annotated, or audit.csv with its column truth filled in")  # fmt: skip
    parser.add_argument("--drop-below", type=float, default=0.8, metavar="PART", help="leave out items that agree less")
    parser.add_argument("--audit", type=int, default=200, metavar="N", help="faces of the audit sample")
    parser.add_argument("--formats", default=FORMATS, metavar="LIST", help=f"of {FORMATS}")
    parser.add_argument("--shard", type=int, default=256, metavar="N", help="pictures of a shard, what a kill can lose")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes (default: one a core)")
    parser.add_argument("--address", metavar="ADDRESS", help="of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT")
    parser.add_argument("--device", default="auto", help="auto, cpu, or cuda: a card for every worker")
    parser.add_argument("--json", action="store_true", help="print the report as JSON on standard output")
    parser.add_argument("--quiet", action="store_true", help="print only what went wrong")
    args = parser.parse_args(arguments)
    bounds = {"passes": (1, 9), "tries": (1, 20), "parallel": (1, 256), "shard": (1, 10_000), "workers": (0, 100_000),
              "size": (16, 4096), "min_side": (1, 10_000), "audit": (0, 100_000), "timeout": (0.1, 3600),
              "margin": (0, 2), "min_score": (0, 1), "drop_below": (0, 1), "near": (-1, 128)}  # fmt: skip
    for name, (low, high) in bounds.items():
        if not low <= getattr(args, name) <= high:
            parser.error(f"--{name.replace('_', '-')}: expected {low} to {high}, found {getattr(args, name)}")
    if wrong := set(args.formats.split(",")) - set(FORMATS.split(",")):
        parser.error(f"--formats: expected some of {FORMATS}, found {', '.join(sorted(wrong))}")
    return args
