"""The expression network computes what Keras and OpenCV computed, from the part's file and from any other weights."""

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from semeia import parts
from semeia.nn import mini_xception
from semeia.nn.mini_xception import CLASSES, EXPRESSION_OF, MiniXception, network_input
from semeia.ops.faces import crop
from semeia.records import EXPRESSIONS, SemeiaError

PICTURES = ((3, 5), (7, 2), (1, 9), (12, 12))
"""Waves along x and y of the pictures that Keras was asked about."""

KERAS = [
    [3.80828567e-02, 1.57563470e-03, 1.22043975e-02, 6.86953962e-01, 4.20925282e-02, 2.68281507e-03, 2.16407791e-01],
    [2.94119935e-03, 2.27010842e-05, 1.39709311e-02, 7.66829168e-03, 2.98511740e-02, 2.15905886e-02, 9.23955142e-01],
    [3.12539905e-01, 2.12212093e-02, 1.21066002e-02, 7.30215311e-02, 5.12852482e-02, 7.83383474e-02, 4.51487154e-01],
    [7.36708999e-01, 1.84836995e-06, 3.14396918e-02, 1.07941516e-01, 7.16531500e-02, 4.01253477e-02, 1.21293189e-02],
]
"""Probabilities from Keras 3.15.1 on TensorFlow 2.21.0, which loaded the part's file."""

OPENCV = {
    (48, 48): 3725170745,
    (64, 64): 3810851592,
    (96, 96): 2725899520,
    (128, 128): 681016924,
    (144, 100): 918271305,
    (5, 3): 45428221,
    (201, 333): 3936888487,
}
"""CRC-32 of two pictures of noise, by their rows and columns, that OpenCV 4.14 and 5.0 turned to grey and resized."""


@pytest.fixture(scope="module")
def network():
    """The network with the part's weights; skips where the part cannot be had."""
    torch.set_num_threads(1)
    try:
        return MiniXception.load()
    except SemeiaError as error:
        pytest.skip(str(error))


def pictures():
    """The pictures (4, 1, 64, 64) that Keras was asked about."""
    y, x = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64), indexing="ij")
    waves = [np.cos(a * x + b * y) * np.exp(-(x * x + y * y)) for a, b in PICTURES]
    return torch.from_numpy(np.array(waves, np.float32)[:, None])


def noise(rows, columns):
    """Two pictures (2, rows, columns, 3) of the same noise everywhere."""
    numbers = np.arange(2 * rows * columns * 3, dtype=np.int64) * 2654435761
    return (numbers >> 13 & 255).astype(np.uint8).reshape(2, rows, columns, 3)


def random_arrays():
    """Arrays of a file with weights by chance."""
    chance = np.random.default_rng(0)
    arrays = {}

    def add(layer, **shapes):
        for name, shape in shapes.items():
            fan = np.prod(shape[:-1]) if "point" in name or name == "kernel" else 9
            values = chance.normal(0, fan**-0.5, shape) if len(shape) == 4 else chance.uniform(0.5, 1.5, shape)
            arrays[f"{layer}/{layer}_1/{name}:0"] = values.astype(np.float32)

    def add_norm(number, width):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        add(f"batch_normalization_{number}", **dict.fromkeys(names, (width,)))

    add("conv2d_1", kernel=(3, 3, 1, 8))
    add("conv2d_2", kernel=(3, 3, 8, 8))
    add_norm(1, 8)
    add_norm(2, 8)
    for i, (c, k) in enumerate(((8, 16), (16, 32), (32, 64), (64, 128))):
        add(f"separable_conv2d_{2 * i + 1}", depthwise_kernel=(3, 3, c, 1), pointwise_kernel=(1, 1, c, k))
        add(f"separable_conv2d_{2 * i + 2}", depthwise_kernel=(3, 3, k, 1), pointwise_kernel=(1, 1, k, k))
        add(f"conv2d_{i + 3}", kernel=(1, 1, c, k))
        for j in range(3):
            add_norm(3 * i + 3 + j, k)
    add("conv2d_7", kernel=(3, 3, 128, 7), bias=(7,))
    return arrays


class KerasByHand:
    """The layers of the file one after another in NumPy, maps as (H, W, C), normalisations not folded."""

    def __init__(self, arrays):
        self.arrays = arrays

    def weights(self, layer, *names):
        return [self.arrays[f"{layer}/{layer}_1/{name}:0"].astype(float) for name in names]

    def normalised(self, x, number):
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        gamma, beta, mean, variance = self.weights(f"batch_normalization_{number}", *names)
        return (x - mean) / np.sqrt(variance + 0.001) * gamma + beta

    def separable(self, x, number):
        depthwise, pointwise = self.weights(f"separable_conv2d_{number}", "depthwise_kernel", "pointwise_kernel")
        return (
            np.einsum("hwcij,ijc->hwc", windows(np.pad(x, ((1, 1), (1, 1), (0, 0)))), depthwise[..., 0])
            @ pointwise[0, 0]
        )

    def logits(self, x):
        for number in (1, 2):
            (kernel,) = self.weights(f"conv2d_{number}", "kernel")
            x = np.maximum(self.normalised(np.einsum("hwcij,ijck->hwk", windows(x), kernel), number), 0)
        for i in range(4):
            beside = self.normalised(x[::2, ::2] @ self.weights(f"conv2d_{i + 3}", "kernel")[0][0, 0], 3 * i + 3)
            y = np.maximum(self.normalised(self.separable(x, 2 * i + 1), 3 * i + 4), 0)
            y = self.normalised(self.separable(y, 2 * i + 2), 3 * i + 5)
            before = len(x) % 2  # TensorFlow's SAME: the odd pixel goes to the end
            padded = np.pad(y, ((before, 1), (before, 1), (0, 0)), constant_values=-np.inf)
            x = windows(padded)[::2, ::2].max((3, 4)) + beside
        kernel, bias = self.weights("conv2d_7", "kernel", "bias")
        maps = np.einsum("hwcij,ijck->hwk", windows(np.pad(x, ((1, 1), (1, 1), (0, 0)))), kernel) + bias
        return maps.mean((0, 1))


def windows(x):
    """All 3 x 3 windows (H - 2, W - 2, C, 3, 3) of a map (H, W, C)."""
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))


def loaded(monkeypatch, arrays):
    """The network of a file that holds the given arrays."""
    monkeypatch.setattr(mini_xception, "read_arrays", lambda path, group: arrays)
    return MiniXception.load(Path("some.hdf5"))


def test_the_part_gives_the_probabilities_that_keras_gives(network):
    found = network(pictures()).softmax(1)
    torch.testing.assert_close(found, torch.tensor(KERAS), atol=1e-5, rtol=0)


def test_any_weights_give_what_the_layers_give_by_hand(monkeypatch):
    arrays = random_arrays()
    found = loaded(monkeypatch, arrays)(pictures())
    wanted = [KerasByHand(arrays).logits(picture[0, ..., None].numpy().astype(float)) for picture in pictures()]
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-3 * np.std(wanted))


@pytest.mark.parametrize("size", OPENCV)
def test_the_input_is_that_of_opencv_to_the_last_bit(size):
    found = network_input(noise(*size))
    assert found.shape == (2, 1, 64, 64)
    assert found.dtype == torch.float32
    pixels = ((found / 2 + 0.5) * 255).round().to(torch.uint8).numpy()
    assert zlib.crc32(pixels.tobytes()) == OPENCV[size]


def test_black_is_minus_one_and_white_one():
    crops = np.stack([np.zeros((50, 50, 3), np.uint8), np.full((50, 50, 3), 255, np.uint8)])
    black, white = network_input(crops)
    assert (black == -1).all()
    assert (white == 1).all()


def test_tensors_and_arrays_give_the_same_input_and_stay_as_they_were():
    crops = noise(70, 70)
    crops.flags.writeable = False
    found = network_input(crops)
    assert torch.equal(found, network_input(torch.tensor(crops)))
    assert np.array_equal(crops, noise(70, 70))


def test_a_smile_in_a_photo_is_happy(network):
    data = pytest.importorskip("skimage.data")
    whole = crop(data.astronaut(), np.array([[0.6, 0, -88], [0, 0.6, -24]]), size=96)
    assert network(network_input(whole[None])).softmax(1)[0, CLASSES.index("happy")] > 0.9


def test_every_class_has_its_name_in_this_library():
    assert list(EXPRESSION_OF) == list(CLASSES)
    assert set(EXPRESSION_OF.values()) == set(EXPRESSIONS) - {"contempt"}


def test_training_changes_nothing(monkeypatch):
    network = loaded(monkeypatch, random_arrays())
    before = network.eval()(pictures())
    assert torch.equal(network.train()(pictures()), before)
    assert not any(p.requires_grad for p in network.parameters())
    assert not list(network.buffers())


def test_the_gradient_reaches_the_picture(monkeypatch):
    picture = pictures().requires_grad_()
    loaded(monkeypatch, random_arrays())(picture).sum().backward()
    assert picture.grad.abs().sum() > 0


@pytest.mark.parametrize(("name", "value", "words"), [
    ("conv2d_1/conv2d_1_1/kernel:0", None, "of shape (3, 3, 1, 8), found none"),
    ("conv2d_7/conv2d_7_1/bias:0", np.zeros(8, np.float32), "of shape (7,), found shape (8,)"),
    ("batch_normalization_5/batch_normalization_5_1/gamma:0", np.zeros(1, np.float32), "(16,), found shape (1,)"),
    ("conv2d_2/conv2d_2_1/kernel:0", np.full((3, 3, 8, 8), np.nan, np.float32), "others in 'conv2d_2'"),
    ("batch_normalization_1/batch_normalization_1_1/moving_variance:0", np.full(8, -1, np.float32), "in 'conv2d_1'"),
])  # fmt: skip
def test_weights_that_are_not_those_of_the_network_are_refused(monkeypatch, name, value, words):
    arrays = random_arrays() | {name: value}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    with pytest.raises(SemeiaError, match=re.escape(words)) as caught:
        loaded(monkeypatch, arrays)
    assert str(caught.value).startswith("some.hdf5: expected ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.hdf5").write_bytes(b"no weights")
    with pytest.raises(SemeiaError, match=r"x\.hdf5: expected an HDF5 file"):
        MiniXception.load(tmp_path / "x.hdf5")


def test_the_part_is_fetched_where_no_file_is_named(monkeypatch):
    def refuse(name):
        raise SemeiaError(f"asked for {name}")

    monkeypatch.setattr(parts, "fetch", refuse)
    with pytest.raises(SemeiaError, match="asked for expression-cnn"):
        MiniXception.load()
