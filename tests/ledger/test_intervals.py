"""Intervals over seeds and identities cover what they say they cover."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from semeia.ledger.intervals import draws, shared, t_quantile

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "claims_coverage.py"


@pytest.fixture(scope="module")
def simulated():
    """The simulation, which is part of no package."""
    spec = spec_from_file_location("claims_coverage", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("freedom", [1, 2, 3, 7, 30, 142, 5000])
def test_quantiles_are_those_of_student(freedom):
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-5)


def test_draws_begin_with_everyone_once_and_always_count_as_many():
    drawn = draws(17, rounds=50)
    assert drawn.shape == (51, 17)
    assert (drawn[0] == 1).all()
    assert (drawn.sum(1) == 17).all()
    np.testing.assert_array_equal(drawn, draws(17, rounds=50))


@pytest.mark.parametrize("seeds", [3, 5])
def test_the_interval_covers_as_often_as_it_says(simulated, seeds):
    for world in simulated.WORLDS:
        each = simulated.differences(world, seeds=seeds, studies=6000)
        assert 0.94 <= simulated.covered(each, simulated.common(each)) <= 0.99, world


def test_a_percentile_bootstrap_over_three_seeds_covers_far_less(simulated):
    each = simulated.differences("training alone", seeds=3, studies=200)
    assert simulated.covered_by_percentiles(each, rounds=200) < 0.82


def test_a_t_interval_over_seeds_forgets_the_identities(simulated):
    each = simulated.differences("identities alone", seeds=3, studies=500)
    assert simulated.covered(each, 0.0) < 0.1


def test_drawing_identities_again_finds_the_variance_that_seeds_share(simulated):
    (each,) = simulated.differences("all three", seeds=3, studies=1, groups=200)
    drawn = each @ draws(200, rounds=20_000)[1:].T / 200  # (S, R)
    assert shared(drawn, 200) == pytest.approx(simulated.common(each[None])[0], rel=0.1)


def test_the_table_has_a_row_for_each_kind_of_luck(simulated, capsys):
    simulated.main(["--studies", "30"])
    assert capsys.readouterr().out.count("\n| ") == len(simulated.WORLDS)


def test_seeds_that_pull_apart_share_nothing():
    rng = np.random.default_rng(0)
    one = rng.standard_normal(500)
    assert shared(np.stack([one, -one, rng.standard_normal(500)]), 50) == 0


def test_draws_in_which_a_metric_does_not_exist_are_left_out():
    drawn = np.random.default_rng(0).standard_normal((3, 100)) + np.random.default_rng(1).standard_normal(100)
    holes = np.concatenate([drawn, np.full((3, 5), np.nan)], 1)
    assert shared(holes, 50) == pytest.approx(shared(drawn, 50))
    assert np.isnan(shared(np.full((3, 9), np.nan), 50))
