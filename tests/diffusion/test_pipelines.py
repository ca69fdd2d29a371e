import json
import sys
from pathlib import Path

import pytest
import torch

from semeia.diffusion import pipelines
from semeia.records import SemeiaError

from .tiny import base


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("base")
    base().save_pretrained(place)
    return place


def test_a_folder_and_an_object_give_the_same_base(folder):
    one, two = pipelines.open_base(folder), pipelines.open_base(base())
    assert pipelines.fingerprint(one) == pipelines.fingerprint(two)
    assert pipelines.fingerprint(one) != pipelines.fingerprint(base(seed=1))
    assert pipelines.text_width(one) == 32
    assert pipelines.own_side(one) == 32
    assert not any(p.requires_grad for p in one.unet.parameters())


def test_an_object_is_copied():
    own = base()
    opened = pipelines.open_base(own)
    with torch.no_grad():
        opened.unet.conv_in.weight.zero_()
    assert own.unet.conv_in.weight.abs().sum() > 0
    assert own.unet.conv_in.weight.requires_grad


@pytest.mark.parametrize("name", ["nowhere", "./no/where", "a/b/c"])
def test_a_base_that_is_not_there_is_named(name):
    with pytest.raises(SemeiaError, match="neither a folder"):
        pipelines.open_base(name)


def test_a_name_that_cannot_be_downloaded_is_named(monkeypatch):
    diffusers, _ = pipelines.load_library()

    def fail(*_, **__):
        raise OSError("no connection\nmore")

    monkeypatch.setattr(diffusers.DiffusionPipeline, "from_pretrained", fail)
    with pytest.raises(SemeiaError, match=r"owner/model.*cannot be loaded \(no connection\)"):
        pipelines.open_base("owner/model")


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(SemeiaError, match="not a diffusers pipeline"):
        pipelines.open_base(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(SemeiaError, match="found 'StableDiffusionXLPipeline'"):
        pipelines.open_base(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(SemeiaError, match="cannot be read"):
        pipelines.open_base(tmp_path)


def test_pickled_weights_are_not_read(tmp_path):
    base().save_pretrained(tmp_path, safe_serialization=False)
    assert not list(Path(tmp_path / "unet").glob("*.safetensors"))
    with pytest.raises(SemeiaError, match="pickled weights are not read"):
        pipelines.open_base(tmp_path)


def test_what_does_not_fit_together_is_refused():
    made = base()
    made.unet.register_to_config(in_channels=9)
    with pytest.raises(SemeiaError, match="inpainting"):
        pipelines.open_base(made)
    made = base()
    made.unet.register_to_config(cross_attention_dim=16)
    with pytest.raises(SemeiaError, match="reads text of width 16, its text encoder makes 32"):
        pipelines.open_base(made)
    with pytest.raises(SemeiaError, match="has no tokenizer"):
        pipelines.open_base(object())


def test_sides_are_whole_cells():
    made = base()
    assert pipelines.latent_side(made, None) == 16
    assert pipelines.latent_side(made, 64) == 32
    with pytest.raises(SemeiaError, match="multiple of 4"):
        pipelines.latent_side(made, 30)


def test_without_diffusers_there_is_a_hint(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(SemeiaError, match=r"pip install 'semeia\[diffusion\]'"):
        pipelines.open_base("x")
