"""Configurations of models and recipes as plain fields."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any


def flat(config: Any) -> dict[str, Any]:
    """Fields of a configuration and of the configurations in it, by dotted name."""
    found: dict[str, Any] = {}
    for each in fields(config):
        value = getattr(config, each.name)
        inner = flat(value) if is_dataclass(value) else {"": value}
        found |= {f"{each.name}.{name}" if name else each.name: item for name, item in inner.items()}
    return found
