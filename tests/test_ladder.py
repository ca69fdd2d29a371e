"""Imports only point down, and CI notices when one does not."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def lint(root):
    """Run the import contracts on the package below ``root``; return the exit status and what was printed."""
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache", "--config", str(ROOT / "pyproject.toml")],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "weights"))
    return tmp_path


def test_the_contracts_are_kept(copy):
    status, printed = lint(copy)
    assert status == 0, printed


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("ops/faces.py", "from semeia.systems import qface"),
        ("nn/stages.py", "import semeia.data.samples"),
        ("systems/qface.py", "from semeia.train import loop"),
    ],
)
def test_a_planted_upward_import_fails(copy, file, line):
    planted = copy / "src" / "semeia" / file
    text = planted.read_text()
    planted.write_text(
        text.replace("from __future__ import annotations\n", f"from __future__ import annotations\n{line}\n")
    )
    status, printed = lint(copy)
    assert status != 0
    assert "BROKEN" in printed


def test_no_folder_or_file_has_a_name_that_says_nothing():
    empty = {"utils", "common", "helpers", "misc", "base", "core", "tools"}
    named = {p.stem for p in (ROOT / "src").rglob("*") if p.suffix == ".py" or p.is_dir()}
    assert not named & empty


def test_files_stay_readable():
    for file in (ROOT / "src").rglob("*.py"):
        limit = 600 if file.parent.name == "systems" else 500
        lines = file.read_text().count("\n")
        assert lines <= limit, f"{file.name} has {lines} lines"


def test_no_document_names_a_machine():
    path = re.compile(r"(?<![\w.])/(?:home|root|work|mnt|tmp)/\w")
    for file in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.py")]:
        assert not path.search(file.read_text()), f"{file.relative_to(ROOT)} names a path of one machine"
