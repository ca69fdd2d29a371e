import pytest

from semeia.files import check_writable, whole_file, writable_folder
from semeia.records import SemeiaError


def test_a_whole_file_appears_when_its_block_ends(tmp_path):
    path = tmp_path / "table.csv"
    with whole_file(path) as part:
        part.write_text("all of it")
        assert not path.exists()
        assert part.parent == tmp_path
        assert part.suffix == ".csv"
    assert path.read_text() == "all of it"
    assert list(tmp_path.iterdir()) == [path]


def write_half(path, reason):
    with whole_file(path) as part:
        part.write_text("half")
        raise reason


@pytest.mark.parametrize("reason", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_and_the_old_file_stays_when_writing_stops(tmp_path, reason):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(reason):
        write_half(path, reason)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_becomes_one_line_that_names_the_file(tmp_path):
    path = tmp_path / "table.csv"
    with pytest.raises(SemeiaError, match=r"table\.csv: cannot be written \(no space left"), whole_file(path):
        raise OSError(28, "No space left on device")


def test_a_writable_place_passes_and_stays_empty(tmp_path):
    check_writable(tmp_path / "table.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SemeiaError, match="nowhere does not exist"):
        check_writable(tmp_path / "nowhere" / "table.csv")


def test_a_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(SemeiaError, match="is a folder"):
        check_writable(tmp_path)


def test_a_place_that_refuses_new_files_is_found_before_work_begins(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.touch", refuse)
    with pytest.raises(SemeiaError, match=r"table\.csv: cannot be written \(permission denied\)"):
        check_writable(tmp_path / "table.csv")


def test_a_folder_to_write_into_is_made_with_its_parents(tmp_path):
    assert writable_folder(tmp_path / "a" / "b").is_dir()


def test_a_file_is_no_folder_to_write_into(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(SemeiaError, match="is a file"):
        writable_folder(tmp_path / "a")
    with pytest.raises(SemeiaError, match="cannot be written"):
        writable_folder(tmp_path / "a" / "b")
