"""SMILE-style reconstruction: losses, phases, arms, twins."""

from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F

from semeia import checkpoint
from semeia.recipes.smile import ARMS
from semeia.records import SemeiaError
from semeia.systems import smile
from semeia.systems.smile import TINY, Views, Weights

SIDE = TINY.size
PHASES = ("segment_first", "criticise", "generate", "segment", "generate_unlabelled", "segment_unlabelled")


def batch(size=4, *, known=True, healthy=True, seed=0):
    """Grey pictures with a bright square, which is the lesion."""
    torch.manual_seed(seed)
    ground = 0.05 * torch.randn(size, 1, SIDE, SIDE)
    mask = torch.zeros(size, 1, SIDE, SIDE)
    mask[:, :, 8:16, 12:20] = 1
    flag = torch.full((size,), known)
    return {
        "image": (ground + 0.7 * mask).clamp(-1, 1), "mask": mask * known, "mask_known": flag,
        "healthy": 0.05 * torch.randn(size, 1, SIDE, SIDE), "healthy_known": torch.full((size,), healthy),
    }  # fmt: skip


def model(**changes):
    torch.manual_seed(1)
    return smile.build(replace(TINY, **changes))


def number(value):
    return float(value.detach())


class Said(torch.nn.Module):
    """A teacher that says the same of any picture."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, image):
        return self.logits


def moving(net):
    """The net with random last layers: a residual generator begins as a copy, which most losses cannot tell apart."""
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "net.last" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return net


def reached(net):
    return {
        name for name, own in net.nets.items() if any(p.grad is not None and p.grad.any() for p in own.parameters())
    }


# -- stages and phases


def test_the_last_stage_has_five_phases_on_three_kinds_of_batches():
    phases = model().phases
    assert [(phase.loss, phase.optimizer, phase.feed) for phase in phases] == [
        ("criticise", "critic", "mixed"),
        ("generate", "generator", "labelled"),
        ("segment", "segmentor", "labelled"),
        ("generate_unlabelled", "generator", "unlabelled"),
        ("segment_unlabelled", "segmentor", "unlabelled"),
    ]


def test_the_first_stages_see_masked_images_alone():
    net = model()
    net.enter("segmentor")
    assert [(phase.loss, phase.feed) for phase in net.phases] == [("segment_first", "labelled")]
    net.enter("labelled")
    assert [(phase.loss, phase.feed) for phase in net.phases] == [("criticise", "labelled"), ("generate", "labelled")]


def test_the_supervised_arm_takes_as_many_steps_of_each_optimiser_and_sees_masked_images_alone():
    def counts(net):
        return sorted(phase.optimizer for phase in net.phases)

    supervised = smile.build(ARMS["supervised"](TINY))
    assert counts(supervised) == counts(model())
    assert {phase.feed for phase in supervised.phases} == {"labelled"}


def test_a_stage_begins_with_a_new_count_and_a_teacher_like_the_segmentor():
    net = model()
    with torch.no_grad():
        next(net.nets["segmentor"].parameters()).add_(1)
    net.after_step(7)
    assert net.taken == 7
    assert net.teacher.updates == 1
    net.enter("both")
    assert net.taken == 0
    assert net.teacher.updates == 0
    image = batch()["image"]
    assert torch.equal(net.teacher(image), net.nets["segmentor"](image))


@pytest.mark.parametrize(("phase", "expected"), [
    ("segment_first", {"segmentor"}), ("segment", {"segmentor"}), ("segment_unlabelled", {"segmentor"}),
    ("criticise", {"critic"}), ("generate", {"generator", "reconstructor"}),
    ("generate_unlabelled", {"generator", "reconstructor"}),
])  # fmt: skip
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
def test_a_phase_reaches_the_networks_of_its_optimiser_and_no_others(phase, expected, autocast):
    net = moving(model())
    net.after_step(1)
    # An untrained teacher is sure of nothing.
    net.config = replace(net.config, tau=0.5)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = net(batch(known="unlabelled" not in phase), phase)["loss"]
    loss.backward()
    assert reached(net) == expected
    assert not any(p.grad is not None for p in net.teacher.parameters())


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
def test_every_arm_takes_every_stage(arm, autocast):
    net = moving(smile.build(ARMS[arm](TINY)))
    for stage in ("segmentor", "labelled", "both"):
        net.enter(stage)
        net.after_step(2)
        for phase in net.phases:
            net.zero_grad()
            one = batch(known=phase.feed != "unlabelled", healthy=net.config.use_real_normals)
            if phase.feed == "mixed":
                one["mask_known"][2:], one["mask"][2:] = False, 0
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                parts = net(one, phase.loss)
            parts["loss"].backward()
            assert all(torch.isfinite(value) for value in parts.values())
            names = {name for group in net.groups(phase.optimizer) for name, _ in group["named_params"]}
            assert any(p.grad is not None for name, p in net.named_parameters() if name in names), phase


def test_each_optimiser_has_its_networks_and_all_that_learns_has_one():
    net = smile.build(ARMS["xia"](TINY))
    owned = [name for key in smile.OWNED for group in net.groups(key) for name, _ in group["named_params"]]
    assert len(owned) == len(set(owned))
    assert set(owned) == {name for name, p in net.named_parameters() if p.requires_grad}


def test_with_gradients_through_masks_the_generator_moves_the_segmentor_too():
    net = moving(model(grad_to_segmentor=True, p_pred_mask=1.0))
    net(batch(known=False), "generate_unlabelled")["loss"].backward()
    assert "segmentor" in reached(net)
    names = [name for group in net.groups("generator") for name, _ in group["named_params"]]
    assert any(name.startswith("nets.segmentor.") for name in names)


# -- losses


def views(net, **changes):
    return Views(net, batch(**changes))


def test_identity_counts_what_changed_outside_the_lesion():
    v = views(model())
    v.twin = v.image + 0.5 * v.mask
    assert number(smile.identity(v)) == 0
    v.twin = v.image + 0.5 * (1 - v.mask)
    assert number(smile.identity(v)) == pytest.approx(0.5 * float((1 - v.mask).mean()), rel=1e-4)
    v.model.config = replace(v.model.config, distance="squared")
    assert number(smile.identity(v)) == pytest.approx(0.25 * float((1 - v.mask).mean()), rel=1e-4)


def test_heal_is_what_a_frozen_segmentor_still_finds():
    v = views(model(focus="pixels"))
    v.twin = v.image.clone().requires_grad_()
    expected = F.softplus(v.model.nets["segmentor"](v.image)).mean()
    loss = smile.heal(v)
    assert number(loss) == pytest.approx(number(expected), rel=1e-5)
    loss.backward()
    assert v.twin.grad.any()
    assert not reached(v.model)


def test_balanced_counts_the_lesion_as_much_as_the_rest():
    value, mask = torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    mask[..., 0, :2] = 1
    value[..., 0, 0] = 4
    assert smile.FOCUSES["balanced"](value, mask) == 2
    assert smile.FOCUSES["pixels"](value, mask) == pytest.approx(0.04)
    assert smile.FOCUSES["balanced"](value, 0 * mask) == pytest.approx(0.04)


def test_traces_count_less_where_much_was_changed():
    v = views(model())
    v.twin = v.image - 0.7 * v.mask
    logits = v.model.nets["segmentor"](v.twin)
    entropy = F.binary_cross_entropy_with_logits(logits, v.mask, reduction="none")
    expected = (entropy * torch.where(v.mask > 0, 0.1, 1.0)).mean()
    assert number(smile.traces(v)) == pytest.approx(number(expected), rel=1e-4)


def test_pseudo_labels_are_those_that_the_teacher_is_sure_of_and_grow_with_the_steps():
    net = model(tau=0.9, ramp=4, strong=(0.0, 0.0, 0.0))
    assert number(smile.pseudo(views(net))) == 0
    net.taken.fill_(2)
    logits = torch.full((4, 1, SIDE, SIDE), -5.0)
    logits[..., :10] = 0.5
    net.teacher = Said(logits)
    image = batch()["image"]
    sure = (logits < 0).float()
    expected = 0.5 * (sure * F.softplus(net.nets["segmentor"](image))).mean()
    assert number(smile.pseudo(views(net))) == pytest.approx(number(expected), rel=1e-5)
    net.taken.fill_(99)
    assert number(smile.pseudo(views(net))) == pytest.approx(2 * number(expected), rel=1e-5)


def test_until_the_segmentor_is_trusted_what_it_finds_counts_half():
    net = moving(model(p_pred_mask=0.0))
    one = batch(known=False)
    net.trust(0.4)
    before = net(one, "generate_unlabelled")
    net.trust(0.6)
    after = net(one, "generate_unlabelled")
    gained = 0.5 * (TINY.weights.heal * before["heal"] + TINY.weights.reconstruction * before["reconstruction"])
    torch.testing.assert_close(after["loss"] - before["loss"], gained, rtol=1e-3, atol=1e-4)
    assert 0 < before["lesion_area"] < 1


def test_the_discriminator_sees_patches_without_lesion_where_there_is_no_normal_image():
    net = model()
    one = batch(healthy=False)
    one["mask"][:] = 1
    assert number(net(one, "criticise")["real"]) == 0
    one["mask"][:] = 0
    said = net.eval().nets["critic"](one["image"])
    assert number(net(one, "criticise")["real"]) == pytest.approx(number((said - 1).square().mean()), rel=1e-4)


def test_the_true_mask_or_a_found_one_is_fed_as_often_as_asked():
    found, true = (views(model(p_pred_mask=p)) for p in (1.0, 0.0))
    assert torch.equal(found.fed, found.found)
    assert torch.equal(true.fed, true.mask)
    mixed = Views(model(p_pred_mask=0.5), batch(size=200))
    share = float((mixed.fed == mixed.mask).all(-1).all(-1).float().mean())
    assert 0.35 < share < 0.65
    # Losses go by the truth, whatever was fed.
    assert torch.equal(found.believed, found.mask)


def test_missing_masks_and_missing_normal_images_cost_nothing():
    net = model()
    parts = net(batch(known=False, healthy=False), "segment")
    assert {name: number(parts[name]) for name in ("segment", "empty", "traces")} == pytest.approx(
        {"segment": 0, "empty": 0, "traces": 0}
    )
    parts = net(batch(known=False, healthy=False), "generate_unlabelled")
    assert number(parts["normal_twin"]) == 0


def test_batches_without_any_lesion_are_fine():
    net = moving(model())
    one = batch()
    one["mask"][:] = 0
    for phase in PHASES:
        assert torch.isfinite(net(one, phase)["loss"]), phase


def test_losses_of_weight_zero_are_neither_built_nor_computed():
    net = smile.build(ARMS["gvs"](TINY))
    assert set(net.nets) == {"segmentor", "generator"}
    assert set(net(batch(), "generate")) == {"loss", "identity", "heal"}
    assert [phase.loss for phase in net.phases] == ["generate", "segment", "generate", "segment"]
    assert "reconstructor" not in smile.build(ARMS["without R"](TINY)).nets
    assert "critic" not in smile.build(ARMS["without D"](TINY)).nets
    without = smile.build(ARMS["without pseudo-labels"](TINY))
    assert "segment_unlabelled" not in [phase.loss for phase in without.phases]
    with pytest.raises(SemeiaError, match="no lesion reconstructor"):
        net.restore(batch()["image"], batch()["mask"])


def test_the_weights_are_those_of_the_losses():
    losses = {loss.__name__ for many in smile.LOSSES.values() for loss in many}
    assert {each.name for each in fields(Weights)} == losses


# -- twins


def test_a_new_model_answers_with_a_copy_of_any_side():
    net = model()
    for side in (SIDE, SIDE + 5):
        image = torch.rand(2, 1, side, side) * 2 - 1
        twin, lesion = net.twin(image)
        assert torch.equal(twin, image)
        assert lesion.shape == image.shape
        assert 0 <= lesion.min() <= lesion.max() <= 1


def test_a_composite_twin_changes_inside_the_dilated_mask_alone():
    net = moving(model(composite=True, dilation=2))
    one = batch()
    twin = net.normal(one["image"], one["mask"])
    changed = (twin != one["image"]).any(0)[0]
    inside = F.max_pool2d(one["mask"], 5, 1, 2)[0, 0] > 0
    assert changed.any()
    assert not changed[~inside].any()


def test_it_overfits_eight_pictures_and_removes_their_lesions():
    net = smile.build(replace(TINY, segmentor_widths=(8, 16), generator_widths=(8, 16)))
    one = batch(size=8)
    before = float(one["image"][one["mask"] > 0].mean())
    rates = {"segmentor": 3e-3, "generator": 3e-3, "critic": 5e-4}
    for stage, steps in (("segmentor", 12), ("labelled", 26), ("both", 2)):
        net.enter(stage)
        made = {
            phase.optimizer: torch.optim.Adam(
                [p for group in net.groups(phase.optimizer) for _, p in group["named_params"]],
                lr=rates[phase.optimizer],
                betas=(0.5, 0.999),
            )
            for phase in net.phases
        }
        for step in range(steps):
            for phase in net.phases:
                net(one, phase.loss)["loss"].backward()
                made[phase.optimizer].step()
                net.zero_grad()
            net.after_step(step + 1)
    twin, lesion = net.twin(one["image"])
    inside = one["mask"] > 0
    assert lesion[inside].mean() > 0.8
    assert lesion[~inside].mean() < 0.05
    assert float(twin[inside].mean()) < 0.5 * before
    assert float((twin - one["image"])[~inside].abs().mean()) < 0.1


def test_what_is_saved_answers_alike(tmp_path):
    net = moving(model())
    checkpoint.save(tmp_path, system="smile", config=net.config, state=net.state_dict(), card="", half=False)
    again, _ = checkpoint.load(tmp_path, system="smile", kind=smile.Config, build=smile.build)
    image = batch()["image"]
    assert all(torch.equal(a, b) for a, b in zip(net.twin(image), again.twin(image), strict=True))
    assert again.config == net.config


@pytest.mark.parametrize(("changes", "message"), [
    ({"size": 8}, "size: expected at least 16"),
    ({"window": (100.0, 100.0)}, "window"),
    ({"generator_widths": ()}, "generator_widths"),
    ({"focus": "all"}, "focus: expected one of pixels, balanced"),
    ({"tau": 1.5}, "tau"),
    ({"weights": Weights(heal=-1)}, "weights.heal"),
    ({"weights": Weights(identity=0, reconstruction=0)}, "identity or reconstruction"),
    ({"weights": Weights(adversarial=0, adversarial_lesion=1)}, "adversarial_lesion"),
])  # fmt: skip
def test_values_that_will_not_do_are_named(changes, message):
    with pytest.raises(SemeiaError, match=message):
        smile.build(replace(TINY, **changes))


def test_the_sizes_can_be_built():
    assert set(smile.build(smile.SMALL).nets) == {"segmentor", "generator", "reconstructor", "critic"}


def test_a_generator_that_leaves_a_pasted_lesion_pays_for_it():
    net = model()  # it begins as a copy
    given = batch()
    left = net(given, "generate")["pasted"]
    assert 0.4 < left < 0.8, "the mean inside the lesion, whose middle is about 0.7 brighter"
    clean = given | {"mask": torch.zeros_like(given["mask"])}
    assert net(clean, "generate")["pasted"] == 0
    alone = batch(healthy=False)
    assert net(alone, "generate")["pasted"] == 0


def test_a_lesion_is_pasted_with_a_soft_edge_and_nothing_beside_it():
    given = batch()
    views = Views(model(), given)
    away = torch.nn.functional.max_pool2d(given["mask"], 3, stride=1, padding=1) == 0
    assert torch.equal(views.pasted[away], given["healthy"][away])
    inner = -torch.nn.functional.max_pool2d(-given["mask"], 3, stride=1, padding=1) == 1
    assert torch.allclose(views.pasted[inner], given["image"][inner], atol=1e-6)
