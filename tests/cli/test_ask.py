"""``semeia ask`` on the command line, with a stand-in for the library."""

import io
import json

import pytest

from semeia.cli import ask
from semeia.predict import answers
from semeia.predict.answers import Reply, Seen, chosen
from semeia.records import Box, Face, SemeiaError


class Asker:
    """Says ``Yes`` about as many faces as it is told."""

    model = object()
    weights = "tiny"

    def __init__(self, count):
        self.seen = tuple(Seen(i + 1, Face(Box(0, 0, 1, 1), 1.0, None, 1.0)) for i in range(count))
        self.before = []

    def look(self, path):
        return self.seen

    def pieces(self, one, question, *, before=(), most=0):
        answers.checked(question)
        self.before.append(before)
        yield from (["Ye", "s"] if "name" not in question else [answers.NAMELESS])

    def ask(self, path, question, *, face=None, most=0):
        return tuple(Reply(question, "Yes", "tiny", face=one.number) for one in chosen(self.seen, face, where=path))


@pytest.fixture
def with_faces(monkeypatch):
    def made(count):
        asker = Asker(count)
        monkeypatch.setattr(answers.FaceAsker, "load", lambda *words, **named: asker)
        return asker

    return made


def test_a_question_is_answered(with_faces, capsys):
    with_faces(1)
    assert ask.run(["a.png", "Is the mouth open?"]) == 0
    assert capsys.readouterr().out == "Yes\n"


def test_each_face_is_answered_by_number(with_faces, capsys):
    with_faces(2)
    assert ask.run(["a.png", "Is the mouth open?", "--face", "each"]) == 0
    assert capsys.readouterr().out == "face 1: Yes\nface 2: Yes\n"
    with pytest.raises(SemeiaError, match="which one is meant"):
        ask.run(["a.png", "Is the mouth open?"])


def test_no_face_is_an_exit_status_of_one(with_faces, capsys):
    with_faces(0)
    assert ask.run(["a.png", "Is the mouth open?"]) == 1
    assert answers.NO_FACE in capsys.readouterr().out


def test_json_is_alone_on_the_output(with_faces, capsys):
    with_faces(1)
    assert ask.run(["a.png", "Is the mouth open?", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["text"] == "Yes"


def test_a_chat_asks_which_face_and_goes_on_after_bad_questions(with_faces, monkeypatch, capsys):
    asker = with_faces(3)
    lines = "seven\n9\n2\nOpen?\n\n???\nher name?\nAnd now?\nquit\nnever asked\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert ask.run(["a.png"]) == 0
    told = capsys.readouterr().out
    assert told.count("expected a number from 1 to 3") == 2
    assert "the question is empty" in told
    assert asker.before == [(), (("Open?", "Yes"),), (("Open?", "Yes"),)]


def test_an_empty_question_is_refused_before_anything_is_loaded(monkeypatch):
    monkeypatch.setattr(answers.FaceAsker, "load", lambda *words, **named: pytest.fail("loaded"))
    with pytest.raises(SemeiaError, match="is empty"):
        ask.run(["a.png", " "])


@pytest.mark.parametrize(
    "wrong", [["a.png", "--json"], ["a.png", "q", "--face", "left"], ["a.png", "q", "--most", "0"]]
)
def test_wrong_flags_are_refused(wrong):
    with pytest.raises(SystemExit):
        ask.run(wrong)
