"""Action units by a network of their own."""

import numpy as np
import pytest
import torch

from semeia import checkpoint
from semeia.predict.faces import FaceReader
from semeia.predict.units import UnitReader
from semeia.recipes import algrnet, mgrrnet
from semeia.records import Box, Face, SemeiaError
from semeia.systems import qface
from semeia.unit_networks import NETWORKS

TINY = qface.Config(image_size=32, taps=(0, 1, 2), backbone_width=48, backbone_depth=3, width=48, heads=4, hidden=64)
RECIPES = {"algrnet": algrnet, "mgrrnet": mgrrnet}


@pytest.fixture(params=sorted(NETWORKS))
def weights(request, tmp_path):
    torch.manual_seed(0)
    config = RECIPES[request.param].smoke().model
    model = NETWORKS[request.param].build(config)
    model.unit_threshold[0] = 0.31
    checkpoint.save(tmp_path / "mine", system=request.param, config=config, state=model.state_dict(), card="# mine")
    return tmp_path / "mine"


def face():
    mesh = np.zeros((468, 3))
    mesh[:, 0], mesh[:, 1] = np.tile(np.linspace(20, 44, 26), 18), np.repeat(np.linspace(20, 50, 18), 26)
    return Face(box=Box(20, 20, 24, 30), score=0.9, presence=1.0, mesh=mesh)


def test_its_units_take_the_place_of_the_readers(weights):
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    units = UnitReader.load(weights, cpu)
    reader = FaceReader(qface.build(TINY), None, weights="tiny", device=cpu, units=units)
    plain = FaceReader(reader.model, None, weights="tiny", device=cpu)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (with_units,) = reader.read_views([face()], [reader.views(image, face())])
    (without,) = plain.read_views([face()], [plain.views(image, face())])
    assert with_units.expression == without.expression
    assert with_units.action_units != without.action_units
    said = units.predict([units.crop(image, face())])
    name = units.model.config.action_units[0]
    unit = with_units.action_units[name]
    assert unit.intensity == pytest.approx(float(said["au_intensity"][0, 0]))
    assert (unit.left, unit.right) == pytest.approx(said["au_sides"][0, 0].tolist())
    assert unit.threshold == pytest.approx(0.31, abs=1e-3)
    assert reader.weights == "tiny, action units mine"


def test_weights_of_another_kind_are_refused():
    with pytest.raises(SemeiaError, match="expected weights of algrnet or mgrrnet, found those of 'qface'"):
        UnitReader.load("qface", torch.device("cpu"))
