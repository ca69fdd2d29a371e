"""Valence and arousal as a picture."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from semeia.media.circumplex import NAMED, check_circumplex, plot_faces, plot_paths, points
from semeia.media.clip_tables import ClipTable, FrameReading, summarise
from semeia.media.surface import expression_colour
from semeia.records import FileReading, SemeiaError


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def near(picture, x, y, colour):
    """Whether the colour is met within three pixels of a place."""
    window = picture[y - 3 : y + 4, x - 3 : x + 4]
    return bool((np.abs(window - np.array(colour[:3])).sum(-1) < 40).any())


def test_a_face_stands_right_of_the_middle_where_it_is_pleasant_and_above_where_it_is_excited(make_face, tmp_path):
    faces = points([FileReading("a.png", 9, 9, (make_face(valence=0.5, arousal=0.8),))])
    plot_faces(faces, tmp_path / "plane.png")
    picture = pixels(tmp_path / "plane.png")
    assert picture.shape == (830, 760, 3)
    colour = expression_colour("happiness")
    assert near(picture, 380 + 145, 450 - 232, colour)
    assert not near(picture, 380 - 145, 450 + 232, colour)


def test_faces_are_named_by_number_in_one_photo_and_by_photo_in_many(make_face):
    one = FileReading("a/one.png", 9, 9, (make_face(valence=0.5, arousal=0), make_face(valence=0.5, arousal=0)))
    two = FileReading("a/two.png", 9, 9, (make_face(valence=0.1, arousal=0),))
    assert [p.name for p in points([one])] == ["1", "2"]
    assert [p.name for p in points([one, two])] == ["one 1", "one 2", "two"]
    assert {p.name for p in points([two] * (NAMED + 1))} == {""}


def test_faces_without_affect_are_left_out(make_face):
    assert points([FileReading("a.png", 9, 9, (make_face(valence=None, arousal=None),))]) == []


def test_an_empty_plane_can_be_drawn(tmp_path):
    plot_faces([], tmp_path / "plane.png")
    assert pixels(tmp_path / "plane.png").shape == (830, 760, 3)


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(SemeiaError, match=r"expected a name for the circumplex that ends in \.png"):
        check_circumplex(tmp_path / "plane.svg")


@pytest.fixture
def table(tmp_path, make_face):
    """Ten frames: a face that goes from the left to the right of the plane, away in two of them."""
    parts = ClipTable(tmp_path / "clip.csv", {})
    frames = []
    for i in range(10):
        face = {} if i in (4, 5) else {1: make_face(valence=-0.9 + 0.2 * i, arousal=0.5)}
        frames.append(FrameReading(i, i / 10, 64, 64, face))
    parts.add(frames, state={}, last=True)
    parts.finish()
    return tmp_path / "clip.csv"


def test_the_way_of_a_face_is_drawn_and_ends_in_a_ring(table, tmp_path):
    summary = summarise(table)
    assert summary.tracks[0].affect["arousal"] == pytest.approx(0.5)
    plot_paths(table, tmp_path / "way.png", summary=summary, title="clip.mp4")
    picture = pixels(tmp_path / "way.png")
    end = (round(380 + 290 * 0.9), round(450 - 290 * 0.5))
    ring = picture[end[1] - 8 : end[1] + 9, end[0] - 8 : end[0] + 9]
    assert (np.abs(ring - np.array((120, 190, 235))).sum(-1) < 30).sum() > 40
    # It was away between -0.3 and +0.3.
    middle = picture[450 - 145 - 2 : 450 - 145 + 3, 380 + 12 : 380 + 60]
    assert not (np.abs(middle - np.array((120, 190, 235))).sum(-1) < 150).any()


def test_a_table_without_affect_is_refused(table, tmp_path):
    rows = pd.read_csv(table).drop(columns=["valence", "arousal"])
    rows.to_csv(table, index=False)
    with pytest.raises(SemeiaError, match="expected columns valence and arousal, found none"):
        plot_paths(table, tmp_path / "way.png", summary=summarise(table), title="clip.mp4")
