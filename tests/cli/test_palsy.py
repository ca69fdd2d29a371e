"""``semeia palsy`` prints and writes what the library reads."""

import json

import pytest

from semeia.cli.main import main
from semeia.predict import palsy
from semeia.records import PalsyMovement, PalsyReading, SemeiaError

FOUND = PalsyReading(
    grade="IV", grades={"III": 0.3, "IV": 0.7}, degree=0.62, side="left", certainty=0.9,
    movements=(PalsyMovement("smile", ("a.png",), {"AU12": 1.0}, {"AU12": 4.0}, 1.5, 0.25, 2, 0),),
    resting=(1, 0, 1), composite=40, notes=("b.png: no face was found",), weights="mine",
)  # fmt: skip
NONE = PalsyReading(None, {}, None, None, None, (), None, None, ("a.png: the head is turned",), "mine")


@pytest.fixture
def answers(monkeypatch):
    """Stands in for the reader: what it answers, and what it was asked."""
    given, asked = [FOUND], []

    class Reader:
        @classmethod
        def load(cls, weights, au, device):
            asked.append((weights, au, device))
            return cls()

        def read(self, files, *, curves):
            asked.append(files)
            return given[0]

    monkeypatch.setattr(palsy, "PalsyReader", Reader)
    return given, asked


def test_a_patient_is_printed_and_written(answers, tmp_path, capsys):
    (tmp_path / "smile.png").write_bytes(b"")
    out = tmp_path / "out.json"
    assert main(["palsy", str(tmp_path / "smile.png"), "--out", str(out), "--weights", "mine", "--au", "other"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("grade IV", "weak side left", "AU12 1.0 / 4.0", "no face was found", "Not a medical device"):
        assert words in printed
    assert json.loads(out.read_text())["patients"]["patient"]["grade"] == "IV"
    assert answers[1][0] == ("mine", "other", "auto")
    (file,) = answers[1][1]
    assert file.exercise == "smile"


def test_json_is_all_that_is_printed(answers, tmp_path, capsys):
    (tmp_path / "x.png").write_bytes(b"")
    assert main(["palsy", str(tmp_path / "x.png"), "--exercise", "brow raise", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["patients"]["patient"]["composite"] == 40
    assert answers[1][1][0].exercise == "brow_raise"


def test_a_patient_without_a_grade_is_told_and_counts_as_not_read(answers, tmp_path, capsys):
    answers[0][0] = NONE
    (tmp_path / "rest.png").write_bytes(b"")
    assert main(["palsy", str(tmp_path / "rest.png")]) == 1
    out = capsys.readouterr().out
    assert "no grade" in out
    assert "the head is turned" in out


def test_the_exercise_of_a_picture_must_be_known(answers, tmp_path, capsys):
    (tmp_path / "IMG_1.png").write_bytes(b"")
    assert main(["palsy", str(tmp_path / "IMG_1.png")]) == 2
    assert "expected an exercise, one of rest, brow_raise" in capsys.readouterr().err
    assert main(["palsy", str(tmp_path / "none.png")]) == 2
    assert "found nothing" in capsys.readouterr().err


def test_a_clip_is_divided_by_marks(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"")
    marks = tmp_path / "marks.csv"
    marks.write_text("exercise,start,end\nrest,0,2\nopen smile,2.5,5\n")
    files = palsy.patient_files([tmp_path / "clip.mp4"], marks=marks)["patient"]
    assert [(f.exercise, f.start, f.end) for f in files] == [("rest", 0, 2), ("smile", 2.5, 5)]
    for text, words in (
        ("exercise,start,end\nrest,3,2\n", "line 2: expected an end after the start"),
        ("exercise,start,end\nyawn,1,2\n", "expected an exercise"),
        ("exercise,start,end\n", "found none"),
        ("exercise;start;end\nrest;1;2\n", "expected the columns"),
        ("exercise,start,end\nrest,1,nan\n", "line 2"),
    ):
        marks.write_text(text)
        with pytest.raises(SemeiaError, match=words):
            palsy.patient_files([tmp_path / "clip.mp4"], marks=marks)


def test_a_folder_tells_exercises_by_names(tmp_path):
    for name in ("rest.png", "open-smile.jpg"):
        (tmp_path / name).write_bytes(b"")
    files = palsy.patient_files([tmp_path])["patient"]
    assert {f.exercise for f in files} == {"rest", "smile"}


def test_the_page_is_written(answers, tmp_path):
    (tmp_path / "smile.png").write_bytes(b"")
    page = tmp_path / "page.html"
    assert main(["palsy", str(tmp_path / "smile.png"), "--html", str(page)]) == 0
    assert "not a medical device" in page.read_text().lower()
