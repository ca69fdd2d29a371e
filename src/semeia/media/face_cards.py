"""Cards beside or below an annotated picture: one for each face, with what was read in it.

Lengths are in units of the type size, so that a card looks the same beside a small and a large picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image

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
    wrapped,
)
from semeia.media.wording import UNIT_NAMES, likely_attributes, present, uneven
from semeia.records import FaceReading

WIDTH = 22.2
"""Of a card."""
GAP = 0.8
PAD = 1.1
THUMB = 4.2
EXPRESSION_BARS = 3
UNIT_BARS = 10
ROW = 1.45
SMALL = 0.84
"""Size of the lesser type."""
FINE = 3
"""Detail of the drawing."""
MOST = 1.9
"""Cards may make the picture this many times as large; beyond, they would drown it."""


@dataclass(frozen=True)
class Layout:
    """Cards in a grid beside or below a picture; ``heights`` in type sizes, ``size`` of the whole in pixels."""

    full: bool
    below: bool
    columns: int
    heights: tuple[float, ...]
    size: tuple[int, int]


def lay_out(faces: Sequence[FaceReading], *, unit: float, size: tuple[int, int]) -> Layout | None:
    """Find the least room for a card for each face.

    Cards with bars are preferred to cards with lines of text, and then what makes the smallest picture.

    Args:
        faces: What was read.
        unit: Type size in pixels.
        size: Width and height of the picture.

    Returns:
        None where there are too many faces for cards.
    """
    for full in (True, False):
        heights = tuple(_full_height(face) if full else SHORT for face in faces)
        choices = []
        for columns in range(1, len(faces) + 1):
            wide = round((columns * (WIDTH + GAP) + GAP) * unit)
            high = round((sum(_row_heights(heights, columns)) + GAP) * unit)
            beside = (size[0] + wide, max(size[1], high))
            below = (max(size[0], wide), size[1] + high)
            choices += [Layout(full, False, columns, heights, beside), Layout(full, True, columns, heights, below)]
        best = min(choices, key=lambda choice: choice.size[0] * choice.size[1])
        if best.size[0] * best.size[1] <= MOST * size[0] * size[1]:
            return best
    return None


def add_cards(
    picture: Image.Image,
    thumbnails: Sequence[Image.Image],
    faces: Sequence[FaceReading],
    layout: Layout,
    *,
    unit: float,
) -> Image.Image:
    """Draw the cards of all faces into the room that ``layout`` found.

    Args:
        picture: Stays at the left top corner.
        thumbnails: A small picture of each face.
        faces: What was read, in the same order.
        layout: Where cards go.
        unit: Type size in pixels.
    """
    canvas = Image.new("RGB", layout.size, PAPER[:3])
    canvas.paste(picture, (0, 0))
    corner = (0, picture.height) if layout.below else (picture.width, 0)
    room = (layout.size[0] - corner[0], layout.size[1] - corner[1])
    surface = Surface(room, detail=FINE if max(room) < 4000 else 1, ground=PAPER)
    rows = _row_heights(layout.heights, layout.columns)
    for i, (thumbnail, face, height) in enumerate(zip(thumbnails, faces, layout.heights, strict=True)):
        row, column = divmod(i, layout.columns)
        at = (GAP + column * (WIDTH + GAP), GAP + sum(rows[:row]))
        card = _Card(surface, unit=unit, at=at, height=height)
        card.head(i + 1, thumbnail, face)
        if layout.full:
            card.bars(face)
        else:
            card.lines(face)
    canvas.paste(surface.finish().convert("RGB"), corner)
    return canvas


def _row_heights(heights: Sequence[float], columns: int) -> list[float]:
    """Height of each row of cards and the gap below it."""
    return [max(heights[i : i + columns]) + GAP for i in range(0, len(heights), columns)]


def _full_height(face: FaceReading) -> float:
    units = present(face)
    rows = min(len(units), UNIT_BARS + 1) + sum(uneven(unit) != "" for _, unit in units[:UNIT_BARS])
    sections = (EXPRESSION_BARS, *([1] if face.valence is not None else []), max(rows, 1), 1)
    return 2 * PAD + THUMB + sum(1.9 + section * ROW for section in sections)


SHORT = 2 * PAD + THUMB + 0.7 + ROW
"""Height of a card with lines of text."""


class _Card:
    """One card; ``y`` is where the next row's middle goes, in type sizes."""

    def __init__(self, surface: Surface, *, unit: float, at: tuple[float, float], height: float) -> None:
        self.surface, self.unit = surface, unit
        left, self.top = at
        self.left, self.right = left + PAD, left + WIDTH - PAD
        corners = (left * unit, self.top * unit, (left + WIDTH) * unit, (self.top + height) * unit)
        surface.box(corners, radius=0.6 * unit, fill=CARD)
        self.y = self.top + PAD + THUMB

    def text(self, x: float, y: float, text: str, size: float, colour: Colour = TEXT, *, anchor: str = "lm") -> None:
        unit = self.unit
        self.surface.text((x * unit, y * unit), text, size * unit, colour, anchor=anchor)

    def block(self, left: float, right: float, y: float, high: float, colour: Colour) -> None:
        unit = self.unit
        span = (left * unit, (y - high / 2) * unit, right * unit, (y + high / 2) * unit)
        self.surface.box(span, radius=high / 2 * unit, fill=colour)

    def head(self, number: int, picture: Image.Image, face: FaceReading) -> None:
        """Thumbnail, number, expression, apparent age and attributes."""
        unit, top = self.unit, self.top + PAD
        side = round(THUMB * unit)
        thumbnail = picture.resize((side, side), Image.Resampling.LANCZOS)
        self.surface.paste(thumbnail, (self.left * unit, top * unit), radius=0.45 * unit)

        label, x = face.expression_label, self.left + THUMB + 0.8
        chip = max(text_width(str(number), 1) + 0.7, 1.5)
        self.block(x, x + chip, top + 0.75, 1.5, expression_colour(label))
        self.text(x + chip / 2, top + 0.75, str(number), 0.95, INK, anchor="mm")
        probability = _percent(face.expression[label])
        self.text(self.right, top + 0.75, probability, 1.15, DIM, anchor="rm")
        room = self.right - text_width(probability, 1.15) - x - chip - 1.0
        self.text(x + chip + 0.5, top + 0.75, fitted(label, 1.35, room), 1.35)

        self.text(x, top + 2.3, f"apparent age {face.age:.0f}", SMALL, DIM)
        room = self.right - x
        for i, line in enumerate(wrapped(likely_attributes(face), SMALL, room, lines=2)):
            self.text(x, top + 3.3 + 1.05 * i, line, SMALL, DIM)

    def bars(self, face: FaceReading) -> None:
        """Likeliest expressions, present action units on the scale 0-5, and the angles of the head."""
        self.title("expression")
        ranked = sorted(face.expression.items(), key=lambda item: -item[1])
        for name, probability in ranked[:EXPRESSION_BARS]:
            self.row(name, _percent(probability))
            self.meter([probability], expression_colour(name))

        if face.valence is not None and face.arousal is not None:
            self.title("affect, -1 to 1")
            self.y += ROW
            for x, name, value in ((0.0, "valence", face.valence), (9.9, "arousal", face.arousal)):
                self.text(self.left + x, self.y, name, SMALL, DIM)
                self.text(self.left + x + text_width(name, SMALL) + 0.4, self.y, f"{value:+.2f}", 0.95)

        self.title("action units, 0 to 5")
        units = present(face)
        for name, unit in units[:UNIT_BARS]:
            self.row(f"{name}  {UNIT_NAMES.get(name, '')}", f"{unit.intensity:.1f}")
            self.meter([min(max(unit.intensity - level, 0.0), 1.0) for level in range(5)], TEXT)
            if sides := uneven(unit):
                self.y += ROW
                self.text(self.left + 2.6, self.y, sides, SMALL, DIM)
        if len(units) > UNIT_BARS:
            self.row(f"and {len(units) - UNIT_BARS} more", "")
        if not units:
            self.row("none present", "")

        self.title("head, degrees")
        self.y += ROW
        for x, (name, angle) in zip((0.0, 6.6, 13.2), _angles(face), strict=True):
            self.text(self.left + x, self.y, name, SMALL, DIM)
            self.text(self.left + x + text_width(name, SMALL) + 0.4, self.y, f"{angle:+.0f}", 0.95)

    def lines(self, face: FaceReading) -> None:
        """Present action units in one line, without the head's angles, which its axes show."""
        self.y += 0.7 + ROW / 2
        units = "   ".join(f"{name} {unit.intensity:.1f}" for name, unit in present(face))
        self.text(self.left, self.y, fitted(units or "no action unit present", SMALL, self.right - self.left), SMALL)

    def title(self, text: str) -> None:
        self.y += 1.9
        self.text(self.left, self.y, text, SMALL, DIM)

    def row(self, name: str, value: str) -> None:
        self.y += ROW
        self.text(self.left, self.y, fitted(name, SMALL, 9.6), SMALL)
        self.text(self.right, self.y, value, SMALL, DIM, anchor="rm")

    def meter(self, shares: Sequence[float], colour: Colour) -> None:
        """One bar in equal pieces, each filled to its share of 1."""
        left, right, gap = self.left + 10.0, self.right - 2.7, 0.16
        edges = [left + (right + gap - left) * i / len(shares) for i in range(len(shares) + 1)]
        for (start, end), share in zip(pairwise(edges), shares, strict=True):
            self.block(start, end - gap, self.y, 0.5, TRACK)
            if share > 0:
                # A bar shorter than it is high could not be drawn with round ends.
                self.block(start, start + max((end - gap - start) * share, 0.5), self.y, 0.5, colour)


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %"


def _angles(face: FaceReading) -> tuple[tuple[str, float], ...]:
    return ("yaw", face.pose.yaw), ("pitch", face.pose.pitch), ("roll", face.pose.roll)
