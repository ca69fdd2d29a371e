"""EMMA: expression, action units, and valence and arousal of a face from one masked autoencoder.

    Paper   Li, Sun, Liu, Han, Shan: Affective Behaviour Analysis Using Pretrained Model with Facial Prior, ECCV
            Workshops 2022, arXiv 2207.11679; the authors' code, JackYFL/EMMA_CoTEX_ABAW4
    Idea    A face MAE knows faces before it knows a label. Valence and arousal are not regressed from its features but
            from what it says of expressions and action units, and from a second opinion on expressions: a network that
            learned them elsewhere and stays as it is.
    Flow    image -> ViT of a face MAE -> scores of expressions and of action units
            image -> frozen expression CNN -> scores of its own classes
            all scores -> a small perceptron -> valence, arousal
    Known   The code was read (docs/systems/emma.md): widths, losses, rates, that scores are logits and nothing is
            detached. Results of the paper could not be read. The CNN there is DAN; here another one stands in.

Shapes      B images   S side   N places of the ViT's grid   P prefix tokens   C width of the ViT   F width of features
            E expressions   K action units   Q classes of the frozen CNN
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.nn import mini_xception
from semeia.nn.affect_losses import ccc_loss
from semeia.nn.intensity import masked_mean, weighted_bce
from semeia.nn.mini_xception import MiniXception
from semeia.nn.stages import Stages, check_class_token, last_norm, maskable_vit, visible_tokens
from semeia.records import EXPRESSIONS, SemeiaError
from semeia.task import Task

ABAW_UNITS = (
    "AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26",
)  # fmt: skip
"""The twelve units of Aff-Wild2, in its order."""

Affect = Literal["scores", "vit scores", "cnn scores", "features"]
"""What valence and arousal are read from: all scores, those of one network, or the layer below the ViT's scores."""

Pooling = Literal["places", "mean", "class"]


@dataclass(frozen=True)
class Config:
    """What the model is; every field says where its default comes from."""

    expressions: tuple[str, ...] = EXPRESSIONS
    """E names. [the authors' set has "other" in place of contempt]"""
    action_units: tuple[str, ...] = ABAW_UNITS
    """K names. [the authors' set]"""
    backbone: str = "fine_vit"
    """``fine_vit`` or a timm ViT. [code: ViT-B/16; default: small, for two cores]"""
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
    """Channel means that the ViT's input is normalised with. [default: those of the bundled prior; code: ImageNet's]"""
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    """Channel deviations, likewise. [default: as for the means]"""
    margin: float = 0.05
    """Of the aligned crop. [default: Q-Face's; code: Aff-Wild2's own aligned crops]"""
    pooling: Pooling = "places"
    """``class``: the class token [code]; ``mean``: of all places; ``places``: one linear map of all places at once.
    [default: a small ViT has no depth in which to find a dimple, a linear map of all places needs none]"""
    hidden: int = 256
    """Width of the head of the ViT. [code: 512]"""
    affect: Affect = "scores"
    """See ``Affect``. [code: all scores]"""
    affect_hidden: int = 256
    """Width of the perceptron of valence and arousal. [code: 256]"""
    cnn: str = "mini_xception"
    """The frozen expression CNN: ``mini_xception``, or a timm name whose weights the recipe loads. [code: DAN]"""
    cnn_classes: int = len(mini_xception.CLASSES)
    """Q. [that of ``mini_xception``; DAN: 8]"""
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Of the losses of valence and arousal, expression, action units. [code: all 1]"""


class EMMA(Task):
    """EMMA as a task: ``forward`` returns losses, ``predict`` answers.

    Args:
        config: See ``Config``.
        backbone: The ViT.
        cnn: A frozen expression CNN that is kept with the weights; None for ``mini_xception``, a part that is fetched
            when it is first asked and kept with no weights.
    """

    mean: Tensor
    std: Tensor
    positive: Tensor
    unit_threshold: Tensor

    def __init__(self, config: Config, *, backbone: Stages, cnn: nn.Module | None) -> None:
        super().__init__()
        self.config, self.backbone = config, backbone
        self.cnn = None if cnn is None else cnn.eval().requires_grad_(False)
        self._part: tuple[MiniXception, ...] = ()  # a tuple, so that its weights are not this module's
        e, k = len(config.expressions), len(config.action_units)
        vit = backbone.model
        width = vit.embed_dim * (vit.patch_embed.num_patches if config.pooling == "places" else 1)
        self.norm = last_norm(vit)
        self.head = nn.Sequential(nn.Linear(width, config.hidden), nn.ReLU(), nn.Linear(config.hidden, e + k))
        self.read = nn.Sequential(
            nn.Linear(affect_inputs(config), config.affect_hidden), nn.ReLU(), nn.Linear(config.affect_hidden, 2)
        )
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1))
        # From training data: negatives over positives of each unit, by which positives weigh.
        self.register_buffer("positive", torch.ones(k))
        # From held-out data: the probability from which a unit counts as present.
        self.register_buffer("unit_threshold", torch.full((k,), 0.5))

    def train(self, mode: bool = True) -> EMMA:
        """Training mode for all but the frozen CNN: its batch norms would drift."""
        super().train(mode)
        if self.cnn is not None:
            self.cnn.eval()
        return self

    def fetch(self) -> None:
        """Load the part that the second opinion needs, where these weights need one; once.

        Raises:
            SemeiaError: It cannot be had.
        """
        if self.cnn is None and not self._part and self.config.affect in ("scores", "cnn scores"):
            self._part = (MiniXception.load(),)

    # -- the paper's boxes

    def features(self, image: Tensor) -> Tensor:
        """``(B, 3, S, S)`` in [0, 1] -> the ViT's features ``(B, F)``."""
        vit = self.backbone.model
        tokens = self.norm(visible_tokens(vit, (image - self.mean) / self.std, None))  # (B, P + N, C)
        if self.config.pooling == "class":
            return tokens[:, 0]
        places = tokens[:, vit.num_prefix_tokens :]
        return places.mean(1) if self.config.pooling == "mean" else places.flatten(1)

    @torch.no_grad()
    def second_opinion(self, image: Tensor) -> Tensor:
        """``(B, 3, S, S)`` in [0, 1] -> scores of the frozen CNN ``(B, Q)``, logits."""
        if self.cnn is not None:
            return self.cnn((image - self.mean) / self.std)
        self.fetch()
        pixels = (image * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        with torch.autocast(image.device.type, enabled=False):
            return self._part[0].to(image.device)(mini_xception.network_input(pixels))

    def scores(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``(B, 3, S, S)`` in [0, 1] -> logits of expressions ``(B, E)`` and units ``(B, K)``, affect ``(B, 2)``."""
        inner = self.head[:2](self.features(image))  # (B, hidden)
        seen = self.head[2](inner)  # (B, E + K)
        told = {"vit scores": seen, "features": inner}.get(self.config.affect)
        if told is None:
            others = self.second_opinion(image).to(seen.dtype)
            told = others if self.config.affect == "cnn scores" else torch.cat([others, seen], -1)
        e = len(self.config.expressions)
        return seen[:, :e], seen[:, e:], self.read(told)

    # -- training

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """Losses of what is labelled; a task without a label in the batch costs nothing.

        Args:
            batch: ``image`` (B, 3, S, S) in [0, 1] and the targets of ``data.samples.collate`` with valence and
                arousal.
            loss: There is one, ``main``.
        """
        expression, units, affect = self.scores(batch["image"])
        known = batch["expression_mask"]
        each = F.cross_entropy(expression.float(), batch["expression"].clamp(min=0), reduction="none")
        of_units = weighted_bce(units.float(), batch["au_occurrence"], self.positive) * batch["au_occurrence_mask"]
        parts = {
            "valence_arousal": ccc_loss(affect.float(), batch["valence_arousal"], batch["valence_arousal_mask"]),
            "expression": masked_mean(each, known),
            "action_units": of_units.sum() / len(units),  # a sum over units, over all images, labelled or not
        }
        total = torch.stack([w * part for w, part in zip(self.config.weights, parts.values(), strict=True)]).sum()
        return {"loss": total, **parts}

    def groups(self, optimizer: str = "main") -> Iterable[dict[str, Any]]:
        """The ViT with its head, and the perceptron of valence and arousal: a rate of its own, constant, no decay."""
        named = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        yield {"named_params": [(n, p) for n, p in named if not n.startswith("read.")]}
        own = {"lr": AFFECT_RATE, "weight_decay": 0.0, "constant": True}
        yield {"named_params": [(n, p) for n, p in named if n.startswith("read.")], **own}

    # -- prediction

    @torch.no_grad()
    def predict(self, image: Tensor) -> dict[str, Tensor]:
        """Read aligned crops.

        Args:
            image: ``(B, 3, S, S)`` in [0, 1].

        Returns:
            ``expression`` (B, E) and ``au_probability`` (B, K) probabilities, ``valence_arousal`` (B, 2) in [-1, 1].
        """
        expression, units, affect = self.scores(image)
        return {
            "expression": expression.float().softmax(-1),
            "au_probability": units.float().sigmoid(),
            "valence_arousal": affect.float().clamp(-1, 1),
        }


AFFECT_RATE = 1e-4
"""Rate of the perceptron of valence and arousal. [code: Adam of its own, 1e-4]"""


def affect_inputs(config: Config) -> int:
    """Width of what valence and arousal are read from."""
    scores = len(config.expressions) + len(config.action_units)
    widths = {
        "scores": scores + config.cnn_classes, "vit scores": scores, "cnn scores": config.cnn_classes,
        "features": config.hidden,
    }  # fmt: skip
    if config.affect not in widths:
        raise SemeiaError(f"affect: expected one of {', '.join(get_args(Affect))}, found {config.affect!r}")
    return widths[config.affect]


def build(config: Config) -> EMMA:
    """Build the model; a CNN of one's own has random weights until a recipe or a checkpoint fills them.

    Raises:
        SemeiaError: A value that does not fit the others.
    """
    if config.pooling not in get_args(Pooling):
        raise SemeiaError(f"pooling: expected one of {', '.join(get_args(Pooling))}, found {config.pooling!r}")
    backbone = maskable_vit(config)
    if config.pooling == "class":
        check_class_token(backbone.model, config.backbone, instead="'mean' or 'places'")
    own = config.cnn != "mini_xception"
    cnn = timm.create_model(config.cnn, pretrained=False, num_classes=config.cnn_classes) if own else None
    return EMMA(config, backbone=backbone, cnn=cnn)
