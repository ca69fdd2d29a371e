"""From labels, any of which may be missing, to arrays of fixed size with masks, and to batches.

Keys of a batch; a value counts only where its mask is true, and is 0 elsewhere (-1 for the expression):

    image           (B, 3, S, S)  float32 in [0, 1]
    expression      (B,)          int64, index into the vocabulary or -1      expression_mask      (B,)
    au_intensity    (B, K)        float32, FACS 0-5                           au_intensity_mask    (B, K)
    au_occurrence   (B, K)        float32, 0 or 1                             au_occurrence_mask   (B, K)
    au_sides        (B, K, 2)     float32, FACS 0-5, subject's left, right    au_sides_mask        (B, K, 2)
    attributes      (B, A)        float32, 0 or 1                             attributes_mask      (B, A)
    age             (B,)          float32, years                              age_mask             (B,)
    pose            (B, 3)        float32, yaw, pitch, roll in degrees        pose_mask            (B, 3)
    landmarks       (B, 68, 2)    float32, x and y as parts of the crop       landmarks_mask       (B, 68, 2)

and, where the vocabulary asks for them,

    valence_arousal (B, 2)        float32, each in [-1, 1]                    valence_arousal_mask (B, 2)

Masks are bool.

Shapes      B images   N faces of a folder   S side of the crop   K action units   A attributes
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semeia.data.formats.face_columns import FaceColumns
from semeia.ops.faces import flip_68
from semeia.records import ACTION_UNITS, ATTRIBUTES, EXPRESSIONS, PRESENT

TASK_TARGETS = {
    "expression": ("expression",), "action_units": ("au_intensity", "au_occurrence", "au_sides"),
    "attributes": ("attributes",), "age": ("age",), "pose": ("pose",), "valence_arousal": ("valence_arousal",),
}  # fmt: skip
"""Fields of ``FaceTargets`` by task."""

ROLL = 2
"""Place of the roll angle in a pose."""


@dataclass(frozen=True)
class Vocabulary:
    """The names that targets are arranged by; labels with other names count as missing."""

    expressions: tuple[str, ...] = EXPRESSIONS
    """Expression classes."""
    action_units: tuple[str, ...] = ACTION_UNITS
    """K action units."""
    attributes: tuple[str, ...] = ATTRIBUTES
    """A binary attributes."""
    valence_arousal: bool = False
    """Whether valence and arousal are targets too."""


@dataclass(frozen=True)
class FaceTargets:
    """What one face is trained and tested on; NaN marks what is not known.

    Attributes:
        expression: Index of the class, or -1.
        au_intensity: (K,) float32, FACS 0-5.
        au_occurrence: (K,) float32, 0 or 1.
        au_sides: (K, 2) float32, FACS 0-5 of the subject's left and right.
        attributes: (A,) float32, 0 or 1.
        age: Years.
        pose: (3,) float32, yaw, pitch, roll in degrees.
        landmarks: (68, 2) float32, iBUG order, x and y as parts of the side of the crop that shows the face.
        valence_arousal: (2,) float32, or None where the vocabulary does not ask for it.
    """

    expression: int
    au_intensity: np.ndarray
    au_occurrence: np.ndarray
    au_sides: np.ndarray
    attributes: np.ndarray
    age: float
    pose: np.ndarray
    landmarks: np.ndarray = field(default_factory=lambda: np.full((68, 2), np.nan, np.float32))
    valence_arousal: np.ndarray | None = None


class TargetTable:
    """The targets of all faces of a folder, arranged by a vocabulary once, without landmarks: they depend on the crop.

    Where a unit's occurrence is not labelled but its intensity is, it counts as present from intensity 2 on.

    Args:
        columns: Labels of N faces.
        vocabulary: Names to arrange by.
    """

    def __init__(self, columns: FaceColumns, vocabulary: Vocabulary) -> None:
        def matrix(names: Sequence[str]) -> np.ndarray:
            return columns.matrix(names).astype(np.float32)

        units, place = vocabulary.action_units, {name: i for i, name in enumerate(vocabulary.expressions)}
        self.expression = np.array([place.get(name, -1) for name in columns.texts["expression"]], np.int64)  # (N,)
        self.intensity = matrix([f"{unit}_r" for unit in units])  # (N, K)
        occurrence = matrix([f"{unit}_c" for unit in units])
        # NaN >= 2 is false, so an unknown intensity must be kept from becoming "absent".
        derived = np.where(np.isnan(self.intensity), np.float32(np.nan), self.intensity >= PRESENT)
        self.occurrence = np.where(np.isnan(occurrence), derived, occurrence).astype(np.float32)
        sides = [matrix([f"{unit}_{side}" for unit in units]) for side in "LR"]
        self.sides = np.stack(sides, -1)  # (N, K, 2)
        self.attributes = matrix([f"attr_{name}" for name in vocabulary.attributes])  # (N, A)
        self.age = matrix(["age"])[:, 0]
        self.pose = matrix(["pose_yaw", "pose_pitch", "pose_roll"])
        self.affect = matrix(["valence", "arousal"]) if vocabulary.valence_arousal else None  # (N, 2)

    def __getitem__(self, row: int) -> FaceTargets:
        return FaceTargets(
            expression=int(self.expression[row]),
            au_intensity=self.intensity[row],
            au_occurrence=self.occurrence[row],
            au_sides=self.sides[row],
            attributes=self.attributes[row],
            age=float(self.age[row]),
            pose=self.pose[row],
            valence_arousal=None if self.affect is None else self.affect[row],
        )


def flip(targets: FaceTargets) -> FaceTargets:
    """Targets of the mirrored picture: yaw and roll change sign, sides and landmarks change places."""
    return replace(
        targets,
        au_sides=targets.au_sides[:, ::-1],
        pose=targets.pose * np.array([-1, 1, -1], np.float32),
        landmarks=flip_68(targets.landmarks, 1.0),
    )


def turn(targets: FaceTargets, degrees: float) -> FaceTargets:
    """Targets of the picture turned counter-clockwise as seen: roll grows by as much.

    Exact, since roll is the outermost rotation of ``Pose``: about the axis of the camera.
    """
    return replace(targets, pose=targets.pose + np.array([0, 0, degrees], np.float32))


def without_roll(targets: FaceTargets) -> FaceTargets:
    """Targets of an aligned crop, which shows no roll."""
    pose = targets.pose.copy()
    pose[ROLL] = np.nan
    return replace(targets, pose=pose)


def only(targets: FaceTargets, tasks: Collection[str]) -> FaceTargets:
    """Targets of some tasks of ``TASK_TARGETS`` alone."""
    unknown: dict[str, Any] = {}
    for task, names in TASK_TARGETS.items():
        if task not in tasks:
            values = {name: getattr(targets, name) for name in names if getattr(targets, name) is not None}
            unknown |= {name: -1 if name == "expression" else np.full_like(values[name], np.nan) for name in values}
    return replace(targets, **unknown)


def collate(samples: Sequence[tuple[np.ndarray, FaceTargets]]) -> dict[str, Tensor]:
    """A batch in the layout above.

    Args:
        samples: Crops (S, S, 3) uint8 of one size and their targets of one vocabulary.
    """
    images = torch.from_numpy(np.stack([image for image, _ in samples]))  # (B, S, S, 3)
    targets = [target for _, target in samples]
    expression = torch.tensor([target.expression for target in targets])
    batch = {
        "image": images.permute(0, 3, 1, 2).contiguous().float().div_(255),
        "expression": expression,
        "expression_mask": expression >= 0,
    }
    names = ["au_intensity", "au_occurrence", "au_sides", "attributes", "age", "pose", "landmarks"]
    if targets[0].valence_arousal is not None:
        names.append("valence_arousal")
    for name in names:
        values = torch.from_numpy(np.stack([np.float32(getattr(target, name)) for target in targets]))
        batch[name], batch[f"{name}_mask"] = values.nan_to_num(0), ~values.isnan()
    return batch
