"""A person's resting head: MakeHuman's macro shapes blended by age, sex, build and ancestry, plus local targets.

Shapes: V packed vertices.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semeia.data.synthetic.faces.pack import load_pack
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
