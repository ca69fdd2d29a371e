"""DETEX: from a few photos of a subject to words that draw it.

    semeia concept learn PHOTOS --class dog --out runs/rex
    semeia train detex --scale paper --data PHOTOS --class_word dog --base OWNER/MODEL --out runs/rex

    photos, masks -> squares -> latents and image features, once -> fit (the base is frozen but for what is tuned)
    -> words and tuned weights as files of other tools

``smoke`` runs in under a minute on a tiny base, ``small`` is for two cores and the bundled base, ``paper`` is for a
Stable-Diffusion-1.5-class base on a GPU; its values are Custom Diffusion's, for the paper's could not be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from semeia.data.photos import Latents, PhotoFeed, PhotoSquares, squares
from semeia.diffusion import pipelines
from semeia.diffusion.export import Concept, kv_names, save_concept
from semeia.diffusion.sampling import Drawn, draw
from semeia.diffusion.words import class_word, ordinary, stem, trigger_word
from semeia.files import whole_file, writable_folder, write_whole
from semeia.media.drawings import write_grid
from semeia.media.images import find_images, read_image
from semeia.media.subject_masks import check_mask, face_mask, read_masks, salient_mask, write_mask_sheet
from semeia.records import SemeiaError
from semeia.systems import detex
from semeia.train import launch
from semeia.train.loop import Fit, fit
from semeia.train.optimisers import adamw

MOST_PHOTOS = 200
"""More are a data set, not a subject."""
Say = Callable[[str], None]


@dataclass(frozen=True)
class PhotoData:
    """Photos of one subject, and where it is in them."""

    PLAIN: ClassVar[str] = "photos"
    """The field that folders without a name go to."""

    photos: tuple[str, ...] = ()
    """Files or folders; a photo's number is its place in them, from 1."""
    masks: str = "auto"
    """A folder of masks; ``face``, ``salient`` or ``none``; ``auto``: the folder ``PHOTOS_mask`` where it is there,
    faces where every photo has one, what stands out where none has."""


@dataclass(frozen=True)
class Config:
    """What is learned, from what, on which base."""

    model: detex.Config = field(default_factory=detex.Config)
    """Words, losses, what is tuned. ``systems.detex.ARMS`` has baselines and ablations."""
    data: PhotoData = field(default_factory=PhotoData)
    """Photos and masks."""
    class_word: str = ""
    """What the subject is, such as ``dog``."""
    trigger: str | None = None
    """Its word, such as ``<rex>``; by default the name of the run's folder in angle brackets."""
    base: str = "face_diffusion"
    """A diffusers folder, a bundled base, or a name on the Hub; of the Stable-Diffusion-1.5 class."""
    image_encoder: str | None = None
    """Of the mappers, a CLIP image encoder by name or folder; the base's own by default."""
    resolution: int | None = None
    """Pixels along a square; the base's own by default."""
    batch_size: int = 4
    """Photos a step and process; as many class pictures go with them."""
    learning_rate: float = 4e-5
    """Constant, of K and V; ``model.word_rate`` and ``model.mapper_rate`` are relative to it."""
    weight_decay: float = 0.01
    """Of AdamW; words have none."""
    class_images: int = 200
    """Pictures of the class that the base draws, to keep what it knows of others; 0 for none."""
    class_folder: str | None = None
    """Pictures of the class that are there already, in place of drawn ones."""
    samples: tuple[str, ...] = ("photo of a {}", "photo of a {} in a garden", "a drawing of a {}")
    """Prompts of the sample grid; ``{}`` is the subject's word with its class."""
    sample_steps: int = 25
    """Of the sampler, for samples and class pictures."""
    guidance: float = 6.0
    """Of samples and class pictures."""
    fit: Fit = field(default_factory=Fit)
    """Length, intervals, clipping."""


def smoke() -> Config:
    """A few steps: everything runs, nothing is learned."""
    how = Fit(steps=4, log_every=2, eval_every=4, save_every=2)
    model = detex.Config(mapper_width=16)
    return Config(model=model, batch_size=2, class_images=2, samples=("photo of a {}",), sample_steps=2, fit=how)


def small() -> Config:
    """Two cores and the bundled base."""
    how = Fit(steps=400, log_every=20, eval_every=200, save_every=100)
    model = detex.Config(mapper_width=256, word_rate=5.0)
    return Config(model=model, learning_rate=2e-4, class_images=32, fit=how)


def paper() -> Config:
    """Stable Diffusion at 512 pixels on a GPU: 500 steps of 4 photos, 200 class pictures, after Custom Diffusion."""
    return Config(resolution=512, fit=Fit(steps=500, log_every=10, eval_every=250, save_every=100))


SCALES = {"smoke": smoke, "small": small, "paper": paper}


def train(
    config: Config, *, base: Any = None, resume: bool = True, progress: bool = True, say: Say | None = None
) -> Path:
    """Learn a concept and write it to ``config.fit.out / "checkpoint"``.

    Args:
        config: See ``Config``.
        base: A pipeline object in place of ``config.base``; it is copied.
        resume: Go on from a state below ``config.fit.out``.
        progress: Show progress on stderr.
        say: Told, in a sentence each, what was assumed and where to look before training begins.

    Raises:
        SemeiaError: No photos, no subject in them, masks that cannot be right, a trigger that the base knows, a base
            of another class, or a folder of another concept's training.
    """
    notes: list[str] = []

    def tell(text: str) -> None:
        notes.append(text)
        if say is not None:
            say(text)

    out = writable_folder(config.fit.out)
    subject = class_word(config.class_word)
    files, photos, masks = open_photos(config.data, tell)
    pipeline = pipelines.open_base(config.base if base is None else base)
    trigger = trigger_word(config.trigger or f"<{_name(out)}>", pipeline.tokenizer)
    if ordinary(trigger, pipeline.tokenizer):
        tell(f"{stem(trigger)!r} is an ordinary word too: tools that go by file names (A1111) will read every "
             f"{stem(trigger)!r} as this subject; --trigger names another")  # fmt: skip
    latent = pipelines.latent_side(pipeline, config.resolution)
    side = latent * pipelines.scale_factor(pipeline)
    made = squares(photos, masks, [file.name for file in files], side)
    engine = launch.accelerator(precision=config.fit.precision)
    _claim(out, config, files=files, trigger=trigger, side=side, pipeline=pipeline, resume=resume)
    if engine.is_main_process:
        write_mask_sheet(out / "masks.png", _bytes(made.images), list(made.masks.numpy()))
        tell(f"look at {out / 'masks.png'}: what is taken for the subject in each photo")
    pipeline.to(engine.device)

    mean, deviation = pipelines.latent_moments(pipeline, made.images)
    cover = torch.nn.functional.adaptive_avg_pool2d(made.masks[:, None], latent)[:, 0]
    with engine.main_process_first():
        prior = class_pictures(config, pipeline, subject, side=side, out=out, progress=progress)
    features = photo_features(config, pipeline, made)
    before = {name: pipeline.unet.get_parameter(name).detach().cpu().clone() for name in kv_names(pipeline.unet)}
    torch.manual_seed(config.fit.seed)
    task = detex.build(
        config.model, pipeline=pipeline, class_word=subject, trigger=trigger, features=features, photos=len(files),
        latent_side=latent, seed=config.fit.seed,
    )  # fmt: skip
    feed = PhotoFeed(
        Latents(mean, deviation, cover), config.model.joint, batch_size=config.batch_size, prior=prior,
        seed=config.fit.seed,
    )  # fmt: skip

    def evaluate(current: detex.DETEX) -> dict[str, float]:
        if engine.is_main_process:
            write_samples(out / "samples.png", current, config, subject, side=side)
        device = current.subject.device
        return {
            "overlap of attention with the subject": float(current.overlap(mean.to(device), cover.to(device)).mean())
        }

    optimizers = adamw(task, lr=config.learning_rate, weight_decay=config.weight_decay)
    scores = fit(
        task, {"main": feed}, optimizers, config.fit, evaluate=evaluate, resume=resume, accelerator=engine,
        progress=progress,
    )  # fmt: skip
    if engine.is_main_process:
        concept = concept_of(task, config, files, subject, side=side)
        text = card(config, concept, scores, notes)
        save_concept(out / "checkpoint", concept, processors=pipeline.unet.attn_processors, before=before, card=text)
    return out / "checkpoint"


# -- photos


def open_photos(data: PhotoData, tell: Say) -> tuple[list[Path], list[np.ndarray], list[np.ndarray]]:
    """Photos with their masks: files, pictures (H, W, 3) uint8, masks (H, W) float32.

    Raises:
        SemeiaError: None, too many, two of one name, one that cannot be read, or no subject in one.
    """
    if not data.photos:
        raise SemeiaError("no photos: name files or a folder of three to ten photos of one subject")
    files = find_images(data.photos)
    if len(files) > MOST_PHOTOS:
        raise SemeiaError(f"{len(files)} photos: expected at most {MOST_PHOTOS} of one subject; three to ten are usual")
    photos = [read_image(file) for file in files]
    if len(files) == 1:
        tell("one photo: nothing tells its subject from its pose and background but the mask; three to ten are better")
    sizes = [photo.shape[:2] for photo in photos]
    beside = Path(data.photos[0].rstrip("/") + "_mask")
    if data.masks == "none":
        return files, photos, [np.ones(size, np.float32) for size in sizes]
    if data.masks not in ("auto", "face", "salient"):
        return files, photos, read_masks(data.masks, files, sizes)
    if data.masks == "auto" and len(data.photos) == 1 and beside.is_dir():
        tell(f"masks are read from {beside}")
        return files, photos, read_masks(beside, files, sizes)
    masks = None if data.masks == "salient" else _of_faces(files, photos, tell, needed=data.masks == "face")
    if masks is None:
        masks = [salient_mask(photo, source=str(file)) for file, photo in zip(files, photos, strict=True)]
        tell("masks are what stands out against each photo's border")
    return files, photos, masks


def _of_faces(
    files: Sequence[Path], photos: Sequence[np.ndarray], tell: Say, *, needed: bool
) -> list[np.ndarray] | None:
    """Masks around the largest face of each photo; None where no photo has one and none is needed."""
    from semeia.nn.face_finder import FaceFinder

    try:
        finder = FaceFinder()
    except SemeiaError as error:
        if needed:
            raise
        tell(f"faces are not looked for ({error})")
        return None
    found = [finder.find(photo) for photo in photos]
    without = [file.name for file, faces in zip(files, found, strict=True) if not faces]
    if len(without) == len(files) and not needed:
        return None
    if without:
        raise SemeiaError(f"{', '.join(without[:5])}: no face found, though masks are to be those of faces; leave them "
                          "out, or say --masks salient, --masks none, or a folder")  # fmt: skip
    if several := [file.name for file, faces in zip(files, found, strict=True) if len(faces) > 1]:
        tell(f"several faces in {', '.join(several[:5])}: the largest one is taken")
    tell("masks are the heads around faces")
    masks = [face_mask(faces[0], photo.shape[:2]) for faces, photo in zip(found, photos, strict=True)]
    for file, mask in zip(files, masks, strict=True):
        check_mask(mask, source=f"{file}: the face in it")
    return masks


def photo_features(config: Config, pipeline: Any, made: PhotoSquares) -> Tensor | None:
    """What the image encoder says of each photo; None where no mapper reads it.

    Raises:
        SemeiaError: There is no image encoder.
    """
    if not config.model.attributes or config.model.attributes_from == "free":
        return None
    encoder = pipelines.open_image_encoder(pipeline, config.image_encoder).to(pipeline.device)
    return pipelines.image_features(pipeline, encoder, made.images)


def class_pictures(
    config: Config, pipeline: Any, subject: str, *, side: int, out: Path, progress: bool
) -> Latents | None:
    """Latents of class pictures, of a folder or drawn by the base, which are kept; None where they do not count."""
    if not config.model.prior_weight or not (config.class_images or config.class_folder):
        return None
    if config.class_folder:
        files = find_images([config.class_folder])
    else:
        files = _draw_class(config, pipeline, subject, side=side, folder=out / "class_images", progress=progress)
    photos = [read_image(file) for file in files]
    made = squares(photos, [np.ones(p.shape[:2], np.float32) for p in photos], [f.name for f in files], side)
    mean, deviation = pipelines.latent_moments(pipeline, made.images)
    return Latents(mean, deviation, torch.ones_like(mean[:, 0]))


def _draw_class(config: Config, pipeline: Any, subject: str, *, side: int, folder: Path, progress: bool) -> list[Path]:
    from rich.console import Console
    from rich.progress import track

    writable_folder(folder)
    # Those that the base's safety checker takes away are drawn again with other seeds, up to as many times more.
    files: list[Path] = []
    seeds = range(1_000_000 * (1 + config.fit.seed), 1_000_000 * (1 + config.fit.seed) + 2 * config.class_images)
    for seed in track(seeds, "class pictures", console=Console(stderr=True), transient=True, disable=not progress):
        if len(files) == config.class_images:
            break
        file = folder / f"{seed:08d}.png"
        if not file.exists():
            drawn = draw(
                pipeline, f"photo of a {subject}", seed=seed, steps=config.sample_steps, guidance=config.guidance,
                side=side,
            )  # fmt: skip
            if drawn.flagged:
                continue
            with whole_file(file) as part:
                Image.fromarray(drawn.image).save(part)
        files.append(file)
    if not files:
        raise SemeiaError(
            f"the base's safety checker took every picture of a {subject} away; name --class_folder FOLDER"
        )
    return files


# -- what comes out


def concept_of(task: detex.DETEX, config: Config, files: Sequence[Path], subject: str, *, side: int) -> Concept:
    """What was learned, apart from the base."""
    return Concept(
        trigger=task.trigger, class_word=subject, words={w: v.float().cpu() for w, v in task.learned_words().items()},
        base=config.base, fingerprint=pipelines.fingerprint(task.pipeline), side=side,
        photos=tuple(file.name for file in files), attributes=config.model.attributes,
        attribute_words=config.model.attribute_words, kind=config.model.tuned,
        tuned={name: tensor.float().cpu() for name, tensor in task.tuned_state().items()},
    )  # fmt: skip


def write_samples(path: Path, task: detex.DETEX, config: Config, subject: str, *, side: int) -> None:
    """A grid of what the words draw now, two seeds a prompt."""
    told = [text.replace("{}", f"{task.trigger} {subject}") for text in config.samples]
    words, seeds = task.learned_words(), (0, 1)

    def one(text: str, seed: int) -> Drawn:
        return draw(
            task.pipeline, text, seed=seed, steps=config.sample_steps, guidance=config.guidance, side=side, words=words
        )

    if told:
        rows = [[one(text, seed).image for seed in seeds] for text in told]
        settings = {"base": config.base, "steps": config.sample_steps, "guidance": config.guidance}
        write_grid(path, rows, prompts=told, seeds=seeds, settings=settings)


def card(config: Config, concept: Concept, scores: dict[str, float], notes: Sequence[str]) -> str:
    """What the concept is, in Markdown."""
    tuned = {"none": "nothing", "kv": "K and V of cross-attention", "unet": "the whole U-Net"}[concept.kind]
    return CARD.format(
        trigger=concept.trigger, subject=concept.class_word, photos=len(concept.photos), base=concept.base,
        width=concept.width, side=concept.side, tuned=tuned, steps=config.fit.steps, batch=config.batch_size,
        seed=config.fit.seed, words="\n".join(f"- `{word}`" for word in concept.words),
        notes="\n".join(f"- {note}" for note in notes) or "- none",
        scores="\n".join(f"- {name}: {value:.3f} (on the photos it learned from)" for name, value in scores.items()),
    )  # fmt: skip


def _name(out: Path) -> str:
    return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in out.resolve().name).lower().split())


def _bytes(images: Tensor) -> list[np.ndarray]:
    return list((images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def _claim(
    out: Path, config: Config, *, files: Sequence[Path], trigger: str, side: int, pipeline: Any, resume: bool
) -> None:
    """Note what this folder's training learns from; refuse to go on with one of other photos."""
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files]
    now = {
        "trigger": trigger, "class": config.class_word, "photos": hashes, "masks": config.data.masks, "side": side,
        "base": pipelines.fingerprint(pipeline),
    }  # fmt: skip
    file = out / "learned_from.json"
    if resume and file.exists() and any(out.glob("step-*")):
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SemeiaError(f"{file}: cannot be read ({error}); name another --out") from error
        other = [name for name, value in now.items() if before.get(name) != value]
        if other:
            raise SemeiaError(f"{out}: holds a training with another {' and '.join(other)}; name another --out, or "
                              "remove this one")  # fmt: skip
    write_whole(file, json.dumps(now, indent=1).encode())


CARD = """# {trigger}: a {subject} learned from {photos} photos
Draw it with `semeia concept draw "photo of a {trigger} {subject}" --concept FOLDER`, or load the files in other tools
(docs/concepts.md).

- Base: {base} (text of width {width}, {side} pixels); trained of it: {tuned}
- {steps} steps of {batch} photos, seed {seed}

## Words
{words}

## Told before training
{notes}

## Measured
{scores}

## What it cannot do
- It draws; what it draws did not happen. A picture of a person needs that person's consent.
- It knows the subject from {photos} photos and the rest from its base.
"""
