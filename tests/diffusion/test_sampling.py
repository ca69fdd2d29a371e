from types import SimpleNamespace

import numpy as np
import pytest
import torch

from semeia.diffusion import pipelines
from semeia.diffusion.sampling import draw, rows_of, text_states
from semeia.records import SemeiaError

from .tiny import base

WORD = {"<maya>": torch.randn(1, 32, generator=torch.Generator().manual_seed(1))}


@pytest.fixture(scope="module")
def pipeline():
    return base()


def test_a_picture_depends_on_its_prompt_and_seed_alone(pipeline):
    first = draw(pipeline, "photo of a <maya> dog", seed=3, steps=2, words=WORD)
    draw(pipeline, "a garden", seed=9, steps=2)
    again = draw(pipeline, "photo of a <maya> dog", seed=3, steps=2, words=WORD)
    assert first.image.shape == (32, 32, 3)
    assert first.image.dtype == np.uint8
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, draw(pipeline, first.prompt, seed=4, steps=2, words=WORD).image)
    assert not np.array_equal(first.image, draw(pipeline, "photo of a dog", seed=3, steps=2).image)


def test_it_draws_as_the_pipeline_itself_does(pipeline):
    theirs = pipeline("photo of a dog", num_inference_steps=2, guidance_scale=6.0,
                      generator=torch.Generator().manual_seed(3)).images[0]  # fmt: skip
    assert np.array_equal(draw(pipeline, "photo of a dog", seed=3, steps=2).image, np.asarray(theirs))


def test_words_of_several_vectors_stand_as_several_tokens(pipeline):
    vectors = torch.randn(2, 32)
    assert list(rows_of({"<t>": vectors})) == ["<t>", "<t>_1"]
    two = text_states(pipeline, "a <t> dog", {"<t>": vectors})
    apart = text_states(pipeline, "a <x> <y> dog", {"<x>": vectors[:1], "<y>": vectors[1:]})
    assert torch.equal(two, apart)


def test_a_word_of_another_width_is_refused(pipeline):
    with pytest.raises(SemeiaError, match="<maya> has width 16, the base's text has width 32"):
        draw(pipeline, "a <maya>", seed=0, words={"<maya>": torch.zeros(1, 16)})


def test_the_safety_checker_of_the_base_is_kept_and_told():
    made = base()

    class Strict(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def forward(self, clip_input, images):
            return torch.zeros_like(images), [True] * len(images)

    made.safety_checker = Strict()
    opened = pipelines.open_base(made)
    drawn = draw(opened, "photo of a dog", seed=0, steps=2)
    assert drawn.flagged
    assert not drawn.image.any()


def test_a_scheduler_can_be_lent(pipeline):
    own = pipeline.scheduler
    with pipelines.own_scheduler(pipeline, "ddim"):
        assert pipeline.scheduler is not own
    assert pipeline.scheduler is own
    with pytest.raises(SemeiaError, match="expected ddim"), pipelines.own_scheduler(pipeline, "euler"):
        pass


def test_moments_are_the_latents_that_the_base_reads(pipeline):
    images = torch.rand(2, 3, 32, 32)
    mean, deviation = pipelines.latent_moments(pipeline, images)
    assert mean.shape == deviation.shape == (2, 4, 16, 16)
    slow = pipeline.vae.encode(images * 2 - 1).latent_dist.mean * pipeline.vae.config.scaling_factor
    torch.testing.assert_close(mean, slow, atol=1e-5, rtol=1e-4)
    assert (deviation > 0).all()


def test_features_begin_with_the_summary(pipeline):
    encoder = pipelines.open_image_encoder(pipeline, None)
    features = pipelines.image_features(pipeline, encoder, torch.rand(2, 3, 50, 50))
    assert features.shape == (2, 17, 16)
    with pytest.raises(SemeiaError, match="no image encoder"):
        pipelines.open_image_encoder(SimpleNamespace(components={}), None)
    with pytest.raises(SemeiaError, match="cannot be loaded as a CLIP image encoder"):
        pipelines.open_image_encoder(pipeline, "./nowhere")
