"""A trained model as a folder: ``config.json`` says what it is, ``model.safetensors`` what it learned, ``card.md`` how.

``config.json`` is ``{"semeia": version, "system": name, "config": {...}, "weights_sha256": ...}``. It is written last,
so that a folder whose writing was cut short is never taken for a model.
"""

from __future__ import annotations

import hashlib
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import Field, asdict, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch import Tensor, nn

import semeia
from semeia.files import write_whole
from semeia.nn.weight_files import assign, compare, read_tensors, write_tensors
from semeia.records import SemeiaError

C = TypeVar("C")
M = TypeVar("M", bound=nn.Module)

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.md"
_KEYS = ("semeia", "system", "config", "weights_sha256")


def save(
    folder: str | Path, *, system: str, config: Any, state: Mapping[str, Tensor], card: str, half: bool = True
) -> None:
    """Write a checkpoint; what else lies in ``folder`` stays.

    Args:
        folder: Made if it is not there.
        system: Short name of the published system.
        config: The frozen dataclass that the model is built from.
        state: ``model.state_dict()``.
        card: What the model was trained on and what was measured, in Markdown.
        half: Store floating-point tensors in fp16, but for those with values beyond its range.

    Raises:
        SemeiaError: The folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SemeiaError(f"{folder}: cannot be made a folder for a checkpoint ({error.strerror})") from error
    write_tensors(folder / WEIGHTS, {name: _halved(t) for name, t in state.items()} if half else state)
    write_whole(folder / CARD, card.encode())
    content = {
        "semeia": semeia.__version__,
        "system": system,
        "config": asdict(config),
        "weights_sha256": _sha256(folder / WEIGHTS),
    }
    write_whole(folder / CONFIG, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def load(
    weights: str | Path,
    *,
    system: str,
    kind: type[C],
    build: Callable[[C], M],
    later: Mapping[str, Any] | None = None,
) -> tuple[M, str]:
    """Build a system and load bundled weights by name, or a checkpoint folder by path.

    Args:
        weights: Name or folder.
        system: Short name that the checkpoint must carry.
        kind: The system's ``Config``.
        build: From a ``Config`` to the module.
        later: Fields that ``Config`` did not always have, with what weights without them are.

    Returns:
        The module in evaluation mode, and the weights' name.

    Raises:
        SemeiaError: They do not exist or do not fit.
    """
    folder = Path(weights) if Path(weights).is_dir() else bundled(str(weights))
    module = build(load_config(folder, kind, system=system, later=later))
    load_state(folder, module)
    return module.eval(), folder.resolve().name


def system_of(weights: str | Path) -> str:
    """Short name of the system that bundled weights or a checkpoint folder belong to.

    Raises:
        SemeiaError: They do not exist.
    """
    folder = Path(weights) if Path(weights).is_dir() else bundled(str(weights))
    return str(_read(folder / CONFIG)["system"])


def load_config(folder: str | Path, kind: type[C], *, system: str, later: Mapping[str, Any] | None = None) -> C:
    """Read the configuration of a checkpoint.

    Args:
        folder: The checkpoint.
        kind: The system's ``Config``.
        system: Short name that the checkpoint must carry.
        later: As for ``load``.

    Raises:
        SemeiaError: No checkpoint, one of another system, or a configuration with a missing, unknown or wrong value.
    """
    file = Path(folder) / CONFIG
    content = _read(file)
    if content["system"] != system:
        raise SemeiaError(f"{file}: expected a checkpoint of {system!r}, found one of {content['system']!r}")
    return from_plain(kind, {**(later or {}), **content["config"]}, where=f"{file}: config")


def load_state(folder: str | Path, module: nn.Module) -> None:
    """Fill ``module`` with the weights of a checkpoint; fp16 is widened to the module's own precision.

    Raises:
        SemeiaError: The weights are missing, damaged, changed since they were saved, or differ from ``module`` in a
            name, a shape or a kind; ``module`` is unchanged.
    """
    file = Path(folder) / WEIGHTS
    expected = _read(file.with_name(CONFIG))["weights_sha256"]
    tensors = read_tensors(file)
    # Before the hash, so that a tensor that is wrong is named.
    compare(module, tensors, source=file)
    if _sha256(file) != expected:
        raise SemeiaError(
            f"{file}: not the weights that {CONFIG} was saved with (SHA-256 differs); copy the whole folder again"
        )
    assign(module, tensors, source=file)


def bundled(name: str) -> Path:
    """The folder of the weights that come with the package.

    Raises:
        SemeiaError: There are none of that name.
    """
    weights = Path(str(files("semeia") / "weights"))
    if not (weights / name / CONFIG).is_file():
        names = sorted(file.parent.name for file in weights.glob(f"*/{CONFIG}"))
        raise SemeiaError(
            f"weights {name!r}: neither a checkpoint folder nor bundled; bundled are: {', '.join(names) or 'none'}"
        )
    return weights / name


def from_plain(kind: Any, value: Any, *, where: str) -> Any:
    """Make a value of type ``kind`` out of what JSON or YAML gives.

    Args:
        kind: A dataclass, ``bool``, ``int``, ``float``, ``str``, ``Literal``, ``tuple``, ``dict``, or a union.
        value: Plain dicts, lists, numbers and strings.
        where: Begins the error.

    Raises:
        SemeiaError: A field is missing or unknown, or a value is not of its type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind) and isinstance(value, Mapping):
        return _record(kind, value, where=where)
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, where=where)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = (arguments[0],) * len(value) if arguments[-1] is ... else arguments
        if len(kinds) == len(value):
            pairs = enumerate(zip(kinds, value, strict=True))
            return tuple(from_plain(k, item, where=f"{where}[{i}]") for i, (k, item) in pairs)
    if origin is dict and isinstance(value, Mapping):
        return {key: from_plain(arguments[1], item, where=f"{where}[{key!r}]") for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    # ``type``, not ``isinstance``: True is an ``int``.
    if (origin is Literal and value in arguments) or type(value) is kind:
        return value
    raise SemeiaError(f"{where}: expected {_spelled(kind)}, found {value!r}")


def _record(kind: Any, value: Mapping[str, Any], *, where: str) -> Any:
    known: dict[str, Field] = {field.name: field for field in fields(kind)}
    unknown = [name for name in value if name not in known]
    # A field without a value is refused even where it has a default: a default that moved would change the model.
    missing = [name for name in known if name not in value]
    for words, names in (("unknown", unknown), ("missing", missing)):
        if names:
            raise SemeiaError(f"{where}: {words} {', '.join(names)}; expected exactly {', '.join(known)}")
    hints = get_type_hints(kind)
    return kind(**{name: from_plain(hints[name], item, where=f"{where}.{name}") for name, item in value.items()})


def _one_of(kinds: tuple[Any, ...], value: Any, *, where: str) -> Any:
    for kind in kinds:
        try:
            return from_plain(kind, value, where=where)
        except SemeiaError:
            continue
    raise SemeiaError(f"{where}: expected {' or '.join(_spelled(kind) for kind in kinds)}, found {value!r}")


def _spelled(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(repr(choice) for choice in get_args(kind))
    if kind is types.NoneType:
        return "null"
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SemeiaError(
            f"{file.parent}: not a checkpoint folder, {CONFIG} cannot be read ({error.strerror})"
        ) from error
    except ValueError as error:
        raise SemeiaError(f"{file}: not valid JSON ({error})") from error
    missing = [key for key in _KEYS if not isinstance(content, dict) or key not in content]
    if missing:
        raise SemeiaError(f"{file}: expected the keys {', '.join(_KEYS)}; missing {', '.join(missing)}")
    return content


def _halved(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or (tensor.abs() > torch.finfo(torch.float16).max).any():
        return tensor
    return tensor.half()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
