"""Augmentation moves the crop as its labels say and stays within its ranges."""

import math
import time
from dataclasses import fields, replace

import numpy as np
import pytest

from semeia.data.augment import Augmentation, Jitter, develop, jittered, light_gradient, move, sample_jitter, vignette
from semeia.ops.faces import crop, transform_points

IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])
NOTHING = Augmentation(**{f.name: 0.0 for f in fields(Augmentation) if f.name.startswith("p_")})
STEPS = [f.name for f in fields(Augmentation) if f.name.startswith("p_") and f.name != "p_flip"]
SIZE = 112


@pytest.fixture(scope="module")
def image():
    y, x = np.mgrid[:SIZE, :SIZE]
    smooth = np.stack([x, y, (x + y) / 2], -1) + 40
    return (smooth + generator().normal(0, 15, (SIZE, SIZE, 1))).clip(0, 255).astype(np.uint8)


def generator(seed=0):
    return np.random.default_rng(seed)


def test_no_jitter_changes_nothing():
    np.testing.assert_allclose(jittered(IDENTITY, Jitter(), 100), IDENTITY)


def test_turning_counter_clockwise_moves_the_top_of_the_head_to_the_left():
    matrix = jittered(IDENTITY, Jitter(rotation=90), 100)
    np.testing.assert_allclose(transform_points(matrix, np.array([[50.0, 10.0], [50, 50]])), [[10, 50], [50, 50]])


def test_the_label_follows_the_line_between_the_eyes():
    """A head with upright eyes, turned by r, has roll r: its left eye in the picture sinks by r."""
    eyes = np.array([[40.0, 50.0], [60.0, 50.0]])
    left, right = transform_points(jittered(IDENTITY, Jitter(rotation=10), 100), eyes)
    assert math.degrees(math.atan2(left[1] - right[1], right[0] - left[0])) == pytest.approx(10)


def test_mirroring_comes_before_turning():
    matrix = jittered(IDENTITY, Jitter(flip=True, rotation=90), 100)
    np.testing.assert_allclose(transform_points(matrix, np.array([[50.0, 10.0], [90, 50]])), [[10, 50], [50, 90]])


def test_scale_keeps_the_middle_and_shift_moves_it():
    matrix = jittered(IDENTITY, Jitter(scale=2, shift=(0.1, -0.05)), 100)
    np.testing.assert_allclose(transform_points(matrix, np.array([[50.0, 50.0], [60, 50]])), [[60, 45], [80, 45]])


def test_a_mirrored_crop_is_the_mirrored_picture(image):
    mirrored = crop(image, jittered(IDENTITY, Jitter(flip=True), SIZE), size=SIZE)
    np.testing.assert_array_equal(mirrored, image[:, ::-1])


def test_jitters_fill_their_ranges_and_keep_to_them():
    how, rng = Augmentation(), generator()
    drawn = [sample_jitter(how, rng) for _ in range(500)]
    assert 0.4 < np.mean([j.flip for j in drawn]) < 0.6
    rotations, scales = [j.rotation for j in drawn], [j.scale for j in drawn]
    assert -12 <= min(rotations) < -11
    assert 11 < max(rotations) <= 12
    assert 0.86 <= min(scales) < 0.87
    assert 1.13 < max(scales) <= 1.14
    assert 0.048 < np.abs([j.shift for j in drawn]).max() <= 0.05


def test_without_any_step_the_picture_stays(image):
    np.testing.assert_array_equal(develop(image, NOTHING, generator()), image)


@pytest.mark.parametrize("step", STEPS)
def test_each_step_alone_changes_the_picture_and_keeps_its_form(image, step):
    before = image.copy()
    results = [develop(image, replace(NOTHING, **{step: 1.0}), generator(seed)) for seed in range(4)]
    np.testing.assert_array_equal(image, before)
    for result in results:
        assert result.shape == image.shape
        assert result.dtype == np.uint8
        assert (result != image).any()
    assert step == "p_grey" or (results[0] != results[1]).any()


def test_the_generator_decides_everything(image):
    everything = replace(NOTHING, **dict.fromkeys(STEPS, 1.0))
    np.testing.assert_array_equal(develop(image, everything, generator(3)), develop(image, everything, generator(3)))


def test_occluders_leave_most_of_the_face(image):
    how = replace(NOTHING, p_occluder=1.0, occluders=1)
    changed = [(develop(image, how, generator(seed)) != image).any(-1).mean() for seed in range(60)]
    assert 0.02 < np.mean(changed) < 0.12
    assert max(changed) < 0.25


def test_grey_has_no_colour(image):
    grey = develop(image, replace(NOTHING, p_grey=1.0), generator()).astype(int)
    assert np.ptp(grey, axis=-1).max() <= 1


def test_light_and_vignette_are_neutral_in_the_middle():
    gradient = light_gradient(101, 0.6, generator())
    np.testing.assert_allclose(gradient[50, 50], 1)
    dark = vignette(101, 0.6)
    assert dark[50, 50, 0] == 1
    np.testing.assert_allclose(dark[[0, 0, -1], [0, -1, -1], 0], 0.4, rtol=1e-6)


def test_motion_spreads_a_point_along_its_line():
    point = np.zeros((21, 21, 3), np.float32)
    point[10, 10] = 1
    line = move(point, 6.0, 0.0)
    assert line[10, :, 0].sum() == pytest.approx(1)
    np.testing.assert_array_equal(np.flatnonzero(line[10, :, 0]), np.arange(7, 14))
    np.testing.assert_allclose(move(np.full((9, 9, 3), 7.0, np.float32), 5.0, 1.0), 7, rtol=1e-6)


def test_a_picture_takes_a_few_milliseconds(image):
    how = Augmentation()
    start = time.process_time()
    for seed in range(100):
        develop(image, how, generator(seed))
    assert (time.process_time() - start) / 100 < 0.006
