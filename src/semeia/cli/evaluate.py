"""``semeia evaluate``: measure a trained system on a held-out split."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from semeia.cli.train import RECIPES
from semeia.files import check_writable, write_whole


def run(arguments: list[str]) -> int:
    """Print the table of scores; see ``semeia evaluate --help``."""
    parser = argparse.ArgumentParser(
        prog="semeia evaluate",
        allow_abbrev=False,
        description="Measure weights on a split of data sets.",
        epilog="Real data sets are named as in training: --data.rafdb FOLDER, --data.celeba FOLDER, and --data.fold N.",
    )
    parser.add_argument("system", choices=RECIPES)
    parser.add_argument(
        "--data", nargs="+", default=(), metavar="FOLDER", help="sets in the face format, or of CT slices"
    )
    parser.add_argument(
        "--weights", metavar="WEIGHTS", help="bundled name or checkpoint folder (default: bundled ones)"
    )
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--limit", type=int, metavar="N", help="read N images alone, at even steps through the split")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", metavar="FILE", help="write the scores too: .json, or a table in .md")
    args, fields = parser.parse_known_args(arguments)
    if args.out:
        check_writable(args.out)

    from jsonargparse import ArgumentParser

    from semeia.evaluate import score_table

    recipe = import_module(f"semeia.recipes.{args.system}")
    kind = type(recipe.Config().data)
    sets = ArgumentParser(prog="semeia evaluate")
    sets.add_class_arguments(kind, "data")
    data = sets.instantiate(sets.parse_args(fields)).data
    data = replace(data, **{kind.PLAIN: (*getattr(data, kind.PLAIN), *args.data)})
    scores = recipe.evaluate(args.weights or args.system, data, split=args.split, limit=args.limit)
    as_json, as_table = json.dumps([score.as_dict() for score in scores], indent=2), score_table(scores)
    if args.out:
        write_whole(args.out, f"{as_table if Path(args.out).suffix == '.md' else as_json}\n".encode())
    print(as_json if args.json else as_table)
    return 0
