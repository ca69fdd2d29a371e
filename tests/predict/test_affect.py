"""Valence and arousal of found faces."""

import numpy as np
import pytest
import torch

from semeia import checkpoint
from semeia.predict.affect import AffectReader
from semeia.predict.faces import FaceReader
from semeia.recipes.emma import smoke
from semeia.records import Box, Face, SemeiaError
from semeia.systems import emma, qface

TINY = qface.Config(image_size=32, taps=(0, 1, 2), backbone_width=48, backbone_depth=3, width=48, heads=4, hidden=64)


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    config = smoke().model
    state = emma.build(config).state_dict()
    checkpoint.save(tmp_path / "mine", system="emma", config=config, state=state, card="# mine")
    return tmp_path / "mine"


def face():
    mesh = np.zeros((468, 3))
    mesh[:, 0], mesh[:, 1] = np.tile(np.linspace(20, 44, 26), 18), np.repeat(np.linspace(20, 50, 18), 26)
    return Face(box=Box(20, 20, 24, 30), score=0.9, presence=1.0, mesh=mesh)


def test_a_reader_with_emma_tells_valence_and_arousal_and_nothing_else_changes(weights):
    cpu = torch.device("cpu")
    torch.manual_seed(0)
    affect = AffectReader.load(weights, cpu)
    reader = FaceReader(qface.build(TINY), None, weights="tiny", device=cpu, affect=affect)
    plain = FaceReader(reader.model, None, weights="tiny", device=cpu)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    (told,) = reader.read_views([face()], [reader.views(image, face())])
    (without,) = plain.read_views([face()], [plain.views(image, face())])
    assert (without.valence, without.arousal) == (None, None)
    assert "affect" not in without.as_dict()
    assert told.expression == without.expression
    said = affect.read([affect.crop(image, face())])
    assert [(told.valence, told.arousal)] == said
    assert told.as_dict()["affect"] == {"valence": round(told.valence, 3), "arousal": round(told.arousal, 3)}
    assert reader.weights == "tiny, affect mine"


def test_a_crowd_is_read_as_each_alone(weights):
    reader = AffectReader.load(weights, torch.device("cpu"))
    side = reader.model.config.image_size
    crops = list(np.random.default_rng(1).integers(0, 256, (5, side, side, 3), np.uint8))
    together = np.array(reader.read(crops))
    alone = np.array([reader.read([crop])[0] for crop in crops])
    assert together == pytest.approx(alone, abs=1e-5)
    assert (np.abs(together) <= 1).all()


def test_weights_of_another_system_are_refused():
    with pytest.raises(SemeiaError, match="emma"):
        AffectReader.load("qface", torch.device("cpu"))
