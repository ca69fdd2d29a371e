"""A module's tensors in a safetensors file: written whole or not at all, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from semeia.files import write_whole
from semeia.records import SemeiaError


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any device; those that share memory are written apart.

    Raises:
        SemeiaError: The file cannot be written.
    """
    write_whole(file, save({name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Read all tensors of a file.

    Raises:
        SemeiaError: The file is missing, truncated, or not in the safetensors format.
    """
    try:
        return load(file.read_bytes())
    except OSError as error:
        raise SemeiaError(f"{file}: expected weights here, but the file cannot be read ({error.strerror})") from error
    except SafetensorError as error:
        size = file.stat().st_size
        raise SemeiaError(
            f"{file}: not a complete safetensors file ({size:,} bytes; {error}); copy or download it again"
        ) from error


def compare(module: nn.Module, tensors: Mapping[str, Tensor], *, source: Path) -> None:
    """Check that ``tensors`` have exactly the names, shapes and kinds of ``module.state_dict()``.

    Args:
        module: What the tensors are meant for.
        tensors: Half precision is welcome where the module holds floating-point numbers.
        source: The file that the tensors came from, for the error.

    Raises:
        SemeiaError: A tensor is missing, is one too many, or has another shape or kind.
    """
    wanted = module.state_dict()
    wrong = [f"tensor {n!r} is missing, expected {_kind(t)}" for n, t in wanted.items() if n not in tensors]
    for name, found in sorted(tensors.items()):  # a file gives them in any order
        if name not in wanted:
            wrong.append(f"tensor {name!r} ({_kind(found)}) is not part of this model")
        elif found.shape != wanted[name].shape or found.is_floating_point() != wanted[name].is_floating_point():
            wrong.append(f"tensor {name!r}: expected {_kind(wanted[name])}, found {_kind(found)}")
    if wrong:
        more = f" (and {len(wrong) - 1} more tensors differ)" if len(wrong) > 1 else ""
        raise SemeiaError(f"{source}: {wrong[0]}{more}; use the weights that belong to this configuration")


def assign(module: nn.Module, tensors: Mapping[str, Tensor], *, source: Path) -> None:
    """Put ``tensors`` into ``module``, each into the tensor of its name, in the module's own dtype and device.

    Raises:
        SemeiaError: As ``compare``; ``module`` is unchanged.
    """
    compare(module, tensors, source=source)
    module.load_state_dict(dict(tensors))


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
