"""Action units as data: what each does to the face, which go together, what an expression is made of, and palsy.

Intensity 0-5 is the FACS scale A-E, taken as linear in the displacement. Gains come from anatomy and from looking at
renders, not from FACS-coded recordings. Where two units move the same target, the stronger one wins.

Shapes: V packed vertices.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from semeia.data.synthetic.faces.pack import load_pack
from semeia.data.synthetic.faces.topology import fit_sphere, load_topology

TARGETS: Mapping[str, Mapping[str, float]] = {
    "AU01": {"browInnerUp": 1.0},
    "AU02": {"browOuterUp*": 1.0},
    "AU04": {"browDown*": 1.0},
    "AU05": {"eyeWide*": 0.9},
    "AU06": {"cheekSquint*": 1.0, "eyeSquint*": 0.35},
    "AU07": {"eyeSquint*": 0.9, "eyeBlink*": 0.15},
    "AU09": {"noseSneer*": 1.0, "browDown*": 0.25, "mouthUpperUp*": 0.2},
    "AU10": {"mouthUpperUp*": 1.0},
    "AU12": {"mouthSmile*": 1.2},
    "AU14": {"mouthDimple*": 1.0},
    "AU15": {"mouthFrown*": 1.0},
    "AU17": {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.35},
    "AU18": {"mouthPucker": 0.9},
    "AU20": {"mouthStretch*": 1.0},
    "AU22": {"mouthFunnel": 0.9},
    "AU23": {"mouthRollUpper": 0.35, "mouthRollLower": 0.35, "mouthPress*": 0.35},
    "AU24": {"mouthPress*": 1.0, "mouthRollLower": 0.2, "mouthRollUpper": 0.2},
    "AU25": {"mouthLowerDown*": 0.7, "mouthUpperUp*": 0.45, "jawOpen": 0.07},
    "AU26": {"jawOpen": 0.45},
    "AU27": {"jawOpen": 0.9},
    "AU34": {"cheekPuff": 1.0},
    "AU43": {"eyeBlink*": 1.0},
}
"""Gain of each face target at intensity 5. ``*`` stands for both sides' own target; the other targets are midline
ones, split into a left and a right half by a soft step, save ``jawOpen``, which has no sides."""

PROTOTYPES: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "happiness": {"AU06": (0.85, 1.0, 4.5), "AU12": (1.0, 2.0, 5.0), "AU25": (0.75, 2.5, 5.0), "AU26": (0.4, 0.8, 3.0)},
    "sadness": {"AU01": (1.0, 2.0, 5.0), "AU04": (0.85, 1.0, 3.5), "AU15": (1.0, 2.0, 5.0), "AU17": (0.6, 1.0, 4.0)},
    "surprise": {
        "AU01": (1.0, 2.5, 5.0), "AU02": (1.0, 2.5, 5.0), "AU05": (0.9, 1.5, 5.0), "AU27": (0.3, 2.7, 5.0),
        "AU26": (0.85, 2.0, 5.0), "AU25": (0.9, 1.0, 3.5),
    },
    "fear": {
        "AU01": (1.0, 2.0, 5.0), "AU02": (0.8, 1.0, 4.0), "AU04": (0.9, 1.0, 4.0), "AU05": (1.0, 2.0, 5.0),
        "AU20": (0.9, 2.0, 5.0), "AU25": (0.8, 1.0, 4.0), "AU26": (0.4, 1.0, 3.0),
    },
    "disgust": {
        "AU09": (0.9, 2.0, 5.0), "AU10": (0.85, 1.5, 4.5), "AU04": (0.4, 1.0, 3.0), "AU07": (0.5, 1.0, 3.0),
        "AU17": (0.35, 1.0, 3.5), "AU15": (0.2, 1.0, 3.0),
    },
    "anger": {
        "AU04": (1.0, 2.5, 5.0), "AU05": (0.35, 1.0, 3.5), "AU07": (0.75, 1.5, 4.5), "AU23": (0.55, 1.5, 5.0),
        "AU24": (0.6, 1.5, 5.0), "AU10": (0.15, 1.0, 2.5),
    },
    "contempt": {"AU14": (1.0, 2.5, 5.0), "AU12": (0.55, 1.0, 3.5)},
}  # fmt: skip
"""Expressions after EMFACS: probability that a unit takes part, then the least and the greatest intensity. All units of
contempt are shown on one side."""

COMPOUNDS: Mapping[str, tuple[tuple[str, str], Mapping[str, float]]] = {
    "happily surprised": (("happiness", "surprise"), {
        "AU01": 1.0, "AU02": 1.0, "AU12": 1.0, "AU25": 1.0, "AU26": 0.67, "AU05": 0.6}),
    "happily disgusted": (("happiness", "disgust"), {
        "AU10": 1.0, "AU12": 1.0, "AU25": 1.0, "AU09": 0.6, "AU06": 0.6, "AU04": 0.35}),
    "sadly fearful": (("sadness", "fear"), {
        "AU01": 1.0, "AU04": 1.0, "AU20": 1.0, "AU25": 1.0, "AU05": 0.35, "AU15": 0.3, "AU02": 0.35}),
    "sadly angry": (("sadness", "anger"), {"AU04": 1.0, "AU15": 1.0, "AU07": 0.6, "AU17": 0.6, "AU23": 0.2}),
    "sadly surprised": (("sadness", "surprise"), {
        "AU01": 1.0, "AU04": 1.0, "AU25": 1.0, "AU26": 1.0, "AU15": 0.4, "AU02": 0.35}),
    "sadly disgusted": (("sadness", "disgust"), {
        "AU04": 1.0, "AU10": 1.0, "AU01": 0.6, "AU09": 0.4, "AU15": 0.6, "AU17": 0.5}),
    "fearfully angry": (("fear", "anger"), {"AU04": 1.0, "AU20": 1.0, "AU25": 1.0, "AU05": 0.7, "AU10": 0.3}),
    "fearfully surprised": (("fear", "surprise"), {
        "AU01": 1.0, "AU02": 1.0, "AU05": 1.0, "AU20": 1.0, "AU25": 1.0, "AU04": 0.5, "AU26": 0.5}),
    "angrily surprised": (("anger", "surprise"), {
        "AU04": 1.0, "AU25": 1.0, "AU26": 1.0, "AU05": 0.7, "AU10": 0.3, "AU02": 0.25}),
    "angrily disgusted": (("anger", "disgust"), {"AU04": 1.0, "AU10": 1.0, "AU07": 0.6, "AU17": 0.6, "AU09": 0.4}),
    "disgustedly surprised": (("disgust", "surprise"), {
        "AU01": 1.0, "AU02": 1.0, "AU05": 0.9, "AU10": 1.0, "AU09": 0.4, "AU25": 0.5, "AU04": 0.3}),
}  # fmt: skip
"""The compound classes of RAF-DB: the two expressions, and the probability that a unit takes part.

After the units that Du, Tao and Martinez (2014, table 1) found, recalled and approximate. A unit's intensities run
over the mean of its ranges in the two prototypes, over its one range where only one has it."""

_ELSEWHERE = (1.0, 4.0)  # intensities of a unit of a compound that neither prototype has

_CONFLICTS = (
    ("AU24", "AU25"), ("AU23", "AU25"), ("AU24", "AU26"), ("AU23", "AU26"), ("AU24", "AU27"), ("AU23", "AU27"),
    ("AU26", "AU27"), ("AU05", "AU43"), ("AU07", "AU43"), ("AU12", "AU18"), ("AU12", "AU22"), ("AU12", "AU15"),
    ("AU14", "AU18"), ("AU14", "AU22"), ("AU18", "AU20"), ("AU20", "AU22"), ("AU18", "AU22"), ("AU18", "AU24"),
    ("AU22", "AU24"), ("AU22", "AU23"), ("AU18", "AU23"), ("AU17", "AU26"), ("AU17", "AU27"), ("AU15", "AU27"),
    ("AU18", "AU27"), ("AU22", "AU27"), ("AU34", "AU25"), ("AU34", "AU26"), ("AU34", "AU27"), ("AU34", "AU12"),
    ("AU34", "AU20"), ("AU34", "AU10"), ("AU34", "AU14"), ("AU05", "AU07"), ("AU24", "AU10"), ("AU12", "AU20"),
)  # fmt: skip

_JAW = ("jawOpen",)
_RESTING = {  # what a fully paralysed side looks like at rest: target without its side, and weight
    "mouthFrown": 0.30, "eyeWide": 0.22, "browDown": 0.22, "mouthSmile": -0.16, "cheekSquint": -0.2,
    "browOuterUp": -0.3, "mouthLowerDown": 0.1,
}  # fmt: skip
_HALF_WIDTH = 0.07  # decimetres over which a midline target passes from one side to the other
_LIFTING = ("mouthSmile", "mouthUpperUp")  # targets that lift the upper lip
_LEAST_LIFT = 0.55
_FRONT = 0.9  # z in decimetres; what lies behind is no skin around the mouth
_TURNED = 0.2  # cosine between a quad's normals at rest and in action below which it has turned over
_UNFOLDINGS = 60
_LID_THICKNESS = 1.012  # radius of the lids' inner surface over the eyeball's


@functools.cache
def compatible_units() -> Mapping[str, frozenset[str]]:
    """For each driven unit, the units that can be shown together with it."""
    forbidden = {frozenset(pair) for pair in _CONFLICTS}
    table: dict[str, set[str]] = {unit: set() for unit in TARGETS}
    for first, second in combinations(TARGETS, 2):
        if frozenset((first, second)) not in forbidden:
            table[first].add(second)
            table[second].add(first)
    return {unit: frozenset(others) for unit, others in table.items()}


def draw_prototype(rng: np.random.Generator, expression: str) -> dict[str, float]:
    """Commanded intensities of one variation of an expression; weak and strong ones are drawn alike."""
    return _draw_units(rng, PROTOTYPES[expression])


def draw_compound(rng: np.random.Generator, compound: str) -> dict[str, float]:
    """Commanded intensities of one variation of a compound expression of ``COMPOUNDS``."""
    parents, probabilities = COMPOUNDS[compound]
    units = {}
    for unit, probability in probabilities.items():
        ranges = [PROTOTYPES[parent][unit][1:] for parent in parents if unit in PROTOTYPES[parent]] or [_ELSEWHERE]
        low, high = np.mean(ranges, axis=0)
        units[unit] = (probability, float(low), float(high))
    return _draw_units(rng, units)


def _draw_units(rng: np.random.Generator, units: Mapping[str, tuple[float, float, float]]) -> dict[str, float]:
    """Draw units in the order given, leaving out those that cannot be shown with one drawn before."""
    strength = rng.uniform()
    action: dict[str, float] = {}
    for unit, (probability, low, high) in units.items():
        position = float(0.6 * strength + 0.4 * rng.uniform())
        takes_part = rng.random() < probability
        if takes_part and all(other in compatible_units()[unit] for other in action):
            action[unit] = low + (high - low) * position
    return action


def draw_talking(rng: np.random.Generator) -> dict[str, float]:
    """Speech, closed eyes, open mouths and screwed-up eyes: actions that are no expression."""
    kind = rng.choice(["speech", "closed", "open", "glare"], p=[0.4, 0.3, 0.15, 0.15])
    u = rng.uniform
    if kind == "speech":
        action = {"AU25": u(1, 4.5), "AU26": u(0, 4)}
        extra = rng.choice(["", "AU18", "AU22", "AU12", "AU20", "AU01"])
        return action | ({str(extra): u(1, 3)} if extra else {})
    if kind == "closed":
        return {"AU43": u(4.5, 5)} | ({"AU12": u(1, 4), "AU06": u(1, 4)} if rng.random() < 0.3 else {})
    if kind == "open":
        return {"AU27": u(2.7, 5), "AU25": u(1, 4)} | ({"AU43": u(4, 5)} if rng.random() < 0.3 else {})
    return {"AU04": u(1, 4), "AU06": u(1, 4), "AU07": u(2, 5)}


@dataclass(frozen=True)
class Palsy:
    """A paralysis of one side: "left" or "right", and its degree in (0, 1] on a hand-set scale."""

    side: str
    degree: float


def sided(
    action: Mapping[str, float],
    *,
    balance: Mapping[str, tuple[float, float]],
    palsy: Palsy | None,
    one_sided: Mapping[str, str] | None = None,
) -> dict[str, tuple[float, float]]:
    """Intensity on the subject's (left, right) side.

    Args:
        action: commanded intensity 0-5 of each unit.
        balance: natural strength of the (left, right) side of each unit, the stronger one 1.
        palsy: of the person.
        one_sided: units shown on one side only -> that side; the jaw has no sides and stays whole.

    The stronger side shows what is commanded. A palsy of degree d weakens its side to (1 - d); the jaw, which another
    nerve moves, is spared and has no sides.
    """
    shown = {}
    for unit, intensity in action.items():
        has_sides = not _is_jaw(unit)
        left, right = balance[unit] if has_sides else (1.0, 1.0)
        alone = one_sided.get(unit) if one_sided and has_sides else None
        if alone is not None:
            left, right = float(alone == "left"), float(alone == "right")
        if palsy is not None and has_sides:
            weak = 1 - palsy.degree
            healthy = {"left": left, "right": right} if alone is not None else {"left": 1.0, "right": 1.0}
            left = left * weak if palsy.side == "left" else healthy["left"]
            right = right * weak if palsy.side == "right" else healthy["right"]
        shown[unit] = (intensity * left, intensity * right)
    return shown


def _is_jaw(unit: str) -> bool:
    return tuple(TARGETS[unit]) == _JAW


def target_weights(
    shown: Mapping[str, tuple[float, float]], *, gaze: tuple[float, float], palsy: Palsy | None
) -> dict[tuple[str, str], float]:
    """Weights of face targets, keyed by target and half: ("browDownLeft", ""), ("cheekPuff", "left"), ("jawOpen", "").

    Args:
        shown: intensity 0-5 of each unit on the (left, right) side.
        gaze: turn of the eyes to the subject's left, and up, in units of the targets.
        palsy: its side droops at rest while the mouth is drawn to the other one.
    """
    weights: dict[tuple[str, str], float] = {}
    for unit, both in shown.items():
        for target, gain in TARGETS[unit].items():
            for side, intensity in zip(("left", "right"), both, strict=True):
                if target in _JAW:
                    key = (target, "")
                else:
                    key = (target[:-1] + side.title(), "") if target.endswith("*") else (target, side)
                weights[key] = max(weights.get(key, 0.0), gain * intensity / 5)

    def add(target: str, weight: float) -> None:
        weights[target, ""] = weights.get((target, ""), 0.0) + weight

    across, up = gaze
    add("eyeLookOutLeft" if across > 0 else "eyeLookInLeft", abs(across))
    add("eyeLookInRight" if across > 0 else "eyeLookOutRight", abs(across))
    for side in ("Left", "Right"):
        add(("eyeLookUp" if up > 0 else "eyeLookDown") + side, abs(up))
    if palsy is not None:
        activity = max([weight for (target, _), weight in weights.items() if target.startswith("mouth")], default=0.0)
        for target, weight in _RESTING.items():
            add(target + palsy.side.title(), weight * palsy.degree)
        healthy = "Right" if palsy.side == "left" else "Left"
        add("mouth" + healthy, (0.12 + 0.28 * activity) * palsy.degree)
    return weights


def deform(neutral: np.ndarray, weights: Mapping[tuple[str, str], float]) -> np.ndarray:
    """Apply face targets to a person's vertices (V, 3), unfold the skin and keep the lids outside the eyeballs.

    Targets are lengths on an adult's face, so they are scaled with the size of the face they act on. Those that lift
    the upper lip are scaled down further, to 0.55 at least, where it is short, as children's are: they would push it
    past the nose. What is left of folds, ``_unfold`` smooths.
    """
    topology = load_topology()
    scale = face_scale(neutral)
    lift = scale * float(np.clip(_upper_lip(neutral) / (_upper_lip(topology.pack.vertices) * scale), _LEAST_LIFT, 1))
    vertices = neutral.astype(np.float32).copy()
    step = 1 / (1 + np.exp(-topology.pack.vertices[:, :1] / _HALF_WIDTH))  # (V, 1): 1 on the left side
    shares: dict[str, Any] = {"": 1.0, "left": step, "right": 1 - step}
    for (target, half), weight in weights.items():
        if abs(weight) > 1e-4:
            share = shares[half]
            size = 1.0 if "Look" in target else lift if target.startswith(_LIFTING) else scale
            vertices += (weight * size * share * topology.pack.delta("A/" + target)).astype(np.float32)
    _unfold(neutral, vertices)
    for side, lids in topology.lids.items():
        centre, radius = fit_sphere(vertices[topology.eyeballs[side]])
        offset = vertices[lids] - centre
        distance = np.linalg.norm(offset, axis=1, keepdims=True)
        vertices[lids] = centre + offset * np.maximum(radius * _LID_THICKNESS / np.maximum(distance, 1e-6), 1)
    return vertices


@functools.cache
def _skin_near_mouth() -> tuple[np.ndarray, Any]:
    """(Q, 4) quads between nose and red of the lips and beside the corners; sparse (V, V) means over neighbours."""
    from scipy import sparse

    pack, landmarks = load_pack(), load_topology().landmarks
    place = pack.vertices
    x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]
    corner, peak = place[landmarks[54]], place[landmarks[52]]
    # The red of the lips is left out: units that roll it in turn it over, and rightly so.
    above = (x < corner[0]) & (y > peak[1] - 0.04) & (y < place[landmarks[30], 1])
    beside = (x >= corner[0] - 0.03) & (x < corner[0] + 0.25) & (np.abs(y - corner[1]) < 0.25)
    skin = pack.quads[pack.parts == "skin"]
    quads = skin[((above | beside) & (z > _FRONT))[skin].all(1)]
    ends = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
    ends = np.unique(np.concatenate([ends, ends[:, ::-1]]), axis=0)
    count = len(place)
    links = sparse.csr_matrix((np.ones(len(ends), np.float32), (ends[:, 0], ends[:, 1])), shape=(count, count))
    degree = np.maximum(np.asarray(links.sum(1)).ravel(), 1)
    return quads, (sparse.diags(1 / degree) @ links).tocsr().astype(np.float32)


def _unfold(neutral: np.ndarray, vertices: np.ndarray) -> None:
    """Smooth the displacement of ``vertices`` (V, 3), in place, wherever a quad of skin near the mouth has turned over.

    The vertices of such quads take the mean displacement of their neighbours, again until none is left.
    """
    quads, mean = _skin_near_mouth()
    rest = _quad_normals(neutral, quads)
    for _ in range(_UNFOLDINGS):
        turned = (rest * _quad_normals(vertices, quads)).sum(1) < _TURNED
        if not turned.any():
            return
        ids = np.unique(quads[turned])
        moved = vertices - neutral
        vertices[ids] = neutral[ids] + 0.5 * moved[ids] + 0.5 * (mean[ids] @ moved)


def _quad_normals(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """(Q, 3) unit normals of quads (Q, 4)."""
    corner = vertices[quads]
    normal = np.cross(corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1])
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))


def _upper_lip(vertices: np.ndarray) -> float:
    """Height from the nose's base to the peak of the upper lip."""
    point = vertices[load_topology().landmarks, 1]
    return float(point[33] - point[51])


def face_scale(vertices: np.ndarray) -> float:
    """Size of a face over the template's: eye width + mouth width + height from nasion to chin, kept in 0.5-1.05."""
    return float(np.clip(_extent(vertices) / _extent(load_pack().vertices), 0.5, 1.05))


def _extent(vertices: np.ndarray) -> float:
    point = vertices[load_topology().landmarks]
    eyes, mouth = np.linalg.norm(point[36] - point[45]), np.linalg.norm(point[48] - point[54])
    return float(eyes + mouth + point[27, 1] - point[8, 1])
