"""All that a training needs to go on, as a folder of safetensors and JSON that is there whole or not at all.

    out/step-00000300/    model.safetensors   ema.safetensors   optimizers.safetensors   state.json

The folder is written under a hidden name and renamed when complete; only then are older ones removed. A process that is
killed at any moment leaves at least one complete folder, and the one with the highest number is the one to go on from.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from semeia.files import write_whole
from semeia.nn.ema import Ema
from semeia.nn.weight_files import assign, read_tensors, write_tensors
from semeia.records import SemeiaError

_COMPLETE = re.compile(r"step-\d{8}")


def latest(out: Path) -> Path | None:
    """The newest complete state below ``out``, if there is any."""
    return max(_states(out), default=None)


def discard(out: Path) -> None:
    """Remove every state below ``out``, and what killed processes left of others."""
    for folder in _states(out):
        _remove(folder)
    for rest in out.glob(".step-*"):
        shutil.rmtree(rest)


def save(
    out: Path,
    *,
    step: int,
    task: nn.Module,
    ema: Ema | None,
    optimizers: Mapping[str, Optimizer],
    facts: dict[str, Any],
) -> Path:
    """Save the state after ``step`` steps and return its folder.

    Args:
        out: Folder of the run.
        step: Steps taken so far.
        task: The module in training.
        ema: Its average, where there is one.
        optimizers: By name; their parameters' state is kept, their options are the recipe's.
        facts: Plain values to be returned by ``load``.

    Raises:
        SemeiaError: The folder cannot be written; the state before it is untouched.
    """
    folder = out / f"step-{step:08d}"
    if folder.is_dir():  # an interrupt right after a save
        return folder
    for rest in out.glob(".step-*"):
        shutil.rmtree(rest)
    part = out / f".{folder.name}.partial"
    part.mkdir()
    tensors, scalars = _pack(optimizers)
    write_tensors(part / "model.safetensors", task.state_dict())
    write_tensors(part / "optimizers.safetensors", tensors)
    if ema is not None:
        write_tensors(part / "ema.safetensors", ema.state_dict())
    content = {**facts, "step": step, "optimizers": scalars}
    write_whole(part / "state.json", json.dumps(content, indent=1).encode())
    part.rename(folder)
    for older in _states(out):
        if older != folder:
            _remove(older)
    return folder


def load(folder: Path, *, task: nn.Module, ema: Ema | None, optimizers: Mapping[str, Optimizer]) -> dict[str, Any]:
    """Restore a state in place and return its facts, with ``step`` among them.

    An average that the state does not have begins at the restored weights.

    Raises:
        SemeiaError: A file is missing or damaged, or belongs to another model.
    """
    file = folder / "state.json"
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise SemeiaError(f"{file}: cannot be read ({error}); remove {folder} to start over") from error
    model = folder / "model.safetensors"
    assign(task, read_tensors(model), source=model)
    if ema is not None:
        average = folder / "ema.safetensors"
        if average.exists():
            assign(ema, read_tensors(average), source=average)
        else:
            ema.restart(task)
    moments = folder / "optimizers.safetensors"
    _unpack(optimizers, read_tensors(moments), facts.pop("optimizers"), source=moments)
    return facts


def _states(out: Path) -> list[Path]:
    return [folder for folder in out.glob("step-*") if _COMPLETE.fullmatch(folder.name)]


def _remove(folder: Path) -> None:
    # Hidden first: half a folder must not look like a state.
    hidden = folder.rename(folder.with_name(f".{folder.name}.removed"))
    shutil.rmtree(hidden)


def _names(optimizer: Optimizer) -> list[str]:
    """A name for each parameter in the order of ``state_dict``: its own where the optimiser knows it."""
    groups = optimizer.state_dict()["param_groups"]
    return [str(name) for group in groups for name in group.get("param_names", group["params"])]


def _pack(optimizers: Mapping[str, Optimizer]) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """The parameters' state: tensors as ``optimizer/parameter/key``, other values below ``optimizer/parameter``."""
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for optimizer_name, optimizer in optimizers.items():
        names = _names(optimizer)
        for index, values in optimizer.state_dict()["state"].items():
            place = f"{optimizer_name}/{names[index]}"
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"{place}/{key}"] = value
                else:
                    scalars.setdefault(place, {})[key] = value
    return tensors, scalars


def _unpack(
    optimizers: Mapping[str, Optimizer], tensors: dict[str, Tensor], scalars: dict[str, dict[str, Any]], *, source: Path
) -> None:
    found: dict[str, dict[str, Any]] = {place: dict(values) for place, values in scalars.items()}
    for name, tensor in tensors.items():
        place, _, key = name.rpartition("/")
        found.setdefault(place, {})[key] = tensor
    for optimizer_name, optimizer in optimizers.items():
        places = [f"{optimizer_name}/{name}" for name in _names(optimizer)]
        state = {index: found.pop(place) for index, place in enumerate(places) if place in found}
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    if found:
        raise SemeiaError(f"{source}: {min(found)!r} is optimised in this state but not in this configuration")
