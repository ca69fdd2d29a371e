"""SATr: its sizes, each arm differs where it says, and the detector learns with it."""

from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F

from semeia import checkpoint
from semeia.ledger.matching import matched
from semeia.metrics.froc import RATES
from semeia.records import SemeiaError
from semeia.systems import satr, uld

from .satr_makers import built, collector, maps, squares

ARMS = {
    "published": {"embedding": "published", "block_norm": "batch"},
    "without an embedding": {"embedding": "none"},
    "all slices": {"attend": "all"},
    "the key slice": {"attend": "key"},
    "transformer alone": {"hybrid": False},
    "learned class token": {"class_token": "learned"},
    "no class token": {"class_token": "none"},
    "convolution": {"block": "convolution"},
    "convolution with batch norm": {"block": "convolution", "block_norm": "batch"},
    "tokens of 32 pixels": {"token": 32},
    "six slices": {"slices": 6},
    "one slice": {"slices": 1, "attend": "all"},
}


# -- sizes


def test_the_published_block_has_the_parameters_that_were_measured():
    config = replace(satr.Config(), embedding="published")
    with torch.device("meta"):
        made = satr.SliceAttentionCollector(config, (256, 512, 1024), config.slices)
    extra = [sum(p.numel() for m in pair for p in m.parameters()) for pair in zip(made.stages, made.fuse, strict=True)]
    assert [round(n / 1e6, 1) for n in extra] == [48.2, 27.1, 18.5]
    assert round(sum(extra) / 1e6, 1) == 93.7
    patches = sum(p.numel() for stage in made.stages for p in stage.patches.parameters())
    assert round(patches / 1e6, 1) == 77.1
    attention = sum(p.numel() for s in made.stages for n, p in s.layer.named_parameters() if "think" not in n)
    assert round(attention / 1e6, 1) == 6.2
    assert round(sum(p.numel() for p in made.collect.parameters()) / 1e6, 1) == 9.6


def test_one_stage_by_hand():
    # E 384, S 7, p 8, C 256: each term is a line of the equations; the fusion is the last.
    e, s, p, c = 384, 7, 8, 256
    whole = c * e * s * p * p + e
    slices = s * (c * e + e + 2 * e)
    attention = ((s - 1) * e * 2 * e + 2 * e) + 2 * (e * e + e) + 2 * 2 * e + (e * 4 * e + 4 * e) + (4 * e * e + e)
    back = (e * c + c) + 2 * c
    with torch.device("meta"):
        made = satr.SliceAttentionCollector(replace(satr.Config(), embedding="published"), (256, 512, 1024), 7)
    assert sum(q.numel() for q in made.stages[0].parameters()) == whole + slices + attention + back
    assert sum(q.numel() for q in made.fuse[0].parameters()) == c * c + 2 * c


def test_the_light_embedding_is_a_fraction_of_the_published_one():
    with torch.device("meta"):
        made = satr.SliceAttentionCollector(satr.Config(), (256, 512, 1024), 7)
    counts = [sum(p.numel() for p in stage.patches.parameters()) for stage in made.stages]
    assert counts == [c * 7 * p * p + c * 384 + 384 for c, p in ((256, 8), (512, 4), (1024, 2))]


@pytest.mark.parametrize("slices", [3, 7])
def test_the_control_has_as_many_parameters(slices):
    for base in (replace(satr.SMALL, slices=slices), replace(satr.Config(), slices=slices)):
        control = replace(base, block="convolution")
        assert abs(satr.parameters(control) / satr.parameters(base) - 1) < 0.02
        with torch.device("meta"):
            layers = [sum(p.numel() for p in satr.step_three(c, slices).parameters()) for c in (base, control)]
        assert abs(layers[1] / layers[0] - 1) < 0.02


def test_arms_can_be_matched_by_the_width_of_their_perceptron():
    target = satr.parameters(satr.SMALL)
    for attend in ("all", "key"):
        arm = replace(satr.SMALL, attend=attend)

        def count(hidden, arm=arm):
            return satr.parameters(replace(arm, hidden=hidden))

        assert abs(count(matched(count, target)) / target - 1) < 0.001


def test_parameters_are_counted_without_making_them():
    for changes in ({}, {"block": "convolution"}, {"block": "none"}):
        assert satr.parameters(replace(satr.TINY, **changes)) == sum(p.numel() for p in built(**changes).parameters())


# -- arms


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
def test_gradients_reach_every_parameter(arm):
    model = built(**arm).train()
    model(squares(2, model.config.slices))["loss"].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
@torch.no_grad()
def test_images_do_not_see_one_another(arm):
    made, x = collector(**arm), maps(3, arm.get("slices", 3))
    for together, alone in zip(made(x), made([m[1:2] for m in x]), strict=True):
        assert torch.allclose(together[1:2], alone, atol=1e-5)


@torch.no_grad()
def test_the_transformer_alone_is_the_fusion_with_a_zero():
    with_r, without = collector(), collector(hybrid=False)
    assert not list(without.collect.parameters())
    without.load_state_dict({n: v for n, v in with_r.state_dict().items() if not n.startswith("collect.")})
    x, start = maps(), torch.zeros(2, 1, 16)
    attended, _ = with_r.stages[0](x[0], start)
    assert torch.allclose(without(x)[0], with_r.fuse[0].mix(attended), atol=1e-6)
    collected = with_r.collect(x)[0]
    assert torch.allclose(with_r(x)[0], with_r.fuse[0].mix(attended + collected) + collected, atol=1e-6)


def test_any_collector_can_be_the_convolutional_path():
    for name in ("key", "mean", "max", "depthwise"):
        made = built(collector=name).eval()
        assert len(made.predict(squares(1)["image"])) == 1


def test_without_a_block_it_is_the_plain_detector():
    model, image = built(block="none").eval(), squares(2)["image"]
    torch.manual_seed(0)
    plain = uld.build(uld.TINY).eval()
    assert all(torch.equal(v, plain.state_dict()[n]) for n, v in model.state_dict().items())
    for found, other in zip(model.predict(image), plain.predict(image), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(found, other, strict=True))


@pytest.mark.parametrize("own", [(satr.SMALL, uld.SMALL), (satr.TINY, uld.TINY), (satr.Config(), uld.Config())])
def test_all_else_is_the_plain_detectors(own):
    mine, plain = (asdict(config) for config in own)
    assert {name: mine[name] for name in plain} == plain


@pytest.mark.parametrize("changes", [
    {"slices": 1}, {"block": "none", "hybrid": False}, {"block": "transformer"}, {"attend": "others"},
    {"embedding": "full"}, {"class_token": "twice"}, {"block_norm": "layer"}, {"heads": 3}, {"heads": 0}, {"token": 24},
    {"token": 0}, {"drop_path": 1.0}, {"control_width": -1}, {"hidden": 0}, {"pyramid": 0},
])  # fmt: skip
def test_what_cannot_be_built_is_refused(changes):
    with pytest.raises(SemeiaError, match=f"{next(iter(changes))}: expected"):
        built(**changes)


def test_a_control_width_that_is_given_is_kept():
    made = built(block="convolution", control_width=5).detector.collector
    assert [stage.layer.gather.out_channels for stage in made.stages] == [5, 5, 5]


@pytest.mark.parametrize("channels", [1, 5, 8, 20, 27, 256])
def test_group_norm_takes_any_number_of_channels(channels):
    assert satr.norm("group", channels)(torch.randn(2, channels, 3, 3)).shape == (2, channels, 3, 3)


# -- as a detector


def test_the_trunk_is_not_told():
    x = maps()
    kept = [m.clone() for m in x]
    collector()(x)
    assert all(torch.equal(a, b) for a, b in zip(x, kept, strict=True))


def test_the_task_returns_means_over_images():
    model, batch = built(drop_path=0.0).train(), squares(4)
    torch.manual_seed(3)
    each = model.detector.losses(batch)
    torch.manual_seed(3)
    said = model(batch)
    assert set(said) == set(each)
    assert all(value.shape == () and torch.equal(value, each[name].mean()) for name, value in said.items())


def test_training_lowers_the_loss():
    model, batch = built().train(), squares(4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_a_step_in_bf16_is_finite():
    model = built().train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(squares(2))["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_saved_detector_answers_alike(tmp_path):
    for arm in ({}, {"class_token": "learned", "block_norm": "batch"}, {"block": "convolution"}):
        model, image = built(**arm).eval(), squares(2)["image"]
        checkpoint.save(tmp_path, system="satr", config=model.config, state=model.state_dict(), card="", half=False)
        again, _ = checkpoint.load(tmp_path, system="satr", kind=satr.Config, build=satr.build)
        assert asdict(again.config) == asdict(model.config)
        for found, other in zip(model.predict(image), again.predict(image), strict=True):
            assert all(torch.equal(a, b) for a, b in zip(found, other, strict=True))


def test_scores_of_so_many_false_detections_are_kept_with_the_weights():
    assert built().state_dict()["score_at"].shape == (len(RATES),)


@pytest.mark.parametrize("slices", [3, 4])
@torch.no_grad()
def test_a_scan_is_read_like_a_batch_of_its_slices(slices):
    model, scan = built(slices=slices).eval(), squares(1, 6)["image"][0]
    before, after = slices // 2, slices - 1 - slices // 2
    around = [[min(max(k, 0), 5) for k in range(key - before, key + after + 1)] for key in range(6)]
    together = model.predict(torch.stack([scan[numbers] for numbers in around]))
    one_by_one = list(model.predict_scan(iter(scan), together=4))
    assert len(one_by_one) == 6
    for (boxes, scores), (others, values) in zip(one_by_one, together, strict=True):
        assert boxes.shape == others.shape
        assert torch.allclose(boxes, others, atol=1e-2)
        assert torch.allclose(scores, values, atol=1e-4)


@torch.no_grad()
def test_the_order_of_slices_counts():
    model, image = built().eval(), squares(2)["image"]
    assert not torch.allclose(model.detector.features(image), model.detector.features(image.flip(1)), atol=1e-3)


@pytest.mark.parametrize("size", [(48, 80), (33, 50), (96, 64)])
@pytest.mark.parametrize("token", [16, 32, 48])
def test_images_of_any_size_are_read(size, token):
    model = built(token=token).eval()
    image = F.interpolate(squares(1)["image"], size)
    h, w = (-(-side // 32) * 32 // 4 for side in size)
    assert model.detector.features(image).shape == (1, 16, h, w)


def test_the_published_trunk_with_a_narrow_block():
    torch.manual_seed(0)
    config = replace(satr.Config(), slices=3, region_hidden=32, width=24, heads=2, hidden=48)
    model = satr.build(config).train()
    said = model(squares(1, size=64))
    assert said["loss"].isfinite()
    said["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.eval().detector.features(squares(1)["image"]).shape == (1, 512, 16, 16)


def test_published_numbers_are_the_defaults():
    config = satr.Config()
    assert (config.trunk, config.width, config.heads, config.hidden) == ("densenet121", 384, 6, 4 * 384)
    assert (config.attend, config.hybrid, config.class_token, config.slices) == ("neighbours", True, "zero", 7)


@pytest.mark.parametrize("slices", [2, 5])
def test_small_and_tiny_build_with_any_number_of_slices(slices):
    for config in (satr.SMALL, satr.TINY):
        assert satr.build(replace(config, slices=slices)).detector.slices == slices
