"""Networks for action units: from a folder of faces to a checkpoint with its card, and from one data set to another."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from semeia import checkpoint
from semeia.face_sets import FaceData
from semeia.nn.unit_network import adopt_units
from semeia.recipes import algrnet, mgrrnet
from semeia.records import SemeiaError
from semeia.unit_scores import side_presence, side_scores

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


@pytest.mark.parametrize("name", RECIPES)
def test_branches_follow_their_unit_or_one_that_looks_alike(name):
    system, config = module(name), RECIPES[name].smoke().model
    bp4d = ("AU06", "AU17", "AU12", "AU23")
    other = system.build(replace(config, action_units=bp4d))
    model = system.build(replace(config, action_units=("AU12", "AU09", "AU25", "AU26")))
    fresh = model.trunk.branches.weight.clone()
    adopt_units(model, other, units=model.config.action_units, others=bp4d)
    weight = model.trunk.branches.weight
    torch.testing.assert_close(weight[[0, 2, 3]], other.trunk.branches.weight[[2, 3, 1]])
    torch.testing.assert_close(weight[1], fresh[1])
    kernel, others = (net.trunk.branches.features[0].weight.unflatten(0, (4, -1)) for net in (model, other))
    torch.testing.assert_close(kernel[0], others[2])
    torch.testing.assert_close(model.trunk.stem[0].enter.weight, other.trunk.stem[0].enter.weight)
    assert not torch.equal(model.heads.whole, other.heads.whole)


@pytest.mark.parametrize("other_units", [DISFA, algrnet.smoke().model.action_units])
@pytest.mark.parametrize("sizes", [{"width": 16}, {"branches": (8, 12)}, {"branches": (8,)}, {"branches": (8, 8, 8)}])
def test_a_checkpoint_of_other_sizes_is_refused(other_units, sizes):
    config = algrnet.smoke().model
    one = algrnet.algrnet.build(config)
    other = algrnet.algrnet.build(replace(config, action_units=other_units, **sizes))
    with pytest.raises(SemeiaError, match="start from one of the same sizes"):
        adopt_units(one, other, units=config.action_units, others=other_units)


def test_sides_are_scored_together_by_hand():
    truth = np.array([[[3.0, 0.0]], [[2.0, 2.0]], [[np.nan, np.nan]]])  # three faces, one unit
    assert side_presence(truth)[:4, 0].tolist() == [1, 0, 1, 1]
    shown = np.array([[[1.0, 1.0]], [[1.0, 0.0]], [[1.0, 1.0]]])
    rows = side_scores(truth, shown, np.array(["a", "b", "c"]), ["AU12"], 0)
    assert rows[0].value == pytest.approx(2 / 3)  # two right, one false, one missed
    assert rows[0].count == 2
