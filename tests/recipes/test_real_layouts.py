"""Q-Face trains on each real layout by naming its folder."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from semeia import locate
from semeia.cli.main import main
from semeia.data.synthetic.as_layout import LAYOUTS, write_layout
from semeia.face_sets import FaceData, open_faces
from semeia.records import SemeiaError


class Finder:
    """Finds a face in the middle of every picture."""

    def find(self, image):
        height, width = image.shape[:2]
        around = np.linspace(0, 2 * np.pi, 468, endpoint=False)
        mesh = np.stack([np.cos(around) + 1, np.sin(around) + 1, 0 * around], 1) * [width / 2, height / 2, 1]
        return (SimpleNamespace(mesh=mesh),)


@pytest.fixture(autouse=True)
def finder(monkeypatch):
    monkeypatch.setattr(locate, "FaceFinder", Finder)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "aflw2000"])
def test_one_command_trains_on_each_layout(layout, faces, tmp_path, capsys):
    write_layout(layout, faces, tmp_path / "set")
    words = f"train qface --scale smoke --data.{layout} {tmp_path / 'set'} --out {tmp_path / 'run'} --rounds 0"
    assert main(words.split()) == 0
    card = (tmp_path / "run" / "checkpoint" / "card.md").read_text()
    assert f"semeia train qface --data.{layout} set" in card
    assert "Rendered faces only" not in card


def test_sets_mix_and_a_test_set_alone_is_only_tested(faces, tmp_path, capsys):
    for layout in ("w300lp", "aflw2000", "rafdb"):
        write_layout(layout, faces, tmp_path / layout)
    sets = " ".join(f"--data.{name} {tmp_path / name}" for name in ("w300lp", "aflw2000", "rafdb"))
    assert main(f"train qface --scale smoke {sets} --out {tmp_path / 'run'} --rounds 0".split()) == 0
    card = " ".join((tmp_path / "run" / "checkpoint" / "card.md").read_text().split())
    assert "images of w300lp" in card
    assert "images of rafdb" in card
    assert "images of aflw2000" not in card
    capsys.readouterr()
    weights = tmp_path / "run" / "checkpoint"
    assert main(f"evaluate qface --data.aflw2000 {tmp_path / 'aflw2000'} --weights {weights}".split()) == 0
    assert "| pose |" in capsys.readouterr().out


def test_folds_choose_who_is_tested(faces, tmp_path):
    write_layout("bp4d", faces, tmp_path)
    tested = []
    for fold in (1, 2, 3):
        (opened,) = open_faces(FaceData(bp4d=str(tmp_path), fold=fold), progress=False)
        tested.append(set(opened.columns.texts["identity"][opened.select("test")]))
    assert not set.intersection(*tested)


def test_nothing_to_train_on_is_told(faces, tmp_path):
    from semeia.recipes import qface as recipe

    write_layout("aflw2000", faces, tmp_path / "set")
    with pytest.raises(SemeiaError, match="at least one folder"):
        recipe.train(replace(recipe.smoke(), data=FaceData()), progress=False)
    with pytest.raises(SemeiaError, match="split 'train'"):
        recipe.train(replace(recipe.smoke(), data=FaceData(aflw2000=str(tmp_path / "set"))), progress=False)
