"""Whether tasks look at different places."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from semeia.metrics.attention_use import apart, apart_by_chance, js_distance


def maps(*shape, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.3), shape[:-1])


def test_the_distance_is_that_of_scipy():
    p, q = maps(5, 7), maps(5, 7, seed=1)
    np.testing.assert_allclose(js_distance(p, q), jensenshannon(p, q, base=2, axis=-1))


def test_equal_maps_are_not_apart_and_maps_that_share_nothing_are_by_one():
    p = np.array([0.5, 0.5, 0, 0])
    assert js_distance(p, p) == 0
    assert js_distance(p, p[::-1]) == pytest.approx(1)


def test_tasks_are_apart_by_the_mean_over_their_pairs():
    each = maps(6, 4)
    means = [each[:3].mean(0), each[3:5].mean(0), each[5]]
    pairs = [js_distance(means[i], means[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert apart(each, [3, 2, 1]) == pytest.approx(np.mean(pairs))
    np.testing.assert_allclose(apart(np.stack([each, each]), [3, 2, 1]), np.mean(pairs))


def test_tasks_that_look_elsewhere_are_further_apart_than_random_groups():
    each = np.full((8, 8), 0.1 / 8)
    each[:4, :4] += 0.9 / 4
    each[4:, 4:] += 0.9 / 4
    assert apart(each, [4, 4]) > apart_by_chance(each, [4, 4]) + 0.2


def test_tasks_that_do_not_matter_are_as_far_apart_as_random_groups():
    each = maps(200, 40, 9)
    difference = apart(each, [25, 15]) - apart_by_chance(each, [25, 15])
    assert abs(difference.mean()) < 3 * difference.std() / 200**0.5


def test_the_random_groups_are_the_same_every_time():
    each = maps(30, 9)
    assert apart_by_chance(each, [20, 10]) == apart_by_chance(each, [20, 10])
