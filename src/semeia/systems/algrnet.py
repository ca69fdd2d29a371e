"""ALGRNet: adaptive regions of action units, related along both directions and refined by the whole face.

    Paper   Ge et al.: Automatic Facial Paralysis Estimation with Facial Action Units, arXiv 2203.01800 (2022);
            ALGRNet, IEEE T-BIOM (2023); before it LGRNet, FG 2021
    Idea    The region of each action unit starts at landmarks and is moved and stretched for the face at hand. Local
            features of the units are related by a BiLSTM whose gates let information skip over neighbours, then refined
            by what the whole face shows.
    Flow    face -> stem -> landmarks -> adaptive regions -> a branch a unit -> skip-BiLSTM -> fusion and refining
            with the whole face -> presence and intensity of each unit and of its sides
    Known   Abstracts and the first lines of introductions. No equation, size or training value could be read: what
            stands here satisfies every statement that could (docs/systems/algrnet.md), and is ALGRNet-style.

Shapes      B faces   N units   2 sides (the subject's left, right)   D width   P places of the whole face
            H = width of a direction of the BiLSTM   G = S / 4 cells of the stem's map
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.nn.fusion import GatedFusion
from semeia.nn.regions import FeatureExtractor
from semeia.nn.unit_network import Seen, UnitHeads, UnitTrunk, unit_losses
from semeia.ops.face_regions import FORTY_NINE, eye_distance
from semeia.records import ACTION_UNITS, PRESENT, SemeiaError
from semeia.task import Task


@dataclass(frozen=True)
class Config:
    """What the model is; every field says where its default comes from."""

    image_size: int = 112
    """Side of the square input in pixels, a multiple of 16. [default: small; JAA-Net's code has 176]"""
    action_units: tuple[str, ...] = ACTION_UNITS
    """Units, in the order in which the BiLSTM meets them. [default: the library's; the paper has BP4D's and DISFA's]"""
    margin: float = 0.15
    """Margin of the aligned crop; 0: brows to chin. [default: regions reach above the brows and below the mouth]"""
    stem: tuple[int, int] = (16, 32)
    """Channels of the stem's two layers. [default: half of JAA-Net's]"""
    face: tuple[int, ...] = (32, 48, 64)
    """Channels of the landmark branch and of the whole face. [default: small; JAA-Net has 96, 128, 160]"""
    hidden: int = 128
    """Width of the landmark branch's layer between features and points. [default: small; JAA-Net has 512]"""
    branches: tuple[int, ...] = (32, 48)
    """Channels of each unit's branch. [default: small; JAA-Net has 96, 128, 160]"""
    regions: Literal["window", "map"] = "window"
    """Windows cut around each centre, or the whole map masked as in JAA-Net. [default: a fifth of the work]"""
    cells: int = 8
    """Side of a window in samples. [default: own]"""
    width: int = 96
    """D. [default: spec section 6.4 has 128]"""
    adaptive: Literal["fixed", "offset", "offset_scale", "whole"] = "offset_scale"
    """What of a region is learned: nothing, its place, its place and size; ``whole``: each is the whole ``map``.
    [inferred: the third novelty, adaptive region learning; its parameters are unknown]"""
    shape: bool = False
    """Whether regions take irregular shapes. [default: off; the paper complains of regular ones]"""
    relation: Literal["none", "bilstm", "skip_stride", "skip_dense", "graph"] = "skip_dense"
    """How units are related. [default: the closest reading of skip-BiLSTM; the rule of skipping is unknown]"""
    relation_width: int = 48
    """H, or the hidden width of what stands in for the BiLSTM. [default: D / 2]"""
    stride: int = 2
    """Steps that ``skip_stride`` goes back. [default: own]"""
    fusion: Literal["none", "concat", "gate", "gate_refine"] = "gate_refine"
    """How the whole face refines the units. [inferred: gated, as a summary of the paper says]"""
    fusion_width: int = 192
    """Width of the perceptron that refines, or of what stands in for fusion and refining. [default: 2 D]"""
    dice: Literal["intended", "published"] = "intended"
    """The Dice loss as meant, or as JAA-Net's code computes it. [default: spec section 6]"""
    landmark_weight: float = 0.5
    """Of the landmark loss. [JAA-Net's code]"""
    region_weight: float = 1e-3
    """Of how far regions move. [default: own]"""
    intensity_weight: float = 1.0
    """Of the intensity losses, of units and of sides. [own: published systems learn presence alone]"""


# ---------------------------------------------------------------------------------------------------------------------
# Adaptive region learning (spec 6.3)


class AdaptiveRegions(nn.Module):
    """Moves and stretches each region by what the face shows: d = r / 2 tanh(.), z = exp(0.7 tanh(.)) for each axis.

    The last layer starts at zero, so that training starts from the fixed rule.

    Args:
        config: Which of the two are learned; what is not is still computed, so that arms have equal parameters.
        channels: Of the face's features.
    """

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        units = len(config.action_units)
        self.moves = float(config.adaptive in {"offset", "offset_scale"})
        self.stretches = float(config.adaptive == "offset_scale")
        self.read = nn.Linear(channels + 2 * len(FORTY_NINE), 128)
        self.decide = nn.Linear(128, units * 2 * 4)
        nn.init.zeros_(self.decide.weight)
        nn.init.zeros_(self.decide.bias)

    def forward(self, seen: Seen, centres: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return new centres and spreads ``(B, N, 2, 2)``, and how far they moved (a scalar)."""
        points = seen.points.detach()
        r = eye_distance(points)[:, None, None, None].clamp(min=0.05)
        shape = (points - points.mean(1, keepdim=True)) / r[..., 0]  # (B, Q, 2)
        told = torch.cat([seen.face.mean((2, 3)), shape.flatten(1)], -1)
        decided = self.decide(F.relu(self.read(told))).unflatten(-1, (*centres.shape[1:3], 4)).tanh()
        move, stretch = self.moves * decided[..., :2], self.stretches * decided[..., 2:]  # (B, N, 2, 2) each
        cost = (0.5 * move.abs() + 0.7 * stretch.abs()).mean()
        return centres + 0.5 * r * move, spreads * torch.exp(0.7 * stretch), cost


class WholeFace(AdaptiveRegions):
    """No regions: each weighs the whole map alike. What would move them is still computed, and moves nothing."""

    def forward(self, seen: Seen, centres: Tensor, spreads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``AdaptiveRegions``."""
        _, _, nothing = super().forward(seen, centres, spreads)
        return torch.full_like(centres, 0.5), torch.full_like(spreads, torch.inf), nothing


class IrregularShape(nn.Module):
    """Weighs every place of a region by 0.5 to 1.5, by what stands there: M' = M (0.5 + sigmoid(conv(F M)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(channels, 1, 3, padding=1)

    def forward(self, regions: Tensor) -> Tensor:
        """``(B, N, 2, C, w, w)``, same shape."""
        places = self.weigh(regions.flatten(0, 2)).unflatten(0, regions.shape[:3])
        return regions * (0.5 + places.sigmoid())


# ---------------------------------------------------------------------------------------------------------------------
# Relations of units (spec 6.5): every one is residual, (B, N, D) -> (B, N, D)


class SkipLSTM(nn.Module):
    """One direction of the skip-BiLSTM.

    k_t gathers earlier states over the heads of the nearest ones; [i, f, o, n] = W [v_t; h_(t-1); k_t] + b;
    c_t = sig(f) c_(t-1) + sig(i) tanh(n); h_t = sig(o) tanh(c_t).

    ``dense``: k_t = sum_j g_tj W_v h_j / (t - 2) over j <= t - 2, with independent gates
    g_tj = sig(w tanh(W_q v_t + W_k h_j)), so that a state may help or hinder. ``stride``: k_t = sig(W_g [v_t; h_(t-1);
    h_(t-s)]) h_(t-s). ``none``: a plain LSTM.
    """

    def __init__(self, width: int, hidden: int, *, skip: Literal["none", "stride", "dense"], stride: int) -> None:
        super().__init__()
        self.hidden, self.skip, self.stride = hidden, skip, stride
        self.enter, self.repeat = nn.Linear(width, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        if skip != "none":
            self.jump = nn.Linear(hidden, 4 * hidden, bias=False)
        if skip == "dense":
            self.asks, self.offers = nn.Linear(width, hidden), nn.Linear(hidden, hidden, bias=False)
            self.gate, self.value = nn.Linear(hidden, 1), nn.Linear(hidden, hidden, bias=False)
        if skip == "stride":
            self.gate = nn.Linear(width + 2 * hidden, hidden)

    def skipped(self, v: Tensor, states: list[Tensor], offered: list[Tensor]) -> Tensor | None:
        """k_t ``(B, H)`` from what was, or None where nothing lies far enough back."""
        t = len(states)
        if self.skip == "dense" and t >= 2:
            before = torch.stack(states[: t - 1], 1)  # (B, t - 1, H)
            gates = self.gate((self.asks(v)[:, None] + torch.stack(offered[: t - 1], 1)).tanh()).sigmoid()
            return (gates * self.value(before)).sum(1) / max(1, t - 1)
        if self.skip == "stride" and t >= self.stride:
            before = states[t - self.stride]
            return self.gate(torch.cat([v, states[-1], before], -1)).sigmoid() * before
        return None

    def forward(self, v: Tensor) -> Tensor:
        """``(B, N, D) -> (B, N, H)``."""
        entered = self.enter(v)  # (B, N, 4 H)
        h = c = v.new_zeros(len(v), self.hidden)
        states: list[Tensor] = []
        offered: list[Tensor] = []
        for t in range(v.shape[1]):
            gates = entered[:, t] + self.repeat(h)
            jumped = self.skipped(v[:, t], states, offered)
            if jumped is not None:
                gates = gates + self.jump(jumped)
            i, f, o, n = gates.chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * n.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
            if self.skip == "dense":
                offered.append(self.offers(h))
        return torch.stack(states, 1)


class SkipBiLSTM(nn.Module):
    """y_t = v_t + W_o [h_t; h'_t] with h forwards and h' backwards through the units."""

    def __init__(self, width: int, hidden: int, *, skip: Literal["none", "stride", "dense"], stride: int) -> None:
        super().__init__()
        self.forwards = SkipLSTM(width, hidden, skip=skip, stride=stride)
        self.backwards = SkipLSTM(width, hidden, skip=skip, stride=stride)
        self.out = nn.Linear(2 * hidden, width)

    def forward(self, v: Tensor) -> Tensor:
        """``(B, N, D) -> (B, N, D)``."""
        return v + self.out(torch.cat([self.forwards(v), self.backwards(v.flip(1)).flip(1)], -1))


class Alone(nn.Module):
    """No relation: the same perceptron for each unit by itself."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.think = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, v: Tensor) -> Tensor:
        """``(B, N, D) -> (B, N, D)``."""
        return v + self.think(v)


class FullGraph(nn.Module):
    """All units related to all by learned weights, the same for every face."""

    def __init__(self, units: int, width: int, hidden: int) -> None:
        super().__init__()
        self.edges = nn.Parameter(torch.zeros(units, units))
        self.tell, self.hear = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, v: Tensor) -> Tensor:
        """``(B, N, D) -> (B, N, D)``."""
        return v + self.hear(F.relu(self.edges.softmax(-1) @ self.tell(v)))


RELATIONS: dict[str, Callable[[Config], nn.Module]] = {
    "none": lambda c: Alone(c.width, c.relation_width),
    "bilstm": lambda c: SkipBiLSTM(c.width, c.relation_width, skip="none", stride=c.stride),
    "skip_stride": lambda c: SkipBiLSTM(c.width, c.relation_width, skip="stride", stride=c.stride),
    "skip_dense": lambda c: SkipBiLSTM(c.width, c.relation_width, skip="dense", stride=c.stride),
    "graph": lambda c: FullGraph(len(c.action_units), c.width, c.relation_width),
}


# ---------------------------------------------------------------------------------------------------------------------
# Feature fusion and refining (spec 6.7): units (B, N, D) and places of the whole face (B, P, D) -> (B, N, D)


class Places(nn.Module):
    """The whole face as places, each with its features and where it lies."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        side = config.image_size // 4 // 2 ** len(config.face)
        self.whole = FeatureExtractor(config.stem[-1], config.face)
        self.project = nn.Linear(config.face[-1], config.width)
        self.position = nn.Parameter(0.02 * torch.randn(side * side, config.width))

    def forward(self, stem: Tensor) -> Tensor:
        """``(B, C, G, G) -> (B, P, D)``."""
        return self.project(self.whole(stem).flatten(2).transpose(1, 2)) + self.position


class Refining(nn.Module):
    """r = LN(y + FFN(u)) with u the gated mixture of a unit and of what it finds in the whole face.

    a_ip = softmax_p((W_1 y_i) . (W_2 G_p) / sqrt(D)); g_i = sum_p a_ip W_3 G_p;
    u_i = z_i tanh(W_l y_i) + (1 - z_i) tanh(W_g g_i).

    Args:
        width: D.
        hidden: Width of the feed-forward part.
        refine: Whether it and the norm follow; otherwise r = y + u.
    """

    def __init__(self, width: int, hidden: int, *, refine: bool) -> None:
        super().__init__()
        self.ask, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mix = GatedFusion(
            width,
            first=nn.Sequential(nn.Linear(width, width), nn.Tanh()),
            second=nn.Sequential(nn.Linear(width, width), nn.Tanh()),
            lean=1.0,  # begins near the local feature
        )
        think = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.refine = think if refine else nn.Identity()
        self.norm = nn.LayerNorm(width) if refine else nn.Identity()

    def forward(self, units: Tensor, places: Tensor) -> Tensor:
        """``(B, N, D)``, ``(B, P, D) -> (B, N, D)``."""
        rows = (self.ask(units) @ self.key(places).transpose(1, 2) / units.shape[-1] ** 0.5).softmax(-1)
        mixed = self.mix(units, rows @ self.value(places))
        return self.norm(units + self.refine(mixed))


class Beside(nn.Module):
    """r = y + MLP([y; mean of the whole face])."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.think = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, units: Tensor, places: Tensor) -> Tensor:
        """``(B, N, D)``, ``(B, P, D) -> (B, N, D)``."""
        return units + self.think(torch.cat([units, places.mean(1, keepdim=True).expand_as(units)], -1))


FUSIONS: dict[str, Callable[[Config], nn.Module]] = {
    "none": lambda c: Alone(c.width, c.fusion_width),
    "concat": lambda c: Beside(c.width, c.fusion_width),
    "gate": lambda c: Refining(c.width, c.fusion_width, refine=False),
    "gate_refine": lambda c: Refining(c.width, c.fusion_width, refine=True),
}


# ---------------------------------------------------------------------------------------------------------------------


class ALGRNet(Task):
    """ALGRNet as a task: ``forward`` returns losses, ``predict`` intensities and presence of units and sides.

    Args:
        config: See ``Config``.
        trunk: From a face to features of each unit.
        adapt: Moves and stretches regions.
        shape: Gives regions a shape, or None.
        relation: Of units with one another.
        places: Of the whole face, or None where it is not read.
        fusion: Of units with the whole face, or what stands in for it.
        heads: From features to scores.
    """

    unit_weight: Tensor
    unit_threshold: Tensor
    side_threshold: Tensor

    def __init__(
        self, config: Config, *, trunk: UnitTrunk, adapt: nn.Module, shape: nn.Module | None, relation: nn.Module,
        places: Places | None, fusion: nn.Module, heads: UnitHeads,
    ) -> None:  # fmt: skip
        super().__init__()
        self.config = config
        self.trunk, self.adapt, self.shape, self.relation = trunk, adapt, shape, relation
        self.places, self.fusion, self.heads = places, fusion, heads
        self.register_buffer("unit_weight", torch.ones(len(config.action_units)))
        # Decisions: from which probability a unit counts as present, and from which intensity one of its sides does.
        self.register_buffer("unit_threshold", torch.full((len(config.action_units),), 0.5))
        self.register_buffer("side_threshold", torch.full((len(config.action_units),), float(PRESENT)))

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """What is known of a face before it is scored.

        Returns:
            ``refined`` (B, N, D), ``sides`` (B, N, 2, D), ``together`` (B, N, D), ``points`` (B, 49, 2), ``centres``
            and ``spreads`` (B, N, 2, 2), ``moved`` a scalar.
        """
        seen = self.trunk(image)
        centres, spreads, moved = self.adapt(seen, *self.trunk.centres(seen.points))
        sides, together = self.trunk.features(seen.stem, centres, spreads, shape=self.shape)
        units = self.relation(together)
        refined = self.fusion(units) if self.places is None else self.fusion(units, self.places(seen.stem))
        return {
            "refined": refined, "sides": sides, "together": together, "points": seen.points, "centres": centres,
            "spreads": spreads, "moved": moved,
        }  # fmt: skip

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """JAA-Net's losses, that of intensity and a little for regions that move; unlabelled units cost nothing.

        Args:
            batch: ``image`` (B, 3, S, S) in [0, 1] and the targets of ``data.samples.collate``.
            loss: ALGRNet has one, ``main``.
        """
        known, c = self.features(batch["image"]), self.config
        scores = self.heads(known["refined"], known["sides"], known["together"])
        published = c.dice == "published"
        parts = unit_losses(self.heads, scores, known["points"], batch, self.unit_weight, published=published)
        parts["regions"] = known["moved"]
        weights = {
            "presence": 1.0, "local": 1.0, "landmarks": c.landmark_weight, "regions": c.region_weight,
            "intensity": c.intensity_weight, "sides": c.intensity_weight,
        }  # fmt: skip
        return {"loss": torch.stack([weights[name] * part for name, part in parts.items()]).sum(), **parts}

    @torch.no_grad()
    def predict(self, image: Tensor) -> dict[str, Tensor]:
        """Read aligned crops.

        Args:
            image: ``(B, 3, S, S)`` in [0, 1].

        Returns:
            ``au_probability`` (B, N), ``au_intensity`` (B, N), ``au_sides`` (B, N, 2) of the subject's left and right,
            intensities in FACS 0-5; ``points`` (B, 49, 2), ``centres`` and ``spreads`` (B, N, 2, 2) as parts of the
            crop.
        """
        known = self.features(image)
        answers = self.heads.answers(self.heads(known["refined"], known["sides"], known["together"]))
        return answers | {name: known[name] for name in ("points", "centres", "spreads")}


def build(config: Config) -> ALGRNet:
    """Build the model, every part spelled out once.

    Raises:
        SemeiaError: A value that does not fit the others.
    """
    trunk = UnitTrunk(
        config.action_units, image_size=config.image_size, stem=config.stem, landmarks=config.face,
        hidden=config.hidden, branches=config.branches, regions=config.regions, cells=config.cells, width=config.width,
    )  # fmt: skip
    if config.adaptive == "whole" and config.regions != "map":
        raise SemeiaError("algrnet: adaptive 'whole' weighs whole maps; expected regions 'map', found 'window'")
    return ALGRNet(
        config,
        trunk=trunk,
        adapt=(WholeFace if config.adaptive == "whole" else AdaptiveRegions)(config, config.face[-1]),
        shape=IrregularShape(config.stem[-1]) if config.shape else None,
        relation=RELATIONS[config.relation](config),
        places=None if config.fusion == "none" else Places(config),
        fusion=FUSIONS[config.fusion](config),
        heads=UnitHeads(len(config.action_units), config.width),
    )
