"""Arrays out of HDF5 files: whole ones read exactly, damaged ones refused in one line."""

import os
import random
import struct

import numpy as np
import pytest

from semeia import parts
from semeia.nn.hdf5 import read_arrays
from semeia.records import SemeiaError

FLOAT32 = bytes.fromhex("11201f00 04000000 00002000 17080017 7f000000")
ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "deep/b": np.array([1.5, -2.5], np.float32),
    "deep/er/c:0": np.ones((1, 2, 1, 2), np.float32),
}


class Writer:
    """The bytes of a file with old groups, as HDF5 before 1.10 lays them out."""

    def __init__(self):
        self.content = bytearray(b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + bytes(80))

    def add(self, data):
        """Where the data stand, at a multiple of eight."""
        self.content += bytes(-len(self.content) % 8)
        at = len(self.content)
        self.content += data
        return at

    def header(self, *messages):
        """A header with messages (kind, data); the last stands in a block of its own."""
        packed = [struct.pack("<HHBxxx", kind, len(data), 0) + data for kind, data in messages]
        block = struct.pack("<QQ", self.add(packed[-1]), len(packed[-1]))
        packed[-1] = struct.pack("<HHBxxx", 0x10, len(block), 0) + block
        body = b"".join(packed)
        return self.add(struct.pack("<BxHIIxxxx", 1, len(messages) + 1, 1, len(body)) + body)

    def array(self, values, *, kind=FLOAT32, layout=(3, 1)):
        shape = struct.pack(f"<BBxxxxxx{values.ndim}Q", 1, values.ndim, *values.shape)
        place = struct.pack("<BBQQ", *layout, self.add(values.tobytes()), values.nbytes)
        return self.header((1, shape), (3, kind), (8, place))

    def group(self, members):
        """A group of members {name: where their header stands}, in tables of two below one tree."""
        names = bytearray(8)
        entries = []
        for name, header in sorted(members.items()):
            entries.append(struct.pack("<QQ24x", len(names), header))
            names += name.encode() + b"\0"
        heap = self.add(b"HEAP" + struct.pack("<B3xQQQ", 0, len(names), 1, self.add(names)))
        tables = [entries[i : i + 2] for i in range(0, len(entries), 2)]
        nodes = [self.add(b"SNOD" + struct.pack("<BBH", 1, 0, len(t)) + b"".join(t)) for t in tables]
        branches = b"".join(struct.pack("<QQ", 0, node) for node in nodes)
        tree = self.add(b"TREE" + struct.pack("<BBHQQ", 0, 0, len(nodes), 0, 0) + branches + bytes(8))
        return self.header((0, b""), (0x11, struct.pack("<QQ", tree, heap)))

    def close(self, root):
        struct.pack_into("<Q", self.content, 64, root)
        return bytes(self.content)


def whole_file():
    """A file that holds ``ARRAYS`` below the group ``weights``."""
    writer = Writer()
    deeper = writer.group({"c:0": writer.array(ARRAYS["deep/er/c:0"])})
    deep = writer.group({"b": writer.array(ARRAYS["deep/b"]), "er": deeper})
    empty = writer.group({})
    weights = writer.group({"a": writer.array(ARRAYS["a"]), "deep": deep, "empty": empty})
    return writer.close(writer.group({"weights": weights, "other": empty}))


def read(tmp_path, content, group="weights"):
    (tmp_path / "x.hdf5").write_bytes(content)
    return read_arrays(tmp_path / "x.hdf5", group)


def refused(tmp_path, content, group="weights"):
    """The error that a file gives."""
    with pytest.raises(SemeiaError) as caught:
        read(tmp_path, content, group)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'x.hdf5'}: expected an HDF5 file")
    assert "\n" not in text
    return text


def test_all_arrays_below_a_group_are_read(tmp_path):
    found = read(tmp_path, whole_file())
    assert found.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        np.testing.assert_array_equal(found[name], values)
        assert found[name].dtype == np.float32


def test_a_group_within_a_group_can_be_asked_for(tmp_path):
    assert list(read(tmp_path, whole_file(), "weights/deep")) == ["b", "er/c:0"]


def test_a_group_that_is_not_there_is_named(tmp_path):
    assert "it has no group 'nowhere'" in refused(tmp_path, whole_file(), "nowhere")


def test_the_part_is_read_as_the_hdf5_library_reads_it():
    h5py = pytest.importorskip("h5py")
    try:
        path = parts.fetch("expression-cnn", progress=False)
    except SemeiaError as error:
        pytest.skip(str(error))
    found = read_arrays(path, "model_weights")
    wanted = {}
    with h5py.File(path) as file:
        file["model_weights"].visititems(
            lambda name, item: wanted.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None
        )
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(("change", "words"), [
    ({"kind": FLOAT32.replace(b"\x04", b"\x08", 1)}, "'a' does not hold float32"),
    ({"layout": (3, 2)}, "'a' does not lie in one piece"),
    ({"layout": (4, 1)}, "'a' does not lie in one piece"),
])  # fmt: skip
def test_arrays_of_another_kind_are_refused(tmp_path, change, words):
    writer = Writer()
    weights = writer.group({"a": writer.array(ARRAYS["a"], **change)})
    assert words in refused(tmp_path, writer.close(writer.group({"weights": weights})))


def test_numbers_that_do_not_fill_the_shape_are_refused(tmp_path):
    writer = Writer()
    at = writer.array(ARRAYS["a"])
    content = writer.close(writer.group({"weights": writer.group({"a": at})}))
    shape, far = struct.pack("<QQ", 2, 3), struct.pack("<QQ", 2**62, 2**62)
    assert "'a' has 24 bytes for the shape" in refused(tmp_path, content.replace(shape, far))


def test_other_files_are_refused(tmp_path):
    assert "it does not begin as one" in refused(tmp_path, b"")
    assert "it does not begin as one" in refused(tmp_path, b"PK\x03\x04" + bytes(200))
    newer = bytearray(whole_file())
    newer[8] = 3
    assert "superblock 3" in refused(tmp_path, newer)
    with pytest.raises(SemeiaError, match="cannot be read"):
        read_arrays(tmp_path / "nowhere.hdf5", "weights")
    with pytest.raises(SemeiaError, match="cannot be read"):
        read_arrays(tmp_path, "weights")


def test_a_file_of_absurd_size_is_not_read(tmp_path):
    path = tmp_path / "x.hdf5"
    path.touch()
    os.truncate(path, 1 << 33)
    with pytest.raises(SemeiaError, match="larger than 64 MB"):
        read_arrays(path, "weights")


def test_a_group_that_holds_itself_ends(tmp_path):
    writer = Writer()
    weights = writer.group({"a": 0x123456})
    content = writer.close(writer.group({"weights": weights}))
    looped = content.replace(struct.pack("<Q", 0x123456), struct.pack("<Q", weights))
    assert "more than 8 groups within one another" in refused(tmp_path, looped)


def test_a_tree_that_branches_into_itself_ends(tmp_path):
    content = bytearray(whole_file())
    tree = content.rindex(b"TREE")
    struct.pack_into("<Q", content, tree + 32, tree)
    assert "one that holds itself" in refused(tmp_path, content)


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    content = whole_file()
    for size in range(0, len(content), 7):
        refused(tmp_path, content[:size])


def test_damage_gives_arrays_or_one_line(tmp_path):
    content, chance = whole_file(), random.Random(0)
    refusals = []
    for _ in range(600):
        damaged = bytearray(content)
        for _ in range(chance.choice((1, 2, 8, 40))):
            damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 8, 255, chance.randrange(256)))
        try:
            read(tmp_path, damaged)
        except SemeiaError as error:
            refusals.append(str(error))
    assert 200 < len(refusals) < 600
    assert not any("\n" in text for text in refusals)
