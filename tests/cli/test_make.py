import sys
from types import ModuleType

import pytest

from semeia.cli.main import main


@pytest.fixture
def calls(monkeypatch):
    """What ``make_palsy`` was called with."""
    made = []

    def make_palsy(out, **settings):
        made.append((out, settings))
        return {"images": 6 * settings["count"] * settings["shots"]}

    module = ModuleType("semeia.data.synthetic.palsy")
    module.make_palsy = make_palsy
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


def test_make_palsy_passes_its_flags_on(calls, capsys):
    words = "make palsy ward --count 20 --seed 3 --split test --first-identity 40 --look other"
    assert main(words.split()) == 0
    assert capsys.readouterr().out == "ward: 20 patients, 120 images\n"
    settings = {
        "count": 20, "seed": 3, "workers": 2, "size": 144, "renderer": "raster", "samples": 16, "shots": 1,
        "look": "other", "split": "test", "first_patient": 40,
    }  # fmt: skip
    assert calls == [("ward", settings)]


def test_make_palsy_takes_more_pictures_of_a_movement(calls, capsys):
    assert main(["make", "palsy", "ward", "--count", "2", "--shots", "3"]) == 0
    assert capsys.readouterr().out == "ward: 2 patients, 36 images\n"


@pytest.mark.parametrize("policy", ["balanced", "natural", "independent"])
def test_make_faces_passes_its_policy_on(monkeypatch, policy):
    asked = []

    def make_faces(out, **settings):
        asked.append(settings["policy"])
        return {"images": settings["count"]}

    module = ModuleType("semeia.data.synthetic.faces.make")
    module.make_faces = make_faces
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert main(["make", "faces", "world", "--count", "2", "--policy", policy]) == 0
    assert asked == [policy]


@pytest.mark.parametrize(
    "words", ["", "--count 2 --faces world", "--count 2 --policy natural", "--count 2 --policy independent"]
)
def test_make_palsy_refuses_what_does_not_go_with_it(calls, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(f"make palsy ward {words}".split())
    assert not calls
    assert "error: " in capsys.readouterr().err
