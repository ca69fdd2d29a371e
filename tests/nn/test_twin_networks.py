"""Networks between pictures take any side and any batch."""

import pytest
import torch

from semeia.nn.twin_networks import Hourglass, PatchCritic, Residual, Rise, Segmentor, generator

WIDTHS = (4, 8, 16)


@pytest.mark.parametrize("sides", [(16, 16), (17, 30), (5, 9)])
def test_pictures_of_any_side_come_back_at_that_side(sides):
    x, mask = torch.rand(2, 1, *sides), torch.zeros(2, 1, *sides)
    assert Segmentor(WIDTHS)(x).shape == x.shape
    for guided in (True, False):
        assert generator(guided=guided, residual=False, widths=WIDTHS, blocks=1)(x, mask).shape == x.shape


def test_a_residual_generator_begins_as_a_copy():
    x = torch.rand(2, 1, 16, 16) * 2 - 1
    assert torch.equal(generator(guided=True, residual=True, widths=WIDTHS, blocks=1)(x, torch.ones_like(x)), x)


def test_pictures_stay_in_their_range():
    torch.manual_seed(0)
    x = torch.rand(2, 1, 16, 16) * 2 - 1
    for residual in (True, False):
        net = generator(guided=True, residual=residual, widths=WIDTHS, blocks=1)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        assert net(x, torch.ones_like(x)).abs().max() <= 1


def test_only_a_guided_generator_sees_the_mask():
    torch.manual_seed(0)
    x = torch.rand(1, 1, 16, 16)
    for guided in (True, False):
        net = generator(guided=guided, residual=False, widths=WIDTHS, blocks=1)
        assert torch.equal(net(x, torch.zeros_like(x)), net(x, torch.ones_like(x))) is not guided


def test_a_picture_of_a_batch_does_not_depend_on_the_others():
    torch.manual_seed(0)
    net, x = Segmentor(WIDTHS), torch.rand(3, 1, 16, 16)
    torch.testing.assert_close(net(x)[:1], net(x[:1]))


def test_each_patch_of_the_critic_sees_seventy_pixels():
    critic = PatchCritic((4, 8, 16))
    assert critic(torch.rand(1, 1, 128, 128)).shape == (1, 1, 14, 14)
    x = torch.rand(1, 1, 128, 128, requires_grad=True)
    critic(x)[0, 0, 7, 7].backward()
    rows = x.grad[0, 0].abs().sum(1).nonzero()[:, 0]
    assert rows[-1] - rows[0] + 1 == 70


def test_every_weight_is_reached_by_a_gradient():
    torch.manual_seed(0)
    for net in (Hourglass(2, widths=WIDTHS, blocks=2, side=3), PatchCritic((4, 8))):
        net(torch.rand(1, 2 if isinstance(net, Hourglass) else 1, 32, 32)).square().mean().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in net.named_parameters() if "bias" not in n)


def test_levels_are_joined_and_blocks_go_around():
    assert Rise(8, 4)(torch.rand(1, 8, 3, 3), torch.rand(1, 4, 6, 6)).shape == (1, 4, 6, 6)
    residual = Residual(4)
    torch.nn.init.zeros_(residual.inner[2].weight)
    x = torch.rand(1, 4, 5, 5)
    assert torch.equal(residual(x), x)
