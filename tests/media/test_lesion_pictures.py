"""Pictures of candidate lesions."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from semeia.media.lesion_boxes import PlacedBox
from semeia.media.lesion_pictures import (
    LESION,
    LOOSE,
    MOST,
    TILE,
    View,
    check_sheet,
    draw_slice,
    fitting_window,
    lesion_sheet,
    windowed,
    write_sheet,
)
from semeia.media.volumes import open_volume
from semeia.records import Lesion, ScanReading, SemeiaError, SliceBox

BOX = (20.0, 24.0, 30.0, 32.0)


@pytest.fixture
def scan(tmp_path):
    """12 slices of 64 x 64 voxels of 2 x 2 x 5 mm: lung with a bright lesion in the upper half, soft tissue below."""
    hu = np.full((64, 64, 12), 40, np.int16)
    hu[:, :, 6:] = -800
    hu[20:30, 24:32, 8:10] = 60
    nib.save(nib.Nifti1Image(hu, np.diag([-2.0, -2.0, 5.0, 1.0])), tmp_path / "scan.nii")
    with open_volume(tmp_path / "scan.nii") as scan:
        yield scan


def placed(box, *, lesion=1, score=0.9):
    return PlacedBox(0, box, score, 0, box, lesion)


def reading_of(scan, count):
    lesions = tuple(Lesion(0.9, (8, 9), scan.to_world(8, 9, BOX), 20.0, 16.0) for _ in range(count))
    # All at one place, so that each of the boxes of a slice is one lesion's.
    return ScanReading("satr", "folder/scan.nii", {8: tuple(SliceBox(BOX, 0.9) for _ in range(count))}, lesions)


def near(pixels, colour, far=40):
    """Where a picture has a colour."""
    return (np.abs(pixels.astype(int) - colour[:3]) < far).all(-1)


def test_the_window_follows_what_lies_around_the_box():
    air, lung, tissue = (np.full((40, 40), hu, np.float32) for hu in (-1000, -800, 40))
    assert fitting_window(lung, (10, 10, 20, 20), (1, 1)) == "lung"
    assert fitting_window(tissue, (10, 10, 20, 20), (1, 1)) == "soft tissue"
    # Air outside the patient is no lung.
    assert fitting_window(air, (10, 10, 20, 20), (1, 1)) == "soft tissue"


def test_what_lies_in_the_box_does_not_choose_the_window():
    slice_hu = np.full((60, 60), -800, np.float32)
    slice_hu[20:30, 20:30] = 40
    assert fitting_window(slice_hu, (20, 20, 30, 30), (1, 1)) == "lung"
    assert fitting_window(-760 - slice_hu, (20, 20, 30, 30), (1, 1)) == "soft tissue"


def test_a_third_of_lung_around_the_box_is_enough():
    # A margin of 10 mm at 1 mm a pixel: 30 x 30 pixels without the 10 x 10 of the box are 800; a third is 267.
    for columns, window in ((9, "lung"), (8, "soft tissue")):  # 270 and 240 pixels
        slice_hu = np.full((60, 60), 40, np.float32)
        slice_hu[:, 10 : 10 + columns] = -800
        assert fitting_window(slice_hu, (20, 20, 30, 30), (1, 1)) == window


def test_the_margin_is_in_millimetres():
    slice_hu = np.full((60, 60), 40, np.float32)
    slice_hu[15:35, 15:35] = -800
    assert fitting_window(slice_hu, (20, 20, 30, 30), (2, 2)) == "lung"
    assert fitting_window(slice_hu, (20, 20, 30, 30), (0.5, 0.5)) == "soft tissue"


def test_a_box_at_the_edge_or_outside_has_a_window():
    assert fitting_window(np.full((40, 40), -800, np.float32), (-5, -5, 3, 3), (1, 1)) == "lung"
    assert fitting_window(np.full((40, 40), -800, np.float32), (90, 90, 99, 99), (1, 1)) == "soft tissue"


def test_greys_run_from_the_lowest_to_the_highest_hu():
    hu = np.array([[-1000, -160, 40, 240, 3000, np.nan, np.inf]], np.float32)
    assert windowed(hu, (-160, 240)).tolist() == [[0, 0, 128, 255, 255, 0, 255]]


def test_a_view_places_boxes_by_millimetres():
    view = View(3.0, (99, 99), (0.5, 2.0), (4.0, 1.0))
    assert view.placed((4, 1, 6, 2)) == (0, 0, 3, 6)


def test_a_slice_keeps_square_pixels_and_its_brightness():
    hu = np.full((40, 60), 40, np.float32)
    hu[:, :30] = 240
    picture = draw_slice(hu, [], pixel_mm=(1.0, 3.0), side=480)
    assert picture.shape == (480, 240, 3)
    assert (picture[100, 60] == 255).all()
    assert (picture[100, 180] == 128).all()


def test_a_box_is_drawn_around_its_pixels_and_hides_none_of_them():
    picture = draw_slice(np.full((64, 64), 40, np.float32), [placed(BOX)], pixel_mm=(1, 1), side=640)
    lines = near(picture, LESION)
    assert lines[240:320, 196:200].any(1).all()
    assert lines[240:320, 300:304].any(1).all()
    assert not lines[242:318, 202:298].any()
    assert (picture[250:310, 210:290] == 128).all()


def test_boxes_of_no_lesion_have_another_colour():
    hu = np.full((64, 64), 40, np.float32)
    loose = draw_slice(hu, [placed(BOX, lesion=None)], pixel_mm=(1, 1))
    assert near(loose, LOOSE).any()
    assert not near(loose, LESION).any()


def test_boxes_at_the_edges_are_drawn_with_their_labels_in_the_picture():
    boxes = [
        placed((0.0, 0.0, 5.0, 4.0)),
        placed((60.0, 61.0, 64.0, 64.0), lesion=2),
        placed((-9.0, -9.0, 80.0, 80.0), lesion=3),
    ]
    picture = draw_slice(np.full((64, 64), 40, np.float32), boxes, pixel_mm=(1, 1), long_mm={1: 5.0})
    assert near(picture, LESION).sum() > 500


def test_the_scale_bar_is_as_long_as_it_says():
    # 64 px of 2 mm on 640 px: 5 px a mm; the longest of 100, 50, 20 ... mm that takes a third of 640 px is 20 mm.
    picture = draw_slice(np.full((64, 64), -1000, np.float32), [], pixel_mm=(2.0, 2.0), side=640)
    bar = near(picture, (238, 240, 245), 60)[-16:].any(0)
    assert abs(bar.sum() - 100) <= 4


def test_the_patients_right_is_on_the_left():
    picture = draw_slice(np.full((64, 64), -1000, np.float32), [], pixel_mm=(2.0, 2.0), side=640)
    letters = near(picture, (238, 240, 245), 60)[200:320]
    left, right = letters[:, :60], letters[:, -60:]
    assert left.any()
    assert right.any()
    # R has ink in its upper right quarter, L has none.
    for side, has in ((left, True), (right, False)):
        rows, columns = np.nonzero(side)
        ink = side[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert ink[: ink.shape[0] // 2, ink.shape[1] // 2 :].any() == has


def test_a_sheet_shows_each_lesion_once_and_at_most_twelve(scan):
    one, two, many = (lesion_sheet(reading_of(scan, count), scan) for count in (1, 2, MOST + 3))
    assert one.dtype == np.uint8
    assert two.shape[1] > one.shape[1]
    rows, columns = many.shape[0] // TILE, many.shape[1] // TILE
    assert rows * columns == MOST


def test_a_tile_shows_the_lesion_enlarged(scan):
    sheet = lesion_sheet(reading_of(scan, 1), scan)
    # Brighter than the lung around it; 20 x 16 mm of a slice of 128 mm are 59 x 48 px, and once more in the corner.
    assert (sheet[64 : 64 + TILE] > 230).all(-1).sum() > 59 * 48 * 1.5


def test_a_scan_without_lesions_shows_middle_slices(scan, tmp_path):
    sheet = lesion_sheet(ScanReading("w", "scan.nii", {}, ()), scan)
    assert sheet.shape[1] > 3 * TILE
    assert not near(sheet, LESION, 20).any()


def test_a_scan_of_one_slice_has_a_sheet(tmp_path):
    nib.save(nib.Nifti1Image(np.full((20, 30, 1), 40, np.int16), np.diag([-1.0, -1.0, 5.0, 1.0])), tmp_path / "one.nii")
    with open_volume(tmp_path / "one.nii") as scan:
        assert lesion_sheet(ScanReading("w", "one.nii", {}, ()), scan).shape[1] < 2 * TILE


def test_a_written_sheet_is_a_png(scan, tmp_path):
    write_sheet(reading_of(scan, 1), scan, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.format == "PNG"


def test_another_suffix_is_refused_before_and_after(scan, tmp_path):
    for refuse in (check_sheet, lambda path: write_sheet(reading_of(scan, 1), scan, path)):
        with pytest.raises(SemeiaError, match=r"ends in \.png"):
            refuse(tmp_path / "sheet.jpg")
    with pytest.raises(SemeiaError, match="does not exist"):
        check_sheet(tmp_path / "nowhere" / "sheet.png")
