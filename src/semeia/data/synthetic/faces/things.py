"""What a person wears on the head, and what of it a shot shows: plain records, drawn before anything is built.

``dress`` turns them into surfaces.

Shapes: W smooth skin vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semeia.data.synthetic.faces import thing_meshes
from semeia.data.synthetic.faces.scene import Surface
from semeia.data.synthetic.faces.topology import vertex_normals

GLASSES_SHAPES = ("round", "oval", "square", "aviator", "rimless")
HAT_KINDS = ("cap", "beanie", "brimmed", "headscarf")
MASK_KINDS = ("surgical", "cloth")
HAND_PLACES = ("chin", "cheek", "mouth", "brow")

Colour = tuple[float, float, float]

_FRAMES: tuple[Colour, ...] = (
    (0.010, 0.010, 0.011),
    (0.060, 0.025, 0.012),
    (0.20, 0.09, 0.03),
    (0.42, 0.36, 0.26),
    (0.35, 0.36, 0.38),
    (0.02, 0.03, 0.12),
    (0.25, 0.02, 0.03),
)
"""Black and tortoiseshell plastic, gold and steel wire, two painted ones; linear RGB."""


@dataclass(frozen=True)
class Wardrobe:
    """What a person owns. Colours are linear RGB; a person owns glasses, hats and masks even if no shot shows them.

    Attributes:
        glasses: whether the person normally wears glasses.
        glasses_shape: a name of ``GLASSES_SHAPES``.
        glasses_size: width of a lens relative to the distance of the pupils, 0.75-0.95.
        glasses_thickness: radius of the rims in decimetres of the adult head.
        glasses_colour: of the rims.
        glass_opacity: of clear lenses, 0.06-0.12.
        sun_shape: shape of the sunglasses.
        sun_colour: tint of the sunglasses.
        sun_opacity: of their lenses, 0.75-0.95.
        hat_kind: a name of ``HAT_KINDS``.
        hat_colour: of the hat.
        mask_kind: a name of ``MASK_KINDS``.
        mask_colour: of the mask.
        earrings: whether the person normally wears earrings.
        earring_kind: ``"stud"``, ``"hoop"`` or ``"drop"``.
        earring_colour: of the earrings.
    """

    glasses: bool
    glasses_shape: str
    glasses_size: float
    glasses_thickness: float
    glasses_colour: Colour
    glass_opacity: float
    sun_shape: str
    sun_colour: Colour
    sun_opacity: float
    hat_kind: str
    hat_colour: Colour
    mask_kind: str
    mask_colour: Colour
    earrings: bool
    earring_kind: str
    earring_colour: Colour


@dataclass(frozen=True)
class Props:
    """Which things one shot shows, and where.

    Attributes:
        glasses, sunglasses, hat, mask, hand, earrings: whether the thing is there; never both pairs of glasses.
        glasses_slip: how far the glasses slid down the nose, in decimetres of the adult head.
        hat_tilt: turn of the hat about the line of sight, in degrees.
        hat_height: how far the hat's edge sits above its usual height, in decimetres of the adult head.
        mask_low: whether the mask is pulled below the nose.
        hand_place: a name of ``HAND_PLACES``.
        hand_side: 1 for the subject's left, -1 for the right.
        hand_turn: turn of the hand about the line of sight away from its usual place, in degrees.
        hand_curl: bend of the fingers, 0 straight to 1 half closed.
        hand_shift: (sideways, up) displacement in decimetres of the adult head.
    """

    glasses: bool = False
    sunglasses: bool = False
    hat: bool = False
    mask: bool = False
    hand: bool = False
    earrings: bool = False
    glasses_slip: float = 0.0
    hat_tilt: float = 0.0
    hat_height: float = 0.0
    mask_low: bool = False
    hand_place: str = "chin"
    hand_side: float = 1.0
    hand_turn: float = 0.0
    hand_curl: float = 0.4
    hand_shift: tuple[float, float] = (0.0, 0.0)


def _dye(rng: np.random.Generator) -> Colour:
    """Colour of a piece of cloth: half of them greyish, half saturated."""
    light = float(np.exp(rng.uniform(np.log(0.015), np.log(0.7))))
    tint = np.exp(rng.normal(0, 0.08 if rng.random() < 0.5 else 0.7, 3))
    red, green, blue = np.clip(light * tint / tint.max(), 0.008, 0.8)
    return float(red), float(green), float(blue)


def sample_wardrobe(rng: np.random.Generator, *, age: float, male: float, look: str) -> Wardrobe:
    """Draw what a person owns.

    Args:
        rng: the person's stream of the wardrobe.
        age: in years.
        male: 0 to 1.
        look: ``"usual"``; ``"other"`` draws only shapes that the usual look never shows (aviator rims, brimmed hats
            and headscarves, cloth masks, drop earrings).
    """
    other = look == "other"
    shapes, odds = (
        (("aviator",), [1.0]) if other else (("round", "oval", "square", "rimless"), [0.25, 0.25, 0.35, 0.15])
    )
    rate = 0.06 if age < 14 else 0.15 if age < 45 else 0.22
    hats = ("brimmed", "headscarf") if other else ("cap", "beanie")
    scarf = 0.6 if male < 0.5 and age > 10 else 0.05
    surgical: list[Colour] = [(0.30, 0.52, 0.68), (0.75, 0.76, 0.76), (0.02, 0.02, 0.022)]
    metal: list[Colour] = [(0.62, 0.46, 0.16), (0.62, 0.62, 0.64), (0.80, 0.78, 0.74)]
    return Wardrobe(
        glasses=bool(rng.random() < rate),
        glasses_shape=str(rng.choice(shapes, p=odds)),
        glasses_size=float(rng.uniform(0.76, 0.9)),
        glasses_thickness=float(rng.choice([0.008, 0.014, 0.02])) * float(rng.uniform(0.85, 1.15)),
        glasses_colour=_FRAMES[int(rng.choice(len(_FRAMES), p=[0.34, 0.2, 0.1, 0.12, 0.12, 0.06, 0.06]))],
        glass_opacity=float(rng.uniform(0.06, 0.12)),
        sun_shape=str(rng.choice(("aviator", "round") if other else ("square", "oval"))),
        sun_colour=((0.012, 0.012, 0.013), (0.035, 0.018, 0.009), (0.010, 0.018, 0.014))[int(rng.integers(3))],
        sun_opacity=float(rng.uniform(0.75, 0.95)),
        hat_kind=str(rng.choice(hats, p=[1 - scarf, scarf] if other else [0.6, 0.4])),
        hat_colour=_dye(rng),
        mask_kind="cloth" if other else "surgical",
        mask_colour=_dye(rng) if other else surgical[int(rng.choice(3, p=[0.5, 0.3, 0.2]))],
        earrings=bool(rng.random() < (0.08 if male > 0.5 else 0.35) * (0.3 if age < 10 else 1.0)),
        earring_kind="drop" if other else str(rng.choice(["stud", "hoop"])),
        earring_colour=metal[int(rng.choice(3, p=[0.45, 0.35, 0.2]))],
    )


def sample_props(rng: np.random.Generator, wardrobe: Wardrobe, *, look: str) -> Props:
    """Draw what a shot shows.

    Args:
        rng: the shot's stream of the props.
        wardrobe: of the person.
        look: ``"usual"``; ``"other"`` puts the hand where the usual look never has it (on the brow).
    """
    sunglasses = bool(rng.random() < 0.025)
    glasses = bool(rng.random() < 0.85) and wardrobe.glasses and not sunglasses
    hat, mask, hand = (bool(rng.random() < rate) for rate in (0.09, 0.035, 0.035))
    places = ("brow",) if look == "other" else ("chin", "cheek", "mouth")
    return Props(
        glasses=glasses,
        sunglasses=sunglasses,
        hat=hat,
        mask=mask,
        hand=hand,
        earrings=bool(rng.random() < 0.9) and wardrobe.earrings,
        glasses_slip=float(np.clip(abs(rng.normal(0, 0.03)), 0, 0.08)),
        hat_tilt=float(np.clip(rng.normal(0, 3), -8, 8)),
        hat_height=float(rng.uniform(-0.04, 0.14)),
        mask_low=bool(rng.random() < 0.12),
        hand_place=str(rng.choice(places)),
        hand_side=float(rng.choice([-1.0, 1.0])),
        hand_turn=float(np.clip(rng.normal(0, 10), -25, 25)),
        hand_curl=float(rng.uniform(0.15, 0.8)),
        hand_shift=(float(rng.uniform(-0.08, 0.08)), float(rng.uniform(-0.08, 0.08))),
    )


def dress(
    wardrobe: Wardrobe,
    props: Props,
    skin: np.ndarray,
    normals: np.ndarray,
    landmarks: np.ndarray,
    *,
    tone: np.ndarray | None = None,
) -> list[Surface]:
    """Surfaces of all things that a shot shows.

    Args:
        wardrobe: of the person.
        props: of the shot.
        skin: (W, 3) smooth skin vertices of the shot, in head coordinates.
        normals: (W, 3) their normals.
        landmarks: (68, 3) landmarks of the shot.
        tone: (3,) linear colour of the person's skin, for the hand; a middling one by default.
    """
    face = thing_meshes.Face(skin, normals, landmarks)
    made: list[Surface] = []
    if props.glasses or props.sunglasses:
        made += _glasses(wardrobe, props, face)
    if props.hat:
        shell = thing_meshes.hat(face, kind=wardrobe.hat_kind, height=props.hat_height, tilt=props.hat_tilt)
        made.append(_surface("hat", shell, wardrobe.hat_colour, 0.9))
    if props.mask:
        sheet, loops = thing_meshes.mask(face, low=props.mask_low)
        made += [_surface("mask", sheet, wardrobe.mask_colour, 0.9), _surface("mask", loops, (0.7, 0.7, 0.7), 0.9)]
    if props.earrings:
        rings = [thing_meshes.earring(face, kind=wardrobe.earring_kind, side=side) for side in ("left", "right")]
        made.append(_surface("cloth", thing_meshes.joined(rings), wardrobe.earring_colour, 0.3))
    if props.hand:
        shell = thing_meshes.hand(
            face,
            place=props.hand_place,
            side=props.hand_side,
            turn=props.hand_turn,
            curl=props.hand_curl,
            shift=props.hand_shift,
        )
        made.append(_surface("hand", shell, (0.42, 0.24, 0.16) if tone is None else tone, 0.6))
    return made


def tuck_hair(wardrobe: Wardrobe, props: Props, strands: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Hair (N, K, 3) of a shot: pressed down where the shot's hat covers it, the same array where there is none.

    Args:
        wardrobe: of the person.
        props: of the shot.
        strands: (N, K, 3) curves on the resting head.
        skin: (W, 3) smooth skin vertices of the resting head.
    """
    if not props.hat:
        return strands
    return thing_meshes.tuck(strands, skin, kind=wardrobe.hat_kind, height=props.hat_height)


def _glasses(wardrobe: Wardrobe, props: Props, face: thing_meshes.Face) -> list[Surface]:
    """Frame and lenses."""
    dark = props.sunglasses
    shape = wardrobe.sun_shape if dark else wardrobe.glasses_shape
    size = min(wardrobe.glasses_size + (0.06 if dark else 0.0), 0.93)
    rims, lenses, bars = thing_meshes.spectacles(face, shape=shape, size=size, slip=props.glasses_slip)
    thick = 0.003 if shape == "rimless" else wardrobe.glasses_thickness
    frame = [bars, *(thing_meshes.tube(rim, thick * face.unit, closed=True) for rim in rims)]
    colour = (0.02, 0.02, 0.022) if dark else wardrobe.glasses_colour
    tint, opacity = (wardrobe.sun_colour, wardrobe.sun_opacity) if dark else ((0.75, 0.8, 0.8), wardrobe.glass_opacity)
    return [_surface("glasses", thing_meshes.joined(frame), colour, 0.3)] + [
        _surface("glasses", lens, tint, 0.1, opacity) for lens in lenses
    ]


def _surface(
    region: str, shell: thing_meshes.Shell, colour: Colour | np.ndarray, roughness: float, opacity: float = 1.0
) -> Surface:
    vertices, triangles = shell
    return Surface(
        region, vertices, triangles, vertex_normals(vertices, triangles), np.array(colour, float), roughness, opacity
    )
