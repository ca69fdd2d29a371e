"""``semeia claims``: what each paper claims, and what was measured here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SCALES = ("smoke", "small", "full")


def run(arguments: list[str]) -> int:
    """Print ledgers, or run what one lacks; see ``semeia claims --help``."""
    args = _arguments(arguments)
    from semeia import claims
    from semeia.ledger import page, rows, running
    from semeia.records import SemeiaError

    if args.system not in (None, *claims.SYSTEMS):
        raise SemeiaError(f"{args.system!r} has no claims; systems with claims: {', '.join(claims.SYSTEMS)}")
    results = Path(args.results or claims.RESULTS)
    if args.run:
        # An installed package is not written into, and a test of the machinery leaves nothing among the results.
        home = None if args.run == "smoke" or args.results else running.checkout()
        results = results if home or args.results else Path(args.out) / "results"
        running.run(
            claims.ledger(args.system), scale=args.run, data=args.data, seeds=args.seeds, out=args.out, results=results,
            only=args.only, anew=args.anew, tell=lambda words: print(words, file=sys.stderr, flush=True),
        )  # fmt: skip
        args.page = args.page or (home and home / "docs" / "claims.md")
    names = claims.SYSTEMS if args.page or not args.system else (args.system,)
    found = {name: (claims.ledger(name), rows.read(results / f"{name}.json", system=name)) for name in names}
    if args.page:
        page.write_page(args.page, list(found.values()))
    print("\n\n".join(page.text(*found[name]) for name in ([args.system] if args.system else names)))
    return 0


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="semeia claims",
        description="What each paper claims, as matched arms over its recipe, and what was measured here. A run that "
        "was stopped goes on where it was. docs/claims_how.md says how a verdict comes about.",
    )
    parser.add_argument("system", nargs="?", metavar="SYSTEM", help="short name of a paper (default: all)")
    parser.add_argument("--run", choices=SCALES, help="run what is missing: seconds, an hour on two cores, or days")
    parser.add_argument(
        "--data", nargs="+", metavar="FOLDER", help="data sets of the run; real ones of faces as rafdb=FOLDER"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="ID", help="claims to run, such as Q1 or Q5.places")
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="fewer than three give no verdict"
    )
    parser.add_argument("--out", default="runs/claims", metavar="FOLDER", help="of the runs (default: %(default)s)")
    parser.add_argument(
        "--results",
        metavar="FOLDER",
        help="of the results (default: the package's own; OUT/results for smoke runs and installed packages)",
    )
    parser.add_argument("--anew", action="store_true", help="forget the rows of this scale first")
    parser.add_argument("--page", metavar="FILE", help="write the ledgers as Markdown, with plots in images beside it")
    args = parser.parse_args(arguments)
    if args.run and not (args.system and args.data):
        parser.error("--run needs SYSTEM and --data FOLDER")
    return args
