"""Claims of detectors of lesions: arms that differ in what they say, fewer steps, and every ledger on few slices."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semeia import claims
from semeia.claims import _lesions as shared
from semeia.claims import bounding_map, mo_scl, satr, three_addons, uld
from semeia.data.formats.deeplesion import Finding, write_series, write_table
from semeia.ledger import running
from semeia.ledger.claims import Measured, Setting
from semeia.ledger.matching import check_arm
from semeia.ledger.rows import read
from semeia.metrics import detection_ap, froc, ranked
from semeia.metrics.ranked import MISSED, Ranked

LEDGERS = {each.LEDGER.system: each.LEDGER for each in (uld, bounding_map, satr, mo_scl, three_addons)}
ledgers = pytest.mark.parametrize("ledger", LEDGERS.values(), ids=LEDGERS)
SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve patients: a bright disc in grey noise, through three slices."""
    root = tmp_path_factory.mktemp("deeplesion")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    rows = []
    for patient in range(1, 13):
        middle, reach = rng.uniform(20, 44, 2), (3, 6, 18)[patient % 3]
        hu = rng.normal(-500, 40, (3, SIDE, SIDE))
        hu[:, (x - middle[0]) ** 2 + (y - middle[1]) ** 2 < reach**2] = 800
        write_series(root, patient, 1, 1, hu.astype(np.int16), first=1)
        recist = np.array([[-1.0, 0], [1, 0], [0, -1], [0, 1]]) * reach + middle
        rows.append(Finding(
            patient=patient, study=1, series=1, key_slice=2, recist=recist,
            box=np.concatenate([recist.min(0) - 5, recist.max(0) + 5]), diameters=(2.0 * reach, 2.0 * reach),
            location=(0.5, 0.5, 0.5), kind=-1, noisy=False, slice_range=(1, 3), spacing=(1.0, 1.0, 2.0),
            size=(SIDE, SIDE), window=(-175, 275), gender=None, age=50.0,
            split=("train", "train", "val", "test")[patient % 4],
        ))  # fmt: skip
    write_table(root, rows)
    return root


# -- declarations


@ledgers
@pytest.mark.parametrize("scale", ["smoke", "small", "full"])
def test_arms_change_what_they_say(ledger, scale):
    config = ledger.base(Setting(scale, 0, ("worlds/slabs",), Path("runs")))
    config = replace(config, model=replace(config.model, trunk="narrow"))  # the published one takes long to count
    for arm in ledger.arms:
        check_arm(arm, config, arm.make(config), free=ledger.free)


@ledgers
def test_arms_are_matched_at_the_scale_that_gives_verdicts(ledger, tmp_path):
    plans = running.planned(ledger, scale="small", data=["worlds/slabs"], seeds=[0, 1, 2], out=tmp_path)
    assert len(plans) == 3 * len(ledger.arms)
    assert {plan.config.model.image_size for plan in plans} == {256}


@ledgers
def test_every_arm_stands_in_a_claim_and_every_heading_has_one(ledger):
    assert {arm.name for arm in ledger.needed(ledger.claims)} == {arm.name for arm in ledger.arms}
    assert {claim.group for claim in ledger.claims} == set(ledger.headings)


def test_all_of_the_specs_claims_are_there():
    for system, count in (("bounding_map", 6), ("satr", 5), ("mo_scl", 5)):
        assert len(claims.ledger(system).headings) == count


def test_arms_of_the_same_block_are_as_large():
    config = satr.base(Setting("small", 0, ("worlds/slabs",), Path("runs")))
    counts = {arm.name: satr.parameters(arm.make(config).model) for arm in satr.ARMS}
    for one, other in (("SATr", "convolution"), ("SATr", "alone"), ("neighbours", "all"), ("neighbours", "key")):
        assert counts[one] == pytest.approx(counts[other], rel=0.01)


# -- steps made fewer


def drawn(seed=0, images=600):
    """A test of images with one lesion each, of ten false boxes, of one or two images a patient."""
    rng = np.random.default_rng(seed)
    patients = np.array([f"{i // 2:06d}" for i in range(images)])
    found = np.where(rng.random(images) < 0.8, rng.normal(1.0, 1, images), MISSED)
    false = rng.normal(0, 1, 10 * images)
    traits = {"long": rng.uniform(4, 40, images)}
    return Ranked(patients, np.arange(images), found, np.repeat(np.arange(images), 10), false, traits)


def test_coarse_steps_give_the_sensitivities_of_all_steps():
    table = drawn()
    whole = ranked.total(ranked.patient_sums({"all": table}))["all"]
    few = ranked.total(ranked.patient_sums({"all": shared.coarse(table)}, up_to=shared.HELD))["all"]
    assert few.shape[1] <= 2 * shared.STEPS + 3 < whole.shape[1]
    assert froc.sensitivity(few)[0, :4] == pytest.approx(froc.sensitivity(whole)[0, :4], abs=4e-3)
    assert shared.FOUND.value({"all": few})[0] == pytest.approx(froc.average(whole)[0], abs=2e-3)
    assert detection_ap.average_precision(few)[0] == pytest.approx(detection_ap.average_precision(whole)[0], abs=1e-2)


def test_coarse_steps_of_a_test_without_boxes_or_lesions():
    nothing = Ranked(np.array(["a", "b"]), np.zeros(0, int), np.zeros(0), np.zeros(0, int), np.zeros(0))
    missed = replace(nothing, lesion_image=np.array([0]), found=np.array([MISSED]))
    assert len(shared.coarse(nothing).found) == 0
    steps = ranked.total(ranked.patient_sums({"all": shared.coarse(missed)}))["all"]
    assert shared.FOUND.value({"all": steps})[0] == 0


def test_a_stratum_is_of_its_own_lesions_and_all_false_boxes():
    table = drawn()
    long = table.traits["long"]
    sums = {
        name: ranked.total(ranked.patient_sums({name: ranked.of_lesions(table, kept)}))[name]
        for name, kept in froc.size_strata(long).items()
    }
    parts = [metric.value(sums)[0] * (kept.mean()) for metric, kept in zip(
        (shared.UNDER_10, shared.MIDDLE, shared.OVER_30), froc.size_strata(long).values(), strict=True
    )]  # fmt: skip
    whole = ranked.total(ranked.patient_sums({"all": table}))["all"]
    assert sum(parts) == pytest.approx(froc.average(whole)[0], abs=4e-3)


def test_a_constant_is_the_same_under_any_draw_of_patients():
    measured = shared.constant(Measured(("a", "b", "c"), {}), spread=0.25)
    metric = shared.mean_of("spread", "spread", "")
    weights = np.array([[1.0, 1, 1], [3, 0, 0], [0, 2, 1]])
    sums = {name: np.tensordot(weights, array, 1) for name, array in measured.sums.items()}
    assert metric.value(sums).tolist() == [0.25] * 3


def test_gains_on_some_strata_more_than_on_another_are_weighted_to_nothing():
    terms = bounding_map.rise(shared.UNDER_10, shared.OVER_30, middle=shared.MIDDLE, of="BMC", over="plain")
    assert sum(term.weight for term in terms) == 0
    assert sum(term.weight for term in terms if term.arm == "BMC") == 0


def test_the_spread_of_pairs_by_hand():
    losses = np.array([0.0, 1.0, 2.0, 3.0])
    mixed, same = np.array([[0, 3], [1, 2]]), np.array([[0, 1], [2, 3]])
    assert mo_scl.relative_spread(losses, mixed) == 0
    assert mo_scl.relative_spread(losses, same) == pytest.approx(1.0 / (1.25 / 2))
    assert mo_scl.relative_spread(np.array([0.0, 1.0, np.nan, 3.0]), same) == pytest.approx(2 * 0.5625 / 1.1875)


# -- the machinery


@pytest.mark.slow
@ledgers
def test_a_ledger_runs_at_the_scale_smoke(ledger, folder, tmp_path):
    rows = running.run(
        ledger, scale="smoke", data=[str(folder)], seeds=[0], out=tmp_path / "runs", results=tmp_path / "results",
        tell=lambda words: None,
    )  # fmt: skip
    assert {row.arm for row in rows} == {arm.name for arm in ledger.arms}
    again = read(tmp_path / "results" / f"{ledger.system}.json", system=ledger.system)
    assert all(row.groups == 6 for row in again)
    for row in again:
        assert ledger.columns(row.arm) <= row.sums.keys()
        assert row.values["mean sensitivity"] is not None
    if ledger.system == "bounding_map":
        told = {row.arm: row.values[bounding_map.POSITIVES.name] for row in again}
        assert told["BMC"] > told["plain"]
