"""What a picture of the face world shows, before anything is computed: one plain record a shot.

``sample_spec`` draws it from a seed. Every stage has its own stream of random numbers, seeded by (seed, identity,
stream) where all shots of a person share it and by (seed, identity, shot, stream) where a shot has its own, so that a
stage may be added or changed without shifting the others. The clock is never read.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from semeia.data.synthetic.faces.action_units import Palsy, compatible_units
from semeia.data.synthetic.faces.haircuts import Hair, sample_hair
from semeia.data.synthetic.faces.identity import macro_head, sample_shape
from semeia.data.synthetic.faces.policy import NEUTRAL, check_policy, draw_showing
from semeia.data.synthetic.faces.things import Props, Wardrobe, sample_props, sample_wardrobe
from semeia.records import SemeiaError

ANCESTRIES = ("african", "asian", "caucasian")
LOOKS = ("usual", "other")
"""Ways to dress, comb and photograph people; ``other`` is kept for worlds that readers are only tested on."""

BEARD_STYLES = ("full", "moustache", "goatee", "stubble")
_STUBBLE = 0.4  # a weaker beard is stubble


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
    MARKS = 12
    WARD = 13
    PATIENT = 14
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
    EXERCISE = 113


@dataclass(frozen=True)
class Person:
    """One identity.

    ``male``, ``muscle``, ``weight``, ``melanin`` and ``beard`` lie in [0, 1]; ``age`` is in years of the MakeHuman
    convention. ``local`` maps shape targets to weights, ``balance`` action units to the natural strength of the
    (left, right) side. Brow measures are in decimetres. ``rosy``, ``bags``, ``freckles`` and ``makeup`` are strengths
    in [0, 1] of red cheeks, bags under the eyes, freckles and eye make-up. ``beard_style`` is one of ``BEARD_STYLES``
    and "stubble" where ``beard`` is below 0.4; ``look`` is one of ``LOOKS``.
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
    rosy: float
    bags: float
    freckles: float
    makeup: float
    beard_style: str
    look: str
    wardrobe: Wardrobe


@dataclass(frozen=True)
class FaceSpec:
    """One shot of one person.

    Attributes:
        kind: the policy's name of the shot: neutral, an expression, a compound, single, mixture, talking, natural, or
            independent.
        expression: a name of ``records.EXPRESSIONS``, or None where the action comes from no prototype.
        compound: a name of ``action_units.COMPOUNDS``, or None.
        action: commanded intensity 0-5 of each driven action unit.
        one_sided: units shown on one side only -> "left" or "right", the subject's own.
        yaw, pitch, roll: degrees with the signs of ``records.Pose``.
        gaze: turn of the eyes within the head, in units of the face targets: to the subject's left, and up.
        distance: camera distance in face heights (brow to chin).
        span: width of the picture in face heights.
        shift: (right, up) displacement of the face's centre from the picture's centre in face heights.
        look: one of ``LOOKS``.
        policy: one of ``policy.POLICIES``.
        props: what is worn or held in this shot.
    """

    seed: int
    identity: int
    shot: int
    person: Person
    kind: str
    expression: str | None
    compound: str | None
    action: Mapping[str, float]
    one_sided: Mapping[str, str]
    yaw: float
    pitch: float
    roll: float
    gaze: tuple[float, float]
    distance: float
    span: float
    shift: tuple[float, float]
    look: str
    policy: str
    props: Props

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dataclasses.asdict(self)

    def person_stream(self, stream: Stream) -> np.random.Generator:
        """Random numbers of a stage that all shots of the person share."""
        return np.random.default_rng([self.seed, self.identity, stream])

    def shot_stream(self, stream: Stream) -> np.random.Generator:
        """Random numbers of a stage of this shot."""
        return np.random.default_rng([self.seed, self.identity, self.shot, stream])


@dataclass(frozen=True)
class _View:
    """Spreads of pose and camera of a look: degrees, and face heights for the distance."""

    spread: tuple[float, float, float]  # of yaw, pitch, roll
    limit: tuple[float, float, float]
    distance: tuple[float, float]


_VIEWS = {
    "usual": _View(spread=(18, 9, 8), limit=(45, 25, 25), distance=(4.5, 14)),
    "other": _View(spread=(20, 13, 15), limit=(50, 32, 40), distance=(3, 6)),
}


def sample_spec(seed: int, identity: int, shot: int, *, look: str = "usual", policy: str = "balanced") -> FaceSpec:
    """Draw one shot of one person; shot 0 is neutral, without mask, hand and sunglasses.

    Args:
        seed: of the world.
        identity: number of the person, from 0.
        shot: number of the picture of that person, from 0.
        look: one of ``LOOKS``.
        policy: one of ``policy.POLICIES``: which actions are shown how often.

    Raises:
        SemeiaError: There is no such look or policy.
    """
    if look not in LOOKS:
        raise SemeiaError(f"look: expected one of {', '.join(LOOKS)}, found '{look}'")
    check_policy(policy)

    def of_shot(stream: Stream) -> np.random.Generator:
        return np.random.default_rng([seed, identity, shot, stream])

    person = sample_person(seed, identity, look)
    weak_side = None if person.palsy is None else person.palsy.side
    showing = NEUTRAL if shot == 0 else draw_showing(of_shot(Stream.ACTION), policy, weak_side=weak_side)
    props = sample_props(of_shot(Stream.PROPS), person.wardrobe, look=look)
    if shot == 0:
        props = dataclasses.replace(props, mask=False, hand=False, sunglasses=False)
    pose, camera, view = of_shot(Stream.POSE), of_shot(Stream.CAMERA), _VIEWS[look]
    spread = 0.25 if pose.random() < 0.25 else 1.0  # a quarter of the shots is nearly frontal
    turns = pose.normal(0, 1, 3) * view.spread * np.array([spread, spread, max(spread, 0.5)])
    yaw, pitch, roll = np.clip(turns, np.negative(view.limit), view.limit)
    eyes = pose.normal(0, 1, 2) * [0.2, 0.11] * (pose.random() < 0.7)
    near, far = view.distance
    return FaceSpec(
        seed=seed,
        identity=identity,
        shot=shot,
        person=person,
        kind=showing.kind,
        expression=showing.expression,
        compound=showing.compound,
        action=showing.action,
        one_sided=showing.one_sided,
        yaw=float(yaw),
        pitch=float(pitch),
        roll=float(roll),
        gaze=(float(np.clip(eyes[0], -0.6, 0.6)), float(np.clip(eyes[1], -0.35, 0.35))),
        distance=float(np.exp(camera.uniform(np.log(near), np.log(far)))),
        span=float(camera.uniform(1.9, 2.1)),
        shift=(float(camera.normal(0, 0.03)), float(camera.normal(0, 0.03))),
        look=look,
        policy=policy,
        props=props,
    )


@functools.lru_cache(maxsize=256)
def sample_person(seed: int, identity: int, look: str = "usual") -> Person:
    """Draw one person; kept, since all shots of the person ask for it."""

    def of_person(stream: Stream) -> np.random.Generator:
        return np.random.default_rng([seed, identity, stream])

    body, looks, palsy = of_person(Stream.BODY), of_person(Stream.LOOKS), of_person(Stream.PALSY)
    spans = [(2, 12), (12, 25), (25, 50), (50, 70), (70, 90)]
    age = float(body.uniform(*spans[body.choice(5, p=[0.1, 0.22, 0.34, 0.2, 0.14])]))
    male = float(np.clip(body.beta(8, 1.2) if body.random() < 0.5 else body.beta(1.2, 8), 0, 1))
    ancestry = dict(zip(ANCESTRIES, (float(share) for share in body.dirichlet([0.35, 0.35, 0.35])), strict=True))
    muscle, weight = np.clip(body.normal(0.5, [0.15, 0.2]), [0.1, 0.05], [0.9, 0.95])
    pigment = 0.80 * ancestry["african"] + 0.33 * ancestry["asian"] + 0.20 * ancestry["caucasian"]
    melanin = float(np.clip(pigment + looks.normal(0, 0.07), 0.04, 0.95))
    beard = float(looks.choice([0.0, looks.uniform(0.15, 0.38), looks.uniform(0.4, 0.85)], p=[0.30, 0.25, 0.45]))
    beard = beard if male > 0.6 and age > 17 else 0.0
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
        local=sample_shape(
            of_person(Stream.SHAPE),
            base=macro_head(age=age, male=male, ancestry=ancestry, muscle=float(muscle), weight=float(weight)),
        ),
        melanin=melanin,
        hair=sample_hair(looks, age, male, ancestry, look=look),
        beard=beard,
        lipstick=lipstick and male < 0.4 and age > 16,
        brow_thickness=thickness,
        brow_lift=float(lift),
        brow_arch=float(arch),
        balance=balance,
        palsy=Palsy(side, degree) if has_palsy else None,
        look=look,
        wardrobe=sample_wardrobe(of_person(Stream.WARDROBE), age=age, male=male, look=look),
        **_sample_marks(of_person(Stream.MARKS), age=age, male=male, ancestry=ancestry, beard=beard),
    )


def _sample_marks(
    rng: np.random.Generator, *, age: float, male: float, ancestry: Mapping[str, float], beard: float
) -> dict[str, Any]:
    """Rosiness, bags, freckles, make-up and the style of the beard, by their names in ``Person``."""
    rosy = rng.uniform(0.45, 1.0) if rng.random() < 0.3 else rng.uniform(0.0, 0.35)
    bags = np.clip(rng.normal(0.08 + 0.5 * np.clip((age - 25) / 45, 0, 1), 0.2), 0, 1)
    freckled, freckles = rng.random() < 0.35 * ancestry["caucasian"], rng.uniform(0.3, 1.0)
    painted, makeup = rng.random() < 0.5, rng.uniform(0.35, 1.0)
    style = str(rng.choice(BEARD_STYLES[:3], p=[0.3, 0.35, 0.35]))
    return {
        "rosy": float(rosy),
        "bags": float(bags),
        "freckles": float(freckles) if freckled else 0.0,
        "makeup": float(makeup) if painted and male < 0.4 and age > 16 else 0.0,
        "beard_style": style if beard >= _STUBBLE else "stubble",
    }
