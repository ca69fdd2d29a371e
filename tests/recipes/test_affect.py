"""EMMA and Masked CoTEX: from a folder of faces to a checkpoint with its card."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from semeia import checkpoint
from semeia.face_sets import FaceData
from semeia.recipes import cotex, emma, face_mae
from semeia.records import SemeiaError
from semeia.systems import cotex as networks
from semeia.systems import emma as network

RECIPES = {"emma": (emma, network), "cotex": (cotex, networks)}


def smoke(name, faces, out, **changes):
    config = RECIPES[name][0].smoke()
    made = replace(config, data=FaceData(faces=(str(faces),)), fit=replace(config.fit, out=str(out)), **changes)
    if name == "emma":
        # A CNN of its own, so that the test needs no part.
        made = replace(made, model=replace(made.model, cnn="resnet18", cnn_classes=3), cnn_weights=str(out / "cnn.st"))
        out.mkdir(parents=True, exist_ok=True)
        save_file(dict(network.build(made.model).cnn.state_dict()), out / "cnn.st")
    return made


@pytest.mark.parametrize("name", RECIPES)
def test_the_smoke_recipe_ends_with_a_checkpoint_that_loads_and_a_card(name, faces, tmp_path):
    recipe, system = RECIPES[name]
    out = recipe.train(smoke(name, faces, tmp_path), progress=False)
    checkpoint.load(out, system=name, kind=system.Config, build=system.build)
    card = (out / "card.md").read_text()
    for words in ("| expression | mean | F1 |", "Not a medical device", f"semeia train {name}"):
        assert words in card
    scores = recipe.evaluate(out, FaceData(faces=(str(faces),)), rounds=0)
    wanted = {"affect", "expression", "action unit", "all"} if name == "emma" else {"expression", cotex.ALONE}
    assert {score.task for score in scores} == wanted


def test_the_frozen_network_is_the_one_that_was_given(faces, tmp_path):
    config = smoke("emma", faces, tmp_path)
    before = emma.frozen_state(config)
    model, _ = checkpoint.load(
        emma.train(config, progress=False), system="emma", kind=network.Config, build=network.build
    )
    assert all(
        torch.equal(value, before[name].half().to(value.dtype)) for name, value in model.cnn.state_dict().items()
    )
    assert not (model.positive == 1).all()


def test_another_frozen_network_needs_weights(faces, tmp_path):
    config = replace(smoke("emma", faces, tmp_path), cnn_weights=None)
    with pytest.raises(SemeiaError, match="expected its weights as --cnn_weights"):
        emma.train(config, progress=False)


@pytest.mark.parametrize("name", RECIPES)
def test_every_vit_starts_from_the_prior(name, faces, tmp_path):
    recipe, system = RECIPES[name]
    like = recipe.smoke().model
    model = face_mae.smoke().model
    model = replace(model, image_size=like.image_size, backbone_width=like.backbone_width, backbone_depth=1)
    started = face_mae.smoke()
    started = replace(
        started, model=model, data=FaceData(faces=(str(faces),)), fit=replace(started.fit, out=str(tmp_path / "mae"))
    )
    prior = face_mae.train(started, progress=False)
    config = smoke(name, faces, tmp_path / "run", prior=str(prior))
    config = replace(config, fit=replace(config.fit, steps=1, warmup=0), learning_rate=0.0)
    out = recipe.train(config, progress=False)
    trained, _ = checkpoint.load(out, system=name, kind=system.Config, build=system.build)
    known, _ = checkpoint.load(prior, system="face_mae", kind=face_mae.face_mae.Config, build=face_mae.face_mae.build)
    backbones = [trained.backbone] if name == "emma" else trained.backbones
    for backbone in backbones:
        assert torch.equal(backbone.model.blocks[0].mlp.fc1.weight, known.backbone.model.blocks[0].mlp.fc1.weight)
