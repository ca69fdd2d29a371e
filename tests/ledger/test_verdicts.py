"""Verdicts by hand."""

from dataclasses import replace

import numpy as np
import pytest

from semeia.ledger.claims import Metric, Term
from semeia.ledger.intervals import t_quantile
from semeia.ledger.verdicts import Verdict, judge, resampled, whole, word
from semeia.records import SemeiaError


def pairs(toy, full, plain, **changes):
    """Rows of two arms, a number of right answers for each seed."""
    arms = (("full", full), ("plain", plain))
    return [toy.row(arm, seed, right=n, **changes) for arm, each in arms for seed, n in enumerate(each)]


def test_the_verdict_of_an_interval():
    assert word(0.1, 0.2, margin=0) == "holds"
    assert word(-0.2, -0.1, margin=0) == "fails"
    assert word(-0.1, 0.2, margin=0) == "inconclusive"
    assert word(-0.1, 0.2, margin=0.15) == "holds"
    assert word(-0.2, -0.1, margin=0.15) == "inconclusive"
    assert word(-0.3, -0.2, margin=0.15) == "fails"
    assert word(float("nan"), float("nan"), margin=0) == "inconclusive"


def test_a_clear_difference_holds_and_its_reverse_fails(toy):
    rows = pairs(toy, (8, 8, 7), (5, 6, 5))
    assert judge(toy.claim, rows).word == "holds"
    assert judge(replace(toy.claim, arms=("plain", "full")), rows).word == "fails"
    lower = judge(replace(toy.claim, direction="lower"), rows)
    assert lower.word == "fails"
    assert lower.difference == pytest.approx(-7 / 30)


def test_a_noisy_difference_is_inconclusive_and_a_margin_may_settle_it(toy):
    rows = pairs(toy, (8, 5, 6), (6, 6, 5))
    assert judge(toy.claim, rows).word == "inconclusive"
    assert judge(replace(toy.claim, margin=0.5), rows).word == "holds"


def test_without_identities_that_differ_it_is_the_t_interval(toy):
    verdict = judge(toy.claim, pairs(toy, (8, 9, 7), (5, 5, 5)))
    reach = t_quantile(2) * 0.1 / 3**0.5
    assert (verdict.difference, verdict.low, verdict.high) == pytest.approx((0.3, 0.3 - reach, 0.3 + reach))


def test_without_seeds_that_differ_it_is_the_interval_over_identities(toy):
    rng = np.random.default_rng(0)
    right = rng.integers(4, 9, 200)
    verdict = judge(toy.claim, pairs(toy, (right,) * 3, (5,) * 3, people=200))
    reach = t_quantile(199) * (right / 10).std(ddof=1) / 200**0.5
    assert verdict.difference == pytest.approx((right / 10).mean() - 0.5)
    assert (verdict.high - verdict.low) / 2 == pytest.approx(reach, rel=0.05)


def test_fewer_than_three_seeds_give_no_verdict(toy):
    verdict = judge(toy.claim, pairs(toy, (9, 9), (1, 1)))
    assert verdict.words == "not run (2 of 3 seeds)"
    assert np.isnan(verdict.low)


def test_seeds_without_their_pair_do_not_count(toy):
    rows = [row for row in pairs(toy, (9, 9, 9, 9), (1, 1, 1, 1)) if (row.arm, row.seed) != ("plain", 2)]
    assert judge(toy.claim, rows).seeds == (0, 1, 3)


def test_a_smoke_run_gives_no_verdict_however_clear_it_is(toy):
    rows = pairs(toy, (9,) * 5, (1,) * 5, scale="smoke")
    assert judge(toy.claim, rows).words == "not run (smoke)"
    assert judge(toy.claim, []).words == "not run"


def test_the_largest_scale_that_has_a_verdict_counts(toy):
    small = pairs(toy, (9, 9, 9), (1, 1, 1))
    assert judge(toy.claim, small + pairs(toy, (1, 1, 1), (9, 9, 9), scale="full")).word == "fails"
    assert judge(toy.claim, small + pairs(toy, (1,), (9,), scale="full")).scale == "small"


@pytest.mark.parametrize("change", [{"protocol": "other"}, {"identities": "other"}])
def test_rows_that_were_not_made_alike_are_not_compared(toy, change):
    rows = pairs(toy, (9, 9, 9), (1, 1, 1))
    with pytest.raises(SemeiaError, match="not made alike"):
        judge(toy.claim, [*rows[:-1], replace(rows[-1], **change)])


def test_a_row_without_the_sums_of_a_claim_is_refused(toy):
    rows = [replace(row, sums={}) for row in pairs(toy, (9, 9, 9), (1, 1, 1))]
    with pytest.raises(SemeiaError, match="lacks the sums answers"):
        judge(toy.claim, rows)


def test_terms_weigh_arms_and_metrics(toy):
    half = Metric("half", ("answers",), lambda sums: sums["answers"][:, 0] / sums["answers"][:, 1] / 2)
    terms = (Term("full", 2.0, toy.accuracy), Term("plain", -1.0, half))
    claim = replace(toy.claim, terms=terms, contrast="2 full - half of plain")
    assert judge(claim, pairs(toy, (6, 6, 6), (4, 4, 4))).difference == pytest.approx(2 * 0.6 - 0.2)


def test_a_metric_that_does_not_exist_is_inconclusive(toy):
    nothing = Metric("nothing", ("answers",), lambda sums: sums["answers"][:, 0] * np.nan)
    verdict = judge(replace(toy.claim, metric=nothing), pairs(toy, (6, 6, 6), (4, 4, 4)))
    assert verdict.word == "inconclusive"
    assert "does not exist" in verdict.note


def test_one_identity_gives_no_verdict(toy):
    assert judge(toy.claim, pairs(toy, (9, 9, 9), (1, 1, 1), people=1)).words == "not run (one identity)"


def test_parts_make_a_whole():
    def of(*words):
        return whole([Verdict(word) for word in words])

    assert of("holds", "holds") == "holds"
    assert of("holds", "inconclusive") == "inconclusive"
    assert of("holds", "not run", "inconclusive") == "not run"
    assert of("holds", "not run", "fails") == "fails"


def test_sums_are_added_up_over_draws():
    sums = {"a": np.arange(6.0).reshape(3, 2)}
    got = resampled(sums, np.array([[1.0, 1, 1], [0, 3, 0]]))["a"]
    np.testing.assert_array_equal(got, [[6, 9], [6, 9]])
