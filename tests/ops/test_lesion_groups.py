"""Boxes on slices become lesions: balls, vessels and gaps by hand, and what holds for any boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semeia.ops.boxes import iou
from semeia.ops.lesion_groups import SAME, lesion_groups

SPACING = (0.8, 0.8)


def ball(x, y, z, radius=10.0, *, thick=5.0, pixel=0.8):
    """Slices and boxes of a ball with its middle in slice z; radius and thickness in millimetres."""
    found = []
    for away in range(-int(radius / thick), int(radius / thick) + 1):
        cut = np.sqrt(max(radius**2 - (away * thick) ** 2, 0)) / pixel
        if cut > 0:
            found.append((z + away, [x - cut, y - cut, x + cut, y + cut]))
    return found


def grouped(found, scores=None, **how):
    slices, boxes = [s for s, _ in found], [b for _, b in found]
    scores = np.linspace(0.9, 0.5, len(found)) if scores is None else np.array(scores, float)
    how = {"spacing": SPACING} | how
    return lesion_groups(np.array(slices, int), np.array(boxes, float).reshape(-1, 4), scores, **how)


def at(z, x, y=0.0, side=20.0):
    return z, [x, y, x + side, y + side]


# ---------------------------------------------------------------------------------------------------------------------
# By hand


def test_a_ball_through_five_slices_is_one_lesion():
    found = ball(100, 80, 7, radius=12)
    assert len(found) == 5
    [lesion] = grouped(found, [0.3, 0.6, 0.9, 0.7, 0.2])
    assert lesion.members == (0, 1, 2, 3, 4)
    assert lesion.slices == (5, 9)
    assert lesion.score == 0.9
    assert lesion.box == (85, 65, 115, 95)
    assert lesion.largest == 2
    assert lesion.long_mm == pytest.approx(24)
    assert lesion.short_mm == pytest.approx(24)


def test_two_balls_apart_are_two_lesions_the_surer_first():
    found = [*ball(100, 80, 7), *ball(200, 80, 7), *ball(100, 80, 30)]
    groups = grouped(found, [0.5] * 3 + [0.8] * 3 + [0.2] * 3)
    assert [(g.score, g.slices) for g in groups] == [(0.8, (6, 8)), (0.5, (6, 8)), (0.2, (29, 31))]


def test_balls_that_touch_end_to_end_but_lie_aside_are_two():
    groups = grouped([*ball(100, 80, 7), *ball(118, 80, 10)])
    assert [g.slices for g in groups] == [(6, 8), (9, 11)]


def test_a_vessel_that_crosses_a_lesion_leaves_it_whole():
    lesion = [at(z, 100) for z in range(5)]
    # Thinner, and aside by more than its width from slice to slice; in slice 2 it lies on the lesion's edge.
    vessel = [at(z, 91 + 14 * (z - 2), 5, 10) for z in range(5)]
    groups = grouped([*lesion, *vessel], [0.9] * 5 + [0.5] * 5)
    assert groups[0].members == (0, 1, 2, 3, 4)
    assert groups[0].box == (100, 0, 120, 20)
    assert [len(g.members) for g in groups[1:]] == [1] * 5


def test_a_vessel_that_ends_on_a_lesion_does_not_take_its_next_slice():
    # Both could go on with the box of slice 1; the lesion's own overlaps more.
    groups = grouped([at(0, 0), at(0, 11), at(1, 2)], [0.5, 0.9, 0.4])
    assert sorted(g.members for g in groups) == [(0, 2), (1,)]


def test_two_boxes_of_one_slice_that_overlap_are_one_and_the_better_stays():
    groups = grouped([at(0, 0), at(0, 5), at(1, 5)], [0.6, 0.7, 0.5])
    assert [g.members for g in groups] == [(1, 2)]


@pytest.mark.parametrize(("missing", "expected"), [(1, [(0, 4)]), (2, [(0, 1), (4, 5)])])
def test_a_lesion_goes_on_over_one_missing_slice_and_not_over_two(missing, expected):
    found = [at(z, 50) for z in (0, 1, 2 + missing, 3 + missing)]
    assert [g.slices for g in grouped(found)] == expected
    assert [g.slices for g in grouped(found, gap=0)] == [(0, 1), (2 + missing, 3 + missing)]
    assert len(grouped(found, gap=2)) == 1


def test_a_group_of_the_slice_before_chooses_before_one_across_a_gap():
    # The box of slice 2 lies exactly where that of slice 0 lay, but that of slice 1 is enough as well.
    groups = grouped([at(0, 0), at(1, 9), at(2, 0)], [0.5, 0.4, 0.3])
    assert sorted(g.members for g in groups) == [(0, 1, 2)]
    groups = grouped([at(0, 0), at(1, 11), at(2, 3)], [0.5, 0.4, 0.3])
    assert sorted(g.members for g in groups) == [(0,), (1, 2)]


def test_slices_that_were_not_searched_are_no_gap():
    found = [at(z, 50) for z in (3, 8, 18)]
    assert len(grouped(found)) == 3
    [lesion] = grouped(found, read=[3, 8, 13, 18])
    assert lesion.slices == (3, 18)
    assert len(grouped(found, read=[3, 8, 11, 13, 18])) == 2


def test_overlap_of_exactly_the_least_is_one_lesion():
    third = [at(0, 0), at(1, 10)]
    assert len(grouped(third, same=1 / 3)) == 1
    assert len(grouped(third, same=0.34)) == 2


def test_axes_are_sides_in_millimetres_and_the_long_one_is_not_shorter():
    [tall] = grouped([(0, [0, 0, 10, 20])], spacing=(1.0, 0.4))
    assert (tall.long_mm, tall.short_mm) == (10, 8)
    [padded] = grouped([(0, [0, 0, 30, 20])], padding=5, spacing=(0.5, 0.5))
    assert (padded.long_mm, padded.short_mm) == (10, 5)
    assert padded.box == (0, 0, 30, 20)
    [thin] = grouped([(0, [0, 0, 30, 6])], padding=5, spacing=(0.5, 0.5))
    assert thin.short_mm == 0.5


def test_of_equally_large_boxes_the_surest_tells_the_axes_and_then_the_first():
    found = [(0, [0, 0, 20, 10]), (1, [0, 0, 10, 20]), (2, [0, 0, 20, 10])]
    assert grouped(found, [0.1, 0.5, 0.3], same=0.1)[0].largest == 1
    assert grouped(found, [0.5, 0.5, 0.5], same=0.1)[0].largest == 0


def test_no_boxes_are_no_lesions():
    assert grouped([]) == []
    assert grouped([], read=range(20)) == []


# ---------------------------------------------------------------------------------------------------------------------
# For any boxes

cases = st.tuples(st.integers(0, 10**6), st.integers(0, 40), st.integers(0, 2))


def random_boxes(seed, count):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 40, (count, 2))
    boxes = np.hstack([low, low + rng.uniform(5, 30, (count, 2))])
    return rng.integers(0, 8, count), boxes, rng.permutation(count) / max(count, 1)


@settings(max_examples=60, deadline=None)
@given(cases)
def test_a_group_has_one_box_a_slice_linked_by_overlap_and_a_box_one_group(case):
    seed, count, gap = case
    slices, boxes, scores = random_boxes(seed, count)
    groups = lesion_groups(slices, boxes, scores, spacing=SPACING, gap=gap)
    members = [i for group in groups for i in group.members]
    assert len(set(members)) == len(members)
    for group in groups:
        for a, b in zip(group.members, group.members[1:], strict=False):
            assert 1 <= slices[b] - slices[a] <= gap + 1
            assert iou(boxes[a : a + 1], boxes[b : b + 1])[0, 0] >= SAME
        assert group.score == max(scores[i] for i in group.members)
        assert group.slices == (slices[group.members[0]], slices[group.members[-1]])
        assert group.long_mm >= group.short_mm > 0
    # Whatever is in no group doubles a surer box of its slice.
    for i in set(range(count)) - set(members):
        better = [j for j in members if slices[j] == slices[i] and scores[j] > scores[i]]
        assert iou(boxes[i : i + 1], boxes[better]).max() >= SAME
    assert [g.score for g in groups] == sorted((g.score for g in groups), reverse=True)


@settings(max_examples=40, deadline=None)
@given(cases, st.randoms())
def test_the_order_of_boxes_is_of_no_matter(case, random):
    seed, count, gap = case
    slices, boxes, scores = random_boxes(seed, count)
    order = random.sample(range(count), count)
    plain = lesion_groups(slices, boxes, scores, spacing=SPACING, gap=gap)
    mixed = lesion_groups(slices[order], boxes[order], scores[order], spacing=SPACING, gap=gap)
    assert [g.members for g in plain] == [tuple(order[i] for i in g.members) for g in mixed]
