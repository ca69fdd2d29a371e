"""Both ends of a network for action units: scores, losses, and starting from a network that knows other units."""

from dataclasses import replace

import pytest
import torch

from semeia.nn.intensity import IntensityLevels
from semeia.nn.unit_network import UnitHeads, UnitScores, adopt_units, unit_losses, usual_points
from semeia.ops.face_regions import FORTY_NINE
from semeia.recipes import algrnet, mgrrnet
from semeia.records import SemeiaError

RECIPES = {"algrnet": algrnet, "mgrrnet": mgrrnet}
DISFA = ("AU01", "AU02", "AU04", "AU06", "AU09", "AU12", "AU25", "AU26")


def module(name):
    return getattr(RECIPES[name], name)


def batch(**labelled):
    """Two faces and three units; nothing is labelled but what is given."""
    empty = {
        "au_occurrence": torch.zeros(2, 3), "au_intensity": torch.zeros(2, 3), "au_sides": torch.zeros(2, 3, 2),
        "landmarks": torch.full((2, 68, 2), 0.5),
    }  # fmt: skip
    masks = {f"{name}_mask": torch.zeros_like(value, dtype=torch.bool) for name, value in empty.items()}
    given = {f"{name}_mask": torch.ones_like(value, dtype=torch.bool) for name, value in labelled.items()}
    return empty | masks | labelled | given


def scores():
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 3), (2, 3, 2), (2, 3))
    return UnitScores(*(torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes))


def test_presence_and_intensity_of_a_unit_and_its_sides_come_from_one_score_each():
    heads = UnitHeads(3, 4)
    said = heads.answers(scores())
    levels: IntensityLevels = heads.levels
    wanted = levels(scores().whole).sigmoid()
    torch.testing.assert_close(said["au_probability"], wanted[..., 1])
    torch.testing.assert_close(said["au_intensity"], wanted.sum(-1))
    assert said["au_sides"].shape == (2, 3, 2)


def test_both_sides_are_read_alike():
    heads = UnitHeads(3, 4)
    refined, sides, together = torch.randn(2, 3, 4), torch.randn(2, 3, 2, 4), torch.randn(2, 3, 4)
    here, there = heads(refined, sides, together), heads(refined, sides.flip(2), together)
    torch.testing.assert_close(here.sides, there.sides.flip(-1))
    torch.testing.assert_close(here.whole, there.whole)


@pytest.mark.parametrize(
    ("labelled", "names"),
    [
        ({"au_occurrence": torch.ones(2, 3)}, {"presence", "local"}),
        ({"au_intensity": torch.ones(2, 3)}, {"intensity"}),
        ({"au_sides": torch.ones(2, 3, 2)}, {"sides"}),
        ({"landmarks": torch.rand(2, 68, 2)}, {"landmarks"}),
    ],
)
def test_each_label_has_its_own_loss(labelled, names):
    points = torch.full((2, 49, 2), 0.5)
    found = unit_losses(UnitHeads(3, 4), scores(), points, batch(**labelled), torch.ones(3), published=False)
    assert {name for name, value in found.items() if value != 0} == names


def test_usual_points_are_the_mean_of_what_is_known():
    import numpy as np

    known = np.random.default_rng(0).random((4, 68, 2))
    unknown = np.full((1, 68, 2), np.nan)
    torch.testing.assert_close(
        usual_points(np.concatenate([unknown, known])), torch.from_numpy(known.mean(0)[FORTY_NINE]).float()
    )
    assert (usual_points(unknown) == 0.5).all()


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
