"""300W-LP and AFLW2000-3D: angles mean what they say, what is written comes back, and what is wrong is named."""

import pickle
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from semeia.data.augment import Augmentation
from semeia.data.feeds import FaceFeed, FaceSet, evaluation_batches
from semeia.data.formats import w300lp
from semeia.data.formats.w300lp import _mat, _variables, angles_of, pose_of, read, write
from semeia.data.samples import Vocabulary
from semeia.data.synthetic.faces.light import head_rotation
from semeia.records import FaceLabels, Pose, SemeiaError

HEAD = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
"""Tip of the nose, top of the head, and the ear on the right of the picture: x right, y up, z to the viewer."""


def points(shift=0.0):
    grid = np.stack(np.meshgrid(np.linspace(10, 40, 17), np.linspace(8, 40, 4)), -1).reshape(68, 2)
    return (grid + shift).astype(np.float32)


TURNED = Pose(12.5, -3.25, 8.0)


def labels(key="AFW/AFW_7_1_0", pose=TURNED):
    subset, _, stem = key.rpartition("/")
    split, identity = ("train", stem.rpartition("_")[0]) if subset else ("test", None)
    return FaceLabels(key=key, identity=identity, split=split, pose=pose, landmarks=points())


def picture(value=90):
    return np.full((48, 48, 3), (value, 40, 200), np.uint8)


def lay(folder, **variables):
    """One face of AFLW2000-3D as another program would write it."""
    folder.mkdir(exist_ok=True, parents=True)
    write(folder, [(labels("image00002"), picture())])
    content = {"Pose_Para": np.zeros((1, 7), np.float32), "pt3d_68": np.ones((3, 68), np.float32)} | variables
    savemat(folder / "image00002.mat", {name: value for name, value in content.items() if value is not None})
    return folder


def drawn(pitch, yaw, roll):
    """Where the head's points are drawn by the rule of the data sets' own code: (3, 2), x right and y down."""
    x, y, z = np.radians([pitch, yaw, roll])
    about_x = [[1, 0, 0], [0, np.cos(x), np.sin(x)], [0, -np.sin(x), np.cos(x)]]
    about_y = [[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]]
    about_z = [[np.cos(z), np.sin(z), 0], [-np.sin(z), np.cos(z), 0], [0, 0, 1]]
    turned = np.array(about_x) @ about_y @ about_z @ HEAD.T
    return turned[:2].T * [1, -1]


def one(pitch, yaw, roll):
    return Pose(*pose_of(np.array([[pitch, yaw, roll]], float))[0])


def test_positive_stored_angles_look_up_turn_left_and_tilt_right_in_the_picture():
    nose, top, _ = 0, 1, 2
    assert drawn(10, 0, 0)[nose][1] < 0
    assert drawn(0, 10, 0)[nose][0] < 0
    assert drawn(0, 0, 10)[top][0] > 0


def test_single_angles_keep_their_size_and_only_roll_changes_its_sign():
    stored = np.diag([10.0, 20.0, 30.0])
    np.testing.assert_allclose(pose_of(stored), [[0, 10, 0], [20, 0, 0], [0, 0, -30]], atol=1e-9)


@pytest.mark.parametrize("angles", [(0, 0, 0), (10, 20, 30), (-25, 70, 15), (40, -85, -30), (-60, 97, 80)])
def test_a_head_drawn_by_the_stored_angles_stands_as_this_librarys_pose_says(angles):
    pose = one(*angles)
    turned = head_rotation(pose.yaw, pose.pitch, pose.roll) @ HEAD.T
    np.testing.assert_allclose(turned[:2].T * [1, -1], drawn(*angles), atol=1e-9)


def test_turning_the_picture_adds_to_roll_alone():
    cos, sin = np.cos(np.radians(25)), np.sin(np.radians(25))
    counter_clockwise = np.array([[cos, sin], [-sin, cos]])  # as seen, y down
    before = one(20, 35, -10)
    stored = angles_of(np.array([[before.yaw, before.pitch, before.roll + 25]]))[0]
    np.testing.assert_allclose(drawn(*stored), drawn(20, 35, -10) @ counter_clockwise.T, atol=1e-9)


def test_mirroring_negates_yaw_and_roll_in_both_conventions():
    (pose, mirrored) = pose_of(np.array([[20.0, 35, -10], [20, -35, 10]]))
    np.testing.assert_allclose(mirrored, pose * [-1, 1, -1], atol=1e-9)


def test_angles_come_back_from_poses():
    rng = np.random.default_rng(3)
    angles = rng.uniform(-1, 1, (500, 3)) * [60, 99, 60]
    np.testing.assert_allclose(angles_of(pose_of(angles)), angles, atol=1e-6)
    poses = rng.uniform(-1, 1, (500, 3)) * [99, 60, 60]
    np.testing.assert_allclose(pose_of(angles_of(poses)), poses, atol=1e-6)


@pytest.mark.parametrize("angles", [(0, 90, 0), (20, 90, 20), (20, 90, -20), (0, 90, 20), (5, -90, 40)])
def test_a_full_profile_keeps_its_rotation(angles):
    pose = one(*angles)
    turned = head_rotation(pose.yaw, pose.pitch, pose.roll) @ HEAD.T
    np.testing.assert_allclose(turned[:2].T * [1, -1], drawn(*angles), atol=1e-6)


def test_where_only_pitch_and_roll_together_are_fixed_pitch_is_kept():
    np.testing.assert_allclose(pose_of(np.array([[20.0, 90, 20]]))[0, :2], [90, 20], atol=1e-6)


def test_written_faces_come_back(tmp_path):
    faces = [labels("HELEN_Flip/HELEN_3_1_12", Pose(-70.5, 20.25, -30.125)), labels()]
    write(tmp_path, [(face, picture(i * 50)) for i, face in enumerate(faces)])
    back = read(tmp_path)
    assert [back.labels(i) for i in range(2)] == [faces[1], faces[0]]
    np.testing.assert_array_equal(back.labels(0).landmarks, points())
    assert back.image(0).shape == (48, 48, 3)
    assert abs(int(back.image(0)[0, 0, 0]) - 50) < 3
    assert back.select("train").tolist() == [0, 1]
    assert back.dropped == 0


def test_faces_in_one_folder_are_those_of_aflw2000_and_make_a_test_split(tmp_path):
    write(tmp_path, [(labels("image00004"), picture()), (labels("image00002"), picture())])
    back = read(tmp_path)
    assert [back.labels(i) for i in range(2)] == [labels("image00002"), labels("image00004")]
    assert "pt3d_68" in loadmat(tmp_path / "image00002.mat")
    assert back.select("test").tolist() == [0, 1]


def test_real_looking_files_are_read(tmp_path):
    place = np.stack([points()[:, 0] + 0.5, points()[:, 1] + 0.5, np.zeros(68)]).astype(np.float32)
    pose = np.array([[-0.2, 0.5, 0.1, 200, 210, -60, 9e-4]], np.float32)
    lay(
        tmp_path,
        Pose_Para=pose,
        pt3d_68=place,
        pt2d=-np.ones((2, 21)),
        roi=np.ones((1, 4)),
        Shape_Para=np.ones((199, 1)),
    )
    face = read(tmp_path).labels(0)
    turned = w300lp.angles_of(np.array([[face.pose.yaw, face.pose.pitch, face.pose.roll]]))
    assert turned[0] == pytest.approx(np.degrees([-0.2, 0.5, 0.1]), abs=1e-4)
    np.testing.assert_array_equal(face.landmarks, points())
    assert read(tmp_path).extra(0)["stored_angles"] == pytest.approx(np.degrees([-0.2, 0.5, 0.1]), abs=1e-4)


def test_faces_beyond_99_degrees_are_dropped_counted_and_kept_on_demand(tmp_path):
    write(tmp_path, [(labels(f"image{i:05}", Pose(yaw, 0, 0)), picture()) for i, yaw in enumerate([98.9, -99.1, 0])])
    back = read(tmp_path)
    assert [back.labels(i).key for i in range(len(back))] == ["image00000", "image00002"]
    assert back.dropped == 1
    assert pickle.loads(pickle.dumps(back)).dropped == 1
    everything = read(tmp_path, limit=None)
    assert (len(everything), everything.dropped) == (3, 0)
    assert everything.labels(1).pose == Pose(-99.1, 0, 0)


def test_degrees_in_place_of_radians_are_noticed(tmp_path):
    lay(tmp_path, Pose_Para=np.array([[10.0, 20, 30, 0, 0, 0, 1]]))
    with pytest.raises(SemeiaError, match="expected Pose_Para in radians, within 99 degrees"):
        read(tmp_path)


def test_kept_labels_are_used_until_a_file_changes(tmp_path, monkeypatch):
    write(tmp_path, [(labels("image00002"), picture()), (labels("image00004"), picture())])
    opened = []
    real = w300lp._read_mat
    monkeypatch.setattr(w300lp, "_read_mat", lambda path: opened.append(path.name) or real(path))
    first = read(tmp_path)
    again = read(tmp_path)
    assert opened == ["image00002.mat", "image00004.mat"]
    assert [again.labels(i) for i in range(2)] == [first.labels(i) for i in range(2)]
    np.testing.assert_array_equal(again.columns.landmarks, first.columns.landmarks)
    write(tmp_path, [(labels("image00004", Pose(1, 2, 3)), picture())])
    assert read(tmp_path).labels(1).pose == Pose(1, 2, 3)
    (tmp_path / w300lp.CACHE).write_bytes(b"PAR1 torn")
    assert read(tmp_path).labels(1).pose == Pose(1, 2, 3)


def test_labels_are_kept_only_on_demand_and_a_disk_that_refuses_is_no_error(tmp_path, monkeypatch):
    write(tmp_path, [(labels("image00002"), picture())])
    read(tmp_path, cache=False)
    assert not (tmp_path / w300lp.CACHE).exists()
    (tmp_path / w300lp.CACHE).mkdir()  # as good as a disk that may not be written to, for any user
    assert read(tmp_path).labels(0) == labels("image00002")


def test_the_same_labels_give_the_same_bytes(tmp_path):
    for name in "ab":
        write(tmp_path / name, [(labels(), picture())])
    for ending in (".mat", ".jpg"):
        first, second = ((tmp_path / name / "AFW" / f"AFW_7_1_0{ending}").read_bytes() for name in "ab")
        assert first == second
    assert b"Created" not in (tmp_path / "a" / "AFW" / "AFW_7_1_0.mat").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Pose_Para": None}, r"expected Pose_Para \(1, 7\) and .* found none of Pose_Para"),
        ({"Pose_Para": np.zeros((1, 3))}, r"found shape \(1, 3\) of Pose_Para"),
        ({"Pose_Para": np.full((1, 7), np.nan)}, "expected numbers below 1,000,000 in Pose_Para, found nan"),
        ({"Pose_Para": np.zeros((1, 7), complex)}, "Pose_Para is no array of real numbers"),
        ({"Pose_Para": "angles"}, "Pose_Para is no array of real numbers"),
        ({"Pose_Para": {"deep": 1}}, "Pose_Para is no array of real numbers"),
        ({"Pose_Para": np.array([["a", 1]], object)}, "Pose_Para is no array of real numbers"),
        ({"pt3d_68": np.ones((2, 68))}, r"found shape \(2, 68\) of pt3d_68"),
        ({"pt3d_68": np.full((3, 68), np.inf)}, "expected numbers below 1,000,000 in pt3d_68, found inf"),
        ({"pt3d_68": np.full((3, 68), 1e300)}, r"in pt3d_68, found 1e\+300"),
        ({"pt3d_68": None}, "found none of pt2d"),
        ({"pt3d_68": None, "pt2d": np.ones((2, 21))}, r"found shape \(2, 21\) of pt2d"),
    ],
)
def test_wrong_variables_are_named(tmp_path, change, message):
    lay(tmp_path, **change)
    with pytest.raises(SemeiaError, match=message) as caught:
        read(tmp_path)
    assert "image00002.mat" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("kind", ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
def test_files_are_read_as_scipy_reads_and_writes_them(tmp_path, kind, compress):
    written = {
        "other": np.ones((5, 2)), "text": "a", "cells": np.array([[1, "b"]], object), "deep": {"a": {"b": 1}},
        "pt2d": np.arange(136).reshape(2, 68).astype(kind), "Pose_Para": np.arange(7)[None].astype(kind),
    }  # fmt: skip
    path = tmp_path / "a.mat"
    savemat(path, written, do_compression=compress)
    found = _variables(path.read_bytes())
    assert list(found) == ["Pose_Para", "pt2d"]
    for name, values in found.items():
        np.testing.assert_array_equal(values, written[name])
        assert values.dtype == np.float64
    path.write_bytes(_mat({name: written[name].astype(float) for name in ("pt2d", "Pose_Para")}))
    np.testing.assert_array_equal(loadmat(path)["pt2d"], written["pt2d"])


def test_files_of_big_endian_machines_are_read():
    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    parts = (
        element(6, struct.pack(">II", 6, 0)), element(5, struct.pack(">ii", 1, 2)), struct.pack(">HH4s", 4, 1, b"pt2d"),
        element(9, struct.pack(">dd", 1.5, -2)),
    )  # fmt: skip
    content = bytes(124) + b"\x01\x00MI" + element(14, b"".join(parts))
    np.testing.assert_array_equal(_variables(content)["pt2d"], [[1.5, -2]])


def damaged(content, rng):
    """A few bytes changed, and sometimes the end lost."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed[: rng.integers(len(changed)) if rng.random() < 0.3 else None])


@pytest.mark.parametrize("compress", [False, True])
def test_damaged_files_are_read_or_named_in_one_line(tmp_path, compress):
    path = lay(tmp_path) / "image00002.mat"
    savemat(path, {"Pose_Para": np.ones((1, 7)), "pt3d_68": np.ones((3, 68))}, do_compression=compress)
    whole, rng, errors = path.read_bytes(), np.random.default_rng(1), []
    for _ in range(300):
        path.write_bytes(damaged(whole, rng))
        try:
            read(tmp_path, limit=None, cache=False)
        except SemeiaError as error:
            errors.append(str(error))
    assert len(errors) > 50
    assert all("image00002.mat: expected" in text and "\n" not in text for text in errors)


def test_other_files_versions_and_bombs_are_named(tmp_path):
    path = lay(tmp_path) / "image00002.mat"
    whole = path.read_bytes()
    packed = zlib.compress(bytes(64 << 20), 9)
    for content, message in (
        (b"", "no header"),
        (b"no mat at all" * 30, "no header"),
        (whole[:-40], "it ends within an element"),
        (whole[:132], "it ends within a tag"),
        (whole[:128] + struct.pack("<II", 15, 5) + b"no zip", "incorrect header check|ends within"),
        (whole[:128] + struct.pack("<II", 15, len(packed)) + packed, "end too early or grow too large"),
        (whole[:128] + struct.pack("<II", 15, 99) + packed[:99], "end too early or grow too large"),
        (whole[:124] + b"\x00\x02IM" + whole[128:], r"version 7\.3, which is HDF5"),
        (whole[:124] + b"\x00\x07IM" + whole[128:], "version 7"),
        (whole[:128] + struct.pack("<II", 14, 8) + bytes(8), "a matrix lacks its name"),
        (
            whole.replace(struct.pack("<ii", 3, 68), struct.pack("<ii", -3, 68)),
            r"has \d+ numbers for the shape \(-3, 68\)",
        ),
        (whole.replace(struct.pack("<ii", 3, 68), struct.pack("<ii", 2**30, 2**30)), "numbers for the shape"),
    ):
        path.write_bytes(content)
        with pytest.raises(SemeiaError, match=message) as caught:
            read(tmp_path)
        assert "image00002.mat: expected" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = lay(tmp_path) / "image00002.mat"
    with path.open("ab") as stream:
        stream.truncate(40 << 20)
    with pytest.raises(SemeiaError, match="at most 32 MB, found 40 MB"):
        read(tmp_path)


def test_pictures_and_labels_without_the_other_are_named(tmp_path):
    lay(tmp_path)
    (tmp_path / "image00003.mat").write_bytes(b"")
    with pytest.raises(SemeiaError, match=r"image00003\.jpg: not found; expected one beside the \.mat"):
        read(tmp_path)
    (tmp_path / "image00003.mat").unlink()
    (tmp_path / "image00002.mat").unlink()
    with pytest.raises(SemeiaError, match=r"image00002\.mat: not found; expected one beside the picture"):
        read(tmp_path)
    (tmp_path / "image00002.jpg").unlink()
    with pytest.raises(SemeiaError, match="expected pictures in AFW, HELEN, IBUG, LFPW"):
        read(tmp_path)
    with pytest.raises(SemeiaError, match="not found; expected the folder of 300W-LP"):
        read(tmp_path / "nowhere")


def test_other_folders_of_the_release_are_passed_over(tmp_path):
    write(tmp_path, [(labels(), picture())])
    (tmp_path / "AFW" / "._AFW_7_1_0.mat").write_bytes(b"of another system")
    for place in ("landmarks/AFW", "Code"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "AFW_7_1_0_pts.mat").write_bytes(b"other")
    assert len(read(tmp_path)) == 1


@pytest.mark.parametrize(
    ("face", "image", "message"),
    [
        (replace(labels(), pose=None), picture(), "expected a pose with three angles, found None"),
        (replace(labels(), pose=Pose(1, np.nan, 2)), picture(), "expected a pose with three angles"),
        (replace(labels(), landmarks=None), picture(), r"expected landmarks \(68, 2\), found none"),
        (replace(labels(), landmarks=points()[:5]), picture(), r"found shape \(5, 2\)"),
        (replace(labels(), key="LFW/a"), picture(), "expected a key such as"),
        (replace(labels(), key="AFW/../a"), picture(), "expected a key such as"),
        (replace(labels(), key="AFW/"), picture(), "expected a key such as"),
        (labels(), picture().astype(float), r"expected a picture \(H, W, 3\) uint8"),
        (labels(), picture()[..., 0], r"expected a picture \(H, W, 3\) uint8"),
    ],
)
def test_samples_that_lack_what_the_layout_needs_are_refused(tmp_path, face, image, message):
    with pytest.raises(SemeiaError, match=message):
        write(tmp_path, [(face, image)])
    assert list(tmp_path.iterdir()) == []


def test_two_faces_of_one_key_and_two_data_sets_in_one_folder_are_refused(tmp_path):
    with pytest.raises(SemeiaError, match="found 'AFW/AFW_7_1_0' twice"):
        write(tmp_path, [(labels(), picture())] * 2)
    with pytest.raises(SemeiaError, match="expected keys of one data set"):
        write(tmp_path, [(labels(), picture()), (labels("image00002"), picture())])


def test_faces_feed_training_and_evaluation(tmp_path):
    write(tmp_path, [(labels(f"AFW/AFW_{i}_1_0"), picture()) for i in range(3)])
    faces = read(tmp_path)
    words = Vocabulary()
    feed = FaceFeed(
        [FaceSet(faces)], batch_size=4, image_size=32, vocabulary=words, augmentation=Augmentation(), aligned=0
    )
    batch = feed.batch(0)
    assert batch["image"].shape == (4, 3, 32, 32)
    assert batch["pose_mask"].all()
    seen = next(evaluation_batches(faces, split="train", view="upright", image_size=32, vocabulary=words, margin=0.35))
    np.testing.assert_allclose(seen["pose"].numpy(), [[12.5, -3.25, 8.0]] * 3)
