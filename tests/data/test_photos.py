import numpy as np
import pytest
import torch

from semeia.data.photos import Latents, PhotoFeed, squared, squares
from semeia.train.feeds import seed_all


def test_a_square_keeps_the_subject_where_it_can():
    photo = np.zeros((40, 100, 3), np.uint8)
    mask = np.zeros((40, 100), np.float32)
    photo[10:30, 80:100] = 255
    mask[10:30, 80:100] = 1
    image, cover = squared(photo, mask, 20)
    assert image.shape == (20, 20, 3)
    assert cover.shape == (20, 20)
    assert cover.sum() == pytest.approx(100, rel=0.05)  # all of it, at half its size
    assert np.abs(image[..., 0] / 255 - cover).mean() < 0.03  # cut and resized alike
    tall, _ = squared(photo.transpose(1, 0, 2), mask.T, 20)
    assert np.abs(tall.astype(int) - image.transpose(1, 0, 2)).max() <= 6  # rounded twice


def test_a_whole_photo_is_cut_in_its_middle():
    photo = np.zeros((10, 30, 3), np.uint8)
    photo[:, 10:20] = 200
    image, cover = squared(photo, np.ones((10, 30), np.float32), 10)
    assert image.min() == 200
    assert cover.min() == 1


def test_photos_of_all_sizes_become_one():
    photos = [np.full(size, 51, np.uint8) for size in ((8, 9, 3), (50, 20, 3))]
    made = squares(photos, [np.ones(p.shape[:2], np.float32) for p in photos], ["a", "b"], 16)
    assert made.images.shape == (2, 3, 16, 16)
    assert made.masks.shape == (2, 16, 16)
    torch.testing.assert_close(made.images, torch.full_like(made.images, 0.2))


def latents(n):
    mean = torch.arange(n).float().view(n, 1, 1, 1).expand(n, 4, 2, 2)
    return Latents(mean, torch.ones_like(mean), mean[:, 0])


def test_every_photo_comes_once_before_any_comes_again():
    feed = PhotoFeed(latents(5), (0.5, 0.2, 0.1, 0.2), batch_size=2, prior=None, seed=0)
    seed_all(0)
    seen = torch.cat([feed.batch(i, 0, 1)["photo"] for i in range(10)])
    assert all(sorted(seen[r : r + 5].tolist()) == [0, 1, 2, 3, 4] for r in range(0, 20, 5))
    two = torch.cat([feed.batch(i, rank, 2)["photo"] for i in range(5) for rank in (0, 1)])
    assert torch.equal(seen, two)
    batch = feed.batch(0, 0, 1)
    assert torch.equal(batch["mean"][:, 0, 0, 0], batch["photo"].float())
    assert "prior_mean" not in batch


def test_rows_come_as_often_as_they_should_and_by_the_seed_of_the_loop():
    feed = PhotoFeed(latents(3), (0.5, 0.2, 0.1, 0.2), batch_size=2000, prior=latents(2), seed=0)
    seed_all(1)
    row = feed.batch(0, 0, 1)["row"]
    shares = torch.bincount(row, minlength=4) / 2000
    assert (shares - torch.tensor([0.5, 0.2, 0.1, 0.2])).abs().max() < 0.03
    seed_all(1)
    batch = feed.batch(0, 0, 1)
    assert torch.equal(batch["row"], row)
    assert batch["prior_mean"].shape == (2000, 4, 2, 2)
