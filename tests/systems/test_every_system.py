"""Properties that every published system has."""

import ast
import re
from pathlib import Path

import pytest

import semeia.systems

FOLDER = Path(semeia.systems.__path__[0])
FILES = sorted(p for p in [*FOLDER.glob("*.py"), *FOLDER.glob("*/model.py")] if p.name != "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_every_config_field_names_its_source(file):
    tree = ast.parse(file.read_text())
    configs = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Config"]
    assert configs, f"{file.name} has no Config"
    for config in configs:
        body = config.body
        for field, after in zip(body, [*body[1:], None], strict=True):
            if not isinstance(field, ast.AnnAssign):
                continue
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            name = f"{file.name}: {ast.unparse(field.target)}"
            assert re.search(r"\[[^\]]+\]$", text.strip()), f"{name} has no [source]"


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_every_system_file_names_its_paper_and_what_is_known(file):
    words = ast.get_docstring(ast.parse(file.read_text())) or ""
    for heading in ("Paper", "Idea", "Flow", "Known", "Shapes"):
        assert heading in words, f"{file.name} does not say: {heading}"
