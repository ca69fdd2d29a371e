"""Which CelebA attributes hold in a shot, each by one rule on the person, the shot or the geometry.

Where the quantity behind an attribute is continuous, a band around the threshold has no label, because nobody would be
sure there; likewise where a thing hides what the attribute is about. ``docs/face_labels.md`` lists all rules.

Shapes: V packed vertices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from semeia.data.synthetic.faces.haircuts import STYLES
from semeia.data.synthetic.faces.spec import FaceSpec
from semeia.data.synthetic.faces.topology import load_topology

HIDDEN_BY_HAT = (
    "Bald", "Bangs", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Receding_Hairline", "Straight_Hair",
    "Wavy_Hair",
)  # fmt: skip
HIDDEN_BY_MASK = (
    "5_o_Clock_Shadow", "Big_Lips", "Big_Nose", "Goatee", "Mouth_Slightly_Open", "Mustache", "No_Beard", "Rosy_Cheeks",
    "Smiling", "Wearing_Lipstick",
)  # fmt: skip
HIDDEN_BY_SUNGLASSES = (
    "Arched_Eyebrows", "Bags_Under_Eyes", "Bushy_Eyebrows", "Heavy_Makeup", "Narrow_Eyes",
)  # fmt: skip
"""Attributes without a label where the thing is worn."""

_HATS_OVER_EARS = ("beanie", "headscarf")


@dataclass(frozen=True)
class Shape:
    """Ratios of a face, from its landmarks.

    Attributes:
        nose: width at the wings times length, over the distance of the outer eye corners times the face's height.
        lips: height of both lips' red, over the distance of the outer eye corners.
        eyes: height over width of the eyes in the shot, both sides' mean.
    """

    nose: float
    lips: float
    eyes: float


def face_shape(neutral: np.ndarray, acting: np.ndarray) -> Shape:
    """Measure a person's head (V, 3) at rest and the lids of a shot (V, 3)."""
    ids = load_topology().landmarks
    rest, now = neutral[ids], acting[ids]  # (68, 3)

    def span(first: int, second: int) -> float:
        return float(np.linalg.norm(rest[first] - rest[second]))

    def rise(points: np.ndarray, upper: tuple[int, ...], lower: tuple[int, ...]) -> float:
        return float(points[list(upper), 1].mean() - points[list(lower), 1].mean())

    between, height = span(36, 45), float(rest[27, 1] - rest[8, 1])
    red = rise(rest, (50, 51, 52), (61, 62, 63)) + rise(rest, (65, 66, 67), (56, 57, 58))
    right, left = rise(now, (37, 38), (40, 41)) / span(36, 39), rise(now, (43, 44), (46, 47)) / span(42, 45)
    return Shape(nose=span(31, 35) * span(27, 33) / (between * height), lips=red / between, eyes=(right + left) / 2)


def attributes(spec: FaceSpec, *, intensity: Mapping[str, float], shape: Shape) -> dict[str, int]:
    """Attributes that hold (1) and that do not (0); those that nobody could be sure of are absent.

    Args:
        spec: the shot.
        intensity: FACS 0-5 of every labelled unit, hidden ones included.
        shape: of the face in this shot.
    """
    person, props = spec.person, spec.props
    found = _of_hair(spec) | _of_beard(spec) | _of_face(spec, intensity, shape)
    found |= {
        "Male": _banded(person.male, no=0.4, yes=0.6),
        "Young": _banded(-person.age, no=-45, yes=-35),
        "Chubby": _banded(person.weight, no=0.55, yes=0.68),
        "Eyeglasses": props.glasses or props.sunglasses,
        "Wearing_Hat": props.hat,
        "Mask": props.mask,
    }
    ears_hidden = person.hair.long or (props.hat and person.wardrobe.hat_kind in _HATS_OVER_EARS)
    found["Wearing_Earrings"] = None if ears_hidden else props.earrings
    hidden: set[str] = set()
    for worn, names in (
        (props.hat, HIDDEN_BY_HAT),
        (props.mask, HIDDEN_BY_MASK),
        (props.sunglasses, HIDDEN_BY_SUNGLASSES),
    ):
        hidden.update(names if worn else ())
    return {name: int(holds) for name, holds in sorted(found.items()) if holds is not None and name not in hidden}


def _banded(value: float, *, no: float, yes: float) -> bool | None:
    """True from ``yes`` on, False up to ``no``, None between."""
    return True if value >= yes else False if value <= no else None


def _of_hair(spec: FaceSpec) -> dict[str, bool | None]:
    hair = spec.person.hair
    bald, grey = _banded(hair.bald, no=0.4, yes=0.6), _banded(hair.grey, no=0.3, yes=0.55)
    style = STYLES[hair.style]
    # A crown without hair, or hair too short to bend, shows neither its colour nor its curl.
    colour_seen, bend_seen = not bald, not bald and hair.length >= 0.2
    receding: bool | None = hair.bald >= 0.4 or hair.line >= 0.06
    if not receding and (hair.bald > 0 or hair.line > 0.02):
        receding = None
    wavy = style.wave > 0 and not style.kinky
    return {
        "Bald": bald,
        "Gray_Hair": grey if colour_seen else None,
        **{
            f"{name.title()}_Hair": None if not colour_seen or grey is None else hair.colour == name and not grey
            for name in ("black", "blond", "brown")
        },
        "Bangs": hair.fringe >= 0.5,
        "Receding_Hairline": None if hair.fringe >= 0.5 else receding,
        "Straight_Hair": style.wave == 0 if bend_seen else None,
        "Wavy_Hair": wavy if bend_seen and not style.kinky else None,
    }


def _of_beard(spec: FaceSpec) -> dict[str, bool | None]:
    amount, style = spec.person.beard, spec.person.beard_style
    grown = _banded(amount, no=0.08, yes=0.2)
    shaved = None if grown is None or (grown and style == "moustache") else not grown
    stubble = style == "stubble"
    return {
        "No_Beard": shaved,
        "5_o_Clock_Shadow": grown if stubble else False,
        "Goatee": style == "goatee",
        # A goatee is drawn round the mouth, and a part of it may pass for a moustache.
        "Mustache": None if style == "goatee" else style in ("full", "moustache"),
    }


def _of_face(spec: FaceSpec, intensity: Mapping[str, float], shape: Shape) -> dict[str, bool | None]:
    person = spec.person
    brows_move = max(intensity["AU01"], intensity["AU02"], intensity["AU04"]) >= 1
    rosy = _banded(person.rosy, no=0.25, yes=0.45)
    smiling = _banded(intensity["AU12"], no=1.6, yes=2.4)
    return {
        "Arched_Eyebrows": None if brows_move else _banded(person.brow_arch, no=0.013, yes=0.022),
        "Bushy_Eyebrows": _banded(person.brow_thickness, no=0.022, yes=0.025),
        "Bags_Under_Eyes": _banded(person.bags, no=0.3, yes=0.5),
        "Big_Lips": _banded(shape.lips, no=0.235, yes=0.26),
        "Big_Nose": _banded(shape.nose, no=0.158, yes=0.175),
        "Heavy_Makeup": _banded(person.makeup, no=0.2, yes=0.5),
        "Mouth_Slightly_Open": _banded(intensity["AU25"], no=0.5, yes=1.2),
        "Narrow_Eyes": None if intensity["AU43"] >= 1 else _banded(-shape.eyes, no=-0.32, yes=-0.285),
        "Pale_Skin": _banded(-person.melanin, no=-0.28, yes=-0.2),
        "Rosy_Cheeks": None if rosy is not False and person.melanin >= 0.55 else rosy,
        "Smiling": None if smiling and "AU12" in spec.one_sided else smiling,
        "Wearing_Lipstick": person.lipstick,
    }
