"""What each paper claims: one file a system, declared as arms over its recipe; results are in ``results/``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from semeia.ledger.claims import Ledger

SYSTEMS = tuple(sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py")))
"""Short names of the systems that have a ledger."""

RESULTS = Path(__file__).parent / "results"
"""Folder of the committed results, a file a system."""


def ledger(system: str) -> Ledger:
    """The ledger of a system."""
    found: Ledger = import_module(f"semeia.claims.{system}").LEDGER
    return found
