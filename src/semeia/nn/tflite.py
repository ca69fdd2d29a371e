"""TFLite networks rebuilt in torch, so that real parts run without TensorFlow.

Reads float networks, with weights in float32 or in float16 behind a DEQUANTIZE; the nine operators are those of the
MediaPipe face networks. Outputs agree with the TFLite runtime to float rounding (``tests/nn/test_tflite.py``).

Shapes      N pictures   C, K channels in, out   H, W rows, columns of a map
Layout      TFLite maps are (N, H, W, C), ours are (N, C, H, W); only RESHAPE, which reads numbers in memory order,
            goes through TFLite's layout.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tflite
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OPERATOR_NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
_NUMBERS = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
_ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    tflite.ActivationFunctionType.NONE: lambda x: x,
    tflite.ActivationFunctionType.RELU: F.relu,
    tflite.ActivationFunctionType.RELU6: F.relu6,
}
_SAME = tflite.Padding.SAME


class TFLiteGraph(nn.Module):
    """A TFLite file as a torch module.

    Args:
        path: A .tflite file with one subgraph and one input picture.

    Attributes:
        input_size: Rows and columns (H, W) of the picture the network was made for.

    Raises:
        NotImplementedError: The file uses an operator or a number type that is not rebuilt here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        model = tflite.Model.GetRootAs(path.read_bytes(), 0)
        graph = model.Subgraphs(0)
        constants = _constants(model, graph)
        self.input_size: tuple[int, int] = tuple(graph.Tensors(graph.Inputs(0)).ShapeAsNumpy()[1:3].tolist())
        self._input = graph.Inputs(0)
        self._outputs = [graph.Outputs(i) for i in range(graph.OutputsLength())]
        self.layers = nn.ModuleList()
        self._wires: list[tuple[list[int], int]] = []
        for i in range(graph.OperatorsLength()):
            operator = _read_operator(model, graph, graph.Operators(i), constants)
            if operator.name == "DEQUANTIZE" and operator.inputs[0] in constants:
                constants[operator.output] = constants[operator.inputs[0]].astype(np.float32)
                continue
            if operator.name not in _LAYERS:
                raise NotImplementedError(f"{path.name}: the TFLite operator {operator.name} is not rebuilt in torch")
            self.layers.append(_LAYERS[operator.name](operator))
            self._wires.append(([j for j in operator.inputs if j >= 0 and j not in constants], operator.output))
        self._last_reader = {i: step for step, (inputs, _) in enumerate(self._wires) for i in inputs}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Runs pictures (N, C, H, W) and gives the outputs in the file's order, maps as (N, K, H, W)."""
        values = {self._input: x}
        for step, (layer, (inputs, output)) in enumerate(zip(self.layers, self._wires, strict=True)):
            values[output] = layer(*(values[i] for i in inputs))
            for i in inputs:
                # A batch of maps is freed as soon as nothing will read it again.
                if self._last_reader[i] == step and i not in self._outputs:
                    values.pop(i, None)
        return tuple(values[i] for i in self._outputs)


@dataclass(frozen=True)
class _Operator:
    """One operator of the file: tensor numbers, its constant inputs by position, and its options table."""

    name: str
    inputs: list[int]
    output: int
    constants: dict[int, np.ndarray]
    output_shape: tuple[int, ...]
    options: Any


class _Convolution(nn.Module):
    """CONV_2D and DEPTHWISE_CONV_2D: (N, C, H, W) to (N, K, H', W')."""

    def __init__(self, operator: _Operator, *, weight: np.ndarray, groups: int) -> None:
        super().__init__()
        options = operator.options
        self.weight = _parameter(weight)
        self.bias = _parameter(operator.constants[2])
        self.groups = groups
        self.same = options.Padding() == _SAME
        self.stride = (options.StrideH(), options.StrideW())
        self.dilation = (options.DilationHFactor(), options.DilationWFactor())
        self.activation = _ACTIVATIONS[options.FusedActivationFunction()]

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            rows, columns = self.weight.shape[2:]
            x = pad_same(x, (rows, columns), stride=self.stride, dilation=self.dilation)
        return self.activation(F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups))


class _MaxPool(nn.Module):
    """MAX_POOL_2D: (N, C, H, W) to (N, C, H', W')."""

    def __init__(self, operator: _Operator) -> None:
        super().__init__()
        options = operator.options
        self.same = options.Padding() == _SAME
        self.stride = (options.StrideH(), options.StrideW())
        self.window = (options.FilterHeight(), options.FilterWidth())

    def forward(self, x: Tensor) -> Tensor:
        if self.same:
            x = pad_same(x, self.window, stride=self.stride, value=-torch.inf)
        return F.max_pool2d(x, self.window, self.stride)


class _Prelu(nn.Module):
    """PRELU with one slope a channel."""

    def __init__(self, operator: _Operator) -> None:
        super().__init__()
        self.slope = _parameter(operator.constants[1].reshape(-1))

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.slope)


class _Add(nn.Module):
    """ADD of two maps."""

    def __init__(self, operator: _Operator) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[operator.options.FusedActivationFunction()]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.activation(x + y)


class _Pad(nn.Module):
    """PAD with zeros; the networks use it to add empty channels before a sum."""

    def __init__(self, operator: _Operator) -> None:
        super().__init__()
        _, rows, columns, channels = operator.constants[1].tolist()
        self.amounts = (*columns, *rows, *channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, self.amounts)


class _Resize(nn.Module):
    """RESIZE_BILINEAR with half-pixel centres: (N, C, H, W) to (N, C, H', W')."""

    def __init__(self, operator: _Operator) -> None:
        super().__init__()
        if not operator.options.HalfPixelCenters():
            raise NotImplementedError("RESIZE_BILINEAR without half-pixel centres is not rebuilt in torch")
        self.size: list[int] = operator.constants[1].tolist()

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, self.size, mode="bilinear", align_corners=False)


class _Reshape(nn.Module):
    """RESHAPE of a map (N, C, H, W), read row by row and pixel by pixel, to (N, *rest)."""

    def __init__(self, operator: _Operator) -> None:
        super().__init__()
        self.rest = operator.output_shape[1:]

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).reshape(len(x), *self.rest)  # (N, C, H, W) -> (N, H, W, C) -> (N, *rest)


def _full_convolution(operator: _Operator) -> nn.Module:
    return _Convolution(operator, weight=operator.constants[1].transpose(0, 3, 1, 2), groups=1)  # (K, H, W, C)


def _depthwise_convolution(operator: _Operator) -> nn.Module:
    weight = operator.constants[1]  # (1, H, W, C), one kernel a channel
    return _Convolution(operator, weight=weight.transpose(3, 0, 1, 2), groups=weight.shape[-1])


def _relu(_operator: _Operator) -> nn.Module:
    return nn.ReLU()


_LAYERS: dict[str, Callable[[_Operator], nn.Module]] = {
    "ADD": _Add,
    "CONV_2D": _full_convolution,
    "DEPTHWISE_CONV_2D": _depthwise_convolution,
    "MAX_POOL_2D": _MaxPool,
    "PAD": _Pad,
    "PRELU": _Prelu,
    "RELU": _relu,
    "RESHAPE": _Reshape,
    "RESIZE_BILINEAR": _Resize,
}

_OPTIONS = {
    "ADD": tflite.AddOptions,
    "CONV_2D": tflite.Conv2DOptions,
    "DEPTHWISE_CONV_2D": tflite.DepthwiseConv2DOptions,
    "MAX_POOL_2D": tflite.Pool2DOptions,
    "RESIZE_BILINEAR": tflite.ResizeBilinearOptions,
}


def pad_same(
    x: Tensor,
    window: tuple[int, int],
    *,
    stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
    value: float = 0.0,
) -> Tensor:
    """Pads a map as TensorFlow's SAME does: ceil(H / stride) windows fit, the odd pixel goes below and to the right.

    Args:
        x: (N, C, H, W).
        window: Rows and columns of the kernel.
        stride: Steps along rows and columns.
        dilation: Spacing of the kernel's points along rows and columns.
        value: What the new pixels hold.

    Returns:
        (N, C, H + rows added, W + columns added).
    """
    amounts: list[int] = []
    # F.pad counts from the last dimension.
    for length, k, s, d in reversed(list(zip(x.shape[2:], window, stride, dilation, strict=True))):
        missing = max((-(-length // s) - 1) * s + (k - 1) * d + 1 - length, 0)
        amounts += [missing // 2, missing - missing // 2]
    return F.pad(x, amounts, value=value) if any(amounts) else x


def _constants(model: Any, graph: Any) -> dict[int, np.ndarray]:
    """The tensors that hold numbers in the file, by tensor number."""
    constants = {}
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        buffer = model.Buffers(tensor.Buffer())
        if buffer.DataLength() == 0:
            continue
        if tensor.Type() not in _NUMBERS or tensor.Sparsity() is not None:
            raise NotImplementedError(f"tensor {tensor.Name().decode()!r} is not dense float32, float16 or int32")
        shape = tensor.ShapeAsNumpy() if tensor.ShapeLength() else ()
        constants[i] = np.frombuffer(buffer.DataAsNumpy().tobytes(), _NUMBERS[tensor.Type()]).reshape(shape)
    return constants


def _read_operator(model: Any, graph: Any, raw: Any, constants: dict[int, np.ndarray]) -> _Operator:
    """One operator of the file with its constants looked up."""
    code = model.OperatorCodes(raw.OpcodeIndex())
    # Old files hold the code in the deprecated one-byte field; the larger of the two is the real one.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    name = _OPERATOR_NAMES.get(number, f"number {number}")
    inputs = [raw.Inputs(i) for i in range(raw.InputsLength())]
    output = graph.Tensors(raw.Outputs(0))
    options = None
    if name in _OPTIONS:
        table = raw.BuiltinOptions()
        options = _OPTIONS[name]()
        options.Init(table.Bytes, table.Pos)
    return _Operator(
        name=name,
        inputs=inputs,
        output=raw.Outputs(0),
        constants={place: constants[i] for place, i in enumerate(inputs) if i in constants},
        output_shape=tuple(output.ShapeAsNumpy().tolist()) if output.ShapeLength() else (),
        options=options,
    )


def _parameter(array: np.ndarray) -> nn.Parameter:
    """A weight that is never trained here."""
    return nn.Parameter(torch.from_numpy(array.astype(np.float32)), requires_grad=False)
