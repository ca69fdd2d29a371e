"""The second stage and its branches: what is drawn, losses by hand, answers, masks."""

import math

import pytest
import torch
from torchvision.ops import box_iou

from semeia.detection.masks import MaskHead, cropped, dice_losses
from semeia.detection.regions import RegionHead, Regions, draw_regions, mean_by_image, region_losses

STD = (0.1, 0.1, 0.2, 0.2)


def head(**changes):
    torch.manual_seed(0)
    usual = {
        "stride": 4, "size": 5, "sampling": 2, "hidden": 16, "std": STD, "beta": 1.0, "overlap": 0.5, "count": 16,
        "positives": 0.25, "score": 0.05, "suppress": 0.5, "most": 3,
    }  # fmt: skip
    return RegionHead(8, **usual | changes)


def test_lesions_join_the_proposals_and_overlap_decides():
    lesion = torch.tensor([[10.0, 10, 20, 20]])
    found = torch.tensor([[10.0, 10, 20, 18], [10, 10, 20, 14], [40, 40, 50, 50]])
    drawn = draw_regions([found], [lesion], None, overlap=0.5, count=8, positives=0.5)
    assert drawn.boxes[0].tolist() == [*lesion.tolist(), *found.tolist()]
    assert drawn.matched[0].tolist() == [0, 0, -1, -1]


def test_at_most_a_quarter_of_regions_are_lesions():
    lesion = torch.tensor([[10.0, 10, 20, 20]])
    found = torch.cat([lesion.repeat(40, 1), torch.tensor([[40.0, 40, 50, 50]]).repeat(90, 1)])
    drawn = draw_regions([found], [lesion], None, overlap=0.5, count=64, positives=0.25)
    assert (drawn.matched[0] >= 0).sum() == 16
    assert len(drawn.boxes[0]) == 64


def test_losses_are_those_computed_by_hand():
    # Image 0: a lesion, moved by half its width, and two others. Image 1: one other. Image 2: none.
    regions = Regions(
        [torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [70, 70, 80, 80]]), torch.tensor([[5.0, 5, 9, 9]]),
         torch.zeros(0, 4)],
        [torch.tensor([0, -1, -1]), torch.tensor([-1]), torch.zeros(0, dtype=torch.int64)],
        [torch.tensor([[5.0, 0, 15, 10]]), torch.zeros(0, 4), torch.zeros(0, 4)],
        None,
    )  # fmt: skip
    logits = torch.tensor([[0.0, 0], [1, 0], [0, 0], [0, 3]])
    classes, moved = region_losses(logits, torch.zeros(4, 4), regions, std=STD, beta=1.0)
    first = (2 * math.log(2) + math.log(1 + math.exp(-1))) / 3
    assert classes.tolist() == pytest.approx([first, math.log(1 + math.exp(3)), 0], rel=1e-5)
    assert moved.tolist() == pytest.approx([(5 - 0.5) / 3, 0, 0], rel=1e-5)  # 0.5 / 0.1 = 5 is beyond beta


def test_means_by_image_divide_by_counts_and_not_by_zero():
    said = mean_by_image(torch.tensor([1.0, 2, 6]), torch.tensor([0, 0, 2]), torch.tensor([4, 0, 1]))
    assert said.tolist() == [0.75, 0, 6]


def test_answers_lie_in_the_image_do_not_overlap_much_and_are_few():
    model = head(score=0.0)
    proposals = [torch.rand(60, 4) * 20 + torch.tensor([0.0, 0, 30, 30]), torch.zeros(0, 4)]
    (boxes, scores), (none, _) = model.detect(torch.randn(2, 8, 16, 16), proposals, (48, 44))
    assert 0 < len(boxes) <= 3
    assert none.shape == (0, 4)
    assert (boxes >= 0).all()
    assert (boxes <= torch.tensor([44, 48, 44, 48])).all()
    assert torch.equal(scores, scores.sort(descending=True).values)
    assert (box_iou(boxes, boxes) - torch.eye(len(boxes))).max() <= 0.5


def test_images_without_any_region_have_losses_of_zero_and_no_answers():
    model, features, none = head(), torch.randn(2, 8, 16, 16), [torch.zeros(0, 4)] * 2
    losses = model.losses(features, model.draw(none, none, None))
    sum(each.sum() for each in losses).backward()
    assert [each.tolist() for each in losses] == [[0, 0], [0, 0]]
    assert all((p.grad == 0).all() for p in model.parameters())
    assert [len(boxes) for boxes, _ in model.detect(features, none, (64, 64))] == [0, 0]


def test_boxes_of_ones_own_have_a_probability():
    model = head()
    given = [torch.tensor([[4.0, 4, 20, 20], [10, 10, 30, 40]]), torch.zeros(0, 4)]
    first, none = model.probabilities(torch.randn(2, 8, 16, 16), given)
    assert first.shape == (2,)
    assert ((first > 0) & (first < 1)).all()
    assert none.shape == (0,)


def test_the_dice_loss_is_that_computed_by_hand():
    logits = torch.full((2, 2, 2), -50.0)
    logits[0, 0] = 50  # two of four
    targets = torch.tensor([[[1.0, 0], [1, 0]], [[0, 0], [0, 0]]])
    assert dice_losses(logits, targets).tolist() == pytest.approx([1 - (2 * 1 + 0.01) / (4 + 0.01), 0], abs=1e-5)


def test_the_dice_loss_has_gradients():
    logits = torch.randn(2, 3, 3, dtype=torch.double, requires_grad=True)
    # In double: the loss itself is computed in float32.
    targets = (torch.rand(2, 3, 3) > 0.5).double()
    dice_losses(logits, targets).sum().backward()
    step = torch.zeros_like(logits)
    step[0, 1, 1] = 1e-2
    with torch.no_grad():
        slope = (dice_losses(logits + step, targets) - dice_losses(logits - step, targets)).sum() / 2e-2
    assert logits.grad[0, 1, 1].item() == pytest.approx(slope.item(), rel=0.02, abs=1e-4)


def test_a_mask_is_cut_out_at_its_region():
    mask = torch.zeros(1, 40, 60, dtype=torch.bool)
    mask[0, 10:20, 30:37] = True
    said = cropped([mask], [torch.tensor([[30.0, 10, 44, 24]])])[0]
    expected = torch.zeros(28, 28)
    expected[:20, :14] = 1
    assert torch.equal((said >= 0.5).float(), expected)
    assert said[2:18, 2:12].min() == 1


def test_the_mask_branch_has_a_loss_for_each_image_and_none_without_masks():
    branch, features = MaskHead(8, 8, stride=4), torch.randn(2, 8, 16, 16)
    regions = Regions(
        [torch.tensor([[8.0, 8, 24, 24], [0, 0, 8, 8]]), torch.tensor([[30.0, 30, 40, 40]])],
        [torch.tensor([0, -1]), torch.tensor([-1])], [torch.tensor([[8.0, 8, 24, 24]]), torch.zeros(0, 4)],
        [torch.ones(1, 64, 64).bool(), torch.zeros(0, 64, 64).bool()],
    )  # fmt: skip
    first, second = branch(features, regions, (64, 64)).tolist()
    assert 0 < first < 1
    assert second == 0
    none = branch(features, regions._replace(masks=None), (64, 64))
    none.sum().backward()
    assert none.tolist() == [0, 0]
    assert branch.probabilities(features, regions.boxes).shape == (3, 28, 28)
