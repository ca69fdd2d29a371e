"""Faces followed through clips: who keeps a number, what a kill changes (nothing), and a real face."""

import json
import subprocess
import sys
import time as clock
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from semeia import parts
from semeia.media.video import Video, write_video
from semeia.predict import clips
from semeia.predict.clips import Follower, analyze_clip
from semeia.predict.faces import FaceReader
from semeia.records import Box, Face, SemeiaError
from semeia.systems import qface

SIZE = (96, 64)
TINY = qface.Config(image_size=32, taps=(0, 1, 2), backbone_width=48, backbone_depth=3, width=48, heads=4, hidden=64)


def face(x, y=20.0, side=20.0, presence=1.0):
    """A face whose mesh is a grid over its box."""
    mesh = np.zeros((468, 3))
    mesh[:, 0] = x + np.tile(np.linspace(0, side, 26), 18)
    mesh[:, 1] = y + np.repeat(np.linspace(0, side, 18), 26)
    return Face(box=Box(x, y, side, side), score=0.9, presence=presence, mesh=mesh)


class Scene:
    """Stands in for the finder: the brightness of a picture says which frame it is, ``at`` which faces are there.

    Faces are followed for as long as their box overlaps where they were.
    """

    def __init__(self, at, *, detects=lambda frame: True):
        self.at, self.detects = at, detects
        self.looks = []

    def find(self, image, *, closely=True):
        frame = int(image[0, 0, 0])
        self.looks.append((frame, closely))
        return tuple(self.at(frame)) if self.detects(frame) else ()

    def follow(self, image, meshes):
        here = self.at(int(image[0, 0, 0]))
        centres = [mesh[:, :2].mean(axis=0) for mesh in meshes]
        return tuple(
            min(here, key=lambda f: np.abs(f.mesh[:, :2].mean(axis=0) - c).sum(), default=None) for c in centres
        )


def picture(frame, size=SIZE):
    return np.full((size[1], size[0], 3), frame, np.uint8)


def follow(scene, frames, *, rate=25, **how):
    """Numbers and places of the faces of each frame."""
    follower = Follower(scene, **how)
    return [
        {n: round(f.box.x) for n, f in follower.step(picture(frame), frame / rate).items()} for frame in range(frames)
    ]


# -- numbers


def test_a_moving_face_keeps_its_number_and_its_confidence_is_its_presence():
    scene = Scene(lambda i: [face(10 + 2 * i, presence=0.7)])
    assert follow(scene, 20) == [{1: 10 + 2 * i} for i in range(20)]
    (only,) = Follower(scene).step(picture(3), 0.0).values()
    assert only.score == 0.7


def test_faces_are_numbered_as_they_appear():
    scene = Scene(lambda i: [face(10, side=24), face(60)] if i > 0 else [face(60)])
    assert follow(scene, 8)[-1] == {1: 60, 2: 10}


def test_two_faces_that_pass_each_other_keep_their_numbers():
    scene = Scene(lambda i: [face(10 + 3 * i, y=5), face(70 - 3 * i, y=35)])
    assert follow(scene, 20)[-1] == {1: 67, 2: 13}


@pytest.mark.parametrize(("away", "x", "number"), [(15, 12, 1), (40, 12, 2), (15, 60, 2)])
def test_a_face_that_returns_keeps_its_number_only_soon_and_near(away, x, number):
    scene = Scene(lambda i: [face(10)] if i < 5 else [] if i < 5 + away else [face(x)])
    seen = follow(scene, 10 + away, gap=1.0)
    assert seen[5 : 5 + away] == [{}] * away
    assert seen[5 + away :] == [{number: x}] * 5


def test_without_a_gap_a_face_that_was_away_is_new():
    scene = Scene(lambda i: [face(10)] if i != 4 else [])
    assert follow(scene, 6, gap=0.0) == [{1: 10}] * 4 + [{}] + [{2: 10}]


def test_a_face_that_covers_another_leaves_one_number():
    scene = Scene(lambda i: [face(10), face(60 - 5 * i)] if i < 8 else [face(10)])
    assert follow(scene, 16)[-1] == {1: 10}


# -- what the detector is asked


def test_the_detector_looks_now_and_then_while_a_face_is_followed():
    scene = Scene(lambda i: [face(10)])
    follow(scene, 100)
    closely = [frame for frame, close in scene.looks if close]
    assert closely == [0, 25, 50, 75]
    assert len(scene.looks) == 20


def test_the_detector_looks_at_every_frame_while_no_face_is_there():
    scene = Scene(lambda i: [])
    follow(scene, 50)
    assert [frame for frame, _ in scene.looks] == list(range(50))
    assert sum(close for _, close in scene.looks) == 4


def test_a_face_that_jumps_is_found_in_the_same_frame():
    scene = Scene(lambda i: [face(10 if i < 3 else 60)])
    assert follow(scene, 4) == [{1: 10}] * 3 + [{2: 60}]


def test_a_face_that_the_detector_misses_is_followed_and_at_last_given_up():
    scene = Scene(lambda i: [face(10)], detects=lambda frame: frame < 5)
    seen = follow(scene, 150)
    assert seen[100] == {1: 10}
    assert seen[-1] == {}


def test_with_few_frames_a_second_each_is_found_anew():
    scene = Scene(lambda i: [face(10)])
    assert follow(scene, 6, rate=2) == [{1: 10}] * 6
    assert scene.looks == [(i, True) for i in range(6)]


def test_faces_stay_where_a_clip_changes_its_size():
    follower = Follower(Scene(lambda i: [face(10 * (1 if i < 3 else 2), y=20 * (1 if i < 3 else 2))]))
    sizes = [SIZE] * 3 + [(192, 128)] * 3
    seen = [follower.step(picture(i, size), i / 25) for i, size in enumerate(sizes)]
    assert [list(faces) for faces in seen] == [[1]] * 6


def test_a_follower_goes_on_from_its_state_as_if_nothing_had_been():
    def at(i):
        return [face(10 + 0.1 * i, presence=0.9), *([face(60)] if 20 < i < 60 else [])]

    whole = Follower(Scene(at))
    expected = [whole.step(picture(i), i / 30) for i in range(90)]
    halves = Follower(Scene(at))
    for i in range(33):
        halves.step(picture(i), i / 30)
    state = json.loads(json.dumps(halves.state()))
    again = Follower(Scene(at), state=state)
    assert again.state() == halves.state()
    assert [again.step(picture(i), i / 30) for i in range(33, 90)] == expected[33:]


# -- from a file to a table


def tiny_reader():
    torch.manual_seed(0)
    scene = Scene(lambda i: [face(10 + 0.2 * i)] if i < 150 else [])
    return FaceReader(qface.build(TINY), scene, weights="tiny", device=torch.device("cpu"))


@pytest.fixture
def reader(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(clips, "PART", 8)
    monkeypatch.setattr(clips, "BATCH", 5)
    monkeypatch.setattr(FaceReader, "load", classmethod(lambda cls, *_: tiny_reader()))
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def clip(tmp_path):
    """Thirty frames at 25 a second, each 8 brighter; a face is there while they are dark."""
    with write_video(tmp_path / "clip.mp4", size=SIZE) as add:
        for i in range(30):
            add(picture(8 * i), i / 25)
    return tmp_path / "clip.mp4"


@pytest.mark.usefixtures("reader")
def test_a_clip_becomes_a_table_with_a_row_for_every_frame(clip, tmp_path):
    done = analyze_clip(clip, tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["frame"].tolist() == list(range(30))
    assert table["timestamp"].tolist() == pytest.approx([i / 25 for i in range(30)], abs=1e-3)
    assert table["success"].sum() == done.table.with_face
    assert 15 < done.table.with_face < 23
    dark = table[table["success"] == 0]
    assert dark["AU12_r"].isna().all()
    assert (done.resumed, done.damage, done.written) == (0, None, (str(tmp_path / "out.csv"),))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.mp4", "out.csv"]


@pytest.mark.usefixtures("reader")
def test_batches_across_frames_read_what_each_frame_alone_would(clip, tmp_path, monkeypatch):
    analyze_clip(clip, tmp_path / "a.parquet")
    monkeypatch.setattr(clips, "BATCH", 1)
    analyze_clip(clip, tmp_path / "b.parquet")
    tables = [pd.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet")]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("reader")
def test_fewer_frames_a_second_read_fewer(clip, tmp_path):
    analyze_clip(clip, tmp_path / "out.parquet", fps=5)
    assert pd.read_parquet(tmp_path / "out.parquet")["frame"].tolist() == [0, 5, 10, 15, 20, 25]


@pytest.mark.usefixtures("reader")
def test_pictures_are_made_beside_the_table_and_progress_is_told(clip, tmp_path):
    told = []
    done = analyze_clip(
        clip,
        annotate=tmp_path / "a.mp4",
        plots=tmp_path / "p.png",
        smooth=0.2,
        on_frame=lambda *progress: told.append(progress),
    )
    assert told == [(i, 30) for i in range(1, 31)]
    assert done.written == (str(tmp_path / "p.png"), str(tmp_path / "a.mp4"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "clip.mp4", "p.png"]
    with Video(tmp_path / "a.mp4") as video:
        assert len(list(video.frames())) == 30


def stop_at(frame):
    def on_frame(number, _):
        if number == frame:
            raise KeyboardInterrupt

    return on_frame


@pytest.mark.usefixtures("reader")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("frame", [1, 8, 9, 20, 30])
def test_an_interrupted_run_goes_on_and_writes_the_same_bytes(clip, tmp_path, suffix, frame):
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    analyze_clip(clip, whole)
    with pytest.raises(KeyboardInterrupt):
        analyze_clip(clip, cut, on_frame=stop_at(frame))
    assert not cut.exists()
    done = analyze_clip(clip, cut)
    assert done.resumed == (frame - 1) // 8 * 8
    assert cut.read_bytes() == whole.read_bytes()


def test_a_killed_run_goes_on_and_writes_the_same_bytes(clip, tmp_path, reader):
    analyze_clip(clip, tmp_path / "whole.parquet", smooth=0.1)
    out = tmp_path / "out.parquet"
    run = subprocess.Popen([sys.executable, __file__, str(clip), str(out)])
    patience = clock.monotonic() + 180
    while not (tmp_path / ".out.parquet.parts" / "000001.parquet").exists() and clock.monotonic() < patience:
        assert run.poll() is None
        clock.sleep(0.02)
    run.kill()
    run.wait()
    assert not out.exists()
    done = analyze_clip(clip, out, smooth=0.1)
    assert done.resumed >= 16
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.mp4", "out.parquet", "whole.parquet"]


@pytest.mark.usefixtures("reader")
def test_a_run_that_only_lacked_its_pictures_reads_nothing_again(clip, tmp_path, monkeypatch):
    def full(*_, **__):
        raise SemeiaError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(clips, "annotate_clip", full)
        with pytest.raises(SemeiaError, match="no space"):
            analyze_clip(clip, tmp_path / "out.csv", annotate=tmp_path / "a.mp4")
    told = []
    done = analyze_clip(clip, tmp_path / "out.csv", annotate=tmp_path / "a.mp4", on_frame=lambda *_: told.append(_))
    assert (done.resumed, told) == (30, [])
    assert (tmp_path / "a.mp4").exists()


@pytest.mark.usefixtures("reader")
def test_another_setting_begins_anew(clip, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        analyze_clip(clip, tmp_path / "out.csv", on_frame=stop_at(20))
    assert analyze_clip(clip, tmp_path / "out.csv", gap=2.0).resumed == 0


@pytest.mark.usefixtures("reader")
def test_a_clip_that_ends_early_is_read_and_what_is_wrong_is_told(clip, tmp_path):
    with write_video(tmp_path / "long.mkv", size=SIZE) as add:
        for i in range(100):
            add(np.random.default_rng(i).integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8), i / 25)
    content = (tmp_path / "long.mkv").read_bytes()
    (tmp_path / "long.mkv").write_bytes(content[: len(content) // 2])
    done = analyze_clip(tmp_path / "long.mkv", tmp_path / "out.csv")
    assert 30 < done.table.frames < 70
    assert "its pictures end after" in done.damage


@pytest.mark.usefixtures("reader")
def test_what_is_no_clip_leaves_nothing_behind(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no clip" * 100)
    with pytest.raises(SemeiaError, match="expected a video"):
        analyze_clip(tmp_path / "clip.mp4", tmp_path / "out.csv")
    assert [file.name for file in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ({"fps": 0.0}, "fps: expected"),
        ({"fps": float("nan")}, "fps: expected"),
        ({"smooth": -1.0}, "smooth: expected"),
        ({"gap": float("inf")}, "gap: expected"),
        ({"out": "out.json"}, r"ends in \.csv or \.parquet"),
        ({"annotate": "out.gif"}, r"ends in \.mp4"),
        ({"annotate": "clip.mp4"}, "is the clip that is to be read"),
        ({"plots": "plots.jpg"}, r"ends in \.png"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_is_read(tmp_path, monkeypatch, how, complaint):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SemeiaError, match=complaint):
        analyze_clip("clip.mp4", **how)


def test_a_real_face_is_followed_as_it_would_be_found(tmp_path):
    data = pytest.importorskip("skimage.data")
    try:
        parts.fetch("face-detector")
        parts.fetch("face-mesh")
    except SemeiaError as error:
        pytest.skip(str(error))
    head = np.asarray(Image.fromarray(data.astronaut()).resize((300, 300)))
    with write_video(tmp_path / "clip.mp4", size=(400, 304), rate=25) as add:
        for i in range(8):
            frame = np.full((304, 400, 3), 128, np.uint8)
            if i != 5:
                frame[4:, 5 * i : 5 * i + 300] = head
            add(frame, i / 25)
    done = analyze_clip(tmp_path / "clip.mp4", tmp_path / "out.parquet")
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table["success"].tolist() == [1, 1, 1, 1, 1, 0, 1, 1]
    assert [track.number for track in done.table.tracks] == [1]
    seen = table[table["success"] == 1]
    assert (seen["expression"] == "happiness").all()
    assert (seen["AU12_c"] == 1).all()
    assert (seen["confidence"] > 0.9).all()
    moved = seen["face_x"].to_numpy() - 5 * seen["frame"].to_numpy()
    assert np.ptp(moved) < 4


if __name__ == "__main__":
    # The run that a test kills: slow enough to be caught.
    torch.set_num_threads(1)
    clips.PART, clips.BATCH = 8, 5
    FaceReader.load = classmethod(lambda cls, *_: tiny_reader())
    analyze_clip(Path(sys.argv[1]), Path(sys.argv[2]), smooth=0.1, on_frame=lambda *_: clock.sleep(0.1))
