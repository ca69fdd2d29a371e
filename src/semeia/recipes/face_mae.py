"""Face MAE: from folders of faces, labelled or not, to an encoder that other systems start from.

    semeia make faces worlds/faces --count 26600 --seed 1
    semeia train face_mae --data worlds/faces --out runs/face_mae
    semeia train qface --data worlds/faces --out runs/qface --prior runs/face_mae/checkpoint ...

On many GPUs, ViT-B/16 at 224 pixels; each row of the log tells images a second and the share of the devices' peak:

    torchrun --nproc-per-node 8 -m semeia train face_mae --scale paper --data.celeba CELEBA --out runs/mae

(the card of the checkpoint prints the backbone's settings, which must be the same there)

``smoke`` runs in under a minute on anything, ``small`` takes about five minutes on two cores, ``paper`` holds the
values of He et al. for who has CelebA and a GPU. The newest reconstructions of held-out faces lie in
``reconstructions.png`` beside the log of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from semeia import checkpoint
from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches, evaluation_rows, mixture
from semeia.data.formats.face_files import Faces
from semeia.data.samples import Vocabulary
from semeia.evaluate import Score, score_table
from semeia.face_sets import FaceData, data_flags, open_faces, open_split, with_split
from semeia.media.images import write_image
from semeia.media.picture_grid import picture_grid
from semeia.metrics.faces import bootstrap
from semeia.nn.stages import Stages
from semeia.records import SemeiaError
from semeia.systems import face_mae
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

DRAWN = 8
"""Faces on the sheet of reconstructions."""


def mild() -> Augmentation:
    """Crops of half to all of the area, mirrored half of the time, hardly changed in colour.

    What an MAE must draw is the picture itself: blur, noise and occluders would be learned as if they were faces.
    """
    return Augmentation(
        # Scales of 0.83 and 1.17 of the side are areas of two to one.
        rotation=5, scale=0.17, shift=0.08, aligned=1.0, gain=0.1, brightness=0.2,
        p_occluder=0, p_light=0, p_vignette=0, p_blur=0, p_motion=0, p_noise=0, p_shot=0, p_contrast=0, p_gamma=0,
        p_saturation=0, p_grey=0, p_resample=0, p_jpeg=0,
    )  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Model, data and optimiser of one pre-training."""

    model: face_mae.Config = field(default_factory=face_mae.Config)
    """The network."""
    data: FaceData = field(default_factory=FaceData)
    """Faces; labels are not read. Several sets are mixed within every batch."""
    shares: tuple[float, ...] | None = None
    """Part of each batch that each set fills, in the order of the fields of ``data``; equal parts by default."""
    augmentation: Augmentation = field(default_factory=mild)
    """What is done to the pictures in training."""
    batch_size: int = 64
    """Images a step and process."""
    aligned: float = 0.65
    """Part of the samples that is served aligned; the rest is served unrotated."""
    margins: tuple[float, float] = (0.05, 0.35)
    """Margin of the aligned and of the upright crop; those of the systems that start from here."""
    learning_rate: float = 1.5e-3
    """Peak, reached after the warm-up; a cosine leads to zero."""
    weight_decay: float = 0.05
    """AdamW's."""
    workers: int = 1
    """Processes that prepare batches."""
    validate: int = 400
    """Held-out images of each folder that are read at each evaluation while training."""
    test: int | None = 1000
    """Held-out images of each folder in the final table."""
    fit: Fit = field(default_factory=Fit)
    """Length, intervals, clipping, averaging of weights."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    model = face_mae.Config(
        image_size=64, backbone_width=48, backbone_depth=2, decoder_width=32, decoder_depth=1, decoder_heads=2
    )
    how = Fit(steps=6, warmup=2, log_every=2, eval_every=6, save_every=3)
    return Config(model=model, batch_size=8, workers=0, validate=8, test=8, fit=how)


def small() -> Config:
    """Two cores, about five minutes."""
    how = Fit(steps=1000, warmup=100, log_every=50, eval_every=500, save_every=250)
    return Config(fit=how)


def paper() -> Config:
    """ViT-B/16 at 224 pixels with the values of He et al.: 800 epochs of CelebA in batches of 4096.

    The rate is theirs, 1.5e-4 for 256 images, at 4096 images a step: run it on 8 processes with 4 micro-batches each,
    or lower rate and batch together.
    """
    model = face_mae.Config(
        backbone="vit_base_patch16_224", image_size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
        decoder_width=512, decoder_depth=8, decoder_heads=16,
    )  # fmt: skip
    how = Fit(steps=32_000, warmup=1_600, accumulate=4, clip=None, log_every=50, eval_every=2_000, save_every=1_000)
    return Config(model=model, batch_size=128, learning_rate=2.4e-3, workers=8, fit=how)


SCALES = {"smoke": smoke, "small": small, "paper": paper}


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Pre-train, measure on the test split, draw, and save ``config.fit.out / "checkpoint"`` with its card.

    Raises:
        SemeiaError: No data, or data without a train split.
    """
    folders = open_faces(config.data, progress=progress)
    sets = mixture("face_mae", folders, config.shares)
    torch.manual_seed(config.fit.seed)
    model = face_mae.build(config.model)
    feed = FaceFeed(
        sets,
        batch_size=config.batch_size,
        image_size=config.model.image_size,
        vocabulary=no_labels(folders),
        augmentation=config.augmentation,
        aligned=config.aligned,
        margins=config.margins,
        seed=config.fit.seed,
    )
    watched = with_split(folders, "val")
    sheet = Path(config.fit.out) / "reconstructions.png"

    def validate(task: face_mae.FaceMAE) -> dict[str, float]:
        errors, _ = held_out_errors(task, watched, split="val", limit=config.validate, margin=config.margins[0])
        if PartialState().is_main_process:
            draw(task, watched, sheet, split="val", margin=config.margins[0])
        return {"masked error": float(errors.mean())}

    fit(
        model,
        {"main": feed},
        # He et al. shorten the memory of the second moment.
        adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.95)),
        config.fit,
        evaluate=validate if watched else None,
        resume=resume,
        progress=progress,
        workers=config.workers,
        gauged=True,
    )
    out = Path(config.fit.out) / "checkpoint"
    if not PartialState().is_main_process:
        return out
    tested = with_split(folders, "test")
    scores = measure(model, tested, split="test", limit=config.test, margin=config.margins[0]) if tested else []
    draw(model, tested or folders, sheet, split="test" if tested else "train", margin=config.margins[0])
    text = card(config, sets, scores)
    checkpoint.save(out, system="face_mae", config=config.model, state=model.state_dict(), card=text)
    return out


def evaluate(weights: str | Path, data: FaceData, *, split: str = "test", limit: int | None = None) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets."""
    model, _ = checkpoint.load(weights, system="face_mae", kind=face_mae.Config, build=face_mae.build)
    return measure(model, open_split(data, split), split=split, limit=limit, margin=Config().margins[0])


def load_prior(
    backbone: Stages,
    weights: str | Path,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> list[str]:
    """Start the backbone of another system from a trained prior; see ``systems.face_mae.copy_encoder``.

    Args:
        backbone: Built with the settings of the prior's.
        weights: A ``face_mae`` checkpoint folder, or the name of bundled weights.
        mean: Channel means that the other system normalises with, to be compared where given.
        std: Channel deviations, likewise.

    Returns:
        The names of the tensors that were loaded.

    Raises:
        SemeiaError: No such checkpoint, or its encoder is built otherwise; ``backbone`` is unchanged.
    """
    prior, name = checkpoint.load(weights, system="face_mae", kind=face_mae.Config, build=face_mae.build)
    try:
        return face_mae.copy_encoder(prior, backbone, mean=mean, std=std)
    except SemeiaError as error:
        raise SemeiaError(f"{name}: {error}") from error


# ---------------------------------------------------------------------------------------------------------------------
# Data


def no_labels(folders: Sequence[Faces]) -> Vocabulary:
    """A vocabulary that asks for nothing; it knows the folders' own expressions, so that none is refused for them."""
    names = {str(name) for folder in folders for name in folder.columns.texts["expression"] if name is not None}
    return Vocabulary(expressions=tuple(sorted(names)), action_units=(), attributes=())


def held_out(
    model: face_mae.FaceMAE, folder: Faces, *, split: str, limit: int | None, margin: float
) -> Iterator[tuple[Tensor, Tensor]]:
    """Aligned crops of a split on the model's device, and noise that hides the same patches at every call."""
    device, generator = model.mean.device, torch.Generator().manual_seed(0)
    batches = evaluation_batches(
        folder,
        split=split,
        view="aligned",
        image_size=model.config.image_size,
        vocabulary=no_labels([folder]),
        margin=margin,
        limit=limit,
    )
    for batch in batches:
        image = batch["image"]
        noise = torch.rand(len(image), model.grid[0] * model.grid[1], generator=generator)
        yield image.to(device), noise.to(device)


# ---------------------------------------------------------------------------------------------------------------------
# Measuring and drawing


@torch.no_grad()
def held_out_errors(
    model: face_mae.FaceMAE, folders: Sequence[Faces], *, split: str, limit: int | None, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) error of each image of a split over its hidden patches, and the (n,) identities.

    With standardised pixels, who draws each hidden patch in one colour has an error of 1.
    """
    errors: list[np.ndarray] = []
    people: list[str] = []
    for number, folder in enumerate(folders):
        for row in evaluation_rows(folder, split=split, limit=limit):
            labels = folder.labels(row)
            people.append(f"{number}/{labels.identity or labels.key}")
        for image, noise in held_out(model, folder, split=split, limit=limit, margin=margin):
            errors.append(model.errors(image, noise).float().cpu().numpy())
    return np.concatenate(errors), np.array(people)


def measure(
    model: face_mae.FaceMAE, folders: Sequence[Faces], *, split: str, limit: int | None, margin: float
) -> list[Score]:
    """The error on a split with its interval over identities, in evaluation mode; the mode is left as it was.

    Raises:
        SemeiaError: A folder has no image in the split.
    """
    training = model.training
    model.eval()
    errors, people = held_out_errors(model, folders, split=split, limit=limit, margin=margin)
    model.train(training)
    low, high = bootstrap(lambda i: errors[i].mean(), people, seed=0)
    metric = "squared error of standardised pixels" if model.config.norm_pix else "squared error of normalised pixels"
    value = float(errors.mean())
    return [Score("hidden patches", "all", metric, value, float(low), float(high), count=len(errors))]


def draw(model: face_mae.FaceMAE, folders: Sequence[Faces], file: Path, *, split: str, margin: float) -> None:
    """Draw held-out faces, what the model saw of them, and what it made of that, in evaluation mode."""
    training = model.training
    model.eval()
    image, noise = next(held_out(model, folders[0], split=split, limit=DRAWN, margin=margin))
    columns = (image, *model.reconstruct(image, noise))
    model.train(training)
    tiles = [(c.permute(0, 2, 3, 1).cpu().numpy() * 255).round().astype(np.uint8) for c in columns]
    rows = [tuple(column[i] for column in tiles) for i in range(len(image))]
    write_image(file, picture_grid(rows, ("face", "seen", "reconstruction")))


def card(config: Config, sets: Sequence[FaceSet], scores: Sequence[Score]) -> str:
    """The model card: what the weights learned from, what they were measured on, what they are for."""
    folders = data_flags(config.data)
    flags = "" if config.fit.steps == small().fit.steps else f" --fit.steps {config.fit.steps}"
    names = ("backbone", "image_size", "backbone_width", "backbone_depth", "backbone_heads")
    return CARD.format(
        same=" ".join(f"--model.{name} {getattr(config.model, name)}" for name in names),
        backbone=config.model.backbone,
        size=config.model.image_size,
        hidden=f"{100 * config.model.mask_ratio:.0f} %",
        sizes=" and ".join(f"{len(s.folder.select(s.split)):,} images of {s.folder.folder.name}" for s in sets),
        steps=f"{config.fit.steps:,}",
        batch=config.batch_size,
        seed=config.fit.seed,
        command=f"semeia train face_mae {folders} --out runs/face_mae{flags}",
        table=score_table(scores) if scores else "Nothing: the data have no test split.",
    )


CARD = """# Face MAE
A masked autoencoder on faces: {backbone} at {size} pixels with {hidden} of the patches hidden. It answers no question
about a face; other systems start from its encoder.

## What it learned from
Pictures alone, no labels: {sizes}. {steps} steps of {batch} images, seed {seed}.

```
{command}
```

A system whose backbone has the same settings starts from it by its recipe's `prior`:

```
semeia train qface --data FOLDER --out runs/qface --prior runs/face_mae/checkpoint {same}
```

## What was measured
The split `test`, identities that training never saw; the interval is 95 % over identities. Where pixels are
standardised, an error of 1 is what one colour for each hidden patch gets.

{table}

## What it cannot tell
- A good drawing is no proof of a good start: measure the system that starts from here with and without it.
- It must not be used to fill in or to identify persons.

Licence: Apache-2.0.
"""
