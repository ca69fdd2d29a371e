"""The detector as a whole: every slot can be filled anew, and a scan equals its key slices."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from semeia.detection.anchors import AnchorTargets
from semeia.detection.boxes import inside
from semeia.detection.design import Design, build_detector
from semeia.detection.masks import MapHead
from semeia.detection.regions import mean_by_image
from semeia.records import SemeiaError

TINY = Design(
    slices=3, image_size=64, mean=0.3, std=0.25, trunk="narrow", trunk_channels=(8, 16, 32), pyramid=16,
    anchor_scales=(8.0, 14.0), anchor_ratios=(1.0,), anchor_positive=0.5, proposal_hidden=16,
    proposals_before=(100, 100), proposals_after=(40, 20), region_size=5, region_sampling=1, region_hidden=32,
)  # fmt: skip


def built(changes=None, **slots):
    torch.manual_seed(0)
    return build_detector(replace(TINY, **changes or {}), **slots)


def test_there_is_a_loss_of_each_image_and_their_weighted_sum(squares):
    model = built({"objectness_weight": 3.0}).train()
    said = model.losses(squares(5))
    assert set(said) == {"loss", "objectness", "anchor_boxes", "classes", "region_boxes"}
    assert all(each.shape == (5,) for each in said.values())
    total = 3 * said["objectness"] + said["anchor_boxes"] + said["classes"] + said["region_boxes"]
    assert torch.allclose(said["loss"], total)


def test_gradients_reach_every_parameter(squares):
    model = built({"mask_channels": 8}).train()
    model.losses(squares(4, masks=True))["loss"].sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


@pytest.mark.parametrize("slices", [1, 2, 4, 7])
@pytest.mark.parametrize("size", [(64, 64), (50, 75), (33, 31)])
def test_any_number_of_slices_and_any_size_go_in(squares, slices, size):
    model = built({"slices": slices})
    batch = squares(2, slices, size)
    assert model.train().losses(batch)["loss"].isfinite().all()
    for boxes, scores in model.eval().predict(batch["image"]):
        assert len(boxes) == len(scores) > 0
        assert (boxes >= 0).all()
        assert (boxes <= torch.tensor([size[1], size[0]] * 2)).all()


def test_the_key_slice_of_an_even_number_is_the_one_behind_the_middle(squares):
    model = built({"slices": 4, "collector": "key"}).eval()
    image = squares(1, 4)["image"]
    other = image.clone()
    other[:, [0, 1, 3]] = 0.9
    assert torch.equal(model.features(image), model.features(other))


def test_images_without_boxes_and_with_useless_ones_teach_the_same(squares):
    model = built().train()
    batch = squares(2)

    def losses(boxes):
        torch.manual_seed(1)
        return model.losses(batch | {"boxes": [boxes, batch["boxes"][1]]})

    none = losses(torch.zeros(0, 4))
    assert none["loss"].isfinite().all()
    assert none["anchor_boxes"][0] == none["region_boxes"][0] == 0
    useless = losses(torch.tensor([[5.0, 5, 5, 9], [70, 70, 90, 90], [-9, 3, 0.4, 20]]))
    assert all(torch.equal(useless[name], none[name]) for name in none)


def test_masks_of_boxes_that_are_dropped_are_dropped(squares):
    model = built({"mask_channels": 8}).train()
    batch = squares(2, masks=True)
    batch["boxes"][0] = torch.cat([torch.tensor([[80.0, 3, 90, 9]]), batch["boxes"][0]])
    batch["masks"][0] = torch.cat([torch.zeros(1, 64, 64).bool(), batch["masks"][0]])
    assert model.losses(batch)["mask"].max() < 1


def test_a_box_of_nothing_is_refused(squares):
    batch = squares(2)
    batch["boxes"][1] = torch.tensor([[1.0, 1, float("nan"), 4]])
    with pytest.raises(SemeiaError, match="sample 1"):
        built().losses(batch)


def test_a_picture_of_nan_shows_in_the_loss(squares):
    batch = squares(2)
    batch["image"][0, 0, 3, 3] = float("nan")
    said = built({"trunk_channels": (8, 8, 8)}).train().losses(batch)
    assert said["loss"][0].isnan()
    assert said["loss"][1].isfinite()


def test_losses_and_answers_are_float32_also_where_the_network_runs_in_bf16(squares):
    model, batch = built({"mask_channels": 8}).train(), squares(2, masks=True)
    with torch.autocast("cpu", torch.bfloat16):
        said = model.losses(batch)
        found = model.eval().predict(batch["image"])
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in said.values())
    assert all(boxes.dtype == scores.dtype == torch.float32 for boxes, scores in found)


def test_equal_seeds_give_equal_losses(squares):
    batch = squares(3)

    def losses():
        model = built().train()
        torch.manual_seed(5)
        return model.losses(batch)["loss"]

    assert torch.equal(losses(), losses())


@pytest.mark.parametrize("name", ["convolution", "depthwise", "key", "mean", "max"])
def test_every_collector_can_be_named(squares, name):
    assert built({"collector": name}).losses(squares(2))["loss"].isfinite().all()


def test_another_collector_fills_its_slot(squares):
    class Last(nn.Module):
        def __init__(self, channels, slices):
            super().__init__()
            self.seen = (tuple(channels), slices)

        def forward(self, maps):
            return [x[:, :, -1] for x in maps]

    model = built(collector=Last).eval()
    assert model.collector.seen == ((8, 16, 32), 3)
    image = squares(1)["image"]
    other = image.clone()
    other[:, :2] = 0.5
    assert torch.equal(model.features(image), model.features(other))


def test_a_labeller_of_dense_soft_targets_fills_its_slot(squares):
    seen = []

    def dense(anchors, boxes, size):
        """Every position learns the value of a map at its centre, as bounding maps do."""
        seen.append((len(anchors), size, torch.is_grad_enabled()))
        x, y = ((anchors[:, i] + anchors[:, i + 2]) / 2 for i in (0, 1))
        value = torch.zeros_like(x)
        for x0, y0, x1, y1 in boxes.tolist():
            hit = (x > x0) & (x < x1) & (y > y0) & (y < y1)
            value[hit] = (1 - (x - (x0 + x1) / 2).abs() / (x1 - x0))[hit]
        weight = torch.full_like(value, 1 / len(value))
        usual = inside(anchors, size) & (value > 0.5)
        matched = torch.where(usual, 0, -1)
        return AnchorTargets(value, weight, matched, usual / usual.sum().clamp(min=1))

    said = built(labeller=dense).train().losses(squares(2))
    assert seen == [(16 * 16 * 2, (64, 64), False)] * 2
    assert said["objectness"].tolist() == pytest.approx([0.69] * 2, abs=0.02)
    assert (said["anchor_boxes"] > 0).all()


def test_a_branch_on_regions_fills_its_slot_and_is_weighed(squares):
    class Flat(nn.Module):
        def __init__(self, channels, stride):
            super().__init__()
            self.draw = MapHead(channels, 8, maps=2, stride=stride)

        def forward(self, features, regions, size):
            regions = regions.of_lesions()
            each = self.draw(features, regions.boxes).sigmoid().square().mean((1, 2, 3))
            return mean_by_image(each, regions.image, torch.tensor([len(b) for b in regions.boxes]))

    model = built({"mask_channels": 8}, branches={"map": Flat}, weights={"map": 0.5}).train()
    said = model.losses(squares(3, masks=True))
    parts = sum(said[n] for n in ("objectness", "anchor_boxes", "classes", "region_boxes", "mask"))
    assert torch.allclose(said["loss"], parts + 0.5 * said["map"])


def test_a_weight_of_no_loss_is_refused():
    with pytest.raises(SemeiaError, match="outline"):
        built(weights={"outline": 1.0})


@pytest.mark.parametrize(
    "wrong",
    [
        {"slices": 0}, {"collector": "sum"}, {"anchor_scales": ()}, {"anchor_positive": 0.2}, {"trunk_norm": "group"},
        {"std": 0.0}, {"proposals_after": (10, 0)}, {"trunk_narrow_norm": "frozen"}, {"window": (100.0, -100.0)},
    ],
)  # fmt: skip
def test_numbers_that_no_detector_can_have_are_refused(wrong):
    with pytest.raises(SemeiaError, match=next(iter(wrong))):
        built(wrong)


def test_a_trunk_sees_views_of_the_range_of_hu(squares):
    """HU -100 to 100 of a range of -1000 to 1000; what lies outside is black or white to it."""
    torch.manual_seed(0)
    model = built({"window": (-1000.0, 1000.0), "views": ((-1000.0, 1000.0), (-100.0, 100.0)), "mean": 0.0, "std": 1.0})
    seen = []
    model.trunk.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    hu = torch.tensor([-1000.0, -100, 0, 50, 100, 1000])
    model.slice_maps((hu / 2000 + 0.5).expand(1, 64, 6))
    assert seen[0].shape == (1, 2, 64, 32)
    torch.testing.assert_close(seen[0][0, 0, 0, :6], torch.tensor([0, 0.45, 0.5, 0.525, 0.55, 1]))
    torch.testing.assert_close(seen[0][0, 1, 0, :6], torch.tensor([0, 0, 0.5, 0.75, 1, 1]), atol=1e-5, rtol=0)


def test_views_outside_the_range_of_hu_are_refused():
    with pytest.raises(SemeiaError, match="views"):
        built({"window": (-1000.0, 400.0), "views": ((-160.0, 600.0),)})


# -- scans


def around(scan, slices):
    """Every slice of a scan (Z, H, W) with its neighbours: (Z, S, H, W)."""
    place = torch.arange(len(scan))[:, None] + torch.arange(slices) - slices // 2
    return scan[place.clamp(0, len(scan) - 1)]


@pytest.mark.parametrize("slices", [1, 3, 4, 7])
@pytest.mark.parametrize(("count", "together"), [(9, 1), (9, 4), (2, 8), (1, 1)])
def test_a_scan_equals_its_key_slices_read_one_by_one(squares, slices, count, together):
    model = built({"slices": slices}).eval()
    scan = squares(1, count, (50, 64))["image"][0]
    streamed = list(model.predict_scan(iter(scan), together=together))
    assert len(streamed) == count
    for (boxes, scores), image in zip(streamed, around(scan, slices), strict=True):
        ((others, values),) = model.predict(image[None])
        assert boxes.shape == others.shape
        assert torch.allclose(boxes, others, atol=1e-3)
        assert torch.allclose(scores, values, atol=1e-5)


def test_the_map_of_a_streamed_slice_is_exactly_that_of_its_slices(squares):
    model = built().eval()
    scan = squares(1, 6)["image"][0]
    seen = []
    model.found = lambda features, size: seen.append(features) or [None]
    assert list(model.predict_scan(iter(scan))) == [None] * 6
    with torch.no_grad():
        for features, image in zip(seen, around(scan, 3), strict=True):
            alone = [model.slice_maps(x[None]) for x in image]
            gathered = [torch.stack([x[0] for x in at], 1)[None] for at in zip(*alone, strict=True)]
            assert torch.equal(features, model.key_map(gathered))
            # Of a batch the trunk's convolutions round otherwise than of one slice.
            assert torch.allclose(features, model.features(image[None]), atol=1e-5)


def test_a_scan_costs_one_pass_of_the_trunk_a_slice_and_keeps_few_slices(squares):
    model = built().eval()
    passed = []
    model.trunk.register_forward_hook(lambda module, given, said: passed.append(len(given[0])))
    read = 0

    def source():
        nonlocal read
        for image in squares(1, 10)["image"][0]:
            read += 1
            yield image

    for key, _ in enumerate(model.predict_scan(source())):
        assert read == min(key + 2, 10)
    assert passed == [1] * 10


def test_no_slices_are_no_answers():
    assert list(built().eval().predict_scan(iter([]))) == []
