"""Readings on the terminal: a table for each photo with a row for each face."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from semeia.media.wording import UNIT_NAMES, affect_words, likely_attributes, present, uneven
from semeia.records import FaceReading, FileReading, Readings

FEW = 4
"""Up to this many faces get a card, more a row each."""

LIMITS = Text(
    "An expression is not an emotion, and apparent age is not age. The bundled weights learned from rendered faces "
    "alone. Not a medical device; nobody is identified.",
    style="dim",
)
"""What a reading cannot tell, after every answer."""

STYLES = {
    "happiness": "yellow",
    "sadness": "bright_blue",
    "surprise": "orange3",
    "fear": "medium_purple1",
    "disgust": "green",
    "anger": "red",
}


def card(reading: FileReading) -> RenderableType:
    """One photo: its name and size, and what was read in each face."""
    title = Text.assemble((reading.file, "bold"))
    if reading.error is not None:
        return title.append("  could not be read", "red")
    title.append(f"  {reading.width} x {reading.height}, {_count(len(reading.faces), 'face')}", "dim")
    if not reading.faces:
        return title
    return Group(title, _cards(reading.faces) if len(reading.faces) <= FEW else _rows(reading.faces))


def _cards(faces: Sequence[FaceReading]) -> Table:
    table = Table(box=box.ROUNDED, border_style="dim", header_style="dim", show_lines=True)
    for name in ("", "face", "action units present, 0 to 5"):
        table.add_column(name)
    for number, face in enumerate(faces, start=1):
        felt = affect_words(face.valence, face.arousal)
        lines = [_expression(face, second=True), *([Text(felt)] if felt else []), Text(f"apparent age {face.age:.0f}")]
        about = Text("\n").join([*lines, _pose(face), _attributes(face)])
        table.add_row(str(number), about, _unit_bars(face))
    return table


def _rows(faces: Sequence[FaceReading]) -> Table:
    table = Table(box=box.ROUNDED, border_style="dim", header_style="dim")
    for name in ("", "expression", "action units", "age", "yaw, pitch, roll", "attributes"):
        table.add_column(name, justify="right" if name in ("", "age") else "left")
    for number, face in enumerate(faces, start=1):
        units = ", ".join(f"{name}\u00a0{unit.intensity:.1f}" for name, unit in present(face))
        head = f"{face.pose.yaw:+.0f} {face.pose.pitch:+.0f} {face.pose.roll:+.0f}"
        row = (_expression(face, second=False), units or "none", f"{face.age:.0f}", head, _attributes(face))
        table.add_row(str(number), *row)
    return table


def summary(readings: Readings, written: Sequence[str]) -> Text:
    """How much was read, by which weights, and what was written."""
    faces = sum(len(file.faces) for file in readings.files)
    text = Text(f"{_count(len(readings.files), 'file')}, {_count(faces, 'face')}, read by {readings.weights}")
    if len(written) > 3:
        written = [*written[:2], f"{len(written) - 2} more"]
    return text.append(f"; written: {', '.join(written)}") if written else text


def failures(readings: Readings) -> Text:
    """The broken files, each with its reason."""
    head = f"semeia: {len(readings.failed)} of {_count(len(readings.files), 'file')} could not be read"
    return Text("\n  ".join([head, *(file.error or "" for file in readings.failed)]), style="red")


def _expression(face: FaceReading, *, second: bool) -> Text:
    """The likeliest expression; with ``second`` also the next one, where it has a tenth."""
    ranked = sorted(face.expression.items(), key=lambda item: -item[1])
    name, probability = ranked[0]
    text = Text.assemble((name, f"bold {STYLES.get(name, '')}"), f" {100 * probability:.0f}%")
    for name, probability in ranked[1 : 2 if second else 1]:
        if probability >= 0.1:
            text.append(f", {name} {100 * probability:.0f}%", "dim")
    return text


def _unit_bars(face: FaceReading) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    for name, unit in present(face):
        bar = ProgressBar(total=5, completed=unit.intensity, width=10, complete_style="cyan", finished_style="cyan")
        grid.add_row(Text(name).append(f" {UNIT_NAMES.get(name, '')}", "dim"), bar, f"{unit.intensity:.1f}")
        if sides := uneven(unit):
            grid.add_row(Text(f"     {sides}", "dim"), "", "")
    return grid if grid.rows else Text("none", "dim")


def _attributes(face: FaceReading) -> Text:
    return Text(", ".join(likely_attributes(face)), "dim")


def _pose(face: FaceReading) -> Text:
    pose = face.pose
    return Text(f"yaw {pose.yaw:+.0f} pitch {pose.pitch:+.0f} roll {pose.roll:+.0f}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
