import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces.appearance import Skin
from semeia.data.synthetic.faces.develop import stored, through_lens, tone
from semeia.data.synthetic.faces.light import background, draw_sky
from semeia.data.synthetic.faces.scene import REGIONS, Exposure


@pytest.fixture
def exposure():
    rng = np.random.default_rng(0)
    regions = np.zeros((32, 32), np.uint8)
    regions[8:24, 8:24] = REGIONS.index("skin")
    light = rng.uniform(0.1, 0.4, (32, 32, 3)) * (regions > 0)[..., None]
    return Exposure(light, (regions > 0).astype(float), regions)


@pytest.fixture
def skin():
    fields = {field.name: None for field in dataclasses.fields(Skin)}
    return Skin(**(fields | {"tone": np.array([0.5, 0.35, 0.28])}))


def test_the_face_is_exposed_alike_however_much_light_there_is(exposure, skin):
    bright = dataclasses.replace(exposure, light=exposure.light * 50)
    first, second = (tone(e, skin, np.random.default_rng(1)) for e in (exposure, bright))
    assert first == pytest.approx(second)
    assert 0.2 < first[exposure.regions > 0].mean() < 0.9


def test_a_lens_keeps_the_mean_of_a_picture(exposure):
    picture = np.full((32, 32, 3), 0.5)
    for seed in range(20):
        seen = through_lens(picture, np.random.default_rng(seed), other=False)
        assert 0.3 < seen.mean() <= 0.5 + 1e-6


def test_a_stored_picture_is_8_bit_and_repeatable():
    picture = np.random.default_rng(0).random((32, 32, 3))
    first, second = (stored(picture, np.random.default_rng(5), other=True) for _ in range(2))
    assert first.dtype == np.uint8
    assert (first == second).all()


def test_backgrounds_are_dull_and_within_range():
    colours = [background(np.random.default_rng(seed), 32) for seed in range(60)]
    assert all(((c >= 0) & (c <= 1)).all() and c.shape == (32, 32, 3) for c in colours)
    assert np.mean([np.ptp(c.mean((0, 1))) for c in colours]) < 0.08


def test_a_sky_is_roughly_white_and_its_map_shows_its_lamps():
    for seed in range(10):
        sky = draw_sky(np.random.default_rng(seed))
        mean = sky.texels().mean((0, 1))
        assert np.ptp(mean) / mean.mean() < 0.35
        assert 1 <= len(sky.lamps) <= 3
        assert sky.texels().max() > sky.diffuse(np.eye(3)).max()
