"""Boxes that carry on tracks, by hand and beside slow twins."""

import numpy as np
import pytest

from semeia.ops.tracks import Track, carry_on, distinct, pairs


def box(x, y=0.0, side=100.0):
    return (x, y, x + side, y + side)


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
