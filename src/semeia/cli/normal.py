"""``semeia normal``: the pseudo-normal twin of a scan or a picture."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semeia.media.twin_reading import TwinReading

MOST = 12
"""Slices that are listed on the terminal."""

LIMITS = (
    "A twin is made up: it shows what a network would expect, not what the patient looked like. A difference may be a "
    "mistake, and a lesion may stay. The card of the weights says what they learned from. Not a medical device."
)
"""What an answer cannot tell, after every answer."""


def run(arguments: list[str]) -> int:
    """Make a twin, write it and print what it tells; see ``semeia normal --help``."""
    args = _arguments(arguments)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from semeia.predict.normal import normal

    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (
        TextColumn("making the twin"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("slices"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=messages, transient=True, disable=args.quiet) as progress:
        task = progress.add_task("", total=None)
        reading = normal(
            args.input, args.out, weights=args.weights, device=args.device, threshold=args.threshold,
            series=args.series, on_slice=lambda done, count: progress.update(task, completed=done, total=count),
        )  # fmt: skip
    if args.json:
        from semeia.media.twin_reading import as_json

        print(as_json(reading))
    elif not args.quiet:
        _print(Console(highlight=False), reading, args.out)
    for note in reading.notes:
        messages.print(f"semeia: {note}")
    return 0


def _print(screen: Any, reading: TwinReading, out: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    slices, rows, columns = reading.shape
    title = Text.assemble((reading.source, "bold"))
    title.append(f"  {slices} slice{'s' * (slices != 1)} of {columns} x {rows}", "dim")
    screen.print(title)
    if reading.slices:
        table = Table(box=box.ROUNDED, border_style="dim", header_style="dim")
        area = "area, mm2" if reading.spacing_mm is not None else "area, pixels"
        for name in ("slice", area, "largest likelihood"):
            table.add_column(name, justify="right")
        ranked = sorted(reading.slices, key=lambda each: -each.pixels)
        for each in ranked[:MOST]:
            told = f"{each.pixels}" if each.area_mm2 is None else f"{each.area_mm2:.0f}"
            table.add_row(str(each.index), told, f"{each.peak:.2f}")
        if len(ranked) > MOST:
            table.add_row("", f"and {len(ranked) - MOST} more", "")
        screen.print(table)
    over = f"likelihood of {reading.threshold:g} or more"
    size = f"{reading.pixels} pixels" if reading.volume_mm3 is None else f"{reading.volume_mm3 / 1000:.3g} ml"
    words = f"{size} with a {over}, read by {reading.weights}"
    if reading.largest is not None:
        at = reading.largest
        words += f"; largest difference {at.value:+.4g} {reading.unit}, slice {at.index}, pixel {at.pixel[0]} "
        words += f"{at.pixel[1]}"
    screen.print(Text(words))
    screen.print(Text(f"written to {out}: {', '.join(reading.files.values())}"))
    screen.print(LIMITS, style="dim")


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="semeia normal",
        description="Make the pseudo-normal twin of a scan or a picture: the same without the lesion, as a network "
        "would expect it, with the signed difference and the likelihood of lesion. docs/twins.md explains the answers. "
        "Not a medical device.",
    )
    parser.add_argument(
        "input", metavar="SCAN|IMAGE",
        help="a DICOM folder or file, a .zip, .nii, .nii.gz, .nrrd or .nhdr, or a .png, .jpg or .webp picture",
    )  # fmt: skip
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="a new or empty folder; it appears whole or not at all"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.5, metavar="LIKELIHOOD",
        help="likelihood from which a pixel counts in areas and volumes (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--series", metavar="UID", help="end of the UID of the series, where a folder holds several")
    parser.add_argument("--weights", default="smile", help="bundled weights by name, or a checkpoint folder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    parser.add_argument("--quiet", action="store_true", help="print only what went wrong")
    args = parser.parse_args(arguments)
    if not 0 < args.threshold < 1:
        parser.error(f"--threshold: expected a likelihood between 0 and 1, found {args.threshold}")
    return args
