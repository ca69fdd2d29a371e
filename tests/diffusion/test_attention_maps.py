import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from semeia.diffusion.attention_maps import MapReader, layer_sides, map_overlap, word_maps
from semeia.records import SemeiaError

from .tiny import base


@pytest.fixture
def unet():
    return base().unet.eval()


def run(unet, seed=0):
    g = torch.Generator().manual_seed(seed)
    latents, states = torch.randn(2, 4, 16, 16, generator=g), torch.randn(2, 77, 32, generator=g)
    return unet(latents, torch.tensor([10, 500]), encoder_hidden_states=states.requires_grad_()).sample, states


@torch.no_grad()
def test_it_computes_what_diffusers_does(unet):
    plain = run(unet)[0]
    assert {type(p) for p in unet.attn_processors.values()} == {AttnProcessor2_0}
    reader = MapReader(unet, latent_side=16, at_most=16, detach_first=True)
    assert torch.equal(run(unet)[0], plain)
    with reader.listen():
        heard = run(unet)[0]
    torch.testing.assert_close(heard, plain, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_maps_are_probabilities_over_words_at_one_side(unet):
    reader = MapReader(unet, latent_side=16, at_most=16, detach_first=True)
    with reader.listen():
        run(unet)
    assert len(reader.seen) == 3  # one layer down, two up; the middle block is left out
    maps = reader.maps()
    assert maps.shape == (2, 16, 16, 77)
    torch.testing.assert_close(maps.sum(-1), torch.ones(2, 16, 16))
    assert reader.seen == []


@torch.no_grad()
def test_nothing_is_kept_while_nobody_listens(unet):
    reader = MapReader(unet, latent_side=16, at_most=16, detach_first=True)
    run(unet)
    assert reader.seen == []


def test_a_map_is_the_softmax_of_queries_and_keys(unet):
    reader = MapReader(unet, latent_side=16, at_most=16, detach_first=False)
    attn = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn2
    places, text = torch.randn(1, 256, 8), torch.randn(1, 77, 32)
    with reader.listen():
        attn(places, encoder_hidden_states=text)
    slow = torch.zeros(256, 77)
    heads, width = attn.heads, 8 // attn.heads
    q, k = attn.to_q(places)[0], attn.to_k(text)[0]
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        slow += (q[:, part] @ k[:, part].T / width**0.5).softmax(-1) / heads
    torch.testing.assert_close(reader.maps()[0].reshape(256, 77), slow)


@pytest.mark.parametrize("detached", [True, False])
def test_the_first_token_gives_no_gradient_where_it_is_detached(unet, detached):
    MapReader(unet, latent_side=16, at_most=16, detach_first=detached)
    said, states = run(unet)
    said.sum().backward()
    assert bool(states.grad[:, 0].abs().sum() == 0) is detached
    assert states.grad[:, 1].abs().sum() > 0


def test_sides_are_those_of_the_blocks_and_too_small_a_limit_is_refused(unet):
    assert set(layer_sides(unet, 16).values()) == {16}
    assert set(layer_sides(unet, 12).values()) == {12}
    with pytest.raises(SemeiaError, match="sides that this base has: 16"):
        MapReader(unet, latent_side=16, at_most=8, detach_first=True)


def test_the_map_of_a_word_is_where_its_token_stands():
    maps = torch.arange(2 * 1 * 1 * 3).float().view(2, 1, 1, 3)
    ids = torch.tensor([[5, 9, 5], [5, 5, 5]])
    assert word_maps(maps, ids, 9).flatten().tolist() == [1, 0]


def test_overlap_by_hand():
    maps = torch.tensor([[[1.0, 0.6], [0.4, 0.0]]])
    assert map_overlap(maps, torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])).item() == 0.5
    assert map_overlap(maps, torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])).item() == 1.0
    assert map_overlap(maps, torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])).item() == 0.0
