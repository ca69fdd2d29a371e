"""COCO JSON of key slices and their lesions, for detectors that read COCO.

Images are named as in the folder of images (``000001_02_03/088.png``, 16-bit PNG, HU + 32768). Beside the keys of COCO
they have those of MVP-Net's annotation files: ``slice_no``, ``spacing`` (mm a pixel along x), ``slice_intv`` (mm),
``z_position`` (0 to 1 in the body), ``windows`` (lowest and highest HU); boxes have ``noisy``. Unknowns are null.

Known   Keys and spelling, from MVP-Net's ``deeplesion_val.json``. Its ``area`` is not that of the box; here it is.

Shapes      n boxes
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from semeia.data.formats.deeplesion import DeepLesion
from semeia.files import write_whole

CATEGORY = {"id": 1, "name": "lesion", "supercategory": "lesion"}
"""The only class."""

_DIGITS = 4


def coco_of(data: DeepLesion) -> dict[str, Any]:
    """Images and boxes as plain data; images are numbered from 1 in the order of ``data.keys``, as are boxes.

    Boxes are x, y, width, height in 0-based pixels, cut where they reach out of the slice.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, key in enumerate(data.keys, start=1):
        width, height = key.series.size
        images.append({
            "id": number, "file_name": f"{key.name}.png", "width": width, "height": height, "slice_no": key.slice,
            "spacing": key.spacing[0], "slice_intv": _known(key.interval), "z_position": _known(key.location),
            "windows": [_known(hu) for hu in key.window],
        })  # fmt: skip
        for finding, (x0, y0, x1, y1) in zip(key.findings, key.boxes.tolist(), strict=True):
            bbox = [round(value, _DIGITS) for value in (x0, y0, x1 - x0, y1 - y0)]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": CATEGORY["id"], "bbox": bbox,
                "area": round(bbox[2] * bbox[3], _DIGITS), "iscrowd": 0, "segmentation": [],
                "noisy": int(finding.noisy),
            })  # fmt: skip
    return {
        "info": {"description": "Key slices of CT scans with lesions, in the format of DeepLesion"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [CATEGORY],
    }


def write(path: str | Path, data: DeepLesion) -> None:
    """Write ``coco_of`` to a JSON file, whole or not at all.

    Raises:
        SemeiaError: The file cannot be written.
    """
    write_whole(Path(path), json.dumps(coco_of(data), allow_nan=False).encode())


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
