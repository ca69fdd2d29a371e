"""What learned concepts are scored by, and the study of several subjects that scores them.

    proxy     networks of this project that no concept learned from: Q-Face reads drawn pictures and training pictures.
              Its numbers are called proxies and never CLIP-T, CLIP-I or DINO-I; they know heads and nothing else.
    clip      CLIP by name or folder, where the user has it: raw cosines of its text and image embeddings
    dino      the same pictures by DINO; text is then read by the proxy

A study draws the same prompts from the same noise for every way of learning, on persons that the base never saw.

Shapes      N drawn pictures   R training pictures   D width of an embedding   H, W picture
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from semeia.data.captions import colour_word
from semeia.data.formats.faces import FaceFolder
from semeia.diffusion.pipelines import load_library, open_base
from semeia.diffusion.sampling import draw
from semeia.face_sets import FaceData
from semeia.files import whole_file, writable_folder
from semeia.metrics.concepts import ConceptScores, concept_scores, foreground, text_alignment
from semeia.predict.concepts import Artist
from semeia.predict.faces import FaceReader
from semeia.recipes import detex as recipe
from semeia.records import FaceReading, SemeiaError
from semeia.systems import detex
from semeia.train.loop import Fit

PROMPTS = (
    "photo of a {} smiling",
    "photo of a {} looking angry",
    "photo of a {} looking surprised",
    "photo of a {} with closed eyes",
    "photo of a {} wearing glasses",
    "photo of a {} wearing a hat",
    "photo of a {} wearing a mask",
    "photo of a {} in a dark green background",
    "photo of a {} in a white background",
    "photo of a {} in a light blue background",
)
"""Of a study; ``{}`` is the subject. Chosen before anything was run, from what the face world shows."""

ASKED = {
    "smiling": ("attributes", "Smiling"), "glasses": ("attributes", "Eyeglasses"), "hat": ("attributes", "Wearing_Hat"),
    "mask": ("attributes", "Mask"), "closed eyes": ("action_units", "AU43"), "angry": ("expression", "anger"),
    "surprised": ("expression", "surprise"), "happy": ("expression", "happiness"), "sad": ("expression", "sadness"),
    "afraid": ("expression", "fear"), "disgusted": ("expression", "disgust"),
}  # fmt: skip
"""What is read of a face, by word of a prompt: field of ``FaceReading``, and name in it."""

_BEHIND = re.compile(r"\b(?:in|with) (?:a )?((?:dark |light )?[a-z]+) background")


class Encoder(Protocol):
    """What scores are taken by."""

    name: str
    """Beside every number."""
    scale: str
    """What its numbers are."""

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(N, D) of pictures (H, W, 3) uint8."""
        ...

    def alignment(self, pictures: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """(N,) how well each picture shows its prompt."""
        ...


# ---------------------------------------------------------------------------------------------------------------------
# Proxies


class Proxy:
    """Q-Face in place of CLIP and DINO.

    ``embed`` is the mean of its tokens over the whole picture, background and all. ``alignment`` is the mean of what it
    reads of the things that the prompt asks for, each in [0, 1]; a picture without a face shows none of those that are
    read in faces. Backgrounds are read as the colour of the upper border.
    """

    name, scale = "proxy: Q-Face", "raw cosine of mean tokens; text: mean of readings in [0, 1]"

    def __init__(self, reader: FaceReader) -> None:
        self.reader = reader

    @torch.no_grad()
    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(N, D)."""
        model, side = self.reader.model, self.reader.model.config.image_size
        batches = as_batch(pictures, side).split(64)
        return np.concatenate([model.fused(b.to(self.reader.device))[0].mean(1).float().cpu().numpy() for b in batches])

    def alignment(self, pictures: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """(N,); NaN where a prompt asks for nothing that is read."""
        return np.array([self._shown(picture, words) for picture, words in zip(pictures, prompts, strict=True)])

    def _shown(self, picture: np.ndarray, words: str) -> float:
        faces = self.reader.read(enlarged(picture)) if asked_of_faces(words) else ()
        return shown(words, faces[0] if faces else None, border_colour(picture))


def asked_of_faces(prompt: str) -> list[tuple[str, str]]:
    """What a prompt asks for that is read in a face: values of ``ASKED``."""
    return [what for word, what in ASKED.items() if re.search(rf"\b{word}\b", prompt)]


def shown(prompt: str, face: FaceReading | None, border: tuple[float, float, float]) -> float:
    """Mean reading of what a prompt asks for; NaN where it asks for nothing that is read.

    Args:
        prompt: In words of ``data.captions``.
        face: The reading; None where no face was found, which shows nothing.
        border: Colour of the background, 0-255.
    """
    read = [0.0 if face is None else _reading(face, kind, name) for kind, name in asked_of_faces(prompt)]
    for colour in _BEHIND.findall(prompt):
        asked, found = colour.split(), colour_word(*border).split()
        read.append(sum(word in found for word in asked) / len(asked))
    return float(np.mean(read)) if read else float("nan")


def _reading(face: FaceReading, kind: str, name: str) -> float:
    if kind == "action_units":
        return face.action_units[name].probability if name in face.action_units else 0.0
    return float(getattr(face, kind).get(name, 0.0))


def border_colour(picture: np.ndarray) -> tuple[float, float, float]:
    """Median colour of the upper border of a portrait (H, W, 3): of its top and of the upper halves of its sides."""
    height, width = picture.shape[:2]
    wide = max(1, width // 12)
    strips = (picture[:wide], picture[: height // 2, :wide], picture[: height // 2, -wide:])
    red, green, blue = np.median(np.concatenate([strip.reshape(-1, 3) for strip in strips]), axis=0)
    return float(red), float(green), float(blue)


def enlarged(picture: np.ndarray, *, least: int = 256) -> np.ndarray:
    """A picture that the face finder can work with, however small it was drawn."""
    height, width = picture.shape[:2]
    factor = max(1, -(-least // min(height, width)))
    if factor == 1:
        return picture
    size = (width * factor, height * factor)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def as_batch(
    pictures: Sequence[np.ndarray], side: int, *, resize: int | None = None,
    mean: Sequence[float] = (0, 0, 0), std: Sequence[float] = (1, 1, 1),
) -> Tensor:  # fmt: skip
    """Pictures (H, W, 3) uint8 of any size as ``(N, 3, side, side)``: shorter side resized, middle cut out, normalised.

    Args:
        pictures: At least one.
        side: Of what is cut out.
        resize: Length of the shorter side before that; ``side`` by default.
        mean: Of channels in [0, 1].
        std: Of channels in [0, 1].
    """
    made = []
    for picture in pictures:
        x = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255  # (1, 3, H, W)
        factor = (resize or side) / min(x.shape[-2:])
        size = [max(side, round(length * factor)) for length in x.shape[-2:]]
        x = F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        made.append(x[..., top : top + side, left : left + side])
    normal = (torch.cat(made) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    return normal


# ---------------------------------------------------------------------------------------------------------------------
# Real encoders, where the user has them


class Clip:
    """CLIP by name or folder; DETEX's and Custom Diffusion's tables are those of ``openai/clip-vit-base-patch32``.

    Raises:
        SemeiaError: It cannot be loaded.
    """

    scale = "raw cosine"

    def __init__(self, name: str = "openai/clip-vit-base-patch32") -> None:
        _, transformers = load_library()
        self.name = f"CLIP {name}"
        self.model = _opened(transformers.CLIPModel, name, use_safetensors=True)
        self.tokenizer = _opened(transformers.AutoTokenizer, name)

    @torch.no_grad()
    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(N, D), bicubic and cut from the middle as CLIP's own preprocessing."""
        side = self.model.config.vision_config.image_size
        mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
        parts = as_batch(pictures, side, mean=mean, std=std).split(32)
        found = [self.model.visual_projection(self.model.vision_model(pixel_values=p).pooler_output) for p in parts]
        return torch.cat(found).numpy()

    @torch.no_grad()
    def alignment(self, pictures: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """(N,) cosines."""
        length = self.model.config.text_config.max_position_embeddings
        ids = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids
        said = self.model.text_projection(self.model.text_model(input_ids=ids).pooler_output)
        return text_alignment(self.embed(pictures), said.numpy())


class Dino:
    """DINO by name or folder, for pictures; prompts are read by the proxy.

    Raises:
        SemeiaError: It cannot be loaded.
    """

    def __init__(self, proxy: Proxy, name: str = "facebook/dino-vits16") -> None:
        _, transformers = load_library()
        self.name, self.proxy = f"DINO {name}", proxy
        self.scale = f"raw cosine; text: {proxy.name}"
        self.model = _opened(transformers.AutoModel, name, use_safetensors=True)

    @torch.no_grad()
    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(N, D): the class token; shorter side 256, middle 224, as Custom Diffusion's evaluation code."""
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        parts = as_batch(pictures, 224, resize=256, mean=mean, std=std).split(32)
        return torch.cat([self.model(pixel_values=p).last_hidden_state[:, 0] for p in parts]).numpy()

    def alignment(self, pictures: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """(N,), by the proxy."""
        return self.proxy.alignment(pictures, prompts)


def _opened(kind: Any, name: str, **options: Any) -> Any:
    try:
        found = kind.from_pretrained(name, **options)
    except Exception as error:  # whatever a damaged folder or a missing network makes the library raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SemeiaError(
            f"encoder {name!r}: cannot be loaded ({first}); expected a folder in transformers' layout with safetensors "
            "weights, or a name that can be downloaded; the encoder 'proxy' needs neither"
        ) from error
    return found.eval() if isinstance(found, torch.nn.Module) else found


def open_encoder(name: str) -> Encoder:
    """``proxy``, ``clip``, ``dino``, ``clip:NAME`` or ``dino:NAME`` with a name or folder in transformers' layout.

    Raises:
        SemeiaError: Another name, or an encoder that cannot be loaded.
    """
    kind, _, where = name.partition(":")
    if kind == "clip":
        return Clip(where) if where else Clip()
    if kind in ("proxy", "dino"):
        proxy = Proxy(FaceReader.load(engine="torch"))
        if kind == "proxy" and not where:
            return proxy
        if kind == "dino":
            return Dino(proxy, where) if where else Dino(proxy)
    raise SemeiaError(f"encoder {name!r}: expected proxy, clip, dino, clip:NAME or dino:NAME")


def score(
    encoder: Encoder, pictures: Sequence[np.ndarray], prompts: Sequence[str], *, references: Sequence[np.ndarray],
    masks: Sequence[np.ndarray], fill: int = 255,
) -> ConceptScores:  # fmt: skip
    """Scores of drawn pictures.

    Args:
        encoder: Whose embeddings.
        pictures: N drawn ones (H, W, 3) uint8, whole.
        prompts: N, with the class word where the learned word was.
        references: R training pictures.
        masks: R, (H, W) in [0, 1], 1 on the subject.
        fill: Grey that the background of foreground references is painted in.

    Raises:
        SemeiaError: There is nothing to score, or not a prompt for every picture, or a mask for every reference.
    """
    if not pictures or not references:
        raise SemeiaError(f"expected drawn and training pictures, found {len(pictures)} and {len(references)}")
    if len(pictures) != len(prompts) or len(references) != len(masks):
        raise SemeiaError(
            f"expected a prompt for each of {len(pictures)} pictures and a mask for each of {len(references)} training "
            f"pictures, found {len(prompts)} and {len(masks)}"
        )
    cut = [foreground(picture, mask, fill=fill) for picture, mask in zip(references, masks, strict=True)]
    return concept_scores(
        encoder.embed(pictures), encoder.alignment(pictures, prompts), encoder.embed(references), encoder.embed(cut)
    )


# ---------------------------------------------------------------------------------------------------------------------
# A study of several subjects


@dataclass(frozen=True)
class Study:
    """Which way of learning is scored, on whom, and by what."""

    model: detex.Config = field(default_factory=lambda: recipe.small().model)
    """The system or one of ``systems.detex.ARMS`` at the recipe's sizes and rates (``predict.concepts.with_arm``)."""
    data: FaceData = field(default_factory=FaceData)
    """Faces with regions; subjects are persons of the split ``test``."""
    base: str = "face_diffusion"
    """What concepts are learned on."""
    encoder: str = "proxy"
    """See ``open_encoder``."""
    subjects: int = 5
    """Persons."""
    photos: int = 4
    """Training pictures of each."""
    prompts: tuple[str, ...] = PROMPTS
    """``{}`` is the subject."""
    noises: int = 4
    """Seeds of each prompt."""
    batch_size: int = 4
    """Photos a step."""
    learning_rate: float = 2e-4
    """As in the recipe."""
    class_images: int = 32
    """Pictures of the class, drawn once for all."""
    sample_steps: int = 15
    """Of DDIM."""
    guidance: float = 6.0
    """Of drawing. [Custom Diffusion's sample.py]"""
    fit: Fit = field(default_factory=Fit)
    """Of every concept; ``out`` holds them all."""


@dataclass(frozen=True)
class Subject:
    """A person of the study: its photos (H, W, 3) uint8 and masks (H, W), what it is, and the files of both."""

    name: str
    class_word: str
    photos: tuple[np.ndarray, ...]
    masks: tuple[np.ndarray, ...]
    folder: Path


def held_out(study: Study, folder: Path) -> list[Subject]:
    """The first persons of the test split with enough photos, written as files below ``folder``.

    Raises:
        SemeiaError: No folder in the face format, photos without regions, or too few persons.
    """
    found: list[Subject] = []
    for faces in (FaceFolder(each) for each in study.data.faces):
        rows = faces.select("test")
        people = faces.columns.texts["identity"][rows]
        for person in dict.fromkeys(name for name in people if name is not None):
            own = rows[people == person][: study.photos]
            if len(own) < study.photos or len(found) == study.subjects:
                continue
            regions = [faces.mask(row) for row in own]
            if any(mask is None for mask in regions):
                raise SemeiaError(f"{faces.folder}: photos of {person} have no region masks; name a folder of "
                                  "'semeia make faces'")  # fmt: skip
            masks = tuple((mask != 0).astype(np.float32) for mask in regions if mask is not None)
            word = {1: "man", 0: "woman"}.get(faces.labels(own[0]).attributes.get("Male", -1), "person")
            photos = tuple(faces.image(row) for row in own)
            place = folder / re.sub(r"[^a-z0-9]+", "-", person.lower())
            _write_photos(place, photos, masks)
            found.append(Subject(person, word, photos, masks, place))
    if len(found) < study.subjects:
        named = ", ".join(study.data.faces) or "no folder"
        raise SemeiaError(f"{named}: expected {study.subjects} persons with {study.photos} photos each in the split "
                          f"test of folders in the face format, found {len(found)}")  # fmt: skip
    return found


def _write_photos(place: Path, photos: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> None:
    beside = writable_folder(f"{place}_mask")
    for number, (photo, mask) in enumerate(zip(photos, masks, strict=True), start=1):
        for folder, picture in ((writable_folder(place), photo), (beside, (mask * 255).astype(np.uint8))):
            with whole_file(folder / f"{number}.png") as part:
                Image.fromarray(picture).save(part)


def learn(study: Study, subject: Subject, classes: Path) -> Path:
    """Learn a subject as the study says, or go on with it; the folder of its words.

    Args:
        study: How.
        subject: Whom.
        classes: Folder of class pictures, which all ways of learning share; drawn where they are missing.
    """
    out = Path(study.fit.out) / subject.folder.name
    config = recipe.Config(
        model=study.model, data=recipe.PhotoData((str(subject.folder),), masks=f"{subject.folder}_mask"),
        class_word=subject.class_word, trigger="<subject>", base=study.base, batch_size=study.batch_size,
        learning_rate=study.learning_rate, samples=(), guidance=study.guidance, sample_steps=study.sample_steps,
        class_images=study.class_images, class_folder=_class_pictures(study, subject.class_word, classes),
        fit=replace(study.fit, out=str(out), eval_every=study.fit.steps),
    )  # fmt: skip
    return recipe.train(config, progress=False)


def _class_pictures(study: Study, word: str, classes: Path) -> str | None:
    if not study.class_images or not study.model.prior_weight:
        return None
    folder = writable_folder(classes / word)
    missing = [seed for seed in range(study.class_images) if not (folder / f"{seed:04d}.png").exists()]
    pipeline = open_base(study.base) if missing else None
    for seed in missing:
        made = draw(pipeline, f"photo of a {word}", seed=10_000 + seed, steps=study.sample_steps,
                    guidance=study.guidance)  # fmt: skip
        with whole_file(folder / f"{seed:04d}.png") as part:
            Image.fromarray(made.image).save(part)
    return str(folder)


def attention_overlap(folder: Path) -> float:
    """Of the subject's word with the mask, as the training logged it last; NaN where it did not.

    Args:
        folder: Of the run.
    """
    value = float("nan")
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        value = json.loads(line).get("eval/overlap of attention with the subject", value)
    return float(value)


@dataclass(frozen=True)
class Drawing:
    """What a concept drew of the study's prompts: pictures, prompts with the class word, and the numbers of prompts."""

    pictures: tuple[np.ndarray, ...]
    prompts: tuple[str, ...]
    numbers: tuple[int, ...]


def drawn(
    study: Study, subject: Subject, concept: Path, *, pose_of_photo: bool = False, background_of_photo: bool = False
) -> Drawing:
    """Every prompt of a study from every noise.

    Args:
        study: Which prompts.
        subject: Who.
        concept: What ``learn`` gave.
        pose_of_photo: Add the pose's word of a photo: prompt k takes photo k, beginning anew past the last one.
        background_of_photo: Likewise the background's.
    """
    artist = Artist.load(concept, study.base)
    pictures, prompts, numbers = [], [], []
    for number, text in enumerate(study.prompts):
        photo = number % len(subject.photos) + 1
        made = artist.draw(
            text.replace("{}", "<subject>"), seeds=range(study.noises), steps=study.sample_steps,
            guidance=study.guidance, sampler="ddim", pose_of=photo if pose_of_photo else None,
            background_of=photo if background_of_photo else None,
        )  # fmt: skip
        pictures += [each.image for each in made]
        prompts += [text.replace("{}", subject.class_word)] * len(made)
        numbers += [number] * len(made)
    return Drawing(tuple(pictures), tuple(prompts), tuple(numbers))
