"""Pictures of twins."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from PIL import Image

from semeia.media.twin_pictures import (
    BRIGHTER,
    DARKER,
    GAP,
    MOST,
    TILE,
    display_window,
    greys,
    is_grey,
    luminance,
    outline,
    over_greys,
    preview,
    shown_size,
    tint,
    write_picture_twin,
    write_preview,
)
from semeia.media.twin_reading import LargestDifference, TwinReading, TwinSlice, as_json
from semeia.media.twin_volumes import Shown

WINDOW = (-1000.0, 500.0)


def reading_of(*, source="scan.nii", slices=12, notes=()):
    return TwinReading(
        "smile", source, "HU", WINDOW, 0.5, (slices, 24, 32), (2.0, 3.0, 5.0), (TwinSlice(8, 16, 96.0, 0.9),), 480.0,
        LargestDifference(8, (9, 7), (1.0, 2.0, 3.0), -120.0), 1.5, {"twin": "twin.nii"}, notes,
    )  # fmt: skip


def twins_of(count=12, *, ill=(8, 9), sides=True):
    """Flat slices; a square of 4 x 4 pixels is darker and likely a lesion on some."""

    def shown(z):
        before = np.full((24, 32), 100, np.float32)
        likelihood = np.zeros((24, 32), np.float32)
        after = before.copy()
        if z in ill:
            before[6:10, 8:12], likelihood[6:10, 8:12] = 220, 0.9
        return Shown(before, after, likelihood)

    return SimpleNamespace(count=count, pixel_mm=(2.0, 3.0), sides=sides, shown=shown, own=lambda z: z)


def test_greys_run_from_the_low_end_to_the_high_one():
    values = np.array([[-200.0, -100.0, 100.0, 300.0, 900.0, np.nan]])
    assert greys(values, (-100.0, 300.0)).tolist() == [[0, 0, 128, 255, 255, 0]]


def test_a_difference_is_red_where_the_twin_is_brighter_and_full_from_a_fixed_part_on():
    colours = tint(np.array([[0.0, 60.0, 120.0, 400.0, -120.0]]), WINDOW)[0]
    assert colours[:, 3].tolist() == [0, 128, 255, 255, 255]
    assert tuple(colours[2, :3]) == BRIGHTER
    assert tuple(colours[4, :3]) == DARKER


def test_an_outline_lies_inside_of_what_it_goes_around():
    likelihood = np.zeros((9, 9))
    likelihood[2:7, 2:7] = 0.6
    line = outline(likelihood, 0.5)[..., 3] > 0
    assert line.sum() == 16
    assert not line[4, 4]
    assert not outline(likelihood, 0.7).any()


def test_a_layer_covers_as_far_as_it_is_opaque():
    layer = np.array([[[255, 0, 0, 0], [255, 0, 0, 255]]], np.uint8)
    assert over_greys(np.array([[90, 90]], np.uint8), layer).tolist() == [[[90, 90, 90], [255, 0, 0]]]


def test_ct_is_shown_in_the_window_of_what_lies_around_the_likelihood():
    tissue = twins_of().shown(8)
    assert display_window(tissue, reading_of(), (2.0, 3.0)) == (-160, 240)
    lung = Shown(np.where(tissue.likelihood > 0, 40, -800).astype(np.float32), tissue.after, tissue.likelihood)
    assert display_window(lung, reading_of(), (2.0, 3.0)) == (-1350, 150)
    assert display_window(lung, replace(reading_of(), unit="stored value"), (2.0, 3.0)) == WINDOW


def test_slices_are_shown_with_square_pixels():
    assert shown_size((24, 32), (2.0, 3.0), 300) == (267, 300)
    assert shown_size((10, 20), (1.0, 1.0), 300) == (300, 150)


def test_a_preview_shows_the_first_of_the_ranked_slices():
    picture = preview(reading_of(), twins_of(), [8, 9, 3, 4, 5, 6])
    assert picture.shape[1] == GAP + 3 * (TILE + GAP)
    assert picture.shape[0] > MOST * TILE
    reds = (picture.astype(int) @ [1, -1, 0] > 100).sum()
    blues = (picture.astype(int) @ [-1, 0, 1] > 100).sum()
    assert blues > 1000 > reds  # the twin is darker on two of the four
    few = preview(reading_of(slices=1), twins_of(1, sides=False), [0])
    assert few.shape[0] < picture.shape[0] / 2


def test_a_preview_is_written_whatever_the_name_is(tmp_path):
    write_preview(reading_of(source="\udcff<b>" * 40), twins_of(), [8], tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").format == "PNG"


def test_the_twin_of_a_colour_picture_gets_the_same_on_all_colours(tmp_path):
    image = np.full((4, 5, 3), [10, 100, 250], np.uint8)
    difference = np.zeros((4, 5))
    difference[1, 2] = 20
    names = write_picture_twin(image, difference, np.full((4, 5), 0.5), tmp_path)
    assert names == {"twin": "twin.png", "difference": "difference.png", "likelihood": "likelihood.png"}
    twin = np.asarray(Image.open(tmp_path / "twin.png"))
    assert twin[1, 2].tolist() == [30, 120, 255]
    assert twin[0, 0].tolist() == [10, 100, 250]
    assert np.asarray(Image.open(tmp_path / "likelihood.png"))[0, 0] == 128


def test_a_grey_picture_has_its_own_greys_as_luminance():
    grey = np.dstack([np.arange(12, dtype=np.uint8).reshape(3, 4)] * 3)
    assert is_grey(grey)
    assert np.array_equal(luminance(grey), grey[..., 0])
    colour = np.full((2, 2, 3), [255, 0, 0], np.uint8)
    assert not is_grey(colour)
    assert luminance(colour)[0, 0] == 76


def test_json_is_ascii_and_has_the_documented_keys():
    told = as_json(reading_of(source="ä.nii"))
    assert told.isascii()
    assert reading_of().pixels == 16
    assert reading_of().as_dict().keys() == {
        "version", "weights", "source", "unit", "window", "threshold", "shape", "spacing_mm", "slices", "volume_mm3",
        "largest_difference", "mean_difference", "files", "notes",
    }  # fmt: skip
    assert reading_of().as_dict()["slices"] == [{"index": 8, "pixels": 16, "area_mm2": 96.0, "peak": 0.9}]
