"""Evaluation of detectors of lesions."""

import math

import numpy as np
import pytest
import torch

from semeia.data.formats.deeplesion import Finding, read, write_series, write_table
from semeia.data.slice_feeds import STILL, SliceFeed
from semeia.lesion_scores import AVERAGE, find, headline, lesion_table
from semeia.lesion_sets import LesionData, open_lesions, split_of, thinned
from semeia.records import SemeiaError

SIDE = 48


def finding(patient, middle, split, long):
    x, y = middle
    recist = np.array([[x - long / 2, y], [x + long / 2, y], [x, y - 3], [x, y + 3]])
    return Finding(
        patient=patient, study=1, series=1, key_slice=2, recist=recist,
        box=np.concatenate([recist.min(0) - 5, recist.max(0) + 5]), diameters=(long, 6.0), location=(0.5, 0.5, 0.5),
        kind=1 + patient % 2, noisy=False, slice_range=(1, 3), spacing=(1.0, 1.0, 5.0), size=(SIDE, SIDE),
        window=(-175, 275), gender="F", age=50.0, split=split,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """Six patients with one lesion each, of 8 or 16 mm: three to train, three to test."""
    rows = []
    for patient in range(1, 7):
        hu = np.full((3, SIDE, SIDE), -500, np.int16)
        write_series(tmp_path, patient, 1, 1, hu, first=1)
        rows.append(finding(patient, (20.0, 24.0), "train" if patient < 4 else "test", 8.0 if patient % 2 else 16.0))
    write_table(tmp_path, rows)
    return tmp_path


class Told(torch.nn.Module):
    """Answers what it was told for each image, in order."""

    def __init__(self, answers):
        super().__init__()
        self.answers = iter(answers)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def predict(self, image):
        return [next(self.answers) for _ in image]


def boxes(*rows):
    return torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4), torch.tensor(
        [row[4] for row in rows], dtype=torch.float32
    )


def test_truths_of_the_slice_are_found_through_any_frame(folder):
    """The network sees half as many pixels; answers in its pixels meet truths in those of the slice."""
    sets = split_of(open_lesions(LesionData(deeplesion=(str(folder),))), "test")
    feed = SliceFeed(sets, 2, slices=3, size=24, spacing=2.0, augmentation=STILL)
    answers = [(key.boxes / 2, np.array([0.9])) for key in feed.keys]
    found = find(Told([(torch.from_numpy(b).float(), torch.from_numpy(s).float()) for b, s in answers]), feed)
    assert headline(found) == 1
    rows = {(score.task, score.label): score for score in lesion_table(found, rounds=20)}
    assert rows["average precision", "IoU 0.5"].value == 1
    assert rows["sensitivity", f"{AVERAGE}"].count == 3


def test_a_table_by_hand(folder):
    sets = split_of(open_lesions(LesionData(deeplesion=(str(folder),))), "test")
    feed = SliceFeed(sets, 2, slices=3, size=SIDE, augmentation=STILL)
    one, two, _ = (key.boxes[0].tolist() for key in feed.keys)
    # Patient 4 (16 mm) is found, 5 (8 mm) after two false boxes, 6 (16 mm) never.
    answers = [boxes((*one, 0.9)), boxes((0, 0, 9, 9, 0.8), (30, 30, 40, 40, 0.7), (*two, 0.6)), boxes()]
    found = find(Told(answers), feed)
    rows = {(score.task, score.label): score.value for score in lesion_table(found, rounds=0)}
    assert rows["sensitivity", "at 0.5 false an image"] == pytest.approx(1 / 3)
    assert rows["sensitivity", "at 1 false an image"] == pytest.approx(2 / 3)
    assert rows["sensitivity", AVERAGE] == pytest.approx((1 / 3 + 3 * 2 / 3) / 4)
    assert rows["sensitivity", f"{AVERAGE}, long axis under 10 mm"] == pytest.approx(3 / 4)
    assert rows["sensitivity", f"{AVERAGE}, long axis 10 to 30 mm"] == pytest.approx(1 / 2)
    assert rows["sensitivity", f"{AVERAGE}, slices of 5 mm"] == rows["sensitivity", AVERAGE]
    assert (*rows,) == (*dict.fromkeys(rows),)
    assert all(math.isnan(score.low) for score in lesion_table(found, rounds=0))


def test_sets_are_opened_by_split_and_thinned_evenly(folder):
    data = LesionData(deeplesion=(str(folder),))
    (train,) = split_of(open_lesions(data), "train")
    assert {key.patient for key in train.keys} == {1, 2, 3}
    assert [key.patient for key in thinned([train], 2)[0].keys] == [1, 3]
    assert thinned([train], None) == [train]
    (few,) = split_of(open_lesions(LesionData(deeplesion=(str(folder),), share=0.4)), "train")
    assert len({key.patient for key in few.keys}) == 2
    assert len(read(folder)) == 6


def test_no_data_and_no_split_are_refused(folder):
    with pytest.raises(SemeiaError, match="name folders in DeepLesion's layout"):
        split_of(open_lesions(LesionData()), "train")
    with pytest.raises(SemeiaError, match="expected key slices of split 'val', found none"):
        split_of(open_lesions(LesionData(deeplesion=(str(folder),))), "val")
