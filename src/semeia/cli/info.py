"""``semeia info``: what runs here, for people, scripts and bug reports."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "pillow", "pandas", "pyarrow", "numba", "mitsuba")
WEIGHTS = Path(__file__).parents[1] / "weights"


def run(arguments: list[str]) -> int:
    """Print versions, machine, weights and cache; see ``semeia info --help``."""
    parser = argparse.ArgumentParser(prog="semeia info", description="Versions, machine, bundled weights and cache.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(arguments)

    found = gather()
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    versions = ", ".join(f"{name} {number or 'absent'}" for name, number in found["packages"].items())
    machine = found["machine"]
    print(f"semeia   {found['semeia']}, Python {found['python']}\npackages {versions}")
    print(f"machine  {machine['system']}, {machine['cores']} cores, {', '.join(machine['gpus']) or 'no NVIDIA GPU'}")
    weights = [f"{entry['name']} ({entry['megabytes']} MB)" for entry in found["weights"]]
    print(f"weights  {', '.join(weights) or 'none bundled'}")
    print(f"cache    {found['cache']['folder']}")
    for name, cached in found["cache"]["parts"].items():
        print(f"         {name}: {'cached' if cached else 'not fetched yet'}")
    return 0


def gather() -> dict[str, Any]:
    """All of it as plain values. Imports none of the packages it names: that would take seconds."""
    from semeia import __version__, parts

    return {
        "semeia": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "gpus": _gpus()},
        "weights": [
            {"name": file.parent.name, "megabytes": round(file.stat().st_size / 1e6, 1)}
            for file in sorted(WEIGHTS.glob("*/model.safetensors"))
        ],
        "cache": {
            "folder": str(parts.home()),
            "parts": {part.name: path is not None for part, path in parts.status()},
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _gpus() -> list[str]:
    """Names of NVIDIA GPUs, from the driver's own tool where there is one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    asked = [tool, "--query-gpu=name", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.split("\n")[:-1] if answer.returncode == 0 else []
