"""``semeia claims`` prints ledgers and passes its flags on."""

import sys
from pathlib import Path

import pytest

from semeia import claims
from semeia.cli.main import main
from semeia.ledger import running


@pytest.fixture
def runs(monkeypatch):
    """What would have been run."""
    calls = []
    monkeypatch.setattr(running, "run", lambda ledger, **settings: calls.append((ledger.system, settings)))
    monkeypatch.setattr(running, "checkout", lambda: None)
    return calls


def test_a_ledger_is_printed(tmp_path, capsys):
    assert main(["claims", "qface", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Q1.units  Fused depths read action units better than the last layer" in out
    assert "KNOWN: the abstract says" in out
    assert "full - last layer, action units, mean F1" in out
    assert "not worse by 0.02" in out


def test_without_a_system_all_are_printed(tmp_path, capsys):
    assert main(["claims", "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert all(claims.ledger(system).title in out for system in claims.SYSTEMS)


def test_a_page_is_written(tmp_path):
    assert main(["claims", "--results", str(tmp_path), "--page", str(tmp_path / "claims.md")]) == 0
    assert (tmp_path / "claims.md").read_text().startswith("# Claims\n")


def test_printing_loads_no_network(tmp_path):
    import subprocess

    code = (
        "import sys; from semeia.cli.main import main; "
        f"main(['claims', '--results', {str(tmp_path)!r}]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_flags_are_passed_on(runs, tmp_path, capsys):
    out = str(tmp_path / "runs")
    words = ["claims", "qface", "--run", "small", "--data", "a", "b", "--only", "Q1", "Q2", "--seeds", "3", "4"]
    assert main([*words, "--out", out, "--anew"]) == 0
    ((system, settings),) = runs
    assert system == "qface"
    assert settings.pop("tell")
    assert settings == {
        "scale": "small", "data": ["a", "b"], "seeds": [3, 4], "only": ["Q1", "Q2"], "anew": True, "out": out,
        "results": Path(out) / "results",
    }  # fmt: skip


def test_in_a_checkout_results_stand_beside_the_claims_but_for_smoke_runs(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(running, "checkout", lambda: tmp_path)
    monkeypatch.setattr(claims, "RESULTS", tmp_path / "kept")
    words = ["claims", "qface", "--data", "a", "--out", str(tmp_path / "runs"), "--run"]
    assert main([*words, "smoke"]) == 0
    assert not (tmp_path / "docs" / "claims.md").exists()
    assert main([*words, "small"]) == 0
    assert main([*words, "small", "--results", str(tmp_path / "mine")]) == 0
    where = [settings["results"].relative_to(tmp_path) for _, settings in runs]
    assert where == [Path("runs/results"), Path("kept"), Path("mine")]
    assert (tmp_path / "docs" / "claims.md").is_file()


def test_an_unknown_system_is_one_line(capsys):
    assert main(["claims", "nothing"]) == 2
    known = ", ".join(claims.SYSTEMS)
    assert capsys.readouterr().err == f"semeia: 'nothing' has no claims; systems with claims: {known}\n"


@pytest.mark.parametrize("words", [["--run", "small"], ["qface", "--run", "small"], ["qface", "--run", "huge"]])
def test_a_run_needs_a_system_and_data(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["claims", *words])


def test_a_damaged_results_file_is_one_line(tmp_path, capsys):
    (tmp_path / "qface.json").write_text("{")
    assert main(["claims", "qface", "--results", str(tmp_path)]) == 2
    assert "qface.json: not valid JSON" in capsys.readouterr().err
