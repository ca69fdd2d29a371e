import os

import numpy as np
import pytest

pytest.importorskip("mitsuba")
pytest.importorskip("scipy")

import io

from PIL import Image

from semeia.data.synthetic.faces import render
from semeia.data.synthetic.faces.figure import build_figure
from semeia.data.synthetic.faces.make import World, take
from semeia.data.synthetic.faces.scene import REGIONS

pytestmark = pytest.mark.usefixtures("head")


def shoot(shot, variant):
    world = World(
        seed=shot.seed, count=1, first_identity=0, shots=1, size=64, renderer="paths", samples=4, look="usual",
        policy="balanced", split="train", variant=variant, shard_images=1, pack="",
    )  # fmt: skip
    studio = render.PathStudio(build_figure(shot), variant=variant)
    labels, picture, mask, _ = take(shot, studio, world, split="train")
    return labels, picture, mask


@pytest.fixture(scope="module")
def shot(upright):
    return upright


@pytest.fixture(scope="module")
def plain(shot):
    return shoot(shot, render.PLAIN_VARIANT)


def regions_at(mask, points, reach=1):
    """Names of the regions within ``reach`` pixels of some points."""
    regions = np.asarray(Image.open(io.BytesIO(mask)))
    names = set()
    for x, y in np.floor(points).astype(int):
        window = regions[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        names |= {REGIONS[number] for number in np.unique(window)}
    return names


def test_landmarks_lie_in_the_regions_that_the_mask_names(plain):
    labels, _, mask = plain
    assert "lips" in regions_at(mask, labels.landmarks[[51, 57]])
    assert "nose" in regions_at(mask, labels.landmarks[[30]], reach=0)
    assert "brow" in regions_at(mask, labels.landmarks[[19]])
    eyes = {"eye_right": labels.landmarks[36:42], "eye_left": labels.landmarks[42:48]}
    for region, lids in eyes.items():
        assert region in regions_at(mask, [lids.mean(0)])


def test_the_picture_shows_a_face_before_a_background(plain):
    _, picture, mask = plain
    image, regions = (np.asarray(Image.open(io.BytesIO(data))) for data in (picture, mask))
    assert image.shape == (64, 64, 3)
    assert regions.shape == (64, 64)
    assert 0.15 < (regions == REGIONS.index("skin")).mean() < 0.8
    assert (regions == 0).any()
    assert image[regions == REGIONS.index("skin")].std() > 3


def test_the_same_shot_has_the_same_bytes_again(plain, shot):
    assert shoot(shot, render.PLAIN_VARIANT)[1:] == plain[1:]


@pytest.mark.skipif(render.find_llvm() is None, reason="no libLLVM 19 or newer")
def test_both_variants_see_the_same_regions_and_nearly_the_same_light(plain, shot):
    _, picture, mask = shoot(shot, render.FAST_VARIANT)
    ours, theirs = (np.asarray(Image.open(io.BytesIO(data)), float) for data in (picture, plain[1]))
    assert np.abs(ours.mean((0, 1)) - theirs.mean((0, 1))).max() < 6
    ours, theirs = (np.asarray(Image.open(io.BytesIO(data))) for data in (mask, plain[2]))
    assert (ours == theirs).mean() > 0.99


def test_the_chosen_libllvm_overrides_the_search(monkeypatch):
    monkeypatch.setenv("DRJIT_LIBLLVM_PATH", "chosen.so")
    assert render.find_llvm() == "chosen.so"


def test_the_oldest_usable_libllvm_is_found(monkeypatch, tmp_path):
    monkeypatch.delenv("DRJIT_LIBLLVM_PATH", raising=False)
    monkeypatch.setattr(render, "_LIBRARY_FOLDERS", (os.fspath(tmp_path),))
    assert render.find_llvm() is None
    for name in ("libLLVM-15.so", "libLLVM-15.so.1", "libLLVM.so.20.1", "libLLVM.so.19.1", "libLLVMSupport.a"):
        (tmp_path / name).touch()
    assert render.find_llvm() == os.fspath(tmp_path / "libLLVM.so.19.1")
    assert render.choose_variant() == render.FAST_VARIANT
