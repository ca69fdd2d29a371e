"""SMILE: from CT slices with lesions, some of them masked, to a maker of healthy twins.

    semeia make slabs worlds/slabs --count 4000 --seed 1
    semeia train smile --data worlds/slabs --out runs/smile
    semeia evaluate smile --data worlds/slabs --weights runs/smile/checkpoint

    train split -> patients: healthy, masked, unmasked -> three stages, each a fit: S; G, R, D; all, masks and none in
    turn -> test split -> twins beside the true ones, and beside a copy and a blur of the input -> card

A run that was stopped goes on in the stage where it was. ``smoke`` runs in under a minute on anything, ``small`` is for
two cores, ``paper`` has the specification's values: the paper's could not be read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import torch
from accelerate import PartialState
from torch.optim import Adam, Optimizer

from semeia import checkpoint
from semeia.data.paired_slices import CTSlices, PairedSlices
from semeia.data.twin_feeds import (
    Division,
    MixedFeed,
    Place,
    TwinAugmentation,
    TwinFeed,
    check_patients,
    divided,
    slices_of,
)
from semeia.evaluate import Score, score_table
from semeia.files import write_whole
from semeia.lesion_sets import LesionData, Split, open_lesions
from semeia.recipes._cards import trained_by
from semeia.recipes._twin_scores import found_dice, left_inside, twin_table
from semeia.records import SemeiaError
from semeia.systems import smile
from semeia.train.feeds import Feed
from semeia.train.loop import Fit, fit

ARMS: dict[str, Callable[[smile.Config], smile.Config]] = {
    "smile": lambda c: c,
    "supervised": lambda c: replace(c, unlabelled=False),
    "gvs": lambda c: replace(
        c, guided=False, unlabelled=False, use_real_normals=False, focus="pixels", distance="squared",
        weights=smile.Weights(
            segment=0, empty=0, adversarial=0, reconstruction=0, normal_twin=0, normal_back=0, pasted=0, pseudo=0,
        ),
    ),
    "xia": lambda c: replace(
        c, guided=False, residual=False,
        weights=smile.Weights(
            traces=0, identity=0, heal=0, adversarial=2, normal_twin=0, normal_back=0, pasted=0, pseudo=0, cycle=10,
            adversarial_normal=1, adversarial_mask=1,
        ),
    ),
    "cyclegan": lambda c: replace(
        c, guided=False, back_guided=False, residual=False,
        weights=smile.Weights(
            traces=0, identity=0, heal=0, reconstruction=10, normal_twin=5, normal_back=0, pasted=0, cycle=10,
            adversarial_lesion=1,
        ),
    ),
    "without heal": lambda c: replace(c, weights=replace(c.weights, heal=0)),
    "without R": lambda c: replace(c, weights=replace(c.weights, reconstruction=0, normal_back=0)),
    "without D": lambda c: replace(c, weights=replace(c.weights, adversarial=0)),
    "without pasted": lambda c: replace(c, weights=replace(c.weights, pasted=0)),
    "without pseudo-labels": lambda c: replace(c, weights=replace(c.weights, pseudo=0)),
}  # fmt: skip
"""SMILE, the baselines in its style, and SMILE less one part, each made from one configuration.

``gvs``, ``xia`` and ``cyclegan`` have the predecessors' losses and weights on these networks, with least-squares
discriminators and S trained on masks first. S is only the localiser of ``cyclegan``; nothing else there sees a mask.
"""


@dataclass(frozen=True)
class Config:
    """Model, data and optimiser of one training."""

    model: smile.Config = field(default_factory=lambda: smile.SMALL)
    """The networks and their losses; ``arm`` changes them."""
    arm: str = "smile"
    """A key of ``ARMS``: SMILE, a baseline in its style, or SMILE less one part."""
    data: LesionData = field(default_factory=LesionData)
    """CT slices with lesions."""
    masked: float = 0.25
    """Share of the training patients with lesions whose masks are used; a smaller one lies in every larger one."""
    healthy: float = 0.25
    """Share of the training patients with twins who stand for healthy ones: their lesions are not used."""
    share_seed: int = 0
    """Decides whose masks are used, and who is healthy."""
    augmentation: TwinAugmentation = field(default_factory=TwinAugmentation)
    """How images are moved in training."""
    batch_size: int = 4
    """Images of a phase, step and process."""
    segmentor: str | None = None
    """Bundled weights by name, or a checkpoint folder, whose localiser is taken; the first stage is left out then."""
    segmentor_steps: int = 3_000
    """Of the first stage: S on masks."""
    segmentor_batch: int = 16
    """Images a step and process of the first stage."""
    labelled_steps: int = 600
    """Of the second: G, R and D on masked images. ``fit.steps`` are those of the third."""
    segmentor_rate: float = 1e-3
    """Adam's, of S; a cosine leads to zero in each stage."""
    generator_rate: float = 2e-4
    """Adam's, of G and R and, at the same rate, of the discriminators; betas 0.5 and 0.999."""
    workers: int = 0
    """Processes that prepare batches, for each kind of batch."""
    validate: int = 100
    """Held-out slices that are read at each evaluation while training."""
    test: int | None = None
    """Held-out slices in the final table; all by default."""
    rounds: int = 1000
    """Of the bootstrap that gives the final table its intervals; 0 gives none."""
    fit: Fit = field(default_factory=Fit)
    """Length of the third stage; intervals, clipping and averaging of all."""


def smoke() -> Config:
    """A tiny model for a few steps: everything runs, nothing is learned."""
    how = Fit(steps=4, warmup=1, log_every=2, eval_every=4, save_every=2, ema=0.9)
    return Config(
        model=smile.TINY,
        batch_size=2,
        segmentor_steps=2,
        segmentor_batch=2,
        labelled_steps=2,
        validate=4,
        test=6,
        rounds=20,
        fit=how,
    )


def small() -> Config:
    """Two cores: squares of 96 pixels around lesions."""
    how = Fit(steps=1_000, warmup=20, log_every=20, eval_every=250, save_every=100, ema=0.995)
    return Config(workers=1, fit=how)


def paper() -> Config:
    """The specification's values, on a GPU: 256 pixels, 8 images a phase; 2,000, 3,000 and 10,000 steps."""
    how = Fit(steps=10_000, warmup=200, log_every=50, eval_every=1_000, save_every=1_000, ema=0.999)
    return Config(
        model=smile.Config(),
        batch_size=8,
        segmentor_steps=2_000,
        labelled_steps=3_000,
        workers=4,
        validate=400,
        fit=how,
    )


SCALES = {"smoke": smoke, "small": small, "paper": paper}


def train(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Go through the stages, evaluate on the test split, and save ``config.fit.out / "checkpoint"``.

    Raises:
        SemeiaError: No data, no slices to train on, or an arm that needs what the data have not.
    """
    sets = open_slices(config.data)
    division = divided(sets, labelled=config.masked, healthy=config.healthy, seed=config.share_seed)
    designed = model_of(config, division)
    torch.manual_seed(config.fit.seed)
    model, out = smile.build(designed), Path(config.fit.out)
    stages = Stages(config, designed, division, sets, resume=resume, progress=progress)
    if config.segmentor is None:
        stages.go(model, "segmentor")
    else:
        take_segmentor(model, config.segmentor)
    for stage in ("labelled", "both"):
        stages.go(model, stage)
    if not PartialState().is_main_process:
        return out / "checkpoint"
    scores = measure(model, sets, split="test", limit=config.test, rounds=config.rounds)
    text = card(config, division, scores)
    checkpoint.save(
        out / "checkpoint", system="smile", config=designed, state=model.state_dict(), card=text
    )  # fmt: skip
    write_whole(out / "scores.json", json.dumps([score.as_dict() for score in scores], indent=1).encode())
    return out / "checkpoint"


def train_segmentor(config: Config, *, resume: bool = True, progress: bool = True) -> Path:
    """Go through the first stage alone, and save ``config.fit.out / "segmentor"``, which ``segmentor`` may name.

    Raises:
        SemeiaError: As of ``train``.
    """
    sets = open_slices(config.data)
    division = divided(sets, labelled=config.masked, healthy=config.healthy, seed=config.share_seed)
    designed, out = model_of(config, division), Path(config.fit.out) / "segmentor"
    torch.manual_seed(config.fit.seed)
    model = smile.build(designed)
    Stages(config, designed, division, sets, resume=resume, progress=progress).go(model, "segmentor")
    if PartialState().is_main_process:
        card_ = "# A localiser\nThe first stage of a training of SMILE, made to be gone on from."
        checkpoint.save(out, system="smile", config=designed, state=model.state_dict(), card=card_, half=False)
    return out


def take_segmentor(model: smile.SMILE, weights: str | Path) -> None:
    """Give a model the localiser of other weights.

    Raises:
        SemeiaError: The weights do not exist, or their localiser is another one or sees images otherwise.
    """
    other, name = checkpoint.load(weights, system="smile", kind=smile.Config, build=smile.build)
    for each in ("segmentor_widths", "size", "window", "soft", "spacing"):
        if (wanted := getattr(model.config, each)) != (found := getattr(other.config, each)):
            raise SemeiaError(f"{name}: expected a localiser of {each} {wanted}, found {found}; name another one, or "
                              f"set --model.{each}")  # fmt: skip
    model.nets["segmentor"].load_state_dict(other.nets["segmentor"].state_dict())
    model.trust(float(other.found_dice))


class Stages:
    """The stages of a training, each a fit of its own.

    Args:
        config: Of the training.
        designed: Of its model.
        division: Patients.
        sets: Data, of which ``val`` is watched.
        resume: Go on where an earlier run stopped.
        progress: Show progress.
    """

    def __init__(
        self, config: Config, designed: smile.Config, division: Division, sets: Sequence[PairedSlices], *, resume: bool,
        progress: bool,
    ) -> None:  # fmt: skip
        self.config, self.designed, self.division = config, designed, division
        self.watched = held_out(designed, slices_of(sets, "val"), config.validate)
        self.resume, self.progress = resume, progress

    def go(self, model: smile.SMILE, stage: smile.Stage) -> None:
        """Through one stage."""
        config, number = self.config, get_args(smile.Stage).index(stage)
        steps = {"segmentor": config.segmentor_steps, "labelled": config.labelled_steps, "both": config.fit.steps}
        model.enter(stage)
        sized = replace(config, batch_size=config.segmentor_batch) if stage == "segmentor" else config

        def validate(task: smile.SMILE) -> dict[str, float]:
            assert self.watched is not None
            dice = found_dice(task, self.watched)
            # The average of the weights is asked, the weights themselves go by the answer.
            model.trust(dice)
            return {"dice": dice, "left inside": left_inside(task, self.watched)}

        result = fit(
            model, feeds_of(sized, self.designed, self.division, seed=config.fit.seed + number),
            optimizers_of(model, config), staged(config.fit, stage, steps[stage], number),
            evaluate=validate if self.watched else None, resume=self.resume, progress=self.progress,
            workers=config.workers,
        )  # fmt: skip
        # A fit ends with averaged weights and the answer that they had last kept.
        model.trust(result.get("dice", 0.0))


def staged(how: Fit, stage: str, steps: int, number: int) -> Fit:
    """A stage's own length, folder and random numbers."""
    return replace(
        how, steps=steps, warmup=min(how.warmup, steps), seed=how.seed + number, out=Path(how.out) / f"{number}-{stage}"
    )


def open_slices(data: LesionData) -> list[PairedSlices]:
    """Every set of ``data``, no patient in two splits.

    Raises:
        SemeiaError: No set is named, one cannot be read, or a patient stands in two splits.
    """
    sets: list[PairedSlices] = [CTSlices(each) for each in open_lesions(data)]
    check_patients(sets)
    return sets


def model_of(config: Config, division: Division) -> smile.Config:
    """The arm's model. Where every patient has a mask, there is nothing without: it is the supervised one then.

    Raises:
        SemeiaError: No such arm, or it needs normal slices and there are none.
    """
    if config.arm not in ARMS:
        raise SemeiaError(f"arm: expected one of {', '.join(ARMS)}, found {config.arm!r}")
    designed = ARMS[config.arm](replace(config.model, ramp=max(1, round(0.3 * config.fit.steps))))
    if not division.unlabelled:
        designed = replace(designed, unlabelled=False)
    w = designed.weights
    if not division.normal and (w.cycle or w.adversarial_lesion):
        raise SemeiaError(f"arm {config.arm!r}: expected normal slices beside those with lesions, found none; name "
                          "data that have some, such as a CT world with twins")  # fmt: skip
    return designed


def feeds_of(config: Config, designed: smile.Config, division: Division, *, seed: int) -> dict[str, Feed]:
    """Batches with masks, batches without, and batches of both for the discriminators."""

    def of(places: Sequence[Place], size: int, salt: int, *, masks: bool) -> TwinFeed:
        return TwinFeed(
            places, size, size=designed.size, window=designed.window, soft=designed.soft, spacing=designed.spacing,
            masks=masks, normal=division.normal if designed.use_real_normals else (),
            augmentation=config.augmentation, seed=10 * seed + salt,
        )  # fmt: skip

    feeds: dict[str, Feed] = {"labelled": of(division.labelled, config.batch_size, 0, masks=True)}
    if designed.unlabelled:
        half = max(1, config.batch_size // 2)
        feeds["unlabelled"] = of(division.unlabelled, config.batch_size, 1, masks=False)
        feeds["mixed"] = MixedFeed(
            of(division.labelled, half, 2, masks=True), of(division.unlabelled, half, 3, masks=False)
        )
    return feeds


def optimizers_of(model: smile.SMILE, config: Config) -> dict[str, Optimizer]:
    """Adam for each optimiser that the stage names, S with its own rate and betas."""
    made: dict[str, Optimizer] = {}
    for name in dict.fromkeys(phase.optimizer for phase in model.phases):
        named = [pair for group in model.groups(name) for pair in group["named_params"]]
        own = name == "segmentor"
        rate = config.segmentor_rate if own else config.generator_rate
        made[name] = Adam(named, lr=rate, betas=(0.9 if own else 0.5, 0.999))
    return made


# ---------------------------------------------------------------------------------------------------------------------
# Measuring


def held_out(designed: smile.Config, places: Sequence[Place], limit: int | None) -> TwinFeed | None:
    """Slices as they are tested, at even steps where there is a limit; None where there are none."""
    if limit is not None and 0 < limit < len(places):
        places = [places[i * len(places) // limit] for i in range(limit)]
    if not places:
        return None
    return TwinFeed(places, 1, size=designed.size, window=designed.window, soft=designed.soft, spacing=designed.spacing)


def measure(
    model: smile.SMILE, sets: Sequence[PairedSlices], *, split: Split, limit: int | None, rounds: int
) -> list[Score]:
    """The table of a split; no row where the data lack it."""
    lesions = held_out(model.config, slices_of(sets, split), limit)
    normal = held_out(
        model.config, slices_of(sets, split, normal=True), limit or (len(lesions.places) if lesions else 0)
    )
    return twin_table(model, lesions, normal, rounds=rounds)


def evaluate(
    weights: str | Path, data: LesionData, *, split: Split = "test", limit: int | None = None, rounds: int = 1000
) -> list[Score]:
    """Score bundled weights or a checkpoint folder on a split of data sets.

    Raises:
        SemeiaError: No data, or no set has the split.
    """
    model, _ = checkpoint.load(weights, system="smile", kind=smile.Config, build=smile.build)
    sets = open_slices(data)
    if not slices_of(sets, split):
        where = ", ".join(data.deeplesion)
        raise SemeiaError(f"{where}: expected key slices of split {split!r}, found none")
    return measure(model, sets, split=split, limit=limit, rounds=rounds)


def card(config: Config, division: Division, scores: Sequence[Score]) -> str:
    """The model card."""
    folders = " ".join(f"worlds/{Path(folder).name}" for folder in config.data.deeplesion)
    window, spacing = config.model.window, config.model.spacing
    return CARD.format(
        arm=config.arm, size=config.model.size,
        what="whole slices at" if spacing is None else f"squares, cut out of slices at {spacing:g} mm a pixel, of",
        window="values in [-1, 1]" if window is None else f"HU {window[0]:.0f} to {window[1]:.0f}",
        masked=f"{len(division.labelled):,}", masked_people=f"{division.patients('labelled'):,}",
        unmasked=f"{len(division.unlabelled):,}", unmasked_people=f"{division.patients('unlabelled'):,}",
        normal=f"{len(division.normal):,}", normal_people=f"{division.patients('normal'):,}",
        steps=f"{config.segmentor_steps:,}, {config.labelled_steps:,} and {config.fit.steps:,}",
        first=config.segmentor_batch, batch=config.batch_size, seed=config.fit.seed,
        command=trained_by(config, system="smile", small=small(), data=f"--data {folders}"),
        table=score_table(scores) if scores else "Nothing: the data have no test split.",
    )  # fmt: skip


CARD = """# The healthy twin (SMILE-style reconstruction)
From a slice with a lesion the same slice without it, and where the lesion is. Of the paper only the abstract could be
read: networks, losses and schedule are a stand-in, and no number here is the paper's. Arm: {arm}.

- Reads {what} {size} pixels, {window}, clipped beyond.

## What it learned from
{masked} masked slices of {masked_people} patients, {unmasked} unmasked ones of {unmasked_people} others, and {normal}
normal ones of {normal_people} more. True twins of slices with lesions were never seen. {steps} steps of the three
stages, {first} images a step in the first and {batch} a phase in the others, seed {seed}.

```
{command}
```

## What was measured
The split `test`, other patients than those of the training; intervals are 95 % over patients. PSNR, SSIM and L1 are
against the true twin, with values in [-1, 1], whole: in the box around the body; inside and outside the true mask.
A copy of the input and a blurred one stand beside: whoever changes nothing is right outside, whoever blurs everything
finds no lesion any more. Numbers on synthetic slabs say how well the mechanism was learned: **they say nothing of
patients**.

{table}

## What it cannot tell
- A twin is a guess of what a healthy slice would look like, not what the patient's body was. Not a medical device.
- What it does not find, it leaves; what it takes for a lesion, it removes.

Licence: Apache-2.0.
"""
