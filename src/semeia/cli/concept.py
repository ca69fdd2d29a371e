"""``semeia concept``: learn a subject from a few photos, and draw it."""

from __future__ import annotations

import argparse
from pathlib import Path

ARMS = (
    "detex", "textual-inversion", "custom-diffusion", "dreambooth", "no-attention-loss", "no-joint-prompts",
    "no-mappers", "no-attribute-words",
)  # fmt: skip
"""Of ``systems.detex``, which is too heavy to be imported for ``--help``."""


def run(arguments: list[str]) -> int:
    """Learn or draw; see ``semeia concept --help``."""
    args = _arguments(arguments)
    return _learn(args) if args.what == "learn" else _draw(args)


def _learn(args: argparse.Namespace) -> int:
    from rich.console import Console

    from semeia.predict.concepts import learn

    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    folder = learn(
        args.photos, args.class_word, out=args.out, base=args.base, trigger=args.trigger, masks=args.masks,
        scale=args.scale, arm=args.arm, steps=args.steps, seed=args.seed, image_encoder=args.image_encoder,
        class_folder=args.class_folder, resume=not args.restart, progress=not args.quiet,
        say=None if args.quiet else lambda text: messages.print(f"semeia: {text}", markup=False),
    )  # fmt: skip
    print(folder)
    return 0


def _draw(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import track

    from semeia.files import writable_folder
    from semeia.media.drawings import check_drawing, write_drawing, write_grid
    from semeia.predict.concepts import Artist

    messages = Console(stderr=True, highlight=False, soft_wrap=True)
    check_drawing(args.out)
    each = writable_folder(args.each) if args.each else None
    artist = Artist.load(args.concept, args.base, device=args.device)
    seeds = list(range(args.seed, args.seed + args.count))
    told = [artist.told(text, pose_of=args.pose_of, background_of=args.background_of) for text in args.prompts]
    for note in (*artist.notes, *(doubt for text in told for doubt in artist.doubts(text))):
        messages.print(f"semeia: {note}", markup=False)
    settings = {
        "concept": Path(args.concept).name, "base": args.base or artist.concept.base, "steps": args.steps,
        "guidance": args.guidance, "negative": args.negative or "", "sampler": args.sampler or "the base's own",
    }  # fmt: skip
    rows, flagged = [], 0
    jobs = [(text, seed) for text in told for seed in seeds]
    for text, seed in track(jobs, "drawing", console=messages, transient=True, disable=args.quiet):
        (drawn,) = artist.draw(
            text, seeds=[seed], steps=args.steps, guidance=args.guidance, negative=args.negative, side=args.size,
            sampler=args.sampler,
        )  # fmt: skip
        flagged += drawn.flagged
        rows.append(drawn.image)
        if each is not None:
            name = each / f"{len(rows):03d}-seed-{seed}.png"
            write_drawing(name, drawn.image, prompt=text, seed=seed, settings=settings)
    count = len(seeds)
    grid = [rows[first : first + count] for first in range(0, len(rows), count)]
    write_grid(args.out, grid, prompts=told, seeds=seeds, settings=settings)
    if flagged:
        messages.print(
            f"semeia: the base's own safety checker took {flagged} of {len(rows)} pictures away; they are black"
        )
    if not args.quiet:
        for text in told:
            print(text)
    print(args.out)
    return 0


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="semeia concept",
        description="Learn a subject from a few photos, apart from its pose and its background, and draw it. Needs the "
        "extra: pip install 'semeia[diffusion]'. docs/concepts.md tells more.",
    )
    verbs = parser.add_subparsers(dest="what", required=True, metavar="learn|draw")
    learn = verbs.add_parser(
        "learn", help="from photos to words", description="Learn a subject from three to ten photos."
    )
    learn.add_argument("photos", nargs="+", metavar="PHOTOS", help="a folder or files")
    learn.add_argument(
        "--class", dest="class_word", required=True, metavar="WORD", help="what the subject is: dog, woman"
    )
    learn.add_argument("--out", required=True, metavar="FOLDER", help="of the run; a stopped one goes on there")
    learn.add_argument("--trigger", metavar="WORD", help="the subject's word, such as '<rex>' (default: after --out)")
    learn.add_argument(
        "--base", default="face_diffusion", metavar="NAME",
        help="text-to-image base of the Stable-Diffusion-1.5 class: bundled, a folder, or owner/model (%(default)s)",
    )  # fmt: skip
    learn.add_argument(
        "--masks", default="auto", metavar="HOW",
        help="where the subject is: a folder of masks, face, salient (what stands out) or none (default: PHOTOS_mask "
        "where it is there, else faces, else what stands out)",
    )  # fmt: skip
    learn.add_argument("--scale", choices=("smoke", "small", "paper"), default="small", help="(default: %(default)s)")
    learn.add_argument("--arm", choices=ARMS, default="detex", help="a baseline or an ablation in place of the system")
    learn.add_argument("--steps", type=int, help="in place of the scale's own")
    learn.add_argument("--seed", type=int, default=0, help="of all randomness (default: %(default)s)")
    learn.add_argument("--image-encoder", metavar="NAME", help="a CLIP image encoder (default: the base's own)")
    learn.add_argument("--class-folder", metavar="FOLDER", help="pictures of the class, in place of drawn ones")
    learn.add_argument("--restart", action="store_true", help="forget what is in --out")
    learn.add_argument("--quiet", action="store_true", help="print only the folder and what went wrong")
    draw = verbs.add_parser("draw", help="from prompts to pictures", description="Draw prompts with a learned subject.")
    draw.add_argument("prompts", nargs="+", metavar="PROMPT", help="such as 'a photo of <maya> smiling'")
    draw.add_argument("--concept", required=True, metavar="PATH", help="folder of learn, or a one-key .safetensors")
    draw.add_argument("--base", metavar="NAME", help="(default: the one that the concept was learned on)")
    draw.add_argument("--out", default="drawn.png", metavar="FILE", help="grid, .png (default: %(default)s)")
    draw.add_argument("--each", metavar="FOLDER", help="also write every picture by itself")
    draw.add_argument("--count", type=int, default=4, help="pictures of each prompt (default: %(default)s)")
    draw.add_argument("--seed", type=int, default=0, help="of the first; the others count up (default: %(default)s)")
    draw.add_argument("--pose-of", type=int, metavar="N", help="keep the pose of photo N, counted from 1")
    draw.add_argument("--background-of", type=int, metavar="N", help="keep the background of photo N")
    draw.add_argument("--negative", metavar="PROMPT", help="what to keep away from")
    draw.add_argument("--steps", type=int, default=50, help="of the sampler (default: %(default)s)")
    draw.add_argument("--guidance", type=float, default=6.0, help="(default: %(default)s)")
    draw.add_argument("--sampler", choices=("ddim",), help="(default: the base's own)")
    draw.add_argument("--size", type=int, metavar="PIXELS", help="side of a picture (default: as learned)")
    draw.add_argument("--device", default="auto", help="auto, cpu or cuda")
    draw.add_argument("--quiet", action="store_true", help="print only the file and what went wrong")
    args = parser.parse_args(arguments)
    for name in ("steps", "count"):
        value = getattr(args, name, None)
        if value is not None and value < 1:
            parser.error(f"--{name}: expected at least 1, found {value}")
    return args
