"""Face diffusion: from labelled portraits to a text-to-image base in diffusers' own layout.

    semeia make faces worlds/faces --count 26600 --seed 1
    semeia train face_diffusion --data worlds/faces --out runs/face_diffusion
    semeia evaluate face_diffusion --data worlds/faces --weights runs/face_diffusion/checkpoint

    portraits -> autoencoder -> their latents, kept in a file
              -> text and image encoder that agree
              -> U-Net on latents, text encoder along -> samples.png -> card and folder

    pipeline = StableDiffusionPipeline.from_pretrained("runs/face_diffusion/checkpoint")

``smoke`` runs in under a minute or two on anything, ``small`` is for two cores, ``gpu`` is for one GPU and longer: its
files stay below 12 MB, too. There is no ``paper``: the base is ours. Each stage is a training of its own below
``--out``: a run that was stopped goes on in the stage where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from PIL import Image
from torch import Tensor

from semeia.data.captions import background_word, prompt
from semeia.data.feeds import evaluation_rows, mixture
from semeia.data.formats.face_files import Faces
from semeia.data.formats.faces import FaceFolder
from semeia.diffusion.pipelines import open_base
from semeia.evaluate import Score, score_table
from semeia.face_sets import FaceData, open_faces, open_split, with_split
from semeia.media.images import write_image
from semeia.media.picture_grid import picture_grid
from semeia.metrics.faces import bootstrap
from semeia.nn.weight_files import read_tensors, write_tensors
from semeia.recipes._cards import trained_by
from semeia.records import FaceLabels
from semeia.systems import face_diffusion
from semeia.task import Task
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

SHEET = (
    "a photo of a woman with black hair smiling in a dark green background",
    "a photo of an old man with grey hair in a light grey background",
    "a photo of a man with a beard looking angry",
    "a photo of a girl with blond hair looking happy in a blue background",
    "a photo of a man wearing glasses facing the camera",
    "a photo of a woman wearing a hat with the head turned to her left",
    "a photo of a boy looking surprised in a white background",
    "photo of a person with right pose in a dark grey background",
)
"""Prompts of the sheet of samples."""


@dataclass(frozen=True)
class Stage:
    """Length of one of the first two stages."""

    steps: int = 1_000
    """Optimiser steps."""
    batch_size: int = 16
    """Images a step and process."""
    learning_rate: float = 1e-3
    """Peak, reached after the warm-up; a cosine leads to zero."""


@dataclass(frozen=True)
class Config:
    """Model, data and optimiser of the three stages."""

    model: face_diffusion.Config = field(default_factory=face_diffusion.Config)
    """The base."""
    data: FaceData = field(default_factory=FaceData)
    """Portraits with labels; the middle square of each picture is taken."""
    autoencoder: Stage = field(default_factory=lambda: Stage(steps=1_800, batch_size=16))
    """Of the first stage."""
    encoders: Stage = field(default_factory=lambda: Stage(steps=600, batch_size=64, learning_rate=5e-4))
    """Of the second stage."""
    batch_size: int = 32
    """Images a step and process of the last stage."""
    learning_rate: float = 1e-3
    """Of the last stage: peak, reached after the warm-up; a cosine leads to zero."""
    weight_decay: float = 0.01
    """AdamW's. [Stable Diffusion]"""
    unprompted: float = 0.1
    """How often a prompt is empty in the last stage, for guidance. [Ho and Salimans, arXiv 2207.12598: 0.1 to 0.2]"""
    most: int | None = None
    """Most portraits of each folder and split; all by default."""
    validate: int = 256
    """Held-out portraits that are read at each evaluation while training."""
    test: int | None = 1000
    """Held-out portraits in the final table."""
    fit: Fit = field(default_factory=Fit)
    """Of the last stage: length, intervals, averaging of weights; the others take clipping, seed, precision from it."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    model = face_diffusion.Config(
        image_size=32, autoencoder_channels=(8, 8, 16), channels=(16, 16), heads=2, groups=8, text_width=32,
        text_layers=1, text_heads=2, vision_width=32, vision_layers=1,
    )  # fmt: skip
    stage = Stage(steps=3, batch_size=4)
    how = Fit(steps=4, warmup=1, log_every=2, eval_every=4, save_every=2)
    return Config(model=model, autoencoder=stage, encoders=stage, batch_size=4, most=24, validate=4, test=4, fit=how)


def small() -> Config:
    """Two cores: latents of 8 x 8, which take half the time; costs are reckoned in docs/systems/face_diffusion.md."""
    model = face_diffusion.Config(autoencoder_channels=(16, 32, 64, 96), latent_channels=8, channels=(96, 160))
    how = Fit(steps=6_000, warmup=200, log_every=50, eval_every=1_000, save_every=200, ema=0.998)
    return Config(model=model, batch_size=64, fit=how)


def gpu() -> Config:
    """One GPU: a wider autoencoder and the same U-Net, which sees more than a hundred times as many portraits."""
    how = Fit(steps=60_000, warmup=1_000, log_every=100, eval_every=5_000, save_every=2_500, ema=0.9995)
    return Config(
        model=face_diffusion.Config(autoencoder_channels=(32, 64, 128)),
        autoencoder=Stage(steps=20_000, batch_size=64),
        encoders=Stage(steps=6_000, batch_size=256, learning_rate=5e-4),
        batch_size=256,
        fit=how,
    )


SCALES = {"smoke": smoke, "small": small, "gpu": gpu}


# ---------------------------------------------------------------------------------------------------------------------
# Portraits


@dataclass(frozen=True)
class Portraits:
    """Pictures of one split, in memory, with what is known of them.

    ``images`` is (N, S, S, 3) uint8; ``behind`` names each background where it is known.
    """

    images: np.ndarray
    labels: tuple[FaceLabels, ...]
    behind: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.labels)


def portraits(folders: Sequence[Faces], split: str, *, size: int, most: int | None) -> Portraits:
    """Read a split of several folders.

    Args:
        folders: Those that have the split.
        split: Its name.
        size: S.
        most: Most portraits of each, at even steps.

    Raises:
        SemeiaError: A picture cannot be read.
    """
    images, labels, behind = [], [], []
    for folder in folders:
        for row in evaluation_rows(folder, split=split, limit=most):
            picture = folder.image(row)
            # Real data sets have no regions: their backgrounds stay unnamed.
            mask = folder.mask(row) if isinstance(folder, FaceFolder) else None
            behind.append(None if mask is None else background_word(picture, mask))
            images.append(middle_square(picture, size))
            labels.append(folder.labels(row))
    return Portraits(np.stack(images), tuple(labels), tuple(behind))


def middle_square(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle of a picture (H, W, 3) uint8, as (S, S, 3)."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(picture[top : top + side, left : left + side])
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))


class PortraitFeed:
    """Batches of portraits, or of their latents, with prompts; each a pure function of its number.

    Args:
        known: The portraits.
        tokens: From prompts to ``(B, T)``.
        batch_size: B.
        latents: ``(2, N, C, s, s)`` of the portraits as they are and mirrored, to be served in place of pictures.
        unprompted: How often a prompt is empty.
        seed: Of all randomness.
    """

    def __init__(
        self, known: Portraits, *, tokens: Callable[[list[str]], Tensor], batch_size: int,
        latents: Tensor | None = None, unprompted: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.known, self.tokens, self.batch_size = known, tokens, batch_size
        self.latents, self.unprompted, self.seed = latents, unprompted, seed

    def batch(self, index: int, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
        """``tokens`` (B, T), and ``image`` (B, 3, S, S) in [0, 1] or ``latent`` (B, C, s, s)."""
        first = (index * world + rank) * self.batch_size
        rng = np.random.default_rng((self.seed, index, rank))
        rows = [self._row(first + place) for place in range(self.batch_size)]
        mirrored = rng.random(self.batch_size) < 0.5
        prompts = [self._prompt(row, bool(flip), rng) for row, flip in zip(rows, mirrored, strict=True)]
        tokens = self.tokens(prompts)
        if self.latents is not None:
            return {"latent": self.latents[torch.from_numpy(mirrored.astype(np.int64)), rows].float(), "tokens": tokens}
        images = torch.from_numpy(self.known.images[rows]).permute(0, 3, 1, 2)  # (B, 3, S, S)
        flips = torch.from_numpy(mirrored)[:, None, None, None]
        return {"image": torch.where(flips, images.flip(-1), images).float() / 255, "tokens": tokens}

    def _row(self, position: int) -> int:
        epoch, place = divmod(position, len(self.known))
        return int(_order(len(self.known), self.seed, epoch)[place])

    def _prompt(self, row: int, mirrored: bool, rng: np.random.Generator) -> str:
        words = prompt(self.known.labels[row], rng, behind=self.known.behind[row], mirrored=mirrored)
        return "" if rng.random() < self.unprompted else words


@lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch, 0x0DE5)).permutation(size)


# ---------------------------------------------------------------------------------------------------------------------
# Training


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Train the three stages, draw, measure on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: diffusers is missing, no data, or data without a train split.
    """
    torch.manual_seed(config.fit.seed)
    base = face_diffusion.build(config.model)
    opened = open_faces(config.data, progress=progress)
    sets, watched = mixture("face_diffusion", opened, None), with_split(opened, "val")
    size, out = config.model.image_size, Path(config.fit.out)
    seen = portraits([each.folder for each in sets], "train", size=size, most=config.most)
    held = portraits(watched, "val", size=size, most=config.validate) if watched else None

    for name, task, stage in stages(base, config):
        feed = PortraitFeed(seen, tokens=base.tokens, batch_size=stage.batch_size, seed=config.fit.seed)
        how = replace(config.fit, steps=stage.steps, warmup=stage.steps // 10, ema=None, out=out / name)
        optimizers = adamw(task, lr=stage.learning_rate, weight_decay=config.weight_decay)
        fit(task, {"main": feed}, optimizers, how, resume=resume, progress=progress)
    latents = kept_latents(base, seen, out)
    feed = PortraitFeed(
        seen, tokens=base.tokens, batch_size=config.batch_size, latents=latents, unprompted=config.unprompted,
        seed=config.fit.seed,
    )  # fmt: skip

    def validate(task: face_diffusion.Denoiser) -> dict[str, float]:
        if PartialState().is_main_process:
            draw(base, out / "samples.png", denoiser=task)
        return {} if held is None else {"error of noise": float(noise_errors(base, held, denoiser=task).mean())}

    optimizers = adamw(base.denoiser, lr=config.learning_rate, weight_decay=config.weight_decay)
    how = replace(config.fit, out=out / "denoiser")
    fit(base.denoiser, {"main": feed}, optimizers, how, evaluate=validate, resume=resume, progress=progress)
    folder = out / "checkpoint"
    if not PartialState().is_main_process:
        return folder
    draw(base, out / "samples.png")
    tested = with_split(opened, "test")
    scores = measure(base, tested, split="test", limit=config.test) if tested else []
    base.save(folder, card=card(config, len(seen), scores))
    return folder


def stages(base: face_diffusion.FaceDiffusion, config: Config) -> tuple[tuple[str, Task, Stage], ...]:
    """What is trained before the U-Net."""
    return ("autoencoder", base.autoencoder, config.autoencoder), ("encoders", base.agreement, config.encoders)


def kept_latents(base: face_diffusion.FaceDiffusion, seen: Portraits, out: Path) -> Tensor:
    """(2, N, C, s, s) float16 latents of portraits, as they are and mirrored; also sets the scale of the autoencoder.

    They are kept in a file below ``out`` that is named after the autoencoder's weights and the pictures.
    """
    digest = hashlib.sha256(seen.images.tobytes())
    for tensor in base.autoencoder.state_dict().values():
        digest.update(tensor.detach().cpu().numpy().tobytes())
    file = out / f"latents-{digest.hexdigest()[:16]}.safetensors"
    if file.is_file():
        latents = read_tensors(file)["latents"]
    else:
        latents = torch.stack([encoded(base.autoencoder, seen, mirrored=flip).half() for flip in (False, True)])
        if PartialState().is_main_process:
            write_tensors(file, {"latents": latents})
    base.set_scale(latents)
    return latents * base.scale


@torch.no_grad()
def encoded(model: face_diffusion.Autoencoder, known: Portraits, *, mirrored: bool = False) -> Tensor:
    """(N, C, s, s) latents of portraits, on the CPU, not scaled; the model's mode is left as it was."""
    training, device = model.training, next(model.parameters()).device
    model.eval()
    parts = [model.latents(batch.flip(-1) if mirrored else batch).float().cpu() for batch in batches(known, device)]
    model.train(training)
    return torch.cat(parts)


def batches(known: Portraits, device: torch.device, size: int = 64) -> Iterator[Tensor]:
    """Pictures (at most ``size``, 3, S, S) in [0, 1]."""
    for start in range(0, len(known), size):
        part = torch.from_numpy(known.images[start : start + size]).to(device)
        yield part.permute(0, 3, 1, 2).float() / 255  # (B, S, S, 3) -> (B, 3, S, S)


# ---------------------------------------------------------------------------------------------------------------------
# Measuring and drawing


@torch.no_grad()
def reconstruction(model: face_diffusion.Autoencoder, known: Portraits) -> np.ndarray:
    """(N,) peak signal-to-noise ratio in dB of each portrait that went through the autoencoder."""
    device = next(model.parameters()).device
    ratios = []
    for image in batches(known, device):
        error = (model.draw(model.latents(image)) - image).square().mean((1, 2, 3))
        ratios.append(-10 * error.clamp(min=1e-10).log10())
    return torch.cat(ratios).cpu().numpy()


@torch.no_grad()
def noise_errors(
    base: face_diffusion.FaceDiffusion, known: Portraits, *, denoiser: face_diffusion.Denoiser | None = None
) -> np.ndarray:
    """(N,) squared error of the noise of each portrait, whose time, noise and prompt are the same at every call.

    Who always answers nothing has an error of 1.
    """
    task = denoiser or base.denoiser
    device = task.kept.device
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    latents = encoded(base.autoencoder, known) * base.scale
    prompts = [prompt(face, rng, behind=behind) for face, behind in zip(known.labels, known.behind, strict=True)]
    noise = torch.randn(latents.shape, generator=generator)
    times = torch.randint(base.config.times, (len(known),), generator=generator)
    parts = zip(*(x.split(64) for x in (latents, base.tokens(prompts), noise, times)), strict=True)
    errors = [task.errors(*(x.to(device) for x in part))["each"] for part in parts]
    return torch.cat(errors).cpu().numpy()


def measure(
    base: face_diffusion.FaceDiffusion, folders: Sequence[Faces], *, split: str, limit: int | None
) -> list[Score]:
    """What the base makes of a split, with intervals over identities."""
    known = portraits(folders, split, size=base.config.image_size, most=limit)
    people = np.array([face.identity or face.key for face in known.labels])
    found = []
    for task, metric, values in (
        ("reconstruction", "PSNR, dB", reconstruction(base.autoencoder, known)),
        ("denoising", "squared error of noise", noise_errors(base, known)),
    ):
        low, high = bootstrap(partial(_mean_of, values), people, seed=0)
        found.append(Score(task, "all", metric, float(values.mean()), float(low), float(high), count=len(values)))
    return found


def _mean_of(values: np.ndarray, rows: np.ndarray) -> float:
    return float(values[rows].mean())


def evaluate(weights: str | Path, data: FaceData, *, split: str = "test", limit: int | None = None) -> list[Score]:
    """Score a base, by folder or bundled name, on a split of data sets.

    Raises:
        SemeiaError: There is no such base, no data, or no set has the split.
    """
    return measure(load(weights), open_split(data, split), split=split, limit=limit)


def load(weights: str | Path = "face_diffusion") -> face_diffusion.FaceDiffusion:
    """The parts of a base that ``train`` saved, by folder or bundled name.

    Raises:
        SemeiaError: There is no such base, or it is another than this recipe makes.
    """
    return face_diffusion.from_pipeline(open_base(weights), name=str(weights))


@torch.no_grad()
def draw(
    base: face_diffusion.FaceDiffusion, file: Path, *, denoiser: face_diffusion.Denoiser | None = None, steps: int = 20
) -> None:
    """Draw two pictures of each prompt of ``SHEET``, from the same noise at every call."""
    pipeline = base.pipeline(denoiser)
    columns = []
    for seed in (0, 1):
        made = pipeline(
            list(SHEET), num_inference_steps=steps, guidance_scale=4.0, output_type="np",
            generator=[torch.Generator().manual_seed(seed) for _ in SHEET],
        ).images  # fmt: skip
        columns.append((made * 255).round().astype(np.uint8))
    write_image(file, picture_grid(list(zip(*columns, strict=True)), ("seed 0", "seed 1")))


def card(config: Config, count: int, scores: Sequence[Score]) -> str:
    """The model card."""
    return CARD.format(
        size=config.model.image_size,
        words=len(config.model.words),
        count=f"{count:,}",
        folders=" and ".join(Path(folder).name for folder in config.data.faces) or "real data sets",
        lengths=f"{config.autoencoder.steps:,} steps of {config.autoencoder.batch_size} portraits for the autoencoder, "
        f"{config.encoders.steps:,} of {config.encoders.batch_size} for text and image encoder, "
        f"{config.fit.steps:,} of {config.batch_size} for the U-Net",
        seed=config.fit.seed,
        command=trained_by(config, system="face_diffusion", small=small()),
        table=score_table(scores) if scores else "Nothing: the data have no test split.",
    )  # fmt: skip


CARD = """# Face diffusion
A small text-to-image model of portraits of {size} pixels, in diffusers' layout. Concepts are learned on it offline
(`semeia concept`); what works on it works on any base of the Stable-Diffusion-1.5 class.

## What it can draw
One head before a background, as the face world has them. It knows {words} words: person, face, man, woman, boy, girl,
child; young, old, teenage; colours of hair, beards, glasses, hats, masks, earrings; eight expressions and some deeds;
left, right, up, down and frontal pose; dull colours of the background. Other words are spelled and mean nothing to it.

## What it learned from
{count} portraits of {folders}, with prompts that a grammar makes from their labels and from the colour of the
background (`semeia.data.captions`). {lengths}; seed {seed}.

```
{command}
```

The image encoder beside it learned to find the prompt of a picture. It reads training pictures for DETEX's mappers.

## What was measured
The split `test`, other persons than those of the training; intervals are 95 % over persons. An error of noise of 1 is
what no answer at all gets. Whether it draws what a prompt says is measured by `python benchmarks/concepts.py base`.

{table}

## What it cannot do
- It draws no photos of people, nothing but heads, and no two alike; faces of one prompt are different persons.
- Ages and sexes are sliders of a modelling program; what "woman" or "old" looks like here says nothing about people.
- There is no safety checker (`safety_checker=None`): the model has seen rendered heads and nothing else, and the usual
  checker is a network of its own, larger than this base and without a licence to ship. Bases that have one keep it.
- Pictures of it must not be passed off as photos.

Licence: Apache-2.0.
"""
