"""Rendered patients: grades as often as they should be met, movements as asked for, two layouts that agree."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("numba")
pytest.importorskip("scipy")

from semeia.data.formats.faces import FaceFolder
from semeia.data.formats.palsy import patients, read
from semeia.data.synthetic.faces.action_units import compatible_units, sided
from semeia.data.synthetic.faces.make import make_faces, split_of
from semeia.data.synthetic.faces.pack import load_pack
from semeia.data.synthetic.faces.spec import sample_person
from semeia.data.synthetic.palsy import COMMANDS, FIRST_PATIENT, SPLIT_ENDS, draw_palsy, make_palsy, sample_patient
from semeia.ops.palsy_scales import EXERCISES, grade_of_movement
from semeia.records import SemeiaError

SETTINGS = {"count": 2, "seed": 1, "size": 24, "workers": 1, "shard_images": 6, "progress": False}


@pytest.fixture(scope="session")
def head():
    """The packed head; tests that need it skip where it cannot be had."""
    try:
        return load_pack()
    except SemeiaError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def world(tmp_path_factory, head):
    """Twelve tiny pictures of two patients, in two shards."""
    folder = tmp_path_factory.mktemp("palsy") / "world"
    make_palsy(folder, **SETTINGS)
    return folder


@pytest.fixture
def weak(head):
    """Gives the shots of a patient whose right side moves by less than half."""
    number = next(n for n in range(100) if (p := draw_palsy(3, n)) and p.side == "right" and p.degree > 0.5)
    return lambda shot: sample_patient(3, number, shot)


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def grade(palsy):
    return 0 if palsy is None else int(grade_of_movement(1 - palsy.degree))


def test_half_of_any_ten_patients_are_healthy_and_each_other_grade_is_met_once():
    for first in range(0, 100, 10):
        grades = [grade(draw_palsy(7, FIRST_PATIENT + first + place)) for place in range(10)]
        assert Counter(grades) == {0: 5, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}


def test_degrees_differ_within_a_grade_and_either_side_is_weak():
    drawn = [palsy for number in range(600) if (palsy := draw_palsy(7, number))]
    assert len({palsy.degree for palsy in drawn}) > 150
    assert 0.4 < sum(palsy.side == "left" for palsy in drawn) / len(drawn) < 0.6
    assert all(round(palsy.degree, 3) == palsy.degree for palsy in drawn)


def test_patients_are_divided_70_15_15():
    found = Counter(split_of(2, FIRST_PATIENT + number, SPLIT_ENDS) for number in range(2000))
    assert [found[name] / 2000 for name in ("train", "val", "test")] == pytest.approx([0.7, 0.15, 0.15], abs=0.03)


def test_commanded_units_are_those_of_the_exercises_and_go_together():
    assert list(COMMANDS) == list(EXERCISES)
    for exercise, units in COMMANDS.items():
        assert set(units) >= set(EXERCISES[exercise]) or exercise == "pucker"
        assert all(set(units) - {unit} <= compatible_units()[unit] for unit in units)


def test_a_patient_does_the_movements_in_turns_with_a_bare_and_nearly_frontal_face(weak):
    shots = [weak(shot) for shot in range(12)]
    assert [shot.kind for shot in shots] == [*EXERCISES, *EXERCISES]
    assert len({shot.person.age for shot in shots}) == len({shot.person.palsy for shot in shots}) == 1
    for shot in shots:
        assert max(abs(shot.yaw), abs(shot.pitch), abs(shot.roll)) <= 10
        assert not any(getattr(shot.props, thing) for thing in ("mask", "hand", "sunglasses", "hat"))
        assert shot.expression == ("neutral" if shot.kind == "rest" else None)
        assert all(low <= shot.action[unit] <= high for unit, (low, high) in COMMANDS[shot.kind].items())
    assert shots[3].action != shots[9].action


def test_a_patient_keeps_the_looks_and_the_asymmetry_of_the_person(weak):
    shot = weak(0)
    person = sample_person(shot.seed, shot.identity)
    assert (shot.person.local, shot.person.balance) == (person.local, person.balance)


def test_the_weak_side_shows_its_share(weak):
    shot = weak(3)
    person = shot.person
    left, right = sided(shot.action, balance=person.balance, palsy=person.palsy)["AU12"]
    assert left == shot.action["AU12"]
    assert right / left == pytest.approx((1 - person.palsy.degree) * person.balance["AU12"][1])


def test_the_table_and_the_labels_of_the_face_format_agree(world):
    faces, files = FaceFolder(world / "faces"), read(world)
    assert [file.exercise for file in files] == [*EXERCISES, *EXERCISES]
    assert len(patients(files)) == 2
    for row, file in enumerate(files):
        labels, extra = faces.labels(row), faces.extra(row)
        assert extra["exercise"] == file.exercise
        assert extra["patient"] == labels.identity == file.patient
        assert (labels.split, labels.palsy_degree) == (file.split, file.degree)
        assert (labels.palsy_side or "none") == file.side
        assert file.grade == grade_of_movement(1 - labels.palsy_degree)
        assert file.path.read_bytes() == faces.image_bytes(row)


def test_the_manifest_says_that_the_scale_is_set_by_hand(world):
    manifest = json.loads((world / "faces" / "manifest.json").read_text())
    assert manifest["world"] == "palsy"
    assert "no clinical grading" in manifest["scale"]
    assert manifest["settings"]["policy"] == "exercises"


def test_a_run_that_was_stopped_ends_with_the_same_files(world, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(world, copy)
    (copy / "faces" / "shards" / "00001.parquet").unlink()
    (copy / "palsy.csv").unlink()
    file = read(world)[0].path.relative_to(world)
    (copy / file).unlink()
    (copy / file.parent / ".rest.0123abcd.part.png").write_bytes(b"left by a killed run")
    make_palsy(copy, **SETTINGS)
    assert contents(copy) == contents(world)


def test_more_pictures_of_a_movement_are_numbered_and_the_first_stays(world, tmp_path):
    make_palsy(tmp_path, **(SETTINGS | {"count": 1, "shots": 2, "split": "val"}))
    files = read(tmp_path)
    assert Counter(file.exercise for file in files) == dict.fromkeys(EXERCISES, 2)
    assert {file.path.name for file in files if file.exercise == "smile"} == {"smile.png", "smile_2.png"}
    assert {file.split for file in files} == {"val"}
    place = Path(files[0].patient, "smile.png")
    assert (tmp_path / place).read_bytes() == (world / place).read_bytes()


def test_a_folder_of_other_settings_or_other_files_is_refused_and_left_alone(world, tmp_path):
    before = contents(world)
    with pytest.raises(SemeiaError, match="other settings"):
        make_palsy(world, **(SETTINGS | {"seed": 2}))
    with pytest.raises(SemeiaError, match=r"other settings .*policy 'exercises' instead of 'balanced'"):
        make_faces(world / "faces", count=12, seed=1, shots=6, size=24, shard_images=6, progress=False)
    assert contents(world) == before
    (tmp_path / "palsy.csv").write_text("patient,exercise,file")
    with pytest.raises(SemeiaError, match="expected a new or empty folder"):
        make_palsy(tmp_path, **SETTINGS)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"shots": -1}, {"first_patient": -1}, {"workers": 0}])
def test_a_setting_without_sense_is_named(tmp_path, wrong):
    with pytest.raises(SemeiaError, match=f"{next(iter(wrong)).replace('_', ' ')}: expected at least"):
        make_palsy(tmp_path / "out", **(SETTINGS | wrong))
    assert not (tmp_path / "out").exists()
