"""Data that are named: opened, chosen by split, and named again as flags."""

import pytest

from semeia.cli.train import configure
from semeia.face_sets import READERS, FaceData, data_flags, open_split
from semeia.recipes import qface
from semeia.records import SemeiaError


@pytest.mark.parametrize("field", ["data", "test_data"])
def test_the_flags_that_are_told_name_the_same_data(field):
    data = FaceData(faces=("worlds/a", "worlds/b"), rafdb="RAF", bp4d="BP4D", fold=2, missing="skip")
    words = data_flags(data, field)
    if field == "data":
        # ``--data`` itself is a flag of the verb, not of the recipe.
        assert words.startswith("--data worlds/a worlds/b ")
        words = words.removeprefix("--data worlds/a worlds/b ")
        data = FaceData(rafdb="RAF", bp4d="BP4D", fold=2, missing="skip")
    flags = [word.strip("'") for word in words.replace('", "', '","').split()]
    assert getattr(configure(qface, scale="smoke", fields=flags), field) == data


def test_missing_pictures_and_names_without_a_class_are_skipped_by_one_flag(tmp_path):
    for name, picture in (("affwild2", "cropped_aligned/a/1.jpg"), ("expression_folders", "val/FEAR/1.jpg")):
        place = tmp_path / name / picture
        place.parent.mkdir(parents=True)
        place.touch()
    line = ",0,0,1" + 12 * ",0"
    (tmp_path / "affwild2/train_set.txt").write_text(
        f"image,valence,arousal,expression,aus\na/1.jpg{line}\na/2.jpg{line}\n"
    )
    (tmp_path / "expression_folders/val/2.jpg").touch()
    for name in ("affwild2", "expression_folders"):
        with pytest.raises(SemeiaError, match=r"2\.jpg: "):
            READERS[name](str(tmp_path / name), FaceData())
        assert len(READERS[name](str(tmp_path / name), FaceData(missing="skip"))) == 1


def test_no_data_have_no_flags():
    assert data_flags(FaceData()) == ""


def test_a_split_of_nothing_and_a_split_that_no_set_has_are_told(faces):
    with pytest.raises(SemeiaError, match="at least one folder of faces"):
        open_split(FaceData(), "test")
    with pytest.raises(SemeiaError, match="split 'nowhere'"):
        open_split(FaceData(faces=(str(faces),)), "nowhere")
