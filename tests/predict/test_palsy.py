"""Patients read from pictures, on a photograph that stands in for one and networks that have learned nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semeia.data.formats.palsy import PalsyFile
from semeia.media.video import write_video
from semeia.nn.face_finder import FaceFinder
from semeia.ops.palsy_scales import EXERCISES
from semeia.predict import palsy as reading
from semeia.predict.units import UnitReader
from semeia.recipes import algrnet
from semeia.records import PalsyMovement, SemeiaError
from semeia.systems import algrnet as network
from semeia.systems import palsy, qface

TINY = qface.Config(image_size=32, taps=(0, 1, 2), backbone_width=48, backbone_depth=3, width=48, heads=4, hidden=64)


@pytest.fixture(scope="module")
def reader():
    try:
        finder = FaceFinder()
    except SemeiaError as error:
        pytest.skip(str(error))
    torch.manual_seed(0)
    config = algrnet.smoke().model
    units = UnitReader(network.build(config), weights="au", device=torch.device("cpu"))
    model = palsy.Palsy(palsy.Config(action_units=config.action_units, width=config.width, encoder=8))
    torch.nn.init.constant_(model.levels.first, -1.0)
    made = reading.PalsyReader(model, units, qface.build(TINY), finder, weights="tiny")
    made._poses = lambda views: np.zeros((len(views), 3))
    return made


@pytest.fixture(scope="module")
def photo():
    return Image.fromarray(pytest.importorskip("skimage.data").astronaut()).resize((256, 256))


def patient(folder, photo, exercises=tuple(EXERCISES)):
    photo.save(folder / "photo.png")
    return [PalsyFile("p", exercise, folder / "photo.png") for exercise in exercises]


def test_a_patient_has_a_grade_a_side_and_what_they_rest_on(reader, photo, tmp_path):
    found = reader.read(patient(tmp_path, photo))
    assert found.grade in found.grades
    assert sum(found.grades.values()) == pytest.approx(1, abs=1e-5)
    assert 0 <= found.degree <= 1
    assert 0.5 <= found.certainty <= 1
    assert found.side in {"left", "right", "none"}
    assert [movement.exercise for movement in found.movements] == list(EXERCISES)
    assert len(found.resting) == 3
    smile = found.movements[3]
    assert set(smile.left) == set(reader.units.model.config.action_units)
    assert smile.files == (str(tmp_path / "photo.png"),)
    assert all("could not be measured" in note for note in found.notes)


def test_a_mirrored_patient_has_the_same_grade_and_swapped_sides(reader, photo, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    here = reader.read(patient(tmp_path / "a", photo))
    there = reader.read(patient(tmp_path / "b", photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    assert here.grade == there.grade
    assert here.degree == pytest.approx(there.degree, abs=1e-4)
    for one, other in zip(here.movements, there.movements, strict=True):
        for unit in one.left:
            assert one.left[unit] == pytest.approx(other.right[unit], abs=1e-3)


def test_views_and_their_mirror_images_have_the_same_features(reader, photo):
    from semeia import patients
    from semeia.ops.faces import landmarks_68

    image = np.asarray(photo)
    (face,) = reader.finder.find(image)
    view = patients.View(PalsyFile("p", "rest", Path("x.png")), image, landmarks_68(face.mesh))
    one = patients.even_features(reader.units.model, [view])
    other = patients.even_features(reader.units.model, [view.mirrored()])
    torch.testing.assert_close(one.sides, other.sides.flip(2), atol=2e-3, rtol=1e-2)
    torch.testing.assert_close(one.intensity, other.intensity.flip(2), atol=2e-3, rtol=1e-2)


def test_a_head_that_is_turned_gives_no_grade_and_says_why(reader, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_poses", lambda views: np.array([[31.0, 0.0, 40.0]] * len(views)))
    found = reader.read(patient(tmp_path, photo, ("rest",)))
    assert found.grade is found.side is found.degree is None
    assert "turned by 31 degrees, too far to compare its sides" in found.notes[0]


def test_what_is_missing_is_said(reader, photo, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    files = [*patient(tmp_path, photo, ("smile",)), PalsyFile("p", "snarl", tmp_path / "black.png")]
    found = reader.read(files)
    assert found.grade is not None
    assert found.resting is found.composite is None
    assert "no face was found" in found.notes[0]
    assert "no picture at rest" in found.notes[1]


def test_items_and_the_composite_by_hand():
    healthy, weak = {"AU12": 4.0, "AU25": 4.0, "AU04": 0.0}, {"AU12": 1.0, "AU25": 1.0, "AU04": 2.5}
    assert reading._of_movement(weak, healthy, exercise="smile", weak="left") == (0.25, 2, 2)
    assert reading._of_movement(weak, healthy, exercise="rest", weak="left") == (None, None, None)
    still = {"AU12": 0.1, "AU25": 0.2, "AU04": 0.0}
    assert reading._of_movement(still, still, exercise="smile", weak="left") == (None, None, 0)
    moved = [PalsyMovement(name, (), {}, {}, 0.0, 0.5, 3, 1) for name in EXERCISES]
    assert reading._composite(moved, (1, 0, 1)) == (4 * 15 - 5 * 2 - 5, "")
    without, words = reading._composite(moved[:-1], (1, 0, 1))
    assert without == 4 * 15 - 5 * 2 - 5
    assert words.startswith("pucker could not be measured")
    assert reading._composite(moved[:-2], (1, 0, 1)) == (None, "")
    assert reading._composite(moved, None) == (None, "")


def test_a_covered_eye_is_told_and_its_picture_left_out(reader, photo, tmp_path, monkeypatch):
    files = patient(tmp_path, photo)

    def covered(sides):
        seen = torch.full((len(sides), 2), -1.0)
        seen[0, 1] = seen[2, :] = 1.0
        return seen

    monkeypatch.setattr(reader.model, "covered", covered)
    found = reader.read(files)
    assert [movement.exercise for movement in found.movements] == ["brow_raise", "smile", "snarl", "pucker"]
    assert "the subject's right eye is covered" in found.notes[0]
    assert "both eyes are covered" in found.notes[1]


def test_where_every_picture_is_covered_there_is_no_grade(reader, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(reader.model, "covered", lambda sides: torch.ones(len(sides), 2))
    found = reader.read(patient(tmp_path, photo))
    assert found.grade is None
    assert len(found.notes) == len(EXERCISES)


def test_clips_are_read_over_time_and_gaps_stay(reader, photo, tmp_path):
    clip, face, nothing = tmp_path / "clip.mp4", np.asarray(photo), np.full((256, 256, 3), 40, np.uint8)
    with write_video(clip, size=(256, 256), rate=5.0) as add:
        for i in range(15):
            add(nothing if 6 <= i < 8 else face, i / 5)
    files = [PalsyFile("p", "rest", clip, start=0.0, end=1.0), PalsyFile("p", "smile", clip, start=1.8, end=2.8)]
    found = reader.read(files, curves=True)
    (curve,) = found.curves
    assert curve.parts == (("rest", 0.0, 1.0), ("smile", 1.8, 2.8))
    assert len(curve.seconds) == 15
    values = np.array(curve.left["AU12"])
    assert np.isnan(values[6:8]).all()
    assert not np.isnan(np.delete(values, [6, 7])).any()
    assert json.dumps(found.as_dict(), allow_nan=False)
    assert found.pictures[0].image.shape[2] == 3
