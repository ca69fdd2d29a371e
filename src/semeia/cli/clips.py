"""``semeia analyze clip.mp4``: a clip on the terminal."""

from __future__ import annotations

import argparse

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from semeia.cli.cards import LIMITS, STYLES
from semeia.media.clip_tables import TrackSummary
from semeia.media.wording import affect_words
from semeia.predict.clips import ClipReading, analyze_clip
from semeia.records import SemeiaError

FOR_PHOTOS = ("attention", "json")
MOST = 20
"""Faces that are listed."""
OFTEN = 0.1
"""An action unit is listed if it is present in this part of a face's frames."""


def run_clip(args: argparse.Namespace) -> int:
    """Read one clip as the flags of ``semeia analyze`` say."""
    if len(args.paths) > 1:
        raise SemeiaError(f"{args.paths[1]}: expected one clip at a time, found {len(args.paths)} paths")
    if refused := [f"--{name}" for name in FOR_PHOTOS if getattr(args, name)]:
        raise SemeiaError(f"{', '.join(refused)}: for photos, found a clip; --out writes its table")
    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TextColumn("frames"), TimeRemainingColumn())
    try:
        with Progress(*columns, console=messages, transient=True, disable=args.quiet) as progress:
            task = progress.add_task("", total=None)
            done = analyze_clip(
                args.paths[0],
                args.out,
                annotate=args.annotate,
                plots=args.plots,
                fps=args.fps,
                smooth=args.smooth or 0.0,
                gap=1.0 if args.gap is None else args.gap,
                weights=args.weights,
                device=args.device,
                engine=args.engine,
                au=args.au,
                affect=args.affect,
                circumplex=args.circumplex,
                on_frame=lambda number, total: progress.update(task, completed=number, total=total),
            )
    except KeyboardInterrupt:
        kept = "; the same command goes on where this one stopped" if args.out else "; nothing was kept without --out"
        messages.print(f"semeia: interrupted{kept}")
        return 130
    if not args.quiet:
        _print(Console(highlight=False), done)
    if done.damage is not None:
        messages.print(Text(f"semeia: {done.damage}", "red"))
    return 0 if done.damage is None else 1


def _print(screen: Console, done: ClipReading) -> None:
    table = done.table
    title = Text.assemble((done.file, "bold"))
    title.append(f"  {table.seconds:.1f} s, {table.frames:,} frames, {table.with_face:,} of them with a face", "dim")
    screen.print(title)
    if done.resumed:
        screen.print(Text(f"went on after {done.resumed:,} frames that an earlier run had read", "dim"))
    if table.tracks:
        screen.print(_faces(table.tracks))
    written = f"; written: {', '.join(done.written)}" if done.written else ""
    screen.print(Text(f"{len(table.tracks)} face{'s' * (len(table.tracks) != 1)}, read by {done.weights}{written}"))
    screen.print(LIMITS)


def _faces(tracks: tuple[TrackSummary, ...]) -> Table:
    grid = Table(box=box.ROUNDED, border_style="dim", header_style="dim")
    for name in ("", "seconds", "frames", "mostly", "action units: peak, and part of its frames"):
        grid.add_column(name, justify="right" if name in ("", "frames") else "left")
    for face in sorted(tracks, key=lambda t: -t.frames)[:MOST]:
        units = sorted((u for u, share in face.shares.items() if share >= OFTEN), key=lambda u: -face.peaks[u])
        words = ", ".join(f"{u}\u00a0{face.peaks[u]:.1f}\u00a0{100 * face.shares[u]:.0f}%" for u in units)
        mostly = Text.assemble((face.expression, STYLES.get(face.expression, "")), f" {100 * face.probability:.0f}%")
        if felt := affect_words(face.affect.get("valence"), face.affect.get("arousal")):
            mostly.append(f"\n{felt}", "dim")
        span = f"{face.first:.1f} to {face.last:.1f}"
        grid.add_row(str(face.number), span, f"{face.frames:,}", mostly, words or "none")
    if len(tracks) > MOST:
        grid.add_row("", f"and {len(tracks) - MOST} more", "", "", "")
    return grid
