"""Claims of Face-MLLM: arms that change what they say, and one that runs from beginning to end."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from semeia import claims
from semeia.claims import face_mllm
from semeia.language.chat import Turn
from semeia.ledger.claims import Setting
from semeia.ledger.matching import check_arm
from semeia.ledger.running import run
from semeia.question_sets import CAPTION, Question
from semeia.recipes._face_mllm_stages import unheld
from semeia.systems.face_mllm.schema import leaks

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


def test_told_and_untold_captions_are_as_many_and_as_long():
    def caption(number):
        words = " and ".join(["brown hair"] * (1 + number % 3)) + (" and no hat" if number % 4 else " and big lips")
        turns = (Turn("user", "<image>\nDescribe the face."), Turn("assistant", words))
        return Question(f"{number}.png", turns, CAPTION, answer=words)

    found = [caption(number) for number in range(120)]
    found.insert(7, Question("0.png", (Turn("user", "Is there a hat?"), Turn("assistant", "No")), "attribute"))
    config = LEDGER.base(Setting("small", 0, ("worlds/faces",), Path("runs")))
    arms = {arm.name: arm.make(config) for arm in LEDGER.arms}
    claim = next(claim for claim in LEDGER.claims if claim.id == "M5.told")
    told, untold = ([question.answer for question in unheld(found, arms[name])] for name in claim.arms)
    assert len(told) == 30
    assert Counter(len(text.split()) for text in told) == Counter(len(text.split()) for text in untold)
    assert sum(bool(leaks(text)) for text in told) > 15
    assert not any(leaks(text) for text in untold)


def test_stages_that_another_arm_trained_make_no_difference(faces, tmp_path):
    def sums(name, place):
        base = LEDGER.base(Setting("smoke", 0, (str(faces),), tmp_path / place / name))
        base = replace(base, fit=replace(base.fit, steps=6))
        arm = next(arm for arm in LEDGER.arms if arm.name == name)
        return LEDGER.measure(arm.make(base), frozenset()).sums

    sums("full", "shared")
    stages = sorted(path.name.partition("-")[0] for path in (tmp_path / "shared" / "stages").iterdir())
    assert stages == ["align", "basic", "language"]
    shared, alone = sums("captions", "shared"), sums("captions", "alone")
    assert all(np.array_equal(shared[name], alone[name]) for name in alone)
    stages = sorted(path.name.partition("-")[0] for path in (tmp_path / "shared" / "stages").iterdir())
    assert stages == ["align", "basic", "basic", "language"]


def test_arms_share_what_is_trained_alike_and_nothing_else():
    config = LEDGER.base(Setting("small", 0, ("worlds/faces",), Path("runs")))
    named = {arm.name: face_mllm.beginnings(arm.make(config)) for arm in LEDGER.arms}
    full = named["full"]
    assert named["direct"] == {"language": full["language"]}
    assert named["captions"]["align"] == named["labels"]["align"] == full["align"]
    assert len({named[name]["basic"] for name in ("full", "captions", "labels", "no align", "no special")}) == 5
    assert named["no basic"]["align"] == named["no special"]["align"] != full["align"]
    for name in ("unseen", "as many", "a tenth", "a hundredth"):
        assert not set(named[name].values()) & set(full.values())
    other = LEDGER.base(Setting("small", 1, ("worlds/faces",), Path("runs")))
    assert not set(face_mllm.beginnings(other).values()) & set(full.values())
