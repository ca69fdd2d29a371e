"""Faces sorted by expression: folders and names of pictures tell the class, and what tells none is named."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats.expression_folders import CLASSES, WORDS, read, write
from semeia.data.samples import Vocabulary
from semeia.records import EXPRESSIONS, FaceLabels, SemeiaError

RELEASE = ("ANGRER", "DISGUST", "FEAR", "HAPPINESS", "SADNESS", "SURPRISE")
"""Folders of the release, as public code spells them."""


def picture(value=90):
    return np.full((24, 20, 3), (value, 40, 200), np.uint8)


def lay(folder, *names):
    for name in names:
        place = folder / name
        place.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(picture()).save(place)
    return folder


def told(faces):
    return {face.key: face.expression for face in (faces.labels(i) for i in range(len(faces)))}


def test_the_release_is_read_as_it_comes(tmp_path):
    for split in ("training_set_synthetic_images", "validation_set_real_images"):
        lay(tmp_path, *(f"{split}/{name}/{i:05}.jpg" for name in RELEASE for i in range(2)))
    faces = read(tmp_path)
    assert faces.columns.texts["split"].tolist() == ["train"] * 12 + ["val"] * 12
    assert faces.columns.texts["expression"][:12:2].tolist() == list(CLASSES)
    assert faces.labels(0) == FaceLabels(
        key="training_set_synthetic_images/ANGRER/00000", split="train", expression="anger"
    )
    assert faces.image(0).shape == (24, 20, 3)
    assert pickle.loads(pickle.dumps(faces)).labels(23) == faces.labels(23)


def test_each_spelling_names_one_of_the_expressions():
    assert set(WORDS.values()) == set(EXPRESSIONS)
    assert set(CLASSES) == set(EXPRESSIONS) - {"neutral", "contempt"}


@pytest.mark.parametrize("name", WORDS)
def test_folders_are_read_in_small_and_in_capital_letters(tmp_path, name):
    for i, spelled in enumerate({name, name.upper(), name.capitalize()}):
        lay(tmp_path / str(i), f"val/{spelled}/1.png")
        assert read(tmp_path / str(i)).labels(0).expression == WORDS[name]


def test_pictures_may_lie_deeper_and_what_is_no_picture_is_passed_over(tmp_path):
    lay(tmp_path, "train/fear/person 1/take.2/a.jpg", "train/fear/._a.jpg", "train/.cache/a.jpg", "train/.b.jpg")
    (tmp_path / "train/notes.txt").write_text("fear")
    (tmp_path / "train/empty").mkdir()
    assert told(read(tmp_path)) == {"train/fear/person 1/take.2/a": "fear"}


def test_pictures_in_no_folder_of_a_class_tell_it_by_name(tmp_path):
    lay(tmp_path, "train/anger_00001.jpg", "train/img002-Happy.PNG", "train/3.sad.3.jpg", "train/DISGUST/fear.jpg")
    assert told(read(tmp_path)) == {
        "train/DISGUST/fear": "disgust", "train/anger_00001": "anger", "train/img002-Happy": "happiness",
        "train/3.sad.3": "sadness",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train/calm/1.jpg", "train/calm: expected a folder named after one of anger, contempt, .* found this name"),
        ("train/happily surprised/1.jpg", "happily surprised: expected a folder named after"),
        ("train/00001.jpg", r"00001\.jpg: expected a picture whose name tells one of anger"),
        ("train/fear_or_anger.jpg", r"fear_or_anger\.jpg: expected a picture whose name tells one"),
        ("train/fearless.jpg", r"fearless\.jpg: expected a picture whose name tells one"),
    ],
)
def test_names_that_tell_no_class_are_refused_or_skipped_on_demand(tmp_path, name, message):
    lay(tmp_path, name, "train/fear/1.jpg")
    with pytest.raises(SemeiaError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    assert told(read(tmp_path, skip_unnamed=True)) == {"train/fear/1": "fear"}


def test_missing_and_ambiguous_splits_are_named(tmp_path):
    with pytest.raises(SemeiaError, match="nowhere: not found; expected the folder of faces sorted by expression"):
        read(tmp_path / "nowhere")
    with pytest.raises(SemeiaError, match="train: not found; a folder of faces sorted by expression has it"):
        read(tmp_path)
    (tmp_path / "val" / "fear").mkdir(parents=True)
    with pytest.raises(SemeiaError, match="val: expected folders of pictures such as anger or ANGER, found no picture"):
        read(tmp_path)
    lay(tmp_path, "val/fear/1.jpg", "validation_set_real_images/fear/1.jpg")
    with pytest.raises(SemeiaError, match="one folder of the split 'val', found val and validation_set_real_images"):
        read(tmp_path)


def test_two_pictures_of_one_name_are_refused(tmp_path):
    lay(tmp_path, "train/fear/1.jpg", "train/fear/1.png")
    with pytest.raises(SemeiaError, match="key 'train/fear/1' stands in several rows"):
        read(tmp_path)


def test_a_torn_picture_is_an_error_when_it_is_opened(tmp_path):
    path = lay(tmp_path, "train/fear/1.jpg") / "train/fear/1.jpg"
    path.write_bytes(path.read_bytes()[:100])
    faces = read(tmp_path)
    with pytest.raises(SemeiaError, match=r"1\.jpg: expected a JPEG, PNG or BMP picture"):
        faces.image(0)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def sample(key="train/fear/00001", split="train", expression="fear"):
    return FaceLabels(key=key, split=split, expression=expression), picture()


def test_written_faces_come_back(tmp_path):
    samples = [sample(f"{split}/{name.upper()}/{i}", split, name)
               for split in ("train", "val", "test") for i, name in enumerate(EXPRESSIONS)]  # fmt: skip
    write(tmp_path, samples)
    faces = read(tmp_path)
    found = [faces.labels(i) for i in range(len(faces))]
    assert sorted(found, key=lambda face: face.key) == sorted((face for face, _ in samples), key=lambda face: face.key)
    assert abs(int(faces.image(0)[0, 0, 0]) - 90) < 3


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample("fear/1")], "expected a key such as 'train/anger/00001', found 'fear/1'"),
        ([sample("train/calm/1")], "expected a key such as"),
        ([sample("train/fear/../1")], "expected a key such as"),
        ([sample(expression=None)], "expected the expression and the split that the key names, found None and train"),
        ([sample(expression="anger")], "found anger and train"),
        ([sample(split="val")], "found fear and val"),
        ([sample(), sample()], r"00001\.jpg: exists already"),
        ([(sample()[0], picture()[0])], r"expected a picture \(H, W, 3\) uint8"),
        ([], "expected at least one face to write, found none"),
    ],
)
def test_samples_that_do_not_fit_the_layout_are_refused(tmp_path, samples, message):
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, samples)


def test_a_split_follows_from_the_key(tmp_path):
    face, image = sample(split=None)
    write(tmp_path, [(face, image)])
    assert read(tmp_path).labels(0) == replace(face, split="train")


def test_faces_feed_training_and_evaluation(tmp_path):
    write(
        tmp_path,
        [sample(f"train/{name}/1", "train", name) for name in CLASSES] + [sample("val/sad/1", "val", "sadness")],
    )
    faces, words = read(tmp_path), Vocabulary(expressions=CLASSES)
    feed = FaceFeed(
        [FaceSet(faces)], batch_size=6, image_size=32, vocabulary=words, augmentation=Augmentation(), aligned=0
    )
    assert sorted(feed.batch(0)["expression"].tolist()) == [0, 1, 2, 3, 4, 5]
    seen = next(evaluation_batches(faces, split="val", view="aligned", image_size=32, vocabulary=words, margin=0.25))
    assert seen["expression"].tolist() == [CLASSES.index("sadness")]
