"""What is true of a picture: action units decided by geometry, landmarks, gaze, attributes.

How far lips are apart, how far the jaw has dropped and how the lids stand can be measured on the mesh, so AU05, AU07,
AU25, AU26, AU27 and AU43 are measured there, against the same person at rest with the same gaze. All other units are
what was commanded, side by side.

Shapes: V packed vertices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from semeia.data.synthetic.faces.action_units import TARGETS, face_scale
from semeia.data.synthetic.faces.light import Camera
from semeia.data.synthetic.faces.spec import FaceSpec, Person
from semeia.data.synthetic.faces.topology import fit_sphere, load_topology
from semeia.records import ACTION_UNITS, PRESENT, Box, FaceLabels, Pose

MEASURED = ("AU05", "AU07", "AU25", "AU26", "AU27", "AU43")
"""Units that are read off the mesh."""

_SLACK_LIDS = 0.5  # closure of the eye up to which no AU43 is counted
_SHUT_LIDS = 0.9  # closure that counts as AU43 at 5
_DROPPED_JAW = 0.475  # share of the jaw target above which AU26 becomes AU27

_UPPER_LID = {"right": (37, 38), "left": (43, 44)}
_LOWER_LID = {"right": (40, 41), "left": (46, 47)}
_LIPS = {"right": (61, 67), "middle": (62, 66), "left": (63, 65)}
_NASION, _CHIN = 27, 8


@dataclass(frozen=True)
class Openings:
    """Heights in decimetres in head coordinates: of each lid, of the jaw, and between the lips by side."""

    upper_lid: Mapping[str, float]
    lower_lid: Mapping[str, float]
    jaw: float
    lips: Mapping[str, float]


def openings(vertices: np.ndarray) -> Openings:
    """Measure a mesh (V, 3), or a displacement of meshes (V, 3): every measure is linear in the vertices."""
    height = vertices[load_topology().landmarks, 1]
    return Openings(
        upper_lid={side: float(height[list(ids)].mean()) for side, ids in _UPPER_LID.items()},
        lower_lid={side: float(height[list(ids)].mean()) for side, ids in _LOWER_LID.items()},
        jaw=float(height[_NASION] - height[_CHIN]),
        lips={side: float(height[upper] - height[lower]) for side, (upper, lower) in _LIPS.items()},
    )


def _full_unit(unit: str) -> Openings:
    """What a unit at intensity 5 changes on the template."""
    pack = load_topology().pack
    total = np.zeros_like(pack.vertices)
    for target, gain in TARGETS[unit].items():
        names = [target[:-1] + "Left", target[:-1] + "Right"] if target.endswith("*") else [target]
        for name in names:
            total += np.float32(gain) * pack.delta("A/" + name)
    return openings(total)


def measured_units(
    neutral: np.ndarray,
    resting: np.ndarray,
    acting: np.ndarray,
    cheeks: tuple[float, float] = (0.0, 0.0),
) -> dict[str, tuple[float, float]]:
    """Intensities 0-5 of the units of ``MEASURED`` on the subject's (left, right) side.

    Args:
        neutral: (V, 3) the person's head; its size scales the measures.
        resting: (V, 3) the same person with the gaze and the palsy of the shot and no action.
        acting: (V, 3) the mesh of the shot.
        cheeks: intensity of AU06 on the (left, right) side; what raised cheeks do to the lower lid is no AU07.

    The scale of each measure is that of its unit at 5: the rise of the upper lid for AU05, of the lower lid for AU07,
    the lip gap for AU25, the jaw's drop for AU26 (45 % of the jaw target) or AU27 (90 %). Up to 47.5 % of the jaw
    target is AU26, more is AU27; never both. AU43 grows from 0 to 5 as the eye loses 50 to 90 % of its height; where
    it is present, lids cannot be seen to tighten and AU07 is 0.
    """
    size = face_scale(neutral)
    now, rest = openings(acting), openings(resting)
    lids, tight, parted, jaw = (_full_unit(unit) for unit in ("AU05", "AU07", "AU25", "AU27"))
    dropped = (now.jaw - rest.jaw) / (size * jaw.jaw) * TARGETS["AU27"]["jawOpen"]
    wide = dropped > _DROPPED_JAW
    units: dict[str, list[float]] = {unit: [] for unit in MEASURED}
    pushed = openings(
        load_topology().pack.delta("A/cheekSquintLeft") + load_topology().pack.delta("A/cheekSquintRight")
    )
    for side, cheek in zip(("left", "right"), cheeks, strict=True):
        raised = (now.upper_lid[side] - rest.upper_lid[side]) / (size * lids.upper_lid[side])
        lower = (now.lower_lid[side] - rest.lower_lid[side]) / size - cheek / 5 * pushed.lower_lid[side]
        whole = rest.upper_lid[side] - rest.lower_lid[side]
        closure = 1 - (now.upper_lid[side] - now.lower_lid[side]) / whole
        shut = _grade((closure - _SLACK_LIDS) / (_SHUT_LIDS - _SLACK_LIDS))
        gap = (now.lips[side] - rest.lips[side]) / (size * parted.lips[side])
        units["AU05"].append(_grade(raised))
        units["AU07"].append(_grade(lower / tight.lower_lid[side]) if shut < PRESENT else 0.0)
        units["AU43"].append(shut)
        units["AU25"].append(_grade(gap))
        units["AU26"].append(0.0 if wide else _grade(dropped / TARGETS["AU26"]["jawOpen"]))
        units["AU27"].append(_grade(dropped / TARGETS["AU27"]["jawOpen"]) if wide else 0.0)
    return {unit: (left, right) for unit, (left, right) in units.items()}


def _grade(share: float) -> float:
    return float(np.clip(5 * share, 0, 5))


def gaze_direction(neutral: np.ndarray, acting: np.ndarray, camera: Camera) -> tuple[float, float, float]:
    """Mean direction of both eyes: unit vector, x right, y down, z into the picture."""
    ahead = np.mean([eye_rotation(neutral, acting, side)[:, 2] for side in ("left", "right")], axis=0)
    right, up, backwards = camera.axes @ (ahead / np.linalg.norm(ahead))
    return float(right), float(-up), float(-backwards)


def eye_rotation(neutral: np.ndarray, acting: np.ndarray, side: str) -> np.ndarray:
    """(3, 3) rotation of an eyeball between two meshes (Kabsch 1976)."""
    ids = load_topology().eyeballs[side]
    before, after = (mesh[ids] - fit_sphere(mesh[ids])[0] for mesh in (neutral, acting))
    u, _, vt = np.linalg.svd(before.T @ after)
    return np.asarray((u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt).T)


def attributes(person: Person, intensity: Mapping[str, float]) -> dict[str, int]:
    """CelebA attributes, each by one rule on the person or on the shot's action units."""
    hair, bald = person.hair, person.hair.bald >= 0.6
    grey = hair.grey >= 0.5
    rules = {
        "Bald": bald,
        "Black_Hair": hair.colour == "black" and not grey and not bald,
        "Blond_Hair": hair.colour == "blond" and not grey and not bald,
        "Brown_Hair": hair.colour == "brown" and not grey and not bald,
        "Bushy_Eyebrows": person.brow_thickness >= 0.025,
        "Gray_Hair": grey and not bald,
        "Male": person.male >= 0.5,
        "Mouth_Slightly_Open": intensity["AU25"] >= 1,
        "No_Beard": person.beard < 0.15,
        "Smiling": intensity["AU12"] >= PRESENT,
        "Wearing_Lipstick": person.lipstick,
        "Young": person.age < 40,
    }
    return {name: int(holds) for name, holds in rules.items()}


def label(
    spec: FaceSpec,
    *,
    shown: Mapping[str, tuple[float, float]],
    neutral: np.ndarray,
    resting: np.ndarray,
    acting: np.ndarray,
    camera: Camera,
    split: str,
) -> FaceLabels:
    """All labels of one shot.

    Args:
        spec: the shot.
        shown: (left, right) intensity of the commanded units, weakened by palsy.
        neutral: (V, 3) the person's head.
        resting: (V, 3) with gaze and palsy, without action.
        acting: (V, 3) the mesh of the shot.
        camera: the camera of the shot.
        split: name of the person's split.
    """
    sides = dict.fromkeys(ACTION_UNITS, (0.0, 0.0)) | {u: v for u, v in shown.items() if u in ACTION_UNITS}
    sides |= measured_units(neutral, resting, acting, cheeks=sides["AU06"])
    intensity = {unit: max(both) for unit, both in sides.items()}
    landmarks = camera.project(acting[load_topology().landmarks])
    low, high = landmarks.min(0), landmarks.max(0)
    person = spec.person
    return FaceLabels(
        key=f"{spec.identity:06d}-{spec.shot:02d}",
        identity=f"{spec.seed}-{spec.identity:06d}",
        split=split,
        expression=spec.expression,
        au_occurrence={unit: int(value >= PRESENT) for unit, value in intensity.items()},
        au_intensity={unit: round(value, 3) for unit, value in intensity.items()},
        au_left={unit: round(left, 3) for unit, (left, _) in sides.items()},
        au_right={unit: round(right, 3) for unit, (_, right) in sides.items()},
        attributes=attributes(person, intensity),
        age=round(person.age, 2),
        pose=Pose(round(spec.yaw, 3), round(spec.pitch, 3), round(spec.roll, 3)),
        box=Box(*(round(float(value), 3) for value in (*low, *(high - low)))),
        landmarks=landmarks.round(3),
        gaze=gaze_direction(neutral, acting, camera),
        palsy_side=None if person.palsy is None else person.palsy.side,
        palsy_degree=0.0 if person.palsy is None else round(person.palsy.degree, 3),
    )
