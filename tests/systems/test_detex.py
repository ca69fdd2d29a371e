"""DETEX on a tiny random base."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from semeia.diffusion.export import kv_names
from semeia.diffusion.pipelines import open_base
from semeia.nn.weight_files import assign
from semeia.records import SemeiaError
from semeia.systems import detex
from semeia.systems.detex import ARMS, ROWS, Config, attention_loss, denoising_loss, prompt, regions
from semeia.train.optimisers import adamw, parameter_groups

from ..diffusion.tiny import base

WORDS = {"subject": "<v>", "pose": "<p>", "background": "<b>"}
TINY = Config(mapper_width=8)


@pytest.fixture(scope="module")
def own():
    return base()


def made(own, config=TINY, photos=4, seed=0):
    torch.manual_seed(seed)
    features = torch.randn(photos, 17, 16) if config.attributes and config.attributes_from == "mappers" else None
    return detex.build(replace(config, mapper_width=8), pipeline=open_base(own), class_word="dog", trigger="<rex>",
                       features=features, photos=photos, latent_side=16)  # fmt: skip


def batch(row=(0, 1, 2, 3), prior=0, seed=0):
    g = torch.Generator().manual_seed(seed)
    n = len(row)
    mask = torch.zeros(n, 16, 16)
    mask[:, 4:12, 4:12] = 1
    found = {
        "mean": torch.randn(n, 4, 16, 16, generator=g), "deviation": torch.full((n, 4, 16, 16), 0.01), "mask": mask,
        "photo": torch.arange(n) % 4, "row": torch.tensor(row),
    }  # fmt: skip
    if prior:
        found |= {
            "prior_mean": torch.randn(prior, 4, 16, 16, generator=g),
            "prior_deviation": torch.zeros(prior, 4, 16, 16),
        }
    return found


# -- prompts and regions


def test_prompts_are_the_papers():
    told = [prompt(row, "dog", WORDS) for row in ROWS]
    assert told == [
        "photo of a <v> dog with <p> pose in <b> background",
        "photo of a <v> dog with <p> pose",
        "photo of a <v> dog",
        "photo of <b> background",
    ]
    assert prompt(ROWS[0], "dog", WORDS, attribute_words=False) == "photo of a <v> dog with <p> in <b>"
    assert prompt(ROWS[0], "golden retriever", {"subject": "<v>"}) == "photo of a <v> golden retriever"


def test_the_loss_of_a_row_is_taken_in_its_region():
    mask = torch.zeros(4, 2, 2)
    mask[:, 0, 0] = 1
    found = regions(torch.tensor([0, 1, 2, 3]), mask)
    assert found[0].tolist() == [[1, 1], [1, 1]]
    assert found[1].tolist() == found[2].tolist() == [[1, 0], [0, 0]]
    assert found[3].tolist() == [[0, 1], [1, 1]]


# -- losses


def test_the_masked_loss_by_hand():
    said, wanted = torch.zeros(1, 2, 2, 2), torch.ones(1, 2, 2, 2)
    wanted[:, :, 0, 0] = 3
    region = torch.zeros(1, 2, 2)
    region[0, 0, 0] = 1
    assert denoising_loss(said, wanted, region, normalised=True).item() == pytest.approx(9)
    assert denoising_loss(said, wanted, region, normalised=False).item() == pytest.approx(9 / 4)
    whole = torch.ones(1, 2, 2)
    plain = (said - wanted).square().mean()
    assert denoising_loss(said, wanted, whole, normalised=True) == denoising_loss(said, wanted, whole, normalised=False)
    assert denoising_loss(said, wanted, whole, normalised=False) == plain
    assert denoising_loss(said, wanted, torch.zeros(1, 2, 2), normalised=True) == 0


def test_the_attention_loss_by_hand_and_against_a_slow_twin():
    maps = torch.tensor([[[0.5, 0.25], [0.0, 0.0]]])
    mask = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    assert attention_loss(maps, mask, torch.tensor([True])).item() == pytest.approx(0.25 / 4)
    g = torch.Generator().manual_seed(0)
    maps, masks = torch.rand(3, 4, 4, generator=g), (torch.rand(3, 4, 4, generator=g) > 0.5).float()
    masks[2] = 0  # too small a subject for these maps: skipped
    has = torch.tensor([True, False, True])
    slow = sum((maps[0, y, x] / maps[0].max() - masks[0, y, x]) ** 2 / 16 for y in range(4) for x in range(4)) / 3
    torch.testing.assert_close(attention_loss(maps, masks, has), slow)


def test_the_attention_loss_has_the_right_gradient_and_survives_an_empty_map():
    maps = torch.rand(2, 3, 3, dtype=torch.float64, requires_grad=True)
    masks = (torch.rand(2, 3, 3) > 0.5).double()
    loss = attention_loss(maps, masks, torch.tensor([True, True]))
    (grad,) = torch.autograd.grad(loss, maps)
    step = torch.zeros_like(maps)
    step[0, 1, 1] = 1e-2
    with torch.no_grad():
        numeric = (attention_loss(maps + step, masks, torch.ones(2, dtype=torch.bool)) - attention_loss(
            maps - step, masks, torch.ones(2, dtype=torch.bool))) / 2e-2  # fmt: skip
    assert numeric.item() == pytest.approx(grad[0, 1, 1].item(), rel=0.05, abs=1e-3)
    empty = torch.zeros(1, 3, 3, requires_grad=True)
    attention_loss(empty, torch.ones(1, 3, 3), torch.tensor([True])).backward()
    assert empty.grad.isfinite().all()


# -- the task


def test_mappers_begin_at_the_words_of_their_attributes(own):
    task = made(own)
    words = task.words(torch.arange(4))
    assert words["subject"].shape == (1, 32)
    for name in ("pose", "background"):
        table = own.text_encoder.get_input_embeddings().weight
        start = table[own.tokenizer.get_vocab()[f"{name}</w>"]]
        assert words[name].shape == (4, 32)
        assert (words[name] - start).norm(dim=1).max() < 0.5 * start.norm()


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_what_it_says_and_nothing_else(own, arm):
    task = made(own, ARMS[arm])
    unet = {name: p.detach().clone() for name, p in task.pipeline.unet.named_parameters()}
    others = {n: p.detach().clone() for part in ("text_encoder", "vae")
              for n, p in getattr(task.pipeline, part).named_parameters(prefix=part)}  # fmt: skip
    words = task.learned_words()
    (optimizer,) = adamw(task, lr=1e-2, weight_decay=0.0).values()
    torch.manual_seed(0)
    row = [number for number, share in enumerate(ARMS[arm].joint) if share]
    losses = task(batch(row=row * 2, prior=2))
    assert losses["loss"].isfinite()
    losses["loss"].backward()
    optimizer.step()
    moved = {name for name, p in task.pipeline.unet.named_parameters() if not torch.equal(p, unet[name])}
    expected = {"none": set(), "kv": set(kv_names(task.pipeline.unet)), "unet": set(unet)}[ARMS[arm].tuned]
    assert moved <= expected
    assert len(moved) >= 0.9 * len(expected)
    now = {n: p for part in ("text_encoder", "vae")
           for n, p in getattr(task.pipeline, part).named_parameters(prefix=part)}  # fmt: skip
    assert all(torch.equal(now[name], before) for name, before in others.items())
    after = task.learned_words()
    assert torch.equal(words["<rex>"], after["<rex>"]) is (arm == "dreambooth")
    assert len(after) == 1 + 4 * len(ARMS[arm].attributes)


def test_the_users_own_pipeline_is_left_alone(own):
    before = {name: p.detach().clone() for name, p in own.unet.named_parameters()}
    task = made(own)
    (optimizer,) = adamw(task, lr=1e-2, weight_decay=0.0).values()
    task(batch())["loss"].backward()
    optimizer.step()
    assert all(torch.equal(p, before[name]) for name, p in own.unet.named_parameters())
    assert len(own.tokenizer) == len(base().tokenizer)


def test_the_state_holds_what_is_learned_and_not_the_base(own):
    task = made(own)
    names = set(task.state_dict())
    assert "subject" in names
    assert len([n for n in names if n.startswith("tuned.")]) == len(kv_names(task.pipeline.unet))
    assert not any("text_encoder" in n or "vae" in n or "conv" in n for n in names)


def test_saved_and_loaded_it_says_the_same(own):
    task, other = made(own, seed=0), made(own, seed=1)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.01)
    assign(other, task.state_dict(), source=Path("here"))
    other.features.copy_(task.features)
    results = []
    for each in (task, other):
        torch.manual_seed(3)
        results.append(each(batch())["loss"].item())
    assert results[0] == results[1]
    assert all(torch.equal(a, other.learned_words()[word]) for word, a in task.learned_words().items())


def test_it_overfits_eight_photos(own):
    task = made(own, replace(TINY, word_rate=1.0, mapper_rate=1.0))
    (optimizer,) = adamw(task, lr=1e-2, weight_decay=0.0).values()
    losses = []
    for _ in range(25):
        torch.manual_seed(0)  # the same noise: what is left is what words and K, V can learn
        loss = task(batch(row=(0,) * 8))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.002
    assert losses[-1] == min(losses) or losses[-1] < losses[len(losses) // 2]


def test_the_attention_loss_leads_the_subjects_word_into_its_mask(own):
    config = replace(TINY, attention_weight=1.0, attention_words=("subject",), joint=(0, 0, 1, 0))
    task = made(own, config)
    (optimizer,) = adamw(task, lr=2e-2, weight_decay=0.0).values()
    found = []
    for _ in range(20):
        torch.manual_seed(0)
        losses = task(batch(row=(2,) * 4))
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        found.append(losses["attention"].item())
    assert found[-1] < found[0]
    overlap = task.overlap(batch()["mean"], batch()["mask"])
    assert overlap.shape == (4,)
    assert torch.equal(overlap, task.overlap(batch()["mean"], batch()["mask"]))


def test_an_empty_mask_costs_no_attention_and_a_batch_without_a_word_no_missing_gradient(own):
    task = made(own)
    without = batch(row=(2, 2))
    without["mask"].zero_()
    torch.manual_seed(0)
    losses = task(without)
    assert losses["attention"] == 0
    losses["loss"].backward()
    assert all(p.grad is not None for _, p in task.named_parameters() if p.requires_grad)
    only = batch(row=(3, 3))
    task.zero_grad()
    task(only)["loss"].backward()
    assert task.subject.grad.abs().sum() == 0


def test_rates_are_those_of_the_config(own):
    task = made(own, replace(TINY, word_rate=3.0, mapper_rate=2.0, tuned_rate=0.5))
    groups = parameter_groups(task, lr=1.0, weight_decay=0.1)["main"]
    rates = {name: group["lr"] for group in groups for name, _ in group["params"]}
    assert rates["subject"] == 3.0
    assert {rate for name, rate in rates.items() if name.startswith("attributes.")} == {2.0}
    assert {rate for name, rate in rates.items() if name.startswith("tuned.")} == {0.5}
    assert all(group["constant"] for group in groups)
    assert next(g["weight_decay"] for g in groups if ("subject", task.subject) in g["params"]) == 0


def test_noise_of_velocity_bases_is_understood(own):
    task = made(own)
    task.pipeline.scheduler.register_to_config(prediction_type="v_prediction")
    latents, noise = torch.randn(1, 4, 16, 16), torch.randn(1, 4, 16, 16)
    time = torch.tensor([400])
    with task.reader.listen(), torch.no_grad():
        _, wanted = task.denoise(latents, noise, time, torch.zeros(1, 77, 32))
    torch.testing.assert_close(wanted, task.pipeline.scheduler.get_velocity(latents, noise, time))
    task.pipeline.scheduler.register_to_config(prediction_type="sample")
    with pytest.raises(SemeiaError, match="predicts 'sample'"):
        detex._alphas(task.pipeline.scheduler)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (Config(attributes=("colour",)), "found 'colour'"),
        (Config(joint=(0.5, 0.5, 0.5, 0.0)), "sum to 1"),
        (Config(attributes=("pose",)), "row of the background alone"),
        (Config(), "features of an image encoder"),
        (Config(attributes=(), joint=(0, 0, 1, 0), attention_side=4), "sides that this base has: 16"),
    ],
)
def test_values_that_do_not_fit_are_refused(own, config, told):
    with pytest.raises(SemeiaError, match=told):
        detex.build(config, pipeline=open_base(own), class_word="dog", trigger="<rex>", features=None, photos=1,
                    latent_side=16)  # fmt: skip
