"""Hiding patches, and pictures as rows of patches."""

import pytest
import torch

from semeia.nn.masking import gather_tokens, kept, patchify, random_masking, standardised, unpatchify, with_mask_tokens


def slow_patchify(image, p):
    """One patch, one row, one pixel after the other."""
    rows = []
    for picture in image:
        patches = []
        for top in range(0, picture.shape[1], p):
            for left in range(0, picture.shape[2], p):
                values = [picture[c, top + y, left + x] for y in range(p) for x in range(p) for c in range(3)]
                patches.append(torch.stack(values))
        rows.append(torch.stack(patches))
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("patches", "ratio", "visible"),
    [(196, 0.75, 49), (49, 0.75, 12), (10, 0.9, 1), (196, 0.0, 196), (64, 0.5, 32), (100, 0.95, 5)],
)
def test_the_floor_of_what_is_left_stays_visible(patches, ratio, visible):
    assert kept(patches, ratio) == visible


def test_each_image_keeps_its_patches_of_least_noise():
    noise = torch.tensor([[0.9, 0.1, 0.5, 0.3], [0.2, 0.8, 0.4, 0.6]])
    masking = random_masking(noise, 2)
    assert masking.visible.tolist() == [[1, 3], [0, 2]]
    assert masking.hidden.tolist() == [[True, False, True, False], [False, True, False, True]]


def test_mask_tokens_fill_the_gaps_and_visible_tokens_return_to_their_places():
    tokens = torch.arange(24.0).view(2, 4, 3)
    masking = random_masking(torch.rand(2, 4, generator=torch.Generator().manual_seed(0)), 2)
    whole = with_mask_tokens(gather_tokens(tokens, masking.visible), masking, torch.full((1, 1, 3), -1.0))
    want = torch.where(masking.hidden[..., None], torch.tensor(-1.0), tokens)
    torch.testing.assert_close(whole, want)


def test_patchify_agrees_with_cutting_pixel_by_pixel():
    image = torch.rand(2, 3, 8, 12)
    torch.testing.assert_close(patchify(image, 4), slow_patchify(image, 4))


@pytest.mark.parametrize(("height", "width", "p"), [(32, 32, 16), (8, 12, 4), (6, 6, 1)])
def test_patches_put_together_again_are_the_picture(height, width, p):
    image = torch.rand(2, 3, height, width)
    assert torch.equal(unpatchify(patchify(image, p), (height // p, width // p)), image)


def test_standardised_patches_have_mean_0_and_deviation_1_and_come_back():
    patches = torch.rand(2, 5, 48) * 7 - 3
    z, mean, deviation = standardised(patches)
    torch.testing.assert_close(z.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(-1), torch.ones(2, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(z * deviation + mean, patches)


def test_a_patch_of_one_colour_is_standardised_to_zero():
    assert torch.equal(standardised(torch.full((1, 1, 48), 0.5))[0], torch.zeros(1, 1, 48))
