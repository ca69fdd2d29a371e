"""MORPH: the table of real releases is read, persons stay in one split, and what is wrong is named."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats.morph import COLUMNS, FOLDS, TABLES, fold_splits, read, write
from semeia.data.samples import Vocabulary
from semeia.records import FaceLabels, SemeiaError

HEADER = "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo"
ROWS = (
    "009055,1,01/02/1950,03/04/2004,B,M,,54,0,NA,Album2/009055_1M54.JPG",
    "009055,2,01/02/1950,03/04/2005,B,M,,55,1,NA,Album2/009055_2M55.JPG",
    "273546,1,05/06/1984,07/08/2006,W,F,,22,0,NA,Album2/273546_01F22.JPG",
)


def picture(value=90):
    return np.full((24, 20, 3), (value, 40, 200), np.uint8)


def lay(folder, rows=ROWS, header=HEADER, *, name=TABLES[0], end="\n", start=""):
    """A data set as its makers would lay it out; each photo of the column stands in ``Album2``."""
    (folder / "Album2").mkdir(exist_ok=True, parents=True)
    for photo in ("009055_1M54", "009055_2M55", "273546_01F22"):
        Image.fromarray(picture()).save(folder / "Album2" / f"{photo}.JPG")
    (folder / name).write_text(start + end.join((header, *rows)) + end, encoding="utf-8", newline="")
    return folder


def test_the_table_of_the_release_is_read(tmp_path):
    faces = read(lay(tmp_path))
    assert [faces.labels(i) for i in range(3)] == [
        FaceLabels(key="Album2/009055_1M54", identity="009055", age=54, attributes={"Male": 1}),
        FaceLabels(key="Album2/009055_2M55", identity="009055", age=55, attributes={"Male": 1}),
        FaceLabels(key="Album2/273546_01F22", identity="273546", age=22, attributes={"Male": 0}),
    ]
    assert faces.extra(2) == {"race": "W"}
    assert faces.image(0).shape == (24, 20, 3)


def test_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    plain = read(lay(tmp_path / "a"))
    other = read(lay(tmp_path / "b", end="\r\n", start="\ufeff"))
    assert [other.labels(i) for i in range(3)] == [plain.labels(i) for i in range(3)]


def test_other_names_of_columns_and_tables_are_known(tmp_path):
    rows = ("54,1,/somewhere/Dataset/Album2/009055_1M54.JPG", "22,0,/somewhere/Dataset/Album2/273546_01F22.JPG")
    lay(tmp_path, rows, "Age,Gender,FilePath", name="Train.csv")
    faces = read(tmp_path, table="Train.csv")
    assert faces.labels(0) == FaceLabels(key="Album2/009055_1M54", identity="009055", age=54, attributes={"Male": 1})
    lay(tmp_path, ("Album2/273546_01F22.JPG,273546,-1,22",), ",id_num,Male,age", name=TABLES[1])
    assert read(tmp_path).labels(0).attributes == {"Male": 0}


def test_unknown_age_gender_and_race_are_missing_labels(tmp_path):
    faces = read(lay(tmp_path, ("273546,1,,,,,,,,,Album2/273546_01F22.JPG",)))
    assert faces.labels(0) == FaceLabels(key="Album2/273546_01F22", identity="273546")
    assert faces.extra(0) == {}


def test_classes_in_place_of_ages_are_noticed(tmp_path):
    rows = [row.replace(",54,", ",38,").replace(",55,", ",39,").replace(",22,", ",6,") for row in ROWS]
    with pytest.raises(SemeiaError, match="found 38 for 'Album2/009055_1M54', whose name says 54, and 3 such"):
        read(lay(tmp_path, rows))
    assert read(lay(tmp_path, (ROWS[0].replace(",54,", ",38,"), *ROWS[1:]))).labels(0).age == 38


def test_every_person_is_tested_in_exactly_one_fold_and_folds_are_alike():
    persons = [f"{i:06}" for i in range(23)]
    splits = [fold_splits(persons * 2, fold) for fold in range(1, FOLDS + 1)]
    assert all([s[who] for s in splits].count("test") == 1 for who in persons)
    assert [list(s.values()).count("test") for s in splits] == [5, 5, 5, 4, 4]
    assert fold_splits(reversed(persons), 4) == splits[3]
    assert [who for who in persons if splits[1][who] == "test"] == ["000001", "000006", "000011", "000016", "000021"]


def test_a_fold_splits_the_faces_by_person(tmp_path):
    faces = read(lay(tmp_path), fold=1)
    assert [faces.labels(i).split for i in range(3)] == ["test", "test", "train"]
    assert [read(tmp_path, fold=2).labels(i).split for i in range(3)] == ["train", "train", "test"]
    with pytest.raises(SemeiaError, match="expected a fold from 1 to 5, found 6"):
        read(tmp_path, fold=6)


def test_a_split_column_is_taken_and_refused_where_it_shares_a_person(tmp_path):
    rows = [f"{row},{split}" for row, split in zip(ROWS, ("Train", "train", "Validation"), strict=True)]
    faces = read(lay(tmp_path, rows, f"{HEADER},split"))
    assert [faces.labels(i).split for i in range(3)] == ["train", "train", "val"]
    rows[1] = rows[1].replace(",train", ",test")
    lay(tmp_path, rows, f"{HEADER},split")
    with pytest.raises(SemeiaError, match="expected every person in one split, found '009055' in 'train' and 'test'"):
        read(tmp_path)
    assert read(tmp_path, fold=1).labels(1).split == "test"


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ((), HEADER, "expected at least one labelled face, found none"),
        (ROWS, HEADER.replace("photo", "place"), r"line 1: expected a column photo or .* separated by ','"),
        (ROWS, HEADER.replace(",age,", ",years,"), "line 1: expected a column age"),
        ([r.replace(",", ";") for r in ROWS], HEADER.replace(",", ";"), r"expected a column photo .* found 'id_num;"),
        ((ROWS[0] + ",more",), HEADER, "line 2: expected 11 fields separated by ',', found 12"),
        ((ROWS[0].replace(",54,", ",old,"),), HEADER, "line 2: expected an age in years from 0 to 130, found 'old'"),
        ((ROWS[0].replace(",54,", ",-1,"),), HEADER, "line 2: expected an age in years from 0 to 130, found '-1'"),
        ((ROWS[0].replace(",54,", ",nan,"),), HEADER, "line 2: expected an age in years"),
        ((ROWS[0].replace(",M,", ",X,"),), HEADER, "line 2: expected the gender M or F, found 'x'"),
        ((ROWS[0] + ",maybe",), f"{HEADER},split", "line 2: expected the split train, val or test, found 'maybe'"),
        ((",1,,,B,M,,54,0,NA,Album2/face.JPG",), HEADER, "line 2: expected the id of a person in a column id_num"),
        (("9,1,,,B,M,,54,0,NA,../face.JPG",), HEADER, "line 2: expected the place of a photo below the folder"),
        (("9,1,,,B,M,,54,0,NA,",), HEADER, "line 2: expected the place of a photo"),
        ((ROWS[0], ROWS[0]), HEADER, "key 'Album2/009055_1M54' stands in several rows"),
        (("9,1,,,B,M,,54,0,NA,Album2/gone.JPG",), HEADER, r"gone\.JPG: not found; expected the picture"),
    ],
)
def test_wrong_tables_are_named(tmp_path, rows, header, message):
    lay(tmp_path, rows, header)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(tmp_path)
    assert TABLES[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_tables_are_named(tmp_path):
    with pytest.raises(SemeiaError, match=r"not found; expected the folder of MORPH"):
        read(tmp_path / "nowhere")
    with pytest.raises(
        SemeiaError, match=r"morph_2008_nonCommercial\.csv: not found; a folder of MORPH has it \(or MORPH_A"
    ):
        read(tmp_path)
    (tmp_path / TABLES[0]).write_bytes(b"")
    with pytest.raises(SemeiaError, match="expected at least one labelled face"):
        read(tmp_path)
    (tmp_path / TABLES[0]).write_bytes(b"\xff\xfe\x00photo")
    with pytest.raises(SemeiaError, match="expected a text file of labels"):
        read(tmp_path)


def sample(number=0, who="000001", **change):
    age = 30 + number
    face = FaceLabels(key=f"Album2/{who}_{number}M{age}", identity=who, age=age, attributes={"Male": 1}, split="train")
    return replace(face, **change), picture()


def test_written_faces_come_back(tmp_path):
    samples = [sample(0), sample(1), sample(2, "000,2", key="Album2/other", age=31.7, attributes={}, split="test")]
    write(tmp_path, samples)
    faces = read(tmp_path)
    assert [faces.labels(i) for i in range(3)] == [face for face, _ in samples]
    with (tmp_path / TABLES[0]).open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == (*COLUMNS, "split")
    assert [row["picture_num"] for row in rows] == ["0", "1", "0"]


def test_without_splits_the_columns_are_those_of_the_release(tmp_path):
    write(tmp_path, [sample(split=None)])
    assert (tmp_path / TABLES[0]).read_text().splitlines()[0] == HEADER
    assert read(tmp_path).labels(0) == sample(split=None)[0]


def test_a_writer_that_dies_leaves_no_table(tmp_path):
    def dying():
        yield sample()
        raise RuntimeError("lamp broke")

    with pytest.raises(RuntimeError, match="lamp broke"):
        write(tmp_path, dying())
    assert not (tmp_path / TABLES[0]).exists()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample(identity=None)], "expected an identity of printable text, found ''"),
        ([sample(identity="a\nb")], "expected an identity of printable text"),
        ([sample(age=None)], "expected an age from 0 to 130, found nan"),
        ([sample(age=18.0)], "expected the age that the key names, found 18"),
        ([sample(key="face")], "expected a key such as 'Album2/000001_1M30', found face"),
        ([sample(key="Album2/../x")], "expected a key such as"),
        ([sample(split="dev")], "expected the split train, val or test, found dev"),
        ([sample(), sample()], "expected keys that differ"),
        ([sample(0), sample(1, split="test")], "expected every person in one split, found 000001 in two"),
        ([(sample()[0], picture().astype(float))], r"expected a picture \(H, W, 3\) uint8"),
    ],
)
def test_samples_that_lack_what_the_layout_needs_are_refused(tmp_path, samples, message):
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, samples)
    assert not (tmp_path / TABLES[0]).exists()


def test_faces_feed_training_and_evaluation(tmp_path):
    write(tmp_path, [sample(i, f"{i:06}") for i in range(10)])
    faces, words = read(tmp_path, fold=3), Vocabulary()
    feed = FaceFeed([FaceSet(faces)], batch_size=4, image_size=32, vocabulary=words, augmentation=Augmentation())
    batch = feed.batch(0)
    assert batch["age_mask"].all()
    assert batch["attributes_mask"].sum() == 4
    seen = next(evaluation_batches(faces, split="test", view="aligned", image_size=32, vocabulary=words, margin=0.25))
    assert sorted(seen["age"].tolist()) == [32, 37]
