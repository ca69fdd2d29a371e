"""What helps Q-Face read faces: matched arms on folders of the face world, over seeds.

    python benchmarks/face_study.py prior --data worlds/faces --other worlds/faces-other --prior runs/mae/checkpoint
    python benchmarks/face_study.py augmentation --data worlds/faces --other worlds/faces-other --steps 1500
    python benchmarks/face_study.py learning --data worlds/faces --other worlds/faces-other

The arms of a study train by the same recipe for the same steps from the same seeds and differ in what their names say.
A study that was stopped goes on where it was. Rows go to ``benchmarks/results``; ``--table`` prints those that are
there and runs nothing, whatever configuration and commit they come from.

The table shows, for each question, the paired difference over seeds with its 95 % t interval: it holds where the
interval lies above zero, fails where it lies below, and is inconclusive otherwise. Many questions are asked of the same
seeds and no interval is widened for that, so that about one in twenty would hold or fail by chance alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from semeia import checkpoint
from semeia.data.augment import Augmentation
from semeia.evaluate import SUMMARIES
from semeia.face_sets import FaceData, data_flags
from semeia.files import write_whole
from semeia.recipes import qface as recipe
from semeia.systems import face_mae, qface

RESULTS = Path(__file__).parent / "results"
ALL = "all families"
LEAST_SEEDS = 3
"""Fewer seeds give no verdict."""

FAMILIES: dict[str, dict[str, float]] = {
    "geometry": {"rotation": 0, "scale": 0, "shift": 0, "p_flip": 0},
    "light and colour": {
        "p_light": 0, "p_vignette": 0, "p_gain": 0, "p_brightness": 0, "p_contrast": 0, "p_gamma": 0,
        "p_saturation": 0, "p_grey": 0,
    },
    "lens and motion blur": {"p_blur": 0, "p_motion": 0},
    "sensor noise and compression": {"p_noise": 0, "p_shot": 0, "p_resample": 0, "p_jpeg": 0},
    "occluders": {"p_occluder": 0},
}  # fmt: skip
"""Families of augmentation, and what takes each away."""

METRICS = {
    "action unit present/F1, mean of BP4D's 12": 1,
    "action unit present/F1": 1,
    "expression/accuracy": 1,
    "attribute/balanced accuracy": 1,
    "age/mean absolute error, years": -1,
    "pose/mean absolute error, degrees": -1,
}
"""What is compared; -1 where less is better."""


@dataclass(frozen=True)
class Question:
    """Whether ``arm`` is better than ``reference``."""

    statement: str
    arm: str
    reference: str


@dataclass(frozen=True)
class Study:
    """Arms by name and what is asked of them."""

    arms: dict[str, recipe.Config]
    questions: tuple[Question, ...]


# ---------------------------------------------------------------------------------------------------------------------
# Studies


def prior_study(config: recipe.Config, prior: str | None) -> Study:
    """A backbone that has seen faces without labels, beside one that begins at random."""
    if prior is None:
        raise SystemExit("the study of a prior needs --prior FOLDER, a checkpoint of face_mae")
    arms = {"no prior": replace(config, prior=None), "prior": replace(config, prior=prior)}
    return Study(arms, (Question("a face prior helps", "prior", "no prior"),))


def built_as(model: qface.Config, prior: face_mae.Config) -> qface.Config:
    """A Q-Face whose backbone is that of a prior, tapped in three depths."""
    deepest = prior.backbone_depth + 1 if prior.backbone == "fine_vit" else model.taps[-1]
    return replace(
        model, backbone=prior.backbone, image_size=prior.image_size, backbone_width=prior.backbone_width,
        backbone_depth=prior.backbone_depth, backbone_heads=prior.backbone_heads, mean=prior.mean, std=prior.std,
        taps=(0, deepest // 2, deepest),
    )  # fmt: skip


def augmentation_study(config: recipe.Config, prior: str | None) -> Study:
    """All families, none, and all but one."""

    def without(*families: str) -> recipe.Config:
        off = {name: type(getattr(Augmentation(), name))(0) for f in families for name in FAMILIES[f]}
        return replace(config, prior=prior, augmentation=replace(config.augmentation, **off))

    arms = {ALL: without(), "none": without(*FAMILIES)} | {f"all but {f}": without(f) for f in FAMILIES}
    each = (Question(f"{family} helps", ALL, f"all but {family}") for family in FAMILIES)
    return Study(arms, (Question("augmentation helps", ALL, "none"), *each))


def learning_study(config: recipe.Config, prior: str | None) -> Study:
    """What the recipe does, each undone on its own."""
    config = replace(config, prior=prior)
    changes: dict[str, dict[str, Any]] = {
        "positives weighed alike": {"rarity": 0.0},
        "faces drawn alike": {"balance": "none"},
        "queries that start from nothing": {"model": replace(config.model, summary=0)},
        "aligned crops that move as far as upright ones": {"augmentation": replace(config.augmentation, aligned=1.0)},
        "no finer map of the stem": {"model": replace(config.model, taps=config.model.taps[1:])},
        "stronger augmentation": {"augmentation": Augmentation()},
        "more upright faces": {"aligned": 0.5},
        "action units weigh double": {"model": replace(config.model, weights=_doubled(config.model.weights))},
        "age as a number": {"model": replace(config.model, age_reading="number")},
    }
    arms = {"as it is": config} | {name: replace(config, **change) for name, change in changes.items()}
    return Study(arms, tuple(Question(f"{name} helps", name, "as it is") for name in changes))


def _doubled(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Loss weights with that of action units doubled."""
    return tuple(w * (1 + (task == "action_units")) for w, task in zip(weights, qface.TASKS, strict=True))


STUDIES: dict[str, Callable[[recipe.Config, str | None], Study]] = {
    "prior": prior_study,
    "augmentation": augmentation_study,
    "learning": learning_study,
}


# ---------------------------------------------------------------------------------------------------------------------
# Running


def key_of(arm: str, config: recipe.Config) -> str:
    """Name of a run: all that decides its numbers, and not where it is kept."""
    plain = asdict(config)
    plain["fit"].pop("out")
    plain["prior"] = None if config.prior is None else Path(config.prior).name
    plain["other_data"] = [Path(folder).name for folder in config.other_data]
    for name in ("data", "test_data"):
        plain[name] = data_flags(getattr(config, name), name)
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:10]
    return f"{arm}, seed {config.fit.seed}, {config.fit.steps} steps, {digest}"


def run(arm: str, config: recipe.Config) -> dict[str, Any]:
    """Train one arm from one seed and measure it on the usual and on the other-looking faces."""
    start = time.perf_counter()
    weights = recipe.train(config, progress=False)
    tables = json.loads((Path(config.fit.out) / "scores.json").read_text())
    values = {"usual test": tables[recipe.USUAL]}
    if recipe.OTHER in tables:
        values["other test"] = tables[recipe.OTHER]
    # The split that calibration is fitted on: these values are told, never compared.
    read = recipe.evaluate(weights, config.data, split="val", limit=config.test, rounds=0)
    values["usual val"] = [score.as_dict() for score in read]
    return {
        "arm": arm,
        "seed": config.fit.seed,
        "steps": config.fit.steps,
        "values": {name: _summaries(rows) for name, rows in values.items()},
        "seconds": round(time.perf_counter() - start, 1),
        "torch": torch.__version__,
        "machine": {
            "system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
    }  # fmt: skip


def _summaries(rows: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    scores = (recipe.Score(**row) for row in rows)
    return {recipe.summary(s): s.value for s in scores if s.label in SUMMARIES}


def run_all(study: Study, seeds: Sequence[int], file: Path, out: Path) -> list[dict[str, Any]]:
    """Run what ``file`` does not hold yet, seed by seed, so that a stopped study has whole pairs; return all rows."""
    rows: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    wanted = []
    for seed in seeds:
        for arm, config in study.arms.items():
            seeded = replace(config, fit=replace(config.fit, seed=seed))
            key = key_of(arm, seeded)
            wanted.append(key)
            if key not in rows:
                folder = out / f"{arm.replace(' ', '-')}-{key.rpartition(' ')[2]}"
                rows[key] = run(arm, replace(seeded, fit=replace(seeded.fit, out=str(folder))))
                file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(file, (json.dumps(rows, indent=1) + "\n").encode())
                print(f"{key}: {rows[key]['seconds']} s", flush=True)
    return [rows[key] for key in wanted]


# ---------------------------------------------------------------------------------------------------------------------
# Reading


@dataclass(frozen=True)
class Verdict:
    """Mean paired difference over seeds, signed so that more is better, with its interval."""

    difference: float
    low: float
    high: float
    seeds: int

    @property
    def word(self) -> str:
        """``holds``, ``fails`` or ``inconclusive``."""
        if self.seeds < LEAST_SEEDS or not self.low * self.high > 0:
            return "inconclusive"
        return "holds" if self.low > 0 else "fails"


def judge(arm: Sequence[float], reference: Sequence[float], *, sign: int) -> Verdict:
    """Compare two arms, seed by seed, by a t interval of 95 %."""
    apart = sign * (np.asarray(arm, float) - np.asarray(reference, float))
    n, mean = len(apart), float(apart.mean())
    if n < 2:
        return Verdict(mean, math.nan, math.nan, n)
    reach = float(stats.t.ppf(0.975, n - 1) * apart.std(ddof=1) / math.sqrt(n))
    return Verdict(mean, mean - reach, mean + reach, n)


def table(study: Study, rows: Sequence[dict[str, Any]]) -> str:
    """The means of the arms, then the answers, as Markdown."""
    faces = [name for name in ("other test", "usual test") if all(name in row["values"] for row in rows)]
    lines = [f"| arm | faces | {' | '.join(METRICS)} |", f"|---|---|{'---|' * len(METRICS)}"]
    for arm in study.arms:
        for name in faces:
            means = [np.mean(_values(rows, arm, name, metric)) for metric in METRICS]
            lines.append(f"| {arm} | {name} | {' | '.join(f'{mean:.3f}' for mean in means)} |")
    lines += ["", "| question | faces | metric | better by | 95 % interval | seeds | verdict |", "|---|" + "---|" * 6]
    for question in study.questions:
        for name in faces:
            for metric, sign in METRICS.items():
                pair = (_values(rows, arm, name, metric) for arm in (question.arm, question.reference))
                v = judge(*pair, sign=sign)
                interval = "-" if math.isnan(v.low) else f"{v.low:+.4f} to {v.high:+.4f}"
                lines.append(
                    f"| {question.statement} | {name} | {metric} | {v.difference:+.4f} | {interval} | {v.seeds} "
                    f"| {v.word} |"
                )
    return "\n".join(lines)


def _values(rows: Sequence[dict[str, Any]], arm: str, faces: str, metric: str) -> list[float]:
    """A metric of an arm, in the order of seeds; NaN where it does not exist."""
    found = sorted((row["seed"], row["values"][faces].get(metric)) for row in rows if row["arm"] == arm)
    return [math.nan if value is None else value for _, value in found]


def kept(study: Study, file: Path) -> list[dict[str, Any]]:
    """The rows of a file whose arms the study has."""
    if not file.exists():
        raise SystemExit(f"{file}: expected the rows of a study, found no file; run it first")
    return [row for row in json.loads(file.read_text()).values() if row["arm"] in study.arms]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a study and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--data", nargs="+", metavar="FOLDER", help="usual faces: train, val and test")
    parser.add_argument("--other", nargs="*", default=(), metavar="FOLDER", help="other-looking faces: test")
    parser.add_argument(
        "--prior", metavar="FOLDER", help="checkpoint of face_mae; in other studies all arms start there"
    )
    parser.add_argument("--scale", choices=recipe.SCALES, default="small", help="where the recipe's values start")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=1000, help="most images of each split that are read")
    parser.add_argument("--out", type=Path, default=Path("runs/face_study"), help="where the runs are kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the rows")
    parser.add_argument("--table", action="store_true", help="print the table of the rows that are there")
    args = parser.parse_args(arguments)
    results = args.results / f"face_study_{args.study}.json"
    if args.table:
        study = STUDIES[args.study](recipe.SCALES[args.scale](), args.prior or "none")
        print(table(study, kept(study, results)))
        return
    if not args.data:
        parser.error("--data is needed to run a study")
    config = recipe.SCALES[args.scale]()
    how = replace(
        config.fit, steps=args.steps, warmup=args.steps // 20, eval_every=args.steps,
        save_every=max(1, min(250, args.steps)),
    )  # fmt: skip
    config = replace(
        config, fit=how, data=FaceData(faces=tuple(args.data)), other_data=tuple(args.other), test=args.limit, rounds=0
    )
    if args.prior is not None:
        learned = checkpoint.load_config(args.prior, face_mae.Config, system="face_mae")
        config = replace(config, model=built_as(config.model, learned))
    study = STUDIES[args.study](config, args.prior)
    rows = run_all(study, args.seeds, results, args.out / args.study)
    print(table(study, rows))


if __name__ == "__main__":
    main()
