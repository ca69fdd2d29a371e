"""The ledger of SMILE: arms differ in what they say, points stand beside, slices become sums, and it runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semeia.claims import _twin_study as study
from semeia.claims import smile as claims
from semeia.data.formats.deeplesion import Finding, write_masks, write_series, write_table
from semeia.data.paired_slices import HEALTHY
from semeia.data.twin_feeds import Tones
from semeia.ledger import running
from semeia.ledger.claims import Setting
from semeia.ledger.matching import check_arm
from semeia.ledger.rows import read
from semeia.ledger.verdicts import resampled
from semeia.metrics import twins
from semeia.recipes._twin_scores import Read

LEDGER = claims.LEDGER
SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty patients: a bright square on the middle one of three noisy slices, its mask, and the same without it."""
    root = tmp_path_factory.mktemp("data") / "world"
    rng = np.random.default_rng(0)
    rows = []
    for patient in range(1, 21):
        x, y = 2 * rng.integers(8, 18, 2)
        healthy = rng.normal(-100, 30, (3, SIDE, SIDE)).astype(np.int16)
        hu, masks = healthy.copy(), np.zeros((3, SIDE, SIDE), np.uint8)
        hu[1, y : y + 12, x : x + 12], masks[1, y : y + 12, x : x + 12] = 400, 1
        write_series(root, patient, 1, 1, hu, first=1)
        write_masks(root, patient, 1, 1, masks[1:2], first=2)
        write_series(root, patient, 1, 1, healthy, first=1, images=HEALTHY)
        recist = np.array([[x, y + 6.0], [x + 12, y + 6], [x + 6, y], [x + 6, y + 12]], float)
        rows.append(Finding(
            patient=patient, study=1, series=1, key_slice=2, recist=recist,
            box=np.concatenate([recist.min(0) - 5, recist.max(0) + 5]), diameters=(12.0, 12.0),
            location=(0.5, 0.5, 0.5), kind=-1, noisy=False, slice_range=(1, 3), spacing=(1.0, 1.0, 2.0),
            size=(SIDE, SIDE), window=(-175, 275), gender=None, age=50.0,
            split="val" if patient < 3 else "test" if patient < 7 else "train",
        ))  # fmt: skip
    write_table(root, rows)
    return root


def at(scale, data="worlds/slabs", out="runs/claims/smile/x", seed=0):
    return LEDGER.base(Setting(scale, seed, (str(data),), Path(out)))


# -- declarations


@pytest.mark.parametrize("scale", ["smoke", "small", "full"])
def test_arms_change_what_they_say(scale):
    base = at(scale)
    for arm in LEDGER.arms:
        check_arm(arm, base, arm.make(base), free=LEDGER.free)


def test_all_of_the_specs_claims_are_there_and_every_arm_stands_in_one():
    assert set(LEDGER.headings) == {"S1", "S2", "S3", "S4", "S5"}
    assert {claim.group for claim in LEDGER.claims} == set(LEDGER.headings)
    assert {arm.name for arm in LEDGER.needed(LEDGER.claims)} == {arm.name for arm in LEDGER.arms}


def test_arms_are_matched_and_take_the_same_steps_whatever_their_masks(tmp_path):
    plans = running.planned(LEDGER, scale="small", data=["worlds/slabs"], seeds=[0, 1, 2], out=tmp_path)
    assert len(plans) == 3 * len(LEDGER.arms)
    for name in ("segmentor_steps", "labelled_steps", "batch_size"):
        assert len({getattr(plan.config, name) for plan in plans}) == 1
    assert {plan.config.fit.steps for plan in plans} == {claims.STEPS}
    assert {plan.config.model.size for plan in plans} == {claims.SIDE}


def test_equivalence_is_asked_both_ways_with_one_margin_each():
    for name, (metric, margin) in claims.ALIKE.items():
        one, other = (next(c for c in LEDGER.claims if c.id == f"S1.{name}{end}") for end in ("", ".back"))
        assert one.arms == tuple(reversed(other.arms)) == ("smile 50 %", "supervised 100 %")
        assert one.direction == other.direction == "higher"
        assert one.margin == other.margin == margin > 0
        assert one.metric is other.metric is metric


def test_fewer_masks_are_weighted_against_more():
    weights = {term.arm: term.weight for term in claims.shrinks(claims.INSIDE)}
    assert weights == {"smile 10 %": 1, "supervised 10 %": -1, "smile 50 %": -1, "supervised 50 %": 1}


def test_the_judge_is_none_of_the_makers():
    base = at("small")
    assert base.judge.fit.seed not in (0, 1, 2)
    assert base.judge.smile is None
    assert base.judge.arm == "classic"
    assert base.judge.model.size == base.task.model.size == base.model.size
    assert base.judge.model.window == base.task.model.window == base.model.window


# -- sums


def seen(twin):
    """Two slices of one patient and one of another, without a mask; a lesion of 8 x 8 pixels of 1 on 0."""
    truth = np.zeros((3, 32, 32))
    image, mask = truth.copy(), truth.copy()
    mask[:2, 8:16, 8:16] = image[:2, 8:16, 8:16] = 1
    made = twin(image, truth)
    return Read(
        image=image, mask=mask, truth=truth, twin=made, found=mask * 0.9, known=np.array([True, True, False]),
        marked=np.array([True, True, False]), patients=np.array(["b", "b", "a"]),
    )  # fmt: skip


def metric(read_, name):
    """A metric of a reading over all patients."""
    values = study.qualities(read_, Tones((-1000.0, 500.0)))
    sums = {key: study.by_patient(value, list(read_.patients), ("a", "b")) for key, value in values.items()}
    return name.value(resampled(sums, np.ones((1, 2))))[0]


def test_numbers_of_a_twin_that_is_half_way_by_hand():
    half = seen(lambda image, truth: (image + truth) / 2)
    assert metric(half, claims.LEFT) == pytest.approx(0.5)
    assert metric(half, claims.INSIDE) == pytest.approx(10 * np.log10(4 / 0.25))
    assert metric(half, claims.OUTSIDE) == 0


@pytest.mark.parametrize(
    ("point", "left", "outside"), [("copy", 1.0, True), ("truth", 0.0, True), ("blur", None, False)]
)
def test_points_are_where_they_belong(point, left, outside):
    read_ = seen(lambda image, truth: np.stack([study.POINTS[point](*pair) for pair in zip(image, truth, strict=True)]))
    assert bool(metric(read_, claims.OUTSIDE) == 0) == outside
    assert bool(metric(read_, claims.IDENTITY) > 0.9999) == outside
    if left is not None:
        assert metric(read_, claims.LEFT) == left


def test_slices_without_a_twin_or_a_mask_do_not_count():
    values = study.qualities(seen(lambda image, truth: image), Tones((-1.0, 1.0)))
    assert all(value[2].tolist() == [0, 0] for value in values.values())
    assert study.by_patient(values["identity"], ["b", "b", "a"], ("a", "b")).tolist() == [[0, 0], [2, 2]]


def test_healthiness_is_the_part_that_is_found_no_more():
    sums = {"health": np.array([[2.0, 8.0], [10.0, 8.0], [0.0, 0.0]])}
    assert claims.gone(sums)[:2].tolist() == [0.75, -0.25]
    assert np.isnan(claims.gone(sums)[2])
    assert claims.gone(sums)[0] == twins.healthiness(np.array([2.0]), np.array([8.0]))


def test_dice_counts_patients_for_whom_both_segmentors_have_one():
    told = study.known([{"a": 0.2, "b": 0.5, "c": float("nan")}, {"a": 0.4, "b": 0.4, "c": 0.1}], ("a", "b", "c", "d"))
    assert told.tolist() == [[0.2, 0.4, 1], [0.5, 0.4, 1], [0, 0, 0], [0, 0, 0]]
    sums = resampled({"task": told}, np.ones((1, 4)))
    assert [each.value(sums)[0] for each in (claims.PLAIN, claims.HELPED, claims.GAIN)] == pytest.approx(
        [0.35, 0.4, 0.05]
    )


def test_dice_of_the_localiser_is_that_of_a_patients_slices_together():
    read_ = seen(lambda image, truth: image)
    assert study.found_dice(read_, list(read_.patients)) == {"b": 1.0}


# -- the machinery


def test_a_study_without_test_slices_is_refused(folder):
    from semeia.recipes import smile as recipe
    from semeia.records import SemeiaError

    base = at("smoke", folder)
    sets = recipe.open_slices(base.data)
    for each in sets:
        each.rows = [replace(row, split="val") for row in each.rows]
    with pytest.raises(SemeiaError, match="found none"):
        study.test_of(base, sets)


@pytest.mark.slow
def test_a_ledger_runs_at_the_scale_smoke(folder, tmp_path):
    running.run(
        LEDGER, scale="smoke", data=[str(folder)], seeds=[0], out=tmp_path / "runs", results=tmp_path / "results",
        tell=lambda words: None,
    )  # fmt: skip
    rows = {row.arm: row for row in read(tmp_path / "results" / "smile.json", system="smile")}
    assert set(rows) == {arm.name for arm in LEDGER.arms}
    assert {row.groups for row in rows.values()} == {4}
    for name, row in rows.items():
        assert LEDGER.columns(name) <= row.sums.keys()
    assert rows[claims.COPY].values[claims.LEFT.name] == 1
    assert rows[claims.TRUTH].values[claims.LEFT.name] == 0
    assert rows[claims.COPY].values[claims.HEALTH.name] == 0
    assert claims.FOUND.name not in rows[claims.COPY].values
    assert rows["smile 25 %"].values[claims.HELPED.name] is not None
    assert claims.HELPED.name not in rows["gvs 25 %"].values
    kept = sorted(path.name.partition("-")[0] for path in (tmp_path / "runs" / "smile" / "smoke").iterdir())
    assert kept == ["judge"] + 4 * ["segmentor"], "arms leave nothing; a judge, and a localiser a share of masks, stay"
