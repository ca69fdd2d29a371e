"""Healthy twins from outside: a table of checkpoints, signals hidden in twins, a real chest CT, and what claims cost.

    python benchmarks/twins.py quality runs/smile/checkpoint --data worlds/slabs --judge runs/judge/checkpoint
    python benchmarks/twins.py steganography runs/smile/checkpoint --data worlds/slabs
    python benchmarks/twins.py real runs/smile/checkpoint --out runs/real_twins
    python benchmarks/twins.py cost --data worlds/slabs

``quality``: held-out patients of a CT world, each checkpoint beside a copy of the input, a blurred input and the true
twin, with 95 % intervals over patients. The judge is an own training (``semeia train lesion_segmentor --data
worlds/slabs --out runs/judge``), no part of any maker. KID is of means of its deepest maps, against real normal slices
of the same split; it may be negative.

``steganography``: cycles can hide the lesion in the twin as a signal too faint to be seen. Noise of 1 % of the range is
added to the twin before the reconstructor; a signal that faint goes under in it. Printed are the noise, how much the
reconstructor's answer changes (a network that adds to its image passes the noise on: a ratio near 1), and how far its
answer is from the input inside the lesion, without and with the noise.

``real``: the slices of the part ``chest-ct`` that hold its tumour, which nothing was trained on: input, twin and
difference as pictures, and mean absolute differences in HU inside the tumour's mask and in the body elsewhere. One scan
with one tumour is no measure of anything but of what was seen there.

``cost``: CPU seconds of a step of each arm of ``semeia claims smile --run small``, and of all of it.

Shapes      N slices   B images of a batch   Z tumour slices   H, W slice
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from semeia import checkpoint, parts
from semeia.claims import _twin_study as study
from semeia.claims import smile as claims
from semeia.data.paired_slices import PairedSlices
from semeia.data.slices import BODY, OPENING
from semeia.data.twin_feeds import Tones, TwinFeed, divided, slices_of
from semeia.files import writable_folder, write_whole
from semeia.ledger.claims import Metric, Setting
from semeia.ledger.intervals import draws
from semeia.ledger.verdicts import resampled
from semeia.lesion_sets import LesionData
from semeia.media.twin_pictures import greys, outline, over_greys, tint
from semeia.media.volumes import open_volume
from semeia.metrics.twins import kid
from semeia.predict.normal import TwinMaker
from semeia.recipes import lesion_segmentor
from semeia.recipes import smile as recipe
from semeia.recipes._twin_scores import RANGE, Read, read
from semeia.records import SemeiaError
from semeia.systems import smile
from semeia.train.optimisers import adamw

COLUMNS: tuple[Metric, ...] = (
    claims.WHOLE, claims.INSIDE, claims.SSIM_INSIDE, claims.LEFT, claims.OUTSIDE, claims.SSIM_OUTSIDE, claims.IDENTITY,
    claims.HEALTH, claims.FOUND,
)  # fmt: skip
POINTS = {"copy": claims.COPY, "blur": claims.BLUR, "truth": claims.TRUTH}
NOISE = 0.01
"""Standard deviation of the noise, as a part of the range of values."""


# Quality -------------------------------------------------------------------------------------------------------------


def quality(weights: Sequence[str], data: Sequence[str], judge: str, limit: int | None) -> None:
    """Print a row for each checkpoint and point."""
    sets = recipe.open_slices(LesionData(deeplesion=tuple(data)))
    judging = lesion_segmentor.load(judge)
    heads = [*(metric.name for metric in COLUMNS), "KID", "L1 to the input, normal slices"]
    print(f"| twins | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|", sep="\n")
    made = [(name, study.maker_of(Path(name))) for name in weights]
    for name, model in made:
        for field in ("window", "soft", "spacing"):
            if (wanted := getattr(model.config, field)) != (found := getattr(judging.config, field)):
                raise SemeiaError(f"{judge}: expected a judge with the {field} {wanted} of {name}, found {found}")
        print(row(name, *seen_by(model, sets, limit), judging), flush=True)
    feed, normal = feeds_of(made[0][1].config, sets, limit)
    plain = study.point_of(normal, "copy")
    for point, words in POINTS.items():
        changed = study.point_of(normal, point if point == "blur" else "copy")
        seen = study.point_of(feed, point)
        healthy = replace(plain, twin=changed.twin)
        print(row(words, seen, healthy, smile.tones(made[0][1].config), judging), flush=True)
    print(f"\n{len(feed.places)} slices of {len({*map(feed.patient, range(len(feed.places)))})} patients of the split "
          f"`test` and {len(normal.places)} normal ones, {feed.framing.size} pixels; 95 % intervals over patients"
          )  # fmt: skip


def feeds_of(config: smile.Config, sets: list[PairedSlices], limit: int | None) -> tuple[TwinFeed, TwinFeed]:
    """Slices with lesions of the split ``test``, and as many normal ones."""
    lesions = recipe.held_out(config, slices_of(sets, "test"), limit)
    if lesions is None:
        raise SemeiaError("expected slices of split 'test', found none; name data that have some")
    normal = recipe.held_out(config, slices_of(sets, "test", normal=True), len(lesions.places))
    if normal is None:
        raise SemeiaError("expected normal slices of split 'test', found none; name a CT world with twins")
    return lesions, normal


def seen_by(model: smile.SMILE, sets: list[PairedSlices], limit: int | None) -> tuple[Read, Read, Tones]:
    """Slices with lesions and normal ones as a model reads them, and its tones."""
    lesions, normal = feeds_of(model.config, sets, limit)
    return read(model, lesions), read(model, normal), smile.tones(model.config)


def row(
    name: str,
    seen: Read,
    normal: Read,
    tones: Tones,
    judge: lesion_segmentor.LesionSegmentor,
) -> str:
    """A line of the table."""
    people = seen.patients.tolist()
    patients = tuple(sorted(set(people)))
    values = study.qualities(seen, tones) | study.health(seen, judge)
    sums = {key: study.by_patient(value, people, patients) for key, value in values.items()}
    sums["dice"] = study.known([study.found_dice(seen, people)], patients)
    drawn = resampled(sums, draws(len(patients)))
    cells = [interval(np.asarray(metric.value(drawn))) for metric in COLUMNS]
    distance = kid(
        features(judge, normal.image), features(judge, seen.twin), real_groups=normal.patients.tolist(),
        made_groups=people,
    )  # fmt: skip
    cells.append(f"{distance.value:.3f} ({distance.low:.3f} to {distance.high:.3f})")
    cells.append(f"{np.abs(normal.twin - normal.image).mean():.4f}")
    return f"| {name} | {' | '.join(cells)} |"


def interval(values: np.ndarray) -> str:
    """The first of (1 + R,) values with the 95 % interval of the others; a dash where there is none."""
    if np.isnan(values).any():
        return "-"
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.3f} ({low:.3f} to {high:.3f})"


@torch.no_grad()
def features(judge: lesion_segmentor.LesionSegmentor, pictures: np.ndarray) -> np.ndarray:
    """(N, D) means of the deepest maps of a fixed network, of pictures (N, H, W) in [-1, 1]."""
    kept: list[torch.Tensor] = []
    hook = judge.network.down[-1].register_forward_hook(lambda net, asked, maps: kept.append(maps.mean((2, 3))))
    try:
        for part in torch.from_numpy(pictures.astype(np.float32))[:, None].clamp(-1, 1).split(8):
            judge.network(part)
    finally:
        hook.remove()
    return torch.cat(kept).numpy()


# Steganography -------------------------------------------------------------------------------------------------------


def steganography(weights: Sequence[str], data: Sequence[str], limit: int | None, noise: float) -> None:
    """Print what noise on the twin does to the reconstructor's answer."""
    sets = recipe.open_slices(LesionData(deeplesion=tuple(data)))
    print(
        "| checkpoint | noise, RMS | change of the answer, RMS | ratio | L1 to the input in the lesion | with noise |",
        "|---|---|---|---|---|---|",
        sep="\n",
    )
    for name in weights:
        model = study.maker_of(Path(name))
        lesions, _ = feeds_of(model.config, sets, limit)
        told = hidden(model, lesions, noise=noise)
        print(f"| {name} | {' | '.join(f'{value:.4f}' for value in told)} |", flush=True)
    print(f"\nnoise of {100 * noise:g} % of the range of {RANGE:g}; true masks")


@torch.no_grad()
def hidden(model: smile.SMILE, feed: TwinFeed, *, noise: float, seed: int = 0) -> tuple[float, ...]:
    """RMS of the noise, RMS of the answer's change, their ratio, and L1 to the input inside, without and with noise.

    Raises:
        SemeiaError: The model has no reconstructor.
    """
    draw, total, pixels, lesion = torch.Generator().manual_seed(seed), np.zeros(4), 0, 0.0
    for batch in feed.evaluation_batches():
        image, mask = batch["image"], batch["mask"]
        twin, _ = model.twin(image)
        added = noise * RANGE * torch.randn(twin.shape, generator=draw)
        before, after = model.restore(twin, mask), model.restore(twin + added, mask)
        total += [float(each.sum()) for each in (
            added.square(), (after - before).square(), (before - image).abs() * mask, (after - image).abs() * mask
        )]  # fmt: skip
        pixels, lesion = pixels + image.numel(), lesion + float(mask.sum())
    loud, change = np.sqrt(total[:2] / pixels)
    return float(loud), float(change), float(change / loud), *(total[2:] / max(lesion, 1.0)).tolist()


# A real scan ---------------------------------------------------------------------------------------------------------


def real(weights: str, out: str) -> None:
    """Write pictures of the tumour's slices, and print differences inside the tumour and elsewhere in the body."""
    maker = TwinMaker.load(weights, "cpu")
    window = maker.model.config.window
    if window is None:
        raise SemeiaError(f"{weights}: expected weights for CT, found such that read scaled MR slices")
    folder = writable_folder(out)
    print(
        "| slice | tumour, pixels | absolute difference in it, mean HU | signed | in the body elsewhere, mean HU | "
        "ratio | likelihood in it, mean | largest | elsewhere, largest |",
        "|---|---|---|---|---|---|---|---|---|",
        sep="\n",
    )
    with open_volume(parts.fetch("chest-ct")) as scan, open_volume(parts.fetch("chest-ct-tumour")) as labels:
        mask = labels.slab(0, labels.shape[0] - 1) > 0
        for at in np.flatnonzero(mask.any((1, 2))).tolist():
            image = scan.slab(at, at)[0]
            twins, likelihoods = maker.twins(image[None], window, scan.spacing[:2])
            print(told(f"{scan.own_slice(at)}", image, twins[0], likelihoods[0], mask[at]), flush=True)
            picture = drawn(image, twins[0], mask[at], window)
            with tempfile.SpooledTemporaryFile() as stream:
                Image.fromarray(picture).save(stream, "PNG")
                stream.seek(0)
                write_whole(folder / f"slice-{scan.own_slice(at):04d}.png", stream.read())
    print(f"\npictures of input, twin and difference, the tumour's mask outlined: {folder}")


def told(name: str, image: np.ndarray, twin: np.ndarray, likelihood: np.ndarray, tumour: np.ndarray) -> str:
    """A line of the table; all (H, W)."""
    change, elsewhere = twin - image, inside_body(image) & ~tumour
    inside, other = np.abs(change)[tumour].mean(), np.abs(change)[elsewhere].mean()
    ratio = f"{inside / other:.1f}" if other > 0 else "-"
    return (
        f"| {name} | {int(tumour.sum())} | {inside:.1f} | {change[tumour].mean():+.1f} | {other:.2f} | {ratio} | "
        f"{likelihood[tumour].mean():.3f} | {likelihood[tumour].max():.3f} | {likelihood[elsewhere].max():.3f} |"
    )


def inside_body(hu: np.ndarray) -> np.ndarray:
    """(H, W) bool: the largest thing in a slice that is no air, with the air in it; all where there is nothing."""
    thick = ndimage.binary_opening(hu > BODY, np.ones((OPENING, OPENING), bool))
    parts_, count = ndimage.label(thick)
    if not count:
        return np.ones(hu.shape, bool)
    filled: np.ndarray = ndimage.binary_fill_holes(parts_ == 1 + np.bincount(parts_.ravel())[1:].argmax())
    return filled


def drawn(image: np.ndarray, twin: np.ndarray, tumour: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """(H, 3 W, 3) uint8: input with the tumour's outline, twin, and the difference over the input."""
    grey = greys(image, window)
    line = outline(tumour.astype(np.float32), 0.5)
    return np.concatenate(
        [over_greys(grey, line), np.dstack([greys(twin, window)] * 3), over_greys(grey, tint(twin - image, window))], 1
    )


# What claims cost ----------------------------------------------------------------------------------------------------


def cost(data: Sequence[str], steps: int, seeds: int) -> None:
    """Print CPU seconds a step of each arm and stage, of segmentors and of reading, and the sum of the ledger."""
    torch.set_num_threads(1)
    base = claims.base(Setting("small", 0, tuple(data), Path("runs/none")))
    sets = recipe.open_slices(base.data)
    lengths = (0, base.labelled_steps, base.fit.steps)
    print("| arm | S | masked | all | a training after S |", "|---|---|---|---|---|", sep="\n")
    total, first = 0.0, {}
    for arm in claims.ARMS:
        config = arm.make(base)
        if config.point == "trained":
            each = stages(config, sets, steps)
            whole = float(np.dot(each, lengths))
            total += seeds * whole
            first[config.masked] = each[0] * base.segmentor_steps * base.segmentor_batch / base.batch_size
            print(f"| {arm.name} | {' | '.join(f'{value:.3f}' for value in each)} | {whole:.0f} |", flush=True)
    tries = sum(arm.make(base).makes for arm in claims.ARMS)
    feed = study.test_of(base, sets)
    with tempfile.TemporaryDirectory() as folder:
        maker = smile.build(base.model)
        checkpoint.save(folder, system="smile", config=base.model, state=maker.state_dict(), card="# none")
        task = replace(base.task, data=base.data)
        plain, made = (segmenting(replace(task, arm=arm, smile=folder), sets, steps) for arm in study.TRIED)
    judge = segmenting(replace(base.judge, data=base.data), sets, steps)
    part = recipe.held_out(base.model, feed.places[:steps], None)
    assert part is not None
    reading = seconds(lambda: study.qualities(read(maker, part), smile.tones(base.model))) / steps
    rest = (
        ("localisers, one for each share of masks", seeds * sum(first.values())),
        ("segmentors that try made-up lesions", seeds * tries * base.task.fit.steps * (plain + made)),
        ("the judge", base.judge.fit.steps * judge),
        ("reading the test", seeds * (len(claims.ARMS) + 2 * tries) * len(feed.places) * reading),
    )
    print(f"\ntrainings of makers: {total / 60:.1f} minutes for {seeds} seeds")
    for words, spent in rest:
        print(f"{words}: {spent / 60:.1f} minutes")
    print(f"in all: {(total + sum(spent for _, spent in rest)) / 60:.0f} minutes, without saving and starting")


def stages(config: Any, sets: list[PairedSlices], steps: int) -> list[float]:
    """CPU seconds a step of the three stages of an arm."""
    division = divided(sets, labelled=config.masked, healthy=config.healthy, seed=0)
    designed = recipe.model_of(config, division)
    model, spent = smile.build(designed), []
    for stage in get_args(smile.Stage):
        model.enter(stage)
        feeds = recipe.feeds_of(config, designed, division, seed=0)
        optimizers = recipe.optimizers_of(model, config)

        def step(index: int, feeds: Any = feeds, optimizers: Any = optimizers) -> None:
            for phase in model.phases:
                model.zero_grad()
                model(feeds[phase.feed].batch(index), phase.loss)["loss"].backward()
                optimizers[phase.optimizer].step()
            model.after_step(index + 1)

        spent.append(per_step(step, steps))
    return spent


def segmenting(config: lesion_segmentor.Config, sets: list[PairedSlices], steps: int) -> float:
    """CPU seconds a step of a segmentor."""
    division = divided(sets, labelled=config.masked, healthy=config.healthy, seed=0)
    feed: Any = lesion_segmentor.feed_of(config, division)
    model = lesion_segmentor.LesionSegmentor(config.model)
    (optimizer,) = adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay).values()

    def step(index: int) -> None:
        optimizer.zero_grad()
        model(feed.batch(index))["loss"].backward()
        optimizer.step()

    return per_step(step, steps)


def per_step(step: Callable[[int], None], steps: int) -> float:
    """CPU seconds of a step, after one that does not count."""
    step(0)

    def several() -> None:
        for index in range(1, steps + 1):
            step(index)

    return seconds(several) / steps


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = process_time()
    work()
    return process_time() - began


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="what", required=True)
    for name in ("quality", "steganography"):
        verb = verbs.add_parser(name)
        verb.add_argument("weights", nargs="+", help="checkpoint folders")
        verb.add_argument("--data", nargs="+", required=True, help="CT worlds with true twins")
        verb.add_argument("--limit", type=int, help="slices that are read (default: all of the split test)")
    verbs.choices["quality"].add_argument("--judge", required=True, help="checkpoint of a lesion_segmentor")
    verbs.choices["steganography"].add_argument("--noise", type=float, default=NOISE, help="part of the range")
    verb = verbs.add_parser("real")
    verb.add_argument("weights", help="a checkpoint folder")
    verb.add_argument("--out", required=True, help="folder of the pictures")
    verb = verbs.add_parser("cost")
    verb.add_argument("--data", nargs="+", required=True, help="CT worlds with true twins")
    verb.add_argument("--steps", type=int, default=3, help="of each stage that are measured")
    verb.add_argument("--seeds", type=int, default=3)
    args = vars(parser.parse_args())
    verbs_by_name: dict[str, Callable[..., None]] = {
        "quality": quality, "steganography": steganography, "real": real, "cost": cost,
    }  # fmt: skip
    verbs_by_name[args.pop("what")](**args)


if __name__ == "__main__":
    main()
