import dataclasses

import numpy as np
import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.synthetic.faces.action_units import deform, sided, target_weights
from semeia.data.synthetic.faces.figure import build_figure
from semeia.data.synthetic.faces.light import Lamp, Sky, draw_sky, place_camera
from semeia.data.synthetic.faces.raster import RasterStudio
from semeia.data.synthetic.faces.scene import REGIONS, SKIN_LIKE
from semeia.data.synthetic.faces.stage import set_stage
from semeia.data.synthetic.faces.topology import load_topology

pytestmark = pytest.mark.usefixtures("head")


def staged(shot, figure, action):
    shown = sided(action, balance=shot.person.balance, palsy=None)
    acting = deform(figure.neutral, target_weights(shown, gaze=(0.0, 0.0), palsy=None))
    return set_stage(shot, figure, acting, shown)


@pytest.fixture(scope="module")
def bare(upright):
    """The upright shot without anything worn."""
    props = dataclasses.replace(
        upright.props, glasses=False, sunglasses=False, hat=False, mask=False, hand=False, earrings=False
    )
    return dataclasses.replace(upright, props=props)


@pytest.fixture(scope="module")
def figure(bare):
    return build_figure(bare)


@pytest.fixture(scope="module")
def camera(bare, figure):
    return place_camera(bare, figure.neutral, 64)


@pytest.fixture(scope="module")
def exposure(bare, figure, camera):
    return RasterStudio(figure).expose(staged(bare, figure, {}), camera, draw_sky(np.random.default_rng(1)))


def lamp_from(x):
    direction = np.array([x, 0.1, 0.6])
    lamp = Lamp(direction / np.linalg.norm(direction), 30.0, np.full(3, 8.0))
    return Sky(np.full(3, 0.05), np.full(3, 0.05), (lamp,))


def test_an_exposure_has_light_where_something_covers(exposure):
    assert exposure.light.shape == (64, 64, 3)
    assert np.isfinite(exposure.light).all()
    assert (exposure.light >= 0).all()
    assert (exposure.light[exposure.coverage == 0] == 0).all()
    assert ((exposure.coverage >= 0) & (exposure.coverage <= 1)).all()
    assert 0.1 < np.isin(exposure.regions, SKIN_LIKE).mean() < 0.8


def test_the_same_shot_gives_the_same_bytes(bare, figure, camera, exposure):
    again = RasterStudio(figure).expose(staged(bare, figure, {}), camera, draw_sky(np.random.default_rng(1)))
    assert again.light.tobytes() == exposure.light.tobytes()
    assert again.regions.tobytes() == exposure.regions.tobytes()


def test_landmarks_lie_in_their_regions(figure, camera, exposure):
    points = camera.project(figure.neutral[load_topology().landmarks])

    def around(k, reach=2):
        x, y = np.floor(points[k]).astype(int)
        window = exposure.regions[y - reach : y + reach + 1, x - reach : x + reach + 1]
        return {REGIONS[number] for number in np.unique(window)}

    assert "lips" in around(51)
    assert "nose" in around(30)
    assert "brow" in around(19)
    assert around(38) & {"eye_right", "lash"}


def test_the_side_that_a_lamp_lights_is_brighter(bare, figure, camera):
    studio, stage = RasterStudio(figure), staged(bare, figure, {})
    sides = []
    for x in (-1.0, 1.0):
        light = studio.expose(stage, camera, lamp_from(x)).light.mean(-1)
        face = light[16:48, 16:48]
        sides.append(face[:, :16].mean() / face[:, 16:].mean())
    assert sides[0] > 1.15
    assert sides[1] < 0.87


def test_twice_the_light_is_twice_as_bright(bare, figure, camera):
    studio, stage, sky = RasterStudio(figure), staged(bare, figure, {}), lamp_from(0.3)
    double = Sky(
        sky.above * 2, sky.below * 2, tuple(dataclasses.replace(k, radiance=k.radiance * 2) for k in sky.lamps)
    )
    first, second = (studio.expose(stage, camera, light).light for light in (sky, double))
    assert second == pytest.approx(2 * first, rel=1e-6, abs=1e-9)


def test_an_open_mouth_shows_what_lies_inside(bare, figure, camera):
    studio, sky = RasterStudio(figure), draw_sky(np.random.default_rng(2))
    inside = [REGIONS.index(name) for name in ("cavity", "teeth", "tongue")]
    shut, wide = (studio.expose(staged(bare, figure, a), camera, sky).regions for a in ({}, {"AU27": 5.0, "AU25": 4.0}))
    assert np.isin(shut, inside).sum() < 8
    assert np.isin(wide, inside).sum() > 30


def test_sunglasses_darken_the_eyes(bare, figure, camera):
    studio, sky = RasterStudio(figure), draw_sky(np.random.default_rng(3))
    worn = dataclasses.replace(bare, props=dataclasses.replace(bare.props, glasses=True, sunglasses=True))
    plain, dark = (studio.expose(staged(shot, figure, {}), camera, sky) for shot in (bare, worn))
    eyes = np.isin(plain.regions, [REGIONS.index("eye_left"), REGIONS.index("eye_right")])
    assert dark.light[eyes].mean() < 0.6 * plain.light[eyes].mean()
    assert (dark.regions == REGIONS.index("glasses")).any()
