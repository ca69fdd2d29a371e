"""SMILE: the healthy twin of an image with a lesion, learned from few masks and many images without: a reconstruction.

    Paper   Du, Quan, Han, Zhou: Where is the disease? Semi-supervised pseudo-normality synthesis from an abnormal
            image, arXiv 2106.15345
    Idea    A network finds the lesion, another removes what was found. A third must paint the lesion back from the
            twin and the mask alone, so that all of the lesion goes through the mask and nothing is hidden in the twin.
            Images without masks teach the same, by the lesions that are found in them.
    Flow    x -> segmentor S -> m;   x, m -> generator G -> twin;   twin, m -> reconstructor R -> x again
            twin, real normal images -> discriminator D;   twin -> S, frozen -> nothing left?
            stages: S on masks; then G, R, D on masked images; then all, masked and unmasked images in turn
    Known   ONLY THE ABSTRACT could be read: the task, its two kinds of data, and what is claimed. Nets, losses, weights
            and stages here are a stand-in, made from the two closest predecessors (docs/systems/smile.md). No choice
            and no number of this file is the paper's.

Shapes      B images   H, W sides   h, w patches of the discriminator
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from semeia.data.twin_feeds import SCALED, Tones
from semeia.nn.ema import Ema
from semeia.nn.twin_networks import PASTES, PatchCritic, Segmentor, generator, strong
from semeia.nn.unet import marking_loss
from semeia.records import SemeiaError
from semeia.task import Phase, Task

Stage = Literal["segmentor", "labelled", "both"]
"""The stages of a training, in their order."""

Focus = Literal["pixels", "balanced"]
Distance = Literal["absolute", "squared"]


@dataclass(frozen=True)
class Weights:
    """Of each loss; one of weight 0 is neither built nor computed."""

    segment: float = 10.0
    """S on masks: cross-entropy and 1 - Dice. [default: Xia]"""
    empty: float = 10.0
    """S on real normal images: nothing. [default: Xia]"""
    traces: float = 1.0
    """S on the twin of a masked image, still the mask; pixels that changed much count less. [default: GVS]"""
    identity: float = 10.0
    """The twin is the image outside the lesion. [default: GVS]"""
    heal: float = 1.0
    """S, frozen, finds nothing in the twin. [default: GVS]"""
    adversarial: float = 1.0
    """D takes the twin for a real normal image. [default: spec]"""
    reconstruction: float = 20.0
    """R makes the image of its twin and the mask. [default: Xia]"""
    normal_twin: float = 10.0
    """The twin of a real normal image is that image. [default: Xia]"""
    normal_back: float = 10.0
    """R, given an empty mask, leaves a real normal image as it is. [default: Xia]"""
    pasted: float = 10.0
    """G takes a lesion out again that was pasted into a real normal image. [default: own; no loss of the spec says
    which tissue belongs in the place of a lesion]"""
    pseudo: float = 1.0
    """S on unmasked images: what the teacher is sure of. [default: spec]"""
    cycle: float = 0.0
    """Normal -> R -> G -> the same image. [Xia and CycleGAN only]"""
    adversarial_normal: float = 0.0
    """D takes R of a normal image and an empty mask for normal. [Xia only]"""
    adversarial_lesion: float = 0.0
    """A second discriminator takes R of a normal image for one with a lesion. [CycleGAN only]"""
    adversarial_mask: float = 0.0
    """A discriminator of masks takes what S finds in unmasked images for real masks. [Xia only; spec: off]"""


@dataclass(frozen=True)
class Config:
    """What the model is; every field says where its default comes from."""

    size: int = 256
    """Pixels along the side of training images. [default: spec, for CT; any side is read]"""
    window: tuple[float, float] | None = (-1000.0, 500.0)
    """HU that become -1 and 1, clipped beyond; None for MR, whose formats give [-1, 1]. [default: own, lungs to bone;
    GVS takes -200 to 250 for livers]"""
    soft: tuple[float, float] | None = None
    """HU inside the window that are given more room, see ``data.twin_feeds.Tones``. [default: off]"""
    spacing: float | None = None
    """Millimetres a pixel of the squares that are cut out of slices around lesions; None for whole slices, shrunk to
    ``size``. [default: whole, as spec]"""
    segmentor_widths: tuple[int, ...] = (32, 64, 128, 256, 256)
    """Channels of S by level. [default: spec section 4]"""
    generator_widths: tuple[int, ...] = (32, 64, 128)
    """Channels of G and R by level. [default: Xia]"""
    generator_blocks: int = 6
    """Residual blocks of G and R. [default: Xia]"""
    critic_widths: tuple[int, ...] = (64, 128, 256)
    """Channels of the discriminators: patches of 70 pixels. [default: spec section 4]"""
    guided: bool = True
    """Whether G sees the mask. [default: spec section 4]"""
    back_guided: bool = True
    """Whether R sees the mask. [default: spec section 4]"""
    residual: bool = True
    """Whether G and R add to their image or draw anew. [default: GVS]"""
    unlabelled: bool = True
    """Whether images without masks are learned from; otherwise masked ones take their turns. [paper]"""
    use_real_normals: bool = True
    """Whether D and the normal losses see real normal images; else D sees patches without lesion. [default: spec]"""
    p_pred_mask: float = 0.5
    """How often G is given what S finds in place of the true mask: in use there is no other. [default: spec]"""
    grad_to_segmentor: bool = False
    """Whether losses of G and R reach S through the masks that it finds. [default: spec]"""
    composite: bool = False
    """Whether the twin is pasted into the image, inside the dilated mask alone. Outside, nothing can change then: such
    a model has identity for nothing. [default: spec]"""
    dilation: int = 3
    """Pixels by which the mask is dilated for pasting. [default: own]"""
    focus: Focus = "balanced"
    """What is left in the twin counts as the mean of all ``pixels``, or as the mean inside the lesion and the mean
    outside. [default: own, a lesion is under 1 % of a CT slice; spec and GVS: pixels]"""
    distance: Distance = "absolute"
    """Of the identity loss. [default: spec; GVS: squared]"""
    teacher_decay: float = 0.99
    """Of the averaged segmentor that labels unmasked images. [default: own]"""
    tau: float = 0.95
    """Probability from which the teacher is sure. [default: spec, as FixMatch]"""
    ramp: int = 3_000
    """Steps of the last stage in which the weight of pseudo-labels rises to 1. [default: spec, 30 %]"""
    trusted_dice: float = 0.5
    """Dice of S on held-out patients up to which heal and reconstruction count half on unmasked images. [default:
    spec]"""
    least_weight: float = 0.1
    """Least weight of a pixel in the loss on traces. [default: GVS]"""
    strong: tuple[float, float, float] = (0.2, 0.1, 0.1)
    """Largest gain, offset and noise of images that S labels like the teacher did. [default: own]"""
    weights: Weights = field(default_factory=Weights)
    """Of the losses. [default: each says]"""


SMALL = Config(
    size=96, soft=(-160.0, 240.0), spacing=1.4, segmentor_widths=(8, 24, 48, 64), generator_widths=(12, 32, 64),
    generator_blocks=3, critic_widths=(16, 32, 64), ramp=300,
)  # fmt: skip
"""For two cores. [default: own]"""

TINY = Config(
    size=32, segmentor_widths=(4, 8), generator_widths=(4, 8), generator_blocks=1, critic_widths=(4, 8), ramp=2,
)  # fmt: skip
"""For trying that everything runs. [default: own]"""

OWNED = {
    "segmentor": ("segmentor",),
    "generator": ("generator", "reconstructor"),
    "critic": ("critic", "lesion_critic"),
    "mask_critic": ("mask_critic",),
}
"""Networks that each optimiser moves, where they are built."""


# ---------------------------------------------------------------------------------------------------------------------
# One batch on its way through the networks


class Views:
    """What the networks make of a batch; each picture is made when a loss first asks for it."""

    def __init__(self, model: SMILE, batch: dict[str, Tensor]) -> None:
        self.model, self.image, self.mask, self.healthy = model, batch["image"], batch["mask"], batch["healthy"]
        self.known, self.has_healthy = batch["mask_known"], batch["healthy_known"]

    @cached_property
    def found(self) -> Tensor:
        """What S finds, ``(B, 1, H, W)`` probabilities."""
        # Autocast keeps what it cast: weights that it cast without a gradient would have none in what follows.
        learns = self.model.config.grad_to_segmentor and torch.is_grad_enabled()
        return ASKED[learns](self.model.nets["segmentor"], self.image).float().sigmoid()

    @cached_property
    def believed(self) -> Tensor:
        """The true mask where it is known, else what S finds: what losses and R go by."""
        return self.mask if bool(self.known.all()) else torch.where(_wide(self.known), self.mask, self.found)

    @cached_property
    def fed(self) -> Tensor:
        """The mask that G is given."""
        true = self.known & (torch.rand(len(self.known), device=self.known.device) >= self.model.config.p_pred_mask)
        return self.mask if bool(true.all()) else torch.where(_wide(true), self.mask, self.found)

    @cached_property
    def twin(self) -> Tensor:
        """G of the image."""
        return self.model.normal(self.image, self.fed)

    @cached_property
    def healthy_twin(self) -> Tensor:
        """G of the real normal image, with an empty mask."""
        return self.model.normal(self.healthy, torch.zeros_like(self.healthy))

    @cached_property
    def pasted(self) -> Tensor:
        """The real normal image with the lesion pasted into it, its edge softened."""
        soft = F.avg_pool2d(self.believed.detach(), 3, stride=1, padding=1, count_include_pad=False)
        return self.healthy + soft * (self.image - self.healthy)

    @cached_property
    def back(self) -> Tensor:
        """R of the twin and the mask."""
        return self.model.nets["reconstructor"](self.twin, self.believed).float()

    @cached_property
    def healthy_back(self) -> Tensor:
        """R of the real normal image and an empty mask."""
        return self.model.nets["reconstructor"](self.healthy, torch.zeros_like(self.healthy)).float()


FOCUSES: dict[Focus, Callable[[Tensor, Tensor], Tensor]] = {
    "pixels": lambda value, mask: value.mean(),
    "balanced": lambda value, mask: (value * mask).sum() / mask.sum().clamp(min=1) + (value * (1 - mask)).mean(),
}
DISTANCES: dict[Distance, Callable[[Tensor], Tensor]] = {"absolute": Tensor.abs, "squared": Tensor.square}


def _wide(flag: Tensor) -> Tensor:
    return flag[:, None, None, None]


def _mean_where(value: Tensor, flag: Tensor) -> Tensor:
    """Mean of ``(B, 1, H, W)`` over the images of a flag ``(B,)``; 0 where there is none."""
    return (value.mean((1, 2, 3)) * flag).sum() / flag.sum().clamp(min=1)


def _frozen(net: nn.Module, *inputs: Tensor) -> Tensor:
    """A network's answer, by which gradients reach its inputs but not its weights."""
    weights = {name: parameter.detach() for name, parameter in net.named_parameters()}
    return functional_call(net, weights, inputs).float()


ASKED: dict[bool, Callable[[nn.Module, Tensor], Tensor]] = {False: _frozen, True: lambda net, image: net(image)}


# ---------------------------------------------------------------------------------------------------------------------
# Losses, by the names of their weights


def identity(v: Views) -> Tensor:
    """(2) ``E[(1 - m) |twin - x|]``."""
    return ((1 - v.believed) * DISTANCES[v.model.config.distance](v.twin - v.image)).mean()


def heal(v: Views) -> Tensor:
    """(3) ``E[BCE(S*(twin), 0)]``, S* = S with frozen weights."""
    left = F.softplus(_frozen(v.model.nets["segmentor"], v.twin))
    return FOCUSES[v.model.config.focus](left, v.believed.detach())


def adversarial(v: Views) -> Tensor:
    """(4) ``E[(D(twin) - 1)^2]``."""
    return (_frozen(v.model.nets["critic"], v.twin) - 1).square().mean()


def reconstruction(v: Views) -> Tensor:
    """(5) ``E|R(twin, m) - x|``."""
    return (v.back - v.image).abs().mean()


def normal_twin(v: Views) -> Tensor:
    """(6), first part: ``E|G(n, 0) - n|`` of real normal images n."""
    return _mean_where((v.healthy_twin - v.healthy).abs(), v.has_healthy)


def normal_back(v: Views) -> Tensor:
    """(6), second part: ``E|R(n, 0) - n|``."""
    return _mean_where((v.healthy_back - v.healthy).abs(), v.has_healthy)


def pasted(v: Views) -> Tensor:
    """``E|G(n (1 - m) + x m, m) - n|`` of real normal images n, inside m and outside."""
    mask, flag = v.believed.detach(), _wide(v.has_healthy).float()
    twin = v.model.normal(v.pasted, mask)
    return FOCUSES[v.model.config.focus](flag * (twin - v.healthy).abs(), flag * mask)


def cycle(v: Views) -> Tensor:
    """``E|G(R(n, 0), 0) - n|``."""
    again = v.model.normal(v.healthy_back, torch.zeros_like(v.healthy))
    return _mean_where((again - v.healthy).abs(), v.has_healthy)


def adversarial_normal(v: Views) -> Tensor:
    """``E[(D(R(n, 0)) - 1)^2]``."""
    return _mean_where((_frozen(v.model.nets["critic"], v.healthy_back) - 1).square(), v.has_healthy)


def adversarial_lesion(v: Views) -> Tensor:
    """``E[(D'(R(n)) - 1)^2]``, D' being the discriminator of images with lesions."""
    return _mean_where((_frozen(v.model.nets["lesion_critic"], v.healthy_back) - 1).square(), v.has_healthy)


def segment(v: Views) -> Tensor:
    """(1) ``BCE(S(x), m) + 1 - Dice(S(x), m)`` of masked images."""
    return marking_loss(v.model.nets["segmentor"](v.image).float(), v.mask, v.known)


def empty(v: Views) -> Tensor:
    """(6), last part: ``E[BCE(S(n), 0)]``."""
    return _mean_where(F.softplus(v.model.nets["segmentor"](v.healthy).float()), v.has_healthy)


def traces(v: Views) -> Tensor:
    """(8) ``E[w BCE(S(twin), m)]`` with ``w = max(1 - |twin - x| / max|twin - x|, least)``, of masked images."""
    with torch.no_grad():
        twin = v.twin
        change = (twin - v.image).abs()
        weight = (1 - change / change.amax((1, 2, 3), keepdim=True).clamp(min=1e-6)).clamp(v.model.config.least_weight)
    logits = v.model.nets["segmentor"](twin).float()
    entropy = F.binary_cross_entropy_with_logits(logits, v.mask, reduction="none")
    return _mean_where(weight * entropy, v.known)


def pseudo(v: Views) -> Tensor:
    """(7) ``u(t) E[1(max(p, 1 - p) > tau) BCE(S(strong x), 1(p > 0.5))]``, p the teacher's."""
    model = v.model
    with torch.no_grad():
        p = model.teacher(v.image).float().sigmoid()
        sure = (torch.maximum(p, 1 - p) > model.config.tau).float()
    logits = model.nets["segmentor"](strong(v.image, model.config.strong)).float()
    entropy = F.binary_cross_entropy_with_logits(logits, (p > 0.5).float(), reduction="none")
    return (model.taken / max(model.config.ramp, 1)).clamp(max=1) * (sure * entropy).mean()


def adversarial_mask(v: Views) -> Tensor:
    """``E[(Dm(S(x)) - 1)^2]`` of unmasked images."""
    found = v.model.nets["segmentor"](v.image).float().sigmoid()
    return (_frozen(v.model.nets["mask_critic"], found) - 1).square().mean()


Loss = Callable[[Views], Tensor]
GENERATE: tuple[Loss, ...] = (
    identity, heal, adversarial, reconstruction, normal_twin, normal_back, pasted, cycle, adversarial_normal,
    adversarial_lesion,
)  # fmt: skip
LOSSES: dict[str, tuple[Loss, ...]] = {
    "segment": (segment, empty, traces),
    "segment_first": (segment, empty),
    "segment_unlabelled": (pseudo, adversarial_mask),
    "generate": GENERATE,
    "generate_unlabelled": GENERATE,
}
"""What each phase minimises; losses of weight 0 fall out."""
HALVED = ("heal", "reconstruction")
"""Losses that count half on unmasked images until S is trusted."""


# ---------------------------------------------------------------------------------------------------------------------


class SMILE(Task):
    """SMILE as a task: ``forward`` returns losses, ``twin`` answers.

    Batches hold ``image`` (B, 1, H, W) in [-1, 1], ``mask`` (B, 1, H, W) of 0 and 1 with ``mask_known`` (B,) bool, and
    ``healthy`` (B, 1, H, W), real normal images, with ``healthy_known`` (B,) bool.

    Args:
        config: See ``Config``.
        nets: By the names of ``OWNED``.
    """

    taken: Tensor
    found_dice: Tensor  # of S on held-out patients, as last measured

    def __init__(self, config: Config, nets: dict[str, nn.Module]) -> None:
        super().__init__()
        self.config, self.nets = config, nn.ModuleDict(nets)
        weights = {each.name: getattr(config.weights, each.name) for each in fields(Weights)}
        # S must be there before G can be guided by it, also where it is not taught by masks later on.
        first = weights | {"segment": weights["segment"] or 1.0}
        self.active = {
            phase: [(loss.__name__, own[loss.__name__], loss) for loss in losses if own[loss.__name__]]
            for phase, losses in LOSSES.items()
            for own in (first if phase == "segment_first" else weights,)
        }
        self.teacher = Ema(self.nets["segmentor"], decay=config.teacher_decay)
        self.register_buffer("taken", torch.zeros((), dtype=torch.int64))
        self.register_buffer("found_dice", torch.zeros(()))
        self.enter("both")

    # -- training

    def enter(self, stage: Stage) -> None:
        """Take the phases of a stage; its count of steps begins at 0, its teacher at S as it is."""
        criticise = [Phase("criticise", "critic", "labelled")] if "critic" in self.nets else []
        if stage == "segmentor":
            phases = [Phase("segment_first", "segmentor", "labelled")]
        elif stage == "labelled":
            phases = [*criticise, Phase("generate", "generator", "labelled")]
        else:
            masked = [Phase("generate", "generator", "labelled"), Phase("segment", "segmentor", "labelled")]
            phases = self._alternating(criticise, masked)
        self.phases = tuple(phases)
        self.taken.zero_()
        self.teacher.restart(self.nets["segmentor"])

    def _alternating(self, criticise: list[Phase], masked: list[Phase]) -> list[Phase]:
        if not self.config.unlabelled:
            # As many steps of each optimiser as with unmasked images.
            return [*criticise, *masked, *masked]
        unmasked = [Phase("generate_unlabelled", "generator", "unlabelled")]
        if self.active["segment_unlabelled"]:
            unmasked.append(Phase("segment_unlabelled", "segmentor", "unlabelled"))
        critics = [phase._replace(feed="mixed") for phase in criticise]
        if "mask_critic" in self.nets:
            critics.append(Phase("criticise_masks", "mask_critic", "mixed"))
        return [*critics, *masked, *unmasked]

    def forward(self, batch: dict[str, Tensor], loss: str = "main") -> dict[str, Tensor]:
        """Losses of a phase, each by its name before it is weighted.

        Args:
            batch: As the class says.
            loss: A key of ``LOSSES``, ``criticise`` or ``criticise_masks``.
        """
        views = Views(self, batch)
        if loss == "criticise":
            return self.criticise(views)
        if loss == "criticise_masks":
            return self.criticise_masks(views)
        parts = {name: part(views) for name, _, part in self.active[loss]}
        factors = {name: weight for name, weight, _ in self.active[loss]}
        if loss == "generate_unlabelled":
            half = torch.where(self.found_dice > self.config.trusted_dice, 1.0, 0.5)
            factors |= {name: factors[name] * half for name in HALVED if name in factors}
            # An empty mask makes the step a copy, a full one a blur: both must be seen.
            parts |= {"lesion_area": views.believed.mean()}
        total = torch.stack([factors[name] * parts[name] for name in factors]).sum()
        return {"loss": total, **parts}

    def criticise(self, v: Views) -> dict[str, Tensor]:
        """(4) ``E[(D(n) - 1)^2] + E[D(twin)^2]``; without a real normal image, D sees patches of x without lesion."""
        with torch.no_grad():
            twin, real = v.twin, torch.where(_wide(v.has_healthy), v.healthy, v.image)
            doubt = torch.where(_wide(v.has_healthy), 0, v.believed)
        critic = self.nets["critic"]
        said = critic(real).float()
        clear = 1 - F.adaptive_max_pool2d(doubt, said.shape[-2:])
        parts = {
            "real": (clear * (said - 1).square()).sum() / clear.sum().clamp(min=1),
            "made": critic(twin).float().square().mean(),
        }
        if "lesion_critic" in self.nets:
            with torch.no_grad():
                made = v.healthy_back
            judge = self.nets["lesion_critic"]
            parts["real_lesion"] = (judge(v.image).float() - 1).square().mean()
            parts["made_lesion"] = _mean_where(judge(made).float().square(), v.has_healthy)
        return {"loss": torch.stack(list(parts.values())).sum() / 2, **parts}

    def criticise_masks(self, v: Views) -> dict[str, Tensor]:
        """``E[(Dm(m) - 1)^2] + E[Dm(S(x))^2]``: masks of the masked, findings in the unmasked."""
        judge = self.nets["mask_critic"]
        found = v.found.detach()
        real = _mean_where((judge(v.mask).float() - 1).square(), v.known)
        made = _mean_where(judge(found).float().square(), ~v.known)
        return {"loss": (real + made) / 2, "real": real, "made": made}

    def groups(self, optimizer: str = "main") -> Iterable[dict[str, Any]]:
        """The networks of an optimiser; with ``grad_to_segmentor`` S is moved along with G and R."""
        names = OWNED[optimizer] + ("segmentor",) * (optimizer == "generator" and self.config.grad_to_segmentor)
        owned = [f"nets.{name}." for name in names]
        yield {"named_params": [(n, p) for n, p in self.named_parameters() if n.startswith(tuple(owned))]}

    def after_step(self, step: int) -> None:
        """The teacher follows S."""
        self.taken.fill_(step)
        self.teacher.update(self.nets["segmentor"])

    def trust(self, dice: float) -> None:
        """Be told the Dice of S on held-out patients; see ``Config.trusted_dice``."""
        self.found_dice.fill_(dice)

    # -- the paper's boxes

    def normal(self, image: Tensor, mask: Tensor) -> Tensor:
        """G: ``(B, 1, H, W)`` in [-1, 1] and a mask likewise, in [0, 1] -> the twin ``(B, 1, H, W)`` in [-1, 1]."""
        made = self.nets["generator"](image, mask).float()
        return PASTES[self.config.composite](image, made, mask, self.config.dilation)

    @torch.no_grad()
    def twin(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The healthy twin of images whose lesions nobody has marked.

        Args:
            image: ``(B, 1, H, W)`` in [-1, 1], of any side; ``Config.window`` says which HU those are.

        Returns:
            The twin ``(B, 1, H, W)`` in [-1, 1], and the probability ``(B, 1, H, W)`` that a pixel is lesion.
        """
        lesion = self.nets["segmentor"](image).float().sigmoid()
        return self.normal(image, lesion), lesion

    @torch.no_grad()
    def restore(self, twin: Tensor, mask: Tensor) -> Tensor:
        """R: paint lesions into normal images where a mask says; all ``(B, 1, H, W)``.

        Raises:
            SemeiaError: This model was built without R.
        """
        if "reconstructor" not in self.nets:
            raise SemeiaError("these weights have no lesion reconstructor: its losses have weight 0")
        return self.nets["reconstructor"](twin, mask).float()


def tones(config: Config) -> Tones:
    """How HU become what the networks see."""
    return Tones(config.window or SCALED, config.soft)


def build(config: Config) -> SMILE:
    """Build the networks that the losses ask for, with random weights.

    Raises:
        SemeiaError: A value that will not do.
    """
    check(config)
    w = config.weights
    body: dict[str, Any] = {"widths": config.generator_widths, "blocks": config.generator_blocks}
    body["residual"] = config.residual
    nets: dict[str, nn.Module] = {
        "segmentor": Segmentor(config.segmentor_widths),
        "generator": generator(guided=config.guided, **body),
    }
    if any((w.reconstruction, w.normal_back, w.cycle, w.adversarial_normal, w.adversarial_lesion)):
        nets["reconstructor"] = generator(guided=config.back_guided, **body)
    if any((w.adversarial, w.adversarial_normal)):
        nets["critic"] = PatchCritic(config.critic_widths)
    if w.adversarial_lesion:
        nets["lesion_critic"] = PatchCritic(config.critic_widths)
    if w.adversarial_mask and config.unlabelled:
        nets["mask_critic"] = PatchCritic(config.critic_widths)
    return SMILE(config, nets)


def check(config: Config) -> None:
    """Refuse values that will not do.

    Raises:
        SemeiaError: It names the field, what was expected and what was found.
    """
    patch = 2 ** (len(config.critic_widths) + 2)
    if config.size < patch:
        raise SemeiaError(f"size: expected at least {patch} pixels for {len(config.critic_widths)} levels of the "
                          f"discriminator, found {config.size}")  # fmt: skip
    low, high = config.window or SCALED
    if not low < high:
        raise SemeiaError(f"window: expected a lower and a higher HU, found {config.window}")
    if config.soft is not None and not low < config.soft[0] < config.soft[1] < high:
        raise SemeiaError(f"soft: expected a lower and a higher HU inside {low:g} to {high:g}, found {config.soft}")
    if config.spacing is not None and not config.spacing > 0:
        raise SemeiaError(f"spacing: expected millimetres above 0, found {config.spacing}")
    for name in ("segmentor_widths", "generator_widths", "critic_widths"):
        if not (widths := getattr(config, name)) or min(widths) < 1:
            raise SemeiaError(f"{name}: expected channels of at least one level, found {widths}")
    for name, choices in (("focus", Focus), ("distance", Distance)):
        if (chosen := getattr(config, name)) not in get_args(choices):
            raise SemeiaError(f"{name}: expected one of {', '.join(get_args(choices))}, found {chosen!r}")
    for each in fields(Weights):
        if not (weight := getattr(config.weights, each.name)) >= 0:
            raise SemeiaError(f"weights.{each.name}: expected 0 or more, found {weight}")
    if not config.weights.identity + config.weights.reconstruction > 0:
        raise SemeiaError("weights: expected identity or reconstruction above 0, found none: twins would be anything")
    if config.weights.adversarial_lesion and not config.weights.adversarial:
        raise SemeiaError("weights.adversarial_lesion: expected weights.adversarial above 0 beside it, found 0")
    for name in ("p_pred_mask", "tau", "trusted_dice", "least_weight"):
        if not 0 <= getattr(config, name) <= 1:
            raise SemeiaError(f"{name}: expected 0 to 1, found {getattr(config, name)}")
