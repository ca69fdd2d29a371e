"""From a user's file to readings."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from semeia import checkpoint, parts
from semeia.predict import faces, units
from semeia.records import Box, Face, SemeiaError
from semeia.systems import qface

TINY = qface.Config(image_size=32, taps=(0, 1, 2), backbone_width=48, backbone_depth=3, width=48, heads=4, hidden=64)


class OneFace:
    """A finder that sees the same face in every picture that is not black."""

    def find(self, image):
        if not image.any():
            return ()
        mesh = np.zeros((468, 3))
        mesh[:, 0] = np.tile(np.linspace(20, 44, 26), 18)
        mesh[:, 1] = np.repeat(np.linspace(20, 50, 18), 26)
        return (Face(box=Box(20, 20, 24, 30), score=0.9, presence=1.0, mesh=mesh),)


@pytest.fixture
def reader():
    torch.manual_seed(0)
    return faces.FaceReader(qface.build(TINY), OneFace(), weights="tiny", device=torch.device("cpu"))


@pytest.fixture
def offline(monkeypatch, reader):
    monkeypatch.setattr(faces, "_reader", lambda *_: reader)


def picture(path, value=128):
    Image.fromarray(np.full((64, 64, 3), value, np.uint8)).save(path)
    return path


def test_a_face_is_read_in_every_task(reader):
    (face,) = reader.read(np.full((64, 64, 3), 128, np.uint8))
    assert set(face.expression) == set(TINY.expressions)
    assert set(face.action_units) == set(TINY.action_units)
    assert set(face.attributes) == set(TINY.attributes)
    assert sum(face.expression.values()) == pytest.approx(1, abs=1e-5)
    assert 0 <= face.age <= 116


def test_a_unit_counts_as_present_from_its_own_threshold_on(reader):
    picture = np.full((64, 64, 3), 128, np.uint8)
    (before,) = reader.read(picture)
    name = TINY.action_units[0]
    for step, present in ((-0.01, True), (0.01, False)):
        reader.model.calibration.unit_threshold[0] = before.action_units[name].probability + step
        assert reader.read(picture)[0].action_units[name].occurrence is present


def test_weights_from_before_calibration_answer_uncalibrated(tmp_path):
    net = qface.build(replace(TINY, **qface.ADDED)).eval()
    checkpoint.save(tmp_path / "old", system="qface", config=net.config, state=net.state_dict(), card="# old")
    file = tmp_path / "old" / "config.json"
    content = json.loads(file.read_text())
    for name in qface.ADDED:
        del content["config"][name]
    file.write_text(json.dumps(content))
    model = faces.FaceReader.load(tmp_path / "old", affect=None).model
    assert model.config == net.config
    assert (model.calibration.unit_threshold == 0.5).all()
    assert not [name for name in model.state_dict() if name.startswith("calibration")]


def test_a_picture_without_a_face_gives_an_empty_answer(reader):
    assert reader.read(np.zeros((64, 64, 3), np.uint8)) == ()


def test_many_faces_are_read_in_chunks_with_the_same_answer(reader, monkeypatch):
    crops = [np.full((32, 32, 3), value, np.uint8) for value in range(0, 250, 25)]
    whole = reader._predict(crops)
    monkeypatch.setitem(units.CHUNK, "cpu", 3)
    for name, value in reader._predict(crops).items():
        np.testing.assert_allclose(value, whole[name], rtol=1e-5, atol=1e-5)


def test_bf16_is_for_cards_and_answers_nearly_alike(reader, monkeypatch):
    assert not reader.bf16
    crops = [np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8) for i in range(4)]
    exact = reader._predict(crops)
    monkeypatch.setattr(reader, "bf16", True)
    for name, value in reader._predict(crops).items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, exact[name], rtol=0.03, atol=0.02 * max(1, np.ptp(exact[name])))


def test_broken_files_are_listed_and_the_rest_is_answered(offline, tmp_path):
    for name in "abcdefg":
        picture(tmp_path / f"{name}.png")
    for name in "xyz":
        (tmp_path / f"{name}.jpg").write_bytes(b"not a picture")
    readings = faces.analyze(tmp_path)
    assert len(readings.files) == 10
    assert [len(f.faces) for f in readings.files if f.error is None] == [1] * 7
    assert len(readings.failed) == 3
    assert all(f.file in f.error for f in readings.failed)


def test_each_file_is_handed_over_as_it_is_done(offline, tmp_path):
    seen = []
    faces.analyze(picture(tmp_path / "a.png"), on_file=lambda reading, image: seen.append((reading, image.shape)))
    assert seen[0][1] == (64, 64, 3)


def test_explain_answers_pose_from_the_unrotated_crop(reader):
    views = reader.explain(np.full((64, 64, 3), 128, np.uint8), ["AU12", "yaw"])
    assert [sorted(maps) for _, maps in views] == [["AU12"], ["yaw"]]
    assert all(crop.shape == (32, 32, 3) for crop, _ in views)


def test_an_unknown_label_is_refused_with_the_known_ones(reader):
    with pytest.raises(SemeiaError, match=r"AU99.*AU12"):
        reader.explain(np.full((64, 64, 3), 128, np.uint8), ["AU99"])


def test_an_unknown_device_is_refused():
    with pytest.raises(SemeiaError, match="auto, cpu or cuda"):
        faces.pick_device("abacus")


def test_the_astronaut_is_read_as_a_person_would():
    data = pytest.importorskip("skimage.data")
    try:
        parts.fetch("face-detector")
        parts.fetch("expression-cnn")
    except SemeiaError as error:
        pytest.skip(str(error))
    (face,) = faces.FaceReader.load().read(data.astronaut())
    assert face.valence > 0
    assert face.expression_label == "happiness"
    assert face.action_units["AU12"].occurrence
    assert abs(face.pose.yaw) < 20
    assert abs(face.pose.pitch) < 20
