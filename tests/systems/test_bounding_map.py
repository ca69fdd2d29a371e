"""Bounding maps as a system: its arms, what it learns from and what it answers with."""

import copy
from dataclasses import asdict, replace

import pytest
import torch

from semeia import checkpoint
from semeia.detection.anchors import OverlapLabeller
from semeia.detection.bounding_labels import Above, ConditionedLabeller, MapLabeller, Nearest
from semeia.detection.collectors import KeySlice
from semeia.detection.design import build_detector
from semeia.metrics.froc import RATES
from semeia.records import SemeiaError
from semeia.systems import bounding_map, uld

ARMS = [
    ("iou", "none"), ("bm", "none"), ("bm", "bm"), ("bmc", "none"), ("iou", "abm"), ("bmc", "abm"),
    ("bmc threshold", "abm"),
]  # fmt: skip


def squares(count=8, slices=3, size=64, seed=0):
    """Bright squares on the key slice."""
    made = torch.Generator().manual_seed(seed)
    image = 0.3 + 0.05 * torch.randn(count, slices, size, size, generator=made)
    boxes = []
    for i in range(count):
        side = int(torch.randint(8, 17, (1,), generator=made))
        x, y = (int(torch.randint(2, size - side - 1, (1,), generator=made)) for _ in range(2))
        image[i, slices // 2, y : y + side, x : x + side] += 0.5
        boxes.append(torch.tensor([[x, y, x + side, y + side]], dtype=torch.float32))
    return {"image": image.clamp(0, 1), "boxes": boxes, "index": torch.arange(count)}


def built(**changes):
    torch.manual_seed(0)
    return bounding_map.build(replace(bounding_map.TINY, **changes))


def test_published_numbers_are_the_defaults():
    config = bounding_map.Config()
    assert (config.labels, config.branch, config.abm) == ("bmc", "abm", "v1")
    labeller = bounding_map.labeller_of(config)
    assert isinstance(labeller, ConditionedLabeller)
    assert (labeller.near, labeller.fallback) == (Nearest(320), Nearest(80))
    assert (labeller.positives, labeller.count, labeller.negative) == (16, 32, 0.3)
    assert bounding_map.profile_of(config, "v1").areas == (200, 1000)
    assert bounding_map.profile_of(bounding_map.SMALL, "v1").areas == (50, 250)


def test_small_and_tiny_are_the_plain_detectors():
    for name in ("SMALL", "TINY"):
        ours, plain = getattr(bounding_map, name), getattr(uld, name)
        assert {field: getattr(ours, field) for field in asdict(plain)} == asdict(plain)


@pytest.mark.parametrize(
    ("labels", "kind"), [("iou", OverlapLabeller), ("bm", MapLabeller), ("bmc", ConditionedLabeller)]
)
def test_an_arm_is_another_labeller(labels, kind):
    assert type(bounding_map.labeller_of(replace(bounding_map.TINY, labels=labels))) is kind


def test_the_threshold_arm_asks_the_map():
    labeller = bounding_map.labeller_of(replace(bounding_map.TINY, labels="bmc threshold", bmc_threshold=0.6))
    assert labeller.near == Above(0.6)


@pytest.mark.parametrize(
    ("branch", "named", "drawn"),
    [("bm", (), ("x", "y")), ("abm", (), ("xy",)), ("bm", ("x", "y", "xy"), ("x", "y", "xy"))],
)
def test_a_branch_draws_the_published_maps_or_those_that_are_named(branch, named, drawn):
    model = built(branch=branch, branch_maps=named)
    assert model.detector.branches["map"].maps == drawn
    assert model.detector.branches["map"].draw.steps[-1].out_channels == len(drawn)


def test_the_border_of_the_branch_is_that_of_its_variant():
    borders = {v: built(abm=v).detector.branches["map"].profile.borders for v in ("bm", "v1", "v1 live", "v2")}
    assert borders == {"bm": (0.5,), "v1": (1.0, 0.5, 0.3), "v1 live": (1.0, 0.5), "v2": (1.0, 0.5)}
    assert built(branch="bm").detector.branches["map"].profile.borders == (0.5,)


@pytest.mark.parametrize(("labels", "branch"), ARMS)
def test_every_arm_gives_one_loss_an_image_and_a_gradient_to_every_weight(labels, branch):
    model, batch = built(labels=labels, branch=branch).train(), squares(3)
    torch.manual_seed(3)
    each = model.detector.losses(batch)
    assert all(value.shape == (3,) for value in each.values())
    torch.manual_seed(3)
    said = model(batch)
    watched = {"objectness_above_floor", "positives"}
    assert set(said) == set(each) | watched
    assert all(torch.equal(said[name], value.mean()) for name, value in each.items())
    assert not any(said[name].requires_grad for name in watched)
    said["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(p.grad.abs().sum() > 0 for n, p in model.named_parameters() if n.endswith("weight"))


def test_the_branch_weighs_what_it_is_given():
    torch.manual_seed(3)
    said = built(branch_weight=0.25).train()(squares(2))
    names = ("objectness", "anchor_boxes", "classes", "region_boxes")
    assert said["loss"].item() == pytest.approx(sum(said[n].item() for n in names) + 0.25 * said["map"].item())


def test_more_anchors_are_told_of_a_lesion_than_by_overlap():
    counts = {}
    for labels in ("iou", "bmc"):
        torch.manual_seed(0)
        counts[labels] = built(labels=labels, anchor_positive=0.7).train()(squares())["positives"].item()
    assert counts["iou"] < 5
    assert 10 < counts["bmc"] <= 16


def test_soft_labels_have_a_floor_and_hard_ones_none():
    hard = built(labels="bmc").train()(squares(2))
    assert torch.equal(hard["objectness_above_floor"], hard["objectness"].detach())
    for changes in ({"labels": "bm"}, {"labels": "bmc", "bmc_label": "centre"}):
        soft = built(**changes).train()(squares(2))
        assert 0 < soft["objectness_above_floor"] < soft["objectness"]


@pytest.mark.parametrize(("labels", "branch"), [("bm", "bm"), ("bmc", "abm")])
def test_it_overfits_eight_samples(labels, branch):
    model, batch = built(labels=labels, branch=branch, dense_share=0.25).train(), squares()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        model(batch)["loss"].backward()
        optimizer.step()
    model.eval()
    for (boxes, scores), lesion in zip(model.predict(batch["image"]), batch["boxes"], strict=True):
        assert torch.allclose(boxes[0], lesion[0], atol=2)
        assert scores[0] > 0.8


@pytest.mark.parametrize(("labels", "branch"), ARMS)
def test_with_equal_weights_it_answers_as_the_plain_detector_does(labels, branch):
    model, image = built(labels=labels, branch=branch).eval(), squares(2)["image"]
    plain = uld.build(uld.TINY).eval()
    told = {name: value for name, value in model.state_dict().items() if ".branches." not in name}
    plain.load_state_dict(told)
    for (boxes, scores), (others, values) in zip(model.predict(image), plain.predict(image), strict=True):
        assert torch.equal(boxes, others)
        assert torch.equal(scores, values)


def test_neither_branch_nor_labeller_is_asked_in_use():
    model, image = built().eval(), squares(1, 4)["image"]

    def asked(*given):
        raise AssertionError

    model.detector.branches["map"].register_forward_pre_hook(asked)
    model.detector.proposals.labeller = asked
    model.predict(image[:, :3])
    assert len(list(model.predict_scan(iter(image[0])))) == 4


def test_a_saved_detector_answers_alike(tmp_path):
    model, image = built(branch="bm").eval(), squares(2)["image"]
    checkpoint.save(tmp_path, system="bounding_map", config=model.config, state=model.state_dict(), card="", half=False)
    again, _ = checkpoint.load(tmp_path, system="bounding_map", kind=bounding_map.Config, build=bounding_map.build)
    assert asdict(again.config) == asdict(model.config)
    for (boxes, scores), (others, values) in zip(model.predict(image), again.predict(image), strict=True):
        assert torch.equal(boxes, others)
        assert torch.equal(scores, values)


def test_a_copy_listens_to_its_own_labeller():
    model = built().train()
    twin = copy.deepcopy(model)
    assert twin.noted is twin.detector.proposals.labeller
    assert twin.noted is not model.noted
    assert twin(squares(2))["positives"] > 0


def test_scores_of_so_many_false_detections_are_kept_with_the_weights():
    assert built().state_dict()["score_at"].shape == (len(RATES),)


@pytest.mark.parametrize(("labels", "branch"), ARMS)
def test_odd_lesions_have_finite_losses(labels, branch):
    batch = squares(5)
    batch["boxes"] = [
        torch.zeros(0, 4),  # none
        torch.tensor([[10.0, 10, 10, 10]]),  # nothing: no lesion to learn from
        torch.tensor([[10.0, 10, 11, 11]]),  # one pixel
        torch.tensor([[-20.0, -20, 30, 90], [50, 50, 80, 80]]),  # over the border
        torch.tensor([[0.0, 0, 64, 64], [0, 0, 64, 64]]),  # all of it, twice
    ]
    model = built(labels=labels, branch=branch).train()
    said = model(batch)
    assert all(value.isfinite() for value in said.values())
    said["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_batch_without_lesions_teaches_what_is_none():
    batch = squares(2) | {"boxes": [torch.zeros(0, 4)] * 2}
    said = built().train()(batch)
    assert said["map"] == said["anchor_boxes"] == said["positives"] == 0
    assert said["objectness"] > 0


def test_its_labels_and_its_branch_stack_with_any_collector_and_with_masks():
    config = replace(bounding_map.TINY, mask_channels=8)
    detector = build_detector(
        config, collector=KeySlice, labeller=bounding_map.labeller_of(config),
        branches=bounding_map.branches_of(config), weights=bounding_map.weights_of(config),
    ).train()  # fmt: skip
    batch = squares(2) | {"masks": [torch.ones(1, 64, 64).bool()] * 2}
    assert {"map", "mask"} <= set(detector.losses(batch))


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": "bmx"}, {"labels_map": "v3"}, {"bmc_label": "soft"}, {"branch": "mask"}, {"abm": "v3"},
        {"branch_loss": "dice"}, {"branch_maps": ("z",)}, {"areas": (1000.0, 200.0)}, {"areas": (0.0, 200.0)},
        {"scale": 0.0}, {"scale": float("nan")}, {"bmc_nearest": 0}, {"bmc_fallback": 0}, {"branch_channels": 0},
        {"bmc_ratio": 1.0}, {"dense_share": 1.5}, {"dense_others": -1.0}, {"bmc_threshold": float("nan")},
        {"anchor_positives": 0.0}, {"image_size": 0},
    ],
)  # fmt: skip
def test_values_that_will_not_do_are_refused_by_name(changes):
    (name,) = changes
    with pytest.raises(SemeiaError, match=name):
        built(**changes)
