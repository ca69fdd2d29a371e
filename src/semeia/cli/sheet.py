"""``semeia sheet``: look at a data set of faces or of CT slabs."""

from __future__ import annotations

import argparse
from pathlib import Path


def run(arguments: list[str]) -> int:
    """Draw the contact sheet; see ``semeia sheet --help``."""
    parser = argparse.ArgumentParser(prog="semeia sheet", description="Draw pictures of a data set side by side.")
    parser.add_argument("world", metavar="WORLD", help="folder of the data set")
    parser.add_argument("out", metavar="OUT.png", help="picture to write")
    parser.add_argument("--count", type=int, default=48, help="number of pictures (default: %(default)s)")
    parser.add_argument("--columns", type=int, default=8, help="pictures in a row (default: %(default)s)")
    parser.add_argument("--landmarks", action="store_true", help="draw the 68 landmarks of faces")
    parser.add_argument("--twins", action="store_true", help="beside each CT slab the same without lesions")
    args = parser.parse_args(arguments)

    from semeia.files import check_writable

    check_writable(args.out)
    if (Path(args.world) / "world.json").is_file():
        import numpy as np

        from semeia.data.synthetic.slabs.sheet import shown_folder, slab_sheet
        from semeia.media.images import write_image

        sheet = slab_sheet(shown_folder(args.world, args.count), columns=args.columns, twins=args.twins)
        write_image(args.out, np.asarray(sheet))
        print(args.out)
        return 0
    from semeia.data.synthetic.faces.sheet import contact_sheet

    contact_sheet(args.world, args.out, count=args.count, columns=args.columns, landmarks=args.landmarks)
    print(args.out)
    return 0
