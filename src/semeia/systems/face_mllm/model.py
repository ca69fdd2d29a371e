"""Face-MLLM: a language model that is shown a face and answers questions about it.

    Paper   Sun, He, Lian, Han, Shan: Face-MLLM: A Large Face Perception Model, arXiv 2410.20717
    Idea    A language model already knows what words mean. A small projector turns what a vision encoder sees of a face
            into vectors that stand among those of words; three stages teach it to describe, to answer, and to do the
            field's tasks.
    Flow    image -> frozen ViT -> its places -> projector -> image tokens
            question -> tokens; image tokens in the place of <image> -> language model with adapters -> answer
    Known   The abstract and the introduction could be read: data, three stages, tasks. Encoder, language model, sizes,
            prompts and rates could not: LLaVA-1.5's stand in (docs/systems/face_mllm.md).

Shapes      B chats   S side of the picture   h, w places of the ViT's grid   C its width   N image tokens
            T tokens of a chat   D width of the language model   V vocabulary
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.language.chat import IGNORED, IMAGE_ID, Chat, Turn
from semeia.language.generation import answers, stream
from semeia.language.models import TINY, DType, embedded, embeddings, with_lora
from semeia.language.projector import Projector, pooled, token_count
from semeia.language.scoring import option_scores
from semeia.nn.stages import FINE_VIT, Stages, stages
from semeia.records import SemeiaError
from semeia.task import Task

Stage = Literal["language", "align", "basic", "special"]
"""``language`` comes before the paper's three, for a language model that knows no language yet."""

STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True)
class Config:
    """What the model is; every field says where its default comes from."""

    backbone: str = FINE_VIT
    """``fine_vit`` or a timm ViT of CLIP's or SigLIP's kind. [paper: not readable; default: the bundled face ViT]"""
    image_size: int = 112
    """S. [LLaVA-1.5: 336; default: that of the bundled face ViT]"""
    backbone_width: int = 192
    """C of ``fine_vit``. [default: that of the bundled face ViT]"""
    backbone_depth: int = 1
    """Blocks of ``fine_vit``. [default: that of the bundled face ViT]"""
    backbone_heads: int = 3
    """Attention heads of ``fine_vit``. [default: that of the bundled face ViT]"""
    tap: int = -1
    """Which block's features are read, counted from the last. [LLaVA-1.5: -2]"""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Channel means that pictures are normalised with. [default: those of the bundled face ViT]"""
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    """Channel deviations, likewise. [default: as for the means]"""
    margin: float = 0.35
    """Of the unrotated crop, so that hair and what is worn are seen. [default: Q-Face's loose crop]"""
    pool: int = 1
    """Side of the squares of places that become one image token: 49 tokens of the bundled ViT. [LLaVA-1.5: 1]"""
    lm: str = "smollm2"
    """``smollm2``, ``tiny``, a folder of transformers, or a name on the hub. [paper: not readable; default: spec 8]"""
    lm_dtype: DType = "float32"
    """Of the frozen language model. [LLaVA-1.5: bfloat16; default: two cores gain nothing when they answer]"""
    tiny_width: int = 128
    """D of ``tiny``. [default: a claim's arm in minutes on two cores]"""
    tiny_depth: int = 3
    """Blocks of ``tiny``. [default: as for the width]"""
    tiny_heads: int = 4
    """Attention heads of ``tiny``. [default: as for the width]"""
    lora_rank: int = 16
    """Rank of the adapters; of ``tiny`` all weights are trained. [LLaVA-1.5: 128; default: spec 8 allows 16 to 64]"""
    lora_alpha: int = 32
    """Adapters are scaled by alpha over rank. [LLaVA-1.5: twice the rank]"""
    lora_dropout: float = 0.05
    """In front of the adapters. [LLaVA-1.5: 0.05]"""
    projector_rate: float = 0.1
    """Rate of the projector relative to that of adapters, in the last two stages. [LLaVA-1.5: 2e-5 to 2e-4]"""
    system: str = "You describe the face in the picture. You never name a person."
    """What the language model is told first. [default: ours]"""
    longest: int = 384
    """Most tokens of a chat, those of the picture among them. [LLaVA-1.5: 2048; default: 49 image tokens]"""


class Sight(nn.Module):
    """From a picture to image tokens: a frozen encoder and the projector.

    Args:
        config: See ``Config``.
        backbone: The encoder, tapped once.
        width: D.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config, *, backbone: Stages, width: int) -> None:
        super().__init__()
        self.pool = config.pool
        self.backbone = backbone.requires_grad_(False)
        with torch.no_grad():
            (tap,), grid = backbone.eval()(torch.zeros(1, 3, config.image_size, config.image_size))
        self.tokens = token_count(grid, config.pool)
        self.projector = Projector(tap.shape[-1] * config.pool**2, width)
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1))

    def train(self, mode: bool = True) -> Sight:
        """Training mode for all but the frozen encoder."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 3, S, S)`` in [0, 1] -> ``(B, N, D)``."""
        with torch.no_grad():
            (places,), grid = self.backbone((image - self.mean) / self.std)  # (B, h w, C)
            places = F.layer_norm(places, places.shape[-1:])
        return self.projector(pooled(places, grid, self.pool))


class FaceMLLM(Task):
    """Face-MLLM as a task: ``forward`` returns the loss on answers, ``say`` and ``choose`` answer.

    What is neither trained nor made here, the weights of a language model that others trained, is no part of
    ``state_dict``: it is opened by name.

    Args:
        config: See ``Config``.
        backbone: The vision encoder.
        lm: The language model, with adapters where it is not ``tiny``.
        tokenizer: Of the language model.
    """

    def __init__(self, config: Config, *, backbone: Stages, lm: Any, tokenizer: Any) -> None:
        super().__init__()
        self.config, self.lm, self.tokenizer = config, lm, tokenizer
        self.sight = Sight(config, backbone=backbone, width=embeddings(lm).embedding_dim)
        self.chat = Chat(tokenizer, image_tokens=self.sight.tokens, system=config.system, longest=config.longest)
        if self.sight.tokens + 16 > config.longest:
            raise SemeiaError(f"longest is {config.longest}; expected room for {self.sight.tokens} image tokens and a "
                              "question; raise it, or pool more")  # fmt: skip
        self.stage: Stage = "special"
        # Names of ``state_dict``, which knows tied weights by all of their names.
        self.outside: frozenset[str] = frozenset()
        if config.lm != TINY:
            self.outside = frozenset(f"lm.{name}" for name in lm.state_dict() if "lora_" not in name)
        self.register_state_dict_post_hook(_without_the_outside)
        self.register_load_state_dict_post_hook(_outside_may_be_missing)
        self.begin("special")

    # -- the stages

    def trainable(self, stage: Stage) -> frozenset[str]:
        """Names of the parameters that a stage trains: the spec's table, checked by a test."""
        projector = {f"sight.projector.{name}" for name, _ in self.sight.projector.named_parameters()}
        own = {f"lm.{name}" for name, _ in self.lm.named_parameters()} - self.outside
        return frozenset({"language": own, "align": projector}.get(stage, projector | own))

    def begin(self, stage: Stage) -> None:
        """Train what ``stage`` trains, and freeze all else.

        Raises:
            SemeiaError: Nothing is left to train.
        """
        wanted = self.trainable(stage)
        if not wanted:
            raise SemeiaError(f"stage {stage!r} trains nothing in this model")
        self.stage = stage
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name in wanted)

    def frozen_digest(self) -> str:
        """Letters that stand for every weight that the stage must not change."""
        letters = hashlib.sha256()
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                letters.update(name.encode())
                letters.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return letters.hexdigest()

    # -- training

    def embed(self, ids: Tensor, image: Tensor) -> Tensor:
        """Vectors of a chat, image tokens in their places.

        Args:
            ids: ``(B, T)``; each row holds ``IMAGE_ID`` N times or never.
            image: ``(B, 3, S, S)`` in [0, 1]; left unread for rows without image tokens.

        Returns:
            ``(B, T, D)``.
        """
        words = embedded(self.lm, ids)
        places = ids == IMAGE_ID  # (B, T)
        shown = places.any(1)
        if not shown.any():
            return words
        seen = self.sight(image[shown]).to(words.dtype)  # (rows with a picture, N, D)
        return words.masked_scatter(places[..., None].expand_as(words), seen)

    def forward(self, batch: dict[str, Any], loss: str = "main") -> dict[str, Tensor]:
        """Cross-entropy of the next token, on tokens of answers alone.

        Args:
            batch: ``image`` (B, 3, S, S) in [0, 1], ``input_ids``, ``labels`` and ``attention_mask`` (B, T).
            loss: There is one, ``main``.
        """
        labels = batch["labels"][:, 1:]  # the token at t is told at t - 1
        kept = (labels != IGNORED).any(0).nonzero()[:, 0]  # logits over V are large: only where some row needs them
        out = self.lm(
            inputs_embeds=self.embed(batch["input_ids"], batch["image"]), attention_mask=batch["attention_mask"],
            use_cache=False, logits_to_keep=kept,
        )  # fmt: skip
        wanted = labels[:, kept]
        return {"loss": F.cross_entropy(out.logits.float().flatten(0, 1), wanted.flatten(), ignore_index=IGNORED)}

    def groups(self, optimizer: str = "main") -> Iterable[dict[str, Any]]:
        """Adapters and projector; once the projector is aligned it moves more slowly."""
        named = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        seeing = [(n, p) for n, p in named if n.startswith("sight.")]
        saying = [(n, p) for n, p in named if not n.startswith("sight.")]
        if saying:
            yield {"named_params": saying}
        if seeing:
            yield {"named_params": seeing, "lr_scale": self.config.projector_rate if saying else 1.0}

    # -- prediction

    @torch.no_grad()
    def prompts(self, images: Tensor | None, chats: Sequence[Sequence[Turn]]) -> list[Tensor]:
        """Vectors (T, D) up to where each of B answers begins.

        Args:
            images: ``(B, 3, S, S)`` in [0, 1], or None where no chat shows one.
            chats: Each ends with a question.
        """
        device = self.sight.mean.device
        seen = None if images is None else self.sight(images.to(device))
        found = []
        for row, turns in enumerate(chats):
            ids = torch.tensor(self.chat.prompt(turns), device=device)
            vectors = embedded(self.lm, ids)
            places = ids == IMAGE_ID
            if seen is not None and places.any():
                vectors = vectors.masked_scatter(places[:, None].expand_as(vectors), seen[row].to(vectors.dtype))
            found.append(vectors)
        return found

    def say(self, images: Tensor | None, chats: Sequence[Sequence[Turn]], *, most: int = 64) -> list[str]:
        """The likeliest answer to each chat, token by token.

        Args:
            images: As for ``prompts``.
            chats: Each ends with a question.
            most: New tokens at most.
        """
        return answers(self.lm, self.tokenizer, self.prompts(images, chats), most=most, ends=self.chat.ends)

    def stream(
        self, image: Tensor | None, turns: Sequence[Turn], *, most: int = 128, temperature: float = 0.0, seed: int = 0
    ) -> Iterator[str]:
        """An answer piece by piece; see ``language.generation.stream``.

        Args:
            image: ``(3, S, S)`` in [0, 1], or None.
            turns: The chat so far; ends with a question.
            most: New tokens at most.
            temperature: Of drawing; 0 draws nothing.
            seed: Of drawing.
        """
        (prompt,) = self.prompts(None if image is None else image[None], [turns])
        return stream(
            self.lm, self.tokenizer, prompt, most=most, ends=self.chat.ends, temperature=temperature, seed=seed
        )

    def choose(
        self, images: Tensor | None, chats: Sequence[Sequence[Turn]], options: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        """Mean log-likelihood of a token of each option of each chat.

        Args:
            images: As for ``prompts``.
            chats: Each ends with a question.
            options: Of each chat, at least one.
        """
        tokens = [[[*self.chat.answer_tokens(option), *self.chat.ends] for option in of] for of in options]
        return option_scores(self.lm, self.prompts(images, chats), tokens)

    @torch.no_grad()
    def similarity(self, images: Tensor, texts: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Cosine between the mean image token and the mean word of texts, both less the mean of the vocabulary.

        What CLIP would do, in the space that the first stage aligns: a baseline that knows no question.

        Args:
            images: ``(B, 3, S, S)`` in [0, 1].
            texts: Of each picture, at least one.
        """
        table = embeddings(self.lm).weight.float()
        middle = table.mean(0)
        seen = self.sight(images.to(self.sight.mean.device)).float().mean(1) - middle  # (B, D)
        found = []
        for row, of in zip(seen, texts, strict=True):
            words = [table[self.chat.answer_tokens(text) or [0]].mean(0) - middle for text in of]
            found.append(F.cosine_similarity(row[None], torch.stack(words)).cpu().numpy())
        return found


def _without_the_outside(module: Any, state: dict[str, Any], prefix: str, _: Any) -> None:
    for name in module.outside:
        state.pop(prefix + name, None)


def _outside_may_be_missing(module: Any, keys: Any) -> None:
    missing = [name for name in keys.missing_keys if not any(name.endswith(own) for own in module.outside)]
    keys.missing_keys[:] = missing


def build(config: Config, *, lm: Any, tokenizer: Any) -> FaceMLLM:
    """Put the parts together; the vision encoder of ``fine_vit`` is random until a recipe or a checkpoint fills it.

    Args:
        config: See ``Config``.
        lm: What ``language.models`` opened or made; gets adapters here where it is not ``tiny``.
        tokenizer: Its tokenizer.

    Raises:
        SemeiaError: A value that does not fit the others.
    """
    ours = config.backbone == FINE_VIT
    whole = stages(
        config.backbone, taps=(0,), image_size=config.image_size, pretrained=not ours, width=config.backbone_width,
        depth=config.backbone_depth, heads=config.backbone_heads, drop_path=0.0,
    )  # fmt: skip
    reach = len(whole.model.feature_info)
    if not -reach <= config.tap < 0:
        raise SemeiaError(f"tap is {config.tap}; expected a block of {config.backbone} counted from its last, "
                          f"-{reach} to -1")  # fmt: skip
    backbone = Stages(whole.model, (reach + config.tap,), whole.settings)
    if config.lm != TINY:
        lm = with_lora(
            lm.requires_grad_(False), rank=config.lora_rank, alpha=config.lora_alpha, dropout=config.lora_dropout
        )
    return FaceMLLM(config, backbone=backbone, lm=lm, tokenizer=tokenizer)
