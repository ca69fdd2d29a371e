"""A contact sheet: key slices of a CT world with boxes and axes, and beside each the same slice without the lesion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, UnidentifiedImageError

from semeia.data.formats import deeplesion
from semeia.data.synthetic.slabs.kinds import LUNG
from semeia.data.synthetic.slabs.make import HEALTHY, read_world
from semeia.data.synthetic.slabs.slab import Slab
from semeia.records import SemeiaError

WINDOWS = {"lung": (-1350.0, 150.0), "soft": (-160.0, 240.0), "bone": (-400.0, 1000.0)}
"""HU shown as black and as white."""

_CAPTION = 13
_BOX, _LONG, _SHORT, _HIDDEN = (255, 210, 0), (255, 80, 80), (80, 200, 255), (255, 120, 255)


@dataclass(frozen=True)
class Shown:
    """What a tile shows.

    Attributes:
        hu: (H, W).
        twin: (H, W) without lesions, or None.
        window: a name of ``WINDOWS``.
        words: the caption.
        marks: of each lesion its box (4,), axes (4, 2), and whether the table tells of it.
    """

    hu: np.ndarray
    twin: np.ndarray | None
    window: str
    words: str
    marks: tuple[tuple[np.ndarray, np.ndarray, bool], ...]


def shown_slab(slab: Slab) -> Shown:
    """The key slice of a slab in memory."""
    first, scan = slab.lesions[0], slab.scan
    return Shown(
        slab.hu[slab.key],
        slab.healthy[slab.key],
        _window(first.type, first.kind),
        f"{first.kind} {first.axes.long * scan.spacing:.0f} mm, {scan.phase}, {scan.thickness:g} mm",
        tuple((lesion.box, lesion.axes.ends, lesion.labelled) for lesion in slab.lesions),
    )


def shown_folder(folder: str | Path, count: int) -> Iterator[Shown]:
    """The key slices of the first slabs of a folder.

    Raises:
        SemeiaError: It holds no finished world, or a slice cannot be read.
    """
    world = read_world(folder)
    if not world.get("slabs"):
        raise SemeiaError(
            f"{folder}: expected a finished CT world, found one that is being made; run its command again"
        )
    for record in world["slabs"][:count]:
        name = f"{record['key_slice']:03d}.png"
        lesions = [(one, True) for one in record["lesions"]] + [(one, False) for one in record["unlabelled"]]
        first = lesions[0][0]
        long = first["diameters"][0] * record["spacing_mm"]
        twin = Path(folder) / HEALTHY / record["series"] / name
        yield Shown(
            _read(Path(folder) / deeplesion.IMAGES / record["series"] / name),
            _read(twin) if twin.exists() else None,
            _window(first["type"], first["kind"]),
            f"{first['kind']} {long:.0f} mm, {record['phase']}, {record['thickness_mm']:g} mm",
            tuple((np.array(one["box"]), np.array(one["recist"]), labelled) for one, labelled in lesions),
        )


def slab_sheet(shown: Iterable[Shown], *, columns: int = 6, tile: int = 320, twins: bool = False) -> Image.Image:
    """Draw key slices in rows.

    Args:
        shown: one a tile, of ``shown_slab`` or ``shown_folder``.
        columns: tiles a row.
        tile: pixels a side of a slice.
        twins: whether each is followed by the same slice without lesions, where there is one.
    """
    tiles = []
    for one in shown:
        tiles.append(_tile(one, one.hu, tile=tile, marked=True))
        if twins and one.twin is not None:
            tiles.append(_tile(one, one.twin, tile=tile, marked=False))
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (min(columns, len(tiles)) * tile, rows * (tile + _CAPTION)), "black")
    for k, picture in enumerate(tiles):
        sheet.paste(picture, (k % columns * tile, k // columns * (tile + _CAPTION)))
    return sheet


def _tile(shown: Shown, hu: np.ndarray, *, tile: int, marked: bool) -> Image.Image:
    low, high = WINDOWS[shown.window]
    grey = np.rint(np.clip((hu.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(grey).resize((tile, tile), Image.Resampling.BICUBIC).convert("RGB")
    draw, scale = ImageDraw.Draw(picture), tile / hu.shape[0]
    for box, ends, labelled in shown.marks if marked else ():
        draw.rectangle([float(v) for v in box * scale], outline=_BOX if labelled else _HIDDEN)
        places = [(float(x), float(y)) for x, y in ends * scale]
        draw.line(places[:2], fill=_LONG)
        draw.line(places[2:], fill=_SHORT)
    whole = Image.new("RGB", (tile, tile + _CAPTION), "black")
    whole.paste(picture)
    ImageDraw.Draw(whole).text((2, tile), shown.words if marked else "without", fill="white")
    return whole


def _window(kind: int, name: str) -> str:
    return "lung" if kind == LUNG else "bone" if name == "bone sclerotic" else "soft"


def _read(path: Path) -> np.ndarray:
    """(H, W) HU of a 16-bit PNG."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return np.asarray(picture).astype(np.int32) - 32768
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise SemeiaError(f"{path}: expected a slice of the world, cannot be read ({error}); make it again") from error
