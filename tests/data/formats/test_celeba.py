"""CelebA: the real layout is written and read, and what is wrong is named."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from torchvision.datasets import CelebA

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats.celeba import NAMES, read, write
from semeia.data.samples import Vocabulary
from semeia.ops.faces import five_from_68
from semeia.records import ATTRIBUTES, FaceLabels, SemeiaError

LISTS = ("Anno/list_attr_celeba.txt", "Eval/list_eval_partition.txt", "Anno/identity_CelebA.txt",
         "Anno/list_landmarks_align_celeba.txt")  # fmt: skip
ATTR, PARTITION, IDENTITY, POINTS = LISTS


def labels(number=1, split="train", identity="2880"):
    marks = {name: (number * 7 + i) // 2 % 2 for i, name in enumerate(NAMES)}
    return FaceLabels(key=f"{number:06d}", identity=identity, split=split, attributes=marks)


FACES = [labels(1), labels(2, "val", None), labels(3, "test", "17")]


def points():
    return np.linspace(20, 150, 136, dtype=np.float32).reshape(68, 2)


def picture(value=90):
    return np.full((54, 44, 3), (value, 40, 200), np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("celeba")
    write(folder, [(face, picture(60 * i)) for i, face in enumerate(FACES)])
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


def edit(folder, name, change):
    path = folder / name
    path.write_bytes(change(path.read_bytes()))
    return path


def test_what_is_written_comes_back(folder):
    back = read(folder)
    assert [back.labels(i) for i in range(3)] == FACES
    assert [back.select(split).tolist() for split in ("train", "val", "test")] == [[0], [1], [2]]
    assert back.extra(0) == {}
    assert abs(int(back.image(2)[0, 0, 0]) - 120) < 3


def test_the_layout_is_the_real_one(tmp_path):
    write(tmp_path, [(replace(FACES[0], landmarks=points()), picture())])
    lines = (tmp_path / ATTR).read_bytes().decode().split("\n")
    assert lines[0] == "1"
    assert lines[1] == " ".join(NAMES) + " "
    assert lines[1].startswith("5_o_Clock_Shadow Arched_Eyebrows Attractive ")
    assert lines[2].startswith("000001.jpg  1 -1 -1  1  1 -1 -1")
    assert (tmp_path / PARTITION).read_text() == "000001.jpg 0\n"
    assert (tmp_path / IDENTITY).read_text() == "000001.jpg 2880\n"
    count, header, first = (tmp_path / POINTS).read_text().splitlines()
    assert (count, header.split()[:4]) == ("1", ["lefteye_x", "lefteye_y", "righteye_x", "righteye_y"])
    assert first.startswith("000001.jpg 94   95  106  107")
    assert (tmp_path / "Img/img_align_celeba/000001.jpg").is_file()
    assert len(NAMES) == len(set(NAMES)) == 40
    assert set(ATTRIBUTES) - set(NAMES) == {"Mask"}


def test_real_first_lines_are_read(folder):
    marks = (
        "-1  1  1 -1 -1 -1 -1 -1 -1 -1 -1  1 -1 -1 -1 -1 -1 -1  1  1 "
        "-1  1 -1 -1  1 -1 -1  1 -1 -1 -1  1  1 -1  1 -1  1 -1 -1  1"
    )
    (folder / ATTR).write_text(f"1\n{' '.join(NAMES)} \n000001.jpg {marks}\n")
    names = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    (folder / POINTS).write_text(f"1\n{names}\n000001.jpg 69  109  106  113   77  142   73  152  108  154\n")
    back = read(folder)
    face = back.labels(0)
    assert [name for name, value in face.attributes.items() if value] == [
        "Arched_Eyebrows", "Attractive", "Brown_Hair", "Heavy_Makeup", "High_Cheekbones", "Mouth_Slightly_Open",
        "No_Beard", "Pointy_Nose", "Smiling", "Straight_Hair", "Wearing_Earrings", "Wearing_Lipstick", "Young",
    ]  # fmt: skip
    assert back.extra(0) == {"five_points": [[69, 109], [106, 113], [77, 142], [73, 152], [108, 154]]}
    assert face.landmarks is None


def test_five_of_68_points_are_written_for_faces_that_have_them(tmp_path):
    write(tmp_path, [(replace(FACES[0], landmarks=points()), picture()), (FACES[1], picture())])
    back = read(tmp_path)
    np.testing.assert_array_equal(back.extra(0)["five_points"], five_from_68(points()).round())
    assert back.extra(1) == {}


def test_all_files_may_lie_in_one_folder(folder, tmp_path_factory):
    flat = tmp_path_factory.mktemp("celeba")
    for name in LISTS[:3]:
        shutil.copy(folder / name, flat)
    shutil.copytree(folder / "Img/img_align_celeba", flat / "img_align_celeba")
    back = read(flat)
    assert [back.labels(i) for i in range(3)] == FACES


def test_torchvision_reads_what_is_written(tmp_path, monkeypatch):
    faces = [replace(FACES[i], identity="17", landmarks=points()) for i in range(3)]
    write(tmp_path / "archive", [(face, picture(60 * i)) for i, face in enumerate(faces)])
    flat = tmp_path / "celeba"
    shutil.copytree(tmp_path / "archive/Img", flat)
    for name in LISTS:
        shutil.copy(tmp_path / "archive" / name, flat)
    boxes = "".join(f"{face.key}.jpg 1 2 3 4\n" for face in faces)
    (flat / "list_bbox_celeba.txt").write_text(f"3\nimage_id x_1 y_1 width height\n{boxes}")
    monkeypatch.setattr(CelebA, "_check_integrity", lambda self: True)
    _, (marks, person, five) = CelebA(tmp_path, split="all", target_type=["attr", "identity", "landmarks"])[1]
    assert marks.tolist() == list(faces[1].attributes.values())
    assert int(person) == 17
    assert five.reshape(5, 2).tolist() == read(tmp_path / "archive").extra(1)["five_points"]


def test_lists_of_identities_and_points_may_be_absent(folder):
    (folder / IDENTITY).unlink()
    assert read(folder).labels(0) == replace(FACES[0], identity=None)


def test_columns_are_found_by_their_names(folder):
    lines = (folder / ATTR).read_text().splitlines()
    order = np.random.default_rng(0).permutation(40)
    turned = [" ".join(NAMES[i] for i in order)]
    for line in lines[2:]:
        name, *marks = line.split()
        turned.append(f"{name} {' '.join(marks[i] for i in order)}")
    (folder / ATTR).write_text("\n".join([lines[0], *turned]))
    back = read(folder)
    assert [back.labels(i) for i in range(3)] == FACES


@pytest.mark.parametrize("name", LISTS[:3])
def test_windows_line_ends_and_marks_do_not_matter(folder, name):
    edit(folder, name, lambda content: b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n") + b"\r\n")
    back = read(folder)
    assert [back.labels(i) for i in range(3)] == FACES


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (ATTR, b"3\n", b"4\n", "line 1: expected the number of faces that follow, 3, found 4"),
        (ATTR, b"3\n", b"many\n", "line 1: expected the number of faces from 0 to 1e[+]09, found 'many'"),
        (ATTR, b"3\n", b"", "line 1: expected the number of faces"),
        (ATTR, b"Smiling", b"Grinning", "line 2: expected the 40 names of CelebA .* found no Smiling"),
        (ATTR, b"Smiling", b"Young", "line 2: .* found no Smiling"),
        (ATTR, b"Smiling ", b"Smiling Mask ", "line 2: .* found 41 names"),
        (ATTR, b"000001.jpg  1", b"000001.jpg  0", "line 3: expected a picture .* and 40 times -1 or 1"),
        (ATTR, b"000001.jpg  1", b"000001.jpg nan", "line 3: expected a picture such as 000001.jpg and 40 times"),
        (ATTR, b"000001.jpg  1", b"000001.jpg", "line 3: expected a picture such as 000001.jpg and 40 times"),
        (ATTR, b"000001.jpg ", b"000001.jpg,", "line 3: expected a picture such as 000001.jpg"),
        (ATTR, b"000001.jpg", b"../001.jpg", "line 3: expected a picture such as 000001.jpg"),
        (ATTR, b"000002.jpg", b"000001.jpg", "line 4: expected each picture once, found '000001.jpg' again"),
        (PARTITION, b"2.jpg 1", b"2.jpg 3", "line 2: expected a picture such as 000001.jpg and a number from 0 to 2"),
        (PARTITION, b"2.jpg 1", b"2.jpg,1", "line 2: expected a picture such as 000001.jpg and a number from 0 to 2"),
        (PARTITION, b"2.jpg 1", b"2.jpg", "line 2: expected a picture such as 000001.jpg and a number from 0 to 2"),
        (PARTITION, b"2.jpg 1", b"1.jpg 0", "line 2: expected each picture once, found '000001.jpg' again"),
        (PARTITION, b"000002.jpg 1\n", b"", "expected a line for each picture of .* found none for '000002.jpg'"),
        (IDENTITY, b" 17", b" 1 7", "line 2: expected a picture such as 000001.jpg and an identity"),
        (IDENTITY, b" 17", b"", "line 2: expected a picture such as 000001.jpg and an identity"),
    ],
)  # fmt: skip
def test_wrong_lists_are_named(folder, name, old, new, message):
    path = edit(folder, name, lambda content: content.replace(old, new, 1))
    with pytest.raises(SemeiaError, match=message) as caught:
        read(folder)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", ["1 2 3", "1 2 3 4 5 6 7 8 9 nan", "1 2 3 4 5 6 7 8 9 1.5", "1;2;3;4;5;6;7;8;9;10"])
def test_wrong_points_are_named(tmp_path, values):
    write(tmp_path, [(replace(FACES[0], landmarks=points()), picture())])
    edit(tmp_path, POINTS, lambda content: content[: content.index(b"000001")] + f"000001.jpg {values}".encode())
    with pytest.raises(SemeiaError, match=r"celeba\.txt: line 3: .* 10 whole numbers"):
        read(tmp_path)


def test_empty_files_and_missing_parts_are_named(folder, tmp_path):
    (folder / "Img/img_align_celeba/000003.jpg").unlink()
    with pytest.raises(SemeiaError, match=r"000003\.jpg: not found; expected the picture that .*list_attr_celeba\.txt"):
        read(folder)
    edit(folder, ATTR, lambda content: b"")
    with pytest.raises(SemeiaError, match="expected the number of faces in line 1 and 40 names in line 2, found 0"):
        read(folder)
    (folder / PARTITION).unlink()
    with pytest.raises(SemeiaError, match=r"list_eval_partition\.txt: not found; a folder of CelebA has it"):
        read(folder)
    with pytest.raises(SemeiaError, match="nowhere: not found; expected the folder of CelebA"):
        read(tmp_path / "nowhere")


def test_a_torn_picture_is_an_error_when_it_is_opened(folder):
    edit(folder, "Img/img_align_celeba/000001.jpg", lambda content: content[:150])
    with pytest.raises(SemeiaError, match=r"000001\.jpg: expected a JPEG, PNG or BMP picture"):
        read(folder).image(0)


@pytest.mark.parametrize(
    ("face", "message"),
    [
        (
            replace(FACES[0], attributes={"Smiling": 1}),
            "expected all 40 attributes as 0 or 1, found no 5_o_Clock_Shado",
        ),
        (replace(FACES[0], attributes=FACES[0].attributes | {"Young": np.nan}), "found no Young; leave the face out"),
        (replace(FACES[0], split=None), "expected a split among train, val, test, found None"),
        (replace(FACES[0], split="valid"), "found valid"),
        (replace(FACES[0], key="1"), "expected keys of six digits that differ, found '1'"),
        (replace(FACES[0], key="../../1"), "expected keys of six digits"),
        (replace(FACES[0], identity="p 1"), "expected a whole number as identity, found 'p 1'"),
        (replace(FACES[0], landmarks=points()[:5]), r"expected landmarks \(68, 2\), found shape \(5, 2\)"),
        (replace(FACES[0], landmarks=points() * np.nan), "values that are not finite"),
        (FACES[2], "found '000003' twice"),
    ],
)
def test_samples_that_do_not_fit_the_layout_are_refused(tmp_path, face, message):
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, [(FACES[2], picture()), (face, picture())])
    assert not any((tmp_path / name).exists() for name in LISTS)


def test_labels_that_celeba_does_not_know_are_left_out(tmp_path):
    write(tmp_path, [(replace(FACES[0], age=30.0, attributes=FACES[0].attributes | {"Mask": 1}), picture())])
    assert read(tmp_path).labels(0) == FACES[0]


def test_a_data_set_that_is_there_is_not_written_over(folder):
    with pytest.raises(SemeiaError, match=r"list_attr_celeba\.txt: exists already"):
        write(folder, [(FACES[0], picture(0))])
    with pytest.raises(SemeiaError, match="expected at least one face to write, found none"):
        write(folder / "other", [])


def test_faces_feed_training_and_evaluation(folder):
    faces, words = read(folder), Vocabulary(attributes=("Smiling", "Male", "Mask"))
    feed = FaceFeed(
        [FaceSet(faces, split=None)], batch_size=3, image_size=32, vocabulary=words, augmentation=Augmentation()
    )
    batch = feed.batch(0)
    assert batch["image"].shape == (3, 3, 32, 32)
    assert batch["attributes_mask"].tolist() == [[True, True, False]] * 3
    seen = next(evaluation_batches(faces, split="val", view="upright", image_size=32, vocabulary=words, margin=0.35))
    assert seen["attributes"][0, :2].tolist() == [FACES[1].attributes["Smiling"], FACES[1].attributes["Male"]]
