"""Make a folder of slabs in DeepLesion's layout: several processes, resumable at any moment.

    OUT/Images_png/PPPPPP_SS_RR/NNN.png     slices, 16 bits, HU + 32768
    OUT/Healthy_png/...                     the same slices without lesions
    OUT/Masks_png/...                       8 bits, 0 or the number of a lesion; only slices that hold one
    OUT/DL_info.csv                         the table, written last
    OUT/world.json                          settings; at the end also decoys, unlabelled lesions and label noise by slab

What a slab is depends on the settings and on its number alone. A slab that is done has a record in ``OUT/.slabs``; the
records move into ``world.json`` when all are there.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from semeia.data.formats import deeplesion
from semeia.data.synthetic.slabs.person import stream
from semeia.data.synthetic.slabs.slab import Slab, SlabLesion, draw_slab
from semeia.data.synthetic.workers import end_with_parent, one_thread_each
from semeia.files import writable_folder, write_whole
from semeia.records import SemeiaError

WORLD_VERSION = 1
"""Raised whenever the same settings would give other bytes."""

HEALTHY = "Healthy_png"
_RECORDS = ".slabs"
_SPLIT_ENDS = (0.7, 0.85, 1.0)
_SECOND = 0.35  # share of patients with two slabs
_MOST_PATIENTS = 999_999


@dataclass(frozen=True)
class SlabWorld:
    """Settings of a world of slabs; together with its version they decide every byte of a slab.

    Attributes:
        seed: of everything that is drawn.
        size: pixels a side.
        healthy: whether the slices without lesions are written too.
        unlabelled: share of lesions that the table does not tell of.
        shifted: share of labelled boxes that are moved.
        deleted: share of labelled lesions whose row is left out.
        first_patient: number of the first patient.
        version: of the world.
    """

    seed: int
    size: int
    healthy: bool
    unlabelled: float
    shifted: float
    deleted: float
    first_patient: int
    version: int = WORLD_VERSION


def split_of(seed: int, patient: int) -> deeplesion.Split:
    """Split of a patient by the SHA-256 of "seed:patient": 70, 15 and 15 % for train, val and test."""
    draw = int.from_bytes(hashlib.sha256(f"{seed}:{patient}".encode()).digest()[:8], "big") / 2**64
    return next(name for name, end in zip(deeplesion.SPLITS, _SPLIT_ENDS, strict=True) if draw < end)


def studies(world: SlabWorld, count: int) -> list[tuple[int, int]]:
    """Patient and study, from 1, of the first slabs; a patient has one or two."""
    listed: list[tuple[int, int]] = []
    patient = world.first_patient
    while len(listed) < count:
        both = stream(world.seed, patient, "slabs").random() < _SECOND
        listed += [(patient, study) for study in range(1, 2 + both)]
        patient += 1
    return listed[:count]


def make_slabs(
    out: str | Path,
    *,
    count: int,
    seed: int = 0,
    workers: int = 2,
    size: int = 256,
    healthy: bool = True,
    unlabelled: float = 0.0,
    shifted: float = 0.0,
    deleted: float = 0.0,
    first_patient: int = 1,
    progress: bool = True,
) -> dict[str, Any]:
    """Write slabs into a folder in DeepLesion's layout; run again after a stop, it goes on where it was.

    A folder that is complete may be made longer by a larger ``count``.

    Args:
        out: the folder; made where it does not exist.
        count: slabs in all, each with one key slice.
        seed: of the world.
        workers: processes.
        size: pixels a side.
        healthy: whether to write the slices without lesions too.
        unlabelled: share of lesions on key slices that the table does not tell of, as in DeepLesion, where it is about
            one half; those are added to the labelled ones.
        shifted: share of labelled boxes and axes that are moved by about a fifth of their size.
        deleted: share of labelled lesions that are left out of the table after all.
        first_patient: number of the first patient, so that two folders of one seed can hold different patients.
        progress: whether to show a progress bar on the terminal.

    Returns:
        The contents of ``world.json``.

    Raises:
        SemeiaError: a setting makes no sense, ``out`` holds a world of other settings, or cannot be written to.
    """
    for name, least, value in (("count", 1, count), ("workers", 1, workers), ("size", 64, size), ("seed", 0, seed),
                               ("first_patient", 1, first_patient)):  # fmt: skip
        if value < least:
            raise SemeiaError(f"{name}: expected at least {least}, found {value}")
    for name, share in (("unlabelled", unlabelled), ("shifted", shifted), ("deleted", deleted)):
        if not 0 <= share < 1:
            raise SemeiaError(f"{name}: expected a share from 0 to below 1, found {share}")
    folder = Path(out)
    world = SlabWorld(seed, size, healthy, unlabelled, shifted, deleted, first_patient)
    listed = studies(world, count)
    if listed[-1][0] > _MOST_PATIENTS:
        raise SemeiaError(f"first_patient: expected numbers of patients up to {_MOST_PATIENTS}, found {listed[-1][0]}")
    records = _claim(folder, world, count)
    waiting = [number for number in range(count) if number not in records]
    _clear(folder)
    started = time.perf_counter()
    with _progress(len(waiting), shown=progress) as advance:
        for number, record in _made(folder, world, [(n, *listed[n]) for n in waiting], min(workers, len(waiting))):
            records[number] = record
            advance()
    seconds = time.perf_counter() - started
    slabs = [records[number] for number in range(count)]
    deeplesion.write_table(folder, [_finding(row) for record in slabs for row in record["findings"]])
    manifest = {**_head(world, count), "slabs": slabs}
    _write_manifest(folder, manifest)
    shutil.rmtree(folder / _RECORDS, ignore_errors=True)
    if progress and waiting:
        from rich.console import Console

        Console().print(f"{len(waiting)} slabs in {seconds:.0f} s: {seconds / len(waiting):.2f} s a slab")
    return manifest


def _head(world: SlabWorld, count: int) -> dict[str, Any]:
    return {"format": "semeia-slabs", "settings": asdict(world), "count": count}


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_whole(folder / "world.json", (json.dumps(manifest, indent=1) + "\n").encode())


def read_world(folder: str | Path) -> dict[str, Any]:
    """Contents of ``world.json``.

    Raises:
        SemeiaError: it is missing or is no record of such a world.
    """
    path = Path(folder) / "world.json"
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise SemeiaError(
            f"{path}: cannot be read ({(error.strerror or str(error)).lower()}); make the world first"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SemeiaError(f"{path}: damaged, expected JSON ({error}); make the world again elsewhere") from error
    if (
        not isinstance(found, dict)
        or found.get("format") != "semeia-slabs"
        or not isinstance(found.get("settings"), dict)
    ):
        raise SemeiaError(f"{path}: expected the record of a CT world, found something else; name another folder")
    return found


def _claim(folder: Path, world: SlabWorld, count: int) -> dict[int, dict[str, Any]]:
    """Write the settings into an empty folder, or check those found there; gives the records of slabs that are done."""
    if not (folder / "world.json").exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SemeiaError(
                f"{folder}: expected a new or empty folder, or one that this command made; found other files"
            )
        writable_folder(folder)
        _write_manifest(folder, _head(world, count))
        return {}
    found = read_world(folder)
    theirs, ours = found["settings"], asdict(world)
    different = [key for key in ours if theirs.get(key) != ours[key]]
    if different:
        told = ", ".join(f"{key} {theirs.get(key)!r} instead of {ours[key]!r}" for key in different)
        raise SemeiaError(f"{folder}: holds a world of other settings ({told}); "
                          "name another folder, or ask for the settings that it holds")  # fmt: skip
    held = found.get("slabs", [])
    if isinstance(held, list) and len(held) > count:
        raise SemeiaError(f"{folder}: holds {len(held)} slabs, more than the {count} asked for; name another folder")
    records = dict(enumerate(held)) if isinstance(held, list) else {}
    for path in (folder / _RECORDS).glob("*.json"):
        try:
            records[int(path.stem)] = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            continue  # made again
    images = folder / deeplesion.IMAGES
    return {
        number: record
        for number, record in records.items()
        if number < count and isinstance(record, dict) and (images / str(record.get("series"))).is_dir()
    }


def _clear(folder: Path) -> None:
    """Remove what a killed run left half written."""
    for images in (deeplesion.IMAGES, HEALTHY, deeplesion.MASKS):
        for part in (folder / images).glob(".*.part*"):
            shutil.rmtree(part, ignore_errors=True)
    for part in [*folder.glob(".*.part*"), *(folder / _RECORDS).glob(".*.part*")]:
        part.unlink(missing_ok=True)


def _made(
    folder: Path, world: SlabWorld, jobs: list[tuple[int, int, int]], workers: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and record of each slab as it is done."""
    writable_folder(folder / _RECORDS)
    if workers <= 1:
        for number, patient, study in jobs:
            yield number, write_slab(folder, world, number, patient, study)
        return
    context = multiprocessing.get_context("spawn")
    with one_thread_each(), ProcessPoolExecutor(workers, context, initializer=_follow_parent) as pool:
        waiting = {pool.submit(partial(write_slab, folder, world), *job): job[0] for job in jobs}
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        except BrokenProcessPool as error:
            raise SemeiaError(f"{folder}: a process ended early; run the same command again to go on") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _follow_parent() -> None:
    threading.Thread(target=end_with_parent, daemon=True).start()


@contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Any]:
    """A bar on the terminal; gives a function that counts one slab."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("slabs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not shown or total == 0) as bar:
        task = bar.add_task("slabs", total=total)
        yield lambda: bar.advance(task)


def write_slab(folder: Path, world: SlabWorld, number: int, patient: int, study: int) -> dict[str, Any]:
    """Make one slab and write it; its record comes last, so that a slab with a record is whole."""
    slab = draw_slab(world.seed, patient, study, size=world.size, unlabelled=world.unlabelled)
    first = int(stream(world.seed, patient, f"first slice {study}").integers(1, 180))
    name = deeplesion.series_name(patient, study, 1)
    for images in (deeplesion.IMAGES, HEALTHY, deeplesion.MASKS):
        shutil.rmtree(folder / images / name, ignore_errors=True)
    held = np.flatnonzero(slab.masks.any((1, 2)))
    deeplesion.write_masks(folder, patient, study, 1, slab.masks[held[0] : held[-1] + 1], first=first + int(held[0]))
    if world.healthy:
        deeplesion.write_series(folder, patient, study, 1, slab.healthy, first=first, images=HEALTHY)
    deeplesion.write_series(folder, patient, study, 1, slab.hu, first=first)
    record = _record(slab, world, first, name)
    write_whole(folder / _RECORDS / f"{number:06d}.json", json.dumps(record).encode())
    return record


def _record(slab: Slab, world: SlabWorld, first: int, name: str) -> dict[str, Any]:
    """What is told of a slab: rows of the table, and all that the table does not say."""
    scan, person = slab.scan, slab.person
    rng = person.stream(f"label noise {slab.study}")
    told = {lesion.number: _told(lesion, first, slab.key) for lesion in slab.lesions}
    findings, noise = [], []
    for lesion in slab.lesions:
        deleted, shifted = rng.random() < world.deleted, rng.random() < world.shifted
        move = rng.normal(0, 0.2, 2) * (lesion.box[2:] - lesion.box[:2] - 10)
        if not lesion.labelled:
            continue
        if deleted:
            noise.append({"what": "deleted", **told[lesion.number]})
            continue
        low, high = np.zeros(2), np.full(2, float(scan.size))
        ends = np.clip(lesion.axes.ends + (move if shifted else 0), low, high)
        box = np.concatenate([np.clip(lesion.box[:2] + (move if shifted else 0), low, high),
                              np.clip(lesion.box[2:] + (move if shifted else 0), low, high)])  # fmt: skip
        if shifted:
            noise.append({"what": "shifted", "pixels": _rounded(move), **told[lesion.number]})
        lung = lesion.type == 5
        findings.append({
            "patient": person.number, "study": slab.study, "series": 1, "key_slice": first + slab.key,
            "recist": ends.tolist(), "box": box.tolist(), "diameters": [lesion.axes.long, lesion.axes.short],
            "location": _location(slab, lesion.centre), "kind": lesion.type, "noisy": False,
            "slice_range": [first, first + scan.slices - 1], "spacing": [scan.spacing, scan.spacing, scan.thickness],
            "size": [scan.size, scan.size], "window": [-1500.0, 500.0] if lung else [-175.0, 275.0],
            "gender": person.sex, "age": person.age, "split": split_of(world.seed, person.number),
        })  # fmt: skip
    return {
        "series": name,
        "split": split_of(world.seed, person.number),
        "region": scan.region,
        "height_mm": round(scan.height, 1),
        "phase": scan.phase,
        "thickness_mm": scan.thickness,
        "spacing_mm": scan.spacing,
        "kernel": "sharp" if scan.sharp else "soft",
        "slices": [first, first + scan.slices - 1],
        "key_slice": first + slab.key,
        "lesions": [told[lesion.number] for lesion in slab.lesions if lesion.labelled],
        "unlabelled": [told[lesion.number] for lesion in slab.lesions if not lesion.labelled],
        "label_noise": noise,
        "decoys": [
            {"kind": decoy.kind, "slice": first + decoy.slice, "centre": _rounded(decoy.centre),
             "radius": round(decoy.radius, 2)} for decoy in slab.decoys
        ],
        "findings": findings,
    }  # fmt: skip


def _told(lesion: SlabLesion, first: int, key: int) -> dict[str, Any]:
    """A lesion as it truly is."""
    return {
        "number": lesion.number,
        "kind": lesion.kind,
        "type": lesion.type,
        "slice": first + key,
        "box": _rounded(lesion.box),
        "recist": [_rounded(end) for end in lesion.axes.ends],
        "diameters": _rounded((lesion.axes.long, lesion.axes.short)),
    }


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 3) for value in values]


def _location(slab: Slab, centre: tuple[float, float, float]) -> list[float]:
    """x, y in the body's box on the key slice; z from 0 at the neck to 1 at the thighs, along the reference body."""
    inside = slab.healthy[slab.key] > -300
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    x = (centre[2] - columns[0]) / max(columns[-1] - columns[0], 1)
    y = (centre[1] - rows[0]) / max(rows[-1] - rows[0], 1)
    rise = (centre[0] - (slab.scan.slices - 1) / 2) * slab.scan.thickness
    z = (600 - slab.scan.height - rise) / 630
    return [float(np.clip(value, 0, 1)) for value in (x, y, z)]


def _finding(row: dict[str, Any]) -> deeplesion.Finding:
    """A row of the table from its record."""
    whole = dict(row)
    whole["recist"], whole["box"] = np.array(row["recist"], float), np.array(row["box"], float)
    for key in ("diameters", "location", "slice_range", "spacing", "size", "window"):
        whole[key] = tuple(row[key])
    return deeplesion.Finding(**whole)
