"""The pictures that ``semeia analyze`` writes beside its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semeia.files import check_writable, writable_folder
from semeia.media.images import write_image
from semeia.media.overlays import annotate, attention
from semeia.records import FileReading, SemeiaError

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MOST_LABELS = 12
"""That are drawn where the user named none."""


class Pictures:
    """Annotated pictures and attention sheets, each written as its photo is read.

    Args:
        annotated: A folder, or the name of a picture where one photo is read; None to write none.
        looked: A folder for attention sheets; None to write none.
        labels: What the sheets show; where it is empty, what was found in the photo.
        inputs: The paths that will be read; none of them is overwritten.

    Raises:
        SemeiaError: Nothing can be written there, or it would overwrite a photo.
    """

    def __init__(
        self, annotated: str | None, looked: str | None, labels: Sequence[str], *, inputs: Sequence[str]
    ) -> None:
        self.written: list[str] = []
        self.labels = labels
        self._taken: set[Path] = set()
        self._file = Path(annotated) if annotated and annotated.lower().endswith(PICTURE_SUFFIXES) else None
        self._folder = writable_folder(annotated) if annotated and self._file is None else None
        self._looked = writable_folder(looked) if looked else None
        if self._file is not None:
            check_writable(self._file)
            if len(inputs) > 1 or Path(inputs[0]).is_dir():
                raise SemeiaError(f"{self._file}: is one picture, expected a folder where many photos are read")
            if self._file.exists() and Path(inputs[0]).exists() and self._file.samefile(inputs[0]):
                raise SemeiaError(f"{self._file}: is the photo itself; name another file for the annotated picture")

    def write(self, reading: FileReading, image: np.ndarray, *, weights: str, device: str, engine: str) -> None:
        """Draw and write what was asked for of one photo (H, W, 3) uint8."""
        if self._file is not None:
            self._save(self._file, annotate(image, reading.faces))
        if self._folder is not None:
            self._save(self._free_name(self._folder, reading, "faces"), annotate(image, reading.faces))
        if self._looked is not None and reading.faces:
            from semeia.predict.faces import explain

            labels = self.labels or _found(reading)
            views = explain(reading.file, labels, weights=weights, device=device, engine=engine)
            self._save(self._free_name(self._looked, reading, "attention"), attention(views))

    def _save(self, path: Path, picture: np.ndarray) -> None:
        write_image(path, picture)
        self.written.append(str(path))

    def _free_name(self, folder: Path, reading: FileReading, what: str) -> Path:
        """A name from the photo's; photos of one name in different folders get numbers."""
        stem, number = Path(reading.file).stem, 1
        path = folder / f"{stem}_{what}.png"
        while path in self._taken:
            number += 1
            path = folder / f"{stem}_{number}_{what}.png"
        self._taken.add(path)
        return path


def _found(reading: FileReading) -> list[str]:
    """Expressions and present action units of the faces, each once."""
    expressions = [face.expression_label for face in reading.faces]
    units = [name for face in reading.faces for name, unit in face.action_units.items() if unit.occurrence]
    return list(dict.fromkeys([*expressions, *units]))[:MOST_LABELS]
