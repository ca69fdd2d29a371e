"""What is true of a picture: action units decided by geometry, landmarks and whether they can be seen, gaze.

How far lips are apart, how far the jaw has dropped and how the lids stand can be measured on the mesh, so AU05, AU07,
AU25, AU26, AU27 and AU43 are measured there, against the same person at rest with the same gaze. All other units are
what was commanded, side by side.

Units that a thing hides have no label; the rules for attributes, affect and captions stand in modules of their own.

Shapes: V packed vertices, S pixels a side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from semeia.data.synthetic.faces.action_units import TARGETS, face_scale
from semeia.data.synthetic.faces.affect import rated_affect
from semeia.data.synthetic.faces.attributes import attributes, face_shape
from semeia.data.synthetic.faces.captions import caption
from semeia.data.synthetic.faces.light import Camera
from semeia.data.synthetic.faces.scene import REGIONS
from semeia.data.synthetic.faces.spec import FaceSpec, Stream
from semeia.data.synthetic.faces.topology import fit_sphere, load_topology
from semeia.records import ACTION_UNITS, PRESENT, Box, FaceLabels, Pose

MEASURED = ("AU05", "AU07", "AU25", "AU26", "AU27", "AU43")
"""Units that are read off the mesh."""

HIDDEN_BY_MASK = (
    "AU09", "AU10", "AU12", "AU14", "AU15", "AU17", "AU20", "AU23", "AU24", "AU25", "AU26", "AU27",
)  # fmt: skip
HIDDEN_BY_SUNGLASSES = ("AU05", "AU07", "AU43")
"""Units without a label where the thing is worn; AU06 and AU04 still show in cheeks, forehead and brows."""

FACE_REGIONS = ("skin", "lips", "nose", "eye_left", "eye_right", "brow", "lash", "cavity", "teeth", "tongue")
"""Regions in which a landmark can be seen."""

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


def landmark_visibility(landmarks: np.ndarray, facing: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Which landmarks can be seen in a picture.

    A landmark is seen where its surface faces the viewer, its pixel lies in the picture, and at least one of the 3 x 3
    pixels around it shows a part of the face: a thin lash or an edge must not hide it.

    Args:
        landmarks: (68, 2) in pixels, pixel (i, j) covering x in [j, j + 1) and y in [i, i + 1).
        facing: (68,) cosines between the surface normals and the direction to the viewer.
        regions: (S, S) numbers of ``scene.REGIONS``.

    Returns:
        (68,) bool.
    """
    face = np.isin(regions, [REGIONS.index(name) for name in FACE_REGIONS])
    padded = np.pad(face, 1)
    height, width = face.shape
    # shifted[dy][dx] at (i, j) is the pixel (i + dy - 1, j + dx - 1).
    near = np.any([padded[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)], axis=0)
    column, row = np.floor(landmarks).astype(int).T
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    seen = near[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
    return np.asarray(inside & seen & (np.asarray(facing) > 0))


def hidden_units(spec: FaceSpec) -> frozenset[str]:
    """Units that cannot be seen behind what is worn."""
    props = spec.props
    return frozenset((HIDDEN_BY_MASK if props.mask else ()) + (HIDDEN_BY_SUNGLASSES if props.sunglasses else ()))


def label(
    spec: FaceSpec,
    *,
    shown: Mapping[str, tuple[float, float]],
    neutral: np.ndarray,
    resting: np.ndarray,
    acting: np.ndarray,
    camera: Camera,
    split: str,
    regions: np.ndarray | None = None,
    facing: np.ndarray | None = None,
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
        regions: (S, S) region mask of the picture; without it and ``facing`` the visibility is not labelled.
        facing: (68,) cosines between the landmarks' normals and the direction to the viewer.

    Under a mask the expression and the lower face's units have no label, behind sunglasses those of the lids have none.
    """
    sides = dict.fromkeys(ACTION_UNITS, (0.0, 0.0)) | {u: v for u, v in shown.items() if u in ACTION_UNITS}
    sides |= measured_units(neutral, resting, acting, cheeks=sides["AU06"])
    intensity = {unit: max(both) for unit, both in sides.items()}
    landmarks = camera.project(acting[load_topology().landmarks])
    low, high = landmarks.min(0), landmarks.max(0)
    person, hidden = spec.person, hidden_units(spec)
    told = [unit for unit in ACTION_UNITS if unit not in hidden]
    valence, arousal = rated_affect(spec, intensity)
    seen = None
    if regions is not None and facing is not None:
        seen = landmark_visibility(landmarks, facing, regions)
    labels = FaceLabels(
        key=f"{spec.identity:06d}-{spec.shot:02d}",
        identity=f"{spec.seed}-{spec.identity:06d}",
        split=split,
        expression=None if spec.props.mask else spec.expression,
        compound=None if spec.props.mask else spec.compound,
        au_occurrence={unit: int(intensity[unit] >= PRESENT) for unit in told},
        au_intensity={unit: round(intensity[unit], 3) for unit in told},
        au_left={unit: round(sides[unit][0], 3) for unit in told},
        au_right={unit: round(sides[unit][1], 3) for unit in told},
        attributes=attributes(spec, intensity=intensity, shape=face_shape(neutral, acting)),
        age=round(person.age, 2),
        pose=Pose(round(spec.yaw, 3), round(spec.pitch, 3), round(spec.roll, 3)),
        box=Box(*(round(float(value), 3) for value in (*low, *(high - low)))),
        landmarks=landmarks.round(3),
        landmark_visibility=seen,
        gaze=gaze_direction(neutral, acting, camera),
        valence=valence,
        arousal=arousal,
        palsy_side=None if person.palsy is None else person.palsy.side,
        palsy_degree=0.0 if person.palsy is None else round(person.palsy.degree, 3),
    )
    return replace(labels, caption=caption(labels, spec.shot_stream(Stream.CAPTION)))
