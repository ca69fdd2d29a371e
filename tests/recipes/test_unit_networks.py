"""Networks for action units: from a folder of faces to a checkpoint with its card, and from one data set to another."""

from dataclasses import replace

import pytest

from semeia import checkpoint
from semeia.face_sets import FaceData
from semeia.recipes import algrnet, mgrrnet

RECIPES = {"algrnet": algrnet, "mgrrnet": mgrrnet}
DISFA = ("AU01", "AU02", "AU04", "AU06", "AU09", "AU12", "AU25", "AU26")


def smoke(name, faces, out, **changes):
    config = RECIPES[name].smoke()
    return replace(config, data=FaceData(faces=(str(faces),)), fit=replace(config.fit, out=str(out)), **changes)


def module(name):
    return getattr(RECIPES[name], name)


@pytest.mark.parametrize("name", RECIPES)
def test_the_smoke_recipe_ends_with_a_checkpoint_that_loads_and_a_card(name, faces, tmp_path):
    recipe, system = RECIPES[name], module(name)
    out = recipe.train(smoke(name, faces, tmp_path), progress=False)
    model, _ = checkpoint.load(out, system=name, kind=system.Config, build=system.build)
    assert model.config == recipe.smoke().model
    assert not (model.unit_weight == 1).all()
    assert model.trunk.landmarks.usual.std() > 0.01
    assert ((model.unit_threshold >= 0.199) & (model.unit_threshold <= 0.801)).all()
    card = (out / "card.md").read_text()
    for words in (
        "| action unit side present | AU12 | F1 |",
        "ICC(3,1)",
        "Not a medical device",
        f"semeia train {name}",
    ):
        assert words in card
    scores = recipe.evaluate(out, FaceData(faces=(str(faces),)), rounds=0)
    assert {score.task for score in scores} >= {"action unit present", "action unit side present"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_model_with_other_units_starts_from_one_that_has_some_of_them(name, faces, tmp_path):
    first = RECIPES[name].train(smoke(name, faces, tmp_path / "first"), progress=False)
    config = smoke(name, faces, tmp_path / "second", init=str(first))
    out = RECIPES[name].train(replace(config, model=replace(config.model, action_units=DISFA)), progress=False)
    model, _ = checkpoint.load(out, system=name, kind=module(name).Config, build=module(name).build)
    assert model.config.action_units == DISFA
