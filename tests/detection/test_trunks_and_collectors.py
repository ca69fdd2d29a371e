"""Maps: their shapes and strides, that a slice is seen alone, and how slices become one."""

import pytest
import torch
from torch import nn

from semeia.detection.collectors import COLLECTORS, DepthwiseSlices, SliceConvolution
from semeia.detection.pyramid import Pyramid
from semeia.detection.trunks import NarrowTrunk, TimmTrunk
from semeia.records import SemeiaError

SIZES = [(4, 12, 16), (8, 6, 8), (8, 3, 4)]


def maps(slices=5, batch=2):
    torch.manual_seed(0)
    return [torch.randn(batch, c, slices, h, w) for c, h, w in SIZES]


@pytest.mark.parametrize(
    "trunk",
    [
        NarrowTrunk((8, 16, 32), (1, 1, 2)), NarrowTrunk((8, 16, 32), (1, 1, 2), norm="batch"),
        TimmTrunk("resnet18", frozen=False),
    ],
)  # fmt: skip
def test_maps_have_strides_4_8_16_and_a_slice_is_seen_alone(trunk):
    trunk.eval()
    slices = torch.rand(3, 1, 64, 96)
    said = trunk(slices)
    assert [tuple(x.shape) for x in said] == [
        (3, c, 64 // s, 96 // s) for c, s in zip(trunk.channels, (4, 8, 16), strict=True)
    ]
    alone = trunk(slices[1:2])
    assert all(torch.allclose(a[0], b[1], atol=1e-5) for a, b in zip(alone, said, strict=True))


def test_the_published_trunk_is_three_blocks_of_densenet121_with_one_input_channel():
    trunk = TimmTrunk("densenet121", frozen=True)
    assert trunk.channels == (256, 512, 1024)
    assert [tuple(x.shape[2:]) for x in trunk(torch.rand(1, 1, 64, 64))] == [(16, 16), (8, 8), (4, 4)]
    assert not any("denseblock4" in name for name, _ in trunk.named_modules())


def test_frozen_norms_keep_their_statistics_and_learn_their_scales():
    trunk = TimmTrunk("resnet18", frozen=True).train()
    before = {name: b.clone() for name, b in trunk.named_buffers()}
    sum(x.mean() for x in trunk(torch.rand(2, 1, 64, 64))).backward()
    assert all(torch.equal(b, before[name]) for name, b in trunk.named_buffers())
    assert trunk.network.bn1.weight.grad is not None
    assert trunk.training


def test_checkpointing_changes_no_gradient():
    slices, gradients = torch.rand(1, 1, 64, 64), []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        trunk = TimmTrunk("resnet18", frozen=True, checkpointing=checkpointing).train()
        sum(x.square().mean() for x in trunk(slices)).backward()
        gradients.append(trunk.network.conv1.weight.grad)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)
    assert gradients[0].abs().max() > 0


@pytest.mark.parametrize("name", ["no_such_network", "vit_tiny_patch16_224", "convnext_nope"])
def test_a_trunk_without_such_maps_is_refused(name):
    with pytest.raises(SemeiaError, match=name):
        TimmTrunk(name, frozen=False)


def test_a_width_that_does_not_divide_into_groups_is_refused():
    with pytest.raises(SemeiaError, match="multiples of 8"):
        NarrowTrunk((8, 12, 16), (1, 1, 1))


@pytest.mark.parametrize("slices", [1, 2, 3, 6])
@pytest.mark.parametrize("name", COLLECTORS)
def test_every_collector_gives_one_map_a_stride(name, slices):
    collect = COLLECTORS[name]([4, 8, 8], slices)
    said = collect(maps(slices))
    assert [tuple(x.shape) for x in said] == [(2, c, h, w) for c, h, w in SIZES]


def test_the_convolution_over_slices_is_that_of_conv3d():
    collect, given = SliceConvolution([4, 8, 8], 5), maps()
    for said, convolve, x in zip(collect(given), collect.convolve, given, strict=True):
        assert torch.allclose(said, convolve(x).squeeze(2), atol=1e-5)
    assert all(isinstance(c, nn.Conv3d) and c.bias is None for c in collect.convolve)


def test_the_depthwise_sum_starts_as_the_key_slice():
    given = maps(4)
    said = DepthwiseSlices([4, 8, 8], 4)(given)
    assert all(torch.equal(a, b[:, :, 2]) for a, b in zip(said, given, strict=True))


def test_rules_without_weights_are_what_they_say():
    (x, *_) = given = maps(5)
    assert torch.equal(COLLECTORS["key"]([4, 8, 8], 5)(given)[0], x[:, :, 2])
    assert torch.equal(COLLECTORS["mean"]([4, 8, 8], 5)(given)[0], x.mean(2))
    assert torch.equal(COLLECTORS["max"]([4, 8, 8], 5)(given)[0], x.amax(2))


def test_the_pyramid_adds_enlarged_coarse_maps_to_finer_ones():
    pyramid = Pyramid([1, 1, 1], 1)
    for layer, weight in zip(pyramid.lateral, (1.0, 10.0, 100.0), strict=True):
        nn.init.constant_(layer.weight, weight)
        nn.init.zeros_(layer.bias)
    fine, middle, coarse = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 1, 1)
    fine[..., 3, 0], middle[..., 1, 0] = 1, 1
    said = pyramid([fine, middle, coarse])[0, 0].tolist()
    assert said == [[100] * 4, [100] * 4, [110, 110, 100, 100], [111, 110, 100, 100]]
