"""What is missing is run, once, in pairs, and is never lost."""

from dataclasses import replace

import pytest

from semeia.ledger import running
from semeia.ledger.claims import Measured, Size
from semeia.ledger.rows import read
from semeia.ledger.verdicts import judge
from semeia.records import SemeiaError


@pytest.fixture
def go(toy, tmp_path):
    """Runs a ledger in a folder of its own and keeps what it was told."""

    def run(ledger=None, **changes):
        settings = {"scale": "small", "data": ["worlds/toy"], "seeds": [0, 1, 2], "tell": run.told.append} | changes
        places = {"out": tmp_path / "runs", "results": tmp_path / "results"}
        return running.run(ledger or toy.ledger(), **places | settings)

    run.told = []
    return run


def test_every_arm_and_seed_is_run_and_judged(go, toy, tmp_path):
    rows = go()
    assert [(row.seed, row.arm) for row in rows] == [(s, arm) for s in range(3) for arm in ("full", "plain")]
    assert judge(toy.claim, rows).word == "holds"
    kept = read(tmp_path / "results" / "toy.json", system="toy")
    assert judge(toy.claim, kept) == judge(toy.claim, rows)
    assert kept[0].values["accuracy"] == pytest.approx(0.8, abs=0.05)
    assert kept[0].steps == 10
    assert kept[0].parameters == 1070
    assert not list((tmp_path / "runs").rglob("*-0-*"))


def test_a_row_tells_the_machine_and_not_its_name(go):
    row = go(seeds=[0])[0]
    assert set(row.machine) == {"system", "processor", "cores", "threads", "gpu", "torch"}
    assert row.commit


def test_rows_that_are_there_are_not_run_again(go):
    go(seeds=[0])
    rows = go(seeds=[0, 1])
    assert len(rows) == 4
    assert go.told[-3] == "toy, small: 2 of 4 runs are done"


def test_an_interrupt_leaves_the_finished_rows_and_the_run_that_was_going_on(go, toy, tmp_path):
    done = []

    def stopped(config, columns):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(config)
        return toy.ledger().measure(config, columns)

    with pytest.raises(KeyboardInterrupt):
        go(toy.ledger(measure=stopped))
    assert len(read(tmp_path / "results" / "toy.json", system="toy")) == 3
    rows = go()
    assert go.told[-4] == "toy, small: 3 of 6 runs are done"
    assert judge(toy.claim, rows).word == "holds"


def test_only_the_arms_of_the_chosen_claims_are_run(go, toy):
    alone = replace(toy.claim, id="T2", arms=("plain",))
    assert {row.arm for row in go(toy.ledger(claims=(toy.claim, alone)), only=["T2"])} == {"plain"}


def test_unmatched_arms_are_refused_before_anything_is_run(go, toy):
    def never(config, columns):
        raise AssertionError

    larger = toy.ledger(size=lambda c: Size(1000 if c.model.trick else 900, 1), measure=never)
    with pytest.raises(SemeiaError, match=r"11\.1 % apart"):
        go(larger)
    secret = replace(toy.arms[1], changes=())
    with pytest.raises(SemeiaError, match="does not say so"):
        go(toy.ledger(arms=(toy.arms[0], secret), measure=never))


def test_rows_of_another_protocol_are_not_mixed_in(go, toy, tmp_path):
    go(seeds=[0])
    changed = toy.ledger(base=lambda setting: replace(toy.base(setting), rate=0.2))
    with pytest.raises(SemeiaError, match="2 of 2 rows at scale small"):
        go(changed)
    with pytest.raises(SemeiaError, match="other data"):
        go(data=["worlds/another"])
    assert len(go(scale="smoke", seeds=[0])) == 4
    rows = go(changed, seeds=[0], anew=True)
    assert [row.scale for row in rows] == ["smoke", "smoke", "small", "small"]
    assert rows[-1].protocol != rows[0].protocol


def test_an_arm_that_has_changed_is_noticed(go, toy):
    go(seeds=[0])
    wider = replace(
        toy.arms[1], changes=("model.trick", "model.width"),
        make=lambda c: replace(c, model=replace(c.model, trick=False, width=71)),
    )  # fmt: skip
    with pytest.raises(SemeiaError, match="'plain', seed 0"):
        go(toy.ledger(arms=(toy.arms[0], wider)), seeds=[0])


def test_other_identities_are_not_mixed_in(go, toy):
    go(seeds=[0])

    def others(config, columns):
        found = toy.ledger().measure(config, columns)
        return Measured(tuple(f"other {name}" for name in found.identities), found.sums)

    with pytest.raises(SemeiaError, match="other identities"):
        go(toy.ledger(measure=others))


@pytest.mark.parametrize("seeds", [[], [1, 1], [-1]])
def test_seeds_must_be_different_numbers(go, seeds):
    with pytest.raises(SemeiaError, match="seeds"):
        go(seeds=seeds)


def test_several_processes_are_refused(go, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SemeiaError, match="one process"):
        go()


def test_outside_of_a_repository_the_commit_is_unknown(monkeypatch):
    monkeypatch.setattr(running, "checkout", lambda: None)
    assert running.commit() == "unknown"
