"""Tensors in files."""

import pytest
import torch
from torch import nn

from semeia.files import write_whole
from semeia.nn.weight_files import assign, read_tensors, write_tensors
from semeia.records import SemeiaError


def test_what_is_written_is_read(tmp_path):
    tensors = {"a": torch.arange(6).view(2, 3).T, "b": torch.tensor(1.5), "c": torch.zeros(0, 4)}
    write_tensors(tmp_path / "x.safetensors", tensors)
    for name, tensor in read_tensors(tmp_path / "x.safetensors").items():
        assert torch.equal(tensor, tensors[name])
        assert tensor.dtype == tensors[name].dtype


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    one = torch.randn(3)
    write_tensors(tmp_path / "x.safetensors", {"a": one, "b": one})
    assert torch.equal(read_tensors(tmp_path / "x.safetensors")["b"], one)


def test_half_precision_is_widened():
    net = nn.Linear(2, 1)
    assign(net, {"weight": torch.ones(1, 2).half(), "bias": torch.zeros(1).half()}, source="x")
    assert net.weight.dtype == torch.float32
    assert net(torch.ones(1, 2)).item() == 2


@pytest.mark.parametrize(("change", "words"), [
    ({"bias": None}, r"tensor 'bias' is missing, expected float32 of shape \(1,\)"),
    ({"extra": torch.zeros(7)}, r"tensor 'extra' \(float32 of shape \(7,\)\) is not part"),
    ({"weight": torch.zeros(2, 2)}, r"'weight': expected float32 of shape \(1, 2\), found float32 of shape \(2, 2\)"),
    ({"weight": torch.zeros(1, 2).long()}, r"expected float32 of shape \(1, 2\), found int64 of shape \(1, 2\)"),
    ({"bias": None, "extra": torch.zeros(7)}, "and 1 more"),
])  # fmt: skip
def test_a_tensor_that_does_not_fit_is_named_and_nothing_is_changed(change, words):
    net = nn.Linear(2, 1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    tensors = {name: t for name, t in ({**net.state_dict()} | change).items() if t is not None}
    with pytest.raises(SemeiaError, match=f"net.safetensors: .*{words}"):
        assign(net, tensors, source="net.safetensors")
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", "half"])
def test_a_file_that_is_not_whole_is_named(tmp_path, content):
    file = tmp_path / "x.safetensors"
    write_tensors(file, {"a": torch.randn(100)})
    file.write_bytes(file.read_bytes()[:200] if content == "half" else content)
    with pytest.raises(SemeiaError, match=r"x\.safetensors: not a complete safetensors file"):
        read_tensors(file)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SemeiaError, match=r"x\.safetensors: .*No such file"):
        read_tensors(tmp_path / "x.safetensors")


def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    write_whole(tmp_path / "x", b"old")
    with pytest.raises(SemeiaError, match="none/x: cannot be written"):
        write_whole(tmp_path / "none" / "x", b"new")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SemeiaError, match=r"x: cannot be written \(no space left on device\)"):
        write_whole(tmp_path / "x", b"new")
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [("x", b"old")]
