"""Candidate lesions in a scan."""

from dataclasses import replace
from importlib import import_module

import nibabel as nib
import numpy as np
import pytest
import torch

from semeia import checkpoint
from semeia.data.slices import planned_slices
from semeia.media.volumes import open_volume
from semeia.predict.lesions import LesionFinder, lesions, planned, trimmed
from semeia.records import SemeiaError
from semeia.systems import uld

PLAIN = replace(uld.TINY, padding=0.0)


def test_slices_of_5_mm_are_all_keys_and_neighbours_are_mixed():
    plan = planned(4, 5.0, slices=3, step=2.0)
    assert plan.keys.tolist() == [0, 1, 2, 3]
    around = plan.positions[plan.around]
    assert around == pytest.approx(np.array([[0, 0, 0.4], [0.6, 1, 1.4], [1.6, 2, 2.4], [2.6, 3, 3]]))


def test_slices_of_1_mm_are_read_in_steps_of_the_detector():
    plan = planned(7, 1.0, slices=3, step=2.0)
    assert plan.keys.tolist() == [0, 2, 4, 6]
    assert plan.positions[plan.around].tolist() == [[0, 0, 2], [0, 2, 4], [2, 4, 6], [4, 6, 6]]
    assert len(plan.positions) == 4  # each passes the trunk once


def test_a_slice_of_its_own_or_of_no_known_interval_is_repeated():
    assert planned(1, 5.0, slices=3, step=2.0).around.tolist() == [[0, 0, 0]]
    assert planned(2, float("nan"), slices=3, step=2.0).around.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_neighbours_of_wanted_slices_come_from_the_whole_scan():
    plan = planned(9, 2.0, slices=3, step=2.0, wanted=range(4, 6))
    assert plan.keys.tolist() == [4, 5]
    assert plan.positions[plan.around].tolist() == [[3, 4, 5], [4, 5, 6]]


@pytest.mark.parametrize("interval", [2.0, 2.5, 3.0, 5.0])
def test_a_scan_is_sliced_as_in_training_where_every_slice_is_a_key(interval):
    plan = planned(6, interval, slices=7, step=2.0)
    training = planned_slices(range(6), range(6), interval, slices=7, step_mm=2.0)
    mixed = (1 - training.weight) * training.near + training.weight * training.far
    assert plan.positions[plan.around] == pytest.approx(mixed, abs=1e-3)


def test_padding_goes_and_a_pixel_stays():
    boxes = np.array([[10.0, 20, 30, 40], [5, 5, 8, 30]])
    assert trimmed(boxes, np.array([2.0, 3.0])).tolist() == [[12, 23, 28, 37], [6, 8, 7, 27]]


@pytest.fixture
def scan(tmp_path):
    """A NIfTI of 7 slices of 64 x 64, 1.5 x 1.5 x 2 mm: noise, in a patient who lies as scanners have them."""
    hu = np.random.default_rng(0).normal(0, 300, (64, 64, 7)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, np.diag([-1.5, -1.5, 2.0, 1.0])), tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


def finder(config=PLAIN):
    torch.manual_seed(0)
    return LesionFinder(uld.build(config), weights="tiny", device=torch.device("cpu"))


def test_a_scan_is_read_as_its_slices_are_in_training(scan):
    found = finder()
    with open_volume(scan) as volume:
        reading = found.find(volume, threshold=0.0)
        hu = volume.slab(0, 6)
    low, high = PLAIN.window
    image = torch.from_numpy(np.clip((hu - low) / (high - low), 0, 1).astype(np.float32))
    around = np.arange(7)[:, None] + [-1, 0, 1]
    expected = found.model.predict(image[torch.from_numpy(around.clip(0, 6))])
    # Grouping drops what doubles another box of its slice; what stays is among the detector's answers.
    assert set(reading.slices) <= set(range(7))
    assert reading.slices
    for index, boxes in reading.slices.items():
        scores = expected[index][1].numpy()
        for box in boxes:
            k = np.abs(scores - box.score).argmin()
            assert box.score == pytest.approx(scores[k], abs=1e-5)
            assert box.box == pytest.approx(expected[index][0][k].tolist(), abs=1e-2)
    assert reading.weights == "tiny"
    assert reading.scan == "scan.nii"


def test_boxes_of_every_slice_belong_to_a_lesion_within_its_slices(scan):
    with open_volume(scan) as volume:
        reading = finder().find(volume, threshold=0.0)
    assert sum(len(boxes) for boxes in reading.slices.values()) >= len(reading.lesions) > 0
    for lesion in reading.lesions:
        assert lesion.slices[0] <= lesion.slices[1]
        assert lesion.long_mm >= lesion.short_mm > 0
    assert max(lesion.score for lesion in reading.lesions) == reading.lesions[0].score


def test_wanted_slices_alone_are_searched_and_progress_is_told(scan):
    told = []
    with open_volume(scan) as volume:
        reading = finder().find(volume, threshold=0.0, wanted=range(2, 4), on_slice=lambda *at: told.append(at))
        with pytest.raises(SemeiaError, match="expected slices within 0 to 6, found 5 to 7"):
            finder().find(volume, wanted=range(5, 8))
    assert set(reading.slices) <= {2, 3}
    assert told == [(1, 2), (2, 2)]


def test_a_box_of_which_padding_leaves_nothing_is_no_lesion(scan, monkeypatch):
    boxes = np.array([[10.0, 10, 30, 30], [50, 10, 59, 40]], np.float32)  # the second lies at a border
    found = finder(replace(PLAIN, padding=5.0))
    monkeypatch.setattr(found, "_search", lambda *_: iter([(boxes, np.array([0.9, 0.99]))]))
    with open_volume(scan) as volume:
        reading = found.find(volume, threshold=0.5, wanted=range(3, 4))
    assert [box.score for box in reading.slices[3]] == pytest.approx([0.9])


def test_a_high_threshold_finds_nothing_and_says_so(scan):
    with open_volume(scan) as volume:
        reading = finder().find(volume, threshold=1.0)
    assert (reading.slices, reading.lesions) == ({}, ())
    assert reading.as_dict()["lesions"] == []


def test_pixels_are_brought_to_the_size_of_the_training(scan):
    with open_volume(scan) as volume:
        reading = finder(replace(PLAIN, spacing=3.0)).find(volume, threshold=0.0)
    boxes = [box.box for found in reading.slices.values() for box in found]
    assert boxes
    assert all(0 <= x0 <= x1 <= 64 and 0 <= y0 <= y1 <= 64 for x0, y0, x1, y1 in boxes)


def test_scores_of_so_many_false_boxes_come_with_the_weights():
    found = finder()
    found.model.score_at.copy_(torch.tensor([0.9, 0.8, 0.6, 0.4, 0.2, 0.1]))
    assert found.threshold() == pytest.approx(0.9)
    assert found.threshold(3.0) == pytest.approx(0.5)
    assert found.threshold(100) == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["satr", "bounding_map", "mo_scl", "three_addons"])
def test_weights_with_an_addon_search_too(scan, tmp_path, name):
    recipe = import_module(f"semeia.recipes.{name}")
    config = recipe.smoke().model
    torch.manual_seed(0)
    model = recipe.SYSTEM.build(config)
    checkpoint.save(tmp_path / "mine", system=name, config=config, state=model.state_dict(), card="# mine")
    assert lesions(scan, weights=tmp_path / "mine", threshold=0.5).weights == "mine"


def test_a_scan_by_name_and_weights_by_folder(scan, tmp_path):
    torch.manual_seed(0)
    model = uld.build(PLAIN)
    checkpoint.save(tmp_path / "mine", system="uld", config=PLAIN, state=model.state_dict(), card="# mine")
    assert lesions(scan, weights=tmp_path / "mine", threshold=0.5).weights == "mine"
    with pytest.raises(SemeiaError, match="expected a checkpoint of 'uld'"):
        lesions(scan, weights="qface")
