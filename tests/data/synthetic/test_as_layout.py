"""Rendered faces in the layouts of real data sets come back as what they were."""

import numpy as np
import pytest

from semeia.cli import make
from semeia.data.formats import affwild2, expression_folders
from semeia.data.formats.faces import FaceFolder
from semeia.data.synthetic.as_layout import LAYOUTS, write_layout
from semeia.face_sets import READERS, FaceData
from semeia.records import SemeiaError


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_read_back_with_pictures_and_labels(layout, faces, tmp_path):
    written = write_layout(layout, faces, tmp_path / "set", count=32)
    back = READERS[layout](str(tmp_path / "set"), FaceData())
    assert len(back) == written > 0
    assert back.image(0).shape == (64, 64, 3)
    face = back.labels(0)
    assert face.expression or face.attributes or face.pose or face.au_occurrence or face.au_intensity
    assert len(np.unique(back.columns.texts["key"])) == written


def test_persons_keep_apart_in_layouts_with_folds(faces, tmp_path):
    write_layout("disfa", faces, tmp_path / "set")
    back = READERS["disfa"](str(tmp_path / "set"), FaceData())
    persons = {row: set(back.columns.texts["identity"][back.select(row)]) for row in ("train", "val", "test")}
    assert all(persons.values())
    assert not persons["train"] & persons["test"]


def test_intensities_of_disfa_are_whole_and_those_of_the_source(faces, tmp_path):
    write_layout("disfa", faces, tmp_path / "set")
    back, source = READERS["disfa"](str(tmp_path / "set"), FaceData()), FaceFolder(faces)
    assert back.labels(0).au_intensity["AU12"] == round(source.labels(0).au_intensity["AU12"])


def test_clips_of_aff_wild2_are_persons_and_contempt_is_other(faces, tmp_path):
    written = write_layout("affwild2", faces, tmp_path / "set")
    back, source = READERS["affwild2"](str(tmp_path / "set"), FaceData()), FaceFolder(faces)
    assert written == len(source)
    assert len(set(back.columns.texts["identity"])) == len(set(source.columns.texts["identity"]))
    assert len(back.select("train")) == len(source.select("train"))
    assert len(back.select("val")) == len(source) - len(back.select("train"))
    first, face = back.labels(0), source.labels(0)
    assert (first.key, first.expression) == ("clip1/00001", face.expression)
    assert first.au_occurrence == {unit: face.au_occurrence[unit] for unit in affwild2.UNITS}
    others = sum(back.extra(row) == {"expression": "other"} for row in range(len(back)))
    assert others == (source.columns.texts["expression"] == "contempt").sum() > 0


def test_folders_of_expressions_are_those_of_the_challenge(faces, tmp_path):
    write_layout("expression_folders", faces, tmp_path / "set")
    places = {path.relative_to(tmp_path / "set").as_posix() for path in (tmp_path / "set").glob("*/*")}
    assert places == {f"{split}/{name.upper()}" for split in ("train", "val") for name in expression_folders.CLASSES}


@pytest.mark.parametrize("layout", ["rafdb", "affwild2", "expression_folders"])
def test_a_folder_that_holds_the_layout_already_is_not_written_over(layout, faces, tmp_path):
    write_layout(layout, faces, tmp_path / "set")
    with pytest.raises(SemeiaError):
        write_layout(layout, faces, tmp_path / "set")


def test_the_command_line_knows_the_layouts():
    assert tuple(LAYOUTS) == make.LAYOUTS


def test_the_command_line_asks_for_what_is_missing(capsys):
    for words in (["rafdb", "out"], ["faces", "out", "--faces", "x", "--count", "1"], ["faces", "out"]):
        with pytest.raises(SystemExit, match="2"):
            make.run(words)
    assert "--count" in capsys.readouterr().err
