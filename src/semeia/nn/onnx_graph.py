"""Networks as ONNX models, and ONNX models as callables on tensors.

``network_model`` writes the graph of a TFLite network operator by operator, in milliseconds and without torch's
exporter. ``module_model`` puts any other module through torch's exporter, which takes seconds. Both give the same bytes
for the same weights and versions, with nothing of the machine in them, and a batch axis of any length.

The packages ``onnx``, ``onnxscript`` and ``onnxruntime`` are imported here alone, when they are needed.

Shapes      N pictures   C, K channels in, out   H, W rows, columns of a map
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia.nn import tflite
from semeia.records import SemeiaError

OPSET = 18
"""Version of the ONNX operators; what torch's exporter writes without conversion."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What the extra ``onnx`` installs."""

INPUT, BATCH = "image", "batch"
"""Names of every model's input and of its first axis."""

_IR = 10
"""Version of the file format: ONNX Runtime reads it from 1.18 on."""


def installed() -> bool:
    """Whether all that this file needs is there; nothing is imported."""
    return all(find_spec(name) is not None for name in PACKAGES)


class OnnxNetwork:
    """An ONNX model in ONNX Runtime, called like the module that it was made from, on the CPU.

    Args:
        model: The bytes of the model.

    Attributes:
        outputs: Names of the outputs, in the order in which a call returns them.

    Raises:
        SemeiaError: ONNX Runtime is not installed, or cannot load the model.
    """

    def __init__(self, model: bytes) -> None:
        runtime = _needed("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Between two calls torch and Pillow work: threads that look for the next call in a loop would be in their way.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise SemeiaError(
                f"ONNX Runtime {runtime.__version__} cannot load the model ({_first_line(error)}); use the engine torch"
            ) from error
        self.outputs: tuple[str, ...] = tuple(output.name for output in self.session.get_outputs())

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        """Run ``(N, C, H, W)`` float32; return the outputs in the model's order."""
        return tuple(map(torch.from_numpy, self.session.run(None, {INPUT: np.ascontiguousarray(x.numpy())})))


def module_model(
    module: nn.Module, example: Tensor, *, outputs: Sequence[str], notes: Mapping[str, str] | None = None
) -> bytes:
    """A module as an ONNX model.

    Args:
        module: Takes one tensor and returns a tuple of tensors, all with the batch as their first axis.
        example: An input of two pictures or more; only its shape matters.
        outputs: Names of the outputs.
        notes: Written into the model's ``metadata_props``.

    Returns:
        The model's bytes.

    Raises:
        SemeiaError: A package is missing, or the module cannot be exported for batches of any size.
    """
    for package in ("onnx", "onnxscript"):
        _needed(package)
    try:
        with torch.no_grad(), _quietly():
            # Strict: the other way of tracing takes ``len(tensor)`` for a constant.
            program = torch.export.export(
                module.eval(), (example,), dynamic_shapes=({0: torch.export.Dim(BATCH, min=1, max=65536)},), strict=True
            )
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=list(outputs),
                verbose=False,
            )  # fmt: skip
    except Exception as error:
        # The exporter raises what it likes.
        raise SemeiaError(
            f"torch {torch.__version__} cannot write this model as ONNX ({_first_line(error)}); use the engine torch"
        ) from error
    assert exported is not None  # no file was named
    return _finished(exported.model_proto, notes)


def network_model(
    network: tflite.TFLiteGraph, *, outputs: Sequence[str], notes: Mapping[str, str] | None = None
) -> bytes:
    """A TFLite network as an ONNX model.

    What it computes is what ``network`` computes. Two operators are spelled so that ONNX Runtime stays in the layout in
    which its convolutions are fast: PRELU and padding of channels become convolutions with one weight a channel.

    Args:
        network: The network.
        outputs: Names of its outputs.
        notes: Written into the model's ``metadata_props``.

    Returns:
        The model's bytes.

    Raises:
        SemeiaError: A package is missing.
    """
    return _finished(_GraphWriter(network, outputs).model(), notes)


class _GraphWriter:
    """Writes the nodes of a TFLite network, layer by layer."""

    def __init__(self, network: tflite.TFLiteGraph, outputs: Sequence[str]) -> None:
        self.onnx = _needed("onnx")
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.entrance = [BATCH, 3, *network.input_size]
        self.outputs = tuple(outputs)
        name_of = {network._input: INPUT}
        name_of |= dict(zip(network._outputs, outputs, strict=True))
        shape_of: dict[int, tuple[int, ...]] = {network._input: (3, *network.input_size)}
        for layer, (inputs, output) in zip(network.layers, network._wires, strict=True):
            name = name_of.setdefault(output, f"map{output}")
            write = _WRITERS[type(layer)]
            shape_of[output] = write(self, layer, [name_of[i] for i in inputs], name, shape_of[inputs[0]])
        self.shapes = [shape_of[i] for i in network._outputs]

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **options: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], name=f"{output}/{kind}", **options))
        return output

    def convolve(self, x: str, output: str, weight: np.ndarray, bias: np.ndarray | None = None, **options: Any) -> str:
        names = [self.constant(f"{output}/weight", weight)]
        if bias is not None:
            names.append(self.constant(f"{output}/bias", bias))
        return self.node("Conv", [x, *names], output, kernel_shape=weight.shape[2:], **options)

    def activate(self, activation: Callable[[Tensor], Tensor], output: str) -> None:
        """Make ``output`` of the result that ``_before`` names, where there is an activation."""
        if activation in _ACTIVATIONS:
            kind, limits = _ACTIVATIONS[activation]
            names = [self.constant(f"{output}/limit{i}", np.array(limit, np.float32)) for i, limit in enumerate(limits)]
            self.node(kind, [_before(activation, output), *names], output)

    def model(self) -> Any:
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info(INPUT, kind, self.entrance)],
            [
                helper.make_tensor_value_info(name, kind, [BATCH, *shape])
                for name, shape in zip(self.outputs, self.shapes, strict=True)
            ],
            self.constants,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR, producer_name="semeia"
        )


_Shape = tuple[int, ...]  # (C, H, W), or what a reshape made of it


def _convolution(w: _GraphWriter, layer: Any, x: list[str], name: str, shape: _Shape) -> _Shape:
    weight = layer.weight.numpy()
    pads, size = _windows(layer, shape, weight.shape[2:], layer.dilation)
    w.convolve(
        x[0], _before(layer.activation, name), weight, layer.bias.numpy(),
        pads=pads, strides=layer.stride, dilations=layer.dilation, group=layer.groups,
    )  # fmt: skip
    w.activate(layer.activation, name)
    return len(weight), *size


def _max_pool(w: _GraphWriter, layer: Any, x: list[str], name: str, shape: _Shape) -> _Shape:
    pads, size = _windows(layer, shape, layer.window, (1, 1))
    w.node("MaxPool", x, name, kernel_shape=layer.window, strides=layer.stride, pads=pads)
    return shape[0], *size


def _prelu(w: _GraphWriter, layer: Any, x: list[str], name: str, shape: _Shape) -> _Shape:
    # relu(x) - slope * relu(-x) is the same number, in operators that stay in the layout of the convolutions. ONNX's
    # own PRelu took more than half of the mesh network's time.
    slope = layer.slope.numpy().reshape(-1, 1, 1, 1)  # (C, 1, 1, 1)
    above = w.node("Relu", x, f"{name}/above")
    turned = w.convolve(x[0], f"{name}/turned", -np.ones_like(slope), group=len(slope))
    below = w.node("Relu", [turned], f"{name}/below")
    w.node("Add", [w.convolve(below, f"{name}/scaled", -slope, group=len(slope)), above], name)
    return shape


def _add(w: _GraphWriter, layer: Any, x: list[str], name: str, shape: _Shape) -> _Shape:
    w.node("Add", x, _before(layer.activation, name))
    w.activate(layer.activation, name)
    return shape


def _relu(w: _GraphWriter, _layer: Any, x: list[str], name: str, shape: _Shape) -> _Shape:
    w.node("Relu", x, name)
    return shape


def _pad(w: _GraphWriter, layer: Any, x: list[str], name: str, shape: _Shape) -> _Shape:
    left, right, top, bottom, front, back = layer.amounts
    size = (shape[0] + front + back, shape[1] + top + bottom, shape[2] + left + right)
    if size[1:] == shape[1:]:
        weight = np.zeros((size[0], shape[0], 1, 1), np.float32)
        weight[np.arange(shape[0]) + front, np.arange(shape[0])] = 1
        w.convolve(x[0], name, weight)
    else:
        amounts = np.array([0, front, top, left, 0, back, bottom, right])
        w.node("Pad", [x[0], w.constant(f"{name}/amounts", amounts)], name)
    return size


def _resize(w: _GraphWriter, layer: Any, x: list[str], name: str, shape: _Shape) -> _Shape:
    rows, columns = layer.size
    # Scales, not sizes: a size would have to name the batch too.
    scales = w.constant(f"{name}/scales", np.array([1, 1, rows / shape[1], columns / shape[2]], np.float32))
    w.node("Resize", [x[0], "", scales], name, mode="linear", coordinate_transformation_mode="half_pixel")
    return shape[0], rows, columns


def _reshape(w: _GraphWriter, layer: Any, x: list[str], name: str, _shape: _Shape) -> _Shape:
    turned = w.node("Transpose", x, f"{name}/turned", perm=(0, 2, 3, 1))  # (N, C, H, W) -> (N, H, W, C)
    w.node("Reshape", [turned, w.constant(f"{name}/shape", np.array([0, *layer.rest]))], name)  # 0: as it is
    return tuple(layer.rest)


_ACTIVATIONS: dict[Callable[[Tensor], Tensor], tuple[str, tuple[float, ...]]] = {
    F.relu: ("Relu", ()),
    F.relu6: ("Clip", (0.0, 6.0)),
}

_WRITERS: dict[type[nn.Module], Callable[[_GraphWriter, Any, list[str], str, _Shape], _Shape]] = {
    tflite._Add: _add,
    tflite._Convolution: _convolution,
    tflite._MaxPool: _max_pool,
    tflite._Pad: _pad,
    tflite._Prelu: _prelu,
    tflite._Reshape: _reshape,
    tflite._Resize: _resize,
    nn.ReLU: _relu,
}


def _before(activation: Callable[[Tensor], Tensor], name: str) -> str:
    """What a result is called before its activation, which gives it its name."""
    return f"{name}/linear" if activation in _ACTIVATIONS else name


def _windows(
    layer: Any, shape: _Shape, window: Sequence[int], dilation: Sequence[int]
) -> tuple[list[int], tuple[int, ...]]:
    """Pads of a map (C, H, W), first those before and then those after it, and the size (H', W') of what comes out."""
    before, after, size = [], [], []
    for length, k, s, d in zip(shape[1:], window, layer.stride, dilation, strict=True):
        reach = (k - 1) * d + 1
        missing = max((-(-length // s) - 1) * s + reach - length, 0) if layer.same else 0
        before.append(missing // 2)
        after.append(missing - missing // 2)
        size.append((length + missing - reach) // s + 1)
    return before + after, tuple(size)


def _finished(model: Any, notes: Mapping[str, str] | None) -> bytes:
    """The model without traces of the machine and the run that made it, with the notes in it."""
    onnx = _needed("onnx")
    entrance = model.graph.input[0].type.tensor_type.shape.dim[0]
    traced = entrance.dim_param
    if not traced:
        raise SemeiaError(f"this model was written for batches of {entrance.dim_value} alone; use the engine torch")
    for values in (*model.graph.input, *model.graph.output):
        for axis in values.type.tensor_type.shape.dim:
            if axis.dim_param == traced:
                axis.dim_param = BATCH
    # The exporter notes the lines of code, and so the folders, that each node came from.
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for parts in (model.graph.value_info, model.graph.metadata_props, model.metadata_props):
        del parts[:]
    model.doc_string = model.graph.doc_string = ""
    onnx.helper.set_model_props(model, dict(notes or {}))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the exporter's warnings and logs, which fill pages where an export fails."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _needed(package: str) -> Any:
    """An optional package.

    Raises:
        SemeiaError: It is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise SemeiaError(f"the package {package} is missing; pip install 'semeia[onnx]'") from error


def _first_line(error: Exception) -> str:
    """Kind and first line of an error of another library, whose messages may be pages long."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
