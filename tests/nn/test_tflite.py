"""TFLite networks in torch agree with the original runtime."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from semeia import parts
from semeia.nn.tflite import TFLiteGraph, pad_same
from semeia.records import SemeiaError


def part(name):
    """The file of a part; skips where it cannot be had."""
    try:
        return parts.fetch(name, progress=False)
    except SemeiaError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("face-detector", [(1, 2304, 16), (1, 2304, 1)]),
        ("face-mesh", [(1, 1, 1, 1404), (1, 1, 1, 1)]),
        ("iris", [(1, 213), (1, 15)]),
    ],
)
def test_a_network_computes_what_the_original_runtime_computes(name, shapes):
    interpreter_of = pytest.importorskip("ai_edge_litert.interpreter").Interpreter
    path = part(name)
    interpreter = interpreter_of(str(path), num_threads=1)
    interpreter.allocate_tensors()
    entrance = interpreter.get_input_details()[0]
    picture = np.random.default_rng(0).random(entrance["shape"], dtype=np.float32)
    interpreter.set_tensor(entrance["index"], picture)
    interpreter.invoke()
    wanted = [interpreter.get_tensor(exit_["index"]) for exit_ in interpreter.get_output_details()]
    assert [values.shape for values in wanted] == shapes

    graph = TFLiteGraph(path).eval()
    with torch.inference_mode():
        found = graph(torch.from_numpy(picture).permute(0, 3, 1, 2))

    assert graph.input_size == tuple(entrance["shape"][1:3])
    for ours, theirs in zip(found, wanted, strict=True):
        channels_last = ours.permute(0, 2, 3, 1) if ours.ndim == 4 else ours
        np.testing.assert_allclose(channels_last.numpy(), theirs, atol=1e-5 * max(1.0, np.abs(theirs).max()))


def test_a_batch_is_its_pictures_one_by_one():
    graph = TFLiteGraph(part("face-mesh")).eval()
    pictures = torch.rand(3, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = graph(pictures)
        alone = [graph(picture[None]) for picture in pictures]
    for i, values in enumerate(together):
        torch.testing.assert_close(values, torch.cat([outputs[i] for outputs in alone]), atol=1e-3, rtol=1e-5)


def test_weights_are_not_trained():
    assert not any(p.requires_grad for p in TFLiteGraph(part("face-mesh")).parameters())


@pytest.mark.parametrize(
    ("side", "window", "stride", "dilation", "added"),
    [
        (6, 3, 1, 1, (1, 1)),
        (6, 3, 2, 1, (0, 1)),
        (7, 3, 2, 1, (1, 1)),
        (6, 2, 2, 1, (0, 0)),
        (6, 3, 1, 2, (2, 2)),
        (5, 5, 3, 1, (1, 2)),
    ],
)
def test_same_padding_adds_what_tensorflow_adds(side, window, stride, dilation, added):
    x = torch.ones(1, 1, side, side)
    padded = pad_same(x, (window, window), stride=(stride, stride), dilation=(dilation, dilation), value=-1)
    torch.testing.assert_close(padded, F.pad(x, (*added, *added), value=-1))


def test_same_padding_keeps_rows_and_columns_apart():
    padded = pad_same(torch.ones(1, 1, 4, 4), (3, 1), stride=(1, 1))
    assert padded.shape == (1, 1, 6, 4)
