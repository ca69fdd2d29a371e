"""MGRR-Net: layers that relate action units, places and channels, and fuse the three by gates.

    Paper   Ge, Jose, Xu, Liu, Han: MGRR-Net, arXiv 2204.01349 (2022); ACM TIST 15(3) (2024)
    Idea    Every layer reasons at three levels: a graph network relates the local features of all units, and graph
            attention recalibrates the places and the channels of the whole face's features. Gated cells fuse places
            with channels, and the result with each unit.
    Flow    face -> stem -> landmarks -> fixed regions -> a branch a unit; stem -> whole-face map
            K times: units' graph | graph attention over places | over channels -> gated fusion, map then units
            -> presence and intensity of each unit and of its sides
    Known   Abstracts of three versions and the first lines of the introduction. No equation, size or training value
            could be read: what stands here satisfies what could (docs/systems/mgrrnet.md), and is MGRR-Net-style.

Shapes      B faces   N units   2 sides (the subject's left, right)   D width   C channels and P = p * p places of the
            whole face's map   K layers   m heads
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
from semeia.nn.unit_network import UnitHeads, UnitTrunk, unit_losses
from semeia.records import ACTION_UNITS, PRESENT, SemeiaError
from semeia.task import Task


@dataclass(frozen=True)
class Config:
    """What the model is; every field says where its default comes from."""

    image_size: int = 112
    """Side of the square input in pixels, a multiple of 16. [default: small; JAA-Net's code has 176]"""
    action_units: tuple[str, ...] = ACTION_UNITS
    """Units. [default: the library's; the paper has BP4D's and DISFA's]"""
    margin: float = 0.15
    """Margin of the aligned crop; 0: brows to chin. [default: regions reach above the brows and below the mouth]"""
    stem: tuple[int, int] = (16, 32)
    """Channels of the stem's two layers. [default: half of JAA-Net's]"""
    face: tuple[int, ...] = (32, 48, 64)
    """Channels of the landmark branch. [default: small; JAA-Net has 96, 128, 160]"""
    hidden: int = 128
    """Width of the landmark branch's layer between features and points. [default: small; JAA-Net has 512]"""
    branches: tuple[int, ...] = (32, 48)
    """Channels of each unit's branch. [default: small; JAA-Net has 96, 128, 160]"""
    regions: Literal["window", "map"] = "window"
    """Windows cut around each centre, or the whole map masked as in JAA-Net. [default: a fifth of the work]"""
    cells: int = 8
    """Side of a window in samples. [default: own]"""
    width: int = 96
    """D. [default: spec section 6.2 has 128]"""
    whole: tuple[int, ...] = (48, 64)
    """Channels of the whole face's map; each halves it, the last are C. [default: spec section 6.3 has C = 128]"""
    layers: int = 2
    """K. [default: recalled as about two]"""
    heads: int = 4
    """m of graph attention. [default: spec section 6.4]"""
    region: Literal["graph", "signed", "alone"] = "graph"
    """How units are related: a graph with edges from the image, the same with edges that may be negative, or a
    perceptron for each. [inferred: correlation across units; the update is unknown]"""
    places: Literal["attention", "alone"] = "attention"
    """Graph attention over places, or a perceptron at each. [paper: pixel-wise, graph attention networks]"""
    channels: Literal["attention", "alone"] = "attention"
    """Graph attention over channels, or a perceptron at each. [paper: channel-wise, graph attention networks]"""
    fusion: Literal["hierarchical", "flat", "concat", "sum"] = "hierarchical"
    """How the three levels meet. [paper: hierarchical, by gated fusion cells]"""
    dice: Literal["intended", "published"] = "intended"
    """The Dice loss as meant, or as JAA-Net's code computes it. [default: spec section 6]"""
    landmark_weight: float = 0.5
    """Of the landmark loss. [JAA-Net's code]"""
    intensity_weight: float = 1.0
    """Of the intensity losses, of units and of sides. [own: published systems learn presence alone]"""


# ---------------------------------------------------------------------------------------------------------------------
# Region level (spec 6.4 a): (B, N, D) -> (B, N, D)


class UnitGraph(nn.Module):
    """v' = v + ReLU(BN(sum_j E_ij W_m v_j + W_s v_i)), E_ij = softmax_j((W_q v_i) . (W_k v_j) / sqrt(D) + B_ij).

    Weights of a softmax cannot be negative: exclusion lies in W_m. ``signed`` takes tanh(.) / N in place of softmax.
    """

    def __init__(self, units: int, width: int, *, signed: bool) -> None:
        super().__init__()
        self.signed = signed
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.message, self.own = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.zeros(units, units))
        self.norm = nn.BatchNorm1d(width)

    def edges(self, v: Tensor) -> Tensor:
        """``(B, N, D) -> (B, N, N)``; without ``signed`` each row sums to 1."""
        scores = self.query(v) @ self.key(v).transpose(1, 2) / v.shape[-1] ** 0.5 + self.bias
        return scores.tanh() / v.shape[1] if self.signed else scores.softmax(-1)

    def forward(self, v: Tensor) -> Tensor:
        """``(B, N, D) -> (B, N, D)``."""
        told = self.edges(v) @ self.message(v) + self.own(v)
        return v + F.relu(self.norm(told.flatten(0, 1)).view_as(v))


class UnitsAlone(nn.Module):
    """No relation: a perceptron for each unit by itself, as large as the graph."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.think = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))
        self.norm = nn.BatchNorm1d(width)

    def forward(self, v: Tensor) -> Tensor:
        """``(B, N, D) -> (B, N, D)``."""
        return v + F.relu(self.norm(self.think(v).flatten(0, 1)).view_as(v))


REGIONS: dict[str, Callable[[Config], nn.Module]] = {
    "graph": lambda c: UnitGraph(len(c.action_units), c.width, signed=False),
    "signed": lambda c: UnitGraph(len(c.action_units), c.width, signed=True),
    "alone": lambda c: UnitsAlone(c.width),
}


# ---------------------------------------------------------------------------------------------------------------------
# Places and channels (spec 6.4 b, c): nodes (B, n, f) -> (B, n, f)


class GraphAttention(nn.Module):
    """Velickovic et al. 2018 among all nodes, added with a weight that starts at zero.

    s_pq = LeakyReLU(a_1 . W x_p + a_2 . W x_q); a_pq = softmax_q(s_pq); out_p = x_p + gamma W_o [sum_q a_pq W x_q].
    """

    def __init__(self, features: int, *, heads: int, width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.enter = nn.LayerNorm(features), nn.Linear(features, width, bias=False)
        self.asks = nn.Parameter(torch.randn(heads, width // heads) * (width // heads) ** -0.5)
        self.offers = nn.Parameter(torch.randn(heads, width // heads) * (width // heads) ** -0.5)
        self.out = nn.Linear(width, features)
        self.gamma = nn.Parameter(torch.zeros(()))

    def rows(self, entered: Tensor) -> Tensor:
        """Nodes ``(B, n, m, f / m)`` -> attention ``(B, m, n, n)``; each row sums to 1."""
        asks = (entered * self.asks).sum(-1).transpose(1, 2)  # (B, m, n)
        offers = (entered * self.offers).sum(-1).transpose(1, 2)
        return F.leaky_relu(asks[..., :, None] + offers[..., None, :], 0.2).softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, n, f) -> (B, n, f)``."""
        entered = self.enter(self.norm(x)).unflatten(-1, (self.heads, -1))
        read = self.rows(entered) @ entered.transpose(1, 2)  # (B, m, n, f / m)
        return x + self.gamma * self.out(read.transpose(1, 2).flatten(2))


class NodesAlone(nn.Module):
    """No relation: a perceptron at each node, as large as the attention."""

    def __init__(self, features: int, *, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.think = nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, features))
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, n, f) -> (B, n, f)``."""
        return x + self.gamma * self.think(self.norm(x))


class AcrossPlaces(nn.Module):
    """What treats channels as nodes, whose features are their places: ``(B, P, C) -> (B, P, C)``."""

    def __init__(self, among: nn.Module) -> None:
        super().__init__()
        self.among = among

    def forward(self, x: Tensor) -> Tensor:
        """``(B, P, C) -> (B, P, C)``."""
        return self.among(x.transpose(1, 2)).transpose(1, 2)


def place_level(config: Config) -> nn.Module:
    """What relates places, or a perceptron at each: ``(B, P, C) -> (B, P, C)``."""
    channels = config.whole[-1]
    if config.places == "attention":
        return GraphAttention(channels, heads=config.heads, width=channels)
    return NodesAlone(channels, width=channels)


def channel_level(config: Config, places: int) -> nn.Module:
    """What relates channels, or a perceptron as large that sees each place by itself: ``(B, P, C) -> (B, P, C)``."""
    channels = config.whole[-1]
    if config.channels == "attention":
        return AcrossPlaces(GraphAttention(places, heads=config.heads, width=channels))
    return NodesAlone(channels, width=places)


# ---------------------------------------------------------------------------------------------------------------------
# Fusion (spec 6.4 d): by_place, by_channel (B, P, C) and units (B, N, D) -> map (B, P, C) and units (B, N, D)


def normed(features: int, width: int) -> nn.Sequential:
    """What a gated fusion cell does to each side before it mixes them."""
    return nn.Sequential(nn.Linear(features, width), nn.LayerNorm(width))


class FromMap(nn.Module):
    """What each unit finds in the map: attention with the unit as the query, ``(B, N, D)``."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.ask, self.key, self.value = nn.Linear(width, width), nn.Linear(channels, width), nn.Linear(channels, width)

    def forward(self, units: Tensor, whole: Tensor) -> Tensor:
        """``(B, N, D)``, ``(B, P, C) -> (B, N, D)``."""
        rows = (self.ask(units) @ self.key(whole).transpose(1, 2) / units.shape[-1] ** 0.5).softmax(-1)
        return rows @ self.value(whole)


class Hierarchical(nn.Module):
    """A gated cell fuses places with channels; a second one fuses each unit with what it finds in the result."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.maps = GatedFusion(channels, first=normed(channels, channels), second=normed(channels, channels))
        self.find = FromMap(channels, width)
        self.units = GatedFusion(width, first=normed(width, width), second=normed(width, width))

    def forward(self, by_place: Tensor, by_channel: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, P, C)`` twice and ``(B, N, D)`` -> ``(B, P, C)``, ``(B, N, D)``."""
        whole = self.maps(by_place, by_channel)
        return whole, units + self.units(units, self.find(units, whole))


class Flat(nn.Module):
    """One gate of three: each unit weighs itself, what it finds by place, and what it finds by channel."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.places, self.channels = FromMap(channels, width), FromMap(channels, width)
        self.phi = nn.ModuleList(normed(width, width) for _ in range(3))
        self.gate = nn.Linear(3 * width, 3 * width)

    def forward(self, by_place: Tensor, by_channel: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Hierarchical``."""
        three = [units, self.places(units, by_place), self.channels(units, by_channel)]
        share = self.gate(torch.cat(three, -1)).unflatten(-1, (3, -1)).softmax(-2)
        mixed = (share * torch.stack([phi(x) for phi, x in zip(self.phi, three, strict=True)], -2)).sum(-2)
        return (by_place + by_channel) / 2, units + mixed


class Concatenated(nn.Module):
    """No gates: places and channels side by side through a layer, then units beside what they find."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.maps = normed(2 * channels, channels)
        self.find = FromMap(channels, width)
        self.units = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.ReLU(), normed(2 * width, width))

    def forward(self, by_place: Tensor, by_channel: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Hierarchical``."""
        whole = self.maps(torch.cat([by_place, by_channel], -1))
        return whole, units + self.units(torch.cat([units, self.find(units, whole)], -1))


class Summed(nn.Module):
    """No gates: means."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.find = FromMap(channels, width)

    def forward(self, by_place: Tensor, by_channel: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        """As ``Hierarchical``."""
        whole = (by_place + by_channel) / 2
        return whole, units + self.find(units, whole)


FUSIONS: dict[str, Callable[[int, int], nn.Module]] = {
    "hierarchical": Hierarchical, "flat": Flat, "concat": Concatenated, "sum": Summed,
}  # fmt: skip


class Layer(nn.Module):
    """One layer of the paper: three levels of reasoning and their fusion."""

    def __init__(self, config: Config, *, side: int) -> None:
        super().__init__()
        channels = config.whole[-1]
        self.region = REGIONS[config.region](config)
        self.places, self.channels = place_level(config), channel_level(config, side * side)
        self.fuse = FUSIONS[config.fusion](channels, config.width)

    def forward(self, units: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, N, D)``, ``(B, P, C)`` -> the same."""
        units = self.region(units)
        whole, units = self.fuse(self.places(whole), self.channels(whole), units)
        return units, whole


# ---------------------------------------------------------------------------------------------------------------------


class MGRRNet(Task):
    """MGRR-Net as a task: ``forward`` returns losses, ``predict`` intensities and presence of units and sides.

    Args:
        config: See ``Config``.
        trunk: From a face to features of each unit.
        whole: Features of the whole face.
        layers: K layers of reasoning.
        heads: From features to scores.
    """

    unit_weight: Tensor
    unit_threshold: Tensor
    side_threshold: Tensor

    def __init__(
        self, config: Config, *, trunk: UnitTrunk, whole: FeatureExtractor, layers: nn.ModuleList, heads: UnitHeads
    ) -> None:
        super().__init__()
        self.config = config
        self.trunk, self.whole, self.layers, self.heads = trunk, whole, layers, heads
        self.face = nn.Linear(config.whole[-1], config.width)
        self.register_buffer("unit_weight", torch.ones(len(config.action_units)))
        # Decisions: from which probability a unit counts as present, and from which intensity one of its sides does.
        self.register_buffer("unit_threshold", torch.full((len(config.action_units),), 0.5))
        self.register_buffer("side_threshold", torch.full((len(config.action_units),), float(PRESENT)))

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """What is known of a face before it is scored.

        Returns:
            ``refined`` (B, N, D), ``sides`` (B, N, 2, D), ``together`` (B, N, D), ``points`` (B, 49, 2), ``centres``
            and ``spreads`` (B, N, 2, 2).
        """
        seen = self.trunk(image)
        centres, spreads = self.trunk.centres(seen.points)
        sides, together = self.trunk.features(seen.stem, centres, spreads)
        units, whole = together, self.whole(seen.stem).flatten(2).transpose(1, 2)  # (B, C, p, p) -> (B, P, C)
        for layer in self.layers:
            units, whole = layer(units, whole)
        face = self.face(whole.mean(1))  # (B, D)
        return {
            "refined": units + face[:, None], "sides": sides, "together": together, "points": seen.points,
            "centres": centres, "spreads": spreads,
        }  # fmt: skip

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """JAA-Net's losses and that of intensity; unlabelled units cost nothing.

        Args:
            batch: ``image`` (B, 3, S, S) in [0, 1] and the targets of ``data.samples.collate``.
            loss: MGRR-Net has one, ``main``.
        """
        known, c = self.features(batch["image"]), self.config
        scores = self.heads(known["refined"], known["sides"], known["together"])
        published = c.dice == "published"
        parts = unit_losses(self.heads, scores, known["points"], batch, self.unit_weight, published=published)
        weights = {
            "presence": 1.0, "local": 1.0, "landmarks": c.landmark_weight, "intensity": c.intensity_weight,
            "sides": c.intensity_weight,
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


def build(config: Config) -> MGRRNet:
    """Build the model, every part spelled out once.

    Raises:
        SemeiaError: A value that does not fit the others.
    """
    if config.whole[-1] % config.heads:
        raise SemeiaError(f"mgrrnet: expected channels that {config.heads} heads divide, found {config.whole[-1]}")
    trunk = UnitTrunk(
        config.action_units, image_size=config.image_size, stem=config.stem, landmarks=config.face,
        hidden=config.hidden, branches=config.branches, regions=config.regions, cells=config.cells, width=config.width,
    )  # fmt: skip
    side = config.image_size // 4 // 2 ** len(config.whole)
    return MGRRNet(
        config,
        trunk=trunk,
        whole=FeatureExtractor(config.stem[-1], config.whole),
        layers=nn.ModuleList(Layer(config, side=side) for _ in range(config.layers)),
        heads=UnitHeads(len(config.action_units), config.width),
    )
