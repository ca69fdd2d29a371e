"""A person's resting head: MakeHuman's macro shapes blended by age, sex, build and ancestry, plus local targets.

Shapes: V packed vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from semeia.data.synthetic.faces.pack import load_pack

if TYPE_CHECKING:
    from semeia.data.synthetic.faces.spec import Person

AGES = {"baby": 1.0, "child": 10.0, "young": 25.0, "old": 90.0}
"""Years at which MakeHuman's age shapes stand: a convention of its sliders, not a measured age."""

_LEVELS = ("min", "average", "max")


def neutral_head(person: Person) -> np.ndarray:
    """(V, 3) vertices of the person's head without any action."""
    weights = dict(person.local)
    ages = dict(zip(AGES, _between(person.age, list(AGES.values())), strict=True))
    muscle = dict(zip(_LEVELS, _between(person.muscle, [0.0, 0.5, 1.0]), strict=True))
    weight = dict(zip(_LEVELS, _between(person.weight, [0.0, 0.5, 1.0]), strict=True))
    for sex, of_sex in (("male", person.male), ("female", 1 - person.male)):
        for age, of_age in ages.items():
            for ancestry, share in person.ancestry.items():
                weights[f"R/{ancestry}/{sex}/{age}"] = of_sex * of_age * share
            for strong, of_muscle in muscle.items():
                for heavy, of_weight in weight.items():
                    weights[f"U/{sex}/{age}/{strong}/{heavy}"] = of_sex * of_age * of_muscle * of_weight
    pack = load_pack()
    vertices = pack.vertices.astype(np.float32).copy()
    for name, value in weights.items():
        if value:
            vertices += np.float32(value) * pack.delta(name)
    return vertices


def _between(value: float, anchors: Sequence[float]) -> list[float]:
    """Linear interpolation weights of ``value`` among ascending ``anchors``."""
    return [float(np.interp(value, anchors, np.eye(len(anchors))[k])) for k in range(len(anchors))]


_SPREAD = {
    "nose": 0.45, "eyes": 0.35, "mouth": 0.38, "chin": 0.4, "cheek": 0.5, "forehead": 0.4, "head": 0.18,
    "ears": 0.35, "eyebrows": 0.4, "neck": 0.3, "asym": 0.10,
}  # fmt: skip
_DAMPED = (  # words in a target's name, and the share of its spread that still looks like a person
    (("trans",), 0.35),
    (("head-age", "septum", "head-trans", "head-scale", "mouth-scale", "prognath"), 0.35),
    (("shape-pointed", "shape-tri", "head-angle"), 0.2),
    (("eye-push", "eye-height", "jaw-drop", "lips"), 0.5),
)


def sample_shape(rng: np.random.Generator) -> dict[str, float]:
    """Sparse half-normal weights of the local targets; paired features get nearly the same weight on both sides."""
    weights: dict[str, float] = {}
    for name in load_pack().index:
        folder, _, target = name.removeprefix("L/").partition("/")
        if not name.startswith("L/") or target.startswith("r-"):
            continue
        draw, size, tilt = rng.random(), abs(rng.normal()), rng.normal(1, 0.04)
        spread = _SPREAD[folder]
        for words, share in _DAMPED:
            spread *= share if any(word in target for word in words) else 1.0
        if draw < (0.25 if folder == "asym" else 0.3):
            weights[name] = float(min(size, 2.0) * spread)
            if target.startswith("l-"):
                weights[f"L/{folder}/r-{target[2:]}"] = float(weights[name] * tilt)
    curve = float(np.clip(rng.normal(0.22, 0.1), 0, 0.45))  # the resting mouth of the base mesh turns down
    return weights | {"A/mouthSmileLeft": curve, "A/mouthSmileRight": curve}
