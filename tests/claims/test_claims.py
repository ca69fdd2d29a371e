"""All ledgers: what is committed fits together."""

from pathlib import Path

import pytest

from semeia import claims
from semeia.ledger import page
from semeia.ledger.rows import read

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("system", claims.SYSTEMS)
def test_a_ledger_is_named_after_a_recipe(system):
    assert claims.ledger(system).system == system
    recipes = {file.stem for file in (ROOT / "src" / "semeia" / "recipes").glob("[a-z]*.py")}
    assert system in recipes or system.rpartition("_")[0] in recipes


@pytest.mark.parametrize("system", claims.SYSTEMS)
def test_committed_results_are_small_and_of_declared_arms(system):
    ledger, file = claims.ledger(system), claims.RESULTS / f"{system}.json"
    rows = read(file, system=system)
    assert {row.arm for row in rows} <= {arm.name for arm in ledger.arms}
    assert not file.exists() or file.stat().st_size < 300_000 * len(ledger.claims)


def test_the_committed_page_is_the_generated_one():
    read_all = [(claims.ledger(n), read(claims.RESULTS / f"{n}.json", system=n)) for n in claims.SYSTEMS]
    content = page.pages(ROOT / "docs" / "claims.md", read_all)
    for file, words in content.items():
        assert file.read_text() == words, f"{file.name}: write it anew with semeia claims --page docs/claims.md"
    drawn = {file.name for file in content if file.suffix == ".svg"}
    assert {file.name for file in (ROOT / "docs" / "images").glob("claims_*.svg")} == drawn
