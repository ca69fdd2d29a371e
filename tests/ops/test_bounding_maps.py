"""Bounding maps: values by hand, the means and parts of a box that were measured, a slow twin, gradients."""

import math

import pytest
import torch

from semeia.ops.bounding_maps import (
    MAPS,
    PLAIN,
    Profile,
    border_values,
    bounding_maps,
    cell_centres,
    profile,
)

VARIANTS = ("bm", "v1", "v1 live", "v2")
BOX = torch.tensor([[10.0, 20.0, 18.0, 40.0]])  # 8 wide, 20 high, centre 14, 30


def at(x, y, boxes=BOX, how=PLAIN):
    return bounding_maps(torch.tensor(float(x)), torch.tensor(float(y)), boxes, how).tolist()


def inside(box, points=400):
    """The maps at a fine grid of points inside one box."""
    x0, y0, x1, y1 = box.tolist()
    steps = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    x, y = x0 + (x1 - x0) * steps, y0 + (y1 - y0) * steps
    return bounding_maps(x[None], y[:, None], box[None].double())


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (14, 30, [1, 1, 1]),  # the centre
        (16, 30, [0.75, 1, math.sqrt(0.75)]),  # half way to the right edge
        (18, 30, [0.5, 1, math.sqrt(0.5)]),  # the middle of the right edge, which is inside
        (10, 20, [0.5, 0.5, 0.5]),  # a corner
        (16, 25, [0.75, 0.75, 0.75]),
        (18.01, 30, [0, 0, 0]),
        (14, 19.99, [0, 0, 0]),
    ],
)
def test_values_are_those_computed_by_hand(x, y, expected):
    assert at(x, y) == pytest.approx(expected, abs=1e-6)


def test_means_over_a_box_are_those_that_were_measured():
    x, y, xy = inside(BOX[0]).flatten(1).mean(1).tolist()
    assert (x, y) == (pytest.approx(0.75, abs=1e-5), pytest.approx(0.75, abs=1e-5))
    assert xy == pytest.approx((4 / 3 * (1 - 2**-1.5)) ** 2, abs=1e-5)
    assert xy == pytest.approx(0.7429, abs=1e-4)


@pytest.mark.parametrize(("level", "part"), [(0.6, 0.915), (0.7, 0.641), (0.75, 0.455), (0.8, 0.298), (0.9, 0.077)])
def test_parts_of_a_box_above_a_level_are_those_that_were_measured(level, part):
    assert (inside(BOX[0])[2] >= level).double().mean().item() == pytest.approx(part, abs=1e-3)


def test_maps_of_several_boxes_are_formed_box_by_box_added_and_cut():
    # At (5, 5), in the first box half way to two edges, in the second in a corner.
    boxes = torch.tensor([[2.0, 2, 6, 6], [5, 5, 9, 13]])
    assert at(5, 5, boxes[:1]) == pytest.approx([0.75, 0.75, 0.75])
    assert at(5, 5, boxes[1:]) == pytest.approx([0.5, 0.5, 0.5])
    assert at(5, 5, boxes) == [1, 1, 1]
    corners = torch.tensor([[0.0, 0, 4, 4], [4, 3, 8, 7]])  # the first's right edge meets the second's left one
    first, second = math.sqrt(0.5 * 0.625), math.sqrt(0.5 * 0.625)
    assert at(4, 3.5, corners)[2] == pytest.approx(min(1, first + second))
    apart = torch.tensor([[0.0, 0, 4, 4], [20, 20, 24, 24]])
    assert at(2, 2, apart) == [1, 1, 1]


def test_the_root_is_not_taken_of_added_maps():
    # Two boxes, one on the other: x and y are cut at 1 where xy is not yet.
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    thin = Profile((0.2,))
    x, y, xy = at(9.9, 0.2, boxes, thin)
    assert (x, y) == (pytest.approx(2 * 0.216), pytest.approx(2 * 0.232))
    assert xy == pytest.approx(2 * math.sqrt(0.216 * 0.232))
    assert at(9.9, 5, boxes, thin)[1:] == pytest.approx([1, 2 * math.sqrt(0.216)])


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_boxes_maps_are_zero(variant):
    none = torch.zeros(0, 4)
    assert torch.equal(bounding_maps(*cell_centres(3, 5), none, profile(variant)), torch.zeros(3, 3, 5))
    assert torch.equal(bounding_maps(torch.rand(7), torch.rand(7), none, profile(variant)), torch.zeros(3, 7))
    x, y = torch.rand(2, 1, 5), torch.rand(2, 4, 1)
    assert torch.equal(bounding_maps(x, y, none, profile(variant)), torch.zeros(3, 2, 4, 5))


@pytest.mark.parametrize("stride", [1, 4, 16])
def test_cells_have_their_centres(stride):
    x, y = cell_centres(2, 3, stride=stride)
    assert x.tolist() == [[0.5 * stride, 1.5 * stride, 2.5 * stride]]
    assert y.tolist() == [[0.5 * stride], [1.5 * stride]]


def slow_twin(height, width, stride, boxes, how):
    maps = torch.zeros(3, height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            x, y = (column + 0.5) * stride, (row + 0.5) * stride
            for x0, y0, x1, y1 in boxes.tolist():
                if not (x0 <= x <= x1 and y0 <= y <= y1):
                    continue
                area = (x1 - x0) * (y1 - y0)
                v = how.borders[sum(area >= limit for limit in how.areas)]
                far_x, far_y = abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)
                bx = 1 - (1 - v) * far_x / max((x1 - x0) / 2, 1)
                by = 1 - (1 - v) * far_y / max((y1 - y0) / 2, 1)
                if far_x <= how.square / 2 and far_y <= how.square / 2:
                    bx = by = 1
                maps[:, row, column] += torch.tensor([bx, by, math.sqrt(bx * by)], dtype=torch.float64)
    return maps.clamp(max=1)


def boxes_anywhere(count, seed=2):
    """Some over the border, some not in the picture, one without width and one without any side."""
    torch.manual_seed(seed)
    corner = torch.rand(count, 2, dtype=torch.float64) * 30 - 4
    boxes = torch.cat([corner, corner + torch.rand(count, 2, dtype=torch.float64) * 40], 1)
    odd = torch.tensor([[4.5, 2, 4.5, 9], [7.5, 4.5, 7.5, 4.5], [-90, 3, -40, 20]], dtype=torch.float64)
    return torch.cat([boxes, odd])


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_maps_equal_those_of_a_slow_obvious_twin(stride, variant):
    boxes, how = boxes_anywhere(5), profile(variant)
    x, y = (at.double() for at in cell_centres(13, 17, stride=stride))
    twin = slow_twin(13, 17, stride, boxes, how)
    assert torch.allclose(bounding_maps(x, y, boxes, how), twin)
    for k in range(len(boxes)):  # what a sum that is cut at 1 could hide
        alone = boxes[k : k + 1]
        assert torch.allclose(bounding_maps(x, y, alone, how), slow_twin(13, 17, stride, alone, how))
    assert torch.allclose(bounding_maps(x.float(), y.float(), boxes.float(), how), twin.float(), atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_grid_its_points_and_a_batch_of_grids_have_the_same_maps(variant):
    boxes, how = boxes_anywhere(6, seed=5), profile(variant)
    x, y = (at.double() for at in cell_centres(11, 16, stride=2))
    grid = bounding_maps(x, y, boxes, how)
    assert grid.is_contiguous()
    rows, columns = torch.meshgrid(y[:, 0], x[0], indexing="ij")
    assert torch.allclose(bounding_maps(columns, rows, boxes, how), grid)
    assert torch.allclose(bounding_maps(columns.flatten(), rows.flatten(), boxes, how), grid.flatten(1))
    cut = bounding_maps(torch.stack([x[:, :9], x[:, 7:]]), torch.stack([y, y]), boxes, how)  # (3, 2, 11, 9)
    assert torch.allclose(cut[:, 0], grid[..., :9])
    assert torch.allclose(cut[:, 1], grid[..., 7:])


@pytest.mark.parametrize("square", [0.0, 6.0])
def test_a_thousand_boxes_are_the_sum_of_each_alone(square):
    torch.manual_seed(1)
    # Their edges lie just outside of the first pixel's centre, where each is so low that the sum is not cut.
    boxes = torch.tensor([0.4995, 0.4995, 20.5, 20.5]) + 4e-4 * torch.rand(1000, 4)
    how, (x, y) = Profile((3e-4,), square=square), cell_centres(21, 21)
    each = [bounding_maps(x.double(), y.double(), box[None].double(), how) for box in boxes]
    expected = torch.stack(each).sum(0).clamp(max=1)
    assert 0.3 < expected[2, 0, 0] < 0.5
    assert torch.allclose(bounding_maps(x.double(), y.double(), boxes.double(), how), expected, rtol=0, atol=1e-12)
    assert torch.allclose(bounding_maps(x, y, boxes, how), expected.float(), rtol=0, atol=1e-4)


def test_autocast_does_not_round_maps():
    x, y = cell_centres(40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = bounding_maps(x, y, BOX)
    assert torch.equal(rounded, bounding_maps(x, y, BOX))


def test_a_coarse_map_holds_a_lesion_that_a_cell_centre_lies_in_and_no_other():
    boxes = torch.tensor([[14.0, 14, 20, 20], [33.0, 33, 39, 39]])
    assert (bounding_maps(*cell_centres(4, 4, stride=32), boxes)[2] > 0).nonzero().tolist() == [[0, 0]]


# -- odd boxes


def test_sides_below_two_pixels_do_not_fall_more_steeply():
    one = torch.tensor([[10.0, 10, 11, 11]])
    assert at(10.5, 10.5, one) == [1, 1, 1]
    assert at(11, 10.5, one) == pytest.approx([0.75, 1, math.sqrt(0.75)])  # half a pixel off at a half each
    two = torch.tensor([[10.0, 10, 12, 12]])
    assert at(12, 12, two) == pytest.approx([0.5, 0.5, 0.5])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_box_without_width_is_a_line_of_ones_along_x_and_has_no_nan(variant):
    line = torch.tensor([[10.5, 10, 10.5, 14]], requires_grad=True)
    maps = bounding_maps(*cell_centres(20, 20), line, profile(variant))
    assert maps.isfinite().all()
    assert (maps[0] > 0).nonzero().tolist() == [[row, 10] for row in range(10, 14)]
    maps.sum().backward()
    assert line.grad.isfinite().all()


def test_a_box_over_the_border_keeps_its_centre():
    over = torch.tensor([[-8.0, 2, 8, 6]])
    row = bounding_maps(*cell_centres(8, 10), over)[0, 3]
    assert row.tolist() == pytest.approx([1 - 0.5 * (k + 0.5) / 8 for k in range(8)] + [0, 0])


# -- size-adaptive


def square(area, centre=64.0):
    half = math.sqrt(area) / 2
    return torch.tensor([[centre - half, centre - half, centre + half, centre + half]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("bm", [0.5, 0.5, 0.5, 0.5]),
        ("v1", [1.0, 0.5, 0.5, 0.3]),
        ("v1 live", [1.0, 0.5, 0.5, 0.5]),
        ("v2", [1.0, 0.5, 0.5, 0.5]),
    ],
)
def test_border_values_follow_the_area(variant, expected):
    boxes = torch.tensor([[0.0, 0, 10, 19.9], [0, 0, 10, 20], [0, 0, 20, 49.9], [0, 0, 20, 50]])
    assert border_values(boxes, profile(variant)).tolist() == pytest.approx(expected)


def test_areas_shrink_with_the_square_of_the_scale():
    boxes = torch.tensor([[0.0, 0, 5, 9.9], [0, 0, 5, 10], [0, 0, 10, 24.9], [0, 0, 10, 25]])
    assert border_values(boxes, profile("v1", scale=0.5)).tolist() == pytest.approx([1, 0.5, 0.5, 0.3])
    assert border_values(boxes, profile("v1", areas=(1.0, 2.0))).tolist() == pytest.approx([0.3] * 4)


def test_a_large_box_falls_to_its_border_value():
    large = square(1600)  # 40 pixels
    edge = bounding_maps(torch.tensor(84.0).double(), torch.tensor(64.0).double(), large, profile("v1"))
    assert edge.tolist() == pytest.approx([0.3, 1, math.sqrt(0.3)])


def test_a_small_box_is_flat():
    x, y = (at.double() for at in cell_centres(128, 128))
    maps = bounding_maps(x, y, square(196), profile("v1"))
    assert set(maps.unique().tolist()) == {0.0, 1.0}
    assert maps.sum((1, 2)).tolist() == [196.0] * 3


def test_the_central_square_is_of_ones_and_cut_by_the_box():
    x, y = (at.double() for at in cell_centres(128, 128))
    maps = bounding_maps(x, y, square(900), profile("v2"))  # 30 pixels
    assert (maps[:, 57:71, 57:71] == 1).all()
    assert (maps[2] == 1).sum() == 14 * 14
    assert maps[0, 64, 71] == pytest.approx(1 - 0.5 * 7.5 / 15)
    thin = torch.tensor([[44.0, 61, 84, 67]], dtype=torch.float64)  # 40 x 6
    assert (bounding_maps(x, y, thin, profile("v2"))[2] == 1).sum() == 14 * 6


# -- gradients


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_to_boxes_and_points_are_right(variant):
    boxes = torch.tensor([[2.0, 3, 11, 9.5], [20.0, 18, 70.0, 61]], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([4.1, 7.3, 30.0, 55.5, 12.0], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([5.0, 8.8, 20.0, 50.5, 12.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *given: bounding_maps(*given, profile(variant)), (x, y, boxes))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("batch", [(), (2,)], ids=["a grid", "two grids"])
def test_gradients_of_grids_are_right(variant, batch):
    boxes = torch.tensor([[2.0, 3, 11, 9.5], [20.0, 18, 70.0, 61], [22, 25, 61, 70]], dtype=torch.float64)
    x = torch.tensor([4.1, 7.3, 30.2, 55.5, 44.7], dtype=torch.float64).expand(*batch, 1, 5).clone()
    y = torch.tensor([5.0, 8.8, 20.0, 50.5, 39.4, 90], dtype=torch.float64)[:, None].expand(*batch, 6, 1).clone()
    given = [each.requires_grad_() for each in (x, y, boxes)]
    assert torch.autograd.gradcheck(lambda *given: bounding_maps(*given, profile(variant)), given)


def test_gradients_are_finite_at_centres_edges_and_outside():
    boxes = torch.tensor([[2.5, 2.5, 8.5, 6.5], [4.5, 4.5, 4.5, 4.5], [-3, -3, 20, 20]], requires_grad=True)
    for variant in VARIANTS:
        (gradient,) = torch.autograd.grad(bounding_maps(*cell_centres(12, 12), boxes, profile(variant)).sum(), boxes)
        assert gradient.isfinite().all()


def test_a_wider_box_has_a_higher_map():
    boxes = BOX.clone().requires_grad_()
    bounding_maps(torch.tensor(16.0), torch.tensor(30.0), boxes)[0].backward()
    # BM_x = 1 - |x - cx| / (x1 - x0): the right edge moves the centre closer and widens.
    assert boxes.grad[0].tolist() == pytest.approx([0.5 / 8 - 2 / 64, 0, 0.5 / 8 + 2 / 64, 0])


def test_maps_have_an_order():
    assert MAPS == ("x", "y", "xy")
