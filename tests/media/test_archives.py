"""Packed files, honest and hostile."""

import gzip
import shutil
import stat
import zipfile

import numpy as np
import pytest

from semeia.media import archives
from semeia.media.archives import check_room, size_of, unpack_stream, unpack_zip, unpacked_start
from semeia.media.volumes import open_volume
from semeia.records import SemeiaError

from .scan_makers import phantom, write_dicom, write_nifti, write_nrrd, write_zip

HU = phantom()


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


def zipped(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


def refusal(path, into):
    with pytest.raises(SemeiaError) as caught:
        unpack_zip(path, into)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_a_zip_is_unpacked_with_its_folders_and_without_what_systems_add(tmp_path, into):
    path = zipped(
        tmp_path / "a.zip",
        [("one/a", b"A"), ("one/two/b", b"B"), ("__MACOSX/one/._a", b"x"), ("one/.DS_Store", b"x"), ("empty/", b"")],
    )
    unpack_zip(path, into)
    assert {str(f.relative_to(into)): f.read_bytes() for f in into.rglob("*") if f.is_file()} == {
        "one/a": b"A",
        "one/two/b": b"B",
    }


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "one/../../a", "..\\a", "C:/a", "C:a"])
def test_names_that_lead_elsewhere_are_refused_and_nothing_is_written(tmp_path, into, name):
    path = zipped(tmp_path / "a.zip", [("good", b"x"), (name, b"x")])
    assert "names that stay in its folder" in refusal(path, into)
    assert list(into.iterdir()) == []


def test_links_are_refused(tmp_path, into):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "link 'link'" in refusal(zipped(tmp_path / "a.zip", [(link, b"/etc/passwd")]), into)


@pytest.mark.parametrize("start", [b"PK\3\4", b"7z\xbc\xaf", b"Rar!"])
def test_archives_in_archives_are_refused(tmp_path, into, start):
    assert "unpack it first" in refusal(zipped(tmp_path / "a.zip", [("inner.dcm", start + bytes(100))]), into)


def test_a_zip_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path, into, monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 100_000)
    path = zipped(tmp_path / "bomb.zip", [("a", bytes(2_000_000))])
    assert path.stat().st_size * 200 < 2_000_000
    assert "found more" in refusal(path, into)


def test_many_files_count_together(tmp_path, into, monkeypatch):
    noise = np.random.default_rng(0).bytes(3000)
    path = zipped(tmp_path / "a.zip", [(f"{i}", noise) for i in range(4)])
    monkeypatch.setattr(archives, "MAX_BYTES", 10_000)
    assert "expected at most 10 KB" in refusal(path, into)


def test_what_an_entry_says_of_its_size_is_not_believed(tmp_path, into, monkeypatch):
    path = zipped(tmp_path / "liar.zip", [("a", bytes(2_000_000))])
    content = bytearray(path.read_bytes())
    directory = content.index(b"PK\1\2")
    content[directory + 24 : directory + 28] = (10).to_bytes(4, "little")
    path.write_bytes(content)
    monkeypatch.setattr(archives, "SMALL", 100_000)
    refusal(path, into)
    assert sum(f.stat().st_size for f in into.iterdir()) <= 100_000


def test_too_many_files_are_refused(tmp_path, into, monkeypatch):
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    assert "found 4" in refusal(zipped(tmp_path / "a.zip", [(f"{i}", b"") for i in range(4)]), into)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_truncated_zip_is_refused(tmp_path, into, share):
    path = zipped(tmp_path / "a.zip", [("a", np.random.default_rng(0).bytes(5000))])
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "truncated or damaged" in refusal(path, into)


def test_a_damaged_zip_is_refused(tmp_path, into):
    path = zipped(tmp_path / "a.zip", [("a", np.random.default_rng(0).bytes(5000))])
    content = bytearray(path.read_bytes())
    content[1000:1010] = bytes(10)
    path.write_bytes(content)
    assert "damaged" in refusal(path, into)


def test_an_encrypted_zip_is_refused(tmp_path, into):
    path = zipped(tmp_path / "a.zip", [("a", b"secret")])
    content = bytearray(path.read_bytes())
    for start, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(start) + flags] |= 1
    path.write_bytes(content)
    assert "unpack it yourself" in refusal(path, into)


def test_one_name_for_a_file_and_a_folder_is_refused(tmp_path, into):
    assert "cannot be unpacked" in refusal(zipped(tmp_path / "a.zip", [("a", b"x"), ("a/b", b"x")]), into)


def test_a_lack_of_room_is_told_before_anything_is_written(tmp_path, into, monkeypatch):
    path = zipped(tmp_path / "a.zip", [("a", bytes(5000))])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10_000, 9_000, 1_000))
    assert "TMPDIR" in refusal(path, into)
    assert list(into.iterdir()) == []
    with pytest.raises(SemeiaError, match="expected 2 KB of room"):
        check_room("scan", 2000, into)


def test_only_the_bytes_that_are_needed_are_unpacked(tmp_path, into):
    path = tmp_path / "a.gz"
    path.write_bytes(b"head" + gzip.compress(b"0123456789") + b"tail")
    unpack_stream(path, into / "a", size=4, skip=4, source="a.gz")
    assert (into / "a").read_bytes() == b"0123"


@pytest.mark.parametrize(("keep", "words"), [(0.5, "truncated"), (1.0, "truncated")])
def test_a_packed_file_that_ends_early_is_refused(tmp_path, into, keep, words):
    path = tmp_path / "a.gz"
    content = gzip.compress(np.random.default_rng(0).bytes(100_000))
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(SemeiaError, match=rf"^a\.gz: {words}, expected 200,000 bytes"):
        unpack_stream(path, into / "a", size=200_000, source="a.gz")


def test_a_damaged_packed_file_is_refused(tmp_path, into):
    path = tmp_path / "a.gz"
    content = bytearray(gzip.compress(b"0123456789" * 1000 + np.random.default_rng(0).bytes(5000)))
    content[30:60] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(SemeiaError, match=r"^a\.gz: (damaged|truncated)"):
        unpack_stream(path, into / "a", size=15_000, source="a.gz")


def test_a_header_that_claims_too_much_is_refused(tmp_path, into):
    with pytest.raises(SemeiaError, match=r"at most 17\.2 GB unpacked"):
        unpack_stream(tmp_path / "a.gz", into / "a", size=2**40, source="a.gz")


def test_the_start_of_what_is_not_packed_is_empty(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(b"\x1f\x8bnonsense that is not gzip")
    with path.open("rb") as stream:
        assert unpacked_start(stream, 10) == b""


@pytest.mark.parametrize(
    ("number", "told"), [(999, "999 bytes"), (1000, "1 KB"), (25_400_000, "25 MB"), (17_179_869_184, "17.2 GB")]
)
def test_sizes_are_told_in_units_for_people(number, told):
    assert size_of(number) == told


# -- scans in archives


def test_messages_about_a_scan_in_a_zip_name_the_zip(tmp_path):
    folder = write_dicom(tmp_path / "scan", HU)
    path = folder / "IM0003.dcm"
    path.write_bytes(path.read_bytes()[:-50])
    archive = write_zip(tmp_path / "scan.zip", folder)
    with pytest.raises(SemeiaError) as caught:
        open_volume(archive)
    assert str(caught.value).startswith(f"{archive}: ")
    assert "(scan/IM0003.dcm)" in str(caught.value)


def test_a_zip_of_two_nifti_files_is_refused(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    write_nifti(folder / "a.nii", HU)
    write_nifti(folder / "b.nii", HU)
    with pytest.raises(SemeiaError, match=r"found 2 scans \(scan/a.nii, scan/b.nii\)"):
        open_volume(write_zip(tmp_path / "scan.zip", folder))


def test_a_zip_with_a_detached_nrrd_is_read(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    write_nrrd(folder / "a.nhdr", HU, encoding="raw")
    assert len(list(folder.iterdir())) == 2
    with open_volume(write_zip(tmp_path / "scan.zip", folder)) as scan:
        assert (scan.slab(0, 6) == HU).all()


def test_a_zip_of_one_nifti_that_is_wrong_names_both(tmp_path):
    path = write_nifti(tmp_path / "a.nii", HU)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(SemeiaError, match=r"scan\.zip/scan/a\.nii: truncated"):
        open_volume(write_zip(tmp_path / "scan.zip", path))


def test_an_empty_zip_is_refused(tmp_path):
    with pytest.raises(SemeiaError, match="an empty ZIP archive"):
        open_volume(zipped(tmp_path / "a.zip", []))
