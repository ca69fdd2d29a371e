"""Mo-SCL: what it measures, that measuring disturbs nothing, and a training that was killed and goes on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semeia import checkpoint
from semeia.data.orders import LearnedOrder, rank_correlation
from semeia.records import SemeiaError
from semeia.systems import mo_scl, uld
from semeia.train import launch, state
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

FILES = ("model.safetensors", "optimizers.safetensors")


def squares(count=8, slices=3, size=64, seed=0):
    """Bright squares on the key slice."""
    made = torch.Generator().manual_seed(seed)
    image = 0.3 + 0.05 * torch.randn(count, slices, size, size, generator=made)
    boxes = []
    for i in range(count):
        side = int(torch.randint(8, 17, (1,), generator=made))
        x, y = (int(torch.randint(2, size - side - 2, (1,), generator=made)) for _ in range(2))
        image[i, slices // 2, y : y + side, x : x + side] += 0.5
        boxes.append(torch.tensor([[x, y, x + side, y + side]], dtype=torch.float32))
    return {"image": image.clamp(0, 1), "boxes": boxes, "index": torch.arange(count)}


def taken(batch, numbers):
    return {
        "image": batch["image"][numbers],
        "boxes": [batch["boxes"][n] for n in numbers],
        "index": torch.tensor(numbers),
    }


class Slices:
    """Squares in the order that is given."""

    def __init__(self, order):
        self.order, self.all = order, squares(order.size)

    def batch(self, index, rank, world):
        return taken(self.all, self.order.batch(index * world + rank))


def built(size=8, batch_size=2, **changes):
    torch.manual_seed(0)
    order = LearnedOrder(size, batch_size=batch_size, seed=1)
    return mo_scl.build(replace(mo_scl.TINY, **changes), order=order)


# -- formulas


def test_entropy_by_hand():
    p = torch.tensor([0.0, 0.5, 0.9, 1.0])
    expected = torch.tensor([0.0, np.log(2), -0.9 * np.log(0.9) - 0.1 * np.log(0.1), 0.0])
    torch.testing.assert_close(mo_scl.entropy(p), expected.float(), atol=1e-5, rtol=0)


def test_the_one_sided_form_is_small_for_both_kinds_of_sureness_and_not_symmetric():
    wrong, doubtful, right = mo_scl.one_sided(torch.tensor([0.001, 0.4, 0.999])).tolist()
    assert wrong < 0.01
    assert right < 0.01
    assert doubtful == pytest.approx(-0.4 * np.log(0.4), abs=1e-5)


def test_the_released_form_by_hand():
    # Shifted: 0, 3, 4; their norm is 5.
    m = torch.tensor([0.0, 0.6, 0.8])
    torch.testing.assert_close(mo_scl.literal(torch.tensor([[1.0, 4.0, 5.0]] * 2)), -m * (m + 1e-6).log())


def simulated(batch_size):
    """Logits of the true class among two, in batches; the other logit is its opposite."""
    logits = torch.randn(50, batch_size, generator=torch.Generator().manual_seed(0)) * 2 + 1.5
    losses = F.softplus(-2 * logits)
    of_entropy = mo_scl.entropy(torch.sigmoid(2 * logits))
    by_batch = [
        (rank_correlation(mo_scl.literal(z[None]).numpy(), loss.numpy()), rank_correlation(u.numpy(), loss.numpy()))
        for z, loss, u in zip(logits, losses, of_entropy, strict=True)
    ]
    return np.mean(by_batch, 0)


def test_the_released_form_falls_as_the_loss_rises_where_entropy_rises_with_it():
    released, corrected = simulated(32)
    assert released < -0.9
    assert corrected > 0.3


def test_the_released_form_says_nothing_of_a_batch_of_two():
    assert mo_scl.literal(torch.tensor([[-3.0, 5.0]])).abs().max() < 1e-5


# -- measuring


def test_without_a_curriculum_it_is_the_plain_detector():
    torch.manual_seed(0)
    plain = uld.build(uld.TINY).train()
    torch.manual_seed(0)
    ours = mo_scl.build(mo_scl.TINY).train()
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), ours.state_dict().values(), strict=True))
    batch = squares(4)
    said = []
    for model in (plain, ours, built().train()):
        torch.manual_seed(3)
        said.append(model(batch))
    for name in said[0]:
        assert torch.equal(said[0][name], said[1][name])
        assert torch.equal(said[0][name], said[2][name])
    image = batch["image"]
    for (boxes, scores), (others, values) in zip(plain.eval().predict(image), ours.eval().predict(image), strict=True):
        assert torch.equal(boxes, others)
        assert torch.equal(scores, values)


@pytest.mark.parametrize("ranked", ["classification", "total"])
def test_the_loss_that_ranks_is_one_an_image(ranked):
    model, batch = built(ranked_loss=ranked).train(), squares(2)
    torch.manual_seed(3)
    each = model.detector.losses(batch)
    torch.manual_seed(3)
    model(batch)
    expected = each["loss"] if ranked == "total" else each["objectness"] + each["classes"]
    model.after_step(1)
    assert torch.equal(model.curriculum.losses[:2], expected.detach())
    assert model.curriculum.losses[2:].isnan().all()


def test_without_noise_uncertainty_is_the_mean_entropy_of_an_images_lesions():
    model, batch = built(noise=0.0).train(), squares(3)
    batch["boxes"][1] = torch.cat([batch["boxes"][1], batch["boxes"][0]])
    unsure, known = model.uncertainties(batch, torch.Generator())
    model.eval()
    p = model.detector.regions.probabilities(model.detector.features(batch["image"]), batch["boxes"])
    torch.testing.assert_close(unsure, torch.stack([mo_scl.entropy(each).mean() for each in p]))
    assert known.all()


def test_an_image_without_lesions_is_not_measured_and_keeps_what_it_had():
    model, batch = built().train(), squares(2)
    batch["boxes"][0] = torch.zeros(0, 4)
    model.curriculum.uncertainties[0] = 0.25
    model(batch)
    model.after_step(1)
    assert float(model.curriculum.uncertainties[0]) == 0.25
    assert 0 < float(model.curriculum.uncertainties[1]) < 0.7


@pytest.mark.parametrize("uncertainty", ["entropy", "one-sided", "literal"])
@pytest.mark.parametrize("noise_on", ["input", "features"])
def test_every_way_of_measuring_gives_a_number_an_image(uncertainty, noise_on):
    model, batch = built(uncertainty=uncertainty, noise_on=noise_on, passes=3).train(), squares(4)
    batch["boxes"][3] = torch.zeros(0, 4)
    once, known = model.uncertainties(batch, torch.Generator().manual_seed(1))
    assert known.tolist() == [True, True, True, False]
    assert once.isfinite().all()
    again, _ = model.uncertainties(batch, torch.Generator().manual_seed(1))
    assert torch.equal(once, again)
    other, _ = model.uncertainties(batch, torch.Generator().manual_seed(2))
    assert not torch.equal(once, other)


def test_noise_is_cut_at_two_deviations():
    noise = mo_scl._noise(torch.zeros(10_000), torch.Generator().manual_seed(0))
    assert noise.abs().max() == 2
    assert float(noise.std()) == pytest.approx(0.96, abs=0.02)


def test_measuring_leaves_running_statistics_random_numbers_and_mode_alone():
    model, batch = built(trunk="resnet18", trunk_norm="batch").train(), squares(2)
    norms = {n: b.clone() for n, b in model.named_buffers() if "running" in n or "num_batches" in n}
    assert norms
    before, gradients = torch.get_rng_state(), torch.is_grad_enabled()
    model.uncertainties(batch, torch.Generator().manual_seed(1))
    assert all(torch.equal(dict(model.named_buffers())[n], kept) for n, kept in norms.items())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.is_grad_enabled() == gradients
    assert all(module.training for module in model.modules())


def test_a_loss_that_is_not_a_number_names_its_sample():
    model, batch = built().train(), squares(2)
    batch["index"] = torch.tensor([6, 2])
    batch["image"][1] = torch.nan
    model(batch)
    with pytest.raises(SemeiaError, match="sample 2: expected a finite loss"):
        model.after_step(1)


def test_weights_reach_the_loss_and_not_what_is_ranked():
    model, batch = built(weighting="self-paced").train(), squares(2)
    torch.manual_seed(3)
    each = model.detector.losses(batch)
    model.curriculum.weights[0] = 0
    torch.manual_seed(3)
    said = model(batch)
    torch.testing.assert_close(said["loss"], each["loss"][1] / 2)
    assert torch.equal(said["classes"], each["classes"].mean())
    model.after_step(1)
    assert (model.curriculum.losses[:2] > 0).all()


# -- training


def run(out, *, end=None, batch_size=2, **changes):
    model = built(batch_size=batch_size, **changes)
    if end is not None:
        after = model.after_step

        def stop(step):
            after(step)
            if step == end:
                raise EndError

        model.after_step = stop
    fit(
        model, {"main": Slices(model.curriculum.order)}, adamw(model, lr=3e-3, weight_decay=0.01),
        Fit(steps=14, save_every=2, precision="no", out=out),
        progress=False, accelerator=launch.accelerator(device="cpu", precision="no"),
    )  # fmt: skip
    return model


class EndError(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.slow
@pytest.mark.parametrize("end", [7, 13])
def test_killed_within_an_epoch_it_ends_as_if_it_had_run_through(tmp_path, end):
    """An epoch has four steps; the states are those of steps 6 and 12, amid the second epoch and at the third's end."""
    run(tmp_path / "whole")
    with pytest.raises(EndError):
        run(tmp_path / "killed", end=end)
    resumed = run(tmp_path / "killed")
    for name in FILES:
        whole, killed = (state.latest(tmp_path / which) / name for which in ("whole", "killed"))
        assert whole.read_bytes() == killed.read_bytes()
    assert int(resumed.curriculum.epoch) == 3
    assert resumed.curriculum.losses.isfinite().all()
    assert resumed.curriculum.uncertainties.isfinite().all()


def test_after_the_warm_up_easy_ones_stand_with_hard_ones(tmp_path):
    model = built().train()
    feed = Slices(model.curriculum.order)
    for step in range(4):
        model(feed.batch(step, 0, 1))
        model.after_step(step + 1)
    places = np.argsort(np.argsort(model.curriculum.hardness(), kind="stable"))
    for step in range(4, 8):
        assert sum(places[feed.order.batch(step)]) == 7


def test_random_order_needs_no_passes():
    assert not built(arrangement="random").curriculum.plan.uncertain
    assert not built(criterion="loss").curriculum.plan.uncertain
    assert built(arrangement="random", weighting="self-paced").curriculum.plan.uncertain
    model = built(arrangement="random").train()
    model.uncertainties = None
    model(squares(2))
    model.after_step(1)


def test_it_learns_eight_samples_in_mixed_order():
    model = built(batch_size=4).train()
    feed, optimizer = Slices(model.curriculum.order), torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(150):
        optimizer.zero_grad()
        model(feed.batch(step, 0, 1))["loss"].backward()
        optimizer.step()
        model.after_step(step + 1)
    model.eval()
    for (boxes, scores), lesion in zip(model.predict(feed.all["image"]), feed.all["boxes"], strict=True):
        assert torch.allclose(boxes[0], lesion[0], atol=2.5)
        assert scores[0] > 0.8


# -- use


def test_a_saved_detector_answers_alike_and_keeps_nothing_of_its_training(tmp_path):
    model, image = built().eval(), squares(2)["image"]
    model.curriculum = None
    checkpoint.save(tmp_path, system="mo_scl", config=model.config, state=model.state_dict(), card="", half=False)
    again, _ = checkpoint.load(tmp_path, system="mo_scl", kind=mo_scl.Config, build=mo_scl.build)
    assert set(again.state_dict()) == set(uld.build(uld.TINY).state_dict())
    for (boxes, scores), (others, values) in zip(model.predict(image), again.predict(image), strict=True):
        assert torch.equal(boxes, others)
        assert torch.equal(scores, values)


def test_a_scan_is_read_slice_by_slice():
    model, image = mo_scl.build(mo_scl.TINY).eval(), squares(1, 6)["image"][0]
    assert len(list(model.predict_scan(iter(image), together=4))) == 6


def test_the_detector_is_the_plain_one_but_for_its_own_fields():
    for ours, plain in ((mo_scl.Config(), uld.Config()), (mo_scl.SMALL, uld.SMALL), (mo_scl.TINY, uld.TINY)):
        assert all(getattr(ours, name) == getattr(plain, name) for name in uld.Config.__dataclass_fields__)


@pytest.mark.parametrize("change", [
    {"arrangement": "sorted"}, {"criterion": "D"}, {"weighting": "soft"}, {"ranked_loss": "all"}, {"noise_on": "x"},
    {"uncertainty": "margin"}, {"passes": 0}, {"warmup_epochs": 0}, {"pacing_epochs": 0}, {"noise": float("nan")},
    {"noise": -0.1},
])  # fmt: skip
def test_a_value_that_will_not_do_is_named(change):
    with pytest.raises(SemeiaError, match=f"^{next(iter(change))}: expected"):
        mo_scl.build(replace(mo_scl.TINY, **change))
