"""Annotation spread over processes of this machine, or over a cluster, by Ray Data."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from semeia.predict.annotate import Job, Work, Worker
from semeia.records import SemeiaError


def over_ray(jobs: Sequence[Job], work: Work, workers: int, address: str | None) -> Iterator[dict[str, Any]]:
    """Summaries of jobs as Ray Data's actors finish them, in any order.

    Args:
        jobs: Shards to make, at least one.
        work: What to do with them.
        workers: Actors; 0: one a core.
        address: Of a cluster; None: this machine.

    Raises:
        SemeiaError: Ray is missing, or the cluster cannot be reached.
    """
    prepare(address)
    try:
        ray: Any = import_module("ray")
        data: Any = import_module("ray.data")
    except ImportError as error:
        raise SemeiaError("annotating runs on Ray Data, which is not installed; pip install 'semeia[scale]'") from error
    started = not ray.is_initialized()
    if started:
        _start(ray, workers, address)
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        data.DataContext.get_current().enable_progress_bars = False
        cores = int(ray.cluster_resources().get("CPU", 1))
        count = max(1, min(workers or cores, len(jobs)))
        made = data.from_items([{"job": job.dumped()} for job in jobs], override_num_blocks=len(jobs)).map(
            _Actor,
            fn_constructor_args=[work, 1 if count > 1 else None],
            compute=data.ActorPoolStrategy(size=count),
            num_cpus=1,
            num_gpus=1 if work.device == "cuda" else None,
        )
        for row in made.iter_rows():
            yield json.loads(row["summary"])
    finally:
        if started:
            with suppress(Exception):
                ray.shutdown()


def prepare(address: str | None) -> None:
    """Tell Ray by its environment variables, before it is imported, what it would get wrong by itself.

    A cluster of ``ray start`` asks for the token of whoever started it where there was one, and any run on this machine
    alone leaves one; but Ray shows it to a cluster only where it is told to. Clusters that ask for none do not mind.

    Args:
        address: Of a cluster; None: this machine.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is not None and has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def has_token() -> bool:
    """Whether there is a token of Ray's where it looks for one."""
    told = any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return told or (Path.home() / ".ray" / "auth_token").is_file()


def _start(ray: Any, workers: int, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            # "local" is said aloud, for the environment variable RAY_ADDRESS would take its place.
            cores = max(workers, os.cpu_count() or 1)
            ray.init(address="local", include_dashboard=False, num_cpus=cores, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        where = "this machine" if address is None else address
        raise SemeiaError(f"{where}: no Ray cluster can be had there ({error}); start one with 'ray start --head', or "
                          "leave --address out") from error  # fmt: skip


class _Actor:
    """A worker among Ray's; what stops the run comes back as an answer, for exceptions lose their class on the way."""

    def __init__(self, work: Work, threads: int | None) -> None:
        self.worker: Worker | None = None
        self.error = ""
        try:
            self.worker = Worker(work, threads=threads)
        except SemeiaError as error:
            self.error = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if self.worker is None:
            return {"summary": json.dumps({"error": self.error})}
        try:
            return {"summary": json.dumps(self.worker.annotate(Job.loaded(row["job"])))}
        except SemeiaError as error:
            return {"summary": json.dumps({"error": str(error)})}
