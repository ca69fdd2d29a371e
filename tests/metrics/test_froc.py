"""FROC agrees with counting by hand, with its rule written out, and with MONAI where both mean the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_fp_tp_probs, compute_froc_curve_data, compute_froc_score

from semeia.metrics import froc as m
from semeia.metrics.ranked import MISSED, joined, of_images, of_lesions, patient_sums, total

NONE = np.zeros((0, 4))


def square(x, y=0.0, side=9.0):
    return [x, y, x + side, y + side]


def image(truths, boxes, scores, *, patient="p", **how):
    return m.match(np.array(truths, float).reshape(-1, 4), np.array(boxes, float).reshape(-1, 4),
                   np.array(scores, float), patient=patient, **how)  # fmt: skip


def steps_of(*images):
    return total(patient_sums({"f": joined(images)}))["f"]


def at(rates, *images):
    return m.sensitivity(steps_of(*images), rates)[0]


def slow_overlap(a, b, kind, plus):
    half = len(a) // 2
    shared, own, other = 1.0, 1.0, 1.0
    for k in range(half):
        shared *= max(0.0, min(a[k + half], b[k + half]) - max(a[k], b[k]) + plus)
        own *= a[k + half] - a[k] + plus
        other *= b[k + half] - b[k] + plus
    return shared / (own if kind == "iobb" else own + other - shared)


def slow_froc(images, rates, *, kind="iou", least=0.5, most=50, plus=1.0):
    """The rule of the papers, one detection after another, for scores that are all different."""
    ranked = []
    for place, each in enumerate(images):
        best = sorted(range(len(each.scores)), key=lambda i: -each.scores[i])[:most]
        ranked += [(each.scores[i], place, each.boxes[i]) for i in best]
    hit = [[False] * len(each.truths) for each in images]
    found, false, knots = 0, 0, [(0, 0)]
    for _, place, box in sorted(ranked, key=lambda one: -one[0]):
        overlaps = [slow_overlap(box, truth, kind, plus) for truth in images[place].truths]
        if not overlaps or max(overlaps) < least:
            false += 1
        else:
            for j, overlap in enumerate(overlaps):
                if overlap >= least and not hit[place][j]:
                    hit[place][j] = True
                    found += 1
        knots.append((false, found))
    lesions = sum(len(each.truths) for each in images)
    values = []
    for rate in rates:
        x = rate * len(images)
        left = max(k for k, (knot, _) in enumerate(knots) if knot <= x)
        value = knots[left][1]
        if left + 1 < len(knots):
            (x0, y0), (x1, y1) = knots[left : left + 2]
            value = y0 + (y1 - y0) * (x - x0) / (x1 - x0)
        values.append(value / lesions)
    return values


# ---------------------------------------------------------------------------------------------------------------------
# By hand


def test_a_table_by_hand():
    # From the best score: found (1 of 3), false, false, found (2 of 3), false; one lesion is missed.
    first = image([square(0), square(50)], [square(0), square(100), square(50)], [0.9, 0.8, 0.6])
    second = image([square(0)], [square(200), square(300)], [0.7, 0.5])
    assert at([0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 16], first, second).tolist() == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3]
    )
    assert m.average(steps_of(first, second))[0] == pytest.approx((1 + 2 + 2 + 2) / 12)
    false, found = m.curve(steps_of(first, second)[0])
    assert false.tolist() == [0, 0, 1, 1, 1.5]
    assert found.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3])


def test_one_detection_finds_every_lesion_that_it_overlaps_enough():
    # 10 pixels wide with the extra one; both truths share 8 of 10 columns with it, so 80 of 120.
    one = image([square(0), square(4)], [square(2)], [0.5])
    assert one.found.tolist() == [0.5, 0.5]
    assert one.false.size == 0


def test_further_hits_of_a_lesion_are_neither_found_nor_false():
    one = image([square(0)], [square(0), square(1), square(0), square(50)], [0.2, 0.9, 0.5, 0.4])
    assert one.found.tolist() == [0.9]
    assert one.false.tolist() == [0.4]


def test_sides_are_one_pixel_longer_than_corners_say():
    truth, half = [0, 0, 9, 9], [0, 0, 9, 4]
    assert image([truth], [half], [1]).found.tolist() == [1]
    assert image([truth], [half], [1], plus=0).found.tolist() == [MISSED]
    assert image([truth], [[0, 0, 9, 3.9]], [1]).false.tolist() == [1]


def test_the_best_detections_of_an_image_are_kept_and_of_equal_scores_the_first():
    boxes = [square(50), square(0), square(90)]
    assert image([square(0)], boxes, [0.1, 0.5, 0.9], most=2).found.tolist() == [0.5]
    assert image([square(0)], boxes, [0.5, 0.5, 0.9], most=2).found.tolist() == [MISSED]
    assert image([square(0)], boxes, [0.9, 0.5, 0.5], most=2).found.tolist() == [0.5]


def test_a_small_detection_inside_a_lesion_finds_it_by_its_own_area_alone():
    truth, small = [0, 0, 99, 99], [10, 10, 19, 19]
    assert image([truth], [small], [1]).found.tolist() == [MISSED]
    assert image([truth], [small], [1], overlap="iobb", least=0.3).found.tolist() == [1]


def test_boxes_of_sub_volumes_by_hand():
    truth = np.array([[0.0, 0, 0, 9, 9, 4]])
    # 10 x 10 x 6 with the extra one, of which 2 slices lie in the truth: a third.
    touching = np.array([[0.0, 0, 3, 9, 9, 8]])
    for last, found in ((8.0, [0.7]), (9.0, [MISSED])):  # 2 of 7 slices are too few
        touching[0, 5] = last
        assert m.match_3d(truth, touching, np.array([0.7]), patient="p").found.tolist() == found
    assert m.match_3d(truth, touching, np.array([0.7]), patient="p", plus=0).found.tolist() == [MISSED]


def test_equal_scores_are_taken_together_and_the_curve_is_straight_between():
    one = image([square(0)], [square(0), square(50), square(90)], [0.5, 0.5, 0.5])
    assert at([0, 0.5, 1, 2, 3], one).tolist() == [0, 0.25, 0.5, 1, 1]


def test_the_score_that_leaves_so_many_false_detections():
    boxes = [square(0), square(50), square(90), square(130)]
    one = joined([image([square(0)], boxes, [0.9, 0.8, 0.7, 0.2]), image([], [], [])])
    for rate, left in ((0, 0), (0.4, 0), (0.5, 1), (1, 2), (1.5, 3)):
        assert (one.false >= m.threshold(one, rate)).sum() == left
    assert 0.8 < m.threshold(one, 0.4) < 0.9
    assert m.threshold(one, 2) == -np.inf
    tied = image([], [square(0), square(20)], [0.5, 0.5])
    assert m.threshold(tied, 1) > 0.5


# ---------------------------------------------------------------------------------------------------------------------
# Twins


@pytest.mark.parametrize(
    ("axes", "kind", "least", "most"), [(2, "iou", 0.5, 50), (2, "iobb", 0.3, 3), (3, "iobb", 0.3, 50)]
)
def test_sensitivity_equals_that_of_the_rule_written_out(random_images, axes, kind, least, most):
    rates = (0.1, 0.3, 0.5, 0.77, 1, 1.5, 2, 4, 8)
    for seed in range(5):
        images = random_images(seed, axes=axes)
        how = {"overlap": kind, "least": least, "most": most}
        found = at(rates, *(m.match(i.truths, i.boxes, i.scores, patient=i.patient, **how) for i in images))
        np.testing.assert_allclose(found, slow_froc(images, rates, kind=kind, least=least, most=most))


def test_sensitivity_equals_that_of_monai():
    """Lesions lie apart and every detection is a shifted copy of one, or far from all.

    So MONAI's rule, a middle that lies in a lesion, means the same. It leaves out the least score of all, which here
    is the 0 of a lesion that is missed.
    """
    rng = np.random.default_rng(0)
    images, wrong, right, lesions = [], [], [], 0
    for _ in range(30):
        truths = np.array([square(60 * k, 10, 20) for k in range(rng.integers(1, 4))])
        near = np.repeat(truths, rng.integers(0, 3, len(truths)), axis=0)
        near = near + np.tile(rng.integers(-3, 4, (len(near), 2)), 2)
        boxes = np.vstack([near, [square(60 * k, 100, 20) for k in range(rng.integers(0, 4))] or NONE])
        scores = rng.integers(1, 64, len(boxes)) / 64
        images.append(m.match(truths, boxes, scores, patient="p"))
        mask = np.zeros((200, 200), int)
        for k, (x0, y0, x1, y1) in enumerate(truths.astype(int)):
            mask[y0 : y1 + 1, x0 : x1 + 1] = k + 1
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        false, found, count = compute_fp_tp_probs(scores, middle[:, 1], middle[:, 0], mask)
        wrong.append(false)
        right.append(found)
        lesions += count
    right = np.concatenate(right)
    assert (right == 0).any()
    curve = compute_froc_curve_data(np.concatenate(wrong), right.astype(float), lesions, len(images))
    for rate in (0.1, 0.25, 0.5, 0.8, 1, 2, 4):
        assert at([rate], *images)[0] == pytest.approx(compute_froc_score(*curve, (rate,)))


# ---------------------------------------------------------------------------------------------------------------------
# Properties

cases = st.tuples(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([None, 4]))


@pytest.fixture(scope="session")
def matched(random_images):
    def make(seed, images, levels):
        return joined([
            m.match(i.truths, i.boxes, i.scores, patient=i.patient)
            for i in random_images(seed, images, levels=levels)
        ])  # fmt: skip

    return make


@settings(max_examples=40, deadline=None)
@given(cases)
def test_sensitivity_rises_with_the_rate_and_is_a_share(matched, case):
    found = at(np.linspace(0, 8, 40), matched(*case))
    if np.isnan(found).all():
        assert matched(*case).found.size == 0
    else:
        assert (np.diff(found) >= -1e-12).all()
        assert ((found >= 0) & (found <= 1)).all()


@settings(max_examples=40, deadline=None)
@given(cases)
def test_a_false_detection_of_the_lowest_score_changes_nothing(matched, case):
    one = matched(*case)
    more = joined([one, image([], [square(0)], [-1])])
    before = joined([one, image([], [], [])])
    np.testing.assert_array_equal(at(m.RATES, more), at(m.RATES, before))


@settings(max_examples=40, deadline=None)
@given(cases)
def test_a_false_detection_never_helps_and_a_repeated_image_changes_nothing(matched, case):
    one = matched(*case)
    bare = joined([one, image([], [], [])])
    worse = joined([one, image([], [square(0)], [0.7])])
    if one.found.size:
        assert (at(m.RATES, worse) <= at(m.RATES, bare) + 1e-12).all()
    np.testing.assert_allclose(at(m.RATES, one, one), at(m.RATES, one), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(cases, st.randoms())
def test_the_order_of_images_and_of_detections_is_of_no_matter(matched, random_images, case, random):
    seed, count, levels = case
    images = random_images(seed, count, levels=levels)
    random.shuffle(images)
    mixed = []
    for i in images:
        order = random.sample(range(len(i.scores)), len(i.scores))
        mixed.append(m.match(i.truths, i.boxes[order], i.scores[order], patient=i.patient))
    np.testing.assert_array_equal(at(m.RATES, *mixed), at(m.RATES, matched(*case)))


# ---------------------------------------------------------------------------------------------------------------------
# Nothing, and what is refused


def test_without_detections_nothing_is_found():
    assert at(m.RATES, image([square(0)], [], [])).tolist() == [0] * 6


def test_without_lesions_or_images_there_is_no_sensitivity():
    assert np.isnan(at(m.RATES, image([], [square(0)], [1]))).all()
    assert np.isnan(at(m.RATES)).all()
    assert np.isnan(m.average(steps_of()))
    false, found = m.curve(steps_of(image([], [square(0)], [1]))[0])
    assert false.tolist() == [0, 1]
    assert np.isnan(found).all()


def test_images_without_lesions_count_among_images():
    assert at([0.5], image([square(0)], [square(50), square(0)], [2, 1]), image([], [], [])).tolist() == [1]
    assert at([0.5], image([square(0)], [square(50), square(0)], [2, 1])).tolist() == [0]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(odd):
    with pytest.raises(ValueError, match="scores: expected finite"):
        image([square(0)], [square(0)], [odd])
    with pytest.raises(ValueError, match="boxes: expected finite"):
        image([square(0)], [square(odd)], [1])
    with pytest.raises(ValueError, match="truths: expected finite"):
        image([square(odd)], [square(0)], [1])


def test_shapes_that_do_not_fit_and_turned_boxes_are_refused():
    with pytest.raises(ValueError, match="a score for each"):
        image([square(0)], [square(0)], [1, 2])
    with pytest.raises(ValueError, match="as wide"):
        m.match(np.zeros((1, 6)), np.zeros((1, 4)), np.zeros(1), patient="p")
    with pytest.raises(ValueError, match="as wide"):
        m.match(np.zeros((1, 5)), np.zeros((1, 4)), np.zeros(1), patient="p")
    with pytest.raises(ValueError, match="as wide"):
        m.match(np.zeros((1, 4)), np.zeros((1, 4)), np.zeros(()), patient="p")
    with pytest.raises(ValueError, match="as wide"):
        m.match(np.zeros(4), np.zeros((1, 4)), np.zeros(1), patient="p")
    with pytest.raises(ValueError, match="before it begins"):
        image([square(0)], [[9, 0, 0, 9]], [1])


# ---------------------------------------------------------------------------------------------------------------------
# Strata


def test_sensitivity_in_a_stratum_is_told_at_the_false_detections_of_all_images():
    # The large lesion is found before, the small one after the only false detection; a hit of the small one is no
    # false detection among the large ones.
    one = image([square(0), square(40)], [square(0), square(40), square(90)], [0.9, 0.5, 0.7],
                traits={"mm": np.array([40, 8])})  # fmt: skip
    for name, expected in (("under 10 mm", [0, 1]), ("over 30 mm", [1, 1])):
        stratum = of_lesions(one, m.size_strata(one.traits["mm"])[name])
        assert at([0.9, 1], stratum).tolist() == expected
    assert np.isnan(at([1], of_lesions(one, m.size_strata(one.traits["mm"])["10 to 30 mm"]))).all()


def test_edges_of_strata():
    mm = np.array([9.99, 10, 30, 30.01, np.nan])
    assert [mask.tolist() for mask in m.size_strata(mm).values()] == [
        [True, False, False, False, False],
        [False, True, True, False, False],
        [False, False, False, True, False],
    ]
    assert [mask.tolist() for mask in m.interval_strata(np.array([0.5, 2, 2.5, 5, np.nan])).values()] == [
        [True, True, False, False, False],
        [False, False, False, True, False],
    ]
    types = m.type_strata(np.array([5, -1, 1, 5, np.nan]))
    assert {name: mask.tolist() for name, mask in types.items()} == {
        "type 1": [False, False, True, False, False],
        "type 5": [True, False, False, True, False],
    }


def test_images_of_a_stratum_alone_have_their_own_false_detections():
    one = joined([image([square(0)], [square(0), square(50)], [1, 2]), image([square(0)], [square(0)], [3])])
    assert at([0], of_images(one, np.array([True, False]))).tolist() == [0]
    assert at([0], of_images(one, np.array([False, True]))).tolist() == [1]
