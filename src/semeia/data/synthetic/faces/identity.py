"""A person's resting head: MakeHuman's macro shapes blended by age, sex, build and ancestry, plus local targets.

On top of them lies smooth noise, since the targets alone give a family of faces that look alike. Coefficients of the
noise live beside the local targets under the names ``N/0``, ``N/1``, ...

Shapes: V packed vertices, K fields of noise.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from semeia.data.synthetic.faces.pack import load_pack
from semeia.data.synthetic.faces.topology import load_topology, triangulate, vertex_normals

if TYPE_CHECKING:
    from semeia.data.synthetic.faces.spec import Person

AGES = {"baby": 1.0, "child": 10.0, "young": 25.0, "old": 90.0}
"""Years at which MakeHuman's age shapes stand: a convention of its sliders, not a measured age."""

RATIOS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "between the eyes / both eyes": (0.33, 0.45),
        "both eyes / face width": (0.49, 0.66),
        "mouth / between the eyes": (1.12, 1.95),
        "nose width / between the eyes": (0.62, 1.35),
        "nose / nasion to chin": (0.34, 0.49),
        "both lips / mouth": (0.28, 0.62),
        "lower lip / upper lip": (0.65, 1.9),
        "eye / between the eyes": (0.60, 1.05),
    }
)
"""Bounds within which a head is kept: hand-set around the ranges of Farkas (1994, Anthropometry of the Head and Face)
as far as the 68 landmarks can express them."""

_LEVELS = ("min", "average", "max")
_REDRAWS = 24
_OCTAVES = ((2.2, 0.026), (1.1, 0.016), (0.6, 0.007))  # wavelength and size of the noise in decimetres
_EVEN_FIELDS, _ODD_FIELDS = 6, 3  # mirrored and counter-mirrored fields of each octave
_ODD_SHARE = 0.28  # size of the asymmetric part over the symmetric one


def neutral_head(person: Person) -> np.ndarray:
    """(V, 3) vertices of the person's head without any action."""
    vertices = macro_head(
        age=person.age, male=person.male, ancestry=person.ancestry, muscle=person.muscle, weight=person.weight
    )
    pack, noise = load_pack(), np.zeros(len(noise_fields()), np.float32)
    for name, value in person.local.items():
        if name.startswith("N/"):
            noise[int(name[2:])] = value
        elif value:
            vertices += np.float32(value) * pack.delta(name)
    return np.asarray(vertices + np.tensordot(noise, noise_fields(), 1))


def macro_head(*, age: float, male: float, ancestry: Mapping[str, float], muscle: float, weight: float) -> np.ndarray:
    """(V, 3) vertices of an average head of that age (years), sex, ancestry and build (0 to 1)."""
    weights: dict[str, float] = {}
    ages = dict(zip(AGES, _between(age, list(AGES.values())), strict=True))
    strengths = dict(zip(_LEVELS, _between(muscle, [0.0, 0.5, 1.0]), strict=True))
    masses = dict(zip(_LEVELS, _between(weight, [0.0, 0.5, 1.0]), strict=True))
    for sex, of_sex in (("male", male), ("female", 1 - male)):
        for stage, of_age in ages.items():
            for origin, share in ancestry.items():
                weights[f"R/{origin}/{sex}/{stage}"] = of_sex * of_age * share
            for strong, of_muscle in strengths.items():
                for heavy, of_weight in masses.items():
                    weights[f"U/{sex}/{stage}/{strong}/{heavy}"] = of_sex * of_age * of_muscle * of_weight
    pack = load_pack()
    vertices = pack.vertices.astype(np.float32).copy()
    for name, value in weights.items():
        if value:
            vertices += np.float32(value) * pack.delta(name)
    return vertices


@functools.cache
def noise_fields() -> np.ndarray:
    """(K, V, 3) float32 smooth displacements of unit size: waves along the skin's normal and a little along the skin.

    Even fields mirror themselves, odd ones are the opposite of their mirror image. All vanish at the eyes' rims, at the
    lips' inner line, on the neck and on everything that is no skin, so that nothing tears.
    """
    topology = load_topology()
    place = topology.pack.vertices
    skin = np.isin(topology.pack.parts, ["skin", "cloth"])
    normal = vertex_normals(place, triangulate(topology.pack.quads[skin]))
    free = _freedom()
    flip = np.array([-1.0, 1, 1])
    rng = np.random.default_rng(11)  # the fields are the same in every world, their coefficients are the person's
    fields = []
    for length, _ in _OCTAVES:
        for sign in [1] * _EVEN_FIELDS + [-1] * _ODD_FIELDS:
            way = rng.normal(size=3)
            way *= 2 * np.pi / length / np.linalg.norm(way)
            phase, drift = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.35, 3)

            def wave(points: np.ndarray, way: np.ndarray = way, phase: float = phase) -> np.ndarray:
                return np.asarray(np.cos(points @ way + phase))[:, None]

            straight = wave(place) * (normal + drift)
            mirrored = wave(place * flip) * (normal + drift * flip)  # the normal of the mirrored point, mirrored back
            field = free[:, None] * (straight + sign * mirrored)
            fields.append(field / np.sqrt((field**2).sum(1)[free > 0.5].mean()))
    return np.asarray(fields, np.float32)


def _freedom() -> np.ndarray:
    """(V,) share of the noise that a vertex follows."""
    topology = load_topology()
    pack = topology.pack
    place = pack.vertices
    rims = np.unique(np.concatenate([pack.quads[np.isin(pack.parts, ["cavity", "lash"])].ravel()]))
    distance = cKDTree(place[rims]).query(place)[0]
    rise = np.clip((distance - 0.03) / 0.16, 0, 1) * np.clip((place[:, 1] - 5.80) / 0.35, 0, 1)
    is_skin = np.zeros(len(place), bool)
    is_skin[pack.quads[pack.parts == "skin"]] = True
    return np.asarray(is_skin * rise**2 * (3 - 2 * rise))


def face_ratios(landmarks: np.ndarray) -> dict[str, float]:
    """Proportions of a face by the names of ``RATIOS``, from its (68, 3) landmarks."""

    def far(a: int, b: int) -> float:
        return float(np.linalg.norm(landmarks[a] - landmarks[b]))

    between = far(39, 42)
    return {
        "between the eyes / both eyes": between / far(36, 45),
        "both eyes / face width": far(36, 45) / far(1, 15),
        "mouth / between the eyes": far(48, 54) / between,
        "nose width / between the eyes": far(31, 35) / between,
        "nose / nasion to chin": far(27, 33) / far(27, 8),
        "both lips / mouth": far(51, 57) / far(48, 54),
        "lower lip / upper lip": far(57, 62) / max(far(51, 62), 1e-6),
        "eye / between the eyes": 0.5 * (far(36, 39) + far(42, 45)) / between,
    }


def _between(value: float, anchors: Sequence[float]) -> list[float]:
    """Linear interpolation weights of ``value`` among ascending ``anchors``."""
    return [float(np.interp(value, anchors, np.eye(len(anchors))[k])) for k in range(len(anchors))]


_SPREAD = {
    "nose": 0.55, "eyes": 0.42, "mouth": 0.45, "chin": 0.5, "cheek": 0.6, "forehead": 0.5, "head": 0.22,
    "ears": 0.42, "eyebrows": 0.45, "neck": 0.3, "asym": 0.13,
}  # fmt: skip
_DAMPED = (  # words in a target's name, and the share of its spread that still looks like a person
    (("trans",), 0.35),
    (("head-age", "septum", "head-trans", "head-scale", "mouth-scale", "prognath"), 0.35),
    (("shape-pointed", "shape-tri", "head-angle"), 0.2),
    (("eye-push", "eye-height", "jaw-drop", "lips"), 0.5),
)


_FULL_LIPS = ("upperlip-volume-incr", "lowerlip-volume-incr", "upperlip-height-incr", "lowerlip-height-incr")


def sample_shape(rng: np.random.Generator, *, base: np.ndarray | None = None) -> dict[str, float]:
    """Weights of the local targets and of the noise, drawn until the face has human proportions.

    Args:
        rng: the person's stream of the shape.
        base: (V, 3) the person's ``macro_head``, on which the proportions are measured; the template without it.

    Returns:
        Weights by name. Where no draw keeps all of ``RATIOS``, the one that misses them least.
    """
    landmarks = load_topology().landmarks
    start = (load_pack().vertices if base is None else base)[landmarks]
    best: dict[str, float] = {}
    least = np.inf
    for seed in rng.integers(2**32, size=_REDRAWS):
        weights = _draw_shape(np.random.default_rng(seed))
        misses = _misses(start, weights)
        if misses < least:
            best, least = weights, misses
        if least == 0:
            break
    return best


def _misses(start: np.ndarray, weights: Mapping[str, float]) -> float:
    """How far a face lies outside ``RATIOS``, summed over them."""
    pack, landmarks = load_pack(), load_topology().landmarks
    face = start.astype(float)
    for name, value in weights.items():
        moved = noise_fields()[int(name[2:])] if name.startswith("N/") else pack.delta(name)
        face = face + value * moved[landmarks]
    ratios = face_ratios(face)
    return float(sum(max(low - ratios[name], ratios[name] - high, 0.0) for name, (low, high) in RATIOS.items()))


def _draw_shape(rng: np.random.Generator) -> dict[str, float]:
    """One draw: sparse half-normal weights; paired features get nearly the same weight on both sides."""
    weights: dict[str, float] = {}
    for name in load_pack().index:
        folder, _, target = name.removeprefix("L/").partition("/")
        if not name.startswith("L/") or target.startswith("r-"):
            continue
        draw, size, tilt = rng.random(), abs(rng.normal()), rng.normal(1, 0.06)
        spread = _SPREAD[folder]
        for words, share in _DAMPED:
            spread *= share if any(word in target for word in words) else 1.0
        if draw < (0.4 if folder == "asym" else 0.3):
            weights[name] = float(min(size, 2.0) * spread)
            if target.startswith("l-"):
                weights[f"L/{folder}/r-{target[2:]}"] = float(weights[name] * tilt)
    full = float(np.clip(rng.normal(0.18, 0.22), 0, 0.7))  # the lips of the base mesh are thin
    for target in _FULL_LIPS:
        name = f"L/mouth/mouth-{target}"
        weights[name] = weights.get(name, 0.0) + full * (0.6 if "height" in target else 1.0)
    curve = float(np.clip(rng.normal(0.22, 0.1), 0, 0.45))  # the resting mouth of the base mesh turns down
    weights |= {"A/mouthSmileLeft": curve, "A/mouthSmileRight": curve}
    sizes = [
        size * (1 if k < _EVEN_FIELDS else _ODD_SHARE) / np.sqrt(_EVEN_FIELDS if k < _EVEN_FIELDS else _ODD_FIELDS)
        for _, size in _OCTAVES
        for k in range(_EVEN_FIELDS + _ODD_FIELDS)
    ]
    return weights | {f"N/{k}": float(size * rng.normal()) for k, size in enumerate(sizes)}
