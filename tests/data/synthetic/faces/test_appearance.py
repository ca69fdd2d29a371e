import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces.appearance import canvas, paint_eye, paint_skin
from semeia.data.synthetic.faces.spec import Stream, sample_spec

pytestmark = pytest.mark.usefixtures("head")


def painted(identity=0, **changes):
    spec = sample_spec(3, identity, 0)
    person = dataclasses.replace(spec.person, **changes)
    return paint_skin(person, spec.person_stream(Stream.SKIN), spec.person_stream(Stream.WRINKLES))


def change(mask, **changes):
    """Mean change of the colour (3,) where a mask is high, against the same bare-faced young person without them."""
    plain = {"age": 25.0, "beard": 0.0, "makeup": 0.0, "rosy": 0.0, "bags": 0.0, "freckles": 0.0, "lipstick": False}
    plain["melanin"] = 0.2
    with_, without = painted(**(plain | changes)).colour, painted(**plain).colour
    return (with_ - without)[mask > 0.6].mean(0)


@pytest.mark.parametrize("look", ["usual", "other"])
def test_colours_and_relief_stay_within_bounds(look):
    for identity in range(6):
        skin = painted(identity, look=look)
        assert skin.colour.dtype == skin.relief.dtype == np.float32
        assert np.isfinite(skin.colour).all()
        assert skin.colour.min() >= 0
        assert skin.colour.max() <= 1
        assert np.abs(skin.relief).max() < 0.12


def test_a_person_is_painted_alike_every_time():
    np.testing.assert_array_equal(painted(2).colour, painted(2).colour)
    np.testing.assert_array_equal(painted(2).relief, painted(2).relief)


def test_the_other_look_paints_another_skin():
    assert np.abs(painted(look="usual").colour - painted(look="other").colour).mean() > 0.01


def test_rosy_cheeks_lose_green_and_keep_red():
    red, green, _ = change(canvas().cheeks, rosy=1.0)
    assert green < -0.02
    assert red > green


def test_bags_and_makeup_darken_the_skin_around_the_eyes():
    assert change(canvas().bags, bags=1.0).max() < 0
    assert change(canvas().lid_line, makeup=1.0).max() < -0.02


def test_freckles_darken_some_of_the_cheek():
    assert change(canvas().cheeks, freckles=1.0).max() < 0


@pytest.mark.parametrize("style", ["full", "moustache", "goatee", "stubble"])
def test_every_style_of_beard_darkens_its_own_place(style):
    black = dataclasses.replace(sample_spec(3, 0, 0).person.hair, colour="black", grey=0.0)
    assert change(canvas().beards[style], beard=0.8, beard_style=style, hair=black).max() < 0


def test_masks_of_beards_spare_the_lips_and_mirror_each_other():
    for mask in canvas().beards.values():
        assert mask[canvas().lips > 0.95].max() < 0.1
        np.testing.assert_allclose(mask, mask[:, ::-1], atol=0.25)  # lips are drawn to whole texels


def test_the_pupil_is_black_and_the_sclera_light():
    for look in ("usual", "other"):
        eye = paint_eye(0.5, np.random.default_rng(0), look=look)
        assert eye[64, 64].max() < 0.02
        assert eye[64, 110].min() > 0.3
