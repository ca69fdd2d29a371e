import numpy as np
import pytest
from PIL import Image

from semeia.media.drawings import check_drawing, grid, read_settings, write_drawing, write_grid
from semeia.records import SemeiaError


def pictures(rows, columns, side=32):
    rng = np.random.default_rng(0)
    return [[rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(columns)] for _ in range(rows)]


def test_a_grid_says_every_prompt_and_seed(tmp_path):
    file = tmp_path / "grid.png"
    prompts = ["a <maya> smiling", "ein Bild für <maya>"]
    write_grid(file, pictures(2, 3), prompts=prompts, seeds=[4, 5, 6], settings={"steps": 50, "base": "tiny"})
    told = read_settings(file)
    assert told["steps"] == 50
    assert told["pictures"] == [{"prompt": p, "seed": s} for p in prompts for s in (4, 5, 6)]
    text = Image.open(file).text["parameters"]
    assert text.splitlines()[:2] == ["a <maya> smiling", "Seed: 4, steps: 50, base: tiny"]


def test_a_picture_by_itself_is_stored_pixel_by_pixel(tmp_path):
    ((image,),) = pictures(1, 1)
    write_drawing(tmp_path / "one.png", image, prompt="a <maya>", seed=7, settings={})
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), image)
    assert read_settings(tmp_path / "one.png")["pictures"] == [{"prompt": "a <maya>", "seed": 7}]


def test_small_pictures_grow_and_large_ones_shrink():
    assert grid(pictures(1, 2), prompts=["x"], seeds=[0, 1]).shape[1] == 10 + 2 * 138
    assert grid(pictures(1, 1, side=1024), prompts=["x"], seeds=[0]).shape[1] == 10 + 522


def test_a_name_that_cannot_keep_prompts_is_refused_first(tmp_path):
    with pytest.raises(SemeiaError, match=r"ends in \.png"):
        check_drawing(tmp_path / "x.jpg")
    with pytest.raises(SemeiaError, match="does not exist"):
        check_drawing(tmp_path / "none" / "x.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(SemeiaError, match="cannot be read"):
        read_settings(tmp_path / "text.png")
