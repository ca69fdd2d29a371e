"""Networks that read action units alone: which there are, and how their weights are found and loaded."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from semeia import checkpoint
from semeia.records import SemeiaError
from semeia.systems import algrnet, mgrrnet

NETWORKS: dict[str, ModuleType] = {"algrnet": algrnet, "mgrrnet": mgrrnet}
"""Systems that read action units alone."""

BESIDE = "au"
"""Folder of the network that a palsy grader stands on, beside the grader's checkpoint."""


def load_network(weights: str | Path) -> tuple[Any, str]:
    """A network in evaluation mode, and the name of its weights, which say themselves which system they are of.

    Args:
        weights: Bundled weights by name, or a checkpoint folder.

    Raises:
        SemeiaError: The weights do not exist, do not fit, or are of a system that is none of ``NETWORKS``.
    """
    system = checkpoint.system_of(weights)
    if system not in NETWORKS:
        raise SemeiaError(f"{weights}: expected weights of {' or '.join(NETWORKS)}, found those of {system!r}")
    of = NETWORKS[system]
    return checkpoint.load(weights, system=system, kind=of.Config, build=of.build)


def network_of(grader: str | Path) -> str | Path:
    """Weights of the network that a palsy grader stands on: beside its checkpoint, or else the bundled ones."""
    beside = Path(grader).parent / BESIDE
    return beside if Path(grader).is_dir() and beside.is_dir() else "algrnet"
