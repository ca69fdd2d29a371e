"""Masks from two axes: quarter arcs through the ends, or the lesion that a rendered world drew there."""

import numpy as np

from semeia.data.formats.deeplesion import Finding, read, write_masks, write_series, write_table
from semeia.data.lesion_masks import ellipse_mask, masks_of


def finding(middle=(30.0, 20.0), long=16.0, short=8.0):
    x, y = middle
    recist = np.array([[x - long / 2, y], [x + long / 2, y], [x, y - short / 2], [x, y + short / 2]])
    box = np.concatenate([recist.min(0) - 5, recist.max(0) + 5])
    return Finding(
        patient=1, study=2, series=3, key_slice=5, recist=recist, box=box, diameters=(long, short), kind=-1,
        location=(0.5, 0.5, 0.5), noisy=False, slice_range=(3, 7), spacing=(0.8, 0.8, 5), size=(64, 48),
        window=(-175, 275), gender=None, age=50.0, split="train",
    )  # fmt: skip


def key_slice(folder, *findings):
    write_table(folder, findings)
    write_series(folder, 1, 2, 3, np.zeros((3, 48, 64), np.int16), first=4)
    return read(folder).keys[0]


def test_crossed_axes_span_an_ellipse():
    y, x = np.mgrid[:48, :64] + 0.5
    wanted = ((x - 30) / 8) ** 2 + ((y - 20) / 4) ** 2 <= 1
    np.testing.assert_array_equal(ellipse_mask(finding().recist, (64, 48)), wanted)


def test_each_quarter_has_its_own_arc():
    recist = np.array([[10.0, 20], [40, 20], [20, 16], [20, 30]])  # cross in (20, 20)
    y, x = np.mgrid[:48, :64] + 0.5
    wanted = ((x - 20) / np.where(x < 20, 10, 20)) ** 2 + ((y - 20) / np.where(y < 20, 4, 10)) ** 2 <= 1
    np.testing.assert_array_equal(ellipse_mask(recist, (64, 48)), wanted)


def test_a_turned_lesion_has_the_area_of_an_ellipse_and_reaches_its_ends():
    angle = np.radians(33)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    recist = np.array([[-40.0, 0], [40, 0], [0, -20], [0, 20]]) @ turn + 64
    mask = ellipse_mask(recist, (128, 128))
    assert abs(mask.sum() / (np.pi * 40 * 20) - 1) < 0.01
    for x, y in (recist - 64) * 0.97 + 64:
        assert mask[int(y), int(x)]
    for x, y in (recist - 64) * 1.05 + 64:
        assert not mask[int(y), int(x)]


def test_odd_axes_still_give_a_mask():
    parallel = np.array([[10.0, 10], [20, 10], [10, 12], [20, 12]])
    apart = np.array([[10.0, 10], [20, 10], [30, 5], [30, 9]])
    point = np.full((4, 2), 12.0)
    corner = np.array([[62.0, 47], [64, 48], [64, 46.5], [62, 48]])
    outside = np.array([[-1.0, -1], [-0.5, -0.5], [-1, -0.5], [-0.5, -1]])
    for recist in (parallel, apart, point, corner, outside):
        mask = ellipse_mask(recist, (64, 48))
        assert mask.shape == (48, 64)
        assert mask.any()


def test_drawn_lesions_are_found_by_where_they_are_whatever_their_numbers(tmp_path):
    key = key_slice(tmp_path, finding(), finding((12.0, 12.0), 8, 6), finding((50.0, 38.0), 8, 6))
    numbers = np.zeros((1, 48, 64), np.uint8)
    numbers[0, 17:24, 22:39] = 7
    numbers[0, 10:14, 9:16] = 200
    numbers[0, 30:36, 1:5] = 9  # a lesion that the table does not name
    write_masks(tmp_path, 1, 2, 3, numbers, first=5)
    masks = masks_of(key)
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks[0], numbers[0] == 7)
    np.testing.assert_array_equal(masks[1], numbers[0] == 200)
    np.testing.assert_array_equal(masks[2], ellipse_mask(key.findings[2].recist, (64, 48)))


def test_without_drawn_lesions_masks_are_ellipses(tmp_path):
    key = key_slice(tmp_path, finding())
    np.testing.assert_array_equal(masks_of(key)[0], ellipse_mask(key.findings[0].recist, (64, 48)))
