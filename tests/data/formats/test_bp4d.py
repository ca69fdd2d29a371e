"""BP4D: codes of frames are read as published code does, folds keep persons apart, and what is wrong is named."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats.bp4d import HELD_OUT, PARTS, UNITS, read, split_of, write
from semeia.data.samples import Vocabulary
from semeia.records import FaceLabels, SemeiaError

HEADER = "0," + ",".join(str(n) for n in range(1, 28))
ALL = dict.fromkeys(UNITS, 0)


def picture(value=90):
    return np.full((24, 20, 3), (value, 40, 200), np.uint8)


def row(frame, **codes):
    """A line of an occurrence table: unit codes by name, 0 for the protocol's others, 9 for the rest."""
    known = {**ALL, **codes}
    return ",".join([str(frame), *(str(known.get(f"AU{n:02}", 9)) for n in range(1, 28))])


def table(folder, *rows, name="F001_T1", place="AUCoding/AU_OCC", header=HEADER, end="\n", start=""):
    (folder / place).mkdir(exist_ok=True, parents=True)
    (folder / place / f"{name}.csv").write_text(start + end.join((header, *rows)) + end, encoding="utf-8", newline="")


def pictures(folder, *names, place="BP4D-training/F001/T1"):
    (folder / place).mkdir(exist_ok=True, parents=True)
    for name in names:
        Image.fromarray(picture()).save(folder / place / name)


def lay(folder, *rows, frames=("2440.jpg", "2441.jpg"), **how):
    table(folder, *(rows or (row(2440, AU12=1, AU06=9), row(2441, AU26=1))), **how)
    pictures(folder, *frames)
    return folder


def strengths(folder, *rows, unit="AU12", name="F001_T1", place="AUCoding/AU_INT"):
    (folder / place / unit).mkdir(exist_ok=True, parents=True)
    (folder / place / unit / f"{name}_{unit}.csv").write_text("\n".join(rows) + "\n")


def test_codes_of_frames_are_read_and_9_is_not_coded(tmp_path):
    faces = read(lay(tmp_path))
    without = {unit: code for unit, code in ALL.items() if unit != "AU06"}
    assert faces.labels(0) == FaceLabels(key="F001/T1/2440", identity="F001", au_occurrence=without | {"AU12": 1})
    assert faces.labels(1).au_occurrence == ALL
    assert read(tmp_path, units=None).labels(1).au_occurrence == ALL | {"AU26": 1}
    assert read(tmp_path, units=("AU26",)).labels(0).au_occurrence == {}
    assert faces.image(1).shape == (24, 20, 3)


def test_frames_are_found_with_however_many_zeros_and_wherever_releases_put_them(tmp_path):
    lay(tmp_path, row(7), row(12), frames=("007.jpg", "0012.jpg", "._0012.jpg", "Thumbs.db.jpg"))
    faces = read(tmp_path)
    assert [path.name for path in faces.pictures] == ["007.jpg", "0012.jpg"]
    assert faces.labels(0).key == "F001/T1/0007"
    for place in ("img", "BP4D", "2D+3D", "."):
        other = tmp_path / f"with {place}"
        table(other, row(7), place="AU_OCC")
        pictures(other, "7.jpg", place=f"{place}/F001/T1")
        assert read(other).pictures[0].name == "7.jpg"
    table(tmp_path / "flat", row(7), place="AUCoding")
    pictures(tmp_path / "flat", "7.jpg")
    assert len(read(tmp_path / "flat")) == 1


def test_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    plain, other = read(lay(tmp_path / "a")), read(lay(tmp_path / "b", end="\r\n", start="\ufeff"))
    assert [other.labels(i) for i in range(2)] == [plain.labels(i) for i in range(2)]


def test_intensities_join_the_frames_and_9_is_not_coded(tmp_path):
    lay(tmp_path)
    strengths(tmp_path, "2440,3", "2441,9", "2442,5")
    strengths(tmp_path, "2440,0", "2441,5", unit="AU06")
    strengths(tmp_path, "2440,1", unit="AU26")
    faces = read(tmp_path)
    assert faces.labels(0).au_intensity == {"AU12": 3, "AU06": 0}
    assert faces.labels(1).au_intensity == {"AU06": 5}
    assert len(faces) == 2
    assert read(tmp_path, units=None).labels(0).au_intensity == {"AU12": 3, "AU06": 0, "AU26": 1}
    assert read(tmp_path, intensity=False).labels(0).au_intensity == {}


def test_parts_hold_41_persons_and_each_is_tested_once():
    persons = [person for part in PARTS for person in part]
    assert [len(part) for part in PARTS] == [14, 14, 13]
    assert sorted(persons) == [f"F{i:03}" for i in range(1, 24)] + [f"M{i:03}" for i in range(1, 19)]
    for person in persons:
        splits = [split_of(person, fold, parts=PARTS, held_out={}) for fold in (1, 2, 3)]
        assert sorted(splits) == ["test", "train", "train"]
    assert split_of("F004", 1, parts=PARTS, held_out={}) == "test"
    assert split_of("F003", 2, parts=PARTS, held_out={}) == "test"
    assert split_of("F001", 3, parts=PARTS, held_out={}) == "test"


def test_persons_held_out_come_from_training_of_both_sexes():
    for fold, persons in HELD_OUT.items():
        assert {split_of(person, fold, parts=PARTS, held_out={}) for person in persons} == {"train"}
        assert {person[0] for person in persons} == {"F", "M"}


def test_a_fold_splits_the_faces_by_person(tmp_path):
    for person in ("F001", "F002", "F004"):
        table(tmp_path, row(1), name=f"{person}_T8")
        pictures(tmp_path, "0001.jpg", place=f"BP4D-training/{person}/T8")
    assert [read(tmp_path, fold=1).labels(i).split for i in range(3)] == ["train", "train", "test"]
    assert [read(tmp_path, fold=1, val=True).labels(i).split for i in range(3)] == ["val", "train", "test"]
    assert [read(tmp_path, fold=3, val=True).labels(i).split for i in range(3)] == ["test", "test", "train"]
    assert read(tmp_path).labels(0).split is None
    table(tmp_path, row(1), name="F082_T8")
    with pytest.raises(SemeiaError, match="F082: expected a person of the three parts"):
        read(tmp_path, fold=1)
    with pytest.raises(SemeiaError, match="expected a fold from 1 to 3, found 4"):
        read(tmp_path, fold=4)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ((), HEADER, "expected at least one labelled face, found none"),
        (
            (row(2440),),
            HEADER.replace(",", ";"),
            r"line 1: expected numbers of units separated by ',', found no AU01, AU02",
        ),
        (
            (row(2440),),
            HEADER.replace(",12,", ",x12,"),
            "line 1: expected the numbers of units, each once, found 'x12'",
        ),
        ((row(2440),), HEADER.replace(",12,", ",11,"), "line 1: expected the numbers of units, each once, found '11'"),
        ((row(2440),), HEADER.replace(",24,", ",28,"), "line 1: .* found no AU24"),
        ((row(2440).replace(",", ";"),), HEADER, "line 2: expected 28 fields separated by ',', found 1"),
        ((row(2440) + ",0",), HEADER, "line 2: expected 28 fields separated by ',', found 29"),
        ((row(2440), row(2440)), HEADER, "line 3: expected every frame once, found 2440 again"),
        ((row(2440), row("02440")), HEADER, "line 3: expected every frame once, found 2440 again"),
        ((row("first"),), HEADER, "line 2: expected the number of a frame, found 'first'"),
        ((row(-3),), HEADER, "line 2: expected the number of a frame, found '-3'"),
        ((row(2440, AU12=7),), HEADER, r"line 2: expected 0, 1 or 9 \(not coded\) for AU12, found '7'"),
        ((row(2440, AU12=""),), HEADER, "line 2: expected 0, 1 or 9 .* for AU12, found ''"),
        ((row(2440, AU12="1.0"),), HEADER, "line 2: expected 0, 1 or 9 .* for AU12, found '1.0'"),
        ((row(2450),), HEADER, r"2450\.jpg: not found; expected the picture"),
    ],
)
def test_wrong_tables_are_named(tmp_path, rows, header, message):
    table(tmp_path, *rows, header=header)
    pictures(tmp_path, "2440.jpg")
    with pytest.raises(SemeiaError, match=message) as caught:
        read(tmp_path)
    assert "AUCoding" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("2440,6",), r"line 1: expected 0, 1, 2, 3, 4, 5 or 9 \(not coded\) for AU12, found '6'"),
        (("2440,2", "2440,2"), "line 2: expected every frame once, found 2440 again"),
        (("2440 2",), "line 1: expected 2 fields separated by ',', found 1"),
        (("frame,code",), "line 1: expected the number of a frame, found 'frame'"),
    ],
)
def test_wrong_intensities_are_named(tmp_path, rows, message):
    strengths(lay(tmp_path), *rows)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(tmp_path)
    assert "F001_T1_AU12.csv" in str(caught.value)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(SemeiaError, match="not found; expected the folder of BP4D"):
        read(tmp_path / "nowhere")
    with pytest.raises(SemeiaError, match=r"AU_OCC: not found; a folder of BP4D has it"):
        read(tmp_path)
    lay(tmp_path)
    strengths(tmp_path, "1,0", name="F002_T1")
    with pytest.raises(SemeiaError, match=r"F001_T1_AU12\.csv: not found; expected the intensities of F001_T1"):
        read(tmp_path)
    (tmp_path / "AUCoding/AU_OCC/F001_T1.csv").write_bytes(b"")
    with pytest.raises(SemeiaError, match=r"F001_T1\.csv: line 1: expected numbers of units"):
        read(tmp_path)
    (tmp_path / "AUCoding/AU_OCC/notes.csv").write_bytes(b"")
    (tmp_path / "AUCoding/AU_OCC/F001_T1.csv").unlink()
    with pytest.raises(SemeiaError, match=r"notes\.csv: expected tables such as F001_T1\.csv"):
        read(tmp_path)


def test_frames_without_pictures_are_skipped_on_demand_and_two_pictures_of_a_frame_are_refused(tmp_path):
    lay(tmp_path, frames=("2441.jpg",))
    with pytest.raises(SemeiaError, match=r"2440\.jpg: not found; .* 1 of 2 are missing"):
        read(tmp_path)
    faces = read(tmp_path, missing="skip")
    assert [faces.labels(i).key for i in range(len(faces))] == ["F001/T1/2441"]
    pictures(tmp_path, "02441.jpg")
    with pytest.raises(SemeiaError, match=r"2441\.jpg: expected one picture a frame, found 02441\.jpg beside it"):
        read(tmp_path)


def sample(frame=2440, person="F001", **change):
    face = FaceLabels(
        key=f"{person}/T1/{frame:04}", identity=person, au_occurrence=ALL | {"AU12": 1}, au_intensity={"AU12": 3.0}
    )
    return replace(face, **change), picture()


def test_written_faces_come_back(tmp_path):
    samples = [
        sample(3), sample(2440, au_occurrence={"AU12": 0, "AU43": 1}, au_intensity={}),
        sample(2441, "M018", au_intensity={"AU06": 0.0, "AU12": 5.0}),
    ]  # fmt: skip
    write(tmp_path, [samples[i] for i in (2, 1, 0)])
    faces = read(tmp_path, units=None)
    assert [faces.labels(i) for i in range(3)] == [face for face, _ in samples]
    first, second = (tmp_path / "AUCoding/AU_OCC/M018_T1.csv").read_text().splitlines()
    assert first.split(",")[:4] == ["0", "1", "2", "3"]
    assert second.startswith("2441,0,0,9,0,9,0,0,")
    assert (tmp_path / "AUCoding/AU_INT/AU06/F001_T1_AU06.csv").read_text() == "3,9\n2440,9\n"
    assert (tmp_path / "BP4D-training/F001/T1/0003.jpg").is_file()


def test_a_writer_that_dies_leaves_no_table(tmp_path):
    def dying():
        yield sample()
        raise RuntimeError("lamp broke")

    with pytest.raises(RuntimeError, match="lamp broke"):
        write(tmp_path, dying())
    assert not (tmp_path / "AUCoding").exists()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample(key="F001/T1/12")], "expected a key such as 'F001/T1/2440', found 'F001/T1/12'"),
        ([sample(key="F001/T1/../0001")], "expected a key such as"),
        ([sample(identity=None)], "expected the identity that the key names, found None"),
        ([sample(au_occurrence={})], "expected occurrences of units, found none"),
        ([sample(au_occurrence={"AU1": 1})], "expected units such as AU01, found AU1"),
        ([sample(au_occurrence={"AU12": 2})], "expected occurrences 0 or 1"),
        ([sample(au_intensity={"AU12": 2.5})], r"expected intensities 0, 1, 2, 3, 4 or 5, found \[2.5\]"),
        ([sample(), sample()], "found 'F001/T1/2440' twice"),
        ([(sample()[0], picture()[0])], r"expected a picture \(H, W, 3\) uint8"),
    ],
)
def test_samples_that_lack_what_the_layout_needs_are_refused(tmp_path, samples, message):
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, samples)
    assert not (tmp_path / "AUCoding").exists()


def test_faces_feed_training_and_evaluation_and_what_is_not_coded_is_masked(tmp_path):
    coded = {"AU01": 1, "AU12": 0}
    write(tmp_path, [sample(i, person, au_occurrence=coded) for person in ("F001", "F004") for i in range(2)])
    faces, words = read(tmp_path, fold=1), Vocabulary(action_units=("AU01", "AU02", "AU12"))
    feed = FaceFeed(
        [FaceSet(faces, balance="au")], batch_size=3, image_size=32, vocabulary=words, augmentation=Augmentation()
    )
    batch = feed.batch(0)
    assert batch["au_occurrence"].tolist() == [[1, 0, 0]] * 3
    assert batch["au_occurrence_mask"].tolist() == [[True, False, True]] * 3
    seen = next(evaluation_batches(faces, split="test", view="aligned", image_size=32, vocabulary=words, margin=0.25))
    assert len(seen["image"]) == 2
