"""The facial prior: a masked autoencoder."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from semeia import checkpoint
from semeia.nn.masking import random_masking, unpatchify
from semeia.nn.stages import stages
from semeia.records import SemeiaError
from semeia.systems import face_mae

TINY = face_mae.Config(
    image_size=64, backbone_width=48, backbone_depth=2, decoder_width=32, decoder_depth=1, decoder_heads=2
)
PLAIN = replace(TINY, backbone="vit_tiny_patch16_224")
BACKBONES = pytest.mark.parametrize("config", [TINY, PLAIN], ids=["fine_vit", "plain ViT"])


def model(config=TINY, **changes):
    torch.manual_seed(0)
    return face_mae.build(replace(config, **changes))


def noise(size=2, patches=16):
    return torch.rand(size, patches, generator=torch.Generator().manual_seed(1))


def tapped(config, taps):
    return stages(
        config.backbone, taps=taps, image_size=config.image_size, pretrained=False, width=config.backbone_width,
        depth=config.backbone_depth, heads=config.backbone_heads, drop_path=0.1,
    )  # fmt: skip


@BACKBONES
def test_the_encoder_reads_only_a_quarter_of_the_patches(config):
    net = model(config)
    seen = []
    net.backbone.model.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    net({"image": torch.rand(2, 3, 64, 64)})
    assert seen == [net.backbone.model.num_prefix_tokens + 4]


@BACKBONES
def test_hidden_pixels_cannot_be_told_from_what_is_encoded_or_decoded(config):
    net = model(config)
    masking = net.masking(noise())
    first = torch.randn(2, 3, 64, 64)
    hidden = unpatchify(masking.hidden[..., None].expand(-1, -1, 16 * 16 * 3), net.grid)
    second = torch.where(hidden, 100 * torch.randn(2, 3, 64, 64), first)
    one, other = net.encode(first, masking), net.encode(second, masking)
    assert torch.equal(one, other)
    assert torch.equal(net.decode(one, masking), net.decode(other, masking))


@BACKBONES
def test_every_visible_patch_is_seen(config):
    net = model(config)
    masking = net.masking(noise(1))
    image = torch.randn(1, 3, 64, 64)
    before = net.encode(image, masking)
    for patch in masking.visible[0].tolist():
        changed = image.clone()
        top, left = 16 * (patch // 4), 16 * (patch % 4)
        changed[:, :, top : top + 16, left : left + 16] += 1
        assert not torch.equal(net.encode(changed, masking), before)


def test_hidden_pixels_get_no_gradient():
    net = model()
    masking = net.masking(noise())
    image = torch.randn(2, 3, 64, 64, requires_grad=True)
    net.encode(image, masking).square().sum().backward()
    hidden = unpatchify(masking.hidden[..., None].expand(-1, -1, 16 * 16 * 3), net.grid)
    assert (image.grad[hidden] == 0).all()
    assert image.grad[~hidden].abs().sum() > 0


@BACKBONES
def test_with_nothing_hidden_the_encoder_is_the_backbone_that_others_tap(config):
    net = model(config).eval()
    deepest = len(net.backbone.model.feature_info) - 1
    backbone = tapped(config, (0, deepest)).eval()
    face_mae.copy_encoder(net, backbone)
    image = torch.rand(2, 3, 64, 64)
    everything = random_masking(torch.arange(16.0).expand(2, -1), 16)
    (_, last), _ = backbone(image)
    encoded = face_mae.visible_tokens(net.backbone.model, image, everything.visible)
    torch.testing.assert_close(encoded[:, net.backbone.model.num_prefix_tokens :], net.backbone.model.norm(last))


def test_a_prediction_equal_to_the_target_costs_nothing_and_only_hidden_patches_count():
    target = torch.randn(2, 16, 768)
    hidden = random_masking(noise(), 4).hidden
    assert torch.equal(face_mae.masked_error(target, target, hidden), torch.zeros(2))
    beside = torch.where(hidden[..., None], target, target + 5)
    assert torch.equal(face_mae.masked_error(beside, target, hidden), torch.zeros(2))
    torch.testing.assert_close(face_mae.masked_error(target + 2, target, hidden), torch.full((2,), 4.0))


def test_targets_are_standardised_patches_or_plain_ones():
    image = torch.randn(2, 3, 64, 64) * 3 + 1
    target = model().target(image)
    torch.testing.assert_close(target.mean(-1), torch.zeros(2, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.std(-1), torch.ones(2, 16), atol=1e-4, rtol=0)
    torch.testing.assert_close(unpatchify(model(norm_pix=False).target(image), (4, 4)), image)


@pytest.mark.parametrize("norm_pix", [True, False])
def test_reconstructions_show_visible_patches_as_they_are(norm_pix):
    net = model(norm_pix=norm_pix).eval()
    image = torch.rand(2, 3, 64, 64)
    seen, drawn = net.reconstruct(image, noise())
    hidden = unpatchify(net.masking(noise()).hidden[..., None].expand(-1, -1, 768), net.grid)
    assert torch.equal(drawn[~hidden], image[~hidden])
    assert torch.equal(seen[~hidden], image[~hidden])
    assert (seen[hidden] == 0.5).all()
    assert ((drawn >= 0) & (drawn <= 1)).all()


def test_a_perfect_prediction_is_drawn_as_the_picture():
    net = model().eval()
    image = torch.rand(2, 3, 64, 64)
    net.decode = lambda encoded, masking: net.target((image - net.mean) / net.std)
    torch.testing.assert_close(net.reconstruct(image, noise())[1], image)


@BACKBONES
def test_it_overfits_eight_samples(config):
    net = model(config, decoder_width=64, decoder_depth=2)
    few = torch.rand(8, 3, 5, 5, generator=torch.Generator().manual_seed(3))
    image = F.interpolate(few, size=64, mode="bicubic").clamp(0, 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, betas=(0.9, 0.95))
    first = net.errors(image, noise(8)).mean().item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = net.errors(image, noise(8)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < 0.65 * first


def test_every_parameter_learns():
    net = model()
    net({"image": torch.rand(2, 3, 64, 64)})["loss"].backward()
    assert not [name for name, p in net.named_parameters() if p.grad is None]


def test_saved_and_loaded_it_draws_the_same(tmp_path):
    net = model().eval()
    checkpoint.save(tmp_path / "x", system="face_mae", config=net.config, state=net.state_dict(), card="#", half=False)
    again, _ = checkpoint.load(tmp_path / "x", system="face_mae", kind=face_mae.Config, build=face_mae.build)
    image = torch.rand(2, 3, 64, 64)
    assert torch.equal(again.reconstruct(image, noise())[1], net.reconstruct(image, noise())[1])


@pytest.mark.parametrize("name", ["resnet10t", "beit_base_patch16_224"])
def test_backbones_that_would_see_hidden_pixels_are_refused(name):
    with pytest.raises(SemeiaError, match="hidden patches"):
        model(backbone=name)


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_ratio_that_hides_nothing_or_all_is_refused(ratio):
    with pytest.raises(SemeiaError, match="mask_ratio"):
        model(mask_ratio=ratio)


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"backbone_depth": 3}, "depth 2 there, 3 here"), ({"backbone_heads": 6}, "heads"), ({"image_size": 96}, "96")],
)
def test_a_backbone_built_otherwise_is_refused_by_name(changes, named):
    backbone = tapped(replace(TINY, **changes), (0, 1))
    before = {name: t.clone() for name, t in backbone.state_dict().items()}
    with pytest.raises(SemeiaError, match=named):
        face_mae.copy_encoder(model(), backbone)
    assert all(torch.equal(t, before[name]) for name, t in backbone.state_dict().items())


def test_a_system_that_normalises_otherwise_is_refused():
    with pytest.raises(SemeiaError, match="mean"):
        face_mae.copy_encoder(model(), tapped(TINY, (0, 1)), mean=(0.48, 0.45, 0.4), std=TINY.std)
