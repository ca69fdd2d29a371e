import numpy as np
import pytest
from PIL import Image

from semeia.media.subject_masks import (
    check_mask,
    face_mask,
    looks_inverted,
    read_masks,
    salient_mask,
    write_mask_sheet,
)
from semeia.records import Box, Face, SemeiaError

from ..diffusion.tiny import picture


def overlap(a, b):
    return (np.minimum(a, b).sum()) / np.maximum(a, b).sum()


@pytest.fixture
def masks(tmp_path):
    """Two photos' names, sizes, and a folder with a mask for each."""
    folder = tmp_path / "masks"
    folder.mkdir()
    photos = [tmp_path / "a.jpg", tmp_path / "b.png"]
    for photo, (height, width) in zip(photos, ((60, 80), (64, 64)), strict=True):
        disc = picture(height, width)[1]
        Image.fromarray(disc.astype(np.uint8) * 255).save(folder / f"{photo.stem}.png")
    return folder, photos, [(60, 80), (64, 64)]


def test_masks_are_found_by_name_and_brought_to_the_photos_size(masks):
    folder, photos, sizes = masks
    Image.open(folder / "a.png").resize((160, 120)).save(folder / "a.png")
    found = read_masks(folder, photos, sizes)
    assert [m.shape for m in found] == sizes
    assert overlap(found[0], picture(60, 80)[1]) > 0.95
    assert set(np.unique(found[1])) == {0, 1}


def edited(folder, how):
    grey = np.asarray(Image.open(folder / "b.png"))
    return {
        "empty": grey * 0, "full": grey * 0 + 255, "inverted": 255 - grey, "shape": grey[:, :40],
    }[how]  # fmt: skip


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("empty", "empty mask"),
        ("full", "white all over"),
        ("inverted", "looks inverted"),
        ("shape", "expected the shape of b.png, 64 x 64"),
    ],
)
def test_masks_that_cannot_be_right_are_told(masks, how, told):
    folder, photos, sizes = masks
    Image.fromarray(edited(folder, how)).save(folder / "b.png")
    with pytest.raises(SemeiaError, match=told):
        read_masks(folder, photos, sizes)


def test_a_missing_mask_and_a_missing_folder_are_named(masks, tmp_path):
    folder, photos, sizes = masks
    (folder / "b.png").unlink()
    with pytest.raises(SemeiaError, match=r"a mask named b\.png"):
        read_masks(folder, photos, sizes)
    with pytest.raises(SemeiaError, match="expected a folder"):
        read_masks(tmp_path / "none", photos, sizes)


def test_a_subject_that_touches_three_sides_is_not_inverted():
    portrait = np.zeros((60, 60), np.float32)
    portrait[10:, 5:55] = 1
    assert not looks_inverted(portrait)
    check_mask(portrait, source="x")


@pytest.mark.parametrize("size", [(60, 80), (200, 120), (64, 64)])
def test_what_stands_out_is_found(size):
    photo, disc = picture(*size)
    found = salient_mask(photo, source="x")
    assert found.shape == size
    assert overlap(found, disc) > 0.75
    assert np.array_equal(found, salient_mask(photo, source="x"))


def test_a_photo_of_nothing_is_told():
    rng = np.random.default_rng(0)
    plain = np.clip(rng.normal(120, 3, (80, 80, 3)), 0, 255).astype(np.uint8)
    with pytest.raises(SemeiaError, match=r"plain\.jpg: no subject stands out"):
        salient_mask(plain, source="plain.jpg")


def head(angle):
    """A face whose mesh is an ellipse, turned."""
    turn = np.linspace(0, 2 * np.pi, 468, endpoint=False)
    mesh = np.stack([10 * np.sin(turn), -15 * np.cos(turn), 0 * turn], -1)
    mesh[10], mesh[152] = (0, -15, 0), (0, 15, 0)
    c, s = np.cos(angle), np.sin(angle)
    mesh[:, :2] = mesh[:, :2] @ np.array([[c, s], [-s, c]]) + 50
    return Face(Box(40, 35, 20, 30), 1.0, 1.0, mesh)


def test_a_heads_mask_reaches_above_its_forehead_along_its_own_axis():
    mask = face_mask(head(0.0), (100, 100))
    assert mask.shape == (100, 100)
    assert mask[50, 50] == 1
    assert mask[29, 50] == 1  # hair
    assert mask[70, 50] == 0  # neck
    assert mask[50, 62] == 1
    assert mask[50, 66] == 0
    lying = face_mask(head(np.pi / 2), (100, 100))
    assert lying[50, 71] + lying[50, 29] == 1
    assert lying.sum() == pytest.approx(mask.sum(), rel=0.05)


def test_the_sheet_shows_photo_subject_and_background(tmp_path):
    photo, disc = picture(64, 64)
    write_mask_sheet(tmp_path / "masks.png", [photo, photo], [disc.astype(np.float32)] * 2)
    sheet = np.asarray(Image.open(tmp_path / "masks.png"))
    assert sheet.ndim == 3
    assert sheet.std() > 10
