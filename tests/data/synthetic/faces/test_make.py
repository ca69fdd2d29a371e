import json
import shutil
from typing import get_args

import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from PIL import Image

from semeia.data.formats.faces import FaceFolder
from semeia.data.synthetic.faces.make import WORLD_VERSION, Policy, make_faces, split_of
from semeia.data.synthetic.faces.policy import POLICIES
from semeia.data.synthetic.faces.sheet import contact_sheet
from semeia.records import SemeiaError

pytestmark = pytest.mark.usefixtures("head")

SETTINGS = {
    "count": 3, "seed": 4, "size": 24, "shots": 2, "shard_images": 2, "progress": False,
}  # fmt: skip


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.fixture(scope="module")
def world(tmp_path_factory, head):
    """Three tiny images of two persons in two shards, made by one process."""
    folder = tmp_path_factory.mktemp("world")
    make_faces(folder, workers=1, **SETTINGS)
    return folder


def test_another_number_of_workers_makes_the_same_bytes(world, tmp_path):
    make_faces(tmp_path / "again", workers=2, **SETTINGS)
    assert contents(tmp_path / "again") == contents(world)


def test_a_world_that_lost_a_shard_is_completed_to_the_same_bytes(world, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    (copy / "shards" / "00001.parquet").unlink()
    (copy / "shards" / ".00001.0123abcd.part.tar").write_bytes(b"left by a killed run")
    stands = (copy / "shards" / "00000.tar").stat().st_mtime_ns
    make_faces(copy, workers=1, **SETTINGS)
    assert contents(copy) == contents(world)
    assert (copy / "shards" / "00000.tar").stat().st_mtime_ns == stands


def test_the_manifest_names_settings_and_every_file(world):
    manifest = json.loads((world / "manifest.json").read_text())
    assert manifest["settings"]["seed"] == 4
    assert manifest["settings"]["version"] == WORLD_VERSION
    assert manifest["images"] == 3
    assert [shard["images"] for shard in manifest["shards"]] == [2, 1]
    assert len(manifest["shards"][0]["files"]["00000.tar"]) == 64


def test_everything_is_read_back(world):
    faces = FaceFolder(world)
    assert [str(key) for key in faces.columns.texts["key"]] == ["000000-00", "000000-01", "000001-00"]
    assert faces.image(0).shape == (24, 24, 3)
    assert faces.mask(0).shape == (24, 24)
    assert faces.labels(2).expression == "neutral"
    assert faces.extra(1)["kind"]
    assert {faces.labels(k).split for k in (0, 1)} == {split_of(4, 0)}


def test_a_folder_of_other_settings_is_refused_and_left_alone(world):
    before = contents(world)
    with pytest.raises(SemeiaError, match=r"other settings \(seed 4 instead of 5\)"):
        make_faces(world, **(SETTINGS | {"seed": 5}))
    assert contents(world) == before


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(SemeiaError, match="expected a new or empty folder"):
        make_faces(tmp_path, **SETTINGS)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"workers": 0}, {"size": 0}, {"samples": -1}, {"shots": 0}])
def test_a_setting_without_sense_is_named(tmp_path, wrong):
    with pytest.raises(SemeiaError, match=f"{next(iter(wrong))}: expected at least 1"):
        make_faces(tmp_path / "out", **(SETTINGS | wrong))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wrong", [{"renderer": "paint"}, {"look": "strange"}, {"policy": "wild"}])
def test_a_setting_that_does_not_exist_is_named(tmp_path, wrong):
    with pytest.raises(SemeiaError, match=f"{next(iter(wrong))}: expected one of"):
        make_faces(tmp_path / "out", **(SETTINGS | wrong))


def test_a_world_may_follow_every_policy():
    assert get_args(Policy) == POLICIES


def test_the_other_look_shows_other_pictures_of_the_same_format(world, tmp_path):
    make_faces(tmp_path / "other", workers=1, **(SETTINGS | {"look": "other"}))
    assert not (FaceFolder(tmp_path / "other").image(1) == FaceFolder(world).image(1)).all()


def test_splits_divide_persons_80_10_10():
    splits = [split_of(1, identity) for identity in range(2000)]
    assert [splits.count(name) / 2000 for name in ("train", "val", "test")] == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
    assert splits == [split_of(1, identity) for identity in range(2000)]


def test_a_contact_sheet_shows_the_faces_with_captions(world, tmp_path):
    path = contact_sheet(world, tmp_path / "sheet.png", columns=2, landmarks=True)
    assert Image.open(path).size == (2 * 24, 2 * (24 + 12))


def test_a_contact_sheet_that_cannot_be_written_says_so(world, tmp_path):
    with pytest.raises(SemeiaError, match="cannot be written"):
        contact_sheet(world, tmp_path / "nowhere" / "sheet.png")
