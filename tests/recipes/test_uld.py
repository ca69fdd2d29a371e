"""The recipe of the plain detector of lesions."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from semeia import checkpoint
from semeia.data.formats.deeplesion import Finding, write_series, write_table
from semeia.lesion_scores import AVERAGE
from semeia.lesion_sets import LesionData
from semeia.recipes import _lesion_training as training
from semeia.recipes import uld as recipe
from semeia.records import SemeiaError
from semeia.systems import uld

SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Nine patients in three splits: a bright disc in grey noise, through five slices."""
    root = tmp_path_factory.mktemp("deeplesion")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    rows = []
    for patient in range(1, 10):
        middle = rng.uniform(20, 44, 2)
        hu = rng.normal(-500, 40, (5, SIDE, SIDE))
        hu[:, (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < 25] = 800
        write_series(root, patient, 1, 1, hu.astype(np.int16), first=1)
        recist = np.array([[-5.0, 0], [5, 0], [0, -5], [0, 5]]) + middle
        rows.append(Finding(
            patient=patient, study=1, series=1, key_slice=3, recist=recist,
            box=np.concatenate([recist.min(0) - 5, recist.max(0) + 5]), diameters=(10.0, 10.0),
            location=(0.5, 0.5, 0.5), kind=-1, noisy=False, slice_range=(1, 5), spacing=(1.0, 1.0, 2.0),
            size=(SIDE, SIDE), window=(-175, 275), gender=None, age=50.0,
            split=("train", "val", "test")[patient % 3],
        ))  # fmt: skip
    write_table(root, rows)
    return root


def config(folder, out, **changes):
    tiny = recipe.smoke()
    return replace(tiny, data=LesionData(deeplesion=(str(folder),)), fit=replace(tiny.fit, out=str(out), **changes))


def test_a_smoke_training_ends_with_a_card_a_table_and_scores_of_false_boxes(folder, tmp_path):
    out = recipe.train(config(folder, tmp_path / "run"), progress=False)
    model, _ = checkpoint.load(out, system="uld", kind=uld.Config, build=uld.build)
    assert model.config == recipe.smoke().model
    assert model.score_at.tolist() == sorted(model.score_at.tolist(), reverse=True)
    card = (out / "card.md").read_text()
    assert "3 key slices of" in card
    assert "semeia train uld --data worlds/" in card
    assert "not accuracy on patients" in card
    scores = recipe.evaluate(out, LesionData(deeplesion=(str(folder),)), rounds=20)
    assert next(s for s in scores if s.label == AVERAGE).count == 3


def test_a_training_that_was_stopped_ends_like_one_that_was_not(folder, tmp_path):
    def weights(out):
        return checkpoint.load(out, system="uld", kind=uld.Config, build=uld.build)[0].state_dict()

    whole = weights(recipe.train(config(folder, tmp_path / "whole"), progress=False))
    first = config(folder, tmp_path / "parts", steps=6)

    class StopError(Exception):
        pass

    class Until(training.SliceFeed):
        def batch(self, index, rank=0, world=1):
            if index == 4:
                raise StopError
            return super().batch(index, rank, world)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "SliceFeed", Until)
        with pytest.raises(StopError):
            recipe.train(first, progress=False)
    resumed = weights(recipe.train(first, progress=False))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_training_can_start_from_another(folder, tmp_path):
    first = recipe.train(config(folder, tmp_path / "first"), progress=False)
    still = replace(config(folder, tmp_path / "second"), init=str(first), learning_rate=0.0)
    second = recipe.train(still, progress=False)
    before, after = (
        checkpoint.load(at, system="uld", kind=uld.Config, build=uld.build)[0].state_dict() for at in (first, second)
    )
    assert all(torch.equal(before[name], after[name]) for name in before if name != "score_at")
    with pytest.raises(SemeiaError, match="neither a checkpoint folder nor bundled"):
        recipe.train(replace(still, init="nonsense"), progress=False)


def test_both_optimisers_and_a_cache_train(folder, tmp_path):
    plain = replace(config(folder, tmp_path / "sgd"), optimizer="sgd", cache=str(tmp_path / "cache"), test=1, rounds=0)
    recipe.train(plain, progress=False)
    assert list((tmp_path / "cache").glob("*.npy"))


def test_data_that_is_missing_is_refused_before_anything_is_built(tmp_path):
    with pytest.raises(SemeiaError, match="no data"):
        recipe.train(replace(recipe.smoke(), fit=replace(recipe.smoke().fit, out=str(tmp_path))))


def test_a_broken_table_is_told_and_not_taken_for_a_missing_split(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    table = tmp_path / "data" / "DL_info.csv"
    table.write_text(table.read_text().replace("000001_01_01_003.png", "nonsense"))
    with pytest.raises(SemeiaError, match=r"DL_info\.csv"):
        recipe.train(config(tmp_path / "data", tmp_path / "run"), progress=False)


def test_data_without_a_training_split_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "data")
    table = tmp_path / "data" / "DL_info.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *(line for line in lines[1:] if not line.endswith(",1"))]) + "\n")
    with pytest.raises(SemeiaError, match="expected key slices of split 'train', found none"):
        recipe.train(config(tmp_path / "data", tmp_path / "run"), progress=False)


def test_the_published_values_can_be_built():
    assert recipe.paper().model == uld.Config()
    assert recipe.paper().fit.clip == 35
