"""Strips over time, and frames with readings drawn in."""

import numpy as np
import pytest
from PIL import Image

from semeia.media import clip_plots
from semeia.media.clip_plots import (
    COLUMNS,
    LOUD,
    QUIET,
    annotate_clip,
    check_plots,
    curves,
    filled,
    plot_clip,
    stacked,
)
from semeia.media.clip_tables import ClipTable, FrameReading, summarise
from semeia.media.surface import CARD
from semeia.media.video import Video, write_video
from semeia.records import SemeiaError

SIZE = (96, 64)


@pytest.fixture
def clip(tmp_path):
    """Ten frames, ten a second, each brighter than the one before."""
    with write_video(tmp_path / "clip.mp4", size=SIZE, rate=10) as add:
        for i in range(10):
            add(np.full((SIZE[1], SIZE[0], 3), 40 + 15 * i, np.uint8), i / 10)
    return tmp_path / "clip.mp4"


@pytest.fixture
def table(tmp_path, make_face):
    """Rows of that clip: a face in its first five frames, a second one in the last two."""

    def faces(i):
        first = {1: make_face(box=(10.0 + i, 10, 20, 30), present=("AU12",))} if i < 5 else {}
        return first | ({2: make_face(box=(50, 5, 20, 30), present=("AU04",))} if i > 7 else {})

    parts = ClipTable(tmp_path / "clip.csv", {})
    parts.add([FrameReading(i, i / 10, *SIZE, faces(i)) for i in range(10)], state={}, last=True)
    parts.finish()
    parts.remove()
    return tmp_path / "clip.csv"


def test_a_strip_is_filled_to_its_height_and_empty_without_a_face():
    values, present = np.array([2.5, 5.0, np.nan, 2.5]), np.array([True, True, False, False])
    strip = filled(values, present, [], height=10)
    assert strip.shape == (10, 4, 3)
    assert (strip[5:, 0] == LOUD).all()
    assert (strip[:5, 0] == CARD).all()
    assert (strip[:, 1] == LOUD).all()
    assert (strip[:, 2] == CARD).all()
    assert (strip[5:, 3] == QUIET).all()


def test_a_line_crosses_a_strip_at_its_height():
    strip = filled(np.zeros(1), np.zeros(1, bool), [(np.array([5.0]), (255, 0, 0))], height=10)
    assert strip[0, 0, 0] > 200
    assert (strip[1:, 0] == CARD).all()


def test_shares_are_stacked_from_the_bottom_in_order():
    strip = stacked(np.array([[0.25, np.nan], [0.75, np.nan]]), [(255, 0, 0), (0, 0, 255)], height=8)
    assert (strip[6:, 0] == (255, 0, 0)).all()
    assert (strip[:6, 0] == (0, 0, 255)).all()
    assert (strip[:, 1] == CARD).all()


def test_each_frame_fills_its_share_of_the_time_axis(table):
    summary = summarise(table)
    means = clip_plots.over_time(table, summary, [1, 2])
    seen = {face: np.flatnonzero(~np.isnan(values["AU12_r"])) for face, values in means.items()}
    assert (seen[1][0], seen[1][-1] + 1) == (0, COLUMNS // 2)
    assert (seen[2][0], seen[2][-1] + 1) == (COLUMNS * 8 // 10, COLUMNS)
    assert np.nanmax(means[1]["AU12_r"]) == pytest.approx(3)
    assert np.nanmax(means[2]["AU12_r"]) == pytest.approx(0.25)


def test_frames_that_share_a_column_are_averaged(table, monkeypatch):
    monkeypatch.setattr(clip_plots, "COLUMNS", 2)
    means = clip_plots.over_time(table, summarise(table), [1])
    assert means[1]["AU12_r"][0] == pytest.approx(3)
    assert np.isnan(means[1]["AU12_r"][1])


def test_plots_are_written_with_a_block_for_each_face(table, tmp_path):
    plot_clip(table, tmp_path / "p.png", summary=summarise(table), title="clip.mp4")
    both = Image.open(tmp_path / "p.png")
    assert both.width > COLUMNS
    assert np.asarray(both).std() > 5
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_plots_of_a_clip_without_a_face_say_so(tmp_path):
    parts = ClipTable(tmp_path / "clip.csv", {})
    parts.add([FrameReading(0, 0.0, *SIZE)], state={}, last=True)
    parts.finish()
    plot_clip(tmp_path / "clip.csv", tmp_path / "p.png", summary=summarise(tmp_path / "clip.csv"), title="clip.mp4")
    assert Image.open(tmp_path / "p.png").height < 200


def test_a_clip_of_one_frame_has_plots(tmp_path, make_face):
    parts = ClipTable(tmp_path / "clip.csv", {})
    parts.add([FrameReading(0, 0.0, *SIZE, {1: make_face(sides=False)})], state={}, last=True)
    parts.finish()
    plot_clip(tmp_path / "clip.csv", tmp_path / "p.png", summary=summarise(tmp_path / "clip.csv"), title="a" * 300)
    assert (tmp_path / "p.png").stat().st_size > 0


def test_valence_and_arousal_have_a_strip_of_their_own_where_they_were_read(tmp_path, make_face):
    heights = []
    for name, felt in (("without", {"valence": None, "arousal": None}), ("with", {})):
        parts = ClipTable(tmp_path / f"{name}.csv", {})
        parts.add([FrameReading(i, i / 5, *SIZE, {1: make_face(**felt)}) for i in range(3)], state={}, last=True)
        parts.finish()
        table, out = tmp_path / f"{name}.csv", tmp_path / f"{name}.png"
        plot_clip(table, out, summary=summarise(table), title="clip.mp4")
        heights.append(Image.open(out).height)
    assert heights[1] > heights[0]


def test_a_curve_stands_above_the_middle_where_it_is_positive_and_nowhere_without_a_face():
    colour = (255, 0, 0)
    strip = curves([(np.array([0.5, 0.5, -0.5, np.nan]), colour)], height=41)
    red = (strip == colour).all(-1)
    assert np.flatnonzero(red[:, 0]).mean() == pytest.approx(10, abs=1)
    assert np.flatnonzero(red[:, 2]).max() == 30
    assert not red[:, 3].any()


def test_another_ending_for_plots_is_refused(tmp_path):
    with pytest.raises(SemeiaError, match=r"ends in \.png"):
        check_plots(tmp_path / "p.svg")


def test_an_annotated_clip_keeps_frames_and_times_and_gets_cards(clip, table, tmp_path):
    annotate_clip(clip, table, tmp_path / "out.mp4", summary=summarise(table))
    with Video(clip) as before, Video(tmp_path / "out.mp4") as after:
        pairs = list(zip(before.frames(), after.frames(), strict=True))
    assert [new.time for _, new in pairs] == pytest.approx([old.time for old, _ in pairs], abs=1e-3)
    for old, new in pairs:
        assert new.image.shape[0] == SIZE[1]
        assert new.image.shape[1] > SIZE[0]
        assert new.image[-4:, :8].mean() == pytest.approx(old.image[-4:, :8].mean(), abs=8)
    with_face, without = pairs[0], pairs[6]
    marked = np.abs(with_face[1].image[:, : SIZE[0]].astype(int) - with_face[0].image).max()
    clean = np.abs(without[1].image[:, : SIZE[0]].astype(int) - without[0].image).max()
    assert marked > 60
    assert clean < 30


def test_an_annotated_clip_of_fewer_frames_has_those(clip, make_face, tmp_path):
    parts = ClipTable(tmp_path / "few.parquet", {})
    parts.add([FrameReading(i, i / 10, *SIZE, {1: make_face()}) for i in (0, 5)], state={}, last=True)
    parts.finish()
    annotate_clip(
        clip, tmp_path / "few.parquet", tmp_path / "o.mp4", summary=summarise(tmp_path / "few.parquet"), fps=2
    )
    with Video(tmp_path / "o.mp4") as video:
        assert [frame.time for frame in video.frames()] == pytest.approx([0, 0.5], abs=1e-3)


def test_a_table_of_another_clip_is_refused_and_nothing_is_written(clip, table, tmp_path):
    with pytest.raises(SemeiaError, match=r"clip\.csv: expected a row for frame 5"):
        annotate_clip(clip, table, tmp_path / "out.mp4", summary=summarise(table), fps=2)
    assert not (tmp_path / "out.mp4").exists()


def test_a_frame_of_another_size_is_fitted_into_the_first(table):
    sheet = clip_plots._sheet(summarise(table), SIZE)
    drawn = clip_plots.draw_frame(np.full((128, 96, 3), 200, np.uint8), [], sheet)
    assert drawn.shape == (sheet.whole[1], sheet.whole[0], 3)
    assert (drawn[30, :40] > 190).all()
    assert (drawn[30, 60 : SIZE[0]] < 60).all()


@pytest.mark.parametrize("box", [(-50.0, -50.0, 20.0, 20.0), (90.0, 60.0, 500.0, 500.0), (10.0, 10.0, 0.0, 0.0)])
def test_a_box_beyond_the_picture_can_be_drawn(table, box):
    row = {"face_id": 1, "expression": "fear", "p_fear": 0.5, "AU12_r": 9.0, "AU12_c": 1, "AU04_r": 0.0, "AU04_c": 0}
    row |= dict(zip(("face_x", "face_y", "face_w", "face_h"), box, strict=True))
    sheet = clip_plots._Sheet(SIZE, 6.0, {1: ("AU04", "AU12"), 2: ()})
    drawn = clip_plots.draw_frame(np.zeros((SIZE[1], SIZE[0], 3), np.uint8), [row], sheet)
    assert drawn.shape == (sheet.whole[1], sheet.whole[0], 3)
