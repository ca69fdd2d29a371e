"""WebDataset shards as LAION lays them out."""

import tarfile

import pytest

from semeia.data.formats.webdataset import Sample, content, has_shard, pictures, read, rows_of, write_shard
from semeia.records import SemeiaError

JPEG, PNG = b"\xff\xd8\xff" + b"j" * 700, b"\x89PNG\r\n\x1a\n" + b"p" * 300
SAMPLES = [
    Sample("00", JPEG, "A man.", {"n": 1}, {"status": "success"}),
    Sample("01", PNG, None, None, {"status": "success"}),
    Sample("02", None, None, None, {"status": "failed"}),
]


@pytest.fixture
def shard(tmp_path):
    write_shard(tmp_path / "00000.tar", iter(SAMPLES))
    return tmp_path / "00000.tar"


def test_a_shard_is_read_as_it_was_written(shard):
    assert has_shard(shard)
    first, second = read(shard)
    assert (first.key, first.image, first.caption, first.notes) == ("00", JPEG, "A man.", {"n": 1})
    assert first.row["status"] == "success"
    assert (second.image, second.caption) == (PNG, None)
    assert [row["status"] for row in rows_of(shard.with_suffix(".parquet"))] == ["success", "success", "failed"]
    with tarfile.open(shard) as tar:
        assert tar.getnames() == ["00.jpg", "00.txt", "00.json", "01.png"]


def test_pictures_are_found_by_place_and_masks_are_none(tmp_path, shard):
    places, note = pictures(shard)
    assert note is None
    assert [content(shard, place.start, place.size) for place in places] == [JPEG, PNG]
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        for name in ("a/1.mask.png", "a/1.png", "a/1.cls"):
            member = tarfile.TarInfo(name)
            tar.addfile(member)
    assert [place.name for place in pictures(tmp_path / "m.tar")[0]] == ["a/1.png"]


@pytest.mark.parametrize("kept", [100, 900, 1536, 2600, 3584, 3700, 4096])
def test_a_shard_that_was_cut_off_anywhere_is_told_and_gives_whole_pictures_alone(shard, kept):
    whole = shard.read_bytes()
    shard.write_bytes(whole[:kept])
    try:
        places, note = pictures(shard)
    except SemeiaError:
        assert kept < 512
        return
    assert "cut off" in note
    assert all(place.start + place.size <= kept for place in places)
    assert len(places) == (0 if kept < 1215 else 1)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"nonsense" * 200)
    with pytest.raises(SemeiaError, match=r"a\.tar"):
        pictures(tmp_path / "a.tar")
    with pytest.raises(SemeiaError, match="cannot be read"):
        pictures(tmp_path / "none.tar")
    (tmp_path / "a.parquet").write_bytes(b"nonsense")
    with pytest.raises(SemeiaError, match="run again"):
        rows_of(tmp_path / "a.parquet")
    assert not has_shard(tmp_path / "a.tar")


def test_a_shard_that_fails_leaves_nothing_and_keeps_what_stood_there(shard):
    before = shard.read_bytes()

    def broken():
        yield SAMPLES[1]
        raise OSError(28, "No space left on device")

    with pytest.raises(SemeiaError, match="no space left"):
        write_shard(shard, broken())
    assert shard.read_bytes() == before
    assert has_shard(shard)
    assert sorted(p.name for p in shard.parent.iterdir()) == ["00000.parquet", "00000.tar"]
