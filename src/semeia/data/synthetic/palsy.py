"""Patients with facial palsy of the face world, who do six requested movements, in the layout of ``formats.palsy``.

    semeia make palsy OUT --count PATIENTS --seed S

    OUT/palsy.csv               patient,exercise,file,grade,side,degree,split,...
    OUT/5-500000/smile.png      the pictures; smile_2.png is the second one of a movement
    OUT/faces                   the same pictures with all labels, in the face format

A patient is a person of the face world with a palsy drawn here. The degree of a palsy, and so the grade that follows
from it, is set by hand: no clinician gave one, and nothing was compared with patients. ``docs/palsy_world.md`` says
what is shown and what is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semeia.data.formats import palsy as palsy_format
from semeia.data.formats.faces import FaceFolder
from semeia.data.formats.palsy import PalsyFile
from semeia.data.synthetic.faces.action_units import Palsy
from semeia.data.synthetic.faces.make import Look, Renderer, Script, World, make_faces, split_of
from semeia.data.synthetic.faces.spec import FaceSpec, Stream, sample_spec
from semeia.ops.palsy_scales import EXERCISES, GRADES, grade_of_movement
from semeia.records import SemeiaError

PALSY_VERSION = 1
"""Raised whenever the same settings would give other patients."""

FACES = "faces"
"""Folder of the same pictures in the face format."""

FIRST_PATIENT = 500_000
"""Number of the first patient: worlds of faces count from 0, so that one of the same seed shows other people."""

SPLIT_ENDS = (0.7, 0.85, 1.0)

COMMANDS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "rest": {},
    "brow_raise": {"AU01": (3.0, 5.0), "AU02": (3.0, 5.0)},
    "eye_closure": {"AU43": (4.8, 5.0)},
    "smile": {"AU12": (3.0, 5.0), "AU25": (2.5, 4.5), "AU06": (1.0, 3.5)},
    "snarl": {"AU09": (3.0, 5.0), "AU10": (3.0, 5.0)},
    "pucker": {"AU18": (3.0, 5.0)},
}
"""Least and greatest commanded intensity of each unit of a movement; hand-set.

A pucker is AU18, which the world shows but does not label, and not AU23 with AU24, which stand in for it where readers
of labelled units measure it. Eyes are closed as far as a gentle closure closes them, or a weak side would seem to.
"""

NOTES = {
    "scale": "Degrees of palsy are hand-set, and grades follow from them by ops.palsy_scales.grade_of_movement: no "
    "clinical grading."
}

_TURN, _MOST_TURN = np.array([4.0, 4.0, 3.0]), 10.0  # degrees of yaw, pitch and roll: spread, and limit
_STEADY = 0.3  # share of the usual wandering of the eyes
_DEGREES = np.arange(1, 1001) / 1000  # as many decimals as labels keep, so that the label gives the same grade
_WARD = 2 * (len(GRADES) - 1)  # patients among whom half are healthy and each other grade is met once


def make_palsy(
    out: str | Path,
    *,
    count: int,
    seed: int = 0,
    workers: int = 2,
    size: int = 144,
    renderer: Renderer = "raster",
    samples: int = 16,
    shots: int = 1,
    look: Look = "usual",
    split: str | None = None,
    first_patient: int = 0,
    shard_images: int = 100,
    progress: bool = True,
) -> dict[str, Any]:
    """Render patients; run again after a stop, it goes on where it was and ends with the same files.

    Args:
        out: the folder; made where it does not exist.
        count: patients.
        seed: of the world.
        workers: processes that render.
        size: pixels a side.
        renderer: ``raster``, or ``paths`` for the path tracer.
        samples: light paths a pixel of the path tracer.
        shots: pictures of each movement of a patient.
        look: ``usual`` or ``other``, as in ``make_faces``.
        split: put all patients into this split; by default they are divided 70/15/15.
        first_patient: number of the first patient, from 0, so that two folders of one seed can hold different ones.
        shard_images: images of a full shard in the face format, rounded down to whole patients.
        progress: whether to show a progress bar on the terminal.

    Returns:
        The manifest of the face format.

    Raises:
        SemeiaError: a setting makes no sense, ``out`` holds other files, or the renderer is missing.
    """
    for name, value, least in (("count", count, 1), ("shots", shots, 1), ("first patient", first_patient, 0)):
        if value < least:
            raise SemeiaError(f"{name}: expected at least {least}, found {value}")
    folder = Path(out)
    _claim(folder)
    each = shots * len(EXERCISES)
    manifest = make_faces(
        folder / FACES,
        count=count * each,
        seed=seed,
        workers=workers,
        size=size,
        renderer=renderer,
        samples=samples,
        shots=each,
        look=look,
        split=split,
        first_identity=FIRST_PATIENT + first_patient,
        shard_images=shard_images,
        progress=progress,
        script=Script("palsy", patient_shot, {"policy": "exercises", "palsy_version": PALSY_VERSION}, NOTES),
    )
    for leftover in folder.glob("**/.*.part.*"):  # of a run that was killed
        leftover.unlink()
    palsy_format.write(folder, _files(FaceFolder(folder / FACES)))
    return manifest


def _claim(folder: Path) -> None:
    """Complain of a folder that holds anything before patients are rendered into it."""
    if (folder / FACES / "manifest.json").exists() or not folder.exists():
        return
    if not folder.is_dir() or any(path.name != FACES for path in folder.iterdir()):
        raise SemeiaError(f"{folder}: expected a new or empty folder, or one that this command made; found other files")


def _files(faces: FaceFolder) -> Iterator[tuple[PalsyFile, bytes]]:
    """Every picture as a row of the table."""
    takes: Counter[tuple[str, str]] = Counter()
    for row in range(len(faces)):
        face, extra = faces.labels(row), faces.extra(row)
        patient, exercise, degree = extra["patient"], extra["exercise"], face.palsy_degree or 0.0
        takes[patient, exercise] += 1
        take = takes[patient, exercise]
        path = Path(patient, f"{exercise}.png" if take == 1 else f"{exercise}_{take}.png")
        grade, side = int(grade_of_movement(1 - degree)), face.palsy_side or "none"
        yield PalsyFile(patient, exercise, path, grade, side, face.split, degree=degree), faces.image_bytes(row)


# ---------------------------------------------------------------------------------------------------------------------
# Drawing


def patient_shot(world: World, image: int) -> tuple[FaceSpec, str, dict[str, str]]:
    """What the image of a number shows, its split, and who does what, for ``make.Script``."""
    patient, shot = divmod(image, world.shots)
    spec = sample_patient(world.seed, world.first_identity + patient, shot, look=world.look)
    split = world.split or split_of(spec.seed, spec.identity, SPLIT_ENDS)
    return spec, split, {"exercise": spec.kind, "patient": f"{spec.seed}-{spec.identity:06d}"}


def sample_patient(seed: int, identity: int, shot: int, *, look: str = "usual") -> FaceSpec:
    """Draw one shot of a patient: the movements of ``EXERCISES`` in turns, the head nearly frontal, the face bare.

    Person, light, camera and background are those of ``spec.sample_spec``; glasses and earrings stay on.

    Args:
        seed: of the world.
        identity: number of the person.
        shot: number of the picture of that person, from 0.
        look: one of ``spec.LOOKS``.
    """
    drawn = sample_spec(seed, identity, shot, look=look)
    exercise = tuple(EXERCISES)[shot % len(EXERCISES)]
    rng = drawn.shot_stream(Stream.EXERCISE)
    yaw, pitch, roll = np.clip(rng.normal(0, _TURN), -_MOST_TURN, _MOST_TURN)
    across, up = drawn.gaze
    return replace(
        drawn,
        person=replace(drawn.person, palsy=draw_palsy(seed, identity)),
        kind=exercise,
        expression="neutral" if exercise == "rest" else None,
        compound=None,
        action={unit: float(rng.uniform(*span)) for unit, span in COMMANDS[exercise].items()},
        one_sided={},
        yaw=float(yaw),
        pitch=float(pitch),
        roll=float(roll),
        gaze=(_STEADY * across, _STEADY * up),
        props=replace(drawn.props, mask=False, hand=False, sunglasses=False, hat=False),
    )


def draw_palsy(seed: int, identity: int) -> Palsy | None:
    """The palsy of a person; of ten persons in a row, five have none, and each grade from II on is met once."""
    ward, place = divmod(identity, _WARD)
    grade = np.random.default_rng([seed, ward, Stream.WARD]).permutation(_WARD)[place] + 1
    if grade >= len(GRADES):
        return None
    rng = np.random.default_rng([seed, identity, Stream.PATIENT])
    side = "left" if rng.random() < 0.5 else "right"
    return Palsy(side, float(rng.choice(_DEGREES[grade_of_movement(1 - _DEGREES) == grade])))
