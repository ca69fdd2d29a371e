"""The nouns of Semeia: what is found in a file and what is read in it.

Frozen dataclasses without behaviour beyond conversion to plain dictionaries. Units stand in each docstring.
Sides are always the subject's own. Pixel coordinates start at the top left corner of the picture as a person sees it
(EXIF orientation applied); x grows to the right, y grows down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isnan
from typing import Any

import numpy as np

EXPRESSIONS = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""The eight classes of AffectNet-8, in this library's order; the first seven are those of RAF-DB and AffectNet-7."""

ACTION_UNITS = (
    "AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU09", "AU10", "AU12", "AU14",
    "AU15", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26", "AU27", "AU43",
)  # fmt: skip
"""FACS action units that the bundled face reader answers for; numbers are zero-padded as OpenFace writes them."""

PRESENT = 2
"""FACS intensity (B) from which an action unit counts as present, as DISFA is binarised."""

ATTRIBUTES = (
    "Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Bushy_Eyebrows", "Gray_Hair",
    "Male", "Mouth_Slightly_Open", "No_Beard", "Smiling", "Wearing_Lipstick", "Young",
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Bags_Under_Eyes", "Bangs", "Big_Lips", "Big_Nose", "Chubby", "Eyeglasses",
    "Goatee", "Heavy_Makeup", "Mustache", "Narrow_Eyes", "Pale_Skin", "Receding_Hairline", "Rosy_Cheeks",
    "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat", "Mask",
)  # fmt: skip
"""CelebA attribute names, used where the label means the same; "Mask", a mask over the mouth, is none of CelebA's."""

READINGS_VERSION = 1
"""Version of the JSON that ``Readings.as_dict`` describes."""

LESIONS_VERSION = 1
"""Version of the JSON that ``ScanReading.as_dict`` describes."""


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in pixels: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Pose:
    """Head rotation in degrees as seen by the camera; (0, 0, 0) looks into the lens.

    ``yaw`` grows as the subject turns to the subject's own right (the left of the picture), ``pitch`` grows as the
    subject looks up (both as in Py-Feat), ``roll`` grows as the head tilts to the subject's own right shoulder (the top
    of the head moves to the left of the picture). Pitch turns the head first, then yaw, then roll, each about an axis
    of the camera, so that turning the picture adds to roll alone.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Face:
    """A face that was found, not yet read.

    ``mesh`` is (468, 3): MediaPipe face-mesh points, x and y in pixels of the picture, z in the same unit (smaller is
    nearer, relative to the head's centre). ``score`` is the detector's probability, ``presence`` the mesh network's.
    """

    box: Box
    score: float
    presence: float
    mesh: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class ActionUnit:
    """One action unit: ``intensity`` on the FACS scale 0-5 (A = 1 ... E = 5) and ``probability`` that it is present.

    ``left`` and ``right`` are intensities of the subject's own sides, absent where the reader does not tell sides.
    ``threshold`` is the probability from which on the unit counts as present; weights hold one for each unit.
    """

    probability: float
    intensity: float
    left: float | None = None
    right: float | None = None
    threshold: float = 0.5

    @property
    def occurrence(self) -> bool:
        """Whether the unit counts as present: its probability reaches its threshold."""
        return self.probability >= self.threshold


@dataclass(frozen=True)
class FaceReading:
    """What was read in one face. Probabilities lie in [0, 1], ``age`` is apparent age in years.

    ``valence`` and ``arousal`` in [-1, 1] are how pleasant and how excited the face looks; None where neither is read.
    """

    box: Box
    score: float
    expression: Mapping[str, float]
    action_units: Mapping[str, ActionUnit]
    attributes: Mapping[str, float]
    age: float
    pose: Pose
    valence: float | None = None
    arousal: float | None = None

    @property
    def expression_label(self) -> str:
        """The most probable expression."""
        return max(self.expression, key=lambda name: self.expression[name])

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers and names in the layout of ``docs/readings.md``."""
        box = self.box
        units = {}
        for name, unit in self.action_units.items():
            units[name] = {
                "occurrence": unit.occurrence,
                "probability": round(unit.probability, 4),
                "threshold": round(unit.threshold, 4),
                "intensity": round(unit.intensity, 3),
            }
            if unit.left is not None and unit.right is not None:
                units[name] |= {"left": round(unit.left, 3), "right": round(unit.right, 3)}
        affect = {}
        if self.valence is not None and self.arousal is not None:
            affect = {"affect": {"valence": round(self.valence, 3), "arousal": round(self.arousal, 3)}}
        return {
            "box": [round(v, 2) for v in (box.x, box.y, box.width, box.height)],
            "score": round(self.score, 4),
            "expression": {
                "label": self.expression_label,
                "probabilities": {name: round(p, 4) for name, p in self.expression.items()},
            },
            **affect,
            "action_units": units,
            "attributes": {name: round(p, 4) for name, p in self.attributes.items()},
            "age": round(self.age, 1),
            "pose": {
                "yaw": round(self.pose.yaw, 2),
                "pitch": round(self.pose.pitch, 2),
                "roll": round(self.pose.roll, 2),
            },
        }


@dataclass(frozen=True)
class FileReading:
    """One file: either its size in pixels and its faces, or the error that kept it from being read."""

    file: str
    width: int | None = None
    height: int | None = None
    faces: tuple[FaceReading, ...] = ()
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values; the key ``error`` is present only where reading failed."""
        out: dict[str, Any] = {"file": self.file}
        if self.error is not None:
            out["error"] = self.error
        return out | {
            "width": self.width,
            "height": self.height,
            "faces": [face.as_dict() for face in self.faces],
        }


@dataclass(frozen=True)
class Readings:
    """All files of one call, in the order given, and the name of the weights that read them."""

    weights: str
    files: tuple[FileReading, ...]
    version: int = READINGS_VERSION

    @property
    def failed(self) -> tuple[FileReading, ...]:
        """The files that could not be read."""
        return tuple(file for file in self.files if file.error is not None)

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON: ``{"version", "weights", "files": [...]}``."""
        return {
            "version": self.version,
            "weights": self.weights,
            "files": [file.as_dict() for file in self.files],
        }


@dataclass(frozen=True)
class PalsyMovement:
    """What a face showed in one requested movement, mean over its pictures; sides are the subject's own.

    ``left`` and ``right`` map action units to FACS 0-5. ``share`` is the part of the asked movement that the weak side
    has left, ``item`` (1-5) and ``synkinesis`` (0-3) are Sunnybrook-style items made of such numbers by rule; None
    where they do not exist. ``severity`` is what the movement added to the grade's score.
    """

    exercise: str
    files: tuple[str, ...]
    left: Mapping[str, float]
    right: Mapping[str, float]
    severity: float
    share: float | None = None
    item: int | None = None
    synkinesis: int | None = None


@dataclass(frozen=True)
class PalsyPicture:
    """A picture, or frame of a clip, that a grade rests on.

    ``left`` and ``right`` map action units to FACS 0-5. ``image`` is the crop (S, S, 3) that was read, and ``regions``
    maps each unit to where it was read on the subject's left and right: x, y and standard deviations along both, as
    parts of the crop.
    """

    exercise: str
    file: str
    frame: int | None
    left: Mapping[str, float]
    right: Mapping[str, float]
    severity: float
    image: np.ndarray = field(repr=False, compare=False)
    regions: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = field(repr=False, compare=False)


@dataclass(frozen=True)
class PalsyCurve:
    """A clip over time: ``seconds`` (T,), units -> FACS 0-5 (T,) of the subject's left and right; NaN without a face.

    ``parts`` are the requested movements: exercise, first and last second.
    """

    file: str
    parts: tuple[tuple[str, float, float], ...]
    seconds: tuple[float, ...] = field(repr=False)
    left: Mapping[str, tuple[float, ...]] = field(repr=False)
    right: Mapping[str, tuple[float, ...]] = field(repr=False)


@dataclass(frozen=True)
class PalsyReading:
    """A patient's face, compared side by side. Not a medical device: a grade of a hand-set scale, no diagnosis.

    ``grade`` is I to VI and None where nothing could be compared; ``grades`` gives each its probability. ``degree`` in
    [0, 1] is the share of movement that seems lost. ``side`` is the weak one, "left" or "right" (the subject's own),
    or "none" in grade I; ``certainty`` is the probability of that side. ``resting`` are the Sunnybrook-style items of
    the eye, cheek and mouth at rest, ``composite`` their sum with those of the movements, None where more than one is
    missing. ``notes`` say what was left out, and why. ``pictures`` are what was read, ``curves`` clips over time.
    """

    grade: str | None
    grades: Mapping[str, float]
    degree: float | None
    side: str | None
    certainty: float | None
    movements: tuple[PalsyMovement, ...]
    resting: tuple[int, int, int] | None
    composite: int | None
    notes: tuple[str, ...]
    weights: str
    pictures: tuple[PalsyPicture, ...] = ()
    curves: tuple[PalsyCurve, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain data; pictures without their pixels, and None for NaN."""
        plain = asdict(replace(self, pictures=(), curves=()))
        plain["pictures"] = [
            {"exercise": p.exercise, "file": p.file, "frame": p.frame, "severity": p.severity, "left": dict(p.left),
             "right": dict(p.right), "regions": dict(p.regions)}
            for p in self.pictures
        ]  # fmt: skip
        sides = ("left", "right")
        plain["curves"] = [
            {"file": c.file, "parts": c.parts, "seconds": c.seconds}
            | {side: {unit: _told(values) for unit, values in getattr(c, side).items()} for side in sides}
            for c in self.curves
        ]
        return plain


def _told(values: Sequence[float]) -> list[float | None]:
    """NaN has no place in JSON."""
    return [None if isnan(value) else value for value in values]


@dataclass(frozen=True)
class FaceLabels:
    """What is known about one face image of a data set; any part may be missing (None, or absent from a mapping).

    ``compound`` names a compound expression as RAF-DB does ("happily surprised"); ``expression`` is then None.
    ``au_occurrence`` maps names to 0 or 1; ``au_intensity``, ``au_left`` and ``au_right`` map names to 0-5 (FACS);
    ``attributes`` maps names to 0 or 1; ``age`` is in years; ``landmarks`` is (68, 2) in pixels, iBUG order as seen in
    the picture; ``landmark_visibility`` is (68,) bool, whether each of them can be seen; ``gaze`` is a unit vector (x
    right, y down, z into the picture) in camera coordinates; ``valence`` and ``arousal`` lie in [-1, 1];
    ``palsy_degree`` lies in [0, 1] on the hand-set scale of the face world.
    """

    key: str
    identity: str | None = None
    split: str | None = None
    expression: str | None = None
    compound: str | None = None
    au_occurrence: Mapping[str, int] = field(default_factory=dict)
    au_intensity: Mapping[str, float] = field(default_factory=dict)
    au_left: Mapping[str, float] = field(default_factory=dict)
    au_right: Mapping[str, float] = field(default_factory=dict)
    attributes: Mapping[str, int] = field(default_factory=dict)
    age: float | None = None
    pose: Pose | None = None
    box: Box | None = None
    landmarks: np.ndarray | None = field(default=None, repr=False, compare=False)
    landmark_visibility: np.ndarray | None = field(default=None, repr=False, compare=False)
    gaze: tuple[float, float, float] | None = None
    valence: float | None = None
    arousal: float | None = None
    palsy_side: str | None = None
    palsy_degree: float | None = None
    caption: str | None = None


@dataclass(frozen=True)
class SliceBox:
    """A box on one slice: ``box`` is x0, y0, x1, y1 in pixels of the file's own slice; ``score`` lies in [0, 1].

    x counts the slice's columns and y its rows as they are stored, from the outer edge of the first.
    """

    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True)
class Lesion:
    """Boxes of neighbouring slices that belong together.

    ``slices`` are the first and last of them, in the file's own order and counted from 0. ``box_world_mm`` is x0, y0,
    z0, x1, y1, z1 in millimetres of the patient, as DICOM has them: x grows to the patient's left, y to the back, z to
    the head. ``long_mm`` and ``short_mm`` are the axes in the slice where the lesion is largest, as its box tells them.
    """

    score: float
    slices: tuple[int, int]
    box_world_mm: tuple[float, float, float, float, float, float]
    long_mm: float
    short_mm: float


@dataclass(frozen=True)
class ScanReading:
    """What was found in one scan. ``slices`` maps the file's own slice numbers, from 0, to their boxes.

    ``notes`` say what was repaired or left out when the scan was read. Not a medical device.
    """

    weights: str
    scan: str
    slices: Mapping[int, tuple[SliceBox, ...]]
    lesions: tuple[Lesion, ...]
    notes: tuple[str, ...] = ()
    version: int = LESIONS_VERSION

    def as_dict(self) -> dict[str, Any]:
        """The documented JSON: ``{"version", "weights", "scan", "notes", "slices": [...], "lesions": [...]}``."""
        return {
            "version": self.version,
            "weights": self.weights,
            "scan": self.scan,
            "notes": list(self.notes),
            "slices": [
                {
                    "index": index,
                    "boxes": [{"box": [round(v, 2) for v in b.box], "score": round(b.score, 4)} for b in boxes],
                }
                for index, boxes in sorted(self.slices.items())
            ],
            "lesions": [
                {
                    "score": round(lesion.score, 4),
                    "slices": list(lesion.slices),
                    "box_world_mm": [round(v, 2) for v in lesion.box_world_mm],
                    "long_mm": round(lesion.long_mm, 2),
                    "short_mm": round(lesion.short_mm, 2),
                }
                for lesion in self.lesions
            ],
        }


class SemeiaError(Exception):
    """An input or a request that cannot be served; its text is one line written for the person who made it."""
