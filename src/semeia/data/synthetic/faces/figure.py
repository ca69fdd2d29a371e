"""One person ready to be pictured: everything that all shots of an identity share, computed once.

Shapes: V packed vertices, W smooth skin vertices, N curves, K points a curve.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from semeia.data.synthetic.faces.appearance import Skin, brow_colour, canvas, hair_colour, paint_eye, paint_skin
from semeia.data.synthetic.faces.brows import BrowHairs, comb_brows
from semeia.data.synthetic.faces.hair import grow_locks, strand_colours
from semeia.data.synthetic.faces.identity import neutral_head
from semeia.data.synthetic.faces.spec import FaceSpec, Person, Stream
from semeia.data.synthetic.faces.topology import load_topology, vertex_normals


@dataclass(frozen=True)
class Figure:
    """A person's head and looks.

    Attributes:
        neutral: (V, 3) vertices at rest, without palsy.
        skin: painted texture.
        eye: (N, N, 3) eye texture.
        strands: (N, K, 3) hair in head coordinates; ``strand_radius`` is (N,), ``strand_colour`` (N, 3).
        brows: brow hairs tied to the skin.
        hair_colour, brow_colour, cloth_colour: (3,) linear RGB.
        neckline: canonical height below which the person is clothed, decimetres.
        roughness: of the skin.
    """

    person: Person
    neutral: np.ndarray
    skin: Skin
    eye: np.ndarray
    strands: np.ndarray
    strand_radius: np.ndarray
    strand_colour: np.ndarray
    brows: BrowHairs
    hair_colour: np.ndarray
    brow_colour: np.ndarray
    cloth_colour: np.ndarray
    neckline: float
    roughness: float


def build_figure(spec: FaceSpec) -> Figure:
    """Compute a person's head, textures and hair from any of the person's shots."""
    person = spec.person
    neutral = neutral_head(person)
    part = load_topology().smooth["skin"]
    smooth = part.matrix @ neutral
    skin = paint_skin(person, spec.person_stream(Stream.SKIN), spec.person_stream(Stream.WRINKLES))
    hair = spec.person_stream(Stream.HAIR)
    locks = grow_locks(person.hair, smooth, vertex_normals(smooth, part.triangles), hair)
    cloth = spec.person_stream(Stream.CLOTH)
    cloth_colour = np.clip(cloth.uniform(0.02, 0.7) + cloth.normal(0, 0.08, 3), 0.01, 0.8)
    roughness = float(cloth.uniform(0.38, 0.55))
    neckline = float(cloth.uniform(5.72, 5.9) if cloth.random() < 0.8 else cloth.uniform(5.95, 6.12))
    return Figure(
        person=person,
        neutral=neutral,
        skin=_clothed(skin, neckline, cloth_colour),
        eye=paint_eye(person.melanin, spec.person_stream(Stream.EYES), look=person.look),
        strands=locks.points,
        strand_radius=locks.radius,
        strand_colour=strand_colours(person.hair, hair),
        brows=comb_brows(person, spec.person_stream(Stream.BROWS)),
        hair_colour=hair_colour(person.hair),
        brow_colour=brow_colour(person.hair, skin.tone),
        cloth_colour=cloth_colour,
        neckline=neckline,
        roughness=roughness,
    )


def _clothed(skin: Skin, neckline: float, colour: np.ndarray) -> Skin:
    """The skin with cloth painted on it below the neckline, a little raised at its edge."""
    below = neckline - canvas().height
    cover = np.clip(below / 0.02 + 0.5, 0, 1)
    hem = 0.02 * np.exp(-(((below - 0.05) / 0.03) ** 2)) + 0.02 * cover
    painted = skin.colour * (1 - cover[..., None]) + colour * cover[..., None]
    return replace(skin, colour=painted.astype(np.float32), relief=(skin.relief * (1 - cover) + hem).astype(np.float32))
