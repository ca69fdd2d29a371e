import json
from math import radians

import pandas as pd
import pytest

from semeia.media.tables import as_table, check_table, write_table
from semeia.records import ACTION_UNITS, FileReading, Readings, SemeiaError


@pytest.fixture
def readings(make_face):
    files = (
        FileReading("two.jpg", 640, 480, (make_face(), make_face(present=("AU43",), age=70.0))),
        FileReading("empty.jpg", 320, 240),
        FileReading("broken.jpg", error="broken.jpg: expected a picture, found an empty file (0 bytes)"),
        FileReading("one.jpg", 100, 100, (make_face(),)),
    )
    return Readings(weights="qface", files=files)


def read_back(path):
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def test_json_is_the_documented_layout(readings, tmp_path):
    write_table(readings, tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == readings.as_dict()


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".CSV"])
def test_every_file_has_its_rows_in_order(readings, tmp_path, suffix):
    path = tmp_path / f"r{suffix}"
    write_table(readings, path)
    table = read_back(path.rename(path.with_suffix(suffix.lower())))
    assert table["file"].tolist() == ["two.jpg", "two.jpg", "empty.jpg", "broken.jpg", "one.jpg"]
    assert table["face_id"].tolist()[:2] == [1, 2]
    assert table.loc[4, "face_id"] == 1


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_values_survive_the_round_trip(readings, tmp_path, suffix):
    write_table(readings, tmp_path / f"r{suffix}")
    row = read_back(tmp_path / f"r{suffix}").iloc[0]
    assert row[["face_x", "face_y", "face_w", "face_h"]].tolist() == [10, 20, 60, 80]
    assert row["expression"] == "happiness"
    assert row[["confidence", "p_happiness", "attr_Smiling", "age"]].tolist() == [0.98, 0.88, 0.9, 34.5]
    assert row[["AU12_r", "AU12_c", "AU12_L", "AU12_R"]].tolist() == [3, 1, 4, 2]
    assert row[["AU01_r", "AU01_c"]].tolist() == [0.25, 0]
    assert row[["width", "height"]].tolist() == [640, 480]


def test_angles_stand_in_degrees_and_in_radians_with_the_same_signs(readings):
    row = as_table(readings).iloc[0]
    assert row[["yaw", "pitch", "roll"]].tolist() == [30, -10, 5]
    assert row[["pose_Rx", "pose_Ry", "pose_Rz"]].tolist() == [radians(-10), radians(30), radians(5)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_without_a_face_has_one_row_of_missing_values(readings, tmp_path, suffix):
    write_table(readings, tmp_path / f"r{suffix}")
    row = read_back(tmp_path / f"r{suffix}").iloc[2]
    assert row[["width", "height"]].tolist() == [320, 240]
    assert row.drop(["file", "width", "height"]).isna().all()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_broken_file_has_one_row_with_its_error(readings, tmp_path, suffix):
    write_table(readings, tmp_path / f"r{suffix}")
    row = read_back(tmp_path / f"r{suffix}").iloc[3]
    assert row["error"].startswith("broken.jpg: expected")
    assert row.drop(["file", "error"]).isna().all()


def test_whole_numbers_stay_whole_beside_missing_ones(readings, tmp_path):
    write_table(readings, tmp_path / "r.csv")
    first = (tmp_path / "r.csv").read_text().splitlines()[1]
    assert first.startswith("two.jpg,1,0.9800,")
    assert ",640,480," in first


def test_columns_are_those_of_the_bundled_reader_where_no_face_is_there(readings):
    none = Readings(weights="qface", files=(FileReading("empty.jpg", 320, 240),))
    assert as_table(none).columns.tolist() == as_table(readings).columns.tolist()


def test_side_columns_are_absent_where_sides_are_not_told(make_face):
    table = as_table(Readings("mine", (FileReading("a.jpg", 9, 9, (make_face(sides=False),)),)))
    assert not [name for name in table if name.endswith(("_L", "_R"))]
    assert [name for name in table if name.endswith("_r")] == [f"{unit}_r" for unit in ACTION_UNITS]


def test_affect_columns_are_absent_where_nothing_read_it(make_face):
    def columns(**fields):
        return set(as_table(Readings("w", (FileReading("a", 9, 9, (make_face(**fields),)),))))

    assert {"valence", "arousal"} <= columns()
    assert not {"valence", "arousal"} & columns(valence=None, arousal=None)
    assert {"valence", "arousal"} <= set(as_table(Readings("w", (FileReading("a", 9, 9),))))


def test_a_name_that_is_no_text_is_spelled_out(make_face, tmp_path):
    strange = b"\xfcber.jpg".decode("utf-8", "surrogateescape")
    readings = Readings("qface", (FileReading(strange, 9, 9, (make_face(),)),))
    for suffix in (".csv", ".parquet", ".json"):
        write_table(readings, tmp_path / f"r{suffix}")
    assert read_back(tmp_path / "r.csv")["file"].tolist() == [r"\udcfcber.jpg"]


def test_the_same_readings_make_the_same_bytes(readings, tmp_path):
    for name in ("a.csv", "b.csv", "a.parquet", "b.parquet"):
        write_table(readings, tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("name", ["r.xlsx", "r"])
def test_another_suffix_is_refused_with_the_three_that_are_known(readings, tmp_path, name):
    for refuse in (check_table, lambda path: write_table(readings, path)):
        with pytest.raises(SemeiaError, match=r"\.json, \.csv, \.parquet"):
            refuse(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_cannot_be_written_is_refused_before_and_after(readings, tmp_path):
    with pytest.raises(SemeiaError, match="does not exist"):
        check_table(tmp_path / "nowhere" / "r.csv")
    for suffix in (".csv", ".parquet", ".json"):
        with pytest.raises(SemeiaError, match=f"r{suffix}: cannot be written"):
            write_table(readings, tmp_path / "nowhere" / f"r{suffix}")
