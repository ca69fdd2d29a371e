"""Rows survive their file, and a file that is not theirs is refused in one line."""

import base64
import json
import zlib
from dataclasses import fields, replace

import numpy as np
import pytest

from semeia.ledger.rows import Row, pack, read, unpack, write
from semeia.records import SemeiaError


def plain(row):
    return {each.name: getattr(row, each.name) for each in fields(Row) if each.name != "sums"}


@pytest.fixture
def file(tmp_path, toy):
    write(tmp_path / "toy.json", [toy.row("plain", 1), toy.row("full", 0)], system="toy")
    return tmp_path / "toy.json"


def test_rows_come_back_as_they_were(file, toy):
    first, second = read(file, system="toy")
    assert (first.arm, second.arm) == ("full", "plain")
    assert plain(first) == plain(toy.row("full", 0))
    np.testing.assert_array_equal(first.sums["answers"], toy.row("full", 0).sums["answers"])


def test_a_file_that_is_not_there_has_no_rows(tmp_path):
    assert read(tmp_path / "none.json", system="toy") == []


@pytest.mark.parametrize("array", [
    np.array([[0, 7], [255, 3]]), np.array([[-3, 70_000]]), np.array([300.0]), np.array([[0.25], [1e9]]),
    np.zeros((3, 0)),
])  # fmt: skip
def test_arrays_come_back(array):
    np.testing.assert_allclose(unpack(pack(array), "x"), array, rtol=1e-6)


def test_counts_take_a_byte_each_before_they_are_squeezed():
    assert pack(np.array([[0, 7], [255, 3]]))["type"] == "<u1"
    assert pack(np.array([0.5]))["type"] == "<f4"


def test_numbers_that_are_not_finite_are_not_kept(toy):
    with pytest.raises(SemeiaError, match="finite"):
        pack(np.array([np.nan]))


def packed(**changes):
    return pack(np.ones((20, 2))) | changes


def bytes_of(count):
    return base64.b64encode(zlib.compress(b"\1" * count)).decode()


@pytest.mark.parametrize(
    "value",
    [
        None, [], {}, packed(type="object"), packed(shape=[20]), packed(shape=[-1, 2]), packed(shape=[1e9, 1]),
        packed(shape=[20, True]), packed(zlib="%%%"), packed(zlib="AAAA"), packed(zlib=7), packed(zlib=bytes_of(41)),
        packed(zlib=bytes_of(100_000_000)), packed(shape=[10**12]), pack(np.full(1, 0.5)) | {"zlib": base64.b64encode(
            zlib.compress(np.array([np.nan], "<f4").tobytes())).decode()},
    ],
)  # fmt: skip
def test_an_array_that_is_none_is_refused(value):
    with pytest.raises(SemeiaError, match=r"^here: ") as error:
        unpack(value, "here")
    assert "\n" not in str(error.value)


def changed(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(SemeiaError) as error:
        read(file, system="toy")
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seed", "0"), ("seed", True), ("seed", -1), ("steps", 1.5), ("arm", 3), ("seconds", float("nan")),
        ("seconds", -1.0), ("scale", "huge"), ("groups", 0), ("groups", 21), ("values", []), ("values", {"a": "b"}),
        ("values", {"a": float("inf")}), ("machine", None), ("sums", {"answers": 1}),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(file, name, value):
    assert "row 1" in changed(file, lambda content: content["rows"][1].update({name: value}))


def test_missing_and_unknown_fields_are_named(file):
    assert "missing or unknown: seed" in changed(file, lambda content: content["rows"][0].pop("seed"))


def test_a_row_that_is_no_object_is_named(file):
    assert "row 0: expected an object" in changed(file, lambda content: content["rows"].insert(0, [1]))


def test_two_rows_of_one_kind_are_refused(file):
    assert "two rows" in changed(file, lambda content: content["rows"].append(content["rows"][0]))


def test_results_of_another_system_or_format_are_refused(file):
    assert "found those of 'other'" in changed(file, lambda content: content.update(system="other"))
    assert "expected results of claims" in changed(file, lambda content: content.update(format=2))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "7", "null"])
def test_what_is_not_json_is_refused(tmp_path, text):
    (tmp_path / "toy.json").write_text(text)
    with pytest.raises(SemeiaError, match=r"toy\.json"):
        read(tmp_path / "toy.json", system="toy")


def test_values_that_do_not_exist_are_null(tmp_path, toy):
    write(tmp_path / "toy.json", [replace(toy.row(), values={"accuracy": None})], system="toy")
    assert read(tmp_path / "toy.json", system="toy")[0].values == {"accuracy": None}
