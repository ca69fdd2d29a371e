"""Claims of EMMA and Masked CoTEX: matched arms that change what they say."""

from pathlib import Path

import numpy as np
import pytest

from semeia import claims
from semeia.claims import cotex, emma
from semeia.ledger.claims import Setting
from semeia.ledger.matching import check_arm, check_sizes
from semeia.ledger.running import run

NAMES = ("emma", "cotex")


@pytest.mark.parametrize("scale", ["smoke", "small", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_arms_change_what_they_say_and_have_the_same_size(name, scale):
    ledger = claims.ledger(name)
    config = ledger.base(Setting(scale, 0, ("worlds/faces",), Path("runs")))
    sizes = {}
    for arm in ledger.arms:
        made = arm.make(config)
        check_arm(arm, config, made, free=ledger.free)
        if scale == "small":
            sizes[arm.name] = ledger.size(made)
    if scale == "small":
        for claim in ledger.claims:
            if claim.matched:
                check_sizes(claim, sizes)


def test_a_claim_of_two_networks_runs_from_beginning_to_end(faces, tmp_path):
    rows = run(
        claims.ledger("cotex"), scale="smoke", data=[str(faces)], seeds=[0], out=tmp_path / "runs", results=tmp_path,
        only=["A4.agreement.alone"], tell=lambda words: None,
    )  # fmt: skip
    assert {row.arm for row in rows} == {"full", "no agreement"}
    assert all(set(row.sums) >= {"expression", "alone"} for row in rows)


def test_one_network_alone_by_hand():
    sums = {"alone": np.array([[[1.0, 0, 0], [0, 1, 1]]])}
    assert cotex.alone_f1(sums)[0] == pytest.approx(0.5)


def test_affect_is_read_from_as_large_a_perceptron():
    config = emma.base(Setting("small", 0, ("worlds/faces",), Path("runs")))
    made = emma.reading("features")(config)
    assert made.model.affect_hidden < config.model.affect_hidden
    assert emma.parameters(made.model) == pytest.approx(emma.parameters(config.model), rel=1e-3)
