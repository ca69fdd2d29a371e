"""The recipes of what is added to the detector of lesions, alone and together; run as a script, one of them trains."""

import contextlib
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from semeia import checkpoint
from semeia.cli import train as verb
from semeia.data.formats.deeplesion import Finding, write_series, write_table
from semeia.data.orders import LearnedOrder
from semeia.data.slice_feeds import STILL
from semeia.detection.bounding_labels import ConditionedLabeller
from semeia.detection.design import Design
from semeia.detection.map_targets import MapBranch
from semeia.lesion_scores import AVERAGE
from semeia.lesion_sets import LesionData
from semeia.recipes import _lesion_training, bounding_map, mo_scl, satr, three_addons, uld
from semeia.records import SemeiaError
from semeia.systems.satr import SliceAttentionCollector
from semeia.train import state

SIDE = 64
SRC = Path(__file__).parents[2] / "src"
RECIPES = {each.SYSTEM.name: each for each in (bounding_map, satr, mo_scl, three_addons)}
recipes = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Eighteen patients, twelve of them to learn from: a bright disc in grey noise, through five slices."""
    root = tmp_path_factory.mktemp("deeplesion")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    rows = []
    for patient in range(1, 19):
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
            split=("train", "train", "train", "train", "val", "test")[patient % 6],
        ))  # fmt: skip
    write_table(root, rows)
    return root


def config_of(recipe, folder, out, **changes):
    tiny = recipe.smoke()
    return replace(tiny, data=LesionData(deeplesion=(str(folder),)), fit=replace(tiny.fit, out=str(out), **changes))


def loaded(recipe, out):
    system = recipe.SYSTEM
    return checkpoint.load(out, system=system.name, kind=system.kind, build=system.build)[0]


# -- every recipe


@recipes
def test_a_smoke_training_ends_with_a_card_a_table_and_a_detector_without_a_curriculum(recipe, folder, tmp_path):
    out = recipe.train(config_of(recipe, folder, tmp_path / "run"), progress=False)
    model = loaded(recipe, out)
    assert model.config == recipe.smoke().model
    assert not [name for name in model.state_dict() if name.startswith("curriculum")]
    card = (out / "card.md").read_text()
    assert "12 key slices of" in card
    assert f"semeia train {recipe.SYSTEM.name} --data worlds/" in card
    assert "not accuracy on patients" in card
    scores = recipe.evaluate(out, LesionData(deeplesion=(str(folder),)), rounds=20)
    assert next(s for s in scores if s.label == AVERAGE).count == 3


class StopError(Exception):
    """Stands for whatever ends a process."""


@recipes
def test_a_training_that_was_stopped_within_an_epoch_ends_like_one_that_was_not(recipe, folder, tmp_path, monkeypatch):
    """An epoch has six steps; the state is that of step 8."""
    how = {"steps": 14, "save_every": 4, "eval_every": 14}
    whole = recipe.train(config_of(recipe, folder, tmp_path / "whole", **how), progress=False)
    config = config_of(recipe, folder, tmp_path / "parts", **how)
    real = _lesion_training.SliceFeed

    class Until(real):
        def batch(self, index, rank=0, world=1):
            if index == 10:
                raise StopError
            return super().batch(index, rank, world)

    with monkeypatch.context() as patch:
        patch.setattr(_lesion_training, "SliceFeed", Until)
        with pytest.raises(StopError):
            recipe.train(config, progress=False)
    assert state.latest(tmp_path / "parts").name == "step-00000008"
    resumed = recipe.train(config, progress=False)
    one, other = loaded(recipe, whole).state_dict(), loaded(recipe, resumed).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@recipes
def test_small_and_paper_are_the_plain_detectors_but_for_what_is_added(recipe):
    for scale in ("smoke", "small", "paper"):
        ours, plain = recipe.SCALES[scale](), uld.SCALES[scale]()
        for each in fields(_lesion_training.LesionTraining):
            if each.name != "model":
                assert getattr(ours, each.name) == getattr(plain, each.name)
        for each in fields(Design):
            assert getattr(ours.model, each.name) == getattr(plain.model, each.name)


@recipes
def test_every_field_is_a_flag(recipe):
    config = verb.configure(recipe, scale="smoke", fields=["--fit.steps", "7", "--model.most", "9"])
    assert (config.fit.steps, config.model.most) == (7, 9)
    assert replace(config, model=recipe.smoke().model, fit=recipe.smoke().fit) == recipe.smoke()


@recipes
def test_data_that_is_missing_is_refused(recipe, tmp_path):
    with pytest.raises(SemeiaError, match="no data"):
        recipe.train(replace(recipe.smoke(), fit=replace(recipe.smoke().fit, out=str(tmp_path))))


def test_the_published_scales_have_the_published_block():
    for recipe in (satr, three_addons):
        assert recipe.paper().model.embedding == "published"


# -- mixed order


@pytest.mark.parametrize("recipe", [mo_scl, three_addons])
def test_a_step_that_the_slices_do_not_fill_is_refused(recipe, folder, tmp_path):
    with pytest.raises(SemeiaError, match="batch order: expected at least 13 x 1 samples, those of one step, found 12"):
        recipe.train(replace(config_of(recipe, folder, tmp_path), batch_size=13), progress=False)


def test_a_share_of_the_patients_is_learned_from(folder, tmp_path):
    out = mo_scl.train(replace(config_of(mo_scl, folder, tmp_path / "run"), share=0.5), progress=False)
    assert "6 key slices of" in (out / "card.md").read_text()


def test_averaged_weights_go_with_mixed_order(folder, tmp_path):
    out = mo_scl.train(config_of(mo_scl, folder, tmp_path / "run", steps=8, ema=0.9), progress=False)
    assert loaded(mo_scl, out).score_at.isfinite().all()


# -- all three


def parts_of(model):
    detector = model.detector
    return {
        "bounding maps": isinstance(detector.proposals.labeller, ConditionedLabeller)
        and isinstance(detector.branches["map"], MapBranch),
        "slice attention": isinstance(detector.collector, SliceAttentionCollector),
    }


@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
def test_any_subset_is_a_matter_of_construction(maps, attention, mixed):
    switches = {"bounding_maps": maps, "slice_attention": attention, "mixed_order": mixed}
    model = three_addons.build(
        replace(three_addons.smoke().model, **switches), order=LearnedOrder(8, batch_size=2, seed=0)
    )
    assert ("map" in model.detector.branches) == maps
    assert parts_of(model)["slice attention"] == attention
    if maps:
        assert parts_of(model)["bounding maps"]
    assert model.curriculum.plan.arrangement == ("mixed" if mixed else "random")
    assert model.curriculum.plan.uncertain == mixed


def test_with_none_of_them_it_is_the_plain_detector():
    off = replace(three_addons.smoke().model, bounding_maps=False, slice_attention=False, mixed_order=False)
    torch.manual_seed(0)
    ours = three_addons.build(off)
    torch.manual_seed(0)
    plain = uld.SYSTEM.build(uld.smoke().model)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), plain.state_dict().values(), strict=True))


def test_first_epochs_have_the_same_batches_with_and_without_mixed_order():
    orders = []
    for mixed in (True, False):
        order = LearnedOrder(8, batch_size=2, seed=3)
        three_addons.build(replace(three_addons.smoke().model, mixed_order=mixed), order=order)
        orders.append([order.batch(step) for step in range(4)])
    assert orders[0] == orders[1]


def test_a_wrong_value_of_an_addon_is_named_where_it_is_switched_off():
    with pytest.raises(SemeiaError, match=r"^heads: expected"):
        three_addons.build(replace(three_addons.smoke().model, slice_attention=False, heads=5))


# -- two processes


def fixed_draws():
    """Draws of anchors and regions that do not depend on the process."""
    torch.randperm = lambda n, **named: torch.arange(n, device=named.get("device"))
    torch.randint = lambda high, size, **named: torch.arange(size[0], device=named.get("device")) % max(high, 1)


def start(folder, out, *, ranks):
    """Run this file and return its exit status."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    words = [__file__, str(folder), str(out / "run"), str(2 // ranks)]
    out.mkdir()
    with (out / "output.txt").open("w") as output:
        return subprocess.run(
            [sys.executable, *(torchrun if ranks > 1 else []), *words],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SRC)},
            stdout=output, stderr=output, check=False, timeout=240,
        ).returncode  # fmt: skip


@pytest.mark.slow
def test_two_processes_train_all_three_as_one_process_does_with_two_micro_batches(folder, tmp_path):
    """Without the noise that micro-batches and processes draw for themselves. Three epochs, two in mixed order."""
    for ranks, name in ((2, "two"), (1, "one")):
        assert start(folder, tmp_path / name, ranks=ranks) == 0, (tmp_path / name / "output.txt").read_text()
    one, two = (load_file(state.latest(tmp_path / name / "run") / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert torch.equal(one["curriculum.numbers"], two["curriculum.numbers"])
    assert int(one["curriculum.epoch"]) == 3
    for name, value in one.items():
        torch.testing.assert_close(
            two[name], value, rtol=1e-4, atol=1e-5, msg=lambda words, name=name: f"{name}: {words}"
        )
    assert (tmp_path / "two" / "run" / "checkpoint" / "config.json").is_file()


if __name__ == "__main__":
    fixed_draws()
    plain = config_of(three_addons, sys.argv[1], sys.argv[2], steps=9, save_every=9, eval_every=9, precision="no",
                      accumulate=int(sys.argv[3]))  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):
        three_addons.train(replace(
            plain, model=replace(plain.model, noise=0.0, drop_path=0.0), optimizer="sgd", learning_rate=0.01,
            augmentation=STILL,
        ), progress=False)  # fmt: skip
