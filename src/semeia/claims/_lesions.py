"""What the claims of detectors of lesions have in common: metrics, sizes, and how an arm is trained and measured.

A sensitivity is no sum, but its steps are (``metrics.ranked``): a patient has a row of counts, one for each step of the
scores. Steps are made fewer here, so that the rows of hundreds of patients and dozens of arms stay small.

Shapes      P patients   K steps   R draws
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semeia.claims.qface import changed
from semeia.ledger.claims import Measured, Metric, Setting, Size
from semeia.ledger.matching import counted
from semeia.metrics import detection_ap, froc, ranked
from semeia.metrics.ranked import MISSED, Ranked

if TYPE_CHECKING:
    from semeia.lesion_scores import Found
    from semeia.lesion_sets import LesionData
    from semeia.recipes._lesion_training import System

TEST = 1_850
"""Key slices that are read at the scale ``small``: about 2,000 lesions of the CT world, which has 1.08 on a slice."""

TESTED: tuple[str, ...] = ("val", "test")
"""Splits that they are of. Neither is learned from and nothing is chosen on ``val`` here; the world has 15 % of its
patients in each. The scale ``full`` reads ``test`` alone, as papers do."""

HELD = 2 * froc.HEADLINE[-1]
"""False boxes an image beyond which steps are not kept apart: twice the largest rate leaves room for draws."""

STEPS = 200
"""Steps by false boxes, and as many by found lesions, that are kept."""

SHARE = "share of lesions"
ALL = "all"
SIZES = froc.SIZES
"""Columns of lesions by their long axis, beside that of all."""


def sensitivity_of(column: str, *rates: float) -> Metric:
    """The mean sensitivity over rates of false boxes an image (0.5, 1, 2, 4 where none is named) of a stratum."""
    chosen = rates or froc.HEADLINE
    words = "mean sensitivity" if not rates else f"sensitivity at {', '.join(f'{rate:g}' for rate in rates)}"
    name = words if column == ALL else f"{words}, {column}"

    def value(sums: Mapping[str, np.ndarray]) -> np.ndarray:
        return froc.average(sums[column], chosen)

    return Metric(name, (column,), value, SHARE)


FOUND = sensitivity_of(ALL)
UNDER_10, MIDDLE, OVER_30 = (sensitivity_of(size) for size in SIZES)
AP50 = Metric("AP50", ("ap50",), detection_ap.ap50, "AP50")
SHOWN = (FOUND, UNDER_10, MIDDLE, OVER_30, AP50)
"""Of every table of arms."""


# -- an arm's configuration


def setting_of(recipe: Any, setting: Setting, *, steps: int, batch: int, share: float = 1.0, **model: Any) -> Any:
    """The recipe's configuration at a scale.

    Args:
        recipe: Module of the recipe.
        setting: Scale, seed, folders.
        steps: Of the scale ``small``.
        batch: Squares, cut out of key slices, a step of the scale ``small``.
        share: Part of the training patients of the scale ``small``.
        **model: Fields of the model at every scale.
    """
    from semeia.lesion_sets import LesionData

    if setting.scale == "smoke":
        config = replace(recipe.smoke(), test=8)
        how, share = replace(config.fit, steps=4, warmup=1), 1.0
    elif setting.scale == "small":
        config = recipe.small()
        augmentation = replace(config.augmentation, bone=None)
        config = replace(config, augmentation=augmentation, batch_size=batch, test=TEST)
        how = replace(config.fit, steps=steps, warmup=steps // 20, ema=None)
    else:
        config, share = replace(recipe.paper(), test=None), 1.0
        how = config.fit
    how = replace(how, seed=setting.seed, out=str(setting.out), eval_every=how.steps, save_every=min(200, how.steps))
    data = LesionData(deeplesion=setting.data, share=share)
    return replace(changed(config, **model), data=data, validate=8, choose_on=8, rounds=0, fit=how)


@lru_cache(maxsize=64)
def size_of(build: Callable[[Any], Any], model: Any) -> Size:
    """All learned numbers, those of branches that are left out in use too; operations to read a key slice in use."""
    import torch

    side = model.image_size
    torch.manual_seed(0)
    return counted(build(model), lambda made: made.predict(torch.zeros(1, model.slices, side, side)))


# -- training and measuring


def found_by(config: Any, recipe: Any) -> Found:
    """Train an arm by its recipe, and read the test; all arms of all systems share decoded slices."""
    from semeia import checkpoint
    from semeia.data.slice_feeds import STILL
    from semeia.lesion_scores import find
    from semeia.recipes._lesion_training import feed_of

    system: System = recipe.SYSTEM
    config = replace(config, cache=str(Path(config.fit.out).parents[2] / "slices"))
    weights = recipe.train(replace(config, test=8), progress=False)
    model, _ = checkpoint.load(weights, system=system.name, kind=system.kind, build=system.build)
    return find(model, feed_of(config, tested(config.data, config.test), STILL))


@lru_cache(maxsize=1)
def tested(data: LesionData, limit: int | None) -> list[Any]:
    """The key slices of the test: ``limit`` of ``TESTED`` at even steps, or all of the split ``test``."""
    from semeia.lesion_sets import open_lesions, split_of, thinned

    sets = open_lesions(replace(data, made=None))
    if limit is None:
        return list(split_of(sets, "test"))
    split_of(sets, "test")
    return thinned([each.select(lambda key: key.split in TESTED) for each in sets], limit)


def sums_of(found: Found) -> Measured:
    """The patients, and the steps of all lesions, of lesions by size, and of average precision."""
    table = coarse(found.table)
    long = table.traits["long"]
    tables = {ALL: table} | {name: ranked.of_lesions(table, kept) for name, kept in froc.size_strata(long).items()}
    steps = ranked.patient_sums(tables, up_to=HELD)
    at_half = ranked.patient_sums({"ap50": coarse(ranked.joined([image[0] for image in found.images]))})
    return Measured(steps.patients, {**steps.sums, **at_half.sums})


def coarse(table: Ranked) -> Ranked:
    """The same with scores that are rounded down to about 2 x ``STEPS`` levels.

    Levels are scores of the table itself, evenly by rank: of false boxes up to ``HELD`` an image, and of found lesions.
    Curves are straight within a level.
    """
    false, hits = np.sort(table.false)[::-1], np.sort(table.found[table.found > MISSED])
    within = min(int(HELD * len(table.patients)), len(false))
    edges = np.unique(np.concatenate([_spread(false[:within]), _spread(hits)]))

    def level(scores: np.ndarray) -> np.ndarray:
        return np.searchsorted(edges, scores, side="right").astype(float)

    found = np.where(table.found > MISSED, level(table.found), MISSED)
    return replace(table, found=found, false=level(table.false))


def _spread(scores: np.ndarray) -> np.ndarray:
    """At most ``STEPS`` of sorted scores, evenly by rank."""
    return scores[np.unique(np.linspace(0, max(len(scores) - 1, 0), min(STEPS, len(scores))).astype(int))]


def constant(measured: Measured, **values: float) -> Measured:
    """With numbers that are the same for every patient, so that no draw of patients changes their mean."""
    ones = np.ones(len(measured.identities))
    more = {name: np.stack([value * ones, ones], 1) for name, value in values.items()}
    return Measured(measured.identities, {**measured.sums, **more})


def mean_of(name: str, column: str, unit: str) -> Metric:
    """A mean, of sums (R, 2) of values and how many they are."""

    def value(sums: Mapping[str, np.ndarray]) -> np.ndarray:
        total, count = np.moveaxis(np.asarray(sums[column], float), -1, 0)
        return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)

    return Metric(name, (column,), value, unit)


def about(text: str, *, steps: int, batch: int) -> str:
    """What was trained and tested, in Markdown, after what is special about a system."""
    return f"""Trained and tested on the CT world (`semeia make slabs worlds/slabs --count 6300 --seed 1`): rendered
slabs, not patients. {text} At scale `small` all arms share the recipe `small` with {steps} steps of {batch} squares cut
out of key slices, with bones as they are and without averaged weights, and at most {TEST:,} key slices of the splits
`{TESTED[0]}` and `{TESTED[1]}` are read whole: about 2,000 lesions, where the world has 6,300 slabs. Nothing is chosen
on them. The mean sensitivity is over 0.5, 1, 2 and 4 false boxes an image; sizes are long axes. Scale `full` is the
recipe `paper` on data of your own, tested on its split `test`."""
