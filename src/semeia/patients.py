"""Pictures of patients as a grader of facial palsy takes them: faces found, cropped, measured, and read.

Shapes      V side of a view   S side of a crop   N units   2 sides (the subject's left, right)   D width   M measures
            n pictures
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semeia.data.augment import Augmentation, cover, develop, jittered, sample_jitter
from semeia.data.formats.face_files import PICTURES
from semeia.data.formats.palsy import PalsyFile
from semeia.media.images import read_image
from semeia.media.video import Video
from semeia.nn.face_finder import FaceFinder
from semeia.ops.faces import FLIP_68, aligned_matrix, crop, landmarks_68, transform_points, upright_matrix
from semeia.ops.palsy_scales import EXERCISES, resting_measures
from semeia.systems.palsy import MEASURES

FRAMES = 5
"""Frames that are read of an exercise in a clip, at even steps through its middle half, where movements are held."""

ROOM = 0.45
"""Margin of a view: crops are cut out of it at any jitter."""

ORDER = tuple(EXERCISES)

EYES = (slice(42, 48), slice(36, 42))
"""Landmarks of the subject's left and right eye (iBUG, as seen in the picture)."""


@dataclass(frozen=True)
class View:
    """A face in a picture or a frame: which exercise it does, a view (V, V, 3) of it, and its landmarks (68, 2) there.

    ``frame`` is its number in a clip, None in a picture.
    """

    file: PalsyFile
    image: np.ndarray = field(repr=False)
    landmarks: np.ndarray = field(repr=False)
    frame: int | None = None

    @property
    def measures(self) -> np.ndarray:
        """(M, 2) lengths of ``resting_measures`` on the subject's left and right."""
        found = resting_measures(self.landmarks)
        return np.array([getattr(found, name) for name in MEASURES])

    def mirrored(self) -> View:
        """The view of the mirrored face."""
        landmarks = mirrored_points(self.landmarks, self.image.shape[1])
        return View(self.file, self.image[:, ::-1].copy(), landmarks, self.frame)

    def covered(self, side: int, rng: np.random.Generator) -> View:
        """The view with something before the subject's left (0) or right (1) eye."""
        return replace(self, image=cover(self.image, self.landmarks[EYES[side]], rng))

    def crop(self, size: int, margin: float) -> np.ndarray:
        """The aligned crop (S, S, 3) that a network for action units reads."""
        return crop(self.image, aligned_matrix(self.landmarks, size, margin=margin), size=size)

    def changed(self, size: int, margin: float, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
        """The crop, moved and developed as in training, never mirrored."""
        matrix = aligned_matrix(self.landmarks, size, margin=margin)
        jitter = replace(sample_jitter(how, rng, aligned=True), flip=False)
        moved = jittered(matrix, jitter, size)
        return develop(crop(self.image, moved, size=size), how, rng)


def views_of(file: PalsyFile, finder: FaceFinder, *, size: int, frames: int = FRAMES) -> Iterator[View]:
    """The largest face of a picture, or of some frames of a clip or of a part of one; nothing where none is found.

    Args:
        file: Names the picture or clip.
        finder: Finds faces.
        size: V.
        frames: Most frames of a clip.

    Raises:
        SemeiaError: The file cannot be read.
    """
    for number, image in _images(file, frames):
        view = view_of(file, finder, image, size=size, number=number)
        if view is not None:
            yield view


def view_of(
    file: PalsyFile, finder: FaceFinder, image: np.ndarray, *, size: int, number: int | None = None
) -> View | None:
    """The largest face of a picture (H, W, 3), or of a frame of that number; None where none is found."""
    points = even_landmarks(finder, image)
    if points is None:
        return None
    matrix = upright_matrix(points, size, margin=ROOM)
    return View(file, crop(image, matrix, size=size), transform_points(matrix, points), number)


def even_landmarks(finder: FaceFinder, image: np.ndarray) -> np.ndarray | None:
    """Landmarks (68, 2) of the largest face, found in a picture (H, W, 3) and in its mirror image, their mean.

    The finder does not place a mirrored face quite alike; the mean does, so that sides swap when a picture is turned
    over. Where a face is found in one of both alone, that one counts.
    """
    here = [landmarks_68(face.mesh) for face in finder.find(image)]
    there = [mirrored_points(landmarks_68(face.mesh), image.shape[1]) for face in finder.find(image[:, ::-1].copy())]
    if not here or not there:
        return next(iter(here + there), None)
    first = here[0]
    return (first + min(there, key=lambda points: float(np.abs(points - first).mean()))) / 2


def mirrored_points(landmarks: np.ndarray, width: int) -> np.ndarray:
    """Landmarks (68, 2) of the mirror image of a picture."""
    return (landmarks * [-1, 1] + [width, 0])[FLIP_68]


def is_clip(file: PalsyFile) -> bool:
    """Whether a file is a clip, and no picture."""
    return Path(file.path).suffix.lower() not in PICTURES


def over_time(
    file: PalsyFile, finder: FaceFinder, *, size: int, start: float, end: float, fps: float
) -> Iterator[tuple[float, View | None]]:
    """Seconds and largest face of frames of a clip between two times; None where no face is found.

    Args:
        file: The clip.
        finder: Finds faces.
        size: V.
        start: First second.
        end: Last second.
        fps: Frames a second.

    Raises:
        SemeiaError: The clip cannot be read.
    """
    with Video(file.path) as video:
        for frame in takewhile(lambda frame: frame.time <= end, video.frames(fps=fps)):
            if frame.time >= start:
                yield frame.time, view_of(file, finder, frame.image, size=size, number=frame.number)


def _images(file: PalsyFile, frames: int) -> Iterator[tuple[int | None, np.ndarray]]:
    """Number and picture (H, W, 3) of what is read of a file."""
    if not is_clip(file):
        yield None, read_image(file.path)
        return
    with Video(file.path) as video:
        start = file.start or 0.0
        end = file.end if file.end is not None else video.seconds or start + 1.0
        first, last = start + (end - start) / 4, end - (end - start) / 4
        rate = frames / max(last - first, 1e-3)
        until = takewhile(lambda frame: frame.time <= last, video.frames(fps=min(rate, 30.0)))
        for frame in islice((frame for frame in until if frame.time >= first), frames):
            yield frame.number, frame.image


@dataclass(frozen=True)
class Features:
    """What a network for action units says of n views, and their measures; on the CPU."""

    sides: Tensor
    """(n, N, 2, D)."""
    intensity: Tensor
    """(n, N, 2) FACS 0-5."""
    measures: Tensor
    """(n, M, 2)."""
    exercise: Tensor
    """(n,) places in ``EXERCISES``."""
    regions: Tensor
    """(n, N, 2, 4) where each side was read: x, y and standard deviations along both, as parts of the crop."""

    def of(self, places: Sequence[int]) -> Features:
        """Of some of the views."""
        return Features(*(getattr(self, part.name)[list(places)] for part in fields(self)))


@torch.no_grad()
def features_of(
    reader: Any, views: Sequence[View], *, how: Augmentation | None = None, rng: np.random.Generator | None = None,
    batch_size: int = 32, done: Callable[[int], None] = lambda count: None,
) -> Features:  # fmt: skip
    """Read views by a network for action units.

    Args:
        reader: ALGRNet or MGRR-Net, in evaluation mode.
        views: At least one.
        how: Crops are changed as in training; as they are by default.
        rng: Of the changes.
        batch_size: Views a forward pass.
        done: Told how many are done.
    """
    config, device = reader.config, reader.unit_threshold.device
    sides, intensity, regions = [], [], []
    for start in range(0, len(views), batch_size):
        part = views[start : start + batch_size]
        crops = [
            view.crop(config.image_size, config.margin)
            if how is None or rng is None
            else view.changed(config.image_size, config.margin, how, rng)
            for view in part
        ]
        image = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(device).float() / 255
        known = reader.features(image)
        answers = reader.heads.answers(reader.heads(known["refined"], known["sides"], known["together"]))
        sides.append(known["sides"].float().cpu())
        intensity.append(answers["au_sides"].float().cpu())
        regions.append(torch.cat([known["centres"], known["spreads"]], -1).float().cpu())
        done(start + len(part))
    return replace(unread(views), sides=torch.cat(sides), intensity=torch.cat(intensity), regions=torch.cat(regions))


def unread(views: Sequence[View]) -> Features:
    """Views without what a network says of them: features of no units."""
    none = torch.zeros(len(views), 0, 2)
    measures = torch.from_numpy(np.stack([view.measures for view in views])).float()
    exercise = torch.tensor([ORDER.index(view.file.exercise) for view in views])
    return Features(none[..., None], none, measures, exercise, none[..., None])


def even_features(reader: Any, views: Sequence[View], *, batch_size: int = 32) -> Features:
    """Features that do not depend on which way a face is turned over: the mean of a view and of its mirror image.

    A mirrored face gets exactly the features of the other sides, as far as its mirrored crop has the same pixels.

    Args:
        reader: ALGRNet or MGRR-Net, in evaluation mode.
        views: At least one.
        batch_size: Views a forward pass.
    """
    seen = features_of(reader, views, batch_size=batch_size)
    turned = features_of(reader, [view.mirrored() for view in views], batch_size=batch_size)
    return replace(
        seen,
        sides=(seen.sides + turned.sides.flip(2)) / 2,
        intensity=(seen.intensity + turned.intensity.flip(2)) / 2,
    )


def batch_of(features: Features, patients: Iterable[Sequence[int]]) -> dict[str, Tensor]:
    """A batch for ``systems.palsy``: for each patient the places of its views; shorter ones are filled up."""
    rows = [list(places) for places in patients]
    longest = max(map(len, rows))
    filled = torch.tensor([row + [row[0]] * (longest - len(row)) for row in rows])  # (B, E)
    shown = torch.tensor([[i < len(row) for i in range(longest)] for row in rows])
    return {
        "sides": features.sides[filled], "intensity": features.intensity[filled],
        "measures": features.measures[filled], "exercise": features.exercise[filled], "shown": shown,
    }  # fmt: skip
