"""Which parameters decay, and how fast each learns."""

import torch
from torch import nn

from semeia.task import Phase, Task
from semeia.train.optimisers import adamw


class Blocks(Task):
    def __init__(self):
        super().__init__()
        self.backbone = nn.ModuleDict(
            {
                "stem": nn.Conv2d(3, 4, 1, bias=False),
                "blocks": nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(2)),
                "norm": nn.LayerNorm(4),
            }
        )
        self.names = nn.Embedding(5, 4)
        self.queries = nn.Parameter(torch.zeros(3, 4))
        self.layers = nn.ModuleList([nn.Linear(4, 2)])


def options(optimizers, key):
    """Parameter name -> option ``key`` of its group."""
    return {
        name: group[key]
        for optimizer in optimizers.values()
        for group in optimizer.param_groups
        for name in group["param_names"]
    }


def test_only_weight_matrices_and_kernels_decay():
    decay = options(adamw(Blocks(), lr=1.0, weight_decay=0.1), "weight_decay")
    assert {name for name, value in decay.items() if value == 0.1} == {
        "backbone.stem.weight", "backbone.blocks.0.weight", "backbone.blocks.1.weight", "layers.0.weight",
    }  # fmt: skip
    assert {name for name, value in decay.items() if value == 0} == {
        "backbone.norm.weight", "backbone.norm.bias", "names.weight", "queries", "layers.0.bias",
    }  # fmt: skip


def test_deeper_blocks_of_the_backbone_learn_faster():
    rate = options(adamw(Blocks(), lr=1.0, weight_decay=0.1, layer_decay=0.5), "lr")
    assert rate["backbone.stem.weight"] == 0.125
    assert rate["backbone.blocks.0.weight"] == 0.25
    assert rate["backbone.blocks.1.weight"] == 0.5
    assert rate["backbone.norm.weight"] == rate["queries"] == rate["layers.0.weight"] == 1.0


class Two(Blocks):
    phases = (Phase("main", "slow"), Phase("main", "fast"), Phase("other", "slow"))

    def groups(self, optimizer="main"):
        if optimizer == "fast":
            return [{"named_params": [("queries", self.queries)], "constant": True, "betas": (0.5, 0.9)}]
        return [{"named_params": list(self.layers.named_parameters(prefix="layers")), "lr_scale": 0.1}]


def test_each_optimiser_of_the_phases_gets_its_groups_with_their_options():
    optimizers = adamw(Two(), lr=1.0, weight_decay=0.1)
    assert list(optimizers) == ["slow", "fast"]
    assert options(optimizers, "lr") == {"layers.0.weight": 0.1, "layers.0.bias": 0.1, "queries": 1.0}
    (fast,) = optimizers["fast"].param_groups
    assert fast["constant"]
    assert fast["betas"] == (0.5, 0.9)


def test_frozen_parameters_are_left_out():
    task = Blocks()
    task.backbone.requires_grad_(False)
    assert set(options(adamw(task, lr=1.0, weight_decay=0.1), "lr")) == {
        "names.weight", "queries", "layers.0.weight", "layers.0.bias",
    }  # fmt: skip
