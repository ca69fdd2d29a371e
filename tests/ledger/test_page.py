"""The ledger for readers."""

from semeia.ledger.page import pages, text, write_page


def rows(toy):
    arms = (("full", (8, 8, 7)), ("plain", (5, 6, 5)))
    return [toy.row(arm, seed, right=n) for arm, each in arms for seed, n in enumerate(each)]


def page(toy, tmp_path, made):
    file = tmp_path / "claims.md"
    return pages(file, [(toy.ledger(), made)]), file


def test_what_was_not_run_says_so(toy, tmp_path):
    content, file = page(toy, tmp_path, [])
    assert list(content) == [file]
    assert (
        "| T1.trick | The trick helps. INFERRED: its abstract | full - plain: accuracy | - | - | - | not run |"
        in content[file]
    )
    assert "| plain | no trick | - | - |" in content[file]


def test_what_was_run_has_its_numbers_and_their_origin(toy, tmp_path):
    content, file = page(toy, tmp_path, rows(toy))
    words = content[file]
    assert "| **T1** | **Tricks help** | | | | | **holds** |" in words
    assert "| full - plain: accuracy | +0.233 |" in words
    assert "| small, 0, 1, 2 | holds |" in words
    assert "full - plain: accuracy; not worse by 0.05" in words
    assert "6 trainings of 10 steps, seeds 0, 1, 2, 6 minutes in all; tested on 20 identities" in words
    assert "Commit 0123456789; system Linux." in words
    assert "| full | all of it | 1,070 | 0.0 | 0.767 ± 0.058 |" in words
    assert "| row | 0.767 ± 0.058, 1,070 parameters | 0.533 ± 0.058, 1,070 parameters |" in words
    assert "![Differences with their intervals](images/claims_toy.svg)" in words
    assert content[tmp_path / "images" / "claims_toy.svg"].startswith("<svg")


def test_smoke_rows_show_no_numbers(toy, tmp_path):
    content, file = page(toy, tmp_path, [toy.row(arm, scale="smoke") for arm in ("full", "plain")])
    assert "not run (smoke)" in content[file]
    assert "0.500" not in content[file]


def test_a_plot_of_which_nothing_is_left_goes(toy, tmp_path):
    write_page(tmp_path / "claims.md", [(toy.ledger(), rows(toy))])
    assert (tmp_path / "images" / "claims_toy.svg").is_file()
    write_page(tmp_path / "claims.md", [(toy.ledger(), [])])
    assert not (tmp_path / "images" / "claims_toy.svg").exists()


def test_a_terminal_shows_statement_source_arms_and_verdict(toy):
    words = text(toy.ledger(), rows(toy))
    for part in ("T1  Tricks help: holds", "INFERRED: its abstract", "full - plain, accuracy", "seeds 0, 1, 2"):
        assert part in words
    assert "holds: better by +0.233, 95 % interval" in words


def test_without_an_interval_none_is_shown(toy):
    words = text(toy.ledger(), [row for row in rows(toy) if row.seed < 2])
    assert "not run (2 of 3 seeds): better by +0.250 (scale small, seeds 0, 1)" in words
