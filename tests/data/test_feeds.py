"""Feeds: each batch is a function of its number, sets keep their shares, views keep their labels."""

import io
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

from semeia.data.augment import Augmentation
from semeia.data.feeds import (
    FaceFeed,
    FaceSet,
    crop_matrix,
    evaluation_batches,
    evaluation_rows,
    positive_units,
    rarity_weights,
    shares,
)
from semeia.data.formats.faces import FaceFolder, write_shard
from semeia.data.orders import Curriculum, LearnedOrder, Plan
from semeia.data.samples import Vocabulary
from semeia.ops.faces import TEMPLATE, five_from_68, transform_points
from semeia.records import FaceLabels, Pose, SemeiaError

WORDS = Vocabulary(expressions=("neutral", "happiness"), action_units=("AU06", "AU12"), attributes=("Male",))
STILL = Augmentation(
    rotation=0, scale=0, shift=0, **{f.name: 0.0 for f in fields(Augmentation) if f.name.startswith("p_")}
)
SIDE = 48


def landmarks(*, roll=0.0):
    """68 points whose five main points are the template's, turned counter-clockwise as seen by ``roll`` degrees."""
    points = np.repeat(TEMPLATE[:1], 68, 0)
    for where, point in zip((slice(36, 42), slice(42, 48), 30, 48, 54), TEMPLATE, strict=True):
        points[where] = point
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return ((points - 0.5) @ np.array([[cos, -sin], [sin, cos]]) * 0.5 + 0.5) * SIDE


def write(folder, count, *, start=0, points=True, **labels):
    """Faces whose first pixel's red value is their number, so that a batch tells whom it holds."""

    def samples():
        for i in range(count):
            stream = io.BytesIO()
            Image.fromarray(np.full((SIDE, SIDE, 3), (start + i, 100, 200), np.uint8)).save(stream, "PNG")
            split = "train" if i < count - 2 else "test"
            given = {name: value(i) if callable(value) else value for name, value in labels.items()}
            marks = landmarks(roll=8.0) if points else None
            pose = Pose(5.0, -2.0, 8.0)
            yield (
                FaceLabels(key=f"{i:03}", split=split, landmarks=marks, pose=pose, **given),
                stream.getvalue(),
                None,
                {},
            )

    write_shard(folder, "000", samples())
    return FaceFolder(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    def intensity(i):
        return {"AU06": 3.0 * (i < 5), "AU12": 3.0 * (i == 0)}

    return write(
        tmp_path_factory.mktemp("faces"), 12, expression="happiness", au_intensity=intensity,
        au_left={"AU12": 1.0}, au_right={"AU12": 2.0},
    )  # fmt: skip


def feed(*sets, batch_size=4, augmentation=STILL, **how):
    options = {"image_size": 32, "vocabulary": WORDS, "seed": 5}
    return FaceFeed(sets, batch_size=batch_size, augmentation=augmentation, **options | how)


def numbers(batch):
    return (batch["image"][:, 0, 16, 16] * 255).round().int().tolist()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_batch_is_a_function_of_its_number(folder):
    first = feed(FaceSet(folder), augmentation=Augmentation())
    expected = [first.batch(i) for i in range(3)]
    other = pickle.loads(pickle.dumps(feed(FaceSet(folder), augmentation=Augmentation())))
    for i in (2, 0, 1):
        assert same(other.batch(i), expected[i])
    assert not same(feed(FaceSet(folder), augmentation=Augmentation(), seed=6).batch(0), expected[0])


def test_every_face_is_seen_once_an_epoch_across_ranks(folder):
    ranks = feed(FaceSet(folder), batch_size=1)
    for epoch in range(3):
        seen = [numbers(ranks.batch(5 * epoch + i, rank=rank, world=2))[0] for i in range(5) for rank in range(2)]
        assert sorted(seen) == list(range(10))
        assert seen != list(range(10))


def test_two_ranks_see_what_one_would(folder):
    one, two = feed(FaceSet(folder), batch_size=4), feed(FaceSet(folder), batch_size=2)
    for i in range(4):
        assert numbers(one.batch(i)) == numbers(two.batch(i, 0, 2)) + numbers(two.batch(i, 1, 2))


def test_small_sets_keep_their_share_of_every_batch(folder, tmp_path):
    small = write(tmp_path, 4, start=100)
    mixed = feed(FaceSet(folder, share=3), FaceSet(small, share=1), batch_size=8)
    for i in range(5):
        assert sum(number >= 100 for number in numbers(mixed.batch(i))) == 2


@pytest.mark.parametrize(
    ("places", "weights", "expected"),
    [(10, [1, 1, 1], [4, 3, 3]), (7, [0.5, 0.25, 0.25], [3, 2, 2]), (4, [1, 0], [4, 0]), (3, [9, 9, 1], [2, 1, 0])],
)
def test_places_are_shared_out_by_largest_remainder(places, weights, expected):
    assert shares(places, weights) == expected


def test_roll_is_masked_on_aligned_views_only(folder):
    aligned, upright = (feed(FaceSet(folder), aligned=part).batch(0) for part in (1.0, 0.0))
    assert aligned["pose_mask"].tolist() == [[True, True, False]] * 4
    assert upright["pose_mask"].tolist() == [[True, True, True]] * 4
    assert upright["pose"].tolist() == [[5, -2, 8]] * 4
    for view in (aligned, upright):
        assert view["au_intensity_mask"].all()
        assert view["expression_mask"].all()


def test_a_divided_reader_learns_each_task_from_its_own_view(folder):
    divided = {"loose": ("age", "pose"), "batch_size": 8}
    tight = feed(FaceSet(folder), aligned=1.0, **divided).batch(0)
    assert (tight["expression"] >= 0).all()
    assert tight["au_intensity_mask"].all()
    assert not tight["pose_mask"].any()
    loose = feed(FaceSet(folder), aligned=0.0, **divided).batch(0)
    assert (loose["expression"] == -1).all()
    assert not loose["au_intensity_mask"].any()
    assert not loose["au_sides_mask"].any()
    assert loose["pose_mask"].all()


def test_views_are_mixed_at_their_share(folder):
    batches = [feed(FaceSet(folder), aligned=0.7, batch_size=10).batch(i) for i in range(20)]
    share = torch.cat([~batch["pose_mask"][:, 2] for batch in batches]).float().mean()
    assert 0.62 < share < 0.78


def test_faces_without_landmarks_are_served_whole_with_their_roll(tmp_path):
    whole = feed(FaceSet(write(tmp_path, 6, points=False)), aligned=1.0).batch(0)
    assert whole["pose"].tolist() == [[5, -2, 8]] * 4
    matrix = crop_matrix(None, np.zeros((40, 80, 3), np.uint8), view="aligned", size=20, margin=0.3)
    corners = transform_points(matrix, np.array([[0.0, 0], [80, 40]]))
    np.testing.assert_allclose(corners, [[0, 5], [20, 15]])


def test_mirrored_views_swap_their_labels(folder):
    batch = feed(FaceSet(folder), aligned=0.0, augmentation=replace(STILL, p_flip=1.0)).batch(0)
    assert batch["pose"].tolist() == [[-5, -2, -8]] * 4
    assert batch["au_sides"][:, 1].tolist() == [[2, 1]] * 4


def test_a_turned_crop_turns_its_roll(folder):
    turned = feed(FaceSet(folder), aligned=0.0, augmentation=replace(STILL, rotation=12.0)).batch(0)
    change = turned["pose"][:, 2] - 8
    assert change.abs().max() <= 12
    assert len(set(change.tolist())) == 4
    assert turned["pose"][:, :2].tolist() == [[5, -2]] * 4


def test_the_landmarks_decide_the_crop():
    marks = landmarks(roll=8.0)
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    aligned = crop_matrix(marks, image, view="aligned", size=100, margin=0.0)
    np.testing.assert_allclose(transform_points(aligned, five_from_68(marks)) / 100, TEMPLATE, atol=1e-6)
    upright = crop_matrix(marks, image, view="upright", size=100, margin=0.0)
    left, right = transform_points(upright, five_from_68(marks))[:2]
    # Counter-clockwise by 8 degrees: the eye on the left of the picture lies lower.
    assert np.degrees(np.arctan2(left[1] - right[1], right[0] - left[0])) == pytest.approx(8)


def test_landmarks_travel_with_the_crop(folder, tmp_path):
    (batch,) = evaluation_batches(folder, split="test", view="aligned", image_size=32, vocabulary=WORDS, margin=0.0)
    assert batch["landmarks_mask"].all()
    np.testing.assert_allclose(five_from_68(batch["landmarks"].numpy()), [TEMPLATE] * 2, atol=1e-6)
    mirrored = feed(FaceSet(folder), margins=(0.0, 0.0), augmentation=replace(STILL, p_flip=1.0), aligned=1.0).batch(0)
    np.testing.assert_allclose(five_from_68(mirrored["landmarks"].numpy()), [TEMPLATE] * 4, atol=1e-6)
    moved = feed(FaceSet(folder), margins=(0.0, 0.0), augmentation=replace(STILL, shift=0.2), aligned=1.0).batch(0)
    apart = five_from_68(moved["landmarks"].numpy()) - TEMPLATE
    np.testing.assert_allclose(apart, apart[:, :1].repeat(5, 1), atol=1e-6)
    assert np.abs(apart).max() > 0.01
    without = feed(FaceSet(write(tmp_path, 6, points=False))).batch(0)
    assert not without["landmarks_mask"].any()


def test_rare_positives_are_drawn_as_often_as_their_weight_says(folder):
    train = folder.select("train")
    assert positive_units(folder, WORDS)[train].sum(0).tolist() == [5, 1]
    weights = rarity_weights(folder, train, WORDS)
    assert weights.tolist() == [10, 2, 2, 2, 2, 1, 1, 1, 1, 1]
    balanced = feed(FaceSet(folder, balance="au"), batch_size=20)
    drawn = np.bincount(np.concatenate([numbers(balanced.batch(i)) for i in range(40)]), minlength=10) / 800
    np.testing.assert_allclose(drawn, weights / weights.sum(), atol=0.06)
    assert numbers(balanced.batch(7)) == numbers(feed(FaceSet(folder, balance="au"), batch_size=20).batch(7))


def evaluated(folder, **how):
    options = {
        "split": "train", "view": "upright", "image_size": 16, "vocabulary": WORDS, "margin": 0.3, "batch_size": 4,
    }  # fmt: skip
    return list(evaluation_batches(folder, **options | how))


def test_evaluation_reads_a_split_once_in_order(folder):
    batches = evaluated(folder)
    assert [len(batch["age"]) for batch in batches] == [4, 4, 2]
    red = torch.cat([(batch["image"][:, 0, 8, 8] * 255).round() for batch in batches])
    assert red.tolist() == evaluation_rows(folder, split="train").tolist() == list(range(10))
    assert batches[0]["pose"][0].tolist() == [5, -2, 8]
    assert not evaluated(folder, view="aligned")[0]["pose_mask"][:, 2].any()


def test_a_limit_spreads_over_the_split(folder):
    assert evaluation_rows(folder, split="train", limit=3).tolist() == [0, 3, 6]
    assert sum(len(batch["age"]) for batch in evaluated(folder, limit=3)) == 3
    assert len(evaluation_rows(folder, split="train", limit=99)) == 10


def test_an_absent_split_is_named(folder):
    with pytest.raises(SemeiaError, match=r"expected faces in split 'val', found only test, train; name another split"):
        feed(FaceSet(folder, split="val"))
    with pytest.raises(SemeiaError, match="expected faces in split 'val'"):
        evaluated(folder, split="val")


def test_expressions_that_the_vocabulary_lacks_are_named(tmp_path):
    with pytest.raises(SemeiaError, match=r"expected expressions among neutral, happiness, found Happy; spell them so"):
        feed(FaceSet(write(tmp_path, 4, expression="Happy")))


# -- with an order


class Listed:
    """An order that is written down."""

    def __init__(self, *batches):
        self.batches = batches

    def batch(self, step, /):
        return self.batches[step]


def test_an_order_decides_which_faces_stand_together(folder):
    ordered = feed(FaceSet(folder), order=Listed([3, 1, 9, 0], [5, 3, 3, 8]))
    for i, expected in enumerate(([3, 1, 9, 0], [5, 3, 3, 8])):
        batch = ordered.batch(i)
        assert numbers(batch) == batch["index"].tolist() == expected
        assert batch["index"].dtype == torch.int64
        assert batch["au_intensity"][:, 0].tolist() == [3.0 * (number < 5) for number in expected]


def test_an_order_numbers_the_faces_of_the_split(folder):
    tested = feed(FaceSet(folder, split="test"), batch_size=2, order=Listed([1, 0])).batch(0)
    assert numbers(tested) == [11, 10]
    assert tested["index"].tolist() == [1, 0]


def test_each_rank_takes_whole_batches_of_an_order(folder):
    order = Listed([0, 1], [2, 3], [4, 5], [6, 7])
    ranks = feed(FaceSet(folder), batch_size=2, order=order)
    assert [numbers(ranks.batch(i, rank, 2)) for i in range(2) for rank in range(2)] == list(order.batches)


def test_an_ordered_sample_is_a_function_of_seed_step_and_place(folder):
    order = Listed([4, 4, 4, 4], [4, 4, 4, 4])
    first, again = (feed(FaceSet(folder), augmentation=Augmentation(), order=order) for _ in range(2))
    expected = [first.batch(i) for i in range(2)]
    for i in (1, 0):
        assert same(pickle.loads(pickle.dumps(again)).batch(i), expected[i])
    views = torch.cat([batch["image"] for batch in expected]).flatten(1)
    assert len(views.unique(dim=0)) == 8
    other = feed(FaceSet(folder), augmentation=Augmentation(), seed=6, order=order).batch(0)
    assert not torch.equal(other["image"], expected[0]["image"])


def test_a_learned_order_shows_each_face_once_an_epoch(folder):
    order = LearnedOrder(10, batch_size=5, seed=1)
    curriculum = Curriculum(order, Plan(criterion="loss"))
    ordered = feed(FaceSet(folder), batch_size=5, order=order)
    for epoch in range(3):
        assert sorted(numbers(ordered.batch(2 * epoch)) + numbers(ordered.batch(2 * epoch + 1))) == list(range(10))
        curriculum.begin(epoch + 1)


# Numbers of batches, and their faces and turned rolls as the feed gave them before it knew of orders.
UNORDERED = {
    "shuffled": {
        (0, 0, 1): ([5, 0, 1, 8], [8.368, 12.445, 1.09, 4.966]),
        (3, 1, 2): ([9, 0, 9, 0], [6.605, 16.596, 15.254, -2.51]),
    },
    "balanced": {
        (0, 0, 1): ([5, 4, 1, 0], [2.859, 5.856, -3.664, 7.439]),
        (3, 1, 2): ([4, 4, 8, 4], [1.039, 6.919, 16.179, 13.118]),
    },
    "mixed": {
        (0, 0, 1): ([5, 0, 1, 101], [8.368, 12.445, 1.09, 12.701]),
        (3, 1, 2): ([6, 8, 4, 101], [10.661, 11.754, -3.945, -2.893]),
    },
}


@pytest.mark.parametrize("kind", UNORDERED)
def test_without_an_order_batches_are_what_they_always_were(folder, tmp_path, kind):
    sets = {
        "shuffled": [FaceSet(folder)],
        "balanced": [FaceSet(folder, balance="au")],
        "mixed": [FaceSet(folder, share=3), FaceSet(write(tmp_path, 4, start=100))],
    }[kind]
    turned = feed(*sets, augmentation=replace(STILL, rotation=12.0), aligned=0.0)
    for number, (shown, rolls) in UNORDERED[kind].items():
        batch = turned.batch(*number)
        assert numbers(batch) == shown
        assert batch["pose"][:, 2].tolist() == pytest.approx(rolls, abs=1e-3)
        assert "index" not in batch


@pytest.mark.parametrize(("sets", "options", "said"), [
    (2, {}, "a feed with an order: expected one set of faces, found 2; leave the others out"),
    (1, {"balance": "au"}, "expected balance 'none', found 'au'; the order decides which faces are drawn"),
])  # fmt: skip
def test_an_order_of_what_it_cannot_number_is_refused(folder, sets, options, said):
    with pytest.raises(SemeiaError, match=said):
        feed(*[FaceSet(folder, **options)] * sets, order=Listed([0, 1, 2, 3]))


@pytest.mark.parametrize(("batch", "said"), [
    ([0, 1, 10, 2], r"batch 0 of the order: expected numbers from 0 to 9 of the faces of split 'train', found 10; make "
                    "the order for 10 faces"),
    ([0, -1, 3, 2], "found -1"),
    ([0, 1, 2], "expected 4 faces, found 3; give the feed and its order the same batch size"),
])  # fmt: skip
def test_an_order_for_other_faces_is_named(folder, batch, said):
    with pytest.raises(SemeiaError, match=said):
        feed(FaceSet(folder), order=Listed(batch)).batch(0)
