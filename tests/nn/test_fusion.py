"""A gate mixes two descriptions."""

import pytest
import torch
from torch import nn

from semeia.nn.fusion import GatedFusion


@pytest.mark.parametrize(("lean", "kept"), [(100.0, 0), (-100.0, 1)])
def test_a_gate_forced_to_an_end_returns_one_side(lean, kept):
    fusion = GatedFusion(4, first=nn.Tanh(), second=nn.Linear(4, 4), lean=lean)
    a, b = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    wanted = (fusion.first(a), fusion.second(b))[kept]
    torch.testing.assert_close(fusion(a, b), wanted)


def test_an_open_gate_mixes_by_hand():
    fusion = GatedFusion(1, first=nn.Identity(), second=nn.Identity())
    nn.init.constant_(fusion.from_first.weight, 1.0)
    nn.init.constant_(fusion.from_second.weight, 0.0)
    z = torch.tensor(2.0).sigmoid()
    assert fusion(torch.tensor([2.0]), torch.tensor([-1.0])).item() == pytest.approx(float(z * 2 - (1 - z)))


def test_gradients_reach_both_sides_and_the_gate():
    fusion = GatedFusion(3, first=nn.Linear(3, 3), second=nn.Linear(3, 3)).double()
    a, b = (torch.randn(2, 3, dtype=torch.double, requires_grad=True) for _ in "ab")
    assert torch.autograd.gradcheck(fusion, (a, b))
    fusion(a, b).sum().backward()
    assert all(parameter.grad.any() for parameter in fusion.parameters())
