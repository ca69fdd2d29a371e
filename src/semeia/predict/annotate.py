"""Re-annotation of many pictures: shards that are planned once, annotated by workers, and finished into data sets.

    OUT/plan.json           inputs, settings and the number of shards; the same command goes on where it stopped
    OUT/work/00000.tar      crops that were kept;  OUT/work/00000.parquet   what became of every picture
    OUT/...                 what ``annotate_outputs.finish`` makes of them

A shard appears whole or not at all, under a name that the plan gives it. So a run that is killed loses at most the
shards it was at, and makes none twice; which worker makes a shard, and how often, does not matter.

Shapes      H, W pixels
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from semeia import __version__
from semeia.data.formats import webdataset
from semeia.files import writable_folder, write_whole
from semeia.predict import annotate_outputs
from semeia.predict.annotate_outputs import Outputs, Report
from semeia.predict.picture_sources import Picture, find_pictures, load
from semeia.records import Face, SemeiaError
from semeia.systems.face_mllm import annotate as rules_of
from semeia.systems.face_mllm import filters
from semeia.systems.face_mllm.annotate import Annotation, Annotator, Description, Find

BATCH = 16
"""Pictures that are held in memory at a time."""


class Job(NamedTuple):
    """One shard: its number and its pictures."""

    number: int
    pictures: tuple[Picture, ...]

    def dumped(self) -> str:
        """As text, to travel."""
        return json.dumps([self.number, self.pictures])

    @classmethod
    def loaded(cls, text: str) -> Job:
        """From ``dumped``."""
        number, pictures = json.loads(text)
        return cls(number, tuple(Picture(*picture) for picture in pictures))


@dataclass(frozen=True)
class Work:
    """What a worker needs to know; it travels to all of them.

    Attributes:
        out: The folder, under the same path on every machine.
        annotators: Loaded by each worker.
        config: Which faces are taken.
        rules: Thresholds of the filters.
        device: Where faces are found.
        finder: Loads what finds faces.
    """

    out: str
    annotators: tuple[Description, ...]
    config: rules_of.Config = field(default_factory=rules_of.Config)
    rules: filters.Config = field(default_factory=filters.Config)
    device: str = "auto"
    finder: Callable[[str], Find] | None = None

    def as_dict(self) -> dict[str, Any]:
        """What answers depend on, as plain values."""
        return {
            "annotators": [described.as_dict() for described in self.annotators],
            "config": asdict(self.config),
            "filters": {name: value for name, value in asdict(self.rules).items() if name != "most_different"},
        }


Spread = Callable[[Sequence[Job], Work, int, str | None], Iterator[dict[str, Any]]]
"""Jobs, work, number of workers (0: all cores) and address of a cluster -> summaries as shards are done."""


class Worker:
    """Annotates shards; loaded once in every process.

    Args:
        work: What to do.
        threads: Threads of torch; None: as many as it likes.
    """

    def __init__(self, work: Work, *, threads: int | None = None) -> None:
        self.work = work
        if not (Path(work.out) / "plan.json").is_file():
            raise SemeiaError(f"{work.out}: not seen by a worker; expected a folder that every machine of the cluster "
                              "sees under this path")  # fmt: skip
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        self.find = (work.finder or _finder)(work.device)
        self.annotators: list[Annotator] = [described.load() for described in work.annotators]

    def annotate(self, job: Job) -> dict[str, Any]:
        """Make one shard and tell what became of its pictures.

        Raises:
            SemeiaError: It cannot be written, or an annotator gave up.
        """
        statuses: Counter[str] = Counter()

        def samples() -> Iterator[webdataset.Sample]:
            for start in range(0, len(job.pictures), BATCH):
                for sample, status in self._batch(job, start):
                    statuses[status] += 1
                    yield sample

        webdataset.write_shard(work_shard(self.work.out, job.number), samples(), schema=annotate_outputs.WORK)
        return {"shard": job.number, "pictures": len(job.pictures), "statuses": dict(statuses)}

    def _batch(self, job: Job, start: int) -> list[tuple[webdataset.Sample, str]]:
        """Some pictures of a shard, in their order; a broken one is a row like all others."""
        named = [
            (f"{job.number:05d}{start + place:05d}", picture)
            for place, picture in enumerate(job.pictures[start : start + BATCH])
        ]
        images: list[tuple[str, str, np.ndarray]] = []
        made: dict[str, tuple[Annotation, str | None]] = {}
        for key, picture in named:
            try:
                images.append((key, picture.source, load(picture)))
            except SemeiaError as error:
                made[key] = (Annotation(key, picture.source, "broken picture"), str(error))
        annotations = rules_of.annotate(images, self.find, self.annotators, self.work.config, self.work.rules)
        made |= {annotation.key: (annotation, None) for annotation in annotations}
        return [(_sample(*made[key]), made[key][0].status) for key, _ in named]


def _finder(device: str) -> Find:
    from semeia.nn.face_finder import FaceFinder
    from semeia.predict.faces import pick_device

    finder = FaceFinder(device=pick_device(device))

    def find(image: np.ndarray) -> Sequence[Face]:
        return finder.find(image)

    return find


def _sample(annotation: Annotation, error: str | None) -> webdataset.Sample:
    crop, content = annotation.crop, None
    if crop is not None:
        stream = io.BytesIO()
        Image.fromarray(crop).save(stream, format="JPEG", quality=95)
        content = stream.getvalue()
    row = {
        "status": annotation.status,
        "error": error,
        "source": annotation.source,
        "box": None if annotation.box is None else [round(value, 2) for value in annotation.box],
        "score": annotation.score,
        "width": None if crop is None else crop.shape[1],
        "height": None if crop is None else crop.shape[0],
        "labels": json.dumps(annotation.labels),
        "provenance": json.dumps(annotation.provenance),
        "annotators": list(annotation.annotators),
        "problems": list(annotation.problems),
        "hash": annotation.hash,
    }
    return webdataset.Sample(annotation.key, content, annotation.caption, row=row)


def work_shard(out: str | Path, number: int) -> Path:
    """The tar of a shard."""
    return Path(out) / "work" / f"{number:05d}.tar"


# ---------------------------------------------------------------------------------------------------------------------
# The whole run


def annotate(
    inputs: Sequence[str | Path],
    out: str | Path,
    *,
    annotators: Sequence[Description],
    config: rules_of.Config | None = None,
    rules: filters.Config | None = None,
    outputs: Outputs | None = None,
    shard: int = 256,
    workers: int = 0,
    address: str | None = None,
    device: str = "auto",
    finder: Callable[[str], Find] | None = None,
    on_shard: Callable[[int, int, Mapping[str, int]], None] | None = None,
    spread: Spread | None = None,
) -> Report:
    """Annotate pictures, or go on where an earlier run with the same arguments stopped, then write the data sets.

    Args:
        inputs: See ``picture_sources.find_pictures``.
        out: The folder; on a cluster it and the inputs lie where every machine sees them.
        annotators: At least one.
        config: Which faces are taken.
        rules: Thresholds of the filters.
        outputs: What is written in the end.
        shard: Pictures of a shard, at most 10,000.
        workers: Processes; 0: one a core.
        address: Of a Ray cluster (``auto``, ``HOST:PORT``, ``ray://...``); None: this machine.
        device: Where faces are found; ``cuda`` gives every worker a card.
        finder: Loads what finds faces, given ``device``; None: this library's.
        on_shard: Called as shards are done: pictures done, pictures in all, statuses so far.
        spread: Sends the work to workers; None: ``over_ray.over_ray``.

    Raises:
        SemeiaError: There is nothing to annotate, ``out`` holds another run, an annotator gave up, or the disk is full.
            What is done stays done.
    """
    root = writable_folder(out)
    work = Work(
        str(root.resolve()), tuple(annotators), config or rules_of.Config(), rules or filters.Config(), device, finder
    )
    with _alone(root):
        pictures, notes = find_pictures(inputs)
        jobs = [
            Job(number, tuple(pictures[start : start + shard]))
            for number, start in enumerate(range(0, len(pictures), shard))
        ]
        _plan(root, work, pictures, shard)
        for part in (root / "work").glob(".*.part*"):
            part.unlink(missing_ok=True)
        left = [job for job in jobs if not webdataset.has_shard(work_shard(root, job.number))]
        done = len(pictures) - sum(len(job.pictures) for job in left)
        seen: Counter[str] = Counter()
        tell = on_shard or (lambda *_: None)
        tell(done, len(pictures), seen)
        for summary in (spread or _over_ray())(left, work, workers, address) if left else ():
            if "error" in summary:
                raise SemeiaError(summary["error"])
            done += summary["pictures"]
            seen.update(summary["statuses"])
            tell(done, len(pictures), seen)
        shards = [work_shard(root, job.number) for job in jobs]
        return annotate_outputs.finish(
            root, shards, outputs or Outputs(), notes, most_different=work.rules.most_different
        )


def _over_ray() -> Spread:
    from semeia.predict.over_ray import over_ray

    return over_ray


def _plan(root: Path, work: Work, pictures: Sequence[Picture], shard: int) -> None:
    """Writes the plan, or makes sure that the one that stands there is the same."""
    listed = hashlib.sha256()
    for picture in pictures:
        listed.update(json.dumps(picture).encode())
    plan = json.loads(
        json.dumps({"version": 1, "pictures": len(pictures), "inputs": listed.hexdigest(), "shard": shard}
                   | work.as_dict())
    )  # fmt: skip
    path = root / "plan.json"
    if path.is_file():
        try:
            old = json.loads(path.read_text(encoding="utf-8"))
            changed = [name for name in plan if old.get(name) != plan[name]]
        except (OSError, ValueError, AttributeError) as error:
            raise SemeiaError(f"{path}: expected the plan of a run, found one that cannot be read ({error}); name "
                              "another folder") from error  # fmt: skip
        if changed:
            raise SemeiaError(f"{path}: this folder holds a run with other {', '.join(changed)}; give the arguments it "
                              "was begun with to go on, or name another folder")  # fmt: skip
        return
    if any(root.glob("work/*.parquet")):
        raise SemeiaError(f"{path}: missing, but {root / 'work'} holds shards; name another folder")
    write_whole(path, (json.dumps(plan | {"semeia": __version__}, indent=2) + "\n").encode())


class _alone:  # noqa: N801 - reads as a verb where it is used
    """Keeps two runs on one machine from one folder; the system lets go where a run is killed."""

    def __init__(self, root: Path) -> None:
        self.path = root / ".running"

    def __enter__(self) -> None:
        self.stream = self.path.open("a")
        try:
            import fcntl

            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            return
        except OSError as error:
            self.stream.close()
            raise SemeiaError(f"{self.path.parent}: another run is at work there; wait for it, or name another folder"
                              ) from error  # fmt: skip

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)
        self.stream.close()
