"""DETEX: a subject in one word, its pose and background in others, for text-to-image.

    Paper   Cai, Wei, Ji, Bai, Han, Zuo: Decoupled Textual Embeddings for Customized Image Generation, AAAI 2024,
            arXiv 2312.11826
    Idea    A word learned from a few photos of a subject also learns where it stood and how. Give each photo words of
            its own for its pose and its background, so that the subject's word need not tell of them; leave them out,
            and the subject is free.
    Flow    photo -> image encoder -> pose mapper, background mapper -> two vectors;  one vector for the subject
            "photo of a [V] dog with [P] pose in [B] background" -> text encoder -> K, V of the U-Net's cross-attention
            loss of diffusion + loss of attention: [V] looks at the subject's mask, [B] at the rest
    Known   Words, mappers, prompt, K and V, both losses (docs/systems/detex.md). The released code could not be read:
            body of the mappers, weights, rates, which prompts are drawn and how often are stand-ins.

Shapes      B pictures   N photos   T tokens of a prompt   D width of a token's vector   E, R width and tokens of the
            image encoder   C, h, w latents   s side of the attention maps
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.diffusion.attention_maps import MapReader, map_overlap, word_maps
from semeia.diffusion.export import kv_names
from semeia.diffusion.words import Vocabulary, filled, meaning, rare_meaning, stem
from semeia.records import SemeiaError
from semeia.task import Task

Region = Literal["image", "subject", "background"]
ATTRIBUTES = ("pose", "background")


class Row(NamedTuple):
    """A kind of training prompt: which words it has, and where its loss is taken."""

    subject: bool
    pose: bool
    background: bool
    region: Region


ROWS = (
    Row(True, True, True, "image"),
    Row(True, True, False, "subject"),
    Row(True, False, False, "subject"),
    Row(False, False, True, "background"),
)
"""The joint prompt table; ``Config.joint`` says how often each row is drawn."""


@dataclass(frozen=True)
class Config:
    """What is learned and by which losses; every field says where its default comes from."""

    attributes: tuple[str, ...] = ATTRIBUTES
    """Image-specific words: pose, background, both or none. [paper]"""
    attributes_from: Literal["mappers", "free"] = "mappers"
    """``free``: a vector for each photo, without an image encoder. [paper: mappers]"""
    attribute_words: bool = True
    """Whether "pose" and "background" stand after the learned words. [paper]"""
    learn_subject: bool = True
    """Whether the subject's vector moves; DreamBooth leaves it. [paper]"""
    subject_init: Literal["rare", "class"] = "rare"
    """Where the subject's vector starts: a rare word, or the class. [default: Custom Diffusion]"""
    tuned: Literal["none", "kv", "unet"] = "kv"
    """What is trained of the U-Net: nothing, K and V of cross-attention, all. [paper: K and V]"""
    joint: tuple[float, float, float, float] = (0.5, 0.2, 0.1, 0.2)
    """How often each row of ``ROWS`` is drawn. [INFERRED: that subsets are drawn; default: the shares]"""
    masked: bool = True
    """Take the loss of a row in its region alone. [INFERRED: second-hand note of an appendix]"""
    mask_norm: bool = True
    """Divide by the region's size, so that small subjects count as much. [default: Custom Diffusion]"""
    attention_weight: float = 1e-2
    """Of the attention loss. [default: Break-A-Scene]"""
    attention_words: tuple[str, ...] = ("subject", "background")
    """Words whose maps are led: the subject's to the mask, the background's to the rest. [INFERRED: Figure 2]"""
    attention_side: int = 16
    """The largest maps up to this side are read. [default: Break-A-Scene]"""
    detach_first: bool = True
    """The first token gives K and V no gradient. [default: Custom Diffusion]"""
    prior_weight: float = 1.0
    """Of the loss on class pictures, where there are any. [default: Custom Diffusion]"""
    embedding_weight: float = 0.0
    """Of the mean size of the mappers' vectors. [default: none; ELITE: 0.01]"""
    mapper_width: int = 1024
    """Of the mappers' hidden layers. [default: ELITE]"""
    mapper_tokens: Literal["summary and patches", "summary"] = "summary and patches"
    """What the mappers read of a photo. [default: ELITE]"""
    word_rate: float = 1.0
    """Rate of the subject's and of free vectors, relative to that of K and V. [default: Custom Diffusion]"""
    mapper_rate: float = 2.5
    """Rate of the mappers, likewise. [default: 1e-4 to 4e-5]"""
    tuned_rate: float = 1.0
    """Rate of what is tuned of the U-Net, likewise. [default: Custom Diffusion; DreamBooth: 5e-6]"""


TEXTUAL_INVERSION = Config(
    attributes=(), tuned="none", subject_init="class", joint=(0, 0, 1, 0), masked=False, attention_weight=0.0,
    prior_weight=0.0, word_rate=12.5,
)  # fmt: skip
CUSTOM_DIFFUSION = Config(attributes=(), joint=(0, 0, 1, 0), masked=False, attention_weight=0.0)
DREAMBOOTH = Config(
    attributes=(), tuned="unet", learn_subject=False, joint=(0, 0, 1, 0), masked=False, attention_weight=0.0,
    detach_first=False, tuned_rate=0.125,
)  # fmt: skip
ARMS: dict[str, Config] = {
    "detex": Config(),
    "textual-inversion": TEXTUAL_INVERSION,
    "custom-diffusion": CUSTOM_DIFFUSION,
    "dreambooth": DREAMBOOTH,
    "no-attention-loss": Config(attention_weight=0.0),
    "no-joint-prompts": Config(joint=(1, 0, 0, 0)),
    "no-mappers": Config(attributes_from="free"),
    "no-attribute-words": Config(attribute_words=False),
}
"""The system, its baselines and its ablations."""


class Mapper(nn.Module):
    """From what an image encoder says of a photo to one word.

    Args:
        width: E.
        hidden: Width of two hidden layers.
        start: The vector ``(D,)`` that every photo has at first: that of the attribute's own word. An untouched
            perceptron answers far larger vectors than words have, which wrecks early steps.
        patches: Whether patches are read too.
    """

    def __init__(self, width: int, *, hidden: int, start: Tensor, patches: bool) -> None:
        super().__init__()
        self.summary = _perceptron(width, hidden, start)
        self.patches = _perceptron(width, hidden, torch.zeros_like(start)) if patches else None

    def forward(self, features: Tensor) -> Tensor:
        """``(B, R, E)``, the summary first -> ``(B, D)``."""
        vector = self.summary(features[:, 0])
        return vector if self.patches is None else vector + self.patches(features[:, 1:]).mean(1)


def _perceptron(width: int, hidden: int, start: Tensor) -> nn.Sequential:
    last = nn.Linear(hidden, len(start))
    with torch.no_grad():
        last.weight.mul_(0.01)
        last.bias.copy_(start)
    layers = (nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.LeakyReLU())
    return nn.Sequential(*layers, nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(), last)


class FreeWords(nn.Module):
    """A vector for each photo that no mapper reads from it.

    Args:
        photos: N.
        start: ``(D,)``.
    """

    def __init__(self, photos: int, *, start: Tensor) -> None:
        super().__init__()
        self.vectors = nn.Parameter(start.repeat(photos, 1))


class DETEX(Task):
    """A subject's words in training. The base is no part of its state: what is tuned of it is.

    Args:
        config: See ``Config``.
        pipeline: The base, whose U-Net this task changes.
        class_word: What the subject is.
        trigger: Its word, such as ``<maya>``.
        features: ``(N, R, E)`` of the image encoder; None where no mapper reads them.
        photos: N.
        latent_side: h and w.
        seed: Of the vectors that start at random.
    """

    row_ids: Tensor
    prior_ids: Tensor
    features: Tensor
    alphas: Tensor

    def __init__(
        self,
        config: Config,
        *,
        pipeline: Any,
        class_word: str,
        trigger: str,
        features: Tensor | None,
        photos: int,
        latent_side: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.config, self.trigger, self.photos = config, trigger, photos
        self._base = (pipeline,)  # a tuple, so that its weights are not this module's
        tokenizer, encoder, unet = pipeline.tokenizer, pipeline.text_encoder, pipeline.unet
        self.reader = MapReader(
            unet, latent_side=latent_side, at_most=config.attention_side, detach_first=config.detach_first
        )
        self.marks = {"subject": trigger} | {name: f"<{stem(trigger)}-{name}>" for name in config.attributes}
        vocabulary = Vocabulary(tokenizer, list(self.marks.values()))
        self.numbers = {name: vocabulary.ids[mark] for name, mark in self.marks.items()}
        prompts = [prompt(row, class_word, self.marks, attribute_words=config.attribute_words) for row in ROWS]
        self.register_buffer("row_ids", vocabulary.encode(prompts), persistent=False)
        self.register_buffer("prior_ids", vocabulary.encode([f"photo of a {class_word}"]), persistent=False)
        self.register_buffer("features", features if features is not None else torch.zeros(0), persistent=False)
        self.register_buffer("alphas", _alphas(pipeline.scheduler), persistent=False)

        rare = config.subject_init == "rare"
        start = rare_meaning(tokenizer, encoder, seed=seed) if rare else meaning(class_word, tokenizer, encoder)
        self.subject = nn.Parameter(start.cpu(), requires_grad=config.learn_subject)
        self.attributes = nn.ModuleDict()
        for name in config.attributes:
            word = meaning(name, tokenizer, encoder).cpu()
            self.attributes[name] = (
                FreeWords(photos, start=word)
                if features is None
                else Mapper(features.shape[-1], hidden=config.mapper_width, start=word,
                            patches=config.mapper_tokens == "summary and patches")
            )  # fmt: skip
        places = {"none": [], "kv": kv_names(unet), "unet": [n for n, _ in unet.named_parameters()]}[config.tuned]
        # The U-Net's own parameters: what is trained here is what the U-Net computes with.
        self.tuned = nn.ParameterDict({n.replace(".", "/"): unet.get_parameter(n).requires_grad_() for n in places})

    @property
    def pipeline(self) -> Any:
        """The base, with what was tuned of it so far."""
        return self._base[0]

    # -- the paper's boxes

    def words(self, photo: Tensor) -> dict[str, Tensor]:
        """Vectors of the words of photos.

        Args:
            photo: ``(B,)`` numbers from 0.

        Returns:
            ``subject`` (1, D), and each attribute (B, D).
        """
        found = {"subject": self.subject[None]}
        for name, source in self.attributes.items():
            found[name] = source.vectors[photo] if isinstance(source, FreeWords) else source(self.features[photo])
        return found

    def text(self, ids: Tensor, words: Mapping[str, Tensor]) -> Tensor:
        """Token numbers ``(B, T)`` and vectors of the learned words -> ``(B, T, D)``."""
        with filled(self.pipeline.text_encoder, {self.numbers[name]: v for name, v in words.items()}):
            return self.pipeline.text_encoder(ids)[0]

    def denoise(self, latents: Tensor, noise: Tensor, time: Tensor, states: Tensor) -> tuple[Tensor, Tensor]:
        """Noisy latents through the U-Net.

        Args:
            latents: ``(B, C, h, w)`` as the U-Net reads them.
            noise: As large.
            time: ``(B,)`` steps of the diffusion.
            states: ``(B, T, D)``.

        Returns:
            What the U-Net says and what it should say, each ``(B, C, h, w)``.
        """
        kept = self.alphas[time][:, None, None, None]
        signal, level = kept.sqrt(), (1 - kept).sqrt()
        said = self.pipeline.unet(signal * latents + level * noise, time, encoder_hidden_states=states).sample
        velocity = self.pipeline.scheduler.config.prediction_type == "v_prediction"
        return said.float(), signal * noise - level * latents if velocity else noise

    # -- training

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """The loss of one draw of prompts.

        Args:
            batch: ``mean`` and ``deviation`` (B, C, h, w) of latents, ``mask`` (B, h, w) in [0, 1], ``photo`` (B,),
                ``row`` (B,) of ``ROWS``; ``prior_mean`` and ``prior_deviation`` of class pictures, where there are any.
            loss: There is one, ``main``.
        """
        photo, row, b = batch["photo"], batch["row"], len(batch["photo"])
        ids, words = self.row_ids[row], self.words(photo)
        states = self.text(ids, words)
        mean, deviation = batch["mean"], batch["deviation"]
        if "prior_mean" in batch:
            count = len(batch["prior_mean"])
            mean, deviation = torch.cat([mean, batch["prior_mean"]]), torch.cat([deviation, batch["prior_deviation"]])
            states = torch.cat([states, self.text(self.prior_ids.expand(count, -1), {})])
        latents = mean + deviation * torch.randn_like(mean)
        noise = torch.randn_like(latents)
        time = torch.randint(len(self.alphas), (len(latents),), device=latents.device)
        with self.reader.listen():
            said, wanted = self.denoise(latents, noise, time, states)
        region = regions(row, batch["mask"]) if self.config.masked else torch.ones_like(batch["mask"])
        parts = {"diffusion": denoising_loss(said[:b], wanted[:b], region, normalised=self.config.mask_norm)}
        parts["attention"] = self.attention(self.reader.maps()[:b], ids, batch["mask"])
        total = parts["diffusion"] + self.config.attention_weight * parts["attention"]
        if "prior_mean" in batch:
            parts["prior"] = F.mse_loss(said[b:], wanted[b:])
            total = total + self.config.prior_weight * parts["prior"]
        learned = [words[name] for name in self.config.attributes]
        if learned:
            size = torch.stack([vector.abs().mean() for vector in learned]).mean()
            total = total + self.config.embedding_weight * size
        # Words that no prompt of this batch had: their gradient is zero, not missing.
        total = total + 0.0 * torch.stack([vector.sum() for vector in words.values()]).sum()
        return {"loss": total, **parts}

    def attention(self, maps: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """L_CA of the words in prompts.

        Args:
            maps: ``(B, s, s, T)``.
            ids: ``(B, T)``.
            mask: ``(B, h, w)``.
        """
        small = F.adaptive_avg_pool2d(mask[:, None], maps.shape[1])[:, 0]  # (B, s, s)
        total = maps.new_zeros(())
        for name in self.config.attention_words:
            if name in self.numbers:
                target = small if name == "subject" else 1 - small
                has = (ids == self.numbers[name]).any(1)
                total = total + attention_loss(word_maps(maps, ids, self.numbers[name]), target, has)
        return total

    def groups(self, optimizer: str = "main") -> Iterable[dict[str, Any]]:
        """Words, mappers and what is tuned of the base, each at its own constant rate."""
        c = self.config
        kinds: dict[float, list[tuple[str, nn.Parameter]]] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                word = name == "subject" or name.endswith(".vectors")
                rate = c.word_rate if word else c.mapper_rate if name.startswith("attributes.") else c.tuned_rate
                kinds.setdefault(rate, []).append((name, parameter))
        for rate, named in kinds.items():
            yield {"named_params": named, "lr_scale": rate, "constant": True}

    # -- what was learned

    @torch.no_grad()
    def learned_words(self) -> dict[str, Tensor]:
        """Every word by its name, ``(1, D)`` each: the subject's, then pose and background of photos from 1."""
        found = self.words(torch.arange(self.photos, device=self.subject.device))
        words = {self.trigger: found["subject"].clone()}
        for name in self.config.attributes:
            for number, vector in enumerate(found[name], start=1):
                words[f"<{stem(self.trigger)}-{name}-{number}>"] = vector[None].clone()
        return words

    def tuned_state(self) -> dict[str, Tensor]:
        """Tuned tensors by the U-Net's own names."""
        return {name.replace("/", "."): parameter.detach() for name, parameter in self.tuned.items()}

    @torch.no_grad()
    def overlap(self, mean: Tensor, mask: Tensor, *, share: float = 0.5) -> Tensor:
        """IoU of the map of the subject's word with its mask, ``(N,)``, at noise that is the same at every call.

        Args:
            mean: ``(N, C, h, w)`` latents of the photos.
            mask: ``(N, h, w)``.
            share: Of the diffusion's steps, how far in.
        """
        n = len(mean)
        noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0)).to(mean)
        time = torch.full((n,), int(share * (len(self.alphas) - 1)), device=mean.device)
        ids = self.row_ids[2].expand(n, -1)
        with self.reader.listen():
            self.denoise(mean, noise, time, self.text(ids, {"subject": self.subject[None]}).expand(n, -1, -1))
        maps = word_maps(self.reader.maps(), ids, self.numbers["subject"])
        return map_overlap(maps, F.adaptive_avg_pool2d(mask[:, None], maps.shape[1])[:, 0])


def prompt(row: Row, class_word: str, words: Mapping[str, str], *, attribute_words: bool = True) -> str:
    """A prompt as the paper writes it, such as "photo of a [V] dog with [P] pose in [B] background".

    Args:
        row: Which words it has; those that ``words`` lacks are left out with all that belongs to them.
        class_word: What the subject is.
        words: As they are written: ``subject``, and ``pose`` and ``background`` where there are any.
        attribute_words: Whether "pose" and "background" follow.
    """
    phrases = ["photo of"]
    if row.subject:
        phrases.append(f"a {words['subject']} {class_word}".strip())
    for name, joins, wanted in (("pose", "with", row.pose), ("background", "in", row.background)):
        if wanted and name in words:
            lead = [joins] if row.subject else []
            phrases += [*lead, words[name], *([name] if attribute_words else [])]
    return " ".join(phrases)


def regions(row: Tensor, mask: Tensor) -> Tensor:
    """Where the loss of each picture is taken: ``(B,)`` rows and ``(B, h, w)`` masks -> ``(B, h, w)`` weights."""
    kinds = [ROWS[number].region for number in row.tolist()]
    whole = torch.ones_like(mask[0])
    return torch.stack(
        [whole if k == "image" else m if k == "subject" else 1 - m for k, m in zip(kinds, mask, strict=True)]
    )


def denoising_loss(said: Tensor, wanted: Tensor, region: Tensor, *, normalised: bool) -> Tensor:
    r"""The masked loss of diffusion, :math:`\|m \odot (\epsilon - \epsilon_\theta)\|^2`.

    Args:
        said: ``(B, C, h, w)``.
        wanted: As large.
        region: ``(B, h, w)`` weights in [0, 1].
        normalised: Divide by the weights' sum, each picture by its own; otherwise by the size of the picture.
    """
    error = (said - wanted).square() * (region if normalised else region.square())[:, None]
    if not normalised:
        return error.mean()
    each = error.sum((1, 2, 3)) / (region.sum((1, 2)) * said.shape[1]).clamp(min=1e-6)
    return each.mean()


def attention_loss(maps: Tensor, masks: Tensor, has: Tensor) -> Tensor:
    r"""L_CA of one word as Break-A-Scene writes it, :math:`\mathrm{MSE}(M, A / \max A)`, a mean over pictures.

    Args:
        maps: ``(B, s, s)`` probabilities of the word.
        masks: ``(B, s, s)``; a picture whose mask is empty at this size costs nothing.
        has: ``(B,)`` whether the prompt has the word.
    """
    maps = maps.float()
    highest = maps.amax((1, 2), keepdim=True).clamp(min=1e-6)
    each = (maps / highest - masks).square().mean((1, 2))
    return (each * (has & (masks.amax((1, 2)) > 0))).sum() / len(maps)


def _alphas(scheduler: Any) -> Tensor:
    """Share of the signal at each step of the diffusion."""
    kind = scheduler.config.prediction_type
    if kind not in ("epsilon", "v_prediction"):
        raise SemeiaError(f"the base's scheduler predicts {kind!r}; expected epsilon or v_prediction")
    return scheduler.alphas_cumprod.float().clone()


def build(
    config: Config,
    *,
    pipeline: Any,
    class_word: str,
    trigger: str,
    features: Tensor | None,
    photos: int,
    latent_side: int,
    seed: int = 0,
) -> DETEX:
    """Build the task on a base that it may change; see ``DETEX``.

    Raises:
        SemeiaError: A value that does not fit the others.
    """
    unknown = [name for name in config.attributes if name not in ATTRIBUTES]
    if unknown:
        raise SemeiaError(f"attributes: expected any of {', '.join(ATTRIBUTES)}, found {unknown[0]!r}")
    if min(config.joint) < 0 or abs(sum(config.joint) - 1) > 1e-6:
        raise SemeiaError(f"joint: expected four shares that sum to 1, found {config.joint}")
    if config.joint[3] and "background" not in config.attributes:
        raise SemeiaError("joint: expected 0 for the row of the background alone where no background has a word")
    if config.attributes and config.attributes_from == "mappers" and features is None:
        raise SemeiaError("attributes_from mappers: expected features of an image encoder, found none")
    return DETEX(
        config, pipeline=pipeline, class_word=class_word, trigger=trigger,
        features=features if config.attributes and config.attributes_from == "mappers" else None,
        photos=photos, latent_side=latent_side, seed=seed,
    )  # fmt: skip
