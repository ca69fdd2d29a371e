"""``semeia systems``: the published systems that are in here."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

HERE = Path(__file__).parents[1]


def run(arguments: list[str]) -> int:
    """List the systems; see ``semeia systems --help``."""
    parser = argparse.ArgumentParser(prog="semeia systems", description="Published systems, their papers, their state.")
    parser.parse_args(arguments)
    for name, (title, paper, state) in systems().items():
        print(f"{name:<12} {title}\n{'':<12} {paper}\n{'':<12} {state}")
    return 0


def systems() -> dict[str, tuple[str, str, str]]:
    """Title, paper and state of each system, read from its file's first words without importing it."""
    found = {}
    folder = HERE / "systems"
    files = {file.stem: file for file in folder.glob("*.py")} | {
        file.parent.name: file for file in folder.glob("*/model.py")
    }
    for name, file in sorted(files.items()):
        words = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
        lines = [line.strip() for line in words.splitlines()]
        papers = [line.removeprefix("Paper").strip() for line in lines if line.startswith("Paper ")]
        if papers:
            found[name] = (lines[0], papers[0], _state(name))
    return found


def _state(name: str) -> str:
    weights = HERE / "weights" / name
    if any((weights / file).is_file() for file in ("model.safetensors", "model_index.json")):
        return "answers out of the box with bundled weights"
    if (HERE / "recipes" / f"{name}.py").is_file():
        return f"no bundled weights; semeia train {name}"
    return "no recipe yet"
