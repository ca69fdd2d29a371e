"""The folder format for labelled faces: what is written comes back, and what is wrong is named."""

import io
import pickle
import tarfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from semeia.data.formats.faces import FaceFolder, has_shard, read_manifest, shard_paths, write_manifest, write_shard
from semeia.records import Box, FaceLabels, Pose, SemeiaError

FULL = FaceLabels(
    key="p1_0",
    identity="p1",
    split="train",
    expression="happiness",
    compound="happily surprised",
    au_occurrence={"AU12": 1, "AU04": 0},
    au_intensity={"AU12": 3.5, "AU04": 0.0},
    au_left={"AU12": 4.0},
    au_right={"AU12": 3.0},
    attributes={"Smiling": 1, "Male": 0},
    age=31.7,
    pose=Pose(yaw=-12.25, pitch=3.1, roll=8.0),
    box=Box(1.5, 2.5, 20.0, 24.0),
    landmarks=np.arange(136, dtype=np.float32).reshape(68, 2) / 4,
    landmark_visibility=np.arange(68) % 3 > 0,
    gaze=(0.0, 0.6, 0.8),
    valence=0.7,
    arousal=-0.1,
    palsy_side="left",
    palsy_degree=0.4,
    caption="A face.",
)


def picture(value=90, size=8):
    return np.full((size, size, 3), (value, 40, 200), np.uint8)


def encoded(array, kind="PNG"):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind)
    return stream.getvalue()


MASK = np.arange(64, dtype=np.uint8).reshape(8, 8)


def samples():
    return [
        (FULL, encoded(picture()), encoded(MASK), {"seed": 7, "lamps": [1, 2]}),
        (FaceLabels(key="p2_0", split="val"), encoded(picture(10), "JPEG"), None, {}),
    ]


@pytest.fixture
def folder(tmp_path):
    write_shard(tmp_path, "000", samples())
    return tmp_path


def rewrite(folder, **columns):
    """Replaces columns of the labels, as another program would write them."""
    path = folder / "shards" / "000.parquet"
    table = pq.read_table(path)
    for name, values in columns.items():
        if name in table.column_names:
            table = table.drop_columns(name)
        if values is not None:
            table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    pq.write_table(table, path)
    return folder


def test_all_labels_come_back(folder):
    read = FaceFolder(folder).labels(0)
    assert read == FULL
    np.testing.assert_array_equal(read.landmarks, FULL.landmarks)
    np.testing.assert_array_equal(read.landmark_visibility, FULL.landmark_visibility)
    assert read.landmark_visibility.dtype == bool


def test_a_face_without_labels_comes_back_without_labels(folder):
    read = FaceFolder(folder).labels(1)
    assert read == FaceLabels(key="p2_0", split="val")
    assert read.landmarks is None
    assert read.landmark_visibility is None


def test_folders_without_compound_and_visibility_are_read(folder):
    read = FaceFolder(rewrite(folder, compound=None, landmark_visibility=None)).labels(0)
    assert read.compound is None
    assert read.landmark_visibility is None
    assert read.expression == "happiness"


def test_a_visibility_that_is_neither_0_nor_1_or_too_short_is_named(folder):
    with pytest.raises(SemeiaError, match="'landmark_visibility', key 'p1_0': expected 0 or 1, found 2"):
        FaceFolder(rewrite(folder, landmark_visibility=[[2.0] * 68, None]))
    with pytest.raises(SemeiaError, match="'landmark_visibility': expected lists of 68 numbers, found one of 5"):
        FaceFolder(rewrite(folder, landmark_visibility=[[1.0] * 5, None]))


def test_images_masks_and_extras_come_back(folder):
    faces = FaceFolder(folder)
    assert len(faces) == 2
    np.testing.assert_array_equal(faces.image(0), picture())
    np.testing.assert_array_equal(faces.mask(0), MASK)
    assert faces.image_bytes(0) == samples()[0][1]
    assert faces.extra(0) == {"seed": 7, "lamps": [1, 2]}
    assert faces.image(1).shape == (8, 8, 3)
    assert faces.mask(1) is None
    assert faces.extra(1) == {}


def test_grey_images_are_read_as_colour(tmp_path):
    write_shard(tmp_path, "000", [(FaceLabels(key="a"), encoded(MASK), None, {})])
    np.testing.assert_array_equal(FaceFolder(tmp_path).image(0), np.repeat(MASK[..., None], 3, 2))


def test_same_samples_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_shard(tmp_path / name, "000", samples())
    for first, second in zip(*(shard_paths(tmp_path / name, "000") for name in ("a", "b")), strict=True):
        assert first.read_bytes() == second.read_bytes()
    with tarfile.open(shard_paths(tmp_path / "a", "000")[0]) as tar:
        assert [m.name for m in tar] == ["p1_0.png", "p1_0.mask.png", "p2_0.jpg"]
        assert all((m.mtime, m.uid, m.gid, m.uname) == (0, 0, 0, "") for m in tar.getmembers())


def test_shards_with_different_columns_are_joined_in_the_order_of_their_names(folder):
    write_shard(folder, "001", [(FaceLabels(key="q", au_intensity={"AU01": 2.0}), encoded(picture(3)), None, {})])
    faces = FaceFolder(folder)
    assert [faces.labels(i).key for i in range(3)] == ["p1_0", "p2_0", "q"]
    assert faces.labels(2).au_intensity == {"AU01": 2.0}
    assert faces.image(2)[0, 0, 0] == 3
    np.testing.assert_array_equal(faces.columns.matrix(["AU12_r", "AU99_r"])[0], [3.5, np.nan])


def test_splits_are_selected(folder):
    faces = FaceFolder(folder)
    assert faces.select("train").tolist() == [0]
    assert faces.select("val").tolist() == [1]
    assert faces.select("test").tolist() == []
    assert faces.select().tolist() == [0, 1]


def _sum(args):
    faces, index = args
    return int(faces.image(index).sum())


def test_a_folder_serves_other_processes(folder):
    faces = FaceFolder(folder)
    expected = [_sum((faces, i)) for i in range(2)]
    copy = pickle.loads(pickle.dumps(faces))
    assert [_sum((copy, i)) for i in range(2)] == expected
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        assert list(pool.map(_sum, [(faces, 0), (faces, 1)])) == expected


def test_a_writer_that_dies_leaves_nothing(tmp_path):
    def dying():
        yield samples()[0]
        raise RuntimeError("lamp broke")

    with pytest.raises(RuntimeError, match="lamp broke"):
        write_shard(tmp_path, "000", dying())
    assert list((tmp_path / "shards").iterdir()) == []
    assert not has_shard(tmp_path, "000")


def test_a_shard_is_present_only_with_both_files(folder):
    tar, labels = shard_paths(folder, "000")
    assert has_shard(folder, "000")
    whole = labels.read_bytes()
    labels.write_bytes(whole[:-9])
    assert not has_shard(folder, "000")
    labels.write_bytes(whole)
    tar.unlink()
    assert not has_shard(folder, "000")


def test_an_unfinished_shard_beside_finished_ones_is_ignored(folder):
    (folder / "shards" / "001.tar").write_bytes(b"half")
    (folder / "shards" / ".002.ab.part.parquet").write_bytes(b"half")
    assert len(FaceFolder(folder)) == 2


def test_writing_refuses_what_reading_would_refuse(tmp_path):
    wrong = FaceLabels(key="a", au_intensity={"AU12": 7.0})
    with pytest.raises(SemeiaError, match=r"'AU12_r', key 'a': expected a number from 0 to 5, found 7"):
        write_shard(tmp_path, "000", [(wrong, encoded(picture()), None, {})])
    with pytest.raises(SemeiaError, match=r"000\.tar: image of key 'a': expected the bytes of a PNG or JPEG"):
        write_shard(tmp_path, "000", [(FaceLabels(key="a"), b"GIF89a", None, {})])
    assert list((tmp_path / "shards").iterdir()) == []


def test_a_pose_with_one_known_angle_keeps_it(folder):
    pose = FaceFolder(rewrite(folder, pose_pitch=None, pose_roll=[None, 2.0])).labels(0).pose
    assert pose.yaw == -12.25
    assert np.isnan(pose.pitch)
    assert np.isnan(pose.roll)


def test_columns_of_other_writers_are_taken_as_they_mean(folder):
    rewrite(
        folder, identity=[4, 5], AU12_r=pa.array([3, None], pa.int32()), attr_Male=[True, False], age=pa.nulls(2),
        expression=pa.array(["fear", None]).dictionary_encode(), their_own=[["x"], []],
        landmarks=pa.array([None, list(range(136))], pa.list_(pa.float64(), 136)),
    )  # fmt: skip
    first, second = (FaceFolder(folder).labels(i) for i in range(2))
    assert (first.identity, first.au_intensity["AU12"], first.attributes["Male"], first.age) == ("4", 3.0, 1, None)
    assert first.expression == "fear"
    assert first.landmarks is None
    np.testing.assert_array_equal(second.landmarks[1], [2, 3])


def test_only_the_key_is_needed(folder):
    path = folder / "shards" / "000.parquet"
    pq.write_table(pa.table({"key": ["p2_0"]}), path)
    assert FaceFolder(folder).labels(0) == FaceLabels(key="p2_0")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"AU12_r": ["3", None]}, r"column 'AU12_r': expected numbers, found string"),
        ({"AU12_r": [7.0, None]}, r"'AU12_r', key 'p1_0': expected a number from 0 to 5, found 7"),
        ({"AU12_r": [float("nan"), 1.0]}, r"'AU12_r': expected a number or null, found NaN"),
        ({"AU9_r": [1.0, 2.0]}, r"'AU9_r': expected two digits, 'AU09_r'"),
        ({"AU12_c": [0.5, 1.0]}, r"'AU12_c', key 'p1_0': expected 0 or 1, found 0.5"),
        ({"attr_Male": [1, -1]}, r"'attr_Male', key 'p2_0': expected 0 or 1, found -1"),
        ({"age": [float("inf"), 3.0]}, r"'age', key 'p1_0': expected a number from 0 to 130, found inf"),
        ({"pose_yaw": [181.0, 0.0]}, r"'pose_yaw', key 'p1_0': expected a number from -180 to 180, found 181"),
        ({"box_x": None}, r"key 'p1_0': expected all of box_x, .* found no box_x"),
        ({"landmarks": [[1.0, 2.0], None]}, r"expected lists of 136 numbers .* found one of 2"),
        ({"landmarks": [[None] + [1.0] * 135, None]}, r"'landmarks': expected finite numbers"),
        ({"landmarks": ["x", None]}, r"'landmarks': expected lists of numbers, found string"),
        ({"key": ["p1_0", "p9"]}, r"000\.tar: expected an image p9\.png or p9\.jpg"),
        ({"key": ["p1_0", "p1_0"]}, r"key 'p1_0' stands in several rows"),
        ({"key": ["p1_0", None]}, r"row 1: expected a key"),
        ({"key": None}, r"expected a text column 'key'"),
        ({"caption": [["x"], []]}, r"column 'caption': expected text, found list"),
        ({"extra": ["{", None]}, r"column 'extra', key 'p1_0': expected a JSON object"),
    ],
)
def test_wrong_labels_are_named(folder, columns, message):
    rewrite(folder, **columns)
    with pytest.raises(SemeiaError, match=message) as caught:
        FaceFolder(folder)
    assert "000." in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_files_are_named(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(SemeiaError, match="expected a folder of faces"):
        FaceFolder(empty)
    tar, labels = shard_paths(folder, "000")
    whole = tar.read_bytes()
    tar.write_bytes(whole[:700])
    with pytest.raises(SemeiaError, match=r"000\.tar: expected a"):
        FaceFolder(folder)
    tar.write_bytes(b"no tar" * 300)
    with pytest.raises(SemeiaError, match=r"000\.tar: expected an uncompressed tar"):
        FaceFolder(folder)
    tar.unlink()
    with pytest.raises(SemeiaError, match=r"000\.tar: not found"):
        FaceFolder(folder)
    labels.write_bytes(b"")
    with pytest.raises(SemeiaError, match=r"000\.parquet: expected a Parquet file"):
        FaceFolder(folder)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    broken = encoded(picture(size=40))[:60]
    write_shard(tmp_path, "000", [(FaceLabels(key="a"), broken, None, {})])
    with pytest.raises(SemeiaError, match=r"000\.tar: image of key 'a': expected a PNG or JPEG"):
        FaceFolder(tmp_path).image(0)


def test_manifests_come_back(tmp_path):
    write_manifest(tmp_path / "new", {"version": 1, "files": {"b": "1", "a": "2"}})
    assert read_manifest(tmp_path / "new") == {"version": 1, "files": {"a": "2", "b": "1"}}
    with pytest.raises(SemeiaError, match=r"manifest\.json: not found"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("[1]")
    with pytest.raises(SemeiaError, match="expected a JSON object, found list"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(SemeiaError, match="expected a JSON object, found something else"):
        read_manifest(tmp_path)
