"""Learning a concept on a tiny random base."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from semeia.diffusion.export import read_concept
from semeia.media.drawings import read_settings
from semeia.nn import face_finder
from semeia.recipes import detex as recipe
from semeia.records import Box, Face, SemeiaError
from semeia.systems import detex
from semeia.train import loop

from ..diffusion.tiny import base, photos, picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("base")
    base().save_pretrained(place)
    return str(place)


@pytest.fixture(autouse=True)
def no_faces(monkeypatch):
    """Faces are found in no picture, and no network is fetched."""
    monkeypatch.setattr(face_finder.FaceFinder, "__init__", lambda self: None)
    monkeypatch.setattr(face_finder.FaceFinder, "find", lambda self, image: ())


def config(tmp_path, folder, **fields):
    made = recipe.smoke()
    if not (tmp_path / "photos").exists():
        photos(tmp_path / "photos")
    data = recipe.PhotoData(photos=(str(tmp_path / "photos"),))
    how = replace(made.fit, out=str(tmp_path / "Rex"), precision="no")
    return replace(made, **{"data": data, "class_word": "dog", "base": folder, "fit": how} | fields)


def test_photos_become_a_concept(tmp_path, folder):
    told = []
    out = recipe.train(config(tmp_path, folder), progress=False, say=told.append)
    learned = read_concept(out)
    assert learned.trigger == "<rex>"
    assert learned.photos == ("1.png", "2.png", "3.png")
    assert list(learned.words) == ["<rex>", *(f"<rex-{a}-{n}>" for a in ("pose", "background") for n in (1, 2, 3))]
    assert learned.kind == "kv"
    assert any("stands out" in text for text in told)
    assert any("masks.png" in text for text in told)
    run = tmp_path / "Rex"
    assert (run / "masks.png").exists()
    assert read_settings(run / "samples.png")["pictures"][0]["prompt"] == "photo of a <rex> dog"
    assert len(list((run / "class_images").glob("*.png"))) == 2
    card = (out / "card.md").read_text()
    assert "<rex-pose-3>" in card
    assert "overlap of attention" in card
    assert "{" not in card


def test_a_training_that_was_killed_ends_as_one_that_was_not(tmp_path, folder, monkeypatch):
    through = recipe.train(config(tmp_path, folder), progress=False)
    whole = {f.name: load_file(f) for f in through.glob("*.safetensors")}
    other = config(tmp_path, folder)
    other = replace(other, trigger="<rex>", fit=replace(other.fit, out=str(tmp_path / "other")))
    real = loop._Training.take_step

    def killed(self, *, stop):
        if self.step == 3:
            raise KeyboardInterrupt
        return real(self, stop=stop)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "take_step", killed)
        with pytest.raises(KeyboardInterrupt):
            recipe.train(other, progress=False)
    resumed = recipe.train(other, progress=False)
    for name, tensors in whole.items():
        found = load_file(resumed / name)
        assert all(torch.equal(tensors[key], found[key]) for key in tensors), name


def test_another_concepts_folder_is_not_gone_on_with(tmp_path, folder):
    arm = detex.ARMS["textual-inversion"]
    first = config(tmp_path, folder, model=arm, samples=())
    recipe.train(first, progress=False)
    with pytest.raises(SemeiaError, match="another class; name another --out"):
        recipe.train(replace(first, class_word="garden"), progress=False)
    Image.fromarray(picture(64, 64, seed=9)[0]).save(tmp_path / "photos" / "4.png")
    with pytest.raises(SemeiaError, match="another photos"):
        recipe.train(first, progress=False)
    assert recipe.train(first, progress=False, resume=False).is_dir()
    assert len(json.loads((tmp_path / "Rex" / "learned_from.json").read_text())["photos"]) == 4


def test_baselines_learn_without_an_image_encoder_and_from_an_object(tmp_path):
    made = config(tmp_path, "object", model=detex.ARMS["dreambooth"], samples=(), class_images=0)
    own = base(image_encoder=False)
    before = own.unet.conv_in.weight.detach().clone()
    learned = read_concept(recipe.train(made, base=own, progress=False))
    assert learned.kind == "unet"
    assert list(learned.words) == ["<rex>"]
    assert torch.equal(own.unet.conv_in.weight, before)
    with pytest.raises(SemeiaError, match="no image encoder"):
        recipe.train(config(tmp_path, "object"), base=own, progress=False, resume=False)


# -- photos and masks


def opened(tmp_path, **fields):
    told = []
    data = recipe.PhotoData(**{"photos": (str(tmp_path / "photos"),)} | fields)
    return recipe.open_photos(data, told.append), told


def test_photos_of_all_sizes_and_modes_are_read_and_a_folder_of_masks_beside_them(tmp_path):
    photos(tmp_path / "photos")
    (tmp_path / "photos_mask").mkdir()
    for number, size in enumerate(((60, 80), (80, 60), (64, 64)), start=1):
        disc = picture(*size)[1]
        Image.fromarray(disc.astype(np.uint8) * 255).save(tmp_path / "photos_mask" / f"{number}.png")
    (files, read, masks), told = opened(tmp_path)
    assert [f.name for f in files] == ["1.png", "2.png", "3.png"]
    assert [p.shape for p in read] == [(60, 80, 3), (80, 60, 3), (64, 64, 3)]
    assert [m.shape for m in masks] == [p.shape[:2] for p in read]
    assert told == [f"masks are read from {tmp_path / 'photos_mask'}"]
    (_, _, whole), _ = opened(tmp_path, masks="none")
    assert all(mask.all() for mask in whole)


def test_one_photo_is_told_and_none_or_too_many_are_refused(tmp_path, monkeypatch):
    photos(tmp_path / "photos", sizes=((64, 64),), modes=("L",))
    _, told = opened(tmp_path)
    assert "one photo" in told[0]
    with pytest.raises(SemeiaError, match="no photos"):
        opened(tmp_path, photos=())
    monkeypatch.setattr(recipe, "MOST_PHOTOS", 0)
    with pytest.raises(SemeiaError, match="1 photos: expected at most 0"):
        opened(tmp_path)


def face(x):
    turn = np.linspace(0, 2 * np.pi, 468)
    mesh = np.stack([x + 8 * np.sin(turn), 32 - 10 * np.cos(turn), 0 * turn], -1)
    mesh[10], mesh[152] = (x, 22, 0), (x, 42, 0)
    return Face(Box(x - 8, 22, 16, 20), 1.0, 1.0, mesh)


def test_faces_give_masks_and_the_largest_counts(tmp_path, monkeypatch):
    photos(tmp_path / "photos")
    monkeypatch.setattr(face_finder.FaceFinder, "find", lambda self, image: (face(30), face(50)))
    (_, _, masks), told = opened(tmp_path)
    assert all(mask[32, 30] == 1 and mask[32, 50] == 0 for mask in masks)
    assert "several faces in 1.png" in told[0]


def test_a_photo_without_a_face_among_others_is_named(tmp_path, monkeypatch):
    photos(tmp_path / "photos")
    monkeypatch.setattr(face_finder.FaceFinder, "find", lambda self, image: () if image.shape[0] == 80 else (face(30),))
    with pytest.raises(SemeiaError, match=r"2\.png: no face found"):
        opened(tmp_path)
    monkeypatch.setattr(face_finder.FaceFinder, "find", lambda self, image: ())
    with pytest.raises(SemeiaError, match=r"1\.png, 2\.png, 3\.png: no face found"):
        opened(tmp_path, masks="face")


def test_without_the_finder_what_stands_out_is_taken_unless_faces_are_asked_for(tmp_path, monkeypatch):
    photos(tmp_path / "photos")

    def missing(self):
        raise SemeiaError("face-detector cannot be fetched")

    monkeypatch.setattr(face_finder.FaceFinder, "__init__", missing)
    _, told = opened(tmp_path)
    assert "cannot be fetched" in told[0]
    with pytest.raises(SemeiaError, match="cannot be fetched"):
        opened(tmp_path, masks="face")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"class_word": " "}, "expected what the subject is"),
        ({"trigger": "dog"}, "lose its meaning; write <dog>"),
        ({"base": "nowhere"}, "neither a folder"),
        ({"resolution": 30}, "multiple of 4"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_training(tmp_path, folder, fields, told):
    with pytest.raises(SemeiaError, match=told):
        recipe.train(config(tmp_path, folder, **fields), progress=False)


def test_a_trigger_that_is_an_ordinary_word_elsewhere_is_told(tmp_path, folder):
    told = []
    made = config(tmp_path, folder, trigger="<dog>", samples=(), class_images=0, model=detex.ARMS["textual-inversion"])
    recipe.train(made, progress=False, say=told.append)
    assert any("'dog' is an ordinary word too" in text for text in told)


def test_class_pictures_of_a_folder_are_taken(tmp_path, folder):
    photos(tmp_path / "dogs")
    made = config(tmp_path, folder, class_folder=str(tmp_path / "dogs"), samples=())
    recipe.train(made, progress=False)
    assert not (tmp_path / "Rex" / "class_images").exists()
