"""AffectNet: both forms are written and read, and what is wrong is named."""

import io
import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats.affectnet import CLASSES, COLUMNS, read, write
from semeia.data.samples import Vocabulary
from semeia.records import EXPRESSIONS, Box, FaceLabels, SemeiaError

HEADER = ",".join(COLUMNS)
LISTS, IMAGES = "Manually_Annotated_file_lists", "Manually_Annotated/Manually_Annotated_Images"
TRAINING = f"{LISTS}/training.csv"


def points(shift=0.0):
    grid = np.stack(np.meshgrid(np.linspace(8, 40, 17), np.linspace(8, 40, 4)), -1).reshape(68, 2)
    return (grid + shift).astype(np.float32)


def photo(number=0, split="train", **others):
    return FaceLabels(
        key=f"{number % 3}/{number:06x}ab",
        split=split,
        expression=CLASSES[number % 8],
        box=Box(4.0, 5.0, 36.0, 36.5),
        landmarks=points(number),
        valence=0.1 * number - 0.45,
        arousal=-0.176846,
        **others,
    )


PHOTOS = [*(photo(i) for i in range(8)), photo(9, "val")]
CROPS = [
    replace(face, key=key, box=None)
    for face, key in zip(PHOTOS, [*(f"train_set/{i}" for i in (2, 0, 10, 3, 4, 5, 6, 7)), "val_set/0"], strict=True)
]


def picture(value=90):
    return np.full((48, 48, 3), (value, 40, 200), np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("affectnet")
    for form, faces in (("csv", PHOTOS), ("npy", CROPS)):
        write(folder / form, [(face, picture(20 * i)) for i, face in enumerate(faces)], form=form)
    return folder


@pytest.fixture
def photos(written, tmp_path):
    return shutil.copytree(written / "csv", tmp_path, dirs_exist_ok=True)


@pytest.fixture
def crops(written, tmp_path):
    return shutil.copytree(written / "npy", tmp_path, dirs_exist_ok=True)


def same(found, expected):
    np.testing.assert_array_equal(found.landmarks, expected.landmarks)
    return found == expected


def row(**fields):
    """A row of a table, as text, for the first of the photos."""
    values = {
        "subDirectory_filePath": "0/000000ab.jpg", "face_x": "4", "face_y": "5", "face_width": "36",
        "face_height": "36", "facial_landmarks": ";".join(["1.5"] * 136), "expression": "1", "valence": "0.5",
        "arousal": "-0.25",
    } | fields  # fmt: skip
    return ",".join(values[name] for name in COLUMNS)


def table(folder, *rows, header=HEADER, name="training.csv", end="\n"):
    path = folder / LISTS / name
    for other in path.parent.iterdir():
        other.unlink()
    path.write_bytes(end.join([*([header] if header else []), *rows, ""]).encode())
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Whole photos with tables


def test_photos_come_back(photos):
    back = read(photos)
    assert all(same(back.labels(i), face) for i, face in enumerate(PHOTOS))
    assert len(back) == 9
    assert back.select("val").tolist() == [8]
    assert abs(int(back.image(3)[0, 0, 0]) - 60) < 3
    assert same(pickle.loads(pickle.dumps(back)).labels(2), PHOTOS[2])


def test_tables_are_written_as_the_real_ones(photos):
    lines = (photos / TRAINING).read_text().splitlines()
    assert (
        lines[0]
        == "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    )
    assert lines[2].startswith("1/000001ab.jpg,4,5,36,36.5,9;9;11;9;13;9;")
    assert lines[2].endswith(";41;41,1,-0.35,-0.176846")
    assert (photos / IMAGES / "1/000001ab.jpg").is_file()
    assert len((photos / LISTS / "validation.csv").read_text().splitlines()) == 2
    assert CLASSES == ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
    assert set(CLASSES) == set(EXPRESSIONS)


@pytest.mark.parametrize(
    "name", ["Manually_Annotated_Images", "Manually_Annotated_compressed/Manually_Annotated_Images"]
)
def test_tables_may_lie_above_and_photos_in_other_folders(photos, name):
    (photos / name).parent.mkdir(exist_ok=True)
    (photos / IMAGES).rename(photos / name)
    for path in (photos / LISTS).iterdir():
        path.rename(photos / path.name)
    back = read(photos)
    assert same(back.labels(8), PHOTOS[8])


def test_one_table_alone_is_read(photos):
    (photos / TRAINING).unlink()
    assert read(photos).select("val").tolist() == [0]


def test_seven_classes_leave_contempt_out(photos):
    seven = read(photos, classes=7)
    assert [seven.labels(i).expression for i in range(8)] == [*CLASSES[:7], "happiness"]
    with pytest.raises(SemeiaError, match="expected classes=7 or classes=8, found 6"):
        read(photos, classes=6)


def test_faces_without_an_expression_are_kept_on_demand(photos):
    names = [f"{i % 3}/{i:06x}ab.jpg" for i in range(4)]
    unknown = {"valence": "-2", "arousal": "-2.0"}
    rows = [
        row(),
        row(subDirectory_filePath=names[1], expression="8"),
        row(subDirectory_filePath=names[2], expression="9", **unknown),
        row(subDirectory_filePath=names[3], expression="10", face_x="NULL", face_y="NULL", **unknown),
    ]
    table(photos, *rows)
    assert len(read(photos)) == 1
    back = read(photos, others=True)
    assert [back.extra(i) for i in range(4)] == [
        {}, {"expression": "none"}, {"expression": "uncertain"}, {"expression": "no face"},
    ]  # fmt: skip
    assert [back.labels(i).expression for i in range(4)] == ["happiness", None, None, None]
    assert [back.labels(i).valence for i in range(4)] == [0.5, 0.5, None, None]
    assert back.labels(3).box is None
    assert len(read(photos, others=True, classes=7)) == 4


@pytest.mark.parametrize(
    "change", [{"face_x": "NULL", "face_y": "NULL"}, {"face_width": "-1"}, {"face_height": "0"}, {"face_x": ""}]
)
def test_where_no_face_was_found_neither_box_nor_landmarks_are_known(photos, change):
    table(photos, row(**change, facial_landmarks="NULL"))
    face = read(photos).labels(0)
    assert face.box is None
    assert face.landmarks is None
    assert face.expression == "happiness"


def test_a_table_without_header_is_read(photos):
    table(photos, row(valence="0.25"), header=None, name="validation.csv")
    face = read(photos).labels(0)
    assert (face.split, face.valence, face.box) == ("val", 0.25, Box(4, 5, 36, 36))


def test_columns_are_found_by_their_names(photos):
    order = list(reversed(COLUMNS))
    values = dict(zip(COLUMNS, row().split(","), strict=True))
    table(photos, ",".join([*(values[name] for name in order), "x"]), header=",".join([*order, "aligned_path"]))
    assert read(photos).labels(0).expression == "happiness"


@pytest.mark.parametrize("header", [HEADER, None])
def test_windows_line_ends_and_marks_do_not_matter(photos, header):
    path = table(photos, row(), "", end="\r\n", header=header)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    face = read(photos).labels(0)
    assert (face.key, face.arousal) == ("0/000000ab", -0.25)


def test_pictures_that_are_not_there_are_named_or_skipped(photos):
    (photos / IMAGES / "1/000001ab.jpg").unlink()
    with pytest.raises(SemeiaError, match=r"000001ab\.jpg: not found; .* 1 of 9 are missing"):
        read(photos)
    back = read(photos, skip_missing=True)
    assert len(back) == 8
    assert same(back.labels(1), PHOTOS[2])


LONG = ";".join(["1"] * 136)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expression": "11"}, "expected the number of an expression from 0 to 10, found '11'"),
        ({"expression": "-1"}, "expected the number of an expression from 0 to 10, found '-1'"),
        ({"expression": "1.5"}, "found '1.5'"),
        ({"expression": "happy"}, "found 'happy'"),
        ({"expression": "nan"}, "found 'nan'"),
        ({"valence": "nan"}, "expected valence from -1 to 1, or -2 where it is not known, found 'nan'"),
        ({"valence": "-1.5"}, "expected valence from -1 to 1"),
        ({"arousal": "inf"}, "expected arousal from -1 to 1, or -2 where it is not known, found 'inf'"),
        ({"arousal": "much"}, "found 'much'"),
        ({"face_x": "inf"}, "expected pixels of face_x from -1e[+]06 to 1e[+]06, found 'inf'"),
        ({"face_width": "nan"}, "expected pixels of face_width"),
        ({"facial_landmarks": "1;2;3"}, r"expected 136 numbers of pixels as landmarks .* found 3 values such as '1'"),
        ({"facial_landmarks": LONG.replace("1;1", "1;nan", 1)}, "expected 136 numbers of pixels as landmarks"),
        ({"facial_landmarks": LONG.replace("1;1", "1;1e99", 1)}, "expected 136 numbers of pixels as landmarks"),
        ({"facial_landmarks": LONG.replace(";", " ")}, "expected 136 numbers of pixels as landmarks"),
        ({"facial_landmarks": LONG.replace(";", ",")}, "expected 9 fields separated by ',', found 144"),
        ({"subDirectory_filePath": "../../secret.jpg"}, "expected the place of a picture below Manually_Annotated_Im"),
        ({"subDirectory_filePath": "/etc/passwd.jpg"}, "expected the place of a picture below"),
        ({"subDirectory_filePath": ""}, "expected the place of a picture below"),
        ({"subDirectory_filePath": "0/\0.jpg"}, "expected the place of a picture below"),
    ],
)
@pytest.mark.parametrize("header", [HEADER, None])
def test_wrong_rows_are_named(photos, change, message, header):
    path = table(photos, row(subDirectory_filePath="1/000001ab.jpg"), row(**change), header=header)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(photos)
    assert str(caught.value).startswith(f"{path}: line {3 if header else 2}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("error")
def test_landmarks_beyond_all_bounds_make_no_noise(photos):
    table(photos, row(facial_landmarks=LONG.replace("1;1", "1;-1e300", 1)))
    with pytest.raises(SemeiaError, match="expected 136 numbers of pixels as landmarks"):
        read(photos)


def test_a_picture_that_is_listed_twice_is_named(photos):
    path = table(photos, row(), row(expression="2"))
    with pytest.raises(SemeiaError, match=r"csv: line 3: expected each picture once, found '0/000000ab\.jpg' as in "):
        read(photos)
    path.with_name("validation.csv").write_text(f"{row()}\n")
    path.write_text(f"{HEADER}\n{row()}")
    with pytest.raises(SemeiaError, match=r"validation\.csv: line 1: .* as in .*training\.csv: line 2; drop one"):
        read(photos)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: expected the columns subDirectory_filePath, .* found no subDirectory_filePath"),
        (b"path,expression\n1.jpg,1\n", "line 1: expected the columns .* found no subDirectory_filePath, face_x"),
        (HEADER.replace(",", ";").encode(), "separated by ',', found no subDirectory_filePath"),
        (HEADER.encode(), "expected at least one labelled face, found none"),
        (b"\xff\xfe\x80\x00", "expected a text file of labels, found one that cannot be read"),
    ],
)
def test_tables_of_another_kind_are_named(photos, content, message):
    table(photos).write_bytes(content)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(photos)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Crops with small files


def saved(value):
    stream = io.BytesIO()
    np.save(stream, value, allow_pickle=True)
    return stream.getvalue()


def test_crops_come_back_in_the_order_of_their_numbers(crops):
    back = read(crops)
    expected = {face.key: face for face in CROPS}
    keys = back.columns.texts["key"].tolist()
    assert keys == [*(f"train_set/{i}" for i in (0, 2, 3, 4, 5, 6, 7, 10)), "val_set/0"]
    assert all(same(back.labels(i), expected[key]) for i, key in enumerate(keys))
    assert back.select("val").tolist() == [8]
    assert abs(int(back.image(1)[0, 0, 0]) - 0) < 3
    assert len(read(crops, classes=7)) == 8


def test_small_files_hold_one_value_or_all_landmarks(crops):
    notes = crops / "train_set" / "annotations"
    assert sorted(path.name for path in notes.glob("10_*")) == ["10_aro.npy", "10_exp.npy", "10_lnd.npy", "10_val.npy"]
    assert int(np.load(notes / "10_exp.npy")) == 2
    assert np.load(notes / "10_lnd.npy").shape == (136,)
    assert (crops / "train_set/images/10.jpg").is_file()


@pytest.mark.parametrize("number", ["3", np.array("3"), np.array(3.0), np.array([3], np.uint8), np.array([["3"]])])
def test_numbers_and_texts_are_read_alike(crops, number):
    notes = crops / "val_set" / "annotations"
    (notes / "0_exp.npy").write_bytes(saved(number))
    (notes / "0_val.npy").write_bytes(saved(np.array("-0.176846")))
    (notes / "0_aro.npy").write_bytes(saved(np.array("-2")))
    (notes / "0_lnd.npy").write_bytes(saved(np.asfortranarray(points(9).astype(str))))
    assert same(read(crops).labels(8), replace(CROPS[8], expression="surprise", valence=-0.176846, arousal=None))


def test_a_kind_of_label_that_no_face_has_is_not_missed(crops):
    for path in crops.rglob("*_[vla]*.npy"):
        path.unlink()
    face = read(crops).labels(8)
    assert (face.expression, face.valence, face.landmarks) == ("happiness", None, None)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (saved(np.array(11)), "expected the number of an expression from 0 to 10, found '11'"),
        (saved(np.array(np.nan)), "expected the number of an expression from 0 to 10, found 'nan'"),
        (saved(np.array("happy")), "found 'happy'"),
        (saved(np.array(1j)), "expected the number of an expression"),
        (saved(np.array([1, 2])), r"expected one value, found shape \(2,\)"),
        (saved(np.array([])), r"expected one value, found shape \(0,\)"),
        (saved(np.zeros(1, [("a", int)])), "expected the number of an expression"),
        (saved(np.array([Bomb()], object)), "found one that cannot be read"),
        (saved(np.array({"a": 1}, object)), "found one that cannot be read"),
        (saved(np.zeros(100_000)), "cannot be read .more than 64 kB"),
        (saved(np.array(3))[:-3], "found one that cannot be read"),
        (saved(np.array(3))[:40], "found one that cannot be read"),
        (saved(np.array(3)).replace(b"()", b"(9,)").replace(b"} ", b"}", 1), "found one that cannot be read"),
        (saved(np.array(3)).replace(b"(), }   ", b"(1<<60,)}"), "found one that cannot be read"),
        (b"", "found one that cannot be read"),
        (b"PK\x03\x04" + bytes(30), "found one that cannot be read"),
        (b"\x93NUMPY\x02\x00" + bytes(30), "version 2.0 in place of 1.0"),
        (b"3\n", "found one that cannot be read"),
    ],
)
def test_wrong_small_files_are_named(crops, content, message):
    path = crops / "train_set" / "annotations" / "5_exp.npy"
    path.write_bytes(content)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(crops)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("val", -1.5, "expected valence from -1 to 1, or -2 where it is not known, found '-1.5'"),
        ("aro", np.inf, "expected arousal from -1 to 1, or -2 where it is not known, found 'inf'"),
        ("lnd", np.zeros(135), "expected 136 numbers of pixels as landmarks .* found 135 values such as '0.0'"),
        ("lnd", np.full(136, np.nan), "expected 136 numbers of pixels as landmarks"),
        ("lnd", np.zeros(136, complex), "expected 136 numbers of pixels as landmarks"),
        ("lnd", np.zeros(0), "expected 136 numbers of pixels as landmarks .* found none"),
    ],
)
def test_wrong_values_of_small_files_are_named(crops, kind, value, message):
    path = crops / "train_set" / "annotations" / f"5_{kind}.npy"
    path.write_bytes(saved(np.array(value)))
    with pytest.raises(SemeiaError, match=message) as caught:
        read(crops)
    assert str(caught.value).startswith(f"{path}: ")


def test_pictures_and_small_files_without_the_other_are_named(crops):
    (crops / "train_set/annotations/5_val.npy").unlink()
    with pytest.raises(SemeiaError, match=r"5_val\.npy: expected a \.npy with numbers, found one that cannot be read"):
        read(crops)
    (crops / "train_set/annotations/5_exp.npy").unlink()
    with pytest.raises(SemeiaError, match=r"5_exp\.npy: not found; expected one for the picture 5\.jpg"):
        read(crops)
    (crops / "train_set/images/5.jpg").unlink()
    (crops / "train_set/images/6.jpg").unlink()
    with pytest.raises(SemeiaError, match=r"6\.jpg: not found; expected the picture"):
        read(crops)
    assert len(read(crops, skip_missing=True)) == 7


def test_forms_that_lie_side_by_side_must_be_told_apart(crops):
    write(crops, [(PHOTOS[0], picture())], form="csv")
    with pytest.raises(
        SemeiaError, match=r"expected one form of AffectNet, found training\.csv and folders with \.npy"
    ):
        read(crops)
    assert len(read(crops, form="csv")) == 1
    assert len(read(crops, form="npy")) == 9


def test_missing_folders_are_named(tmp_path):
    with pytest.raises(SemeiaError, match="nowhere: not found; expected the folder of AffectNet"):
        read(tmp_path / "nowhere")
    with pytest.raises(SemeiaError, match=r"training\.csv: not found; a folder of AffectNet has it \(or .*, val_set\)"):
        read(tmp_path)
    with pytest.raises(SemeiaError, match="train_set: not found"):
        read(tmp_path, form="npy")
    with pytest.raises(SemeiaError, match=r"training\.csv: not found"):
        read(tmp_path, form="csv")
    (tmp_path / "val_set").mkdir()
    with pytest.raises(SemeiaError, match="val_set/images: not found"):
        read(tmp_path)


def test_a_torn_picture_is_an_error_when_it_is_opened(crops):
    path = crops / "val_set/images/0.jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SemeiaError, match=r"0\.jpg: expected a JPEG, PNG or BMP picture"):
        read(crops).image(8)


# ---------------------------------------------------------------------------------------------------------------------
# Writing and feeding


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expression": None}, "expected an expression among neutral, .* found None; leave it out"),
        ({"landmarks": None}, r"expected landmarks \(68, 2\), found none"),
        ({"landmarks": points()[:5]}, r"found shape \(5, 2\)"),
        ({"landmarks": points(np.nan)}, "values that are not finite"),
        ({"valence": 1.5}, "expected valence from -1 to 1 or None, found 1.5"),
        ({"arousal": np.nan}, "expected arousal from -1 to 1 or None, found nan"),
        ({"key": "../secret"}, "expected keys that differ such as '.*', found '../secret'"),
        ({"key": "a b"}, "expected keys that differ such as"),
        ({"key": None}, "found '.*' twice"),
        ({"split": "test"}, "expected (split 'train' or 'val'|the split that the key names)"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "npy"])
def test_samples_that_do_not_fit_the_layout_are_refused(tmp_path, change, message, form):
    first, second = (PHOTOS if form == "csv" else CROPS)[:2]
    face = replace(second, **change) if change != {"key": None} else first
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, [(first, picture()), (face, picture())], form=form)
    assert not (tmp_path / TRAINING).exists()
    assert len(list(tmp_path.rglob("*_exp.npy"))) == (form == "npy")


def test_tables_need_boxes_and_at_least_one_face(tmp_path):
    for box in (None, Box(0, 0, 0, 5)):
        with pytest.raises(SemeiaError, match="expected split 'train' or 'val' and a box with a size"):
            write(tmp_path, [(replace(PHOTOS[0], box=box), picture())], form="csv")
    with pytest.raises(SemeiaError, match="expected at least one face to write, found none"):
        write(tmp_path, [], form="csv")
    with pytest.raises(SemeiaError, match=r"key '0/000000ab': expected a picture \(H, W, 3\) uint8"):
        write(tmp_path, [(PHOTOS[0], picture().astype(float))], form="csv")


def test_labels_that_are_there_are_not_written_over(photos, tmp_path_factory):
    with pytest.raises(SemeiaError, match=r"training\.csv: exists already"):
        write(photos, [(PHOTOS[0], picture())], form="csv")
    folder = tmp_path_factory.mktemp("crops")
    write(folder, [(CROPS[0], picture())], form="npy")
    with pytest.raises(SemeiaError, match=r"2_exp\.npy: exists already"):
        write(folder, [(CROPS[0], picture())], form="npy")


def test_unknown_valence_and_arousal_stay_unknown(tmp_path):
    for form, known in (("csv", PHOTOS[0]), ("npy", CROPS[0])):
        face = replace(known, valence=None, arousal=None)
        write(tmp_path / form, [(face, picture())], form=form)
        assert same(read(tmp_path / form).labels(0), face)
    assert (tmp_path / "csv" / TRAINING).read_text().endswith(",0,-2,-2\n")


@pytest.mark.parametrize("form", ["csv", "npy"])
def test_faces_feed_training_and_evaluation(tmp_path, form):
    write(tmp_path, [(face, picture()) for face in (PHOTOS if form == "csv" else CROPS)], form=form)
    faces, words = read(tmp_path), Vocabulary()
    feed = FaceFeed([FaceSet(faces)], batch_size=8, image_size=32, vocabulary=words, augmentation=Augmentation())
    batch = feed.batch(0)
    assert batch["image"].shape == (8, 3, 32, 32)
    assert sorted(batch["expression"].tolist()) == list(range(8))
    seen = next(evaluation_batches(faces, split="val", view="aligned", image_size=32, vocabulary=words, margin=0.25))
    assert seen["expression"].tolist() == [EXPRESSIONS.index("happiness")]
