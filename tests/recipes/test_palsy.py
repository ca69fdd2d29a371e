"""From a folder of patients to a grader with its card, on photographs that stand in for patients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semeia import checkpoint, patients
from semeia.data.augment import Augmentation
from semeia.data.formats import palsy as layout
from semeia.face_sets import FaceData
from semeia.media.video import write_video
from semeia.nn.face_finder import FaceFinder
from semeia.ops.face_regions import FLIP_49, FORTY_NINE
from semeia.recipes import algrnet
from semeia.recipes import palsy as recipe
from semeia.recipes._palsy_patients import Gathered, Patient, PatientFeed
from semeia.records import SemeiaError
from semeia.systems import algrnet as network
from semeia.systems import palsy
from semeia.unit_networks import load_network, network_of

EXERCISES = ("rest", "brow_raise", "smile")


@pytest.fixture(scope="module")
def finder():
    try:
        return FaceFinder()
    except SemeiaError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def photo():
    return np.asarray(Image.fromarray(pytest.importorskip("skimage.data").astronaut()).resize((256, 256)))


@pytest.fixture(scope="module")
def folder(photo, tmp_path_factory):
    """Twelve patients of three splits; those of an even number are healthy."""
    out = tmp_path_factory.mktemp("patients")

    def rows():
        for i in range(12):
            weak = i % 2
            split = ("train", "train", "val", "val", "test", "test")[i // 2]
            for exercise in EXERCISES:
                file = layout.PalsyFile(
                    f"p{i:02}", exercise, Path(f"p{i:02}/{exercise}.jpg"), grade=3 * weak,
                    side=("none", "left")[weak], split=split, degree=0.6 * weak,
                )  # fmt: skip
                yield file, photo

    layout.write(out, rows())
    return out


@pytest.fixture(scope="module")
def au(tmp_path_factory):
    torch.manual_seed(0)
    config = algrnet.smoke().model
    out = tmp_path_factory.mktemp("au") / "au"
    checkpoint.save(out, system="algrnet", config=config, state=network.build(config).state_dict(), card="# au")
    return out


def noise(count):
    """Features of views that show nothing."""
    sides, intensity, measures, regions = (torch.rand(count, *s) for s in ((1, 2, 3), (1, 2), (4, 2), (1, 2, 4)))
    return patients.Features(sides, intensity, measures, torch.zeros(count).long(), regions)


def smoke(folder, au, out, **changes):
    config = recipe.smoke()
    data = FaceData(faces=(str(folder),))
    return replace(config, data=data, au=str(au), fit=replace(config.fit, out=str(out)), **changes)


def test_the_smoke_recipe_ends_with_a_grader_that_loads_and_a_card(folder, au, tmp_path, finder):
    out = recipe.train(smoke(folder, au, tmp_path), progress=False)
    model, _ = checkpoint.load(out, system="palsy", kind=palsy.Config, build=palsy.build)
    assert model.config.action_units == algrnet.smoke().model.action_units
    card = (out / "card.md").read_text()
    for words in ("quadratic kappa", "hand-set", "not a medical device", "4 patients of patients"):
        assert words in card
    assert network_of(out) == out.parent / "au"
    assert network_of("palsy") == "algrnet"
    scores = recipe.evaluate(out, FaceData(faces=(str(folder),)), rounds=0)
    assert {score.metric for score in scores} >= {"healthy in grade I", "mean absolute error of the degree"}


def test_a_network_that_learns_along_is_kept_beside_the_grader(folder, au, tmp_path, finder):
    config = smoke(folder, au, tmp_path, copies=0, batch_size=2)
    config = replace(config, model=replace(config.model, frozen=False), fit=replace(config.fit, steps=2, warmup=0))
    recipe.train(config, progress=False)
    tuned, _ = load_network(tmp_path / "au")
    before, _ = load_network(au)
    assert not torch.equal(tuned.trunk.branches.weight, before.trunk.branches.weight)


def test_healthy_patients_are_given_the_room_that_they_need():
    torch.manual_seed(0)
    model = palsy.Palsy(palsy.Config(action_units=("AU12",), width=3, encoder=4))
    torch.nn.init.constant_(model.levels.first, -3.0)  # all leave grade I
    views = noise(20)
    people = [Patient(f"p{i}", 0, -1, 0.0, "val", (i,)) for i in range(20)]
    batch = patients.batch_of(views, [person.places for person in people])
    assert (model.eval().predict(batch)["grade"] > 0).all()
    recipe.give_room(model, views, people, part=0.9)
    assert 0.85 <= (model.predict(batch)["grade"] == 0).float().mean() <= 0.95


def test_steps_between_grades_follow_patients_who_did_not_train():
    torch.manual_seed(0)
    model = palsy.Palsy(palsy.Config(action_units=("AU12",), width=3, encoder=4))
    views = noise(120)
    people = [Patient(f"p{i}", 0, -1, 0.0, "val", (i,)) for i in range(120)]
    severity = model.eval().scores(patients.batch_of(views, [(i,) for i in range(120)]))["severity"]
    places = (severity + 0.2 * severity.std() * torch.randn(120)).argsort().argsort()
    ranked = [replace(person, grade=int(place) // 20) for person, place in zip(people, places, strict=True)]
    recipe.fit_steps(model, views, ranked)
    said = model.predict(patients.batch_of(views, [(i,) for i in range(120)]))["grade"]
    assert (said - torch.tensor([person.grade for person in ranked])).abs().float().mean() < 0.4


def test_steps_stay_where_a_grade_is_missing():
    model = palsy.Palsy(palsy.Config(action_units=("AU12",), width=3, encoder=4))
    before = model.levels.first.clone()
    recipe.fit_steps(model, noise(20), [Patient(f"p{i}", 0, -1, 0.0, "val", (i,)) for i in range(20)])
    assert torch.equal(model.levels.first, before)


def test_no_more_seen_eyes_than_allowed_are_taken_for_covered():
    torch.manual_seed(0)
    model = palsy.Palsy(palsy.Config(action_units=("AU12",), width=3, encoder=4))
    torch.nn.init.normal_(model.eye.weight)
    views = noise(200)
    people = [Patient(f"p{i}", 0, -1, 0.0, "val", (i,)) for i in range(200)]
    recipe.leave_eyes(model, views, people, part=0.9)
    assert (model.covered(views.sides) > 0).float().mean() == pytest.approx(0.1, abs=0.005)


def test_covered_eyes_are_learned_where_features_tell_them(monkeypatch):
    torch.manual_seed(0)
    model = palsy.Palsy(palsy.Config(action_units=("AU07",), width=8, encoder=4))
    plain = torch.randn(100, 1, 2, 8)
    views = noise(100)

    def covered(network, views, places, rng, how=None):
        which = rng.integers(2, size=len(places))
        sides = plain[places].clone()
        sides[torch.arange(len(places)), 0, torch.from_numpy(which), 0] += 9
        return sides, which

    monkeypatch.setattr(recipe, "with_covers", covered)
    monkeypatch.setattr(recipe, "features_of", lambda network, part, how, rng: replace(views, sides=plain))
    people = [Patient(f"p{i}", 0, -1, 0.0, "train", (i,)) for i in range(100)]
    grader, seen = recipe.Grader(model, None, views), Gathered(list(range(100)), people)
    recipe.learn_covers(grader, seen, how=None, most=100, rng=np.random.default_rng(0))
    assert not model.eye.weight.requires_grad
    sides, which = covered(None, None, range(100), np.random.default_rng(1))
    found = model.covered(sides) > 0
    assert found[torch.arange(100), torch.from_numpy(which)].float().mean() > 0.95
    assert found[torch.arange(100), torch.from_numpy(1 - which)].float().mean() < 0.05


def test_batches_are_functions_of_their_number_with_grades_alike(folder):
    views = noise(60)
    people = [Patient(f"p{i}", 0 if i < 17 else i - 16, -1, 0.0, "train", (3 * i, 3 * i + 1, 3 * i + 2))
              for i in range(20)]  # fmt: skip
    feed = PatientFeed(people, [views, views], batch_size=400, keep=0.5, seed=1)
    first, again = feed.batch(3), feed.batch(3)
    assert all(torch.equal(first[name], again[name]) for name in first)
    shares = torch.bincount(first["grade"]).float() / 400
    assert (shares - 0.25).abs().max() < 0.08
    assert first["shown"].sum(1).min() >= 1


def test_a_mirrored_view_has_mirrored_landmarks_and_swapped_measures(photo, finder):
    file = layout.PalsyFile("p", "rest", Path("x.jpg"))
    (face,) = finder.find(photo)
    from semeia.ops.faces import landmarks_68

    view = patients.View(file, photo, landmarks_68(face.mesh))
    turned = view.mirrored()
    np.testing.assert_allclose(turned.measures, view.measures[:, ::-1], atol=1e-9)
    crops = view.crop(96, 0.15).astype(int), turned.crop(96, 0.15)[:, ::-1].astype(int)
    assert np.abs(crops[0] - crops[1]).mean() < 2
    assert (FORTY_NINE[FLIP_49[FLIP_49]] == FORTY_NINE).all()


def test_augmented_crops_are_never_mirrored(photo, finder):
    file = layout.PalsyFile("p", "rest", Path("x.jpg"))
    (face,) = finder.find(photo)
    from semeia.ops.faces import landmarks_68

    view = patients.View(file, photo, landmarks_68(face.mesh))
    still = Augmentation(**{name: 0.0 for name in vars(Augmentation()) if name.startswith("p_")} | {"p_flip": 1.0},
                         rotation=0, scale=0, shift=0)  # fmt: skip
    changed = view.changed(96, 0.15, still, np.random.default_rng(0))
    np.testing.assert_array_equal(changed, view.crop(96, 0.15))


def test_frames_of_a_clip_come_from_the_middle_of_its_part(photo, finder, tmp_path):
    with write_video(tmp_path / "clip.mp4", size=(256, 256), rate=10) as add:
        for i in range(40):
            add(photo, i / 10)
    file = layout.PalsyFile("p", "smile", tmp_path / "clip.mp4", start=0.0, end=2.0)
    numbers = [view.frame for view in patients.views_of(file, finder, size=128, frames=4)]
    assert 2 <= len(numbers) <= 4
    assert all(5 <= number <= 15 for number in numbers)


def test_folders_without_patients_to_train_are_refused(folder, au, tmp_path, photo, finder):
    with pytest.raises(SemeiaError, match="expected at least one folder of patients"):
        recipe.train(replace(smoke(folder, au, tmp_path), data=FaceData()), progress=False)
    file = layout.PalsyFile("p", "rest", Path("a.jpg"), grade=0, split="test")
    layout.write(tmp_path / "few", [(file, photo)])
    with pytest.raises(SemeiaError, match="patients in the split 'train', found none"):
        recipe.train(smoke(tmp_path / "few", au, tmp_path / "run"), progress=False)
    with pytest.raises(SemeiaError, match="expected weights of algrnet or mgrrnet"):
        load_network("qface")
