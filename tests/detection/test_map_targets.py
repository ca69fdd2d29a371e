"""The branch that draws maps: its targets against maps of pixels, its losses by hand."""

import math

import pytest
import torch

from semeia.detection.map_targets import MAP_LOSSES, MapBranch, entropy, map_targets
from semeia.detection.masks import cropped
from semeia.detection.regions import Regions
from semeia.ops.bounding_maps import bounding_maps, cell_centres, profile

LESION = torch.tensor([[20.0, 16, 48, 44]])
NONE = torch.zeros(0, 4)


def branch(**changes):
    torch.manual_seed(0)
    usual = {"width": 8, "maps": ("x", "y"), "profile": profile("bm"), "loss": "mse"}
    return MapBranch(8, 4, **usual | changes)


def test_a_region_that_is_the_lesion_sees_its_whole_map():
    said = map_targets([LESION], [LESION])[0]
    assert said.shape == (3, 28, 28)
    x, y, xy = said
    # Cells of one pixel: 0.5 / 14 below 1 beside the centre, and as much above 0.5 at the border.
    expected = torch.tensor([0.5 + (k + 0.5) / 28 for k in [*range(14), *range(13, -1, -1)]])
    assert torch.allclose(x, expected.expand(28, 28))
    assert torch.allclose(y, expected[:, None].expand(28, 28))
    assert torch.allclose(xy, (x * y).sqrt())
    assert xy.mean().item() == pytest.approx(0.7429, abs=1e-3)


def test_a_region_beside_the_lesion_sees_a_part():
    right = torch.tensor([[34.0, 16, 62, 44]])  # from the centre on, and as much beyond
    x = map_targets([right], [LESION], maps=("x",))[0, 0]
    assert (x[:, 14:] == 0).all()
    assert torch.allclose(x[0, :14], torch.tensor([1 - (k + 0.5) / 28 for k in range(14)]))


def test_the_order_of_maps_is_that_of_their_names():
    given = [torch.tensor([[18.0, 18, 50, 40]])]
    both, turned = (map_targets(given, [LESION], maps=names) for names in (("x", "y"), ("y", "x")))
    assert torch.equal(both, turned.flip(1))


def test_targets_are_what_is_cut_from_a_map_of_pixels_but_for_the_border():
    lesions = torch.tensor([[20.0, 16, 48, 44], [60, 60, 76, 90]])
    regions = torch.tensor([[16.0, 12, 44, 40], [56.0, 62, 84, 90], [22.0, 20, 50, 34]])
    pixels = bounding_maps(*cell_centres(100, 100), lesions, profile("v1"))
    said = map_targets([regions], [lesions], profile=profile("v1"))
    for k in range(3):
        cut = cropped([pixels[k].expand(3, 100, 100)], [regions])
        assert ((said[:, k] - cut).abs() < 0.03).float().mean() > 0.95
        assert (said[:, k] - cut).abs().mean() < 0.01


def test_each_region_sees_the_lesions_of_its_own_image():
    said = map_targets([LESION, LESION], [LESION, NONE])
    assert said[0].sum() > 0
    assert said[1].sum() == 0


def test_losses_of_cells_are_those_computed_by_hand():
    logits, targets = torch.tensor([0.0, 0.0, math.log(3)]), torch.tensor([0.5, 1.0, 0.5])
    assert MAP_LOSSES["mse"](logits, targets).tolist() == pytest.approx([0, 0.25, 0.0625])
    both = -0.5 * math.log(0.75) - 0.5 * math.log(0.25) - math.log(2)
    assert MAP_LOSSES["bce"](logits, targets).tolist() == pytest.approx([0, math.log(2), both], abs=1e-6)
    assert entropy(torch.tensor([0.0, 1.0, 0.5])).tolist() == pytest.approx([0, 0, math.log(2)])


@pytest.mark.parametrize("loss", MAP_LOSSES)
def test_losses_are_zero_and_flat_at_the_target_and_have_gradients_elsewhere(loss):
    targets = torch.tensor([0.3, 0.5, 0.9], dtype=torch.float64)
    logits = targets.logit().requires_grad_()
    value = MAP_LOSSES[loss](logits, targets)
    value.sum().backward()
    assert torch.allclose(value, torch.zeros(3).double(), atol=1e-12)
    assert torch.allclose(logits.grad, torch.zeros(3).double(), atol=1e-12)
    elsewhere = torch.randn(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: MAP_LOSSES[loss](x, targets), elsewhere)


def regions():
    """Image 0: two regions of its lesion and one that is none; image 1: none that is a lesion."""
    return Regions(
        [torch.tensor([[20.0, 16, 48, 44], [0, 0, 8, 8], [18, 18, 50, 40]]), torch.tensor([[30.0, 30, 40, 40]])],
        [torch.tensor([0, -1, 0]), torch.tensor([-1])], [LESION, NONE], None,
    )  # fmt: skip


@pytest.mark.parametrize("loss", MAP_LOSSES)
def test_the_loss_of_an_image_is_the_mean_over_its_lesions_regions(loss):
    model, features = branch(loss=loss), torch.randn(2, 8, 16, 16)
    first, second = model(features, regions(), (64, 64)).tolist()
    at = regions().boxes[0][[0, 2]]
    each = MAP_LOSSES[loss](model.draw(features, [at, NONE]), map_targets([at], [LESION], maps=("x", "y")))
    assert each.shape == (2, 2, 28, 28)
    assert first == pytest.approx(each.mean().item(), rel=1e-5)
    assert second == 0


def test_without_any_region_that_is_a_lesion_the_loss_is_zero_and_has_a_gradient():
    model = branch()
    none = regions()._replace(matched=[torch.tensor([-1, -1, -1]), torch.tensor([-1])])
    loss = model(torch.randn(2, 8, 16, 16), none, (64, 64))
    loss.sum().backward()
    assert loss.tolist() == [0, 0]


def test_it_learns_where_the_maps_are_high():
    model, features = branch(), torch.randn(2, 8, 16, 16)
    at = regions().boxes[0][[0, 2]]
    targets = map_targets([at], [LESION], maps=("x", "y"))
    same_everywhere = (targets - targets.mean((0, 2, 3), keepdim=True)).square().mean()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        loss = model(features, regions(), (64, 64)).sum()
        loss.backward()
        optimizer.step()
    assert loss < 0.7 * same_everywhere


def test_what_it_draws_can_be_looked_at():
    said = branch(maps=("x", "y", "xy")).drawn(torch.randn(2, 8, 16, 16), regions().boxes)
    assert said.shape == (4, 3, 28, 28)
    assert ((said > 0) & (said < 1)).all()
