"""Masked CoTEX: two networks learn expressions together, each from its own few patches of the same face.

    Paper   Li, Sun, Liu, Han, Shan: Affective Behaviour Analysis Using Pretrained Model with Facial Prior, ECCV
            Workshops 2022, arXiv 2207.11679; the authors' code, JackYFL/EMMA_CoTEX_ABAW4
    Idea    Most of a face is hidden from each of two networks, and not the same part. They must name the expression all
            the same, and agree: what one could see teaches the other.
    Flow    image -> patches that stay visible, drawn anew for each network -> ViT of a face MAE (no mask tokens) ->
            linear head -> logits;  loss: mean cross-entropy + weight * Jensen-Shannon divergence;  in use nothing is
            hidden and logits are added
    Known   The code was read (docs/systems/cotex.md): unshared networks, own masks, the divergence as a mean over
            images and classes times 100. The submission's mask ratio is unknown: the script's default is 0, the paper
            says that most patches are hidden.

Shapes      B images   S side   V networks   N patches   K of them visible   P prefix tokens   C width   E expressions
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.nn.affect_losses import element_js
from semeia.nn.intensity import masked_mean
from semeia.nn.masking import kept, random_masking
from semeia.nn.stages import Stages, check_class_token, last_norm, maskable_vit, visible_tokens
from semeia.records import EXPRESSIONS, SemeiaError
from semeia.task import Task

Pooling = Literal["mean", "class"]


@dataclass(frozen=True)
class Config:
    """What the model is; every field says where its default comes from."""

    expressions: tuple[str, ...] = EXPRESSIONS
    """E names. [the challenge has six: no neutral, no contempt]"""
    backbone: str = "fine_vit"
    """``fine_vit`` or a plain timm ViT. [code: ViT-B/16; default: small, for two cores]"""
    image_size: int = 112
    """S. [code: 224; default: spec section 11]"""
    backbone_width: int = 192
    """C of ``fine_vit``. [default: that of the bundled prior]"""
    backbone_depth: int = 1
    """Blocks of ``fine_vit``. [default: that of the bundled prior]"""
    backbone_heads: int = 3
    """Attention heads of ``fine_vit``. [default: that of the bundled prior]"""
    drop_path: float = 0.0
    """Largest rate of stochastic depth. [code: 0.1 in 12 blocks; none in one]"""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Channel means that the input is normalised with. [default: those of the bundled prior; code: ImageNet's]"""
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    """Channel deviations, likewise. [default: as for the means]"""
    margin: float = 0.05
    """Of the aligned crop. [default: Q-Face's]"""
    pooling: Pooling = "mean"
    """``class``: the class token; ``mean``: of the visible places, for ViTs without one. [code: class]"""
    networks: int = 2
    """V. [code: 2; 1 is a masked classifier by itself]"""
    mask_ratio: float = 0.75
    """Part of the patches that is hidden in training. [default: spec section 8; the submission's is unknown]"""
    agreement: float = 100.0
    """Weight of the divergence, which is a mean over classes too. [code: 100]"""


class Classifier(nn.Module):
    """A ViT and a linear head, which read the visible patches alone.

    Args:
        backbone: The ViT.
        classes: E.
        pooling: See ``Config.pooling``.
    """

    def __init__(self, backbone: Stages, *, classes: int, pooling: str) -> None:
        super().__init__()
        self.backbone, self.pooling = backbone, pooling
        vit = backbone.model
        self.norm = last_norm(vit)
        self.head = nn.Linear(vit.embed_dim, classes)
        nn.init.trunc_normal_(self.head.weight, std=2e-5)  # [code]
        nn.init.zeros_(self.head.bias)

    def forward(self, image: Tensor, visible: Tensor | None) -> Tensor:
        """``(B, 3, S, S)`` normalised, indices ``(B, K)`` or None for all -> logits ``(B, E)``."""
        tokens = self.norm(visible_tokens(self.backbone.model, image, visible))  # (B, P + K, C)
        prefix = self.backbone.model.num_prefix_tokens
        return self.head(tokens[:, 0] if self.pooling == "class" else tokens[:, prefix:].mean(1))


class CoTEX(Task):
    """Masked CoTEX as a task: ``forward`` returns losses, ``predict`` probabilities.

    Args:
        config: See ``Config``.
        networks: V classifiers that share no weight.
        patches: N.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: Config, *, networks: list[Classifier], patches: int) -> None:
        super().__init__()
        self.config, self.patches = config, patches
        self.networks = nn.ModuleList(networks)
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1))

    @property
    def backbones(self) -> list[Stages]:
        """The ViT of each network."""
        found: list[Any] = list(self.networks)
        return [network.backbone for network in found]

    def visible(self, image: Tensor) -> Tensor | None:
        """Patches ``(B, K)`` that one network sees, drawn anew at each call; None where all are seen."""
        if self.config.mask_ratio == 0:
            return None
        noise = torch.rand(len(image), self.patches, device=image.device)
        return random_masking(noise, kept(self.patches, self.config.mask_ratio)).visible

    def logits(self, image: Tensor, *, masked: bool) -> list[Tensor]:
        """``(B, 3, S, S)`` in [0, 1] -> V times ``(B, E)``; each network hides its own patches if ``masked``."""
        normal = (image - self.mean) / self.std
        return [network(normal, self.visible(normal) if masked else None) for network in self.networks]

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """Mean cross-entropy of the networks, and how much they differ.

        Args:
            batch: ``image`` (B, 3, S, S) in [0, 1], ``expression`` (B,) and ``expression_mask`` (B,).
            loss: There is one, ``main``.
        """
        found = self.logits(batch["image"], masked=True)
        truth, known = batch["expression"].clamp(min=0), batch["expression_mask"]
        each = torch.stack([F.cross_entropy(z.float(), truth, reduction="none") for z in found]).mean(0)
        parts = {"expression": masked_mean(each, known), "agreement": element_js(found)}
        return {"loss": parts["expression"] + self.config.agreement * parts["agreement"], **parts}

    @torch.no_grad()
    def predict(self, image: Tensor) -> dict[str, Tensor]:
        """Name expressions of aligned crops; nothing is hidden.

        Args:
            image: ``(B, 3, S, S)`` in [0, 1].

        Returns:
            Probabilities: ``expression`` (B, E) of the sum of all logits, ``each`` (B, V, E) of each network alone.
        """
        found = torch.stack(self.logits(image, masked=False), 1).float()  # (B, V, E)
        return {"expression": found.sum(1).softmax(-1), "each": found.softmax(-1)}


def build(config: Config) -> CoTEX:
    """Build the networks, each with weights of its own.

    Raises:
        SemeiaError: A value that does not fit the others.
    """
    if config.networks < 1:
        raise SemeiaError(f"networks: expected at least 1, found {config.networks}")
    if config.pooling not in get_args(Pooling):
        raise SemeiaError(f"pooling: expected one of {', '.join(get_args(Pooling))}, found {config.pooling!r}")
    networks = []
    for _ in range(config.networks):
        backbone = maskable_vit(config)
        vit = backbone.model
        if config.pooling == "class":
            check_class_token(vit, config.backbone, instead="'mean'")
        if not 0 <= config.mask_ratio < 1 or not kept(vit.patch_embed.num_patches, config.mask_ratio):
            raise SemeiaError(
                f"mask_ratio: expected from 0 to less than 1 with a patch left, found {config.mask_ratio}"
            )
        networks.append(Classifier(backbone, classes=len(config.expressions), pooling=config.pooling))
    return CoTEX(config, networks=networks, patches=vit.patch_embed.num_patches)
