"""Batches for healthy twins: patients stay apart, shares are nested, what is not known is not given."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from semeia.data.formats import deeplesion
from semeia.data.formats.masked_slices import MaskedSlice
from semeia.data.paired_slices import HEALTHY, CTSlices, MarkedSlices, SliceRow
from semeia.data.twin_feeds import (
    STILL,
    MixedFeed,
    Tones,
    TwinFeed,
    check_patients,
    divided,
    slices_of,
)
from semeia.records import SemeiaError

SIDE = 32
WINDOW = (-1000.0, 500.0)


class Kept:
    """Slices in memory: patient p is grey p / 100, its lesion is one square."""

    def __init__(self, people=40, *, normals=True, splits=("train",)):
        self.rows, self.kept = [], []
        for p in range(people):
            split = splits[p % len(splits)]
            for normal in (False, True)[: 1 + normals]:
                self.rows.append(SliceRow(f"p{p}/{'n' if normal else 'l'}", f"p{p}", split, p / people, normal))
                image = np.full((SIDE, SIDE), p / 100, np.float32)
                mask = np.zeros((SIDE, SIDE), bool)
                if not normal:
                    image[8:16, 8:16], mask[8:16, 8:16] = 0.9, True
                self.kept.append((image, mask, np.full((SIDE, SIDE), p / 100, np.float32)))

    def image(self, row):
        return self.kept[row][0]

    def mask(self, row):
        return self.kept[row][1]

    def twin(self, row):
        return self.kept[row][2]

    def spacing(self, row):
        return None

    def places(self, row):
        return np.array([[12.0, 12.0]])[: 0 if self.rows[row].normal else None]


def feed(slices, **changes):
    usual = {"size": SIDE, "window": None, "augmentation": STILL}
    return TwinFeed(slices_of([slices], "train"), 4, **usual | changes)


def people(places):
    return {source.rows[number].patient for source, number in places}


# -- patients


def test_a_patient_in_two_splits_is_refused():
    slices = Kept(4)
    slices.rows[1] = replace(slices.rows[1], split="test")
    with pytest.raises(
        SemeiaError, match=r"patient 'p0': expected in one split, found p0/l in 'train' and p0/n in 'te"
    ):
        check_patients([slices])
    with pytest.raises(SemeiaError, match="p0"):
        divided([slices], labelled=0.5)


def test_a_patient_of_two_folders_in_two_splits_is_refused():
    with pytest.raises(SemeiaError, match="one split"):
        check_patients([Kept(2), Kept(2, splits=("val",))])


def test_shares_of_masks_are_nested_and_of_the_size_asked_for():
    shares = [people(divided([Kept()], labelled=share, seed=3).labelled) for share in (0.1, 0.25, 0.5, 1.0)]
    assert [len(share) for share in shares] == [4, 10, 20, 40]
    assert all(small < large for small, large in pairwise(shares))


def test_no_patient_is_masked_and_unmasked_and_healthy():
    division = divided([Kept()], labelled=0.25, healthy=0.25, seed=1)
    parts = [people(part) for part in (division.labelled, division.unlabelled, division.normal)]
    assert [len(part) for part in parts] == [8, 22, 10]
    assert len(set.union(*parts)) == 40
    assert division.patients("labelled") == 8


def test_healthy_ones_are_the_same_whatever_the_share_of_masks():
    one, other = (divided([Kept()], labelled=share, healthy=0.25, seed=1) for share in (0.1, 1.0))
    assert people(one.normal) == people(other.normal)
    assert people(one.labelled) < people(other.labelled)
    assert not other.unlabelled


def test_without_normal_slices_nobody_is_set_aside():
    division = divided([Kept(10, normals=False)], labelled=1.0, healthy=0.5)
    assert len(division.labelled) == 10
    assert not division.normal


@pytest.mark.parametrize("changes", [{"labelled": 0.0}, {"labelled": 1.5}, {"labelled": 0.5, "healthy": 1.0}])
def test_shares_that_are_none_are_refused(changes):
    with pytest.raises(SemeiaError, match="expected"):
        divided([Kept(4)], **changes)


def test_a_split_without_slices_is_refused():
    with pytest.raises(SemeiaError, match="split 'val'"):
        divided([Kept(4)], labelled=0.5, split="val")
    with pytest.raises(SemeiaError, match="expected slices"):
        TwinFeed([], 2, size=SIDE, window=None)


# -- batches


def test_a_batch_has_its_layout_and_depends_on_its_number_alone():
    slices = Kept()
    one, again = (feed(slices, normal=slices_of([slices], "train", normal=True), seed=5) for _ in range(2))
    first, second = one.batch(3), again.batch(3)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["image"], one.batch(4)["image"])
    assert {name: tuple(value.shape) for name, value in first.items()} == {
        "image": (4, 1, SIDE, SIDE), "mask": (4, 1, SIDE, SIDE), "mask_known": (4,), "healthy": (4, 1, SIDE, SIDE),
        "healthy_known": (4,), "index": (4,),
    }  # fmt: skip
    assert first["mask_known"].all()
    assert first["mask"].sum() == 4 * 64


def test_ranks_share_the_batches():
    one = feed(Kept(), seed=2)
    assert torch.equal(one.batch(2, 1, 2)["index"], one.batch(5)["index"])


def test_masks_that_are_not_asked_for_are_not_read():
    slices = Kept()
    slices.mask = lambda row: pytest.fail("a mask was read")
    batch = feed(slices, masks=False).batch(0)
    assert not batch["mask_known"].any()
    assert batch["mask"].sum() == 0


def test_normal_slices_are_of_others_at_about_the_same_height():
    slices = Kept(100)
    one = feed(slices, normal=slices_of([slices], "train", normal=True))
    rng = np.random.default_rng(0)
    for number in (0, 50, 99):
        matched = [one.normal[one.matched(number, rng)] for _ in range(40)]
        assert f"p{number}" not in people(matched)
        assert all(abs(slices.rows[row].position - number / 100) < 0.17 for _, row in matched)
        assert len(set(matched)) > 5


def test_heights_that_nobody_knows_match_any_normal_slice():
    slices = Kept(30)
    slices.rows = [replace(row, position=float("nan")) for row in slices.rows]
    one = feed(slices, normal=slices_of([slices], "train", normal=True))
    assert len({one.matched(0, np.random.default_rng(i)) for i in range(60)}) > 16


def test_the_only_patient_has_no_normal_slice_of_another():
    slices = Kept(1)
    batch = feed(slices, normal=slices_of([slices], "train", normal=True)).batch(0)
    assert not batch["healthy_known"].any()


def test_values_outside_the_window_are_clipped():
    slices = Kept(2)
    slices.image = lambda row: np.linspace(-4000, 4000, SIDE * SIDE).reshape(SIDE, SIDE)
    batch = feed(slices, window=(-1000.0, 1000.0)).batch(0)
    assert batch["image"].min() == -1
    assert batch["image"].max() == 1
    middle = batch["image"][0, 0].flatten()[(SIDE * SIDE) // 2]
    assert abs(float(middle)) < 0.01


def test_slices_without_a_lesion_make_batches_with_empty_masks():
    slices = Kept(4)
    batch = TwinFeed(slices_of([slices], "train", normal=True), 2, size=SIDE, window=None).batch(0)
    assert batch["mask_known"].all()
    assert batch["mask"].sum() == 0


def test_image_and_mask_are_moved_alike():
    slices = Kept(8)
    moved = TwinFeed(slices_of([slices], "train"), 8, size=SIDE, window=None)
    batch = moved.batch(1)
    bright = (batch["image"] > 0.5).float()
    assert not torch.equal(batch["mask"][0], feed(slices).batch(0)["mask"][0])
    assert (bright - batch["mask"]).abs().sum() <= 0.1 * batch["mask"].sum()


def test_an_evaluation_goes_through_all_slices_with_their_twins():
    slices = Kept(5)
    one = feed(slices)
    batches = list(one.evaluation_batches(2))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(5))
    assert all(batch["truth_known"].all() for batch in batches)
    assert batches[1]["truth"][0, 0, 10, 10] == pytest.approx(0.02, abs=1e-6)
    assert one.patient(3) == "p3"


def test_larger_slices_are_shrunk_with_their_masks():
    slices = Kept(2)
    half = TwinFeed(slices_of([slices], "train"), 1, size=16, window=None, augmentation=STILL).batch(0)
    assert half["image"].shape[-1] == 16
    assert half["mask"].sum() == 16


@pytest.mark.parametrize(("what", "values", "message"), [
    ("mask", np.zeros((8, 8), bool), "expected a mask of 32 x 32 pixels"),
    ("image", np.full((SIDE, SIDE), np.nan), "finite"),
    ("image", np.zeros((2, SIDE, SIDE)), "rows and columns"),
    ("image", np.zeros((0, SIDE)), "rows and columns"),
])  # fmt: skip
def test_what_is_no_picture_or_does_not_fit_is_named(what, values, message):
    slices = Kept(1)
    setattr(slices, what, lambda row: values)
    with pytest.raises(SemeiaError, match=rf"p0/l: .*{message}"):
        feed(slices).batch(0)


def test_mixed_batches_keep_what_each_part_knows():
    slices = Kept(8)
    mixed = MixedFeed(feed(slices), feed(slices, masks=False))
    batch = mixed.batch(0)
    assert batch["mask_known"].tolist() == [True] * 4 + [False] * 4
    assert batch["image"].shape[0] == 8


# -- formats


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two patients in DeepLesion's layout: the first with masks and twins, the second with axes alone."""
    root = tmp_path_factory.mktemp("ct") / "world"
    rows = []
    for patient in (1, 2):
        healthy = np.full((3, SIDE, SIDE), 40, np.int16)
        hu, masks = healthy.copy(), np.zeros((3, SIDE, SIDE), np.uint8)
        hu[1, 10:14, 20:26], masks[1, 10:14, 20:26] = 90, 3
        deeplesion.write_series(root, patient, 1, 1, hu, first=7)
        if patient == 1:
            deeplesion.write_series(root, patient, 1, 1, healthy, first=7, images=HEALTHY)
            deeplesion.write_masks(root, patient, 1, 1, masks[1:2], first=8)
        recist = np.array([[20.0, 12.0], [26, 12], [23, 10], [23, 14]])
        rows.append(deeplesion.Finding(
            patient=patient, study=1, series=1, key_slice=8, recist=recist,
            box=np.concatenate([recist.min(0) - 5, recist.max(0) + 5]), diameters=(6.0, 4.0),
            location=(0.5, 0.5, 0.5), kind=-1, noisy=False, slice_range=(7, 9), spacing=(1.0, 1.0, 6.3),
            size=(SIDE, SIDE), window=(-175, 275), gender=None, age=50.0, split="train",
        ))  # fmt: skip
    deeplesion.write_table(root, rows)
    return CTSlices(deeplesion.read(root))


def test_a_ct_world_gives_masks_twins_and_normal_slices(world):
    assert [row.normal for row in world.rows] == [False, False, True, True, True]
    assert world.rows[0].name == "world/000001_01_01/008"
    assert world.mask(0).sum() == 24
    assert world.image(0)[11, 22] == 90
    assert world.twin(0)[11, 22] == 40
    assert world.mask(3).sum() == 0
    assert np.array_equal(world.twin(3), world.image(3))
    # Slices are numbered towards the head, heights are counted from it.
    assert [round(row.position, 3) for row in world.rows[2:]] == [0.51, 0.5, 0.49]


def test_squares_are_cut_out_around_lesions_and_at_the_same_place_of_a_normal_body():
    """Every pixel tells where it is from: its column in the hundreds of HU, its row in tens."""
    slices = Kept(8)
    row, column = np.mgrid[:SIDE, :SIDE]
    for image, mask, truth in slices.kept:
        image[:] = truth[:] = column + row / 100
        mask[:] = False
        mask[10:14, 10:14] = True
    cut = feed(slices, size=16, spacing=1.0, window=(0.0, 32.0), normal=slices_of([slices], "train", normal=True))
    corners = set()
    for index in range(4):
        batch = cut.batch(index)
        assert batch["image"].shape == batch["healthy"].shape == (4, 1, 16, 16)
        assert (batch["mask"].sum((1, 2, 3)) == 16).all()
        assert torch.equal(batch["image"], batch["healthy"])
        corners |= {round(value, 2) for value in batch["image"][:, 0, 0, 0].tolist()}
    assert len(corners) > 8
    first, again = (next(iter(cut.evaluation_batches()))["image"] for _ in range(2))
    assert torch.equal(first, again)


def test_squares_have_the_spacing_that_is_asked_for(world):
    square = TwinFeed([(world, 0)], 1, size=32, spacing=0.5, window=WINDOW, augmentation=STILL).batch(0)
    assert square["mask"].sum() == pytest.approx(4 * 24, abs=12)


def test_tones_give_soft_tissue_room_and_lead_back():
    tones = Tones(WINDOW, (-160.0, 240.0))
    assert tones.of(np.array([-2000, -1000, -160, 40, 240, 500, 900])).tolist() == pytest.approx(
        [-1, -1, -0.6, 0, 0.6, 1, 1], abs=1e-6
    )
    hu = np.linspace(-1000, 500, 50)
    assert tones.back(tones.of(hu)) == pytest.approx(hu, abs=1e-3)
    assert Tones(WINDOW).of(hu) == pytest.approx(2 * (hu + 1000) / 1500 - 1, abs=1e-6)


def test_without_masks_and_twins_there_are_ellipses_and_no_truth(world):
    assert 12 < world.mask(1).sum() < 24
    assert world.twin(1) is None
    batch = next(iter(TwinFeed([(world, 1)], 1, size=SIDE, window=WINDOW).evaluation_batches()))
    assert batch["truth_known"].tolist() == [False]


def test_slices_that_a_format_has_scaled_are_taken_as_they_are():
    image = np.linspace(-1, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    slices = [
        MaskedSlice("a", "a1", 10, "lesion", image, image > 0.9),
        MaskedSlice("a", "a1", 20, "normal", image, np.zeros_like(image, bool)),
        MaskedSlice("b", "b1", 5, "unmasked", image, None),
    ]
    marked = MarkedSlices(slices, {"a": "train", "b": "train"})
    assert [(row.patient, row.position, row.normal) for row in marked.rows] == [
        ("a", 0.5, False), ("a", 1.0, True), ("b", 1.0, False)
    ]  # fmt: skip
    batch = TwinFeed([(marked, 0), (marked, 2)], 2, size=SIDE, window=None, augmentation=STILL).batch(0)
    assert sorted(batch["mask_known"].tolist()) == [False, True]
    torch.testing.assert_close(batch["image"][0, 0], torch.from_numpy(image))
    assert marked.twin(0) is None
    assert marked.twin(1) is not None
    with pytest.raises(SemeiaError, match="patient 'b': expected in a split"):
        MarkedSlices(slices, {"a": "train"})


def test_a_namespace_of_functions_is_a_format_too():
    image = np.zeros((SIDE, SIDE))
    slices = SimpleNamespace(
        rows=[SliceRow("s", "p", "train", 0.0)], image=lambda row: image, mask=lambda row: None, twin=lambda row: None
    )
    assert not feed(slices).batch(0)["mask_known"].any()
