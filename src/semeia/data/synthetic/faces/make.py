"""Make a folder of labelled faces: whole shards, several processes, resumable at any moment.

What stands in a shard depends on the settings of the world and on the shard's number alone, never on the number of
workers or on what was made before; a shard that stands is skipped.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import Image

from semeia.data.formats import faces as face_format
from semeia.data.synthetic.faces.action_units import deform, sided, target_weights
from semeia.data.synthetic.faces.develop import develop
from semeia.data.synthetic.faces.figure import build_figure
from semeia.data.synthetic.faces.light import draw_sky, place_camera
from semeia.data.synthetic.faces.pack import load_pack
from semeia.data.synthetic.faces.raster import RasterStudio
from semeia.data.synthetic.faces.scene import REGIONS
from semeia.data.synthetic.faces.spec import FaceSpec, Stream, sample_spec
from semeia.data.synthetic.faces.stage import set_stage
from semeia.data.synthetic.faces.truth import label
from semeia.data.synthetic.workers import end_with_parent, one_thread_each
from semeia.records import FaceLabels, SemeiaError

if TYPE_CHECKING:
    from semeia.data.synthetic.faces.render import PathStudio

WORLD_VERSION = 2
"""Raised whenever the same settings would give other bytes."""

SPLITS = ("train", "val", "test")
_SPLIT_ENDS = (0.8, 0.9, 1.0)

Renderer = Literal["raster", "paths"]
Look = Literal["usual", "other"]
Policy = Literal["balanced", "natural", "independent"]

Shot = tuple[FaceLabels, bytes, bytes, dict[str, Any]]


@dataclass(frozen=True)
class World:
    """Settings of a world of faces; together with the world's version and the pack they decide every byte.

    Attributes:
        seed: of everything that is drawn.
        count: images in all.
        first_identity: number of the first person.
        shots: images a person; the first one is neutral.
        size: pixels a side.
        renderer: ``raster`` (fast) or ``paths`` (the path tracer).
        samples: light paths a pixel; 0 where none are traced.
        look: ``usual``, or ``other``: other hair, skin, light and camera, to test what was learned on the usual one.
        policy: what faces do: ``balanced`` over action units and expressions, ``natural`` as in recordings, or
            ``independent``: the base rates of ``natural``, each unit by itself.
        split: name of the split of all images, or None to divide persons by ``split_of``.
        variant: of the path tracer; empty where it is not used.
        shard_images: images of a full shard.
        pack: SHA-256 of the packed head.
        version: of the world.
    """

    seed: int
    count: int
    first_identity: int
    shots: int
    size: int
    renderer: Renderer
    samples: int
    look: Look
    policy: Policy
    split: str | None
    variant: str
    shard_images: int
    pack: str
    version: int = WORLD_VERSION

    @property
    def shards(self) -> tuple[str, ...]:
        """Names of all shards."""
        return tuple(f"{number:05d}" for number in range(math.ceil(self.count / self.shard_images)))

    def images(self, shard: str) -> range:
        """Numbers of the images of a shard."""
        first = int(shard) * self.shard_images
        return range(first, min(first + self.shard_images, self.count))


def split_of(seed: int, identity: int, ends: Sequence[float] = _SPLIT_ENDS) -> str:
    """Split of a person by the SHA-256 of "seed:identity", the same in every world.

    Train, val and test reach up to ``ends``: 80, 10 and 10 % by default.
    """
    draw = int.from_bytes(hashlib.sha256(f"{seed}:{identity}".encode()).digest()[:8], "big") / 2**64
    return next(name for name, end in zip(SPLITS, ends, strict=True) if draw < end)


def draw_shot(world: World, image: int) -> tuple[FaceSpec, str, Mapping[str, Any]]:
    """What the image of a number shows, its split, and no notes."""
    identity, shot = world.first_identity + image // world.shots, image % world.shots
    spec = sample_spec(world.seed, identity, shot, look=world.look, policy=world.policy)
    return spec, world.split or split_of(world.seed, identity), {}


@dataclass(frozen=True)
class Script:
    """Which shots a world holds.

    Attributes:
        name: of the world, for the manifest.
        draw: gives what an image shows, its split and notes to keep beside its labels; images come by person. A
            function of a module, since other processes call it.
        settings: what decides the bytes besides the world's own settings.
        notes: what else the manifest says.
    """

    name: str
    draw: Callable[[World, int], tuple[FaceSpec, str, Mapping[str, Any]]]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


FACES = Script("faces", draw_shot)
"""Persons who show what the world's policy draws."""


def make_faces(
    out: str | Path,
    *,
    count: int,
    seed: int = 0,
    workers: int = 2,
    size: int = 144,
    renderer: Renderer = "raster",
    samples: int = 16,
    shots: int = 7,
    look: Look = "usual",
    policy: Policy = "balanced",
    split: str | None = None,
    first_identity: int = 0,
    variant: str | None = None,
    shard_images: int = 100,
    progress: bool = True,
    script: Script = FACES,
) -> dict[str, Any]:
    """Render labelled faces into a folder of shards; run again after a stop, it goes on where it was.

    Args:
        out: the folder; made where it does not exist.
        count: images in all.
        seed: of the world.
        workers: processes that render.
        size: pixels a side.
        renderer: ``raster``, or ``paths`` for the path tracer, which is about six times as slow.
        samples: light paths a pixel of the path tracer.
        shots: images a person.
        look: ``usual`` or ``other``, see ``World``.
        policy: ``balanced``, ``natural`` or ``independent``, see ``World``.
        split: put all images into this split; by default persons are divided 80/10/10.
        first_identity: number of the first person, so that two folders of one seed can hold different persons.
        variant: of the path tracer; by default the fast one where libLLVM 19 or newer is found.
        shard_images: images of a full shard, rounded down to whole persons.
        progress: whether to show a progress bar on the terminal.
        script: which shots the world holds.

    Returns:
        The manifest, as written to ``manifest.json``.

    Raises:
        SemeiaError: a setting makes no sense, ``out`` holds a world of other settings, or the renderer is missing.
    """
    _check(count=count, seed=seed, workers=workers, size=size, samples=samples, shots=shots, first=first_identity)
    for name, value, allowed in (("renderer", renderer, Renderer), ("look", look, Look), ("policy", policy, Policy)):
        if value not in get_args(allowed):
            raise SemeiaError(f"{name}: expected one of {', '.join(get_args(allowed))}, found {value}")
    traced = renderer == "paths"
    folder = Path(out)
    world = World(
        seed=seed,
        count=count,
        first_identity=first_identity,
        shots=shots,
        size=size,
        renderer=renderer,
        samples=samples if traced else 0,
        look=look,
        policy=policy,
        split=split,
        variant=(variant or _path_variant()) if traced else "",
        shard_images=max(1, shard_images // shots) * shots,
        pack=load_pack().sha256,
    )
    settings = {
        "format": "semeia-faces",
        "world": script.name,
        "settings": {**asdict(world), **script.settings},
        "regions": list(REGIONS),
        **script.notes,
    }
    _claim(folder, settings)
    waiting = [shard for shard in world.shards if not face_format.has_shard(folder, shard)]
    for leftover in (folder / "shards").glob(".*.part.*"):  # of a run that was killed
        leftover.unlink()
    started, made = time.perf_counter(), sum(len(world.images(shard)) for shard in waiting)
    with _progress(made, shown=progress) as advance:
        _render_shards(folder, world, script, waiting, workers=min(workers, len(waiting)), advance=advance)
    seconds = time.perf_counter() - started
    manifest = settings | {"images": count, "shards": [_describe(folder, world, shard) for shard in world.shards]}
    face_format.write_manifest(folder, manifest)
    if progress and made:
        used = min(workers, len(waiting))
        _say(f"{made} images in {seconds:.0f} s: {seconds / made:.2f} s an image with {used} workers")
    return manifest


def _check(*, first: int, seed: int, **positive: int) -> None:
    for name, value in positive.items():
        if value < 1:
            raise SemeiaError(f"{name}: expected at least 1, found {value}")
    if seed < 0 or first < 0:
        raise SemeiaError(f"seed and first identity: expected at least 0, found {seed} and {first}")


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings as the manifest of an empty folder, or check that those found there are the same."""
    if (folder / "manifest.json").exists():
        found = face_format.read_manifest(folder)
        theirs, ours = found.get("settings", {}), settings["settings"]
        different = [key for key in ours if theirs.get(key) != ours[key]]
        if different:
            listed = ", ".join(f"{key} {theirs.get(key)!r} instead of {ours[key]!r}" for key in different)
            raise SemeiaError(
                f"{folder}: holds a world of other settings ({listed}); "
                "name another folder, or ask for the settings that it holds"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SemeiaError(f"{folder}: expected a new or empty folder, or one that this command made; found other files")
    face_format.write_manifest(folder, settings)


def _describe(folder: Path, world: World, shard: str) -> dict[str, Any]:
    files = face_format.shard_paths(folder, shard)
    return {
        "name": shard,
        "images": len(world.images(shard)),
        "files": {file.name: _sha256(file) for file in files},
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _path_variant() -> str:
    from semeia.data.synthetic.faces.render import choose_variant

    return choose_variant()


def shots_of(world: World, script: Script, shard: str) -> Iterator[Shot]:
    """Labels, picture, region mask and the drawn settings of every image of a shard."""
    studio: RasterStudio | PathStudio | None = None
    for image in world.images(shard):
        spec, split, notes = script.draw(world, image)
        if studio is None or image % world.shots == 0:
            studio = open_studio(spec, world)
        labels, picture, mask, extra = take(spec, studio, world, split=split)
        yield labels, picture, mask, {**extra, **notes}


def open_studio(spec: FaceSpec, world: World) -> RasterStudio | PathStudio:
    """The world's renderer with the person of a shot in it."""
    figure = build_figure(spec)
    if world.renderer == "raster":
        return RasterStudio(figure)
    from semeia.data.synthetic.faces.render import PathStudio

    return PathStudio(figure, variant=world.variant)


def take(spec: FaceSpec, studio: RasterStudio | PathStudio, world: World, *, split: str) -> Shot:
    """Take one shot of a person: labels, PNG bytes, PNG bytes of the region mask, drawn settings."""
    figure, person = studio.figure, spec.person
    shown = sided(spec.action, balance=person.balance, palsy=person.palsy, one_sided=spec.one_sided)
    resting = deform(figure.neutral, target_weights({}, gaze=spec.gaze, palsy=person.palsy))
    acting = deform(figure.neutral, target_weights(shown, gaze=spec.gaze, palsy=person.palsy))
    camera = place_camera(spec, figure.neutral, world.size)
    sky = draw_sky(spec.shot_stream(Stream.LIGHT), look=spec.look)
    stage = set_stage(spec, figure, acting, shown)
    if isinstance(studio, RasterStudio):
        exposure = studio.expose(stage, camera, sky)
    else:
        paths = int(spec.shot_stream(Stream.PATHS).integers(2**32))
        exposure = studio.expose(stage, camera, sky, samples=world.samples, seed=paths)
    labels = label(
        spec,
        shown=shown,
        neutral=figure.neutral,
        resting=resting,
        acting=acting,
        camera=camera,
        split=split,
        regions=exposure.regions,
        facing=stage.facing(camera),
    )
    extra = {
        "kind": spec.kind,
        "commanded": {unit: round(value, 3) for unit, value in spec.action.items()},
        "one_sided": dict(spec.one_sided),
        "melanin": round(person.melanin, 3),
    }
    return labels, _png(develop(exposure, figure.skin, spec)), _png(exposure.regions), extra


def _png(picture: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", compress_level=6)
    return stream.getvalue()


def _render_shards(
    folder: Path, world: World, script: Script, shards: list[str], *, workers: int, advance: Callable[[int], None]
) -> None:
    """Share shards out to processes; ``advance`` is told how many images are done."""
    if not shards:
        return
    context = multiprocessing.get_context("spawn")
    taken, finished, complaints = context.Value("q", 0), context.Value("q", 0), context.SimpleQueue()
    shared = {"taken": taken, "finished": finished, "complaints": complaints}
    processes = [
        context.Process(target=_work, args=(folder, world, script, shards), kwargs=shared, daemon=True)
        for _ in range(workers)
    ]
    try:
        with one_thread_each():
            for process in processes:
                process.start()
        while any(process.is_alive() for process in processes):
            processes[0].join(0.3)
            advance(finished.value)
            if any(process.exitcode not in (None, 0) for process in processes):
                break
        if any(process.exitcode for process in processes):
            raise SemeiaError(
                f"{folder}: a rendering process ended early; run the same command again to go on"
                if complaints.empty()
                else complaints.get()
            )
        advance(finished.value)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _work(
    folder: Path, world: World, script: Script, shards: list[str], *, taken: Any, finished: Any, complaints: Any
) -> None:
    """Runs in a process of its own: render the next shard that nobody has taken, until none is left."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        while (number := _count(taken)) < len(shards):
            face_format.write_shard(folder, shards[number], _counted(shots_of(world, script, shards[number]), finished))
    except SemeiaError as error:
        complaints.put(str(error))
        sys.exit(1)


def _count(counter: Any) -> int:
    """Raise a counter shared by processes; gives its value before."""
    with counter.get_lock():
        counter.value += 1
        return int(counter.value) - 1


def _counted(shots: Iterator[Shot], finished: Any) -> Iterator[Shot]:
    for shot in shots:
        yield shot
        _count(finished)


@contextlib.contextmanager
def _progress(total: int, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal; gives a function that takes the number of finished images."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("rendering"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not shown or total == 0) as bar:
        task = bar.add_task("rendering", total=total)
        yield lambda done: bar.update(task, completed=done)


def _say(line: str) -> None:
    from rich.console import Console

    Console().print(line)
