import json

import pandas as pd
import pytest
from PIL import Image

from semeia.cli.main import main


def test_one_photo_is_answered_and_nothing_is_written(library, photos, tmp_path, capsys):
    assert main(["analyze", "photos/a.png"]) == 0
    out = capsys.readouterr().out
    for words in (
        "photos/a.png",
        "happiness 88%",
        "AU12 lip corner puller",
        "3.2",
        "left 4.0, right 2.5",
        "brown hair",
    ):
        assert words in out
    assert "apparent age 34" in out
    assert "yaw +3 pitch -2 roll +1" in out
    assert "An expression is not an emotion" in out
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.png", "b.jpg", "dark.png", "photos", "torn.jpg"]


def test_broken_files_among_others_are_listed_and_the_rest_is_answered(library, photos, capsys):
    assert main(["analyze", "photos"]) == 1
    captured = capsys.readouterr()
    assert "1 of 4 files could not be read" in captured.err
    assert "torn.jpg: expected a picture, found an empty file (0 bytes)" in captured.err
    assert "4 files, 2 faces, read by qface" in captured.out
    assert "160 x 120, 0 faces" in captured.out


def test_nothing_answered_is_status_two(library, photos, capsys):
    assert main(["analyze", "photos/torn.jpg", "nowhere.png"]) == 2
    assert "2 of 2 files could not be read" in capsys.readouterr().err


def test_no_face_is_an_answer(library, photos):
    assert main(["analyze", "photos/dark.png"]) == 0


def test_many_faces_become_rows(library, photos, capsys, monkeypatch):
    monkeypatch.setattr("semeia.cli.cards.FEW", 0)
    assert main(["analyze", "photos/a.png"]) == 0
    out = capsys.readouterr().out
    assert "AU12\u00a03.2" in out
    assert "+3 -2 +1" in out


def test_json_on_standard_output_is_pure(library, photos, capsys):
    assert main(["analyze", "photos", "--json"]) == 1
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["version"] == 1
    assert [file["file"] for file in answer["files"]] == [
        "photos/a.png",
        "photos/b.jpg",
        "photos/dark.png",
        "photos/torn.jpg",
    ]
    assert "error" in answer["files"][3]
    assert "torn.jpg" in captured.err


def test_quiet_prints_only_what_went_wrong(library, photos, capsys):
    assert main(["analyze", "photos", "--quiet"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "torn.jpg" in captured.err
    assert main(["analyze", "photos/a.png", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["r.csv", "r.parquet", "r.json"])
def test_out_writes_a_table(library, photos, capsys, name):
    assert main(["analyze", "photos", "--out", name]) == 1
    assert f"written: {name}" in capsys.readouterr().out


def test_an_unknown_suffix_is_refused_before_anything_is_read(library, photos, capsys):
    assert main(["analyze", "photos", "--out", "r.xlsx"]) == 2
    assert capsys.readouterr().err.startswith("semeia: r.xlsx: expected a name that ends in .json, .csv, .parquet")
    assert library.calls == ()


@pytest.mark.parametrize(
    "flags", [["--out", "nowhere/r.csv"], ["--annotate", "nowhere/a.png"], ["--annotate", "photos/a.png/x"]]
)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(library, photos, capsys, flags):
    assert main(["analyze", "photos/a.png", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"semeia: {flags[1]}: ")
    assert captured.err.count("\n") == 1
    assert library.calls == ()


def test_annotated_pictures_go_into_a_folder_that_is_made(library, photos, tmp_path):
    assert main(["analyze", "photos", "--annotate", "drawn/here"]) == 1
    assert sorted(path.name for path in (tmp_path / "drawn/here").iterdir()) == [
        "a_faces.png",
        "b_faces.png",
        "dark_faces.png",
    ]
    assert Image.open(tmp_path / "drawn/here/a_faces.png").size[0] > 160


def test_photos_of_one_name_get_annotated_pictures_of_their_own(library, photos, tmp_path):
    (photos / "more").mkdir()
    (photos / "a.png").rename(photos / "more" / "b.png")
    assert main(["analyze", "photos/b.jpg", "photos/more", "--annotate", "drawn"]) == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["b_2_faces.png", "b_faces.png"]


def test_one_photo_can_have_its_annotated_picture_named(library, photos, tmp_path):
    assert main(["analyze", "photos/a.png", "--annotate", "drawn.png"]) == 0
    assert Image.open(tmp_path / "drawn.png").format == "PNG"


def test_many_photos_do_not_fit_into_one_picture(library, photos, capsys):
    assert main(["analyze", "photos", "--annotate", "drawn.png"]) == 2
    assert "expected a folder" in capsys.readouterr().err


def test_the_photo_itself_is_never_overwritten(library, photos, capsys):
    before = (photos / "a.png").read_bytes()
    assert main(["analyze", "photos/a.png", "--annotate", str(photos / "a.png")]) == 2
    assert "is the photo itself" in capsys.readouterr().err
    assert (photos / "a.png").read_bytes() == before


def test_attention_is_drawn_for_the_labels_named(library, photos, tmp_path):
    assert main(["analyze", "photos/a.png", "--attention", "looked", "--labels", "AU12, age"]) == 0
    assert library.labels == ["AU12", "age"]
    assert [path.name for path in (tmp_path / "looked").iterdir()] == ["a_attention.png"]


def test_attention_without_labels_shows_what_was_found(library, photos):
    assert main(["analyze", "photos/a.png", "--attention", "looked"]) == 0
    assert library.labels == ["happiness", "AU12"]


def test_an_unknown_label_is_one_line(library, photos, capsys):
    assert main(["analyze", "photos/a.png", "--attention", "looked", "--labels", "AU99"]) == 2
    assert capsys.readouterr().err == "semeia: qface has no label AU99\n"


def test_labels_without_attention_are_wrong_use(library, photos, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["analyze", "photos/a.png", "--labels", "AU12"])
    assert "--attention" in capsys.readouterr().err


def test_weights_device_and_engine_reach_the_library(library, photos):
    assert (
        main(
            [
                "analyze",
                "photos/a.png",
                "--weights",
                "runs/mine",
                "--device",
                "cpu",
                "--engine",
                "onnx",
                "--au",
                "runs/au",
                "--affect",
                "runs/emma",
            ]
        )
        == 0
    )
    said = {"weights": "runs/mine", "device": "cpu", "engine": "onnx", "au": "runs/au", "affect": "runs/emma"}
    assert library.calls == (said,)


def test_affect_is_read_unless_it_is_told_not_to(library, photos, capsys):
    main(["analyze", "photos/a.png"])
    main(["analyze", "photos/a.png", "--affect", "none"])
    assert [call["affect"] for call in library.calls] == ["emma", None]
    with pytest.raises(SystemExit):
        main(["analyze", "photos/a.png", "--affect", "none", "--circumplex", "way.png"])
    assert "--affect none" in capsys.readouterr().err


def test_an_interrupt_leaves_a_whole_table_of_what_is_done(library, photos, tmp_path, capsys):
    library.interrupt_after = 2
    assert main(["analyze", "photos", "--out", "r.csv"]) == 130
    assert "interrupted; files read until then: 2, r.csv holds them" in capsys.readouterr().err
    assert pd.read_csv(tmp_path / "r.csv")["file"].tolist() == ["photos/a.png", "photos/b.jpg"]


def test_an_interrupt_before_the_first_file_writes_nothing(library, photos, tmp_path, capsys):
    library.interrupt_after = 0
    assert main(["analyze", "photos", "--out", "r.csv"]) == 130
    assert not (tmp_path / "r.csv").exists()
    assert "Traceback" not in capsys.readouterr().err


def test_a_file_name_with_brackets_is_printed_as_it_is(library, photos, capsys):
    (photos / "a.png").rename(photos / "[red]a.png")
    assert main(["analyze", "photos/[red]a.png"]) == 0
    assert "photos/[red]a.png" in capsys.readouterr().out
