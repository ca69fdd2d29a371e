"""A saved state is there whole or not at all, whenever the process that saves it is killed."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from semeia import files
from semeia.nn import weight_files
from semeia.nn.ema import Ema
from semeia.records import SemeiaError
from semeia.train import state


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches SIGKILL."""


def moved(steps):
    """A net, its average and its optimisers after ``steps`` updates."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    optimizers = {
        "a": torch.optim.AdamW([("0.weight", net[0].weight), ("0.bias", net[0].bias)], lr=0.1),
        "b": torch.optim.SGD(net[2].parameters(), lr=0.1, momentum=0.9),
    }
    ema = Ema(net, decay=0.9)
    for _ in range(steps):
        net(torch.randn(4, 2)).square().mean().backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        ema.update(net)
    return {"task": net, "ema": ema, "optimizers": optimizers}


def assert_same(found, expected):
    for name in ("task", "ema"):
        for key, value in expected[name].state_dict().items():
            assert torch.equal(found[name].state_dict()[key], value), key
    for name, optimizer in expected["optimizers"].items():
        for index, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                assert torch.equal(found["optimizers"][name].state_dict()["state"][index][key], value), key


def test_what_is_saved_is_restored(tmp_path):
    expected, found = moved(5), moved(0)
    folder = state.save(tmp_path, step=5, **expected, facts={"result": {"f1": 0.1 + 0.2}})
    assert state.load(folder, **found) == {"step": 5, "result": {"f1": 0.1 + 0.2}}
    assert_same(found, expected)


def test_moments_are_kept_by_the_name_of_their_parameter(tmp_path):
    folder = state.save(tmp_path, step=1, **moved(1), facts={})
    names = set(weight_files.read_tensors(folder / "optimizers.safetensors"))
    assert {"a/0.weight/exp_avg", "a/0.bias/step", "b/0/momentum_buffer"} < names


def test_only_the_newest_state_is_kept(tmp_path):
    for step in (1, 2, 10):
        state.save(tmp_path, step=step, **moved(1), facts={})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000010"]


@pytest.mark.parametrize(("owner", "call"), [
    *[("write", n) for n in range(4)], ("rename", 0), ("rename", 1), ("rmtree", 0),
])  # fmt: skip
@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_killed_at_any_moment_of_saving_a_complete_state_remains(tmp_path, monkeypatch, owner, call, after):
    first, second, third = moved(1), moved(2), moved(3)
    state.save(tmp_path, step=1, **first, facts={})

    calls = []
    place, name = {"write": (files.os, "fsync"), "rename": (Path, "rename"), "rmtree": (shutil, "rmtree")}[owner]
    original = getattr(place, name)

    def killing(*arguments, **named):
        calls.append(arguments)
        if len(calls) - 1 != call:
            return original(*arguments, **named)
        if after:
            original(*arguments, **named)
        raise Killed

    monkeypatch.setattr(place, name, killing)
    with pytest.raises(Killed):
        state.save(tmp_path, step=2, **second, facts={})
    monkeypatch.undo()

    folder = state.latest(tmp_path)
    found = moved(0)
    step = state.load(folder, **found)["step"]
    assert_same(found, {1: first, 2: second}[step])
    # And what was left behind does not stand in the way.
    state.save(tmp_path, step=3, **third, facts={})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_an_average_that_was_not_saved_begins_at_the_weights(tmp_path):
    expected, found = moved(3), moved(0)
    folder = state.save(tmp_path, step=3, **expected | {"ema": None}, facts={})
    state.load(folder, **found)
    assert torch.equal(found["ema"].module[0].weight, expected["task"][0].weight)


def test_a_state_of_another_model_is_refused(tmp_path):
    other = nn.Sequential(nn.Linear(2, 5), nn.BatchNorm1d(5), nn.Linear(5, 1))
    folder = state.save(tmp_path, step=3, **moved(3), facts={})
    with pytest.raises(SemeiaError, match=r"model\.safetensors: tensor '0\.bias': expected .*\(5,\), found .*\(3,\)"):
        state.load(folder, task=other, ema=None, optimizers={})


def test_a_state_with_other_optimised_parameters_is_refused(tmp_path):
    expected = moved(3)
    folder = state.save(tmp_path, step=3, **expected, facts={})
    with pytest.raises(SemeiaError, match=r"'a/0\.bias' is optimised in this state but not"):
        state.load(folder, **moved(0) | {"optimizers": {"b": expected["optimizers"]["b"]}})


@pytest.mark.parametrize("file", ["state.json", "model.safetensors", "optimizers.safetensors"])
def test_a_damaged_file_is_named(tmp_path, file):
    folder = state.save(tmp_path, step=3, **moved(3), facts={})
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(SemeiaError, match=file):
        state.load(folder, **moved(0))


def test_the_state_is_readable_without_this_library(tmp_path):
    folder = state.save(tmp_path, step=3, **moved(3), facts={"note": "x"})
    assert json.loads((folder / "state.json").read_text()) == {"note": "x", "step": 3, "optimizers": {}}
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", *[".safetensors"] * 3]


def test_a_folder_that_cannot_be_written_to_is_named_and_nothing_changes(tmp_path, monkeypatch):
    state.save(tmp_path, step=1, **moved(1), facts={})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SemeiaError, match=r"model\.safetensors: cannot be written \(no space left on device\)"):
        state.save(tmp_path, step=2, **moved(2), facts={})
    monkeypatch.undo()
    assert state.latest(tmp_path).name == "step-00000001"
