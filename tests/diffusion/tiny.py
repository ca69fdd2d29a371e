"""A base of the Stable-Diffusion-1.5 class with random weights, and photos to learn from."""

import string

import numpy as np
import torch
from PIL import Image

CLASSES = ("photo", "of", "a", "dog", "with", "pose", "in", "background", "garden")


def tokenizer():
    """A CLIP tokenizer that has ``CLASSES`` as whole words and all else as letters."""
    from transformers import CLIPTokenizer

    letters = [*string.ascii_lowercase, *string.digits, *"<>-_.,!|"]
    vocabulary = {sign: number for number, sign in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
    merges = []
    for word in CLASSES:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            if pair not in merges:
                merges.append(pair)
            vocabulary.setdefault("".join(pair), len(vocabulary))
            pieces = ["".join(pair), *pieces[2:]]
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def base(*, width=32, image_encoder=True, seed=0):
    """A pipeline that draws 32 x 32 pixels of noise."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import (
        CLIPImageProcessor,
        CLIPTextConfig,
        CLIPTextModel,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(seed)
    words = tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2,
        max_position_embeddings=77, bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=16, in_channels=4, out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=width, attention_head_dim=2, norm_num_groups=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=1, image_size=32, patch_size=8,
        projection_dim=8,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1,
        set_alpha_to_one=False,
    )  # fmt: skip
    made = StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=words, unet=unet, scheduler=scheduler,
        safety_checker=None, requires_safety_checker=False,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32),
        image_encoder=CLIPVisionModelWithProjection(vision) if image_encoder else None,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


def picture(height, width, *, seed=0, colour=(220, 40, 40)):
    """A coloured disc in the middle of a grey photo: (H, W, 3) uint8, and where the disc is (H, W)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    disc = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 4) ** 2
    photo = np.full((height, width, 3), 120.0)
    photo[disc] = colour
    return np.clip(photo + rng.normal(0, 3, photo.shape), 0, 255).astype(np.uint8), disc


def photos(folder, sizes=((60, 80), (80, 60), (64, 64)), modes=("RGB", "RGBA", "RGB")):
    """Photos of several sizes and modes in a folder."""
    folder.mkdir(parents=True)
    for number, (size, mode) in enumerate(zip(sizes, modes, strict=True), start=1):
        Image.fromarray(picture(*size, seed=number)[0]).convert(mode).save(folder / f"{number}.png")
    return folder
