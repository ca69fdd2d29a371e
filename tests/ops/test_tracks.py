"""Boxes that carry on tracks, by hand and beside slow twins."""

import numpy as np
import pytest

from semeia.ops.tracks import Track, carry_on, distinct, overlaps, pairs


def box(x, y=0.0, side=100.0):
    return (x, y, x + side, y + side)


def iou(a, b):
    wide = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    high = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union


def test_overlap_of_half_shifted_squares_is_a_third():
    assert overlaps(np.array([box(0)]), np.array([box(50), box(100), box(0)])).tolist() == [[1 / 3, 0, 1]]


def test_overlaps_equal_those_of_a_slow_twin():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 100, (12, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 60, (12, 2))])
    expected = [[iou(a, b) for b in boxes[5:]] for a in boxes[:5]]
    np.testing.assert_allclose(overlaps(boxes[:5], boxes[5:]), expected)


def test_a_box_without_area_overlaps_nothing():
    assert overlaps(np.array([[5.0, 5, 5, 5]]), np.array([[5.0, 5, 5, 5], [0, 0, 10, 10]])).tolist() == [[0, 0]]


def test_no_boxes_have_no_overlaps():
    assert overlaps(np.zeros((0, 4)), np.zeros((3, 4))).shape == (0, 3)
    assert overlaps(np.zeros((2, 4)), np.zeros((0, 4))).shape == (2, 0)


def test_the_largest_overlap_is_paired_first_and_ties_go_to_the_earlier():
    assert pairs(np.array([[0.5, 0.9], [0.4, 0.8]]), least=0.2) == [(0, 1), (1, 0)]
    assert pairs(np.array([[0.5, 0.5], [0.5, 0.5]]), least=0.2) == [(0, 0), (1, 1)]
    assert pairs(np.array([[0.19]]), least=0.2) == []


def test_a_face_that_moves_by_half_its_width_carries_its_track_on():
    tracks = [Track(7, box(0), 1.0), Track(9, box(300), 1.0)]
    assert carry_on(np.array([box(350), box(50), box(170)]), tracks, time=1.1, gap=1) == [1, 0, None]


@pytest.mark.parametrize(("away", "x", "same"), [(0.9, 20, True), (1.1, 20, False), (0.9, 200, False)])
def test_a_face_that_returns_keeps_its_number_only_soon_and_near(away, x, same):
    found = carry_on(np.array([box(x)]), [Track(1, box(0), 5.0)], time=5.0 + away, gap=1.0)
    assert found == [0 if same else None]


def test_a_track_is_carried_on_by_one_face_alone():
    assert carry_on(np.array([box(10), box(0)]), [Track(1, box(0), 0.0)], time=0.1, gap=1) == [None, 0]


def test_nothing_found_carries_nothing_on():
    assert carry_on(np.zeros((0, 4)), [Track(1, box(0), 0.0)], time=0.1, gap=1) == []
    assert carry_on(np.array([box(0)]), [], time=0.1, gap=1) == [None]


def test_of_two_boxes_on_one_face_the_worthier_stays():
    boxes = np.array([box(0), box(10), box(300), box(310)])
    assert distinct(boxes, np.array([0.2, 0.9, 0.5, 0.5])) == [1, 2]
    assert distinct(np.zeros((0, 4)), np.zeros(0)) == []
