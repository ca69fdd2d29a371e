import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from semeia.media.images import find_images, read_image
from semeia.records import (
    ACTION_UNITS,
    ATTRIBUTES,
    EXPRESSIONS,
    ActionUnit,
    Box,
    FaceReading,
    FileReading,
    Pose,
    Readings,
    SemeiaError,
)

FACE = FaceReading(
    box=Box(30, 30, 60, 70),
    score=0.98,
    expression=dict.fromkeys(EXPRESSIONS, 0.02) | {"happiness": 0.88},
    action_units={name: ActionUnit(0.1, 0.2, 0.2, 0.2) for name in ACTION_UNITS}
    | {"AU12": ActionUnit(0.9, 3.25, 4.0, 2.5)},
    attributes=dict.fromkeys(ATTRIBUTES, 0.1) | {"Brown_Hair": 0.9},
    age=34.0,
    pose=Pose(3, -2, 1),
)


class Library(ModuleType):
    """Stands in for ``semeia.predict.faces``: a face in every picture that has light, no network."""

    interrupt_after = None
    calls = ()

    def analyze(self, paths, *, weights="qface", device="auto", engine="auto", au=None, affect="emma", on_file=None):
        self.calls = (*self.calls, {"weights": weights, "device": device, "engine": engine, "au": au, "affect": affect})
        done = []
        for path in find_images(paths):
            if self.interrupt_after == len(done):
                raise KeyboardInterrupt
            try:
                image = read_image(path)
            except SemeiaError as error:
                image, reading = None, FileReading(str(path), error=str(error))
            else:
                faces = (FACE,) if image.any() else ()
                reading = FileReading(str(path), image.shape[1], image.shape[0], faces)
            done.append(reading)
            on_file(reading, image)
        return Readings(weights="qface", files=tuple(done))

    def explain(self, path, labels, *, weights="qface", device="auto", engine="auto"):
        if "AU99" in labels:
            raise SemeiaError("qface has no label AU99")
        self.labels = list(labels)
        return [(read_image(path)[:64, :64], {label: np.eye(4) for label in labels})]


@pytest.fixture
def library(monkeypatch):
    stand_in = Library("semeia.predict.faces")
    monkeypatch.setitem(sys.modules, "semeia.predict.faces", stand_in)
    return stand_in


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder ``photos`` in the current folder: two faces, one picture without, one broken file."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, level in (("a.png", 128), ("b.jpg", 200), ("dark.png", 0)):
        Image.fromarray(np.full((120, 160, 3), level, np.uint8)).save(folder / name)
    (folder / "torn.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return folder
