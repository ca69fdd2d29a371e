"""``semeia train``: train a system by its recipe."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

RECIPES = tuple(sorted(file.stem for file in (Path(__file__).parents[1] / "recipes").glob("[a-z]*.py")))


def run(arguments: list[str]) -> int:
    """Train as the flags and the configuration file say; see ``semeia train --help``."""
    parser = argparse.ArgumentParser(
        prog="semeia train",
        allow_abbrev=False,
        description="Train a system. A run that was stopped goes on where it was.",
        epilog="Every field of the recipe is a flag too, such as --fit.steps 1000 --model.dropout 0, and may stand in "
        "a YAML file: --config FILE. --print_config shows all of them with their values.",
    )
    parser.add_argument("system", choices=RECIPES)
    parser.add_argument(
        "--scale", default="small", help="where the values start: smoke, small or paper (what is our own: gpu)"
    )
    parser.add_argument(
        "--data",
        nargs="+",
        metavar="FOLDER",
        help="sets in the face format, or of CT slices in DeepLesion's; --data.rafdb FOLDER and the like name others",
    )
    parser.add_argument("--out", metavar="FOLDER", help="where the run is kept and the checkpoint appears")
    args, fields = parser.parse_known_args(arguments)

    recipe = import_module(f"semeia.recipes.{args.system}")
    if args.scale not in recipe.SCALES:
        parser.error(f"--scale: {args.system} has {', '.join(recipe.SCALES)}, found {args.scale!r}")
    config = configure(recipe, scale=args.scale, fields=fields)
    if args.data:
        config = replace(config, data=replace(config.data, **{config.data.PLAIN: tuple(args.data)}))
    if args.out:
        config = replace(config, fit=replace(config.fit, out=args.out))
    print(recipe.train(config))
    return 0


def configure(recipe: ModuleType, *, scale: str, fields: list[str]) -> Any:
    """The recipe's ``Config`` at a scale, changed by ``--config FILE`` and ``--field.name value``."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog=f"semeia train {recipe.__name__.rpartition('.')[2]}")
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(recipe.Config, as_group=False)
    parser.set_defaults(asdict(recipe.SCALES[scale]()))
    chosen = parser.parse_args(fields)
    del chosen["config"]
    return recipe.Config(**vars(parser.instantiate(chosen)))
