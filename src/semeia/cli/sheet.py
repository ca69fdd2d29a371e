"""``semeia sheet``: look at a data set of faces."""

from __future__ import annotations

import argparse


def run(arguments: list[str]) -> int:
    """Draw the contact sheet; see ``semeia sheet --help``."""
    parser = argparse.ArgumentParser(prog="semeia sheet", description="Draw pictures of a data set side by side.")
    parser.add_argument("world", metavar="WORLD", help="folder of the data set")
    parser.add_argument("out", metavar="OUT.png", help="picture to write")
    parser.add_argument("--count", type=int, default=48, help="number of pictures (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=8, help="pictures in a row (default: %(default)s)")
    parser.add_argument("--landmarks", action="store_true", help="draw the 68 landmarks")
    args = parser.parse_args(arguments)

    from semeia.data.synthetic.faces.sheet import contact_sheet
    from semeia.files import check_writable

    check_writable(args.out)
    contact_sheet(args.world, args.out, count=args.count, columns=args.columns, landmarks=args.landmarks)
    print(args.out)
    return 0
