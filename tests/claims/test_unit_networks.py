"""Claims of networks for action units: matched arms of their recipes, trained and read for a few steps."""

from pathlib import Path

import numpy as np
import pytest

from semeia import claims
from semeia.ledger import running
from semeia.ledger.claims import Setting
from semeia.ledger.matching import check_arm, matched
from semeia.ledger.rows import read
from semeia.metrics.face_sums import side_f1, unit_f1, unit_sums

NAMES = ("algrnet", "mgrrnet")


@pytest.mark.parametrize("scale", ["smoke", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_arms_change_what_they_say_and_have_the_same_size(name, scale):
    ledger = claims.ledger(name)
    config = ledger.base(Setting(scale, 0, ("worlds/faces",), Path("runs")))
    sizes = {}
    for arm in ledger.arms:
        made = arm.make(config)
        check_arm(arm, config, made, free=ledger.free)
        sizes[arm.name] = ledger.size(made).parameters
    if scale == "small":
        for claim in ledger.claims:
            counts = [sizes[arm] for arm in claim.arms]
            assert max(counts) / min(counts) <= 1 + claim.tolerance, claim.id


@pytest.mark.parametrize("name", NAMES)
def test_a_claim_runs_from_beginning_to_end(name, faces, tmp_path):
    ledger = claims.ledger(name)
    only = [ledger.claims[0].id]
    rows = running.run(
        ledger, scale="smoke", data=[str(faces)], seeds=[0], out=tmp_path / "runs", results=tmp_path, only=only,
        tell=lambda words: None,
    )  # fmt: skip
    assert {row.arm for row in rows} == set(ledger.claims[0].arms)
    assert read(tmp_path / f"{name}.json", system=name)


def test_a_width_is_found_however_parameters_grow_with_it():
    assert matched(lambda width: 5 * width * width + 3 * width, 5 * 47 * 47 + 3 * 47 + 20) == 47
    assert matched(lambda width: width, 1) == 1


def test_sums_of_units_and_sides_by_hand():
    truth = {
        "au_occurrence": np.array([[1, 0], [1, np.nan]]),
        "sides": np.array([[[1, 0], [0, 0]], [[1, 1], [np.nan] * 2]]),
    }
    said = {"present": np.array([[1, 1], [0, 1]]), "sides": np.array([[[1, 1], [0, 0]], [[1, 0], [1, 1]]])}
    names, sums = unit_sums(truth, said, np.array(["a", "a"]))
    assert names == ("a",)
    assert sums["units"].tolist() == [[[1, 0, 1], [0, 1, 0]]]
    assert sums["sides"].tolist() == [[[2, 1, 1], [0, 0, 0]]]
    assert unit_f1(sums)[0] == pytest.approx(2 / 3)
    assert side_f1(sums)[0] == pytest.approx(4 / 6)
