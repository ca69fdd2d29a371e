import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces.appearance import TEXTURE, Skin
from semeia.data.synthetic.faces.wrinkles import FOLDS, acted_skin, draw_wrinkles, strength

pytestmark = pytest.mark.usefixtures("head")


def plain_skin(age=35.0, *, seed=0, uneven=1.0):
    wrinkles = draw_wrinkles(age, np.random.default_rng(seed), size=TEXTURE, uneven=uneven)
    colour = np.full((TEXTURE, TEXTURE, 3), 0.5, np.float32)
    return Skin(colour, np.zeros((TEXTURE, TEXTURE), np.float32), np.full(3, 0.5), wrinkles)


def test_a_unit_at_zero_changes_nothing():
    skin = plain_skin()
    colour, relief = acted_skin(skin, dict.fromkeys(FOLDS, (0.0, 0.0)))
    np.testing.assert_array_equal(colour, skin.colour)
    np.testing.assert_array_equal(relief, skin.relief)


def test_units_without_folds_are_passed_over():
    skin = plain_skin()
    assert acted_skin(skin, {"AU26": (5.0, 5.0), "AU43": (5.0, 5.0)})[1] is skin.relief


def test_the_given_skin_is_left_as_it_was():
    skin = plain_skin()
    acted_skin(skin, {"AU12": (5.0, 5.0)})
    assert (skin.relief == 0).all()
    assert (skin.colour == np.float32(0.5)).all()


@pytest.mark.parametrize("unit", list(FOLDS))
def test_folds_deepen_with_intensity(unit):
    skin = plain_skin()
    depths = [np.abs(acted_skin(skin, {unit: (value, value)})[1]).max() for value in (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)]
    assert (np.diff(depths) > 0).all()
    assert 0.008 < depths[-1] < 0.12


def test_strength_begins_near_the_trace_level_and_ends_at_one():
    assert strength(0.5) == 0
    assert 0 < strength(1.0) < 0.12
    assert strength(5.0) == 1


@pytest.mark.parametrize("unit", list(FOLDS))
def test_layers_of_an_even_face_mirror_each_other(unit):
    skin = plain_skin(uneven=0.0)
    left, right = acted_skin(skin, {unit: (5.0, 0.0)}), acted_skin(skin, {unit: (0.0, 5.0)})
    np.testing.assert_allclose(left[1], right[1][:, ::-1], atol=1e-6)
    np.testing.assert_allclose(left[0], right[0][:, ::-1], atol=1e-5)


def test_the_left_side_folds_the_left_half_only():
    relief = acted_skin(plain_skin(), {"AU12": (5.0, 0.0)})[1]
    assert np.abs(relief[:, TEXTURE // 2 + 10 :]).max() > 0.01  # azimuth grows to the subject's left
    assert np.abs(relief[:, : TEXTURE // 2 - 10]).max() == 0


def test_old_faces_fold_deeper_than_children():
    deep, faint = (
        np.mean([np.abs(acted_skin(plain_skin(age, seed=k), {"AU04": (5.0, 5.0)})[1]).max() for k in range(6)])
        for age in (75.0, 6.0)
    )
    assert deep > 1.6 * faint
    assert not draw_wrinkles(8.0, np.random.default_rng(0), size=TEXTURE).resting


def test_the_same_stream_draws_the_same_folds_and_another_stream_others():
    first, again, other = (plain_skin(seed=seed).wrinkles.layers[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.relief, again.relief)
    assert first.relief.shape != other.relief.shape or (first.relief != other.relief).any()


def test_windows_lie_within_the_texture_and_grooves_are_darker():
    skin = plain_skin()
    for layer in skin.wrinkles.layers:
        assert min(layer.row, layer.column) >= 0
        assert layer.row + layer.relief.shape[0] <= TEXTURE
        assert layer.column + layer.relief.shape[1] <= TEXTURE
    unflushed = dataclasses.replace(
        skin.wrinkles,
        layers=tuple(dataclasses.replace(layer, flush=np.zeros_like(layer.flush)) for layer in skin.wrinkles.layers),
    )
    colour, relief = acted_skin(dataclasses.replace(skin, wrinkles=unflushed), {"AU04": (5.0, 0.0)})
    assert colour[relief < -0.01].max() < 0.5
    np.testing.assert_allclose(colour[relief >= 0], 0.5)
