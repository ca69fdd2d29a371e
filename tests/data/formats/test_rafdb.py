"""RAF-DB: the real layout is written and read, and what is wrong is named."""

import pickle
import shutil
from dataclasses import replace

import numpy as np
import pytest

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats.rafdb import CLASSES, read, write
from semeia.data.samples import Vocabulary
from semeia.records import EXPRESSIONS, FaceLabels, SemeiaError

FACES = [
    *(FaceLabels(key=f"train_{i + 1:05d}", split="train", expression=name) for i, name in enumerate(CLASSES)),
    FaceLabels(key="test_0001", split="test", expression="anger"),
]


def picture(value=90):
    return np.full((40, 40, 3), (value, 40, 200), np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rafdb")
    write(folder, [(face, picture(20 * i)) for i, face in enumerate(FACES)])
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


def relist(folder, content, name="list_patition_label.txt"):
    path = folder / "basic" / "EmoLabel" / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_what_is_written_comes_back(folder):
    back = read(folder)
    assert [back.labels(i) for i in range(len(back))] == FACES
    assert back.select("train").tolist() == list(range(7))
    assert back.select("test").tolist() == [7]
    assert abs(int(back.image(3)[0, 0, 0]) - 60) < 3
    assert pickle.loads(pickle.dumps(back)).labels(7) == FACES[7]


def test_the_layout_is_the_real_one(folder):
    lines = (folder / "basic/EmoLabel/list_patition_label.txt").read_text().splitlines()
    assert lines[0] == "train_00001.jpg 1"
    assert lines[6:] == ["train_00007.jpg 7", "test_0001.jpg 6"]
    assert (folder / "basic/Image/aligned/train_00001_aligned.jpg").is_file()
    assert set(CLASSES) == set(EXPRESSIONS) - {"contempt"}


def test_original_photos_have_names_of_their_own(tmp_path):
    write(tmp_path, [(FACES[0], picture(250))], pictures="original")
    assert (tmp_path / "basic/Image/original/train_00001.jpg").is_file()
    assert abs(int(read(tmp_path, pictures="original").image(0)[0, 0, 0]) - 250) < 3
    with pytest.raises(SemeiaError, match=r"Image/aligned: not found; a folder of RAF-DB has it"):
        read(tmp_path)


def test_the_inner_folder_may_be_named(folder):
    assert len(read(folder / "basic")) == len(FACES)
    assert len(read(str(folder))) == len(FACES)


def test_the_corrected_spelling_of_copies_is_read(folder):
    lists = folder / "basic" / "EmoLabel"
    (lists / "list_patition_label.txt").rename(lists / "list_partition_label.txt")
    assert len(read(folder)) == len(FACES)


@pytest.mark.parametrize(
    "content",
    [
        "train_00001.jpg 1\r\ntest_0001.jpg 6\r\n",
        "\ufefftrain_00001.jpg 1\n\n  \ntest_0001.jpg\t6",
        b"train_00001.jpg 1 \ntest_0001.jpg 6",
    ],
)
def test_line_ends_marks_and_blank_lines_do_not_matter(folder, content):
    relist(folder, content)
    back = read(folder)
    assert [back.labels(i) for i in range(2)] == [FACES[0], FACES[7]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train_00001.jpg 1\ntrain_00002.jpg 8", "line 2: expected a class from 1 to 7, found '8'"),
        ("train_00001.jpg 0", "line 1: expected a class from 1 to 7, found '0'"),
        ("train_00001.jpg nan", "expected a class from 1 to 7, found 'nan'"),
        ("train_00001.jpg inf", "expected a class from 1 to 7, found 'inf'"),
        ("train_00001.jpg 1.5", "expected a class as a whole number, found '1.5'"),
        ("train_00001.jpg,1", "line 1: expected a picture and its class such as 'train_00001.jpg 5', found 'train_00"),
        ("train_00001.jpg", "expected a picture and its class"),
        ("1 train_00001.jpg", "expected a picture and its class"),
        ("../train_00001.jpg 1", "expected a picture and its class"),
        ("valid_00001.jpg 1", "expected a picture and its class"),
        (
            "train_00001.jpg 1\n\ntrain_00001.jpg 2",
            "line 3: expected each picture once, found 'train_00001.jpg' as in ",
        ),
        ("train_00001.jpg 1\ntrain_00099.jpg 2", r"train_00099_aligned\.jpg: not found; expected the picture that"),
        ("", "expected at least one labelled face, found none"),
        (b"\xff\xfe\x00", "expected a text file of labels, found one that cannot be read"),
    ],
)
def test_wrong_lists_are_named(folder, content, message):
    path = relist(folder, content)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_parts_are_named(folder, tmp_path):
    with pytest.raises(SemeiaError, match="nowhere: not found; expected the folder of RAF-DB"):
        read(tmp_path / "nowhere")
    relist(folder, "").unlink()
    with pytest.raises(SemeiaError, match=r"list_patition_label\.txt: not found; a folder of RAF-DB has it"):
        read(folder)


def test_a_torn_picture_is_an_error_when_it_is_opened(folder):
    path = folder / "basic/Image/aligned/train_00002_aligned.jpg"
    path.write_bytes(path.read_bytes()[:200])
    back = read(folder)
    with pytest.raises(SemeiaError, match=r"train_00002_aligned\.jpg: expected a JPEG, PNG or BMP picture"):
        back.image(1)


@pytest.mark.parametrize(
    ("face", "message"),
    [
        (replace(FACES[0], expression=None), "expected an expression among surprise, .* found None"),
        (replace(FACES[0], expression="contempt"), "found contempt; leave it out"),
        (replace(FACES[0], key="p1_0"), "expected keys that differ such as 'train_00001' or 'test_0001', found 'p1_0'"),
        (replace(FACES[0], key="train_1"), "found 'train_1'"),
        (replace(FACES[0], key="../train_00001"), "expected keys that differ"),
        (replace(FACES[0], split="test"), "expected the split that the key names, found 'test'"),
    ],
)
def test_samples_that_do_not_fit_the_layout_are_refused(tmp_path, face, message):
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, [(FACES[7], picture()), (face, picture())])
    assert not (tmp_path / "basic/EmoLabel").exists()


def test_pictures_of_another_kind_twice_the_same_key_and_nothing_at_all_are_refused(tmp_path):
    with pytest.raises(SemeiaError, match=r"key 'train_00001': expected a picture \(H, W, 3\) uint8"):
        write(tmp_path, [(FACES[0], picture()[..., 0])])
    with pytest.raises(SemeiaError, match="found 'train_00001' twice"):
        write(tmp_path, [(FACES[0], picture())] * 2)
    with pytest.raises(SemeiaError, match="expected at least one face to write, found none"):
        write(tmp_path, [])


def test_a_data_set_that_is_there_is_not_written_over(folder):
    with pytest.raises(SemeiaError, match=r"list_patition_label\.txt: exists already"):
        write(folder, [(FACES[0], picture(0))])
    assert len(read(folder)) == len(FACES)


def test_faces_feed_training_and_evaluation(folder):
    faces, words = read(folder), Vocabulary()
    feed = FaceFeed(
        [FaceSet(faces)], batch_size=7, image_size=32, vocabulary=words, augmentation=Augmentation(), aligned=0
    )
    batch = feed.batch(0)
    assert batch["image"].shape == (7, 3, 32, 32)
    assert sorted(batch["expression"].tolist()) == [0, 1, 2, 3, 4, 5, 6]
    assert not batch["age_mask"].any()
    seen = next(evaluation_batches(faces, split="test", view="aligned", image_size=32, vocabulary=words, margin=0.25))
    assert seen["expression"].tolist() == [EXPRESSIONS.index("anger")]
