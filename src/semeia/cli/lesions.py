"""``semeia lesions``: candidate lesions in a CT scan."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semeia.media.volumes import Volume
    from semeia.records import ScanReading

    Check = Callable[[str, Volume], None]
    Write = Callable[[ScanReading, Volume, str], None]

FILES = {
    "out": "the lesions as .json (with all boxes), .jsonl or .csv",
    "coco": "boxes as a COCO .json",
    "labels": "a label map in the scan's own grid, .nii.gz: ellipses in the boxes, no outlines of lesions",
    "seg": "the same as a DICOM Segmentation, .dcm (needs semeia[dicom] and a DICOM scan)",
    "sr": "measurements as a DICOM Structured Report, .dcm (likewise)",
    "preview": "the best lesions as a .png",
    "html": "a page to scroll through, .html",
}
"""Flags that name a file, and what it holds."""

EMPTY = ("seg", "sr")
"""Those that need at least one lesion."""

MOST = 20
"""Lesions that are listed on the terminal."""


def run(arguments: list[str]) -> int:
    """Search, print and write as the flags say; see ``semeia lesions --help``."""
    args = _arguments(arguments)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from semeia.media.volumes import open_volume
    from semeia.predict.lesions import LesionFinder

    outputs = _outputs()
    asked = {name: getattr(args, name) for name in FILES if getattr(args, name)}
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    with open_volume(args.scan, series=args.series) as scan:
        for name, path in asked.items():
            outputs[name][0](path, scan)
        finder = LesionFinder.load(args.weights, args.device)
        least = finder.threshold(args.false_per_slice) if args.threshold is None else args.threshold
        columns = (
            TextColumn("searching"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("slices"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=messages, transient=True, disable=args.quiet) as progress:
            task = progress.add_task("", total=None)
            reading = finder.find(
                scan, threshold=least, wanted=_wanted(args.slices, scan),
                on_slice=lambda done, count: progress.update(task, completed=done, total=count),
            )  # fmt: skip
        if not reading.lesions and (left := asked.keys() & EMPTY):
            messages.print(f"semeia: nothing was found, and DICOM has no empty file for {' and '.join(sorted(left))}")
            asked = {name: path for name, path in asked.items() if name not in EMPTY}
        for name, path in asked.items():
            outputs[name][1](reading, scan, path)
        if args.json:
            from semeia.media.lesion_tables import as_json

            print(as_json(reading))
        elif not args.quiet:
            _print(Console(highlight=False), reading, scan, least, list(asked.values()))
    for note in reading.notes:
        messages.print(f"semeia: {note}")
    return 0


def _outputs() -> dict[str, tuple[Check, Write]]:
    """For each flag of ``FILES`` what refuses, before long work begins, what could not be written, and what writes."""
    from semeia.media import label_map, lesion_dicom, lesion_page, lesion_pictures, lesion_tables

    def tabled(write: Callable[..., None]) -> Write:
        return lambda reading, scan, path: write([lesion_tables.tabled_scan(reading, scan)], path)

    def dicom(path: str, scan: Volume) -> None:
        lesion_dicom.check_dicom(path, scan.uids, scan=scan.source)

    def named(check: Callable[[str], None]) -> Check:
        return lambda path, _: check(path)

    return {
        "out": (named(lesion_tables.check_lesions), tabled(lesion_tables.write_lesions)),
        "coco": (named(lesion_tables.check_coco), tabled(lesion_tables.write_coco)),
        "labels": (named(label_map.check_label_map), label_map.write_label_map),
        "seg": (dicom, lesion_dicom.write_segmentation),
        "sr": (dicom, lesion_dicom.write_report),
        "preview": (named(lesion_pictures.check_sheet), lesion_pictures.write_sheet),
        "html": (named(lesion_page.check_page), lesion_page.write_page),
    }


def _wanted(text: str | None, scan: Volume) -> range | None:
    """Axial slices whose own numbers lie within FIRST-LAST."""
    if text is None:
        return None
    from semeia.records import SemeiaError

    count = scan.shape[0]
    try:
        first, _, last = text.partition("-")
        low, high = int(first), int(last or first)
    except ValueError:
        low, high = 1, 0
    places = [z for z in range(count) if low <= scan.own_slice(z) <= high]
    if not places:
        raise SemeiaError(
            f"--slices: expected FIRST-LAST within 0 to {count - 1}, counted as the file does, found {text!r}"
        )
    return range(min(places), max(places) + 1)


def _print(screen: Any, reading: ScanReading, scan: Volume, least: float, written: list[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    slices, rows, columns = scan.shape
    title = Text.assemble((reading.scan, "bold"))
    spacing = " x ".join(f"{mm:.2f}" for mm in scan.spacing)
    title.append(f"  {slices} slices of {columns} x {rows}, {spacing} mm", "dim")
    screen.print(title)
    if reading.lesions:
        table = Table(box=box.ROUNDED, border_style="dim", header_style="dim")
        for name in ("", "score", "slices", "long x short, mm", "middle in the patient, mm"):
            table.add_column(name, justify="right" if name in ("", "score") else "left")
        for number, lesion in enumerate(reading.lesions[:MOST], start=1):
            x0, y0, z0, x1, y1, z1 = lesion.box_world_mm
            middle = f"{(x0 + x1) / 2:+.0f} {(y0 + y1) / 2:+.0f} {(z0 + z1) / 2:+.0f}"
            span = f"{lesion.slices[0]} to {lesion.slices[1]}"
            table.add_row(
                str(number), f"{lesion.score:.2f}", span, f"{lesion.long_mm:.0f} x {lesion.short_mm:.0f}", middle
            )
        if len(reading.lesions) > MOST:
            table.add_row("", "", f"and {len(reading.lesions) - MOST} more", "", "")
        screen.print(table)
    boxes = sum(len(found) for found in reading.slices.values())
    count = len(reading.lesions)
    text = (
        f"{count} candidate lesion{'s' * (count != 1)}, {boxes} boxes of {least:.2f} or more, read by {reading.weights}"
    )
    screen.print(Text(text + (f"; written: {', '.join(written)}" if written else "")))
    screen.print(LIMITS, style="dim")


LIMITS = (
    "Candidates, not diagnoses: the card of the weights says what they learned from. Nothing found does not mean that "
    "nothing is there. Not a medical device."
)
"""What an answer cannot tell, after every answer."""


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="semeia lesions",
        description="Find candidate lesions of any kind in a CT scan: boxes slice by slice, joined to lesions. Nothing "
        "is written unless a flag says so. docs/lesions.md explains the answers. Not a medical device.",
    )
    parser.add_argument("scan", metavar="SCAN", help="a DICOM folder or file, a .zip, .nii, .nii.gz, .nrrd or .nhdr")
    for name, words in FILES.items():
        parser.add_argument(f"--{name}", metavar="FILE", help=f"write {words}")
    parser.add_argument("--series", metavar="UID", help="end of the UID of the series, where a folder holds several")
    parser.add_argument(
        "--slices", metavar="FIRST-LAST", help="search these slices alone, counted from 0 as the file does"
    )
    parser.add_argument("--threshold", type=float, metavar="SCORE", help="least score of a box, 0 to 1")
    parser.add_argument(
        "--false-per-slice", type=float, default=0.5, metavar="RATE",
        help="in place of --threshold: the score that left so many false boxes a slice on held-out synthetic slabs, "
        "0.5 to 16 (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--weights", default="uld", help="bundled weights by name, or a checkpoint folder")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    parser.add_argument("--quiet", action="store_true", help="print only what went wrong")
    args = parser.parse_args(arguments)
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f"--threshold: expected a score from 0 to 1, found {args.threshold}")
    named = [str(Path(getattr(args, name)).resolve()) for name in FILES if getattr(args, name)]
    if len(named) > len(set(named)):
        parser.error("two flags name the same file")
    return args
