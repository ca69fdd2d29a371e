"""Backbones tapped at several depths."""

import pytest
import torch

from semeia.checkpoint import bundled
from semeia.nn.stages import FineStem, stages
from semeia.nn.weight_files import compare, read_tensors

SIZES = {"pretrained": False, "width": 48, "depth": 4, "heads": 3, "drop_path": 0.0}


@pytest.mark.parametrize(
    ("name", "taps"), [("vit_tiny_patch16_224", (3, 7, 11)), ("resnet10t", (1, 2, 4)), ("convnext_atto", (0, 1, 3))]
)
def test_any_timm_name_serves_as_backbone(name, taps):
    model = stages(name, taps=taps, image_size=64, **SIZES).eval()
    maps, (h, w) = model(torch.zeros(1, 3, 64, 64))
    assert len(maps) == 3
    assert all(m.shape == (1, h * w, c) for m, c in zip(maps, model.widths, strict=True))


@pytest.mark.parametrize("taps", [(), (3, 1), (0, 0), (0, 6), (-1, 2)])
def test_taps_must_rise_within_the_depth(taps):
    with pytest.raises(ValueError, match=r"0\.\.5"):
        stages("fine_vit", taps=taps, image_size=64, **SIZES)


def test_fine_vit_gives_two_maps_of_its_stem_and_its_blocks_on_one_grid():
    model = stages("fine_vit", taps=(0, 1, 5), image_size=64, **SIZES)
    maps, grid = model(torch.zeros(2, 3, 64, 64))
    assert grid == (4, 4)
    assert [tuple(m.shape) for m in maps] == [(2, 16, 64), (2, 16, 48), (2, 16, 48)]
    assert model.widths == (64, 48, 48)


def test_the_first_stage_keeps_the_four_places_that_share_a_place_of_the_grid():
    model = stages("fine_vit", taps=(0, 1), image_size=64, **SIZES).eval()
    image = torch.rand(1, 3, 64, 64)
    (finer, _), _ = model(image)
    before, _ = model.model.patch_embed.backbone.maps(image)  # (1, 16, 8, 8)
    stacked = finer[0].unflatten(0, (4, 4)).unflatten(-1, (16, 2, 2))  # (4, 4, 16, 2, 2)
    torch.testing.assert_close(stacked[1, 3], before[0, :, 2:4, 6:8])


def test_all_of_fine_vit_is_used_by_its_taps():
    model = stages("fine_vit", taps=(0, 5), image_size=64, **SIZES)
    maps, _ = model(torch.rand(1, 3, 64, 64))
    sum(m.square().sum() for m in maps).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_hidden_blocks_are_to_the_stem_like_places_beyond_the_border():
    stem = FineStem(48).eval()
    image = torch.rand(1, 3, 64, 64)
    left = torch.zeros(1, 1, 4, 4)
    left[..., :2] = 1
    whole, alone = stem(image, left), stem(image[..., :32])
    torch.testing.assert_close(whole[..., :2], alone)
    assert (whole[..., 2:] == 0).all()


def test_the_parameters_of_fine_vit_keep_their_names_and_shapes():
    model = stages("fine_vit", taps=(0, 1, 2), image_size=112, **SIZES | {"width": 192, "depth": 1})
    file = bundled("qface") / "model.safetensors"
    kept = {n.removeprefix("backbone."): t for n, t in read_tensors(file).items() if n.startswith("backbone.")}
    compare(model, kept, source=file)
