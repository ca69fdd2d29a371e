"""Tables of detections join, and their steps add up to the curve of any draw of patients."""

from dataclasses import replace

import numpy as np
import pytest

from semeia.ledger.rows import pack, unpack
from semeia.ledger.verdicts import resampled
from semeia.metrics import detection_ap, froc
from semeia.metrics import ranked as m

MISSED = m.MISSED


def table(found, false, *, lesion_image=None, false_image=None, patients=("a",)):
    return m.Ranked(
        patients=np.array(patients, str),
        lesion_image=np.zeros(len(found), int) if lesion_image is None else np.array(lesion_image, int),
        found=np.array(found, float),
        false_image=np.zeros(len(false), int) if false_image is None else np.array(false_image, int),
        false=np.array(false, float),
    )


def matched(images):
    return m.joined([froc.match(i.truths, i.boxes, i.scores, patient=i.patient) for i in images])


# ---------------------------------------------------------------------------------------------------------------------
# Steps


def test_neighbours_of_one_kind_are_one_step():
    # From the best score: found, found, false, false, found, false.
    one = table([9, 8, 5, MISSED], [7, 6, 1])
    steps = m.patient_sums({"froc": one}).sums["froc"]
    assert steps.tolist() == [[[1, 4], [0, 2], [2, 0], [0, 1], [1, 0]]]


def test_equal_scores_are_one_step_of_both_kinds_that_joins_no_other():
    one = table([9, 5, 5, 3], [5, 3, 2])
    steps = m.patient_sums({"froc": one}).sums["froc"]
    assert steps.tolist() == [[[1, 4], [0, 1], [1, 2], [1, 1], [1, 0]]]


def test_every_patient_has_a_row_in_order_of_names_also_one_without_lesions():
    one = table([4, MISSED], [3, 2], lesion_image=[0, 2], false_image=[1, 2], patients=["b", "a", "b", "c"])
    sums = m.patient_sums({"froc": one})
    assert sums.patients == ("a", "b", "c")
    assert sums.sums["froc"].tolist() == [
        [[1, 0], [0, 0], [1, 0]],
        [[2, 2], [0, 1], [1, 0]],
        [[1, 0], [0, 0], [0, 0]],
    ]


def test_no_detection_has_no_step_and_no_image_no_patient():
    assert m.patient_sums({"x": table([MISSED], [])}).sums["x"].tolist() == [[[1, 1]]]
    nothing = m.patient_sums({"x": m.joined([])}, up_to=1)
    assert nothing.patients == ()
    assert nothing.sums["x"].shape == (0, 1, 2)


@pytest.mark.parametrize("levels", [None, 12])
def test_steps_of_a_draw_give_the_curve_of_copied_images(random_images, levels):
    images = random_images(3, levels=levels)
    sums = m.patient_sums({"froc": matched(images)})
    aps = detection_ap.ap_sums([detection_ap.match(i.truths, i.boxes, i.scores, patient=i.patient) for i in images])
    rng = np.random.default_rng(0)
    for _ in range(10):
        weights = rng.multinomial(len(sums.patients), np.full(len(sums.patients), 1 / len(sums.patients)))
        copies = dict(zip(sums.patients, weights, strict=True))
        again = [i for i in images for _ in range(copies[i.patient])]
        steps = np.tensordot(weights[None], sums.sums["froc"], 1)
        np.testing.assert_allclose(
            froc.sensitivity(steps), froc.sensitivity(m.total(m.patient_sums({"f": matched(again)}))["f"]), atol=1e-12
        )
        expected = detection_ap.ap_sums(
            [detection_ap.match(i.truths, i.boxes, i.scores, patient=i.patient) for i in again]
        )
        found = {name: np.tensordot(weights[None], array, 1) for name, array in aps.sums.items()}
        np.testing.assert_allclose(detection_ap.ap(found), detection_ap.ap(m.total(expected)), atol=1e-12)


def test_the_curve_is_exact_up_to_where_it_is_cut_and_ends_where_it_ended(random_images):
    one = matched(random_images(5, 60))
    whole = m.patient_sums({"f": one})
    cut = m.patient_sums({"f": one}, up_to=0.5)
    assert cut.sums["f"].shape[1] < whole.sums["f"].shape[1]
    rates = (0.1, 0.2, 0.3, 0.4, 0.5)
    exact = froc.sensitivity(m.total(whole)["f"], rates)
    np.testing.assert_array_equal(froc.sensitivity(m.total(cut)["f"], rates), exact)
    np.testing.assert_array_equal(m.total(cut)["f"].sum(1), m.total(whole)["f"].sum(1))


def test_steps_survive_the_file_of_a_ledger_and_its_draws(random_images):
    sums = m.patient_sums({"froc": matched(random_images(7))})
    kept = {name: unpack(pack(array), "row") for name, array in sums.sums.items()}
    assert pack(sums.sums["froc"])["type"] == "<u1"
    weights = np.random.default_rng(0).integers(0, 3, (20, len(sums.patients))).astype(float)
    expected = [np.tensordot(row, sums.sums["froc"], 1)[None] for row in weights]
    np.testing.assert_allclose(
        froc.average(resampled(kept, weights)["froc"]), [froc.average(each)[0] for each in expected]
    )


def test_tables_of_other_images_are_not_set_side_by_side():
    with pytest.raises(ValueError, match="same images"):
        m.patient_sums({"a": table([1], []), "b": table([1], [], patients=["z"])})


# ---------------------------------------------------------------------------------------------------------------------
# Joining and leaving out


def test_parts_join_to_the_table_of_all_images_and_their_order_is_of_no_matter(random_images):
    images = random_images(1)
    whole = matched(images)
    parts = m.joined([matched(images[:13]), matched(images[13:14]), matched(images[14:])])
    for name in ("patients", "lesion_image", "found", "false_image", "false"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    turned = m.patient_sums({"f": m.joined([matched(images[20:]), matched(images[:20])])})
    np.testing.assert_array_equal(turned.sums["f"], m.patient_sums({"f": whole}).sums["f"])


def test_some_images_alone_are_the_table_made_of_them(random_images):
    images = random_images(2)
    kept = np.arange(len(images)) % 3 == 0
    some = m.of_images(matched(images), kept)
    expected = matched([i for i, keep in zip(images, kept, strict=True) if keep])
    for name in ("patients", "lesion_image", "found", "false_image", "false"):
        np.testing.assert_array_equal(getattr(some, name), getattr(expected, name))


def test_lesions_that_are_left_out_leave_images_and_false_detections():
    one = m.of_lesions(table([9, 8, MISSED], [7, 6]), np.array([False, True, True]))
    assert m.patient_sums({"f": one}).sums["f"].tolist() == [[[1, 2], [0, 1], [2, 0]]]


def test_traits_go_with_their_lesions():
    both = (([1.0], [5]), ([2.0, 3], [6, 7]))
    parts = [m.of_image(np.array(f), np.zeros(0), patient="a", traits={"mm": mm}) for f, mm in both]
    whole = m.joined(parts)
    assert whole.traits["mm"].tolist() == [5, 6, 7]
    assert m.of_images(whole, np.array([False, True])).traits["mm"].tolist() == [6, 7]
    assert m.of_lesions(whole, whole.traits["mm"] > 6).found.tolist() == [3]
    with pytest.raises(ValueError, match="same traits"):
        m.joined([parts[0], m.of_image(np.zeros(1), np.zeros(0), patient="a")])
    with pytest.raises(ValueError, match="each of 2 lesions"):
        m.of_image(np.zeros(2), np.zeros(0), patient="a", traits={"mm": np.zeros(3)})


# ---------------------------------------------------------------------------------------------------------------------
# Intervals


def average(sums):
    return froc.average(sums["f"])


def test_the_interval_equals_that_of_curves_made_anew_for_every_draw(random_images):
    images = random_images(4, 30, patients=6)
    sums = m.patient_sums({"f": matched(images)})
    found = m.bootstrap(average, sums, seed=3, rounds=60, level=0.9)
    drawn = np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), size=60)
    values = []
    for weights in drawn:
        copies = dict(zip(sums.patients, weights, strict=True))
        again = matched([i for i in images for _ in range(copies[i.patient])])
        values.append(average(m.total(m.patient_sums({"f": again})))[0])
    assert found.value == average(m.total(sums))[0]
    np.testing.assert_allclose([found.low, found.high], np.quantile(values, [0.05, 0.95]))


def test_an_interval_has_the_shape_of_its_metric_and_is_the_same_for_a_seed(random_images):
    sums = m.patient_sums({"f": matched(random_images(4))})
    first, second = (m.bootstrap(lambda s: froc.sensitivity(s["f"]), sums, seed=1, rounds=120) for _ in range(2))
    assert first.value.shape == first.low.shape == first.high.shape == (6,)
    assert (first.low <= first.value).all()
    assert (first.value <= first.high).all()
    np.testing.assert_array_equal(first.low, second.low)


def test_the_difference_of_a_system_from_itself_is_nothing_and_its_interval_as_well(random_images):
    sums = m.patient_sums({"f": matched(random_images(4))})
    found = m.paired_bootstrap(average, sums, sums, seed=0, rounds=50)
    assert found.value == found.low == found.high == 0


def test_both_systems_are_drawn_with_the_same_patients(random_images):
    images = random_images(4, 80, patients=12)
    good = m.patient_sums({"f": matched(images)})
    # The other misses the detections of one image of 80.
    bare = replace(images[-1], boxes=np.zeros((0, 4)), scores=np.zeros(0))
    less = m.patient_sums({"f": matched([*images[:-1], bare])})
    paired = m.paired_bootstrap(average, good, less, seed=0, rounds=200)
    alone = m.bootstrap(average, good, seed=0, rounds=200)
    assert paired.high - paired.low < (alone.high - alone.low) / 3


def test_systems_of_other_patients_are_not_compared():
    first = m.patient_sums({"f": table([1], [])})
    with pytest.raises(ValueError, match="same patients"):
        m.paired_bootstrap(average, first, m.patient_sums({"f": table([1], [], patients=["z"])}), seed=0)


def test_draws_without_a_lesion_are_left_out_and_nothing_has_no_interval():
    # One of two patients has the lesion: a quarter of all draws has none.
    one = table([2], [1, 1], false_image=[0, 1], patients=["a", "b"])
    found = m.bootstrap(average, m.patient_sums({"f": one}), seed=0, rounds=100)
    assert found.value == found.low == found.high == 1
    empty = m.bootstrap(average, m.patient_sums({"f": m.joined([])}), seed=0, rounds=10)
    assert np.isnan([empty.value, empty.low, empty.high]).all()
