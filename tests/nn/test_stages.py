"""Backbones tapped at several depths."""

import pytest
import torch

from semeia.nn.stages import ConvStem, stages

SIZES = {"pretrained": False, "width": 48, "depth": 4, "heads": 3, "drop_path": 0.0}


def test_the_stem_shrinks_sixteenfold():
    assert ConvStem((8, 16, 24, 32))(torch.zeros(2, 3, 64, 48)).shape == (2, 32, 4, 3)


def test_conv_vit_gives_one_token_map_a_tap():
    model = stages("conv_vit", taps=(0, 1, 3), image_size=64, **SIZES)
    maps, grid = model(torch.zeros(2, 3, 64, 64))
    assert grid == (4, 4)
    assert [tuple(m.shape) for m in maps] == [(2, 16, 48)] * 3
    assert model.widths == (48, 48, 48)


@pytest.mark.parametrize(
    ("name", "taps"), [("vit_tiny_patch16_224", (3, 7, 11)), ("resnet10t", (1, 2, 4)), ("convnext_atto", (0, 1, 3))]
)
def test_any_timm_name_serves_as_backbone(name, taps):
    model = stages(name, taps=taps, image_size=64, **SIZES).eval()
    maps, (h, w) = model(torch.zeros(1, 3, 64, 64))
    assert len(maps) == 3
    assert all(m.shape == (1, h * w, c) for m, c in zip(maps, model.widths, strict=True))


@pytest.mark.parametrize("taps", [(), (3, 1), (0, 0), (0, 4), (-1, 2)])
def test_taps_must_rise_within_the_depth(taps):
    with pytest.raises(ValueError, match=r"0\.\.3"):
        stages("conv_vit", taps=taps, image_size=64, **SIZES)
