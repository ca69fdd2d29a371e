"""Clips of every kind that people have, and files that are none."""

from fractions import Fraction

import av
import numpy as np
import pytest

from semeia.media import video
from semeia.media.video import Video, check_video, turned, write_video
from semeia.records import SemeiaError

SIZE = (64, 48)


def levels(n):
    """Brightness of each frame: it tells which frame is which."""
    return [20 + 200 * i // max(n - 1, 1) for i in range(n)]


def make(path, pictures, *, codec="mpeg4", rate=25, times=None, options=None, setup=None, pix_fmt="yuv420p"):
    """Write pictures (H, W, 3) as they are, with times in milliseconds if given."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"qscale": "2"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if setup is not None:
            setup(stream)
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[i], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def grey(n=12, size=SIZE):
    return [np.full((size[1], size[0], 3), level, np.uint8) for level in levels(n)]


def noise(n=12, size=SIZE):
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 256, (size[1], size[0] + 4 * n, 3), np.uint8)
    return [ground[:, 4 * i : 4 * i + size[0]] for i in range(n)]


def read(path, **how):
    with Video(path) as clip:
        return list(clip.frames(**how))


def sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi", "ts"])
def test_every_container_gives_all_frames_in_order_from_time_zero(tmp_path, suffix):
    frames = read(make(tmp_path / f"clip.{suffix}", grey()))
    assert [f.number for f in frames] == list(range(12))
    assert [f.time for f in frames] == pytest.approx([i / 25 for i in range(12)], abs=2e-3)
    assert [f.image.mean() for f in frames] == pytest.approx(levels(12), abs=6)
    assert all(f.image.shape == (48, 64, 3) and f.image.dtype == np.uint8 for f in frames)


def test_colours_are_red_green_blue(tmp_path):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32] = [250, 10, 10]
    (frame,) = read(make(tmp_path / "clip.mp4", [picture]))
    assert frame.image[8, 8] == pytest.approx([250, 10, 10], abs=12)


def test_the_times_of_a_variable_rate_are_kept(tmp_path):
    times = [0, 40, 80, 500, 540, 2000]
    frames = read(make(tmp_path / "clip.mp4", grey(6), times=times))
    assert [f.time for f in frames] == pytest.approx([t / 1000 for t in times])


def test_a_bare_stream_without_times_gets_them_from_its_rate(tmp_path):
    frames = read(make(tmp_path / "clip.m2v", grey(), codec="mpeg2video").rename(tmp_path / "clip.mpg"))
    assert [f.time for f in frames] == pytest.approx([i / 25 for i in range(12)], abs=1e-6)


def test_times_grow_even_where_the_file_goes_back(tmp_path):
    one = make(tmp_path / "one.ts", grey()).read_bytes()
    (tmp_path / "two.ts").write_bytes(one + one)
    times = [f.time for f in read(tmp_path / "two.ts")]
    assert len(times) > 20
    assert (np.diff(times) > 0).all()


def h264(stream):
    stream.codec_context.gop_size = 6


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="this FFmpeg writes no H.264")
def test_frames_of_an_avi_with_reordered_frames_grow_in_time(tmp_path):
    frames = read(make(tmp_path / "clip.avi", grey(), codec="libx264", options={"bf": "3"}, setup=h264))
    assert [f.image.mean() for f in frames] == pytest.approx(levels(12), abs=4)
    assert np.diff([f.time for f in frames]) == pytest.approx([0.04] * 11, abs=0.021)


# -- upright


def corners(image):
    """Mean brightness of the quarters: top left, top right, bottom left, bottom right."""
    h, w = image.shape[0] // 2, image.shape[1] // 2
    return [int(part.mean()) for part in (image[:h, :w], image[:h, w:], image[h:, :w], image[h:, w:])]


@pytest.mark.parametrize("angle", [0, 90, 180, -90])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_phone_video_stands_upright(tmp_path, angle, mirrored):
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32] = 240, 160, 80
    path = make(
        tmp_path / "clip.mp4", [picture], setup=lambda stream: stream.set_display_rotation(angle, hflip=mirrored)
    )
    (frame,) = read(path)
    expected = np.rot90(picture, angle // 90)
    expected = expected[:, ::-1] if mirrored else expected
    assert frame.image.shape == expected.shape
    assert corners(frame.image) == pytest.approx(corners(expected), abs=6)
    assert frame.image.flags["C_CONTIGUOUS"]


def test_a_matrix_that_maps_all_to_one_line_turns_nothing():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (turned(image, (0, 0, 0, 0)) == image).all()
    assert (turned(image, (65536, 65536, 65536, 65536)) == image).all()


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    def wide(stream):
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)

    (frame,) = read(make(tmp_path / "clip.mkv", grey(1), setup=wide))
    assert frame.image.shape == (48, 96, 3)


def test_a_change_of_size_within_a_clip_is_followed(tmp_path):
    small = make(tmp_path / "a.m2v", grey(4), codec="mpeg2video").read_bytes()
    large = make(tmp_path / "b.m2v", grey(4, (128, 96)), codec="mpeg2video").read_bytes()
    (tmp_path / "clip.mpg").write_bytes(small + large)
    shapes = [f.image.shape for f in read(tmp_path / "clip.mpg")]
    assert shapes[:3] == [(48, 64, 3)] * 3
    assert shapes[-4:] == [(96, 128, 3)] * 4


# -- fewer frames


def nearest(times, fps):
    """The slow twin: for each multiple the nearest frame, the earlier of two."""
    multiples = range(int(times[-1] * fps + 1e-9) + 1)
    return sorted({min(range(len(times)), key=lambda i: (abs(times[i] - k / fps), i)) for k in multiples})


@pytest.mark.parametrize("fps", [0.5, 3, 10, 24, 1000])
def test_sampling_takes_the_frame_nearest_to_each_multiple(tmp_path, fps):
    rng = np.random.default_rng(1)
    times = [0, *(np.cumsum(rng.integers(8, 300, 29))).tolist()]
    path = make(tmp_path / "clip.mkv", grey(30), times=times)
    assert [f.number for f in read(path, fps=fps)] == nearest([t / 1000 for t in times], fps)


def test_sampling_an_even_clip_takes_every_fifth_frame(tmp_path):
    path = make(tmp_path / "clip.mp4", grey(20))
    assert [f.number for f in read(path, fps=5)] == [0, 5, 10, 15]


@pytest.mark.parametrize("fps", [None, 10])
def test_frames_after_a_skip_are_the_same_frames(tmp_path, fps):
    path = make(tmp_path / "clip.mp4", noise(20))
    every, later = read(path, fps=fps), read(path, fps=fps, skip=3)
    assert [f[:2] for f in later] == [f[:2] for f in every[3:]]
    assert all((a.image == b.image).all() for a, b in zip(later, every[3:], strict=True))
    assert read(path, skip=99) == []


def test_the_number_of_frames_is_known_before_where_the_file_tells(tmp_path):
    for suffix in ("mp4", "mkv"):
        with Video(make(tmp_path / f"clip.{suffix}", grey(50))) as clip:
            assert clip.expected() == pytest.approx(50, abs=1)
            assert clip.expected(5) == pytest.approx(10, abs=1)


# -- what is no clip, or a broken one


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("missing.mp4", None, "no such file"),
        ("empty.mp4", b"", "an empty file"),
        ("text.mp4", b"hello, world\n" * 100, "another kind of file"),
        ("noise.mp4", np.random.default_rng(0).bytes(50_000), "another kind of file"),
        ("list.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1/a.ts\n", "another kind of file"),
    ],
)
def test_what_is_no_video_is_refused_in_one_line(tmp_path, name, content, found):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SemeiaError, match=found) as refusal:
        Video(path)
    assert str(refusal.value).startswith(str(path))
    assert "\n" not in str(refusal.value)


def test_a_folder_is_no_video(tmp_path):
    with pytest.raises(SemeiaError, match="found a folder"):
        Video(tmp_path)


def test_a_playlist_opens_no_other_file(tmp_path):
    make(tmp_path / "secret.mkv", grey())
    (tmp_path / "clip.mp4").write_text("ffconcat version 1.0\nfile secret.mkv\n")
    with pytest.raises(SemeiaError, match="another kind of file"):
        Video(tmp_path / "clip.mp4")


def test_sound_alone_is_no_video(tmp_path):
    with pytest.raises(SemeiaError, match="expected a video, found audio alone"):
        Video(sound(tmp_path / "clip.mov"))


def test_the_cover_of_a_song_is_no_video(tmp_path):
    def cover(stream):
        stream.disposition = av.stream.Disposition.attached_pic

    with pytest.raises(SemeiaError, match="expected a video, found nothing to show"):
        Video(make(tmp_path / "song.mp4", grey(1), codec="mjpeg", pix_fmt="yuvj420p", setup=cover))


def test_a_clip_without_frames_is_refused(tmp_path):
    path = make(tmp_path / "clip.mp4", noise())
    content = path.read_bytes()
    start, end = content.index(b"mdat") + 4, content.index(b"moov") - 4
    path.write_bytes(content[:start] + bytes(end - start) + content[end:])
    with pytest.raises(SemeiaError, match="no frame in it that can be decoded"):
        read(path)


def test_a_recording_cut_off_before_its_index_is_refused(tmp_path):
    path = make(tmp_path / "clip.mp4", noise())
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(SemeiaError, match="cut off before its index was written"):
        Video(path)


def test_a_clip_that_ends_early_gives_its_frames_and_says_so(tmp_path):
    path = make(tmp_path / "clip.mkv", noise(100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Video(path) as clip:
        frames = list(clip.frames())
        assert 30 < len(frames) < 70
        assert "its pictures end after" in clip.damage()
        assert "of the 4.0 seconds" in clip.damage()


@pytest.mark.parametrize("codec", [name for name in ("mpeg4", "libx264") if name in av.codecs_available])
def test_a_damaged_clip_gives_the_same_frames_each_time_and_says_what_is_wrong(tmp_path, codec):
    path = make(tmp_path / "clip.ts", noise(60), codec=codec)
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for place in rng.integers(len(content) // 4, len(content) - 2000, 80):
        content[place] = int(rng.integers(256))
    path.write_bytes(content)
    with Video(path) as clip:
        first = list(clip.frames())
        assert clip.damage() is not None
        assert clip.damage().startswith(f"{path}: damaged or cut off:")
    assert len(first) > 10
    for _ in range(3):
        again = read(path)
        assert [f[:2] for f in again] == [f[:2] for f in first]
        assert all((a.image == b.image).all() for a, b in zip(again, first, strict=True))


def test_a_clip_in_order_has_no_damage(tmp_path):
    with Video(make(tmp_path / "clip.mp4", grey())) as clip:
        list(clip.frames())
        assert clip.damage() is None


def test_too_large_frames_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = make(tmp_path / "clip.mp4", grey())
    monkeypatch.setattr(video, "MAX_PIXELS", 1000)
    with pytest.raises(SemeiaError, match=r"at most 1,000 pixels, found 64 x 48"):
        Video(path)


# -- writing


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("encoders", [None, "mpeg4"])
def test_what_is_written_is_read_back_with_its_times(tmp_path, monkeypatch, suffix, encoders):
    if encoders:
        monkeypatch.setattr(video, "_ENCODERS", video._ENCODERS[-1:])
    times = [0.0, 0.04, 0.1, 0.5, 0.54]
    with write_video(tmp_path / f"out.{suffix}", size=SIZE) as add:
        for picture, time in zip(grey(5), times, strict=True):
            add(picture, time)
    frames = read(tmp_path / f"out.{suffix}")
    assert [f.time for f in frames] == pytest.approx(times, abs=1.5e-3)
    assert [f.image.mean() for f in frames] == pytest.approx(levels(5), abs=4)
    assert [file.name for file in tmp_path.iterdir()] == [f"out.{suffix}"]


def test_odd_sides_grow_by_a_pixel(tmp_path):
    with write_video(tmp_path / "out.mp4", size=(63, 47)) as add:
        add(np.full((47, 63, 3), 128, np.uint8), 0.0)
    assert read(tmp_path / "out.mp4")[0].image.shape == (48, 64, 3)


def test_nothing_is_left_where_writing_was_cut_short(tmp_path):
    def cut_short():
        with write_video(tmp_path / "out.mp4", size=SIZE) as add:
            add(grey()[0], 0.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(SemeiaError, match=r"ends in \.mp4, \.mov, \.mkv"):
        check_video(tmp_path / "out.avi")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with (
        pytest.raises(SemeiaError, match=r"out\.mp4: cannot be written"),
        write_video(tmp_path / "nowhere" / "out.mp4", size=SIZE),
    ):
        pass
