"""DISFA: a film of each of 27 persons, with the intensity of twelve action units in every frame.

    FOLDER/ActionUnit_Labels/SN001/SN001_au1.txt            one file a unit, one line a frame: ``frame,intensity``
    FOLDER/Videos_LeftCamera/LeftVideoSN001_comp.avi        films; Video_RightCamera/RightVideoSN001_comp.avi
    FOLDER/images/LeftVideoSN001/00001.jpg                  frames, as ``extract_frames`` writes them
    FOLDER/img/SN001/0.png                                  frames of the left camera, as ME-GraphAU takes them

Intensities are 0 to 5 (FACS); where presence is needed, 2 and more count as present, as published
(``records.PRESENT``). Lines are the film's frames in order, numbered from 1, or from 0. The release has no pictures;
public code names them in many ways: folders as in ``FRAMES``, then SN001, LeftVideoSN001 or LeftVideoSN001_comp, then
any name that ends with a number, counted from 0 or from 1. Which of the two is seen by whether picture 0 or the last
one stands there.

Folds are those of JAA-Net and ME-GraphAU: fold 1 tests part 3, fold 2 part 2, fold 3 part 1. Both choose their best
epoch by the test part; ``HELD_OUT`` names training persons to choose it by instead. These are this library's choice.

Known   Folders, names, the form of the lines and the parts were read in several public code bases (ME-GraphAU and its
        descendants, JAA-Net, OpenFace). No file of the data set was at hand. Most code counts lines from 1, some from
        0. Films are said to hold 4,845 frames, one of them 4,844; one project speaks of 4,854 or 4,855. Whether films
        and labels are of one length could not be checked: ``spare`` lets films be longer.

Shapes      F frames of a film   K units
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from semeia.data.formats.bp4d import numbered_pictures, split_of
from semeia.data.formats.face_files import FaceFiles, existing, lines_of, no_shared_persons, picture_bytes
from semeia.files import writable_folder, write_whole
from semeia.records import FaceLabels, SemeiaError

UNITS = ("AU01", "AU02", "AU04", "AU05", "AU06", "AU09", "AU12", "AU15", "AU17", "AU20", "AU25", "AU26")
"""The units that are labelled."""

PROTOCOL = ("AU01", "AU02", "AU04", "AU06", "AU09", "AU12", "AU25", "AU26")
"""The eight of them that papers test."""

PARTS = tuple(
    tuple(part.split())
    for part in (
        "SN001 SN002 SN009 SN010 SN016 SN026 SN027 SN030 SN032",
        "SN006 SN011 SN012 SN013 SN018 SN021 SN024 SN028 SN031",
        "SN003 SN004 SN005 SN007 SN008 SN017 SN023 SN025 SN029",
    )
)
"""Persons of the three parts."""

HELD_OUT = {1: ("SN001", "SN006"), 2: ("SN002", "SN003"), 3: ("SN011", "SN004")}
"""Training persons of each fold, one of each part, that the split "val" takes where it is asked for."""

LABELS = ("ActionUnit_Labels",)
FRAMES = ("images", "img", "frames", "Images", "aligned_images", "Videos_LeftCamera_frames", "Video_RightCamera_frames")
FILMS = {
    "left": ("Videos_LeftCamera", "Video_LeftCamera"),
    "right": ("Video_RightCamera", "Videos_RightCamera"),
}
"""Where labels, pictures and films lie, the first that exists."""

Camera = Literal["left", "right"]
Progress = Callable[[str, int, int], None]
"""Called with the person, the frames of the film that are done, and the frames that there are."""

_PERSON = re.compile(r"SN\d{3}")
_KEY = re.compile(r"(SN\d{3})/(\d{4}|[1-9]\d{4,5})")
_LINE = re.compile(r"\s*(\d{1,6})\s*,\s*([0-5])\s*")


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def read(
    folder: str | Path,
    *,
    fold: int | None = None,
    val: bool = False,
    units: Collection[str] = PROTOCOL,
    camera: Camera = "left",
    frames: str | Path | None = None,
    first: Literal[0, 1] | None = None,
    spare: int = 0,
    missing: Literal["refuse", "skip"] = "refuse",
) -> FaceFiles:
    """The frames of DISFA, by person and frame; keys count frames from 1.

    Args:
        folder: The data set.
        fold: 1, 2 or 3 makes the splits "train" and "test"; None makes none.
        val: Take the persons ``HELD_OUT`` of the fold from "train" to a split "val".
        units: Units to keep, of ``UNITS``.
        camera: Whose pictures are read.
        frames: Folder of the persons' pictures; None takes the first of ``FRAMES`` that exists.
        first: Number of the picture of the first frame; None finds out.
        spare: Pictures that a person may have beyond the labelled frames; they are left out.
        missing: What to do with labelled frames that have no picture.

    Raises:
        SemeiaError: Labels are wrong or of unequal length, pictures are missing or too many, there are films but no
            pictures, or a person is in no part of the folds.
    """
    root = Path(folder)
    if fold is not None and fold not in HELD_OUT:
        raise SemeiaError(f"{root}: expected a fold from 1 to 3, found {fold}; name another")
    if not units or not set(units) <= set(UNITS):
        raise SemeiaError(f"{root}: expected units among {', '.join(UNITS)}, found {', '.join(units) or 'none'}; name "
                          "others")  # fmt: skip
    labels = existing(root, LABELS, layout="DISFA")
    persons = _persons(labels)
    home = _frames_home(root, persons, camera) if frames is None else Path(frames)
    rows: list[tuple[FaceLabels, Path, dict[str, Any]]] = []
    for person in persons:
        intensities = _intensities(labels / person, units)
        pictures = _pictures(home, person, camera=camera)
        split = None if fold is None else split_of(person, fold, parts=PARTS, held_out=HELD_OUT if val else {})
        if not pictures and missing == "skip":
            continue
        start = _first(pictures, len(intensities), home=home, person=person, given=first)
        beyond = sum(number >= start + len(intensities) for number in pictures)
        if beyond > spare:
            raise SemeiaError(f"{home}: {person}: expected a picture for each of {len(intensities):,} labelled frames, "
                              f"found {beyond:,} more; take them away, or read with spare={beyond}")  # fmt: skip
        other = next(iter(pictures.values()))
        for number, values in enumerate(intensities.tolist(), start=start):
            if number not in pictures and missing == "skip":
                continue
            face = FaceLabels(
                key=f"{person}/{number - start + 1:04}",
                identity=person,
                split=split,
                au_intensity=dict(zip(units, values, strict=True)),
            )
            rows.append((face, pictures.get(number, other.with_name(f"{number}{other.suffix}")), {}))
    return no_shared_persons(FaceFiles(root, labels, rows))


def _persons(labels: Path) -> list[str]:
    persons = sorted(path.name for path in labels.iterdir() if path.is_dir() and _PERSON.fullmatch(path.name))
    if not persons:
        raise SemeiaError(f"{labels}: expected folders such as SN001, found none; unpack the labels there")
    return persons


def _intensities(folder: Path, units: Collection[str]) -> np.ndarray:
    """(F, K) intensities of a person."""
    columns: dict[str, list[int]] = {}
    for unit in units:
        path = folder / f"{folder.name}_au{int(unit.removeprefix('AU'))}.txt"
        if not path.is_file():
            raise SemeiaError(f"{path}: not found; expected the labels of {unit} for {folder.name}; unpack them, or "
                              "read other units")  # fmt: skip
        columns[unit] = _column(path)
    lengths = {unit: len(column) for unit, column in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{length:,} for {unit}" for unit, length in lengths.items())
        raise SemeiaError(f"{folder}: expected labels of one length, found {found}; unpack them again")
    return np.array(list(columns.values()), np.int8).reshape(len(columns), -1).T


def _column(path: Path) -> list[int]:
    """Intensities of one unit in the order of the frames."""
    column: list[int] = []
    start = 0
    for line, text in lines_of(path):
        parts = _LINE.fullmatch(text)
        if parts is None:
            raise SemeiaError(f"{path}: line {line}: expected a frame and an intensity from 0 to 5 such as '12,3', "
                              f"found {text[:40]!r}; correct it")  # fmt: skip
        frame = int(parts[1])
        start = start if column else frame
        if start > 1 or frame != start + len(column):
            expected = "0 or 1" if start > 1 else f"{start + len(column)}"
            raise SemeiaError(f"{path}: line {line}: expected frame {expected}, every frame once and in order, found "
                              f"{frame}; correct it")  # fmt: skip
        column.append(int(parts[2]))
    if not column:
        raise SemeiaError(f"{path}: expected lines 'frame,intensity', found an empty file; unpack it again")
    return column


def _frames_home(root: Path, persons: Collection[str], camera: Camera) -> Path:
    """Where the persons' pictures lie."""
    homes = [root / name for name in FRAMES]
    for home in homes:
        if any((home / name).is_dir() for person in persons for name in _film_names(person, camera)):
            return home
    films = next((root / name for name in FILMS[camera] if (root / name).is_dir()), None)
    advice = (f"take the films in {films.name} apart first, with semeia.data.formats.disfa.extract_frames"
              if films else f"unpack the pictures, or the films of the {camera} camera")  # fmt: skip
    raise SemeiaError(f"{homes[0]}: expected folders of pictures such as {_film_names('SN001', camera)[0]} there, or "
                      f"in {', '.join(FRAMES[1:])}, found none; {advice}")  # fmt: skip


def _film_names(person: str, camera: Camera) -> tuple[str, ...]:
    """Names that the folder of a film's pictures has."""
    film = f"{camera.capitalize()}Video{person}"
    # A folder that names no camera is the left one's in all code that was seen.
    return (film, f"{film}_comp", person) if camera == "left" else (film, f"{film}_comp")


def _pictures(home: Path, person: str, *, camera: Camera) -> dict[int, Path]:
    """Pictures of a person by number."""
    return next((found for name in _film_names(person, camera) if (found := numbered_pictures(home / name))), {})


def _first(pictures: Collection[int], length: int, *, home: Path, person: str, given: Literal[0, 1] | None) -> int:
    """Number of the picture of the first frame."""
    if not pictures:
        raise SemeiaError(f"{home}: expected pictures of {person} in a folder of this name, found none; extract them, "
                          "or read with missing='skip'")  # fmt: skip
    if given is None and 0 not in pictures and length not in pictures:
        raise SemeiaError(f"{home}: {person}: expected picture 0 or picture {length}, which show whether numbers count "
                          f"from 0 or 1, found {len(pictures):,} others; read with first=0 or first=1")  # fmt: skip
    return given if given is not None else int(0 not in pictures)


# ---------------------------------------------------------------------------------------------------------------------
# Films


def extract_frames(
    folder: str | Path,
    out: str | Path | None = None,
    *,
    camera: Camera = "left",
    persons: Collection[str] | None = None,
    spare: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Take the films of one camera apart into pictures, ``OUT/LeftVideoSN001/00001.jpg`` and on.

    One film at a time; a person's folder appears when its film is done, and a person whose folder stands is passed
    over, so that a stopped call goes on where it was. Pictures are JPEG of quality 95.

    Args:
        folder: The data set.
        out: Where the persons' folders go; None is ``FOLDER/images``.
        camera: Which films.
        persons: Only these; None takes all that have labels.
        spare: Frames that a film may have beyond the labelled ones; they are left out.
        progress: Called after each frame.

    Returns:
        ``out``, for ``read(..., frames=...)``.

    Raises:
        SemeiaError: A film is missing or damaged, or its length is not that of the labels, or the folder cannot
            be written to.
    """
    root = Path(folder)
    labels = existing(root, LABELS, layout="DISFA")
    films = existing(root, FILMS[camera], layout="DISFA")
    target = writable_folder(root / FRAMES[0] if out is None else out)
    for person in _persons(labels):
        name = f"{camera.capitalize()}Video{person}"
        if (persons is not None and person not in persons) or (target / name).exists():
            continue
        length = len(_intensities(labels / person, PROTOCOL[:1]))
        film = existing(films, (f"{name}_comp.avi", f"{name}.avi"), layout="DISFA")
        part = target / f".{name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            _take_apart(film, part, person=person, length=length, spare=spare, progress=progress)
            part.rename(target / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target


def _take_apart(film: Path, out: Path, *, person: str, length: int, spare: int, progress: Progress | None) -> None:
    """Write the first ``length`` frames of a film into a folder."""
    import av

    count = 0
    try:
        with av.open(str(film)) as container:
            for frame in container.decode(video=0):
                count += 1
                if count <= length:
                    frame.to_image().save(out / f"{count:05}.jpg", quality=95)
                if progress:
                    progress(person, count, length)
    except (av.FFmpegError, IndexError) as error:
        raise SemeiaError(f"{film}: expected a film, found one that cannot be read after {count:,} frames ({error}); "
                          "copy it again") from error  # fmt: skip
    except OSError as error:
        raise SemeiaError(f"{out.parent}: cannot be written ({error.strerror or error}); make room") from error
    if not length <= count <= length + spare:
        advice = f"pass spare={count - length} to leave the last ones out" if count > length else "copy the film again"
        raise SemeiaError(
            f"{film}: expected {length:,} frames as the labels of {person} have, found {count:,}; {advice}"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def write(folder: str | Path, samples: Iterable[tuple[FaceLabels, np.ndarray]]) -> None:
    """Write faces in this layout: pictures as PNG in ``img``, as ME-GraphAU takes them, then the labels.

    A face comes back with key, identity and intensities; the split follows from the fold, and other labels are left
    out.

    Args:
        folder: The data set; made where it does not exist.
        samples: Labels with keys such as ``SN001/0001``, whose numbers of a person go from 1 on without a gap, in any
            order, and pictures (H, W, 3) uint8; taken one at a time.

    Raises:
        SemeiaError: A sample lacks one of ``UNITS``, has an intensity that is no whole number, a key of another form or
            one that stands twice, an identity that the key does not name, or the folder cannot be written to.
    """
    root = writable_folder(folder)
    persons: dict[str, dict[int, list[int]]] = {}
    for labels, image in samples:
        person, frame = _checked(labels)
        home = root / "img" / person
        content = picture_bytes(image, ".png", what=f"{root}: key '{labels.key}'")
        frames = persons.setdefault(person, {})
        if frame in frames:
            raise SemeiaError(f"DISFA: expected keys that differ, found '{labels.key}' twice; rename one")
        write_whole((home if frames else writable_folder(home)) / f"{frame - 1}.png", content)
        frames[frame] = [int(labels.au_intensity[unit]) for unit in UNITS]
    for person, frames in persons.items():
        if max(frames) != len(frames):
            gap = next(number for number in range(1, max(frames)) if number not in frames)
            raise SemeiaError(f"DISFA: {person}: expected frames 1 to {max(frames):,}, found no {gap}; write them all")
    for person, frames in persons.items():
        place = writable_folder(root / LABELS[0] / person)
        for k, unit in enumerate(UNITS):
            lines = "".join(f"{frame},{frames[frame][k]}\n" for frame in sorted(frames))
            write_whole(place / f"{person}_au{int(unit[2:])}.txt", lines.encode())


def _checked(labels: FaceLabels) -> tuple[str, int]:
    """Person and frame of a sample that the layout can hold."""
    key = _KEY.fullmatch(labels.key)
    lacks = [unit for unit in UNITS if unit not in labels.au_intensity]
    values = [labels.au_intensity[unit] for unit in UNITS if unit not in lacks]
    if key is None or int(key[2]) == 0:
        raise SemeiaError(f"DISFA: expected a key such as 'SN001/0001', found '{labels.key}'; rename it")
    for fine, expected, found in (
        (labels.identity == key[1], "the identity that the key names", labels.identity),
        (not lacks, f"intensities of {', '.join(UNITS)}", f"no {', '.join(lacks)}"),
        (set(values) <= set(range(6)), "intensities 0, 1, 2, 3, 4 or 5", values),
    ):
        if not fine:
            raise SemeiaError(f"DISFA: key '{labels.key}': expected {expected}, found {found}; correct it or drop it")
    return key[1], int(key[2])
