"""``semeia concept``."""

import numpy as np
import pytest
import torch
from PIL import Image

from semeia.cli import concept
from semeia.diffusion.export import read_concept
from semeia.media.drawings import read_settings
from semeia.records import SemeiaError
from semeia.systems import detex

from ..diffusion.tiny import base, photos


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A base, photos, and a concept learned from them on the command line."""
    place = tmp_path_factory.mktemp("world")
    base().save_pretrained(place / "base")
    photos(place / "photos")
    words = [
        "learn",
        str(place / "photos"),
        "--class",
        "dog",
        "--base",
        str(place / "base"),
        "--out",
        str(place / "rex"),
    ]
    assert concept.run([*words, "--masks", "salient", "--scale", "smoke", "--steps", "1", "--quiet"]) == 0
    return place


def test_learning_leaves_a_concept_named_after_its_folder(world):
    assert read_concept(world / "rex").trigger == "<rex>"


def test_drawing_writes_a_grid_that_says_its_prompts_and_seeds(world, tmp_path, capsys):
    words = ["draw", "a photo of <rex>", "<rex> in a garden", "--concept", str(world / "rex"), "--pose-of", "2",
             "--background-of", "3", "--count", "2", "--seed", "5", "--steps", "2", "--device", "cpu"]  # fmt: skip
    out = tmp_path / "grid.png"
    assert concept.run([*words, "--out", str(out), "--each", str(tmp_path / "each")]) == 0
    told = read_settings(out)
    first = "a photo of <rex> dog with <rex-pose-2> pose in <rex-background-3> background"
    assert [(p["prompt"], p["seed"]) for p in told["pictures"][:2]] == [(first, 5), (first, 6)]
    assert told["steps"] == 2
    assert capsys.readouterr().out.splitlines()[0] == first
    alone = sorted((tmp_path / "each").iterdir())
    assert [f.name for f in alone] == ["001-seed-5.png", "002-seed-6.png", "003-seed-5.png", "004-seed-6.png"]
    assert np.asarray(Image.open(alone[0])).shape == (32, 32, 3)
    assert read_settings(alone[3])["pictures"][0]["seed"] == 6


def test_a_base_of_another_width_is_refused(world, tmp_path):
    base(width=16).save_pretrained(tmp_path / "narrow")
    with pytest.raises(SemeiaError, match="width 32, this base reads width 16"):
        concept.run(["draw", "a <rex>", "--concept", str(world / "rex"), "--base", str(tmp_path / "narrow"),
                     "--out", str(tmp_path / "x.png")])  # fmt: skip


def test_pictures_that_the_safety_checker_took_are_told(world, tmp_path, capsys, monkeypatch):
    from semeia.predict.concepts import Artist

    class Strict(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def forward(self, clip_input, images):
            return torch.zeros_like(images), [True] * len(images)

    load = Artist.load.__func__

    def strict(cls, *args, **kwargs):
        artist = load(cls, *args, **kwargs)
        artist.pipeline.safety_checker = Strict()
        return artist

    monkeypatch.setattr(Artist, "load", classmethod(strict))
    words = ["draw", "a <rex>", "--concept", str(world / "rex"), "--count", "2", "--steps", "1"]
    assert concept.run([*words, "--out", str(tmp_path / "x.png"), "--device", "cpu"]) == 0
    assert "safety checker took 2 of 2 pictures away" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["x.jpg", "none/x.png"])
def test_a_name_that_cannot_be_written_is_refused_before_the_base_is_loaded(tmp_path, out):
    with pytest.raises(SemeiaError, match="x"):
        concept.run(["draw", "a <rex>", "--concept", str(tmp_path / "nothing"), "--out", str(tmp_path / out)])


@pytest.mark.parametrize(
    "words",
    [[], ["learn", "photos"], ["draw", "a <rex>"], ["draw", "x", "--concept", "y", "--count", "0"],
     ["learn", "p", "--class", "dog", "--out", "o", "--arm", "magic"]],
)  # fmt: skip
def test_wrong_use_is_told(words):
    with pytest.raises(SystemExit, match="2"):
        concept.run(words)


def test_arms_are_those_of_the_system():
    assert tuple(detex.ARMS) == concept.ARMS
