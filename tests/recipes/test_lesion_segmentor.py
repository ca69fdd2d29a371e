"""The plain segmentor of lesions: a judge, and a test of made-up data."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from semeia import checkpoint
from semeia.data.formats.deeplesion import Finding, write_series, write_table
from semeia.data.formats.slice_files import SIGN, write_run
from semeia.data.paired_slices import HEALTHY
from semeia.data.twin_feeds import divided
from semeia.lesion_sets import LesionData
from semeia.recipes import lesion_segmentor as recipe
from semeia.records import SemeiaError
from semeia.systems import smile

SIDE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve patients in three splits: a bright disc in grey noise, through three slices, and the slices without."""
    root = tmp_path_factory.mktemp("slabs")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    rows = []
    for patient in range(1, 13):
        middle = rng.uniform(10, 22, 2)
        plain = rng.normal(-500, 40, (3, SIDE, SIDE)).astype(np.int16)
        hu = plain.copy()
        hu[:, (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < 25] = 300
        write_series(root, patient, 1, 1, hu, first=1)
        write_run(root / HEALTHY, f"{patient:06d}_01_01", plain.view(np.uint16) ^ SIGN, first=1)
        recist = np.array([[-5.0, 0], [5, 0], [0, -5], [0, 5]]) + middle
        rows.append(Finding(
            patient=patient, study=1, series=1, key_slice=2, recist=recist,
            box=np.concatenate([recist.min(0) - 5, recist.max(0) + 5]), diameters=(10.0, 10.0),
            location=(0.5, 0.5, 0.5), kind=-1, noisy=False, slice_range=(1, 3), spacing=(1.0, 1.0, 2.0),
            size=(SIDE, SIDE), window=(-175, 275), gender=None, age=50.0,
            split=("train", "train", "val", "test")[patient % 4],
        ))  # fmt: skip
    write_table(root, rows)
    return root


@pytest.fixture(scope="module")
def maker(tmp_path_factory):
    """A maker of twins that has learned nothing, but changes something: new networks leave images as they are."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "maker"
    state = smile.build(smile.TINY).state_dict()
    state = {name: t + 0.1 * torch.randn_like(t) if t.is_floating_point() else t for name, t in state.items()}
    checkpoint.save(folder, system="smile", config=smile.TINY, state=state, card="# maker")
    return str(folder)


def config(folder, out, *, steps=4, **changes):
    tiny = recipe.smoke()
    how = replace(tiny.fit, steps=steps, out=str(out))
    return replace(tiny, data=LesionData(deeplesion=(str(folder),)), fit=how, **changes)


@pytest.mark.parametrize("arm", ["classic", "empty twins", "transplanted", "twins"])
def test_a_smoke_training_of_each_arm_ends_with_a_card_and_a_dice(folder, maker, tmp_path, arm):
    named = {} if arm == "classic" else {"smile": maker}
    out = recipe.train(config(folder, tmp_path / "run", arm=arm, **named), progress=False)
    card = (out / "card.md").read_text()
    assert f"Arm: {arm}." in card
    assert "semeia train lesion_segmentor --data worlds/" in card
    assert "Dice" in card
    model = recipe.load(out)
    assert model.config == recipe.smoke().model
    assert not model.training
    (score,) = recipe.evaluate(out, LesionData(deeplesion=(str(folder),)), rounds=20)
    assert score.metric == "Dice"
    assert score.count <= 3


def test_a_short_training_finds_discs(folder, tmp_path):
    out = recipe.train(config(folder, tmp_path / "run", steps=80, learning_rate=1e-2), progress=False)
    (score,) = recipe.evaluate(out, LesionData(deeplesion=(str(folder),)), rounds=20)
    assert score.value > 0.7
    assert score.low <= score.value <= score.high
    assert score.count == 3


def feed_of(folder, maker, arm):
    settings = config(folder, "runs/x", arm=arm, smile=maker, batch_size=4)
    sets = recipe.open_slices(settings.data)
    return recipe.feed_of(settings, divided(sets, labelled=1.0, healthy=0.25))


def test_half_of_a_batch_is_made_up_and_the_other_half_is_real(folder, maker):
    for arm in ("empty twins", "transplanted"):
        feed = feed_of(folder, maker, arm)
        made, real = feed.batch(3), feed.feed.batch(3)
        assert torch.equal(made["image"][:2], real["image"][:2])
        assert torch.equal(made["mask"][:2], real["mask"][:2])
        assert (made["image"][2:] != real["image"][2:]).flatten(1).any(1).all()
        again = feed.batch(3)
        assert torch.equal(made["image"], again["image"])
        if arm == "empty twins":
            assert not made["mask"][2:].any()
            expected = feed.maker.twin(real["image"][2:])[0].clamp(-1, 1)
        else:
            assert torch.equal(made["mask"], real["mask"])
            expected = feed.maker.restore(real["healthy"][2:], real["mask"][2:]).clamp(-1, 1)
        assert torch.allclose(made["image"][2:], expected, atol=1e-5)


def test_the_arm_of_traces_sees_twins_alone_with_the_masks_of_their_inputs(folder, maker):
    feed = feed_of(folder, maker, "twins")
    made, real = feed.batch(0), feed.feed.batch(0)
    assert torch.allclose(made["image"], feed.maker.twin(real["image"])[0].clamp(-1, 1), atol=1e-5)
    assert torch.equal(made["mask"], real["mask"])


def test_the_arm_real_does_not_move_slices(folder):
    settings = config(folder, "runs/x", arm="real")
    division = divided(recipe.open_slices(settings.data), labelled=1.0)
    feed = recipe.feed_of(settings, division)
    assert feed.augmentation == recipe.STILL
    assert recipe.feed_of(replace(settings, arm="classic"), division).augmentation == settings.augmentation


def test_what_an_arm_needs_is_asked_for(folder, maker, tmp_path):
    with pytest.raises(SemeiaError, match="expected a maker of twins; name one with --smile"):
        recipe.train(config(folder, tmp_path, arm="empty twins"), progress=False)
    settings = config(folder, tmp_path, arm="transplanted", smile=maker)
    with pytest.raises(SemeiaError, match="set --model"):
        recipe.train(replace(settings, model=replace(settings.model, window=(-200.0, 250.0))), progress=False)
    division = divided(recipe.open_slices(settings.data), labelled=1.0)
    with pytest.raises(SemeiaError, match="expected normal slices to paint lesions into"):
        recipe.feed_of(settings, replace(division, normal=()))


def test_patients_without_any_lesion_pixel_do_not_count():
    score = recipe.score_of({"a": 0.5, "b": math.nan, "c": 0.7}, rounds=50)
    assert (score.value, score.count) == (pytest.approx(0.6), 2)
    nobody = recipe.score_of({"b": math.nan}, rounds=50)
    assert math.isnan(nobody.value)
    assert nobody.count == 0
