"""DISFA: intensities meet their frames whatever pictures are called, films are taken apart, wrong files are named."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats.bp4d import split_of
from semeia.data.formats.disfa import HELD_OUT, PARTS, PROTOCOL, UNITS, extract_frames, read, write
from semeia.data.samples import Vocabulary
from semeia.records import FaceLabels, SemeiaError

FRAMES = 6


def picture(value=90):
    return np.full((24, 32, 3), (value, 40, 200), np.uint8)


def texts(folder, person="SN001", *, frames=FRAMES, start=1, end="\n", bom=""):
    """Labels as the release has them: frame i of unit k has intensity (i + k) mod 6."""
    place = folder / "ActionUnit_Labels" / person
    place.mkdir(exist_ok=True, parents=True)
    for k, unit in enumerate(UNITS):
        lines = (f"{i + start},{(i + k) % 6}{end}" for i in range(frames))
        (place / f"{person}_au{int(unit[2:])}.txt").write_text(bom + "".join(lines), encoding="utf-8", newline="")
    return folder


def pictures(folder, place="img/SN001", *, start=0, count=FRAMES, name="{}.png"):
    (folder / place).mkdir(exist_ok=True, parents=True)
    for i in range(count):
        Image.fromarray(picture(i * 10)).save(folder / place / name.format(i + start))
    return folder


def label_file(folder, unit=1):
    return folder / "ActionUnit_Labels" / "SN001" / f"SN001_au{unit}.txt"


def film(folder, person="SN001", *, frames=FRAMES, place="Videos_LeftCamera", side="Left"):
    av = pytest.importorskip("av")
    (folder / place).mkdir(exist_ok=True, parents=True)
    path = folder / place / f"{side}Video{person}_comp.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(frames):
            shade = np.full((32, 32, 3), 40 * i % 250, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shade, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_intensities_meet_their_frames(tmp_path):
    faces = read(pictures(texts(tmp_path)))
    assert len(faces) == FRAMES
    wanted = {unit: (1 + k) % 6 for k, unit in enumerate(UNITS) if unit in PROTOCOL}
    assert faces.labels(1) == FaceLabels(key="SN001/0002", identity="SN001", au_intensity=wanted)
    assert faces.pictures[1].name == "1.png"
    assert faces.image(1)[0, 0, 0] == 10
    assert set(read(tmp_path, units=UNITS).labels(0).au_intensity) == set(UNITS)
    for units in ((), ("AU1",), ("AU01", "AU07")):
        with pytest.raises(SemeiaError, match="expected units among AU01, AU02"):
            read(tmp_path, units=units)


@pytest.mark.parametrize(
    ("place", "start", "name"),
    [
        ("img/SN001", 0, "{}.jpg"),
        ("frames/SN001", 1, "{}.png"),
        ("aligned_images/SN001", 1, "{:05}.png"),
        ("images/LeftVideoSN001", 1, "{:05}.jpg"),
        ("images/LeftVideoSN001_comp", 1, "LeftVideoSN001_comp_{:04}.png"),
        ("Videos_LeftCamera_frames/LeftVideoSN001_comp", 1, "LeftVideoSN001_comp_{:05}.jpg"),
    ],
)
def test_pictures_of_public_code_are_found_counted_from_0_or_1(tmp_path, place, start, name):
    faces = read(pictures(texts(tmp_path), place, start=start, name=name))
    assert [path.name for path in faces.pictures] == [name.format(i + start) for i in range(FRAMES)]


def test_lines_counted_from_0_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path):
    plain = read(pictures(texts(tmp_path / "a")))
    other = read(pictures(texts(tmp_path / "b", start=0, end="\r\n", bom="\ufeff")))
    assert [other.labels(i) for i in range(FRAMES)] == [plain.labels(i) for i in range(FRAMES)]


def test_the_right_camera_has_pictures_of_its_own(tmp_path):
    pictures(pictures(texts(tmp_path)), "images/RightVideoSN001", start=1, name="{:05}.jpg")
    assert read(tmp_path).pictures[0].parent.name == "SN001"
    assert read(tmp_path, camera="right").pictures[0].parent.name == "RightVideoSN001"
    pictures(tmp_path / "elsewhere", "RightVideoSN001")
    assert read(tmp_path, camera="right", frames=tmp_path / "elsewhere").pictures[0].name == "0.png"


def test_parts_hold_27_persons_and_each_is_tested_once():
    persons = [person for part in PARTS for person in part]
    assert [len(part) for part in PARTS] == [9, 9, 9]
    assert len(set(persons)) == 27
    for person in persons:
        assert sorted(split_of(person, f, parts=PARTS, held_out={}) for f in (1, 2, 3)) == ["test", "train", "train"]
    assert split_of("SN003", 1, parts=PARTS, held_out={}) == "test"
    assert split_of("SN001", 3, parts=PARTS, held_out={}) == "test"


def test_persons_held_out_come_from_both_training_parts():
    for fold, held in HELD_OUT.items():
        assert {split_of(person, fold, parts=PARTS, held_out={}) for person in held} == {"train"}
        assert len({next(i for i, part in enumerate(PARTS) if person in part) for person in held}) == 2


def test_a_fold_splits_the_faces_by_person(tmp_path):
    for person in ("SN001", "SN002", "SN003"):
        pictures(texts(tmp_path, person, frames=1), f"img/{person}", count=1)
    assert [read(tmp_path, fold=1).labels(i).split for i in range(3)] == ["train", "train", "test"]
    assert [read(tmp_path, fold=2, val=True).labels(i).split for i in range(3)] == ["train", "val", "val"]
    assert read(tmp_path).labels(0).split is None
    pictures(texts(tmp_path, "SN033", frames=1), "img/SN033", count=1)
    with pytest.raises(SemeiaError, match="SN033: expected a person of the three parts"):
        read(tmp_path, fold=1)
    with pytest.raises(SemeiaError, match="expected a fold from 1 to 3, found 0"):
        read(tmp_path, fold=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected lines 'frame,intensity', found an empty file"),
        ("1,0\n2,6\n", "line 2: expected a frame and an intensity from 0 to 5 such as '12,3', found '2,6'"),
        ("1,0\n2,-1\n", "line 2: expected a frame and an intensity"),
        ("1,0\n2,1.5\n", "line 2: expected a frame and an intensity"),
        ("1 0\n", "line 1: expected a frame and an intensity"),
        ("1;0\n", "line 1: expected a frame and an intensity"),
        ("frame,intensity\n1,0\n", "line 1: expected a frame and an intensity"),
        ("1,0\n1,0\n", "line 2: expected frame 2, every frame once and in order, found 1"),
        ("1,0\n3,0\n", "line 2: expected frame 2, every frame once and in order, found 3"),
        ("7,0\n8,0\n", "line 1: expected frame 0 or 1, every frame once and in order, found 7"),
    ],
)
def test_wrong_labels_are_named(tmp_path, text, message):
    pictures(texts(tmp_path))
    label_file(tmp_path).write_text(text)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(tmp_path)
    assert "SN001_au1.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_of_unequal_length_and_missing_labels_are_named(tmp_path):
    pictures(texts(tmp_path))
    label_file(tmp_path, 4).write_text("1,0\n2,0\n")
    with pytest.raises(
        SemeiaError, match="SN001: expected labels of one length, found 6 for AU01, 6 for AU02, 2 for AU04"
    ):
        read(tmp_path)
    label_file(tmp_path, 4).unlink()
    with pytest.raises(SemeiaError, match=r"SN001_au4\.txt: not found; expected the labels of AU04 for SN001"):
        read(tmp_path)
    assert len(read(tmp_path, units=("AU01", "AU12"))) == FRAMES
    shutil.rmtree(tmp_path / "ActionUnit_Labels" / "SN001")
    with pytest.raises(SemeiaError, match="ActionUnit_Labels: expected folders such as SN001"):
        read(tmp_path)
    (tmp_path / "ActionUnit_Labels").rmdir()
    with pytest.raises(SemeiaError, match="ActionUnit_Labels: not found"):
        read(tmp_path)


def test_missing_pictures_are_named_or_skipped(tmp_path):
    texts(tmp_path)
    with pytest.raises(SemeiaError, match=r"images: expected folders of pictures .* unpack the pictures, or the films"):
        read(tmp_path)
    (tmp_path / "Videos_LeftCamera").mkdir()
    with pytest.raises(SemeiaError, match=r"take the films in Videos_LeftCamera apart first, with .*extract_frames"):
        read(tmp_path)
    pictures(texts(tmp_path, "SN002"), start=0)
    with pytest.raises(SemeiaError, match="expected pictures of SN002 in a folder of this name, found none"):
        read(tmp_path)
    assert len(read(tmp_path, missing="skip")) == FRAMES
    shutil.rmtree(tmp_path / "ActionUnit_Labels" / "SN002")
    (tmp_path / "img/SN001/3.png").unlink()
    with pytest.raises(SemeiaError, match=r"3\.png: not found; .* 1 of 6 are missing"):
        read(tmp_path)
    faces = read(tmp_path, missing="skip")
    assert [faces.labels(i).key[-1] for i in range(len(faces))] == ["1", "2", "3", "5", "6"]


def test_where_pictures_begin_is_asked_for_where_it_cannot_be_seen(tmp_path):
    pictures(texts(tmp_path), start=1, count=4)
    with pytest.raises(SemeiaError, match=r"expected picture 0 or picture 6, .* read with first=0 or first=1"):
        read(tmp_path, missing="skip")
    assert read(tmp_path, missing="skip", first=0).labels(0).key == "SN001/0002"
    assert read(tmp_path, missing="skip", first=1).labels(0).key == "SN001/0001"


def test_more_pictures_than_labels_are_refused_unless_spared(tmp_path):
    pictures(texts(tmp_path), count=FRAMES + 2)
    with pytest.raises(SemeiaError, match=r"for each of 6 labelled frames, found 2 more; .* read with spare=2"):
        read(tmp_path)
    assert len(read(tmp_path, spare=2)) == FRAMES


def test_films_are_taken_apart_and_read(tmp_path):
    texts(tmp_path)
    film(tmp_path)
    told = []
    out = extract_frames(tmp_path, progress=lambda *step: told.append(step))
    assert out == tmp_path / "images"
    assert told == [("SN001", i + 1, FRAMES) for i in range(FRAMES)]
    faces = read(tmp_path)
    assert [path.name for path in faces.pictures] == [f"{i + 1:05}.jpg" for i in range(FRAMES)]
    shades = [int(faces.image(i).mean()) for i in range(FRAMES)]
    assert np.abs(np.array(shades) - [40 * i % 250 for i in range(FRAMES)]).max() < 12


def test_taking_apart_goes_on_where_it_was_stopped(tmp_path):
    for person in ("SN001", "SN002"):
        texts(tmp_path, person)
        film(tmp_path, person)

    def stop(person, done, _):
        if (person, done) == ("SN002", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_frames(tmp_path, progress=stop)
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["LeftVideoSN001"]
    told = []
    extract_frames(tmp_path, progress=lambda *step: told.append(step[0]))
    assert set(told) == {"SN002"}
    assert len(read(tmp_path)) == 2 * FRAMES


def test_the_right_camera_and_some_persons_are_taken_apart_elsewhere(tmp_path):
    for person in ("SN001", "SN002"):
        texts(tmp_path, person)
        film(tmp_path, person, place="Video_RightCamera", side="Right")
    out = extract_frames(tmp_path, tmp_path / "out", camera="right", persons=("SN002",))
    assert [path.name for path in out.iterdir()] == ["RightVideoSN002"]
    assert len(read(tmp_path, camera="right", frames=out, missing="skip")) == FRAMES


def test_films_of_another_length_damaged_and_missing_ones_are_named(tmp_path):
    texts(tmp_path)
    with pytest.raises(SemeiaError, match=r"Videos_LeftCamera: not found; a folder of DISFA has it"):
        extract_frames(tmp_path)
    path = film(tmp_path, frames=FRAMES + 2)
    with pytest.raises(SemeiaError, match="expected 6 frames as the labels of SN001 have, found 8; pass spare=2"):
        extract_frames(tmp_path)
    assert list((tmp_path / "images").iterdir()) == []
    extract_frames(tmp_path, spare=2)
    assert len(list((tmp_path / "images/LeftVideoSN001").iterdir())) == FRAMES
    shutil.rmtree(tmp_path / "images/LeftVideoSN001")
    film(tmp_path, frames=FRAMES - 1)
    with pytest.raises(SemeiaError, match="found 5; copy the film again"):
        extract_frames(tmp_path, spare=3)
    for content in (b"", b"no film" * 99, path.read_bytes()[:200]):
        path.write_bytes(content)
        with pytest.raises(SemeiaError, match=r"LeftVideoSN001_comp\.avi: expected") as caught:
            extract_frames(tmp_path)
        assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(SemeiaError, match=r"LeftVideoSN001_comp\.avi: not found"):
        extract_frames(tmp_path)


def sample(frame=1, person="SN001", **change):
    face = FaceLabels(
        key=f"{person}/{frame:04}",
        identity=person,
        au_intensity={unit: float((frame + k) % 6) for k, unit in enumerate(UNITS)},
    )
    return replace(face, **change), picture(frame)


def test_written_faces_come_back(tmp_path):
    samples = [sample(1), sample(2), sample(3), sample(1, "SN018")]
    write(tmp_path, [samples[i] for i in (2, 3, 0, 1)])
    faces = read(tmp_path, units=UNITS)
    assert [faces.labels(i) for i in range(4)] == [face for face, _ in samples]
    np.testing.assert_array_equal(faces.image(2), picture(3))
    assert (tmp_path / "ActionUnit_Labels/SN001/SN001_au1.txt").read_text() == "1,1\n2,2\n3,3\n"


def test_a_writer_that_dies_leaves_no_labels(tmp_path):
    def dying():
        yield sample()
        raise RuntimeError("lamp broke")

    with pytest.raises(RuntimeError, match="lamp broke"):
        write(tmp_path, dying())
    assert not (tmp_path / "ActionUnit_Labels").exists()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([sample(key="SN001/1")], "expected a key such as 'SN001/0001', found 'SN001/1'"),
        ([sample(key="SN001/0000")], "expected a key such as"),
        ([sample(key="SN001/../../x")], "expected a key such as"),
        ([sample(identity="p1")], "expected the identity that the key names, found p1"),
        ([sample(au_intensity={"AU01": 1.0})], "expected intensities of AU01, .* found no AU02, AU04"),
        ([sample(au_intensity=dict.fromkeys(UNITS, 2.5))], "expected intensities 0, 1, 2, 3, 4 or 5"),
        ([sample(au_intensity=dict.fromkeys(UNITS, 6.0))], "expected intensities 0, 1, 2, 3, 4 or 5"),
        ([sample(), sample()], "found 'SN001/0001' twice"),
        ([sample(1), sample(3)], "SN001: expected frames 1 to 3, found no 2"),
        ([(sample()[0], picture().astype(np.float32))], r"expected a picture \(H, W, 3\) uint8"),
    ],
)
def test_samples_that_lack_what_the_layout_needs_are_refused(tmp_path, samples, message):
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, samples)
    assert not (tmp_path / "ActionUnit_Labels").exists()


def test_faces_feed_training_and_evaluation_and_count_as_present_from_2_on(tmp_path):
    write(tmp_path, [sample(i + 1, person) for person in ("SN001", "SN003") for i in range(3)])
    faces, words = read(tmp_path, fold=1), Vocabulary(action_units=PROTOCOL)
    feed = FaceFeed(
        [FaceSet(faces, balance="au")], batch_size=4, image_size=32, vocabulary=words, augmentation=Augmentation()
    )
    batch = feed.batch(0)
    assert batch["au_intensity_mask"].all()
    assert (batch["au_occurrence"] == (batch["au_intensity"] >= 2)).all()
    seen = next(evaluation_batches(faces, split="test", view="aligned", image_size=32, vocabulary=words, margin=0.25))
    assert seen["au_intensity"][:, 0].tolist() == [1, 2, 3]
