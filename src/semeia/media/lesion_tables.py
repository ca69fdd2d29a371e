"""Candidate lesions as files: the documented JSON, a table with a row for each lesion, and COCO.

``docs/lesions.md`` describes all three. Slices and pixels are the file's own; slices count from 0, lesions from 1.

Shapes      none: numbers and names alone
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semeia.files import check_writable, whole_file
from semeia.media.lesion_boxes import NOTICE, PlacedBox, key_boxes, placed_boxes
from semeia.media.volumes import Volume
from semeia.records import LESIONS_VERSION, ScanReading, SemeiaError

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "scan", "lesion", "score", "first_slice", "last_slice", "key_slice", "x0", "y0", "x1", "y1",
    "world_x0", "world_y0", "world_z0", "world_x1", "world_y1", "world_z1", "long_mm", "short_mm",
)  # fmt: skip
TEXT = ("scan",)
COUNTS = ("lesion", "first_slice", "last_slice", "key_slice")


@dataclass(frozen=True)
class TabledScan:
    """A reading with what tables tell of its scan besides; small, so that the voxels may be closed.

    Attributes:
        reading: Of the scan.
        boxes: Its boxes, see ``lesion_boxes``.
        size: Columns and rows of the file's own slices.
        names: SOP instance UIDs of slices by the file's own numbers; without them slices are named by scan and number.
    """

    reading: ScanReading
    boxes: tuple[PlacedBox, ...]
    size: tuple[int, int]
    names: dict[int, str]


def tabled_scan(reading: ScanReading, scan: Volume) -> TabledScan:
    """What tables need of a reading and its scan."""
    slices, rows, columns = scan.shape
    _, _, wide, high = scan.own_box(0, (0.0, 0.0, float(columns), float(rows)))
    names = {} if scan.uids is None else {scan.own_slice(z): scan.uids.instances[z] for z in range(slices)}
    if len(set(names.values())) < slices:  # one file with many frames has one name
        names = {}
    return TabledScan(reading, tuple(placed_boxes(reading, scan)), (round(wide), round(high)), names)


def write_lesions(scans: Sequence[TabledScan], path: str | Path) -> None:
    """Write scans as JSON, JSON Lines, or CSV, by the suffix of ``path``; the file appears whole or not at all.

    Raises:
        SemeiaError: Another suffix, several scans for a suffix that holds one, or the file cannot be written.
    """
    write = WRITERS[_suffix(path, len(scans))]
    with whole_file(path) as part:
        write(scans, part)


def write_coco(scans: Sequence[TabledScan], path: str | Path) -> None:
    """Write scans as one COCO file, whole or not at all.

    Raises:
        SemeiaError: Another suffix than ``.json``, or the file cannot be written.
    """
    _coco_suffix(path)
    with whole_file(path) as part:
        part.write_text(json.dumps(as_coco(scans), indent=1) + "\n", encoding="utf-8")


def check_lesions(path: str | Path, *, scans: int = 1) -> None:
    """Make sure, before long work begins, that ``write_lesions`` will be able to write so many scans to ``path``.

    Raises:
        SemeiaError: As ``write_lesions``.
    """
    _suffix(path, scans)
    check_writable(path)


def check_coco(path: str | Path) -> None:
    """Make sure, before long work begins, that ``write_coco`` will be able to write to ``path``.

    Raises:
        SemeiaError: As ``write_coco``.
    """
    _coco_suffix(path)
    check_writable(path)


def as_json(reading: ScanReading) -> str:
    """The documented JSON of one scan, indented, as ASCII: file names survive whatever reads it."""
    return json.dumps(reading.as_dict(), indent=2)


def as_table(scans: Sequence[TabledScan]) -> pd.DataFrame:
    """One row for each lesion, best first within a scan; columns as in ``docs/lesions.md``."""
    import pandas as pd

    table = pd.DataFrame([row for scan in scans for row in _rows(scan)], columns=list(COLUMNS))
    return table.astype({name: _dtype(name) for name in COLUMNS})


def as_coco(scans: Sequence[TabledScan]) -> dict[str, Any]:
    """Slices with boxes as images, boxes as annotations with ``score``; ids count from 1 over all scans."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for scan in scans:
        name = _printable(scan.reading.scan)
        for own in sorted({box.own_slice for box in scan.boxes}):
            images.append(
                {
                    "id": len(images) + 1,
                    "file_name": scan.names.get(own, f"{name}#{own:04d}"),
                    "width": scan.size[0],
                    "height": scan.size[1],
                    "scan": name,
                    "slice": own,
                }
            )
            for box in (box for box in scan.boxes if box.own_slice == own):
                annotations.append(_annotation(box, image=len(images), number=len(annotations) + 1))
    weights = sorted({scan.reading.weights for scan in scans})
    return {
        "info": {"description": NOTICE, "version": str(LESIONS_VERSION), "contributor": ", ".join(weights)},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "candidate lesion", "supercategory": "lesion"}],
    }


def _annotation(box: PlacedBox, *, image: int, number: int) -> dict[str, Any]:
    x0, y0, x1, y1 = box.own_box
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "bbox": [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)],
        "area": round((x1 - x0) * (y1 - y0), 2),
        "iscrowd": 0,
        "score": round(box.score, 4),
        "lesion": box.lesion,
    }


def _rows(scan: TabledScan) -> list[dict[str, Any]]:
    keys = key_boxes(scan.boxes)
    rows = []
    for number, lesion in enumerate(scan.reading.lesions, start=1):
        row: dict[str, Any] = {"scan": _printable(scan.reading.scan), "lesion": number, "score": lesion.score}
        row |= {"first_slice": lesion.slices[0], "last_slice": lesion.slices[1]}
        if number in keys:
            key = keys[number]
            row |= {"key_slice": key.own_slice} | dict(zip(("x0", "y0", "x1", "y1"), key.own_box, strict=True))
        row |= dict(zip(COLUMNS[10:16], lesion.box_world_mm, strict=True))
        rows.append(row | {"long_mm": lesion.long_mm, "short_mm": lesion.short_mm})
    return rows


def _dtype(column: str) -> str:
    if column in TEXT:
        return "string"
    return "Int64" if column in COUNTS else "float64"


def _printable(text: str) -> str:
    """Text with bytes that are no UTF-8, as file names may carry them, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _write_json(scans: Sequence[TabledScan], path: Path) -> None:
    path.write_text(as_json(scans[0].reading) + "\n", encoding="utf-8")


def _write_lines(scans: Sequence[TabledScan], path: Path) -> None:
    path.write_text("".join(json.dumps(scan.reading.as_dict()) + "\n" for scan in scans), encoding="utf-8")


def _write_csv(scans: Sequence[TabledScan], path: Path) -> None:
    as_table(scans).to_csv(path, index=False, float_format="%.4f")


WRITERS: dict[str, Callable[[Sequence[TabledScan], Path], None]] = {
    ".json": _write_json,
    ".jsonl": _write_lines,
    ".csv": _write_csv,
}


def _suffix(path: str | Path, scans: int) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise SemeiaError(f"{path}: expected a name that ends in {', '.join(WRITERS)}, found {suffix or 'no suffix'!r}")
    if suffix == ".json" and scans != 1:
        raise SemeiaError(f"{path}: a .json file holds one scan, found {scans}; name a .jsonl or .csv file")
    return suffix


def _coco_suffix(path: str | Path) -> None:
    suffix = Path(path).suffix.lower()
    if suffix != ".json":
        raise SemeiaError(f"{path}: expected a COCO file that ends in .json, found {suffix or 'no suffix'!r}")
