"""Faces without landmarks are searched for once; what was found is kept."""

from types import SimpleNamespace

import numpy as np
import pytest

from semeia import locate
from semeia.data.formats import rafdb
from semeia.records import FaceLabels, SemeiaError


class Finder:
    """Finds a face in bright pictures alone, where a picture's brightness says."""

    looked = 0

    def find(self, image):
        Finder.looked += 1
        if image.mean() < 50:
            return ()
        mesh = np.full((468, 3), image.mean())
        return (SimpleNamespace(mesh=mesh), SimpleNamespace(mesh=mesh + 99))


@pytest.fixture(autouse=True)
def finder(monkeypatch):
    Finder.looked = 0
    monkeypatch.setattr(locate, "FaceFinder", Finder)
    monkeypatch.setattr(locate, "BLOCK", 2)


def folder(place, brightness=(100, 0, 120, 130, 140)):
    pictures = [np.full((20, 20, 3), value, np.uint8) for value in brightness]
    faces = [FaceLabels(key=f"train_{i:05}", expression="fear") for i in range(len(pictures))]
    rafdb.write(place, zip(faces, pictures, strict=True))
    return rafdb.read(place)


def test_the_largest_face_gives_the_landmarks_and_pictures_without_one_are_left_out(tmp_path):
    found = locate.located(folder(tmp_path))
    assert list(found.columns.texts["key"]) == ["train_00000", "train_00002", "train_00003", "train_00004"]
    assert found.labels(1).landmarks.shape == (68, 2)
    assert found.image(1).mean() == pytest.approx(found.labels(1).landmarks.mean(), abs=1)


def test_a_second_look_finds_what_was_kept(tmp_path):
    faces = folder(tmp_path)
    first = locate.located(faces)
    assert Finder.looked == 5
    again = locate.located(faces)
    assert Finder.looked == 5
    np.testing.assert_array_equal(first.columns.landmarks, again.columns.landmarks)


def test_a_stopped_search_goes_on_where_it_was(tmp_path):
    faces = folder(tmp_path)

    def stop(done, of):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        locate.located(faces, progress=stop)
    assert Finder.looked == 3  # the third is looked at again: its file was not full
    assert len(locate.located(faces)) == 4
    assert Finder.looked == 3 + 3


def test_landmarks_of_the_data_set_stay(tmp_path):
    faces = folder(tmp_path)
    own = np.full((5, 68, 2), 7, np.float32)
    marked = faces.take(np.arange(5), landmarks=own)
    assert locate.located(marked) is marked
    assert Finder.looked == 0


def test_a_folder_without_any_face_is_an_error(tmp_path):
    with pytest.raises(SemeiaError, match="found none in 2 pictures"):
        locate.located(folder(tmp_path, (0, 10)))


def test_a_damaged_file_of_landmarks_says_so(tmp_path):
    faces = folder(tmp_path)
    locate.located(faces)
    (tmp_path / "semeia_landmarks" / "00000.parquet").write_bytes(b"PAR1")
    with pytest.raises(SemeiaError, match="remove it"):
        locate.located(faces)


def test_where_the_data_cannot_be_written_to_the_cache_keeps_the_landmarks(tmp_path, monkeypatch):
    faces = folder(tmp_path / "data")
    monkeypatch.setenv("SEMEIA_HOME", str(tmp_path / "home"))
    (tmp_path / "data" / "semeia_landmarks").write_text("in the way")
    locate.located(faces)
    assert len(list((tmp_path / "home" / "landmarks").glob("*/*.parquet"))) == 3


def test_a_removed_file_is_made_anew_and_no_other_is_written_over(tmp_path):
    faces = folder(tmp_path)
    locate.located(faces)
    kept = tmp_path / "semeia_landmarks"
    (kept / "00000.parquet").unlink()
    locate.located(faces)
    assert sorted(file.name for file in kept.iterdir()) == ["00001.parquet", "00002.parquet", "00003.parquet"]
    assert Finder.looked == 5 + 2
