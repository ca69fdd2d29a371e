"""Slices around a key slice: weights by hand, what is missing comes from the side of the key, frames move boxes."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from semeia.data.slices import (
    MVP_NET,
    Framing,
    Movement,
    body_box,
    moved_boxes,
    moved_points,
    planned_slices,
    slices_around,
    warped,
    windowed,
)

SCAN = range(100)


def values(interval, present=SCAN, key=50, **how):
    """The S positions of a slab whose slices hold their own number."""
    return slices_around(lambda n: np.full((1, 1), n, np.int16), present, key, interval, **how)[:, 0, 0]


# ---------------------------------------------------------------------------------------------------------------------
# Which slices


@pytest.mark.parametrize(
    ("interval", "offsets"),
    [
        (1.0, [-6, -4, -2, 0, 2, 4, 6]),  # r = 2
        (2.0, [-3, -2, -1, 0, 1, 2, 3]),  # r = 1
        (0.5, [-12, -8, -4, 0, 4, 8, 12]),  # r = 4
        (5.0, [-1.2, -0.8, -0.4, 0, 0.4, 0.8, 1.2]),  # r = 0.4
        (2.5, [-2.4, -1.6, -0.8, 0, 0.8, 1.6, 2.4]),  # r = 0.8
        (3.0, [-2, -4 / 3, -2 / 3, 0, 2 / 3, 4 / 3, 2]),
        (0.8, [-7.5, -5, -2.5, 0, 2.5, 5, 7.5]),
    ],
)
def test_slices_lie_two_millimetres_apart(interval, offsets):
    np.testing.assert_allclose(values(interval), 50 + np.array(offsets), atol=1e-5)


def test_published_loaders_mix_every_position_as_the_first():
    # 5 mm: weights of the far slice are frac(0.4) = 0.4 at p = 2 and 3, where 0.8 and 0.2 are right.
    np.testing.assert_allclose(
        values(5.0, legacy_interpolation=True), 50 + np.array([-1.4, -0.4, -0.4, 0, 0.4, 0.4, 1.4])
    )
    np.testing.assert_allclose(
        values(2.5, legacy_interpolation=True), 50 + np.array([-2.8, -1.8, -0.8, 0, 0.8, 1.8, 2.8])
    )
    for interval in (0.25, 0.5, 1.0, 2.0):
        np.testing.assert_array_equal(values(interval, legacy_interpolation=True), values(interval))
    # Where r * p is a whole number there is nothing to mix.
    assert values(3.0, legacy_interpolation=True)[-1] == 52


def test_another_step_and_another_number_of_slices_are_taken():
    np.testing.assert_array_equal(values(1.0, slices=3, step_mm=1.0), [49, 50, 51])
    np.testing.assert_array_equal(values(1.0, slices=4), [46, 48, 50, 52])
    np.testing.assert_array_equal(values(1.0, slices=1), [50])


@pytest.mark.parametrize("interval", [math.nan, 0.0, -1.0, math.inf, -math.inf])
def test_an_unknown_interval_repeats_the_key_slice(interval):
    np.testing.assert_array_equal(values(interval), [50] * 7)


def test_missing_slices_come_from_the_nearest_toward_the_key():
    np.testing.assert_array_equal(values(1.0, range(48, 54)), [48, 48, 48, 50, 52, 53, 53])
    np.testing.assert_array_equal(values(1.0, [50]), [50] * 7)
    # 0.8 beyond the last slice mixes it with itself.
    np.testing.assert_allclose(values(2.5, range(50, 52)), [50, 50, 50, 50, 50.8, 51, 51], atol=1e-5)


def test_slices_beyond_a_gap_are_used_and_those_in_it_are_not():
    present = [44, 45, 49, 50, 51, 55, 56, 57]
    #                    wanted 44 46 48  50 52 54 56
    np.testing.assert_array_equal(values(1.0, present), [44, 49, 49, 50, 51, 51, 56])


def test_tiny_intervals_neither_overflow_nor_leave_the_scan():
    for interval in (1e-3, 1e-12, 1e-320):
        np.testing.assert_array_equal(values(interval, range(40, 60)), [40, 40, 40, 50, 59, 59, 59])


def slow_values(present, key, interval, *, slices, step, legacy):
    """The rule in words, one slice at a time."""
    exists = set(present)

    def value(offset):
        while key + offset not in exists:
            offset -= int(math.copysign(1, offset))
        return key + offset

    out = []
    ratio = step / interval
    for p in range(-(slices // 2), slices - slices // 2):
        away, sign = ratio * abs(p), 1 if p > 0 else -1
        low, high = math.floor(away + 1e-9), math.ceil(away - 1e-9)
        part = ratio % 1 if legacy else away - low
        out.append(value(sign * low) if low == high else (1 - part) * value(sign * low) + part * value(sign * high))
    return out


def test_any_scan_agrees_with_the_rule_in_words():
    rng = np.random.default_rng(0)
    for _ in range(200):
        present = np.flatnonzero(rng.random(40) < 0.7)
        key = int(rng.choice(present))
        interval, step = rng.choice([0.25, 0.6, 0.7, 1, 1.25, 2.5, 3, 5, 7.5]), rng.choice([1.0, 2.0, 3.0])
        slices, legacy = int(rng.integers(1, 12)), bool(rng.integers(2))
        found = values(interval, present, key, slices=slices, step_mm=step, legacy_interpolation=legacy)
        wanted = slow_values(present.tolist(), key, interval, slices=slices, step=step, legacy=legacy)
        np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_a_whole_scan_is_planned_at_once_as_one_by_one():
    present = np.array([0, 1, 2, 3, 7, 8, 9])
    whole = planned_slices(present, present, 5.0, slices=5)
    assert whole.near.shape == whole.far.shape == whole.weight.shape == (7, 5)
    for row, key in enumerate(present):
        alone = planned_slices(present, [key], 5.0, slices=5)
        np.testing.assert_array_equal(whole.near[row], alone.near[0])
        np.testing.assert_array_equal(whole.far[row], alone.far[0])
        np.testing.assert_array_equal(whole.weight[row], alone.weight[0])


def test_each_slice_is_read_once_and_only_if_it_counts():
    read = []

    def read_slice(number):
        read.append(number)
        return np.full((2, 3), number, np.int16)

    slab = slices_around(read_slice, SCAN, 50, 5.0)
    assert read == [48, 49, 50, 51, 52]
    assert (slab.shape, slab.dtype) == ((7, 2, 3), np.float32)
    read.clear()
    slices_around(read_slice, SCAN, 50, math.nan)
    assert read == [50]


# ---------------------------------------------------------------------------------------------------------------------
# Windows and the body


def test_a_window_runs_from_0_to_1():
    hu = np.array([[[-2000, -1024, 513, 2050, 3000]]], np.int16)
    np.testing.assert_allclose(windowed(hu), [[[0, 0, 0.5, 1, 1]]])
    assert windowed(hu).dtype == np.float32


def test_several_windows_follow_one_another_with_all_slices_each():
    hu = np.stack([np.full((1, 1), value, np.float32) for value in (-174, 50)])
    shown = windowed(hu, MVP_NET)[:, 0, 0]
    wanted = [(value - low) / (high - low) for low, high in MVP_NET for value in (-174, 50)]
    np.testing.assert_allclose(shown, wanted, atol=1e-6)


def test_the_body_is_boxed_without_thin_things():
    hu = np.full((60, 80), -1000, np.int16)
    hu[10:40, 20:70] = 40
    hu[50:53, 5:75] = 200  # a table of 3 pixels
    assert body_box(hu) == (20, 10, 70, 40)
    assert body_box(np.full((60, 80), -1000, np.int16)) == (0, 0, 80, 60)
    assert body_box(np.full((5, 4), 0, np.int16)) == (0, 0, 4, 5)


# ---------------------------------------------------------------------------------------------------------------------
# Frames


def test_a_smaller_slice_is_padded_by_whole_pixels_and_a_box_moves_along():
    hu = np.full((1, 7, 10), 2050, np.int16)
    framing = Framing(size=16)
    region = framing.region(hu[0])
    matrix = framing.matrix(region, (0.8, 0.8))
    np.testing.assert_array_equal(matrix, [[1, 0, 3], [0, 1, 4]])
    image = framing.image(hu, region, matrix)
    assert image.sum() == 70
    assert image[0, 4:11, 3:13].all()
    np.testing.assert_array_equal(moved_boxes(matrix, np.array([[0, 0, 10, 7]])), [[3, 4, 13, 11]])


def test_spacing_scales_slices_and_boxes():
    framing = Framing(size=64, spacing=1.6)
    np.testing.assert_allclose(framing.matrix((0, 0, 40, 20), (0.8, 0.8)), [[0.5, 0, 22], [0, 0.5, 27]])
    np.testing.assert_allclose(framing.matrix((0, 0, 40, 20), (1.6, 3.2)), [[1, 0, 12], [0, 2, 12]])


def test_a_larger_slice_is_shrunk_or_its_middle_is_kept():
    shrunk = Framing(size=32).matrix((0, 0, 64, 48), (1, 1))
    np.testing.assert_allclose(shrunk, [[0.5, 0, 0], [0, 0.5, 4]])
    cropped = Framing(size=32, fit="crop").matrix((0, 0, 64, 48), (1, 1))
    np.testing.assert_allclose(cropped, [[1, 0, -16], [0, 1, -8]])


def test_the_border_is_cut_to_the_body_and_boxes_move():
    hu = np.full((3, 60, 80), -1000, np.int16)
    hu[:, 10:40, 20:70] = 40
    hu[:, 50:53, 5:75] = 200
    framing = Framing(size=50, border_clip=True)
    region = framing.region(hu[1])
    matrix = framing.matrix(region, (1, 1))
    np.testing.assert_array_equal(matrix, [[1, 0, -20], [0, 1, 0]])
    image = framing.image(hu, region, matrix)
    assert (image[:, 10:40] > 0.3).all()
    assert (image[:, :10] == 0).all()
    assert (image[:, 40:] == 0).all()


def test_a_mirrored_and_turned_frame_keeps_its_middle_and_pixels_where_boxes_are():
    framing = Framing(size=64)
    hu = np.full((1, 64, 64), -1024, np.float32)
    hu[0, 20:24, 36:46] = 2050
    box = np.array([[36.0, 20, 46, 24]])
    for movement in (
        Movement(flip=True),
        Movement(True, 90),
        Movement(False, 0, 1.5, (0.1, -0.05)),
        Movement(True, -90, 0.8),
    ):
        region = framing.region(hu[0])
        matrix = framing.matrix(region, (1, 1), movement)
        moved = moved_boxes(matrix, box)[0]
        shown = framing.image(hu, region, matrix)[0]
        rows, columns = np.nonzero(shown > 0.5)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(found, moved, atol=0.51)
        middle = moved_points(matrix, np.array([32.0, 32.0])) - 64 * np.array(movement.shift)
        np.testing.assert_allclose(middle, [32, 32], atol=1e-9)


def test_a_turn_is_counter_clockwise_as_seen():
    matrix = Framing(size=64).matrix((0, 0, 64, 64), (1, 1), Movement(rotation=90))
    np.testing.assert_allclose(moved_points(matrix, np.array([64, 32])), [32, 0], atol=1e-9)


def test_a_copy_equals_what_sampling_gives():
    image = np.random.default_rng(0).random((2, 9, 12), dtype=np.float32)
    for matrix in ([[1, 0, 3], [0, 1, -4]], [[-1, 0, 13], [0, 1, 2]], [[1, 0, 40], [0, 1, 0]], [[-1, 0, 2], [0, 1, 6]]):
        exact = np.array(matrix, float)
        nearly = exact + np.array([[0, 0, 1e-9], [0, 0, 0]])
        np.testing.assert_allclose(warped(image, exact, 11), warped(image, nearly, 11), atol=1e-5)


def test_sampling_agrees_with_torch_resizing():
    image = np.random.default_rng(0).random((2, 20, 20), dtype=np.float32)
    matrix = np.array([[1.5, 0, 0], [0, 1.5, 0]])
    wanted = F.interpolate(torch.from_numpy(image)[None], size=(30, 30), mode="bilinear", align_corners=False)[0]
    # The outermost pixels are mixed with the 0 outside.
    np.testing.assert_allclose(warped(image, matrix, 30)[:, 1:-1, 1:-1], wanted[:, 1:-1, 1:-1], atol=1e-5)


def test_shrinking_to_a_quarter_averages_blocks():
    image = np.random.default_rng(0).random((1, 32, 32), dtype=np.float32)
    wanted = image.reshape(1, 8, 4, 8, 4).mean((2, 4))
    np.testing.assert_allclose(warped(image, np.array([[0.25, 0, 0], [0, 0.25, 0]]), 8), wanted, atol=1e-6)


def test_windows_are_split_from_the_framed_image():
    hu = np.random.default_rng(0).uniform(-1600, 1600, (3, 20, 20)).astype(np.float32)
    framing = Framing(size=20, windows=MVP_NET)
    region = framing.region(hu[0])
    image = framing.split(framing.image(hu, region, framing.matrix(region, (1, 1))))
    assert image.shape == (9, 20, 20)
    np.testing.assert_allclose(image, windowed(hu, MVP_NET), atol=1e-5)
