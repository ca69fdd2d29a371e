"""``semeia analyze clip.mp4``, with a stand-in for the reading."""

import sys
from types import ModuleType

import pytest

from semeia.cli.main import main
from semeia.media.clip_tables import TableSummary, TrackSummary

FACE = TrackSummary(1, 0.0, 3.96, 90, "happiness", 0.9, {"AU12": 3.25, "AU04": 0.2}, {"AU12": 0.5, "AU04": 0.0})


class Reading:
    """What ``analyze_clip`` answers."""

    file, weights, resumed, damage, written = "clip.mp4", "qface", 0, None, ("clip.csv",)
    table = TableSummary(100, 90, 3.96, (FACE,))


class Library(ModuleType):
    """Stands in for ``semeia.predict.clips``."""

    ClipReading = Reading
    asked = None
    fails = None

    def analyze_clip(self, path, out, *, on_frame, **how):
        self.asked = {"path": path, "out": out, **how}
        on_frame(1, 100)
        if self.fails is not None:
            raise self.fails
        return self.ClipReading()


@pytest.fixture
def library(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delitem(sys.modules, "semeia.cli.clips", raising=False)
    stand_in = Library("semeia.predict.clips")
    monkeypatch.setitem(sys.modules, "semeia.predict.clips", stand_in)
    yield stand_in
    sys.modules.pop("semeia.cli.clips", None)


def test_a_clip_is_answered_with_a_row_for_each_face(library, capsys):
    assert main(["analyze", "clip.mp4", "--out", "clip.csv"]) == 0
    out = capsys.readouterr().out
    for words in ("4.0 s, 100 frames, 90 of them with", "happiness 90%", "AU12\u00a03.2\u00a050%", "1 face, read"):
        assert words in out
    assert "AU04" not in out
    assert "An expression is not an emotion" in out


def test_flags_reach_the_library_and_nothing_is_smoothed_by_itself(library):
    main(["analyze", "clip.MOV"])
    assert (library.asked["fps"], library.asked["smooth"], library.asked["gap"]) == (None, 0.0, 1.0)
    flags = {"--fps": "5", "--smooth": "0.4", "--gap": "0", "--plots": "p.png", "--annotate": "a.mp4"}
    main(["analyze", "clip.mp4", *(word for flag in flags.items() for word in flag)])
    wanted = {"fps": 5.0, "smooth": 0.4, "gap": 0.0, "plots": "p.png", "annotate": "a.mp4"}
    assert wanted.items() <= library.asked.items()


def test_damage_is_told_and_is_status_one(library, capsys):
    library.ClipReading = type("Damaged", (Reading,), {"damage": "clip.mp4: damaged or cut off: 1 packet"})
    assert main(["analyze", "clip.mp4", "--quiet"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == "semeia: clip.mp4: damaged or cut off: 1 packet"


def test_an_interrupt_says_how_to_go_on(library, capsys):
    library.fails = KeyboardInterrupt()
    assert main(["analyze", "clip.mp4", "--out", "clip.csv"]) == 130
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["a.mp4", "b.mp4"], "b.mp4: expected one clip at a time"),
        (["a.mp4", "--json"], "--json: for photos, found a clip"),
        (["a.mp4", "--attention", "maps"], "--attention: for photos, found a clip"),
        (["a.png", "--fps", "5"], "--fps: for a clip, found photos"),
    ],
)
def test_flags_that_mean_nothing_are_refused(library, capsys, words, complaint):
    assert main(["analyze", *words]) == 2
    assert complaint in capsys.readouterr().err
