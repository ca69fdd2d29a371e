"""``semeia annotate``: flags, what is printed, exit status."""

import json

import pytest

from semeia.cli.annotate import run
from semeia.predict import annotate as library
from semeia.predict.annotate_outputs import Agreement, Report
from semeia.predict.vision_endpoint import KEY, Endpoint

REPORT = Report(
    3, {"kept": 2, "no face": 1}, {"hat": 2}, (Agreement("hat", 2, 0.5, True),), {"m h: caption refused": 1},
    (), (), (),
    ("out/webdataset",),
)  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """Stands in for the run; no torch, no Ray."""
    made = []

    def annotate(inputs, out, **how):
        made.append((inputs, out, how))
        how["on_shard"](3, 3, {"kept": 2, "no face": 1})
        return REPORT

    monkeypatch.setattr(library, "annotate", annotate)
    monkeypatch.setenv(KEY, "secret")
    return made


ENDPOINT = ["in", "--out", "out", "--annotator", "http://h/v1", "--model", "m"]


def test_a_run_is_told_in_tables(calls, capsys):
    assert run([*ENDPOINT, "--passes", "2", "--min-side", "48"]) == 0
    printed = capsys.readouterr()
    assert "kept" in printed.out
    assert "left out" in printed.out
    assert "1 x m h: caption refused" in printed.out
    assert "secret" not in printed.out + printed.err
    ((inputs, out, how),) = calls
    assert (inputs, out) == (["in"], "out")
    assert how["annotators"] == [Endpoint("http://h/v1", "m", passes=2, key="secret")]
    assert how["config"].fewest_pixels == 48


def test_json_is_the_report(calls, capsys):
    assert run([*ENDPOINT, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["statuses"] == {"kept": 2, "no face": 1}


@pytest.mark.parametrize(
    ("flags", "said"),
    [(["--shard", "0"], "--shard: expected 1"), (["--min-side", "0"], "--min-side"), (["--formats", "coco"], "coco"),
     (["--tries", "x"], "--tries")],
)  # fmt: skip
def test_wrong_flags_are_refused_before_anything_begins(calls, capsys, flags, said):
    with pytest.raises(SystemExit) as left:
        run([*ENDPOINT, *flags])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert calls == []
