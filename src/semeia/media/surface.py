"""A drawing surface with smooth edges, and the colours and type that all drawings share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, ...]
"""Red, green, blue and, where it is not opaque, alpha; 0-255."""

PAPER: Colour = (19, 21, 27)
CARD: Colour = (29, 32, 41)
TRACK: Colour = (52, 57, 70)
TEXT: Colour = (238, 240, 245)
DIM: Colour = (154, 161, 177)
INK: Colour = (17, 19, 24)
"""Dark type on a bright chip."""

EXPRESSION_COLOURS: dict[str, Colour] = {
    "neutral": (173, 188, 205),
    "happiness": (255, 205, 72),
    "sadness": (104, 168, 255),
    "surprise": (255, 153, 87),
    "fear": (187, 144, 255),
    "disgust": (129, 207, 120),
    "anger": (255, 107, 107),
    "contempt": (201, 160, 128),
}


def expression_colour(name: str) -> Colour:
    """The colour of an expression; classes that a user's own weights add share the neutral one."""
    return EXPRESSION_COLOURS.get(name, EXPRESSION_COLOURS["neutral"])


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # a Pillow with FreeType, as every wheel of it is
    return font


def text_width(text: str, size: float) -> float:
    """Width in pixels of ``text`` set ``size`` pixels high."""
    return _font(100).getlength(text) * size / 100


def fitted(text: str, size: float, width: float) -> str:
    """``text``, cut at its end with dots where it is wider than ``width``."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip(" ,") + "…"


class Surface:
    """Draws in pixels; each shape is drawn ``detail`` times larger and averaged, which makes edges smooth.

    Args:
        size: Width and height in pixels.
        detail: How many times finer than its pixels the surface is.
        ground: What it is filled with; transparent for a layer that goes over a picture.
    """

    def __init__(self, size: tuple[int, int], *, detail: int, ground: Colour = (0, 0, 0, 0)) -> None:
        self.detail = detail
        self._image = Image.new("RGBA", (size[0] * detail, size[1] * detail), ground)
        self._draw = ImageDraw.Draw(self._image)

    def box(
        self,
        corners: tuple[float, float, float, float],
        *,
        radius: float = 0,
        fill: Colour | None = None,
        line: Colour | None = None,
        width: float = 1,
    ) -> None:
        """A rounded rectangle from left, top to right, bottom; its line lies inside."""
        left, top, right, bottom = (round(v * self.detail) for v in corners)
        # Pillow draws the last pixel too.
        span = (left, top, max(right - 1, left), max(bottom - 1, top))
        pen = max(round(width * self.detail), 1)
        self._draw.rounded_rectangle(span, radius=radius * self.detail, fill=fill, outline=line, width=pen)

    def line(self, start: tuple[float, float], end: tuple[float, float], colour: Colour, width: float) -> None:
        """A line with round ends."""
        pen = max(round(width * self.detail), 1)
        self._draw.line([*(v * self.detail for v in (*start, *end))], fill=colour, width=pen)
        for point in (start, end):
            self.dot(point, width / 2, colour)

    def dot(self, centre: tuple[float, float], radius: float, colour: Colour) -> None:
        """A filled circle."""
        x, y, r = (v * self.detail for v in (*centre, radius))
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def text(
        self, at: tuple[float, float], text: str, size: float, colour: Colour = TEXT, *, anchor: str = "lm"
    ) -> None:
        """A line of type; ``anchor`` is Pillow's, by default the middle of its left edge.

        Vertically ``m`` is half the height of a capital, so that lines with and without descenders stand level.
        """
        x, y = (v * self.detail for v in at)
        pixels = max(round(size * self.detail), 1)
        if anchor[1] == "m":
            anchor, y = anchor[0] + "s", y + 0.355 * pixels
        self._draw.text((x, y), text, font=_font(pixels), fill=colour, anchor=anchor)

    def paste(self, picture: Image.Image, at: tuple[float, float], *, radius: float = 0) -> None:
        """A picture with rounded corners, ``at`` its left top corner, one of its pixels for one of the surface."""
        width, height = (side * self.detail for side in picture.size)
        mask = Image.new("L", (width, height), 0)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, width - 1, height - 1), radius=radius * self.detail, fill=255)
        large = picture.resize((width, height), Image.Resampling.BICUBIC)
        self._image.paste(large, (round(at[0] * self.detail), round(at[1] * self.detail)), mask)

    def finish(self) -> Image.Image:
        """The drawing at its size, with alpha."""
        return self._image.reduce(self.detail)


def wrapped(words: Sequence[str], size: float, width: float, *, lines: int) -> list[str]:
    """Words joined by commas and broken into at most ``lines`` lines no wider than ``width``; the rest is cut."""
    rows: list[str] = []
    for i, word in enumerate(words):
        piece = word if i == len(words) - 1 else f"{word},"
        if rows and text_width(f"{rows[-1]} {piece}", size) <= width:
            rows[-1] += f" {piece}"
        else:
            rows.append(piece)
    if len(rows) > lines:
        rows[lines - 1 :] = [" ".join(rows[lines - 1 :])]
    return [fitted(row, size, width) for row in rows]
