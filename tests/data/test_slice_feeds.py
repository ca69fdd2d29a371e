"""Batches of slices: each a function of its number, each sample once an epoch, boxes and masks where the lesion is."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from semeia.data.formats.deeplesion import Finding, read, write_series, write_table
from semeia.data.slice_feeds import STILL, ShuffledOrder, SliceAugmentation, SliceCache, SliceFeed
from semeia.data.slices import MVP_NET, load_slices, windowed
from semeia.records import SemeiaError

SIDE = 64
LIVELY = SliceAugmentation(z_shift=1.0, p_z_flip=0.5)


def finding(patient, key_slice, *, middle, long=14.0, short=10.0, **changes):
    x, y = middle
    recist = np.array([[x - long / 2, y], [x + long / 2, y], [x, y - short / 2], [x, y + short / 2]])
    box = np.concatenate([recist.min(0) - 5, recist.max(0) + 5])
    known = Finding(
        patient=patient, study=1, series=1, key_slice=key_slice, recist=recist, box=box, diameters=(long, short),
        location=(0.5, 0.5, 0.5), kind=-1, noisy=False, slice_range=(3, 7), spacing=(0.8, 0.8, 2.0),
        size=(SIDE, SIDE), window=(-175, 275), gender=None, age=50.0, split="train",
    )  # fmt: skip
    return replace(known, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eleven key slices of 5 patients; lesions are bright ellipses through all slices of a dark body of noise."""
    root = tmp_path_factory.mktemp("deeplesion")
    rng = np.random.default_rng(0)
    rows = []
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    for patient in range(1, 6):
        middles = rng.uniform(22, 42, (2, 2))
        hu = rng.normal(-600, 20, (12, SIDE, SIDE))
        for middle in middles[: 1 + patient % 2]:
            hu[:, ((x - middle[0]) / 7) ** 2 + ((y - middle[1]) / 5) ** 2 <= 1] = 900
        write_series(root, patient, 1, 1, hu.astype(np.int16), first=1)
        for key_slice in (3, 6, 9)[: 1 + patient % 3]:
            rows += [finding(patient, key_slice, middle=middle) for middle in middles[: 1 + patient % 2]]
    write_table(root, rows)
    return root


@pytest.fixture(scope="module")
def data(folder):
    return read(folder)


def feed(*sets, batch_size=4, **how):
    return SliceFeed(sets, batch_size, **{"size": SIDE, "slices": 3, "seed": 5, "augmentation": LIVELY} | how)


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        pairs = zip(one[name], other[name], strict=True)
        assert all(torch.equal(a, b) for a, b in pairs), name


def test_a_batch_has_the_layout_of_the_detector(data):
    batch = feed(data, masks=True).batch(0)
    assert batch["image"].shape == (4, 3, SIDE, SIDE)
    assert batch["image"].dtype == torch.float32
    assert 0 <= batch["image"].min() < batch["image"].max() <= 1
    assert (batch["index"].shape, batch["index"].dtype) == ((4,), torch.int64)
    for boxes, masks in zip(batch["boxes"], batch["masks"], strict=True):
        assert (boxes.dtype, boxes.shape[1:]) == (torch.float32, (4,))
        assert (masks.dtype, masks.shape) == (torch.bool, (len(boxes), SIDE, SIDE))
        assert (boxes[:, :2] < boxes[:, 2:]).all()
    assert feed(data).batch(0).keys() == {"image", "boxes", "index"}


def test_a_batch_depends_on_its_number_alone(data):
    one, other = feed(data), pickle.loads(pickle.dumps(feed(data)))
    for index in (7, 0, 3):
        same(one.batch(index), other.batch(index))
    same(one.batch(3), feed(data).batch(3))
    assert not torch.equal(one.batch(3)["image"], one.batch(4)["image"])
    assert not torch.equal(one.batch(3)["image"], feed(data, seed=6).batch(3)["image"])


def test_two_ranks_share_the_batches_of_one(data):
    for step in range(4):
        same(feed(data).batch(step // 2, step % 2, 2), feed(data).batch(step))


def test_each_sample_comes_once_an_epoch_in_another_order(data):
    count = len(data)
    found = np.concatenate([feed(data).order.batch(step) for step in range(3 * count)])[: 3 * count].reshape(3, count)
    np.testing.assert_array_equal(np.sort(found), np.tile(np.arange(count), (3, 1)))
    assert len({tuple(epoch) for epoch in found}) == 3
    assert ShuffledOrder(3, batch_size=7).batch(0) == ShuffledOrder(3, batch_size=7).batch(0)


def test_another_order_decides_which_samples_stand_together(data):
    class Pairs:
        def batch(self, step):
            return [step, len(data) - 1 - step]

    ordered = feed(data, order=Pairs())
    assert ordered.batch(2)["index"].tolist() == [2, len(data) - 3]
    assert ordered.batch(1, 1, 2)["index"].tolist() == [3, len(data) - 4]


def test_samples_of_several_sets_are_numbered_through(data):
    both = feed(data, data.select(lambda key: key.patient == 2))
    assert len(both.keys) == len(data) + 3
    assert both.keys[len(data)].patient == 2
    with pytest.raises(SemeiaError, match="expected key slices"):
        feed(data.select(lambda key: False))


def test_without_augmentation_slices_and_boxes_stand_as_they_are(data):
    for batch in (feed(data, augmentation=STILL).batch(0), next(feed(data).evaluation_batches(4))):
        for image, boxes, index in zip(batch["image"], batch["boxes"], batch["index"], strict=True):
            key = data.keys[int(index)]
            np.testing.assert_array_equal(image, windowed(load_slices(key, 3)))
            np.testing.assert_array_equal(boxes, key.boxes)


@pytest.mark.parametrize("crop", [None, 48])
def test_boxes_and_masks_follow_the_lesions_through_every_movement(data, crop):
    """The bright pixels of the image are the truth; what is padded by 5 px is taken off the boxes."""
    lively = feed(data, masks=True, augmentation=replace(LIVELY, p_move=1, p_intensity=0, crop=crop))
    seen = 0
    for index in range(12):
        batch = lively.batch(index)
        for image, boxes, masks, number in zip(*(batch[k] for k in ("image", "boxes", "masks", "index")), strict=True):
            if len(data.keys[int(number)].findings) != 1 or len(boxes) != 1:
                continue
            bright = image[1].numpy() > (900 + 600) / 2 / 3074
            inside = boxes[0].numpy()
            if inside.min() <= 0 or inside.max() >= (crop or SIDE):
                continue
            rows, columns = np.nonzero(bright)
            truth = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            padding = np.abs(inside - truth)
            # The ends of turned axes lie inside the box around the turned ellipse: up to 1.6 px here.
            assert (padding > 5 * 0.8 - 2.6).all()
            assert (padding < 5 * 1.2 + 1).all()
            overlap = (bright & masks[0].numpy()).sum() / (bright | masks[0].numpy()).sum()
            assert overlap > 0.85
            seen += 1
    assert seen > 10


def test_a_mirrored_image_has_mirrored_boxes(data):
    flipped = feed(data, augmentation=replace(STILL, p_flip=1.0), batch_size=len(data)).batch(0)
    for image, boxes, index in zip(flipped["image"], flipped["boxes"], flipped["index"], strict=True):
        key = data.keys[int(index)]
        np.testing.assert_array_equal(image, windowed(load_slices(key, 3))[..., ::-1])
        np.testing.assert_allclose(boxes, (SIDE - key.boxes)[:, [2, 1, 0, 3]] * [1, 0, 1, 0] + key.boxes * [0, 1, 0, 1])


def test_boxes_that_leave_the_image_are_left_out_and_cut_ones_are_cut(data):
    far = feed(
        data, augmentation=replace(STILL, p_move=1.0, rotation=0, scale=0, shift=0.9, visible=0.5), batch_size=11
    )
    counts = [len(boxes) for index in range(4) for boxes in far.batch(index)["boxes"]]
    assert 0 in counts
    assert max(counts) > 0
    for boxes in far.batch(0)["boxes"]:
        assert boxes.shape[1] == 4
        assert (boxes >= 0).all()
        assert (boxes <= SIDE).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) >= 2).all()


def test_a_cut_out_square_holds_a_lesion_anywhere_in_it_or_any_point_of_the_body(data):
    cut = feed(data, augmentation=replace(STILL, crop=32, p_lesion=1.0, visible=0.1), batch_size=11)
    batches = [cut.batch(index) for index in range(6)]
    assert all(batch["image"].shape == (11, 3, 32, 32) for batch in batches)
    middles = [boxes[0].reshape(2, 2).mean(0) for batch in batches for boxes in batch["boxes"] if len(boxes)]
    assert len(middles) > 60
    assert np.stack(middles).std(0).min() > 4
    anywhere = feed(data, augmentation=replace(STILL, crop=16, p_lesion=0.0, visible=0.5), batch_size=11)
    held = [len(boxes) > 0 for index in range(6) for boxes in anywhere.batch(index)["boxes"]]
    assert 0 < np.mean(held) < 0.8


def test_bones_become_denser_and_soft_tissue_stays(data):
    plain, dense = (
        feed(data, windows=((-1024.0, 3071.0),), augmentation=replace(STILL, bone=bone)).batch(0)["image"] * 4095 - 1024
        for bone in (None, (1.5, 1.5))
    )
    bone = plain > 200
    assert 0 < bone.float().mean() < 0.5
    torch.testing.assert_close(dense[~bone], plain[~bone])
    torch.testing.assert_close(dense[bone], 200 + 1.5 * (plain[bone] - 200), atol=0.1, rtol=0)


def test_a_square_larger_than_the_image_is_padded(data):
    batch = feed(data, augmentation=replace(STILL, crop=96, p_lesion=1.0)).batch(0)
    assert batch["image"].shape == (4, 3, 96, 96)
    assert all(len(boxes) > 0 for boxes in batch["boxes"])


def test_evaluation_shows_every_sample_once_with_the_way_back(data):
    shown = list(feed(data, spacing=1.6, size=32).evaluation_batches(4))
    assert torch.cat([batch["index"] for batch in shown]).tolist() == list(range(len(data)))
    assert [len(batch["image"]) for batch in shown] == [4, 4, len(data) - 8]
    for batch in shown:
        for boxes, matrix, index in zip(batch["boxes"], batch["matrix"], batch["index"], strict=True):
            np.testing.assert_allclose(matrix, [[0.5, 0, 0], [0, 0.5, 0]])
            np.testing.assert_allclose(boxes, data.keys[int(index)].boxes / 2, atol=1e-5)


def test_several_windows_make_several_channels(data):
    batch = feed(data, windows=MVP_NET, augmentation=STILL).batch(0)
    assert batch["image"].shape == (4, 9, SIDE, SIDE)
    wanted = windowed(load_slices(data.keys[int(batch["index"][0])], 3), MVP_NET)
    np.testing.assert_allclose(batch["image"][0], wanted, atol=1e-5)


def test_the_key_slice_moves_by_no_more_than_the_lesion_allows(data, monkeypatch):
    shifts = []
    real = load_slices

    def spy(*args, shift, **how):
        shifts.append(shift)
        return real(*args, shift=shift, **how)

    monkeypatch.setattr("semeia.data.slice_feeds.load_slices", spy)
    shifted = feed(data, augmentation=replace(STILL, z_shift=1.0))
    for index in range(20):
        shifted.batch(index)
    # Half the short axis is 5 px of 0.8 mm; a slice is 2 mm.
    assert set(shifts) == {-2, -1, 0, 1, 2}
    shifts.clear()
    feed(data, augmentation=STILL).batch(0)
    assert set(shifts) == {0}


def test_a_cache_changes_nothing_and_notices_new_slices(folder, tmp_path):
    data = read(folder)
    cached = feed(data, cache=tmp_path / "cache")
    for _ in range(2):
        same(cached.batch(1), feed(data).batch(1))
    files = sorted((tmp_path / "cache").iterdir())
    assert files
    for path in files:
        path.write_bytes(path.read_bytes()[:100])
    same(pickle.loads(pickle.dumps(cached)).batch(1), feed(data).batch(1))
    assert all(len(path.read_bytes()) > 100 for path in files)

    write_table(tmp_path, [finding(1, 3, middle=(30, 30))])
    write_series(tmp_path, 1, 1, 1, np.zeros((4, SIDE, SIDE), np.int16), first=1)
    series = read(tmp_path).keys[0].series
    assert (SliceCache(tmp_path / "cache").read(series, 3) == 0).all()
    write_series(tmp_path, 1, 1, 1, np.full((4, SIDE, SIDE), 7, np.int16), first=1)
    assert (SliceCache(tmp_path / "cache").read(series, 3) == 7).all()


def test_damaged_slices_are_named_through_feed_and_cache(tmp_path):
    write_table(tmp_path, [finding(1, 3, middle=(30, 30))])
    write_series(tmp_path, 1, 1, 1, np.zeros((4, SIDE, SIDE), np.int16), first=1)
    (tmp_path / "Images_png/000001_01_01/002.png").write_bytes(b"\x89PNG\r\n")
    broken = read(tmp_path)
    for how in ({}, {"cache": tmp_path / "cache"}):
        with pytest.raises(SemeiaError, match=r"002.png: expected a PNG"):
            feed(broken, **how).batch(0)
    assert list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "Images_png/000001_01_01/002.png").unlink()
    with pytest.raises(SemeiaError, match=r"002.png: not found any more"):
        feed(broken, cache=tmp_path / "cache").batch(0)
