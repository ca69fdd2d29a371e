"""Who annotates on this machine: this library's own readers, or a vision-language model in a folder.

Each is described by a frozen dataclass that travels to the workers and ``load``s there.

Shapes      V views   S side of a crop
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from semeia import __version__
from semeia.predict.faces import FaceReader, pick_device
from semeia.predict.prompted import PromptedAnnotator, Talk
from semeia.records import ACTION_UNITS, FaceLabels, FaceReading, SemeiaError
from semeia.systems.face_mllm.annotate import Annotator, Opinion, View
from semeia.systems.face_mllm.captions import caption
from semeia.systems.face_mllm.schema import known

# ---------------------------------------------------------------------------------------------------------------------
# This library's readers


@dataclass(frozen=True)
class Readers:
    """Q-Face, with EMMA for affect, and a network for action units where one is named; palsy is never read."""

    weights: str = "qface"
    au: str | None = None
    affect: str | None = "emma"
    device: str = "auto"
    sure: float = 0.75
    """Probability from which a label counts as known, as yes or as no."""
    seed: int = 0

    def load(self) -> Annotator:
        """Load the readers."""
        reader = FaceReader.load(self.weights, self.device, "torch", au=self.au, affect=self.affect)
        return ReaderAnnotator(reader, sure=self.sure, seed=self.seed)

    def as_dict(self) -> dict[str, Any]:
        """See ``Description``."""
        return {"kind": "readers"} | {name: v for name, v in asdict(self).items() if name != "device"}


class ReaderAnnotator:
    """Labels by reading, captions by grammar.

    Args:
        reader: Reads faces that were found.
        sure: See ``Readers``.
        seed: Of the grammar's choices; the same crop gets the same caption.
    """

    def __init__(self, reader: FaceReader, *, sure: float, seed: int) -> None:
        self.reader, self.sure, self.seed = reader, sure, seed
        self.name, self.version = f"readers ({reader.weights})", f"semeia {__version__}"

    def look(self, views: Sequence[View]) -> list[Opinion]:
        """One opinion a view."""
        crops = [self.reader.views(view.image, view.face) for view in views]
        readings = self.reader.read_views([view.face for view in views], crops)
        told = []
        for view, reading in zip(views, readings, strict=True):
            labels = known(confident(reading, self.sure))
            rng = np.random.default_rng([self.seed, zlib.crc32(view.crop.tobytes())])
            told.append(Opinion(caption(labels, rng), labels))
        return told


def confident(reading: FaceReading, sure: float) -> FaceLabels:
    """What a reading is sure of, as labels; the rest is absent."""
    expression = reading.expression_label
    units = {
        name: int(unit.occurrence)
        for name, unit in reading.action_units.items()
        if name in ACTION_UNITS and max(unit.probability, 1 - unit.probability) >= sure
    }
    return FaceLabels(
        key="",
        expression=expression if reading.expression[expression] >= sure else None,
        au_occurrence=units,
        attributes={name: int(p >= 0.5) for name, p in reading.attributes.items() if max(p, 1 - p) >= sure},
        age=reading.age,
        pose=reading.pose,
        valence=reading.valence,
        arousal=reading.arousal,
    )


# ---------------------------------------------------------------------------------------------------------------------
# A local vision-language model


@dataclass(frozen=True)
class LocalModel:
    """A vision-language model of transformers in a folder of this machine; nothing is downloaded."""

    path: str
    passes: int = 1
    device: str = "auto"
    seed: int = 0

    def load(self) -> Annotator:
        """Load the model.

        Raises:
            SemeiaError: transformers is missing, or the folder holds no such model.
        """
        talk, version = _talk(Path(self.path), self.device)
        return PromptedAnnotator(
            talk, name=Path(self.path).resolve().name, version=version, passes=self.passes, seed=self.seed
        )

    def as_dict(self) -> dict[str, Any]:
        """See ``Description``."""
        return {"kind": "local", "path": self.path, "passes": self.passes, "seed": self.seed}


def _talk(path: Path, device: str) -> tuple[Talk, str]:
    """Loads a model and gives what talks to it, and its version."""
    if not (path / "config.json").is_file():
        raise SemeiaError(f"{path}: expected a folder of a transformers model with config.json, found none")
    try:
        import transformers
    except ImportError as error:
        raise SemeiaError(f"a local model needs transformers ({error}); pip install transformers") from error
    place = pick_device(device)
    try:
        processor = transformers.AutoProcessor.from_pretrained(str(path), local_files_only=True)
        model: Any = transformers.AutoModelForImageTextToText.from_pretrained(str(path), local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise SemeiaError(f"{path}: expected a vision-language model of transformers, found one that cannot be loaded "
                          f"({reason[:200]})") from error  # fmt: skip
    model.to(place).eval()

    def talk(crop: np.ndarray, prompt: str, most: int) -> str:
        content = [{"type": "image", "image": Image.fromarray(crop)}, {"type": "text", "text": prompt}]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=True, return_dict=True,
            return_tensors="pt",
        ).to(place)  # fmt: skip
        with torch.inference_mode():
            said = model.generate(**inputs, max_new_tokens=most, do_sample=False)
        answer: str = processor.decode(said[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return answer

    digest = hashlib.sha256((path / "config.json").read_bytes()).hexdigest()[:12]
    return talk, f"config {digest}, transformers {transformers.__version__}"
