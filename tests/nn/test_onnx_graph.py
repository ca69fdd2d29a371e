"""ONNX models compute what the networks compute that they were made from."""

import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import tflite as format_of
import torch
from torch import nn

from semeia import parts
from semeia.nn import onnx_graph, tflite
from semeia.nn.onnx_graph import OnnxNetwork, module_model, network_model
from semeia.records import SemeiaError

for package in onnx_graph.PACKAGES:
    pytest.importorskip(package)

NONE, RELU, RELU6 = (getattr(format_of.ActivationFunctionType, name) for name in ("NONE", "RELU", "RELU6"))
SAME = format_of.Padding.SAME


def operator(constants=None, shape=(), **options):
    """What a layer is built from, with the options that the file's table would hold."""
    table = SimpleNamespace(**{name: lambda value=value: value for name, value in options.items()})
    return SimpleNamespace(constants=constants or {}, output_shape=shape, options=table)


def convolution(rng, shape, *, groups, stride, dilation, activation):
    options = {
        "Padding": SAME, "StrideH": stride, "StrideW": stride, "DilationHFactor": dilation, "DilationWFactor": dilation,
        "FusedActivationFunction": activation,
    }  # fmt: skip
    weight = rng.normal(size=shape)
    return tflite._Convolution(operator({2: rng.normal(size=shape[0])}, **options), weight=weight, groups=groups)


@pytest.fixture
def every_operator():
    """A small network with each operator that is rebuilt in torch, on pictures of an odd size."""
    rng = np.random.default_rng(0)
    windows = {"FilterHeight": 2, "FilterWidth": 3, "StrideH": 2, "StrideW": 2, "Padding": SAME}
    steps = [
        ("CONV_2D", convolution(rng, (4, 3, 3, 3), groups=1, stride=2, dilation=1, activation=RELU6), [0]),
        ("DEPTHWISE_CONV_2D", convolution(rng, (4, 1, 3, 2), groups=4, stride=1, dilation=2, activation=RELU), [1]),
        ("CONV_2D", convolution(rng, (4, 4, 1, 1), groups=1, stride=1, dilation=1, activation=NONE), [2]),
        ("PRELU", tflite._Prelu(operator({1: rng.normal(size=(1, 1, 4))})), [3]),
        ("ADD", tflite._Add(operator(FusedActivationFunction=RELU)), [2, 4]),
        ("ADD", tflite._Add(operator(FusedActivationFunction=NONE)), [3, 5]),
        ("MAX_POOL_2D", tflite._MaxPool(operator(**windows)), [6]),
        ("PAD", tflite._Pad(operator({1: np.array([[0, 0], [0, 0], [0, 0], [1, 2]])})), [7]),
        ("PAD", tflite._Pad(operator({1: np.array([[0, 0], [1, 0], [0, 2], [0, 1]])})), [8]),
        ("RESIZE_BILINEAR", tflite._Resize(operator({1: np.array([13, 9])}, HalfPixelCenters=True)), [9]),
        ("RELU", nn.ReLU(), [10]),
        ("RESHAPE", tflite._Reshape(operator(shape=(1, 13 * 9, 8))), [11]),
    ]
    assert {name for name, _, _ in steps} == set(tflite._LAYERS)
    network = tflite.TFLiteGraph.__new__(tflite.TFLiteGraph)
    nn.Module.__init__(network)
    network.input_size, network._input, network._outputs = (11, 14), 0, [12, 9]
    network.layers = nn.ModuleList(layer for _, layer, _ in steps)
    network._wires = [(inputs, i) for i, (_, _, inputs) in enumerate(steps, start=1)]
    network._last_reader = {i: step for step, (inputs, _) in enumerate(network._wires) for i in inputs}
    return network.eval()


def pictures(count, size):
    """Noise of both signs, (count, 3, rows, columns)."""
    return 2 * torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(count)) - 1


def test_every_operator_computes_what_it_computes_in_torch(every_operator):
    fast = OnnxNetwork(network_model(every_operator, outputs=("a", "b")))
    assert fast.outputs == ("a", "b")
    for count in (1, 7):
        x = pictures(count, every_operator.input_size)
        for found, wanted in zip(fast(x), every_operator(x), strict=True):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_declared_shapes_are_those_that_come_out(every_operator):
    fast = OnnxNetwork(network_model(every_operator, outputs=("a", "b")))
    declared = [output.shape for output in fast.session.get_outputs()]
    assert declared == [["batch", *y.shape[1:]] for y in every_operator(pictures(1, every_operator.input_size))]


@pytest.mark.parametrize("count", [1, 7, 32])
@pytest.mark.parametrize("name", ["face-detector", "face-mesh"])
def test_a_network_of_the_face_finder_gives_the_same_places_and_scores(name, count):
    try:
        network = tflite.TFLiteGraph(parts.fetch(name, progress=False)).eval()
    except SemeiaError as error:
        pytest.skip(str(error))
    x = pictures(count, network.input_size)
    fast = OnnxNetwork(network_model(network, outputs=("places", "scores")))
    with torch.inference_mode():
        places, scores = (float((a - b).abs().max()) for a, b in zip(fast(x), network(x), strict=True))
    print(f"{name}, {count}: {places:.1e} pixels, {scores:.1e} in logits")  # noqa: T201 (pytest -s shows it)
    assert places < 0.02, "pixels"
    assert scores < 1e-3, "in logits"


def test_the_same_network_gives_the_same_bytes_and_keeps_its_notes(every_operator):
    notes = {"limits": "not a medical device"}
    model = network_model(every_operator, outputs=("a", "b"), notes=notes)
    assert model == network_model(every_operator, outputs=("a", "b"), notes=notes)
    assert OnnxNetwork(model).session.get_modelmeta().custom_metadata_map == notes


class Toy(nn.Module):
    """Asks for the length of its input, which a careless export takes for a constant."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(4, 2)

    def forward(self, x):
        read = self.map(x.mean((1, 2)))
        return read + torch.ones(2).expand(len(x), -1), read.softmax(-1)


def test_any_module_is_written_for_batches_of_any_size_without_traces_of_the_machine():
    toy = Toy().eval()
    model = module_model(toy, torch.rand(2, 3, 5, 4), outputs=("sum", "share"), notes={"a": "b"})
    for count in (1, 7):
        x = torch.rand(count, 3, 5, 4)
        for found, wanted in zip(OnnxNetwork(model)(x), toy(x), strict=True):
            torch.testing.assert_close(found, wanted)
    for trace in (b".py", b"site-packages", __file__.encode()):
        assert trace not in model
    assert model == module_model(toy, torch.rand(2, 3, 5, 4), outputs=("sum", "share"), notes={"a": "b"})


class Stubborn(nn.Module):
    def forward(self, x):
        return (x.reshape(2, -1),)


def test_a_module_that_fixes_its_batch_is_refused_in_one_line():
    with pytest.raises(SemeiaError, match="use the engine torch") as caught:
        module_model(Stubborn(), torch.rand(2, 3, 5, 5), outputs=("x",))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", onnx_graph.PACKAGES)
def test_a_missing_package_is_named_with_what_to_do(package, monkeypatch, every_operator):
    calls = {
        "onnx": partial(network_model, every_operator, outputs=("a", "b")),
        "onnxscript": partial(module_model, Toy(), torch.rand(2, 3, 5, 4), outputs=("sum", "share")),
        "onnxruntime": partial(OnnxNetwork, network_model(every_operator, outputs=("a", "b"))),
    }
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SemeiaError, match=rf"{package} is missing; pip install 'semeia\[onnx\]'"):
        calls[package]()


def test_bytes_that_are_no_model_are_refused_in_one_line():
    with pytest.raises(SemeiaError, match="cannot load the model") as caught:
        OnnxNetwork(b"not a model")
    assert "\n" not in str(caught.value)


def test_threads_are_those_of_torch(every_operator):
    network = OnnxNetwork(network_model(every_operator, outputs=("a", "b")))
    assert network.session.get_session_options().intra_op_num_threads == torch.get_num_threads()
