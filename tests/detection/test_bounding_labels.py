"""Labels of anchors from bounding maps: by hand, by a slow twin, and how often they draw."""

from dataclasses import replace

import pytest
import torch
from torchvision.ops import box_iou

from semeia.detection.anchors import Anchors, AnchorTargets, OverlapLabeller
from semeia.detection.bounding_labels import (
    SOFT_LABELS,
    Above,
    ConditionedLabeller,
    MapLabeller,
    Nearest,
    Noted,
    draw_times,
    objectness_floor,
    positives,
    positives_of_images,
)
from semeia.ops.bounding_maps import PLAIN, bounding_maps, cell_centres

OVERLAP = OverlapLabeller(positive=0.5, negative=0.3, low_quality=0.3, count=32, positives=0.5)
BMC = ConditionedLabeller(near=Nearest(48), fallback=Nearest(20), ratio=4.0, count=32, positives=16, negative=0.3)
NONE = torch.zeros(0, 4)
ANCHORS = Anchors([8, 16], [1.0], stride=4)(32, 32)
SIZE = (128, 128)
TWO = torch.tensor([[20.0, 20, 32, 34], [70, 60, 84, 72]])


# -- the map at every anchor


def test_the_objectness_of_all_anchors_of_a_cell_is_the_map_at_its_centre():
    said = MapLabeller(boxes=OVERLAP)(ANCHORS, TWO, SIZE)
    drawn = bounding_maps(*cell_centres(32, 32, stride=4), TWO)[2]
    assert torch.equal(said.objectness.view(32, 32, 2), drawn[:, :, None].expand(32, 32, 2))
    assert torch.allclose(said.objectness_weight, torch.full((2048,), 1 / 2048))


def test_anchors_of_a_cell_agree_on_an_edge_through_its_centre():
    anchors = Anchors([8, 12, 18, 27], [0.3, 0.5, 1.0, 2.0], stride=4)(32, 32)
    box = torch.tensor([[42.0, 46, 62, 66]])
    said = MapLabeller(boxes=OVERLAP)(anchors, box, SIZE).objectness.view(1024, 16)
    assert (said[:, 0] > 0).sum() == 6 * 6
    assert torch.equal(said, said[:, :1].expand(1024, 16))


def test_boxes_are_learned_by_overlap_as_usual():
    torch.manual_seed(4)
    said = MapLabeller(boxes=OVERLAP)(ANCHORS, TWO, SIZE)
    torch.manual_seed(4)
    usual = OVERLAP(ANCHORS, TWO, SIZE)
    assert usual.box_weight.sum() > 0
    assert torch.equal(said.matched, usual.matched)
    assert torch.equal(said.box_weight, usual.box_weight)


def test_cells_in_the_padding_weigh_nothing_and_the_rest_one():
    said = MapLabeller(boxes=OVERLAP)(ANCHORS, TWO, (100, 90))
    used = said.objectness_weight.view(32, 32, 2) > 0
    assert used[:25, :22].all()  # centres up to 98 of 100 rows, and up to 86 of 90 columns
    assert used.sum() == 25 * 22 * 2
    assert said.objectness_weight.sum().item() == pytest.approx(1)


def test_anchors_inside_lesions_have_at_least_their_share():
    said = MapLabeller(boxes=OVERLAP, share=0.25)(ANCHORS, TWO, SIZE)
    lesion = said.objectness > 0
    assert said.objectness_weight[lesion].sum().item() == pytest.approx(0.25)
    assert said.objectness_weight.sum().item() == pytest.approx(1)
    whole = MapLabeller(boxes=OVERLAP, share=0.25)(ANCHORS, torch.tensor([[0.0, 0, 128, 128]]), SIZE)
    assert torch.allclose(whole.objectness_weight, torch.full((2048,), 1 / 2048))
    none = MapLabeller(boxes=OVERLAP, share=0.25)(ANCHORS, NONE, SIZE)
    assert torch.allclose(none.objectness_weight, torch.full((2048,), 1 / 2048))
    assert none.objectness.sum() == 0


@pytest.mark.parametrize(("side", "of_its_size"), [(6.0, 0), (8.0, 1), (12.0, 1), (40.0, 1)])
def test_anchors_of_other_sizes_can_be_told_less(side, of_its_size):
    # The smallest anchors that are larger than the lesion are of its size: 8 pixels for 6, 16 for 8 and 12.
    box = torch.tensor([[48.0, 48, 48 + side, 48 + side]])
    here = MapLabeller(boxes=OVERLAP)(ANCHORS, box, SIZE).objectness.view(-1, 2)
    less = MapLabeller(boxes=OVERLAP, others=0.5)(ANCHORS, box, SIZE).objectness.view(-1, 2)
    assert here.sum() > 0
    assert torch.equal(less[:, of_its_size], here[:, of_its_size])
    assert torch.equal(less[:, 1 - of_its_size], here[:, 1 - of_its_size] / 2)


# -- anchors around the peaks


def test_the_nearest_anchors_are_a_disc_all_that_tie():
    # The centre of a cell: itself, four at 4 pixels, four at 5.66, two anchors each.
    box = torch.tensor([46.0, 46, 62, 62])  # centre 54, 54: cell 13, 13
    near = Nearest(3)(ANCHORS, box).view(32, 32, 2)
    assert near.nonzero()[:, :2].unique(dim=0).tolist() == [[12, 13], [13, 12], [13, 13], [13, 14], [14, 13]]
    assert Nearest(2)(ANCHORS, box).sum() == 2
    assert Nearest(11)(ANCHORS, box).sum() == 18
    assert Nearest(10**6)(ANCHORS, box).all()


def test_the_map_is_high_around_its_peak():
    box = torch.tensor([46.0, 46, 62, 62])
    high = Above(0.75)(ANCHORS, box).view(32, 32, 2)[..., 0]
    # BM_x is 1, 0.875 and 0.75 at 0, 4 and 8 pixels from the centre... of 16: 1 - 4/16, 1 - 8/16.
    assert high.nonzero().tolist() == [
        [r, c] for r in range(12, 15) for c in range(12, 15)
    ]  # corners: sqrt(0.75 * 0.75) = 0.75


def slow_candidates(anchors, box, near, ratio):
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    far = [((a[0] + a[2]) / 2 - x) ** 2 + ((a[1] + a[3]) / 2 - y) ** 2 for a in anchors]
    last = sorted(far)[min(near, len(far)) - 1]
    area = (box[2] - box[0]) * (box[3] - box[1])
    like = [1 / ratio < (a[2] - a[0]) * (a[3] - a[1]) / area < ratio for a in anchors]
    return [bool(f <= last + 1e-3 and s) for f, s in zip(far, like, strict=True)]


def test_candidates_equal_those_of_a_slow_obvious_twin():
    torch.manual_seed(1)
    anchors = Anchors([8, 16, 32], [0.5, 1, 2], stride=8)(8, 8)
    for _ in range(4):
        corner = torch.rand(2) * 30 + 10
        box = torch.cat([corner, corner + 6 + torch.rand(2) * 14])
        found = BMC.candidates(anchors, box)
        assert found.any()
        assert found.tolist() == slow_candidates(anchors.tolist(), box.tolist(), 48, 4.0)


def test_an_anchor_four_times_as_large_is_no_candidate():
    eight = torch.tensor([60.0, 60, 68, 68])  # 64; anchors of 64 and of 256
    found = BMC.candidates(ANCHORS, eight).view(-1, 2)
    assert found[:, 0].any()
    assert not found[:, 1].any()
    assert replace(BMC, ratio=4.1).candidates(ANCHORS, eight).view(-1, 2)[:, 1].any()


def test_a_box_without_an_anchor_of_like_size_takes_the_nearest():
    huge = torch.tensor([10.0, 10, 120, 120])
    assert torch.equal(BMC.candidates(ANCHORS, huge), Nearest(20)(ANCHORS, huge))


@pytest.mark.parametrize(
    "box", [[60.0, 60, 61, 61], [60, 60, 66, 70], [50, 50, 80, 80], [0, 0, 128, 128], [0, 0, 9, 9]]
)
@pytest.mark.parametrize("near", [Nearest(48), Above(0.7)])
def test_sixteen_lesions_and_sixteen_others_are_drawn_whatever_the_size(box, near):
    said = replace(BMC, near=near)(ANCHORS, torch.tensor([box], dtype=torch.float32), SIZE)
    lesion = said.matched >= 0
    assert said.objectness_weight[lesion].sum().item() == pytest.approx(0.5)
    others = said.objectness_weight[~lesion] > 0
    assert said.objectness_weight[~lesion][others].unique().tolist() == [1 / 32]
    assert torch.equal(said.box_weight, said.objectness_weight * lesion)
    assert (said.objectness == lesion).all()
    assert others.sum() == 16


def test_too_few_candidates_are_drawn_more_than_once():
    times = draw_times(torch.tensor([True, False, True, False]), 5)
    assert times.sum() == 5
    assert times[[1, 3]].sum() == 0
    assert draw_times(torch.tensor([True] * 20), 16).unique().tolist() == [0, 1]
    assert draw_times(torch.zeros(3).bool(), 4).tolist() == [0, 0, 0]
    assert draw_times(torch.zeros(0).bool(), 4).tolist() == []


def test_lesions_share_the_draws():
    said = BMC(ANCHORS, TWO, SIZE)
    assert [said.box_weight[said.matched == k].sum().item() * 32 for k in (0, 1)] == pytest.approx([8, 8])
    three = torch.cat([TWO, torch.tensor([[20.0, 90, 30, 102]])])
    said = BMC(ANCHORS, three, SIZE)
    assert [said.box_weight[said.matched == k].sum().item() * 32 for k in range(3)] == pytest.approx([6, 5, 5])


def test_more_lesions_than_draws_have_one_each():
    corner = torch.cartesian_prod(torch.arange(8.0), torch.arange(5.0)) * 14 + 4
    boxes = torch.cat([corner, corner + 9], 1)
    said = BMC(ANCHORS, boxes, SIZE)
    assert (said.box_weight > 0).sum() >= 30
    assert said.objectness_weight[said.matched < 0].sum() == 0  # 40 draws of lesions leave none for others
    assert said.objectness_weight.sum().item() == pytest.approx(1)


def test_a_drawn_anchor_learns_the_lesion_with_the_nearest_upper_left_corner():
    around = torch.tensor([[40.0, 40, 60, 60], [44, 44, 54, 54]])  # centres 50 and 49
    said = BMC(ANCHORS, around, SIZE)
    at = torch.where(said.matched >= 0)[0]
    for anchor, matched in zip(ANCHORS[at].tolist(), said.matched[at].tolist(), strict=True):
        far = [(anchor[0] - b[0]) ** 2 + (anchor[1] - b[1]) ** 2 for b in around.tolist()]
        assert far[matched] == min(far)


def test_others_overlap_no_lesion_and_are_no_candidates():
    candidates = BMC.candidates(ANCHORS, TWO[0]) | BMC.candidates(ANCHORS, TWO[1])
    for seed in range(20):
        torch.manual_seed(seed)
        said = BMC(ANCHORS, TWO, SIZE)
        other = (said.objectness_weight > 0) & (said.matched < 0)
        assert other.sum() == 16
        assert box_iou(ANCHORS[other], TWO).max() < 0.3
        assert not (other & candidates).any()


def test_anchors_across_the_border_or_in_the_padding_are_not_drawn():
    corner = torch.tensor([[0.0, 0, 9, 9]])
    said = BMC(ANCHORS, corner, (60, 50))
    used = ANCHORS[said.objectness_weight > 0]
    assert (used >= 0).all()
    assert (used <= torch.tensor([50, 60, 50, 60])).all()
    assert said.box_weight.sum().item() == pytest.approx(0.5)


def test_an_image_smaller_than_every_anchor_teaches_nothing():
    said = BMC(ANCHORS, torch.tensor([[0.0, 0, 4, 4]]), (6, 6))
    assert said.objectness_weight.sum() == 0
    assert said.box_weight.sum() == 0


def test_without_lesions_all_that_is_drawn_is_none():
    said = BMC(ANCHORS, NONE, SIZE)
    assert (said.objectness_weight > 0).sum() == 32
    assert said.objectness.sum() == 0
    assert (said.matched == -1).all()


def test_equal_seeds_draw_equal_anchors():
    def drawn(seed):
        torch.manual_seed(seed)
        return BMC(ANCHORS, TWO, SIZE).objectness_weight

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


def test_soft_labels_are_the_map_at_the_centre_or_its_mean():
    box = torch.tensor([[10.0, 10, 18, 18]])
    anchors = torch.tensor([[10.0, 10, 18, 18], [14, 10, 22, 18], [40, 40, 48, 48]])
    assert SOFT_LABELS["hard"](anchors, box, PLAIN).tolist() == [1, 1, 1]
    # The centre of the second is the middle of the box's right edge.
    assert SOFT_LABELS["centre"](anchors, box, PLAIN).tolist() == pytest.approx([1, 0.5**0.5, 0])
    # The second holds half of the box, and as much of nothing.
    assert SOFT_LABELS["mean"](anchors, box, PLAIN).tolist() == pytest.approx([0.7429, 0.7429 / 2, 0], abs=2e-3)
    said = replace(BMC, label="mean")(ANCHORS, TWO, SIZE)
    assert 0 < said.objectness.max() < 0.8


# -- what a labeller said


def test_published_anchors_have_two_positives_by_overlap_and_sixteen_when_conditioned():
    anchors = Anchors([16, 24, 32, 48, 96, 192], [0.5, 1, 2], stride=4)(48, 48)
    torch.manual_seed(0)
    root = torch.exp(3.356 + 0.364 * torch.randn(40))  # areas as of DeepLesion's boxes: median 28.7 x 28.7
    half = torch.stack([root, root], 1) * torch.exp(0.25 * torch.randn(40, 1) * torch.tensor([1.0, -1.0])) / 2
    centre = 72 + 48 * torch.rand(40, 2)
    boxes = list(torch.cat([centre - half, centre + half], 1)[:, None])
    usual = OverlapLabeller(positive=0.7, negative=0.3, low_quality=2.0, count=32, positives=0.5)
    assert positives_of_images(usual, anchors, boxes, (192, 192)).median() == 2
    published = replace(BMC, near=Nearest(320), fallback=Nearest(80))
    assert positives_of_images(published, anchors, boxes, (192, 192)).tolist() == [16] * 40
    found = torch.tensor([published.candidates(anchors, box[0]).sum() for box in boxes])
    assert 140 < found.median() < 180


def test_the_floor_is_the_loss_of_a_perfect_answer():
    t = torch.tensor([0.5, 1.0, 0.0, 0.8])
    weight = torch.tensor([0.5, 0.25, 0.25, 0.0])
    targets = AnchorTargets(t, weight, torch.full((4,), -1), torch.zeros(4))
    assert objectness_floor(targets).item() == pytest.approx(0.5 * 0.693147, rel=1e-5)
    assert positives(targets) == 2
    soft = MapLabeller(boxes=OVERLAP)(ANCHORS, TWO, SIZE)
    perfect = torch.nn.functional.binary_cross_entropy(soft.objectness, soft.objectness, weight=soft.objectness_weight)
    assert objectness_floor(soft).item() == pytest.approx(perfect.item() * len(ANCHORS), rel=1e-4)


def test_what_is_said_is_noted_while_someone_listens():
    noted = Noted(OVERLAP)
    noted(ANCHORS, TWO, SIZE)
    with noted.listening() as said:
        targets = noted(ANCHORS, TWO, SIZE)
    noted(ANCHORS, TWO, SIZE)
    assert len(said) == 1
    assert said[0] is targets
