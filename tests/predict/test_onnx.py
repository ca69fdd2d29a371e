"""Q-Face through ONNX: the same answers, kept once, and files that others can run."""

import hashlib
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from semeia import checkpoint, parts
from semeia.nn.face_finder import FaceFinder
from semeia.nn.onnx_graph import PACKAGES, OnnxNetwork
from semeia.predict import onnx as through
from semeia.predict.faces import FaceReader
from semeia.predict.onnx import TOLERANCE, OnnxReading, export_finder, export_qface, use_engine
from semeia.records import SemeiaError
from semeia.systems import qface

for package in PACKAGES:
    pytest.importorskip(package)

TINY = qface.Config(image_size=32, backbone_width=48, width=48, heads=4, hidden=64)


@pytest.fixture(scope="module")
def finder():
    """Made before the cache moves."""
    try:
        return FaceFinder()
    except SemeiaError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model():
    """A small Q-Face that has learned nothing, with a calibration that changes every answer it can."""
    torch.manual_seed(0)
    model = qface.build(TINY).eval()
    for name, buffer in model.calibration.named_buffers():
        if "threshold" not in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    return model


@pytest.fixture(scope="module")
def made(model):
    """Its ONNX model, made once: the exporter takes seconds."""
    return through.qface_model(model)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMEIA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def exports(monkeypatch, made):
    """Counts how often a model is made."""
    calls = []
    monkeypatch.setattr(through, "qface_model", lambda model: calls.append(model) or made)
    return calls


def crops(count, side=TINY.image_size):
    """Noise (count, 3, side, side) made of bytes, laid in memory as the reader lays crops."""
    noise = np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)
    return torch.from_numpy(noise).permute(0, 3, 1, 2).float() / 255


def apart(found, wanted):
    """Largest difference of each answer; shown by ``pytest -s``."""
    largest = {name: float((found[name] - wanted[name]).abs().max()) for name in wanted}
    print({name: f"{value:.1e}" for name, value in largest.items()})  # noqa: T201
    return largest


@pytest.mark.parametrize("count", [1, 7, 32])
def test_a_batch_of_any_size_gets_the_same_answers(home, exports, model, count):
    found, wanted = OnnxReading(model)(crops(count)), model.predict(crops(count))
    assert list(found) == list(wanted)
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        name: tuple(value.shape) for name, value in wanted.items()
    }
    assert all(value <= TOLERANCE[name] for name, value in apart(found, wanted).items())


def test_the_calibration_is_in_the_model(made, model):
    raw = qface.build(TINY).eval()
    raw.load_state_dict(model.state_dict() | raw.calibration.state_dict(prefix="calibration."))
    plain = raw.predict(crops(7))
    found = dict(zip(TOLERANCE, OnnxNetwork(made)(crops(7)), strict=True))
    for name in ("expression", "au_probability", "au_intensity", "au_sides", "attributes"):
        assert (found[name] - plain[name]).abs().max() > 10 * TOLERANCE[name]


def test_maps_come_from_torch(home, exports, model):
    maps = OnnxReading(model)(crops(2), maps=True)["maps"]
    torch.testing.assert_close(maps, model.predict(crops(2), maps=True)["maps"])


def test_a_model_is_made_once(home, exports, model):
    OnnxReading(model)
    OnnxReading(model)
    assert len(exports) == 1
    assert len(list((home / "onnx").iterdir())) == 1


def test_other_weights_are_another_model(model):
    other = qface.build(TINY).eval()
    other.load_state_dict(model.state_dict())
    assert through._key(other) == through._key(model)
    with torch.no_grad():
        other.calibration.temperature += 1e-3
    assert through._key(other) != through._key(model)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_a_damaged_file_in_the_cache_is_made_again(home, exports, model, made, damage):
    OnnxReading(model)
    (file,) = (home / "onnx").iterdir()
    file.write_bytes(damage(made))
    OnnxReading(model)
    assert len(exports) == 2
    assert file.read_bytes() == made


def test_a_whole_file_that_answers_otherwise_is_made_again(home, exports, model, made):
    onnx = pytest.importorskip("onnx")
    other = onnx.load_from_string(made)
    weight = max(other.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = (2 * np.frombuffer(weight.raw_data, np.float32)).tobytes()
    content = other.SerializeToString()
    (home / "onnx").mkdir(parents=True)
    (home / "onnx" / f"{through._key(model)}-{hashlib.sha256(content).hexdigest()}.onnx").write_bytes(content)
    OnnxReading(model)
    assert len(exports) == 1


def test_a_cache_that_cannot_be_written_still_answers(home, exports, model):
    home.write_text("a file where the folder should be")
    assert set(OnnxReading(model)(crops(1))) == set(TOLERANCE)


def test_answers_that_differ_are_refused(home, exports, model, monkeypatch):
    monkeypatch.setitem(TOLERANCE, "age", -1.0)
    with pytest.raises(SemeiaError, match=r"age differs by.*use the engine torch"):
        OnnxReading(model)


def reader_of(model, finder):
    return FaceReader(model, finder, weights="tiny", device=torch.device("cpu"))


def test_the_astronaut_is_read_alike(home, exports, model, finder):
    photo = pytest.importorskip("skimage.data").astronaut()
    fast_finder, fast_model = FaceFinder.__new__(FaceFinder), qface.build(TINY)
    vars(fast_finder).update(vars(finder))
    fast_model.load_state_dict(model.state_dict())
    fast = reader_of(fast_model, fast_finder)
    assert use_engine(fast, "onnx").startswith("onnxruntime ")
    plain = reader_of(model, finder)
    for one, other in zip(plain.finder.find(photo), fast.finder.find(photo), strict=True):
        assert np.abs(one.mesh - other.mesh).max() < 0.02
        assert abs(one.score - other.score) < 1e-4
    # Crops are bytes: a mesh that is elsewhere by a hair rounds some of their pixels the other way.
    for one, other in zip(plain.read(photo), fast.read(photo), strict=True):
        assert other.expression == pytest.approx(one.expression, abs=0.01)
        assert other.attributes == pytest.approx(one.attributes, abs=0.01)
        assert (other.pose.yaw, other.age) == pytest.approx((one.pose.yaw, one.age), abs=0.2)
    assert fast.finder.find(np.zeros((64, 64, 3), np.uint8)) == ()


def test_an_engine_that_cannot_be_had_is_refused_or_passed_over(home, model, finder, monkeypatch):
    reader = reader_of(model, finder)
    with pytest.raises(SemeiaError, match="expected auto, torch, onnx"):
        use_engine(reader, "abacus")
    elsewhere = SimpleNamespace(device=torch.device("cuda"))
    assert use_engine(elsewhere, "auto") == "torch"
    with pytest.raises(SemeiaError, match="the device is 'cuda'"):
        use_engine(elsewhere, "onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert use_engine(reader, "auto") == "torch"
    with pytest.raises(SemeiaError, match=r"pip install 'semeia\[onnx\]'"):
        use_engine(reader, "onnx")
    assert use_engine(reader, "torch") == "torch"
    assert "predict" not in vars(model)


def test_the_file_of_the_bundled_weights_needs_nothing_of_this_library(finder, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    photo = pytest.importorskip("skimage.data").astronaut()
    bundled, _ = checkpoint.load("qface", system="qface", kind=qface.Config, build=qface.build, later=qface.ADDED)
    plain, config = reader_of(bundled, finder), bundled.config
    file = export_qface("qface", tmp_path / "qface.onnx")
    session = runtime.InferenceSession(file, providers=["CPUExecutionProvider"])

    (face,) = finder.find(photo)
    views = np.stack([plain.crop(photo, face, upright=upright) for upright in (False, True)])  # (2, S, S, 3)
    seen = torch.from_numpy(views).permute(0, 3, 1, 2).float() / 255
    for batch in (seen[:1], seen[1:], crops(7, config.image_size), crops(32, config.image_size)):
        answers = session.run(list(TOLERANCE), {"image": batch.numpy()})
        found = dict(zip(TOLERANCE, map(torch.from_numpy, answers), strict=True))
        assert all(value <= TOLERANCE[name] for name, value in apart(found, bundled.predict(batch)).items())

    notes = session.get_modelmeta().custom_metadata_map
    labels, thresholds = json.loads(notes["labels"]), json.loads(notes["thresholds"])
    weights = checkpoint.bundled("qface") / "model.safetensors"
    assert notes["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert json.loads(notes["config"])["image_size"] == config.image_size
    assert tuple(labels["action_units"]) == config.action_units
    assert thresholds["action_units"] == dict(
        zip(config.action_units, bundled.calibration.unit_threshold.tolist(), strict=True)
    )
    assert set(json.loads(notes["crops"])["view_of"]) == set(json.loads(notes["answers"])) == set(TOLERANCE)
    assert "Not a medical device" in notes["limits"]
    assert "identifying" in notes["limits"]


def test_the_finder_is_two_files(finder, tmp_path):
    files = export_finder(tmp_path / "face.onnx")
    assert [file.name for file in files] == ["face-detector.onnx", "face-mesh.onnx"]
    for file, part in zip(files, ("face-detector", "face-mesh"), strict=True):
        notes = OnnxNetwork(file.read_bytes()).session.get_modelmeta().custom_metadata_map
        assert notes["weights_sha256"] == parts.PARTS[part].sha256


@pytest.mark.parametrize(("out", "words"), [("x.bin", "ends in .onnx"), ("no/x.onnx", "does not exist")])
def test_a_place_that_will_not_do_is_refused_before_the_work(tmp_path, out, words):
    for export in (lambda: export_qface("qface", tmp_path / out), lambda: export_finder(tmp_path / out)):
        with pytest.raises(SemeiaError, match=words):
            export()
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_there_leave_no_file(tmp_path):
    with pytest.raises(SemeiaError, match="neither a checkpoint folder nor bundled"):
        export_qface("nothing", tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []
