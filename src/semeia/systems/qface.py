"""Q-Face: one model for many face tasks, with a learned query for every label.

    Paper   Sun, He, Shan, Han, Chen: Task-adaptive Q-Face, arXiv 2405.09059 (2024)
    Idea    The feature maps of several depths of one ViT are fused, so that local and global information stands side by
            side. A learned query for every label of every task then picks out of the fused map what its label needs.
    Flow    image -> ViT -> taps at several depths -> fusion -> tokens
            label queries -> cross-attention over the tokens -> one linear read-out a label -> five tasks
            raw outputs -> calibration, fitted on held-out faces once training is over -> probabilities, intensities
    Known   The abstract. Formulas, sizes and training values of the paper could not be read: what stands here is Q-Face
            as its abstract describes it, with the sizes of published siblings (docs/systems/qface.md).

Shapes      B images   H, W pixels   S taps   C_s channels of a tap   N tokens   D width   M queries
            E expressions   K action units   A attributes   T FACS levels   Y age bins
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from torch import Tensor, nn

from semeia.nn.intensity import IntensityLevels, masked_mean, weighted_bce
from semeia.nn.query_attention import QueryDecoder, Reading
from semeia.nn.shared_readings import GroupedQueries, PooledReading, asked_by_task, asked_once
from semeia.nn.stages import Stages, stages
from semeia.records import ACTION_UNITS, ATTRIBUTES, EXPRESSIONS, PRESENT
from semeia.task import Task

A = TypeVar("A")  # arrays or tensors

TASKS = ("expression", "action_units", "attributes", "age", "pose")
ANGLES = ("yaw", "pitch", "roll")
ANSWERS = {
    "expression": ("expression",), "action_units": ("au_probability", "au_intensity", "au_sides"),
    "attributes": ("attributes",), "age": ("age",), "pose": ("pose",),
}  # fmt: skip
"""Names of the answers of each task in ``QFace.predict``."""
OLDEST = 100  # years; the last bin of the age distribution (DLDL-v2 and Faceptor)

ADDED: dict[str, Any] = {
    "age_reading": "number",
    "age_spread": 4.0,
    "calibrated": False,
    "loose": ("pose",),
    "summary": 0,
    "reading": "label_queries",
}
"""Fields that ``Config`` did not always have, with what weights without them are."""


@dataclass(frozen=True)
class Config:
    """What the model is; every field says where its default comes from."""

    backbone: str = "fine_vit"
    """Any timm ViT name, or ``fine_vit``, the small one of the bundled weights. [default: fits 12 MB and two cores]"""
    pretrained: bool = False
    """Start from timm's weights of that name (needs a network). [default: works offline]"""
    image_size: int = 112
    """Side of the square input in pixels. [default: small scale; spec section 8]"""
    taps: tuple[int, ...] = (0, 1, 2)
    """Stages that are tapped; of ``fine_vit`` two maps of its stem, then its blocks. [default: local to global, as
    FaRL's 3, 5, 7, 11 of twelve]"""
    backbone_width: int = 192
    """Channels of ``fine_vit``. [default: ViT-Tiny]"""
    backbone_depth: int = 1
    """Blocks of ``fine_vit``. [default: for two cores, above a convolutional stem]"""
    backbone_heads: int = 3
    """Attention heads of ``fine_vit``. [default: ViT-Tiny]"""
    drop_path: float = 0.1
    """Largest rate of stochastic depth. [default: spec section 4]"""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    """Channel means that the input is normalised with. [default: the backbone's own when one is loaded by name]"""
    std: tuple[float, float, float] = (0.25, 0.25, 0.25)
    """Channel deviations that the input is normalised with. [default: as for the means]"""
    fusion: Literal["concat", "tokens", "weighted"] = "concat"
    """How the taps become one map. [default: closest reading of the abstract; the formula is unknown]"""
    width: int = 192
    """D, the width of queries and fused tokens. [default: Faceptor has 256; smaller for the bundled size]"""
    reading: Literal["label_queries", "task_queries", "one_query", "pooled"] = "label_queries"
    """What labels are read by: a query each, one a task, one for all, or the mean of the map. [inferred: the abstract's
    "label queries"; the others are arms of its claims]"""
    layers: int = 1
    """Query layers. [default: for two cores; Query2Label has 2]"""
    heads: int = 6
    """Attention heads of the decoder. [default: Faceptor has 8 at width 256]"""
    hidden: int = 384
    """Width of the decoder's feed-forward part. [default: spec section 2.3 recommends 4 D; smaller for size]"""
    dropout: float = 0.1
    """Dropout in the decoder. [default: spec section 2.3]"""
    summary: int = 32
    """Channels a token from which a summary of the whole map is made that all queries start from; 0: they start from
    nothing. [own: spec section 2.3 allows learned content; reading begins thousands of images earlier]"""
    among_queries: bool = False
    """Attention among the queries of one task. [default: off, Query2Label]"""
    expressions: tuple[str, ...] = EXPRESSIONS
    """Expression classes. [default: RAF-DB's and AffectNet-7's seven]"""
    action_units: tuple[str, ...] = ACTION_UNITS
    """Action units. [default: BP4D's and DISFA's, and AU05, 20, 27, 43]"""
    attributes: tuple[str, ...] = ATTRIBUTES
    """Binary attributes. [default: the CelebA names that the face world labels; the paper's CelebA has 40]"""
    label_smoothing: float = 0.1
    """Of the expression loss. [default: SwinFace]"""
    weights: tuple[float, float, float, float, float] = (1.0, 10.0, 4.0, 0.15, 0.4)
    """Loss weight of each task in the order of ``TASKS``. [default: like gradients at the trunk on the face world]"""
    age_mean: float = 40.0
    """Years at a zero output. [default: middle of the face world]"""
    age_scale: float = 20.0
    """Years a unit of output. [default: spread of the face world]"""
    pose_scale: float = 90.0
    """Degrees a unit of output. [default: spec section 2.4]"""
    age_reading: Literal["distribution", "number"] = "distribution"
    """How age is read: the mean of a distribution over years, or a number at once. [default: DLDL-v2, Faceptor]"""
    age_spread: float = 4.0
    """Standard deviation of the distribution that an age is taught as, years. [default: DLDL-v2 has 1 to 3; wider, for
    persons far fewer than years]"""
    calibrated: bool = True
    """Whether the weights carry a calibration and thresholds. [own: fitted by the recipe on held-out faces]"""
    margin_aligned: float = 0.05
    """Margin of the aligned crop; 0: brows to chin. [default: tight; spec section 5]"""
    margin_upright: float = 0.35
    """Margin of the unrotated crop. [default: loose crop 0.2-0.4, spec section 5]"""
    loose: tuple[str, ...] = ("attributes", "age", "pose")
    """Tasks that read the unrotated, loose crop; the others read the aligned one. [default: hair, hats and ears lie
    outside of the tight crop, and action units are small]"""


# ---------------------------------------------------------------------------------------------------------------------
# Multi-stage feature fusion (spec 2.2): three readings of one sentence of the abstract


class ConcatFusion(nn.Module):
    """F = GELU(LN([U_1 | ... | U_S]) W_f + b_f) + U_S with U_s = LN(X_s) W_s."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Sequential(nn.LayerNorm(c), nn.Linear(c, width)) for c in widths)
        self.norm = nn.LayerNorm(width * len(widths))
        self.fuse = nn.Linear(width * len(widths), width)

    def forward(self, taps: list[Tensor], position: Tensor) -> tuple[Tensor, Tensor]:
        """``S x (B, N, C_s)``, position ``(N, D)`` -> tokens ``(B, N, D)``, position ``(N, D)``."""
        u = [project(tap) for project, tap in zip(self.project, taps, strict=True)]
        return F.gelu(self.fuse(self.norm(torch.cat(u, -1)))) + u[-1], position


class TokenFusion(nn.Module):
    """F = [U_1 ; ... ; U_S], with a learned code of the stage in the keys: each query chooses its stages itself."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Sequential(nn.LayerNorm(c), nn.Linear(c, width)) for c in widths)
        self.stage = nn.Parameter(torch.randn(len(widths), width) * 0.02)

    def forward(self, taps: list[Tensor], position: Tensor) -> tuple[Tensor, Tensor]:
        """``S x (B, N, C_s)``, position ``(N, D)`` -> tokens ``(B, S N, D)``, position ``(S N, D)``."""
        u = [project(tap) for project, tap in zip(self.project, taps, strict=True)]
        return torch.cat(u, 1), (self.stage[:, None] + position).flatten(0, 1)  # (S, N, D) -> (S N, D)


class WeightedFusion(nn.Module):
    """F = sum_s softmax(a)_s U_s with one learned vector a: the plainest baseline."""

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Sequential(nn.LayerNorm(c), nn.Linear(c, width)) for c in widths)
        self.choice = nn.Parameter(torch.zeros(len(widths)))

    def forward(self, taps: list[Tensor], position: Tensor) -> tuple[Tensor, Tensor]:
        """``S x (B, N, C_s)``, position ``(N, D)`` -> tokens ``(B, N, D)``, position ``(N, D)``."""
        share = self.choice.softmax(0)
        u = [project(tap) for project, tap in zip(self.project, taps, strict=True)]
        return sum((a * x for a, x in zip(share, u, strict=True)), torch.zeros_like(u[0])), position


class Summary(nn.Module):
    """What the whole map says, place by place: one vector that all queries start from.

    Attention must first find where to look; a linear reading of all places has nothing to find. Own.
    """

    def __init__(self, tokens: int, width: int, channels: int) -> None:
        super().__init__()
        self.squeeze, self.gather = nn.Linear(width, channels), nn.Linear(tokens * channels, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``(B, N, D) -> (B, D)``."""
        return self.gather(self.squeeze(tokens).flatten(1))


FUSIONS = {"concat": ConcatFusion, "tokens": TokenFusion, "weighted": WeightedFusion}


# ---------------------------------------------------------------------------------------------------------------------
# Read-outs (spec 2.4)


class LabelReadout(nn.Module):
    """Group-wise linear read-out: one weight vector a label, ``z_m = w_m . h_m + b_m``."""

    def __init__(self, labels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(labels, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, read: Tensor) -> Tensor:
        """``(B, M, D) -> (B, M)``."""
        return (read * self.weight).sum(-1) + self.bias


class AgeNumber(nn.Module):
    """Age is the label's own score, in units of ``age_scale`` around ``age_mean``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.mean, self.scale = config.age_mean, config.age_scale

    def forward(self, z: Tensor, read: Tensor) -> Tensor:
        """Score ``(B, 1)`` and what the query read ``(B, 1, D)`` -> ``(B, 1)``."""
        return z

    def years(self, out: Tensor) -> Tensor:
        """``(B, 1) -> (B,)``."""
        return out[:, 0] * self.scale + self.mean

    def loss(self, out: Tensor, age: Tensor) -> Tensor:
        """L1 of ages ``(B,)`` in units of ten years (spec section 3), ``(B,)``."""
        return (self.years(out) - age).abs() / 10


class AgeDistribution(nn.Module):
    """Age is the mean of p = softmax(l) over whole years; DLDL-v2 (Gao et al. 2018, arXiv 1807.00447).

    l_k = v_k . h + c_k + z (k - mean) / scale. The tilt by the label's own score z moves the whole distribution along
    the years, which are ordered; v and c shape it. The tilt is an own choice.
    """

    bins: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.mean, self.scale, self.spread = config.age_mean, config.age_scale, config.age_spread
        self.register_buffer("bins", torch.arange(OLDEST + 1.0), persistent=False)  # (Y,)
        self.shape = nn.Linear(config.width, OLDEST + 1)

    def forward(self, z: Tensor, read: Tensor) -> Tensor:
        """Score ``(B, 1)`` and what the query read ``(B, 1, D)`` -> log-probabilities ``(B, Y)`` up to a constant."""
        return self.shape(read[:, 0]) + z * (self.bins - self.mean) / self.scale

    def years(self, out: Tensor) -> Tensor:
        """``(B, Y) -> (B,)``."""
        return out.softmax(-1) @ self.bins.to(out.dtype)

    def loss(self, out: Tensor, age: Tensor) -> Tensor:
        """KL(normal around the age || p) + L1 of the mean in units of ten years, ``(B,)``."""
        target = (-0.5 * ((self.bins - age[:, None].clamp(0, OLDEST)) / self.spread) ** 2).softmax(-1)  # (B, Y)
        apart = F.kl_div(out.log_softmax(-1), target, reduction="none").sum(-1)
        return apart + (self.years(out) - age).abs() / 10


AGES = {"distribution": AgeDistribution, "number": AgeNumber}


# ---------------------------------------------------------------------------------------------------------------------
# Calibration: own; fitted on held-out faces after training (``evaluate.calibrate``), the identity until then


class Affine(nn.Module):
    """``scale * z + shift`` for each label (Platt 1999); positive scales keep the order of scores."""

    scale: Tensor
    shift: Tensor

    def __init__(self, labels: int, *, kept: bool) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(labels), persistent=kept)
        self.register_buffer("shift", torch.zeros(labels), persistent=kept)

    def forward(self, z: Tensor) -> Tensor:
        """``(B, labels) -> (B, labels)``."""
        return z * self.scale + self.shift


class Calibration(nn.Module):
    """What turns scores into probabilities that mean what they say, and into decisions.

    Probabilities stay honest and decisions have thresholds of their own: the threshold that is best by F1 is as a rule
    not one half. Presence, intensity and the sides of a unit are three rising functions of their scores, so each unit
    counts as present from one fixed score on.
    """

    temperature: Tensor
    unit_threshold: Tensor
    attribute_threshold: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        units, attributes, kept = len(config.action_units), len(config.attributes), config.calibrated
        self.present, self.levels, self.sides = (Affine(units, kept=kept) for _ in range(3))
        self.attributes = Affine(attributes, kept=kept)
        self.register_buffer("temperature", torch.ones(()), persistent=kept)
        self.register_buffer("unit_threshold", torch.full((units,), 0.5), persistent=kept)
        self.register_buffer("attribute_threshold", torch.full((attributes,), 0.5), persistent=kept)


# ---------------------------------------------------------------------------------------------------------------------


class QFace(Task):
    """Q-Face as a task: ``forward`` returns losses, ``predict`` returns probabilities in the labels' own units.

    Args:
        config: See ``Config``.
        backbone: The tapped backbone.
        fusion: Taps to tokens.
        summary: Tokens to what the queries start from, if anything.
        decoder: Reads the tokens for every label.
        queries: How many queries it reads by.
        grid: Tokens along a side of the map.
    """

    mean: Tensor
    std: Tensor
    au_rarity: Tensor
    same_task: Tensor

    def __init__(
        self, config: Config, *, backbone: Stages, fusion: nn.Module, summary: Summary | None,
        decoder: Reading, queries: int, grid: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.backbone, self.fusion, self.summary, self.decoder = backbone, fusion, summary, decoder
        counts = label_counts(config)
        ends = torch.tensor(counts).cumsum(0).tolist()
        self.slots = {task: slice(end - n, end) for task, n, end in zip(TASKS, counts, ends, strict=True)}
        # Queries and positions begin large, so that each head looks at a few places of its own from the first step.
        # While they are small, attention is nearly even and all read the mean of the map.
        self.queries = nn.Parameter(4 * torch.randn(queries, config.width))
        self.position = nn.Parameter(2 * build_sincos2d_pos_embed([grid, grid], dim=config.width))  # (N, D)
        self.readout = LabelReadout(ends[-1], config.width)
        self.side_readout = nn.ModuleList(LabelReadout(len(config.action_units), config.width) for _ in "LR")
        self.levels = IntensityLevels(len(config.action_units))
        self.age: Any = AGES[config.age_reading](config)
        self.calibration = Calibration(config)
        self.register_buffer("mean", torch.tensor(config.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(config.std).view(3, 1, 1))
        self.register_buffer("au_rarity", torch.ones(len(config.action_units)))
        task_of = torch.cat([torch.full((n,), i) for i, n in enumerate(counts)])
        self.register_buffer("same_task", task_of[:, None] == task_of, persistent=False)

    # -- the paper's boxes

    def fused(self, image: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
        """Multi-stage feature fusion: ``(B, 3, H, W)`` in [0, 1] -> tokens, their position code, the grid."""
        taps, grid = self.backbone((image - self.mean) / self.std)
        tokens, position = self.fusion(taps, self.position)
        return tokens, position, grid

    def beside(self, tokens: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Which queries see one another, and what all of them start from ``(B, D)``."""
        within = self.same_task if self.config.among_queries else None
        return within, None if self.summary is None else self.summary(tokens)

    def logits(self, read: Tensor) -> dict[str, Tensor]:
        """What the queries read ``(B, M, D)`` -> raw outputs of every task."""
        z = self.readout(read)
        out = {task: z[:, slot] for task, slot in self.slots.items()}
        out["age"] = self.age(out["age"], read[:, self.slots["age"]])
        units = read[:, self.slots["action_units"]]
        out["sides"] = torch.stack([side(units) for side in self.side_readout], -1)  # (B, K, 2)
        return out

    # -- training

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """Masked multi-task loss: a sample counts only for what it is labelled with.

        Args:
            batch: ``image`` (B, 3, H, W) in [0, 1] and the targets of ``data.samples.collate``.
            loss: Q-Face has one, ``main``.
        """
        tokens, position, _ = self.fused(batch["image"])
        out = self.logits(self.decoder(self.queries, tokens, position, *self.beside(tokens)))
        parts = {
            "expression": self.expression_loss(out["expression"].float(), batch),
            "action_units": self.unit_loss(out["action_units"].float(), out["sides"].float(), batch),
            "attributes": self.attribute_loss(out["attributes"].float(), batch),
            "age": self.age_loss(out["age"].float(), batch),
            "pose": self.pose_loss(out["pose"].float(), batch),
        }
        total = sum(
            (w * parts[task] for w, task in zip(self.config.weights, TASKS, strict=True)), out["age"].new_zeros(())
        )
        return {"loss": total, **parts}

    def expression_loss(self, z: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Cross-entropy with label smoothing; class -1 is unlabelled."""
        target = batch["expression"]
        each = F.cross_entropy(z, target.clamp(min=0), reduction="none", label_smoothing=self.config.label_smoothing)
        return masked_mean(each, target >= 0)

    def unit_loss(self, z: Tensor, sides: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Cumulative-link cross-entropy on intensity, per side too; occurrence alone trains the level B threshold.

        Positive parts are weighted by ``au_rarity`` (square root of negatives over positives in the training set).
        """
        rarity = self.au_rarity[:, None]
        target = IntensityLevels.targets(batch["au_intensity"])
        each = weighted_bce(self.levels(z), target, rarity).mean(-1)  # (B, K, T) -> (B, K)
        whole = masked_mean(each, batch["au_intensity_mask"])
        target = IntensityLevels.targets(batch["au_sides"])
        each = weighted_bce(self.levels(sides), target, rarity[:, None]).mean(-1)  # (B, K, 2, T) -> (B, K, 2)
        side = masked_mean(each, batch["au_sides_mask"])
        only = batch["au_occurrence_mask"] & ~batch["au_intensity_mask"]
        each = weighted_bce(self.levels(z)[..., PRESENT - 1], batch["au_occurrence"], self.au_rarity)
        return whole + 0.5 * side + masked_mean(each, only)

    def attribute_loss(self, z: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Binary cross-entropy, mean over what is labelled."""
        each = F.binary_cross_entropy_with_logits(z, batch["attributes"], reduction="none")
        return masked_mean(each, batch["attributes_mask"])

    def age_loss(self, out: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """That of the age reading."""
        return masked_mean(self.age.loss(out, batch["age"]), batch["age_mask"])

    def pose_loss(self, z: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """L1 in units of ten degrees, each angle masked on its own."""
        return masked_mean((z * self.config.pose_scale - batch["pose"]).abs() / 10, batch["pose_mask"])

    # -- prediction

    @torch.no_grad()
    def predict(self, image: Tensor, *, maps: bool = False) -> dict[str, Tensor]:
        """Read images.

        Args:
            image: ``(B, 3, H, W)`` in [0, 1], H = W = ``config.image_size``.
            maps: Also return where each query looked.

        Returns:
            ``expression`` (B, E) probabilities; ``au_probability`` (B, K); ``au_intensity`` (B, K) FACS 0-5;
            ``au_sides`` (B, K, 2) intensity of the subject's left and right; ``attributes`` (B, A) probabilities;
            ``age`` (B,) years; ``pose`` (B, 3) yaw, pitch, roll in degrees; with ``maps`` also ``maps`` (B, M, h, w),
            each summing to 1 (over stages too where the fusion keeps them apart).
        """
        out, rows, grid = self.raw(image, maps=maps)
        tuned = self.calibration
        first = self.levels(torch.zeros_like(out["action_units"]))[..., PRESENT - 1]  # minus the level B threshold
        sides = out["sides"].transpose(1, 2)  # (B, K, 2) -> (B, 2, K)
        answer = {
            "expression": (out["expression"] / tuned.temperature).softmax(-1),
            "au_probability": tuned.present(out["action_units"] + first).sigmoid(),
            "au_intensity": self.levels(tuned.levels(out["action_units"])).sigmoid().sum(-1),
            "au_sides": self.levels(tuned.sides(sides).transpose(1, 2)).sigmoid().sum(-1),
            "attributes": tuned.attributes(out["attributes"]).sigmoid(),
            "age": self.age.years(out["age"]).clamp(0, 116),
            "pose": out["pose"] * self.config.pose_scale,
        }
        if rows is not None:
            answer["maps"] = rows.unflatten(-1, (-1, *grid)).sum(2)  # (B, M, [S] N) -> (B, M, h, w)
        return answer

    @torch.no_grad()
    def raw(self, image: Tensor, *, maps: bool = False) -> tuple[dict[str, Tensor], Tensor | None, tuple[int, int]]:
        """Outputs before calibration, in float32; the attention rows ``(B, M, [S] N)`` if asked for; the grid."""
        tokens, position, grid = self.fused(image)
        read, rows = self.decoder.read(self.queries, tokens, position, *self.beside(tokens), keep_maps=maps)
        return {name: z.float() for name, z in self.logits(read).items()}, rows, grid

    def by_view(self, tight: dict[str, A], loose: dict[str, A]) -> dict[str, A]:
        """Answers of faces from their aligned and their unrotated crops: each task's from the crop that it reads."""
        return {name: (loose if task in self.config.loose else tight)[name] for task in TASKS for name in ANSWERS[task]}

    def reads_loose(self, label: str) -> bool:
        """Whether the task of a label reads the unrotated crop."""
        place = self.labels().index(label)
        task = next(task for task, slot in self.slots.items() if slot.start <= place < slot.stop)
        return task in self.config.loose

    def labels(self) -> tuple[str, ...]:
        """Names of the queries, in the order of the maps."""
        c = self.config
        return (*c.expressions, *c.action_units, *c.attributes, "age", *ANGLES)


def label_counts(config: Config) -> tuple[int, ...]:
    """Labels of each task, in the order of ``TASKS``."""
    return len(config.expressions), len(config.action_units), len(config.attributes), 1, len(ANGLES)


def query_decoder(config: Config) -> QueryDecoder:
    """The decoder of ``config``."""
    return QueryDecoder(
        config.width,
        layers=config.layers,
        heads=config.heads,
        hidden=config.hidden,
        dropout=config.dropout,
        among_queries=config.among_queries,
    )


def label_queries(config: Config) -> tuple[int, QueryDecoder]:
    """A query for every label, as the paper has it."""
    return sum(label_counts(config)), query_decoder(config)


def task_queries(config: Config) -> tuple[int, GroupedQueries]:
    """A query for every task."""
    return len(TASKS), GroupedQueries(query_decoder(config), asked_by_task(label_counts(config)))


def one_query(config: Config) -> tuple[int, GroupedQueries]:
    """One query for all labels."""
    return 1, GroupedQueries(query_decoder(config), asked_once(label_counts(config)))


def pooled(config: Config) -> tuple[int, PooledReading]:
    """No query."""
    return 0, PooledReading(
        config.width, labels=sum(label_counts(config)), layers=config.layers, hidden=config.hidden,
        dropout=config.dropout,
    )  # fmt: skip


READINGS: dict[str, Callable[[Config], tuple[int, Reading]]] = {
    "label_queries": label_queries, "task_queries": task_queries, "one_query": one_query, "pooled": pooled,
}  # fmt: skip
"""How many queries there are, and what reads by them."""


def build(config: Config) -> QFace:
    """Build the model, every part spelled out once."""
    backbone = stages(
        config.backbone,
        taps=config.taps,
        image_size=config.image_size,
        pretrained=config.pretrained,
        width=config.backbone_width,
        depth=config.backbone_depth,
        heads=config.backbone_heads,
        drop_path=config.drop_path,
    )
    with torch.no_grad():
        _, (grid, _) = backbone.eval()(torch.zeros(1, 3, config.image_size, config.image_size))
    tokens = grid * grid * (len(config.taps) if config.fusion == "tokens" else 1)
    queries, decoder = READINGS[config.reading](config)
    return QFace(
        config,
        backbone=backbone.train(),
        fusion=FUSIONS[config.fusion](backbone.widths, config.width),
        summary=Summary(tokens, config.width, config.summary) if config.summary else None,
        decoder=decoder,
        queries=queries,
        grid=grid,
    )
