import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from semeia import parts
from semeia.cli import train
from semeia.cli.main import main
from semeia.face_sets import FaceData


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMEIA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def stand_in(monkeypatch, name, **functions):
    module = ModuleType(name)
    vars(module).update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def test_info_as_json_tells_versions_machine_weights_and_cache(home, capsys):
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"semeia", "python", "packages", "machine", "weights", "cache"}
    assert found["packages"]["numpy"][0].isdigit()
    assert found["cache"]["folder"] == str(home)
    assert found["cache"]["parts"] == dict.fromkeys(parts.PARTS, False)


def test_info_for_people_names_the_cache(home, capsys):
    assert main(["info"]) == 0
    assert str(home) in capsys.readouterr().out


def test_systems_lists_each_with_its_paper(capsys):
    assert main(["systems"]) == 0
    out = capsys.readouterr().out
    assert "qface" in out
    assert "arXiv 2405.09059" in out


@pytest.mark.parametrize("words", [["parts"], ["parts", "list"]])
def test_parts_list_tells_licence_and_state(home, capsys, words):
    assert main(words) == 0
    out = capsys.readouterr().out
    for part in parts.PARTS.values():
        assert part.name in out
        assert part.licence in out
    assert "not cached" in out


def test_parts_get_prints_the_file(home, monkeypatch, capsys):
    monkeypatch.setattr(parts, "fetch", lambda name: Path("cache") / name)
    assert main(["parts", "get", "face-mesh", "iris"]) == 0
    assert capsys.readouterr().out == "cache/face-mesh\ncache/iris\n"


def test_parts_add_refuses_a_file_that_holds_none(home, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("hello")
    assert main(["parts", "add", str(tmp_path / "notes.txt")]) == 2
    assert "holds no part; the parts are face-detector" in capsys.readouterr().err


def test_make_passes_its_flags_on(monkeypatch, capsys):
    calls = []

    def make_faces(out, **settings):
        calls.append((out, settings))
        return {"images": settings["count"]}

    stand_in(monkeypatch, "semeia.data.synthetic.faces.make", make_faces=make_faces)
    assert main(["make", "faces", "world", "--count", "20", "--seed", "3"]) == 0
    assert capsys.readouterr().out == "world: 20 images\n"
    out, settings = calls[0]
    assert out == "world"
    assert settings == {
        "count": 20, "seed": 3, "workers": 2, "size": 144, "renderer": "raster", "samples": 16, "shots": 7,
        "look": "usual", "policy": "balanced", "split": None, "first_identity": 0,
    }  # fmt: skip


def test_sheet_refuses_a_place_that_cannot_be_written(monkeypatch, tmp_path, capsys):
    stand_in(monkeypatch, "semeia.data.synthetic.faces.sheet", contact_sheet=lambda *a, **k: None)
    assert main(["sheet", "world", str(tmp_path / "no" / "sheet.png")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["sheet", "world", str(tmp_path / "sheet.png")]) == 0


@dataclass(frozen=True)
class Fit:
    steps: int = 10
    out: str = "runs/toy"


@dataclass(frozen=True)
class Config:
    data: FaceData = field(default_factory=FaceData)
    rate: float = 0.1
    fit: Fit = field(default_factory=Fit)


@pytest.fixture
def recipe(monkeypatch):
    done = []
    toy = SimpleNamespace(
        __name__="semeia.recipes.qface",
        Config=Config,
        SCALES={"smoke": lambda: Config(rate=0.5), "small": Config, "paper": Config},
        train=lambda config: done.append(config) or Path(config.fit.out) / "checkpoint",
    )
    monkeypatch.setattr(train, "import_module", lambda name: toy)
    return done


def test_train_starts_from_a_scale_and_takes_fields_as_flags(recipe, capsys):
    words = "train qface --scale smoke --data a b --data.rafdb r --out runs/x --fit.steps 7"
    assert main(words.split()) == 0
    assert recipe == [Config(data=FaceData(faces=("a", "b"), rafdb="r"), rate=0.5, fit=Fit(steps=7, out="runs/x"))]
    assert capsys.readouterr().out == "runs/x/checkpoint\n"


def test_train_reads_a_file_and_flags_win_over_it(recipe, tmp_path):
    (tmp_path / "x.yaml").write_text("rate: 0.3\ndata:\n  faces: [c]\nfit:\n  steps: 5\n")
    assert main(["train", "qface", "--config", str(tmp_path / "x.yaml"), "--fit.steps", "6"]) == 0
    assert recipe == [Config(data=FaceData(faces=("c",)), rate=0.3, fit=Fit(steps=6))]


def test_an_unknown_field_is_wrong_use(recipe, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "qface", "--fit.stepz", "6"])
    assert "stepz" in capsys.readouterr().err
