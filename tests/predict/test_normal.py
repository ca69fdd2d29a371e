"""Pseudo-normal twins of scans and pictures."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semeia import checkpoint
from semeia.media.volumes import open_volume
from semeia.predict import normal as module
from semeia.predict.normal import TwinMaker, check_folder, in_squares, is_picture, normal, whole_folder
from semeia.records import SemeiaError
from semeia.systems import smile

LOW, HIGH = smile.TINY.window


class Darker(nn.Module):
    """Stands in for SMILE: takes a quarter of the range off what is bright, and calls that the lesion."""

    def __init__(self, size=32, window=(LOW, HIGH), by=0.5, **config):
        super().__init__()
        self.config, self.by, self.seen = replace(smile.TINY, size=size, window=window, **config), by, []

    def twin(self, image):
        self.seen.append(image)
        bright = (image > 0.5).float()
        return image - self.by * bright, bright


def maker(**how):
    return TwinMaker(Darker(**how), weights="darker", device=torch.device("cpu"))


@pytest.fixture
def stand_in(monkeypatch):
    """``normal`` with ``Darker`` in place of trained weights."""
    model = Darker()
    monkeypatch.setattr(
        TwinMaker, "load", classmethod(lambda cls, *a: cls(model, weights="darker", device=torch.device("cpu")))
    )
    return model


@pytest.fixture
def scan(tmp_path):
    """A NIfTI of 9 slices of 24 x 24: soft tissue, a bright square on slices 3 to 5, metal and air."""
    hu = np.random.default_rng(0).integers(-100, 100, (24, 24, 9)).astype(np.int16)
    hu[6:12, 8:12, 3:6] = 250
    hu[0, 0], hu[1, 1] = 2500, -1024
    nib.save(nib.Nifti1Image(hu, np.diag([-1.5, -2.0, 3.0, 1.0])), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def test_only_what_the_window_sees_changes():
    values = np.full((2, 16, 16), 300, np.float32)
    values[:, :4], values[:, 4:8] = HIGH + 500, -1024
    after, likelihood = maker(size=16).twins(values, (LOW, HIGH))
    assert np.array_equal(after[:, :8], values[:, :8])
    assert after[:, 8:] == pytest.approx(300 - 0.25 * (HIGH - LOW))
    assert likelihood[:, 8:] == pytest.approx(1)


def test_a_twin_does_not_leave_the_window():
    values = np.full((1, 16, 16), 300, np.float32)
    after, _ = maker(size=16, by=5.0).twins(values, (LOW, HIGH))
    assert (after == LOW).all()


@pytest.mark.parametrize("shape", [(16, 16), (50, 90), (9, 31)])
def test_a_slice_of_another_size_keeps_its_sharpness_where_nothing_changes(shape):
    values = np.random.default_rng(0).uniform(LOW, 0, (1, *shape)).astype(np.float32)
    model = maker(size=16)
    after, likelihood = model.twins(values, (LOW, HIGH))
    assert model.model.seen[0].shape == (1, 1, 16, 16)
    assert np.array_equal(after, values)
    assert after.shape == likelihood.shape == (1, *shape)


def test_the_difference_comes_back_to_its_place():
    values = np.zeros((1, 64, 48), np.float32)
    values[0, 16:32, 8:24] = 450
    after, likelihood = maker(size=32).twins(values, (LOW, HIGH))
    changed = after != values
    rows, columns = np.flatnonzero(changed[0].any(1)), np.flatnonzero(changed[0].any(0))
    assert (rows[0], rows[-1]) == pytest.approx((16, 31), abs=2)
    assert (columns[0], columns[-1]) == pytest.approx((8, 23), abs=2)
    assert likelihood[0, 24, 16] == pytest.approx(1)
    assert likelihood[0, :10].max() == 0


@pytest.mark.parametrize("apart", [(0.7, 0.7), (0.5, 1.4), None])
def test_a_slice_is_seen_in_squares_of_the_spacing_that_was_learned(apart):
    values = np.zeros((2, 100, 90), np.float32)
    values[:, 40:60, 20:40] = 450
    squares = maker(size=32, spacing=1.4, soft=(-160.0, 240.0))
    after, likelihood = squares.twins(values, (LOW, HIGH), apart)
    assert {tuple(seen.shape[1:]) for seen in squares.model.seen} == {(1, 32, 32)}
    changed = np.abs(after - values) > 20
    rows, columns = np.flatnonzero(changed[0].any(1)), np.flatnonzero(changed[0].any(0))
    assert (rows[0], rows[-1]) == pytest.approx((40, 59), abs=3)
    assert (columns[0], columns[-1]) == pytest.approx((20, 39), abs=3)
    assert np.array_equal(likelihood[0], likelihood[1])
    assert likelihood[0, 50, 30] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("whole", [32, 33, 47, 64, 100])
def test_squares_that_agree_give_what_the_whole_gives(whole):
    image = torch.rand(3, 1, whole, whole)
    mixed = in_squares(lambda part: torch.cat([2 * part, 1 - part], 1), image, 32)
    torch.testing.assert_close(mixed, torch.cat([2 * image, 1 - image], 1))


def test_a_scan_becomes_a_folder_with_all_that_belongs_to_it(scan, tmp_path, stand_in):
    seen = []
    reading = normal(scan, tmp_path / "out", on_slice=lambda done, count: seen.append((done, count)))
    files = {"twin.nii.gz", "difference.nii.gz", "likelihood.nii.gz", "preview.png", "page.html", "summary.json"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == files == set(reading.files.values())
    assert seen == [(i, 9) for i in range(1, 10)]
    own, twin, difference = (
        np.asanyarray(nib.load(path).dataobj)
        for path in (scan, tmp_path / "out" / "twin.nii.gz", tmp_path / "out" / "difference.nii.gz")
    )
    by = 0.25 * (HIGH - LOW)
    assert np.array_equal(twin.astype(float) - own, difference)
    assert twin.dtype == own.dtype
    assert (difference[6:12, 8:12, 3:6] == -by).all()
    assert (difference != 0).sum() == 6 * 4 * 3  # metal and air lie beyond the window


def test_the_summary_tells_areas_volumes_and_where_most_changed(scan, tmp_path, stand_in):
    reading = normal(scan, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told == json.loads(json.dumps(reading.as_dict()))
    assert told["version"] == 1
    assert (told["unit"], told["shape"], told["spacing_mm"]) == ("HU", [9, 24, 24], [1.5, 2.0, 3.0])
    bright = 6 * 4 + 1  # the metal is bright, too
    assert [entry["index"] for entry in told["slices"]] == list(range(9))
    assert told["slices"][3] == {"index": 3, "pixels": bright, "area_mm2": bright * 3.0, "peak": 1.0}
    assert told["volume_mm3"] == pytest.approx((3 * bright + 6) * 9.0)
    largest = told["largest_difference"]
    assert largest["value"] == pytest.approx(-0.25 * (HIGH - LOW))
    assert largest["index"] in (3, 4, 5)
    column, row = largest["pixel"]
    assert 6 <= column < 12
    assert 8 <= row < 12
    x, y, z = largest["world_mm"]
    assert (x, y, z) == pytest.approx((1.5 * column, 2.0 * row, 3.0 * largest["index"]))


def test_slabs_make_no_difference(scan, tmp_path, stand_in, monkeypatch):
    normal(scan, tmp_path / "four")
    monkeypatch.setattr(module, "TOGETHER", {"cpu": 1})
    normal(scan, tmp_path / "one")
    for name in ("twin.nii.gz", "likelihood.nii.gz", "summary.json", "page.html"):
        assert (tmp_path / "four" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_weights_for_mr_take_the_range_of_the_scan(tmp_path, stand_in):
    stand_in.config = replace(stand_in.config, window=None)
    values = np.random.default_rng(0).integers(1, 100, (16, 16, 4)).astype(np.int16)
    values[:3], values[8:12, 8:12] = 0, 400
    nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1, 1, 1])), tmp_path / "mr.nii")
    reading = normal(tmp_path / "mr.nii", tmp_path / "out")
    assert reading.unit == "stored value"
    assert reading.window == (0, 400)
    assert not any("Hounsfield" in note for note in reading.notes)
    assert "weights are for MR" in reading.notes[-1]


def test_a_grey_picture_stays_grey_and_a_colour_keeps_its_colours(tmp_path, stand_in):
    grey = np.full((20, 30), 60, np.uint8)
    grey[5:10, 5:10] = 240
    Image.fromarray(grey).save(tmp_path / "grey.png")
    reading = normal(tmp_path / "grey.png", tmp_path / "grey")
    assert set(reading.files) == {"twin", "difference", "likelihood", "preview", "page", "summary"}
    twin = Image.open(tmp_path / "grey" / "twin.png")
    assert twin.mode == "L"
    expected = np.where(grey == 240, 240 - 64, 60)
    assert np.asarray(twin).astype(int) == pytest.approx(expected, abs=1)
    assert reading.spacing_mm is None
    assert reading.volume_mm3 is None
    assert "greys from 0 to 255 were read as the window" in reading.notes[0]
    colour = np.dstack([grey, grey, np.full_like(grey, 100)])
    Image.fromarray(colour).save(tmp_path / "colour.png")
    reading = normal(tmp_path / "colour.png", tmp_path / "colour")
    kept = np.asarray(Image.open(tmp_path / "colour" / "twin.png"))
    assert np.array_equal(kept[15], colour[15])
    assert (kept[7, 7].astype(int) - colour[7, 7] == -64).all()
    assert "colours" in reading.notes[-1]


def test_real_weights_run_from_a_checkpoint_folder(scan, tmp_path):
    torch.manual_seed(0)
    folder = tmp_path / "mine"
    state = smile.build(smile.TINY).state_dict()
    # New networks leave images as they are.
    state = {name: t + 0.1 * torch.randn_like(t) if t.is_floating_point() else t for name, t in state.items()}
    checkpoint.save(folder, system="smile", config=smile.TINY, state=state, card="# mine")
    reading = normal(scan, tmp_path / "out", weights=folder)
    assert reading.weights == "mine"
    own, twin = (np.asanyarray(nib.load(p).dataobj) for p in (scan, tmp_path / "out" / "twin.nii.gz"))
    assert (own != twin).mean() > 0.5
    assert np.array_equal(own[0, 0], twin[0, 0])  # metal lies beyond the window
    with pytest.raises(SemeiaError, match="nowhere"):
        normal(scan, tmp_path / "other", weights="nowhere")
    assert not (tmp_path / "other").exists()


# Folders and what is refused


def test_a_folder_appears_whole_or_not_at_all(tmp_path, scan, stand_in, monkeypatch):
    def fails(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_page", fails)
    with pytest.raises(KeyboardInterrupt):
        normal(scan, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["scan.nii.gz"]


def test_an_empty_folder_is_filled_and_a_full_one_refused(tmp_path, scan, stand_in):
    (tmp_path / "empty").mkdir()
    normal(scan, tmp_path / "empty")
    with pytest.raises(SemeiaError, match="empty: expected a folder that is empty or not there yet"):
        normal(scan, tmp_path / "empty")
    with pytest.raises(SemeiaError, match="is a file"):
        check_folder(scan)
    with pytest.raises(SemeiaError, match=r"the folder .* does not exist"):
        check_folder(tmp_path / "a" / "b")


def test_what_comes_between_is_kept(tmp_path):
    def late():
        with whole_folder(tmp_path / "out") as part:
            (part / "new").touch()
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").touch()

    with pytest.raises(SemeiaError, match="cannot be written"):
        late()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["theirs"]
    assert len(list(tmp_path.iterdir())) == 1


def test_pictures_are_told_from_scans_by_their_bytes(tmp_path, scan):
    Image.new("L", (4, 4)).save(tmp_path / "picture", "PNG")
    assert is_picture(tmp_path / "picture")
    assert not is_picture(scan)
    assert not is_picture(tmp_path)
    assert not is_picture(tmp_path / "missing.png")


def test_bad_inputs_are_named(tmp_path, scan, stand_in):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    (tmp_path / "words.txt").write_text("no scan")
    with pytest.raises(SemeiaError, match=r"torn\.png"):
        normal(tmp_path / "torn.png", tmp_path / "out")
    with pytest.raises(SemeiaError, match=r"words\.txt: expected a CT scan"):
        normal(tmp_path / "words.txt", tmp_path / "out")
    with pytest.raises(SemeiaError, match=r"missing\.nii"):
        normal(tmp_path / "missing.nii", tmp_path / "out")
    with pytest.raises(SemeiaError, match="threshold: expected a likelihood between 0 and 1, found 1"):
        normal(scan, tmp_path / "out", threshold=1.0)
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(SemeiaError, match="has no DICOM series"):
        normal(tmp_path / "a.png", tmp_path / "out", series="1.2")
    assert not (tmp_path / "out").exists()


def test_a_scan_without_anything_bright_is_its_own_twin(tmp_path, stand_in):
    hu = np.random.default_rng(0).integers(-900, -300, (16, 16, 3)).astype(np.int16)
    nib.save(nib.Nifti1Image(hu, np.diag([-1.0, -1, 1, 1])), tmp_path / "scan.nii")
    reading = normal(tmp_path / "scan.nii", tmp_path / "out")
    assert (reading.slices, reading.largest, reading.volume_mm3, reading.mean_difference) == ((), None, 0, 0)
    assert (tmp_path / "out" / "twin.nii").read_bytes() == (tmp_path / "scan.nii").read_bytes()
    with open_volume(tmp_path / "out" / "twin.nii") as twin:
        assert np.array_equal(twin.slab(0, 2), hu.transpose(2, 1, 0))
