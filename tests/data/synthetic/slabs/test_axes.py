import numpy as np
import pytest

pytest.importorskip("numba")

from semeia.data.synthetic.slabs.axes import edge_points, measure, padded_box


def disc(size, radius, stretch=1.0):
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.clip(radius - np.hypot(x / stretch, y) + 0.5, 0, 1)


def test_the_axes_of_a_bar_are_its_sides():
    cover = np.zeros((12, 20))
    cover[4:8, 5:15] = 1
    axes = measure(cover)
    assert axes.ends[:2].mean(0) == pytest.approx([10, 6])  # the middle of columns 5 to 14 and rows 4 to 7
    # The edge lies half a pixel outside of the middles of the outer pixels; corners are cut by half a pixel.
    assert axes.long == pytest.approx(np.hypot(10, 3), abs=0.01)
    assert 3 < axes.short <= 5


def test_the_axes_of_a_disc_are_its_diameter():
    axes = measure(disc(41, 12.0))
    assert axes.long == pytest.approx(24, abs=0.4)
    assert axes.short == pytest.approx(24, abs=0.6)


def test_the_long_axis_lies_along_an_ellipse_and_the_short_one_across():
    axes = measure(disc(61, 8.0, stretch=2.0))
    long, short = axes.ends[1] - axes.ends[0], axes.ends[3] - axes.ends[2]
    assert axes.long == pytest.approx(32, abs=1)
    assert axes.short == pytest.approx(16, abs=0.7)
    assert abs(long @ short) < 1e-6 * axes.long * axes.short


def test_an_edge_is_placed_between_pixels_by_their_cover():
    cover = np.zeros((3, 5))
    cover[1, 1:4] = (0.25, 1.0, 0.75)
    xs = sorted(x for x, y in edge_points(cover).tolist() if y == 1.5)
    assert xs == pytest.approx([1.5 + 0.25 / 0.75, 3.5 + 0.25 / 0.75])


@pytest.mark.parametrize("cover", [np.zeros((5, 5)), np.full((5, 5), 0.2)])
def test_nothing_has_no_axes(cover):
    assert measure(cover) is None


def test_a_box_is_the_extremes_padded_by_five_pixels_inside_the_image():
    ends = np.array([[10.0, 20.0], [30.0, 22.0], [19.0, 2.0], [21.0, 40.0]])
    assert padded_box(ends, (64, 64)).tolist() == [5, 0, 35, 45]
