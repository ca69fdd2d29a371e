"""Average precision agrees with counting by hand, with its rule written out, and with MONAI's copy of COCO's."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.apps.detection.metrics.coco import COCOMetric
from monai.apps.detection.metrics.matching import matching_batch

from semeia.metrics import detection_ap as m
from semeia.metrics.ranked import MISSED, bootstrap, total
from semeia.ops.boxes import iou


def square(x, y=0.0, side=10.0):
    return [x, y, x + side, y + side]


def image(truths, boxes, scores, *, patient="p", **how):
    return m.match(np.array(truths, float).reshape(-1, 4), np.array(boxes, float).reshape(-1, 4),
                   np.array(scores, float), patient=patient, **how)  # fmt: skip


def sums_of(*images):
    return total(m.ap_sums(images))


def slow_ap(images, least):
    """One detection after another, for scores that are all different; precision at each recall is looked up anew."""
    ranked = []
    for each in images:
        free = list(range(len(each.truths)))
        for i in sorted(range(len(each.scores)), key=lambda i: -each.scores[i])[:100]:
            overlaps = {j: iou(each.boxes[i : i + 1], each.truths[j : j + 1])[0, 0] for j in free}
            best = max(overlaps, key=lambda j: (overlaps[j], j), default=None)
            right = best is not None and overlaps[best] >= least
            if right:
                free.remove(best)
            ranked.append((each.scores[i], right))
    right = [r for _, r in sorted(ranked, key=lambda one: -one[0])]
    lesions = sum(len(each.truths) for each in images)
    points = [(sum(right[: n + 1]) / lesions, sum(right[: n + 1]) / (n + 1)) for n in range(len(right))]
    return np.mean([max((p for r, p in points if r >= k / 100 - 1e-12), default=0) for k in range(101)])


# ---------------------------------------------------------------------------------------------------------------------
# By hand


def test_a_table_by_hand():
    # Found, false, found, and one of three lesions missed: precision 1 up to recall 1/3, 2/3 up to 2/3, then none.
    one = image([square(0), square(50), square(90)], [square(0), square(200), square(50)], [0.9, 0.8, 0.7])
    assert m.ap50(sums_of(one))[0] == pytest.approx((34 + 33 * 2 / 3) / 101)


def test_precision_is_made_falling_from_the_right():
    # False, then two found: precision is 1/2 and then 2/3, so 2/3 everywhere.
    one = image([square(0), square(50)], [square(200), square(0), square(50)], [0.9, 0.8, 0.7])
    assert m.ap50(sums_of(one))[0] == pytest.approx(2 / 3)


def test_a_repeat_is_false_and_finds_no_second_lesion_alone():
    first, *_ = image([square(0), square(50)], [square(0), square(1), square(50)], [0.9, 0.8, 0.7])
    assert first.found.tolist() == [0.9, 0.7]
    assert first.false.tolist() == [0.8]


def test_a_detection_takes_the_lesion_that_it_overlaps_most_of_those_left():
    truths, boxes = [square(0), square(3)], [square(1), square(2), square(2.9)]
    first, *_ = image(truths, boxes, [0.9, 0.8, 0.7])
    assert first.found.tolist() == [0.9, 0.8]
    # The first in the middle of both takes the later one, as in COCO.
    first, *_ = image(truths, [square(1.5)], [0.9])
    assert first.found.tolist() == [MISSED, 0.9]


def test_thresholds_go_from_half_to_95_hundredths():
    assert m.THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    # 8 of 10 columns, so 80 of 120: two thirds, which four thresholds allow.
    sums = sums_of(image([square(0)], [square(2)], [1]))
    assert list(sums) == [f"ap{n}" for n in range(50, 100, 5)]
    assert m.ap50(sums)[0] == 1
    assert m.ap(sums)[0] == pytest.approx(0.4)


def test_equal_scores_are_one_step():
    # In order of images the found one would come first, or last: 1 or 1/2.
    right, wrong = image([square(0)], [square(0)], [0.5]), image([], [square(0)], [0.5])
    assert m.ap50(sums_of(right, wrong))[0] == m.ap50(sums_of(wrong, right))[0] == pytest.approx(0.5)


# ---------------------------------------------------------------------------------------------------------------------
# Twins and properties


def test_average_precision_equals_that_of_the_rule_written_out(random_images):
    for seed in range(4):
        images = random_images(seed, 25)
        sums = sums_of(*(m.match(i.truths, i.boxes, i.scores, patient=i.patient) for i in images))
        for least in (0.5, 0.75, 0.9):
            assert m.average_precision(sums[f"ap{round(100 * least)}"])[0] == pytest.approx(slow_ap(images, least))


def test_average_precision_equals_that_of_monai(random_images):
    metric = COCOMetric(classes=["lesion"], iou_list=[0.5], iou_range=(0.5, 0.95, 0.05), max_detection=(100,))
    for seed in range(4):
        images = random_images(seed, 40)
        # MONAI's recalls are in single precision; with such counts none but 0 and 1 falls on a hundredth.
        while math.gcd(100, sum(len(i.truths) for i in images)) > 1:
            images.pop()
        found = matching_batch(
            iou_fn=iou,
            iou_thresholds=metric.iou_thresholds,
            pred_boxes=[i.boxes for i in images],
            pred_classes=[np.zeros(len(i.boxes), int) for i in images],
            pred_scores=[i.scores for i in images],
            gt_boxes=[i.truths for i in images],
            gt_classes=[np.zeros(len(i.truths), int) for i in images],
        )
        told, _ = metric(found)
        sums = sums_of(*(m.match(i.truths, i.boxes, i.scores, patient=i.patient) for i in images))
        assert m.ap50(sums)[0] == pytest.approx(told["AP_IoU_0.50_MaxDet_100"])
        assert m.ap(sums)[0] == pytest.approx(told["mAP_IoU_0.50_0.95_0.05_MaxDet_100"])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 10), st.sampled_from([None, 4]))
def test_a_false_detection_of_the_lowest_score_changes_nothing_and_stricter_overlap_never_helps(
    random_images, seed, count, levels
):
    found = random_images(seed, count, levels=levels)
    images = [m.match(i.truths, i.boxes, i.scores, patient=i.patient) for i in found]
    sums = sums_of(*images)
    more = sums_of(*images, image([], [square(0)], [-1]))
    np.testing.assert_array_equal(m.ap(more), m.ap(sums))
    if not np.isnan(m.ap(sums)[0]):
        each = [m.average_precision(steps)[0] for steps in sums.values()]
        assert 0 <= each[-1] <= each[0] <= 1


# ---------------------------------------------------------------------------------------------------------------------
# Nothing, and what is refused


def test_without_detections_it_is_0_and_without_lesions_it_does_not_exist():
    assert m.ap(sums_of(image([square(0)], [], [])))[0] == 0
    assert np.isnan(m.ap(sums_of(image([], [square(0)], [1])))[0])
    assert np.isnan(m.ap50(sums_of())[0])


def test_at_most_so_many_detections_of_an_image_count():
    boxes = [square(200), square(0)]
    assert m.ap50(sums_of(image([square(0)], boxes, [0.9, 0.8], most=1)))[0] == 0
    assert m.ap50(sums_of(image([square(0)], boxes, [0.9, 0.8], most=2)))[0] == 0.5


def test_a_score_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="scores: expected finite"):
        image([square(0)], [square(0)], [np.nan])


def test_boxes_in_space_are_measured_by_volume():
    truth = np.array([[0.0, 0, 0, 10, 10, 10]])
    tables = m.match(truth, np.array([[0.0, 0, 0, 10, 10, 6]]), np.ones(1), patient="p")
    assert [table.found[0] > 0 for table in tables] == [True] * 3 + [False] * 7


def test_an_interval_over_patients_holds_the_value(random_images):
    images = [m.match(i.truths, i.boxes, i.scores, patient=i.patient) for i in random_images(0, 60, patients=20)]
    found = bootstrap(m.ap50, m.ap_sums(images), seed=0, rounds=100)
    assert found.low < found.value < found.high
