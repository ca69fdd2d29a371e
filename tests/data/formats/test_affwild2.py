"""Aff-Wild2: lists of ABAW's multi-task challenges are read and written, and what is wrong is named."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats.affwild2 import CLASSES, LISTS, OTHER, PLACES, UNITS, read, write
from semeia.data.samples import Vocabulary
from semeia.records import EXPRESSIONS, FaceLabels, SemeiaError

HEADER = "image,valence,arousal,expression,aus"
NONE = dict.fromkeys(UNITS, 0)
TRAINING, VALIDATION = (names[0] for names in LISTS.values())


def picture(value=90):
    return np.full((24, 20, 3), (value, 40, 200), np.uint8)


def row(name="a/00001.jpg", valence="0.5", arousal="-0.25", expression=4, **codes):
    """A line of a list: codes of units by name, 0 for the others."""
    return ",".join(str(field) for field in (name, valence, arousal, expression, *(NONE | codes).values()))


def lay(folder, *rows, name=TRAINING, header=HEADER, end="\n", start="", pictures=True):
    """A list and a picture for each of its lines."""
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes((start + "".join(f"{line}{end}" for line in (header, *rows))).encode())
    for line in rows if pictures else ():
        place = folder / "cropped_aligned" / line.split(",")[0]
        place.parent.mkdir(exist_ok=True, parents=True)
        Image.fromarray(picture()).save(place)
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Reading


def test_lines_are_read_by_the_order_of_their_fields(tmp_path):
    lay(tmp_path, row(AU04=1, AU12=1, AU26=1), row("a/00007.jpg", "-1", "1.0", 0))
    lay(tmp_path, row("b_left/00003.jpg", "0", "-0.0", 6, AU01=1), name=VALIDATION)
    faces = read(tmp_path)
    assert faces.labels(0) == FaceLabels(
        key="a/00001", identity="a", split="train", expression="happiness", valence=0.5, arousal=-0.25,
        au_occurrence=NONE | {"AU04": 1, "AU12": 1, "AU26": 1},
    )  # fmt: skip
    assert faces.labels(1) == FaceLabels(
        key="a/00007", identity="a", split="train", expression="neutral", valence=-1, arousal=1, au_occurrence=NONE
    )
    assert faces.labels(2) == FaceLabels(
        key="b_left/00003", identity="b_left", split="val", expression="surprise", valence=0, arousal=0,
        au_occurrence=NONE | {"AU01": 1},
    )  # fmt: skip
    assert faces.image(2).shape == (24, 20, 3)
    assert pickle.loads(pickle.dumps(faces)).labels(1) == faces.labels(1)


def test_the_classes_are_in_the_order_of_the_challenge():
    assert CLASSES == ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
    assert {*CLASSES, "contempt"} == {*EXPRESSIONS, OTHER}
    assert [int(unit[2:]) for unit in UNITS] == [1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26]


def test_each_task_may_be_unlabelled_alone_and_so_may_each_unit(tmp_path):
    without = dict.fromkeys(UNITS, -1)
    lay(
        tmp_path,
        row("a/1.jpg", "-5", "-5.0"),
        row("a/2.jpg", expression=-1),
        row("a/3.jpg", **without),
        row("a/4.jpg", AU06=-1, AU07=1),
        row("a/5.jpg", "-5", "-5", -1, **without),
        row("a/6.jpg", "-1", "-1"),
    )
    faces = [read(tmp_path).labels(i) for i in range(6)]
    assert [(face.valence, face.arousal) for face in faces] == [
        (None, None), (0.5, -0.25), (0.5, -0.25), (0.5, -0.25), (None, None), (-1, -1),
    ]  # fmt: skip
    assert [face.expression for face in faces] == ["happiness", None, "happiness", "happiness", None, "happiness"]
    assert faces[2].au_occurrence == faces[4].au_occurrence == {}
    assert faces[3].au_occurrence == {unit: code for unit, code in (NONE | {"AU07": 1}).items() if unit != "AU06"}


def test_other_is_no_expression_here_unless_it_is_asked_for(tmp_path):
    lay(tmp_path, row(expression=7, AU12=1), row("a/2.jpg"))
    faces = read(tmp_path)
    assert faces.labels(0).expression is None
    assert faces.labels(0).valence == 0.5
    assert [faces.extra(i) for i in range(2)] == [{"expression": "other"}, {}]
    assert read(tmp_path, other=True).labels(0) == replace(faces.labels(0), expression="other")


@pytest.mark.parametrize("place", PLACES)
def test_lists_are_found_wherever_releases_put_them(tmp_path, place):
    lay(tmp_path, row(), name=f"{place}/train_set.txt")
    lay(tmp_path, row("b/1.jpg"), name=f"{place}/val_set.txt")
    assert read(tmp_path).columns.texts["split"].tolist() == ["train", "val"]
    lay(tmp_path, row("c/1.jpg"))
    assert read(tmp_path).columns.texts["key"].tolist() == ["c/1", "b/1"]


def test_one_list_is_enough(tmp_path):
    lay(tmp_path, row(), name=VALIDATION)
    assert read(str(tmp_path)).select("val").tolist() == [0]


@pytest.mark.parametrize("how", [{"end": "\r\n"}, {"start": "\ufeff"}, {"end": "\n\n"}, {"end": " \r\n"}])
def test_line_ends_marks_and_blank_lines_do_not_matter(tmp_path, how):
    lay(tmp_path / "plain", row(), row("a/2.jpg"))
    lay(tmp_path / "other", row(), row("a/2.jpg"), **how)
    plain, other = read(tmp_path / "plain"), read(tmp_path / "other")
    assert [other.labels(i) for i in range(2)] == [plain.labels(i) for i in range(2)]


@pytest.mark.parametrize(
    "header",
    [
        "image, valence, arousal, expression, aus",
        "image,valence,arousal,expression," + ",".join(UNITS),
        "image_path,valence,arousal,expression,AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
    ],
)
def test_headers_that_say_the_same_are_read(tmp_path, header):
    lay(tmp_path, row(), header=header)
    assert len(read(tmp_path)) == 1


def test_a_line_that_is_repeated_as_it_stands_counts_once(tmp_path):
    lay(tmp_path, row(), row("a/2.jpg"), row())
    assert read(tmp_path).columns.texts["key"].tolist() == ["a/00001", "a/2"]


def test_a_clip_in_both_lists_is_refused(tmp_path):
    training = lay(tmp_path, row("b/1.jpg"), row())
    validation = lay(tmp_path, row("c/1.jpg"), row("a/00002.jpg"), name=VALIDATION)
    with pytest.raises(SemeiaError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{validation}: line 3: expected every clip in one list, found 'a' as in {training}: line 3; keep its frames "
        "in one of them"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (row(valence="1.01"), "line 2: expected valence and arousal from -1 to 1, or -5 .* found '1.01,-0.25'"),
        (row(arousal="-1.5"), "expected valence and arousal from -1 to 1"),
        (row(valence="nan"), "found 'nan,-0.25'"),
        (row(arousal="inf"), "found '0.5,inf'"),
        (row(valence=""), "found ',-0.25'"),
        (row(valence="high"), "found 'high,-0.25'"),
        (row(valence="-5"), "or -5 for both where they are not labelled, found '-5,-0.25'"),
        (row(arousal="-5"), "or -5 for both where they are not labelled, found '0.5,-5'"),
        (row(valence="-5", arousal="nan"), "found '-5,nan'"),
        (row(expression=8), r"the number of an expression \(-1 where it is not labelled\) from -1 to 7, found '8'"),
        (row(expression=-5), "number of an expression .* found '-5'"),
        (row(expression="nan"), "number of an expression .* found 'nan'"),
        (row(expression="3.5"), "number of an expression .* as a whole number, found '3.5'"),
        (row(expression="anger"), "number of an expression .* found 'anger'"),
        (row(AU07=2), r"line 2: expected AU07 \(-1 where it is not labelled\) from -1 to 1, found '2'"),
        (row(AU26=-5), "expected AU26 .* found '-5'"),
        (row(AU01="nan"), "expected AU01 .* found 'nan'"),
        (row(AU10="0.5"), "expected AU10 .* as a whole number, found '0.5'"),
        (row(AU10=""), "expected AU10 .* found ''"),
        (row()[:-3], "line 2: expected 16 fields separated by ',', found 15 in 'a/00001.jpg,0.5"),
        (row() + ",0", "found 17 in"),
        (row().replace(",", ";"), "found 1 in"),
        (row("../00001.jpg"), "expected clip and picture such as 'video1/00001.jpg', found '../00001.jpg'"),
        (row("/etc/a.jpg"), "found '/etc/a.jpg'"),
        (row("00001.jpg"), "found '00001.jpg'"),
        (row("a/b/00001.jpg"), "found 'a/b/00001.jpg'"),
        (row("a/00001.txt"), "found 'a/00001.txt'"),
        (row("a/00001"), "found 'a/00001'"),
        (row("a\\00001.jpg"), "expected clip and picture"),
    ],
)  # fmt: skip
def test_wrong_lines_are_named(tmp_path, line, message):
    path = lay(tmp_path, line, row("b/1.jpg"), pictures=False)
    (tmp_path / "cropped_aligned").mkdir()
    with pytest.raises(SemeiaError, match=message) as caught:
        read(tmp_path, missing="skip")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        "",
        row(),
        "image,valence,arousal,expression",
        "image,arousal,valence,expression,aus",
        "image;valence;arousal;expression;aus",
        "image,valence,arousal,expression,AU2,AU1,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
        "image,valence,arousal,expression," + ",".join(f"AU{i}" for i in range(1, 13)),
    ],
)
def test_wrong_headers_are_named(tmp_path, header):
    lay(tmp_path, row(), header=header)
    with pytest.raises(SemeiaError, match="expected the header 'image,valence,arousal,expression,aus', or with AU01"):
        read(tmp_path)


def test_other_labels_of_the_same_frame_are_refused(tmp_path):
    lay(tmp_path, row(), row("a/2.jpg"), row(valence="0.6"))
    with pytest.raises(SemeiaError, match="line 4: expected the labels of 'a/00001' once, found others than in line 2"):
        read(tmp_path)


def test_empty_and_damaged_lists_are_named(tmp_path):
    path = lay(tmp_path, row())
    lay(tmp_path, name=VALIDATION)
    with pytest.raises(SemeiaError, match=f"{VALIDATION}: expected frames after the header, found none"):
        read(tmp_path)
    (tmp_path / VALIDATION).unlink()
    path.write_bytes(b"")
    with pytest.raises(SemeiaError, match=r"line 1: expected the header .* found ''"):
        read(tmp_path)
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe\x00")
    with pytest.raises(SemeiaError, match="expected a text file of labels, found one that cannot be read"):
        read(tmp_path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(SemeiaError, match="nowhere: not found; expected the folder of Aff-Wild2"):
        read(tmp_path / "nowhere")
    with pytest.raises(SemeiaError, match=f"{TRAINING}: not found; a folder of Aff-Wild2 has it"):
        read(tmp_path)
    lay(tmp_path, row(), pictures=False)
    with pytest.raises(SemeiaError, match="cropped_aligned: not found; a folder of Aff-Wild2 has it"):
        read(tmp_path)


def test_frames_without_pictures_are_refused_or_skipped_on_demand(tmp_path):
    lay(tmp_path, row(), row("a/2.jpg"), row("b/3.png"))
    (tmp_path / "cropped_aligned/a/2.jpg").unlink()
    with pytest.raises(SemeiaError, match=r"a/2\.jpg: not found; expected the picture that .* 1 of 3 are missing"):
        read(tmp_path)
    assert read(tmp_path, missing="skip").columns.texts["key"].tolist() == ["a/00001", "b/3"]
    for path in (tmp_path / "cropped_aligned").glob("*/*"):
        path.unlink()
    with pytest.raises(SemeiaError, match="expected at least one labelled face, found none"):
        read(tmp_path, missing="skip")


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def sample(key="clip1/00001", split="train", **change):
    face = FaceLabels(
        key=key, identity=key.split("/")[0], split=split, expression="fear", valence=0.1, arousal=-1 / 3,
        au_occurrence=NONE | {"AU12": 1},
    )  # fmt: skip
    return replace(face, **change), picture()


def test_written_faces_come_back(tmp_path):
    samples = [
        sample(),
        sample("clip1/00002", expression=None, valence=None, arousal=None, au_occurrence={}),
        sample("clip-2_right/7", valence=1e-7, arousal=-1.0, au_occurrence={"AU25": 1}),
        sample("clip3/1", "val", expression="surprise"),
    ]
    write(tmp_path, samples)
    faces = read(tmp_path)
    assert [faces.labels(i) for i in range(4)] == [face for face, _ in samples]
    assert abs(int(faces.image(0)[0, 0, 0]) - 90) < 3
    lines = (tmp_path / TRAINING).read_text().splitlines()
    assert lines[0] == HEADER
    assert lines[1] == "clip1/00001.jpg,0.1,-0.3333333333333333,3,0,0,0,0,0,0,1,0,0,0,0,0"
    assert lines[2] == "clip1/00002.jpg,-5,-5,-1" + 12 * ",-1"
    assert lines[3].startswith("clip-2_right/7.jpg,0.0000001,-1,3,-1,")
    assert (tmp_path / "cropped_aligned/clip-2_right/7.jpg").is_file()


def test_other_is_written_by_its_name_and_units_beyond_the_twelve_are_left_out(tmp_path):
    write(tmp_path, [sample(expression=OTHER, identity=None, au_occurrence=NONE | {"AU09": 1})])
    assert (tmp_path / TRAINING).read_text().splitlines()[1].split(",")[3] == "7"
    assert read(tmp_path, other=True).labels(0) == sample(expression=OTHER, au_occurrence=NONE)[0]
    assert not (tmp_path / VALIDATION).exists()


def test_a_writer_that_dies_leaves_no_list(tmp_path):
    def dying():
        yield sample()
        raise RuntimeError("lamp broke")

    with pytest.raises(RuntimeError, match="lamp broke"):
        write(tmp_path, dying())
    assert not (tmp_path / TRAINING).exists()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample("00001")], "expected keys that differ such as 'clip1/00001', found '00001'"),
        ([sample("../00001")], "expected keys that differ such as"),
        ([sample("a,b/1")], "expected keys that differ such as"),
        ([sample(), sample()], "found 'clip1/00001' twice"),
        ([sample(identity="p1")], "expected the identity that the key names, found p1"),
        ([sample(split=None)], "expected split 'train' or 'val', found None"),
        ([sample(split="test")], "expected split 'train' or 'val', found test"),
        ([sample(), sample("clip1/2", "val")], "'clip1/2': expected the split of its clip, train, found val"),
        ([sample(expression="contempt")], "expected an expression among neutral, .* or none, found contempt"),
        ([sample(valence=None)], r"expected valence and arousal from -1 to 1, or neither, found \(None, -0.333"),
        ([sample(arousal=1.01)], "expected valence and arousal from -1 to 1"),
        ([sample(valence=float("nan"))], "expected valence and arousal from -1 to 1"),
        ([sample(valence=-5.0, arousal=-5.0)], "expected valence and arousal from -1 to 1"),
        ([sample(au_occurrence={"AU12": -1})], "expected occurrences 0 or 1, found {'AU12': -1}"),
        ([(sample()[0], picture()[0])], r"expected a picture \(H, W, 3\) uint8"),
        ([], "expected at least one face to write, found none"),
    ],
)
def test_samples_that_do_not_fit_the_layout_are_refused(tmp_path, samples, message):
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, samples)
    assert not list(tmp_path.glob("*.txt"))


@pytest.mark.parametrize("split", LISTS)
def test_lists_that_are_there_are_not_written_over(tmp_path, split):
    write(tmp_path, [sample(split=split)])
    with pytest.raises(SemeiaError, match=r"_annotations\.txt: exists already"):
        write(tmp_path, [sample("clip9/1")])
    assert len(read(tmp_path)) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Use


def test_faces_feed_training_and_evaluation_with_masks(tmp_path):
    write(tmp_path, [sample(), sample("clip2/1", "val", valence=None, arousal=None, au_occurrence={"AU04": 1})])
    faces, words = read(tmp_path), Vocabulary(action_units=UNITS, valence_arousal=True)
    feed = FaceFeed(
        [FaceSet(faces)], batch_size=3, image_size=32, vocabulary=words, augmentation=Augmentation(), loose=("pose",)
    )
    batch = feed.batch(0)
    np.testing.assert_allclose(batch["valence_arousal"], [[0.1, -1 / 3]] * 3, rtol=1e-6)
    assert batch["valence_arousal_mask"].all()
    assert batch["au_occurrence_mask"].all()
    seen = next(evaluation_batches(faces, split="val", view="aligned", image_size=32, vocabulary=words, margin=0.25))
    assert not seen["valence_arousal_mask"].any()
    assert seen["au_occurrence_mask"].sum() == 1
    assert seen["expression"].tolist() == [EXPRESSIONS.index("fear")]
