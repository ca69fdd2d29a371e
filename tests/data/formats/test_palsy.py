"""Palsy patients: tables of many hands are read, what contradicts itself is named, what is written comes back."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semeia.data.formats.palsy import COLUMNS, TABLE, VARIANTS, PalsyFile, patients, read, write
from semeia.ops.palsy_scales import EXERCISES, GRADES
from semeia.records import SemeiaError

HEADER = "patient,exercise,file,grade,side,split,start,end"
ROWS = (
    "P002,rest,P002/rest.png,I,none,train,,",
    "P001,smile,P001/smile.jpg,IV,left,test,,",
    "P001,brow_raise,P001/all.mp4,IV,left,test,1.5,4",
    "P001,pucker,P001/all.mp4,IV,left,test,4,",
)
NAMES = ("P001/smile.jpg", "P001/all.mp4", "P002/rest.png")


def lay(folder, rows=ROWS, header=HEADER, *, end="\n", start="", names=NAMES):
    """A folder of patients; what stands in the files does not matter to the reader."""
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_bytes(b"some bytes")
    (folder / TABLE).write_text(start + end.join((header, *rows)) + end, encoding="utf-8", newline="")
    return folder


def test_files_come_by_patient_in_the_order_of_the_table(tmp_path):
    assert read(lay(tmp_path)) == (
        PalsyFile("P001", "smile", tmp_path / "P001/smile.jpg", 3, "left", "test"),
        PalsyFile("P001", "brow_raise", tmp_path / "P001/all.mp4", 3, "left", "test", 1.5, 4.0),
        PalsyFile("P001", "pucker", tmp_path / "P001/all.mp4", 3, "left", "test", 4.0, None),
        PalsyFile("P002", "rest", tmp_path / "P002/rest.png", 0, "none", "train"),
    )


def test_patients_have_their_files_in_order(tmp_path):
    files = read(lay(tmp_path))
    assert patients(files) == {"P001": files[:3], "P002": files[3:]}
    assert patients(()) == {}


def test_three_columns_are_enough(tmp_path):
    lay(tmp_path, ("P001,smile,P001/smile.jpg",), "patient,exercise,file")
    assert read(tmp_path) == (PalsyFile("P001", "smile", tmp_path / "P001/smile.jpg"),)


def test_columns_are_found_by_name_and_others_ignored(tmp_path):
    lay(tmp_path, ("x,P001\\smile.jpg, iv ,Smile,y,P001",), "Clinic, FILE ,Grade,EXERCISE,Clinic,Patient")
    assert read(tmp_path) == (PalsyFile("P001", "smile", tmp_path / "P001/smile.jpg", 3),)


def test_line_ends_blank_lines_quotes_and_a_byte_order_mark_change_nothing(tmp_path):
    plain = read(lay(tmp_path))
    assert read(lay(tmp_path, (*ROWS[:2], "", *ROWS[2:]), end="\r\n", start="\ufeff")) == plain
    assert read(lay(tmp_path, [f'"{row.replace(",", chr(34) + "," + chr(34))}"' for row in ROWS])) == plain


@pytest.mark.parametrize("grade", range(6))
def test_grades_are_roman_or_plain_numbers(tmp_path, grade):
    for text in (GRADES[grade], GRADES[grade].lower(), str(grade + 1), f"{grade + 1}.0"):
        lay(tmp_path, (f"P001,smile,P001/smile.jpg,{text}",), "patient,exercise,file,grade")
        assert read(tmp_path)[0].grade == grade


@pytest.mark.parametrize(
    ("text", "side"),
    [("L", "left"), ("Left", "left"), ("r", "right"), ("RIGHT", "right"), ("None", "none"), ("", None)],
)
def test_sides_are_words_or_letters(tmp_path, text, side):
    lay(tmp_path, (f"P001,smile,P001/smile.jpg,{text}",), "patient,exercise,file,side")
    assert read(tmp_path)[0].side == side


@pytest.mark.parametrize(
    ("text", "exercise"),
    [
        ("Brow raise", "brow_raise"), ("gentle eye closure", "eye_closure"), ("open smile", "smile"),
        ("Open-Mouth Smile", "smile"), ("SNARL", "snarl"), ("eye-closure", "eye_closure"), ("Rest", "rest"),
        ("lip pucker", "pucker"),
    ],
)  # fmt: skip
def test_exercises_are_spelled_in_several_ways(tmp_path, text, exercise):
    lay(tmp_path, (f"P001,{text},P001/smile.jpg",), "patient,exercise,file")
    assert read(tmp_path)[0].exercise == exercise


def test_every_variant_leads_to_an_exercise():
    assert set(VARIANTS.values()) <= set(EXERCISES)
    assert not set(VARIANTS) & set(EXERCISES)


def test_what_one_row_says_of_a_patient_holds_for_all(tmp_path):
    lay(tmp_path, (ROWS[0], "P001,smile,P001/smile.jpg,,,,,", ROWS[2], ROWS[3].replace("IV,left,test", ",,")))
    assert [(f.grade, f.side, f.split) for f in read(tmp_path)] == [(3, "left", "test")] * 3 + [(0, "none", "train")]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("IV", "V", "line 4: expected one grade a patient, found V for 'P001' and IV in line 3"),
        ("left", "r", "line 4: expected one side a patient, found right for 'P001' and left in line 3"),
        ("test", "train", "line 4: expected one split a patient, found train for 'P001' and test in line 3"),
    ],
)
def test_rows_that_disagree_about_a_patient_are_both_named(tmp_path, old, new, message):
    lay(tmp_path, (*ROWS[:2], ROWS[2].replace(old, new), ROWS[3]))
    with pytest.raises(SemeiaError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("again", [ROWS[1], "P002,smile,P001/./smile.jpg,,,,,", "P001,rest,P001\\smile.jpg,,,,,"])
def test_a_file_stands_in_one_row(tmp_path, again):
    lay(tmp_path, (*ROWS, again))
    with pytest.raises(SemeiaError, match=r"line 6: expected every file, or .* once, found that of line 3 again"):
        read(tmp_path)


def test_a_part_of_a_clip_stands_in_one_row(tmp_path):
    lay(tmp_path, ("P001,smile,P001/all.mp4,,,,,2", "P001,snarl,P001/all.mp4,,,,0,2.0"))
    with pytest.raises(
        SemeiaError, match=r"line 3: expected every file, or part of a clip, once, found that of line 2"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ((), HEADER, "expected at least one row with a file that is there, found none in 0 rows"),
        ((), "", "line 1: expected the columns patient, exercise, file separated by ',', found no patient, ex"),
        (ROWS, HEADER.replace("exercise", "task"), "line 1: expected the columns .* found no exercise in 'patient,t"),
        ([r.replace(",", ";") for r in ROWS], HEADER.replace(",", ";"), r"line 1: .* separated by ',', found no pat"),
        (ROWS, HEADER.replace("split", "Grade"), "line 1: expected one column grade, found 2; drop the others"),
        (ROWS, f"{HEADER},{'x' * 200_000}", "line 1: expected the names of columns, found a line that cannot be read"),
        ((f"P001,smile,{'x' * 200_000}",), HEADER, "line 2: expected fields separated by ',', found a line that"),
        ((ROWS[0] + ",more",), HEADER, "line 2: expected 8 fields separated by ',', found 9"),
        ((",rest,P002/rest.png,,,,,",), HEADER, "line 2: expected the name of a patient, found ''"),
        (("P\x07,rest,P002/rest.png,,,,,",), HEADER, "line 2: expected the name of a patient"),
        (("P1,frown,P002/rest.png,,,,,",), HEADER, "line 2: expected an exercise, one of rest, brow_raise, "
         "eye_closure, smile, snarl, pucker, found 'frown'"),
        (("P1,,P002/rest.png,,,,,",), HEADER, "line 2: expected an exercise, one of .*, found ''"),
        (("P1,rest,,,,,,",), HEADER, "line 2: expected the place of a picture or clip below the folder, found ''"),
        (("P1,rest,../rest.png,,,,,",), HEADER, "line 2: expected the place of .* below the folder"),
        (("P1,rest,a\\..\\..\\rest.png,,,,,",), HEADER, "line 2: expected the place of .* below the folder"),
        (("P1,rest,/photos/rest.png,,,,,",), HEADER, "line 2: expected the place of .* below the folder"),
        (("P1,rest,C:\\rest.png,,,,,",), HEADER, "line 2: expected the place of .* below the folder"),
        (("P1,rest,a\0b.png,,,,,",), HEADER, "line 2: expected "),
        (("P1,rest,./Palsy.csv,,,,,",), HEADER, "line 2: expected the place of .* below the folder"),
        ((ROWS[0].replace(",I,", ",VII,"),), HEADER, "line 2: expected a House-Brackmann grade I to VI or 1 to 6, found"
         " 'VII'"),
        ((ROWS[0].replace(",I,", ",0,"),), HEADER, "line 2: expected a House-Brackmann grade .*, found '0'"),
        ((ROWS[0].replace(",I,", ",1.5,"),), HEADER, "line 2: expected a House-Brackmann grade"),
        ((ROWS[0].replace(",I,", ",nan,"),), HEADER, "line 2: expected a House-Brackmann grade"),
        ((ROWS[0].replace("none", "both"),), HEADER, "line 2: expected the weak side left, right or none, found 'bo"),
        ((ROWS[0].replace("train", "dev"),), HEADER, "line 2: expected the split train, val, test, found 'dev'"),
        (("P1,rest,P001/all.mp4,,,,nan,",), HEADER, "line 2: expected start in seconds from 0 to 86400, found 'nan'"),
        (("P1,rest,P001/all.mp4,,,,,inf",), HEADER, "line 2: expected end in seconds from 0 to 86400, found 'inf'"),
        (("P1,rest,P001/all.mp4,,,,-1,",), HEADER, "line 2: expected start in seconds"),
        (("P1,rest,P001/all.mp4,,,,soon,",), HEADER, "line 2: expected start in seconds"),
        (("P1,rest,P001/all.mp4,,,,3,2",), HEADER, "line 2: expected an end after the start, found start 3 and end 2"),
        (("P1,rest,P001/all.mp4,,,,3,3",), HEADER, "line 2: expected an end after the start"),
        (("P1,rest,P001/all.mp4,,,,,0",), HEADER, "line 2: expected an end after the start, found start 0 and end 0"),
        (("P1,rest,P001/smile.jpg,,,,1,2",), HEADER, "line 2: expected start and end with clips alone, found them"),
    ],
)  # fmt: skip
def test_wrong_tables_are_named(tmp_path, rows, header, message):
    lay(tmp_path, rows, header)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(tmp_path)
    assert TABLE in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_first_missing_file_is_named_or_skipped(tmp_path):
    rows = (ROWS[0], "P001,smile,P001/gone.jpg,IV,left,test,,", ROWS[2], ROWS[3], "P003,rest,P003/rest.png,,,,,")
    lay(tmp_path, rows)
    with pytest.raises(SemeiaError, match=r"P001/gone\.jpg: not found; .* names in line 3; 2 of 5 rows lack theirs"):
        read(tmp_path)
    assert [file.exercise for file in read(tmp_path, missing="skip")] == ["brow_raise", "pucker", "rest"]


def test_a_skipped_row_still_tells_of_its_patient(tmp_path):
    lay(tmp_path, ("P001,rest,gone.jpg,II,,,,", "P001,smile,P001/smile.jpg,,,,,"))
    assert [file.grade for file in read(tmp_path, missing="skip")] == [1]


@pytest.mark.parametrize("name", ["gone.jpg", "x" * 5000 + ".jpg", "P001"])
def test_nothing_but_missing_files_is_an_error_with_skip_too(tmp_path, name):
    lay(tmp_path, (f"P001,smile,{name},,,,,",))
    with pytest.raises(SemeiaError, match="not found; expected the picture or clip"):
        read(tmp_path)
    with pytest.raises(SemeiaError, match="expected at least one row with a file that is there, found none in 1 rows"):
        read(tmp_path, missing="skip")


def test_missing_and_unreadable_tables_are_named(tmp_path):
    with pytest.raises(SemeiaError, match="not found; expected the folder of palsy patients"):
        read(tmp_path / "nowhere")
    with pytest.raises(SemeiaError, match=r"palsy\.csv: not found; a folder of palsy patients has it"):
        read(tmp_path)
    (tmp_path / TABLE).write_bytes(b"\xff\xfep\x00a\x00")
    with pytest.raises(SemeiaError, match="expected a text file of labels"):
        read(tmp_path)
    with (tmp_path / TABLE).open("wb") as stream:
        stream.truncate(1 << 27)
    with pytest.raises(SemeiaError, match=r"palsy\.csv: expected a table of at most 64 MiB, found more"):
        read(tmp_path)
    (tmp_path / TABLE).unlink()
    (tmp_path / TABLE).mkdir()
    with pytest.raises(SemeiaError, match="expected a table of at most 64 MiB, found no file"):
        read(tmp_path)


def picture(value=90):
    return np.full((24, 20, 3), (value, 40, 200), np.uint8)


def sample(name="P001/smile.jpg", content=None, **change):
    file = PalsyFile("P001", "smile", Path(name), 3, "left", "test")
    return replace(file, **change), picture() if content is None else content


def test_written_files_come_back(tmp_path):
    samples = [
        sample(degree=0.6),
        sample("P001/shots/rest.PNG", exercise="rest", grade=np.int64(3), degree=0.6),
        sample("all.mp4", b"clip", exercise="snarl", start=0.1, end=2, degree=0.6),
        sample("all.mp4", b"clip", exercise="pucker", start=2.0, degree=0.6),
        sample("two.jpeg", patient='O"Hara, J. ü', grade=None, side=None, split=None),
    ]
    write(tmp_path / "new", samples)
    files = read(tmp_path / "new")
    expected = [replace(file, path=tmp_path / "new" / file.path) for file, _ in samples]
    assert files == tuple(sorted(expected, key=lambda file: file.patient))
    assert files[3].path.read_bytes() == b"clip"
    with Image.open(tmp_path / "new/P001/shots/rest.PNG") as image:
        assert (np.asarray(image) == picture()).all()
    with Image.open(tmp_path / "new/two.jpeg") as image:
        assert (image.format, image.size) == ("JPEG", (20, 24))
    assert (
        (tmp_path / "new" / TABLE).read_text(encoding="utf-8").splitlines()[0]
        == ",".join(COLUMNS)
        == ("patient,exercise,file,grade,side,degree,split,start,end")
    )


def test_what_was_read_can_be_written_elsewhere(tmp_path):
    files = read(lay(tmp_path / "a"))
    write(tmp_path / "b", ((replace(f, path=f.path.relative_to(tmp_path / "a")), f.path.read_bytes()) for f in files))
    again = read(tmp_path / "b")
    assert [replace(f, path=f.path.relative_to(tmp_path / "b")) for f in again] == [
        replace(f, path=f.path.relative_to(tmp_path / "a")) for f in files
    ]


def test_a_writer_that_dies_leaves_no_table(tmp_path):
    def dying():
        yield sample()
        raise RuntimeError("lamp broke")

    with pytest.raises(RuntimeError, match="lamp broke"):
        write(tmp_path, dying())
    assert not (tmp_path / TABLE).exists()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "expected at least one file of a patient to write, found none"),
        ([sample(patient="")], "line 2: expected the name of a patient, found ''"),
        ([sample(patient="a\nb")], "line 2: expected the name of a patient"),
        ([sample(patient=" a")], "found the patient ' a', which would be read as 'a'"),
        ([sample(exercise="frown")], "line 2: expected an exercise, one of rest"),
        ([sample(exercise="Open smile")], "found the exercise 'Open smile', which would be read as 'smile'"),
        ([sample(grade=6)], "found the grade 6, which would be read as 5"),
        ([sample(grade=-1)], "expected a House-Brackmann grade I to VI or 1 to 6, found '-1'"),
        ([sample(grade=2.5)], "expected a House-Brackmann grade"),
        ([sample(side="L")], "found the side 'L', which would be read as 'left'"),
        ([sample(split="dev")], "expected the split train, val, test, found 'dev'"),
        ([sample("../x.jpg")], "expected the place of a picture or clip below the folder"),
        ([sample("/x.jpg")], "expected the place of a picture or clip below the folder"),
        ([sample("a\\b.jpg")], "line 2: expected values as they are read, found the path"),
        ([sample("palsy.csv", b"x")], "expected the place of a picture or clip"),
        ([sample("x.mp4", b"x", start=float("nan"))], "expected start in seconds"),
        ([sample("x.mp4", b"x", start=2, end=1)], "expected an end after the start"),
        ([sample(start=1)], "expected start and end with clips alone"),
        ([sample("x.bmp")], r"x\.bmp: expected a name that ends in \.jpg, \.jpeg or \.png for a picture"),
        ([sample(content=picture().astype(float))], r"smile\.jpg: expected a picture \(H, W, 3\) uint8"),
        ([sample("x.mp4", b"")], r"x\.mp4: expected the bytes of a file or a picture, found b''"),
        ([sample("x.mp4", "text")], r"x\.mp4: expected the bytes of a file or a picture"),
        ([sample(), sample()], "line 3: expected every file, or part of a clip, once, found that of line 2 again"),
        ([sample(), sample("b.jpg", grade=4)], "line 3: expected one grade a patient, found V for 'P001' and IV"),
        ([sample(), sample("b.jpg", split="val")], "line 3: expected one split a patient"),
        ([sample("x.mp4", b"x", end=1), sample("x.mp4", b"y", start=1)], "expected one content of a file, found another"
         " in line 3"),
        ([sample("P001", b"x"), sample()], "P001: is a file, expected a folder"),
    ],
)  # fmt: skip
def test_rows_that_would_not_come_back_are_refused(tmp_path, samples, message):
    with pytest.raises(SemeiaError, match=message) as caught:
        write(tmp_path, samples)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / TABLE).exists()
