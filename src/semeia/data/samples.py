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

Masks are bool.

Shapes      B images   S side of the crop   K action units   A attributes
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semeia.records import ACTION_UNITS, ATTRIBUTES, EXPRESSIONS, PRESENT, FaceLabels

TASK_TARGETS = {
    "expression": ("expression",), "action_units": ("au_intensity", "au_occurrence", "au_sides"),
    "attributes": ("attributes",), "age": ("age",), "pose": ("pose",),
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
    """

    expression: int
    au_intensity: np.ndarray
    au_occurrence: np.ndarray
    au_sides: np.ndarray
    attributes: np.ndarray
    age: float
    pose: np.ndarray


def face_targets(labels: FaceLabels, vocabulary: Vocabulary) -> FaceTargets:
    """Arrange labels by a vocabulary.

    Where a unit's occurrence is not labelled but its intensity is, it counts as present from intensity 2 on.
    """
    units = vocabulary.action_units
    intensity = _arrange(labels.au_intensity, units)
    occurrence = _arrange(labels.au_occurrence, units)
    # NaN >= 2 is false, so an unknown intensity must be kept from becoming "absent".
    derived = np.where(np.isnan(intensity), np.float32(np.nan), (intensity >= PRESENT).astype(np.float32))
    pose = labels.pose
    known = labels.expression in vocabulary.expressions
    return FaceTargets(
        expression=vocabulary.expressions.index(str(labels.expression)) if known else -1,
        au_intensity=intensity,
        au_occurrence=np.where(np.isnan(occurrence), derived, occurrence),
        au_sides=np.stack([_arrange(labels.au_left, units), _arrange(labels.au_right, units)], 1),
        attributes=_arrange(labels.attributes, vocabulary.attributes),
        age=np.nan if labels.age is None else labels.age,
        pose=np.array([np.nan] * 3 if pose is None else [pose.yaw, pose.pitch, pose.roll], np.float32),
    )


def _arrange(values: Mapping[str, float], names: Sequence[str]) -> np.ndarray:
    """(len(names),) float32, NaN where a name has no value."""
    return np.array([values.get(name, np.nan) for name in names], np.float32)


def flip(targets: FaceTargets) -> FaceTargets:
    """Targets of the mirrored picture: yaw and roll change sign, the sides of each unit change places."""
    return replace(
        targets,
        au_sides=targets.au_sides[:, ::-1],
        pose=targets.pose * np.array([-1, 1, -1], np.float32),
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
    """Targets of some tasks alone: ``expression``, ``action_units``, ``attributes``, ``age``, ``pose``."""
    unknown: dict[str, Any] = {}
    for task, names in TASK_TARGETS.items():
        if task not in tasks:
            values = {name: np.full_like(getattr(targets, name), np.nan) for name in names if name != "expression"}
            unknown |= values if task != "expression" else {"expression": -1}
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
    for name in ("au_intensity", "au_occurrence", "au_sides", "attributes", "age", "pose"):
        values = torch.from_numpy(np.stack([np.float32(getattr(target, name)) for target in targets]))
        batch[name], batch[f"{name}_mask"] = values.nan_to_num(0), ~values.isnan()
    return batch
