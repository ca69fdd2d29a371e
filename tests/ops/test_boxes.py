"""Boxes by hand, beside slow twins and beside torchvision."""

import numpy as np
import pytest
import torch
import torchvision

from semeia.ops import boxes as m


def some_boxes(seed, count, axes=2):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (count, axes))
    return np.hstack([low, low + rng.uniform(1, 50, (count, axes))])


def on_a_grid(box, *, side, axes):
    """Cells of a grid that an integer box covers."""
    cells = np.zeros((side,) * axes, bool)
    cells[tuple(slice(int(box[k]), int(box[k + axes])) for k in range(axes))] = True
    return cells


# ---------------------------------------------------------------------------------------------------------------------
# Overlaps


def test_overlaps_of_half_shifted_squares():
    one, others = np.array([[0.0, 0, 10, 10]]), np.array([[5.0, 0, 15, 10], [10, 0, 20, 10], [0, 0, 10, 10]])
    assert m.iou(one, others).tolist() == [[1 / 3, 0, 1]]
    assert m.iobb(one, others).tolist() == [[0.5, 0, 1]]


def test_corners_that_name_pixels_have_sides_one_longer():
    one, other = np.array([[0.0, 0, 9, 9]]), np.array([[0.0, 0, 9, 4]])
    assert m.sizes(one, plus=1).tolist() == [100]
    assert m.iou(one, other, plus=1).tolist() == [[0.5]]
    assert m.iou(one, other).tolist() == [[4 / 9]]
    # Neighbouring pixels share nothing, and a pixel is a box.
    assert m.iou(np.array([[0.0, 0, 4, 4]]), np.array([[5.0, 0, 9, 4]]), plus=1).tolist() == [[0]]
    assert m.iou(np.array([[3.0, 3, 3, 3]]), np.array([[3.0, 3, 3, 3]]), plus=1).tolist() == [[1]]


def test_overlap_with_the_detected_box_is_not_mutual():
    small, large = np.array([[2.0, 2, 4, 4]]), np.array([[0.0, 0, 10, 10]])
    assert m.iobb(small, large).tolist() == [[1]]
    assert m.iobb(large, small).tolist() == [[0.04]]


def test_boxes_in_space_by_hand():
    one, other = np.array([[0.0, 0, 0, 10, 10, 4]]), np.array([[0.0, 5, 2, 10, 15, 10]])
    assert m.sizes(other).tolist() == [800]
    assert m.iobb(one, other).tolist() == [[100 / 400]]
    assert m.iou(one, other).tolist() == [[100 / 1100]]


@pytest.mark.parametrize("axes", [2, 3])
def test_overlaps_equal_counting_cells_of_a_grid(axes):
    rng = np.random.default_rng(axes)
    low = rng.integers(0, 8, (12, axes))
    found = np.hstack([low, low + rng.integers(1, 8, (12, axes))])
    cells = [on_a_grid(box, side=16, axes=axes) for box in found]
    iou = [[(a & b).sum() / (a | b).sum() for b in cells] for a in cells]
    iobb = [[(a & b).sum() / a.sum() for b in cells] for a in cells]
    np.testing.assert_allclose(m.iou(found, found), iou)
    np.testing.assert_allclose(m.iobb(found, found), iobb)
    # The same boxes by their first and last cell.
    last = found - np.repeat([0, 1], axes)
    np.testing.assert_allclose(m.iou(last, last, plus=1), iou)


def test_overlap_equals_that_of_torchvision():
    ours, theirs = some_boxes(0, 20), some_boxes(1, 30)
    expected = torchvision.ops.box_iou(torch.from_numpy(ours), torch.from_numpy(theirs)).numpy()
    np.testing.assert_allclose(m.iou(ours, theirs), expected)


def by_hand(a, b):
    wide = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    high = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union


def test_overlaps_equal_those_of_a_slow_twin():
    boxes = some_boxes(0, 12)
    expected = [[by_hand(a, b) for b in boxes[5:]] for a in boxes[:5]]
    np.testing.assert_allclose(m.iou(boxes[:5], boxes[5:]), expected)


def test_a_box_without_area_overlaps_nothing_and_no_boxes_are_allowed():
    point, box = np.array([[5.0, 5, 5, 5]]), np.array([[0.0, 0, 10, 10]])
    for overlap in (m.iou, m.iobb):
        assert overlap(point, point).tolist() == [[0]]
        assert overlap(point, box).tolist() == [[0]]
        assert overlap(np.zeros((0, 4)), box).shape == (0, 1)
        assert overlap(box, np.zeros((0, 4))).shape == (1, 0)


# ---------------------------------------------------------------------------------------------------------------------
# Suppression


def test_a_box_that_overlaps_a_better_one_goes_and_one_that_overlaps_only_a_gone_one_stays():
    chain = np.array([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert m.nms(chain, np.array([0.9, 0.8, 0.7]), most=0.3).tolist() == [0, 2]
    assert m.nms(chain, np.array([0.8, 0.9, 0.7]), most=0.3).tolist() == [1]


def test_overlap_of_exactly_the_most_stays_and_of_equal_scores_the_first():
    two = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10]])
    assert m.nms(two, np.array([0.5, 0.5]), most=1 / 3).tolist() == [0, 1]
    assert m.nms(two, np.array([0.5, 0.5]), most=0.3).tolist() == [0]


@pytest.mark.parametrize("most", [0.1, 0.3, 0.5, 0.7])
def test_suppression_equals_that_of_torchvision(most):
    boxes, scores = some_boxes(2, 60), np.random.default_rng(3).random(60)
    expected = torchvision.ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), most)
    assert m.nms(boxes, scores, most=most).tolist() == expected.tolist()


def test_no_boxes_are_suppressed_to_none():
    assert m.nms(np.zeros((0, 4)), np.zeros(0), most=0.5).tolist() == []
