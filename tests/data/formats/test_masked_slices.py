"""Slices with and without a lesion, and patients in splits."""

from itertools import pairwise

import numpy as np
import pytest

from semeia.data.formats.masked_slices import Areas, Choice, check_apart, chosen, split_patients, with_masks
from semeia.records import SemeiaError

CHOICE = Choice(least_lesion=50, tails=0.0)


def areas(organ, lesion):
    known = None if lesion is None else np.array(lesion)
    return Areas(np.array(organ), known, np.arange(len(organ), dtype=float))


def test_lesion_slices_show_enough_and_normal_slices_nothing():
    taken = chosen({"a": areas([900] * 5, [0, 49, 50, 80, 0])}, CHOICE)["a"]
    assert taken == [(2, "lesion"), (3, "lesion")]  # slices 0 and 4 lie off the levels of lesions, 1 shows too little


def test_normal_slices_have_the_level_and_the_area_of_lesion_slices():
    scans = {
        "ill": areas([100, 500, 600, 700, 100], [0, 60, 90, 60, 0]),
        "well": areas([550, 550, 300, 700, 550], [0, 0, 0, 0, 0]),
    }
    assert chosen(scans, CHOICE)["well"] == [(1, "normal"), (3, "normal")]


def test_a_scan_without_a_mask_gives_slices_that_nobody_calls_normal():
    scans = {"ill": areas([500, 500], [60, 60]), "unread": areas([500, 10], None)}
    assert chosen(scans, CHOICE)["unread"] == [(0, "unmasked")]


def test_without_any_lesion_every_slice_of_the_organ_is_normal():
    assert chosen({"a": areas([0, 10, 3], [0, 0, 0])}, CHOICE)["a"] == [(1, "normal"), (2, "normal")]


def test_a_patient_stands_in_one_split_and_every_split_has_one():
    names = [f"p{i}" for i in range(10)]
    splits = split_patients([*names, "p3"])
    counts = [list(splits.values()).count(split) for split in ("train", "val", "test")]
    assert counts == [6, 2, 2]
    assert split_patients(reversed(names)) == splits
    assert split_patients(names, seed=1) != splits
    assert sorted(split_patients(["a", "b", "c"]).values()) == ["test", "train", "val"]
    with pytest.raises(SemeiaError, match="at least 3 patients to split, found 2"):
        split_patients(["a", "b", "a"])


def test_a_patient_in_two_splits_is_named():
    check_apart({"train": ["a", "b"], "test": ["c"]})
    with pytest.raises(SemeiaError, match="patient 'b': expected in one split, found in 'train' and 'test'"):
        check_apart({"train": ["a", "b"], "test": ["b"]})


def test_shares_of_masks_are_nested_and_rounded_up():
    names = [f"p{i}" for i in range(30)]
    sets = [with_masks(names, share, seed=4) for share in (0.1, 0.25, 0.5, 1.0)]
    assert [len(each) for each in sets] == [3, 8, 15, 30]
    assert all(small < large for small, large in pairwise(sets))
    assert with_masks(names, 0.1, seed=5) != sets[0]
    with pytest.raises(SemeiaError, match="found 0"):
        with_masks(names, 0.0)
