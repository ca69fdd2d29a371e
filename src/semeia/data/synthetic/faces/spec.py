"""What a picture of the face world shows, before anything is computed: one plain record a shot.

``sample_spec`` draws it from a seed. Every stage has its own stream of random numbers, seeded by (seed, identity,
stream) where all shots of a person share it and by (seed, identity, shot, stream) where a shot has its own, so that a
stage may be added or changed without shifting the others. The clock is never read.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from semeia.data.synthetic.faces.action_units import PROTOTYPES, Palsy, compatible_units, draw_prototype, draw_talking
from semeia.data.synthetic.faces.haircuts import Hair, sample_hair
from semeia.data.synthetic.faces.identity import sample_shape

ANCESTRIES = ("african", "asian", "caucasian")


class Stream(enum.IntEnum):
    """Streams of random numbers, one a stage.

    Numbers are never reused and never 0: numpy pads short seeds with zeros, so a person's stream (three numbers) and a
    shot's stream (four numbers) stay apart only while the fourth number is not 0.
    """

    BODY = 1
    SHAPE = 2
    LOOKS = 3
    PALSY = 4
    SKIN = 5
    EYES = 6
    BROWS = 7
    HAIR = 8
    CLOTH = 9
    WARDROBE = 10
    WRINKLES = 11
    ACTION = 101
    POSE = 102
    CAMERA = 103
    LIGHT = 104
    BACKGROUND = 105
    TONE = 106
    SENSOR = 107
    PATHS = 108
    PROPS = 109
    LENS = 110
    AFFECT = 111
    CAPTION = 112


@dataclass(frozen=True)
class Person:
    """One identity.

    ``male``, ``muscle``, ``weight``, ``melanin`` and ``beard`` lie in [0, 1]; ``age`` is in years of the MakeHuman
    convention. ``local`` maps shape targets to weights, ``balance`` action units to the natural strength of the
    (left, right) side. Brow measures are in decimetres.
    """

    age: float
    male: float
    ancestry: Mapping[str, float]
    muscle: float
    weight: float
    local: Mapping[str, float]
    melanin: float
    hair: Hair
    beard: float
    lipstick: bool
    brow_thickness: float
    brow_lift: float
    brow_arch: float
    balance: Mapping[str, tuple[float, float]]
    palsy: Palsy | None


@dataclass(frozen=True)
class FaceSpec:
    """One shot of one person.

    Attributes:
        kind: the policy's name of the shot: neutral, an expression, single, mixture, or talking.
        expression: a name of ``records.EXPRESSIONS``, or None where the action comes from no prototype.
        action: commanded intensity 0-5 of each driven action unit.
        yaw, pitch, roll: degrees with the signs of ``records.Pose``.
        gaze: turn of the eyes within the head, in units of the face targets: to the subject's left, and up.
        distance: camera distance in face heights (brow to chin).
        span: width of the picture in face heights.
        shift: (right, up) displacement of the face's centre from the picture's centre in face heights.
    """

    seed: int
    identity: int
    shot: int
    person: Person
    kind: str
    expression: str | None
    action: Mapping[str, float]
    yaw: float
    pitch: float
    roll: float
    gaze: tuple[float, float]
    distance: float
    span: float
    shift: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    def person_stream(self, stream: Stream) -> np.random.Generator:
        """Random numbers of a stage that all shots of the person share."""
        return np.random.default_rng([self.seed, self.identity, stream])

    def shot_stream(self, stream: Stream) -> np.random.Generator:
        """Random numbers of a stage of this shot."""
        return np.random.default_rng([self.seed, self.identity, self.shot, stream])


def sample_spec(seed: int, identity: int, shot: int) -> FaceSpec:
    """Draw one shot of one person; shot 0 is neutral.

    Args:
        seed: of the world.
        identity: number of the person, from 0.
        shot: number of the picture of that person, from 0.
    """

    def of_person(stream: Stream) -> np.random.Generator:
        return np.random.default_rng([seed, identity, stream])

    def of_shot(stream: Stream) -> np.random.Generator:
        return np.random.default_rng([seed, identity, shot, stream])

    person = _sample_person(of_person)
    kind, expression, action = _sample_action(of_shot(Stream.ACTION), shot, person.age)
    pose, camera = of_shot(Stream.POSE), of_shot(Stream.CAMERA)
    spread = 0.25 if pose.random() < 0.25 else 1.0  # a quarter of the shots is nearly frontal
    yaw, pitch, roll = pose.normal(0, 1, 3) * [18 * spread, 9 * spread, 8 * max(spread, 0.5)]
    look = pose.normal(0, 1, 2) * [0.2, 0.11] * (pose.random() < 0.7)
    return FaceSpec(
        seed=seed,
        identity=identity,
        shot=shot,
        person=person,
        kind=kind,
        expression=expression,
        action=action,
        yaw=float(np.clip(yaw, -45, 45)),
        pitch=float(np.clip(pitch, -25, 25)),
        roll=float(np.clip(roll, -25, 25)),
        gaze=(float(np.clip(look[0], -0.6, 0.6)), float(np.clip(look[1], -0.35, 0.35))),
        distance=float(np.exp(camera.uniform(np.log(4.5), np.log(14)))),
        span=float(camera.uniform(1.9, 2.1)),
        shift=(float(camera.normal(0, 0.03)), float(camera.normal(0, 0.03))),
    )


def _sample_person(of_person: Any) -> Person:
    body, looks, palsy = of_person(Stream.BODY), of_person(Stream.LOOKS), of_person(Stream.PALSY)
    spans = [(2, 12), (12, 25), (25, 50), (50, 70), (70, 90)]
    age = float(body.uniform(*spans[body.choice(5, p=[0.1, 0.22, 0.34, 0.2, 0.14])]))
    male = float(np.clip(body.beta(8, 1.2) if body.random() < 0.5 else body.beta(1.2, 8), 0, 1))
    ancestry = dict(zip(ANCESTRIES, (float(share) for share in body.dirichlet([0.35, 0.35, 0.35])), strict=True))
    muscle, weight = np.clip(body.normal(0.5, [0.15, 0.2]), [0.1, 0.05], [0.9, 0.95])
    pigment = 0.80 * ancestry["african"] + 0.33 * ancestry["asian"] + 0.20 * ancestry["caucasian"]
    melanin = float(np.clip(pigment + looks.normal(0, 0.07), 0.04, 0.95))
    beard = float(looks.choice([0.0, looks.uniform(0.1, 0.35), looks.uniform(0.4, 0.85)], p=[0.4, 0.35, 0.25]))
    lipstick = bool(looks.random() < 0.35)
    thickness = float(np.clip(looks.normal(0.017 + 0.008 * male, 0.005), 0.009, 0.036))
    lift, arch = looks.normal([0.0, 0.015], 0.012)
    side = "left" if palsy.random() < 0.5 else "right"
    has_palsy = palsy.random() < 0.2
    degree = float(palsy.uniform(0.15, 1.0))
    balance = {}
    for unit in sorted(compatible_units()):
        left, right = np.exp(palsy.normal(0, 0.06, 2))
        strongest = max(left, right)
        balance[unit] = (float(left / strongest), float(right / strongest))
    return Person(
        age=age,
        male=male,
        ancestry=ancestry,
        muscle=float(muscle),
        weight=float(weight),
        local=sample_shape(of_person(Stream.SHAPE)),
        melanin=melanin,
        hair=sample_hair(looks, age, male, ancestry),
        beard=beard if male > 0.6 and age > 17 else 0.0,
        lipstick=lipstick and male < 0.4 and age > 16,
        brow_thickness=thickness,
        brow_lift=float(lift),
        brow_arch=float(arch),
        balance=balance,
        palsy=Palsy(side, degree) if has_palsy else None,
    )


def _sample_action(rng: np.random.Generator, shot: int, age: float) -> tuple[str, str | None, dict[str, float]]:
    """Kind, expression and commanded intensities: 40 % expressions, 25 % single units, 20 % mixtures, 15 % talking."""
    if shot == 0:
        return "neutral", "neutral", {}
    draw = rng.random()
    expression: str | None = None
    if draw < 0.40:
        kind = expression = list(PROTOTYPES)[int(rng.integers(len(PROTOTYPES)))]
        action = draw_prototype(rng, expression)
    elif draw < 0.65:
        units = sorted(compatible_units())
        share = np.array([_SINGLE_SHARE.get(unit, 2.0) for unit in units])
        unit = units[int(rng.choice(len(units), p=share / share.sum()))]
        kind, action = "single", {unit: float(rng.uniform(2.7 if unit == "AU27" else 1.0, 5.0))}
    elif draw < 0.85:
        kind, action = "mixture", _mixture(rng)
    else:
        kind, action = "talking", draw_talking(rng)
    if age < 8 and "AU12" in action:
        action["AU12"] = min(action["AU12"], 2.5)  # the smile target tears the corners of a small child's mouth
    return kind, expression, action


_SINGLE_SHARE = {"AU18": 1.0, "AU22": 1.0, "AU34": 1.0, "AU14": 6.0, "AU07": 3.0, "AU10": 3.0, "AU23": 3.0, "AU24": 3.0}
"""How often a unit is shown alone, relative to 2 for those not named: distractors less, units rare elsewhere more."""


def _mixture(rng: np.random.Generator) -> dict[str, float]:
    """Two or three units that can be shown together, each at 1-5."""
    table = compatible_units()
    names = sorted(table)
    chosen: list[str] = []
    wanted = int(rng.integers(2, 4))
    for position in rng.permutation(len(names)):
        if len(chosen) < wanted and all(names[position] in table[other] for other in chosen):
            chosen.append(names[position])
    return {unit: float(rng.uniform(1.0, 5.0)) for unit in chosen}
