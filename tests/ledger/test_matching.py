"""Arms that differ in more than they say, or in size, are refused."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from semeia.configurations import flat
from semeia.ledger.claims import Arm, Setting, Size
from semeia.ledger.matching import check_arm, check_sizes, digest, matched
from semeia.records import SemeiaError


@dataclass(frozen=True)
class Data:
    faces: tuple[str, ...]
    fold: int


def config(toy, *, seed=0, data=("worlds/faces",), out="runs"):
    return toy.base(Setting("small", seed, data, Path(out)))


def with_model(base, **changes):
    return replace(base, model=replace(base.model, **changes))


def refuse(toy, made, arm):
    with pytest.raises(SemeiaError) as error:
        check_arm(arm, config(toy), made, free=("model",))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_fields_are_named_with_dots(toy):
    assert flat(config(toy))["model.width"] == 70
    assert flat(config(toy))["data"] == ("worlds/faces",)


def test_an_arm_that_changes_what_it_says_is_fine(toy):
    full, plain = toy.arms
    check_arm(full, config(toy), config(toy), free=("model",))
    check_arm(plain, config(toy), plain.make(config(toy)), free=("model",))


def test_a_secret_change_is_refused(toy):
    made = with_model(config(toy), trick=False, width=90)
    assert "model.width from 70 to 90 and does not say so" in refuse(toy, made, toy.arms[1])


def test_an_arm_that_changes_nothing_is_refused(toy):
    assert "changes nothing" in refuse(toy, config(toy), toy.arms[1])


@pytest.mark.parametrize("name", ["fit.steps", "batch_size", "data", "rate", "fit.seed"])
def test_what_all_arms_share_is_held_even_if_an_arm_says_so(toy, name):
    base = config(toy)
    head, _, tail = name.partition(".")
    value = replace(base.fit, **{tail: 3}) if tail else {"batch_size": 4, "data": (), "rate": 1.0}[name]
    assert f"changes {name}, which all arms share" in refuse(
        toy, replace(base, **{head: value}), Arm("x", "", changes=(name,))
    )


def test_steps_are_held_where_an_arm_may_change_anything_else(toy):
    base = config(toy)
    made = replace(base, fit=replace(base.fit, steps=3))
    with pytest.raises(SemeiaError, match=r"fit\.steps"):
        check_arm(Arm("x", "", changes=("fit.steps",)), base, made, free=("model", "fit", "rate"))
    check_arm(Arm("x", "", changes=("rate",)), base, replace(base, rate=1.0), free=("model", "rate"))


def test_arms_of_unlike_size_are_refused_unless_the_claim_says_why(toy):
    sizes = {"full": Size(1030, 1), "plain": Size(1000, 1)}
    with pytest.raises(SemeiaError, match=r"'full' has 1,030 parameters and 'plain' 1,000, 3\.0 % apart"):
        check_sizes(toy.claim, sizes)
    check_sizes(replace(toy.claim, tolerance=0.04), sizes)
    check_sizes(replace(toy.claim, matched=False, reason="a task more needs a query more"), sizes)
    check_sizes(toy.claim, {"full": Size(1019, 1), "plain": Size(1000, 1)})


def test_a_digest_stands_for_what_decides_the_numbers(toy):
    known = digest(config(toy))
    assert digest(config(toy, seed=5, out="elsewhere")) == known
    assert digest(config(toy, data=("/other/place/faces",))) == known
    assert digest(config(toy, data=("worlds/others",))) != known
    nested = [
        replace(config(toy), data=Data((f"{place}/faces",), fold)) for place, fold in (("a", 1), ("b", 1), ("a", 2))
    ]
    assert digest(nested[0]) == digest(nested[1]) != digest(nested[2])
    assert digest(with_model(config(toy), width=71)) != known


def test_a_width_is_found_that_gives_a_number_of_parameters():
    assert matched(lambda width: 100 + 7 * width, 100 + 7 * 33) == 33
    assert matched(lambda width: 100 + 7 * width, 100 + 7 * 33 + 3) == 33
    for count in (lambda width: 100 + 7 * width, lambda width: 100):
        with pytest.raises(SemeiaError, match="no width gives 50 parameters"):
            matched(count, 50)
