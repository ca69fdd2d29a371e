"""Intensity and presence come from one score."""

import torch

from semeia.nn.intensity import IntensityLevels, masked_mean, weighted_bce
from semeia.records import PRESENT


def test_intensity_and_occurrence_cannot_contradict():
    levels = IntensityLevels(3)
    torch.nn.init.normal_(levels.gaps)
    score = torch.linspace(-9, 9, 61)[:, None].expand(-1, 3)
    p = levels(score).sigmoid()
    intensity, present = p.sum(-1), p[..., PRESENT - 1]
    assert (intensity.diff(dim=0) > 0).all()
    assert (present.diff(dim=0) > 0).all()
    assert (intensity[present >= 0.5] >= 1).all()


def test_level_targets_by_hand():
    got = IntensityLevels.targets(torch.tensor([0.0, 2.0, 3.25, 5.0]))
    want = [[0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0.25, 0], [1, 1, 1, 1, 1]]
    torch.testing.assert_close(got, torch.tensor(want))


def test_rare_positives_weigh_more():
    z, target = torch.zeros(1, 1), torch.ones(1, 1)
    once = weighted_bce(z, target, torch.ones(1))
    torch.testing.assert_close(weighted_bce(z, target, torch.full((1,), 3.0)), 3 * once)


def test_a_mean_counts_what_is_labelled_alone():
    each = torch.tensor([[1.0, 5.0], [3.0, 7.0]], requires_grad=True)
    assert masked_mean(each, torch.tensor([[True, False], [True, False]])) == 2
    nothing = masked_mean(each, torch.zeros(2, 2, dtype=torch.bool))
    assert nothing == 0
    nothing.backward()
    assert not each.grad.any()
