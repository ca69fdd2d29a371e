"""The recipe of healthy twins: three stages, five phases, and the table beside a copy and a blur."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from semeia import checkpoint
from semeia.data.formats.deeplesion import Finding, write_masks, write_series, write_table
from semeia.data.paired_slices import HEALTHY
from semeia.data.twin_feeds import Tones, TwinFeed, slices_of
from semeia.lesion_sets import LesionData
from semeia.recipes import _twin_scores as scores
from semeia.recipes import smile as recipe
from semeia.records import SemeiaError
from semeia.systems import smile

SIDE = 64


def write(root, patients, *, twins=True):
    """Patients in three splits, a bright square on the middle one of three slices, and the same without it."""
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(1, patients + 1):
        x, y = 2 * rng.integers(8, 18, 2)  # whole pixels also at half the side
        healthy = rng.normal(-100, 30, (3, SIDE, SIDE)).astype(np.int16)
        hu, masks = healthy.copy(), np.zeros((3, SIDE, SIDE), np.uint8)
        hu[1, y : y + 12, x : x + 12], masks[1, y : y + 12, x : x + 12] = 400, 1
        write_series(root, patient, 1, 1, hu, first=1)
        write_masks(root, patient, 1, 1, masks[1:2], first=2)
        if twins:
            write_series(root, patient, 1, 1, healthy, first=1, images=HEALTHY)
        recist = np.array([[x, y + 6.0], [x + 12, y + 6], [x + 6, y], [x + 6, y + 12]], float)
        rows.append(Finding(
            patient=patient, study=1, series=1, key_slice=2, recist=recist,
            box=np.concatenate([recist.min(0) - 5, recist.max(0) + 5]), diameters=(12.0, 12.0),
            location=(0.5, 0.5, 0.5), kind=-1, noisy=False, slice_range=(1, 3), spacing=(1.0, 1.0, 2.0),
            size=(SIDE, SIDE), window=(-175, 275), gender=None, age=50.0,
            split="val" if patient == 1 else "test" if patient < 4 else "train",
        ))  # fmt: skip
    write_table(root, rows)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "world", 11)


def config(folder, out, **changes):
    tiny = recipe.smoke()
    return replace(
        tiny, data=LesionData(deeplesion=(str(folder),)), fit=replace(tiny.fit, out=str(out)), **changes
    )  # fmt: skip


def weights(out):
    return checkpoint.load(out, system="smile", kind=smile.Config, build=smile.build)[0].state_dict()


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    return recipe.train(config(folder, tmp_path_factory.mktemp("run")), progress=False)


def test_a_smoke_training_ends_with_a_card_and_a_table_beside_copy_and_blur(trained):
    card = (trained / "card.md").read_text()
    assert "2 masked slices of 2 patients, 4 unmasked ones of 4 others" in card
    assert "only the abstract could be\nread" in card
    assert "semeia train smile --data worlds/world" in card
    rows = json.loads((trained.parent / "scores.json").read_text())
    told = {(row["task"], row["label"], row["metric"]): row for row in rows}
    for region in scores.REGIONS:
        for label in ("SMILE", scores.COPY, scores.BLURRED):
            assert all((region, label, metric) in told for metric in scores.METRICS)
    outside = told["outside the lesion", scores.COPY, "L1"]
    assert outside["value"] == 0
    assert outside["count"] == 2
    assert told["inside the lesion", scores.COPY, "L1"]["value"] > 0.5
    assert told["identity", scores.COPY, "MS-SSIM to the input"]["value"] == 1
    assert told["normal slice", "SMILE", "L1 to the input"]["count"] > 0


def test_evaluation_gives_the_table_of_the_card(trained, folder):
    rows = recipe.evaluate(trained, LesionData(deeplesion=(str(folder),)), limit=6, rounds=20)
    saved = json.loads((trained.parent / "scores.json").read_text())
    assert [row.label for row in rows] == [row["label"] for row in saved]
    # Weights are kept in half precision.
    assert [row.value for row in rows] == pytest.approx([row["value"] for row in saved], abs=0.2)


class StopError(Exception):
    pass


@pytest.mark.parametrize(("stage", "index"), [(1, 1), (2, 3)], ids=["in the second stage", "in the third"])
def test_a_training_that_was_stopped_ends_like_one_that_was_not(trained, folder, tmp_path, stage, index):
    class Until(recipe.TwinFeed):
        def batch(self, number, rank=0, world=1):
            # A seed of ten times the stage's is that of its masked batches.
            if (self.seed, number) == (10 * stage, index):
                raise StopError
            return super().batch(number, rank, world)

    parts = config(folder, tmp_path / "parts")
    parts = replace(parts, fit=replace(parts.fit, save_every=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "TwinFeed", Until)
        with pytest.raises(StopError):
            recipe.train(parts, progress=False)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir())[-1].startswith(str(stage))
    whole, resumed = weights(trained), weights(recipe.train(parts, progress=False))
    assert whole.keys() == resumed.keys()
    assert {"teacher.updates", "taken", "found_dice"} < whole.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_localiser_that_was_trained_alone_leads_to_the_same_model(trained, folder, tmp_path):
    alone = recipe.train_segmentor(config(folder, tmp_path / "alone"), progress=False)
    later = config(folder, tmp_path / "later", segmentor=str(alone))
    whole, divided_ = weights(trained), weights(recipe.train(later, progress=False))
    assert not (tmp_path / "later" / "0-segmentor").exists()
    assert all(torch.equal(whole[name], divided_[name]) for name in whole)
    assert "--segmentor alone/segmentor" in (tmp_path / "later" / "checkpoint" / "card.md").read_text()


def test_a_localiser_of_another_make_is_refused(folder, tmp_path):
    alone = recipe.train_segmentor(config(folder, tmp_path / "alone"), progress=False)
    other = config(folder, tmp_path / "later", segmentor=str(alone))
    with pytest.raises(SemeiaError, match=r"segmentor: expected a localiser of segmentor_widths \(8, 8\), found"):
        recipe.train(replace(other, model=replace(other.model, segmentor_widths=(8, 8))), progress=False)


@pytest.mark.parametrize("arm", ["gvs", "xia", "cyclegan"])
def test_baselines_train_and_are_measured_alike(folder, tmp_path, arm):
    tiny = config(folder, tmp_path, arm=arm, rounds=0)
    out = recipe.train(replace(tiny, fit=replace(tiny.fit, steps=1, warmup=0)), progress=False)
    assert f"Arm: {arm}." in (out / "card.md").read_text()
    assert recipe.evaluate(out, tiny.data, rounds=0)[0].label == "SMILE"


def test_with_all_masks_there_is_nothing_without(folder):
    full = config(folder, "unused", masked=1.0)
    division = recipe.divided(recipe.open_slices(full.data), labelled=1.0, healthy=0.25)
    designed = recipe.model_of(full, division)
    assert not designed.unlabelled
    assert set(recipe.feeds_of(full, designed, division, seed=0)) == {"labelled"}


def test_normal_slices_are_of_healthy_patients_and_never_with_a_lesion(folder):
    one = config(folder, "unused")
    division = recipe.divided(recipe.open_slices(one.data), labelled=0.5, healthy=0.25)
    people = {part: {source.rows[n].patient for source, n in getattr(division, part)}
              for part in ("labelled", "unlabelled", "normal")}  # fmt: skip
    assert [len(people[part]) for part in ("labelled", "unlabelled", "normal")] == [3, 3, 2]
    assert len(set.union(*people.values())) == 8
    batch = recipe.feeds_of(one, recipe.model_of(one, division), division, seed=0)["mixed"].batch(0)
    assert batch["healthy"].max() < 0.6 < batch["image"].max()


def test_without_twins_it_trains_and_tells_what_it_can(tmp_path):
    root = write(tmp_path / "plain", 7, twins=False)
    out = recipe.train(replace(config(root, tmp_path / "run", rounds=0)), progress=False)
    tasks = {row["task"] for row in json.loads((out.parent / "scores.json").read_text())}
    assert tasks == {"identity", "lesion found"}


def test_an_arm_that_needs_normal_slices_is_refused_without(tmp_path):
    root = write(tmp_path / "plain", 5, twins=False)
    with pytest.raises(SemeiaError, match="arm 'cyclegan': expected normal slices"):
        recipe.train(config(root, tmp_path / "run", arm="cyclegan"), progress=False)


def test_an_unknown_arm_and_missing_data_are_refused_before_anything_is_built(folder, tmp_path):
    with pytest.raises(SemeiaError, match="arm: expected one of smile"):
        recipe.train(config(folder, tmp_path, arm="gan"), progress=False)
    with pytest.raises(SemeiaError, match="no data"):
        recipe.train(recipe.smoke())


def test_a_split_that_the_data_lack_is_named(trained, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    table = tmp_path / "data" / "DL_info.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if not line.endswith(",2")) + "\n")
    with pytest.raises(SemeiaError, match="split 'val'"):
        recipe.evaluate(trained, LesionData(deeplesion=(str(tmp_path / "data"),)), split="val")


# -- what is measured


def test_what_is_left_inside_is_one_for_a_copy_and_nothing_for_the_truth(folder):
    sets = recipe.open_slices(LesionData(deeplesion=(str(folder),)))
    feed = TwinFeed(slices_of(sets, "test"), 1, size=32, window=(-1000.0, 500.0))
    net = smile.build(smile.TINY)
    assert scores.left_inside(net, feed) == 1
    truths = iter(list(feed.evaluation_batches()))
    net.twin = lambda image: ((one := next(truths))["truth"], one["mask"])
    assert scores.left_inside(net, feed) == 0
    truths = iter(list(feed.evaluation_batches()))
    assert scores.found_dice(net, feed) == 1


def test_the_body_is_the_box_around_what_is_no_air():
    image = np.full((20, 20), -1.0)
    image[4:9, 6:8] = 0.1
    box = scores.body(image, Tones((-1000.0, 500.0)))
    assert box.sum() == 10
    assert box[4, 6]
    assert scores.body(np.full((5, 5), -1.0), Tones((-1.0, 1.0))).all()


def test_a_blur_leaves_nothing_small():
    image = np.zeros((128, 128))
    image[64, 64] = 1
    assert scores.blurred(image).max() < 0.02


def test_all_scales_can_be_built():
    for scale in recipe.SCALES.values():
        smile.build(scale().model)
    assert recipe.paper().model == smile.Config()
