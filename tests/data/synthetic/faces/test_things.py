import dataclasses
import json

import numpy as np
import pytest

from semeia.data.synthetic.faces.identity import neutral_head
from semeia.data.synthetic.faces.scene import REGIONS, Surface
from semeia.data.synthetic.faces.spec import sample_spec
from semeia.data.synthetic.faces.thing_meshes import Face, ear_vertices
from semeia.data.synthetic.faces.things import (
    GLASSES_SHAPES,
    HAND_PLACES,
    HAT_KINDS,
    Props,
    Wardrobe,
    dress,
    sample_props,
    sample_wardrobe,
    tuck_hair,
)  # fmt: skip
from semeia.data.synthetic.faces.topology import load_topology, vertex_normals


@pytest.fixture(scope="module", params=[35.0, 4.0], ids=["adult", "child"])
def face(head: object, request: pytest.FixtureRequest) -> Face:
    packed = neutral_head(dataclasses.replace(sample_spec(0, 1, 0).person, age=request.param))
    part = load_topology().smooth["skin"]
    skin = part.matrix @ packed
    return Face(skin, vertex_normals(skin, part.triangles), packed[load_topology().landmarks])


def wardrobe(**changes: object) -> Wardrobe:
    drawn = sample_wardrobe(np.random.default_rng(0), age=30, male=0.3, look="usual")
    return dataclasses.replace(drawn, **changes)  # type: ignore[arg-type]


def worn(face: Face, owned: Wardrobe, **props: object) -> list[Surface]:
    return dress(owned, Props(**props), face.skin, face.normals, face.landmarks)  # type: ignore[arg-type]


def test_records_are_plain_numbers_and_strings() -> None:
    rng = np.random.default_rng(0)
    for look in ("usual", "other"):
        owned = sample_wardrobe(rng, age=40, male=0.2, look=look)
        assert json.loads(json.dumps(dataclasses.asdict(owned)))["hat_kind"] == owned.hat_kind
        assert json.dumps(dataclasses.asdict(sample_props(rng, owned, look=look)))


def test_things_are_as_frequent_as_they_should_be() -> None:
    rng = np.random.default_rng(0)
    ages = rng.choice([7.0, 20.0, 35.0, 60.0, 80.0], 4000, p=[0.1, 0.22, 0.34, 0.2, 0.14])
    owned = [sample_wardrobe(rng, age=age, male=0.1, look="usual") for age in ages]
    assert np.mean([one.glasses for one in owned]) == pytest.approx(0.16, abs=0.025)
    assert np.mean([one.earrings for one in owned]) == pytest.approx(0.33, abs=0.03)
    men = [sample_wardrobe(rng, age=30, male=0.9, look="usual").earrings for _ in range(3000)]
    assert np.mean(men) == pytest.approx(0.08, abs=0.02)
    shots = [sample_props(rng, one, look="usual") for one in owned]
    for name, rate in {"sunglasses": 0.025, "hat": 0.09, "mask": 0.035, "hand": 0.035}.items():
        assert np.mean([getattr(shot, name) for shot in shots]) == pytest.approx(rate, abs=0.012), name
    put_on = [shot.glasses for shot, one in zip(shots, owned, strict=True) if one.glasses]
    assert np.mean(put_on) == pytest.approx(0.83, abs=0.05)
    assert not any(shot.glasses and shot.sunglasses for shot in shots)


def test_the_other_look_owns_other_things() -> None:
    rng = np.random.default_rng(0)
    usual, other = (
        [sample_wardrobe(rng, age=30, male=0.3, look=look) for _ in range(200)] for look in ("usual", "other")
    )
    for field in ("glasses_shape", "hat_kind", "mask_kind", "earring_kind"):
        assert not {getattr(one, field) for one in usual} & {getattr(one, field) for one in other}


def test_nothing_is_worn_by_default(face: Face) -> None:
    assert worn(face, wardrobe()) == []


@pytest.mark.parametrize("shape", GLASSES_SHAPES)
def test_glasses_sit_before_the_eyes_and_reach_the_ears(face: Face, shape: str) -> None:
    frame, *lenses = worn(face, wardrobe(glasses_shape=shape), glasses=True)
    assert len(lenses) == 2
    assert all(lens.opacity < 0.2 for lens in lenses)
    for lens, eye in zip(lenses, face.eyes, strict=True):
        assert (lens.vertices[:, :2].min(0) < eye[:2]).all()
        assert (lens.vertices[:, :2].max(0) > eye[:2]).all()
        near = np.linalg.norm(face.skin[:, :2] - eye[:2], axis=1) < 0.15 * face.unit
        assert lens.vertices[:, 2].min() > face.skin[near, 2].max() - 0.1 * face.unit
        heart = lens.vertices[np.linalg.norm(lens.vertices[:, :2] - eye[:2], axis=1).argmin(), 2]
        assert heart > face.skin[near, 2].max()
    for side in ("left", "right"):
        ear = face.skin[ear_vertices()[side][0]]
        assert np.linalg.norm(frame.vertices - ear, axis=1).min() < 0.12 * face.unit
    gap = np.linalg.norm(frame.vertices[:, None] - face.landmarks[27:30][None], axis=2).min()
    assert gap < 0.16 * face.unit


def test_sunglasses_are_dark(face: Face) -> None:
    lenses = [thing for thing in worn(face, wardrobe(), sunglasses=True) if thing.opacity < 1]
    assert len(lenses) == 2
    assert all(0.75 <= lens.opacity <= 0.95 for lens in lenses)


@pytest.mark.parametrize("kind", HAT_KINDS)
def test_hats_cover_the_crown_and_leave_the_eyes_free(face: Face, kind: str) -> None:
    (hat,) = worn(face, wardrobe(hat_kind=kind), hat=True)
    assert hat.vertices[:, 1].max() > face.skin[:, 1].max()
    eyes, marks = face.eyes, face.landmarks[36:48]
    before = (np.abs(hat.vertices[:, 0] - eyes[:, 0].mean()) < 0.5 * face.unit) & (
        hat.vertices[:, 2] > eyes[:, 2].min()
    )
    before &= (hat.vertices[:, 1] < marks[:, 1].max()) & (hat.vertices[:, 1] > face.landmarks[48:68, 1].min())
    assert not before.any()


def test_hair_under_a_hat_is_pressed_to_the_head(face: Face) -> None:
    top = face.skin[face.skin[:, 1].argmax()]
    strand = np.stack([top, top + np.array([0, 0.3 * face.unit, 0])])[None]
    pressed = tuck_hair(wardrobe(hat_kind="beanie"), Props(hat=True), strand, face.skin)
    assert pressed[0, 1, 1] < top[1] + 0.12 * face.unit
    assert tuck_hair(wardrobe(), Props(), strand, face.skin) is strand


def test_a_mask_covers_mouth_and_nose_unless_it_is_low(face: Face) -> None:
    mouth, tip = face.landmarks[62], face.landmarks[30]
    mask = worn(face, wardrobe(), mask=True)[0]
    for mark in (mouth, tip):
        over = np.linalg.norm(mask.vertices[:, :2] - mark[:2], axis=1) < 0.1 * face.unit
        assert over.any()
        assert mask.vertices[over, 2].max() > mark[2]
    low = worn(face, wardrobe(), mask=True, mask_low=True)[0]
    assert low.vertices[:, 1].max() < tip[1] + 0.1 * face.unit


@pytest.mark.parametrize("place", HAND_PLACES)
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_a_hand_touches_the_face(face: Face, place: str, side: float) -> None:
    (hand,) = worn(face, wardrobe(), hand=True, hand_place=place, hand_side=side)
    near = np.linalg.norm(hand.vertices[:, None] - face.skin[None, ::4], axis=2).min()
    assert near < 0.12 * face.unit
    assert np.sign(hand.vertices[:, 0].mean() - face.eyes[:, 0].mean()) == side


@pytest.mark.parametrize("kind", ["stud", "hoop", "drop"])
def test_earrings_hang_on_the_lobes(face: Face, kind: str) -> None:
    (rings,) = worn(face, wardrobe(earring_kind=kind), earrings=True)
    for side in ("left", "right"):
        lobe = face.skin[ear_vertices()[side][1]]
        assert np.linalg.norm(rings.vertices - lobe, axis=1).min() < 0.08 * face.unit


def test_every_surface_is_sound(face: Face) -> None:
    every = dict.fromkeys(("glasses", "hat", "mask", "hand", "earrings"), True)
    for thing in worn(face, wardrobe(), **every):
        assert thing.region in REGIONS
        assert np.isfinite(thing.vertices).all()
        assert thing.triangles.min() >= 0
        assert thing.triangles.max() < len(thing.vertices)
        np.testing.assert_allclose(np.linalg.norm(thing.normals, axis=1).max(), 1, atol=1e-6)
        assert len(thing.triangles) < 5000
