"""Runs what a ledger lacks: one arm after the other, seed by seed, so that a stopped run has whole pairs.

Finished rows are in the results file at once; an arm that was stopped goes on in its run folder, which is removed when
its row is written.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semeia.files import writable_folder
from semeia.ledger.claims import Arm, Ledger, Scale, Setting, Size
from semeia.ledger.matching import check_arm, check_sizes, digest
from semeia.ledger.rows import Row, of_scale, read, write
from semeia.records import SemeiaError


@dataclass(frozen=True)
class Plan:
    """One training that some claims need."""

    arm: Arm
    seed: int
    config: Any
    protocol: str
    """Digest of the configuration that all arms start from."""
    size: Size
    out: Path
    """Folder of the run."""


def run(
    ledger: Ledger,
    *,
    scale: Scale,
    data: Sequence[str],
    seeds: Sequence[int],
    out: str | Path,
    results: str | Path,
    only: Sequence[str] = (),
    anew: bool = False,
    tell: Callable[[str], None] = print,
) -> list[Row]:
    """Run the arms of some claims that ``results`` does not hold yet, and return all rows that it then holds.

    Args:
        ledger: Of the system.
        scale: How long.
        data: Folders.
        seeds: One training of each arm for each.
        out: Folder of the runs.
        results: Folder of the results files.
        only: Claims by id or group; all by default.
        anew: Forget the rows of this scale.
        tell: Is told of every finished row.

    Raises:
        SemeiaError: Arms are not matched, rows were made otherwise, or a folder cannot be written.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SemeiaError("claims run in one process; start them without torchrun")
    plans = planned(ledger, scale=scale, data=data, seeds=seeds, out=Path(out), only=only)
    file = writable_folder(results) / f"{ledger.system}.json"
    rows = [row for row in read(file, system=ledger.system) if not (anew and row.scale == scale)]
    check_rows(file, of_scale(rows, scale), plans)
    done = {row.key for row in rows}
    missing = [plan for plan in plans if (scale, plan.arm.name, plan.seed) not in done]
    tell(f"{ledger.system}, {scale}: {len(plans) - len(missing)} of {len(plans)} runs are done")
    for number, plan in enumerate(missing, start=1):
        row = _run(ledger, plan, scale=scale)
        if any(other.identities != row.identities for other in of_scale(rows, scale)):
            raise SemeiaError(f"{file}: its rows were tested on other identities than those of {', '.join(data)}; name "
                              "the same data, another --results, or --anew to forget them")  # fmt: skip
        rows.append(row)
        write(file, rows, system=ledger.system)
        shutil.rmtree(plan.out, ignore_errors=True)
        tell(f"{number} of {len(missing)}: {plan.arm.name}, seed {plan.seed}, {row.seconds:.0f} s")
    return rows


def planned(
    ledger: Ledger, *, scale: Scale, data: Sequence[str], seeds: Sequence[int], out: Path, only: Sequence[str] = ()
) -> list[Plan]:
    """Every training that some claims need, seed by seed, with all arms checked to be matched.

    Raises:
        SemeiaError: They are not, or a seed is there twice.
    """
    if len(set(seeds)) < len(seeds) or not seeds or min(seeds) < 0:
        raise SemeiaError(f"seeds: expected different numbers from 0 on, found {', '.join(map(str, seeds)) or 'none'}")
    claims = ledger.chosen(only)
    plans: list[Plan] = []
    sizes: dict[str, Size] = {}
    for seed in seeds:
        for arm in ledger.needed(claims):
            where = out / ledger.system / scale
            known = digest(arm.make(ledger.base(Setting(scale, seed, tuple(data), where))))
            where = where / f"{re.sub(r'[^a-z0-9]+', '-', arm.name.lower())}-{seed}-{known}"
            base = ledger.base(Setting(scale, seed, tuple(data), where))
            config = arm.make(base)
            check_arm(arm, base, config, free=ledger.free)
            if arm.name not in sizes:
                sizes[arm.name] = ledger.size(config)
            plans.append(Plan(arm, seed, config, digest(base), sizes[arm.name], where))
    for claim in claims:
        check_sizes(claim, sizes)
    return plans


def check_rows(file: Path, rows: Sequence[Row], plans: Sequence[Plan]) -> None:
    """Refuse to stand rows beside others that were made otherwise.

    Args:
        file: Where they are.
        rows: Of one scale.
        plans: What would be run now.

    Raises:
        SemeiaError: A row was made by another recipe or arm, or from other data.
    """
    protocol = plans[0].protocol
    now = {plan.arm.name: digest(plan.config) for plan in plans}
    stale = [row for row in rows if row.protocol != protocol or now.get(row.arm, row.config) != row.config]
    if stale:
        raise SemeiaError(
            f"{file}: {len(stale)} of {len(rows)} rows at scale {rows[0].scale}, such as {stale[0].arm!r}, seed "
            f"{stale[0].seed}, were made by another recipe or from other data than asked for; --anew forgets the rows "
            "of this scale, another --results keeps them"
        )


def _run(ledger: Ledger, plan: Plan, *, scale: Scale) -> Row:
    """Train and measure one arm."""
    start = time.perf_counter()
    kept = ledger.columns(plan.arm.name)
    shown = frozenset(name for metric in ledger.shown for name in metric.columns)
    measured = ledger.measure(plan.config, kept | shown)
    totals = {name: array.sum(0, keepdims=True) for name, array in measured.sums.items()}
    values = {
        metric.name: number if math.isfinite(number := float(metric.value(totals)[0])) else None
        for metric in ledger.shown
        if totals.keys() >= set(metric.columns)
    }
    return Row(
        arm=plan.arm.name,
        scale=scale,
        seed=plan.seed,
        steps=plan.config.fit.steps,
        protocol=plan.protocol,
        config=digest(plan.config),
        identities=hashlib.sha256("\n".join(measured.identities).encode()).hexdigest()[:10],
        groups=len(measured.identities),
        parameters=plan.size.parameters,
        flops=plan.size.flops,
        seconds=round(time.perf_counter() - start, 1),
        commit=commit(),
        machine=machine(),
        values=values,
        sums={name: measured.sums[name] for name in sorted(kept)},
    )


def checkout() -> Path | None:
    """The repository that this code lies in, or None where it is installed."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() and (root / ".git").exists() else None


def commit() -> str:
    """Short name of the commit of this code, with ``+`` where a file of it was changed since."""
    root = checkout()
    git = None if root is None else shutil.which("git")
    if git is None:
        return "unknown"
    answers = [
        subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True, check=False)
        for words in (
            ("rev-parse", "--short=10", "HEAD"),
            ("status", "--porcelain", "--", "src", ":!src/semeia/claims/results"),
        )
    ]
    if any(answer.returncode for answer in answers):
        return "unknown"
    return answers[0].stdout.strip() + "+" * bool(answers[1].stdout)


def machine() -> dict[str, Any]:
    """What the rows were made on, without its name."""
    import torch

    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
    }
