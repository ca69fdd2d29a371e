"""Facial palsy in pictures and clips of a patient's requested movements: grade, side, and the numbers they rest on.

This is no medical device. What it answers has the form of clinical scales and was learned from rendered faces whose
palsy is set by hand; no clinician graded anything.

Shapes      n views   N units   2 sides (the subject's left, right)   M measures
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from semeia import checkpoint
from semeia.data.formats import palsy as layout
from semeia.data.formats.face_files import number_in, records_of
from semeia.data.formats.palsy import PalsyFile
from semeia.media.images import find_images
from semeia.media.video import Video
from semeia.nn.face_finder import FaceFinder
from semeia.ops import palsy_scales as scales
from semeia.ops.faces import crop, upright_matrix
from semeia.patients import Features, View, batch_of, even_features, is_clip, over_time, views_of
from semeia.predict.faces import pick_device
from semeia.predict.units import UnitReader, in_chunks
from semeia.records import PalsyCurve, PalsyMovement, PalsyPicture, PalsyReading, SemeiaError
from semeia.systems import palsy, qface
from semeia.unit_networks import network_of

TURNED = 20.0
"""Degrees of yaw or pitch up to which the sides of a face are compared: perspective makes them uneven. [own]"""

SIDES = ("left", "right")

CURVE_FPS, CURVE_FRAMES = 10.0, 600
"""Frames a second of a curve, and most frames of one."""

LONGEST = 60.0
"""Seconds that are read of a clip that does not say how long it is."""


class PalsyReader:
    """Finder, head pose, network for action units and grader, loaded once and used for many patients.

    Args:
        model: A trained grader.
        units: The network for action units that it was trained on.
        pose: Q-Face, which says how far a head is turned.
        finder: Finds faces.
        weights: Names of the weights, repeated in every answer.
    """

    def __init__(
        self, model: palsy.Palsy, units: UnitReader, pose: qface.QFace, finder: FaceFinder, *, weights: str
    ) -> None:
        self.model, self.units, self.pose, self.finder, self.weights = model.eval(), units, pose.eval(), finder, weights

    @classmethod
    def load(cls, weights: str | Path = "palsy", au: str | Path | None = None, device: str = "auto") -> PalsyReader:
        """Load bundled weights by name, or checkpoint folders of your own by path.

        Args:
            weights: Of the grader.
            au: Of the network for action units that it was trained on; by default the one beside its checkpoint.
            device: ``auto``, ``cpu`` or ``cuda``.

        Raises:
            SemeiaError: Weights do not exist or do not fit, or the finder's parts cannot be had.
        """
        place = pick_device(device)
        model, name = checkpoint.load(weights, system="palsy", kind=palsy.Config, build=palsy.build)
        pose, _ = checkpoint.load("qface", system="qface", kind=qface.Config, build=qface.build, later=qface.ADDED)
        units = UnitReader.load(network_of(weights) if au is None else au, place)
        return cls(model, units, pose, FaceFinder(device=place), weights=f"{name}, action units {units.weights}")

    def read(self, files: Sequence[PalsyFile], *, curves: bool = False) -> PalsyReading:
        """Compare the sides of one patient.

        Args:
            files: Pictures and clips of the patient, each with its exercise.
            curves: Read clips over time too.

        Raises:
            SemeiaError: A file cannot be read.
        """
        views, notes = self._usable(files)
        if not any(file.exercise == "rest" for file in files):
            notes.append("no picture at rest: the face at rest, and so the composite, cannot be told")
        features = even_features(self.units.model, views) if views else None
        if features is not None:
            views, features = self._uncovered(views, features, notes)
        if features is None:
            return PalsyReading(None, {}, None, None, None, (), None, None, tuple(notes), self.weights)
        said = self.model.predict(batch_of(features, [range(len(views))]))
        grade, left = int(said["grade"][0]), float(said["left"][0])
        weak = SIDES[int(left < 0.5)]
        severity = said["each"][0].numpy()
        movements = self._movements(views, features, severity, weak=weak)
        resting = _resting(views, features)
        composite, words = _composite(movements, resting)
        notes += [words] if words else []
        return PalsyReading(
            grade=scales.GRADES[grade],
            grades=dict(zip(scales.GRADES, said["grades"][0].tolist(), strict=True)),
            degree=float(said["degree"][0]),
            side="none" if grade == 0 else weak,
            certainty=max(left, 1 - left),
            movements=movements,
            resting=resting,
            composite=composite,
            notes=tuple(notes),
            weights=self.weights,
            pictures=self._pictures(views, features, severity),
            curves=self._curves(files) if curves else (),
        )

    def _usable(self, files: Sequence[PalsyFile]) -> tuple[list[View], list[str]]:
        """Views in which the sides can be compared, and what was left out."""
        views: list[View] = []
        notes: list[str] = []
        for file in files:
            found = list(views_of(file, self.finder, size=2 * self.units.model.config.image_size))
            if not found:
                notes.append(f"{file.path}: no face was found")
            for view, (yaw, pitch, _) in zip(found, self._poses(found), strict=True):
                turned = max(abs(yaw), abs(pitch))
                if turned > TURNED:
                    notes.append(f"{_name(view)}: the head is turned by {turned:.0f} degrees, too far to compare "
                                 f"its sides (at most {TURNED:g})")  # fmt: skip
                else:
                    views.append(view)
        return views, notes

    def _uncovered(self, views: list[View], features: Features, notes: list[str]) -> tuple[list[View], Features | None]:
        """Views in which both eyes can be seen; what is left out is added to the notes."""
        with torch.no_grad():
            covered = self.model.covered(features.sides) > 0  # (n, 2)
        for view, eyes in zip(views, covered.tolist(), strict=True):
            if any(eyes):
                which = "both eyes are" if all(eyes) else f"the subject's {SIDES[eyes.index(True)]} eye is"
                notes.append(f"{_name(view)}: {which} covered, so that its sides cannot be compared")
        kept = [i for i, eyes in enumerate(covered.tolist()) if not any(eyes)]
        return [views[i] for i in kept], features.of(kept) if kept else None

    def _pictures(self, views: Sequence[View], features: Features, severity: np.ndarray) -> tuple[PalsyPicture, ...]:
        """What was read, each with its crop and numbers."""
        config = self.units.model.config
        made = []
        for i, view in enumerate(views):
            left, right = (dict(zip(config.action_units, of.tolist(), strict=True)) for of in features.intensity[i].T)
            regions = {
                unit: (tuple(both[0]), tuple(both[1]))
                for unit, both in zip(config.action_units, features.regions[i].tolist(), strict=True)
            }
            image = view.crop(2 * config.image_size, config.margin)
            made.append(
                PalsyPicture(
                    view.file.exercise, str(view.file.path), view.frame, left, right, float(severity[i]), image, regions
                )
            )
        return tuple(made)

    def _curves(self, files: Sequence[PalsyFile]) -> tuple[PalsyCurve, ...]:
        """Clips over time, from the first requested movement to the last one."""
        return tuple(
            self._curve([file for file in files if file.path == path])
            for path in dict.fromkeys(file.path for file in files if is_clip(file))
        )

    def _curve(self, parts: Sequence[PalsyFile]) -> PalsyCurve:
        """One clip, of which some parts are requested movements."""
        start = min(part.start or 0.0 for part in parts)
        end = max(math.inf if part.end is None else part.end for part in parts)
        if math.isinf(end):
            with Video(parts[0].path) as video:
                end = video.seconds or start + LONGEST
        fps = min(CURVE_FPS, CURVE_FRAMES / max(end - start, 1e-3))
        size = 2 * self.units.model.config.image_size
        seen = list(over_time(parts[0], self.finder, size=size, start=start, end=end, fps=fps))
        units = self.units.model.config.action_units
        values = np.full((len(seen), len(units), 2), np.nan)
        found = [i for i, (_, view) in enumerate(seen) if view is not None]
        if found:
            views = [view for _, view in seen if view is not None]
            values[found] = even_features(self.units.model, views).intensity.numpy()
        left, right = ({unit: tuple(values[:, i, side].tolist()) for i, unit in enumerate(units)} for side in (0, 1))
        marks = tuple((part.exercise, part.start or 0.0, end if part.end is None else part.end) for part in parts)
        return PalsyCurve(str(parts[0].path), marks, tuple(time for time, _ in seen), left, right)

    def _poses(self, views: Sequence[View]) -> np.ndarray:
        """(n, 3) yaw, pitch and roll in degrees."""
        if not views:
            return np.zeros((0, 3))
        size, margin = self.pose.config.image_size, self.pose.config.margin_upright
        crops = [crop(v.image, upright_matrix(v.landmarks, size, margin=margin), size=size) for v in views]
        return in_chunks(self.pose.predict, crops, self.pose.mean.device)["pose"]

    def _movements(
        self, views: Sequence[View], features: Features, severity: np.ndarray, *, weak: str
    ) -> tuple[PalsyMovement, ...]:
        """What each movement showed, in the order of ``EXERCISES``."""
        units = self.units.model.config.action_units
        found = []
        for exercise in scales.EXERCISES:
            places = [i for i, view in enumerate(views) if view.file.exercise == exercise]
            if not places:
                continue
            shown = features.intensity[places].mean(0).numpy()  # (N, 2)
            left, right = (dict(zip(units, map(float, shown[:, side]), strict=True)) for side in (0, 1))
            share, item, beside = _of_movement(left, right, exercise=exercise, weak=weak)
            names = dict.fromkeys(str(views[i].file.path) for i in places)
            found.append(
                PalsyMovement(exercise, tuple(names), left, right, float(severity[places].mean()), share, item, beside)
            )
        return tuple(found)


def _name(view: View) -> str:
    """The file of a view, and its frame."""
    return str(view.file.path) if view.frame is None else f"{view.file.path}, frame {view.frame}"


def _of_movement(
    left: dict[str, float], right: dict[str, float], *, exercise: str, weak: str
) -> tuple[float | None, int | None, int | None]:
    """Share of movement, voluntary item and synkinesis item of an exercise; None of what it does not have."""
    asked = [unit for unit in scales.EXERCISES[exercise] if unit in left]
    if not asked:
        return None, None, None
    sides = {"left": left, "right": right}
    healthy = sides["right" if weak == "left" else "left"]
    few, many = ([of[unit] for unit in asked] for of in (sides[weak], healthy))
    ratio = float(scales.movement_ratio(sum(few), sum(many)))
    extra = scales.synkinesis(left, right, exercise=exercise, weak_side=weak)
    beside = int(scales.synkinesis_item(max(map(float, extra.values()), default=0.0)))
    if np.isnan(ratio):
        return None, None, beside
    return ratio, int(scales.voluntary_item(ratio)), beside


def _resting(views: Sequence[View], features: Features) -> tuple[int, int, int] | None:
    """Items of the eye, cheek and mouth at rest, of the mean over pictures at rest."""
    places = [i for i, view in enumerate(views) if view.file.exercise == "rest"]
    if not places:
        return None
    left, right = features.measures[places].mean(0).numpy().T  # (M,) each
    apart = dict(zip(palsy.MEASURES, map(float, left - right), strict=True))
    eye, cheek, mouth = scales.resting_items(eye=apart["fissure"], cheek=apart["fold"], mouth=apart["mouth"])
    return int(eye), int(cheek), int(mouth)


def _composite(movements: Sequence[PalsyMovement], resting: tuple[int, int, int] | None) -> tuple[int | None, str]:
    """Sunnybrook-style composite, and what to know of it: a movement that was not measured counts as the others' mean.

    A pucker is measured least: AU18 is none of the units, and those of the same muscle need not show.
    """
    asked = [name for name in scales.EXERCISES if name != "rest"]
    of = {m.exercise: (m.item, m.synkinesis) for m in movements if m.item is not None and m.synkinesis is not None}
    missing = [name for name in asked if name not in of]
    if resting is None or len(missing) > 1:
        return None, ""
    means = np.mean(list(of.values()), axis=0)
    voluntary, beside = np.array([of.get(name, means) for name in asked]).T
    whole = scales.composite(voluntary, resting=resting, synkinesis=beside)
    words = f"{missing[0]} could not be measured: the composite takes it as the mean of the others" if missing else ""
    return int(np.floor(whole + 0.5)), words


# Files of a patient ---------------------------------------------------------------------------------------------------


def patient_files(
    paths: Sequence[str | Path], *, exercise: str | None = None, marks: str | Path | None = None
) -> dict[str, tuple[PalsyFile, ...]]:
    """The patients that pictures and clips show, by name, each file with its exercise.

    A folder with a table (``data.formats.palsy``) holds many patients; any other files are those of one. A picture
    tells its exercise by its name, such as ``smile.jpg``, unless ``exercise`` says it for all.

    Args:
        paths: Files and folders.
        exercise: Of all files.
        marks: A CSV with the columns exercise, start and end, in seconds of the one clip that is given.

    Raises:
        SemeiaError: A path does not exist, a file's exercise is not known, or marks are wrong.
    """
    named: dict[str, tuple[PalsyFile, ...]] = {}
    own: list[PalsyFile] = []
    for path in map(Path, paths):
        if (path / layout.TABLE).is_file():
            named |= layout.patients(layout.read(path))
        elif path.is_dir():
            own += [PalsyFile(OWN, _exercise(file, exercise), file) for file in find_images([path])]
        elif not path.is_file():
            raise SemeiaError(
                f"{path}: expected a picture, a clip or a folder of a patient, found nothing; check the name"
            )
        elif marks is not None:
            own += _marked(path, Path(marks))
        else:
            own.append(PalsyFile(OWN, _exercise(path, exercise), path))
    if marks is not None and len(paths) != 1:
        raise SemeiaError(f"{marks}: marks are of one clip, found {len(paths)} paths; give them one by one")
    return named | ({OWN: tuple(own)} if own else {})


OWN = "patient"
"""Name of the patient whose files are given one by one."""


def _exercise(path: Path, given: str | None) -> str:
    """The exercise that is given, or that the name of a file tells."""
    words = "_".join(re.split(r"[\s_-]+", (given or path.stem).lower()))
    found = layout.VARIANTS.get(words, words)
    if found not in scales.EXERCISES:
        raise SemeiaError(f"{path}: expected an exercise, one of {', '.join(scales.EXERCISES)}, found {words!r}; name "
                          "the file so, or say --exercise")  # fmt: skip
    return found


def _marked(clip: Path, marks: Path) -> list[PalsyFile]:
    """The parts of a clip."""
    parts = []
    for line, row in records_of(marks, ("exercise", "start", "end")):
        start, end = (number_in(row[what], 0, 86_400, what=what, path=marks, line=line) for what in ("start", "end"))
        if end <= start:
            raise SemeiaError(f"{marks}: line {line}: expected an end after the start, found {start:g} and {end:g}")
        parts.append(PalsyFile(OWN, _exercise(marks, row["exercise"]), clip, start=start, end=end))
    if not parts:
        raise SemeiaError(f"{marks}: expected a row a movement, found none")
    return parts
