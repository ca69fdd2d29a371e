"""Face diffusion: a small latent text-to-image model of portraits that DETEX learns concepts on, offline.

    Paper   none of its own; the parts are those of Stable Diffusion 1.5: Rombach, Blattmann, Lorenz, Esser, Ommer:
            High-Resolution Image Synthesis with Latent Diffusion Models, CVPR 2022, arXiv 2112.10752; text and image
            encoders: Radford et al.: CLIP, ICML 2021, arXiv 2103.00020
    Idea    An autoencoder makes a portrait small; a U-Net learns to take noise away from the small one while it reads a
            prompt. Everything is a standard part of diffusers, so that what works on this base works on any other.
    Flow    image -> autoencoder -> latents        image, prompt -> two encoders that agree (contrastive)
            latents + noise, time, prompt's states -> U-Net -> noise -> mean squared error
    Known   Architecture, noise schedule and losses are Stable Diffusion's or of the papers named beside each value.
            Sizes, vocabulary and lengths are ours, chosen for two CPU cores (docs/systems/face_diffusion.md).

Shapes      B images   S side in pixels   s = S / f side of the latents   C latent channels   T tokens   D text width
"""

from __future__ import annotations

import copy
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from secrets import token_hex
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.data.captions import vocabulary
from semeia.diffusion.pipelines import load_library
from semeia.files import writable_folder, write_whole
from semeia.records import SemeiaError
from semeia.task import Task

START, END = "<|startoftext|>", "<|endoftext|>"


@dataclass(frozen=True)
class Config:
    """What the base is; every field says where its default comes from."""

    image_size: int = 64
    """S. [ours: three scales of attention, 16, 8 and 4, as far as two cores go]"""
    latent_channels: int = 4
    """C. [Rombach et al.]"""
    autoencoder_channels: tuple[int, ...] = (16, 32, 64)
    """Channels of each scale; each but the last halves the picture: f is 4. [sizes ours; Rombach et al.: 4 or 8]"""
    autoencoder_layers: int = 1
    """Residual blocks a scale. [ours; Stable Diffusion: 2]"""
    kl: float = 1e-6
    """Weight of the divergence of latents from a normal distribution. [Rombach et al.]"""
    edges: float = 1.0
    """Weight of the error of differences between neighbouring pixels, at three scales. [ours: stands in for the
    perceptual and the adversarial loss, which need a network that learned from photos, or time]"""
    channels: tuple[int, ...] = (48, 96, 128)
    """Of each scale of the U-Net; the last does not read the prompt on its way down. [Stable Diffusion: 320 to 1280]"""
    layers: int = 1
    """Residual blocks a scale. [ours; Stable Diffusion: 2]"""
    heads: int = 4
    """Attention heads. [Stable Diffusion: 8]"""
    groups: int = 16
    """Of each normalisation; must divide all channels of the U-Net. [Stable Diffusion: 32]"""
    words: tuple[str, ...] = vocabulary()
    """Words that are one token each; others are spelled. [ours: data.captions]"""
    text_length: int = 32
    """T, tokens of a prompt. [ours; CLIP: 77]"""
    text_width: int = 128
    """D. [ours; CLIP ViT-L: 768]"""
    text_layers: int = 3
    """Of the text encoder. [ours; CLIP ViT-L: 12]"""
    text_heads: int = 4
    """Of the text encoder. [ours, 32 channels each; CLIP: 64]"""
    text_rate: float = 0.3
    """Rate of the text encoder in the last stage, relative to the U-Net's. [ours; Stable Diffusion: 0, it is frozen]"""
    vision_patch: int = 8
    """Side of a patch of the image encoder in pixels. [ours; CLIP ViT-L: 14]"""
    vision_width: int = 128
    """Of the image encoder. [ours; CLIP ViT-L: 1024]"""
    vision_layers: int = 4
    """Of the image encoder. [ours; CLIP ViT-L: 24]"""
    times: int = 1000
    """Steps from a portrait to noise. [Stable Diffusion]"""
    beta_start: float = 0.00085
    """First variance of noise; their roots grow evenly. [Stable Diffusion]"""
    beta_end: float = 0.012
    """Last variance of noise. [Stable Diffusion]"""
    snr_limit: float | None = 5.0
    """Weight of a time is min(SNR, this) / SNR, or 1 where None. [Hang et al., arXiv 2303.09556: 5]"""


# ---------------------------------------------------------------------------------------------------------------------
# Stage 1: pictures become small


class Autoencoder(Task):
    """diffusers' ``AutoencoderKL`` as a task.

    Args:
        config: See ``Config``.
        vae: The network.
    """

    vae: Any

    def __init__(self, config: Config, vae: nn.Module) -> None:
        super().__init__()
        self.config, self.vae = config, vae

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """Absolute error of pixels and of edges, and the divergence.

        Args:
            batch: ``image`` (B, 3, S, S) in [0, 1].
            loss: There is one, ``main``.
        """
        x = batch["image"] * 2 - 1
        posterior = self.vae.encode(x).latent_dist
        drawn = self.vae.decode(posterior.sample()).sample.float()
        pixels, edges = (drawn - x).abs().mean(), edge_error(drawn, x)
        divergence = posterior.kl().mean() / posterior.mean[0].numel()
        total = pixels + self.config.edges * edges + self.config.kl * divergence
        return {"loss": total, "pixels": pixels, "edges": edges, "divergence": divergence}

    @torch.no_grad()
    def latents(self, image: Tensor) -> Tensor:
        """Most probable latents ``(B, C, s, s)`` of pictures ``(B, 3, S, S)`` in [0, 1], not scaled."""
        return self.vae.encode(image * 2 - 1).latent_dist.mode()

    @torch.no_grad()
    def draw(self, latents: Tensor) -> Tensor:
        """Pictures ``(B, 3, S, S)`` in [0, 1] of latents ``(B, C, s, s)`` that are not scaled."""
        return (self.vae.decode(latents).sample / 2 + 0.5).clamp(0, 1)


def edge_error(drawn: Tensor, image: Tensor, *, scales: int = 3) -> Tensor:
    """Mean absolute error of the differences of neighbouring pixels, mean over scales that are each half as large.

    Args:
        drawn: ``(B, C, H, W)``.
        image: ``(B, C, H, W)``.
        scales: How many; H and W can be halved so often.
    """
    errors = []
    for scale in range(scales):
        if scale:
            drawn, image = F.avg_pool2d(drawn, 2), F.avg_pool2d(image, 2)
        off = drawn - image
        errors.append(off.diff(dim=-1).abs().mean() + off.diff(dim=-2).abs().mean())
    return torch.stack(errors).mean()


# ---------------------------------------------------------------------------------------------------------------------
# Stage 2: a text encoder and an image encoder that agree


class Agreement(Task):
    """CLIP's contrastive loss on a text and an image encoder.

    Args:
        config: See ``Config``.
        text: transformers' ``CLIPTextModel``.
        vision: transformers' ``CLIPVisionModelWithProjection``.
    """

    text: Any
    vision: Any

    def __init__(self, config: Config, *, text: nn.Module, vision: nn.Module) -> None:
        super().__init__()
        self.config, self.text, self.vision = config, text, vision
        self.project = nn.Linear(config.text_width, config.text_width, bias=False)
        self.temperature = nn.Parameter(torch.tensor(2.66))  # log(1 / 0.07), as CLIP starts

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """Mean cross entropy of finding each picture's prompt, and each prompt's picture, within the batch.

        Args:
            batch: ``image`` (B, 3, S, S) in [0, 1] and ``tokens`` (B, T).
            loss: There is one, ``main``.
        """
        seen = F.normalize(self.vision(pixel_values=batch["image"] * 2 - 1).image_embeds, dim=-1)  # (B, D)
        said = F.normalize(self.project(self.text(batch["tokens"]).pooler_output), dim=-1)  # (B, D)
        logits = self.temperature.exp().clamp(max=100) * seen @ said.T  # (B, B)
        # Prompts that are the same for several pictures of a batch are right for each of them.
        alike = (batch["tokens"][:, None] == batch["tokens"][None]).all(-1).float()  # (B, B)
        truth = alike / alike.sum(1, keepdim=True)
        total = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
        return {"loss": total, "found": (alike.gather(1, logits.argmax(1, keepdim=True)) > 0).float().mean()}


# ---------------------------------------------------------------------------------------------------------------------
# Stage 3: noise is taken away


class Denoiser(Task):
    """diffusers' ``UNet2DConditionModel`` and the text encoder as a task.

    Args:
        config: See ``Config``.
        unet: The network.
        text: transformers' ``CLIPTextModel``; it learns along.
    """

    kept: Tensor
    unet: Any
    text: Any

    def __init__(self, config: Config, *, unet: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.config, self.unet, self.text = config, unet, text
        self.register_buffer("kept", kept_signal(config), persistent=False)  # (times,)

    def groups(self, optimizer: str = "main") -> list[dict[str, Any]]:
        """The U-Net, and the text encoder at its own rate."""
        named = list(self.named_parameters())
        return [
            {"named_params": [(n, p) for n, p in named if n.startswith("unet.")]},
            {"named_params": [(n, p) for n, p in named if n.startswith("text.")], "lr_scale": self.config.text_rate},
        ]

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """Weighted mean squared error of the noise; ``error`` is the plain one.

        Args:
            batch: ``latent`` (B, C, s, s), scaled to unit variance, and ``tokens`` (B, T).
            loss: There is one, ``main``.
        """
        latent = batch["latent"]
        noise = torch.randn_like(latent)
        # One time out of each B-th part of all: the mean over a batch varies less.
        part = (torch.arange(len(latent), device=latent.device) + torch.rand(len(latent), device=latent.device)) / len(
            latent
        )
        error = self.errors(latent, batch["tokens"], noise, (part * self.config.times).long())
        return {"loss": (error["each"] * error["weight"]).mean(), "error": error["each"].mean()}

    def errors(self, latent: Tensor, tokens: Tensor, noise: Tensor, time: Tensor) -> dict[str, Tensor]:
        """(B,) squared error of each sample's noise, and its weight.

        Args:
            latent: ``(B, C, s, s)``.
            tokens: ``(B, T)``.
            noise: ``(B, C, s, s)``.
            time: ``(B,)`` int64.
        """
        kept = self.kept[time][:, None, None, None]
        noisy = kept.sqrt() * latent + (1 - kept).sqrt() * noise
        found = self.unet(noisy, time, encoder_hidden_states=self.text(tokens).last_hidden_state).sample
        ratio = self.kept[time] / (1 - self.kept[time])  # SNR
        limit = self.config.snr_limit
        weight = torch.ones_like(ratio) if limit is None else ratio.clamp(max=limit) / ratio
        return {"each": (found.float() - noise).square().mean((1, 2, 3)), "weight": weight}


def kept_signal(config: Config) -> Tensor:
    """(times,) part of the variance that is still signal at each time: product of 1 - beta."""
    roots = torch.linspace(config.beta_start**0.5, config.beta_end**0.5, config.times, dtype=torch.float64)
    return (1 - roots.square()).cumprod(0).float()


# ---------------------------------------------------------------------------------------------------------------------
# Construction


@dataclass
class FaceDiffusion:
    """The parts of a base.

    ``scale`` is what latents are multiplied by to have unit variance; it is measured once the autoencoder has learned.
    """

    config: Config
    autoencoder: Autoencoder
    agreement: Agreement
    denoiser: Denoiser
    tokenizer: Any

    @property
    def scale(self) -> float:
        """As the autoencoder's configuration has it."""
        return float(self.autoencoder.vae.config.scaling_factor)

    def set_scale(self, latents: Tensor) -> None:
        """Measure the scale on latents ``(N, C, s, s)`` that are not scaled."""
        self.autoencoder.vae.register_to_config(scaling_factor=round(1 / float(latents.float().std()), 5))

    def tokens(self, prompts: list[str]) -> Tensor:
        """``(B, T)`` int64."""
        options = {"padding": "max_length", "truncation": True, "max_length": self.config.text_length}
        return self.tokenizer(prompts, return_tensors="pt", **options).input_ids

    def pipeline(self, denoiser: Denoiser | None = None) -> Any:
        """A ``StableDiffusionPipeline`` over these very modules; with another U-Net and text encoder if given."""
        diffusers, transformers = load_library()
        denoiser = denoiser or self.denoiser
        config, side = self.config, self.config.image_size
        scheduler = diffusers.DDIMScheduler(
            num_train_timesteps=config.times, beta_start=config.beta_start, beta_end=config.beta_end,
            beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1,
        )  # fmt: skip
        extractor = transformers.CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_mean=[0.5] * 3,
            image_std=[0.5] * 3,
        )  # fmt: skip
        pipeline = diffusers.StableDiffusionPipeline(
            vae=self.autoencoder.vae, text_encoder=denoiser.text, tokenizer=self.tokenizer, unet=denoiser.unet,
            scheduler=scheduler, safety_checker=None, feature_extractor=extractor, image_encoder=self.agreement.vision,
            requires_safety_checker=False,
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def save(self, folder: str | Path, *, card: str, half: bool = True) -> None:
        """Write a folder that ``StableDiffusionPipeline.from_pretrained`` loads, whole or not at all.

        Args:
            folder: What stood there is replaced, but only if it was such a folder.
            card: In Markdown.
            half: Store weights in fp16.

        Raises:
            SemeiaError: The folder cannot be written, or holds something else.
        """
        folder = Path(folder)
        if folder.exists() and not (folder / "model_index.json").is_file() and any(folder.iterdir()):
            raise SemeiaError(f"{folder}: holds something else than a text-to-image base; name another folder")
        writable_folder(folder.parent)
        part, old = (folder.with_name(f".{folder.name}.{token_hex(4)}.{what}") for what in ("part", "old"))
        pipeline = self.pipeline()
        if half:
            halves = {
                name: copy.deepcopy(module).half()
                for name, module in pipeline.components.items()
                if isinstance(module, nn.Module)
            }
            pipeline.register_modules(**halves)
        try:
            pipeline.save_pretrained(str(part), safe_serialization=True)
            for name in ("text_encoder", "image_encoder"):
                widened(part / name / "config.json")
            write_whole(part / "card.md", card.encode())
            if folder.exists():
                folder.replace(old)
            part.replace(folder)
        except OSError as error:
            raise SemeiaError(f"{folder}: cannot be written ({error.strerror or error})") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def widened(file: Path) -> None:
    """Have transformers load weights in float32 whatever they are stored in, as diffusers does with its own parts."""
    content = json.loads(file.read_text(encoding="utf-8")) | {"dtype": "float32"}
    write_whole(file, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def build(config: Config) -> FaceDiffusion:
    """Build the parts, every one spelled out once.

    Raises:
        SemeiaError: A picture that cannot be halved so often, or channels that the groups do not divide.
    """
    diffusers, transformers = load_library()
    halved = len(config.autoencoder_channels) - 1
    step = 2 ** (halved + len(config.channels) - 1)
    if config.image_size % step or config.image_size % config.vision_patch:
        raise SemeiaError(
            f"image_size is {config.image_size}; expected a multiple of {step} and of {config.vision_patch}, a patch"
        )
    if any(c % config.groups for c in config.channels):
        raise SemeiaError(f"groups is {config.groups}; expected a divisor of all channels, which are {config.channels}")
    scales = len(config.channels)
    vae = diffusers.AutoencoderKL(
        sample_size=config.image_size, latent_channels=config.latent_channels,
        layers_per_block=config.autoencoder_layers,
        block_out_channels=config.autoencoder_channels, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * (halved + 1), up_block_types=("UpDecoderBlock2D",) * (halved + 1),
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=config.image_size // 2**halved, in_channels=config.latent_channels,
        out_channels=config.latent_channels, block_out_channels=config.channels, layers_per_block=config.layers,
        down_block_types=("CrossAttnDownBlock2D",) * (scales - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (scales - 1),
        cross_attention_dim=config.text_width, norm_num_groups=config.groups,
        attention_head_dim=config.heads,  # diffusers calls the number of heads so
    )  # fmt: skip
    tokenizer = word_tokenizer(config.words, length=config.text_length)
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    text = transformers.CLIPTextModel(transformers.CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=config.text_width, intermediate_size=4 * config.text_width,
        num_hidden_layers=config.text_layers, num_attention_heads=config.text_heads,
        max_position_embeddings=config.text_length, projection_dim=config.text_width, bos_token_id=start,
        eos_token_id=end, pad_token_id=end,
    ))  # fmt: skip
    vision = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(
        hidden_size=config.vision_width, intermediate_size=4 * config.vision_width, image_size=config.image_size,
        num_hidden_layers=config.vision_layers, num_attention_heads=config.vision_width // 32,
        patch_size=config.vision_patch, projection_dim=config.text_width,
    ))  # fmt: skip
    return FaceDiffusion(
        config,
        Autoencoder(config, vae),
        Agreement(config, text=text, vision=vision),
        Denoiser(config, unet=unet, text=text),
        tokenizer,
    )


def from_pipeline(pipeline: Any, *, name: str) -> FaceDiffusion:
    """The parts of a base that ``save`` wrote.

    Args:
        pipeline: diffusers' ``StableDiffusionPipeline``.
        name: For the error.

    Raises:
        SemeiaError: It has no image encoder, or is conditioned on time otherwise.
    """
    vision, schedule = pipeline.components.get("image_encoder"), pipeline.scheduler.config
    if vision is None or schedule.beta_schedule != "scaled_linear" or schedule.prediction_type != "epsilon":
        raise SemeiaError(f"{name}: expected a base that 'semeia train face_diffusion' saved, found another one")
    config = Config(
        image_size=pipeline.vae.config.sample_size, text_width=pipeline.text_encoder.config.hidden_size,
        text_length=pipeline.tokenizer.model_max_length, times=schedule.num_train_timesteps,
        beta_start=schedule.beta_start, beta_end=schedule.beta_end,
    )  # fmt: skip
    return FaceDiffusion(
        config,
        Autoencoder(config, pipeline.vae),
        Agreement(config, text=pipeline.text_encoder, vision=vision),
        Denoiser(config, unet=pipeline.unet, text=pipeline.text_encoder),
        pipeline.tokenizer,
    )


def word_tokenizer(words: tuple[str, ...], *, length: int) -> Any:
    """CLIP's tokenizer, for which every one of some words is one token; other words are spelled.

    Args:
        words: In small letters.
        length: Tokens of a prompt.
    """
    _, transformers = load_library()
    letters = _byte_letters()
    alphabet = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = pair_merges(words)
    tokens = [*alphabet, *("".join(pair) for pair in merges)]
    table = {token: number for number, token in enumerate([*dict.fromkeys(tokens), START, END])}
    tokenizer = transformers.CLIPTokenizer(
        vocab=table, merges=merges, unk_token=END, bos_token=START, eos_token=END, pad_token=END
    )
    tokenizer.model_max_length = length
    return tokenizer


def pair_merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Byte-pair merges, in order, after which each word is one symbol (Sennrich et al., arXiv 1508.07909).

    The pair that occurs most often in the words, each taken once, is merged first; of equals the first by alphabet.
    """
    spelled = [[*word[:-1], f"{word[-1]}</w>"] for word in words]
    merges = []
    while counts := Counter(pair for symbols in spelled for pair in pairwise(symbols)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        spelled = [_merged(symbols, best) for symbols in spelled]
    return merges


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    done: list[str] = []
    for symbol in symbols:
        # A symbol that was just made is longer than the first of the pair: it is not merged again.
        if done and (done[-1], symbol) == pair:
            done[-1] += symbol
        else:
            done.append(symbol)
    return done


def _byte_letters() -> list[str]:
    """The 256 letters that stand for bytes in byte-level BPE: printable ones for themselves, the others shifted."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]
