"""What a claim must say before it may be run."""

from dataclasses import replace

import pytest

from semeia.ledger.claims import Term
from semeia.records import SemeiaError


def test_a_claim_subtracts_its_second_arm_from_its_first(toy):
    assert [(t.arm, t.weight) for t in toy.claim.weighted] == [("full", 1.0), ("plain", -1.0)]
    alone = replace(toy.claim, arms=("full",))
    assert [(t.arm, t.weight) for t in alone.weighted] == [("full", 1.0)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": "a friend"}, "KNOWN, INFERRED, UNKNOWN"),
        ({"matched": False}, "expected a reason"),
        ({"margin": -0.1}, "at least 0"),
        ({"margin": float("nan")}, "at least 0"),
        ({"arms": ("full", "plain", "other")}, "one or two arms"),
        ({"contrast": "this and that"}, "one or two arms"),
    ],
)
def test_an_unclear_claim_is_refused(toy, change, words):
    with pytest.raises(SemeiaError, match=words):
        replace(toy.claim, **change)


def test_a_term_of_an_arm_that_is_not_named_is_refused(toy):
    with pytest.raises(SemeiaError, match="stranger"):
        replace(toy.claim, terms=(Term("stranger", 1.0, toy.accuracy),), contrast="stranger")


def test_a_ledger_refuses_names_that_are_twice_or_nowhere(toy):
    with pytest.raises(SemeiaError, match="one name"):
        toy.ledger(claims=(toy.claim, toy.claim))
    with pytest.raises(SemeiaError, match="not declared: plain"):
        toy.ledger(arms=toy.arms[:1])
    with pytest.raises(SemeiaError, match="heading for T1"):
        toy.ledger(headings={"T2": "Nothing is lost"})


def test_claims_are_chosen_by_id_or_by_what_they_are_a_part_of(toy):
    ledger = toy.ledger()
    assert [c.id for c in ledger.chosen(["T1"])] == [c.id for c in ledger.chosen(["T1.trick"])] == ["T1.trick"]
    assert [c.id for c in ledger.chosen()] == ["T1.trick", "T2"]
    with pytest.raises(SemeiaError, match=r"'T3': toy has T1\.trick, T2"):
        ledger.chosen(["T3"])


def test_only_the_arms_of_chosen_claims_are_needed(toy):
    ledger = toy.ledger(claims=(replace(toy.claim, arms=("plain",)),))
    assert [arm.name for arm in ledger.needed(ledger.claims)] == ["plain"]
    assert ledger.columns("plain") == {"answers"}
    assert ledger.columns("full") == frozenset()
