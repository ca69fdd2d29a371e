"""``semeia palsy``: compare the sides of a patient's face in requested movements."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from semeia.files import check_writable, write_whole

if TYPE_CHECKING:
    from rich.table import Table

    from semeia.records import PalsyReading


def run(arguments: list[str]) -> int:
    """Grade patients and print a table for each; see ``semeia palsy --help``."""
    args = _arguments(arguments)
    for path in filter(None, (args.out, args.html)):
        check_writable(path)
    from rich.console import Console
    from rich.progress import track

    from semeia.media.palsy_page import LIMITS, palsy_page
    from semeia.predict.palsy import PalsyReader, patient_files

    patients = patient_files(args.paths, exercise=args.exercise, marks=args.marks)
    reader = PalsyReader.load(args.weights, args.au, args.device)
    curves = bool(args.out or args.html or args.json)
    readings = {
        name: reader.read(files, curves=curves)
        for name, files in track(
            patients.items(), "reading patients", transient=True, console=Console(stderr=True), disable=args.json
        )
    }
    plain = {"limits": LIMITS, "patients": {name: found.as_dict() for name, found in readings.items()}}
    text = json.dumps(plain, indent=1, ensure_ascii=False)
    if args.out:
        write_whole(args.out, f"{text}\n".encode())
    if args.html:
        write_whole(args.html, palsy_page(readings).encode())
    if args.json:
        print(text)
    else:
        screen = Console(highlight=False)
        for name, found in readings.items():
            screen.print(f"{name}: no grade" if found.grade is None else _table(name, found, found.grade))
            for note in found.notes:
                screen.print(f"  {note}", markup=False)
        screen.print(LIMITS, style="dim")
    return 0 if all(found.grade is not None for found in readings.values()) else 1


def _table(name: str, found: PalsyReading, grade: str) -> Table:
    """One patient: the answer above, what each movement showed below."""
    from rich.table import Table

    head = f"{name}: grade {grade} ({found.grades[grade]:.0%}), degree {found.degree:.2f}, weak side {found.side}"
    if found.composite is not None:
        head += f", composite {found.composite}"
    table = Table(title=head)
    for column in ("movement", "share left", "item 1-5", "synkinesis 0-3", "most uneven units, left / right"):
        table.add_column(column)
    for movement in found.movements:
        uneven = sorted(movement.left, key=lambda unit: -abs(movement.left[unit] - movement.right[unit]))[:3]
        table.add_row(
            movement.exercise,
            "-" if movement.share is None else f"{movement.share:.2f}",
            "-" if movement.item is None else str(movement.item),
            "-" if movement.synkinesis is None else str(movement.synkinesis),
            ", ".join(f"{unit} {movement.left[unit]:.1f} / {movement.right[unit]:.1f}" for unit in uneven),
        )
    return table


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="semeia palsy",
        description="Compare the sides of a patient's face: a grade I-VI, the weak side, and what they rest on. "
        "Not a medical device: no clinician graded anything. Sides are the subject's own.",
        epilog="Pictures tell their movement by their name: rest.jpg, brow_raise.jpg, eye_closure.jpg, smile.jpg, "
        "snarl.jpg, pucker.jpg. exit status: 0 all graded, 1 some could not be",
    )
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="pictures, a clip, or a folder of one or many patients"
    )
    parser.add_argument("--exercise", metavar="NAME", help="what the pictures or the clip show")
    parser.add_argument("--marks", metavar="FILE", help="CSV of a clip's movements: exercise, start, end (seconds)")
    parser.add_argument("--weights", default="palsy", help="bundled weights by name, or a checkpoint folder")
    parser.add_argument(
        "--au", metavar="WEIGHTS", help="network for action units (default: the one beside the weights)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--out", metavar="FILE", help="write what was read as JSON")
    parser.add_argument("--html", metavar="FILE", help="write a page with pictures, bars and curves")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")
    args = parser.parse_args(arguments)
    if args.exercise and args.marks:
        parser.error("--marks say the exercise of each part; leave --exercise out")
    return args
