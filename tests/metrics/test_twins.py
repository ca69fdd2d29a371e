"""Measures of pseudo-normal images."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from semeia.metrics import twins


@pytest.fixture
def pair():
    """An image in [-1, 1] and a noisy copy of it, 180 x 196."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:180, :196] / 180
    image = 0.6 * np.sin(7 * x) * np.cos(5 * y) + 0.1 * rng.standard_normal((180, 196))
    return image.clip(-1, 1), (image + 0.2 * rng.standard_normal(image.shape)).clip(-1, 1)


def test_l1_by_hand():
    a, b = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[1.0, 1.0], [0.0, 3.0]])
    assert twins.l1(a, b) == pytest.approx(0.75)
    assert twins.l1(a, b, np.array([[True, True], [False, False]])) == pytest.approx(0.5)
    assert math.isnan(twins.l1(a, b, np.zeros((2, 2), bool)))


def test_psnr_is_that_of_scikit_image(pair):
    assert twins.psnr(*pair, 2.0) == pytest.approx(peak_signal_noise_ratio(*pair, data_range=2.0))


def test_psnr_counts_the_pixels_of_the_mask_alone():
    a, b = np.zeros((2, 2)), np.array([[0.2, 0.0], [5.0, 5.0]])
    mask = np.array([[True, True], [False, False]])
    assert twins.psnr(a, b, 2.0, mask) == pytest.approx(10 * math.log10(4 / 0.02))
    assert twins.psnr(a, a, 2.0) == math.inf
    assert math.isnan(twins.psnr(a, b, 2.0, np.zeros((2, 2), bool)))


def test_ssim_is_that_of_scikit_image(pair):
    theirs = structural_similarity(*pair, data_range=2.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    assert twins.ssim(*pair, 2.0) == pytest.approx(theirs, abs=1e-7)
    assert twins.ssim(pair[0], pair[0], 2.0) == pytest.approx(1)


def test_ssim_of_a_mask_is_the_mean_of_the_map_there(pair):
    _, full = structural_similarity(
        *pair, data_range=2.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
    )
    mask = np.zeros(pair[0].shape, bool)
    mask[40:60, :30] = True
    assert twins.ssim(*pair, 2.0, mask) == pytest.approx(full[mask].mean(), abs=1e-7)


@pytest.mark.parametrize("size", [(180, 196), (177, 191)])
def test_ms_ssim_of_five_scales_is_that_of_monai(pair, size):
    from monai.metrics.regression import MultiScaleSSIMMetric

    a, b = (image[: size[0], : size[1]] for image in pair)
    metric = MultiScaleSSIMMetric(spatial_dims=2, data_range=2.0, kernel_size=11, kernel_sigma=1.5)
    tensors = (torch.from_numpy(image)[None, None] for image in (a, b))
    assert twins.ms_ssim(a, b, 2.0) == pytest.approx(metric(*tensors).item(), abs=1e-4)  # theirs is float32


def test_fewer_scales_where_the_image_is_small():
    assert [twins.scales_of((side, 500)) for side in (10, 11, 21, 22, 128, 175, 176, 600)] == [0, 1, 1, 2, 4, 4, 5, 5]
    a = np.random.default_rng(1).random((32, 32))
    assert twins.ms_ssim(a, a, 1.0) == pytest.approx(1)
    assert twins.ms_ssim(a, 1 - a, 1.0) == 0
    with pytest.raises(ValueError, match="allow 1 to 2 scales, 5"):
        twins.ms_ssim(a, a, 1.0, scales=5)
    with pytest.raises(ValueError, match="at least 11 pixels"):
        twins.ssim(a[:8], a[:8], 1.0)


def test_identity_does_not_look_into_the_lesion(pair):
    image = pair[0]
    lesion = np.zeros(image.shape, bool)
    lesion[50:90, 60:100] = True
    filled = np.where(lesion, 0.9, image)
    assert twins.identity(filled, image, lesion, 2.0) == pytest.approx(1)
    assert twins.identity(pair[1], image, lesion, 2.0) < 0.99


def test_healthiness_by_hand():
    assert twins.healthiness(np.array([10, 0]), np.array([30, 10])) == pytest.approx(0.75)
    assert twins.healthiness(np.array([50, 50]), np.array([30, 10])) == 0
    assert math.isnan(twins.healthiness(np.array([5]), np.array([0])))


def test_a_copy_has_identity_and_no_health(pair):
    image, area = pair[0], np.array([100.0])
    assert twins.identity(image, image, np.zeros(image.shape, bool), 2.0) == pytest.approx(1)
    assert twins.healthiness(area, area) == 0


def test_adaptive_healthiness_leaves_out_patients_without_lesion():
    assert twins.adaptive_healthiness(np.array([0.2, math.nan, 0.4])) == pytest.approx(0.7)
    assert math.isnan(twins.adaptive_healthiness(np.array([math.nan])))


def test_dice_is_that_of_the_whole_volume_and_unknown_where_nothing_is():
    found, true = np.zeros((2, 2, 2, 2), bool)
    found[0, 0] = [True, True]
    true[0, 0] = [True, False]
    true[1, 0] = [True, True]
    assert twins.volume_dice(found, true) == pytest.approx(2 * 1 / (2 + 3))
    assert math.isnan(twins.volume_dice(found[1], np.zeros_like(true[1])))
    by_patient = twins.dice_by_patient(["a", "b", "a"], np.array([1, 0, 0]), np.array([2, 0, 0]), np.array([1, 0, 2]))
    assert by_patient["a"] == pytest.approx(0.4)
    assert math.isnan(by_patient["b"])


def slow_kid(x, y):
    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    within = sum(k(a, b) for z in (x,) for i, a in enumerate(z) for j, b in enumerate(z) if i != j)
    other = sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j)
    n, m = len(x), len(y)
    return within / (n * (n - 1)) + other / (m * (m - 1)) - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_kid_is_that_of_the_slow_sum_and_so_is_its_jackknife():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 5)), rng.standard_normal((9, 5)) + 0.3
    groups = np.repeat(np.arange(4), 3)
    answer = twins.kid(x, y, real_groups=groups)
    assert answer.value == pytest.approx(slow_kid(x, y))
    without_x = np.array([slow_kid(x[groups != g], y) for g in range(4)])
    without_y = np.array([slow_kid(x, np.delete(y, i, 0)) for i in range(9)])
    variance = 3 / 4 * ((without_x - without_x.mean()) ** 2).sum() + 8 / 9 * ((without_y - without_y.mean()) ** 2).sum()
    half = stats.t.ppf(0.975, 3) * math.sqrt(variance)
    assert (answer.low, answer.high) == pytest.approx((answer.value - half, answer.value + half))


def test_kid_tells_two_distributions_apart_and_not_two_draws_of_one():
    rng = np.random.default_rng(1)
    draws = rng.standard_normal((3, 150, 8))
    same, other = twins.kid(draws[0], draws[1]), twins.kid(draws[0], draws[2] + 1)
    assert same.low < 0 < same.high
    assert other.low > 0


def test_equivalence_needs_the_whole_interval_inside_the_margin():
    differences = np.array([0.002, -0.004, 0.001, 0.003, -0.001])
    answer = twins.equivalence(differences, 0.01)
    low, high = stats.t.interval(0.9, 4, differences.mean(), stats.sem(differences))
    assert (answer.difference.low, answer.difference.high) == pytest.approx((low, high))
    assert answer.holds
    assert not twins.equivalence(differences, 0.002).holds
    assert not twins.equivalence(differences + 0.009, 0.01).holds


def test_one_pair_or_an_unknown_one_is_never_equivalent():
    assert not twins.equivalence(np.array([0.0]), 1.0).holds
    assert not twins.equivalence(np.array([]), 1.0).holds
    assert not twins.equivalence(np.array([0.0, math.nan, 0.0]), 1.0).holds
