"""Labels become arrays with masks; what is missing never trains anything."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from semeia.data.formats.face_columns import columns_of, table
from semeia.data.samples import FaceTargets, TargetTable, Vocabulary, collate, flip, only, turn, without_roll
from semeia.ops.faces import FLIP_68
from semeia.records import FaceLabels, Pose

WORDS = Vocabulary(
    expressions=("neutral", "happiness"), action_units=("AU06", "AU12", "AU25"), attributes=("Male", "Young")
)
MISSING = np.nan
FULL = FaceLabels(
    key="a",
    expression="happiness",
    au_intensity={"AU06": 1.5, "AU12": 2.0, "AU99": 5.0},
    au_occurrence={"AU06": 1},
    au_left={"AU12": 1.0},
    au_right={"AU12": 3.0},
    attributes={"Young": 0},
    age=40.5,
    pose=Pose(yaw=10, pitch=5, roll=-3),
    valence=0.5,
    arousal=-0.25,
)
EMPTY = FaceLabels(key="b")


def targets(labels=FULL, words=WORDS) -> FaceTargets:
    return TargetTable(columns_of(table([(labels, {})]), Path("labels.parquet")), words)[0]


def image(value=0):
    return np.full((4, 4, 3), value, np.uint8)


def test_labels_are_arranged_by_the_vocabulary():
    t = targets()
    assert t.expression == 1
    np.testing.assert_array_equal(t.au_intensity, np.float32([1.5, 2.0, MISSING]))
    np.testing.assert_array_equal(t.au_sides, np.float32([[MISSING] * 2, [1, 3], [MISSING] * 2]))
    np.testing.assert_array_equal(t.attributes, np.float32([MISSING, 0]))
    np.testing.assert_array_equal(t.pose, np.float32([10, 5, -3]))
    assert t.age == 40.5


def test_occurrence_follows_from_intensity_only_where_it_is_missing():
    np.testing.assert_array_equal(targets().au_occurrence, np.float32([1, 1, MISSING]))
    below = targets(FaceLabels(key="a", au_intensity={"AU12": 1.99}))
    np.testing.assert_array_equal(below.au_occurrence, np.float32([MISSING, 0, MISSING]))


def test_an_expression_outside_the_vocabulary_counts_as_missing():
    assert targets(FaceLabels(key="a", expression="contempt")).expression == -1


def test_a_batch_holds_values_masks_and_shapes():
    batch = collate([(image(255), targets()), (image(), targets(EMPTY)), (image(), targets())])
    assert batch["image"].shape == (3, 3, 4, 4)
    assert batch["image"].dtype == torch.float32
    assert batch["image"][0].min() == 1
    shapes = {
        "expression": (3,), "au_intensity": (3, 3), "au_occurrence": (3, 3), "au_sides": (3, 3, 2),
        "attributes": (3, 2), "age": (3,), "pose": (3, 3), "landmarks": (3, 68, 2),
    }  # fmt: skip
    for name, shape in shapes.items():
        assert batch[name].shape == batch[f"{name}_mask"].shape == shape
        assert batch[f"{name}_mask"].dtype == torch.bool
        assert batch[name].isfinite().all()
        assert not batch[f"{name}_mask"][1].any()
    assert batch["expression"].tolist() == [1, -1, 1]
    assert batch["expression"].dtype == torch.int64
    assert batch["au_intensity_mask"][0].tolist() == [True, True, False]
    assert batch["pose"][0].tolist() == [10, 5, -3]
    assert set(batch) == {"image", *shapes, *(f"{name}_mask" for name in shapes)}


def test_each_angle_is_masked_on_its_own():
    batch = collate([(image(), targets(FaceLabels(key="a", pose=Pose(1.0, float("nan"), 2.0))))])
    assert batch["pose_mask"].tolist() == [[True, False, True]]
    assert batch["pose"].tolist() == [[1, 0, 2]]


def test_mirroring_negates_yaw_and_roll_and_swaps_sides():
    mirrored = flip(targets())
    assert mirrored.pose.tolist() == [-10, 5, 3]
    assert mirrored.au_sides[1].tolist() == [3, 1]
    seen = replace(targets(), landmarks=np.linspace(0, 1, 136, dtype=np.float32).reshape(68, 2))
    np.testing.assert_allclose(flip(seen).landmarks, (seen.landmarks * [-1, 1] + [1, 0])[FLIP_68], atol=1e-6)
    np.testing.assert_array_equal(mirrored.au_intensity, targets().au_intensity)
    again = flip(mirrored)
    np.testing.assert_array_equal(again.au_sides, targets().au_sides)
    np.testing.assert_array_equal(again.pose, targets().pose)


def test_turning_adds_to_roll_and_alignment_hides_it():
    assert turn(targets(), 7.0).pose.tolist() == [10, 5, 4]
    np.testing.assert_array_equal(turn(without_roll(targets()), 7.0).pose, np.float32([10, 5, MISSING]))
    assert targets().pose[2] == -3


def test_mirrored_targets_can_be_collated():
    assert collate([(image(), flip(targets()))])["au_sides"][0, 1].tolist() == [3, 1]


def test_valence_and_arousal_are_in_a_batch_where_the_vocabulary_asks_for_them():
    words = replace(WORDS, valence_arousal=True)
    half = FaceLabels(key="c", arousal=1.0)
    batch = collate([(image(), targets(labels, words)) for labels in (FULL, EMPTY, half)])
    assert batch["valence_arousal"].tolist() == [[0.5, -0.25], [0, 0], [0, 1]]
    assert batch["valence_arousal_mask"].tolist() == [[True] * 2, [False] * 2, [False, True]]
    assert batch["valence_arousal"].dtype == torch.float32
    usual = collate([(image(), targets(labels)) for labels in (FULL, EMPTY, half)])
    assert batch.keys() - usual.keys() == {"valence_arousal", "valence_arousal_mask"}
    assert all(torch.equal(batch[name], usual[name]) for name in usual)


def test_valence_and_arousal_stay_in_the_mirror_and_go_with_their_task():
    known = targets(words=replace(WORDS, valence_arousal=True))
    assert turn(flip(known), 7.0).valence_arousal.tolist() == [0.5, -0.25]
    assert only(known, ["valence_arousal"]).valence_arousal.tolist() == [0.5, -0.25]
    assert np.isnan(only(known, ["age"]).valence_arousal).all()
    assert only(targets(), ["valence_arousal"]).valence_arousal is None


def test_only_the_asked_tasks_stay_labelled():
    some = only(targets(), ["action_units", "age"])
    assert some.expression == -1
    np.testing.assert_array_equal(some.au_intensity, targets().au_intensity)
    assert some.age == 40.5
    assert np.isnan(some.attributes).all()
    assert np.isnan(some.pose).all()
    batch = collate([(image(), some), (image(), only(targets(), []))])
    assert batch["age_mask"].tolist() == [True, False]
    assert not batch["au_intensity_mask"][1].any()
