"""``semeia make``: a synthetic data set in a real format."""

from __future__ import annotations

import argparse

LAYOUTS = (
    "rafdb", "affectnet", "celeba", "utkface", "morph", "w300lp", "aflw2000", "bp4d", "disfa", "affwild2",
    "expression_folders",
)  # fmt: skip
"""Of ``data.synthetic.as_layout``, which is too heavy to be imported for ``--help``."""


NOISE = {
    "unlabelled": "lesions that the table does not tell of, as about half are in DeepLesion",
    "shifted": "boxes that are moved",
    "deleted": "lesions that the table leaves out",
}
"""Shares of a world of slabs that are labelled badly."""


def run(arguments: list[str]) -> int:
    """Make the data set; see ``semeia make --help``."""
    parser = argparse.ArgumentParser(
        prog="semeia make",
        description="Render labelled faces into a folder. The same flags make the same bytes; a run that was stopped "
        "goes on where it was. Needs the extra: pip install 'semeia[synthetic]'. palsy: patients with facial palsy who "
        "do six movements. slabs: CT slices with measured lesions in DeepLesion's layout. transplants: lesions of a "
        "folder of CT slices on its healthy slices, in the same layout. Or lay rendered faces out as a real data set, "
        "to try a training: semeia make rafdb OUT --faces FOLDER.",
    )
    parser.add_argument("what", choices=("faces", "palsy", "slabs", "transplants", *LAYOUTS))
    parser.add_argument("out", metavar="OUT", help="folder of the data set")
    parser.add_argument(
        "--count", type=int, help="number of images, patients or slabs (in a layout, at most; default: all)"
    )
    parser.add_argument("--faces", metavar="FOLDER", help="rendered faces that are laid out as a real data set")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other people (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--size", type=int, help="side of an image in pixels (default: 144, of slabs 256)")
    parser.add_argument("--shots", type=int, help="images of one person (default: 7), of a patient's movement (1)")
    parser.add_argument(
        "--look",
        choices=("usual", "other"),
        default="usual",
        help="other: other hair, skin, light and camera, to test what was learned on the usual ones",
    )
    parser.add_argument(
        "--policy",
        choices=("balanced", "natural", "independent"),
        default="balanced",
        help="what faces do: alike often, as in recordings, or as often as there but each action unit by itself "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--renderer",
        choices=("raster", "paths"),
        default="raster",
        help="paths: trace light paths, about six times as slow (default: %(default)s)",
    )
    parser.add_argument("--samples", type=int, default=16, help="light paths a pixel of it (default: %(default)s)")
    parser.add_argument(
        "--split",
        choices=("train", "val", "test"),
        help="of all images (default: 80/10/10 by person, 70/15/15 by patient)",
    )
    parser.add_argument("--first-identity", type=int, default=0, help="number of the first person, to add other people")
    slabs = parser.add_argument_group("for slabs")
    for name, words in NOISE.items():
        slabs.add_argument(f"--{name}", type=float, default=0.0, metavar="SHARE", help=f"{words} (default: none)")
    transplants = parser.add_argument_group("for transplants")
    transplants.add_argument(
        "--data", nargs="+", metavar="FOLDER", help="CT slices with lesions and healthy slices: a world of slabs"
    )
    transplants.add_argument(
        "--share", type=float, default=1.0, help="of the training patients whose lesions are taken; the healthy slices "
        "are the others' then (default: all)",
    )  # fmt: skip
    transplants.add_argument("--share-seed", type=int, default=0, help="decides which patients (default: %(default)s)")
    transplants.add_argument(
        "--by", choices=("smile", "paste"), default="smile",
        help="what makes the lesion: SMILE's reconstructor, or a copy of its own values (default: %(default)s)",
    )  # fmt: skip
    transplants.add_argument(
        "--weights", default="smile", metavar="NAME|FOLDER", help="of SMILE (default: the bundled ones)"
    )
    args = parser.parse_args(arguments)
    if (args.what == "transplants") is (args.data is None):
        parser.error("--data FOLDER goes with transplants, and they need it")
    if (args.what not in LAYOUTS) is (args.faces is not None):
        parser.error("--faces FOLDER goes with a layout, and a layout needs it")
    if args.what in LAYOUTS:
        from semeia.data.synthetic.as_layout import write_layout

        print(f"{args.out}: {write_layout(args.what, args.faces, args.out, count=args.count)} images")
        return 0
    if args.count is None:
        parser.error(f"{args.what} are made as many as --count says; give it")
    if args.what == "slabs":
        from semeia.data.synthetic.slabs.make import make_slabs

        noise = {name: getattr(args, name) for name in NOISE}
        size = 256 if args.size is None else args.size
        make_slabs(
            args.out, count=args.count, seed=args.seed, workers=args.workers, size=size,
            first_patient=1 + args.first_identity, **noise,
        )  # fmt: skip
        print(f"{args.out}: {args.count} slabs")
        return 0
    if args.what == "transplants":
        return _transplants(args)
    args.size = 144 if args.size is None else args.size
    both = {
        name: getattr(args, name)
        for name in ("count", "seed", "workers", "size", "renderer", "samples", "look", "split")
    }
    if args.what == "palsy":
        if args.policy != "balanced":
            parser.error("patients do what they are asked to; leave --policy out")
        from semeia.data.synthetic.palsy import make_palsy

        shots = 1 if args.shots is None else args.shots
        manifest = make_palsy(args.out, shots=shots, first_patient=args.first_identity, **both)
        print(f"{args.out}: {args.count} patients, {manifest['images']} images")
        return 0

    from semeia.data.synthetic.faces.make import make_faces

    shots = 7 if args.shots is None else args.shots
    manifest = make_faces(args.out, shots=shots, policy=args.policy, first_identity=args.first_identity, **both)
    print(f"{args.out}: {manifest['images']} images")
    return 0


def _transplants(args: argparse.Namespace) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from semeia.lesion_sets import LesionData
    from semeia.predict.transplants import transplant

    data = LesionData(deeplesion=tuple(args.data), share=args.share, share_seed=args.share_seed)
    columns = (TextColumn("transplants"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("transplants", total=args.count)
        transplant(
            data, args.out, count=args.count, way=args.by, weights=args.weights, seed=args.seed,
            on_slab=lambda done: bar.update(task, completed=done),
        )  # fmt: skip
    print(f"{args.out}: {args.count} slabs, a lesion each")
    return 0
