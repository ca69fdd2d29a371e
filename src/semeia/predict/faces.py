"""Faces in a user's pictures: find, crop for each task, read.

Shapes      F faces   S side of a crop   H, W picture   h, w attention grid
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from semeia import checkpoint
from semeia.media.images import find_images, read_image
from semeia.nn.face_finder import FaceFinder
from semeia.ops.faces import aligned_matrix, crop, landmarks_68, upright_matrix
from semeia.predict.affect import AffectReader
from semeia.predict.onnx import use_engine
from semeia.predict.units import UnitReader, in_chunks
from semeia.records import ActionUnit, Face, FaceReading, FileReading, Pose, Readings, SemeiaError
from semeia.systems import qface

OnFile = Callable[[FileReading, np.ndarray | None], None]


class Views(NamedTuple):
    """What is read of one face: its crops (S, S, 3) uint8, each as large as its reader takes it."""

    tight: np.ndarray
    """Aligned."""
    loose: np.ndarray
    """Not rotated."""
    units: np.ndarray | None
    """Aligned, for a network for action units where there is one."""
    affect: np.ndarray | None
    """Aligned, for the reader of valence and arousal where there is one."""


class FaceReader:
    """Finder and model, loaded once and used for many pictures.

    Args:
        model: A trained Q-Face.
        finder: Finds faces and their meshes.
        weights: Name of the weights, repeated in every answer.
        device: Where the model runs.
        units: Reads action units in place of the model.
        affect: Reads valence and arousal.

    Attributes:
        engine: What it computes in: ``torch``, or ONNX Runtime with its version.
        bf16: Whether Q-Face multiplies in bf16, as it does on cards that can. The finder never does: at 192 pixels a
            point would move by half a pixel.
    """

    def __init__(
        self, model: qface.QFace, finder: FaceFinder, *, weights: str, device: torch.device,
        units: UnitReader | None = None, affect: AffectReader | None = None,
    ) -> None:  # fmt: skip
        self.model = model.to(device).eval()
        self.finder, self.device, self.engine, self.units, self.affect = finder, device, "torch", units, affect
        others = (("action units", units), ("affect", affect))
        self.weights = ", ".join([weights, *(f"{what} {by.weights}" for what, by in others if by is not None)])
        self.bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)

    @classmethod
    def load(
        cls, weights: str | Path = "qface", device: str = "auto", engine: str = "auto", au: str | Path | None = None,
        affect: str | Path | None = "emma",
    ) -> FaceReader:  # fmt: skip
        """Load bundled weights by name, or checkpoint folders of your own by path.

        Args:
            weights: Of Q-Face.
            device: ``auto``, ``cpu`` or ``cuda``.
            engine: See ``use_engine``; a network for action units always computes in torch.
            au: Weights of ALGRNet or MGRR-Net that read action units; None: Q-Face does.
            affect: Weights of EMMA that read valence and arousal, in torch too; None: nothing does.

        Raises:
            SemeiaError: The weights do not exist or do not fit, the finder's parts cannot be had, or the engine.
        """
        model, name = checkpoint.load(weights, system="qface", kind=qface.Config, build=qface.build, later=qface.ADDED)
        place = pick_device(device)
        units = None if au is None else UnitReader.load(au, place)
        feelings = None if affect is None else AffectReader.load(affect, place)
        reader = cls(model, FaceFinder(device=place), weights=name, device=place, units=units, affect=feelings)
        reader.engine = use_engine(reader, engine)
        return reader

    def read(self, image: np.ndarray) -> tuple[FaceReading, ...]:
        """Read every face of a picture (H, W, 3) uint8, in the finder's order."""
        faces = self.finder.find(image)
        if not faces:
            return ()
        return self.read_views(faces, [self.views(image, face) for face in faces])

    def views(self, image: np.ndarray, face: Face) -> Views:
        """What is read of a face of a picture (H, W, 3) uint8."""
        return Views(
            self.crop(image, face),
            self.crop(image, face, upright=True),
            None if self.units is None else self.units.crop(image, face),
            None if self.affect is None else self.affect.crop(image, face),
        )

    def read_views(self, faces: Sequence[Face], views: Sequence[Views]) -> tuple[FaceReading, ...]:
        """Read faces, at least one, from their views; they may come from many pictures."""
        answers = self.model.by_view(self._predict([v.tight for v in views]), self._predict([v.loose for v in views]))
        readings = [self._reading(face, answers, i) for i, face in enumerate(faces)]
        if self.units is not None:
            units = self.units.read([v.units for v in views if v.units is not None])
            readings = [replace(reading, action_units=of) for reading, of in zip(readings, units, strict=True)]
        if self.affect is not None:
            pairs = self.affect.read([v.affect for v in views if v.affect is not None])
            readings = [replace(r, valence=v, arousal=a) for r, (v, a) in zip(readings, pairs, strict=True)]
        return tuple(readings)

    def explain(self, image: np.ndarray, labels: Sequence[str]) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
        """Return for every face its crop (S, S, 3) uint8 and, for each label, where its query looked (h, w).

        Raises:
            SemeiaError: A label that these weights do not answer.
        """
        names = self.model.labels()
        unknown = [label for label in labels if label not in names]
        if unknown:
            raise SemeiaError(f"{self.weights} has no label {', '.join(unknown)}; it has {', '.join(names)}")
        answers = []
        for face in self.finder.find(image):
            crops = {upright: self.crop(image, face, upright=upright) for upright in (False, True)}
            maps = {upright: self._predict([c], maps=True)["maps"][0] for upright, c in crops.items()}
            for upright, view in crops.items():
                wanted = [label for label in labels if self.model.reads_loose(label) is upright]
                if wanted:
                    answers.append((view, {label: maps[upright][names.index(label)] for label in wanted}))
        return answers

    def crop(self, image: np.ndarray, face: Face, *, upright: bool = False) -> np.ndarray:
        """The (S, S, 3) uint8 view that a task reads: aligned and tight, or unrotated and loose."""
        config = self.model.config
        matrix_of, margin = (
            (upright_matrix, config.margin_upright) if upright else (aligned_matrix, config.margin_aligned)
        )
        matrix = matrix_of(landmarks_68(face.mesh), config.image_size, margin=margin)
        return crop(image, matrix, size=config.image_size)

    def _predict(self, crops: list[np.ndarray], *, maps: bool = False) -> dict[str, np.ndarray]:
        """Crops F x (S, S, 3) -> the model's answers as arrays with a first axis of F."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return in_chunks(self.model.predict, crops, self.device, maps=maps)

    def _reading(self, face: Face, answers: dict[str, np.ndarray], i: int) -> FaceReading:
        """Row ``i`` of the answers as a record."""
        config = self.model.config
        thresholds = self.model.calibration.unit_threshold.tolist()
        units = {
            name: ActionUnit(
                probability=float(answers["au_probability"][i, k]),
                intensity=float(answers["au_intensity"][i, k]),
                left=float(answers["au_sides"][i, k, 0]),
                right=float(answers["au_sides"][i, k, 1]),
                threshold=float(threshold),
            )
            for k, (name, threshold) in enumerate(zip(config.action_units, thresholds, strict=True))
        }
        return FaceReading(
            box=face.box,
            score=face.score,
            expression=dict(zip(config.expressions, answers["expression"][i].tolist(), strict=True)),
            action_units=units,
            attributes=dict(zip(config.attributes, answers["attributes"][i].tolist(), strict=True)),
            age=float(answers["age"][i]),
            pose=Pose(*(float(angle) for angle in answers["pose"][i])),
        )


def pick_device(name: str) -> torch.device:
    """``auto`` is the GPU where one is there.

    Raises:
        SemeiaError: A device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SemeiaError(f"device {name!r} is not available here; expected auto, cpu or cuda") from error
    return device


def analyze(
    paths: Sequence[str | Path] | str | Path,
    *,
    weights: str | Path = "qface",
    device: str = "auto",
    engine: str = "auto",
    au: str | Path | None = None,
    affect: str | Path | None = "emma",
    on_file: OnFile | None = None,
) -> Readings:
    """Read the faces of photos and folders of photos.

    Args:
        paths: Files, or folders that are searched for pictures; one or many.
        weights: Bundled weights by name, or a checkpoint folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        engine: ``auto``, ``torch`` or ``onnx``; see ``predict.onnx.use_engine``.
        au: Weights of ALGRNet or MGRR-Net that read action units in place of Q-Face's.
        affect: Weights of EMMA that read valence and arousal; None: nothing does.
        on_file: Called with each file as it is done: its reading, and its picture (H, W, 3) or None if it is broken.

    Returns:
        One entry a file; a file that cannot be read carries its error and stops nothing.

    Raises:
        SemeiaError: No picture is there to read, or the weights or parts cannot be had.
    """
    files = find_images([paths] if isinstance(paths, (str, Path)) else list(paths))
    reader = _reader(str(weights), device, engine, *(None if w is None else str(w) for w in (au, affect)))
    done = []
    for file in files:
        reading, image = read_file(reader, file)
        done.append(reading)
        if on_file is not None:
            on_file(reading, image)
    return Readings(weights=reader.weights, files=tuple(done))


def read_file(reader: FaceReader, file: Path) -> tuple[FileReading, np.ndarray | None]:
    """Read one file; what is wrong with it becomes its ``error``."""
    try:
        image = read_image(file)
    except SemeiaError as error:
        return FileReading(file=str(file), error=str(error)), None
    height, width = image.shape[:2]
    return FileReading(file=str(file), width=width, height=height, faces=reader.read(image)), image


def explain(
    path: str | Path,
    labels: Sequence[str],
    *,
    weights: str | Path = "qface",
    device: str = "auto",
    engine: str = "auto",
) -> list[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Where the queries of ``labels`` looked in each face of a photo; see ``FaceReader.explain``."""
    return _reader(str(weights), device, engine, None, None).explain(read_image(Path(path)), labels)


@lru_cache(maxsize=2)
def _reader(weights: str, device: str, engine: str, au: str | None, affect: str | None) -> FaceReader:
    """The readers of the last calls, kept for the next photo; drawing attention has one of its own."""
    return FaceReader.load(weights, device, engine, au, affect)
