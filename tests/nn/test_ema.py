"""The moving average of weights, by hand."""

import pytest
import torch
from torch import nn

from semeia.nn.ema import Ema


def test_the_average_follows_with_a_rising_decay():
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 0.0)
    ema = Ema(net, decay=0.15)
    nn.init.constant_(net.weight, 10.0)
    ema.update(net)
    assert ema.module.weight.item() == pytest.approx(9.0)  # decay 1/10
    ema.update(net)
    assert ema.module.weight.item() == pytest.approx(0.15 * 9 + 0.85 * 10)  # 2/11 is above 0.15


def test_buffers_are_copied_and_frozen_parameters_shared():
    net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    net[0].requires_grad_(False)
    ema = Ema(net, decay=0.9)
    net(torch.randn(8, 2))
    ema.update(net)
    assert torch.equal(ema.module[1].running_mean, net[1].running_mean)
    assert ema.module[0].weight is net[0].weight
    assert ema.module[1].weight is not net[1].weight


def test_the_average_learns_nothing_itself_and_stays_in_eval_mode():
    ema = Ema(nn.Linear(2, 2), decay=0.9)
    assert not any(p.requires_grad for p in ema.parameters())
    assert not ema.module.training


def test_its_state_goes_with_it():
    net = nn.Linear(2, 2)
    ema, other = Ema(net, decay=0.9), Ema(nn.Linear(2, 2), decay=0.9)
    nn.init.ones_(net.weight)
    ema.update(net)
    other.load_state_dict(ema.state_dict())
    assert int(other.updates) == 1
    assert torch.equal(other(torch.ones(1, 2)), ema(torch.ones(1, 2)))


def test_restarted_it_stands_at_the_weights():
    net = nn.Linear(2, 2)
    ema = Ema(nn.Linear(2, 2), decay=0.9)
    ema.update(net)
    ema.restart(net)
    assert int(ema.updates) == 0
    assert torch.equal(ema.module.weight, net.weight)
