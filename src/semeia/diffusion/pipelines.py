"""Text-to-image models of the Stable-Diffusion-1.5 class: a diffusers pipeline by name, by folder, or as an object.

diffusers and transformers are imported here alone, when a pipeline is first asked for.

Shapes      N pictures   S side of a picture   T tokens of the image encoder   E its width
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.records import SemeiaError

HINT = "text-to-image needs diffusers, transformers and peft; install them with: pip install 'semeia[diffusion]'"
INDEX = "model_index.json"
_NEEDED = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def load_library() -> tuple[Any, Any]:
    """The modules diffusers and transformers, with their progress bars off.

    Raises:
        SemeiaError: One of them is not installed.
    """
    try:
        import diffusers
        import transformers
    except ImportError as error:
        raise SemeiaError(HINT) from error
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    return diffusers, transformers


def open_base(base: Any) -> Any:
    """A pipeline that may be changed freely.

    Args:
        base: A folder in diffusers' layout, the name of a bundled one or of one on the Hugging Face Hub, or a pipeline
            object, which is copied. Weights are read from safetensors alone. A safety checker that the base has stays.

    Returns:
        The pipeline in evaluation mode, nothing of it asking for gradients.

    Raises:
        SemeiaError: diffusers is missing, there is no such base, or it is not of the Stable-Diffusion-1.5 class.
    """
    diffusers, _ = load_library()
    if not isinstance(base, str | Path):
        name, pipeline = type(base).__name__, copy.deepcopy(base)
    else:
        name, pipeline = str(base), _loaded(diffusers, str(base))
    _check(pipeline, name)
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _loaded(diffusers: Any, base: str) -> Any:
    folder = Path(base)
    bundled = Path(str(files("semeia") / "weights")) / base
    if not folder.exists() and (bundled / INDEX).is_file():
        folder = bundled
    if folder.exists():
        kind = _class_name(folder)
        if kind != "StableDiffusionPipeline":
            raise SemeiaError(f"{folder / INDEX}: expected a StableDiffusionPipeline (the 1.5 class), found {kind!r}")
    elif base.count("/") != 1 or base.startswith((".", "/")):
        raise SemeiaError(
            f"base {base!r}: neither a folder with {INDEX}, nor bundled, nor a name on the Hub such as owner/model"
        )
    try:
        return diffusers.DiffusionPipeline.from_pretrained(str(folder) if folder.exists() else base,
                                                           use_safetensors=True)  # fmt: skip
    except Exception as error:  # whatever a damaged folder or a missing network makes the libraries raise
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise SemeiaError(
            f"base {base!r}: cannot be loaded ({first[0]}); expected a complete diffusers folder with safetensors "
            "weights, or a name that can be downloaded; pickled weights are not read"
        ) from error


def _class_name(folder: Path) -> str:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return str(index["_class_name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SemeiaError(f"{folder}: not a diffusers pipeline, {INDEX} cannot be read ({error})") from error


def _check(pipeline: Any, name: str) -> None:
    components = getattr(pipeline, "components", {})
    if components.get("text_encoder_2") is not None:
        raise SemeiaError(f"base {name}: has two text encoders (SDXL); expected one of the Stable-Diffusion-1.5 class")
    missing = [part for part in _NEEDED if components.get(part) is None]
    if missing:
        raise SemeiaError(f"base {name}: has no {', '.join(missing)}; expected a Stable-Diffusion-1.5 class pipeline")
    channels, latents = pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels
    if channels != latents:
        raise SemeiaError(
            f"base {name}: its U-Net reads {channels} channels, its autoencoder makes {latents}; expected a plain "
            "text-to-image base, not one for inpainting or editing"
        )
    read, made = pipeline.unet.config.cross_attention_dim, text_width(pipeline)
    if read != made:
        raise SemeiaError(f"base {name}: its U-Net reads text of width {read}, its text encoder makes {made}")


def text_width(pipeline: Any) -> int:
    """Width of a token's vector."""
    return int(pipeline.text_encoder.get_input_embeddings().weight.shape[1])


def own_side(pipeline: Any) -> int:
    """Side in pixels of the pictures that the base was trained for."""
    return latent_side(pipeline, None) * scale_factor(pipeline)


def scale_factor(pipeline: Any) -> int:
    """Pixels along one latent."""
    return int(2 ** (len(pipeline.vae.config.block_out_channels) - 1))


def latent_side(pipeline: Any, side: int | None) -> int:
    """Latents along a picture of ``side`` pixels; of the base's own size where it is None.

    Raises:
        SemeiaError: The side is no whole number of cells of the base's coarsest grid.
    """
    if side is None:
        return int(pipeline.unet.config.sample_size)
    step = scale_factor(pipeline) * 2 ** (len(pipeline.unet.config.block_out_channels) - 1)
    if side < step or side % step:
        raise SemeiaError(f"resolution {side}: expected a multiple of {step} pixels for this base")
    return side // scale_factor(pipeline)


def fingerprint(pipeline: Any) -> str:
    """Of the base's token vectors, rounded to half precision: tells whether two bases share a vocabulary."""
    rows = pipeline.text_encoder.get_input_embeddings().weight.detach().to("cpu", torch.float16).contiguous()
    return hashlib.sha256(rows.numpy().tobytes()).hexdigest()[:16]


@torch.no_grad()
def latent_moments(pipeline: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the latents of pictures.

    Args:
        pipeline: The base.
        images: ``(N, 3, S, S)`` in [0, 1].

    Returns:
        Twice ``(N, C, S / f, S / f)``, as the U-Net reads them, on the CPU.
    """
    vae, means, deviations = pipeline.vae, [], []
    for image in images:
        latent = vae.encode(image[None].to(vae.device, vae.dtype) * 2 - 1).latent_dist
        means.append(latent.mean.float().cpu() * vae.config.scaling_factor)
        deviations.append(latent.std.float().cpu() * vae.config.scaling_factor)
    return torch.cat(means), torch.cat(deviations)


def open_image_encoder(pipeline: Any, name: str | None) -> Any:
    """A CLIP-like image encoder: that of the base, or one by name or folder.

    Raises:
        SemeiaError: The base has none and none is named, or it cannot be loaded.
    """
    _, transformers = load_library()
    if name is None:
        own = pipeline.components.get("image_encoder")
        if own is None:
            raise SemeiaError(
                "this base has no image encoder, which pose and background words are read with; name one, such as "
                "--image-encoder openai/clip-vit-large-patch14, or learn those words without: --arm no-mappers"
            )
        return own
    try:
        encoder = transformers.CLIPVisionModel.from_pretrained(name, use_safetensors=True)
    except Exception as error:  # as for a base
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise SemeiaError(f"image encoder {name!r}: cannot be loaded as a CLIP image encoder ({first[0]})") from error
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def image_features(pipeline: Any, encoder: Any, images: Tensor) -> Tensor:
    """Last hidden state of an image encoder.

    Args:
        pipeline: The base, whose preprocessing holds where it states one.
        encoder: See ``open_image_encoder``.
        images: ``(N, 3, S, S)`` in [0, 1].

    Returns:
        ``(N, T, E)`` on the CPU; the first token is the summary.
    """
    stated = pipeline.components.get("feature_extractor")
    mean = torch.tensor(getattr(stated, "image_mean", None) or _CLIP_MEAN).view(3, 1, 1)
    std = torch.tensor(getattr(stated, "image_std", None) or _CLIP_STD).view(3, 1, 1)
    side = int(encoder.config.image_size)
    small = F.interpolate(images, size=(side, side), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    pixels = ((small - mean) / std).to(encoder.device, encoder.dtype)
    return torch.cat([encoder(pixel_values=p[None]).last_hidden_state.float().cpu() for p in pixels])


@contextmanager
def own_scheduler(pipeline: Any, name: str | None) -> Iterator[None]:
    """Draw with another scheduler for a while: ``ddim``, or None for the base's own.

    Raises:
        SemeiaError: An unknown name.
    """
    if name not in (None, "ddim"):
        raise SemeiaError(f"sampler {name!r}: expected ddim, or none for the base's own")
    before = pipeline.scheduler
    if name == "ddim":
        diffusers, _ = load_library()
        pipeline.scheduler = diffusers.DDIMScheduler.from_config(before.config)
    try:
        yield
    finally:
        pipeline.scheduler = before
