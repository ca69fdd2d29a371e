"""NRRD headers as programs and accidents write them."""

import bz2
import gzip

import numpy as np
import pytest

from semeia.media.volumes import open_volume
from semeia.records import SemeiaError

from .scan_makers import affine_of, phantom, write_nrrd

HU = phantom()
FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "10 12 7",
    "space directions": "(0.75,0,0) (0,0.5,0) (0,0,2.5)",
    "space origin": "(-30,-20,100)",
    "endian": "little",
    "encoding": "raw",
}
VOXELS = HU.astype("<i2").tobytes()


def by_hand(path, voxels=VOXELS, end="\n", **fields):
    """A file of the fields above, with some added, replaced or left out (None); underscores stand for spaces."""
    told = FIELDS | {name.replace("_", " "): value for name, value in fields.items()}
    lines = ["NRRD0005", "# a comment", *(f"{name}: {value}" for name, value in told.items() if value is not None), ""]
    path.write_bytes("".join(line + end for line in lines).encode() + voxels)
    return path


def refusal(path):
    with pytest.raises(SemeiaError) as caught:
        open_volume(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def check(path, notes=()):
    with open_volume(path) as scan:
        assert (scan.slab(0, 6) == HU).all()
        assert scan.affine == pytest.approx(affine_of())
        assert scan.notes == notes
        return scan


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("suffix", ["nrrd", "nhdr"])
def test_every_encoding_is_read_attached_and_detached(tmp_path, encoding, suffix):
    check(write_nrrd(tmp_path / f"scan.{suffix}", HU, encoding=encoding))


def test_big_endian_and_windows_lines_are_read(tmp_path):
    check(by_hand(tmp_path / "big.nrrd", HU.astype(">i2").tobytes(), endian="big"))
    check(by_hand(tmp_path / "lines.nrrd", end="\r\n"))


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (1, 1, 1)), ("RAS", (-1, -1, 1)), ("left-anterior-superior", (1, -1, 1))],
)
def test_every_space_leads_to_the_same_place(tmp_path, space, signs):
    a, b, c = np.array([0.75, 0.5, 2.5]) * signs
    x, y, z = np.array([-30, -20, 100]) * signs
    check(
        by_hand(
            tmp_path / "scan.nrrd",
            space=space,
            space_directions=f"({a},0,0) (0,{b},0) (0,0,{c})",
            space_origin=f"({x},{y},{z})",
        )
    )


def test_an_axis_of_one_value_is_left_out(tmp_path):
    check(
        by_hand(
            tmp_path / "list.nrrd",
            dimension=4,
            sizes="1 10 12 7",
            space_directions="none (0.75,0,0) (0,0.5,0) (0,0,2.5)",
        )
    )


def test_an_axis_without_a_direction_goes_before_a_single_slice(tmp_path):
    path = by_hand(
        tmp_path / "list.nrrd",
        dimension=4,
        sizes="1 10 12 1",
        space_directions="none (0.75,0,0) (0,0.5,0) (0,0,2.5)",
    )
    with open_volume(path) as scan:
        assert (scan.slab(0, 0) == HU[:1]).all()


def test_several_volumes_are_refused(tmp_path):
    path = by_hand(
        tmp_path / "scan.nrrd",
        dimension=4,
        sizes="2 10 12 7",
        space_directions="none (1,0,0) (0,1,0) (0,0,1)",
        voxels=VOXELS * 2,
    )
    assert "found several (2 x 10 x 12 x 7)" in refusal(path)


def test_thickness_is_read_where_it_is_told(tmp_path):
    assert check(by_hand(tmp_path / "scan.nrrd", thicknesses="nan nan 3.5")).thickness == 3.5


def test_a_space_that_is_not_told_is_assumed_aloud(tmp_path):
    for path in (
        by_hand(tmp_path / "a.nrrd", space=None, space_dimension=3),
        by_hand(tmp_path / "b.nrrd", space_directions=None, spacings="0.75 0.5 2.5"),
    ):
        with open_volume(path) as scan:
            assert "left and right may be swapped" in scan.notes[0]
            assert (scan.slab(0, 6) == HU).all()
            assert scan.spacing == pytest.approx((0.75, 0.5, 2.5))


def test_other_units_are_brought_to_millimetres(tmp_path):
    path = by_hand(
        tmp_path / "scan.nrrd",
        space_directions="(0.075,0,0) (0,0.05,0) (0,0,0.25)",
        space_origin="(-3,-2,10)",
        space_units='"cm" "cm" "cm"',
    )
    check(path, ("Positions are not given in millimetres and were brought to them.",))


@pytest.mark.parametrize(
    ("voxels", "fields"),
    [
        (b"12345" + VOXELS, {"byte_skip": 5}),
        (b"12345" + VOXELS, {"byte_skip": -1}),
        (b"one\ntwo\n" + VOXELS, {"line_skip": 2}),
        (b"one\n" + gzip.compress(b"12345" + VOXELS), {"line_skip": 1, "byte_skip": 5, "encoding": "gz"}),
        (bz2.compress(VOXELS), {"encoding": "bz2"}),
    ],
)
def test_what_stands_before_the_voxels_is_skipped(tmp_path, voxels, fields):
    check(by_hand(tmp_path / "scan.nrrd", voxels, **fields))


@pytest.mark.parametrize("name", ["../voxels.raw", "/etc/passwd", "sub/voxels.raw", "..", "a\\b", "C:voxels"])
def test_voxels_that_are_not_beside_their_header_are_refused(tmp_path, name):
    (tmp_path / "voxels.raw").write_bytes(VOXELS)
    folder = tmp_path / "scan"
    folder.mkdir()
    assert "in a file beside it" in refusal(by_hand(folder / "scan.nhdr", b"", data_file=name))


@pytest.mark.parametrize("name", ["LIST", "slice%03d.raw 1 7 1"])
def test_voxels_in_many_files_are_refused(tmp_path, name):
    assert "found a list of files" in refusal(by_hand(tmp_path / "scan.nhdr", b"", data_file=name))


def test_missing_voxels_are_named(tmp_path):
    assert "beside it in gone.raw" in refusal(by_hand(tmp_path / "scan.nhdr", b"", data_file="gone.raw"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"encoding": "ascii"}, "raw, gzip or bzip2"),
        ({"type": "block"}, "one number for each voxel"),
        ({"type": None}, "expected the field type"),
        ({"endian": None}, "little or big endian"),
        ({"endian": "middle"}, "little or big endian"),
        ({"sizes": "10 12"}, "2 sizes for 3 axes"),
        ({"sizes": "10 0 7"}, "three sides"),
        ({"sizes": "10 -12 7"}, "three sides"),
        ({"sizes": "10 99999 7"}, "three sides"),
        ({"sizes": "ten twelve seven"}, "damaged"),
        ({"space": "scanner-xyz"}, "found 'scanner-xyz'"),
        ({"space directions": "(1,0,0) (0,1,0) none"}, "finite"),
        ({"space directions": "(1,0) (0,1) (1,1)"}, "three numbers"),
        ({"space directions": "(1,0,0) (0,1,0) (0,0,0)"}, "0 mm"),
        ({"space directions": "(1,0,0) (0,1,0) (0,1,1)"}, "sheared"),
        ({"space directions": None}, "size of a voxel is needed"),
        ({"space units": '"mm" "mm" "parsec"'}, "space units of mm"),
        ({"byte skip": "-7"}, "byte skip"),
        ({"line skip": "90"}, "90 lines"),
        ({"line skip": "-1"}, "-1 lines"),
        ({"kinds": ":"}, "truncated"),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path, fields, words):
    voxels = VOXELS[:100] if words == "truncated" else VOXELS
    assert words in refusal(by_hand(tmp_path / "scan.nrrd", voxels, **fields))


def test_a_header_without_an_end_is_refused(tmp_path):
    path = tmp_path / "scan.nrrd"
    path.write_bytes(b"NRRD0004\n" + b"# nothing\n" * 200_000)
    assert "an empty line behind it" in refusal(path)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("suffix", ["nrrd", "nhdr"])
def test_a_truncated_file_is_refused(tmp_path, encoding, suffix):
    path = write_nrrd(tmp_path / f"scan.{suffix}", phantom((7, 40, 40)), encoding=encoding)
    voxels = next(file for file in tmp_path.iterdir() if suffix == "nrrd" or file != path)
    voxels.write_bytes(voxels.read_bytes()[:-500])
    assert "truncated" in refusal(path)


def test_no_damage_of_a_header_ends_in_anything_but_an_answer_or_a_refusal(tmp_path):
    rng = np.random.default_rng(0)
    path = by_hand(tmp_path / "scan.nrrd")
    original = path.read_bytes()
    outcomes = set()
    for _ in range(300):
        content = bytearray(original)
        for place in rng.integers(8, len(original) - len(VOXELS), rng.integers(1, 5)):
            content[place] = int(rng.choice(list(b" 0123456789().,-:\nabcxyz\xff\0")))
        path.write_bytes(content)
        try:
            with open_volume(path) as scan:
                scan.slab(0, scan.shape[0] - 1)
            outcomes.add("read")
        except SemeiaError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}
