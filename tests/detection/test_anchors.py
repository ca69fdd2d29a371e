"""Anchors: where they lie and what they are, by hand and against a slow twin."""

import pytest
import torch
from torchvision.ops import box_iou

from semeia.detection.anchors import Anchors, OverlapLabeller, draw, label_by_overlap

USUAL = {"positive": 0.7, "negative": 0.3, "low_quality": 0.3}


def labeller(**changes):
    return OverlapLabeller(**({**USUAL, "count": 32, "positives": 0.5} | changes))


def test_anchors_stand_around_the_centres_of_cells_ratios_outside_scales_inside():
    made = Anchors([8, 16], [1.0, 4.0], stride=4)(2, 3)
    assert made.shape == (2 * 3 * 4, 4)
    assert made[:4].tolist() == [[-2, -2, 6, 6], [-6, -6, 10, 10], [0, -6, 4, 10], [-2, -14, 6, 18]]
    assert torch.equal(made[4:8], made[:4] + torch.tensor([4.0, 0, 4, 0]))
    assert torch.equal(made[12:16], made[:4] + torch.tensor([0.0, 4, 0, 4]))


def test_published_anchors_are_294912_at_512_pixels():
    assert len(Anchors([16, 24, 32, 48, 96, 192], [0.5, 1, 2], stride=4)(128, 128)) == 294_912


def test_labels_follow_both_thresholds():
    # A box of 10 x 10 and anchors with the overlaps 1, 0.8, 0.5, 0.2 and 0.
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 60]])
    labels, matched = label_by_overlap(anchors, torch.tensor([[0.0, 0, 10, 10]]), **USUAL)
    assert labels.tolist() == [1, 1, -1, 0, 0]
    assert matched.tolist() == [0, 0, -1, -1, -1]


def test_a_box_without_a_good_anchor_takes_its_best_ones_all_that_tie():
    anchors = torch.tensor([[0.0, 0, 10, 5], [0, 5, 10, 10], [0, 0, 10, 4]])
    box = torch.tensor([[0.0, 0, 10, 10]])
    assert label_by_overlap(anchors, box, **USUAL)[0].tolist() == [1, 1, -1]
    assert label_by_overlap(anchors, box, **USUAL | {"low_quality": 0.6})[0].tolist() == [-1, -1, -1]


def test_a_later_box_takes_an_anchor_that_both_need():
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 9], [0, 0, 10, 4]])
    labels, matched = label_by_overlap(anchors, boxes, **USUAL)
    assert labels.tolist() == [1]
    assert matched.tolist() == [1]


def slow_twin(anchors, boxes):
    overlap = box_iou(anchors, boxes)
    labels, matched = [], []
    for row in overlap:
        best = row.max()
        labels.append(1 if best >= 0.7 else 0 if best < 0.3 else -1)
        matched.append(int(row.argmax()) if best >= 0.7 else -1)
    for m in range(len(boxes)):
        best = max(overlap[n, m] for n in range(len(anchors)))
        for n in range(len(anchors)):
            if best >= 0.3 and overlap[n, m] >= best - 1e-6:
                labels[n], matched[n] = 1, m
    return labels, matched


def test_labels_equal_those_of_a_slow_obvious_twin():
    torch.manual_seed(1)
    anchors = Anchors([8, 16], [0.5, 1, 2], stride=8)(8, 8)
    corner = torch.rand(4, 2) * 40
    boxes = torch.cat([corner, corner + 4 + torch.rand(4, 2) * 20], 1)
    labels, matched = label_by_overlap(anchors, boxes, **USUAL)
    expected = slow_twin(anchors, boxes)
    assert labels.tolist() == expected[0]
    assert matched.tolist() == expected[1]


@pytest.mark.parametrize("axis", [0, 1])
def test_labels_of_a_mirrored_image_are_mirrored(axis):
    h = w = 16
    anchors = Anchors([8, 12, 18], [0.5, 1, 2], stride=4)(h, w)
    boxes = torch.tensor([[10.0, 12, 20, 26], [31, 30, 48, 41], [4, 40, 9, 44]])
    mirrored = boxes.clone()
    mirrored[:, [axis, axis + 2]] = 64 - boxes[:, [axis + 2, axis]]
    here = [x.view(h, w, 9).flip(1 - axis) for x in label_by_overlap(anchors, boxes, **USUAL)]
    there = [x.view(h, w, 9) for x in label_by_overlap(anchors, mirrored, **USUAL)]
    assert (there[0] == 1).sum() > 3
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


def test_a_draw_takes_at_most_its_share_of_positives_and_negatives_fill_up():
    labels = torch.tensor([1] * 40 + [0] * 100 + [-1] * 50)
    drawn = draw(labels, count=32, positives=0.5)
    assert drawn.sum() == 32
    assert drawn[:40].sum() == 16
    assert not drawn[140:].any()
    few = draw(torch.tensor([1] * 3 + [0] * 100), count=32, positives=0.5)
    assert few[:3].all()
    assert few.sum() == 32


def test_a_draw_of_too_few_takes_what_there_is():
    drawn = draw(torch.tensor([1] * 5 + [0] * 2 + [-1]), count=8, positives=0.5)
    assert drawn[:5].sum() == 4
    assert drawn[5:].tolist() == [True, True, False]


def test_targets_weigh_drawn_anchors_alike_and_those_across_the_border_nothing():
    anchors = Anchors([8, 16], [1.0], stride=4)(16, 16)
    boxes = torch.tensor([[10.0, 10, 18, 18], [30, 30, 46, 46]])
    said = labeller()(anchors, boxes, (64, 64))
    across = (anchors < 0).any(1) | (anchors > 64).any(1)
    assert said.objectness_weight[across].sum() == 0
    assert said.objectness_weight.sum().item() == pytest.approx(1)
    assert set(said.objectness_weight.unique().tolist()) == {0.0, 1 / 32}
    lesion = said.objectness == 1
    assert (said.matched[lesion] >= 0).all()
    assert torch.equal(said.box_weight, said.objectness_weight * lesion)
    assert box_iou(anchors[lesion], boxes).amax(1).min() > 0.3


def test_anchors_in_the_padding_are_not_drawn():
    anchors = Anchors([8], [1.0], stride=4)(16, 16)
    said = labeller(count=1000)(anchors, torch.zeros(0, 4), (40, 48))
    used = anchors[said.objectness_weight > 0]
    assert (used[:, 2] <= 48).all()
    assert (used[:, 3] <= 40).all()


def test_without_boxes_all_that_is_drawn_is_no_lesion():
    said = labeller()(Anchors([8], [1.0], stride=4)(16, 16), torch.zeros(0, 4), (64, 64))
    assert (said.objectness == 0).all()
    assert (said.objectness_weight > 0).sum() == 32
    assert (said.matched == -1).all()
    assert said.box_weight.sum() == 0


def test_equal_seeds_draw_equal_anchors():
    anchors, boxes = Anchors([8, 16], [1.0], stride=4)(16, 16), torch.tensor([[10.0, 10, 18, 18]])

    def drawn(seed):
        torch.manual_seed(seed)
        return labeller()(anchors, boxes, (64, 64)).objectness_weight

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
