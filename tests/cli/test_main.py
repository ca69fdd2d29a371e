import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import semeia
from semeia.cli import main as cli
from semeia.records import SemeiaError

HEAVY = ("torch", "timm", "numpy", "pandas", "pyarrow", "PIL", "rich", "jsonargparse", "accelerate", "mitsuba")
SOURCE = str(Path(semeia.__path__[0]).parent)


def fresh(code):
    """What a new interpreter prints."""
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {SOURCE!r}); {code}"]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("code", ["import semeia", "import semeia.cli.main"])
def test_importing_loads_nothing_heavy(code):
    assert fresh(f"{code}; print([name for name in {HEAVY} if name in sys.modules])") == "[]\n"


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["analyze", "--help"], ["train", "--help"], ["make", "-h"], ["concept", "--help"]],
)
def test_help_loads_nothing_heavy(words):
    code = f"""
import semeia.cli.main as cli
try:
    cli.main({words})
except SystemExit as end:
    assert end.code == 0
print([name for name in {HEAVY} if name in sys.modules])"""
    assert fresh("\n" + code).splitlines()[-1] == "[]"


def test_info_and_systems_load_no_network():
    for verb in ("info", "systems"):
        code = f"\nimport semeia.cli.main as cli\ncli.main([{verb!r}])\nprint('torch' in sys.modules)"
        assert fresh(code).splitlines()[-1] == "False"


def test_help_lists_every_verb_with_what_it_does(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert all(f"  {verb} " in out and words in out for verb, words in cli.VERBS.items())


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    assert f"semeia {verb}" in capsys.readouterr().out


def test_no_verb_is_wrong_use_and_shows_the_verbs(capsys):
    assert cli.main([]) == 2
    assert "analyze" in capsys.readouterr().out


def test_an_unknown_verb_is_wrong_use(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["analyse", "photo.jpg"])
    assert "analyze" in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"semeia {semeia.__version__}\n"


def raising(error):
    def run(arguments):
        raise error

    return lambda name: SimpleNamespace(run=run)


def test_an_error_for_people_is_one_line_without_traceback(monkeypatch, capsys):
    monkeypatch.setattr(cli, "import_module", raising(SemeiaError("photo.jpg: expected this, found that")))
    assert cli.main(["info"]) == 2
    assert capsys.readouterr() == ("", "semeia: photo.jpg: expected this, found that\n")


def test_debug_shows_where_an_error_arose(monkeypatch):
    monkeypatch.setattr(cli, "import_module", raising(SemeiaError("photo.jpg: expected this, found that")))
    with pytest.raises(SemeiaError):
        cli.main(["info", "--debug"])
    with pytest.raises(SemeiaError):
        cli.main(["--debug", "info"])


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    monkeypatch.setattr(cli, "import_module", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["info"])


def test_an_interrupt_is_quiet(monkeypatch, capsys):
    monkeypatch.setattr(cli, "import_module", raising(KeyboardInterrupt()))
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "semeia: interrupted\n"


def test_a_reader_that_leaves_a_pipe_is_no_error():
    code = f"import sys; sys.path.insert(0, {SOURCE!r}); from semeia.cli.main import main; sys.exit(main(['info']))"
    run = f'{sys.executable} -c "{code}" | true'
    assert subprocess.run(["sh", "-c", run], capture_output=True, text=True, check=True).stderr == ""
