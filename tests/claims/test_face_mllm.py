"""Claims of Face-MLLM: arms that change what they say, and one that runs from beginning to end."""

from pathlib import Path

import pytest

from semeia import claims
from semeia.ledger.claims import Setting
from semeia.ledger.matching import check_arm
from semeia.ledger.running import run

LEDGER = claims.ledger("face_mllm")


@pytest.mark.parametrize("scale", ["smoke", "small", "full"])
def test_arms_change_what_they_say(scale):
    config = LEDGER.base(Setting(scale, 0, ("worlds/faces",), Path("runs")))
    for arm in LEDGER.arms:
        check_arm(arm, config, arm.make(config), free=LEDGER.free)


@pytest.mark.parametrize("scale", ["smoke", "small", "full"])
def test_arms_have_the_same_steps_but_for_those_that_say_otherwise(scale):
    config = LEDGER.base(Setting(scale, 0, ("worlds/faces",), Path("runs")))
    for arm in LEDGER.arms:
        made = arm.make(config)
        total = sum(part.share for part in (made.align, made.basic, made.special))
        assert total == pytest.approx({"direct, short": 0.35, "before": 0.02}.get(arm.name, 1.0))
        assert round(max(made.align.share, made.special.share) * made.fit.steps) >= 1


def test_a_claim_runs_from_beginning_to_end(faces, tmp_path):
    rows = run(
        LEDGER, scale="smoke", data=[str(faces)], seeds=[0], out=tmp_path / "runs", results=tmp_path,
        only=["M4.tasks"], tell=lambda words: None,
    )  # fmt: skip
    assert {row.arm for row in rows} == {"full", "before"}
    assert all("tasks" in row.sums for row in rows)
    assert len({row.parameters for row in rows}) == 1
