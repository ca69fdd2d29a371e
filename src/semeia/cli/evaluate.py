"""``semeia evaluate``: measure a trained system on a held-out split."""

from __future__ import annotations

import argparse
import json
from importlib import import_module

from semeia.cli.train import RECIPES


def run(arguments: list[str]) -> int:
    """Print the table of scores; see ``semeia evaluate --help``."""
    parser = argparse.ArgumentParser(prog="semeia evaluate", description="Measure weights on a split of data sets.")
    parser.add_argument("system", choices=RECIPES)
    parser.add_argument("--data", nargs="+", required=True, metavar="FOLDER", help="data sets")
    parser.add_argument(
        "--weights", metavar="WEIGHTS", help="bundled name or checkpoint folder (default: bundled ones)"
    )
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--limit", type=int, metavar="N", help="read N images alone, at even steps through the split")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(arguments)

    from semeia.evaluate import score_table

    recipe = import_module(f"semeia.recipes.{args.system}")
    scores = recipe.evaluate(args.weights or args.system, args.data, split=args.split, limit=args.limit)
    print(json.dumps([score.as_dict() for score in scores], indent=2) if args.json else score_table(scores))
    return 0
