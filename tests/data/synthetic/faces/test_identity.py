import dataclasses

import numpy as np
import pytest

pytest.importorskip("scipy")

from semeia.data.synthetic.faces.identity import (
    RATIOS,
    face_ratios,
    macro_head,
    neutral_head,
    noise_fields,
    sample_shape,
)
from semeia.data.synthetic.faces.spec import sample_spec
from semeia.data.synthetic.faces.topology import load_topology

pytestmark = pytest.mark.usefixtures("head")


def test_fifty_persons_have_human_proportions():
    landmarks = load_topology().landmarks
    for identity in range(50):
        person = sample_spec(1, identity, 0).person
        base = macro_head(
            age=person.age, male=person.male, ancestry=person.ancestry, muscle=person.muscle, weight=person.weight
        )
        local = sample_shape(np.random.default_rng([1, identity]), base=base)
        ratios = face_ratios(neutral_head(dataclasses.replace(person, local=local))[landmarks])
        for name, (low, high) in RATIOS.items():
            assert low - 1e-3 <= ratios[name] <= high + 1e-3, (identity, name)


def test_the_same_stream_gives_the_same_shape():
    assert sample_shape(np.random.default_rng(4)) == sample_shape(np.random.default_rng(4))
    assert sample_shape(np.random.default_rng(4)) != sample_shape(np.random.default_rng(5))


def test_a_person_without_targets_is_the_average_head():
    person = dataclasses.replace(sample_spec(1, 0, 0).person, local={})
    base = macro_head(
        age=person.age, male=person.male, ancestry=person.ancestry, muscle=person.muscle, weight=person.weight
    )
    np.testing.assert_allclose(neutral_head(person), base, atol=1e-6)


def test_the_noise_spares_eyes_teeth_mouth_and_neck(head):
    moved = np.abs(noise_fields()).max((0, 2))
    assert moved[head.quads[~np.isin(head.parts, ["skin"])]].max() == 0
    assert moved[head.vertices[:, 1] < 5.8].max() == 0
    assert moved[load_topology().landmarks[[30, 2, 14]]].min() > 0.5


def test_even_noise_mirrors_itself_and_odd_noise_is_the_opposite():
    fields, mirror = noise_fields(), load_topology().mirror
    skin = np.unique(load_topology().landmarks)
    seen = fields[:, mirror[skin]] * [-1, 1, 1]
    for k, field in enumerate(fields):
        sign = 1 if k % 9 < 6 else -1
        np.testing.assert_allclose(seen[k], sign * field[skin], atol=0.12)


def test_everyone_is_a_little_asymmetric():
    topology = load_topology()
    left, right = topology.landmarks[42:48], topology.landmarks[[39, 38, 37, 36, 41, 40]]
    for identity in range(10):
        vertices = neutral_head(sample_spec(1, identity, 0).person)
        jaw = vertices[topology.landmarks[:17]]
        uneven = np.abs(jaw - jaw[::-1] * [-1, 1, 1]).max()
        assert 1e-4 < uneven < 0.25
        assert np.abs(vertices[left] - vertices[right] * [-1, 1, 1]).max() < 0.15
