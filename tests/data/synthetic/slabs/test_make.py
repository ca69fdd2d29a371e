import json
import shutil

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("numba")

from semeia.data.formats import deeplesion
from semeia.data.synthetic.slabs.make import HEALTHY, SlabWorld, make_slabs, read_world, split_of, studies
from semeia.data.synthetic.slabs.sheet import shown_folder, shown_slab, slab_sheet
from semeia.data.synthetic.slabs.slab import draw_slab
from semeia.records import SemeiaError

SETTINGS = {"count": 4, "seed": 6, "size": 64, "unlabelled": 0.5, "shifted": 0.5, "deleted": 0.3, "progress": False}


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("slabs") / "world"
    make_slabs(folder, workers=1, **SETTINGS)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Without label noise."""
    folder = tmp_path_factory.mktemp("clean") / "world"
    make_slabs(folder, count=3, seed=8, size=64, workers=1, progress=False)
    return folder


def test_another_number_of_workers_makes_the_same_bytes(world, tmp_path):
    make_slabs(tmp_path / "again", workers=2, **SETTINGS)
    assert contents(tmp_path / "again") == contents(world)


def test_a_killed_run_goes_on_to_the_same_bytes(world, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    manifest = json.loads((copy / "world.json").read_text())
    slabs = manifest.pop("slabs")
    (copy / "world.json").write_text(json.dumps(manifest))
    (copy / "DL_info.csv").unlink()
    # The first slab has its record, the second was being written, the others had not begun.
    (copy / ".slabs").mkdir()
    (copy / ".slabs" / "000000.json").write_text(json.dumps(slabs[0]))
    (copy / ".slabs" / "000001.json").write_text(json.dumps(slabs[1])[:40])
    for record in slabs[1:]:
        shutil.rmtree(copy / "Images_png" / record["series"])
    (copy / "Images_png" / f".{slabs[2]['series']}.part").mkdir()
    stands = (copy / "Images_png" / slabs[0]["series"]).stat().st_mtime_ns
    make_slabs(copy, workers=1, **SETTINGS)
    assert contents(copy) == contents(world)
    assert (copy / "Images_png" / slabs[0]["series"]).stat().st_mtime_ns == stands


def test_a_complete_world_grows_to_the_same_bytes_as_one_made_at_once(world, tmp_path):
    make_slabs(tmp_path / "grown", workers=1, **(SETTINGS | {"count": 2}))
    make_slabs(tmp_path / "grown", workers=1, **SETTINGS)
    assert contents(tmp_path / "grown") == contents(world)
    with pytest.raises(SemeiaError, match="holds 4 slabs, more than the 1"):
        make_slabs(tmp_path / "grown", workers=1, **(SETTINGS | {"count": 1}))


def test_a_folder_of_other_settings_is_refused_and_left_alone(world):
    before = contents(world)
    with pytest.raises(SemeiaError, match=r"other settings \(seed 6 instead of 7\)"):
        make_slabs(world, workers=1, **(SETTINGS | {"seed": 7}))
    assert contents(world) == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(SemeiaError, match="expected a new or empty folder"):
        make_slabs(tmp_path, **SETTINGS)


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"workers": 0}, {"size": 8}, {"seed": -1}, {"unlabelled": 1.0}, {"deleted": -0.1}]
)
def test_a_setting_without_sense_is_named(tmp_path, wrong):
    with pytest.raises(SemeiaError, match=f"{next(iter(wrong))}: expected"):
        make_slabs(tmp_path / "out", **(SETTINGS | wrong))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "semeia-faces"}'])
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "world.json").write_text(text)
    with pytest.raises(SemeiaError, match=r"world\.json"):
        read_world(tmp_path)


def test_the_world_is_read_as_deeplesion(clean):
    data = deeplesion.read(clean)
    record = read_world(clean)
    assert sum(len(slab["findings"]) for slab in record["slabs"]) >= 3
    listed = studies(SlabWorld(8, 64, True, 0.0, 0.0, 0.0, 1), 3)
    for slab, (patient, study) in zip(record["slabs"], listed, strict=True):
        drawn = draw_slab(8, patient, study, size=64)
        path = clean / "Images_png" / slab["series"] / f"{slab['key_slice']:03d}.png"
        pixels = np.asarray(Image.open(path)).astype(int) - 32768
        assert (pixels == drawn.hu[drawn.key]).all()
        twin = np.asarray(Image.open(clean / HEALTHY / slab["series"] / path.name)).astype(int) - 32768
        assert (twin == drawn.healthy[drawn.key]).all()
        mask = np.asarray(Image.open(clean / "Masks_png" / slab["series"] / path.name))
        assert (mask == drawn.masks[drawn.key]).all()
        assert slab["split"] == split_of(8, patient)
        assert len(slab["decoys"]) == len(drawn.decoys)
    assert set(data.warnings) <= {deeplesion.CLIPPED}  # small slices: boxes meet the border
    assert len(data.findings) == sum(len(slab["findings"]) for slab in record["slabs"])


def test_masks_are_written_for_slices_between_the_ends_of_lesions_alone(clean):
    for slab in read_world(clean)["slabs"]:
        names = sorted(path.name for path in (clean / "Masks_png" / slab["series"]).iterdir())
        assert np.asarray(Image.open(clean / "Masks_png" / slab["series"] / names[0])).any()
        assert f"{slab['key_slice']:03d}.png" in names


def test_what_the_table_leaves_out_or_moves_is_recorded(world):
    slabs = read_world(world)["slabs"]
    noise = [one for slab in slabs for one in slab["label_noise"]]
    labelled = sum(len(slab["lesions"]) for slab in slabs)
    rows = sum(len(slab["findings"]) for slab in slabs)
    assert rows == labelled - sum(one["what"] == "deleted" for one in noise)
    assert sum(len(slab["unlabelled"]) for slab in slabs) > 0
    for one in noise:
        if one["what"] == "shifted":
            assert any(abs(step) > 0 for step in one["pixels"])


def test_splits_divide_patients_70_15_15():
    splits = [split_of(1, patient) for patient in range(1, 2001)]
    assert [splits.count(name) / 2000 for name in ("train", "val", "test")] == pytest.approx(
        [0.7, 0.15, 0.15], abs=0.03
    )


def test_patients_have_one_or_two_slabs():
    listed = studies(SlabWorld(1, 64, True, 0.0, 0.0, 0.0, 5), 400)
    assert listed[0] == (5, 1)
    assert len(set(listed)) == 400
    assert {study for _, study in listed} == {1, 2}


def test_a_sheet_of_a_folder_is_that_of_its_slabs(clean):
    listed = studies(SlabWorld(8, 64, True, 0.0, 0.0, 0.0, 1), 3)
    slabs = [shown_slab(draw_slab(8, patient, study, size=64)) for patient, study in listed]
    drawn, read = (np.asarray(slab_sheet(some, tile=64, twins=True)) for some in (slabs, shown_folder(clean, 3)))
    assert (drawn == read).mean() > 0.999  # the record has three decimals


def test_a_sheet_of_a_world_that_is_not_finished_is_refused(tmp_path):
    (tmp_path / "world.json").write_text('{"format": "semeia-slabs", "settings": {}}')
    with pytest.raises(SemeiaError, match="being made"):
        next(shown_folder(tmp_path, 1))


def test_a_sheet_names_a_slice_that_cannot_be_read(clean, tmp_path):
    shutil.copytree(clean, tmp_path / "copy")
    slab = read_world(clean)["slabs"][0]
    (tmp_path / "copy" / "Images_png" / slab["series"] / f"{slab['key_slice']:03d}.png").write_bytes(b"no")
    with pytest.raises(SemeiaError, match="expected a slice of the world"):
        next(shown_folder(tmp_path / "copy", 1))
