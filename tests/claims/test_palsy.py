"""Claims of the palsy head: arms that differ in what they say, and sums by hand."""

from pathlib import Path

import numpy as np
import pytest

from semeia.claims import palsy
from semeia.ledger.claims import Setting
from semeia.ledger.matching import check_arm
from semeia.recipes._palsy_patients import Patient


@pytest.mark.parametrize("scale", ["smoke", "small", "full"])
def test_arms_change_what_they_say(scale):
    config = palsy.base(Setting(scale, 0, ("worlds/palsy",), Path("runs")))
    for arm in palsy.ARMS:
        check_arm(arm, config, arm.make(config), free=palsy.LEDGER.free)


def test_sums_of_patients_by_hand():
    patients = [
        Patient("w/b", 5, 1, 0.9, "test", (0,)),
        Patient("w/a", 0, -1, 0.0, "test", (1,)),
        Patient("w/c", 1, 0, 0.1, "test", (2,)),
        Patient("w/d", 3, 0, 0.5, "test", (3,)),
    ]
    names, sums = palsy.sums_of(patients, {"grade": np.array([5, 0, 1, 3]), "left": np.array([0.9, 0.1, 0.9, 0.9])})
    assert names == ("a", "b", "c", "d")
    assert sums["sides"].tolist() == [[0, 0], [1, 1], [0, 0], [0, 1]]
    total = {name: array.sum(0, keepdims=True) for name, array in sums.items()}
    assert palsy.kappa(total)[0] == pytest.approx(1)
    assert palsy.sided(total)[0] == pytest.approx(0.5)
