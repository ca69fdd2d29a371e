"""Losses of affect against numbers worked out by hand."""

import math

import pytest
import torch

from semeia.nn.affect_losses import ccc_loss, element_js


def loss(said, true, known=None):
    said, true = (torch.tensor(v, dtype=torch.float64)[:, None] for v in (said, true))
    mask = torch.ones_like(true, dtype=torch.bool) if known is None else torch.tensor(known)[:, None]
    return float(ccc_loss(said, true, mask))


def test_concordance_costs_nothing_one_and_two():
    line = [-0.5, 0.0, 0.25, 0.9]
    assert loss(line, line) == pytest.approx(0, abs=1e-3)
    assert loss([0.2] * 4, line) == pytest.approx(1, abs=1e-3)
    assert loss([-v for v in line], [v - sum(line) / 4 for v in line]) > 1.8
    middle = [v - sum(line) / 4 for v in line]
    assert loss([-v for v in middle], middle) == pytest.approx(2, abs=1e-3)


def test_concordance_by_hand():
    # x 0, 1; y 0, 0.5: cov 0.125, var 0.25 and 0.0625, means apart by 0.25.
    assert loss([0.0, 1.0], [0.0, 0.5]) == pytest.approx(1 - 0.25 / (0.25 + 0.0625 + 0.0625 + 1e-4), abs=1e-6)


def test_what_is_not_labelled_does_not_count():
    assert loss([0.0, 1.0, 7.0], [0.0, 0.5, -5.0], [True, True, False]) == pytest.approx(loss([0.0, 1.0], [0.0, 0.5]))


@pytest.mark.parametrize("known", [[False] * 3, [True, False, False]])
def test_a_batch_without_labels_costs_nothing_and_has_finite_gradients(known):
    said = torch.randn(3, 1, requires_grad=True)
    value = ccc_loss(said, torch.full((3, 1), -5.0), torch.tensor(known)[:, None])
    value.backward()
    assert value == 0
    assert said.grad.isfinite().all()


def test_constant_answers_have_finite_gradients():
    said = torch.zeros(4, 2, requires_grad=True)
    ccc_loss(said, torch.randn(4, 2), torch.ones(4, 2).bool()).backward()
    assert said.grad.isfinite().all()


def test_equal_classifiers_agree_and_the_order_does_not_matter():
    one, other = torch.randn(5, 6), torch.randn(5, 6)
    assert element_js([one, one]) == pytest.approx(0, abs=1e-7)
    assert element_js([one, other]) == pytest.approx(float(element_js([other, one])))


def test_disagreement_is_a_mean_over_classes_too():
    # Two classes, each classifier sure of another: log 2 as a sum over classes, half of it as a mean.
    sure = torch.tensor([[50.0, 0.0]])
    assert element_js([sure, sure.flip(1)]) == pytest.approx(math.log(2) / 2, abs=2e-4)


def test_both_classifiers_learn_from_disagreement():
    one, other = (torch.randn(5, 6, requires_grad=True) for _ in range(2))
    element_js([one, other]).backward()
    assert one.grad.abs().max() > 0
    assert other.grad.abs().max() > 0
