import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from semeia.cli import export

SOURCE = str(Path(export.__file__).parents[2])


@pytest.fixture
def calls(monkeypatch):
    """Stands in for the export itself; collects what it is asked for."""
    done = []
    library = ModuleType("semeia.predict.onnx")
    library.export_qface = lambda weights, out: done.append((weights, out)) or Path(out)
    library.export_finder = lambda out: done.append(out) or (Path("a.onnx"), Path("b.onnx"))
    monkeypatch.setitem(sys.modules, "semeia.predict.onnx", library)
    return done


def test_qface_is_written_from_the_bundled_weights_or_a_checkpoint(calls, capsys):
    assert export.run(["qface", "--out", "x.onnx"]) == 0
    assert export.run(["qface", "--out", "y.onnx", "--weights", "runs/mine"]) == 0
    assert calls == [("qface", "x.onnx"), ("runs/mine", "y.onnx")]
    assert capsys.readouterr().out == "x.onnx\ny.onnx\n"


def test_the_finder_prints_both_files(calls, capsys):
    assert export.run(["finder", "--out", "x.onnx"]) == 0
    assert capsys.readouterr().out == "a.onnx\nb.onnx\n"


@pytest.mark.parametrize("words", [["qface"], ["iris", "--out", "x.onnx"], ["finder", "--out", "x", "--weights", "y"]])
def test_wrong_use_is_refused(calls, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        export.run(words)
    assert not calls


def test_help_loads_nothing_heavy():
    code = f"""
import sys
sys.path.insert(0, {SOURCE!r})
from semeia.cli import export
try:
    export.run(["--help"])
except SystemExit:
    print(sorted({{"torch", "numpy", "onnx", "onnxruntime"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
