"""Q-Face's claims: matched arms of its recipe, trained and read for a few steps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semeia import claims
from semeia.claims import qface
from semeia.configurations import flat
from semeia.ledger import running
from semeia.ledger.claims import Setting
from semeia.ledger.matching import check_arm
from semeia.ledger.rows import read
from semeia.ledger.verdicts import judge
from semeia.recipes import qface as recipe
from semeia.records import SemeiaError
from semeia.systems.qface import TASKS

LEDGER = claims.ledger("qface")


def base(scale="small"):
    return qface.base(Setting(scale, 0, ("worlds/faces",), Path("runs")))


def arm(name, config):
    return next(a for a in LEDGER.arms if a.name == name).make(config)


def test_every_paper_claim_is_there():
    assert {claim.group for claim in LEDGER.claims} == {"Q1", "Q2", "Q3", "Q4", "Q5"}
    assert tuple(qface.TASKS.values()) == TASKS


@pytest.mark.parametrize("scale", ["smoke", "small"])
def test_arms_change_what_they_say_and_have_the_same_size(scale):
    config = base(scale)
    sizes = {}
    for a in LEDGER.arms:
        made = a.make(config)
        check_arm(a, config, made, free=LEDGER.free)
        sizes[a.name] = qface.parameters(made.model)
    for claim in LEDGER.claims:
        counts = [sizes[name] for name in claim.arms]
        assert claim.matched
        assert max(counts) / min(counts) < 1.015, claim.id


def test_the_paper_scale_changes_nothing_but_the_arms_either():
    config = base("full")
    assert config.model.pretrained
    for name in ("tokens", "age alone"):
        a = next(a for a in LEDGER.arms if a.name == name)
        check_arm(a, config, a.make(config), free=LEDGER.free)


def test_the_last_layer_is_the_deepest_tap_and_a_pooled_model_has_no_queries():
    config = base()
    assert arm("last layer", config).model.taps == config.model.taps[-1:]
    assert qface._built(arm("pooled", config).model).queries.shape[0] == 0
    assert qface._built(arm("task queries", config).model).queries.shape[0] == 5


def test_a_task_alone_has_the_weight_that_it_has_among_others():
    config = base()
    weights = arm("age alone", config).model.weights
    assert weights == (0, 0, 0, config.model.weights[3], 0)
    assert flat(arm("age alone pooled", config))["model.reading"] == "pooled"


def test_small_is_small():
    config = base()
    steps = config.fit.steps * config.batch_size / 64
    assert len(LEDGER.arms) * 3 * steps <= 12_000


def test_data_are_folders_or_fields_of_face_data():
    data = qface.face_data(["worlds/a=b", "rafdb=/data/RAF-DB", "worlds/c", "fold=2"])
    assert (data.faces, data.rafdb, data.fold) == (("worlds/a=b", "worlds/c"), "/data/RAF-DB", 2)
    assert qface.face_data(["worlds/a"]).fold == 1
    with pytest.raises(SemeiaError, match="fold=two"):
        qface.face_data(["fold=two"])


def test_a_pass_is_counted():
    cost = qface.size(base("smoke"))
    assert cost.parameters == qface.parameters(base("smoke").model)
    assert cost.flops > 1e6


def test_joint_training_is_compared_task_by_task():
    joint = next(claim for claim in LEDGER.claims if claim.id == "Q4.joint")
    assert sum(term.weight for term in joint.weighted) == pytest.approx(0)
    assert {t.arm: t.metric.name for t in joint.weighted}["age alone"] == "age, skill"
    assert joint.margin == 0.02
    transfer = next(claim for claim in LEDGER.claims if claim.id == "Q4.transfer")
    assert {t.arm: t.weight for t in transfer.weighted}["pooled"] == -1


@pytest.fixture(scope="module")
def smoked(faces, tmp_path_factory):
    """Where queries look, and the two by two table, at the smallest scale."""
    out = tmp_path_factory.mktemp("claims")
    rows = running.run(
        LEDGER, scale="smoke", data=[str(faces)], seeds=[0], out=out / "runs", results=out, only=["Q3", "Q5.depths"],
        tell=lambda words: None,
    )  # fmt: skip
    return rows, out


def test_a_smoke_run_trains_measures_and_keeps_every_arm(smoked):
    rows, out = smoked
    assert [row.arm for row in rows] == ["full", "last layer", "pooled", "tokens"]
    kept = read(out / "qface.json", system="qface")
    assert judge(LEDGER.chosen(["Q3.queries"])[0], kept).words == "not run (smoke)"
    assert (out / "qface.json").stat().st_size < 100_000


def test_the_sums_are_those_of_the_test_split(smoked):
    rows, _ = smoked
    full, tokens = rows[0], rows[-1]
    assert full.groups == 4
    assert full.sums["expression"][:, 1].sum() == full.sums["age"][:, 2].sum() == 8
    assert full.sums["units"].shape == (4, 19, 3)
    assert set(tokens.sums) == {"depths"}
    assert 0 <= full.values["expression accuracy"] <= 1
    assert full.values["pose, mean absolute error, degrees"] > 0


def test_an_arm_of_one_task_tells_of_no_other(faces, tmp_path):
    config = arm("pose alone", qface.base(Setting("smoke", 0, (str(faces),), tmp_path)))
    assert set(qface.measure(config, frozenset({"pose"})).sums) == {"pose"}


def test_distances_between_tasks_are_distances(smoked):
    rows, _ = smoked
    for table in (rows[0].sums["places"], rows[-1].sums["depths"]):
        assert (table[:, 2] == 1).all()
        assert ((table[:, :2] >= 0) & (table[:, :2] <= 1)).all()
        assert (table[:, :2] > 0).any()


def test_training_goes_on_in_its_run_folder(faces, tmp_path, monkeypatch):
    config = replace(base("smoke"), data=qface.face_data([str(faces)]))
    config = replace(config, fit=replace(config.fit, out=str(tmp_path / "run")))
    first = qface.measure(config, frozenset())
    trained = []
    monkeypatch.setattr(recipe.FaceFeed, "batch", lambda *a, **k: trained.append(a))
    again = qface.measure(config, frozenset())
    assert not trained
    for name, table in first.sums.items():
        np.testing.assert_array_equal(again.sums[name], table)


@pytest.mark.slow
def test_every_claim_runs_at_the_smallest_scale(faces, tmp_path):
    rows = running.run(
        LEDGER, scale="smoke", data=[str(faces)], seeds=[0], out=tmp_path / "runs", results=tmp_path,
        tell=lambda words: None,
    )  # fmt: skip
    assert {row.arm for row in rows} == {a.name for a in LEDGER.arms}
