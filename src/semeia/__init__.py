"""Semeia reads signs in faces and in scans from few labels.

``semeia.analyze("photo.jpg")`` answers with ``Readings``. Everything is imported when it is first asked for, so that
``import semeia`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semeia.predict.clips import analyze_clip
    from semeia.predict.faces import analyze
    from semeia.records import ActionUnit, Box, FaceReading, FileReading, Pose, Readings, SemeiaError

    __version__: str

PLACES = {
    "analyze": "semeia.predict.faces",
    "analyze_clip": "semeia.predict.clips",
    "ActionUnit": "semeia.records",
    "Box": "semeia.records",
    "FaceReading": "semeia.records",
    "FileReading": "semeia.records",
    "Pose": "semeia.records",
    "Readings": "semeia.records",
    "SemeiaError": "semeia.records",
}

__all__ = [
    "ActionUnit",
    "Box",
    "FaceReading",
    "FileReading",
    "Pose",
    "Readings",
    "SemeiaError",
    "__version__",
    "analyze",
    "analyze_clip",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("semeia")
        except PackageNotFoundError:  # run from a source tree
            return "not installed"
    if name not in PLACES:
        raise AttributeError(f"module 'semeia' has no attribute {name!r}")
    return getattr(import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
