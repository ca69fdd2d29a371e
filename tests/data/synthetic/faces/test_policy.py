from collections import Counter
from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces.action_units import COMPOUNDS, PROTOTYPES, compatible_units
from semeia.data.synthetic.faces.policy import (
    BASE_RATES,
    SHARES,
    draw_independent,
    draw_intensity,
    draw_natural,
    draw_showing,
)


@pytest.fixture(scope="module")
def balanced():
    rng = np.random.default_rng(1)
    return [draw_showing(rng, "balanced") for _ in range(4000)]


@pytest.fixture(scope="module")
def natural():
    rng = np.random.default_rng(2)
    return [draw_natural(rng) for _ in range(6000)]


@pytest.fixture(scope="module")
def independent():
    rng = np.random.default_rng(2)
    return [draw_independent(rng) for _ in range(6000)]


def phi_of_pairs(showings):
    """Phi coefficient of "shown at all" of every pair of units."""
    units = list(BASE_RATES)
    table = np.corrcoef(np.array([[unit in showing.action for unit in units] for showing in showings]).T)
    return {(units[i], units[j]): table[i, j] for i, j in combinations(range(len(units)), 2)}


def kind_of(showing):
    if showing.kind in COMPOUNDS:
        return "compound"
    return showing.kind if showing.kind in SHARES else "prototype"


def test_kinds_of_shots_follow_their_shares(balanced):
    kinds = Counter(kind_of(showing) for showing in balanced)
    assert {kind: count / len(balanced) for kind, count in kinds.items()} == pytest.approx(SHARES, abs=0.025)


def test_all_eight_expressions_and_all_compounds_are_shown_alike_often(balanced):
    expressions = Counter(showing.expression for showing in balanced if showing.expression)
    assert set(expressions) == {"neutral", *PROTOTYPES}
    assert min(expressions.values()) > 0.7 * max(expressions.values())
    compounds = Counter(showing.compound for showing in balanced if showing.compound)
    assert set(compounds) == set(COMPOUNDS)


def test_contempt_is_shown_on_one_side_alone(balanced):
    contempt = [showing for showing in balanced if showing.expression == "contempt"]
    for showing in contempt:
        assert set(showing.one_sided) == set(showing.action)
        assert len(set(showing.one_sided.values())) == 1
    assert {side for showing in contempt for side in showing.one_sided.values()} == {"left", "right"}


def test_only_units_that_go_together_are_shown_where_units_are_mixed(balanced, natural, independent):
    shots = [showing for showing in balanced if kind_of(showing) in ("mixture", "compound")] + natural + independent
    for showing in shots:
        units = list(showing.action)
        assert all(b in compatible_units()[a] for a in units for b in units if a != b)


def test_a_compound_always_shows_the_units_that_define_it(balanced):
    for showing in balanced:
        if showing.compound:
            always = {unit for unit, probability in COMPOUNDS[showing.compound][1].items() if probability == 1}
            assert always <= set(showing.action)


def test_doubtful_intensities_are_met_half_as_often():
    rng = np.random.default_rng(3)
    values = np.array([draw_intensity(rng) for _ in range(8000)])
    assert values.min() >= 1
    assert values.max() <= 5
    density, _ = np.histogram(values, [1.0, 1.6, 2.4, 5.0], density=True)
    assert density[1] / density[[0, 2]] == pytest.approx([0.46, 0.46], abs=0.08)


def test_natural_units_come_at_their_base_rates_and_together_where_they_belong_together(natural):
    shown = {unit: np.array([unit in showing.action for showing in natural]) for unit in BASE_RATES}
    for unit in ("AU01", "AU04", "AU06", "AU12", "AU10", "AU14"):
        assert shown[unit].mean() == pytest.approx(BASE_RATES[unit], rel=0.25)
    smiles = shown["AU12"]
    assert shown["AU06"][smiles].mean() > 3 * shown["AU06"][~smiles].mean()
    assert shown["AU02"][shown["AU01"]].mean() > 5 * shown["AU02"][~shown["AU01"]].mean()


def test_natural_intensities_are_mostly_a_to_c(natural):
    values = [value for showing in natural for unit, value in showing.action.items() if unit != "AU27"]
    assert np.mean(np.array(values) < 3.5) > 0.7
    assert {showing.expression for showing in natural} == {None, "neutral"}


def test_independent_units_come_at_the_rates_and_intensities_of_natural_ones(natural, independent):
    for unit in BASE_RATES:
        shown = [np.mean([unit in showing.action for showing in shots]) for shots in (natural, independent)]
        assert shown[0] == pytest.approx(shown[1], abs=0.03)
    for shots in (natural, independent):
        values = np.array([value for showing in shots for unit, value in showing.action.items() if unit != "AU27"])
        assert np.quantile(values, [0.25, 0.5, 0.75]) == pytest.approx([1.35, 2.2, 3.4], abs=0.15)


def test_independent_units_that_go_together_do_so_by_chance(natural, independent):
    table = compatible_units()
    related, unrelated = (
        [abs(phi) for (a, b), phi in phi_of_pairs(shots).items() if b in table[a]] for shots in (natural, independent)
    )
    chance = np.sqrt(2 / np.pi / len(independent))  # mean |phi| of units that nothing relates
    assert np.mean(unrelated) < 1.3 * chance
    assert np.mean(related) > 3 * chance
    assert max(related) > 0.4
    assert max(unrelated) < 0.07


def test_units_that_exclude_one_another_stay_as_unlikely_together_when_drawn_independently(natural, independent):
    table = compatible_units()
    before, after = (
        [phi for (a, b), phi in phi_of_pairs(shots).items() if b not in table[a]] for shots in (natural, independent)
    )
    assert len(after) == 36
    assert max(after) < 0
    assert np.mean(after) == pytest.approx(np.mean(before), abs=0.005)


def test_natural_units_without_correlations_are_the_independent_ones(monkeypatch):
    monkeypatch.setattr("semeia.data.synthetic.faces.policy._mixing", lambda: np.eye(len(BASE_RATES)))
    streams = np.random.default_rng(7), np.random.default_rng(7)
    for _ in range(200):
        natural, independent = draw_natural(streams[0]), draw_independent(streams[1])
        assert natural.action == independent.action
        assert (natural.kind, independent.kind) in {("natural", "independent"), ("neutral", "neutral")}
