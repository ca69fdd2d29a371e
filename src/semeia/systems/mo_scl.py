"""Mo-SCL: batches of hard and easy samples together, for universal lesion detection.

    Paper   Li, Han, Zhou: Mixed-order self-paced curriculum learning for ULD, arXiv 2302.04677; of MoMBS (arXiv
            2505.18741), the same idea by the same authors, one program was read: lhlm1994/MoMBS, CIFAR-100
    Idea    Loss alone calls a wrong label hard, and leaving hard samples out wastes them when data are few. A sample is
            hard where its loss is high and the network is unsure of it; hard ones are learned next to easy ones, whose
            gradients are small and leave the batch to them.
    Flow    training step -> loss of each image; perturbed passes over the same images -> uncertainty of their lesions
            end of an epoch: rank(loss) + rank(uncertainty) -> sorted -> easiest with hardest -> batches of the next
    Known   The scheduler and the ranks, from the program. Its uncertainty is not copied, since it orders by the score;
            noise, passes and warm-up of the paper, and its results, are unknown (docs/systems/mo_scl.md). The network
            is the plain detector, in use nothing changes.

Shapes      B images   S slices   H, W image   M_i lesions of image i   R lesions of all images   T passes
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from semeia.data.orders import Arrangement, Criterion, Curriculum, LearnedOrder, Plan, Weighting
from semeia.detection.boxes import learnable
from semeia.detection.design import TINIEST, TWO_CORES, Design, build_detector
from semeia.detection.detector import Detector
from semeia.detection.lesion_task import LesionTask
from semeia.detection.regions import mean_by_image
from semeia.records import SemeiaError

Ranked = Literal["classification", "total"]
Uncertainty = Literal["entropy", "one-sided", "literal"]
NoiseOn = Literal["input", "features"]


@dataclass(frozen=True)
class Config(Design):
    """The plain detector, and how its batches are put together."""

    arrangement: Arrangement = "mixed"
    """How batches are made of sorted samples: ``mixed``, ``same`` (equals together), ``random``. [code]"""
    criterion: Criterion = "both"
    """What makes a sample hard: ``both`` ranks added, ``loss``, ``uncertainty``. [paper, code]"""
    weighting: Weighting = "none"
    """``self-paced``: hard samples weigh nothing at first; ``hard``: they weigh more. [code: none]"""
    ranked_loss: Ranked = "classification"
    """Of objectness and of regions' classes, or ``total``. [inferred: the code's sampler speaks of class losses]"""
    uncertainty: Uncertainty = "entropy"
    """Of a lesion's mean probability; ``one-sided``: its first half; ``literal``: as released. [default: spec]"""
    passes: int = 2
    """T. [code: 2, also 4 and 8]"""
    noise_on: NoiseOn = "input"
    """``features``: on the pyramid's map, for one pass of the trunk. [default: unknown]"""
    noise: float = 0.05
    """Its deviation: of the input's range, or of a map's deviation; cut at two deviations. [default: unknown]"""
    warmup_epochs: int = 2
    """Epochs in random order first. [code: 21 of 300; default: 2 of 20]"""
    pacing_epochs: int = 10
    """Epochs until ``self-paced`` lets all samples in, from half of them on. [default: spec, half of 20]"""


SMALL = Config(**TWO_CORES)
"""For two cores: the plain detector's numbers. [default: own]"""

TINY = Config(**TINIEST, warmup_epochs=1)
"""For trying that everything runs. [default: own]"""


# -- uncertainty


def entropy(probability: Tensor) -> Tensor:
    """-p ln(p + 1e-6) - (1 - p) ln(1 - p + 1e-6), any shape: how unsure a probability is."""
    return one_sided(probability) + one_sided(1 - probability)


def one_sided(probability: Tensor) -> Tensor:
    """-p ln(p + 1e-6), any shape: the released formula, on probabilities."""
    return -probability * (probability + 1e-6).log()


def literal(logits: Tensor) -> Tensor:
    """The released quantity: -m ln(m + 1e-6), m the mean over passes of logits shifted and scaled within the batch.

    It rises with the logit where batches are large (m < 1/e), and says nothing of a batch of two, where m is 0 and 1.

    Args:
        logits: (T, B) of the true class.

    Returns:
        (B,).
    """
    shifted = logits - logits.amin(1, keepdim=True)
    return one_sided(F.normalize(shifted, dim=1).mean(0))


class MoSCL(LesionTask):
    """The plain detector as a task that also measures how hard its samples are.

    Args:
        config: See ``Config``.
        detector: The detector.
        curriculum: What was measured, and the batches that follow; None in use.
    """

    config: Config

    def __init__(self, config: Config, *, detector: Detector, curriculum: Curriculum | None = None) -> None:
        super().__init__(config, detector=detector)
        self.curriculum = curriculum
        self._seen: list[tuple[dict[str, Any], Tensor]] = []  # micro-batches of a step, and their losses (B,)

    def forward(self, batch: dict[str, Any], loss: str = "main") -> dict[str, Tensor]:
        """Means over the images of all losses; with a curriculum ``loss`` is the mean of the weighted losses.

        Args:
            batch: ``image`` (B, S, H, W) in [0, 1], ``boxes`` a list of (M_i, 4) pixels, ``index`` (B,) numbers of the
                samples; optional ``masks``, a list of (M_i, H, W) bool.
            loss: There is one, ``main``.
        """
        each = self.detector.losses(batch)
        said = {name: value.mean() for name, value in each.items()}
        if self.curriculum is not None and self.training:
            said["loss"] = (self.curriculum.weights[batch["index"]] * each["loss"]).mean()
            total = self.config.ranked_loss == "total"
            ranked = each["loss"] if total else each["objectness"] + each["classes"]
            self._seen.append((batch, ranked.detach().float()))
        return said

    def after_step(self, step: int) -> None:
        """Measure the images of the step with the weights that it led to; at the end of an epoch decide the next.

        Raises:
            SemeiaError: A loss or an uncertainty is not a finite number.
        """
        if self.curriculum is None:
            return
        measured = []
        for micro, (batch, losses) in enumerate(self._seen):
            unsure, known = torch.zeros_like(losses), torch.zeros_like(losses, dtype=torch.bool)
            if self.curriculum.plan.uncertain:
                key = np.random.SeedSequence((self.curriculum.order.seed, step, micro, 0x0DE7))
                noise = torch.Generator(losses.device).manual_seed(int(key.generate_state(1, np.uint64)[0] >> 1))
                unsure, known = self.uncertainties(batch, noise)
            measured.append((batch["index"], losses, unsure, known))
        self._seen.clear()
        self.curriculum.note(*(torch.cat(parts) for parts in zip(*measured, strict=True)))
        self.curriculum.advance(step)

    @torch.no_grad()
    def uncertainties(self, batch: dict[str, Any], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """How unsure the detector is of each image's lesions when it is disturbed, in evaluation mode.

        Args:
            batch: As for ``forward``.
            generator: Of the noise; no other random number is drawn.

        Returns:
            Mean over the lesions of each image (B,), and which images have lesions (B,) bool.
        """
        image = batch["image"]
        size = image.shape[-2], image.shape[-1]
        boxes = [learnable(b, size, sample=int(i))[0] for b, i in zip(batch["boxes"], batch["index"], strict=True)]
        counts = torch.tensor([len(b) for b in boxes], device=image.device)
        of_image = torch.repeat_interleave(torch.arange(len(boxes), device=image.device), counts)  # (R,)
        self.detector.eval()
        maps = [self._disturbed(features, generator) for features in self._features(image, generator)]
        if self.config.uncertainty == "literal":
            logits = [self.detector.regions(m, boxes)[0][:, 1].float() for m in maps]  # (R,) each
            of_images = torch.stack([mean_by_image(each, of_image, counts) for each in logits])  # (T, B)
            unsure = torch.zeros_like(of_images[0])
            if counts.any():
                unsure[counts > 0] = literal(of_images[:, counts > 0])
        else:
            measure = entropy if self.config.uncertainty == "entropy" else one_sided
            mean = torch.stack([torch.cat(self.detector.regions.probabilities(m, boxes)) for m in maps]).mean(0)  # (R,)
            unsure = mean_by_image(measure(mean), of_image, counts)
        self.detector.train(self.training)
        return unsure, counts > 0

    def _features(self, image: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
        """T maps (B, P, h, w), of T disturbed inputs or T times that of the input as it is."""
        if self.config.noise_on == "features":
            features = self.detector.features(image)
            yield from [features] * self.config.passes
            return
        for _ in range(self.config.passes):
            # The input's range is 1 here, and is scaled with it by the detector.
            yield self.detector.features(image + self.config.noise * _noise(image, generator))

    def _disturbed(self, features: Tensor, generator: torch.Generator) -> Tensor:
        if self.config.noise_on == "input":
            return features
        deviation = features.std((1, 2, 3), keepdim=True)
        return features + self.config.noise * deviation * _noise(features, generator)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise of deviation 1, cut at 2."""
    return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype).clamp(-2, 2)


def build(config: Config, *, order: LearnedOrder | None = None) -> MoSCL:
    """Build the detector with random weights.

    Args:
        config: The numbers.
        order: For training: the order that its feed takes too. Before the weights are kept for use,
            ``model.curriculum = None`` lets go of what only training needs.

    Raises:
        SemeiaError: A value that will not do.
    """
    check(config)
    curriculum = None
    if order is not None:
        plan = Plan(
            arrangement=config.arrangement, criterion=config.criterion, weighting=config.weighting,
            warmup=config.warmup_epochs, pacing=config.pacing_epochs,
        )  # fmt: skip
        curriculum = Curriculum(order, plan)
    return MoSCL(config, detector=build_detector(config), curriculum=curriculum)


def check(config: Config) -> None:
    """Refuse what no curriculum can be.

    Raises:
        SemeiaError: The first value that will not do.
    """
    choices = {
        "arrangement": Arrangement, "criterion": Criterion, "weighting": Weighting, "ranked_loss": Ranked,
        "uncertainty": Uncertainty, "noise_on": NoiseOn,
    }  # fmt: skip
    for name, kind in choices.items():
        if getattr(config, name) not in get_args(kind):
            raise SemeiaError(f"{name}: expected one of {', '.join(get_args(kind))}, found {getattr(config, name)!r}")
    for name in ("passes", "warmup_epochs", "pacing_epochs"):
        if getattr(config, name) < 1:
            raise SemeiaError(f"{name}: expected at least 1, found {getattr(config, name)}")
    if not 0 <= config.noise < float("inf"):
        raise SemeiaError(f"noise: expected a number that is not negative, found {config.noise}")
