"""Valence and arousal as a picture: Russell's circumplex, with a point a face or a path a face of a clip.

Shapes      T pieces of a clip's time
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi, sin
from pathlib import Path

import numpy as np

from semeia.media.clip_plots import MOST_FACES, over_time
from semeia.media.clip_tables import TableSummary
from semeia.media.images import write_image
from semeia.media.surface import (
    DIM,
    INK,
    PAPER,
    TRACK,
    Colour,
    Surface,
    expression_colour,
    fitted,
)
from semeia.records import FileReading, SemeiaError

SIDE = 760
"""Of the picture, in pixels."""
RADIUS = 290
HEAD = 70
"""Height of the title above the plane."""
NAMED = 24
"""Up to so many faces carry a name."""
NAME = 150
"""Widest name, in pixels."""
PATHS: tuple[Colour, ...] = ((120, 190, 235), (255, 179, 71), (178, 132, 255), (129, 207, 120))
"""Colours of the faces of a clip."""
CORNERS = (("excited", 1, 1), ("tense", -1, 1), ("dull", -1, -1), ("calm", 1, -1))
"""Words of the quadrants, by the signs of valence and arousal."""


@dataclass(frozen=True)
class Point:
    """A face in the plane: valence and arousal in [-1, 1], a name or none, and a colour."""

    valence: float
    arousal: float
    colour: Colour
    name: str = ""


def check_circumplex(path: str | Path) -> None:
    """Make sure that a circumplex can be named ``path``.

    Raises:
        SemeiaError: It has another ending than .png.
    """
    if Path(path).suffix.lower() != ".png":
        raise SemeiaError(f"{path}: expected a name for the circumplex that ends in .png")


def points(files: Sequence[FileReading]) -> list[Point]:
    """The faces of photos whose affect was read, in the colours of their expressions; named where they are few."""
    read = [(file, i, face) for file in files for i, face in enumerate(file.faces, start=1) if face.valence is not None]
    found = []
    for file, number, face in read:
        assert face.valence is not None
        assert face.arousal is not None
        stem = Path(file.file).stem
        name = str(number) if len(files) == 1 else stem if len(file.faces) == 1 else f"{stem} {number}"
        colour = expression_colour(face.expression_label)
        found.append(Point(face.valence, face.arousal, colour, name if len(read) <= NAMED else ""))
    return found


def plot_faces(faces: Sequence[Point], out: str | Path) -> None:
    """Draw a point for each face.

    Args:
        faces: As ``points`` makes them.
        out: The .png to write.

    Raises:
        SemeiaError: Another ending, or the picture cannot be written.
    """
    check_circumplex(out)
    surface = _plane(f"{len(faces)} face{'s' * (len(faces) != 1)}")
    for face in faces:
        at = _place(face.valence, face.arousal)
        surface.dot(at, 9, INK)
        surface.dot(at, 7, face.colour)
        if face.name:
            surface.text((at[0] + 13, at[1]), fitted(face.name, 14, NAME), 14)
    write_image(out, np.asarray(surface.finish().convert("RGB")))


def plot_paths(table: str | Path, out: str | Path, *, summary: TableSummary, title: str) -> None:
    """Draw the way of each of the faces that stay longest in a clip, brighter with time; a ring marks its end.

    Args:
        table: A finished table of a clip.
        out: The .png to write.
        summary: Of the table.
        title: Stands above.

    Raises:
        SemeiaError: The table cannot be read, has no valence and arousal, or the picture cannot be written.
    """
    check_circumplex(out)
    longest = sorted(summary.tracks, key=lambda track: (-track.frames, track.number))[:MOST_FACES]
    means = over_time(table, summary, [track.number for track in longest])
    surface = _plane(title)
    for place, (track, colour) in enumerate(zip(longest, PATHS, strict=False)):
        if "valence" not in means[track.number]:
            raise SemeiaError(f"{table}: expected columns valence and arousal, found none; read the clip with --affect")
        _path(surface, means[track.number]["valence"], means[track.number]["arousal"], colour)
        surface.dot((28, HEAD + 6 + 22 * place), 6, colour)
        surface.text((42, HEAD + 6 + 22 * place), f"face {track.number}", 14, DIM)
    write_image(out, np.asarray(surface.finish().convert("RGB")))


def _path(surface: Surface, valence: np.ndarray, arousal: np.ndarray, colour: Colour) -> None:
    """A line through (T,) valences and arousals, broken where there is no face."""
    count = len(valence)
    last = None
    for i in range(1, count):
        ends = (valence[i - 1], arousal[i - 1], valence[i], arousal[i])
        if not np.isfinite(ends).all():
            continue
        share = 0.25 + 0.75 * i / count
        shade = tuple(round(p + share * (c - p)) for p, c in zip(PAPER[:3], colour[:3], strict=True))
        last = _place(valence[i], arousal[i])
        surface.line(_place(valence[i - 1], arousal[i - 1]), last, shade, 2.2)
    if last is not None:
        surface.dot(last, 8, colour)
        surface.dot(last, 4, PAPER)


def _place(valence: float, arousal: float) -> tuple[float, float]:
    """Where a pair stands in the picture."""
    return SIDE / 2 + RADIUS * float(valence), HEAD + SIDE / 2 - RADIUS * float(arousal)


def _plane(title: str) -> Surface:
    """The empty plane: circle, axes and words."""
    surface = Surface((SIDE, SIDE + HEAD), detail=2, ground=PAPER)
    surface.text((24, 34), fitted(title, 22, SIDE - 48), 22)
    corners = [_place(cos(2 * pi * i / 180), sin(2 * pi * i / 180)) for i in range(181)]
    for one, two in pairwise(corners):
        surface.line(one, two, TRACK, 1.5)
    for start, end in (((-1, 0), (1, 0)), ((0, -1), (0, 1))):
        surface.line(_place(*start), _place(*end), TRACK, 1.5)
    for words, valence, arousal in CORNERS:
        surface.text(_place(0.86 * valence, 0.92 * arousal), words, 15, DIM, anchor="mm")
    for words, at, anchor in (
        ("pleasant +1", (SIDE / 2 + RADIUS - 4, HEAD + SIDE / 2 - 14), "rm"),
        ("-1 unpleasant", (SIDE / 2 - RADIUS + 4, HEAD + SIDE / 2 - 14), "lm"),
        ("arousal +1", (SIDE / 2 + 10, HEAD + SIDE / 2 - RADIUS - 14), "lm"),
        ("-1", (SIDE / 2 + 10, HEAD + SIDE / 2 + RADIUS + 14), "lm"),
        ("how a face looks, not what a person feels", (SIDE - 24, HEAD + SIDE - 20), "rm"),
    ):
        surface.text(at, words, 14, DIM, anchor=anchor)
    return surface
