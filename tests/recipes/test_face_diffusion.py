"""From a folder of faces to a base that diffusers loads."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from semeia.face_sets import FaceData
from semeia.media.images import read_image
from semeia.recipes import face_diffusion as recipe
from semeia.records import SemeiaError

pytest.importorskip("diffusers")


def smoke(faces, out, **changes):
    config = recipe.smoke()
    return replace(config, data=FaceData(faces=(str(faces),)), fit=replace(config.fit, out=str(out)), **changes)


@pytest.fixture(scope="module")
def trained(faces, tmp_path_factory):
    return recipe.train(smoke(faces, tmp_path_factory.mktemp("run")), progress=False)


def test_the_smoke_recipe_ends_with_a_base_a_sheet_and_a_card(trained):
    assert json.loads((trained / "model_index.json").read_text())["_class_name"] == "StableDiffusionPipeline"
    assert read_image(trained.parent / "samples.png").shape[0] > 500
    card = (trained / "card.md").read_text()
    assert "semeia train face_diffusion --data worlds/" in card
    assert "| denoising | all |" in card
    assert not [*trained.parent.glob(".*")]


def test_diffusers_loads_it_in_float32_and_draws_the_same_again(trained):
    from diffusers import StableDiffusionPipeline

    pictures = []
    for _ in range(2):
        pipeline = StableDiffusionPipeline.from_pretrained(str(trained))
        pipeline.set_progress_bar_config(disable=True)
        kinds = {name: part.dtype for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}
        assert set(kinds.values()) == {torch.float32}, kinds
        made = pipeline("a photo of a woman", num_inference_steps=2, generator=torch.Generator().manual_seed(0))
        pictures.append(np.asarray(made.images[0]))
    assert pictures[0].shape == (32, 32, 3)
    assert np.array_equal(*pictures)


def test_what_was_saved_is_measured_again(trained, faces):
    data = FaceData(faces=(str(faces),))
    once, again = (recipe.evaluate(trained, data, limit=4) for _ in range(2))
    assert once == again
    assert {score.task for score in once} == {"reconstruction", "denoising"}


def test_a_training_that_was_stopped_goes_on_bit_for_bit(faces, trained, tmp_path, monkeypatch):
    config = smoke(faces, tmp_path / "run")
    real = recipe.kept_latents

    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "kept_latents", stopped)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(config, progress=False)
    monkeypatch.setattr(recipe, "kept_latents", real)
    folder = recipe.train(config, progress=False)
    for file in sorted(trained.rglob("*.safetensors")):
        assert file.read_bytes() == (folder / file.relative_to(trained)).read_bytes(), file.name


def test_batches_depend_on_their_number_alone(faces):
    from semeia.data.formats.faces import FaceFolder

    seen = recipe.portraits([FaceFolder(faces)], "train", size=32, most=10)
    assert seen.images.shape == (10, 32, 32, 3)
    feed = recipe.PortraitFeed(seen, tokens=lambda p: torch.tensor([[len(x)] for x in p]), batch_size=4)
    one, other = feed.batch(3), feed.batch(3)
    assert torch.equal(one["image"], other["image"])
    assert torch.equal(one["tokens"], other["tokens"])
    rows = [feed._row(position) for position in range(10)]
    assert sorted(rows) == list(range(10))
    latents = torch.stack([torch.arange(10.0), -torch.arange(10.0)])[..., None, None, None]
    served = recipe.PortraitFeed(seen, tokens=feed.tokens, batch_size=10, latents=latents).batch(0)["latent"]
    assert sorted(served.abs().flatten().tolist()) == list(range(10))


def test_pictures_of_any_shape_become_squares():
    assert recipe.middle_square(np.zeros((50, 90, 3), np.uint8), 32).shape == (32, 32, 3)


def test_no_data_is_refused():
    with pytest.raises(SemeiaError, match="--data"):
        recipe.train(recipe.smoke())


def test_a_folder_that_is_no_base_is_refused(tmp_path, faces):
    with pytest.raises(SemeiaError, match=r"model_index\.json"):
        recipe.evaluate(tmp_path, FaceData(faces=(str(faces),)))


def test_files_of_the_small_base_are_below_twelve_megabytes():
    from semeia.systems import face_diffusion

    base = face_diffusion.build(recipe.small().model)
    parts = (base.autoencoder.vae, base.denoiser.unet, base.denoiser.text, base.agreement.vision)
    assert max(sum(p.numel() for p in part.parameters()) * 2 for part in parts) < 12e6
