"""A small text-to-image base of standard parts."""

from dataclasses import replace

import pytest
import torch

from semeia.records import SemeiaError
from semeia.systems import face_diffusion
from semeia.systems.face_diffusion import END, START, Config, build, edge_error, kept_signal, pair_merges

pytest.importorskip("diffusers")

TINY = Config(
    image_size=32, autoencoder_channels=(8, 8, 16), channels=(16, 16), heads=2, groups=8, text_width=32, text_layers=1,
    text_heads=2, vision_width=32, vision_layers=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    return build(TINY)


def learned(task, batch, steps, rate=3e-3):
    optimizer = torch.optim.Adam([p for group in task.groups() for _, p in group["named_params"]], lr=rate)
    values = []
    for step in range(steps):
        torch.manual_seed(step % 4)
        optimizer.zero_grad()
        losses = task(batch)
        losses["loss"].backward()
        optimizer.step()
        values.append({name: value.item() for name, value in losses.items()})
    return values


def test_an_autoencoder_overfits_eight_pictures(base):
    torch.manual_seed(1)
    image = torch.nn.functional.interpolate(torch.rand(8, 3, 4, 4), size=32, mode="bilinear")
    values = learned(base.autoencoder, {"image": image}, 80, rate=1e-2)
    assert values[-1]["pixels"] < 0.5 * values[0]["pixels"]
    drawn = base.autoencoder.draw(base.autoencoder.latents(image))
    assert drawn.shape == image.shape
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_a_denoiser_overfits_eight_latents_and_the_text_learns_along(base):
    torch.manual_seed(2)
    batch = {"latent": torch.randn(8, 1, 1, 1).expand(8, 4, 8, 8), "tokens": base.tokens(["a photo of a woman"] * 8)}
    before = base.denoiser.text.get_input_embeddings().weight.detach().clone()
    values = learned(base.denoiser, batch, 60)
    late, early = (sum(value["error"] for value in part) / 4 for part in (values[-4:], values[:4]))
    assert late < 0.5 * early
    assert not torch.equal(before, base.denoiser.text.get_input_embeddings().weight)


def test_encoders_come_to_agree_on_eight_pairs(base):
    torch.manual_seed(3)
    image = torch.rand(8, 3, 1, 1).expand(8, 3, 32, 32).contiguous()
    words = ["red", "green", "blue", "black", "white", "grey", "pink", "brown"]
    batch = {"image": image, "tokens": base.tokens([f"a {word} background" for word in words])}
    values = learned(base.agreement, batch, 80, rate=1e-3)
    assert values[-1]["loss"] < 0.7 * values[0]["loss"]


def test_pairs_with_one_prompt_are_all_right(base):
    batch = {"image": torch.rand(3, 3, 32, 32), "tokens": base.tokens(["a face"] * 3)}
    assert base.agreement(batch)["found"] == 1


def test_times_with_much_signal_do_not_weigh_more_than_the_limit(base):
    latent, tokens = torch.randn(3, 4, 8, 8), base.tokens(["", "", ""])
    time = torch.tensor([0, 500, 999])
    found = base.denoiser.errors(latent, tokens, torch.randn_like(latent), time)
    kept = kept_signal(TINY)[time]
    ratio = kept / (1 - kept)
    assert torch.allclose(found["weight"] * ratio, ratio.clamp(max=5))
    assert found["weight"][2] == 1


def test_the_noise_schedule_is_that_of_the_saved_scheduler(base):
    assert torch.allclose(kept_signal(TINY), base.pipeline().scheduler.alphas_cumprod, atol=1e-6)


def test_edges_of_equal_pictures_have_no_error_and_a_shift_of_colour_is_none():
    image = torch.rand(2, 3, 16, 16, requires_grad=True)
    assert edge_error(image, image) == 0
    assert edge_error(image + 0.3, image).detach() < 1e-6
    edge_error(image, torch.zeros_like(image)).backward()
    assert image.grad.abs().sum() > 0


def test_edges_by_hand():
    drawn = torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]])
    assert edge_error(drawn, torch.zeros_like(drawn), scales=1) == 1


def test_merges_end_with_every_word_as_one_symbol():
    assert pair_merges(("abab", "ab")) == [("a", "b</w>"), ("a", "b"), ("ab", "ab</w>")]


def test_every_word_is_one_token_and_others_are_spelled(base):
    tokenizer = base.tokenizer
    for word in TINY.words:
        assert len(tokenizer(word).input_ids) == 3, word
    spelled = tokenizer("zebra").input_ids
    assert len(spelled) > 3
    assert len(set(spelled)) > 3
    ids = base.tokens(["a photo of a woman"])[0].tolist()
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    assert (ids[0], ids[6:], len(ids)) == (start, [end] * 26, 32)
    assert "<maya>" not in tokenizer.get_vocab()


def test_saved_and_loaded_parts_answer_the_same(base, tmp_path):
    from semeia.diffusion.pipelines import open_base

    base.set_scale(torch.randn(10, 4, 8, 8) * 2)
    base.save(tmp_path / "base", card="# card\n", half=False)
    base.save(tmp_path / "base", card="# other card\n", half=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base"]
    assert (tmp_path / "base" / "card.md").read_text() == "# other card\n"
    other = face_diffusion.from_pipeline(open_base(tmp_path / "base"), name="base")
    assert other.scale == base.scale
    assert abs(other.scale - 0.5) < 0.05
    latent, tokens = torch.randn(2, 4, 8, 8), base.tokens(["a man", "zebra"])
    assert torch.equal(tokens, other.tokens(["a man", "zebra"]))
    noise, time = torch.randn_like(latent), torch.tensor([10, 900])
    same = [each.denoiser.eval().errors(latent, tokens, noise, time)["each"] for each in (base, other)]
    assert torch.allclose(*same, atol=1e-6)
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(base.autoencoder.latents(image), other.autoencoder.latents(image))


def test_a_folder_with_something_else_is_left_alone(base, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(SemeiaError, match="something else"):
        base.save(tmp_path, card="")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(("change", "words"), [({"image_size": 36}, "multiple of"), ({"groups": 5}, "divisor")])
def test_sizes_that_do_not_fit_are_refused(change, words):
    with pytest.raises(SemeiaError, match=words):
        build(replace(TINY, **change))


def test_the_base_has_no_safety_checker_and_says_so_without_a_warning(base):
    pipeline = base.pipeline()
    assert pipeline.safety_checker is None
    assert pipeline.config.requires_safety_checker is False
