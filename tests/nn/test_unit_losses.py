"""Losses of networks for action units, by hand."""

import numpy as np
import pytest
import torch

from semeia.nn import unit_losses as u


def batch(y):
    target = torch.tensor(y, dtype=torch.float)
    return target, torch.ones_like(target, dtype=torch.bool)


def test_rare_units_weigh_more_and_weights_average_to_one():
    weights = u.unit_weights(np.array([0.5, 0.25, np.nan]))
    assert weights == pytest.approx([0.75, 1.5, 0.75])


def test_cross_entropy_by_hand():
    target, mask = batch([[1, 0], [0, 0]])
    z = torch.tensor([[0.0, 0.0], [0.0, 100.0]])
    found = u.weighted_cross_entropy(z, target, mask, torch.tensor([2.0, 1.0]))
    assert float(found) == pytest.approx((2 * np.log(2) + (np.log(2) + 100) / 2) / 2, rel=1e-5)


def test_dice_is_zero_for_perfect_and_about_one_for_inverted_answers():
    target, mask = batch([[1], [0]] * 50)
    perfect = 40 * (2 * target - 1)
    ones = torch.ones(1)
    assert u.weighted_dice(perfect, target, mask, ones) == pytest.approx(0, abs=1e-6)
    assert u.weighted_dice(-perfect, target, mask, ones) == pytest.approx(1, abs=0.02)


def test_the_published_dice_divides_its_gradient_by_the_batch():
    target, mask = batch([[1], [0], [1], [1]])
    gradients = []
    for published in (False, True):
        z = torch.tensor([[0.3], [-0.2], [1.0], [0.1]], requires_grad=True)
        u.weighted_dice(z, target, mask, torch.ones(1), published=published).backward()
        gradients.append(z.grad)
    torch.testing.assert_close(gradients[0], 4 * gradients[1])


@pytest.mark.parametrize("loss", [u.weighted_cross_entropy, u.weighted_dice])
def test_what_is_not_labelled_counts_nowhere(loss):
    target, mask = batch([[1, 0], [0, 1], [1, 1]])
    mask[2] = False
    z = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = loss(z, target, mask, torch.ones(2))
    torch.testing.assert_close(found, loss(z[:2], target[:2], mask[:2], torch.ones(2)))
    found.backward()
    assert not z.grad[2].any()


@pytest.mark.parametrize("loss", [u.weighted_cross_entropy, u.weighted_dice])
def test_batches_without_positives_or_labels_are_finite(loss):
    z = torch.randn(3, 2).requires_grad_()
    for labelled in (True, False):
        found = loss(z, torch.zeros(3, 2), torch.full((3, 2), labelled), torch.ones(2))
        found.backward()
        assert found.isfinite()
        assert z.grad.isfinite().all()


def test_landmarks_count_in_squares_of_the_distance_between_the_eyes():
    target = torch.zeros(2, 49, 2)
    target[:, 19:25] = torch.tensor([0.3, 0.4])
    target[:, 25:31] = torch.tensor([0.7, 0.4])
    points = target.clone()
    points[0, 0] += torch.tensor([0.04, 0.0])
    points[1] += 1
    mask = torch.tensor([True, False])
    assert float(u.landmark_loss(points, target, mask)) == pytest.approx(0.04**2 / (2 * 0.4**2))
    assert u.landmark_loss(points, target, ~mask & False) == 0
