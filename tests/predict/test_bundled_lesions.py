"""The bundled detector of lesions on a real chest CT with one tumour, which nothing was trained on."""

import json

import numpy as np
import pytest

from semeia import parts
from semeia.cli.main import main
from semeia.media.volumes import open_volume
from semeia.ops.boxes import iou
from semeia.predict.lesions import LesionFinder
from semeia.records import SemeiaError


@pytest.fixture(scope="module")
def scan():
    try:
        return parts.fetch("chest-ct", progress=False)
    except SemeiaError as error:
        pytest.skip(f"chest-ct cannot be fetched: {error}")


@pytest.fixture(scope="module")
def tumour():
    """Its box on each slice that it is on."""
    try:
        path = parts.fetch("chest-ct-tumour", progress=False)
    except SemeiaError as error:
        pytest.skip(f"chest-ct-tumour cannot be fetched: {error}")
    with open_volume(path) as labels:
        mask = labels.slab(0, labels.shape[0] - 1) > 0
        boxes = {}
        for z in np.flatnonzero(mask.any((1, 2))):
            rows, columns = np.flatnonzero(mask[z].any(1)), np.flatnonzero(mask[z].any(0))
            box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            boxes[labels.own_slice(int(z))] = labels.own_box(int(z), tuple(map(float, box)))
    return boxes


def test_the_tumour_is_among_half_a_box_a_slice(scan, tumour):
    with open_volume(scan) as volume:
        reading = LesionFinder.load().find(volume, threshold=0.0)
        allowed = volume.shape[0] // 2
    boxes = [(box.score, index, box.box) for index, each in reading.slices.items() for box in each]
    best = sorted(boxes, reverse=True)[:allowed]
    overlaps = [
        float(iou(np.array([box]), np.array([tumour[index]]))[0, 0]) for _, index, box in best if index in tumour
    ]
    assert max(overlaps, default=0) >= 0.3


def test_at_the_usual_threshold_the_tumour_is_a_lesion_with_a_size_and_a_picture(scan, tumour, tmp_path):
    out, preview = tmp_path / "lesions.json", tmp_path / "best.png"
    assert main(["lesions", str(scan), "--out", str(out), "--preview", str(preview), "--quiet"]) == 0
    told = json.loads(out.read_text())
    assert told["weights"] == "uld"
    over = [
        lesion for lesion in told["lesions"]
        if any(lesion["slices"][0] <= index <= lesion["slices"][1] for index in tumour)
    ]  # fmt: skip
    assert over
    assert all(lesion["long_mm"] >= lesion["short_mm"] > 0 for lesion in told["lesions"])
    assert preview.stat().st_size > 10_000
