"""Video from a user's files, and back.

Every frame becomes (H, W, 3) uint8 RGB as a person sees it: turned and mirrored as the display matrix of the file
says, and stretched where its pixels are not square. A frame is known by its number, from 0 in the order of showing, and
by its time in seconds after the first frame. Frames come one by one, so that a clip takes the memory of a few frames
however long it is.

Decoding runs on one thread: with several, FFmpeg hides damage in another way at each run (measured: 11 different
results in 15 runs over one damaged H.264 file), and a reading could not be repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import av
import numpy as np
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from semeia.files import whole_file
from semeia.records import SemeiaError

SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv"}
    | {".ogv", ".h264", ".hevc"}
)
"""Endings, in lower case, of the files that are taken for video."""

MAX_PIXELS = 40_000_000
"""Largest frame that is decoded: 8K video has 33 million pixels."""

_DEMUXERS = "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,mjpeg,ivf,mxf,nut"
"""Containers that are opened. Playlists and lists of pictures are not among them: they would open other files."""

_USUAL_RATE = Fraction(25)
"""Frames a second of a file that tells neither times nor a rate."""

_PATIENCE = 100
"""Damaged places in a row after which the rest of a file is given up."""

_TICKS = Fraction(1, 60_000)
"""Unit of the times that are written; MPEG-4 allows no finer one, and it divides all usual frame rates."""

_WRITABLE = (".mp4", ".mov", ".mkv")
_ENCODERS: tuple[tuple[str, dict[str, str]], ...] = (
    ("libx264", {"crf": "20", "preset": "veryfast"}),
    ("mpeg4", {"qscale": "3"}),
)
"""H.264 where this build of FFmpeg has it."""


class Frame(NamedTuple):
    """A frame: ``image`` is (H, W, 3) uint8, RGB, upright; ``time`` is in seconds after the first frame."""

    number: int
    time: float
    image: np.ndarray


class Video:
    """A video file, open for reading its frames once; a context manager.

    Args:
        path: The file; its first bytes decide what it is, not its name.

    Attributes:
        rate: Frames a second, on average.
        seconds: How long the file says that it is, or None.
        skipped: Packets that could not be decoded so far; their frames are missing.
        damaged: Frames so far that were decoded with errors.

    Raises:
        SemeiaError: The file is missing, unreadable, empty, no video, sound alone, or too large a picture.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        _check(self.path)
        options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
        try:
            self._container = av.open(str(self.path), "r", container_options=options, metadata_errors="replace")
        except av.FFmpegError as error:
            if isinstance(error, PermissionError):
                raise SemeiaError(f"{self.path}: cannot be read (permission denied)") from error
            raise SemeiaError(
                f"{self.path}: expected a video, found another kind of file, or a recording that was damaged or cut "
                f"off before its index was written ({_reason(error)})"
            ) from error
        try:
            self._stream = self._pictures()
            self._stream.thread_type = "NONE"
            self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        except SemeiaError:
            self._container.close()
            raise
        self._reformatter = VideoReformatter()
        rate = self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE
        self.rate = rate if 0 < rate <= 1000 else _USUAL_RATE
        self.seconds = self._duration()
        self.skipped = self.damaged = 0
        self._last = Fraction(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def expected(self, fps: float | None = None) -> int | None:
        """How many frames ``frames`` is likely to give, for a progress bar; None where the file does not tell."""
        total = self._stream.frames or (round(self.seconds * float(self.rate)) if self.seconds else None)
        if fps is None or not total:
            return total
        seconds = self.seconds if self.seconds else total / float(self.rate)
        return min(total, int(seconds * fps) + 1)

    def frames(self, *, fps: float | None = None, skip: int = 0) -> Iterator[Frame]:
        """Decode the frames, in the order of showing.

        Args:
            fps: Take fewer: for each multiple of 1 / ``fps`` seconds the frame nearest to it, the earlier one of two
                that are equally near. No frame comes twice.
            skip: Pass over so many of the frames that would be given. They are decoded all the same, because only
                counting from the start tells which frame is which, in every container and beside every damage.

        Raises:
            SemeiaError: No frame at all can be decoded, or one is too large or of a kind that has no colours.
        """
        taken = 0
        for number, time, frame in self._timed() if fps is None else _nearest(self._timed(), fps):
            taken += 1
            if taken > skip:
                yield Frame(number, float(time), self._seen(frame))
        if taken == 0:
            raise SemeiaError(f"{self.path}: expected a video, found no frame in it that can be decoded")

    def damage(self) -> str | None:
        """What was wrong with the file, in words, after its frames were read; None if nothing was."""
        faults = []
        if self.skipped:
            faults.append(f"{_count(self.skipped, 'packet')} could not be decoded and the frames in them are missing")
        if self.damaged:
            faults.append(f"{_count(self.damaged, 'frame')} decoded with errors")
        end = float(self._last + 1 / self.rate)
        if self.seconds and self.seconds - end > max(1.0, 0.05 * self.seconds):
            faults.append(f"its pictures end after {end:.1f} of the {self.seconds:.1f} seconds that it should have")
        return f"{self.path}: damaged or cut off: {'; '.join(faults)}" if faults else None

    def _pictures(self) -> VideoStream:
        """The stream of moving pictures; the cover of a song is none."""
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        best = self._container.streams.best("video")
        stream = best if best in streams else streams[0] if streams else None
        if not isinstance(stream, VideoStream):
            kinds = sorted({stream.type for stream in self._container.streams} - {"video"})
            found = f"{' and '.join(kinds)} alone" if kinds else "nothing to show in it"
            raise SemeiaError(f"{self.path}: expected a video, found {found}")
        if stream.codec_context is None:
            raise SemeiaError(f"{self.path}: its pictures are coded in a way that this FFmpeg cannot decode")
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MAX_PIXELS:
            raise self._too_large(width, height)
        return stream

    def _too_large(self, width: int, height: int) -> SemeiaError:
        limit = f"{MAX_PIXELS:,}"
        return SemeiaError(
            f"{self.path}: expected frames of at most {limit} pixels, found {width} x {height}; shrink it"
        )

    def _duration(self) -> float | None:
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return self._container.duration / 1_000_000 if self._container.duration else None

    def _timed(self) -> Iterator[tuple[int, Fraction, VideoFrame]]:
        """Number, seconds and frame, with times that grow from frame to frame whatever the file says."""
        step = 1 / self.rate
        # AVI stores no times; what FFmpeg knows is when each packet is decoded.
        by_decoding = self._container.format.name == "avi"
        zero: Fraction | None = None
        due = Fraction(0)
        for number, frame in enumerate(self._decoded()):
            stamp, time = frame.dts if by_decoding else frame.pts, due
            if stamp is not None and frame.time_base:
                at = stamp * frame.time_base
                zero = at - due if zero is None else zero
                # A time that does not grow, as a joined or damaged file may have, is as good as none.
                time = at - zero if number == 0 or at - zero > self._last else due
            self._last, due = time, time + step
            yield number, time, frame

    def _decoded(self) -> Iterator[VideoFrame]:
        for packet in self._packets():
            try:
                frames = packet.decode() if packet is not None else self._stream.decode(None)
            except av.FFmpegError:
                self.skipped += 1
                continue
            for frame in frames:
                self.damaged += frame.is_corrupt
                yield frame

    def _packets(self) -> Iterator[av.Packet[VideoStream] | None]:
        """Packets, the last of which asks the decoder for what it holds back."""
        failures = 0
        while failures < _PATIENCE:
            try:
                # A generator is over once it raises; the next goes on behind the damaged place.
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet
                return
            except av.FFmpegError:
                failures += 1
                self.skipped += 1
        yield None

    def _seen(self, frame: VideoFrame) -> np.ndarray:
        """A frame as a person sees it."""
        wide = frame.width
        stretch = self._stream.sample_aspect_ratio
        if stretch and Fraction(1, 4) <= stretch <= 4:
            wide = max(round(frame.width * stretch), 1)
        if wide * frame.height > MAX_PIXELS:
            raise self._too_large(wide, frame.height)
        try:
            rgb = self._reformatter.reformat(frame, width=wide, format="rgb24", threads=1)
        except (av.FFmpegError, ValueError) as error:
            raise SemeiaError(f"{self.path}: its {frame.format.name} pictures cannot be brought to RGB") from error
        return np.ascontiguousarray(turned(rgb.to_ndarray(), _matrix(frame)))


def _nearest(
    timed: Iterator[tuple[int, Fraction, VideoFrame]], fps: float
) -> Iterator[tuple[int, Fraction, VideoFrame]]:
    """Of frames with growing times those that are nearest to a multiple of 1 / ``fps``."""
    rate = Fraction(fps).limit_denominator(1_000_000)
    reached = -1  # the last multiple that has its frame
    held = next(timed, None)
    for following in timed:
        assert held is not None
        # The multiples up to half-way to the next frame are nearest to this one.
        last = (held[1] + following[1]) / 2 * rate // 1
        if last > reached:
            reached = last
            yield held
        held = following
    if held is not None and held[1] * rate // 1 > reached:
        yield held


def _matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """(a, b, c, d) of the display matrix: a pixel at (x, y) is shown at (a x + c y, b x + d y), but for a shift."""
    side_data: Any = frame.side_data
    stored = side_data.get("DISPLAYMATRIX")
    if stored is None:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = np.frombuffer(bytes(stored), np.int32).tolist()
    return a, b, c, d


def turned(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turn a picture (H, W, 3) by quarters and mirror it, as near as that comes to a display matrix (a, b, c, d)."""
    a, b, c, d = matrix
    if a * d - b * c == 0:
        return image
    if abs(a) + abs(d) < abs(b) + abs(c):
        image, a, d = image.transpose(1, 0, 2), c, b
    return image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def check_video(path: str | Path) -> None:
    """Make sure that ``write_video`` knows the ending of ``path``.

    Raises:
        SemeiaError: It does not.
    """
    if Path(path).suffix.lower() not in _WRITABLE:
        raise SemeiaError(f"{path}: expected a name for a video that ends in {', '.join(_WRITABLE)}")


@contextmanager
def write_video(
    path: str | Path, *, size: tuple[int, int], rate: float = 25
) -> Iterator[Callable[[np.ndarray, float], None]]:
    """Write a video without sound, whole or not at all.

    H.264 where this build of FFmpeg has it, otherwise MPEG-4 part 2. Sides that are odd grow by a pixel.

    Args:
        path: The file; its ending (.mp4, .mov, .mkv) chooses the container. An existing file is replaced.
        size: Width and height of the frames.
        rate: Frames a second, a hint for players; each frame keeps its own time.

    Yields:
        A function that takes a frame (H, W, 3) uint8 and its time in seconds, which must grow.

    Raises:
        SemeiaError: Another ending, or the file cannot be written.
    """
    check_video(path)
    width, height = size
    room = ((0, height % 2), (0, width % 2), (0, 0))
    encoder, quality = next((name, opts) for name, opts in _ENCODERS if name in av.codecs_available)
    last = -1
    with whole_file(path) as part:
        try:
            options = {} if part.suffix.lower() == ".mkv" else {"movflags": "+faststart"}
            with av.open(str(part), "w", options=options) as container:
                stream = container.add_stream(encoder, rate=Fraction(rate).limit_denominator(1001), options=quality)
                assert isinstance(stream, VideoStream)
                stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
                stream.codec_context.time_base = _TICKS

                def add(image: np.ndarray, time: float) -> None:
                    nonlocal last
                    frame = VideoFrame.from_ndarray(np.pad(image, room, mode="edge"), format="rgb24")
                    last = max(round(time / _TICKS), last + 1)
                    frame.pts, frame.time_base = last, _TICKS
                    container.mux(stream.encode(frame))

                yield add
                container.mux(stream.encode(None))
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise SemeiaError(f"{path}: cannot be written as a video ({_reason(error)})") from error


# ---------------------------------------------------------------------------------------------------------------------


def _check(path: Path) -> None:
    """Refuse what is no file with something in it."""
    try:
        if path.is_dir():
            raise SemeiaError(f"{path}: expected a video, found a folder")
        if not path.exists():
            raise SemeiaError(f"{path}: expected a video, found no such file")
        if not path.is_file():
            raise SemeiaError(f"{path}: expected a video, found a device or a pipe")
        if path.stat().st_size == 0:
            raise SemeiaError(f"{path}: expected a video, found an empty file (0 bytes)")
    except OSError as error:
        raise SemeiaError(f"{path}: cannot be read ({error.strerror or error})") from error


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _reason(error: av.FFmpegError) -> str:
    return (error.strerror or "unknown error").lower()
