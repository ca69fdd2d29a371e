"""Claims of transplanted lesions: what arms add to the data of a detector."""

from dataclasses import replace
from pathlib import Path

import pytest

from semeia.claims import _transplant_study, uld_transplants
from semeia.data.synthetic.slabs.make import make_slabs
from semeia.ledger import running
from semeia.ledger.claims import Setting
from semeia.ledger.matching import check_arm, digest
from semeia.ledger.rows import read
from semeia.lesion_sets import LesionData, open_lesions

LEDGER = uld_transplants.LEDGER


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds") / "slabs"
    make_slabs(folder, count=12, seed=3, size=96, workers=1, progress=False)
    return folder


@pytest.mark.parametrize("scale", ["smoke", "small", "full"])
def test_arms_change_what_they_say(scale):
    study = LEDGER.base(Setting(scale, 0, ("worlds/slabs",), Path("runs")))
    for arm in LEDGER.arms:
        check_arm(arm, study, arm.make(study), free=LEDGER.free)


def test_a_row_fits_its_study_whatever_the_seed():
    one, other = (LEDGER.base(Setting("small", seed, ("worlds/slabs",), Path("runs"))) for seed in (0, 1))
    assert digest(one) == digest(other)


def test_slabs_are_made_once_for_a_seed(world, tmp_path, monkeypatch):
    study = LEDGER.base(Setting("smoke", 0, (str(world),), tmp_path / "smoke" / "pasted-0"))
    study = replace(study, by="paste", count=2)
    folder = _transplant_study.made(study)
    data = LesionData(deeplesion=(str(world),), made=str(folder))
    assert len(open_lesions(data)[1]) == 2
    monkeypatch.setattr(_transplant_study, "transplant", lambda *a, **k: pytest.fail("made again"))
    assert _transplant_study.made(study) == folder


@pytest.mark.slow
def test_the_ledger_runs_at_the_scale_smoke(world, tmp_path):
    running.run(
        LEDGER, scale="smoke", data=[str(world)], seeds=[0], out=tmp_path / "runs", results=tmp_path / "results",
        tell=lambda words: None,
    )  # fmt: skip
    rows = read(tmp_path / "results" / "uld_transplants.json", system="uld_transplants")
    assert {row.arm for row in rows} == {"real", "painted", "pasted"}
    assert all(row.values["mean sensitivity"] is not None for row in rows)
