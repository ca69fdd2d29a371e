"""Candidate lesions as JSON, CSV and COCO."""

import json
from collections import defaultdict

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from semeia.media.lesion_tables import (
    COLUMNS,
    as_coco,
    as_table,
    check_coco,
    check_lesions,
    tabled_scan,
    write_coco,
    write_lesions,
)
from semeia.media.volumes import open_volume
from semeia.records import Lesion, ScanReading, SemeiaError, SliceBox


@pytest.fixture
def scans(tmp_path):
    """A scan of 10 slices of 30 x 20 voxels, 0.5 x 0.5 x 2 mm, with two lesions, and the same one without any."""
    hu = np.full((30, 20, 10), -1000, np.int16)
    nib.save(nib.Nifti1Image(hu, np.diag([-0.5, -0.5, 2.0, 1.0])), tmp_path / "scan.nii")
    with open_volume(tmp_path / "scan.nii") as scan:
        lesions = (
            Lesion(0.9, (3, 4), scan.to_world(3, 4, (4, 5, 12, 10)), 4.0, 2.5),
            Lesion(0.4, (4, 4), scan.to_world(4, 4, (20, 5, 24, 8)), 2.0, 1.5),
        )
        slices = {
            4: (SliceBox((4.0, 5.0, 12.0, 10.0), 0.8), SliceBox((20.0, 5.0, 24.0, 8.0), 0.4)),
            3: (SliceBox((5.0, 6.0, 11.0, 9.0), 0.9),),
            7: (SliceBox((1.0, 1.0, 4.0, 3.0), 0.1),),
        }
        one = ScanReading("satr", "scan.nii", slices, lesions, ("A note.",))
        return [tabled_scan(reading, scan) for reading in (one, ScanReading("satr", "empty.nii", {}, ()))]


def test_json_is_the_documented_layout(scans, tmp_path):
    write_lesions(scans[:1], tmp_path / "a.json")
    told = json.loads((tmp_path / "a.json").read_text())
    assert told == scans[0].reading.as_dict()
    assert list(told) == ["version", "weights", "scan", "notes", "slices", "lesions"]
    assert [entry["index"] for entry in told["slices"]] == [3, 4, 7]
    assert told["slices"][0]["boxes"] == [{"box": [5, 6, 11, 9], "score": 0.9}]
    assert list(told["lesions"][0]) == ["score", "slices", "box_world_mm", "long_mm", "short_mm"]


def test_json_lines_hold_a_scan_a_line(scans, tmp_path):
    write_lesions(scans, tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["scan"] for line in lines] == ["scan.nii", "empty.nii"]


def test_the_table_has_a_row_for_each_lesion(scans, tmp_path):
    write_lesions(scans, tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv")
    assert table.columns.tolist() == list(COLUMNS)
    first, second = table.to_dict("records")
    assert (first["scan"], first["lesion"], first["score"]) == ("scan.nii", 1, 0.9)
    assert (first["first_slice"], first["last_slice"], first["key_slice"]) == (3, 4, 4)
    assert [first[name] for name in ("x0", "y0", "x1", "y1")] == [4, 5, 12, 10]
    # Pixel centres lie at whole numbers of the affine: the edge of the first pixel is at -0.25 mm, slice 3 at 6 mm.
    assert [first[f"world_{name}"] for name in ("x0", "y0", "z0")] == [1.75, 2.25, 5]
    assert [first[f"world_{name}"] for name in ("x1", "y1", "z1")] == [5.75, 4.75, 9]
    assert (first["long_mm"], first["short_mm"]) == (4, 2.5)
    assert (second["lesion"], second["key_slice"]) == (2, 4)


def test_whole_numbers_stay_whole_in_the_table(scans, tmp_path):
    write_lesions(scans, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text().splitlines()[1].startswith("scan.nii,1,0.9000,3,4,4,4.0000,")


def test_scans_without_a_lesion_keep_the_header(scans, tmp_path):
    write_lesions(scans[1:], tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == ",".join(COLUMNS) + "\n"


def test_a_lesion_without_boxes_keeps_its_row(scans):
    bare = ScanReading("w", "s", {}, scans[0].reading.lesions)
    table = as_table([type(scans[0])(bare, (), (30, 20), {})])
    assert table["lesion"].tolist() == [1, 2]
    assert table["key_slice"].isna().all()
    assert table["x0"].isna().all()


def test_coco_can_be_read_as_readers_of_it_do(scans, tmp_path):
    write_coco(scans, tmp_path / "coco.json")
    told = json.loads((tmp_path / "coco.json").read_text())
    # What pycocotools' COCO.createIndex does.
    images = {image["id"]: image for image in told["images"]}
    categories = {category["id"]: category for category in told["categories"]}
    by_image = defaultdict(list)
    for annotation in told["annotations"]:
        assert annotation["image_id"] in images
        assert annotation["category_id"] in categories
        by_image[annotation["image_id"]].append(annotation)
    assert len(images) == 3
    assert len({annotation["id"] for annotation in told["annotations"]}) == 4
    assert images[2] == {
        "id": 2,
        "file_name": "scan.nii#0004",
        "width": 30,
        "height": 20,
        "scan": "scan.nii",
        "slice": 4,
    }
    assert by_image[2][0] == {
        "id": 2, "image_id": 2, "category_id": 1, "bbox": [4, 5, 8, 5], "area": 40, "iscrowd": 0, "score": 0.8,
        "lesion": 1,
    }  # fmt: skip
    assert by_image[3][0]["lesion"] is None
    assert "not a medical device" in told["info"]["description"].lower()


def test_coco_ids_count_over_all_scans(scans):
    told = as_coco([scans[0], scans[0]])
    assert [image["id"] for image in told["images"]] == [1, 2, 3, 4, 5, 6]
    assert [annotation["image_id"] for annotation in told["annotations"]] == [1, 2, 2, 3, 4, 5, 5, 6]


def test_width_and_height_are_those_of_the_stored_slices(tmp_path):
    # Stored axes: the first runs to the back, the second to the left, so rows and columns are swapped.
    affine = np.array([[0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    nib.save(nib.Nifti1Image(np.zeros((20, 30, 4), np.int16), affine), tmp_path / "s.nii")
    with open_volume(tmp_path / "s.nii") as scan:
        assert scan.shape == (4, 20, 30)
        told = tabled_scan(ScanReading("w", "s", {1: (SliceBox((1, 2, 3, 5), 0.5),)}, ()), scan)
    assert told.size == (20, 30)
    assert told.boxes[0].box == (2, 1, 5, 3)


def test_a_name_that_is_no_text_is_spelled_out(scans, tmp_path):
    strange = b"\xfcber.nii".decode("utf-8", "surrogateescape")
    reading = ScanReading("w", strange, scans[0].reading.slices, scans[0].reading.lesions)
    odd = type(scans[0])(reading, scans[0].boxes, (30, 20), {})
    write_coco([odd], tmp_path / "a.json")
    for suffix in (".json", ".jsonl", ".csv"):
        write_lesions([odd], tmp_path / f"b{suffix}")
    assert pd.read_csv(tmp_path / "b.csv")["scan"].tolist() == [r"\udcfcber.nii"] * 2


def test_other_suffixes_and_several_scans_in_json_are_refused_before_and_after(scans, tmp_path):
    for refuse in (check_lesions, lambda path: write_lesions(scans[:1], path)):
        with pytest.raises(SemeiaError, match=r"\.json, \.jsonl, \.csv, found '\.xlsx'"):
            refuse(tmp_path / "a.xlsx")
    for refuse in (lambda path: check_lesions(path, scans=2), lambda path: write_lesions(scans, path)):
        with pytest.raises(SemeiaError, match="holds one scan, found 2"):
            refuse(tmp_path / "a.json")
    for refuse in (check_coco, lambda path: write_coco(scans, path)):
        with pytest.raises(SemeiaError, match=r"ends in \.json, found 'no suffix'"):
            refuse(tmp_path / "coco")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii"]


def test_a_folder_that_does_not_exist_is_refused_before_and_after(scans, tmp_path):
    for check in (check_lesions, check_coco):
        with pytest.raises(SemeiaError, match="does not exist"):
            check(tmp_path / "nowhere" / "a.json")
    for write in (write_lesions, write_coco):
        with pytest.raises(SemeiaError, match="cannot be written"):
            write(scans[:1], tmp_path / "nowhere" / "a.json")
