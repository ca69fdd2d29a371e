"""COCO JSON: images and boxes as other readers expect them, with the keys of MVP-Net beside them."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from semeia.data.formats.coco import coco_of, write
from semeia.data.formats.deeplesion import Finding, read, write_series, write_table


@pytest.fixture
def data(tmp_path):
    recist = np.array([[22.0, 20], [38, 20], [30, 16], [30, 24]])
    one = Finding(
        patient=1, study=2, series=3, key_slice=5, recist=recist, box=np.array([17.0, 11, 43, 29]), diameters=(16, 8),
        location=(0.5, 0.5, 0.609054), kind=-1, noisy=False, slice_range=(3, 7), spacing=(0.859375, 0.859375, 5.0),
        size=(64, 48), window=(-177.5, 307.5), gender=None, age=math.nan, split="val",
    )  # fmt: skip
    other = replace(one, recist=recist - [19, 0], box=np.array([-2.0, 11, 24, 29]), noisy=True)
    third = replace(one, patient=2, spacing=(0.8, 0.8, math.nan), location=(math.nan,) * 3)
    write_table(tmp_path, [one, third, other])
    for patient in (1, 2):
        write_series(tmp_path, patient, 2, 3, np.zeros((1, 48, 64), np.int16), first=5)
    return read(tmp_path, noisy="keep")


def test_images_and_boxes_are_listed(data):
    found = coco_of(data)
    assert found["images"] == [
        {"id": 1, "file_name": "000001_02_03/005.png", "width": 64, "height": 48, "slice_no": 5, "spacing": 0.859375,
         "slice_intv": 5.0, "z_position": 0.609054, "windows": [-177.5, 307.5]},
        {"id": 2, "file_name": "000002_02_03/005.png", "width": 64, "height": 48, "slice_no": 5, "spacing": 0.8,
         "slice_intv": None, "z_position": None, "windows": [-177.5, 307.5]},
    ]  # fmt: skip
    boxes = [(a["id"], a["image_id"], a["bbox"], a["area"], a["noisy"]) for a in found["annotations"]]
    assert boxes == [
        (1, 1, [17, 11, 26, 18], 468, 0),
        (2, 1, [0, 11, 24, 18], 432, 1),  # cut at the edge
        (3, 2, [17, 11, 26, 18], 468, 0),
    ]
    assert [category["id"] for category in found["categories"]] == [1]
    assert {a["category_id"] for a in found["annotations"]} == {1}


def test_the_file_is_strict_json_of_the_same(data, tmp_path):
    write(tmp_path / "val.json", data)

    def no_constant(name):
        raise AssertionError(name)

    assert json.loads((tmp_path / "val.json").read_text(), parse_constant=no_constant) == coco_of(data)


def test_pycocotools_reads_the_file(data, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    write(tmp_path / "val.json", data)
    found = coco.COCO(str(tmp_path / "val.json"))
    assert sorted(found.getImgIds()) == [1, 2]
    assert len(found.getAnnIds(imgIds=[1])) == 2
