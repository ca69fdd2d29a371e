"""The first stage: order of what it says, its losses by hand, and what it proposes."""

import math

import pytest
import torch
from torch import nn

from semeia.detection.anchors import Anchors, AnchorTargets, OverlapLabeller
from semeia.detection.boxes import encode
from semeia.detection.proposals import AnchorAnswers, ProposalNetwork, proposal_losses

ANCHORS = torch.tensor([[0.0, 0, 10, 10], [10, 10, 20, 20], [30, 30, 40, 40], [31, 30, 41, 40]])


def network(separable=False, after=(8, 4)):
    torch.manual_seed(0)
    usual = OverlapLabeller(positive=0.7, negative=0.3, low_quality=0.3, count=16, positives=0.5)
    return ProposalNetwork(
        8, hidden=8, anchors=Anchors([8, 16], [0.5, 1, 2], stride=4), labeller=usual, separable=separable, beta=1 / 9,
        before=(50, 20), after=after, overlap=0.7,
    )  # fmt: skip


def targets(objectness, weight, matched, box_weight):
    return AnchorTargets(
        torch.tensor(objectness), torch.tensor(weight), torch.tensor(matched), torch.tensor(box_weight)
    )


def test_losses_are_those_computed_by_hand():
    answers = AnchorAnswers(torch.tensor([[0.0, 2, -1, 0]]), torch.zeros(1, 4, 4), ANCHORS)
    answers.deltas[0, 0] = torch.tensor([0.5, 0.05, 0, 0])
    goal = targets([1.0, 0, 0.5, 0], [0.25, 0.5, 0.25, 0], [0, -1, -1, -1], [0.25, 0, 0, 0])
    # The box is the anchor itself: goals are zero. beta = 1/9: 0.5 is beyond it, 0.05 is not.
    objectness, moved = proposal_losses(answers, [goal], [torch.tensor([[0.0, 0, 10, 10]])], beta=1 / 9)
    soft = -0.5 * math.log(1 / (1 + math.e)) - 0.5 * math.log(1 - 1 / (1 + math.e))
    assert objectness.item() == pytest.approx(0.25 * math.log(2) + 0.5 * math.log(1 + math.e**2) + 0.25 * soft)
    assert moved.item() == pytest.approx(0.25 * ((0.5 - 1 / 18) + 0.5 * 0.05**2 * 9), rel=1e-5)


def test_an_image_without_boxes_has_no_box_loss_and_a_gradient_of_zero():
    deltas = torch.randn(1, 4, 4, requires_grad=True)
    goal = targets([0.0] * 4, [0.25] * 4, [-1] * 4, [0.0] * 4)
    _, moved = proposal_losses(AnchorAnswers(torch.zeros(1, 4), deltas, ANCHORS), [goal], [torch.zeros(0, 4)], beta=0.1)
    moved.sum().backward()
    assert moved.item() == 0
    assert (deltas.grad == 0).all()


def test_losses_of_images_do_not_mix():
    torch.manual_seed(0)
    net = network()
    answers = net(torch.randn(2, 8, 16, 16))
    boxes = [torch.tensor([[10.0, 10, 22, 20]]), torch.zeros(0, 4)]
    with torch.no_grad():
        goals = [net.labeller(answers.anchors, b, (64, 64)) for b in boxes]
    both = proposal_losses(answers, goals, boxes, beta=1 / 9)
    for i in range(2):
        one = AnchorAnswers(answers.objectness[i : i + 1], answers.deltas[i : i + 1], answers.anchors)
        alone = proposal_losses(one, goals[i : i + 1], boxes[i : i + 1], beta=1 / 9)
        assert all(torch.allclose(a[0], b[i]) for a, b in zip(alone, both, strict=True))


def test_an_infinite_logit_shows_in_the_loss():
    answers = AnchorAnswers(torch.tensor([[math.nan, 0, 0, 0]]), torch.zeros(1, 4, 4), ANCHORS)
    goal = targets([0.0] * 4, [0.25] * 4, [-1] * 4, [0.0] * 4)
    assert proposal_losses(answers, [goal], [torch.zeros(0, 4)], beta=0.1)[0].isnan().all()


@pytest.mark.parametrize("separable", [False, True])
def test_what_the_head_says_is_in_the_order_of_anchors(separable):
    net = network(separable)
    for layer in (net.objectness, net.deltas):
        nn.init.zeros_(layer.weight)
    with torch.no_grad():
        net.objectness.bias.copy_(torch.arange(6.0))
        net.deltas.bias.copy_(torch.arange(24.0))
    said = net(torch.randn(1, 8, 3, 5))
    assert said.objectness.view(15, 6).tolist() == [list(range(6))] * 15
    assert said.deltas.view(15, 6, 4)[7].flatten().tolist() == list(range(24))
    assert said.anchors.shape == (90, 4)


def test_proposals_are_moved_clipped_thinned_out_and_best_first():
    net = network(after=(8, 3)).eval()
    wanted = torch.tensor([[-5.0, 0, 8, 10], [10, 10, 20, 20], [30, 30, 40, 40], [30, 30, 40, 40]])
    answers = AnchorAnswers(torch.tensor([[1.0, 2, 3, 0]]), encode(wanted, ANCHORS)[None], ANCHORS)
    (found,) = net.propose(answers, (48, 35))
    expected = torch.tensor([[30.0, 30, 35, 40], [10, 10, 20, 20], [0, 0, 8, 10]])
    assert torch.allclose(found, expected, atol=1e-4)


def test_training_proposes_more_than_use():
    net, features = network(), torch.randn(2, 8, 16, 16)
    assert [len(p) for p in net.propose(net(features), (64, 64))] == [8, 8]
    net.eval()
    assert [len(p) for p in net.propose(net(features), (64, 64))] == [4, 4]
