"""Features of regions: shapes, grids that stay apart, sides that mirror."""

import pytest
import torch
import torch.nn.functional as F

from semeia.nn import regions as r
from semeia.ops.face_regions import FLIP_49, unit_centres

UNITS = ("AU01", "AU12", "AU24")


def centres(count=2):
    points = torch.rand(count, 49, 2, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    found = unit_centres(points, UNITS)
    return found, torch.full_like(found, 0.05)


def test_a_cell_of_a_local_convolution_sees_itself_alone():
    layer = r.LocalConvolution(3, 5, grid=4).eval()
    x = torch.randn(2, 3, 16, 16)
    changed = x.clone()
    changed[:, :, 4:8, 8:12] += 1
    apart = (layer(changed) - layer(x)).abs().sum(1)
    assert apart[:, 4:8, 8:12].all()
    apart[:, 4:8, 8:12] = 0
    assert not apart.any()


def test_each_cell_has_the_weights_of_its_place():
    layer = r.LocalConvolution(2, 3, grid=2).eval()
    x = torch.randn(1, 2, 8, 8)
    whole = layer(x)
    weight, bias = layer.convolve.weight[3:6], layer.convolve.bias[3:6]  # row 0, column 1
    scale = (1 + layer.norm.eps) ** -0.5
    cell = F.conv2d(F.relu(x[:, :, :4, 4:] * scale), weight, bias, padding=1)
    torch.testing.assert_close(whole[:, :, :4, 4:], cell)


def test_the_stem_quarters_the_picture():
    assert r.RegionStem((8, 16))(torch.rand(2, 3, 64, 64)).shape == (2, 16, 16, 16)


def test_groups_are_branches_that_stay_apart():
    net = r.FeatureExtractor(4, (6, 8), groups=3).eval()
    x = torch.randn(2, 12, 8, 8)
    changed = x.clone()
    changed[:, 4:8] += 1
    before, after = (net(y).unflatten(1, (3, 8)) for y in (x, changed))
    assert before.shape == (2, 3, 8, 2, 2)
    torch.testing.assert_close(before[:, [0, 2]], after[:, [0, 2]])
    assert (before[:, 1] != after[:, 1]).any()


def test_landmarks_start_where_they_usually_are():
    branch = r.LandmarkBranch(16, (8, 8), cells=16, hidden=12)
    torch.nn.init.zeros_(branch.points[-1].weight)
    torch.nn.init.zeros_(branch.points[-1].bias)
    branch.usual.uniform_()
    points, features = branch(torch.rand(3, 16, 16, 16))
    torch.testing.assert_close(points, branch.usual.expand(3, -1, -1))
    assert features.shape == (3, 8, 4, 4)


@pytest.mark.parametrize("make", [lambda: r.WindowRegions(cells=8), lambda: r.MapRegions(cells=16)])
def test_a_mirrored_map_has_the_same_regions_with_the_sides_swapped(make):
    regions = make()
    points = torch.rand(2, 49, 2, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3
    mirrored = points[:, FLIP_49] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    stem = torch.randn(2, 5, 16, 16)
    spreads = torch.full((2, 3, 2, 2), 0.05)
    seen = regions(stem, unit_centres(points, UNITS), spreads)
    turned = regions(stem.flip(-1), unit_centres(mirrored, UNITS), spreads)
    assert seen.shape[:4] == (2, 3, 2, 5)
    torch.testing.assert_close(turned.flip(2), seen, atol=1e-4, rtol=1e-4)


def test_a_window_shows_what_is_at_its_centre():
    stem = torch.zeros(1, 1, 16, 16)
    stem[0, 0, 4, 11] = 1
    centre = torch.tensor([11.5, 4.5]) / 16
    window = r.WindowRegions(cells=5)(stem, centre.expand(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.05))
    assert window[0, 0, 0, 0, 2, 2] == pytest.approx(1.0)
    assert window.flatten(-2).argmax(-1).unique().tolist() == [12]


def test_gradients_reach_centres_and_spreads_through_both_kinds_of_region():
    for regions in (r.WindowRegions(cells=4), r.MapRegions(cells=8)):
        at, spreads = centres()
        at.requires_grad_()
        spreads.requires_grad_()
        regions(torch.randn(2, 4, 8, 8), at, spreads).square().sum().backward()
        assert at.grad.any()
        assert spreads.grad.any()


def test_both_sides_of_a_unit_share_a_branch():
    branches = r.UnitBranches(3, 4, (6, 8), cells=8, width=10).eval()
    regions = torch.randn(2, 3, 2, 4, 8, 8)
    v = branches(regions)
    assert v.shape == (2, 3, 2, 10)
    assert (v >= 0).all()
    torch.testing.assert_close(branches(regions.flip(2)), v.flip(2))
    changed = regions.clone()
    changed[:, 1] += 1
    torch.testing.assert_close(branches(changed)[:, [0, 2]], v[:, [0, 2]])
