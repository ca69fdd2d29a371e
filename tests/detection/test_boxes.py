"""Boxes: what is regressed, against hand values and torchvision's coder; which boxes can be learned."""

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from semeia.detection import boxes
from semeia.records import SemeiaError


def test_differences_are_those_of_a_hand_computed_pair():
    # From 10 x 20 around (15, 20) to 20 x 10 around (20, 25).
    said = boxes.encode(torch.tensor([[10.0, 20, 30, 30]]), torch.tensor([[10.0, 10, 20, 30]]), (0.1, 0.1, 0.2, 0.2))
    assert said[0].tolist() == pytest.approx([5, 2.5, math.log(2) / 0.2, -math.log(2) / 0.2], rel=1e-6)


def test_decoding_undoes_encoding():
    torch.manual_seed(0)
    corner, far = torch.rand(2, 50, 2) * 60, torch.rand(2, 50, 2) * 40 + 1
    a, b = torch.cat([corner, corner + far], -1)
    std = (0.1, 0.1, 0.2, 0.2)
    assert torch.allclose(boxes.decode(boxes.encode(a, b, std), b, std), a, atol=1e-4)


def test_both_agree_with_torchvision():
    torch.manual_seed(0)
    corner, far = torch.rand(2, 50, 2) * 60, torch.rand(2, 50, 2) * 40 + 1
    a, b = torch.cat([corner, corner + far], -1)
    theirs, std = BoxCoder((10.0, 10.0, 5.0, 5.0)), (0.1, 0.1, 0.2, 0.2)
    deltas = boxes.encode(a, b, std)
    assert torch.allclose(deltas, theirs.encode_single(a, b), atol=1e-4)
    assert torch.allclose(boxes.decode(deltas * 3, b, std), theirs.decode_single(deltas * 3, b), atol=1e-2, rtol=1e-4)


def test_a_side_grows_by_at_most_62_5():
    grown = boxes.decode(torch.tensor([[0.0, 0, 100, 0]]), torch.tensor([[0.0, 0, 16, 16]]))
    assert (grown[0, 2] - grown[0, 0]).item() == pytest.approx(1000, rel=1e-4)


def test_differences_have_gradients():
    a = torch.tensor([[1.0, 2, 9, 7]], dtype=torch.double, requires_grad=True)
    b = torch.tensor([[2.0, 2, 8, 9]], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda x: boxes.encode(x, b), a)


def test_a_box_on_the_border_is_inside_and_one_beyond_is_not():
    given = torch.tensor([[0.0, 0, 30, 20], [0, 0, 30.5, 20], [-0.5, 0, 4, 4], [3, 3, 4, 20.25]])
    assert boxes.inside(given, (20, 30)).tolist() == [True, False, False, False]


def test_boxes_are_clipped_and_those_with_less_than_a_pixel_left_are_dropped():
    given = torch.tensor([[-5.0, 2, 5, 9], [5, 5, 5, 9], [29.5, 0, 40, 9], [40, 0, 50, 9], [3, 3, 4, 4]])
    kept, which = boxes.learnable(given, (20, 30), sample=0)
    assert kept.tolist() == [[0, 2, 5, 9], [3, 3, 4, 4]]
    assert which.tolist() == [True, False, False, False, True]


@pytest.mark.parametrize("box", [[1.0, 1, math.nan, 5], [1, 1, math.inf, 5], [5, 1, 2, 5]])
def test_a_box_that_is_none_is_refused_with_its_sample(box):
    with pytest.raises(SemeiaError, match="sample 3"):
        boxes.learnable(torch.tensor([box]), (20, 30), sample=3)


def test_no_boxes_are_none():
    kept, which = boxes.learnable(torch.zeros(0), (20, 30), sample=0)
    assert kept.shape == (0, 4)
    assert which.shape == (0,)
