"""UTKFace: labels stand in names, splits follow from them, and what is wrong is named."""

import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats.utkface import RACES, read, write
from semeia.data.samples import Vocabulary
from semeia.records import FaceLabels, SemeiaError

MALFORMED = (
    "39_1_20170116174525125.jpg.chip.jpg",
    "61_1_20170109142408075.jpg.chip.jpg",
    "61_1_20170109150557335.jpg.chip.jpg",
)


def labels(age=26, gender=1, race=3, number=0, **others):
    key = f"{age}_{gender}_{race}_{20170117175041574 + number}"
    return FaceLabels(key=key, age=float(age), attributes={"Male": 1 - gender}, **others)


FACES = [labels(), labels(1, 0, 2), labels(116, 0, 4)]


def points(shift=0.0):
    return (np.arange(136, dtype=np.float32).reshape(68, 2) - 4 + np.float32(shift)).astype(np.float32)


def picture(value=90):
    return np.full((40, 40, 3), (value, 40, 200), np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("utkface")
    write(folder, [(face, picture(60 * i)) for i, face in enumerate(FACES)])
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


def put(folder, *names):
    for name in names:
        (folder / "UTKFace" / name).touch()


def unsplit(faces):
    return {faces.labels(i).key: replace(faces.labels(i), split=None) for i in range(len(faces))}


def test_what_is_written_comes_back(folder):
    back = read(folder)
    assert unsplit(back) == {face.key: face for face in FACES}
    order = sorted(face.key for face in FACES)
    assert back.columns.texts["key"].tolist() == order
    assert back.extra(order.index(FACES[0].key)) == {"race": "Indian"}
    assert abs(int(back.image(order.index(FACES[2].key))[0, 0, 0]) - 120) < 3
    assert len(RACES) == 5


def test_the_layout_is_the_real_one(folder):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert "UTKFace/26_1_3_20170117175041574.jpg.chip.jpg" in files
    assert len(files) == 3


@pytest.mark.parametrize("place", ["UTKFace", "crop_part1"])
def test_pictures_may_lie_in_several_places(folder, place):
    (folder / "UTKFace").rename(folder / place)
    assert unsplit(read(folder)) == unsplit(read(folder / place)) == {face.key: face for face in FACES}


def test_landmarks_are_listed_beside_the_pictures_and_come_back(tmp_path):
    faces = [replace(FACES[0], landmarks=points(0.25)), replace(FACES[1], landmarks=points()), FACES[2]]
    write(tmp_path, [(face, picture()) for face in faces])
    lines = (tmp_path / "landmark_list_part1.txt").read_text().split("\n")
    assert lines[1].startswith("1_0_2_20170117175041574.jpg -4 -3 -2 -1 0 1 ")
    assert lines[1].endswith(" 131 ")
    back = read(tmp_path)
    found = {back.labels(i).key: back.labels(i).landmarks for i in range(3)}
    np.testing.assert_array_equal(found[FACES[0].key], points(0.25))
    np.testing.assert_array_equal(found[FACES[1].key], points())
    assert found[FACES[2].key] is None


def test_lists_in_parts_may_name_other_pictures_and_names_with_spaces(folder):
    numbers = " ".join(["7"] * 136)
    put(folder, "24_0_1_20170116220224657 .jpg.chip.jpg")
    (folder / "landmark_list_part1.txt").write_bytes(
        f"{FACES[0].key}.jpg {numbers} \r\n{MALFORMED[0][:-9]} {numbers}".encode()
    )
    (folder / "UTKFace" / "landmark_list_part3.txt").write_text(f"\ufeff24_0_1_20170116220224657 .jpg {numbers} \n\n")
    known = {key for key, face in unsplit(read(folder)).items() if face.landmarks is not None}
    assert known == {FACES[0].key, "24_0_1_20170116220224657"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("26_1_3_20170117175041574.jpg 1 2 3", "line 1: expected a name and 136 numbers separated by spaces"),
        ("26_1_3_20170117175041574.jpg," + ",".join(["1"] * 136), "line 1: expected a name and 136 numbers"),
        ("26_1_3_20170117175041574.jpg " + " ".join(["1"] * 135) + " nan", "line 1: expected a name and 136 numbers"),
        ("26_1_3_20170117175041574.jpg " + " ".join(["1"] * 135) + " x", "line 1: expected a name and 136 numbers"),
        (" ".join(["1"] * 136), "line 1: expected a name and 136 numbers"),
        (
            "\n".join(["26_1_3_20170117175041574.jpg " + " ".join(["1"] * 136)] * 2),
            "line 2: expected each picture once",
        ),
        ("\0", "line 1: expected a name and 136 numbers"),
    ],
)
def test_wrong_lists_of_landmarks_are_named(folder, line, message):
    path = folder / "landmark_list_part2.txt"
    path.write_text(line)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(folder)
    assert str(path) in str(caught.value)


def test_two_misspelled_names_of_the_release_are_read_as_they_are_meant(folder):
    put(folder, "24_0_1_20170116220224657 .jpg.chip.jpg", "55_0_0_20170116232725357jpg.chip.jpg")
    back = unsplit(read(folder))
    assert back["24_0_1_20170116220224657"].age == 24
    assert back["55_0_0_20170116232725357"].attributes == {"Male": 1}


def test_malformed_names_are_named_unless_they_may_be_skipped(folder):
    put(folder, *MALFORMED)
    with pytest.raises(SemeiaError, match=r"39_1_20170116174525125\.jpg\.chip\.jpg: expected a name such as 26_1_3_.*"
                                          r"found 3 others; read with skip_malformed=True"):  # fmt: skip
        read(folder)
    assert unsplit(read(folder, skip_malformed=True)) == {face.key: face for face in FACES}


@pytest.mark.parametrize(
    "name",
    [
        "117_1_3_20170117175041574.jpg.chip.jpg",
        "26_2_3_20170117175041574.jpg.chip.jpg",
        "26_1_5_20170117175041574.jpg.chip.jpg",
        "-1_1_3_20170117175041574.jpg.chip.jpg",
        "26_1_3_20170117175041574.jpg",
        "26-1-3-20170117175041574.jpg.chip.jpg",
        "nan_1_3_20170117175041574.jpg.chip.jpg",
    ],
)
def test_labels_out_of_range_and_other_separators_count_as_malformed(folder, name):
    put(folder, name)
    with pytest.raises(SemeiaError, match=r"expected a name such as 26_1_3_20170117175041574\.jpg\.chip\.jpg"):
        read(folder)


def test_other_files_do_not_matter(folder):
    put(folder, ".DS_Store", "Thumbs.db", "readme.txt")
    assert len(read(folder)) == 3


def test_one_picture_under_two_spellings_is_named(folder):
    put(folder, "26_1_3_20170117175041574 .jpg.chip.jpg")
    with pytest.raises(SemeiaError, match="expected one picture of this age, gender, race and date"):
        read(folder)


def test_folders_without_faces_are_named(tmp_path):
    with pytest.raises(
        SemeiaError, match=r"expected pictures such as 26_1_3_20170117175041574\.jpg\.chip\.jpg, found none"
    ):
        read(tmp_path)
    (tmp_path / "26_1_3_20170117175041574.jpg").touch()
    with pytest.raises(SemeiaError, match=r"found 1 with other names such as 26_1_3_20170117175041574\.jpg"):
        read(tmp_path, skip_malformed=True)
    with pytest.raises(SemeiaError, match="nowhere: not found; expected the folder of UTKFace"):
        read(tmp_path / "nowhere")


def test_a_torn_picture_is_an_error_when_it_is_opened(folder):
    path = folder / "UTKFace" / f"{FACES[0].key}.jpg.chip.jpg"
    path.write_bytes(path.read_bytes()[:100])
    back = read(folder)
    with pytest.raises(SemeiaError, match=r"jpg\.chip\.jpg: expected a JPEG, PNG or BMP picture"):
        back.image(back.columns.texts["key"].tolist().index(FACES[0].key))


# ---------------------------------------------------------------------------------------------------------------------
# Splits


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("utk")
    (folder / "UTKFace").mkdir()
    put(folder, *(f"{i % 117}_{i % 2}_{i % 5}_{20170117175041574 + i}.jpg.chip.jpg" for i in range(2000)))
    return folder


def splits(faces):
    return dict(zip(faces.columns.texts["key"], faces.columns.texts["split"], strict=True))


def test_the_split_has_its_shares(many):
    counts = Counter(splits(read(many)).values())
    assert set(counts) == {"train", "val", "test"}
    np.testing.assert_allclose([counts[name] / 2000 for name in ("train", "val", "test")], [0.8, 0.1, 0.1], atol=0.02)


def test_the_split_of_a_face_depends_on_its_name_alone(folder, many):
    known = {
        "26_1_3_20170117175041574": "train", "1_0_2_20170117175041574": "val", "116_0_4_20170117175041574": "train",
    }  # fmt: skip
    assert splits(read(folder)) == known
    put(folder, "5_0_0_20170117175041574.jpg.chip.jpg")
    assert known.items() <= splits(read(folder)).items()
    assert splits(read(many)) == splits(read(many))


def test_shares_may_be_chosen(many):
    halves = splits(read(many, split={"a": 1, "b": 1}))
    assert 0.46 < list(halves.values()).count("a") / 2000 < 0.54
    assert set(splits(read(many, split={"train": 0, "all": 3})).values()) == {"all"}


@pytest.mark.parametrize("shares", [{}, {"train": 0}, {"train": -1, "test": 2}, {"train": np.nan}, {"train": np.inf}])
def test_shares_that_make_no_sense_are_named(folder, shares):
    with pytest.raises(SemeiaError, match="expected splits with shares such as"):
        read(folder, split=shares)


def test_named_pictures_make_a_split_of_their_own(folder):
    names = {"train": [f"{FACES[0].key}.jpg.chip.jpg"], "test": [FACES[1].key]}
    assert splits(read(folder, names=names)) == {FACES[0].key: "train", FACES[1].key: "test", FACES[2].key: None}


def test_names_that_fit_nothing_or_two_splits_are_named(folder):
    with pytest.raises(SemeiaError, match="expected the picture '1_1_1_1' of split 'test', found none of this name"):
        read(folder, names={"test": ["1_1_1_1"]})
    with pytest.raises(SemeiaError, match=r"expected each picture in one split, found '26_1_3_.* in 'a' and 'b'"):
        read(folder, names={"a": [FACES[0].key], "b": [FACES[0].key]})


# ---------------------------------------------------------------------------------------------------------------------
# Writing and feeding


@pytest.mark.parametrize(
    ("face", "message"),
    [
        (replace(FACES[0], age=None), "expected age 26 and Male 0 as the key tells, found None and 0"),
        (replace(FACES[0], age=26.5), "found 26.5 and 0"),
        (replace(FACES[0], attributes={}), "found 26.0 and None"),
        (replace(FACES[0], attributes={"Male": 1}), "found 26.0 and 1"),
        (replace(FACES[0], key="p1"), "expected keys that differ such as '26_1_3_20170117175041574'.* found 'p1'"),
        (replace(FACES[0], key="26_1_3_2017"), "found '26_1_3_2017'"),
        (replace(labels(117), age=117.0), "found '117_1_3_20170117175041574'"),
        (replace(FACES[0], landmarks=points()[:5]), r"expected landmarks \(68, 2\), found shape \(5, 2\)"),
        (replace(FACES[0], landmarks=points(np.inf)), "values that are not finite"),
        (FACES[2], "found '116_0_4_20170117175041574' twice"),
    ],
)
def test_samples_that_do_not_fit_the_layout_are_refused(tmp_path, face, message):
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, [(replace(FACES[2], landmarks=points()), picture()), (face, picture())])
    assert not (tmp_path / "landmark_list_part1.txt").exists()


def test_landmarks_that_are_there_are_not_written_over(tmp_path):
    sample = replace(FACES[0], landmarks=points()), picture()
    write(tmp_path, [sample])
    with pytest.raises(SemeiaError, match=r"landmark_list_part1\.txt: exists already"):
        write(tmp_path, [sample])


def test_faces_feed_training_and_evaluation(folder):
    faces, words = read(folder), Vocabulary(attributes=("Male",))
    feed = FaceFeed(
        [FaceSet(faces, split=None)], batch_size=3, image_size=32, vocabulary=words, augmentation=Augmentation()
    )
    batch = feed.batch(0)
    assert batch["image"].shape == (3, 3, 32, 32)
    assert sorted(batch["age"].tolist()) == [1, 26, 116]
    seen = next(evaluation_batches(faces, split="val", view="upright", image_size=32, vocabulary=words, margin=0.35))
    assert (seen["age"].tolist(), seen["attributes"].tolist()) == ([1], [[1]])
