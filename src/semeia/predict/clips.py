"""Faces in a user's clip: follow each from frame to frame, and read them in batches that span frames.

Finding costs more than reading: on one core of the development machine the detector with its tiles took 93 ms a frame
of 640 x 480, the detector on the whole picture alone 17, the mesh of a face that is followed 7, and reading it 9. So
each face is followed by its mesh, and the detector looks for others now and then.

Clip, in parts of ``PART`` frames: frames -> ``Follower`` -> crops -> Q-Face -> rows -> a part of the table. Parts and
batches begin at fixed frames, and what goes from a part to the next is stored with it, so that a run that was killed
and goes on writes what one run would have written, bit for bit.

Shapes      F faces   M = 468 mesh points   S side of a crop   H, W picture
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import torch

import semeia
from semeia.media.circumplex import check_circumplex, plot_paths
from semeia.media.clip_plots import annotate_clip, check_plots, plot_clip
from semeia.media.clip_tables import (
    ClipTable,
    FrameReading,
    TableSummary,
    check_clip_table,
    fingerprint,
    summarise,
)
from semeia.media.video import Frame, Video, check_video
from semeia.nn.face_finder import FaceFinder
from semeia.ops.boxes import iou
from semeia.ops.tracks import DOUBLE, SAME, Track, carry_on, distinct
from semeia.predict.faces import FaceReader, Views
from semeia.records import Face, FaceReading, SemeiaError

PART = 128
"""Frames of a part of the table: what a kill can cost, and never more."""

BATCH = 32
"""Faces that are read together."""

WIDE, CLOSE, SEARCH = 0.2, 1.0, 0.5
"""Seconds from one look of the detector for new faces to the next: at the whole picture, at its tiles, and at its tiles
while no face is there."""

NEAR = 0.25
"""Seconds from one frame to the next up to which a face can be followed; with fewer frames each is found anew."""

UNSEEN = 5.0
"""Seconds without the detector's agreement after which a face that is followed is given up."""

OnFrame = Callable[[int, int | None], None]
"""Takes the number of the frame that is being read, from 1, and how many there are where that is known."""


@dataclass(frozen=True)
class Followed:
    """A face on its way: its track, its mesh (M, 3) where it was seen last, and when the detector last agreed."""

    track: Track
    mesh: np.ndarray = field(repr=False, compare=False)
    agreed: float


class Follower:
    """Gives each face of a clip a number and keeps it while the face stays; frames are shown to it in order.

    Args:
        finder: Finds and follows faces.
        gap: Seconds that a face may be away and keep its number, if it comes back where it was.
        state: Of another follower, to go on where it was.
    """

    def __init__(self, finder: FaceFinder, *, gap: float = 1.0, state: dict[str, Any] | None = None) -> None:
        self.finder, self.gap = finder, gap
        self.known: tuple[Followed, ...] = ()
        self.next = 1
        self.size: tuple[int, int] | None = None
        self.seen = self.wide = self.close = -math.inf
        """Times of the last frame, of the last look at the whole picture and of the last one at its tiles."""
        if state is not None:
            self.known = tuple(_followed(**plain) for plain in state["known"])
            self.next, self.size = state["next"], tuple(state["size"])
            self.seen, self.wide, self.close = state["times"]

    def state(self) -> dict[str, Any]:
        """All that the next frame depends on, as plain values that JSON keeps exactly."""
        known = [
            {
                "number": f.track.number,
                "box": list(f.track.box),
                "time": f.track.time,
                "mesh": f.mesh.tolist(),
                "agreed": f.agreed,
            }
            for f in self.known
        ]
        times = [self.seen, self.wide, self.close]
        return {"known": known, "next": self.next, "size": list(self.size or ()), "times": times}

    def step(self, image: np.ndarray, time: float) -> dict[int, Face]:
        """Faces of the next frame (H, W, 3) uint8 by number, rising; their score is the presence of their mesh."""
        self._fit((image.shape[1], image.shape[0]))
        near = time - self.seen <= NEAR
        self.known = tuple(f for f in self.known if time - f.track.time <= max(self.gap, time - self.seen))
        live = tuple(f for f in self.known if f.track.time == self.seen and near)

        closely = time - self.close >= (CLOSE if live else SEARCH) or not near
        look = closely or time - self.wide >= WIDE or not live
        found = self._look(image, time, closely=closely) if look else ()
        now = self._carry(found, self.known, time)
        kept = self._follow(image, [f for f in live if f.track.number not in now], now, time)
        lost = [f for f in live if f.track.number not in now and f.track.number not in kept]
        now |= kept
        if lost and not look:
            # A face went too fast to be followed, or it is gone.
            found = self._look(image, time, closely=time - self.close >= WIDE)
            gone = [f for f in self.known if f.track.number not in now]
            now |= self._carry(_apart(found, now), gone, time)
        for face in _apart(found, now):
            now[self.next] = _Seen(face, agreed=time)
            self.next += 1

        self.seen = time
        away = [f for f in self.known if f.track.number not in now]
        here = [Followed(Track(n, _corners(s.face), time), s.face.mesh, s.agreed) for n, s in now.items()]
        self.known = tuple(sorted([*away, *here], key=lambda f: f.track.number))
        return {n: replace(now[n].face, score=now[n].face.presence) for n in sorted(now)}

    def _fit(self, size: tuple[int, int]) -> None:
        """Bring what is known to the size of the picture, which may change within a clip."""
        if self.size not in (None, size):
            x, y = size[0] / self.size[0], size[1] / self.size[1]
            self.known = tuple(_scaled(f, x, y) for f in self.known)
            self.close = -math.inf
        self.size = size

    def _look(self, image: np.ndarray, time: float, *, closely: bool) -> tuple[Face, ...]:
        self.wide = time
        if closely:
            self.close = time
        return self.finder.find(image, closely=closely)

    def _carry(self, found: Sequence[Face], tracks: Sequence[Followed], time: float) -> dict[int, _Seen]:
        """Found faces by the number of the track that they carry on."""
        boxes = np.array([_corners(face) for face in found]).reshape(-1, 4)
        places = carry_on(boxes, [f.track for f in tracks], time=time, gap=max(self.gap, time - self.seen))
        pairs = zip(found, places, strict=True)
        return {tracks[i].track.number: _Seen(face, agreed=time) for face, i in pairs if i is not None}

    def _follow(
        self, image: np.ndarray, faces: Sequence[Followed], found: dict[int, _Seen], time: float
    ) -> dict[int, _Seen]:
        """Faces that are still where they were, by number."""
        faces = [f for f in faces if time - f.agreed <= UNSEEN]
        again = self.finder.follow(image, [f.mesh for f in faces])
        still = [(f, face) for f, face in zip(faces, again, strict=True) if face is not None and _inside(face, image)]
        boxes = np.array([_corners(face) for _, face in still]).reshape(-1, 4)
        before = np.array([f.track.box for f, _ in still]).reshape(-1, 4)
        # One that jumped now shows another face. Of two that met, the one that moved less is still its own.
        steady = iou(boxes, before).diagonal()
        clear = iou(boxes, _boxes(found)).max(axis=1, initial=0) < DOUBLE
        keep = np.flatnonzero((steady >= SAME) & clear)
        keep = keep[distinct(boxes[keep], steady[keep])]
        return {still[i][0].track.number: _Seen(still[i][1], agreed=still[i][0].agreed) for i in keep}


@dataclass(frozen=True)
class _Seen:
    """A face of this frame, and when the detector last agreed that it is one."""

    face: Face
    agreed: float


def _corners(face: Face) -> tuple[float, float, float, float]:
    box = face.box
    return box.x, box.y, box.x + box.width, box.y + box.height


def _boxes(seen: dict[int, _Seen]) -> np.ndarray:
    """Boxes (N, 4) of faces by number."""
    return np.array([_corners(s.face) for s in seen.values()]).reshape(-1, 4)


def _apart(found: Sequence[Face], now: dict[int, _Seen]) -> list[Face]:
    """Found faces that are not among those of ``now``."""
    boxes = np.array([_corners(face) for face in found]).reshape(-1, 4)
    shared = iou(boxes, _boxes(now)).max(axis=1, initial=0)
    return [face for face, share in zip(found, shared, strict=True) if share < DOUBLE]


def _inside(face: Face, image: np.ndarray) -> bool:
    """Whether the middle of a face lies in the picture."""
    box = face.box
    return 0 <= box.x + box.width / 2 <= image.shape[1] and 0 <= box.y + box.height / 2 <= image.shape[0]


def _followed(*, number: int, box: Sequence[float], time: float, mesh: list[list[float]], agreed: float) -> Followed:
    left, top, right, bottom = box
    return Followed(Track(number, (left, top, right, bottom), time), np.array(mesh), agreed)


def _scaled(known: Followed, x: float, y: float) -> Followed:
    """A face in a picture that became ``x`` times as wide and ``y`` times as high."""
    left, top, right, bottom = known.track.box
    track = replace(known.track, box=(left * x, top * y, right * x, bottom * y))
    return replace(known, track=track, mesh=known.mesh * [x, y, x])


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read_part(reader: FaceReader, follower: Follower, frames: Iterator[Frame]) -> list[FrameReading]:
    """Read frames in batches of faces that do not go beyond them.

    Args:
        reader: Reads crops.
        follower: Has seen the frames before these.
        frames: Consecutive frames, in order.

    Returns:
        One entry a frame.
    """
    rows: list[FrameReading] = []
    waiting: list[tuple[dict[int, FaceReading], int, Face, Views]] = []

    def read(count: int) -> None:
        batch, waiting[:] = waiting[:count], waiting[count:]
        readings = reader.read_views([b[2] for b in batch], [b[3] for b in batch])
        for (answers, number, *_), reading in zip(batch, readings, strict=True):
            answers[number] = reading

    for frame in frames:
        image = frame.image
        answers: dict[int, FaceReading] = {}
        for number, face in follower.step(image, frame.time).items():
            waiting.append((answers, number, face, reader.views(image, face)))
        rows.append(FrameReading(frame.number, frame.time, image.shape[1], image.shape[0], answers))
        while len(waiting) >= BATCH:
            read(BATCH)
    if waiting:
        read(len(waiting))
    return rows


@dataclass(frozen=True)
class ClipReading:
    """What came out of one clip: its ``table`` in short, and how the run went.

    ``resumed`` counts the frames that an earlier, killed run had read; ``damage`` says what was wrong with the file, if
    anything was; ``written`` are the files that were made.
    """

    file: str
    weights: str
    table: TableSummary
    resumed: int
    damage: str | None
    written: tuple[str, ...]


def analyze_clip(
    path: str | Path,
    out: str | Path | None = None,
    *,
    annotate: str | Path | None = None,
    plots: str | Path | None = None,
    circumplex: str | Path | None = None,
    fps: float | None = None,
    smooth: float = 0.0,
    gap: float = 1.0,
    weights: str | Path = "qface",
    device: str = "auto",
    engine: str = "auto",
    au: str | Path | None = None,
    affect: str | Path | None = "emma",
    on_frame: OnFrame | None = None,
) -> ClipReading:
    """Read the faces of a clip, frame by frame, in constant memory.

    Killed at any moment and called again with the same arguments, it goes on after the last part that was whole, and
    the table gets the same bytes. That needs ``out``: without it nothing is kept.

    Args:
        path: The video.
        out: The table to write, .csv or .parquet; see ``docs/video.md``.
        annotate: A video to write, with what was read drawn into its frames.
        plots: A .png to write, with action units, expressions and affect over time.
        circumplex: A .png to write, with the way of each face in the plane of valence and arousal.
        fps: Read so many frames a second instead of all: for each multiple of 1 / ``fps`` the frame nearest to it.
        smooth: Seconds of a centred moving median over the readings of each face; 0 changes nothing.
        gap: Seconds that a face may be away and keep its number, if it comes back where it was.
        weights: Bundled weights by name, or a checkpoint folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        engine: ``auto``, ``torch`` or ``onnx``; see ``predict.onnx.use_engine``.
        au: Weights of ALGRNet or MGRR-Net that read action units in place of Q-Face's.
        affect: Weights of EMMA that read valence and arousal; None: nothing does.
        on_frame: Called with each frame.

    Raises:
        SemeiaError: The file is no video, a setting is out of range, something cannot be written, or the weights or
            parts cannot be had.
    """
    _check_settings(fps=fps, smooth=smooth, gap=gap)
    for name, check in (
        (out, check_clip_table), (annotate, check_video), (plots, check_plots), (circumplex, check_circumplex)
    ):  # fmt: skip
        if name is not None:
            check(name)
    if annotate is not None and Path(annotate).resolve() == Path(path).resolve():
        raise SemeiaError(f"{annotate}: is the clip that is to be read; give the annotated video another name")
    with TemporaryDirectory() as folder:
        target = Path(folder) / "clip.parquet" if out is None else Path(out)
        with Video(path) as video:
            reader = FaceReader.load(weights, device, engine, au, affect)
            settings = _settings(reader, path, fps=fps, gap=gap)
            table = ClipTable(target, settings)
            try:
                resumed = _read(reader, video, table, fps=fps, gap=gap, on_frame=on_frame)
            except SemeiaError:
                if table.done == 0:
                    table.remove()
                raise
        table.finish(smooth=smooth)
        written = [] if out is None else [str(out)]
        summary = summarise(target)
        if plots is not None:
            plot_clip(target, plots, summary=summary, title=Path(path).name)
            written.append(str(plots))
        if circumplex is not None:
            plot_paths(target, circumplex, summary=summary, title=Path(path).name)
            written.append(str(circumplex))
        if annotate is not None:
            annotate_clip(path, target, annotate, summary=summary, fps=fps)
            written.append(str(annotate))
        damage = table.state["damage"]
        table.remove()
    return ClipReading(str(path), reader.weights, summary, resumed, damage, tuple(written))


def _read(
    reader: FaceReader, video: Video, table: ClipTable, *, fps: float | None, gap: float, on_frame: OnFrame | None
) -> int:
    """Add to ``table`` the parts that it has not yet; answer how many frames it had."""
    resumed = table.state.get("frames", 0)
    last = table.complete
    total, done = video.expected(fps), resumed
    follower = Follower(reader.finder, gap=gap, state=table.state.get("follower"))

    def counted(frames: Iterator[Frame]) -> Iterator[Frame]:
        nonlocal done
        for frame in frames:
            done += 1
            if on_frame is not None:
                on_frame(done, total)
            yield frame

    frames = counted(video.frames(fps=fps, skip=resumed))
    while not last:
        readings = read_part(reader, follower, islice(frames, PART))
        last = len(readings) < PART
        state = {"follower": follower.state(), "frames": done, "damage": video.damage() if last else None}
        table.add(readings, state=state, last=last)
    return int(resumed)


def _check_settings(*, fps: float | None, smooth: float, gap: float) -> None:
    if fps is not None and not 0 < fps <= 1000:
        raise SemeiaError(f"fps: expected frames a second, more than 0 and at most 1000, found {fps}")
    for name, value in (("smooth", smooth), ("gap", gap)):
        if not 0 <= value <= 60:
            raise SemeiaError(f"{name}: expected seconds from 0 to 60, found {value}")


def _settings(reader: FaceReader, path: str | Path, *, fps: float | None, gap: float) -> dict[str, Any]:
    """All that the rows of a clip depend on, down to what rounds their last bits."""
    digest = hashlib.sha256()
    for model in (reader.model, *(by.model for by in (reader.units, reader.affect) if by is not None)):
        for name, tensor in sorted(model.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return {
        "clip": fingerprint(path),
        "fps": fps,
        "gap": gap,
        "frames_a_part": PART,
        "weights": {"name": reader.weights, "sha256": digest.hexdigest()},
        "device": str(reader.device),
        "engine": reader.engine,
        "threads": torch.get_num_threads(),
        "versions": {"semeia": semeia.__version__, "torch": torch.__version__, "av": av.__version__},
    }
