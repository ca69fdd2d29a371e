"""A plain U-Net and its loss."""

import pytest
import torch

from semeia.nn.unet import UNet, marking_loss


@pytest.mark.parametrize("size", [(32, 32), (33, 17), (5, 40), (1, 1)])
def test_an_answer_is_as_large_as_the_image(size):
    image = torch.randn(2, 1, *size)
    assert UNet(widths=(4, 8, 8))(image).shape == (2, 1, *size)


def test_images_of_a_batch_do_not_touch_one_another():
    torch.manual_seed(0)
    net = UNet(2, widths=(4, 8))
    image = torch.randn(3, 2, 16, 16)
    assert torch.allclose(net(image)[1:2], net(image[1:2]), atol=1e-5)


def test_loss_by_hand():
    logits, mask = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    expected = torch.log(torch.tensor(2.0)) + 1 - (2 * 0.5 + 1) / (2 + 1 + 1)
    assert marking_loss(logits, mask, torch.tensor([True])) == pytest.approx(expected.item())


def test_loss_is_zero_when_everything_is_marked_right():
    mask = (torch.rand(2, 1, 8, 8) > 0.5).float()
    assert marking_loss(40 * (2 * mask - 1), mask, torch.ones(2, dtype=torch.bool)) < 1e-2
    empty = torch.zeros(2, 1, 8, 8)
    assert marking_loss(empty - 40, empty, torch.ones(2, dtype=torch.bool)) < 1e-6


def test_images_without_a_mask_do_not_count():
    torch.manual_seed(0)
    logits, mask = torch.randn(3, 1, 4, 4, requires_grad=True), (torch.rand(3, 1, 4, 4) > 0.5).float()
    known = torch.tensor([True, False, True])
    loss = marking_loss(logits, mask, known)
    assert loss.item() == pytest.approx(marking_loss(logits[known], mask[known], known[known]).item(), rel=1e-5)
    loss.backward()
    assert not logits.grad[1].any()
    assert marking_loss(logits, mask, torch.zeros(3, dtype=torch.bool)) == 0


def test_eight_images_are_learned_by_heart():
    torch.manual_seed(0)
    image = torch.randn(8, 1, 16, 16) * 0.1
    mask = torch.zeros_like(image)
    for i in range(8):
        mask[i, 0, i : i + 6, 2 : 2 + i + 2] = 1
    image += mask
    net, known = UNet(widths=(8, 16)), torch.ones(8, dtype=torch.bool)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = marking_loss(net(image), mask, known)
        loss.backward()
        optimizer.step()
    found = net(image) > 0
    assert loss < 0.1
    assert 2 * (found & (mask > 0)).sum() / (found.sum() + mask.sum()) > 0.95
