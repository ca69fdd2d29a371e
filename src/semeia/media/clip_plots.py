"""A clip's table as pictures: action units and expressions over time, and the clip itself with readings drawn in.

Both read the finished table in pieces and keep what fits a picture, so that a long clip takes no more memory than a
short one. Drawn with Pillow like the other pictures: strips over time need no plotting library.

Shapes      H, W picture   T columns of a plot   K action units   E expressions
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from semeia.media.clip_tables import TableSummary, TrackSummary, read_rows
from semeia.media.images import write_image
from semeia.media.surface import (
    CARD,
    DIM,
    INK,
    PAPER,
    TEXT,
    TRACK,
    Colour,
    Surface,
    expression_colour,
    fitted,
    text_width,
)
from semeia.media.video import Video, write_video
from semeia.media.wording import UNEVEN, UNIT_NAMES
from semeia.records import SemeiaError

COLUMNS = 1000
"""Of a plot, in pixels: each shows the mean of what was read in its time."""
MOST_FACES = 4
"""That are plotted: those that stay longest."""
NAMES, VALUES, GAP = 230, 60, 16
STRIP, STEP = 24, 29
"""Height of an action unit's strip, and from one to the next."""
SHARES = 72
"""Height of the strip of expressions, and of that of affect."""
AFFECT: dict[str, Colour] = {"valence": (255, 205, 72), "arousal": (255, 107, 140)}
"""Columns of affect, where it was read, and their colours."""
TOP_LEVEL = 5.0
"""FACS intensity at the upper edge of a strip."""
QUIET: Colour = (70, 98, 120)
LOUD: Colour = (120, 190, 235)
LEFT: Colour = (255, 179, 71)
RIGHT: Colour = (178, 132, 255)
LEGEND = (
    ("present", LOUD),
    ("absent", QUIET),
    ("the subject's left", LEFT),
    ("the subject's right", RIGHT),
)


def check_plots(path: str | Path) -> None:
    """Make sure that a plot can be named ``path``.

    Raises:
        SemeiaError: It has another ending than .png.
    """
    if Path(path).suffix.lower() != ".png":
        raise SemeiaError(f"{path}: expected a name for plots that ends in .png")


def plot_clip(table: str | Path, out: str | Path, *, summary: TableSummary, title: str) -> None:
    """Draw what was read over time as a PNG.

    For each of the faces that stay longest: the shares of the expressions, curves of valence and arousal where they
    were read, and a strip for each action unit from 0 to
    5, bright where it counts as present, with lines for the subject's own sides where they differ by a FACS level or
    more. Nothing is drawn where there was no face.

    Args:
        table: A finished table.
        out: The .png to write.
        summary: Of the table.
        title: Stands above.

    Raises:
        SemeiaError: The table cannot be read or the picture cannot be written.
    """
    check_plots(out)
    faces = sorted(summary.tracks, key=lambda track: (-track.frames, track.number))[:MOST_FACES]
    faces.sort(key=lambda track: track.number)
    columns = over_time(table, summary, [face.number for face in faces])
    units = list(faces[0].peaks) if faces else []
    affect = bool(faces) and "valence" in columns[faces[0].number]
    of_face = 96 + SHARES + (SHARES + 32 if affect else 0) + STEP * len(units) + 40
    size = (NAMES + COLUMNS + VALUES + 2 * GAP, 64 + max(of_face * len(faces), 80))
    surface = Surface(size, detail=2, ground=PAPER)
    surface.text((GAP, 32), fitted(title, 24, NAMES + COLUMNS), 24)
    if not faces:
        surface.text((GAP, 84), "no face found", 18, DIM)
    elif len(summary.tracks) > len(faces):
        note = f"the {len(faces)} of {len(summary.tracks)} faces that stay longest"
        surface.text((size[0] - GAP, 32), note, 15, DIM, anchor="rm")
    for i, face in enumerate(faces):
        _plot_face(surface, 64 + of_face * i, face, columns[face.number], seconds=_end(summary))
    write_image(out, np.asarray(surface.finish().convert("RGB")))


def _end(summary: TableSummary) -> float:
    """The end of the time axis: the last frame is shown for as long as the others are on average."""
    return summary.seconds * summary.frames / (summary.frames - 1) if summary.frames > 1 else 1.0


def over_time(table: str | Path, summary: TableSummary, faces: Sequence[int]) -> dict[int, dict[str, np.ndarray]]:
    """For each face, by column of the table, its mean in each of T pieces of the clip's time; NaN without the face."""
    stamps = [rows.drop_duplicates("frame") for rows in read_rows(table, ["frame", "timestamp"])]
    times = pd.concat(stamps).drop_duplicates("frame")["timestamp"].to_numpy()
    edges = np.append(times, _end(summary)) * (COLUMNS / _end(summary))
    # Each frame stands until the next and fills the columns that begin in its time; if none does, the one it lies in.
    first = np.ceil(edges - 1e-6).astype(int)
    starts = np.minimum(np.where(first[1:] > first[:-1], first[:-1], edges[:-1].astype(int)), COLUMNS - 1)
    ends = np.maximum(first[1:], starts + 1)
    sums: dict[int, dict[str, np.ndarray]] = {face: {} for face in faces}
    counts = {face: np.zeros(COLUMNS + 1) for face in faces}
    for rows in read_rows(table):
        names = [n for n in map(str, rows) if n.startswith("p_") or n[-2:] in ("_r", "_c", "_L", "_R") or n in AFFECT]
        for face in faces:
            seen = rows[rows["face_id"] == face]
            at = np.searchsorted(times, seen["timestamp"].to_numpy())
            for name, values in (("", np.ones(len(seen))), *((n, seen[n].to_numpy(dtype=float)) for n in names)):
                total = counts[face] if name == "" else sums[face].setdefault(name, np.zeros(COLUMNS + 1))
                np.add.at(total, starts[at], values)
                np.add.at(total, np.minimum(ends[at], COLUMNS), -values)
    means = {}
    for face in faces:
        number = np.round(counts[face].cumsum()[:-1])
        with np.errstate(invalid="ignore", divide="ignore"):
            means[face] = {n: np.where(number > 0, s.cumsum()[:-1] / number, np.nan) for n, s in sums[face].items()}
    return means


def _plot_face(
    surface: Surface, top: float, face: TrackSummary, means: dict[str, np.ndarray], *, seconds: float
) -> None:
    """All strips of one face, from ``top`` down."""
    left, right = GAP + NAMES, GAP + NAMES + COLUMNS
    number = str(face.number)
    chip = max(text_width(number, 16) + 14, 26)
    surface.box((GAP, top, GAP + chip, top + 26), radius=8, fill=expression_colour(face.expression))
    surface.text((GAP + chip / 2, top + 13), number, 16, INK, anchor="mm")
    span = f"{_clock(face.first)} to {_clock(face.last)}, {face.frames:,} frames"
    surface.text((GAP + chip + 12, top + 13), f"mostly {face.expression}, {span}", 16)

    expressions = [name.removeprefix("p_") for name in means if name.startswith("p_")]
    _legend(surface, (left, top + 50), [(name, expression_colour(name)) for name in expressions])
    y = top + 64
    shares = np.stack([means[f"p_{name}"] for name in expressions])  # (E, T)
    strip = stacked(shares, [expression_colour(name) for name in expressions], height=SHARES)
    surface.text((GAP, y + SHARES / 2), "expression", 15, DIM)
    surface.paste(Image.fromarray(strip), (left, y))

    y += SHARES + 12
    if "valence" in means:
        _legend(surface, (left, y + 8), list(AFFECT.items()))
        y += 20
        surface.text((GAP, y + SHARES / 2), "affect, -1 to 1", 15, DIM)
        surface.paste(Image.fromarray(curves([(means[n], c) for n, c in AFFECT.items()], height=SHARES)), (left, y))
        y += SHARES + 12
    sides = any(f"{unit}_L" in means for unit in face.peaks)
    _legend(surface, (left, y + 8), LEGEND if sides else LEGEND[:2])
    surface.text((right + 8, y + 8), "peak", 13, DIM)
    y += 20
    for unit, peak in face.peaks.items():
        surface.text((GAP, y + STRIP / 2), unit, 15)
        surface.text((GAP + 52, y + STRIP / 2), fitted(UNIT_NAMES.get(unit, ""), 14, NAMES - 60), 14, DIM)
        lines = _uneven(means, unit) if sides else []
        picture = filled(means[f"{unit}_r"], means[f"{unit}_c"] >= 0.5, lines, height=STRIP)
        surface.paste(Image.fromarray(picture), (left, y))
        surface.text((right + 8, y + STRIP / 2), f"{peak:.1f}", 14, TEXT if face.shares[unit] > 0 else DIM)
        y += STEP
    _axis(surface, (left, y + 4), seconds)


def stacked(shares: np.ndarray, colours: Sequence[Colour], *, height: int) -> np.ndarray:
    """Shares (E, T) that add up to 1 as a strip (height, T, 3) uint8, the first at the bottom; NaN stays empty."""
    edges = np.cumsum(np.vstack([np.zeros_like(shares[:1]), shares]), axis=0)  # (E + 1, T)
    rows = np.arange(height)[::-1, None]
    strip = np.broadcast_to(np.array(CARD[:3], dtype=float), (height, shares.shape[1], 3)).copy()
    for low, high, colour in zip(edges, edges[1:], colours, strict=False):
        # How much of each pixel lies between both edges makes the border smooth.
        cover = np.clip(high * height - rows, 0, 1) - np.clip(low * height - rows, 0, 1)
        strip += np.nan_to_num(cover)[..., None] * (np.array(colour[:3]) - CARD[:3])
    return np.round(strip.clip(0, 255)).astype(np.uint8)


def filled(
    values: np.ndarray, present: np.ndarray, lines: Sequence[tuple[np.ndarray, Colour]], *, height: int
) -> np.ndarray:
    """Intensities (T,) from 0 to 5 as a strip (height, T, 3) uint8, with lines over it; NaN stays empty.

    Args:
        values: Heights.
        present: (T,), where the fill is bright.
        lines: Further heights (T,) with their colours.
        height: In pixels.
    """
    rows = np.arange(height)[::-1, None]
    strip = np.broadcast_to(np.array(CARD[:3], dtype=float), (height, len(values), 3)).copy()
    cover = np.nan_to_num(np.clip(values / TOP_LEVEL * height - rows, 0, 1))[..., None]
    colour = np.where(present[:, None], np.array(LOUD, dtype=float), np.array(QUIET, dtype=float))  # (T, 3)
    strip += cover * (colour - strip)
    for line, shade in lines:
        distance = np.abs(line / TOP_LEVEL * (height - 1) - rows)
        cover = np.nan_to_num(np.clip(1 - distance, 0, 1))[..., None]
        strip += 0.9 * cover * (np.array(shade) - strip)
    return np.round(strip.clip(0, 255)).astype(np.uint8)


def curves(lines: Sequence[tuple[np.ndarray, Colour]], *, height: int) -> np.ndarray:
    """Values (T,) from -1 to 1 with their colours as a strip (height, T, 3) uint8; NaN stays empty."""
    rows = np.arange(height)[::-1, None]
    strip = np.broadcast_to(np.array(CARD[:3], dtype=float), (height, len(lines[0][0]), 3)).copy()
    strip[height // 2] = TRACK[:3]
    for line, shade in lines:
        at = (line.clip(-1, 1) + 1) / 2 * (height - 1)
        before = np.concatenate([at[:1], at[:-1]])
        before = np.where(np.isnan(before), at, before)
        # A curve as thick as two pixels, and closed where it is steep.
        low, high = np.minimum(at, before) - 0.5, np.maximum(at, before) + 0.5
        cover = np.nan_to_num(np.clip(np.minimum(high - rows, rows - low) + 1, 0, 1))[..., None]
        strip += cover * (np.array(shade[:3]) - strip)
    return np.round(strip.clip(0, 255)).astype(np.uint8)


def _uneven(means: dict[str, np.ndarray], unit: str) -> list[tuple[np.ndarray, Colour]]:
    """Lines for both sides of a unit where they differ enough to be told."""
    left, right = means[f"{unit}_L"], means[f"{unit}_R"]
    apart = np.abs(left - right) >= UNEVEN
    return [(np.where(apart, side, np.nan), colour) for side, colour in ((left, LEFT), (right, RIGHT))]


def _legend(surface: Surface, at: tuple[float, float], entries: Sequence[tuple[str, Colour]]) -> None:
    x, y = at
    for name, colour in entries:
        surface.dot((x + 5, y), 5, colour)
        surface.text((x + 16, y), name, 13, DIM)
        x += 16 + text_width(name, 13) + 22


def _axis(surface: Surface, at: tuple[float, float], seconds: float) -> None:
    """Ticks at round times below the strips."""
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200)
    step = next((s for s in steps if seconds / s <= 10), seconds / 10)
    left, y = at
    for i in range(int(seconds / step) + 1):
        x = left + i * step / seconds * COLUMNS
        surface.line((x, y), (x, y + 5), TRACK, 1)
        if x < left + COLUMNS - 20:
            surface.text((x, y + 15), _clock(i * step), 13, DIM, anchor="mm")


def _clock(seconds: float) -> str:
    """Minutes and seconds, and hours where there are any: 2:05.4."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"
    return f"{hours}:{text}" if hours else text


# ---------------------------------------------------------------------------------------------------------------------
# The clip with readings drawn in

MOST_CARDS = 3
CARD_UNITS = 19
"""Action units on a card, at most."""
WIDTH = 17.0
"""Of the column of cards, in type sizes."""


@dataclass(frozen=True)
class _Sheet:
    """How frames are drawn: their size, the type, the faces that have cards and the action units on each."""

    size: tuple[int, int]
    unit: float
    cards: dict[int, tuple[str, ...]]

    @property
    def whole(self) -> tuple[int, int]:
        """Width and height of a drawn frame."""
        return self.size[0] + round(WIDTH * self.unit), self.size[1]


def annotate_clip(
    clip: str | Path, table: str | Path, out: str | Path, *, summary: TableSummary, fps: float | None = None
) -> None:
    """Write the frames that were read, with numbered boxes and a card for each of the faces that stay longest.

    A card has the likeliest expression and bars of action units, those that rise highest in the clip, each always in
    its place. Frames keep their times; the sound is left out. Frames of another size than the first are fitted into it.

    Args:
        clip: The video that was read.
        table: Its finished table.
        out: The video to write.
        summary: Of the table.
        fps: As the clip was read with.

    Raises:
        SemeiaError: The clip or the table cannot be read, they do not belong together, or the video cannot be written.
    """
    with Video(clip) as video:
        rows = _by_frame(table)
        frames = video.frames(fps=fps)
        first = next(frames)
        sheet = _sheet(summary, (first.image.shape[1], first.image.shape[0]))
        with write_video(out, size=sheet.whole, rate=fps or float(video.rate)) as add:
            for frame in _and_rest(first, frames):
                number, faces = next(rows, (None, []))
                if number != frame.number:
                    raise SemeiaError(f"{table}: expected a row for frame {frame.number} of {clip}, found {number}")
                add(draw_frame(frame.image, faces, sheet), frame.time)


def _and_rest(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _by_frame(table: str | Path) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Each frame's number with the rows of its faces; a frame may be cut by the end of a piece."""
    number: int | None = None
    faces: list[dict[str, Any]] = []
    for piece in read_rows(table):
        for row in piece.to_dict("records"):
            if row["frame"] != number:
                if number is not None:
                    yield number, faces
                number, faces = int(row["frame"]), []
            if row["success"] == 1:
                faces.append({str(key): value for key, value in row.items()})
    if number is not None:
        yield number, faces


def _sheet(summary: TableSummary, size: tuple[int, int]) -> _Sheet:
    """Give the faces that stay longest cards of one height, with as many action units as have room."""
    unit = max(size[1] / 34, 6.0)
    faces = sorted(summary.tracks, key=lambda track: (-track.frames, track.number))[:MOST_CARDS]
    room = int((size[1] / unit - 1.2) / max(len(faces), 1) - 5.4)
    count = max(min(int(room / 1.3), CARD_UNITS), 0)
    cards = {}
    for face in sorted(faces, key=lambda track: track.number):
        highest = sorted(face.peaks, key=lambda name: -face.peaks[name])[:count]
        cards[face.number] = tuple(name for name in face.peaks if name in highest)
    return _Sheet(size, unit, cards)


def draw_frame(image: np.ndarray, faces: Sequence[dict[str, Any]], sheet: _Sheet) -> np.ndarray:
    """Draw the rows of a frame's faces into it.

    Args:
        image: (H, W, 3) uint8.
        faces: Rows of the table by column name.
        sheet: How.

    Returns:
        (H', W', 3) uint8 of the sheet's size.
    """
    canvas = Image.new("RGB", sheet.whole, PAPER[:3])
    picture = Image.fromarray(image)
    factor = min(sheet.size[0] / picture.width, sheet.size[1] / picture.height)
    if picture.size != sheet.size:
        picture = picture.resize((round(picture.width * factor), round(picture.height * factor)))
    canvas.paste(picture, (0, 0))
    pen = ImageDraw.Draw(canvas)
    for row in faces:
        _draw_face(canvas, pen, row, factor=factor, sheet=sheet)
    by_number = {int(row["face_id"]): row for row in faces}
    panel = _panel(sheet, by_number)
    canvas.paste(panel, (sheet.size[0], 0))
    return np.asarray(canvas)


def _draw_face(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, row: dict[str, Any], *, factor: float, sheet: _Sheet
) -> None:
    left, top = row["face_x"] * factor, row["face_y"] * factor
    right, bottom = left + row["face_w"] * factor, top + row["face_h"] * factor
    colour = expression_colour(row["expression"])
    width = max(round(sheet.unit / 6), 1)
    pen.rounded_rectangle(
        (round(left), round(top), round(max(right, left + 1)), round(max(bottom, top + 1))),
        radius=round(0.06 * (right - left)), outline=colour[:3], width=width,
    )  # fmt: skip
    chip = _chip(f"{int(row['face_id'])}  {row['expression']}", colour, round(sheet.unit))
    x = min(max(round(left), 0), max(sheet.size[0] - chip.width, 0))
    y = round(top) - chip.height - width
    canvas.paste(chip, (x, y if y >= 0 else min(round(bottom) + width, sheet.size[1] - chip.height)), chip)


@lru_cache(maxsize=256)
def _chip(text: str, colour: Colour, unit: int) -> Image.Image:
    """A label; there are few different ones in a clip."""
    width, height = text_width(text, unit) + unit, 1.6 * unit
    surface = Surface((round(width), round(height)), detail=2)
    surface.box((0, 0, width, height), radius=0.35 * unit, fill=colour)
    surface.text((width / 2, height / 2), text, unit, INK, anchor="mm")
    return surface.finish()


def _panel(sheet: _Sheet, faces: dict[int, dict[str, Any]]) -> Image.Image:
    """The column of cards; a face that is not there leaves its card dim."""
    unit = sheet.unit
    surface = Surface((sheet.whole[0] - sheet.size[0], sheet.size[1]), detail=2, ground=PAPER)
    high = (sheet.size[1] / unit - 0.6) / max(len(sheet.cards), 1)
    for i, (number, units) in enumerate(sheet.cards.items()):
        _card(surface, unit, 0.6 + i * high, high - 0.6, number=number, units=units, row=faces.get(number))
    if not sheet.cards:
        surface.text((WIDTH / 2 * unit, 2 * unit), "no face found", unit, DIM, anchor="mm")
    return surface.finish().convert("RGB")


def _card(
    surface: Surface,
    unit: float,
    top: float,
    high: float,
    *,
    number: int,
    units: Sequence[str],
    row: dict[str, Any] | None,
) -> None:
    """One card, lengths in type sizes."""

    def bar(left: float, right: float, y: float, *, high: float, colour: Colour) -> None:
        corners = (left * unit, (y - high / 2) * unit, right * unit, (y + high / 2) * unit)
        surface.box(corners, radius=min(high / 2, 0.5) * unit, fill=colour)

    def text(x: float, y: float, words: str, *, size: float, colour: Colour = TEXT, anchor: str = "lm") -> None:
        surface.text((x * unit, y * unit), words, size * unit, colour, anchor=anchor)

    left, right = 1.4, WIDTH - 1.4
    bar(0.6, WIDTH - 0.6, top + high / 2, high=high, colour=CARD)
    label = row["expression"] if row is not None else "away"
    y = top + 1.9
    bar(left, left + 1.6, y, high=1.6, colour=expression_colour(label) if row is not None else TRACK)
    text(left + 0.8, y, str(number), size=1, colour=INK, anchor="mm")
    text(left + 2.2, y, label, size=1.25, colour=TEXT if row is not None else DIM)
    if row is not None:
        text(right, y, f"{100 * row[f'p_{label}']:.0f} %", size=1, colour=DIM, anchor="rm")
    y += 2.2
    for name in units:
        value = float(row[f"{name}_r"]) if row is not None else 0.0
        present = row is not None and row[f"{name}_c"] == 1
        text(left, y, name, size=0.85, colour=TEXT if present else DIM)
        bar(left + 3.4, right - 2.0, y, high=0.5, colour=TRACK)
        share = min(value / TOP_LEVEL, 1.0) * (right - left - 5.4)
        if share > 0.1:
            # A bar shorter than it is high could not be drawn with round ends.
            bar(left + 3.4, left + 3.4 + max(share, 0.5), y, high=0.5, colour=LOUD if present else QUIET)
        if row is not None:
            text(right, y, f"{value:.1f}", size=0.85, colour=TEXT if present else DIM, anchor="rm")
        y += 1.3
