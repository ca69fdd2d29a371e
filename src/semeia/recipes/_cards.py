"""What the cards of several recipes say alike."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from semeia.configurations import flat
from semeia.face_sets import data_flags

PLACES = ("init", "prior", "au", "cnn_weights", "segmentor")
"""Fields that name a checkpoint: the last two parts of a path say which."""

ASIDE = ("fit.out", "fit.log_every", "fit.eval_every", "fit.save_every", "cache", "workers", "validate")
"""Fields that no weights depend on."""


def trained_by(config: Any, *, system: str, small: Any, data: str | None = None) -> str:
    """The command that trains these weights from the scale ``small``: the data, and fields that differ and matter.

    Args:
        config: Of the training.
        system: Its short name.
        small: The recipe's configuration at the scale ``small``.
        data: Flags that name the data; those of faces where it is None.
    """
    usual = flat(small)
    flags = {
        name: value
        for name, value in flat(config).items()
        if value != usual[name] and not name.startswith("data.") and name not in ASIDE
    }
    for name in set(PLACES) & flags.keys():
        flags[name] = "/".join(Path(flags[name]).parts[-2:])
    named = [
        f"--{name} {shlex.quote(value if isinstance(value, str) else json.dumps(value))}"
        for name, value in flags.items()
    ]
    data = data_flags(config.data) if data is None else data
    return " ".join([f"semeia train {system}", data, *named, f"--out runs/{system}"])
