"""Drawn pictures as PNG files that say how they were made.

Each file carries two text entries: ``semeia``, JSON with every prompt and seed and the settings, and ``parameters``,
lines in the manner of other tools. A grid has a row for each prompt and a column for each seed.

Shapes      H, W picture
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from semeia.files import check_writable, whole_file
from semeia.media.surface import DIM, PAPER, TEXT, Surface, fitted
from semeia.records import SemeiaError

_GAP, _LINE, _LARGEST = 10, 30, 512


def check_drawing(path: str | Path) -> None:
    """Refuse, before anything is drawn, a name that could not be written.

    Raises:
        SemeiaError: The ending is not .png, or the file cannot be written.
    """
    if Path(path).suffix.lower() != ".png":
        raise SemeiaError(f"{path}: expected a name that ends in .png, which keeps prompts and seeds")
    check_writable(path)


def write_drawing(path: str | Path, image: np.ndarray, *, prompt: str, seed: int, settings: Mapping[str, Any]) -> None:
    """Write one picture (H, W, 3) uint8 with its prompt, its seed and the settings.

    Raises:
        SemeiaError: The file cannot be written.
    """
    _write(path, image, [(prompt, seed)], settings)


def write_grid(
    path: str | Path,
    rows: Sequence[Sequence[np.ndarray]],
    *,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: Mapping[str, Any],
) -> None:
    """Write a grid.

    Args:
        path: A .png.
        rows: Pictures (H, W, 3) uint8 of one size, one row for each prompt, one in each row for each seed.
        prompts: Written over the rows, and in the file.
        seeds: Likewise.
        settings: Plain values.

    Raises:
        SemeiaError: The file cannot be written.
    """
    pairs = [(prompt, seed) for prompt in prompts for seed in seeds]
    _write(path, grid(rows, prompts=prompts, seeds=seeds), pairs, settings)


def grid(rows: Sequence[Sequence[np.ndarray]], *, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """Draw the grid of ``write_grid``: (H, W, 3) uint8."""
    height, width = rows[0][0].shape[:2]
    shrink = min(1.0, _LARGEST / max(height, width))
    grow = max(1.0, 128 / max(height, width))
    tile = (round(width * shrink * grow), round(height * shrink * grow))
    step = (tile[0] + _GAP, tile[1] + _GAP + _LINE)
    surface = Surface((_GAP + step[0] * len(seeds), _GAP + step[1] * len(rows) + _LINE), detail=1, ground=PAPER)
    for column, seed in enumerate(seeds):
        surface.text((_GAP + step[0] * column + 2, _LINE / 2), f"seed {seed}", 12, DIM)
    for row, (prompt, pictures) in enumerate(zip(prompts, rows, strict=True)):
        top = _LINE + step[1] * row
        surface.text((_GAP + 2, top + _LINE / 2), fitted(prompt, 13, step[0] * len(seeds) - _GAP), 13, TEXT)
        for column, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize(tile, Image.Resampling.BICUBIC)
            surface.paste(small, (_GAP + step[0] * column, top + _LINE))
    return np.asarray(surface.finish().convert("RGB"))


def read_settings(path: str | Path) -> dict[str, Any]:
    """What a drawn file says of itself: ``pictures`` with their prompts and seeds, and the settings.

    Raises:
        SemeiaError: The file is no PNG, or says nothing.
    """
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            told = picture.text.get("semeia")  # type: ignore[attr-defined]
        return dict(json.loads(told or "null") or {})
    except (OSError, ValueError, TypeError, SyntaxError) as error:
        raise SemeiaError(f"{path}: expected a PNG with its prompts and seeds, it cannot be read ({error})") from error


def _write(path: str | Path, image: np.ndarray, pairs: list[tuple[str, int]], settings: Mapping[str, Any]) -> None:
    info = PngInfo()
    pictures = [{"prompt": prompt, "seed": seed} for prompt, seed in pairs]
    info.add_itxt("semeia", json.dumps({"pictures": pictures, **settings}, ensure_ascii=False))
    shown = ", ".join(f"{name}: {value}" for name, value in settings.items() if not isinstance(value, list | dict))
    info.add_itxt("parameters", "\n".join(f"{prompt}\nSeed: {seed}, {shown}" for prompt, seed in pairs))
    with whole_file(path) as part:
        Image.fromarray(image).save(part, pnginfo=info)
