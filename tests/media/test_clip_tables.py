"""A clip's table: its rows, its parts, and what smoothing does to them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from semeia.media import clip_tables
from semeia.media.clip_tables import (
    ClipTable,
    FrameReading,
    as_rows,
    check_clip_table,
    fingerprint,
    read_rows,
    smoothed,
    summarise,
)
from semeia.records import ActionUnit, SemeiaError

SETTINGS = {"clip": "a", "fps": None}


@pytest.fixture
def frames(make_face):
    """Twelve frames: two faces, then one, then none from frame 8 on."""

    def numbers(i):
        return (1, 2) if i < 4 else (2,) if i < 8 else ()

    def face(i, number):
        shares = {"happiness": 0.5 + 0.04 * i, "neutral": 0.5 - 0.04 * i}
        units = {"AU12": ActionUnit(0.9, 0.3 * i + number, 3.0, 2.0), "AU04": ActionUnit(0.1 * i, 1.0, 1.0, 1.0)}
        return replace(make_face(box=(10.0 * number, 20, 60, 80)), expression=shares, action_units=units)

    return [FrameReading(i, i / 25, 640, 480, {n: face(i, n) for n in numbers(i)}) for i in range(12)]


def write(path, frames, *, size=3, smooth=0.0):
    table = ClipTable(path, SETTINGS)
    for start in range(3 * table.done, len(frames), size):
        table.add(frames[start : start + size], state={"at": start + size}, last=start + size >= len(frames))
    table.finish(smooth=smooth)
    table.remove()
    return path


def read(path):
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def test_each_face_of_each_frame_has_a_row_and_a_frame_without_any_has_one(frames):
    rows = as_rows(frames)
    assert rows.columns[:5].tolist() == ["frame", "timestamp", "face_id", "success", "confidence"]
    assert rows["frame"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert rows["face_id"].tolist()[:9] == [1, 2, 1, 2, 1, 2, 1, 2, 2]
    assert rows["face_x"].tolist()[:3] == [10, 20, 10]
    assert "file" not in rows


def test_a_row_without_a_face_holds_only_the_frame(frames):
    row = as_rows(frames).iloc[-1]
    assert row[["frame", "timestamp", "success", "width", "height"]].tolist() == [11, 11 / 25, 0, 640, 480]
    assert row.drop(["frame", "timestamp", "success", "width", "height"]).isna().all()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_table_does_not_depend_on_where_its_parts_end(frames, tmp_path, suffix):
    whole = write(tmp_path / f"a{suffix}", frames, size=12)
    parts = write(tmp_path / f"b{suffix}", frames, size=3)
    assert whole.read_bytes() == parts.read_bytes()
    pd.testing.assert_frame_equal(read(parts).convert_dtypes(), as_rows(frames).convert_dtypes(), atol=1e-4)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"a{suffix}", f"b{suffix}"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_parts_without_a_face_get_the_columns_of_those_with_one(frames, tmp_path, suffix):
    table = read(write(tmp_path / f"a{suffix}", [*frames[8:], *frames[:8]]))
    assert [name for name in table if name.endswith("_r")] == ["AU12_r", "AU04_r"]
    assert table["success"].tolist() == [0] * 4 + [1] * 12


def test_a_clip_without_any_face_has_the_columns_of_the_bundled_reader(frames, tmp_path):
    table = read(write(tmp_path / "a.csv", frames[8:]))
    assert "AU43_c" in table
    assert len(table) == 4


def test_a_run_that_was_cut_short_goes_on_after_its_last_whole_part(frames, tmp_path):
    whole = write(tmp_path / "whole.parquet", frames)
    first = ClipTable(tmp_path / "a.parquet", SETTINGS)
    first.add(frames[:3], state={"at": 3}, last=False)
    first.add(frames[3:6], state={"at": 6, "exact": 0.1 + 0.2}, last=False)
    again = ClipTable(tmp_path / "a.parquet", SETTINGS)
    assert (again.done, again.complete, again.state) == (2, False, {"at": 6, "exact": 0.1 + 0.2})
    assert write(tmp_path / "a.parquet", frames).read_bytes() == whole.read_bytes()


def test_a_run_that_was_cut_short_behind_its_last_part_has_only_to_put_them_together(frames, tmp_path):
    table = ClipTable(tmp_path / "a.csv", SETTINGS)
    table.add(frames, state={}, last=True)
    table.finish()
    again = ClipTable(tmp_path / "a.csv", SETTINGS)
    assert (again.done, again.complete) == (1, True)


def test_other_settings_begin_anew(frames, tmp_path):
    ClipTable(tmp_path / "a.csv", SETTINGS).add(frames, state={}, last=True)
    other = ClipTable(tmp_path / "a.csv", {**SETTINGS, "fps": 5})
    assert (other.done, other.complete, other.state) == (0, False, {})
    assert [file.name for file in other.folder.iterdir()] == ["settings.json"]


def test_a_torn_part_and_what_follows_it_is_read_again(frames, tmp_path):
    table = ClipTable(tmp_path / "a.csv", SETTINGS)
    for i in range(4):
        table.add(frames[3 * i : 3 * i + 3], state={"at": i}, last=i == 3)
    torn = table.folder / "000001.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    again = ClipTable(tmp_path / "a.csv", SETTINGS)
    assert (again.done, again.complete, again.state) == (1, False, {"at": 0})


def test_what_a_killed_run_left_is_removed_and_nothing_else(frames, tmp_path):
    table = ClipTable(tmp_path / "a.csv", SETTINGS)
    (table.folder / ".000000.0123abcd.part.parquet").write_bytes(b"torn")
    (table.folder / "mine.txt").write_text("keep")
    table.add(frames, state={}, last=True)
    table.finish()
    table.remove()
    assert [file.name for file in table.folder.iterdir()] == ["mine.txt"]


def test_a_last_part_may_be_empty(frames, tmp_path):
    table = ClipTable(tmp_path / "a.csv", SETTINGS)
    table.add(frames, state={}, last=False)
    table.add([], state={}, last=True)
    table.finish(smooth=0.2)
    assert len(read(tmp_path / "a.csv")) == 16


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_small_pieces_make_the_same_table(frames, tmp_path, monkeypatch, suffix):
    whole = read(write(tmp_path / f"a{suffix}", frames))
    monkeypatch.setattr(clip_tables, "_ROWS", 5)
    pd.testing.assert_frame_equal(read(write(tmp_path / f"b{suffix}", frames)), whole)
    pieces = list(read_rows(tmp_path / f"b{suffix}", ["frame", "AU12_r", "nothing"]))
    assert len(pieces) > 2
    assert pd.concat(pieces)["AU12_r"].tolist() == pytest.approx(whole["AU12_r"].tolist(), nan_ok=True)
    assert pieces[0].columns.tolist() == ["frame", "AU12_r"]


@pytest.mark.parametrize("name", ["a.json", "a"])
def test_another_ending_is_refused_with_the_two_that_are_known(tmp_path, name):
    with pytest.raises(SemeiaError, match=r"ends in \.csv or \.parquet"):
        check_clip_table(tmp_path / name)


def test_what_is_no_table_is_refused(tmp_path):
    for name in ("missing.csv", "missing.parquet", "torn.parquet"):
        (tmp_path / "torn.parquet").write_bytes(b"PAR1")
        with pytest.raises(SemeiaError, match=f"{name}: expected the table of a clip"):
            list(read_rows(tmp_path / name))


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / ".a.csv.parts").write_text("a file")
    with pytest.raises(SemeiaError, match=r"\.a\.csv\.parts: is a file"):
        ClipTable(tmp_path / "a.csv", SETTINGS)


def test_clips_differ_by_size_and_by_either_end(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_tables, "_EDGE", 10)
    content = bytes(range(100))
    marks = set()
    for i, changed in enumerate((content, b"x" + content[1:], content[:-1] + b"x", content + b"c")):
        (tmp_path / str(i)).write_bytes(changed)
        marks.add(str(fingerprint(tmp_path / str(i))))
    assert len(marks) == 4


# -- smoothing


def slow_twin(rows, name, seconds):
    """Each value replaced by the median of as many rows before as after, within half the window."""
    out = []
    for _, row in rows.iterrows():
        track = rows[rows["face_id"] == row["face_id"]] if row["success"] else rows.iloc[:0]
        near = track[(track["timestamp"] - row["timestamp"]).abs() <= seconds / 2 + 1e-9]
        before, after = ((near["timestamp"] < row["timestamp"]).sum(), (near["timestamp"] > row["timestamp"]).sum())
        reach = min(before, after)
        values = near[name].to_numpy(dtype=float)
        out.append(np.median(values[before - reach : before + reach + 1]) if len(near) else np.nan)
    return out


def random_rows(frames, make_face, n=60):
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.02, 0.09, n))
    faces = [{k: make_face(age=float(rng.uniform(20, 60))) for k in (1, 2, 3) if rng.random() < 0.7} for _ in range(n)]
    return as_rows([FrameReading(i, float(t), 64, 48, f) for i, (t, f) in enumerate(zip(times, faces, strict=True))])


def test_smoothing_is_the_median_of_a_centred_window_of_the_same_track(frames, make_face):
    rows = random_rows(frames, make_face)
    (out,) = smoothed([rows], 0.4)
    np.testing.assert_allclose(out["age"].to_numpy(dtype=float), slow_twin(rows, "age", 0.4))


@pytest.mark.parametrize("size", [2, 7, 50])
def test_smoothing_in_pieces_equals_smoothing_at_once(frames, make_face, size):
    rows = random_rows(frames, make_face)
    (whole,) = smoothed([rows], 0.5)
    pieces = [rows.iloc[i : i + size].reset_index(drop=True) for i in range(0, len(rows), size)]
    out = list(smoothed(pieces, 0.5))
    assert list(map(len, out)) == list(map(len, pieces))
    pd.testing.assert_frame_equal(pd.concat(out, ignore_index=True), whole)


def test_a_single_blip_is_smoothed_away_and_geometry_stays(make_face):
    def face(i):
        return make_face(present=("AU04",) if i == 5 else (), box=(float(i), 0, 10, 10))

    rows = as_rows([FrameReading(i, i / 25, 64, 48, {1: face(i)}) for i in range(11)])
    (out,) = smoothed([rows], 0.2)
    assert rows["AU04_c"].tolist()[5] == 1
    assert out["AU04_c"].tolist() == [0] * 11
    assert out["AU04_r"].tolist() == [0.25] * 11
    assert out["face_x"].tolist() == list(range(11))
    assert out.dtypes.equals(rows.dtypes)


def test_smoothed_expressions_add_up_to_one_and_name_the_likeliest(frames):
    rows = as_rows(frames)
    rows.loc[2, ["p_happiness", "p_neutral", "expression"]] = [0.1, 0.9, "neutral"]
    (out,) = smoothed([rows], 1.0)
    seen = out[out["success"] == 1]
    assert (seen["p_happiness"] + seen["p_neutral"]).tolist() == pytest.approx([1] * len(seen))
    assert rows.loc[2, ["frame", "face_id"]].tolist() == [1, 1]
    assert seen["expression"].tolist() == ["happiness"] * len(seen)
    assert out["expression"].isna().sum() == 4


def test_no_smoothing_changes_nothing(frames, tmp_path):
    plain = write(tmp_path / "a.csv", frames)
    assert write(tmp_path / "b.csv", frames, smooth=0.01).read_bytes() == plain.read_bytes()


# -- summary


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_summary_counts_frames_and_faces(frames, tmp_path, monkeypatch, suffix):
    path = write(tmp_path / f"a{suffix}", frames)
    whole = summarise(path)
    assert (whole.frames, whole.with_face) == (12, 8)
    assert whole.seconds == pytest.approx(11 / 25)
    one, two = whole.tracks
    assert (one.number, one.frames, two.number, two.frames) == (1, 4, 2, 8)
    assert (one.first, one.last) == pytest.approx((0, 3 / 25))
    assert one.expression == "happiness"
    assert one.probability == pytest.approx(np.mean([0.5, 0.54, 0.58, 0.62]))
    assert two.peaks["AU12"] == pytest.approx(0.3 * 7 + 2)
    assert two.shares == pytest.approx({"AU12": 1.0, "AU04": 3 / 8})
    monkeypatch.setattr(clip_tables, "_ROWS", 3)
    assert summarise(path).tracks[1].shares == pytest.approx(two.shares)
    assert summarise(path).with_face == 8


def test_a_summary_of_a_clip_without_faces_has_no_tracks(frames, tmp_path):
    whole = summarise(write(tmp_path / "a.csv", frames[8:]))
    assert (whole.frames, whole.with_face, whole.tracks) == (4, 0, ())
